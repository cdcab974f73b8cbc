//! Shards, leases, tables, entries and slabs: everything about keys, and nothing about commands or connections.
//!
//! From the outside in: a `Keyspace` has shards; a worker's `Leases` give `&mut Shard`; a `Shard` finds an `Entry` or
//! gives a `KeyMut`, through which all changes go. Below: `table` finds entries by hash, `entry` says how they lie in
//! memory, `heap` and `slab` give them room, `pool` gives all shards their pages.

mod along;
mod changes;
mod chunk_memory;
mod db;
mod entry;
pub mod eviction;
mod fetch;
mod hash;
mod heap;
mod key_mut;
mod keyspace;
mod lease;
#[cfg(all(test, not(loom)))]
mod measure;
mod owned;
pub mod pool;
mod shard;
mod shard_set;
mod slab;
mod table;
mod value;
mod waiters;
mod watchers;

pub use along::QueueAlong;
pub use changes::{Change, ChangeKind, Changes};
pub use chunk_memory::keep_spares;
pub use entry::{BLOB_BYTES_MIN, CLOCK_MAX, EMBSTR_BYTES_MAX, Encoding, Entry, Str, Type, parse_int};
pub use eviction::{AccessClock, Touch};
pub use fetch::{FETCH_GROUP_KEYS, Reach};
pub use hash::SetOfHashes;
pub use key_mut::{Deadline, KeyMut, NewString};
#[cfg(feature = "planted-bug")]
pub use keyspace::set_late_interlude;
pub use keyspace::{Keyspace, KeyspaceOptions, Leases, SHARDS_MAX};
pub use lease::{HOLDERS_MAX, WantedMask};
pub use owned::OwnedEntry;
pub use shard::{Discarded, ExpireProgress, Shard, ShardMemory, ShardStats};
pub use shard_set::ShardSet;
pub use value::{End, Item, Items, List, ListLimits, ListNode, NewItem, NewList, NewNode, OwnedItem, packed};
pub use waiters::{ReadyKey, Registration, Waiting};
pub use watchers::WatchFlag;

/// A database's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DbIndex(pub u16);

/// A shard's number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);
