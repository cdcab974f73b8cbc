//! Tests of lists against a naive model: the same operations on a key of a shard and on a `VecDeque`.

use std::collections::VecDeque;

use bytes::Bytes;
use proptest::prelude::*;

use super::super::packed::{self, tests::element};
use super::super::{End, List, ListLimits, ListNode, NewItem, Side};
use crate::store::entry::{Encoding, Type};
use crate::store::hash::KeyHasher;
use crate::store::{DbIndex, Deadline, NewString, OwnedEntry, Shard};

const DB: DbIndex = DbIndex(0);
const KEY: &[u8] = b"a list";

type Model = VecDeque<Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Push(bool, Vec<Vec<u8>>),
    Remove(usize, usize),
    Pop(bool),
    Insert(usize, bool, Vec<u8>),
    Replace(usize, Vec<u8>),
    RemoveEqual(bool, usize, usize),
    Rotate(bool, bool),
    Keep(usize, usize),
    Carry,
    Deadline(bool),
    Limits(i32),
}

fn some_element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => element(),
        4 => prop::sample::select(vec![b"a".to_vec(), b"b".to_vec(), b"12".to_vec()]),
        1 => (4000usize..20_000, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (any::<bool>(), prop::collection::vec(some_element(), 1..20)).prop_map(|(l, v)| Op::Push(l, v)),
        3 => (any::<usize>(), 0usize..12).prop_map(|(at, count)| Op::Remove(at, count)),
        4 => any::<bool>().prop_map(Op::Pop),
        6 => (any::<usize>(), any::<bool>(), some_element())
            .prop_map(|(at, after, item)| Op::Insert(at, after, item)),
        6 => (any::<usize>(), some_element()).prop_map(|(at, item)| Op::Replace(at, item)),
        2 => (any::<bool>(), 1usize..9, any::<usize>()).prop_map(|(l, count, at)| Op::RemoveEqual(l, count, at)),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(from, to)| Op::Rotate(from, to)),
        1 => (any::<usize>(), any::<usize>()).prop_map(|(start, count)| Op::Keep(start, count)),
        1 => Just(Op::Carry),
        1 => any::<bool>().prop_map(Op::Deadline),
        1 => prop::sample::select(vec![-2, -1, -5, 4, 40]).prop_map(Op::Limits),
    ]
}

fn end(left: bool) -> End {
    if left { End::Left } else { End::Right }
}

/// Long ones as they come from a client: outside of its input.
fn new_item(item: &[u8]) -> NewItem<'_> {
    if item.len() > 10_000 { NewItem::Blob(Bytes::copy_from_slice(item)) } else { NewItem::Bytes(item) }
}

/// One operation on both; the model says what may be asked for.
fn apply(shard: &mut Shard, hash: u64, model: &mut Model, limits: &mut ListLimits, op: &Op) {
    let mut place = shard.write(DB, hash, KEY, 0);
    let len = model.len();
    match op {
        Op::Push(left, items) => {
            let new_len = place.list_push(end(*left), items.iter().map(|item| new_item(item)), *limits);
            for item in items {
                if *left { model.push_front(item.clone()) } else { model.push_back(item.clone()) }
            }
            assert_eq!(new_len, model.len());
        }
        Op::Limits(directive) => *limits = ListLimits::new(*directive),
        _ if len == 0 => assert!(place.entry().is_none()),
        Op::Remove(at, count) => {
            let start = at % len;
            place.list_remove(start, *count, *limits);
            model.drain(start..(start + count).min(len));
        }
        Op::Pop(left) => {
            let mut shown = Vec::new();
            place.list_pop(end(*left), *limits, |item| shown = item.to_vec());
            assert_eq!(Some(shown), if *left { model.pop_front() } else { model.pop_back() });
        }
        Op::Insert(at, after, item) => {
            let side = if *after { Side::After } else { Side::Before };
            place.list_insert(at % len, side, &new_item(item), *limits);
            model.insert(at % len + usize::from(*after), item.clone());
        }
        Op::Replace(at, item) => {
            place.list_replace(at % len, &new_item(item), *limits);
            model[at % len] = item.clone();
        }
        Op::RemoveEqual(left, count, at) => {
            let wanted = model[at % len].clone();
            let removed = place.list_remove_equal(end(*left), *count, &new_item(&wanted), *limits);
            let mut left_over = *count;
            let mut keep = |item: &Vec<u8>| {
                let goes = *item == wanted && left_over > 0;
                left_over -= usize::from(goes);
                !goes
            };
            if *left {
                model.retain(keep);
            } else {
                *model = model
                    .drain(..)
                    .rev()
                    .filter(|item| keep(item))
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect();
            }
            assert_eq!(removed, len - model.len());
        }
        Op::Rotate(from, to) => {
            place.list_rotate(end(*from), end(*to), *limits);
            let item = if *from { model.pop_front() } else { model.pop_back() };
            let item = item.expect("it is not empty");
            if *to { model.push_front(item) } else { model.push_back(item) }
        }
        Op::Keep(start, count) => {
            let start = start % len;
            let count = 1 + count % (len - start);
            place.list_keep(start, count, *limits);
            model.truncate(start + count);
            model.drain(..start);
        }
        Op::Carry => {
            let copy = place.copy();
            let taken: OwnedEntry = place.take().expect("it exists");
            assert_eq!(taken.ty(), Type::List);
            drop(copy);
            place.put(taken);
        }
        Op::Deadline(on) => place.set_deadline(on.then_some(1 << 50)),
    }
}

