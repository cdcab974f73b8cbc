//! Tests of hashes against a naive model: the same operations on a key of a shard and on a `BTreeMap`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::packed::{self, tests::element};
use super::super::{Hash, NewHash, NewItem, PackForm, PackLimits};
use crate::store::entry::{Encoding, Type};
use crate::store::hash::KeyHasher;
use crate::store::{DbIndex, Deadline, Expired, KeyMut, NewString, OwnedEntry, Shard};

const DB: DbIndex = DbIndex(0);
const KEY: &[u8] = b"a hash";
const NOW_MS: u64 = 1_800_000_000_000;
const WIDE: PackLimits = PackLimits { entries_max: 512, value_bytes_max: 64 };

type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug)]
enum Op {
    Set(Vec<u8>, Vec<u8>, SetDeadline),
    SetDeadline(usize, Option<u64>),
    Remove(usize),
    Hold,
    Note(u64),
    Lapse(u64),
    Expire(u64),
    Carry,
    Load(bool),
    Deadline(bool),
    Limits(u64, u64),
}

#[derive(Clone, Copy, Debug)]
enum SetDeadline {
    None,
    Keep,
    At(u64),
}

fn some_element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => (0u8..40).prop_map(|number| format!("field {number}").into_bytes()),
        2 => element(),
        1 => prop::sample::select(vec![b"a".to_vec(), b"12".to_vec(), b"-7".to_vec(), Vec::new()]),
    ]
}

fn time() -> impl Strategy<Value = u64> {
    (0u64..20).prop_map(|step| NOW_MS + step * 1500)
}

fn op() -> impl Strategy<Value = Op> {
    let deadline = prop_oneof![
        3 => Just(SetDeadline::None),
        2 => Just(SetDeadline::Keep),
        2 => time().prop_map(SetDeadline::At),
    ];
    prop_oneof![
        12 => (some_element(), some_element(), deadline).prop_map(|(name, value, at)| Op::Set(name, value, at)),
        4 => (any::<usize>(), prop::option::of(time())).prop_map(|(at, ms)| Op::SetDeadline(at, ms)),
        4 => any::<usize>().prop_map(Op::Remove),
        1 => Just(Op::Hold),
        1 => time().prop_map(Op::Note),
        1 => time().prop_map(Op::Lapse),
        1 => time().prop_map(Op::Expire),
        1 => Just(Op::Carry),
        1 => any::<bool>().prop_map(Op::Load),
        1 => any::<bool>().prop_map(Op::Deadline),
        1 => (prop::sample::select(vec![0, 3, 20, 512]), prop::sample::select(vec![10, 64, 5000]))
            .prop_map(|(entries, bytes)| Op::Limits(entries, bytes)),
    ]
}

/// The name of a field of the model.
fn nth(model: &Model, at: usize) -> Vec<u8> {
    model.keys().nth(at % model.len()).expect("the index is below").clone()
}

