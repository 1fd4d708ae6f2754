//! Whole hosts that nobody has anything on: how many there are over a window, from when on there are so many, and what a lease of
//! them would come to (what a reservation of `physical:host` will need).
//!
//! Nothing here is booked: the log knows no reservation of whole hosts until they can be fenced (docs/decisions/0024). What
//! floats is what one question asks for, and all of this is derived from the state when it is asked. `ask.rs` has the
//! question about a lease, `ground.rs` says which hosts there are and who may have which, `class.rs` counts those that are alike
//! (scheduling-design T3) and `bind.rs` binds them late, `share.rs` shares hosts among reservations, `placing.rs` among the
//! leases of a series, `starts.rs` finds the first start, at which `enough.rs` says that all suffices.

mod ask;
mod bind;
mod class;
mod enough;
mod ground;
mod placing;
mod share;
mod starts;

use std::collections::BTreeSet;

use crate::model::{HostId, InstanceWish, Interval, Seconds, Timestamp};
use crate::state::State;

pub use ask::{HostAmount, HostReservation, OccurrenceHosts, WhatIfHosts, what_if_hosts, what_if_hosts_series};
pub use bind::Floating;
pub use class::HostClass;

use ground::{Demand, Ground};

/// How many whole hosts are free for all of what is still to come of a window.
#[must_use]
pub fn whole_hosts(
    state: &State,
    kind: &InstanceWish,
    among: Option<&BTreeSet<HostId>>,
    window: Interval,
    now: Timestamp,
) -> u32 {
    let demands = [Demand::of(kind.clone(), among)];
    u32::try_from(Ground::of(state, &demands, now).free(window).len()).unwrap_or(u32::MAX)
}

/// The first second from `from` on at which so many whole hosts are free for `length_s` seconds (`None`: without end); `None`
/// when there is none within a year, or none was found within the steps of hosts that one question may look at.
#[must_use]
pub fn first_whole_hosts(
    state: &State,
    (kind, amount): (&InstanceWish, u32),
    among: Option<&BTreeSet<HostId>>,
    from: Seconds,
    length_s: Option<u32>,
    now: Timestamp,
) -> Option<Seconds> {
    let from = from.max(now.max(state.clock()).floor_to_second());
    let demands = [Demand::of(kind.clone(), among)];
    starts::first(&Ground::of(state, &demands, now), &[amount], from, length_s, None, starts::STEPS_MAX)
}

/// The class of all whole hosts of a kind on which nothing is bound in what is still to come of a span.
#[must_use]
pub fn host_class(state: &State, kind: &InstanceWish, span: Interval, now: Timestamp) -> HostClass {
    let demands = [Demand::of(kind.clone(), None)];
    HostClass::new(Ground::of(state, &demands, now).free(span).into_iter().map(|(host, _)| host).collect())
}
