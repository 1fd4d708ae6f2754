//! What is given back, what is kept, and what comes in between.

use crate::apply::script::check;

#[test]
fn what_nobody_uses_is_given_back() {
    check(
        "10:00 hosts h1 h2 vcpus=4 slots=4
           10:00 lease A 10:30..14:00 n=6 expiry=600 -> PENDING h1*4 h2*2
           10:00 clock -> prepare A
           10:30 clock -> start A
           10:30 events A -> start=10:30:IN_PROGRESS end=14:00:UNDONE prepare=10:00:DONE
           10:35 done start A -> A ACTIVE active:Open
           10:35 next -> 10:30
           10:35 clock -> nothing
           10:35 events A -> start=10:30:DONE end=14:00:UNDONE prepare=10:00:DONE expiry=10:45:UNDONE
           10:35 next -> 10:45
           10:44:59 clock -> nothing
           10:45 clock -> expire A
           10:45 rows -> expire A
           10:45 used expire A h1*1 parked=1 -> A ACTIVE active:Open
           10:45 show A -> A 10:30..14:00 h1*2
           10:45 rows -> adjust A
           10:45 booked h1 12:00 -> 4 vcpus 4 slots
           10:45 booked h2 12:00 -> 2 vcpus 2 slots
           10:45 reason A -> 4 of its instances were not in use at its expiry, and were given back
           10:46 delayed adjust A -> A ACTIVE active:Open
           10:46 reason A -> slow
           10:46 done adjust A -> A ACTIVE active:Open
           10:46 reason A -> 4 of its instances were not in use at its expiry, and were given back
           10:46 booked h1 12:00 -> 2 vcpus 2 slots
           10:46 booked h2 12:00 -> 0 vcpus 0 slots
           10:46 events A -> start=10:30:DONE end=14:00:UNDONE prepare=10:00:DONE expiry=10:45:DONE
           10:46 update A n=3 -> ACTIVE h1*3
           10:46 done adjust A -> A ACTIVE active:Open
           14:00 clock -> end A
           14:00 done end A -> A TERMINATED deleted:Ended
           14:00 reason A -> 4 of its instances were not in use at its expiry, and were given back",
    );
}

#[test]
fn a_lease_that_nobody_uses_ends() {
    check(
        "10:00 hosts h1
           10:00 lease A now..14:00 n=2 expiry=600 -> PENDING h1*2
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A
           10:10 used expire A -> A TERMINATING active:Ended
           10:10 rows -> end A
           10:10 show A -> A 10:00..10:10 h1*2
           10:10 booked h1 12:00 -> 2 vcpus 2 slots
           10:10 events A -> start=10:00:DONE end=10:10:IN_PROGRESS prepare=10:00:DONE expiry=10:10:DONE
           10:11 done end A -> A TERMINATED deleted:Ended
           10:11 booked h1 12:00 -> 0 vcpus 0 slots
           10:11 reason A -> 2 of its instances were not in use at its expiry, and were given back
           10:11 next -> never",
    );
}

#[test]
fn what_is_all_in_use_stays() {
    check(
        "10:00 hosts h1 h2 vcpus=1
           10:00 lease A now..14:00 n=2 expiry=600 -> PENDING h1*1 h2*1
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A
           10:10 used expire A h1*1 h2*7 parked=9 -> A ACTIVE active:Open
           10:10 rows -> adjust A
           10:10 show A -> A 10:00..14:00 h1*1 h2*1
           10:10 done adjust A -> A ACTIVE active:Open
           10:10 reason A -> none
           10:10 next -> 14:00",
    );
}

