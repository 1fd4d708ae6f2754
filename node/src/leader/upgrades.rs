//! Reads hosts shortly before their planned upgrades are due, and again from then on, for a while: from an upgrade's second on only what
//! the host was seen to have counts (docs/decisions/0028), and between two looks of the monitor one that comes at the last moment, or
//! a little late, would go unseen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use leasehold_ledger::model::{Amounts, HostId, Upgrade};

use super::courtesy::Courtesy;
use super::host_monitor::{HOSTS_AT_ONCE, observe};
use super::work::Work;

/// So long before an upgrade is due its host is read, milliseconds.
const AHEAD_MS: u64 = 8_000;
/// For so long after that it is read again and again, until it came: before that nobody is moved away (`healing_grace_s`).
const LATE_S: u32 = 60;
/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// An upgrade that was seen to be due soon.
struct Followed {
    upgrade: Upgrade,
    /// Its host was read before its second.
    read_ahead: bool,
    /// That it has not come was told.
    told: bool,
}

/// Runs until its group is stopped.
pub async fn run(work: Arc<Work>) {
    let mut followed = BTreeMap::new();
    loop {
        round(&work, &mut followed).await;
        work.clock.sleep(LOOK_EVERY).await;
    }
}

async fn round(work: &Work, followed: &mut BTreeMap<HostId, Followed>) {
    let soon = work.now().plus_ms(AHEAD_MS).floor_to_second();
    let now = work.ledger.look(|state| {
        let now = state.clock().floor_to_second();
        // What was taken back, or put off, is not followed any more.
        let is_declared = |host: HostId, one: Upgrade| state.host(host).is_some_and(|host| host.upgrade == Some(one));
        followed.retain(|host, one| one.upgrade.start <= now || is_declared(*host, one.upgrade));
        for (host, upgrade) in state.upgrades_by(soon) {
            if followed.get(&host).is_none_or(|known| known.upgrade != upgrade) {
                followed.insert(host, Followed { upgrade, read_ahead: false, told: false });
            }
        }
        now
    });
    let (due, to_come): (Vec<_>, Vec<_>) = followed.iter().partition(|(_, one)| one.upgrade.start <= now);
    let due: Vec<HostId> = due.into_iter().map(|(host, _)| *host).collect();
    let ahead = to_come.into_iter().filter(|(_, one)| !one.read_ahead).map(|(host, _)| *host).collect();
    for host in read(work, ahead).await {
        followed.entry(host).and_modify(|one| one.read_ahead = true);
    }
    for host in read(work, due).await {
        let Some(one) = followed.get_mut(&host) else { continue };
        let missing = missing(work, host, one.upgrade);
        if let Some(missing) = missing.filter(|_| !one.told) {
            // An operator declared it, and has to know.
            let Amounts { vcpus, memory_mb, disk_gb, .. } = missing;
            tracing::warn!(%host, vcpus, memory_mb, disk_gb, "a planned upgrade has not come, or not all of it: so much is missing");
            one.told = true;
        }
        if missing.is_none() || one.upgrade.start.plus(LATE_S) <= now {
            followed.remove(&host);
        }
    }
}

/// Reads these hosts. Those that answered; the others are tried again in the next round.
async fn read(work: &Work, hosts: Vec<HostId>) -> Vec<HostId> {
    let courtesy = &Courtesy::new(work);
    let one = |host: HostId| async move {
        courtesy.wait().await;
        match observe(work, host).await {
            Ok(()) => Some(host),
            Err(error) => {
                tracing::warn!(%host, %error, "a host whose upgrade is due could not be read");
                None
            }
        }
    };
    let read: Vec<_> = futures::stream::iter(hosts.into_iter().map(one)).buffer_unordered(HOSTS_AT_ONCE).collect().await;
    read.into_iter().flatten().collect()
}

/// What of an upgrade a host was not seen to have; `None`: it has all of it, or is gone.
fn missing(work: &Work, host: HostId, upgrade: Upgrade) -> Option<Amounts> {
    let has = work.ledger.look(|state| state.host(host).map(|host| host.observation.capacity))?;
    Some(upgrade.growth(has)).filter(|missing| *missing != Amounts::default())
}
