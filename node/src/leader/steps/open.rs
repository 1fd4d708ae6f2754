//! Opening: tokens, then what is parked, then access. Staging windows and starts.
//!
//! At a start the order matters: tokens are fenced by generations and unshelve by the server's state, so neither waits
//! for a predecessor's actuation lease; access does (architecture D6).

use std::collections::BTreeMap;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::{Phase, ReasonCode};

use leasehold_ledger::mutant;

use super::sendings::Kind;
use super::{Job, Memory, POLL, Setback, escalate, leave, prepare, reason_of};
use crate::leader::desired::{self, Gate};
use crate::openstack::CloudError;
use crate::openstack::nova::{Server, Verb};

/// Pause before an unshelve is sent again, doubled each time, and the longest.
const AGAIN_FIRST: Duration = Duration::from_millis(500);
const AGAIN_MAX: Duration = Duration::from_secs(10);

/// One pass of `StagingOpen`.
pub async fn staging(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    tokens(job, memory, Phase::Staging).await?;
    access(job, memory).await?;
    Ok(Outcome::Done)
}

/// One pass of `Start`.
pub async fn start(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    // What is open already is published even while other hosts are not free yet, or fail.
    let tokens = tokens(job, memory, Phase::Main).await;
    if let Err(Setback::Cloud(CloudError::Withheld(why))) = tokens {
        return Err(CloudError::Withheld(why).into());
    }
    // What the parking did not get done stands where others are promised room, open or not.
    let left = leave::shelve(job, memory).await;
    // Nova would find no host for what is parked, and say so in the server's history.
    if !memory.opened && !memory.any_open {
        return tokens.and(left).map(|()| Outcome::Done);
    }
    let servers = wake(job, memory).await;
    let access = access(job, memory).await;
    // The most telling setback first: a failed call, then what is waited for.
    tokens.and(servers).and(left).and(access).map(|()| Outcome::Done)
}

/// One pass of `Adjust`: tokens follow the amount; the hold was raised before. Slots that were taken off are free only
/// once no server uses them: nothing is taken from a running server.
pub async fn adjust(job: &Job<'_>) -> Result<Outcome, Setback> {
    let class = job.class();
    let views = job.converge(&desired::hosts_of(job.reservation)).await?;
    for view in &views {
        let Some(wish) = view.wish.tokens.get(&class) else { continue };
        let used = view.read.used(&class);
        let kept = if wish.gate == Gate::Ended { 0 } else { u64::from(wish.total) };
        if used > kept {
            let text = format!("host {} still carries {} servers more than the reservation has", view.wish.host, used - kept);
            return Err(Setback::waiting(ReasonCode::WaitingForEnd, text));
        }
        let there = match wish.gate {
            Gate::Open => view.opened(&class),
            Gate::Closed | Gate::Counted => view.closed(&class),
            Gate::Ended => !view.read.inventories.inventories.contains_key(&class),
        };
        if !there {
            return Err(Setback::poll());
        }
    }
    Ok(Outcome::Done)
}

/// Opens the tokens on every host of a phase.
async fn tokens(job: &Job<'_>, memory: &mut Memory, phase: Phase) -> Result<(), Setback> {
    if memory.opened {
        return Ok(());
    }
    let class = job.class();
    let hosts = desired::hosts_in(job.reservation, phase);
    let seen = job.converge_each(&hosts).await?;
    memory.any_open = seen.views.iter().any(|view| view.opened(&class));
    if phase == Phase::Main {
        leave::note_crowded(job, memory, &seen.views);
    }
    if let Some(error) = seen.failed.or(seen.vanished) {
        return Err(error.into());
    }
    let Some(first) = seen.views.iter().find(|view| !view.opened(&class)) else {
        memory.opened = true;
        job.seat.opened(job.work.clock.as_ref()).await;
        return Ok(());
    };
    let lingering = first.lingering();
    if !lingering.is_empty() {
        let text = format!("host {} still carries servers of {}", first.wish.host, lingering.join(", "));
        return Err(Setback::waiting(ReasonCode::WaitingForEnd, text));
    }
    if let Some(refused) = &first.hold_refused {
        let text = format!("Placement has no room for the hold of host {}: {refused}", first.wish.host);
        return Err(Setback::waiting(ReasonCode::CloudUnavailable, text));
    }
    Err(Setback::poll())
}

/// Gives the tenant the flavor; makes it whole first if the preparation never got through.
async fn access(job: &Job<'_>, memory: &mut Memory) -> Result<(), Setback> {
    if memory.access_done {
        return Ok(());
    }
    job.access_may_be_asked(memory)?;
    let made = ensure_flavor(job).await;
    job.note_access(memory, made)?;
    job.set_access(memory, true).await
}

