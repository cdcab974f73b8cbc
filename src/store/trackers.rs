//! Which clients have read which keys of a shard and are to be told when these change (CLIENT TRACKING).
//!
//! Design: as Redis does, a key's name is what counts, in whatever database. Who reads a key enters itself under the shard's lease; a
//! change takes all of them out and tells them. A client that is gone, or that tracks no more, is left behind until then.
//!
//! Keys go by their hash alone: two with the same 64 bits of it are told of together, which costs a client one read too many. A
//! key is a slot of 16 bytes in a table with open addressing: its hash, and a bit for each of the first [`BITS`] clients that
//! track. A client that comes later has no bit and stands in a list of its key. Bits are given out again; who gets one that another
//! had may be told of what that one read, which does no harm.
//!
//! ```text
//! slots:  | hash, bits | hash, bits | 0, 0 | ...     linear probing; bit 63: there are `others`
//! others: hash -> client, client, ...                 clients without a bit
//! absent: hash -> name                                keys that were not there when they were read
//! ```
//!
//! Invariants: a slot without bits is free; each key stands as near to its home as those before it allow; `others` and `absent`
//! have only keys that have slots.
//! Costs: a cache line for each key read, which a group fetches ahead; no allocation but the table's growth, at which all its
//! slots move.
//! Not here: who has which bit (`pubsub::tracking`), who is told how (`worker::tracking`), the limit (`command::tracking`).

use super::hash::{MapByHash, spread};
use super::shard::Shard;
use super::table::prefetch;

/// Clients that have a bit each.
pub const BITS: u32 = 63;
/// There are clients without one.
const OTHERS: u64 = 1 << BITS;
/// Slots of the smallest table.
const SLOTS_MIN: usize = 8;

/// A client as whoever tells it finds it; the store only keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracker {
    /// It has this bit.
    Bit(u32),
    /// It has none, and is this.
    Other(u64),
}

/// A key's name, where it is known.
pub type Name = Option<Box<[u8]>>;

/// Clients that have read a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Readers {
    /// Those that have a bit.
    pub bits: u64,
    /// Those that have none.
    pub others: Vec<u64>,
}

impl Readers {
    /// How many they are.
    pub fn count(&self) -> u64 {
        u64::from(self.bits.count_ones()) + self.others.len() as u64
    }
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    bits: u64,
}

/// Tracked keys of one shard.
#[derive(Default)]
pub struct Trackers {
    slots: Box<[Slot]>,
    used: usize,
    others: MapByHash<Vec<u64>>,
    absent: MapByHash<Box<[u8]>>,
    /// Where `take_any` goes on.
    hand: usize,
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
    /// A client has read a key. If that is a new one, `absent_name` is asked whether the key is not there, and what it is called.
    #[inline]
    pub fn add(
        &mut self,
        hash: u64,
        client: Tracker,
        absent_name: impl FnOnce() -> Option<Box<[u8]>>,
    ) -> Grown {
        if self.used * 4 >= self.slots.len() * 3 {
            self.grow();
        }
        let bit = match client {
            Tracker::Bit(bit) => 1 << bit,
            Tracker::Other(_) => OTHERS,
        };
        let place = self.place_of(hash);
        let slot = &mut self.slots[place];
        let (is_new, is_known) = (slot.bits == 0, slot.bits & bit != 0);
        *slot = Slot { hash, bits: slot.bits | bit };
        if is_new {
            self.used += 1;
            if let Some(name) = absent_name() {
                self.absent.insert(hash, name);
            }
        }
        let items = match client {
            Tracker::Bit(_) => !is_known,
            Tracker::Other(client) => self.add_other(hash, client),
        };
        Grown { keys: is_new.into(), items: items.into() }
    }

    #[cold]
    fn add_other(&mut self, hash: u64, client: u64) -> bool {
        let others = self.others.entry(hash).or_default();
        let is_new = !others.contains(&client);
        if is_new {
            others.push(client);
        }
        is_new
    }

    /// A key has changed: those who have read it. It is tracked no more.
    pub fn take(&mut self, hash: u64) -> Readers {
        if self.used == 0 {
            return Readers::default();
        }
        let place = self.place_of(hash);
        self.take_at(place)
    }

    /// Any key, which is tracked no more: its hash, its name if it was not there when it was read, and those who have read it.
    pub fn take_any(&mut self) -> Option<(u64, Name, Readers)> {
        if self.used == 0 {
            return None;
        }
        while self.slots[self.hand % self.slots.len()].bits == 0 {
            self.hand += 1;
        }
        let place = self.hand % self.slots.len();
        let hash = self.slots[place].hash;
        let name = self.absent.remove(&hash);
        Some((hash, name, self.take_at(place)))
    }

    /// Brings a key's slot close to the processor.
    #[inline]
    pub fn fetch(&self, hash: u64) {
        if let Some(slot) = self.slots.get(self.home_of(hash)) {
            prefetch(std::ptr::from_ref(slot).cast());
        }
    }

    /// Whether no key is tracked.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets all keys; how many that were.
    pub fn clear(&mut self) -> Grown {
        let all = std::mem::take(self);
        let bits: u64 = all.slots.iter().map(|slot| u64::from((slot.bits & !OTHERS).count_ones())).sum();
        let others: usize = all.others.values().map(Vec::len).sum();
        Grown { keys: all.used as u64, items: bits + others as u64 }
    }

    /// Where a key belongs; the number of slots is a power of two.
    #[inline]
    fn home_of(&self, hash: u64) -> usize {
        spread(hash) as usize & self.slots.len().wrapping_sub(1)
    }

