//! Decides whether queues delivered what was put into them: each element once, in order.
//!
//! Design: elements are unique, so the four ways in which a queue's history can be wrong can be looked for one by one
//! (Henzinger, Sezgin and Vafeiadis, 2013): an element popped that nobody pushed, or from another queue; one popped twice; one
//! lost; and two popped against the order of their pushes, when both the pushes and the pops are in an order at all. The last
//! is a sweep over time. Elements of one push, and pushes of one connection, are in the order sent even where times overlap.
//!
//! A pop that was never answered may have taken an element; that many may be missing.

use ahash::HashMap;

use super::record::{Anomaly, Span};

/// An element put at a queue's end.
#[derive(Clone, Copy, Debug)]
pub struct Push {
    /// Which connection; elements of one are in the order sent.
    pub connection: u32,
    /// When it was under way.
    pub span: Span,
    /// Which queue.
    pub queue: u32,
    /// The element.
    pub element: u32,
}

/// An element taken from a queue's front.
#[derive(Clone, Copy, Debug)]
pub struct Pop {
    /// When it was under way.
    pub span: Span,
    /// Which connection; its pops are in the order of their replies.
    pub connection: u32,
    /// What came.
    pub queue: u32,
    /// The element.
    pub element: u32,
}

/// Checks a run after whose end the queues were empty. `open_pops` elements may have gone to pops that were never answered.
pub fn check(pushes: &[Push], pops: &[Pop], open_pops: usize) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let mut report = |kind, text: String| anomalies.push(Anomaly { kind, text: format!("  {text}\n") });
    let mut popped: HashMap<u32, Pop> = HashMap::default();
    let by_element: HashMap<u32, Push> = pushes.iter().map(|push| (push.element, *push)).collect();
    assert_eq!(by_element.len(), pushes.len(), "a workload pushes an element once");
    for pop in pops {
        match by_element.get(&pop.element) {
            Some(push) if push.queue == pop.queue => {
                if pop.span.completed_ns.is_some_and(|end| end < push.span.invoked_ns) {
                    report("popped before it was pushed", format!("{push:?}, {pop:?}"));
                }
            }
            Some(push) => report("popped from another queue", format!("{push:?}, {pop:?}")),
            None => report("popped and never pushed", format!("{pop:?}")),
        }
        if let Some(other) = popped.insert(pop.element, *pop) {
            report("popped twice", format!("{other:?}, {pop:?}"));
        }
    }
    let answered = pushes.iter().filter(|push| push.span.completed_ns.is_some());
    let missing: Vec<&Push> = answered.filter(|push| !popped.contains_key(&push.element)).collect();
    if missing.len() > open_pops {
        let shown: Vec<String> = missing.iter().take(3).map(|push| format!("{push:?}")).collect();
        let text = format!("{} for {open_pops} pops without an answer: {}", missing.len(), shown.join(", "));
        report("lost", text);
    }
    let mut queues: HashMap<u32, Vec<(Push, Pop)>> = HashMap::default();
    for push in pushes {
        if let Some(pop) = popped.get(&push.element) {
            queues.entry(push.queue).or_default().push((*push, *pop));
        }
    }
    for (queue, pairs) in &queues {
        for pair in out_of_order(pairs) {
            report("out of order", format!("queue {queue}: {:?}\n  and {:?}", pair.0, pair.1));
        }
    }
    anomalies
}

type Pair = (Push, Pop);

