//! The queue checker on histories made by hand.

use super::End::{Left, Right};
use super::*;

const fn left(queue: u32) -> Place {
    Place { queue, end: Left }
}

const fn right(queue: u32) -> Place {
    Place { queue, end: Right }
}

fn operation(connection: u32, (from, to): (u64, u64), step: Step) -> Operation {
    let span = if to == OPEN { Span::open(from) } else { Span::new(from, to) };
    Operation { connection, span, steps: vec![step] }
}

/// The end of what is never answered.
const OPEN: u64 = u64::MAX;

fn push(connection: u32, time: (u64, u64), place: Place, elements: &[u32]) -> Operation {
    operation(connection, time, Step::Push { place, elements: elements.to_vec() })
}

fn pop(connection: u32, time: (u64, u64), place: Place, elements: &[u32]) -> Operation {
    let (max, taken) = (elements.len(), Some((place.queue, elements.to_vec())));
    operation(connection, time, Step::Pop { queues: vec![place.queue], end: place.end, max, taken })
}

fn moved(connection: u32, time: (u64, u64), source: Place, target: Place, element: u32) -> Operation {
    operation(connection, time, Step::Move { source, target, moved: Some(element) })
}

fn checked(parts: &[&[Operation]]) -> Vec<Anomaly> {
    check(&parts.concat())
}

#[track_caller]
fn finds(kind: &str, parts: &[&[Operation]]) {
    let anomalies = checked(parts);
    assert!(anomalies.iter().any(|a| a.kind == kind), "{kind} is not among {anomalies:?}");
}

#[track_caller]
fn passes(parts: &[&[Operation]]) {
    let anomalies = checked(parts);
    assert!(anomalies.is_empty(), "{anomalies:?}");
}

/// Somebody looks into some queues, and finds nothing.
fn nothing(time: (u64, u64), queues: &[u32]) -> Operation {
    let step = Step::Pop { queues: queues.to_vec(), end: Left, max: 1, taken: None };
    operation(9, time, step)
}

#[test]
fn nobody_finds_a_queue_empty_that_is_not() {
    let stays = [push(1, (10, 20), right(1), &[101]), pop(2, (50, 60), left(1), &[101])];
    finds("found empty", &[&stays, &[nothing((21, 49), &[1])]]);
    finds("found empty", &[&stays, &[nothing((30, 40), &[2, 1])]]);
    for time in [(0, 9), (5, 15), (20, 49), (21, 50), (15, 55), (21, OPEN), (61, 70)] {
        passes(&[&stays, &[nothing(time, &[1])]]);
    }
    passes(&[&stays, &[nothing((30, 40), &[2])]]);
    // It need not be the last that came before.
    let short = [push(1, (22, 23), right(1), &[102]), pop(3, (24, 25), right(1), &[102])];
    finds("found empty", &[&stays, &short, &[nothing((30, 40), &[1])]]);
    let nowhere = Step::Move { source: left(1), target: right(3), moved: None };
    finds("found empty", &[&stays, &[operation(9, (30, 40), nowhere)]]);
}

#[test]
fn elements_come_once_and_are_not_lost() {
    let two = [push(1, (0, 9), right(1), &[101]), push(2, (0, 9), right(1), &[102])];
    let second = pop(3, (0, 9), left(1), &[102]);
    let first = pop(4, (5, 20), left(1), &[101]);
    let both = [second, first];
    passes(&[&two, &both]);
    finds("lost", &[&two, &both[..1]]);
    passes(&[&two, &both[..1], &[pop(4, (5, OPEN), left(1), &[0])]]);
    finds("taken twice", &[&two, &both, &[pop(3, (10, 19), left(1), &[102])]]);
    finds("taken and never pushed", &[&two, &both, &[pop(3, (0, 9), left(1), &[103])]]);
    finds("taken from where it was not", &[&two, &both[..1], &[pop(3, (0, 9), left(9), &[101])]]);
    finds(
        "taken before it came",
        &[&two, &both[..1], &[pop(3, (0, 9), left(1), &[103])], &[push(1, (10, 20), right(1), &[103])]],
    );
    let open = [push(1, (0, OPEN), right(1), &[101])];
    passes(&[&open]);
    passes(&[&open, &[pop(2, (50, 60), left(1), &[101])]]);
}

#[test]
fn moved_elements_are_where_they_were_moved() {
    let pushed = [push(1, (0, 9), right(1), &[101])];
    let way = [moved(2, (5, 20), left(1), right(2), 101), moved(3, (6, 30), right(2), left(4), 101)];
    let popped = [pop(4, (25, 40), right(4), &[101])];
    passes(&[&pushed, &way, &popped]);
    finds("lost", &[&pushed, &way]);
    finds("taken twice", &[&pushed, &way, &popped, &[pop(5, (0, 90), left(2), &[101])]]);
    finds("taken twice", &[&pushed, &way, &popped, &[pop(5, (0, 90), left(1), &[101])]]);
    finds("taken twice", &[&pushed, &way[..1], &[pop(5, (0, 90), left(1), &[101])]]);
    finds("taken from where it was not", &[&pushed, &way[..1], &popped]);
    finds("taken from where it was not", &[&pushed, &way[1..], &popped]);
    finds("taken before it came", &[&pushed, &way, &[pop(4, (1, 5), right(4), &[101])]]);
    // Moved, it had been pushed, and is to be popped, though its push was not answered.
    let open = [push(1, (0, OPEN), right(1), &[101])];
    finds("lost", &[&open, &way]);
    passes(&[&open, &way, &popped]);
}

