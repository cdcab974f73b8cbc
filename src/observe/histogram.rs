//! A log-linear histogram of durations with one writer and any number of readers.
//!
//! Design: as HdrHistogram's layout (Tene): values below 32 ns exactly, above that 16 steps per power of two, so that a
//! recorded value is known within 6.25 %. Counts are single-writer counters, hence recording is one add without a lock,
//! and any worker may read. 624 counters of 8 bytes, made when the first value is recorded.
//!
//! Not here: percentile arithmetic over merged workers uses the same buckets through [`Snapshot`].

use std::sync::OnceLock;

use super::counter::Counter;

/// Steps per power of two.
const STEPS: usize = 16;
/// Powers of two covered: up to 2^42 ns, 73 minutes; longer durations count in the last bucket.
const POWERS: usize = 39;
const BUCKETS: usize = STEPS * POWERS;

/// Durations in nanoseconds.
#[derive(Default)]
pub struct Histogram(OnceLock<Box<[Counter]>>);

impl Histogram {
    /// Counts `times` occurrences of a duration of `ns`; only the owner calls it.
    #[inline]
    pub fn record(&self, ns: u64, times: u64) {
        let counts = self.0.get_or_init(|| (0..BUCKETS).map(|_| Counter::default()).collect());
        counts[bucket_of(ns)].add(times);
    }

    /// Forgets everything; only the owner calls it.
    pub fn reset(&self) {
        for count in self.0.get().into_iter().flat_map(|counts| counts.iter()) {
            count.set(0);
        }
    }

    /// Adds this histogram's counts to `sum`.
    pub fn add_to(&self, sum: &mut Snapshot) {
        if let Some(counts) = self.0.get() {
            for (total, count) in sum.counts.iter_mut().zip(counts.iter()) {
                *total += count.read();
            }
        }
    }
}

/// Counts read from one or more histograms.
pub struct Snapshot {
    counts: Box<[u64]>,
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { counts: vec![0; BUCKETS].into() }
    }
}

impl Snapshot {
    /// How many values were recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The largest value of the bucket in which the given share (0..=100) of all values is reached, in ns; 0 if empty.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = ((percent / 100.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return bucket_end(bucket);
            }
        }
        0
    }

    /// How many values are at most `ns` (to the precision of the buckets).
    pub fn at_most(&self, ns: u64) -> u64 {
        let buckets = self.counts.iter().enumerate();
        buckets.take_while(|(bucket, _)| bucket_end(*bucket) <= ns).map(|(_, count)| count).sum()
    }

    /// The end of the highest bucket in use, in ns.
    pub fn max(&self) -> u64 {
        self.counts.iter().rposition(|count| *count > 0).map_or(0, bucket_end)
    }
}

/// Which bucket counts a duration.
#[inline]
fn bucket_of(ns: u64) -> usize {
    if ns < 2 * STEPS as u64 {
        return ns as usize;
    }
    let power = 63 - ns.leading_zeros() as usize;
    let step = (ns >> (power - 4)) as usize & (STEPS - 1);
    ((power - 3) * STEPS + step).min(BUCKETS - 1)
}

/// The largest duration that a bucket counts.
fn bucket_end(bucket: usize) -> u64 {
    if bucket < 2 * STEPS {
        return bucket as u64;
    }
    let power = bucket / STEPS + 3;
    let step = (bucket % STEPS) as u64;
    (1 << power) + ((step + 1) << (power - 4)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_cover_every_value_in_order() {
        let mut last = 0;
        for shift in 0..41 {
            for value in [1u64 << shift, (1 << shift) + (1 << shift) / 3, (1 << shift) * 2 - 1] {
                let bucket = bucket_of(value);
                assert!(bucket >= last, "{value}");
                assert!(value <= bucket_end(bucket), "{value}");
                assert!(bucket_end(bucket) as f64 <= value as f64 * 1.0625 + 1.0, "{value}");
                last = bucket;
            }
        }
        for bucket in 1..BUCKETS {
            assert_eq!(bucket_of(bucket_end(bucket)), bucket);
            assert_eq!(bucket_of(bucket_end(bucket - 1) + 1), bucket);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_merged_histograms() {
        let (a, b) = (Histogram::default(), Histogram::default());
        a.record(1_000, 50);
        b.record(1_000_000, 50);
        let mut sum = Snapshot::default();
        a.add_to(&mut sum);
        b.add_to(&mut sum);
        assert_eq!(sum.count(), 100);
        assert_eq!(sum.percentile(50.0), bucket_end(bucket_of(1_000)));
        assert_eq!(sum.percentile(99.0), bucket_end(bucket_of(1_000_000)));
        assert_eq!(sum.at_most(10_000), 50);
        a.reset();
        let mut again = Snapshot::default();
        a.add_to(&mut again);
        assert_eq!(again.count(), 0);
    }
}
