//! The entry: one key with its header, deadline and value, in one allocation.
//!
//! Design: a header of 8 bytes, and after it only what the entry has. A 16-byte key with a 64-byte value takes 88
//! bytes, which is a slot size of the slab; a deadline adds 8.
//!
//! ```text
//! 0        1      2     4     5        8           8+8           +4
//! | kind | flags | vlen | klen | clock | deadline? | wide klen? | key | (padding) value |
//! kind   type in the low, encoding in the high four bits
//! klen   255: the length follows as u32
//! value  strings, packs: vlen bytes; integers: 8 bytes; EXTERNAL: an `External`, aligned to 8
//! ```
//!
//! Strings of `BLOB_BYTES_MIN` and more are reference-counted `Bytes`, so that a reply can send them from where they
//! lie while the key changes.
//!
//! Invariants:
//! - DEADLINE, WIDE_KEY, EXTERNAL, LARGE and SLACK say what is there; nothing else does;
//! - without SLACK the block is exactly as long as the entry, rounded up by the slab;
//! - an EXTERNAL value is owned by the entry.
//!
//! Costs: none but the block; accessors read the header and compute an offset.
//!
//! Not here: where blocks come from (`heap`), what a command may do with an entry (`key_mut`).
#![expect(unsafe_code, reason = "an entry is a header with its data behind it")]

use std::ptr::NonNull;

use bytes::Bytes;

use super::slab::{SLAB_BYTES_MAX, Slab};
use super::value::{Deque, List};

/// Strings of at least this many bytes are not inline but `Bytes`.
pub const BLOB_BYTES_MIN: usize = 16 << 10;
/// The longest string that Redis calls embstr.
pub const EMBSTR_BYTES_MAX: usize = 44;
/// Access clocks have 24 bits.
pub const CLOCK_MAX: u32 = (1 << 24) - 1;

const HEADER_BYTES: usize = 8;
const DEADLINE_BYTES: usize = 8;
const WIDE_KLEN_BYTES: usize = 4;
const WIDE_KLEN: u8 = 255;
const INT_BYTES: usize = 8;

const KIND_EMBSTR: u8 = kind(Type::String, Encoding::Embstr);
const KIND_RAW: u8 = kind(Type::String, Encoding::Raw);

const FLAG_DEADLINE: u8 = 1;
const FLAG_WIDE_KEY: u8 = 2;
const FLAG_EXTERNAL: u8 = 4;
const FLAG_LARGE: u8 = 8;
const FLAG_SLACK: u8 = 16;

const _: () = assert!(size_of::<Entry>() == HEADER_BYTES && align_of::<Entry>() == 8);
const _: () = assert!(BLOB_BYTES_MIN <= u16::MAX as usize);

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Type {
    /// A string or an integer.
    String,
    /// A list.
    List,
    /// A set.
    Set,
    /// A sorted set.
    SortedSet,
    /// A hash.
    Hash,
    /// A stream.
    Stream,
}

impl Type {
    const ALL: [Type; 6] = [Type::String, Type::List, Type::Set, Type::SortedSet, Type::Hash, Type::Stream];

    /// The name that TYPE replies.
    pub const fn name(self) -> &'static str {
        match self {
            Type::String => "string",
            Type::List => "list",
            Type::Set => "set",
            Type::SortedSet => "zset",
            Type::Hash => "hash",
            Type::Stream => "stream",
        }
    }
}

/// How a value is represented, in the words of OBJECT ENCODING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// A string that is a canonical 64-bit integer.
    Int,
    /// A string of at most `EMBSTR_BYTES_MAX` bytes that was set as a whole.
    Embstr,
    /// Any other string.
    Raw,
    /// A small list, hash or sorted set in one packed allocation.
    Listpack,
    /// A list.
    Quicklist,
    /// A set or hash.
    Hashtable,
    /// A small set of integers.
    Intset,
    /// A sorted set.
    Skiplist,
    /// A stream.
    Stream,
}

impl Encoding {
    const ALL: [Encoding; 9] = [
        Encoding::Int,
        Encoding::Embstr,
        Encoding::Raw,
        Encoding::Listpack,
        Encoding::Quicklist,
        Encoding::Hashtable,
        Encoding::Intset,
        Encoding::Skiplist,
        Encoding::Stream,
    ];

