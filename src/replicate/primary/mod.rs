//! The primary's side: who follows this server, and how far each has come.
//!
//! Design: a replica is a client whose connection stays on its worker. What others ask about it (INFO, WAIT, who cuts the next
//! snapshot) stands in its [`Replica`]; its worker sends (`worker::replicas`).
//!
//! ```text
//! PSYNC -> WaitsForCut -> Receives -> Loads -> Online     (the snapshot ends with a mark, and the replica says when it has it)
//!                            └───────────────> Online     (its length is told first)
//!            continued: ───────────────────────^
//! ```
//!
//! Where the stream goes on behind the snapshot is known once the journal has come to the cut (`Replica::begin`).
//! From then on the stream keeps what this replica has yet to read.
//!
//! A replica may have a channel of its own for the snapshot, a second connection that is one of a replica too and gets nothing
//! more; the first one gets the stream from the cut on, which the replica keeps until it has loaded the snapshot. Redis's channel
//! names the connection that it belongs to before the cut; Valkey's tells the replica where the stream goes on, and gets the snapshot
//! once that has asked for the stream there.
//!
//! ```text
//! first:    PSYNC -> WaitsForChannel -> Streams -> Online       Redis; the stream begins with the cut
//!           PSYNC -> (nothing) -> PSYNC -> Streams -> Online    Valkey; it continues where the channel has said
//! channel:  PSYNC, SYNC -> WaitsForCut -> Receives -> Done
//! ```
//!
//! Not here: the stream (`backlog`), a snapshot's way to a replica (`transfer`), commands (`command::replication`).

mod feed;
mod payload;
mod transfer;

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::ArcSwap;

use super::ReaderId;
use crate::observe::ClientInfo;

pub use feed::{Marks, StreamFeed};
pub use payload::{FileOutput, SocketOutput};
pub use transfer::{Piece, Transfer};

/// What a replica has said of itself before it follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Where it can be reached, if that is not where it comes from.
    pub address: Option<Box<str>>,
    /// Its port; 0 if it has not said.
    pub port: u16,
    /// It finds a snapshot's end by a mark.
    pub knows_mark: bool,
    /// It continues under another name of the history.
    pub knows_names: bool,
    /// It reads snapshots of a new version.
    pub is_new: bool,
    /// It says that it is of version 9 or later: it refuses snapshots in Redis's newest version, unless it is a Torc.
    pub is_valkey: bool,
    /// It reads all that this server writes.
    pub is_torc: bool,
    /// It wants a snapshot and nothing more.
    pub only_snapshot: bool,
    /// It takes the snapshot through a channel of its own, as Redis's replicas do, or as Valkey's.
    pub takes_channel: bool,
    pub takes_channel_of_valkey: bool,
    /// It is such a channel.
    pub is_channel: bool,
    /// The number of the client that it is the channel of; 0 if it has not said.
    pub channel_of: u64,
    /// The number of the client that is its channel; 0 if it has not said.
    pub channel: u64,
    /// What it wants of a snapshot.
    pub filter: Filter,
}

/// What a snapshot is to hold: all unless something is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// No keys.
    pub without_keys: bool,
    /// No functions.
    pub without_functions: bool,
}

/// How far a replica is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
#[repr(u8)]
pub enum State {
    /// It gets the next snapshot.
    WaitsForCut,
    /// Its snapshot is being made, or sent.
    Receives,
    /// It has the snapshot, and is yet to say so.
    Loads,
    /// It follows the stream.
    Online,
    /// It has the snapshot, and wants nothing more.
    Done,
    /// The channel for its snapshot is yet to come, or to be served.
    WaitsForChannel,
    /// It gets the stream, and its snapshot through a channel.
    Streams,
}

impl State {
    const ALL: [Self; 7] = [
        Self::WaitsForCut,
        Self::Receives,
        Self::Loads,
        Self::Online,
        Self::Done,
        Self::WaitsForChannel,
        Self::Streams,
    ];
}

