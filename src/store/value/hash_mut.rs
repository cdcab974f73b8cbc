//! What may be done to a key that holds a hash, or is to hold one.
//!
//! Design: a hash begins as a pack; it becomes a dict when it outgrows the limits, and stays one. It gets room for deadlines when
//! a command first asks for one (`hash_hold_deadlines`). Packs that would be longer than an entry takes lie in a dict under the
//! encoding of a pack, until they outgrow the limits too.
//!
//! Invariants:
//! - a hash is never empty: who takes its last field removes the key;
//! - the encoding is `Hashtable` exactly if the hash has outgrown the limits once; else it says which form a pack has, or would have;
//! - the entry is marked as `expires_inside` exactly if `Hash::due` is some, and its bucket knows of it.
//!
//! Costs: a change to a pack moves the bytes behind it, and its entry when it outgrows its block.
//!
//! Not here: which fields a command sees, and what becomes of those whose deadline has come: that is for commands and `expire`.

use super::dict::Dict;
use super::hash::{COUNT_BYTES, Hash, HashPack, PackForm, Place};
use super::packed::Encoded;
use super::view::Typed;
use super::{Expiry, External, NewHash, NewItem, PackLimits};
use crate::store::changes::ChangeKind;
use crate::store::entry::{Encoding, Type, Value};
use crate::store::hash::KeyHasher;
use crate::store::key_mut::Deadline;
use crate::store::{Entry, KeyMut};

/// The longest pack that fits an inline value.
const PACK_BYTES_MAX: usize = u16::MAX as usize;
/// What is noted of the earliest deadline stays if it changes by less, as in Redis.
const NOTED_STEP_MS: u64 = 4000;
/// The longest field of a body: a deadline and two elements' heads and ends beside the texts.
const FIELD_OVERHEAD_BYTES: usize = 48;

