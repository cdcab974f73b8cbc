//! Blocking: clients that wait for keys, from the command that found nothing to the moment somebody runs it again.
//!
//! Design: a command that has to wait leaves a `Waiter`: its own copy of the arguments, whose client it is, what it waits
//! for. Under the leases that the command held anyway, of all its keys, it enters the queues of those it waits for, so nothing
//! can happen in between. Whoever makes one of them present runs the command again right after its own (or its whole
//! transaction), before anybody else touches the shard: first come, first served, for each key. That may be another worker
//! than the client's own; the reply then goes there by mail.
//!
//! To run a waiting command again, all its keys' leases must be held. So whoever takes the lease of a key takes along those of
//! the other keys of its waiters (`along`), and from keys that serving these may write to, on: all or none.
//!
//! Invariants:
//! - a client waits for one command at a time, and whoever claims its wait (`observe::Claim`) is the only one to reply;
//! - when a command of a chunk has run, the leases of all keys of all waiters of its keys are held. For those who waited when
//!   the chunk was formed they were taken along; those who came since are of the chunk themselves.
//!
//! Costs: waiting takes a few hundred bytes. A key that nobody waits for costs its commands one branch.
//!
//! Not here: queues (`store::waiters`), the client's side: hold, time, going away (`worker::blocking`).

use std::any::Any;
use std::sync::Arc;

use crate::command::keys::each_key;
use crate::command::{Args, Blocking, Replies, Row, Session};
use crate::observe::{ClientCard, Ticket};
use crate::resp::{Protocol, Span};
use crate::store::{DbIndex, Keyspace, Leases, ReadyKey, Registration, ShardId, Waiting};

/// Other keys' leases that a command may have to take along; beyond that it takes all.
const ALONG_MAX: usize = 512;

/// A client's command that waits.
pub struct Waiter {
    /// Whose it is.
    pub card: Arc<ClientCard>,
    /// Which wait of this client.
    pub ticket: Ticket,
    /// The command's row.
    pub row: u16,
    /// What it waits for.
    pub blocking: Blocking,
    /// Whether the client wants no reply.
    pub is_silent: bool,
    /// How long it ran before it had to wait, in ns.
    pub ran_ns: u64,
    db: DbIndex,
    protocol: Protocol,
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
    hashes: Box<[u64]>,
    /// The argument of each key.
    key_args: Box<[u32]>,
}

impl Waiting for Waiter {
    fn is_over(&self) -> bool {
        self.card.wait.is_over(self.ticket)
    }

    fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn awaited_count(&self) -> usize {
        self.blocking.awaited_count.min(self.hashes.len())
    }
}

impl Waiter {
    /// The command that has just asked to wait. Its client's wait begins.
    pub fn new(session: &Session, row: &Row, args: &Args<'_>, blocking: Blocking, ran_ns: u64) -> Waiter {
        let mut bytes = Vec::with_capacity(args.from(0).map(<[u8]>::len).sum());
        let copy = |arg: &[u8]| {
            let start = bytes.len() as u32;
            bytes.extend_from_slice(arg);
            Span { start, len: arg.len() as u32 }
        };
        let spans: Box<[Span]> = args.from(0).map(copy).collect();
        let hashes = args.hashes();
        let mut key_args = Vec::with_capacity(hashes.len());
        let found = each_key(row, args, |index| key_args.push(index as u32));
        assert!(found.is_ok(), "its keys were found before it ran");
        assert_eq!(key_args.len(), hashes.len());
        Waiter {
            card: Arc::clone(&session.card),
            ticket: session.card.wait.begin(),
            row: row.id,
            blocking,
            is_silent: session.replies != Replies::On,
            ran_ns,
            db: session.db,
            protocol: session.protocol,
            bytes: bytes.into(),
            spans,
            hashes: hashes.into(),
            key_args: key_args.into(),
        }
    }

    /// The waiter that a queue holds.
    pub fn of(registration: Registration) -> Arc<Waiter> {
        let any: Arc<dyn Any + Send + Sync> = registration.waiter;
        any.downcast().expect("nothing else is ever registered")
    }

