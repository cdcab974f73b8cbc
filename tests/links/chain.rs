//! Servers that follow each other in a row, with a proxy at each link, and what may happen to them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::Signal;

use super::proxy::{Proxy, Way};
use crate::harness::{Client, Rng, Server, TORC, newest_program, pause_ms, until};
use crate::replica::differences;
use crate::replication::pair::{field, number, random_command};

/// A server of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Torc,
    Redis,
    Valkey,
}

impl Kind {
    fn program(self) -> String {
        match self {
            Kind::Torc => TORC.to_owned(),
            Kind::Redis => newest_program("redis-server"),
            Kind::Valkey => newest_program("valkey-server"),
        }
    }
}

/// Options of all servers: a backlog that reaches over everything that happens to a link, and files only when one ends.
const ARGS: &[&str] = &[
    "--repl-diskless-sync-delay",
    "0",
    "--repl-backlog-size",
    "64mb",
    "--repl-timeout",
    "30",
    "--repl-ping-replica-period",
    "1",
    "--enable-debug-command",
    "yes",
    "--shutdown-on-sigterm",
    "save",
];

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The link ends, on both sides.
    Cut,
    /// The same by a reset.
    Reset,
    /// One way holds bytes back for a while.
    Stall,
    /// One way holds bytes back, and then the link ends.
    HalfOpen,
    /// Bytes come in small pieces for a while.
    Pieces,
    /// The primary closes its replicas' connections.
    KilledByPrimary,
    /// The replica closes its primary's connection.
    KilledByReplica,
    /// The replica ends in order and comes back.
    ReplicaRestarts,
    /// The replica is killed and comes back with nothing, or with what it once saved.
    ReplicaKilled,
    /// The primary ends in order and comes back.
    PrimaryRestarts,
    /// The replica is no replica for a moment.
    Promoted,
}

impl Fault {
    pub const ALL: [Self; 11] = [
        Self::Cut,
        Self::Reset,
        Self::Stall,
        Self::HalfOpen,
        Self::Pieces,
        Self::KilledByPrimary,
        Self::KilledByReplica,
        Self::ReplicaRestarts,
        Self::ReplicaKilled,
        Self::PrimaryRestarts,
        Self::Promoted,
    ];

    /// Whether what the replica has still leads on afterwards.
    fn keeps_place(self) -> bool {
        !matches!(self, Self::ReplicaKilled | Self::PrimaryRestarts | Self::Promoted)
    }
}

/// A row of servers; each follows the one before.
pub struct Chain {
    kinds: Vec<Kind>,
    workers: &'static str,
    servers: Vec<Server>,
    /// Where clients find the first.
    pub first: Arc<Mutex<SocketAddr>>,
    /// Before each server but the first.
    proxies: Vec<Proxy>,
    /// Snapshots that each server may have sent, and those of its lives before.
    allowed: Vec<u64>,
    sent: Vec<u64>,
}

impl Chain {
    /// Starts them, each following the one before.
    pub fn start(kinds: &[Kind], workers: &'static str) -> Self {
        let (mut servers, mut proxies) = (Vec::<Server>::new(), Vec::<Proxy>::new());
        for kind in kinds {
            proxies.extend(servers.last().map(|before| Proxy::new(before.tcp())));
            let args = args(*kind, workers, proxies.last());
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            servers.push(Server::program_tcp(&kind.program(), &args));
        }
        let first = Arc::new(Mutex::new(servers[0].tcp()));
        let count = kinds.len();
        let chain = Self {
            kinds: kinds.to_vec(),
            workers,
            servers,
            first,
            proxies,
            allowed: vec![1; count],
            sent: vec![0; count],
        };
        (1..count).for_each(|replica| chain.await_link(replica));
        chain
    }

    /// How many links there are.
    pub fn links(&self) -> usize {
        self.proxies.len()
    }

    /// All logs.
    pub fn logs(&self) -> String {
        self.servers.iter().map(|server| format!("{}\n---\n", server.log())).collect()
    }

    fn await_link(&self, replica: usize) {
        let mut client = self.servers[replica].client();
        let mut is_linked = || {
            let reply = client.ask("INFO replication").string();
            reply.lines().any(|line| line == "master_link_status:up")
        };
        assert!(until(&mut is_linked), "link {replica}: {}", self.logs());
    }

    /// Has one happen to the `link`th link, and awaits all links if it is to be followed by calm.
    pub fn suffer(&mut self, link: usize, fault: Fault, rng: &mut Rng, then_calm: bool) {
        let replica = link + 1;
        let was_up = (1..self.servers.len()).all(|replica| self.is_up(replica));
        match fault {
            Fault::Cut | Fault::Reset => self.proxies[link].cut(fault == Fault::Reset),
            Fault::Stall | Fault::HalfOpen => {
                let way = *rng.pick(&[Way::ToPrimary, Way::ToReplica]);
                self.proxies[link].hold(way, true);
                pause_ms(rng.below(60) as u64);
                if fault == Fault::HalfOpen {
                    self.proxies[link].cut(false);
                }
                self.proxies[link].hold(way, false);
            }
            Fault::Pieces => {
                self.proxies[link].cut_into(Some(1 + rng.below(7)));
                self.proxies[link].cut(false);
                pause_ms(rng.below(60) as u64);
                self.proxies[link].cut_into(None);
            }
            Fault::KilledByPrimary => _ = self.servers[link].client().ask("CLIENT KILL TYPE replica"),
            Fault::KilledByReplica => _ = self.servers[replica].client().ask("CLIENT KILL TYPE master"),
            Fault::ReplicaRestarts => self.restart(replica, Signal::TERM),
            Fault::ReplicaKilled => self.restart(replica, Signal::KILL),
            Fault::PrimaryRestarts => self.restart(link, Signal::TERM),
            Fault::Promoted => {
                let mut client = self.servers[replica].client();
                // It may be loading just now, and refuses.
                if !client.ask("REPLICAOF NO ONE").is_error() {
                    let address = self.proxies[link].address();
                    client.ask(&format!("REPLICAOF {} {}", address.ip(), address.port()));
                }
            }
        }
        // Whoever lost a place in the middle of a snapshot, or follows one that has a new one, begins anew.
        let end = self.servers.len();
        let reaches = match fault {
            _ if !was_up => 0,
            Fault::PrimaryRestarts if link > 0 => link - 1,
            Fault::ReplicaRestarts => replica,
            _ if fault.keeps_place() => end,
            _ => link,
        };
        (reaches..end).for_each(|server| self.allowed[server] += 2);
        if then_calm {
            (1..end).for_each(|replica| self.await_link(replica));
        }
    }

