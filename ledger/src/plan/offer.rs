//! What would fit instead, when a wish does not; when it would fit is in `starts.rs`.

use super::hosts::{Hosts, Place};
use super::room::{View, remaining};
use super::{NoRoom, Tell};
use crate::model::{Amounts, Anchor, Class, InstanceWish, Interval};

/// What is missing with the kind of anchor that comes closest; see [`shortage`].
pub(super) fn least_shortage(
    view: &mut View<'_>,
    anchors: &[Anchor],
    reservation: usize,
    wish: &InstanceWish,
    interval: Interval,
    staging: bool,
) -> NoRoom {
    let short = |view: &mut View<'_>| Err::<NoRoom, _>(shortage(view, reservation, wish, interval, staging));
    match view.with_one_anchor(anchors, short, closer) {
        Ok(no_room) | Err(no_room) => no_room,
    }
}

/// The failure that came further, or is less short, or names what binds (without hosts nothing does); the first of two that
/// are alike.
pub(super) fn closer(one: NoRoom, other: NoRoom) -> NoRoom {
    let closeness = |no_room: &NoRoom| (!no_room.staging, no_room.largest_amount, no_room.tightest.is_some());
    if closeness(&other) > closeness(&one) { other } else { one }
}

/// What is missing in one interval: the largest amount, the class that binds most; where that is to be told.
pub(super) fn shortage(view: &View<'_>, reservation: usize, wish: &InstanceWish, interval: Interval, staging: bool) -> NoRoom {
    if view.tell == Tell::Shortage {
        return NoRoom::default();
    }
    let need = wish.need();
    let (mut largest, mut binding) = (0u64, [0u64; 4]);
    for (place, least, most) in Hosts::of(view, wish).bounded(interval) {
        let (fit, class) = known(view, place, least, most, need).unwrap_or_else(|| asked(view, place, interval, need));
        largest = match wish.affinity {
            Some(true) => largest.max(u64::from(fit)),
            Some(false) => largest + u64::from(fit.min(1)),
            None => largest + u64::from(fit),
        };
        if let Some(class) = class {
            binding[class] += 1;
        }
    }
    let most = binding.iter().copied().max().filter(|most| *most > 0);
    let largest_amount = u32::try_from(largest).unwrap_or(u32::MAX);
    NoRoom {
        reservation,
        short_by: wish.amount.saturating_sub(largest_amount),
        tightest: most.and_then(|most| binding.iter().position(|count| *count == most)).map(|class| Class::ALL[class]),
        largest_amount,
        staging,
        ..NoRoom::default()
    }
}

/// The slots that fit on a host and the class that binds there, asked of its profile.
fn asked(view: &View<'_>, place: Place, interval: Interval, need: Amounts) -> (u32, Option<usize>) {
    let used = view.peak(place.host, interval);
    let fit = match view.is_as_booked(place.host) {
        true => remaining(place.room, used, need),
        false => view.fit(place.host, place.room, interval, need, u32::MAX),
    };
    (fit, tightest(slots_left(place.room, used, need)))
}

/// The same, where the index alone tells: when what may be booked at least and at most comes to the same.
fn known(view: &View<'_>, place: Place, least: Amounts, most: Option<Amounts>, need: Amounts) -> Option<(u32, Option<usize>)> {
    let most = most.filter(|most| most.fits_in(place.room) && view.is_as_booked(place.host))?;
    let (no_less, no_more) = (slots_left(place.room, most, need), slots_left(place.room, least, need));
    let class = tightest(no_less)?;
    // Of classes that are alike the first one binds.
    let binds = |other: usize| no_more[class] < no_less[other] || (no_more[class] == no_less[other] && class < other);
    let is_sure = no_less[class] == no_more[class] && (0..4).all(|other| other == class || binds(other));
    is_sure.then_some((no_less[class], Some(class)))
}

/// How many slots are left by each class alone; of one that a slot does not need more than any can be.
fn slots_left(room: Amounts, used: Amounts, need: Amounts) -> [u32; 4] {
    let (free, need) = (room.saturating_sub(used).to_array(), need.to_array());
    std::array::from_fn(|class| free[class].checked_div(need[class]).unwrap_or(u32::MAX))
}

/// The class of which the fewest slots are left.
fn tightest(slots: [u32; 4]) -> Option<usize> {
    (0..4).filter(|class| slots[*class] < u32::MAX).min_by_key(|class| slots[*class])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HostId;
    use crate::model::Seconds;
    use crate::plan::Overlay;
    use crate::plan::crowd::{DAY_S, ORIGIN_S, Random, crowded, now, wish};

    #[test]
    fn what_the_index_knows_is_what_the_profiles_say() {
        let mut random = Random(8);
        let state = crowded(300, 4000, &mut random);
        let mut overlay = Overlay::default();
        let window = Interval { start: Seconds(ORIGIN_S), end: Seconds(ORIGIN_S + DAY_S) };
        let amounts = Amounts { vcpus: 1, memory_mb: 1, disk_gb: 0, slots: 1 };
        let bookings: Vec<_> = (1..50).map(|host| (HostId(host), window, amounts)).collect();
        overlay.add(&state, &bookings);
        let (mut decided, mut all, mut full) = (0, 0, 0);
        for _ in 0..1000 {
            let wish = wish(&mut random);
            let start = ORIGIN_S + random.below(130 * DAY_S);
            let length = random.one_of(&[1, 3600, DAY_S, 30 * DAY_S, 90 * DAY_S]);
            let interval = Interval { start: Seconds(start), end: Seconds(start + 1 + random.below(length)) };
            let view = View { anchor: random.one_of(&Anchor::ALL), ..View::new(&state, &overlay, now()) };
            for (place, least, most) in Hosts::of(&view, &wish).bounded(interval) {
                let by_profile = asked(&view, place, interval, wish.need());
                assert_eq!(by_profile.0, view.fit(place.host, place.room, interval, wish.need(), u32::MAX));
                all += 1;
                if let Some(by_index) = known(&view, place, least, most, wish.need()) {
                    assert_eq!(by_index, by_profile, "{place:?} {interval:?} {wish:?}");
                    decided += 1;
                    full += u32::from(by_index.0 == 0);
                }
            }
        }
        assert!(decided * 3 > all && full * 20 > decided, "{decided} of {all} were decided, {full} as full");
    }
}
