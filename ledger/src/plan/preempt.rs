//! Who gives way to a lease of a higher priority for which there is no room (docs/decisions/0021).

use std::cmp::Reverse;

use super::place::place_in;
use super::room::{View, sorted_by_host};
use super::together::Steps;
use super::{Overlay, Planned};
use crate::apply::preempt::{GIVEN_UP_MAX, VICTIMS_MAX, bookings_of, gives_way, spare, takes_nothing};
use crate::apply::schedule::Schedule;
use crate::command::LeaseWish;
use crate::model::{
    Anchor, Binding, Host, HostId, InstanceWish, Interval, Lease, PoolKind, ReservationId, Timestamp, Victim, misfit,
};
use crate::state::{Booking, State};

/// Leases that are looked at for one plan at most, those that give way first.
const CANDIDATES_MAX: usize = 512;

/// Plans a lease at the start that is asked for first, on dedicated hosts, with the room of leases that give way to it: the lowest
/// priority first, of one priority what was made last. As few of these as are needed are taken, counted from the first; then
/// all are spared without which there is room as well, the highest priority and the oldest first. So none is needless,
/// though others might have been fewer. Where those are too many, the largest go first.
///
/// The state is held meanwhile, so what is looked at has its bounds: some ten plans, and one for each that gives way in the end; where the steps of plans of several reservations are
/// used up, more may give way than need to.
pub(super) fn plan(
    state: &State,
    overlay: &Overlay,
    wish: &LeaseWish,
    schedule: &Schedule,
    ids: &[ReservationId],
    anchors: &[Vec<Anchor>],
    now: Timestamp,
) -> Option<Planned> {
    if wish.precedence.priority == 0 || takes_nothing(wish).is_some() {
        return None;
    }
    let mut wish = wish.clone();
    wish.reservations.iter_mut().for_each(|one| one.resource.instance_mut().pool = Some(PoolKind::Dedicated));
    let steps = Steps::new();
    let placed = |given_way: &[Lease]| {
        let own = sorted_by_host(bookings_of(given_way));
        place_in(View { own: &own, ..View::new(state, overlay, now) }, &wish, schedule, ids, anchors, &steps).ok()
    };
    let mut candidates = candidates(state, &wish, schedule, now);
    let (mut given_way, mut planned) = suffice(state, overlay, &candidates, &placed, now)?;
    if given_way.len() > VICTIMS_MAX {
        candidates.sort_by_cached_key(|lease| (lease.precedence.priority, Reverse(size(lease)), lease.id));
        (given_way, planned) =
            suffice(state, overlay, &candidates, &placed, now).filter(|(those, _)| those.len() <= VICTIMS_MAX)?;
    }
    for place in (0..given_way.len()).rev() {
        let spared = given_way.remove(place);
        match placed(&given_way) {
            Some(without) => planned = without,
            None => given_way.insert(place, spared),
        }
    }
    // Where these hosts were chosen with more room than they need, or plans in flight are in the way as well.
    spare(state, &mut given_way, &with_in_flight(overlay, &planned), now);
    let mut victims: Vec<Victim> =
        given_way.iter().map(|lease| Victim { lease_id: lease.id, revision: lease.revision }).collect();
    victims.sort_unstable();
    Some(Planned { victims, ..planned })
}

/// The first so many of these that make room together, without those that are not on the hosts where it is found then, and the plan
/// that was found. More room never hurts, so they are found by halving.
fn suffice(
    state: &State,
    overlay: &Overlay,
    candidates: &[Lease],
    placed: &impl Fn(&[Lease]) -> Option<Planned>,
    now: Timestamp,
) -> Option<(Vec<Lease>, Planned)> {
    let (mut too_few, mut enough, mut planned) = (0, candidates.len(), placed(candidates)?);
    while too_few + 1 < enough {
        let half = too_few + (enough - too_few) / 2;
        match placed(&candidates[..half]) {
            Some(found) => (enough, planned) = (half, found),
            None => too_few = half,
        }
    }
    let mut given_way = candidates[..enough].to_vec();
    spare(state, &mut given_way, &with_in_flight(overlay, &planned), now);
    Some((given_way, planned))
}

/// How much a lease has booked, vCPUs over all of its slots.
fn size(lease: &Lease) -> u64 {
    bookings_of([lease]).iter().map(|booking| u64::from(booking.amounts.vcpus)).sum()
}

/// Who may give way, who does so first in front. What is booked in too many places is left out.
fn candidates(state: &State, wish: &LeaseWish, schedule: &Schedule, now: Timestamp) -> Vec<Lease> {
    let instances: Vec<&InstanceWish> = wish.reservations.iter().map(|one| one.resource.instance()).collect();
    let staged = schedule.staging.iter().flatten().map(|staging| staging.booked());
    let windows: Vec<Interval> = staged.chain([schedule.interval]).collect();
    let suits = |host: &Host| host.accepts_bookings() && instances.iter().any(|one| misfit(host, one).is_none());
    let on = |host: HostId| state.host(host).is_some_and(suits);
    let in_the_way = |booking: &Booking| windows.iter().any(|one| one.overlaps(booking.interval)) && on(booking.host);
    let mut found: Vec<&Lease> = state
        .preemptible_leases()
        // Most are at other times, which their own times tell.
        .filter(|lease| windows.iter().any(|one| one.overlaps(Interval { start: lease.begins(), end: lease.end })))
        .filter(|lease| gives_way(lease, wish.precedence.priority, now) && bookings_of([*lease]).iter().any(in_the_way))
        .collect();
    found.sort_by_key(|lease| (lease.precedence.priority, Reverse(lease.created_at), lease.id));
    let mut left = GIVEN_UP_MAX;
    let mut bounded = |lease: &&Lease| {
        let many = bookings_of([*lease]).len();
        let fits = many <= left;
        left -= if fits { many } else { 0 };
        fits
    };
    found.into_iter().take(CANDIDATES_MAX).filter(|lease| bounded(lease)).cloned().collect()
}

/// What a plan books, and what plans in flight do on the same hosts.
fn with_in_flight(overlay: &Overlay, planned: &Planned) -> Vec<Booking> {
    let own =
        planned.bookings.iter().map(|(host, interval, amounts)| Booking { host: *host, interval: *interval, amounts: *amounts });
    let mut hosts: Vec<HostId> =
        planned.reservations.iter().flat_map(|one| &one.bindings).map(|one: &Binding| one.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let in_flight = hosts.iter().flat_map(|host| overlay.on(*host)).map(|(_, booking)| *booking);
    own.chain(in_flight).collect()
}
