//! Listings: which leases or hosts, in which order, from where on, and how many; and what such leases reserve over time.
//!
//! Pure reads of one state, and of the rows of leases that left memory (`ended.rs`). An order always ends with the id, so a page goes on behind the last element of the one before, whatever
//! came or went in between.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::apply::schedule::invalid;
use crate::model::{Host, HostId, Interval, Lease, LeaseId, LeaseStatus, ProjectId, Seconds, SeriesId, misfit};
use crate::mutant;
use crate::plan::{HostFilter, STEPS_MAX, Sums};
use crate::reply::Rejection;
use crate::state::State;

mod allocations;
mod downtimes;
mod element;
mod ended;
mod order;
mod quota;
mod utilisation;

pub use allocations::{AllocationFilter, HostAllocation, ReservedInterval, ReservedName, ReservedPage, allocations};
pub use downtimes::{DowntimeListing, DowntimeName, DowntimeOrder, HostDowntime, NoDowntimeName, downtimes};
pub use element::{Element, FLAVOR_ID_CHARS_MAX, NoElement};
pub use ended::{Draft, LeaseList, LeasePage, Read, Reads};
pub use order::{HostOrder, LeaseOrder};
pub use quota::{Quota, QuotaListing, QuotaUse, quota, quotas};
pub use utilisation::{Utilisation, UtilisationDraft, UtilisationStep, UtilisationWish};

/// Elements that one filter names, at most, of each of its three sorts.
pub const ELEMENTS_MAX: usize = 100;

/// Which leases, and how they are listed. Without a word all of them, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseFilter {
    /// Only this project; `None`: all that the asker may see.
    pub project_id: Option<ProjectId>,
    /// In one of these statuses; empty: in any, but for leases that wait for room, which are listed only where WAITING or what
    /// they are is asked for (docs/decisions/0019).
    pub statuses: BTreeSet<LeaseStatus>,
    /// With exactly this name.
    pub name: Option<String>,
    /// With a reservation that asks for this availability zone or is bound to a host of it.
    pub zone: Option<String>,
    /// Offers that were not claimed, instead of leases: a list of leases has none of them (architecture D9).
    pub offers: bool,
    /// Only the leases of this series.
    pub series: Option<SeriesId>,
    /// At this time.
    pub window: Option<(Interval, Scope)>,
    /// With at least one of these; empty: no matter.
    pub with_any: BTreeSet<Element>,
    /// With all of these.
    pub with_all: BTreeSet<Element>,
    /// With none of these.
    pub without: BTreeSet<Element>,
    /// What they are sorted by; what is equal in it, by id.
    pub order: LeaseOrder,
    /// The other way round, ids too.
    pub descending: bool,
    /// For paging: only leases behind this one in that order. By id it need not be there any more.
    pub after: Option<LeaseId>,
    /// At most so many; `None`: all.
    pub limit: Option<u32>,
}

/// How a lease lies to a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// A second of it lies in the window.
    #[default]
    Overlapping,
    /// It starts or ends within the window.
    Inclusive,
    /// It starts and ends within the window.
    Exclusive,
}

/// Which hosts, and how they are listed. Without a word all of them, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostListing {
    /// Of which kind.
    pub filter: HostFilter,
    /// Only those that take new leases, or only those that do not.
    pub reservable: Option<bool>,
    /// What they are sorted by; what is equal in it, by id.
    pub order: HostOrder,
    /// The other way round, ids too.
    pub descending: bool,
    /// For paging: only hosts behind this one in that order. By id it need not be there any more.
    pub after: Option<HostId>,
    /// At most so many; `None`: all.
    pub limit: Option<u32>,
}

/// The leases of a filter that are in memory, in its order. Only those that users may see.
///
/// # Errors
/// `Invalid` (marker: a lease that is not there has no place in an order by something else than the id; `with_any`, `with_all`,
/// `without`: too many).
pub(crate) fn leases<'a>(state: &'a State, filter: &LeaseFilter) -> Result<Vec<&'a Lease>, Rejection> {
    for (field, elements) in [("with_any", &filter.with_any), ("with_all", &filter.with_all), ("without", &filter.without)] {
        if elements.len() > ELEMENTS_MAX {
            return Err(invalid(field, format!("{} are named; at most {ELEMENTS_MAX} may be", elements.len())));
        }
    }
    let limit = filter.limit.map_or(usize::MAX, |limit| limit as usize);
    let of_zone = filter.hosts_of_zone(state);
    let wanted = |lease: &&Lease| filter.takes(&of_zone, lease);
    if filter.order == LeaseOrder::Id && !filter.descending {
        let from = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        return Ok(state.leases_in(filter.project_id.as_ref(), (from, Bound::Unbounded)).filter(wanted).take(limit).collect());
    }
    if filter.order == LeaseOrder::Id {
        let until = filter.after.map_or(Bound::Unbounded, Bound::Excluded);
        let backwards = state.leases_in(filter.project_id.as_ref(), (Bound::Unbounded, until)).rev();
        return Ok(backwards.filter(wanted).take(limit).collect());
    }
    let marker = filter.after.map(|id| state.lease(id).filter(|lease| filter.is_theirs(lease)).ok_or_else(|| no_marker(&id)));
    let marker = marker.transpose()?;
    let found = state.leases_in(filter.project_id.as_ref(), ..).filter(wanted).collect();
    Ok(order::page(found, marker, limit, filter.descending, |one, other| filter.order.compare(one, other)))
}

