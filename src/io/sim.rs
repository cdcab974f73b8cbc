//! The simulated backend: the same interface over a network that exists only in memory.
//!
//! Design: one [`SimNet`] holds all sockets, the virtual time and the only source of chance. Each worker
//! has a [`SimIo`]; tests hold [`SimClient`]s. Nothing ever blocks: `turn` completes what it can and
//! returns, and a scheduler decides who runs next by asking the network whose wait is over
//! ([`SimNet::is_ready`]) and lets time pass when nobody's is ([`SimNet::advance_to_next_deadline`]).
//! So one seed determines one run, and a failure is reproduced by its seed. A worker that is in the middle of its turn is
//! descheduled by [`SimNet::set_yield_point`]: others run nested in its [`Io::yield_point`]. Threads that wait for their peers
//! (`crate::threads`) take their turns by [`SimThreads`].
//!
//! Invariants:
//! - Events of one token are in stream order; nothing else about their order is promised.
//!
//! Costs: it copies and allocates freely; only its behaviour is like the real ones.
//!
//! Not here: the disk that forgets when the power goes (`persist::aof::powered`).

mod net;
mod rng;
mod threads;
mod worker;

use std::io;

use bytes::BytesMut;

use super::buffers::BufferPool;
use super::sending::Sending;
use super::{Event, Input, Io, Listener, Options, Outgoing, SLOT_MAX, Socket, Token, Wait, Waker};
pub use net::{Faults, SimClient, SimNet, Tamper, YieldPoint};
pub use rng::Rng;
pub use threads::SimThreads;
pub(super) use threads::ThreadSocket;
use worker::{Connection, WorkerState};

/// One worker's backend in a simulation.
pub struct SimIo {
    net: SimNet,
    index: usize,
    buffers: BufferPool,
}

impl SimIo {
    /// The backend of the network's next worker.
    pub fn new(net: &SimNet, options: &Options) -> SimIo {
        let held_buffers_max = options.held_buffers_max.clamp(1, options.buffer_count);
        let workers = &mut net.shared.borrow_mut().workers;
        workers.push(WorkerState::new(held_buffers_max));
        SimIo {
            net: net.clone(),
            index: workers.len() - 1,
            buffers: BufferPool::new(options.buffer_count, options.buffer_bytes),
        }
    }

    /// The worker's number in [`SimNet::is_ready`].
    pub fn index(&self) -> usize {
        self.index
    }

    /// Whether the wait of this worker's last turn would be over.
    pub fn is_ready(&self) -> bool {
        self.net.is_ready(self.index)
    }

    /// Receive buffers that were not given back.
    pub fn lent_buffers(&self) -> usize {
        self.buffers.lent_count()
    }

    fn with_worker<R>(&self, work: impl FnOnce(&mut WorkerState) -> R) -> R {
        work(&mut self.net.shared.borrow_mut().workers[self.index])
    }

    /// Works on the connection of a token that the worker may use now.
    ///
    /// # Panics
    /// If there is none: the worker used a token after its `Detached`, or never attached it.
    fn with_connection<R>(&self, token: Token, work: impl FnOnce(&mut Connection) -> R) -> R {
        self.with_worker(|worker| {
            let connection = worker.connections.get_mut(&token.slot);
            let connection = connection.expect("the token is attached");
            assert_eq!(connection.token, token, "the token is of this generation");
            work(connection)
        })
    }
}

impl Io for SimIo {
    fn accept(&mut self, listener: u16, from: Listener) -> io::Result<()> {
        let port = from.simulated_number();
        let used = self.with_worker(|worker| worker.listeners.insert(listener, port));
        assert!(used.is_none(), "the number is in use");
        Ok(())
    }

    fn stop_accepting(&mut self) {
        self.with_worker(|worker| worker.listeners.clear());
    }

    fn attach(&mut self, token: Token, socket: Socket) {
        assert!(token.slot < SLOT_MAX);
        let connection = Connection::new(token, socket.simulated_number());
        let used = self.with_worker(|worker| worker.connections.insert(token.slot, connection));
        assert!(used.is_none(), "the slot is in use");
    }

    fn receive(&mut self, token: Token) {
        self.with_connection(token, |connection| connection.wanted = true);
    }

    fn pause(&mut self, token: Token) {
        self.with_connection(token, |connection| connection.wanted = false);
    }

