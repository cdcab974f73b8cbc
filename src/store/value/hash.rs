//! A hash as a command sees it: a pack in its entry, or a dict.
//!
//! ```text
//! pack   | fields, 2 | field, value ...                        Encoding::Listpack
//!        | fields, 2 | noted, 8 | field, value, deadline ...   Encoding::ListpackEx: fields have, or had, deadlines
//! ```
//!
//! Design: the two forms of a pack are those of Redis 8.2, element by element, so that DUMP copies them. In the second one the
//! fields are in the order of their deadlines; those without (0) come last. `noted` is what Redis knows of the earliest deadline
//! (0: that there is none): it is part of what DUMP gives, and says whether active expiry has to look at the hash.
//!
//! Invariants:
//! - a field is there once;
//! - if a field has a deadline then `noted` is not 0.
//!
//! Fields whose deadline has come are here until somebody removes them; whoever shows fields leaves them out.
//!
//! Costs: finding a field in a pack compares it with all before it.
//!
//! Not here: changes (`hash_mut`), hashes that are loaded (`hash_new`).

use super::dict::{Dict, Iter};
use super::packed::{self, Encoded};
use super::view::{Typed, Value};
use super::{Digest, External, Item, NewItem};
use crate::store::entry::{Encoding, Entry, Type};
use crate::store::hash::KeyHasher;

/// Bytes of a pack before everything else: the number of fields.
pub(super) const COUNT_BYTES: usize = 2;
/// Bytes of what is noted of the earliest deadline.
const NOTED_BYTES: usize = size_of::<u64>();

/// Which of the two forms a pack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackForm {
    /// Field, value.
    Pairs,
    /// Field, value, deadline.
    Triples,
}

impl PackForm {
    /// Bytes before the body.
    #[inline]
    pub(super) fn header_bytes(self) -> usize {
        match self {
            PackForm::Pairs => COUNT_BYTES,
            PackForm::Triples => COUNT_BYTES + NOTED_BYTES,
        }
    }

    pub(super) fn encoding(self) -> Encoding {
        match self {
            PackForm::Pairs => Encoding::Listpack,
            PackForm::Triples => Encoding::ListpackEx,
        }
    }
}

/// A field with its value.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    /// Its name.
    pub name: Item<'a>,
    /// Its value.
    pub value: Item<'a>,
    /// From when on it no longer exists, in milliseconds since 1970.
    pub deadline: Option<u64>,
}

impl Field<'_> {
    /// Whether its deadline has come.
    #[inline]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline.is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }
}

/// A packed hash.
#[derive(Clone, Copy, Debug)]
pub struct HashPack<'a> {
    /// The elements.
    pub body: &'a [u8],
    /// How many fields they are.
    pub fields: usize,
    /// What each field consists of.
    pub form: PackForm,
    /// What is noted of the earliest deadline.
    pub noted: Option<u64>,
}

/// Where the parts of a field lie in a body.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub name: usize,
    pub value: usize,
    pub value_end: usize,
    pub end: usize,
    pub deadline: Option<u64>,
}

impl<'a> HashPack<'a> {
    /// What a pack's bytes mean.
    #[inline]
    pub(super) fn of(pack: &'a [u8], form: PackForm) -> HashPack<'a> {
        let (count, rest) = pack.split_first_chunk::<COUNT_BYTES>().expect("packs begin with a count");
        let fields = usize::from(u16::from_ne_bytes(*count));
        match form {
            PackForm::Pairs => HashPack { body: rest, fields, form, noted: None },
            PackForm::Triples => {
                let (noted, body) = rest.split_first_chunk::<NOTED_BYTES>().expect("behind it is a time");
                HashPack { body, fields, form, noted: deadline_of(u64::from_ne_bytes(*noted)) }
            }
        }
    }

    /// The parts of the field at an offset.
    #[inline]
    pub(super) fn place(&self, name: usize) -> Place {
        let value = packed::next(self.body, name);
        let value_end = packed::next(self.body, value);
        match self.form {
            PackForm::Pairs => Place { name, value, value_end, end: value_end, deadline: None },
            PackForm::Triples => {
                let (item, end) = packed::item(self.body, value_end);
                let deadline = match item {
                    Item::Int(ms) => deadline_of(ms.cast_unsigned()),
                    _ => unreachable!("deadlines are integers"),
                };
                Place { name, value, value_end, end, deadline }
            }
        }
    }

    /// The field at an offset, and the offset of the next.
    #[inline]
    fn field(&self, at: usize) -> (Field<'a>, usize) {
        let (name, value) = packed::item(self.body, at);
        let (value, end) = packed::item(self.body, value);
        if self.form == PackForm::Pairs {
            return (Field { name, value, deadline: None }, end);
        }
        let Place { deadline, end, .. } = self.place(at);
        (Field { name, value, deadline }, end)
    }

    /// Where a field is.
    #[inline]
    pub(super) fn find(&self, name: &[u8]) -> Option<Place> {
        let item = NewItem::Bytes(name);
        let wanted = Encoded::of(&item);
        let mut at = 0;
        while at < self.body.len() {
            if packed::is(self.body, at, &wanted) {
                return Some(self.place(at));
            }
            at = packed::next(self.body, packed::next(self.body, at));
            if self.form == PackForm::Triples {
                at = packed::next(self.body, at);
            }
        }
        None
    }

    /// The places of all fields.
    pub(super) fn places(self) -> impl Iterator<Item = Place> + use<'a> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let place = (at < self.body.len()).then(|| self.place(at))?;
            at = place.end;
            Some(place)
        })
    }

    /// The earliest deadline: that of the first field.
    #[inline]
    pub(super) fn earliest_deadline(&self) -> Option<u64> {
        match self.form {
            PackForm::Triples if !self.body.is_empty() => self.place(0).deadline,
            _ => None,
        }
    }

    /// When active expiry has to look at it.
    pub(super) fn due(&self) -> Option<u64> {
        let noted = self.noted?;
        Some(self.earliest_deadline().map_or(noted, |earliest| earliest.min(noted)))
    }
}

