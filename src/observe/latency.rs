//! The latency monitor: events that took longer than `latency-monitor-threshold`, the latest of each class.
//!
//! Design: a class has a ring of samples, each one word (time and duration), so that any worker adds one with a store and
//! any worker reads. As in Redis, a second has one sample, its worst.
//!
//! Invariants: a sample of 0 is an empty place.
//! Costs: nothing while no event is too long; 1.3 KiB per class.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// Samples kept of a class.
pub const SAMPLES_MAX: usize = 160;

/// What may take too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A command that may be slow.
    Command,
    /// A command flagged `fast`.
    FastCommand,
}

impl Event {
    /// All classes, in the order of LATENCY LATEST.
    pub const ALL: [Event; 2] = [Event::Command, Event::FastCommand];

    /// The name that LATENCY gives it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::FastCommand => "fast-command",
        }
    }

    /// The class of this name.
    pub fn named(name: &[u8]) -> Option<Event> {
        Self::ALL.into_iter().find(|event| event.name().as_bytes() == name)
    }
}

/// One too long event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When, Unix time in seconds.
    pub time_s: u32,
    /// How long, in ms.
    pub ms: u32,
}

impl Sample {
    fn pack(self) -> u64 {
        u64::from(self.time_s) << 32 | u64::from(self.ms)
    }

    fn unpack(word: u64) -> Self {
        Self { time_s: (word >> 32) as u32, ms: word as u32 }
    }
}

struct Series {
    ring: Box<[AtomicU64]>,
    next: AtomicU64,
    ms_max: AtomicU32,
}

impl Series {
    fn new() -> Self {
        let ring = (0..SAMPLES_MAX).map(|_| AtomicU64::new(0)).collect();
        Self { ring, next: AtomicU64::new(0), ms_max: AtomicU32::new(0) }
    }

    fn place(&self, number: u64) -> &AtomicU64 {
        &self.ring[number as usize % SAMPLES_MAX]
    }
}

/// All classes of events.
pub struct LatencyMonitor([Series; 2]);

impl Default for LatencyMonitor {
    fn default() -> Self {
        Self(Event::ALL.map(|_| Series::new()))
    }
}

impl LatencyMonitor {
    /// Adds an event that took `ms`.
    #[cold]
    pub fn add(&self, event: Event, now_ms: u64, ms: u64) {
        let series = &self.0[event as usize];
        let sample =
            Sample { time_s: (now_ms / 1000) as u32, ms: u32::try_from(ms).unwrap_or(u32::MAX).max(1) };
        series.ms_max.fetch_max(sample.ms, Relaxed);
        let next = series.next.load(Relaxed);
        if next > 0 {
            let last = series.place(next - 1);
            let word = last.load(Relaxed);
            if Sample::unpack(word).time_s == sample.time_s {
                // The time is the same, so the greater word is the longer duration.
                last.fetch_max(sample.pack(), Relaxed);
                return;
            }
        }
        let number = series.next.fetch_add(1, Relaxed);
        series.place(number).store(sample.pack(), Relaxed);
    }

    /// The samples of a class, oldest first.
    pub fn history(&self, event: Event) -> Vec<Sample> {
        let series = &self.0[event as usize];
        let next = series.next.load(Relaxed);
        let words = (next.saturating_sub(SAMPLES_MAX as u64)..next).map(|n| series.place(n).load(Relaxed));
        words.filter(|word| *word != 0).map(Sample::unpack).collect()
    }

    /// The latest sample of a class and the longest ever, in ms; `None` if there was none.
    pub fn latest(&self, event: Event) -> Option<(Sample, u32)> {
        let latest = *self.history(event).last()?;
        Some((latest, self.0[event as usize].ms_max.load(Relaxed)))
    }

    /// Forgets a class; whether there was anything to forget.
    pub fn reset(&self, event: Event) -> bool {
        let had = self.latest(event).is_some();
        let series = &self.0[event as usize];
        series.ring.iter().for_each(|place| place.store(0, Relaxed));
        series.next.store(0, Relaxed);
        series.ms_max.store(0, Relaxed);
        had
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_one_sample_and_the_ring_is_bounded() {
        let monitor = LatencyMonitor::default();
        assert_eq!(monitor.latest(Event::Command), None);
        monitor.add(Event::Command, 5_000, 10);
        monitor.add(Event::Command, 5_900, 30);
        monitor.add(Event::Command, 5_950, 20);
        monitor.add(Event::Command, 6_000, 5);
        let expected = [Sample { time_s: 5, ms: 30 }, Sample { time_s: 6, ms: 5 }];
        assert_eq!(monitor.history(Event::Command), expected);
        assert_eq!(monitor.latest(Event::Command), Some((expected[1], 30)));
        (0..1000).for_each(|second| monitor.add(Event::FastCommand, second * 1000, 7));
        let history = monitor.history(Event::FastCommand);
        assert_eq!(history.len(), SAMPLES_MAX);
        assert_eq!(history.last(), Some(&Sample { time_s: 999, ms: 7 }));
        assert!(monitor.reset(Event::Command));
        assert!(!monitor.reset(Event::Command));
        assert!(monitor.history(Event::Command).is_empty());
    }
}
