//! What each worker counts: server-wide counters, per-command counters and histograms, errors by their first word.
//!
//! Design: every worker writes its own [`WorkerStats`] with single-writer counters; INFO sums them. CONFIG RESETSTAT raises a
//! common epoch: a worker that sees a new epoch zeroes its own counters at the start of its turn, and readers take the
//! counters of a worker that has not seen it yet for zero. So no counter ever has two writers.

use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::counter::Counter;
use super::gauges::Gauges;
use super::histogram::{Histogram, Snapshot};
use super::hotkeys::Hotkeys;
use super::key_watch::KeyWatch;
use super::latency::LatencyMonitor;

/// Different first words of error replies that are counted one by one; further ones count under the last.
const ERROR_KINDS_MAX: usize = 64;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The counters that `CONFIG RESETSTAT` zeroes, one writer each.
        #[derive(Default)]
        pub struct Counters { $($(#[$doc])* pub $name: Counter,)* }

        impl Counters {
            fn reset(&self) { $(self.$name.set(0);)* }
        }
    };
}

counters! {
    /// Connections accepted.
    connections_received,
    /// Connections refused because of `maxclients`.
    connections_rejected,
    /// TLS handshakes that succeeded.
    tls_handshakes,
    /// TLS handshakes that failed, or took too long.
    tls_handshakes_failed,
    /// Commands that ran.
    commands_processed,
    /// Bytes read from clients.
    net_input_bytes,
    /// Bytes written to clients.
    net_output_bytes,
    /// Receive completions that brought bytes.
    reads_processed,
    /// Sends handed to the kernel.
    writes_processed,
    /// Reads that found their key.
    keyspace_hits,
    /// Reads that did not.
    keyspace_misses,
    /// Keys whose deadline passed.
    expired_keys,
    /// What expired in values: fields of hashes.
    expired_subkeys,
    /// Times the active expiry stopped because its time was up.
    expired_time_cap_reached,
    /// Entries that defragmentation moved.
    defrag_hits,
    /// Entries that it was to move and did not.
    defrag_misses,
    /// Time that it took, in ns.
    defrag_ns,
    /// Keys removed to free memory.
    evicted_keys,
    /// Clients closed because all together held too much.
    evicted_clients,
    /// Clients closed because of their output or query buffers.
    client_output_buffer_limit_disconnections,
    /// Replicas that began with a snapshot, that continued, and that asked in vain to continue.
    sync_full,
    sync_partial_ok,
    sync_partial_err,
    /// Clients closed because their query buffer was full.
    client_query_buffer_limit_disconnections,
    /// Error replies written.
    error_replies,
    /// Commands refused with `-LOADING`, `-NOAUTH`, `-OOM` and the like before they ran.
    commands_rejected,
    /// AUTH attempts that failed.
    auth_denied,
    /// Commands refused because of the user's rights.
    commands_denied,
    /// Commands refused because of one of their keys.
    keys_denied,
    /// Commands refused because of one of their channels.
    channels_denied,
    /// Turns of the loop.
    turns,
    /// Nanoseconds of these turns, waiting excluded.
    turns_ns,
    /// Turns above `turn-warn-us`.
    turns_long,
    /// Groups run.
    groups,
    /// Leases taken.
    leases_taken,
    /// Leases refused because another worker held or had reserved them.
    leases_refused,
    /// Commands deferred to a later pass because of a refusal.
    leases_retried,
    /// Times a worker marked a lease as wanted before it slept.
    leases_wanted,
    /// Times a worker reserved the shards of a command.
    leases_reserved,
    /// Scripts that needed the leases of their keys only.
    scripts_declared,
    /// Scripts that needed others, and got them on the spot.
    scripts_tried,
    /// Scripts that were refused one, and ran again.
    scripts_again,
    /// Groups that held leases for longer than `lease-warn-us`.
    leases_long,
    /// Connections that left for another worker.
    connections_moved,
    /// Messages sent to other workers.
    messages_sent,
    /// Turns in which commands had to wait because too many messages were under way.
    messages_full,
    /// Wake-ups sent to sleeping workers.
    wakes_sent,
    /// Times it went to sleep for want of anything to do.
    parks,
    /// Published messages written to clients.
    messages_delivered,
    /// Nanoseconds of cron.
    cron_ns,
}

/// Counts of one command on one worker.
#[derive(Default)]
pub struct CommandStats {
    /// Runs.
    pub calls: Counter,
    /// Time of all runs, in ns.
    pub total_ns: Counter,
    /// Refused before running (arity, authentication, memory).
    pub rejected: Counter,
    /// Ended in an error.
    pub failed: Counter,
    /// Durations of the runs.
    pub durations: Histogram,
}

/// The counts of one command on all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CommandSum {
    /// Runs.
    pub calls: u64,
    /// Time of all runs, in ns.
    pub ns: u64,
    /// Refused before running.
    pub rejected: u64,
    /// Ended in an error.
    pub failed: u64,
}

