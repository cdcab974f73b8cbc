//! Clients that listen to channels and publish to them: who hears what, and in which order.
//!
//! Each client does both, in RESP3, so that it goes on with other commands while it listens. Every message is a number used once.
//! What must hold (the contracts of published messages):
//!
//! 1. all who listen to a channel hear its messages in one order;
//! 2. a publisher's messages keep their order, over channels too, and a message that its publisher had heard another before is
//!    not heard before that one;
//! 3. who hears a message reads what was written before it;
//! 4. who subscribes hears nothing older; who unsubscribes has heard all until then; nothing comes twice, and nothing to those who do
//!    not listen;
//! 5. a publisher is told of as many as certainly listened, and of no more than may have.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use torc::io::sim::Rng;

use super::client::{Client, End, Now, Script, request};
use super::plan::Plan;
use super::series::Series;
use super::world::{Summary, World, faults};
use crate::harness::value::{self, Value};

const TALKERS: Series =
    Series { tests: "simulation::talkers::seeds", usual: 0..120, draw: Plan::talkers, check_happened };
const CHANNELS: usize = 3;
/// A pattern that all channels match; it is listened to like one more channel.
const PATTERN: usize = CHANNELS;
const LISTENED: usize = CHANNELS + 1;
/// Messages heard last that a message is noted to come behind.
const HEARD_BEFORE_MAX: usize = 3;
/// In the place of an instant that has not come.
const NEVER: u64 = u64::MAX;

/// How much was said and heard.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spoken {
    pub published: u64,
    pub heard: u64,
    pub read_behind: u64,
}

impl Spoken {
    /// Adds another run's.
    pub fn add(&mut self, other: &Spoken) {
        self.published += other.published;
        self.heard += other.heard;
        self.read_behind += other.read_behind;
    }
}

struct Message {
    channel: usize,
    publisher: usize,
    asked: u64,
    answered: u64,
    told: i64,
    /// Whether its publisher wrote its number right before.
    wrote: bool,
    /// Heard or published before by the same client.
    before: Vec<usize>,
}

/// From one SUBSCRIBE to the next UNSUBSCRIBE: when each was sent and answered.
#[derive(Clone, Copy)]
struct Interval {
    asked: u64,
    answered: u64,
    end_asked: u64,
    end_answered: u64,
}

/// What one client has listened to and heard.
#[derive(Default)]
struct Listener {
    intervals: [Vec<Interval>; LISTENED],
    /// Messages in the order in which they came, through channels and through the pattern.
    heard: [Vec<(usize, u64)>; 2],
    /// When the last request was sent that was answered.
    alive: u64,
}

/// What all of a run have said and heard.
#[derive(Default)]
pub struct Talk {
    messages: Vec<Message>,
    listeners: Vec<Listener>,
    read_behind: u64,
}

impl Talk {
    fn check(&self) -> Result<(), String> {
        for (number, listener) in self.listeners.iter().enumerate() {
            for (by_pattern, heard) in listener.heard.iter().enumerate() {
                let context = |error| format!("client {number}, by pattern {by_pattern}: {error}");
                self.check_heard(listener, by_pattern, heard).map_err(context)?;
                self.check_causes(heard).map_err(context)?;
            }
            self.check_complete(listener).map_err(|error| format!("client {number}: {error}"))?;
        }
        self.check_one_order()?;
        self.messages.iter().enumerate().try_for_each(|(id, message)| self.check_told(id, message))
    }

    /// Part of 4: what was heard was said while it was listened to, and came once.
    fn check_heard(
        &self,
        listener: &Listener,
        by_pattern: usize,
        heard: &[(usize, u64)],
    ) -> Result<(), String> {
        let mut seen = vec![false; self.messages.len()];
        for (id, at) in heard {
            if std::mem::replace(&mut seen[*id], true) {
                return Err(format!("message {id} came twice"));
            }
            let message = &self.messages[*id];
            let listened = if by_pattern == 1 { PATTERN } else { message.channel };
            let fits = |interval: &&Interval| {
                interval.asked < message.answered && *at < interval.end_answered && message.asked < *at
            };
            if !listener.intervals[listened].iter().any(|interval| fits(&interval)) {
                return Err(format!("message {id} is older than the subscription, or newer than its end"));
            }
        }
        Ok(())
    }

