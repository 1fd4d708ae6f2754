use crate::apply::script::check;
use crate::model::Lease;
use crate::plan::crowd::{Random, crowded};
use crate::storage::codec::{decode, encode};

#[test]
fn the_row_of_a_lease_that_never_waited_is_as_it_was_before_there_was_a_waitlist() {
    let state = crowded(5, 40, &mut Random(3));
    let lease = state.leases().next().expect("the state is crowded");
    let bytes = encode(lease);
    assert!(!bytes.windows(5).any(|window| window == b"\xa4wait"));
    assert_eq!(decode::<Lease>("lease", &bytes).expect("it was just encoded").wait, None);
}

#[test]
fn without_room_a_lease_waits_and_is_booked_when_there_is_some() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=2 wait=start before=13:30 key=1 -> WAITING
           10:00 status B -> B WAITING pending:Booked
           10:00 waitlist -> B
           10:00 lease B 12:00..14:00 n=2 wait=start before=13:30 key=1 -> WAITING
           10:00 booked h1 12:00 -> 3 vcpus 3 slots
           10:00 next -> 11:00
           10:00 rows -> none
           10:01 promote B -> no room
           10:01 promote B plan=h1*2 -> refused PlanStale
           10:01 delete A -> free, row gone
           10:01 next -> 12:00
           10:02 promote B -> PENDING 12:00..14:00 h1*2
           10:02 promote B plan=h1*2 -> refused WrongStatus PENDING
           10:02 booked h1 12:00 -> 2 vcpus 2 slots
           10:02 waitlist -> nobody
           10:02 key 1 until=33:00 -> answered at 3
           10:02 events B -> start=12:00:UNDONE end=14:00:UNDONE before_end=13:30:UNDONE prepare=11:00:UNDONE
           11:00 clock -> prepare B
           11:00 done prepare B -> B PENDING pending:Prepared
           12:00 clock -> start B",
    );
}

#[test]
fn with_room_it_is_booked_at_once() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 wait=11:00 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=2 latest=14:00 wait=11:00 -> PENDING 14:00..16:00 h1*2
           10:00 waitlist -> nobody
           10:00 promote A plan=h1*3 -> refused WrongStatus PENDING
           10:00 promote X plan=h1*3 -> refused LeaseNotFound
           11:00 clock -> prepare A",
    );
}

#[test]
fn what_has_waited_for_as_long_as_it_would_is_dropped() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=2 wait=10:30 -> WAITING
           10:00 lease C 12:00..14:00 n=2 wait=start -> WAITING
           10:00 waitlist -> B C
           10:00 next -> 10:30
           10:29:59 clock -> nothing
           10:29:59 status B -> B WAITING pending:Booked
           10:29:59 delete A -> free, row gone
           10:30 promote B -> no room
           10:30 promote B plan=h1*2 -> refused PlanStale
           10:30 clock -> nothing
           10:30 status B -> B gone
           10:30 waitlist -> C
           10:30 delete B -> refused LeaseNotFound
           12:00 promote C -> no room
           12:00 clock -> nothing
           12:00 status C -> C gone
           12:00 next -> never",
    );
}

#[test]
fn a_start_that_is_left_open_is_the_first_with_room_also_when_some_of_them_are_past() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 10:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B now..11:00 n=2 latest=11:30 before=10:40 wait=start -> WAITING
           10:00 show B -> B 10:00..11:00
           10:10 update A end=now plan= -> refused PlanStale
           10:20 delete A -> free, row gone
           10:20 promote B plan=h1*2 -> refused PlanStale
           10:20 promote B plan=h1*2 moved=11:31 -> refused PlanStale
           10:20 promote B plan=h1*2 moved=09:59 -> refused PlanStale
           10:20 promote B -> PENDING 10:20:05..11:20:05 h1*2
           10:20 events B -> start=10:20:05:UNDONE end=11:20:05:UNDONE before_end=11:00:05:UNDONE prepare=10:20:UNDONE",
    );
}

#[test]
fn a_later_start_is_planned_when_only_that_has_room() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 13:00..15:00 n=3 plan=h1*1 -> refused PlanStale
           10:00 lease B 14:00..16:00 n=3 -> PENDING h1*3
           10:00 lease C 12:00..13:00 n=2 latest=15:00 wait=11:00 -> WAITING
           10:01 delete B -> free, row gone
           10:01 promote C -> PENDING 14:00..15:00 h1*2
           10:01 events C -> start=14:00:UNDONE end=15:00:UNDONE prepare=13:00:UNDONE",
    );
}

