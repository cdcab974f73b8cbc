//! A client with keys of its own that have deadlines.
//!
//! Design: the moment at which a command ran is known to lie between its request and its reply, so a deadline is known as
//! a range. What happens before it or after it must be as the range says; what happens within it tells more about it.

use std::collections::{BTreeMap, VecDeque};

use torc::io::sim::Rng;

use super::client::{Now, Script, request};
use crate::harness::value::{self, Value};

/// Keys of one client.
const KEYS: u64 = 3;
/// Longest time to live, in ms.
const TTL_MS_MAX: usize = 300;
/// Clocks are cut to ms.
const MARGIN_MS: u64 = 1;

#[derive(Clone, Debug)]
struct Life {
    value: u64,
    /// Between which times it ends, in ms, if it does.
    deadline: Option<(u64, u64)>,
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    Set { value: u64, ttl_ms: Option<u64> },
    Get,
    Pttl,
    Exists,
    Pexpire { ttl_ms: u64 },
    Persist,
    Del,
}

/// The script.
pub struct WithDeadlines {
    prefix: String,
    lives: BTreeMap<u64, Life>,
    asked: VecDeque<(u64, Verb, Now)>,
    next_value: u64,
}

impl WithDeadlines {
    /// Keys begin with `prefix`.
    pub fn new(prefix: String) -> WithDeadlines {
        WithDeadlines { prefix, lives: BTreeMap::new(), asked: VecDeque::new(), next_value: 0 }
    }
}

impl Script for WithDeadlines {
    fn ask(&mut self, rng: &mut Rng, now: Now) -> Vec<u8> {
        let ttl_ms = rng.size(TTL_MS_MAX) as u64;
        let verb = match rng.below(10) {
            0..3 => {
                self.next_value += 1;
                Verb::Set { value: self.next_value, ttl_ms: rng.chance(80).then_some(ttl_ms) }
            }
            3..6 => Verb::Get,
            6 => Verb::Pttl,
            7 => Verb::Exists,
            8 => Verb::Pexpire { ttl_ms },
            _ if rng.chance(50) => Verb::Persist,
            _ => Verb::Del,
        };
        let number = rng.below(KEYS);
        self.asked.push_back((number, verb, now));
        let key = format!("{}:{number}", self.prefix);
        let text = match verb {
            Verb::Set { value, ttl_ms: None } => format!("SET {key} {value}"),
            Verb::Set { value, ttl_ms: Some(ttl_ms) } => format!("SET {key} {value} PX {ttl_ms}"),
            Verb::Get => format!("GET {key}"),
            Verb::Pttl => format!("PTTL {key}"),
            Verb::Exists => format!("EXISTS {key}"),
            Verb::Pexpire { ttl_ms } => format!("PEXPIRE {key} {ttl_ms}"),
            Verb::Persist => format!("PERSIST {key}"),
            Verb::Del => format!("DEL {key}"),
        };
        request(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn answer(&mut self, reply: &[u8], now: Now) -> Result<(), String> {
        let (number, verb, asked) = self.asked.pop_front().expect("the client counts its requests");
        let reply = value::parse(reply);
        let life = self.lives.remove(&number);
        let (from, to) = (asked.ms, now.ms);
        let deadline = life.as_ref().and_then(|life| life.deadline);
        let may_live = life.is_some() && deadline.is_none_or(|(_, last)| from <= last + MARGIN_MS);
        let may_be_gone = life.is_none() || deadline.is_some_and(|(first, _)| first <= to + MARGIN_MS);
        let wrong =
            format!("{verb:?} between {from} and {to} was answered {reply:?}, while the key is {life:?}");
        let after = |ttl_ms: u64| Some((from + ttl_ms, to + ttl_ms));
        // Whether the reply says that the key lives, and what follows for its deadline.
        let (lives, deadline) = match (verb, &reply) {
            (Verb::Set { value, ttl_ms }, Value::Simple(_)) => {
                self.lives.insert(number, Life { value, deadline: ttl_ms.and_then(after) });
                return Ok(());
            }
            (Verb::Get, Value::Bulk(text)) => {
                let value = life.as_ref().map(|life| life.value.to_string().into_bytes());
                (value.as_ref() == Some(text), deadline)
            }
            (Verb::Get, Value::NullBulk) | (Verb::Pttl, Value::Int(-2)) => (false, None),
            (Verb::Pttl, Value::Int(-1)) if deadline.is_none() => (true, None),
            (Verb::Pttl, Value::Int(left)) => match (deadline, u64::try_from(*left)) {
                (Some((first, last)), Ok(left)) if from + left <= last && first <= to + left => {
                    (true, Some((first.max(from + left), last.min(to + left))))
                }
                _ => return Err(wrong),
            },
            (Verb::Pexpire { ttl_ms }, Value::Int(1)) => (true, after(ttl_ms)),
            (Verb::Persist, Value::Int(1)) if deadline.is_some() => (true, None),
            (Verb::Persist, Value::Int(0)) if may_live && deadline.is_none() => (true, None),
            (Verb::Exists, Value::Int(1)) => (true, deadline),
            (Verb::Del, Value::Int(1)) if may_live => return Ok(()),
            (Verb::Exists | Verb::Pexpire { .. } | Verb::Persist | Verb::Del, Value::Int(0)) => (false, None),
            _ => return Err(wrong),
        };
        if lives && may_live {
            let value = life.expect("it may live").value;
            self.lives.insert(number, Life { value, deadline });
        } else if lives || !may_be_gone {
            return Err(wrong);
        }
        Ok(())
    }
}
