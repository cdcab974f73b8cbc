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
//! - DEADLINE, WIDE_KEY, EXTERNAL, LARGE, SLACK and INNER (something inside expires) say what is there; nothing else does;
//! - PASSED_OVER says that the walk of a snapshot passes the entry over (`snapshot`); an entry written anew does not say so;
//! - without SLACK the block is exactly as long as the entry, rounded up by the slab;
//! - an EXTERNAL value is owned by the entry.
//!
//! Costs: none but the block; accessors read the header and compute an offset.
//!
//! Not here: where blocks come from (`heap`), what a command may do with an entry (`key_mut`).
#![expect(unsafe_code, reason = "an entry is a header with its data behind it")]

use std::fmt;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::slab::{SLAB_BYTES_MAX, Slab};
use super::value::{Blob, External, inner_due, pack_due, pack_noted};

/// Strings of at least this many bytes are not inline but `Bytes`.
pub const BLOB_BYTES_MIN: usize = 16 << 10;
/// The longest key: its length is kept in 32 bits. `exec::batch` refuses commands with longer ones.
pub const KEY_BYTES_MAX: usize = u32::MAX as usize;
/// The longest string, whatever `proto-max-bulk-len` allows: more than there is memory, less than there are addresses.
pub const STRING_BYTES_MAX: u64 = 1 << 40;
/// Bytes that key and value of a string may have together for Redis to call it embstr: they lie in one block of 64 bytes.
const EMBSTR_BYTES_MAX: usize = 41;
/// Where there is a deadline too.
const EMBSTR_DEADLINE_BYTES_MAX: usize = EMBSTR_BYTES_MAX - 8;
/// From this length of the key on, Redis's block has room for a deadline that comes later where it is full.
const EMBSTR_ROOM_KEY_BYTES_MIN: usize = 32;
/// Access clocks have 24 bits.
pub const CLOCK_MAX: u32 = (1 << 24) - 1;

const HEADER_BYTES: usize = 8;
const DEADLINE_BYTES: usize = 8;
const WIDE_KLEN_BYTES: usize = 4;
const WIDE_KLEN: u8 = 255;
const KLEN_BITS: u32 = u8::BITS;
const KLEN_MASK: u32 = (1 << KLEN_BITS) - 1;
const INT_BYTES: usize = 8;

const KIND_EMBSTR: u8 = kind(Type::String, Encoding::Embstr);
const KIND_RAW: u8 = kind(Type::String, Encoding::Raw);

const FLAG_DEADLINE: u8 = 1;
const FLAG_WIDE_KEY: u8 = 2;
const FLAG_EXTERNAL: u8 = 4;
const FLAG_LARGE: u8 = 8;
const FLAG_SLACK: u8 = 16;
const FLAG_INNER: u8 = 32;
const FLAG_PASSED_OVER: u8 = 64;

