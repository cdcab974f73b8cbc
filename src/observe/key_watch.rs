//! The hottest and the biggest keys, by sampling, while somebody watches.
//!
//! Design: whoever watches says until when. Until then each worker looks, once a turn, at one command of its batch, drawn at random,
//! and counts its first key once for each command of the batch; and cron looks at a few entries of its home shards. A worker keeps
//! what it has found behind a lock that it only tries: who shows it holds it for a moment, and then that sample is lost.
//!
//! The hottest keys are found by Space-Saving (`heaviest`). Counts are halved every few seconds, so that what was hot cools down.
//!
//! Invariants: a key is counted once; of keys longer than [`KEY_BYTES_MAX`] nothing is kept.
//! Costs: while nobody watches, one relaxed load per turn.
//! Not here: looking (`worker::key_watch`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::heaviest::{Heaviest, KEY_BYTES_MAX};
use crate::store::DbIndex;

/// Counters of hot keys, each worker's.
const HOT_KEYS_MAX: usize = 128;
/// The biggest keys that a worker keeps.
const BIG_KEYS_MAX: usize = 32;
/// How long counts last until they are halved.
const HALF_LIFE_MS: u64 = 5000;

/// A key and what it takes.
#[derive(Clone, Debug)]
pub struct BigKey {
    /// Its database.
    pub db: DbIndex,
    /// Its hash.
    pub hash: u64,
    /// The key.
    pub key: Box<[u8]>,
    /// Bytes that it takes with its value.
    pub bytes: u64,
    /// What it holds.
    pub type_name: &'static str,
}

/// What one worker has found.
#[derive(Default)]
pub struct WorkerKeys {
    hot: Heaviest<HOT_KEYS_MAX>,
    /// Commands that stand behind all counts.
    commands: u64,
    halved_ms: u64,
    big: Vec<BigKey>,
    /// Entries looked at.
    entries: u64,
    /// The next of the biggest to be looked at again.
    next: usize,
}

impl WorkerKeys {
    /// A command has used this key, as `weight` commands may have.
    pub fn count(&mut self, db: DbIndex, hash: u64, key: &[u8], weight: u64, now_ms: u64) {
        if now_ms.saturating_sub(self.halved_ms) >= HALF_LIFE_MS {
            self.halved_ms = now_ms;
            self.cool();
        }
        self.commands += weight;
        self.hot.add(db, hash, key, weight);
    }

    fn cool(&mut self) {
        self.commands /= 2;
        self.hot.halve();
    }

    /// An entry was looked at.
    pub fn offer(&mut self, db: DbIndex, hash: u64, key: &[u8], bytes: u64, type_name: &'static str) {
        self.entries += 1;
        let is_full = self.big.len() == BIG_KEYS_MAX;
        if key.len() > KEY_BYTES_MAX || is_full && self.big.last().is_some_and(|least| least.bytes >= bytes) {
            return;
        }
        self.big.retain(|big| big.hash != hash || big.db != db);
        let place = self.big.partition_point(|big| big.bytes >= bytes);
        self.big.insert(place, BigKey { db, hash, key: key.into(), bytes, type_name });
        self.big.truncate(BIG_KEYS_MAX);
    }

    /// One of the biggest, each in its turn: it is taken out, to be looked at again, and offered if it is still there.
    pub fn take_next(&mut self) -> Option<BigKey> {
        if self.big.is_empty() {
            return None;
        }
        self.next = (self.next + 1) % self.big.len();
        // It will be offered once more, and is no further one.
        self.entries = self.entries.saturating_sub(1);
        Some(self.big.remove(self.next))
    }

    /// It could not be looked at.
    pub fn put_back(&mut self, big: &BigKey) {
        self.offer(big.db, big.hash, &big.key, big.bytes, big.type_name);
    }
}

/// What is shown.
#[derive(Default)]
pub struct KeyReport {
    /// Keys, and which share of all commands used them, the most used first.
    pub hot: Vec<(DbIndex, Box<[u8]>, f64)>,
    /// The biggest first.
    pub big: Vec<BigKey>,
    /// Entries looked at for these.
    pub entries: u64,
}

/// All workers' findings.
pub struct KeyWatch {
    until_ms: AtomicU64,
    workers: Box<[Mutex<WorkerKeys>]>,
}

