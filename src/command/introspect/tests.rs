//! The rows against what is known of Redis 7.4 (`tests/data/commands.tsv`) and, where there is one, against a real server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process;

use redis::Value;

use super::super::row::{Begin, Find, KeySpec};
use super::super::{Categories, Row, table};
use super::info;
use crate::resp::{Output, Protocol, Reply};

/// Flags that `COMMAND INFO` does not show, or that follow from the key specifications.
const UNSEEN: &[&str] =
    &["", "sentinel", "only_sentinel", "protected", "touches_arbitrary_keys", "movablekeys"];

fn words(text: &str) -> BTreeSet<String> {
    text.split(',').filter(|word| !UNSEEN.contains(word)).map(str::to_owned).collect()
}

/// Specifications in the notation of the table of facts: `i1|r0/1/0`, `kw:KEYS@-2|n0/1/1`.
fn specs(specs: &[KeySpec]) -> String {
    let shown = specs.iter().map(|spec| {
        let begin = match spec.begin {
            Begin::Index(index) => format!("i{index}"),
            Begin::Keyword(word, from) => format!("kw:{word}@{from}"),
            Begin::Unknown(_) => "unknown".to_owned(),
        };
        let find = match spec.find {
            Find::Range { last, step, limit } => format!("r{last}/{step}/{limit}"),
            Find::Count { count, first, step } => format!("n{count}/{first}/{step}"),
            Find::Unknown => "unknown".to_owned(),
        };
        format!("{begin}|{find}")
    });
    shown.collect::<Vec<_>>().join(";")
}

fn facts(row: &Row) -> [(&'static str, BTreeSet<String>); 6] {
    let command = &row.command;
    let info::KeyRange { first, last, step } = info::key_range(command.keys).0;
    let flags: Vec<_> = info::flags(command).collect();
    let categories: Vec<_> = Categories::of(command).names().collect();
    [
        ("arity", words(&command.arity.to_string())),
        ("flags", words(&flags.join(","))),
        ("keys", words(&specs(command.keys))),
        ("range", words(&format!("{first}/{last}/{step}"))),
        ("categories", words(&categories.join(","))),
        ("tips", words(&command.tips.join(","))),
    ]
}

#[test]
fn rows_say_what_redis_says() {
    let lines = include_str!("../../../tests/data/commands.tsv").lines().skip(1);
    let known: BTreeMap<&str, Vec<&str>> = lines
        .map(|line| line.split('\t').collect::<Vec<_>>())
        .map(|fields| (fields[0], fields[1..].to_vec()))
        .collect();
    let mut wrong = Vec::new();
    for row in table().rows() {
        let Some(known) = known.get(row.full_name.as_str()) else {
            wrong.push(format!("{}: Redis 7.4 has no such command", row.full_name));
            continue;
        };
        for ((what, here), there) in facts(row).iter().zip(known) {
            if *there != "?" && *here != words(there) {
                wrong.push(format!("{}: {what} {here:?}, in Redis {there}", row.full_name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn ranges_cover_specifications_that_follow_each_other() {
    use super::super::row::{KeyAccess, key_at, keys_from};
    let read = |index| key_at(index, KeyAccess::Read);
    let range = |specs: &[KeySpec]| {
        let (info::KeyRange { first, last, step }, misses) = info::key_range(specs);
        (first, last, step, misses)
    };
    assert_eq!(range(&[]), (0, 0, 0, false));
    assert_eq!(range(&[read(1), read(2)]), (1, 2, 1, false));
    assert_eq!(range(&[read(1), read(3)]), (1, 1, 1, true));
    assert_eq!(range(&[keys_from(2, -1, 1, KeyAccess::Read)]), (2, -1, 1, false));
    assert_eq!(range(&[keys_from(1, -1, 2, KeyAccess::Insert)]), (1, -1, 2, false));
    let counted = Find::Count { count: 0, first: 1, step: 1 };
    let counted = KeySpec { access: KeyAccess::Read, begin: Begin::Index(2), find: counted };
    assert_eq!(range(&[read(1), counted]), (1, 1, 1, true));
}

/// A Redis server of this host on a socket of its own.
struct Oracle(process::Child, PathBuf);

impl Oracle {
    fn start() -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("torc-introspect-{}", process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of its own");
        let mut server = process::Command::new("redis-server")
            .args(["--port", "0", "--save", "", "--unixsocket", "s"])
            .current_dir(&folder)
            .stdout(process::Stdio::piped())
            .spawn()
            .ok()?;
        let log = BufReader::new(server.stdout.take().expect("its output is a pipe")).lines();
        let ready = log.map_while(Result::ok).any(|line| line.contains("eady to accept"));
        assert!(ready, "the oracle starts");
        Some(Self(server, folder))
    }

    fn ask(&self, words: &[&str]) -> Value {
        let mut stream = UnixStream::connect(self.1.join("s")).expect("the oracle listens");
        let mut request = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            request.arg(*word);
        });
        std::io::Write::write_all(&mut stream, &request.get_packed_command()).expect("it reads");
        redis::Parser::new().parse_value(stream).expect("it replies")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        // The test's verdict does not depend on how the oracle ends.
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

/// An element of a reply with the order of sets and the notes of key specifications left out.
fn normal(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            let is_note = |item: &Value| *item == Value::BulkString(b"notes".to_vec());
            let from = if items.first().is_some_and(is_note) { 2 } else { 0 };
            let mut items: Vec<_> = items[from..].iter().map(normal).collect();
            if matches!(value, Value::Array(items) if items.iter().all(|item| matches!(item, Value::SimpleString(_))))
            {
                items.sort();
            }
            format!("[{}]", items.join(" "))
        }
        Value::BulkString(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        other => format!("{other:?}"),
    }
}

/// What Redis 7.4 has changed since the version that hosts usually have; the table of facts has the new words.
const CHANGED: &[(&str, usize)] = &[
    ("command|getkeys", 1),
    ("command|getkeysandflags", 1),
    ("scan", 7),
    ("randomkey", 7),
    ("client|setname", 7),
    ("wait", 2),
    ("wait", 6),
    ("blmove", 2),
    ("blpop", 2),
    ("brpop", 2),
    ("brpoplpush", 2),
];

#[test]
fn info_is_that_of_a_real_server() {
    let Some(oracle) = Oracle::start() else { return };
    let mut wrong = Vec::new();
    for row in table().rows() {
        let theirs = oracle.ask(&["COMMAND", "INFO", &row.full_name]);
        let Value::Array(theirs) = theirs else { panic!("an array of one") };
        let Value::Array(theirs) = &theirs[0] else { continue };
        let mut output = Output::new();
        info::write(table(), row, &mut Reply::new(&mut output, Protocol::Resp2));
        let ours = redis::parse_redis_value(&output.to_vec()).expect("a reply");
        let Value::Array(ours) = ours else { panic!("an array") };
        assert_eq!((ours.len(), theirs.len()), (10, 10));
        for index in (0..9).filter(|index| !CHANGED.contains(&(&row.full_name, *index))) {
            let (ours, theirs) = (normal(&ours[index]), normal(&theirs[index]));
            if ours != theirs {
                wrong.push(format!("{} {index}: {ours}, there {theirs}", row.full_name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
