//! Threads of simulated servers that may wait: who of them goes on, and what the network answers them.
//!
//! Design: a thread that waits for time goes on when that has come, now and then earlier, as `park_timeout` may; one that waits for
//! a change once any was made. So a change of which nobody is told is found as a thread that waits for ever.
//!
//! Not here: how a thread waits (`crate::threads`).

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use super::net::SimNet;
use crate::threads::{self, Answer, Ask, Simulation, Thread};

/// How often a thread that rests goes on before its time.
const EARLY_PERCENT: u32 = 10;

/// All threads of one simulation.
pub struct SimThreads {
    net: SimNet,
    simulation: Arc<Simulation>,
    /// Sockets that threads have, and whose they are.
    sockets: RefCell<BTreeMap<u64, usize>>,
}

impl SimThreads {
    /// Those of a simulation on this network.
    pub fn new(net: &SimNet, simulation: &Arc<Simulation>) -> SimThreads {
        SimThreads { net: net.clone(), simulation: Arc::clone(simulation), sockets: RefCell::default() }
    }

    /// One of the threads that could goes on; whether there was one.
    ///
    /// # Errors
    /// It has panicked.
    pub fn step(&self) -> Result<bool, String> {
        self.close_sockets();
        let threads = self.simulation.threads();
        let ready: Vec<&Arc<Thread>> = threads.iter().filter(|thread| self.is_ready(thread)).collect();
        if ready.is_empty() {
            return Ok(false);
        }
        let thread = ready[self.net.choose(ready.len())];
        self.net.note(thread.owner() as u64);
        let answer = self.answer(thread);
        thread.resume(answer)?;
        self.close_sockets();
        Ok(true)
    }

    /// When, after now, a thread goes on that waits for time.
    pub fn next_deadline(&self) -> Option<Duration> {
        let now = self.net.now();
        let threads = self.simulation.threads();
        let untils = threads.iter().filter_map(|thread| thread.with_ask(until).flatten());
        untils.filter(|until| *until > now).min()
    }

    /// The process `owner` dies: its threads end, and their connections are reset, or, where `is_silent` says so, end without
    /// anybody's notice.
    pub fn kill(&self, owner: usize, mut is_silent: impl FnMut(u64) -> bool) {
        let mut sockets = self.sockets.borrow_mut();
        sockets.retain(|socket, of| {
            if *of == owner {
                if is_silent(*socket) { self.net.silence(*socket) } else { self.net.reset(*socket) }
            }
            *of != owner
        });
        drop(sockets);
        self.simulation.kill(|of| of == owner);
        self.close_sockets();
    }

    /// Sockets that threads of this process have.
    pub fn sockets(&self, owner: usize) -> Vec<u64> {
        let sockets = self.sockets.borrow();
        sockets.iter().filter(|(_, of)| **of == owner).map(|(socket, _)| *socket).collect()
    }

    fn close_sockets(&self) {
        for socket in self.simulation.take_closed() {
            // One that has gone to a worker is not a thread's to close.
            if self.sockets.borrow_mut().remove(&socket).is_some() {
                self.net.shared.borrow_mut().leave(socket);
            }
        }
    }

    fn is_ready(&self, thread: &Thread) -> bool {
        let now = self.net.now();
        let is_ready = thread.with_ask(|ask| match ask {
            Ask::Rest { until } => *until <= now || self.net.choose(100) < EARLY_PERCENT as usize,
            Ask::Change { until } => {
                thread.changes_seen() != self.simulation.changes() || until.is_some_and(|until| until <= now)
            }
            Ask::Read { socket, until, .. } => {
                let mut net = self.net.shared.borrow_mut();
                let pipe = net.link(*socket).incoming(*socket);
                let has_come = !pipe.arrived.is_empty() || pipe.end.is_some();
                has_come || !self.has(*socket) || until.is_some_and(|until| until <= now)
            }
            Ask::Connect { .. } | Ask::Write { .. } => true,
        });
        is_ready == Some(true)
    }

    fn has(&self, socket: u64) -> bool {
        self.sockets.borrow().contains_key(&socket)
    }

