//! Redis's own opinion: names, defaults, answers and globs compared with a real server, where there is one.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::process;

use super::tests::{Scratch, value};
use super::*;

/// Redis 8.2, where `tests/run` has put it.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.cache/newest/redis-server");

/// A Redis server to ask, if this host has one: on a Unix socket of its own.
struct Oracle {
    server: process::Child,
    socket: PathBuf,
    _scratch: Scratch,
}

impl Oracle {
    fn start(name: &str) -> Option<Self> {
        let scratch = Scratch::new(name);
        let socket = scratch.0.join("s");
        let server = process::Command::new(PROGRAM)
            .args(["--port", "0", "--save", "", "--enable-protected-configs", "yes", "--unixsocket"])
            .arg(&socket)
            .current_dir(&scratch.0)
            .stdout(process::Stdio::piped())
            .spawn()
            .ok()?;
        let mut oracle = Self { server, socket, _scratch: scratch };
        let log = oracle.server.stdout.take().expect("its output is a pipe");
        let ready = std::io::BufRead::lines(std::io::BufReader::new(log))
            .map_while(Result::ok)
            .any(|line| line.contains("now ready") || line.contains("Ready to accept"));
        assert!(ready, "the oracle starts");
        Some(oracle)
    }

    fn connection(&self) -> redis::Connection {
        let url = format!("unix://{}", self.socket.display());
        redis::Client::open(url).and_then(|client| client.get_connection()).expect("the oracle listens")
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn defaults_and_names_are_those_of_redis() {
    let Some(oracle) = Oracle::start("defaults") else { return };
    let theirs: HashMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg("*").query(&mut oracle.connection()).expect("CONFIG GET * works");
    // Set by the test itself, Torc's own name, or on where it is needed.
    let other =
        ["dir", "port", "save", "unixsocket", "enable-protected-configs", "syslog-ident", "activedefrag"];
    let default = Config::default();
    for (name, theirs) in theirs.iter().filter(|(name, _)| !other.contains(&name.as_str())) {
        assert_eq!(&value(&default, name), theirs, "{name}");
    }
    // The other way round: what only an exact name finds, and what Redis does not know.
    for directive in table().iter().filter(|known| !known.flags.has(Flags::OWN)) {
        let name = directive.name;
        let theirs: Vec<String> = redis::cmd("CONFIG")
            .arg("GET")
            .arg(name)
            .query(&mut oracle.connection())
            .expect("CONFIG GET works");
        match theirs.get(1) {
            Some(theirs) if !other.contains(&name) => assert_eq!(&value(&default, name), theirs, "{name}"),
            Some(_) => {}
            // This build of Redis is without TLS; streams know their producers since 8.6.
            None => assert!(
                ["tls-", "stream-idmp-"].iter().any(|newer| name.starts_with(newer)),
                "Redis does not know {name}"
            ),
        }
    }
}

#[test]
fn renamable_commands_are_those_of_redis() {
    let Some(oracle) = Oracle::start("commands") else { return };
    let theirs: HashSet<String> =
        redis::cmd("COMMAND").arg("LIST").query(&mut oracle.connection()).expect("COMMAND LIST works");
    // Modules are loaded after the file was read; those of this build are in capitals.
    let is_own =
        |name: &&str| !name.contains('|') && !name.starts_with(|first: char| first.is_ascii_uppercase());
    let theirs: HashSet<&str> = theirs.iter().map(String::as_str).filter(is_own).collect();
    assert_eq!(theirs, REDIS_COMMANDS.iter().copied().collect());
}

#[test]
fn set_answers_as_redis_does() {
    let Some(oracle) = Oracle::start("set") else { return };
    let mut connection = oracle.connection();
    let values = [
        "",
        " ",
        "x",
        "-1",
        "0",
        "1",
        "05",
        "+5",
        "101%",
        "50%",
        "4294967296",
        "99999999999999999999",
        "1.5gb",
        "1GB",
        "0x10",
        "yes",
        "NO",
        "save now",
        "save nosave",
        "default force",
        "debug",
        "local",
        "900 1",
        "900 1 60",
        "900  1",
        "1 2 3",
        "1 2 3000",
        "KEA",
        "Kgn",
        "AKE$m",
        "KQ",
        "50 99.999",
        "1e1 100.5",
        "normal 1mb 2k 3",
        "replica 1 2 3 x 4 5 6",
        "master 1 2 3",
        "pubsub 1 2 -3",
        "{title",
        "{x}",
        "a}{title}",
        "allkeys-lru",
        "ALWAYS",
    ];
    // Redis acts on the value, or is built without what it needs.
    let skipped = [
        "bind",
        "port",
        "activedefrag",
        "cluster-announce-hostname",
        "requirepass",
        // Which there are depends on the host.
        "locale-collate",
    ];
    let mut ours = Config { enable_protected_configs: ProtectedAction::Yes, ..Config::default() };
    let known: HashMap<String, String> =
        redis::cmd("CONFIG").arg("GET").arg("*").query(&mut connection).expect("CONFIG GET * works");
    let mut differences = Vec::new();
    for directive in table() {
        let name = directive.name;
        if skipped.contains(&name) || name.starts_with("tls-") || !known.contains_key(name) {
            continue;
        }
        for given in values {
            // Accidents of the C library's number parsers that nobody relies on.
            let accident = [
                ("oom-score-adj-values", "900  1"),
                ("maxmemory-clients", "99999999999999999999"),
                ("latency-tracking-info-percentiles", "0x10"),
            ];
            // What Torc refuses to pretend, until it does it.
            let refused = [
                ("appendonly", "yes"),
                ("shutdown-on-sigint", "save now"),
                ("shutdown-on-sigterm", "save now"),
            ];
            if accident.contains(&(name, given)) || refused.contains(&(name, given)) {
                continue;
            }
            let theirs: redis::RedisResult<String> =
                redis::cmd("CONFIG").arg("SET").arg(name).arg(given).query(&mut connection);
            let mine = set(&ours, &[(name, given)], Caller::Local);
            match (theirs, mine) {
                (Ok(_), Ok(next)) => ours = next,
                (Err(theirs), Err(mine)) => {
                    let theirs = format!("ERR {}", theirs.detail().unwrap_or_default());
                    if mine.to_string() != theirs {
                        differences
                            .push(format!("{name} {given:?}: Redis {theirs:?}, Torc {:?}", mine.to_string()));
                    }
                }
                (theirs, mine) => {
                    differences
                        .push(format!("{name} {given:?}: Redis {theirs:?}, Torc {:?}", mine.map(|_| ())));
                }
            }
            let theirs: Vec<String> =
                redis::cmd("CONFIG").arg("GET").arg(name).query(&mut connection).expect("CONFIG GET works");
            if !["dir", "save", "unixsocket", "syslog-ident"].contains(&name)
                || given == "900 1" && name == "save"
            {
                let mine = value(&ours, name);
                if mine != theirs[1] {
                    differences.push(format!("{name} after {given:?}: Redis {:?}, Torc {mine:?}", theirs[1]));
                }
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn globs_match_what_redis_matches() {
    let Some(oracle) = Oracle::start("glob") else { return };
    let mut connection = oracle.connection();
    // Every text of up to three of these letters is a key.
    let letters = b"ab-]^\\A";
    let mut keys: Vec<Vec<u8>> = vec![Vec::new()];
    for length in 0..3 {
        let shorter: Vec<Vec<u8>> = keys.iter().filter(|key| key.len() == length).cloned().collect();
        keys.extend(
            shorter.iter().flat_map(|key| letters.iter().map(|letter| [key, &[*letter][..]].concat())),
        );
    }
    for key in &keys {
        redis::cmd("SET").arg(key).arg("").exec(&mut connection).expect("SET works");
    }
    let mut seed = 1u64;
    let mut draw = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(seed >> 33).expect("31 bits fit") % below
    };
    for _ in 0..2000 {
        let symbols = b"ab*?[]^-\\A";
        let pattern: Vec<u8> = (0..draw(7)).map(|_| symbols[draw(symbols.len())]).collect();
        let theirs: HashSet<Vec<u8>> =
            redis::cmd("KEYS").arg(&pattern).query(&mut connection).expect("KEYS works");
        let is_match = |key: &&Vec<u8>| crate::glob::matches(&pattern, key, crate::glob::Case::Sensitive);
        let ours: HashSet<Vec<u8>> = keys.iter().filter(is_match).cloned().collect();
        let differing: Vec<_> =
            ours.symmetric_difference(&theirs).map(|key| String::from_utf8_lossy(key)).collect();
        assert!(differing.is_empty(), "{:?}: {differing:?}", String::from_utf8_lossy(&pattern));
    }
}