impl KeyMut<'_> {
    /// The hash that the key holds, if it exists.
    #[inline]
    pub fn hash(&self) -> Option<Hash<'_>> {
        self.entry().map(Hash::of)
    }

    /// What Redis does to a hash before it sets so many fields, of which the longest part is so long: one that might become too
    /// large is a dict from then on. A key that does not exist is created without fields, for the caller to set them.
    pub fn hash_expect(&mut self, fields: usize, longest: usize, limits: PackLimits) {
        if fields as u64 > limits.entries_max || longest as u64 > limits.value_bytes_max {
            self.hash_unpack(Encoding::Hashtable);
        }
    }

    /// Gives a hash room for deadlines, as it is before Redis sets one. To whoever watches the key that is no change.
    pub fn hash_hold_deadlines(&mut self) {
        let Some(Encoding::Listpack) = self.entry().map(Entry::encoding) else { return };
        let Some(Hash::Packed(pack)) = self.hash() else {
            return self.recode(|key| key.set_encoding(Encoding::ListpackEx));
        };
        let none = Encoded::of(&NewItem::Int(0)).len();
        let mut bytes =
            Vec::with_capacity(PackForm::Triples.header_bytes() + pack.body.len() + pack.fields * none);
        bytes.extend_from_slice(&(pack.fields as u16).to_ne_bytes());
        bytes.extend_from_slice(&0_u64.to_ne_bytes());
        for Place { name, end, .. } in pack.places() {
            bytes.extend_from_slice(&pack.body[name..end]);
            push(&mut bytes, &NewItem::Int(0));
        }
        if bytes.len() > PACK_BYTES_MAX {
            return self.hash_unpack(Encoding::ListpackEx);
        }
        self.recode(|key| key.set_value(Type::Hash, Encoding::ListpackEx, Value::Inline(&bytes)));
    }

    /// Gives a field a value, and says whether it is new. A key that does not exist is created.
    pub fn hash_set(&mut self, name: &[u8], value: &[u8], deadline: Deadline, limits: PackLimits) -> bool {
        let is_long = name.len().max(value.len()) as u64 > limits.value_bytes_max;
        if is_long {
            self.hash_unpack(Encoding::Hashtable);
        }
        if let Deadline::At(_) = deadline {
            self.hash_hold_deadlines();
        }
        let (is_new, len) = match self.hash() {
            None => (self.create_pack(name, value, deadline), 1),
            Some(Hash::Packed(pack)) => {
                let place = pack.find(name);
                let len = pack.fields + usize::from(place.is_none());
                let bytes = pack.body.len() + name.len() + value.len() + FIELD_OVERHEAD_BYTES;
                if bytes > PACK_BYTES_MAX {
                    let encoding = pack.form.encoding();
                    self.hash_unpack(encoding);
                    (self.set_in_dict(name, value, deadline), len)
                } else {
                    match place {
                        None => self.add_field_to_pack(name, value, deadline),
                        Some(place) => self.set_in_pack(&place, name, value, deadline),
                    }
                    (place.is_none(), len)
                }
            }
            Some(Hash::Dict(dict)) => {
                let len = dict.len();
                let is_new = self.set_in_dict(name, value, deadline);
                (is_new, len + usize::from(is_new))
            }
        };
        if len as u64 > limits.entries_max {
            self.hash_unpack(Encoding::Hashtable);
        }
        is_new
    }

    /// Gives a field that exists a deadline, or none.
    pub fn hash_set_deadline(&mut self, name: &[u8], deadline: Option<u64>) {
        if deadline.is_some() {
            self.hash_hold_deadlines();
        }
        if let Some(Hash::Packed(pack)) = self.hash()
            && pack.body.len() + FIELD_OVERHEAD_BYTES > PACK_BYTES_MAX
        {
            let encoding = pack.form.encoding();
            self.hash_unpack(encoding);
        }
        match self.hash().expect("the caller has found the field") {
            Hash::Packed(pack) => {
                let place = pack.find(name).expect("the caller has found it");
                if pack.form == PackForm::Triples {
                    let field = pack.body[place.name..place.value_end].to_vec();
                    self.splice_field(place.name, place.end, &[]);
                    self.insert_field(field, deadline);
                }
            }
            Hash::Dict(_) => {
                self.edit_field(name, |dict, hasher| dict.set_deadline(hasher, name, deadline));
            }
        }
        self.note_inner_due();
    }

    /// Removes a field; whether it was there. With its last field goes the key.
    pub fn hash_remove(&mut self, name: &[u8]) -> bool {
        match self.hash() {
            None => return false,
            Some(Hash::Packed(pack)) => {
                let Some(place) = pack.find(name) else { return false };
                if pack.fields == 1 {
                    self.remove_emptied();
                    return true;
                }
                let fields = pack.fields;
                self.splice_field(place.name, place.end, &[]);
                self.set_field_count(fields - 1);
            }
            Some(Hash::Dict(_)) => {
                let hasher = self.hasher().clone();
                match self.hash() {
                    Some(Hash::Dict(dict)) if dict.get(&hasher, name).is_none() => return false,
                    Some(Hash::Dict(dict)) if dict.len() == 1 => {
                        self.remove_emptied();
                        return true;
                    }
                    _ => self.edit_field(name, |dict, hasher| dict.remove(hasher, name)),
                };
            }
        }
        self.note_inner_due();
        true
    }

    /// Removes all fields whose deadline has come, after showing their names. With its last field goes the key.
    pub fn hash_remove_expired(&mut self, now_ms: u64, on_removed: &mut dyn FnMut(&[u8])) {
        if self.hash().is_none_or(|hash| !hash.has_expired(now_ms)) {
            return;
        }
        let Expiry { is_emptied, .. } = self.expire_inside(now_ms, on_removed);
        if is_emptied {
            self.remove_emptied();
        }
    }

    /// Notes the earliest deadline after a command has set, or taken, that of fields. `touched` is the earliest of all deadlines
    /// that these had before or have now. What is noted changes as in Redis, so that DUMP gives the same.
    pub fn hash_note_deadline(&mut self, touched: Option<u64>) {
        let Some(Hash::Packed(pack)) = self.hash() else { return };
        let Some(touched) = touched.filter(|_| pack.form == PackForm::Triples) else { return };
        let (noted, earliest) = (pack.noted, pack.earliest_deadline());
        let stays = match (noted, earliest) {
            (Some(noted), _) if noted < touched => true,
            (Some(noted), Some(earliest)) => noted.abs_diff(earliest) < NOTED_STEP_MS,
            _ => false,
        };
        if !stays {
            self.set_noted(earliest);
            self.note_inner_due();
        }
    }

    /// Stores a hash that was loaded, which must not be empty, in the place of whatever the key held.
    pub fn set_hash(&mut self, new: &NewHash, limits: PackLimits) {
        assert!(new.fields() > 0, "an empty hash is refused or not stored");
        self.tell_overwritten(Type::Hash);
        let form = new.form();
        let bytes = form.header_bytes() + new.body().len();
        let packs =
            new.fields() as u64 <= limits.entries_max && new.longest() as u64 <= limits.value_bytes_max;
        if packs && bytes <= PACK_BYTES_MAX {
            let mut pack = (new.fields() as u16).to_ne_bytes().to_vec();
            if form == PackForm::Triples {
                pack.extend_from_slice(&new.earliest_deadline().unwrap_or(0).to_ne_bytes());
            }
            pack.extend_from_slice(new.body());
            self.set_value(Type::Hash, form.encoding(), Value::Inline(&pack));
        } else {
            let mut dict = Dict::new();
            let hasher = self.hasher();
            new.each(|name, value, deadline| {
                dict.set(hasher, name, value, deadline);
            });
            self.set_dict(dict, if packs { form.encoding() } else { Encoding::Hashtable });
        }
        self.note_inner_due();
    }

    fn create_pack(&mut self, name: &[u8], value: &[u8], deadline: Deadline) -> bool {
        let (form, ms) = match deadline {
            Deadline::At(ms) => (PackForm::Triples, ms),
            _ => (PackForm::Pairs, 0),
        };
        let items = [NewItem::Bytes(name), NewItem::Bytes(value), NewItem::Int(ms.cast_signed())];
        let items = &items[..if form == PackForm::Triples { 3 } else { 2 }];
        let body_bytes: usize = items.iter().map(|item| Encoded::of(item).len()).sum();
        if form.header_bytes() + body_bytes > PACK_BYTES_MAX {
            self.hash_unpack(form.encoding());
            return self.set_in_dict(name, value, deadline);
        }
        let header = [0; COUNT_BYTES + size_of::<u64>()];
        let head = &header[..form.header_bytes()];
        self.set_value(Type::Hash, form.encoding(), Value::Room(head, body_bytes, &[]));
        let pack = self.splice_pack(head.len(), body_bytes, body_bytes);
        pack[..COUNT_BYTES].copy_from_slice(&1_u16.to_ne_bytes());
        write_items(&mut pack[form.header_bytes()..], items);
        true
    }

    /// Adds a field to a pack that has room for it.
    fn add_field_to_pack(&mut self, name: &[u8], value: &[u8], deadline: Deadline) {
        let Some(Hash::Packed(HashPack { body, fields, form, .. })) = self.hash() else {
            unreachable!("a pack")
        };
        let at = form.header_bytes() + body.len();
        match deadline {
            Deadline::At(ms) => {
                let mut field = Vec::with_capacity(name.len() + value.len() + FIELD_OVERHEAD_BYTES);
                push(&mut field, &NewItem::Bytes(name));
                push(&mut field, &NewItem::Bytes(value));
                self.insert_field(field, Some(ms));
                self.set_field_count(fields + 1);
                self.note_inner_due();
            }
            _ => {
                let items = [NewItem::Bytes(name), NewItem::Bytes(value), NewItem::Int(0)];
                let items = &items[..if form == PackForm::Triples { 3 } else { 2 }];
                let bytes = items.iter().map(|item| Encoded::of(item).len()).sum();
                let pack = self.splice_pack(at, 0, bytes);
                write_items(&mut pack[at..], items);
                set_count(pack, fields + 1);
            }
        }
    }

    /// Gives a field of a pack another value, and its deadline.
    fn set_in_pack(&mut self, place: &Place, name: &[u8], value: &[u8], deadline: Deadline) {
        let form = match self.hash() {
            Some(Hash::Packed(pack)) => pack.form,
            _ => unreachable!("a pack"),
        };
        let stays = match deadline {
            Deadline::None => place.deadline.is_none(),
            Deadline::Keep => true,
            Deadline::At(_) => false,
        };
        if stays {
            let item = NewItem::Bytes(value);
            let encoded = Encoded::of(&item);
            let at = form.header_bytes() + place.value;
            let pack = self.splice_pack(at, place.value_end - place.value, encoded.len());
            encoded.write(&mut pack[at..at + encoded.len()]);
            return;
        }
        let mut field = Vec::with_capacity(name.len() + value.len() + FIELD_OVERHEAD_BYTES);
        push(&mut field, &NewItem::Bytes(name));
        push(&mut field, &NewItem::Bytes(value));
        self.splice_field(place.name, place.end, &[]);
        self.insert_field(field, if let Deadline::At(ms) = deadline { Some(ms) } else { None });
        self.note_inner_due();
    }

    /// Inserts name and value of a field into triples, where its deadline belongs: before those that are not earlier.
    fn insert_field(&mut self, mut field: Vec<u8>, deadline: Option<u64>) {
        let Some(Hash::Packed(pack)) = self.hash() else { unreachable!("the caller has a pack") };
        assert!(pack.form == PackForm::Triples, "the caller has made room for deadlines");
        let at = match deadline {
            None => pack.body.len(),
            Some(deadline) => {
                let mut places = pack.places();
                let behind = places.find(|place| place.deadline.is_none_or(|other| other >= deadline));
                behind.map_or(pack.body.len(), |place| place.name)
            }
        };
        push(&mut field, &NewItem::Int(deadline.unwrap_or(0).cast_signed()));
        self.splice_field(at, at, &field);
    }

    /// Replaces a part of a pack's body.
    fn splice_field(&mut self, from: usize, to: usize, with: &[u8]) {
        let form = match self.hash() {
            Some(Hash::Packed(pack)) => pack.form,
            _ => unreachable!("the caller has a pack"),
        };
        let at = form.header_bytes() + from;
        let pack = self.splice_pack(at, to - from, with.len());
        pack[at..at + with.len()].copy_from_slice(with);
    }

    fn set_field_count(&mut self, fields: usize) {
        set_count(self.splice_pack(0, 0, 0), fields);
    }

    fn set_noted(&mut self, earliest: Option<u64>) {
        let noted = earliest.unwrap_or(0).to_ne_bytes();
        self.splice_pack(0, 0, 0)[COUNT_BYTES..][..noted.len()].copy_from_slice(&noted);
    }

    fn set_in_dict(&mut self, name: &[u8], value: &[u8], deadline: Deadline) -> bool {
        let is_new = self.edit_field(name, |dict, hasher| {
            let deadline = match deadline {
                Deadline::None => None,
                Deadline::Keep => dict.get(hasher, name).and_then(|record| record.deadline),
                Deadline::At(ms) => Some(ms),
            };
            dict.set(hasher, name, value, deadline)
        });
        self.note_inner_due();
        is_new
    }

    /// Makes a dict of a pack, or of nothing, under this encoding. The caller sees to it that it is not empty for long.
    fn hash_unpack(&mut self, encoding: Encoding) {
        let before = self.entry().map(Entry::encoding);
        let hash = self.hash();
        if let Some(Hash::Dict(_)) = hash {
            if before != Some(encoding) && before != Some(Encoding::Hashtable) {
                self.recode(|key| key.set_encoding(encoding));
            }
            return;
        }
        let mut dict = Dict::new();
        let hasher = self.hasher();
        for field in hash.iter().flat_map(Hash::iter) {
            let (mut name, mut value) = (itoa::Buffer::new(), itoa::Buffer::new());
            dict.set(hasher, field.name.bytes(&mut name), field.value.bytes(&mut value), field.deadline);
        }
        self.recode(|key| key.set_dict(dict, encoding));
        self.note_inner_due();
    }

    fn set_dict(&mut self, dict: Dict, encoding: Encoding) {
        self.set_value(Type::Hash, encoding, Value::External(External::Hash(Box::new(dict))));
    }

    /// Changes one field of a dict.
    fn edit_field<R>(&mut self, name: &[u8], edit: impl FnOnce(&mut Dict, &KeyHasher) -> R) -> R {
        let hasher = self.hasher().clone();
        self.edit_undoable(ChangeKind::Set, |external, inverses| {
            let dict = dict_of(external);
            if let Some(inverses) = inverses {
                inverses.add(unchanged(dict, &hasher, name));
            }
            edit(dict, &hasher)
        })
    }
}

