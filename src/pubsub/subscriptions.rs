//! What one client has subscribed to.

use std::collections::HashSet;

use super::SubscriptionKind;

/// A client's channels and patterns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subscriptions {
    channels: HashSet<Box<[u8]>>,
    patterns: HashSet<Box<[u8]>>,
    shard_channels: HashSet<Box<[u8]>>,
    names_bytes: usize,
}

impl Subscriptions {
    /// Adds one; `false` if it is there.
    pub fn add(&mut self, kind: SubscriptionKind, name: &[u8]) -> bool {
        let is_new = self.of_mut(kind).insert(name.into());
        self.names_bytes += if is_new { name.len() } else { 0 };
        is_new
    }

    /// Takes one away; `false` if it is not there.
    pub fn remove(&mut self, kind: SubscriptionKind, name: &[u8]) -> bool {
        let was_there = self.of_mut(kind).remove(name);
        self.names_bytes -= if was_there { name.len() } else { 0 };
        was_there
    }

    /// All of one kind.
    pub fn names(&self, kind: SubscriptionKind) -> impl Iterator<Item = &[u8]> {
        self.of(kind).iter().map(|name| &**name)
    }

    /// How many of one kind.
    pub fn len(&self, kind: SubscriptionKind) -> usize {
        self.of(kind).len()
    }

    /// How many there are of the kind and of those that its command counts with it.
    pub fn counted_with(&self, kind: SubscriptionKind) -> usize {
        match kind {
            SubscriptionKind::Shard => self.shard_channels.len(),
            SubscriptionKind::Channel | SubscriptionKind::Pattern => {
                self.channels.len() + self.patterns.len()
            }
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty() && self.shard_channels.is_empty()
    }

    /// Memory held, in bytes.
    pub fn bytes_allocated(&self) -> usize {
        let places = self.channels.capacity() + self.patterns.capacity() + self.shard_channels.capacity();
        places * size_of::<Box<[u8]>>() + self.names_bytes
    }

    fn of(&self, kind: SubscriptionKind) -> &HashSet<Box<[u8]>> {
        match kind {
            SubscriptionKind::Channel => &self.channels,
            SubscriptionKind::Pattern => &self.patterns,
            SubscriptionKind::Shard => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: SubscriptionKind) -> &mut HashSet<Box<[u8]>> {
        match kind {
            SubscriptionKind::Channel => &mut self.channels,
            SubscriptionKind::Pattern => &mut self.patterns,
            SubscriptionKind::Shard => &mut self.shard_channels,
        }
    }
}
