//! Streams of Torc and of Redis: what one dumps the other restores; consumers of a group that come and go; huge streams.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::harness::{Client, Rng, Server, Value, command, split, until};

/// What ends a dump: the version of the format, and a checksum.
const VERSION_AND_SUM_BYTES: usize = 10;

fn carry(from: &mut Client, to: &mut Client, key: &str) {
    let payload = from.call(&["DUMP", key]);
    let reply = to.call(&[b"RESTORE", key.as_bytes(), b"0", payload.text(), b"REPLACE"]);
    assert_eq!(reply.to_string(), "+\"OK\"", "{key}");
}

/// A command that changes a stream. IDs are given, so that two servers do the same.
fn change(rng: &mut Rng, key: &str, number: usize) -> Vec<Vec<u8>> {
    let group = if rng.once_in(3) { "g2" } else { "g" };
    let consumer = ["c", "d", "a longer name"][rng.below(3)];
    let some_id = format!("{}-{}", rng.below(number + 1), rng.below(3));
    let text = match rng.below(24) {
        0..12 => {
            let fields = if rng.once_in(5) { "x 1 y" } else { "f" };
            format!("XADD {key} {number}-{} {fields} {}", rng.below(9), "v".repeat(rng.below(200)) + "w")
        }
        12 => format!("XGROUP CREATE {key} {group} 0 MKSTREAM"),
        13..16 => format!("XREADGROUP GROUP {group} {consumer} COUNT 5 STREAMS {key} >"),
        16 => format!("XDEL {key} {some_id}"),
        17 => format!("XACK {key} {group} {some_id}"),
        18 => format!("XTRIM {key} MAXLEN {}", 10 + rng.below(200)),
        19 => format!("XCLAIM {key} {group} {consumer} 0 {some_id} TIME 1000"),
        20 => format!("XGROUP DELCONSUMER {key} {group} {consumer}"),
        21 => format!("XSETID {key} {number}-100"),
        22 => format!("XADD {key} {number}-* n {}", rng.next() as i64 >> rng.below(60)),
        _ => format!("XRANGE {key} {some_id} +"),
    };
    split(&text)
}

/// What XINFO STREAM says but for what came with Redis 8.6.
fn without_producers(reply: Value) -> Value {
    const NAMES: &[&str] =
        &["idmp-duration", "idmp-maxsize", "pids-tracked", "iids-tracked", "iids-added", "iids-duplicates"];
    match reply {
        Value::Array(pairs) => {
            let others =
                pairs.chunks(2).filter(|pair| !NAMES.iter().any(|name| pair[0].text() == name.as_bytes()));
            Value::Array(others.flatten().cloned().collect())
        }
        other => other,
    }
}

#[test]
fn streams_are_exchanged_with_redis() {
    let torc = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let redis = Server::redis(&["--enable-debug-command", "yes"]);
    let (mut torc, mut redis, mut rng) = (torc.client(), redis.client(), Rng(5));
    for number in 0..40 {
        let key = format!("stream:{number}");
        for step in 1..if number % 3 == 0 { 30 } else { 800 } {
            let words = change(&mut rng, &key, step);
            let maker = if number % 2 == 0 { &mut torc } else { &mut redis };
            maker.call(&words);
        }
        match number % 2 {
            0 => carry(&mut torc, &mut redis, &key),
            _ => carry(&mut redis, &mut torc, &key),
        }
        for question in [
            format!("DEBUG DIGEST-VALUE {key}"),
            format!("XINFO STREAM {key} FULL COUNT 0"),
            format!("XINFO STREAM {key}"),
        ] {
            assert_eq!(without_producers(torc.ask(&question)), redis.ask(&question), "{question}");
        }
    }
    assert_eq!(torc.ask("DEBUG DIGEST"), redis.ask("DEBUG DIGEST"));
}

/// What was done in the same way is dumped in the same bytes, where nothing is compressed and no time of delivery is told.
#[test]
fn dumps_are_those_of_redis_byte_by_byte() {
    let torc = Server::start(&["--workers", "1", "--rdbcompression", "no"]);
    let redis = Server::redis(&["--rdbcompression", "no"]);
    let (mut torc, mut redis, mut rng) = (torc.client(), redis.client(), Rng(6));
    for (entries, bytes) in [("100", "4096"), ("3", "4096"), ("0", "300"), ("0", "0")] {
        for client in [&mut torc, &mut redis] {
            client
                .ask(&format!("CONFIG SET stream-node-max-entries {entries} stream-node-max-bytes {bytes}"));
        }
        for number in 0..8 {
            let key = format!("stream:{entries}:{bytes}:{number}");
            for step in 1..200 {
                let words = change(&mut rng, &key, step);
                if !words[0].starts_with(b"XREADGROUP") && !words[0].starts_with(b"XCLAIM") {
                    assert_eq!(torc.call(&words), redis.call(&words));
                }
            }
            let (ours, theirs) = (torc.call(&["DUMP", &key]), redis.call(&["DUMP", &key]));
            let (Value::Bulk(ours), Value::Bulk(theirs)) = (&ours, &theirs) else {
                panic!("two dumps of {key}")
            };
            let payload = |dump: &[u8]| dump[..dump.len() - VERSION_AND_SUM_BYTES].to_vec();
            assert!(payload(ours) == payload(theirs), "{key}");
        }
    }
}

