//! The scripts that EVAL and SCRIPT LOAD have brought, known to all workers.
//!
//! Design: every worker has compiled scripts of its own and finds most of them there; only for one that it has not met does it
//! look here, under a mutex. A script that came with EVAL goes when too many others have: the least recently used first.
//! When a script was used is a counter's value, which is drawn only if another script was used since; so one script that all
//! workers use again and again is written to by none.
//!
//! Invariants: what is gone says so itself, as workers still have it.
//! Not here: what a worker has compiled (`engine`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::shebang::ScriptFlags;

/// Scripts kept of those that EVAL has brought.
pub const EVALUATED_MAX: usize = 500;

/// A script's SHA1.
pub type Sha = [u8; 20];

/// Reads 40 hexadecimal digits.
pub fn parse_sha(text: &[u8]) -> Option<Sha> {
    if text.len() != 40 {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let mut sha = [0; 20];
    for (byte, pair) in sha.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(sha)
}

/// A script's SHA1 as text.
pub fn sha_text(sha: &Sha) -> String {
    use std::fmt::Write as _;
    sha.iter().fold(String::with_capacity(40), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes all");
        text
    })
}

/// A script.
pub struct Script {
    /// The SHA1 of its text.
    pub sha: Sha,
    /// The text.
    pub text: Box<[u8]>,
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// Where its code begins.
    pub code: usize,
    /// SCRIPT LOAD has brought it, so that it stays.
    is_loaded: AtomicBool,
    /// It is no longer among the scripts.
    is_gone: AtomicBool,
    /// When it was used last.
    used: AtomicU64,
}

impl Script {
    /// Whether it is no longer among the scripts.
    #[inline]
    pub fn is_gone(&self) -> bool {
        self.is_gone.load(Relaxed)
    }
}

#[derive(Default)]
struct All {
    by_sha: HashMap<Sha, Arc<Script>>,
    /// Those that EVAL has brought.
    evaluated: Vec<Arc<Script>>,
    bytes: usize,
}

/// All scripts.
#[derive(Default)]
pub struct ScriptCache {
    all: Mutex<All>,
    /// The value that `used` of the script has which was used last.
    clock: AtomicU64,
    /// How often all were forgotten.
    flushes: AtomicU64,
    evicted: AtomicU64,
}

/// What a script takes besides its text.
const SCRIPT_BYTES: usize = size_of::<Script>() + size_of::<(Sha, Arc<Script>)>() + 48;

impl ScriptCache {
    /// A script was used.
    #[inline]
    pub fn note_use(&self, script: &Script) {
        if script.is_loaded.load(Relaxed) {
            return;
        }
        if script.used.load(Relaxed) != self.clock.load(Relaxed) {
            script.used.store(self.clock.fetch_add(1, Relaxed) + 1, Relaxed);
        }
    }

    /// How often all were forgotten.
    #[inline]
    pub fn flushes(&self) -> u64 {
        self.flushes.load(Relaxed)
    }

    /// The script with this SHA1.
    pub fn find(&self, sha: &Sha) -> Option<Arc<Script>> {
        self.lock().by_sha.get(sha).cloned()
    }

    /// Marks a script as one that stays, if it is known.
    pub fn keep(&self, sha: &Sha) -> bool {
        let mut all = self.lock();
        let Some(script) = all.by_sha.get(sha).cloned() else { return false };
        if !script.is_loaded.swap(true, Relaxed) {
            all.evaluated.retain(|other| other.sha != *sha);
        }
        true
    }

    /// Adds a script, which compiles, unless it is there: the one that is.
    pub fn add(&self, script: &NewScript<'_>) -> Arc<Script> {
        let mut all = self.lock();
        if let Some(there) = all.by_sha.get(&script.sha).cloned() {
            if script.stays && !there.is_loaded.swap(true, Relaxed) {
                all.evaluated.retain(|other| other.sha != script.sha);
            }
            return there;
        }
        let added = Arc::new(Script {
            sha: script.sha,
            text: script.text.into(),
            flags: script.flags,
            code: script.code,
            is_loaded: AtomicBool::new(script.stays),
            is_gone: AtomicBool::new(false),
            used: AtomicU64::new(self.clock.fetch_add(1, Relaxed) + 1),
        });
        all.bytes += script.text.len() + SCRIPT_BYTES;
        all.by_sha.insert(script.sha, Arc::clone(&added));
        if !script.stays {
            if all.evaluated.len() >= EVALUATED_MAX {
                self.evict(&mut all);
            }
            all.evaluated.push(Arc::clone(&added));
        }
        added
    }

    fn evict(&self, all: &mut All) {
        let used = |(_, script): &(usize, &Arc<Script>)| script.used.load(Relaxed);
        let Some((place, _)) = all.evaluated.iter().enumerate().min_by_key(used) else { return };
        let script = all.evaluated.swap_remove(place);
        all.bytes -= script.text.len() + SCRIPT_BYTES;
        all.by_sha.remove(&script.sha);
        script.is_gone.store(true, Relaxed);
        self.evicted.fetch_add(1, Relaxed);
    }

    /// Forgets all.
    pub fn flush(&self) {
        let mut all = self.lock();
        for script in all.by_sha.values() {
            script.is_gone.store(true, Relaxed);
        }
        *all = All::default();
        self.flushes.fetch_add(1, Relaxed);
    }

    /// How many there are, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let all = self.lock();
        (all.by_sha.len(), all.bytes)
    }

    /// How many went because too many others had come.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A script that is to be added.
pub struct NewScript<'a> {
    /// The SHA1 of its text.
    pub sha: Sha,
    /// The text.
    pub text: &'a [u8],
    /// What it says of itself.
    pub flags: ScriptFlags,
    /// Where its code begins.
    pub code: usize,
    /// Whether it stays (SCRIPT LOAD).
    pub stays: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(cache: &ScriptCache, number: u32, stays: bool) -> Arc<Script> {
        let text = number.to_be_bytes();
        let mut sha = [0; 20];
        sha[..4].copy_from_slice(&text);
        cache.add(&NewScript { sha, text: &text, flags: ScriptFlags::default(), code: 0, stays })
    }

    #[test]
    fn least_recently_used_goes_first_and_what_was_loaded_stays() {
        let cache = ScriptCache::default();
        let loaded = add(&cache, 9999, true);
        let scripts: Vec<_> = (0..EVALUATED_MAX as u32).map(|number| add(&cache, number, false)).collect();
        cache.note_use(&scripts[0]);
        add(&cache, 5000, false);
        assert!(!scripts[0].is_gone() && scripts[1].is_gone() && !scripts[2].is_gone());
        assert!(cache.keep(&scripts[2].sha));
        add(&cache, 5001, false);
        add(&cache, 5002, false);
        assert!(!scripts[2].is_gone() && scripts[3].is_gone() && !loaded.is_gone());
        assert_eq!((cache.size().0, cache.evicted()), (EVALUATED_MAX + 2, 2));
        cache.flush();
        assert!(loaded.is_gone() && cache.size() == (0, 0) && cache.flushes() == 1);
    }

    #[test]
    fn sha_reads_as_it_is_written() {
        let sha = parse_sha(b"E0E1f9fabfc9d4800c877a703b823ac0578ff8db").expect("40 digits");
        assert_eq!(sha_text(&sha), "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
        assert!(parse_sha(b"e0").is_none() && parse_sha(&[b'x'; 40]).is_none());
    }
}
