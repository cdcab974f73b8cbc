//! The only reader of time. A turn reads it once; durations of commands are read from the processor's counter.
//!
//! Design: Unix time is needed in ms (deadlines), once a turn. Durations (statistics, slow log, long turns) are differences of
//! `quanta`'s calibrated counter, which costs a few ns and never a system call. Under simulation both come from one
//! virtual time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quanta::Mock;

/// Time as a worker sees it. Clones of a virtual one stay in step.
#[derive(Clone)]
pub struct Clock {
    counter: quanta::Clock,
    now_us: u64,
    /// Whether the last reading was earlier than the one before: the machine's clock was set back.
    went_back: bool,
    /// ns of 2^32 steps of the counter.
    ns_scale: u64,
    source: Source,
}

#[derive(Clone)]
enum Source {
    System,
    Virtual { epoch_ms: u64, start: quanta::Instant },
}

impl Clock {
    /// The machine's time.
    pub fn system() -> Self {
        let counter = quanta::Clock::new();
        let ns_scale = scale(&counter);
        let mut clock = Self { counter, now_us: 0, went_back: false, ns_scale, source: Source::System };
        clock.read();
        clock
    }

    /// A virtual time, which stands at `epoch_ms` and goes on as the returned handle is told.
    pub fn simulated(epoch_ms: u64) -> (Self, std::sync::Arc<Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        let start = counter.now();
        let (ns_scale, source) = (scale(&counter), Source::Virtual { epoch_ms, start });
        (Self { counter, now_us: epoch_ms * 1000, went_back: false, ns_scale, source }, mock)
    }

    /// Whether the time is virtual.
    pub fn is_simulated(&self) -> bool {
        matches!(self.source, Source::Virtual { .. })
    }

    /// Reads the time; called once a turn.
    #[inline]
    pub fn read(&mut self) {
        let now_us = match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.unwrap_or(Duration::ZERO).as_micros() as u64
            }
            Source::Virtual { epoch_ms, start } => {
                epoch_ms * 1000 + self.counter.now().duration_since(*start).as_micros() as u64
            }
        };
        self.went_back = now_us < self.now_us;
        self.now_us = now_us;
    }

    /// Whether Unix time has gone back with the last reading. What is to happen at a time may then be far ahead.
    #[inline]
    pub fn went_back(&self) -> bool {
        self.went_back
    }

    /// Unix time in ms, as read last.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        self.now_us / 1000
    }

    /// Unix time in us, as read last.
    pub fn unix_us(&self) -> u64 {
        self.now_us
    }

    /// The processor's counter now, to be compared with a later one.
    #[inline]
    pub fn ticks(&self) -> u64 {
        self.counter.raw()
    }

    /// The ns between two readings of [`Self::ticks`].
    #[inline]
    pub fn ns_between(&self, start: u64, end: u64) -> u64 {
        ((u128::from(end.saturating_sub(start)) * u128::from(self.ns_scale)) >> 32) as u64
    }
}

/// ns of 2^32 steps of a counter: so a difference is converted with one multiplication.
fn scale(counter: &quanta::Clock) -> u64 {
    counter.delta_as_nanos(0, 1 << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the clock set back by ten minutes the next upkeep was due in ten minutes: nothing expired until then.
    #[test]
    fn a_clock_that_is_set_back_is_noticed_once() {
        let (mut clock, mock) = Clock::simulated(1_000_000);
        mock.increment(Duration::from_secs(60));
        clock.read();
        assert_eq!((clock.now_ms(), clock.went_back()), (1_060_000, false));
        mock.decrement(Duration::from_secs(59));
        clock.read();
        assert_eq!((clock.now_ms(), clock.went_back()), (1_001_000, true));
        clock.read();
        assert!(!clock.went_back());
    }
}
