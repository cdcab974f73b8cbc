//! Large strings that COPY left shared: each gets memory of its own, in slices, before somebody writes to it.
//!
//! Design: COPY shares a large string, and the first write to either key needs bytes that nobody else sees. For 500 MB that was
//! half a second and more in one command, under the lease of its key's shard. So cron copies the bytes beforehand, a little
//! at a time. A write that comes earlier takes what has been copied and copies the rest: no more than Redis copies within COPY.
//! While a reply with the string is being sent, the string is shared likewise: there a write copies all of it, once, where
//! Redis copies it for each GET.
//!
//! Invariants: a copy begun holds the bytes that it copies, so that their address belongs to nobody else. The entry counts
//! the copy from the beginning (`Blob::allocated`), as it counts bytes that it shares.
//!
//! Costs: three words in the shard; the copied string's memory, which its owner was told it takes.
//!
//! Not here: how a string is changed (`key_mut`), when cron runs (`worker::cron`).

use bytes::{Bytes, BytesMut};

use super::DbIndex;
use super::key_mut::{KeyMut, blob};
use super::shard::Shard;
use super::value::{Blob, External};

/// Shorter strings are copied by whoever writes to them first.
const UNSHARED_BYTES_MIN: usize = 1 << 20;
/// Bytes that take about as long to copy as an entry takes to be looked at, page faults included.
const BYTES_PER_ENTRY: usize = 4096;

/// The strings of a shard that are being copied.
#[derive(Default)]
pub(super) struct Unsharing(Vec<Started>);

/// A copy that has begun.
struct Started {
    db: DbIndex,
    hash: u64,
    key: Box<[u8]>,
    /// What the key held when the copy began.
    shared: Bytes,
    /// As much of it as has been copied.
    copy: BytesMut,
}

impl Started {
    /// Whether this is still what the key holds.
    fn is_of(&self, blob: &Blob) -> bool {
        self.shared.as_ptr() == blob.bytes.as_ptr() && self.shared.len() == blob.bytes.len()
    }
}

impl Unsharing {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the copy that has begun of a key's string out, if there is one.
    #[cold]
    fn take(&mut self, db: DbIndex, hash: u64, key: &[u8]) -> Option<Started> {
        let is_it = |one: &Started| one.hash == hash && one.db == db && *one.key == *key;
        let at = self.0.iter().position(is_it)?;
        Some(self.0.swap_remove(at))
    }
}

impl Shard {
    /// Has cron copy a key's string, if it is large and somebody else has it too.
    #[inline]
    pub(super) fn unshare_later(&mut self, db: DbIndex, hash: u64, key: &[u8], bytes: &Bytes) {
        if bytes.len() >= UNSHARED_BYTES_MIN && !bytes.is_unique() {
            self.begin_unsharing(db, hash, key, bytes);
        }
    }

    #[cold]
    fn begin_unsharing(&mut self, db: DbIndex, hash: u64, key: &[u8], bytes: &Bytes) {
        drop(self.unsharing.take(db, hash, key));
        let (key, shared) = (key.into(), bytes.clone());
        self.unsharing.0.push(Started { db, hash, key, shared, copy: BytesMut::new() });
    }

    /// What has been copied of a key's string by now, for whoever writes to it.
    #[inline]
    pub(super) fn take_unshared(&mut self, db: DbIndex, hash: u64, key: &[u8]) -> Option<BytesMut> {
        if self.unsharing.is_empty() {
            return None;
        }
        let started = self.unsharing.take(db, hash, key)?;
        match self.peek(db, hash, key)?.external() {
            Some(External::Blob(blob)) if started.is_of(blob) => Some(started.copy),
            _ => None,
        }
    }

    /// Copies as much as takes about as long as touching so many entries; true when there is nothing left to copy.
    pub(super) fn unshare(&mut self, budget_entries: usize) -> bool {
        if let Some(started) = self.unsharing.0.pop() {
            self.unshare_slice(started, budget_entries * BYTES_PER_ENTRY);
        }
        self.unsharing.is_empty()
    }

