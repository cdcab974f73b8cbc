//! Looking for hot and big keys, while somebody watches (`observe::key_watch`).
//!
//! Costs: one key a turn; some hundred entries a tick of cron.

use super::Worker;
use crate::command::Args;
use crate::command::keys::each_key;
use crate::exec::{REFUSED, Source};
use crate::io::Io;

/// Home shards that a tick looks into.
const SHARDS_PER_TICK: usize = 8;
/// Entries of each database of such a shard.
const ENTRIES_PER_SHARD: usize = 16;
/// Of the biggest keys known, how many a tick looks at again.
const AGAIN_PER_TICK: usize = 4;

impl<I: Io> Worker<I> {
    /// Counts the first key of one command of the batch.
    #[inline]
    pub(super) fn watch_hot_keys(&mut self) {
        if self.shared.stats.keys.is_wanted(self.clock.now_ms()) {
            self.sample_batch();
        }
    }

    #[cold]
    fn sample_batch(&mut self) {
        let commands = self.batch.commands.len();
        let command = self.batch.commands[self.execution.rng.below(commands as u64) as usize];
        if command.hashes_count == 0 || command.row == REFUSED {
            return;
        }
        let input = match command.source {
            Source::Input(index) => self.io.input(&self.batch.inputs[index as usize]),
            Source::QueryBuffer => &[],
        };
        let (buffer, large, ..) = self.connections.at(command.slot).parts(command.source, input);
        let args = Args::new(buffer, self.batch.spans_of(&command), large);
        let mut first = None;
        // It was gathered, so its keys add up.
        let _ = each_key(self.execution.table.row(command.row), &args, |index| first = first.or(Some(index)));
        let (Some(first), Some(mut keys)) = (first, self.shared.stats.keys.of(self.number)) else { return };
        keys.count(command.db_hint, command.hash, args.at(first), commands as u64, self.clock.now_ms());
    }

    /// Looks at entries of the home shards, and once more at some of the biggest known.
    pub(super) fn watch_big_keys(&mut self) {
        if !self.shared.stats.keys.is_wanted(self.clock.now_ms()) || self.loads {
            return;
        }
        let Some(mut keys) = self.shared.stats.keys.of(self.number) else { return };
        let (keyspace, leases, rng) =
            (&self.shared.keyspace, &mut self.execution.leases, &mut self.execution.rng);
        let home = keyspace.home_count(self.number);
        for _ in 0..SHARDS_PER_TICK.min(home) {
            let shard = keyspace.home_shard(self.number, rng.below(home as u64) as usize);
            if !leases.try_take(shard) {
                continue;
            }
            let held = leases.shard_ref(shard);
            for db in held.used_dbs() {
                held.sample(db, rng.next(), ENTRIES_PER_SHARD, &mut |entry| {
                    let bytes = entry.bytes_allocated() as u64;
                    keys.offer(db, keyspace.hash(entry.key()), entry.key(), bytes, entry.ty().name());
                });
            }
            let wanted = leases.release_all();
            self.inbox.wake_wanting(wanted);
        }
        for _ in 0..AGAIN_PER_TICK {
            let Some(big) = keys.take_next() else { break };
            let shard = keyspace.shard_of(big.hash);
            if !leases.try_take(shard) {
                keys.put_back(&big);
                continue;
            }
            if let Some(entry) = leases.shard_ref(shard).peek(big.db, big.hash, &big.key) {
                keys.offer(big.db, big.hash, &big.key, entry.bytes_allocated() as u64, entry.ty().name());
            }
            let wanted = leases.release_all();
            self.inbox.wake_wanting(wanted);
        }
    }
}
