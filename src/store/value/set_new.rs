//! A set outside of any shard: what is loaded, what set algebra stores, and what a set becomes that changes its encoding.
//!
//! Design: the encoding follows Redis's rules to the letter, because clients' tests look at it: integers alone are an intset up to
//! `set-max-intset-entries`; with another member it becomes a listpack if it is small enough for one, else a hash table. No
//! set goes back by itself; only where one is made anew does it begin small. How the members lie follows from the encoding,
//! but for what is too long for an entry, which lies in a dict.
//!
//! Not here: adding to a set where it lies (`set_mut`).

use super::dict::Dict;
use super::intset::{self, Intset};
use super::packed::Encoded;
use super::set::{PACK_HEADER_BYTES, Set, as_integer};
use super::{Item, Limits, NewItem};
use crate::store::entry::Encoding;
use crate::store::hash::KeyHasher;

/// The longest inline value of a set.
pub(super) const INLINE_BYTES_MAX: usize = u16::MAX as usize;

/// How the members lie.
pub(super) enum Body {
    /// An intset.
    Ints(Vec<u8>),
    /// A body, and the number of its members.
    Listpack(Vec<u8>, usize),
    Dict(Box<Dict>),
}

/// A set that is being made.
pub struct NewSet {
    pub(super) body: Body,
    pub(super) encoding: Encoding,
    limits: Limits,
    hasher: KeyHasher,
}

impl NewSet {
    /// A set without members, which cannot be stored. It is an intset until it gets a member that is no integer.
    pub fn new(limits: &Limits, hasher: &KeyHasher) -> NewSet {
        NewSet {
            body: Body::Ints(intset::empty()),
            encoding: Encoding::Intset,
            limits: *limits,
            hasher: hasher.clone(),
        }
    }

    /// As `new`, but a listpack from the beginning.
    pub fn packed(limits: &Limits, hasher: &KeyHasher) -> NewSet {
        NewSet {
            body: Body::Listpack(Vec::new(), 0),
            encoding: Encoding::Listpack,
            ..NewSet::new(limits, hasher)
        }
    }

    /// As `new`, but a hash table from the beginning.
    pub fn table(limits: &Limits, hasher: &KeyHasher) -> NewSet {
        NewSet {
            body: Body::Dict(Box::new(Dict::of_keys())),
            encoding: Encoding::Hashtable,
            ..NewSet::new(limits, hasher)
        }
    }

    /// A set that gets `count` members, of which this is the first, by one SADD.
    pub fn for_members(first: &[u8], count: usize, limits: &Limits, hasher: &KeyHasher) -> NewSet {
        let count = count as u64;
        if as_integer(Item::Bytes(first)).is_some() && count <= limits.intset_entries_max {
            NewSet::new(limits, hasher)
        } else if count <= limits.set.entries_max {
            NewSet::packed(limits, hasher)
        } else {
            NewSet::table(limits, hasher)
        }
    }

    /// A valid listpack that was loaded; none if a member is twice there.
    pub fn of_body(body: &[u8], count: usize, limits: &Limits, hasher: &KeyHasher) -> Option<NewSet> {
        let mut set = NewSet::packed(limits, hasher);
        let members = Set::Packed(body, count);
        let mut seen = Dict::of_keys();
        for member in members.iter() {
            if !seen.set(hasher, member.bytes(&mut itoa::Buffer::new()), b"", None) {
                return None;
            }
        }
        if count as u64 > limits.set.entries_max {
            set.body = Body::Dict(Box::new(seen));
            set.encoding = Encoding::Hashtable;
        } else {
            members.iter().for_each(|member| set.push(member));
        }
        Some(set)
    }

    /// Valid integers that were loaded.
    pub fn of_ints(ints: Intset<'_>, limits: &Limits, hasher: &KeyHasher) -> NewSet {
        let mut set = NewSet::new(limits, hasher);
        if ints.count() as u64 > limits.intset_entries_max {
            set = NewSet::table(limits, hasher);
            ints.iter().for_each(|value| set.push(Item::Int(value)));
        } else if ints.bytes().len() > INLINE_BYTES_MAX {
            ints.iter().for_each(|value| set.push(Item::Int(value)));
        } else {
            set.body = Body::Ints(ints.bytes().to_vec());
        }
        set
    }

    /// The parts of a set, to be changed.
    pub(super) fn of_parts(body: Body, encoding: Encoding, limits: &Limits, hasher: &KeyHasher) -> NewSet {
        NewSet { body, encoding, limits: *limits, hasher: hasher.clone() }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.view().len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The set, to be looked at.
    pub fn view(&self) -> Set<'_> {
        match &self.body {
            Body::Ints(bytes) => Set::Ints(Intset::of(bytes)),
            Body::Listpack(body, count) => Set::Packed(body, *count),
            Body::Dict(dict) => Set::Dict(dict),
        }
    }

