//! Active defragmentation: when, and for how much of the time, home shards move entries out of sparse memory.
//!
//! Design: as in Redis. Once waste is above both `active-defrag-ignore-bytes` and the lower threshold, every worker spends
//! between `active-defrag-cycle-min` and `-max` percent of its time on its home shards, the more the nearer waste is to the
//! upper threshold, in slices of [`SLICE_US`]. A shard's lease is held for a few dozen entries at a time. With `auto`, the
//! default, it runs under a memory limit only, which is to bound what is resident, and ignores a twentieth of the limit at most.
//! After a pass over the home shards that moved nothing the worker waits, as there is nothing to gain for now, and while
//! nothing happens.
//!
//! Costs: while it is off, a comparison each turn; each tick of worker 0 sums the shards' gauges.
//! Not here: what moves where (`store::defrag`).

use super::Worker;
use crate::config::{ActiveDefrag, Config};
use crate::io::Io;
use crate::store::occupancy;
use crate::store::pool::POOL;

/// Longest slice.
const SLICE_US: u64 = 500;
/// Entries moved before a shard's lease is given back.
const ENTRIES_PER_LEASE: usize = 64;
/// Waste among large entries that is worth walking over all keys.
const LARGE_WASTE_BYTES_MIN: u64 = 1 << 20;
/// Pause after a pass that moved nothing, in ms.
const FRUITLESS_PAUSE_MS: u64 = 1000;
/// With `auto`, the part of the limit that waste may take.
const IGNORED_DIVISOR: u64 = 20;

/// Where defragmentation stands.
pub(super) struct Defrag {
    /// Percent of the time; 0 is off.
    effort: u64,
    /// When the next slice is due; never while it is off.
    next_ms: u64,
    /// Home shards still to be visited in this pass.
    shards_left: usize,
    /// Entries that this pass has moved.
    moved: u64,
    /// Whether the last pass moved none.
    fruitless: bool,
}

impl Defrag {
    pub(super) fn new() -> Self {
        Self { effort: 0, next_ms: u64::MAX, shards_left: 0, moved: 0, fruitless: false }
    }

    /// How long until the next slice.
    pub(super) fn due_in_ms(&self, now_ms: u64) -> u64 {
        self.next_ms.saturating_sub(now_ms)
    }

    /// Whether there is something to gain.
    pub(super) fn is_busy(&self) -> bool {
        self.effort > 0 && !self.fruitless
    }
}

impl<I: Io> Worker<I> {
    /// Decides how much effort waste is worth now. Part of each tick.
    pub(super) fn judge_waste(&mut self, now_ms: u64) {
        let (config, gauges) = (self.config.config(), &self.shared.stats.gauges);
        let is_on = is_on(config);
        if self.number == 0 && is_on {
            let slack: u64 = self.shared.keyspace.shards().map(|id| gauges.memory(id).slack_bytes).sum();
            gauges.note_waste(slack + POOL.gap_bytes(), occupancy::waste_bytes());
        }
        let effort =
            if is_on { effort(config, gauges.waste_bytes(), gauges.used_bytes(self.stats())) } else { 0 };
        if self.number == 0 {
            let runs = effort > 0 && !self.defrag.fruitless;
            gauges.defragging.note(runs, self.clock.unix_us());
            gauges.note_defrag_effort(if runs { effort } else { 0 });
            if (effort > 0) != (self.defrag.effort > 0) {
                POOL.compact_pages(effort > 0);
            }
        }
        if effort == 0 {
            self.defrag = Defrag::new();
        } else if self.defrag.effort == 0 {
            self.defrag.next_ms = now_ms;
        }
        self.defrag.effort = effort;
    }

    /// A slice, if one is due.
    #[inline]
    pub(super) fn defrag(&mut self) {
        if self.clock.now_ms() >= self.defrag.next_ms {
            self.defrag_slice();
        }
    }

    #[cold]
    fn defrag_slice(&mut self) {
        let has_shards = self.shared.keyspace.home_count(self.number) > 0;
        if !has_shards || self.defrag.fruitless && self.cron.is_quiet() {
            self.defrag.next_ms = self.clock.now_ms() + FRUITLESS_PAUSE_MS;
            return;
        }
        let start = self.clock.ticks();
        let mut ns = 0;
        let mut ended = false;
        while ns < SLICE_US * 1000 && !ended {
            if self.defrag.shards_left == 0 {
                self.defrag.shards_left = self.shared.keyspace.home_count(self.number);
                self.defrag.moved = 0;
            }
            self.defrag_shard();
            ended = self.defrag.shards_left == 0;
            ns = self.clock.ns_between(start, self.clock.ticks());
        }
        if ended && self.number == 0 {
            POOL.compact_pages(true);
        }
        if ended || self.defrag.moved > 0 {
            self.defrag.fruitless = self.defrag.moved == 0;
        }
        let pause_ms = if self.defrag.fruitless {
            FRUITLESS_PAUSE_MS
        } else {
            (ns * (100 - self.defrag.effort) / self.defrag.effort).div_ceil(1_000_000)
        };
        self.defrag.next_ms = self.clock.now_ms() + pause_ms.max(1);
        self.stats().counters.defrag_ns.add(ns);
    }

