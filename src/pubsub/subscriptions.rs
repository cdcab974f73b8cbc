//! What one client has subscribed to.

use std::collections::HashSet;

use super::Kind;

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
    pub fn add(&mut self, kind: Kind, name: &[u8]) -> bool {
        let is_new = self.of_mut(kind).insert(name.into());
        self.names_bytes += if is_new { name.len() } else { 0 };
        is_new
    }

    /// Takes one away; `false` if it is not there.
    pub fn remove(&mut self, kind: Kind, name: &[u8]) -> bool {
        let was_there = self.of_mut(kind).remove(name);
        self.names_bytes -= if was_there { name.len() } else { 0 };
        was_there
    }

    /// All of one kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &[u8]> {
        self.of(kind).iter().map(|name| &**name)
    }

    /// How many of one kind.
    pub fn len(&self, kind: Kind) -> usize {
        self.of(kind).len()
    }

    /// How many there are of the kind and of those that its command counts with it.
    pub fn counted_with(&self, kind: Kind) -> usize {
        match kind {
            Kind::Shard => self.shard_channels.len(),
            Kind::Channel | Kind::Pattern => self.channels.len() + self.patterns.len(),
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

    fn of(&self, kind: Kind) -> &HashSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &self.channels,
            Kind::Pattern => &self.patterns,
            Kind::Shard => &self.shard_channels,
        }
    }

    fn of_mut(&mut self, kind: Kind) -> &mut HashSet<Box<[u8]>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }
}
