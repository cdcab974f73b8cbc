//! A client that makes a history: it draws operations from a workload, and notes when each was asked, answered, and with what.
//!
//! Design: an operation is one command or a transaction. It is noted, as never answered, when the command that makes it happen is
//! asked for, and completed when that one's reply comes; so nothing needs to be done about connections that break. Times are
//! virtual ns that grow with every event, so two events are never at the same time.
//!
//! Not here: what is drawn and noted (`workloads`), who judges it (`crate::history`).

use std::collections::VecDeque;

use torc::io::sim::Rng;

use super::client::{Now, Script, request};
use crate::harness::value::{self, Value};

/// What a player plays.
pub trait Workload {
    /// What it notes.
    type Operation;

    /// The next operations, in the order in which they are sent.
    fn draw(&mut self) -> Vec<Unit<Self::Operation>>;

    /// Notes an operation that is sent now, perhaps a transaction that watches keys; its number. Those of one connection come
    /// in order.
    fn begin(&mut self, operation: Self::Operation, watches: bool, connection: u32, now: Now) -> usize;

    /// Notes the replies to each part of an operation, `None` if the transaction was not carried out. Of some that were
    /// answered before, `seen`, it is known that they would have had the same replies at the same time as this one.
    ///
    /// # Errors
    /// They are no replies to that.
    fn end(
        &mut self,
        number: usize,
        values: Option<Vec<Value>>,
        seen: &[usize],
        now: Now,
    ) -> Result<(), String>;
}

/// Commands that are sent together.
pub struct Unit<O> {
    /// In RESP.
    pub commands: Vec<Vec<u8>>,
    /// What they do, but for WATCH.
    pub operation: Option<O>,
    /// In a transaction.
    pub multi: bool,
    /// How many operations just before read what the transaction watches.
    pub seen_count: usize,
    /// How long it waits at least if it gets nothing.
    pub timeout_ms: Option<u64>,
}

impl<O> Unit<O> {
    /// One command, whose reply is that to its operation.
    pub fn plain(command: Vec<u8>, operation: O) -> Self {
        let commands = vec![command];
        Self { commands, operation: Some(operation), multi: false, seen_count: 0, timeout_ms: None }
    }

    /// A transaction, whose operation has a part for each command.
    pub fn multi(commands: Vec<Vec<u8>>, operation: O) -> Self {
        Self { commands, operation: Some(operation), multi: true, seen_count: 0, timeout_ms: None }
    }

    /// A command that is answered OK and changes nothing.
    pub fn aside(command: Vec<u8>) -> Self {
        Self { commands: vec![command], operation: None, multi: false, seen_count: 0, timeout_ms: None }
    }
}

impl<T> Unit<Vec<T>> {
    /// A command for one part.
    pub fn single(part: T, bytes: impl Fn(&T) -> Vec<u8>) -> Self {
        Self::plain(bytes(&part), vec![part])
    }

    /// A transaction with a command for each part.
    pub fn transaction(parts: Vec<T>, bytes: impl Fn(&T) -> Vec<u8>) -> Self {
        Self::multi(parts.iter().map(bytes).collect(), parts)
    }
}

/// What the reply to a command is for.
enum Part<O> {
    /// This text is expected.
    Text(&'static str),
    /// It ends an operation, of which the other replies are gathered if it is a torn one.
    Last { operation: O, form: Form, seen_count: usize, timeout_ms: Option<u64> },
    /// It is gathered for a torn operation.
    Gathered,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Multi,
    Torn,
}

enum Awaited {
    Text(&'static str),
    Gathered,
    Last { number: usize, form: Form, seen: Vec<usize>, not_before_ms: Option<u64> },
}

/// The script.
pub struct Player<W: Workload> {
    workload: W,
    connection: u32,
    /// A bug to be found: the commands of transactions are sent as single ones.
    torn: bool,
    to_ask: VecDeque<(Vec<u8>, Part<W::Operation>)>,
    awaited: VecDeque<Awaited>,
    /// Operations in the order asked.
    numbers: Vec<usize>,
    gathered: Vec<Value>,
}

impl<W: Workload> Player<W> {
    /// Plays a workload on a connection of this number.
    pub fn new(workload: W, connection: u32, torn: bool) -> Self {
        let (to_ask, awaited, numbers, gathered) = Default::default();
        Self { workload, connection, torn, to_ask, awaited, numbers, gathered }
    }

