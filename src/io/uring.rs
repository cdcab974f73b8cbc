//! The io_uring backend.
//!
//! Design: every connection has one multishot receive that fills buffers from a ring shared by all of
//! the worker's connections, and at most one send. One function, `advance`, compares what is wanted
//! with what is in flight and submits the difference; every call and completion that changes either
//! ends there. The kernel's traps and the answers:
//! - A multishot operation may end with any completion: F_MORE is looked at on each, and it is re-armed.
//! - A receive that finds the buffer ring empty ends with ENOBUFS, even if nothing was to be received:
//!   it joins the starved, which are re-armed in order once buffers are back, not by a timer; more buffers come into use.
//! - One busy socket could take all buffers: a connection that holds too many at the end of a turn is
//!   stopped until half of them are back.
//! - A cancel may miss an operation that is being worked on: a failed cancel is repeated.
//! - Closing a descriptor does not cancel: all operations end first, then the socket is closed.
//! - MSG_WAITALL sends may still be short: the rest is sent by another operation.
//! - The completion of a send ends the wait of the turn that submitted it, which costs a turn and a system call for nothing.
//!   A send that nobody waits for is therefore silent: it may not wait for the socket, so that it is over when it has been
//!   submitted, and completes only if it failed; what the socket did not take goes the usual way.
//! - A multishot receive may miss what comes right behind the bytes that it delivers: it is looked for (`ends`).
//! - A full completion queue loses nothing (the kernel keeps what does not fit) but ends multishots.
//!
//! Incremental buffers and bundles are left alone: kernels from 6.12 to 6.19 have bugs in them.
//!
//! Invariants:
//! - `in_flight_count` operations will still complete; the memory they use is owned by `connections`,
//!   `listeners` or `buffers` and is freed only after that, or leaked.
//!
//! Costs: one `io_uring_enter` per turn; 64 bytes written per submission, 16 read per completion; one
//! store per turn to give buffers back. No allocation per event.
//!
//! Not here: the ring (`ring`), the state of one connection (`connection`), ends that are missed (`ends`), buffer memory (`buffers`).

#![expect(unsafe_code, reason = "operations hand memory to the kernel; completions hand descriptors to us")]

mod connection;
mod ends;
mod ring;

use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use io_uring::cqueue;
use io_uring::types::Timespec;

use super::buffers::BufferRing;
use super::reserve::Reserve;
use super::sending::Sending;
use super::{
    EndCause, Event, Input, Io, Listener, OpenError, Options, Outgoing, SLOT_MAX, Socket, Token, Wait, Waker,
    close_released,
};
use connection::{Bulk, Connection, Flow, OPERATION_BYTES_MAX, Part, next_part};
use ring::{OperationKind, Ring, Tag};

/// Pause before accepting again after a failure that the reserve does not help against.
const ACCEPT_AGAIN_MS: u64 = 100;
/// Starved connections re-armed per turn, beyond two per free buffer.
const REARM_PER_TURN: usize = 64;
/// Completions copied from the queue at a time.
const REAP_BATCH: usize = 64;
/// How much later than asked for a wait may end.
const ALARM_SLACK: Duration = Duration::from_millis(1);
/// Waits for the kernel to finish when the ring is dropped, and the length of each.
const DRAIN_ROUNDS: u32 = 100;
const DRAIN_ROUND_MS: u64 = 20;

/// One worker's ring. It is used on the thread that opened it, and no other.
pub struct Uring {
    // The order of the fields is the order of their drop: the ring before the memory it uses.
    ring: Ring,
    /// In boxes, as a vector of large values takes twice its size when it grows.
    connections: Vec<Option<Box<Connection>>>,
    listeners: Vec<Option<Listening>>,
    reserve: Reserve,
    buffers: BufferRing,
    /// Found no buffer; in order of arrival.
    starved: VecDeque<Token>,
    /// Held many buffers when last seen; looked at in the next turn.
    suspects: Vec<Token>,
    /// Those that have sent something, after which an end may not have been reported.
    doubted: Vec<Token>,
    /// Those of them that are looked at before the next wait.
    due: Vec<Token>,
    /// Happened without a completion; reported by the next `reap`.
    ready: Vec<Event>,
    /// Sends that are done once they were submitted, unless a completion says otherwise.
    silent: Vec<Token>,
    /// The worker waits for one of those to be done.
    silent_awaited: bool,
    /// When the timeout in flight ends, if one is.
    alarm_at: Option<Instant>,
    /// Read by the kernel while that timeout is being submitted.
    alarm_time: Box<Timespec>,
    waker: Waker,
    held_buffers_max: u16,
    in_flight_count: usize,
    shutting_down: bool,
}

