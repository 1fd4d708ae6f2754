//! Upgrades: what may be declared, what is promised of them and when, and what becomes of promises that nothing comes of.

use crate::apply::script::check;

#[test]
fn what_a_host_is_to_have_is_promised_from_its_second_on_and_not_before() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8 -> 12:00:8
           10:00 lease A 11:00..12:00 n=5 plan=h1*5 -> refused PlanStale
           10:00 lease A 11:30..12:01 n=5 -> no room short=1 largest=4 tightest=VCPU next=12:00
           10:00 lease A 12:00..14:00 n=8 -> PENDING h1*8
           10:00 lease B 13:00..15:00 n=1 plan=h1*1 -> refused PlanStale
           10:00 lease B 11:00..12:00 n=4 -> PENDING h1*4
           10:00 lease C 11:30..12:30 latest=20:00 n=7 -> PENDING 14:00..15:00 h1*7
           10:00 observe h1 vcpus=4 -> fine
           10:00 free 10:00..16:00 -> 10:00 4 of 4 but 0, 11:00 0 of 4 but 0, 12:00 0 of 4+4 but 0, 14:00 1 of 4+4 but 0, 15:00 8 of 4+4 but 0",
    );
}

#[test]
fn what_placement_has_early_is_not_counted_twice() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8 memory=100000 -> 12:00:8+100000
           10:30 observe h1 vcpus=8 -> fine
           10:30 free 10:30..14:00 -> 10:30 8 of 8 but 0, 12:00 8 of 8 but 0
           10:30 lease A 11:00..13:00 n=8 -> PENDING h1*8
           10:30 lease B 12:00..13:00 n=1 -> no room short=1 largest=0 tightest=VCPU next=13:00
           10:31 observe h1 vcpus=6 -> overcommitted
           10:32 observe h1 vcpus=10 -> fine
           10:32 lease B 12:00..13:00 n=2 -> PENDING h1*2",
    );
}

#[test]
fn from_its_second_on_only_what_placement_has_counts() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 lease A 13:00..14:00 n=8 plan=h1*8 -> PENDING h1*8
           10:00 next -> 12:00
           12:00 clock
           12:00 upgrades h1 -> none overcommitted
           12:00 ailing before 20:00 -> A h1
           12:01 observe h1 vcpus=8 -> fine
           12:01 upgrades h1 -> none
           12:01 ailing before 20:00 -> nobody",
    );
}

#[test]
fn whatever_the_ledger_is_told_at_its_second_comes_after_it() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 upgrade h2 12:00 vcpus=8
           12:00 lease A 13:00..14:00 n=5 plan=h1*5 -> refused PlanStale
           12:00 upgrades h1 -> none
           12:00 upgrades h2 -> none
           12:00 lease A 13:00..14:00 n=5 -> PENDING h1*4 h2*1
           12:00 upgrade h1 14:00 vcpus=8 -> 14:00:8
           14:00 dropupgrade h1 -> refused UpgradeNotFound",
    );
}

#[test]
fn what_a_host_has_is_taken_before_what_it_is_to_have() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 hosts h2 vcpus=10
           10:00 upgrade h1 12:00 vcpus=8
           10:00 lease A 13:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 13:00..14:00 n=4 -> PENDING h2*4
           10:00 lease C 11:00..12:00 n=4 -> PENDING h1*4
           10:00 lease D 13:00..14:00 n=4 -> PENDING h2*4
           10:00 lease E 13:00..14:00 n=7 -> PENDING h1*5 h2*2
           10:00 dropupgrade h1 -> none overcommitted",
    );
    // Also of hosts all of which are to have more, and of a lease for which each would then be enough.
    check(
        "10:00 hosts h1 h2 h3 h4 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 upgrade h2 12:00 vcpus=8
           10:00 upgrade h3 12:00 vcpus=8
           10:00 lease A 13:00..14:00 n=3 -> PENDING h1*3
           10:00 lease B 13:00..14:00 n=11 -> PENDING h2*4 h3*4 h4*3
           10:00 lease C 13:00..14:00 n=6 -> PENDING h1*5 h4*1
           10:00 lease D 11:00..14:00 n=2 -> PENDING h2*2",
    );
}

