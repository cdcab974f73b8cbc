//! Decides whether queues delivered what was put into them: each element once, from where it was, in order.
//!
//! Design: elements are unique, and moves lead from a queue to one with a larger number, so what is known of an element can be
//! put in order: its push, its moves, its pop. Each of these *links* must begin where the one before ended; what an unanswered
//! move did is seen as a gap between two. What must not be is then looked for kind by kind (after Henzinger, Sezgin and
//! Vafeiadis, 2013): an element that nobody pushed, one taken twice or from where it was not, one lost, and two that left
//! a queue against their order in it.
//!
//! For the last, take two that were in a queue when one of them left it at an end: the other must not have been nearer to
//! that end. It was if it came there later, or if the one that left had come to the other end later; an order is known
//! from times that do not overlap, or because one connection sent both.
//!
//! And who found nothing was right only if there was no element that had surely come before and surely left after.
//!
//! What was never answered may have happened at any later time, or never: a pop may have taken an element along, a move may
//! have brought one to its target.
//!
//! Costs: n log n of n links.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use ahash::HashMap;

use super::record::{Anomaly, Span};

/// An end of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where LPUSH pushes and LPOP pops.
    Left,
    /// Where RPUSH and RPOP do.
    Right,
}

/// An end of one of the queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which queue.
    pub queue: u32,
    /// Which of its ends.
    pub end: End,
}

/// What a command on queues does.
#[derive(Clone, Debug)]
pub enum Step {
    /// Puts elements there, one after the other.
    Push { place: Place, elements: Vec<u32> },
    /// Takes up to `max` elements from that end of one of the queues: `taken` from `queue`, in this order.
    Pop { queues: Vec<u32>, end: End, max: usize, taken: Option<(u32, Vec<u32>)> },
    /// Takes an element, if there is one, and puts it elsewhere.
    Move { source: Place, target: Place, moved: Option<u32> },
}

/// A command or transaction. Those of one connection are recorded in the order sent.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Whose.
    pub connection: u32,
    /// When it was under way; without an end, replies are not known.
    pub span: Span,
    /// What it does.
    pub steps: Vec<Step>,
}

/// One of the things known to have happened to an element.
#[derive(Clone, Copy, Debug)]
struct Link {
    at: At,
    /// `None` for a push.
    source: Option<Place>,
    /// `None` for a pop.
    target: Option<Place>,
}

#[derive(Clone, Copy, Debug)]
struct At {
    connection: u32,
    /// Orders what one connection did.
    order: u64,
    span: Span,
}

/// An element's time in a queue.
#[derive(Clone, Copy)]
struct Stay {
    element: u32,
    enter: At,
    entered: End,
    leave: At,
    left: End,
}

/// All that happened, by element.
#[derive(Default)]
struct Lives {
    links: BTreeMap<u32, Vec<Link>>,
    /// How many elements may have gone to pops that were never answered.
    open_pops: usize,
    /// From and to where moves that were not may have moved one.
    open_moves: Vec<(u32, u32)>,
}

/// Checks a run after whose end the queues were empty.
pub fn check(operations: &[Operation]) -> Vec<Anomaly> {
    let lives = Lives::of(operations);
    let mut anomalies = Vec::new();
    let mut report = |kind, text: String| anomalies.push(Anomaly { kind, text: format!("  {text}\n") });
    let (mut stays, mut gaps) = (BTreeMap::<u32, Vec<Stay>>::new(), 0);
    let mut missing = Vec::new();
    for (element, links) in &lives.links {
        if links[0].source.is_some() {
            report("taken and never pushed", format!("{element}: {}", links[0]));
        }
        for pair in links.windows(2) {
            match lives.follows(&pair[0], &pair[1]) {
                Ok(Some((queue, entered, left))) => stays.entry(queue).or_default().push(Stay {
                    element: *element,
                    enter: pair[0].at,
                    entered,
                    leave: pair[1].at,
                    left,
                }),
                Ok(None) => gaps += 1,
                Err(kind) => report(kind, format!("{element}: {}\n  and {}", pair[0], pair[1])),
            }
        }
        let exists = links.iter().any(|link| link.at.span.completed_ns.is_some());
        if exists && links[links.len() - 1].target.is_some() {
            missing.push(*element);
        }
    }
    if gaps > lives.open_moves.len() {
        report(
            "moved unseen",
            format!("{gaps} elements, by {} moves without an answer", lives.open_moves.len()),
        );
    }
    if missing.len() > lives.open_pops {
        let shown =
            missing.iter().take(3).map(|element| format!("\n  {element}: {}", lives.links[element][0]));
        let (count, shown) = (missing.len(), shown.collect::<String>());
        report("lost", format!("{count} for {} pops without an answer:{shown}", lives.open_pops));
    }
    for (found_nothing, stay) in found_empty(operations, &stays) {
        report("found empty", format!("{found_nothing}, while {stay}"));
    }
    for (queue, stays) in &stays {
        for (left, passed) in out_of_order(stays) {
            report("out of order", format!("queue {queue}: {left}\n  and {passed}"));
        }
    }
    anomalies
}

