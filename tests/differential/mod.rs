//! The same random commands to Torc and to Redis: replies and final states must be the same.
//!
//! Design: a seed gives a stream of pipelines over several connections, in RESP2 and RESP3. Each pipeline goes to both servers,
//! and its replies are compared before the next one starts, so that the order is the same on both. A command takes part when
//! Torc's command table has it. What must differ is said by its shape (`shapes`).
//!
//! There a connection is not sent anything while it waits; several that wait, and transactions, are the matter of `waiting`.
//!
//! A failure prints the seed, the command, both replies and the commands before it that name the same keys. Where both reply with
//! errors, only of different text, the run goes on and fails in the end, so that one run shows all of them.
//! `TORC_DIFFERENTIAL_SEED=N` repeats it, `TORC_DIFFERENTIAL_HISTORY=N` shows so many of them. `TORC_DIFFERENTIAL=N` sends N
//! commands instead of a few thousand, `TORC_DIFFERENTIAL_FAMILY=NAME` runs one family only. `TORC_DIFFERENTIAL_WATCH='XLEN s'` sends
//! that, too, behind each pipeline: states have often been different for long when a reply shows it. A failure shows its replies.

mod doubles;
mod families;
mod scripts;
mod shapes;
mod states;
mod waiting;

use std::collections::BTreeMap;

use families::{FAMILIES, Family};
use shapes::{Compare, DATABASES, MS_OFF, SHAPES, Shape};

use crate::harness::{Client, Rng, Server, Value, command};

/// Commands sent in a normal run, per configuration.
const COMMANDS: usize = 6_000;
/// Commands sent in the run of a family.
const FAMILY_COMMANDS: usize = 4_000;
const CONNECTIONS: usize = 4;
const PIPELINE_MAX: usize = 24;
/// Commands shown before the one that failed.
const HISTORY_SHOWN: usize = 12;

/// A pair of connections, one to each server.
struct Pair {
    torc: Client,
    redis: Client,
}

struct Sent {
    words: Vec<Vec<u8>>,
    compare: Compare,
    connection: usize,
}

/// All commands.
fn run(seed: u64, args: &[&str]) {
    let families = FAMILIES.iter().flat_map(|family| family.shapes);
    run_shapes(seed, args, COMMANDS, SHAPES.iter().chain(families).collect());
}

fn run_shapes(seed: u64, args: &[&str], commands: usize, shapes: Vec<&'static Shape>) {
    let commands = std::env::var("TORC_DIFFERENTIAL").ok().map_or(commands, |n| n.parse().expect("a number"));
    let seed = std::env::var("TORC_DIFFERENTIAL_SEED").ok().map_or(seed, |n| n.parse().expect("a number"));
    let watched = std::env::var("TORC_DIFFERENTIAL_WATCH").ok();
    let mut rng = Rng(seed);
    let debug: &[&str] = &["--enable-debug-command", "yes"];
    let mut torc = Server::start(&[args, debug].concat());
    // Redis notices at its ticks only that a wait is over.
    let redis = Server::redis(&[debug, &["--hz", "500"]].concat());
    let mut pairs: Vec<Pair> = (0..CONNECTIONS)
        .map(|index| {
            Pair { torc: torc.client(), redis: redis.client() }.speaking(if index % 2 == 0 { 2 } else { 3 })
        })
        .collect();
    if watched.is_some() {
        pairs[0].both("CONFIG SET rdbcompression no");
    }
    let shapes: Vec<&'static Shape> = shapes.into_iter().filter(|shape| takes_part(shape)).collect();
    let mut history: Vec<Sent> = Vec::new();
    let mut other_errors = BTreeMap::new();
    while history.len() < commands {
        let connection = rng.below(CONNECTIONS);
        let first = history.len();
        for _ in 0..=rng.below(PIPELINE_MAX) {
            let (words, compare) = shapes::draw(&shapes, &mut rng);
            history.push(Sent { words, compare, connection });
        }
        let bytes: Vec<u8> = history[first..].iter().flat_map(|sent| command(&sent.words)).collect();
        let pair = &mut pairs[connection];
        pair.redis.send_raw(&bytes).expect("Redis takes commands");
        pair.torc.send_raw(&bytes).expect("Torc takes commands");
        for index in first..history.len() {
            let expected = pair.redis.read();
            let expected = expected.unwrap_or_else(|error| panic!("{error}:\n{}", shown(&history[..=index])));
            let reply = pair.torc.read();
            let Ok(reply) = reply else {
                panic!("seed {seed}: no reply: {reply:?}\n{}\n{}", shown(&history[..=index]), torc.log());
            };
            if !same(&history[index], &expected, &reply) {
                if expected.is_error() && reply.is_error() {
                    let errors = format!("Redis: {expected}\nTorc:  {reply}");
                    other_errors.entry(errors).or_insert_with(|| line(&history[index]));
                    continue;
                }
                let shown = shown(&history[..=index]);
                let other = &mut pairs[(connection + 1) % CONNECTIONS];
                let state = watched
                    .map_or(String::new(), |watched| format!("\n{watched}: {:?}", other.watch(&watched)));
                panic!(
                    "seed {seed}, command {index}, {args:?}:\n{shown}\nRedis: {expected}\nTorc:  {reply}{state}"
                );
            }
        }
        if let Some(watched) = &watched {
            let (expected, reply) = pairs[connection].watch(watched);
            let lines: Vec<String> = history[first..].iter().map(line).collect();
            assert_eq!(expected, reply, "seed {seed}, {args:?}, {watched} behind\n{}", lines.join("\n"));
        }
    }
    compare_states(seed, &mut pairs[0], &history);
    torc.check_alive();
    let other_errors: Vec<String> =
        other_errors.iter().map(|(errors, line)| format!("{line}\n{errors}")).collect();
    assert!(other_errors.is_empty(), "seed {seed}, {args:?}: other errors:\n{}", other_errors.join("\n"));
}

