//! Runs cases: against Torc under every configuration, and against Redis.

use std::collections::{BTreeSet, HashMap};
use std::io;

use super::expect::{self, Pattern};
use super::{Case, FAMILIES};
use crate::harness::tls::Authority;
use crate::harness::{Client, Server, Value, command, split, until};

/// A case's connections and what it kept.
struct Run<'a> {
    server: &'a Server,
    protocol: u8,
    clients: HashMap<char, (Client, u8)>,
    kept: HashMap<String, Vec<u8>>,
}

/// A step's request, taken apart.
struct Request {
    connection: char,
    until: bool,
    words: Vec<Vec<u8>>,
    raw: bool,
}

fn request(text: &str) -> Request {
    let mut rest = text;
    let mut connection = 'a';
    if let [letter @ b'a'..=b'z', b'>', ..] = rest.as_bytes() {
        connection = char::from(*letter);
        rest = rest[2..].trim_ascii_start();
    }
    let after = rest.strip_prefix("until ");
    let until = after.is_some();
    rest = after.unwrap_or(rest);
    let after = rest.strip_prefix("raw ");
    Request { connection, until, words: split(after.unwrap_or(rest)), raw: after.is_some() }
}

/// The names of the commands and subcommands that cases ask for, as `get` and `client|list`.
pub fn named_commands() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for step in FAMILIES.iter().flat_map(|(_, cases)| *cases).flat_map(|case| case.steps) {
        let words = request(step.0).words;
        let word = |index: usize| {
            words
                .get(index)
                .map(|word| String::from_utf8_lossy(word).to_ascii_lowercase())
                .unwrap_or_default()
        };
        names.insert(word(0));
        names.insert(format!("{}|{}", word(0), word(1)));
    }
    names
}

/// Runs the cases on `server` that `chosen` picks, in RESP2 and RESP3; one line for each that failed.
fn run_all(
    server: &mut Server,
    mut restart: impl FnMut() -> Server,
    chosen: impl Fn(&Case) -> bool,
) -> Vec<String> {
    let filter = std::env::var("TORC_CASES").unwrap_or_default();
    let mut failures = Vec::new();
    for (family, case) in
        FAMILIES.iter().flat_map(|(family, cases)| cases.iter().map(move |case| (family, case)))
    {
        if !case.name.contains(&filter) || !chosen(case) {
            continue;
        }
        for protocol in [2, 3] {
            let mut run = Run { server, protocol, clients: HashMap::new(), kept: HashMap::new() };
            let outcome = run.case(case);
            drop(run);
            let name = case.name;
            if let Some(status) = server.exit_status() {
                let log = server.log();
                failures.push(format!("{family}: {name}: RESP{protocol}: the server ended: {status}\n{log}"));
                *server = restart();
            } else if let Err(failure) = outcome {
                failures.push(format!("{family}: {name}: RESP{protocol}: {failure}"));
                // What the case would have put back is left as it was.
                *server = restart();
            }
        }
    }
    failures
}

impl Run<'_> {
    fn case(&mut self, case: &Case) -> Result<(), String> {
        self.client('a')?.0.call(&["FLUSHALL"]);
        for (request, expected) in case.steps {
            self.step(request, expected).map_err(|failure| format!("{request}: {failure}"))?;
        }
        // Replies that nobody asked for would be found here.
        for (letter, (client, _)) in &mut self.clients {
            client.set_nonblocking(true);
            match client.read() {
                Ok(reply) => return Err(format!("connection {letter} has an unexpected reply: {reply}")),
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    return Err(format!("connection {letter}: {error}"));
                }
                Err(_) => {}
            }
        }
        Ok(())
    }

    fn step(&mut self, text: &str, expected: &str) -> Result<(), String> {
        let mut request = request(text);
        for word in &mut request.words {
            if let [b'$', name @ ..] = &word[..]
                && let Some(kept) = std::str::from_utf8(name).ok().and_then(|name| self.kept.get(name))
            {
                *word = kept.clone();
            }
        }
        let (expected, keep) = match expected.rsplit_once(" -> ") {
            Some((expected, name)) => (expected, Some(name.trim_ascii().to_owned())),
            None => (expected, None),
        };
        let (client, speaks) = self.client(request.connection)?;
        *speaks = protocol_after(&request.words, *speaks);
        let mut last = None;
        let mut failure = String::new();
        let mut attempt = || {
            let outcome = exchange(client, &request, expected, *speaks);
            match outcome {
                Ok(value) => last = value,
                Err(error) => failure = error,
            }
            last.is_some() || !request.until
        };
        if request.until {
            if !until(&mut attempt) {
                return Err(format!("never: {failure}"));
            }
            failure.clear();
        } else {
            attempt();
        }
        if !failure.is_empty() {
            return Err(failure);
        }
        if let Some(name) = keep {
            let value = last.ok_or("there is no reply to keep")?;
            let text = match &value {
                Value::Int(number) => number.to_string().into_bytes(),
                other => other.text().to_vec(),
            };
            self.kept.insert(name, text);
        }
        Ok(())
    }

    /// A connection of the case and the protocol it speaks.
    fn client(&mut self, letter: char) -> Result<&mut (Client, u8), String> {
        if !self.clients.contains_key(&letter) {
            let mut client = self.server.tcp_client();
            let mut speaks = 2;
            if self.protocol == 3 {
                let hello = client.call(&["HELLO", "3"]);
                match hello {
                    // A connection that has yet to authenticate begins in RESP2.
                    Value::Error(error) if error.starts_with(b"NOAUTH") => {}
                    Value::Error(_) => return Err(format!("HELLO 3: {hello}")),
                    _ => speaks = 3,
                }
            }
            self.clients.insert(letter, (client, speaks));
        }
        Ok(self.clients.get_mut(&letter).expect("it was just made"))
    }
}

