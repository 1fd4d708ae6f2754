//! Declares what compute hosts are to have from a time on, and gives it to them, sooner, later, or when everything is healed, as an
//! operator does it (`leasehold host upgrade set` and `remove`). What was acknowledged is looked at on another node.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use leasehold_ledger::model::{Host, Seconds, Upgrade};
use leasehold_ledger::reply::Rejection;
use leasehold_node::operations::{Answer, OperationError};

use super::hosts::{ask, key, look};
use super::strike::Strike;
use crate::sim::hosts;
use crate::sim::world::{World, admin};

/// So many hosts that take bookings an operator leaves: one whose upgrade does not come takes none.
const LEAST: usize = 2;
/// By so much clocks differ in what this judges, milliseconds.
const SLACK_MS: u64 = 15_000;
/// Larger hosts stay as they are: a cloud that only grows refuses nobody.
const VCPUS_MAX: u32 = 24;

/// An upgrade as it is planned.
#[derive(Clone, Copy)]
pub struct Asked {
    /// Chooses the host.
    pub pick: u64,
    /// So many vCPUs more than it has.
    pub more: u32,
    /// From so many milliseconds from now on.
    pub after_ms: u64,
    /// It has them so many milliseconds from now; `None`: when everything is healed.
    pub comes_ms: Option<u64>,
    /// Taken back after so long.
    pub drop_after_ms: Option<u64>,
}

/// Declares one, has it come, and perhaps takes it back. False: there is no host for it.
pub async fn declare(world: &Arc<World>, strike: &Strike<'_>, asked: Asked) -> bool {
    let Some((claim, host)) = hosts::claim_known(world, asked.pick, LEAST) else { return false };
    let vcpus = host.observation.capacity.vcpus + asked.more;
    // One that is down was seen without anything.
    if vcpus > VCPUS_MAX || host.observation.capacity.memory_mb == 0 {
        return false;
    }
    strike.happens();
    let (set, drop) = (key(world, strike, 0), key(world, strike, 1));
    let begun_ms = world.trace.now_ms();
    let starts_ms = begun_ms + asked.after_ms;
    let second = |unix_ms: u64| i64::try_from(unix_ms / 1_000).ok().and_then(Seconds::from_unix_s).unwrap_or(Seconds::LAST);
    let upgrade = Upgrade { start: second(starts_ms), vcpus: Some(vcpus), memory_mb: None, disk_gb: None };
    // Whoever gets no answer does not know that it was not declared.
    let owed_before = hosts::owes(world, &claim.name, vcpus);
    let answer = ask(world, &claim, "is to grow", move |operations| {
        let set = set.clone();
        async move { operations.set_upgrade(&admin(), Some(set), host.id, upgrade).await }.boxed()
    });
    let ledger_index = match answer.await {
        Some(Ok(Answer { ledger_index, .. })) => ledger_index,
        Some(Err(_)) => {
            hosts::owes_as_before(world, &claim.name, owed_before);
            return true;
        }
        None => return true,
    };
    let is_due = || world.trace.now_ms() + SLACK_MS >= starts_ms;
    if !is_due() {
        let known = |host: Option<&Host>| is_due() || host.is_some_and(|host| host.upgrade == Some(upgrade));
        look(world, &claim, host.id, ledger_index, known).await;
    }
    let wait = async |after_ms: u64| {
        let left_ms = (begun_ms + after_ms).saturating_sub(world.trace.now_ms());
        tokio::time::sleep(Duration::from_millis(left_ms)).await;
    };
    if let Some(comes_ms) = asked.comes_ms {
        wait(comes_ms).await;
        world.trace.incident(None, "hosts", format!("{} has {vcpus} CPUs", claim.name));
        hosts::pay(world, &claim.name);
    }
    let Some(after_ms) = asked.drop_after_ms else { return true };
    wait(after_ms).await;
    let name = claim.name.clone();
    let answer = ask(world, &claim, "is not to grow any more", move |operations| {
        let drop = drop.clone();
        async move { operations.drop_upgrade(&admin(), Some(drop), host.id).await }.boxed()
    });
    match answer.await {
        Some(Ok(Answer { value, .. })) if value.upgrade.is_some() => {
            world.trace.finding("S1", format!("the upgrade of host {name} was dropped, and is still there"));
        }
        Some(Err(OperationError::Rejected(Rejection::UpgradeNotFound(_)))) if !is_due() => {
            world.trace.finding("S1", format!("the upgrade of host {name} was acknowledged, and is not there"));
        }
        _ => {}
    }
    true
}
