//! What commands change, compared with Redis 8.2 case by case: `data/effects.tsv`, which `data/effects.py` fills from it. What is
//! newer stands in `data/effects-newer.tsv`, as far as it is known.
//!
//! Compared is by how much `rdb_changes_since_last_save` grows, what Redis appends to its append-only file, and which events it
//! publishes. Cases of commands that do not exist yet are passed over. A client that has subscribed to all events is told of those
//! that are recorded.

use std::collections::BTreeSet;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{Client, Server, Value, split, until};

/// What a case may leave behind.
const RESETS: &[&str] = &[
    "RESET",
    "FLUSHALL",
    "FUNCTION FLUSH",
    "DEBUG SET-ACTIVE-EXPIRE 1",
    "CONFIG SET maxmemory 0 maxmemory-policy noeviction list-max-listpack-size -2 hash-max-listpack-entries 512 stream-node-max-entries 100",
    "CONFIG SET lazyfree-lazy-eviction no",
    "CONFIG SET lazyfree-lazy-expire no lazyfree-lazy-server-del no lazyfree-lazy-user-del no lazyfree-lazy-user-flush no",
];
/// Times that are no further from now than this, in ms, are written as <now+N>.
const CLOCK_MS_MAX: i64 = 1_000_000_000;
/// How often a case runs again because INFO may have been out of date.
const STALE_MAX: usize = 5;
/// Cases that differ, and why.
const DIFFERENT: &[(&str, &str)] = &[
    // Here WATCH removes a key whose deadline has come, so that its being removed later is no change to who watches it.
    ("DEBUG SET-ACTIVE-EXPIRE 0 ; SET k v PX 1 ; DEBUG SLEEP 0.002", "WATCH k"),
    // The string has become longer, which replicas and files of Redis are not told.
    ("SET k a", "BITFIELD k OVERFLOW FAIL INCRBY u8 100 300"),
    ("-", "BITFIELD k OVERFLOW FAIL INCRBY u8 0 300"),
    (
        "DEBUG SET-ACTIVE-EXPIRE 0 ; SET k v PX 1 ; DEBUG SLEEP 0.002",
        "BITFIELD k OVERFLOW FAIL INCRBY u8 0 300",
    ),
];

/// A line of the file.
struct Case {
    setup: &'static str,
    command: &'static str,
    dirty: u64,
    effects: &'static str,
    events: &'static str,
}

impl Case {
    fn all() -> impl Iterator<Item = Case> {
        let newer = include_str!("data/effects-newer.tsv").lines().skip(1);
        include_str!("data/effects.tsv").lines().skip(1).chain(newer).map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            let [setup, command, dirty, effects, events] = columns[..] else {
                panic!("five columns: {line}")
            };
            Case { setup, command, dirty: dirty.parse().expect("a number"), effects, events }
        })
    }

    /// The names of its commands, in lower case.
    fn names(&self) -> impl Iterator<Item = String> {
        self.words().map(|mut words| words.next().expect("a step is a command").to_ascii_lowercase())
    }

    /// What their names are if they are subcommands: `xgroup|create`.
    fn subcommands(&self) -> impl Iterator<Item = String> {
        self.words().map(|words| words.take(2).collect::<Vec<_>>().join("|").to_ascii_lowercase())
    }

    fn words(&self) -> impl Iterator<Item = std::str::SplitWhitespace<'static>> {
        let steps = steps(self.setup).chain(steps(self.command)).filter(|step| !step.starts_with("<until"));
        steps.map(|step| {
            let command = other_client(step).or(many(step).map(|(_, command)| command));
            command.unwrap_or(step).split_whitespace()
        })
    }

    /// What is different from what it should be.
    fn differences(&self, dirty: u64, effects: &[String], events: &[String]) -> String {
        let (effects, events) = (joined(effects, " | "), joined(events, " ; "));
        let mut found = String::new();
        if dirty != self.dirty {
            found += &format!("  dirty {dirty}, not {}\n", self.dirty);
        }
        if !matches(&effects, self.effects) {
            found += &format!("  effects {effects}\n      not {}\n", self.effects);
        }
        if events != self.events {
            found += &format!("  events {events}\n     not {}\n", self.events);
        }
        found
    }
}