fn check(shard: &mut Shard, hash: u64, model: &Model) {
    shard.check_invariants();
    let place = shard.write(DB, hash, KEY, 0);
    let Some(list) = place.list() else {
        assert!(model.is_empty());
        return;
    };
    assert_eq!(list.len(), model.len());
    assert!(list.iter().map(|item| item.to_vec()).eq(model.iter().cloned()));
    let last = model.len() - 1;
    assert!(
        list.items(End::Right, last, usize::MAX).map(|item| item.to_vec()).eq(model.iter().rev().cloned())
    );
    for index in [0, last / 3, last / 2, last] {
        assert_eq!(list.get(index).expect("it is inside").to_vec(), model[index]);
        let from: Vec<_> = list.items(End::Left, index, 3).map(|item| item.to_vec()).collect();
        assert!(from.iter().eq(model.iter().skip(index).take(3)));
    }
    assert!(list.get(model.len()).is_none());
    let entry = place.entry().expect("seen just above");
    match list {
        List::Packed(body, count) => {
            assert_eq!(entry.encoding(), Encoding::Listpack);
            let mut listpack = Vec::new();
            packed::write_listpack(&mut listpack, body, count);
            assert_eq!(packed::validated(&listpack), Some((body, count)));
            assert!(packed::is_canonical(body));
        }
        List::Deque(deque) => {
            assert_eq!(entry.encoding(), Encoding::Quicklist);
            deque.check_invariants();
        }
    }
}

fn shard() -> (Shard, u64) {
    let hasher = KeyHasher::new(5);
    (Shard::new(hasher.clone()), hasher.hash(KEY))
}

proptest! {
    #[test]
    fn lists_are_like_their_models(ops in prop::collection::vec(op(), 1..120)) {
        let (mut shard, hash) = shard();
        let (mut model, mut limits) = (Model::new(), ListLimits::new(-2));
        for op in &ops {
            apply(&mut shard, hash, &mut model, &mut limits, op);
            check(&mut shard, hash, &model);
        }
    }
}

#[test]
fn a_small_list_is_one_short_allocation() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, b"0123456789abcdef", 0);
    let items = [&b"one"[..], b"2", b"three"];
    place.list_push(End::Right, items.into_iter().map(NewItem::Bytes), ListLimits::new(-2));
    // Header 8, key 16, count 2, elements 5 + 2 + 7.
    assert_eq!(place.entry().expect("just made").bytes_allocated(), 40);
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, KEY, 0);
    let limits = ListLimits::new(4);
    let push = |place: &mut crate::store::KeyMut<'_>, count: usize| {
        place.list_push(End::Right, (0..count).map(|_| NewItem::Bytes(b"x")), limits);
    };
    let encoding = |place: &crate::store::KeyMut<'_>| place.entry().expect("it exists").encoding();
    push(&mut place, 4);
    assert_eq!(encoding(&place), Encoding::Listpack);
    push(&mut place, 1);
    assert_eq!(encoding(&place), Encoding::Quicklist);
    place.list_remove(4, 1, limits);
    place.list_remove(0, 1, limits);
    assert_eq!(encoding(&place), Encoding::Quicklist);
    place.list_remove(0, 1, limits);
    assert_eq!(encoding(&place), Encoding::Listpack);
}

