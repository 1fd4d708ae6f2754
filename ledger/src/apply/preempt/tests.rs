use crate::apply::script::check;

#[test]
fn who_allows_it_gives_way_to_a_higher_priority_and_says_so() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 quota slots=100 -> 1 rows
           10:00 lease A 12:00..14:00 n=3 preemptible -> PENDING h1*3
           10:00 lease B 13:00..15:00 n=2 -> no room short=1 largest=1 tightest=VCPU next=14:00
           10:00 lease B 13:00..15:00 n=2 priority=1 -> no room short=1 largest=1 tightest=VCPU next=14:00 instead of A
           10:00 lease B 13:00..15:00 n=2 priority=1 preempt project=q -> PENDING h1*2 instead of A
           10:00 status A -> A ERROR deleted:Booked
           10:00 reason A -> a lease of a higher priority took its room before it began
           10:00 events A -> start=12:00:ERROR end=14:00:DONE prepare=11:00:DONE
           10:00 rows -> none
           10:00 booked h1 12:00 -> 0 vcpus 0 slots
           10:00 booked h1 13:00 -> 2 vcpus 2 slots
           10:00 spent period_s=86400 -> 0 vcpu_s
           11:00 clock -> nothing
           12:00 clock -> prepare B
           12:00 update A name=C -> ERROR h1*3
           12:00 update A end=16:00 -> refused AlreadyEnded
           12:00 rebind A -> refused WrongStatus ERROR
           12:00 delete A -> free, row gone",
    );
}

#[test]
fn with_room_nobody_gives_way() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 12:00..14:00 n=3 preemptible plan=h1*3 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=4 priority=9 preempt -> PENDING h2*4
           10:00 lease C 12:00..14:00 n=2 latest=15:00 priority=9 preempt -> PENDING 14:00..16:00 h1*2",
    );
}

#[test]
fn the_lowest_and_the_latest_give_way_and_no_more_of_them_than_must() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 12:00..14:00 n=1 preemptible plan=h1*1 -> PENDING h1*1
           10:01 lease B 12:00..14:00 n=1 preemptible plan=h1*1 -> PENDING h1*1
           10:02 lease C 12:00..14:00 n=1 preemptible priority=1 plan=h1*1 -> PENDING h1*1
           10:02 lease D 12:00..14:00 n=1 preemptible priority=2 plan=h1*1 -> PENDING h1*1
           10:02 lease E 12:00..14:00 n=4 plan=h2*4 -> PENDING h2*4
           10:03 lease F 12:00..14:00 priority=1 preempt -> PENDING h1*1 instead of B
           10:03 lease G 12:00..14:00 n=2 priority=1 preempt -> no room short=2 largest=0 tightest=VCPU next=14:00
           10:03 lease G 12:00..14:00 n=2 priority=2 preempt -> PENDING h1*2 instead of A,C
           10:03 lease H 12:00..14:00 priority=2 preempt -> no room short=1 largest=0 tightest=VCPU next=14:00
           10:03 lease H 12:00..14:00 priority=3 preempt -> PENDING h1*1 instead of D",
    );
}

#[test]
fn where_too_many_small_ones_would_give_way_the_largest_does() {
    // Of the same minute: the small ones go first.
    let small = (1..=33).map(|n| format!("10:00 lease S{n} 12:00..14:00 n=1 preemptible plan=h1*1 -> PENDING h1*1\n"));
    let hosts = "10:00 hosts h1 h2 vcpus=40 slots=64\n".to_owned();
    let large = "10:00 lease A 12:00..14:00 n=33 preemptible plan=h2*33 -> PENDING h2*33\n";
    let full = hosts + &small.collect::<String>() + large;
    check(&format!("{full}10:02 lease B 12:00..14:00 n=47 priority=1 preempt -> PENDING h1*7 h2*40 instead of A"));
    let room = "no room short=66 largest=14 tightest=VCPU next=14:00";
    check(&format!("{full}10:02 lease B 12:00..14:00 n=80 priority=1 preempt -> {room}"));
}

#[test]
fn what_lies_in_too_many_places_is_not_taken_all_at_once() {
    // 32 leases, each with one instance on each of 33 hosts.
    let hosts: Vec<String> = (1..=33).map(|n| format!("h{n}")).collect();
    let plan = hosts.iter().map(|host| format!("{host}*1")).collect::<Vec<_>>();
    let (listed, shown) = (plan.join(","), plan.join(" "));
    let lease = |n: usize| format!("10:00 lease S{n:02} 12:00..14:00 n=33 preemptible plan={listed} -> PENDING {shown}\n");
    let full = format!("10:00 hosts {} vcpus=32 slots=64\n{}", hosts.join(" "), (1..=32).map(lease).collect::<String>());
    let room = "no room short=1056 largest=0 tightest=VCPU next=14:00";
    check(&format!("{full}10:01 lease A 12:00..14:00 n=1056 priority=1 preempt -> {room}"));
    let taken = (1..=31).map(|n| format!("S{n:02}")).collect::<Vec<_>>().join(",");
    let booked = hosts.iter().map(|host| format!("{host}*31")).collect::<Vec<_>>().join(" ");
    check(&format!("{full}10:01 lease A 12:00..14:00 n=1023 priority=1 preempt -> PENDING {booked} instead of {taken}"));
}

