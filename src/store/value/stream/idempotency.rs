//! Which messages the producers of a stream have sent lately, so that one that is sent again is not added again.
//!
//! Design: a producer has the IDs of its messages (iids) in the order in which they came, each with the entry that it has become;
//! beside that the same in the order of their bytes, by number, so that one is found by a search and nothing is stored twice. When a
//! message came is said by its entry's ID. What is too old, or too much, goes when messages come: of the producer's own iids a few
//! at a time, and of the producers that are next in turn, so that those who send no more are forgotten too. Nothing is found
//! that is too old, whether it has gone or not.
//!
//! Invariants: a producer has an iid at least, and none twice; `bytes` is the sum of what producers allocated.
//!
//! Costs: adding takes O(log n) steps, and moves numbers of 4 bytes, at most as many as the limit of iids. Counting what is tracked
//! looks at each producer.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::StreamId;

/// Iids that are too old go so many at a time.
const EXPIRED_MAX: usize = 16;
/// Producers that are looked at when a message comes: more than one, so that they go faster than they come.
const LOOKED_AT: usize = 2;
/// About so much is allocated for each part that a producer is freed in.
const PART_BYTES: usize = 4096;
/// Iids that are freed together.
const FREED_TOGETHER: usize = 64;

/// For how long and how many iids of a producer are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IidLimits {
    /// For how many seconds.
    pub duration_s: u32,
    /// How many.
    pub count_max: u32,
}

impl IidLimits {
    /// The most seconds.
    pub const DURATION_S_MAX: u32 = 86_400;
    /// The most iids.
    pub const COUNT_MAX: u32 = 10_000;

    /// Whether a message is forgotten that has become this entry.
    fn is_over(self, id: StreamId, now_ms: u64) -> bool {
        id.ms.saturating_add(u64::from(self.duration_s) * 1000) <= now_ms
    }
}

impl Default for IidLimits {
    /// The defaults of Redis's directives.
    fn default() -> IidLimits {
        IidLimits { duration_s: 100, count_max: 100 }
    }
}

/// A message: what its producer calls it, and the entry that it has become.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Message {
    iid: Box<[u8]>,
    id: StreamId,
}

/// What is kept of one producer.
#[derive(Clone, Debug, Default)]
pub struct Producer {
    /// In the order in which they came.
    messages: VecDeque<Message>,
    /// Numbers of messages in the order of their iids.
    by_iid: Vec<u32>,
    /// The number of the first message; numbers wrap.
    first: u32,
    iid_bytes: usize,
}

impl Producer {
    /// Iids and the entries that they have become, in the order in which they came.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], StreamId)> {
        self.messages.iter().map(|message| (&*message.iid, message.id))
    }

    fn place_of(&self, number: u32) -> usize {
        number.wrapping_sub(self.first) as usize
    }

    /// The place of an iid in the order of their bytes, or where it would be.
    fn search(&self, iid: &[u8]) -> Result<usize, usize> {
        self.by_iid.binary_search_by(|number| (*self.messages[self.place_of(*number)].iid).cmp(iid))
    }

    fn find(&self, iid: &[u8]) -> Option<usize> {
        self.search(iid).ok().map(|place| self.place_of(self.by_iid[place]))
    }

    /// Adds an iid, or says anew which entry it has become.
    fn set(&mut self, iid: &[u8], id: StreamId) {
        match self.search(iid) {
            Ok(place) => {
                let place = self.place_of(self.by_iid[place]);
                self.messages[place].id = id;
            }
            Err(place) => {
                self.by_iid.insert(place, self.first.wrapping_add(self.messages.len() as u32));
                self.messages.push_back(Message { iid: iid.into(), id });
                self.iid_bytes += iid.len();
            }
        }
    }

    fn remove_first(&mut self) {
        let Some(message) = self.messages.front() else { return };
        let place = self.search(&message.iid).expect("each message is in both orders");
        self.by_iid.remove(place);
        self.iid_bytes -= message.iid.len();
        self.messages.pop_front();
        self.first = self.first.wrapping_add(1);
    }

    /// Removes some of what is too old.
    fn expire(&mut self, limits: IidLimits, now_ms: u64) {
        for _ in 0..EXPIRED_MAX {
            match self.messages.front() {
                Some(message) if limits.is_over(message.id, now_ms) => self.remove_first(),
                _ => break,
            }
        }
    }

    /// How many iids are not too old. They are about in the order of their age.
    fn live_count(&self, limits: IidLimits, now_ms: u64) -> usize {
        self.messages.len() - self.messages.partition_point(|message| limits.is_over(message.id, now_ms))
    }

    fn allocated(&self) -> usize {
        self.messages.capacity() * size_of::<Message>() + self.by_iid.capacity() * 4 + self.iid_bytes
    }
}

