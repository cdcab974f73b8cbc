//! A node of a stream: neighbouring entries in one listpack, just as files have it.
//!
//! ```text
//! listpack header | master | entry | entry | ... | end mark
//! master   live count, deleted count, field count, fields ..., 0
//! entry    flags, ms - master's, seq - master's, [field count, fields and values ... | values ...], element count
//! flags    1 the entry is deleted, 2 its fields are those of the master
//! ```
//!
//! The master has the ID that the node was begun with, which stands outside of it, and the fields of its first entry; entries with
//! the same fields have values only. An entry's last element says how many the entry has without it, so that entries can be
//! walked backwards. A deleted entry is only marked.
//!
//! Invariants: a node has an entry; IDs ascend; counts are right. What comes from outside is checked (`validated`).
//!
//! Not here: the format of elements (`packed`), which entries share a node (`super`).

use super::super::{Item, NewItem, packed};
use super::StreamId;
use super::ordered::Keyed;
use packed::Encoded;

/// Where the master begins.
const MASTER_AT: usize = packed::LISTPACK_HEADER_BYTES;
const END: u8 = 0xff;

const DELETED: i64 = 1;
const SAME_FIELDS: i64 = 2;

/// Elements of an entry that are neither fields nor values, but for the last: flags, ID, and in some a field count.
const FRAME_ELEMENTS: usize = 3;

/// Entries of a stream that lie together.
#[derive(Clone, Debug)]
pub struct Node {
    /// The ID that entries' IDs are relative to: that of the first entry when the node was begun.
    first: StreamId,
    listpack: Vec<u8>,
}

impl Keyed for Node {
    #[inline]
    fn key(&self) -> StreamId {
        self.first
    }
}

/// What stands before a node's entries.
#[derive(Clone, Copy, Debug)]
struct Master {
    field_count: usize,
    fields_at: usize,
    entries_at: usize,
}

/// An entry, where it lies.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its ID.
    pub id: StreamId,
    /// How many fields it has.
    pub field_count: usize,
    /// Whether it is only still there.
    pub is_deleted: bool,
    listpack: &'a [u8],
    /// Where the master's fields are, if the entry has those.
    fields_at: Option<usize>,
    body_at: usize,
}

impl<'a> Entry<'a> {
    /// Its fields and values.
    pub fn pairs(&self) -> Pairs<'a> {
        let Entry { listpack, field_count, fields_at, body_at, .. } = *self;
        Pairs { listpack, left: field_count, fields_at, at: body_at }
    }

    /// Where the next entry begins.
    fn end(&self) -> usize {
        let body_elements = if self.fields_at.is_some() { self.field_count } else { 2 * self.field_count };
        // One more says how many there were.
        (0..=body_elements).fold(self.body_at, |at, _| packed::next(self.listpack, at))
    }
}

/// The fields and values of an entry.
#[derive(Clone)]
pub struct Pairs<'a> {
    listpack: &'a [u8],
    left: usize,
    fields_at: Option<usize>,
    at: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (Item<'a>, Item<'a>);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, Item<'a>)> {
        self.left = self.left.checked_sub(1)?;
        let field;
        match &mut self.fields_at {
            Some(at) => (field, *at) = packed::item(self.listpack, *at),
            None => (field, self.at) = packed::item(self.listpack, self.at),
        }
        let (value, next) = packed::item(self.listpack, self.at);
        self.at = next;
        Some((field, value))
    }
}

/// Where a walk over the entries of a node has come.
#[derive(Clone, Copy, Debug)]
pub struct Cursor {
    master: Master,
    at: usize,
}

impl Cursor {
    /// How far behind the place of the first entry it is. This stays so, whatever is added to the node or deleted in it.
    pub fn offset(&self) -> usize {
        self.at - self.master.entries_at
    }
}

