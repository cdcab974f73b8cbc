//! Tests of `defrag`: what moves, and what stays as it was.

use std::collections::HashMap;

use super::*;
use crate::store::hash::KeyHasher;
use crate::store::{DbIndex, Deadline, End, List, ListLimits, NewItem, NewString, Str, Typed, scaled};

const START_MS: u64 = 1_800_000_000_000;
const DEADLINE_MS: u64 = START_MS + 60_000;

fn key(number: usize) -> Vec<u8> {
    format!("key:{number}").into_bytes()
}

fn value(number: usize, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|at| (number + at) as u8).collect()
}

fn set(shard: &mut Shard, hasher: &KeyHasher, db: DbIndex, number: usize, bytes: usize) {
    let key = key(number);
    let deadline = if number.is_multiple_of(3) { Deadline::At(DEADLINE_MS) } else { Deadline::None };
    shard
        .write(db, hasher.hash(&key), &key, START_MS)
        .set_string(NewString::Bytes(&value(number, bytes)), deadline);
}

fn remove(shard: &mut Shard, hasher: &KeyHasher, db: DbIndex, number: usize) {
    let key = key(number);
    assert!(shard.write(db, hasher.hash(&key), &key, START_MS).remove());
}

/// Defragments until nothing more can be moved; how many entries were.
fn defrag(shard: &mut Shard, budget: usize) -> u64 {
    let mut moved = 0;
    loop {
        let slice = shard.defrag(budget, true);
        moved += slice.moved;
        // A page is emptied as a whole.
        assert!(slice.moved + slice.stayed < (budget + 512) as u64);
        if slice.done {
            return moved;
        }
    }
}

/// Sizes of values change, as under a memory limit: each phase removes at random what the phases before have left.
#[test]
fn sparse_pages_go_when_sizes_change() {
    let hasher = KeyHasher::new(7);
    let mut shard = Shard::new(hasher.clone());
    let mut model: HashMap<(u32, usize), usize> = HashMap::new();
    let (mut number, mut state) = (0, 1u64);
    for bytes in [60, 90, 200, 2000, 400, 9000, 900, 60] {
        for _ in 0..scaled(3_000) {
            let db = number % 3;
            set(&mut shard, &hasher, DbIndex(db as u32), number, bytes);
            model.insert((db as u32, number), bytes);
            number += 1;
        }
        let held: Vec<(u32, usize)> = model.keys().copied().collect();
        for (db, number) in held {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
            if state >> 33 & 3 != 0 {
                remove(&mut shard, &hasher, DbIndex(db), number);
                model.remove(&(db, number));
            }
        }
    }
    let (used, dirty) = (shard.used_bytes(), shard.dirty());
    let slack = shard.memory().slab_overhead_bytes;
    assert!(defrag(&mut shard, 64) > 0);
    shard.check_invariants();
    assert_eq!((shard.used_bytes(), shard.dirty()), (used, dirty));
    // An eighth of each page, and a page and a half for each class.
    let after = shard.memory().slab_overhead_bytes;
    assert!(after < used / 6 + 12 * (12 << 10), "{slack} bytes of {used} were unused, {after} are");
    assert!(after < slack / 2, "{slack} bytes of {used} were unused, {after} are");
    for ((db, number), bytes) in &model {
        let key = key(*number);
        let entry = shard.peek(DbIndex(*db), hasher.hash(&key), &key).expect("it was not removed");
        assert_eq!(entry.string(), Str::Bytes(&value(*number, *bytes)));
        assert_eq!(entry.deadline(), number.is_multiple_of(3).then_some(DEADLINE_MS));
    }
    // Deadlines are found where the entries are now.
    let due = model.keys().filter(|(_, number)| number.is_multiple_of(3)).count();
    let mut expired = 0;
    while expired < due {
        expired += shard.expire_due(DEADLINE_MS + 1000, 1000, &mut |_, _, _| {}).expired;
    }
    shard.check_invariants();
}

/// What a flush took away is in no table any more: it stays, and goes as it would have.
#[test]
fn flushed_entries_stay_where_they_are() {
    let hasher = KeyHasher::new(7);
    let mut shard = Shard::new(hasher.clone());
    let count = scaled(2_000) as usize;
    (0..count).for_each(|number| set(&mut shard, &hasher, DbIndex(1), number, 50));
    (0..count)
        .filter(|number| number % 4 > 0)
        .for_each(|number| remove(&mut shard, &hasher, DbIndex(1), number));
    shard.flush(DbIndex(1));
    (count..count + 100).for_each(|number| set(&mut shard, &hasher, DbIndex(0), number, 50));
    defrag(&mut shard, 100);
    shard.check_invariants();
    while !shard.free_discarded(50) {}
    shard.check_invariants();
    assert_eq!(shard.len(DbIndex(0)), 100);
}

/// Pages leave the chunk that the pool wants empty, the full ones too.
#[test]
fn pages_leave_a_sparse_chunk() {
    let hasher = KeyHasher::new(7);
    let mut shard = Shard::new(hasher.clone());
    let count = scaled(40_000) as usize;
    (0..count).for_each(|number| set(&mut shard, &hasher, DbIndex(0), number, 100));
    POOL.compact_pages(true);
    let mut seen = 0;
    // Other tests' shards use the same pool, and leave as they like.
    for _ in 0..100 {
        let Some((number, base)) = POOL.page_evacuation() else { break };
        let own = POOL.page_of(base, shard.heap.slab.owner(), 0).is_some();
        while shard.defrag.evacuation != number {
            shard.defrag(1000, false);
        }
        let left = POOL.page_of(base, shard.heap.slab.owner(), 0);
        assert!(left.is_none() || POOL.page_evacuation().is_none_or(|(now, _)| now != number));
        seen += u32::from(own);
        (0..count / 20).for_each(|at| {
            let number = at * 20 + seen as usize % 19;
            let key = key(number);
            shard.write(DbIndex(0), hasher.hash(&key), &key, START_MS).remove();
        });
        POOL.compact_pages(true);
        shard.check_invariants();
    }
    POOL.compact_pages(false);
    shard.check_invariants();
}

#[test]
fn large_lists_are_led_to_as_before() {
    let hasher = KeyHasher::new(7);
    let mut shard = Shard::new(hasher.clone());
    let limits = ListLimits::new(-2);
    let count = scaled(600) as usize;
    for number in 0..count {
        let key = key(number);
        let mut guard = shard.write(DbIndex(0), hasher.hash(&key), &key, START_MS);
        let items = (0..300).map(|_| NewItem::Bytes(b"an element of a list that is large"));
        guard.list_push(End::Right, items, limits);
    }
    (0..count)
        .filter(|number| number % 4 > 0)
        .for_each(|number| remove(&mut shard, &hasher, DbIndex(0), number));
    assert!(defrag(&mut shard, 64) > 0);
    shard.check_invariants();
    for number in (0..count).step_by(4) {
        let key = key(number);
        let entry = shard.peek(DbIndex(0), hasher.hash(&key), &key).expect("it was not removed");
        assert_eq!(List::of(entry).len(), 300);
    }
}