    fn plan(&mut self, unit: Unit<W::Operation>) {
        let Unit { mut commands, operation, multi, seen_count, timeout_ms } = unit;
        let last = |operation, form| Part::Last { operation, form, seen_count, timeout_ms };
        let Some(operation) = operation else {
            self.to_ask.extend(commands.into_iter().map(|command| (command, Part::Text("OK"))));
            return;
        };
        if multi && !self.torn {
            self.to_ask.push_back((request(&[b"MULTI"]), Part::Text("OK")));
            self.to_ask.extend(commands.into_iter().map(|command| (command, Part::Text("QUEUED"))));
            self.to_ask.push_back((request(&[b"EXEC"]), last(operation, Form::Multi)));
            return;
        }
        let form = if multi { Form::Torn } else { Form::Plain };
        let end = commands.pop().expect("a unit has commands");
        self.to_ask.extend(commands.into_iter().map(|command| (command, Part::Gathered)));
        self.to_ask.push_back((end, last(operation, form)));
    }
}

impl<W: Workload> Script for Player<W> {
    fn ask(&mut self, _: &mut Rng, now: Now) -> Vec<u8> {
        if self.to_ask.is_empty() {
            let units = self.workload.draw();
            units.into_iter().for_each(|unit| self.plan(unit));
        }
        let (bytes, part) = self.to_ask.pop_front().expect("something was drawn");
        self.awaited.push_back(match part {
            Part::Text(text) => Awaited::Text(text),
            Part::Gathered => Awaited::Gathered,
            Part::Last { operation, form, seen_count, timeout_ms } => {
                let seen = self.numbers[self.numbers.len() - seen_count..].to_vec();
                let number = self.workload.begin(operation, seen_count > 0, self.connection, now);
                self.numbers.push(number);
                let not_before_ms = timeout_ms.map(|timeout_ms| now.ms + timeout_ms);
                Awaited::Last { number, form, seen, not_before_ms }
            }
        });
        bytes
    }

    fn answer(&mut self, reply: &[u8], now: Now) -> Result<(), String> {
        let reply = value::parse(reply);
        match self.awaited.pop_front().expect("the client counts its requests") {
            Awaited::Text(text) if reply == Value::Simple(text.into()) => Ok(()),
            Awaited::Text(text) => Err(format!("{reply}, expected {text}")),
            Awaited::Gathered => {
                self.gathered.push(reply);
                Ok(())
            }
            Awaited::Last { number, form, seen, not_before_ms } => {
                if reply == Value::NullArray && not_before_ms.is_some_and(|ms| now.ms < ms) {
                    return Err(format!("waiting ended {} before {not_before_ms:?}", now.ms));
                }
                let values = match (form, reply) {
                    (Form::Plain, reply) => Some(vec![reply]),
                    (Form::Multi, Value::Array(values)) => Some(values),
                    (Form::Multi, Value::NullArray) => None,
                    (Form::Multi, reply) => return Err(format!("{reply} as the reply to EXEC")),
                    (Form::Torn, reply) => {
                        self.gathered.push(reply);
                        Some(std::mem::take(&mut self.gathered))
                    }
                };
                self.workload.end(number, values, &seen, now)
            }
        }
    }

    fn awaits_time(&self) -> bool {
        matches!(self.awaited.front(), Some(Awaited::Last { not_before_ms: Some(_), .. }))
    }
}
