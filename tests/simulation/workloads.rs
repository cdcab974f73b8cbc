//! The workloads of `crate::history` in the simulation: list appends, registers, queues, with the same checkers.
//!
//! Design: appends and registers are drawn by the same code as for the running server. Queues are popped with timeouts, because
//! a run ends when all clients are done; the checker's other half of waiting, that it ends when something comes, is the
//! world's: nobody sleeps while a client waits.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::client::Now;
use super::player::{Unit, Workload};
use crate::harness::{Rng, Value};
use crate::history::append::{self, Micro, Outcome, Transaction};
use crate::history::load;
use crate::history::model::Step;
use crate::history::queue::{self, Step as QueueStep};
use crate::history::record::{Anomaly, Span};
use crate::history::register::{self, Operation};

const REGISTER_PREFIX: &str = "register";
/// Values of registers that one connection may use.
const VALUES_OF_CONNECTION: i64 = 1_000_000_000;
const TRANSACTION_COMMANDS_MAX: usize = 4;
const TRANSACTION_STEPS_MAX: usize = 4;
const QUEUES: u32 = 3;
/// Longest timeout of a pop or move, ms.
const TIMEOUT_MS_MAX: usize = 40;
/// More than a queue ever holds.
const EVERYTHING: usize = 1_000_000;

/// What all workloads of a run noted.
#[derive(Default)]
pub struct Histories {
    appended: Arc<AtomicU32>,
    lists: Vec<Transaction>,
    registers: Vec<Operation>,
    queues: Vec<queue::Operation>,
}

/// How much was noted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Noted {
    /// Transactions on lists, operations on registers, on queues.
    pub lists: u64,
    pub registers: u64,
    pub queues: u64,
    /// Transactions that were not carried out because of what they watched.
    pub aborted: u64,
    /// Pops and moves that got something.
    pub served: u64,
}

impl Noted {
    /// Adds another run's.
    pub fn add(&mut self, other: &Noted) {
        self.lists += other.lists;
        self.registers += other.registers;
        self.queues += other.queues;
        self.aborted += other.aborted;
        self.served += other.served;
    }
}

/// A handle for every player.
pub type Shared = Rc<RefCell<Histories>>;

impl Histories {
    /// Operations on registers that were never answered: the search for an order finds each of them hard.
    pub fn open_registers(&self) -> usize {
        self.registers.iter().filter(|operation| counts_as_open(operation)).count()
    }

    /// How much was noted.
    pub fn noted(&self) -> Noted {
        Noted {
            lists: self.lists.len() as u64,
            registers: self.registers.len() as u64,
            queues: self.queues.len() as u64,
            aborted: self.lists.iter().filter(|t| t.outcome == Outcome::Aborted).count() as u64,
            served: self.queues.iter().flat_map(|o| &o.steps).filter(|step| got(step)).count() as u64,
        }
    }

    /// Judges everything.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let mut anomalies: Vec<Anomaly> = append::check(&self.lists).anomalies;
        // What was never answered and would have changed nothing, or was not carried out, says nothing.
        let telling = self.registers.iter().filter(|o| o.replies.is_some() || counts_as_open(o));
        let telling: Vec<Operation> = telling.filter(|o| !o.steps.is_empty()).cloned().collect();
        anomalies.extend(register::check(&telling).err());
        anomalies.extend(queue::check(&self.queues));
        let shown: Vec<String> = anomalies.iter().take(3).map(ToString::to_string).collect();
        if anomalies.is_empty() { Ok(()) } else { Err(format!("anomalies:\n{}", shown.join("\n"))) }
    }
}

fn counts_as_open(operation: &Operation) -> bool {
    let reads = |step: &Step| matches!(step, Step::Get(_) | Step::MGet(_));
    operation.replies.is_none() && !operation.steps.iter().all(reads)
}

/// Whether a command took an element.
fn got(step: &QueueStep) -> bool {
    matches!(step, QueueStep::Pop { taken: Some(_), .. } | QueueStep::Move { moved: Some(_), .. })
}

/// Ends the span.
fn complete(span: &mut Span, now: Now) {
    *span = Span::new(span.invoked_ns, now.stamp);
}

/// Clients that append to lists and read them.
pub struct Appender {
    shared: Shared,
    source: load::append::Source,
    audits: bool,
}

impl Appender {
    pub fn new(shared: &Shared, seed: u64, connection: u32, audits: bool) -> Self {
        let source = load::append::Source::new(&shared.borrow().appended, Rng(seed), connection);
        Self { shared: Rc::clone(shared), source, audits }
    }