    /// The name that OBJECT ENCODING replies.
    pub const fn name(self) -> &'static str {
        match self {
            Encoding::Int => "int",
            Encoding::Embstr => "embstr",
            Encoding::Raw => "raw",
            Encoding::Listpack => "listpack",
            Encoding::Quicklist => "quicklist",
            Encoding::Hashtable => "hashtable",
            Encoding::Intset => "intset",
            Encoding::Skiplist => "skiplist",
            Encoding::Stream => "stream",
        }
    }
}

/// The value of a string entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Str<'a> {
    /// A canonical integer.
    Int(i64),
    /// The bytes, wherever they lie.
    Bytes(&'a [u8]),
}

impl Str<'_> {
    /// The length in bytes of the string, as STRLEN counts it.
    pub fn len(&self) -> usize {
        match self {
            Str::Int(value) => itoa::Buffer::new().format(*value).len(),
            Str::Bytes(bytes) => bytes.len(),
        }
    }

    /// Whether the string has no bytes.
    pub fn is_empty(&self) -> bool {
        matches!(self, Str::Bytes([]))
    }
}

/// A large string outside its entry.
#[derive(Clone, Debug)]
pub(super) struct Blob {
    pub bytes: Bytes,
    /// What was allocated for it: at least its length.
    pub allocated: u64,
}

/// A large value outside its entry, which owns it.
#[derive(Clone, Debug)]
pub(super) enum External {
    Blob(Blob),
    List(Box<Deque>),
}

impl External {
    /// Bytes allocated for it.
    #[inline]
    pub fn allocated(&self) -> u64 {
        match self {
            External::Blob(blob) => blob.allocated,
            External::List(deque) => deque.allocated() as u64,
        }
    }
}

/// Type and encoding in one byte.
const fn kind(ty: Type, encoding: Encoding) -> u8 {
    ty as u8 | (encoding as u8) << 4
}

/// The header of an entry; the data follows it in memory. Only ever seen behind a reference into a shard.
#[repr(C, align(8))]
pub struct Entry {
    kind: u8,
    flags: u8,
    vlen: u16,
    klen: u8,
    clock: [u8; 3],
}

impl Entry {
    /// The key.
    #[inline]
    pub fn key(&self) -> &[u8] {
        let (offset, klen) = self.key_span();
        self.slice(offset, klen)
    }

    /// Whether the key is this one.
    #[inline]
    pub(super) fn has_key(&self, key: &[u8]) -> bool {
        let own = self.key();
        // Most keys have 8 to 16 bytes: two words, which may overlap, are faster than a call.
        match (own.first_chunk::<8>(), own.last_chunk::<8>(), key.first_chunk(), key.last_chunk()) {
            _ if own.len() != key.len() => false,
            (Some(own_first), Some(own_last), Some(first), Some(last)) if own.len() <= 16 => {
                own_first == first && own_last == last
            }
            _ => own == key,
        }
    }

    /// The type of the value.
    #[inline]
    pub fn ty(&self) -> Type {
        Type::ALL[usize::from(self.kind & 15)]
    }

    /// The representation of the value.
    #[inline]
    pub fn encoding(&self) -> Encoding {
        Encoding::ALL[usize::from(self.kind >> 4)]
    }

    /// The moment from which on the key no longer exists, in milliseconds since 1970.
    #[inline]
    pub fn deadline(&self) -> Option<u64> {
        (self.flags & FLAG_DEADLINE != 0).then(|| {
            let at = self.at(HEADER_BYTES).cast::<u64>();
            // SAFETY: the flag says that a u64 follows the header, which is aligned to 8.
            unsafe { at.read() }
        })
    }

    /// Whether the key's deadline has come.
    #[inline]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.deadline().is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// The access clock: 24 bits whose meaning (last use or frequency) is the eviction policy's.
    #[inline]
    pub fn clock(&self) -> u32 {
        u32::from_le_bytes([self.clock[0], self.clock[1], self.clock[2], 0])
    }

