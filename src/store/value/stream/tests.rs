//! Streams against a naive model: entries in a map, deleted at once.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

/// What a stream should be.
#[derive(Clone, Default)]
struct Model {
    entries: BTreeMap<StreamId, Pairs>,
    /// Of each group, by consumer: what is pending.
    pending: BTreeMap<StreamId, (usize, u64)>,
    /// How far a second group has read.
    read: StreamId,
}

#[derive(Clone, Debug)]
enum Step {
    Append(u64, u64, Pairs),
    Delete(prop::sample::Index),
    TrimLength(prop::sample::Index, bool, Removal),
    TrimId(prop::sample::Index, bool, Removal),
    Deliver(prop::sample::Index, usize),
    Acknowledge(prop::sample::Index),
    Read(usize),
    RemoveConsumer(usize),
    Copy,
}

fn pairs() -> impl Strategy<Value = Pairs> {
    let word = || super::super::packed::tests::element();
    let field = prop::sample::select(vec![&b"f"[..], b"g", b"12", b"a longer field"]);
    let fields = prop::collection::vec(field.prop_map(<[u8]>::to_vec), 1..4);
    prop_oneof![
        4 => (word(), word()).prop_map(|(a, b)| vec![(b"f".to_vec(), a), (b"g".to_vec(), b)]),
        1 => (fields, word()).prop_map(|(fields, value)| fields.into_iter().map(|field| (field, value.clone())).collect()),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let removal =
        || prop::sample::select(vec![Removal::KeepPending, Removal::ForgetPending, Removal::Acknowledged]);
    prop_oneof![
        12 => (0..3u64, 1..300u64, pairs()).prop_map(|(ms, seq, pairs)| Step::Append(ms, seq, pairs)),
        4 => index().prop_map(Step::Delete),
        1 => (index(), any::<bool>(), removal()).prop_map(|(at, near, removal)| Step::TrimLength(at, near, removal)),
        1 => (index(), any::<bool>(), removal()).prop_map(|(at, near, removal)| Step::TrimId(at, near, removal)),
        4 => (index(), 0..3usize).prop_map(|(at, consumer)| Step::Deliver(at, consumer)),
        3 => index().prop_map(Step::Acknowledge),
        1 => (0..3usize).prop_map(Step::RemoveConsumer),
        4 => (0..30usize).prop_map(Step::Read),
        1 => Just(Step::Copy),
    ]
}

fn append(stream: &mut Stream, id: StreamId, pairs: &Pairs, limits: NodeLimits) {
    let bytes = pairs.iter().map(|(field, value)| field.len() + value.len()).sum::<usize>();
    let items = pairs.iter().map(|(field, value)| (NewItem::Bytes(field), NewItem::Bytes(value)));
    stream.append(id, bytes as u64, items, limits);
}

fn read(entry: &Entry<'_>) -> (StreamId, Pairs) {
    assert_eq!(entry.pairs().count(), entry.field_count);
    (entry.id, entry.pairs().map(|(field, value)| (field.to_vec(), value.to_vec())).collect())
}

fn check(stream: &Stream, model: &Model, from: StreamId, to: StreamId) {
    stream.check_invariants();
    let expected: Vec<_> =
        model.entries.range(from..=to.max(from)).map(|(id, pairs)| (*id, pairs.clone())).collect();
    let found: Vec<_> = stream.entries(from, to.max(from)).map(|entry| read(&entry)).collect();
    assert_eq!(found, expected);
    let mut backward: Vec<_> =
        stream.entries_backward(from, to.max(from)).map(|entry| read(&entry)).collect();
    backward.reverse();
    assert_eq!(backward, expected);
    assert_eq!(stream.len() as usize, model.entries.len());
    assert_eq!(stream.last_entry(), model.entries.keys().next_back().copied());
    let group = stream.group_at(0);
    let pending: Vec<_> = group
        .pending()
        .iter()
        .map(|pending| {
            (
                pending.id,
                group.consumer(pending.consumer().expect("nothing was released")).name[0] as usize,
                pending.deliveries,
            )
        })
        .collect();
    let expected: Vec<_> =
        model.pending.iter().map(|(id, (consumer, count))| (*id, *consumer, *count)).collect();
    assert_eq!(pending, expected);
}

fn trim(stream: &mut Stream, model: &mut Model, trim: &Trim) {
    let ids: Vec<StreamId> = model.entries.keys().copied().collect();
    let (deleted, _) = stream.trim(trim, |_| ());
    let mut left = 0;
    let mut goes = Vec::new();
    for id in &ids {
        let over = match trim.to {
            TrimTo::Length(max) => (ids.len() - goes.len()) as u64 > max,
            TrimTo::Id(min) => *id < min,
        };
        if !over {
            break;
        }
        let is_referenced = model.pending.contains_key(id) || *id > model.read;
        let kept = trim.removal == Removal::Acknowledged && is_referenced;
        if kept { left += 1 } else { goes.push(*id) }
    }
    if trim.is_approximate {
        assert!(deleted as usize <= goes.len() + left);
        goes.truncate(deleted as usize);
    }
    assert_eq!(deleted as usize, goes.len());
    for id in goes {
        model.entries.remove(&id);
        if trim.removal == Removal::ForgetPending {
            model.pending.remove(&id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn streams_are_like_a_map(
        steps in prop::collection::vec(step(), 1..400),
        bytes_max in prop::sample::select(vec![0u64, 1, 100, 400, 4096]),
        entries_max in prop::sample::select(vec![0u64, 1, 2, 10, 100]),
    ) {
        let limits = NodeLimits { bytes_max, entries_max };
        let (mut stream, mut model) = (Stream::default(), Model::default());
        let mut group = Group::new(b"g", StreamId::MAX, None);
        let mut consumers: Vec<Slot> = (0..3u8).map(|name| group.add_consumer(&[name], 0)).collect();
        prop_assert!(stream.add_group(group));
        let mut other = Group::new(b"r", StreamId::MIN, None);
        let reader = other.add_consumer(b"reader", 0);
        prop_assert!(stream.add_group(other));
        for step in steps {
            let ids: Vec<StreamId> = model.entries.keys().copied().collect();
            let pick = |at: &prop::sample::Index| ids.get(at.index(ids.len().max(1))).copied().unwrap_or_default();
            let mut around = StreamId::MIN;
            match step {
                Step::Append(ms, seq, pairs) => {
                    let last = stream.last();
                    let id = if ms == 0 { StreamId { seq: last.seq + seq, ..last } } else { StreamId { ms: last.ms + ms, seq } };
                    append(&mut stream, id, &pairs, limits);
                    model.entries.insert(id, pairs);
                }
                Step::Delete(at) => {
                    around = pick(&at);
                    prop_assert_eq!(stream.delete(around), model.entries.remove(&around).is_some());
                    prop_assert!(!stream.delete(around));
                }
                Step::TrimLength(at, is_approximate, removal) => {
                    let to = TrimTo::Length(at.index(ids.len() + 1) as u64);
                    trim(&mut stream, &mut model, &Trim { to, is_approximate, limit: 0, removal });
                }
                Step::TrimId(at, is_approximate, removal) => {
                    // Any ID, so that marked entries may lie behind it in the node that it cuts.
                    let ms = at.index(stream.last().ms as usize + 2) as u64;
                    let to = TrimTo::Id(StreamId { ms, seq: 100 });
                    trim(&mut stream, &mut model, &Trim { to, is_approximate, limit: 0, removal });
                }
                Step::Deliver(at, consumer) => {
                    let id = pick(&at);
                    let count = model.pending.get(&id).map_or(1, |(_, count)| count + 1);
                    stream.edit_group(0, |group| group.deliver(id, consumers[consumer], 5, count));
                    model.pending.insert(id, (consumer, count));
                }
                Step::Acknowledge(at) => {
                    let pending: Vec<StreamId> = model.pending.keys().copied().collect();
                    let id = pending.get(at.index(pending.len().max(1))).copied().unwrap_or_default();
                    let was_pending = model.pending.remove(&id).is_some();
                    prop_assert_eq!(stream.edit_group(0, |group| group.acknowledge(id)), was_pending);
                }
                Step::Read(count) => {
                    let from = model.read.next().expect("IDs are small");
                    let expected: Vec<StreamId> =
                        model.entries.range(from..).take(count).map(|(id, _)| *id).collect();
                    let mut got = Vec::new();
                    stream.deliver_new(1, reader, count, true, 5, |entry| got.push(read(&entry).0));
                    prop_assert_eq!(&got, &expected);
                    model.read = expected.last().copied().unwrap_or(model.read);
                    around = model.read;
                }
                Step::RemoveConsumer(consumer) => {
                    let before = model.pending.len();
                    model.pending.retain(|_, (owner, _)| *owner != consumer);
                    let removed = stream.edit_group(0, |group| {
                        let removed = group.remove_consumer(consumers[consumer]);
                        consumers[consumer] = group.add_consumer(&[consumer as u8], 0);
                        removed
                    });
                    prop_assert_eq!(removed, before - model.pending.len());
                }
                Step::Copy => stream = stream.clone(),
            }
            check(&stream, &model, around, StreamId { ms: around.ms + 2, ..around });
        }
        check(&stream, &model, StreamId::MIN, StreamId::MAX);
        // Loaded again it is the same.
        let mut loaded = Stream::default();
        for (first, listpack) in stream.nodes() {
            loaded.load_node(first, listpack);
        }
        let History { last, max_deleted, added, .. } = *stream.history();
        loaded.set_history(last, max_deleted, added);
        loaded.add_group(stream.group_at(0).clone());
        check(&loaded, &model, StreamId::MIN, StreamId::MAX);
        // And freed in pieces.
        while !loaded.free_pieces(1) {
            prop_assert!(loaded.allocated() > 0);
        }
        prop_assert_eq!(loaded.nodes_bytes + loaded.groups_bytes, 0);
    }

    /// Whatever one byte of a node is changed to, it is refused or is a node that can be walked and changed.
    #[test]
    fn damaged_nodes_are_refused_or_harmless(
        entries in prop::collection::vec(pairs(), 1..8),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut stream = Stream::default();
        for (number, pairs) in entries.iter().enumerate() {
            append(&mut stream, StreamId { ms: 1, seq: number as u64 }, pairs, NodeLimits { bytes_max: 0, entries_max: 0 });
        }
        let (first, listpack) = stream.nodes().next().expect("a node");
        let mut listpack = listpack.to_vec();
        let at = at.index(listpack.len());
        listpack[at] = byte;
        if let Some(valid) = validated_node(first, &listpack) {
            let mut loaded = Stream::default();
            loaded.load_node(first, &listpack);
            loaded.set_history(valid.last, StreamId::MIN, 0);
            let ids: Vec<StreamId> = loaded.entries(StreamId::MIN, StreamId::MAX).map(|entry| read(&entry).0).collect();
            prop_assert_eq!(ids.len(), valid.live);
            prop_assert_eq!(loaded.entries_backward(StreamId::MIN, StreamId::MAX).count(), valid.live);
            for id in ids {
                prop_assert!(loaded.delete(id));
            }
        }
    }
}

#[test]
fn released_entry_is_found_first_and_belongs_to_nobody() {
    let id = |ms| StreamId { ms, seq: 0 };
    let mut group = Group::new(b"g", id(9), None);
    let alice = group.add_consumer(b"alice", 0);
    for (ms, delivered_ms) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        group.deliver(id(ms), alice, delivered_ms, 1);
    }
    let found = |group: &mut Group, until_ms, count| {
        let found = group.delivered_until(until_ms, count);
        group.check_invariants();
        found.iter().map(|pending| pending.id.ms).collect::<Vec<_>>()
    };
    assert_eq!((group.oldest_ms(), found(&mut group, 9, 5)), (10, vec![]));
    assert_eq!(found(&mut group, 30, 5), [2, 3, 1]);
    assert_eq!(found(&mut group, 30, 2), [2, 3]);
    group.release(id(4), 7);
    assert_eq!(found(&mut group, 10, 5), [4, 2]);
    assert_eq!(
        group.pending().find(id(4)).map(|pending| (pending.consumer(), pending.deliveries)),
        Some((None, 7))
    );
    assert_eq!(group.consumer(alice).pending().len(), 3);
    group.deliver(id(4), alice, 50, 8);
    assert!(group.acknowledge(id(2)));
    assert_eq!((found(&mut group, 10, 5), group.oldest_ms()), (vec![], 20));
    group.release(id(3), 0);
    assert_eq!(group.remove_consumer(alice), 2);
    assert!(group.acknowledge(id(3)));
    assert_eq!(found(&mut group, 100, 5), []);
}
