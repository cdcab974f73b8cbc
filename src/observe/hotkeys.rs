//! Which keys took most of the time and of the network, from HOTKEYS START to STOP.
//!
//! Design: until when is one number, at which each worker looks once a turn. Until then each command is timed by itself, and what
//! it took is added to its keys in the worker's own tables, in equal parts. These are behind a lock that a worker only tries: who
//! shows them holds it for a moment, and what runs then is not counted. They are merged when they are shown.
//!
//! A command that has waited, and what a script calls, count for nothing; the script itself counts for the keys that it was given.
//!
//! Invariants: memory is bounded: some hundred keys for each metric and worker, none of them long.
//! Costs: while nothing is tracked, one relaxed load per turn, and a branch that is never taken per command.
//! Not here: measuring (`worker::hotkeys`), the command (`command::server`).

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::heaviest::Heaviest;
use crate::store::DbIndex;

/// Keys that a worker keeps of each metric: some times as many as are shown.
const KEYS_MAX: usize = 256;

/// What is to be tracked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HotkeysSettings {
    /// The time that keys take.
    pub cpu: bool,
    /// The bytes that go over the network for them.
    pub net: bool,
    /// How many keys are shown.
    pub count: usize,
    /// One key in so many is counted.
    pub sample_ratio: u64,
}

/// What the process has used since it began.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessUse {
    /// Time in its own code, ms.
    pub user_ms: u64,
    /// In the kernel, ms.
    pub system_ms: u64,
    /// Bytes received of clients and sent to them.
    pub net_bytes: u64,
}

impl ProcessUse {
    fn since(self, before: ProcessUse) -> ProcessUse {
        ProcessUse {
            user_ms: self.user_ms.saturating_sub(before.user_ms),
            system_ms: self.system_ms.saturating_sub(before.system_ms),
            net_bytes: self.net_bytes.saturating_sub(before.net_bytes),
        }
    }
}

/// One time of tracking.
#[derive(Clone, Copy, Debug)]
struct Tracking {
    settings: HotkeysSettings,
    start_ms: u64,
    used_before: ProcessUse,
    /// When it ended, and what was used by then.
    ended: Option<(u64, ProcessUse)>,
}

/// What one worker has found.
#[derive(Default)]
pub struct WorkerHotkeys {
    settings: HotkeysSettings,
    cpu: Heaviest<KEYS_MAX>,
    net: Heaviest<KEYS_MAX>,
    ns: u64,
    bytes: u64,
}

impl WorkerHotkeys {
    /// One key in so many is counted.
    pub fn sample_ratio(&self) -> u64 {
        self.settings.sample_ratio
    }

    /// A command has taken so long, and so many bytes.
    pub fn add_command(&mut self, ns: u64, bytes: u64) {
        self.ns += ns;
        self.bytes += bytes;
    }

    /// Of that this is one key's part.
    pub fn add_key(&mut self, db: DbIndex, hash: u64, key: &[u8], ns: u64, bytes: u64) {
        if self.settings.cpu {
            self.cpu.add(db, hash, key, ns);
        }
        if self.settings.net {
            self.net.add(db, hash, key, bytes);
        }
    }
}

/// What is shown.
pub struct HotkeysReport {
    /// Whether it goes on.
    pub is_active: bool,
    /// What was to be tracked.
    pub settings: HotkeysSettings,
    /// When it began, Unix time in ms.
    pub start_ms: u64,
    /// How long it has taken, ms.
    pub duration_ms: u64,
    /// What the process has used meanwhile.
    pub used: ProcessUse,
    /// Time of all commands, ns.
    pub ns: u64,
    /// Bytes of all commands.
    pub bytes: u64,
    /// The keys that took most time, and how much, ns.
    pub by_ns: Vec<(Vec<u8>, u64)>,
    /// The keys that took most bytes, and how many.
    pub by_bytes: Vec<(Vec<u8>, u64)>,
}

/// What all workers have found.
pub struct Hotkeys {
    /// Unix time in ms; 0 where nothing is tracked.
    until_ms: AtomicU64,
    tracking: Mutex<Option<Tracking>>,
    workers: Box<[Mutex<WorkerHotkeys>]>,
}

