//! Which clients have read which keys of a shard and are to be told when these change (CLIENT TRACKING).
//!
//! Design: as Redis does, a key's name is what counts, in whatever database. Who reads a key enters itself under the shard's lease; a
//! change takes all of them out and tells them. A client that is gone, or that tracks no more, is left behind until then.
//!
//! Costs: a lookup by a hash that is known for each key read; a key that was not tracked is copied.
//! Not here: who is told how (`worker::tracking`), the limit (`command::tracking`).

use super::hash::MapByHash;

/// A client as whoever tells it finds it; the store only keeps it.
pub type Tracker = u64;

/// Tracked keys of one shard, by the hash of the key.
#[derive(Default)]
pub struct Trackers {
    by_hash: MapByHash<Vec<Tracked>>,
}

struct Tracked {
    key: Box<[u8]>,
    clients: Vec<Tracker>,
}

/// How many keys and items more a table has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grown {
    /// Keys.
    pub keys: u64,
    /// Pairs of a key and a client.
    pub items: u64,
}

impl Trackers {
    /// A client has read a key.
    pub fn add(&mut self, hash: u64, key: &[u8], client: Tracker) -> Grown {
        let all = self.by_hash.entry(hash).or_default();
        match all.iter_mut().find(|tracked| *tracked.key == *key) {
            Some(tracked) if tracked.clients.contains(&client) => Grown::default(),
            Some(tracked) => {
                tracked.clients.push(client);
                Grown { keys: 0, items: 1 }
            }
            None => {
                all.push(Tracked { key: key.into(), clients: vec![client] });
                Grown { keys: 1, items: 1 }
            }
        }
    }

    /// A key has changed: those who have read it. It is tracked no more.
    pub fn take(&mut self, hash: u64, key: &[u8]) -> Vec<Tracker> {
        let Some(all) = self.by_hash.get_mut(&hash) else { return Vec::new() };
        let Some(place) = all.iter().position(|tracked| *tracked.key == *key) else { return Vec::new() };
        let Tracked { clients, .. } = all.swap_remove(place);
        if all.is_empty() {
            self.by_hash.remove(&hash);
        }
        clients
    }

    /// Any key, which is tracked no more, with those who have read it.
    pub fn take_any(&mut self) -> Option<(Box<[u8]>, Vec<Tracker>)> {
        let hash = *self.by_hash.keys().next()?;
        let all = self.by_hash.get_mut(&hash).expect("just seen");
        let tracked = all.pop().expect("a list has at least one");
        if all.is_empty() {
            self.by_hash.remove(&hash);
        }
        Some((tracked.key, tracked.clients))
    }

    /// Whether no key is tracked.
    pub fn is_empty(&self) -> bool {
        self.by_hash.is_empty()
    }

    /// Forgets all keys; how many that were.
    pub fn clear(&mut self) -> Grown {
        let all = std::mem::take(&mut self.by_hash);
        let keys = all.values().map(Vec::len).sum::<usize>() as u64;
        let items = all.values().flatten().map(|tracked| tracked.clients.len()).sum::<usize>() as u64;
        Grown { keys, items }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn changed_key_names_its_readers_once() {
        let mut trackers = Trackers::default();
        assert_eq!(trackers.add(1, b"a", 7), Grown { keys: 1, items: 1 });
        assert_eq!(trackers.add(1, b"a", 7), Grown::default());
        assert_eq!(trackers.add(1, b"a", 8), Grown { keys: 0, items: 1 });
        assert_eq!(trackers.add(1, b"b", 8), Grown { keys: 1, items: 1 });
        assert_eq!(trackers.take(1, b"c"), [0; 0]);
        assert_eq!(trackers.take(1, b"a"), [7, 8]);
        assert_eq!(trackers.take(1, b"a"), [0; 0]);
        trackers.add(2, b"c", 9);
        assert_eq!(trackers.clear(), Grown { keys: 2, items: 2 });
        trackers.add(3, b"d", 5);
        assert_eq!(trackers.take_any(), Some((b"d"[..].into(), vec![5])));
        assert!(trackers.is_empty());
    }
}
