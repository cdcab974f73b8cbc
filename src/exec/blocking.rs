//! Blocking: clients that wait for keys, from the command that found nothing to the moment somebody runs it again.
//!
//! Design: a command that has to wait leaves a `Waiter`: its own copy of the arguments, whose client it is, what it waits
//! for. Under the leases that the command held anyway, of all its keys, it enters the queues of those it waits for, so nothing
//! can happen in between. Whoever makes one of them present runs the command again right after its own (or its whole
//! transaction), before anybody else touches the shard: first come, first served, for each key. That may be another worker
//! than the client's own; the reply then goes there by message.
//!
//! To run a waiting command again, all its keys' leases must be held. So whoever takes the lease of a key takes along those of
//! the other keys of its waiters (`WaiterKeys`), and from keys that serving these may write to, on: all or none. Each queue has
//! found out what goes along with its key (`store::QueueWaiterKeys`), whatever the number of its waiters.
//!
//! Invariants:
//! - a client waits for one command at a time, and whoever claims its wait (`observe::WaitState`) is the only one to reply;
//! - when a command of a group has run, the leases of all keys of all waiters of its keys are held. For those who waited when
//!   the group was formed they were taken along; those who came since are of the group themselves.
//!
//! Costs: waiting takes a few hundred bytes, and some 130 for each of many keys. A key that nobody waits for costs its
//! commands one branch.
//!
//! Not here: queues (`store::waiters`), the client's side: block, time, going away (`worker::blocking`).

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use crate::command::keys::each_key;
use crate::command::{Args, Blocking, Flags, Replies, Row, Session, Settled, TrackingOptions};
use crate::observe::{ClientInfo, WaitId};
use crate::resp::{Protocol, Span};
use crate::store::{
    DbIndex, Keyspace, Leases, ReadyKey, Registration, SetOfHashes, ShardId, ShardSet, Waiting,
};

/// Keys that serving may write to, from which a command follows what it has to take along; beyond that it takes all leases.
const WRITTEN_MAX: usize = 512;

/// In the place of a timer: it is to run again now.
pub const DUE: u64 = u64::MAX;

/// A client's command that waits.
pub struct Waiter {
    /// Whose it is.
    pub client_info: Arc<ClientInfo>,
    /// Which wait of this client.
    pub wait_id: WaitId,
    /// The command's row.
    pub row: u16,
    /// What it waits for.
    pub blocking: Blocking,
    /// Whether the client wants no reply.
    pub is_silent: bool,
    /// How long it ran before it had to wait, in ns.
    pub ran_ns: u64,
    /// When it is to run again though no key has changed; whoever has run it says so. Unix time in ms, 0 for never.
    pub retry_ms: AtomicU64,
    /// For when its client's own worker, and nobody else, has noted to look at it.
    timer_ms: AtomicU64,
    db: DbIndex,
    protocol: Protocol,
    /// Set if it only reads and what it reads is noted.
    tracking: Option<Box<TrackingOptions>>,
    bytes: Box<[u8]>,
    spans: Box<[Span]>,
    /// Its large bulks, which are shared.
    large: Box<[Bytes]>,
    hashes: Box<[u64]>,
    /// The argument of each key.
    key_args: Box<[u32]>,
    /// Which of the keys it waits for it names again, in ascending order: few do.
    repeated: Box<[u32]>,
    /// The shards of its keys, if they are not all of one; its queues share them.
    shards: Option<Arc<ShardSet>>,
}

impl Waiting for Waiter {
    fn is_over(&self) -> bool {
        self.client_info.wait.is_over(self.wait_id)
    }

    fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    fn awaited_count(&self) -> usize {
        self.blocking.awaited_count.min(self.hashes.len())
    }

    fn shards(&self) -> Option<&Arc<ShardSet>> {
        self.shards.as_ref()
    }

    fn heeds_loss(&self) -> bool {
        self.blocking.heeds_loss
    }
}

