//! One client: what it sends, in which pieces, when it reads, and how it ends.

use std::time::Duration;

use torc::io::EndCause;
use torc::io::sim::{Rng, SimClient, SimNet};

use super::plan::{Fault, Plan};
use crate::harness::value;

/// When something happens.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Virtual ns, which grow by one at least with every request and every reply.
    pub stamp: u64,
    /// Virtual Unix time in ms.
    pub ms: u64,
}

/// What a client asks and what it expects; one reply follows each request.
pub trait Script {
    /// The next request.
    fn ask(&mut self, rng: &mut Rng, now: Now) -> Vec<u8>;

    /// Judges the reply to the oldest request that has none.
    fn answer(&mut self, reply: &[u8], now: Now) -> Result<(), String>;

    /// What comes without having been asked for: whether these bytes are that.
    fn hear(&mut self, _: &[u8], _: Now) -> Result<bool, String> {
        Ok(false)
    }

    /// Whether it is only the passing of time that may bring that reply.
    fn awaits_time(&self) -> bool {
        false
    }
}

/// How a client ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It sends no more but reads everything.
    Finish,
    /// It has read everything and goes.
    Close,
    /// It goes without waiting for its replies.
    CloseEarly,
    /// It breaks the connection without waiting for its replies.
    Reset,
    /// It says QUIT.
    Quit,
    /// Its last words are not RESP.
    Malformed,
}

