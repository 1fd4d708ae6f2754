//! The end of a staging window: tokens close, access goes, every server is shelved and offloaded (architecture D23).

use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::{Phase, ReasonCode};

use super::{Job, Memory, Sent, Setback, or_look_again};
use crate::leader::desired;
use crate::openstack::CloudError;
use crate::openstack::nova::{Server, Verb};

/// A shelved server that Nova does not offload by itself is offloaded after this.
const OFFLOAD_AFTER: Duration = Duration::from_secs(2);
/// A verb that seems not to have arrived is sent again after this.
const AGAIN: Duration = Duration::from_secs(3);

/// One pass.
pub async fn pass(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    let class = job.class();
    let hosts = desired::hosts_in(job.reservation, Phase::Staging);
    let views = job.converge(&hosts).await?;
    if views.iter().any(|view| view.read.is_open(&class)) {
        return Err(Setback::poll());
    }
    // Parking is state verbs: it does not wait for the right that taking access away needs.
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    let parked = shelve_all(job, memory, &servers).await;
    let access = job.set_access(memory, false).await;
    parked?;
    access?;
    let views = job.converge(&hosts).await?;
    if views.iter().any(|view| view.read.used(&class) > 0) { Err(Setback::poll()) } else { Ok(Outcome::Done) }
}

/// Moves every server one step towards offloaded, and gives its image to its project. `Ok` when all are there.
pub async fn shelve_all(job: &Job<'_>, memory: &mut Memory, servers: &[Server]) -> Result<(), Setback> {
    let now = job.work.clock.mono();
    let mut waiting = false;
    let mut broken = None;
    let mut calls = Vec::new();
    for server in servers.iter().filter(|server| !server.is_gone()) {
        if server.is_parked() {
            continue;
        }
        if server.status == "ERROR" && server.task_state.is_none() {
            broken = Some(server);
            continue;
        }
        waiting = true;
        let since = memory.sent.get(&server.id).map(|sent| now.since(sent.at));
        let verb = match server.status.as_str() {
            _ if server.task_state.is_some() => None,
            // Nova offloads by itself unless told otherwise; a moment is left for that.
            "SHELVED" => since.is_none_or(|since| since >= OFFLOAD_AFTER).then_some(Verb::ShelveOffload),
            "ACTIVE" | "SHUTOFF" | "PAUSED" | "SUSPENDED" => since.is_none_or(|since| since >= AGAIN).then_some(Verb::Shelve),
            _ => None,
        };
        if let Some(verb) = verb {
            let times = memory.sent.get(&server.id).map_or(0, |sent| sent.times) + 1;
            memory.sent.insert(server.id.clone(), Sent { at: now, times });
            calls.push((server, verb));
        }
    }
    let nova = job.cloud.nova();
    let mut sends = Vec::new();
    for (server, verb) in calls {
        sends.push(nova.act(&job.errand, &server.id, verb).boxed());
    }
    for result in join_all(sends).await {
        or_look_again(result)?;
    }
    give_shelves(job, memory, servers).await?;
    if let Some(server) = broken {
        // It cannot be shelved. It holds a token only if it once ran; the room is promised to others after the margin.
        return remove_broken(job, server).await;
    }
    if waiting { Err(Setback::poll()) } else { Ok(()) }
}

/// The image of a shelve by the service user belongs to the service project, and would be left behind when the tenant
/// unshelves or deletes (architecture D25).
pub async fn give_shelves(job: &Job<'_>, memory: &mut Memory, servers: &[Server]) -> Result<(), Setback> {
    let fresh: Vec<&Server> = servers.iter().filter(|s| s.is_parked() && !memory.given.contains(&s.id)).collect();
    let mut gifts = Vec::new();
    for server in &fresh {
        gifts.push(give_shelf(job, server).boxed());
    }
    for (server, given) in fresh.iter().zip(join_all(gifts).await) {
        given?;
        memory.given.insert(server.id.clone());
    }
    Ok(())
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

/// A server in ERROR on a staging host is deleted once the margin is over and it still holds a token.
async fn remove_broken(job: &Job<'_>, server: &Server) -> Result<(), Setback> {
    if server.hypervisor_hostname.is_none() {
        return Ok(());
    }
    let limit = desired::parked_by(job.lease, job.reservation).timestamp();
    if job.work.ledger.look(|state| state.clock()) < limit && job.work.now() < limit {
        let text = format!("server {} is in ERROR and cannot be parked", server.id);
        return Err(Setback::waiting(ReasonCode::ServerFailed, text));
    }
    job.unfenced_right().await?;
    let permit = job.unfenced();
    let errand = job.errand.under(&permit);
    tracing::warn!(server = server.id, lease = %job.lease.id, "deleting a server in ERROR that holds staged capacity");
    or_look_again(job.cloud.nova().delete_server(&errand, &server.id).await)?;
    Err(Setback::poll())
}
