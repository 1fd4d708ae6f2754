//! Books the leases of a recurring request.

use std::collections::{BTreeMap, BTreeSet};

use super::create_lease::{Draft, check_lease_ids, check_reservation_ids, open_holds};
use super::quota;
use super::schedule::{invalid, resolve_create};
use super::series::check_series;
use super::verify::{check_room, needs_hold, stale};
use crate::command::CreateSeries;
use crate::model::{Lease, LeaseStatus, Occurrence, RequestKey, SeriesLease, SeriesMember, SeriesMode, Timestamp};
use crate::mutant;
use crate::reply::{Rejection, Reply};
use crate::state::{Booking, State, lease_bookings};

/// Books the planned hosts for all leases of a series, or for none.
///
/// L1 is checked for what all of them take together, so that occurrences that overlap count beside each other. What was left out is
/// believed: it takes no room. The leases are CREATING until the cloud has settled every one that must be held (`series.rs`).
/// Rejections, in this order: those of `check_series`, `Invalid` (ids), those of `resolve_create`, `PlanStale` (a plan that no
/// hosts or times could make good), `QuotaExceeded`, `PlanStale` (no room).
/// Source: RFC 5545 for what a recurrence is; scheduling-design §3 for explicit occurrences.
pub(super) fn create_series(
    state: &mut State,
    now: Timestamp,
    create: &CreateSeries,
    key: Option<&RequestKey>,
) -> Result<Reply, Rejection> {
    if create.occurrences.is_empty() {
        return Err(stale("the plan has no occurrences"));
    }
    check_series(&create.wish, all_occurrences(create).into_iter())?;
    check_ids(state, create)?;
    let (mut leases, mut schedules) = (Vec::with_capacity(create.occurrences.len()), Vec::new());
    for planned in &create.occurrences {
        let wish = create.wish.lease_at(planned.occurrence);
        let schedule = resolve_create(&wish, now)?;
        if planned.plan.len() != wish.reservations.len() {
            return Err(stale("the plan has another number of reservations"));
        }
        let draft = Draft {
            wish: &wish,
            schedule: &schedule,
            plan: &planned.plan,
            lease_id: planned.lease_id,
            event_ids: &planned.event_ids,
            resource_ids: &planned.resource_ids,
            adoptions: &BTreeMap::new(),
            caller_makes_groups: false,
            series: Some(SeriesMember {
                id: create.series_id,
                number: planned.occurrence.number,
                mode: create.wish.recurrence.mode,
            }),
        };
        draft.check_plan(state)?;
        leases.push(draft.lease(now, key));
        schedules.push(schedule);
    }
    quota::check_series(state, &create.wish.lease, &schedules.iter().collect::<Vec<_>>(), now)?;
    check_room_of_all(state, &leases, now)?;

    // From here the series must be created.
    let booked = create.occurrences.iter().map(|planned| (planned.lease_id, planned.occurrence));
    let booked = booked.map(|(lease_id, occurrence)| SeriesLease { lease_id, occurrence }).collect();
    let prepared = !leases.iter().any(|lease| lease.reservations.iter().any(|one| needs_hold(state, one)));
    for mut lease in leases {
        if prepared {
            lease.status = LeaseStatus::Pending;
        }
        open_holds(state, &lease, now);
        state.put_lease(lease);
    }
    // Planted bug (with that below): all or nothing books what fits and says nothing of the rest.
    let is_silent = mutant!("N21") && create.wish.recurrence.mode == SeriesMode::AllOrNothing;
    let left_out = if is_silent { Vec::new() } else { create.left_out.clone() };
    Ok(Reply::SeriesCreated { series_id: create.series_id, leases: booked, left_out, prepared })
}

/// What was planned and what was left out, by number.
fn all_occurrences(create: &CreateSeries) -> Vec<Occurrence> {
    let planned = create.occurrences.iter().map(|planned| planned.occurrence);
    let mut all: Vec<Occurrence> = planned.chain(create.left_out.iter().map(|one| one.occurrence)).collect();
    all.sort_by_key(|occurrence| occurrence.number);
    all
}

