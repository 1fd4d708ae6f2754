//! Leases with priorities: some give way to others, some take the room of such. They are large, and lie close to each other.

use leasehold_ledger::command::{LeaseWish, StartWish};
use leasehold_ledger::model::{PoolKind, Precedence, Seconds};

use super::{Project, Wanted, Workload};
use crate::plan::Draw;

/// Of so many operations one asks for a lease with a priority.
pub(super) const ONE_IN: usize = 6;
/// Of so many such leases one is asked about first, where questions are.
const WHAT_IF_ONE_IN: usize = 5;

impl Workload {
    /// A lease that gives way, one that takes room, or both; or what would become of it.
    pub(super) fn ranked(&self, draw: &mut Draw, project: &Project) -> Wanted {
        let mut wish = self.wish(draw, project);
        // Others are about several reservations.
        wish.reservations.truncate(1);
        let keeps_kind = draw.below(4) == 0;
        for one in &mut wish.reservations {
            let staged_later = one.staging.is_some_and(|staging| staging.start.is_some());
            one.staging = one.staging.filter(|_| staged_later);
            let instance = one.resource.instance_mut();
            instance.amount = u32::try_from(draw.between(1, 6)).unwrap_or(2);
            instance.affinity = None;
            instance.pool = [None, Some(PoolKind::Dedicated)][draw.below(2)];
            if !keeps_kind {
                (instance.zone, instance.required_traits, instance.forbidden_traits) = Default::default();
            }
        }
        // What is staged keeps its times.
        if wish.reservations.iter().all(|one| one.staging.is_none()) {
            let grid = Seconds::from_unix_s(i64::try_from(self.now_s() / 10 * 10).unwrap_or(0)).unwrap_or_default();
            let tens = |draw: &mut Draw, from, to| 10 * u32::try_from(draw.between(from, to)).unwrap_or(1);
            let start = grid.plus(tens(draw, 2, 14));
            (wish.start, wish.end) = (StartWish::At(start), start.plus(tens(draw, 2, 12)));
        }
        let priority = |draw: &mut Draw, from, to| u8::try_from(draw.between(from, to)).unwrap_or(1);
        wish.precedence = match draw.below(10) {
            0..=4 => Precedence { priority: priority(draw, 0, 3), preemptible: true, preempt: false },
            5..=7 => Precedence { priority: priority(draw, 1, 5), preemptible: false, preempt: true },
            8 => Precedence { priority: priority(draw, 1, 5), preemptible: true, preempt: true },
            _ => Precedence { priority: priority(draw, 1, 5), preemptible: false, preempt: false },
        };
        let asks_first = draw.below(WHAT_IF_ONE_IN) == 0 && self.world.plan.sim.questions && self.wire.is_none();
        let wish: Box<LeaseWish> = Box::new(wish);
        if asks_first { Wanted::WhatIf(wish) } else { Wanted::Create(wish) }
    }
}
