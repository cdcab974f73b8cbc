//! The cards of all clients: what CLIENT LIST, KILL and INFO need to know of connections that live on other workers.
//!
//! Design: a connection's worker writes its card with relaxed stores; anyone may read. The registry is, per worker, a table of
//! swappable pointers indexed by connection slot, grown by segments that never move, so that registering, leaving and
//! walking take no lock. To end a client, its card is marked and its worker is told by mail.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;

use super::claim::Claim;

/// Slots per segment of the registry.
const SEGMENT: usize = 1024;
/// Segments per worker: over a million connections.
const SEGMENTS: usize = 1024;

/// States of a client that CLIENT LIST shows as letters; bits of [`ClientCard::flags`].
pub mod flag {
    /// `O`: receives the MONITOR feed.
    pub const MONITOR: u32 = 1 << 0;
    /// `b`: waits in a blocking operation.
    pub const BLOCKED: u32 = 1 << 1;
    /// `x`: inside MULTI.
    pub const MULTI: u32 = 1 << 2;
    /// `d`: a watched key has changed.
    pub const DIRTY_CAS: u32 = 1 << 3;
    /// `c`: closes once its replies are written.
    pub const CLOSE_AFTER_REPLY: u32 = 1 << 4;
    /// `A`: closes as soon as possible.
    pub const CLOSE_ASAP: u32 = 1 << 5;
    /// `U`: came over a Unix socket.
    pub const UNIX_SOCKET: u32 = 1 << 6;
    /// `e`: its buffers do not count for client eviction.
    pub const NO_EVICT: u32 = 1 << 7;
    /// `T`: its reads do not touch the access clocks.
    pub const NO_TOUCH: u32 = 1 << 8;

    /// Each flag's letter, in the order of CLIENT LIST.
    pub const LETTERS: &[(u32, char)] = &[
        (MONITOR, 'O'),
        (MULTI, 'x'),
        (BLOCKED, 'b'),
        (DIRTY_CAS, 'd'),
        (CLOSE_AFTER_REPLY, 'c'),
        (CLOSE_ASAP, 'A'),
        (UNIX_SOCKET, 'U'),
        (NO_EVICT, 'e'),
        (NO_TOUCH, 'T'),
    ];
}

/// Where a connection lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientPlace {
    /// The worker.
    pub worker: u16,
    /// The slot in that worker's connections.
    pub slot: u32,
    /// The slot's generation.
    pub generation: u32,
}

/// What is known of one client outside its worker.
pub struct ClientCard {
    /// Unique, ascending.
    pub id: u64,
    /// Where it lives.
    pub place: ClientPlace,
    /// Peer as `ip:port`, or the Unix socket's path with `:0`.
    pub address: Box<str>,
    /// This end's address.
    pub local_address: Box<str>,
    /// The socket's descriptor.
    pub fd: i32,
    /// When it was accepted, Unix time in ms.
    pub created_ms: u64,
    /// Last time it sent a command, Unix time in ms.
    pub active_ms: AtomicU64,
    /// Selected database.
    pub db: AtomicU32,
    /// Bits of [`flag`].
    pub flags: AtomicU32,
    /// 2 or 3.
    pub protocol: AtomicU8,
    /// Row of the last command; `u16::MAX` before the first.
    pub last_command: AtomicU16,
    /// Commands queued in MULTI, or -1 as `u32::MAX`.
    pub multi_count: AtomicU32,
    /// Memory of the commands queued in MULTI.
    pub multi_bytes: AtomicU64,
    /// Keys watched.
    pub watch_count: AtomicU32,
    /// Bytes waiting in the query buffer.
    pub query_bytes: AtomicU64,
    /// Free bytes of the query buffer.
    pub query_bytes_free: AtomicU64,
    /// Reply bytes not yet sent.
    pub output_bytes: AtomicU64,
    /// Separate large replies among them.
    pub output_pieces: AtomicU32,
    /// All memory that the connection holds.
    pub total_bytes: AtomicU64,
    /// Set by CLIENT SETNAME.
    pub name: ArcSwapOption<Vec<u8>>,
    /// Set by CLIENT SETINFO.
    pub lib_name: ArcSwapOption<Vec<u8>>,
    /// Set by CLIENT SETINFO.
    pub lib_version: ArcSwapOption<Vec<u8>>,
    /// Whether the client has authenticated (or needs not).
    pub authenticated: AtomicBool,
    /// Set by whoever ends this client; its worker then closes it.
    pub killed: AtomicBool,
    /// Whether it waits for a key, and who ends that.
    pub wait: Claim,
}

