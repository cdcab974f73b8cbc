//! Which key comes next: a seeded generator, and keys that are uniform, Zipf-distributed, partly hot, in order, or mostly new.
//!
//! Design: Zipf by rejection-inversion (Hoermann and Derflinger 1996), which takes no set-up time and no memory however
//! many keys there are. Ranks are then scattered over the keys, because a fill writes keys in order, and hot keys would
//! otherwise lie side by side in the server's memory.

use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::Fatal;

/// Most keys: their numbers are scattered by a product that must fit 64 bits.
pub const KEYS_MAX: u64 = 1 << 31;
/// A prime larger than `KEYS_MAX`, so that it shares no factor with any number of keys.
const SCATTER: u64 = 2_654_435_761;

const _: () = assert!(SCATTER > KEYS_MAX);
const _: () = assert!(SCATTER < 1 << 32);

/// A small generator of good quality (splitmix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Seeded; different seeds give unrelated sequences.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// 64 random bits.
    #[inline]
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    #[inline]
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.bits()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// How keys are distributed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    /// All alike.
    Uniform,
    /// By Zipf, with this exponent.
    Zipf(f64),
    /// This share of the keys gets that share of the requests.
    Hot(f64, f64),
    /// One after the other, over and over.
    Sequential,
    /// By Zipf, from the newest to the oldest.
    Latest(f64),
}

impl FromStr for Distribution {
    type Err = Fatal;

    /// `uniform`, `zipf:0.99`, `hot:20:80` (percent of keys and of requests), `sequential`, `latest`.
    fn from_str(text: &str) -> Result<Distribution, Fatal> {
        let wrong = || {
            Fatal(format!(
                "'{text}' is no distribution of keys: uniform, zipf:0.99, hot:20:80, sequential or latest"
            ))
        };
        let within = |text: &str, most: f64| {
            text.parse().ok().filter(|number| *number > 0.0 && *number <= most).ok_or_else(wrong)
        };
        let words: Vec<&str> = text.split(':').collect();
        match words[..] {
            ["uniform"] => Ok(Distribution::Uniform),
            ["zipf"] => Ok(Distribution::Zipf(ZIPF)),
            ["zipf", exponent] => Ok(Distribution::Zipf(within(exponent, 10.0)?)),
            ["hot", keys, requests] => {
                Ok(Distribution::Hot(within(keys, 100.0)? / 100.0, within(requests, 100.0)? / 100.0))
            }
            ["sequential"] => Ok(Distribution::Sequential),
            ["latest"] => Ok(Distribution::Latest(ZIPF)),
            _ => Err(wrong()),
        }
    }
}

/// The exponent that is meant if none is said.
pub const ZIPF: f64 = 0.99;

/// How keys are drawn.
#[derive(Debug)]
pub struct KeyPicker {
    keys: u64,
    how: How,
    /// The next of keys in order, for all threads.
    next: AtomicU64,
}

#[derive(Clone, Debug)]
enum How {
    Uniform,
    Zipf(Zipf),
    Hot { keys: u64, requests: f64 },
    Sequential,
    Latest(Zipf),
}

impl KeyPicker {
    /// Keys `0..keys`, uniform or with this Zipf exponent (above 0; 0.99 is common).
    pub fn new(keys: u64, zipf: Option<f64>) -> KeyPicker {
        KeyPicker::of(keys, zipf.map_or(Distribution::Uniform, Distribution::Zipf))
    }

    /// Keys `0..keys`, distributed like this.
    pub fn of(keys: u64, distribution: Distribution) -> KeyPicker {
        assert!((1..=KEYS_MAX).contains(&keys));
        let how = match distribution {
            Distribution::Uniform => How::Uniform,
            Distribution::Zipf(exponent) => How::Zipf(Zipf::new(keys, exponent)),
            Distribution::Hot(share, requests) => {
                How::Hot { keys: ((keys as f64 * share) as u64).max(1), requests }
            }
            Distribution::Sequential => How::Sequential,
            Distribution::Latest(exponent) => How::Latest(Zipf::new(keys, exponent)),
        };
        KeyPicker { keys, how, next: AtomicU64::new(0) }
    }

    /// The number of keys.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Draws a key.
    #[inline]
    pub fn pick(&self, random: &mut Random) -> u64 {
        self.pick_of(self.keys, random)
    }

    /// Draws a key when there are `keys_now`, not fewer than in the beginning: only the latest looks at the new ones.
    #[inline]
    pub fn pick_of(&self, keys_now: u64, random: &mut Random) -> u64 {
        match &self.how {
            How::Uniform => random.below(self.keys),
            How::Zipf(zipf) => self.scatter(zipf.rank(random) - 1),
            // Hot keys too lie scattered over the fill.
            How::Hot { keys, requests } if random.unit() < *requests => self.scatter(random.below(*keys)),
            How::Hot { keys, .. } if *keys == self.keys => self.scatter(random.below(self.keys)),
            How::Hot { keys, .. } => self.scatter(keys + random.below(self.keys - keys)),
            How::Sequential => self.next.fetch_add(1, Ordering::Relaxed) % self.keys,
            How::Latest(zipf) => keys_now - zipf.rank(random).min(keys_now),
        }
    }

    fn scatter(&self, rank: u64) -> u64 {
        rank * SCATTER % self.keys
    }
}

/// Ranks `1..=n` with probability proportional to `rank.powf(-exponent)`.
#[derive(Clone, Debug)]
struct Zipf {
    n: f64,
    exponent: f64,
    area_first: f64,
    area_last: f64,
    accepted_at_once: f64,
}

