//! Keys that all clients share, and what must be true of everything that happened to them.
//!
//! - A group is a few keys that one MSET sets to one number, used once: an MGET must see one number in all of them, and the
//!   history of a group must be that of one register (`register`).
//! - A counter is only incremented: every reply differs, later ones are larger, and none is lost.
//! - Balls lie on places; RENAMENX moves one. An MGET of all places must show every ball exactly once.
//!
//! In a wild run databases are swapped and flushed meanwhile, so there only the atomicity of groups is checked.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use torc::io::sim::Rng;

use super::client::{Now, Script, request};
use super::register::{self, Op};
use crate::harness::value::{self, Value};

const GROUPS: u64 = 2;
const GROUP_KEYS: u64 = 4;
const COUNTERS: u64 = 2;
const BALLS: u64 = 3;
const PLACES: u64 = 7;
/// Databases that wild clients use.
const WILD_DATABASES: u64 = 2;

/// What happened to the shared keys.
pub struct Board {
    groups: Vec<Vec<Op>>,
    /// Of each counter the increments: the reply (0 while there is none), asked, answered.
    counters: Vec<Vec<(u64, u64, u64)>>,
    next_value: u64,
    wild: bool,
    torn: bool,
    forgets: bool,
}

impl Board {
    /// Nothing has happened. With `torn`, writes of groups are done in two parts; with `forgets`, an increment is made up.
    pub fn new(wild: bool, torn: bool, forgets: bool) -> Board {
        let groups = (0..GROUPS).map(|_| Vec::new()).collect();
        let counters = (0..COUNTERS).map(|_| Vec::new()).collect();
        Board { groups, counters, next_value: 1, wild, torn, forgets }
    }

    /// Judges the whole history.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), String> {
        if self.wild {
            return Ok(());
        }
        for (number, history) in self.groups.iter().enumerate() {
            register::check(history).map_err(|error| format!("group {number}: {error}"))?;
        }
        self.counters.iter().enumerate().try_for_each(|(number, history)| {
            check_counter(history).map_err(|error| format!("counter {number}: {error}"))
        })
    }

    fn final_count(&self, counter: u64, count: u64) -> Result<(), String> {
        let history = &self.counters[counter as usize];
        let known = history.iter().filter(|(reply, ..)| *reply > 0).count() as u64;
        let known = known + u64::from(self.forgets);
        let asked = history.len() as u64;
        if (known..=asked.max(known)).contains(&count) {
            return Ok(());
        }
        Err(format!("counter {counter} is {count} in the end, after {known} replies to {asked} increments"))
    }
}

fn check_counter(history: &[(u64, u64, u64)]) -> Result<(), String> {
    let mut answered: Vec<_> = history.iter().filter(|(reply, ..)| *reply > 0).collect();
    answered.sort_unstable();
    let mut asked_max = 0;
    for pair in answered.windows(2) {
        let [(low, ..), (high, ..)] = pair else { unreachable!("windows of two") };
        if low == high {
            return Err(format!("{low} was the answer to two increments"));
        }
    }
    for (reply, asked, replied) in answered {
        if *replied < asked_max {
            return Err(format!("{reply} was answered before a smaller number was asked for"));
        }
        asked_max = asked_max.max(*asked);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug)]
enum Verb {
    /// Its place in the group's history.
    Write {
        group: usize,
        index: usize,
    },
    Read {
        group: usize,
        asked: u64,
    },
    Count {
        counter: usize,
        index: usize,
    },
    Move,
    Look,
    Final {
        counter: u64,
    },
    Place,
    /// Whatever the reply is.
    Any,
}

/// A client of the board.
pub struct Player {
    board: Rc<RefCell<Board>>,
    asked: VecDeque<Verb>,
    role: Role,
    step: u64,
    /// The second part of a torn write.
    rest: Option<Vec<u8>>,
}

/// What a player does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Sets up what must be there from the beginning.
    Setter,
    /// Plays.
    Player,
    /// Swaps, flushes and counts whole databases.
    Wrecker,
    /// Looks at everything in the end.
    Auditor,
}

impl Role {
    /// How many requests the role makes, if that is fixed.
    pub fn requests(self) -> Option<u64> {
        match self {
            Role::Setter => Some(1),
            Role::Auditor => Some(COUNTERS + GROUPS + 1),
            Role::Player | Role::Wrecker => None,
        }
    }
}

impl Player {
    pub fn new(board: &Rc<RefCell<Board>>, role: Role) -> Player {
        Player { board: Rc::clone(board), asked: VecDeque::new(), role, step: 0, rest: None }
    }

