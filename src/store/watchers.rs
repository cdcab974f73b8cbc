//! Who watches which keys of a shard (WATCH).
//!
//! Design: a client's watch is one flag that all the keys it watches share. It is registered in the shard of each key, under
//! that shard's lease; a change of the key raises it, and EXEC, which holds the leases of the watched keys too, looks at it.
//! A client that no longer watches ends its flag and leaves the registrations behind: it need not have the leases for
//! that. They are dropped when their key changes or their list is full, and by the shard's cron.
//!
//! Costs: nobody watching, one predictable branch for each change. Watching and forgetting a key is O(1) on average, however
//! many watch it; changing it looks at each of them.
//!
//! Not here: what EXEC makes of it (`worker::transaction`).

use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;

use super::DbIndex;
use super::hash::MapByHash;

/// One client's watch. Read and written under leases, but for `end`, which nobody needs to see at once.
#[derive(Debug, Default)]
pub struct WatchFlag(AtomicU8);

/// A registration is looked for only among so many.
const SEARCHED_MAX: usize = 64;

const TOUCHED: u8 = 1;
const ENDED: u8 = 2;

impl WatchFlag {
    /// A watched key has changed.
    pub fn touch(&self) {
        self.0.fetch_or(TOUCHED, Relaxed);
    }

    /// Whether a watched key has changed.
    pub fn is_touched(&self) -> bool {
        self.0.load(Relaxed) & TOUCHED != 0
    }

    /// The client watches nothing any more.
    pub fn end(&self) {
        self.0.fetch_or(ENDED, Relaxed);
    }

    /// Whether nobody needs to hear of changes: there has been one, or the watch has ended.
    fn is_settled(&self) -> bool {
        self.0.load(Relaxed) != 0
    }
}

/// The watches of one shard, by the hash of the key.
#[derive(Default)]
pub(super) struct Watchers {
    by_hash: MapByHash<Vec<Watcher>>,
}

struct Watcher {
    db: DbIndex,
    key: Box<[u8]>,
    flag: Arc<WatchFlag>,
}

impl Watchers {
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    pub fn add(&mut self, db: DbIndex, hash: u64, key: &[u8], flag: &Arc<WatchFlag>) {
        let watchers = self.by_hash.entry(hash).or_default();
        // Only when there is no room, of which there is then as much again: not all are looked at each time.
        if watchers.len() == watchers.capacity() {
            watchers.retain(|watcher| !watcher.flag.is_settled());
            watchers.reserve(watchers.len().max(1));
        }
        watchers.push(Watcher { db, key: key.into(), flag: Arc::clone(flag) });
    }

    /// Drops a registration that is ended; where very many clients watch the key it is left behind instead.
    pub fn remove(&mut self, hash: u64, flag: &Arc<WatchFlag>) {
        if self.by_hash.get(&hash).is_some_and(|watchers| watchers.len() <= SEARCHED_MAX) {
            self.retain(hash, |watcher| !Arc::ptr_eq(&watcher.flag, flag));
        }
    }

    /// A key has changed.
    #[cold]
    pub fn touch(&mut self, db: DbIndex, hash: u64, key: &[u8]) {
        self.retain(hash, |watcher| {
            if watcher.db == db && *watcher.key == *key {
                watcher.flag.touch();
            }
            !watcher.flag.is_settled()
        });
    }

    /// Raises the flags of all keys for which `changed` holds.
    #[cold]
    pub fn touch_where(&mut self, mut changed: impl FnMut(DbIndex, u64, &[u8]) -> bool) {
        for (hash, watchers) in &self.by_hash {
            for watcher in watchers.iter().filter(|watcher| changed(watcher.db, *hash, &watcher.key)) {
                watcher.flag.touch();
            }
        }
        self.sweep();
    }

    /// Drops the registrations that nobody needs any more.
    pub fn sweep(&mut self) {
        self.by_hash.retain(|_, watchers| {
            watchers.retain(|watcher| !watcher.flag.is_settled());
            !watchers.is_empty()
        });
        if self.by_hash.is_empty() {
            self.by_hash = MapByHash::default();
        }
    }

    fn retain(&mut self, hash: u64, keep: impl FnMut(&Watcher) -> bool) {
        if let Some(watchers) = self.by_hash.get_mut(&hash) {
            watchers.retain(keep);
            if watchers.is_empty() {
                self.by_hash.remove(&hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_raises_the_flags_of_its_key_only() {
        let mut watchers = Watchers::default();
        let flags: [Arc<WatchFlag>; 4] = std::array::from_fn(|_| Arc::default());
        watchers.add(DbIndex(0), 7, b"a", &flags[0]);
        watchers.add(DbIndex(1), 7, b"a", &flags[1]);
        watchers.add(DbIndex(0), 7, b"b", &flags[2]);
        watchers.add(DbIndex(0), 8, b"a", &flags[3]);
        watchers.touch(DbIndex(0), 7, b"a");
        assert_eq!(flags.each_ref().map(|flag| flag.is_touched()), [true, false, false, false]);
        watchers.touch_where(|db, _, _| db == DbIndex(1));
        assert_eq!(flags.each_ref().map(|flag| flag.is_touched()), [true, true, false, false]);
        watchers.remove(7, &flags[2]);
        assert!(!watchers.is_empty());
        flags[3].end();
        watchers.sweep();
        assert!(watchers.is_empty());
    }

    #[test]
    fn what_is_left_behind_does_not_pile_up() {
        let mut watchers = Watchers::default();
        for _ in 0..1000 {
            let flag = Arc::new(WatchFlag::default());
            watchers.add(DbIndex(0), 1, b"key", &flag);
            flag.end();
        }
        assert!(watchers.by_hash[&1].len() <= 8);
    }
}
