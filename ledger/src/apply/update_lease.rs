//! Changes a lease, all or nothing: checks what is asked for; `rebook.rs` makes the change.

use super::archive_leases::visible_lease;
use super::expire::{interrupt, reopen};
use super::limits::check_name;
use super::progress::event_mut;
use super::quota::check_change;
use super::rebook::{change_bookings, set_plan};
use super::schedule::{check_end, check_instance, late_before_end_id, outside, prepare_time, resolve_before_end, resolve_start};
use crate::command::{BeforeEndWish, EndWish, LeaseChange, ReservationChange, StartWish, UpdateLease};
use crate::model::{
    Event, EventKind, EventStatus, InstanceWish, Interval, Lease, LeaseStatus, RequestKey, Reservation, ReservationStatus,
    Seconds, Stage, Timestamp,
};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::State;

/// Changes a lease. What is open stays where it is: more is added, or slots are given back; what is not open yet is booked
/// anew as planned. Where Placement must agree first the lease is UPDATING, and old and new are booked both.
///
/// Rejections, in this order: those of [`visible_lease`], of [`resolve_update`], `QuotaExceeded`, `PlanStale`.
/// Source: `PUT /v1/leases/{id}`, blazar-api §6.2.
pub(super) fn update_lease(
    state: &mut State,
    now: Timestamp,
    update: &UpdateLease,
    key: Option<&RequestKey>,
) -> Result<Reply, Rejection> {
    let lease_id = update.lease_id;
    let mut before = visible_lease(state, lease_id)?.clone();
    let Resolved { mut lease, rebook, follow } = resolve_update(&before, &update.change, now)?;
    if !update.change.ignore_quota {
        check_change(state, &before, &lease, now)?;
    }
    for (reservation, old) in lease.reservations.iter_mut().zip(&before.reservations) {
        change_group(reservation, old, update.caller_makes_groups);
    }
    if rebook {
        set_plan(state, &before, &mut lease, &update.plan)?;
    }
    if !rebook && !follow {
        lease.updated_at = Some(now);
        state.put_lease(lease);
        return Ok(Reply::LeaseUpdated { lease_id, prepared: true });
    }
    // Whoever changes it is there.
    let closed = interrupt(&mut before, now);
    interrupt(&mut lease, now);
    let prepared = change_bookings(state, &before, lease, key, now)?;
    reopen(state, lease_id, &closed, now);
    Ok(Reply::LeaseUpdated { lease_id, prepared })
}

/// A lease as it is to be, but for its bindings.
pub(crate) struct Resolved {
    /// With new name, times, wishes and events, and the old bindings.
    pub lease: Lease,
    /// Whether it must be planned anew.
    pub rebook: bool,
    /// Whether the cloud must follow although nothing is rebooked.
    pub follow: bool,
}

