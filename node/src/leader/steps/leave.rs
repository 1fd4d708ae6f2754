//! What a staging left behind at the start: servers on hosts that the lease does not have, or more of them than it has
//! slots there. They stand where others are promised room, so the start shelves them; it wakes them on its own hosts.

use std::collections::{BTreeMap, BTreeSet};

use leasehold_ledger::model::{HostId, Phase, ReasonCode};

use super::escalate::TELL_AFTER;
use super::{Job, Memory, Setback, park};
use crate::leader::desired;
use crate::leader::host_writer::HostView;
use crate::openstack::nova::Server;

/// Notes which of the lease's own hosts carry more than it has there.
pub fn note_crowded(job: &Job<'_>, memory: &mut Memory, views: &[std::sync::Arc<HostView>]) {
    if job.reservation.staging.is_some() {
        let crowded = views.iter().filter(|view| excess(job, view) > 0);
        let before = memory.crowded.len();
        memory.crowded.extend(crowded.map(|view| view.wish.host));
        // Nothing was left behind on the hosts that were looked at before; this one was not among them.
        memory.left_staging &= memory.crowded.len() == before;
    }
}

/// Shelves what is left behind. `Ok` when nothing is.
pub async fn shelve(job: &Job<'_>, memory: &mut Memory) -> Result<(), Setback> {
    let hosts = hosts(job, memory);
    if hosts.is_empty() {
        return Ok(());
    }
    let seen = job.converge_each(&hosts).await?;
    if let Some(error) = seen.failed {
        return Err(error.into());
    }
    let left: BTreeMap<String, u64> = job.work.ledger.look(|state| {
        let name = |view: &HostView| Some(state.host(view.wish.host)?.description.hypervisor_hostname.clone());
        let left = seen.views.iter().filter_map(|view| Some((name(view)?, excess(job, view))));
        left.filter(|(_, excess)| *excess > 0).collect()
    });
    if left.is_empty() {
        memory.left_staging = true;
        return Ok(());
    }
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    let mut there = Vec::new();
    let mut unaccounted = Vec::new();
    for (host, excess) in left {
        let excess = usize::try_from(excess).unwrap_or(usize::MAX);
        let mut on: Vec<&Server> =
            servers.iter().filter(|one| !one.is_gone() && one.hypervisor_hostname.as_ref() == Some(&host)).collect();
        // Those that are on their way already first, so that every pass means the same ones.
        on.sort_by_key(|server| (server.status == "ACTIVE" && server.task_state.is_none(), server.id.clone()));
        if on.len() < excess {
            unaccounted.push(format!("{} on host {host}", excess - on.len()));
        }
        there.extend(on.into_iter().take(excess));
    }
    let waiting = wait_for_tokens(job, memory, &unaccounted);
    park::clear(job, memory, &there).await?;
    Err(waiting)
}

/// Nova gives the tokens back a moment after the server is off. What stays in use without a server is told: nothing here can
/// free it, and an operator must look who the consumer is.
fn wait_for_tokens(job: &Job<'_>, memory: &mut Memory, unaccounted: &[String]) -> Setback {
    if unaccounted.is_empty() {
        memory.unaccounted = None;
        return Setback::poll();
    }
    let now = job.work.clock.mono();
    if now.since(*memory.unaccounted.get_or_insert(now)) < TELL_AFTER {
        return Setback::poll();
    }
    let text = format!(
        "tokens of the reservation are in use by no server that Nova lists: {}; see who has {} in Placement",
        unaccounted.join(", "),
        job.class()
    );
    Setback::waiting(ReasonCode::ServerFailed, text)
}

/// Servers on hosts that are being left are not to be woken: they would stay there.
pub fn names(job: &Job<'_>, memory: &Memory) -> BTreeSet<String> {
    let hosts = hosts(job, memory);
    job.work.ledger.look(|state| {
        let hosts = hosts.iter().filter_map(|id| state.host(*id));
        hosts.map(|host| host.description.hypervisor_hostname.clone()).collect()
    })
}

/// Whether a server stands on one of these hosts.
pub fn is_on(server: &Server, hosts: &BTreeSet<String>) -> bool {
    server.hypervisor_hostname.as_ref().is_some_and(|name| hosts.contains(name))
}

/// Hosts on which something may be left: of the staging alone, and crowded ones.
fn hosts(job: &Job<'_>, memory: &Memory) -> Vec<HostId> {
    if memory.left_staging {
        return Vec::new();
    }
    let main = desired::hosts_in(job.reservation, Phase::Main);
    let staging = desired::hosts_in(job.reservation, Phase::Staging).into_iter().filter(|host| !main.contains(host));
    staging.chain(memory.crowded.iter().copied()).collect()
}

/// Tokens in use on a host beyond the lease's slots there.
fn excess(job: &Job<'_>, view: &HostView) -> u64 {
    let main = job.reservation.bindings.iter().filter(|one| one.phase == Phase::Main && one.host == view.wish.host);
    let slots: u64 = main.map(|binding| u64::from(binding.slots)).sum();
    view.read.used(&job.class()).saturating_sub(slots)
}
