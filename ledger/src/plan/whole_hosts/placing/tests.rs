//! Which hosts leases of a series leave to later ones.

use super::*;
use crate::command::{Command, StartWish};
use crate::model::{DowntimeId, InstanceWish, Withheld};
use crate::plan::crowd::now;
use crate::plan::inquiry::tests::{after, cloud, send};
use crate::plan::whole_hosts::ground::Demand;
use crate::state::State;

/// Nothing of a host can be had from one second to another.
pub(in crate::plan::whole_hosts) fn close(state: &mut State, host: u64, start: u32, end: u32) {
    let start = Some(StartWish::At(after(start)));
    let downtime_id = DowntimeId(uuid::Uuid::from_u128(u128::from(host) << 64 | u128::from(end)));
    let (host_id, withheld) = (HostId(host), Withheld::default());
    send(state, Command::SetDowntime { host_id, downtime_id, start, end: after(end), withheld });
}

#[test]
fn a_host_that_no_later_lease_of_its_time_can_have_is_given_first() {
    let mut state = cloud();
    close(&mut state, 1, 170, 200);
    close(&mut state, 2, 100, 120);
    let demands = [Demand::of(InstanceWish::anywhere(0, 0, 0, 1), None)];
    let windows = [(10, 100), (60, 160), (120, 220)].map(|(start, end)| Interval { start: after(start), end: after(end) });
    let mut placing = Placing::new(&Ground::of(&state, &demands, now()), &[Amount { min: 1, max: 1 }], &windows);
    // The second host is of use to the third lease, which begins when the first one is over.
    assert!(placing.place_all());
    assert_eq!(placing.bind(), [[[HostId(2)]], [[HostId(1)]], [[HostId(2)]]]);
}
