//! Packed elements: short strings and integers one behind the other, in the element format of Redis's listpack.
//!
//! Design: a listpack's *body* is its elements alone, without header and end mark, so that it may grow at either end and
//! lie in an entry or in a node of a deque. A listpack is a body between a header and an end mark, which makes saving
//! and loading a copy. An element stands for itself, so bodies can be cut, joined and rotated as bytes.
//!
//! ```text
//! element  | head and data | length of that, readable backwards |
//! head     0iiiiiii                     integer, 0 to 127
//!          10llllll data                string of up to 63 bytes
//!          110iiiii i                   integer of 13 bits
//!          1110llll l data              string of up to 4095 bytes
//!          11110000 llll data           string, length little end first
//!          11110001 .. 11110100 i...    integer of 2, 3, 4, 8 bytes, little end first
//! back     7 bits a byte, the top bit set in all but the first
//! ```
//!
//! Invariants: the functions here are given bodies that were written here or that `validated` has passed, and offsets at
//! which an element begins; anything else panics on a slice's bounds, and never reads elsewhere.
//!
//! Costs: stepping reads an element's head (forwards) or its last bytes (backwards), never its data.
//!
//! Not here: where bodies lie (`node`, `super::super::entry`), what they mean (`list`).

use super::{End, Item, NewItem};
use crate::store::entry::parse_int;

/// Bytes of a listpack before its body.
pub const LISTPACK_HEADER_BYTES: usize = 6;
/// Bytes of a listpack that are not its body: header and end mark.
pub const LISTPACK_FRAME_BYTES: usize = LISTPACK_HEADER_BYTES + 1;
/// The byte at a listpack's end.
const END: u8 = 0xff;
/// In a listpack's header: there are more elements than its field can say.
const COUNT_UNKNOWN: u16 = u16::MAX;

const SHORT_BYTES_MAX: usize = 63;
const MEDIUM_BYTES_MAX: usize = 4095;
/// Longest head: that of a long string is 5 bytes, that of an integer 9 with its data.
const HEAD_BYTES_MAX: usize = 9;
/// Longest length at an element's end.
const BACK_BYTES_MAX: usize = 5;
/// Up to this an element's length at its end takes one byte.
const BACK_SHORT_MAX: usize = 127;
/// Longest text that an integer of 64 bits has.
const INTEGER_TEXT_BYTES_MAX: usize = 20;

/// An element on its way into a body: what is to be written, and how long that is. Head and length are kept in words, first byte
/// lowest, so that they stay in registers.
pub struct Encoded<'a> {
    head: u128,
    back: u64,
    head_len: u8,
    back_len: u8,
    data: &'a [u8],
}

impl<'a> Encoded<'a> {
    /// An element. A string that is a canonical integer is kept as one.
    #[inline(always)]
    pub fn of(item: &'a NewItem<'_>) -> Encoded<'a> {
        match item {
            NewItem::Int(value) => Encoded::integer(*value),
            NewItem::Bytes(bytes) => Encoded::bytes(bytes),
            NewItem::Blob(blob) => Encoded::bytes(blob),
        }
    }

    #[inline(always)]
    fn bytes(bytes: &'a [u8]) -> Encoded<'a> {
        if bytes.len() <= INTEGER_TEXT_BYTES_MAX
            && let Some(value) = parse_int(bytes)
        {
            return Encoded::integer(value);
        }
        let len = bytes.len();
        let (head, head_len) = if len <= SHORT_BYTES_MAX {
            (0x80 | len, 1)
        } else if len <= MEDIUM_BYTES_MAX {
            (0xe0 | len >> 8 | (len & 0xff) << 8, 2)
        } else {
            // What is longer is never written, and is no element of a body.
            (0xf0 | len.min(u32::MAX as usize) << 8, 5)
        };
        Encoded::new(head as u128, head_len, bytes)
    }

    #[inline(never)]
    fn integer(value: i64) -> Encoded<'a> {
        let bits = u128::from(value.cast_unsigned());
        let (head, head_len) = match value {
            0..=127 => (bits, 1),
            -4096..=4095 => (0xc0 | bits >> 8 & 0x1f | (bits & 0xff) << 8, 2),
            -0x8000..=0x7fff => (0xf1 | bits << 8, 3),
            -0x80_0000..=0x7f_ffff => (0xf2 | bits << 8, 4),
            -0x8000_0000..=0x7fff_ffff => (0xf3 | bits << 8, 5),
            _ => (0xf4 | bits << 8, HEAD_BYTES_MAX as u8),
        };
        // Bits beyond the head are of no meaning, but are no part of it either.
        Encoded::new(head & !(u128::MAX << (8 * u32::from(head_len))), head_len, &[])
    }

    #[inline(always)]
    fn new(head: u128, head_len: u8, data: &'a [u8]) -> Encoded<'a> {
        let (back, back_len) = back_of(usize::from(head_len) + data.len());
        Encoded { head, head_len, back, back_len, data }
    }

    /// How long the element is.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "an element has at least a head")]
    pub fn len(&self) -> usize {
        usize::from(self.head_len) + self.data.len() + usize::from(self.back_len)
    }

    /// Writes it into `room`, which is as long.
    #[inline(always)]
    pub fn write(&self, room: &mut [u8]) {
        assert!(room.len() == self.len(), "the caller makes the room");
        assert!(u32::try_from(self.data.len()).is_ok(), "longer elements lie alone");
        let (head, rest) = room.split_at_mut(usize::from(self.head_len));
        let (data, back) = rest.split_at_mut(self.data.len());
        put(head, &self.head.to_le_bytes());
        data.copy_from_slice(self.data);
        put(back, &self.back.to_le_bytes());
    }

    /// Whether an element at the beginning of `body` is this one, byte by byte.
    #[inline]
    fn is_at(&self, body: &[u8]) -> bool {
        let head_len = usize::from(self.head_len);
        body.len() >= self.len()
            && body[..head_len] == self.head.to_le_bytes()[..head_len]
            && body[head_len..head_len + self.data.len()] == *self.data
    }
}

