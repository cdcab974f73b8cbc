//! Many clients at once, on several workers: atomicity, fairness, and commands that reach across workers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Rng, Server, command, until};

/// Writers set all keys to one value in one MSET, readers must never see two.
#[test]
fn commands_on_several_keys_are_atomic() {
    const KEYS: usize = 8;
    const READS: usize = 1_500;
    let server = Arc::new(Server::start(&["--workers", "3"]));
    let done = Arc::new(AtomicBool::new(false));
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    let write = |server: &Server, value: &str, client: &mut Client| {
        let mut words = vec!["MSET"];
        keys.iter().for_each(|key| words.extend([key, value]));
        assert_eq!(client.call(&words).string(), "OK", "{}", server.log());
    };
    write(&server, "0", &mut server.client());
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (server, done, write) = (Arc::clone(&server), Arc::clone(&done), &write);
            scope.spawn(move || {
                let mut client = server.client();
                let mut rng = Rng(writer);
                while !done.load(Ordering::Relaxed) {
                    write(&server, &rng.next().to_string(), &mut client);
                }
            });
        }
        let readers: Vec<_> = (0..3)
            .map(|_| {
                let (server, keys) = (Arc::clone(&server), &keys);
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut words = vec!["MGET"];
                    words.extend(keys.iter().map(String::as_str));
                    for _ in 0..READS {
                        let values = client.call(&words).elements();
                        assert!(
                            values.iter().all(|value| *value == values[0]),
                            "half of a write: {values:?}"
                        );
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = readers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(Result::is_ok), "a reader failed");
    });
}

/// Money moves between accounts with INCRBY in pipelines; increments are never lost.
#[test]
fn concurrent_increments_all_count() {
    const CLIENTS: u64 = 12;
    const INCREMENTS: usize = 400;
    let server = Server::start(&["--workers", "3"]);
    std::thread::scope(|scope| {
        for seed in 0..CLIENTS {
            let server = &server;
            scope.spawn(move || {
                let mut client = server.client();
                let mut rng = Rng(seed);
                let mut left = INCREMENTS;
                while left > 0 {
                    let depth = (1 + rng.below(30)).min(left);
                    let pipeline: Vec<u8> = (0..depth)
                        .flat_map(|_| command(&["INCR", &format!("counter:{}", rng.below(3))]))
                        .collect();
                    client.send_raw(&pipeline).expect("the server reads");
                    let mut replies = (0..depth).map(|_| client.read().expect("a reply"));
                    assert!(replies.all(|reply| reply.int().is_some()));
                    left -= depth;
                }
            });
        }
    });
    let sum: i64 = server
        .client()
        .ask("MGET counter:0 counter:1 counter:2")
        .elements()
        .iter()
        .filter_map(|v| v.int())
        .sum();
    assert_eq!(sum, CLIENTS as i64 * INCREMENTS as i64);
}

#[test]
fn a_client_of_any_worker_can_be_killed() {
    let server = Server::start(&["--workers", "3"]);
    let mut killer = server.client();
    let mut victims: Vec<(Client, i64)> = (0..12)
        .map(|_| {
            let mut client = server.client();
            let id = client.ask("CLIENT ID").int().expect("a number");
            (client, id)
        })
        .collect();
    for (victim, id) in &mut victims {
        assert_eq!(killer.ask(&format!("CLIENT KILL ID {id}")).int(), Some(1));
        assert!(victim.read_to_end().1.is_ok(), "a killed connection stays open");
    }
    assert!(until(|| killer.ask("CLIENT LIST").string().lines().count() == 1));
    assert_eq!(killer.ask("CLIENT KILL ID 999999").int(), Some(0));
}

#[test]
fn a_monitor_sees_the_commands_of_every_worker() {
    let server = Server::start(&["--workers", "3"]);
    let mut monitor = server.client();
    assert_eq!(monitor.ask("MONITOR").string(), "OK");
    for n in 0..9 {
        let mut client = server.client();
        assert_eq!(client.ask(&format!("ECHO seen:{n}")).string(), format!("seen:{n}"));
        let line = monitor.read().expect("a line").string();
        assert!(line.ends_with(&format!("\"ECHO\" \"seen:{n}\"")), "{line}");
    }
}

