//! Tests of dicts against a naive model: the same operations on a dict and on a `HashMap`.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::super::external::Large;
use super::{Dict, Form, Record};
use crate::store::hash::KeyHasher;

type Model = HashMap<Vec<u8>, (Vec<u8>, Option<u64>)>;

#[derive(Clone, Debug)]
enum Op {
    Set(Vec<u8>, Vec<u8>, Option<u64>),
    SetMany(u16, u16),
    Remove(Vec<u8>),
    RemoveMany(u16, u16),
    Deadline(Vec<u8>, Option<u64>),
    Expire(u64, usize),
    Clone,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0u32..60).prop_map(|number| number.to_string().into_bytes()),
        2 => (prop::sample::select(vec![0usize, 1, 126, 127, 128, 254, 255, 256, 300]), 0u8..3)
            .prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::collection::vec(any::<u8>(), 0..30),
        1 => (prop::sample::select(vec![118usize, 126, 127, 128, 240, 254, 255, 1000]), any::<u8>())
            .prop_map(|(len, byte)| vec![byte; len]),
    ]
}

fn deadline() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![2 => Just(None), 1 => (1u64..100).prop_map(Some)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (key(), value(), deadline()).prop_map(|(key, value, deadline)| Op::Set(key, value, deadline)),
        2 => (any::<u16>(), 0u16..300).prop_map(|(first, count)| Op::SetMany(first % 1000, count)),
        4 => key().prop_map(Op::Remove),
        2 => (any::<u16>(), 0u16..400).prop_map(|(first, count)| Op::RemoveMany(first % 1000, count)),
        3 => (key(), deadline()).prop_map(|(key, deadline)| Op::Deadline(key, deadline)),
        1 => (0u64..100, 1usize..50).prop_map(|(now_ms, budget)| Op::Expire(now_ms, budget)),
        1 => Just(Op::Clone),
    ]
}

fn numbered(number: u16) -> Vec<u8> {
    format!("member:{number}").into_bytes()
}

fn owned(record: Record<'_>) -> (Vec<u8>, (Vec<u8>, Option<u64>)) {
    (record.key.to_vec(), (record.value.to_vec(), record.deadline))
}

/// Does the same to both, and compares what they answer.
fn run(dict: &mut Dict, model: &mut Model, hasher: &KeyHasher, op: Op) {
    let keys = dict.form == Form::Keys;
    let given = |value: Vec<u8>, deadline| if keys { (Vec::new(), None) } else { (value, deadline) };
    match op {
        Op::Set(key, value, deadline) => {
            let (value, deadline) = given(value, deadline);
            let new = dict.set(hasher, &key, &value, deadline);
            assert_eq!(new, model.insert(key, (value, deadline)).is_none());
        }
        Op::SetMany(first, count) => {
            for key in (first..first + count).map(numbered) {
                let new = dict.set(hasher, &key, b"", None);
                assert_eq!(new, model.insert(key, (Vec::new(), None)).is_none());
            }
        }
        Op::Remove(key) => assert_eq!(dict.remove(hasher, &key), model.remove(&key).is_some()),
        Op::RemoveMany(first, count) => {
            for key in (first..first + count).map(numbered) {
                assert_eq!(dict.remove(hasher, &key), model.remove(&key).is_some());
            }
        }
        Op::Deadline(..) if keys => {}
        Op::Deadline(key, deadline) => {
            let known = model.get_mut(&key).map(|record| record.1 = deadline).is_some();
            assert_eq!(dict.set_deadline(hasher, &key, deadline), known);
        }
        Op::Expire(now_ms, budget) => {
            let mut removed = Vec::new();
            let mut calls = 0;
            while !dict.remove_expired(now_ms, budget, &mut |record| removed.push(owned(record))) {
                calls += 1;
                assert!(removed.len() + 1 >= calls, "each call but the last removes something");
            }
            for (key, record) in removed {
                assert!(record.1.is_some_and(|deadline| deadline <= now_ms));
                assert_eq!(model.remove(&key), Some(record));
            }
            assert!(model.values().all(|record| record.1.is_none_or(|deadline| deadline > now_ms)));
            let earliest = model.values().filter_map(|record| record.1).min();
            assert!(dict.earliest_deadline().is_none_or(|due| due > now_ms));
            assert!(earliest.is_none() || dict.earliest_deadline().is_some_and(|due| Some(due) <= earliest));
        }
        Op::Clone => *dict = dict.clone(),
    }
}

