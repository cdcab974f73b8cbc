//! What the thread that follows a primary, the workers and commands share.
//!
//! Design: a role has a number, the epoch; it changes, under all leases, whenever another primary is to be followed or none. Whatever
//! belongs to a link has the epoch of its role, and is of no use any more under another: a thread ends, an order is refused, a
//! connection's commands do not run. So nobody waits for anybody when the role changes.
//!
//! The thread gives one order at a time, and waits until the first worker has carried it out.
//!
//! Not here: the role itself (`replicate::state`).

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::keeper::KeptBytes;
use crate::io::{Socket, SocketHandle};
use crate::observe::ClientInfo;
use crate::replicate::{LinkState, Replication, ReplicationId};
use crate::store::DbIndex;
use crate::threads;

/// Acknowledgements whose changes are not on disk yet, at most.
const KEPT_MARKS_MAX: usize = 1024;

/// A socket to become the connection that the stream comes from.
pub struct Adoption {
    /// The socket.
    pub socket: Socket,
    /// What of the stream has arrived already.
    pub input: Vec<Vec<u8>>,
}

type Hook = Arc<dyn Fn() + Send + Sync>;

/// What the first worker is to do.
pub enum Order {
    /// All data goes, as a snapshot is about to be loaded.
    Empty {
        /// Bytes of the snapshot.
        bytes: u64,
    },
    /// The snapshot is loaded, and the stream follows from its offset on.
    Loaded {
        /// The primary's history.
        id: ReplicationId,
        /// Where in it the snapshot was made.
        offset: u64,
        /// The database that the stream has selected there.
        db: DbIndex,
        /// The connection.
        adoption: Adoption,
    },
    /// The primary is one, and is about to send a snapshot: if the role was handed over to it, that is done.
    Taken,
    /// The other server does not take the role of the primary.
    Refused,
    /// The snapshot could not be loaded: what has been loaded of it goes.
    Failed,
    /// The stream goes on where this server has got to; the name of its history, if it has another by now.
    Continue {
        /// The name.
        id: Option<ReplicationId>,
        /// The connection.
        adoption: Adoption,
    },
}

/// How far a snapshot was received.
#[derive(Default)]
pub struct Progress {
    /// Its bytes; 0 while they are unknown.
    pub total: AtomicU64,
    /// Those received.
    pub read: AtomicU64,
    /// When the last of them came, Unix time in ms.
    pub last_ms: AtomicU64,
}

/// What is shared. One for the process.
#[derive(Default)]
pub struct Link {
    epoch: AtomicU64,
    has_order: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes the workers; what a thread does first.
    hooks: OnceLock<(Hook, Hook)>,
    /// The database that the stream has selected.
    db: AtomicU32,
    /// What of the stream is on this server's disk.
    kept: Mutex<Kept>,
    /// The snapshot under way.
    pub progress: Progress,
    /// What is kept of the stream while its snapshot comes through a channel, and is loaded.
    pub kept_bytes: Arc<KeptBytes>,
    /// Bytes of streams and snapshots that have arrived.
    pub received: AtomicU64,
    /// Bytes of the stream that have arrived; what has been applied is the replication offset.
    pub read_offset: AtomicU64,
    /// When anything last came from the primary, Unix time in ms; 0 while there is no connection.
    pub heard_ms: AtomicU64,
    /// Since when there has been one, Unix time in ms.
    pub up_since_ms: AtomicU64,
    /// Since when there has been none, Unix time in ms; 0 before the first.
    pub down_since_ms: AtomicU64,
    /// How long there was none before that, in ms.
    pub down_ms: AtomicU64,
    /// Times that a connection was tried: since the last one was closed, and in all under this role.
    pub attempts: AtomicU64,
    /// See `attempts`.
    pub attempts_all: AtomicU64,
    /// Commands of primaries that have failed.
    pub failures: AtomicU64,
}

/// Tickets drawn by when so many bytes of the stream were applied; and how many are on disk.
#[derive(Default)]
struct Kept {
    marks: VecDeque<(u64, u64)>,
    offset: u64,
}