#[test]
fn what_waits_is_deleted_and_takes_no_changes() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=2 wait=start -> WAITING
           10:00 update B name=C -> refused WrongStatus WAITING
           10:00 update B end=13:00 -> refused WrongStatus WAITING
           10:00 withdraw B -> refused WrongStatus WAITING
           10:00 rebind B plan=h1*2 -> refused WrongStatus WAITING
           10:00 claim B -> refused NotAnOffer
           10:00 review B -> well
           10:01 delete B -> free, row gone
           10:01 waitlist -> nobody
           10:01 promote B plan=h1*2 -> refused LeaseNotFound",
    );
}

#[test]
fn on_shared_hosts_it_waits_for_its_hold_and_waits_again_when_that_is_refused() {
    check(
        "10:00 hosts s1 shared vcpus=4
           10:00 lease A 12:00..14:00 n=3 -> CREATING s1*3
           10:00 held A -> A PENDING pending:Booked
           10:00 lease B 11:00..13:00 n=2 latest=12:30 wait=start before=12:45 -> WAITING
           10:01 delete A -> free, row gone
           10:01 promote B -> UPDATING 11:00..13:00 s1*2
           10:01 waitlist -> nobody
           10:01 rows -> hold B
           10:01 booked s1 12:00 -> 2 vcpus 2 slots
           10:01 next -> 10:01:10
           10:01:05 refused B -> B WAITING pending:Booked
           10:01:05 booked s1 12:00 -> 0 vcpus 0 slots
           10:01:05 show B -> B 11:00..13:00
           10:01:05 waitlist -> B
           10:01:05 reason B -> no room in placement
           11:30 promote B -> UPDATING 11:30:05..13:30:05 s1*2
           11:30:09 clock -> nothing
           11:30:10 clock -> nothing
           11:30:10 status B -> B WAITING pending:Booked
           11:30:10 events B -> start=11:00:UNDONE end=13:00:UNDONE before_end=12:45:UNDONE prepare=11:30:10:UNDONE
           11:30:10 next -> 12:30
           11:31 promote B -> UPDATING 11:31:05..13:31:05 s1*2
           11:31:01 held B -> B PENDING pending:Booked
           11:31:01 reason B -> none
           11:31:05 clock -> start B",
    );
}

#[test]
fn a_promotion_that_waits_for_its_hold_is_deleted_moved_or_outlives_the_time_to_wait() {
    check(
        "10:00 hosts s1 s2 shared vcpus=4
           10:00 lease A 12:00..14:00 n=8 -> CREATING s1*4 s2*4
           10:00 held A -> A PENDING pending:Booked
           10:00 lease B 12:00..14:00 n=4 wait=10:01:05 -> WAITING
           10:00 lease C 12:00..14:00 n=4 wait=10:01:05 -> WAITING
           10:01 delete A -> free, row gone
           10:01 promote B -> UPDATING 12:00..14:00 s1*4
           10:01 update B name=X -> refused WrongStatus UPDATING
           10:01 promote C -> UPDATING 12:00..14:00 s2*4
           10:01:01 delete B -> free, row gone
           10:01:01 rows -> hold C
           10:01:02 rebind C s2 -> UPDATING s1*4
           10:01:06 clock -> nothing
           10:01:06 status C -> C UPDATING pending:Booked
           10:01:10 clock -> nothing
           10:01:10 status C -> C WAITING pending:Booked
           10:01:11 clock -> nothing
           10:01:11 status C -> C gone
           10:01:11 booked s1 12:00 -> 0 vcpus 0 slots",
    );
}

#[test]
fn quota_is_asked_for_when_it_is_booked() {
    check(
        "10:00 hosts h1 vcpus=8
           10:00 quota for=p slots=4 -> 1 rows
           10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=2 wait=start -> WAITING
           10:00 lease C 12:00..14:00 n=1 -> PENDING h1*1
           10:00 promote B -> over slots: 2 beside 4 of 4 at 12:00, fits 0
           10:00 promote B plan=h1*2 -> over slots: 2 beside 4 of 4 at 12:00, fits 0
           10:00 status B -> B WAITING pending:Booked
           10:01 quota for=p slots=6 -> 1 rows
           10:01 promote B -> PENDING 12:00..14:00 h1*2
           10:01 lease D 12:00..14:00 n=8 wait=start exempt -> WAITING
           10:01 delete A -> free, row gone
           10:01 delete B -> free, row gone
           10:01 delete C -> free, row gone
           10:01 promote D -> PENDING 12:00..14:00 h1*8",
    );
}