/// The steps of a column.
fn steps(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.split(" ; ").filter(|step| *step != "-")
}

/// The command of a step that another client sends, which is to wait for a key.
fn other_client(step: &str) -> Option<&str> {
    step.strip_prefix("<B> ").or_else(|| step.strip_prefix("<C> "))
}

/// The command of a step that has many words more, and how many.
fn many(step: &str) -> Option<(usize, &str)> {
    let (count, command) = step.strip_prefix("<many ")?.split_once("> ")?;
    Some((count.parse().expect("a number"), command))
}

fn joined(parts: &[String], separator: &str) -> String {
    if parts.is_empty() { "-".to_owned() } else { parts.join(separator) }
}

/// Whether words are the same, but for those that may be any.
fn matches(found: &str, wanted: &str) -> bool {
    let times = |word: &str| {
        word.strip_prefix("<any*").map_or(1, |rest| rest.trim_end_matches('>').parse().expect("a number"))
    };
    let wanted = wanted.split(' ').flat_map(|word| {
        let is_many = word.starts_with("<any*");
        std::iter::repeat_n(if is_many { "<any>" } else { word }, times(word))
    });
    let (found, wanted): (Vec<_>, Vec<_>) = (found.split(' ').collect(), wanted.collect());
    found.len() == wanted.len()
        && found.iter().zip(&wanted).all(|(found, wanted)| found == wanted || *wanted == "<any>")
}

/// Runs steps; returns the other clients that were needed.
fn run(server: &Server, client: &mut Client, text: &'static str) -> Vec<Client> {
    let mut others = Vec::new();
    let before = if text.contains("<until ") { stats(client) } else { String::new() };
    for step in steps(text) {
        if let Some(what) = step.strip_prefix("<until ") {
            let (name, count) = what.trim_end_matches('>').split_once(' ').expect("a name and a number");
            let wanted = number(&before, name) + count.parse::<u64>().expect("a number");
            assert!(until(|| number(&stats(client), name) >= wanted), "{step}");
        } else if let Some((count, command)) = many(step) {
            let words =
                split(command).into_iter().chain((0..count).map(|number| format!("m{number}").into_bytes()));
            client.call(&words.collect::<Vec<_>>());
        } else if let Some(command) = other_client(step) {
            let blocked = blocked_clients(client);
            let mut other = server.client();
            other.send(&split(command)).expect("it reads");
            assert!(until(|| blocked_clients(client) > blocked), "{step} does not wait");
            others.push(other);
        } else {
            let mut words = split(step);
            let mut reply = client.call(&words);
            // A lease that another worker has ends a SCAN early.
            while words[0] == b"SCAN"
                && let Value::Array(parts) = &reply
                && parts[0].text() != b"0"
            {
                words[1] = parts[0].text().to_vec();
                reply = client.call(&words);
            }
        }
    }
    others
}

fn stats(client: &mut Client) -> String {
    client.ask("INFO stats").string()
}

fn blocked_clients(client: &mut Client) -> u64 {
    number(&client.ask("INFO clients").string(), "blocked_clients")
}

fn number(info: &str, name: &str) -> u64 {
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.expect("INFO has it").parse().expect("a number")
}

fn dirty(client: &mut Client) -> u64 {
    number(&client.ask("INFO persistence").string(), "rdb_changes_since_last_save")
}

/// What DEBUG CHANGES has recorded, as the file writes it.
fn take_changes(client: &mut Client) -> (Vec<String>, Vec<String>) {
    let reply = client.ask("DEBUG CHANGES TAKE");
    let [effects, events] = &reply.elements()[..] else { panic!("two arrays: {reply}") };
    let effects = effects.elements().into_iter().map(|effect| {
        let effect = effect.elements();
        let (db, words) = effect.split_first().expect("a database");
        let words: Vec<_> = words.iter().map(|word| shown(&bytes_of(word))).collect();
        words.join(" ") + &at(db)
    });
    let events = events.elements().into_iter().map(|event| {
        let [db, class, name, key] = &event.elements()[..] else { panic!("four parts: {event}") };
        assert_eq!(class.string().len(), 1);
        format!("{} {}{}", name.string(), quoted(&bytes_of(key)), at(db))
    });
    (effects.collect(), events.collect())
}