#[test]
fn no_more_are_declared_for_one_second_than_one_entry_drops() {
    let hosts: String = (1..=1_001).map(|number| format!(" h{number}")).collect();
    let upgrades = |second: &str, numbers: std::ops::RangeInclusive<u32>, said: &str| -> String {
        numbers.map(|number| format!("10:00 upgrade h{number} {second} vcpus=8 -> {said}\n")).collect()
    };
    let all = upgrades("12:00", 1..=1_000, "12:00:8");
    let one_more = upgrades("12:00", 1_001..=1_001, "refused Invalid start");
    let later = upgrades("12:01", 1_001..=1_001, "12:01:8");
    check(&format!(
        "10:00 hosts{hosts} vcpus=4\n{all}{one_more}{later}12:00 clock\n12:00 upgrades h1000 -> none\n12:00 upgrades h1001 -> 12:01:8"
    ));
}

#[test]
fn a_host_that_others_fill_beyond_what_it_has_promised_too_much_of_what_is_to_come() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 lease A 12:00..14:00 n=4 -> PENDING h1*4
           10:00 observe h1 firm=4 -> fine
           10:00 observe h1 firm=6 -> overcommitted
           10:00 tohold h1 -> 2 vcpus
           10:00 ailing before 20:00 -> A h1
           10:00 update A n=2 -> PENDING h1*2
           10:00 tohold h1 -> 0 vcpus
           10:00 ailing before 20:00 -> nobody",
    );
}

#[test]
fn one_that_is_late_and_came_in_part_is_put_off() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8 memory=1000000
           11:00 observe h1 vcpus=8 -> fine
           11:00 upgrade h1 13:00 vcpus=8 memory=1000000 -> 13:00:8+1000000
           11:00 upgrade h1 13:00 vcpus=7 memory=1000000 -> refused Invalid vcpus
           11:00 upgrade h1 13:00 memory=1000000 -> 13:00:1000000
           11:00 upgrade h1 13:00 vcpus=8 -> refused Invalid vcpus",
    );
}

#[test]
fn one_that_is_put_off_or_made_smaller_takes_back_what_was_promised_of_it() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 lease A 13:00..14:00 n=8 -> PENDING h1*8
           10:00 upgrade h1 13:00 vcpus=8 -> 13:00:8
           10:00 upgrade h1 13:01 vcpus=8 -> 13:01:8 overcommitted
           10:00 ailing before 20:00 -> A h1
           10:00 upgrade h1 12:00 vcpus=7 -> 12:00:7 overcommitted
           10:00 upgrade h1 11:00 vcpus=9 -> 11:00:9
           10:00 ailing before 20:00 -> nobody",
    );
}

#[test]
fn a_downtime_of_what_did_not_come_takes_of_what_was_there() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 downtime h1 14:00..20:00 vcpus=4 -> 1:14:00..20:00:4
           10:00 lease A 15:00..16:00 n=4 -> PENDING h1*4
           10:00 short -> nobody
           12:00 clock
           12:00 upgrades h1 -> none
           12:00 short -> A h1
           12:01 observe h1 vcpus=8 -> fine
           12:01 short -> nobody",
    );
}

#[test]
fn one_that_is_taken_back_leaves_a_host_that_lost_room() {
    check(
        "10:00 hosts h1 h2 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8
           10:00 lease A 13:00..14:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 lease B 13:00..14:00 n=3 plan=h1*3 -> PENDING h1*3
           10:00 ailing before 20:00 -> nobody
           10:00 dropupgrade h1 -> none overcommitted
           10:00 ailing before 20:00 -> A h1, B h1
           10:00 rebind B h1 -> PENDING h2*3
           10:00 upgrades h1 -> none
           10:00 dropupgrade h1 -> refused UpgradeNotFound",
    );
}

