//! What happened when: operations and latencies in slots of time, for rows per second, the progress line and heat maps.
//!
//! Design: latencies fall into buckets of 3 % (32 to a power of two), of which a slot keeps those that hold something. A thread
//! fills a slot of its own and adds it to the common timeline when its time is over, so threads meet some ten times a second.
//! Time begins where the warm-up ends.

use std::collections::BTreeMap;
use std::time::Duration;

/// Buckets of a power of two, as bits.
const BUCKET_BITS: u32 = 5;
/// Buckets there are: those of 2^38 ns, 275 s, are the last.
pub const BUCKETS: usize = (38 - BUCKET_BITS as usize + 1) << BUCKET_BITS;

/// A short run has short slots.
const SLOTS_OF: &[(u64, u64)] = &[(10, 50), (120, 100)];
/// The slots of all others.
const SLOT_MS_MAX: u64 = 1000;

/// The bucket of a latency in nanoseconds.
#[inline]
pub fn bucket(ns: u64) -> usize {
    if ns < 1 << BUCKET_BITS {
        return ns as usize;
    }
    let shift = ns.ilog2() - BUCKET_BITS;
    let index = ((shift as usize + 1) << BUCKET_BITS) + ((ns >> shift) as usize & ((1 << BUCKET_BITS) - 1));
    index.min(BUCKETS - 1)
}

/// The least latency of a bucket, in nanoseconds.
pub fn bucket_ns(index: usize) -> u64 {
    if index < 1 << BUCKET_BITS {
        return index as u64;
    }
    let shift = (index >> BUCKET_BITS) - 1;
    (((index & ((1 << BUCKET_BITS) - 1)) + (1 << BUCKET_BITS)) as u64) << shift
}

/// A stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Operations done.
    pub ops: u64,
    /// Latencies by bucket.
    pub latencies: BTreeMap<u16, u32>,
}

impl Slot {
    /// Adds all of another.
    pub fn add(&mut self, other: &Slot) {
        self.ops += other.ops;
        for (bucket, count) in &other.latencies {
            *self.latencies.entry(*bucket).or_default() += count;
        }
    }

    /// The latency that this share (0.0 to 1.0) does not exceed, in microseconds, within 3 %; 0 if there is none.
    pub fn quantile_us(&self, share: f64) -> f64 {
        let total: u64 = self.latencies.values().map(|count| u64::from(*count)).sum();
        let wanted = ((total as f64 * share).ceil() as u64).clamp(1, total.max(1));
        let mut seen = 0;
        for (bucket, count) in &self.latencies {
            seen += u64::from(*count);
            if seen >= wanted {
                let bucket = usize::from(*bucket);
                return (bucket_ns(bucket) + bucket_ns(bucket + 1)) as f64 / 2e3;
            }
        }
        0.0
    }
}

/// Slots of equal width, from the end of the warm-up on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// How long a slot is.
    pub width: Duration,
    /// The slots.
    pub slots: Vec<Slot>,
}

impl Timeline {
    /// Without slots yet, for a run of this length.
    pub fn new(duration: Duration) -> Timeline {
        let fits = |(seconds, _): &&(u64, u64)| duration <= Duration::from_secs(*seconds);
        let ms = SLOTS_OF.iter().find(fits).map_or(SLOT_MS_MAX, |(_, ms)| *ms);
        Timeline { width: Duration::from_millis(ms), slots: Vec::new() }
    }

    /// The slot of a time.
    pub fn index(&self, since_begin: Duration) -> usize {
        (since_begin.as_nanos() / self.width.as_nanos()) as usize
    }

    /// Adds to a slot.
    pub fn add(&mut self, index: usize, slot: &Slot) {
        if self.slots.len() <= index {
            self.slots.resize_with(index + 1, Slot::default);
        }
        self.slots[index].add(slot);
    }

    /// The same in rows of a second each; the last may be shorter.
    pub fn seconds(&self) -> Vec<Slot> {
        let join = |slots: &[Slot]| {
            let mut second = Slot::default();
            slots.iter().for_each(|slot| second.add(slot));
            second
        };
        self.slots.chunks(self.slots_per_second()).map(join).collect()
    }

    /// How many slots a second has.
    pub fn slots_per_second(&self) -> usize {
        (1000 / self.width.as_millis() as usize).max(1)
    }
}

/// The slot that a thread is filling.
#[derive(Debug)]
pub struct Filling {
    /// Which slot it is.
    pub index: usize,
    ops: u64,
    counts: Box<[u32]>,
}

impl Default for Filling {
    fn default() -> Filling {
        Filling { index: 0, ops: 0, counts: vec![0; BUCKETS].into() }
    }
}

impl Filling {
    /// Counts so many operations with this latency.
    #[inline]
    pub fn record(&mut self, ns: u64, ops: u64) {
        self.ops += ops;
        self.counts[bucket(ns)] += 1;
    }

    /// Hands out what was counted and begins with nothing at slot `next`.
    pub fn finish(&mut self, next: usize) -> Slot {
        let mut slot = Slot { ops: self.ops, latencies: BTreeMap::new() };
        for (index, count) in self.counts.iter_mut().enumerate().filter(|(_, count)| **count > 0) {
            slot.latencies.insert(index as u16, std::mem::take(count));
        }
        (self.index, self.ops) = (next, 0);
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_of_three_percent_and_ascend() {
        for index in 0..BUCKETS {
            assert_eq!(bucket(bucket_ns(index)), index);
            assert!(index == 0 || bucket(bucket_ns(index) - 1) == index - 1, "{index}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    proptest::proptest! {
        #[test]
        fn bucket_holds_its_latency(ns in 0u64..1 << 37) {
            let index = bucket(ns);
            proptest::prop_assert!(bucket_ns(index) <= ns && ns < bucket_ns(index + 1));
            let width = bucket_ns(index + 1) - bucket_ns(index);
            proptest::prop_assert!(width as f64 <= 1.0 + ns as f64 / 32.0);
        }
    }

    #[test]
    fn slots_of_threads_are_joined_and_grouped_by_second() {
        let mut timeline = Timeline::new(Duration::from_secs(2));
        assert_eq!(timeline.index(Duration::from_millis(149)), 2);
        for index in [0, 1, 0, 20, 25] {
            let mut filling = Filling::default();
            filling.record(1000, 16);
            filling.record(2_000_000, 16);
            timeline.add(index, &filling.finish(index + 1));
            assert_eq!(filling.finish(9), Slot::default());
        }
        assert_eq!(timeline.slots[0].ops, 64);
        let seconds = timeline.seconds();
        assert_eq!(seconds.iter().map(|second| second.ops).collect::<Vec<_>>(), [96, 64]);
        assert!((seconds[0].quantile_us(0.5) - 1.0).abs() < 0.04, "{}", seconds[0].quantile_us(0.5));
        assert!((seconds[0].quantile_us(0.99) / 2000.0 - 1.0).abs() < 0.04);
        assert_eq!(Slot::default().quantile_us(0.5), 0.0);
    }
}
