//! Which hosts there are for some reservations of whole hosts, and who of them may have which.
//!
//! Two hosts that the same reservations may have are alike for the question that asks for them, whatever else tells them apart:
//! that is what makes a class.

use std::collections::BTreeSet;

use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind, Seconds, Timestamp, meets};
use crate::state::{HostKind, State, Window, host_at};

/// Who may have a host: a bit for each reservation, by place in the question. A lease has at most 64.
pub(super) type Takers = u64;

/// What one reservation asks of its hosts.
pub(super) struct Demand<'a> {
    kind: InstanceWish,
    among: Option<&'a BTreeSet<HostId>>,
}

impl<'a> Demand<'a> {
    /// Hosts of a kind in the dedicated pool; sizes do not matter.
    pub fn of(kind: InstanceWish, among: Option<&'a BTreeSet<HostId>>) -> Demand<'a> {
        Demand { kind: InstanceWish { pool: Some(PoolKind::Dedicated), ..kind }, among }
    }
}

/// The hosts that accept leases, that no ordinary server is on, and that some reservation may have.
pub(super) struct Ground<'a> {
    pub state: &'a State,
    now: Seconds,
    asked: Vec<Asked<'a>>,
}

/// One demand, looked up for hosts with one kind of anchor: which one a host has does not matter here.
struct Asked<'a> {
    taker: Takers,
    kind: HostKind<'a>,
    among: Option<&'a BTreeSet<HostId>>,
}

impl<'a> Ground<'a> {
    pub fn of(state: &'a State, demands: &'a [Demand<'a>], now: Timestamp) -> Ground<'a> {
        let anchors = state.anchors();
        let asked = demands.iter().enumerate().flat_map(|(place, demand)| {
            let look_up = move |anchor| Asked {
                taker: 1 << place,
                kind: state.host_index().kind(&demand.kind, anchor),
                among: demand.among,
            };
            anchors.iter().copied().map(look_up)
        });
        Ground { state, now: now.max(state.clock()).floor_to_second(), asked: asked.collect() }
    }

    /// Those on which nothing is taken in all of what is still to come of a window, by number.
    pub fn free(&self, window: Interval) -> Vec<(HostId, Takers)> {
        let (mut free, calendar) = (Vec::new(), self.state.calendar());
        let to_come = window.to_come(self.now);
        self.each(to_come, |host, takers, sure| {
            if sure || to_come.is_none_or(|to_come| calendar.taken(host, to_come) == Amounts::default()) {
                free.push((host, takers));
            }
        });
        free
    }

    /// Tells of all, by number, but those of which it is proven that something is taken in an interval; and whether it is proven
    /// that nothing is.
    pub fn each(&self, interval: Option<Interval>, mut tell: impl FnMut(HostId, Takers, bool)) {
        for (number, block) in self.state.host_index().blocks() {
            let of_kind = self.asked.iter().map(|asked| (asked, asked.kind.hosts(number, block)));
            let here: Vec<(&Asked<'a>, u64)> = of_kind.filter(|(_, hosts)| *hosts != 0).collect();
            if here.is_empty() {
                continue;
            }
            let window = interval.map_or_else(Window::nothing, |interval| self.state.calendar().window(number, interval));
            let mut lanes = window.idle() & here.iter().fold(0, |lanes, (_, hosts)| lanes | hosts);
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                let takers = self.takers(host_at(number, lane), here.iter().filter(|(_, hosts)| hosts >> lane & 1 == 1));
                if takers != 0 {
                    tell(host_at(number, lane), takers, window.at_most(lane) == Some(Amounts::default()));
                }
            }
        }
    }

    /// Who may have a host, of those whose kind it is but for what is to be asked of each; nobody where an ordinary server stays.
    fn takers<'b>(&self, id: HostId, of_kind: impl Iterator<Item = &'b (&'b Asked<'a>, u64)>) -> Takers
    where
        'a: 'b,
    {
        let Some(host) = self.state.host(id).filter(|host| host.observation.firm == Amounts::default()) else { return 0 };
        let may = |asked: &Asked<'_>| {
            asked.among.is_none_or(|among| among.contains(&id)) && asked.kind.asked.iter().all(|term| meets(host, term))
        };
        of_kind.filter(|(asked, _)| may(asked)).fold(0, |takers, (asked, _)| takers | asked.taker)
    }
}
