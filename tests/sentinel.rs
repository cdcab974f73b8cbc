//! Redis's own Sentinel watches a pair of Torc, and fails over when the primary is killed: what was acknowledged by a replica is there
//! afterwards, and clients find the new primary by themselves.
//!
//! `TORC_FAILOVERS=N` kills the primary so often instead of a few times.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;

use crate::harness::{
    Client, Server, TORC, TempDir, Value, command, free_port, pause_ms, redis_program, until,
};

/// Failovers, unless `TORC_FAILOVERS` says otherwise.
const FAILOVERS: usize = 2;
const NAME: &str = "pair";
/// What the servers start with.
const CONFIG: &str = "workers 2\nrepl-diskless-sync-delay 0\nrepl-backlog-size 16mb\nsave \"\"\n";

/// Redis's Sentinel.
struct Sentinel {
    child: Child,
    address: SocketAddr,
    dir: TempDir,
}

impl Sentinel {
    fn watch(primary: &Server) -> Self {
        let (dir, port) = (TempDir::new(), free_port());
        let file = dir.path().join("sentinel.conf");
        let watched = primary.tcp();
        let text = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nsentinel monitor {NAME} {} {} 1\n\
             sentinel down-after-milliseconds {NAME} 1500\nsentinel failover-timeout {NAME} 6000\n",
            dir.path().display(),
            watched.ip(),
            watched.port(),
        );
        std::fs::write(&file, text).expect("the temporary directory can be written");
        let log = std::fs::File::create(dir.path().join("log")).expect("it can be written");
        let child = Command::new(redis_program("redis-server"))
            .arg(&file)
            .arg("--sentinel")
            .stdin(Stdio::null())
            .stdout(log)
            .spawn()
            .expect("it can be run");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        assert!(until(|| Client::tcp(address).is_ok()), "Sentinel does not start");
        Self { child, address, dir }
    }

    fn client(&self) -> Client {
        Client::tcp(self.address).expect("it listens")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Where the primary is, as clients are told.
    fn primary(&self) -> SocketAddr {
        let reply = self.client().call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]);
        let words: Vec<String> = reply.elements().iter().map(|word| word.clone().string()).collect();
        format!("{}:{}", words[0], words[1]).parse().expect("an address")
    }

    /// How many replicas it knows of that are there.
    fn replicas(&self) -> usize {
        let reply = self.client().call(&["SENTINEL", "REPLICAS", NAME]).to_string();
        let all = reply.matches("master-link-status").count();
        all - reply.matches("s_down").count().min(all)
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.child.kill().unwrap_or_default();
        self.child.wait().expect("it is a child");
    }
}

fn failovers() -> usize {
    std::env::var("TORC_FAILOVERS").map_or(FAILOVERS, |text| text.parse().expect("a number"))
}

/// A pair of Torc, watched.
struct Watched {
    servers: Vec<Server>,
    sentinel: Sentinel,
}

impl Watched {
    fn start() -> Self {
        let primary = Server::with_file_tcp(TORC, CONFIG, &[]);
        let role = format!("{CONFIG}replicaof 127.0.0.1 {}\n", primary.tcp().port());
        let replica = Server::with_file_tcp(TORC, &role, &[]);
        let sentinel = Sentinel::watch(&primary);
        let watched = Self { servers: vec![primary, replica], sentinel };
        watched.await_pair();
        watched
    }

    /// Waits until Sentinel knows of both, and one follows the other.
    fn await_pair(&self) {
        let is_paired = until(|| {
            let primary = self.number_of_primary();
            self.sentinel.replicas() == 1
                && said(&self.servers[primary]).contains("role:master")
                && said(&self.servers[1 - primary]).contains("master_link_status:up")
                && said(&self.servers[primary]).contains("state=online")
        });
        assert!(is_paired, "{}", self.logs());
    }

    fn number_of_primary(&self) -> usize {
        let address = self.sentinel.primary();
        self.servers.iter().position(|server| server.tcp() == address).expect("it is one of them")
    }

    /// Kills the primary, and starts it again once the other has its role.
    fn fail_over(&mut self) {
        let before = self.number_of_primary();
        self.servers[before].signal(Signal::KILL);
        self.servers[before].await_exit();
        let is_done = until(|| {
            self.number_of_primary() != before && said(&self.servers[1 - before]).contains("role:master")
        });
        assert!(is_done, "{}", self.logs());
        let again = self.servers[before].again_there(TORC, &[]);
        self.servers[before] = again;
        self.await_pair();
    }

    fn logs(&self) -> String {
        format!("{}\n---\n{}\n---\n{}", self.sentinel.log(), self.servers[0].log(), self.servers[1].log())
    }
}

