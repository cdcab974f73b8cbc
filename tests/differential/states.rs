//! Commands that change how their client's next ones run, among commands on keys, all in one pipeline: Torc and Redis reply alike.
//!
//! Design: commands on keys pass a few gates at once where nothing stands in their way; what does, changes between two commands of one
//! pipeline here: transactions, silence, subscriptions, databases, users. Replies are compared byte by byte up to a marker, before
//! which the connection is made as new.

use crate::harness::{Client, Rng, Server, command, split, until};

const PIPELINES: usize = 150;
const PIPELINE_MAX: usize = 24;

/// Commands on keys are half of all.
const ON_KEYS: &[&str] = &[
    "SET k v",
    "SET k 1",
    "GET k",
    "INCR k",
    "INCR n",
    "MGET k n",
    "LPUSH l a b",
    "LRANGE l 0 -1",
    "GET l",
    "DEL l k",
    "LPOP l",
    "BLPOP l 0.001",
    "EXPIRE k 100",
    "SINTERCARD 2 s",
    "SORT l ALPHA",
    "EVAL return(redis.call('GET',KEYS[1])) 1 k",
];

/// No AUTH that fails: Redis does not reply to it behind replies that it has not sent.
const OF_STATE: &[&str] = &[
    "MULTI",
    "MULTI 1",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH k",
    "UNWATCH",
    "CLIENT REPLY OFF",
    "CLIENT REPLY ON",
    "CLIENT REPLY SKIP",
    "SELECT 1",
    "SELECT 0",
    "SELECT x",
    "SUBSCRIBE c",
    "PSUBSCRIBE c*",
    "UNSUBSCRIBE",
    "PUNSUBSCRIBE",
    "AUTH reader pw",
    "AUTH default pw",
    "CLIENT NO-TOUCH ON",
    "CLIENT NO-TOUCH OFF",
    "RESET",
    "PING",
    "ECHO e",
    "NOSUCH x",
    "GET",
];

fn draw(rng: &mut Rng) -> &'static str {
    let words = if rng.below(2) == 0 { ON_KEYS } else { OF_STATE };
    words[rng.below(words.len())]
}

/// All that comes up to the marker's reply, which is the last.
fn replies(client: &mut Client, marker: &str) -> Vec<u8> {
    let mut all = Vec::new();
    while !all.ends_with(format!("{marker}\r\n").as_bytes()) {
        all.extend(client.read_raw().expect("it replies to all"));
    }
    all
}

fn run(seed: u64, args: &[&str]) {
    let (torc, redis) = (Server::start(args), Server::redis(&[]));
    let mut clients = [torc.client(), redis.client()];
    for client in &mut clients {
        assert!(until(|| !client.ask("GET k").is_error()), "it is loaded");
        assert_eq!(client.ask("ACL SETUSER reader on >pw ~k +@read +client +select +ping").string(), "OK");
    }
    let mut rng = Rng(seed);
    for number in 0..PIPELINES {
        let drawn: Vec<&str> = (0..=rng.below(PIPELINE_MAX)).map(|_| draw(&mut rng)).collect();
        let marker = format!("end:{number}");
        let ends = ["CLIENT REPLY ON", "RESET", "AUTH default pw", &format!("ECHO {marker}")];
        let all = drawn.iter().copied().chain(ends);
        let bytes: Vec<u8> = all.flat_map(|words| command(&split(words))).collect();
        let [said, expected] = clients.each_mut().map(|client| {
            client.send_raw(&bytes).expect("it takes commands");
            replies(client, &marker)
        });
        assert!(
            said == expected,
            "seed {seed}, {args:?}:\n{}\nRedis: {}\nTorc:  {}",
            drawn.join("\n"),
            expected.escape_ascii(),
            said.escape_ascii()
        );
    }
}

#[test]
fn one_worker_is_like_redis() {
    run(1, &["--workers", "1"]);
}

#[test]
fn two_workers_are_like_redis() {
    run(2, &["--workers", "2", "--active-workers-min", "2"]);
}

#[test]
fn changes_that_are_listened_to_are_like_redis() {
    run(3, &["--workers", "1", "--appendonly", "yes", "--notify-keyspace-events", "KEA"]);
}