impl ClientCard {
    /// A new client's card.
    pub fn new(
        id: u64,
        place: ClientPlace,
        address: String,
        local_address: String,
        fd: i32,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            place,
            address: address.into(),
            local_address: local_address.into(),
            fd,
            created_ms: now_ms,
            active_ms: AtomicU64::new(now_ms),
            db: AtomicU32::new(0),
            flags: AtomicU32::new(0),
            protocol: AtomicU8::new(2),
            last_command: AtomicU16::new(u16::MAX),
            multi_count: AtomicU32::new(u32::MAX),
            multi_bytes: AtomicU64::new(0),
            watch_count: AtomicU32::new(0),
            query_bytes: AtomicU64::new(0),
            query_bytes_free: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            output_pieces: AtomicU32::new(0),
            total_bytes: AtomicU64::new(0),
            name: ArcSwapOption::empty(),
            lib_name: ArcSwapOption::empty(),
            lib_version: ArcSwapOption::empty(),
            authenticated: AtomicBool::new(true),
            killed: AtomicBool::new(false),
            wait: Claim::default(),
        }
    }

    /// Whether all bits of `bits` are set.
    pub fn has(&self, bits: u32) -> bool {
        self.flags.load(Relaxed) & bits == bits
    }

    /// How many commands the client has queued in MULTI (`u32::MAX`: it has not begun one), and their memory.
    pub fn note_queue(&self, count: u32, bytes: usize) {
        self.multi_count.store(count, Relaxed);
        self.multi_bytes.store(bytes as u64, Relaxed);
    }

    /// Sets or clears bits; only the owning worker calls it.
    pub fn set(&self, bits: u32, on: bool) {
        let now = self.flags.load(Relaxed);
        self.flags.store(if on { now | bits } else { now & !bits }, Relaxed);
    }
}

type Segment = Box<[ArcSwapOption<ClientCard>]>;

/// The cards of all connections of all workers.
pub struct Registry {
    workers: Box<[Box<[OnceLock<Segment>]>]>,
    /// Connections that each worker has or is about to be given.
    assigned: Box<[AtomicU64]>,
    next_id: AtomicU64,
    count: AtomicU64,
}

impl Registry {
    /// For `worker_count` workers.
    pub fn new(worker_count: usize) -> Self {
        let empty = || (0..SEGMENTS).map(|_| OnceLock::new()).collect();
        let workers = (0..worker_count).map(|_| empty()).collect();
        let assigned = (0..worker_count).map(|_| AtomicU64::new(0)).collect();
        Self { workers, assigned, next_id: AtomicU64::new(1), count: AtomicU64::new(0) }
    }

    /// A number that no client had before.
    pub fn next_id(&self) -> u64 {
        self.next_id.fetch_add(1, Relaxed)
    }

    /// The worker that a new connection goes to: the one with the fewest, `here` if it is one of them.
    pub fn assign(&self, here: usize) -> usize {
        let load = |worker: usize| self.assigned[worker].load(Relaxed);
        let fewest = (0..self.assigned.len()).min_by_key(|worker| load(*worker)).unwrap_or(here);
        let target = if load(here) <= load(fewest) { here } else { fewest };
        self.assigned[target].fetch_add(1, Relaxed);
        target
    }

    /// A connection that was assigned to this worker is gone.
    pub fn unassign(&self, worker: usize) {
        self.assigned[worker].fetch_sub(1, Relaxed);
    }

    /// Counts a connection in if fewer than `clients_max` are open.
    pub fn admit(&self, clients_max: u64) -> bool {
        self.count.fetch_update(Relaxed, Relaxed, |count| (count < clients_max).then_some(count + 1)).is_ok()
    }

    /// Connections admitted and not yet left.
    pub fn count(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Shows the card of an admitted connection to everyone.
    pub fn enter(&self, card: &Arc<ClientCard>) {
        self.slot(card.place).store(Some(Arc::clone(card)));
    }

    /// Takes a connection's card away and counts it out.
    pub fn leave(&self, card: &ClientCard) {
        self.slot(card.place).store(None);
        self.count.fetch_sub(1, Relaxed);
    }

    /// Counts an admitted connection out that never got a card.
    pub fn dismiss(&self) {
        self.count.fetch_sub(1, Relaxed);
    }

    fn slot(&self, place: ClientPlace) -> &ArcSwapOption<ClientCard> {
        let slot = place.slot as usize;
        let segment = self.workers[place.worker as usize][slot / SEGMENT]
            .get_or_init(|| (0..SEGMENT).map(|_| ArcSwapOption::empty()).collect());
        &segment[slot % SEGMENT]
    }

    /// Shows every connection's card, in no order, without keeping any.
    pub fn each(&self, mut visit: impl FnMut(&ClientCard)) {
        let segments = self.workers.iter().flat_map(|worker| worker.iter().filter_map(OnceLock::get));
        for slot in segments.flatten() {
            if let Some(card) = slot.load().as_deref() {
                visit(card);
            }
        }
    }

    /// The cards of all connections, ascending by id.
    pub fn cards(&self) -> Vec<Arc<ClientCard>> {
        let segments = self.workers.iter().flat_map(|worker| worker.iter().filter_map(OnceLock::get));
        let mut cards: Vec<_> = segments.flatten().filter_map(|slot| slot.load_full()).collect();
        cards.sort_unstable_by_key(|card| card.id);
        cards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_enter_and_leave() {
        let registry = Registry::new(2);
        assert!(registry.admit(2) && registry.admit(2) && !registry.admit(2));
        let card = |worker, slot| {
            let place = ClientPlace { worker, slot, generation: 0 };
            Arc::new(ClientCard::new(registry.next_id(), place, "a".into(), "b".into(), 3, 0))
        };
        let (late, early) = (card(0, 5000), card(1, 0));
        registry.enter(&early);
        registry.enter(&late);
        let ids = || registry.cards().iter().map(|card| card.id).collect::<Vec<_>>();
        assert_eq!(ids(), [1, 2], "ascending, whatever worker and slot");
        registry.leave(&late);
        assert_eq!(ids(), [2]);
        assert!(registry.admit(2));
    }
}