fn bytes_of(value: &Value) -> Vec<u8> {
    let Value::Bulk(bytes) = value else { panic!("no text: {value}") };
    bytes.clone()
}

fn at(db: &Value) -> String {
    match db {
        Value::Int(0) => String::new(),
        Value::Int(number) => format!("@{number}"),
        other => panic!("no number: {other}"),
    }
}

/// A word, or what it says about the time.
fn shown(word: &[u8]) -> String {
    let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let text = String::from_utf8_lossy(word);
    let away = text.parse::<i64>().ok().filter(|_| word.len() == 13).map(|number| number - now_ms);
    match away.filter(|away| away.abs() < CLOCK_MS_MAX) {
        Some(away) => format!("<now+{}>", -(-away).div_euclid(1000) * 1000),
        None => quoted(word),
    }
}

fn quoted(word: &[u8]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_graphic() && !b"\"'\\;|".contains(byte);
    if !word.is_empty() && word.iter().all(is_plain) {
        return String::from_utf8_lossy(word).into_owned();
    }
    let escaped = word.iter().map(|byte| match byte {
        b'"' | b'\\' => format!("\\x{byte:02x}"),
        b' '..=b'~' => char::from(*byte).to_string(),
        _ => format!("\\x{byte:02x}"),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// A client that is told of all events, and told apart by this channel which case they belong to.
const CASE_ENDS: &str = "__key_case_ends";

fn listener(server: &Server, client: &mut Client) -> Client {
    assert_eq!(client.ask("CONFIG SET notify-keyspace-events KEAmnoc").string(), "OK");
    let mut listener = server.client();
    listener.ask("PSUBSCRIBE __key*");
    listener
}

/// The events that a listener was told of since the last case, as the file writes them. Of each there is a message about the key
/// and then one about the event.
fn take_told(client: &mut Client, listener: &mut Client) -> Vec<String> {
    assert_eq!(client.ask(&format!("PUBLISH {CASE_ENDS} x")).int(), Some(1));
    let (mut told, mut of_key) = (Vec::new(), None);
    loop {
        let message = listener.read().expect("a message").elements();
        let [_, _, channel, text] = &message[..] else { panic!("four parts") };
        let (channel, text) = (bytes_of(channel), bytes_of(text));
        if channel == CASE_ENDS.as_bytes() {
            assert!(of_key.is_none());
            return told;
        }
        let shown = String::from_utf8_lossy(&channel).into_owned();
        let (space, rest) = shown.split_once('@').expect("a database");
        let (db, _) = rest.split_once("__:").expect("a key or an event");
        let behind = &channel[space.len() + 1 + db.len() + "__:".len()..];
        let db = Value::Int(db.parse().expect("a number"));
        if space == "__keyspace" {
            of_key = Some(format!("{} {}{}", String::from_utf8_lossy(&text), quoted(behind), at(&db)));
        } else {
            let event = format!("{} {}{}", String::from_utf8_lossy(behind), quoted(&text), at(&db));
            assert_eq!(of_key.take().as_ref(), Some(&event));
            told.push(event);
        }
    }
}

/// Runs a case: what is different from what it should be.
fn differences_of(case: &Case, server: &Server, client: &mut Client, listener: &mut Client) -> String {
    RESETS.iter().for_each(|reset| drop(client.call(&split(reset))));
    run(server, client, case.setup);
    client.ask("DEBUG CHANGES START");
    take_told(client, listener);
    let before = dirty(client);
    let others = run(server, client, case.command);
    let counted = dirty(client).saturating_sub(before);
    let (effects, events) = take_changes(client);
    client.ask("DEBUG CHANGES STOP");
    drop(others);
    assert!(until(|| blocked_clients(client) == 0));
    let mut told = take_told(client, listener);
    // What workers do at the same time to different keys may be told in another order.
    let mut sorted = events.clone();
    told.sort();
    sorted.sort();
    let differences = case.differences(counted, &effects, &events);
    if told == sorted { differences } else { format!("{differences}  told {}\n", told.join(" ; ")) }
}

fn names_of(client: &mut Client, question: &str) -> BTreeSet<String> {
    client.ask(question).elements().iter().map(|name| name.string()).collect()
}

/// A push of three elements counted as one change, RENAME, MOVE and LMOVE as two, SWAPDB as none.
#[test]
fn changes_effects_and_events_are_those_of_redis() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers, "--enable-debug-command", "yes"]);
        let mut client = server.client();
        let mut listener = listener(&server, &mut client);
        let mut known = names_of(&mut client, "COMMAND LIST");
        known.insert("badcmd".to_owned()); // meant to be unknown
        let mut unseen = names_of(&mut client, "COMMAND LIST FILTERBY ACLCAT write");
        let (mut wrong, mut count) = (String::new(), 0);
        for case in Case::all().filter(|case| case.names().all(|name| known.contains(&name))) {
            let mut differences = differences_of(&case, &server, &mut client, &mut listener);
            // INFO says what a shard was, a tenth of a second ago at most, while another worker has its lease.
            for _ in 0..STALE_MAX {
                if !differences.lines().any(|line| line.starts_with("  dirty ")) {
                    break;
                }
                differences = differences_of(&case, &server, &mut client, &mut listener);
            }
            let is_known = DIFFERENT.contains(&(case.setup, case.command));
            if differences.is_empty() == is_known {
                wrong += &format!("{} (after {})\n{differences}", case.command, case.setup);
                count += 1;
            }
            unseen.retain(|name| case.names().chain(case.subcommands()).all(|of_case| of_case != *name));
        }
        assert!(wrong.is_empty(), "{workers} workers, {count} cases:\n{wrong}");
        // It needs another server: `migrate` looks at what it leaves.
        unseen.remove("migrate");
        assert!(unseen.is_empty(), "no case of {unseen:?}");
    }
}

