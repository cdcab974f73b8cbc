//! The memory limit: bounded memory under every policy, which keys go, which commands are refused.

use std::time::{Duration, Instant};

use crate::harness::{Client, Server, command, until};

/// Longer than the cron takes to count what clients hold.
const GAUGES_SETTLE: Duration = Duration::from_millis(400);
const OOM: &str = "OOM command not allowed when used memory > 'maxmemory'.";
/// Room above what the empty server uses.
const ROOM_BYTES: u64 = 4 << 20;
const VALUE_BYTES: usize = 500;
/// About four times what fits.
const KEYS: usize = 30_000;
const PIPELINE: usize = 100;

fn info(client: &mut Client, field: &str) -> u64 {
    let sections = client.ask("INFO memory stats").string();
    let line = sections.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number {field} in INFO"))
}

fn int(client: &mut Client, text: &str) -> i64 {
    let reply = client.ask(text);
    reply.int().unwrap_or_else(|| panic!("{text}: {reply}"))
}

/// Sets a limit `ROOM_BYTES` above what is in use, and returns it.
fn limit(client: &mut Client, policy: &str) -> u64 {
    let limit = info(client, "used_memory") + ROOM_BYTES;
    assert_eq!(client.ask(&format!("CONFIG SET maxmemory-policy {policy} maxmemory {limit}")).string(), "OK");
    assert_eq!(info(client, "maxmemory"), limit);
    assert!(client.ask("INFO memory").string().contains(&format!("maxmemory_policy:{policy}\r\n")));
    limit
}

/// Sets keys, pipelined; with a deadline those that `volatile` says. How many were refused.
fn fill(client: &mut Client, prefix: &str, count: usize, volatile: impl Fn(usize) -> bool) -> usize {
    let value = "x".repeat(VALUE_BYTES);
    let mut refused = 0;
    for start in (0..count).step_by(PIPELINE) {
        let mut bytes = Vec::new();
        for number in start..start + PIPELINE {
            let (key, px) = (format!("{prefix}:{number}"), format!("{}", 1_000_000 + number));
            bytes.extend(match volatile(number) {
                true => command(&["SET", &key, &value, "PX", &px]),
                false => command(&["SET", &key, &value]),
            });
        }
        client.send_raw(&bytes).expect("the server reads");
        for _ in 0..PIPELINE {
            let reply = client.read().expect("a reply").string();
            assert!(reply == "OK" || reply == OOM, "{reply}");
            refused += usize::from(reply == OOM);
        }
    }
    refused
}

/// Sets more keys until memory stays full: buffers that the filling itself took are given back, and counted, a little later.
fn fill_up(client: &mut Client) {
    let value = "x".repeat(VALUE_BYTES);
    let (mut number, mut full_since) = (0, Instant::now());
    while full_since.elapsed() < GAUGES_SETTLE {
        if client.call(&["SET", &format!("filler:{number}"), &value]).string() != OOM {
            full_since = Instant::now();
        }
        number += 1;
    }
}

fn check_bounded(client: &mut Client, limit: u64, what: &str) {
    let used = info(client, "used_memory");
    assert!(used < limit + ROOM_BYTES / 20, "{what}: {used} bytes with a limit of {limit}");
    assert!(used > limit - ROOM_BYTES / 2, "{what}: only {used} bytes with a limit of {limit}");
}

#[test]
fn memory_stays_below_the_limit_under_every_policy() {
    for workers in ["1", "3"] {
        let policies = ["lru", "lfu", "random"].into_iter();
        let policies = policies.flat_map(|rank| [format!("allkeys-{rank}"), format!("volatile-{rank}")]);
        for policy in policies.chain(["volatile-ttl".to_string()]) {
            let what = format!("{policy}, {workers} workers");
            let server = Server::start(&["--workers", workers]);
            let mut client = server.client();
            let limit = limit(&mut client, &policy);
            assert_eq!(fill(&mut client, "key", KEYS, |_| true), 0, "{what}");
            check_bounded(&mut client, limit, &what);
            let evicted = info(&mut client, "evicted_keys");
            let left = int(&mut client, "DBSIZE") as u64;
            assert_eq!(evicted + left, KEYS as u64, "{what}");
            // Several databases: keys of all of them go.
            assert_eq!(client.ask("SELECT 9").string(), "OK");
            assert_eq!(fill(&mut client, "key", KEYS / 2, |_| true), 0, "{what}");
            check_bounded(&mut client, limit, &what);
            assert!(int(&mut client, "DBSIZE") > 0, "{what}");
        }
    }
}

#[test]
fn several_clients_together_stay_below_the_limit() {
    let server = Server::start(&["--workers", "3"]);
    let limit = limit(&mut server.client(), "allkeys-lru");
    std::thread::scope(|scope| {
        for number in 0..4 {
            let mut client = server.client();
            scope.spawn(move || {
                assert_eq!(fill(&mut client, &format!("client{number}"), KEYS / 2, |_| false), 0);
            });
        }
    });
    let mut client = server.client();
    let below = until(|| info(&mut client, "used_memory") <= limit + ROOM_BYTES / 20);
    assert!(below, "{} bytes with a limit of {limit}", info(&mut client, "used_memory"));
}

