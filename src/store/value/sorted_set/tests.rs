//! Tests of sorted sets against a naive model: the same operations on a key of a shard and on a sorted vector.

use proptest::prelude::*;

use super::super::packed;
use super::{LexBound, LexRange, NewSortedSet, ScoreBound, ScoreRange, SortedSet};
use crate::store::entry::{Encoding, Type};
use crate::store::hash::KeyHasher;
use crate::store::{DbIndex, Deadline, NewString, PackLimits, Shard, scaled};

const DB: DbIndex = DbIndex(0);
const KEY: &[u8] = b"a sorted set";

/// In order.
type Model = Vec<(f64, Vec<u8>)>;

#[derive(Clone, Debug)]
enum Op {
    Set(Vec<u8>, f64),
    /// Many at once: from a number on, with scores that are multiples of another one.
    SetMany(u16, u16, f64),
    Remove(Vec<u8>),
    RemoveNth(usize),
    RemoveRange(usize, usize),
    Store(u16, f64),
    Carry,
    Limits(u64),
}

fn score() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-5i32..5).prop_map(f64::from),
        3 => any::<i32>().prop_map(f64::from),
        2 => any::<f64>().prop_filter("scores are no NaN", |score| !score.is_nan()),
        1 => prop::sample::select(vec![f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1, 1e300, 5e18, 4611686018427387904.0]),
    ]
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u16..400).prop_map(|number| format!("member {number}").into_bytes()),
        2 => (-300i64..300).prop_map(|number| number.to_string().into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..5),
        1 => (50usize..400, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => (member(), score()).prop_map(|(member, score)| Op::Set(member, score)),
        4 => (0u16..4000, 1u16..600, score()).prop_map(|(from, count, score)| Op::SetMany(from, count, score)),
        4 => member().prop_map(Op::Remove),
        4 => any::<usize>().prop_map(Op::RemoveNth),
        3 => (any::<usize>(), any::<usize>()).prop_map(|(from, count)| Op::RemoveRange(from, count)),
        1 => (1u16..300, score()).prop_map(|(count, score)| Op::Store(count, score)),
        1 => Just(Op::Carry),
        1 => prop::sample::select(vec![0u64, 3, 128, 1000]).prop_map(Op::Limits),
    ]
}

fn compare(a: &(f64, Vec<u8>), b: &(f64, Vec<u8>)) -> std::cmp::Ordering {
    a.0.partial_cmp(&b.0).expect("scores are no NaN").then_with(|| a.1.cmp(&b.1))
}

fn model_set(model: &mut Model, member: &[u8], score: f64) {
    if let Some(at) = model.iter().position(|(_, own)| own == member) {
        if model[at].0 == score {
            return;
        }
        model.remove(at);
    }
    let new = (score, member.to_vec());
    let at = model.partition_point(|own| compare(own, &new).is_lt());
    model.insert(at, new);
}

fn many(from: u16, count: u16, step: f64) -> impl Iterator<Item = (Vec<u8>, f64)> {
    (0..count).map(move |index| {
        let score = step * f64::from(index % 97);
        let score = if score.is_nan() { 0.0 } else { score };
        (format!("m{:05}", u32::from(from) + u32::from(index) * 7 % 1000).into_bytes(), score)
    })
}

fn apply(shard: &mut Shard, hash: u64, model: &mut Model, limits: &mut PackLimits, op: &Op) {
    let mut place = shard.write(DB, hash, KEY, 0);
    match op {
        Op::Set(member, score) => {
            let known = model.iter().find(|(_, own)| own == member).map(|(score, _)| *score);
            let (before, after) = place.sorted_set_update(member, *limits, |_| Some(*score));
            assert_eq!((before, after), (known, Some(*score)));
            model_set(model, member, *score);
        }
        Op::SetMany(from, count, step) => {
            for (member, score) in many(*from, *count, *step) {
                place.sorted_set_update(&member, *limits, |_| Some(score));
                model_set(model, &member, score);
            }
        }
        Op::Remove(member) => {
            let at = model.iter().position(|(_, own)| own == member);
            assert_eq!(place.sorted_set_remove(member), at.is_some());
            at.map(|at| model.remove(at));
        }
        Op::Limits(entries) => limits.entries_max = *entries,
        Op::Store(count, step) => {
            let mut new = NewSortedSet::new();
            model.clear();
            for (index, (_, score)) in many(0, *count, *step).enumerate() {
                let member = index.to_string().into_bytes();
                new.add(&member, score);
                model.push((score, member));
            }
            model.sort_by(compare);
            new.sort();
            place.set_sorted_set(&new, *limits);
        }
        _ if model.is_empty() => assert!(place.entry().is_none()),
        Op::RemoveNth(at) => {
            let (_, member) = model.remove(at % model.len());
            assert!(place.sorted_set_remove(&member));
        }
        Op::RemoveRange(from, count) => {
            let from = from % model.len();
            let to = from + count % (model.len() - from + 1);
            place.sorted_set_remove_range(from..to);
            model.drain(from..to);
        }
        Op::Carry => {
            let copy = place.copy();
            let taken = place.take().expect("it exists");
            assert_eq!(taken.ty(), Type::SortedSet);
            drop(taken);
            place.put(copy.expect("it exists"));
        }
    }
}