    /// The value of a string. Panics for other types: commands check `ty` first.
    pub fn string(&self) -> Str<'_> {
        assert!(self.ty() == Type::String);
        if self.encoding() == Encoding::Int {
            let at = self.at(self.value_offset()).cast::<i64>();
            // SAFETY: an integer's value is 8 bytes at the value's offset.
            return Str::Int(unsafe { at.read_unaligned() });
        }
        match self.blob() {
            Some(bytes) => Str::Bytes(bytes),
            None => Str::Bytes(self.slice(self.value_offset(), usize::from(self.vlen))),
        }
    }

    /// The bytes of a string that lie in the entry: none for integers, large strings and other types.
    #[inline]
    pub fn string_inline(&self) -> Option<&[u8]> {
        let is_inline = self.flags & FLAG_EXTERNAL == 0;
        let is_text = matches!(self.kind, KIND_EMBSTR | KIND_RAW);
        (is_text && is_inline).then(|| self.inline_value())
    }

    /// The value of a large string, which can be cloned without copying it.
    #[inline]
    pub fn blob(&self) -> Option<&Bytes> {
        match self.external() {
            Some(External::Blob(blob)) => Some(&blob.bytes),
            _ => None,
        }
    }

    /// The value of a list. Panics for other types: commands check `ty` first.
    #[inline]
    pub fn list(&self) -> List<'_> {
        assert!(self.ty() == Type::List);
        match self.external() {
            Some(External::List(deque)) => List::Deque(deque),
            _ => List::of_pack(self.inline_value()),
        }
    }

    /// The large list that the value is, if it is one.
    #[inline]
    pub(super) fn large_list(&self) -> Option<&Deque> {
        match self.external() {
            Some(External::List(deque)) => Some(deque),
            _ => None,
        }
    }

    /// Bytes allocated for the entry: its block and, outside of it, its large value.
    pub fn bytes_allocated(&self) -> usize {
        self.block_bytes() + self.external().map_or(0, |external| external.allocated() as usize)
    }

    #[inline]
    pub(super) fn external(&self) -> Option<&External> {
        (self.flags & FLAG_EXTERNAL != 0).then(|| {
            let at = self.at(self.value_offset()).cast::<External>();
            // SAFETY: the flag says that an `External` lies at the value's offset, which is aligned to 8; it lives as
            // long as the entry.
            unsafe { at.as_ref() }
        })
    }

    /// Size of the block the entry lies in.
    pub(super) fn block_bytes(&self) -> usize {
        if self.flags & (FLAG_SLACK | FLAG_LARGE) == 0 {
            return Slab::rounded(self.value_offset() + usize::from(self.vlen));
        }
        if self.is_large() {
            let word = NonNull::from(self).cast::<u64>();
            // SAFETY: before a large block lies the word with its size.
            let word = unsafe { word.sub(1) };
            // SAFETY: as above; the word is aligned as the block is.
            return unsafe { word.read() as usize };
        }
        super::slab::slot_bytes(NonNull::from(self).cast())
    }

    pub(super) fn is_large(&self) -> bool {
        self.flags & FLAG_LARGE != 0
    }

    pub(super) fn inline_len(&self) -> usize {
        usize::from(self.vlen)
    }

    /// The bytes of a value that lies in the entry, whatever they mean.
    #[inline]
    pub(super) fn inline_value(&self) -> &[u8] {
        debug_assert!(self.flags & FLAG_EXTERNAL == 0);
        self.slice(self.value_offset(), usize::from(self.vlen))
    }

    #[inline]
    pub(super) fn value_offset(&self) -> usize {
        let (offset, klen) = self.key_span();
        value_offset(offset + klen, self.flags & FLAG_EXTERNAL != 0)
    }

    /// Notes the length of the inline value at `offset`, and whether that leaves room in a block of `capacity`.
    fn set_inline_len(&mut self, len: usize, offset: usize, capacity: usize) {
        self.vlen = u16::try_from(len).expect("inline values are at most 64 KiB long");
        if Slab::rounded(offset + len) == capacity {
            self.flags &= !FLAG_SLACK;
        } else {
            self.flags |= FLAG_SLACK;
        }
    }

    #[inline]
    fn key_span(&self) -> (usize, usize) {
        let offset = HEADER_BYTES + if self.flags & FLAG_DEADLINE != 0 { DEADLINE_BYTES } else { 0 };
        if self.klen != WIDE_KLEN {
            return (offset, usize::from(self.klen));
        }
        let at = self.at(offset).cast::<u32>();
        // SAFETY: this key length says that the real one follows as u32; the offset is a multiple of 8.
        (offset + WIDE_KLEN_BYTES, unsafe { at.read() } as usize)
    }

    #[inline]
    fn at(&self, offset: usize) -> NonNull<u8> {
        // SAFETY: all callers pass offsets that follow from the header, inside the entry's block.
        unsafe { NonNull::from(self).cast::<u8>().add(offset) }
    }

    #[inline]
    fn slice(&self, offset: usize, len: usize) -> &[u8] {
        // SAFETY: the callers pass spans that follow from the header; the entry was written whole, and does not
        // change while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.at(offset).as_ptr(), len) }
    }
}