#[test]
fn volatile_policies_spare_keys_without_a_deadline() {
    for (workers, policies) in
        [("1", ["volatile-lru", "volatile-ttl"]), ("3", ["volatile-lfu", "volatile-random"])]
    {
        for policy in policies {
            let server = Server::start(&["--workers", workers]);
            let mut client = server.client();
            limit(&mut client, policy);
            // One in fifty may go; with only the others the memory is not full yet.
            let kept = 4_000;
            assert_eq!(fill(&mut client, "mixed", kept, |number| number % 50 == 0), 0);
            let refused = fill(&mut client, "kept", KEYS, |_| false);
            assert!(refused > KEYS / 2, "{policy}: {refused} refused");
            fill_up(&mut client);
            assert_eq!(client.ask("SET another value").string(), OOM);
            for number in (0..kept).step_by(7) {
                let here = int(&mut client, &format!("EXISTS mixed:{number}")) == 1;
                assert_eq!(here, number % 50 != 0, "{policy}: mixed:{number}");
            }
            assert_eq!(info(&mut client, "evicted_keys"), kept as u64 / 50, "{policy}");
            // Keys that may go make room for another, once the memory that clients took meanwhile is counted.
            for number in (1..400).filter(|number| number % 50 != 0) {
                assert_eq!(int(&mut client, &format!("PEXPIRE mixed:{number} 1000000")), 1);
            }
            // (What clients give back meanwhile may make room for a few.)
            let mut number = 0;
            let makes_room = || {
                number += 1;
                let set = client.ask(&format!("SET another:{number} {}", "v".repeat(VALUE_BYTES))).string();
                set == "OK" && info(&mut client, "evicted_keys") > kept as u64 / 50
            };
            assert!(until(makes_room), "{policy}");
        }
    }
}

#[test]
fn without_eviction_commands_that_need_memory_are_refused() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let mut client = server.client();
        let limit = limit(&mut client, "noeviction");
        assert!(fill(&mut client, "key", KEYS, |_| true) > KEYS / 2);
        check_bounded(&mut client, limit, "noeviction");
        fill_up(&mut client);
        for refused in ["SET k v", "APPEND key:0 v", "INCR n", "MSET a 1 b 2", "SETRANGE key:0 0 v"] {
            assert_eq!(client.ask(refused).string(), OOM, "{refused}");
        }
        assert_eq!(int(&mut client, "STRLEN key:0"), VALUE_BYTES as i64);
        assert_eq!(int(&mut client, "PERSIST key:0"), 1);
        assert_eq!(info(&mut client, "evicted_keys"), 0);
        assert!(client.ask("INFO commandstats").string().contains("cmdstat_incr:calls=0"));
        let over_ms = |client: &mut Client| {
            ["current", "total"].map(|which| info(client, &format!("{which}_eviction_exceeded_time")))
        };
        assert!(until(|| over_ms(&mut client)[0] > 0));
        for number in 0..200 {
            assert_eq!(int(&mut client, &format!("DEL key:{number}")), 1);
        }
        assert_eq!(client.ask("SET k v").string(), "OK");
        assert!(until(|| over_ms(&mut client)[0] == 0));
        assert!(over_ms(&mut client)[1] > 0);
        assert_eq!(client.ask("CONFIG RESETSTAT").string(), "OK");
        assert_eq!(over_ms(&mut client), [0, 0]);
        // What is flushed is no reason to refuse, even before it is freed.
        assert!(fill(&mut client, "more", KEYS, |_| false) > 0);
        assert_eq!(client.ask("FLUSHALL ASYNC").string(), "OK");
        assert_eq!(client.ask("SET k v").string(), "OK");
        // Without the limit everything is taken again.
        assert_eq!(client.ask("CONFIG SET maxmemory 0").string(), "OK");
        assert_eq!(fill(&mut client, "key", KEYS, |_| false), 0);
    }
}

#[test]
fn large_values_go_over_the_limit_for_a_moment_only() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let limit = limit(&mut client, "allkeys-random");
    let value = "x".repeat(1 << 20);
    for number in 0..40 {
        assert_eq!(client.call(&["SET", &format!("large:{number}"), &value]).string(), "OK");
        let below = until(|| info(&mut client, "used_memory") <= limit);
        assert!(below, "{} bytes with a limit of {limit}", info(&mut client, "used_memory"));
    }
    assert!(int(&mut client, "DBSIZE") > 0);
}

/// Lowering the limit evicts without a further command that needs memory.
#[test]
fn a_lower_limit_applies_at_once() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers, "--maxmemory-policy", "allkeys-random"]);
        let mut client = server.client();
        let limit = info(&mut client, "used_memory") + ROOM_BYTES;
        assert_eq!(fill(&mut client, "key", KEYS, |_| false), 0);
        assert_eq!(client.ask(&format!("CONFIG SET maxmemory {limit}")).string(), "OK");
        assert!(until(|| info(&mut client, "used_memory") <= limit));
        assert!(int(&mut client, "DBSIZE") > 1_000);
    }
}

