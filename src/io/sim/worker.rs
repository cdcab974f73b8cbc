//! What one simulated worker has asked for, and what a turn makes of it.
//!
//! Design: a turn visits the worker's connections in a random order and lets each complete a random part
//! of what it could. Completions of one connection stay in stream order; between connections, and
//! between turns, anything goes.
//!
//! Not here: time and pipes (`net`), the interface (`sim`).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;

use super::super::buffers::BufferPool;
use super::super::sending::Sending;
use super::super::{EndCause, Event, Outgoing, Socket, Token, Wait, Waker};
use super::net::Net;

/// Receives of one connection in one turn.
const RECEIVES_PER_TURN: u32 = 8;
/// How often a connection that is to be released stays for another turn, which may bring it more input.
const LINGER_PERCENT: u32 = 50;
/// Accepts of one listener in one turn.
const ACCEPTS_PER_TURN: u32 = 16;

pub(super) struct WorkerState {
    pub(super) connections: BTreeMap<u32, Connection>,
    /// The worker's number of a listener, and its port.
    pub(super) listeners: BTreeMap<u16, u64>,
    pub(super) ready: Vec<Event>,
    pub(super) waker: Waker,
    pub(super) has_free_buffer: bool,
    pub(super) held_buffers_max: u16,
    wait: Option<Wait>,
    wait_since: Duration,
}

pub(super) struct Connection {
    pub(super) token: Token,
    pub(super) number: u64,
    pub(super) wanted: bool,
    pub(super) throttled: bool,
    pub(super) closing: bool,
    pub(super) releasing: bool,
    pub(super) held_count: u16,
    pub(super) ended: Option<EndCause>,
    pub(super) bulk: Option<(BytesMut, usize)>,
    pub(super) sending: Option<Sending>,
}

impl Connection {
    pub(super) fn new(token: Token, number: u64) -> Connection {
        Connection {
            token,
            number,
            wanted: false,
            throttled: false,
            closing: false,
            releasing: false,
            held_count: 0,
            ended: None,
            bulk: None,
            sending: None,
        }
    }

    /// Whether its socket is wanted back, and its input has not ended.
    fn may_leave(&self) -> bool {
        self.releasing && self.ended.is_none()
    }

    fn wants_input(&self) -> bool {
        self.ended.is_none() && (self.bulk.is_some() || (self.wanted && !self.throttled))
    }

    fn could_complete(&self, net: &Net, has_free_buffer: bool) -> bool {
        let link = net.link_ref(self.number);
        let (pipe, outgoing) = link.pipes(self.number);
        let sendable = link.is_broken(self.number) || outgoing.byte_count() < net.faults.socket_bytes;
        let bytes = !pipe.arrived.is_empty() && (has_free_buffer || self.bulk.is_some());
        let end = pipe.arrived.is_empty() && pipe.end.is_some();
        self.closing
            || self.may_leave()
            || (self.sending.is_some() && sendable)
            || (self.wants_input() && (bytes || end))
    }
}

impl WorkerState {
    pub(super) fn new(held_buffers_max: u16) -> WorkerState {
        WorkerState {
            connections: BTreeMap::new(),
            listeners: BTreeMap::new(),
            ready: Vec::new(),
            waker: Waker::with_flag(),
            has_free_buffer: true,
            held_buffers_max,
            wait: None,
            wait_since: Duration::ZERO,
        }
    }

    /// When the timed wait of the last turn ends.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self.wait {
            Some(Wait::For(time)) => Some(self.wait_since.saturating_add(time)),
            _ => None,
        }
    }

    pub(super) fn begin_wait(&mut self, wait: Wait, now: Duration) {
        self.wait = Some(wait);
        self.wait_since = now;
    }

    pub(super) fn is_ready(&self, net: &Net) -> bool {
        let waits = match self.wait {
            None | Some(Wait::Poll) => false,
            Some(Wait::For(_)) => self.deadline().is_some_and(|deadline| deadline > net.now),
            Some(Wait::Forever) => true,
        };
        let backlog = |port| net.backlogs.get(port).is_some_and(|b| !b.is_empty());
        let could_complete = |c: &Connection| c.could_complete(net, self.has_free_buffer);
        !waits
            || !self.ready.is_empty()
            || (self.waker.is_pending() && !net.faults.wakes_lost)
            || self.listeners.values().any(backlog)
            || self.connections.values().any(could_complete)
    }

    /// One turn, at the end of which the worker waits as `wait` says.
    pub(super) fn turn(&mut self, net: &mut Net, buffers: &mut BufferPool, wait: Wait) {
        self.begin_wait(wait, net.now);
        if self.waker.take() && !net.faults.wakes_lost {
            self.ready.push(Event::Woken);
        }
        self.accept(net);
        let mut slots: Vec<u32> = self.connections.keys().copied().collect();
        net.rng.shuffle(&mut slots);
        for slot in slots {
            if net.rng.chance(net.faults.late_percent) {
                continue;
            }
            let connection = self.connections.get_mut(&slot).expect("listed");
            let visit = Visit {
                connection,
                net,
                buffers,
                ready: &mut self.ready,
                held_buffers_max: self.held_buffers_max,
            };
            if visit.run() {
                self.connections.remove(&slot);
            }
        }
        self.has_free_buffer = buffers.has_free();
    }

    fn accept(&mut self, net: &mut Net) {
        for (&listener, port) in &self.listeners {
            for _ in 0..ACCEPTS_PER_TURN {
                if net.rng.chance(net.faults.late_percent) {
                    break;
                }
                let backlog = net.backlogs.get_mut(port).expect("listened to");
                let Some(number) = backlog.pop_front() else {
                    break;
                };
                let socket = Socket::simulated(number);
                self.ready.push(Event::Accepted { listener, socket });
            }
        }
    }
}

