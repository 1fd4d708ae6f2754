//! R1: what the nodes log as an error means that a person must look. In a simulated run nobody but the plan gives reason for
//! it, so each such line is a finding, unless the plan did ([`ALLOWED`], [`OF_DISKS`]).

use std::fmt::Write;
use std::sync::{Arc, OnceLock};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::points;
use super::trace::Trace;

/// What a plan's faults do to a disk, as the engine of its node hears it: what it waited to see synced, what it wanted applied or
/// sent, and that it ends for it. Allowed of a node whose disks failed it in this life.
const OF_DISKS: &[(&str, &str)] = &[
    ("openraft::storage::callback", "IOFlushed error: disk: "),
    ("openraft::core::sm::worker", "Error: disk: "),
    ("openraft::core::raft_core", "Error: disk: "),
    ("openraft::raft::raft_inner", "Error: disk: "),
    ("openraft::raft::raft_inner", "failed to receive from RaftCore"),
    // The state's disk failed what a peer had asked for (to freeze the state), while the core itself waits for the log's disk,
    // which hangs: it hears later than within a second that it must end. The peer is told that this node stopped.
    ("openraft::raft::raft_inner", "response dropped without a reply while RaftCore is running"),
    // The same, when the core next wants something of the worker that ended.
    ("openraft::core::raft_core", "when Write StateMachine: cannot send to sm::Worker"),
    ("openraft::raft::raft_inner", "when Write StateMachine: cannot send to sm::Worker"),
    // The same, when the core next wants something applied: the worker ended while it waited for a full disk.
    ("openraft::core::raft_core", "error: when Write Apply("),
    ("openraft::raft::raft_inner", "error: when Write Apply("),
    // A heartbeat's worker has something to say (its answer, a higher vote) to a core that has just ended.
    ("openraft::core::heartbeat::worker", "to RaftCore; when:("),
    ("openraft::core::sm::handle", "sm::Worker may have shutdown"),
    ("openraft::raft::stream_append", "RaftCore stopped: when "),
];

/// Error lines that other faults of a plan bring about, by the module that writes them and a part of their text.
const ALLOWED: &[(&str, &str)] = &[
    // A disk that fails, is full or hangs ends its node: that is the rule (architecture D14). A node that ends because of a
    // panic is a finding of its own.
    ("leasehold_node::raft::fatal", "this node must end"),
    // An operator's change of the members that was asked of a node which does not lead any more, or while another is under way.
    ("openraft::raft::api::management", "has to forward request to"),
    ("openraft::raft::api::management", "already undergoing a configuration change"),
    // A plan damages states; whether a node does with it what it must is V5's to judge.
    ("leasehold_node::raft::state_machine", "the state is damaged; it is made again"),
    ("leasehold_node::raft::state_machine", "the state is missing; it is made again"),
    ("leasehold_node::raft::start", "the state is damaged and the log begins after it; waiting for a peer"),
];

/// Hears all error lines.
#[derive(Clone, Default)]
pub struct Errors {
    trace: Arc<OnceLock<Arc<Trace>>>,
}

impl Errors {
    /// From now on error lines are findings of this run.
    pub fn tell(&self, trace: &Arc<Trace>) {
        let first = self.trace.set(trace.clone()).is_ok();
        assert!(first, "the lines of one run are heard by one");
    }
}

impl<S: Subscriber> Layer<S> for Errors {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let target = event.metadata().target();
        // The harness tells its own findings as error lines, too.
        if *event.metadata().level() != Level::ERROR || target.starts_with("leasehold_chaos") {
            return;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let Some(trace) = self.trace.get() else { return };
        let node = points::whose_step();
        let is_one_of = |lines: &[(&str, &str)]| lines.iter().any(|(of, part)| *of == target && text.0.contains(part));
        let allowed = is_one_of(ALLOWED) || is_one_of(OF_DISKS) && trace.is_diskless(node);
        if !allowed {
            trace.finding("R1", format!("node {node}: an error line of {target}:{}", text.0));
        }
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let written = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
        debug_assert!(written.is_ok(), "memory takes it");
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    const GONE: &str = "when Write StateMachine: cannot send to sm::Worker";
    const DROPPED: &str = "response dropped without a reply while RaftCore is running";

    #[tokio::test(start_paused = true)]
    async fn an_error_line_of_a_node_is_a_finding_and_nothing_else_is() {
        let trace = Arc::new(Trace::new(None, 3));
        let errors = Errors::default();
        errors.tell(&trace);
        points::stepping(2, None);
        trace.set_diskless(2, true);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(errors), || {
            tracing::error!(target: "leasehold_node::raft::fatal", reason = "the disk is full", "this node must end");
            tracing::error!(target: "openraft::storage::callback", "io_completed: IOFlushed error: disk: write: no space");
            // What node 9 of seed 1113 said: its state's disk was full while its log's disk hung.
            tracing::error!(target: "openraft::raft::raft_inner", "recv_msg: {DROPPED}");
            tracing::error!(target: "openraft::core::raft_core", "RaftCore::main error: {GONE}");
            // What node 4 of seed 273 said: its log's disk hung, and then its state's disk was full.
            tracing::error!(target: "openraft::core::raft_core", "RaftCore::main error: when Write Apply(1): channel closed");
            tracing::warn!(target: "leasehold_node::seams::spawn", "odd, but we went on");
            tracing::error!(target: "leasehold_chaos::sim::trace", "a property does not hold");
            assert!(trace.kept().1.is_empty());
            points::stepping(3, None);
            tracing::error!(target: "openraft::raft::raft_inner", "recv_msg: error: Error: disk: write: no space");
            tracing::error!(target: "openraft::raft::raft_inner", "recv_msg: {DROPPED}");
            tracing::error!(target: "openraft::core::raft_core", "RaftCore::main error: {GONE}");
            tracing::error!(target: "leasehold_node::seams::spawn", task = "clock", "a task panicked");
            tracing::error!(target: "openraft::core::raft_core", "RaftCore::main error: when Write Apply(1): channel closed");
            tracing::error!(target: "openraft::core", "this node must end");
        });
        let findings = trace.kept().1;
        let texts: Vec<&str> = findings.iter().map(|finding| finding.text.as_str()).collect();
        assert!(findings.iter().all(|finding| finding.check == "R1"));
        assert_eq!(
            texts,
            [
                "node 3: an error line of openraft::raft::raft_inner: recv_msg: error: Error: disk: write: no space",
                &format!("node 3: an error line of openraft::raft::raft_inner: recv_msg: {DROPPED}"),
                &format!("node 3: an error line of openraft::core::raft_core: RaftCore::main error: {GONE}"),
                "node 3: an error line of leasehold_node::seams::spawn: a task panicked task=\"clock\"",
                "node 3: an error line of openraft::core::raft_core: RaftCore::main error: when Write Apply(1): channel closed",
                "node 3: an error line of openraft::core: this node must end",
            ]
        );
    }
}
