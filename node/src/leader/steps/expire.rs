//! The expiry: tokens close, and what is in use then is counted. Nobody adds to it after that: what is not counted is not in use
//! (R-12, docs/decisions/0023).

use std::collections::BTreeMap;
use std::time::Duration;

use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::{HostId, Phase, Reason, ReasonCode};
use leasehold_ledger::mutant;

use super::{Job, Memory, Setback, reason_of};
use crate::leader::desired;
use crate::leader::host_plan::HostRead;
use crate::openstack::nova::Server;

/// A count that does not succeed for so long is given up, and made later: meanwhile nobody can boot.
const GIVE_UP_AFTER: Duration = Duration::from_secs(60);

/// One pass.
pub async fn pass(job: &Job<'_>, memory: &mut Memory) -> Result<Outcome, Setback> {
    let begun = *memory.counting.get_or_insert_with(|| job.work.clock.mono());
    let counted = count(job).await;
    let for_long = job.work.clock.mono().since(begun) >= GIVE_UP_AFTER;
    match counted {
        Err(Setback::Cloud(error)) if for_long && error.withheld().is_none() => Ok(give_up(job, Some(reason_of(&error)))),
        Err(Setback::NotYet { reason, .. }) if for_long => Ok(give_up(job, reason)),
        counted => counted,
    }
}

fn give_up(job: &Job<'_>, reason: Option<Reason>) -> Outcome {
    let unknown = || Reason { code: ReasonCode::CloudUnavailable, text: "what is in use could not be counted".to_owned() };
    let reason = reason.unwrap_or_else(unknown);
    tracing::warn!(reservation = %job.reservation.id, text = reason.text, "what is in use at an expiry could not be counted; later again");
    Outcome::Failed { reason }
}

async fn count(job: &Job<'_>) -> Result<Outcome, Setback> {
    let class = job.class();
    // Also those where it may have servers and no slots any more: they are in use as well.
    let releasing = job.reservation.releasing.iter().map(|binding| binding.host);
    let mut hosts: Vec<HostId> = desired::hosts_in(job.reservation, Phase::Main).into_iter().chain(releasing).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let before = job.work.cells.before(job.work.clock.as_ref());
    // Before the servers: whoever parks one in between has it counted twice, and nobody has one that is not counted.
    // A host that cannot be read tells nothing of what is in use there: all must be.
    let views = job.converge(&hosts).await?;
    // Planted bug: what is in use is counted while it still grows. (With the one in desired.rs.)
    let is_counted = |read: &HostRead| mutant!("Z01") || (read.settled && !read.is_open(&class));
    if views.iter().any(|view| !is_counted(&view.read)) {
        return Err(Setback::poll());
    }
    let servers = job.cloud.nova().servers_of_flavor(&job.flavor_id()).await?;
    job.list_was_whole(before).await?;
    let (mut tokens, mut elsewhere) = (BTreeMap::new(), 0_u32);
    for view in &views {
        let (host, used) = (view.wish.host, small(view.read.used(&class)));
        let slots = slots_on(job, host);
        elsewhere = elsewhere.saturating_add(used.saturating_sub(slots));
        if slots > 0 {
            tokens.insert(host, used.min(slots));
        }
    }
    let parked = small(servers.iter().filter(|server| wants_a_token(server)).count() as u64).saturating_add(elsewhere);
    tracing::info!(reservation = %job.reservation.id, ?tokens, parked, "counted what is in use at an expiry");
    Ok(Outcome::Used { tokens, parked })
}

fn small(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

fn slots_on(job: &Job<'_>, host: HostId) -> u32 {
    let there = job.reservation.bindings.iter().filter(|one| one.phase == Phase::Main && one.host == host);
    there.map(|one| one.slots).sum()
}

/// Without a token, and its owner would miss one: parked by him, or not on a host yet.
fn wants_a_token(server: &Server) -> bool {
    server.is_parked() || (server.has_place() && server.hypervisor_hostname.is_none())
}
