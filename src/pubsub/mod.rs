//! Published messages: who listens to which channels, and the order in which workers get messages.
//!
//! Design: publishers read two registries without a lease, one of channels and one of patterns, which say which workers have
//! how many subscribers. A message draws its place in the inbox of each of these workers, its own included, before it is put into
//! any; PUBLISH does so under the exclusive lease of its channel's hash. So all subscribers of a channel see one order, a
//! publisher's messages keep theirs over channels, and no answer is heard before its question. A worker that takes a message from
//! its inbox finds the clients in its own lists (`Listeners`).
//!
//! ```text
//!   PUBLISH -> registries -> a place in each inbox -> worker's inbox -> Listeners -> outputs of its clients
//! ```
//!
//! A client's subscriptions are known to itself (`Subscriptions`), to its worker and, as a number, to all.
//!
//! Not here: the inbox itself (`worker::message_ring`), the commands (`command::pubsub`), delivery (`worker::pubsub`).

mod channels;
mod listeners;
mod message;
mod patterns;
mod places;
mod rights;
mod subscribers;
mod subscriptions;
mod tracking;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use channels::Channels;
pub use listeners::Listeners;
pub use message::PublishedMessage;
pub use patterns::{Pattern, Patterns};
pub use places::{Inbox, Places};
pub use rights::RightsLost;
pub use subscribers::{Reach, Subscribers};
pub use subscriptions::Subscriptions;
pub use tracking::{Invalidation, Tracking};

use crate::config::WORKERS_MAX;

const _: () = assert!(WORKERS_MAX <= u64::BITS as usize, "workers are bits of a word");

/// What one can listen to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubscriptionKind {
    /// A channel.
    Channel,
    /// All channels whose names fit a pattern.
    Pattern,
    /// A channel of its own namespace, which a cluster keeps within its slot.
    Shard,
}

/// What all workers know of subscriptions.
pub struct PubSub {
    /// Channels of SUBSCRIBE.
    pub channels: Channels,
    /// Channels of SSUBSCRIBE.
    pub shard_channels: Channels,
    /// Patterns of PSUBSCRIBE.
    pub patterns: Patterns,
    /// Clients that have subscribed to anything.
    pub clients: AtomicU64,
    /// Clients that keep copies of keys.
    pub tracking: Tracking,
    inboxes: Box<[Inbox]>,
}

impl PubSub {
    /// Nobody listens to anything; there are so many workers.
    pub fn new(workers: usize) -> PubSub {
        assert!(workers <= WORKERS_MAX, "the directive allows no more");
        PubSub {
            channels: Channels::default(),
            shard_channels: Channels::default(),
            patterns: Patterns::default(),
            clients: AtomicU64::new(0),
            tracking: Tracking::default(),
            inboxes: (0..workers).map(|_| Inbox::default()).collect(),
        }
    }

    /// How far a worker has read its inbox.
    #[inline]
    pub fn inbox(&self, worker: usize) -> &Inbox {
        &self.inboxes[worker]
    }

    /// A client of this worker listens to something from now on, where publishers look.
    pub fn add(&self, kind: SubscriptionKind, hash: u64, name: &[u8], worker: u16) {
        match kind {
            SubscriptionKind::Channel => self.channels.add(hash, name, worker),
            SubscriptionKind::Shard => self.shard_channels.add(hash, name, worker),
            SubscriptionKind::Pattern => self.patterns.add(hash, name, worker),
        }
    }

    /// A client of this worker listens to something no more.
    pub fn remove(&self, kind: SubscriptionKind, hash: u64, name: &[u8], worker: u16) {
        match kind {
            SubscriptionKind::Channel => self.channels.remove(hash, name, worker),
            SubscriptionKind::Shard => self.shard_channels.remove(hash, name, worker),
            SubscriptionKind::Pattern => self.patterns.remove(name, worker),
        }
    }

    /// Publishes to a channel, and returns how many subscriptions that reaches. Calls `put` with each worker that has any, and the
    /// message's place in its inbox; by then all places are drawn.
    pub fn publish(
        &self,
        kind: SubscriptionKind,
        hash: u64,
        channel: &[u8],
        payload: &[u8],
        mut put: impl FnMut(u16, u64, Arc<PublishedMessage>),
    ) -> u64 {
        let (reached, patterns) = self.look_up(kind, hash, channel);
        if reached.total == 0 {
            return 0;
        }
        let message = Arc::new(PublishedMessage::new(kind, hash, channel, payload, patterns));
        let mut places = [0; WORKERS_MAX];
        let workers = || (0..self.inboxes.len()).filter(|worker| reached.workers >> worker & 1 == 1);
        workers().for_each(|worker| places[worker] = self.inbox(worker).places().draw());
        workers().for_each(|worker| put(worker as u16, places[worker], Arc::clone(&message)));
        reached.total
    }

    /// How many a message would reach.
    pub fn reached(&self, kind: SubscriptionKind, hash: u64, channel: &[u8]) -> u64 {
        self.look_up(kind, hash, channel).0.total
    }

    /// Whom a message reaches, and by which patterns.
    fn look_up(&self, kind: SubscriptionKind, hash: u64, channel: &[u8]) -> (Reach, Vec<Arc<Pattern>>) {
        let (registry, patterns) = match kind {
            SubscriptionKind::Shard => (&self.shard_channels, Vec::new()),
            SubscriptionKind::Channel | SubscriptionKind::Pattern => {
                (&self.channels, self.patterns.matching(channel))
            }
        };
        let reached = registry.reach(hash, channel);
        let reached =
            patterns.iter().fold(reached, |reached, pattern| reached.and(pattern.subscribers.reach()));
        (reached, patterns)
    }

    /// Whether nobody listens to any channel or pattern.
    #[inline]
    pub fn is_silent(&self) -> bool {
        self.channels.is_empty() && self.patterns.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn publish(pubsub: &PubSub, kind: SubscriptionKind, channel: &[u8]) -> (u64, Vec<(u16, u64)>) {
        let mut placed = Vec::new();
        let reached = pubsub.publish(kind, 1, channel, b"m", |worker, place, _| placed.push((worker, place)));
        (reached, placed)
    }

    #[test]
    fn message_goes_to_workers_that_have_subscribers() {
        let pubsub = PubSub::new(3);
        assert_eq!(publish(&pubsub, SubscriptionKind::Channel, b"news"), (0, vec![]));
        pubsub.add(SubscriptionKind::Channel, 1, b"news", 2);
        pubsub.add(SubscriptionKind::Channel, 1, b"news", 2);
        pubsub.add(SubscriptionKind::Shard, 1, b"news", 1);
        pubsub.add(SubscriptionKind::Pattern, 9, b"n*", 0);
        pubsub.add(SubscriptionKind::Pattern, 8, b"x*", 1);
        assert_eq!(publish(&pubsub, SubscriptionKind::Channel, b"news"), (3, vec![(0, 0), (2, 0)]));
        assert_eq!(publish(&pubsub, SubscriptionKind::Shard, b"news"), (1, vec![(1, 0)]));
        assert_eq!(publish(&pubsub, SubscriptionKind::Channel, b"other"), (0, vec![]), "of the same hash");
        pubsub.remove(SubscriptionKind::Channel, 1, b"news", 2);
        pubsub.remove(SubscriptionKind::Pattern, 9, b"n*", 0);
        assert_eq!(publish(&pubsub, SubscriptionKind::Channel, b"news"), (1, vec![(2, 1)]));
    }
}
