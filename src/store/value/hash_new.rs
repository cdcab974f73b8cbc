//! Hashes that are loaded, and what expires in those that are stored.
//!
//! Design: what is loaded is gathered as a body, whatever its size, so that a pack of Redis's is taken as it is and a hash of a
//! million fields is one allocation until it is stored.

use std::collections::HashSet;

use super::hash::{COUNT_BYTES, HashPack, PackForm, Place, deadline_of};
use super::hash_mut::push;
use super::{Expiry, NewItem, packed};
use crate::store::entry::{Encoding, Entry};

/// A hash that is being loaded; outside of any shard.
pub struct NewHash {
    body: Vec<u8>,
    fields: usize,
    form: PackForm,
    /// Bytes of the longest name or value, where they matter.
    longest: usize,
    is_packed: bool,
    earliest: Option<u64>,
}

impl NewHash {
    /// A hash without fields, which cannot be stored.
    pub fn new(form: PackForm) -> NewHash {
        NewHash { body: Vec::new(), fields: 0, form, longest: 0, is_packed: false, earliest: None }
    }

    /// As `new`, for one that was packed where it comes from: it stays so even if its parts are long.
    pub fn packed(form: PackForm) -> NewHash {
        NewHash { is_packed: true, ..NewHash::new(form) }
    }

    /// Adds a field. Those of triples come in the order of their deadlines, those without at the end, or are sorted later.
    pub fn add(&mut self, name: &NewItem<'_>, value: &NewItem<'_>, deadline: Option<u64>) {
        push(&mut self.body, name);
        push(&mut self.body, value);
        if self.form == PackForm::Triples {
            push(&mut self.body, &NewItem::Int(deadline.unwrap_or(0).cast_signed()));
        }
        self.fields += 1;
        if !self.is_packed {
            self.longest = self.longest.max(name.text_len()).max(value.text_len());
        }
        self.earliest = match (self.earliest, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }

    fn pack(&self) -> HashPack<'_> {
        HashPack { body: &self.body, fields: self.fields, form: self.form, noted: None }
    }

    /// Puts the fields in the order in which they would be if they had been set one by one: that of their deadlines, later ones
    /// before earlier ones where these are equal, and those without at the end.
    pub fn sort(&mut self) {
        if self.earliest.is_none() {
            return;
        }
        let mut places: Vec<Place> = self.pack().places().collect();
        places.sort_unstable_by_key(|place| match place.deadline {
            Some(deadline) => (deadline, usize::MAX - place.name),
            None => (u64::MAX, place.name),
        });
        self.body = places.iter().flat_map(|place| &self.body[place.name..place.end]).copied().collect();
    }

    /// Whether a field is there twice.
    pub fn has_duplicates(&self) -> bool {
        // Equal elements are equal bytes.
        let mut seen = HashSet::with_capacity(self.fields);
        !self.pack().places().all(|place| seen.insert(&self.body[place.name..place.value]))
    }

    /// Calls back with name, value and deadline of each field.
    pub(super) fn each(&self, mut visit: impl FnMut(&[u8], &[u8], Option<u64>)) {
        for place in self.pack().places() {
            let (name, _) = packed::item(&self.body, place.name);
            let (value, _) = packed::item(&self.body, place.value);
            let (mut name_digits, mut value_digits) = (itoa::Buffer::new(), itoa::Buffer::new());
            visit(name.bytes(&mut name_digits), value.bytes(&mut value_digits), place.deadline);
        }
    }

    /// The number of fields.
    pub fn fields(&self) -> usize {
        self.fields
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    pub(super) fn form(&self) -> PackForm {
        self.form
    }

    /// Bytes of the longest name or value, where that matters.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    pub(super) fn earliest_deadline(&self) -> Option<u64> {
        self.earliest
    }
}

/// Takes the fields whose deadlines have come out of a pack of triples, after showing their names, and moves the others up: what
/// became of it, and how many bytes are left.
pub(in crate::store) fn expire_pack(
    pack: &mut [u8],
    now_ms: u64,
    on_removed: &mut dyn FnMut(&[u8]),
) -> (Expiry, usize) {
    let header = PackForm::Triples.header_bytes();
    let before = HashPack::of(pack, PackForm::Triples);
    let (fields, body_bytes) = (before.fields, before.body.len());
    let (mut removed, mut from) = (0, 0);
    for place in before.places() {
        if place.deadline.is_none_or(|deadline| deadline > now_ms) {
            break;
        }
        let (name, _) = packed::item(before.body, place.name);
        on_removed(name.bytes(&mut itoa::Buffer::new()));
        (removed, from) = (removed + 1, place.end);
    }
    pack.copy_within(header + from.., header);
    let kept = header + body_bytes - from;
    let left = HashPack::of(&pack[..kept], PackForm::Triples);
    let due = left.earliest_deadline();
    pack[..COUNT_BYTES].copy_from_slice(&((fields - removed) as u16).to_ne_bytes());
    pack[COUNT_BYTES..header].copy_from_slice(&due.unwrap_or(0).to_ne_bytes());
    (Expiry { is_emptied: removed == fields, due }, kept)
}

/// What is noted in a pack of triples of its earliest deadline; what is behind may not be written yet.
pub(in crate::store) fn pack_noted(pack: &[u8]) -> Option<u64> {
    let noted = pack.get(COUNT_BYTES..)?.first_chunk()?;
    deadline_of(u64::from_ne_bytes(*noted))
}

/// When something expires in a pack of triples.
pub(in crate::store) fn pack_due(pack: &[u8]) -> Option<u64> {
    HashPack::of(pack, PackForm::Triples).due()
}

/// When something inside of an entry's value expires.
#[cold]
pub(in crate::store) fn inner_due(entry: Entry<'_>) -> Option<u64> {
    match entry.external() {
        Some(external) => external.due(),
        None if entry.encoding() == Encoding::ListpackEx => pack_due(entry.inline_value()),
        None => None,
    }
}