    /// Adds a member; whether it is new.
    pub fn add(&mut self, member: Item<'_>) -> bool {
        if let (Encoding::Hashtable, Body::Dict(dict)) = (self.encoding, &mut self.body) {
            return dict.set(&self.hasher, member.bytes(&mut itoa::Buffer::new()), b"", None);
        }
        if self.view().contains(&self.hasher, member) {
            return false;
        }
        let integer = as_integer(member);
        match (self.encoding, integer) {
            (Encoding::Intset, Some(_)) => {
                self.push(member);
                if self.len() as u64 > self.limits.intset_entries_max {
                    self.become_table();
                }
            }
            (Encoding::Intset, None) => {
                if self.fits_pack(member) && self.longest_integer() as u64 <= self.limits.set.value_bytes_max
                {
                    self.become_listpack();
                } else {
                    self.become_table();
                }
                self.push(member);
            }
            _ => {
                if !self.fits_pack(member) {
                    self.become_table();
                }
                self.push(member);
            }
        }
        true
    }

    /// The members for which `keep` says so, in the same encoding.
    pub fn filtered(&self, mut keep: impl FnMut(Item<'_>) -> bool) -> NewSet {
        let (limits, hasher) = (&self.limits, &self.hasher);
        let mut kept = match self.encoding {
            Encoding::Intset => NewSet::new(limits, hasher),
            Encoding::Listpack => NewSet::packed(limits, hasher),
            _ => NewSet::table(limits, hasher),
        };
        self.view().iter().filter(|member| keep(*member)).for_each(|member| kept.push(member));
        kept
    }

    /// Makes an intset of a set that has integers only, unless there are too many.
    pub fn prefer_integers(&mut self) {
        let count = self.len() as u64;
        let all = || self.view().iter().all(|member| as_integer(member).is_some());
        if self.encoding == Encoding::Intset || count > self.limits.intset_entries_max || !all() {
            return;
        }
        let mut ints = NewSet::new(&self.limits, &self.hasher);
        self.view().iter().for_each(|member| ints.push(member));
        *self = ints;
    }

    /// Makes a hash table of it.
    pub(super) fn become_table(&mut self) {
        self.become_dict();
        self.encoding = Encoding::Hashtable;
    }

    /// Whether a listpack may have one member more, and this one.
    fn fits_pack(&self, member: Item<'_>) -> bool {
        let bytes = member.bytes(&mut itoa::Buffer::new()).len() as u64;
        (self.len() as u64) < self.limits.set.entries_max && bytes <= self.limits.set.value_bytes_max
    }

    /// The digits of the longest of the integers.
    fn longest_integer(&self) -> usize {
        let len = |value| itoa::Buffer::new().format(value).len();
        match self.view() {
            Set::Ints(ints) if ints.count() > 0 => len(ints.get(0)).max(len(ints.get(ints.count() - 1))),
            other => other.iter().filter_map(as_integer).map(len).max().unwrap_or(0),
        }
    }

    /// Adds a member that is not there, and keeps the encoding.
    fn push(&mut self, member: Item<'_>) {
        match &mut self.body {
            Body::Ints(bytes) => {
                let value = as_integer(member).expect("only integers are added to integers");
                let is_new = intset::insert(bytes, value);
                debug_assert!(is_new);
            }
            Body::Listpack(body, count) => {
                let new = match member {
                    Item::Int(value) => NewItem::Int(value),
                    Item::Bytes(bytes) => NewItem::Bytes(bytes),
                    Item::Blob(blob) => NewItem::Bytes(blob),
                };
                let (encoded, at) = (Encoded::of(&new), body.len());
                if at + encoded.len() + PACK_HEADER_BYTES > INLINE_BYTES_MAX {
                    self.become_dict();
                    return self.push(member);
                }
                body.resize(at + encoded.len(), 0);
                encoded.write(&mut body[at..]);
                *count += 1;
            }
            Body::Dict(dict) => {
                dict.set(&self.hasher, member.bytes(&mut itoa::Buffer::new()), b"", None);
            }
        }
        if matches!(&self.body, Body::Ints(bytes) if bytes.len() > INLINE_BYTES_MAX) {
            self.become_dict();
        }
    }

    /// Has the members lie in a dict, whatever the encoding.
    fn become_dict(&mut self) {
        if matches!(self.body, Body::Dict(_)) {
            return;
        }
        let mut dict = Box::new(Dict::of_keys());
        for member in self.view().iter() {
            dict.set(&self.hasher, member.bytes(&mut itoa::Buffer::new()), b"", None);
        }
        self.body = Body::Dict(dict);
    }

    /// Makes a listpack of an intset.
    fn become_listpack(&mut self) {
        self.encoding = Encoding::Listpack;
        if let Body::Ints(bytes) = &self.body {
            let ints = bytes.clone();
            self.body = Body::Listpack(Vec::new(), 0);
            Intset::of(&ints).iter().for_each(|value| self.push(Item::Int(value)));
        }
    }
}
