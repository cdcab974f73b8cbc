//! The configuration that all workers share and CONFIG SET changes.
//!
//! Design: an `Arc<Config>` that is swapped whole, and a version that goes up with each swap. A worker keeps
//! its own `Arc` in a [`Reader`] and looks at the version once a turn, and once more when a group has its leases: one relaxed
//! load of a cache line that is almost never written.
//!
//! Invariants: the version a reader has seen belongs to its configuration or an older one, so a change is
//! never missed.
//!
//! Costs: reading is a load; a change is a lock among changers (CONFIG SET only), an allocation and a swap.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::table::Config;

/// The shared configuration.
pub struct Live {
    current: ArcSwap<Config>,
    version: AtomicU64,
    /// Held while a change is made, so that none is lost. Readers never take it.
    changing: Mutex<()>,
}

impl Live {
    /// Shares `config`.
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self {
            current: ArcSwap::from_pointee(config),
            version: AtomicU64::new(0),
            changing: Mutex::new(()),
        })
    }

    /// The configuration as it is now.
    pub fn load(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// Goes up by one with each change.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Relaxed)
    }

    /// Replaces the configuration by what `change` makes of it, unless `change` fails.
    ///
    /// # Errors
    /// Whatever `change` says; the configuration is then as before.
    pub fn update<E>(&self, change: impl FnOnce(&Config) -> Result<Config, E>) -> Result<Arc<Config>, E> {
        // The lock guards no data, so a panic while it was held left nothing broken.
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = Arc::new(change(&self.current.load())?);
        self.current.store(Arc::clone(&changed));
        // After the swap: whoever sees the new version finds the new configuration or a newer one.
        self.version.fetch_add(1, Ordering::Release);
        Ok(changed)
    }

    /// Something else that is looked at whenever the configuration has changed was changed.
    pub fn announce(&self) {
        self.version.fetch_add(1, Ordering::Release);
    }

    /// A reader's own view, for one thread.
    pub fn reader(self: &Arc<Self>) -> Reader {
        let version = self.version.load(Ordering::Acquire);
        Reader { live: Arc::clone(self), config: self.load(), version }
    }
}

/// One thread's view of the configuration.
pub struct Reader {
    live: Arc<Live>,
    config: Arc<Config>,
    version: u64,
}

impl Reader {
    /// The configuration as of the last [`Reader::refresh`].
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The configuration as of the last refresh, to keep.
    pub fn config_arc(&self) -> &Arc<Config> {
        &self.config
    }

    /// What is shared.
    pub fn live(&self) -> &Arc<Live> {
        &self.live
    }

    /// Whether there is a newer configuration.
    #[inline]
    pub fn is_stale(&self) -> bool {
        self.live.version() != self.version
    }

    /// Takes a newer configuration if there is one, and says whether there was. Call it once a turn.
    pub fn refresh(&mut self) -> bool {
        if !self.is_stale() {
            return false;
        }
        self.version = self.live.version.load(Ordering::Acquire);
        self.config = self.live.load();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_sees_each_change_once() {
        let live = Live::new(Config::default());
        let mut reader = live.reader();
        assert!(!reader.refresh());
        let changed = live.update(|config| Ok::<_, ()>(Config { port: 7, ..config.clone() }));
        assert_eq!(changed.map(|config| config.port), Ok(7));
        assert_ne!(reader.config().port, 7);
        assert!(reader.refresh());
        assert_eq!(reader.config().port, 7);
        assert!(!reader.refresh());
    }

    #[test]
    fn a_failed_change_changes_nothing() {
        let live = Live::new(Config::default());
        let before = live.version();
        assert_eq!(live.update(|_| Err("no")).err(), Some("no"));
        assert_eq!(live.version(), before);
    }

    #[test]
    fn changes_by_many_threads_are_all_kept() {
        let live = Live::new(Config { timeout: 0, ..Config::default() });
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let more = |old: &Config| Config { timeout: old.timeout + 1, ..old.clone() };
                        live.update(|old| Ok::<_, ()>(more(old))).expect("the change cannot fail");
                    }
                });
            }
        });
        assert_eq!(live.load().timeout, 400);
        assert_eq!(live.version(), 400);
    }
}
