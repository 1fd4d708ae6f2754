//! Whether all reservations can have what they must, while hosts come and go: by counting alone, whoever gets which.

use super::ground::Takers;

/// What sets of reservations lack. Hall's theorem: all of them have enough exactly when each set of them finds as many hosts as
/// it wants together, of those that some of the set may have.
pub(super) struct Enough {
    /// By set, a bit for each reservation: the hosts that some of it may have, less those that it wants.
    spare: Vec<i64>,
    /// So many sets lack some.
    short: usize,
}

impl Enough {
    /// There are no hosts yet for reservations that want so many.
    pub fn new(wanted: &[u32]) -> Enough {
        let of = |set: usize| wanted.iter().enumerate().filter(move |(place, _)| set >> place & 1 == 1);
        let spare: Vec<i64> =
            (0..1usize << wanted.len()).map(|set| -of(set).map(|(_, one)| i64::from(*one)).sum::<i64>()).collect();
        Enough { short: spare.iter().filter(|spare| **spare < 0).count(), spare }
    }

    /// There are so many hosts more, or less, that these may have.
    pub fn change(&mut self, takers: Takers, by: i64) {
        for (set, spare) in self.spare.iter_mut().enumerate().filter(|(set, _)| set & usize::from(takers) != 0) {
            debug_assert_ne!(set, 0, "nobody wants nothing");
            let (was, is) = (*spare < 0, *spare + by < 0);
            *spare += by;
            self.short = self.short + usize::from(is) - usize::from(was);
        }
    }

    /// Whether all have what they must.
    pub fn for_all(&self) -> bool {
        self.short == 0
    }
}

#[cfg(test)]
mod tests {
    use super::super::share::Share;
    use super::*;

    #[test]
    fn it_is_enough_exactly_when_hosts_can_be_shared_so() {
        let mut number = 1u64;
        let mut below = |bound: u64| {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (number >> 33) % bound
        };
        let (mut both, mut neither) = (0, 0);
        for _ in 0..2_000 {
            let wanted: Vec<u32> = (0..=below(4)).map(|_| 1 + below(4) as u32).collect();
            let mut groups = vec![0u32; 1 << wanted.len()];
            let mut enough = Enough::new(&wanted);
            for _ in 0..12 {
                let takers = 1 + below(groups.len() as u64 - 1) as usize;
                let by = if groups[takers] > 0 && below(3) == 0 { -1 } else { 1 };
                groups[takers] = groups[takers].strict_add_signed(by);
                enough.change(takers as Takers, i64::from(by));
                let hosts = groups.iter().enumerate().skip(1).map(|(takers, hosts)| (takers as Takers, *hosts));
                let mut share = Share::new(wanted.len(), hosts);
                let shared = wanted.iter().enumerate().all(|(place, wanted)| share.raise(place, *wanted) == *wanted);
                assert_eq!(enough.for_all(), shared, "{groups:?} for {wanted:?}");
                *(if shared { &mut both } else { &mut neither }) += 1;
            }
        }
        assert!(both > 1_000 && neither > 1_000, "{both} and {neither}");
    }
}
