//! A consumer group: how far it has read, what was delivered and not acknowledged, and to whom.
//!
//! Design: a pending entry stands in one ordered map of its group, with all that is known of it; the consumer that has it is
//! named by its slot, and keeps only the ID. Consumers lie in slots, so that pending entries may name them, and are found by
//! their names in a sorted list of slots. An entry that was released (XNACK) is pending with nobody, delivered at no time.
//!
//! Invariants: an ID is in the list of the consumer that the map names, and of no other; `consumers_bytes` is the sum of what
//! consumers allocated; no pending entry was delivered before `oldest_ms`.
//!
//! Costs: finding what has been pending for long looks at all that is pending, but not before there can be any.

use super::StreamId;
use super::entries::Mark;
use super::ordered::{Keyed, Ordered};

/// A consumer's slot, which it keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

/// An entry that was delivered and is not acknowledged.
#[derive(Clone, Copy, Debug)]
pub struct Pending {
    /// The entry's ID.
    pub id: StreamId,
    /// When it was delivered last, Unix time in ms.
    pub delivered_ms: i64,
    /// How often.
    pub deliveries: u64,
    consumer: Option<Slot>,
}

impl Keyed for Pending {
    #[inline]
    fn key(&self) -> StreamId {
        self.id
    }
}

impl Pending {
    /// Who has it; nobody if it was released.
    pub fn consumer(&self) -> Option<Slot> {
        self.consumer
    }
}

/// Somebody who reads for a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// Its name.
    pub name: Box<[u8]>,
    /// When it last tried anything, Unix time in ms.
    pub seen_ms: i64,
    /// When it last got anything; none if it never did.
    pub active_ms: Option<i64>,
    pending: Ordered<StreamId>,
}

impl Consumer {
    /// The IDs of the entries that it has.
    pub fn pending(&self) -> &Ordered<StreamId> {
        &self.pending
    }

    fn allocated(&self) -> usize {
        self.name.len() + self.pending.allocated()
    }
}

/// A consumer group.
#[derive(Debug)]
pub struct Group {
    /// Its name.
    pub name: Box<[u8]>,
    /// The last ID that was delivered.
    pub last: StreamId,
    /// How many entries of the stream's history are not after that, if it is known.
    pub read_count: Option<u64>,
    pending: Ordered<Pending>,
    slots: Vec<Option<Consumer>>,
    /// Occupied slots in the order of the names.
    by_name: Vec<u32>,
    free: Vec<u32>,
    consumers_bytes: usize,
    /// Not after the time at which any pending entry was delivered last.
    oldest_ms: i64,
    /// Where reading goes on behind an ID, so that its node need not be walked from its beginning.
    pub(super) next: Option<(StreamId, Mark)>,
}

impl Clone for Group {
    fn clone(&self) -> Group {
        let (name, pending, slots) = (self.name.clone(), self.pending.clone(), self.slots.clone());
        let (by_name, free) = (self.by_name.clone(), self.free.clone());
        let consumers_bytes = slots.iter().flatten().map(Consumer::allocated).sum();
        Group { name, pending, slots, by_name, free, consumers_bytes, ..*self }
    }
}

impl Group {
    /// A group that has delivered everything up to `last`.
    pub fn new(name: &[u8], last: StreamId, read_count: Option<u64>) -> Group {
        Group {
            name: name.into(),
            last,
            read_count,
            pending: Ordered::default(),
            slots: Vec::new(),
            by_name: Vec::new(),
            free: Vec::new(),
            consumers_bytes: 0,
            oldest_ms: i64::MAX,
            next: None,
        }
    }

    /// What was delivered and not acknowledged.
    pub fn pending(&self) -> &Ordered<Pending> {
        &self.pending
    }

