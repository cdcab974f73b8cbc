//! Clients that keep copies of keys (CLIENT TRACKING): what a client has asked for, noting what it reads, telling what has changed.
//!
//! Design: a listener to what commands change, as notifications are. Behind each command, while its leases are held, keys that it
//! has changed are looked up in the tables of their shards (`store::trackers`), and who has read them is told through its worker's
//! inbox; then a client that tracks is entered for the keys that its command has read. Both happen under the key's lease, so a
//! client hears of every change that comes after what it has read, and behind the reply.
//!
//! A client that is entered changes the shard: one that tracks reads under exclusive leases.
//!
//! Not here: CLIENT TRACKING itself (`client::tracking`), delivery (`worker::tracking`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::keys::each_key;
use super::{Args, Context, Effect, Flags, Row, Shared};
use crate::observe::{ClientInfo, ClientPlace};
use crate::pubsub::Invalidation;
use crate::store::{Class, DbIndex, Event, Leases, Tracker};

/// What a client has asked for.
#[derive(Clone, Default)]
pub struct TrackingOptions {
    /// How it is noted as a reader of keys; none if it is told whatever it reads.
    pub tracker: Option<Tracker>,
    /// It is told of all keys, or of those with its prefixes, whatever it reads.
    pub broadcast: bool,
    /// Only what it reads behind CLIENT CACHING YES.
    pub opt_in: bool,
    /// Not what it reads behind CLIENT CACHING NO.
    pub opt_out: bool,
    /// Not what it changes itself.
    pub no_loop: bool,
    /// Who is told instead.
    pub redirect: Option<Arc<ClientInfo>>,
    /// The one who was to be told instead is gone.
    pub is_broken: bool,
    /// CLIENT CACHING was given for the command that comes next.
    pub caching: bool,
    /// With `broadcast`; ascending.
    pub prefixes: Vec<Box<[u8]>>,
}

impl TrackingOptions {
    /// Whether keys that it reads now are noted.
    pub fn notes_reads(&self) -> bool {
        !(self.broadcast || self.opt_in && !self.caching || self.opt_out && self.caching)
    }
}

/// Whether an event says that a key has changed, which others of the same change do not repeat.
fn is_change(event: Event) -> bool {
    !matches!(event.class, Class::KeyMiss | Class::New | Class::Overwritten | Class::TypeChanged)
}

/// Draws places for an invalidation in the inboxes of these workers.
fn send(shared: &Shared, workers: u64, what: &Invalidation, effects: &mut Vec<Effect>) {
    for worker in (0..u64::BITS as u16).filter(|worker| workers >> worker & 1 == 1) {
        let place = shared.pubsub.inbox(worker.into()).places().draw();
        effects.push(Effect::Invalidate { worker, place, what: what.clone() });
    }
}

fn send_to(shared: &Shared, client: u64, key: &[u8], by: u64, effects: &mut Vec<Effect>) {
    let worker = ClientPlace::unpack(client).worker;
    send(shared, 1 << worker, &Invalidation::Read { client, key: key.into(), by }, effects);
}

/// A key has changed, whose lease is held; `by` is the client that has changed it, 0 for none.
pub fn invalidate(shared: &Shared, leases: &mut Leases, key: &[u8], by: u64, effects: &mut Vec<Effect>) {
    let tracking = &shared.pubsub.tracking;
    if tracking.keys.load(Relaxed) > 0 {
        let hash = shared.keyspace.hash(key);
        let readers = leases.shard(shared.keyspace.shard_of(hash)).trackers().take(hash);
        forget(shared, 1, readers.count());
        tracking.places(&readers).for_each(|client| send_to(shared, client, key, by, effects));
    }
    let workers = tracking.broadcasting();
    if workers != 0 {
        send(shared, workers, &Invalidation::Broadcast { key: key.into(), by }, effects);
    }
}

