//! Commands that are timed together are counted one by one.
//!
//! The server reads the time once for a run of equal quick commands. Whatever ends such a run, and wherever it stops (an error, a
//! full output, a refusal, a transaction), each command is counted once, and under its own name.

use std::collections::BTreeMap;

use crate::harness::{Client, Rng, Server, command};

/// Commands sent in one go.
const PIPELINED: usize = 2_000;
/// Replies of this length fill an output after a few hundred.
const LONG_VALUE_BYTES: usize = 10_000;

const MIX: &[(&str, &[&str])] = &[
    ("get", &["GET", "long"]),
    ("get", &["GET", "list"]),
    ("set", &["SET", "key", "value"]),
    ("incr", &["INCR", "long"]),
    ("rpush", &["RPUSH", "list", "a"]),
    ("rpush", &["RPUSH", "list", "a", "b"]),
    ("lpop", &["LPOP", "list"]),
    ("ping", &["PING"]),
    ("strlen", &["STRLEN", "long"]),
];

/// What INFO says a command's counter of this name is.
fn counted(client: &mut Client, section: &str, prefix: &str, name: &str, field: &str) -> u64 {
    let text = client.ask(&format!("INFO {section}")).string();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{prefix}_{name}:")));
    let field = format!("{field}=");
    let value = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix(&field)));
    value.map_or(0, |value| value.trim().parse().expect("a number"))
}

/// Sends runs of equal commands, of random lengths, and reads all replies: how often each was sent.
fn send_runs(client: &mut Client, rng: &mut Rng) -> BTreeMap<&'static str, u64> {
    let (mut bytes, mut sent, mut count) = (Vec::new(), BTreeMap::new(), 0);
    while count < PIPELINED {
        let (name, words) = *rng.pick(MIX);
        let length = 1 + rng.below(80);
        let in_transaction = rng.once_in(4);
        let mut send = |name, words: &[&str]| {
            bytes.extend(command(words));
            *sent.entry(name).or_insert(0) += 1;
            count += 1;
        };
        if in_transaction {
            send("multi", &["MULTI"]);
        }
        (0..length).for_each(|_| send(name, words));
        if in_transaction {
            send("exec", &["EXEC"]);
        }
    }
    client.send_raw(&bytes).expect("the server is there");
    for _ in 0..count {
        client.read().expect("every command is answered");
    }
    sent
}

fn check(slower_than_us: &str) {
    let server = Server::start(&["--workers", "1", "--slowlog-max-len", "100000"]);
    let mut client = server.client();
    client.call(&["SET", "long", &"x".repeat(LONG_VALUE_BYTES)]);
    client.ask("RPUSH list a");
    client.ask("CONFIG RESETSTAT");
    client.call(&["CONFIG", "SET", "slowlog-log-slower-than", slower_than_us]);
    client.ask("SLOWLOG RESET");
    let mut rng = Rng(7);
    let mut sent: BTreeMap<&str, u64> = BTreeMap::new();
    for _ in 0..5 {
        for (name, count) in send_runs(&mut client, &mut rng) {
            *sent.entry(name).or_insert(0) += count;
        }
    }
    let logged = client.ask("SLOWLOG LEN").int().expect("a number") as u64;
    for (name, count) in &sent {
        assert_eq!(counted(&mut client, "commandstats", "cmdstat", name, "calls"), *count, "{name}");
    }
    let incr = sent["incr"];
    assert_eq!(counted(&mut client, "commandstats", "cmdstat", "incr", "failed_calls"), incr);
    let histogram = client.ask("LATENCY HISTOGRAM get").elements();
    assert_eq!(histogram[1].elements()[1].int(), Some(sent["get"] as i64), "{histogram:?}");
    if slower_than_us == "0" {
        // SLOWLOG RESET is the first; EXEC is never logged, only what it runs.
        assert_eq!(logged, 1 + sent.values().sum::<u64>() - sent["exec"]);
    }
}

#[test]
fn commands_timed_together_are_counted_each() {
    check("10000");
}

#[test]
fn commands_are_timed_alone_for_a_slow_log_of_all() {
    check("0");
}