fn dict_of(external: &mut External) -> &mut Dict {
    match external {
        External::Hash(dict) => dict,
        _ => unreachable!("the caller has seen a dict"),
    }
}

/// Undoes any change to a field.
fn unchanged(dict: &Dict, hasher: &KeyHasher, name: &[u8]) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let name: Box<[u8]> = name.into();
    let before = dict.get(hasher, &name).map(|record| (Box::from(record.value), record.deadline));
    let earliest = dict.earliest_deadline();
    move |external, hasher| {
        let before: Option<(Box<[u8]>, Option<u64>)> = before;
        let dict = dict_of(external);
        match before {
            Some((value, deadline)) => dict.set(hasher, &name, &value, deadline),
            None => dict.remove(hasher, &name),
        };
        dict.restore_due(hasher, &name, earliest);
    }
}

fn set_count(pack: &mut [u8], fields: usize) {
    let count = u16::try_from(fields).expect("a pack has at most 64 KiB, a field at least four bytes");
    pack[..COUNT_BYTES].copy_from_slice(&count.to_ne_bytes());
}

/// Appends an element.
pub(super) fn push(body: &mut Vec<u8>, item: &NewItem<'_>) {
    let encoded = Encoded::of(item);
    let at = body.len();
    body.resize(at + encoded.len(), 0);
    encoded.write(&mut body[at..]);
}

/// Writes elements one behind the other.
fn write_items(mut room: &mut [u8], items: &[NewItem<'_>]) {
    for item in items {
        let encoded = Encoded::of(item);
        let (target, rest) = room.split_at_mut(encoded.len());
        encoded.write(target);
        room = rest;
    }
}

#[cfg(test)]
#[path = "hash_tests.rs"]
mod tests;
