//! Which entry goes when memory is short, and what the 24 bits of an access clock mean.
//!
//! Design: as in Redis. Each entry has a score, and the one with the highest goes (`candidates`). Under an LRU policy (and under
//! none) the clock is the second of the last use; under an LFU policy it is the minute of the last use with a counter that grows
//! with the logarithm of the uses:
//!
//! ```text
//! 23 ........ 8 | 7 ..... 0
//! minute        | counter       new entries begin at FREQUENCY_NEW, so that they are not evicted at once
//! ```
//!
//! Invariants: a policy for volatile keys never removes a key without a deadline.
//! Costs: none but the entry's header.
//! Not here: which entries are compared (`candidates`), when to evict, and from which shards (`worker`).

use super::entry::{CLOCK_MAX, Entry};

/// The counter of a new entry.
pub const FREQUENCY_NEW: u8 = 5;
/// Later than any moment.
const SCORE_MIDDLE: u64 = 1 << 63;

/// This moment for access clocks, and which meaning they have now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccessClock(u32);

impl AccessClock {
    const FREQUENCY: u32 = 1 << 31;

    /// The clock at `now_ms` (Unix time).
    pub fn new(now_ms: u64, counts_frequency: bool) -> Self {
        let seconds = (now_ms / 1000) as u32 & CLOCK_MAX;
        Self(if counts_frequency { seconds | Self::FREQUENCY } else { seconds })
    }

    /// Seconds, 24 bits.
    #[inline]
    pub fn seconds(self) -> u32 {
        self.0 & CLOCK_MAX
    }

    /// Whether the clocks of entries are frequencies.
    #[inline]
    pub fn counts_frequency(self) -> bool {
        self.0 & Self::FREQUENCY != 0
    }
}

/// What an access leaves on the entry's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Touch {
    /// Nothing.
    None,
    /// The second: 24 bits.
    Lru(u32),
    /// One use more.
    Lfu(Use),
}

impl Touch {
    /// The clock of an entry that had `clock` before the access.
    #[inline]
    pub fn apply(self, clock: u32) -> u32 {
        match self {
            Touch::None => clock,
            Touch::Lru(seconds) => seconds,
            Touch::Lfu(one) => one.apply(clock),
        }
    }
}

/// How frequencies grow and decay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frequencies {
    /// The higher, the more uses it takes to count one (`lfu-log-factor`).
    pub log_factor: u32,
    /// Minutes without use after which the counter goes down by one; 0: never (`lfu-decay-time`).
    pub decay_minutes: u32,
}

/// One use of an entry whose frequency is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// When: see [`minutes`].
    pub minutes: u16,
    /// Any random number.
    pub random: u32,
    /// How it counts.
    pub frequencies: Frequencies,
}

impl Use {
    #[inline(never)]
    fn apply(self, clock: u32) -> u32 {
        let counter = decayed(clock, self.minutes, self.frequencies.decay_minutes);
        let counter = grown(counter, self.frequencies.log_factor, self.random);
        frequency_clock(self.minutes, counter)
    }
}

/// Minutes at `now_ms`, as far as 16 bits tell.
pub fn minutes(now_ms: u64) -> u16 {
    (now_ms / 60_000) as u16
}

/// The clock of an entry used so often, last at that minute.
pub fn frequency_clock(minutes: u16, counter: u8) -> u32 {
    u32::from(minutes) << 8 | u32::from(counter)
}

/// The counter of a clock, less what it lost since its last use.
pub fn decayed(clock: u32, now_minutes: u16, decay_minutes: u32) -> u8 {
    let [counter, ..] = clock.to_le_bytes();
    let elapsed = now_minutes.wrapping_sub(use_minutes(clock));
    let lost = u32::from(elapsed).checked_div(decay_minutes).unwrap_or(0);
    counter.saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
}

/// The minute of the last use.
fn use_minutes(clock: u32) -> u16 {
    (clock >> 8) as u16
}

/// The counter after one use more: it grows with probability 1 / ((counter - FREQUENCY_NEW) * log_factor + 1).
fn grown(counter: u8, log_factor: u32, random: u32) -> u8 {
    let uses = u128::from(counter.saturating_sub(FREQUENCY_NEW)) * u128::from(log_factor) + 1;
    counter.saturating_add(u8::from(u128::from(random) * uses < 1 << 32))
}

/// Seconds since an entry's clock was set, as far as 24 bits tell.
pub fn idle_seconds(now: u32, clock: u32) -> u32 {
    now.wrapping_sub(clock) & CLOCK_MAX
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rank {
    /// The longest unused goes.
    Idle,
    /// The least used goes.
    Frequency(Frequencies),
    /// The one with the nearest deadline goes.
    Deadline,
    /// Any goes.
    Random,
}

/// A policy of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Whether only keys with a deadline go.
    pub volatile: bool,
    /// Which of them.
    pub rank: Rank,
    /// How many are compared in each database.
    pub samples: usize,
}

impl Policy {
    /// Whether it removes such entries.
    pub(super) fn may_remove(&self, entry: Entry<'_>) -> bool {
        !self.volatile || entry.deadline().is_some()
    }

    /// How well an entry can be done without; higher goes first. A key whose deadline has come is nobody's loss. The score of
    /// an entry that nobody uses does not fall.
    pub(super) fn score(&self, entry: Entry<'_>, now_ms: u64, random: u64) -> u64 {
        if entry.is_expired(now_ms) {
            return u64::MAX;
        }
        match self.rank {
            Rank::Idle => {
                let now_s = now_ms / 1000;
                let idle_s = idle_seconds(AccessClock::new(now_ms, false).seconds(), entry.clock());
                // When it was last used, and not for how long it was not: candidates of other moments compare with it.
                SCORE_MIDDLE - now_s.saturating_sub(idle_s.into())
            }
            Rank::Frequency(Frequencies { decay_minutes, .. }) => {
                let counter = decayed(entry.clock(), minutes(now_ms), decay_minutes);
                let idle_minutes = minutes(now_ms).wrapping_sub(use_minutes(entry.clock()));
                u64::from(u8::MAX - counter) << 16 | u64::from(idle_minutes)
            }
            Rank::Deadline => u64::MAX - 1 - entry.deadline().unwrap_or(u64::MAX - 1).min(u64::MAX - 1),
            Rank::Random => random >> 1,
        }
    }
}

#[cfg(test)]
#[path = "eviction_tests.rs"]
pub(super) mod tests;
