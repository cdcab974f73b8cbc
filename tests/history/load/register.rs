//! Clients that change a few integer keys together: commands on one and on several keys, pipelines, transactions, compare-and-set
//! loops with WATCH, connections that die.
//!
//! Design: teams of a few clients go through rounds; each round has keys of its own and so is a history of its own, short enough
//! for an exhaustive search. All of a team begin a round together. Values are unique but for what INCR makes.

use std::sync::Barrier;
use std::sync::atomic::Ordering;

use super::{Fate, Link, Request, Run};
use crate::harness::{Rng, Value, command};
use crate::history::model::{NOTHING, Reply, Step};
use crate::history::record::Span;
use crate::history::register::Operation;

/// What is run.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Groups of `TEAM_CLIENTS` threads.
    pub teams: u32,
    /// Commands in all, about.
    pub operations: usize,
    /// What is random depends on it.
    pub seed: u64,
    /// Whether connections die.
    pub deaths: bool,
}

/// Clients that share keys.
const TEAM_CLIENTS: u32 = 4;
const ROUND_KEYS: usize = 5;
/// Steps of a client in a round.
const ROUND_STEPS: usize = 40;
/// Commands of a step, on average; decides how many rounds there are.
const STEP_COMMANDS: usize = 2;
const PIPELINE_MAX: usize = 3;
const TRANSACTION_STEPS_MAX: usize = 4;
/// A client dies at most once in a round, and in one round out of this many.
const ROUNDS_PER_DEATH: usize = 6;

/// Runs it; the histories of the rounds, each to be checked alone.
pub fn run(run: &Run<'_>, plan: Plan) -> Vec<Vec<Operation>> {
    let round_commands = TEAM_CLIENTS as usize * ROUND_STEPS * STEP_COMMANDS * plan.teams as usize;
    let rounds = plan.operations.div_ceil(round_commands);
    let histories: Vec<Vec<Vec<Operation>>> = std::thread::scope(|scope| {
        let teams: Vec<_> = (0..plan.teams)
            .map(|team| scope.spawn(move || team_histories(run, plan, team, rounds)))
            .collect();
        teams.into_iter().map(|team| team.join().expect("clients do not panic")).collect()
    });
    let histories: Vec<Vec<Operation>> = histories.into_iter().flatten().collect();
    let commands = histories.iter().flatten().map(|operation| operation.steps.len()).sum();
    run.operations.fetch_add(commands, Ordering::Relaxed);
    histories
}

fn team_histories(run: &Run<'_>, plan: Plan, team: u32, rounds: usize) -> Vec<Vec<Operation>> {
    let barrier = Barrier::new(TEAM_CLIENTS as usize);
    let clients: Vec<Vec<Vec<Operation>>> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..TEAM_CLIENTS)
            .map(|client| {
                let barrier = &barrier;
                scope.spawn(move || {
                    let number = u64::from(team * TEAM_CLIENTS + client);
                    let rng = Rng(plan.seed << 16 | number);
                    let link = Link::new(run);
                    let next = number as i64 * 1_000_000_000;
                    let mut player = Player {
                        run,
                        link,
                        source: Source { rng, next },
                        prefix: String::new(),
                        dies: false,
                        history: Vec::new(),
                    };
                    let play = |round| {
                        barrier.wait();
                        player.prefix = format!("register:{team}:{round}");
                        player.dies = plan.deaths && player.source.rng.once_in(ROUNDS_PER_DEATH);
                        player.round(round)
                    };
                    (0..rounds).map(play).collect()
                })
            })
            .collect();
        clients.into_iter().map(|client| client.join().expect("clients do not panic")).collect()
    });
    (0..rounds)
        .map(|round| clients.iter().flat_map(|rounds| rounds[round].iter().cloned()).collect())
        .collect()
}

/// Where steps come from.
pub struct Source {
    /// What is random depends on it.
    pub rng: Rng,
    /// The last value that was used; others have values elsewhere.
    pub next: i64,
}

