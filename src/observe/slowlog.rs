//! The slow log: the commands that ran longer than a threshold, newest first, written by any worker without a lock.
//!
//! Design: a singly linked stack under an atomic pointer (Treiber), newest on top; readers walk a consistent suffix. The
//! length limit is kept by cutting the list below its newest entries each time a small share of the limit has been added,
//! so that a push costs one allocation and one compare-and-swap whatever the limit is.
//!
//! Costs: a reader sees at most `len_max` entries, as Redis does; at most an eighth more stay in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwapOption;

/// Arguments kept of one command, the last one being a note of how many more there were.
const ARGS_MAX: usize = 32;
/// Bytes kept of one argument.
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
pub struct SlowEntry {
    /// Ascending from 0.
    pub id: u64,
    /// When it ran, Unix time in seconds.
    pub time_s: u64,
    /// How long it ran, in us.
    pub duration_us: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// The client's address.
    pub address: String,
    /// The client's name.
    pub name: Vec<u8>,
    below: ArcSwapOption<SlowEntry>,
}

/// The slow log of the process.
#[derive(Default)]
pub struct SlowLog {
    top: ArcSwapOption<SlowEntry>,
    next_id: AtomicU64,
}

impl SlowLog {
    /// Adds a command; `args` are shortened as Redis does.
    pub fn push<'a>(
        &self,
        time_s: u64,
        duration_us: u64,
        args: impl ExactSizeIterator<Item = &'a [u8]>,
        address: &str,
        name: &[u8],
        len_max: usize,
    ) {
        if len_max == 0 {
            return;
        }
        let id = self.next_id.fetch_add(1, Relaxed);
        let (address, name) = (address.to_owned(), name.to_owned());
        let below = ArcSwapOption::empty();
        let entry = SlowEntry { id, time_s, duration_us, args: shorten(args), address, name, below };
        let entry = Arc::new(entry);
        self.top.rcu(|top| {
            entry.below.store(top.clone());
            Some(Arc::clone(&entry))
        });
        if id.is_multiple_of((len_max as u64 / 8).max(1)) {
            self.cut(len_max);
        }
    }

    /// The newest `count` entries of at most `len_max` kept.
    pub fn newest(&self, count: usize, len_max: usize) -> Vec<Arc<SlowEntry>> {
        let mut entries = Vec::new();
        let mut next = self.top.load_full();
        while let Some(entry) = next.filter(|_| entries.len() < count.min(len_max)) {
            next = entry.below.load_full();
            entries.push(entry);
        }
        entries
    }

    /// Forgets all entries.
    pub fn reset(&self) {
        free_from(self.top.swap(None));
    }

    fn cut(&self, len_max: usize) {
        if let Some(last) = self.newest(len_max, len_max).get(len_max - 1) {
            free_from(last.below.swap(None));
        }
    }
}

impl Drop for SlowLog {
    fn drop(&mut self) {
        self.reset();
    }
}

/// Frees a list one by one: dropping its head would recurse as deep as the list is long.
fn free_from(mut next: Option<Arc<SlowEntry>>) {
    while let Some(entry) = next.and_then(Arc::into_inner) {
        next = entry.below.swap(None);
    }
}

fn shorten<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let count = args.len();
    let kept = if count > ARGS_MAX { ARGS_MAX - 1 } else { count };
    let mut short: Vec<Vec<u8>> = args.take(kept).map(shorten_one).collect();
    if count > ARGS_MAX {
        short.push(format!("... ({} more arguments)", count - kept).into_bytes());
    }
    short
}

fn shorten_one(arg: &[u8]) -> Vec<u8> {
    let Some(kept) = arg.get(..ARG_BYTES_MAX).filter(|_| arg.len() > ARG_BYTES_MAX) else {
        return arg.to_vec();
    };
    let mut text = kept.to_vec();
    text.extend_from_slice(format!("... ({} more bytes)", arg.len() - ARG_BYTES_MAX).as_bytes());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(log: &SlowLog, args: &[&[u8]], len_max: usize) {
        log.push(1, 2, args.iter().copied(), "a", b"n", len_max);
    }

    #[test]
    fn keeps_the_newest() {
        let log = SlowLog::default();
        (0..1000).for_each(|_| push(&log, &[b"GET"], 100));
        let ids: Vec<_> = log.newest(usize::MAX, 100).iter().map(|entry| entry.id).collect();
        assert_eq!(ids, (900..1000).rev().collect::<Vec<_>>());
        let kept = log.newest(usize::MAX, usize::MAX).len();
        assert!(kept <= 113, "{kept}");
        log.reset();
        assert!(log.newest(10, 100).is_empty());
    }

    #[test]
    fn long_commands_are_shortened() {
        let log = SlowLog::default();
        let long = [b'x'; 200];
        push(&log, &[&long[..]; 40], 10);
        let entry = &log.newest(1, 10)[0];
        assert_eq!(entry.args.len(), 32);
        assert_eq!(entry.args[31], b"... (9 more arguments)");
        assert!(entry.args[0].ends_with(b"... (72 more bytes)"));
        assert_eq!(entry.args[0].len(), 128 + 19);
    }

    #[test]
    fn many_threads_push_and_cut() {
        let log = SlowLog::default();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..2000).for_each(|_| push(&log, &[b"SET"], 16)));
            }
        });
        assert_eq!(log.newest(usize::MAX, 16).len(), 16);
    }
}
