//! Moves leases that have not begun away from hosts that are down or promise more than they have or, in a downtime, are to have, and has those that cannot be
//! moved say that they lack a host. Sends nothing to the cloud: what moved is followed as any change of a lease is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use leasehold_ledger::command::Command;
use leasehold_ledger::model::{HostId, LeaseId};
use leasehold_ledger::plan::{self, Ailing, Looked, NoPlan, Overlay};
use leasehold_ledger::reply::Rejection;
use leasehold_ledger::{mutant, state::State};

use super::work::Work;
use crate::seams::Mono;
use crate::telemetry::metrics;

/// Between two rounds.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A lease that was tried is left alone for so long: its hold may have been refused, and room does not come back at once.
const TRY_AGAIN: Duration = Duration::from_secs(30);

/// What one leader remembers between its rounds.
#[derive(Default)]
struct Memory {
    /// Since when hosts are seen to be sick.
    sick: BTreeMap<HostId, Mono>,
    /// When leases were tried last.
    tried: BTreeMap<LeaseId, Mono>,
}

impl Memory {
    /// How far the leases of each sick host are looked at: of one that has been so for the grace to the horizon, else only to
    /// the end of the grace. A restart of nova-compute moves nobody but who needs the host at once. A downtime was declared, so
    /// neither grace nor horizon count for who is short of what it takes.
    fn looked_at(&mut self, work: &Work, state: &State) -> BTreeMap<HostId, Looked> {
        let now = work.clock.mono();
        let since = |host| (host, self.sick.get(&host).copied().unwrap_or(now));
        self.sick = plan::sick_hosts(state).map(since).collect();
        self.tried.retain(|_, at| now.since(*at) < TRY_AGAIN);
        let (grace, horizon) = (work.config.healing_grace, work.config.healing_horizon);
        let looked = |since: Mono| {
            let for_long = now.since(since) >= grace;
            let far = if for_long { horizon } else { grace.min(horizon) };
            let until = state.clock().floor_to_second().plus(u32::try_from(far.as_secs()).unwrap_or(u32::MAX));
            Looked { until, begun: for_long && !horizon.is_zero() }
        };
        let mut all: BTreeMap<HostId, Looked> = self.sick.iter().map(|(host, since)| (*host, looked(*since))).collect();
        for host in state.short_hosts().filter(|_| !horizon.is_zero()) {
            all.entry(host).or_insert(Looked::DOWNTIMES);
        }
        all
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
    let (looked_at, ailing) = work.ledger.look(|state| {
        let looked_at = memory.looked_at(work, state);
        // The ledger's clock may be ten seconds behind (`clock.rs`), which counts for what is frozen.
        let ailing = plan::ailing(state, work.now().max(state.clock()), &looked_at);
        (looked_at, ailing)
    });
    for one in ailing {
        let still_ails = || work.ledger.look(|state| plan::still_ails(state, &one));
        if !memory.tried.contains_key(&one.lease_id) && still_ails() {
            memory.tried.insert(one.lease_id, work.clock.mono());
            move_away(work, &one).await;
        }
    }
    let misjudged = work.ledger.look(|state| plan::misjudged(state, &looked_at));
    for lease_id in misjudged {
        // Planted bug: a lease that lacks a host is told to do so, and never that it does not any more.
        if mutant!("N40") && work.ledger.look(|state| state.lease(lease_id).is_some_and(|lease| lease.degraded)) {
            continue;
        }
        if propose(work, lease_id, Command::ReviewLease { lease_id }).await {
            tracing::info!(lease = %lease_id, "looked again whether a lease lacks a host");
        }
    }
    metrics::leases_degraded(work.ledger.look(|state| state.degraded_leases().count()));
}

async fn move_away(work: &Work, one: &Ailing) {
    let Ailing { lease_id, avoid, .. } = one;
    match work.ledger.look(|state| plan::plan_rebind(state, &Overlay::default(), *lease_id, avoid)) {
        Ok(planned) => {
            if propose(work, *lease_id, Command::Rebind { lease_id: *lease_id, moves: planned.reservations }).await {
                metrics::lease_moved();
                tracing::info!(lease = %lease_id, ?avoid, lost = one.lost, "a lease moved away from hosts that cannot serve it");
            }
        }
        Err(NoPlan::NoRoom(_)) => tracing::warn!(lease = %lease_id, ?avoid, "no other hosts have room for a lease"),
        Err(NoPlan::Rejected(rejection)) => tracing::info!(lease = %lease_id, %rejection, "a lease is not moved"),
    }
}

/// Whether the ledger took it. What it did not take is looked at anew in a later round.
async fn propose(work: &Work, lease_id: LeaseId, command: Command) -> bool {
    match work.ledger.propose(command).await {
        Ok(Ok(_)) => true,
        // Deleted, or changed in between.
        Ok(Err(rejection @ (Rejection::LeaseNotFound(_) | Rejection::WrongStatus { .. } | Rejection::PlanStale { .. }))) => {
            tracing::info!(lease = %lease_id, %rejection, "a lease changed before it was healed");
            false
        }
        Ok(Err(rejection)) => {
            tracing::warn!(lease = %lease_id, %rejection, "the ledger does not let a lease be healed");
            false
        }
        Err(error) => {
            tracing::warn!(lease = %lease_id, %error, "the ledger did not take the healing of a lease; trying again");
            false
        }
    }
}
