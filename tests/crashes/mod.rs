//! Servers that are killed at random points under load: what was promised is there, what was never sent is not, and a transaction is
//! there as a whole or not at all.
//!
//! Design: several clients send pipelines of steps and keep account of them (`ledger`). The server is killed with a signal that it
//! cannot handle, in the middle of whatever it does: writing, syncing, rewriting, saving, loading. It is started again over the same
//! directory, with another number of workers, and every client's keys are compared with its account; then all goes on. What is
//! promised depends on how the data is kept ([`Keeping`]). What a client has read of another and then written down says whether
//! the order of all writes was kept across clients.
//!
//! `TORC_CRASHES=N` kills N times instead of a few dozen.

mod across;
mod ledger;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::harness::{Client, Rng, Server, TempDir, Value, command, until};
use ledger::{Ledger, SHARED};

/// Crashes of each way to keep data, unless `TORC_CRASHES` says otherwise.
const CRASHES: usize = 8;
/// Crashes over one directory.
const CRASHES_OF_LIFE: usize = 8;
const CLIENTS: usize = 5;
const PIPELINE_MAX: usize = 16;
/// What `everysec` may lose.
const LOST_MAX: Duration = Duration::from_secs(2);

fn crashes() -> usize {
    let given = std::env::var("TORC_CRASHES").ok();
    given.map_or(CRASHES, |text| {
        text.parse::<usize>().expect("TORC_CRASHES is a number of crashes").div_ceil(Keeping::ALL.len())
    })
}

/// How data is kept, and so what is promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keeping {
    /// `appendfsync always`: what was answered.
    Always,
    /// `appendfsync everysec`: what was answered two seconds before.
    EverySecond,
    /// `appendfsync no`: a beginning of everything.
    No,
    /// Files of all keys only: what was answered before the last one was asked for that was answered.
    Saves,
}

impl Keeping {
    const ALL: [Keeping; 4] = [Keeping::Always, Keeping::EverySecond, Keeping::No, Keeping::Saves];

    fn args(self) -> &'static [&'static str] {
        match self {
            Keeping::Always => &["--appendonly", "yes", "--appendfsync", "always"],
            Keeping::EverySecond => &["--appendonly", "yes", "--appendfsync", "everysec"],
            Keeping::No => &["--appendonly", "yes", "--appendfsync", "no"],
            Keeping::Saves => &["--appendonly", "no"],
        }
    }
}

/// A directory, and who writes to the server over it.
struct Life {
    keeping: Keeping,
    dir: TempDir,
    ledgers: Arc<[Mutex<Ledger>]>,
    rng: Rng,
    /// What happened, for whoever has to find out why.
    story: Vec<String>,
}

impl Life {
    fn new(keeping: Keeping, seed: u64) -> Self {
        let ledgers = (0..CLIENTS).map(|number| Mutex::new(Ledger::new(number))).collect();
        Self { keeping, dir: TempDir::new(), ledgers, rng: Rng(seed), story: vec![format!("seed {seed}")] }
    }

    /// A server over the directory, once all is loaded.
    fn start(&mut self) -> Server {
        let server = self.begin();
        let mut client = server.client();
        let loaded = until(|| client.call(&["PING"]).string() == "PONG");
        assert!(loaded, "{}", server.log());
        server
    }

    /// A server over the directory, which is loading.
    fn begin(&mut self) -> Server {
        let dir = self.dir.path().to_string_lossy().into_owned();
        let workers = *self.rng.pick(&["1", "2", "3"]);
        let preamble = *self.rng.pick(&["yes", "no"]);
        let growth = *self.rng.pick(&["8kb", "100kb", "64mb"]);
        let args = ["--dir", &dir, "--workers", workers, "--aof-use-rdb-preamble", preamble];
        let rewrites = ["--auto-aof-rewrite-min-size", growth, "--snapshot-buffer-limit", "1mb"];
        self.story.push(format!("{workers} workers, preamble {preamble}, rewrites from {growth}"));
        Server::start(&[&args[..], &rewrites, self.keeping.args()].concat())
    }

    /// Has clients write for a while, kills the server meanwhile, and looks what is there afterwards.
    fn crash(&mut self, server: &mut Server) {
        let seed = self.rng.next();
        let is_over = AtomicBool::new(false);
        let mut promised = vec![0; CLIENTS];
        let mut killed = Instant::now();
        let ledgers = Arc::clone(&self.ledgers);
        std::thread::scope(|scope| {
            let (shared, over) = (&*server, &is_over);
            for (number, ledger) in ledgers.iter().enumerate() {
                scope.spawn(move || write(shared, ledger, Rng(seed ^ number as u64), over));
            }
            promised = self.disturb(shared);
            shared.signal(Signal::KILL);
            killed = Instant::now();
            over.store(true, Ordering::Relaxed);
        });
        server.await_exit();
        if self.rng.once_in(4) {
            // In the middle of loading, perhaps.
            self.story.push("killed once more".to_owned());
            let mut hasty = self.begin();
            let mut client = hasty.client();
            let wait_us = self.rng.below(3000) as u64;
            let end = Instant::now() + Duration::from_micros(wait_us);
            while Instant::now() < end && client.send(&["PING"]).and_then(|()| client.read()).is_ok() {}
            hasty.signal(Signal::KILL);
            hasty.await_exit();
        }
        *server = self.start();
        self.check(server, killed, &promised);
    }