/// The hosts of a listing, in its order.
///
/// # Errors
/// `Invalid` (marker: a host that is not there has no place in an order by something else than the id).
pub fn hosts<'a>(state: &'a State, listing: &HostListing) -> Result<Vec<&'a Host>, Rejection> {
    // Before a page that begins behind a number nothing is looked at.
    let from = listing.after.filter(|_| listing.order == HostOrder::Id && !listing.descending);
    listed(state, listing, state.hosts_in((from.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded)))
}

/// Those of some hosts, given by number, that a listing wants, in its order.
fn listed<'a>(
    state: &'a State,
    listing: &HostListing,
    hosts: impl Iterator<Item = &'a Host>,
) -> Result<Vec<&'a Host>, Rejection> {
    let limit = listing.limit.map_or(usize::MAX, |limit| limit as usize);
    let kind = listing.filter.as_wish();
    let wanted = |host: &&Host| {
        misfit(host, &kind).is_none()
            && listing.filter.hosts.as_ref().is_none_or(|among| among.contains(&host.id))
            && listing.reservable.is_none_or(|reservable| host.reservable == reservable)
    };
    let by_id = listing.order == HostOrder::Id;
    let behind = |host: &&Host| match listing.after.filter(|_| by_id) {
        Some(after) if listing.descending => host.id < after,
        Some(after) => host.id > after,
        None => true,
    };
    let marker = match listing.after.filter(|_| !by_id) {
        Some(id) => Some(state.host(id).ok_or_else(|| no_marker(&id))?),
        None => None,
    };
    let found = hosts.filter(behind).filter(wanted);
    if by_id && !listing.descending {
        return Ok(found.take(limit).collect());
    }
    Ok(order::page(found.collect(), marker, limit, listing.descending, |one, other| listing.order.compare(one, other)))
}

fn no_marker(id: &dyn std::fmt::Display) -> Rejection {
    let way = "it must be the last of the page before; begin again, or page by id, where it need not be there any more";
    invalid("marker", format!("{id} is not there (any more); {way}"))
}

impl LeaseFilter {
    /// Whether the lease may be told of to whom the listing is for.
    fn is_theirs(&self, lease: &Lease) -> bool {
        lease.visible() && self.project_id.as_ref().is_none_or(|project| lease.project_id == *project)
    }

    /// What is being promoted is UPDATING, and on the waitlist until the cloud has accepted its hold.
    fn takes_status(&self, lease: &Lease) -> bool {
        let waits = lease.wait.is_some();
        (self.statuses.is_empty() && !waits)
            || self.statuses.contains(&lease.status)
            || (waits && self.statuses.contains(&LeaseStatus::Waiting))
    }

    /// Hosts of the zone that is asked for.
    fn hosts_of_zone(&self, state: &State) -> BTreeSet<HostId> {
        let Some(zone) = self.zone.as_deref() else { return BTreeSet::new() };
        state.hosts().filter(|host| host.description.zone.as_deref() == Some(zone)).map(|host| host.id).collect()
    }

    fn takes(&self, of_zone: &BTreeSet<HostId>, lease: &Lease) -> bool {
        // Planted bug: lists of leases have the offers, too.
        let of_kind = mutant!("N05") || lease.unclaimed_until().is_some() == self.offers;
        self.is_theirs(lease)
            && of_kind
            && self.takes_status(lease)
            && self.series.is_none_or(|series| lease.series_id() == Some(series))
            && self.name.as_ref().is_none_or(|name| lease.name == *name)
            && self.window.is_none_or(|(window, scope)| scope.takes(window, lease.interval()))
            && self.zone.as_ref().is_none_or(|zone| is_in_zone(of_zone, lease, zone))
            && (self.with_any.is_empty() || self.with_any.iter().any(|element| element.is_in(lease)))
            && self.with_all.iter().all(|element| element.is_in(lease))
            && !self.without.iter().any(|element| element.is_in(lease))
    }
}

impl Scope {
    fn takes(self, window: Interval, lease: Interval) -> bool {
        let starts = window.start <= lease.start && lease.start < window.end;
        // The first second after it may be the window's.
        let ends = lease.end != Seconds::OPEN_END && window.start < lease.end && lease.end <= window.end;
        match self {
            Scope::Overlapping => window.overlaps(lease),
            Scope::Inclusive => starts || ends,
            Scope::Exclusive => starts && ends,
        }
    }
}

fn is_in_zone(of_zone: &BTreeSet<HostId>, lease: &Lease, zone: &str) -> bool {
    lease.reservations.iter().any(|reservation| {
        reservation.wish.instance().zone.as_deref() == Some(zone)
            || reservation.bindings.iter().any(|binding| of_zone.contains(&binding.host))
    })
}

#[cfg(test)]
mod tests;