/// Half of the keys are read again and again while others push them out.
#[test]
fn keys_in_use_survive() {
    for policy in ["allkeys-lru", "allkeys-lfu"] {
        for workers in ["1", "3"] {
            let server = Server::start(&["--workers", workers]);
            let mut client = server.client();
            limit(&mut client, policy);
            assert_eq!(client.ask("CONFIG SET maxmemory-samples 10").string(), "OK");
            let count = 4_000;
            assert_eq!(fill(&mut client, "key", count, |_| false), 0);
            if policy == "allkeys-lru" {
                assert!(until(|| int(&mut client, "OBJECT IDLETIME key:0") >= 2));
            }
            for number in (0..count).step_by(2).flat_map(|number| [number; 4]) {
                assert!(!client.ask(&format!("GET key:{number}")).is_null());
            }
            assert_eq!(fill(&mut client, "other", 5_000, |_| false), 0);
            let mut lost = [0; 2];
            for number in 0..count {
                lost[number % 2] += 1 - int(&mut client, &format!("EXISTS key:{number}"));
            }
            assert!(lost[0] * 2 < lost[1], "{policy}, {workers} workers: lost {lost:?}");
        }
    }
}

#[test]
fn frequencies_are_counted() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lfu", "--lfu-log-factor", "0"]);
    let mut client = server.client();
    assert_eq!(client.ask("SET k v").string(), "OK");
    assert_eq!(int(&mut client, "OBJECT FREQ k"), 5);
    for _ in 0..10 {
        assert_eq!(client.ask("GET k").string(), "v");
    }
    assert_eq!(int(&mut client, "OBJECT FREQ k"), 15);
    // Writing is using, and does not begin anew.
    assert_eq!(client.ask("SET k w").string(), "OK");
    assert_eq!(int(&mut client, "APPEND k w"), 2);
    assert_eq!(int(&mut client, "EXPIRE k 1000"), 1);
    assert_eq!(int(&mut client, "OBJECT FREQ k"), 18);
    assert_eq!(client.ask("CLIENT NO-TOUCH on").string(), "OK");
    assert_eq!(client.ask("GET k").string(), "ww");
    assert_eq!(client.ask("SET k v").string(), "OK");
    assert_eq!(int(&mut client, "OBJECT FREQ k"), 18);
    assert_eq!(client.ask("SET l v").string(), "OK");
    assert_eq!(int(&mut client, "OBJECT FREQ l"), 5);
    assert_eq!(client.ask("CONFIG SET maxmemory-policy allkeys-lru").string(), "OK");
    assert!(client.ask("OBJECT FREQ k").is_error());
    assert_eq!(client.ask("CLIENT NO-TOUCH off").string(), "OK");
    assert_eq!(client.ask("GET k").string(), "v");
    assert!((0..=2).contains(&int(&mut client, "OBJECT IDLETIME k")));
}

/// What clients hold was counted ten times a second: whoever was quick queued three times what the limit allows.
#[test]
fn queued_commands_count_at_once() {
    for (value_bytes, count) in [(100_000, 200), (1_000, 20_000)] {
        let server = Server::start(&["--workers", "2"]);
        let mut client = server.client();
        limit(&mut client, "noeviction");
        let queued = command(&["SET", "key", &"x".repeat(value_bytes)]);
        let mut bytes = command(&["MULTI"]);
        (0..count).for_each(|_| bytes.extend_from_slice(&queued));
        let mut sender = client.try_clone().expect("a handle of the same socket");
        let sending = std::thread::spawn(move || sender.send_raw(&bytes).expect("the server reads"));
        assert_eq!(client.read().expect("a reply").string(), "OK");
        let (mut queued_bytes, mut refused) = (0, 0);
        for _ in 0..count {
            match client.read().expect("a reply").string() {
                // Behind one that was refused nothing is kept any more, and where there is room again that is not refused.
                text if text == "QUEUED" && refused > 0 => {}
                text if text == "QUEUED" => queued_bytes += value_bytes as u64,
                text => {
                    assert_eq!(text, OOM);
                    refused += 1;
                }
            }
        }
        sending.join().expect("all was sent");
        assert!(queued_bytes <= ROOM_BYTES, "{queued_bytes} bytes were queued in values of {value_bytes}");
        assert!(refused > 0);
        // The transaction's memory goes with it.
        let aborted = client.ask("EXEC").string();
        assert!(aborted.starts_with("EXECABORT Transaction discarded because of"), "{aborted}");
        assert_eq!(client.ask("SET key value").string(), "OK");
    }
}

/// A large value that is on its way in counts from its first byte on.
#[test]
fn bulk_being_received_counts_at_once() {
    let server = Server::start(&["--workers", "2"]);
    let (mut client, mut sender) = (server.client(), server.client());
    let limit = limit(&mut client, "noeviction");
    assert_eq!(client.ask("SET key value").string(), "OK");
    let begun = format!("*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n${limit}\r\nbegins");
    sender.send_raw(begun.as_bytes()).expect("the server reads");
    assert!(until(|| client.ask("SET key value").string() == OOM));
    drop(sender);
    assert!(until(|| client.ask("SET key value").string() == "OK"));
}