fn check(shard: &mut Shard, hash: u64, model: &Model) {
    shard.check_invariants();
    let place = shard.write(DB, hash, KEY, 0);
    let Some(sorted_set) = place.sorted_set() else {
        assert!(model.is_empty());
        return;
    };
    let len = model.len();
    assert_eq!(sorted_set.len(), len);
    let texts = |ranks, is_reverse| {
        let members = sorted_set.members(ranks, is_reverse);
        members.map(|(member, score)| (score, member.to_vec())).collect::<Model>()
    };
    assert_eq!(&texts(0..len, false), model);
    let mut reversed = texts(0..len, true);
    reversed.reverse();
    assert_eq!(&reversed, model);
    for at in [0, len / 3, len / 2, len - 1] {
        let (score, member) = &model[at];
        assert_eq!(sorted_set.score(member), Some(*score));
        assert_eq!(sorted_set.rank(member), Some((at, *score)));
        assert_eq!(texts(at..at + 3, false), model[at..(at + 3).min(len)]);
        check_ranges(&sorted_set, model, *score, model[len / 2].0);
    }
    assert!(sorted_set.score(b"no such member").is_none() && sorted_set.by_rank(len).is_none());
    let entry = place.entry().expect("seen just above");
    match sorted_set {
        SortedSet::Packed(body, _) => {
            assert_eq!(entry.encoding(), Encoding::Listpack);
            let mut listpack = Vec::new();
            packed::write_listpack(&mut listpack, body, 2 * len);
            assert_eq!(packed::validated(&listpack), Some((body, 2 * len)));
            assert!(packed::is_canonical(body));
        }
        SortedSet::Ranking(ranking) => {
            assert_eq!(entry.encoding(), Encoding::Skiplist);
            ranking.check_invariants();
            let (mut seen, mut position) = (std::collections::BTreeSet::new(), Some(0));
            while let Some(from) = position {
                position = sorted_set.scan(from, |member, _| _ = seen.insert(member.to_vec()));
            }
            assert_eq!(seen.len(), len);
        }
    }
}

fn check_ranges(sorted_set: &SortedSet<'_>, model: &Model, one: f64, other: f64) {
    for (min_exclusive, max_exclusive) in [(false, false), (false, true), (true, false), (true, true)] {
        let range = ScoreRange {
            min: ScoreBound { score: one.min(other), is_exclusive: min_exclusive },
            max: ScoreBound { score: one.max(other), is_exclusive: max_exclusive },
        };
        let before = model.iter().filter(|(score, _)| !range.begins_by(*score)).count();
        let inside =
            model.iter().filter(|(score, _)| range.begins_by(*score) && range.lasts_to(*score)).count();
        let ranks = sorted_set.ranks_by_score(&range);
        assert_eq!(ranks.len(), inside);
        assert!(inside == 0 || ranks.start == before);
        let mut rest = sorted_set.members_from(range.min);
        assert_eq!(rest.len(), model.len() - before);
        let text = |(member, score): (crate::store::Item<'_>, f64)| (member.to_vec(), score);
        assert_eq!(rest.next().map(text), sorted_set.by_rank(before).map(text));
    }
}

fn shard() -> (Shard, u64) {
    let hasher = KeyHasher::new(5);
    (Shard::new(hasher.clone()), hasher.hash(KEY))
}

const LIMITS: PackLimits = PackLimits { entries_max: 128, value_bytes_max: 64 };

proptest! {
    #![proptest_config(ProptestConfig::with_cases(scaled(80) as u32))]
    #[test]
    fn sorted_sets_are_like_their_models(ops in prop::collection::vec(op(), 1..60)) {
        let (mut shard, hash) = shard();
        let (mut model, mut limits) = (Model::new(), LIMITS);
        for op in &ops {
            apply(&mut shard, hash, &mut model, &mut limits, op);
            check(&mut shard, hash, &model);
        }
    }

    #[test]
    fn members_of_one_score_are_found_by_their_bytes(
        members in prop::collection::btree_set("[a-c]{0,4}", 1..100),
        ends in ("[a-d]{0,3}", "[a-d]{0,3}"),
        exclusive: [bool; 2],
        entries_max in prop::sample::select(vec![0u64, 1000]),
    ) {
        let (mut shard, hash) = shard();
        let mut place = shard.write(DB, hash, KEY, 0);
        let limits = PackLimits { entries_max, ..LIMITS };
        for member in &members {
            place.sorted_set_update(member.as_bytes(), limits, |_| Some(7.0));
        }
        let bound = |text: &'static str, exclusive| {
            if exclusive { LexBound::Exclusive(text.as_bytes()) } else { LexBound::Inclusive(text.as_bytes()) }
        };
        let [min, max] = [ends.0, ends.1].map(|text| &*text.leak());
        let range = LexRange { min: bound(min, exclusive[0]), max: bound(max, exclusive[1]) };
        let inside: Vec<_> = members
            .iter()
            .filter(|member| range.begins_by(member.as_bytes()) && range.lasts_to(member.as_bytes()))
            .map(|member| member.clone().into_bytes())
            .collect();
        let sorted_set = place.sorted_set().expect("it has members");
        for is_reverse in [false, true] {
            let ranks = sorted_set.ranks_by_lex(&range, is_reverse);
            let found: Vec<_> = sorted_set.members(ranks, false).map(|(member, _)| member.to_vec()).collect();
            prop_assert_eq!(&found, &inside);
        }
    }
}

