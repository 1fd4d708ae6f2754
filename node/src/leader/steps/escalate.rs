//! What is done about servers that stand in the way of an end and do not move (scheduling-design G4): first it is told,
//! then they are deleted, because their room is promised to others.
//!
//! "Does not move" is what this worker saw: a successor counts anew, which costs time and never a server.

use std::collections::BTreeSet;
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
/// Whatever moves: a verb that Nova accepts and never carries through looks like work for ever. From the first look at
/// the server in this row.
pub const HARD_LIMIT: Duration = Duration::from_secs(15 * 60);
/// A server that is not done after so long is told on the lease.
pub const TELL_AFTER: Duration = Duration::from_secs(30);

/// What a server shows: its status, its task, and how its image stands.
type Look = (String, Option<String>, String);

/// How a server was seen in this row.
#[derive(Clone, Debug)]
pub struct Watched {
    now: Look,
    /// Only what was never seen before is progress.
    seen: BTreeSet<Look>,
    first: Mono,
    progress: Mono,
    given_up: bool,
    delete_sent: bool,
}

impl Watched {
    fn new(look: Look, now: Mono) -> Self {
        let seen = BTreeSet::from([look.clone()]);
        Self { now: look, seen, first: now, progress: now, given_up: false, delete_sent: false }
    }

    /// Takes in how the server is now.
    fn note(&mut self, look: Look, now: Mono) {
        if self.now == look {
            return;
        }
        let is_new = self.seen.insert(look.clone());
        self.now = look;
        // Nobody here moves a server that was given up and not yet deleted: somebody has mended it.
        let mended = self.given_up && !self.delete_sent;
        if mended {
            self.given_up = false;
        }
        if is_new || mended {
            self.progress = now;
        }
    }

    fn is_overdue(&self, now: Mono) -> bool {
        let limit = if self.now.1.is_some() { BUSY_AFTER } else { STUCK_AFTER };
        now.since(self.progress) >= limit || now.since(self.first) >= HARD_LIMIT
    }
}

/// Notes how servers are now, and answers those that are still to be treated, and those that are to go. A parked server
/// is never to go: it stands in nobody's way.
pub fn split<'a>(job: &Job<'_>, memory: &mut Memory, servers: &[&'a Server]) -> (Vec<&'a Server>, Vec<&'a Server>) {
    let now = job.work.clock.mono();
    let (mut moving, mut given_up) = (Vec::new(), Vec::new());
    for server in servers {
        let image = memory.images.get(&server.id).cloned().unwrap_or_default();
        let look = (server.status.clone(), server.task_state.clone(), image);
        let watched = memory.watched.entry(server.id.clone()).or_insert_with(|| Watched::new(look.clone(), now));
        watched.note(look, now);
        if server.is_parked() {
            moving.push(*server);
            continue;
        }
        if !watched.given_up && watched.is_overdue(now) {
            watched.given_up = true;
            tracing::warn!(server = server.id, status = server.status, task = server.task_state, lease = %job.lease.id,
                "a server makes no progress at the end of its time; deleting it");
        }
        if watched.given_up { given_up.push(*server) } else { moving.push(*server) }
    }
    (moving, given_up)
}

/// Deletes those that were given up; `Ok` when there are none.
pub async fn delete(job: &Job<'_>, memory: &mut Memory, given_up: &[&Server]) -> Result<(), Setback> {
    let there: Vec<&Server> = given_up.iter().copied().filter(|server| !server.is_gone()).collect();
    if there.is_empty() {
        return Ok(());
    }
    // Asked for here, so that what is marked as deleted was sent, or may have been.
    job.unfenced_right().await?;
    for server in &there {
        if let Some(watched) = memory.watched.get_mut(&server.id) {
            watched.delete_sent = true;
        }
    }
    end::delete(job, memory, &there).await?;
    Err(Setback::waiting(ReasonCode::ServerFailed, format!("{} made no progress and is deleted", named(there[0]))))
}

/// Says which server is waited for, if one is not done after a while and nothing else is to be told.
pub fn told(job: &Job<'_>, memory: &Memory, servers: &[&Server], result: Result<(), Setback>) -> Result<(), Setback> {
    let Err(Setback::NotYet { again_in, reason: None }) = result else { return result };
    let now = job.work.clock.mono();
    let stands = |server: &&&Server| {
        let watched = memory.watched.get(&server.id);
        !server.is_gone() && !server.is_parked() && watched.is_some_and(|watched| now.since(watched.first) >= TELL_AFTER)
    };
    let Some(server) = servers.iter().find(stands) else { return Err(Setback::NotYet { again_in, reason: None }) };
    let why = memory.refusals.get(&server.id).map(|refused| format!(": {}", refused.text)).unwrap_or_default();
    let stands = memory.watched.get(&server.id).is_some_and(|watched| now.since(watched.progress) >= TELL_AFTER);
    let how = if stands { "makes no progress" } else { "is not off its place yet" };
    Err(Setback::waiting(ReasonCode::ServerFailed, format!("{} {how}{why}", named(server))))
}

/// What a start waits for while Nova says that it is at work on servers: told once one of them has shown nothing new for a
/// while. A nova-compute that is started again forgets a wake-up that it was given (seen on the lab), and Nova then
/// takes no other verb for the server; nothing can be done about it from here.
pub fn waking(job: &Job<'_>, memory: &mut Memory, servers: &[Server]) -> Setback {
    let now = job.work.clock.mono();
    for server in servers {
        let look = (server.status.clone(), server.task_state.clone(), String::new());
        let watched = memory.watched.entry(server.id.clone()).or_insert_with(|| Watched::new(look.clone(), now));
        watched.note(look, now);
    }
    let stands = |server: &&Server| {
        let watched = memory.watched.get(&server.id);
        server.task_state.is_some() && watched.is_some_and(|watched| now.since(watched.progress) >= TELL_AFTER)
    };
    match servers.iter().find(stands) {
        Some(server) => Setback::waiting(ReasonCode::ServerFailed, format!("{} makes no progress", named(server))),
        None => Setback::poll(),
    }
}

/// A server for people.
fn named(server: &Server) -> String {
    let task = server.task_state.as_deref().map(|task| format!(", task {task}")).unwrap_or_default();
    format!("server {} ({}{task})", server.id, server.status)
}