fn check_ids(state: &State, create: &CreateSeries) -> Result<(), Rejection> {
    if create.wish.recurrence.mode == SeriesMode::AllOrNothing && !create.left_out.is_empty() && !mutant!("N21") {
        return Err(invalid("left_out", "with all or nothing no occurrence may be left out".to_owned()));
    }
    if !create.occurrences.is_sorted_by_key(|planned| planned.occurrence.number) {
        return Err(invalid("occurrences", "they must come by number".to_owned()));
    }
    let left_memory = !state.archived_of_series(create.series_id).is_empty();
    if left_memory || state.leases_of_series(create.series_id).next().is_some() {
        return Err(invalid("series_id", format!("{} is in use already", create.series_id)));
    }
    let mut leases = BTreeSet::new();
    for planned in &create.occurrences {
        let reservations = create.wish.lease.reservations.len();
        check_lease_ids(state, planned.lease_id, &planned.event_ids, &planned.resource_ids, reservations)?;
        if !leases.insert(planned.lease_id) {
            return Err(invalid("lease_id", format!("{} is given twice; each lease has its own", planned.lease_id)));
        }
    }
    let plans = create.occurrences.iter().flat_map(|planned| &planned.plan);
    check_reservation_ids(plans.map(|planned| planned.reservation_id).collect())
}

