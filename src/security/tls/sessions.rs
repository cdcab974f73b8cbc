//! TLS sessions that clients may resume: so many, and each for so long.
//!
//! Design: `rustls`'s own cache with the time before each session. Sessions are kept here rather than in tickets, so that a
//! stolen key opens none, and so that what was agreed under old settings ends with them.

use std::sync::Arc;

use rustls::pki_types::UnixTime;
use rustls::server::{ServerSessionMemoryCache, StoresServerSessions};

/// For 0, which is Redis's word for no limit.
const SESSIONS_MAX: usize = 1 << 20;
const TIME_BYTES: usize = size_of::<u64>();

#[derive(Debug)]
pub(super) struct Sessions {
    cache: Arc<ServerSessionMemoryCache>,
    timeout_s: u64,
}

impl Sessions {
    /// A cache of `count` sessions, each of which is good for `timeout_s`.
    pub(super) fn new(count: usize, timeout_s: u64) -> Arc<Sessions> {
        let count = if count == 0 { SESSIONS_MAX } else { count };
        Arc::new(Sessions { cache: ServerSessionMemoryCache::new(count), timeout_s })
    }

    fn fresh(&self, kept: Option<Vec<u8>>, now_s: u64) -> Option<Vec<u8>> {
        let mut kept = kept?;
        let kept_s = u64::from_be_bytes(*kept.first_chunk::<TIME_BYTES>()?);
        if now_s.saturating_sub(kept_s) > self.timeout_s {
            return None;
        }
        kept.drain(..TIME_BYTES);
        Some(kept)
    }
}

impl StoresServerSessions for Sessions {
    fn put(&self, key: Vec<u8>, value: Vec<u8>) -> bool {
        let mut kept = UnixTime::now().as_secs().to_be_bytes().to_vec();
        kept.extend_from_slice(&value);
        self.cache.put(key, kept)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.cache.get(key), UnixTime::now().as_secs())
    }

    fn take(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.fresh(self.cache.take(key), UnixTime::now().as_secs())
    }

    fn can_cache(&self) -> bool {
        self.cache.can_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_is_resumed_once_and_in_time() {
        let sessions = Sessions::new(10, 300);
        assert!(sessions.put(b"key".to_vec(), b"value".to_vec()));
        assert_eq!(sessions.get(b"key"), Some(b"value".to_vec()));
        let kept = sessions.cache.get(b"key");
        let now_s = UnixTime::now().as_secs();
        assert!(sessions.fresh(kept.clone(), now_s + 299).is_some());
        assert!(sessions.fresh(kept, now_s + 302).is_none());
        assert_eq!(sessions.take(b"key"), Some(b"value".to_vec()));
        assert_eq!(sessions.take(b"key"), None);
        assert_eq!(sessions.get(b"other"), None);
    }
}
