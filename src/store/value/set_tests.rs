//! Tests of sets against a naive model: the same operations on a key of a shard and on a `HashSet`.

use std::collections::HashSet;

use proptest::prelude::*;

use super::super::{Item, Limits, PackLimits, Set, packed};
use crate::store::entry::{Encoding, Entry};
use crate::store::hash::KeyHasher;
use crate::store::{DbIndex, Deadline, KeyMut, NewString, Shard};

const DB: DbIndex = DbIndex(0);
const KEY: &[u8] = b"a set";

type Model = HashSet<Vec<u8>>;

#[derive(Clone, Debug)]
enum Op {
    Add(Vec<Vec<u8>>),
    AddMany(u16, u16),
    Remove(Vec<u8>),
    RemoveMany(u16, u16),
    RemoveRandom(u64),
    Carry,
    Deadline(bool),
    Limits(u64, u64, u64),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (-20i64..20).prop_map(|value| value.to_string().into_bytes()),
        2 => (any::<i64>(), 0u32..64).prop_map(|(value, shift)| (value >> shift).to_string().into_bytes()),
        4 => "[a-c]{0,3}".prop_map(String::into_bytes),
        1 => (60usize..70, any::<u8>()).prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec(member(), 1..8).prop_map(Op::Add),
        1 => (any::<u16>(), 0u16..700).prop_map(|(first, count)| Op::AddMany(first % 3000, count)),
        6 => member().prop_map(Op::Remove),
        2 => (any::<u16>(), 0u16..700).prop_map(|(first, count)| Op::RemoveMany(first % 3000, count)),
        6 => any::<u64>().prop_map(Op::RemoveRandom),
        1 => Just(Op::Carry),
        1 => any::<bool>().prop_map(Op::Deadline),
        1 => (0u64..9, 0u64..70, 0u64..9).prop_map(|(packed, value, ints)| Op::Limits(packed, value, ints)),
        1 => Just(Op::Limits(128, 64, 512)),
        1 => Just(Op::Limits(1 << 20, 1 << 20, 1 << 20)),
    ]
}

fn apply(shard: &mut Shard, hash: u64, model: &mut Model, limits: &mut Limits, op: &Op) {
    let mut place = shard.write(DB, hash, KEY, 0);
    let numbers = |first: &u16, count: &u16| {
        (*first..first.saturating_add(*count))
            .map(|number| number.to_string().into_bytes())
            .collect::<Vec<_>>()
    };
    match op {
        Op::Add(members) => {
            let added = place.set_add(members.iter().map(|member| &member[..]), limits);
            assert_eq!(added, members.iter().filter(|member| model.insert((*member).clone())).count());
        }
        Op::AddMany(first, count) => {
            let members = numbers(first, count);
            let added = place.set_add(members.iter().map(|member| &member[..]), limits);
            assert_eq!(added, members.into_iter().filter(|member| model.insert(member.clone())).count());
        }
        Op::Remove(member) => assert_eq!(place.set_remove(Item::Bytes(member)), model.remove(member)),
        Op::RemoveMany(first, count) => {
            for member in numbers(first, count) {
                assert_eq!(place.set_remove(Item::Bytes(&member)), model.remove(&member));
            }
        }
        Op::RemoveRandom(random) => {
            let Some(member) = place.set().map(|set| set.random(*random).to_owned()) else { return };
            assert!(place.set_remove(member.as_item()));
            assert!(model.remove(&member.as_item().to_vec()));
        }
        Op::Carry => {
            let copy = place.copy();
            if let Some(taken) = place.take() {
                drop(copy);
                place.put(taken);
            }
        }
        Op::Deadline(on) => place.set_deadline(on.then_some(1 << 50)),
        Op::Limits(packed, value, ints) => {
            limits.set = PackLimits { entries_max: *packed, value_bytes_max: *value };
            limits.intset_entries_max = *ints;
        }
    }
}

fn check(shard: &mut Shard, hash: u64, model: &Model, hasher: &KeyHasher) {
    shard.check_invariants();
    let place = shard.write(DB, hash, KEY, 0);
    let Some(set) = place.set() else {
        assert!(model.is_empty());
        return;
    };
    assert_eq!(set.len(), model.len());
    assert_eq!(set.iter().map(|item| item.to_vec()).collect::<Model>(), *model);
    assert!(model.iter().take(50).all(|member| set.contains(hasher, Item::Bytes(member))));
    assert!(!set.contains(hasher, Item::Bytes(b"never a member")));
    let encoding = place.entry().map(Entry::encoding);
    match set {
        Set::Ints(ints) => {
            assert_eq!(encoding, Some(Encoding::Intset));
            assert!(super::super::Intset::validated(ints.bytes()).is_some());
        }
        Set::Packed(body, _) => {
            assert_eq!(encoding, Some(Encoding::Listpack));
            assert!(packed::is_canonical(body));
        }
        Set::Dict(dict) => dict.check_invariants(hasher),
    }
}

fn shard() -> (Shard, u64, KeyHasher) {
    let hasher = KeyHasher::new(5);
    (Shard::new(hasher.clone()), hasher.hash(KEY), hasher)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 40 }))]

    #[test]
    fn sets_are_like_their_models(ops in prop::collection::vec(op(), 1..80)) {
        let (mut shard, hash, hasher) = shard();
        let (mut model, mut limits) = (Model::new(), Limits::default());
        for op in &ops {
            apply(&mut shard, hash, &mut model, &mut limits, op);
            check(&mut shard, hash, &model, &hasher);
        }
    }
}

fn add(place: &mut KeyMut<'_>, members: &[&str]) -> &'static str {
    place.set_add(members.iter().map(|member| member.as_bytes()), &Limits::default());
    place.entry().expect("it has members").encoding().name()
}

#[test]
fn encodings_change_where_redis_changes_them() {
    let (mut shard, hash, _) = shard();
    let mut place = shard.write(DB, hash, KEY, 0);
    let numbers: Vec<String> = (0..513).map(|number| number.to_string()).collect();
    let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
    assert_eq!(add(&mut place, &numbers[..512]), "intset");
    assert_eq!(add(&mut place, &numbers[512..]), "hashtable");
    place.remove();
    assert_eq!(add(&mut place, &numbers[..127]), "intset");
    assert_eq!(add(&mut place, &["word"]), "listpack");
    assert_eq!(add(&mut place, &["another"]), "hashtable");
    place.remove();
    assert_eq!(add(&mut place, &["a"]), "listpack");
    assert_eq!(add(&mut place, &[&"a".repeat(65)]), "hashtable");
    place.remove();
    // So many are given, though they are one.
    assert_eq!(add(&mut place, &["a"; 129]), "hashtable");
}

#[test]
#[cfg_attr(miri, ignore = "many MiB, and all of it safe code")]
fn huge_sets_are_freed_in_slices() {
    let (mut shard, hash, _) = shard();
    let mut place = shard.write(DB, hash, KEY, 0);
    let members: Vec<String> = (0..100_000).map(|number| format!("member:{number:09}")).collect();
    place.set_add(members.iter().map(|member| member.as_bytes()), &Limits::default());
    place.set_string(NewString::Bytes(b"small"), Deadline::None);
    drop(place);
    shard.check_invariants();
    let full = shard.used_bytes();
    assert!(full > 1_600_000 && full < 2_500_000 && shard.has_discarded());
    assert!(!shard.free_discarded(100));
    shard.check_invariants();
    assert!(shard.used_bytes() < full - 40_000);
    assert!(shard.free_discarded(usize::MAX));
    assert!(!shard.has_discarded() && shard.used_bytes() < 10_000);
}