/// Checks everything of a change that needs no host.
///
/// Rejections, in this order: `OfferUnclaimed`, `WrongStatus`, `Invalid` (name), `ReservationNotFound`, `AlreadyEnded`, `AlreadyStarted`,
/// `StartInPast`, `EndInPast`, `EndBeyondCalendar`, `StagingOutside`, `Invalid` and `CannotUpdate` (reservations),
/// `BeforeEndOutside`.
pub(crate) fn resolve_update(before: &Lease, change: &LeaseChange, now: Timestamp) -> Result<Resolved, Rejection> {
    if before.unclaimed_until().is_some() {
        return Err(Rejection::OfferUnclaimed(before.id));
    }
    match before.status {
        LeaseStatus::Pending | LeaseStatus::Active | LeaseStatus::Terminated | LeaseStatus::Error => {}
        status => return Err(Rejection::WrongStatus { status }),
    }
    let mut lease = before.clone();
    if let Some(name) = &change.name {
        check_name(name)?;
        lease.name = name.clone();
    }
    for one in &change.reservations {
        let asked_once = change.reservations.iter().filter(|other| other.reservation_id == one.reservation_id).count() == 1;
        if before.reservation(one.reservation_id).is_none() || !asked_once {
            return Err(Rejection::ReservationNotFound(one.reservation_id));
        }
    }
    let LeaseChange { name: _, start, end, before_end, reservations, ignore_quota: _ } = change;
    // What is asked for as it is is no change, however late: a request with a key names it, so that it stays the same
    // wish when it is repeated.
    let same_start = start.is_none_or(|wish| wish == StartWish::At(before.start));
    let same_reservations = reservations.iter().all(|one| {
        before.reservation(one.reservation_id).is_some_and(|reservation| {
            reservation.wish == one.resource && one.on_end.is_none_or(|on_end| on_end == reservation.on_end)
        })
    });
    if same_start && end.is_none() && before_end.is_none() && same_reservations {
        return Ok(Resolved { lease, rebook: false, follow: false });
    }
    let is_over = before.status == LeaseStatus::Terminated || before.preempted.is_some();
    if is_over || before.end <= now.floor_to_second() {
        // Planted bug: the wrong reason.
        return Err(if mutant!("N20") {
            Rejection::WrongStatus { status: LeaseStatus::Creating }
        } else {
            Rejection::AlreadyEnded
        });
    }

    resolve_dates(before, &mut lease, change, now)?;
    let mut rebook = lease.interval() != before.interval();
    let mut follow = false;
    for one in reservations {
        if let Some(reservation) = lease.reservations.iter_mut().find(|reservation| reservation.id == one.reservation_id) {
            rebook |= reservation.wish != one.resource;
            follow |= one.on_end.is_some_and(|on_end| on_end != reservation.on_end);
            change_reservation(reservation, one)?;
        }
    }
    rebook &= !lease.reservations.is_empty();
    retime_events(before, &mut lease, *before_end, now)?;
    Ok(Resolved { lease, rebook, follow })
}

/// Whether it is too late for another start of a lease.
pub(crate) fn has_started(lease: &Lease, now: Timestamp) -> bool {
    lease.status != LeaseStatus::Pending || lease.start <= now.floor_to_second()
}

fn resolve_dates(before: &Lease, lease: &mut Lease, change: &LeaseChange, now: Timestamp) -> Result<(), Rejection> {
    if let Some(wish) = change.start {
        let started = has_started(before, now);
        if let StartWish::Earliest { .. } = wish {
            let problem = "only a new lease may leave its start open; name one second".to_owned();
            return Err(Rejection::CannotUpdate { field: "start".to_owned(), problem });
        }
        match resolve_start(wish, now) {
            // A start that is asked for as it is is no change, however long past.
            _ if wish == StartWish::At(before.start) => {}
            _ if started => return Err(Rejection::AlreadyStarted),
            resolved => lease.start = resolved?,
        }
    }
    match change.end {
        None => {}
        Some(EndWish::Now) => lease.end = now.floor_to_second(),
        Some(EndWish::At(end)) if end < now.floor_to_minute() => return Err(Rejection::EndInPast),
        Some(EndWish::At(end)) => lease.end = end,
    }
    if lease.end <= lease.start {
        return Err(Rejection::EndInPast);
    }
    check_end(lease.end)?;
    let staged = lease.reservations.iter().filter(|one| one.stage < Stage::Open).filter_map(|one| one.staging);
    if lease.start != before.start && staged.map(|staging| staging.booked().end).any(|end| end > lease.start) {
        return Err(outside("window and margin end after the new start"));
    }
    Ok(())
}

