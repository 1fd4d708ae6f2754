//! The hold of a new or changed reservation: raised on its shared hosts, moved elsewhere where Placement has no room,
//! given up after three moves (architecture D24). Affinity's server group is waited for here, or made (docs/decisions/0013).

use std::time::Duration;

use leasehold_ledger::command::{Command, FoundGroup, Outcome};
use leasehold_ledger::model::{HostId, LeaseStatus, PoolKind, Reason, ReasonCode, Timestamp};
use leasehold_ledger::plan::{self, NoPlan, Overlay};
use uuid::Uuid;

use super::{Job, Memory, Setback};
use crate::leader::{host_monitor, propose_until_seen, server_groups};
use crate::telemetry::metrics;

/// Moves tried before the reservation is given up.
const REBINDS_MAX: u32 = 3;
/// So long the node that took the request has to say what came of the group, which it makes within five seconds.
const AWAITED_MS: u64 = 6_000;
/// From here on the promise is given without a group. The ledger withdraws it at ten seconds.
const GIVEN_WITHOUT_MS: u64 = 8_000;
/// What one attempt of the leader's may take, so that a Nova that hangs does not take the promise with it.
const ATTEMPT: Duration = Duration::from_millis(1_500);
/// Between two looks whether the group is there, and between two attempts to make it.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
const TRY_AGAIN: Duration = Duration::from_secs(1);

/// One pass.
pub async fn pass(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    let shared: Vec<HostId> = job.work.ledger.look(|state| {
        let is_shared = |id: &HostId| state.host(*id).is_some_and(|host| host.description.pool == PoolKind::Shared);
        // The new bindings: what an update waits for is booked already and so part of the peak.
        let mut hosts: Vec<HostId> = job.reservation.bindings.iter().map(|binding| binding.host).collect();
        hosts.sort_unstable();
        hosts.dedup();
        hosts.into_iter().filter(is_shared).collect()
    });
    // While the group is waited for, the hold is looked at once: with every look the hosts would be read again.
    if memory.held {
        return Ok(Outcome::Held { server_group_id: server_group(job).await? });
    }
    let views = job.converge(&shared).await?;
    let refused: Vec<_> = views.iter().filter(|view| !view.read.holds(&view.wish)).collect();
    if let Some(first) = refused.first() {
        let text = first.hold_refused.clone().unwrap_or_else(|| "the hold is smaller than what is booked".to_owned());
        let hosts: Vec<HostId> = refused.iter().map(|view| view.wish.host).collect();
        return move_away(job, memory, &hosts, text).await;
    }
    memory.held = true;
    let server_group_id = server_group(job).await?;
    Ok(Outcome::Held { server_group_id })
}

/// Tells the ledger what the hosts really have, and moves the lease, or gives it up.
async fn move_away(job: &Job<'_>, memory: &mut Memory, hosts: &[HostId], text: String) -> Result<Outcome, Setback> {
    for host in hosts {
        host_monitor::observe(job.work, *host).await?;
    }
    memory.avoid.extend_from_slice(hosts);
    memory.rebinds += 1;
    let lease_id = job.lease.id;
    let planned = job.work.ledger.look(|state| plan::plan_rebind(state, &Overlay::default(), lease_id, &memory.avoid));
    match planned {
        Ok(planned) if memory.rebinds <= REBINDS_MAX => {
            let command = Command::Rebind { lease_id, moves: planned.reservations };
            match job.work.ledger.propose(command).await? {
                // The row stands for the new hosts now; a stale plan is made anew.
                Ok(_) => {}
                Err(rejection) => {
                    metrics::plan_refused(&rejection);
                    tracing::info!(lease = %lease_id, %rejection, "moving a lease was refused");
                }
            }
            Err(Setback::NotYet { again_in: Duration::from_millis(20), reason: None })
        }
        Ok(_) | Err(NoPlan::NoRoom(_) | NoPlan::Rejected(_)) => give_up(job, text).await,
    }
}

/// A new lease is withdrawn; a changed one returns to what it was.
async fn give_up(job: &Job<'_>, text: String) -> Result<Outcome, Setback> {
    let reason =
        Reason { code: ReasonCode::CloudRefused, text: format!("Placement has no room: {text}").chars().take(500).collect() };
    if job.lease.status != LeaseStatus::Creating {
        return Ok(Outcome::HoldRefused { reason });
    }
    let command = Command::WithdrawLease { lease_id: job.lease.id, reason };
    if let Err(rejection) = propose_until_seen(&job.work.ledger, &job.work.clock, command).await {
        tracing::warn!(lease = %job.lease.id, %rejection, "the ledger refused to withdraw a lease");
    }
    Err(Setback::poll())
}

/// The server group that affinity true or false wants. The node that took the request makes it with the tenant's token; when
/// it could not, or said nothing for too long, it is made here. Servers land as asked without it, so that a Nova that cannot
/// make it takes no promise back: the reconciler makes it then.
async fn server_group(job: &Job<'_>) -> Result<Option<Uuid>, Setback> {
    let reservation = job.reservation;
    let Some(affinity) = reservation.wish.instance().affinity.filter(|_| reservation.server_group_id.is_none()) else {
        return Ok(reservation.server_group_id);
    };
    let since = |ms| asked_at(job).plus_ms(ms);
    if reservation.group_awaited && !job.has_come(since(AWAITED_MS)).await? {
        return Err(Setback::NotYet { again_in: LOOK_AGAIN, reason: None });
    }
    let made = async {
        let nova = job.cloud.nova();
        let there = nova.server_groups().await?;
        server_groups::find_or_make(&nova, &there, &job.errand, &job.work.names, (job.lease, reservation)).await
    };
    let (text, pause) = match job.work.clock.timeout(ATTEMPT, made).await {
        Ok(Ok(None)) => return Ok(None),
        Ok(Ok(Some(found))) => {
            let id = found.server_group_id;
            // Also what is told of it has to go, or to come.
            if reservation.group_awaited || reservation.server_group_problem.is_some() || found.problem.is_some() {
                job.record_group(found).await?;
            }
            return Ok(id);
        }
        Ok(Err(error)) if error.withheld().is_some() => return Err(error.into()),
        Ok(Err(error)) => (error.to_string(), error.retry_after().unwrap_or(TRY_AGAIN).max(TRY_AGAIN)),
        Err(_) => ("no answer in time".to_owned(), TRY_AGAIN),
    };
    tracing::warn!(lease = %job.lease.id, reservation = %reservation.id, error = text, "a server group could not be made");
    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    if !job.has_come(since(GIVEN_WITHOUT_MS.saturating_sub(pause_ms))).await? {
        return Err(Setback::NotYet { again_in: pause, reason: None });
    }
    tracing::warn!(lease = %job.lease.id, "the lease is promised without its server group, which is made later");
    if reservation.group_awaited {
        // Nobody waits for that node any more.
        let problem = Some(format!("{}; {text}", server_groups::UNTOLD));
        job.record_group(FoundGroup { affinity, server_group_id: None, problem }).await?;
    }
    job.work.reconcile_in(pause.max(Duration::from_secs(5)));
    Ok(None)
}

/// When the reservation was asked for, or asked to change: the ledger gives its hold ten seconds from there.
fn asked_at(job: &Job<'_>) -> Timestamp {
    match job.lease.status {
        LeaseStatus::Creating => job.lease.created_at,
        _ => job.lease.updated_at.unwrap_or(job.lease.created_at),
    }
}
