//! The list-append checker against histories made by hand: each anomaly is found, and what is allowed is not.

use super::*;
use crate::harness::Rng;

/// Transactions as text: `connection from-to outcome: a key element length, r key elements...`; `-` for no end.
fn history(lines: &[&str]) -> Vec<Transaction> {
    lines.iter().map(|line| transaction(line)).collect()
}

fn transaction(line: &str) -> Transaction {
    let (head, micros) = line.split_once(": ").expect("a head and a body");
    let head: Vec<&str> = head.split(' ').collect();
    let (from, to) = head[1].split_once('-').expect("two times");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    let outcome = match head.get(2) {
        Some(&"aborted") => Outcome::Aborted,
        Some(&"unknown") => Outcome::Unknown,
        _ => Outcome::Committed,
    };
    let invoked_ns = u64::from(number(from));
    let micro = |text: &str| {
        let words: Vec<&str> = text.split(' ').collect();
        let key = number(words[1]);
        match words[0] {
            "a" => Micro::Append {
                key,
                element: number(words[2]),
                length: words.get(3).map(|word| number(word)),
            },
            "r" if words.get(2) == Some(&"?") => Micro::Read { key, seen: None },
            _ => Micro::Read { key, seen: Some(words[2..].iter().map(|word| number(word)).collect()) },
        }
    };
    Transaction {
        connection: number(head[0]),
        span: Span { invoked_ns, completed_ns: to.parse().ok() },
        outcome,
        micros: micros.split(", ").map(micro).collect(),
    }
}

#[track_caller]
fn finds(kind: &str, lines: &[&str]) {
    let anomalies = check(&history(lines)).anomalies;
    assert!(anomalies.iter().any(|a| a.kind.starts_with(kind)), "{kind} is not among {anomalies:?}");
}

#[track_caller]
fn passes(lines: &[&str]) {
    let anomalies = check(&history(lines)).anomalies;
    assert!(anomalies.is_empty(), "{anomalies:?}");
}

#[test]
fn what_a_serial_store_shows_passes() {
    passes(&[
        "1 0-10: a 1 11 1",
        "2 20-30: r 1 11, a 1 12 2, r 1 11 12",
        "1 5-40: r 1 11 12",
        "3 0-100: r 1, r 2",
    ]);
    // Two transactions that overlap may be in either order.
    passes(&["1 0-10: a 1 11 2", "2 0-10: a 1 12 1", "3 20-30: r 1 12 11"]);
    // What was never answered may have happened, late, or not at all.
    passes(&["1 0-- unknown: a 1 11", "2 20-30: r 1", "2 40-50: r 1 11"]);
    passes(&["1 0-- unknown: a 1 11", "2 20-30: r 1", "2 40-50: a 1 12 1"]);
    passes(&["1 0-10 aborted: a 1 11", "2 20-30: r 1"]);
}

#[test]
fn dirty_reads_are_found() {
    finds("G1a", &["1 0-10 aborted: a 1 11", "2 0-10: r 1 11"]);
    finds("G1b", &["1 0-10: a 1 11 1, a 1 12 2", "2 0-10: r 1 11"]);
    finds("G1b", &["1 0-- unknown: a 1 11, a 1 12", "2 0-10: r 1 11"]);
    finds("phantom", &["2 0-10: r 1 11"]);
    finds("phantom", &["1 0-10: a 2 11 1", "2 0-10: r 1 11"]);
}

#[test]
fn lists_that_no_order_explains_are_found() {
    finds("incompatible", &["1 0-9: a 1 11 1", "2 0-9: a 1 12 2", "3 0-9: r 1 11", "4 0-9: r 1 12"]);
    finds("duplicate", &["1 0-9: a 1 11 1", "3 20-30: r 1 11 11"]);
    finds("duplicate", &["1 0-9: a 1 11 1", "2 0-9: a 1 12 2", "3 0-9: r 1 11 12", "4 0-9: r 1 12 11"]);
    finds("lost append", &["1 0-9: a 1 11 1", "2 0-9: a 1 12 1"]);
    finds("lost append", &["1 0-9: a 1 11 1", "2 0-9: a 1 12 1", "3 0-9: r 1 12"]);
    finds("lost append", &["1 0-9: a 1 11 0"]);
    finds("wrong length", &["1 0-9: a 1 11 2", "2 0-9: a 1 12 1", "3 0-9: r 1 11 12"]);
}

#[test]
fn changes_within_a_transaction_are_found() {
    finds("internal", &["1 0-9: r 1, r 1 11", "2 0-9: a 1 11 1"]);
    finds("internal", &["1 0-9: a 1 11 1, r 1", "2 0-9: a 2 13 1"]);
    finds("internal", &["1 0-9: r 1, a 1 11 2", "2 0-9: a 1 12 1"]);
    finds("internal", &["1 0-9: a 1 11 1, a 1 12 3", "2 0-9: a 1 13 2"]);
}

