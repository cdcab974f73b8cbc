//! Decides whether operations on registers are linearizable: whether each has an instant between its invocation and its completion
//! such that all of them, one at a time in the order of the instants, give the replies that were seen.
//!
//! Design: the search of Wing and Gong (1993) in the form that Lowe (2017) gave it. Going through the history in the order of
//! time, it keeps all *situations* that explain what was seen so far: the store's state, and which of the operations under way
//! have had their instant. When an operation completes, every situation in which it had no instant yet is continued by
//! any of those under way, as often as need be, until it has; equal situations are one (the memory of the search). No
//! situation left: not linearizable. Two things keep it small. Operations of one connection take effect in the order sent.
//! And one that changed nothing, as its reply says, has its instant as soon as the state allows it: waiting could not help
//! any other. Histories are first split by keys that no operation connects, since linearizability is local.
//!
//! An operation that was never answered stays under way to the end, with any reply. If it watched keys, it may also have had its
//! instant without changing anything: what its connection sent behind it can then have happened though it has not.
//!
//! Costs: an operation costs about as many situations as there are orders of the writes under way that nobody has read yet;
//! workloads keep a set of keys to a few connections, short pipelines and a few killed connections.
//!
//! Not here: what commands do (`model`), who makes such histories (`load::register`).

use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

use super::model::{KEYS_MAX, NOTHING, Reply, State, Step};
use super::record::{Anomaly, Span};

/// One command, or a transaction.
#[derive(Clone, Debug)]
pub struct Operation {
    /// Which connection of the run.
    pub connection: u32,
    /// When it was under way.
    pub span: Span,
    /// What it did, in order.
    pub steps: Vec<Step>,
    /// The reply to each step; `None` if it was never answered.
    pub replies: Option<Vec<Reply>>,
    /// It is a transaction that was sent while its connection watched keys: if it was never answered, it may have been refused.
    pub watches: bool,
}

/// Operations under way at once, those never answered among them: the bits of a mask.
const UNDER_WAY_MAX: usize = 64;
/// Situations kept: a workload that needs more is to be made simpler.
const SITUATIONS_MAX: usize = 1 << 20;

/// What this checker finds.
pub const NOT_LINEARIZABLE: &str = "not linearizable";

/// Checks a history in which keys are numbers below `KEYS_MAX`, all of them absent at its beginning. Operations of one
/// connection are in the order sent.
pub fn check(history: &[Operation]) -> Result<(), Anomaly> {
    split(history).iter().try_for_each(|part| Search::new(part).run())
}

/// Histories of keys that no operation connects.
fn split(history: &[Operation]) -> Vec<Vec<Operation>> {
    let mut leader: Vec<u8> = (0..KEYS_MAX as u8).collect();
    let mut keys_of = Vec::new();
    for operation in history {
        let mut keys = Vec::new();
        operation.steps.iter().for_each(|step| step.clone().each_key(|key| keys.push(*key)));
        for key in &keys {
            let (from, to) = (leader[usize::from(*key)], leader[usize::from(keys[0])]);
            leader.iter_mut().filter(|other| **other == from).for_each(|other| *other = to);
        }
        keys_of.push(keys[0]);
    }
    let mut parts: BTreeMap<u8, Vec<Operation>> = BTreeMap::new();
    for (operation, key) in history.iter().zip(keys_of) {
        parts.entry(leader[usize::from(key)]).or_default().push(operation.clone());
    }
    parts.into_values().collect()
}

/// A state that explains what was seen, and who of those under way had a part in it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Situation {
    state: State,
    done: u64,
}

type Situations = HashSet<Situation, ahash::RandomState>;

struct Search<'h> {
    history: &'h [Operation],
    /// The operations under way, each at the place that is its bit.
    under_way: [Option<u32>; UNDER_WAY_MAX],
    /// The same as bits, and those of them that changed nothing.
    busy: u64,
    idle: u64,
    /// For each of them, the bits of those that its connection sent before.
    after: [u64; UNDER_WAY_MAX],
    situations: Situations,
}

/// An operation's beginning or end: the time, whether it is the end, the operation. At equal times beginnings come first: the
/// order of the two is not known.
type Moment = (u64, bool, u32);

impl<'h> Search<'h> {
    fn new(history: &'h [Operation]) -> Self {
        let first = Situation { state: [NOTHING; KEYS_MAX], done: 0 };
        Self {
            history,
            under_way: [None; UNDER_WAY_MAX],
            busy: 0,
            idle: 0,
            after: [0; UNDER_WAY_MAX],
            situations: std::iter::once(first).collect(),
        }
    }

    fn run(mut self) -> Result<(), Anomaly> {
        let mut moments: Vec<Moment> = Vec::new();
        for (index, operation) in self.history.iter().enumerate() {
            moments.push((operation.span.invoked_ns, false, index as u32));
            moments.extend(operation.span.completed_ns.map(|at| (at, true, index as u32)));
        }
        moments.sort_unstable();
        match self.advance(&moments) {
            Ok(()) => Ok(()),
            Err(failed) => Err(report(self.history, &moments, failed)),
        }
    }

    /// Goes through moments; if one leaves nothing that explains what was seen, which operation ended there.
    fn advance(&mut self, moments: &[Moment]) -> Result<(), u32> {
        for (_, completes, index) in moments {
            if *completes {
                self.complete(*index);
            } else {
                self.begin(*index);
            }
            if self.situations.is_empty() {
                return Err(*index);
            }
        }
        Ok(())
    }