    fn is_up(&self, replica: usize) -> bool {
        let info = self.servers[replica].client().ask("INFO replication");
        !info.is_error() && info.string().contains("master_link_status:up")
    }

    fn snapshots_sent(&self, server: usize) -> u64 {
        number(&mut self.servers[server].client(), "stats", "sync_full")
    }

    /// Ends a server, and starts it over its directory.
    fn restart(&mut self, server: usize, signal: Signal) {
        let is_up = server == 0 || self.is_up(server);
        self.sent[server] += self.snapshots_sent(server);
        if let Some(proxy) = self.proxies.get(server) {
            proxy.lead_to(None);
        }
        self.servers[server].signal(signal);
        self.servers[server].await_exit();
        if !is_up && server > 0 {
            // It has ended in the middle of a snapshot.
            (server - 1..self.servers.len()).for_each(|server| self.allowed[server] += 1);
        }
        let args =
            args(self.kinds[server], self.workers, server.checked_sub(1).map(|link| &self.proxies[link]));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let again = self.servers[server].again_tcp(&self.kinds[server].program(), &args);
        self.servers[server] = again;
        let mut client = self.servers[server].client();
        assert!(until(|| field(&mut client, "persistence", "loading") == "0"), "{}", self.logs());
        let address = self.servers[server].tcp();
        if server == 0 {
            *self.first.lock().unwrap_or_else(PoisonError::into_inner) = address;
        }
        if let Some(proxy) = self.proxies.get(server) {
            proxy.lead_to(Some(address));
        }
    }

    /// All have the same data, and no more snapshots were sent than had to be.
    pub fn check(&self, seed: u64) {
        let clients = || self.servers.iter().map(Server::client);
        let first = &mut self.servers[0].client();
        // What expires meanwhile would be gone on one side first.
        let nothing_expires = until(|| {
            let keyspace = first.ask("INFO keyspace").string();
            keyspace.lines().filter(|line| line.starts_with("db")).all(|line| line.contains(",expires=0,"))
        });
        assert!(nothing_expires, "{}", self.logs());
        let offset = |client: &mut Client| number(client, "replication", "master_repl_offset");
        let have_all = until(|| {
            (1..self.servers.len()).all(|replica| self.is_up(replica)) && {
                let end = offset(first);
                clients().all(|mut client| offset(&mut client) == end)
            }
        });
        assert!(have_all, "seed {seed}: {}", self.logs());
        for server in &self.servers[1..] {
            let (ours, theirs) = (server.client().ask("DEBUG DIGEST"), first.ask("DEBUG DIGEST"));
            if ours != theirs {
                let differ = differences(first, &mut server.client());
                panic!("seed {seed}: {differ}\n{}", self.logs());
            }
        }
        for server in 0..self.servers.len() {
            let sent = self.sent[server] + self.snapshots_sent(server);
            let allowed = if server + 1 == self.servers.len() { 0 } else { self.allowed[server] };
            assert!(
                sent <= allowed,
                "seed {seed}: server {server} has sent {sent} snapshots, not {allowed}\n{}",
                self.logs()
            );
        }
    }
}

fn args(kind: Kind, workers: &str, primary: Option<&Proxy>) -> Vec<String> {
    let mut args: Vec<String> = ARGS.iter().map(|&arg| arg.to_owned()).collect();
    if kind == Kind::Torc {
        args.extend(["--workers", workers, "--active-workers-min", "64"].map(str::to_owned));
    }
    if let Some(proxy) = primary {
        let address = proxy.address();
        args.extend(["--replicaof".to_owned(), address.ip().to_string(), address.port().to_string()]);
    }
    args
}

/// Writes at random, to whichever server is the first just now, until `stop`; how many commands were answered.
pub fn write_until(first: &Mutex<SocketAddr>, seed: u64, stop: &AtomicBool) -> u64 {
    let (mut rng, mut count) = (Rng(seed), 0);
    while !stop.load(Ordering::Relaxed) {
        let address = *first.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(mut client) = Client::tcp(address) else {
            pause_ms(1);
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            let mut commands: Vec<Vec<String>> = (0..6).map(|_| random_command(&mut rng)).collect();
            if rng.once_in(4) {
                commands.insert(0, vec!["MULTI".to_owned()]);
                commands.push(vec!["EXEC".to_owned()]);
            }
            let is_sent = commands.iter().all(|command| client.send(command).is_ok());
            let are_answered = is_sent && commands.iter().all(|_| client.read().is_ok());
            if !are_answered {
                break;
            }
            count += commands.len() as u64;
            pause_ms(1);
        }
    }
    count
}