struct Listening {
    listener: Listener,
    armed: bool,
    stopping: bool,
    /// Read by the kernel while an accept-again timeout is being submitted.
    pause: Box<Timespec>,
}

impl Uring {
    /// Opens a ring for the calling thread, or says which kernel feature is missing.
    pub fn open(options: &Options) -> Result<Uring, OpenError> {
        let memory = |error| OpenError { missing: "memory for receive buffers", error };
        let eventfd = |error| OpenError { missing: "eventfd", error };
        let ring = Ring::open(options)?;
        let buffers = BufferRing::new(options.buffer_count, options.buffer_bytes).map_err(memory)?;
        // SAFETY: `buffers` lives beside the ring; `drop` unregisters them once nothing is in flight, or
        // leaks their memory. Until then they are never replaced, and moving the owner moves no mapping.
        unsafe { ring.register_buffers(&buffers) }?;
        let mut uring = Uring {
            ring,
            connections: Vec::new(),
            listeners: Vec::new(),
            reserve: Reserve::new(options.refusal),
            buffers,
            starved: VecDeque::new(),
            suspects: Vec::new(),
            doubted: Vec::new(),
            due: Vec::new(),
            ready: Vec::new(),
            silent: Vec::new(),
            silent_awaited: false,
            alarm_at: None,
            alarm_time: Box::new(Timespec::new()),
            waker: Waker::with_eventfd().map_err(eventfd)?,
            held_buffers_max: options.held_buffers_max.clamp(1, options.buffer_count.div_ceil(2)),
            in_flight_count: 0,
            shutting_down: false,
        };
        uring.watch_waker();
        // A sandbox may allow rings to be made and not to be used: better to know now than in the first turn.
        if let Err(error) = uring.ring.enter(Wait::Poll) {
            uring.in_flight_count = 0; // nothing has reached the kernel
            return Err(OpenError { missing: "io_uring_enter", error });
        }
        Ok(uring)
    }

    fn watch_waker(&mut self) {
        self.ring.watch(self.waker.fd(), Tag::plain(OperationKind::Wake, 0));
        self.in_flight_count += 1;
    }

    /// The connection of a token that the worker may use now.
    ///
    /// # Panics
    /// If there is none: the worker used a token after its `Detached`, or never attached it.
    fn connection(&mut self, token: Token) -> &mut Connection {
        let connection = self.connections[token.slot as usize].as_deref_mut();
        let connection = connection.expect("the token is attached");
        assert_eq!(connection.token, token, "the token is of this generation");
        connection
    }

