//! Two shards that are written to alike: in one of them a run's changes are taken back, or are undoable and stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::store::play::{Picture, Play, START_MS, described, limits, picture};
use crate::store::snapshot::{OnFlush, Snapshot, Taken};
use crate::store::{Deadline, End, List, NewItem, NewString, Typed, WatchFlag, scaled};

const DB: DbIndex = DbIndex(0);

/// Everything about a shard's keys that commands can see, and what is counted of them, a line each.
fn state(shard: &Shard) -> BTreeSet<String> {
    let mut lines = BTreeSet::from([format!("{} {:?}", shard.dirty(), shard.stats)]);
    for db in shard.used_dbs() {
        shard.for_each(db, |entry| {
            let bytes = if entry.external().is_some() { 0 } else { entry.bytes_allocated() };
            let (encoding, clock, key) = (entry.encoding(), entry.clock(), entry.key().escape_ascii());
            lines.insert(format!("{db:?} {key}: {:?} {encoding:?} {clock} {bytes}", described(entry)));
        });
        let counts = (shard.len(db), shard.expires(db), shard.expires_inside(db), shard.deadline_sum(db));
        lines.insert(format!("{db:?} {counts:?}"));
    }
    lines
}

#[track_caller]
fn assert_same(shard: &Shard, expected: &BTreeSet<String>, seed: u64) {
    let state = state(shard);
    let lines = |of: &BTreeSet<String>, than| of.difference(than).cloned().collect::<Vec<_>>().join("\n");
    let (more, less) = (lines(&state, expected), lines(expected, &state));
    assert!(more.is_empty() && less.is_empty(), "seed {seed}\nis:\n{more}\nshould be:\n{less}");
}

/// Two shards to which the same was done.
fn pair(seed: u64) -> [Play; 2] {
    let mut pair = [Play::new(seed), Play::new(seed)];
    for play in &mut pair {
        // Few keys, so that each is changed in many ways.
        play.keys = 8 + seed % 40;
        (0..play.keys * 10).for_each(|_| play.command());
    }
    assert_same(&pair[0].shard, &state(&pair[1].shard), seed);
    pair
}

fn begin(play: &mut Play) {
    play.shard.begin_undoable(Box::default());
}

#[test]
fn changes_that_are_taken_back_leave_nothing() {
    for seed in 0..scaled(40) {
        let [mut play, model] = pair(seed);
        let expected = state(&model.shard);
        for _ in 0..4 {
            begin(&mut play);
            for _ in 0..play.random.below(60) {
                play.command();
            }
            play.shard.check_invariants();
            assert!(play.shard.take_back().is_empty());
            play.shard.check_invariants();
            assert_same(&play.shard, &expected, seed);
        }
    }
}

#[test]
fn changes_that_stay_are_as_if_nothing_could_be_taken_back() {
    for seed in 0..scaled(40) {
        let [mut play, mut model] = pair(seed);
        for _ in 0..4 {
            begin(&mut play);
            let steps = play.random.below(60);
            assert_eq!(steps, model.random.below(60));
            for _ in 0..steps {
                play.command();
                model.command();
            }
            assert!(play.shard.commit().is_empty());
            play.shard.check_invariants();
            assert_same(&play.shard, &state(&model.shard), seed);
        }
    }
}

/// What the log has of values that were replaced is freed, and counted while it waits to be.
#[test]
fn replaced_values_are_freed_once_they_cannot_come_back() {
    let mut play = Play::new(1);
    let hash = play.hasher.hash(b"list");
    let push = |play: &mut Play, count| {
        let item = NewItem::Bytes(b"some element");
        let mut guard = play.shard.write(DB, hash, b"list", START_MS);
        guard.list_push(End::Left, std::iter::repeat_n(item, count), limits().list);
    };
    push(&mut play, 2000);
    let used = play.shard.used_bytes();
    for stays in [false, true] {
        begin(&mut play);
        play.shard.write(DB, hash, b"list", START_MS).set_string(NewString::Bytes(b"short"), Deadline::None);
        if stays {
            play.shard.commit();
            assert!(play.shard.has_discarded(), "it is freed in slices");
            while !play.shard.free_discarded(10) {}
            assert!(play.shard.used_bytes() < used / 2);
        } else {
            play.shard.take_back();
            assert_eq!(play.shard.used_bytes(), used);
        }
        play.shard.check_invariants();
    }
}