fn apply(shard: &mut Shard, hash: u64, model: &mut Model, limits: &mut PackLimits, op: &Op) {
    let hasher = KeyHasher::new(5);
    if let Op::Expire(now_ms) = op {
        // The tables' time goes by quarters of a second.
        let now_ms = now_ms + 256;
        let mut names = Vec::new();
        let mut on_expired = |_, key: &[u8], what: Expired<'_>| {
            assert_eq!(key, KEY);
            if let Expired::Subkey(name) = what {
                names.push(name.to_vec());
            }
        };
        while !shard.expire_due(now_ms, 100, &mut on_expired).done {}
        for name in &names {
            let (_, deadline) = model.remove(name).expect("it was there");
            assert!(deadline.is_some_and(|deadline| deadline <= now_ms));
        }
        assert!(model.values().all(|(_, deadline)| deadline.is_none_or(|deadline| deadline > now_ms - 256)));
        return;
    }
    let mut place = shard.write(DB, hash, KEY, NOW_MS);
    match op {
        Op::Set(name, value, deadline) => {
            let before = model.get(name).and_then(|(_, deadline)| *deadline);
            let (deadline, after) = match *deadline {
                SetDeadline::None => (Deadline::None, None),
                SetDeadline::Keep => (Deadline::Keep, before),
                SetDeadline::At(ms) => (Deadline::At(ms), Some(ms)),
            };
            let is_new = place.hash_set(name, value, deadline, *limits);
            place.hash_note_deadline(before.into_iter().chain(after).min());
            assert_eq!(is_new, model.insert(name.clone(), (value.clone(), after)).is_none());
        }
        Op::Limits(entries_max, value_bytes_max) => {
            *limits = PackLimits { entries_max: *entries_max, value_bytes_max: *value_bytes_max };
        }
        _ if model.is_empty() => assert!(place.entry().is_none()),
        Op::SetDeadline(at, deadline) => {
            let name = nth(model, *at);
            place.hash_set_deadline(&name, *deadline);
            let before = std::mem::replace(&mut model.get_mut(&name).expect("it is there").1, *deadline);
            place.hash_note_deadline(before.into_iter().chain(*deadline).min());
        }
        Op::Remove(at) => {
            let name = nth(model, *at);
            assert!(place.hash_remove(&name));
            assert!(!place.hash_remove(&name));
            model.remove(&name);
        }
        Op::Hold => place.hash_hold_deadlines(),
        Op::Note(ms) => place.hash_note_deadline(Some(*ms)),
        Op::Lapse(now_ms) => {
            let mut removed = 0;
            place.hash_remove_expired(*now_ms, &mut |name| {
                assert!(model[name].1.is_some_and(|deadline| deadline <= *now_ms));
                model.remove(name);
                removed += 1;
            });
            assert!(model.values().all(|(_, deadline)| deadline.is_none_or(|deadline| deadline > *now_ms)));
        }
        Op::Carry => {
            let copy = place.copy();
            let taken: OwnedEntry = place.take().expect("it exists");
            assert_eq!(taken.ty(), Type::Hash);
            drop(copy);
            place.put(taken);
        }
        Op::Load(sorts) => {
            let hash = place.hash().expect("it exists");
            let has_deadlines = model.values().any(|(_, deadline)| deadline.is_some());
            let mut new = NewHash::new(if has_deadlines { PackForm::Triples } else { PackForm::Pairs });
            for field in hash.iter() {
                let (name, value) = (field.name.to_vec(), field.value.to_vec());
                new.add(&NewItem::Bytes(&name), &NewItem::Bytes(&value), field.deadline);
            }
            if *sorts || matches!(hash, Hash::Dict(_)) {
                new.sort();
            }
            assert!(!new.has_duplicates());
            place.set_hash(&new, *limits);
        }
        Op::Deadline(on) => place.set_deadline(on.then_some(1 << 50)),
        Op::Expire(_) => unreachable!("done above"),
    }
    let hash = place.hash();
    for (name, (value, deadline)) in model.iter() {
        let field = hash.and_then(|hash| hash.get(&hasher, name)).expect("it is there");
        assert_eq!((field.name.to_vec(), field.value.to_vec()), (name.clone(), value.clone()));
        assert_eq!(field.deadline, *deadline);
    }
}

fn check(shard: &mut Shard, hash: u64, model: &Model) {
    shard.check_invariants();
    let place = shard.write(DB, hash, KEY, NOW_MS);
    let Some(hash) = place.hash() else {
        assert!(model.is_empty());
        return;
    };
    assert_eq!(hash.len(), model.len());
    let fields = hash.iter().map(|field| (field.name.to_vec(), (field.value.to_vec(), field.deadline)));
    assert_eq!(&fields.collect::<Model>(), model);
    let earliest = model.values().filter_map(|(_, deadline)| *deadline).min();
    assert!(earliest.is_none_or(|earliest| hash.due().is_some_and(|due| due <= earliest)));
    let mut scanned = Model::new();
    let mut position = Some(0);
    while let Some(from) = position {
        position = hash.scan(from, 3, &mut |field| {
            scanned.insert(field.name.to_vec(), (field.value.to_vec(), field.deadline));
        });
    }
    assert_eq!(&scanned, model);
    assert!(model.contains_key(&hash.random(7 << 60).name.to_vec()));
    let entry = place.entry().expect("seen just above");
    assert_eq!(entry.expires_inside(), hash.due().is_some());
    match hash {
        Hash::Packed(pack) => {
            assert_eq!(entry.encoding(), pack.form.encoding());
            let elements = if pack.form == PackForm::Pairs { 2 } else { 3 } * pack.fields;
            let mut listpack = Vec::new();
            packed::write_listpack(&mut listpack, pack.body, elements);
            assert_eq!(packed::validated(&listpack), Some((pack.body, elements)));
            assert!(packed::is_canonical(pack.body));
            assert!(pack.places().map(|place| place.deadline.unwrap_or(u64::MAX)).is_sorted());
        }
        Hash::Dict(dict) => dict.check_invariants(&KeyHasher::new(5)),
    }
}

fn shard() -> (Shard, u64) {
    let hasher = KeyHasher::new(5);
    (Shard::new(hasher.clone()), hasher.hash(KEY))
}

proptest! {
    #[test]
    fn hashes_are_like_their_models(ops in prop::collection::vec(op(), 1..150)) {
        let (mut shard, hash) = shard();
        let (mut model, mut limits) = (Model::new(), WIDE);
        for op in &ops {
            apply(&mut shard, hash, &mut model, &mut limits, op);
            check(&mut shard, hash, &model);
        }
    }
}

fn encoding(place: &KeyMut<'_>) -> Encoding {
    place.entry().expect("it exists").encoding()
}

