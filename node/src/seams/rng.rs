//! Randomness, for identifiers and spread. Nothing secret is made here except by way of [`SystemRng`], which is a
//! cryptographic generator seeded by the operating system.

use rand::RngCore;
use uuid::{Builder, Uuid};

/// A source of random numbers.
pub trait Rng: Send + Sync + 'static {
    /// The next 64 random bits.
    fn next_u64(&self) -> u64;

    /// Fills `bytes` with random bits.
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next_u64().to_le_bytes()[..chunk.len()]);
        }
    }
}

impl dyn Rng {
    /// A random (version 4) UUID.
    #[must_use]
    pub fn uuid_v4(&self) -> Uuid {
        let mut bytes = [0; 16];
        self.fill(&mut bytes);
        Builder::from_random_bytes(bytes).into_uuid()
    }

    /// A time-ordered (version 7) UUID made at `now_ms`, UTC milliseconds.
    #[must_use]
    pub fn uuid_v7(&self, now_ms: u64) -> Uuid {
        let mut bytes = [0; 10];
        self.fill(&mut bytes);
        Builder::from_unix_timestamp_millis(now_ms, &bytes).into_uuid()
    }

    /// A number below `bound`, for spread rather than for fairness: the bias is below `bound / 2^64`. Zero for zero.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        self.next_u64().checked_rem(bound).unwrap_or(0)
    }
}

/// Each thread's own generator, ChaCha seeded, and from time to time seeded anew, by the operating system. A lease needs
/// some ten ids: asking the kernel for each was a twentieth of the time of creating one.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn next_u64(&self) -> u64 {
        rand::rng().next_u64()
    }

    fn fill(&self, bytes: &mut [u8]) {
        rand::rng().fill_bytes(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn uuids_carry_their_version_and_a_version_seven_its_time() {
        let rng: Arc<dyn Rng> = Arc::new(SystemRng);
        assert_eq!(rng.uuid_v4().get_version_num(), 4);
        let made = rng.uuid_v7(1_763_800_000_123);
        assert_eq!(made.get_version_num(), 7);
        let (secs, nanos) = made.get_timestamp().map(|t| t.to_unix()).unwrap_or_default();
        assert_eq!((secs, nanos / 1_000_000), (1_763_800_000, 123));
        assert_ne!(rng.uuid_v4(), rng.uuid_v4());
        assert_eq!(rng.below(0), 0);
        assert!(rng.below(10) < 10);
    }
}
