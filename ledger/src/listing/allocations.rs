//! Which reservations lie on which hosts (blazar-api §5, §9: Allocation).

use super::{HostListing, hosts, listed};
use crate::model::{HostId, Interval, Lease, LeaseId, Phase, ReservationId, Seconds};
use crate::reply::Rejection;
use crate::state::State;

/// Which reservations are shown of which hosts. Without a word all that are not over, of all hosts by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllocationFilter {
    /// Of which hosts, in which order and how many of them.
    pub hosts: HostListing,
    /// Only this one of them, which must be there; what it costs is then what this host has.
    pub host_id: Option<HostId>,
    /// Only of this lease.
    pub lease_id: Option<LeaseId>,
    /// Only this reservation.
    pub reservation_id: Option<ReservationId>,
    /// Only times of which a second lies in it.
    pub window: Option<Interval>,
    /// Which of the times of the one host that is asked for; of many hosts there are pages of hosts.
    pub page: ReservedPage,
}

/// A page of what is reserved of one host, by start and reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReservedPage {
    /// The other way round, reservations too.
    pub descending: bool,
    /// Only those behind this one in the order; it need not be there any more.
    pub after: Option<ReservedName>,
    /// At most so many; `None`: all.
    pub limit: Option<u32>,
}

/// Tells one time of a reservation on a host from all others there: staging and lease begin at different seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReservedName {
    /// Its first second.
    pub start: Seconds,
    /// Whose.
    pub reservation_id: ReservationId,
}

impl ReservedInterval {
    /// See [`ReservedName`].
    #[must_use]
    pub fn name(&self) -> ReservedName {
        ReservedName { start: self.start, reservation_id: self.reservation_id }
    }
}

/// One host's reservations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAllocation {
    /// Which host.
    pub host_id: HostId,
    /// By start, unless the other way round was asked for.
    pub reservations: Vec<ReservedInterval>,
}

/// A reservation's time on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReservedInterval {
    /// Which reservation.
    pub reservation_id: ReservationId,
    /// Of which lease.
    pub lease_id: LeaseId,
    /// First second.
    pub start: Seconds,
    /// First second after, or [`Seconds::OPEN_END`].
    pub end: Seconds,
}

/// Every host of a filter with its reservations, also those that have none, in the order of the hosts. Without a lease and a
/// reservation: only of leases that end now or later.
///
/// # Errors
/// `HostNotFound` (the one host that is asked for), and those of [`hosts`].
pub fn allocations(state: &State, filter: &AllocationFilter) -> Result<Vec<HostAllocation>, Rejection> {
    let found = match filter.host_id {
        Some(id) => listed(state, &filter.hosts, [state.host(id).ok_or(Rejection::HostNotFound(id))?].into_iter())?,
        None => hosts(state, &filter.hosts)?,
    };
    Ok(found.into_iter().map(|host| HostAllocation { host_id: host.id, reservations: on_host(state, host.id, filter) }).collect())
}

fn on_host(state: &State, host: HostId, filter: &AllocationFilter) -> Vec<ReservedInterval> {
    let now = state.clock().floor_to_second();
    let is_filtered = filter.lease_id.is_some() || filter.reservation_id.is_some();
    // Who gave way books nothing, though something of it may still be in the cloud.
    let counts = |lease: &&Lease| lease.visible() && lease.preempted.is_none() && (is_filtered || lease.end >= now);
    let mut reservations = Vec::new();
    match filter.lease_id {
        // Not every lease of every host, to find one.
        Some(id) => {
            state.lease_on(host, id).iter().copied().filter(counts).for_each(|lease| add(lease, host, filter, &mut reservations))
        }
        None => state.leases_on(host).filter(counts).for_each(|lease| add(lease, host, filter, &mut reservations)),
    }
    let is_then =
        |one: &ReservedInterval| filter.window.is_none_or(|window| window.overlaps(Interval { start: one.start, end: one.end }));
    reservations.retain(is_then);
    reservations.sort_by_key(ReservedInterval::name);
    if filter.host_id.is_none() {
        return reservations;
    }
    let ReservedPage { descending, after, limit } = filter.page;
    if descending {
        reservations.reverse();
    }
    let is_behind = |name: ReservedName| after.is_none_or(|after| if descending { name < after } else { name > after });
    reservations.retain(|one| is_behind(one.name()));
    reservations.truncate(limit.map_or(usize::MAX, |limit| limit as usize));
    reservations
}

/// What a lease has on a host, staging and the lease itself.
fn add(lease: &Lease, host: HostId, filter: &AllocationFilter, reservations: &mut Vec<ReservedInterval>) {
    let is_wanted = |id: ReservationId| filter.reservation_id.is_none_or(|wanted| wanted == id);
    for reservation in lease.reservations.iter().filter(|reservation| is_wanted(reservation.id)) {
        let is_here = |phase| reservation.bindings.iter().any(|binding| binding.host == host && binding.phase == phase);
        let (reservation_id, lease_id) = (reservation.id, lease.id);
        let reserved = |Interval { start, end }| ReservedInterval { reservation_id, lease_id, start, end };
        if let Some(staging) = reservation.staging.filter(|_| is_here(Phase::Staging)) {
            reservations.push(reserved(staging.booked()));
        }
        if is_here(Phase::Main) {
            reservations.push(reserved(lease.interval()));
        }
    }
}
