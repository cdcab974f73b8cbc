//! Ends of connections at every point, as of the running server's tests: clients that wait, are paused, are in the middle of
//! something or do not read, go in each way; what they leave behind is nothing.
//!
//! Nobody may sleep while a client that has gone is still connected, so an end is seen by what it is, not by a timer, and once
//! the half closed have read all they asked for, in less than a second of virtual time. Then nobody waits, what was held back
//! has not run, and a job pushed for one of those who waited is there to be popped.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::time::Duration;

use torc::io::sim::{Rng, SimClient};

use super::client::{Client, End, Now, Script, request};
use super::plan::Plan;
use super::series::Series;
use super::world::{PORT, Summary, World, faults};
use crate::ends::points::{CALM, GOINGS, Going, PAUSED, Point, Said, Sizes};
use crate::harness::Rng as Draw;
use crate::harness::value::{self, Value};

const ENDS: Series =
    Series { tests: "simulation::ends::seeds", usual: 0..100, draw: Plan::ends, check_happened };
const ROUNDS: u64 = 4;
const CLIENTS_MAX: u64 = 20;
/// In what virtual time an end is to be seen.
const SEEN: Duration = Duration::from_secs(1);

/// A client that goes.
struct Leaver {
    sim: SimClient,
    point: Point,
    going: Going,
    said: Said,
    sent: usize,
    got: Vec<u8>,
    /// It has gone, or sends no more.
    is_over: bool,
    /// It has seen the server's end, or does not care.
    is_done: bool,
}

impl Leaver {
    /// Sends, ends or reads; all of it, and at once, if nothing else `happens`.
    fn step(&mut self, rng: &mut Rng, lossy: bool, happens: bool) -> Result<(), String> {
        let left = self.said.bytes.len() - self.sent;
        if left > 0 && (self.going == Going::HalfClose || !happens || !rng.chance(3)) {
            let count = if happens { 1 + rng.below(left as u64) as usize } else { left };
            self.sim.send(&self.said.bytes[self.sent..self.sent + count]);
            self.sent += count;
            if happens {
                return Ok(());
            }
        }
        if !self.is_over {
            if happens && !rng.chance(10) {
                return Ok(());
            }
            self.is_over = true;
            self.is_done = self.going != Going::HalfClose;
            match self.going {
                Going::Close => self.sim.close(),
                Going::Reset => self.sim.reset(),
                Going::HalfClose => self.sim.finish(),
            }
            if self.is_done {
                return Ok(());
            }
        }
        self.got.extend(self.sim.read_some(if happens { rng.size(1 << 16) } else { usize::MAX }));
        if self.sim.ended().is_none() {
            return Ok(());
        }
        self.is_done = true;
        self.sim.close();
        let (got, replies) = (self.got.len(), self.said.replies.len());
        if self.got == self.said.replies
            || !self.said.is_all
            || lossy && self.said.replies.starts_with(&self.got)
        {
            return Ok(());
        }
        Err(format!("{:?}, half closed: {got} bytes instead of {replies}", self.point))
    }
}

/// What a reply must be.
enum Expected {
    Is(Value),
    Contains(&'static str),
}

/// A client that asks what is written, in order.
struct Reader {
    requests: VecDeque<(Vec<u8>, Expected)>,
    asked: VecDeque<Expected>,
}

impl Script for Reader {
    fn ask(&mut self, _: &mut Rng, _: Now) -> Vec<u8> {
        let (bytes, expected) =
            self.requests.pop_front().expect("it is asked as often as there are requests");
        self.asked.push_back(expected);
        bytes
    }

    fn answer(&mut self, reply: &[u8], _: Now) -> Result<(), String> {
        let reply = value::parse(reply);
        match self.asked.pop_front().expect("the client counts its requests") {
            Expected::Is(value) if reply == value => Ok(()),
            Expected::Is(value) => Err(format!("{reply} instead of {value}")),
            Expected::Contains(text) if reply.string().contains(text) => Ok(()),
            Expected::Contains(text) => Err(format!("no {text} in {}", reply.string())),
        }
    }
}

fn ask(text: &str, expected: Value) -> (Vec<u8>, Expected) {
    let words: Vec<&[u8]> = text.split(' ').map(str::as_bytes).collect();
    (request(&words), Expected::Is(expected))
}

fn ok() -> Value {
    Value::Simple(b"OK".to_vec())
}

impl World {
    /// Plays a run of ends.
    pub(super) fn play_ends(&self) -> Result<(), String> {
        let sizes = sizes(&self.plan);
        self.read(vec![ask(&format!("SET big {}", "b".repeat(sizes.big_bytes)), ok())])?;
        let mut number = 0;
        for _ in 0..ROUNDS {
            let paused = self.below(3) == 0;
            if paused {
                self.read(vec![ask("CLIENT PAUSE 1000000 WRITE", ok())])?;
            }
            let count = 1 + self.below(CLIENTS_MAX);
            let awaited = self.round_of_ends(number..number + count, paused, &sizes)?;
            number += count;
            self.check_left(paused, &awaited)?;
        }
        self.end()
    }

