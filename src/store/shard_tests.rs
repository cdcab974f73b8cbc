//! Tests of `shard` and `key_mut` against a naive model.

use std::collections::{BTreeMap, HashMap, HashSet};

use bytes::Bytes;

use super::*;
use crate::store::{
    BLOB_BYTES_MIN, Changes, Class, Deadline, Encoding, Event, ListLimits, NewItem, NewList, NewNode,
    NewString, OwnedEntry, Str, scaled,
};

const DB: DbIndex = DbIndex(0);
/// A time later than the beginning of coarse time.
const START_MS: u64 = 1_800_000_000_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

fn shard() -> (Shard, KeyHasher) {
    let hasher = KeyHasher::new(5);
    (Shard::new(hasher.clone()), hasher)
}

fn text(entry: Entry<'_>) -> Vec<u8> {
    match entry.string() {
        Str::Int(value) => value.to_string().into_bytes(),
        Str::Bytes(bytes) => bytes.to_vec(),
    }
}

fn set(shard: &mut Shard, hasher: &KeyHasher, db: DbIndex, key: &[u8], value: &[u8], deadline: Deadline) {
    shard.write(db, hasher.hash(key), key, 0).set_string(NewString::Bytes(value), deadline);
}

/// Values of all kinds, mostly small.
fn value(random: &mut Random) -> Vec<u8> {
    let len = match random.below(40) {
        0 => 900 + random.below(300),
        1 => BLOB_BYTES_MIN as u64 - 50 + random.below(100),
        2 => 40_000,
        3..6 => return (random.next() as i64 >> random.below(63)).to_string().into_bytes(),
        _ => random.below(120),
    };
    let byte = random.next() as u8;
    (0..len).map(|i| byte.wrapping_add(i as u8)).collect()
}

fn key(number: u64) -> Vec<u8> {
    let mut key = format!("key:{number}").into_bytes();
    if number.is_multiple_of(50) {
        key.resize(300, b'.');
    }
    key
}

type Model = HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

/// One random operation on shard and model; their answers are compared.
fn step(
    shard: &mut Shard,
    hasher: &KeyHasher,
    model: &mut Model,
    random: &mut Random,
    now_ms: u64,
    grow: u64,
) {
    let key = key(random.below(3000));
    let hash = hasher.hash(&key);
    if model.get(&key).is_some_and(|(_, deadline)| deadline.is_some_and(|at| at <= now_ms)) {
        model.remove(&key);
    }
    let known = model.get(&key).cloned();
    let at = now_ms + random.below(5000);
    let pick = if random.below(100) < grow { random.below(6) } else { 6 + random.below(8) };
    let name = key.clone();
    let mut guard = shard.write(DB, hash, &name, now_ms);
    assert_eq!(guard.entry().map(|entry| (text(entry), entry.deadline())), known);
    match pick {
        0..4 => {
            let new = value(random);
            let (deadline, expected) = match random.below(4) {
                0 => (Deadline::At(at), Some(at)),
                1 => (Deadline::Keep, known.and_then(|(_, deadline)| deadline)),
                _ => (Deadline::None, None),
            };
            if random.below(5) == 0 {
                guard.set_string(NewString::Blob(Bytes::from(new.clone())), deadline);
            } else {
                guard.set_string(NewString::Bytes(&new), deadline);
            }
            model.insert(key, (new, expected));
        }
        4 => {
            let more = value(random);
            let (held, _) = model.entry(key).or_default();
            held.extend_from_slice(&more);
            assert_eq!(guard.append(&more), held.len());
        }
        5 => {
            let (offset, part) = (random.below(300) as usize, value(random));
            let len = guard.set_range(offset, &part);
            if !part.is_empty() {
                let (held, _) = model.entry(key).or_default();
                held.resize(held.len().max(offset + part.len()), 0);
                held[offset..offset + part.len()].copy_from_slice(&part);
                assert_eq!(len, held.len());
            }
        }
        6 | 7 => {
            let deadline = (random.below(2) == 0).then_some(at);
            guard.set_deadline(deadline);
            if let Some((_, held)) = model.get_mut(&key) {
                *held = deadline;
            }
        }
        8 => {
            if let Some(owned) = guard.take() {
                guard.put(owned);
            }
        }
        9 => {
            if let Some(owned) = guard.copy() {
                drop(guard);
                let other = [b"copy:".as_slice(), &key].concat();
                shard.write(DB, hasher.hash(&other), &other, now_ms).put(owned);
                model.insert(other, known.expect("just seen"));
            }
        }
        _ => {
            assert_eq!(guard.remove(), known.is_some());
            model.remove(&key);
        }
    }
}