    /// The command's arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans, &[]).hashed(&self.hashes)
    }

    /// What stands in for the client's state when it is served.
    pub fn session(&self) -> Session {
        Session::stand_in(Arc::clone(&self.card), self.db, self.protocol)
    }

    /// The protocol that the client speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The keys it waits for: each once, with its place among the command's keys.
    pub fn awaited(&self) -> impl Iterator<Item = (u32, ReadyKey)> + '_ {
        let key = |index: usize| (self.hashes[index], self.key(index));
        (0..self.awaited_count())
            .filter(move |index| (0..*index).all(|earlier| key(earlier) != key(*index)))
            .map(|index| (index as u32, ReadyKey { hash: self.hashes[index], db: self.db }))
    }

    fn key(&self, index: usize) -> &[u8] {
        self.args().at(self.key_args[index] as usize)
    }

    /// Whether its key `index`, whose lease is held, holds what it wants.
    pub fn is_ready(&self, index: u32, keyspace: &Keyspace, leases: &Leases, now_ms: u64) -> bool {
        let hash = self.hashes[index as usize];
        let entry = leases.shard_ref(keyspace.shard_of(hash)).peek(self.db, hash, self.key(index as usize));
        entry.is_some_and(|entry| !entry.is_expired(now_ms) && Some(entry.ty()) == self.blocking.wants)
    }

    /// Enters the queues of the keys it waits for, whose leases are held.
    pub fn register(self: &Arc<Self>, keyspace: &Keyspace, leases: &mut Leases) {
        for (key_index, ReadyKey { hash, db }) in self.awaited() {
            keyspace.set_waited();
            let shard = leases.shard(keyspace.shard_of(hash));
            let before = shard.waited_keys();
            shard.add_waiter(db, Registration { waiter: Arc::clone(self) as Arc<dyn Waiting>, key_index });
            keyspace.recount_waited(before, shard.waited_keys());
        }
    }
}

/// Notes in a key's queue, whose lease is held, that a waiter is over.
pub fn note_over(key: ReadyKey, keyspace: &Keyspace, leases: &mut Leases) {
    let shard = leases.shard(keyspace.shard_of(key.hash));
    let before = shard.waited_keys();
    shard.waiter_over(key);
    keyspace.recount_waited(before, shard.waited_keys());
}

/// Removes the waiter at a place of a key's queue, whose lease is held.
pub fn remove_at(key: ReadyKey, index: usize, keyspace: &Keyspace, leases: &mut Leases) {
    let shard = leases.shard(keyspace.shard_of(key.hash));
    let before = shard.waited_keys();
    shard.remove_waiter_at(key, index);
    keyspace.recount_waited(before, shard.waited_keys());
}

/// The leases that a command takes along with those of its keys, because serving who waits for them may need them.
#[derive(Default)]
pub struct Along {
    keys: Vec<AlongKey>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct AlongKey {
    hash: u64,
    /// Serving may write to it, and so make it ready for others.
    is_written: bool,
}

impl Along {
    /// Takes the leases that go along with those of `hashes`, which are held; the shard that was refused, if one was: what
    /// was taken until then is still held.
    pub fn take(
        &mut self,
        hashes: impl Iterator<Item = u64>,
        keyspace: &Keyspace,
        leases: &mut Leases,
    ) -> Result<(), ShardId> {
        self.keys.clear();
        hashes.for_each(|hash| self.add_from(hash, keyspace, leases));
        let mut next = 0;
        while let Some(AlongKey { hash, is_written }) = self.keys.get(next).copied() {
            next += 1;
            let shard = keyspace.shard_of(hash);
            if !leases.try_take(shard) {
                return Err(shard);
            }
            if is_written {
                self.add_from(hash, keyspace, leases);
            }
            if self.keys.len() > ALONG_MAX {
                let refused = keyspace.shards().find(|shard| !leases.try_take(*shard));
                return refused.map_or(Ok(()), Err);
            }
        }
        Ok(())
    }

    /// The shards found so far by the latest `take`.
    pub fn shards(&self, keyspace: &Keyspace) -> impl Iterator<Item = ShardId> {
        self.keys.iter().map(|key| keyspace.shard_of(key.hash))
    }

    fn add_from(&mut self, hash: u64, keyspace: &Keyspace, leases: &Leases) {
        leases.shard_ref(keyspace.shard_of(hash)).each_along(hash, |hash, is_written| {
            let key = AlongKey { hash, is_written };
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        });
    }
}