/// How many there are of `Idempotency`, wherever they lie.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Whether any stream may know its producers: then who reads all must understand that. What is yet to be freed counts too.
pub fn any_stream_knows_producers() -> bool {
    COUNT.load(Relaxed) > 0
}

/// Counts as long as it is there.
#[derive(Debug)]
struct Counted;

impl Counted {
    fn new() -> Counted {
        COUNT.fetch_add(1, Relaxed);
        Counted
    }
}

impl Clone for Counted {
    fn clone(&self) -> Counted {
        Counted::new()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        COUNT.fetch_sub(1, Relaxed);
    }
}

/// What an idempotent stream knows.
#[derive(Clone, Debug)]
pub struct Idempotency {
    _counted: Counted,
    limits: IidLimits,
    producers: BTreeMap<Box<[u8]>, Producer>,
    /// The producer that was looked at last for what is too old.
    looked_at: Box<[u8]>,
    bytes: usize,
    /// How many iids were ever added.
    pub added: u64,
    /// How many messages came that had been added. Only who was sent them knows: they change nothing else, so that neither
    /// the append-only file nor replicas are told.
    pub duplicates: u64,
}

/// What was, before a message came.
pub struct Before {
    producers: Vec<(Box<[u8]>, Option<Producer>)>,
    looked_at: Box<[u8]>,
    added: u64,
    duplicates: u64,
}

impl Idempotency {
    /// No producer yet.
    pub fn new(limits: IidLimits) -> Idempotency {
        Idempotency {
            _counted: Counted::new(),
            limits,
            producers: BTreeMap::new(),
            looked_at: Box::default(),
            bytes: 0,
            added: 0,
            duplicates: 0,
        }
    }

    /// Up to when and how many iids are kept.
    pub fn limits(&self) -> IidLimits {
        self.limits
    }

    /// Producers, in the order of their names.
    pub fn producers(&self) -> impl ExactSizeIterator<Item = (&[u8], &Producer)> {
        self.producers.iter().map(|(pid, producer)| (&**pid, producer))
    }

    /// How many producers have iids that are not too old, and how many those are.
    pub fn tracked(&self, now_ms: u64) -> (usize, usize) {
        let counts = self.producers.values().map(|producer| producer.live_count(self.limits, now_ms));
        counts.filter(|count| *count > 0).fold((0, 0), |(pids, iids), count| (pids + 1, iids + count))
    }

    /// The entry that a message has become, if it was sent not too long ago.
    pub fn find(&self, pid: &[u8], iid: &[u8], now_ms: u64) -> Option<StreamId> {
        let producer = self.producers.get(pid)?;
        let id = producer.messages[producer.find(iid)?].id;
        (!self.limits.is_over(id, now_ms)).then_some(id)
    }

    /// A message has become an entry. What is too much of its producer goes, and some of what is too old.
    pub fn record(&mut self, pid: &[u8], iid: &[u8], id: StreamId, now_ms: u64) {
        self.added += 1;
        self.load(pid, iid, id, now_ms);
    }

    /// The same without counting it.
    pub fn load(&mut self, pid: &[u8], iid: &[u8], id: StreamId, now_ms: u64) {
        if !self.producers.contains_key(pid) {
            self.producers.insert(pid.into(), Producer::default());
            self.bytes += allocated_around(pid);
        }
        let limits = self.limits;
        self.edit(pid, |producer| {
            producer.expire(limits, now_ms);
            producer.set(iid, id);
            while producer.messages.len() > limits.count_max as usize {
                producer.remove_first();
            }
        });
    }

