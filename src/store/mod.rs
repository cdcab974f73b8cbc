//! Shards, leases, tables, entries and slabs: everything about keys, and nothing about commands or connections.
//!
//! From the outside in: a `Keyspace` has shards; a worker's `Leases` give `&mut Shard`; a `Shard` finds an `Entry` or
//! gives a `KeyMut`, through which all changes go. Below: `table` finds entries by hash, `entry` says how they lie in
//! memory, `heap` and `slab` give them room, `pool` gives all shards their pages.

pub mod allocator;
#[cfg(test)]
mod attack_tests;
pub mod candidates;
mod changes;
mod chunk_memory;
mod db;
mod dbs;
mod defrag;
mod entry;
pub mod eviction;
mod fetch;
mod hash;
mod heap;
mod key_mut;
mod keyspace;
mod lease;
pub mod mapping;
#[cfg(test)]
mod measure;
pub mod occupancy;
mod owned;
#[cfg(test)]
mod play;
pub mod pool;
pub mod prefault;
mod shard;
mod shard_set;
mod slab;
pub mod snapshot;
mod table;
mod trackers;
mod undo;
mod unshare;
mod value;
mod waiter_keys;
mod waiters;
mod watchers;

pub use changes::{ChangeKind, Changes, ChangesMark, Class, Deletion, Event, Whom, Word, Words};
pub use defrag::Defragged;
pub use entry::{
    BLOB_BYTES_MIN, CLOCK_MAX, Encoding, Entry, KEY_BYTES_MAX, STRING_BYTES_MAX, Str, Type, parse_int,
};
pub use eviction::{AccessClock, Touch};
pub use fetch::{FETCH_GROUP_KEYS, PrefetchHint};
pub use hash::{KeyHasher, MapByHash, SetOfHashes};
pub use key_mut::{Deadline, KeyMut, NewString};
#[cfg(feature = "injected-fault")]
pub use keyspace::set_late_yield_point;
pub use keyspace::{Keyspace, KeyspaceOptions, Leases, SHARDS_MAX};
pub use lease::{HOLDERS_MAX, WantedMask};
pub use owned::OwnedEntry;
pub use shard::{Discarded, ExpireProgress, Expired, OnExpired, Shard, ShardMemory, ShardStats, Sight};
pub use shard_set::ShardSet;
pub use trackers::{BITS as TRACKER_BITS, Readers, Tracker, Trackers};
pub use undo::UndoLog;
pub use value::{
    Digest, Elements, End, Field, Fields, Hash, HashPack, Intset, Item, Items, LexBound, LexRange, Limits,
    List, ListLimits, ListNode, Members, NewHash, NewItem, NewList, NewNode, NewSet, NewSortedSet, NewStream,
    NewValue, NodeLimits, OwnedItem, PackForm, PackLimits, ScoreBound, ScoreRange, Scored, Set, Side,
    SortedMembers, SortedSet, Stream, Typed, Value, View, packed, stream,
};
pub use waiter_keys::QueueWaiterKeys;
pub use waiters::{ReadyKey, Registration, Waiting};
pub use watchers::WatchFlag;

/// How much of something a test does: a twentieth under Miri, which interprets every instruction.
#[cfg(test)]
const fn scaled(full: u64) -> u64 {
    if cfg!(miri) { full / 20 } else { full }
}

/// A database's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DbIndex(pub u32);

/// A shard's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);