/// What XINFO STREAM says under a name.
fn info(client: &mut Client, name: &str) -> i64 {
    let reply = client.ask("XINFO STREAM s");
    let words = reply.elements();
    let pair = words.chunks(2).find(|pair| pair[0].text() == name.as_bytes());
    pair.and_then(|pair| pair[1].int()).expect("it is there")
}

/// `used_memory`.
fn used(client: &mut Client) -> u64 {
    let info = client.ask("INFO memory").string();
    let text = info.lines().find_map(|line| line.strip_prefix("used_memory:")).expect("INFO tells it");
    text.parse().expect("a number")
}

/// Whatever keeps the data knows what producers have sent: a file, a file of commands, a replica; with what was set.
#[test]
fn what_producers_have_sent_is_kept() {
    const SENT: &[&str] = &[
        "XADD s IDMP p one * f 1",
        "XADD s NOMKSTREAM IDMP p two MAXLEN ~ 100 * f 2",
        "XADD s IDMPAUTO q * f 3 g 4",
    ];
    let again = |client: &mut Client| -> Vec<String> {
        let pairs = ["XADD s IDMP p one * f x", "XADD s IDMP p two * f x", "XADD s IDMPAUTO q * g 4 f 3"];
        pairs.iter().map(|line| client.ask(line).string()).collect()
    };
    let files: [&[&str]; 4] = [
        &["--save", "1 1"],
        &["--appendonly", "yes"],
        &["--appendonly", "yes", "--appendfsync", "no"],
        &["--appendonly", "yes", "--aof-use-rdb-preamble", "no"],
    ];
    for (number, options) in files.into_iter().enumerate() {
        let mut ended =
            Server::start(&[&["--workers", "2", "--enable-debug-command", "yes"], options].concat());
        let mut client = ended.client();
        assert!(until(|| client.ask("DBSIZE").int() == Some(0)), "it is empty, and loaded soon");
        let set = ["XADD s IDMP p zero * f 0", "XCFGSET s IDMP-DURATION 1000 IDMP-MAXSIZE 3"];
        set.iter().for_each(|line| drop(client.ask(line)));
        let ids: Vec<_> = SENT.iter().map(|line| client.ask(line).string()).collect();
        assert_eq!(again(&mut client), ids, "{options:?}");
        // Scripts and transactions, too.
        let script = "EVAL \"return redis.call('XADD', KEYS[1], 'IDMP', 'p', 'three', '*', 'f', '5')\" 1 s";
        let three = client.ask(script).string();
        if number > 1 {
            client.ask("BGREWRITEAOF");
            let ended = || client.ask("INFO persistence").string().contains("aof_rewrite_in_progress:0");
            assert!(until(ended));
        }
        client.send(&["SHUTDOWN"]).expect("it is there");
        assert!(ended.await_exit().success());
        let server = ended.again(&[&["--workers", "2", "--enable-debug-command", "yes"], options].concat());
        let mut client = server.client();
        assert!(until(|| client.ask("XLEN s").int() == Some(5)), "{options:?}: {}", server.log());
        assert_eq!(again(&mut client), ids, "{options:?}");
        assert_eq!(client.ask("XADD s IDMP p three * f x").string(), three);
        assert_eq!(client.ask("XLEN s").int(), Some(5));
        let facts = [("idmp-duration", 1000), ("idmp-maxsize", 3), ("pids-tracked", 2), ("iids-tracked", 4)];
        facts.iter().for_each(|(name, number)| assert_eq!(info(&mut client, name), *number, "{name}"));
        assert_eq!(info(&mut client, "iids-added"), 5);
        client.ask("DEBUG RELOAD");
        assert_eq!(again(&mut client), ids, "{options:?}");
        let digest = client.ask("DEBUG DIGEST-VALUE s");
        client.ask("COPY s t");
        assert_eq!(client.ask("DEBUG DIGEST-VALUE t"), digest);
        // What is no more than limits say goes: the oldest.
        client.ask("XADD s IDMP p four * f 6");
        assert_ne!(client.ask("XADD s IDMP p one * f x").string(), ids[0]);
        assert_eq!(client.ask("XADD t IDMP p one * f x").string(), ids[0]);
    }
}