    fn receive_into(&mut self, token: Token, bulk: BytesMut, len: usize) {
        let done = self.with_connection(token, |connection| {
            assert!(!connection.closing, "the token was closed");
            assert!(connection.bulk.is_none(), "one bulk at a time");
            connection.wanted = false;
            let done = match connection.ended {
                _ if bulk.len() >= len => Ok(()),
                Some(cause) => Err(cause),
                None => {
                    connection.bulk = Some((bulk, len));
                    return None;
                }
            };
            Some(Event::BulkReceived { token, bulk, done })
        });
        self.with_worker(|worker| worker.ready.extend(done));
    }

    fn send(&mut self, token: Token, outgoing: Outgoing) {
        self.with_connection(token, |connection| {
            assert!(!connection.closing, "the token was closed");
            assert!(connection.sending.is_none(), "one send at a time");
            connection.sending = Some(Sending::new(outgoing));
        });
    }

    fn close(&mut self, token: Token) {
        self.with_connection(token, |connection| {
            connection.closing = true;
            connection.bulk = None;
        });
        let mut dropped = Vec::new();
        self.with_worker(|worker| {
            worker.ready.retain_mut(|event| match event {
                Event::Received { token: of, input } if *of == token => {
                    dropped.push(input.take());
                    false
                }
                Event::BulkReceived { token: of, .. } | Event::InputEnded { token: of, .. } => *of != token,
                _ => true,
            });
        });
        for input in dropped {
            self.give_back(input);
        }
    }

    fn send_last(&mut self, token: Token, bytes: &[u8]) {
        let number = self.with_connection(token, |connection| {
            assert!(connection.sending.is_none(), "it would come in the middle of a send");
            connection.number
        });
        let mut net = self.net.shared.borrow_mut();
        if !net.link(number).is_broken(number) {
            net.send(number, bytes);
        }
    }

    fn fill_packets(&mut self, _: Token) {}

    fn release(&mut self, token: Token) {
        self.with_connection(token, |connection| {
            let idle = connection.sending.is_none() && connection.bulk.is_none();
            assert!(idle, "nothing but receives is in flight");
            connection.releasing = true;
        });
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        let mut net = self.net.shared.borrow_mut();
        let replacement = WorkerState::new(1);
        let mut worker = std::mem::replace(&mut net.workers[self.index], replacement);
        worker.turn(&mut net, &mut self.buffers, wait);
        net.workers[self.index] = worker;
        Ok(())
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        let mut net = self.net.shared.borrow_mut();
        let happened = std::mem::take(&mut net.workers[self.index].ready);
        for event in &happened {
            net.note(self.index as u64);
            let (kind, token, size) = match event {
                Event::Accepted { socket, .. } => (1, None, socket.simulated_number()),
                Event::AcceptFailed { errno, .. } => (2, None, *errno as u64),
                Event::Refused { listener } => (10, None, u64::from(*listener)),
                Event::Received { token, input } => (3, Some(token), input.len() as u64),
                Event::BulkReceived { token, bulk, .. } => (4, Some(token), bulk.len() as u64),
                Event::InputEnded { token, .. } => (5, Some(token), 0),
                Event::Sent { token, result, .. } => (6, Some(token), result.map_or(0, |count| count as u64)),
                Event::Detached { token } => (7, Some(token), 0),
                Event::Woken => (8, None, 0),
                Event::Released { token, socket } => (9, Some(token), socket.simulated_number()),
                Event::Decrypted { .. } | Event::Established { .. } | Event::HandshakeFailed { .. } => {
                    unreachable!("what is sent here is not encrypted")
                }
            };
            net.note(kind);
            net.note(token.map_or(0, |token| u64::from(token.slot)));
            net.note(token.map_or(0, |token| u64::from(token.generation)));
            net.note(size);
        }
        events.extend(happened);
    }

    fn input(&self, input: &Input) -> &[u8] {
        self.buffers.bytes(input)
    }

    fn give_back(&mut self, input: Input) {
        let token = self.buffers.give_back(input);
        self.with_worker(|worker| {
            worker.has_free_buffer = true;
            let resume_at = worker.held_buffers_max / 2;
            let connection = worker.connections.get_mut(&token.slot);
            if let Some(connection) = connection.filter(|c| c.token == token) {
                assert!(connection.held_count > 0);
                connection.held_count -= 1;
                if connection.held_count <= resume_at {
                    connection.throttled = false;
                }
            }
        });
    }

    fn waker(&self) -> Waker {
        self.with_worker(|worker| worker.waker.clone())
    }

    fn name(&self) -> &'static str {
        "sim"
    }

    fn yield_point(&self) {
        let run_others = self.net.shared.borrow().yield_point.clone();
        if let Some(run_others) = run_others {
            run_others(self.index);
        }
    }
}

#[cfg(test)]
mod tests;
