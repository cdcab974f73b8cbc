//! A generator of ends: clients go to a point (`points`) and end there, on both backends, alone and on several workers between
//! which they move, in a pause and out of it.
//!
//! Design: ends come in rounds. Threads bring a few clients at a time to their points and end them in any order. Then, within
//! a second, the server knows of nobody but the client that asks it: no connection, no descriptor, no wait and no key that
//! is waited for. What was held back has not run, and a job pushed to each key that was waited for is there to be popped. Half
//! closed connections are read to their end: every reply to what ran, and the server's end within a second too.
//!
//! A machine that is busy makes the server late: the slowest reply to a PING in the round is granted on top, some times over.
//!
//! `TORC_ENDS=N` makes so many ends in all instead of some thousand.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::peer::{Peer, SIZES};
use super::points::{CALM, PAUSED};
use crate::harness::{Client, Rng, Server, Value, command, pause_ms, raise_open_files, until};

/// Ends of all configurations together.
const ENDS: u64 = 6000;
const CONFIGURATIONS: u64 = 4;
/// Ends of one round, and the threads that make them.
const ROUND: u64 = 500;
const THREADS: u64 = 4;
/// Clients that one thread has at their points at a time.
const OPEN: u64 = 25;
/// In what time an end is to be seen.
const SEEN: Duration = Duration::from_secs(1);
/// How many times the slowest reply of the round is granted on top.
const GRANTED: u32 = 5;

/// What happens to the server while clients end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weather {
    Calm,
    /// Writes are paused.
    Paused,
    /// The number of active workers goes up and down, so that clients move.
    Moving,
}

/// A server that sees ends.
struct Ground {
    server: Server,
    admin: Client,
    workers: usize,
    descriptors: usize,
    rng: Rng,
    /// The longest that an end took.
    slowest: Duration,
}

fn descriptors(server: &Server) -> usize {
    let path = format!("/proc/{}/fd", server.pid());
    std::fs::read_dir(Path::new(&path)).expect("the server runs").count()
}

impl Ground {
    fn new(backend: &str, workers: usize) -> Self {
        let server = Server::start_tcp(&["--workers", &workers.to_string(), "--io-backend", backend]);
        let mut admin = server.client();
        assert_eq!(admin.call(&["SET", "big", &"b".repeat(SIZES.big_bytes)]).string(), "OK");
        let alone = until(|| admin.ask("INFO clients").string().contains("connected_clients:1\r\n"));
        assert!(alone, "somebody else is connected");
        let descriptors = descriptors(&server);
        Self { server, admin, workers, descriptors, rng: Rng(workers as u64), slowest: Duration::ZERO }
    }

    fn round(&mut self, first: u64, count: u64) {
        let weather = match self.rng.below(10) {
            0..2 => Weather::Paused,
            2..6 if self.workers > 1 => Weather::Moving,
            _ => Weather::Calm,
        };
        if weather == Weather::Paused {
            assert_eq!(self.admin.ask("CLIENT PAUSE 1000000 WRITE").string(), "OK");
        }
        let seed = self.rng.next();
        let (awaited, took, slowest) = self.play(weather, seed, first, count);
        let granted = SEEN + GRANTED * slowest;
        assert!(
            took <= granted,
            "{weather:?}: the end after a half close took {took:?}; {granted:?} are granted"
        );
        self.slowest = self.slowest.max(took);
        self.await_ends(weather, slowest);
        if weather == Weather::Paused {
            assert_eq!(self.admin.ask("CLIENT UNPAUSE").string(), "OK");
        }
        self.check_jobs(&awaited);
    }

