//! Holds a node still, as SIGSTOP does: none of its tasks takes a step, time and the others go on. It also knows whose step
//! it is ([`super::points`]).

use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Waker};

use leasehold_node::seams::Gate;
use parking_lot::Mutex;

/// See the module.
#[derive(Debug)]
pub struct PauseGate {
    node: u64,
    closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl PauseGate {
    /// The open gate of a node.
    pub fn new(node: u64) -> PauseGate {
        PauseGate { node, closed: AtomicBool::new(false), waiting: Mutex::default() }
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

impl Gate for PauseGate {
    fn may_step(&self, context: &mut Context<'_>) -> bool {
        super::points::stepping(self.node);
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
