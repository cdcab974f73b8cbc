//! One connection of a load: sends a batch of requests, counts what comes back, one batch at a time.
//!
//! Design: the first batch is framed also where lengths are known, so that an error, a missing key or a value of another
//! length is noticed and named; from then on bytes are counted. Readiness is edge-triggered: a read that does not fill
//! the buffer has emptied the socket, which saves the read that would only say so. Interest in writing exists only while
//! the socket is full.
//!
//! Costs: per batch one write, one read, one wait; nothing is allocated once `out` has grown.

use std::io::{self, Read, Write};
use std::time::Instant;

use mio::{Interest, Registry, Token};

use crate::address::Stream;
use crate::framer::Framer;
use crate::greeting::Greeting;
use crate::operation::{Answer, Plan, Source, Unit};
use crate::verifier::Verifier;
use crate::{Fatal, fatal};

/// What of a foreign answer is shown, bytes.
const SHOWN_BYTES: usize = 80;

/// How far a batch came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Replies are missing.
    Pending,
    /// All came.
    Complete,
}

/// A connection.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    token: Token,
    out: Vec<u8>,
    sent: usize,
    expected: Answer,
    received: Answer,
    framer: Framer,
    /// Whether bytes are counted, not replies.
    counts_bytes: bool,
    writable_wanted: bool,
    /// The units of the batch.
    pub units: Vec<Unit>,
    /// What replies under way must be, if somebody looks, and what has come of them.
    verifier: Verifier,
    /// What is sent first on a connection, and how many replies it gets.
    greeting: Greeting,
    is_greeted: bool,
    /// Whether the batch under way begins with a greeting.
    is_judged_later: bool,
    /// Batches since the connection was made.
    pub batches: u64,
    /// When the batch was begun.
    pub started: Instant,
    /// When each unit of the batch was due, in an open loop.
    pub dues: Vec<Instant>,
    /// Since when there is no batch.
    pub free_since: Instant,
}

