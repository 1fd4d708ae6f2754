//! Moves leases that have not begun away from hosts that are down or promise more than they have or, in a downtime, are to
//! have, and has those that cannot be moved say that they lack a host. Sends nothing to the cloud: what moved is followed as
//! any change of a lease is.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{HostId, LeaseId};
use leasehold_ledger::plan::{self, Ailing, Looked, NoPlan, Overlay};
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::{mutant, state::State};

use super::work::Work;
use crate::seams::{Mono, long};
use crate::telemetry::metrics;

/// Between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A lease that was tried is left alone for so long: its hold may have been refused, and room does not come back at once.
const TRY_AGAIN: Duration = Duration::from_secs(30);
/// For how many times as long at most, after there was no room that many times.
const TRY_AGAIN_TIMES_MAX: u32 = 20;
/// A round ends after so long, or after so many leases for which there was no room: to find none, all hosts are asked, and a host
/// that dies meanwhile is to be seen. The next round goes on with those that were not tried yet.
const ROUND: Duration = LOOK_EVERY;
const REFUSED_PER_ROUND: usize = 32;

/// What one leader remembers between its rounds.
#[derive(Default)]
struct Memory {
    /// Since when hosts are seen to be sick.
    sick: BTreeMap<HostId, Mono>,
    /// When leases that are still to be moved were tried last, and how often in a row they stayed.
    tried: BTreeMap<LeaseId, (Mono, u32)>,
}

impl Memory {
    /// How far the leases of each sick host are looked at: of one that has been so for the grace to the horizon, else only to
    /// the end of the grace. A restart of nova-compute moves nobody but who needs the host at once. A downtime was declared, so
    /// neither grace nor horizon count for who is short of what it takes.
    fn looked_at(&mut self, work: &Work, state: &State) -> BTreeMap<HostId, Looked> {
        let now = work.clock.mono();
        let since = |host| (host, self.sick.get(&host).copied().unwrap_or(now));
        self.sick = plan::sick_hosts(state).map(since).collect();
        let (grace, horizon) = (work.config.healing_grace, work.config.healing_horizon);
        let looked = |since: Mono| {
            let for_long = now.since(since) >= grace;
            let far = if for_long { horizon } else { grace.min(horizon) };
            let until = state.clock().floor_to_second().plus(u32::try_from(far.as_secs()).unwrap_or(u32::MAX));
            Looked { until, begun: for_long && !horizon.is_zero(), downtimes: !horizon.is_zero() }
        };
        let mut all: BTreeMap<HostId, Looked> = self.sick.iter().map(|(host, since)| (*host, looked(*since))).collect();
        for host in state.short_hosts().filter(|_| !horizon.is_zero()) {
            all.entry(host).or_insert(Looked::DOWNTIMES);
        }
        all
    }
}

impl Memory {
    /// Those of these leases that are tried now: first those that were not yet, each group in the order given. Forgets the others.
    fn next_tries(&mut self, now: Mono, mut ailing: Vec<Ailing>) -> Vec<Ailing> {
        let ids: BTreeSet<LeaseId> = ailing.iter().map(|one| one.lease_id).collect();
        self.tried.retain(|id, (at, _)| ids.contains(id) || now.since(*at) < TRY_AGAIN);
        let pause = |times: u32| TRY_AGAIN * times.clamp(1, TRY_AGAIN_TIMES_MAX);
        ailing.retain(|one| self.tried.get(&one.lease_id).is_none_or(|(at, times)| now.since(*at) >= pause(*times)));
        ailing.sort_by_key(|one| self.tried.contains_key(&one.lease_id));
        ailing
    }

    fn has_tried(&mut self, now: Mono, lease: LeaseId, moved: bool) {
        let (at, times) = self.tried.entry(lease).or_insert((now, 0));
        (*at, *times) = (now, if moved { 0 } else { times.saturating_add(1) });
    }
}

/// Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let mut memory = Memory::default();
    loop {
        work.clock.sleep(LOOK_EVERY).await;
        heal(&work, &mut memory).await;
    }
}

/// One round.
async fn heal(work: &Work, memory: &mut Memory) {
    // The ledger's clock may be ten seconds behind (`clock.rs`), which counts for what is frozen.
    let now = |state: &State| work.now().max(state.clock());
    let (looked_at, ailing) = work.ledger.look(|state| {
        let looked_at = memory.looked_at(work, state);
        let ailing = plan::ailing(state, now(state), &looked_at);
        (looked_at, ailing)
    });
    let (begun, mut refused) = (work.clock.mono(), Vec::new());
    for one in memory.next_tries(begun, ailing) {
        if refused.len() >= REFUSED_PER_ROUND || work.clock.mono().since(begun) >= ROUND {
            break;
        }
        if work.ledger.look(|state| plan::still_ails(state, now(state), &one)) {
            let moved = move_away(work, &one).await;
            memory.has_tried(work.clock.mono(), one.lease_id, moved);
            if !moved {
                refused.push(one.lease_id);
            }
        }
    }
    if let Some(first) = refused.first() {
        tracing::warn!(leases = refused.len(), lease = %first, "no other hosts have room for leases that are to be moved, or the ledger refused it, this one among them");
    }
    let misjudged = work.ledger.look(|state| plan::misjudged(state, &looked_at));
    for lease_id in misjudged {
        // Planted bug: a lease that lacks a host is told to do so, and never that it does not any more.
        if mutant!("N40") && work.ledger.look(|state| state.lease(lease_id).is_some_and(|lease| lease.degraded)) {
            continue;
        }
        if matches!(propose(work, lease_id, Command::ReviewLease { lease_id }).await, Proposed::Taken) {
            tracing::info!(lease = %lease_id, "looked again whether a lease lacks a host");
        }
    }
    metrics::leases_degraded(work.ledger.look(|state| state.degraded_leases().count()));
}

