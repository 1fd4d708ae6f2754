//! What is done about servers that stand in the way of an end and do not move (scheduling-design G4): first it is told,
//! then they are deleted, because their room is promised to others.
//!
//! "Does not move" is what this worker saw: a successor counts anew, which costs time and never a server.

use std::time::Duration;

use leasehold_ledger::model::ReasonCode;

use super::{Job, Memory, Setback, end};
use crate::openstack::nova::Server;
use crate::seams::Mono;

/// A server that was to be shelved or imaged, and with which Nova did nothing for so long, is deleted: no state changes,
/// no verb is accepted (rescued, to be confirmed, image quota used up). Five minutes are time for a person or a service
/// to come back, and not so much that the next lease on the host loses what it was promised.
pub const STUCK_AFTER: Duration = Duration::from_secs(5 * 60);
/// The same while Nova says that it is at work on it: an image of many gigabytes shows no other sign of life.
pub const BUSY_AFTER: Duration = Duration::from_secs(15 * 60);
/// A server that did not move for so long is told on the lease.
const TELL_AFTER: Duration = Duration::from_secs(30);

/// How a server was seen, and since when it is so.
#[derive(Clone, Debug)]
pub struct Watched {
    status: String,
    task: Option<String>,
    image: String,
    since: Mono,
    given_up: bool,
}

/// Notes how servers are now, and answers those that are still to be treated, and those that are to go.
pub fn split<'a>(job: &Job<'_>, memory: &mut Memory, servers: &[&'a Server]) -> (Vec<&'a Server>, Vec<&'a Server>) {
    let now = job.work.clock.mono();
    let (mut moving, mut given_up) = (Vec::new(), Vec::new());
    for server in servers {
        let image = memory.images.get(&server.id).cloned().unwrap_or_default();
        let fresh = Watched {
            status: server.status.clone(),
            task: server.task_state.clone(),
            image: image.clone(),
            since: now,
            given_up: false,
        };
        let seen = memory.watched.entry(server.id.clone()).or_insert(fresh.clone());
        let moved = seen.status != server.status || seen.task != server.task_state || seen.image != image;
        if moved && !seen.given_up {
            *seen = fresh;
        }
        let limit = if server.task_state.is_some() { BUSY_AFTER } else { STUCK_AFTER };
        if !seen.given_up && !server.is_parked() && now.since(seen.since) >= limit {
            seen.given_up = true;
            tracing::warn!(server = server.id, status = server.status, task = server.task_state, lease = %job.lease.id,
                "a server makes no progress at the end of its time; deleting it");
        }
        if seen.given_up { given_up.push(*server) } else { moving.push(*server) }
    }
    (moving, given_up)
}

/// Deletes those that were given up; `Ok` when there are none.
pub async fn delete(job: &Job<'_>, memory: &mut Memory, given_up: &[&Server]) -> Result<(), Setback> {
    let there: Vec<&Server> = given_up.iter().copied().filter(|server| !server.is_gone()).collect();
    if there.is_empty() {
        return Ok(());
    }
    end::delete(job, memory, &there).await?;
    Err(Setback::waiting(ReasonCode::ServerFailed, format!("{} made no progress and is deleted", named(there[0]))))
}

/// Says which server is waited for, if one has not moved for a while and nothing else is to be told.
pub fn told(job: &Job<'_>, memory: &Memory, servers: &[&Server], result: Result<(), Setback>) -> Result<(), Setback> {
    let Err(Setback::NotYet { again_in, reason: None }) = result else { return result };
    let now = job.work.clock.mono();
    let stands = |server: &&&Server| {
        let seen = memory.watched.get(&server.id);
        !server.is_gone() && !server.is_parked() && seen.is_some_and(|seen| now.since(seen.since) >= TELL_AFTER)
    };
    let Some(server) = servers.iter().find(stands) else { return Err(Setback::NotYet { again_in, reason: None }) };
    let why = memory.refusals.get(&server.id).map(|refused| format!(": {}", refused.text)).unwrap_or_default();
    Err(Setback::waiting(ReasonCode::ServerFailed, format!("{} makes no progress{why}", named(server))))
}

/// A server for people.
fn named(server: &Server) -> String {
    let task = server.task_state.as_deref().map(|task| format!(", task {task}")).unwrap_or_default();
    format!("server {} ({}{task})", server.id, server.status)
}
