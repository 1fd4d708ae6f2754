//! Numbers drawn from the seed: `hash(seed, stream, counter)`, so that one stream more or less moves no other.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use leasehold_node::seams::Rng;

use crate::plan::Draw;

/// One of several names as a stream's number.
pub fn stream(name: &str, parts: &[u64]) -> u64 {
    let mut hash = xxhash_rust::xxh3::xxh3_64(name.as_bytes());
    for part in parts {
        hash = hash.rotate_left(17).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ part.wrapping_add(0x632B_E59B_D9B4_E019);
    }
    hash
}

/// The `counter`th number of a stream.
pub fn at(seed: u64, stream: u64, counter: u64) -> u64 {
    Draw::at(seed, stream, counter)
}

/// A part of a duration range, by a drawn number.
pub fn spread(low_us: u64, high_us: u64, drawn: u64) -> Duration {
    Duration::from_micros(low_us + drawn % (high_us.saturating_sub(low_us) + 1))
}

/// A node's randomness in one of its lives.
#[derive(Debug)]
pub struct SimRng {
    seed: u64,
    stream: u64,
    counter: AtomicU64,
}

impl SimRng {
    /// A stream of its own for each life of each node.
    pub fn new(seed: u64, node: u64, life: u32) -> SimRng {
        SimRng { seed, stream: stream("node", &[node, u64::from(life)]), counter: AtomicU64::new(0) }
    }
}

impl Rng for SimRng {
    fn next_u64(&self) -> u64 {
        at(self.seed, self.stream, self.counter.fetch_add(1, Ordering::Relaxed))
    }
}
