//! Clients that append to lists and read them: single commands in pipelines, reads of several keys, transactions, scripts and
//! functions on keys that are named or are not, WATCH loops, connections that die.
//!
//! Design: a list is a Redis list (RPUSH, LRANGE), or a string of elements of eight digits (APPEND, GET, MGET), which gives
//! reads of several keys in one command. Keys are a window that moves on as appends are made, so that
//! clients meet on few keys and no list grows long. At the end every key is read once more, so that nothing lost stays unseen.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Fate, Link, Request, Run, sometimes};
use crate::harness::{Client, Rng, Value, command, until};
use crate::history::append::{Micro, Outcome, Transaction};
use crate::history::record::Span;

/// What is run.
#[derive(Clone, Copy)]
pub struct Plan {
    /// Threads with a connection each.
    pub clients: u32,
    /// Appends and reads in all, about.
    pub operations: usize,
    /// What is random depends on it.
    pub seed: u64,
    /// A step in so many ends with a dead connection; 0 for none.
    pub deaths: usize,
}

/// Keys in use at a time.
const WINDOW_KEYS: u32 = 6;
/// Appends to a key, on average.
const LIST_ELEMENTS: u32 = 24;
const PIPELINE_MAX: usize = 12;
const TRANSACTION_MICROS_MAX: usize = 5;
const ELEMENT_DIGITS: usize = 8;
/// Elements of one client are below this; the client's number is above.
const ELEMENTS_OF_CLIENT_MAX: u32 = 1 << 24;

/// Runs it.
pub fn run(run: &Run<'_>, plan: Plan) -> Vec<Transaction> {
    assert!(plan.clients <= u32::MAX / ELEMENTS_OF_CLIENT_MAX);
    // The server may be killed meanwhile.
    let load = || {
        let mut client = Client::unix(&run.server.socket()).ok()?;
        client.send_raw(&command(&["FUNCTION", "LOAD", "REPLACE", LIBRARY])).ok()?;
        client.read().ok()
    };
    assert!(until(|| load().is_some_and(|reply| reply.string() == "history")), "the library is not loaded");
    let appended = Arc::new(AtomicU32::new(0));
    let done = std::sync::atomic::AtomicUsize::new(0);
    let mut history: Vec<Transaction> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..plan.clients)
            .map(|client| {
                let (appended, done) = (&appended, &done);
                scope.spawn(move || {
                    let rng = Rng(plan.seed << 8 | u64::from(client));
                    let link = Link::new(run);
                    let source = Source::new(appended, rng, client);
                    let mut appender = Appender { run, link, source, history: Vec::new() };
                    while done.load(Ordering::Relaxed) < plan.operations && !run.stopped() {
                        let before = appender.history.len();
                        appender.step(plan.deaths);
                        let count: usize = appender.history[before..].iter().map(|t| t.micros.len()).sum();
                        done.fetch_add(count, Ordering::Relaxed);
                    }
                    appender.history
                })
            })
            .collect();
        clients.into_iter().flat_map(|client| client.join().expect("clients do not panic")).collect()
    });
    let (rng, link) = (Rng(plan.seed), Link::new(run));
    let source = Source::new(&appended, rng, plan.clients);
    let mut appender = Appender { run, link, source, history: Vec::new() };
    appender.read_all();
    history.append(&mut appender.history);
    run.operations.fetch_add(history.iter().map(|t| t.micros.len()).sum(), Ordering::Relaxed);
    history
}

/// How the micros of a transaction are sent.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One command; several micros are an MGET.
    Plain,
    /// MULTI, a command each, EXEC.
    Multi,
    /// A script that runs them; so many of the keys are named.
    Script(Named),
    /// A function that runs them, and counts its calls where none of the keys is named.
    Function(Named),
}

/// Which keys of a script are named.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    All,
    First,
    None,
}