/// Ascending, descending and random insertions leave leaves well filled; removals take all memory back.
#[test]
#[cfg_attr(miri, ignore = "many members")]
fn large_sets_stay_compact_whatever_the_order() {
    const COUNT: u64 = 100_000;
    for order in 0..3u64 {
        let (mut shard, hash) = shard();
        let empty = shard.used_bytes();
        let mut place = shard.write(DB, hash, KEY, 0);
        for index in 0..COUNT {
            let score = match order {
                0 => index,
                1 => COUNT - index,
                _ => index.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40,
            };
            place.sorted_set_update(format!("member:{index:09}").as_bytes(), LIMITS, |_| Some(score as f64));
        }
        let Some(SortedSet::Ranking(ranking)) = place.sorted_set() else { panic!("it is large") };
        ranking.check_invariants();
        let per_member = super::super::external::Large::allocated(ranking) / COUNT;
        assert!((50..58).contains(&per_member), "{per_member} bytes a member in order {order}");
        for index in 0..COUNT - 1 {
            assert!(place.sorted_set_remove(format!("member:{index:09}").as_bytes()));
        }
        let Some(SortedSet::Ranking(ranking)) = place.sorted_set() else { panic!("it stays large") };
        ranking.check_invariants();
        assert!(place.sorted_set_remove(format!("member:{:09}", COUNT - 1).as_bytes()));
        drop(place);
        assert!(shard.used_bytes() <= empty + 4096);
    }
}

#[test]
#[cfg_attr(miri, ignore = "many members")]
fn large_parts_are_removed_for_what_stays() {
    let (mut shard, hash) = shard();
    let mut model = Model::new();
    let mut new = NewSortedSet::new();
    for index in 0..20_000 {
        let (member, score) = (format!("member:{index:09}").into_bytes(), f64::from(index));
        new.add(&member, score);
        model.push((score, member));
    }
    let mut place = shard.write(DB, hash, KEY, 0);
    place.set_sorted_set(&new, LIMITS);
    place.set_deadline(Some(1 << 50));
    drop(place);
    for (from, to, discards) in [(100, 15_000, true), (10, 1000, false), (1, 4000, true)] {
        shard.write(DB, hash, KEY, 0).sorted_set_remove_range(from..to);
        model.drain(from..to);
        assert_eq!(shard.has_discarded(), discards);
        check(&mut shard, hash, &model);
        while !shard.free_discarded(1000) {}
        check(&mut shard, hash, &model);
    }
    assert!(shard.write(DB, hash, KEY, 0).entry().is_some_and(|entry| entry.deadline().is_some()));
}

#[test]
#[cfg_attr(miri, ignore = "many members")]
fn huge_sets_are_freed_in_slices() {
    let (mut shard, hash) = shard();
    let empty = shard.used_bytes();
    let mut new = NewSortedSet::new();
    (0..200_000).for_each(|index| new.add(format!("member:{index:09}").as_bytes(), f64::from(index)));
    let mut place = shard.write(DB, hash, KEY, 0);
    place.set_sorted_set(&new, LIMITS);
    place.set_string(NewString::Bytes(b"small"), Deadline::None);
    drop(place);
    let full = shard.used_bytes();
    assert!(full > 10_000_000 && shard.has_discarded());
    assert!(!shard.free_discarded(100));
    shard.check_invariants();
    assert!(shard.used_bytes() < full - 150_000 && shard.used_bytes() > full - 1_000_000);
    while !shard.free_discarded(1000) {}
    assert!(shard.used_bytes() < empty + 10_000);
}

/// Who sets no limit to what is freed at once overflowed the number of the table's items.
#[test]
fn huge_set_is_freed_without_limit() {
    let (mut shard, hash) = shard();
    let empty = shard.used_bytes();
    let mut new = NewSortedSet::new();
    (0..20_000).for_each(|index| new.add(format!("member:{index:09}").as_bytes(), f64::from(index)));
    let mut place = shard.write(DB, hash, KEY, 0);
    place.set_sorted_set(&new, LIMITS);
    place.set_string(NewString::Bytes(b"small"), Deadline::None);
    drop(place);
    assert!(shard.has_discarded() && shard.free_discarded(usize::MAX));
    assert!(shard.used_bytes() < empty + 10_000);
}