fn check(dict: &Dict, model: &Model, hasher: &KeyHasher) {
    dict.check_invariants(hasher);
    assert_eq!((dict.len(), dict.is_empty()), (model.len(), model.is_empty()));
    let all: Model = dict.iter().map(owned).collect();
    assert_eq!(&all, model);
    for (key, (value, deadline)) in model {
        let record = Record { key, value, deadline: *deadline };
        assert_eq!(dict.get(hasher, key), Some(record));
    }
    for (key, _) in model.iter().take(20) {
        let mut other = key.clone();
        other.push(0);
        assert_eq!(dict.contains(hasher, &other), model.contains_key(&other));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 2 } else { 40 }))]

    #[test]
    fn dict_behaves_like_its_model(ops in prop::collection::vec(op(), 1..80), keys in any::<bool>(), seed: u64) {
        let hasher = KeyHasher::new(u128::from(seed));
        let (mut dict, mut model) = (if keys { Dict::of_keys() } else { Dict::new() }, Model::new());
        for op in ops {
            run(&mut dict, &mut model, &hasher, op);
            dict.check_invariants(&hasher);
        }
        check(&dict, &model, &hasher);
    }

    /// Between the steps of a scan members come and go; those that stay are all returned.
    #[test]
    fn scan_across_growth_and_shrinking_returns_all_that_stays(
        sizes in prop::collection::vec(0u16..3000, 1..12),
        budget in 1usize..100,
        seed: u64,
    ) {
        let hasher = KeyHasher::new(u128::from(seed));
        let mut dict = Dict::of_keys();
        let stays: HashSet<Vec<u8>> = (0..50).map(|number| format!("stays:{number}").into_bytes()).collect();
        stays.iter().for_each(|key| { dict.set(&hasher, key, b"", None); });
        let mut sizes = sizes.into_iter().cycle();
        let (mut present, mut seen, mut position, mut steps) = (0, HashSet::new(), 0, 0);
        loop {
            let wanted = sizes.next().expect("it goes on for ever");
            (present..wanted).for_each(|number| { dict.set(&hasher, &numbered(number), b"", None); });
            (wanted..present).for_each(|number| { dict.remove(&hasher, &numbered(number)); });
            present = wanted;
            match dict.scan(position, budget, &mut |record| { seen.insert(record.key.to_vec()); }) {
                Some(next) => {
                    prop_assert!(next > position, "positions rise, so that a scan ends");
                    position = next;
                }
                None => break,
            }
            steps += 1;
            prop_assert!(steps < 10_000);
        }
        prop_assert!(stays.is_subset(&seen));
    }
}

#[test]
fn scan_of_unchanged_dict_returns_each_once() {
    let hasher = KeyHasher::new(3);
    let mut dict = Dict::of_keys();
    (0..5000).for_each(|number| assert!(dict.set(&hasher, &numbered(number), b"", None)));
    let (mut seen, mut position) = (Vec::new(), 0);
    while let Some(next) = dict.scan(position, 10, &mut |record| seen.push(record.key.to_vec())) {
        position = next;
    }
    assert_eq!(seen.len(), 5000);
    assert_eq!(seen.into_iter().collect::<HashSet<_>>().len(), 5000);
}

