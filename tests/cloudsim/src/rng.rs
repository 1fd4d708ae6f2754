//! The cloud's own randomness: splitmix64 from the seed, so that one seed and one list of calls give one record.
//!
//! Nothing else in this package may draw random numbers or read a clock.

/// A splitmix64 generator.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.state)
    }

    /// A number in `0..bound`; 0 when `bound` is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.next() % bound }
    }

    /// True with the given probability (clamped to 0..=1).
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        // 53 bits are what an f64 holds exactly.
        let draw = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        draw < probability
    }

    /// An id in the form of a random (version 4) UUID.
    pub(crate) fn uuid(&mut self) -> String {
        let wide = (u128::from(self.next()) << 64) | u128::from(self.next());
        uuid::Builder::from_random_bytes(wide.to_be_bytes()).into_uuid().to_string()
    }

    /// An id as Keystone writes them: 32 hexadecimal digits.
    pub(crate) fn hex_id(&mut self) -> String {
        format!("{:016x}{:016x}", self.next(), self.next())
    }
}

/// The output function of splitmix64; also a good hash of one word.
pub(crate) fn mix(word: u64) -> u64 {
    let mut z = word;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// `digits` hexadecimal digits that depend on `text` alone.
pub(crate) fn digest(text: &str, digits: usize) -> String {
    let mut word = 0xcbf2_9ce4_8422_2325u64;
    for byte in text.bytes() {
        word = (word ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let mut hex = String::with_capacity(digits);
    while hex.len() < digits {
        word = mix(word.wrapping_add(1));
        let left = (digits - hex.len()).min(16);
        hex.extend((0..left).map(|at| char::from(b"0123456789abcdef"[(word >> (60 - 4 * at) & 15) as usize])));
    }
    hex
}
