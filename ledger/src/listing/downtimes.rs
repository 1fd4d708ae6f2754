//! What is declared not to be had, over hosts.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::{no_marker, order};
use crate::model::{Downtime, DowntimeId, Host, HostId, Interval};
use crate::reply::Rejection;
use crate::state::State;

/// Which downtimes, and how they are listed. Without a word all of them, by host and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DowntimeListing {
    /// Only of these hosts; empty: of all.
    pub hosts: BTreeSet<HostId>,
    /// Only of this one of them, which must be there.
    pub host_id: Option<HostId>,
    /// Only those of which a second lies in it.
    pub window: Option<Interval>,
    /// What they are sorted by; what is equal in it, by host and id.
    pub order: DowntimeOrder,
    /// The other way round, hosts and ids too.
    pub descending: bool,
    /// For paging: only downtimes behind this one in that order. By id it need not be there any more.
    pub after: Option<DowntimeName>,
    /// At most so many; `None`: all.
    pub limit: Option<u32>,
}

/// What downtimes are sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DowntimeOrder {
    /// The host's number, then the downtime's id.
    #[default]
    Id,
    /// First second, then first second after, as a host keeps them.
    Start,
    /// First second after; without end last.
    End,
}

/// Tells one downtime from all others: of one host no two have the same id. Written `3/7e57d004-2b97-4e7a-b45f-5387367791cd`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct DowntimeName {
    /// The host's number.
    pub host_id: HostId,
    /// Which of it.
    pub id: DowntimeId,
}

/// A downtime and whose it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostDowntime {
    /// The host's number.
    pub host_id: HostId,
    /// The host's name in Nova.
    pub hypervisor_hostname: String,
    /// What is declared.
    pub downtime: Downtime,
}

/// The downtimes of a listing, in its order. Costs what the hosts have that have any.
///
/// # Errors
/// `HostNotFound` (the one host that is asked for), `Invalid` (marker: a downtime that is not there has no place in an order by
/// something else than the id).
pub fn downtimes(state: &State, listing: &DowntimeListing) -> Result<Vec<HostDowntime>, Rejection> {
    let limit = listing.limit.map_or(usize::MAX, |limit| limit as usize);
    let hosts: Vec<HostId> = match listing.host_id {
        Some(id) if state.host(id).is_none() => return Err(Rejection::HostNotFound(id)),
        Some(id) if listing.hosts.is_empty() || listing.hosts.contains(&id) => vec![id],
        Some(_) => Vec::new(),
        None if listing.hosts.is_empty() => state.calendar().with_declared().collect(),
        None => listing.hosts.iter().copied().collect(),
    };
    let of_host = |host| of_host(state, host);
    let is_by_id = listing.order == DowntimeOrder::Id;
    let is_behind = |one: &One<'_>| match listing.after.filter(|_| is_by_id) {
        Some(after) if listing.descending => one.name() < after,
        Some(after) => one.name() > after,
        None => true,
    };
    let is_then = |one: &One<'_>| listing.window.is_none_or(|window| window.overlaps(one.downtime.interval));
    let marker = match listing.after.filter(|_| !is_by_id) {
        Some(name) => Some(of_host(name.host_id).find(|one| one.downtime.id == name.id).ok_or_else(|| no_marker(&name))?),
        None => None,
    };
    let found: Vec<One<'_>> = hosts.into_iter().flat_map(of_host).filter(is_then).filter(is_behind).collect();
    let compare = |one: &One<'_>, other: &One<'_>| listing.order.compare(one, other);
    let page = order::page(found.iter().collect(), marker.as_ref(), limit, listing.descending, compare);
    Ok(page.into_iter().map(One::owned).collect())
}

/// A downtime where it stands.
#[derive(Clone, Copy)]
struct One<'a> {
    host: &'a Host,
    downtime: &'a Downtime,
}

fn of_host(state: &State, host: HostId) -> impl Iterator<Item = One<'_>> {
    state.host(host).into_iter().flat_map(|host| host.downtimes.iter().map(move |downtime| One { host, downtime }))
}

impl One<'_> {
    fn name(&self) -> DowntimeName {
        DowntimeName { host_id: self.host.id, id: self.downtime.id }
    }

    fn owned(&self) -> HostDowntime {
        let hypervisor_hostname = self.host.description.hypervisor_hostname.clone();
        HostDowntime { host_id: self.host.id, hypervisor_hostname, downtime: *self.downtime }
    }
}

impl DowntimeOrder {
    fn compare(self, one: &One<'_>, other: &One<'_>) -> Ordering {
        let (here, there) = (one.downtime.interval, other.downtime.interval);
        let first = match self {
            DowntimeOrder::Id => Ordering::Equal,
            DowntimeOrder::Start => here.cmp(&there),
            DowntimeOrder::End => here.end.cmp(&there.end),
        };
        first.then_with(|| one.name().cmp(&other.name()))
    }
}

impl HostDowntime {
    /// What it is told by from all others.
    pub fn name(&self) -> DowntimeName {
        DowntimeName { host_id: self.host_id, id: self.downtime.id }
    }
}

impl fmt::Display for DowntimeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host_id, self.id)
    }
}

/// A text names no downtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write HOST/UUID, as in 3/7e57d004-2b97-4e7a-b45f-5387367791cd")]
pub struct NoDowntimeName;

impl FromStr for DowntimeName {
    type Err = NoDowntimeName;

    fn from_str(text: &str) -> Result<DowntimeName, NoDowntimeName> {
        let (host, id) = text.split_once('/').ok_or(NoDowntimeName)?;
        let host_id = host.parse().map(HostId).map_err(|_| NoDowntimeName)?;
        Ok(DowntimeName { host_id, id: id.parse().map_err(|_| NoDowntimeName)? })
    }
}
