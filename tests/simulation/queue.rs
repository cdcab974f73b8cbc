//! Lists that some push to and others wait for.
//!
//! Every element is a number used once. Whoever gets one, however it came to him, gets what nobody else got and what was
//! pushed. Waiting ends no earlier than asked for, and ends at all. In the end everything that was pushed was popped or is
//! still there, but for what clients took along whose connection broke.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use torc::io::sim::Rng;

use super::client::{Now, Script, request};
use crate::harness::value::{self, Value};

/// Lists that are pushed to.
const LISTS: u64 = 3;
/// Where elements are moved to; it is popped from like the others.
const MOVED: &str = "list:moved";
/// Longest timeout, ms.
const TIMEOUT_MS_MAX: u64 = 40;

/// What became of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Its push was sent.
    Pushed,
    /// Somebody got it.
    Popped,
}

/// What happened to the lists.
#[derive(Default)]
pub struct Queues {
    next: u64,
    elements: BTreeMap<u64, Fate>,
    /// Pops that were sent and not answered: each may have taken one along.
    pops_open: u64,
    /// Elements whose push was not answered: they may never have come to be.
    pushes_open: u64,
    /// Replies to commands that waited in vain, and to those that waited and were served.
    pub timeouts: u64,
    pub served: u64,
}

impl Queues {
    fn pop(&mut self, reply: &Value) -> Result<u64, String> {
        let text = String::from_utf8_lossy(reply.text()).into_owned();
        let number: u64 = text.parse().map_err(|_| format!("{reply:?} was never pushed"))?;
        match self.elements.insert(number, Fate::Popped) {
            Some(Fate::Pushed) => Ok(number),
            other => Err(format!("element {number} was popped, but was {other:?}")),
        }
    }

    /// Judges what is left in the end.
    ///
    /// # Errors
    /// What is wrong.
    fn check_left(&mut self, left: &[Value]) -> Result<(), String> {
        left.iter().try_for_each(|value| self.pop(value).map(|_| ()))
    }

    /// Whether no more is missing than may be.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        let missing = self.elements.values().filter(|fate| **fate == Fate::Pushed).count() as u64;
        if missing > self.pops_open + self.pushes_open {
            let (pops, pushes) = (self.pops_open, self.pushes_open);
            return Err(format!("{missing} elements are gone; open are {pops} pops and {pushes} pushes"));
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    /// Of so many.
    Push(u64),
    /// Asked when, for at least so long (ms).
    Pop {
        asked_ms: u64,
        timeout_ms: u64,
    },
    Move {
        asked_ms: u64,
        timeout_ms: u64,
    },
    Left,
}

/// A client of the lists.
pub struct Worker {
    queues: Rc<RefCell<Queues>>,
    asked: VecDeque<Verb>,
    /// Only looks what is left.
    audits: bool,
    step: u64,
}

impl Worker {
    pub fn new(queues: &Rc<RefCell<Queues>>, audits: bool) -> Worker {
        Worker { queues: Rc::clone(queues), asked: VecDeque::new(), audits, step: 0 }
    }

    /// How many requests an audit takes.
    pub fn audit_requests() -> u64 {
        LISTS + 1
    }

    fn say(&mut self, verb: Verb, text: &str) -> Vec<u8> {
        self.asked.push_back(verb);
        request(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn list(number: u64) -> String {
        if number == LISTS { MOVED.to_owned() } else { format!("list:{number}") }
    }

    fn push(&mut self, rng: &mut Rng) -> Vec<u8> {
        let (mut numbers, count) = (Vec::new(), 1 + rng.below(3));
        {
            let mut queues = self.queues.borrow_mut();
            queues.pushes_open += count;
            for _ in 0..count {
                queues.next += 1;
                let number = queues.next;
                queues.elements.insert(number, Fate::Pushed);
                numbers.push(number.to_string());
            }
        }
        let list = Worker::list(rng.below(LISTS));
        self.say(Verb::Push(count), &format!("RPUSH {list} {}", numbers.join(" ")))
    }
}

impl Script for Worker {
    fn ask(&mut self, rng: &mut Rng, now: Now) -> Vec<u8> {
        if self.audits {
            self.step += 1;
            let list = Worker::list(self.step - 1);
            return self.say(Verb::Left, &format!("LRANGE {list} 0 -1"));
        }
        let timeout_ms = 1 + rng.below(TIMEOUT_MS_MAX);
        let timeout = format!("0.{timeout_ms:03}");
        let (asked_ms, first) = (now.ms, rng.below(LISTS + 1));
        match rng.below(8) {
            0..4 => self.push(rng),
            4 => {
                let source = Worker::list(rng.below(LISTS));
                self.say(
                    Verb::Move { asked_ms, timeout_ms },
                    &format!("BLMOVE {source} {MOVED} LEFT RIGHT {timeout}"),
                )
            }
            5 => {
                self.queues.borrow_mut().pops_open += 1;
                let list = Worker::list(first);
                self.say(Verb::Pop { asked_ms, timeout_ms }, &format!("BLPOP {list} {timeout}"))
            }
            _ => {
                self.queues.borrow_mut().pops_open += 1;
                let keys: Vec<String> =
                    (0..=LISTS).map(|n| Worker::list((first + n) % (LISTS + 1))).collect();
                let text = format!("BLPOP {} {timeout}", keys.join(" "));
                self.say(Verb::Pop { asked_ms, timeout_ms }, &text)
            }
        }
    }

    fn awaits_time(&self) -> bool {
        matches!(self.asked.front(), Some(Verb::Pop { .. } | Verb::Move { .. }))
    }

    fn answer(&mut self, reply: &[u8], now: Now) -> Result<(), String> {
        let verb = self.asked.pop_front().expect("the client counts its requests");
        let reply = value::parse(reply);
        let mut queues = self.queues.borrow_mut();
        match (verb, &reply) {
            (Verb::Push(count), Value::Int(1..)) => queues.pushes_open -= count,
            (Verb::Left, Value::Array(values)) => queues.check_left(values)?,
            (Verb::Pop { asked_ms, timeout_ms } | Verb::Move { asked_ms, timeout_ms }, Value::NullArray) => {
                queues.pops_open -= u64::from(matches!(verb, Verb::Pop { .. }));
                queues.timeouts += 1;
                if now.ms < asked_ms + timeout_ms {
                    return Err(format!("{timeout_ms} ms were over after {}", now.ms - asked_ms));
                }
            }
            (Verb::Pop { .. }, Value::Array(parts)) => {
                queues.pops_open -= 1;
                queues.served += 1;
                queues.pop(&parts[1])?;
            }
            // It is in another list now, to be popped by somebody else, perhaps already.
            (Verb::Move { .. }, Value::Bulk(_)) => queues.served += 1,
            _ => return Err(format!("expected an answer to {verb:?}, got {reply:?}")),
        }
        Ok(())
    }
}
