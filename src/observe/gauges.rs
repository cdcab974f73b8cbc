//! What INFO says of the keyspace as a whole, kept so that it can be read without any lease, and rates over time.
//!
//! Design: whoever holds a shard's lease anyway (its home worker's cron, INFO itself) leaves a [`ShardSample`] here with
//! relaxed stores. A reader takes a shard's true numbers if its lease is free at once, and these, a tenth of a second
//! old at most, if it is not. Worker 0 measures rates and the peak of memory at each of its ticks.
//!
//! Invariants: a shard's gauge is written under its lease only; rates have one writer.
//! Costs: 0.5 KiB per shard; a tick writes a few words per home shard.
//! Not here: counters that only go up (`stats`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock};

use super::counter::Counter;
use super::stats::{Stats, WorkerStats};
use crate::store::{DbIndex, Shard, ShardId};

/// Databases with gauges that are read without a lock: as many as there are by default.
const DBS_PLAIN: u32 = 16;
/// Times that a lock is tried: longer than a few samples take to be read.
const LOCK_TRIES: usize = 64;
/// Least time between two measurements of a rate.
const RATE_PERIOD_MS: u64 = 100;
/// Measurements that a rate is the mean of.
pub const RATE_SAMPLES: usize = 16;

/// What one shard says of one of its databases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DbSample {
    /// Keys, the expired but unnoticed ones included.
    pub keys: u64,
    /// Keys with a deadline.
    pub expires: u64,
    /// Keys in whose values something expires.
    pub subexpiry: u64,
    /// The sum of all deadlines, Unix time in ms.
    pub deadline_sum_ms: u128,
    /// Bytes of the table.
    pub slots: u64,
}

impl DbSample {
    /// Both together.
    pub fn add(&mut self, other: DbSample) {
        self.keys += other.keys;
        self.expires += other.expires;
        self.subexpiry += other.subexpiry;
        self.deadline_sum_ms += other.deadline_sum_ms;
        self.slots += other.slots;
    }

    /// The mean time to live, in ms.
    pub fn ttl_ms_average(&self, now_ms: u64) -> u64 {
        let mean = self.deadline_sum_ms.checked_div(u128::from(self.expires));
        mean.map_or(0, |mean| (mean as u64).saturating_sub(now_ms))
    }
}

/// Where memory is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySample {
    /// All that a shard occupies.
    pub used_bytes: u64,
    /// Of these, tables.
    pub table_bytes: u64,
    /// Room in slab pages that no entry uses; not in `used_bytes`.
    pub slack_bytes: u64,
    /// Values outside of slabs.
    pub blob_bytes: u64,
}

impl MemorySample {
    /// What `shard` occupies; its lease is held.
    pub fn of(shard: &Shard) -> Self {
        let memory = shard.memory();
        Self {
            used_bytes: shard.used_bytes(),
            table_bytes: memory.table_bytes,
            slack_bytes: memory.slab_overhead_bytes,
            blob_bytes: memory.blobs_bytes,
        }
    }

    /// Both together.
    pub fn add(&mut self, other: MemorySample) {
        self.used_bytes += other.used_bytes;
        self.table_bytes += other.table_bytes;
        self.slack_bytes += other.slack_bytes;
        self.blob_bytes += other.blob_bytes;
    }
}

/// What `shard` says of a database; its lease is held.
pub fn db_sample(shard: &Shard, db: DbIndex) -> DbSample {
    DbSample {
        keys: shard.len(db),
        expires: shard.expires(db),
        subexpiry: shard.expires_inside(db),
        deadline_sum_ms: shard.deadline_sum(db),
        slots: shard.table_capacity(db).1,
    }
}

#[derive(Default)]
struct DbGauge {
    keys: AtomicU64,
    expires: AtomicU64,
    subexpiry: AtomicU64,
    // Up to ten million deadlines of this century fit; more would only blur the mean time to live.
    deadline_sum_ms: AtomicU64,
    slots: AtomicU64,
}

