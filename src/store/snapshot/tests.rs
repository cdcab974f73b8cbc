//! A shard that is written to at random while it is walked in slices: what is handed over is the picture at the cut, each key once.

use super::*;
use crate::store::hash::KeyHasher;
use crate::store::play::{Picture, Play, START_MS, described, limits, picture};
use crate::store::{DbIndex, Deadline, KeyMut, NewString, Shard, scaled};

const NO_LIMIT: u64 = u64::MAX;

/// Adds what has been handed over; each key may come once.
fn take(taker: &mut Taker, taken: &mut Picture) -> bool {
    loop {
        match taker.take() {
            Taken::Block(block) => {
                block.for_each(|db, entry| {
                    let before = taken.insert((db.0, entry.key().to_vec()), described(entry));
                    assert!(before.is_none(), "{} twice", entry.key().escape_ascii());
                });
                taker.done_with(block);
            }
            Taken::Nothing => return false,
            Taken::All => return true,
            Taken::Over => panic!("nobody has ended it"),
        }
    }
}

#[test]
fn what_is_handed_over_is_the_picture_at_the_cut() {
    for seed in 0..scaled(10) {
        let mut play = Play::new(seed);
        for round in 0..3 {
            let steps = play.keys * (1 + play.random.below(3));
            (0..steps).for_each(|_| play.step(round != 1));
            let expected = picture(&play.shard);
            let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::GoesOn);
            play.shard.begin_snapshot(&snapshot);
            assert_eq!(snapshot.keys_total(), expected.len() as u64);
            let (growing, slice) = (play.random.below(2) == 0, 1 + play.keys / (1 + play.random.below(20)));
            let (mut taken, mut takes) = (Picture::new(), 0);
            loop {
                (0..play.random.below(slice)).for_each(|_| play.step(growing));
                if takes % 4 == 0 {
                    play.shard.check_invariants();
                }
                let is_walked = play.shard.walk(1 + play.random.below(slice) as usize);
                takes += 1;
                if takes % 3 == 0 || is_walked {
                    take(&mut taker, &mut taken);
                }
                if is_walked {
                    break;
                }
            }
            assert!(take(&mut taker, &mut taken), "all was walked");
            assert_eq!(taken.len(), expected.len(), "seed {seed}");
            for (key, value) in &expected {
                assert_eq!(taken.get(key), Some(value), "seed {seed}, {}", key.1.escape_ascii());
            }
            assert_eq!(snapshot.held_bytes(), 0);
            play.shard.check_invariants();
        }
    }
}