impl Connection {
    /// Over this stream, which is registered under the token.
    pub fn new(
        mut stream: Stream,
        token: Token,
        greeting: &Greeting,
        registry: &Registry,
    ) -> io::Result<Connection> {
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Connection {
            stream,
            token,
            out: Vec::new(),
            sent: 0,
            expected: Answer::default(),
            received: Answer::default(),
            framer: Framer::default(),
            counts_bytes: false,
            writable_wanted: false,
            units: Vec::new(),
            verifier: Verifier::default(),
            greeting: greeting.clone(),
            is_greeted: false,
            is_judged_later: false,
            batches: 0,
            started: Instant::now(),
            dues: Vec::new(),
            free_since: Instant::now(),
        })
    }

    /// Errors received so far.
    pub fn errors(&self) -> u64 {
        self.framer.errors()
    }

    /// Nulls received so far, which batches of known operations do not count.
    pub fn nulls(&self) -> u64 {
        self.framer.nulls()
    }

    /// The text of the first error.
    pub fn first_error(&self) -> Option<&str> {
        self.framer.first_error()
    }

    /// What was looked at.
    pub fn verifier(&self) -> &Verifier {
        &self.verifier
    }

    /// Goes on over another stream, when a batch is done.
    pub fn replace(&mut self, stream: Stream, registry: &Registry) -> io::Result<()> {
        debug_assert_eq!(self.sent, self.out.len(), "the batch before is done");
        registry.deregister(&mut self.stream)?;
        self.stream = stream;
        registry.register(&mut self.stream, self.token, Interest::READABLE)?;
        (self.writable_wanted, self.counts_bytes, self.is_greeted, self.batches) = (false, false, false, 0);
        Ok(())
    }

    /// Begins a batch of `depth` units.
    pub fn start(
        &mut self,
        plan: &Plan,
        depth: usize,
        source: &mut Source,
        registry: &Registry,
    ) -> Result<(), Fatal> {
        debug_assert_eq!(self.sent, self.out.len(), "the batch before is done");
        self.clear();
        self.units.clear();
        if !self.is_greeted {
            self.is_greeted = true;
            self.is_judged_later = self.greeting.replies > 0;
            self.out.extend_from_slice(&self.greeting.request);
            self.expect(self.greeting.answer());
            self.verifier.skip(self.greeting.replies);
        }
        for _ in 0..depth {
            let (unit, answer) = plan.begin(&mut self.out, source, &mut self.verifier.checks)?;
            self.units.push(unit);
            self.expect(answer);
        }
        self.started = Instant::now();
        self.send(registry)
    }

    fn clear(&mut self) {
        self.out.clear();
        self.sent = 0;
        self.received = Answer::default();
        self.expected = Answer::default();
    }

    fn expect(&mut self, answer: Answer) {
        self.expected.replies += answer.replies;
        self.expected.bytes += answer.bytes;
    }

    /// Begins the next step of the units that have one; whether there is any.
    fn go_on(&mut self, plan: &Plan, source: &mut Source, registry: &Registry) -> Result<bool, Fatal> {
        if plan.is_known() {
            return Ok(false);
        }
        self.clear();
        let mut units = std::mem::take(&mut self.units);
        for unit in &mut units {
            if let Some(answer) = plan.go_on(unit, &mut self.out, source, &mut self.verifier.checks) {
                self.expect(answer);
            }
        }
        self.units = units;
        if self.expected.replies == 0 {
            return Ok(false);
        }
        self.send(registry)?;
        Ok(true)
    }

    /// Sends what the socket takes.
    pub fn send(&mut self, registry: &Registry) -> Result<(), Fatal> {
        while self.sent < self.out.len() {
            match self.stream.write(&self.out[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return lost(&error),
            }
        }
        let is_full = match self.stream.flush() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => true,
            outcome => outcome.map(|()| false).or_else(|error| lost(&error))?,
        };
        let wanted = is_full || self.sent < self.out.len();
        if wanted != self.writable_wanted {
            self.writable_wanted = wanted;
            let interest = Interest::READABLE;
            let interest = if wanted { interest | Interest::WRITABLE } else { interest };
            registry
                .reregister(&mut self.stream, self.token, interest)
                .map_err(|error| Fatal(format!("cannot wait for a connection: {error}")))?;
        }
        Ok(())
    }

    /// Receives what has come, into `scratch`, and counts it.
    pub fn receive(
        &mut self,
        plan: &Plan,
        scratch: &mut [u8],
        source: &mut Source,
        registry: &Registry,
    ) -> Result<Progress, Fatal> {
        loop {
            let read = match self.stream.read(scratch) {
                Ok(0) => return fatal("the server closed a connection"),
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::Pending),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return lost(&error),
            };
            let bytes = &scratch[..read];
            self.received.bytes += read as u64;
            if plan.is_verified() {
                self.verifier.feed(bytes, plan)?;
            }
            let (have, need) = match self.counts_bytes {
                true => (self.received.bytes, self.expected.bytes),
                false => {
                    let before = self.framer.replies();
                    self.framer.feed(bytes).map_err(|error| Fatal(error.to_string()))?;
                    self.received.replies += self.framer.replies() - before;
                    (self.received.replies, self.expected.replies)
                }
            };
            if plan.is_known() && bytes[0] == b'-' {
                return fatal(format!("the server replied with an error: {}", shown(bytes)));
            }
            if have > need {
                return fatal(format!("more came than was asked for ({have} > {need}): {}", shown(bytes)));
            }
            if have == need {
                self.complete(plan)?;
                if self.go_on(plan, source, registry)? {
                    continue;
                }
                self.batches += 1;
                return Ok(Progress::Complete);
            }
            if read < scratch.len() {
                return Ok(Progress::Pending);
            }
        }
    }

    /// Judges the first batch; from then on bytes may be counted.
    fn complete(&mut self, plan: &Plan) -> Result<(), Fatal> {
        if self.counts_bytes || !plan.is_known() {
            return Ok(());
        }
        // What a greeting is answered with has no known length: the batch after it is judged.
        if std::mem::take(&mut self.is_judged_later) && self.framer.first_error().is_none() {
            return Ok(());
        }
        if let Some(error) = self.framer.first_error() {
            return fatal(format!("the server replied with an error: {error}"));
        }
        if self.framer.nulls() > 0 {
            return fatal("the server lacks a key: fill it first, with as many keys (--op fill)");
        }
        if self.received.bytes != self.expected.bytes {
            return fatal("the server's values have another length: fill it first (--op fill)");
        }
        self.counts_bytes = true;
        Ok(())
    }
}

fn lost<T>(error: &io::Error) -> Result<T, Fatal> {
    fatal(format!("lost a connection: {error}"))
}

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(SHOWN_BYTES)].escape_ascii().to_string()
}