/// In lines of its own: those of neighbouring shards are written by others.
#[derive(Default)]
#[repr(align(64))]
struct ShardGauge {
    used_bytes: AtomicU64,
    /// 1 while it has memory of flushed databases to free.
    flushed: AtomicU64,
    table_bytes: AtomicU64,
    slack_bytes: AtomicU64,
    blob_bytes: AtomicU64,
    dirty: AtomicU64,
    /// Keys of all databases.
    keys: AtomicU64,
    first_dbs: [DbGauge; DBS_PLAIN as usize],
    /// Those beyond that have keys. Nobody waits for this lock: who does not get it makes do with less.
    other_dbs: Mutex<Vec<(DbIndex, DbSample)>>,
}

impl DbGauge {
    fn set(&self, sample: DbSample) {
        self.keys.store(sample.keys, Relaxed);
        self.expires.store(sample.expires, Relaxed);
        self.subexpiry.store(sample.subexpiry, Relaxed);
        let sum = u64::try_from(sample.deadline_sum_ms).unwrap_or(u64::MAX);
        self.deadline_sum_ms.store(sum, Relaxed);
        self.slots.store(sample.slots, Relaxed);
    }

    fn read(&self) -> DbSample {
        DbSample {
            keys: self.keys.load(Relaxed),
            expires: self.expires.load(Relaxed),
            subexpiry: self.subexpiry.load(Relaxed),
            deadline_sum_ms: u128::from(self.deadline_sum_ms.load(Relaxed)),
            slots: self.slots.load(Relaxed),
        }
    }
}

/// Bytes of one shard's gauges.
pub const GAUGE_BYTES: usize = size_of::<ShardGauge>();

/// Bytes that a worker's shards grow or shrink by before it says so to all others.
const STEP_BYTES: u64 = 64 << 10;

/// Sums over gauges: what a memory limit asks for before every write. In lines of their own, so that what is written beside them
/// does not make them slow to read. Each worker adds to the bytes in steps (`WorkerStats::bytes_apart`), or else every
/// write under a limit would fetch this line from another worker.
#[derive(Default)]
#[repr(align(128))]
struct Totals {
    /// Bytes of all shards and clients.
    used_bytes: AtomicU64,
    /// Shards with memory of flushed databases.
    flushed_shards: AtomicU64,
}

/// Sets a gauge; by how much it has grown. Its only writer at a time calls this.
fn set(gauge: &AtomicU64, value: u64) -> u64 {
    let before = gauge.load(Relaxed);
    if value != before {
        gauge.store(value, Relaxed);
    }
    value.wrapping_sub(before)
}

/// How long memory was above its limit. Any worker that finds out that it is, or no longer is, says so.
#[derive(Default)]
pub struct OverLimit {
    /// Since when it is, Unix time in us; 0 while it is not.
    since_us: AtomicU64,
    /// All times before that.
    total_us: AtomicU64,
}

impl OverLimit {
    /// Memory is above the limit, or is not.
    #[inline]
    pub fn note(&self, over: bool, now_us: u64) {
        if over == (self.since_us.load(Relaxed) == 0) {
            self.change(over, now_us);
        }
    }

    #[cold]
    fn change(&self, over: bool, now_us: u64) {
        if over {
            // Whoever says so first is right; the value before does not matter.
            self.since_us.compare_exchange(0, now_us.max(1), Relaxed, Relaxed).unwrap_or_default();
        } else {
            let since_us = self.since_us.swap(0, Relaxed);
            let lasted_us = if since_us == 0 { 0 } else { now_us.saturating_sub(since_us) };
            self.total_us.fetch_add(lasted_us, Relaxed);
        }
    }

