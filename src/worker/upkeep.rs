//! Upkeep of the home shards and of the connections, in slices within a time budget.
//!
//! Design: as Redis's cron, `hz` times a second while there is something to do; each tick spends at most
//! [`BUDGET_US`] and remembers where it stopped. A home shard is touched under its lease like any other, and skipped if
//! another worker holds it right now.
//!
//! Not here: growth of tables, which happens where the insert happens (`store`).

use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::config::Config;
use crate::io::Io;
use crate::net::connection::Hold;
use crate::store::ShardId;

/// Most that one tick takes, in us: short against the latency of a request over a network.
const BUDGET_US: u64 = 500;
/// Time between ticks while there is more to do than one tick may take, in ms.
const PAUSE_MS: u64 = 2;
/// Entries that one shard may expire before the clock is looked at again.
const EXPIRE_ENTRIES_MAX: usize = 128;
/// Connections looked at in one tick.
const CONNECTIONS_PER_TICK: u32 = 512;

/// Where the upkeep stands.
pub(super) struct Upkeep {
    next_ms: u64,
    /// Home shards still to be visited in this round.
    shards_left: usize,
    /// Whether a shard of this round has more to do than it was given time for.
    pending: bool,
    slot: u32,
}

impl Upkeep {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { next_ms: now_ms, shards_left: 0, pending: false, slot: 0 }
    }

    /// How long until there is upkeep to do.
    pub(super) fn due_in_ms(&self, now_ms: u64, _: &Config) -> u64 {
        self.next_ms.saturating_sub(now_ms)
    }

    /// Makes the next tick come at once.
    pub(super) fn hurry(&mut self) {
        self.next_ms = 0;
    }
}

impl<I: Io> Worker<I> {
    /// A tick, if one is due.
    pub(super) fn upkeep(&mut self) {
        let now_ms = self.clock.now_ms();
        if now_ms < self.upkeep.next_ms {
            if self.memory.is_behind() && self.upkeep_memory() {
                self.upkeep.next_ms = self.upkeep.next_ms.min(now_ms + PAUSE_MS);
            }
            return;
        }
        let start = self.clock.ticks();
        let pending = self.upkeep_shards(start) | self.upkeep_memory();
        self.upkeep_connections(now_ms);
        if self.number == 0 {
            self.shared.stats.gauges.tick(&self.shared.stats, now_ms);
        }
        let hz = u64::from(self.config.config().hz.max(1));
        // What could not be finished in the budget goes on soon; otherwise the next tick is a period away.
        self.upkeep.next_ms = now_ms + if pending { PAUSE_MS } else { (1000 / hz).max(1) };
        self.run_delay.mark();
        self.stats().counters.upkeep_ns.add(self.clock.ns_between(start, self.clock.ticks()));
    }

    /// Visits home shards until the round or the budget ends; whether something is left to do.
    fn upkeep_shards(&mut self, start: u64) -> bool {
        let home_count = self.shared.keyspace.home_count(self.number);
        if self.upkeep.shards_left == 0 {
            self.upkeep.shards_left = home_count;
            self.upkeep.pending = false;
        }
        while self.upkeep.shards_left > 0 {
            self.upkeep.shards_left -= 1;
            let shard = self.shared.keyspace.home_shard(self.number, self.upkeep.shards_left);
            let more = if self.leases.try_take(shard) { self.upkeep_shard(shard) } else { true };
            self.upkeep.pending |= more;
            if self.clock.ns_between(start, self.clock.ticks()) > BUDGET_US * 1000 {
                self.stats().counters.expired_time_cap_reached.add(u64::from(more));
                break;
            }
        }
        self.upkeep.pending || self.upkeep.shards_left > 0
    }

    /// Expires and frees in a shard whose lease is held, and gives it back; whether something is left to do there.
    fn upkeep_shard(&mut self, shard: ShardId) -> bool {
        self.io.interlude();
        let active = !self.shared.debug.no_active_expire.load(Relaxed);
        let home = self.leases.shard(shard);
        let before = home.stats.expired;
        let mut more = !home.upkeep(EXPIRE_ENTRIES_MAX);
        if active {
            more |= !home.expire_due(self.clock.now_ms(), EXPIRE_ENTRIES_MAX, &mut |_, _| {}).done;
        }
        let expired = home.stats.expired - before;
        self.shared.stats.gauges.note(shard, self.shared.keyspace.shard_count(), home);
        let wanted = self.leases.release_all();
        self.post.wake_wanting(wanted);
        self.stats().counters.expired_keys.add(expired);
        more
    }

    /// Closes idle clients, lets paused ones go on, counts memory.
    fn upkeep_connections(&mut self, now_ms: u64) {
        if self.shared.pause.until_ms() <= now_ms && !self.paused.is_empty() {
            self.resume_paused();
        }
        let timeout_ms = u64::from(self.config.config().timeout) * 1000;
        let bound = self.connections.bound();
        if self.upkeep.slot >= bound {
            self.upkeep.slot = 0;
            let bytes =
                (0..bound).filter_map(|slot| self.connections.get(slot)).map(|c| c.allocated_bytes() as u64);
            let bytes = bytes.sum();
            self.shared.stats.gauges.note_clients(self.stats(), bytes);
        }
        let end = bound.min(self.upkeep.slot + CONNECTIONS_PER_TICK);
        for slot in self.upkeep.slot..end {
            let Some(connection) = self.connections.get(slot) else { continue };
            let active_ms = connection.session.card.active_ms.load(Relaxed);
            let idle = timeout_ms > 0 && now_ms.saturating_sub(active_ms) > timeout_ms;
            let token = connection.token;
            if idle && !connection.session.monitor && connection.hold == Hold::None {
                log::debug!("Closing idle client");
                self.close(token);
            } else if connection.soft_limit_since_ms > 0 {
                self.make_dirty(slot);
            }
        }
        self.upkeep.slot = end;
    }
}
