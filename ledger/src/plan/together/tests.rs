use super::*;
use crate::apply::script::{after, check};
use crate::model::{Seconds, Timestamp};
use crate::plan::Overlay;

#[test]
fn what_one_reservation_takes_another_may_need() {
    check(
        "10:00 hosts h1 vcpus=4 traits=T
           10:00 hosts h2 vcpus=4
           10:00 lease A 12:00..14:00 vcpus=4 + vcpus=4 traits=T -> PENDING h2*1 h1*1
           10:00 delete A -> free, row gone
           10:00 lease X 12:00..13:00 vcpus=4 plan=h2*1 -> PENDING h2*1
           10:00 lease B 12:00..14:00 vcpus=4 + vcpus=4 traits=T -> no room short=1 largest=0 tightest=VCPU next=13:00
           10:00 lease B 12:00..14:00 latest=13:00 vcpus=4 + vcpus=4 traits=T -> PENDING 13:00..15:00 h2*1 h1*1",
    );
}

#[test]
fn what_no_order_finds_is_found_host_by_host() {
    check(
        "10:00 hosts h1 h2 vcpus=10
           10:00 lease A 12:00..14:00 n=2 vcpus=4 + n=4 vcpus=3 -> PENDING h1*1 h2*1 h1*2 h2*2
           10:00 lease B 14:00..15:00 n=3 vcpus=3 + n=2 vcpus=4 -> PENDING h1*3 h2*2
           10:00 update B n=9 -> no room short=5 largest=4 tightest=VCPU next=-
           10:00 update B n=4 -> PENDING h1*2 h2*2 h1*1 h2*1",
    );
}

#[test]
fn affinity_is_kept_where_reservations_are_placed_together() {
    check(
        "10:00 hosts h1 h2 vcpus=10
           10:00 lease A 12:00..14:00 n=2 vcpus=4 + n=2 vcpus=3 affinity=true + n=2 vcpus=3 affinity=false -> no room short=1 largest=1 tightest=VCPU next=-
           10:00 lease A 12:00..14:00 n=2 vcpus=4 + n=2 vcpus=3 affinity=true + n=2 vcpus=3 -> CREATING h1*1 h2*1 h1*2 h2*2",
    );
}

#[test]
fn an_amount_that_is_told_fits_with_all_of_the_lease() {
    check(
        "10:00 hosts h1 vcpus=4
           10:00 lease A 12:00..14:00 n=3 + n=2 + n=2 -> no room short=2 largest=0 tightest=VCPU next=-
           10:00 lease A 12:00..14:00 n=3 + n=2 -> no room short=1 largest=1 tightest=VCPU next=-
           10:00 lease A 12:00..14:00 n=3 + n=1 -> PENDING h1*3 h1*1",
    );
}

/// On a host with 7 of 8 free a slot of 3 or one of 5 fits, and no more of either with 8; yet then both do.
#[test]
fn a_start_is_found_at_which_no_reservation_alone_has_more_room() {
    check(
        "10:00 hosts h1 vcpus=8
           10:00 lease X 12:00..13:00 vcpus=1 -> PENDING h1*1
           10:00 lease A 12:00..14:00 vcpus=3 + vcpus=5 -> no room short=1 largest=0 tightest=VCPU next=13:00
           10:00 lease A 13:00..15:00 vcpus=3 + vcpus=5 -> PENDING h1*1 h1*1",
    );
}

#[test]
fn a_lease_of_several_moves_away_to_where_all_of_it_fits() {
    check(
        "10:00 hosts h1 vcpus=10
           10:00 lease A 12:00..14:00 n=2 vcpus=3 + n=1 vcpus=4 -> PENDING h1*2 h1*1
           10:00 hosts h2 vcpus=6
           10:00 hosts h3 vcpus=4
           10:00 rebind A h1 -> PENDING h2*2 h3*1",
    );
}

#[test]
fn the_largest_amount_is_one_that_was_tried() {
    for (wanted, fits, guess) in [(10, 7, 7), (10, 7, 0), (10, 7, 9), (10, 7, 100), (10, 0, 3), (1, 0, 1), (10_000, 9_999, 2)] {
        let mut tried = BTreeSet::new();
        let found = largest(wanted, guess, |amount| {
            assert!(0 < amount && amount < wanted && tried.insert(amount), "{amount} of {wanted}");
            amount <= fits
        });
        assert_eq!(found, fits, "{wanted}, {guess} first");
        assert!(tried.len() <= 17, "{tried:?}");
    }
}

#[test]
fn what_has_no_room_even_alone_is_tried_in_no_other_order() {
    let mut tried = Vec::new();
    let unplaced = in_some_order(vec![0, 1, 2], &Steps::new(), |order: &[usize]| {
        tried.push(order.to_vec());
        Err::<(), _>((1, "1 is short"))
    });
    assert!(unplaced.is_err_and(|one| one.alone));
    assert_eq!(tried, [vec![0, 1, 2], vec![1, 0, 2]]);
}

#[test]
fn without_steps_no_order_but_the_first_is_tried() {
    let steps = Steps::new();
    steps.take(STEPS_MAX);
    let mut tried = 0;
    let unplaced = in_some_order(vec![0, 1], &steps, |_: &[usize]| {
        tried += 1;
        Err::<(), _>((1, ()))
    });
    assert!(unplaced.is_err_and(|one| !one.alone));
    assert_eq!(tried, 1);
}

/// Its reservations only fit in each other's places, and on shared hosts old and new are booked beside each other: no try would ever succeed.
#[test]
fn a_change_that_needs_the_leases_own_room_on_shared_hosts_has_none() {
    check(
        "10:00 hosts s1 shared vcpus=4 traits=T
           10:00 hosts s2 shared vcpus=4
           10:00 lease A 12:00..14:00 n=2 traits=T + n=2 -> CREATING s1*2 s1*2
           10:00 held A -> A CREATING pending:Booked pending:Booked
           10:00 held A -> A PENDING pending:Booked pending:Booked
           10:00 update A n=4 -> no room short=2 largest=2 tightest=VCPU next=14:00",
    );
}

/// There are tens of thousands of ways to fill the first host; the first one will do.
#[test]
fn many_reservations_of_many_small_slots_are_placed_within_the_steps() {
    let state = after("10:00 hosts h1 h2 vcpus=64 slots=255");
    let wish = InstanceWish { amount: 32, ..InstanceWish::anywhere(1, 1, 0, 32) };
    let interval = Interval { start: Seconds(300_000_000), end: Seconds(300_003_600) };
    let parts: Vec<Part<'_>> = (0..4).map(|place| Part::new(place, Phase::Main, &wish, interval)).collect();
    let (overlay, anchors, steps) = (Overlay::default(), vec![state.anchors(); 4], Steps::new());
    let mut view = View::new(&state, &overlay, Timestamp(0));
    let found = together(&mut view, &parts, &anchors, &steps).expect("there is room for all of them");
    let slots: u32 = found.iter().flatten().map(|(_, slots)| slots).sum();
    assert_eq!(slots, 128);
    assert!(!steps.are_spent());
    // With one more slot there is none, and that is found out without trying every way.
    let more = InstanceWish { amount: 33, ..wish.clone() };
    let parts: Vec<Part<'_>> = (0..4).map(|place| Part::new(place, Phase::Main, &more, interval)).collect();
    assert!(together(&mut view, &parts, &anchors, &Steps::new()).is_none());
}