/// What a server says of its role; nothing while Sentinel, which ends the connections of whoever has changed roles, ends this one.
fn said(server: &Server) -> String {
    let ask = || {
        let mut client = Client::tcp(server.tcp()).ok()?;
        client.send_raw(&command(&["INFO", "replication"])).ok()?;
        client.read().ok()
    };
    ask().map_or(String::new(), |reply| reply.string())
}

/// Counts at whichever server is the primary, and notes what a replica has acknowledged.
fn count_until(sentinel: SocketAddr, key: &str, acknowledged: &AtomicU64, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        let address = Client::tcp(sentinel)
            .map(|mut client| client.call(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME]))
            .map(|reply| {
                reply.elements().iter().map(|word| word.clone().string()).collect::<Vec<_>>().join(":")
            });
        let address = address.expect("Sentinel is there").parse().expect("an address");
        let Ok(mut client) = Client::tcp(address) else {
            pause_ms(5);
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let Ok(Value::Int(count)) = client.send(&["INCR", key]).and_then(|()| client.read()) else {
                break;
            };
            let before = acknowledged.load(Ordering::Relaxed);
            assert!(count as u64 > before, "{before} were acknowledged, and {count} is the next");
            let waited = client.send(&["WAIT", "1", "500"]).and_then(|()| client.read());
            let Ok(Value::Int(replicas)) = waited else { break };
            if replicas > 0 {
                acknowledged.store(count as u64, Ordering::Relaxed);
            }
        }
        pause_ms(1);
    }
}

#[test]
fn sentinel_fails_over_and_no_acknowledged_write_is_missing() {
    let mut watched = Watched::start();
    let (stop, counts) = (AtomicBool::new(false), [const { AtomicU64::new(0) }; 3]);
    let address = watched.sentinel.address;
    std::thread::scope(|scope| {
        let counters: Vec<_> = counts
            .iter()
            .enumerate()
            .map(|(number, acknowledged)| {
                let stop = &stop;
                scope.spawn(move || count_until(address, &format!("count:{number}"), acknowledged, stop))
            })
            .collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..failovers() {
                let before: Vec<u64> = counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
                let all_move = until(|| {
                    counts.iter().zip(&before).all(|(count, before)| count.load(Ordering::Relaxed) > *before)
                });
                assert!(all_move, "round {round}: {}", watched.logs());
                watched.fail_over();
                println!("failover {round} is done");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        counters.into_iter().for_each(|counter| counter.join().expect("nothing is missing"));
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
    });
    let mut client = watched.servers[watched.number_of_primary()].client();
    for (number, count) in counts.iter().enumerate() {
        let (there, acknowledged) =
            (client.ask(&format!("GET count:{number}")), count.load(Ordering::Relaxed));
        assert!(there.string().parse::<u64>().expect("a count") >= acknowledged);
    }
    // What Sentinel has done stands in the files.
    let roles: Vec<bool> = watched
        .servers
        .iter()
        .map(|server| {
            std::fs::read_to_string(server.config_file()).expect("it is there").contains("replicaof ")
        })
        .collect();
    assert_eq!(roles.iter().filter(|follows| **follows).count(), 1, "{roles:?}: {}", watched.logs());
}

/// A program that talks to the pair by a library, which finds the primary through Sentinel.
fn program(name: &str, program: &str, script: &str, sentinel: &Sentinel) -> (String, Child) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let child = Command::new(program)
        .arg(root.join("tests/clients").join(script))
        .arg(sentinel.address.port().to_string())
        .arg(NAME)
        .env("NODE_PATH", root.join("tests/.cache/node_modules"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/run installs it");
    (name.to_owned(), child)
}

#[test]
fn client_libraries_find_the_new_primary() {
    let mut watched = Watched::start();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache/venv/bin/python");
    let python = python.to_string_lossy().into_owned();
    let programs = [
        program("redis-py", &python, "sentinel.py", &watched.sentinel),
        program("ioredis", "node", "sentinel.js", &watched.sentinel),
    ];
    let mut talking: Vec<_> = programs
        .into_iter()
        .map(|(name, mut child)| {
            let mut lines = BufReader::new(child.stdout.take().expect("it is a pipe")).lines();
            let first = lines.next().and_then(Result::ok).unwrap_or_default();
            assert_eq!(first, "ready", "{name}: {}", watched.logs());
            (name, child, lines)
        })
        .collect();
    watched.fail_over();
    for (name, child, lines) in &mut talking {
        let last = lines.by_ref().map_while(Result::ok).last().unwrap_or_default();
        assert!(last.contains("passed"), "{name}: {last}\n{}", watched.logs());
        assert!(child.wait().expect("it is a child").success(), "{name}");
    }
}