impl Lives {
    fn of(operations: &[Operation]) -> Lives {
        let mut lives = Lives::default();
        let mut order = 0;
        for Operation { connection, span, steps } in operations {
            let answered = span.completed_ns.is_some();
            let mut link = |element: u32, source, target| {
                order += 1;
                let at = At { connection: *connection, order, span: *span };
                lives.links.entry(element).or_default().push(Link { at, source, target });
            };
            for step in steps {
                match step {
                    Step::Push { place, elements } => {
                        elements.iter().for_each(|element| link(*element, None, Some(*place)));
                    }
                    Step::Pop { max, .. } if !answered => lives.open_pops += max,
                    Step::Pop { end, taken, .. } => {
                        if let Some((queue, elements)) = taken {
                            let place = Place { queue: *queue, end: *end };
                            elements.iter().for_each(|element| link(*element, Some(place), None));
                        }
                    }
                    Step::Move { source, target, moved } => {
                        assert!(source.queue < target.queue, "a workload moves elements in one direction");
                        if !answered {
                            lives.open_moves.push((source.queue, target.queue));
                        } else if let Some(element) = moved {
                            link(*element, Some(*source), Some(*target));
                        }
                    }
                }
            }
        }
        for links in lives.links.values_mut() {
            links.sort_by_key(|link| link.source.map(|source| source.queue));
            let pushes = links.iter().filter(|link| link.source.is_none()).count();
            assert!(pushes <= 1, "a workload pushes an element once");
        }
        lives.open_moves.sort_unstable();
        lives
    }

    /// Whether `next` may follow `link`. If nothing was between them: in which queue the element was, where it entered it
    /// and where it left.
    fn follows(&self, link: &Link, next: &Link) -> Result<Option<(u32, End, End)>, &'static str> {
        let source = next.source.expect("pushes come first");
        let Some(target) = link.target.filter(|_| link.source.is_none_or(|from| from.queue < source.queue))
        else {
            return Err("taken twice");
        };
        if surely_before(&next.at.span, &link.at.span) {
            return Err("taken before it came");
        }
        if target.queue == source.queue {
            return Ok(Some((source.queue, target.end, source.end)));
        }
        // Moves lead upwards and are sorted, so one pass finds all that can be reached.
        let mut reached = BTreeSet::from([target.queue]);
        for (from, to) in &self.open_moves {
            if reached.contains(from) {
                reached.insert(*to);
            }
        }
        if reached.contains(&source.queue) { Ok(None) } else { Err("taken from where it was not") }
    }
}

fn surely_before(one: &Span, other: &Span) -> bool {
    one.completed_ns.is_some_and(|end| end < other.invoked_ns)
}

impl Stay {
    /// Whether it left at the end to which it had not come.
    fn went_through(&self) -> bool {
        self.entered != self.left
    }

    /// When it began to leave.
    fn leave_ns(&self) -> u64 {
        self.leave.span.invoked_ns
    }

    /// Of this one, which leaves, and one that was nearer to that end until it is known to have left: whether that is so.
    fn passed(&self, nearer: &Stay) -> bool {
        surely_before(&self.leave.span, &nearer.leave.span)
    }
}

/// Those that found nothing in a queue where something was all the while.
fn found_empty(operations: &[Operation], stays: &BTreeMap<u32, Vec<Stay>>) -> Vec<(Span, Stay)> {
    // When each had entered, and who of those that had by then stayed longest.
    let longest = stays.iter().map(|(queue, stays)| {
        let mut last = None;
        let entered = by_end_of_entering(stays.iter()).into_iter().map(|stay| {
            last = later(last, stay);
            (stay.enter.span.completed_ns, last.expect("there is this one"))
        });
        (*queue, entered.collect())
    });
    let longest: HashMap<u32, Vec<_>> = longest.collect();
    let mut found = Vec::new();
    for Operation { span, steps, .. } in operations {
        let Some(completed_ns) = span.completed_ns else { continue };
        let looked_in = steps.iter().flat_map(|step| match step {
            Step::Pop { queues, taken: None, .. } => queues.clone(),
            Step::Move { source, moved: None, .. } => vec![source.queue],
            _ => Vec::new(),
        });
        for stays in looked_in.filter_map(|queue| longest.get(&queue)) {
            let entered = stays.partition_point(|(ended_ns, _)| *ended_ns < Some(span.invoked_ns));
            let stay = entered.checked_sub(1).map(|last| stays[last].1);
            found.extend(stay.filter(|stay| stay.leave_ns() > completed_ns).map(|stay| (*span, *stay)));
        }
    }
    found
}

type Pair = (Stay, Stay);

fn out_of_order(stays: &[Stay]) -> Vec<Pair> {
    let mut sorted: Vec<&Stay> = stays.iter().collect();
    let mut found = from_end_to_end(&sorted);
    found.extend(at_one_end(&sorted, |at| (at.span.invoked_ns, at.span.completed_ns)));
    sorted.sort_unstable_by_key(|stay| (stay.enter.connection, stay.enter.order));
    for of_one in sorted.chunk_by(|one, other| one.enter.connection == other.enter.connection) {
        found.extend(from_end_to_end_in_order(of_one));
        found.extend(at_one_end(of_one, |at| (at.order, Some(at.order))));
    }
    found
}