/// Nodes are filled unevenly, by up to twice as much: each record is picked as often all the same (chi-square).
#[test]
#[cfg_attr(miri, ignore = "long, and without unsafe code")]
fn random_picks_are_uniform() {
    let hasher = KeyHasher::new(5);
    for count in [1u16, 7, 90, 1000] {
        let mut dict = Dict::of_keys();
        (0..3 * count).for_each(|number| assert!(dict.set(&hasher, &numbered(number), b"", None)));
        (count..3 * count).for_each(|number| assert!(dict.remove(&hasher, &numbered(number))));
        let draws = 200 * u64::from(count);
        let mut counts: HashMap<Vec<u8>, f64> = HashMap::new();
        for seed in 0..draws {
            *counts.entry(dict.random(seed).key.to_vec()).or_default() += 1.0;
        }
        assert_eq!(counts.len(), usize::from(count));
        let chi: f64 = counts.values().map(|seen| (seen - 200.0).powi(2) / 200.0).sum();
        let (degrees, sigma) = (f64::from(count - 1), (2.0 * f64::from(count)).sqrt());
        assert!((chi - degrees).abs() < 5.0 * sigma, "chi-square {chi} of {count}");
    }
}

/// Few large records where there were many small ones: picks do not go astray.
#[test]
fn random_pick_finds_few_where_many_were() {
    let hasher = KeyHasher::new(6);
    let mut dict = Dict::new();
    (0..2000u16).for_each(|number| assert!(dict.set(&hasher, &number.to_le_bytes(), b"", None)));
    (0..2000u16).for_each(|number| {
        assert!(dict.set(&hasher, &numbered(number), &[1; 200], None));
        assert!(dict.remove(&hasher, &number.to_le_bytes()));
    });
    dict.check_invariants(&hasher);
    (0..100).for_each(|seed| assert_eq!(dict.random(seed).value.len(), 200));
}

#[test]
fn members_of_16_bytes_take_less_than_25() {
    let hasher = KeyHasher::new(8);
    let mut dict = Dict::of_keys();
    for count in 1..=50_000u64 {
        assert!(dict.set(&hasher, format!("{count:016}").as_bytes(), b"", None));
        if count >= 1000 && count % 500 == 0 {
            let each = dict.allocated() as f64 / count as f64;
            assert!((16.0..22.0).contains(&each), "{each} bytes each of {count}");
        }
    }
}

#[test]
fn dict_is_freed_in_slices() {
    let hasher = KeyHasher::new(9);
    let mut dict = Dict::new();
    (0..20_000).for_each(|number| assert!(dict.set(&hasher, &numbered(number), b"value", Some(7))));
    (0..500).for_each(|number| assert!(!dict.set(&hasher, &numbered(number), &[7; 5000], None)));
    let (mut pieces, mut allocated) = (dict.pieces(), dict.allocated());
    assert!(pieces > 1000);
    while !dict.free_pieces(10) {
        assert!(dict.pieces() < pieces && dict.pieces() + 20 > pieces);
        assert!(dict.allocated() < allocated);
        (pieces, allocated) = (dict.pieces(), dict.allocated());
    }
    assert_eq!((dict.pieces(), dict.node_bytes), (0, 0));
}

/// What has expired is found without looking at everything: each call looks at no more nodes than it may remove records.
#[test]
fn expired_records_are_removed_in_slices() {
    let hasher = KeyHasher::new(10);
    let mut dict = Dict::new();
    (0..10_000u16).for_each(|number| {
        let deadline = (number % 2 == 0).then_some(u64::from(number) + 1);
        assert!(dict.set(&hasher, &numbered(number), b"value", deadline));
    });
    assert_eq!(dict.earliest_deadline(), Some(1));
    assert!(dict.remove_expired(0, 10, &mut |_| unreachable!("none has expired")));
    let (mut removed, mut calls) = (0, 1);
    while !dict.remove_expired(8000, 100, &mut |_| removed += 1) {
        calls += 1;
    }
    dict.check_invariants(&hasher);
    assert!(calls > 20, "{calls} calls");
    assert_eq!((removed, dict.len()), (4000, 6000));
    assert_eq!(dict.earliest_deadline(), Some(8001));
    assert!(dict.remove_expired(u64::MAX - 1, usize::MAX, &mut |_| {}));
    assert_eq!((dict.len(), dict.earliest_deadline()), (5000, None));
}
