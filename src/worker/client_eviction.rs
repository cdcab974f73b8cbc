//! Client eviction: when all clients together hold more than `maxmemory-clients`, the largest go first.
//!
//! Design: each worker leaves in its counters what its clients hold once the completions of a turn are seen, so that
//! replies which the kernel takes at once count as sent, and looks at the limit then. Whichever worker finds the sum above the
//! limit walks the infos of all clients, marks the largest as killed until the rest fits, and tells their workers. A marked
//! client counts no more, so two workers that look at the same time end no more clients than one of them would.
//!
//! As in Redis, what clients under CLIENT NO-EVICT hold counts, and they stay; primaries and replicas are no clients here.
//!
//! Costs: without a limit, one branch a turn; with one, a load for each worker. A walk reads each client's info twice, and
//! comes at most once every [`WALK_PERIOD_MS`] on each worker.
//! Not here: what a client holds (`client_bytes`).

use std::sync::atomic::Ordering::Relaxed;

use super::{Message, Worker};
use crate::command::Shared;
use crate::config::Config;
use crate::io::{Io, Token};
use crate::observe::{ClientInfo, ClientPlace, flag};

/// A limit below this, in bytes, would close the clients that could raise it. Redis has the same.
const LIMIT_BYTES_MIN: u64 = 128 << 10;
/// Time from one walk over all clients to the next, in ms.
const WALK_PERIOD_MS: u64 = 10;

/// The limit, and when clients were last walked because of it.
pub(super) struct ClientLimit {
    bytes: u64,
    walked_ms: u64,
}

impl ClientLimit {
    pub(super) fn new(config: &Config) -> Self {
        Self { bytes: limit_bytes(config), walked_ms: 0 }
    }

    /// Takes up a new configuration.
    pub(super) fn follow(&mut self, config: &Config) {
        *self = Self::new(config);
    }

    /// Whether there is a limit.
    #[inline]
    pub(super) fn is_on(&self) -> bool {
        self.bytes != u64::MAX
    }
}

/// `u64::MAX` without a limit. A percentage is one of `maxmemory`, and none without that.
fn limit_bytes(config: &Config) -> u64 {
    let bytes = match config.maxmemory_clients {
        percent if percent < 0 => {
            (u128::from(config.maxmemory) * u128::from(percent.unsigned_abs()) / 100) as u64
        }
        bytes => bytes as u64,
    };
    if bytes == 0 { u64::MAX } else { bytes.max(LIMIT_BYTES_MIN) }
}

/// Bytes that the clients of all workers hold, as these said last.
fn held_bytes(shared: &Shared) -> u64 {
    shared.stats.all().iter().map(|worker| worker.client_bytes_settled.read()).sum()
}

/// Which clients are to go so that the rest holds less than `limit_bytes`: their numbers, the largest client's first.
fn choose<'a>(limit_bytes: u64, each: impl FnOnce(&mut dyn FnMut(&ClientInfo)) + 'a) -> Vec<u64> {
    let (mut held_bytes, mut evictable) = (0_u64, Vec::new());
    each(&mut |client_info| {
        if client_info.is_killed() || client_info.has(flag::PRIMARY) || client_info.has(flag::REPLICA) {
            return;
        }
        let bytes = client_info.total_bytes.load(Relaxed);
        held_bytes += bytes;
        if !client_info.has(flag::NO_EVICT) {
            evictable.push((bytes, client_info.id));
        }
    });
    evictable.sort_unstable_by(|a, b| b.cmp(a));
    let mut chosen = Vec::new();
    for (bytes, id) in evictable {
        if held_bytes < limit_bytes {
            break;
        }
        held_bytes -= bytes;
        chosen.push(id);
    }
    chosen
}

impl<I: Io> Worker<I> {
    /// Closes clients if all together hold too much.
    #[inline]
    pub(super) fn evict_clients(&mut self) {
        if self.client_limit.is_on() {
            self.stats()
                .client_bytes_settled
                .set(self.client_bytes.sum().saturating_sub(self.upstream_bytes()));
            if held_bytes(&self.shared) >= self.client_limit.bytes {
                self.evict_largest_clients();
            }
        }
    }

    #[cold]
    fn evict_largest_clients(&mut self) {
        let now_ms = self.clock.now_ms();
        // The clock may have been set back.
        if now_ms.abs_diff(self.client_limit.walked_ms) < WALK_PERIOD_MS {
            self.cron.come_by(self.client_limit.walked_ms + WALK_PERIOD_MS);
            return;
        }
        self.client_limit.walked_ms = now_ms;
        let mut chosen = choose(self.client_limit.bytes, |visit| self.shared.clients.each(visit));
        chosen.sort_unstable();
        let (mut places, mut count) = (Vec::new(), 0);
        self.shared.clients.each(|client_info| {
            if chosen.binary_search(&client_info.id).is_ok()
                && let Some(place) = client_info.kill()
            {
                log::info!(
                    "Evicting client id={} addr={} tot-mem={}",
                    client_info.id,
                    client_info.address,
                    client_info.total_bytes.load(Relaxed)
                );
                places.push(place);
                count += 1;
            }
        });
        self.stats().counters.evicted_clients.add(count);
        for ClientPlace { worker, slot, generation } in places {
            match usize::from(worker) {
                here if here == self.number => self.close(Token { slot, generation }),
                there => self.inbox.send(there, Message::Kill { slot, generation }),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::RegistrySlot;

    fn client(id: u64, bytes: u64) -> ClientInfo {
        let place = ClientPlace { worker: 0, slot: id as u32, generation: 0 };
        let registry_slot = RegistrySlot { worker: 0, number: id as u32 };
        let client_info = ClientInfo::new(id, registry_slot, place, String::new(), String::new(), -1, 0);
        client_info.total_bytes.store(bytes, Relaxed);
        client_info
    }

    #[test]
    fn the_largest_go_until_the_rest_is_below_the_limit() {
        let clients = [client(1, 100), client(2, 400), client(3, 300), client(4, 200), client(5, 1000)];
        clients[4].set(flag::NO_EVICT, true);
        let chosen = |limit_bytes| choose(limit_bytes, |visit| clients.iter().for_each(visit));
        assert_eq!(chosen(2001), [] as [u64; 0]);
        assert_eq!(chosen(2000), [2]);
        assert_eq!(chosen(1601), [2]);
        assert_eq!(chosen(1600), [2, 3]);
        assert_eq!(chosen(1), [2, 3, 4, 1], "who may not be evicted stays");
        clients[0].set(flag::PRIMARY, true);
        assert_eq!(chosen(1900), [2], "a primary's bytes count for nobody");
        clients[0].set(flag::PRIMARY, false);
        // Who is about to go holds nothing.
        clients[1].kill();
        assert_eq!(chosen(1601), [] as [u64; 0]);
        assert_eq!(chosen(1600), [3]);
    }

    #[test]
    fn a_percentage_is_one_of_maxmemory() {
        let limit = |maxmemory, maxmemory_clients| {
            limit_bytes(&Config { maxmemory, maxmemory_clients, ..Config::default() })
        };
        assert_eq!(limit(0, 0), u64::MAX);
        assert_eq!(limit(0, -10), u64::MAX);
        assert_eq!(limit(100 << 20, -10), 10 << 20);
        assert_eq!(limit(0, 1 << 20), 1 << 20);
        assert_eq!(limit(0, 1), LIMIT_BYTES_MIN);
        assert_eq!(limit(1 << 20, -1), LIMIT_BYTES_MIN);
    }
}