    /// The key's slot, or the free one in which it is to be. There are free ones.
    #[inline]
    fn place_of(&self, hash: u64) -> usize {
        let mask = self.slots.len() - 1;
        let mut place = self.home_of(hash);
        loop {
            let slot = self.slots[place];
            if slot.bits == 0 || slot.hash == hash {
                return place;
            }
            place = (place + 1) & mask;
        }
    }

    fn take_at(&mut self, place: usize) -> Readers {
        let Slot { hash, bits } = self.slots[place];
        if bits == 0 {
            return Readers::default();
        }
        self.free(place);
        if !self.absent.is_empty() {
            self.absent.remove(&hash);
        }
        let others = match bits & OTHERS {
            0 => Vec::new(),
            _ => self.others.remove(&hash).unwrap_or_default(),
        };
        if self.used == 0 {
            *self = Self::default();
        }
        Readers { bits: bits & !OTHERS, others }
    }

    /// Frees a slot: those behind it that would be looked for from before it move up.
    fn free(&mut self, place: usize) {
        let mask = self.slots.len() - 1;
        let (mut hole, mut next) = (place, (place + 1) & mask);
        while self.slots[next].bits != 0 {
            let from_home = next.wrapping_sub(self.home_of(self.slots[next].hash)) & mask;
            if from_home >= next.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.slots[hole] = Slot::default();
        self.used -= 1;
    }

    #[cold]
    fn grow(&mut self) {
        let count = (self.slots.len() * 2).max(SLOTS_MIN);
        let before = std::mem::replace(&mut self.slots, vec![Slot::default(); count].into());
        for slot in before.iter().filter(|slot| slot.bits != 0) {
            let place = self.place_of(slot.hash);
            self.slots[place] = *slot;
        }
    }
}

impl Shard {
    /// Any tracked key, which is tracked no more: its name, unless nobody knows it any more, and who has read it.
    pub fn take_tracked(&mut self) -> Option<(Name, Readers)> {
        let (hash, name, readers) = self.trackers().take_any()?;
        let entry = || self.used_dbs().find_map(|db| self.peek_hash(db, hash));
        Some((name.or_else(|| entry().map(|entry| entry.key().into())), readers))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn add(trackers: &mut Trackers, hash: u64, client: Tracker) -> Grown {
        trackers.add(hash, client, || None)
    }

    #[test]
    fn changed_key_names_its_readers_once() {
        let mut trackers = Trackers::default();
        assert_eq!(trackers.take(1), Readers::default());
        assert_eq!(add(&mut trackers, 1, Tracker::Bit(7)), Grown { keys: 1, items: 1 });
        assert_eq!(add(&mut trackers, 1, Tracker::Bit(7)), Grown::default());
        assert_eq!(add(&mut trackers, 1, Tracker::Other(8)), Grown { keys: 0, items: 1 });
        assert_eq!(add(&mut trackers, 1, Tracker::Other(8)), Grown::default());
        assert_eq!(add(&mut trackers, 2, Tracker::Other(8)), Grown { keys: 1, items: 1 });
        assert_eq!(trackers.take(3), Readers::default());
        assert_eq!(trackers.take(1), Readers { bits: 1 << 7, others: vec![8] });
        assert_eq!(trackers.take(1), Readers::default());
        assert_eq!(trackers.clear(), Grown { keys: 1, items: 1 });
        assert!(trackers.is_empty());
    }

    #[test]
    fn absent_key_keeps_its_name() {
        let mut trackers = Trackers::default();
        trackers.add(5, Tracker::Bit(0), || Some(b"name"[..].into()));
        let readers = || Readers { bits: 1, others: Vec::new() };
        assert_eq!(trackers.take_any(), Some((5, Some(b"name"[..].into()), readers())));
        add(&mut trackers, 5, Tracker::Bit(0));
        assert_eq!(trackers.take_any(), Some((5, None, readers())));
        assert_eq!(trackers.take_any(), None);
    }

    /// Against a map of sets. Hashes are few, and many of them share a home.
    #[test]
    fn any_sequence_is_as_that_of_a_map() {
        let mut random = 1_u64;
        let mut below = |limit: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % limit
        };
        let (mut trackers, mut model) = (Trackers::default(), BTreeMap::<u64, BTreeSet<u64>>::new());
        for round in 0..60_000 {
            let keys = if round % 9000 < 4500 { 300 } else { 20 };
            let hash = below(keys) << 60 | below(4);
            match below(8) {
                0..5 => {
                    let client = below(70);
                    let tracker = match client {
                        bit if bit < u64::from(BITS) => Tracker::Bit(bit as u32),
                        other => Tracker::Other(other),
                    };
                    let readers = model.entry(hash).or_default();
                    let keys = u64::from(readers.is_empty());
                    let items = u64::from(readers.insert(client));
                    assert_eq!(add(&mut trackers, hash, tracker), Grown { keys, items });
                }
                5 if round % 50 == 0 => {
                    let items = model.values().map(BTreeSet::len).sum::<usize>() as u64;
                    assert_eq!(trackers.clear(), Grown { keys: model.len() as u64, items });
                    model.clear();
                }
                6 => {
                    let taken = trackers.take_any();
                    assert_eq!(taken.is_none(), model.is_empty());
                    if let Some((hash, _, readers)) = taken {
                        let expected = model.remove(&hash).expect("it was added");
                        assert_eq!(readers.count(), expected.len() as u64);
                    }
                }
                _ => {
                    let mut readers = trackers.take(hash);
                    let bits = (0..u64::from(BITS)).filter(|bit| readers.bits >> bit & 1 == 1);
                    readers.others.sort_unstable();
                    let all: Vec<u64> = bits.chain(readers.others.iter().copied()).collect();
                    let expected: Vec<u64> = model.remove(&hash).unwrap_or_default().into_iter().collect();
                    assert_eq!(all, expected);
                }
            }
            assert_eq!(trackers.is_empty(), model.is_empty());
        }
    }
}