#[test]
fn what_is_booked_only_before_or_only_after_it_is_judged_by_what_there_is_then() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=8 -> 12:00:8
           10:00 lease A 11:00..12:00 n=4 -> PENDING h1*4
           10:00 lease B 12:00..13:00 n=8 -> PENDING h1*8
           10:00 observe h1 vcpus=3 -> overcommitted
           10:00 ailing before 20:00 -> A h1
           10:00 observe h1 vcpus=4 firm=1 -> overcommitted
           10:00 ailing before 20:00 -> B h1, A h1
           10:00 update A n=3 -> PENDING h1*3
           10:00 update B n=7 -> PENDING h1*7
           10:00 upgrades h1 -> 12:00:8",
    );
}

#[test]
fn the_hold_of_a_shared_host_counts_what_is_to_come_as_not_booked() {
    check(
        "10:00 hosts s1 shared vcpus=4
           10:00 upgrade s1 12:00 vcpus=10
           10:00 lease A 11:00..12:00 n=2 -> CREATING s1*2
           10:00 held A -> A PENDING pending:Booked
           10:00 lease B 12:00..14:00 n=9 -> CREATING s1*9
           10:00 tohold s1 -> 3 vcpus
           10:00 held B -> B PENDING pending:Booked
           10:10 observe s1 vcpus=10 -> fine
           10:10 tohold s1 -> 9 vcpus
           10:10 observe s1 vcpus=4 -> fine
           12:00 clock
           12:00 tohold s1 -> 9 vcpus",
    );
}

#[test]
fn a_downtime_takes_of_what_is_to_come() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h1 12:00 vcpus=10
           10:00 downtime h1 14:00..16:00 vcpus=7 -> 1:14:00..16:00:7
           10:00 downtime h1 14:00..16:00 id=2 vcpus=11 -> refused Invalid vcpus
           10:00 lease A 13:00..15:00 n=4 -> no room short=1 largest=3 tightest=VCPU next=16:00
           10:00 lease A 13:00..15:00 n=3 -> PENDING h1*3
           10:00 lease B 16:00..17:00 n=10 -> PENDING h1*10
           10:00 short -> nobody
           10:00 downtime h1 15:00..17:00 id=3 vcpus=1
           10:00 short -> B h1
           10:00 free 11:00..18:00 -> 11:00 4 of 4 but 0, 12:00 10 of 4+6 but 0, 13:00 7 of 4+6 but 0, 14:00 0 of 4+6 but 7, 15:00 2 of 4+6 but 8, 16:00 0 of 4+6 but 1, 17:00 10 of 4+6 but 0",
    );
}

#[test]
fn what_is_wrong_is_refused_and_changes_nothing() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 upgrade h9 12:00 vcpus=8 -> refused HostNotFound
           10:00 upgrade h1 10:00 vcpus=8 -> refused Invalid start
           10:00 upgrade h1 12:00 -> refused Invalid vcpus
           10:00 upgrade h1 12:00 vcpus=4 -> refused Invalid vcpus
           10:00 upgrade h1 12:00 vcpus=2147483648 -> refused Invalid vcpus
           10:00 upgrade h1 12:00 vcpus=8 memory=1 -> refused Invalid memory_mb
           10:00 upgrades h1 -> none
           10:00 upgrade h1 12:00 vcpus=2147483647 key=1 -> 12:00:2147483647
           10:00 upgrade h1 13:00 vcpus=8 disk=1000000 key=2 -> 13:00:8+1000000
           10:00 observe h1 vcpus=9
           10:00 upgrade h1 13:00 vcpus=8 disk=1000000 -> 13:00:8+1000000
           10:00 upgrade h1 13:00 vcpus=9 -> refused Invalid vcpus
           10:00 dropupgrade h9 -> refused HostNotFound
           10:00 dropupgrade h1 key=3 -> none
           13:00 clock
           10:00 next -> never",
    );
}