/// L1 for all leases together, host by host: what is booked elsewhere need not be gone through for each.
fn check_room_of_all(state: &State, leases: &[Lease], now: Timestamp) -> Result<(), Rejection> {
    let mut bookings: Vec<Booking> = leases.iter().flat_map(lease_bookings).collect();
    bookings.sort_by_key(|booking| booking.host);
    for on_host in bookings.chunk_by(|one, other| one.host == other.host) {
        check_room(state, &[], on_host, now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::apply::script::check;

    #[test]
    fn a_series_counts_as_a_whole_against_the_quota_of_its_project() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 quota slots=3 vcpu_hours=8 period_s=86400 -> 1 rows
               10:00 series A 12:00..13:00 every=30 times=2 n=2 -> over slots: 4 beside 0 of 3 at 12:30, fits 3, largest=1 next=- at 1
               10:00 series A 12:00..13:00 every=30 times=2 n=2 plan=h1*2 -> over slots: 4 beside 0 of 3 at 12:30, fits 3
               10:00 series A 12:00..13:00 every=120 times=5 n=2 -> over vcpu_hours: 10 beside 0 of 8 at 00:00, fits 8, largest=1 next=- at 1
               10:00 series A 12:00..13:00 every=120 times=4 n=2 -> 1:PENDING h1*2 2:PENDING h1*2 3:PENDING h1*2 4:PENDING h1*2
               10:00 lease B 21:00..22:00 -> over vcpu_hours: 1 beside 8 of 8 at 00:00, fits 0, largest=0 next=24:00",
        );
    }

    #[test]
    fn every_occurrence_is_a_lease_of_its_own_and_counts_for_the_later_ones() {
        check(
            "10:00 hosts h1 h2 vcpus=4
               10:00 series A 12:00..13:00 every=120 times=3 n=3 -> 1:PENDING h1*3 2:PENDING h1*3 3:PENDING h1*3
               10:00 show A2 -> A 14:00..15:00 h1*3
               10:00 events A2 -> start=14:00:UNDONE end=15:00:UNDONE prepare=13:00:UNDONE
               10:00 booked h1 12:30 -> 3 vcpus 3 slots
               10:00 booked h1 13:30 -> 0 vcpus 0 slots
               10:00 series B 12:00..13:00 every=30 times=3 n=3 -> no room short=1 largest=2 tightest=VCPU next=- at 2
               10:00 series B 15:00..16:00 every=30 times=2 n=3 -> 1:PENDING h1*3 2:PENDING h2*3
               10:00 lease C 15:30..15:45 n=3 -> no room short=1 largest=2 tightest=VCPU next=16:30",
        );
    }

    #[test]
    fn all_or_nothing_books_nothing_where_one_occurrence_has_no_room() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 14:00..15:00 n=3 -> PENDING h1*3
               10:00 series B 12:00..13:00 every=120 times=3 n=2 -> no room short=1 largest=1 tightest=VCPU next=13:00 at 2
               10:00 series B 12:00..13:00 every=120 times=3 n=2 plan=h1*2 -> refused PlanStale
               10:00 booked h1 12:30 -> 0 vcpus 0 slots
               10:00 series B 12:00..13:00 every=120 times=1 n=2 -> 1:PENDING h1*2",
        );
    }

    #[test]
    fn the_amount_that_is_named_instead_is_one_with_which_all_of_it_fits() {
        check(
            "10:00 hosts h1 vcpus=8
               10:00 quota slots=20 -> 1 rows
               10:00 lease A 14:00..15:00 n=5 -> PENDING h1*5
               10:00 lease B 16:00..17:00 n=7 -> PENDING h1*7
               10:00 series C 12:00..13:00 every=120 times=3 n=4 -> no room short=1 largest=1 tightest=VCPU next=13:00 at 2
               10:00 series C 12:00..13:00 every=120 times=2 n=4 -> no room short=1 largest=3 tightest=VCPU next=13:00 at 2
               10:00 series C 12:00..13:00 every=120 times=3 n=1 + n=1 -> no room short=1 largest=0 tightest=VCPU next=13:00 at 3
               10:00 lease D 18:00..19:00 n=8 -> PENDING h1*8
               10:00 series C 12:00..13:00 every=120 times=4 n=1 -> no room short=1 largest=0 tightest=VCPU next=13:00 at 4
               10:00 series C 14:00..15:00 every=120 times=3 n=4 best -> no room short=1 largest=3 tightest=VCPU next=15:00 at 1
               10:00 quota slots=6 -> 1 rows
               10:00 series C 20:00..21:00 every=30 times=4 n=2 + n=3 -> no room short=2 largest=1 tightest=VCPU next=- at 2
               10:00 series C 20:00..21:00 every=30 times=4 n=3 + n=1 -> over slots: 8 beside 0 of 6 at 20:30, fits 6, largest=2 next=- at 1
               10:00 series C 20:00..21:00 every=30 times=4 n=2 + n=1 -> 1:PENDING h1*2 h1*1 2:PENDING h1*2 h1*1 3:PENDING h1*2 h1*1 4:PENDING h1*2 h1*1",
        );
    }

    #[test]
    fn best_effort_leaves_out_what_has_no_room_and_says_so_again_under_the_same_key() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 14:00..15:00 n=3 -> PENDING h1*3
               10:00 series B 12:00..13:00 every=120 times=3 n=2 best key=1 -> 1:PENDING h1*2 3:PENDING h1*2 left 2
               10:00 delete A -> free, row gone
               10:00 series B 12:00..13:00 every=120 times=3 n=2 best key=1 -> 1:PENDING h1*2 3:PENDING h1*2 left 2
               10:00 series B 12:00..13:00 every=120 times=3 n=2 key=1 -> refused RequestIdReused
               10:00 series B 12:00..13:00 every=120 times=3 n=2 best rule=FREQ=DAILY key=1 -> refused RequestIdReused
               10:00 series C 12:00..13:00 every=1 times=2 n=3 best -> no room short=1 largest=2 tightest=VCPU next=- at 1",
        );
    }

    #[test]
    fn occurrences_that_overlap_are_verified_beside_each_other() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 series A 12:00..13:00 every=30 times=3 n=2 plan=h1*2 -> 1:PENDING h1*2 2:PENDING h1*2 3:PENDING h1*2
               10:00 series B 14:00..15:00 every=30 times=2 n=3 plan=h1*3 -> refused PlanStale
               10:00 series B 14:00..15:00 every=60 times=2 n=3 plan=h1*3 -> 1:PENDING h1*3 2:PENDING h1*3",
        );
    }

    #[test]
    fn every_rejection_has_its_cause() {
        check(
            "10:00 hosts h1 vcpus=4
               10:01 series A now..11:00 -> refused Invalid start
               10:01 series A 11:00..12:00 latest=12:00 -> refused Invalid start
               10:01 series A 11:00..open -> refused Invalid end
               10:01 series A 11:00..11:00 -> refused EndNotAfterStart
               10:01 series A 11:00..12:00 offer=10:30 -> refused Invalid offer
               10:01 series A 11:00..12:00 rule=x*513 -> refused Invalid recurrence.rule
               10:01 series A 11:00..12:00 tz=x*65 -> refused Invalid recurrence.time_zone
               10:01 series A 11:00..12:00 staging=.. -> refused Invalid staging
               10:01 series A 11:00..12:00 servers=1 -> refused Invalid servers
               10:01 series A 11:00..12:00 affinity=true -> refused Invalid affinity
               10:01 series A 11:00..12:00 times=129 -> refused Invalid recurrence.rule
               10:01 series A 11:00..12:00 times=0 -> refused Invalid occurrences
               10:01 series A 11:00..12:00 times=0 plan=h1*1 -> refused PlanStale
               10:01 series A 11:00..12:00 times=2 every=0 -> refused Invalid occurrences
               10:01 series A 11:00..12:00 times=11 n=10000 -> refused Invalid amount
               10:01 series A 11:00..12:00 times=128 reservations=9 -> refused Invalid reservations
               10:01 series A 10:00..12:00 -> refused StartInPast
               10:01 series A 11:00..12:00 every=30000000 times=3 -> refused EndBeyondCalendar
               10:01 series A 11:00..12:00 name= -> refused Invalid name
               10:01 series A 11:00..12:00 left=2 -> refused Invalid left_out
               10:01 series A 11:00..12:00 skip=1 -> refused Invalid occurrences
               10:01 series A 11:00..12:00 double=lease -> refused Invalid lease_id
               10:01 series A 11:00..12:00 double=reservation -> refused Invalid reservation_id
               10:01 series A 11:00..12:00 n=2 plan=h1*1 -> refused PlanStale
               10:01 series A 11:00..12:00 times=3 best left=2 -> 1:PENDING h1*1 3:PENDING h1*1 left 2
               10:01 series B 11:00..12:00 times=128",
        );
    }

    #[test]
    fn a_series_on_shared_hosts_is_seen_when_every_lease_of_it_is_held() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 series A 12:00..13:00 times=2 n=2 key=1 -> 1:CREATING s1*2 2:CREATING s1*2
               10:00 key 1 until=24:00 -> pending
               10:00 deleteseries A -> refused SeriesNotFound
               10:00:01 held A1 -> A1 CREATING pending:Booked
               10:00:01 held A2 -> A2 PENDING pending:Booked
               10:00:01 status A1 -> A1 PENDING pending:Booked
               10:00:01 key 1 until=24:00 -> answered at 5
               10:00:02 series A 12:00..13:00 times=2 n=2 key=1 -> 1:PENDING s1*2 2:PENDING s1*2",
        );
    }

    #[test]
    fn a_hold_that_is_refused_takes_all_of_it_or_that_lease_alone() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 series A 12:00..13:00 times=3 n=2 key=1 -> 1:CREATING s1*2 2:CREATING s1*2 3:CREATING s1*2
               10:00 held A1 -> A1 CREATING pending:Booked
               10:00 refused A2 -> A2 gone
               10:00 status A1 -> A1 gone
               10:00 status A3 -> A3 gone
               10:00 rows -> none
               10:00 key 1 until=24:00 -> unknown
               10:01 series B 12:00..13:00 times=3 n=2 best key=2 -> 1:CREATING s1*2 2:CREATING s1*2 3:CREATING s1*2
               10:01 withdraw B1 -> B1 gone
               10:01 key 2 until=24:00 -> pending
               10:01 held B2 -> B2 CREATING pending:Booked
               10:01 refused B3 -> B3 gone
               10:01 status B2 -> B2 PENDING pending:Booked
               10:01 series B 12:00..13:00 times=3 n=2 best key=2 -> 2:PENDING s1*2 left 1 left 3
               10:02 series C 13:00..14:00 times=1 n=2 best key=3 -> 1:CREATING s1*2
               10:02 refused C1 -> C1 gone
               10:02 key 3 until=24:00 -> unknown",
        );
    }

    #[test]
    fn what_the_cloud_does_not_settle_in_time_is_given_up() {
        check(
            "10:00 hosts s1 shared vcpus=4
               10:00 series A 12:00..13:00 times=2 n=2 key=1 -> 1:CREATING s1*2 2:CREATING s1*2
               10:00 series B 12:00..13:00 times=2 n=1 best key=2 -> 1:CREATING s1*1 2:CREATING s1*1
               10:00:01 held A1 -> A1 CREATING pending:Booked
               10:00:01 held B2 -> B2 CREATING pending:Booked
               10:00:01 next -> 10:00:10
               10:00:10 clock -> nothing
               10:00:10 status A1 -> A1 gone
               10:00:10 status A2 -> A2 gone
               10:00:10 key 1 until=24:00 -> unknown
               10:00:10 status B1 -> B1 gone
               10:00:10 status B2 -> B2 PENDING pending:Booked
               10:00:10 series B 12:00..13:00 times=2 n=1 best key=2 -> 2:PENDING s1*1 left 1
               10:00:11 series C 12:00..13:00 times=2 n=1 best -> 1:CREATING s1*1 2:CREATING s1*1
               10:00:21 clock -> nothing
               10:00:21 deleteseries C -> refused SeriesNotFound",
        );
    }

    #[test]
    fn a_lease_that_is_moved_or_deleted_while_its_series_waits_does_not_hold_it_up() {
        check(
            "10:00 hosts s1 s2 shared vcpus=4
               10:00 hosts h1 vcpus=4
               10:00 series A 12:00..13:00 times=2 n=2 pool=shared -> 1:CREATING s1*2 2:CREATING s1*2
               10:00 held A1 -> A1 CREATING pending:Booked
               10:00 rebind A1 s1 -> CREATING s2*2
               10:00 held A2 -> A2 CREATING pending:Booked
               10:00 held A1 -> A1 PENDING pending:Booked
               10:00 status A2 -> A2 PENDING pending:Booked
               10:01 series B 14:00..15:00 times=2 n=2 pool=shared best -> 1:CREATING s1*2 2:CREATING s1*2
               10:01 delete B1 -> free, row gone
               10:01 held B2 -> B2 PENDING pending:Booked
               10:02 series C 16:00..17:00 times=2 n=2 pool=shared -> 1:CREATING s1*2 2:CREATING s1*2
               10:02 delete C1 -> free, row gone
               10:02 status C2 -> C2 gone",
        );
    }

    #[test]
    fn each_lease_goes_its_own_way_and_what_has_not_started_is_deleted_at_once() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 series A 10:05..11:00 times=4 n=2 -> 1:PENDING h1*2 2:PENDING h1*2 3:PENDING h1*2 4:PENDING h1*2
               10:00 lease B 10:05..11:00 n=1 -> PENDING h1*1
               10:00 series C 10:05..10:06 every=1 times=2 n=1 -> 1:PENDING h1*1 2:PENDING h1*1
               10:00 listed A -> A1 A2 A3 A4
               10:00 delete C1 -> free, row gone
               10:00 listed C -> C2
               10:00 delete C2 -> free, row gone
               10:00 delete B -> free, row gone
               10:00 update A2 n=3 -> PENDING h1*3
               10:00 delete A3 -> free, row gone
               10:05 clock -> start A1, prepare A2
               10:05 done start A1 -> A1 ACTIVE active:Open
               10:06 deleteseries A key=1 -> deleted A2 A4 kept A1
               10:06 booked h1 11:30 -> 0 vcpus 0 slots
               10:06 deleteseries A key=1 -> deleted A2 A4 kept A1
               10:06 deleteseries A -> deleted kept A1
               10:06 delete A1 -> booked, row stays
               10:06 deleteseries A -> refused SeriesNotFound
               10:06 deleteseries B -> refused SeriesNotFound",
        );
    }

    #[test]
    fn the_start_that_is_named_is_one_from_which_all_of_it_is_booked() {
        check(
            "10:00 hosts h1 vcpus=4
               10:00 lease A 14:00..15:00 n=3 -> PENDING h1*3
               10:00 lease B 12:30..12:50 n=3 -> PENDING h1*3
               10:00 lease C 15:00..17:10 n=3 -> PENDING h1*3
               10:00 series D 12:00..13:00 every=120 times=3 n=2 -> no room short=1 largest=1 tightest=VCPU next=17:10 at 1
               10:00 series D 12:00..13:00 every=120 times=2 n=2 -> no room short=1 largest=1 tightest=VCPU next=17:10 at 1
               10:00 series D 12:00..13:00 every=360 times=2 n=2 -> no room short=1 largest=1 tightest=VCPU next=12:50 at 1
               10:00 series E 12:50..13:50 every=360 times=2 n=2 -> 1:PENDING h1*2 2:PENDING h1*2",
        );
    }

    #[test]
    fn before_end_keeps_its_distance_to_every_end() {
        check(
            "10:00 hosts h1
               10:00 series A 12:00..13:00 times=2 before=12:50
               10:00 events A2 -> start=13:00:UNDONE end=14:00:UNDONE before_end=13:50:UNDONE prepare=12:00:UNDONE
               10:00 series B 12:00..13:00 times=2 before=13:00 -> refused BeforeEndOutside",
        );
    }
}