    /// 2.
    fn check_causes(&self, heard: &[(usize, u64)]) -> Result<(), String> {
        let places: BTreeMap<usize, usize> =
            heard.iter().enumerate().map(|(place, (id, _))| (*id, place)).collect();
        for (place, (id, _)) in heard.iter().enumerate() {
            let late = |before: &&usize| places.get(before).is_some_and(|earlier| *earlier > place);
            if let Some(before) = self.messages[*id].before.iter().find(late) {
                return Err(format!("message {id} came before {before}, which its publisher knew of"));
            }
        }
        Ok(())
    }

    /// Part of 4: who has unsubscribed had heard all.
    fn check_complete(&self, listener: &Listener) -> Result<(), String> {
        for (listened, intervals) in listener.intervals.iter().enumerate() {
            let heard = &listener.heard[usize::from(listened == PATTERN)];
            for interval in intervals.iter().filter(|interval| interval.end_answered != NEVER) {
                let missing = self.messages.iter().enumerate().find(|(id, message)| {
                    (listened == PATTERN || message.channel == listened)
                        && message.asked > interval.answered
                        && message.answered < interval.end_asked
                        && !heard.iter().any(|(heard, _)| heard == id)
                });
                if let Some((id, _)) = missing {
                    return Err(format!("message {id} never came, though it was listened to"));
                }
            }
        }
        Ok(())
    }

    /// 1.
    fn check_one_order(&self) -> Result<(), String> {
        for channel in 0..CHANNELS {
            let of_channel = |heard: &Vec<(usize, u64)>| -> Vec<usize> {
                heard.iter().map(|(id, _)| *id).filter(|id| self.messages[*id].channel == channel).collect()
            };
            let orders: Vec<Vec<usize>> =
                self.listeners.iter().flat_map(|listener| &listener.heard).map(of_channel).collect();
            for (number, one) in orders.iter().enumerate() {
                let places: BTreeMap<usize, usize> =
                    one.iter().enumerate().map(|(place, id)| (*id, place)).collect();
                for other in &orders[..number] {
                    let common: Vec<usize> = other.iter().filter_map(|id| places.get(id).copied()).collect();
                    if !common.is_sorted() {
                        return Err(format!("two orders on channel {channel}: {one:?} and {other:?}"));
                    }
                }
            }
        }
        Ok(())
    }

    /// 5.
    fn check_told(&self, id: usize, message: &Message) -> Result<(), String> {
        if message.answered == NEVER {
            return Ok(());
        }
        let (mut certain, mut possible) = (0, 0);
        for listener in &self.listeners {
            for listened in [message.channel, PATTERN] {
                let intervals = || listener.intervals[listened].iter();
                let listens = |i: &Interval| i.answered < message.asked && message.answered < i.end_asked;
                let may = |i: &Interval| i.asked < message.answered && message.asked < i.end_answered;
                certain += i64::from(intervals().any(listens) && listener.alive > message.answered);
                possible += i64::from(intervals().any(may));
            }
        }
        let told = message.told;
        if (certain..=possible).contains(&told) {
            return Ok(());
        }
        Err(format!("message {id} was told to {told}, not to {certain} to {possible}"))
    }
}

/// A request under way.
enum Asked {
    /// Its reply says nothing.
    Other,
    Subscribe(usize),
    Unsubscribe(usize),
    Publish(usize),
    /// A read of what was written before a message with this number.
    Read(usize),
}

/// One client.
pub struct Talker {
    talk: Rc<RefCell<Talk>>,
    number: usize,
    asked: VecDeque<(Asked, u64)>,
    /// What it subscribes to, as of its last request.
    listens: [bool; LISTENED],
    is_greeted: bool,
    /// A message whose write it has sent, or one whose write it is to read.
    next: Option<Asked>,
}