/// Elements at both ends of a long list leave the list where it is.
#[test]
fn large_value_is_not_copied_to_be_changed() {
    let mut play = Play::new(1);
    let hash = play.hasher.hash(b"list");
    let push = |play: &mut Play, end, count| {
        let item = NewItem::Bytes(b"some element");
        let mut guard = play.shard.write(DB, hash, b"list", START_MS);
        guard.list_push(end, std::iter::repeat_n(item, count), limits().list);
    };
    push(&mut play, End::Left, 5000);
    let value = |play: &Play| match List::of(play.shard.peek(DB, hash, b"list").expect("it is there")) {
        List::Deque(deque) => std::ptr::from_ref(deque),
        List::Packed(..) => panic!("it is large"),
    };
    let before = value(&play);
    begin(&mut play);
    push(&mut play, End::Left, 10);
    push(&mut play, End::Right, 10);
    play.shard.write(DB, hash, b"list", START_MS).list_pop(End::Left, limits().list, |_| ());
    play.shard.write(DB, hash, b"list", START_MS).set_deadline(Some(START_MS + 1000));
    play.shard.write(DB, hash, b"list", START_MS).set_deadline(None);
    assert_eq!(value(&play), before);
    play.shard.take_back();
    assert_eq!(value(&play), before);
    play.shard.check_invariants();
}

fn watch(play: &mut Play, key: &[u8]) -> Arc<WatchFlag> {
    let flag = Arc::default();
    play.shard.watch(DB, play.hasher.hash(key), key, &flag);
    flag
}

/// A watch was ended by a change that another run then took back, and EXEC failed for nothing.
#[test]
fn watchers_are_told_at_the_end_or_never() {
    let mut play = Play::new(1);
    let flag = watch(&mut play, b"key");
    let set = |play: &mut Play| {
        let hash = play.hasher.hash(b"key");
        play.shard.write(DB, hash, b"key", START_MS).set_string(NewString::Int(1), Deadline::None);
    };
    begin(&mut play);
    set(&mut play);
    assert!(!flag.is_touched());
    play.shard.take_back();
    assert!(!flag.is_touched());
    begin(&mut play);
    set(&mut play);
    assert!(!flag.is_touched());
    play.shard.commit();
    assert!(flag.is_touched());
}

/// A snapshot is walked between runs, some of which are taken back: its picture is that at the cut, each key once.
#[test]
fn snapshot_is_that_at_the_cut_whatever_is_taken_back() {
    for seed in 0..scaled(30) {
        let [mut play, _] = pair(1000 + seed);
        let expected = picture(&play.shard);
        let (snapshot, mut taker) = Snapshot::new(1, u64::MAX, OnFlush::GoesOn);
        play.shard.begin_snapshot(&snapshot);
        loop {
            begin(&mut play);
            (0..play.random.below(20)).for_each(|_| play.command());
            if play.random.below(2) == 0 {
                play.shard.take_back();
            } else {
                play.shard.commit();
            }
            play.shard.check_invariants();
            if play.shard.walk(1 + play.random.below(8) as usize) {
                break;
            }
        }
        let mut taken = Picture::new();
        while let Taken::Block(block) = taker.take() {
            block.for_each(|db, entry| {
                let key = (db.0, entry.key().to_vec());
                let before = taken.insert(key, described(entry));
                assert!(before.is_none(), "seed {seed}: {} twice", entry.key().escape_ascii());
            });
            taker.done_with(block);
        }
        assert_eq!(taken, expected, "seed {seed}");
    }
}