    /// Lets clients go to their points and end; the keys they waited for, the longest that the server took after a half
    /// close, and the slowest reply meanwhile.
    fn play(
        &mut self,
        weather: Weather,
        seed: u64,
        first: u64,
        count: u64,
    ) -> (Vec<String>, Duration, Duration) {
        let (server, admin, workers) = (&self.server, &mut self.admin, self.workers);
        let playing = AtomicBool::new(true);
        std::thread::scope(|scope| {
            let players: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let numbers = (first..first + count).filter(move |number| number % THREADS == thread);
                    let numbers: Vec<u64> = numbers.collect();
                    scope.spawn(move || player(server, weather, &numbers, &mut Rng(seed ^ thread)))
                })
                .collect();
            let playing = &playing;
            let pulse = scope.spawn(move || {
                let (mut slowest, mut active) = (Duration::ZERO, workers);
                while playing.load(Ordering::Relaxed) {
                    let began = Instant::now();
                    assert_eq!(admin.ask("PING").string(), "PONG");
                    slowest = slowest.max(began.elapsed());
                    if weather == Weather::Moving {
                        active = if active == 1 { workers } else { 1 };
                        set_active(admin, active, active);
                    }
                    pause_ms(3);
                }
                if weather == Weather::Moving {
                    set_active(admin, workers, workers);
                }
                slowest
            });
            let played: Vec<_> = players.into_iter().map(|player| player.join()).collect();
            playing.store(false, Ordering::Relaxed);
            let slowest = pulse.join().expect("the server answers");
            let (mut awaited, mut took) = (Vec::new(), Duration::ZERO);
            for played in played {
                let (keys, longest) = played.expect("its clients saw what they must");
                awaited.extend(keys);
                took = took.max(longest);
            }
            (awaited, took, slowest)
        })
    }

    /// Within a second of the last end nobody is left.
    fn await_ends(&mut self, weather: Weather, slowest: Duration) {
        let (began, mut slowest, mut text, mut open) = (Instant::now(), slowest, String::new(), 0);
        let nobody = ["connected_clients:1\r\n", "blocked_clients:0\r\n", "total_blocking_keys:0\r\n"];
        let alone = until(|| {
            let asked = Instant::now();
            text = self.admin.ask("INFO clients").string();
            slowest = slowest.max(asked.elapsed());
            open = descriptors(&self.server);
            nobody.iter().all(|line| text.contains(line)) && open == self.descriptors
        });
        let took = began.elapsed();
        let list = || self.server.client().ask("CLIENT LIST").string();
        let before = self.descriptors;
        assert!(alone, "{weather:?}: strays; {open} descriptors, {before} before\n{text}\n{}", list());
        let granted = SEEN + GRANTED * slowest;
        assert!(
            took <= granted,
            "{weather:?}: the last end took {took:?} to be seen; {granted:?} are granted"
        );
        self.slowest = self.slowest.max(took);
    }

    /// Nothing ran that was held back, and whoever went takes no job along.
    fn check_jobs(&mut self, awaited: &[String]) {
        assert_eq!(self.admin.ask("DBSIZE").int(), Some(1), "{}", self.admin.ask("KEYS *"));
        let all = ["q:all".to_owned(), "r:all".to_owned()];
        let keys = || awaited.iter().chain(&all);
        let pushes: Vec<u8> = keys().flat_map(|key| command(&["RPUSH", key, "job"])).collect();
        self.admin.send_raw(&pushes).expect("the server is there");
        for key in keys() {
            assert_eq!(self.admin.read().expect("a reply").int(), Some(1), "{key}");
        }
        let pops: Vec<u8> = keys().flat_map(|key| command(&["LPOP", key])).collect();
        self.admin.send_raw(&pops).expect("the server is there");
        for key in keys() {
            assert_eq!(self.admin.read().expect("a reply"), Value::Bulk(b"job".to_vec()), "{key}");
        }
    }
}

fn set_active(admin: &mut Client, min: usize, max: usize) {
    let set = format!("CONFIG SET active-workers-min {min} active-workers-max {max}");
    assert_eq!(admin.ask(&set).string(), "OK");
}

/// Brings a client for each of these numbers to a point and ends it; the keys they waited for, and the longest that the server
/// took to close its side of one that was half closed.
fn player(server: &Server, weather: Weather, numbers: &[u64], rng: &mut Rng) -> (Vec<String>, Duration) {
    let points = if weather == Weather::Paused { PAUSED } else { CALM };
    let (mut awaited, mut longest) = (Vec::new(), Duration::ZERO);
    for numbers in numbers.chunks(1 + rng.below(OPEN as usize)) {
        let mut peers = Vec::new();
        for number in numbers {
            let peer = Peer::new(server, points, *number, rng);
            awaited.extend(peer.point.awaited(*number));
            // Some end at once, others while those who come after them are served.
            if rng.once_in(3) {
                longest = longest.max(peer.end(rng).unwrap_or_default());
            } else {
                peers.push(peer);
            }
        }
        if rng.once_in(4) {
            pause_ms(1);
        }
        while !peers.is_empty() {
            let peer = peers.swap_remove(rng.below(peers.len()));
            longest = longest.max(peer.end(rng).unwrap_or_default());
        }
    }
    (awaited, longest)
}

fn every_end_is_seen_over(backend: &str) {
    raise_open_files(1024);
    let asked = std::env::var("TORC_ENDS").ok();
    let ends = asked.as_ref().map_or(ENDS, |text| text.parse().expect("TORC_ENDS is a number of ends"));
    for workers in [1, 3] {
        let mut ground = Ground::new(backend, workers);
        let (count, began) = (ends / CONFIGURATIONS, Instant::now());
        for first in (0..count).step_by(ROUND as usize) {
            ground.round(first, ROUND.min(count - first));
        }
        let (moved, slowest) = (ground.server.workers_sum("connections_moved"), ground.slowest);
        println!(
            "{backend}, {workers} workers: {count} ends in {:?}, the slowest {slowest:?}, {moved} moves",
            began.elapsed()
        );
        assert!(workers == 1 || asked.is_some() || moved > 20, "{moved} clients moved");
        ground.server.check_alive();
    }
}

#[test]
fn every_end_is_seen_over_io_uring() {
    every_end_is_seen_over("io_uring");
}

#[test]
fn every_end_is_seen_over_epoll() {
    every_end_is_seen_over("epoll");
}
