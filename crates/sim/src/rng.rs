//! Chance as a value: a seeded generator (SplitMix64, Steele et al. 2014), or none at all. The simulator's only source of
//! randomness.

/// The generator.
#[derive(Debug, Clone)]
pub(crate) struct Rng {
    state: u64,
    steady: bool,
}

impl Rng {
    /// From a seed.
    #[must_use]
    pub(crate) fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03, steady: false }
    }

    /// Without chance: everything takes its middle time and nothing happens by chance. For the explorer, which takes every
    /// turn itself.
    #[must_use]
    pub(crate) fn steady() -> Self {
        Self { state: 0, steady: true }
    }

    /// 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        if self.steady {
            self.state += 1;
            return self.state;
        }
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n` (0 for 0).
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        match n {
            0 => 0,
            _ if self.steady => n / 2,
            _ => self.next() % n,
        }
    }

    /// From `low` up to but without `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low))
    }

    /// True in `percent` of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        !self.steady && self.below(100) < percent
    }

    /// One of a list that is not empty.
    pub(crate) fn pick<T: Copy>(&mut self, list: &[T]) -> Option<T> {
        if list.is_empty() || self.steady {
            list.first().copied()
        } else {
            list.get(usize::try_from(self.below(list.len() as u64)).unwrap_or(0)).copied()
        }
    }
}