#[test]
fn the_group_of_one_that_was_not_prepared_is_nobodys_any_more() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 affinity=true callers preemptible -> CREATING h1*3
           10:00 made A 7 -> taken
           10:00 held A group -> A PENDING pending:Booked
           10:00 lease B 12:00..14:00 n=4 priority=1 preempt -> PENDING h1*4 instead of A
           10:00 rows -> none
           10:00 group A -> none",
    );
}

#[test]
fn who_is_of_no_use_is_spared() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 12:00..14:00 n=3 preemptible plan=h1*3 -> PENDING h1*3
           10:01 lease B 12:00..14:00 n=1 plan=h1*1 -> PENDING h1*1
           10:02 lease C 12:00..13:00 n=2 preemptible plan=h2*2 -> PENDING h2*2
           10:02 lease F 12:00..13:00 n=2 plan=h2*2 -> PENDING h2*2
           10:03 lease D 13:00..14:00 n=4 preemptible plan=h2*4 -> PENDING h2*4
           10:04 lease E 12:00..14:00 vcpus=3 priority=1 preempt -> PENDING h1*1 instead of A",
    );
}

#[test]
fn who_has_begun_or_is_about_to_keeps_what_it_has() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 10:10..14:00 n=4 preemptible -> PENDING h1*4
           10:09:49 lease B 11:00..12:00 priority=1 preempt plan=h1*1 victims=A -> PENDING h1*1 instead of A
           10:09:49 delete B -> free, row gone
           10:09:49 lease A 10:10..14:00 n=4 preemptible -> PENDING h1*4
           10:09:50 lease B 11:00..12:00 priority=1 preempt -> no room short=1 largest=0 tightest=VCPU next=14:00
           10:09:50 lease B 11:00..12:00 priority=1 preempt plan=h1*1 victims=A -> refused PlanStale",
    );
}

#[test]
fn what_was_prepared_is_undone_as_of_a_lease_that_is_deleted() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 11:30..14:00 n=4 preemptible -> PENDING h1*4
           10:30 clock -> prepare A
           10:30 status A -> A PENDING pending:Prepared
           10:31 lease B 11:30..12:00 n=4 priority=1 preempt -> PENDING h1*4 instead of A
           10:31 status A -> A ERROR deleted:Ended
           10:31 rows -> end A
           10:31 done prepare A -> unchanged
           10:31 removehost h1 -> refused HostInUse
           10:32 delayed end A -> A ERROR deleted:Ended
           10:32 reason A -> a lease of a higher priority took its room before it began
           10:32 failed end A -> A ERROR deleted:Ended
           10:32 rows -> end A
           10:33 done end A -> A ERROR deleted:Ended
           10:33 rows -> none
           10:33 delete B -> free, row gone
           10:33 removehost h1 -> removed
           10:33 delete A -> free, row gone",
    );
}

#[test]
fn a_lease_that_gave_way_can_be_deleted_before_the_cloud_has_followed() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 11:30..14:00 n=4 preemptible -> PENDING h1*4
           10:30 clock -> prepare A
           10:31 lease B 11:30..12:00 n=4 priority=1 preempt -> PENDING h1*4 instead of A
           10:31 delete A -> free, row stays
           10:31 rows -> end A
           10:31 done end A -> A gone",
    );
}

#[test]
fn one_that_is_staged_gives_way_until_its_window_opens() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=4 staging=10:30..11:00 preemptible -> PENDING staging:h1*4 h1*4
           10:29:50 lease B 13:00..14:00 priority=1 preempt -> no room short=1 largest=0 tightest=VCPU next=14:00
           10:29:49 delete A -> free, row gone
           10:29:50 lease A 12:00..14:00 n=4 staging=10:31..11:00 preemptible -> PENDING staging:h1*4 h1*4
           10:29:50 lease B 10:40..10:50 priority=1 preempt -> PENDING h1*1 instead of A
           10:29:50 booked h1 12:00 -> 0 vcpus 0 slots",
    );
}

