//! The family `transactions`.
//!
//! MULTI begins a [`Queue`], into which the worker puts the commands that follow; EXEC is run by the worker itself, which has
//! what running commands needs. WATCH registers in the shards of its keys.

mod queue;

use std::iter::successors;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use queue::Queue;

use super::row::{BASE, KeyAccess, keys_from};
use super::{Args, Command, CommandError, Context, Flags, Group, Outcome, Scope, Session};
use crate::observe::flag;
use crate::resp::Reply;
use crate::store::{DbIndex, MapByHash, Touch, WatchFlag};

const TRANSACTIONS: Command = Command {
    group: Group::Transactions,
    flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::FAST).with(Flags::ALLOW_BUSY),
    ..BASE
};

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "discard",
        arity: 1,
        since: "2.0.0",
        complexity: "O(N), N commands queued",
        summary: "Drops the commands queued since MULTI.",
        handler: discard,
        ..TRANSACTIONS
    },
    Command {
        name: "exec",
        arity: 1,
        flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::SKIP_SLOWLOG),
        scope: Scope::Transaction,
        since: "1.2.0",
        complexity: "those of its commands together",
        summary: "Runs the commands queued since MULTI as one.",
        handler: exec,
        ..TRANSACTIONS
    },
    Command {
        name: "multi",
        arity: 1,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Queues the commands that follow until EXEC.",
        handler: multi,
        ..TRANSACTIONS
    },
    Command {
        name: "unwatch",
        arity: 1,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Watches no key any more.",
        handler: unwatch,
        ..TRANSACTIONS
    },
    Command {
        name: "watch",
        arity: -2,
        keys: &[keys_from(1, -1, 1, KeyAccess::Look)],
        scope: Scope::Keys,
        since: "2.2.0",
        complexity: "O(1) a key",
        summary: "Makes EXEC fail if one of the keys changes before it.",
        syntax: "key...",
        handler: watch,
        ..TRANSACTIONS
    },
];

/// The keys a client watches.
#[derive(Default)]
pub struct Watch {
    /// Raised when one of them changes.
    pub flag: Arc<WatchFlag>,
    /// In the order in which they were given, none twice.
    keys: Vec<WatchedKey>,
    /// The last of them with each hash, so that adding one does not mean looking at all.
    last_of: MapByHash<usize>,
    key_bytes: usize,
}

/// One of them.
pub struct WatchedKey {
    /// Its database.
    pub db: DbIndex,
    /// Its hash.
    pub hash: u64,
    /// Its name.
    pub key: Box<[u8]>,
    /// The one before it that has the same hash: the same name in another database, most likely.
    before: Option<usize>,
    /// Whether its time had come before.
    pub was_expired: bool,
}

impl Watch {
    /// The keys, in the order in which they were given.
    pub fn keys(&self) -> &[WatchedKey] {
        &self.keys
    }

    /// Bytes allocated for it; the registrations in shards have as much again for each key.
    pub fn bytes_allocated(&self) -> usize {
        let each = size_of::<WatchedKey>() + size_of::<(u64, usize)>();
        2 * (self.keys.capacity() * each + self.key_bytes)
    }

    /// Adds a key; false if it is watched already.
    fn add(&mut self, db: DbIndex, hash: u64, key: &[u8], was_expired: bool) -> bool {
        let before = self.last_of.get(&hash).copied();
        let same_hash = successors(before, |place| self.keys[*place].before);
        let is_same = |watched: &WatchedKey| watched.db == db && *watched.key == *key;
        if same_hash.map(|place| &self.keys[place]).any(is_same) {
            return false;
        }
        self.last_of.insert(hash, self.keys.len());
        self.key_bytes += key.len();
        self.keys.push(WatchedKey { db, hash, key: key.into(), before, was_expired });
        true
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.flag.end();
    }
}

impl Session {
    /// Ends a transaction that was begun, and forgets the watched keys.
    pub fn discard(&mut self) {
        self.unwatch();
        if self.multi.take().is_some() {
            self.end_transaction();
        }
    }

    /// Shows to others that the client is in no transaction any more.
    pub fn end_transaction(&self) {
        self.client_info.set(flag::MULTI, false);
        self.client_info.note_queue(u32::MAX, 0);
    }

    /// Whether EXEC needs every shard.
    pub fn needs_all(&self) -> bool {
        self.multi.as_ref().is_some_and(|queue| queue.needs_all && !queue.failed)
    }

    /// The hashes of the keys whose shards EXEC needs otherwise: those of the queued commands and those watched.
    pub fn needed(&self) -> impl Iterator<Item = u64> + Clone {
        let queued = self.multi.iter().flat_map(|queue| queue.hashes());
        queued.copied().chain(self.watch.iter().flat_map(|watch| watch.keys()).map(|watched| watched.hash))
    }

    /// Forgets the watched keys.
    pub fn unwatch(&mut self) {
        drop(self.take_watch());
    }

    /// The watched keys, which the session forgets.
    pub fn take_watch(&mut self) -> Option<Box<Watch>> {
        let watch = self.watch.take()?;
        self.client_info.watch_count.store(0, Relaxed);
        self.client_info.set(flag::DIRTY_CAS, false);
        Some(watch)
    }
}

fn multi(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.multi.is_some() {
        return Err(CommandError::Text("ERR MULTI calls can not be nested"));
    }
    ctx.session.multi = Some(Box::new(ctx.queues.pop().unwrap_or_default()));
    ctx.session.client_info.set(flag::MULTI, true);
    ctx.session.client_info.note_queue(0, 0);
    reply.ok();
    Ok(())
}

fn discard(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.multi.is_none() {
        return Err(CommandError::Text("ERR DISCARD without MULTI"));
    }
    ctx.leave_watch();
    ctx.session.discard();
    reply.ok();
    Ok(())
}

fn exec(_: &mut Context<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    unreachable!("the worker runs EXEC itself")
}

fn watch(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.multi.is_some() {
        return Err(CommandError::Text("ERR WATCH inside MULTI is not allowed"));
    }
    let mut watch = ctx.session.watch.take().unwrap_or_default();
    // One change is enough: what is watched besides does not matter any more.
    let touched = watch.flag.is_touched();
    let db = ctx.session.db;
    for index in (1..args.len()).take_while(|_| !touched) {
        let (key, hash, now_ms) = (args.at(index), args.hashes()[index - 1], ctx.now_ms);
        let shard = ctx.leases.shard(ctx.shared.keyspace.shard_of(hash));
        // A key whose time has come is gone from here on, even if a pause keeps it in its place; that is not the change that is
        // waited for.
        let was_expired = shard.peek(db, hash, key).is_some_and(|entry| entry.is_expired(now_ms));
        if !watch.add(db, hash, key, was_expired) {
            continue;
        }
        let is_paused = ctx.shared.keeps_expired(now_ms);
        shard.read(db, hash, key, now_ms, Touch::None, || is_paused);
        shard.watch(db, hash, key, &watch.flag);
        if was_expired && !is_paused {
            ctx.expired(db, key);
        }
    }
    let count = u32::try_from(watch.keys.len()).unwrap_or(u32::MAX);
    ctx.session.client_info.watch_count.store(count, Relaxed);
    ctx.session.watch = Some(watch);
    reply.ok();
    Ok(())
}

fn unwatch(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.leave_watch();
    ctx.session.unwatch();
    reply.ok();
    Ok(())
}