    fn answer(&self, thread: &Thread) -> Answer {
        let answer = thread.with_ask(|ask| match ask {
            Ask::Rest { .. } | Ask::Change { .. } => Answer::Done,
            Ask::Connect { port, .. } => match self.net.shared.borrow_mut().connect(*port) {
                Some(socket) => {
                    self.sockets.borrow_mut().insert(socket, thread.owner());
                    Answer::Socket(socket)
                }
                None => Answer::Failed(ErrorKind::ConnectionRefused),
            },
            Ask::Read { socket, bytes_max, .. } => self.read(*socket, *bytes_max),
            Ask::Write { socket, bytes } => {
                let mut net = self.net.shared.borrow_mut();
                if net.link(*socket).is_broken(*socket) || !self.has(*socket) {
                    return Answer::Failed(ErrorKind::BrokenPipe);
                }
                net.send(*socket, bytes);
                Answer::Done
            }
        });
        answer.unwrap_or(Answer::Done)
    }

    fn read(&self, socket: u64, bytes_max: usize) -> Answer {
        let mut net = self.net.shared.borrow_mut();
        let piece = net.faults.piece_bytes_max.min(bytes_max).max(1);
        let count = net.rng.size(piece);
        let has = self.has(socket);
        let pipe = net.link(socket).incoming(socket);
        if !has {
            return Answer::Bytes(Vec::new());
        }
        if pipe.arrived.is_empty() {
            return match pipe.end {
                Some(super::super::EndCause::Eof) => Answer::Bytes(Vec::new()),
                Some(_) => Answer::Failed(ErrorKind::ConnectionReset),
                None => Answer::Failed(ErrorKind::WouldBlock),
            };
        }
        let mut bytes = vec![0; count];
        let count = pipe.read(&mut bytes);
        bytes.truncate(count);
        Answer::Bytes(bytes)
    }
}

fn until(ask: &Ask) -> Option<Duration> {
    match ask {
        Ask::Rest { until } | Ask::Connect { until, .. } => Some(*until),
        Ask::Change { until } | Ask::Read { until, .. } => *until,
        Ask::Write { .. } => None,
    }
}

/// A connection of a simulated thread.
pub(in crate::io) struct ThreadSocket {
    number: u64,
    simulation: Arc<Simulation>,
    timeout: Option<Duration>,
    is_given: bool,
}

impl ThreadSocket {
    /// Connects to `port`; each read waits no longer than `timeout`.
    pub(in crate::io) fn connect(
        simulation: Arc<Simulation>,
        port: u16,
        timeout: Duration,
    ) -> io::Result<ThreadSocket> {
        match threads::ask(|now| Ask::Connect { port, until: now + timeout }) {
            Some(Answer::Socket(number)) => {
                Ok(ThreadSocket { number, simulation, timeout: Some(timeout), is_given: false })
            }
            answer => Err(failure(answer.as_ref())),
        }
    }

    pub(in crate::io) fn number(&self) -> u64 {
        self.number
    }

    pub(in crate::io) fn set_timeout(&mut self, timeout: Duration) {
        self.timeout = Some(timeout);
    }

    pub(in crate::io) fn simulation(&self) -> &Arc<Simulation> {
        &self.simulation
    }

    /// A worker has it from now on.
    pub(in crate::io) fn give(mut self) -> u64 {
        self.is_given = true;
        self.number
    }

    pub(in crate::io) fn read(&self, into: &mut [u8]) -> io::Result<usize> {
        let (socket, bytes_max) = (self.number, into.len());
        let timeout = self.timeout;
        let until = |now| timeout.map(|timeout| now + timeout);
        match threads::ask(|now| Ask::Read { socket, bytes_max, until: until(now) }) {
            Some(Answer::Bytes(bytes)) => {
                into[..bytes.len()].copy_from_slice(&bytes);
                Ok(bytes.len())
            }
            answer => Err(failure(answer.as_ref())),
        }
    }

    pub(in crate::io) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        let socket = self.number;
        match threads::ask(|_| Ask::Write { socket, bytes: bytes.to_vec() }) {
            Some(Answer::Done) => Ok(bytes.len()),
            answer => Err(failure(answer.as_ref())),
        }
    }
}

impl Drop for ThreadSocket {
    fn drop(&mut self) {
        if !self.is_given {
            self.simulation.close(self.number);
        }
    }
}

fn failure(answer: Option<&Answer>) -> io::Error {
    match answer {
        Some(Answer::Failed(kind)) => (*kind).into(),
        _ => io::Error::other("the simulation is over"),
    }
}
