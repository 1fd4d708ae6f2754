//! Ends a node at a named point of the product's code (`fault_point!`), in the middle of the step that got there.
//!
//! All nodes of a run share a thread. Whose step it is is known from the gate that every step of every task of a node
//! passes ([`super::gate`]). What a node says of a call that it is about to send is kept here for that one step.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::Arc;

use leasehold_node::seams::fault;
use tokio::sync::oneshot;

use super::node::Machine;

thread_local! {
    static STEPPING: Cell<(u64, Option<u64>)> = const { Cell::new((0, None)) };
    static ATTEMPT: RefCell<Option<String>> = const { RefCell::new(None) };
    static POINTS: RefCell<Points> = RefCell::default();
}

#[derive(Default)]
struct Points {
    armed: BTreeMap<u64, Armed>,
    visits: BTreeMap<&'static str, u64>,
}

struct Armed {
    point: String,
    left: u32,
    machine: Arc<Machine>,
    got_there: oneshot::Sender<()>,
}

/// A run begins: nobody is waited for.
pub fn begin() {
    POINTS.with_borrow_mut(|points| *points = Points::default());
    ATTEMPT.set(None);
    fault::watch(reached);
    fault::hear(|name| ATTEMPT.set(Some(name.to_owned())));
}

/// The step that begins is one of this node, and of a group of tasks within it that is there since then, nanoseconds.
pub fn stepping(node: u64, group_since_ns: Option<u64>) {
    STEPPING.set((node, group_since_ns));
}

/// The node whose step is under way, or was last.
pub fn whose_step() -> u64 {
    STEPPING.get().0
}

/// Since when the group of tasks is there whose step is under way; `None`: it is the node's own.
pub fn group_since_ns() -> Option<u64> {
    STEPPING.get().1
}

/// What the node whose step is under way has just said that it attempts, if it did; it is said once for each call.
pub fn attempt() -> Option<String> {
    ATTEMPT.take()
}

/// Waits for a machine to get to a point for the `nth` time from now on, and holds it still there. It takes the place of what
/// was waited for on this machine before.
pub fn arm(machine: &Arc<Machine>, point: &str, nth: u32) -> oneshot::Receiver<()> {
    let (got_there, told) = oneshot::channel();
    let armed = Armed { point: point.to_owned(), left: nth.max(1), machine: machine.clone(), got_there };
    POINTS.with_borrow_mut(|points| points.armed.insert(machine.id, armed));
    told
}

/// Nobody waits any more.
pub fn disarm_all() {
    POINTS.with_borrow_mut(|points| points.armed.clear());
}

/// How often each point was got to, by all nodes together.
pub fn visits() -> BTreeMap<String, u64> {
    POINTS.with_borrow(|points| points.visits.iter().map(|(name, visits)| ((*name).to_owned(), *visits)).collect())
}

fn reached(name: &'static str) -> bool {
    POINTS.with_borrow_mut(|points| {
        *points.visits.entry(name).or_default() += 1;
        let node = STEPPING.get().0;
        let Some(armed) = points.armed.get_mut(&node).filter(|armed| armed.point == name) else { return false };
        armed.left -= 1;
        if armed.left > 0 {
            return false;
        }
        let Some(armed) = points.armed.remove(&node) else { return false };
        armed.machine.stand_dead();
        // Whoever waited may have given up in this very instant; then it goes down all the same, with the next crash.
        armed.got_there.send(()).is_ok() || armed.machine.revive()
    })
}
