//! A set as a command sees it: integers or a body in its entry, or a dict.
//!
//! Design: one view over the three, so that commands that read need not know which it is. A set whose limits were raised so far that
//! it would not fit its entry lies in a dict, whatever OBJECT ENCODING calls it.
//!
//! Not here: changes (`set_mut`), which encoding a set has (`set_new`).

use super::dict::{self, Dict};
use super::intset::Intset;
use super::view::{Elements, Typed, Value};
use super::{Digest, External, Item, NewItem, packed};
use crate::store::entry::{Encoding, Entry, Type, parse_int};
use crate::store::hash::KeyHasher;

/// Bytes of a pack before its body: the number of members.
pub(super) const PACK_HEADER_BYTES: usize = 2;

/// A set, wherever it lies.
#[derive(Clone, Copy)]
pub enum Set<'a> {
    /// Integers.
    Ints(Intset<'a>),
    /// Members in one body, and their number.
    Packed(&'a [u8], usize),
    /// A table.
    Dict(&'a Dict),
}

impl<'a> Set<'a> {
    /// The number of members.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "there are no empty sets")]
    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.count(),
            Set::Packed(_, count) => *count,
            Set::Dict(dict) => dict.len(),
        }
    }

    /// Whether something is a member.
    #[inline]
    pub fn contains(&self, hasher: &KeyHasher, member: Item<'_>) -> bool {
        match self {
            Set::Dict(dict) => dict.contains(hasher, member.bytes(&mut itoa::Buffer::new())),
            _ => self.place_of(member).is_some(),
        }
    }

    /// Where a member of a packed set stands: its number among integers, its offset in a body.
    #[inline]
    pub(super) fn place_of(&self, member: Item<'_>) -> Option<usize> {
        match self {
            Set::Ints(ints) => ints.search(as_integer(member)?).ok(),
            Set::Packed(body, _) => {
                let new = match member {
                    Item::Int(value) => NewItem::Int(value),
                    Item::Bytes(bytes) => NewItem::Bytes(bytes),
                    Item::Blob(blob) => NewItem::Bytes(blob),
                };
                let wanted = packed::Encoded::of(&new);
                let mut at = 0;
                while at < body.len() {
                    if packed::is(body, at, &wanted) {
                        return Some(at);
                    }
                    at = packed::next(body, at);
                }
                None
            }
            Set::Dict(_) => unreachable!("a dict has no places"),
        }
    }

    /// All members, integers in their order and others of small sets as they were added.
    pub fn iter(&self) -> Members<'a> {
        Members(match self {
            Set::Ints(ints) => Rest::Ints(*ints, 0),
            Set::Packed(body, count) => Rest::Listpack(body, 0, *count),
            Set::Dict(dict) => Rest::Dict(dict.iter()),
        })
    }

    /// A member, each with the same probability.
    pub fn random(&self, random: u64) -> Item<'a> {
        let index = |count: usize| ((u128::from(random) * count as u128) >> 64) as usize;
        match self {
            Set::Ints(ints) => Item::Int(ints.get(index(ints.count()))),
            Set::Packed(body, count) => packed::item(body, packed::offset_of(body, *count, index(*count))).0,
            Set::Dict(dict) => Item::Bytes(dict.random(random).key),
        }
    }

    /// Emits members from a position on: about `budget` of a large set, all of a small one. Returns the next position, or none at
    /// the end.
    pub fn scan(&self, position: u64, budget: usize, emit: &mut dyn FnMut(Item<'_>)) -> Option<u64> {
        match self {
            Set::Dict(dict) => dict.scan(position, budget, &mut |record| emit(Item::Bytes(record.key))),
            _ => {
                self.iter().for_each(emit);
                None
            }
        }
    }
}

/// The integer that a member is, if it is one.
#[inline]
pub(super) fn as_integer(member: Item<'_>) -> Option<i64> {
    match member {
        Item::Int(value) => Some(value),
        Item::Bytes(bytes) => parse_int(bytes),
        Item::Blob(blob) => parse_int(blob),
    }
}

impl<'a> Typed<'a> for Set<'a> {
    const TYPE: Type = Type::Set;

    #[inline]
    fn of(entry: Entry<'a>) -> Set<'a> {
        assert!(entry.ty() == Type::Set, "commands check the type first");
        if let Some(External::Set(dict)) = entry.external() {
            return Set::Dict(dict);
        }
        let value = entry.inline_value();
        if entry.encoding() == Encoding::Intset {
            return Set::Ints(Intset::of(value));
        }
        let (count, body) = value.split_first_chunk::<PACK_HEADER_BYTES>().expect("packs begin with a count");
        Set::Packed(body, usize::from(u16::from_ne_bytes(*count)))
    }
}

impl Value for Set<'_> {
    fn digest(&self, digest: &mut Digest) {
        self.iter().for_each(|member| digest.add(member.bytes(&mut itoa::Buffer::new())));
    }

    fn as_elements(&self) -> Option<&dyn Elements> {
        Some(self)
    }
}

impl Elements for Set<'_> {
    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, backwards: bool, skipped: usize, count: usize, visit: &mut dyn FnMut(Item<'_>)) {
        // A set's own order has no direction.
        let _ = backwards;
        self.iter().skip(skipped).take(count).for_each(visit);
    }

    fn is_ordered(&self) -> bool {
        false
    }
}

/// The members of a set, one after the other.
#[derive(Clone)]
pub struct Members<'a>(Rest<'a>);

#[derive(Clone)]
enum Rest<'a> {
    Ints(Intset<'a>, usize),
    /// A body, how far it was walked, and how many members are left.
    Listpack(&'a [u8], usize, usize),
    Dict(dict::Iter<'a>),
}

impl<'a> Iterator for Members<'a> {
    type Item = Item<'a>;

    #[inline]
    fn next(&mut self) -> Option<Item<'a>> {
        match &mut self.0 {
            Rest::Ints(ints, index) => {
                if *index == ints.count() {
                    return None;
                }
                *index += 1;
                Some(Item::Int(ints.get(*index - 1)))
            }
            Rest::Listpack(body, at, left) => {
                *left = left.checked_sub(1)?;
                let (item, next) = packed::item(body, *at);
                *at = next;
                Some(item)
            }
            Rest::Dict(records) => records.next().map(|record| Item::Bytes(record.key)),
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = match &self.0 {
            Rest::Ints(ints, index) => ints.count() - index,
            Rest::Listpack(_, _, left) => *left,
            Rest::Dict(records) => records.len(),
        };
        (left, Some(left))
    }
}

impl ExactSizeIterator for Members<'_> {}