impl Talker {
    pub fn new(talk: &Rc<RefCell<Talk>>) -> Talker {
        let number = talk.borrow().listeners.len();
        talk.borrow_mut().listeners.push(Listener::default());
        Talker {
            talk: Rc::clone(talk),
            number,
            asked: VecDeque::new(),
            listens: [false; LISTENED],
            is_greeted: false,
            next: None,
        }
    }

    fn say(&mut self, asked: Asked, now: Now, text: &str) -> Vec<u8> {
        self.asked.push_back((asked, now.stamp));
        request(&text.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    fn toggle(&mut self, listened: usize, now: Now) -> Vec<u8> {
        let on = !self.listens[listened];
        self.listens[listened] = on;
        let (prefix, name) =
            if listened == PATTERN { ("P", "ch:*".to_owned()) } else { ("", format!("ch:{listened}")) };
        let mut talk = self.talk.borrow_mut();
        let intervals = &mut talk.listeners[self.number].intervals[listened];
        if on {
            let asked = now.stamp;
            intervals.push(Interval { asked, answered: NEVER, end_asked: NEVER, end_answered: NEVER });
            drop(talk);
            return self.say(Asked::Subscribe(listened), now, &format!("{prefix}SUBSCRIBE {name}"));
        }
        intervals.last_mut().expect("it listens").end_asked = now.stamp;
        drop(talk);
        self.say(Asked::Unsubscribe(listened), now, &format!("{prefix}UNSUBSCRIBE {name}"))
    }

    /// A message that is about to be published, on any channel.
    fn new_message(&mut self, wrote: bool, rng: &mut Rng, now: Now) -> usize {
        let mut talk = self.talk.borrow_mut();
        let listener = &talk.listeners[self.number];
        let last = |heard: &Vec<(usize, u64)>| -> Vec<usize> {
            heard.iter().rev().take(HEARD_BEFORE_MAX).map(|(id, _)| *id).collect()
        };
        let mut before: Vec<usize> = listener.heard.iter().flat_map(last).collect();
        before.extend(talk.messages.iter().rposition(|message| message.publisher == self.number));
        let channel = rng.below(CHANNELS as u64) as usize;
        let (publisher, asked) = (self.number, now.stamp);
        talk.messages.push(Message { channel, publisher, asked, answered: NEVER, told: 0, wrote, before });
        talk.messages.len() - 1
    }

    fn publish(&mut self, id: usize, now: Now) -> Vec<u8> {
        let channel = {
            let message = &mut self.talk.borrow_mut().messages[id];
            message.asked = now.stamp;
            message.channel
        };
        self.say(Asked::Publish(id), now, &format!("PUBLISH ch:{channel} {id}"))
    }
}

impl Script for Talker {
    fn ask(&mut self, rng: &mut Rng, now: Now) -> Vec<u8> {
        if !std::mem::replace(&mut self.is_greeted, true) {
            return self.say(Asked::Other, now, "HELLO 3");
        }
        match self.next.take() {
            Some(Asked::Publish(id)) => return self.publish(id, now),
            Some(Asked::Read(id)) => {
                let publisher = self.talk.borrow().messages[id].publisher;
                return self.say(Asked::Read(id), now, &format!("GET written:{publisher}"));
            }
            _ => {}
        }
        match rng.below(8) {
            0..3 => self.toggle(rng.below(LISTENED as u64) as usize, now),
            3 => self.say(Asked::Other, now, "PING"),
            4 | 5 => {
                let id = self.new_message(true, rng, now);
                self.next = Some(Asked::Publish(id));
                let number = self.number;
                self.say(Asked::Other, now, &format!("SET written:{number} {id}"))
            }
            _ => {
                let id = self.new_message(false, rng, now);
                self.publish(id, now)
            }
        }
    }

    fn answer(&mut self, reply: &[u8], now: Now) -> Result<(), String> {
        let (asked, asked_at) = self.asked.pop_front().expect("the client counts its requests");
        let (reply, mut talk) = (value::parse(reply), self.talk.borrow_mut());
        if reply.is_error() {
            return Err(format!("{reply:?}"));
        }
        let listener = &mut talk.listeners[self.number];
        listener.alive = asked_at;
        match asked {
            Asked::Other => {}
            Asked::Subscribe(listened) => {
                let begun = listener.intervals[listened].iter_mut().find(|i| i.answered == NEVER);
                begun.expect("it has subscribed").answered = now.stamp;
            }
            Asked::Unsubscribe(listened) => {
                let ended = listener.intervals[listened].iter_mut().find(|i| i.end_answered == NEVER);
                ended.expect("it has unsubscribed").end_answered = now.stamp;
            }
            Asked::Publish(id) => {
                let message = &mut talk.messages[id];
                message.answered = now.stamp;
                message.told = reply.int().ok_or(format!("PUBLISH: {reply:?}"))?;
            }
            Asked::Read(id) => {
                talk.read_behind += 1;
                let written = reply.int().unwrap_or(-1);
                // What the publisher wrote last before this message is the message's own number, or an earlier one's.
                if written < id as i64 {
                    return Err(format!("message {id} was heard, then {written} was read"));
                }
            }
        }
        Ok(())
    }

    fn hear(&mut self, frame: &[u8], now: Now) -> Result<bool, String> {
        if !frame.starts_with(b">") {
            return Ok(false);
        }
        let push = value::parse(frame).elements();
        let (by_pattern, texts) = match push.first().map(Value::string).as_deref() {
            Some("message") if push.len() == 3 => (false, &push[1..]),
            Some("pmessage") if push.len() == 4 => (true, &push[2..]),
            _ => return Ok(false),
        };
        let id = texts[1].int().and_then(|id| usize::try_from(id).ok());
        let mut talk = self.talk.borrow_mut();
        let id = id.filter(|id| *id < talk.messages.len()).ok_or(format!("nobody said {push:?}"))?;
        let channel = format!("ch:{}", talk.messages[id].channel);
        if texts[0].string() != channel {
            return Err(format!("message {id} was said on {channel}, heard as {push:?}"));
        }
        talk.listeners[self.number].heard[usize::from(by_pattern)].push((id, now.stamp));
        let wrote = talk.messages[id].wrote;
        if wrote && self.next.is_none() {
            self.next = Some(Asked::Read(id));
        }
        Ok(true)
    }
}

impl World {
    /// Plays a run of talkers.
    pub(super) fn play_talkers(&self) -> Result<(), String> {
        let talk = Rc::<RefCell<Talk>>::default();
        for number in 0..self.plan.clients {
            let rng = &mut *self.rng.borrow_mut();
            let script = Box::new(Talker::new(&talk));
            let end = match rng.below(8) {
                0 => End::CloseEarly,
                1 => End::Reset,
                2 | 3 => End::Quit,
                _ => End::Close,
            };
            let client = Client::new(&self.net, &self.plan, format!("talker {number}"), script, end, rng);
            self.clients.borrow_mut().push(client);
        }
        self.net.set_faults(faults(&self.plan, self.plan.faults.reset_per_million));
        self.until_clients_are_done()?;
        self.net.set_faults(faults(&self.plan, 0));
        let talk = talk.borrow();
        let heard = talk.listeners.iter().flat_map(|listener| &listener.heard).map(Vec::len).sum::<usize>();
        self.spoken.set(Spoken {
            published: talk.messages.len() as u64,
            heard: heard as u64,
            read_behind: talk.read_behind,
        });
        talk.check()?;
        self.end()
    }
}

fn check_happened(sum: &Summary) {
    let spoken = sum.spoken;
    assert!(spoken.published > 1_500, "too little was said: {sum:?}");
    assert!(spoken.heard > 2_500, "too little was heard: {sum:?}");
    assert!(spoken.read_behind > 200, "hardly anybody looked what was written: {sum:?}");
    assert!(sum.lost > 20, "hardly any connection was lost: {sum:?}");
}

#[test]
fn seeds_even() {
    TALKERS.run_part(0);
}

#[test]
fn seeds_odd() {
    TALKERS.run_part(1);
}
