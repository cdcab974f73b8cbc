//! A block of entries on their way to the snapshot's thread.
//!
//! ```text
//! | db << 32 | words | entry, as it lay in its shard, padded to 8 | db << 32 | words | entry ...
//! ```
//!
//! Design: copying an entry is copying its bytes. What is outside of it the copy owns: a reference to what it shares with the entry.
//!
//! Invariants: each record holds a whole entry that `Parts::write` wrote, aligned to 8, with an `External` of its own if it has one;
//! `words` counts the record with its first word.
#![expect(unsafe_code, reason = "copies entries as they lie in memory")]

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::super::DbIndex;
use super::super::entry::{Entry, EntryPtr};
use super::super::value::External;

const WORD_BYTES: usize = size_of::<u64>();

/// Entries that were handed over.
#[derive(Default)]
pub struct Block {
    /// Not `u64`: values have padding, and pointers in them are more than numbers.
    words: Vec<MaybeUninit<u64>>,
    /// What the large values weigh that will be held for the snapshot alone.
    external_bytes: u64,
    lent_count: u64,
}

// SAFETY: the block owns its bytes; what its entries share with those of shards is only read, by both (`External::Shared`), and
// freed by whoever has it last, which any thread may.
unsafe impl Send for Block {}

impl Block {
    /// What it holds.
    pub fn bytes(&self) -> u64 {
        (self.words.len() * WORD_BYTES) as u64 + self.external_bytes
    }

    /// How many of its large values are such that writers wait for them.
    pub(super) fn lent_count(&self) -> u64 {
        self.lent_count
    }

    /// Adds a copy of an entry, with this in the place of its large value: there is one if the entry has one.
    pub(super) fn push(&mut self, db: DbIndex, entry: Entry<'_>, external: Option<External>) {
        let bytes = entry.as_bytes();
        let words = 1 + bytes.len().div_ceil(WORD_BYTES);
        let start = self.words.len();
        self.words.reserve(words);
        self.words.push(MaybeUninit::new(u64::from(db.0) << 32 | words as u64));
        self.words.resize(start + words, MaybeUninit::new(0));
        let copy = self.pointer(start);
        // SAFETY: the record has as many bytes and more behind its first word, and the entry lies elsewhere.
        unsafe { copy.block().as_ptr().copy_from_nonoverlapping(bytes.as_ptr().cast(), bytes.len()) };
        assert!(entry.external().is_some() == external.is_some(), "the copy has one in its place");
        if let Some(external) = external {
            // SAFETY: the copy is an entry with a large value, which is not the copy's own: it is overwritten, not dropped.
            unsafe { copy.replace_external(external) };
        }
    }

    /// Notes what a large value in it weighs, and whether writers wait for that.
    pub(super) fn note_external(&mut self, bytes: u64, is_lent: bool) {
        self.external_bytes += bytes;
        self.lent_count += u64::from(is_lent);
    }

    /// Calls back for each entry, with the number that its database had at the cut.
    pub fn for_each(&self, mut f: impl FnMut(DbIndex, Entry<'_>)) {
        let mut at = 0;
        while at < self.words.len() {
            let (db, words) = self.record(at);
            // SAFETY: a record holds an entry, which stays as it is while the block is borrowed.
            f(db, unsafe { self.pointer(at).entry() });
            at += words;
        }
    }

    /// The database and the words of a record.
    fn record(&self, at: usize) -> (DbIndex, usize) {
        // SAFETY: the first word of a record is written as a number.
        let head = unsafe { self.words[at].assume_init() };
        (DbIndex((head >> 32) as u32), head as u32 as usize)
    }

    /// The entry of a record.
    fn pointer(&self, at: usize) -> EntryPtr {
        assert!(at + 1 < self.words.len(), "a record has an entry");
        // No reference to the words: entries are reached through the memory's own pointer.
        // SAFETY: inside the memory, as asserted.
        let entry = unsafe { self.words.as_ptr().add(at + 1) };
        let entry = NonNull::new(entry.cast_mut().cast()).expect("memory is somewhere");
        // SAFETY: callers read an entry there only once it is written.
        unsafe { EntryPtr::new(entry) }
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let mut at = 0;
        while at < self.words.len() {
            // SAFETY: each entry of the block is valid, and nobody looks at it after this.
            drop(unsafe { self.pointer(at).take_external() });
            at += self.record(at).1;
        }
    }
}