#[test]
fn unanswered_moves_may_have_moved_elements() {
    let pushed = [push(1, (0, 9), right(1), &[101, 102])];
    let lost = |source, target| [moved(2, (5, OPEN), left(source), right(target), 0)];
    let popped = [pop(4, (25, 40), right(4), &[101])];
    let other = [pop(5, (50, 60), right(1), &[102])];
    passes(&[&pushed, &other, &popped, &lost(1, 4)]);
    passes(&[&pushed, &other, &popped, &lost(2, 4), &lost(1, 2)]);
    finds("taken from where it was not", &[&pushed, &other, &popped, &lost(1, 3)]);
    finds("taken from where it was not", &[&pushed, &other, &popped, &lost(2, 4)]);
    finds("moved unseen", &[&pushed, &popped, &lost(1, 4), &[pop(4, (45, 46), right(4), &[102])]]);
}

#[test]
fn who_goes_through_comes_in_order() {
    let pushes = [push(1, (0, 9), right(1), &[101]), push(2, (20, 29), right(1), &[102])];
    let popped = |first, second| [pop(3, (30, 40), left(1), &[first]), pop(4, (45, 49), left(1), &[second])];
    passes(&[&pushes, &popped(101, 102)]);
    passes(&[&pushes, &[pop(3, (30, 40), left(1), &[102]), pop(4, (35, 39), left(1), &[101])]]);
    finds("out of order", &[&pushes, &popped(102, 101)]);
    passes(&[&pushes[..1], &[push(2, (5, 29), right(1), &[102])], &popped(102, 101)]);
    // A move is a pop from one queue and a push to the other.
    let moves = [moved(5, (1, 9), right(0), right(1), 101), moved(6, (20, 29), left(0), right(1), 102)];
    let source = [push(1, (0, 9), left(0), &[101, 102])];
    passes(&[&source, &moves, &popped(101, 102)]);
    finds("out of order", &[&source, &moves, &popped(102, 101)]);
    let away = [moved(3, (30, 40), left(1), right(2), 102), moved(4, (45, 49), left(1), left(2), 101)];
    finds("out of order", &[&pushes, &away, &[pop(5, (60, 70), left(2), &[101, 102])]]);
}

#[test]
fn who_leaves_where_he_came_passes_nobody() {
    let one_after_the_other = [push(1, (0, 9), right(1), &[101]), push(2, (20, 29), right(1), &[102])];
    let popped =
        |place, first, second| [pop(3, (30, 40), place, &[first]), pop(4, (45, 49), place, &[second])];
    passes(&[&one_after_the_other, &popped(right(1), 102, 101)]);
    finds("out of order", &[&one_after_the_other, &popped(right(1), 101, 102)]);
    // Who came before may have left before the other came.
    passes(&[
        &one_after_the_other,
        &[pop(3, (25, 40), right(1), &[101]), pop(4, (45, 49), right(1), &[102])],
    ]);
    // Of those at the two ends, whatever the order in which they came.
    let both_ends = [push(1, (0, 9), left(1), &[101]), push(2, (0, 9), right(1), &[102])];
    passes(&[&both_ends, &popped(left(1), 101, 102)]);
    passes(&[&both_ends, &popped(right(1), 102, 101)]);
    passes(&[&both_ends, &[pop(3, (30, 40), right(1), &[102]), pop(4, (45, 49), left(1), &[101])]]);
    finds("out of order", &[&both_ends, &popped(left(1), 102, 101)]);
    finds("out of order", &[&both_ends, &popped(right(1), 101, 102)]);
    // Of several that came to one end, any that left later.
    let three = [push(1, (0, 9), left(1), &[101]), push(1, (10, 12), left(1), &[102, 103])];
    passes(&[&three, &[pop(3, (30, 40), left(1), &[103, 102]), pop(3, (50, 51), right(1), &[101])]]);
    let late = [pop(3, (30, 40), left(1), &[101]), pop(3, (41, 42), right(1), &[102, 103])];
    finds("out of order", &[&three, &late]);
    let late = [pop(3, (30, 40), left(1), &[102]), pop(4, (41, 42), left(1), &[103, 101])];
    finds("out of order", &[&three, &late]);
}

#[test]
fn one_connections_elements_are_in_order_though_times_overlap() {
    let pipeline = [push(1, (0, 9), right(1), &[101]), push(1, (0, 9), right(1), &[102])];
    let popped = |first, second| [pop(3, (5, 20), left(1), &[first]), pop(3, (5, 21), left(1), &[second])];
    passes(&[&pipeline, &popped(101, 102)]);
    finds("out of order", &[&pipeline, &popped(102, 101)]);
    finds("out of order", &[&pipeline, &[pop(3, (5, 20), left(1), &[102, 101])]]);
    finds(
        "out of order",
        &[&pipeline, &[pop(3, (5, 9), left(1), &[102]), pop(4, (15, 20), left(1), &[101])]],
    );
    passes(&[&pipeline, &[pop(3, (5, 20), right(1), &[102, 101])]]);
}
