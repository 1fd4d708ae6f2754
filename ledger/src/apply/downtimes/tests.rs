//! Downtimes: what may be declared, what it takes, who is short of it.

use crate::apply::script::check;

#[test]
fn nothing_new_is_promised_of_what_a_downtime_takes() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 downtime h1 12:00..14:00 -> 1:12:00..14:00:all
           10:00 downtime h2 13:00..15:00 id=2 vcpus=3 -> 2:13:00..15:00:3
           10:00 lease A 11:00..12:00 n=4 plan=h1*4 -> PENDING h1*4
           10:00 lease B 14:00..15:00 n=4 plan=h1*4 -> PENDING h1*4
           10:00 lease C 13:59..14:01 n=1 plan=h1*1 -> refused PlanStale
           10:00 lease C 11:30..12:01 n=1 plan=h1*1 -> refused PlanStale
           10:00 lease C 13:00..14:00 n=2 plan=h2*2 -> refused PlanStale
           10:00 lease C 13:00..14:00 n=2 -> no room short=1 largest=1 tightest=VCPU next=15:00
           10:00 lease C 13:00..14:00 n=1 -> PENDING h2*1
           10:00 lease D 12:00..13:00 n=4 -> PENDING h2*4
           10:00 update A end=12:30 -> no room short=4 largest=0 tightest=VCPU next=15:00
           10:00 dropdowntime h1 -> none
           10:00 update A end=12:30 -> PENDING h1*4",
    );
}

#[test]
fn an_open_start_comes_after_a_downtime() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 downtime h1 11:00..14:00 -> 1:11:00..14:00:all
           10:00 lease A 10:30..12:30 latest=20:00 n=4 -> PENDING 14:00..16:00 h1*4
           10:00 show A -> A 14:00..16:00 h1*4",
    );
}

#[test]
fn downtimes_add_up_and_touch_no_other_class() {
    check(
        "10:00 hosts h1 vcpus=8
           10:00 downtime h1 12:00..14:00 id=1 vcpus=3
           10:00 downtime h1 13:00..15:00 id=2 vcpus=3 memory=8000
           10:00 downtimes h1 -> 1:12:00..14:00:3 2:13:00..15:00:3+8000
           10:00 lease A 12:00..13:00 n=6 -> no room short=1 largest=5 tightest=VCPU next=15:00
           10:00 lease A 13:00..14:00 n=2 -> no room short=1 largest=1 tightest=MEMORY_MB next=15:00
           10:00 lease A 12:00..13:00 n=5 -> PENDING h1*5
           10:00 free 11:00..16:00 -> 11:00 8 of 8 but 0, 12:00 0 of 8 but 3, 13:00 2 of 8 but 6, 14:00 5 of 8 but 3, 15:00 8 of 8 but 0",
    );
}

#[test]
fn the_hold_of_a_shared_host_does_not_grow() {
    check(
        "10:00 hosts s1 shared vcpus=8
           10:00 lease A 12:00..14:00 n=3 -> CREATING s1*3
           10:00 held A -> A PENDING pending:Booked
           10:00 downtime s1 11:00..13:00 vcpus=8
           10:00 booked s1 12:30 -> 3 vcpus 3 slots
           10:00 observe s1 -> fine",
    );
}

#[test]
fn who_was_promised_it_before_is_degraded_and_moves_away() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 12:00..14:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 lease B 15:00..16:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 lease C 16:00..17:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 short -> nobody
           10:00 downtime h1 13:00..16:00
           10:00 observe h1 -> fine
           10:00 short -> A h1, B h1
           10:00 ailing before 20:00 -> nobody
           10:00 misjudged -> A B
           10:00 review A -> degraded
           10:00 review B -> degraded
           10:00 review C -> well
           10:01 rebind A h1 -> PENDING h2*3
           10:01 misjudged -> A
           10:01 review A -> well
           10:01 short -> B h1
           10:02 dropdowntime h1
           10:02 short -> nobody
           10:02 misjudged -> B
           10:02 review B -> well",
    );
}