    /// Consumers, in the order of their names.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (Slot, &Consumer)> {
        self.by_name.iter().map(|slot| (Slot(*slot), self.consumer(Slot(*slot))))
    }

    /// The consumer of this name.
    pub fn find_consumer(&self, name: &[u8]) -> Option<Slot> {
        self.search(name).ok().map(|place| Slot(self.by_name[place]))
    }

    /// The consumer of a slot.
    pub fn consumer(&self, Slot(slot): Slot) -> &Consumer {
        self.slots[slot as usize].as_ref().expect("who is named by its slot is there")
    }

    /// The same, to be changed; its pending entries stay.
    pub fn consumer_mut(&mut self, slot: Slot) -> &mut Consumer {
        slot_of(&mut self.slots, slot)
    }

    /// Makes a consumer of a name that nobody has.
    pub fn add_consumer(&mut self, name: &[u8], seen_ms: i64) -> Slot {
        let place = self.search(name).expect_err("the caller has looked for it");
        let consumer = Consumer { name: name.into(), seen_ms, active_ms: None, pending: Ordered::default() };
        self.consumers_bytes += consumer.allocated();
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("names of so many consumers do not fit memory")
        });
        self.slots[slot as usize] = Some(consumer);
        self.by_name.insert(place, slot);
        Slot(slot)
    }

    /// Removes a consumer and what it has: how many entries that were.
    pub fn remove_consumer(&mut self, slot: Slot) -> usize {
        let consumer = self.slots[slot.0 as usize].take().expect("the caller has looked for it");
        self.consumers_bytes -= consumer.allocated();
        let count = consumer.pending.len();
        if count > self.pending.len() / 16 {
            self.pending.retain(|pending| pending.consumer != Some(slot));
        } else {
            consumer.pending.iter().for_each(|id| {
                self.pending.remove(*id);
            });
        }
        self.by_name.retain(|other| *other != slot.0);
        self.free.push(slot.0);
        count
    }

    /// An entry is delivered to a consumer; if it was pending it changes hands.
    pub fn deliver(&mut self, id: StreamId, consumer: Slot, delivered_ms: i64, deliveries: u64) {
        if self.pend(Pending { id, delivered_ms, deliveries, consumer: Some(consumer) }) != Some(consumer) {
            self.edit_ids(consumer, |ids| ids.insert(id));
        }
    }

    /// An entry is pending with nobody, so that anybody may claim it at once.
    pub fn release(&mut self, id: StreamId, deliveries: u64) {
        self.pend(Pending { id, delivered_ms: 0, deliveries, consumer: None });
    }

    /// Makes an entry pending; if it was so before with somebody else, that one has it no more. Who had it.
    fn pend(&mut self, pending: Pending) -> Option<Slot> {
        let Pending { id, delivered_ms, consumer, .. } = pending;
        self.oldest_ms = self.oldest_ms.min(delivered_ms);
        let before = self.pending.insert(pending)?.consumer?;
        if consumer != Some(before) {
            self.edit_ids(before, |ids| ids.remove(id));
        }
        Some(before)
    }

    /// No pending entry was delivered last before this.
    pub fn oldest_ms(&self) -> i64 {
        self.oldest_ms
    }

    /// Up to `count` pending entries that were delivered last at this time or before, those first that have waited longest.
    pub fn delivered_until(&mut self, until_ms: i64, count: usize) -> Vec<Pending> {
        if self.oldest_ms > until_ms {
            return Vec::new();
        }
        self.oldest_ms = self.pending.iter().map(|pending| pending.delivered_ms).min().unwrap_or(i64::MAX);
        let is_old = |pending: &&Pending| pending.delivered_ms <= until_ms;
        let mut found: Vec<Pending> = self.pending.iter().filter(is_old).copied().collect();
        let order = |pending: &Pending| (pending.delivered_ms, pending.id);
        if count < found.len() {
            found.select_nth_unstable_by_key(count, order);
            found.truncate(count);
        }
        found.sort_unstable_by_key(order);
        found
    }

    /// Hands up to `count` pending entries of a consumer, from an ID on, to `visit`, which may change when and how often they were
    /// delivered.
    pub fn each_pending_of(
        &mut self,
        slot: Slot,
        from: StreamId,
        count: usize,
        mut visit: impl FnMut(&mut Pending),
    ) {
        let ids = &slot_of(&mut self.slots, slot).pending;
        for id in ids.iter_from(from).take(count) {
            let pending = self.pending.find_mut(*id).expect("what a consumer has is pending in its group");
            visit(pending);
            self.oldest_ms = self.oldest_ms.min(pending.delivered_ms);
        }
    }

    /// Takes an entry out of the pending ones; whether it was there.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(Pending { consumer, .. }) = self.pending.remove(id) else { return false };
        if let Some(consumer) = consumer {
            self.edit_ids(consumer, |ids| ids.remove(id));
        }
        true
    }

    /// Bytes allocated.
    pub fn allocated(&self) -> usize {
        size_of::<Group>()
            + self.name.len()
            + self.pending.allocated()
            + self.slots.capacity() * size_of::<Option<Consumer>>()
            + (self.by_name.capacity() + self.free.capacity()) * size_of::<u32>()
            + self.consumers_bytes
    }

    /// Frees a part of it; true when nothing is left that is worth a part of its own.
    pub fn free_part(&mut self) -> bool {
        if self.pending.drop_chunk() > 0 {
            return false;
        }
        let Some(slot) = self.slots.last_mut() else { return true };
        if let Some(consumer) = slot {
            let before = consumer.allocated();
            let is_left = consumer.pending.drop_chunk() > 0;
            let after = if is_left { consumer.allocated() } else { 0 };
            self.consumers_bytes = self.consumers_bytes - before + after;
            if is_left {
                return false;
            }
        }
        self.slots.pop();
        self.slots.is_empty()
    }

    fn edit_ids<R>(&mut self, slot: Slot, edit: impl FnOnce(&mut Ordered<StreamId>) -> R) -> R {
        let ids = &mut slot_of(&mut self.slots, slot).pending;
        let before = ids.allocated();
        let result = edit(ids);
        self.consumers_bytes = self.consumers_bytes - before + ids.allocated();
        result
    }

    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.by_name.binary_search_by(|slot| (*self.consumer(Slot(*slot)).name).cmp(name))
    }

    #[cfg(test)]
    pub fn check_invariants(&self) {
        self.pending.check_invariants();
        let consumers: Vec<_> = self.consumers().collect();
        assert!(consumers.windows(2).all(|pair| pair[0].1.name < pair[1].1.name));
        let sum: usize = consumers.iter().map(|(_, consumer)| consumer.pending.len()).sum();
        assert_eq!(sum, self.pending.iter().filter(|pending| pending.consumer.is_some()).count());
        assert!(self.pending.iter().all(|pending| pending.delivered_ms >= self.oldest_ms));
        for (slot, consumer) in &consumers {
            consumer.pending.check_invariants();
            let has = |id| self.pending.find(id).is_some_and(|pending| pending.consumer == Some(*slot));
            assert!(consumer.pending.iter().all(|id| has(*id)));
        }
        let bytes: usize = consumers.iter().map(|(_, consumer)| consumer.allocated()).sum();
        assert_eq!(bytes, self.consumers_bytes);
        assert_eq!(consumers.len() + self.free.len(), self.slots.len());
    }
}

fn slot_of(slots: &mut [Option<Consumer>], Slot(slot): Slot) -> &mut Consumer {
    slots[slot as usize].as_mut().expect("who is named by its slot is there")
}