    /// Lets the clients write for a random while, with saves and rewrites meanwhile; how many steps of each a save holds for certain.
    fn disturb(&mut self, server: &Server) -> Vec<usize> {
        let mut held = vec![0; CLIENTS];
        let mut client = server.client();
        let lasts_ms = if self.rng.once_in(8) { self.rng.below(2500) } else { self.rng.below(150) };
        let end = Instant::now() + Duration::from_millis(lasts_ms as u64);
        self.story.push(format!("{lasts_ms} ms"));
        while Instant::now() < end {
            crate::harness::pause_ms(self.rng.below(20) as u64);
            let choices: &[&str] = match self.keeping {
                Keeping::Saves => &["SAVE", "SAVE", "BGSAVE"],
                _ => &["PING", "PING", "BGREWRITEAOF", "BGSAVE", "SAVE"],
            };
            let asked = *self.rng.pick(choices);
            let answered = self.ledgers.iter().map(|ledger| lock(ledger).answered()).collect();
            // The reply is not waited for in the end: the server may die in the middle.
            if client.send(&[asked]).is_err() || self.rng.once_in(6) {
                break;
            }
            match client.read() {
                Ok(reply) if asked == "SAVE" && reply.string() == "OK" => held = answered,
                Ok(_) => {}
                Err(error) => panic!("{asked}: {error}\n{}", server.log()),
            }
        }
        held
    }

    fn check(&mut self, server: &Server, killed: Instant, held: &[usize]) {
        let mut client = server.client();
        let pushed: Vec<String> =
            client.call(&["LRANGE", SHARED, "0", "-1"]).elements().iter().map(Value::string).collect();
        let mut keys = usize::from(!pushed.is_empty());
        for (number, ledger) in self.ledgers.iter().enumerate() {
            let ledger = &mut *lock(ledger);
            let promised = match self.keeping {
                Keeping::Always => ledger.answered(),
                Keeping::EverySecond => ledger.answered_by(killed - LOST_MAX),
                Keeping::No => 0,
                Keeping::Saves => held[number],
            };
            let prefix = format!("{number}:");
            let own: Vec<String> = pushed.iter().filter(|text| text.starts_with(&prefix)).cloned().collect();
            let answered = ledger.answered();
            match ledger.settle(&mut client, &own, promised) {
                Ok(done) => self.story.push(format!("client {number}: {done} of {answered} answered")),
                Err(why) => panic!("{:?}: {why}\n{}\n{}", self.keeping, self.story.join("\n"), server.log()),
            }
            keys += ledger.key_count();
        }
        assert_eq!(client.ask("DBSIZE").int(), Some(keys as i64), "keys that nobody wrote");
        self.check_causes(&mut client);
    }

    /// What a client saw before it wrote was written before.
    fn check_causes(&self, client: &mut Client) {
        for number in 0..CLIENTS {
            let seen = client.call(&["GET", &format!("seen:{number}")]).string();
            let Some((other, value)) = seen.split_once(' ') else { continue };
            let left = client.call(&["GET", &format!("left:{other}")]).string();
            let number_of = |text: &str| text.parse::<u64>().unwrap_or(0);
            assert!(
                number_of(&left) >= number_of(value),
                "client {number} saw {value} of {other}, which has {left}\n{}",
                self.story.join("\n")
            );
        }
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().expect("nothing panics under it")
}

/// Sends steps until the server is gone.
fn write(server: &Server, ledger: &Mutex<Ledger>, mut rng: Rng, is_over: &AtomicBool) {
    let Ok(mut client) = Client::unix(&server.socket()) else { return };
    let mut seen = None;
    while !is_over.load(Ordering::Relaxed) {
        let other = rng.below(CLIENTS);
        let reads = rng.once_in(4);
        let mut bytes = Vec::new();
        let mut replies = Vec::new();
        {
            let mut ledger = lock(ledger);
            for _ in 0..1 + rng.below(PIPELINE_MAX) {
                let step = ledger.step(&mut rng, seen.take().as_deref());
                bytes.extend(step.bytes());
                replies.push(step.replies());
            }
        }
        if reads {
            bytes.extend(command(&["GET", &format!("left:{other}")]));
        }
        if client.send_raw(&bytes).is_err() {
            return;
        }
        for count in replies {
            for _ in 0..count {
                match client.read() {
                    Ok(reply) => assert!(!reply.is_error(), "{reply}"),
                    Err(_) => return,
                }
            }
            lock(ledger).note_answer();
        }
        if reads {
            match client.read() {
                Ok(Value::Bulk(left)) => seen = Some(format!("{other} {}", String::from_utf8_lossy(&left))),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}

fn survives(keeping: Keeping) {
    let (crashes, mut done) = (crashes(), 0);
    let began = Instant::now();
    while done < crashes {
        let mut life = Life::new(keeping, 1000 + done as u64);
        let mut server = life.start();
        for _ in 0..CRASHES_OF_LIFE.min(crashes - done) {
            life.crash(&mut server);
            done += 1;
        }
    }
    println!("{keeping:?}: {done} crashes in {:.1?}", began.elapsed());
}

#[test]
fn always_loses_nothing() {
    survives(Keeping::Always);
}

#[test]
fn everysec_loses_two_seconds_at_most() {
    survives(Keeping::EverySecond);
}

#[test]
fn no_keeps_a_beginning() {
    survives(Keeping::No);
}

#[test]
fn saves_keep_what_was_there_when_they_were_asked_for() {
    survives(Keeping::Saves);
}
