//! Numbers drawn from a seed: a stream of its own for each purpose, so that one more draw here moves nothing there.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
}

impl Draw {
    /// The stream `stream` of `seed`.
    pub fn new(seed: u64, stream: u64) -> Draw {
        Draw { state: seed ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93) }
    }

    /// The next number (SplitMix64).
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next_u64() % (high - low + 1)
    }

    /// True in `percent` of a hundred draws.
    pub fn chance(&mut self, percent: u64) -> bool {
        self.between(0, 99) < percent
    }

    /// One of these.
    ///
    /// Panics if there are none.
    pub fn one_of<'a, T>(&mut self, these: &'a [T]) -> &'a T {
        &these[self.between(0, these.len() as u64 - 1) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_and_streams_differ() {
        let draw = |seed, stream| (0..4).scan(Draw::new(seed, stream), |draw, _| Some(draw.next_u64())).collect::<Vec<_>>();
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn both_ends_of_a_range_are_drawn() {
        let mut draw = Draw::new(1, 1);
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| draw.between(3, 5)).collect();
        assert_eq!(drawn, [3, 4, 5].into());
    }
}
