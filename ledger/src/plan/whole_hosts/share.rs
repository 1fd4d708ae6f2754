//! How hosts are shared among reservations that want some of the same: exactly, by augmenting paths (a flow from reservations
//! to groups of hosts that are alike). What a reservation has, it keeps the number of; which hosts these are of may change.

use std::collections::VecDeque;

use super::ground::Takers;

/// Groups of hosts, and how many of each the reservations have.
pub(super) struct Share {
    groups: Vec<Group>,
    /// By reservation, by group.
    given: Vec<Vec<u32>>,
}

struct Group {
    takers: Takers,
    hosts: u32,
    given: u32,
}

impl Share {
    /// So many reservations have nothing yet of these groups: who may have hosts of it, and how many there are.
    pub fn new(reservations: usize, groups: impl Iterator<Item = (Takers, u32)>) -> Share {
        let mut groups: Vec<Group> = groups.map(|(takers, hosts)| Group { takers, hosts, given: 0 }).collect();
        // What fewer may have is given first, so that what is left is of use to more.
        groups.sort_by_key(|group| (group.takers.count_ones(), group.takers));
        Share { given: vec![vec![0; groups.len()]; reservations], groups }
    }

    /// How many hosts a reservation has.
    pub fn has(&self, reservation: usize) -> u32 {
        self.given[reservation].iter().sum()
    }

    /// How many hosts a reservation has of each group, where it has any.
    pub fn given(&self, reservation: usize) -> impl Iterator<Item = (Takers, u32)> + '_ {
        let groups = self.groups.iter().map(|group| group.takers);
        groups.zip(&self.given[reservation]).map(|(takers, given)| (takers, *given)).filter(|(_, given)| *given > 0)
    }

    /// Gives a reservation hosts until it has `wanted`, or as many as it can have while all others keep as many as they have;
    /// tells how many.
    pub fn raise(&mut self, reservation: usize, wanted: u32) -> u32 {
        let mut has = self.has(reservation);
        while has < wanted {
            let more = self.augment(reservation, wanted - has);
            if more == 0 {
                break;
            }
            has += more;
        }
        has
    }

    /// One path from a reservation, by way of others that can have other hosts instead of theirs, to a group with free hosts;
    /// gives at most `wanted` along it, and tells how many: 0 when there is none.
    fn augment(&mut self, reservation: usize, wanted: u32) -> u32 {
        // From whom a reservation was reached, and which group it would leave some hosts of to that one.
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; self.given.len()];
        let mut queue = VecDeque::from([reservation]);
        while let Some(taker) = queue.pop_front() {
            for (at, group) in self.groups.iter().enumerate().filter(|(_, group)| group.takers >> taker & 1 == 1) {
                if group.given < group.hosts {
                    return self.give_along(reservation, &reached, taker, at, wanted.min(group.hosts - group.given));
                }
                for (other, given) in self.given.iter().enumerate() {
                    if given[at] > 0 && other != reservation && reached[other].is_none() {
                        reached[other] = Some((taker, at));
                        queue.push_back(other);
                    }
                }
            }
        }
        0
    }

    fn give_along(
        &mut self,
        reservation: usize,
        reached: &[Option<(usize, usize)>],
        last: usize,
        free: usize,
        wanted: u32,
    ) -> u32 {
        // From the group with free hosts back to the reservation that wants more.
        let steps: Vec<(usize, usize, usize)> = std::iter::successors(Some(last), |taker| reached[*taker].map(|(from, _)| from))
            .take_while(|taker| *taker != reservation)
            .filter_map(|taker| reached[taker].map(|(from, group)| (taker, group, from)))
            .collect();
        let more = steps.iter().map(|(taker, group, _)| self.given[*taker][*group]).fold(wanted, u32::min);
        self.groups[free].given += more;
        self.given[last][free] += more;
        for (taker, group, from) in steps {
            self.given[taker][group] -= more;
            self.given[from][group] += more;
        }
        more
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Takers = 0b01;
    const SECOND: Takers = 0b10;

    #[test]
    fn whoever_may_have_others_makes_room_for_whoever_may_not() {
        // The first may have hosts of every kind, the second, which comes later, those of one.
        let mut share = Share::new(2, [(FIRST | SECOND, 3), (FIRST, 2)].into_iter());
        assert_eq!(share.raise(0, 4), 4);
        assert_eq!(share.given(0).collect::<Vec<_>>(), [(FIRST, 2), (FIRST | SECOND, 2)]);
        assert_eq!(share.raise(1, 1), 1, "there is one left");
        assert_eq!(share.raise(1, 2), 1, "nobody gives up what he has");
        assert_eq!((share.has(0), share.raise(0, 9)), (4, 4));

        let mut share = Share::new(3, [(FIRST | SECOND, 2), (SECOND | 0b100, 2)].into_iter());
        assert_eq!((share.raise(1, 2), share.raise(2, 2), share.raise(0, 2)), (2, 2, 0), "the second has those of the first");
        let mut share = Share::new(3, [(FIRST | SECOND, 2), (SECOND | 0b100, 2)].into_iter());
        assert_eq!((share.raise(0, 1), share.raise(1, 2), share.raise(2, 1)), (1, 2, 1), "by way of the second");
    }
}
