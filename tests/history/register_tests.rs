//! The register checker against histories made by hand and at random.

use super::*;
use crate::harness::Rng;

fn operation(connection: u32, span: Span, step: Step, reply: Reply) -> Operation {
    Operation { connection, span, steps: vec![step], replies: Some(vec![reply]), watches: false }
}

fn unanswered(connection: u32, invoked_ns: u64, step: Step) -> Operation {
    Operation { connection, span: Span::open(invoked_ns), steps: vec![step], replies: None, watches: false }
}

fn at(from: u64, to: u64) -> Span {
    Span::new(from, to)
}

#[track_caller]
fn passes(history: &[Operation]) {
    let outcome = check(history);
    assert!(outcome.is_ok(), "{}", outcome.expect_err("it is one"));
}

#[track_caller]
fn fails(history: &[Operation]) -> String {
    check(history).expect_err("it is not linearizable").to_string()
}

use Reply::{Int, Ok as Done, Value, Values};
use Step::{Copy, Del, Get, GetSet, Incr, MGet, MSet, MSetNx, Rename, Set, SetNx};

#[test]
fn reads_must_be_fresh() {
    let write = operation(1, at(0, 10), Set(0, 1), Done);
    passes(&[write.clone(), operation(2, at(5, 20), Get(0), Value(NOTHING))]);
    passes(&[write.clone(), operation(2, at(5, 20), Get(0), Value(1))]);
    let text = fails(&[write.clone(), operation(2, at(11, 20), Get(0), Value(NOTHING))]);
    assert!(text.contains("Get(0) -> nil  <- unexplained"), "{text}");
    // Two reads one after the other may not go back in time, though both overlap the write.
    let long = operation(1, at(0, 100), Set(0, 1), Done);
    let reads = |first, second| {
        let first = operation(2, at(10, 20), Get(0), Value(first));
        [long.clone(), first, operation(3, at(30, 40), Get(0), Value(second))]
    };
    passes(&reads(NOTHING, 1));
    fails(&reads(1, NOTHING));
}

#[test]
fn updates_are_not_lost() {
    let incr = |from, reply| operation(from as u32, at(from, 50), Incr(0), Int(reply));
    passes(&[incr(1, 3), incr(2, 1), incr(3, 2)]);
    fails(&[incr(1, 2), incr(2, 1), incr(3, 2)]);
    fails(&[incr(1, 4), incr(2, 1), incr(3, 2)]);
    let won = |connection, reply| operation(connection, at(0, 10), SetNx(0, 5), Int(reply));
    passes(&[won(1, 0), won(2, 1)]);
    fails(&[won(1, 1), won(2, 1)]);
    fails(&[won(1, 0), won(2, 0)]);
    let swap = |connection, new, old| operation(connection, at(0, 10), GetSet(0, new), Value(old));
    passes(&[swap(1, 1, 2), swap(2, 2, NOTHING), swap(3, 3, 1)]);
    fails(&[swap(1, 1, 2), swap(2, 2, NOTHING), swap(3, 3, 2)]);
}

#[test]
fn what_was_never_answered_may_happen_late_or_never() {
    let lost = unanswered(1, 0, Set(0, 7));
    passes(&[lost.clone(), operation(2, at(50, 60), Get(0), Value(NOTHING))]);
    let late = operation(2, at(70, 80), Get(0), Value(7));
    passes(&[lost.clone(), operation(2, at(50, 60), Get(0), Value(NOTHING)), late.clone()]);
    fails(&[lost, late, operation(2, at(90, 99), Get(0), Value(NOTHING))]);
    // The second of a pipeline only if the first.
    let pipeline = [unanswered(1, 0, Set(0, 7)), unanswered(1, 0, Set(0, 8))];
    let read = |value| operation(2, at(50, 60), Get(0), Value(value));
    let twice = |first, second| {
        [&pipeline[..], &[read(first), operation(2, at(70, 80), Get(0), Value(second))]].concat()
    };
    passes(&twice(7, 8));
    passes(&twice(8, 8));
    fails(&twice(8, 7));
}

/// A connection died before it learnt that its EXEC was refused, and what it sent behind that had been carried out.
#[test]
fn what_watched_and_was_never_answered_may_have_been_refused() {
    let refused = Operation { watches: true, ..unanswered(1, 0, Set(0, 7)) };
    let behind = unanswered(1, 0, Set(1, 8));
    let read =
        |from, values: [i64; 2]| operation(2, at(from, from + 5), MGet(vec![0, 1]), Values(values.into()));
    passes(&[refused.clone(), behind.clone(), read(50, [NOTHING, 8])]);
    passes(&[refused.clone(), behind.clone(), read(50, [7, NOTHING]), read(60, [7, 8])]);
    // It had its chance before what is behind it.
    fails(&[refused.clone(), behind.clone(), read(50, [NOTHING, 8]), read(60, [7, 8])]);
    let certain = Operation { watches: false, ..refused.clone() };
    fails(&[certain, behind, read(50, [NOTHING, 8])]);
    // An answer says that it was carried out.
    let answered = Operation { watches: true, ..operation(1, at(0, 10), Set(0, 7), Done) };
    fails(&[answered, read(50, [NOTHING; 2])]);
}