#[test]
fn agrees_with_a_map() {
    const PHASE: u64 = scaled(10_000);
    let (mut shard, hasher) = shard();
    let mut random = Random(1);
    let mut model = Model::new();
    let mut now_ms = START_MS;
    for round in 0..4 * PHASE {
        now_ms += random.below(3);
        let grow = [80, 5, 50, 20][(round / PHASE) as usize];
        step(&mut shard, &hasher, &mut model, &mut random, now_ms, grow);
        if round % 50 == 0 {
            shard.expire_due(now_ms, 100, &mut |_, key, _| {
                // The model may have noticed before.
                if let Some((_, deadline)) = model.remove(key) {
                    assert!(deadline.expect("it had a deadline") <= now_ms);
                }
            });
        }
        if round % (PHASE / 5) == 0 {
            shard.check_invariants();
            assert_same(&shard, &hasher, &mut model, now_ms);
        }
    }
    // All that is left: databases swapped, flushed, freed.
    shard.swap_dbs(DB, DbIndex(3));
    assert_eq!(shard.len(DB), 0);
    shard.swap_dbs(DbIndex(3), DB);
    let keys = shard.len(DB);
    assert!(keys > scaled(100));
    assert_eq!(shard.flush(DB), Discarded { keys });
    assert!(cfg!(miri) || !shard.free_discarded(10));
    shard.check_invariants();
    assert!(shard.free_discarded(usize::MAX));
    assert_eq!(shard.used_bytes(), 0);
}

/// The model may still hold keys that expired unnoticed, and so may the shard.
fn assert_same(shard: &Shard, hasher: &KeyHasher, model: &mut Model, now_ms: u64) {
    let mut held = Model::new();
    shard.for_each(DB, |entry| {
        held.insert(entry.key().to_vec(), (text(entry), entry.deadline()));
        assert!(shard.peek(DB, hasher.hash(entry.key()), entry.key()).is_some());
    });
    assert_eq!(held.len() as u64, shard.len(DB));
    let alive = |(_, deadline): &(Vec<u8>, Option<u64>)| deadline.is_none_or(|at| at > now_ms);
    held.retain(|_, value| alive(value));
    model.retain(|_, value| alive(value));
    assert_eq!(held, *model);
}

#[test]
fn strings_are_encoded_as_redis_does() {
    let (mut shard, hasher) = shard();
    let hash = hasher.hash(b"k");
    for (value, encoding) in [
        (b"12".to_vec(), Encoding::Int),
        (b"-9223372036854775808".to_vec(), Encoding::Int),
        (b"012".to_vec(), Encoding::Embstr),
        (vec![b'x'; 40], Encoding::Embstr),
        (vec![b'x'; 41], Encoding::Raw),
        (Vec::new(), Encoding::Embstr),
        (vec![b'x'; BLOB_BYTES_MIN], Encoding::Raw),
    ] {
        let mut guard = shard.write(DB, hash, b"k", 0);
        guard.set_string(NewString::Bytes(&value), Deadline::None);
        assert_eq!(guard.entry().map(Entry::encoding), Some(encoding));
        assert_eq!(guard.entry().map(text), Some(value.clone()));
        assert_eq!(guard.append(b"1"), value.len() + 1);
        assert_eq!(guard.entry().map(Entry::encoding), Some(Encoding::Raw));
    }
    let mut guard = shard.write(DB, hash, b"k", 0);
    guard.remove();
    assert_eq!(guard.append(b"17"), 2);
    assert_eq!(guard.entry().map(Entry::encoding), Some(Encoding::Int));
    guard.set_range(0, b"2");
    assert_eq!(
        guard.entry().map(|entry| (entry.encoding(), text(entry))),
        Some((Encoding::Raw, b"27".to_vec()))
    );
    guard.remove();
    assert_eq!(guard.set_range(3, b""), 0);
    assert!(guard.entry().is_none());
    assert_eq!(guard.set_range(3, b"ab"), 5);
    assert_eq!(guard.entry().map(text), Some(b"\0\0\0ab".to_vec()));
}

#[test]
fn the_usual_key_takes_88_bytes_and_is_overwritten_in_place() {
    let (mut shard, hasher) = shard();
    let table_bytes = |shard: &Shard| shard.memory().table_bytes;
    set(&mut shard, &hasher, DB, &[b'k'; 16], &[b'v'; 64], Deadline::None);
    assert_eq!(shard.used_bytes(), 88 + table_bytes(&shard));
    let place = |shard: &Shard| {
        let entry = shard.peek(DB, hasher.hash(&[b'k'; 16]), &[b'k'; 16]).expect("just set");
        entry.key().as_ptr()
    };
    let before = place(&shard);
    set(&mut shard, &hasher, DB, &[b'k'; 16], &[b'w'; 64], Deadline::None);
    assert_eq!(before, place(&shard));
    set(&mut shard, &hasher, DB, &[b'k'; 16], &[b'w'; 64], Deadline::At(9));
    assert_eq!(shard.used_bytes(), 96 + table_bytes(&shard));
    shard.check_invariants();
}

