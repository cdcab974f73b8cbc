//! What one client asked for, and what its keys may be after a crash.
//!
//! Design: a client changes keys of its own, which nobody else writes, by steps: a command or a transaction each, over one connection.
//! They happen in its order, and the file holds a beginning of the order of all. So after a crash its keys are as after one of its
//! steps, of which at least those have happened that were promised, and none that was not sent. The ledger keeps a model of
//! the keys as of the last crash and the steps since, and looks for that step.
//!
//! Not here: who sends the steps (`client`), who kills the server (`super`).

use std::collections::BTreeMap;
use std::time::Instant;

use crate::harness::{Client, Rng, Value, command};

/// A value: a string, or a list.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Model {
    Text(String),
    List(Vec<String>),
}

type Keys = BTreeMap<String, Model>;

/// A command of a step.
#[derive(Clone, Debug)]
enum Change {
    Set(Vec<(String, String)>),
    Append(String, String),
    Incr(String),
    Del(Vec<String>),
    Push(String, String),
    Pop(String),
}

impl Change {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Change::Set(pairs) if pairs.len() == 1 => command(&["SET", &pairs[0].0, &pairs[0].1]),
            Change::Set(pairs) => {
                let words = pairs.iter().flat_map(|(key, value)| [key.as_str(), value]);
                command(&std::iter::once("MSET").chain(words).collect::<Vec<_>>())
            }
            Change::Append(key, text) => command(&["APPEND", key, text]),
            Change::Incr(key) => command(&["INCR", key]),
            Change::Del(keys) => {
                let keys = keys.iter().map(String::as_str);
                command(&std::iter::once("DEL").chain(keys).collect::<Vec<_>>())
            }
            Change::Push(key, element) => command(&["RPUSH", key, element]),
            Change::Pop(key) => command(&["LPOP", key]),
        }
    }

    fn apply(&self, keys: &mut Keys) {
        match self {
            Change::Set(pairs) => {
                keys.extend(pairs.iter().map(|(key, value)| (key.clone(), Model::Text(value.clone()))));
            }
            Change::Append(key, text) => {
                if let Model::Text(value) = keys.entry(key.clone()).or_insert(Model::Text(String::new())) {
                    value.push_str(text);
                }
            }
            Change::Incr(key) => {
                if let Model::Text(value) = keys.entry(key.clone()).or_insert(Model::Text("0".to_owned())) {
                    *value = (value.parse::<u64>().expect("it counts") + 1).to_string();
                }
            }
            Change::Del(gone) => gone.iter().for_each(|key| drop(keys.remove(key))),
            Change::Push(key, element) => {
                if let Model::List(list) = keys.entry(key.clone()).or_insert(Model::List(Vec::new())) {
                    list.push(element.clone());
                }
            }
            Change::Pop(key) => {
                if let Some(Model::List(list)) = keys.get_mut(key) {
                    list.remove(0);
                    if list.is_empty() {
                        keys.remove(key);
                    }
                }
            }
        }
    }
}

/// What happens as a whole or not at all: one command, or a transaction of several.
#[derive(Clone, Debug)]
pub struct Step {
    changes: Vec<Change>,
    /// What it pushes to the list that all clients share.
    shared: Option<String>,
}

impl Step {
    /// What is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let shared = self.shared.iter().map(|element| command(&["RPUSH", SHARED, element]));
        let commands: Vec<Vec<u8>> = self.changes.iter().map(Change::bytes).chain(shared).collect();
        match &commands[..] {
            [one] => one.clone(),
            _ => [command(&["MULTI"]), commands.concat(), command(&["EXEC"])].concat(),
        }
    }

    /// How many replies come.
    pub fn replies(&self) -> usize {
        match self.changes.len() + usize::from(self.shared.is_some()) {
            1 => 1,
            several => several + 2,
        }
    }
}

/// The list that all clients push to.
pub const SHARED: &str = "shared";
/// Longest value, in bytes: more than one write of a file takes.
const LONG_BYTES: usize = 200_000;

/// One client's account of what it did.
pub struct Ledger {
    /// Its number.
    pub number: usize,
    /// Its keys as they were found after the last crash.
    keys: Keys,
    /// What it pushed to the shared list until then.
    shared: Vec<String>,
    /// Steps sent since, and when their replies came: those of a beginning of them.
    steps: Vec<Step>,
    answered: Vec<Instant>,
    /// Steps of its life, which give each its number.
    count: u64,
}

impl Ledger {
    /// Of a client that has done nothing.
    pub fn new(number: usize) -> Self {
        let (keys, shared) = (BTreeMap::new(), Vec::new());
        Self { number, keys, shared, steps: Vec::new(), answered: Vec::new(), count: 0 }
    }