const _: () = assert!(size_of::<Header>() == HEADER_BYTES && align_of::<Header>() == 8);
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
    /// A string that was set as a whole and that Redis keeps in one block with its key ([`text_encoding`]).
    Embstr,
    /// Any other string.
    Raw,
    /// A small list, hash or sorted set in one packed allocation.
    Listpack,
    /// A small hash whose fields have, or had, deadlines.
    ListpackEx,
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
    const ALL: [Encoding; 10] = [
        Encoding::Int,
        Encoding::Embstr,
        Encoding::Raw,
        Encoding::Listpack,
        Encoding::ListpackEx,
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
            Encoding::ListpackEx => "listpackex",
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

/// Type and encoding in one byte.
const fn kind(ty: Type, encoding: Encoding) -> u8 {
    ty as u8 | (encoding as u8) << 4
}

/// The first bytes of an entry, which say what follows.
#[repr(C, align(8))]
struct Header {
    kind: u8,
    flags: u8,
    vlen: u16,
    /// The key's length in the low byte, the access clock above. Who only reads the entry may set the clock, while others
    /// read it, too.
    klen_and_clock: AtomicU32,
}

impl Header {
    #[inline]
    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
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
}

/// An entry to be read: it stays as it is for `'a`.
///
/// It holds the block's own pointer and not a reference to the header, through which nothing behind the header, nor the page's
/// header before a slot, might be reached.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    block: NonNull<u8>,
    borrow: PhantomData<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// The key.
    #[inline]
    pub fn key(self) -> &'a [u8] {
        let (offset, klen) = self.key_span();
        self.slice(offset, klen)
    }

    /// Whether the key is this one.
    #[inline]
    pub(super) fn has_key(self, key: &[u8]) -> bool {
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
    pub fn ty(self) -> Type {
        Type::ALL[usize::from(self.header().kind & 15)]
    }

    /// The representation of the value.
    #[inline]
    pub fn encoding(self) -> Encoding {
        Encoding::ALL[usize::from(self.header().kind >> 4)]
    }

    /// The moment from which on the key no longer exists, in milliseconds since 1970.
    #[inline]
    pub fn deadline(self) -> Option<u64> {
        self.header().has(FLAG_DEADLINE).then(|| {
            let at = self.at(HEADER_BYTES).cast::<u64>();
            // SAFETY: the flag says that a u64 follows the header, which is aligned to 8.
            unsafe { at.read() }
        })
    }

    /// Whether something inside of the value expires by itself.
    #[inline]
    pub(super) fn expires_inside(self) -> bool {
        self.header().has(FLAG_INNER)
    }

    /// When active expiry has to look at it: the key's deadline, or that of something inside of the value.
    #[inline]
    pub(super) fn due(self) -> Option<u64> {
        match self.deadline() {
            deadline if !self.expires_inside() => deadline,
            None => inner_due(self),
            Some(deadline) => Some(inner_due(self).map_or(deadline, |inner| inner.min(deadline))),
        }
    }

    /// Whether the key's deadline has come.
    #[inline]
    pub fn is_expired(self, now_ms: u64) -> bool {
        self.deadline().is_some_and(|deadline_ms| deadline_ms <= now_ms)
    }

    /// The access clock: 24 bits whose meaning (last use or frequency) is the eviction policy's.
    #[inline]
    pub fn clock(self) -> u32 {
        self.header().klen_and_clock.load(Relaxed) >> KLEN_BITS
    }

    /// Sets the access clock, if it is another one: reads must not dirty cache lines for nothing.
    #[inline]
    pub(super) fn set_clock(self, clock: u32) {
        assert!(clock <= CLOCK_MAX, "access clocks have 24 bits");
        let word = &self.header().klen_and_clock;
        let before = word.load(Relaxed);
        if before >> KLEN_BITS != clock {
            word.store(clock << KLEN_BITS | before & KLEN_MASK, Relaxed);
        }
    }

    /// The value of a string. Panics for other types: commands check `ty` first.
    pub fn string(self) -> Str<'a> {
        assert!(self.ty() == Type::String, "commands check the type first");
        if self.encoding() == Encoding::Int {
            let at = self.at(self.value_offset()).cast::<i64>();
            // SAFETY: an integer's value is 8 bytes at the value's offset.
            return Str::Int(unsafe { at.read_unaligned() });
        }
        match self.blob() {
            Some(bytes) => Str::Bytes(bytes),
            None => Str::Bytes(self.slice(self.value_offset(), self.inline_len())),
        }
    }

    /// The bytes of a string that lie in the entry: none for integers, large strings and other types.
    #[inline]
    pub fn string_inline(self) -> Option<&'a [u8]> {
        let header = self.header();
        let is_text = matches!(header.kind, KIND_EMBSTR | KIND_RAW);
        (is_text && !header.has(FLAG_EXTERNAL)).then(|| self.inline_value())
    }

    /// The value of a large string, which can be cloned without copying it.
    #[inline]
    pub fn blob(self) -> Option<&'a Bytes> {
        match self.external() {
            Some(External::Blob(Blob { bytes, .. })) => Some(bytes),
            _ => None,
        }
    }

    /// Bytes allocated for the entry: its block and, outside of it, its large value.
    pub fn bytes_allocated(self) -> usize {
        self.block_bytes() + self.external().map_or(0, |external| external.allocated() as usize)
    }

    /// The large value, wherever it is: a snapshot may have it too.
    #[inline]
    pub(super) fn external(self) -> Option<&'a External> {
        Some(match self.held_external()? {
            External::Shared(shared) => shared.value(),
            own => own,
        })
    }

    /// The large value as the entry holds it.
    #[inline]
    fn held_external(self) -> Option<&'a External> {
        self.header().has(FLAG_EXTERNAL).then(|| {
            let at = self.at(self.value_offset()).cast::<External>();
            // SAFETY: the flag says that an `External` lies at the value's offset, which is aligned to 8; it lives as
            // long as the entry.
            unsafe { at.as_ref() }
        })
    }

    /// Bytes that the large value allocates; none if there is none.
    pub(super) fn external_bytes(self) -> u64 {
        self.held_external().map_or(0, External::allocated)
    }

    /// Whether somebody else has the large value too.
    pub(super) fn is_shared(self) -> bool {
        matches!(self.held_external(), Some(External::Shared(shared)) if !shared.is_last())
    }

    /// Whether the walk of a snapshot passes it over.
    #[inline]
    pub(super) fn is_passed_over(self) -> bool {
        self.header().has(FLAG_PASSED_OVER)
    }

    /// All of its bytes, padding included, without the room behind them.
    pub(super) fn as_bytes(self) -> &'a [MaybeUninit<u8>] {
        let len = self.value_offset() + self.inline_len();
        // SAFETY: the entry was written that far into its block, and does not change while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.block.as_ptr().cast(), len) }
    }

    /// Size of the block the entry lies in.
    pub(super) fn block_bytes(self) -> usize {
        if !self.header().has(FLAG_SLACK | FLAG_LARGE) {
            return Slab::rounded(self.value_offset() + self.inline_len());
        }
        if self.is_large() {
            // SAFETY: before a large block lies the word with its size.
            let word = unsafe { self.block.cast::<u64>().sub(1) };
            // SAFETY: as above; the word is aligned as the block is.
            return unsafe { word.read() as usize };
        }
        super::slab::slot_bytes(self.block)
    }

    pub(super) fn is_large(self) -> bool {
        self.header().has(FLAG_LARGE)
    }

    #[inline]
    pub(super) fn inline_len(self) -> usize {
        usize::from(self.header().vlen)
    }

    /// The bytes of a value that lies in the entry, whatever they mean.
    #[inline]
    pub(super) fn inline_value(self) -> &'a [u8] {
        debug_assert!(!self.header().has(FLAG_EXTERNAL));
        self.slice(self.value_offset(), self.inline_len())
    }

    #[inline]
    pub(super) fn value_offset(self) -> usize {
        let (offset, klen) = self.key_span();
        value_offset(offset + klen, self.header().has(FLAG_EXTERNAL))
    }

    #[inline]
    fn key_span(self) -> (usize, usize) {
        let header = self.header();
        let offset = HEADER_BYTES + if header.has(FLAG_DEADLINE) { DEADLINE_BYTES } else { 0 };
        let klen = (header.klen_and_clock.load(Relaxed) & KLEN_MASK) as u8;
        if klen != WIDE_KLEN {
            return (offset, usize::from(klen));
        }
        let at = self.at(offset).cast::<u32>();
        // SAFETY: this key length says that the real one follows as u32; the offset is a multiple of 8.
        (offset + WIDE_KLEN_BYTES, unsafe { at.read() } as usize)
    }

    #[inline]
    fn header(self) -> &'a Header {
        // SAFETY: every entry begins with a header, aligned to 8, of which nobody changes anything but what is atomic for `'a`.
        unsafe { self.block.cast::<Header>().as_ref() }
    }

    #[inline]
    fn at(self, offset: usize) -> NonNull<u8> {
        // SAFETY: all callers pass offsets that follow from the header, inside the entry's block.
        unsafe { self.block.add(offset) }
    }

    #[inline]
    fn slice(self, offset: usize, len: usize) -> &'a [u8] {
        // SAFETY: the callers pass spans that follow from the header; the entry was written whole, and does not
        // change while it is borrowed.
        unsafe { std::slice::from_raw_parts(self.at(offset).as_ptr(), len) }
    }
}

