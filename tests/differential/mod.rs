//! The same random commands to Torc and to Redis: replies and final states must be the same.
//!
//! Design: a seed gives a stream of pipelines over several connections, in RESP2 and RESP3. Each pipeline goes to both servers,
//! and its replies are compared before the next one starts, so that the order is the same on both. A command takes part when
//! Torc's command table has it. What must differ is said by its shape (`shapes`), or stands in `KNOWN` with a reason.
//!
//! There a connection is not sent anything while it waits; several that wait, and transactions, are the matter of `waiting`.
//!
//! A failure prints the seed, the command, both replies and the commands before it that name the same keys;
//! `TORC_DIFFERENTIAL_SEED=N` repeats it. `TORC_DIFFERENTIAL=N` sends N commands instead of a few thousand.

mod shapes;
mod waiting;

use shapes::{Compare, DATABASES, SHAPES, Shape};

use crate::harness::{Client, Rng, Server, Value, command};

/// Commands sent in a normal run, per configuration.
const COMMANDS: usize = 6_000;
const CONNECTIONS: usize = 4;
const PIPELINE_MAX: usize = 24;
/// Commands shown before the one that failed.
const HISTORY_SHOWN: usize = 12;

/// Replies that differ between Redis 7.0, the oracle, and 7.4, which Torc follows.
struct Known {
    command: &'static str,
    redis: &'static str,
    torc: &'static str,
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
}

const NOT_A_DOUBLE: &str = r#"!"ERR One or more scores can't be converted into double"#;

const KNOWN: &[Known] = &[
    Known {
        command: "OBJECT",
        redis: r#""quicklist""#,
        torc: r#""listpack""#,
        why: "small lists are listpacks since 7.2",
    },
    Known {
        command: "LPOS",
        redis: "",
        torc: r#"!"ERR value is out of range, value must between -9223372036854775807 and"#,
        why: "the smallest rank is refused since 7.2",
    },
    Known {
        command: "SORT",
        redis: NOT_A_DOUBLE,
        torc: "",
        why: "an ERANGE that an earlier command left in errno is taken for that of strtod",
    },
    Known { command: "SORT_RO", redis: NOT_A_DOUBLE, torc: "", why: "as SORT" },
];

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

fn run(seed: u64, args: &[&str]) {
    let commands = std::env::var("TORC_DIFFERENTIAL").ok().map_or(COMMANDS, |n| n.parse().expect("a number"));
    let seed = std::env::var("TORC_DIFFERENTIAL_SEED").ok().map_or(seed, |n| n.parse().expect("a number"));
    let mut rng = Rng(seed);
    let mut torc = Server::start(args);
    let redis = Server::redis(&[]);
    let mut pairs: Vec<Pair> = (0..CONNECTIONS)
        .map(|index| {
            Pair { torc: torc.client(), redis: redis.client() }.speaking(if index % 2 == 0 { 2 } else { 3 })
        })
        .collect();
    let shapes: Vec<&'static Shape> = SHAPES.iter().filter(|shape| takes_part(shape)).collect();
    let mut history: Vec<Sent> = Vec::new();
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
            let expected = pair.redis.read().expect("Redis replies");
            let reply = pair.torc.read();
            let Ok(reply) = reply else {
                panic!("seed {seed}: no reply: {reply:?}\n{}\n{}", shown(&history[..=index]), torc.log());
            };
            if !same(&history[index], &expected, &reply) {
                let shown = shown(&history[..=index]);
                panic!("seed {seed}, command {index}, {args:?}:\n{shown}\nRedis: {expected}\nTorc:  {reply}");
            }
        }
    }
    compare_states(seed, &mut pairs[0], &history);
    torc.check_alive();
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
    alike(sent.compare, expected, reply) || is_known(&sent.words[0], expected, reply)
}

fn is_known(name: &[u8], expected: &Value, reply: &Value) -> bool {
    KNOWN.iter().any(|known| {
        known.command.as_bytes().eq_ignore_ascii_case(name)
            && expected.to_string().starts_with(known.redis)
            && reply.to_string().starts_with(known.torc)
    })
}

fn alike(compare: Compare, expected: &Value, reply: &Value) -> bool {
    match (compare, expected, reply) {
        (Compare::Near(off), Value::Int(expected), Value::Int(reply)) => {
            // -1 and -2 say that there is no time.
            (*expected < 0) == (*reply < 0) && expected.abs_diff(*reply) <= off.unsigned_abs()
        }
        (Compare::Sorted, Value::Array(expected), Value::Array(reply)) => sorted(expected) == sorted(reply),
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

fn sorted(values: &[Value]) -> Vec<String> {
    let mut texts: Vec<String> = values.iter().map(ToString::to_string).collect();
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
    let mut lines: Vec<String> = history.iter().rev().filter(related).take(HISTORY_SHOWN).map(line).collect();
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
            for (name, rest, compare) in [
                (&[&b"TYPE"[..]][..], &[][..], Compare::Exact),
                (&[b"GET"], &[], Compare::Exact),
                (&[b"LRANGE"], &[&b"0"[..], b"-1"], Compare::Exact),
                (&[b"PTTL"], &[], Compare::Near(2000)),
                (&[b"OBJECT", b"ENCODING"], &[], Compare::Exact),
            ] {
                if has(&String::from_utf8_lossy(name[0]).to_ascii_lowercase()) {
                    let (expected, reply) = pair.both_words(&[name, &[key.text()], rest].concat());
                    let key_history: Vec<String> = history
                        .iter()
                        .rev()
                        .filter(|sent| sent.words[1..].iter().any(|word| word == key.text()))
                        .take(HISTORY_SHOWN)
                        .map(line)
                        .collect();
                    assert!(
                        alike(compare, &expected, &reply) || is_known(name[0], &expected, &reply),
                        "seed {seed}: {} of {key} in database {database}: Redis {expected}, Torc {reply}\n\
                         last commands first:\n{}",
                        String::from_utf8_lossy(name[0]),
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
    ("dump", "its bytes carry the version of the format"),
    ("restore-asking", "needs the bytes of DUMP"),
    ("migrate", "needs another server"),
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
            let mut shapes = SHAPES.iter().chain(waiting::shapes());
            !shapes.any(|shape| shape.words.starts_with(&format!("{words} ")))
        })
        .collect();
    assert!(missing.is_empty(), "no shape draws {missing:?}");
}