impl Zipf {
    fn new(n: u64, exponent: f64) -> Zipf {
        assert!(exponent > 0.0);
        let mut zipf = Zipf { n: n as f64, exponent, area_first: 0.0, area_last: 0.0, accepted_at_once: 0.0 };
        zipf.area_first = zipf.area(1.5) - 1.0;
        zipf.area_last = zipf.area(zipf.n + 0.5);
        zipf.accepted_at_once = 2.0 - zipf.area_inverse(zipf.area(2.5) - zipf.height(2.0));
        zipf
    }

    fn height(&self, x: f64) -> f64 {
        x.powf(-self.exponent)
    }

    /// Integral of `height` from 1 to x.
    fn area(&self, x: f64) -> f64 {
        let slope = 1.0 - self.exponent;
        let log = x.ln();
        if (slope * log).abs() < 1e-8 { log } else { (slope * log).exp_m1() / slope }
    }

    fn area_inverse(&self, area: f64) -> f64 {
        let slope = 1.0 - self.exponent;
        if (slope * area).abs() < 1e-8 { area.exp() } else { ((slope * area).ln_1p() / slope).exp() }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        loop {
            let area = self.area_last + random.unit() * (self.area_first - self.area_last);
            let x = self.area_inverse(area);
            let rank = x.round().clamp(1.0, self.n);
            if rank - x <= self.accepted_at_once || area >= self.area(rank + 0.5) - self.height(rank) {
                return rank as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DRAWS: usize = 200_000;

    fn counts(keys: u64, zipf: Option<f64>) -> Vec<u64> {
        let (picker, mut random) = (KeyPicker::new(keys, zipf), Random::new(7));
        let mut counts = vec![0; keys as usize];
        for _ in 0..DRAWS {
            counts[picker.pick(&mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_keys_are_uniform() {
        let expected = DRAWS as f64 / 100.0;
        for count in counts(100, None) {
            assert!((count as f64 - expected).abs() < 6.0 * expected.sqrt(), "{count} of {expected}");
        }
    }

    #[test]
    fn zipf_keys_have_the_probabilities_of_their_ranks() {
        for exponent in [0.5, 0.99, 1.0, 1.3] {
            let keys = 100u64;
            let counts = counts(keys, Some(exponent));
            let sum: f64 = (1..=keys).map(|rank| (rank as f64).powf(-exponent)).sum();
            for rank in 1..=keys {
                let count = counts[((rank - 1) * SCATTER % keys) as usize] as f64;
                let expected = DRAWS as f64 * (rank as f64).powf(-exponent) / sum;
                assert!((count - expected).abs() < 6.0 * expected.sqrt() + 1.0, "{exponent} {rank}: {count}");
            }
        }
    }

    #[test]
    fn hot_keys_get_their_share() {
        let (picker, mut random) = (KeyPicker::of(1000, Distribution::Hot(0.2, 0.8)), Random::new(5));
        let mut counts = vec![0u64; 1000];
        (0..DRAWS).for_each(|_| counts[picker.pick(&mut random) as usize] += 1);
        let hot: u64 = (0..200).map(|rank| counts[picker.scatter(rank) as usize]).sum();
        let share = hot as f64 / DRAWS as f64;
        assert!((share - 0.8).abs() < 0.006, "{share}");
        assert!(counts.iter().all(|count| *count > 0));
        let all = KeyPicker::of(3, Distribution::Hot(1.0, 0.5));
        assert!((0..100).all(|_| all.pick(&mut random) < 3));
    }

    #[test]
    fn sequential_keys_are_in_order_and_latest_are_new() {
        let (picker, mut random) = (KeyPicker::of(3, Distribution::Sequential), Random::new(5));
        assert_eq!([(); 5].map(|()| picker.pick(&mut random)), [0, 1, 2, 0, 1]);
        let picker = KeyPicker::of(1000, Distribution::Latest(ZIPF));
        let drawn: Vec<u64> = (0..DRAWS).map(|_| picker.pick_of(1500, &mut random)).collect();
        let newest = drawn.iter().filter(|key| **key == 1499).count() as f64 / DRAWS as f64;
        // 1 / (sum of 1/rank^0.99 up to 1000).
        assert!((newest - 0.1293).abs() < 0.01, "{newest}");
        assert!(drawn.iter().all(|key| (500..1500).contains(key)));
    }

    #[test]
    fn distributions_are_read() {
        let read = |text: &str| text.parse::<Distribution>();
        assert_eq!(read("zipf:1.2"), Ok(Distribution::Zipf(1.2)));
        assert_eq!(read("hot:10:90"), Ok(Distribution::Hot(0.1, 0.9)));
        for text in ["", "zipf:0", "zipf:x", "hot:1", "hot:0:10", "hot:10:101", "latest:1", "random"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn one_key_is_always_that_key() {
        let mut random = Random::new(1);
        assert_eq!(KeyPicker::new(1, None).pick(&mut random), 0);
        assert_eq!(KeyPicker::new(1, Some(0.99)).pick(&mut random), 0);
    }

    #[test]
    fn scattering_reaches_every_key() {
        for keys in [2u64, 997, 1000, 4096] {
            let mut seen = vec![false; keys as usize];
            (0..keys).for_each(|rank| seen[(rank * SCATTER % keys) as usize] = true);
            assert!(seen.iter().all(|seen| *seen));
        }
    }
}