/// Where the stream goes on for a replica.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// How many bytes come before.
    pub offset: u64,
    /// Its place in the stream; none if that could not be kept.
    pub reader: Option<ReaderId>,
}

/// A replica.
pub struct Replica {
    /// Its client.
    pub client_info: Arc<ClientInfo>,
    /// What it has said of itself.
    pub about: About,
    /// It has asked by SYNC: it is told no offset, and acknowledges none.
    pub is_old: bool,
    /// Since when it waits for a snapshot, Unix time in ms.
    pub since_ms: u64,
    state: AtomicU8,
    start: OnceLock<Start>,
    transfer: OnceLock<Arc<Transfer>>,
    /// Bytes of the stream that it has applied, and that are on its disk.
    acked: AtomicU64,
    kept: AtomicU64,
    /// When it said so last, Unix time in ms.
    acked_ms: AtomicU64,
    is_gone: AtomicBool,
    /// The replica whose snapshot's channel this is.
    main: OnceLock<Arc<Replica>>,
    /// Its snapshot was sent as a whole through its channel.
    is_served: AtomicBool,
    /// What it is of no use without is gone: it is to be closed.
    is_orphaned: AtomicBool,
}

impl Replica {
    /// A client that follows from now on, at first by a snapshot.
    pub fn new(client_info: Arc<ClientInfo>, about: About, is_old: bool, now_ms: u64) -> Self {
        Self {
            client_info,
            about,
            is_old,
            since_ms: now_ms,
            state: AtomicU8::new(State::WaitsForCut as u8),
            start: OnceLock::new(),
            transfer: OnceLock::new(),
            acked: AtomicU64::new(0),
            kept: AtomicU64::new(0),
            acked_ms: AtomicU64::new(now_ms),
            is_gone: AtomicBool::new(false),
            main: OnceLock::new(),
            is_served: AtomicBool::new(false),
            is_orphaned: AtomicBool::new(false),
        }
    }

    /// A client that continues.
    pub fn continuing(client_info: Arc<ClientInfo>, about: About, start: Start, now_ms: u64) -> Self {
        let replica = Self::new(client_info, about, false, now_ms);
        replica.start.set(start).expect("it was not set");
        replica.set_state(State::Online);
        replica
    }

    /// A client whose snapshot comes through a channel.
    pub fn with_channel(client_info: Arc<ClientInfo>, about: About, now_ms: u64) -> Self {
        let replica = Self::new(client_info, about, false, now_ms);
        replica.set_state(State::WaitsForChannel);
        replica
    }

    /// This is the channel for that replica's snapshot.
    pub fn serve(&self, main: Arc<Replica>) {
        // A second one that says so is not listened to.
        self.main.get_or_init(|| main);
    }

    /// The replica whose channel this is, if it is one and that is known.
    pub fn main(&self) -> Option<&Arc<Replica>> {
        self.main.get()
    }

    /// Whether this is the channel of a replica that is told there where the stream goes on.
    pub fn tells_place(&self) -> bool {
        self.about.is_channel && self.about.channel_of == 0
    }

    /// Whether what it wants of the stream is kept until it reads it, or until the replica does whose channel it is.
    pub fn keeps_stream(&self) -> bool {
        match self.about.is_channel {
            true => self.tells_place() && self.main().is_none(),
            false => !self.about.only_snapshot,
        }
    }

    /// The whole snapshot was sent: a channel's replica is expected to say how far it is from now on.
    pub fn note_snapshot_sent(&self, now_ms: u64) {
        self.expect_acks(now_ms);
        if let Some(main) = self.main() {
            main.expect_acks(now_ms);
            main.is_served.store(true, Release);
        }
    }

    /// Whether its snapshot was sent as a whole.
    pub fn is_served(&self) -> bool {
        self.is_served.load(Acquire)
    }

    /// What it is of no use without is gone.
    pub fn is_orphaned(&self) -> bool {
        self.is_orphaned.load(Acquire)
    }