#[test]
fn of_what_is_taken_in_part_only_so_many_are_short_as_do_not_fit() {
    check(
        "10:00 hosts h1 h2 vcpus=8
           10:00 lease A 12:00..14:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 lease B 13:00..15:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 downtime h1 11:00..20:00 vcpus=2
           10:00 short -> nobody
           10:00 downtime h1 11:00..20:00 vcpus=3
           10:00 short -> B h1, A h1
           10:00 rebind B h1 -> PENDING h2*3
           10:00 short -> nobody
           10:00 review A -> well",
    );
}

#[test]
fn who_has_begun_stays_and_says_so() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A now..14:00 n=2 plan=h1*2 -> PENDING h1*2
           10:00 clock -> start A
           10:00 done start A -> A ACTIVE active:Open
           10:01 downtime h1 12:00..20:00
           10:01 short -> nobody
           10:01 misjudged -> A
           10:01 review A -> degraded
           10:02 update A end=12:00 -> ACTIVE h1*2
           10:02 review A -> well
           12:00 clock -> end A
           12:00 done end A -> A TERMINATED deleted:Ended
           12:00 misjudged -> nobody",
    );
}

#[test]
fn from_ten_seconds_before_it_begins_a_lease_stays() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 10:01..14:00 n=2 plan=h1*2 -> PENDING h1*2
           10:00:50 downtime h1 now..20:00
           10:00:50 short -> nobody
           10:00:50 review A -> degraded",
    );
}

#[test]
fn what_is_over_is_dropped_and_lacked_no_longer() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 11:00..14:00 n=4 plan=h1*4 -> PENDING h1*4
           10:00 downtime h1 10:30..12:00
           10:00 downtime h1 10:30..13:00 id=2 vcpus=1
           10:00 review A -> degraded
           11:00 clock -> start A
           11:00 done start A -> A ACTIVE active:Open
           11:00 review A -> degraded
           11:59:59 clock -> nothing
           11:59:59 downtimes h1 -> 1:10:30..12:00:all 2:10:30..13:00:1
           12:00 clock -> nothing
           12:00 downtimes h1 -> 2:10:30..13:00:1
           12:00 review A -> degraded
           13:00 review A -> well
           13:00 clock -> nothing
           13:00 downtimes h1 -> none
           13:00 dropdowntime h1 id=2 -> refused DowntimeNotFound",
    );
}

#[test]
fn a_repeat_changes_nothing_and_another_window_replaces() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 downtime h1 now..12:00 -> 1:10:00..12:00:all
           10:05 downtime h1 now..12:00 -> 1:10:00..12:00:all
           10:05 downtime h1 10:00..12:00 -> 1:10:00..12:00:all
           10:05 downtime h1 now..13:00 vcpus=1 -> 1:10:00..13:00:1
           10:05 downtime h1 11:00..open memory=512 -> 1:11:00..open:512
           10:05 downtime h1 12:00..13:00 key=1 id=2 -> 1:11:00..open:512 2:12:00..13:00:all
           10:05 dropdowntime h1 id=2 -> 1:11:00..open:512
           10:05 downtime h1 12:00..13:00 key=1 id=2 -> 1:11:00..open:512
           10:05 downtime h1 12:00..14:00 key=1 id=2 -> refused RequestIdReused
           10:05 removehost h1 -> removed",
    );
}

#[test]
fn what_is_not_said_of_a_downtime_that_is_there_stays_as_it_is() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 downtime h1 ..12:00 id=1 -> 1:10:00..12:00:all
           10:00 downtime h1 11:00..12:00 id=2 vcpus=2 -> 1:10:00..12:00:all 2:11:00..12:00:2
           10:01 downtime h1 ..13:00 id=2 -> 1:10:00..12:00:all 2:11:00..13:00:2
           10:01 downtime h1 ..13:00 id=1 -> 1:10:00..13:00:all 2:11:00..13:00:2
           10:02 downtime h1 now..13:00 id=2 -> 1:10:00..13:00:all 2:10:02..13:00:2
           10:03 downtime h1 now..13:00 id=2 -> 1:10:00..13:00:all 2:10:02..13:00:2
           10:03 downtime h1 ..13:00 id=1 vcpus=1 -> 1:10:00..13:00:1 2:10:02..13:00:2",
    );
}