impl Pair {
    fn speaking(mut self, protocol: u8) -> Self {
        if protocol == 3 && torc::command::table().find(b"hello").is_some() {
            self.both("HELLO 3");
        }
        self
    }

    fn both(&mut self, text: &str) -> (Value, Value) {
        (self.redis.ask(text), self.torc.ask(text))
    }

    /// What both reply to that; DUMP without the version of the format and the sum.
    fn watch(&mut self, text: &str) -> (Value, Value) {
        let (expected, reply) = self.both(text);
        if !text.starts_with("DUMP") {
            return (expected, reply);
        }
        let cut = |reply: Value| match reply {
            Value::Bulk(bytes) => Value::Bulk(bytes[..bytes.len() - 10].to_vec()),
            other => other,
        };
        (cut(expected), cut(reply))
    }

    fn both_words(&mut self, words: &[&[u8]]) -> (Value, Value) {
        (self.redis.call(words), self.torc.call(words))
    }
}

/// Whether both servers have the command.
fn takes_part(shape: &Shape) -> bool {
    let words: Vec<&str> = shape.words.split(' ').collect();
    let table = torc::command::table();
    table.find(words[0].as_bytes()).is_some_and(|row| {
        let subcommand = words.get(1).and_then(|word| table.subcommand(row, word.as_bytes()));
        row.command.subcommands.is_empty() || subcommand.is_some()
    })
}

fn same(sent: &Sent, expected: &Value, reply: &Value) -> bool {
    alike(sent.compare, expected, reply) || is_left_over(sent, expected)
}

/// SORT of Redis 8.2 looks at an errno that it does not clear: weights are refused because of what another command was given, such
/// as the increment 1e5000.
fn is_left_over(sent: &Sent, expected: &Value) -> bool {
    let is_refused =
        matches!(expected, Value::Error(text) if text.starts_with(b"ERR One or more scores can't"));
    is_refused && sent.words[0].starts_with(b"SORT") && !sent.words.iter().any(|word| word == b"STORE")
}

