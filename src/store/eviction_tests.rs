//! Tests of `eviction`: the arithmetic of frequencies against floats, and what each policy chooses.

use std::collections::HashMap;

use super::*;
use crate::store::candidates::{Candidates, Evicted};
use crate::store::hash::KeyHasher;
use crate::store::{DbIndex, Deadline, NewString, Shard, ShardId};

/// A time later than the beginning of coarse time.
const NOW_MS: u64 = 1_800_000_000_000;
const FREQUENCIES: Frequencies = Frequencies { log_factor: 10, decay_minutes: 1 };

fn generator(mut state: u64) -> impl FnMut() -> u64 {
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// Decay and growth as one writes them with minutes on a calendar and floats.
fn naive(counter: u8, then: u64, now: u64, random: u32, f: Frequencies) -> u8 {
    let elapsed = (now - then) % (1 << 16);
    let periods = if f.decay_minutes == 0 { 0 } else { elapsed / u64::from(f.decay_minutes) };
    let counter = (i64::from(counter) - periods as i64).max(0) as u8;
    if counter == 255 {
        return 255;
    }
    let above = (f64::from(counter) - f64::from(FREQUENCY_NEW)).max(0.0);
    let p = 1.0 / (above * f64::from(f.log_factor) + 1.0);
    if f64::from(random) / 4_294_967_296.0 < p { counter + 1 } else { counter }
}

#[test]
#[cfg_attr(miri, ignore = "long, and arithmetic only")]
fn frequencies_are_as_a_naive_model_says() {
    let mut random = generator(1);
    for _ in 0..200_000 {
        let counter = random() as u8;
        let then = random() % (1 << 20);
        let now = then + if random().is_multiple_of(2) { random() % 8 } else { random() % (1 << 17) };
        let number = random() as u32;
        let log_factor = [0, 1, 10, 100, u32::MAX][random() as usize % 5];
        let decay_minutes = [0, 1, 2, 60, u32::MAX][random() as usize % 5];
        let frequencies = Frequencies { log_factor, decay_minutes };
        let one = Use { minutes: now as u16, random: number, frequencies };
        let clock = Touch::Lfu(one).apply(frequency_clock(then as u16, counter));
        assert!(clock <= CLOCK_MAX);
        assert_eq!(clock >> 8, u32::from(now as u16));
        assert_eq!(clock as u8, naive(counter, then, now, number, frequencies), "{one:?} {counter} {then}");
    }
}

/// The table in Redis's own redis.conf: hits and the counter they lead to, with factor 10.
#[test]
#[cfg_attr(miri, ignore = "long, and arithmetic only")]
fn the_counter_grows_with_the_logarithm_of_the_uses() {
    let mut random = generator(2);
    for (uses, low, high) in [(100, 7, 14), (1000, 14, 23), (100_000, 125, 160)] {
        let mut clock = frequency_clock(0, FREQUENCY_NEW);
        for _ in 0..uses {
            let one = Use { minutes: 0, random: random() as u32, frequencies: FREQUENCIES };
            clock = Touch::Lfu(one).apply(clock);
        }
        assert!((low..=high).contains(&(clock as u8)), "{uses} uses: {}", clock as u8);
    }
}

#[test]
fn clocks_wrap_around() {
    assert_eq!(idle_seconds(5, 5), 0);
    assert_eq!(idle_seconds(15, 5), 10);
    assert_eq!(idle_seconds(3, CLOCK_MAX - 1), 5);
    assert_eq!(decayed(frequency_clock(u16::MAX, 9), 2, 1), 6);
    assert_eq!(decayed(frequency_clock(7, 9), 7, 1), 9);
    let clock = AccessClock::new(NOW_MS, true);
    assert!(clock.counts_frequency());
    assert_eq!(clock.seconds(), (NOW_MS / 1000) as u32 & CLOCK_MAX);
    assert!(!AccessClock::new(NOW_MS, false).counts_frequency());
}

/// A shard with 200 keys in each of two databases; every fourth has a deadline. The higher a key's number, the better it
/// is to be kept by any measure.
fn shard() -> (Shard, KeyHasher) {
    let hasher = KeyHasher::new(3);
    let mut shard = Shard::new(hasher.clone());
    for db in [DbIndex(0), DbIndex(3)] {
        for number in 0..200_u64 {
            let key = number.to_string();
            let hash = hasher.hash(key.as_bytes());
            let mut place = shard.write(db, hash, key.as_bytes(), NOW_MS);
            let deadline =
                if number % 4 == 0 { Deadline::At(NOW_MS + 1_000_000 + number) } else { Deadline::None };
            place.set_string(NewString::Bytes(b"value"), deadline);
        }
    }
    (shard, hasher)
}

fn set_clocks(shard: &mut Shard, hasher: &KeyHasher, clock: impl Fn(u32) -> u32) {
    for db in [DbIndex(0), DbIndex(3)] {
        for number in 0..200 {
            let key = number.to_string();
            shard.write(db, hasher.hash(key.as_bytes()), key.as_bytes(), NOW_MS).set_clock(clock(number));
        }
    }
}

fn survivors(shard: &Shard) -> Vec<(u64, bool)> {
    let mut found = Vec::new();
    for db in [DbIndex(0), DbIndex(3)] {
        shard.for_each(db, |entry| {
            let key = String::from_utf8_lossy(entry.key()).into_owned();
            found.push((key.parse().expect("all keys are numbers"), entry.deadline().is_some()));
        });
    }
    found
}

/// Removes a key as a worker does; none if there is none that the policy removes.
pub(in crate::store) fn evict(
    shard: &mut Shard,
    policy: &Policy,
    now_ms: u64,
    candidates: &mut Candidates,
    random: &mut dyn FnMut() -> u64,
) -> Option<Evicted> {
    shard.offer_candidates(ShardId(0), policy, now_ms, candidates, random);
    while let Some(candidate) = candidates.take_best() {
        match shard.evict(candidate, policy, now_ms, candidates) {
            Evicted::Used | Evicted::Gone => {}
            removed => return Some(removed),
        }
    }
    None
}

#[test]
fn each_policy_removes_what_it_should() {
    let now = AccessClock::new(NOW_MS, false).seconds();
    let lru = |number| now.wrapping_sub(1000 - number) & CLOCK_MAX;
    let lfu = |number| frequency_clock(minutes(NOW_MS), number as u8);
    for volatile in [false, true] {
        for rank in [Rank::Idle, Rank::Frequency(FREQUENCIES), Rank::Deadline, Rank::Random] {
            let (mut shard, hasher) = shard();
            match rank {
                Rank::Frequency(_) => set_clocks(&mut shard, &hasher, lfu),
                _ => set_clocks(&mut shard, &hasher, lru),
            }
            let policy = Policy { volatile, rank, samples: 5 };
            let (mut random, mut candidates) = (generator(4), Candidates::default());
            let eligible = if volatile { 100 } else { 400 };
            for _ in 0..eligible / 2 {
                assert_eq!(
                    evict(&mut shard, &policy, NOW_MS, &mut candidates, &mut random),
                    Some(Evicted::Key)
                );
            }
            shard.check_invariants();
            let left = survivors(&shard);
            assert_eq!(left.len(), 400 - eligible / 2, "{policy:?}");
            assert!(!volatile || left.iter().filter(|(_, volatile)| !volatile).count() == 300);
            let of_interest: Vec<_> = left.iter().filter(|(_, has)| *has || !volatile).collect();
            let mean = of_interest.iter().map(|(number, _)| number).sum::<u64>() / of_interest.len() as u64;
            match rank {
                Rank::Random => assert!((70..130).contains(&mean), "{policy:?}: {mean}"),
                Rank::Deadline if !volatile => {}
                _ => assert!(mean > 125, "{policy:?}: {mean}"),
            }
            while evict(&mut shard, &policy, NOW_MS, &mut candidates, &mut random).is_some() {}
            assert_eq!(survivors(&shard).len(), if volatile { 300 } else { 0 }, "{policy:?}");
        }
    }
}

#[test]
fn a_single_volatile_key_is_found_and_the_expired_go_first() {
    let (mut shard, hasher) = shard();
    let policy = Policy { volatile: true, rank: Rank::Deadline, samples: 1 };
    let mut candidates = Candidates::default();
    let mut random = generator(5);
    let later = NOW_MS + 1_000_001;
    let mut seen: HashMap<bool, u32> = HashMap::new();
    for _ in 0..100 {
        let evicted = evict(&mut shard, &policy, later, &mut candidates, &mut random);
        assert!(evicted.is_some());
        *seen.entry(evicted == Some(Evicted::Expired)).or_default() += 1;
    }
    // Number 0 of each database was due.
    assert_eq!(seen.get(&true), Some(&2));
    assert_eq!(evict(&mut shard, &policy, later, &mut candidates, &mut random), None);
    let key = b"one";
    shard
        .write(DbIndex(1), hasher.hash(key), key, later)
        .set_string(NewString::Int(1), Deadline::At(later + 1));
    assert_eq!(evict(&mut shard, &policy, later, &mut candidates, &mut random), Some(Evicted::Key));
    assert!(shard.peek(DbIndex(1), hasher.hash(key), key).is_none());
}

/// The best of many samples goes, and not the best of a few: of 400 keys the 100 that are used stay whatever is drawn.
#[test]
fn keys_in_use_outlive_all_others() {
    let now_s = NOW_MS / 1000;
    for rank in [Rank::Idle, Rank::Frequency(FREQUENCIES)] {
        let (mut shard, hasher) = shard();
        let policy = Policy { volatile: false, rank, samples: 5 };
        let (mut candidates, mut random) = (Candidates::default(), generator(6));
        let clock = |round: u64, number: u32| match rank {
            Rank::Idle if number < 50 => (now_s + round) as u32 & CLOCK_MAX,
            Rank::Idle => ((now_s + round) as u32 - 100 - number) & CLOCK_MAX,
            _ => frequency_clock(minutes(NOW_MS), if number < 50 { 100 } else { 6 }),
        };
        for round in 0..280 {
            if round % 10 == 0 {
                set_clocks(&mut shard, &hasher, |number| clock(round, number));
            }
            let now_ms = NOW_MS + round * 1000;
            let evicted = evict(&mut shard, &policy, now_ms, &mut candidates, &mut random);
            assert_eq!(evicted, Some(Evicted::Key));
        }
        let used = survivors(&shard).iter().filter(|(number, _)| *number < 50).count();
        assert_eq!(used, 100, "{rank:?}");
    }
}

#[test]
fn a_candidate_that_was_used_since_stays() {
    let (mut shard, hasher) = shard();
    set_clocks(&mut shard, &hasher, |_| 0);
    let policy = Policy { volatile: false, rank: Rank::Idle, samples: 5 };
    let (mut candidates, mut random) = (Candidates::default(), generator(7));
    shard.offer_candidates(ShardId(0), &policy, NOW_MS, &mut candidates, &mut random);
    let found = candidates.take_best().expect("there are many keys");
    candidates.clear();
    let now = AccessClock::new(NOW_MS, false).seconds();
    set_clocks(&mut shard, &hasher, |_| now);
    assert_eq!(shard.evict(found, &policy, NOW_MS, &mut candidates), Evicted::Used);
    let again = candidates.take_best().expect("it was offered again");
    assert_eq!((again.shard, candidates.is_empty()), (found.shard, true));
    assert!(again.score < found.score);
    assert_eq!(shard.evict(again, &policy, NOW_MS, &mut candidates), Evicted::Key);
    assert_eq!(shard.evict(again, &policy, NOW_MS, &mut candidates), Evicted::Gone);
}

#[test]
fn the_best_candidates_are_kept_in_order() {
    let (mut shard, hasher) = shard();
    let now = AccessClock::new(NOW_MS, false).seconds();
    set_clocks(&mut shard, &hasher, |number| now - number);
    let policy = Policy { volatile: false, rank: Rank::Idle, samples: 50 };
    let (mut candidates, mut random) = (Candidates::default(), generator(8));
    for _ in 0..100 {
        shard.offer_candidates(ShardId(0), &policy, NOW_MS, &mut candidates, &mut random);
    }
    let kept: Vec<_> = std::iter::from_fn(|| candidates.take_best()).collect();
    // Of both databases the eight that were used least lately, each once.
    assert_eq!(kept.len(), 16);
    assert!(kept.is_sorted_by_key(|kept| std::cmp::Reverse(kept.score)));
    assert_eq!(kept[0].score - kept[15].score, 7);
}