#[test]
fn a_plan_is_held_against_who_gives_way_in_it() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 lease A 12:00..14:00 n=4 preemptible plan=h1*4 -> PENDING h1*4
           10:00 lease B 12:00..14:00 n=4 preemptible plan=h2*4 -> PENDING h2*4
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 victims=A@2 -> refused PlanStale
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 victims=B -> refused PlanStale
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 victims=A,B -> refused PlanStale
           10:00 lease C 12:00..13:00 priority=1 plan=h1*1 victims=A -> refused PlanStale
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 -> refused PlanStale
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 victims=A,A -> refused PlanStale
           10:00 sethost h1 reservable=false
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 victims=A -> refused PlanStale
           10:00 status A -> A PENDING pending:Booked",
    );
}

#[test]
fn nobody_gives_way_where_the_cloud_must_agree_first() {
    check(
        "10:00 hosts s1 shared vcpus=4
           10:00 lease A 12:00..14:00 n=4 preemptible -> CREATING s1*4
           10:00 held A -> A PENDING pending:Booked
           10:00 lease B 12:00..14:00 priority=1 preempt -> no room short=1 largest=0 tightest=VCPU next=14:00
           10:00 lease B 12:00..14:00 priority=1 preempt pool=shared -> refused Invalid preempt
           10:00 lease B 12:00..14:00 priority=1 preempt affinity=true -> refused Invalid preempt
           10:00 lease B 12:00..14:00 priority=1 preempt plan=s1*1 victims=A -> refused PlanStale",
    );
}

#[test]
fn what_downtimes_withhold_is_nobodys_to_give() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=4 preemptible -> PENDING h1*4
           10:00 downtime h1 12:00..13:00 vcpus=2
           10:00 lease B 12:30..13:30 n=3 priority=1 preempt -> no room short=3 largest=0 tightest=VCPU next=14:00
           10:00 lease B 12:30..13:30 n=2 priority=1 preempt -> PENDING h1*2 instead of A",
    );
}

#[test]
fn a_key_holds_what_was_said_of_a_priority_and_a_plan_in_which_nobody_gives_way_any_more_is_no_answer() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=4 preemptible key=1 -> PENDING h1*4
           10:00 lease A 12:00..14:00 n=4 plan=h1*4 key=1 -> refused RequestIdReused
           10:00 lease A 12:00..14:00 n=4 preemptible priority=1 plan=h1*4 key=1 -> refused RequestIdReused
           10:00 lease B 12:00..13:00 preempt plan=h1*1 key=2 -> refused Invalid preempt
           10:00 key 2 until=24:00 -> refused Invalid preempt
           10:00 lease C 12:00..13:00 priority=1 preempt plan=h1*1 victims=A@2 key=3 -> refused PlanStale
           10:00 key 3 until=24:00 -> unknown
           10:00 lease C 12:00..13:00 priority=1 preempt key=3 -> PENDING h1*1 instead of A
           10:01 lease C 12:00..13:00 priority=1 preempt key=3 -> PENDING h1*1
           10:01 lease A 12:00..14:00 n=4 preemptible plan=h1*4 key=1 -> ERROR h1*4
           10:01 booked h1 12:00 -> 1 vcpus 1 slots",
    );
}

#[test]
fn what_waits_for_room_has_none_to_give_until_it_is_booked() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 12:00..14:00 n=4 preemptible wait=start -> WAITING
           10:00 lease C 12:00..13:00 n=2 priority=1 preempt -> no room short=1 largest=1 tightest=VCPU next=14:00
           10:00 lease C 12:00..13:00 n=2 priority=1 preempt plan=h1*2 victims=B -> refused PlanStale
           10:00 lease C 12:00..13:00 n=2 priority=1 preempt wait=start -> WAITING
           10:01 delete A -> free, row gone
           10:01 waitlist -> B C
           10:01 promote B -> PENDING 12:00..14:00 h1*4
           10:01 waitlist -> C
           10:01 promote C -> no room
           10:01 lease D 12:00..13:00 n=2 priority=1 preempt -> PENDING h1*2 instead of B
           10:01 promote C -> PENDING 12:00..13:00 h1*2",
    );
}

#[test]
fn what_is_said_of_a_priority_must_make_sense() {
    check(
        "10:00 hosts h1
           10:00 lease A 12:00..13:00 priority=10 -> refused Invalid priority
           10:00 lease A 12:00..13:00 preempt -> refused Invalid preempt
           10:00 lease A 12:00..13:00 priority=1 preempt offer=11:00 -> refused Invalid preempt
           10:00 lease A 12:00..13:00 priority=1 preempt staging=.. -> refused Invalid preempt
           10:00 lease A 12:00..13:00 preemptible offer=11:00 -> refused Invalid preemptible
           10:00 lease A 12:00..13:00 preemptible servers=1 staging=10:10..10:20 -> refused Invalid preemptible
           10:00 lease A 12:00..13:00 priority=9 offer=11:00 -> PENDING h1*1",
    );
}
