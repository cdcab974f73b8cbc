//! The rows against what Redis 8.2 says of its commands: as a table (`tests/data/commands.tsv`, made by `commands.py` beside
//! it), and by asking a server where `tests/run` has installed one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process;

use redis::Value;

use super::super::row::{Begin, Find, KeySpec};
use super::super::{Categories, Row, help, table};
use super::info;
use crate::config::{OTHER_COMMANDS, REDIS_COMMANDS};
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
    for row in table().rows().iter().filter(|row| !is_newer(row.command.since)) {
        let Some(known) = known.get(row.full_name.as_str()) else {
            wrong.push(format!("{}: Redis 8.2 has no such command", row.full_name));
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

/// Whether a command came after Redis 8.2, which these tests compare with, or is Torc's own.
fn is_newer(since: &str) -> bool {
    if since == crate::config::TORC_VERSION {
        return true;
    }
    let mut parts = since.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (parts.next(), parts.next()) > (Some(8), Some(2))
}

/// `rename-command` is checked against a list that the configuration has.
#[test]
fn every_command_can_be_renamed() {
    let unknown: Vec<&str> = table()
        .commands()
        .map(|row| row.command.name)
        .filter(|name| !REDIS_COMMANDS.contains(name) && !OTHER_COMMANDS.contains(name))
        .collect();
    assert_eq!(unknown, Vec::<&str>::new());
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
    let counted =
        KeySpec { access: KeyAccess::Read, begin: Begin::Index(2), find: counted, is_incomplete: false };
    assert_eq!(range(&[read(1), counted]), (1, 1, 1, true));
}

/// A Redis server of this host on a socket of its own.
struct Oracle(process::Child, PathBuf);

impl Oracle {
    fn start(name: &str) -> Option<Self> {
        let folder = std::env::temp_dir().join(format!("torc-introspect-{name}-{}", process::id()));
        std::fs::create_dir_all(&folder).expect("a folder of its own");
        let program = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/newest/redis-server");
        let mut server = process::Command::new(program)
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
        let url = format!("unix://{}", self.1.join("s").display());
        let connection = redis::Client::open(url).and_then(|client| client.get_connection());
        let mut request = redis::cmd(words[0]);
        words[1..].iter().for_each(|word| {
            request.arg(*word);
        });
        request.query(&mut connection.expect("the oracle listens")).expect("it replies")
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

/// The arguments that COMMAND DOCS lists, without those that came after Redis 8.2.
fn arguments(value: &Value) -> String {
    let Value::Array(list) = value else { panic!("arguments are listed: {value:?}") };
    let shown = list.iter().filter_map(|argument| {
        let Value::Array(fields) = argument else { panic!("an argument has fields: {argument:?}") };
        if field(fields, "since").map(normal).is_some_and(|since| is_newer(&since)) {
            return None;
        }
        let shown = fields.chunks_exact(2).map(|pair| match normal(&pair[0]).as_str() {
            "arguments" => arguments(&pair[1]),
            name => format!("{name} {}", normal(&pair[1])),
        });
        Some(format!("[{}]", shown.collect::<Vec<_>>().join(" ")))
    });
    shown.collect::<Vec<_>>().join(" ")
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

#[test]
fn info_is_that_of_a_real_server() {
    let Some(oracle) = Oracle::start("info") else { return };
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
        for index in 0..9 {
            let (ours, theirs) = (normal(&ours[index]), normal(&theirs[index]));
            if ours != theirs {
                wrong.push(format!("{} {index}: {ours}, there {theirs}", row.full_name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Longest sentence, in words, that two servers may have in common: `O(1)`, `LIST [option ...]`.
const COMMON_WORDS_MAX: usize = 4;

/// The value of a name in a reply that alternates them.
fn field<'v>(pairs: &'v [Value], name: &str) -> Option<&'v Value> {
    pairs.chunks_exact(2).find(|pair| normal(&pair[0]) == name).map(|pair| &pair[1])
}

/// What COMMAND DOCS says of each command and subcommand.
fn documented<'v>(docs: &'v Value, into: &mut BTreeMap<String, &'v [Value]>) {
    let Value::Array(entries) = docs else { panic!("an array of names and texts: {docs:?}") };
    for entry in entries.chunks_exact(2) {
        let Value::Array(fields) = &entry[1] else { panic!("an array of fields: {:?}", entry[1]) };
        into.insert(normal(&entry[0]), fields);
        if let Some(subcommands) = field(fields, "subcommands") {
            documented(subcommands, into);
        }
    }
}

fn line(value: &Value) -> String {
    match value {
        Value::SimpleString(text) => text.clone(),
        other => panic!("a line of HELP: {other:?}"),
    }
}

#[test]
fn docs_have_the_facts_of_redis_and_none_of_its_sentences() {
    let Some(oracle) = Oracle::start("docs") else { return };
    let mut output = Output::new();
    super::docs::write_all(table(), &mut Reply::new(&mut output, Protocol::Resp2));
    let ours = redis::parse_redis_value(&output.to_vec()).expect("a reply");
    let theirs = oracle.ask(&["COMMAND", "DOCS"]);
    let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
    documented(&ours, &mut here);
    documented(&theirs, &mut there);
    let mut wrong = Vec::new();
    for (name, fields) in &here {
        let since = field(fields, "since").map(normal).unwrap_or_default();
        if is_newer(&since) {
            continue;
        }
        let Some(known) = there.get(name) else {
            wrong.push(format!("{name} is not documented there"));
            continue;
        };
        for fact in ["since", "group", "doc_flags", "deprecated_since", "replaced_by", "arguments"] {
            let shown = if fact == "arguments" { arguments } else { normal };
            let (ours, theirs) = (field(fields, fact).map(shown), field(known, fact).map(shown));
            if ours != theirs {
                wrong.push(format!("{name}: {fact} {ours:?}, there {theirs:?}"));
            }
        }
        for sentence in ["summary", "complexity"] {
            let (ours, theirs) = (field(fields, sentence).map(normal), field(known, sentence).map(normal));
            if ours == theirs && ours.as_ref().is_some_and(|text| text.split(' ').count() > COMMON_WORDS_MAX)
            {
                wrong.push(format!("{name}: {sentence} is Redis's: {ours:?}"));
            }
        }
    }
    let containers = table().commands().filter(|row| !row.subrows.is_empty() && !is_newer(row.command.since));
    for row in containers {
        let mut output = Output::new();
        help::write(table(), row, row.full_name.as_bytes(), &mut Reply::new(&mut output, Protocol::Resp2));
        let ours = redis::parse_redis_value(&output.to_vec()).expect("a reply");
        let theirs = oracle.ask(&[&row.full_name, "help"]);
        let (Value::Array(ours), Value::Array(theirs)) = (&ours, &theirs) else { panic!("arrays of lines") };
        let theirs: Vec<String> = theirs.iter().map(line).collect();
        for line in ours.iter().map(line) {
            if theirs.contains(&line) && line.split_whitespace().count() > COMMON_WORDS_MAX {
                wrong.push(format!("{} HELP: a line is Redis's: {line:?}", row.full_name));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(here.len() > 100, "{} are documented", here.len());
}