#[derive(Default)]
struct State {
    order: Option<(u64, Order)>,
    /// Whether the last order was carried out.
    outcome: Option<bool>,
    /// What the thread reads from, to be ended with its role.
    sockets: Vec<SocketHandle>,
    /// The connection that the stream comes from.
    client: Option<Arc<ClientInfo>>,
    /// A snapshot was begun to be loaded, and none is: nothing continues from here.
    is_torn: bool,
}

impl Link {
    /// Has workers woken so whenever there is something for them to do, and threads begin so.
    pub fn set_hooks(
        &self,
        wake: impl Fn() + Send + Sync + 'static,
        settle: impl Fn() + Send + Sync + 'static,
    ) {
        // It is set once, at the start.
        let _set_once = self.hooks.set((Arc::new(wake), Arc::new(settle)));
    }

    /// The calling thread is not to run where its parent, a worker, is bound to.
    pub fn settle_thread(&self) {
        if let Some((_, settle)) = self.hooks.get() {
            settle();
        }
    }

    /// What such a thread calls first, where it cannot reach this.
    pub fn settler(&self) -> Arc<dyn Fn() + Send + Sync> {
        self.hooks.get().map_or_else(|| Arc::new(|| {}) as Hook, |(_, settle)| Arc::clone(settle))
    }

    /// Wakes all workers.
    pub fn wake(&self) {
        if let Some((wake, _)) = self.hooks.get() {
            wake();
        }
    }

    /// Bytes of streams and snapshots that have arrived.
    pub fn received_bytes(&self) -> u64 {
        self.received.load(Relaxed)
    }