impl Node {
    /// A node with one entry.
    pub fn new<'i>(
        id: StreamId,
        pairs: impl ExactSizeIterator<Item = (NewItem<'i>, NewItem<'i>)> + Clone,
    ) -> Node {
        let mut node = Node { first: id, listpack: vec![0; MASTER_AT] };
        let field_count = pairs.len() as i64;
        let bytes: usize = pairs.clone().map(|(field, value)| field.text_len() + value.text_len() + 4).sum();
        node.listpack.reserve(bytes + 24);
        [1, 0, field_count].into_iter().for_each(|number| node.push(&NewItem::Int(number)));
        pairs.clone().for_each(|(field, _)| node.push(&field));
        [0, SAME_FIELDS, 0, 0].into_iter().for_each(|number| node.push(&NewItem::Int(number)));
        pairs.for_each(|(_, value)| node.push(&value));
        node.push(&NewItem::Int(field_count + FRAME_ELEMENTS as i64));
        let elements = 3 + field_count as usize + 1 + FRAME_ELEMENTS + field_count as usize + 1;
        node.listpack.push(END);
        node.settle(elements);
        node
    }

    /// A node whose listpack was validated.
    pub fn from_valid(first: StreamId, listpack: &[u8]) -> Node {
        Node { first, listpack: listpack.to_vec() }
    }

    /// The listpack.
    #[inline]
    pub fn listpack(&self) -> &[u8] {
        &self.listpack
    }

    /// Bytes allocated for the listpack.
    #[inline]
    pub fn allocated(&self) -> usize {
        self.listpack.capacity()
    }

    /// Nothing more is added: gives back the room that is left. Shrinking it in place would not, as the allocator leaves a block
    /// as it is of which more than half stays in use.
    pub fn close(&mut self) {
        self.listpack = self.listpack.as_slice().to_vec();
    }

    /// What stands before the entries.
    #[inline]
    fn master(&self) -> Master {
        let at = packed::next(&self.listpack, packed::next(&self.listpack, MASTER_AT));
        let (field_count, fields_at) = number(&self.listpack, at);
        let end = (0..field_count).fold(fields_at, |at, _| packed::next(&self.listpack, at));
        Master { field_count: field_count as usize, fields_at, entries_at: packed::next(&self.listpack, end) }
    }

    /// Entries, deleted ones included, without looking at the fields.
    #[inline]
    pub fn entry_count(&self) -> usize {
        let (live, at) = number(&self.listpack, MASTER_AT);
        (live + number(&self.listpack, at).0) as usize
    }

    /// Entries that are not deleted.
    #[inline]
    pub fn live_count(&self) -> usize {
        number(&self.listpack, MASTER_AT).0 as usize
    }

    /// Adds an entry at the end.
    pub fn append<'i>(
        &mut self,
        id: StreamId,
        pairs: impl ExactSizeIterator<Item = (NewItem<'i>, NewItem<'i>)> + Clone,
    ) {
        let same = self.has_fields(pairs.clone());
        let popped = self.listpack.pop();
        debug_assert_eq!(popped, Some(END));
        let flags = if same { SAME_FIELDS } else { 0 };
        self.push(&NewItem::Int(flags));
        self.push(&NewItem::Int(id.ms.wrapping_sub(self.first.ms).cast_signed()));
        self.push(&NewItem::Int(id.seq.wrapping_sub(self.first.seq).cast_signed()));
        let field_count = pairs.len();
        let elements = if same {
            pairs.for_each(|(_, value)| self.push(&value));
            FRAME_ELEMENTS + field_count
        } else {
            self.push(&NewItem::Int(field_count as i64));
            for (field, value) in pairs {
                self.push(&field);
                self.push(&value);
            }
            FRAME_ELEMENTS + 1 + 2 * field_count
        };
        self.push(&NewItem::Int(elements as i64));
        self.listpack.push(END);
        self.settle(elements + 1);
        self.change_number(MASTER_AT, 1);
    }

    /// Marks a live entry as deleted.
    pub fn delete(&mut self, at: usize) {
        let (_, deleted_at) = number(&self.listpack, MASTER_AT);
        // From back to front, because offsets behind a number may change with it.
        self.change_number(at, DELETED);
        self.change_number(deleted_at, 1);
        self.change_number(MASTER_AT, -1);
    }

    /// The ID of the last entry, deleted or not.
    pub fn last_id(&self) -> StreamId {
        self.previous(&mut self.end()).expect("a node has an entry").1.id
    }

    /// Before the first entry.
    #[inline]
    pub fn begin(&self) -> Cursor {
        let master = self.master();
        Cursor { at: master.entries_at, master }
    }

    /// As far behind the first entry as `Cursor::offset` said.
    pub fn cursor_at(&self, offset: usize) -> Cursor {
        let master = self.master();
        Cursor { at: master.entries_at + offset, master }
    }

    /// Behind the last entry.
    pub fn end(&self) -> Cursor {
        Cursor { at: self.listpack.len() - 1, master: self.master() }
    }

    /// The entry behind the cursor, deleted or not, which the cursor passes.
    #[inline]
    pub fn next(&self, cursor: &mut Cursor) -> Option<(usize, Entry<'_>)> {
        if self.listpack[cursor.at] == END {
            return None;
        }
        let at = cursor.at;
        let entry = self.entry(&cursor.master, at);
        cursor.at = entry.end();
        Some((at, entry))
    }

    /// The entry before the cursor, likewise.
    pub fn previous(&self, cursor: &mut Cursor) -> Option<(usize, Entry<'_>)> {
        if cursor.at == cursor.master.entries_at {
            return None;
        }
        let count_at = packed::previous(&self.listpack, cursor.at);
        let (elements, _) = number(&self.listpack, count_at);
        cursor.at = (0..elements).fold(count_at, |at, _| packed::previous(&self.listpack, at));
        Some((cursor.at, self.entry(&cursor.master, cursor.at)))
    }

    #[inline]
    fn entry(&self, master: &Master, at: usize) -> Entry<'_> {
        let (flags, ms_at) = number(&self.listpack, at);
        let (ms, seq_at) = number(&self.listpack, ms_at);
        let (seq, mut body_at) = number(&self.listpack, seq_at);
        let (mut field_count, mut fields_at) = (master.field_count, Some(master.fields_at));
        if flags & SAME_FIELDS == 0 {
            let (count, next) = number(&self.listpack, body_at);
            (field_count, fields_at, body_at) = (count as usize, None, next);
        }
        let id = StreamId {
            ms: self.first.ms.wrapping_add(ms.cast_unsigned()),
            seq: self.first.seq.wrapping_add(seq.cast_unsigned()),
        };
        let is_deleted = flags & DELETED != 0;
        Entry { id, field_count, is_deleted, listpack: &self.listpack, fields_at, body_at }
    }

    /// Whether these fields are the master's.
    #[inline]
    fn has_fields<'i>(&self, pairs: impl ExactSizeIterator<Item = (NewItem<'i>, NewItem<'i>)>) -> bool {
        let at = packed::next(&self.listpack, packed::next(&self.listpack, MASTER_AT));
        let (field_count, mut at) = number(&self.listpack, at);
        if field_count != pairs.len() as i64 {
            return false;
        }
        for (field, _) in pairs {
            if !packed::is(&self.listpack, at, &Encoded::of(&field)) {
                return false;
            }
            at = packed::next(&self.listpack, at);
        }
        true
    }

    #[inline]
    fn push(&mut self, item: &NewItem<'_>) {
        let encoded = Encoded::of(item);
        let at = self.listpack.len();
        self.listpack.resize(at + encoded.len(), 0);
        encoded.write(&mut self.listpack[at..]);
    }

    /// Adds to an integer element, which may become longer or shorter.
    #[inline]
    fn change_number(&mut self, at: usize, added: i64) {
        let (before, next) = number(&self.listpack, at);
        let item = NewItem::Int(before + added);
        let encoded = Encoded::of(&item);
        if encoded.len() != next - at {
            let room = std::iter::repeat_n(0, encoded.len());
            self.listpack.splice(at..next, room);
            self.settle(0);
        }
        encoded.write(&mut self.listpack[at..at + encoded.len()]);
    }

    /// Writes the header: the length, and how many elements there are after so many were added.
    #[inline]
    fn settle(&mut self, added: usize) {
        let bytes = u32::try_from(self.listpack.len()).expect("nodes are at most a little longer than 1 GiB");
        let (length, count) = self.listpack[..MASTER_AT].split_at_mut(size_of::<u32>());
        length.copy_from_slice(&bytes.to_le_bytes());
        let known = u16::from_le_bytes([count[0], count[1]]);
        let sum = u16::try_from(usize::from(known) + added).unwrap_or(u16::MAX);
        count.copy_from_slice(&sum.to_le_bytes());
    }
}

