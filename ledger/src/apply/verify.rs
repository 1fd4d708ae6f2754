//! Whether a plan holds now: exact integers, for the planned hosts only (architecture D2, L1 of scheduling-design §1).

use crate::command::PlannedReservation;
use crate::model::{
    Amounts, Anchor, Binding, Class, Host, HostId, InstanceWish, Phase, PoolKind, Reservation, ReservationId, Stage, Staging,
    Timestamp, misfit,
};
use crate::mutant;
use crate::reply::Rejection;
use crate::state::{Booking, State, segments, sum_at};

/// A rejection that says: plan again.
pub(crate) fn stale(problem: impl Into<String>) -> Rejection {
    Rejection::PlanStale { problem: problem.into(), host: None, class: None }
}

pub(super) fn stale_on(host: HostId, class: Option<Class>, problem: impl Into<String>) -> Rejection {
    Rejection::PlanStale { problem: problem.into(), host: Some(host), class }
}

/// One planned entry per reservation, in order.
pub(crate) fn check_plan_names(
    plan: &[PlannedReservation],
    reservations: impl ExactSizeIterator<Item = ReservationId>,
) -> Result<(), Rejection> {
    if plan.len() != reservations.len() || !plan.iter().map(|planned| planned.reservation_id).eq(reservations) {
        return Err(stale("the plan names other reservations"));
    }
    Ok(())
}

/// Order, number of slots per phase, affinity. `count_staging`: staging has not begun, so its slots are planned too.
pub(crate) fn check_shape(
    wish: &InstanceWish,
    staging: Option<Staging>,
    bindings: &[Binding],
    count_staging: bool,
) -> Result<(), Rejection> {
    let key = |binding: &Binding| (binding.phase, binding.host);
    if !bindings.is_sorted_by(|a, b| key(a) < key(b)) {
        return Err(stale("bindings are not sorted, or not unique"));
    }
    if bindings.iter().any(|binding| binding.slots == 0) {
        return Err(stale("a binding has no slots"));
    }
    check_phase(wish, bindings, Phase::Main, wish.amount)?;
    if staging.is_none() && bindings.iter().any(|binding| binding.phase == Phase::Staging) {
        return Err(stale("staging slots without staging"));
    }
    if staging.is_some() && count_staging {
        check_phase(wish, bindings, Phase::Staging, wish.amount)?;
    }
    Ok(())
}

fn check_phase(wish: &InstanceWish, bindings: &[Binding], phase: Phase, amount: u32) -> Result<(), Rejection> {
    let of_phase = || bindings.iter().filter(|binding| binding.phase == phase);
    let slots: u64 = of_phase().map(|binding| u64::from(binding.slots)).sum();
    if slots != u64::from(amount) {
        return Err(stale(format!("{slots} slots planned, {amount} wanted")));
    }
    match wish.affinity {
        Some(true) if of_phase().count() != 1 => Err(stale("affinity wants one host")),
        Some(false) if of_phase().any(|binding| binding.slots != 1) => Err(stale("anti-affinity wants different hosts")),
        _ => Ok(()),
    }
}

/// Hosts exist and are of the kind asked for. Bindings that are there already under the same terms may stay.
pub(crate) fn check_hosts(
    state: &State,
    wish: &InstanceWish,
    bindings: &[Binding],
    old: Option<&Reservation>,
) -> Result<(), Rejection> {
    for binding in bindings {
        let host = state.host(binding.host).ok_or_else(|| stale_on(binding.host, None, "host is gone"))?;
        let stays = old.is_some_and(|old| {
            same_terms(old.wish.instance(), wish)
                && old.bindings.iter().any(|one| (one.phase, one.host) == (binding.phase, binding.host))
        });
        if !stays && let Some(misfit) = misfit(host, wish) {
            return Err(stale_on(binding.host, None, misfit.as_str()));
        }
    }
    check_anchors(state, bindings, old.and_then(|old| fixed_anchor(state, old)))
}