/// What an entry is made of.
pub(super) struct Parts<'a> {
    pub ty: Type,
    pub encoding: Encoding,
    pub clock: u32,
    pub deadline: Option<u64>,
    pub key: &'a [u8],
    pub value: Value<'a>,
}

/// A value on its way into an entry.
pub(super) enum Value<'a> {
    Int(i64),
    Inline(&'a [u8]),
    /// Bytes, a gap of so many zeros to be written by the caller afterwards, and further bytes.
    Room(&'a [u8], usize, &'a [u8]),
    External(External),
}

impl Parts<'_> {
    /// Bytes that the entry needs.
    pub fn bytes(&self) -> usize {
        let external = matches!(self.value, Value::External(_));
        value_offset(self.key_end(), external) + self.value_bytes()
    }

    fn key_offset(&self) -> usize {
        let deadline_bytes = if self.deadline.is_some() { DEADLINE_BYTES } else { 0 };
        let wide_bytes = if self.key.len() >= usize::from(WIDE_KLEN) { WIDE_KLEN_BYTES } else { 0 };
        HEADER_BYTES + deadline_bytes + wide_bytes
    }

    fn key_end(&self) -> usize {
        self.key_offset() + self.key.len()
    }

    fn value_bytes(&self) -> usize {
        match &self.value {
            Value::Int(_) => INT_BYTES,
            Value::Inline(bytes) => bytes.len(),
            Value::Room(head, gap, tail) => head.len() + gap + tail.len(),
            Value::External(_) => size_of::<External>(),
        }
    }

    /// Writes the entry.
    ///
    /// # Safety
    /// - `block` is aligned to 8 and has `block_bytes` bytes, at least `bytes()`, that are nobody else's;
    /// - neither the key nor the value lies in it.
    /// - what owned anything in the block before has been dropped.
    pub unsafe fn write(self, block: NonNull<u8>, block_bytes: usize) {
        let bytes = self.bytes();
        assert!(bytes <= block_bytes);
        let value_bytes = self.value_bytes();
        let wide = self.key.len() >= usize::from(WIDE_KLEN);
        let mut flags = 0;
        for (flag, on) in [
            (FLAG_DEADLINE, self.deadline.is_some()),
            (FLAG_WIDE_KEY, wide),
            (FLAG_EXTERNAL, matches!(self.value, Value::External(_))),
            (FLAG_LARGE, block_bytes > SLAB_BYTES_MAX),
            (FLAG_SLACK, Slab::rounded(bytes) != block_bytes),
        ] {
            flags |= if on { flag } else { 0 };
        }
        let header = Entry {
            kind: kind(self.ty, self.encoding),
            flags,
            vlen: u16::try_from(value_bytes).expect("inline values are at most 64 KiB long"),
            klen: if wide { WIDE_KLEN } else { self.key.len() as u8 },
            clock: clock_bytes(self.clock),
        };
        let mut writer = Writer { block, offset: HEADER_BYTES, end: block_bytes };
        // SAFETY: the block is aligned to 8 and longer than a header.
        unsafe { block.cast::<Entry>().write(header) };
        if let Some(deadline) = self.deadline {
            writer.push(&deadline.to_ne_bytes());
        }
        if wide {
            let klen = u32::try_from(self.key.len()).expect("keys are at most 512 MiB long");
            writer.push(&klen.to_ne_bytes());
        }
        writer.push(self.key);
        match self.value {
            Value::Int(value) => writer.push(&value.to_ne_bytes()),
            Value::Inline(value) => writer.push(value),
            Value::Room(head, gap, tail) => {
                writer.push(head);
                writer.push_zeros(gap);
                writer.push(tail);
            }
            Value::External(external) => {
                writer.offset = value_offset(writer.offset, true);
                assert!(writer.offset + size_of::<External>() <= block_bytes);
                // SAFETY: the offset is inside the block, as just asserted.
                let at = unsafe { block.add(writer.offset) };
                // SAFETY: aligned to 8 and free for the value.
                unsafe { at.cast::<External>().write(external) };
            }
        }
    }
}

