//! What everybody may ask about replication, without waiting: the names of the history, the offset, the role.
//!
//! Design: a history is named by 40 hexadecimal digits. A replica that is promoted, or whose primary was, takes a new name and keeps
//! the one before with the offset up to which that is the same history, so that others can continue from either.
//!
//! Invariants:
//! - the role and the history change only while all leases are held: whoever has a lease sees one state throughout;
//! - the second name is good up to an offset that has been reached.

use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption, Guard};

use super::primary::{Marks, Replica, Replicas};
use super::{Failover, Stream};

/// The name of a history: 40 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ReplicationId([u8; 40]);

impl ReplicationId {
    /// No history's name.
    pub const NONE: Self = Self([b'0'; 40]);

    /// The name that `text` gives, in small letters or capitals.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let digits = text.to_ascii_lowercase();
        let digits: [u8; 40] = digits.try_into().ok()?;
        digits.iter().all(u8::is_ascii_hexdigit).then_some(Self(digits))
    }

    /// The name as it is told.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("digits are ASCII")
    }

    /// The `number`th name that this seed gives.
    fn derive(seed: u64, number: u64) -> Self {
        let mut state = seed ^ number.wrapping_mul(0xD605_BBB5_8C8A_BBB5);
        let digits: String = (0..3).map(|_| format!("{:016x}", splitmix(&mut state))).collect();
        Self::parse(&digits.as_bytes()[..40]).expect("48 digits")
    }
}

impl std::fmt::Debug for ReplicationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

fn splitmix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The names by which others can continue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// The present one.
    pub id: ReplicationId,
    /// The one before.
    pub id_before: ReplicationId,
    /// The first byte, counted from 1, that is no more of the one before; `None` without one.
    pub until: Option<u64>,
}

impl History {
    /// Whether a replica that has `offset` bytes of the history `id` has the beginning of this one.
    pub fn continues(&self, id: &ReplicationId, offset: u64) -> bool {
        *id == self.id || *id == self.id_before && self.until.is_some_and(|until| offset < until)
    }
}

/// The server that this one follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Primary {
    /// Its name or address.
    pub host: Box<str>,
    /// Its port.
    pub port: u16,
}

/// How far the link to a primary is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum LinkState {
    /// There is no primary.
    None,
    /// It is to be connected to.
    Connect,
    /// It is being connected to.
    Connecting,
    /// The two introduce themselves.
    Handshake,
    /// Its snapshot is being received.
    Sync,
    /// Its stream is followed.
    Connected,
}

impl LinkState {
    const ALL: [Self; 6] =
        [Self::None, Self::Connect, Self::Connecting, Self::Handshake, Self::Sync, Self::Connected];

