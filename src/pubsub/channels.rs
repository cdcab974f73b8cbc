//! Which workers have subscribers of which channels: read by every publisher, without a lease.
//!
//! Design: stripes by the channel's hash, each a sorted list behind a pointer that is swapped. Who subscribes copies the list of
//! its stripe, so that is O(channels / stripes); a publisher loads a pointer and searches.
//!
//! Invariants: a list is sorted by hash; no channel stands there twice, and none without subscribers.
//! Costs: a stripe without channels has no list.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use arc_swap::ArcSwapOption;

use super::{Reach, Subscribers};
use crate::glob::{self, Case};

/// Many, so that lists stay short: a million channels are 122 in each.
const STRIPES: usize = 8192;

const _: () = assert!(STRIPES.is_power_of_two());

#[derive(Debug)]
struct Channel {
    hash: u64,
    name: Box<[u8]>,
    subscribers: Subscribers,
}

type List = Vec<Arc<Channel>>;

/// Channels with their subscribers.
pub struct Channels {
    stripes: Box<[ArcSwapOption<List>]>,
    count: AtomicU64,
}

impl Default for Channels {
    fn default() -> Self {
        let stripes = (0..STRIPES).map(|_| ArcSwapOption::empty()).collect();
        Self { stripes, count: AtomicU64::new(0) }
    }
}

impl Channels {
    /// How many channels have subscribers.
    #[inline]
    pub fn len(&self) -> u64 {
        self.count.load(Relaxed)
    }

    /// Whether none has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whom a message on a channel reaches.
    #[inline]
    pub fn reach(&self, hash: u64, name: &[u8]) -> Reach {
        let list = self.stripe(hash).load();
        let found = list.as_ref().and_then(|list| find(list, hash, name).ok().map(|at| &list[at]));
        found.map(|channel| channel.subscribers.reach()).unwrap_or_default()
    }

    /// A channel has one more subscriber, on this worker.
    pub fn add(&self, hash: u64, name: &[u8], worker: u16) {
        self.change(hash, name, |subscribers| subscribers.add(worker));
    }

    /// It has one less.
    pub fn remove(&self, hash: u64, name: &[u8], worker: u16) {
        self.change(hash, name, |subscribers| subscribers.remove(worker));
    }

    /// Visits the names that fit a pattern; all, if there is none. What changes meanwhile may be missed.
    pub fn each(&self, pattern: Option<&[u8]>, mut visit: impl FnMut(&[u8])) {
        for stripe in &self.stripes {
            let list = stripe.load();
            for channel in list.iter().flat_map(|list| list.iter()) {
                if pattern.is_none_or(|pattern| glob::matches(pattern, &channel.name, Case::Sensitive)) {
                    visit(&channel.name);
                }
            }
        }
    }

    fn stripe(&self, hash: u64) -> &ArcSwapOption<List> {
        // Shards are told apart by other bits.
        &self.stripes[(hash >> 20) as usize % STRIPES]
    }

    fn change(&self, hash: u64, name: &[u8], change: impl Fn(&mut Subscribers)) {
        let mut more = 0;
        self.stripe(hash).rcu(|list| {
            let mut list = list.as_deref().cloned().unwrap_or_default();
            let found = find(&list, hash, name);
            let mut subscribers =
                found.map_or_else(|_| Subscribers::default(), |at| list[at].subscribers.clone());
            change(&mut subscribers);
            let channel = |subscribers| Arc::new(Channel { hash, name: name.into(), subscribers });
            more = 0;
            match (found, subscribers.is_empty()) {
                (Ok(at), false) => list[at] = channel(subscribers),
                (Ok(at), true) => {
                    list.remove(at);
                    more = -1;
                }
                (Err(at), false) => {
                    list.insert(at, channel(subscribers));
                    more = 1;
                }
                (Err(_), true) => {}
            }
            (!list.is_empty()).then(|| Arc::new(list))
        });
        self.count.fetch_add(i64::from(more) as u64, Relaxed);
    }
}

/// Where a channel stands, or would.
fn find(list: &List, hash: u64, name: &[u8]) -> Result<usize, usize> {
    list.binary_search_by(|channel| channel.hash.cmp(&hash).then_with(|| (*channel.name).cmp(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn channels_come_and_go() {
        let channels = Channels::default();
        let total = |name: &[u8]| channels.reach(7, name).total;
        // All of one hash, so that they stand in one list.
        for name in [b"b", b"a", b"c"] {
            channels.add(7, name, 1);
            channels.add(7, name, 2);
        }
        assert_eq!((channels.len(), total(b"a"), total(b"d")), (3, 2, 0));
        let mut names = Vec::new();
        channels.each(Some(b"[ab]"), |name| names.push(name.to_vec()));
        assert_eq!(names, [b"a", b"b"]);
        for _ in 0..2 {
            channels.remove(7, b"b", 1);
            channels.remove(7, b"b", 2);
        }
        assert_eq!((channels.len(), total(b"b"), total(b"c")), (2, 0, 2));
    }

    #[test]
    fn workers_change_one_stripe_at_a_time() {
        const EACH: u64 = 500;
        let channels = Channels::default();
        std::thread::scope(|scope| {
            for worker in 0..3_u16 {
                let channels = &channels;
                scope.spawn(move || {
                    for n in 0..EACH {
                        channels.add(7, b"shared", worker);
                        channels.add(7, &n.to_le_bytes(), worker);
                        channels.remove(7, &n.to_le_bytes(), worker);
                    }
                });
            }
        });
        assert_eq!((channels.len(), channels.reach(7, b"shared").total), (1, 3 * EACH));
    }
}