/// The slow log hid what the feed did by a rule of its own, and both hid all words of HELLO.
#[test]
fn a_monitor_sees_no_passwords() {
    for server in [Server::start(&[]), Server::redis(&[])] {
        let (mut monitor, mut client) = (server.client(), server.client());
        assert_eq!(monitor.ask("MONITOR").string(), "OK");
        client.ask("CONFIG SET requirepass x masteruser y");
        for (request, shown) in [
            ("AUTH x", r#""AUTH" "(redacted)""#),
            ("AUTH default wrong", r#""AUTH" "(redacted)" "(redacted)""#),
            (
                "HELLO 3 AUTH default x SETNAME y",
                r#""HELLO" "3" "AUTH" "(redacted)" "(redacted)" "SETNAME" "y""#,
            ),
            ("HELLO 2 SETNAME auth", r#""HELLO" "2" "SETNAME" "auth""#),
        ] {
            client.ask(request);
            let line = monitor.read().expect("a line").string();
            assert!(line.ends_with(&format!("] {shown}")), "{line}");
        }
    }
}

/// A client on a Unix socket was shown by its peer's address, which ends with `:0`.
#[test]
fn a_monitor_sees_where_commands_come_from() {
    for server in [Server::start_tcp(&[]), Server::redis_tcp(&[])] {
        let mut monitor = server.client();
        assert_eq!(monitor.ask("MONITOR").string(), "OK");
        let mut shown = |mut client: Client| {
            let listed = client.ask("CLIENT INFO").string();
            let line = monitor.read().expect("a line").string();
            let (_, rest) = line.split_once(" [0 ").expect("a database");
            let (origin, _) = rest.split_once(']').expect("an end");
            (origin.to_owned(), listed)
        };
        let (origin, listed) = shown(server.tcp_client());
        assert!(listed.contains(&format!(" addr={origin} ")), "{origin}: {listed}");
        let (origin, listed) = shown(server.client());
        let path = origin.strip_prefix("unix:").expect("the kind of socket");
        assert!(listed.contains(&format!(" addr={path}:0 ")), "{origin}: {listed}");
    }
}

#[test]
fn databases_are_apart() {
    let server = Server::start(&["--workers", "3", "--databases", "4"]);
    let (mut first, mut second) = (server.client(), server.client());
    assert_eq!(second.ask("SELECT 3").string(), "OK");
    for n in 0..100 {
        first.ask(&format!("SET key:{n} first"));
        second.ask(&format!("SET key:{n} second"));
    }
    assert_eq!(first.ask("SWAPDB 0 3").string(), "OK");
    for n in 0..100 {
        assert_eq!(first.ask(&format!("GET key:{n}")).string(), "second");
        assert_eq!(second.ask(&format!("GET key:{n}")).string(), "first");
    }
    assert_eq!(second.ask("FLUSHDB").string(), "OK");
    assert_eq!((first.ask("DBSIZE").int(), second.ask("DBSIZE").int()), (Some(100), Some(0)));
}

/// How often the worker threads of a server have waited so far.
fn waits(server: &Server) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("it runs");
    let statuses = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok());
    let workers = statuses.filter(|status| status.starts_with("Name:\ttorc-worker"));
    let waits = workers.map(|status| {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).expect("the kernel counts them")
    });
    waits.sum()
}

/// An idle server's workers wake once a second, and still expire keys when it is time.
#[test]
fn an_idle_server_rests() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    for number in 0..100 {
        assert_eq!(client.ask(&format!("SET key:{number} value EX 6")).string(), "OK");
    }
    let (mut since, mut before) = (Instant::now(), waits(&server));
    let rests = until(|| {
        if since.elapsed() < Duration::from_secs(1) {
            return false;
        }
        let window = (since.elapsed(), waits(&server) - before);
        (since, before) = (Instant::now(), waits(&server));
        window.0 < Duration::from_secs(2) && window.1 <= 6
    });
    assert!(rests, "the workers go on waking");
    // INFO does not expire: what it counts as expired, the upkeep has.
    assert!(until(|| client.ask("INFO stats").string().contains("expired_keys:100\r\n")));
    assert_eq!(client.ask("DBSIZE").int(), Some(0));
}

