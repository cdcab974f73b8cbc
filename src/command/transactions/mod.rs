//! The family `transactions`.
//!
//! MULTI begins a [`Queue`], into which the worker puts the commands that follow; EXEC is run by the worker itself, which has
//! what running commands needs. WATCH registers in the shards of its keys.

mod queue;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

pub use queue::Queue;

use super::row::{BASE, KeyAccess, keys_from};
use super::{Args, Command, CommandError, Context, Flags, Group, Outcome, Scope, Session};
use crate::observe::flag;
use crate::resp::Reply;
use crate::store::{DbIndex, Touch, WatchFlag};

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
        complexity: "O(N), when N is the number of queued commands",
        summary: "Discards a transaction.",
        handler: discard,
        ..TRANSACTIONS
    },
    Command {
        name: "exec",
        arity: 1,
        flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::SKIP_SLOWLOG),
        scope: Scope::Transaction,
        since: "1.2.0",
        complexity: "Depends on commands in the transaction",
        summary: "Executes all commands in a transaction.",
        handler: exec,
        ..TRANSACTIONS
    },
    Command {
        name: "multi",
        arity: 1,
        since: "1.2.0",
        complexity: "O(1)",
        summary: "Starts a transaction.",
        handler: multi,
        ..TRANSACTIONS
    },
    Command {
        name: "unwatch",
        arity: 1,
        since: "2.2.0",
        complexity: "O(1)",
        summary: "Forgets about watched keys of a transaction.",
        handler: unwatch,
        ..TRANSACTIONS
    },
    Command {
        name: "watch",
        arity: -2,
        keys: &[keys_from(1, -1, 1, KeyAccess::Look)],
        scope: Scope::Keys,
        since: "2.2.0",
        complexity: "O(1) for every key.",
        summary: "Monitors changes to keys to determine the execution of a transaction.",
        syntax: "key [key ...]",
        handler: watch,
        ..TRANSACTIONS
    },
];

/// The keys a client watches.
#[derive(Default)]
pub struct Watch {
    /// Raised when one of them changes.
    pub flag: Arc<WatchFlag>,
    /// In the order in which they were given.
    pub keys: Vec<WatchedKey>,
}

/// One of them.
pub struct WatchedKey {
    /// Its database.
    pub db: DbIndex,
    /// Its hash.
    pub hash: u64,
    /// Its name.
    pub key: Box<[u8]>,
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
        self.card.set(flag::MULTI, false);
        self.card.note_queue(u32::MAX, 0);
    }

    /// Whether EXEC needs every shard.
    pub fn needs_all(&self) -> bool {
        self.multi.as_ref().is_some_and(|queue| queue.needs_all && !queue.failed)
    }

    /// The hashes of the keys whose shards EXEC needs otherwise: those of the queued commands and those watched.
    pub fn needed(&self) -> impl Iterator<Item = u64> + Clone {
        let queued = self.multi.iter().flat_map(|queue| queue.hashes());
        queued.copied().chain(self.watch.iter().flat_map(|watch| &watch.keys).map(|watched| watched.hash))
    }

    /// Forgets the watched keys.
    pub fn unwatch(&mut self) {
        drop(self.take_watch());
    }

    /// The watched keys, which the session forgets.
    pub fn take_watch(&mut self) -> Option<Box<Watch>> {
        let watch = self.watch.take()?;
        self.card.watch_count.store(0, Relaxed);
        self.card.set(flag::DIRTY_CAS, false);
        Some(watch)
    }
}

fn multi(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.multi.is_some() {
        return Err(CommandError::Text("ERR MULTI calls can not be nested"));
    }
    ctx.session.multi = Some(Box::new(ctx.queues.pop().unwrap_or_default()));
    ctx.session.card.set(flag::MULTI, true);
    ctx.session.card.note_queue(0, 0);
    reply.ok();
    Ok(())
}

fn discard(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.multi.is_none() {
        return Err(CommandError::Text("ERR DISCARD without MULTI"));
    }
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
        if watch.keys.iter().any(|watched| watched.db == db && *watched.key == *key) {
            continue;
        }
        let shard = ctx.leases.shard(ctx.shared.keyspace.shard_of(hash));
        // A key whose time has come is gone from here on; that is not the change that is waited for.
        shard.read(db, hash, key, now_ms, Touch::None);
        shard.watch(db, hash, key, &watch.flag);
        watch.keys.push(WatchedKey { db, hash, key: key.into() });
    }
    ctx.session.card.watch_count.store(watch.keys.len() as u32, Relaxed);
    ctx.session.watch = Some(watch);
    reply.ok();
    Ok(())
}

fn unwatch(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.session.unwatch();
    reply.ok();
    Ok(())
}
