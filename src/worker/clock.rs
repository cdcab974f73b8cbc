//! The only reader of time. Durations of commands are read from the processor's counter.
//!
//! Design: Unix time is needed in ms (deadlines). It is read at the beginning of a turn, again by each group once it has its
//! leases, and again behind whatever took long: two workers that judge the deadline of one key, one after the other, must not
//! judge it by times in the opposite order. It lies in a cell, so that whoever runs a command can read it. Durations
//! (statistics, slow log, long turns) are differences of `quanta`'s calibrated counter, which costs a few ns and never a
//! system call. Under simulation both come from one virtual time.

use std::cell::Cell;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use quanta::Mock;

/// Time as a worker sees it. Clones of a virtual one stay in step.
#[derive(Clone)]
pub struct Clock {
    counter: quanta::Clock,
    now_us: Cell<u64>,
    /// Whether a reading was earlier than the one before: the machine's clock was set back.
    went_back: Cell<bool>,
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
        let (now_us, went_back) = Default::default();
        let clock = Self { counter, now_us, went_back, ns_scale, source: Source::System };
        clock.read();
        clock
    }

    /// A virtual time, which stands at `epoch_ms` and goes on as the returned handle is told.
    pub fn simulated(epoch_ms: u64) -> (Self, std::sync::Arc<Mock>) {
        let (counter, mock) = quanta::Clock::mock();
        let start = counter.now();
        let (ns_scale, source) = (scale(&counter), Source::Virtual { epoch_ms, start });
        let (now_us, went_back) = (Cell::new(epoch_ms * 1000), Cell::new(false));
        (Self { counter, now_us, went_back, ns_scale, source }, mock)
    }

    /// Whether the time is virtual.
    pub fn is_simulated(&self) -> bool {
        matches!(self.source, Source::Virtual { .. })
    }

    /// Reads the time.
    #[inline]
    pub fn read(&self) {
        let now_us = match &self.source {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH);
                since.unwrap_or(Duration::ZERO).as_micros() as u64
            }
            Source::Virtual { epoch_ms, start } => {
                epoch_ms * 1000 + self.counter.now().duration_since(*start).as_micros() as u64
            }
        };
        if now_us < self.now_us.replace(now_us) {
            self.went_back.set(true);
        }
    }

    /// Whether Unix time has gone back since this was asked last. What is to happen at a time may then be far ahead.
    #[inline]
    pub fn take_went_back(&self) -> bool {
        self.went_back.take()
    }

    /// Unix time in ms, as read last.
    #[inline]
    pub fn now_ms(&self) -> u64 {
        self.now_us.get() / 1000
    }

    /// Unix time in us, as read last.
    pub fn unix_us(&self) -> u64 {
        self.now_us.get()
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

    /// With the clock set back by ten minutes the next cron was due in ten minutes: nothing expired until then.
    #[test]
    fn a_clock_that_is_set_back_is_noticed_once() {
        let (clock, mock) = Clock::simulated(1_000_000);
        mock.increment(Duration::from_secs(60));
        clock.read();
        assert_eq!((clock.now_ms(), clock.take_went_back()), (1_060_000, false));
        mock.decrement(Duration::from_secs(59));
        clock.read();
        // Later readings of the same turn do not hide it.
        clock.read();
        assert_eq!((clock.now_ms(), clock.take_went_back()), (1_001_000, true));
        clock.read();
        assert!(!clock.take_went_back());
    }
}