    /// How long it has been so now, and how long in all, in us.
    pub fn current_and_total_us(&self, now_us: u64) -> (u64, u64) {
        let since_us = self.since_us.load(Relaxed);
        let current_us = if since_us == 0 { 0 } else { now_us.saturating_sub(since_us) };
        (current_us, self.total_us.load(Relaxed) + current_us)
    }

    /// Forgets all that was, as CONFIG RESETSTAT does.
    pub fn reset(&self) {
        self.since_us.store(0, Relaxed);
        self.total_us.store(0, Relaxed);
    }
}

/// The gauges of the process.
#[derive(Default)]
pub struct Gauges {
    shards: OnceLock<Box<[ShardGauge]>>,
    totals: Totals,
    used_bytes_peak: AtomicU64,
    /// When that was, Unix time in ms.
    used_peak_ms: AtomicU64,
    /// How long memory was above `maxmemory`.
    pub over_limit: OverLimit,
    /// How long memory was so fragmented that it was defragmented.
    pub defragging: OverLimit,
    waste_bytes: AtomicU64,
    large_waste_bytes: AtomicU64,
    defrag_effort: AtomicU64,
    /// How fast the counters grow.
    pub rates: Rates,
}

impl Gauges {
    /// Leaves how much memory a shard, one of `shard_count`, uses; its lease is held. Only that worker calls it.
    pub fn note_memory(&self, worker: &WorkerStats, id: ShardId, shard_count: usize, shard: &Shard) {
        let gauge = self.gauge(id, shard_count);
        self.grow(worker, set(&gauge.used_bytes, shard.used_bytes()));
        let flushed = set(&gauge.flushed, shard.has_discarded().into());
        if flushed != 0 {
            self.totals.flushed_shards.fetch_add(flushed, Relaxed);
        }
    }

    /// Leaves how much memory the clients of a worker use; only that worker calls it.
    pub fn note_clients(&self, worker: &WorkerStats, bytes: u64) {
        let before = worker.client_bytes.read();
        worker.client_bytes.set(bytes);
        self.grow(worker, bytes.wrapping_sub(before));
    }

    /// A worker's shards or clients use so much more memory; wrapping, as it may be less.
    #[inline]
    fn grow(&self, worker: &WorkerStats, bytes: u64) {
        worker.bytes_apart.add(bytes);
        let apart = worker.bytes_apart.read();
        if apart.wrapping_add(STEP_BYTES) > 2 * STEP_BYTES {
            self.share(worker);
        }
    }

    /// Tells all others what a worker has yet to tell them; only that worker calls it.
    pub fn share(&self, worker: &WorkerStats) {
        let apart = worker.bytes_apart.read();
        if apart != 0 {
            worker.bytes_apart.set(0);
            self.totals.used_bytes.fetch_add(apart, Relaxed);
        }
    }

    /// Bytes that shards and clients use, as they said last: a worker's own are exact, those of each other one may be more or
    /// less by a step.
    #[inline]
    pub fn used_bytes(&self, worker: &WorkerStats) -> u64 {
        let bytes = self.totals.used_bytes.load(Relaxed).wrapping_add(worker.bytes_apart.read());
        // It may have freed what another one has yet to add.
        (bytes as i64).max(0) as u64
    }

    /// Shards in which memory of flushed databases is still to be freed, as they said last.
    pub fn flushed_shards(&self) -> u64 {
        self.totals.flushed_shards.load(Relaxed)
    }

    fn gauge(&self, id: ShardId, shard_count: usize) -> &ShardGauge {
        let gauges = self.shards.get_or_init(|| (0..shard_count).map(|_| ShardGauge::default()).collect());
        &gauges[usize::from(id.0)]
    }

