//! A client of servers that replicate each other: it writes to the primary of the day, and now and then waits for replicas.

use std::collections::VecDeque;
use std::time::Duration;

use torc::io::sim::{SimClient, SimNet};

use super::client::request;
use crate::harness::{Rng, value};

/// How long a reply is waited for before the connection is given up.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long WAIT waits, ms.
const WAIT_MS: &[u8] = b"400";

/// Where the primary is, and which one in a row it is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Term {
    pub port: u16,
    pub number: u64,
}

/// What a reply is to be.
enum Awaited {
    Any,
    /// That this key is set.
    Set(Vec<u8>),
    /// How many replicas have it.
    Count,
}

pub struct Writer {
    number: usize,
    rng: Rng,
    connection: Option<(SimClient, Term)>,
    inbox: Vec<u8>,
    awaited: VecDeque<Awaited>,
    /// The key that was set last, if it was.
    set: Option<Vec<u8>>,
    asked_at: Duration,
    rests_until: Duration,
    rest_max: Duration,
    requests_left: u64,
    pub requests: u64,
}

impl Writer {
    pub fn new(number: usize, seed: u64, requests: u64, rest_max: Duration) -> Writer {
        Writer {
            number,
            rng: Rng(seed),
            connection: None,
            inbox: Vec::new(),
            awaited: VecDeque::new(),
            set: None,
            asked_at: Duration::ZERO,
            rests_until: Duration::ZERO,
            rest_max,
            requests_left: requests,
            requests: 0,
        }
    }

    pub fn is_done(&self) -> bool {
        self.requests_left == 0 && self.awaited.is_empty()
    }

    /// When it goes on.
    pub fn rests_until(&self) -> Option<Duration> {
        match self.awaited.is_empty() {
            true => Some(self.rests_until).filter(|_| !self.is_done()),
            false => Some(self.asked_at + PATIENCE),
        }
    }

    /// Does what it can; whether it did anything. `promised` is told of keys that so many replicas have.
    pub fn step(
        &mut self,
        net: &SimNet,
        term: Term,
        promised: &mut dyn FnMut(&[u8], u64),
    ) -> Result<bool, String> {
        if !self.awaited.is_empty() {
            return self.read(net, term, promised);
        }
        if self.requests_left == 0 || net.now() < self.rests_until {
            return Ok(false);
        }
        // It has heard of another primary.
        if self.connection.as_ref().is_some_and(|(_, of)| *of != term) {
            self.leave(net);
        }
        if self.connection.is_none() {
            let Some(client) = net.try_connect(term.port) else {
                self.rest(net);
                return Ok(true);
            };
            self.connection = Some((client, term));
        }
        self.ask(net);
        Ok(true)
    }

    fn rest(&mut self, net: &SimNet) {
        let ms = 1 + self.rng.below(self.rest_max.as_millis() as usize);
        self.rests_until = net.now() + Duration::from_millis(ms as u64);
    }

    fn leave(&mut self, net: &SimNet) {
        if let Some((client, _)) = self.connection.take() {
            client.close();
        }
        self.awaited.clear();
        self.inbox.clear();
        self.set = None;
        self.rest(net);
    }

    fn ask(&mut self, net: &SimNet) {
        let mut bytes = Vec::new();
        let mut add = |words: &[&[u8]], awaited| {
            bytes.extend(request(words));
            self.awaited.push_back(awaited);
        };
        if self.rng.once_in(5) {
            let key = format!("promise:{}:{}", self.number, self.requests).into_bytes();
            add(&[b"SET", &key, b"v"], Awaited::Set(key.clone()));
            add(&[b"WAIT", *self.rng.pick(&[b"1", b"2"]), WAIT_MS], Awaited::Count);
        } else {
            let is_transaction = self.rng.once_in(4);
            let count = 1 + self.rng.below(4);
            if is_transaction {
                add(&[b"MULTI"], Awaited::Any);
            }
            for _ in 0..count {
                let text = command(&mut self.rng);
                let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
                add(&words, Awaited::Any);
            }
            if is_transaction {
                add(&[b"EXEC"], Awaited::Any);
            }
        }
        self.requests_left -= 1;
        self.requests += 1;
        self.asked_at = net.now();
        if let Some((client, _)) = &self.connection {
            client.send(&bytes);
        }
    }