    /// What ROLE calls it.
    pub fn word(self) -> &'static str {
        match self {
            LinkState::None => "none",
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// The state of replication. One for the process.
pub struct Replication {
    /// The stream, and its end for those who read it.
    pub stream: Stream,
    /// Who follows this server.
    pub replicas: Replicas,
    /// Where in the stream tickets ended.
    pub marks: Marks,
    /// The role's way to a replica.
    pub failover: Failover,
    history: ArcSwap<History>,
    primary: ArcSwapOption<Primary>,
    link: AtomicU8,
    /// What names are made of, and how many were.
    seed: u64,
    names: AtomicU64,
    /// Times this server has become a replica whose own stream has yet to be written to its end.
    unfinished: AtomicU64,
    /// Wakes workers, a bit each.
    waker: OnceLock<Wake>,
}

type Wake = Arc<dyn Fn(u64) + Send + Sync>;

impl Replication {
    /// A primary with a history of its own; `seed` is another for each process.
    pub fn new(seed: u64) -> Self {
        let id = ReplicationId::derive(seed, 0);
        Self {
            stream: Stream::default(),
            replicas: Replicas::default(),
            marks: Marks::default(),
            failover: Failover::default(),
            history: ArcSwap::from_pointee(History { id, id_before: ReplicationId::NONE, until: None }),
            primary: ArcSwapOption::empty(),
            link: AtomicU8::new(LinkState::None as u8),
            seed,
            names: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
            waker: OnceLock::new(),
        }
    }

    /// The replication offset: how many bytes of the stream there are.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.stream.end()
    }

    /// The names of the history.
    pub fn history(&self) -> History {
        **self.history.load()
    }

    /// Workers can be woken by this from now on.
    pub fn wake_by(&self, wake: impl Fn(u64) + Send + Sync + 'static) {
        // Whoever comes second has the same workers.
        let _is_first = self.waker.set(Arc::new(wake));
    }

    /// What wakes workers.
    pub fn waker(&self) -> Arc<dyn Fn(u64) + Send + Sync> {
        self.waker.get().map_or_else(|| Arc::new(|_| {}) as Wake, Arc::clone)
    }

    /// Wakes workers, a bit each.
    pub fn wake(&self, workers: u64) {
        if let Some(wake) = self.waker.get().filter(|_| workers != 0) {
            wake(workers);
        }
    }

    /// This server is a replica from now on, and the journal thread is told to call back once the stream has all that was written
    /// before (true), or it has called back (false).
    pub fn await_own_stream(&self, waits: bool) {
        match waits {
            true => _ = self.unfinished.fetch_add(1, Relaxed),
            false => _ = self.unfinished.fetch_sub(1, Release),
        }
    }

    /// Whether the offset is that of all that was written as a primary.
    pub fn has_own_stream(&self) -> bool {
        self.unfinished.load(Acquire) == 0
    }

    /// A replica has left.
    pub fn forget(&self, replica: &Arc<Replica>, now_ms: u64) {
        let orphans = self.replicas.remove(replica, now_ms);
        if let Some(reader) = replica.start().and_then(|start| start.reader) {
            self.stream.detach(reader);
        }
        self.wake(orphans);
    }

    /// A name that no history has.
    fn new_id(&self) -> ReplicationId {
        ReplicationId::derive(self.seed, self.names.fetch_add(1, Relaxed) + 1)
    }

    /// Another history, which continues none: whoever asks for the one before gets a snapshot.
    pub fn begin_history(&self) {
        let history = History { id: self.new_id(), id_before: ReplicationId::NONE, until: None };
        self.history.store(Arc::new(history));
    }

    /// A history of its own, which continues the present one: all leases are held, and this server is a primary from now on.
    pub fn fork_history(&self) {
        self.continue_as(self.new_id());
    }

    /// The present history goes on under another name, which the primary has told.
    pub fn continue_as(&self, id: ReplicationId) {
        let before = self.history().id;
        let history = History { id, id_before: before, until: Some(self.offset() + 1) };
        self.history.store(Arc::new(history));
    }

    /// The history that was kept, with the offset reached: at the start, or at a primary's snapshot. Nothing of the stream before
    /// is there any more.
    pub fn adopt_history(&self, history: History, offset: u64) {
        self.stream.restart(offset);
        self.marks.clear();
        self.history.store(Arc::new(history));
    }

    /// A server that was started again: a history of its own, which continues the one of before, of which there are so many bytes.
    pub fn succeed(&self, id_before: ReplicationId, offset: u64) {
        self.adopt_history(History { id: self.new_id(), id_before, until: Some(offset + 1) }, offset);
    }

    /// Whether this server follows another.
    #[inline]
    pub fn is_replica(&self) -> bool {
        self.link.load(Relaxed) != LinkState::None as u8
    }

    /// The server that this one follows.
    pub fn primary(&self) -> Guard<Option<Arc<Primary>>> {
        self.primary.load()
    }

    /// Another role, while all leases are held: a replica of this primary, which is yet to be connected to, or a primary.
    pub fn set_primary(&self, primary: Option<Primary>) {
        let link = if primary.is_some() { LinkState::Connect } else { LinkState::None };
        self.primary.store(primary.map(Arc::new));
        self.link.store(link as u8, Release);
    }

    /// How far the link to the primary is.
    #[inline]
    pub fn link(&self) -> LinkState {
        let link = self.link.load(Acquire);
        LinkState::ALL[usize::from(link)]
    }

    /// The link has come so far, or has fallen back; this server is a replica.
    pub fn set_link(&self, link: LinkState) {
        assert!(link != LinkState::None, "a role changes by `set_primary`");
        self.link.store(link as u8, Release);
    }
}

impl Default for Replication {
    fn default() -> Self {
        Self::new(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(digit: u8) -> ReplicationId {
        ReplicationId::parse(&[digit; 40]).expect("a name")
    }

    #[test]
    fn names_are_40_hexadecimal_digits_and_differ() {
        let replication = Replication::new(7);
        let first = replication.history().id;
        replication.begin_history();
        let second = replication.history();
        assert!(first != second.id && second.id_before == ReplicationId::NONE);
        let capitals = second.id.as_str().to_ascii_uppercase();
        assert_eq!(ReplicationId::parse(capitals.as_bytes()), Some(second.id));
        assert_eq!(ReplicationId::parse(b"?"), None);
        assert_eq!(ReplicationId::parse(&[b'g'; 40]), None);
        assert!(Replication::new(8).history().id != first);
    }

    #[test]
    fn promoted_server_can_be_continued_by_both_names() {
        let replication = Replication::new(1);
        replication.set_primary(Some(Primary { host: "a".into(), port: 1 }));
        assert!(replication.is_replica() && replication.link() == LinkState::Connect);
        let kept = History { id: id(b'a'), id_before: ReplicationId::NONE, until: None };
        replication.adopt_history(kept, 100);
        replication.set_link(LinkState::Connected);
        replication.set_primary(None);
        replication.fork_history();
        let history = replication.history();
        assert!(!replication.is_replica() && history.id_before == id(b'a') && history.until == Some(101));
        assert!(history.continues(&id(b'a'), 100) && !history.continues(&id(b'a'), 101));
        assert!(history.continues(&history.id, 5000) && !history.continues(&ReplicationId::NONE, 0));
    }
}
