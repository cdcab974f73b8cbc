//! The files that servers come with, as they are and as their own server rewrites them: they start Torc, and say the same.
//!
//! `data/*.conf` has their directives: Debian's file of Redis 7.0, those of Redis 8.2 and of Valkey 9.1.

use std::collections::HashMap;

use crate::harness::{Server, TORC, newest_program, redis_program};

/// What the tests themselves say on the command line, and what is a file of the server's own.
const OF_THE_TEST: &[&str] =
    &["port", "unixsocket", "dir", "daemonize", "logfile", "pidfile", "syslog-ident", "supervised"];

/// Where Torc's default is another, unless the file says what it is: its own of active defragmentation, Redis's where Valkey has
/// changed it, and another name for what Valkey calls `legacy`.
const OTHER_DEFAULTS: &[&str] = &["activedefrag", "log-format", "repl-backlog-size"];

fn directives(server: &Server) -> HashMap<String, String> {
    let reply = server.client().ask("CONFIG GET *");
    let words: Vec<String> = reply.elements().iter().map(|word| word.string()).collect();
    words.chunks_exact(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect()
}

/// Both servers have started with this text: what they have in common is the same.
#[track_caller]
fn agree(theirs: &Server, text: &str) {
    let torc = Server::with_file(TORC, text, &["--workers", "1"]);
    let (ours, theirs) = (directives(&torc), directives(theirs));
    let common = theirs.iter().filter(|(name, _)| !OF_THE_TEST.contains(&name.as_str()));
    let common = common.filter_map(|(name, theirs)| Some((name, theirs, ours.get(name)?)));
    let mut count = 0;
    let mut differences = Vec::new();
    for (name, theirs, ours) in common {
        count += 1;
        let said = text.lines().any(|line| line.split(' ').next() == Some(name.as_str()));
        if ours != theirs && (said || !OTHER_DEFAULTS.contains(&name.as_str())) {
            differences.push(format!("{name}: {ours:?}, there {theirs:?}"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    assert!(count > 150, "only {count} directives in common");
    // What a rewrite writes out of the defaults, and what Valkey's file sets.
    let known = ["'save' is accepted without effect: ", "accepted without effect: replica-lazy-flush\n"];
    let log = known.iter().fold(torc.log(), |log, known| log.replace(known, ""));
    assert!(!log.contains("accepted without effect"), "the file asks for nothing special: {log}");
}

fn check(program: &str, text: &str) {
    let text: String =
        text.lines().filter(|line| !line.starts_with("dir ")).map(|line| format!("{line}\n")).collect();
    let server = Server::with_file(program, &text, &[]);
    agree(&server, &text);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let rewritten = std::fs::read_to_string(server.config_file()).expect("it is there");
    assert!(rewritten.contains("\nuser default on nopass "), "{rewritten}");
    agree(&server, &rewritten);
    // With a password, the file ends with its hash.
    assert_eq!(client.ask("CONFIG SET requirepass secret maxmemory 100mb").string(), "OK");
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let rewritten = std::fs::read_to_string(server.config_file()).expect("it is there");
    let torc = Server::with_file(TORC, &rewritten, &["--workers", "1"]);
    let mut client = torc.client();
    assert_eq!(client.ask("PING").string(), "NOAUTH Authentication required.");
    assert_eq!(client.ask("AUTH secret").string(), "OK");
    assert_eq!(client.ask("CONFIG GET maxmemory").elements()[1].string(), "104857600");
}

#[test]
fn the_file_of_redis_7_0_says_the_same_here() {
    check(&redis_program("redis-server"), include_str!("data/redis-7.0.conf"));
}

#[test]
fn the_file_of_redis_8_2_says_the_same_here() {
    check(&newest_program("redis-server"), include_str!("data/redis-8.2.conf"));
}

#[test]
fn the_file_of_valkey_9_1_says_the_same_here() {
    check(&newest_program("valkey-server"), include_str!("data/valkey-9.1.conf"));
}