    fn read(
        &mut self,
        net: &SimNet,
        term: Term,
        promised: &mut dyn FnMut(&[u8], u64),
    ) -> Result<bool, String> {
        let Some((client, of)) = &self.connection else { return Ok(false) };
        let (bytes, is_current) = (client.read(), *of == term);
        let has_ended = client.ended().is_some() || net.now() >= self.asked_at + PATIENCE;
        self.inbox.extend_from_slice(&bytes);
        while let Some(len) = value::frame(&self.inbox)? {
            let reply: Vec<u8> = self.inbox.drain(..len).collect();
            let Some(awaited) = self.awaited.pop_front() else {
                return Err(format!("nobody asked for {:?}", String::from_utf8_lossy(&reply)));
            };
            match awaited {
                Awaited::Any => {}
                Awaited::Set(key) => self.set = (reply == b"+OK\r\n").then_some(key),
                Awaited::Count => {
                    let text = String::from_utf8_lossy(&reply[1..]).trim_end().to_owned();
                    let count = if reply[0] == b':' { text.parse().unwrap_or(0) } else { 0 };
                    if let Some(key) = self.set.take().filter(|_| count > 0 && is_current) {
                        promised(&key, count);
                    }
                }
            }
        }
        if self.awaited.is_empty() {
            self.rest(net);
        } else if has_ended {
            self.leave(net);
            return Ok(true);
        }
        Ok(!bytes.is_empty())
    }
}

/// A command on a few keys of each type, of which not all succeed.
fn command(rng: &mut Rng) -> String {
    let (n, value) = (rng.below(6), rng.below(1000));
    match rng.below(24) {
        0 => format!("SET s{n} {value}"),
        1 => format!("SET s{n} {value} PX {}", 1 + rng.below(900)),
        2 => format!("APPEND s{n} {value}"),
        3 => format!("INCR i{n}"),
        4 => format!("INCRBYFLOAT f{n} 0.5"),
        5 => format!("LPUSH l{n} {value} b"),
        6 => format!("RPOP l{n} 2"),
        7 => format!("LMOVE l{n} l{} LEFT RIGHT", rng.below(6)),
        8 => format!("SADD t{n} {value} m{}", rng.below(9)),
        9 => format!("SPOP t{n}"),
        10 => format!("ZADD z{n} {value} m{}", rng.below(20)),
        11 => format!("ZPOPMIN z{n}"),
        12 => format!("HSET h{n} f{} {value}", rng.below(20)),
        13 => format!("HPEXPIRE h{n} {} FIELDS 1 f{}", 1 + rng.below(900), rng.below(20)),
        14 => format!("XADD x{n} * a {value}"),
        15 => format!("XGROUP CREATE x{n} g 0"),
        16 => format!("XREADGROUP GROUP g c{} COUNT 2 STREAMS x{n} >", rng.below(3)),
        17 => format!("DEL {}{n}", rng.pick(&["s", "l", "t", "z", "h", "x"])),
        18 => format!("PEXPIRE {}{n} {}", rng.pick(&["s", "l", "t", "z", "h"]), 1 + rng.below(900)),
        19 => format!("RENAME s{n} s{}", rng.below(6)),
        20 => format!("SELECT {}", rng.below(3)),
        21 => format!("PUBLISH c{n} {value}"),
        22 => format!("GET {}{n}", rng.pick(&["s", "l"])),
        _ => format!("COPY s{n} l{n} DB 1 REPLACE"),
    }
}