/// Copies pieces one behind the other, never past the end.
struct Writer {
    block: NonNull<u8>,
    offset: usize,
    end: usize,
}

impl Writer {
    fn push(&mut self, bytes: &[u8]) {
        assert!(bytes.len() <= self.end - self.offset);
        // SAFETY: inside the block, as just asserted.
        let at = unsafe { self.block.add(self.offset) };
        // SAFETY: the block has room, and `Parts::write`'s caller says that the source is elsewhere.
        unsafe { at.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.offset += bytes.len();
    }

    fn push_zeros(&mut self, count: usize) {
        assert!(count <= self.end - self.offset);
        // SAFETY: inside the block, as just asserted.
        let at = unsafe { self.block.add(self.offset) };
        // SAFETY: the block has room.
        unsafe { at.as_ptr().write_bytes(0, count) };
        self.offset += count;
    }
}

/// A pointer to an entry that is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryPtr(NonNull<u8>);

impl EntryPtr {
    /// # Safety
    /// - `block` holds an entry that `Parts::write` wrote, and does until the pointer is used last.
    pub unsafe fn new(block: NonNull<u8>) -> EntryPtr {
        EntryPtr(block)
    }

    pub fn block(self) -> NonNull<u8> {
        self.0
    }

    /// # Safety
    /// - the entry is not freed or changed while the reference lives.
    pub unsafe fn entry<'a>(self) -> &'a Entry {
        // SAFETY: the pointer leads to an entry, by `new`'s contract.
        unsafe { self.0.cast::<Entry>().as_ref() }
    }

    /// Sets the access clock, if it is another one: reads must not dirty cache lines for nothing.
    ///
    /// # Safety
    /// - nobody has a reference to the entry.
    pub unsafe fn set_clock(self, clock: u32) {
        // SAFETY: as the caller says.
        let entry = unsafe { self.0.cast::<Entry>().as_mut() };
        let bytes = clock_bytes(clock);
        if entry.clock != bytes {
            entry.clock = bytes;
        }
    }

    /// Overwrites the value by one of the same shape: a string without a deadline, of this encoding (not `Int`) and as long,
    /// in the entry. False, with nothing done, where it has another shape.
    ///
    /// # Safety
    /// - nobody has a reference to the entry;
    /// - the bytes do not lie in it.
    #[inline]
    pub unsafe fn overwrite_alike(self, encoding: Encoding, bytes: &[u8]) -> bool {
        debug_assert!(encoding != Encoding::Int);
        // SAFETY: as the caller says; the reference ends before the value is written.
        let entry = unsafe { self.entry() };
        let is_alike = entry.kind == kind(Type::String, encoding)
            && entry.flags & (FLAG_DEADLINE | FLAG_EXTERNAL) == 0
            && usize::from(entry.vlen) == bytes.len();
        if !is_alike {
            return false;
        }
        let at = entry.at(entry.value_offset());
        // SAFETY: the value has as many bytes at its offset, which are nobody else's and not the source's.
        unsafe { at.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        true
    }

    /// Overwrites the deadline of an entry that has one.
    ///
    /// # Safety
    /// - nobody has a reference to the entry.
    pub unsafe fn set_deadline(self, deadline: u64) {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        assert!(entry.flags & FLAG_DEADLINE != 0);
        let at = entry.at(HEADER_BYTES).cast::<u64>();
        // SAFETY: the flag says that a u64 follows the header.
        unsafe { at.write(deadline) };
    }

    /// Takes a large value out of its entry, which must be freed or written anew next.
    ///
    /// # Safety
    /// - nobody has a reference to the entry;
    /// - nobody looks at the entry's value before it is written anew.
    pub unsafe fn take_external(self) -> Option<External> {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        let external = entry.external()?;
        // SAFETY: the value is valid, and by the caller's word never used again where it is.
        Some(unsafe { std::ptr::read(external) })
    }

    /// The large value of an entry that has one, to be changed.
    ///
    /// # Safety
    /// - nobody has a reference to the entry, nor while the result lives.
    pub unsafe fn external_mut<'a>(self) -> Option<&'a mut External> {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        entry.external()?;
        let at = entry.at(entry.value_offset()).cast::<External>();
        // SAFETY: there is a value at this offset, as just seen, and nobody else uses it.
        Some(unsafe { &mut *at.as_ptr() })
    }

    /// Makes the inline string `len` bytes long, encoded raw, new bytes being zero, and lends it out.
    ///
    /// # Safety
    /// - nobody has a reference to the entry, nor while the result lives;
    /// - the entry is an inline string that is no integer.
    pub unsafe fn resize_inline<'a>(self, len: usize) -> &'a mut [u8] {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        let (offset, old, capacity) = (entry.value_offset(), entry.inline_len(), entry.block_bytes());
        assert!(old <= len && offset + len <= capacity);
        // SAFETY: nobody has a reference.
        let header = unsafe { self.0.cast::<Entry>().as_mut() };
        header.kind = KIND_RAW;
        header.set_inline_len(len, offset, capacity);
        let mut writer = Writer { block: self.0, offset: offset + old, end: capacity };
        writer.push_zeros(len - old);
        // SAFETY: inside the block, as asserted above.
        let at = unsafe { self.0.add(offset) };
        // SAFETY: all `len` bytes are written, and nobody else uses them.
        unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), len) }
    }
}