impl CommandSum {
    /// Whether the command was never seen.
    pub fn is_empty(&self) -> bool {
        self.calls == 0 && self.rejected == 0 && self.failed == 0
    }
}

/// Everything one worker counts, in lines of its own.
#[repr(align(128))]
pub struct WorkerStats {
    /// Server-wide counters.
    pub counters: Counters,
    /// By the number of the command's row.
    pub commands: Box<[CommandStats]>,
    /// Durations of the turns, waiting excluded.
    pub turns: Histogram,
    /// When it gave a sign of life last, Unix time in ms: it begins a turn, or takes a step of what takes long within one.
    pub alive_ms: Counter,
    /// Connections that live on this worker.
    pub connections: Counter,
    /// Messages of this worker that wait for others to read what came before.
    pub messages_waiting: Counter,
    /// How long it ran in the last window, in thousandths of a processor (`worker::balance`).
    pub load_ran: Counter,
    /// How long it waited for a processor. Its load is both together.
    pub load_waited: Counter,
    /// When a slow command was last seen, Unix time in ms.
    pub slow_command_ms: Counter,
    /// Clients that had commands run in that window.
    pub clients: Counter,
    /// Memory that scripts have in its interpreter.
    pub interpreter_bytes: Counter,
    /// Clients of this worker that wait for a key, for a limited time.
    pub waits_timed: Counter,
    /// Turns that may have left something to do in shards: with commands that need some, or the end of a watch. Resets or not.
    pub busy_turns: Counter,
    /// Commands that ran under a memory limit and may have written, resets or not.
    pub limited_writes: Counter,
    /// Bytes in query buffers, output buffers and connection state.
    pub client_bytes: Counter,
    /// The same as it was when completions were last seen: what is compared with `maxmemory-clients`.
    pub client_bytes_settled: Counter,
    /// Bytes that its shards and clients have grown by since it last said so to all others (`Gauges`); wrapping, as it may be
    /// less.
    pub bytes_apart: Counter,
    /// Largest query buffer and output seen lately, for INFO.
    pub query_bytes_recent_max: Counter,
    /// Largest output buffer seen lately.
    pub output_bytes_recent_max: Counter,
    errors: Box<[(OnceLock<Box<str>>, Counter)]>,
    epoch_seen: AtomicU64,
}

impl WorkerStats {
    /// The worker is in the middle of what takes long, and goes on.
    pub fn note_alive(&self) {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.alive_ms.set(since_epoch.as_millis() as u64);
    }

    /// Counters for `command_count` rows.
    pub fn new(command_count: usize) -> Self {
        Self {
            counters: Counters::default(),
            commands: (0..command_count).map(|_| CommandStats::default()).collect(),
            turns: Histogram::default(),
            alive_ms: Counter::default(),
            connections: Counter::default(),
            messages_waiting: Counter::default(),
            load_ran: Counter::default(),
            load_waited: Counter::default(),
            slow_command_ms: Counter::default(),
            clients: Counter::default(),
            interpreter_bytes: Counter::default(),
            waits_timed: Counter::default(),
            busy_turns: Counter::default(),
            limited_writes: Counter::default(),
            client_bytes: Counter::default(),
            client_bytes_settled: Counter::default(),
            bytes_apart: Counter::default(),
            query_bytes_recent_max: Counter::default(),
            output_bytes_recent_max: Counter::default(),
            errors: (0..ERROR_KINDS_MAX).map(|_| (OnceLock::new(), Counter::default())).collect(),
            epoch_seen: AtomicU64::new(0),
        }
    }

    /// Counts commands of one row that have run, for so long in all.
    #[inline]
    pub fn count_calls(&self, row: u16, count: u64, ns: u64) {
        let counts = &self.commands[row as usize];
        counts.calls.add(count);
        counts.total_ns.add(ns);
        counts.durations.record(ns / count.max(1), count);
        self.counters.commands_processed.add(count);
    }

    /// Counts an error reply by its first word (`ERR`, `WRONGTYPE`).
    pub fn count_error(&self, text: &str) {
        self.counters.error_replies.add(1);
        let word = text.split(' ').next().unwrap_or(text);
        let last = self.errors.len() - 1;
        for (index, (name, count)) in self.errors.iter().enumerate() {
            if index == last || name.get_or_init(|| word.into()).as_ref() == word {
                return count.add(1);
            }
        }
    }

    /// Error replies by first word; the unnamed one stands for all beyond the limit.
    pub fn errors(&self) -> impl Iterator<Item = (&str, u64)> {
        let named = self.errors.iter().map(|(name, count)| (name.get(), count.read()));
        named.filter(|(_, count)| *count > 0).map(|(name, count)| (name.map_or("OTHER", |n| n), count))
    }

    fn reset(&self) {
        self.counters.reset();
        self.turns.reset();
        self.query_bytes_recent_max.set(0);
        self.output_bytes_recent_max.set(0);
        for command in &self.commands {
            command.calls.set(0);
            command.total_ns.set(0);
            command.rejected.set(0);
            command.failed.set(0);
            command.durations.reset();
        }
        for (_, count) in &self.errors {
            count.set(0);
        }
    }
}

