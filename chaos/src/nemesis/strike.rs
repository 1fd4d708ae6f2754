//! One fault of the plan as it is carried out: what the record says of it has its number, its place in the plan, so that one
//! that was left out says nothing of another that looks alike.

use crate::plan::Fault;
use crate::sim::world::World;

/// See the module.
pub struct Strike<'a> {
    world: &'a World,
    /// Its place in the plan.
    pub number: u64,
    kind: String,
    text: String,
}

impl<'a> Strike<'a> {
    /// Its time has come.
    pub fn new(world: &'a World, number: u64, fault: &Fault) -> Strike<'a> {
        let text = serde_json::to_string(fault).unwrap_or_default();
        Strike { world, number, kind: fault.kind(), text }
    }

    /// It happens now, to a node if it is to one; `what` says in which words the record has it.
    pub fn is_told(&self, node: Option<u64>, what: &str) {
        self.world.trace.incident_of(self.number, node, what, self.text.clone());
    }

    /// It happens now. What it does is told by whom it is done to.
    pub fn happens(&self) {
        self.world.trace.incident_of(self.number, None, HAPPENS, self.kind.clone());
    }

    /// It is left out: there was nothing to do, or it was more than may be broken.
    pub fn is_skipped(&self, node: Option<u64>) {
        self.world.trace.incident_of(self.number, node, SKIPPED, self.text.clone());
    }
}

/// A fault whose doing is told in other words.
pub const HAPPENS: &str = "happens";
/// A fault that was left out.
pub const SKIPPED: &str = "skipped";