fn alike(compare: Compare, expected: &Value, reply: &Value) -> bool {
    match (compare, expected, reply) {
        (Compare::Near(off), Value::Int(expected), Value::Int(reply)) => {
            // -1 and -2 say that there is no time.
            (*expected < 0) == (*reply < 0) && expected.abs_diff(*reply) <= off.unsigned_abs()
        }
        (Compare::Near(_), Value::Array(expected), Value::Array(reply)) => {
            let mut pairs = expected.iter().zip(reply);
            expected.len() == reply.len() && pairs.all(|(expected, reply)| alike(compare, expected, reply))
        }
        (Compare::Sorted, Value::Array(expected), Value::Array(reply))
        | (Compare::Sorted, Value::Set(expected), Value::Set(reply)) => sorted(expected) == sorted(reply),
        (Compare::Sorted, Value::Map(expected), Value::Map(reply)) => {
            let pairs = |map: &[(Value, Value)]| -> Vec<Value> {
                map.iter().map(|(key, value)| Value::Array(vec![key.clone(), value.clone()])).collect()
            };
            sorted(&pairs(expected)) == sorted(&pairs(reply))
        }
        (Compare::Names, Value::Map(expected), Value::Map(reply)) => {
            expected.iter().all(|pair| reply.contains(pair))
        }
        (Compare::Names, Value::Array(expected), Value::Array(reply)) => {
            expected.chunks(2).all(|pair| reply.chunks(2).any(|other| pair == other))
        }
        (Compare::Kind, expected, reply) if !expected.is_error() => {
            std::mem::discriminant(expected) == std::mem::discriminant(reply)
        }
        // Redis writes what a client sent into some errors as C does, up to the first NUL.
        (_, Value::Error(expected), Value::Error(reply)) => {
            expected == reply || reply.split(|byte| *byte == 0).next() == Some(expected)
        }
        (_, expected, reply) => expected == reply,
    }
}

/// In an order that does not depend on that of the elements, nor on that in the arrays among these.
fn sorted(values: &[Value]) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Array(values) => format!("{:?}", sorted(values)),
        value => value.to_string(),
    };
    let mut texts: Vec<String> = values.iter().map(text).collect();
    texts.sort_unstable();
    texts
}

/// The last command and those before it that share an argument with it.
fn shown(history: &[Sent]) -> String {
    let last = history.last().expect("a command was sent");
    let related = |sent: &&Sent| {
        sent.words[1..].iter().any(|word| last.words[1..].contains(word))
            || ["SELECT", "SWAPDB", "FLUSHALL", "FLUSHDB"].iter().any(|name| sent.words[0] == name.as_bytes())
    };
    let count =
        std::env::var("TORC_DIFFERENTIAL_HISTORY").map_or(HISTORY_SHOWN, |n| n.parse().expect("a number"));
    let mut lines: Vec<String> = history.iter().rev().filter(related).take(count).map(line).collect();
    if lines.is_empty() {
        lines.push(line(last));
    }
    lines.reverse();
    lines.join("\n")
}

fn line(sent: &Sent) -> String {
    let words: Vec<String> = sent
        .words
        .iter()
        .map(|word| match word.len() {
            0..=200 => format!("\"{}\"", word.escape_ascii()),
            length => format!("({length} bytes)"),
        })
        .collect();
    format!("  [{}] {}", sent.connection, words.join(" "))
}

/// What is asked of every key in the end: the words before the key and after it.
const STATE: &[(&[&str], &[&str], Compare)] = &[
    (&["TYPE"], &[], Compare::Exact),
    (&["GET"], &[], Compare::Exact),
    (&["LRANGE"], &["0", "-1"], Compare::Exact),
    (&["PTTL"], &[], Compare::Near(MS_OFF)),
    (&["OBJECT", "ENCODING"], &[], Compare::Exact),
];

/// Compares everything both servers hold.
fn compare_states(seed: u64, pair: &mut Pair, history: &[Sent]) {
    let has = |name: &str| torc::command::table().find(name.as_bytes()).is_some();
    if !["select", "dbsize", "keys"].into_iter().all(has) {
        return;
    }
    for database in 0..DATABASES {
        pair.both(&format!("SELECT {database}"));
        let (expected, reply) = pair.both("DBSIZE");
        assert_eq!(expected, reply, "seed {seed}: DBSIZE of database {database}");
        let (expected, reply) = pair.both("KEYS *");
        assert_eq!(
            sorted(&expected.elements()),
            sorted(&reply.elements()),
            "seed {seed}: keys of {database}"
        );
        for key in expected.elements() {
            for (name, rest, compare) in STATE.iter().chain(FAMILIES.iter().flat_map(|family| family.state)) {
                if has(&name[0].to_ascii_lowercase()) {
                    let mut words: Vec<&[u8]> = name.iter().map(|word| word.as_bytes()).collect();
                    words.push(key.text());
                    words.extend(rest.iter().map(|word| word.as_bytes()));
                    let (expected, reply) = pair.both_words(&words);
                    let key_history: Vec<String> = history
                        .iter()
                        .rev()
                        .filter(|sent| sent.words[1..].iter().any(|word| word == key.text()))
                        .take(HISTORY_SHOWN)
                        .map(line)
                        .collect();
                    assert!(
                        alike(*compare, &expected, &reply),
                        "seed {seed}: {} of {key} in database {database}: Redis {expected}, Torc {reply}\n\
                         last commands first:\n{}",
                        name[0],
                        key_history.join("\n"),
                    );
                }
            }
        }
    }
}