#[test]
fn deadlines_expire_on_access_and_in_rounds() {
    let (mut shard, hasher) = shard();
    for number in 0..5000 {
        let deadline = if number % 2 == 0 { Deadline::At(START_MS + number) } else { Deadline::None };
        set(&mut shard, &hasher, DbIndex((number % 3) as u32), &key(number), b"v", deadline);
    }
    let total = |shard: &Shard| (0..3).map(|db| shard.len(DbIndex(db))).sum::<u64>();
    assert_eq!(total(&shard), 5000);
    assert_eq!(shard.expires(DB), 834);
    assert!((2400..2600).contains(&shard.ttl_ms_average(DB, START_MS)));
    assert!(shard.peek(DB, hasher.hash(&key(0)), &key(0)).is_some());
    assert!(shard.read(DB, hasher.hash(&key(0)), &key(0), START_MS, Touch::None, || false).is_none());
    assert_eq!(shard.stats, ShardStats { expired: 1, expired_subkeys: 0 });
    let mut gone = HashSet::new();
    for elapsed_ms in [0, 1000, 1001, 3000, 6000] {
        let mut rounds = 0;
        while !shard
            .expire_due(START_MS + elapsed_ms, 50, &mut |_, key, _| assert!(gone.insert(key.to_vec())))
            .done
        {
            rounds += 1;
            assert!(rounds < 500);
        }
        shard.check_invariants();
        // Active expiry may be late by a step of coarse time, but never early.
        let least = (elapsed_ms.saturating_sub(256) / 2) as usize;
        assert!((least.min(2499)..=elapsed_ms as usize / 2 + 1).contains(&gone.len()));
    }
    assert_eq!(gone.len(), 2499);
    assert_eq!(total(&shard), 2500);
    assert_eq!(shard.stats.expired, 2500);
}

#[test]
fn the_guard_accounts_for_each_key_once() {
    let (mut shard, hasher) = shard();
    let hash = hasher.hash(b"k");
    let mut guard = shard.write(DB, hash, b"k", 0);
    guard.set_string(NewString::Int(1), Deadline::None);
    guard.set_deadline(Some(10));
    guard.set_clock(77);
    drop(guard);
    drop(shard.write(DB, hash, b"k", 0));
    shard.write(DB, hash, b"k", 0).set_deadline(Some(20));
    shard.write(DB, hash, b"k", 0).set_deadline(Some(20)); // a change all the same
    assert_eq!(shard.read(DB, hash, b"k", 0, Touch::Lru(78), || false).map(Entry::clock), Some(78));
    // Where nothing may be removed it is absent all the same.
    assert!(shard.read(DB, hash, b"k", 20, Touch::None, || true).is_none());
    assert_eq!((shard.len(DB), shard.stats.expired), (1, 0));
    assert!(shard.read(DB, hash, b"k", 20, Touch::None, || false).is_none());
    assert_eq!((shard.len(DB), shard.stats.expired), (0, 1));
    shard.write(DB, hash, b"k", 0).append(b"x");
    assert!(shard.write(DB, hash, b"k", 0).remove());
    assert!(!shard.write(DB, hash, b"k", 0).remove());
    assert_eq!(shard.dirty(), 5);
}

