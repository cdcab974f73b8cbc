//! What commands changed in a shard, for whoever wants to know: watchers, notifications, log, replication.
//!
//! Design: the guard over a key notes its change when it is dropped, so that no command can forget it. Nothing is kept
//! unless somebody listens. The listener drains after each command, which bounds the list by one command's keys.
//!
//! Costs: nobody listening, one predictable branch (`shard`); else one push, keys back to back in one buffer.
//!
//! Not here: clients that wait for a key (`waiters`).

use super::DbIndex;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// Its value was created, replaced or modified.
    Set,
    /// It was removed by a command.
    Removed,
    /// It was removed because its deadline had come.
    Expired,
    /// It was removed because memory was short.
    Evicted,
    /// Only its deadline changed.
    Deadline,
}

/// One key's change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// What happened.
    pub kind: ChangeKind,
    /// The database.
    pub db: DbIndex,
    /// The key's hash.
    pub hash: u64,
    /// The key.
    pub key: &'a [u8],
}

/// The changes since the last `drain`.
#[derive(Default)]
pub struct Changes {
    recording: bool,
    records: Vec<Record>,
    keys: Vec<u8>,
}

struct Record {
    kind: ChangeKind,
    db: DbIndex,
    hash: u64,
    key_end: usize,
}

impl Changes {
    /// Nothing recorded, nobody listening.
    pub const fn new() -> Changes {
        Changes { recording: false, records: Vec::new(), keys: Vec::new() }
    }

    pub(super) fn set_recording(&mut self, on: bool) {
        self.recording = on;
    }

    /// Whether nothing has been recorded.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Hands out the changes in the order in which they happened, and forgets them.
    pub fn drain(&mut self, mut f: impl FnMut(Change<'_>)) {
        let mut key_start = 0;
        for Record { kind, db, hash, key_end } in self.records.drain(..) {
            f(Change { kind, db, hash, key: &self.keys[key_start..key_end] });
            key_start = key_end;
        }
        self.keys.clear();
    }

    #[inline]
    pub(super) fn note(&mut self, kind: ChangeKind, db: DbIndex, hash: u64, key: &[u8]) {
        if self.recording {
            self.keys.extend_from_slice(key);
            self.records.push(Record { kind, db, hash, key_end: self.keys.len() });
        }
    }
}
