//! Which hosts there are for some reservations of whole hosts, and who of them may have which.
//!
//! Two hosts that the same reservations may have are alike for the question that asks for them, whatever else tells them apart:
//! that is what makes a class.

use std::collections::BTreeSet;

use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind, Seconds, Timestamp, meets};
use crate::state::{HOSTS, HostKind, State, Window, host_at};

/// Who may have a host: a bit for each reservation, by place in the question.
pub(super) type Takers = u8;

/// Reservations of whole hosts of one lease at most: so there are at most 255 groups of hosts that are alike.
pub(super) const HOST_RESERVATIONS_MAX: usize = Takers::BITS as usize;

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

/// The hosts that accept leases, that no ordinary server is on, and that some reservation may have. Each host is asked once, however
/// many windows are looked at.
pub(super) struct Ground<'a> {
    pub state: &'a State,
    now: Seconds,
    blocks: Vec<Block>,
}

/// Those of one block of the index.
struct Block {
    number: u64,
    /// A bit for each.
    hosts: u64,
    /// By place in the block.
    takers: [Takers; HOSTS],
}

/// One demand, looked up for hosts with one kind of anchor: which one a host has does not matter here.
struct Asked<'a> {
    taker: Takers,
    kind: HostKind<'a>,
    among: Option<&'a BTreeSet<HostId>>,
}

impl<'a> Ground<'a> {
    pub fn of(state: &'a State, demands: &[Demand<'_>], now: Timestamp) -> Ground<'a> {
        assert!(demands.len() <= HOST_RESERVATIONS_MAX, "there is a bit for each");
        let anchors = state.anchors();
        let asked = demands.iter().enumerate().flat_map(|(place, demand)| {
            let look_up = move |anchor| Asked {
                taker: 1 << place,
                kind: state.host_index().kind(&demand.kind, anchor),
                among: demand.among,
            };
            anchors.iter().copied().map(look_up)
        });
        let asked: Vec<Asked<'_>> = asked.collect();
        let blocks = state.host_index().blocks().filter_map(|(number, block)| {
            let of_kind = asked.iter().map(|asked| (asked, asked.kind.hosts(number, block)));
            let here: Vec<(&Asked<'_>, u64)> = of_kind.filter(|(_, hosts)| *hosts != 0).collect();
            let takers: [Takers; HOSTS] = std::array::from_fn(|lane| {
                let of_kind = here.iter().filter(|(_, hosts)| hosts >> lane & 1 == 1).map(|(asked, _)| *asked);
                takers(state, host_at(number, lane), of_kind)
            });
            let hosts = (0..HOSTS).fold(0, |hosts, lane| hosts | u64::from(takers[lane] != 0) << lane);
            (hosts != 0).then_some(Block { number, hosts, takers })
        });
        Ground { state, now: now.max(state.clock()).floor_to_second(), blocks: blocks.collect() }
    }

    /// Those on which nothing is taken in all of what is still to come of a window, by number.
    pub fn free(&self, window: Interval) -> Vec<(HostId, Takers)> {
        let (mut free, calendar) = (Vec::new(), self.state.calendar());
        let to_come = window.to_come(self.now);
        self.each(to_come, |host, takers, sure| {
            if sure || to_come.is_none_or(|to_come| calendar.is_unused(host, to_come)) {
                free.push((host, takers));
            }
        });
        free
    }

    /// Tells of all, by number, but those of which it is proven that something is taken in an interval; and whether it is proven
    /// that nothing is.
    pub fn each(&self, interval: Option<Interval>, mut tell: impl FnMut(HostId, Takers, bool)) {
        for Block { number, hosts, takers } in &self.blocks {
            let window = interval.map_or_else(Window::nothing, |interval| self.state.calendar().window(*number, interval));
            // Of an upgrade that is to come the index says that its part is taken.
            let mut lanes = (window.idle() | self.state.calendar().not_yet_upgraded(*number)) & hosts;
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                tell(host_at(*number, lane), takers[lane], window.at_most(lane) == Some(Amounts::default()));
            }
        }
    }
}

/// Who may have a host, of those whose kind it is but for what is to be asked of each; nobody where an ordinary server stays.
fn takers<'a>(state: &State, id: HostId, mut of_kind: impl Iterator<Item = &'a Asked<'a>>) -> Takers {
    let Some(first) = of_kind.next() else { return 0 };
    let Some(host) = state.host(id).filter(|host| host.observation.firm == Amounts::default()) else { return 0 };
    let may = |asked: &Asked<'_>| {
        asked.among.is_none_or(|among| among.contains(&id)) && asked.kind.asked.iter().all(|term| meets(host, term))
    };
    std::iter::once(first).chain(of_kind).filter(|asked| may(asked)).fold(0, |takers, asked| takers | asked.taker)
}
