//! Many clients at once, on several workers: atomicity, fairness, and commands that reach across workers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, Rng, Server, TempDir, Value, command, pause_ms, split, until};

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

/// More than 65,535 ended the start with an assertion, and with as many INFO took 35 ms: each shard went through all of them.
#[test]
fn databases_that_are_empty_cost_nothing() {
    const LAST: u32 = i32::MAX as u32 - 1;
    for workers in ["1", "3"] {
        let args = ["--workers", workers, "--databases", "2147483647", "--enable-debug-command", "yes"];
        let server = Server::start(&args);
        let (mut first, mut last) = (server.client(), server.client());
        assert_eq!(last.ask(&format!("SELECT {LAST}")).string(), "OK");
        assert_eq!(last.ask("SELECT 2147483647").string(), "ERR DB index is out of range");
        for client in [&mut first, &mut last] {
            assert_eq!(client.ask("MSET a 1 b 2 c 3").string(), "OK");
        }
        assert_eq!(last.ask("PEXPIRE a 1").int(), Some(1));
        let info = |client: &mut Client| client.ask("INFO keyspace").string();
        let line = |db, keys| format!("db{db}:keys={keys},expires=0,");
        // The key's time comes without anybody asking for it.
        assert!(until(|| info(&mut first).contains(&line(LAST, 2))), "{}", info(&mut first));
        assert_eq!(first.ask(&format!("SWAPDB 0 {LAST}")).string(), "OK");
        assert_eq!((first.ask("DBSIZE").int(), last.ask("DBSIZE").int()), (Some(2), Some(3)));
        assert_eq!(first.ask(&format!("MOVE b {}", LAST - 1)).int(), Some(1));
        assert_eq!(first.ask(&format!("COPY c d DB {}", LAST - 1)).int(), Some(1));
        let text = info(&mut first);
        assert!([line(0, 1), line(LAST - 1, 2), line(LAST, 3)].iter().all(|db| text.contains(db)), "{text}");
        let stats = first.ask("MEMORY STATS").elements();
        assert!(stats.contains(&Value::Bulk(format!("db.{LAST}").into_bytes())), "{stats:?}");
        assert_ne!(first.ask("DEBUG DIGEST").string(), "0".repeat(40));
        assert_eq!(first.ask("FLUSHALL").string(), "OK");
        assert_eq!(info(&mut first).trim(), "# Keyspace");
        assert_eq!(first.ask("DEBUG DIGEST").string(), "0".repeat(40));
    }
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
    // INFO does not expire: what it counts as expired, the cron has.
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
        |log: &str| log.contains("512 leases were held for") && log.contains("by the command 'debug'");
    assert!(until(|| named(&server.log())), "{}", server.log());
    assert!(client.call(&["INFO", "workers"]).string().contains("long_leases=1"));
}

