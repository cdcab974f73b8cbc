//! FAILOVER: refused as in Redis, and done with Redis on either side, under load, without a write that is lost.

use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::pair::{await_link, check_same, field, number, primary};
use crate::harness::{Client, Server, Value, newest_program, until};

/// Commands that are refused, or parsed, alike: before there is a replica, and with one.
const REFUSED: &[&str] = &[
    "FAILOVER ABORT",
    "FAILOVER ABORT TIMEOUT 100",
    "FAILOVER ABORT FORCE",
    "FAILOVER ABORT ABORT",
    "FAILOVER FORCE",
    "FAILOVER FORCE TIMEOUT 100",
    "FAILOVER TO 127.0.0.1 1 FORCE",
    "FAILOVER TO 127.0.0.1 1 FORCE TIMEOUT 10",
    "FAILOVER TO 127.0.0.1 x",
    "FAILOVER TO 127.0.0.1 70000",
    "FAILOVER TO 127.0.0.1",
    "FAILOVER TO localhost 1 TIMEOUT 100",
    "FAILOVER TIMEOUT 0",
    "FAILOVER TIMEOUT -1",
    "FAILOVER TIMEOUT x",
    "FAILOVER TIMEOUT",
    "FAILOVER TIMEOUT 10 TIMEOUT 10",
    "FAILOVER BOO",
    "PSYNC 0123456789012345678901234567890123456789 1 FAILOVER",
];

fn redis() -> Server {
    let own = ["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"];
    Server::program_tcp(&newest_program("redis-server"), &own)
}

fn follow(replica: &Server, primary: &Server) {
    let words = format!("REPLICAOF 127.0.0.1 {}", primary.tcp().port());
    assert!(!replica.client().ask(&words).is_error());
    await_link(replica);
    let mut client = primary.client();
    let is_online = until(|| field(&mut client, "replication", "slave0").contains("state=online"));
    assert!(is_online, "{}", primary.log());
}

fn state(server: &Server) -> String {
    field(&mut server.client(), "replication", "master_failover_state")
}

fn is_primary(server: &Server) -> bool {
    field(&mut server.client(), "replication", "role") == "master"
}

#[test]
fn failover_is_refused_as_in_redis() {
    let (torc, redis) = (primary(&[]), redis());
    let same = |commands: &[&str]| {
        let (mut ours, mut theirs) = (torc.client(), redis.client());
        for command in commands {
            assert_eq!(ours.ask(command), theirs.ask(command), "{command}");
        }
    };
    same(REFUSED);
    same(&["FAILOVER", "FAILOVER TIMEOUT 100", "FAILOVER TO 127.0.0.1 1"]);
    let replicas = [&torc, &redis].map(|server| {
        let replica = self::redis();
        follow(&replica, server);
        replica
    });
    same(REFUSED);
    // What a replica says.
    let all = replicas.iter().map(|replica| replica.client().ask("FAILOVER")).collect::<Vec<_>>();
    let chained = primary(&[]);
    follow(&chained, &replicas[0]);
    assert_eq!(chained.client().ask("FAILOVER"), all[0]);
    assert_eq!(
        chained.client().ask("PSYNC 0123456789012345678901234567890123456789 1 FAILOVER"),
        replicas[1].client().ask("PSYNC 0123456789012345678901234567890123456789 1 FAILOVER"),
    );
    // While one waits.
    replicas.iter().for_each(|replica| replica.signal(Signal::STOP));
    for server in [&torc, &redis] {
        server.client().ask("SET k v");
        assert_eq!(server.client().ask("FAILOVER TIMEOUT 100000"), Value::Simple(b"OK".to_vec()));
    }
    same(&["FAILOVER", "REPLICAOF NO ONE", "REPLICAOF 127.0.0.1 1", "PSYNC ? -1", "GET k", "CLIENT UNPAUSE"]);
    let (mut waits, mut aborts) = (torc.client(), torc.client());
    waits.send(&["SET", "k", "w"]).expect("it is there");
    assert_eq!(state(&torc), "waiting-for-sync");
    assert_eq!(aborts.ask("GET k").string(), "v", "writes are held back");
    same(&["FAILOVER ABORT", "FAILOVER ABORT"]);
    assert_eq!(waits.read().expect("it goes on"), Value::Simple(b"OK".to_vec()));
    assert_eq!(state(&torc), "no-failover");
    // Too late.
    aborts.ask("FAILOVER TIMEOUT 50");
    assert!(until(|| state(&torc) == "no-failover"), "{}", torc.log());
    assert!(is_primary(&torc) && torc.log().contains("Replica never caught up before timeout"));
    // Forced, and taken back while the other does not answer.
    let address = replicas[0].tcp();
    let forced = format!("FAILOVER TO {} {} FORCE TIMEOUT 50", address.ip(), address.port());
    aborts.ask(&forced);
    assert!(until(|| state(&torc) == "failover-in-progress"), "{}", torc.log());
    assert!(!is_primary(&torc));
    assert_eq!(aborts.ask("FAILOVER ABORT"), Value::Simple(b"OK".to_vec()));
    assert!(is_primary(&torc));
    assert_eq!(aborts.ask("SET k x"), Value::Simple(b"OK".to_vec()));
    replicas.iter().for_each(|replica| replica.signal(Signal::CONT));
}