/// Who went through left nobody behind who had entered before.
fn from_end_to_end(stays: &[&Stay]) -> Vec<Pair> {
    let mut entered = by_end_of_entering(stays.iter().copied()).into_iter().peekable();
    let mut sorted: Vec<&Stay> = stays.iter().copied().filter(|stay| stay.went_through()).collect();
    sorted.sort_unstable_by_key(|stay| stay.enter.span.invoked_ns);
    let (mut found, mut last) = (Vec::new(), None::<&Stay>);
    for stay in sorted {
        while let Some(before) = entered.next_if(|other| surely_before(&other.enter.span, &stay.enter.span)) {
            last = later(last, before);
        }
        found.extend(last.filter(|before| stay.passed(before)).map(|before| (*stay, *before)));
    }
    found
}

/// The same for those that one connection put there, in this order, whether or not times overlap. The order of leaving is that
/// of time or of another connection.
fn from_end_to_end_in_order(stays: &[&Stay]) -> Vec<Pair> {
    let (mut found, mut last) = (Vec::new(), None::<&Stay>);
    let mut last_of: HashMap<u32, &Stay> = HashMap::default();
    for stay in stays {
        let of_one = last_of.entry(stay.leave.connection).or_insert(stay);
        if stay.went_through() {
            let passed = last.filter(|before| stay.passed(before));
            let passed = passed.or((of_one.leave.order > stay.leave.order).then_some(*of_one));
            found.extend(passed.map(|passed| (**stay, *passed)));
        }
        if of_one.leave.order < stay.leave.order {
            *of_one = stay;
        }
        last = later(last, stay);
    }
    found
}

/// Who left at an end had nobody before him who had come to that end after him, or to it at all while he came to the other.
/// `entering` says when entering began and ended, by time or by the order of one connection.
fn at_one_end(stays: &[&Stay], entering: impl Fn(&At) -> (u64, Option<u64>)) -> Vec<Pair> {
    let mut found = Vec::new();
    for end in [End::Left, End::Right] {
        let came_here = stays.iter().copied().filter(|stay| stay.entered == end);
        let mut entered = by_end_of_entering(came_here).into_iter().peekable();
        let mut sorted: Vec<&Stay> = stays.iter().copied().filter(|stay| stay.left == end).collect();
        sorted.sort_unstable_by_key(|stay| stay.leave.span.invoked_ns);
        // Sorted by the beginning of entering; who left no later than one who came later is left out.
        let mut stair: BTreeMap<u64, &Stay> = BTreeMap::new();
        for stay in sorted {
            while let Some(came) = entered.next_if(|other| surely_before(&other.enter.span, &stay.leave.span))
            {
                let (key, _) = entering(&came.enter);
                if stair.range(key..).next().is_some_and(|(_, above)| above.leave_ns() >= came.leave_ns()) {
                    continue;
                }
                while let Some((lower, below)) = stair.range(..=key).next_back()
                    && below.leave_ns() <= came.leave_ns()
                {
                    let lower = *lower;
                    stair.remove(&lower);
                }
                stair.insert(key, came);
            }
            let after = match entering(&stay.enter) {
                _ if stay.went_through() => 0,
                (_, Some(ended)) => ended + 1,
                (_, None) => continue,
            };
            let nearer = stair.range(after..).next().map(|(_, nearer)| **nearer);
            found.extend(nearer.filter(|nearer| stay.passed(nearer)).map(|nearer| (*stay, nearer)));
        }
    }
    found
}

/// Of the two, the one that began to leave later.
fn later<'s>(one: Option<&'s Stay>, other: &'s Stay) -> Option<&'s Stay> {
    one.filter(|one| one.leave_ns() >= other.leave_ns()).or(Some(other))
}

/// Those that are known to have entered by some time, in that order.
fn by_end_of_entering<'s>(stays: impl Iterator<Item = &'s Stay>) -> Vec<&'s Stay> {
    let mut sorted: Vec<&Stay> = stays.filter(|stay| stay.enter.span.completed_ns.is_some()).collect();
    sorted.sort_unstable_by_key(|stay| stay.enter.span.completed_ns);
    sorted
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.source, self.target) {
            (None, Some(target)) => write!(f, "pushed to {target}")?,
            (Some(source), None) => write!(f, "popped from {source}")?,
            (Some(source), Some(target)) => write!(f, "moved from {source} to {target}")?,
            (None, None) => unreachable!("a link is from somewhere or to somewhere"),
        }
        write!(f, " by connection {}: {}", self.at.connection, self.at.span)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} of {}", self.end, self.queue)
    }
}

impl fmt::Display for Stay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stay { element, enter, entered, leave, left } = self;
        write!(f, "{element} entered {entered:?} by connection {}: {}", enter.connection, enter.span)?;
        write!(f, ", left {left:?} by connection {}: {}", leave.connection, leave.span)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