    fn begin(&mut self, index: u32) {
        let place = self.busy.trailing_ones() as usize;
        assert!(place < UNDER_WAY_MAX, "a workload keeps few operations under way");
        let operation = &self.history[index as usize];
        let same = |place: &usize| {
            let other = self.under_way[*place].expect("its bit is set");
            self.history[other as usize].connection == operation.connection
        };
        self.after[place] = bits(self.busy).filter(same).map(|place| 1 << place).sum();
        self.under_way[place] = Some(index);
        self.busy |= 1 << place;
        let changes_nothing = operation.replies.as_ref().is_some_and(|replies| {
            operation.steps.iter().zip(replies).all(|(step, reply)| step.is_idle(reply))
        });
        self.idle |= u64::from(changes_nothing) << place;
    }

    /// Keeps the situations in which the operation had its instant, or can have it now.
    fn complete(&mut self, index: u32) {
        let place = self.under_way.iter().position(|other| *other == Some(index)).expect("it has begun");
        let bit = 1_u64 << place;
        let mut seen = Situations::default();
        let mut kept = Situations::default();
        let mut pending: Vec<Situation> = Vec::new();
        for situation in std::mem::take(&mut self.situations) {
            let situation = self.settle(situation);
            if seen.insert(situation) {
                pending.push(situation);
            }
        }
        while let Some(situation) = pending.pop() {
            if situation.done & bit != 0 {
                kept.insert(Situation { done: situation.done & !bit, ..situation });
                continue;
            }
            for next in bits(self.busy & !situation.done) {
                let continued = [self.step(&situation, next), self.refuse(&situation, next)];
                for after in continued.into_iter().flatten() {
                    let after = self.settle(after);
                    if seen.insert(after) {
                        pending.push(after);
                    }
                }
            }
            assert!(seen.len() <= SITUATIONS_MAX, "a workload keeps few writes under way");
        }
        self.under_way[place] = None;
        self.busy &= !bit;
        self.idle &= !bit;
        self.after.iter_mut().for_each(|after| *after &= !bit);
        self.situations = kept;
    }

    /// Gives all operations that changed nothing their instant, as far as the state allows.
    fn settle(&self, mut situation: Situation) -> Situation {
        while let Some(after) =
            bits(self.idle & !situation.done).find_map(|place| self.step(&situation, place))
        {
            situation = after;
        }
        situation
    }

    /// The situation after the operation at a place, if it may be next and its replies agree.
    fn step(&self, situation: &Situation, place: usize) -> Option<Situation> {
        let operation = self.next(situation, place)?;
        let mut state = situation.state;
        for (at, step) in operation.steps.iter().enumerate() {
            let reply = step.apply(&mut state);
            if operation.replies.as_ref().is_some_and(|replies| replies[at] != reply) {
                return None;
            }
        }
        Some(Situation { state, done: situation.done | 1 << place })
    }

    /// The situation after the transaction at a place, if it may be next and, for all that is known, was not carried out.
    fn refuse(&self, situation: &Situation, place: usize) -> Option<Situation> {
        let operation = self.next(situation, place)?;
        let may_be = operation.watches && operation.replies.is_none();
        may_be.then_some(Situation { done: situation.done | 1 << place, ..*situation })
    }

    /// The operation at a place, if it had no instant yet and all have that its connection sent before.
    fn next(&self, situation: &Situation, place: usize) -> Option<&Operation> {
        let ready = situation.done >> place & 1 == 0 && self.after[place] & !situation.done == 0;
        self.under_way[place].filter(|_| ready).map(|index| &self.history[index as usize])
    }
}

/// The places whose bits are set.
fn bits(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = mask.trailing_zeros() as usize;
        mask &= mask.wrapping_sub(1);
        (place < UNDER_WAY_MAX).then_some(place)
    })
}

/// States shown in a report.
const STATES_SHOWN_MAX: usize = 4;

/// What an operation was that nothing explains: the states that were possible when it began, and all that overlapped it.
fn report(history: &[Operation], moments: &[Moment], failed: u32) -> Anomaly {
    let began = moments.iter().position(|(.., index)| *index == failed).expect("it has a beginning");
    let mut before = Search::new(history);
    before.advance(&moments[..began]).expect("it failed later");
    let states: HashSet<State> = before.situations.iter().map(|situation| situation.state).collect();
    let mut text = format!(
        "  no order explains the operation that is marked; when it began, the keys were one of {}:\n",
        states.len()
    );
    for state in states.iter().take(STATES_SHOWN_MAX) {
        let shown: Vec<String> = state.iter().map(|value| Reply::Value(*value).to_string()).collect();
        writeln!(text, "    {}", shown.join(" ")).expect("a string takes everything");
    }
    let Span { invoked_ns, completed_ns } = history[failed as usize].span;
    let overlaps = |span: Span| {
        span.completed_ns.is_none_or(|end| end >= invoked_ns) && Some(span.invoked_ns) <= completed_ns
    };
    for (_, completes, index) in moments {
        let operation = &history[*index as usize];
        if !completes && overlaps(operation.span) {
            let mark = if *index == failed { "  <- unexplained" } else { "" };
            writeln!(text, "  {}{mark}", show(operation)).expect("a string takes everything");
        }
    }
    Anomaly { kind: NOT_LINEARIZABLE, text }
}

fn show(operation: &Operation) -> String {
    let Operation { connection, span, steps, replies, watches } = operation;
    let steps = steps.iter().enumerate().map(|(at, step)| match replies {
        Some(replies) => format!("{step:?} -> {}", replies[at]),
        None => format!("{step:?}"),
    });
    let watching = if *watches { " watching" } else { "" };
    format!("connection {connection}{watching}, {span}: {}", steps.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
#[path = "register_tests.rs"]
mod tests;
