//! The hosts that a wish may be placed on, without looking at each.

use super::room::{View, remaining};
use crate::model::{Amounts, HostId, InstanceWish, Interval, PoolKind, Requirement, meets};
use crate::state::{HostBlock, HostKind, Window, block_of, host_at};

/// A host, and what there is to know of it for a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub host: HostId,
    /// C − F.
    pub room: Amounts,
    pub pool: PoolKind,
}

/// Hosts of the kind that a wish asks for, with the anchor of the view: those of which [`View::eligible`] says yes.
pub(super) struct Hosts<'a> {
    view: &'a View<'a>,
    kind: HostKind<'a>,
}

impl<'a> Hosts<'a> {
    pub fn of(view: &'a View<'a>, wish: &'a InstanceWish) -> Self {
        Hosts { view, kind: view.state.host_index().kind(wish, view.anchor) }
    }

    /// Those of one pool that may have room for `need` over what is to come of an interval; the others are proven to have
    /// none. By number, beginning at one and going round.
    pub fn with_room(
        &self,
        pool: PoolKind,
        interval: Interval,
        need: Amounts,
        begin: HostId,
    ) -> impl Iterator<Item = Place> + '_ {
        let (first, lane) = block_of(begin);
        let index = self.view.state.host_index();
        let before = (1u64 << lane) - 1;
        let then =
            index.blocks_from(first).map(move |(number, block)| (number, block, if number == first { !before } else { !0 }));
        let last = index.blocks().take_while(move |(number, _)| *number <= first);
        let last = last.map(move |(number, block)| (number, block, if number == first { before } else { !0 }));
        then.chain(last).flat_map(move |(number, block, part)| {
            let hosts = part & block.of_pool(pool) & self.kind.hosts(number, block);
            let hosts = if hosts == 0 { 0 } else { hosts & self.possible(number, block, interval, need) };
            self.places(number, block, hosts)
        })
    }

    /// Those that may have room for `need` over an interval, by number, with the most slots of the wish that may fit there.
    /// `None` for an interval: as if nothing were booked.
    pub fn at_most(&self, interval: Option<Interval>, need: Amounts, slot: Amounts) -> impl Iterator<Item = (Place, u32)> + '_ {
        self.masks().flat_map(move |(number, block, hosts)| {
            let window = interval.map_or_else(Window::nothing, |interval| self.view.state.calendar().window(number, interval));
            let given_up = self.given_up(number);
            let hosts = hosts & (window.possible(&block.rooms, need) | given_up);
            self.places(number, block, hosts).map(move |place| {
                let (_, lane) = block_of(place.host);
                let taken = if given_up >> lane & 1 == 1 { Amounts::default() } else { window.at_least(lane) };
                (place, remaining(place.room, taken, slot))
            })
        })
    }

    /// All of them, by number, with what is booked there at least, and at most as far as is known, at the worst instant of what
    /// is still to come of an interval, class by class.
    pub fn bounded(&self, interval: Interval) -> impl Iterator<Item = (Place, Amounts, Option<Amounts>)> + '_ {
        self.masks().flat_map(move |(number, block, hosts)| {
            let window = self.window(number, interval);
            self.places(number, block, hosts).map(move |place| {
                let (_, lane) = block_of(place.host);
                (place, window.at_least(lane), window.at_most(lane))
            })
        })
    }

    /// All of them, by number, with so many slots of the wish that fit there over an interval for sure.
    pub fn at_least(&self, interval: Interval, slot: Amounts) -> impl Iterator<Item = (Place, u32)> + '_ {
        self.masks().flat_map(move |(number, block, hosts)| {
            let window = self.view.state.calendar().window(number, interval);
            self.places(number, block, hosts).map(move |place| {
                let (_, lane) = block_of(place.host);
                (place, window.at_most(lane).map_or(0, |used| remaining(place.room, used, slot)))
            })
        })
    }

    fn masks(&self) -> impl Iterator<Item = (u64, &HostBlock, u64)> + '_ {
        let blocks = self.view.state.host_index().blocks();
        blocks.map(|(number, block)| (number, block, self.kind.hosts(number, block))).filter(|(_, _, hosts)| *hosts != 0)
    }

    /// What the index says of what is still to come of an interval.
    fn window(&self, number: u64, interval: Interval) -> Window {
        interval.to_come(self.view.now).map_or_else(Window::nothing, |to_come| self.view.state.calendar().window(number, to_come))
    }

    fn possible(&self, number: u64, block: &HostBlock, interval: Interval, need: Amounts) -> u64 {
        self.view.look(1);
        let window = self.window(number, interval);
        window.possible(&block.rooms, need) | self.given_up(number)
    }

    /// The hosts of a block on which something is given up, a bit each: that is still in the index, which proves nothing of them.
    fn given_up(&self, number: u64) -> u64 {
        let own = self.view.own_on(host_at(number, 0), host_at(number, 63)).iter().map(|booking| block_of(booking.host).1);
        own.fold(0, |hosts, lane| hosts | 1 << lane)
    }

    fn places(&self, number: u64, block: &'a HostBlock, mut hosts: u64) -> impl Iterator<Item = Place> + '_ {
        let dedicated = block.of_pool(PoolKind::Dedicated);
        let lanes = std::iter::from_fn(move || {
            let lane = hosts.trailing_zeros() as usize;
            hosts &= hosts.wrapping_sub(1);
            (lane < 64).then_some(lane)
        });
        let place = move |lane: usize| Place {
            host: host_at(number, lane),
            room: block.rooms[lane],
            pool: if dedicated >> lane & 1 == 1 { PoolKind::Dedicated } else { PoolKind::Shared },
        };
        lanes.map(place).filter(|place| self.view.may_use(place.host) && self.meets_asked(place.host))
    }

    fn meets_asked(&self, host: HostId) -> bool {
        let asked: &[&Requirement] = &self.kind.asked;
        asked.is_empty() || self.view.state.host(host).is_some_and(|host| asked.iter().all(|term| meets(host, term)))
    }
}
