//! The random numbers of simulations: xoshiro256++, seeded through splitmix64.
//!
//! Both are by Blackman and Vigna (<https://prng.di.unimi.it>). One seed gives one sequence on every
//! machine, which is what a simulation needs; nothing here is fit for secrets.

/// A seeded generator.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// The generator that `seed` names.
    pub fn new(seed: u64) -> Rng {
        let mut counter = seed;
        let state = std::array::from_fn(|_| {
            counter = counter.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = counter;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            mixed ^ (mixed >> 31)
        });
        Rng { state }
    }

    /// 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let [a, b, c, d] = self.state;
        let result = a.wrapping_add(d).rotate_left(23).wrapping_add(a);
        let (c, d) = (c ^ a, d ^ b);
        self.state = [a ^ d, b ^ c, c ^ (b << 17), d.rotate_left(45)];
        result
    }

    /// A number below `limit`.
    ///
    /// # Panics
    /// If `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        assert!(limit > 0);
        ((u128::from(self.next_u64()) * u128::from(limit)) >> 64) as u64
    }

    /// A size from 1 to `max`, small ones more often: the exponent is drawn first.
    ///
    /// # Panics
    /// If `max` is 0.
    pub fn size(&mut self, max: usize) -> usize {
        assert!(max > 0);
        let bits = u64::from(usize::BITS - max.leading_zeros());
        let limit = 1u64 << (1 + self.below(bits));
        1 + self.below(limit.min(max as u64)) as usize
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }

    /// Puts `items` into a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_is_the_published_one() {
        // The reference implementation's first outputs for the state 1, 2, 3, 4.
        let mut rng = Rng { state: [1, 2, 3, 4] };
        let first: Vec<u64> = (0..4).map(|_| rng.next_u64()).collect();
        let expected = [41943041, 58720359, 3588806011781223, 3591011842654386];
        assert_eq!(first, expected);
    }

    #[test]
    fn numbers_stay_in_their_limits_and_reach_them() {
        let mut rng = Rng::new(1);
        let mut seen = [0; 5];
        for _ in 0..1000 {
            seen[rng.below(5) as usize] += 1;
            assert!((1..=9).contains(&rng.size(9)));
        }
        assert!(seen.iter().all(|&count| count > 100), "{seen:?}");
        assert!((0..1000).any(|_| rng.size(9) == 9));
        assert!((0..100).all(|_| rng.size(1) == 1));
        assert!(!(0..100).any(|_| rng.chance(0)));
        assert!((0..100).all(|_| rng.chance(100)));
    }

    #[test]
    fn shuffle_keeps_every_item() {
        let mut items: Vec<u32> = (0..100).collect();
        Rng::new(3).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..100));
    }
}
