//! The end: tokens close, access goes, servers are treated by `on_end`, and when nothing uses the tokens any more they,
//! the class and the flavor go. The hold sinks after the outcome is recorded, when the ledger has freed the capacity.

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::OnEnd;

use super::sendings::Kind;
use super::{Job, Memory, Setback, escalate, or_look_again, park, snapshot};
use crate::leader::desired;
use crate::openstack::nova::Server;

/// A delete that seems not to have arrived is sent again after this.
const AGAIN: std::time::Duration = std::time::Duration::from_secs(5);

/// One pass.
pub async fn pass(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    let class = job.class();
    let hosts = desired::hosts_of(job.reservation);
    // A host that fails must not keep the others' servers: it is told after they were treated.
    if !memory.closed {
        let seen = job.converge_each(&hosts).await?;
        if seen.views.iter().any(|view| view.read.is_open(&class)) {
            return Err(Setback::poll());
        }
        memory.closed = seen.failed.is_none();
    }
    let before = job.work.cells.before(job.work.clock.as_ref());
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    let treated = treat(job, memory, &servers).await;
    let access = job.set_access(memory, false).await;
    treated?;
    access?;
    // Nothing is used on a host whose provider is gone.
    let seen = job.converge_each(&hosts).await?;
    if let Some(error) = seen.failed {
        return Err(error.into());
    }
    if seen.views.iter().any(|view| view.read.inventories.inventories.contains_key(&class)) {
        return Err(Setback::poll());
    }
    // Without its flavor a parked server could never be woken, and nobody would look for it any more.
    job.list_was_whole(before).await?;
    forget_group(job).await?;
    let keeps = job.reservation.on_end != OnEnd::Delete && servers.iter().any(|server| !server.is_gone());
    if !keeps {
        forget(job, memory, &class).await?;
    }
    Ok(Outcome::Done)
}

/// Treats every server as `on_end` wants, and deletes what lets nothing be done with it.
async fn treat(job: &Job<'_>, memory: &mut Memory, servers: &[Server]) -> Result<(), Setback> {
    let there: Vec<&Server> = servers.iter().filter(|server| !server.is_gone()).collect();
    let (moving, given_up) = escalate::split(job, memory, &there);
    let treated = match job.reservation.on_end {
        OnEnd::Delete => delete_all(job, memory, &there).await,
        OnEnd::Shelve => park::shelve_all(job, memory, &moving).await,
        OnEnd::Snapshot => snapshot::snapshot_all(job, memory, &moving).await,
    };
    let deleted = escalate::delete(job, memory, if job.reservation.on_end == OnEnd::Delete { &[] } else { &given_up }).await;
    escalate::told(job, memory, &there, deleted.and(treated))
}

/// Deletes every server. `Ok` when none is left.
async fn delete_all(job: &Job<'_>, memory: &mut Memory, there: &[&Server]) -> Result<(), Setback> {
    if there.is_empty() {
        return Ok(());
    }
    delete(job, memory, there).await?;
    Err(Setback::poll())
}

/// Sends deletes for these servers, paced.
pub async fn delete(job: &Job<'_>, memory: &Memory, servers: &[&Server]) -> Result<(), Setback> {
    job.unfenced_right().await?;
    let permit = job.unfenced();
    let errand = job.errand.under(&permit);
    let now = job.work.clock.mono();
    let due: Vec<_> = servers
        .iter()
        .filter(|server| server.task_state.as_deref() != Some("deleting"))
        .filter(|server| memory.sent.may_send(Kind::Delete, &server.id, now, AGAIN))
        .collect();
    let nova = job.cloud.nova();
    let mut sends = Vec::new();
    for server in due {
        let call = nova.delete_server(&errand, &server.id);
        sends.push(memory.sent.send(job, Kind::Delete, &server.id, call).boxed());
    }
    for result in join_all(sends).await {
        or_look_again(result)?;
    }
    Ok(())
}

/// Flavor and class go; nothing needs them any more.
async fn forget(job: &Job<'_>, memory: &mut Memory, class: &str) -> Result<(), Setback> {
    let nova = job.cloud.nova();
    nova.delete_flavor(&job.errand, &job.flavor_id()).await?;
    match job.cloud.placement().delete_class(&job.errand, class).await {
        Ok(()) => {}
        // An inventory still has it. If it is one of the reservation's hosts, the next look drops it there.
        Err(error) if error.is_conflict() && !std::mem::replace(&mut memory.class_refused, true) => return Err(Setback::poll()),
        // At that look none of them had it: another host has, that the reservation was moved from, and the ledger may not even know
        // it any more. Capacity here does not wait for that: the reconciler tidies that host up, and then finds the class (seed 1097).
        Err(error) if error.is_conflict() => {
            tracing::warn!(class, "a class is left that another host still has in its inventory");
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// The server group goes in any case: what stays shelved does not belong together any more. Others of its name, made by calls
/// that came late, are the reconciler's.
async fn forget_group(job: &Job<'_>) -> Result<(), Setback> {
    if let Some(id) = job.reservation.server_group_id {
        job.cloud.nova().delete_server_group(&job.errand, id).await?;
    }
    Ok(())
}