/// A replica knows what its primary's producers have sent, from the snapshot and from the stream; as a primary it goes on.
#[test]
fn a_replica_knows_what_producers_have_sent() {
    let primary = Server::start_tcp(&["--workers", "2", "--repl-diskless-sync-delay", "0"]);
    let replica = Server::start_tcp(&["--workers", "2"]);
    let (mut client, mut copy) = (primary.client(), replica.client());
    client.ask("XADD s IDMP p before * f 0");
    client.ask("XCFGSET s IDMP-MAXSIZE 4");
    let one = client.ask("XADD s IDMP p one * f 1").string();
    assert_eq!(copy.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.tcp().port())).string(), "OK");
    assert!(until(|| copy.ask("XLEN s").int() == Some(2)), "{}", replica.log());
    let ids: Vec<_> =
        ["XADD s IDMP p two MAXLEN ~ 50 * f 2", "XADD s IDMPAUTO q * f 3", "XADD s IDMP p one * f 1"]
            .iter()
            .map(|line| client.ask(line).string())
            .collect();
    assert_eq!(ids[2], one);
    assert!(until(|| copy.ask("XLEN s").int() == Some(4)));
    let facts = [("idmp-maxsize", 4), ("pids-tracked", 2), ("iids-tracked", 3), ("iids-added", 4)];
    facts.iter().for_each(|(name, number)| assert_eq!(info(&mut copy, name), *number, "{name}"));
    assert_eq!(copy.ask("REPLICAOF NO ONE").string(), "OK");
    for (line, id) in [
        ("XADD s IDMP p one * f x", &one),
        ("XADD s IDMP p two * f x", &ids[0]),
        ("XADD s IDMPAUTO q * f 3", &ids[1]),
    ] {
        assert_eq!(copy.ask(line).string(), *id);
    }
    assert_eq!(copy.ask("XRANGE s - +"), client.ask("XRANGE s - +"));
}

/// What many producers have sent is forgotten in slices, and goes with its stream.
#[test]
fn what_many_producers_have_sent_goes_in_slices() {
    const PRODUCERS: usize = 30;
    const MESSAGES: usize = 3000;
    let server = Server::start(&["--workers", "2", "--stream-idmp-maxsize", "10000"]);
    let mut client = server.client();
    let empty = used(&mut client);
    for end in ["XCFGSET s IDMP-MAXSIZE 1", "DEL s"] {
        client.ask("CONFIG SET stream-idmp-maxsize 10000");
        for producer in 0..PRODUCERS {
            let sent: Vec<u8> = (0..MESSAGES)
                .flat_map(|iid| {
                    command(&split(&format!("XADD s MAXLEN 10 IDMP producer:{producer} {iid} * f v")))
                })
                .collect();
            client.send_raw(&sent).expect("the server reads");
            (0..MESSAGES).for_each(|_| drop(client.read_raw().expect("an ID")));
        }
        assert_eq!(info(&mut client, "iids-tracked"), (PRODUCERS * MESSAGES) as i64);
        let full = used(&mut client);
        assert!(full > empty + (PRODUCERS * MESSAGES * 40) as u64);
        assert!(!client.ask(end).is_error());
        assert!(until(|| used(&mut client) < empty + (full - empty) / 4), "the memory is not given back");
        client.ask("DEL s");
    }
}

/// A stream of a million entries, with as many pending ones, comes, is trimmed and goes while other commands are answered.
#[test]
fn a_huge_stream_goes_in_slices() {
    const ADDS: usize = 300;
    const ENTRIES: usize = 1000;
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let empty = used(&mut client);
    let pipeline = command(&split("XADD huge * field value other 12345")).repeat(ENTRIES);
    let read = split("XREADGROUP GROUP g c COUNT 10000 STREAMS huge >");
    for turn in 0..2 {
        client.ask("XGROUP CREATE huge g 0 MKSTREAM");
        for _ in 0..ADDS {
            client.send_raw(&pipeline).expect("the server reads");
            (0..ENTRIES).for_each(|_| drop(client.read_raw().expect("an ID")));
        }
        assert_eq!(client.ask("XLEN huge").int(), Some((ADDS * ENTRIES) as i64));
        let mut read = || client.send(&read).and_then(|()| client.read_raw()).expect("entries, or none");
        while read().len() > 10 {}
        let full = used(&mut client);
        if turn == 0 {
            assert_eq!(client.ask("XTRIM huge MAXLEN 10").int(), Some((ADDS * ENTRIES - 10) as i64));
            assert_eq!(client.ask("XGROUP DESTROY huge g").int(), Some(1));
            assert_eq!(client.ask("XLEN huge").int(), Some(10));
        }
        assert_eq!(client.ask("DEL huge").int(), Some(1));
        assert!(until(|| used(&mut client) < empty + (full - empty) / 4), "the memory is not given back");
    }
}

