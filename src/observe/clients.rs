//! What is known of all clients: what CLIENT LIST, KILL and INFO need to know of connections that live on other workers.
//!
//! Design: a connection's worker writes its client info with relaxed stores; anyone may read. The registry is, per worker, a
//! table of swappable pointers, grown by segments that never move, so that registering, leaving and walking take no lock. The
//! client info keeps the slot that its first worker gave it ([`RegistrySlot`]), wherever its connection moves. To end a client,
//! its client info is marked and its worker is told by message.
//!
//! Invariants:
//! - whoever marks a client info as killed and then reads its place tells the worker that has the connection, or the one that
//!   gets it sees the mark: both orders are sequentially consistent;
//! - a connection does not move while it waits for a key, so who has ended a wait may trust its place.

use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU16, AtomicU32, AtomicU64};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};

use super::counter::Counter;
use super::wait_state::WaitState;
use crate::security::User;

/// Slots per segment of the registry.
const SEGMENT: usize = 1024;
/// Segments per worker: over a million connections.
const SEGMENTS: usize = 1024;

/// States of a client that CLIENT LIST shows as letters; bits of [`ClientInfo::flags`].
pub mod flag {
    /// `O`: receives the MONITOR feed.
    pub const MONITOR: u32 = 1 << 0;
    /// `b`: waits in a blocking operation, or for the end of a pause.
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

    /// `P`: has subscribed to a channel or pattern.
    pub const SUBSCRIBER: u32 = 1 << 9;
    /// `t`: is told of changed keys.
    pub const TRACKING: u32 = 1 << 10;
    /// `R`: who was to be told instead is gone.
    pub const BROKEN_REDIRECT: u32 = 1 << 11;
    /// `B`: is told of all keys with its prefixes.
    pub const BROADCAST: u32 = 1 << 12;

    /// `M`: the connection to this server's primary.
    pub const PRIMARY: u32 = 1 << 13;
    /// `S`: a replica of this server.
    pub const REPLICA: u32 = 1 << 14;

    /// `C`: a replica's second connection, for its snapshot.
    pub const SNAPSHOT_CHANNEL: u32 = 1 << 15;

    /// Each flag's letter, in the order of CLIENT LIST.
    pub const LETTERS: &[(u32, char)] = &[
        (MONITOR, 'O'),
        (REPLICA, 'S'),
        (SNAPSHOT_CHANNEL, 'C'),
        (PRIMARY, 'M'),
        (SUBSCRIBER, 'P'),
        (MULTI, 'x'),
        (BLOCKED, 'b'),
        (TRACKING, 't'),
        (BROKEN_REDIRECT, 'R'),
        (BROADCAST, 'B'),
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

/// Bits of a slot's number in a packed place.
const SLOT_BITS: u32 = 24;
/// Bits of a generation.
const GENERATION_BITS: u32 = 32;

impl ClientPlace {
    /// One word: worker, slot, generation.
    pub fn pack(self) -> u64 {
        let Self { worker, slot, generation } = self;
        assert!(worker < 1 << (64 - SLOT_BITS - GENERATION_BITS), "workers are at most WORKERS_MAX");
        assert!(slot < 1 << SLOT_BITS, "the backend attaches no connection to a higher slot");
        u64::from(worker) << (SLOT_BITS + GENERATION_BITS)
            | u64::from(slot) << GENERATION_BITS
            | u64::from(generation)
    }

    /// What [`Self::pack`] has made a word of.
    pub fn unpack(word: u64) -> Self {
        let slot = (word >> GENERATION_BITS) as u32 & ((1 << SLOT_BITS) - 1);
        let worker = (word >> (SLOT_BITS + GENERATION_BITS)) as u16;
        Self { worker, slot, generation: word as u32 }
    }
}

/// A client info's slot in the registry, for as long as its client is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegistrySlot {
    /// The worker that made the client info.
    pub worker: u16,
    /// Its number among that worker's.
    pub number: u32,
}

/// The registry slots of one worker, which alone gives them out and takes them back.
#[derive(Default)]
pub struct RegistrySlots {
    free: Vec<u32>,
    used: u32,
}

impl RegistrySlots {
    /// A free one.
    pub fn take(&mut self) -> u32 {
        self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            self.used - 1
        })
    }

    /// The client info that had it has left.
    pub fn give_back(&mut self, number: u32) {
        self.free.push(number);
    }
}

