//! Which entry goes when memory is short, and what the 24 bits of an access clock mean.
//!
//! Design: as in Redis. A few neighbouring entries of a random place are compared, and the one that the policy can best do
//! without is removed through the shard's guard. Under an LRU policy (and under none) the clock is the second of the last use;
//! under an LFU policy it is the minute of the last use with a counter that grows with the logarithm of the uses:
//!
//! ```text
//! 23 ........ 8 | 7 ..... 0
//! minute        | counter       new entries begin at FREQUENCY_NEW, so that they are not evicted at once
//! ```
//!
//! Invariants: a policy for volatile keys never removes a key without a deadline.
//! Costs: a removal looks at as many entries as it compares; with few volatile keys among many others, at
//! [`VISITED_MAX`] at most.
//! Not here: when to evict, and from which shards (`worker`).

use super::DbIndex;
use super::entry::{CLOCK_MAX, Entry};
use super::shard::Shard;

/// The counter of a new entry.
pub const FREQUENCY_NEW: u8 = 5;
/// Entries looked at for volatile ones, in one database of one shard.
const VISITED_MAX: usize = 4096;
/// How many times more are looked at when there was no volatile one among them.
const VISITED_GROWTH: usize = 8;

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
    let [counter, low, high, _] = clock.to_le_bytes();
    let elapsed = now_minutes.wrapping_sub(u16::from_le_bytes([low, high]));
    let lost = u32::from(elapsed).checked_div(decay_minutes).unwrap_or(0);
    counter.saturating_sub(u8::try_from(lost).unwrap_or(u8::MAX))
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
    /// How well an entry can be done without; higher goes first. A key whose deadline has come is nobody's loss.
    fn score(&self, entry: &Entry, now_ms: u64, random: u64) -> u64 {
        if entry.is_expired(now_ms) {
            return u64::MAX;
        }
        match self.rank {
            Rank::Idle => idle_seconds(AccessClock::new(now_ms, false).seconds(), entry.clock()).into(),
            Rank::Frequency(Frequencies { decay_minutes, .. }) => {
                u64::from(u8::MAX - decayed(entry.clock(), minutes(now_ms), decay_minutes))
            }
            Rank::Deadline => u64::MAX - 1 - entry.deadline().unwrap_or(u64::MAX - 1).min(u64::MAX - 1),
            Rank::Random => random >> 1,
        }
    }
}

/// The entry that goes, found by [`Shard::evict`]; kept by the caller so that its memory is used again.
#[derive(Default)]
pub struct Candidate {
    key: Vec<u8>,
    found: Option<(DbIndex, u64)>,
}

impl Candidate {
    fn consider(&mut self, db: DbIndex, entry: &Entry, score: u64) {
        if self.found.is_none_or(|(_, best)| score > best) {
            self.found = Some((db, score));
            self.key.clear();
            self.key.extend_from_slice(entry.key());
        }
    }
}

/// What became of an attempt to evict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// A key was removed.
    Key,
    /// A key was removed whose deadline had come.
    Expired,
    /// The policy finds nothing in this shard.
    Nothing,
}

impl Shard {
    /// Removes the key that `policy` can best do without, among a few of every database. `random` gives random numbers.
    pub fn evict(
        &mut self,
        policy: &Policy,
        now_ms: u64,
        candidate: &mut Candidate,
        random: &mut dyn FnMut() -> u64,
    ) -> Evicted {
        candidate.found = None;
        for db in (0..self.databases() as u16).map(DbIndex) {
            let eligible = if policy.volatile { self.expires(db) } else { self.len(db) };
            if eligible > 0 {
                self.sample_for(policy, db, now_ms, candidate, random);
            }
        }
        let Some((db, _)) = candidate.found else { return Evicted::Nothing };
        let hash = self.parts(db).2.hash(&candidate.key);
        if self.write(db, hash, &candidate.key, now_ms).evict() { Evicted::Key } else { Evicted::Expired }
    }

    /// Whether a policy for volatile keys, or one for all, has keys here that it may remove.
    pub fn has_evictable(&self, volatile: bool) -> bool {
        let mut dbs = (0..self.databases() as u16).map(DbIndex);
        dbs.any(|db| if volatile { self.expires(db) > 0 } else { self.len(db) > 0 })
    }

    /// Compares entries of one database; looks further where volatile ones are few.
    fn sample_for(
        &self,
        policy: &Policy,
        db: DbIndex,
        now_ms: u64,
        candidate: &mut Candidate,
        random: &mut dyn FnMut() -> u64,
    ) {
        let mut visited_max = policy.samples;
        loop {
            let (seed, mut salt, mut compared) = (random(), random(), 0);
            self.sample(db, seed, visited_max, &mut |entry| {
                if compared < policy.samples && (!policy.volatile || entry.deadline().is_some()) {
                    compared += 1;
                    salt = salt.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(1);
                    candidate.consider(db, entry, policy.score(entry, now_ms, salt));
                }
            });
            if compared > 0 || visited_max >= VISITED_MAX || visited_max as u64 >= self.len(db) {
                return;
            }
            visited_max = (visited_max * VISITED_GROWTH).min(VISITED_MAX);
        }
    }
}

#[cfg(all(test, not(loom)))]
#[path = "eviction_tests.rs"]
mod tests;
