//! A node of a dict: some dozens of records in one allocation, found by their tags.
//!
//! ```text
//! | count | data bytes | tag of each | length of each | free | ... | record 1 | record 0 |
//! ```
//!
//! Design: a record's place is the sum of the lengths up to its own, taken from the node's end; summing some dozens of bytes is
//! a few vector instructions, and saves an offset for each. A node grows and shrinks in the allocator's own steps, so that
//! little of it is unused. A record without value and deadline, in a dict that has only such, is its key. In other dicts it is
//!
//! ```text
//! | key length, and a bit for the deadline | key | value | deadline, if any |
//! ```
//!
//! A record that is too long for that lies outside: in an allocation of its own, which the node lists.
//!
//! Invariants: a record is listed outside exactly if it does not fit (`fits`); no deadline of a node is before `due`.
//!
//! Costs: a lookup reads the tags, the lengths and the record, in two to four cache lines; an insertion moves the lengths by
//! one, a removal moves the records behind the one removed.
//!
//! Not here: which records a node has (`super`).
#![cfg_attr(target_arch = "x86_64", expect(unsafe_code, reason = "calls SIMD instructions"))]

use super::{Form, NEVER, Record};

/// Count and data bytes.
const HEADER_BYTES: usize = 8;
/// What a record takes besides its bytes: tag and length.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 2;
/// The longest record that lies in a node.
const RECORD_BYTES_MAX: usize = u8::MAX as usize;
/// The longest key of a record with a head.
const KEY_BYTES_MAX: usize = 0x7f;
/// Marks in a record's head that it has a deadline.
const HAS_DEADLINE: u8 = 0x80;
const DEADLINE_BYTES: usize = size_of::<u64>();
/// Tags compared at once.
const LANES: usize = 16;

/// Some records.
#[derive(Clone, Debug, Default)]
pub(super) struct Node {
    bytes: Box<[u8]>,
    extra: Option<Box<Extra>>,
}

/// What few nodes have.
#[derive(Debug)]
struct Extra {
    /// No record has a deadline before this.
    due: u64,
    outside: Vec<Outside>,
    /// Bytes allocated for the records outside.
    outside_bytes: usize,
}

/// A long record.
#[derive(Clone, Debug)]
struct Outside {
    /// Key and value.
    bytes: Box<[u8]>,
    deadline: u64,
    key_len: u32,
    tag: u8,
}

/// What a record that is added consists of.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a> {
    pub tag: u8,
    pub key: &'a [u8],
    pub value: &'a [u8],
    pub deadline: u64,
}

impl Parts<'_> {
    /// The bytes of the record in a node.
    fn len(&self, form: Form) -> usize {
        match form {
            Form::Keys => self.key.len(),
            Form::Records => {
                let deadline = if self.deadline == NEVER { 0 } else { DEADLINE_BYTES };
                1 + self.key.len() + self.value.len() + deadline
            }
        }
    }

    /// Whether the record lies in the node.
    fn fits(&self, form: Form) -> bool {
        self.len(form) <= RECORD_BYTES_MAX && (form == Form::Keys || self.key.len() <= KEY_BYTES_MAX)
    }

    /// Writes the record into `room`, which is as long.
    fn write(&self, form: Form, room: &mut [u8]) {
        if form == Form::Keys {
            return room.copy_from_slice(self.key);
        }
        let (head, rest) = room.split_first_mut().expect("a record has a head");
        let (key, rest) = rest.split_at_mut(self.key.len());
        let (value, deadline) = rest.split_at_mut(self.value.len());
        *head = self.key.len() as u8 | if deadline.is_empty() { 0 } else { HAS_DEADLINE };
        key.copy_from_slice(self.key);
        value.copy_from_slice(self.value);
        if !deadline.is_empty() {
            deadline.copy_from_slice(&self.deadline.to_ne_bytes());
        }
    }
}

impl Outside {
    fn record(&self) -> Record<'_> {
        let (key, value) = self.bytes.split_at(self.key_len as usize);
        Record { key, value, deadline: (self.deadline != NEVER).then_some(self.deadline) }
    }
}

impl Clone for Extra {
    /// A copy that takes as much memory, so that a copied dict need not be counted again.
    fn clone(&self) -> Extra {
        let mut outside = Vec::with_capacity(self.outside.capacity());
        outside.extend_from_slice(&self.outside);
        Extra { due: self.due, outside, outside_bytes: self.outside_bytes }
    }
}