/// An integer element, and where the next one is.
#[inline]
fn number(listpack: &[u8], at: usize) -> (i64, usize) {
    let (item, next) = packed::item(listpack, at);
    let Item::Int(value) = item else { unreachable!("counts, flags and IDs are integers") };
    (value, next)
}

/// What is known of a listpack that was checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Valid {
    /// Entries that are not deleted.
    pub live: usize,
    /// The first entry's ID.
    pub first: StreamId,
    /// The last one's.
    pub last: StreamId,
}

/// Checks a listpack that comes from outside: every element, every entry, that IDs ascend. None if it is no node's.
pub fn validated(master: StreamId, listpack: &[u8]) -> Option<Valid> {
    let (body, _) = packed::validated(listpack)?;
    let mut walk = Walk { body, at: 0 };
    let (live, deleted, field_count) = (walk.count()?, walk.count()?, walk.count()?);
    walk.skip(field_count)?;
    if walk.number()? != 0 {
        return None;
    }
    let (mut found_live, mut found_deleted) = (0, 0);
    let (mut first, mut last) = (None, None);
    while walk.at < body.len() {
        // Of one byte, as everybody writes them, so that nothing moves when an entry is marked as deleted.
        if body[walk.at] > (DELETED | SAME_FIELDS) as u8 {
            return None;
        }
        let (flags, ms, seq) = (walk.number()?, walk.number()?, walk.number()?);
        let elements = if flags & SAME_FIELDS != 0 {
            walk.skip(field_count)?;
            FRAME_ELEMENTS + field_count
        } else {
            let count = walk.count()?;
            walk.skip(count.checked_mul(2)?)?;
            FRAME_ELEMENTS + 1 + 2 * count
        };
        if walk.count()? != elements {
            return None;
        }
        let id = StreamId {
            ms: master.ms.wrapping_add(ms.cast_unsigned()),
            seq: master.seq.wrapping_add(seq.cast_unsigned()),
        };
        if last.is_some_and(|last| id <= last) || id < master {
            return None;
        }
        first = first.or(Some(id));
        last = Some(id);
        *(if flags & DELETED == 0 { &mut found_live } else { &mut found_deleted }) += 1;
    }
    let right = found_live == live && found_deleted == deleted;
    Some(Valid { live, first: first?, last: last? }).filter(|_| right)
}

/// Steps over elements that are known to be well-formed, but not to be as many or what they should be.
struct Walk<'a> {
    body: &'a [u8],
    at: usize,
}

impl Walk<'_> {
    fn number(&mut self) -> Option<i64> {
        if self.at >= self.body.len() {
            return None;
        }
        let (item, next) = packed::item(self.body, self.at);
        self.at = next;
        match item {
            Item::Int(value) => Some(value),
            _ => None,
        }
    }

    fn count(&mut self) -> Option<usize> {
        self.number().and_then(|value| usize::try_from(value).ok())
    }

    /// Fails as soon as there is no element, however many are asked for.
    fn skip(&mut self, count: usize) -> Option<()> {
        for _ in 0..count {
            if self.at >= self.body.len() {
                return None;
            }
            self.at = packed::next(self.body, self.at);
        }
        Some(())
    }
}
