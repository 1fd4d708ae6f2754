//! Numbers drawn from a seed.

/// Numbers drawn from a seed by stream and counter.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    seed: u64,
    stream: u64,
    counter: u64,
}

impl Draw {
    /// A stream of its own for each purpose.
    pub fn new(seed: u64, stream: u64) -> Draw {
        Draw { seed, stream, counter: 0 }
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.counter += 1;
        Draw::at(self.seed, self.stream, self.counter)
    }

    /// The number at one place. SplitMix64's finaliser over seed, stream and counter.
    pub fn at(seed: u64, stream: u64, counter: u64) -> u64 {
        let mut z = seed ^ stream.rotate_left(32) ^ counter.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for _ in 0..2 {
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
        }
        z
    }

    /// An index below `bound`; 0 for 0.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next_u64() % (bound.max(1) as u64)).unwrap_or(0)
    }

    /// A number of `low..high`; `low` when the span is empty.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        if high <= low { low } else { low + self.next_u64() % (high - low) }
    }
}
