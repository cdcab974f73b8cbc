//! Sorted sets: writes the newest forms, reads all.
//!
//! ```text
//! type 17   a listpack as a string: member, score, ... in order
//! type 5    count of members, then each, the last first: a string and its score, a double, little end first
//! type 12   a ziplist as a string: as type 17
//! type 3    count of members, then each: a string and its score as text behind a byte with its length;
//!           that byte is 253 for NaN, 254 for infinity, 255 for minus infinity
//! ```
//!
//! Invariants: what is read has at least one member, no two alike, and no score that is NaN.

use super::decode::{Malformed, Reader, Text};
use super::encode::Sink;
use super::{VERSION_LENGTH_64, VERSION_LISTPACK, encode, ziplist};
use crate::resp::number::parse_f64;
use crate::store::{Item, NewItem, NewSortedSet, PackLimits, SortedSet, packed};

pub const TYPE_SORTED_SET: u8 = 3;
pub const TYPE_SORTED_SET_2: u8 = 5;
pub const TYPE_SORTED_SET_ZIPLIST: u8 = 12;
pub const TYPE_SORTED_SET_LISTPACK: u8 = 17;

const SCORE_NAN: u8 = 253;
const SCORE_INFINITY: u8 = 254;
const SCORE_MINUS_INFINITY: u8 = 255;

/// The type in whose form a sorted set is written, and the first version that knows it.
pub fn form(sorted_set: &SortedSet<'_>) -> (u8, u16) {
    match sorted_set {
        SortedSet::Packed(..) => (TYPE_SORTED_SET_LISTPACK, VERSION_LISTPACK),
        SortedSet::Ranking(_) => (TYPE_SORTED_SET_2, VERSION_LENGTH_64),
    }
}

/// The value of a sorted set, in its form.
pub fn write(out: &mut Vec<u8>, sorted_set: &SortedSet<'_>, compress: bool, sink: &mut dyn Sink) {
    let len = sorted_set.len();
    if let SortedSet::Packed(body, _) = sorted_set {
        let mut listpack = Vec::new();
        packed::write_listpack(&mut listpack, body, 2 * len);
        return encode::string(out, &listpack, compress);
    }
    encode::length(out, len as u64);
    let mut digits = itoa::Buffer::new();
    for (member, score) in sorted_set.members(0..len, true) {
        encode::string(out, member.bytes(&mut digits), compress);
        out.extend_from_slice(&score.to_le_bytes());
        encode::hand_on(out, sink);
    }
}

/// A sorted set of one of the types above, and the limits up to which it is packed.
pub fn read(
    value_type: u8,
    reader: &mut Reader<'_>,
    limits: PackLimits,
) -> Result<(NewSortedSet, PackLimits), Malformed> {
    let mut new = NewSortedSet::new();
    let mut limits = limits;
    match value_type {
        TYPE_SORTED_SET | TYPE_SORTED_SET_2 => {
            for _ in 0..reader.length()? {
                let member = reader.string()?;
                let score = if value_type == TYPE_SORTED_SET_2 {
                    f64::from_le_bytes(reader.take()?)
                } else {
                    text_score(reader)?
                };
                add(&mut new, &bytes(&member), score)?;
            }
        }
        TYPE_SORTED_SET_ZIPLIST => {
            let ziplist = reader.string()?;
            let ziplist = bytes(&ziplist);
            let mut pairs = Pairs::new(&mut new);
            let mut result = Ok(());
            ziplist::each(&ziplist, |item| {
                if result.is_ok() {
                    result = pairs.add(&item);
                }
            })?;
            result?;
            pairs.end()?;
            // Packed elements of any length stay packed.
            limits.value_bytes_max = u64::MAX;
        }
        TYPE_SORTED_SET_LISTPACK => {
            let listpack = reader.string()?;
            let listpack = bytes(&listpack);
            let (body, _) = packed::validated(&listpack).ok_or(Malformed)?;
            let (mut pairs, mut at) = (Pairs::new(&mut new), 0);
            while at < body.len() {
                let (item, next) = packed::item(body, at);
                pairs.add(&match item {
                    Item::Int(value) => NewItem::Int(value),
                    Item::Bytes(bytes) => NewItem::Bytes(bytes),
                    Item::Blob(blob) => NewItem::Blob(blob.clone()),
                })?;
                at = next;
            }
            pairs.end()?;
            limits.value_bytes_max = u64::MAX;
        }
        _ => return Err(Malformed),
    }
    if new.is_empty() || new.has_duplicates() {
        return Err(Malformed);
    }
    new.sort();
    Ok((new, limits))
}

/// Elements that are members and scores in turn.
struct Pairs<'n> {
    new: &'n mut NewSortedSet,
    member: Option<Vec<u8>>,
}

impl Pairs<'_> {
    fn new(new: &mut NewSortedSet) -> Pairs<'_> {
        Pairs { new, member: None }
    }

    fn add(&mut self, item: &NewItem<'_>) -> Result<(), Malformed> {
        let Some(member) = self.member.take() else {
            self.member = Some(item.to_text().into_owned());
            return Ok(());
        };
        let score = match item {
            NewItem::Int(value) => *value as f64,
            text => parse_f64(&text.to_text()).ok_or(Malformed)?,
        };
        add(self.new, &member, score)
    }

    fn end(self) -> Result<(), Malformed> {
        if self.member.is_none() { Ok(()) } else { Err(Malformed) }
    }
}

fn add(new: &mut NewSortedSet, member: &[u8], score: f64) -> Result<(), Malformed> {
    if score.is_nan() {
        return Err(Malformed);
    }
    new.add(member, score);
    Ok(())
}

fn text_score(reader: &mut Reader<'_>) -> Result<f64, Malformed> {
    match reader.byte()? {
        SCORE_NAN => Err(Malformed),
        SCORE_INFINITY => Ok(f64::INFINITY),
        SCORE_MINUS_INFINITY => Ok(f64::NEG_INFINITY),
        len => parse_f64(reader.bytes(len.into())?).ok_or(Malformed),
    }
}

fn bytes<'t>(text: &'t Text<'_>) -> std::borrow::Cow<'t, [u8]> {
    match text {
        Text::Int(value) => value.to_string().into_bytes().into(),
        Text::Plain(bytes) => (*bytes).into(),
        Text::Unpacked(bytes) => bytes.into(),
    }
}