    /// How far it is.
    pub fn state(&self) -> State {
        State::ALL[usize::from(self.state.load(Acquire))]
    }

    /// It has come so far.
    pub fn set_state(&self, state: State) {
        self.state.store(state as u8, Release);
    }

    /// What INFO calls its state, if it is told.
    pub fn word(&self) -> Option<&'static str> {
        match self.state() {
            _ if self.about.is_channel => None,
            State::WaitsForChannel => Some("wait_bgsave"),
            State::Streams => Some("send_bulk_and_stream"),
            State::Receives if !self.about.knows_mark && self.start.get().is_some() => Some("send_bulk"),
            State::WaitsForCut | State::Receives => Some("wait_bgsave"),
            State::Loads | State::Online => Some("online"),
            State::Done => None,
        }
    }

    /// The snapshot that it gets is cut: its way here.
    pub fn receive(&self, transfer: Arc<Transfer>) {
        let is_first = self.transfer.set(transfer).is_ok();
        assert!(is_first, "a replica gets one snapshot");
        self.set_state(State::Receives);
    }

    /// The way of its snapshot.
    pub fn transfer(&self) -> Option<&Arc<Transfer>> {
        self.transfer.get()
    }

    /// Where the stream goes on is known; whether it is still there to hear that.
    pub fn begin(&self, start: Start) -> bool {
        let is_first = self.start.set(start).is_ok();
        assert!(is_first, "a replica begins once");
        !self.is_gone.load(SeqCst)
    }

    /// Where the stream goes on.
    pub fn start(&self) -> Option<Start> {
        self.start.get().copied()
    }

    /// It has applied so much of the stream, and has so much of it on its disk if it says so.
    pub fn acknowledge(&self, applied: u64, kept: Option<u64>, now_ms: u64) {
        self.acked.fetch_max(applied, AcqRel);
        self.kept.fetch_max(kept.unwrap_or(0), AcqRel);
        self.acked_ms.store(now_ms, Relaxed);
    }

    /// Bytes of the stream that it has applied.
    pub fn acked(&self) -> u64 {
        self.acked.load(Acquire)
    }

    /// Bytes of the stream that are on its disk.
    pub fn kept(&self) -> u64 {
        self.kept.load(Acquire)
    }

    /// How long ago it last said something, in s.
    pub fn lag_s(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.acked_ms.load(Relaxed)) / 1000
    }

    /// From now on it is expected to say how far it is.
    pub fn expect_acks(&self, now_ms: u64) {
        self.acked_ms.store(now_ms, Relaxed);
    }

    /// Its address as INFO and ROLE tell it.
    pub fn ip(&self) -> &str {
        match &self.about.address {
            Some(address) => address,
            None => self.client_info.address.rsplit_once(':').map_or("", |(ip, _)| ip),
        }
    }
}

/// All replicas of this server.
pub struct Replicas {
    list: ArcSwap<Vec<Arc<Replica>>>,
    changing: Mutex<()>,
    /// Workers whose replicas have all there is: they are woken when there is more.
    drained: AtomicU64,
    /// Workers with clients that wait for acknowledgements.
    awaiting: AtomicU64,
    /// Replicas that have said something lately, as `min-replicas-max-lag` counts.
    good: AtomicU32,
    /// Since when there is none, Unix time in ms.
    alone_since_ms: AtomicU64,
}

impl Default for Replicas {
    fn default() -> Self {
        Self {
            list: ArcSwap::default(),
            changing: Mutex::new(()),
            drained: AtomicU64::new(0),
            awaiting: AtomicU64::new(0),
            good: AtomicU32::new(0),
            alone_since_ms: AtomicU64::new(0),
        }
    }
}

impl Replicas {
    /// All of them, as they came.
    pub fn all(&self) -> Arc<Vec<Arc<Replica>>> {
        self.list.load_full()
    }

    /// The one of the client of this number.
    pub fn find(&self, client: u64) -> Option<Arc<Replica>> {
        self.list.load().iter().find(|replica| replica.client_info.id == client).map(Arc::clone)
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.list.load().len()
    }