/// Tables have so many keys and items less.
fn forget(shared: &Shared, keys: u64, items: u64) {
    let tracking = &shared.pubsub.tracking;
    if items > 0 {
        tracking.keys.fetch_sub(keys, Relaxed);
        tracking.items.fetch_sub(items, Relaxed);
    }
}

impl Context<'_> {
    /// Whether the command that has run would be noted as a reader of keys whose shards others may be reading: then it runs again.
    #[cold]
    pub fn needs_exclusive_to_track(&self, row: &Row, args: &Args<'_>) -> bool {
        let tracks = self.session.tracking.as_ref().is_some_and(|tracking| tracking.notes_reads());
        tracks
            && row.command.flags.has(Flags::READONLY)
            && args.hashes().iter().any(|hash| self.leases.is_shared(self.shared.keyspace.shard_of(*hash)))
    }

    /// A command has run: tells of what it has changed, and notes what it has read.
    #[cold]
    pub fn track(&mut self, row: &Row, args: &Args<'_>) {
        self.invalidate_changed(usize::MAX);
        let Some(tracking) = &self.session.tracking else { return };
        if row.command.flags.has(Flags::READONLY) && tracking.notes_reads() {
            let (mut hashes, db) = (args.hashes().iter(), self.session.db);
            // Keys that do not add up were refused by the command.
            let _ = each_key(row, args, |index| {
                let key = args.at(index);
                let hash = hashes.next().copied().unwrap_or_else(|| self.shared.keyspace.hash(key));
                self.note_read(db, hash, key);
            });
        }
        let is_caching = row.full_name == "client|caching";
        let is_over = self.session.multi.is_none() && self.session.blocking.is_none();
        if !is_caching && is_over && !self.session.denies_blocking {
            self.session.end_caching();
        }
    }

    /// Tells of what was changed since events were told last, up to the unit's first `until` ones.
    pub(super) fn invalidate_changed(&mut self, until: usize) {
        let by = self.session.client_info.place().pack();
        let mut last: Option<&[u8]> = None;
        for (event, _, key) in self.changes.untold_events(until) {
            if is_change(event) && last != Some(key) {
                invalidate(self.shared, self.leases, key, by, self.effects);
                last = Some(key);
            }
        }
    }

    /// The client, which tracks keys, has read one whose lease is held.
    pub(super) fn note_read(&mut self, db: DbIndex, hash: u64, key: &[u8]) {
        let Some(client) = self.session.tracking.as_ref().and_then(|tracking| tracking.tracker) else {
            return;
        };
        let (shared, tracking) = (self.shared, &self.shared.pubsub.tracking);
        let shard = self.leases.shard(shared.keyspace.shard_of(hash));
        let is_there = shard.peek(db, hash, key).is_some();
        let grown = shard.trackers().add(hash, client, || (!is_there).then(|| key.into()));
        if grown.items == 0 {
            return;
        }
        tracking.items.fetch_add(grown.items, Relaxed);
        let keys = tracking.keys.fetch_add(grown.keys, Relaxed) + grown.keys;
        let max = self.config.tracking_table_max_keys;
        if max > 0
            && keys > max
            && let Some((key, readers)) = shard.take_tracked()
        {
            forget(shared, 1, readers.count());
            for client in tracking.places(&readers) {
                let workers = 1 << ClientPlace::unpack(client).worker;
                match &key {
                    Some(key) => send_to(shared, client, key, 0, self.effects),
                    // It is gone without a word, and this cannot be.
                    None => send(shared, workers, &Invalidation::All, self.effects),
                }
            }
        }
    }

    /// All keys were removed, under all leases: everybody who tracks is told.
    pub fn invalidate_all(&mut self) {
        let (shared, tracking) = (self.shared, &self.shared.pubsub.tracking);
        if tracking.keys.load(Relaxed) > 0 {
            self.each_shard(|shard| {
                let gone = shard.trackers().clear();
                forget(shared, gone.keys, gone.items);
            });
        }
        send(shared, tracking.workers(), &Invalidation::All, self.effects);
    }
}