impl EntryPtr {
    /// Replaces `removed` bytes at `at` of an inline value by as many as are inserted, to be written by the caller, and
    /// lends the value out. The block must have room for it.
    ///
    /// # Safety
    /// - nobody has a reference to the entry, nor while the result lives;
    /// - the entry's value is inline, and no integer.
    pub unsafe fn splice_inline<'a>(self, at: usize, removed: usize, inserted: usize) -> &'a mut [u8] {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        let (offset, old, capacity) = (entry.value_offset(), entry.inline_len(), entry.block_bytes());
        assert!(at + removed <= old);
        let len = old - removed + inserted;
        assert!(offset + len <= capacity);
        if inserted != removed {
            // SAFETY: inside the value, as asserted.
            let source = unsafe { self.0.add(offset + at + removed) };
            // SAFETY: inside the block, as asserted.
            let target = unsafe { self.0.add(offset + at + inserted) };
            // SAFETY: what is behind the removed bytes stays inside the block, as asserted; nobody else uses it.
            unsafe { target.as_ptr().copy_from(source.as_ptr(), old - at - removed) };
            if inserted > removed {
                // What was never written must not be lent out.
                let mut writer = Writer { block: self.0, offset: offset + at + removed, end: capacity };
                writer.push_zeros(inserted - removed);
            }
        }
        // SAFETY: nobody has a reference.
        let header = unsafe { self.0.cast::<Entry>().as_mut() };
        header.set_inline_len(len, offset, capacity);
        // SAFETY: inside the block, as asserted.
        let value = unsafe { self.0.add(offset) };
        // SAFETY: all `len` bytes are written, and nobody else uses them.
        unsafe { std::slice::from_raw_parts_mut(value.as_ptr(), len) }
    }
}

/// Parses a canonical decimal integer: what Redis's `string2ll` accepts, so that formatting gives the same bytes.
pub fn parse_int(bytes: &[u8]) -> Option<i64> {
    if bytes.is_empty() || bytes.len() > 20 {
        return None;
    }
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, bytes),
    };
    match digits {
        [b'0'] if !negative => return Some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    let mut magnitude: u64 = 0;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        magnitude = magnitude.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    if negative { 0i64.checked_sub_unsigned(magnitude) } else { i64::try_from(magnitude).ok() }
}

fn value_offset(key_end: usize, external: bool) -> usize {
    if external { key_end.next_multiple_of(align_of::<External>()) } else { key_end }
}

fn clock_bytes(clock: u32) -> [u8; 3] {
    assert!(clock <= CLOCK_MAX, "access clocks have 24 bits");
    let [low, middle, high, _] = clock.to_le_bytes();
    [low, middle, high]
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
