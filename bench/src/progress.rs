//! How a run goes, while it goes: one line that is written over again.

use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::load::{Slot, Timeline};

/// How often the line is written.
const EVERY: Duration = Duration::from_millis(500);

/// How a run goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// The time since it began, warm-up included.
    pub elapsed: Duration,
    /// What was counted in its last second, or since the warm-up.
    pub last: Slot,
    /// How long that is; nothing during the warm-up.
    pub last_length: Duration,
}

impl Progress {
    /// After so long, with this counted.
    pub fn new(elapsed: Duration, timeline: &Timeline) -> Progress {
        // The last slot may lack threads that have not handed it out.
        let whole = timeline.slots.len().saturating_sub(1);
        let count = whole.min(timeline.slots_per_second());
        let mut last = Slot::default();
        timeline.slots[whole - count..whole].iter().for_each(|slot| last.add(slot));
        Progress { elapsed, last, last_length: timeline.width * count as u32 }
    }

    /// In a line.
    pub fn line(&self, operation: &str) -> String {
        let seconds = self.elapsed.as_secs_f64();
        if self.last_length.is_zero() {
            return format!("{seconds:5.1} s  {operation}  warming up");
        }
        let rate = self.last.ops as f64 / self.last_length.as_secs_f64();
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|share| self.last.quantile_us(share));
        format!(
            "{seconds:5.1} s  {operation}  {rate:.0} ops/s  p50 {p50:.0}  p99 {p99:.0}  p99.9 {p999:.0} us"
        )
    }
}

/// The line on a terminal; gone when dropped.
#[derive(Debug, Default)]
pub struct ProgressLine {
    shown: Option<Instant>,
}

impl ProgressLine {
    /// Writes the line, unless it was written a moment ago.
    pub fn show(&mut self, operation: &str, progress: &Progress) {
        if self.shown.is_some_and(|shown| shown.elapsed() < EVERY) {
            return;
        }
        self.shown = Some(Instant::now());
        // Who closed standard error sees nothing of it.
        write!(std::io::stderr(), "\r\x1b[2K{}", progress.line(operation)).unwrap_or_default();
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown.is_some() {
            write!(std::io::stderr(), "\r\x1b[2K").unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn line_tells_of_the_last_whole_second() {
        let mut timeline = Timeline::new(Duration::from_secs(5));
        let progress = |timeline: &Timeline| Progress::new(Duration::from_millis(2500), timeline).line("get");
        assert_eq!(progress(&timeline), "  2.5 s  get  warming up");
        let of = |ops, us: u64| Slot { ops, latencies: [(crate::load::bucket(us * 1000) as u16, 1)].into() };
        timeline.add(0, &of(1_000_000, 9));
        (5..25).for_each(|slot| timeline.add(slot, &of(100, 1000)));
        timeline.add(25, &of(7, 1));
        let text = progress(&timeline);
        assert!(text.starts_with("  2.5 s  get  2000 ops/s  p50 "), "{text}");
    }
}