    /// How many requests an audit takes.
    pub fn audit_requests(&self) -> u64 {
        u64::from(self.source.keys_used())
    }

    fn unit(micro: Micro) -> Unit<Vec<Micro>> {
        Unit::single(micro, load::append::bytes)
    }

    fn transaction(micros: Vec<Micro>) -> Unit<Vec<Micro>> {
        Unit::transaction(micros, load::append::bytes)
    }

    /// Reads keys it watches, and appends to some of them unless they have changed.
    fn watch(&mut self) -> Vec<Unit<Vec<Micro>>> {
        let load::append::Watched { watch, reads, micros } = self.source.watched();
        let seen_count = reads.len();
        let mut units = vec![Unit::aside(watch)];
        units.extend(reads.into_iter().map(Self::unit));
        units.push(Unit { seen_count, ..Self::transaction(micros) });
        units
    }
}

impl Workload for Appender {
    type Operation = Vec<Micro>;

    fn draw(&mut self) -> Vec<Unit<Vec<Micro>>> {
        if self.audits {
            let keys = 0..self.source.keys_used();
            return keys.map(|key| Self::unit(Micro::Read { key, seen: None })).collect();
        }
        match self.source.rng.below(8) {
            0..=2 => vec![Self::transaction(self.source.micros())],
            3 | 4 => self.watch(),
            _ => {
                let micros = self.source.single();
                if micros.len() == 1 {
                    return micros.into_iter().map(Self::unit).collect();
                }
                vec![Unit::plain(load::append::read_together(&micros), micros)]
            }
        }
    }

    fn begin(&mut self, micros: Vec<Micro>, _: bool, connection: u32, now: Now) -> usize {
        let lists = &mut self.shared.borrow_mut().lists;
        let (span, outcome) = (Span::open(now.stamp), Outcome::Unknown);
        lists.push(Transaction { connection, span, outcome, micros });
        lists.len() - 1
    }

    fn end(
        &mut self,
        number: usize,
        values: Option<Vec<Value>>,
        seen: &[usize],
        now: Now,
    ) -> Result<(), String> {
        let lists = &mut self.shared.borrow_mut().lists;
        let read: Vec<Micro> = seen.iter().flat_map(|number| lists[*number].micros.clone()).collect();
        let transaction = &mut lists[number];
        complete(&mut transaction.span, now);
        let Some(mut values) = values else {
            transaction.outcome = Outcome::Aborted;
            return Ok(());
        };
        let micros = &mut transaction.micros;
        // A read of several keys is answered by all their values, but one of lists by the list.
        if let (2.., [Value::Array(several)]) = (micros.len(), &values[..]) {
            values = several.clone();
        }
        transaction.outcome = Outcome::Committed;
        load::append::fill(micros, &values)?;
        // What was watched and has not changed is as if read once more in the transaction.
        micros.splice(0..0, read);
        Ok(())
    }
}

/// Clients that change a few integer keys together.
pub struct Registers {
    shared: Shared,
    source: load::register::Source,
    /// Each command uses one key alone, so each key has a history of its own.
    single: bool,
}

impl Registers {
    pub fn new(shared: &Shared, seed: u64, connection: u32, single: bool) -> Self {
        let next = i64::from(connection) * VALUES_OF_CONNECTION;
        let source = load::register::Source { rng: Rng(seed), next };
        Self { shared: Rc::clone(shared), source, single }
    }

    fn bytes(step: &Step) -> Vec<u8> {
        load::register::bytes(REGISTER_PREFIX, step)
    }

    fn unit(step: Step) -> Unit<Vec<Step>> {
        Unit::single(step, Self::bytes)
    }

    fn transaction(steps: Vec<Step>) -> Unit<Vec<Step>> {
        Unit::transaction(steps, Self::bytes)
    }

    /// Changes a key it has read, unless another was faster.
    fn compare_and_set(&mut self) -> Vec<Unit<Vec<Step>>> {
        let key = self.source.key();
        let write = Step::Set(key, self.source.value());
        vec![
            Unit::aside(load::register::watch(REGISTER_PREFIX, key)),
            Self::unit(Step::Get(key)),
            Unit { seen_count: 1, ..Self::transaction(vec![write]) },
        ]
    }
}

impl Workload for Registers {
    type Operation = Vec<Step>;