#[test]
fn cycles_are_found_and_named() {
    // Two transactions write two keys in different orders.
    finds("G0, write cycle", &["1 0-9: a 1 11 1, a 2 21 2", "2 0-9: a 1 12 2, a 2 22 1"]);
    // Each sees what the other wrote.
    finds("G1c, circular information flow", &["1 0-9: a 1 11 1, r 2 22", "2 0-9: a 2 22 1, r 1 11"]);
    // A reader sees one half of a write and not the other.
    finds("G-single, read skew", &["1 0-9: a 1 11 1, a 2 21 1", "2 0-9: r 1 11, r 2"]);
    // The same when nobody knows whether the writer ended, but its other half is seen later.
    finds("G-single", &["1 0-- unknown: a 1 11, a 2 21", "2 0-9: r 1 11, r 2", "3 20-30: r 2 21"]);
    // Write skew: neither sees the other's write.
    finds("G2, anti-dependency cycle", &["1 0-9: r 1, a 2 21 1", "2 0-9: r 2, a 1 11 1"]);
    // Two readers disagree about the order of two writers.
    finds("G2", &["1 0-9: a 1 11 1", "2 0-9: a 2 21 1", "3 0-9: r 1 11, r 2", "4 0-9: r 1, r 2 21"]);
}

#[test]
fn real_time_and_sessions_are_kept() {
    finds("G-single, stale read", &["1 0-9: a 1 11 1", "2 20-30: r 1"]);
    finds("G0, write cycle with real time", &["1 0-9: a 1 11 2", "2 20-30: a 1 12 1"]);
    finds("G1c, circular information flow with real time", &["1 0-9: r 1 11", "2 20-30: a 1 11 1"]);
    // Pipelined on one connection, in an order that was not kept.
    finds("G-single, stale read", &["1 0-50: a 1 11 1", "1 0-50: r 1"]);
    // Through a third, on another key.
    finds("G-single", &["1 0-9: a 1 11 1", "2 20-30: a 2 21 1", "3 0-50: r 1, r 2 21"]);
    // A lost append is a read that comes too late for it.
    finds("", &["1 0-9: a 1 11 1", "3 20-29: r 1", "1 30-39: a 1 12 2"]);
}

/// A serial store's own history, of any shape, passes; after any two elements change places in a read it does not.
#[test]
fn random_serial_histories_pass_and_fail_when_tampered_with() {
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let mut lists: Vec<Vec<u32>> = vec![Vec::new(); 4];
        let mut history = Vec::new();
        for index in 0..100_u64 {
            let micros = (0..=rng.below(4)).map(|at| {
                let key = rng.below(lists.len());
                if rng.once_in(2) {
                    return Micro::Read { key: key as u32, seen: Some(lists[key].clone()) };
                }
                let element = index as u32 * 100 + at as u32;
                lists[key].push(element);
                Micro::Append { key: key as u32, element, length: Some(lists[key].len() as u32) }
            });
            let micros = micros.collect();
            // Spans overlap, yet each contains its instant.
            let instant = 1000 + index * 10;
            let span = Span::new(instant - rng.below(60) as u64, instant + rng.below(60) as u64);
            history.push(Transaction { connection: index as u32, span, outcome: Outcome::Committed, micros });
        }
        let anomalies = check(&history).anomalies;
        assert!(anomalies.is_empty(), "seed {seed}: {anomalies:?}");
        let mut reads: Vec<&mut Vec<u32>> = Vec::new();
        for micro in history.iter_mut().flat_map(|transaction| &mut transaction.micros) {
            if let Micro::Read { seen: Some(seen), .. } = micro {
                reads.extend((seen.len() > 1).then_some(seen));
            }
        }
        let at = rng.below(reads.len());
        let seen = &mut reads[at];
        let places = (rng.below(seen.len()), rng.below(seen.len()));
        if places.0 != places.1 {
            seen.swap(places.0, places.1);
            assert!(!check(&history).anomalies.is_empty(), "seed {seed}");
        }
    }
}

/// The size of the longest runs, checked while a test waits.
#[test]
fn half_a_million_operations_take_seconds() {
    const OPERATIONS: u32 = 500_000;
    const LENGTH_MAX: usize = 50;
    let mut rng = Rng(1);
    let mut list = Vec::new();
    let mut key = 0;
    let started = std::time::Instant::now();
    let mut history = Vec::new();
    for index in 0..OPERATIONS {
        let micro = if rng.once_in(2) {
            Micro::Read { key, seen: Some(list.clone()) }
        } else {
            list.push(index);
            Micro::Append { key, element: index, length: Some(list.len() as u32) }
        };
        let instant = 1000 + u64::from(index) * 10;
        let span = Span::new(instant - rng.below(100) as u64, instant + rng.below(100) as u64);
        history.push(Transaction {
            connection: index,
            span,
            outcome: Outcome::Committed,
            micros: vec![micro],
        });
        if list.len() == LENGTH_MAX {
            list.clear();
            key += 1;
        }
    }
    assert!(check(&history).anomalies.is_empty());
    assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
}
