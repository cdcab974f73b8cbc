//! What may be done to a key that holds a list, or is to hold one.
//!
//! Design: a list begins as a pack; it becomes a deque when it outgrows the limits, and a pack again when it has shrunk
//! to one node of half of them: when Redis 7.4 changes OBJECT ENCODING. Elements are found before by the caller, through
//! `List`; here they are named by their index.
//!
//! Invariants:
//! - a list is never empty: who takes its last element removes the key;
//! - the encoding is `Listpack` exactly if the list is a pack.
//!
//! Each element that is added or removed counts as a change (`KeyMut::count_as`), as in Redis.
//!
//! Costs: a change to a pack moves the bytes behind it, and its entry when it outgrows its block.
//!
//! Not here: types other than lists: commands check `entry().ty()` first; asking for a list of another type panics.

use super::deque::Deque;
use super::list::{End, List, ListLimits, NewList, PACK_HEADER_BYTES, Side};
use super::packed::{self, Encoded, LISTPACK_FRAME_BYTES};
use super::view::Typed;
use super::{External, Item, NewItem, OwnedItem};
use crate::store::KeyMut;
use crate::store::changes::ChangeKind;
use crate::store::entry::{Encoding, Type, Value};
use crate::store::hash::KeyHasher;
use crate::store::undo::Inverses;

/// The longest body that fits an inline value.
const PACKED_BODY_BYTES_MAX: usize = u16::MAX as usize - PACK_HEADER_BYTES;