/// A command that reads shares its shards with others that do, so it cannot remove a key that has expired: it runs again, alone, and
/// counts once.
#[test]
fn reading_an_expired_key_among_others_counts_once() {
    let server = Server::start(&["--workers", "2", "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    for round in 1..=20 {
        assert_eq!(client.ask("SET there 1").string(), "OK");
        assert_eq!(client.ask("SET gone 1 PX 1").string(), "OK");
        pause_ms(3);
        let mut bytes = command(&["STRLEN", "there"]);
        bytes.extend(command(&["MGET", "there", "none", "gone", "there"]));
        bytes.extend(command(&["EXISTS", "gone", "there"]));
        client.send_raw(&bytes).expect("it is taken");
        assert_eq!(client.read().expect("a reply").int(), Some(1));
        let values = client.read().expect("a reply");
        let values: Vec<_> = values.elements().iter().map(|value| value.is_null()).collect();
        assert_eq!(values, [false, true, true, false]);
        assert_eq!(client.read().expect("a reply").int(), Some(1));
        let stats = client.ask("INFO everything").string();
        let counts = |name: &str, count: usize, end: &str| {
            assert!(stats.contains(&format!("{name}{count}{end}")), "{name}{count} is not in {stats}");
        };
        counts("expired_keys:", round, "\r\n");
        counts("keyspace_hits:", 4 * round, "\r\n");
        counts("keyspace_misses:", 3 * round, "\r\n");
        counts("cmdstat_mget:calls=", round, ",");
        counts("cmdstat_exists:calls=", round, ",");
    }
}

/// What asks the system for something, which may take as long as a disk does, is alone in its group and holds nobody's shards. It
/// was one of up to 32 commands, whose leases were all held until the last had run.
#[test]
fn command_that_talks_to_the_system_holds_no_lease() {
    let dir = TempDir::new();
    let (file, socket, log) = (dir.path().join("conf"), dir.path().join("socket"), dir.path().join("log"));
    let text = format!(
        "port 0\nworkers 2\nlease-warn-us 1\nunixsocket {}\nlogfile {}\n",
        socket.display(),
        log.display()
    );
    std::fs::write(&file, text).expect("the directory can be written");
    let mut server = std::process::Command::new(env!("CARGO_BIN_EXE_torc"))
        .arg(&file)
        .spawn()
        .expect("the binary was built");
    assert!(until(|| Client::unix(&socket).is_ok()));
    let mut client = Client::unix(&socket).expect("it has just been there");
    let asked =
        ["CONFIG REWRITE", "CONFIG SET hz 20", "INFO", "MEMORY STATS", "MEMORY DOCTOR", "MEMORY PURGE"];
    let mut bytes = Vec::new();
    for text in asked {
        bytes.extend(command(&["SET", "k", text]));
        bytes.extend(command(&split(text)));
        bytes.extend(command(&["MSET", "a", "1", "b", "2"]));
    }
    for _ in 0..20 {
        client.send_raw(&bytes).expect("it is taken");
        (0..3 * asked.len()).for_each(|_| assert!(!client.read().expect("a reply").is_error()));
    }
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("it is taken");
    assert!(server.wait().expect("it is a child of this process").success());
    let log = std::fs::read_to_string(&log).expect("it has logged");
    let held: Vec<&str> = log.lines().filter(|line| line.contains("leases were held")).collect();
    let names = ["config|rewrite", "config|set", "info", "memory|"];
    let wrong = held.iter().find(|line| names.iter().any(|name| line.contains(&format!("command '{name}"))));
    assert_eq!(wrong, None);
    assert!(held.iter().any(|line| line.contains("by the command 'set'")), "no lease was ever held:\n{log}");
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
    const TURNS: usize = 20;
    const LONG_BYTES: usize = 4 << 20;
    let server = Server::start(&["--workers", "2", "--enable-debug-command", "yes"]);
    let mut sleeper = server.client();
    let holds_all: [&[&str]; 4] = [&["MULTI"], &["SET", "k", "1"], &["DEBUG", "SLEEP", "0.1"], &["EXEC"]];
    let holds_all = holds_all.map(command).concat();
    // One of them is on another worker than the one that sleeps.
    let mut deaf = [(); 2].map(|()| server.client());
    let mut other = server.client();
    let mut busy = [(); 2].map(|()| server.client());
    assert_eq!(
        other.call(&["SETRANGE", "long", &(LONG_BYTES - 1).to_string(), "x"]).int(),
        Some(LONG_BYTES as i64)
    );
    for round in 1..=ROUNDS_MAX {
        let deaf = &mut deaf[round % 2];
        deaf.send(&["GET", "long"]).expect("it takes it");
        let line = format!("cmdstat_get:calls={round},");
        assert!(until(|| other.ask("INFO commandstats").string().contains(&line)));
        // A command behind a reply that is not read is refused in each turn of a worker that others keep busy.
        sleeper.send_raw(&holds_all).expect("it takes it");
        deaf.send(&["SET", "k", "2"]).expect("it takes it");
        for _ in 0..TURNS {
            busy.iter_mut().for_each(|client| client.send(&["PING"]).expect("it takes it"));
            pause_ms(1);
        }
        for _ in 0..4 {
            sleeper.read().expect("a reply");
        }
        for _ in 0..TURNS {
            busy.iter_mut().for_each(|client| assert_eq!(client.read().expect("a reply").string(), "PONG"));
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

/// A SCAN with a large COUNT held every shard that it came to until it had looked at all keys. It replies what it is asked for,
/// but looks at a part of the keys in each turn, and others run between; in a transaction it is one step, as all of it is.
#[test]
fn scan_with_large_count_lets_others_run() {
    const KEYS: usize = 50_000;
    const TURNS_MIN: u64 = 20;
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let mut set = vec!["MSET".to_owned()];
    set.extend((0..KEYS).flat_map(|n| [format!("key:{n}"), "value".to_owned()]));
    assert_eq!(client.call(&set).string(), "OK");
    let turns = |client: &mut Client| {
        let text = client.ask("INFO stats").string();
        let line = text.lines().find_map(|line| line.strip_prefix("eventloop_cycles:"));
        line.and_then(|turns| turns.parse::<u64>().ok()).expect("a number")
    };
    let check = |reply: &Value| {
        let [cursor, keys] = reply.elements().try_into().expect("a cursor and keys");
        let keys: BTreeSet<Vec<u8>> = keys.elements().iter().map(|key| key.text().to_vec()).collect();
        assert_eq!((cursor.string(), keys.len()), ("0".to_owned(), KEYS));
    };
    let before = turns(&mut client);
    check(&client.ask("SCAN 0 COUNT 100000000"));
    let taken = turns(&mut client) - before;
    assert!(taken >= TURNS_MIN, "{KEYS} keys in {taken} turns");
    // What stands behind it waits for it, and it counts as one call.
    client
        .send_raw(&[command(&["SCAN", "0", "COUNT", "30000"]), command(&["PING"])].concat())
        .expect("it takes it");
    let [cursor, keys] = client.read().expect("a reply").elements().try_into().expect("a cursor and keys");
    assert!(cursor.string() != "0" && (30_000..KEYS).contains(&keys.elements().len()));
    assert_eq!(client.read().expect("a reply").string(), "PONG");
    let counted = client.ask("INFO commandstats").string();
    assert!(counted.contains("cmdstat_scan:calls=2,"), "{counted}");
    client
        .send_raw(&[command(&["MULTI"]), command(&["SCAN", "0", "COUNT", "100000000"])].concat())
        .expect("it takes it");
    (0..2).for_each(|_| assert!(!client.read().expect("a reply").is_error()));
    check(&client.ask("EXEC").elements()[0]);
}