impl Waiter {
    /// The command that has just asked to wait. Its client's wait begins.
    pub fn new(
        session: &Session,
        row: &Row,
        args: &Args<'_>,
        (blocking, settled): (Blocking, Settled),
        ran_ns: u64,
        keyspace: &Keyspace,
    ) -> Waiter {
        let (mut bytes, mut spans, mut large) = (Vec::new(), Vec::new(), Vec::new());
        let copied = args.copy_into(&mut bytes, &mut spans, &mut large, u32::MAX as usize);
        assert!(copied, "the parser takes no commands of 4 GiB, large bulks not counted");
        for (index, word) in settled {
            let at = |len: usize| u32::try_from(len).expect("IDs are few and short beside the command");
            spans[index] = Span { start: at(bytes.len()), len: at(word.len()) };
            bytes.extend_from_slice(&word);
        }
        let hashes = args.hashes();
        let mut key_args = Vec::with_capacity(hashes.len());
        let found = each_key(row, args, |index| key_args.push(index as u32));
        assert!(found.is_ok(), "its keys were found before it ran");
        assert_eq!(key_args.len(), hashes.len(), "both are found in the same way");
        let tracking = session.tracking.as_ref().filter(|tracking| tracking.notes_reads());
        let awaited_count = blocking.awaited_count.min(key_args.len());
        let repeated = repeated(awaited_count, |index| (hashes[index], args.at(key_args[index] as usize)));
        Waiter {
            client_info: Arc::clone(&session.client_info),
            wait_id: session.client_info.wait.begin(),
            row: row.id,
            blocking,
            is_silent: session.replies != Replies::On,
            ran_ns,
            retry_ms: AtomicU64::new(blocking.retry_ms),
            timer_ms: AtomicU64::new(0),
            db: session.db,
            protocol: session.protocol,
            tracking: tracking.filter(|_| row.command.flags.has(Flags::READONLY)).cloned(),
            bytes: bytes.into(),
            spans: spans.into(),
            large: large.into(),
            hashes: hashes.into(),
            key_args: key_args.into(),
            repeated,
            shards: shards_of(hashes, keyspace),
        }
    }

    /// Bytes allocated for it.
    pub fn bytes_allocated(&self) -> usize {
        let large: usize = self.large.iter().map(Bytes::len).sum();
        let keys = size_of_val(&*self.hashes) + size_of_val(&*self.key_args) + size_of_val(&*self.repeated);
        size_of::<Self>() + self.bytes.len() + size_of_val(&*self.spans) + large + keys
    }

    /// The waiter that a queue holds.
    pub fn of(registration: Registration) -> Arc<Waiter> {
        let any: Arc<dyn Any + Send + Sync> = registration.waiter;
        any.downcast().expect("nothing else is ever registered")
    }

    /// When its client's worker is to look at it next, because it gives up then or is to run again; 0 for never. It notes that.
    pub fn next_timer_ms(&self) -> u64 {
        let times = [self.blocking.until_ms, self.retry_ms.load(Relaxed)];
        let next = times.into_iter().filter(|ms| *ms > 0).min().unwrap_or(0);
        self.timer_ms.store(next, Relaxed);
        next
    }

    /// What `next_timer_ms` said last.
    pub fn timer_ms(&self) -> u64 {
        self.timer_ms.load(Relaxed)
    }

    /// Its client's worker has taken it from its timers, to run it again.
    pub fn note_due(&self) {
        self.timer_ms.store(DUE, Relaxed);
    }

    /// Whether its time is up.
    pub fn gives_up(&self, now_ms: u64) -> bool {
        let until_ms = self.blocking.until_ms;
        until_ms > 0 && until_ms < now_ms
    }

    /// The command's arguments.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.spans, &self.large).hashed(&self.hashes)
    }

    /// What stands in for the client's state when it is served.
    pub fn session(&self) -> Session {
        let session = Session::stand_in(Arc::clone(&self.client_info), self.db, self.protocol);
        let (waited_for, tracking) = (self.blocking.on_timeout, self.tracking.clone());
        Session { tracking, written_ticket: waited_for.awaited_ticket().unwrap_or(0), waited_for, ..session }
    }

    /// The protocol that the client speaks.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The keys it waits for: each once, with its place among the command's keys.
    pub fn awaited(&self) -> impl Iterator<Item = (u32, ReadyKey)> + '_ {
        (0..self.awaited_count() as u32)
            .filter(|index| self.repeated.binary_search(index).is_err())
            .map(|index| (index, ReadyKey { hash: self.hashes[index as usize], db: self.db }))
    }

    fn key(&self, index: usize) -> &[u8] {
        self.args().at(self.key_args[index] as usize)
    }

    /// Whether its key `index`, whose lease is held, holds what it wants, or it is to look at it anyway.
    pub fn is_ready(&self, index: u32, keyspace: &Keyspace, leases: &Leases, now_ms: u64) -> bool {
        if self.blocking.heeds_loss {
            return true;
        }
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

/// Which of so many keys are those of earlier places, in ascending order.
fn repeated<'k>(count: usize, key: impl Fn(usize) -> (u64, &'k [u8])) -> Box<[u32]> {
    if count < 2 {
        return Box::default();
    }
    let mut order: Vec<u32> = (0..count as u32).collect();
    order.sort_unstable_by_key(|index| (key(*index as usize), *index));
    let is_repeated = |pair: &&[u32]| key(pair[0] as usize) == key(pair[1] as usize);
    let mut repeated: Vec<u32> = order.windows(2).filter(is_repeated).map(|pair| pair[1]).collect();
    repeated.sort_unstable();
    repeated.into()
}