/// Runs commands, each behind its number of words, and returns their replies.
macro_rules! run_commands {
    ($args:literal) => {
        concat!(
            "local replies, at = {}, 1 while ",
            $args,
            "[at] do local count = tonumber(",
            $args,
            "[at]) ",
            "replies[#replies + 1] = redis.call(unpack(",
            $args,
            ", at + 1, at + count)) at = at + count + 1 end ",
            "return replies"
        )
    };
}

const SCRIPT: &str = run_commands!("ARGV");
/// The library whose functions are called.
const LIBRARY: &str = concat!(
    "#!lua name=history\nredis.register_function('run', function(keys, args) ",
    run_commands!("args"),
    " end)\nlocal calls = 0 redis.register_function('count', function(keys, args) calls = calls + 1 ",
    run_commands!("args"),
    " end)"
);

/// Where micros come from.
pub struct Source {
    appended: Arc<AtomicU32>,
    /// What is random depends on it.
    pub rng: Rng,
    next: u32,
}

impl Source {
    /// For one of several clients, which count their appends together.
    pub fn new(appended: &Arc<AtomicU32>, rng: Rng, client: u32) -> Self {
        Self { appended: Arc::clone(appended), rng, next: client * ELEMENTS_OF_CLIENT_MAX }
    }

    /// How many keys were ever in use.
    pub fn keys_used(&self) -> u32 {
        self.appended.load(Ordering::Relaxed) / LIST_ELEMENTS + WINDOW_KEYS
    }

    /// One of the keys in use.
    pub fn key(&mut self) -> u32 {
        self.appended.load(Ordering::Relaxed) / LIST_ELEMENTS + self.rng.below(WINDOW_KEYS as usize) as u32
    }

    /// An append or a read.
    pub fn micro(&mut self) -> Micro {
        let key = self.key();
        if self.rng.once_in(2) {
            return Micro::Read { key, seen: None };
        }
        self.appended.fetch_add(1, Ordering::Relaxed);
        self.next += 1;
        Micro::Append { key, element: self.next, length: None }
    }

    /// Those of a transaction.
    pub fn micros(&mut self) -> Vec<Micro> {
        (0..2 + self.rng.below(TRANSACTION_MICROS_MAX - 1)).map(|_| self.micro()).collect()
    }

    /// Watches keys, reads each, and appends to some of them in a transaction.
    pub fn watched(&mut self) -> Watched {
        let keys: Vec<u32> = (0..1 + self.rng.below(3)).map(|_| self.key()).collect();
        let names = keys.iter().map(|key| name(*key));
        let words: Vec<String> = std::iter::once("WATCH".to_owned()).chain(names).collect();
        let mut micros = self.micros();
        for micro in &mut micros {
            if let Micro::Append { key, .. } = micro {
                *key = *self.rng.pick(&keys);
            }
        }
        let reads = keys.into_iter().map(|key| Micro::Read { key, seen: None }).collect();
        Watched { watch: command(&words), reads, micros }
    }

    /// Those of one command: an append, a read, or a read of several strings.
    pub fn single(&mut self) -> Vec<Micro> {
        if !self.rng.once_in(4) {
            return vec![self.micro()];
        }
        let mut keys: Vec<u32> = (0..4).map(|_| self.key()).collect();
        keys.retain(|key| !is_list(*key));
        if keys.is_empty() {
            return vec![self.micro()];
        }
        keys.into_iter().map(|key| Micro::Read { key, seen: None }).collect()
    }
}

/// Appends that are to happen unless what was read has changed.
pub struct Watched {
    /// The WATCH.
    pub watch: Vec<u8>,
    /// Each a command.
    pub reads: Vec<Micro>,
    /// Of the transaction.
    pub micros: Vec<Micro>,
}

struct Appender<'r> {
    run: &'r Run<'r>,
    link: Link<'r>,
    source: Source,
    history: Vec<Transaction>,
}

