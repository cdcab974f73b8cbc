//! FAILOVER: a primary hands its role over to one of its replicas.
//!
//! ```text
//! None -> WaitsForSync -> InProgress -> None      a replica; writes that were held back hear so
//!              |              |
//!              +--------------+--------> None     a primary as before: aborted, too late, or refused
//! ```
//!
//! Design: writes are held back from the command on (`command::Pause`), so that the replica can come to the end of the stream; then
//! this server follows it as any primary, and the question with which it asks for the stream promotes the other.
//!
//! Invariants: the state leaves `None`, and changes the role, only while all leases are held.
//! Not here: the command (`command::replication::failover`), the steps (`worker::failover`).

use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::sync::atomic::{AtomicU8, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::Primary;

/// How far a failover is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FailoverState {
    /// There is none.
    None,
    /// The replica is yet to come to the end of the stream.
    WaitsForSync,
    /// This server is a replica of the other, which is yet to take the role.
    InProgress,
}

impl FailoverState {
    /// What INFO calls it.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "no-failover",
            Self::WaitsForSync => "waiting-for-sync",
            Self::InProgress => "failover-in-progress",
        }
    }
}

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Who is to take the role; any replica that has all if none is named.
    pub target: Option<Primary>,
    /// Until when it may come to the end of the stream, Unix time in ms.
    pub until_ms: Option<u64>,
    /// Whether it takes the role then in any case.
    pub forces: bool,
}

/// The failover under way.
#[derive(Default)]
pub struct Failover {
    state: AtomicU8,
    /// How many bytes the stream has at its end; 0 while that is unknown.
    end: AtomicU64,
    request: Mutex<Option<Arc<Request>>>,
}

impl Failover {
    /// How far it is.
    #[inline]
    pub fn state(&self) -> FailoverState {
        match self.state.load(Acquire) {
            0 => FailoverState::None,
            1 => FailoverState::WaitsForSync,
            _ => FailoverState::InProgress,
        }
    }

    /// One begins. All leases are held.
    pub fn begin(&self, request: Request) {
        assert_eq!(self.state(), FailoverState::None, "whoever begins one has looked");
        *self.lock() = Some(Arc::new(request));
        self.end.store(0, Release);
        self.state.store(FailoverState::WaitsForSync as u8, Release);
    }

    /// The stream has all that was written, and so many bytes.
    pub fn note_end(&self, offset: u64) {
        self.end.store(offset, Release);
    }

    /// How many bytes the stream has at its end, once that is known.
    pub fn stream_end(&self) -> Option<u64> {
        Some(self.end.load(Acquire)).filter(|end| *end > 0)
    }

    /// The role is handed over to this one. All leases are held.
    pub fn proceed(&self, target: Primary) {
        let mut request = self.lock();
        let asked = request.take().expect("one is under way");
        *request = Some(Arc::new(Request { target: Some(target), ..Request::clone(&asked) }));
        self.state.store(FailoverState::InProgress as u8, Release);
    }

    /// There is none any more; whether there was one.
    pub fn end(&self) -> bool {
        *self.lock() = None;
        self.state.swap(FailoverState::None as u8, AcqRel) != 0
    }

    /// What was asked for.
    pub fn request(&self) -> Option<Arc<Request>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<Request>>> {
        // Nobody panics midway.
        self.request.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