    /// Leaves what a shard, one of `shard_count`, says of itself; its lease is held. Only that worker calls it.
    pub fn note(&self, worker: &WorkerStats, id: ShardId, shard_count: usize, shard: &Shard) {
        self.note_memory(worker, id, shard_count, shard);
        let gauge = self.gauge(id, shard_count);
        let memory = MemorySample::of(shard);
        gauge.table_bytes.store(memory.table_bytes, Relaxed);
        gauge.slack_bytes.store(memory.slack_bytes, Relaxed);
        gauge.blob_bytes.store(memory.blob_bytes, Relaxed);
        gauge.dirty.store(shard.dirty(), Relaxed);
        for (db, gauge) in (0..).map(DbIndex).zip(&gauge.first_dbs) {
            gauge.set(db_sample(shard, db));
        }
        gauge.keys.store(shard.used_dbs().map(|db| shard.len(db)).sum(), Relaxed);
        if let Ok(mut others) = gauge.other_dbs.try_lock() {
            others.clear();
            let beyond = shard.used_dbs().filter(|db| db.0 >= DBS_PLAIN);
            others.extend(beyond.map(|db| (db, db_sample(shard, db))));
        }
    }

    /// How many keys a shard said last that it has.
    pub fn keys(&self, id: ShardId) -> u64 {
        self.shards.get().map_or(0, |shards| shards[usize::from(id.0)].keys.load(Relaxed))
    }

    /// What a shard said last of its databases that have keys.
    pub fn each_db(&self, id: ShardId, mut f: impl FnMut(DbIndex, DbSample)) {
        let Some(gauge) = self.shards.get().map(|shards| &shards[usize::from(id.0)]) else { return };
        for (db, gauge) in (0..).map(DbIndex).zip(&gauge.first_dbs) {
            let sample = gauge.read();
            if sample.keys > 0 {
                f(db, sample);
            }
        }
        let others =
            std::iter::repeat_with(|| gauge.other_dbs.try_lock()).take(LOCK_TRIES).find_map(Result::ok);
        others.iter().flat_map(|others| others.iter()).for_each(|(db, sample)| f(*db, *sample));
    }

    /// How many changes a shard said last that it has seen.
    pub fn dirty(&self, id: ShardId) -> u64 {
        self.shards.get().map_or(0, |shards| shards[usize::from(id.0)].dirty.load(Relaxed))
    }

    /// What a shard said of its memory last.
    pub fn memory(&self, id: ShardId) -> MemorySample {
        let Some(gauge) = self.shards.get().map(|shards| &shards[usize::from(id.0)]) else {
            return MemorySample::default();
        };
        MemorySample {
            used_bytes: gauge.used_bytes.load(Relaxed),
            table_bytes: gauge.table_bytes.load(Relaxed),
            slack_bytes: gauge.slack_bytes.load(Relaxed),
            blob_bytes: gauge.blob_bytes.load(Relaxed),
        }
    }

    /// So many bytes are resident and of no use, for sparse use of what is around them.
    /// `large_bytes` of it among large entries besides.
    pub fn note_waste(&self, bytes: u64, large_bytes: u64) {
        self.waste_bytes.store(bytes + large_bytes, Relaxed);
        self.large_waste_bytes.store(large_bytes, Relaxed);
    }

    /// Of the waste that was noted last, that among large entries.
    pub fn large_waste_bytes(&self) -> u64 {
        self.large_waste_bytes.load(Relaxed)
    }

    /// The waste that was noted last; nobody notes any unless memory is to be defragmented.
    pub fn waste_bytes(&self) -> u64 {
        self.waste_bytes.load(Relaxed)
    }

    /// The workers spend so many percent of their time on defragmentation.
    pub fn note_defrag_effort(&self, percent: u64) {
        self.defrag_effort.store(percent, Relaxed);
    }

    /// Percent of the workers' time that defragmentation takes.
    pub fn defrag_effort(&self) -> u64 {
        self.defrag_effort.load(Relaxed)
    }

    /// Shards and clients were seen to use so many bytes together.
    pub fn note_used(&self, bytes: u64, now_ms: u64) {
        if bytes > self.used_bytes_peak.fetch_max(bytes, Relaxed) {
            self.used_peak_ms.store(now_ms, Relaxed);
        }
    }