    /// The number of the present role.
    #[inline]
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Acquire)
    }

    /// Another role, while all leases are held; `change` says which. Whatever belongs to the one before is over: the connection that
    /// the stream came from is to be closed.
    pub fn change_role(&self, change: impl FnOnce()) -> (u64, Option<Arc<ClientInfo>>) {
        let mut state = self.lock();
        let epoch = self.epoch.load(Relaxed) + 1;
        self.epoch.store(epoch, Release);
        state.sockets.drain(..).for_each(|socket| socket.shut_down());
        let client = state.client.take();
        state.order = None;
        self.has_order.store(false, Release);
        change();
        for counter in
            [&self.heard_ms, &self.down_since_ms, &self.down_ms, &self.attempts, &self.attempts_all]
        {
            counter.store(0, Relaxed);
        }
        drop(state);
        threads::notify_all(&self.changed);
        (epoch, client)
    }

    /// The link has come so far, unless its role is over; whether it is not.
    pub fn advance(&self, epoch: u64, replication: &Replication, to: LinkState) -> bool {
        let _state = self.lock();
        let is_current = self.epoch() == epoch;
        if is_current {
            replication.set_link(to);
        }
        is_current
    }

    /// The thread reads from these sockets; false if its role is over.
    pub fn reads_from(&self, epoch: u64, sockets: Vec<SocketHandle>) -> bool {
        let mut state = self.lock();
        let is_current = self.epoch() == epoch;
        if is_current {
            state.sockets = sockets;
        }
        is_current
    }

    /// Has the first worker do something; whether it has. It has not if the role of this epoch is over.
    pub fn order(&self, epoch: u64, order: Order) -> bool {
        let mut state = self.lock();
        if self.epoch() != epoch {
            return false;
        }
        state.order = Some((epoch, order));
        state.outcome = None;
        self.has_order.store(true, Release);
        drop(state);
        self.wake();
        let waits = |state: &mut State| state.outcome.is_none() && self.epoch() == epoch;
        let mut state = threads::wait_while(&self.changed, &self.state, None, waits);
        state.outcome.take() == Some(true)
    }

    /// Whether there is an order.
    #[inline]
    pub fn has_order(&self) -> bool {
        self.has_order.load(Relaxed)
    }

    /// The order, if there is one; [`Self::done`] follows. All leases are held, so the role does not change until then.
    pub fn take_order(&self) -> Option<Order> {
        let mut state = self.lock();
        self.has_order.store(false, Release);
        state.order.take().filter(|(epoch, _)| *epoch == self.epoch()).map(|(_, order)| order)
    }

    /// The order was carried out, or could not be.
    pub fn done(&self, outcome: bool) {
        self.lock().outcome = Some(outcome);
        threads::notify_all(&self.changed);
    }

    /// The stream comes from this client's connection.
    pub fn connected(&self, client: Arc<ClientInfo>, now_ms: u64) {
        let mut state = self.lock();
        state.client = Some(client);
        state.sockets.clear();
        self.heard_ms.store(now_ms, Relaxed);
        self.up_since_ms.store(now_ms, Relaxed);
        let since_ms = self.down_since_ms.swap(0, Relaxed);
        if since_ms > 0 {
            self.down_ms.fetch_add(now_ms.saturating_sub(since_ms), Relaxed);
        }
    }

    /// The connection of this role is closed.
    pub fn disconnected(&self, epoch: u64, replication: &Replication, now_ms: u64) {
        let mut state = self.lock();
        if self.epoch() != epoch {
            return;
        }
        state.client = None;
        replication.set_link(LinkState::Connect);
        self.heard_ms.store(0, Relaxed);
        self.down_since_ms.store(now_ms, Relaxed);
        self.attempts.store(0, Relaxed);
        drop(state);
        threads::notify_all(&self.changed);
    }

    /// A command of the primary has failed here, with this reply: data may differ from then on. Said at the 1st, 2nd, 4th, 8th...
    pub fn note_failure(&self, name: &[u8], reply: &[u8]) {
        let count = self.failures.fetch_add(1, Relaxed) + 1;
        if count.is_power_of_two() {
            let (name, reply) = (name.escape_ascii(), reply.trim_ascii_end().escape_ascii());
            log::warn!(
                "The primary's command '{name}' has failed here: {reply} ({count} such failures so far)"
            );
        }
    }

    /// Waits until the connection is closed, or the role is over.
    pub fn await_end(&self, epoch: u64) {
        let waits = |state: &mut State| state.client.is_some() && self.epoch() == epoch;
        drop(threads::wait_while(&self.changed, &self.state, None, waits));
    }

    /// Waits until then, or until the role is over.
    pub fn rest_until(&self, epoch: u64, then: Instant) {
        let rest = then.saturating_duration_since(threads::now());
        drop(threads::wait_while(&self.changed, &self.state, Some(rest), |_| self.epoch() == epoch));
    }

    /// Whether a snapshot was begun to be loaded and is not whole.
    pub fn is_torn(&self) -> bool {
        self.lock().is_torn
    }

    /// Loading a snapshot has begun, or is done.
    pub fn tear(&self, is_torn: bool) {
        self.lock().is_torn = is_torn;
    }

    /// How many bytes of the stream are on disk, now that `applied` are applied, and all up to ticket `kept` of those `drawn` is
    /// there.
    pub fn kept_offset(&self, applied: u64, drawn: u64, kept: u64) -> u64 {
        let mut state = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if state.marks.len() == KEPT_MARKS_MAX {
            // What is asked about later is told later.
            state.marks.pop_back();
        }
        state.marks.push_back((drawn, applied));
        while let Some((ticket, offset)) = state.marks.front().copied()
            && ticket <= kept
        {
            state.marks.pop_front();
            state.offset = offset;
        }
        state.offset
    }

    /// The stream comes from elsewhere: what of it is on disk is yet to be seen.
    pub fn forget_kept(&self) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Kept::default();
    }

    /// The database that the stream has selected where this server has got to.
    pub fn db(&self) -> DbIndex {
        DbIndex(self.db.load(Relaxed))
    }

    /// The stream has selected this database.
    #[inline]
    pub fn select(&self, db: DbIndex) {
        self.db.store(db.0, Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nobody panics under it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
