//! Holds a node still, as SIGSTOP does: none of its tasks takes a step, time and the others go on. It also knows whose step
//! it is, and since when the group of tasks is there that takes it ([`super::points`]): the tasks of a leader's term are a group
//! of their own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use leasehold_node::seams::Gate;
use parking_lot::Mutex;

use super::trace::Trace;

/// See the module.
pub struct PauseGate {
    node: u64,
    trace: Arc<Trace>,
    closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl PauseGate {
    /// The open gate of a node.
    pub fn new(node: u64, trace: Arc<Trace>) -> PauseGate {
        PauseGate { node, trace, closed: AtomicBool::new(false), waiting: Mutex::default() }
    }

    /// From now on nobody steps.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    /// Everybody steps again, in the order in which they came.
    pub fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl std::fmt::Debug for PauseGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PauseGate").field("node", &self.node).finish_non_exhaustive()
    }
}

impl PauseGate {
    fn lets(&self, group_since_ns: Option<u64>, context: &mut Context<'_>) -> bool {
        super::points::stepping(self.node, group_since_ns);
        // All nodes share a thread: nobody opens it in between.
        if !self.closed.load(Ordering::SeqCst) {
            return true;
        }
        let mut waiting = self.waiting.lock();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        false
    }
}

impl Gate for PauseGate {
    fn may_step(&self, context: &mut Context<'_>) -> bool {
        self.lets(None, context)
    }

    fn within(self: Arc<Self>) -> Arc<dyn Gate> {
        Arc::new(Within { since_ns: self.trace.now_ns(), outer: self })
    }
}

/// The same gate before a group that was begun within the node's.
#[derive(Debug)]
struct Within {
    outer: Arc<PauseGate>,
    since_ns: u64,
}

impl Gate for Within {
    fn may_step(&self, context: &mut Context<'_>) -> bool {
        self.outer.lets(Some(self.since_ns), context)
    }

    fn within(self: Arc<Self>) -> Arc<dyn Gate> {
        self.outer.clone().within()
    }
}