struct Player<'r> {
    run: &'r Run<'r>,
    link: Link<'r>,
    source: Source,
    prefix: String,
    dies: bool,
    history: Vec<Operation>,
}

impl Source {
    /// A value that nobody else writes.
    pub fn value(&mut self) -> i64 {
        self.next += 1000;
        self.next
    }

    /// One of the keys.
    pub fn key(&mut self) -> u8 {
        self.rng.below(ROUND_KEYS) as u8
    }

    /// A command, on one key if `single`.
    pub fn step(&mut self, single: bool) -> Step {
        let key = self.key();
        // Distinct, because Redis takes the last of equal ones.
        let other = (key + 1 + self.rng.below(ROUND_KEYS - 1) as u8) % ROUND_KEYS as u8;
        match self.rng.below(if single { 7 } else { 16 }) {
            0 | 1 => Step::Get(key),
            2 => Step::Set(key, self.value()),
            3 => Step::SetNx(key, self.value()),
            4 => Step::GetSet(key, self.value()),
            5 => Step::Incr(key),
            6 => Step::Del(vec![key]),
            7..=9 => Step::MGet((0..ROUND_KEYS as u8).collect()),
            10 | 11 => Step::MSet(vec![(key, self.value()), (other, self.value())]),
            12 => Step::MSetNx(vec![(key, self.value()), (other, self.value())]),
            13 => Step::Del(vec![key, other]),
            14 => Step::Rename(key, other),
            _ => Step::Copy(key, other),
        }
    }
}

impl Player<'_> {
    fn round(&mut self, round: usize) -> Vec<Operation> {
        for _ in 0..ROUND_STEPS {
            if self.run.stopped() {
                break;
            }
            // Every third round has commands on single keys alone: each key is then a history of its own.
            match self.source.rng.below(6) {
                0 | 1 if !round.is_multiple_of(3) => {
                    let steps = (0..2 + self.source.rng.below(TRANSACTION_STEPS_MAX - 1))
                        .map(|_| self.source.step(false))
                        .collect();
                    self.send(vec![steps]);
                }
                2 => self.compare_and_set(),
                _ => {
                    let count = 1 + self.source.rng.below(PIPELINE_MAX);
                    let batch = (0..count).map(|_| vec![self.source.step(round.is_multiple_of(3))]).collect();
                    self.send(batch);
                }
            }
        }
        std::mem::take(&mut self.history)
    }

    /// A command, or a transaction of several.
    fn request(&self, steps: &[Step]) -> Request {
        match steps {
            [step] => Request::plain(bytes(&self.prefix, step)),
            _ => Request::multi(steps.iter().map(|step| bytes(&self.prefix, step))),
        }
    }

    /// Sends commands and transactions and records what became of them.
    fn send(&mut self, batch: Vec<Vec<Step>>) {
        let requests: Vec<Request> = batch.iter().map(|steps| self.request(steps)).collect();
        let connection = self.link.connection;
        let dies = self.dies && self.source.rng.once_in(ROUND_STEPS / 2);
        self.dies &= !dies;
        let fates = self.link.send(&requests, dies, &mut self.source.rng);
        for (steps, (fate, span)) in batch.into_iter().zip(fates) {
            match fate {
                Fate::Cut => {}
                Fate::Unanswered => {
                    self.history.push(Operation { connection, span, steps, replies: None, watches: false });
                }
                Fate::Answered(mut replies) => {
                    let last = replies.pop().expect("a request has replies");
                    let values = if steps.len() == 1 { vec![last] } else { last.elements() };
                    self.record(connection, span, steps, &values);
                }
            }
        }
    }

    fn record(&mut self, connection: u32, span: Span, steps: Vec<Step>, values: &[Value]) {
        match replies(&steps, values) {
            Ok(replies) => {
                let replies = Some(replies);
                self.history.push(Operation { connection, span, steps, replies, watches: false });
            }
            Err(wrong) => self.run.fail(wrong),
        }
    }

    /// Changes a key to a value that depends on the one it has, unless another was faster.
    fn compare_and_set(&mut self) {
        let (key, connection) = (self.source.key(), self.link.connection);
        let watch = Request::plain(watch(&self.prefix, key));
        let read = Step::Get(key);
        let mut fates = self.link.exchange(&[watch, self.request(std::slice::from_ref(&read))]);
        let Some((Fate::Answered(seen), read_span)) = fates.pop() else { return };
        let write = Step::Set(key, self.source.value());
        let write_bytes = bytes(&self.prefix, &write);
        let mut fates = self.link.exchange(&[Request::multi(std::iter::once(write_bytes))]);
        let Some((Fate::Answered(replies), span)) = fates.pop() else {
            return self.record(connection, read_span, vec![read], &seen);
        };
        match &replies[2] {
            Value::Array(done) => {
                let values = [&seen[..], &done[..]].concat();
                self.record(connection, span, vec![read, write], &values);
            }
            _ => self.record(connection, read_span, vec![read], &seen),
        }
    }
}