    /// What undoes that a message is recorded and others are looked at.
    pub fn before(&self, pid: &[u8]) -> Before {
        let next = self.behind(&self.looked_at).take(LOOKED_AT);
        let pids = std::iter::once(pid).chain(next.filter(|next| *next != pid));
        let producers = pids.map(|pid| (pid.into(), self.producers.get(pid).cloned())).collect();
        let looked_at = self.looked_at.clone();
        Before { producers, looked_at, added: self.added, duplicates: self.duplicates }
    }

    /// Has all be as it was.
    pub fn put_back(&mut self, before: Before) {
        for (pid, before) in before.producers {
            self.remove(&pid);
            if let Some(before) = before {
                self.bytes += allocated_around(&pid) + before.allocated();
                self.producers.insert(pid, before);
            }
        }
        self.look_on(before.looked_at);
        (self.added, self.duplicates) = (before.added, before.duplicates);
    }

    /// Looks at the producers that are next in turn, and forgets those that have sent nothing for too long.
    pub fn expire_next(&mut self, now_ms: u64) {
        for _ in 0..LOOKED_AT {
            let Some(pid) = self.behind(&self.looked_at).next().map(Box::<[u8]>::from) else { return };
            let limits = self.limits;
            if self.edit(&pid, |producer| {
                producer.expire(limits, now_ms);
                producer.messages.is_empty()
            }) {
                self.remove(&pid);
            }
            self.look_on(pid);
        }
    }

    /// Producers behind this one, and then from the first on.
    fn behind(&self, pid: &[u8]) -> impl Iterator<Item = &[u8]> + use<'_> {
        let behind = self.producers.range::<[u8], _>((Bound::Excluded(pid), Bound::Unbounded));
        behind.chain(&self.producers).map(|(pid, _)| &**pid)
    }

    fn look_on(&mut self, pid: Box<[u8]>) {
        self.bytes = self.bytes + pid.len() - self.looked_at.len();
        self.looked_at = pid;
    }

    /// Sets the limits. Where that changes them all producers are forgotten: what there was, to be freed.
    pub fn set_limits(&mut self, limits: IidLimits) -> Option<Idempotency> {
        if self.limits == limits {
            return None;
        }
        let (added, duplicates) = (self.added, self.duplicates);
        Some(std::mem::replace(self, Idempotency { added, duplicates, ..Idempotency::new(limits) }))
    }

    fn edit<R>(&mut self, pid: &[u8], edit: impl FnOnce(&mut Producer) -> R) -> R {
        let producer = self.producers.get_mut(pid).expect("the caller has looked for it");
        let before = producer.allocated();
        let result = edit(producer);
        self.bytes = self.bytes - before + producer.allocated();
        result
    }

    fn remove(&mut self, pid: &[u8]) {
        if let Some(removed) = self.producers.remove(pid) {
            self.bytes -= allocated_around(pid) + removed.allocated();
        }
    }

    /// Bytes allocated for all of it.
    pub fn allocated(&self) -> usize {
        size_of::<Idempotency>() + self.bytes
    }

    /// How many parts it is freed in.
    pub fn pieces(&self) -> usize {
        self.bytes / PART_BYTES + self.producers.len() / FREED_TOGETHER
    }

    /// Frees a part of it; true when none is left. What is left is of no use but to be freed.
    pub fn free_part(&mut self) -> bool {
        for _ in 0..FREED_TOGETHER {
            let Some(mut last) = self.producers.last_entry() else { return true };
            let producer = last.get_mut();
            if producer.messages.len() > FREED_TOGETHER {
                let before = producer.allocated();
                let left = producer.messages.len() - FREED_TOGETHER;
                let gone = producer.messages.drain(left..).map(|message| message.iid.len()).sum::<usize>();
                producer.iid_bytes -= gone;
                self.bytes = self.bytes - before + producer.allocated();
                return false;
            }
            let (pid, producer) = last.remove_entry();
            self.bytes -= allocated_around(&pid) + producer.allocated();
            if producer.messages.len() > 1 {
                break;
            }
        }
        self.producers.is_empty()
    }

    /// Checks what is known of parts against these.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        let mut bytes = self.looked_at.len();
        for (pid, producer) in &self.producers {
            assert!(
                !producer.messages.is_empty() && producer.messages.len() <= self.limits.count_max as usize
            );
            assert_eq!(producer.messages.len(), producer.by_iid.len());
            let iids: Vec<_> = producer
                .by_iid
                .iter()
                .map(|number| &producer.messages[producer.place_of(*number)].iid)
                .collect();
            assert!(iids.windows(2).all(|pair| pair[0] < pair[1]));
            assert_eq!(iids.iter().map(|iid| iid.len()).sum::<usize>(), producer.iid_bytes);
            bytes += allocated_around(pid) + producer.allocated();
        }
        assert_eq!(bytes, self.bytes);
    }
}