/// Makes the flavor where it is not there, or not as wanted.
async fn ensure_flavor(job: &Job<'_>) -> Result<(), Setback> {
    let wanted = desired::flavor(&job.work.names, job.reservation, job.anchor());
    let there = job.cloud.nova().flavor(&wanted.id).await?;
    // The flavor of an adopting reservation may have more of them: those of the flavor that its servers were reserved by.
    let has_all = |there: &BTreeMap<String, String>| wanted.extra_specs.iter().all(|(key, value)| there.get(key) == Some(value));
    if !there.is_some_and(|flavor| has_all(&flavor.extra_specs)) {
        prepare::ensure(job).await?;
    }
    Ok(())
}

/// Brings parked servers back. Without staging or adoption there are none: the tenant never had the flavor before. All
/// servers of the flavor are this reservation's (docs/decisions/0011).
async fn wake(job: &Job<'_>, memory: &mut Memory) -> Result<(), Setback> {
    if job.reservation.staging.is_none() && job.reservation.adoption.is_none() {
        return Ok(());
    }
    let before = job.work.cells.before(job.work.clock.as_ref());
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    let free = desired::slots_free(job.reservation, &servers);
    // Those that still stand elsewhere are on their way here; unshelved now, they would stay there.
    let away = leave::names(job, memory);
    let servers: Vec<Server> = servers.into_iter().filter(|server| !leave::is_on(server, &away)).collect();
    let (parked, others): (Vec<&Server>, Vec<&Server>) =
        servers.iter().filter(|server| wants_waking(server)).partition(|server| server.is_parked());
    // Nova would find no host for more than there are slots. The ones that were tried least go first.
    let mut calls: Vec<&Server> = parked.iter().copied().filter(|server| may_send(job, memory, server)).collect();
    calls.sort_by_key(|server| (memory.sent.times(Kind::Wake, &server.id), server.id.clone()));
    calls.truncate(free);
    calls.extend(others.into_iter().filter(|server| may_send(job, memory, server)));
    let nova = job.cloud.nova();
    let mut sends = Vec::new();
    for server in &calls {
        let call = nova.act(&job.errand, &server.id, Verb::Unshelve);
        sends.push(memory.sent.send(job, Kind::Wake, &server.id, call).boxed());
    }
    let mut failed = None;
    for (server, result) in calls.iter().zip(join_all(sends).await) {
        let id = &server.id;
        match result {
            Err(CloudError::Withheld(why)) => return Err(CloudError::Withheld(why).into()),
            // 409: Nova is at it already, or it is back. The next look tells.
            Err(error) if error.is_conflict() || error.is_not_found() => {
                // Planted bug: a conflict is a failure, and answered with another action at once.
                mutant!("M17", { drop(nova.act(&job.errand, id, Verb::Unshelve).await) });
            }
            Err(error) => {
                memory.refusals.insert(id.clone(), reason_of(&error));
                failed = Some(error);
            }
            Ok(()) => drop(memory.refusals.remove(id)),
        }
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    // All that the lease has is in use: what is parked beyond that stays so, and is the tenant's to wake.
    let is_surplus = |server: &Server| free == 0 && server.is_parked();
    if let Some(stuck) = servers.iter().find(|server| is_back_without_room(memory, server) && !is_surplus(server)) {
        // Refused outright (a quota), or taken and given back.
        if let Some(refused) = memory.refusals.get(&stuck.id) {
            return Err(Setback::NotYet { again_in: POLL, reason: Some(refused.clone()) });
        }
        let text = format!("Nova found no host for parked server {}; trying again", stuck.id);
        return Err(Setback::waiting(ReasonCode::ServerFailed, text));
    }
    // Planted bug: accepted is done.
    if mutant!("M18") {
        return Ok(());
    }
    if servers.iter().any(|server| (wants_waking(server) && !is_surplus(server)) || server.task_state.is_some()) {
        return Err(escalate::waking(job, memory, &servers));
    }
    job.list_was_whole(before).await?;
    if !parked.is_empty() {
        let parked = parked.len();
        tracing::warn!(reservation = %job.reservation.id, parked, "more servers are parked than the reservation has slots left");
    }
    Ok(())
}

/// Parked, or shelved and not off its host yet.
fn wants_waking(server: &Server) -> bool {
    server.task_state.is_none() && matches!(server.status.as_str(), "SHELVED_OFFLOADED" | "SHELVED")
}

/// The first time at once; then it came back without room or the answer was lost, and it is paced.
fn may_send(job: &Job<'_>, memory: &Memory, server: &Server) -> bool {
    let times = memory.sent.times(Kind::Wake, &server.id);
    let again = (AGAIN_FIRST * 2_u32.saturating_pow(times.saturating_sub(1).min(8))).min(AGAIN_MAX);
    memory.sent.may_send(Kind::Wake, &server.id, job.work.clock.mono(), again)
}

fn is_back_without_room(memory: &Memory, server: &Server) -> bool {
    wants_waking(server) && (memory.refusals.contains_key(&server.id) || memory.sent.times(Kind::Wake, &server.id) > 1)
}