impl Node {
    /// The number of records.
    #[inline]
    pub fn count(&self) -> usize {
        self.count_inside() + self.outside().len()
    }

    /// The number of records outside.
    pub fn count_outside(&self) -> usize {
        self.outside().len()
    }

    /// What the node is weighed by: its bytes in use.
    #[inline]
    pub fn weight(&self) -> usize {
        self.count_inside() * RECORD_OVERHEAD_BYTES + self.data_bytes() + size_of_val(self.outside())
    }

    /// Bytes allocated for it.
    #[inline]
    pub fn allocated(&self) -> usize {
        let extra = self.extra.as_deref();
        let extra = extra.map_or(0, |extra| {
            size_of::<Extra>() + extra.outside.capacity() * size_of::<Outside>() + extra.outside_bytes
        });
        self.bytes.len() + extra
    }

    /// No record has a deadline before this.
    #[inline]
    pub fn due(&self) -> u64 {
        self.extra.as_deref().map_or(NEVER, |extra| extra.due)
    }

    /// The index of a key's record.
    #[inline]
    pub fn find(&self, form: Form, tag: u8, key: &[u8]) -> Option<usize> {
        let count = self.count_inside();
        let tags = self.bytes.get(HEADER_BYTES..).unwrap_or_default();
        for first in (0..count).step_by(LANES) {
            let mut matches = equal_mask(lanes(&tags[first..]), tag);
            if count - first < LANES {
                matches &= (1 << (count - first)) - 1;
            }
            while matches != 0 {
                let index = first + matches.trailing_zeros() as usize;
                if self.key_is(form, index, key) {
                    return Some(index);
                }
                matches &= matches - 1;
            }
        }
        let outside = self.outside().iter();
        let same = |record: &Outside| record.tag == tag && record.record().key == key;
        outside.enumerate().find(|(_, record)| same(record)).map(|(index, _)| count + index)
    }