/// What is known of one client outside its worker.
pub struct ClientInfo {
    /// Unique, ascending.
    pub id: u64,
    /// Its slot in the registry.
    pub registry_slot: RegistrySlot,
    place: AtomicU64,
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
    /// Channels, patterns and shard channels subscribed to.
    pub subscription_counts: [AtomicU32; 3],
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
    /// Bytes that were received from it.
    pub received_bytes: Counter,
    /// Bytes that it was sent.
    pub sent_bytes: Counter,
    /// Commands that have run.
    pub commands_run: AtomicU64,
    /// Set by CLIENT SETNAME.
    pub name: ArcSwapOption<Vec<u8>>,
    /// Set by CLIENT SETINFO.
    pub lib_name: ArcSwapOption<Vec<u8>>,
    /// Set by CLIENT SETINFO.
    pub lib_version: ArcSwapOption<Vec<u8>>,
    /// Who is told of changed keys instead: its number, 0 for nobody, -1 if the client tracks none.
    pub redirect: AtomicI64,
    /// Whether the client has authenticated (or needs not).
    pub authenticated: AtomicBool,
    /// Who it is.
    pub user: ArcSwap<User>,
    /// Somebody's keys are told to it: its connection stays where it is.
    pinned: AtomicBool,
    /// The connection is closed.
    gone: AtomicBool,
    /// Set by whoever ends this client; its worker then closes it.
    killed: AtomicBool,
    /// Whether it waits for a key, and who ends that.
    pub wait: WaitState,
}

impl ClientInfo {
    /// A new client's info.
    pub fn new(
        id: u64,
        registry_slot: RegistrySlot,
        place: ClientPlace,
        address: String,
        local_address: String,
        fd: i32,
        now_ms: u64,
    ) -> Self {
        Self {
            id,
            registry_slot,
            place: AtomicU64::new(place.pack()),
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
            subscription_counts: Default::default(),
            query_bytes: AtomicU64::new(0),
            query_bytes_free: AtomicU64::new(0),
            output_bytes: AtomicU64::new(0),
            output_pieces: AtomicU32::new(0),
            total_bytes: AtomicU64::new(0),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            commands_run: AtomicU64::new(0),
            name: ArcSwapOption::empty(),
            lib_name: ArcSwapOption::empty(),
            lib_version: ArcSwapOption::empty(),
            redirect: AtomicI64::new(-1),
            authenticated: AtomicBool::new(true),
            user: ArcSwap::new(User::superuser()),
            pinned: AtomicBool::new(false),
            gone: AtomicBool::new(false),
            killed: AtomicBool::new(false),
            wait: WaitState::default(),
        }
    }

    /// Where the connection lives. While it moves, this is where it was.
    pub fn place(&self) -> ClientPlace {
        ClientPlace::unpack(self.place.load(SeqCst))
    }

    /// The connection has arrived at its worker; `false` if its client was killed meanwhile.
    pub fn attach(&self, place: ClientPlace) -> bool {
        self.place.store(place.pack(), SeqCst);
        !self.killed.load(SeqCst)
    }

    /// Marks the client as killed; where its worker is to be told of it, unless it was marked before.
    pub fn kill(&self) -> Option<ClientPlace> {
        let first = !self.killed.swap(true, SeqCst);
        first.then(|| self.place())
    }

    /// Whether somebody has ended this client.
    pub fn is_killed(&self) -> bool {
        self.killed.load(SeqCst)
    }

    /// From now on the connection does not move.
    pub fn pin(&self) {
        self.pinned.store(true, SeqCst);
    }

    /// Whether somebody relies on its place.
    pub fn is_pinned(&self) -> bool {
        self.pinned.load(SeqCst)
    }