/// Ended early, or by FLUSHALL, it is walked to its end, hands nothing more over, and the next one misses nothing.
#[test]
fn snapshot_that_ends_early_leaves_no_marks() {
    for seed in 0..scaled(10) {
        let mut play = Play::new(1000 + seed);
        (0..2 * play.keys).for_each(|_| play.step(true));
        let (snapshot, taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
        play.shard.begin_snapshot(&snapshot);
        play.shard.walk(play.keys as usize / 3);
        (0..play.keys / 2).for_each(|_| play.step(true));
        match seed % 3 {
            0 => snapshot.end(),
            1 => _ = play.shard.flush_all(),
            _ => drop(taker),
        }
        assert!(snapshot.is_over());
        (0..play.keys).for_each(|_| play.step(true));
        while !play.shard.walk(10) {
            play.step(true);
        }
        play.shard.check_invariants();
        assert!(snapshot.is_walked() && play.shard.free_discarded(usize::MAX));
        let expected = picture(&play.shard);
        let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
        play.shard.begin_snapshot(&snapshot);
        let mut taken = Picture::new();
        while !play.shard.walk(100) {}
        assert!(take(&mut taker, &mut taken));
        assert_eq!(taken, expected);
    }
}

fn hash_of_bytes(shard: &mut Shard, hasher: &KeyHasher, key: &[u8], fields: u32) {
    let mut guard = shard.write(DbIndex(0), hasher.hash(key), key, START_MS);
    for field in 0..fields {
        let name = format!("field:{field}");
        guard.hash_set(name.as_bytes(), &[b'v'; 100], Deadline::None, limits().hash);
    }
}

/// A large value is not copied: it is the snapshot's and the entry's, and nobody writes to it before it is saved.
#[test]
fn large_value_is_lent_and_its_writers_wait() {
    let hasher = KeyHasher::new(5);
    let mut shard = Shard::new(hasher.clone());
    hash_of_bytes(&mut shard, &hasher, b"large", 2000);
    hash_of_bytes(&mut shard, &hasher, b"small", 20);
    let used = shard.used_bytes();
    let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
    assert!(!shard.must_wait(hasher.hash(b"large")));
    shard.begin_snapshot(&snapshot);
    assert!(shard.must_wait(hasher.hash(b"large")) && !shard.must_wait(hasher.hash(b"small")));
    assert!(!shard.must_wait(hasher.hash(b"absent")));
    assert!(snapshot.held_bytes() < 100_000 && shard.used_bytes() == used);
    while !shard.walk(1) {}
    assert!(shard.must_wait(hasher.hash(b"large")) && !shard.must_wait(hasher.hash(b"small")));
    let mut taken = Picture::new();
    assert!(take(&mut taker, &mut taken));
    assert_eq!(taken, picture(&shard));
    assert!(!shard.must_wait(hasher.hash(b"large")));
    hash_of_bytes(&mut shard, &hasher, b"large", 1);
    assert_eq!(shard.used_bytes(), used);
    shard.check_invariants();
}

/// What goes while the snapshot has it is the snapshot's; what is changed all the same is copied before.
#[test]
fn lent_value_that_goes_or_changes_is_saved_as_it_was() {
    for is_removed in [true, false] {
        let hasher = KeyHasher::new(5);
        let mut shard = Shard::new(hasher.clone());
        hash_of_bytes(&mut shard, &hasher, b"large", 2000);
        let expected = picture(&shard);
        let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
        shard.begin_snapshot(&snapshot);
        while !shard.walk(1) {}
        if is_removed {
            assert!(shard.write(DbIndex(0), hasher.hash(b"large"), b"large", START_MS).remove());
            assert!(!shard.has_discarded() && shard.used_bytes() < 1000);
        } else {
            let mut guard = shard.write(DbIndex(0), hasher.hash(b"large"), b"large", START_MS);
            guard.hash_set(b"field:1", b"other", Deadline::None, limits().hash);
        }
        shard.check_invariants();
        let mut taken = Picture::new();
        assert!(take(&mut taker, &mut taken));
        assert_eq!(taken, expected);
    }
}

/// ZADD and ZREM looked a member up in the ranking that the snapshot had, and changed that member's block, which the snapshot was
/// reading, as if it were one of the copy: the file had the new score, and the block was freed twice.
#[test]
fn member_of_shared_sorted_set_is_changed_in_the_copy() {
    let hasher = KeyHasher::new(5);
    let mut shard = Shard::new(hasher.clone());
    let write = |shard: &mut Shard, edit: &dyn Fn(&mut KeyMut<'_>)| {
        edit(&mut shard.write(DbIndex(0), hasher.hash(b"key"), b"key", START_MS));
        shard.check_invariants();
    };
    let names: Vec<Vec<u8>> = (0..20).map(|number| format!("member:{number}").into_bytes()).collect();
    for (score, name) in (0..20).zip(&names) {
        write(&mut shard, &|guard| {
            guard.sorted_set_update(name, limits().sorted_set, |_| Some(f64::from(score)));
        });
    }
    let expected = picture(&shard);
    let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
    shard.begin_snapshot(&snapshot);
    write(&mut shard, &|guard| {
        guard.sorted_set_update(&names[3], limits().sorted_set, |_| Some(99.0));
    });
    while !shard.walk(1) {}
    let mut taken = Picture::new();
    assert!(take(&mut taker, &mut taken));
    assert_eq!(taken, expected);
    let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
    let expected = picture(&shard);
    shard.begin_snapshot(&snapshot);
    write(&mut shard, &|guard| assert!(guard.sorted_set_remove(&names[5])));
    while !shard.walk(1) {}
    let mut taken = Picture::new();
    assert!(take(&mut taker, &mut taken));
    assert_eq!(taken, expected);
    shard.check_invariants();
}

/// ZADD XX of many members made a ranking of a pack and changed nothing: the entry lost its mark, and the key was saved twice.
#[test]
fn value_that_is_only_recoded_is_saved_once() {
    let hasher = KeyHasher::new(5);
    let mut shard = Shard::new(hasher.clone());
    let mut guard = shard.write(DbIndex(0), hasher.hash(b"key"), b"key", START_MS);
    guard.sorted_set_update(b"member", limits().sorted_set, |_| Some(1.0));
    drop(guard);
    let expected = picture(&shard);
    let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::Ends);
    shard.begin_snapshot(&snapshot);
    shard
        .write(DbIndex(0), hasher.hash(b"key"), b"key", START_MS)
        .sorted_set_expect(1000, limits().sorted_set);
    while !shard.walk(1) {}
    let mut taken = Picture::new();
    assert!(take(&mut taker, &mut taken));
    assert_eq!(taken, expected);
}

