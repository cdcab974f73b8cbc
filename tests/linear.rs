//! What one command costs grows no faster than what it is asked for.
//!
//! WATCH compared each key with all that its client watched already: 200,000 keys took 37 s, in which nobody else had their
//! shards. LREM took each emptied node out of a list by itself, moving half of the others each time. Here every command that
//! takes as many arguments, or walks as many elements, as its client likes is run at one size and at eight times that size, and
//! the server's own time for the two is compared: eight times as much is linear, sixty-four times quadratic.
//! And what is asked for is what costs: a byte added to a long string is one byte.

use crate::harness::{Client, Server, command};

/// How much larger the larger size is.
const STEP: usize = 8;
/// The larger size may take so many times as long: halfway between linear (8) and quadratic (64), in powers.
const GROWTH_MAX: u64 = 24;
/// What takes less than this is too short to be compared.
const US_MIN: u64 = 1_000;
/// Each is timed until it is within the limit, so often at most, and the shortest time counts: a busy machine makes times
/// longer, never shorter.
const ROUNDS_MAX: usize = 12;

/// A command under test.
struct Case {
    /// As INFO calls it.
    stat: &'static str,
    /// The smaller size.
    size: usize,
    /// What is sent before, of size n.
    before: fn(usize) -> Vec<Vec<String>>,
    /// The command of size n.
    command: fn(usize) -> Vec<String>,
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn nothing(_: usize) -> Vec<Vec<String>> {
    Vec::new()
}

/// The command with n arguments `prefix`0, `prefix`1, and so on behind its first words.
fn with_keys(first: &str, prefix: &str, count: usize) -> Vec<String> {
    let mut command = words(first);
    command.extend((0..count).map(|n| format!("{prefix}{n}")));
    command
}

/// A list of n elements, of which every second is `a`, with one element in each node.
fn alternating(count: usize) -> Vec<Vec<String>> {
    let mut push = words("RPUSH list");
    push.extend((0..count).map(|n| if n % 2 == 0 { "a".to_owned() } else { format!("b{n}") }));
    vec![words("CONFIG SET list-max-listpack-size 1"), push]
}

fn numbers(count: usize) -> Vec<Vec<String>> {
    let mut push = words("RPUSH list");
    push.extend((0..count).map(|n| (n * 7919 % count).to_string()));
    vec![push]
}

fn keys(count: usize) -> Vec<Vec<String>> {
    let mut set = words("MSET");
    set.extend((0..count).flat_map(|n| [format!("key:{n}"), "value".to_owned()]));
    vec![set]
}

fn watched(count: usize) -> Vec<Vec<String>> {
    vec![with_keys("WATCH", "key:", count)]
}

/// As many keys watched twice, in two databases: their hashes are the same.
fn watched_elsewhere(count: usize) -> Vec<Vec<String>> {
    vec![with_keys("WATCH", "key:", count), words("SELECT 1")]
}

fn queued(count: usize) -> Vec<Vec<String>> {
    let mut commands = vec![with_keys("WATCH", "key:", count), words("MULTI")];
    commands.extend((0..count).map(|n| vec!["SET".to_owned(), format!("other:{n}"), "value".to_owned()]));
    commands
}

const CASES: &[Case] = &[
    Case { stat: "watch", size: 4_000, before: nothing, command: |n| with_keys("WATCH", "key:", n) },
    Case { stat: "watch", size: 4_000, before: watched, command: |n| with_keys("WATCH", "key:", n) },
    Case {
        stat: "watch",
        size: 4_000,
        before: watched_elsewhere,
        command: |n| with_keys("WATCH", "key:", n),
    },
    Case { stat: "unwatch", size: 4_000, before: watched, command: |_| words("UNWATCH") },
    Case { stat: "exec", size: 2_000, before: queued, command: |_| words("EXEC") },
    Case { stat: "discard", size: 2_000, before: queued, command: |_| words("DISCARD") },
    Case { stat: "lrem", size: 10_000, before: alternating, command: |_| words("LREM list 0 a") },
    Case {
        stat: "lrem",
        size: 10_000,
        before: alternating,
        command: |n| words(&format!("LREM list -{n} a")),
    },
    Case {
        stat: "ltrim",
        size: 10_000,
        before: alternating,
        command: |n| words(&format!("LTRIM list {} -9", n / 2)),
    },
    Case { stat: "lpop", size: 10_000, before: alternating, command: |n| words(&format!("LPOP list {n}")) },
    Case { stat: "lrange", size: 10_000, before: alternating, command: |_| words("LRANGE list 0 -1") },
    Case { stat: "lpos", size: 10_000, before: alternating, command: |_| words("LPOS list a COUNT 0") },
    Case { stat: "copy", size: 10_000, before: alternating, command: |_| words("COPY list other") },
    Case { stat: "dump", size: 10_000, before: alternating, command: |_| words("DUMP list") },
    Case { stat: "sort", size: 5_000, before: numbers, command: |_| words("SORT list BY w* GET x* GET #") },
    Case { stat: "sort", size: 5_000, before: numbers, command: |_| words("SORT list STORE other") },
    Case { stat: "sort", size: 2_000, before: |_| numbers(3), command: sort_with_gets },
    Case { stat: "del", size: 10_000, before: keys, command: |n| with_keys("DEL", "key:", n) },
    Case { stat: "mget", size: 10_000, before: nothing, command: |n| with_keys("MGET", "key:", n) },
    Case { stat: "keys", size: 10_000, before: keys, command: |_| words("KEYS *9") },
    Case { stat: "scan", size: 10_000, before: keys, command: |_| words("SCAN 0 COUNT 100000000") },
    Case {
        stat: "lmpop",
        size: 10_000,
        before: nothing,
        command: |n| end_with(with_keys(&format!("LMPOP {n}"), "k", n), "LEFT"),
    },
    Case {
        stat: "command|getkeys",
        size: 10_000,
        before: nothing,
        command: |n| with_keys("COMMAND GETKEYS DEL", "k", n),
    },
    Case {
        stat: "command|info",
        size: 2_000,
        before: nothing,
        command: |n| with_keys("COMMAND INFO", "k", n),
    },
    Case { stat: "config|get", size: 1_000, before: nothing, command: |n| with_keys("CONFIG GET", "k", n) },
    Case { stat: "config|set", size: 2_000, before: nothing, command: set_save_points },
    Case {
        stat: "client|list",
        size: 10_000,
        before: nothing,
        command: |n| with_keys("CLIENT LIST ID", "1", n),
    },
    Case {
        stat: "latency|reset",
        size: 10_000,
        before: nothing,
        command: |n| with_keys("LATENCY RESET", "k", n),
    },
];

fn end_with(mut command: Vec<String>, last: &str) -> Vec<String> {
    command.push(last.to_owned());
    command
}

fn sort_with_gets(count: usize) -> Vec<String> {
    let gets = (0..count).flat_map(|n| ["GET".to_owned(), format!("x{n}*")]);
    words("SORT list").into_iter().chain(gets).collect()
}

fn set_save_points(count: usize) -> Vec<String> {
    end_with(words("CONFIG SET save"), &"3600 1 ".repeat(count))
}

/// Sends commands in one go and reads all replies.
fn pipeline(client: &mut Client, commands: &[Vec<String>]) {
    let bytes: Vec<u8> = commands.iter().flat_map(|words| command(words)).collect();
    client.send_raw(&bytes).expect("the server is there");
    for _ in commands {
        client.read().expect("every command is answered");
    }
}

/// The time that the server spent in all commands of a name, in us.
fn spent_us(client: &mut Client, stat: &str) -> u64 {
    let text = client.ask("INFO commandstats").string();
    let line =
        text.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{stat}:"))).unwrap_or("usec=0,");
    let usec = line.split(',').find_map(|part| part.strip_prefix("usec="));
    usec.and_then(|usec| usec.parse().ok()).expect("a number")
}

/// The time that the command took at a size, in us.
fn time_us(server: &Server, case: &Case, size: usize) -> u64 {
    let mut client = server.client();
    client.ask("FLUSHALL");
    pipeline(&mut client, &(case.before)(size));
    let mut observer = server.client();
    let before = spent_us(&mut observer, case.stat);
    pipeline(&mut client, &[(case.command)(size)]);
    spent_us(&mut observer, case.stat) - before
}

#[test]
fn cost_of_a_command_grows_linearly() {
    let server = Server::start(&["--workers", "2", "--databases", "2"]);
    for case in CASES {
        let (mut small_us, mut large_us) = (u64::MAX, u64::MAX);
        let is_linear = (0..ROUNDS_MAX).any(|_| {
            small_us = small_us.min(time_us(&server, case, case.size)).max(US_MIN);
            large_us = large_us.min(time_us(&server, case, case.size * STEP));
            large_us <= small_us * GROWTH_MAX
        });
        let (stat, size) = (case.stat, case.size);
        assert!(is_linear, "{stat}: {small_us} us at {size}, {large_us} us at {STEP} times as much");
    }
}

/// APPEND of one byte to a string of 500 MB took 382 ms: it was copied to a longer block. Now the block gets more pages; what a
/// copy takes is shown by the first write to a string that another key shares.
#[test]
fn append_to_huge_string_copies_nothing() {
    const BYTES: usize = 128 << 20;
    let server = Server::start(&["--workers", "1"]);
    let (mut client, mut observer) = (server.client(), server.client());
    let mut append_us = |client: &mut Client, key: &str| {
        let before = spent_us(&mut observer, "append");
        assert_eq!(client.ask(&format!("APPEND {key} x")).int(), Some(BYTES as i64 + 1));
        spent_us(&mut observer, "append") - before
    };
    let is_cheap = (0..ROUNDS_MAX).any(|_| {
        client.ask("FLUSHALL");
        // Written, so that there is something to copy.
        client.call(&[&b"SET"[..], b"alone", &vec![b'x'; BYTES]]);
        let alone_us = append_us(&mut client, "alone");
        client.call(&[&b"SET"[..], b"shared", &vec![b'x'; BYTES]]);
        client.ask("COPY shared other");
        let shared_us = append_us(&mut client, "shared");
        alone_us * 10 < shared_us
    });
    assert!(is_cheap, "a byte more costs as much as a copy");
}
