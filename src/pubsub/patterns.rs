//! Which workers have subscribers of which patterns: one list, read by every publisher, copied by whoever subscribes.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::Subscribers;
use crate::glob::{self, Case};

/// A pattern that somebody has subscribed to.
#[derive(Debug, PartialEq, Eq)]
pub struct Pattern {
    /// Its hash, by which workers find their clients.
    pub hash: u64,
    /// The pattern.
    pub text: Box<[u8]>,
    /// What a message begins with, behind the byte that depends on the protocol.
    pub head: Arc<[u8]>,
    /// Who has.
    pub subscribers: Subscribers,
}

/// All patterns, in the order in which they came.
pub struct Patterns(ArcSwap<Vec<Arc<Pattern>>>);

impl Default for Patterns {
    fn default() -> Self {
        Self(ArcSwap::from_pointee(Vec::new()))
    }
}

impl Patterns {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.load().len()
    }

    /// Whether there are none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.0.load().is_empty()
    }

    /// Those that a channel's name fits.
    #[inline]
    pub fn matching(&self, channel: &[u8]) -> Vec<Arc<Pattern>> {
        let all = self.0.load();
        let fits = |pattern: &&Arc<Pattern>| glob::matches(&pattern.text, channel, Case::Sensitive);
        all.iter().filter(fits).cloned().collect()
    }

    /// A pattern has one more subscriber, on this worker.
    pub fn add(&self, hash: u64, text: &[u8], worker: u16) {
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            let place = all.iter().position(|pattern| *pattern.text == *text);
            let mut subscribers = place.map_or_else(Subscribers::default, |at| all[at].subscribers.clone());
            subscribers.add(worker);
            let head = place.map_or_else(|| head(text), |at| Arc::clone(&all[at].head));
            let pattern = Arc::new(Pattern { hash, text: text.into(), head, subscribers });
            match place {
                Some(at) => all[at] = pattern,
                None => all.push(pattern),
            }
            all
        });
    }

    /// It has one less.
    pub fn remove(&self, text: &[u8], worker: u16) {
        self.0.rcu(|all| {
            let mut all = Vec::clone(all);
            if let Some(at) = all.iter().position(|pattern| *pattern.text == *text) {
                let before = &all[at];
                let mut subscribers = before.subscribers.clone();
                subscribers.remove(worker);
                if subscribers.is_empty() {
                    all.remove(at);
                } else {
                    let head = Arc::clone(&before.head);
                    all[at] = Arc::new(Pattern { hash: before.hash, text: text.into(), head, subscribers });
                }
            }
            all
        });
    }
}

fn head(pattern: &[u8]) -> Arc<[u8]> {
    let mut head = b"4\r\n$8\r\npmessage\r\n".to_vec();
    super::message::push_bulk(&mut head, pattern);
    head.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_come_and_go() {
        let patterns = Patterns::default();
        patterns.add(1, b"a*", 0);
        patterns.add(2, b"*", 1);
        patterns.add(1, b"a*", 1);
        let matching = |channel: &[u8]| -> Vec<(Box<[u8]>, u64)> {
            patterns.matching(channel).iter().map(|p| (p.text.clone(), p.subscribers.reach().total)).collect()
        };
        assert_eq!(matching(b"abc"), [(b"a*"[..].into(), 2), (b"*"[..].into(), 1)]);
        assert_eq!(matching(b"xyz"), [(b"*"[..].into(), 1)]);
        patterns.remove(b"*", 1);
        patterns.remove(b"a*", 0);
        assert_eq!((patterns.len(), matching(b"abc")), (1, vec![(b"a*"[..].into(), 1)]));
        patterns.remove(b"a*", 1);
        patterns.remove(b"a*", 1);
        assert!(patterns.is_empty());
    }
}