/// The protocol a connection speaks after this request.
fn protocol_after(words: &[Vec<u8>], speaks: u8) -> u8 {
    let is =
        |index: usize, word: &str| words.get(index).is_some_and(|w| w.eq_ignore_ascii_case(word.as_bytes()));
    match (is(0, "HELLO"), is(0, "RESET")) {
        (true, _) if is(1, "2") => 2,
        (true, _) if is(1, "3") => 3,
        (_, true) => 2,
        _ => speaks,
    }
}

/// Sends the request and compares what comes back; the last reply.
fn exchange(
    client: &mut Client,
    request: &Request,
    expected: &str,
    protocol: u8,
) -> Result<Option<Value>, String> {
    let bytes = match &request.words[..] {
        [] => Vec::new(),
        [bytes] if request.raw => bytes.clone(),
        words => {
            assert!(!request.raw, "raw takes one word");
            command(words)
        }
    };
    client.send_raw(&bytes).map_err(|error| format!("cannot send: {error}"))?;
    let mut last = None;
    if expected.trim_ascii().is_empty() {
        return Ok(last);
    }
    for one in expected.split(" ;; ") {
        if one.trim_ascii() == "<closed>" {
            match client.read() {
                Ok(reply) => return Err(format!("expected the end of the connection, got {reply}")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err("it stays open".into()),
                Err(_) => continue,
            }
        }
        let pattern: Pattern = expect::parse(one);
        let reply = client.read().map_err(|error| format!("expected {one}, got {error}"))?;
        if !pattern.matches(&reply, protocol) {
            return Err(format!("expected {one}, got {reply}"));
        }
        last = Some(reply);
    }
    Ok(last)
}

#[track_caller]
fn check(args: &[&str]) {
    let all = [args, &["--enable-debug-command", "yes"]].concat();
    let start = || Server::start_tcp(&all);
    let failures = run_all(&mut start(), start, |_| true);
    assert!(failures.is_empty(), "{} cases failed with {args:?}:\n{}", failures.len(), failures.join("\n"));
}

macro_rules! configurations {
    ($($name:ident: $args:expr;)*) => {
        $(#[test] fn $name() { check(&$args); })*
    };
}

configurations! {
    uring_1_worker: ["--io-backend", "io_uring", "--workers", "1"];
    uring_3_workers: ["--io-backend", "io_uring", "--workers", "3"];
    epoll_1_worker: ["--io-backend", "epoll", "--workers", "1"];
    epoll_3_workers: ["--io-backend", "epoll", "--workers", "3"];
    uring_tiny_buffers:
        ["--io-backend", "io_uring", "--workers", "3", "--receive-buffer-bytes", "64", "--receive-buffers", "16"];
    epoll_tiny_buffers:
        ["--io-backend", "epoll", "--workers", "1", "--receive-buffer-bytes", "64", "--receive-buffers", "16"];
    one_shard: ["--workers", "3", "--shards", "1"];
}

/// Each is only one more way for the same bytes, so one configuration is enough.
#[test]
fn over_tls() {
    let authority = Authority::new();
    let args = ["--io-backend", "io_uring", "--workers", "3", "--enable-debug-command", "yes"];
    let start = || Server::start_tls(&authority, &args);
    let failures = run_all(&mut start(), start, |_| true);
    assert!(failures.is_empty(), "{} cases failed over TLS:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn expectations_hold_on_redis() {
    let start = || Server::redis_tcp(&["--enable-debug-command", "yes"]);
    let oracle = |case: &Case| !case.name.starts_with("torc:") && !case.name.starts_with("valkey:");
    let failures = run_all(&mut start(), start, oracle);
    assert!(failures.is_empty(), "{} cases do not hold on Redis:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn expectations_of_valkey_hold_there() {
    let start = || Server::newest_tcp("valkey-server", &[]);
    let failures = run_all(&mut start(), start, |case| case.name.starts_with("valkey:"));
    assert!(failures.is_empty(), "{} cases do not hold on Valkey:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn names_are_unique_in_their_family() {
    for (family, cases) in FAMILIES {
        let mut names = BTreeSet::new();
        for case in *cases {
            assert!(names.insert(case.name), "{family}: two cases are called {:?}", case.name);
        }
    }
}