/// Counts as far as the server lets it, and goes where the primary is; what was acknowledged last.
pub fn count_until(servers: &[Server; 2], key: &str, stop: &AtomicBool) -> i64 {
    let mut last = 0;
    let mut clients: Vec<Client> = servers.iter().map(Server::client).collect();
    while !stop.load(Ordering::Relaxed) {
        for (client, server) in clients.iter_mut().zip(servers) {
            match client.send(&["INCR", key]).and_then(|()| client.read()) {
                Ok(Value::Int(count)) => {
                    assert_eq!(count, last + 1, "a write is missing");
                    last = count;
                }
                Ok(Value::Error(error)) => {
                    assert!(error.starts_with(b"READONLY"), "{}", error.escape_ascii());
                }
                Ok(other) => panic!("{other:?}"),
                // Clients that waited for a key of a primary that is none any more are closed.
                Err(_) => *client = server.client(),
            }
        }
    }
    last
}

fn hand_over_and_back(servers: &[Server; 2], rounds: usize) {
    follow(&servers[1], &servers[0]);
    let stop = AtomicBool::new(false);
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let counters: Vec<_> = (0..3)
            .map(|number| {
                let stop = &stop;
                scope.spawn(move || count_until(servers, &format!("count:{number}"), stop))
            })
            .collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..rounds {
                let (from, to) = (&servers[round % 2], &servers[(round + 1) % 2]);
                assert_eq!(from.client().ask("FAILOVER TIMEOUT 30000"), Value::Simple(b"OK".to_vec()));
                let is_done = until(|| is_primary(to) && !is_primary(from) && state(from) == "no-failover");
                assert!(is_done, "{round}: {}\n---\n{}", from.log(), to.log());
                await_link(from);
                let mut client = to.client();
                let is_online = until(|| number(&mut client, "replication", "connected_slaves") == 1);
                assert!(is_online, "{}", to.log());
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let counts = counters.into_iter().map(|counter| counter.join().expect("no write is lost")).collect();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        counts
    });
    let last = &servers[rounds % 2];
    for (number, count) in counts.iter().enumerate() {
        assert_eq!(last.client().ask(&format!("GET count:{number}")).string(), count.to_string());
        assert!(*count > 0);
    }
    check_same(last, &servers[(rounds + 1) % 2]);
    let snapshots: Vec<u64> =
        servers.iter().map(|server| number(&mut server.client(), "stats", "sync_full")).collect();
    assert_eq!(
        snapshots,
        [1, 0],
        "each time it goes on where it was: {}\n{}",
        servers[0].log(),
        servers[1].log()
    );
}

#[test]
fn torc_hands_over_to_torc_and_back() {
    hand_over_and_back(&[primary(&["--workers", "2"]), primary(&["--workers", "3"])], 4);
}

#[test]
fn torc_hands_over_to_redis_and_back() {
    hand_over_and_back(&[primary(&["--workers", "2"]), redis()], 4);
    hand_over_and_back(&[redis(), primary(&["--workers", "2"])], 2);
}