impl Hotkeys {
    /// For so many workers.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| Mutex::default()).collect();
        Self { until_ms: AtomicU64::new(0), tracking: Mutex::new(None), workers }
    }

    /// Whether commands are to be measured.
    #[inline]
    pub fn is_on(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms.load(Relaxed)
    }

    /// Begins, until then if that is given; false where it goes on already.
    pub fn start(
        &self,
        settings: HotkeysSettings,
        now_ms: u64,
        until_ms: Option<u64>,
        used: ProcessUse,
    ) -> bool {
        let mut tracking = lock(&self.tracking);
        if self.is_on(now_ms) {
            return false;
        }
        for found in &self.workers {
            *lock(found) = WorkerHotkeys { settings, ..WorkerHotkeys::default() };
        }
        *tracking = Some(Tracking { settings, start_ms: now_ms, used_before: used, ended: None });
        self.until_ms.store(until_ms.unwrap_or(u64::MAX), Relaxed);
        true
    }

    /// Ends, and keeps what was found; false where nothing goes on.
    pub fn stop(&self, now_ms: u64, used: impl FnOnce() -> ProcessUse) -> bool {
        let mut tracking = lock(&self.tracking);
        let goes_on = tracking.as_ref().is_some_and(|tracking| tracking.ended.is_none());
        if let Some(tracking) = tracking.as_mut().filter(|_| goes_on) {
            tracking.ended = Some((now_ms.min(self.until_ms.load(Relaxed)), used()));
            self.until_ms.store(0, Relaxed);
        }
        goes_on
    }

    /// Ends if its time is over, which is looked at now and then.
    pub fn stop_when_over(&self, now_ms: u64, used: impl FnOnce() -> ProcessUse) {
        if (1..=now_ms).contains(&self.until_ms.load(Relaxed)) {
            self.stop(now_ms, used);
        }
    }

    /// Forgets what was found; false while it goes on.
    pub fn reset(&self, now_ms: u64) -> bool {
        let mut tracking = lock(&self.tracking);
        if self.is_on(now_ms) {
            return false;
        }
        *tracking = None;
        self.workers.iter().for_each(|found| *lock(found) = WorkerHotkeys::default());
        true
    }

    /// What a worker has found, for that worker to add to; none while it is being shown.
    pub fn of(&self, worker: usize) -> Option<MutexGuard<'_, WorkerHotkeys>> {
        self.workers[worker].try_lock().ok()
    }

    /// What was found, if anything was looked for.
    pub fn report(&self, now_ms: u64, used: impl FnOnce() -> ProcessUse) -> Option<HotkeysReport> {
        let tracking = (*lock(&self.tracking))?;
        let is_active = self.is_on(now_ms);
        let (end_ms, used) = tracking.ended.unwrap_or_else(|| (now_ms, used()));
        let (mut ns, mut bytes, mut by_ns, mut by_bytes) = (0, 0, Vec::new(), Vec::new());
        for found in &self.workers {
            let found = lock(found);
            (ns, bytes) = (ns + found.ns, bytes + found.bytes);
            merge(&mut by_ns, &found.cpu);
            merge(&mut by_bytes, &found.net);
        }
        let heaviest = |mut found: Vec<(Vec<u8>, u64)>| {
            found.retain(|(_, weight)| *weight > 0);
            found.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            found.truncate(tracking.settings.count);
            found
        };
        Some(HotkeysReport {
            is_active,
            settings: tracking.settings,
            start_ms: tracking.start_ms,
            duration_ms: end_ms.saturating_sub(tracking.start_ms),
            used: used.since(tracking.used_before),
            ns,
            bytes,
            by_ns: heaviest(by_ns),
            by_bytes: heaviest(by_bytes),
        })
    }
}

/// Adds what a worker has found; a key may be hot on several, and in several databases.
fn merge(all: &mut Vec<(Vec<u8>, u64)>, found: &Heaviest<KEYS_MAX>) {
    for (_, key, weight) in found.iter() {
        match all.iter_mut().find(|(known, _)| *known == key) {
            Some((_, sum)) => *sum += weight,
            None => all.push((key.to_vec(), weight)),
        }
    }
}

/// A panic while it was held would have ended the process.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: HotkeysSettings = HotkeysSettings { cpu: true, net: false, count: 2, sample_ratio: 1 };

    fn used(net_bytes: u64) -> ProcessUse {
        ProcessUse { net_bytes, ..ProcessUse::default() }
    }

    #[test]
    fn workers_findings_are_merged() {
        let hotkeys = Hotkeys::new(2);
        assert!(hotkeys.report(10, || used(0)).is_none() && !hotkeys.stop(10, || used(0)));
        assert!(hotkeys.start(SETTINGS, 10, None, used(5)));
        assert!(!hotkeys.start(SETTINGS, 10, None, used(5)) && !hotkeys.reset(11));
        for (worker, key, ns) in [(0, "a", 100), (0, "b", 90), (1, "b", 90), (1, "c", 50)] {
            let mut found = hotkeys.of(worker).expect("nobody has it");
            found.add_command(ns, 7);
            found.add_key(DbIndex(0), u64::from(key.as_bytes()[0]), key.as_bytes(), ns, 7);
        }
        let report = hotkeys.report(30, || used(25)).expect("it goes on");
        assert_eq!((report.is_active, report.ns, report.bytes, report.duration_ms), (true, 330, 28, 20));
        assert_eq!(report.by_ns, [(b"b".to_vec(), 180), (b"a".to_vec(), 100)]);
        assert!(report.by_bytes.is_empty() && report.used.net_bytes == 20);
        assert!(hotkeys.stop(40, || used(35)) && !hotkeys.stop(41, || used(0)));
        let report = hotkeys.report(100, || used(95)).expect("it is kept");
        assert_eq!((report.is_active, report.duration_ms, report.used.net_bytes), (false, 30, 30));
        assert!(hotkeys.reset(100) && hotkeys.report(100, || used(0)).is_none());
    }

    #[test]
    fn it_ends_when_its_time_is_over() {
        let hotkeys = Hotkeys::new(1);
        assert!(hotkeys.start(SETTINGS, 10, Some(1010), used(0)));
        hotkeys.stop_when_over(1009, || used(1));
        assert!(hotkeys.is_on(1009) && !hotkeys.is_on(1010));
        hotkeys.stop_when_over(1100, || used(2));
        let report = hotkeys.report(5000, || used(3)).expect("it is kept");
        assert_eq!((report.is_active, report.duration_ms, report.used.net_bytes), (false, 1000, 2));
        assert!(hotkeys.start(SETTINGS, 6000, None, used(0)));
    }
}
