//! What would fit instead, when a wish does not; when it would fit is in `starts.rs`.

use super::NoRoom;
use super::hosts::Hosts;
use super::room::View;
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

/// The failure that came further, or is less short; the first of two that are alike.
pub(super) fn closer(one: NoRoom, other: NoRoom) -> NoRoom {
    let closeness = |no_room: &NoRoom| (!no_room.staging, no_room.largest_amount);
    if closeness(&other) > closeness(&one) { other } else { one }
}

/// What is missing in one interval: the largest amount, the class that binds most.
pub(super) fn shortage(view: &View<'_>, reservation: usize, wish: &InstanceWish, interval: Interval, staging: bool) -> NoRoom {
    let need = wish.need();
    let (mut largest, mut binding) = (0u64, [0u64; 4]);
    for place in Hosts::of(view, wish).all() {
        let fit = view.fit(place.host, place.room, interval, need, u32::MAX);
        largest = match wish.affinity {
            Some(true) => largest.max(u64::from(fit)),
            Some(false) => largest + u64::from(fit.min(1)),
            None => largest + u64::from(fit),
        };
        if let Some(class) = tightest(place.room, view.peak(place.host, interval), need) {
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
        next_start: None,
        staging,
    }
}

/// The class of which the fewest slots are left.
fn tightest(room: Amounts, used: Amounts, need: Amounts) -> Option<usize> {
    let (free, need) = (room.saturating_sub(used).to_array(), need.to_array());
    (0..4).filter(|class| need[*class] > 0).min_by_key(|class| free[*class] / need[*class])
}