    /// A record.
    #[inline]
    pub fn record(&self, form: Form, index: usize) -> Record<'_> {
        match index.checked_sub(self.count_inside()) {
            None => record_of(form, self.inside(index)),
            Some(outside) => self.outside()[outside].record(),
        }
    }

    /// A record's tag.
    pub fn tag(&self, index: usize) -> u8 {
        match index.checked_sub(self.count_inside()) {
            None => self.bytes[HEADER_BYTES + index],
            Some(outside) => self.outside()[outside].tag,
        }
    }

    /// The record at an index whose bytes, if it lies inside, end so far from the node's end; with the next one's end.
    #[inline]
    pub fn record_at(&self, form: Form, index: usize, end: usize) -> (Record<'_>, usize) {
        match index.checked_sub(self.count_inside()) {
            None => {
                let begin = end + usize::from(self.lengths()[index]);
                let len = self.bytes.len();
                (record_of(form, &self.bytes[len - begin..len - end]), begin)
            }
            Some(outside) => (self.outside()[outside].record(), end),
        }
    }

    /// Adds a record whose key is not in the node.
    pub fn push(&mut self, form: Form, parts: &Parts<'_>) {
        if parts.deadline != NEVER {
            let extra = self.extra_mut();
            extra.due = extra.due.min(parts.deadline);
        }
        if parts.fits(form) {
            let len = parts.len(form);
            return parts.write(form, self.push_room(parts.tag, len));
        }
        let mut bytes = Vec::with_capacity(parts.key.len() + parts.value.len());
        bytes.extend_from_slice(parts.key);
        bytes.extend_from_slice(parts.value);
        let key_len = u32::try_from(parts.key.len()).expect("an argument has fewer than 4 GiB");
        let bytes = bytes.into_boxed_slice();
        self.push_outside(Outside { bytes, deadline: parts.deadline, key_len, tag: parts.tag });
    }

    /// Writes a record in the place of one with the same key and as many bytes; whether that was possible.
    pub fn overwrite(&mut self, form: Form, index: usize, parts: &Parts<'_>) -> bool {
        if index >= self.count_inside() || !parts.fits(form) {
            return false;
        }
        let (len, end) = (self.bytes.len(), self.end_of(index));
        let begin = end + usize::from(self.lengths()[index]);
        if parts.len(form) != begin - end {
            return false;
        }
        parts.write(form, &mut self.bytes[len - begin..len - end]);
        if parts.deadline != NEVER {
            let extra = self.extra_mut();
            extra.due = extra.due.min(parts.deadline);
        }
        true
    }

    /// Removes a record; the last of those outside takes its number if it lies there, else those behind it move up.
    pub fn remove(&mut self, index: usize) {
        let count = self.count_inside();
        if let Some(outside) = index.checked_sub(count) {
            let extra = self.extra.as_deref_mut().expect("there is no index beyond the records");
            extra.outside_bytes -= extra.outside.swap_remove(outside).bytes.len();
            if extra.outside.len() < extra.outside.capacity() / 2 {
                extra.outside.shrink_to_fit();
            }
            return self.drop_extra();
        }
        let (len, data, end) = (self.bytes.len(), self.data_bytes(), self.end_of(index));
        let removed = usize::from(self.lengths()[index]);
        self.bytes.copy_within(len - data..len - end - removed, len - data + removed);
        let tags = HEADER_BYTES;
        self.bytes.copy_within(tags + index + 1..tags + count + index, tags + index);
        self.bytes.copy_within(tags + count + index + 1..tags + 2 * count, tags + count - 1 + index);
        self.set_header(count - 1, data - removed);
        let needed = self.needed(0, 0);
        if needed <= self.bytes.len() / 8 * 5 {
            self.rebuild(if count == 1 { 0 } else { rounded(needed) });
        }
        self.drop_extra();
    }

    /// Takes out the records of which `goes` says so by their keys.
    pub fn split(&mut self, form: Form, goes: impl Fn(&[u8]) -> bool) -> Node {
        let count = self.count_inside();
        let mut gone = vec![false; count];
        let (mut other_count, mut other_data, mut end) = (0, 0, 0);
        for (index, gone) in gone.iter_mut().enumerate() {
            let (record, begin) = self.record_at(form, index, end);
            if goes(record.key) {
                *gone = true;
                (other_count, other_data) = (other_count + 1, other_data + begin - end);
            }
            end = begin;
        }
        let own_data = self.data_bytes() - other_data;
        let mut other = self.select(&gone, true, other_count, other_data);
        let mut own = self.select(&gone, false, count - other_count, own_data);
        if let Some(extra) = self.extra.take() {
            let due = extra.due;
            for record in extra.outside {
                let target = if goes(record.record().key) { &mut other } else { &mut own };
                target.push_outside(record);
            }
            for node in [&mut own, &mut other] {
                if due != NEVER {
                    node.extra_mut().due = due;
                    node.refresh_due(form);
                }
            }
        }
        *self = own;
        other
    }

    /// Takes over all records of another node.
    pub fn merge(&mut self, mut other: Node) {
        let (count, data) = (other.count_inside(), other.data_bytes());
        let needed = self.needed(count, data);
        if count > 0 && needed > self.bytes.len() {
            self.rebuild(rounded(needed));
        }
        for index in 0..count {
            let record = other.inside(index);
            self.push_room(other.tag(index), record.len()).copy_from_slice(record);
        }
        let Some(extra) = other.extra.take() else { return };
        let due = self.due().min(extra.due);
        extra.outside.into_iter().for_each(|record| self.push_outside(record));
        if due != NEVER {
            self.extra_mut().due = due;
        }
    }

    /// Looks for the earliest deadline anew.
    pub fn refresh_due(&mut self, form: Form) {
        let deadlines = (0..self.count()).map(|index| self.record(form, index).deadline.unwrap_or(NEVER));
        let due = deadlines.min().unwrap_or(NEVER);
        if let Some(extra) = self.extra.as_deref_mut() {
            extra.due = due;
        }
        self.drop_extra();
    }

    /// Frees up to so many records outside; how many there were.
    pub fn free_outside(&mut self, budget: usize) -> usize {
        let Some(extra) = self.extra.as_deref_mut() else { return 0 };
        let kept = extra.outside.len().saturating_sub(budget);
        let freed = extra.outside.len() - kept;
        extra.outside_bytes -= extra.outside.drain(kept..).map(|record| record.bytes.len()).sum::<usize>();
        freed
    }

    pub fn check_invariants(&self, form: Form) {
        let (count, data) = (self.count_inside(), self.data_bytes());
        assert_eq!(self.lengths().iter().map(|len| usize::from(*len)).sum::<usize>(), data);
        assert!(self.needed(0, 0) <= self.bytes.len().max(HEADER_BYTES));
        assert!(self.bytes.len() == rounded(self.bytes.len()));
        assert!(count > 0 || self.bytes.is_empty());
        let outside_bytes: usize = self.outside().iter().map(|record| record.bytes.len()).sum();
        if let Some(extra) = self.extra.as_deref() {
            assert_eq!(extra.outside_bytes, outside_bytes);
            assert!(extra.due != NEVER || !extra.outside.is_empty());
        }
        for index in 0..self.count() {
            let record = self.record(form, index);
            let deadline = record.deadline.unwrap_or(NEVER);
            assert!(deadline >= self.due());
            let parts = Parts { tag: self.tag(index), key: record.key, value: record.value, deadline };
            assert_eq!(parts.fits(form), index < count);
        }
    }

    #[inline]
    fn count_inside(&self) -> usize {
        self.header(0)
    }

    #[inline]
    fn data_bytes(&self) -> usize {
        self.header(1)
    }

    #[inline]
    fn header(&self, word: usize) -> usize {
        let Some(header) = self.bytes.first_chunk::<HEADER_BYTES>() else { return 0 };
        ((u64::from_le_bytes(*header) >> (32 * word)) as u32) as usize
    }

    fn set_header(&mut self, count: usize, data: usize) {
        let header = self.bytes.first_chunk_mut::<HEADER_BYTES>().expect("nodes with records have a header");
        *header = (count as u64 | (data as u64) << 32).to_le_bytes();
    }

    #[inline]
    fn lengths(&self) -> &[u8] {
        let count = self.count_inside();
        self.bytes.get(HEADER_BYTES + count..HEADER_BYTES + 2 * count).unwrap_or_default()
    }

    #[inline]
    fn outside(&self) -> &[Outside] {
        self.extra.as_deref().map_or(&[], |extra| &extra.outside)
    }

    /// How far from the node's end a record inside ends.
    #[inline]
    fn end_of(&self, index: usize) -> usize {
        let sum: u32 = self.lengths()[..index].iter().map(|len| u32::from(*len)).sum();
        sum as usize
    }

    /// The bytes of a record inside.
    #[inline]
    fn inside(&self, index: usize) -> &[u8] {
        let (len, end) = (self.bytes.len(), self.end_of(index));
        &self.bytes[len - end - usize::from(self.lengths()[index])..len - end]
    }

    /// Whether a record inside has this key.
    #[inline]
    fn key_is(&self, form: Form, index: usize, key: &[u8]) -> bool {
        let len = usize::from(self.lengths()[index]);
        match form {
            Form::Keys => len == key.len() && self.inside(index) == key,
            Form::Records => len > key.len() && record_of(form, self.inside(index)).key == key,
        }
    }

    /// The bytes that the node needs with more records.
    fn needed(&self, records: usize, data: usize) -> usize {
        HEADER_BYTES + (self.count_inside() + records) * RECORD_OVERHEAD_BYTES + self.data_bytes() + data
    }

    /// Adds a record of `len` bytes, and lends its room out.
    fn push_room(&mut self, tag: u8, len: usize) -> &mut [u8] {
        let (count, data, needed) = (self.count_inside(), self.data_bytes(), self.needed(1, len));
        if needed > self.bytes.len() {
            self.rebuild(rounded(needed));
        }
        let tags = HEADER_BYTES;
        self.bytes.copy_within(tags + count..tags + 2 * count, tags + count + 1);
        self.bytes[tags + count] = tag;
        self.bytes[tags + 2 * count + 1] = u8::try_from(len).expect("longer records lie outside");
        self.set_header(count + 1, data + len);
        let begin = self.bytes.len() - data - len;
        &mut self.bytes[begin..begin + len]
    }

    /// Moves to an allocation of `capacity` bytes; none for a node without records inside.
    fn rebuild(&mut self, capacity: usize) {
        let mut bytes = vec![0; capacity].into_boxed_slice();
        let (front, data) = (HEADER_BYTES + 2 * self.count_inside(), self.data_bytes());
        if !self.bytes.is_empty() && capacity > 0 {
            bytes[..front].copy_from_slice(&self.bytes[..front]);
            bytes[capacity - data..].copy_from_slice(&self.bytes[self.bytes.len() - data..]);
        }
        self.bytes = bytes;
    }

    /// The records inside that are marked so: `count` of them, with so many bytes.
    fn select(&self, marks: &[bool], wanted: bool, count: usize, data: usize) -> Node {
        if count == 0 {
            return Node::default();
        }
        let capacity = rounded(HEADER_BYTES + count * RECORD_OVERHEAD_BYTES + data);
        let mut bytes = vec![0; capacity].into_boxed_slice();
        let (lengths, len) = (self.lengths(), self.bytes.len());
        let (mut end, mut new_end, mut index) = (0, 0, 0);
        for (old, mark) in marks.iter().enumerate() {
            let record = usize::from(lengths[old]);
            if *mark == wanted {
                bytes[HEADER_BYTES + index] = self.bytes[HEADER_BYTES + old];
                bytes[HEADER_BYTES + count + index] = lengths[old];
                bytes[capacity - new_end - record..capacity - new_end]
                    .copy_from_slice(&self.bytes[len - end - record..len - end]);
                (index, new_end) = (index + 1, new_end + record);
            }
            end += record;
        }
        let mut node = Node { bytes, extra: None };
        node.set_header(count, data);
        node
    }

    fn push_outside(&mut self, record: Outside) {
        let extra = self.extra_mut();
        extra.outside_bytes += record.bytes.len();
        extra.outside.push(record);
    }

    fn extra_mut(&mut self) -> &mut Extra {
        let none = || Box::new(Extra { due: NEVER, outside: Vec::new(), outside_bytes: 0 });
        self.extra.get_or_insert_with(none)
    }

    /// Frees what has become of no use.
    fn drop_extra(&mut self) {
        if self.extra.as_deref().is_some_and(|extra| extra.due == NEVER && extra.outside.is_empty()) {
            self.extra = None;
        }
    }
}