    /// The key of this client by that name.
    pub fn key(&self, name: &str) -> String {
        key(self.number, name)
    }

    /// Another step, which is noted as sent.
    pub fn step(&mut self, rng: &mut Rng, seen: Option<&str>) -> &Step {
        self.count += 1;
        let n = self.count.to_string();
        let key = |name: &str| key(self.number, name);
        let set = |name: &str, value: &str| Change::Set(vec![(key(name), value.to_owned())]);
        let mut changes = match rng.below(12) {
            0 | 1 => vec![Change::Incr(key("count"))],
            2 | 3 => vec![Change::Push(key("log"), n.clone())],
            4 => vec![Change::Push(key("log"), n.clone()), Change::Pop(key("log"))],
            5 => vec![Change::Set(vec![(key("left"), n.clone()), (key("right"), n.clone())])],
            6 | 7 => vec![set("left", &n), Change::Incr(key("count")), set("right", &n)],
            8 => vec![set("toggle", &n)],
            9 => vec![Change::Del(vec![key("toggle"), key("text")])],
            10 if rng.once_in(20) => vec![set("long", &format!("{n}:{}", "x".repeat(rng.below(LONG_BYTES))))],
            _ => vec![Change::Append(key("text"), format!("{n},"))],
        };
        let mut shared = rng.once_in(6).then(|| format!("{}:{n}", self.number));
        if shared.is_some() {
            changes.truncate(rng.below(2));
        }
        if let Some(seen) = seen {
            (changes, shared) = (vec![set("seen", seen)], None);
        }
        self.steps.push(Step { changes, shared });
        self.steps.last().expect("it was pushed")
    }

    /// The reply to the first step came that had none.
    pub fn note_answer(&mut self) {
        assert!(self.answered.len() < self.steps.len());
        self.answered.push(Instant::now());
    }

    /// How many steps were answered since the last crash.
    pub fn answered(&self) -> usize {
        self.answered.len()
    }

    /// How many of them were answered at a time.
    pub fn answered_by(&self, time: Instant) -> usize {
        self.answered.partition_point(|at| *at <= time)
    }

    /// Asks for what the keys are now; `shared` is what of the shared list is this client's. At least `promised` of the steps since
    /// the last crash have happened; how many have. From now on that is what the keys were.
    ///
    /// # Errors
    /// No such step explains what is there.
    pub fn settle(
        &mut self,
        client: &mut Client,
        shared: &[String],
        promised: usize,
    ) -> Result<usize, String> {
        let names = ["count", "log", "left", "right", "toggle", "long", "text", "seen"];
        let found: Keys = names
            .iter()
            .filter_map(|name| {
                let key = self.key(name);
                read(client, &key).map(|value| (key, value))
            })
            .collect();
        let (mut keys, mut pushed) = (self.keys.clone(), self.shared.clone());
        let mut nearest = String::new();
        for done in 0..=self.steps.len() {
            if let Some(step) = done.checked_sub(1).map(|last| &self.steps[last]) {
                step.changes.iter().for_each(|change| change.apply(&mut keys));
                pushed.extend(step.shared.clone());
            }
            if done >= promised && keys == found && pushed == shared {
                (self.keys, self.shared) = (keys, pushed);
                self.steps.clear();
                self.answered.clear();
                return Ok(done);
            }
            if done == promised || done == self.steps.len() {
                nearest += &format!("\n  after step {done}: {}", shown(&keys, &pushed));
            }
        }
        let (number, sent) = (self.number, self.steps.len());
        let found = shown(&found, shared);
        Err(format!("client {number}: no step from {promised} to {sent} explains {found}{nearest}"))
    }

    /// How many keys it has.
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }
}

fn key(client: usize, name: &str) -> String {
    format!("{name}:{client}")
}

fn read(client: &mut Client, key: &str) -> Option<Model> {
    match client.call(&["GET", key]) {
        Value::NullBulk => None,
        Value::Bulk(text) => Some(Model::Text(String::from_utf8(text).expect("text"))),
        _ => {
            let list = client.call(&["LRANGE", key, "0", "-1"]);
            Some(Model::List(list.elements().iter().map(Value::string).collect()))
        }
    }
}

fn shown(keys: &Keys, shared: &[String]) -> String {
    let short = |text: &str| match text.len() {
        0..60 => text.to_owned(),
        length => format!("{}.. {length} bytes ..{}", &text[..20], &text[length - 20..]),
    };
    let lines = keys.iter().map(|(key, value)| match value {
        Model::Text(text) => format!("{key} = {}", short(text)),
        Model::List(list) => format!("{key} = [{}]", short(&list.join(" "))),
    });
    let last = shared.last().map_or("nothing", String::as_str);
    format!("{}; {} shared, {last} the last", lines.collect::<Vec<_>>().join("; "), shared.len())
}