#[test]
fn small_hash_is_one_short_allocation() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, b"0123456789abcdef", NOW_MS);
    place.hash_set(b"one", b"1", Deadline::None, WIDE);
    // Header 8, key 16, count 2, elements 5 + 2.
    assert_eq!(place.entry().expect("just made").bytes_allocated(), 40);
}

#[test]
fn pack_longer_than_an_entry_keeps_its_encoding() {
    let (mut shard, hash) = shard();
    let limits = PackLimits { entries_max: 200, value_bytes_max: 1000 };
    let mut model = Model::new();
    let mut place = shard.write(DB, hash, KEY, NOW_MS);
    let mut set = |place: &mut KeyMut<'_>, number: u64, deadline| {
        let (name, value) = (number.to_string().into_bytes(), vec![b'v'; 900]);
        place.hash_set(&name, &value, deadline, limits);
        model.insert(name, (value, if let Deadline::At(ms) = deadline { Some(ms) } else { None }));
    };
    (0..100).for_each(|number| set(&mut place, number, Deadline::None));
    assert!(matches!(place.hash(), Some(Hash::Dict(_))));
    assert_eq!(encoding(&place), Encoding::Listpack);
    set(&mut place, 100, Deadline::At(NOW_MS + 5));
    assert_eq!(encoding(&place), Encoding::ListpackEx);
    (101..200).for_each(|number| set(&mut place, number, Deadline::None));
    assert_eq!(encoding(&place), Encoding::ListpackEx);
    set(&mut place, 200, Deadline::None);
    assert_eq!(encoding(&place), Encoding::Hashtable);
    drop(place);
    check(&mut shard, hash, &model);
}

#[test]
fn fields_of_huge_hash_expire_in_slices() {
    const FIELDS: u64 = crate::store::scaled(20_000);
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, KEY, NOW_MS);
    for number in 0..FIELDS {
        place.hash_set(&number.to_be_bytes(), b"value", Deadline::At(NOW_MS + 1), WIDE);
    }
    place.hash_set(b"stays", b"value", Deadline::None, WIDE);
    drop(place);
    assert_eq!(shard.expires_inside(DB), 1);
    let (mut rounds, mut fields, mut ends) = (0, 0, 0);
    loop {
        let before = fields;
        let progress = shard.expire_due(NOW_MS + 1000, 100, &mut |_, _, what| match what {
            Expired::Subkey(_) => fields += 1,
            Expired::Inside { is_emptied } => {
                assert!(!is_emptied);
                ends += 1;
            }
            Expired::Key => panic!("the key has no deadline"),
        });
        assert!(fields - before <= 400, "a round is short");
        rounds += 1;
        if progress.done {
            break;
        }
    }
    assert_eq!((fields, shard.stats.expired_subkeys), (FIELDS, FIELDS));
    assert!(rounds > FIELDS / 400 && ends >= rounds - 1);
    assert_eq!((shard.len(DB), shard.expires_inside(DB)), (1, 0));
    shard.check_invariants();
}

#[test]
fn hash_whose_last_field_expires_goes() {
    for limits in [WIDE, PackLimits { entries_max: 0, value_bytes_max: 0 }] {
        let (mut shard, hash) = shard();
        let mut place = shard.write(DB, hash, KEY, NOW_MS);
        place.hash_set(b"field", b"value", Deadline::At(NOW_MS + 1), limits);
        place.hash_note_deadline(Some(NOW_MS + 1));
        place.set_deadline(Some(NOW_MS + 1_000_000));
        drop(place);
        shard.check_invariants();
        assert!(shard.expire_due_ms() <= NOW_MS + 1000);
        let mut told = Vec::new();
        let progress = shard.expire_due(NOW_MS + 1000, 100, &mut |_, _, what| {
            told.push(matches!(what, Expired::Inside { is_emptied: true }));
        });
        assert!(progress.done);
        assert_eq!(told, [false, true]);
        assert_eq!((shard.len(DB), shard.expires(DB), shard.expires_inside(DB)), (0, 0, 0));
        shard.check_invariants();
    }
}

#[test]
#[cfg_attr(miri, ignore = "many MiB, and all of it safe code")]
fn huge_hashes_are_freed_in_slices() {
    let (mut shard, hash) = shard();
    let mut place = shard.write(DB, hash, KEY, NOW_MS);
    for number in 0..100_000_u64 {
        place.hash_set(&number.to_be_bytes(), &[7; 60], Deadline::None, WIDE);
    }
    place.set_string(NewString::Bytes(b"small"), Deadline::None);
    drop(place);
    shard.check_invariants();
    let full = shard.used_bytes();
    assert!(full > 7_000_000 && shard.has_discarded() && shard.cron_due());
    assert!(!shard.free_discarded(100));
    assert!(shard.used_bytes() < full - 30_000);
    assert!(shard.free_discarded(usize::MAX));
    assert!(!shard.has_discarded() && shard.used_bytes() < 10_000);
}