/// Producers, and consumers of one group that wait for entries and are killed in between: each entry is delivered to one of
/// them, those included that were on their way to one that was killed, which are claimed in the end.
#[test]
fn each_entry_goes_to_one_consumer_and_none_is_lost() {
    const PRODUCERS: usize = 3;
    const CONSUMERS: usize = 6;
    const ENTRIES: usize = 600;
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let mut client = server.client();
        client.ask("XGROUP CREATE s g $ MKSTREAM");
        let (added, is_done) = (AtomicUsize::new(0), AtomicBool::new(false));
        let mut kills = 0;
        let got: Vec<Vec<String>> = std::thread::scope(|scope| {
            let consumers: Vec<_> = (0..CONSUMERS)
                .map(|number| {
                    let (server, is_done) = (&server, &is_done);
                    scope.spawn(move || consume(server, number, is_done))
                })
                .collect();
            for _ in 0..PRODUCERS {
                let (server, added) = (&server, &added);
                scope.spawn(move || {
                    let mut client = server.client();
                    for _ in 0..ENTRIES {
                        client.ask("XADD s * f v");
                        added.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            let mut rng = Rng(9);
            while added.load(Ordering::Relaxed) < PRODUCERS * ENTRIES {
                let list = client.ask("CLIENT LIST").string();
                let ids: Vec<&str> = list
                    .lines()
                    .filter(|line| line.contains("cmd=xreadgroup"))
                    .filter_map(|line| line.strip_prefix("id=")?.split(' ').next())
                    .collect();
                if !ids.is_empty() {
                    let killed = client.ask(&format!("CLIENT KILL ID {}", rng.pick(&ids)));
                    kills += killed.int().unwrap_or(0) as usize;
                }
            }
            let read = || client.ask("XINFO GROUPS s").to_string().contains("\"lag\" 0");
            let _all_read = until(read);
            is_done.store(true, Ordering::Relaxed);
            consumers.into_iter().map(|consumer| consumer.join().expect("it ends")).collect()
        });
        assert!(kills > 0);
        check_deliveries(&mut client, PRODUCERS * ENTRIES, &got, kills);
    }
}

/// Reads and acknowledges until all is done; the IDs that were acknowledged by this consumer.
fn consume(server: &Server, number: usize, is_done: &AtomicBool) -> Vec<String> {
    let (mut client, mut got) = (server.client(), Vec::new());
    let read = split(&format!("XREADGROUP GROUP g c{number} COUNT 3 BLOCK 20 STREAMS s >"));
    while !is_done.load(Ordering::Relaxed) {
        let reply = client.send(&read).and_then(|()| client.read());
        let Ok(reply) = reply else {
            client = server.client();
            continue;
        };
        for stream in reply.elements() {
            for entry in stream.elements()[1].elements() {
                let id = entry.elements()[0].string();
                // If this client is killed now, the entry stays pending.
                let words = split(&format!("XACK s g {id}"));
                match client.send(&words).and_then(|()| client.read()) {
                    Ok(reply) => {
                        assert_eq!(reply.int(), Some(1), "{id} was another's");
                        got.push(id);
                    }
                    Err(_) => client = server.client(),
                }
            }
        }
    }
    got
}

fn check_deliveries(client: &mut Client, count: usize, got: &[Vec<String>], kills: usize) {
    let all: BTreeSet<String> =
        client.ask("XRANGE s - +").elements().iter().map(|entry| entry.elements()[0].string()).collect();
    assert_eq!(all.len(), count);
    let mut owners: BTreeMap<&String, usize> = BTreeMap::new();
    got.iter().flatten().for_each(|id| *owners.entry(id).or_default() += 1);
    assert!(owners.values().all(|owners| *owners == 1), "an entry was acknowledged twice");
    let rest = client.ask("XREADGROUP GROUP g last STREAMS s >");
    let late: Vec<String> = rest.elements().iter().flat_map(ids_of).collect();
    let claimed = client.ask("XAUTOCLAIM s g last 0 0 COUNT 100000 JUSTID").elements()[1].elements();
    let pending: BTreeSet<String> = claimed.iter().map(Value::string).collect();
    assert!(late.iter().all(|id| pending.contains(id)));
    // What was acknowledged by one that was killed before it heard so is in neither; no more than one for each kill.
    let known = all.iter().filter(|id| owners.contains_key(id) || pending.contains(*id)).count();
    assert!(owners.keys().all(|id| !pending.contains(*id)));
    assert!(count - known <= kills, "{known} of {count} are known, {kills} clients were killed");
}

fn ids_of(stream: &Value) -> Vec<String> {
    stream.elements()[1].elements().iter().map(|entry| entry.elements()[0].string()).collect()
}