    /// When shards and clients were seen to use most, Unix time in ms.
    pub fn used_peak_ms(&self) -> u64 {
        self.used_peak_ms.load(Relaxed)
    }

    /// Most bytes that shards and clients were ever seen to use.
    pub fn used_bytes_peak(&self) -> u64 {
        self.used_bytes_peak.load(Relaxed)
    }

    /// Measures rates and memory; for worker 0 alone.
    pub fn tick(&self, stats: &Stats, now_ms: u64) {
        if self.rates.measure(stats, now_ms) {
            self.note_used(self.used_bytes(stats.of(0)), now_ms);
        }
    }
}

/// How fast one number grows.
#[derive(Default)]
pub struct Rate {
    last: Counter,
    next: Counter,
    samples: [Counter; RATE_SAMPLES],
}

impl Rate {
    fn measure(&self, now: u64, elapsed_ms: u64) {
        // After CONFIG RESETSTAT a counter may be lower than it was.
        let grown = now.saturating_sub(self.last.read());
        self.last.set(now);
        let next = self.next.read() as usize;
        self.samples[next].set(grown * 1000 / elapsed_ms.max(1));
        self.next.set((next as u64 + 1) % RATE_SAMPLES as u64);
    }

    /// A second's growth, the mean of the last measurements.
    pub fn per_second(&self) -> u64 {
        self.samples.iter().map(Counter::read).sum::<u64>() / RATE_SAMPLES as u64
    }
}

/// The rates that INFO shows.
#[derive(Default)]
pub struct Rates {
    measured_ms: Counter,
    /// Commands.
    pub commands: Rate,
    /// Bytes received.
    pub input_bytes: Rate,
    /// Bytes sent.
    pub output_bytes: Rate,
    /// Turns of all workers.
    pub turns: Rate,
    /// Time of these turns, in ns.
    pub turns_ns: Rate,
}

