//! Declares that hosts, or some of what they have, are not to be had for a time, and takes it back.

use super::schedule::{check_end, invalid, resolve_start};
use crate::command::StartWish;
use crate::model::{DOWNTIMES_MAX, Downtime, DowntimeId, Host, HostId, Interval, Seconds, Timestamp, Withheld};
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Declares a downtime, or changes the one of this id. Nothing new is promised of what it takes; what was promised stays, and
/// its leases move away where they can (docs/decisions/0020). What is not said of one that is there stays: its begin, and what it takes.
/// Changes nothing when nothing is new.
///
/// Rejections, in this order: `HostNotFound`, `Invalid` (start), `StartInPast`, `EndNotAfterStart`, `EndInPast`,
/// `EndBeyondCalendar`, `Invalid` (amounts, downtimes).
pub(super) fn set_downtime(
    state: &mut State,
    now: Timestamp,
    host_id: HostId,
    id: DowntimeId,
    start: Option<StartWish>,
    end: Seconds,
    withheld: Withheld,
) -> Result<Reply, Rejection> {
    let host = state.host(host_id).ok_or(Rejection::HostNotFound(host_id))?;
    let known = host.downtimes.iter().find(|one| one.id == id);
    let start = match (start, known.map(|one| one.interval.start)) {
        (None, Some(begin)) => begin,
        // Also sent again: what has begun does not begin anew.
        (Some(StartWish::Now), Some(begin)) if begin <= now.floor_to_second() => begin,
        (Some(StartWish::At(start)), Some(begin)) if start == begin => begin,
        (Some(StartWish::Earliest { .. }), _) => {
            return Err(invalid("start", "only the start of a new lease may be left open; name one second".to_owned()));
        }
        (start, _) => resolve_start(start.unwrap_or(StartWish::Now), now)?,
    };
    let withheld = known.map(|one| one.withheld).filter(|_| withheld.all()).unwrap_or(withheld);
    let interval = Interval::new(start, end).ok_or(Rejection::EndNotAfterStart)?;
    if end <= now.floor_to_second() {
        return Err(Rejection::EndInPast);
    }
    check_end(end)?;
    let one = Downtime { id, interval, withheld };
    if known == Some(&one) {
        return Ok(Reply::Done);
    }
    check_withheld(host, withheld)?;
    let mut downtimes = to_come(host, now);
    downtimes.retain(|other| other.id != id);
    if downtimes.len() >= DOWNTIMES_MAX {
        let problem = format!("host {host_id} has {DOWNTIMES_MAX}, and may have no more; drop some, or declare longer ones");
        return Err(invalid("downtimes", problem));
    }
    downtimes.push(one);
    downtimes.sort_unstable_by_key(|one| (one.interval, one.id));
    let host = Host { downtimes, updated_at: Some(now), ..host.clone() };
    state.put_host(host);
    Ok(Reply::Done)
}

/// Takes a downtime back: what it took is there again at once.
///
/// Rejections, in this order: `HostNotFound`, `DowntimeNotFound`.
pub(super) fn drop_downtime(
    state: &mut State,
    now: Timestamp,
    host_id: HostId,
    downtime_id: DowntimeId,
) -> Result<Reply, Rejection> {
    let mut host = state.host(host_id).cloned().ok_or(Rejection::HostNotFound(host_id))?;
    let before = host.downtimes.len();
    host.downtimes.retain(|one| one.id != downtime_id);
    if host.downtimes.len() == before {
        return Err(Rejection::DowntimeNotFound { host_id, downtime_id });
    }
    host.updated_at = Some(now);
    state.put_host(host);
    Ok(Reply::Done)
}

/// Drops the downtimes that are over, of so many hosts at most.
pub(super) fn drop_over_downtimes(state: &mut State, now: Timestamp, hosts_max: usize) {
    let mut over: Vec<HostId> = state.over_downtimes(now.floor_to_second()).take(hosts_max).collect();
    over.dedup();
    for id in over {
        if let Some(host) = state.host(id) {
            let host = Host { downtimes: to_come(host, now), updated_at: Some(now), ..host.clone() };
            state.put_host(host);
        }
    }
}

fn to_come(host: &Host, now: Timestamp) -> Vec<Downtime> {
    host.downtimes.iter().filter(|one| one.interval.end > now.floor_to_second()).copied().collect()
}

/// An amount that is given is one that the host has, or is to have.
fn check_withheld(host: &Host, withheld: Withheld) -> Result<(), Rejection> {
    let has = host.capacity_upgraded();
    let given = [
        ("vcpus", withheld.vcpus, has.vcpus),
        ("memory_mb", withheld.memory_mb, has.memory_mb),
        ("disk_gb", withheld.disk_gb, has.disk_gb),
    ];
    for (field, amount, has) in given {
        if let Some(amount) = amount.filter(|amount| !(1..=has).contains(amount)) {
            let problem = format!(
                "it is {amount}; host {} has {has}, so it must be from 1 to {has}, or not be given (without any amount all of \
                 the host is meant)",
                host.id
            );
            return Err(invalid(field, problem));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