/// Nothing is recorded before anybody listens, nor after.
#[test]
fn changes_are_told_only_while_somebody_listens() {
    let server = Server::start(&["--workers", "2", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ask("SET k v");
    client.ask("DEBUG CHANGES START");
    assert_eq!(take_changes(&mut client), (vec![], vec![]));
    client.ask("SET k v");
    client.ask("DEBUG CHANGES STOP");
    assert_eq!(take_changes(&mut client), (vec![], vec![]));
    client.ask("SET k v");
    assert_eq!(take_changes(&mut client), (vec![], vec![]));
    // Within a transaction, whose other commands are a unit that nobody gets as a whole.
    for step in [
        "DEBUG CHANGES START",
        "MULTI",
        "SET a 1",
        "DEBUG CHANGES STOP",
        "EXEC",
        "DEBUG CHANGES START",
        "SET b 1",
    ] {
        client.ask(step);
    }
    assert_eq!(take_changes(&mut client).0, ["SET b 1"]);
    assert!(client.ask("DEBUG CHANGES").string().starts_with("ERR"));
    assert!(client.ask("DEBUG CHANGES PAUSE").string().starts_with("ERR"));
}

/// Commands of all clients are told, whichever worker they live on.
#[test]
fn changes_of_all_workers_are_told() {
    let server =
        Server::start(&["--workers", "3", "--active-workers-min", "3", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ask("DEBUG CHANGES START");
    let mut others: Vec<_> = (0..12).map(|_| server.client()).collect();
    for (number, other) in others.iter_mut().enumerate() {
        other.ask(&format!("SET key{number} {number}"));
    }
    let (effects, events) = take_changes(&mut client);
    let wanted: Vec<_> = (0..12).map(|number| format!("SET key{number} {number}")).collect();
    assert_eq!(effects, wanted);
    assert_eq!(events.len(), 24);
}

/// Expired and evicted keys are no changes of a command.
#[test]
fn evicted_keys_are_no_changes() {
    let server = Server::start(&["--workers", "1", "--maxmemory-policy", "allkeys-random"]);
    let mut client = server.client();
    for number in 0..2000 {
        client.call(&["SET".to_owned(), format!("key{number}"), "v".repeat(1000)]);
    }
    assert_eq!(dirty(&mut client), 2000);
    client.ask("CONFIG SET maxmemory 1");
    let set = client.ask("SET k v").string() == "OK"; // there may be room by now
    assert!(until(|| number(&stats(&mut client), "evicted_keys") > 0));
    assert_eq!(dirty(&mut client), 2000 + u64::from(set));
}