/// A WATCH of a key that begins with `prefix`.
pub fn watch(prefix: &str, key: u8) -> Vec<u8> {
    command(&["WATCH".to_owned(), format!("{prefix}:{key}")])
}

/// A command on keys that begin with `prefix`.
pub fn bytes(prefix: &str, step: &Step) -> Vec<u8> {
    let name = |key: &u8| format!("{prefix}:{key}");
    let pairs =
        |pairs: &[(u8, i64)]| pairs.iter().flat_map(|(key, value)| [name(key), value.to_string()]).collect();
    let (name, arguments): (&str, Vec<String>) = match step {
        Step::Get(key) => ("GET", vec![name(key)]),
        Step::Set(key, value) => ("SET", vec![name(key), value.to_string()]),
        Step::SetNx(key, value) => ("SETNX", vec![name(key), value.to_string()]),
        Step::GetSet(key, value) => ("GETSET", vec![name(key), value.to_string()]),
        Step::Incr(key) => ("INCR", vec![name(key)]),
        Step::Del(keys) => ("DEL", keys.iter().map(name).collect()),
        Step::MGet(keys) => ("MGET", keys.iter().map(name).collect()),
        Step::MSet(all) => ("MSET", pairs(all)),
        Step::MSetNx(all) => ("MSETNX", pairs(all)),
        Step::Rename(source, target) => ("RENAME", vec![name(source), name(target)]),
        Step::Copy(source, target) => ("COPY", vec![name(source), name(target)]),
    };
    command(&[vec![name.to_owned()], arguments].concat())
}

/// Replies as the model has them.
///
/// # Errors
/// They are no replies to that.
pub fn replies(steps: &[Step], values: &[Value]) -> Result<Vec<Reply>, String> {
    let replies: Option<Vec<Reply>> =
        steps.iter().zip(values).map(|(step, value)| reply(step, value)).collect();
    let replies = replies.filter(|_| values.len() == steps.len());
    replies.ok_or_else(|| format!("{values:?} as the reply to {steps:?}"))
}

fn reply(step: &Step, value: &Value) -> Option<Reply> {
    let number = |value: &Value| if value.is_null() { Some(NOTHING) } else { value.int() };
    match step {
        Step::Get(_) | Step::GetSet(..) => number(value).map(Reply::Value),
        Step::MGet(_) => value.elements().iter().map(number).collect::<Option<_>>().map(Reply::Values),
        Step::Rename(..) if value.is_error() => {
            value.string().ends_with("no such key").then_some(Reply::NoKey)
        }
        Step::Set(..) | Step::MSet(_) | Step::Rename(..) => (value.text() == b"OK").then_some(Reply::Ok),
        Step::SetNx(..) | Step::MSetNx(_) | Step::Incr(_) | Step::Del(_) | Step::Copy(..) => match value {
            Value::Int(number) => Some(Reply::Int(*number)),
            _ => None,
        },
    }
}
