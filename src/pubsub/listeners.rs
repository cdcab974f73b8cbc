//! Which of a worker's clients listen to what. The worker alone has this.
//!
//! Invariants: a list has each slot at most once, and none is empty.
//! Costs: finding a list is one lookup by a hash that is known; adding a client is O(1), taking one away O(clients of the channel).

use super::SubscriptionKind;
use crate::store::MapByHash;

/// Slots of clients, by what they listen to.
#[derive(Default)]
pub struct Listeners {
    channels: MapByHash<Vec<List>>,
    shard_channels: MapByHash<Vec<List>>,
    patterns: MapByHash<Vec<List>>,
}

struct List {
    name: Box<[u8]>,
    slots: Vec<u32>,
}

impl Listeners {
    /// The slots of those who listen to this.
    #[inline]
    pub fn of(&self, kind: SubscriptionKind, hash: u64, name: &[u8]) -> &[u32] {
        let map = match kind {
            SubscriptionKind::Channel => &self.channels,
            SubscriptionKind::Shard => &self.shard_channels,
            SubscriptionKind::Pattern => &self.patterns,
        };
        let lists = map.get(&hash).map_or(&[][..], Vec::as_slice);
        lists.iter().find(|list| *list.name == *name).map_or(&[], |list| &list.slots)
    }

    /// A client listens to this from now on.
    pub fn add(&mut self, kind: SubscriptionKind, hash: u64, name: &[u8], slot: u32) {
        let lists = self.map(kind).entry(hash).or_default();
        match lists.iter_mut().find(|list| *list.name == *name) {
            Some(list) => list.slots.push(slot),
            None => lists.push(List { name: name.into(), slots: vec![slot] }),
        }
    }

    /// A client listens to this no more.
    pub fn remove(&mut self, kind: SubscriptionKind, hash: u64, name: &[u8], slot: u32) {
        let map = self.map(kind);
        let Some(lists) = map.get_mut(&hash) else { return };
        if let Some(list) = lists.iter_mut().find(|list| *list.name == *name)
            && let Some(place) = list.slots.iter().position(|other| *other == slot)
        {
            list.slots.swap_remove(place);
        }
        lists.retain(|list| !list.slots.is_empty());
        if lists.is_empty() {
            map.remove(&hash);
        }
    }

    fn map(&mut self, kind: SubscriptionKind) -> &mut MapByHash<Vec<List>> {
        match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Shard => &mut self.shard_channels,
            SubscriptionKind::Pattern => &mut self.patterns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_come_and_go() {
        let mut listeners = Listeners::default();
        listeners.add(SubscriptionKind::Channel, 1, b"a", 3);
        listeners.add(SubscriptionKind::Channel, 1, b"a", 4);
        listeners.add(SubscriptionKind::Channel, 1, b"b", 5);
        listeners.add(SubscriptionKind::Shard, 1, b"a", 6);
        assert_eq!(listeners.of(SubscriptionKind::Channel, 1, b"a"), [3, 4]);
        assert_eq!(listeners.of(SubscriptionKind::Shard, 1, b"a"), [6]);
        assert_eq!(listeners.of(SubscriptionKind::Channel, 1, b"c"), [0; 0]);
        listeners.remove(SubscriptionKind::Channel, 1, b"a", 3);
        listeners.remove(SubscriptionKind::Channel, 1, b"a", 3);
        assert_eq!(listeners.of(SubscriptionKind::Channel, 1, b"a"), [4]);
        listeners.remove(SubscriptionKind::Channel, 1, b"a", 4);
        listeners.remove(SubscriptionKind::Channel, 1, b"b", 5);
        assert!(listeners.channels.is_empty());
    }
}
