//! The end of a staging window: tokens close, access goes, every server is shelved and offloaded (architecture D23).

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::{Phase, Reason, ReasonCode};

use super::sendings::Kind;
use super::{Job, Memory, Setback, end, escalate, or_look_again, reason_of};
use crate::leader::desired;
use crate::openstack::CloudError;
use crate::openstack::nova::{Server, Verb};

/// A shelved server that Nova does not offload by itself is offloaded after this.
const OFFLOAD_AFTER: Duration = Duration::from_secs(2);
/// A verb that seems not to have arrived is sent again after this.
const AGAIN: Duration = Duration::from_secs(3);

/// How soon to look again at a server that cannot be parked.
const BROKEN_AGAIN: Duration = Duration::from_secs(1);

/// One pass.
pub async fn pass(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    let class = job.class();
    let hosts = desired::hosts_in(job.reservation, Phase::Staging);
    if !memory.closed {
        let views = job.converge(&hosts).await?;
        if views.iter().any(|view| view.read.is_open(&class)) {
            return Err(Setback::poll());
        }
        memory.closed = true;
    }
    // Parking is state verbs: it does not wait for the right that taking access away needs.
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    let there: Vec<&Server> = servers.iter().filter(|server| !server.is_gone()).collect();
    let parked = clear(job, memory, &there).await;
    let access = job.set_access(memory, false).await;
    parked?;
    access?;
    let views = job.converge(&hosts).await?;
    if views.iter().any(|view| view.read.used(&class) > 0) { Err(Setback::poll()) } else { Ok(Outcome::Done) }
}

/// Gets servers off hosts that are promised to others from the end of the margin on: shelves them, and after that deletes
/// what cannot be shelved. `Ok` when all are off.
pub async fn clear(job: &Job<'_>, memory: &mut Memory, servers: &[&Server]) -> Result<(), Setback> {
    let (moving, given_up) = escalate::split(job, memory, servers);
    let parked = shelve_all(job, memory, &moving).await;
    let limit = desired::parked_by(job.lease, job.reservation).timestamp();
    let deleted = match given_up.is_empty() || job.has_come(limit).await? {
        true => escalate::delete(job, memory, &given_up).await,
        false => Err(Setback::poll()),
    };
    escalate::told(job, memory, servers, deleted.and(parked))
}

/// Moves every server one step towards offloaded, and gives its image to its project. `Ok` when all are there.
pub async fn shelve_all(job: &Job<'_>, memory: &mut Memory, servers: &[&Server]) -> Result<(), Setback> {
    let now = job.work.clock.mono();
    let mut waiting = false;
    let mut broken = Vec::new();
    let mut calls = Vec::new();
    for server in servers.iter().copied().filter(|server| !server.is_gone()) {
        if server.is_parked() {
            continue;
        }
        if server.status == "ERROR" && server.task_state.is_none() {
            broken.push(server);
            continue;
        }
        waiting = true;
        let may_send = |again| memory.sent.may_send(Kind::Park, &server.id, now, again);
        let verb = match server.status.as_str() {
            _ if server.task_state.is_some() => None,
            // Nova offloads by itself unless told otherwise; a moment is left for that.
            "SHELVED" => may_send(OFFLOAD_AFTER).then_some(Verb::ShelveOffload),
            "ACTIVE" | "SHUTOFF" | "PAUSED" | "SUSPENDED" => may_send(AGAIN).then_some(Verb::Shelve),
            _ => None,
        };
        calls.extend(verb.map(|verb| (server, verb)));
    }
    let nova = job.cloud.nova();
    let mut sends = Vec::new();
    for (server, verb) in &calls {
        let call = nova.act(&job.errand, &server.id, *verb);
        sends.push(memory.sent.send(job, Kind::Park, &server.id, call).boxed());
    }
    // All were sent: one that failed is told, and keeps nobody from what comes after.
    let mut result = Ok(());
    for ((server, _), sent) in calls.iter().zip(join_all(sends).await) {
        if let Err(error) = &sent {
            memory.refusals.insert(server.id.clone(), reason_of(error));
        }
        result = result.and(or_look_again(sent));
    }
    let given = give_shelves(job, memory, servers).await;
    // They cannot be shelved. They hold a token only if they once ran; the room is promised to others after the margin.
    let removed = remove_broken(job, memory, &broken).await;
    result?;
    given?;
    removed?;
    if waiting { Err(Setback::poll()) } else { Ok(()) }
}

/// The image of a shelve by the service user belongs to the service project, and would be left behind when the tenant
/// unshelves or deletes (architecture D25).
pub async fn give_shelves(job: &Job<'_>, memory: &mut Memory, servers: &[&Server]) -> Result<(), Setback> {
    let fresh: Vec<&Server> = servers.iter().copied().filter(|s| s.is_parked() && !memory.given.contains(&s.id)).collect();
    let mut gifts = Vec::new();
    for server in &fresh {
        gifts.push(give_shelf(job, server).boxed());
    }
    let mut result = Ok(());
    for (server, given) in fresh.iter().zip(join_all(gifts).await) {
        match given {
            Ok(()) => drop(memory.given.insert(server.id.clone())),
            Err(error) => result = result.and(Err(error.into())),
        }
    }
    result
}

/// Gives one parked server's shelf image to the server's project.
async fn give_shelf(job: &Job<'_>, server: &Server) -> Result<(), CloudError> {
    let glance = job.cloud.glance();
    for image in glance.images_of_server(&server.id).await? {
        let ours = image.owner.as_deref() != Some(server.tenant_id.as_str());
        let shelf = image.name.as_deref().is_some_and(|name| name.ends_with("-shelved"));
        if ours && shelf && image.status == "active" {
            match glance.give(&job.errand, &image.id, &server.tenant_id).await {
                Ok(_) => {}
                // Gone meanwhile: the tenant deleted the server.
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// Servers in ERROR on their hosts are deleted once the margin is over and they still hold a token.
async fn remove_broken(job: &Job<'_>, memory: &Memory, servers: &[&Server]) -> Result<(), Setback> {
    let there: Vec<&Server> = servers.iter().copied().filter(|server| server.hypervisor_hostname.is_some()).collect();
    let Some(first) = there.first() else { return Ok(()) };
    if !job.has_come(desired::parked_by(job.lease, job.reservation).timestamp()).await? {
        let reason =
            Reason { code: ReasonCode::ServerFailed, text: format!("server {} is in ERROR and cannot be parked", first.id) };
        return Err(Setback::NotYet { again_in: BROKEN_AGAIN, reason: Some(reason) });
    }
    for server in there.iter().filter(|server| memory.sent.times(Kind::Delete, &server.id) == 0) {
        tracing::warn!(server = server.id, lease = %job.lease.id, "deleting a server in ERROR that holds staged capacity");
    }
    end::delete(job, memory, &there).await?;
    Err(Setback::poll())
}
