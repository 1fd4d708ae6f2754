//! What the leases of a project have reserved in time, counted second by second: instances and vCPUs, wherever they lie.
//!
//! A reservation counts from its lease's start to its end, and in its staging window with the margin behind it. While a change waits
//! for the cloud the larger of old and new counts; of a lease with two reservations nobody but the ledger can say whether the two
//! are compared one by one or together, so that there is a least and a most.

use std::collections::BTreeSet;

use super::model::{Lease, Previous, Reservation, Span, Staging};

/// Instances and vCPUs.
pub type Use = [u64; 2];

/// What is reserved over a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// When.
    pub span: Span,
    /// How much.
    pub used: Use,
}

fn piece(span: Span, vcpus: u64, slots: u64) -> Piece {
    Piece { span, used: [slots, slots * vcpus] }
}

/// What a wish reserves: so many slots, and so many while they are staged.
pub fn pieces(main: Span, vcpus: u64, slots: u64, staging: Option<(Staging, u64)>) -> Vec<Piece> {
    let staged = staging.map(|(staging, slots)| piece(staging.booked(), vcpus, slots));
    let all = std::iter::once(piece(main, vcpus, slots)).chain(staged);
    all.filter(|one| one.span.start < one.span.end).collect()
}

fn new(lease: &Lease, one: &Reservation) -> Vec<Piece> {
    let wish = &one.wish.instance;
    // Once staging has begun a change changes the main window only.
    let begun = !matches!(one.stage.as_str(), "booked" | "prepared");
    let bound = one.bindings.iter().filter(|binding| binding.phase == "staging").map(|binding| binding.slots).sum();
    let staging = one.staging.map(|staging| (staging, if begun { bound } else { wish.amount }));
    pieces(Span { start: lease.start, end: lease.end }, wish.vcpus, wish.amount, staging)
}

fn old(previous: &Previous) -> Vec<Piece> {
    let wish = &previous.wish.instance;
    let bound = previous.bindings.iter().filter(|binding| binding.phase == "staging").map(|binding| binding.slots).sum();
    pieces(previous.interval, wish.vcpus, wish.amount, previous.staging.map(|staging| (staging, bound)))
}

/// What pieces reserve at a second.
pub fn at(pieces: &[Piece], second: u32) -> Use {
    let there = pieces.iter().filter(|one| one.span.start <= second && second < one.span.end);
    there.fold([0; 2], |sum, one| [sum[0] + one.used[0], sum[1] + one.used[1]])
}

/// What a lease has reserved at a second, at least and at most.
pub fn of_lease(lease: &Lease, second: u32) -> (Use, Use) {
    if lease.deleted || lease.waits() {
        return ([0; 2], [0; 2]);
    }
    let (mut news, mut olds, mut most) = ([0; 2], [0; 2], [0; 2]);
    for one in lease.reservations.iter().filter(|one| one.status != "deleted") {
        let of_new = at(&new(lease, one), second);
        let of_old = one.previous.as_ref().map_or([0; 2], |previous| at(&old(previous), second));
        for class in 0..2 {
            news[class] += of_new[class];
            olds[class] += of_old[class];
            most[class] += of_new[class].max(of_old[class]);
        }
    }
    (std::array::from_fn(|class| news[class].max(olds[class])), most)
}

/// Every second at which it may change what a lease has reserved.
pub fn borders(lease: &Lease) -> BTreeSet<u32> {
    let all = lease.reservations.iter();
    let pieces = all.flat_map(|one| new(lease, one).into_iter().chain(one.previous.iter().flat_map(|one| old(one))));
    pieces.flat_map(|one| [one.span.start, one.span.end]).collect()
}

/// vCPU-seconds that a lease has reserved in a span, at least and at most.
pub fn vcpu_s(lease: &Lease, within: Span) -> (u64, u64) {
    let mut seconds: BTreeSet<u32> = borders(lease);
    seconds.retain(|second| within.start < *second && *second < within.end);
    seconds.insert(within.start);
    let ends = seconds.iter().skip(1).copied().chain([within.end]);
    seconds.iter().zip(ends).fold((0, 0), |(least, most), (from, to)| {
        let (low, high) = of_lease(lease, *from);
        let length = u64::from(to.saturating_sub(*from));
        (least + length * low[1], most + length * high[1])
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::check::model::tests::{lease, wish};

    fn read(value: Value) -> Lease {
        serde_json::from_value(value).expect("it reads")
    }

    #[test]
    fn a_lease_counts_while_it_lasts_and_while_it_is_staged() {
        let mut row = lease("a", 100, 200, &[(1, 3)]);
        row["reservations"][0]["wish"]["instance"]["vcpus"] = json!(2);
        row["reservations"][0]["staging"] = json!({"window": {"start": 20, "end": 40}, "park_margin_s": 10});
        let staged = read(row.clone());
        let used = |second| of_lease(&staged, second).0;
        assert_eq!(
            [used(19), used(20), used(49), used(50), used(100), used(200)],
            [[0, 0], [3, 6], [3, 6], [0, 0], [3, 6], [0, 0]]
        );
        assert_eq!(vcpu_s(&staged, Span { start: 0, end: 1_000 }), (780, 780));
        assert_eq!(vcpu_s(&staged, Span { start: 30, end: 101 }), (126, 126));
        // Once it has begun it is what was bound for it.
        row["reservations"][0]["stage"] = json!("staging");
        assert_eq!(of_lease(&read(row.clone()), 30).0, [0, 0]);
        row["deleted"] = json!(true);
        assert_eq!(of_lease(&read(row), 150), ([0, 0], [0, 0]));
    }

    #[test]
    fn while_a_change_waits_the_larger_counts() {
        let mut row = lease("a", 100, 200, &[(1, 1)]);
        let previous = json!({"interval": {"start": 100, "end": 150}, "wish": wish(4), "staging": null, "bindings": []});
        row["reservations"][0]["previous"] = previous;
        let mut second = row["reservations"][0].clone();
        (second["wish"], second["previous"]["wish"]) = (wish(3), wish(1));
        row["reservations"].as_array_mut().expect("a list").push(second);
        let waits = read(row);
        assert_eq!(of_lease(&waits, 120), ([5, 5], [7, 7]));
        assert_eq!(of_lease(&waits, 160), ([4, 4], [4, 4]));
    }
}