    /// Defragments a home shard a little, and goes on to the next one once it has been looked through.
    fn defrag_shard(&mut self) {
        self.io.yield_point();
        let id = self.shared.keyspace.home_shard(self.number, self.defrag.shards_left - 1);
        if !self.execution.leases.try_take(id) {
            self.defrag.shards_left -= 1;
            return;
        }
        let shard = self.execution.leases.shard(id);
        let slice = shard
            .defrag(ENTRIES_PER_LEASE, self.shared.stats.gauges.large_waste_bytes() > LARGE_WASTE_BYTES_MIN);
        let stats = self.shared.stats.of(self.number);
        self.shared.stats.gauges.note(stats, id, self.shared.keyspace.shard_count(), shard);
        let wanted = self.execution.leases.release_all();
        self.inbox.wake_wanting(wanted);
        self.defrag.moved += slice.moved;
        self.defrag.shards_left -= usize::from(slice.done);
        let counters = &self.stats().counters;
        counters.defrag_hits.add(slice.moved);
        counters.defrag_misses.add(slice.stayed);
    }
}

/// Whether memory is defragmented at all.
fn is_on(config: &Config) -> bool {
    match config.activedefrag {
        ActiveDefrag::Auto => config.maxmemory > 0,
        ActiveDefrag::Yes => true,
        ActiveDefrag::No => false,
    }
}

/// The percentage of the time that so much waste is worth.
fn effort(config: &Config, waste_bytes: u64, used_bytes: u64) -> u64 {
    let ignored_bytes = match config.activedefrag {
        ActiveDefrag::Auto => config.active_defrag_ignore_bytes.min(config.maxmemory / IGNORED_DIVISOR),
        _ => config.active_defrag_ignore_bytes,
    };
    let percent = u128::from(waste_bytes) * 100 / u128::from(used_bytes.max(1));
    let (lower, upper) = (config.active_defrag_threshold_lower, config.active_defrag_threshold_upper);
    if waste_bytes < ignored_bytes || percent < u128::from(lower) {
        return 0;
    }
    let (min, max) = (config.active_defrag_cycle_min, config.active_defrag_cycle_max);
    let range = u128::from(upper.saturating_sub(lower)).max(1);
    let share = (percent - u128::from(lower)).min(range);
    u64::from(min) + (u128::from(max.saturating_sub(min)) * share / range) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effort_grows_with_waste() {
        const MIB: u64 = 1 << 20;
        let config = Config { activedefrag: ActiveDefrag::Yes, ..Config::default() };
        let at = |waste| effort(&config, waste * MIB, 1000 * MIB);
        // 100 MB and 10 % are ignored; from 10 % to 100 % it grows from 1 to 25.
        assert_eq!([0, 99, 100, 190, 550, 1000, 5000].map(at), [0, 0, 1, 3, 13, 25, 25]);
        assert_eq!(effort(&config, 99 * MIB, 10 * MIB), 0);
        let limited = Config { maxmemory: 100 * MIB, ..Config::default() };
        assert_eq!(limited.activedefrag, ActiveDefrag::Auto);
        assert_eq!([4, 5, 11].map(|waste| effort(&limited, waste * MIB, 50 * MIB)), [0, 1, 4]);
        assert!(is_on(&limited));
        assert!(!is_on(&Config::default()));
    }

    #[test]
    fn effort_copes_with_thresholds_that_contradict() {
        let config = Config {
            activedefrag: ActiveDefrag::Yes,
            active_defrag_ignore_bytes: 1,
            active_defrag_threshold_lower: 50,
            active_defrag_threshold_upper: 10,
            active_defrag_cycle_min: 30,
            active_defrag_cycle_max: 20,
            ..Config::default()
        };
        assert_eq!([49, 50, 200].map(|waste| effort(&config, waste, 100)), [0, 30, 30]);
        assert_eq!(effort(&config, u64::MAX, 0), 30);
    }
}