    /// Whether the connection is closed.
    pub fn is_gone(&self) -> bool {
        self.gone.load(SeqCst)
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

type Segment = Box<[ArcSwapOption<ClientInfo>]>;

/// The client infos of all connections of all workers.
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

    /// The worker that a new connection goes to: of the first so many the one with the fewest, `here` if it is one of them.
    pub fn assign(&self, here: usize, active: usize) -> usize {
        let load = |worker: usize| self.assigned[worker].load(Relaxed);
        let active = 0..active.clamp(1, self.assigned.len());
        let fewest = active.clone().min_by_key(|worker| load(*worker)).unwrap_or(here);
        let target = if active.contains(&here) && load(here) <= load(fewest) { here } else { fewest };
        self.assigned[target].fetch_add(1, Relaxed);
        target
    }

    /// A connection is to be refused by this worker, and is its own until then.
    pub fn assign_here(&self, here: usize) {
        self.assigned[here].fetch_add(1, Relaxed);
    }

    /// A connection is to move, or has not moved after all.
    pub fn reassign(&self, from: usize, to: usize) {
        self.assigned[to].fetch_add(1, Relaxed);
        self.unassign(from);
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

    /// Shows the client info of an admitted connection to everyone.
    pub fn enter(&self, client_info: &Arc<ClientInfo>) {
        self.registry_slot(client_info.registry_slot).store(Some(Arc::clone(client_info)));
    }

    /// Takes a connection's client info away and counts it out. The registry slot's worker may use it again.
    pub fn leave(&self, client_info: &ClientInfo) {
        client_info.gone.store(true, SeqCst);
        self.registry_slot(client_info.registry_slot).store(None);
        self.count.fetch_sub(1, Relaxed);
    }

    /// Counts an admitted connection out that never got a client info.
    pub fn dismiss(&self) {
        self.count.fetch_sub(1, Relaxed);
    }

    fn registry_slot(&self, registry_slot: RegistrySlot) -> &ArcSwapOption<ClientInfo> {
        let number = registry_slot.number as usize;
        let segment = self.workers[registry_slot.worker as usize][number / SEGMENT]
            .get_or_init(|| (0..SEGMENT).map(|_| ArcSwapOption::empty()).collect());
        &segment[number % SEGMENT]
    }

    /// Shows every connection's client info, in no order, without keeping any.
    pub fn each(&self, mut visit: impl FnMut(&ClientInfo)) {
        let segments = self.workers.iter().flat_map(|worker| worker.iter().filter_map(OnceLock::get));
        for slot in segments.flatten() {
            if let Some(client_info) = slot.load().as_deref() {
                visit(client_info);
            }
        }
    }

    /// The client infos of all connections, ascending by id.
    pub fn client_infos(&self) -> Vec<Arc<ClientInfo>> {
        let segments = self.workers.iter().flat_map(|worker| worker.iter().filter_map(OnceLock::get));
        let mut client_infos: Vec<_> = segments.flatten().filter_map(|slot| slot.load_full()).collect();
        client_infos.sort_unstable_by_key(|client_info| client_info.id);
        client_infos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_enter_and_leave() {
        let registry = Registry::new(2);
        assert!(registry.admit(2) && registry.admit(2) && !registry.admit(2));
        let client_info = |worker, number| {
            let (registry_slot, place) =
                (RegistrySlot { worker, number }, ClientPlace { worker, slot: 7, generation: 0 });
            Arc::new(ClientInfo::new(registry.next_id(), registry_slot, place, "a".into(), "b".into(), 3, 0))
        };
        let (late, early) = (client_info(0, 5000), client_info(1, 0));
        registry.enter(&early);
        registry.enter(&late);
        let ids = || registry.client_infos().iter().map(|client_info| client_info.id).collect::<Vec<_>>();
        assert_eq!(ids(), [1, 2], "ascending, whatever worker and slot");
        registry.leave(&late);
        assert_eq!(ids(), [2]);
        assert!(registry.admit(2));
    }

    #[test]
    fn a_place_is_one_word() {
        let place = ClientPlace { worker: 63, slot: (1 << 24) - 1, generation: u32::MAX };
        assert_eq!(ClientPlace::unpack(place.pack()), place);
        let registry_slot = RegistrySlot { worker: 1, number: 2 };
        let client_info = ClientInfo::new(1, registry_slot, place, "a".into(), "b".into(), 3, 0);
        assert_eq!(client_info.place(), place);
        let elsewhere = ClientPlace { worker: 2, slot: 5, generation: 1 };
        assert!(client_info.attach(elsewhere));
        assert_eq!((client_info.kill(), client_info.kill()), (Some(elsewhere), None));
        assert!(!client_info.attach(place), "it was killed on its way");
    }

    #[test]
    fn new_connections_go_where_the_fewest_are() {
        let registry = Registry::new(3);
        assert_eq!((registry.assign(2, 3), registry.assign(2, 3), registry.assign(2, 3)), (2, 0, 1));
        assert_eq!((registry.assign(2, 1), registry.assign(2, 1)), (0, 0), "only the active count");
        registry.reassign(0, 1);
        registry.reassign(0, 1);
        assert_eq!(registry.assign(1, 2), 0);
    }

    #[test]
    fn registry_slots_are_used_again() {
        let mut registry_slots = RegistrySlots::default();
        assert_eq!((registry_slots.take(), registry_slots.take()), (0, 1));
        registry_slots.give_back(0);
        assert_eq!((registry_slots.take(), registry_slots.take()), (0, 2));
    }
}
