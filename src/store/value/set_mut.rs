//! What may be done to a key that holds a set, or is to hold one.
//!
//! Design: what fits where it lies is added there; whatever changes the encoding goes through `NewSet`, which knows the rules.
//!
//! Invariants: a set is never empty: who takes its last member removes the key.
//!
//! Costs: a change to a packed set moves the bytes behind it; a large set looks at one node.
//!
//! Not here: types other than sets: commands check `entry().ty()` first; asking for a set of another type panics.

use super::intset;
use super::packed::{self, Encoded};
use super::set::{PACK_HEADER_BYTES, Set, as_integer};
use super::set_new::{Body, INLINE_BYTES_MAX, NewSet};
use super::view::Typed;
use super::{Dict, External, Item, Limits, NewItem};
use crate::store::KeyMut;
use crate::store::entry::{Encoding, Entry, Type, Value};
use crate::store::hash::KeyHasher;
use crate::store::undo::Inverses;

impl KeyMut<'_> {
    /// The set that the key holds, if it exists.
    #[inline]
    pub fn set(&self) -> Option<Set<'_>> {
        self.entry().map(Set::of)
    }

    /// Adds members; how many are new. A key that does not exist is created.
    pub fn set_add<'i>(&mut self, members: impl Iterator<Item = &'i [u8]> + Clone, limits: &Limits) -> usize {
        let count = members.clone().count();
        let Some((first, encoding)) = members.clone().next().zip(self.entry().map(Entry::encoding)) else {
            return self.set_create(members, count, limits);
        };
        // So many are given that the set is going to be large, Redis thinks, and makes it so.
        let entries_max = match encoding {
            Encoding::Intset => limits.intset_entries_max,
            Encoding::Listpack => limits.set.entries_max,
            _ => u64::MAX,
        };
        if count as u64 > entries_max {
            self.recode(|key| {
                let mut new = key.taken(limits);
                new.become_table();
                key.put_set(new);
            });
        }
        if count == 1 {
            return usize::from(self.set_add_one(first, limits));
        }
        members.filter(|member| self.set_add_one(member, limits)).count()
    }

    /// Adds a member to a set that exists; whether it is new.
    pub fn set_add_one(&mut self, member: &[u8], limits: &Limits) -> bool {
        let encoding = self.entry().map(Entry::encoding);
        match self.set().expect("the caller has seen the key") {
            Set::Dict(_) if encoding == Some(Encoding::Hashtable) => {
                self.edit_members(|dict, hasher, inverses| {
                    let is_new = dict.set(hasher, member, b"", None);
                    if let Some(inverses) = inverses.filter(|_| is_new) {
                        inverses.add(unadded(member.into()));
                    }
                    is_new
                })
            }
            Set::Ints(ints) => match as_integer(Item::Bytes(member)) {
                Some(value) => self.set_add_integer(ints.search(value), value, limits),
                None => self.set_add_recoding(member, limits),
            },
            Set::Packed(body, count) => {
                let new = NewItem::Bytes(member);
                let (encoded, body_bytes) = (Encoded::of(&new), body.len());
                if Set::Packed(body, count).place_of(Item::Bytes(member)).is_some() {
                    return false;
                }
                let fits = (count as u64) < limits.set.entries_max
                    && member.len() as u64 <= limits.set.value_bytes_max
                    && PACK_HEADER_BYTES + body_bytes + encoded.len() <= INLINE_BYTES_MAX;
                if !fits {
                    return self.set_add_recoding(member, limits);
                }
                let at = PACK_HEADER_BYTES + body_bytes;
                let pack = self.splice_pack(at, 0, encoded.len());
                encoded.write(&mut pack[at..]);
                set_count(pack, count + 1);
                true
            }
            Set::Dict(_) => self.set_add_recoding(member, limits),
        }
    }

    /// Removes a member; whether it was one. With the last one goes the key.
    pub fn set_remove(&mut self, member: Item<'_>) -> bool {
        match self.set() {
            None => false,
            Some(set @ Set::Ints(ints)) => {
                let Some(index) = set.place_of(member) else { return false };
                let (width, count) = (ints.width(), ints.count());
                if count == 1 {
                    self.remove_emptied();
                } else {
                    let pack = self.splice_pack(intset::HEADER_BYTES + index * width, width, 0);
                    intset::set_header(pack, width, count - 1);
                }
                true
            }
            Some(set @ Set::Packed(body, count)) => {
                let Some(at) = set.place_of(member) else { return false };
                let len = packed::next(body, at) - at;
                if count == 1 {
                    self.remove_emptied();
                } else {
                    let pack = self.splice_pack(PACK_HEADER_BYTES + at, len, 0);
                    set_count(pack, count - 1);
                }
                true
            }
            Some(Set::Dict(_)) => {
                let mut digits = itoa::Buffer::new();
                let member = member.bytes(&mut digits);
                let removed = self.edit_members(|dict, hasher, inverses| {
                    let removed = dict.remove(hasher, member);
                    if let Some(inverses) = inverses.filter(|_| removed) {
                        inverses.add(unremoved(member.into()));
                    }
                    removed
                });
                if removed && matches!(self.set(), Some(Set::Dict(dict)) if dict.is_empty()) {
                    self.remove_emptied();
                }
                removed
            }
        }
    }

    /// Stores a set that was made outside, which must not be empty, in the place of whatever the key held.
    pub fn set_set(&mut self, new: NewSet) {
        assert!(!new.is_empty(), "an empty set is refused or not stored");
        self.tell_overwritten(Type::Set);
        self.put_set(new);
    }

    fn set_create<'i>(
        &mut self,
        mut members: impl Iterator<Item = &'i [u8]> + Clone,
        count: usize,
        limits: &Limits,
    ) -> usize {
        let Some(first) = members.clone().next() else { return 0 };
        let mut new = NewSet::for_members(first, count, limits, self.hasher());
        members.by_ref().for_each(|member| {
            new.add(Item::Bytes(member));
        });
        let added = new.len();
        self.put_set(new);
        added
    }

    /// Adds an integer to an intset, where it was looked for.
    fn set_add_integer(&mut self, found: Result<usize, usize>, value: i64, limits: &Limits) -> bool {
        let Err(index) = found else { return false };
        let Some(Set::Ints(ints)) = self.set() else { unreachable!("the caller has seen an intset") };
        let (width, count) = (ints.width(), ints.count());
        let fits = intset::width_of(value) <= width
            && (count as u64) < limits.intset_entries_max
            && ints.bytes().len() + width <= INLINE_BYTES_MAX;
        if !fits {
            return self.set_add_recoding(itoa::Buffer::new().format(value).as_bytes(), limits);
        }
        let at = intset::HEADER_BYTES + index * width;
        let pack = self.splice_pack(at, 0, width);
        intset::write(&mut pack[at..at + width], value);
        intset::set_header(pack, width, count + 1);
        true
    }

    /// Adds a member that may change how the set lies; whether it is new.
    #[cold]
    fn set_add_recoding(&mut self, member: &[u8], limits: &Limits) -> bool {
        let member = Item::Bytes(member);
        let hasher = self.hasher().clone();
        if self.set().is_some_and(|set| set.contains(&hasher, member)) {
            return false;
        }
        let mut new = self.taken(limits);
        new.add(member);
        self.put_set(new);
        true
    }

    /// The set that the key holds, to be changed and put back: a dict is taken, what is packed is copied.
    fn taken(&mut self, limits: &Limits) -> NewSet {
        let hasher = self.hasher().clone();
        let encoding = self.entry().expect("the caller has seen the key").encoding();
        match self.set().expect("as above") {
            Set::Ints(ints) => NewSet::of_parts(Body::Ints(ints.bytes().to_vec()), encoding, limits, &hasher),
            Set::Packed(body, count) => {
                NewSet::of_parts(Body::Listpack(body.to_vec(), count), encoding, limits, &hasher)
            }
            Set::Dict(_) => {
                let dict = self.edit_external(|external| match external {
                    External::Set(dict) => std::mem::take(dict),
                    _ => unreachable!("sets are dicts or packed"),
                });
                NewSet::of_parts(Body::Dict(dict), encoding, limits, &hasher)
            }
        }
    }

    fn put_set(&mut self, new: NewSet) {
        let encoding = new.encoding;
        match new.body {
            Body::Ints(bytes) => self.set_value(Type::Set, encoding, Value::Inline(&bytes)),
            Body::Listpack(body, count) => {
                let count = count_bytes(count);
                self.set_value(Type::Set, encoding, Value::Room(&count, 0, &body));
            }
            Body::Dict(dict) => self.set_value(Type::Set, encoding, Value::External(External::Set(dict))),
        }
    }

    /// Changes the dict, if `edit` says that it was a change.
    fn edit_members(
        &mut self,
        edit: impl FnOnce(&mut Dict, &KeyHasher, Option<&mut Inverses>) -> bool,
    ) -> bool {
        let hasher = self.hasher().clone();
        self.edit_undoable_if(|external, inverses| edit(dict_of(external), &hasher, inverses))
    }
}

fn dict_of(external: &mut External) -> &mut Dict {
    match external {
        External::Set(dict) => dict,
        _ => unreachable!("sets are dicts or packed"),
    }
}

/// Undoes adding a member.
fn unadded(member: Box<[u8]>) -> impl FnOnce(&mut External, &KeyHasher) {
    move |external, hasher| _ = dict_of(external).remove(hasher, &member)
}

/// Undoes removing a member.
fn unremoved(member: Box<[u8]>) -> impl FnOnce(&mut External, &KeyHasher) {
    move |external, hasher| _ = dict_of(external).set(hasher, &member, b"", None)
}

fn count_bytes(count: usize) -> [u8; PACK_HEADER_BYTES] {
    u16::try_from(count).expect("a pack has at most 64 KiB, a member at least two bytes").to_ne_bytes()
}

fn set_count(pack: &mut [u8], count: usize) {
    pack[..PACK_HEADER_BYTES].copy_from_slice(&count_bytes(count));
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;