    fn say(&mut self, verb: Verb, text: &str) -> Vec<u8> {
        self.asked.push_back(verb);
        request(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn read(&mut self, group: u64, rng: &mut Rng, now: Now) -> Vec<u8> {
        let keys = group_keys(group, rng).join(" ");
        self.say(Verb::Read { group: group as usize, asked: now.stamp }, &format!("MGET {keys}"))
    }

    fn write(&mut self, group: u64, rng: &mut Rng, now: Now) -> Vec<u8> {
        let board = Rc::clone(&self.board);
        let mut board = board.borrow_mut();
        let value = board.next_value;
        board.next_value += 1;
        let op = Op { writes: true, value, invoked: now.stamp, responded: u64::MAX };
        let history = &mut board.groups[group as usize];
        history.push(op);
        let verb = Verb::Write { group: group as usize, index: history.len() - 1 };
        let pairs: Vec<String> = group_keys(group, rng).iter().map(|key| format!("{key} {value}")).collect();
        if board.torn {
            let (first, second) = pairs.split_at(GROUP_KEYS as usize / 2);
            let first = self.say(verb, &format!("MSET {}", first.join(" ")));
            let second = self.say(Verb::Any, &format!("MSET {}", second.join(" ")));
            self.rest = Some(second);
            return first;
        }
        self.say(verb, &format!("MSET {}", pairs.join(" ")))
    }

    fn play(&mut self, rng: &mut Rng, now: Now) -> Vec<u8> {
        if let Some(rest) = self.rest.take() {
            return rest;
        }
        let wild = self.board.borrow().wild;
        let (group, counter) = (rng.below(GROUPS), rng.below(COUNTERS));
        match rng.below(12) {
            0..3 => self.write(group, rng, now),
            3..6 => self.read(group, rng, now),
            6..8 => {
                let history = &mut self.board.borrow_mut().counters[counter as usize];
                history.push((0, now.stamp, u64::MAX));
                let verb = Verb::Count { counter: counter as usize, index: history.len() - 1 };
                self.asked.push_back(verb);
                request(&[b"INCR", format!("count:{counter}").as_bytes()])
            }
            8 if wild => self.say(Verb::Any, &format!("SELECT {}", rng.below(WILD_DATABASES))),
            8..10 => {
                let (source, target) = (rng.below(PLACES), rng.below(PLACES));
                self.say(Verb::Move, &format!("RENAMENX place:{source} place:{target}"))
            }
            _ => self.look(rng),
        }
    }

    fn look(&mut self, rng: &mut Rng) -> Vec<u8> {
        let mut places: Vec<String> = (0..PLACES).map(|place| format!("place:{place}")).collect();
        rng.shuffle(&mut places);
        self.say(Verb::Look, &format!("MGET {}", places.join(" ")))
    }

    fn wreck(&mut self, rng: &mut Rng) -> Vec<u8> {
        let text = match rng.below(8) {
            0 => "FLUSHALL".to_owned(),
            1 => "FLUSHDB".to_owned(),
            2..4 => "SWAPDB 0 1".to_owned(),
            4 => format!("SELECT {}", rng.below(WILD_DATABASES)),
            5 => "KEYS *".to_owned(),
            _ => "DBSIZE".to_owned(),
        };
        self.say(Verb::Any, &text)
    }

    fn audit(&mut self, rng: &mut Rng, now: Now) -> Vec<u8> {
        let step = self.step;
        self.step += 1;
        match step {
            0..COUNTERS => self.say(Verb::Final { counter: step }, &format!("GET count:{step}")),
            _ if step - COUNTERS < GROUPS => self.read(step - COUNTERS, rng, now),
            _ => self.look(rng),
        }
    }
}

impl Script for Player {
    fn ask(&mut self, rng: &mut Rng, now: Now) -> Vec<u8> {
        match self.role {
            Role::Setter => {
                let balls: Vec<String> = (0..BALLS).map(|ball| format!("place:{ball} {ball}")).collect();
                self.say(Verb::Place, &format!("MSET {}", balls.join(" ")))
            }
            Role::Player => self.play(rng, now),
            Role::Wrecker => self.wreck(rng),
            Role::Auditor => self.audit(rng, now),
        }
    }

    fn answer(&mut self, reply: &[u8], now: Now) -> Result<(), String> {
        let verb = self.asked.pop_front().expect("the client counts its requests");
        let reply = value::parse(reply);
        let wrong = || Err(format!("{verb:?} was answered {reply:?}"));
        let mut board = self.board.borrow_mut();
        let wild = board.wild;
        match (verb, &reply) {
            (Verb::Any, Value::Error(_)) => return wrong(),
            (Verb::Any, _) | (Verb::Place, Value::Simple(_)) => {}
            (Verb::Write { group, index }, Value::Simple(_)) => {
                board.groups[group][index].responded = now.stamp;
            }
            (Verb::Read { group, asked }, Value::Array(values)) => {
                if values.len() as u64 != GROUP_KEYS || values.iter().any(|value| *value != values[0]) {
                    return Err(format!("group {group} had several values at once: {values:?}"));
                }
                let value = match &values[0] {
                    Value::NullBulk => 0,
                    number => integer(number)?,
                };
                let op = Op { writes: false, value, invoked: asked, responded: now.stamp };
                board.groups[group].push(op);
            }
            (Verb::Count { counter, index }, Value::Int(count)) if *count > 0 => {
                let (reply, _, answered) = &mut board.counters[counter][index];
                (*reply, *answered) = (*count as u64, now.stamp);
            }
            (Verb::Move, Value::Int(0 | 1)) => {}
            (Verb::Move, Value::Error(text)) if text == b"ERR no such key" => {}
            (Verb::Look, Value::Array(_)) if wild => {}
            (Verb::Look, Value::Array(values)) => {
                let balls = values.iter().filter(|value| **value != Value::NullBulk);
                let mut balls: Vec<u64> = balls.map(integer).collect::<Result<_, _>>()?;
                balls.sort_unstable();
                if !balls.iter().copied().eq(0..BALLS) {
                    return Err(format!("the places hold the balls {balls:?}"));
                }
            }
            (Verb::Final { .. }, _) if wild => {}
            (Verb::Final { counter }, Value::NullBulk) => board.final_count(counter, 0)?,
            (Verb::Final { counter }, text) => board.final_count(counter, integer(text)?)?,
            _ => return wrong(),
        }
        Ok(())
    }
}

fn integer(value: &Value) -> Result<u64, String> {
    let text = String::from_utf8_lossy(value.text());
    text.parse().map_err(|_| format!("{value:?} is no number that anybody set"))
}

fn group_keys(group: u64, rng: &mut Rng) -> Vec<String> {
    let mut keys: Vec<String> = (0..GROUP_KEYS).map(|key| format!("group:{group}:{key}")).collect();
    rng.shuffle(&mut keys);
    keys
}