impl KeyMut<'_> {
    /// The list that the key holds, if it exists.
    #[inline]
    pub fn list(&self) -> Option<List<'_>> {
        self.entry().map(List::of)
    }

    /// Adds elements one after the other at an end, and returns how many there are then. A key that does not exist is
    /// created, unless there are no elements.
    pub fn list_push<'i>(
        &mut self,
        end: End,
        items: impl Iterator<Item = NewItem<'i>> + Clone,
        limits: ListLimits,
    ) -> usize {
        let (body_bytes, count) = match self.list() {
            None => (0, 0),
            Some(List::Packed(body, count)) => (body.len(), count),
            Some(List::Deque(_)) => return self.push_deque(end, items),
        };
        let (mut text_bytes, mut added_bytes, mut added) = (0, 0, 0);
        for item in items.clone() {
            text_bytes += item.text_len();
            added_bytes += Encoded::of(&item).len();
            added += 1;
        }
        if added == 0 {
            return count;
        }
        let packs = !limits.exceeds(body_bytes + LISTPACK_FRAME_BYTES + text_bytes, count + added)
            && body_bytes + added_bytes <= PACKED_BODY_BYTES_MAX;
        if !packs {
            self.unpack(limits);
            return self.push_deque(end, items);
        }
        let at = PACK_HEADER_BYTES + if end == End::Left { 0 } else { body_bytes };
        let mut missing = added_bytes;
        if count == 0 {
            // Made as long as needed at once, without the room that growing leaves.
            let header = [0; PACK_HEADER_BYTES];
            self.set_value(Type::List, Encoding::Listpack, Value::Room(&header, added_bytes, &[]));
            missing = 0;
        }
        let pack = self.splice_pack(at, added_bytes - missing, added_bytes);
        set_count(pack, count + added);
        let mut room = &mut pack[at..at + added_bytes];
        for item in items {
            let encoded = Encoded::of(&item);
            let (target, rest) = match end {
                End::Right => room.split_at_mut(encoded.len()),
                End::Left => {
                    let (rest, target) = room.split_at_mut(room.len() - encoded.len());
                    (target, rest)
                }
            };
            encoded.write(target);
            room = rest;
        }
        self.count_as(added);
        count + added
    }

    /// Takes the element at an end of a list that exists, shown before it goes. With the last element goes the key.
    #[inline]
    pub fn list_pop(&mut self, end: End, limits: ListLimits, show: impl FnOnce(Item<'_>)) {
        let list = self.list().expect("callers have seen that there is one");
        let (body, total) = match list {
            List::Packed(body, total) => (body, total),
            List::Deque(_) => {
                let last = if end == End::Left { 0 } else { list.len() - 1 };
                show(list.get(last).expect("a list is never empty"));
                return self.list_remove(last, 1, limits);
            }
        };
        let from = if end == End::Left { 0 } else { packed::previous(body, body.len()) };
        let (item, to) = packed::item(body, from);
        show(item);
        if total == 1 {
            self.remove_emptied();
        } else {
            let pack = self.splice_pack(PACK_HEADER_BYTES + from, to - from, 0);
            set_count(pack, total - 1);
        }
    }

    /// Removes `count` elements from element `start` on, as far as there are. With its last element goes the key.
    pub fn list_remove(&mut self, start: usize, count: usize, limits: ListLimits) {
        let Some(list) = self.list() else { return };
        let len = list.len();
        let count = count.min(len.saturating_sub(start));
        if count == 0 {
            return;
        }
        if count == len {
            self.remove_emptied();
            self.count_as(count);
            return;
        }
        match list {
            List::Packed(body, total) => {
                let from = packed::offset_of(body, total, start);
                let to = match count {
                    1 => packed::next(body, from),
                    _ => packed::offset_of(body, total, start + count),
                };
                let pack = self.splice_pack(PACK_HEADER_BYTES + from, to - from, 0);
                set_count(pack, total - count);
            }
            List::Deque(_) => {
                let end = match start {
                    0 => Some(End::Left),
                    _ => (start + count == len).then_some(End::Right),
                };
                if end.is_none() {
                    self.keep();
                }
                let removed = self.edit_deque_undoable(|deque, inverses| {
                    if let Some((inverses, end)) = inverses.zip(end) {
                        inverses.add(unremoved(deque, end, count));
                    }
                    deque.remove(start, count)
                });
                self.discard_part(removed);
                self.pack_if_small(limits);
            }
        }
        self.count_as(count);
    }

    /// Removes all but `count` elements from element `start` on, of which there is at least one.
    pub fn list_keep(&mut self, start: usize, count: usize, limits: ListLimits) {
        let Some(len) = self.list().map(|list| list.len()) else { return };
        assert!(count > 0 && start + count <= len, "the caller looks at the length before");
        let behind = len - start - count;
        match self.list() {
            Some(List::Deque(_)) => {
                let removed = self.edit_deque_undoable(|deque, inverses| {
                    if let Some(inverses) = inverses {
                        inverses.add(unremoved(deque, End::Right, behind));
                        inverses.add(unremoved(deque, End::Left, start));
                    }
                    [deque.remove(start + count, behind), deque.remove(0, start)]
                });
                removed.into_iter().for_each(|removed| self.discard_part(removed));
                self.pack_if_small(limits);
            }
            _ => {
                self.list_remove(start + count, behind, limits);
                self.list_remove(0, start, limits);
            }
        }
        self.count_as(start + behind);
    }

    /// Puts an element in beside element `pivot`, which exists.
    pub fn list_insert(&mut self, pivot: usize, side: Side, item: &NewItem<'_>, limits: ListLimits) {
        self.unpack_for(item, limits);
        let encoded = Encoded::of(item);
        match self.list().expect("the caller has found an element") {
            List::Packed(body, count) => {
                let index = pivot + usize::from(side == Side::After);
                let at = PACK_HEADER_BYTES + packed::offset_of(body, count, index);
                let pack = self.splice_pack(at, 0, encoded.len());
                encoded.write(&mut pack[at..at + encoded.len()]);
                set_count(pack, count + 1);
            }
            List::Deque(_) => self.edit_deque(|deque| deque.insert(pivot, side, item)),
        }
    }

    /// Puts an element in the place of element `index`, which exists.
    pub fn list_replace(&mut self, index: usize, item: &NewItem<'_>, limits: ListLimits) {
        self.unpack_for(item, limits);
        let encoded = Encoded::of(item);
        match self.list().expect("the caller has found the element") {
            List::Packed(body, count) => {
                let at = packed::offset_of(body, count, index);
                let old = packed::next(body, at) - at;
                let at = PACK_HEADER_BYTES + at;
                let pack = self.splice_pack(at, old, encoded.len());
                encoded.write(&mut pack[at..at + encoded.len()]);
            }
            List::Deque(_) => {
                self.edit_deque(|deque| deque.replace(index, item));
                self.pack_if_small(limits);
            }
        }
    }

    /// Removes up to `count` elements equal to one, searched from an end; how many. With its last element goes the key.
    pub fn list_remove_equal(
        &mut self,
        end: End,
        count: usize,
        item: &NewItem<'_>,
        limits: ListLimits,
    ) -> usize {
        match self.list() {
            None => 0,
            Some(List::Packed(body, total)) => {
                let (encoded, text) = (Encoded::of(item), item.to_text());
                let mut items = List::Packed(body, total).iter();
                // Most often there is none, and nothing is to be noted as changed.
                if !std::iter::from_fn(|| items.next_is(&encoded, &text)).any(|equal| equal) {
                    return 0;
                }
                let body_bytes = body.len();
                let pack = self.splice_pack(PACK_HEADER_BYTES, body_bytes, body_bytes);
                let (removed, kept) =
                    packed::remove_equal(&mut pack[PACK_HEADER_BYTES..], end, count, &encoded);
                if removed == total {
                    self.remove_emptied();
                } else {
                    let pack = self.splice_pack(PACK_HEADER_BYTES + kept, body_bytes - kept, 0);
                    set_count(pack, total - removed);
                }
                self.count_as(removed);
                removed
            }
            Some(List::Deque(deque)) => {
                let (encoded, text) = (Encoded::of(item), item.to_text());
                let mut items = List::Deque(deque).iter();
                if !std::iter::from_fn(|| items.next_is(&encoded, &text)).any(|equal| equal) {
                    return 0;
                }
                let removed = self.edit_deque(|deque| deque.remove_equal(end, count, item));
                if self.list().is_some_and(|list| list.len() == 0) {
                    self.remove_emptied();
                } else {
                    self.pack_if_small(limits);
                }
                self.count_as(removed);
                removed
            }
        }
    }

    /// Moves the element at one end to an end, the same or the other.
    pub fn list_rotate(&mut self, from: End, to: End, limits: ListLimits) {
        let Some(list) = self.list() else { return };
        let len = list.len();
        match list {
            List::Packed(body, count) => {
                let index = if from == End::Left { 1 } else { count - 1 };
                let cut = packed::offset_of(body, count, index);
                let body_bytes = body.len();
                let moved_bytes = if from == End::Left { cut } else { body_bytes - cut };
                let moved =
                    list.get(if from == End::Left { 0 } else { len - 1 }).expect("a list is never empty");
                let text_bytes = moved.bytes(&mut itoa::Buffer::new()).len();
                // Limits may have become smaller since it was made: it is pushed like any other element.
                if limits.exceeds(body_bytes - moved_bytes + LISTPACK_FRAME_BYTES + text_bytes, count) {
                    self.unpack(limits);
                    return self.list_rotate(from, to, limits);
                }
                let pack = self.splice_pack(PACK_HEADER_BYTES, body_bytes, body_bytes);
                if from != to && count > 1 {
                    pack[PACK_HEADER_BYTES..].rotate_left(cut);
                }
            }
            List::Deque(_) => {
                let index = if from == End::Left { 0 } else { len - 1 };
                let item = list.get(index).map(|item| item.to_owned());
                let item: OwnedItem = item.expect("a list is never empty");
                self.edit_deque_undoable(|deque, inverses| {
                    let undoing = inverses.is_some().then(|| unremoved(deque, from, 1));
                    let one = deque.remove(index, 1);
                    debug_assert!(one.is_none());
                    if let Some((inverses, undoing)) = inverses.zip(undoing) {
                        inverses.add(undoing);
                        inverses.add(unadded(deque, to));
                    }
                    deque.push(to, &item.as_new());
                });
                self.pack_if_small(limits);
            }
        }
    }

    /// Stores a list that was loaded, which must not be empty, in the place of whatever the key held.
    pub fn set_list(&mut self, new: NewList) {
        let NewList { deque, limits } = new;
        assert!(deque.len() > 0, "an empty list is refused or not stored");
        self.tell_overwritten(Type::List);
        match deque.only_body() {
            Some(body) if !limits.exceeds(body.len() + LISTPACK_FRAME_BYTES, body.count()) => {
                self.set_pack(body.bytes(), body.count());
            }
            _ => self.set_deque(Box::new(deque)),
        }
    }

    fn push_deque<'i>(&mut self, end: End, items: impl Iterator<Item = NewItem<'i>>) -> usize {
        let (before, after) = self.edit_deque_undoable(|deque, inverses| {
            let before = deque.len();
            if let Some(inverses) = inverses {
                inverses.add(unadded(deque, end));
            }
            items.for_each(|item| deque.push(end, &item));
            (before, deque.len())
        });
        self.count_as(after - before);
        after
    }

    /// What Redis does to a list before it looks where an element goes: one that would be too large for a pack with it becomes
    /// a deque, even if the element has no place in the end. OBJECT ENCODING shows that; to whoever watches it is no change.
    pub fn list_expect(&mut self, item: &NewItem<'_>, limits: ListLimits) {
        self.recode(|key| key.unpack_for(item, limits));
    }

    /// Makes a deque of a pack that would exceed the limits with one element more.
    fn unpack_for(&mut self, item: &NewItem<'_>, limits: ListLimits) {
        if let Some(List::Packed(body, count)) = self.list() {
            let text_bytes = item.text_len();
            let exceeds = limits.exceeds(body.len() + LISTPACK_FRAME_BYTES + text_bytes, count + 1)
                || body.len() + Encoded::of(item).len() > PACKED_BODY_BYTES_MAX;
            if exceeds {
                self.unpack(limits);
            }
        }
    }

    /// Makes a deque of a pack, or of nothing. The caller sees to it that it is not empty for long.
    fn unpack(&mut self, limits: ListLimits) {
        let deque = match self.list() {
            None => Deque::new(limits),
            Some(List::Packed(body, count)) => Deque::from_body(body, count, limits),
            Some(List::Deque(_)) => return,
        };
        self.set_deque(Box::new(deque));
    }

    /// Makes a pack of a deque that has become small.
    fn pack_if_small(&mut self, limits: ListLimits) {
        let Some(List::Deque(deque)) = self.list() else { return };
        let Some(body) = deque.only_body() else { return };
        let bytes = body.len() + LISTPACK_FRAME_BYTES;
        if !limits.packs(bytes, body.count()) || body.len() > PACKED_BODY_BYTES_MAX {
            return;
        }
        let deque = self.edit_deque(|deque| std::mem::replace(deque, Deque::new(limits)));
        let body = deque.only_body().expect("seen just above");
        self.set_pack(body.bytes(), body.count());
    }

    fn set_pack(&mut self, body: &[u8], count: usize) {
        let count = u16::try_from(count)
            .expect("a pack has at most 64 KiB, an element at least two bytes")
            .to_ne_bytes();
        self.set_value(Type::List, Encoding::Listpack, Value::Room(&count, 0, body));
    }

    /// What was removed from a deque and is too much to be freed at once.
    fn discard_part(&mut self, removed: Option<Box<Deque>>) {
        if let Some(removed) = removed {
            self.discard(External::List(removed));
        }
    }

    fn set_deque(&mut self, deque: Box<Deque>) {
        self.set_value(Type::List, Encoding::Quicklist, Value::External(External::List(deque)));
    }

    fn edit_deque<R>(&mut self, edit: impl FnOnce(&mut Deque) -> R) -> R {
        self.edit_external(|external| edit(deque_of(external)))
    }

    /// As `edit_deque`, of what says how it is undone.
    fn edit_deque_undoable<R>(&mut self, edit: impl FnOnce(&mut Deque, Option<&mut Inverses>) -> R) -> R {
        self.edit_undoable(ChangeKind::Set, |external, inverses| edit(deque_of(external), inverses))
    }
}

fn deque_of(external: &mut External) -> &mut Deque {
    match external {
        External::List(deque) => deque,
        _ => unreachable!("the encoding says that it is a deque"),
    }
}

/// Undoes removing so many elements at an end.
fn unremoved(deque: &Deque, end: End, count: usize) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let outer = deque.outer_elements(end, count);
    move |external, _| deque_of(external).put_back(end, outer)
}

/// Undoes adding elements at an end.
fn unadded(deque: &Deque, end: End) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let extent = deque.extent();
    move |external, _| deque_of(external).cut_back(end, extent)
}

fn set_count(pack: &mut [u8], count: usize) {
    let count = u16::try_from(count).expect("a pack has at most 64 KiB, an element at least two bytes");
    pack[..PACK_HEADER_BYTES].copy_from_slice(&count.to_ne_bytes());
}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
