//! Many clients that read the same keys at once, on several workers, while others write: what reads runs under leases that it
//! shares with others who read, and sees each command that writes as a whole or not at all.
//!
//! All keys are in one shard, so that readers of all workers meet. Every writer puts one number into all places of a value by one
//! command; a reader that finds two numbers has seen half of a command. Keys and fields that expire under the readers make them run
//! again with the shard to themselves.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::harness::{Client, Server, Value};

const WORKERS: &str = "3";
const WRITES: u64 = 300;
const READERS: usize = 6;

/// What a round writes: every command sets all places of its value to the round's number.
const WRITING: &[&str] = &[
    "HSET h a {n} b {n} c {n}",
    "HSET big a {n} b {n} c {n}",
    "HSETEX e PX 1 FIELDS 2 a {n} b {n}",
    "HSET e c {n} d {n}",
    "ZADD z {n} a {n} b {n} c",
    "ZADD bigz {n} a {n} b {n} c",
    "GEOADD g {x} {x} a {x} {x} b",
    "XADD s MAXLEN 3 {n} a {n} b {n}",
    "SET k {n} PX 1",
];

/// What readers ask, and how many numbers a reply has at most, besides nulls: all alike.
const READING: &[(&str, usize)] = &[
    ("HMGET h a b c", 3),
    ("HVALS h", 3),
    ("HMGET big a c b", 3),
    ("HMGET e a b", 2),
    ("HMGET e c d", 2),
    ("ZMSCORE z a b c", 3),
    ("ZMSCORE bigz c a b", 3),
    ("GEOHASH g a b", 2),
    ("XREVRANGE s + - COUNT 1", 3),
    ("GET k", 1),
];

/// Commands whose replies say nothing here, but that are not to fail.
const LOOKING: &[&str] = &[
    "HGETALL e",
    "HVALS e",
    "HLEN e",
    "HEXISTS e a",
    "HSTRLEN e b",
    "HPTTL e FIELDS 2 a c",
    "HRANDFIELD e 2",
    "HSCAN e 0",
    "HSCAN big 0",
    "HKEYS big",
    "SMEMBERS set",
    "SMISMEMBER set 1 2 3",
    "SRANDMEMBER set 5",
    "SSCAN set 0",
    "SUNION set set2",
    "SINTERCARD 2 set set2",
    "SDIFF set set2",
    "ZRANGE bigz 0 -1 WITHSCORES",
    "ZRANGEBYSCORE bigz -inf +inf",
    "ZRANDMEMBER bigz 4",
    "ZRANK bigz a",
    "ZSCAN bigz 0",
    "ZUNION 2 z bigz",
    "ZINTER 2 bigz set",
    "ZDIFF 2 bigz z",
    "GEOSEARCH g FROMLONLAT 1 1 BYRADIUS 9000 km",
    "GEODIST g a b",
    "XLEN s",
    "XRANGE s - +",
    "XPENDING s group",
    "XINFO STREAM s FULL",
    "XINFO GROUPS s",
    "PTTL k",
    "EXPIRETIME k",
    "OBJECT ENCODING bigz",
    "DIGEST k",
];

/// The numbers in a reply, whatever they stand in, as texts; IDs of entries without their second part.
fn numbers(reply: &Value) -> Vec<String> {
    match reply {
        Value::Array(_) => reply.elements().iter().flat_map(numbers).collect(),
        Value::Bulk(bytes) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let number = text.strip_suffix("-0").unwrap_or(&text).to_owned();
            if number.len() == 1 && number.as_bytes()[0].is_ascii_lowercase() { vec![] } else { vec![number] }
        }
        Value::NullBulk | Value::NullArray => vec![],
        other => panic!("{other}"),
    }
}

fn written(text: &str, round: u64) -> String {
    let degrees = format!("{}.5", round % 80);
    text.replace("{n}", &round.to_string()).replace("{x}", &degrees)
}

fn read(client: &mut Client) {
    for (question, count_max) in READING {
        let reply = client.ask(question);
        let found = numbers(&reply);
        assert!(found.len() <= *count_max, "{question}: {reply}");
        assert!(
            found.windows(2).all(|pair| pair[0] == pair[1]),
            "{question} has seen half a command: {reply}"
        );
    }
    for question in LOOKING {
        let reply = client.ask(question);
        assert!(!matches!(reply, Value::Error(_)), "{question}: {reply}");
    }
}

#[test]
fn readers_see_whole_commands() {
    let args = ["--workers", WORKERS, "--active-workers-min", WORKERS, "--shards", "1"];
    let server = Server::start(&args);
    let mut client = server.client();
    for number in 0..1000 {
        client.ask(&format!("SADD set {number} x{number}"));
        client.ask(&format!("SADD set2 {number} y{number}"));
        client.ask(&format!("HSET big f{number} v"));
        client.ask(&format!("ZADD bigz {number} m{number}"));
    }
    client.ask("XGROUP CREATE s group 0 MKSTREAM");
    let round = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..READERS {
            scope.spawn(|| {
                let mut reader = server.client();
                while round.load(Relaxed) < WRITES {
                    read(&mut reader);
                }
            });
        }
        scope.spawn(|| {
            let mut writer = server.client();
            for number in 1..=WRITES {
                for text in WRITING {
                    let reply = writer.ask(&written(text, number));
                    assert!(!matches!(reply, Value::Error(_)), "{text}: {reply}");
                }
                round.store(number, Relaxed);
            }
        });
    });
    assert_eq!(client.ask("HGET big c"), client.ask("HGET h c"));
    assert_eq!(client.ask("HGET h c").string(), WRITES.to_string());
}
