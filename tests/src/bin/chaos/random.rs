//! Numbers that follow from a seed, the same on every machine and with every version of every crate: SplitMix64. Pure.

/// A stream of numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, without `high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.number() % (high - low)
    }

    pub(crate) fn percent(&mut self, chance: u64) -> bool {
        self.number() % 100 < chance
    }

    /// One of them; there must be one.
    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[chosen(self.number(), from.len())]
    }
}

/// Which of `length` things a number stands for.
pub(crate) fn chosen(number: u64, length: usize) -> usize {
    (number % length.max(1) as u64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_seed_are_always_the_same() {
        let mut random = Random::new(1_234_567);
        let seen: Vec<u64> = (0..3).map(|_| random.number()).collect();
        // From the reference implementation (Vigna, splitmix64.c).
        assert_eq!(seen, [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]);
    }
}
