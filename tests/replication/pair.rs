//! A primary and its replicas.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Client, Rng, Server, Value, redis_program, until};

/// Servers that replicate Torc.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Redis8,
    Redis7,
    Valkey9,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Redis8, Self::Redis7, Self::Valkey9];
}

/// Torc, ready to be followed at once.
pub fn primary(args: &[&str]) -> Server {
    let own = ["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes"];
    Server::start_tcp(&[&own[..], args].concat())
}

/// A server that follows the one at this address.
pub fn replica(kind: Kind, primary: SocketAddr) -> Server {
    let (ip, port) = (primary.ip().to_string(), primary.port().to_string());
    let args = ["--replicaof", &ip, &port, "--enable-debug-command", "yes", "--repl-timeout", "10"];
    match kind {
        Kind::Redis8 => Server::redis_tcp(&args),
        Kind::Redis7 => Server::program_tcp(&redis_program("redis-server"), &args),
        Kind::Valkey9 => Server::newest_tcp("valkey-server", &args),
    }
}

/// A field of INFO.
#[track_caller]
pub fn field(client: &mut Client, section: &str, name: &str) -> String {
    let text = client.ask(&format!("INFO {section}")).string();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':').map(str::to_owned));
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

/// The same, as a number.
#[track_caller]
pub fn number(client: &mut Client, section: &str, name: &str) -> u64 {
    field(client, section, name).parse().expect("a number")
}

/// Waits until a replica is linked.
#[track_caller]
pub fn await_link(replica: &Server) {
    let mut client = replica.client();
    let is_linked = until(|| field(&mut client, "replication", "master_link_status") == "up");
    assert!(is_linked, "{}", replica.log());
}

/// Waits until a replica has all of the stream, and compares the data.
#[track_caller]
pub fn check_same(primary: &Server, replica: &Server) {
    let (mut source, mut target) = (primary.client(), replica.client());
    // What expires meanwhile would be gone on one side first.
    let nothing_expires = until(|| {
        let keyspace = source.ask("INFO keyspace").string();
        keyspace.lines().filter(|line| line.starts_with("db")).all(|line| line.contains(",expires=0,"))
    });
    assert!(nothing_expires, "{}", primary.log());
    let has_all = until(|| {
        field(&mut target, "replication", "master_link_status") == "up"
            && number(&mut target, "replication", "slave_repl_offset")
                == number(&mut source, "replication", "master_repl_offset")
    });
    assert!(has_all, "primary:\n{}\nreplica:\n{}", primary.log(), replica.log());
    let digests = [source.ask("DEBUG DIGEST"), target.ask("DEBUG DIGEST")];
    if digests[0] != digests[1] {
        for db in 0..4 {
            source.ask(&format!("SELECT {db}"));
            target.ask(&format!("SELECT {db}"));
            let Value::Array(keys) = source.ask("KEYS *") else { panic!("it is an array") };
            for key in keys {
                let key = key.string();
                let words = ["DEBUG", "DIGEST-VALUE", &key];
                assert_eq!(source.call(&words), target.call(&words), "{key} in database {db}");
            }
            assert_eq!(source.ask("DBSIZE"), target.ask("DBSIZE"), "database {db}");
        }
    }
    assert_eq!(digests[0], digests[1]);
}

/// One command of a random load on a few keys of each type, of which not all succeed.
pub fn random_command(rng: &mut Rng) -> Vec<String> {
    let n = rng.below(40);
    let value = rng.below(100_000);
    let text = match rng.below(24) {
        0 => format!("SET s{n} {value}"),
        1 => format!("SET s{n} {value} PX {}", 1 + rng.below(300)),
        2 => format!("APPEND s{n} {value}"),
        3 => format!("INCR i{n}"),
        4 => format!("INCRBYFLOAT f{n} 0.5"),
        5 => format!("LPUSH l{n} {value} b"),
        6 => format!("RPOP l{n} 2"),
        7 => format!("LMOVE l{n} l{} LEFT RIGHT", rng.below(40)),
        8 => format!("SADD t{n} {value} m{}", rng.below(9)),
        9 => format!("SPOP t{n}"),
        10 => format!("ZADD z{n} {value} m{}", rng.below(60)),
        11 => format!("ZPOPMIN z{n}"),
        12 => format!("HSET h{n} f{} {value}", rng.below(60)),
        13 => format!("HINCRBY h{n} n 3"),
        14 => format!("XADD x{n} * a {value}"),
        15 => format!("XGROUP CREATE x{n} g 0"),
        16 => format!("XREADGROUP GROUP g c{} COUNT 2 STREAMS x{n} >", rng.below(3)),
        17 => format!("DEL {}{n}", rng.pick(&["s", "l", "t", "z", "h", "x"])),
        18 => format!("PEXPIRE {}{n} {}", rng.pick(&["s", "l", "t", "z", "h"]), 1 + rng.below(300)),
        19 => format!("RENAME s{n} s{}", rng.below(40)),
        20 => format!("SELECT {}", rng.below(3)),
        21 => format!("PUBLISH c{n} {value}"),
        22 => format!("SETRANGE big{} {} {value}", rng.below(2), rng.below(200_000)),
        _ => format!("PFADD p{n} {value}"),
    };
    text.split(' ').map(str::to_owned).collect()
}

/// Writes at random until `stop`, some of it in transactions; how many commands that were.
pub fn write_until(server: &Server, seed: u64, stop: &AtomicBool) -> u64 {
    let (mut client, mut rng, mut count) = (server.client(), Rng(seed), 0);
    while !stop.load(Ordering::Relaxed) {
        let is_transaction = rng.once_in(4);
        let mut commands: Vec<Vec<String>> = (0..8).map(|_| random_command(&mut rng)).collect();
        if is_transaction {
            commands.insert(0, vec!["MULTI".to_owned()]);
            commands.push(vec!["EXEC".to_owned()]);
        }
        for command in &commands {
            client.send(command).expect("the server is there");
        }
        for _ in &commands {
            client.read().expect("the server answers");
        }
        count += commands.len() as u64;
    }
    count
}

/// Runs `body` while so many clients write at random.
pub fn while_writing(server: &Server, clients: u64, body: impl FnOnce()) -> u64 {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..clients)
            .map(|seed| {
                scope.spawn({
                    let stop = &stop;
                    move || write_until(server, seed, stop)
                })
            })
            .collect();
        // Writers end also if it panics.
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        stop.store(true, Ordering::Relaxed);
        let count = writers.into_iter().map(|writer| writer.join().expect("it writes")).sum();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        count
    })
}
