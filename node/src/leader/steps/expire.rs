//! The expiry: tokens close, and what is in use then is counted. Nobody adds to it after that: what is not counted is not in use
//! (R-12, docs/decisions/0023).

use leasehold_ledger::command::Outcome;
use leasehold_ledger::model::Phase;
use leasehold_ledger::mutant;

use super::{Job, Setback};
use crate::leader::desired;
use crate::leader::host_plan::HostRead;
use crate::openstack::nova::Server;

/// One pass.
pub async fn pass(job: &Job<'_>) -> Result<Outcome, Setback> {
    let class = job.class();
    let hosts = desired::hosts_in(job.reservation, Phase::Main);
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
    let tokens = views.iter().map(|view| (view.wish.host, count(view.read.used(&class)))).collect();
    let parked = count(servers.iter().filter(|server| wants_a_token(server)).count() as u64);
    tracing::info!(reservation = %job.reservation.id, ?tokens, parked, "counted what is in use at the expiry");
    Ok(Outcome::Used { tokens, parked })
}

fn count(used: u64) -> u32 {
    u32::try_from(used).unwrap_or(u32::MAX)
}

/// Without a token, and its owner would miss one: parked by him, or not on a host yet.
fn wants_a_token(server: &Server) -> bool {
    server.is_parked() || (server.has_place() && server.hypervisor_hostname.is_none())
}
