//! Declares that compute hosts, or some of them, are not to be had for a while, and takes it back, as an operator does it
//! (`leasehold host downtime add` and `remove`). What was acknowledged is looked at on another node.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use leasehold_ledger::command::StartWish;
use leasehold_ledger::model::{Downtime, DowntimeId, Host, HostId, Seconds, Withheld};
use leasehold_ledger::reply::Rejection;
use leasehold_node::operations::{Answer, OperationError};

use super::hosts::{ask, key, look};
use super::strike::Strike;
use crate::sim::hosts::{self, Claim};
use crate::sim::world::{World, admin};

/// So many hosts that take bookings an operator leaves.
const LEAST: usize = 2;
/// By so much clocks differ in what this judges, milliseconds.
const SLACK_MS: u64 = 15_000;

/// A downtime as it is planned.
#[derive(Clone, Copy)]
pub struct Asked {
    /// Chooses the host.
    pub pick: u64,
    /// So many of its vCPUs; `None`: all of the host.
    pub vcpus: Option<u32>,
    /// From so many milliseconds from now on.
    pub after_ms: u64,
    /// For so long.
    pub for_ms: u64,
    /// Taken back after so long.
    pub drop_after_ms: Option<u64>,
}

/// Declares one, and perhaps takes it back. False: too few hosts would be left.
pub async fn declare(world: &Arc<World>, strike: &Strike<'_>, asked: Asked) -> bool {
    let Some((claim, host)) = hosts::claim_known(world, asked.pick, LEAST) else { return false };
    strike.happens();
    // Its id is its key's, so that every try means the same one.
    let (set, drop) = (key(world, strike, 0), key(world, strike, 1));
    let id = DowntimeId(set.id);
    let ends_ms = world.trace.now_ms() + asked.after_ms + asked.for_ms;
    let second = |unix_ms: u64| i64::try_from(unix_ms / 1_000).ok().and_then(Seconds::from_unix_s).unwrap_or(Seconds::LAST);
    let begins = second(world.trace.now_ms() + asked.after_ms);
    let start = if asked.after_ms < 1_000 { StartWish::Now } else { StartWish::At(begins) };
    // A clock that is behind sees the begin as it is, and one that is far ahead an end that is over.
    let window = (Some(start), second(ends_ms).max(begins.plus(1)));
    let withheld = Withheld { vcpus: asked.vcpus, ..Withheld::ALL };
    let answer = ask(world, &claim, "has a downtime", move |operations| {
        let set = set.clone();
        async move { operations.set_downtime(&admin(), Some(set), host.id, id, window, withheld).await }.boxed()
    });
    let Some(Ok(Answer { ledger_index, .. })) = answer.await else { return true };
    if world.trace.now_ms() + SLACK_MS < ends_ms {
        let right = |one: &Downtime| one.id == id && one.withheld == withheld && one.interval.end == window.1;
        let known = |host: Option<&Host>| host.is_some_and(|host| host.downtimes.iter().any(right));
        look_before_its_end(world, &claim, host.id, ledger_index, ends_ms, known).await;
    }
    // Others may do with the host what they like, also let it go.
    let name = claim.name.clone();
    std::mem::drop(claim);
    let Some(after_ms) = asked.drop_after_ms else { return true };
    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    let Some(claim) = Claim::new(world, &name) else { return true };
    let answer = ask(world, &claim, "has no downtime any more", move |operations| {
        let drop = drop.clone();
        async move { operations.drop_downtime(&admin(), Some(drop), host.id, id).await }.boxed()
    });
    match answer.await {
        Some(Ok(Answer { value, .. })) if value.downtimes.iter().any(|one| one.id == id) => {
            world.trace.finding("S1", format!("downtime {id} of host {name} was dropped, and is still there"));
        }
        Some(Err(OperationError::Rejected(Rejection::DowntimeNotFound { .. }))) if world.trace.now_ms() + SLACK_MS < ends_ms => {
            world.trace.finding("S1", format!("downtime {id} of host {name} was acknowledged, and is not there"));
        }
        _ => {}
    }
    true
}

/// S1: what was acknowledged is so from then on, until it is over.
async fn look_before_its_end(
    world: &Arc<World>,
    claim: &Claim,
    id: HostId,
    index: u64,
    ends_ms: u64,
    is_right: impl Fn(Option<&Host>) -> bool,
) {
    let in_time = |host: Option<&Host>| is_right(host) || world.trace.now_ms() + SLACK_MS >= ends_ms;
    look(world, claim, id, index, in_time).await;
}