    /// Asks what is written, on a connection of its own.
    fn read(&self, requests: Vec<(Vec<u8>, Expected)>) -> Result<(), String> {
        let (count, rng) = (requests.len() as u64, &self.rng);
        let script = Box::new(Reader { requests: requests.into(), asked: VecDeque::new() });
        let name = "the reader".to_owned();
        let client = Client::new(&self.net, &self.plan, name, script, End::Close, &mut rng.borrow_mut());
        self.clients.borrow_mut().push(client.with_requests(count));
        self.until_clients_are_done()
    }

    /// Lets clients of these numbers go to their points and end; the keys they waited for.
    fn round_of_ends(
        &self,
        numbers: std::ops::Range<u64>,
        paused: bool,
        sizes: &Sizes,
    ) -> Result<Vec<String>, String> {
        self.net.set_faults(faults(&self.plan, self.plan.faults.reset_per_million));
        let lossy = self.plan.faults.reset_per_million > 0;
        let leavers: Vec<Leaver> = numbers.clone().map(|number| self.leaver(number, paused, sizes)).collect();
        let awaited =
            numbers.zip(&leavers).filter_map(|(number, leaver)| leaver.point.awaited(number)).collect();
        let (leavers, failure) = (RefCell::new(leavers), RefCell::new(Vec::new()));
        let last_end = std::cell::Cell::new(self.net.now());
        self.until("clients are about to go", || {
            let mut leavers = leavers.borrow_mut();
            let happens = || self.net.next_arrival().is_some() || !self.net.ready_workers().is_empty();
            let step = |leaver: &mut Leaver| {
                failure.borrow_mut().extend(leaver.step(&mut self.rng.borrow_mut(), lossy, happens()).err());
                if leaver.is_done {
                    last_end.set(self.net.now());
                }
            };
            let mut going: Vec<&mut Leaver> = leavers.iter_mut().filter(|leaver| !leaver.is_done).collect();
            if !going.is_empty() {
                let index = self.below(going.len() as u64) as usize;
                step(going[index]);
            }
            if !happens() {
                leavers.iter_mut().filter(|leaver| !leaver.is_done).for_each(step);
            }
            !failure.borrow().is_empty() || leavers.iter().all(|leaver| leaver.is_done)
        })?;
        if let Some(failure) = failure.into_inner().pop() {
            return Err(failure);
        }
        self.until("clients that are gone are connected", || self.is_deserted())?;
        let took = self.net.now() - last_end.get();
        self.net.set_faults(faults(&self.plan, 0));
        if took > SEEN {
            return Err(format!("the last end was seen after {took:?}"));
        }
        Ok(awaited)
    }

    fn leaver(&self, number: u64, paused: bool, sizes: &Sizes) -> Leaver {
        let mut rng = Draw(self.rng.borrow_mut().next_u64());
        let unread = sizes.big_count > 1 && rng.once_in(10);
        let point = if unread { Point::OutputUnread } else { *rng.pick(if paused { PAUSED } else { CALM }) };
        let (going, said) = (*rng.pick(&GOINGS), point.say(number, sizes, &mut rng));
        let sim = self.net.connect(PORT);
        Leaver { sim, point, going, said, sent: 0, got: Vec::new(), is_over: false, is_done: false }
    }

    /// Nobody waits, nothing ran that was held back, and whoever went takes no job along.
    fn check_left(&self, paused: bool, awaited: &[String]) -> Result<(), String> {
        let info = || request(&[b"INFO", b"clients"]);
        let mut requests = vec![(info(), Expected::Contains("blocked_clients:0\r\n"))];
        if paused {
            requests.push(ask("CLIENT UNPAUSE", ok()));
        }
        requests.push(ask("DBSIZE", Value::Int(1)));
        for key in awaited.iter().map(String::as_str).chain(["q:all", "r:all"]) {
            requests.push(ask(&format!("RPUSH {key} job"), Value::Int(1)));
            requests.push(ask(&format!("LPOP {key}"), Value::Bulk(b"job".to_vec())));
        }
        self.read(requests)
    }
}

/// What fits the network: one that cuts all into bytes would take for ever to carry much.
fn sizes(plan: &Plan) -> Sizes {
    let roomy =
        plan.faults.piece_bytes_max.min(plan.faults.socket_bytes) >= 4096 && plan.io.buffer_bytes >= 1024;
    if roomy {
        Sizes { commands_max: 1100, bulk_bytes: 70_000, big_bytes: 100_000, big_count: 16 }
    } else {
        Sizes { commands_max: 6, bulk_bytes: 100, big_bytes: 100, big_count: 1 }
    }
}

fn check_happened(sum: &Summary) {
    assert!(sum.commands > 1_000, "too little was asked: {sum:?}");
    assert!(sum.moved > 100, "connections hardly ever moved: {sum:?}");
}

#[test]
fn seeds_even() {
    ENDS.run_part(0);
}

#[test]
fn seeds_odd() {
    ENDS.run_part(1);
}

#[test]
fn a_seed_determines_its_ends() {
    ENDS.check_determined(0..5);
}
