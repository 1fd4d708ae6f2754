//! What one lease books on whom, when: the only place that says so. The calendar is the sum of it over all leases.

use crate::model::{Amounts, Binding, HostId, Interval, Lease, Phase, Reservation, ReservationStatus, ResourceWish, Staging};
use crate::mutant;

/// So much of one host over one interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Whose.
    pub host: HostId,
    /// When.
    pub interval: Interval,
    /// How much.
    pub amounts: Amounts,
}

/// What a lease books.
pub fn lease_bookings(lease: &Lease) -> Vec<Booking> {
    let mut bookings = Vec::with_capacity(lease.reservations.iter().map(|reservation| reservation.bindings.len()).sum());
    for reservation in &lease.reservations {
        reservation_bookings(lease.interval(), reservation, &mut bookings);
    }
    bookings
}

/// Adds what one reservation of a lease over `lease` books: nothing once its end is confirmed.
pub fn reservation_bookings(lease: Interval, reservation: &Reservation, into: &mut Vec<Booking>) {
    if reservation.status == ReservationStatus::Deleted {
        return;
    }
    let main = Interval { start: lease.start, end: reservation.booked_end.map_or(lease.end, |end| end.max(lease.end)) };
    let Some(previous) = &reservation.previous else {
        wish_bookings(main, &reservation.wish, reservation.staging, &reservation.bindings, into);
        wish_bookings(main, &reservation.wish, None, &reservation.releasing, into);
        return;
    };
    let (mut new, mut old) = (Vec::new(), Vec::new());
    wish_bookings(main, &reservation.wish, reservation.staging, &reservation.bindings, &mut new);
    wish_bookings(previous.interval, &previous.wish, previous.staging, &previous.bindings, &mut old);
    let releasing_from = new.len();
    wish_bookings(main, &reservation.wish, None, &reservation.releasing, &mut new);
    let releasing = new.split_off(releasing_from);
    pointwise_max(&old, &new, into);
    into.extend(releasing);
}

/// Adds what bindings of a wish book.
pub fn wish_bookings(
    main: Interval,
    wish: &ResourceWish,
    staging: Option<Staging>,
    bindings: &[Binding],
    into: &mut Vec<Booking>,
) {
    let need = wish.instance().need();
    for binding in bindings {
        // Planted bug: staging is not booked.
        if mutant!("N01") && binding.phase == Phase::Staging {
            continue;
        }
        let interval = match (binding.phase, staging) {
            (Phase::Main, _) => main,
            (Phase::Staging, Some(staging)) => staging.booked(),
            (Phase::Staging, None) => panic!("a staging binding without a staging window"),
        };
        let amounts = need.checked_mul(binding.slots).expect("amounts of a wish were checked when it was accepted");
        into.push(Booking { host: binding.host, interval, amounts });
    }
}

/// Adds the larger of two sets of bookings at every instant, host by host.
pub(super) fn pointwise_max(old: &[Booking], new: &[Booking], into: &mut Vec<Booking>) {
    let mut hosts: Vec<HostId> = old.iter().chain(new).map(|booking| booking.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    for host in hosts {
        for interval in segments(host, old, new) {
            let amounts = sum_at(host, interval, old).max(sum_at(host, interval, new));
            if amounts != Amounts::default() {
                into.push(Booking { host, interval, amounts });
            }
        }
    }
}

/// The spans between all starts and ends of the bookings of one host: inside each of them every booking is constant.
pub fn segments(host: HostId, old: &[Booking], new: &[Booking]) -> Vec<Interval> {
    let mut borders: Vec<_> = old
        .iter()
        .chain(new)
        .filter(|booking| booking.host == host)
        .flat_map(|booking| [booking.interval.start, booking.interval.end])
        .collect();
    borders.sort_unstable();
    borders.dedup();
    borders.windows(2).map(|pair| Interval { start: pair[0], end: pair[1] }).collect()
}

/// What bookings take of a host over a span in which each of them is constant.
pub fn sum_at(host: HostId, segment: Interval, bookings: &[Booking]) -> Amounts {
    bookings
        .iter()
        .filter(|booking| booking.host == host && booking.interval.overlaps(segment))
        .fold(Amounts::default(), |sum, booking| sum.checked_add(booking.amounts).unwrap_or(Amounts::from_array([u32::MAX; 4])))
}