#[test]
fn what_waits_in_the_quota_of_a_budget_has_used_nothing() {
    check(
        "10:00 hosts h1 vcpus=8
           10:00 quota for=p vcpu_hours=100 -> 1 rows
           10:00 lease A 12:00..14:00 n=8 -> PENDING h1*8
           10:00 spent -> 57600 vcpu_s
           10:00 lease B 12:00..14:00 n=2 wait=start -> WAITING
           10:00 spent -> 57600 vcpu_s
           10:01 delete A -> free, row gone
           10:01 spent -> 0 vcpu_s
           10:01 promote B -> PENDING 12:00..14:00 h1*2
           10:01 spent -> 14400 vcpu_s",
    );
}

#[test]
fn a_promotion_that_is_not_agreed_to_has_used_nothing() {
    check(
        "10:00 hosts s1 shared vcpus=8
           10:00 quota for=p vcpu_hours=100 -> 1 rows
           10:00 lease A 11:00..13:00 n=8 -> CREATING s1*8
           10:00 held A -> A PENDING pending:Booked
           10:00 lease B 11:00..13:00 n=2 latest=12:30 wait=start -> WAITING
           10:00 lease C 11:00..13:00 n=2 latest=12:30 wait=start -> WAITING
           10:00 lease D 11:00..13:00 n=2 latest=12:30 wait=start -> WAITING
           10:01 delete A -> free, row gone
           10:01 spent -> 0 vcpu_s
           11:30 promote B -> UPDATING 11:30:05..13:30:05 s1*2
           11:30 promote C -> UPDATING 11:30:05..13:30:05 s1*2
           11:30 promote D -> UPDATING 11:30:05..13:30:05 s1*2
           11:30 spent -> 43200 vcpu_s
           11:30:08 refused B -> B WAITING pending:Booked
           11:30:09 delete C -> free, row gone
           11:30:10 clock -> nothing
           11:30:10 status D -> D WAITING pending:Booked
           11:30:10 spent -> 0 vcpu_s
           11:31 promote D -> UPDATING 11:31:05..13:31:05 s1*2
           11:31:04 held D -> D PENDING pending:Booked
           11:31:05 clock -> start D
           11:31:06 done start D -> D ACTIVE active:Open
           11:41:05 delete D -> booked, row stays
           11:41:05 spent -> 1200 vcpu_s",
    );
}

#[test]
fn what_cannot_wait_is_told_so() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 wait=12:01 -> refused Invalid wait.until
           10:00 lease A now..14:00 n=9 wait=start -> refused Invalid wait.until
           10:00 lease A 12:00..14:00 n=9 wait=09:00 -> refused Invalid wait.until
           10:00 lease A 12:00..14:00 wait=start offer=11:00 -> refused Invalid wait
           10:00 lease A 12:00..14:00 wait=start staging=10:30..11:00 -> refused Invalid wait
           10:00 lease A 12:00..14:00 wait=start servers=1 plan=h1*1 -> refused Invalid wait
           10:00 lease A 12:00..14:00 wait=start reservations=0 -> refused Invalid wait
           10:00 lease A 12:00..14:00 waits -> refused Invalid wait
           10:00 lease A 12:00..14:00 wait=start plan=h1*1 waits -> refused Invalid plan",
    );
}

#[test]
fn a_project_has_a_bounded_number_of_leases_that_wait() {
    let mut script = "10:00 hosts h1 vcpus=1\n10:00 lease A 12:00..14:00 -> PENDING h1*1\n".to_owned();
    for number in 0..super::WAITING_PER_PROJECT_MAX {
        script += &format!("10:00 lease W{number} 12:00..14:00 wait=start -> WAITING\n");
    }
    script += "10:00 lease X 12:00..14:00 wait=start key=1 -> refused TooManyWaiting
        10:00 key 1 until=33:00 -> unknown
        10:00 lease Y 12:00..14:00 wait=start project=q -> WAITING
        10:01 delete W7 -> free, row gone
        10:01 lease X 12:00..14:00 wait=start key=1 -> WAITING";
    check(&script);
}

#[test]
fn an_affinity_is_kept_by_a_promotion() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 12:00..14:00 n=6 -> PENDING h1*4 h2*2
           10:00 lease B 12:00..14:00 n=2 affinity=false wait=start -> WAITING
           10:01 delete A -> free, row gone
           10:01 promote B plan=h1*2 -> refused PlanStale
           10:01 promote B -> UPDATING 12:00..14:00 h1*1 h2*1
           10:01 held B group -> B PENDING pending:Booked
           10:01 group B -> 5",
    );
}
