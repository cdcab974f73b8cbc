//! A replica of Redis and Valkey: it is what its primary is, however often the link between them ends, and says what Redis's replicas
//! say.

mod fake;
mod following;
mod fuzzed;
mod hostile;
mod loading;
mod role;
mod tls;

use crate::harness::{Client, Server, until};

/// A field of INFO, of a server that has it.
fn field(client: &mut Client, section: &str, name: &str) -> String {
    let text = client.ask(&format!("INFO {section}")).string();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_else(|| panic!("INFO {section} has no {name}:\n{text}")).to_owned()
}

fn number(client: &mut Client, section: &str, name: &str) -> i64 {
    field(client, section, name).parse().expect("a number")
}

/// The words that have a server follow this one.
fn to_follow(primary: &Server) -> String {
    format!("REPLICAOF 127.0.0.1 {}", primary.tcp().port())
}

/// Waits until the replica's link is up.
#[track_caller]
fn await_link(replica: &Server) {
    let mut client = replica.client();
    let is_up = || field(&mut client, "replication", "master_link_status") == "up";
    assert!(until(is_up), "{}", replica.log());
}

/// Waits until the replica has got to where its primary is.
#[track_caller]
fn await_offset(primary: &mut Client, replica: &Server) {
    let mut client = replica.client();
    let is_there = || {
        let applied = number(&mut client, "replication", "slave_repl_offset");
        field(&mut client, "replication", "master_link_status") == "up"
            && applied == number(primary, "replication", "master_repl_offset")
    };
    assert!(until(is_there), "{}", replica.log());
}

/// Waits until both have the same data at the same offset. Nothing writes to the primary meanwhile but its own expiry.
#[track_caller]
fn await_agreement(primary: &mut Client, replica: &Server, what: &str) {
    let mut client = replica.client();
    let (mut theirs, mut ours) = (String::new(), String::new());
    let mut tries = 0;
    // Old servers print numbers otherwise, and digests are of what is printed.
    let is_old = !field(primary, "server", "redis_version").starts_with("8.2");
    let state = |client: &mut Client| match is_old {
        true => contents(client),
        false => client.ask("DEBUG DIGEST").string(),
    };
    let agree = || {
        await_offset(primary, replica);
        theirs = state(primary);
        ours = state(&mut client);
        tries += 1;
        // What differs now may only have expired between the two questions; but not time and again.
        theirs == ours || tries == 20
    };
    assert!(until(agree), "{what}: {}", replica.log());
    let log = replica.log();
    if is_old {
        let differ: Vec<_> =
            theirs.lines().zip(ours.lines()).filter(|(theirs, ours)| theirs != ours).collect();
        assert!(theirs == ours, "{what}: {differ:?}\n{log}");
    } else {
        assert_eq!(theirs, ours, "{what}: {}\n{log}", differences(primary, &mut client));
    }
}

/// All keys with their values, a line each.
fn contents(client: &mut Client) -> String {
    let mut lines = Vec::new();
    for db in 0..16 {
        client.ask(&format!("SELECT {db}"));
        for key in client.ask("KEYS *").elements() {
            let key = key.text();
            let ty = client.call(&[b"TYPE", key]).string();
            let (words, sorts): (&[&[u8]], bool) = match ty.as_str() {
                "string" => (&[b"GET", key], false),
                "list" => (&[b"LRANGE", key, b"0", b"-1"], false),
                "set" => (&[b"SMEMBERS", key], true),
                "zset" => (&[b"ZRANGE", key, b"0", b"-1", b"WITHSCORES"], false),
                "hash" => (&[b"HGETALL", key], true),
                "stream" => (&[b"XINFO", b"STREAM", key, b"FULL"], false),
                _ => continue,
            };
            let deadline = client.call(&[b"PEXPIRETIME", key]);
            let value = client.call(words);
            let mut parts: Vec<String> = match ty.as_str() {
                // Members and scores, fields and values, entries and ids; the times of consumers are each server's own.
                "stream" => {
                    let elements = value.elements();
                    let described = elements[..2].iter().chain(&elements[6..10]);
                    let entries = client.call(&[b"XRANGE", key, b"-", b"+"]);
                    described.chain(std::iter::once(&entries)).map(|part| part.to_string()).collect()
                }
                "zset" => value.elements().iter().map(as_number).collect(),
                "hash" => value.elements().chunks(2).map(|pair| format!("{pair:?}")).collect(),
                "string" => vec![value.to_string()],
                _ => value.elements().iter().map(|part| part.to_string()).collect(),
            };
            if sorts {
                parts.sort();
            }
            lines.push(format!("{db}:{} {ty} {deadline} {parts:?}", key.escape_ascii()));
        }
    }
    client.ask("SELECT 0");
    lines.sort();
    lines.join("\n")
}

/// A number in whichever form, or what is none. A packed ranking keeps no sign of a zero, and whether one is packed is a
/// matter of what it has been through on each server.
fn as_number(value: &crate::harness::Value) -> String {
    let text = value.clone().string();
    text.parse::<f64>().map_or(text, |number| (number + 0.0).to_string())
}

/// Keys that one has and the other has not, or with another value.
pub fn differences(primary: &mut Client, replica: &mut Client) -> String {
    let mut found = Vec::new();
    for db in 0..16 {
        let select = format!("SELECT {db}");
        primary.ask(&select);
        replica.ask(&select);
        let mut keys = primary.ask("KEYS *").elements().to_vec();
        keys.extend(replica.ask("KEYS *").elements().iter().cloned());
        for key in keys {
            let words: [&[u8]; 3] = [b"DEBUG", b"DIGEST-VALUE", key.text()];
            let (theirs, ours) = (primary.call(&words), replica.call(&words));
            if theirs != ours {
                let ty = primary.call(&[b"TYPE", key.text()]);
                found.push(format!("{db}:{} ({ty})", key.text().escape_ascii()));
                if ty.string() == "stream" {
                    let full: [&[u8]; 4] = [b"XINFO", b"STREAM", key.text(), b"FULL"];
                    found.push(format!("\n{:?}\n{:?}\n", primary.call(&full), replica.call(&full)));
                }
            }
        }
    }
    found.truncate(20);
    found.join(" ")
}
