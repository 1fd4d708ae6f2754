//! Who is moved, where to, and who stays.

use crate::apply::script::check;

#[test]
fn a_lease_that_has_a_host_to_itself_joins_another() {
    check(
        "10:00 hosts h1 h2 h3 vcpus=4 slots=4
           10:00 lease A 12:00..14:00 n=2 plan=h1*2 -> PENDING h1*2
           10:00 lease B 11:00..15:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 scattered -> A B
           10:00 tighten A -> PENDING h2*2 frees 7200 s
           10:00 scattered -> B
           10:00 tighten B -> stays
           10:00 tighten A -> stays",
    );
}

#[test]
fn it_moves_only_where_others_are_for_all_of_its_time_and_there_is_room() {
    check(
        "10:00 hosts h1 h2 h3 vcpus=4 slots=4
           10:00 lease A 12:00..14:00 n=2 plan=h1*2 -> PENDING h1*2
           10:00 lease B 12:00..13:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 lease C 11:00..15:00 n=3 plan=h3*3 -> PENDING h3*3
           10:00 tighten A -> stays
           10:00 lease D 13:00..14:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 tighten A -> PENDING h2*2 frees 7200 s",
    );
}

#[test]
fn it_moves_to_what_hosts_have_and_not_to_what_they_are_to_have() {
    check(
        "10:00 hosts h1 h2 vcpus=4 slots=9
           10:00 upgrade h2 11:30 vcpus=8
           10:00 lease A 12:00..14:00 n=2 plan=h1*2 -> PENDING h1*2
           10:00 lease B 11:00..15:00 n=3 plan=h2*3 -> PENDING h2*3
           10:00 tighten A -> stays
           10:00 observe h2 vcpus=8
           10:00 tighten A -> PENDING h2*2 frees 7200 s",
    );
}

#[test]
fn who_shares_a_host_for_some_of_the_time_counts_for_the_rest() {
    check(
        "10:00 hosts h1 h2 vcpus=4 slots=4
           10:00 lease A 12:00..14:00 n=1 plan=h1*1 -> PENDING h1*1
           10:00 lease B 12:00..13:55 n=1 plan=h1*1 -> PENDING h1*1
           10:00 lease C 11:00..15:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 scattered -> C
           10:00 tighten A -> stays
           10:00 scattered gain=300 -> A C
           10:00 tighten A gain=300 -> PENDING h2*1 frees 300 s",
    );
}

#[test]
fn what_is_spread_over_hosts_that_others_have_too_leaves_those_that_it_has_alone() {
    check(
        "10:00 hosts h1 h2 h3 vcpus=4 slots=4
           10:00 lease A 12:00..14:00 n=4 plan=h1*2,h2*2 -> PENDING h1*2 h2*2
           10:00 lease B 12:00..14:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 lease C 12:00..14:00 n=2 plan=h3*2 -> PENDING h3*2
           10:00 tighten A -> PENDING h2*3 h3*1 frees 7200 s
           10:00 scattered -> nobody",
    );
}

#[test]
fn who_has_begun_or_is_about_to_and_what_is_not_the_ledger_s_alone_stays() {
    check(
        "10:00 hosts h1 h2 vcpus=4 slots=4
           10:00 hosts s1 shared vcpus=4 slots=4
           10:00 lease X 10:00..23:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 lease A now..14:00 n=1 plan=h1*1 -> PENDING h1*1
           10:00 tighten A -> stays
           10:00 lease B 20:00..21:00 n=1 plan=h1*1 offer=11:00 -> PENDING h1*1
           10:00 tighten B -> stays
           10:00 lease C 21:00..22:00 n=1 plan=s1*1 pool=shared -> CREATING s1*1
           10:00 held C -> C PENDING pending:Booked
           10:00 tighten C -> stays
           10:00 lease D 22:00..23:00 n=1 plan=h1*1 -> PENDING h1*1
           21:30 tighten D lead=1800 -> stays
           21:29 tighten D lead=1800 -> PENDING h2*1 frees 3600 s",
    );
}

#[test]
fn a_host_that_takes_nothing_new_is_left_and_not_joined() {
    check(
        "10:00 hosts h1 h2 h3 vcpus=4 slots=4
           10:00 lease A 12:00..14:00 n=1 plan=h1*1 -> PENDING h1*1
           10:00 lease B 12:00..14:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 sethost h2 reservable=false -> changed
           10:00 tighten A -> stays
           10:00 tighten B -> PENDING h1*1 frees 7200 s",
    );
}

#[test]
fn affinity_and_kinds_hold_where_it_moves_to() {
    check(
        "10:00 hosts h1 h2 vcpus=4 slots=4
           10:00 hosts h3 vcpus=4 slots=4 zone=z
           10:00 lease B 12:00..14:00 n=1 plan=h2*1 -> PENDING h2*1
           10:00 lease C 12:00..14:00 n=1 plan=h3*1 zone=z -> PENDING h3*1
           10:00 lease A 12:00..14:00 n=2 plan=h1*2 -> PENDING h1*2
           10:00 lease D 16:00..18:00 n=2 plan=h1*1,h2*1 -> PENDING h1*1 h2*1
           10:00 tighten C -> stays
           10:00 tighten A -> PENDING h2*2 frees 7200 s
           10:00 tighten D -> stays",
    );
}