/// What DUMP of Redis 8.2 shows of the same steps. Elements went to other nodes, and lists that were copied or changed under
/// another `list-max-listpack-size` had another encoding.
#[test]
fn elements_share_nodes_as_in_redis() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, KEY, 0);
    let limits = ListLimits::new(2);
    let (long, text) = (vec![b'v'; 9000], NewItem::Bytes);
    place.list_push(End::Right, (1..=4).map(NewItem::Int), limits);
    // Later limits are those of lists that are made later.
    let limits = ListLimits::new(64);
    place.list_insert(1, Side::After, &text(b"x"), limits);
    place.list_insert(3, Side::Before, &text(b"y"), limits);
    place.list_insert(0, Side::After, &text(b"z"), limits);
    place.list_replace(3, &text(&long), limits);
    place.list_replace(0, &text(b"w"), limits);
    place.list_replace(3, &text(b"s"), limits);
    let counts: Vec<usize> = place
        .list()
        .expect("it exists")
        .nodes()
        .map(|node| match node {
            ListNode::Listpack(_, count) => count,
            ListNode::Long(_) => 0,
        })
        .collect();
    assert_eq!(counts, [1, 2, 2, 2]);
    place.without_event();
}

/// A list that has more elements than the limit of today was rotated as it lay.
#[test]
fn rotation_heeds_the_limit() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, KEY, 0);
    place.list_push(End::Right, (1..=7).map(NewItem::Int), ListLimits::new(64));
    place.list_rotate(End::Right, End::Left, ListLimits::new(5));
    assert_eq!(place.entry().expect("it exists").encoding(), Encoding::Quicklist);
    place.without_event();
}

#[test]
#[cfg_attr(miri, ignore = "many MiB, and all of it safe code")]
fn huge_lists_are_freed_in_slices() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, KEY, 0);
    let item = [7; 1000];
    place.list_push(End::Left, (0..10_000).map(|_| NewItem::Bytes(&item)), ListLimits::new(-2));
    place.set_string(NewString::Bytes(b"small"), Deadline::None);
    drop(place);
    shard.check_invariants();
    let full = shard.used_bytes();
    assert!(full > 10_000_000 && shard.has_discarded() && shard.cron_due());
    assert!(!shard.free_discarded(100));
    shard.check_invariants();
    assert!(shard.used_bytes() < full - 700_000);
    assert!(shard.free_discarded(usize::MAX));
    assert!(!shard.has_discarded() && shard.used_bytes() < 10_000);
}

#[test]
#[cfg_attr(miri, ignore = "many MiB, and all of it safe code")]
fn huge_parts_of_lists_are_freed_in_slices() {
    let (mut shard, hash) = shard();
    let limits = ListLimits::new(-2);
    let items: Model = (0u32..20_000).map(|n| [&n.to_be_bytes()[..], &[7; 996]].concat()).collect();
    let mut model = items.clone();
    let mut place = shard.write(DB, hash, KEY, 0);
    place.list_push(End::Right, items.iter().map(|item| new_item(item)), limits);
    drop(place);
    let full = shard.used_bytes();
    // From the middle, from both ends, and so little that it is freed at once.
    for (op, discards) in [
        (Op::Remove(5_003, 4_002), true),
        (Op::Keep(2_001, 10_000), true),
        (Op::Remove(0, 100), false),
        (Op::Keep(6_000, 3), true),
    ] {
        let before = shard.used_bytes();
        apply(&mut shard, hash, &mut model, &mut ListLimits::new(-2), &op);
        check(&mut shard, hash, &model);
        assert_eq!(shard.has_discarded(), discards, "{op:?}");
        if discards {
            // What lies in no whole node is freed at once, and rings may shrink.
            assert!(shard.used_bytes() > before - 500_000, "{op:?}");
            assert!(!shard.free_discarded(100));
            check(&mut shard, hash, &model);
            assert!(shard.used_bytes() < before - 700_000, "{op:?}");
            assert!(shard.free_discarded(usize::MAX));
        }
        check(&mut shard, hash, &model);
    }
    assert!(full > 20_000_000 && shard.used_bytes() < 50_000);
}