/// Whether it moved, or it does not matter any more.
async fn move_away(work: &Work, one: &Ailing) -> bool {
    let Ailing { lease_id, avoid, .. } = one;
    match long(|| work.ledger.look(|state| plan::plan_rebind(state, &Overlay::default(), *lease_id, avoid))) {
        Ok(planned) => {
            match propose(work, *lease_id, Command::Rebind { lease_id: *lease_id, moves: planned.reservations }).await {
                Proposed::Taken => {
                    metrics::lease_moved();
                    tracing::info!(lease = %lease_id, ?avoid, lost = one.lost, "a lease moved away from hosts that cannot serve it");
                    true
                }
                Proposed::Refused => false,
                // It says nothing of the lease, and may have been taken.
                Proposed::Unanswered => true,
            }
        }
        Err(NoPlan::NoRoom(_)) => {
            tracing::debug!(lease = %lease_id, ?avoid, "no other hosts have room for a lease");
            false
        }
        Err(NoPlan::Rejected(rejection)) => {
            tracing::info!(lease = %lease_id, %rejection, "a lease is not moved");
            true
        }
    }
}

/// What became of a proposal.
enum Proposed {
    Taken,
    Refused,
    Unanswered,
}

/// What the ledger did not take is looked at anew in a later round.
async fn propose(work: &Work, lease_id: LeaseId, command: Command) -> Proposed {
    match work.ledger.propose(command).await {
        Ok(Ok(_)) => Proposed::Taken,
        // Deleted, or changed in between.
        Ok(Err(rejection @ (Rejection::LeaseNotFound(_) | Rejection::WrongStatus { .. } | Rejection::PlanStale { .. }))) => {
            metrics::plan_refused(&rejection);
            tracing::info!(lease = %lease_id, %rejection, "a lease changed before it was healed");
            Proposed::Refused
        }
        Ok(Err(rejection)) => {
            tracing::warn!(lease = %lease_id, %rejection, "the ledger does not let a lease be healed");
            Proposed::Refused
        }
        Err(error) => {
            tracing::warn!(lease = %lease_id, %error, "the ledger did not take the healing of a lease; trying again");
            Proposed::Unanswered
        }
    }
}

#[cfg(test)]
mod tests {
    use leasehold_ledger::model::Seconds;
    use uuid::Uuid;

    use super::*;

    fn ailing(ids: impl IntoIterator<Item = u128>) -> Vec<Ailing> {
        let one = |id| Ailing { lease_id: LeaseId(Uuid::from_u128(id)), avoid: Vec::new(), begins: Seconds(0), lost: false };
        ids.into_iter().map(one).collect()
    }

    /// Those that are tried at a second, by id.
    fn tried(memory: &mut Memory, second: u64, ids: impl IntoIterator<Item = u128>) -> Vec<u128> {
        let found = memory.next_tries(Mono(Duration::from_secs(second)), ailing(ids));
        found.iter().map(|one| one.lease_id.0.as_u128()).collect()
    }

    #[test]
    fn those_that_were_not_tried_come_first_and_those_without_room_more_and_more_rarely() {
        let mut memory = Memory::default();
        let try_one = |memory: &mut Memory, second: u64, id: u128, moved: bool| {
            memory.has_tried(Mono(Duration::from_secs(second)), LeaseId(Uuid::from_u128(id)), moved);
        };
        assert_eq!(tried(&mut memory, 100, 1..=4), [1, 2, 3, 4]);
        try_one(&mut memory, 100, 1, false);
        try_one(&mut memory, 100, 2, true);
        assert_eq!(tried(&mut memory, 129, 1..=4), [3, 4]);
        assert_eq!(tried(&mut memory, 130, 1..=4), [3, 4, 1, 2]);
        try_one(&mut memory, 130, 1, false);
        try_one(&mut memory, 130, 2, true);
        assert_eq!(tried(&mut memory, 160, 1..=2), [2]);
        assert_eq!(tried(&mut memory, 190, 1..=2), [1, 2]);
        for _ in 0..100 {
            try_one(&mut memory, 190, 1, false);
        }
        assert_eq!(tried(&mut memory, 789, [1]), [0; 0]);
        assert_eq!(tried(&mut memory, 790, [1]), [1]);
        assert_eq!(tried(&mut memory, 791, [5]), [5], "who is not to be moved any more");
        assert_eq!(tried(&mut memory, 792, [1, 5]), [1, 5], "is forgotten");
    }
}