#[test]
fn each_reservation_is_counted_for_itself() {
    check(
        "10:00 hosts h1
           10:00 lease A now..14:00 reservations=3 expiry=600 -> PENDING h1*1 h1*1 h1*1
           10:00 clock -> start A, start A, start A
           10:00 done start A -> A STARTING active:Open pending:Open pending:Open
           10:00 done start A -> A STARTING active:Open active:Open pending:Open
           10:00 done start A -> A ACTIVE active:Open active:Open active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A, expire A, expire A
           10:10 used expire A -> A ACTIVE active:Open active:Open active:Open
           10:10 rows -> expire A, expire A
           10:10 used expire A h1*1 -> A ACTIVE active:Open active:Open active:Open
           10:10 used expire A -> A ACTIVE active:Ended active:Open active:Ended
           10:10 rows -> adjust A, end A, end A
           10:10 booked h1 12:00 -> 3 vcpus 3 slots
           10:11 done end A -> A ACTIVE deleted:Ended active:Open active:Ended
           10:11 booked h1 12:00 -> 2 vcpus 2 slots
           10:11 update A end=15:00 -> ACTIVE h1*1 h1*1 h1*1
           10:12 done adjust A -> A ACTIVE deleted:Ended active:Open active:Ended
           10:12 reason A -> 2 of its instances were not in use at its expiry, and were given back
           15:00 clock -> end A
           15:00 rows -> end A, end A
           15:00 done end A -> A TERMINATING deleted:Ended active:Ended deleted:Ended
           15:00 done end A -> A TERMINATED deleted:Ended deleted:Ended deleted:Ended",
    );
}

#[test]
fn whoever_changes_his_lease_is_there() {
    check(
        "10:00 hosts h1
           10:00 lease A now..14:00 n=2 reservations=2 expiry=600 -> PENDING h1*2 h1*2
           10:00 clock -> start A, start A
           10:00 done start A -> A STARTING active:Open pending:Open
           10:00 done start A -> A ACTIVE active:Open active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A, expire A
           10:10 used expire A -> A ACTIVE active:Open active:Open
           10:10 update A name=B -> ACTIVE h1*2 h1*2
           10:10 rows -> expire A
           10:10 update A n=1 -> ACTIVE h1*1 h1*2
           10:10 rows -> adjust A, adjust A
           10:10 used expire A -> unchanged
           10:10 events A -> start=10:00:DONE end=14:00:UNDONE prepare=10:00:DONE expiry=10:20:UNDONE
           10:10 done adjust A -> A ACTIVE active:Open active:Open
           10:10 done adjust A -> A ACTIVE active:Open active:Open
           10:20 clock -> expire A, expire A
           10:20 used expire A h1*1 -> A ACTIVE active:Open active:Open
           10:20 update A end=15:00 -> ACTIVE h1*1 h1*2
           10:20 rows -> adjust A, adjust A
           10:30 clock -> nothing
           10:30 done adjust A -> A ACTIVE active:Open active:Open
           10:30 done adjust A -> A ACTIVE active:Open active:Open
           10:40 clock -> expire A
           10:40 used expire A -> A ACTIVE active:Open active:Ended
           10:40 rows -> end A",
    );
}

#[test]
fn a_change_that_waits_for_its_hold_stops_the_count_too() {
    check(
        "10:00 hosts h1 shared
           10:00 lease A now..14:00 n=1 expiry=600 pool=shared -> CREATING h1*1
           10:00 held A -> A PENDING pending:Booked
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A
           10:10 update A n=3 -> UPDATING h1*3
           10:10 rows -> hold A
           10:10 refused A -> A ACTIVE active:Open
           10:10 rows -> adjust A
           10:10 events A -> start=10:00:DONE end=14:00:UNDONE prepare=10:00:DONE expiry=10:20:UNDONE
           10:10 show A -> A 10:00..14:00 h1*1
           10:10 done adjust A -> A ACTIVE active:Open
           10:20 clock -> expire A
           10:20 update A n=3 -> UPDATING h1*3
           10:20 held A -> A ACTIVE active:Open
           10:20 rows -> adjust A
           10:20 next -> 10:30",
    );
}

#[test]
fn without_a_successful_count_nothing_is_given_back() {
    check(
        "10:00 hosts h1
           10:00 lease A now..14:00 n=2 expiry=600 -> PENDING h1*2
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A
           10:10 done expire A -> refused Invalid outcome
           10:10 used expire A old -> unchanged
           10:20 delayed expire A -> A ACTIVE active:Open
           10:20 reason A -> slow
           10:20 show A -> A 10:00..14:00 h1*2
           10:20 failed expire A -> A ACTIVE active:Open
           10:20 rows -> adjust A
           10:20 reason A -> none
           10:20 show A -> A 10:00..14:00 h1*2
           10:20 used adjust A -> refused Invalid outcome
           10:20 done adjust A -> A ACTIVE active:Open
           10:20 clock -> nothing
           10:20 next -> 10:30
           10:30 clock -> expire A
           10:30 used expire A h1*1 -> A ACTIVE active:Open
           10:30 reason A -> 1 of its instances were not in use at its expiry, and were given back",
    );
}