/// One connection in one turn.
struct Visit<'a> {
    connection: &'a mut Connection,
    net: &'a mut Net,
    buffers: &'a mut BufferPool,
    ready: &'a mut Vec<Event>,
    held_buffers_max: u16,
}

impl Visit<'_> {
    /// True if the connection is gone.
    fn run(mut self) -> bool {
        let token = self.connection.token;
        if self.connection.closing {
            if let Some(sending) = self.connection.sending.take() {
                self.sent(sending, Err(EndCause::Reset));
            }
            self.net.leave(self.connection.number);
            self.ready.push(Event::Detached { token });
            return true;
        }
        self.send();
        for _ in 0..RECEIVES_PER_TURN {
            if !self.connection.wants_input() || !self.receive() {
                break;
            }
        }
        if self.connection.may_leave() && !self.net.rng.chance(LINGER_PERCENT) {
            self.ready.push(Event::Released { token, socket: Socket::simulated(self.connection.number) });
            return true;
        }
        false
    }

    fn maybe_reset(&mut self) {
        if self.net.rng.below(1_000_000) < u64::from(self.net.faults.reset_per_million) {
            self.net.reset(self.connection.number);
        }
    }

    fn sent(&mut self, sending: Sending, result: Result<usize, EndCause>) {
        self.ready.push(Event::Sent { token: self.connection.token, outgoing: sending.outgoing, result });
    }

    fn send(&mut self) {
        let Some(mut sending) = self.connection.sending.take() else {
            return;
        };
        self.maybe_reset();
        let piece = self.net.rng.size(self.net.faults.piece_bytes_max);
        let socket_bytes = self.net.faults.socket_bytes;
        let number = self.connection.number;
        let link = self.net.link(number);
        if link.is_broken(number) {
            self.sent(sending, Err(EndCause::Reset));
            return;
        }
        let room = socket_bytes.saturating_sub(link.outgoing(number).byte_count());
        let bytes = next_bytes(&sending, piece.min(room));
        if !bytes.is_empty() {
            self.net.send(number, &bytes);
            sending.advance(bytes.len());
        }
        if sending.is_finished() {
            let total = sending.total;
            self.sent(sending, Ok(total));
        } else {
            self.connection.sending = Some(sending);
        }
    }

    /// One receive; false where nothing was to be had.
    fn receive(&mut self) -> bool {
        self.maybe_reset();
        let max = self.net.rng.size(self.net.faults.piece_bytes_max);
        let number = self.connection.number;
        let pipe = self.net.link(number).incoming(number);
        let token = self.connection.token;
        if pipe.arrived.is_empty() {
            let Some(cause) = pipe.end else {
                return false;
            };
            self.connection.ended = Some(cause);
            match self.connection.bulk.take() {
                None => self.ready.push(Event::InputEnded { token, cause }),
                Some((bulk, _)) => self.ready.push(Event::BulkReceived { token, bulk, done: Err(cause) }),
            }
            return false;
        }
        if let Some((bulk, len)) = &mut self.connection.bulk {
            let step = max.min(*len - bulk.len()).min(pipe.arrived.len());
            let before = bulk.len();
            bulk.resize(before + step, 0);
            pipe.read(&mut bulk[before..]);
            if bulk.len() == *len
                && let Some((bulk, _)) = self.connection.bulk.take()
            {
                let done = Ok(());
                self.ready.push(Event::BulkReceived { token, bulk, done });
            }
            return true;
        }
        let lent = self.buffers.lend_with(token, |buffer| {
            let len = buffer.len().min(max);
            Ok::<usize, std::convert::Infallible>(pipe.read(&mut buffer[..len]))
        });
        let Ok(Some(input)) = lent else {
            return false;
        };
        self.connection.held_count += 1;
        self.connection.throttled = self.connection.held_count >= self.held_buffers_max;
        self.ready.push(Event::Received { token, input });
        true
    }
}

/// At most `max` of the bytes to be sent next.
fn next_bytes(sending: &Sending, max: usize) -> Vec<u8> {
    match &sending.outgoing {
        Outgoing::Flat(bytes) => {
            let rest = &bytes[sending.sent..];
            rest[..rest.len().min(max)].to_vec()
        }
        Outgoing::Gather(pieces) => {
            let mut bytes = Vec::new();
            let mut skip = sending.piece_sent;
            for piece in &pieces[sending.piece_index..] {
                let rest = &piece[std::mem::take(&mut skip)..];
                let room = max - bytes.len();
                bytes.extend_from_slice(&rest[..rest.len().min(room)]);
                if bytes.len() == max {
                    break;
                }
            }
            bytes
        }
    }
}
