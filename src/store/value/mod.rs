//! The values of keys that are more than a string, one file per type over shared ways to lie in memory.
//!
//! | file | what |
//! |---|---|
//! | `external` | the contract of large values, whichever their type |
//! | `view` | what can be asked of a value of any type |
//! | `new` | values that are loaded |
//! | `limits` | up to which size values are packed |
//! | `digest` | DEBUG DIGEST's number |
//! | `packed` | bodies of listpacks, in listpack's element format |
//! | `node` | a buffer with a body that grows at both ends, or one long element |
//! | `hash` | a hash as a command sees it |
//! | `hash_mut` | what may be done to a key that holds a hash |
//! | `hash_new` | hashes that are loaded; expiry inside of packed ones |
//! | `deque` | a deque of nodes: a large list |
//! | `deque_undo` | undoing changes at its ends |
//! | `rings` | the nodes of a deque, in order |
//! | `dict` | a map from byte strings to byte strings: a large set, a large hash |
//! | `intset` | sorted integers, in Redis's own bytes |
//! | `list` | a list as a command sees it, whichever of the two it is; its limits |
//! | `list_mut` | what may be done to a key that holds a list |
//! | `set` | a set as a command sees it |
//! | `set_new` | a set outside of any key; which encoding a set has |
//! | `set_mut` | what may be done to a key that holds a set |
//! | `stream` | a stream: nodes of packed entries under an index, consumer groups |
//! | `stream_mut` | what may be done to a key that holds a stream |
//! | `sorted_set` | a sorted set: small, large, and what may be done to a key that holds one |
//!
//! Design: a small value is a *pack*: the number of elements in two bytes, then their body, as the inline value of its
//! entry, so that key and value are one allocation. A large one is a structure of its own that the entry owns
//! (`External`). The encoding that OBJECT ENCODING tells is also which of the two it is. Changes go through
//! `KeyMut`, which counts memory and removes a key whose value becomes empty; a huge value is freed by cron, in slices.
//!
//! Not here: strings (`super::entry`), the format of files (`persist`).

mod deque;
mod deque_undo;
mod dict;
mod digest;
mod external;
mod hash;
mod hash_mut;
mod hash_new;
mod intset;
mod limits;
mod list;
mod list_mut;
mod new;
mod node;
pub mod packed;
mod rings;
mod set;
mod set_mut;
mod set_new;
mod sorted_set;
pub mod stream;
mod stream_mut;
mod view;

use std::borrow::Cow;

use bytes::Bytes;

use deque::Deque;
use dict::Dict;
pub use digest::Digest;
pub(in crate::store) use external::{Blob, Expiry, External, FETCH_STEPS};
pub use hash::{Field, Fields, Hash, HashPack, PackForm};
pub use hash_new::NewHash;
pub(in crate::store) use hash_new::{expire_pack, inner_due, pack_due, pack_noted};
pub use intset::Intset;
pub use limits::{Limits, NodeLimits, PackLimits};
pub use list::{End, Items, List, ListLimits, ListNode, NewList, NewNode, Side};
pub use new::NewValue;
pub use set::{Members, Set};
pub use set_new::NewSet;
use sorted_set::Ranking;
pub use sorted_set::{
    LexBound, LexRange, NewSortedSet, ScoreBound, ScoreRange, Scored, SortedMembers, SortedSet,
};
pub use stream::Stream;
pub use stream_mut::NewStream;
pub use view::{Elements, Typed, Value, View};

/// An element of a value.
#[derive(Clone, Copy, Debug)]
pub enum Item<'a> {
    /// A canonical integer.
    Int(i64),
    /// The bytes, where they lie.
    Bytes(&'a [u8]),
    /// A long element, which can be shared instead of copied.
    Blob(&'a Bytes),
}

impl Item<'_> {
    /// The bytes of the element; `digits` holds those of an integer.
    #[inline]
    pub fn bytes<'s>(&'s self, digits: &'s mut itoa::Buffer) -> &'s [u8] {
        match self {
            Item::Int(value) => digits.format(*value).as_bytes(),
            Item::Bytes(bytes) => bytes,
            Item::Blob(blob) => blob,
        }
    }

    /// A copy of the bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    /// A copy of the element, to be put elsewhere.
    pub fn to_owned(&self) -> OwnedItem {
        match self {
            Item::Int(value) => OwnedItem::Int(*value),
            Item::Bytes(bytes) => OwnedItem::Bytes(Box::from(*bytes)),
            Item::Blob(blob) => OwnedItem::Blob(Bytes::clone(blob)),
        }
    }
}

/// An element outside of any value.
#[derive(Clone, Debug)]
pub enum OwnedItem {
    /// A canonical integer.
    Int(i64),
    /// The bytes.
    Bytes(Box<[u8]>),
    /// A long element.
    Blob(Bytes),
}

impl OwnedItem {
    /// The element, to be put into a value.
    pub fn as_new(&self) -> NewItem<'_> {
        match self {
            OwnedItem::Int(value) => NewItem::Int(*value),
            OwnedItem::Bytes(bytes) => NewItem::Bytes(bytes),
            OwnedItem::Blob(blob) => NewItem::Blob(blob.clone()),
        }
    }

    /// The element, to be looked at.
    pub fn as_item(&self) -> Item<'_> {
        match self {
            OwnedItem::Int(value) => Item::Int(*value),
            OwnedItem::Bytes(bytes) => Item::Bytes(bytes),
            OwnedItem::Blob(blob) => Item::Blob(blob),
        }
    }
}

/// An element to be put into a value.
#[derive(Clone, Debug)]
pub enum NewItem<'a> {
    /// Kept as an integer.
    Int(i64),
    /// Copied; a canonical integer is kept as one.
    Bytes(&'a [u8]),
    /// Kept as it is where it is long, else copied.
    Blob(Bytes),
}

impl NewItem<'_> {
    /// The element as text.
    pub fn to_text(&self) -> Cow<'_, [u8]> {
        match self {
            NewItem::Int(value) => value.to_string().into_bytes().into(),
            NewItem::Bytes(bytes) => (*bytes).into(),
            NewItem::Blob(blob) => blob[..].into(),
        }
    }

    /// How many bytes the element has as text.
    #[inline]
    pub fn text_len(&self) -> usize {
        match self {
            NewItem::Int(value) => itoa::Buffer::new().format(*value).len(),
            NewItem::Bytes(bytes) => bytes.len(),
            NewItem::Blob(blob) => blob.len(),
        }
    }
}