fn change_reservation(reservation: &mut Reservation, change: &ReservationChange) -> Result<(), Rejection> {
    let (old, new) = (reservation.wish.instance(), change.resource.instance());
    check_instance(new)?;
    if let Some(field) = first_difference(old, new) {
        let refuse = |problem: &str| Err(Rejection::CannotUpdate { field: field.to_owned(), problem: problem.to_owned() });
        if reservation.status == ReservationStatus::Error {
            return refuse("the reservation is in error");
        }
        let amount_only = InstanceWish { amount: old.amount, ..new.clone() } == *old;
        if (old.flavor.is_some() || new.flavor.is_some()) && !amount_only {
            return refuse("its servers are like its flavor; only the amount can change");
        }
        let adopted = reservation.adoption.as_ref().map_or(0, |adoption| adoption.servers.len());
        if adopted > 0 && !amount_only {
            return refuse("it adopts servers, whose flavor is made already; only the amount can change");
        }
        if adopted > usize::try_from(new.amount).unwrap_or(usize::MAX) {
            return refuse("it adopts more servers than that");
        }
        match reservation.stage {
            Stage::Booked => {}
            Stage::Prepared | Stage::Parked if amount_only => {}
            Stage::Open if amount_only => {}
            Stage::Prepared | Stage::Parked => return refuse("its flavor is made already, only the amount can change"),
            Stage::Staging | Stage::Parking => return refuse("its servers are being staged"),
            Stage::Open => return refuse("An active reservation only accepts to update amount."),
            Stage::Ended => return refuse("the reservation has ended"),
        }
    }
    if let Some(on_end) = change.on_end.filter(|on_end| *on_end != reservation.on_end) {
        if reservation.stage == Stage::Ended {
            return Err(Rejection::CannotUpdate { field: "on_end".to_owned(), problem: "the reservation has ended".to_owned() });
        }
        reservation.on_end = on_end;
    }
    reservation.wish = change.resource.clone();
    Ok(())
}

/// Another affinity wants another server group, or none.
fn change_group(reservation: &mut Reservation, old: &Reservation, caller_makes_groups: bool) {
    let affinity = reservation.wish.instance().affinity;
    if affinity != old.wish.instance().affinity {
        reservation.server_group_id = None;
        reservation.server_group_problem = None;
        reservation.group_awaited = caller_makes_groups && affinity.is_some();
    }
}

/// The field to name when a change of it is refused.
fn first_difference(old: &InstanceWish, new: &InstanceWish) -> Option<&'static str> {
    [
        ("vcpus", old.vcpus != new.vcpus),
        ("memory_mb", old.memory_mb != new.memory_mb),
        ("disk_gb", old.disk_gb != new.disk_gb),
        ("affinity", old.affinity != new.affinity),
        ("zone", old.zone != new.zone),
        ("pool", old.pool != new.pool),
        ("required_traits", old.required_traits != new.required_traits),
        ("forbidden_traits", old.forbidden_traits != new.forbidden_traits),
        ("resource_properties", old.requirements != new.requirements || old.resource_properties != new.resource_properties),
        ("flavor", old.flavor != new.flavor),
        ("amount", old.amount != new.amount),
    ]
    .into_iter()
    .find_map(|(field, differs)| differs.then_some(field))
}

fn retime_events(before: &Lease, lease: &mut Lease, wish: Option<BeforeEndWish>, now: Timestamp) -> Result<(), Rejection> {
    let (start, end) = (lease.start, lease.end);
    let prepare = prepare_time(start, &lease.reservations, now);
    for (kind, time) in [(EventKind::StartLease, Some(start)), (EventKind::EndLease, Some(end)), (EventKind::Prepare, prepare)] {
        let undone = event_mut(lease, kind).filter(|event| event.status == EventStatus::Undone);
        if let (Some(event), Some(time)) = (undone, time) {
            event.time = time;
        }
    }

    let old = before.event(EventKind::BeforeEndLease).map(|event| event.time);
    let time = match wish {
        Some(wish) => resolve_before_end(wish, lease.interval())?,
        None => old.and_then(|old| keep_distance(old, before.end, lease.interval())),
    };
    let Some(time) = time else {
        lease.events.retain(|event| event.kind != EventKind::BeforeEndLease);
        return Ok(());
    };
    match event_mut(lease, EventKind::BeforeEndLease) {
        Some(event) => {
            // It fires again when it is moved to the future after it fired (blazar-api §6.2).
            if event.time != time && event.status == EventStatus::Done && time > now.floor_to_second() {
                event.status = EventStatus::Undone;
            }
            event.time = time;
        }
        None => {
            let (id, kind) = (late_before_end_id(lease.id), EventKind::BeforeEndLease);
            let event = Event { id, kind, time, status: EventStatus::Undone, created_at: now, updated_at: None };
            lease.events.insert(2, event);
        }
    }
    Ok(())
}