    /// The connection a completion is for, if it is still the same.
    fn connection_tagged(&mut self, tag: Tag) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(tag.slot as usize)?.as_deref_mut()?;
        (connection.token.generation_packed() == tag.generation).then_some(connection)
    }

    fn connection_opt(&mut self, token: Token) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(token.slot as usize)?.as_deref_mut()?;
        (connection.token == token).then_some(connection)
    }

    /// Submits what is missing between what a connection wants and what is in flight. Cases:
    /// 1. closing: report `Detached` when the last completion has arrived;
    /// 2. a bulk is wanted: stop the multishot receive, then receive the bulk;
    /// 3. the socket is wanted back: stop the multishot receive, then report `Released`;
    /// 4. otherwise: the multishot receive is in flight exactly while input is wanted and possible.
    fn advance(&mut self, token: Token, events: &mut Vec<Event>) {
        let connection = self.connections[token.slot as usize]
            .as_deref_mut()
            .expect("callers hold a token that is attached");
        debug_assert_eq!(connection.token, token);
        if connection.closing {
            // 1.
            if !connection.is_busy() {
                self.connections[token.slot as usize] = None;
                events.push(Event::Detached { token });
            }
        } else if let Some(bulk) = &mut connection.bulk {
            // 2.
            match connection.flow {
                Flow::Armed => self.stop_receive(token),
                Flow::Cancelling => {}
                Flow::Idle if bulk.missing() == 0 || connection.ended.is_some() => {
                    assert!(!bulk.in_flight);
                    self.finish_bulk(token, events);
                }
                Flow::Idle if bulk.in_flight => {}
                Flow::Idle => {
                    let (start, len) = bulk.target();
                    bulk.in_flight = true;
                    let tag = Tag::of(OperationKind::Bulk, token);
                    // SAFETY: the bulk, which owns the memory, stays in the connection untouched until
                    // its completion clears `in_flight`; its heap memory does not move.
                    unsafe { self.ring.receive_to(connection.fd, start, len, tag) };
                    self.in_flight_count += 1;
                }
            }
        } else if connection.releasing && connection.ended.is_none() {
            // 3.
            match connection.flow {
                Flow::Armed => self.stop_receive(token),
                Flow::Cancelling => {}
                Flow::Idle => {
                    assert!(!connection.is_busy(), "the worker has seen its send and its bulk end");
                    let connection = self.connections[token.slot as usize].take().expect("it was just here");
                    events.push(Event::Released { token, socket: connection.socket });
                }
            }
        } else {
            // 4.
            let possible = connection.ended.is_none() && !connection.throttled && !connection.starved;
            match connection.flow {
                Flow::Idle if connection.wanted && possible => {
                    connection.flow = Flow::Armed;
                    let tag = Tag::of(OperationKind::Receive, token);
                    self.ring.receive(connection.fd, tag);
                    self.in_flight_count += 1;
                }
                Flow::Armed if !connection.wanted || !possible => self.stop_receive(token),
                _ => {}
            }
        }
    }

    /// `advance` for calls from the worker, which has no list of events at hand.
    fn advance_outside(&mut self, token: Token) {
        let mut ready = std::mem::take(&mut self.ready);
        self.advance(token, &mut ready);
        self.ready = ready;
    }

    fn stop_receive(&mut self, token: Token) {
        let connection = self.connection(token);
        assert_eq!(connection.flow, Flow::Armed);
        connection.flow = Flow::Cancelling;
        let target = Tag::of(OperationKind::Receive, token);
        self.ring.cancel(target, Tag::of(OperationKind::CancelReceive, token));
    }

    fn finish_bulk(&mut self, token: Token, events: &mut Vec<Event>) {
        let connection = self.connection(token);
        let bulk = connection.bulk.take().expect("callers saw it");
        assert!(!bulk.in_flight);
        let done = match connection.ended {
            Some(cause) if bulk.missing() > 0 => Err(cause),
            _ => Ok(()),
        };
        events.push(Event::BulkReceived { token, bulk: bulk.bytes, done });
        self.advance(token, events);
    }

    fn end_input(&mut self, token: Token, cause: EndCause, events: &mut Vec<Event>) {
        let connection = self.connection(token);
        if connection.ended.is_some() || connection.closing {
            return;
        }
        connection.ended = Some(cause);
        if connection.bulk.is_none() {
            events.push(Event::InputEnded { token, cause });
        }
    }

    fn submit_send(&mut self, token: Token) {
        let connection = self.connections[token.slot as usize]
            .as_deref_mut()
            .expect("callers hold a token that is attached");
        let sending = connection.sending.as_ref().expect("callers have set it");
        let tag = Tag::of(OperationKind::Send, token);
        match next_part(sending, &mut connection.message) {
            Part::Flat(bytes) if connection.silent => {
                let (start, len) = (bytes.as_ptr(), bytes.len() as u32);
                // SAFETY: `sending` owns the bytes and stays in the connection until `conclude_silent` has seen that the
                // entry was submitted; its heap memory does not move.
                unsafe { self.ring.send_at_once(connection.fd, start, len, tag) };
                self.silent.push(token);
            }
            Part::Flat(bytes) => {
                let (start, len) = (bytes.as_ptr(), bytes.len() as u32);
                // SAFETY: `sending` owns the bytes and stays in the connection until the completion; its
                // heap memory does not move.
                unsafe { self.ring.send(connection.fd, start, len, tag) };
            }
            Part::Gathered(message) => {
                // SAFETY: the boxed message and the pieces, owned by `sending`, stay in the connection
                // until the completion.
                unsafe { self.ring.send_message(connection.fd, message, tag) };
            }
        }
        self.in_flight_count += 1;
    }

    /// Reports the sends that were submitted and did not fail. Those that did have had their completion by now.
    fn conclude_silent(&mut self, events: &mut Vec<Event>) {
        if self.silent.is_empty() || !self.ring.is_settled() {
            return;
        }
        self.silent_awaited = false;
        let mut silent = std::mem::take(&mut self.silent);
        for token in silent.drain(..) {
            let Some(connection) = self.connection_opt(token).filter(|connection| connection.silent) else {
                continue;
            };
            connection.silent = false;
            let closing = connection.closing;
            let sending = connection.sending.take().expect("a silent send is a send");
            self.in_flight_count -= 1;
            let (outgoing, result) = (sending.outgoing, Ok(sending.total));
            events.push(Event::Sent { token, outgoing, result });
            if closing {
                self.advance(token, events);
            }
        }
        self.silent = silent;
    }

    /// How to wait for at most `time`. A timeout in flight serves all waits until it ends; a wait with a time of its own
    /// has the kernel set and clear a timer each time.
    fn with_alarm(&mut self, time: Duration) -> Wait {
        let until = Instant::now() + time;
        match self.alarm_at {
            Some(at) if at <= until + ALARM_SLACK => Wait::Forever,
            Some(_) => Wait::For(time),
            None => {
                *self.alarm_time = Timespec::from(time);
                self.alarm_at = Some(until);
                let alarm: *const Timespec = &raw const *self.alarm_time;
                // SAFETY: boxed, and written again only after this timeout has completed.
                unsafe { self.ring.timeout(alarm, Tag::plain(OperationKind::Alarm, 0)) };
                self.in_flight_count += 1;
                Wait::Forever
            }
        }
    }

    fn complete(&mut self, cqe: &cqueue::Entry, events: &mut Vec<Event>) {
        let tag = Tag::unpack(cqe.user_data()).expect("the kernel returns what was submitted");
        let result = cqe.result();
        let more = cqueue::more(cqe.flags());
        match tag.kind {
            OperationKind::Receive => self.complete_receive(tag, cqe, events),
            OperationKind::Send => self.complete_send(tag, result, events),
            OperationKind::Bulk => self.complete_bulk(tag, result, events),
            OperationKind::Accept => self.complete_accept(tag, result, more, events),
            OperationKind::AcceptAgain => {
                self.in_flight_count -= 1;
                self.accept_again(tag.slot as u16);
            }
            OperationKind::Alarm => {
                self.in_flight_count -= 1;
                self.alarm_at = None;
            }
            OperationKind::Wake => {
                if !more {
                    self.in_flight_count -= 1;
                    if !self.shutting_down {
                        self.watch_waker();
                    }
                }
                if self.waker.take() {
                    events.push(Event::Woken);
                }
            }
            OperationKind::CancelReceive | OperationKind::CancelBulk | OperationKind::CancelSend => {
                self.complete_failed_cancel(tag, result);
            }
            OperationKind::CancelOther => {
                if let Some(Some(listening)) = self.listeners.get(tag.slot as usize)
                    && listening.stopping
                    && listening.armed
                    && result < 0
                {
                    self.ring.cancel(Tag::plain(OperationKind::Accept, tag.slot as u16), tag);
                }
            }
        }
    }

    fn complete_receive(&mut self, tag: Tag, cqe: &cqueue::Entry, events: &mut Vec<Event>) {
        let (result, flags) = (cqe.result(), cqe.flags());
        let connection = self.connection_tagged(tag).expect("a slot is kept until its last completion");
        let token = connection.token;
        let more = cqueue::more(flags);
        if !more {
            assert!(connection.flow != Flow::Idle);
            connection.flow = Flow::Idle;
            self.in_flight_count -= 1;
        }
        match (result, cqueue::buffer_select(flags)) {
            (1.., Some(buffer)) => {
                let input = self.buffers.lend(buffer, result as u32, token);
                self.received(token, input, events);
                if more {
                    self.doubt(token);
                }
            }
            (1.., None) => unreachable!("multishot receives use provided buffers"),
            (_, Some(buffer)) => self.buffers.reclaim(buffer),
            (_, None) => {}
        }
        if more {
            return;
        }
        match -result {
            0 => self.end_input(token, EndCause::Eof, events),
            libc::ENOBUFS => {
                let connection = self.connection(token);
                if !connection.starved && !connection.closing {
                    connection.starved = true;
                    self.starved.push_back(token);
                }
            }
            // Ended with data, by a cancel, or for no reason that concerns us: re-armed if wanted.
            ..0 | libc::ECANCELED | libc::EAGAIN | libc::EINTR => {}
            errno => self.end_input(token, EndCause::from_errno(errno), events),
        }
        self.advance(token, events);
    }

    /// Bytes arrived in a buffer: they go to the bulk that is wanted, then to the worker.
    fn received(&mut self, token: Token, mut input: Input, events: &mut Vec<Event>) {
        let held_buffers_max = self.held_buffers_max;
        let connection = self.connections[token.slot as usize]
            .as_deref_mut()
            .expect("callers hold a token that is attached");
        if connection.closing {
            self.buffers.give_back(input);
            return;
        }
        if let Some(bulk) = &mut connection.bulk {
            let taken = bulk.copy_from(self.buffers.bytes(&input)) as u32;
            input.start += taken;
            input.len -= taken;
            if bulk.missing() == 0 {
                self.finish_bulk(token, events);
            }
            if input.is_empty() {
                self.buffers.give_back(input);
                return;
            }
        }
        let connection = self.connection(token);
        connection.held_count += 1;
        if connection.held_count >= held_buffers_max && !connection.suspected {
            connection.suspected = true;
            self.suspects.push(token);
        }
        events.push(Event::Received { token, input });
    }

    fn complete_send(&mut self, tag: Tag, result: i32, events: &mut Vec<Event>) {
        self.in_flight_count -= 1;
        let connection = self.connection_tagged(tag).expect("a slot is kept until its last completion");
        let (token, closing) = (connection.token, connection.closing);
        // A silent send that completes has failed, or came to a part; the rest goes the usual way.
        connection.silent = false;
        let sending = connection.sending.as_mut().expect("it was in flight");
        let result = match result {
            1.. => {
                sending.advance(result as usize);
                if sending.is_finished() {
                    Some(Ok(sending.total))
                } else {
                    closing.then_some(Err(EndCause::Reset))
                }
            }
            // Nothing sent and no error: the socket is in no state to send.
            0 => Some(Err(EndCause::Reset)),
            _ if (-result == libc::EAGAIN || -result == libc::EINTR) && !closing => None,
            _ => Some(Err(EndCause::from_errno(-result))),
        };
        let Some(result) = result else {
            self.submit_send(token);
            return;
        };
        let sending = connection.sending.take().expect("it was in flight");
        events.push(Event::Sent { token, outgoing: sending.outgoing, result });
        if closing {
            self.advance(token, events);
        }
    }

    fn complete_bulk(&mut self, tag: Tag, result: i32, events: &mut Vec<Event>) {
        self.in_flight_count -= 1;
        let connection = self.connection_tagged(tag).expect("a slot is kept until its last completion");
        let token = connection.token;
        let bulk = connection.bulk.as_mut().expect("it was in flight");
        bulk.in_flight = false;
        match -result {
            ..0 => bulk.filled(result as usize),
            0 => self.end_input(token, EndCause::Eof, events),
            libc::ECANCELED | libc::EAGAIN | libc::EINTR => {}
            errno => self.end_input(token, EndCause::from_errno(errno), events),
        }
        self.advance(token, events);
    }

    /// A cancel found nothing, or something that is being worked on. If the operation is still in flight
    /// it is cancelled again; of a connection being closed, both directions are shut down besides, which
    /// ends every operation on it.
    fn complete_failed_cancel(&mut self, tag: Tag, result: i32) {
        if result >= 0 {
            return;
        }
        let Some(connection) = self.connection_tagged(tag) else {
            return;
        };
        let token = connection.token;
        let (kind, in_flight) = match tag.kind {
            OperationKind::CancelReceive => (OperationKind::Receive, connection.flow == Flow::Cancelling),
            OperationKind::CancelBulk => {
                let bulk = connection.bulk.as_ref();
                (OperationKind::Bulk, bulk.is_some_and(|bulk| bulk.in_flight))
            }
            _ => (OperationKind::Send, connection.sending.is_some()),
        };
        if !in_flight {
            return;
        }
        if connection.closing {
            // An error means that the connection is gone already.
            let _gone_already = connection.socket.system().shutdown(std::net::Shutdown::Both);
        }
        self.ring.cancel(Tag::of(kind, token), tag);
    }

    fn complete_accept(&mut self, tag: Tag, result: i32, more: bool, events: &mut Vec<Event>) {
        let number = tag.slot as u16;
        if result >= 0 {
            // SAFETY: the kernel made this descriptor for us, and nobody else knows it.
            let fd = unsafe { OwnedFd::from_raw_fd(result) };
            events.push(match self.reserve.admit(Socket::from(fd)) {
                Some(socket) => Event::Accepted { listener: number, socket },
                None => Event::Refused { listener: number },
            });
        }
        if more {
            return;
        }
        self.in_flight_count -= 1;
        let listening = self.listeners[usize::from(number)].as_mut();
        let listening = listening.expect("kept until its last completion");
        listening.armed = false;
        match -result {
            _ if listening.stopping => self.listeners[usize::from(number)] = None,
            ..=0 | libc::ECANCELED => self.accept_again(number),
            libc::ECONNABORTED | libc::EINTR | libc::EAGAIN | libc::EPROTO => {
                self.accept_again(number);
            }
            errno if self.reserve.spend(errno) => self.accept_again(number),
            errno => {
                let pause: *const Timespec = &raw const *listening.pause;
                events.push(Event::AcceptFailed { listener: number, errno });
                // SAFETY: boxed in `listeners`, where it stays until this timeout has completed.
                unsafe {
                    self.ring.timeout(pause, Tag::plain(OperationKind::AcceptAgain, number));
                }
                self.in_flight_count += 1;
            }
        }
    }

    fn accept_again(&mut self, number: u16) {
        let slot = &mut self.listeners[usize::from(number)];
        let listening = slot.as_mut().expect("kept while accepting");
        assert!(!listening.armed);
        if listening.stopping {
            *slot = None;
            return;
        }
        listening.armed = true;
        let fd: RawFd = listening.listener.system().as_raw_fd();
        self.ring.accept(fd, Tag::plain(OperationKind::Accept, number));
        self.in_flight_count += 1;
    }

    /// Stops the input of connections that still hold many buffers.
    fn throttle(&mut self) {
        let mut suspects = std::mem::take(&mut self.suspects);
        for token in suspects.drain(..) {
            let held_buffers_max = self.held_buffers_max;
            let Some(connection) = self.connection_opt(token) else {
                continue;
            };
            connection.suspected = false;
            if connection.held_count >= held_buffers_max && !connection.closing {
                connection.throttled = true;
                self.advance_outside(token);
            }
        }
        self.suspects = suspects;
    }

    /// Re-arms connections that found no buffer, if there are buffers now. True if some are left that
    /// could be tried: the turn must not sleep then.
    fn rearm_starved(&mut self) -> bool {
        if !self.starved.is_empty() {
            self.buffers.grow();
        }
        let free = usize::from(self.buffers.free_count());
        if free == 0 {
            return false;
        }
        let count = self.starved.len().min(REARM_PER_TURN + 2 * free);
        for _ in 0..count {
            let token = self.starved.pop_front().expect("counted");
            if let Some(connection) = self.connection_opt(token) {
                connection.starved = false;
                self.advance_outside(token);
            }
        }
        !self.starved.is_empty()
    }

    #[cfg(test)]
    pub(super) fn in_flight_count(&self) -> usize {
        self.in_flight_count - usize::from(self.alarm_at.is_some())
    }
}