/// 0 stands for none.
pub(super) fn deadline_of(ms: u64) -> Option<u64> {
    (ms != 0).then_some(ms)
}

/// A hash, wherever it lies.
#[derive(Clone, Copy)]
pub enum Hash<'a> {
    /// Fields one behind the other.
    Packed(HashPack<'a>),
    /// A dict of fields.
    Dict(&'a Dict),
}

impl<'a> Hash<'a> {
    /// The number of fields, those included whose deadline has come unnoticed.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "there are no empty hashes")]
    pub fn len(&self) -> usize {
        match self {
            Hash::Packed(pack) => pack.fields,
            Hash::Dict(dict) => dict.len(),
        }
    }

    /// The field of this name.
    #[inline]
    pub fn get(&self, hasher: &KeyHasher, name: &[u8]) -> Option<Field<'a>> {
        match self {
            Hash::Packed(pack) => pack.find(name).map(|place| pack.field(place.name).0),
            Hash::Dict(dict) => dict.get(hasher, name).map(Field::from),
        }
    }

    /// All fields.
    #[inline]
    pub fn iter(&self) -> Fields<'a> {
        match self {
            Hash::Packed(pack) => Fields::Packed(*pack, 0),
            Hash::Dict(dict) => Fields::Dict(dict.iter()),
        }
    }

    /// Emits about `budget` fields from a position on (0 is the beginning), and returns where to go on. A field that is there
    /// from the first call to the last is emitted. A pack is emitted as a whole.
    pub fn scan(&self, position: u64, budget: usize, emit: &mut dyn FnMut(Field<'_>)) -> Option<u64> {
        match self {
            Hash::Packed(_) => {
                self.iter().for_each(emit);
                None
            }
            Hash::Dict(dict) => dict.scan(position, budget, &mut |record| emit(Field::from(record))),
        }
    }

    /// A field drawn at random, each with the same probability.
    pub fn random(&self, seed: u64) -> Field<'a> {
        match self {
            Hash::Packed(pack) => {
                let index = ((u128::from(seed) * pack.fields as u128) >> 64) as usize;
                self.iter().nth(index).expect("the product is below the number of fields")
            }
            Hash::Dict(dict) => Field::from(dict.random(seed)),
        }
    }

    /// Before this no field expires; none where none ever does.
    pub fn due(&self) -> Option<u64> {
        match self {
            Hash::Packed(pack) => pack.due(),
            Hash::Dict(dict) => dict.earliest_deadline(),
        }
    }

    /// Whether a field's deadline has come.
    pub fn has_expired(&self, now_ms: u64) -> bool {
        self.due().is_some_and(|due| due <= now_ms) && self.iter().any(|field| field.is_expired(now_ms))
    }
}

impl<'a> From<super::dict::Record<'a>> for Field<'a> {
    #[inline]
    fn from(record: super::dict::Record<'a>) -> Field<'a> {
        Field { name: Item::Bytes(record.key), value: Item::Bytes(record.value), deadline: record.deadline }
    }
}

impl<'a> Typed<'a> for Hash<'a> {
    const TYPE: Type = Type::Hash;

    #[inline]
    fn of(entry: Entry<'a>) -> Hash<'a> {
        assert!(entry.ty() == Type::Hash, "commands check the type first");
        if let Some(External::Hash(dict)) = entry.external() {
            return Hash::Dict(dict);
        }
        let form = if entry.encoding() == Encoding::Listpack { PackForm::Pairs } else { PackForm::Triples };
        Hash::Packed(HashPack::of(entry.inline_value(), form))
    }
}

impl Value for Hash<'_> {
    fn digest(&self, digest: &mut Digest) {
        for field in self.iter() {
            let mut part = Digest::default();
            part.mix(field.name.bytes(&mut itoa::Buffer::new()));
            part.mix(field.value.bytes(&mut itoa::Buffer::new()));
            if field.deadline.is_some() {
                part.add(b"!!hexpire!!");
            }
            digest.add_digest(part);
        }
    }
}

/// Fields of a hash, one after the other.
#[derive(Clone)]
pub enum Fields<'a> {
    /// Of a pack, from an offset on.
    Packed(HashPack<'a>, usize),
    /// Of a dict.
    Dict(Iter<'a>),
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    #[inline]
    fn next(&mut self) -> Option<Field<'a>> {
        match self {
            Fields::Packed(pack, at) => {
                let (field, end) = (*at < pack.body.len()).then(|| pack.field(*at))?;
                *at = end;
                Some(field)
            }
            Fields::Dict(records) => records.next().map(Field::from),
        }
    }
}