/// `before_end_lease` stays as long before the end as it was, but not before the start. An open end has none.
fn keep_distance(old: Seconds, old_end: Seconds, interval: Interval) -> Option<Seconds> {
    if interval.end == Seconds::OPEN_END {
        return None;
    }
    let distance = if old_end == Seconds::OPEN_END { 0 } else { old_end.0.saturating_sub(old.0) };
    Some(interval.end.minus(distance).max(interval.start))
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_pending_lease_moves_freely() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A 12:00..14:00 n=4 -> PENDING h1*4
               10:00 lease B 14:00..16:00 n=4 -> PENDING h1*4
               10:00 update A end=15:00 -> PENDING h2*4
               10:00 update A start=11:00 n=2 vcpus=2 name=AA -> PENDING h2*2
               10:00 show A -> AA 11:00..15:00 h2*2
               10:00 booked h2 11:00 -> 4 vcpus 2 slots
               10:00 update A n=8 -> no room short=6 largest=2 tightest=VCPU next=-
               10:00 events A -> start=11:00:UNDONE end=15:00:UNDONE prepare=10:00:UNDONE
               10:00 update A end=open -> PENDING h2*2
               10:00 update A start=now -> PENDING h2*2
               10:00 show A -> AA 10:00..open h2*2",
        );
    }

    #[test]
    fn a_change_finds_its_hosts_with_either_anchor_and_never_with_both() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 hosts c1 c2 shared anchored vcpus=3
               10:00 lease A 12:00..14:00 n=4 -> CREATING s1*4
               10:00 held A -> A PENDING pending:Booked
               10:00 update A n=5 plan=c1*3,s1*2 -> refused PlanStale
               10:00 update A n=5 -> UPDATING c1*3 c2*2
               10:00 held A -> A PENDING pending:Booked
               10:00 update A n=7 -> no room short=1 largest=6 tightest=VCPU next=-
               10:00 update A n=6 -> UPDATING c1*3 c2*3",
        );
    }

    /// Found by the simulation: what grew took the room of what stays, and the change was refused though another host was free.
    #[test]
    fn what_grows_leaves_the_room_of_what_stays() {
        check(
            "10:00 hosts h1 h2
               10:00 lease A now..14:00 n=4 reservations=2 -> PENDING h1*4 h1*4
               10:00 clock -> start A, start A
               10:00 update A n=6 -> refused WrongStatus STARTING
               10:00 done start A -> A STARTING active:Open pending:Open
               10:00 done start A -> A ACTIVE active:Open active:Open
               10:01 update A n=6 -> ACTIVE h1*4 h2*2 h1*4
               10:02 lease B 12:00..14:00 n=6 -> PENDING h2*6",
        );
        check(
            "10:00 hosts h1 h2
               10:00 lease A 12:00..14:00 n=4 reservations=2 -> PENDING h1*4 h1*4
               10:01 update A n=6 -> PENDING h1*4 h2*2 h1*4",
        );
    }

    #[test]
    fn every_rejection_has_its_cause() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=2 before=30 -> PENDING h1*2
               10:00 update X name=Y -> refused LeaseNotFound
               10:00 update A name= -> refused Invalid name
               10:00 update A n=1 foreign -> refused ReservationNotFound
               10:00 update A start=09:00 -> refused StartInPast
               10:00 update A end=09:00 -> refused EndInPast
               10:00 update A end=11:00 -> refused EndInPast
               10:00 update A end=now -> refused EndInPast
               10:00 update A end=900000:00 -> refused EndBeyondCalendar
               10:00 update A before=11:00 -> refused BeforeEndOutside
               10:00 update A n=0 -> refused Invalid amount
               10:00 update A end=15:00 plan= -> refused PlanStale
               10:00 update A n=3 plan=h1*2 -> refused PlanStale
               10:00 update A n=5 plan=h1*5 -> refused PlanStale
               12:00 clock -> start A
               12:00 update A name=B -> refused WrongStatus STARTING
               12:00 done start A -> A ACTIVE active:Open
               12:01 update A start=13:00 -> refused AlreadyStarted
               12:01 update A vcpus=2 -> refused CannotUpdate vcpus
               12:01 update A n=3 plan=h1*1 -> refused PlanStale
               14:00:01 update A end=15:00 -> refused AlreadyEnded
               14:00:01 clock -> end A
               14:00:02 update A name=B -> refused WrongStatus TERMINATING
               14:00:03 done end A -> A TERMINATED deleted:Ended
               14:00:03 update A end=16:00 -> refused AlreadyEnded
               14:00:03 update A start=13:00 name=B -> refused AlreadyEnded
               14:00:03 update A start=12:00 name=C -> TERMINATED h1*2
               14:00:03 update A name=B -> TERMINATED h1*2",
        );
    }

    #[test]
    fn servers_like_a_flavor_stay_like_it_and_others_do_not_become_so() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 lease A 12:00..14:00 n=2 flavor=f -> PENDING h1*2
               10:00 update A vcpus=2 -> refused CannotUpdate vcpus
               10:00 update A flavor=g -> refused CannotUpdate flavor
               10:00 update A zone=z -> refused CannotUpdate zone
               10:00 update A n=3 -> PENDING h1*3
               10:00 update A end=15:00 -> PENDING h1*3
               10:00 lease B 12:00..14:00 n=1 -> PENDING h1*1
               10:00 update B flavor=f -> refused CannotUpdate flavor
               10:00 update B vcpus=2 -> PENDING h1*1",
        );
    }

    #[test]
    fn an_open_lease_grows_at_once_and_gives_slots_back_when_their_tokens_are_closed() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A now..14:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 update A n=6 -> ACTIVE h1*4 h2*2
               10:01 rows -> adjust A
               10:01 done adjust A -> A ACTIVE active:Open
               10:02 update A n=3 -> ACTIVE h1*3
               10:02 booked h1 11:00 -> 4 vcpus 4 slots
               10:02 booked h2 11:00 -> 2 vcpus 2 slots
               10:02 done adjust A -> A ACTIVE active:Open
               10:02 booked h1 11:00 -> 3 vcpus 3 slots
               10:02 booked h2 11:00 -> 0 vcpus 0 slots",
        );
    }

    #[test]
    fn what_is_over_is_not_in_the_way_of_an_open_lease_that_grows() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A now..14:00 n=2 -> PENDING h1*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:00 lease B 15:00..16:00 n=2 staging=10:30..10:50 margin=600 -> PENDING staging:h1*2 h1*2
               10:10 update A n=4 -> no room short=2 largest=2 tightest=VCPU next=-
               10:30 clock -> open B
               10:31 done open B -> B PENDING pending:Staging
               10:50 clock -> close B
               10:55 done close B -> B PENDING pending:Parked
               10:59:59 update A n=4 -> no room short=2 largest=2 tightest=VCPU next=-
               10:59:59 update A n=4 plan=h1*4 -> refused PlanStale
               11:00 update A n=4 end=15:00 -> ACTIVE h1*4
               11:00 booked h1 10:45 -> 6 vcpus 6 slots
               11:00 done adjust A -> A ACTIVE active:Open
               11:01 update A n=5 -> no room short=1 largest=4 tightest=VCPU next=-
               11:01 update A end=15:30 -> no room short=4 largest=0 tightest=VCPU next=-
               11:02 update A n=1 -> ACTIVE h1*1
               11:02 done adjust A -> A ACTIVE active:Open
               11:02 booked h1 10:45 -> 3 vcpus 3 slots",
        );
    }

    #[test]
    fn an_end_that_has_come_is_not_in_the_way_either_confirmed_or_not() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A now..14:00 n=1 -> PENDING h1*1
               10:00 lease B now..10:30:20 n=2 -> PENDING h1*2
               10:00 clock -> start A, start B
               10:00 done start A -> A ACTIVE active:Open
               10:00 done start B -> B ACTIVE active:Open
               10:30:19 update A n=3 -> no room short=1 largest=2 tightest=VCPU next=-
               10:30:20 clock -> end B
               10:30:30 update A n=3 -> ACTIVE h1*3
               10:30:30 lease C 10:30..11:00 n=1 -> PENDING h1*1
               10:30:40 done end B -> B TERMINATED deleted:Ended
               10:30:40 booked h1 10:10 -> 3 vcpus 3 slots",
        );
    }

    #[test]
    fn an_open_lease_ends_later_only_on_hosts_that_accept_bookings_and_sooner_on_any() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 lease A now..14:00 n=6 -> PENDING h1*4 h2*2
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:01 observe h2 down -> closed
               # With 4 the two others would be booked there until the cloud has them no more.
               10:01 update A n=4 end=15:00 -> refused PlanStale
               10:01 update A end=15:00 -> no room short=6 largest=0 tightest=VCPU next=-
               10:01 update A end=15:00 plan=h1*4,h2*2 -> refused PlanStale
               10:01 update A end=13:30 -> ACTIVE h1*4 h2*2
               10:01 update A end=14:00 -> no room short=6 largest=0 tightest=VCPU next=-
               10:02 observe h2 -> fine
               10:02 update A end=14:00 -> ACTIVE h1*4 h2*2
               10:03 sethost h1 reservable=false -> changed
               10:03 update A end=15:00 -> no room short=6 largest=0 tightest=VCPU next=-
               10:03 update A n=5 -> ACTIVE h1*4 h2*1",
        );
    }

    #[test]
    fn what_is_over_stays_countable() {
        check(
            "10:00 hosts h1 disk=4000000000
               10:00 lease A now..14:00 n=1 disk=1000000000 -> PENDING h1*1
               10:00 lease B now..10:30 n=3 disk=1000000000 -> PENDING h1*3
               10:00 clock -> start A, start B
               10:00 done start A -> A ACTIVE active:Open
               10:00 done start B -> B ACTIVE active:Open
               10:30 clock -> end B
               10:31 update A n=2 -> refused PlanStale
               10:32 done end B -> B TERMINATED deleted:Ended
               10:32 update A n=4 -> ACTIVE h1*4",
        );
    }

    #[test]
    fn ending_now_keeps_the_booking_until_the_cloud_confirmed() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A now..14:00 n=4 -> PENDING h1*4
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:30 update A end=now -> ACTIVE h1*4
               10:30 booked h1 13:00 -> 4 vcpus 4 slots
               10:30 clock -> end A
               10:30 lease B 11:00..12:00 -> no room short=1 largest=0 tightest=VCPU next=14:00
               10:31 done end A -> A TERMINATED deleted:Ended
               10:31 lease B 11:00..12:00 -> PENDING h1*1",
        );
    }

    #[test]
    fn before_end_keeps_its_distance_and_fires_again() {
        check(
            "10:00 hosts h1
               10:00 lease A now..14:00 before=30 -> PENDING h1*1
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               13:30 clock -> nothing
               13:30 events A -> start=10:00:DONE end=14:00:UNDONE before_end=13:30:DONE prepare=10:00:DONE
               13:30 update A end=15:00 -> ACTIVE h1*1
               13:30 events A -> start=10:00:DONE end=15:00:UNDONE before_end=14:30:UNDONE prepare=10:00:DONE
               13:30 update A before=14:45 -> ACTIVE h1*1
               13:30 update A before=never -> ACTIVE h1*1
               13:30 events A -> start=10:00:DONE end=15:00:UNDONE prepare=10:00:DONE
               13:30 update A before=10 -> ACTIVE h1*1
               13:30 events A -> start=10:00:DONE end=15:00:UNDONE before_end=14:50:UNDONE prepare=10:00:DONE",
        );
    }

    #[test]
    fn an_update_on_shared_hosts_waits_for_its_hold_and_goes_back_when_it_is_refused() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 lease A 12:00..14:00 n=2 -> CREATING s1*2
               10:00 held A -> A PENDING pending:Booked
               10:01 update A n=3 start=13:00 end=15:00 name=B key=7 -> UPDATING s1*3
               10:01 key 7 until=24:00 -> pending
               10:01 booked s1 12:30 -> 2 vcpus 2 slots
               10:01 booked s1 13:30 -> 3 vcpus 3 slots
               10:01 next -> 10:01:10
               10:01:05 refused A -> A PENDING pending:Booked
               10:01:05 show A -> A 12:00..14:00 s1*2
               10:01:05 key 7 until=24:00 -> unknown
               10:02 update A n=4 key=8 -> UPDATING s1*4
               10:02:10 clock -> nothing
               10:02:10 show A -> A 12:00..14:00 s1*2
               10:03 update A n=4 key=9 -> UPDATING s1*4
               10:03:01 held A -> A PENDING pending:Booked
               10:03:01 key 9 until=24:00 -> answered at 9
               10:04 update A n=1 -> PENDING s1*1",
        );
    }

    #[test]
    fn an_open_lease_that_grows_and_ends_sooner_keeps_what_it_grew_to_until_its_end_is_confirmed() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 lease A now..14:00 n=2 -> CREATING s1*2
               10:00 held A -> A PENDING pending:Booked
               10:00 clock -> start A
               10:00 done start A -> A ACTIVE active:Open
               10:30 update A n=4 end=10:30:05 -> UPDATING s1*4
               10:30:01 booked s1 11:00 -> 4 vcpus 4 slots
               10:30:01 lease B 11:00..12:00 n=2 -> no room short=2 largest=0 tightest=VCPU next=14:00
               10:30:06 clock -> nothing
               10:30:06 held A -> A ACTIVE active:Open
               10:30:06 booked s1 11:00 -> 4 vcpus 4 slots
               10:30:06 clock -> end A
               10:30:07 done end A -> A TERMINATED deleted:Ended
               10:30:07 booked s1 11:00 -> 0 vcpus 0 slots
               11:00 lease C now..14:00 n=2 -> CREATING s1*2
               11:00 held C -> C PENDING pending:Booked
               11:00 clock -> start C
               11:00 done start C -> C ACTIVE active:Open
               11:01 update C n=3 end=12:00 -> UPDATING s1*3
               11:01:01 booked s1 13:00 -> 3 vcpus 3 slots
               11:01:02 held C -> C ACTIVE active:Open
               11:01:02 booked s1 13:00 -> 0 vcpus 0 slots
               11:02 update C n=4 end=11:30 -> UPDATING s1*4
               11:02:01 refused C -> C ACTIVE active:Open
               11:02:01 booked s1 13:00 -> 0 vcpus 0 slots",
        );
    }

    #[test]
    fn a_prepared_lease_changes_only_its_amount_and_is_prepared_again() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 12:00..14:00 n=2 -> PENDING h1*2
               11:00 clock -> prepare A
               11:00 done prepare A old -> unchanged
               11:01 update A vcpus=2 -> refused CannotUpdate vcpus
               11:01 update A n=3 -> PENDING h1*3
               11:01 rows -> prepare A
               11:02 done prepare A -> A PENDING pending:Prepared
               11:03 update A name=B -> PENDING h1*3
               11:03 rows -> none
               11:03 update A on_end=shelve -> PENDING h1*3
               11:03 update A start=11:30 -> PENDING h1*3
               11:30 clock -> start A",
        );
    }
}
