//! Answers about capacity say what counting minute by minute says.

use leasehold_ledger::plan::{HostFilter, Piece, capacity, earliest_start, first_whole_hosts, what_fits, whole_hosts};

use super::*;

/// What hosts of a filter have reserved and available in one minute.
fn counted(run: &Run, filter: &HostFilter, second: u32) -> ([i64; 4], [i64; 4]) {
    let (mut reserved, mut available) = ([0; 4], [0; 4]);
    let hosts = run.world.state.hosts().filter(|host| filter.pool.is_none_or(|pool| pool == host.description.pool));
    for host in hosts.filter(|host| filter.hosts.as_ref().is_none_or(|among| among.contains(&host.id))) {
        let (have, used) = (room(host, second), used(&run.world.state, host.id.0, second, None));
        let taken = taken(&run.world.state, host, second, None);
        let open = host.reservable && host.observation.up && !host.overcommitted;
        for class in 0..4 {
            reserved[class] += used[class];
            available[class] += if open { (have[class] - taken[class]).max(0) } else { 0 };
        }
    }
    (reserved, available)
}

impl Run {
    /// Some questions, other ones with every seed.
    pub(super) fn check_questions(&mut self, seed: u32) {
        if !self.on_the_minute() {
            return;
        }
        let from = self.minute((seed % 7) as u8);
        let minutes = 1 + seed % 40;
        let window = Interval { start: Seconds(from), end: Seconds(from + minutes * 60) };
        self.check_capacity(window, seed);

        let now = self.world.at;
        let wish = InstanceWish {
            affinity: [None, Some(true), Some(false)][seed as usize % 3],
            pool: [None, Some(PoolKind::Dedicated), Some(PoolKind::Shared)][seed as usize / 3 % 3],
            ..InstanceWish::anywhere(1 + seed % 3, 100, 1, 1 + seed % 9)
        };
        let state = &self.world.state;
        let most = |start: u32, end: u32| ANCHORS.map(|anchor| largest(state, &wish, anchor, start, end, None)).into_iter().max();
        let fits = what_fits(state, &wish, None, window, now);
        assert_eq!(Some(i64::from(fits.largest_amount)), most(from, window.end.0), "{wish:?} in {window:?}");

        let length = minutes * 60;
        let found = earliest_start(state, &wish, None, window.start, None, Some(length), now).map(|start| start.0);
        let last = from + HORIZON * 60;
        let first = (from..last).step_by(60).find(|start| most(*start, start + length) >= Some(i64::from(wish.amount)));
        assert_eq!(found.filter(|start| *start < last), first, "{wish:?} for {minutes} minutes from {from}");
        let until = earliest_start(state, &wish, None, window.start, Some(window.end), Some(length), now).map(|start| start.0);
        assert_eq!(until, found.filter(|start| *start <= window.end.0));
        self.reach(if first == Some(from) { "fits at once" } else { "fits later or never" });
        self.check_whole_hosts(window, 1 + seed % 3, length);
    }

    /// Hosts of the dedicated pool on which nothing is taken in any minute.
    fn check_whole_hosts(&mut self, window: Interval, amount: u32, length_s: u32) {
        let (state, now) = (&self.world.state, self.world.at);
        let kind = InstanceWish::anywhere(0, 0, 0, amount);
        let free = |start: u32, end: u32| {
            let whole = state.hosts().filter(|host| {
                let open = host.reservable && host.observation.up && !host.overcommitted;
                let alone = host.description.pool == PoolKind::Dedicated && host.observation.firm == Amounts::default();
                open && alone && (start..end).step_by(60).all(|second| taken(state, host, second, None) == [0; 4])
            });
            whole.count() as u32
        };
        assert_eq!(whole_hosts(state, &kind, None, window, now), free(window.start.0, window.end.0), "in {window:?}");
        let found = first_whole_hosts(state, (&kind, amount), None, window.start, Some(length_s), now).map(|start| start.0);
        let last = window.start.0 + HORIZON * 60;
        let first = (window.start.0..last).step_by(60).find(|start| free(*start, start + length_s) >= amount);
        assert_eq!(found.filter(|start| *start < last), first, "{amount} whole hosts for {length_s} s from {}", window.start.0);
        self.reach(if first == Some(window.start.0) { "whole hosts at once" } else { "whole hosts later or never" });
    }

    fn check_capacity(&mut self, window: Interval, seed: u32) {
        let filter = HostFilter {
            pool: [None, Some(PoolKind::Shared)][seed as usize % 2],
            hosts: seed.is_multiple_of(5).then(|| [HostId(1), HostId(3), HostId(99)].into()),
            ..HostFilter::default()
        };
        for pieces_max in [1, 3, usize::MAX] {
            let answer = capacity(&self.world.state, &filter, window, pieces_max);
            assert!(answer.pieces.len() <= pieces_max && answer.pieces[0].start == window.start);
            let ends: Vec<u32> = answer.pieces.iter().skip(1).map(|piece| piece.start.0).chain([window.end.0]).collect();
            for (piece, end) in answer.pieces.iter().zip(&ends) {
                assert!(piece.start.0 < *end, "{answer:?}");
                // Pieces of equal length may cut a minute.
                let minutes = (piece.start.0 / 60 * 60..*end).step_by(60).map(|second| counted(self, &filter, second));
                let (most, least) = minutes.fold(([0; 4], [i64::MAX; 4]), |(most, least), (reserved, available)| {
                    (
                        std::array::from_fn(|class| i64::max(most[class], reserved[class])),
                        std::array::from_fn(|class| i64::min(least[class], available[class])),
                    )
                });
                assert_eq!((piece.reserved.map(|one| one as i64), piece.available.map(|one| one as i64)), (most, least));
            }
            if answer.pieces.len() == 3 {
                self.reach("capacity in pieces");
            }
            if pieces_max == usize::MAX {
                assert!(answer.pieces.windows(2).all(|pair| Piece { start: pair[1].start, ..pair[0] } != pair[1]));
            }
        }
    }
}