/// The record that these bytes are.
#[inline]
fn record_of(form: Form, bytes: &[u8]) -> Record<'_> {
    if form == Form::Keys {
        return Record { key: bytes, value: &[], deadline: None };
    }
    let (head, rest) = bytes.split_first().expect("a record has a head");
    let (key, rest) = rest.split_at(usize::from(head & !HAS_DEADLINE));
    if head & HAS_DEADLINE == 0 {
        return Record { key, value: rest, deadline: None };
    }
    let (value, deadline) = rest.split_last_chunk().expect("the head says that there is a deadline");
    Record { key, value, deadline: Some(u64::from_ne_bytes(*deadline)) }
}

/// The next larger size of the allocator's: four for each power of two.
fn rounded(bytes: usize) -> usize {
    bytes.next_multiple_of((bytes.next_power_of_two() / 8).max(16))
}

/// The first bytes, and what is behind them if there are fewer.
#[inline]
fn lanes(bytes: &[u8]) -> [u8; LANES] {
    match bytes.first_chunk() {
        Some(lanes) => *lanes,
        None => {
            let mut lanes = [0; LANES];
            lanes[..bytes.len()].copy_from_slice(bytes);
            lanes
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn equal_mask(bytes: [u8; LANES], with: u8) -> u32 {
    // SAFETY: SSE2 is part of x86-64.
    unsafe { equal_mask_sse2(bytes, with) }
}

#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "sse2")]
fn equal_mask_sse2(bytes: [u8; LANES], with: u8) -> u32 {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
    let bits = u128::from_le_bytes(bytes);
    let left = _mm_set_epi64x((bits >> 64) as i64, bits as i64);
    _mm_movemask_epi8(_mm_cmpeq_epi8(left, _mm_set1_epi8(with as i8))).cast_unsigned()
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn equal_mask(bytes: [u8; LANES], with: u8) -> u32 {
    equal_mask_portable(bytes, with)
}

/// Without SIMD.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn equal_mask_portable(bytes: [u8; LANES], with: u8) -> u32 {
    bytes.iter().rev().fold(0, |mask, byte| mask << 1 | u32::from(*byte == with))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn simd_and_portable_agree(bytes: [u8; LANES], with: u8, common: u16) {
            let mut bytes = bytes;
            for lane in (0..LANES).filter(|lane| common >> lane & 1 == 1) {
                bytes[lane] = with;
            }
            prop_assert_eq!(equal_mask(bytes, with), equal_mask_portable(bytes, with));
            prop_assert_eq!(equal_mask(bytes, with) & u32::from(common), u32::from(common));
        }
    }

    #[test]
    fn sizes_are_those_of_the_allocator() {
        for (needed, size) in [(0, 0), (1, 16), (100, 112), (129, 160), (512, 512), (513, 640), (1025, 1280)]
        {
            assert_eq!(rounded(needed), size);
        }
    }
}
