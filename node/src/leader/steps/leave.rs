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
        memory.unaccounted = None;
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
        memory.unaccounted = None;
        return Ok(());
    }
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    let mut there = Vec::new();
    let mut short = Vec::new();
    for (host, excess) in left {
        let excess = usize::try_from(excess).unwrap_or(usize::MAX);
        let mut on: Vec<&Server> =
            servers.iter().filter(|one| !one.is_gone() && one.hypervisor_hostname.as_ref() == Some(&host)).collect();
        // Those that are on their way already first, so that every pass means the same ones.
        on.sort_by_key(|server| (server.status == "ACTIVE" && server.task_state.is_none(), server.id.clone()));
        if on.len() < excess {
            short.push((host, excess - on.len()));
        }
        there.extend(on.into_iter().take(excess));
    }
    let waiting = wait_for_tokens(job, memory, &short, &servers);
    park::clear(job, memory, &there).await?;
    Err(waiting)
}

/// Nova gives the tokens back a moment after the server is off. What stays in use without a server on the host is told:
/// nothing here can free it, and an operator must look who the consumer is. `short`: so many on each host.
fn wait_for_tokens(job: &Job<'_>, memory: &mut Memory, short: &[(String, usize)], servers: &[Server]) -> Setback {
    if short.is_empty() {
        memory.unaccounted = None;
        return Setback::poll();
    }
    let now = job.work.clock.mono();
    if now.since(*memory.unaccounted.get_or_insert(now)) < TELL_AFTER {
        return Setback::poll();
    }
    Setback::waiting(ReasonCode::ServerFailed, users_of_tokens(short, servers, &job.class()))
}

/// Who uses tokens on hosts on which Nova shows too few servers: those for which it shows no host at all (failed, or half way
/// in a move) hold theirs somewhere, and what is beyond them nobody does that Nova lists.
fn users_of_tokens(short: &[(String, usize)], servers: &[Server], class: &str) -> String {
    // What is parked has no host and no token; what is being woken has its token before its host.
    let without_host = |one: &&Server| !one.is_gone() && one.hypervisor_hostname.is_none() && !one.is_parked();
    let without_host: Vec<String> =
        servers.iter().filter(without_host).map(|one| format!("{} ({})", one.id, one.status)).collect();
    let on: Vec<String> = short.iter().map(|(host, tokens)| format!("{tokens} on host {host}")).collect();
    let on = on.join(", ");
    let nobodys = short.iter().map(|(_, tokens)| tokens).sum::<usize>().saturating_sub(without_host.len());
    let shown = without_host.join(", ");
    let users = match (without_host.is_empty(), nobodys) {
        (true, _) => format!("by no server that Nova lists: {on}"),
        (false, 0) => format!("by servers for which Nova shows no host: {on}; mend or delete {shown}"),
        (false, nobodys) => format!(
            "by servers for which Nova shows no host, and {nobodys} by no server that Nova lists: {on}; mend or delete {shown}"
        ),
    };
    format!("tokens of the reservation are in use {users}; see who has {class} in Placement")
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn server(id: &str, status: &str, host: Option<&str>) -> Server {
        let server =
            json!({"id": id, "name": id, "status": status, "tenant_id": "p", "OS-EXT-SRV-ATTR:hypervisor_hostname": host});
        serde_json::from_value(server).unwrap()
    }

    #[test]
    fn servers_without_a_host_are_named_before_tokens_are_said_to_be_nobodys() {
        let told = |tokens, servers: &[Server]| users_of_tokens(&[("h1".to_owned(), tokens)], servers, "CLASS");
        let others = [
            server("parked", "SHELVED_OFFLOADED", None),
            server("gone", "DELETED", None),
            server("elsewhere", "ACTIVE", Some("h2")),
        ];
        let nobodys = told(1, &others);
        assert!(nobodys.contains("by no server that Nova lists: 1 on host h1") && nobodys.contains("CLASS"), "{nobodys}");
        assert!(!nobodys.contains("parked") && !nobodys.contains("gone") && !nobodys.contains("elsewhere"), "{nobodys}");

        let failed = [others.to_vec(), vec![server("failed", "ERROR", None)]].concat();
        let all = told(1, &failed);
        assert!(all.contains("failed (ERROR)") && !all.contains("no server that Nova lists"), "{all}");
        let some = told(3, &failed);
        assert!(some.contains("failed (ERROR)") && some.contains("2 by no server that Nova lists"), "{some}");
    }
}