#[test]
fn writers_of_unsaved_keys_wait_at_the_limit_and_no_others() {
    let hasher = KeyHasher::new(5);
    let mut shard = Shard::new(hasher.clone());
    let keys: Vec<Vec<u8>> = (0..200).map(|number| format!("key:{number}").into_bytes()).collect();
    let set = |shard: &mut Shard, key: &[u8]| {
        let mut guard = shard.write(DbIndex(0), hasher.hash(key), key, START_MS);
        guard.set_string(NewString::Bytes(&[b'v'; 60]), Deadline::None);
    };
    keys.iter().for_each(|key| set(&mut shard, key));
    let (snapshot, mut taker) = Snapshot::new(1, 1000, OnFlush::Ends);
    shard.begin_snapshot(&snapshot);
    keys[..20].iter().for_each(|key| set(&mut shard, key));
    assert!(snapshot.is_at_limit());
    let waiting = |shard: &mut Shard| keys.iter().filter(|key| shard.must_wait(hasher.hash(key))).count();
    assert_eq!(waiting(&mut shard), 180);
    assert!(!shard.must_wait(hasher.hash(b"new")));
    shard.walk(50);
    assert!((120..=130).contains(&waiting(&mut shard)), "{}", waiting(&mut shard));
    let mut taken = Picture::new();
    while !shard.walk(50) {}
    assert!(take(&mut taker, &mut taken));
    assert_eq!((waiting(&mut shard), taken.len()), (0, 200));
}

/// The thread reads while the shard is written to.
#[test]
fn blocks_are_read_by_another_thread() {
    let mut play = Play::new(77);
    play.keys = scaled(2000);
    (0..3 * play.keys).for_each(|_| play.step(true));
    let expected = picture(&play.shard);
    let (snapshot, mut taker) = Snapshot::new(1, NO_LIMIT, OnFlush::GoesOn);
    play.shard.begin_snapshot(&snapshot);
    let thread = std::thread::spawn(move || {
        taker.attend();
        let mut taken = Picture::new();
        while !take(&mut taker, &mut taken) {
            std::thread::park_timeout(std::time::Duration::from_millis(5));
        }
        taken
    });
    while !play.shard.walk(20) {
        (0..20).for_each(|_| play.step(true));
        snapshot.wake_taker();
    }
    snapshot.wake_taker();
    assert!(thread.join().expect("it has not failed") == expected);
    play.shard.check_invariants();
}