#[test]
fn what_is_still_to_be_opened_or_left_is_not_counted() {
    check(
        "10:00 hosts h1 h2 vcpus=2
           10:00 lease A now..14:00 n=4 expiry=600 -> PENDING h1*2 h2*2
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:09 update A n=2 -> ACTIVE h1*2
           10:10 clock -> nothing
           10:10 rows -> adjust A
           10:10 next -> 10:20
           10:20 clock -> nothing
           10:21 done adjust A -> A ACTIVE active:Open
           10:30 clock -> expire A",
    );
}

#[test]
fn one_that_cannot_be_counted_keeps_nobody_else() {
    check(
        "10:00 hosts h1 vcpus=8
           10:00 lease A now..14:00 n=2 reservations=3 expiry=600 -> PENDING h1*2 h1*2 h1*2
           10:00 clock -> start A, start A, start A
           10:00 done start A -> A STARTING active:Open pending:Open pending:Open
           10:00 done start A -> A STARTING active:Open active:Open pending:Open
           10:00 done start A -> A ACTIVE active:Open active:Open active:Open
           10:00 clock -> nothing
           10:09 update A n=1 -> ACTIVE h1*1 h1*2 h1*2
           10:10 clock -> expire A, expire A
           10:10 rows -> adjust A, expire A, expire A
           10:11 failed expire A -> A ACTIVE active:Open active:Open active:Open
           10:11 used expire A -> A ACTIVE active:Open active:Open active:Ended
           10:11 rows -> adjust A, adjust A, end A
           10:11 clock -> nothing
           10:11 events A -> start=10:00:DONE end=14:00:UNDONE prepare=10:00:DONE expiry=10:21:UNDONE
           10:12 done adjust A -> A ACTIVE active:Open active:Open active:Ended
           10:12 done adjust A -> A ACTIVE active:Open active:Open active:Ended
           10:21 clock -> expire A, expire A
           10:21 used expire A h1*1 -> A ACTIVE active:Open active:Open active:Ended
           10:21 used expire A h1*1 -> A ACTIVE active:Open active:Open active:Ended
           10:21 show A -> A 10:00..14:00 h1*1 h1*1 h1*2
           10:21 next -> 14:00",
    );
}

#[test]
fn who_is_parked_keeps_his_place_where_he_can_wake() {
    check(
        "10:00 hosts h1 h2 vcpus=2
           10:00 lease A now..14:00 n=3 expiry=600 -> PENDING h1*2 h2*1
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:05 observe h1 down -> closed
           10:10 clock -> expire A
           10:10 used expire A parked=2 -> A ACTIVE active:Open
           10:10 show A -> A 10:00..14:00 h1*1 h2*1",
    );
}

#[test]
fn what_ends_alone_goes_on_ending_whatever_is_changed_of_the_rest() {
    check(
        "10:00 hosts h1 shared
           10:00 lease A now..14:00 reservations=2 expiry=600 pool=shared -> CREATING h1*1 h1*1
           10:00 held A -> A CREATING pending:Booked pending:Booked
           10:00 held A -> A PENDING pending:Booked pending:Booked
           10:00 clock -> start A, start A
           10:00 done start A -> A STARTING active:Open pending:Open
           10:00 done start A -> A ACTIVE active:Open active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A, expire A
           10:10 used expire A h1*1 -> A ACTIVE active:Open active:Open
           10:10 used expire A -> A ACTIVE active:Open active:Ended
           10:10 done adjust A -> A ACTIVE active:Open active:Ended
           10:11 update A n=3 -> UPDATING h1*3 h1*1
           10:11 rows -> end A, hold A
           10:11 held A -> A ACTIVE active:Open active:Ended
           10:11 rows -> end A, adjust A
           10:11 delayed end A -> A ACTIVE active:Open active:Ended
           10:11 reason A -> slow
           10:11 done end A -> A ACTIVE active:Open deleted:Ended
           10:11 reason A -> 1 of its instances were not in use at its expiry, and were given back
           10:12 update A n=4 -> UPDATING h1*4 h1*1
           10:12 refused A -> A ACTIVE active:Open deleted:Ended
           10:12 booked h1 12:00 -> 3 vcpus 3 slots",
    );
}