impl Appender<'_> {
    fn step(&mut self, deaths: usize) {
        match self.source.rng.below(8) {
            0..=2 => {
                let count = 1 + self.source.rng.below(3);
                let batch = (0..count).map(|_| (self.form(), self.source.micros())).collect();
                self.send(batch, deaths);
            }
            3 | 4 => self.watch(deaths),
            _ => {
                let count =
                    if self.source.rng.once_in(3) { 1 } else { 1 + self.source.rng.below(PIPELINE_MAX) };
                let batch = (0..count).map(|_| (Form::Plain, self.source.single())).collect();
                self.send(batch, deaths);
            }
        }
    }

    /// How a transaction is sent.
    fn form(&mut self) -> Form {
        let named = *self.source.rng.pick(&[Named::All, Named::All, Named::First, Named::None]);
        // A server that dies may have lost the library.
        match self.source.rng.below(if self.run.has_crashes() { 7 } else { 8 }) {
            0..=3 => Form::Multi,
            4..=6 => Form::Script(named),
            _ => Form::Function(named),
        }
    }

    fn request(form: Form, micros: &[Micro]) -> Request {
        match form {
            Form::Script(named) => Request::plain(call(["EVAL", SCRIPT], named, micros)),
            Form::Function(named) => {
                let function = if named == Named::None { "count" } else { "run" };
                Request::plain(call(["FCALL", function], named, micros))
            }
            Form::Plain if micros.len() == 1 => Request::plain(bytes(&micros[0])),
            Form::Plain => Request::plain(read_together(micros)),
            Form::Multi => Request::multi(micros.iter().map(bytes)),
        }
    }

    /// Sends transactions and records what became of them.
    fn send(&mut self, batch: Vec<(Form, Vec<Micro>)>, deaths: usize) {
        let requests: Vec<Request> =
            batch.iter().map(|(form, micros)| Self::request(*form, micros)).collect();
        let connection = self.link.connection;
        let dies = sometimes(&mut self.source.rng, deaths);
        let fates = self.link.send(&requests, dies, &mut self.source.rng);
        for ((form, micros), (fate, span)) in batch.into_iter().zip(fates) {
            let transaction = self.answered(connection, form, micros, fate, span);
            self.history.push(transaction);
        }
    }

    fn answered(
        &self,
        connection: u32,
        form: Form,
        mut micros: Vec<Micro>,
        fate: Fate,
        span: Span,
    ) -> Transaction {
        let outcome = match fate {
            Fate::Cut => Outcome::Aborted,
            Fate::Unanswered => Outcome::Unknown,
            Fate::Answered(replies) => {
                let last = replies.last().expect("a request has replies");
                let values = if micros.len() == 1 && form == Form::Plain { replies } else { last.elements() };
                if form == Form::Multi && values.is_empty() {
                    Outcome::Aborted
                } else {
                    fill(&mut micros, &values).unwrap_or_else(|error| self.run.fail(error));
                    Outcome::Committed
                }
            }
        };
        Transaction { connection, span, outcome, micros }
    }

    /// Reads keys it watches, and appends to some of them unless they have changed.
    fn watch(&mut self, deaths: usize) {
        let Watched { watch, reads, micros } = self.source.watched();
        let mut requests = vec![Request::plain(watch)];
        requests.extend(reads.iter().map(|micro| Self::request(Form::Plain, std::slice::from_ref(micro))));
        let connection = self.link.connection;
        let mut fates = self.link.exchange(&requests);
        fates.remove(0);
        let reads: Vec<Transaction> = reads
            .into_iter()
            .zip(fates)
            .map(|(micro, (fate, span))| self.answered(connection, Form::Plain, vec![micro], fate, span))
            .collect();
        if self.run.stopped() {
            return;
        }
        if self.link.connection != connection {
            // The server has died, and nobody watches any more.
            self.history.extend(reads);
            return;
        }
        let before = self.history.len();
        self.send(vec![(Form::Multi, micros)], deaths);
        // What was watched and has not changed is as if read in the transaction; else they were reads of their own, before it.
        if self.history[before].outcome == Outcome::Committed {
            let read = reads.into_iter().flat_map(|transaction| transaction.micros);
            self.history[before].micros.splice(0..0, read);
        } else {
            self.history.splice(before..before, reads);
        }
    }

    fn read_all(&mut self) {
        let keys = self.source.keys_used();
        for first in (0..keys).step_by(PIPELINE_MAX) {
            let last = (first + PIPELINE_MAX as u32).min(keys);
            let batch = (first..last).map(|key| (Form::Plain, vec![Micro::Read { key, seen: None }]));
            self.send(batch.collect(), 0);
        }
    }
}