/// The shards of these keys, if they are not all of one.
fn shards_of(hashes: &[u64], keyspace: &Keyspace) -> Option<Arc<ShardSet>> {
    let first = keyspace.shard_of(*hashes.first()?);
    let shards = hashes.iter().map(|hash| keyspace.shard_of(*hash));
    shards.clone().any(|shard| shard != first).then(|| Arc::new(shards.collect()))
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

/// Those who wait for a key, whose lease is held, were looked at.
pub fn end_serving(key: ReadyKey, keyspace: &Keyspace, leases: &mut Leases) {
    let shard = leases.shard(keyspace.shard_of(key.hash));
    let before = shard.waited_keys();
    shard.end_serving(key);
    keyspace.recount_waited(before, shard.waited_keys());
}

/// The leases that a command takes along with those of its keys, because serving who waits for them may need them.
///
/// Costs: a look-up for each key and a word for 64 shards and each queue; more only for keys that serving may write to.
#[derive(Default)]
pub struct WaiterKeys {
    shards: ShardSet,
    /// The keys found so far that serving may write to, and so make ready for others: in the order in which they were found.
    written: Vec<u64>,
    /// The same.
    found: SetOfHashes,
}

impl WaiterKeys {
    /// Takes the leases that go along with those of `hashes`, which are held; the shard that was refused, if one was: what
    /// was taken until then is still held.
    pub fn take(
        &mut self,
        hashes: impl Iterator<Item = u64>,
        keyspace: &Keyspace,
        leases: &mut Leases,
    ) -> Result<(), ShardId> {
        self.clear();
        hashes.for_each(|hash| self.add_from(hash, keyspace, leases));
        let mut next = 0;
        while let Some(hash) = self.written.get(next).copied() {
            if self.written.len() > WRITTEN_MAX {
                self.shards = keyspace.shards().collect();
                break;
            }
            next += 1;
            let shard = keyspace.shard_of(hash);
            if !leases.try_take(shard) {
                return Err(shard);
            }
            self.add_from(hash, keyspace, leases);
        }
        self.shards.iter().find(|shard| !leases.try_take(*shard)).map_or(Ok(()), Err)
    }

    /// The shards found so far by the latest `take`, unless they were cleared since.
    pub fn shards(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.iter()
    }

    /// Forgets what the latest `take` has found.
    pub fn clear(&mut self) {
        self.shards.clear();
        if !self.written.is_empty() {
            self.written.clear();
            self.found.clear();
        }
    }

    /// Adds what goes along with a key whose lease is held: no more than it takes to see that there is too much of it.
    fn add_from(&mut self, hash: u64, keyspace: &Keyspace, leases: &Leases) {
        for waiter_keys in leases.shard_ref(keyspace.shard_of(hash)).waiter_keys(hash) {
            waiter_keys.shards().into_iter().for_each(|shards| self.shards.insert_all(shards));
            for written in waiter_keys.written() {
                if self.written.len() > WRITTEN_MAX {
                    return;
                }
                if self.found.insert(written) {
                    self.written.push(written);
                }
            }
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::store::KeyspaceOptions;

    pub const SHARDS: usize = 16;

    pub fn two_workers() -> (Arc<Keyspace>, Leases, Leases) {
        let options = KeyspaceOptions { shards: SHARDS, databases: 2, workers: 2, hash_seed: 1 };
        let keyspace = Arc::new(Keyspace::new(options));
        let (zero, one) = (Leases::new(&keyspace, 0, false), Leases::new(&keyspace, 1, false));
        (keyspace, zero, one)
    }

    struct Patient {
        hashes: Vec<u64>,
        awaited: usize,
        shards: Option<Arc<ShardSet>>,
    }

    impl Waiting for Patient {
        fn is_over(&self) -> bool {
            false
        }
        fn hashes(&self) -> &[u64] {
            &self.hashes
        }
        fn awaited_count(&self) -> usize {
            self.awaited
        }
        fn shards(&self) -> Option<&Arc<ShardSet>> {
            self.shards.as_ref()
        }
        fn heeds_loss(&self) -> bool {
            false
        }
    }

    /// Somebody waits for the first keys, and serving it writes to the others.
    pub fn wait(hashes: &[u64], awaited: usize, keyspace: &Keyspace, leases: &mut Leases) {
        assert!(leases.take_all());
        let shards = shards_of(hashes, keyspace);
        let waiter = Arc::new(Patient { hashes: hashes.to_vec(), awaited, shards });
        for key_index in 0..awaited as u32 {
            let shard = leases.shard(keyspace.shard_of(hashes[key_index as usize]));
            let waiter: Arc<dyn Waiting> = waiter.clone();
            shard.add_waiter(DbIndex(0), Registration { waiter, key_index });
        }
        keyspace.set_waited();
        leases.release_all();
    }

    fn numbers(shards: impl Iterator<Item = ShardId>) -> Vec<u16> {
        shards.map(|shard| shard.0).collect()
    }

    /// Takes the lease of a key and what goes along; the shards that are held then, if all were to be had.
    fn take(
        waiter_keys: &mut WaiterKeys,
        hash: u64,
        keyspace: &Keyspace,
        leases: &mut Leases,
    ) -> Result<Vec<u16>, u16> {
        assert!(leases.try_take(keyspace.shard_of(hash)));
        let taken = waiter_keys.take([hash].into_iter(), keyspace, leases);
        let held = numbers(keyspace.shards().filter(|shard| leases.holds(*shard)));
        leases.release_all();
        taken.map(|()| held).map_err(|shard| shard.0)
    }

    #[test]
    fn waiter_keys_are_followed_through_written_keys() {
        let (keyspace, mut leases, mut other) = two_workers();
        // 1 -> 2 -> 3, and back; who is served at 2 may have come for 7, who is at 7 does not matter, and 20 is 4 again.
        wait(&[1, 2], 1, &keyspace, &mut leases);
        wait(&[2, 7, 3], 2, &keyspace, &mut leases);
        wait(&[3, 1], 1, &keyspace, &mut leases);
        wait(&[3, 4, 20], 2, &keyspace, &mut leases);
        wait(&[7, 9], 1, &keyspace, &mut leases);
        wait(&[10], 1, &keyspace, &mut leases);
        let mut waiter_keys = WaiterKeys::default();
        assert_eq!(take(&mut waiter_keys, 1, &keyspace, &mut leases), Ok(vec![1, 2, 3, 4, 7]));
        assert_eq!(take(&mut waiter_keys, 7, &keyspace, &mut leases), Ok(vec![1, 2, 3, 4, 7, 9]));
        assert_eq!(take(&mut waiter_keys, 9, &keyspace, &mut leases), Ok(vec![9]));
        assert_eq!(take(&mut waiter_keys, 10, &keyspace, &mut leases), Ok(vec![10]));
        assert_eq!(numbers(waiter_keys.shards()), []);
        // What is refused is among what is known by then.
        for refused in [2, 3, 4, 7] {
            assert!(other.try_take(ShardId(refused)));
            assert_eq!(take(&mut waiter_keys, 1, &keyspace, &mut leases), Err(refused));
            assert!(numbers(waiter_keys.shards()).contains(&refused));
            other.release_all();
        }
        waiter_keys.clear();
        assert_eq!(numbers(waiter_keys.shards()), []);
    }

    /// Beyond its bound a command takes all, and if it is refused, all are what it needs. Those found before were, so that
    /// the others were not reserved for it.
    #[test]
    fn too_many_written_keys_take_all_shards() {
        let (keyspace, mut leases, mut other) = two_workers();
        let mut waiter_keys = WaiterKeys::default();
        let target = |n: u64| 16 * n + 5;
        (1..=WRITTEN_MAX as u64).for_each(|n| wait(&[3, target(n)], 1, &keyspace, &mut leases));
        assert_eq!(take(&mut waiter_keys, 3, &keyspace, &mut leases), Ok(vec![3, 5]));
        wait(&[3, target(0)], 1, &keyspace, &mut leases);
        let all: Vec<u16> = (0..SHARDS as u16).collect();
        assert_eq!(take(&mut waiter_keys, 3, &keyspace, &mut leases), Ok(all.clone()));
        assert!(other.try_take(ShardId(11)));
        assert_eq!(take(&mut waiter_keys, 3, &keyspace, &mut leases), Err(11));
        assert_eq!(numbers(waiter_keys.shards()), all);
        assert!(waiter_keys.written.len() <= WRITTEN_MAX + 1);
    }

    #[test]
    fn a_key_is_repeated_if_hash_and_name_are_those_of_an_earlier_one() {
        let found = |keys: &[(u64, &'static [u8])]| repeated(keys.len(), |index| keys[index]);
        assert!(found(&[]).is_empty());
        assert!(found(&[(1, b"a")]).is_empty());
        assert!(found(&[(1, b"a"), (1, b"b"), (2, b"a")]).is_empty());
        assert_eq!(*found(&[(9, b"a"), (1, b"b"), (9, b"c"), (1, b"b"), (9, b"a"), (9, b"a")]), [3, 4, 5]);
    }
}
