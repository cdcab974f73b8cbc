//! Clients that make histories: what all workloads share.
//!
//! Design: every client is a thread with a blocking connection; a step is one write of one or more requests and the reading
//! of their replies. A client that is to lose its connection sends a part of what it has, reads a part of the replies, and drops
//! the socket: requests it sent in full may have happened, a request that was cut has not. Nothing in a client's
//! thread panics, because others wait for it: what must not be is noted and fails the run when all are done.

pub mod append;
pub mod queue;
pub mod register;

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::record::{Clock, Span};
use crate::harness::{Client, Rng, Server, Value, command, until};

/// What clients of a run share.
pub struct Run<'s> {
    /// The server.
    pub server: &'s Server,
    /// The run's time.
    pub clock: Clock,
    connections: AtomicU32,
    /// Operations recorded so far.
    pub operations: AtomicUsize,
    /// Whether the server may die, and another follow at the same socket.
    has_crashes: bool,
    stopped: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl<'s> Run<'s> {
    /// A run against a server.
    pub fn new(server: &'s Server) -> Self {
        Self::of(server, false)
    }

    /// A run against a server that dies, and those that follow in its directory.
    pub fn across_crashes(server: &'s Server) -> Self {
        Self::of(server, true)
    }

    fn of(server: &'s Server, has_crashes: bool) -> Self {
        Self {
            server,
            has_crashes,
            clock: Clock::start(),
            connections: AtomicU32::new(0),
            operations: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
            failure: Mutex::new(None),
        }
    }

    /// Whether the server may die.
    pub fn has_crashes(&self) -> bool {
        self.has_crashes
    }

    /// Ends the run because of something that must not be.
    pub fn fail(&self, what: String) {
        self.stopped.store(true, Ordering::Relaxed);
        self.failure.lock().expect("nothing panics under it").get_or_insert(what);
    }

    /// Whether something failed.
    pub fn stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Fails the test if something failed.
    #[track_caller]
    pub fn check(&self) {
        let failure = self.failure.lock().expect("nothing panics under it").take();
        assert!(failure.is_none(), "{}\n{}", failure.unwrap_or_default(), self.server.log());
    }
}

/// A client's connection, made anew when it was dropped.
pub struct Link<'r> {
    run: &'r Run<'r>,
    client: Client,
    /// Its number in the run.
    pub connection: u32,
}

/// One or more commands sent as one, with as many replies.
pub struct Request {
    /// What is sent.
    pub bytes: Vec<u8>,
    /// How many replies come.
    pub replies: usize,
}

impl Request {
    /// One command.
    pub fn plain(bytes: Vec<u8>) -> Self {
        Self { bytes, replies: 1 }
    }

    /// A command each, with what makes a transaction of them.
    pub fn multi(commands: impl Iterator<Item = Vec<u8>>) -> Self {
        let mut replies = 2;
        let mut bytes = command(&["MULTI"]);
        for one in commands {
            bytes.extend(one);
            replies += 1;
        }
        bytes.extend(command(&["EXEC"]));
        Self { bytes, replies }
    }
}

/// What became of a request.
pub enum Fate {
    /// Its replies.
    Answered(Vec<Value>),
    /// It was sent in full.
    Unanswered,
    /// It was not.
    Cut,
}

impl<'r> Link<'r> {
    /// Connects.
    pub fn new(run: &'r Run<'r>) -> Self {
        let connection = run.connections.fetch_add(1, Ordering::Relaxed);
        let client = if run.has_crashes { Self::connect(run) } else { Ok(run.server.client()) };
        Self { run, client: client.unwrap_or_else(|error| panic!("cannot connect: {error}")), connection }
    }

    /// Connects again.
    fn renew(&mut self) {
        self.connection = self.run.connections.fetch_add(1, Ordering::Relaxed);
        match Self::connect(self.run) {
            Ok(client) => self.client = client,
            Err(error) => self.run.fail(format!("cannot connect again: {error}")),
        }
    }

    /// Connects to the server, or to the next one once that serves.
    fn connect(run: &Run<'_>) -> io::Result<Client> {
        let mut connected = Client::unix(&run.server.socket());
        if run.has_crashes {
            let is_served = until(|| {
                connected = Client::unix(&run.server.socket());
                let Ok(client) = &mut connected else { return false };
                let reply = client.send(&["PING"]).and_then(|()| client.read());
                reply.is_ok_and(|reply| reply.string() == "PONG")
            });
            if !is_served {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        connected
    }

    /// Sends requests in one go and reads their replies; what became of each and when that was known.
    pub fn exchange(&mut self, requests: &[Request]) -> Vec<(Fate, Span)> {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.bytes.iter().copied()).collect();
        let invoked_ns = self.run.clock.now_ns();
        let mut sent = self.client.send_raw(&bytes);
        let mut fates = Vec::with_capacity(requests.len());
        for request in requests {
            let replies = sent.and_then(|()| self.read(request.replies));
            sent = replies.as_ref().map_or_else(|error| Err(io::Error::from(error.kind())), |_| Ok(()));
            fates.push(match replies {
                Ok(replies) => (Fate::Answered(replies), Span::new(invoked_ns, self.run.clock.now_ns())),
                Err(error) => {
                    if !self.run.has_crashes {
                        self.run.fail(format!("no reply: {error}"));
                    }
                    (Fate::Unanswered, Span::open(invoked_ns))
                }
            });
        }
        if sent.is_err() && self.run.has_crashes {
            self.renew();
        }
        fates
    }

    /// Sends requests and reads their replies, or dies meanwhile.
    pub fn send(&mut self, requests: &[Request], dies: bool, rng: &mut Rng) -> Vec<(Fate, Span)> {
        if dies { self.die(requests, rng) } else { self.exchange(requests) }
    }

    /// Sends requests up to a random byte, reads a random part of the replies, and drops the connection. The link is then a
    /// new connection.
    fn die(&mut self, requests: &[Request], rng: &mut Rng) -> Vec<(Fate, Span)> {
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.bytes.iter().copied()).collect();
        let invoked_ns = self.run.clock.now_ns();
        let cut = if rng.once_in(2) { bytes.len() } else { 1 + rng.below(bytes.len()) };
        let mut ok = self.client.send_raw(&bytes[..cut]).is_ok();
        let mut to_read = rng.below(requests.len() + 1);
        let mut end = 0;
        let mut fates = Vec::with_capacity(requests.len());
        for request in requests {
            end += request.bytes.len();
            let whole = end <= cut;
            let replies = if ok && whole && to_read > 0 { self.read(request.replies).ok() } else { None };
            to_read = to_read.saturating_sub(1);
            ok = replies.is_some();
            fates.push(match replies {
                Some(replies) => (Fate::Answered(replies), Span::new(invoked_ns, self.run.clock.now_ns())),
                None if whole => (Fate::Unanswered, Span::open(invoked_ns)),
                None => (Fate::Cut, Span::open(invoked_ns)),
            });
        }
        self.renew();
        fates
    }

    fn read(&mut self, count: usize) -> io::Result<Vec<Value>> {
        (0..count).map(|_| self.client.read()).collect()
    }
}

/// Draws true once in so many times, unless that is 0.
fn sometimes(rng: &mut Rng, times: usize) -> bool {
    times > 0 && rng.once_in(times)
}