#[test]
fn the_end_and_a_delete_come_before_the_count() {
    check(
        "10:00 hosts h1
           10:00 lease A now..11:00 expiry=600 -> PENDING h1*1
           10:00 lease B now..11:00 expiry=600 -> PENDING h1*1
           10:00 lease C now..10:05 expiry=600 -> PENDING h1*1
           10:00 clock -> start A, start B, start C
           10:00 done start A -> A ACTIVE active:Open
           10:00 done start B -> B ACTIVE active:Open
           10:00 done start C -> C ACTIVE active:Open
           10:00 clock -> nothing
           10:05 clock -> end C
           10:05 done end C -> C TERMINATED deleted:Ended
           10:10 clock -> expire A, expire B
           10:15 delete B -> booked, row stays
           10:15 rows -> expire A, end B
           10:15 done end B -> B gone
           11:00 clock -> end A
           11:00 used expire A -> unchanged
           11:00 done end A -> A TERMINATED deleted:Ended
           11:00 reason A -> none",
    );
}

#[test]
fn a_lease_that_never_started_or_failed_is_not_counted() {
    check(
        "10:00 hosts h1
           10:00 lease A now..11:00 expiry=600 -> PENDING h1*1
           10:00 lease B now..11:00 reservations=2 expiry=600 -> PENDING h1*1 h1*1
           10:00 clock -> start A, start B, start B
           10:30 next -> 11:00
           10:30 done start B -> B STARTING active:Open pending:Open
           10:30 done start B -> B ACTIVE active:Open active:Open
           10:30 clock -> nothing
           10:31 update B n=2 -> ACTIVE h1*2 h1*1
           10:31 done adjust B -> B ACTIVE active:Open active:Open
           10:40 clock -> expire B, expire B
           10:41 used expire B h1*1 -> B ACTIVE active:Open active:Open
           10:41 failed adjust B -> B ERROR error:Open active:Open
           10:42 used expire B -> B ERROR error:Open active:Open
           10:42 show B -> B 10:00..11:00 h1*1 h1*1
           10:42 rows -> start A, adjust B",
    );
}

#[test]
fn what_nobody_uses_of_a_lease_that_fails_meanwhile_stays() {
    check(
        "10:00 hosts h1
           10:00 lease A now..11:00 reservations=3 expiry=600 -> PENDING h1*1 h1*1 h1*1
           10:00 clock -> start A, start A, start A
           10:00 done start A -> A STARTING active:Open pending:Open pending:Open
           10:00 done start A -> A STARTING active:Open active:Open pending:Open
           10:00 done start A -> A ACTIVE active:Open active:Open active:Open
           10:00 clock -> nothing
           10:10 clock -> expire A, expire A, expire A
           10:10 used expire A -> A ACTIVE active:Open active:Open active:Open
           10:10 used expire A h1*1 -> A ACTIVE active:Open active:Open active:Open
           10:10 failed adjust A -> A ERROR active:Open error:Open active:Open
           10:10 used expire A -> A ERROR active:Open error:Open active:Open
           10:10 rows -> adjust A, adjust A
           10:10 booked h1 10:30 -> 3 vcpus 3 slots",
    );
}

#[test]
fn an_expiry_that_comes_too_soon_is_refused() {
    check(
        "10:00 hosts h1
           10:00 lease A now..11:00 expiry=59 -> refused Invalid expiry_s
           10:00 lease A now..11:00 expiry=0 -> refused Invalid expiry_s
           10:00 lease A now..11:00 expiry=4294967295 -> PENDING h1*1
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:00 clock -> nothing
           10:00 next -> 11:00",
    );
}