/// The command of a micro.
pub fn bytes(micro: &Micro) -> Vec<u8> {
    command(&words(micro))
}

fn words(micro: &Micro) -> Vec<String> {
    match micro {
        Micro::Append { key, element, .. } => {
            let command = if is_list(*key) { "RPUSH" } else { "APPEND" };
            vec![command.to_owned(), name(*key), format!("{element:08x}")]
        }
        Micro::Read { key, .. } if is_list(*key) => {
            vec!["LRANGE".to_owned(), name(*key), "0".to_owned(), "-1".to_owned()]
        }
        Micro::Read { key, .. } => vec!["GET".to_owned(), name(*key)],
    }
}

/// The command that has a script or function run micros.
fn call(what: [&str; 2], named: Named, micros: &[Micro]) -> Vec<u8> {
    let commands: Vec<Vec<String>> = micros.iter().map(words).collect();
    let named = match named {
        Named::All => commands.len(),
        Named::First => 1,
        Named::None => 0,
    };
    let mut all: Vec<String> = what.map(str::to_owned).to_vec();
    all.push(named.to_string());
    all.extend(commands.iter().take(named).map(|words| words[1].clone()));
    for words in commands {
        all.push(words.len().to_string());
        all.extend(words);
    }
    command(&all)
}

/// One command that reads the keys of several strings.
pub fn read_together(micros: &[Micro]) -> Vec<u8> {
    let keys = micros.iter().map(|micro| match micro {
        Micro::Append { key, .. } | Micro::Read { key, .. } => name(*key),
    });
    let words: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
    command(&words)
}

/// Writes replies into what asked for them.
///
/// # Errors
/// They are no replies to that.
pub fn fill(micros: &mut [Micro], values: &[Value]) -> Result<(), String> {
    if values.len() != micros.len() {
        return Err(format!("{} replies to {micros:?}", values.len()));
    }
    micros.iter_mut().zip(values).try_for_each(|(micro, value)| fill_one(micro, value))
}

fn fill_one(micro: &mut Micro, value: &Value) -> Result<(), String> {
    let good = match micro {
        Micro::Append { key, length, .. } => {
            let unit = if is_list(*key) { 1 } else { ELEMENT_DIGITS as i64 };
            *length = value.int().filter(|n| n % unit == 0).and_then(|n| u32::try_from(n / unit).ok());
            length.is_some()
        }
        Micro::Read { key, seen } => {
            *seen = match value {
                Value::Array(elements) if is_list(*key) => {
                    elements.iter().map(|element| parse(element.text())).collect()
                }
                Value::Bulk(text) => text.chunks(ELEMENT_DIGITS).map(parse).collect(),
                Value::NullBulk => Some(Vec::new()),
                _ => None,
            };
            seen.is_some()
        }
    };
    good.then_some(()).ok_or_else(|| format!("{value} as the reply to {micro:?}"))
}

/// Whether a key's list is a list; else it is a string.
fn is_list(key: u32) -> bool {
    key % 2 == 1
}

/// A key as the server knows it.
fn name(key: u32) -> String {
    format!("{}:{key}", if is_list(key) { "list" } else { "string" })
}

fn parse(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.len() == ELEMENT_DIGITS)?;
    u32::from_str_radix(text, 16).ok()
}