#[test]
fn what_others_use_now_and_what_a_host_lost_is_not_the_downtimes_doing() {
    check(
        "10:00 hosts s1 s2 shared vcpus=8
           10:00 lease A 12:00..14:00 n=6 plan=s1*6 -> CREATING s1*6
           10:00 held A -> A PENDING pending:Booked
           10:00 downtime s1 11:00..open vcpus=2
           10:00 observe s1 firm=2 -> fine
           10:00 short -> nobody
           10:00 review A -> well
           10:00 lease B 12:00..14:00 n=1 plan=s1*1 -> refused PlanStale
           10:01 observe s1 vcpus=4 firm=0 -> overcommitted
           10:01 short -> nobody
           10:01 review A -> well
           10:02 observe s1 vcpus=8 firm=2 -> fine
           10:02 downtime s1 ..open vcpus=3
           10:02 short -> A s1",
    );
}

#[test]
fn who_waits_to_leave_a_shared_host_counts_as_gone() {
    check(
        "10:00 hosts s1 s2 shared vcpus=8
           10:00 lease A 12:00..14:00 n=2 plan=s1*2 -> CREATING s1*2
           10:00 held A -> A PENDING pending:Booked
           10:00 lease B 13:00..14:00 n=2 plan=s1*2 -> CREATING s1*2
           10:00 held B -> B PENDING pending:Booked
           10:00 lease C 13:30..14:00 n=2 plan=s1*2 -> CREATING s1*2
           10:00 held C -> C PENDING pending:Booked
           10:01 downtime s1 11:00..20:00 vcpus=3
           10:01 short -> C s1, B s1, A s1
           10:01 rebind C s1 -> UPDATING s2*2
           10:01 booked s1 13:30 -> 6 vcpus 6 slots
           10:01 short -> nobody
           10:01 held C -> C PENDING pending:Booked
           10:01 short -> nobody
           10:01 downtime s1 ..20:00 id=2
           10:01 short -> A s1, B s1
           10:01 rebind A s1 -> UPDATING s2*2
           10:01 short -> B s1",
    );
}

#[test]
fn a_class_that_a_lease_has_nothing_of_makes_it_lack_nothing() {
    check(
        "10:00 hosts h1 vcpus=4 disk=100
           10:00 lease A 12:00..14:00 n=4 disk=0 -> PENDING h1*4
           10:00 downtime h1 11:00..20:00 id=1 disk=60
           10:00 downtime h1 11:00..20:00 id=2 disk=60
           10:00 short -> nobody
           10:00 review A -> well",
    );
}

#[test]
fn every_rejection_has_its_cause() {
    check(
        "10:00 hosts h1 vcpus=4 memory=8192 disk=100
           10:00 downtime h9 11:00..12:00 -> refused HostNotFound
           10:00 dropdowntime h9 -> refused HostNotFound
           10:00 dropdowntime h1 -> refused DowntimeNotFound
           10:00 downtime h1 any..12:00 -> refused Invalid start
           10:00 downtime h1 09:59..12:00 -> refused StartInPast
           10:00 downtime h1 12:00..12:00 -> refused EndNotAfterStart
           10:00 downtime h1 11:00..900000:00 -> refused EndBeyondCalendar
           10:00 downtime h1 11:00..12:00 vcpus=5 -> refused Invalid vcpus
           10:00 downtime h1 11:00..12:00 vcpus=0 -> refused Invalid vcpus
           10:00 downtime h1 11:00..12:00 memory=8193 -> refused Invalid memory_mb
           10:00 downtime h1 11:00..12:00 disk=101 -> refused Invalid disk_gb
           10:00 downtime h1 11:00..12:00 vcpus=4 memory=8192 disk=100 -> 1:11:00..12:00:4+8192+100
           10:00:30 downtime h1 10:00:10..10:00:30 id=2 -> refused EndInPast",
    );
}

#[test]
fn a_host_has_so_many_and_no_more() {
    let many: String = (1..=64).map(|id| format!("10:00 downtime h1 11:00..12:00 id={id} vcpus=1\n")).collect();
    check(&format!(
        "10:00 hosts h1 vcpus=4
           {many}
           10:00 downtime h1 11:00..12:00 id=65 -> refused Invalid downtimes
           10:00 downtime h1 11:00..12:00 id=64
           10:00 dropdowntime h1 id=7
           10:00 downtime h1 11:00..12:00 id=65"
    ));
}