#[test]
fn a_pipeline_keeps_its_order() {
    let history = |first, second| {
        [
            operation(1, at(0, 50), Set(0, 1), Done),
            operation(1, at(0, 50), Get(0), Value(first)),
            operation(1, at(0, 50), Set(0, 2), Done),
            operation(1, at(0, 50), Get(0), Value(second)),
        ]
    };
    passes(&history(1, 2));
    fails(&history(2, 2));
    fails(&history(NOTHING, 2));
}

#[test]
fn commands_on_several_keys_are_one() {
    let write = operation(1, at(0, 50), MSet(vec![(0, 1), (1, 1)]), Done);
    let read = |values: [i64; 2]| operation(2, at(0, 50), MGet(vec![0, 1]), Values(values.into()));
    passes(&[write.clone(), read([1, 1])]);
    passes(&[write.clone(), read([NOTHING; 2])]);
    fails(&[write.clone(), read([1, NOTHING])]);
    fails(&[write.clone(), read([NOTHING, 1])]);
    let rename = operation(3, at(60, 70), Rename(0, 2), Done);
    let copy = operation(4, at(60, 70), Copy(0, 2), Int(1));
    let all = |values: [i64; 3]| operation(2, at(80, 90), MGet(vec![0, 1, 2]), Values(values.into()));
    passes(&[write.clone(), rename.clone(), all([NOTHING, 1, 1])]);
    fails(&[write.clone(), rename.clone(), all([1, 1, 1])]);
    passes(&[write.clone(), copy.clone(), all([1, 1, 1])]);
    // Only one of the two can have been first, and then the other had another reply.
    fails(&[write.clone(), copy, rename, all([NOTHING, 1, 1])].map(|mut operation| {
        if let (Step::Rename(..), Some(replies)) = (&operation.steps[0], &mut operation.replies) {
            replies[0] = Reply::NoKey;
        }
        operation
    }));
    let deleted = operation(3, at(60, 70), Del(vec![0, 1, 2]), Int(1));
    fails(&[write, deleted]);
    let both = operation(1, at(0, 10), MSetNx(vec![(0, 1), (1, 1)]), Int(0));
    fails(&[both]);
}

#[test]
fn transactions_are_one() {
    let transfer = |connection, from, to, replies: [i64; 2]| Operation {
        connection,
        span: at(0, 50),
        steps: vec![Get(from), Get(to), Set(from, 1), Set(to, 2)],
        replies: Some(vec![Value(replies[0]), Value(replies[1]), Done, Done]),
        watches: false,
    };
    passes(&[transfer(1, 0, 1, [NOTHING; 2]), transfer(2, 1, 0, [2, 1])]);
    fails(&[transfer(1, 0, 1, [NOTHING; 2]), transfer(2, 1, 0, [NOTHING; 2])]);
}

#[test]
fn keys_that_nothing_connects_are_checked_apart() {
    let history: Vec<Operation> = (0..KEYS_MAX as u8)
        .flat_map(|key| {
            [operation(u32::from(key), at(0, 9), Set(key, 1), Done), unanswered(99, 0, Incr(key))]
        })
        .collect();
    assert_eq!(split(&history).len(), KEYS_MAX);
    let joined = [history, vec![operation(98, at(0, 9), Copy(0, 7), Int(1))]].concat();
    assert_eq!(split(&joined).len(), KEYS_MAX - 1);
    passes(&joined);
}

/// Any command of any shape.
fn random_step(rng: &mut Rng, value: i64) -> Step {
    let mut key = || rng.below(4) as u8;
    let (a, b) = (key(), key());
    match rng.below(11) {
        0 | 1 => Get(a),
        2 => Set(a, value),
        3 => SetNx(a, value),
        4 => GetSet(a, value),
        5 => Incr(a),
        6 => Del(vec![a, b]),
        7 => MGet(vec![a, b]),
        8 => MSet(vec![(a, value), (b, value + 1)]),
        9 => Rename(a, b),
        _ => Copy(a, (a + 1) % 4),
    }
}

#[test]
fn random_histories_of_the_model_pass_and_tampered_ones_fail() {
    let mut failed = 0;
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let mut state = [NOTHING; KEYS_MAX];
        let mut history = Vec::new();
        for index in 0..80_u64 {
            let step = random_step(&mut rng, index as i64 * 1000);
            let reply = step.apply(&mut state);
            let instant = 1000 + index * 10;
            let span = at(instant - rng.below(25) as u64, instant + rng.below(25) as u64);
            if rng.once_in(20) {
                history.push(unanswered(index as u32, span.invoked_ns, step));
            } else {
                history.push(operation(index as u32, span, step, reply));
            }
        }
        passes(&history);
        // One value becomes another's: hardly ever is that explained by what was never answered.
        let reads: Vec<usize> = (0..history.len())
            .filter(|at| matches!(history[*at].replies.as_deref(), Some([Value(value)]) if *value != NOTHING))
            .collect();
        if let [first, .., last] = reads[..]
            && history[first].replies != history[last].replies
        {
            history[first].replies = history[last].replies.clone();
            failed += usize::from(check(&history).is_err());
        }
    }
    assert!(failed > 200, "only {failed} tampered histories failed");
}
