//! One connection of the admin port: bytes in, bytes out, and by when it has to have done the next step.
//!
//! ```text
//!   idle --first byte--> reading --whole request--> writing --all sent--> idle
//!                           |                          |
//!                        refused                  last response
//!                           +--> writing the last one -+--> draining --> closed
//! ```
//!
//! Invariants: input is at most [`REQUEST_BYTES_MAX`] bytes; nothing is read while a response is yet to be sent. One request at a
//! time: a client that sends more before the answer is closed behind it.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::access::Peer;
use super::request::{Parsed, REQUEST_BYTES_MAX, parse};
use super::response::{Response, Status};
use super::site::Site;

/// From its first byte, or from the connection's beginning, until a request has arrived.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// From then on until the response is taken.
const RESPONSE_TIME: Duration = Duration::from_secs(10);
/// Between two requests.
const IDLE_TIME: Duration = Duration::from_secs(60);
/// From the end of the last response until the client has closed, too: closed at once, a socket may take back what is under way.
const DRAIN_TIME: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 4 << 10;

/// A socket.
pub trait Stream: Read + Write + mio::event::Source + Send {
    /// Ends one direction or both.
    fn end(&self, how: Shutdown) -> io::Result<()>;
}

impl Stream for mio::net::TcpStream {
    fn end(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

impl Stream for mio::net::UnixStream {
    fn end(&self, how: Shutdown) -> io::Result<()> {
        self.shutdown(how)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Reading,
    Writing { is_last: bool },
    Draining,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It waits for the peer, or for its time.
    Stays,
    /// It is to be closed.
    Ends,
}

/// A connection.
pub struct Connection {
    /// Its socket.
    pub stream: Box<dyn Stream>,
    /// When it is closed for having done nothing.
    pub deadline: Instant,
    peer: Peer,
    state: State,
    input: Vec<u8>,
    output: Vec<u8>,
    sent: usize,
}

impl Connection {
    pub fn new(stream: Box<dyn Stream>, peer: Peer, now: Instant) -> Self {
        let (input, output) = Default::default();
        Self { stream, peer, deadline: now + REQUEST_TIME, state: State::Reading, input, output, sent: 0 }
    }

    /// Does what can be done without waiting.
    pub fn advance(&mut self, site: &mut Site, now: Instant) -> Fate {
        self.try_advance(site, now).unwrap_or(Fate::Ends)
    }

    fn try_advance(&mut self, site: &mut Site, now: Instant) -> io::Result<Fate> {
        loop {
            let goes_on = match self.state {
                State::Writing { is_last } => self.send(is_last, now)?,
                State::Draining => self.drain()?,
                State::Idle | State::Reading => self.receive(site, now)?,
            };
            if let Some(fate) = goes_on {
                return Ok(fate);
            }
        }
    }

    /// Sends what is left of the response; `None` when that is done.
    fn send(&mut self, is_last: bool, now: Instant) -> io::Result<Option<Fate>> {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(0) => return Ok(Some(Fate::Ends)),
                Ok(count) => self.sent += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Some(Fate::Stays)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        (self.output, self.sent) = (Vec::new(), 0);
        (self.state, self.deadline) = match is_last {
            true => (State::Draining, now + DRAIN_TIME),
            false => (State::Idle, now + IDLE_TIME),
        };
        if is_last {
            self.stream.end(Shutdown::Write)?;
        }
        Ok(None)
    }

    /// Reads and forgets until the peer has closed.
    fn drain(&mut self) -> io::Result<Option<Fate>> {
        let mut bytes = [0; READ_BYTES];
        match self.read(&mut bytes)? {
            None => Ok(Some(Fate::Stays)),
            Some(0) => Ok(Some(Fate::Ends)),
            Some(_) => Ok(None),
        }
    }

    /// Reads more of a request; `None` when there is a response to send, or when there may be more to read.
    fn receive(&mut self, site: &mut Site, now: Instant) -> io::Result<Option<Fate>> {
        let mut bytes = [0; READ_BYTES];
        let room = (REQUEST_BYTES_MAX - self.input.len()).min(READ_BYTES);
        let count = match self.read(&mut bytes[..room])? {
            None => return Ok(Some(Fate::Stays)),
            Some(0) => return Ok(Some(Fate::Ends)),
            Some(count) => count,
        };
        self.input.extend_from_slice(&bytes[..count]);
        if self.state == State::Idle {
            (self.state, self.deadline) = (State::Reading, now + REQUEST_TIME);
        }
        match parse(&self.input) {
            Parsed::Partial => {}
            Parsed::Refused(status) => self.respond(site, &Response::bare(status), false, false, now),
            Parsed::Whole(request, length) => {
                let response = site.answer(self.peer, &request);
                let keeps_alive = request.keeps_alive && length == self.input.len();
                self.respond(site, &response, keeps_alive, request.is_head, now);
            }
        }
        Ok(None)
    }

    fn respond(
        &mut self,
        site: &mut Site,
        response: &Response,
        keeps_alive: bool,
        is_head: bool,
        now: Instant,
    ) {
        site.count(response.status);
        self.output = response.bytes(keeps_alive, is_head);
        self.input = Vec::new();
        (self.state, self.deadline) = (State::Writing { is_last: !keeps_alive }, now + RESPONSE_TIME);
    }

    /// Tells a client for whom there is no room so, as far as that takes no waiting.
    pub fn refuse(mut stream: Box<dyn Stream>, site: &mut Site) {
        site.count(Status::Unavailable);
        let text = Response::text(Status::Unavailable, "too many connections");
        // Nobody waits for whoever does not take it.
        stream.write(&text.bytes(false, false)).map(drop).unwrap_or_default();
    }

    /// Reads what has arrived; `None` if nothing has.
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.read(bytes) {
                Ok(count) => return Ok(Some(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