#[test]
fn one_worker_is_like_redis() {
    run(1, &["--workers", "1"]);
}

#[test]
fn three_workers_are_like_redis() {
    run(2, &["--workers", "3"]);
}

/// Each family by itself, packed values and large ones alternately.
#[test]
fn families_are_like_redis() {
    for (number, family) in FAMILIES.iter().enumerate() {
        if std::env::var("TORC_DIFFERENTIAL_FAMILY").is_ok_and(|wanted| wanted != family.name) {
            continue;
        }
        for workers in ["1", "3"] {
            println!("family {}, {workers} workers", family.name);
            run_shapes(
                10 + number as u64,
                &["--workers", workers],
                FAMILY_COMMANDS,
                family.shapes.iter().collect(),
            );
        }
    }
}

#[test]
fn tiny_buffers_are_like_redis() {
    run(
        3,
        &[
            "--workers",
            "3",
            "--io-backend",
            "epoll",
            "--receive-buffer-bytes",
            "64",
            "--receive-buffers",
            "16",
        ],
    );
}

/// Commands on keys that no shape draws, with reasons.
const NOT_DRAWN: &[(&str, &str)] = &[
    ("eval", "scripts are drawn by a grammar of their own"),
    ("evalsha", "scripts are drawn by a grammar of their own"),
    ("eval_ro", "scripts are drawn by a grammar of their own"),
    ("evalsha_ro", "scripts are drawn by a grammar of their own"),
    ("fcall", "functions are compared in their cases"),
    ("fcall_ro", "functions are compared in their cases"),
    ("dump", "its bytes carry the version of the format"),
    ("restore-asking", "needs the bytes of DUMP"),
    ("migrate", "needs another server"),
    ("blmovem", "newer than the Redis of this run"),
    ("delex", "newer than the Redis of this run"),
    ("delifeq", "Valkey's"),
    ("digest", "newer than the Redis of this run"),
    ("increx", "newer than the Redis of this run"),
    ("lmovem", "newer than the Redis of this run"),
    ("msetex", "newer than the Redis of this run"),
    ("sdiffcard", "newer than the Redis of this run"),
    ("xcfgset", "newer than the Redis of this run"),
    ("xidmprecord", "newer than the Redis of this run"),
    ("xnack", "newer than the Redis of this run"),
    ("himport|set", "newer than the Redis of this run"),
    ("sunioncard", "newer than the Redis of this run"),
    ("spublish", "channels are the matter of tests of their own"),
    ("ssubscribe", "channels are the matter of tests of their own"),
    ("sunsubscribe", "channels are the matter of tests of their own"),
];

#[test]
fn every_command_on_keys_is_drawn() {
    let missing: Vec<&str> = torc::command::table()
        .rows()
        .iter()
        .filter(|row| !row.command.keys.is_empty() && row.command.subcommands.is_empty())
        .map(|row| &*row.full_name)
        .filter(|name| !NOT_DRAWN.iter().any(|(known, _)| known == name))
        .filter(|name| {
            let words = name.replace('|', " ").to_ascii_uppercase();
            let families = FAMILIES.iter().flat_map(|family: &Family| family.shapes);
            let mut shapes = SHAPES.iter().chain(families).chain(waiting::shapes());
            !shapes.any(|shape| shape.words.starts_with(&format!("{words} ")))
        })
        .collect();
    assert!(missing.is_empty(), "no shape draws {missing:?}");
}

/// Random commands of all kinds, for other tests: none waits for ever.
pub fn commands(seed: u64, count: usize) -> Vec<Vec<Vec<u8>>> {
    let families = FAMILIES.iter().flat_map(|family| family.shapes);
    let shapes: Vec<&'static Shape> =
        SHAPES.iter().chain(families).filter(|shape| takes_part(shape)).collect();
    let mut rng = Rng(seed);
    (0..count).map(|_| shapes::draw(&shapes, &mut rng).0).collect()
}