impl KeyWatch {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| Mutex::default()).collect();
        Self { until_ms: AtomicU64::new(0), workers }
    }

    /// Somebody watches until then, Unix time in ms. What was found before a pause is forgotten.
    pub fn want(&self, now_ms: u64, until_ms: u64) {
        if !self.is_wanted(now_ms) {
            self.workers.iter().for_each(|keys| *lock(keys) = WorkerKeys::default());
        }
        self.until_ms.store(until_ms, Relaxed);
    }

    /// Whether anybody watches.
    #[inline]
    pub fn is_wanted(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms.load(Relaxed)
    }

    /// What a worker has found, for that worker to add to; none while it is being shown.
    pub fn of(&self, worker: usize) -> Option<MutexGuard<'_, WorkerKeys>> {
        self.workers[worker].try_lock().ok()
    }

    /// The first `count` of each kind.
    pub fn report(&self, count: usize) -> KeyReport {
        let (mut report, mut commands) = (KeyReport::default(), 0);
        let mut hot: Vec<(DbIndex, Box<[u8]>, u64)> = Vec::new();
        for keys in &self.workers {
            let keys = lock(keys);
            commands += keys.commands;
            report.entries += keys.entries;
            report.big.extend_from_slice(&keys.big);
            for (db, key, sure) in keys.hot.iter() {
                // The same key may be hot on several workers.
                match hot.iter_mut().find(|(known_db, known, _)| *known_db == db && **known == *key) {
                    Some((.., sum)) => *sum += sure,
                    None => hot.push((db, key.into(), sure)),
                }
            }
        }
        hot.sort_by_key(|(.., sure)| std::cmp::Reverse(*sure));
        let shares = hot.into_iter().filter(|(.., sure)| *sure > 0).take(count);
        report.hot = shares.map(|(db, key, sure)| (db, key, sure as f64 / commands.max(1) as f64)).collect();
        report.big.sort_by_key(|big| std::cmp::Reverse(big.bytes));
        report.big.truncate(count);
        report
    }
}

/// A panic while it was held would have ended the process.
fn lock(keys: &Mutex<WorkerKeys>) -> MutexGuard<'_, WorkerKeys> {
    keys.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DB: DbIndex = DbIndex(0);

    #[test]
    fn a_hot_key_is_found_among_many() {
        let watch = KeyWatch::new(2);
        watch.want(0, 1000);
        for round in 0..10_000u64 {
            for worker in 0..2 {
                let mut keys = watch.of(worker).expect("nobody has it");
                let (hash, key) =
                    if round % 10 == 0 { (7, "hot".to_owned()) } else { (round + 100, round.to_string()) };
                keys.count(DB, hash, key.as_bytes(), 16, 1);
            }
        }
        let report = watch.report(3);
        assert_eq!(&*report.hot[0].1, b"hot");
        assert!((0.08..=0.1).contains(&report.hot[0].2), "{}", report.hot[0].2);
        assert!(report.hot.len() == 1 || report.hot[1].2 < 0.01);
    }

    #[test]
    fn what_was_hot_cools_down() {
        let mut keys = WorkerKeys::default();
        keys.count(DB, 1, b"old", 100, HALF_LIFE_MS);
        for period in 2..20 {
            keys.count(DB, 2, b"new", 10, period * HALF_LIFE_MS);
        }
        let hot: Vec<_> = keys.hot.iter().map(|(_, key, _)| key.to_vec()).collect();
        assert_eq!(hot, [b"new"]);
    }

    #[test]
    fn the_biggest_are_kept_once_each() {
        let watch = KeyWatch::new(1);
        watch.want(0, 1000);
        let mut keys = watch.of(0).expect("nobody has it");
        for round in 0..3 {
            for number in 0..1000u64 {
                keys.offer(DB, number, &number.to_le_bytes(), number + round, "string");
            }
        }
        assert_eq!(keys.big.len(), BIG_KEYS_MAX);
        let entries = keys.entries;
        let gone = keys.take_next().expect("there are some");
        let still = keys.take_next().expect("there are some");
        keys.put_back(&still);
        assert_eq!(keys.entries, entries - 1);
        keys.offer(DB, 1, &[0; KEY_BYTES_MAX + 1], u64::MAX, "string");
        drop(keys);
        let big = watch.report(100).big;
        assert!(big.windows(2).all(|pair| pair[0].bytes >= pair[1].bytes) && big[0].bytes == 1001);
        assert!(big.len() == BIG_KEYS_MAX - 1 && big.iter().all(|one| one.hash != gone.hash));
        assert!(watch.is_wanted(999) && !watch.is_wanted(1000));
        watch.want(1000, 2000);
        assert!(watch.report(100).big.is_empty(), "what was found before is forgotten");
    }
}
