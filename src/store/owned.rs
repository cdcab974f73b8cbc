//! An entry outside of any shard, without a key: what RENAME, MOVE and COPY carry from one key to another.
//!
//! Design: a block of a shard's slab cannot leave the shard, so small values are copied; large ones only change hands.
#![expect(unsafe_code, reason = "takes the values out of entries")]

use super::entry::{Blob, Encoding, Entry, EntryPtr, Parts, Str, Type, Value};
use super::heap::Heap;

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
    External(Blob),
}

impl OwnedEntry {
    pub(super) fn copy_of(entry: &Entry) -> OwnedEntry {
        let value = match (entry.external(), entry.string()) {
            (Some(blob), _) => OwnedValue::External(blob.clone()),
            (None, Str::Int(value)) => OwnedValue::Int(value),
            (None, Str::Bytes(bytes)) => OwnedValue::Inline(bytes.into()),
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
        // SAFETY: the entry is valid until freed below.
        let owned = OwnedEntry::copy_of(unsafe { pointer.entry() });
        // The copy shares a large value, so that dropping the original frees nothing but the count.
        // SAFETY: as the caller says.
        unsafe { self.destroy(pointer) };
        owned
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
        // SAFETY: the entry is valid until freed below.
        let entry = unsafe { pointer.entry() };
        let value = match (entry.external(), entry.string()) {
            (Some(blob), _) => Value::External(blob.clone()),
            (None, Str::Int(value)) => Value::Int(value),
            (None, Str::Bytes(bytes)) => Value::Inline(bytes),
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
        // SAFETY: as the caller says.
        unsafe { self.destroy(pointer) };
        created
    }
}
