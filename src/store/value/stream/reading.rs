//! Delivering entries to the consumers of a group: new ones, and again what they have.
//!
//! Not here: which of several streams are read, and waiting (`command::stream::read`).

use super::node::Entry;
use super::{Entries, Group, Slot, Stream, StreamId};

/// How often an entry was delivered that is delivered again: no more than a reply can say.
pub fn redelivered(deliveries: u64) -> u64 {
    deliveries.saturating_add(1).min(i64::MAX as u64)
}

impl Stream {
    /// Delivers up to `count` entries that the group has not read yet, and hands each to `visit`. They become pending with
    /// the consumer, unless `is_acknowledged` says that this is done. Returns how many.
    pub fn deliver_new(
        &mut self,
        place: usize,
        consumer: Slot,
        count: usize,
        is_acknowledged: bool,
        now_ms: i64,
        mut visit: impl FnMut(Entry<'_>),
    ) -> usize {
        let Stream { nodes, history, groups, groups_bytes, .. } = self;
        let group = &mut *groups[place];
        let before = group.allocated();
        let mut delivered = 0;
        let Some(from) = group.last.next() else { return 0 };
        let mark = group.next.filter(|(last, _)| *last == group.last).map(|(_, mark)| mark);
        let mut entries = Entries::going_on(nodes, mark, from, StreamId::MAX);
        while delivered < count
            && let Some(entry) = entries.next()
        {
            group.read_count = history.read_count_with(group.last, group.read_count, entry.id);
            group.last = entry.id;
            group.next = entries.mark().map(|mark| (entry.id, mark));
            visit(entry);
            if !is_acknowledged {
                group.deliver(entry.id, consumer, now_ms, 1);
            }
            delivered += 1;
        }
        if delivered > 0 && !is_acknowledged {
            group.consumer_mut(consumer).active_ms = Some(now_ms);
        }
        *groups_bytes = *groups_bytes - before + group.allocated();
        delivered
    }

    /// Delivers again up to `count` entries that the consumer has, from an ID on, and hands each to `visit`: its ID, and
    /// itself if it was not deleted. Returns how many.
    pub fn deliver_again(
        &mut self,
        place: usize,
        consumer: Slot,
        from: StreamId,
        count: usize,
        now_ms: i64,
        mut visit: impl FnMut(StreamId, Option<Entry<'_>>),
    ) -> usize {
        let Stream { nodes, groups, .. } = self;
        let group: &mut Group = &mut groups[place];
        let mut delivered = 0;
        group.each_pending_of(consumer, from, count, |pending| {
            let entry = Entries::new(nodes, pending.id, pending.id).next();
            if entry.is_some() {
                pending.delivered_ms = now_ms;
                pending.deliveries = redelivered(pending.deliveries);
            }
            visit(pending.id, entry);
            delivered += 1;
        });
        delivered
    }
}