    fn draw(&mut self) -> Vec<Unit<Vec<Step>>> {
        match self.source.rng.below(6) {
            0 | 1 if !self.single => {
                let count = 2 + self.source.rng.below(TRANSACTION_STEPS_MAX - 1);
                vec![Self::transaction((0..count).map(|_| self.source.step(false)).collect())]
            }
            2 => self.compare_and_set(),
            _ => vec![Self::unit(self.source.step(self.single))],
        }
    }

    fn begin(&mut self, steps: Vec<Step>, watches: bool, connection: u32, now: Now) -> usize {
        let registers = &mut self.shared.borrow_mut().registers;
        let span = Span::open(now.stamp);
        registers.push(Operation { connection, span, steps, replies: None, watches });
        registers.len() - 1
    }

    fn end(
        &mut self,
        number: usize,
        values: Option<Vec<Value>>,
        seen: &[usize],
        now: Now,
    ) -> Result<(), String> {
        let registers = &mut self.shared.borrow_mut().registers;
        let seen: Vec<Operation> = seen.iter().map(|number| registers[*number].clone()).collect();
        let operation = &mut registers[number];
        complete(&mut operation.span, now);
        let Some(values) = values else {
            operation.steps.clear();
            return Ok(());
        };
        let mut replies = load::register::replies(&operation.steps, &values)?;
        for read in seen.into_iter().rev() {
            operation.steps.splice(0..0, read.steps);
            replies.splice(0..0, read.replies.expect("what was asked before was answered before"));
        }
        operation.replies = Some(replies);
        Ok(())
    }
}

/// Clients that push into queues, and clients that wait for what comes.
pub struct Queuer {
    shared: Shared,
    source: load::queue::Source,
    /// How many of 8 steps push.
    pushes: usize,
    audits: bool,
}

impl Queuer {
    pub fn new(shared: &Shared, seed: u64, connection: u32, audits: bool) -> Self {
        let mut rng = Rng(seed);
        let pushes = *rng.pick(&[1, 4, 6]);
        let source = load::queue::Source::new(rng, QUEUES, connection);
        Self { shared: Rc::clone(shared), source, pushes, audits }
    }

    /// How many requests an audit takes.
    pub fn audit_requests() -> u64 {
        u64::from(QUEUES)
    }

    /// A command that waits, unless it is in a transaction.
    fn wait(&mut self, timeout_ms: usize) -> load::queue::Drawn {
        let count = 1 + self.source.rng.below(QUEUES as usize) as u32;
        match self.source.rng.below(3) {
            0 => self.source.wait_to_move(timeout_ms),
            _ => self.source.wait(count, timeout_ms, None),
        }
    }

    fn unit((bytes, step): load::queue::Drawn) -> Unit<Vec<QueueStep>> {
        Unit::plain(bytes, vec![step])
    }
}

impl Workload for Queuer {
    type Operation = Vec<QueueStep>;

    fn draw(&mut self) -> Vec<Unit<Vec<QueueStep>>> {
        if self.audits {
            return (0..QUEUES).map(|queue| Self::unit(self.source.pop_up_to(queue, EVERYTHING))).collect();
        }
        let timeout_ms = 1 + self.source.rng.below(TIMEOUT_MS_MAX);
        if self.source.rng.once_in(5) {
            let (commands, parts) = (0..2 + self.source.rng.below(TRANSACTION_COMMANDS_MAX - 1))
                .map(|_| match self.source.rng.below(8) {
                    n if n < self.pushes => self.source.push(),
                    _ => self.wait(timeout_ms),
                })
                .unzip();
            return vec![Unit::multi(commands, parts)];
        }
        vec![match self.source.rng.below(8) {
            n if n < self.pushes => Self::unit(self.source.push()),
            7 => Self::unit(self.source.pop()),
            _ => Unit { timeout_ms: Some(timeout_ms as u64), ..Self::unit(self.wait(timeout_ms)) },
        }]
    }

    fn begin(&mut self, steps: Vec<QueueStep>, _: bool, connection: u32, now: Now) -> usize {
        let queues = &mut self.shared.borrow_mut().queues;
        queues.push(queue::Operation { connection, span: Span::open(now.stamp), steps });
        queues.len() - 1
    }

    fn end(
        &mut self,
        number: usize,
        values: Option<Vec<Value>>,
        _: &[usize],
        now: Now,
    ) -> Result<(), String> {
        let values = values.ok_or("a transaction that watches nothing was not carried out")?;
        let operation = &mut self.shared.borrow_mut().queues[number];
        complete(&mut operation.span, now);
        load::queue::fill(&mut operation.steps, &values)
    }
}
