//! A shard under attack: somebody knows the seed and has chosen keys whose hashes begin alike.

use std::collections::BTreeSet;

use super::candidates::{Candidates, Evicted};
use super::eviction::{Policy, Rank, tests::evict};
use super::hash::KeyHasher;
use super::{DbIndex, Deadline, NewString, Shard, Str, Touch};

const DB: DbIndex = DbIndex(0);
const NOW_MS: u64 = 1_800_000_000_000;
const SEED: u128 = 0x0123_4567_89ab_cdef;
const KEYS: usize = 2500;
/// Bits that the hashes of all keys share: many more than tell so few keys apart.
const BITS: u32 = 9;
/// An entry with its share of the table.
const BYTES_MAX_PER_KEY: u64 = 250;

fn chosen_keys(hasher: &KeyHasher) -> Vec<Vec<u8>> {
    let names = (0..).map(|number: u32| format!("user:{number}").into_bytes());
    names.filter(|name| hasher.hash(name) >> (64 - BITS) == 5).take(KEYS).collect()
}

fn shard() -> (Shard, KeyHasher, Vec<Vec<u8>>) {
    let hasher = KeyHasher::new(SEED);
    let (mut shard, keys) = (Shard::new(hasher.clone()), chosen_keys(&hasher));
    for (number, key) in keys.iter().enumerate() {
        let deadline =
            if number % 2 == 0 { Deadline::At(NOW_MS + 1 + number as u64) } else { Deadline::None };
        let mut place = shard.write(DB, hasher.hash(key), key, NOW_MS);
        place.set_string(NewString::Int(number as i64), deadline);
    }
    shard.check_invariants();
    (shard, hasher, keys)
}

#[test]
#[cfg_attr(miri, ignore = "long: the keys are searched for")]
fn chosen_keys_are_served_like_others_in_bounded_memory() {
    let (mut shard, hasher, keys) = shard();
    assert!(shard.used_bytes() < KEYS as u64 * BYTES_MAX_PER_KEY, "{}", shard.used_bytes());
    for (number, key) in keys.iter().enumerate() {
        let hash = hasher.hash(key);
        let value = shard.read(DB, hash, key, NOW_MS, Touch::Lru(7), || false).map(|entry| entry.string());
        assert_eq!(value, Some(Str::Int(number as i64)));
        assert!(shard.read(DB, hash, b"absent", NOW_MS, Touch::None, || false).is_none());
        // Another size, so that the entry moves, and then the same.
        for value in [&[b'x'; 100][..], &[b'y'; 100]] {
            let mut place = shard.write(DB, hash, key, NOW_MS);
            place.set_string(NewString::Bytes(value), Deadline::Keep);
        }
        if number % 4 == 1 {
            shard.write(DB, hash, key, NOW_MS).set_deadline(Some(NOW_MS + 9_000));
        }
    }
    shard.check_invariants();
    let (mut seen, mut position) = (Vec::new(), Some(0));
    while let Some(at) = position {
        position = shard.scan(DB, at, 10, &mut |entry| seen.push(entry.key().to_vec()));
    }
    let distinct: BTreeSet<_> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (KEYS, KEYS));
    let drawn = (0..20_000).filter_map(|seed| shard.random(DB, seed)).map(|entry| entry.key().to_vec());
    assert!(drawn.collect::<BTreeSet<_>>().len() > KEYS / 10 * 9);

    for elapsed_ms in [1000, 20_000] {
        while !shard.expire_due(NOW_MS + elapsed_ms, 64, &mut |_, _, _| {}).done {}
        shard.check_invariants();
    }
    assert_eq!((shard.len(DB), shard.expires(DB)), (KEYS as u64 / 4, 0));
    assert_eq!(shard.flush(DB).keys, KEYS as u64 / 4);
    while !shard.free_discarded(100) {}
    assert_eq!(shard.used_bytes(), 0);
}

#[test]
#[cfg_attr(miri, ignore = "long: the keys are searched for")]
fn chosen_keys_are_evicted_to_the_last() {
    let (mut shard, _, _) = shard();
    let policy = Policy { volatile: false, rank: Rank::Idle, samples: 5 };
    let (mut candidates, mut draws) = (Candidates::default(), 0);
    for left in (0..KEYS as u64).rev() {
        let evicted = evict(&mut shard, &policy, NOW_MS, &mut candidates, &mut || {
            draws += 1;
            draws
        });
        assert_eq!((evicted, shard.len(DB)), (Some(Evicted::Key), left));
    }
    assert_eq!(shard.used_bytes(), 0);
}