impl Rates {
    /// Measures, if it is time to; worker 0 alone does.
    fn measure(&self, stats: &Stats, now_ms: u64) -> bool {
        let elapsed_ms = now_ms.saturating_sub(self.measured_ms.read());
        if elapsed_ms < RATE_PERIOD_MS {
            return false;
        }
        self.measured_ms.set(now_ms);
        for (rate, now) in [
            (&self.commands, stats.sum(|counters| &counters.commands_processed)),
            (&self.input_bytes, stats.sum(|counters| &counters.net_input_bytes)),
            (&self.output_bytes, stats.sum(|counters| &counters.net_output_bytes)),
            (&self.turns, stats.sum(|counters| &counters.turns)),
            (&self.turns_ns, stats.sum(|counters| &counters.turns_ns)),
        ] {
            rate.measure(now, elapsed_ms);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_the_mean_of_its_samples() {
        let stats = Stats::new(1, 0);
        let gauges = Gauges::default();
        let mut now_ms = 1_000_000;
        gauges.tick(&stats, now_ms);
        for _ in 0..RATE_SAMPLES {
            stats.of(0).counters.commands_processed.add(50);
            now_ms += RATE_PERIOD_MS;
            gauges.tick(&stats, now_ms);
            gauges.tick(&stats, now_ms + 1);
        }
        assert_eq!(gauges.rates.commands.per_second(), 500);
        stats.reset(0);
        gauges.tick(&stats, now_ms + RATE_PERIOD_MS);
        assert!(gauges.rates.commands.per_second() < 500);
    }

    #[test]
    fn the_time_above_the_limit_is_summed() {
        let over = OverLimit::default();
        over.note(false, 5);
        assert_eq!(over.current_and_total_us(6), (0, 0));
        over.note(true, 10);
        over.note(true, 20);
        assert_eq!(over.current_and_total_us(30), (20, 20));
        over.note(false, 40);
        over.note(false, 50);
        assert_eq!(over.current_and_total_us(60), (0, 30));
        over.note(true, 70);
        assert_eq!(over.current_and_total_us(75), (5, 35));
        over.reset();
        assert_eq!(over.current_and_total_us(80), (0, 0));
    }

    #[test]
    fn the_peak_stays() {
        let gauges = Gauges::default();
        for bytes in [10, 30, 20] {
            gauges.note_used(bytes, bytes);
        }
        assert_eq!((gauges.used_bytes_peak(), gauges.used_peak_ms()), (30, 30));
    }

    #[test]
    fn shards_are_noted_and_read_back() {
        use crate::store::{Deadline, Keyspace, KeyspaceOptions, Leases, NewString};
        let options = KeyspaceOptions { shards: 2, databases: 100_000, workers: 1, hash_seed: 1 };
        let keyspace = std::sync::Arc::new(Keyspace::new(options));
        let mut leases = Leases::new(&keyspace, 0, true);
        let hash = keyspace.hash(b"key");
        let id = keyspace.shard_of(hash);
        for db in [3, 70_000].map(DbIndex) {
            let mut place = leases.shard(id).write(db, hash, b"key", 0);
            place.set_string(NewString::Bytes(b"v"), Deadline::None);
        }
        let gauges = Gauges::default();
        let dbs = |gauges: &Gauges| {
            let mut dbs = Vec::new();
            gauges.each_db(id, |db, sample| dbs.push((db.0, sample.keys)));
            dbs
        };
        assert_eq!(dbs(&gauges), []);
        let (stats, other) = (WorkerStats::new(0), WorkerStats::new(0));
        gauges.note(&stats, id, 2, leases.shard(id));
        assert_eq!(dbs(&gauges), [(3, 1), (70_000, 1)]);
        assert_eq!((gauges.keys(id), gauges.dirty(id)), (2, 2));
        assert_eq!(gauges.memory(id).used_bytes, leases.shard(id).used_bytes());
        assert_eq!(gauges.used_bytes(&stats), leases.shard(id).used_bytes());
        assert_eq!(gauges.used_bytes(&other), 0);
        gauges.share(&stats);
        assert_eq!([&stats, &other].map(|of| gauges.used_bytes(of)), [leases.shard(id).used_bytes(); 2]);
        leases.shard(id).flush_all();
        gauges.note_memory(&other, id, 2, leases.shard(id));
        assert_eq!(gauges.flushed_shards(), 1);
        leases.shard(id).free_discarded(usize::MAX);
        gauges.note_memory(&other, id, 2, leases.shard(id));
        assert_eq!(gauges.flushed_shards(), 0);
        assert_eq!(gauges.used_bytes(&other), leases.shard(id).used_bytes());
        gauges.share(&other);
        for bytes in [500, 100] {
            gauges.note_clients(&stats, bytes);
        }
        assert_eq!(gauges.used_bytes(&stats), leases.shard(id).used_bytes() + 100);
    }

    /// A worker's own bytes are exact; others see them in steps, and never less than none.
    #[test]
    fn bytes_of_other_workers_are_seen_in_steps() {
        let (gauges, mine, other) = (Gauges::default(), WorkerStats::new(0), WorkerStats::new(0));
        gauges.note_clients(&mine, STEP_BYTES);
        assert_eq!([&mine, &other].map(|of| gauges.used_bytes(of)), [STEP_BYTES, 0]);
        // It frees what the first one has not said it has.
        gauges.grow(&other, 0u64.wrapping_sub(STEP_BYTES));
        assert_eq!([&mine, &other].map(|of| gauges.used_bytes(of)), [STEP_BYTES, 0]);
        gauges.note_clients(&mine, STEP_BYTES + 1);
        assert_eq!([&mine, &other].map(|of| gauges.used_bytes(of)), [STEP_BYTES + 1, 1]);
        gauges.share(&other);
        assert_eq!([&mine, &other].map(|of| gauges.used_bytes(of)), [1, 1]);
    }
}
