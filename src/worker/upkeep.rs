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

/// Most that one tick takes, in us: short against the latency of a request over a network.
const BUDGET_US: u64 = 500;
/// Entries that one shard may expire before the clock is looked at again.
const EXPIRE_ENTRIES_MAX: usize = 128;
/// Connections looked at in one tick.
const CONNECTIONS_PER_TICK: u32 = 512;

/// Where the upkeep stands.
pub(super) struct Upkeep {
    next_ms: u64,
    shard: usize,
    slot: u32,
}

impl Upkeep {
    pub(super) fn new(now_ms: u64) -> Self {
        Self { next_ms: now_ms, shard: 0, slot: 0 }
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
            return;
        }
        let start = self.clock.ticks();
        let pending = self.upkeep_shards(start);
        self.upkeep_connections(now_ms);
        let hz = u64::from(self.config.config().hz.max(1));
        // What could not be finished in the budget goes on soon; otherwise the next tick is a period away.
        self.upkeep.next_ms = now_ms + if pending { 1 } else { (1000 / hz).max(1) };
        self.stats().counters.upkeep_ns.add(self.clock.ns_between(start, self.clock.ticks()));
    }

    /// Expires and frees in the home shards; whether something is left to do.
    fn upkeep_shards(&mut self, start: u64) -> bool {
        let active = !self.shared.debug.no_active_expire.load(Relaxed);
        let now_ms = self.clock.now_ms();
        let home = self.shared.keyspace.home_shards(self.number).count();
        let mut pending = false;
        for _ in 0..home {
            self.upkeep.shard = (self.upkeep.shard + 1) % home;
            let mut shards = self.shared.keyspace.home_shards(self.number);
            let shard = shards.nth(self.upkeep.shard).expect("counted above");
            if !self.leases.try_take(shard) {
                pending = true;
                continue;
            }
            self.io.interlude();
            let home = self.leases.shard(shard);
            let before = home.stats.expired;
            let mut more = !home.upkeep(EXPIRE_ENTRIES_MAX);
            if active {
                more |= !home.expire_due(now_ms, EXPIRE_ENTRIES_MAX, &mut |_, _| {}).done;
            }
            let expired = home.stats.expired - before;
            let wanted = self.leases.release_all();
            self.post.wake_wanting(wanted);
            self.stats().counters.expired_keys.add(expired);
            pending |= more;
            if self.clock.ns_between(start, self.clock.ticks()) > BUDGET_US * 1000 {
                self.stats().counters.expired_time_cap_reached.add(u64::from(more));
                return true;
            }
        }
        pending
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
            self.stats().client_bytes.set(bytes.sum());
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
