//! Declares what a host is to have from a second on, and takes it back.

use super::schedule::invalid;
use crate::model::{Host, HostId, Seconds, Timestamp, Upgrade};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// The most that may be declared of a class: as much as an inventory of Placement can have.
pub(crate) const UPGRADE_MAX: u32 = 2_147_483_647;

/// Upgrades of one second at most: one entry drops them all.
const UPGRADES_AT_ONCE_MAX: usize = 1_000;

/// Declares the upgrade of a host, instead of the one that it has. What of it the host has not got is promised from its second on, and
/// until then to nobody (docs/decisions/0028). Changes nothing when nothing is new.
///
/// Rejections, in this order: `HostNotFound`, `Invalid` (start, amounts, start).
pub(super) fn set_upgrade(state: &mut State, now: Timestamp, host_id: HostId, upgrade: Upgrade) -> Result<Reply, Rejection> {
    let host = state.host(host_id).ok_or(Rejection::HostNotFound(host_id))?;
    if host.upgrade == Some(upgrade) {
        return Ok(Reply::Done);
    }
    if upgrade.start <= now.floor_to_second() {
        let problem = "it is not to come; what a host has now is what Placement says, so name a second that is still to come";
        return Err(invalid("start", problem.to_owned()));
    }
    if upgrade.start > Seconds::LAST {
        return Err(invalid("start", "it is beyond the calendar; name a second before the year 2120".to_owned()));
    }
    check_amounts(host, upgrade)?;
    if state.upgrades_at(upgrade.start) >= UPGRADES_AT_ONCE_MAX {
        let problem = format!("{UPGRADES_AT_ONCE_MAX} hosts are to be upgraded in that very second; name another one");
        return Err(invalid("start", problem));
    }
    change(state, now, host.clone(), Some(upgrade));
    Ok(Reply::Done)
}

/// Takes the upgrade of a host back. What was promised of it stays promised, and the host is one that lost room.
///
/// Rejections, in this order: `HostNotFound`, `UpgradeNotFound`.
pub(super) fn drop_upgrade(state: &mut State, now: Timestamp, host_id: HostId) -> Result<Reply, Rejection> {
    let host = state.host(host_id).cloned().ok_or(Rejection::HostNotFound(host_id))?;
    if host.upgrade.is_none() {
        return Err(Rejection::UpgradeNotFound(host_id));
    }
    change(state, now, host, None);
    Ok(Reply::Done)
}

/// Drops the upgrades that are to have come: from here on Placement has it, or the host lost room. With every entry, before all else,
/// and all of them, so that none is promised what did not come.
pub(super) fn drop_due_upgrades(state: &mut State, now: Timestamp) {
    let due: Vec<HostId> = state.upgrades_by(now.floor_to_second()).map(|(host, _)| host).collect();
    for id in due {
        if let Some(host) = state.host(id).cloned() {
            change(state, now, host, None);
        }
    }
}

fn change(state: &mut State, now: Timestamp, host: Host, upgrade: Option<Upgrade>) {
    let mut host = Host { upgrade, updated_at: Some(now), ..host };
    host.overcommitted = state.breaks_promise(&host);
    state.put_host(host);
}

/// One amount at least, each more than the host has, or as it was declared before: one that is late may have come in part.
fn check_amounts(host: &Host, upgrade: Upgrade) -> Result<(), Rejection> {
    let has = host.observation.capacity;
    let before = |of: fn(Upgrade) -> Option<u32>| host.upgrade.and_then(of);
    let given = [
        ("vcpus", upgrade.vcpus, has.vcpus, before(|one| one.vcpus)),
        ("memory_mb", upgrade.memory_mb, has.memory_mb, before(|one| one.memory_mb)),
        ("disk_gb", upgrade.disk_gb, has.disk_gb, before(|one| one.disk_gb)),
    ];
    for (field, amount, has, before) in given {
        let wrong = |amount: &u32| *amount > UPGRADE_MAX || (*amount <= has && Some(*amount) != before);
        if let Some(amount) = amount.filter(wrong) {
            let problem = format!(
                "it is {amount}; host {} has {has} now, so it must be more than that, at most {UPGRADE_MAX}: all that the host is \
                 to have, not what is added",
                host.id
            );
            return Err(invalid(field, problem));
        }
    }
    if given.iter().all(|(_, amount, ..)| amount.is_none()) {
        let problem = "no amount is given; say what the host is to have of at least one of vcpus, memory_mb and disk_gb";
        return Err(invalid("vcpus", problem.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