impl fmt::Pointer for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Pointer::fmt(&self.block, f)
    }
}

/// What Redis 8.2 calls a string that was set as a whole, by the lengths of key and value.
#[inline]
pub(super) fn text_encoding(key_bytes: usize, value_bytes: usize, has_deadline: bool) -> Encoding {
    let bytes = key_bytes + value_bytes;
    let fits = match has_deadline {
        false => bytes <= EMBSTR_BYTES_MAX,
        true => {
            let has_room = key_bytes >= EMBSTR_ROOM_KEY_BYTES_MIN && bytes >= EMBSTR_BYTES_MAX - 1;
            bytes <= EMBSTR_DEADLINE_BYTES_MAX || has_room && bytes <= EMBSTR_BYTES_MAX
        }
    };
    if fits { Encoding::Embstr } else { Encoding::Raw }
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
    /// When active expiry has to look at the entry, as far as that is known before it is written.
    #[inline]
    pub fn due(&self) -> Option<u64> {
        match (self.deadline, self.inner_due()) {
            (deadline, None) => deadline,
            (None, inner) => inner,
            (Some(deadline), Some(inner)) => Some(deadline.min(inner)),
        }
    }

    /// When something inside of the value expires.
    #[inline]
    fn inner_due(&self) -> Option<u64> {
        match &self.value {
            Value::External(external) => external.due(),
            Value::Inline(pack) if self.encoding == Encoding::ListpackEx => pack_due(pack),
            Value::Room(pack, ..) if self.encoding == Encoding::ListpackEx => pack_noted(pack),
            _ => None,
        }
    }

    /// Whether something inside of the value expires by itself.
    #[inline]
    pub fn expires_inside(&self) -> bool {
        self.inner_due().is_some()
    }

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

    /// Its encoding: a string that came as embstr may not be one beside this key and deadline, and then stays raw.
    fn encoding(&self) -> Encoding {
        match (self.encoding, &self.value) {
            (Encoding::Embstr, Value::Inline(bytes)) => {
                text_encoding(self.key.len(), bytes.len(), self.deadline.is_some())
            }
            (encoding, _) => encoding,
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
        assert!(bytes <= block_bytes, "the caller got a block for so many");
        let value_bytes = self.value_bytes();
        let wide = self.key.len() >= usize::from(WIDE_KLEN);
        let mut flags = 0;
        for (flag, on) in [
            (FLAG_DEADLINE, self.deadline.is_some()),
            (FLAG_WIDE_KEY, wide),
            (FLAG_EXTERNAL, matches!(self.value, Value::External(_))),
            (FLAG_LARGE, block_bytes > SLAB_BYTES_MAX),
            (FLAG_SLACK, Slab::rounded(bytes) != block_bytes),
            (FLAG_INNER, self.expires_inside()),
        ] {
            flags |= if on { flag } else { 0 };
        }
        let klen = if wide { WIDE_KLEN } else { self.key.len() as u8 };
        assert!(self.clock <= CLOCK_MAX, "access clocks have 24 bits");
        let header = Header {
            kind: kind(self.ty, self.encoding()),
            flags,
            vlen: u16::try_from(value_bytes).expect("inline values are at most 64 KiB long"),
            klen_and_clock: AtomicU32::new(u32::from(klen) | self.clock << KLEN_BITS),
        };
        let mut writer = Writer { block, offset: HEADER_BYTES, end: block_bytes };
        // SAFETY: the block is aligned to 8 and longer than a header.
        unsafe { block.cast::<Header>().write(header) };
        if let Some(deadline) = self.deadline {
            writer.push(&deadline.to_ne_bytes());
        }
        if wide {
            let klen = u32::try_from(self.key.len()).expect("keys are at most KEY_BYTES_MAX long");
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
                assert!(writer.offset + size_of::<External>() <= block_bytes, "`bytes` counts it");
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
        assert!(bytes.len() <= self.end - self.offset, "the block is as long as what is written");
        // SAFETY: inside the block, as just asserted.
        let at = unsafe { self.block.add(self.offset) };
        // SAFETY: the block has room, and `Parts::write`'s caller says that the source is elsewhere.
        unsafe { at.as_ptr().copy_from_nonoverlapping(bytes.as_ptr(), bytes.len()) };
        self.offset += bytes.len();
    }

    fn push_zeros(&mut self, count: usize) {
        assert!(count <= self.end - self.offset, "the block is as long as what is written");
        // SAFETY: inside the block, as just asserted.
        let at = unsafe { self.block.add(self.offset) };
        // SAFETY: the block has room.
        unsafe { at.as_ptr().write_bytes(0, count) };
        self.offset += count;
    }
}

/// A pointer to an entry that is in a table: the block's own, so that all of it may be changed through the pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntryPtr(NonNull<u8>);

impl EntryPtr {
    /// # Safety
    /// - `block` is the pointer to a block, or one made of its exposed address: not one derived from a reference;
    /// - the block holds an entry that `Parts::write` wrote, and does until the pointer is used last.
    pub unsafe fn new(block: NonNull<u8>) -> EntryPtr {
        EntryPtr(block)
    }

    pub fn block(self) -> NonNull<u8> {
        self.0
    }

    /// # Safety
    /// - the entry is not freed or changed while the result lives.
    pub unsafe fn entry<'a>(self) -> Entry<'a> {
        Entry { block: self.0, borrow: PhantomData }
    }

    /// # Safety
    /// - no `Entry` of it is in use, nor while the result lives.
    unsafe fn header_mut<'a>(self) -> &'a mut Header {
        // SAFETY: every entry begins with a header; nobody else uses it, by the caller's word.
        unsafe { self.0.cast::<Header>().as_mut() }
    }

    /// Overwrites the value by one of the same shape: a string without a deadline, of this encoding (not `Int`) and as long,
    /// in the entry. False, with nothing done, where it has another shape.
    ///
    /// # Safety
    /// - no `Entry` of it is in use;
    /// - the bytes do not lie in it.
    #[inline]
    pub unsafe fn overwrite_alike(self, encoding: Encoding, bytes: &[u8]) -> bool {
        debug_assert!(encoding != Encoding::Int);
        // SAFETY: as the caller says; it is not used any more when the value is written.
        let entry = unsafe { self.entry() };
        let header = entry.header();
        let is_alike = header.kind == kind(Type::String, encoding)
            && !header.has(FLAG_DEADLINE | FLAG_EXTERNAL)
            && usize::from(header.vlen) == bytes.len();
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
    /// - no `Entry` of it is in use.
    pub unsafe fn set_deadline(self, deadline: u64) {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        assert!(entry.header().has(FLAG_DEADLINE), "the caller has seen the deadline");
        let at = entry.at(HEADER_BYTES).cast::<u64>();
        // SAFETY: the flag says that a u64 follows the header.
        unsafe { at.write(deadline) };
    }

    /// Notes whether something inside of the value expires by itself.
    ///
    /// # Safety
    /// - no `Entry` of it is in use.
    pub unsafe fn set_expires_inside(self, on: bool) {
        // SAFETY: as the caller says.
        let header = unsafe { self.header_mut() };
        header.flags = if on { header.flags | FLAG_INNER } else { header.flags & !FLAG_INNER };
    }

    /// Sets how the value is represented, where that is but its name.
    ///
    /// # Safety
    /// - no `Entry` of it is in use;
    /// - the value lies as it would under the other encoding.
    pub unsafe fn set_encoding(self, encoding: Encoding) {
        // SAFETY: as the caller says.
        let header = unsafe { self.header_mut() };
        header.kind = header.kind & 15 | (encoding as u8) << 4;
    }

    /// Notes whether the walk of a snapshot passes the entry over.
    ///
    /// # Safety
    /// - no `Entry` of it is in use.
    pub unsafe fn set_passed_over(self, on: bool) {
        // SAFETY: as the caller says.
        let header = unsafe { self.header_mut() };
        header.flags = if on { header.flags | FLAG_PASSED_OVER } else { header.flags & !FLAG_PASSED_OVER };
    }

    /// The large value of an entry that has one, which the entry has from now on together with whoever gets the result.
    ///
    /// # Safety
    /// - no `Entry` of it is in use.
    pub unsafe fn share_external(self) -> Option<External> {
        let at = self.external_at()?;
        // SAFETY: there is a value, which is put back below.
        let shared = External::Shared(unsafe { at.read() }.into_shared());
        let other = shared.clone();
        // SAFETY: what was there before was taken out.
        unsafe { at.write(shared) };
        Some(other)
    }

    /// Puts another large value in the place of the one of an entry that has one, which is forgotten.
    ///
    /// # Safety
    /// - no `Entry` of it is in use;
    /// - whoever owns the value that was there is somebody else.
    pub unsafe fn replace_external(self, external: External) {
        let at = self.external_at().expect("the caller has looked");
        // SAFETY: aligned and inside the block, where a value was before.
        unsafe { at.write(external) };
    }

    /// Takes a large value out of its entry, which must be freed or written anew next.
    ///
    /// # Safety
    /// - no `Entry` of it is in use;
    /// - nobody looks at the entry's value before it is written anew.
    pub unsafe fn take_external(self) -> Option<External> {
        let at = self.external_at()?;
        // SAFETY: the value is valid, and by the caller's word never used again where it is.
        Some(unsafe { at.read() })
    }

    /// The large value of an entry that has one, to be changed, and by how much what it allocates is another, because it was
    /// shared and is a copy now: bytes before and after. For `Heap::external_mut`, which counts that.
    ///
    /// # Safety
    /// - no `Entry` of it is in use, nor while the result lives.
    pub unsafe fn external_mut<'a>(self) -> Option<(&'a mut External, (u64, u64))> {
        let mut at = self.external_at()?;
        // SAFETY: there is a value, and nobody else uses it.
        let external = unsafe { at.as_mut() };
        let recounted = external.own();
        Some((external, recounted))
    }

    /// Where the large value lies, if the entry has one. No reference to it is made.
    #[inline]
    fn external_at(self) -> Option<NonNull<External>> {
        // SAFETY: it is not used any more when this returns.
        let entry = unsafe { self.entry() };
        entry.header().has(FLAG_EXTERNAL).then(|| entry.at(entry.value_offset()).cast())
    }

    /// Makes the inline string `len` bytes long, encoded raw, new bytes being zero, and lends it out.
    ///
    /// # Safety
    /// - no `Entry` of it is in use, nor while the result lives;
    /// - the entry is an inline string that is no integer.
    pub unsafe fn resize_inline<'a>(self, len: usize) -> &'a mut [u8] {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        let (offset, old, capacity) = (entry.value_offset(), entry.inline_len(), entry.block_bytes());
        assert!(old <= len && offset + len <= capacity, "the caller looks at both");
        // SAFETY: no `Entry` of it is in use.
        let header = unsafe { self.header_mut() };
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
    /// - no `Entry` of it is in use, nor while the result lives;
    /// - the entry's value is inline, and no integer.
    pub unsafe fn splice_inline<'a>(self, at: usize, removed: usize, inserted: usize) -> &'a mut [u8] {
        // SAFETY: as the caller says.
        let entry = unsafe { self.entry() };
        let (offset, old, capacity) = (entry.value_offset(), entry.inline_len(), entry.block_bytes());
        assert!(at + removed <= old, "what is removed is there");
        let len = old - removed + inserted;
        assert!(offset + len <= capacity, "the caller looks whether there is room");
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
        // SAFETY: no `Entry` of it is in use.
        let header = unsafe { self.header_mut() };
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

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