/// Last words, and what they are answered with.
const MALFORMED: &[(&[u8], &[u8])] = &[
    (b"*1\r\n:4\r\nPING\r\n", b"-ERR Protocol error: expected '$', got ':'\r\n"),
    (b"*x\r\n$4\r\nPING\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
    (b"*2\r\n$4\r\nECHO\r\n$-9\r\n\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
    (b"set 'a b\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
];

/// A client at work.
pub struct Client {
    pub name: String,
    sim: SimClient,
    script: Box<dyn Script>,
    rng: Rng,
    requests_left: u64,
    pipeline_max: usize,
    pending: usize,
    outbox: Vec<u8>,
    inbox: Vec<u8>,
    /// What comes after the script's replies.
    last_reply: &'static [u8],
    send_bytes_max: usize,
    read_bytes_max: usize,
    rest_percent: u32,
    rest_max: Duration,
    rests_until: Duration,
    end: End,
    ending: bool,
    /// The network breaks connections.
    lossy: bool,
    reorders: bool,
    /// It reads nothing for now.
    pub deaf: bool,
    pub lost: bool,
    pub done: bool,
    pub requests: u64,
}

impl Client {
    /// A client that connects now.
    pub fn new(
        net: &SimNet,
        plan: &Plan,
        name: String,
        script: Box<dyn Script>,
        end: End,
        rng: &mut Rng,
    ) -> Client {
        let mut rng = Rng::new(rng.next_u64());
        let roomy = plan.large_values;
        let slow = rng.chance(25);
        let deep = rng.chance(20);
        let pipeline_max = rng.size(if deep { 200 } else { 16 });
        Client {
            name,
            sim: net.connect(super::world::PORT),
            script,
            requests_left: 1 + rng.below(plan.commands_per_client),
            pipeline_max,
            pending: 0,
            outbox: Vec::new(),
            inbox: Vec::new(),
            last_reply: b"",
            send_bytes_max: if roomy || rng.chance(60) { 1 << 20 } else { rng.size(100) },
            read_bytes_max: if roomy || rng.chance(60) { 1 << 20 } else { rng.size(100) },
            rest_percent: if slow { 20 } else { 1 },
            rest_max: Duration::from_micros(if slow { 100_000 } else { 2_000 }),
            rests_until: Duration::ZERO,
            end,
            ending: false,
            lossy: plan.faults.reset_per_million > 0,
            reorders: plan.fault == Some(Fault::Reordered),
            deaf: false,
            lost: false,
            done: false,
            requests: 0,
            rng,
        }
    }

    /// A client that asks exactly this often, one request at a time.
    pub fn with_requests(mut self, count: u64) -> Client {
        self.requests_left = count;
        self.pipeline_max = 1;
        self
    }

    /// A client that has at most so many requests without a reply.
    pub fn with_pipeline(mut self, count: usize) -> Client {
        self.pipeline_max = self.pipeline_max.min(count);
        self
    }

    /// A client that sends all its requests without reading, until it is no longer deaf.
    pub fn deaf(mut self, count: u64) -> Client {
        self.requests_left = count;
        self.pipeline_max = count as usize;
        self.rest_percent = 0;
        (self.send_bytes_max, self.read_bytes_max) = (1 << 20, 1 << 20);
        self.deaf = true;
        self
    }

    /// When it goes on if it rests now.
    pub fn rests_until(&self, time: Duration) -> Option<Duration> {
        (!self.done && self.rests_until > time).then_some(self.rests_until)
    }

    /// Whether it may take nothing but time until its next reply comes.
    pub fn awaits_time(&self) -> bool {
        !self.done && self.script.awaits_time()
    }

    /// Does what it can; whether it did anything.
    ///
    /// # Errors
    /// A reply is not what it must be.
    pub fn step(&mut self, time: Duration, now: &mut dyn FnMut() -> Now) -> Result<bool, String> {
        if self.done || self.rests_until > time {
            return Ok(false);
        }
        if self.rng.chance(self.rest_percent) {
            self.rests_until =
                time + Duration::from_micros(1 + self.rng.below(self.rest_max.as_micros() as u64));
            return Ok(true);
        }
        let read = match self.read(now) {
            Ok(_) if self.done => return Ok(true),
            Ok(read) => read,
            Err(error) => {
                self.done = true;
                return Err(format!("{}: {error}", self.name));
            }
        };
        let wrote = self.write(now);
        Ok(read || wrote)
    }

    fn read(&mut self, now: &mut dyn FnMut() -> Now) -> Result<bool, String> {
        if self.deaf {
            return Ok(false);
        }
        let count = self.rng.size(self.read_bytes_max);
        let bytes = self.sim.read_some(count);
        self.inbox.extend_from_slice(&bytes);
        let mut at = 0;
        while let Some(len) = value::frame(&self.inbox[at..])? {
            let frame = &self.inbox[at..at + len];
            if !self.script.hear(frame, now())? {
                if self.pending == 0 {
                    break;
                }
                self.script.answer(frame, now())?;
                self.pending -= 1;
            }
            at += len;
        }
        self.inbox.drain(..at);
        if let Some(cause) = self.sim.ended() {
            self.ended(cause)?;
            return Ok(true);
        }
        let is_push = self.inbox.starts_with(b">") && value::frame(&self.inbox)?.is_none();
        let is_last = self.last_reply.starts_with(&self.inbox);
        if self.pending == 0 && !self.inbox.is_empty() && !is_last && !is_push {
            return Err(format!("nobody asked for {:?}", String::from_utf8_lossy(&self.inbox)));
        }
        Ok(!bytes.is_empty())
    }

    fn ended(&mut self, cause: EndCause) -> Result<(), String> {
        self.done = true;
        self.sim.close();
        if self.lossy && cause == EndCause::Reset {
            self.lost = true;
            return Ok(());
        }
        let complete = self.pending == 0 && self.inbox == self.last_reply;
        if self.ending && complete && cause == EndCause::Eof {
            return Ok(());
        }
        let (pending, left) = (self.pending, String::from_utf8_lossy(&self.inbox));
        Err(format!(
            "the server ended the connection ({cause:?}) with {pending} replies to come and {left:?} left"
        ))
    }

    fn write(&mut self, now: &mut dyn FnMut() -> Now) -> bool {
        let mut wrote = false;
        if self.outbox.is_empty() && self.requests_left > 0 && self.pending < self.pipeline_max {
            let room = (self.pipeline_max - self.pending).min(self.requests_left as usize);
            let mut requests: Vec<Vec<u8>> = Vec::new();
            for _ in 0..self.rng.size(room) {
                requests.push(self.script.ask(&mut self.rng, now()));
                self.requests_left -= 1;
                self.pending += 1;
                self.requests += 1;
            }
            if self.reorders && requests.len() > 1 && self.rng.chance(50) {
                requests.swap(0, 1);
            }
            self.outbox = requests.concat();
            wrote = true;
        }
        if !self.outbox.is_empty() {
            let count = self.rng.size(self.send_bytes_max).min(self.outbox.len());
            self.sim.send(&self.outbox[..count]);
            self.outbox.drain(..count);
            return true;
        }
        if self.requests_left == 0 && !self.ending {
            wrote |= self.begin_end();
        }
        wrote
    }

    fn begin_end(&mut self) -> bool {
        match self.end {
            End::Close if self.pending > 0 => return false,
            End::Close => {
                self.sim.close();
                self.done = true;
            }
            End::CloseEarly => {
                self.sim.close();
                (self.done, self.lost) = (true, true);
            }
            End::Reset => {
                self.sim.reset();
                (self.done, self.lost) = (true, true);
            }
            End::Finish => self.sim.finish(),
            End::Quit => {
                self.sim.send(b"*1\r\n$4\r\nQUIT\r\n");
                self.last_reply = b"+OK\r\n";
            }
            End::Malformed => {
                let (words, reply) = MALFORMED[self.rng.below(MALFORMED.len() as u64) as usize];
                self.sim.send(words);
                self.last_reply = reply;
            }
        }
        self.ending = true;
        true
    }
}

/// A request in RESP.
pub fn request(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

/// A bulk reply, or the missing one.
pub fn bulk(value: Option<&[u8]>) -> Vec<u8> {
    let Some(value) = value else { return b"$-1\r\n".to_vec() };
    let mut bytes = format!("${}\r\n", value.len()).into_bytes();
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
    bytes
}