/// The statistics of all workers.
pub struct Stats {
    workers: Box<[WorkerStats]>,
    epoch: AtomicU64,
    /// What is measured rather than counted.
    pub gauges: Gauges,
    /// Events that took too long.
    pub latency: LatencyMonitor,
    /// The hottest and the biggest keys, while somebody watches.
    pub keys: KeyWatch,
    /// The keys that take most, from HOTKEYS START to STOP.
    pub hotkeys: Hotkeys,
}

impl Stats {
    /// For `worker_count` workers and `command_count` rows.
    pub fn new(worker_count: usize, command_count: usize) -> Self {
        let workers = (0..worker_count).map(|_| WorkerStats::new(command_count)).collect();
        let (gauges, latency) = Default::default();
        let (keys, hotkeys) = (KeyWatch::new(worker_count), Hotkeys::new(worker_count));
        Self { workers, epoch: AtomicU64::new(0), gauges, latency, keys, hotkeys }
    }

    /// The counters of one worker, for that worker to write.
    pub fn of(&self, worker: usize) -> &WorkerStats {
        &self.workers[worker]
    }

    /// All workers' counters, those that have yet to see a reset left out.
    pub fn current(&self) -> impl Iterator<Item = &WorkerStats> {
        let epoch = self.epoch.load(Ordering::Acquire);
        self.workers.iter().filter(move |stats| stats.epoch_seen.load(Ordering::Acquire) == epoch)
    }

    /// All workers' counters, for values that no reset concerns.
    pub fn all(&self) -> &[WorkerStats] {
        &self.workers
    }

    /// The sum of one counter over the workers.
    pub fn sum(&self, counter: impl Fn(&Counters) -> &Counter) -> u64 {
        self.current().map(|stats| counter(&stats.counters).read()).sum()
    }

    /// The counts of one command.
    pub fn command(&self, row: u16) -> CommandSum {
        self.current().fold(CommandSum::default(), |sum, worker| {
            let command = &worker.commands[row as usize];
            CommandSum {
                calls: sum.calls + command.calls.read(),
                ns: sum.ns + command.total_ns.read(),
                rejected: sum.rejected + command.rejected.read(),
                failed: sum.failed + command.failed.read(),
            }
        })
    }

    /// Error replies by first word.
    pub fn errors(&self) -> BTreeMap<&str, u64> {
        let mut sum = BTreeMap::new();
        for (word, count) in self.current().flat_map(WorkerStats::errors) {
            *sum.entry(word).or_default() += count;
        }
        sum
    }

    /// The merged durations of one command.
    pub fn durations(&self, command: u16) -> Snapshot {
        let mut sum = Snapshot::default();
        self.add_durations(command, &mut sum);
        sum
    }

    /// Adds the durations of one command to others.
    pub fn add_durations(&self, command: u16, sum: &mut Snapshot) {
        self.current().for_each(|stats| stats.commands[command as usize].durations.add_to(sum));
    }

    /// `CONFIG RESETSTAT`, called on `worker`, whose counters are zeroed at once.
    pub fn reset(&self, worker: usize) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
        self.gauges.over_limit.reset();
        self.gauges.defragging.reset();
        self.follow_reset(worker);
    }

    /// Zeroes the counters of `worker` if a reset was asked for; called by that worker at the start of a turn.
    #[inline]
    pub fn follow_reset(&self, worker: usize) {
        let epoch = self.epoch.load(Ordering::Acquire);
        let stats = &self.workers[worker];
        if stats.epoch_seen.load(Ordering::Relaxed) != epoch {
            stats.reset();
            stats.epoch_seen.store(epoch, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_hides_workers_that_have_not_seen_it() {
        let stats = Stats::new(2, 3);
        stats.of(0).counters.commands_processed.add(5);
        stats.of(1).counters.commands_processed.add(7);
        assert_eq!(stats.sum(|c| &c.commands_processed), 12);
        stats.reset(0);
        assert_eq!(stats.sum(|c| &c.commands_processed), 0);
        stats.of(0).counters.commands_processed.add(1);
        stats.follow_reset(1);
        stats.of(1).counters.commands_processed.add(2);
        assert_eq!(stats.sum(|c| &c.commands_processed), 3);
    }

    #[test]
    fn errors_are_counted_by_first_word_and_the_kinds_are_bounded() {
        let stats = WorkerStats::new(0);
        stats.count_error("ERR syntax error");
        stats.count_error("ERR other");
        stats.count_error("WRONGTYPE Operation");
        let counts: Vec<_> = stats.errors().collect();
        assert_eq!(counts, [("ERR", 2), ("WRONGTYPE", 1)]);
        for n in 0..1000 {
            stats.count_error(&format!("E{n} text"));
        }
        assert_eq!(stats.errors().map(|(_, count)| count).sum::<u64>(), 1003);
        assert_eq!(stats.errors().count(), ERROR_KINDS_MAX);
    }
}