    /// A client follows from now on.
    pub fn add(&self, replica: Arc<Replica>) {
        self.change(|list| list.push(replica));
    }

    /// A replica has left. Workers of those that are of no use without it, a bit each.
    pub fn remove(&self, replica: &Arc<Replica>, now_ms: u64) -> u64 {
        replica.is_gone.store(true, SeqCst);
        let mut orphans: Vec<Arc<Replica>> = Vec::new();
        if replica.state() != State::Done {
            orphans.extend(replica.main().map(Arc::clone));
        }
        let is_channel = |other: &&Arc<Replica>| other.main().is_some_and(|main| Arc::ptr_eq(main, replica));
        orphans.extend(self.list.load().iter().filter(is_channel).map(Arc::clone));
        let mut workers = 0;
        for orphan in orphans {
            orphan.is_orphaned.store(true, Release);
            workers |= 1 << orphan.client_info.place().worker;
        }
        if let Some(transfer) = replica.transfer() {
            transfer.give_up();
        }
        // Before the list is empty: who sees that it is looks at this, and gave up the backlog at once where it had yet to come.
        self.alone_since_ms.store(now_ms, Relaxed);
        self.change(|list| list.retain(|other| !Arc::ptr_eq(other, replica)));
        workers
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Arc<Replica>>)) {
        let _one_at_a_time = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list = Vec::clone(&self.list.load());
        change(&mut list);
        self.list.store(Arc::new(list));
    }

    /// How many have applied `offset` bytes of the stream.
    pub fn acked_count(&self, offset: u64) -> u64 {
        self.count_online(|replica| replica.acked() >= offset)
    }

    /// How many have `offset` bytes of the stream on their disks.
    pub fn kept_count(&self, offset: u64) -> u64 {
        self.count_online(|replica| replica.kept() >= offset)
    }

    fn count_online(&self, is_counted: impl Fn(&Replica) -> bool) -> u64 {
        let list = self.list.load();
        let online = list.iter().filter(|replica| matches!(replica.state(), State::Online | State::Loads));
        online.filter(|replica| is_counted(replica)).count() as u64
    }

    /// How many have said something within `lag_s_max`, as of the last count.
    #[inline]
    pub fn good(&self) -> u32 {
        self.good.load(Relaxed)
    }

    /// Counts them.
    pub fn count_good(&self, lag_s_max: u64, now_ms: u64) {
        let good = self.count_online(|replica| replica.lag_s(now_ms) <= lag_s_max);
        self.good.store(good as u32, Relaxed);
    }

    /// There is none yet, and nobody is to think that it has been so for long.
    pub fn begin_alone(&self, now_ms: u64) {
        self.alone_since_ms.store(now_ms, Relaxed);
    }

    /// For how long there has been none, in s; none if there is one.
    pub fn alone_s(&self, now_ms: u64) -> Option<u64> {
        let is_alone = self.count() == 0;
        is_alone.then(|| now_ms.saturating_sub(self.alone_since_ms.load(Relaxed)) / 1000)
    }

    /// The replicas of this worker have all there is: it is woken when there is more.
    pub fn note_drained(&self, worker: usize) {
        self.drained.fetch_or(1 << worker, SeqCst);
    }

    /// Workers to be woken now that there is more, a bit each.
    pub fn take_drained(&self) -> u64 {
        if self.drained.load(SeqCst) == 0 { 0 } else { self.drained.swap(0, SeqCst) }
    }

    /// A client of this worker waits for acknowledgements.
    pub fn note_awaiting(&self, worker: usize) {
        self.awaiting.fetch_or(1 << worker, SeqCst);
    }

    /// Workers that are to look whether their clients wait no more, a bit each.
    pub fn take_awaiting(&self) -> u64 {
        if self.awaiting.load(SeqCst) == 0 { 0 } else { self.awaiting.swap(0, SeqCst) }
    }
}