impl Io for Uring {
    fn accept(&mut self, listener: u16, from: Listener) -> io::Result<()> {
        from.system().set_nonblocking(false)?;
        let index = usize::from(listener);
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, || None);
        }
        assert!(self.listeners[index].is_none(), "the number is in use");
        self.listeners[index] = Some(Listening {
            listener: from,
            armed: false,
            stopping: false,
            pause: Box::new(Timespec::from(Duration::from_millis(ACCEPT_AGAIN_MS))),
        });
        self.accept_again(listener);
        Ok(())
    }

    fn stop_accepting(&mut self) {
        for (number, listening) in self.listeners.iter_mut().enumerate() {
            let Some(listening) = listening else {
                continue;
            };
            listening.stopping = true;
            if listening.armed {
                let target = Tag::plain(OperationKind::Accept, number as u16);
                let tag = Tag::plain(OperationKind::CancelOther, number as u16);
                self.ring.cancel(target, tag);
            }
        }
    }

    fn attach(&mut self, token: Token, socket: Socket) {
        assert!(token.slot < SLOT_MAX);
        self.buffers.warm();
        let index = token.slot as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        assert!(self.connections[index].is_none(), "the slot is in use");
        // io_uring fails operations on a non-blocking socket instead of waiting. Where this cannot be
        // set, the socket is broken and its first operation says so.
        let _broken_shows_later = socket.system().set_nonblocking(false);
        self.connections[index] = Some(Box::new(Connection::new(token, socket)));
    }

    fn receive(&mut self, token: Token) {
        let connection = self.connection(token);
        if connection.closing || connection.wanted {
            return;
        }
        connection.wanted = true;
        self.advance_outside(token);
    }

    fn pause(&mut self, token: Token) {
        let connection = self.connection(token);
        if connection.closing || !connection.wanted {
            return;
        }
        connection.wanted = false;
        self.advance_outside(token);
    }

    fn receive_into(&mut self, token: Token, bulk: BytesMut, len: usize) {
        let connection = self.connection(token);
        assert!(!connection.closing, "the token was closed");
        assert!(connection.bulk.is_none(), "one bulk at a time");
        connection.wanted = false;
        let bulk = Bulk::new(bulk, len);
        let nothing_to_wait_for = bulk.missing() == 0 || connection.ended.is_some();
        connection.bulk = Some(Box::new(bulk));
        if nothing_to_wait_for {
            let mut ready = std::mem::take(&mut self.ready);
            self.finish_bulk(token, &mut ready);
            self.ready = ready;
        } else {
            self.advance_outside(token);
        }
    }

    fn send(&mut self, token: Token, outgoing: Outgoing) {
        let connection = self.connection(token);
        assert!(!connection.closing, "the token was closed");
        assert!(connection.sending.is_none(), "one send at a time");
        connection.sending = Some(Sending::new(outgoing));
        self.submit_send(token);
    }

    fn send_unawaited(&mut self, token: Token, outgoing: Outgoing) {
        let silent = self.ring.submits_itself()
            && matches!(&outgoing, Outgoing::Flat(bytes) if bytes.len() <= OPERATION_BYTES_MAX);
        self.connection(token).silent = silent;
        self.send(token, outgoing);
    }

    fn close(&mut self, token: Token) {
        let Some(connection) = self.connection_opt(token) else {
            return close_released(&mut self.ready, token);
        };
        if connection.closing {
            return;
        }
        connection.closing = true;
        let receiving = connection.flow == Flow::Armed;
        // A silent send is over with the next submission.
        let sending = connection.sending.is_some() && !connection.silent;
        self.silent_awaited |= connection.silent;
        let connection = self.connection(token);
        let bulk_in_flight = connection.bulk.as_ref().is_some_and(|bulk| bulk.in_flight);
        if !bulk_in_flight {
            connection.bulk = None;
        }
        if receiving {
            self.stop_receive(token);
        }
        if bulk_in_flight {
            let target = Tag::of(OperationKind::Bulk, token);
            self.ring.cancel(target, Tag::of(OperationKind::CancelBulk, token));
        }
        if sending {
            let target = Tag::of(OperationKind::Send, token);
            self.ring.cancel(target, Tag::of(OperationKind::CancelSend, token));
        }
        // A bulk that ended without a completion may wait to be reported.
        self.ready.retain(|event| !matches!(event, Event::BulkReceived { token: of, .. } if *of == token));
        self.advance_outside(token);
    }

    fn send_last(&mut self, token: Token, bytes: &[u8]) {
        let connection = self.connection(token);
        assert!(connection.sending.is_none(), "it would come in the middle of a send");
        connection.socket.send_now(bytes);
    }

    fn fill_packets(&mut self, token: Token) {
        self.connection(token).socket.fill_packets();
    }

    fn release(&mut self, token: Token) {
        let connection = self.connection(token);
        if connection.closing {
            return;
        }
        assert!(
            connection.sending.is_none() && connection.bulk.is_none(),
            "nothing but receives is in flight"
        );
        connection.releasing = true;
        self.advance_outside(token);
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        self.throttle();
        if !self.due.is_empty() {
            self.look();
        }
        self.buffers.publish();
        let more_to_do =
            self.rearm_starved() || !self.due.is_empty() || !self.ready.is_empty() || self.silent_awaited;
        let wait = match wait {
            _ if more_to_do => Wait::Poll,
            Wait::For(time) => self.with_alarm(time),
            other => other,
        };
        self.ring.enter(wait)
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.ready);
        loop {
            let mut batch = [const { MaybeUninit::uninit() }; REAP_BATCH];
            let completions = self.ring.completions(&mut batch);
            for cqe in completions {
                self.complete(cqe, events);
            }
            if completions.len() < REAP_BATCH {
                break;
            }
        }
        self.conclude_silent(events);
    }

    fn look_for_end(&mut self, token: Token) {
        self.due.push(token);
    }

    fn look_for_ends(&mut self) {
        let mut doubted = std::mem::take(&mut self.doubted);
        for token in doubted.drain(..) {
            if let Some(connection) = self.connection_opt(token) {
                connection.doubted = false;
                self.due.push(token);
            }
        }
        self.doubted = doubted;
    }

    fn input(&self, input: &Input) -> &[u8] {
        self.buffers.bytes(input)
    }

    fn give_back(&mut self, input: Input) {
        let token = self.buffers.give_back(input);
        let held_buffers_max = self.held_buffers_max;
        let Some(connection) = self.connection_opt(token) else {
            return;
        };
        assert!(connection.held_count > 0);
        connection.held_count -= 1;
        if connection.throttled && connection.held_count <= held_buffers_max / 2 {
            connection.throttled = false;
            if !connection.closing {
                self.advance_outside(token);
            }
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn name(&self) -> &'static str {
        "io_uring"
    }
}

impl Drop for Uring {
    /// Ends every operation and waits for the kernel to let go of our memory; what it does not let go
    /// of in time is leaked rather than freed.
    fn drop(&mut self) {
        self.shutting_down = true;
        let tokens: Vec<Token> = self.connections.iter().flatten().map(|c| c.token).collect();
        for token in tokens {
            self.close(token);
        }
        self.stop_accepting();
        let mut discarded = Vec::new();
        for _ in 0..DRAIN_ROUNDS {
            self.ring.cancel_all(Tag::plain(OperationKind::CancelOther, u16::MAX));
            if self.ring.enter(Wait::For(Duration::from_millis(DRAIN_ROUND_MS))).is_err() {
                break;
            }
            self.reap(&mut discarded);
            discarded.clear();
            if self.in_flight_count == 0 {
                break;
            }
        }
        self.ring.unregister_buffers();
        if self.in_flight_count > 0 {
            log::error!("io: {} operations did not end", self.in_flight_count);
            std::mem::forget(std::mem::take(&mut self.connections));
            std::mem::forget(std::mem::take(&mut self.listeners));
            self.buffers.leak();
        }
    }
}