/// Whoever keeps others off its shards for long is named in the log, and counted.
#[test]
fn a_lease_held_for_long_is_logged_with_its_command() {
    let args = ["--workers", "2", "--lease-warn-us", "5000", "--enable-debug-command", "yes"];
    let server = Server::start(&args);
    let mut client = server.client();
    for words in [&["MULTI"][..], &["SET", "a", "1"], &["DEBUG", "SLEEP", "0.02"]] {
        client.call(words);
    }
    assert_eq!(client.call(&["EXEC"]).elements().len(), 2);
    let named =
        |log: &str| log.contains("256 leases were held for") && log.contains("by the command 'debug'");
    assert!(until(|| named(&server.log())), "{}", server.log());
    assert!(client.call(&["INFO", "workers"]).string().contains("long_leases=1"));
}

/// Fifty clients keep the shards of single keys busy; a transaction on a hundred of them runs all the same, again and again.
#[test]
fn a_transaction_on_many_keys_is_not_starved() {
    const KEYS: usize = 100;
    const CLIENTS: usize = 50;
    const TRANSACTIONS: usize = 30;
    let server = Server::start(&["--workers", "3"]);
    let done = AtomicBool::new(false);
    let keys: Vec<String> = (0..KEYS).map(|n| format!("key:{n}")).collect();
    std::thread::scope(|scope| {
        for number in 0..CLIENTS {
            let (server, done, keys) = (&server, &done, &keys);
            scope.spawn(move || {
                let mut client = server.client();
                let mut rng = Rng(number as u64);
                while !done.load(Ordering::Relaxed) {
                    let burst: Vec<u8> =
                        (0..16).flat_map(|_| command(&["INCR", rng.pick::<String>(keys).as_str()])).collect();
                    client.send_raw(&burst).expect("the server reads");
                    (0..16).for_each(|_| assert!(client.read().expect("a reply").int().is_some()));
                }
            });
        }
        let mut client = server.client();
        let started = Instant::now();
        for round in 0..TRANSACTIONS {
            let mut request = command(&["MULTI"]);
            keys.iter().for_each(|key| request.extend(command(&["INCR", key])));
            request.extend(command(&["EXEC"]));
            client.send_raw(&request).expect("the server reads");
            (0..=KEYS).for_each(|_| assert!(!client.read().expect("a reply").is_error()));
            assert_eq!(client.read().expect("a reply").elements().len(), KEYS, "round {round}");
        }
        let taken = started.elapsed();
        done.store(true, Ordering::Relaxed);
        assert!(taken < Duration::from_secs(20), "{TRANSACTIONS} transactions took {taken:?}");
    });
}

/// What a client has reserved because it was refused too often is free again when it is held back for another reason. It stayed
/// reserved until the client read its replies, and no other worker could use those shards.
#[test]
fn a_client_that_does_not_read_keeps_nothing_reserved() {
    const ROUNDS_MAX: usize = 30;
    const LONG_BYTES: usize = 4 << 20;
    let server = Server::start(&["--workers", "2", "--enable-debug-command", "yes"]);
    let mut sleeper = server.client();
    let holds_all: [&[&str]; 4] = [&["MULTI"], &["SET", "k", "1"], &["DEBUG", "SLEEP", "0.1"], &["EXEC"]];
    let holds_all = holds_all.map(command).concat();
    let mut deaf = server.client();
    let mut other = server.client();
    assert_eq!(
        other.call(&["SETRANGE", "long", &(LONG_BYTES - 1).to_string(), "x"]).int(),
        Some(LONG_BYTES as i64)
    );
    for round in 1..=ROUNDS_MAX {
        deaf.send(&["GET", "long"]).expect("it takes it");
        let line = format!("cmdstat_get:calls={round},");
        assert!(until(|| other.ask("INFO commandstats").string().contains(&line)));
        // A command behind a reply that is not read is refused again and again; with luck, as both begin at once.
        sleeper.send_raw(&holds_all).expect("it takes it");
        deaf.send(&["SET", "k", "2"]).expect("it takes it");
        for _ in 0..4 {
            sleeper.read().expect("a reply");
        }
        assert_eq!(other.ask("SET k 3").string(), "OK");
        assert_eq!(deaf.read().expect("a reply").text().len(), LONG_BYTES);
        assert_eq!(deaf.read().expect("a reply").string(), "OK");
        if server.workers_sum("leases_reserved") > 0 {
            return;
        }
    }
    panic!("no shard was ever reserved");
}