#[test]
fn the_guard_tells_what_it_knows_by_itself() {
    const SET: Event = Event::new(Class::String, "set");
    let (mut shard, hasher) = shard();
    let hash = hasher.hash(b"k");
    let mut changes = Changes::default();
    let mut write = |edit: fn(&mut KeyMut<'_>), is_listened: bool| {
        changes.listen(is_listened);
        let mut guard = shard.write(DB, hash, b"k", 0).telling(changes.listener());
        edit(&mut guard);
        drop(guard);
        let mut names = Vec::new();
        for (event, db, key) in changes.events() {
            assert_eq!((db, key), (DB, &b"k"[..]));
            names.push(event.name);
        }
        changes.end_command(DB, |words| {
            words.add("IT").add(7_u64);
        });
        let effects: Vec<Vec<u8>> =
            changes.effects().flat_map(|(_, _, words)| words.map(<[u8]>::to_vec)).collect();
        assert_eq!(effects.is_empty(), names.iter().all(|name| *name == "keymiss"));
        assert!(effects.is_empty() || effects == [&b"IT"[..], b"7"] || effects == [b"OTHER"]);
        changes.clear();
        names
    };
    let set = |guard: &mut KeyMut<'_>| {
        guard.set_string(NewString::Int(1), Deadline::None);
        guard.event(SET);
        guard.repeat_as(|words| {
            words.add("OTHER");
        });
    };
    assert_eq!(write(|guard| guard.missed(), true), ["keymiss"]);
    assert_eq!(write(set, true), ["new", "set"]);
    assert_eq!(write(set, true), ["overwritten", "set"]);
    assert!(write(set, false).is_empty());
    let update = |guard: &mut KeyMut<'_>| {
        guard.update_string(NewString::Int(2), Deadline::Keep);
        guard.event(SET);
    };
    assert_eq!(write(update, true), ["set"]);
    let set_list = |guard: &mut KeyMut<'_>| {
        let mut list = NewList::new(ListLimits::new(-2));
        list.add(NewNode::Item(NewItem::Int(1)));
        guard.set_list(list);
        guard.event(SET);
    };
    assert_eq!(write(set_list, true), ["overwritten", "type_changed", "set"]);
    let pop = |guard: &mut KeyMut<'_>| {
        guard.list_remove(0, 1, ListLimits::new(-2));
        guard.event(Event::new(Class::List, "lpop"));
    };
    assert_eq!(write(pop, true), ["lpop", "del"]);
}

/// So that no command can forget to say what it did.
#[test]
#[cfg(debug_assertions)]
#[should_panic(expected = "named no event")]
fn change_without_event_panics() {
    let (mut shard, hasher) = shard();
    let mut guard = shard.write(DB, hasher.hash(b"k"), b"k", 0).telling(None);
    guard.set_string(NewString::Int(1), Deadline::None);
}

#[test]
fn entries_move_between_shards_and_blobs_are_shared() {
    let hasher = KeyHasher::new(5);
    let (mut source, mut target) = (Shard::new(hasher.clone()), Shard::new(hasher.clone()));
    let big = Bytes::from(vec![7; 100_000]);
    let hash = hasher.hash(b"k");
    source.write(DB, hash, b"k", 0).set_string(NewString::Blob(big.clone()), Deadline::At(50));
    let taken: Option<OwnedEntry> = source.write(DB, hash, b"k", 0).take();
    assert_eq!(source.used_bytes(), 0);
    target.write(DbIndex(2), hash, b"k", 0).put(taken.expect("present"));
    let entry = target.peek(DbIndex(2), hash, b"k").expect("put there");
    assert_eq!(entry.deadline(), Some(50));
    assert_eq!(entry.blob().map(|blob| blob.as_ptr()), Some(big.as_ptr()));
    // What a reply still refers to does not change under it.
    target.write(DbIndex(2), hash, b"k", 0).set_range(0, b"changed");
    assert!(big.iter().all(|byte| *byte == 7));
    assert_eq!(target.peek(DbIndex(2), hash, b"k").map(|entry| entry.string().len()), Some(100_000));
    assert!(big.is_unique());
    target.check_invariants();
}

#[test]
fn appending_costs_little_on_average() {
    let (mut shard, hasher) = shard();
    let hash = hasher.hash(b"k");
    let (mut blocks, mut last) = (0, std::ptr::null());
    for round in 1..=scaled(100_000) as usize {
        let mut guard = shard.write(DB, hash, b"k", 0);
        assert_eq!(guard.append(b"y"), round);
        let entry = guard.entry().expect("appended to");
        let at = entry.blob().map_or(entry.key().as_ptr(), |blob| blob.as_ptr());
        blocks += usize::from(at != last);
        last = at;
    }
    assert!(blocks < 60, "{blocks}");
    shard.check_invariants();
}

#[test]
fn scans_see_what_stays_exactly_once() {
    const KEYS: u64 = scaled(3000);
    let (mut shard, hasher) = shard();
    (0..KEYS).for_each(|number| set(&mut shard, &hasher, DB, &key(number), b"v", Deadline::None));
    let mut seen = BTreeMap::new();
    let (mut position, mut other) = (Some(0), KEYS);
    while let Some(at) = position {
        position = shard.scan(DB, at, 10, &mut |entry| *seen.entry(entry.key().to_vec()).or_insert(0) += 1);
        for _ in 0..30 {
            set(&mut shard, &hasher, DB, &key(other), b"v", Deadline::None);
            other += 1;
        }
    }
    assert!((0..KEYS).all(|number| seen.get(&key(number)) == Some(&1)));
    assert!(seen.values().all(|times| *times == 1));
    assert_eq!(shard.scan(DbIndex(5), 0, 10, &mut |_| unreachable!("empty")), None);
    assert!(shard.random(DbIndex(5), 1).is_none());
    assert!(shard.random(DB, 1).is_some());
}
