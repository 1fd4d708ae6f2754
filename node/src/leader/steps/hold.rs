//! The hold of a new or changed reservation: raised on its shared hosts, moved elsewhere where Placement has no room,
//! given up after three moves (architecture D24). Affinity's server group is made here too.

use leasehold_ledger::command::{Command, Outcome};
use leasehold_ledger::model::{HostId, LeaseStatus, PoolKind, Reason, ReasonCode};
use leasehold_ledger::plan::{self, NoPlan, Overlay};
use uuid::Uuid;

use super::{Job, Memory, Setback};
use crate::leader::{host_monitor, propose_until_seen};
use crate::openstack::nova::GroupPolicy;

/// Moves tried before the reservation is given up.
const REBINDS_MAX: u32 = 3;

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
    let views = job.converge(&shared).await?;
    let refused: Vec<_> = views.iter().filter(|view| !view.read.holds(&view.wish)).collect();
    if let Some(first) = refused.first() {
        let text = first.hold_refused.clone().unwrap_or_else(|| "the hold is smaller than what is booked".to_owned());
        let hosts: Vec<HostId> = refused.iter().map(|view| view.wish.host).collect();
        return move_away(job, memory, &hosts, text).await;
    }
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
                Err(rejection) => tracing::info!(lease = %lease_id, %rejection, "moving a lease was refused"),
            }
            Err(Setback::NotYet { again_in: std::time::Duration::from_millis(20), reason: None })
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

/// The server group that affinity true or false wants, made by the service user. Names are not unique in Nova, so it is
/// looked for first; of two made by a lost answer the smaller id is taken and the reconciler removes the other.
async fn server_group(job: &Job<'_>) -> Result<Option<Uuid>, Setback> {
    let policy = match job.reservation.wish.instance().affinity {
        None => return Ok(None),
        Some(true) => GroupPolicy::Affinity,
        Some(false) => GroupPolicy::AntiAffinity,
    };
    if let Some(id) = job.reservation.server_group_id {
        return Ok(Some(id));
    }
    let name = job.work.names.server_group(job.lease.id, job.reservation.id);
    let nova = job.cloud.nova();
    let found = nova.server_groups().await?.into_iter().filter(|group| group.name == name).map(|group| group.id).min();
    if let Some(id) = found {
        return Ok(Some(id));
    }
    Ok(Some(nova.create_server_group(&job.errand, &name, policy).await?.id))
}