/// A reservation has one flavor, so its hosts have one kind of anchor, and keep it once the flavor is made (architecture D21).
pub(crate) fn check_anchors(state: &State, bindings: &[Binding], made: Option<Anchor>) -> Result<(), Rejection> {
    let Some(wanted) = made.or_else(|| state.anchor_of(bindings)) else { return Ok(()) };
    let is_other = |binding: &&Binding| state.host(binding.host).is_some_and(|host| host.description.anchor != wanted);
    match bindings.iter().find(is_other) {
        None => Ok(()),
        Some(other) if made.is_some() => {
            Err(stale_on(other.host, None, format!("its flavor is made for anchors of {}", name(wanted))))
        }
        Some(other) => Err(stale_on(other.host, None, format!("the other hosts have anchors of {}", name(wanted)))),
    }
}

/// What the flavor of a reservation is made for; `None` while it is not made.
pub(crate) fn fixed_anchor(state: &State, reservation: &Reservation) -> Option<Anchor> {
    match &reservation.adoption {
        Some(adoption) => Some(adoption.anchor),
        None if reservation.stage == Stage::Booked => None,
        None => state.anchor_of(&reservation.bindings),
    }
}

/// For the text of a stale plan.
fn name(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Memory => "MEMORY_MB",
        Anchor::Class => "CUSTOM_LH_ANCHOR",
    }
}

/// Whether two wishes ask for the same kind of host.
fn same_terms(a: &InstanceWish, b: &InstanceWish) -> bool {
    a.zone == b.zone
        && a.pool == b.pool
        && a.required_traits == b.required_traits
        && a.forbidden_traits == b.forbidden_traits
        && a.requirements == b.requirements
}

/// L1 for every instant from `now` on at which `new` takes more of a host than `old`, both of one lease; `old` is in the
/// calendar. What downtimes withhold is not there. What is over is in nobody's way: an open lease that grows books the more from its start on, and a staging
/// window of another that was over before is not asked for room. A host that takes more must accept bookings, and to carry
/// an open lease for longer is to take more: what stands on a host that is down or closed stays, but nothing is promised of
/// it for a time that was not promised before. Gives the hosts that take more, in order.
pub(crate) fn check_room(state: &State, old: &[Booking], new: &[Booking], now: Timestamp) -> Result<Vec<HostId>, Rejection> {
    let now = now.floor_to_second();
    let mut hosts: Vec<HostId> = new.iter().map(|booking| booking.host).collect();
    hosts.sort_unstable();
    hosts.dedup();
    let mut grown = Vec::new();
    for id in hosts {
        let host = state.host(id).ok_or_else(|| stale_on(id, None, "host is gone"))?;
        let mut grows = false;
        for segment in segments(id, old, new) {
            let (before, after) = (sum_at(id, segment, old), sum_at(id, segment, new));
            if after.fits_in(before) {
                continue;
            }
            // Inside a segment what the lease holds already is constant, so the peak without it is exact.
            let booked = state.calendar().peak(id, segment);
            let others = booked.checked_sub(before).expect("the calendar holds what the lease books");
            // What is over is not bounded by the host's room, but the calendar still sums it up.
            if others.checked_add(after).is_none() {
                return Err(stale_on(id, None, "more was booked there than can be counted"));
            }
            let Some(to_come) = segment.to_come(now) else { continue };
            grows = true;
            if !host.accepts_bookings() {
                return Err(stale_on(id, None, "host accepts no bookings"));
            }
            check_fits(host, state.calendar().taken(id, to_come).without(before), after)?;
        }
        if grows {
            grown.push(id);
        }
    }
    Ok(grown)
}

pub(super) fn check_fits(host: &Host, others: Amounts, wanted: Amounts) -> Result<(), Rejection> {
    let total = others.saturating_add(wanted);
    // Planted bug: the plan is believed.
    if mutant!("M09") || mutant!("C04") {
        return Ok(());
    }
    let room = host.room_upgraded().to_array();
    for (place, class) in Class::ALL.into_iter().enumerate() {
        if total.to_array()[place] > room[place] {
            return Err(stale_on(host.id, Some(class), format!("no room for {}", class.name())));
        }
    }
    Ok(())
}

/// Whether the cloud must agree before a new reservation is promised (architecture D24): a hold that Placement must accept on
/// shared hosts, or a server group.
pub(crate) fn needs_hold(state: &State, reservation: &Reservation) -> bool {
    reservation.wish.instance().affinity.is_some() || reservation.bindings.iter().any(|binding| is_shared(state, binding.host))
}

/// Whether ordinary servers may use the host.
pub(crate) fn is_shared(state: &State, host: HostId) -> bool {
    state.host(host).is_some_and(|host| host.description.pool == PoolKind::Shared)
}