/// What a producer's name and place take, about: nodes of the tree are half full at least.
fn allocated_around(pid: &[u8]) -> usize {
    pid.len() + size_of::<(Box<[u8]>, Producer)>() * 3 / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: IidLimits = IidLimits { duration_s: 2, count_max: 5 };

    /// What was sent, oldest first: producer, iid, entry.
    type Model = Vec<(u8, u8, StreamId)>;

    fn check(idempotency: &Idempotency, model: &Model, now_ms: u64) {
        idempotency.check_invariants();
        let mut live = 0;
        for pid in 0..4_u8 {
            let sent: Vec<_> = model.iter().filter(|(by, ..)| *by == pid).collect();
            let kept = &sent[sent.len().saturating_sub(LIMITS.count_max as usize)..];
            for iid in 0..12_u8 {
                let expected = kept.iter().find(|(_, of, id)| *of == iid && !LIMITS.is_over(*id, now_ms));
                live += usize::from(expected.is_some());
                let found = idempotency.find(&[pid], &[iid], now_ms);
                assert_eq!(found, expected.map(|(.., id)| *id), "{pid} {iid}");
            }
        }
        assert_eq!(idempotency.tracked(now_ms).1, live);
    }

    proptest! {
        #[test]
        fn what_was_sent_lately_is_found(steps in prop::collection::vec((0..4_u8, 0..12_u8, 0..700_u64), 1..200)) {
            let (mut idempotency, mut model, mut now_ms) = (Idempotency::new(LIMITS), Model::new(), 10_000);
            for (pid, iid, later_ms) in steps {
                now_ms += later_ms;
                if idempotency.find(&[pid], &[iid], now_ms).is_none() {
                    let id = StreamId { ms: now_ms, seq: 0 };
                    idempotency.record(&[pid], &[iid], id, now_ms);
                    idempotency.expire_next(now_ms);
                    model.retain(|(_, _, id)| !LIMITS.is_over(*id, now_ms));
                    model.push((pid, iid, id));
                }
                check(&idempotency, &model, now_ms);
            }
        }

        #[test]
        fn it_is_freed_in_parts(counts in prop::collection::vec(1..400_usize, 0..20)) {
            let mut idempotency = Idempotency::new(IidLimits { duration_s: 1, count_max: 10_000 });
            for (pid, count) in counts.iter().enumerate() {
                (0..*count).for_each(|iid| {
                    let iid = iid.to_string();
                    idempotency.load(&[pid as u8], iid.as_bytes(), StreamId { ms: 1, seq: 1 }, 0);
                });
            }
            idempotency.check_invariants();
            let mut parts = 0;
            while !idempotency.free_part() {
                parts += 1;
                prop_assert!(parts < 1000);
            }
            prop_assert_eq!(idempotency.bytes, 0);
        }
    }

    #[test]
    fn a_producer_that_sends_no_more_is_forgotten() {
        let mut idempotency = Idempotency::new(LIMITS);
        for sender in 0..1000_u64 {
            let id = StreamId { ms: sender * 10, seq: 0 };
            idempotency.record(&sender.to_be_bytes(), b"once", id, id.ms);
            idempotency.expire_next(id.ms);
        }
        idempotency.check_invariants();
        // Those of the last two seconds, and some of before.
        assert!(idempotency.producers.len() < 500, "{}", idempotency.producers.len());
        assert_eq!(idempotency.tracked(9_990), (200, 200));
    }
}