/// Two elements whose pushes and pops are in opposite orders, for each way to know the orders.
fn out_of_order(pairs: &[Pair]) -> Vec<(Pair, Pair)> {
    let mut found = Vec::new();
    // By time: of all pushes complete before one began, none may be popped by a pop that began after this one's ended.
    let mut by_start: Vec<&Pair> = pairs.iter().collect();
    by_start.sort_unstable_by_key(|(push, _)| push.span.invoked_ns);
    let mut by_end: Vec<&Pair> = pairs.iter().filter(|(push, _)| push.span.completed_ns.is_some()).collect();
    by_end.sort_unstable_by_key(|(push, _)| push.span.completed_ns);
    let mut ended = by_end.iter().peekable();
    let mut latest: Option<&Pair> = None;
    for pair in by_start {
        while let Some(before) =
            ended.next_if(|(push, _)| push.span.completed_ns < Some(pair.0.span.invoked_ns))
        {
            if latest.is_none_or(|(_, pop)| pop.span.invoked_ns < before.1.span.invoked_ns) {
                latest = Some(before);
            }
        }
        let end = pair.1.span.completed_ns.unwrap_or(u64::MAX);
        found.extend(latest.filter(|(_, pop)| end < pop.span.invoked_ns).map(|before| (*before, *pair)));
    }
    // By connection: of two elements that one connection pushed, one other that popped both had the first one first.
    let mut sent: HashMap<(u32, u32), &Pair> = HashMap::default();
    for pair in pairs {
        if let Some(before) = sent.insert((pair.0.connection, pair.1.connection), pair)
            && before.1.span.completed_ns > pair.1.span.completed_ns
        {
            found.push((*before, *pair));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(connection: u32, from: u64, to: u64, element: u32) -> Push {
        Push { connection, span: Span::new(from, to), queue: element / 100, element }
    }

    fn pop(connection: u32, from: u64, to: u64, element: u32) -> Pop {
        Pop { connection, span: Span::new(from, to), queue: element / 100, element }
    }

    #[track_caller]
    fn finds(kind: &str, pushes: &[Push], pops: &[Pop]) {
        let anomalies = check(pushes, pops, 0);
        assert!(anomalies.iter().any(|a| a.kind == kind), "{kind} is not among {anomalies:?}");
    }

    #[test]
    fn elements_come_once_and_are_not_lost() {
        let two = [push(1, 0, 9, 101), push(2, 0, 9, 102)];
        assert!(check(&two, &[pop(3, 0, 9, 102), pop(4, 5, 20, 101)], 0).is_empty());
        finds("lost", &two, &[pop(3, 0, 9, 102)]);
        assert!(check(&two, &[pop(3, 0, 9, 102)], 1).is_empty());
        finds("popped twice", &two, &[pop(3, 0, 9, 102), pop(3, 10, 19, 102), pop(4, 5, 20, 101)]);
        finds("popped and never pushed", &two, &[pop(3, 0, 9, 103)]);
        finds("popped from another queue", &two, &[Pop { queue: 9, ..pop(3, 0, 9, 102) }]);
        finds("popped before it was pushed", &[push(1, 10, 20, 101)], &[pop(3, 0, 9, 101)]);
        let open = Push { span: Span::open(0), ..push(1, 0, 0, 101) };
        assert!(check(&[open], &[], 0).is_empty());
        assert!(check(&[open], &[pop(2, 50, 60, 101)], 0).is_empty());
    }

    #[test]
    fn elements_come_in_order() {
        let pushes = [push(1, 0, 9, 101), push(2, 20, 29, 102)];
        assert!(check(&pushes, &[pop(3, 30, 40, 101), pop(4, 35, 39, 102)], 0).is_empty());
        finds("out of order", &pushes, &[pop(3, 30, 40, 102), pop(4, 45, 49, 101)]);
        assert!(
            check(&[pushes[0], push(2, 5, 29, 102)], &[pop(3, 30, 40, 102), pop(4, 45, 49, 101)], 0)
                .is_empty()
        );
        // One after the other on one connection, to one other, though the times overlap.
        let pipeline = [push(1, 0, 9, 101), push(1, 0, 9, 102)];
        assert!(check(&pipeline, &[pop(3, 5, 20, 101), pop(3, 5, 21, 102)], 0).is_empty());
        finds("out of order", &pipeline, &[pop(3, 5, 20, 102), pop(3, 5, 21, 101)]);
    }
}
