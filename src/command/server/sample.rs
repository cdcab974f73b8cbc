//! Counts keys and memory over all shards without holding the other workers up.
//!
//! Design: the leases that are free are taken one at a time and given back at once; those another worker has just now are
//! tried again a few times, which outlasts a group. What is still held then (its holder sleeps, or reserved it) is
//! reported as its gauge last said, a tenth of a second ago at most.
//!
//! Costs: some 20 ns per shard.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;

use crate::command::{Context, Effect, Shared, table};
use crate::config::Config;
use crate::observe::{CommandStats, DbSample, GAUGE_BYTES, MemorySample, WorkerStats, db_sample};
use crate::store::{DbIndex, Leases, Shard, ShardId, WantedMask};

/// Times the shards that were held are tried again.
const PASSES_MAX: usize = 64;

/// What all shards say together.
#[derive(Default)]
pub struct KeyspaceSample {
    /// Of each database that has keys.
    pub dbs: BTreeMap<DbIndex, DbSample>,
    /// Of all of them.
    pub memory: MemorySample,
    /// Changes since the start.
    pub dirty: u64,
}

impl KeyspaceSample {
    /// Keys of all databases.
    pub fn keys(&self) -> u64 {
        self.dbs.values().map(|db| db.keys).sum()
    }

    /// What a shard said last.
    fn add_noted(&mut self, shard: ShardId, shared: &Shared) {
        let gauges = &shared.stats.gauges;
        self.memory.add(gauges.memory(shard));
        self.dirty += gauges.dirty(shard);
        gauges.each_db(shard, |db, sample| self.add_db(db, sample));
    }

    fn add_db(&mut self, db: DbIndex, sample: DbSample) {
        self.dbs.entry(db).or_default().add(sample);
    }
}

/// What all shards said last, a tenth of a second ago at most where something happens: for a thread that is no worker, and so takes no
/// lease.
pub fn noted(shared: &Shared) -> KeyspaceSample {
    let mut sum = KeyspaceSample::default();
    shared.keyspace.shards().for_each(|shard| sum.add_noted(shard, shared));
    sum
}

/// Counts over all shards.
pub fn keyspace(ctx: &mut Context<'_>) -> KeyspaceSample {
    let keyspace = &ctx.shared.keyspace;
    let mut sum = KeyspaceSample::default();
    let mut left: Vec<ShardId> = keyspace.shards().collect();
    let mut wanted = WantedMask::NONE;
    for _ in 0..PASSES_MAX {
        left.retain(|shard| !add_if_free(*shard, ctx.leases, &mut sum, &mut wanted));
        if left.is_empty() {
            break;
        }
        std::hint::spin_loop();
    }
    for shard in left {
        sum.add_noted(shard, ctx.shared);
    }
    if !wanted.is_empty() {
        ctx.effects.push(Effect::Wake(wanted));
    }
    sum
}

fn add_if_free(
    shard: ShardId,
    leases: &mut Leases,
    sum: &mut KeyspaceSample,
    wanted: &mut WantedMask,
) -> bool {
    let mark = leases.mark();
    if !leases.try_take(shard) {
        return false;
    }
    let held = leases.shard_ref(shard);
    sum.memory.add(MemorySample::of(held));
    sum.dirty += held.dirty();
    held.used_dbs().for_each(|db| sum.add_db(db, db_sample(held, db)));
    wanted.add(leases.release_back_to(mark));
    true
}

/// The process's memory as a whole, in bytes.
pub struct ProcessMemory {
    /// Data, tables and connections.
    pub used: u64,
    /// Of these, what is not data.
    pub overhead: u64,
    /// Query buffers, output buffers, connection state.
    pub clients: u64,
    /// What the server itself takes, in use from the start.
    pub startup: u64,
    /// The most there ever was in use.
    pub peak: u64,
    /// Mapped by the allocators for what is used.
    pub active: u64,
    /// Resident, as the kernel counts.
    pub rss: u64,
}

impl ProcessMemory {
    /// Data alone.
    pub fn dataset(&self) -> u64 {
        self.used.saturating_sub(self.overhead)
    }

    /// Data in percent of what was added since the start.
    pub fn dataset_percent(&self) -> f64 {
        let grown = self.used.saturating_sub(self.startup).max(1);
        self.dataset().min(grown) as f64 * 100.0 / grown as f64
    }

    /// Use in percent of the peak.
    pub fn peak_percent(&self) -> f64 {
        self.used as f64 * 100.0 / self.peak.max(1) as f64
    }

    /// Resident bytes for each byte in use.
    pub fn fragmentation(&self) -> f64 {
        self.rss as f64 / self.used.max(1) as f64
    }
}

/// Puts the process's memory together.
pub fn memory(shared: &Shared, keyspace: &KeyspaceSample, now_ms: u64) -> ProcessMemory {
    let stats = &shared.stats;
    let clients: u64 = stats.all().iter().map(|worker| worker.client_bytes.read()).sum();
    let startup = server_bytes(shared);
    let grown = keyspace.memory.used_bytes + clients;
    let used = startup + grown;
    stats.gauges.note_used(grown, now_ms);
    let pool = crate::store::pool::POOL.usage();
    ProcessMemory {
        used,
        overhead: startup + keyspace.memory.table_bytes + clients,
        clients,
        startup,
        peak: startup + stats.gauges.used_bytes_peak(),
        active: (startup + pool.bytes_reserved + keyspace.memory.blob_bytes + clients).max(used),
        rss: super::info::proc::resident_bytes(),
    }
}

/// What buffers and scripts take, in bytes, as INFO and MEMORY STATS show it.
pub struct Parts {
    /// The stream that is kept for replicas, up to `repl-backlog-size`.
    pub backlog: u64,
    /// What is kept beyond that for replicas that are behind.
    pub replicas: u64,
    /// What a replica has received of its primary's stream while it loads the snapshot.
    pub full_sync: u64,
    /// Effects that are not in the append-only file yet.
    pub append_only: u64,
    /// Interpreters.
    pub interpreters: u64,
    /// The interpreter of functions that keep something.
    pub shared_interpreter: u64,
    /// Scripts of EVAL that are kept.
    pub scripts: u64,
    /// Libraries of functions.
    pub libraries: u64,
}

impl Parts {
    /// As of now.
    pub fn of(shared: &Shared, config: &Config) -> Parts {
        let kept = shared.replication.stream.bytes_allocated();
        let backlog = kept.min(config.repl_backlog_size);
        Parts {
            backlog,
            replicas: kept - backlog,
            full_sync: shared.link.kept_bytes.size.load(Relaxed),
            append_only: shared.journal.queued_bytes(),
            interpreters: shared.stats.all().iter().map(|worker| worker.interpreter_bytes.read()).sum(),
            shared_interpreter: shared.script_state.shared_engine_bytes() as u64,
            scripts: shared.scripts.size().1 as u64,
            libraries: shared.script_state.libraries().bytes() as u64,
        }
    }
}

/// What the server takes for itself, in bytes: shards and counters. The receive buffers are shared with the kernel, which
/// touches as many as there is traffic for; they are in the resident memory alone, like a socket's buffers.
pub fn server_bytes(shared: &Shared) -> u64 {
    let shards = shared.keyspace.shard_count() * (size_of::<Shard>() + GAUGE_BYTES);
    let counters = table().rows().len() * size_of::<CommandStats>() + size_of::<WorkerStats>();
    (shards + shared.facts.workers * counters) as u64
}