/// Copies as many bytes as there is room for: mostly one or two, not worth a call.
#[inline]
fn put(room: &mut [u8], bytes: &[u8]) {
    match room {
        [one] => *one = bytes[0],
        [first, second] => (*first, *second) = (bytes[0], bytes[1]),
        _ => room.copy_from_slice(&bytes[..room.len()]),
    }
}

/// The length at the end of an element of `len` bytes, first byte lowest, and how many bytes it takes.
#[inline]
fn back_of(len: usize) -> (u64, u8) {
    if len <= BACK_SHORT_MAX { (len as u64, 1) } else { long_back_of(len) }
}

fn long_back_of(len: usize) -> (u64, u8) {
    let count = back_bytes(len);
    let mut back = [0; size_of::<u64>()];
    for (place, byte) in back[..count].iter_mut().rev().enumerate() {
        *byte = (len >> (7 * place)) as u8 & 127 | 128;
    }
    back[0] &= 127;
    (u64::from_le_bytes(back), count as u8)
}

/// How many bytes the length at the end of an element of `len` bytes takes. The steps are listpack's own.
#[inline]
fn back_bytes(len: usize) -> usize {
    match len {
        0..=BACK_SHORT_MAX => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// Head and data of an element: their lengths.
#[inline]
fn spans(body: &[u8], at: usize) -> (usize, usize) {
    let first = body[at];
    match first {
        0..0x80 => (1, 0),
        0x80..0xc0 => (1, usize::from(first & 63)),
        0xc0..0xe0 => (2, 0),
        0xe0..0xf0 => (2, usize::from(first & 15) << 8 | usize::from(body[at + 1])),
        0xf0 => {
            let len = body[at + 1..at + 5].try_into().expect("a slice of 4 bytes");
            (5, u32::from_le_bytes(len) as usize)
        }
        0xf1 => (3, 0),
        0xf2 => (4, 0),
        0xf3 => (5, 0),
        0xf4 => (9, 0),
        0xf5.. => panic!("byte {first:#x} begins no element"),
    }
}

/// The element at an offset, and the offset of the next.
#[inline]
pub fn item(body: &[u8], at: usize) -> (Item<'_>, usize) {
    let (head, data) = spans(body, at);
    let next = at + head + data + back_bytes(head + data);
    let first = body[at];
    let item = match first {
        0x80..0xc0 | 0xe0..=0xf0 => Item::Bytes(&body[at + head..at + head + data]),
        0..0x80 => Item::Int(i64::from(first)),
        0xc0..0xe0 => {
            let bits = u16::from(first & 0x1f) << 8 | u16::from(body[at + 1]);
            Item::Int(i64::from((bits << 3) as i16 >> 3))
        }
        0xf1.. => {
            let given = &body[at + 1..at + head];
            let sign = if given[given.len() - 1] & 0x80 != 0 { 0xff } else { 0 };
            let mut bytes = [sign; 8];
            bytes[..given.len()].copy_from_slice(given);
            Item::Int(i64::from_le_bytes(bytes))
        }
    };
    (item, next)
}

/// The offset of the element behind the one at `at`.
#[inline]
pub fn next(body: &[u8], at: usize) -> usize {
    let (head, data) = spans(body, at);
    at + head + data + back_bytes(head + data)
}

/// The offset of the element that ends where the one at `at` begins.
#[inline]
pub fn previous(body: &[u8], at: usize) -> usize {
    let (mut len, mut back) = (0, 0);
    loop {
        let byte = body[at - 1 - back];
        len |= usize::from(byte & 127) << (7 * back);
        back += 1;
        if byte & 128 == 0 {
            return at - back - len;
        }
        assert!(back < BACK_BYTES_MAX, "a length has at most so many bytes");
    }
}

/// The offset of element `index` of `count`, from the nearer end; that of the body's end for `count`.
pub fn offset_of(body: &[u8], count: usize, index: usize) -> usize {
    assert!(index <= count, "the caller knows how many there are");
    if index <= count / 2 {
        (0..index).fold(0, |at, _| next(body, at))
    } else {
        (index..count).fold(body.len(), |at, _| previous(body, at))
    }
}

/// Whether the element at `at` is `wanted`; much cheaper than looking at the element.
#[inline]
pub fn is(body: &[u8], at: usize, wanted: &Encoded<'_>) -> bool {
    wanted.is_at(&body[at..])
}

/// Removes up to `count` elements that are `wanted`, searched from an end: how many there were, and how many bytes are left,
/// which have moved to the front.
pub fn remove_equal(body: &mut [u8], end: End, count: usize, wanted: &Encoded<'_>) -> (usize, usize) {
    let mut found: Vec<usize> = Vec::new();
    let mut at = if end == End::Left { 0 } else { body.len() };
    while found.len() < count && at != if end == End::Left { body.len() } else { 0 } {
        let begin = if end == End::Left { at } else { previous(body, at) };
        if is(body, begin, wanted) {
            found.push(begin);
        }
        at = if end == End::Left { next(body, begin) } else { begin };
    }
    if end == End::Right {
        found.reverse();
    }
    let mut kept = found.first().copied().unwrap_or(body.len());
    for (index, begin) in found.iter().enumerate() {
        let from = next(body, *begin);
        let to = found.get(index + 1).copied().unwrap_or(body.len());
        body.copy_within(from..to, kept);
        kept += to - from;
    }
    (found.len(), kept)
}

/// Whether every element is encoded as it would be here, so that equal elements are equal bytes.
pub fn is_canonical(body: &[u8]) -> bool {
    let mut at = 0;
    while at < body.len() {
        let (found, after) = item(body, at);
        let new = match found {
            Item::Int(value) => NewItem::Int(value),
            Item::Bytes(bytes) => NewItem::Bytes(bytes),
            Item::Blob(_) => unreachable!("a body has no blobs"),
        };
        let encoded = Encoded::of(&new);
        if encoded.len() != after - at || !is(body, at, &encoded) {
            return false;
        }
        at = after;
    }
    true
}

/// A listpack: header, body, end mark.
pub fn write_listpack(out: &mut Vec<u8>, body: &[u8], count: usize) {
    let bytes = u32::try_from(body.len() + LISTPACK_FRAME_BYTES)
        .expect("a body is one of at most 64 KiB, or was a listpack, whose length has 32 bits");
    out.extend_from_slice(&bytes.to_le_bytes());
    out.extend_from_slice(&u16::try_from(count).unwrap_or(COUNT_UNKNOWN).to_le_bytes());
    out.extend_from_slice(body);
    out.push(END);
}

/// The body of a listpack that comes from outside, and its number of elements; none if it is damaged.
pub fn validated(listpack: &[u8]) -> Option<(&[u8], usize)> {
    let (header, rest) = listpack.split_first_chunk::<LISTPACK_HEADER_BYTES>()?;
    let (end, body) = rest.split_last()?;
    let [a, b, c, d, low, high] = *header;
    if *end != END || u32::from_le_bytes([a, b, c, d]) as usize != listpack.len() {
        return None;
    }
    let (mut at, mut count) = (0, 0);
    while at < body.len() {
        at = validated_next(body, at)?;
        count += 1;
    }
    let said = u16::from_le_bytes([low, high]);
    (said == COUNT_UNKNOWN || usize::from(said) == count).then_some((body, count))
}

/// As `next`, for bytes of which nothing is known.
fn validated_next(body: &[u8], at: usize) -> Option<usize> {
    let head_bytes = match body[at] {
        0xe0..0xf0 => 2,
        0xf0 => 5,
        0xf5.. => return None,
        _ => 1,
    };
    body.get(at..at + head_bytes)?;
    let (head, data) = spans(body, at);
    let end = at.checked_add(head)?.checked_add(data)?;
    let (back, count) = back_of(head + data);
    let back = &back.to_le_bytes()[..usize::from(count)];
    (body.get(end..end + back.len())? == back).then_some(end + back.len())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(item: &NewItem<'_>) -> Vec<u8> {
        let encoded = Encoded::of(item);
        let mut bytes = vec![0; encoded.len()];
        encoded.write(&mut bytes);
        bytes
    }

    /// Elements of all kinds, integers of all sizes and strings around every limit among them.
    pub fn element() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (any::<i64>(), 0u32..64).prop_map(|(value, shift)| (value >> shift).to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..80),
            (prop::sample::select(vec![63usize, 64, 126, 127, 128, 4095, 4096]), any::<u8>())
                .prop_map(|(len, byte)| vec![byte; len]),
        ]
    }

    #[test]
    fn elements_are_those_of_listpack() {
        // Taken from lists that redis-server 7.0 dumped.
        for (text, bytes) in [
            (&b"0"[..], &[0, 1][..]),
            (b"127", &[127, 1]),
            (b"128", &[0xc0, 0x80, 2]),
            (b"-1", &[0xdf, 0xff, 2]),
            (b"-4096", &[0xd0, 0, 2]),
            (b"4096", &[0xf1, 0, 0x10, 3]),
            (b"-32769", &[0xf2, 0xff, 0x7f, 0xff, 4]),
            (b"8388608", &[0xf3, 0, 0, 0x80, 0, 5]),
            (b"-9223372036854775808", &[0xf4, 0, 0, 0, 0, 0, 0, 0, 0x80, 9]),
            (b"", &[0x80, 1]),
            (b"abc", &[0x83, b'a', b'b', b'c', 4]),
            (b"-0", &[0x82, b'-', b'0', 3]),
        ] {
            assert_eq!(encoded(&NewItem::Bytes(text)), bytes);
        }
        let long = encoded(&NewItem::Bytes(&[b'x'; 200]));
        assert_eq!((&long[..2], &long[202..]), (&[0xe0, 200][..], &[1, 202 & 127 | 128][..]));
    }

    #[test]
    fn lengths_at_the_end_take_listpacks_steps() {
        for len in [1, 127, 128, 16_382, 16_383, 2_097_150, 2_097_151, 268_435_454, 268_435_455, 1 << 31] {
            let (back, count) = back_of(len);
            let back = back.to_le_bytes();
            let value =
                back[..usize::from(count)].iter().fold(0, |sum, byte| sum << 7 | usize::from(byte & 127));
            assert_eq!(value, len);
            assert!(back[0] < 128 && back[1..usize::from(count)].iter().all(|byte| *byte >= 128));
        }
    }

    proptest! {
        #[test]
        fn runs_are_walked_both_ways(items in prop::collection::vec(element(), 0..50)) {
            let body: Vec<u8> = items.iter().flat_map(|item| encoded(&NewItem::Bytes(item))).collect();
            let mut offsets = vec![0];
            for wanted in &items {
                let at = *offsets.last().expect("it begins with one");
                let (item, after) = item(&body, at);
                prop_assert_eq!(&item.to_vec(), wanted);
                prop_assert_eq!(after, next(&body, at));
                let new = NewItem::Bytes(wanted);
                prop_assert!(is(&body, at, &Encoded::of(&new)));
                prop_assert!(!is(&body, at, &Encoded::of(&NewItem::Bytes(b"other than any"))));
                offsets.push(after);
            }
            prop_assert_eq!(*offsets.last().expect("as above"), body.len());
            for (index, at) in offsets.iter().enumerate() {
                prop_assert_eq!(offset_of(&body, items.len(), index), *at);
                if index > 0 {
                    prop_assert_eq!(previous(&body, *at), offsets[index - 1]);
                }
            }
            let mut listpack = Vec::new();
            write_listpack(&mut listpack, &body, items.len());
            prop_assert_eq!(validated(&listpack), Some((&body[..], items.len())));
        }

        #[test]
        fn damage_is_noticed_or_harmless(
            items in prop::collection::vec(element(), 0..20),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let body: Vec<u8> = items.iter().flat_map(|item| encoded(&NewItem::Bytes(item))).collect();
            let mut listpack = Vec::new();
            write_listpack(&mut listpack, &body, items.len());
            let at = at.index(listpack.len());
            listpack[at] = byte;
            if let Some((body, count)) = validated(&listpack) {
                let end = (0..count).fold(0, |at, _| item(body, at).1);
                prop_assert_eq!(end, body.len());
                prop_assert_eq!((0..count).fold(body.len(), |at, _| previous(body, at)), 0);
            }
        }
    }
}