    /// Copies a part of a string, and gives the key the copy once it is whole.
    #[cold]
    fn unshare_slice(&mut self, mut started: Started, budget_bytes: usize) {
        let Some(Some(External::Blob(held))) =
            self.peek(started.db, started.hash, &started.key).map(|entry| entry.external())
        else {
            return;
        };
        if !started.is_of(held) {
            return;
        }
        // Held by nobody but the key any more, it needs no copy.
        started.shared = Bytes::new();
        if held.bytes.is_unique() {
            return;
        }
        started.shared = held.bytes.clone();
        let (Started { shared, copy, .. }, len) = (&mut started, held.bytes.len());
        if copy.is_empty() {
            copy.reserve(len);
        }
        let end = len.min(copy.len() + budget_bytes);
        copy.extend_from_slice(&shared[copy.len()..end]);
        if end < len {
            self.unsharing.0.push(started);
            return;
        }
        let Started { db, hash, key, copy, .. } = started;
        let found = self.db(db).and_then(|db| db.find(hash, &key));
        let mut guard = KeyMut::new(self, db, hash, &key, found, 0);
        guard.recode(|guard| guard.edit_external(|external| *external = External::Blob(blob(copy))));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::hash::KeyHasher;
    use crate::store::{Deadline, NewString, Str};

    const DB: DbIndex = DbIndex(0);
    const BYTES: usize = 3 * UNSHARED_BYTES_MIN;
    /// A slice of a third of a MiB.
    const BUDGET: usize = UNSHARED_BYTES_MIN / 3 / BYTES_PER_ENTRY;

    struct Copied {
        shard: Shard,
        hasher: KeyHasher,
        text: Vec<u8>,
    }

    /// A shard in which `copy` shares what `source` holds.
    fn copied() -> Copied {
        let hasher = KeyHasher::new(5);
        let text: Vec<u8> = (0..BYTES).map(|at| (at / 7) as u8).collect();
        let mut copied = Copied { shard: Shard::new(hasher.clone()), hasher, text: text.clone() };
        copied.key(b"source").set_string(NewString::Blob(text.into()), Deadline::None);
        let owned = copied.key(b"source").copy().expect("it is there");
        copied.key(b"copy").put(owned);
        copied
    }

    impl Copied {
        fn key<'a>(&'a mut self, key: &'a [u8]) -> KeyMut<'a> {
            self.shard.write(DB, self.hasher.hash(key), key, 0)
        }

        fn text(&self, key: &[u8]) -> &[u8] {
            match self.shard.peek(DB, self.hasher.hash(key), key).expect("it is there").string() {
                Str::Bytes(bytes) => bytes,
                Str::Int(_) => panic!("no number"),
            }
        }

        fn are_shared(&self) -> bool {
            self.text(b"source").as_ptr() == self.text(b"copy").as_ptr()
        }

        /// Slices of cron work until nothing is left to do.
        fn cron(&mut self) -> usize {
            let mut slices = 1;
            while !self.shard.cron(BUDGET) {
                slices += 1;
            }
            self.shard.check_invariants();
            slices
        }
    }

    /// The first write after COPY of 500 MB copied all of it in one command, however long after: 2.4 s.
    #[test]
    fn copied_string_has_memory_of_its_own_after_cron() {
        let mut copied = copied();
        assert!(copied.are_shared());
        let used = copied.shard.used_bytes();
        assert!((9..12).contains(&copied.cron()), "it is copied in slices");
        assert!(!copied.are_shared());
        assert_eq!(copied.text(b"copy"), copied.text);
        assert_eq!((copied.shard.used_bytes(), copied.shard.dirty()), (used, 2));
        // A write changes it where it is.
        for key in [b"copy".as_slice(), b"source"] {
            let before = copied.text(key).as_ptr();
            copied.key(key).set_range(0, b"written");
            assert_eq!(copied.text(key).as_ptr(), before);
        }
    }

    #[test]
    fn write_in_the_meantime_copies_the_rest() {
        for slices in [0, 1, 5] {
            let mut copied = copied();
            (0..slices).for_each(|_| assert!(!copied.shard.cron(BUDGET)));
            let begun = copied.shard.unsharing.0[0].copy.len();
            assert_eq!(begun, slices * BUDGET * BYTES_PER_ENTRY);
            assert_eq!(copied.key(b"copy").append(b"more"), BYTES + 4);
            assert_eq!(copied.text(b"copy"), [copied.text.as_slice(), b"more"].concat());
            assert_eq!(copied.text(b"source"), copied.text);
            assert!(copied.shard.unsharing.is_empty());
            assert_eq!(copied.cron(), 1);
        }
    }

    #[test]
    fn string_that_nobody_shares_any_more_is_not_copied() {
        let mut copied = copied();
        assert!(!copied.shard.cron(BUDGET));
        let before = copied.text(b"copy").as_ptr();
        assert!(copied.key(b"source").remove());
        assert_eq!(copied.cron(), 1);
        assert_eq!(copied.text(b"copy").as_ptr(), before);
    }

    #[test]
    fn key_that_is_changed_otherwise_keeps_its_new_value() {
        type Change = fn(&mut Copied);
        let changes: [Change; 4] = [
            |copied| assert!(copied.key(b"copy").remove()),
            |copied| copied.key(b"copy").set_string(NewString::Bytes(b"short"), Deadline::None),
            |copied| {
                let other = vec![7; BYTES].into();
                copied.key(b"copy").set_string(NewString::Blob(other), Deadline::None);
            },
            |copied| assert_eq!(copied.shard.flush_all().keys, 2),
        ];
        for change in changes {
            let mut copied = copied();
            assert!(!copied.shard.cron(BUDGET));
            change(&mut copied);
            let get = |copied: &Copied| {
                let entry = copied.shard.peek(DB, copied.hasher.hash(b"copy"), b"copy");
                entry.map(|entry| format!("{:?}", entry.string()))
            };
            let before = get(&copied);
            copied.cron();
            assert_eq!(get(&copied), before);
            assert!(copied.shard.unsharing.is_empty());
        }
    }
}
