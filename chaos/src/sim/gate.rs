//! Holds a node still, as SIGSTOP does: none of its tasks takes a step, time and the others go on. It also knows whose step
//! it is ([`super::points`]).

use std::task::{Context, Waker};

use leasehold_node::seams::Gate;
use parking_lot::Mutex;

/// See the module.
#[derive(Debug)]
pub struct PauseGate {
    node: u64,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    closed: bool,
    waiting: Vec<Waker>,
}

impl PauseGate {
    /// The open gate of a node.
    pub fn new(node: u64) -> PauseGate {
        PauseGate { node, inner: Mutex::default() }
    }

    /// From now on nobody steps.
    pub fn close(&self) {
        self.inner.lock().closed = true;
    }

    /// Everybody steps again, in the order in which they came.
    pub fn open(&self) {
        let waiting = {
            let mut inner = self.inner.lock();
            inner.closed = false;
            std::mem::take(&mut inner.waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }
}

impl Gate for PauseGate {
    fn may_step(&self, context: &mut Context<'_>) -> bool {
        let mut inner = self.inner.lock();
        if inner.closed && !inner.waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            inner.waiting.push(context.waker().clone());
        }
        super::points::stepping(self.node);
        !inner.closed
    }
}
