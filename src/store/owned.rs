//! An entry outside of any shard, without a key: what RENAME, MOVE and COPY carry from one key to another.
//!
//! Design: a block of a shard's slab cannot leave the shard, so small values are copied; large ones only change hands.
#![expect(unsafe_code, reason = "takes the values out of entries")]

use super::entry::{Encoding, Entry, EntryPtr, Parts, Str, Type, Value};
use super::heap::Heap;
use super::value::External;

/// What a key held.
pub struct OwnedEntry {
    pub(super) ty: Type,
    pub(super) encoding: Encoding,
    pub(super) clock: u32,
    pub(super) deadline: Option<u64>,
    pub(super) value: OwnedValue,
}

pub(super) enum OwnedValue {
    Int(i64),
    Inline(Box<[u8]>),
    External(External),
}

impl OwnedEntry {
    pub(super) fn copy_of(entry: Entry<'_>) -> OwnedEntry {
        OwnedEntry::of(entry, entry.external().cloned())
    }

    /// What an entry holds; its large value is given.
    fn of(entry: Entry<'_>, external: Option<External>) -> OwnedEntry {
        let value = match external {
            Some(external) => OwnedValue::External(external),
            None if entry.encoding() == Encoding::Int => match entry.string() {
                Str::Int(value) => OwnedValue::Int(value),
                Str::Bytes(_) => unreachable!("the encoding says that it is an integer"),
            },
            None => OwnedValue::Inline(entry.inline_value().into()),
        };
        OwnedEntry {
            ty: entry.ty(),
            encoding: entry.encoding(),
            clock: entry.clock(),
            deadline: entry.deadline(),
            value,
        }
    }

    /// The type of the value.
    pub fn ty(&self) -> Type {
        self.ty
    }

    /// The deadline it will have where it is put.
    pub fn deadline(&self) -> Option<u64> {
        self.deadline
    }

    /// Gives it another deadline.
    pub fn set_deadline(&mut self, deadline: Option<u64>) {
        self.deadline = deadline;
    }
}

impl Heap {
    /// Takes an entry apart: its value is handed out, its block freed.
    ///
    /// # Safety
    /// - `pointer` leads to an entry of this heap that nobody refers to any more.
    pub(super) unsafe fn dissolve(&mut self, pointer: EntryPtr) -> OwnedEntry {
        // SAFETY: the entry is freed below, and its large value not looked at before.
        let external = self.uncounted(unsafe { pointer.take_external() });
        // SAFETY: the entry is valid until freed below.
        let owned = OwnedEntry::of(unsafe { pointer.entry() }, external);
        // SAFETY: as the caller says; the large value was taken out.
        unsafe { self.free_block(pointer) };
        owned
    }

    /// A large value that was taken out of its entry is not counted any more.
    fn uncounted(&mut self, external: Option<External>) -> Option<External> {
        self.recount_blob(external.as_ref().map_or(0, External::allocated), 0);
        external
    }

    /// Moves an entry to a block of its size after `adjust` has changed its parts, and frees the old one.
    ///
    /// # Safety
    /// - `pointer` leads to an entry of this heap that nobody has a reference to, nor uses after.
    pub(super) unsafe fn rebuild(
        &mut self,
        pointer: EntryPtr,
        adjust: impl FnOnce(&mut Parts<'_>),
    ) -> EntryPtr {
        // SAFETY: the entry is freed below, and its large value not looked at before.
        let external = self.uncounted(unsafe { pointer.take_external() });
        // SAFETY: the entry is valid until freed below.
        let entry = unsafe { pointer.entry() };
        let value = match external {
            Some(external) => Value::External(external),
            None if entry.encoding() == Encoding::Int => match entry.string() {
                Str::Int(value) => Value::Int(value),
                Str::Bytes(_) => unreachable!("the encoding says that it is an integer"),
            },
            None => Value::Inline(entry.inline_value()),
        };
        let mut parts = Parts {
            ty: entry.ty(),
            encoding: entry.encoding(),
            clock: entry.clock(),
            deadline: entry.deadline(),
            key: entry.key(),
            value,
        };
        adjust(&mut parts);
        let created = self.create(parts, 0);
        // SAFETY: as the caller says; the large value was taken out.
        unsafe { self.free_block(pointer) };
        created
    }
}
