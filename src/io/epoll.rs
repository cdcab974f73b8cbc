//! The epoll backend, through `mio`: the same interface over readiness, for kernels and containers that
//! forbid io_uring.
//!
//! Design: sockets are registered edge-triggered, for input. An edge puts a connection into the queue of those to try; each
//! turn tries every queued connection for a bounded number of receives, and one that may have more goes to the queue's end. A
//! send is tried at once; for what the socket does not take it is registered for output too, until that is sent: a peer that
//! reads makes a writable edge each time, which would wake the worker for nothing. Everything that happens is put into `ready`
//! as a completion would be, and `reap` only moves that.
//!
//! Edges and the rules that keep them:
//! - `readable` is cleared only by EAGAIN, or by a receive that filled less than was offered when no
//!   end of stream was announced; whoever may receive again and finds it set joins the queue.
//! - A send goes on until EAGAIN; registering anew makes an edge of whatever is there already.
//!
//! Invariants:
//! - A readable connection that wants input is in `queue` or `starved`, or is held back by `throttled`.
//!
//! Costs: one `epoll_wait` per turn, one `recv` per piece and one `send` per send; nothing is allocated
//! per event.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Read};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry};

use super::buffers::BufferPool;
use super::reserve::Reserve;
use super::sending::Sending;
use super::{
    EndCause, Event, Input, Io, Listener, Options, Outgoing, SLOT_MAX, Socket, Token, Wait, Waker,
    close_released,
};

/// Receives per connection and turn, so that one busy socket does not keep the others waiting.
const RECEIVES_PER_TURN: u32 = 4;
/// Bytes of one receive into a bulk; also how far its end is zeroed ahead.
const BULK_STEP_BYTES: usize = 256 * 1024;
/// Connections accepted per listener and turn.
const ACCEPTS_PER_TURN: u32 = 64;
/// Pause before accepting again after a failure that the reserve does not help against.
const ACCEPT_AGAIN_MS: u64 = 100;
/// Readiness events taken per turn; more stay in the kernel.
const EVENTS_PER_TURN: usize = 1024;
/// Pieces of one gathered send.
const PIECES_MAX: usize = 64;

/// Marks the tokens of listeners; slots are smaller.
const LISTENER_BASE: usize = SLOT_MAX as usize;
const WAKER: mio::Token = mio::Token(u32::MAX as usize);

/// One worker's epoll instance.
pub struct Epoll {
    poll: Poll,
    polled: Events,
    connections: Vec<Option<Connection>>,
    listeners: Vec<Option<Listening>>,
    reserve: Reserve,
    buffers: BufferPool,
    /// To be tried in this turn.
    queue: VecDeque<Token>,
    /// Found no buffer; in order of arrival.
    starved: VecDeque<Token>,
    ready: Vec<Event>,
    /// Sends that nobody waits for and that are done: they come with the next events.
    done_silently: Vec<Event>,
    waker: Waker,
    held_buffers_max: u16,
}

struct Connection {
    token: Token,
    socket: Socket,
    readable: bool,
    /// The peer's end of stream, or an error, was announced: receive until it is met.
    end_announced: bool,
    wanted: bool,
    /// In `queue` or `starved`.
    queued: bool,
    throttled: bool,
    held_count: u16,
    ended: Option<EndCause>,
    bulk: Option<Bulk>,
    sending: Option<Sending>,
    /// Registered for output too.
    watches_output: bool,
}

struct Bulk {
    bytes: BytesMut,
    len: usize,
}

struct Listening {
    listener: Listener,
    readable: bool,
    again_at: Option<Instant>,
}

/// What one receive found.
enum Found {
    Bytes,
    Nothing,
    NoBuffer,
    End(EndCause),
}

impl Epoll {
    /// Opens an epoll instance.
    pub fn open(options: &Options) -> io::Result<Epoll> {
        let poll = Poll::new()?;
        let waker = Waker::with_eventfd()?;
        let fd = waker.fd();
        poll.registry().register(&mut SourceFd(&fd), WAKER, Interest::READABLE)?;
        Ok(Epoll {
            poll,
            polled: Events::with_capacity(EVENTS_PER_TURN),
            connections: Vec::new(),
            listeners: Vec::new(),
            reserve: Reserve::new(options.refusal),
            buffers: BufferPool::new(options.buffer_count, options.buffer_bytes),
            queue: VecDeque::new(),
            starved: VecDeque::new(),
            ready: Vec::new(),
            done_silently: Vec::new(),
            waker,
            held_buffers_max: options.held_buffers_max.clamp(1, options.buffer_count.div_ceil(2)),
        })
    }

    /// The connection of a token that the worker may use now.
    ///
    /// # Panics
    /// If there is none: the worker used a token after closing it, or never attached it.
    fn connection(&mut self, token: Token) -> &mut Connection {
        let connection = self.connections[token.slot as usize].as_mut();
        let connection = connection.expect("the token is attached");
        assert_eq!(connection.token, token, "the token is of this generation");
        connection
    }

    fn connection_opt(&mut self, token: Token) -> Option<&mut Connection> {
        let connection = self.connections.get_mut(token.slot as usize)?.as_mut()?;
        (connection.token == token).then_some(connection)
    }

    /// Puts a connection into the queue if a receive may find something that is wanted.
    fn enqueue(&mut self, token: Token) {
        let connection = self.connection(token);
        if connection.may_receive() && !connection.queued {
            connection.queued = true;
            self.queue.push_back(token);
        }
    }

    /// Notes what the kernel announced.
    fn take_edges(&mut self) {
        let polled = std::mem::replace(&mut self.polled, Events::with_capacity(0));
        for edge in &polled {
            let key = edge.token();
            if key == WAKER {
                if self.waker.take() {
                    self.ready.push(Event::Woken);
                }
                continue;
            }
            if key.0 >= LISTENER_BASE {
                if let Some(Some(listening)) = self.listeners.get_mut(key.0 - LISTENER_BASE) {
                    listening.readable = true;
                }
                continue;
            }
            let Some(Some(connection)) = self.connections.get_mut(key.0) else {
                continue;
            };
            // The slot's user may have changed since the edge: an edge too many only costs an EAGAIN.
            let token = connection.token;
            if edge.is_readable() || edge.is_read_closed() || edge.is_error() {
                connection.readable = true;
                connection.end_announced |= edge.is_read_closed() || edge.is_error();
                self.enqueue(token);
            }
            if edge.is_writable() || edge.is_write_closed() || edge.is_error() {
                self.continue_send(token);
            }
        }
        self.polled = polled;
    }

    /// Receives for every connection that was queued when this began.
    fn receive_queued(&mut self) {
        for _ in 0..self.queue.len() {
            let token = self.queue.pop_front().expect("counted");
            let Some(connection) = self.connection_opt(token) else {
                continue;
            };
            connection.queued = false;
            self.receive_some(token);
        }
    }

    fn receive_some(&mut self, token: Token) {
        for _ in 0..RECEIVES_PER_TURN {
            if !self.connection(token).may_receive() {
                return;
            }
            let found = if self.connection(token).bulk.is_some() {
                self.receive_bulk(token)
            } else {
                self.receive_piece(token)
            };
            match found {
                Found::Bytes => {}
                Found::Nothing => return,
                Found::NoBuffer => {
                    self.connection(token).queued = true;
                    self.starved.push_back(token);
                    return;
                }
                Found::End(cause) => {
                    self.end_input(token, cause);
                    return;
                }
            }
        }
        self.enqueue(token);
    }

    fn receive_piece(&mut self, token: Token) -> Found {
        if !self.buffers.has_free() {
            return Found::NoBuffer;
        }
        let offered = self.buffers.buffer_bytes();
        let held_buffers_max = self.held_buffers_max;
        let connection =
            self.connections[token.slot as usize].as_mut().expect("callers hold a token that is attached");
        let mut socket = connection.socket.system();
        let lent = self.buffers.lend_with(token, |buffer| receive_once(&mut socket, buffer));
        match lent {
            Ok(Some(input)) => {
                connection.note_receive(input.len() < offered);
                connection.held_count += 1;
                connection.throttled = connection.held_count >= held_buffers_max;
                self.ready.push(Event::Received { token, input });
                Found::Bytes
            }
            Ok(None) => Found::End(EndCause::Eof),
            Err(error) => connection.receive_failed(&error),
        }
    }

    fn receive_bulk(&mut self, token: Token) -> Found {
        let connection = self.connection(token);
        let bulk = connection.bulk.as_mut().expect("callers saw it");
        let before = bulk.bytes.len();
        let step = (bulk.len - before).min(BULK_STEP_BYTES);
        bulk.bytes.resize(before + step, 0);
        let mut socket = connection.socket.system();
        let received = receive_once(&mut socket, &mut bulk.bytes[before..]);
        bulk.bytes.truncate(before + received.as_ref().map_or(0, |count| *count));
        let complete = bulk.bytes.len() == bulk.len;
        match received {
            Ok(0) => Found::End(EndCause::Eof),
            Ok(count) => {
                connection.note_receive(count < step);
                if complete {
                    self.finish_bulk(token, Ok(()));
                }
                Found::Bytes
            }
            Err(error) => connection.receive_failed(&error),
        }
    }

    fn end_input(&mut self, token: Token, cause: EndCause) {
        let connection = self.connection(token);
        assert!(connection.ended.is_none());
        connection.ended = Some(cause);
        connection.readable = false;
        if connection.bulk.is_some() {
            self.finish_bulk(token, Err(cause));
        } else {
            self.ready.push(Event::InputEnded { token, cause });
        }
    }

    fn finish_bulk(&mut self, token: Token, done: Result<(), EndCause>) {
        let bulk = self.connection(token).bulk.take();
        self.ready.push(Event::BulkReceived { token, bulk: bulk.expect("callers saw it").bytes, done });
    }

    /// Sends until everything is sent, the socket is full, or it fails.
    fn continue_send(&mut self, token: Token) {
        let connection = self.connections[token.slot as usize].as_mut();
        let connection = connection.expect("callers hold a token that is attached");
        let Some(mut sending) = connection.sending.take() else {
            return;
        };
        let result = loop {
            match send_once(&mut sending, connection.socket.system()) {
                Ok(_) if sending.is_finished() => break Ok(sending.total),
                Ok(0) => break Err(EndCause::Reset),
                Ok(_) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted => {}
                    io::ErrorKind::WouldBlock => match connection.watch_output(self.poll.registry(), true) {
                        Ok(()) => {
                            connection.sending = Some(sending);
                            return;
                        }
                        Err(error) => break Err(cause_of(&error)),
                    },
                    _ => break Err(cause_of(&error)),
                },
            }
        };
        // Where this fails, an edge too many is all that comes of it.
        connection.watch_output(self.poll.registry(), false).unwrap_or_default();
        self.ready.push(Event::Sent { token, outgoing: sending.outgoing, result });
    }

    fn accept_some(&mut self) {
        for (number, slot) in self.listeners.iter_mut().enumerate() {
            let Some(listening) = slot else {
                continue;
            };
            if listening.again_at.is_some_and(|at| at <= Instant::now()) {
                listening.again_at = None;
                listening.readable = true;
            }
            for _ in 0..ACCEPTS_PER_TURN {
                if !listening.readable {
                    break;
                }
                match listening.listener.system().accept() {
                    Ok((socket, _peer)) => {
                        let listener = number as u16;
                        self.ready.push(match self.reserve.admit(Socket::from(socket)) {
                            Some(socket) => Event::Accepted { listener, socket },
                            None => Event::Refused { listener },
                        });
                    }
                    Err(error) => match error.raw_os_error().unwrap_or(0) {
                        libc::EAGAIN => {
                            listening.readable = false;
                            self.reserve.refill();
                        }
                        libc::ECONNABORTED | libc::EINTR | libc::EPROTO => {}
                        errno if self.reserve.spend(errno) => {}
                        errno => {
                            let pause = Duration::from_millis(ACCEPT_AGAIN_MS);
                            listening.readable = false;
                            listening.again_at = Some(Instant::now() + pause);
                            self.ready.push(Event::AcceptFailed { listener: number as u16, errno });
                        }
                    },
                }
            }
        }
    }

    /// How long `epoll_wait` may sleep, given what is left to do.
    fn timeout(&self, wait: Wait) -> Option<Duration> {
        let accepts_left = self.listeners.iter().flatten().any(|l| l.readable);
        let busy = !self.ready.is_empty() || !self.queue.is_empty() || accepts_left;
        let asked = match wait {
            _ if busy => Some(Duration::ZERO),
            Wait::Poll => Some(Duration::ZERO),
            Wait::For(time) => Some(time),
            Wait::Forever => None,
        };
        let again_at = self.listeners.iter().flatten().filter_map(|l| l.again_at);
        match again_at.min() {
            Some(at) => {
                let pause = at.saturating_duration_since(Instant::now());
                Some(asked.map_or(pause, |asked| asked.min(pause)))
            }
            None => asked,
        }
    }
}

impl Connection {
    fn may_receive(&self) -> bool {
        let wanted = self.bulk.is_some() || (self.wanted && !self.throttled);
        self.readable && wanted && self.ended.is_none()
    }

    /// A receive that filled less than was offered emptied the socket: the next bytes make a new edge.
    /// An end of stream that was announced before makes none.
    fn note_receive(&mut self, short: bool) {
        if short && !self.end_announced {
            self.readable = false;
        }
    }

    /// Has the kernel tell when there is room for output, or no longer.
    fn watch_output(&mut self, registry: &Registry, on: bool) -> io::Result<()> {
        if self.watches_output == on {
            return Ok(());
        }
        let interest = if on { Interest::READABLE | Interest::WRITABLE } else { Interest::READABLE };
        let (fd, key) = (self.socket.system().as_raw_fd(), mio::Token(self.token.slot as usize));
        registry.reregister(&mut SourceFd(&fd), key, interest)?;
        self.watches_output = on;
        Ok(())
    }

    fn receive_failed(&mut self, error: &io::Error) -> Found {
        if error.kind() == io::ErrorKind::WouldBlock {
            self.readable = false;
            return Found::Nothing;
        }
        Found::End(cause_of(error))
    }
}

/// One `send` of what is left.
fn send_once(sending: &mut Sending, socket: &socket2::Socket) -> io::Result<usize> {
    let count = match &sending.outgoing {
        Outgoing::Flat(bytes) => socket.send_with_flags(&bytes[sending.sent..], libc::MSG_NOSIGNAL)?,
        Outgoing::Gather(pieces) => {
            let mut slices = [IoSlice::new(&[]); PIECES_MAX];
            let mut skip = sending.piece_sent;
            let rest = &pieces[sending.piece_index..];
            let used = rest.len().min(PIECES_MAX);
            for (slice, piece) in slices.iter_mut().zip(rest) {
                *slice = IoSlice::new(&piece[std::mem::take(&mut skip)..]);
            }
            socket.send_vectored_with_flags(&slices[..used], libc::MSG_NOSIGNAL)?
        }
    };
    sending.advance(count);
    Ok(count)
}

fn cause_of(error: &io::Error) -> EndCause {
    EndCause::from_errno(error.raw_os_error().unwrap_or(libc::EIO))
}

fn receive_once(socket: &mut &socket2::Socket, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match socket.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

impl Io for Epoll {
    fn accept(&mut self, listener: u16, from: Listener) -> io::Result<()> {
        from.system().set_nonblocking(true)?;
        let index = usize::from(listener);
        if self.listeners.len() <= index {
            self.listeners.resize_with(index + 1, || None);
        }
        assert!(self.listeners[index].is_none(), "the number is in use");
        let fd = from.system().as_raw_fd();
        let key = mio::Token(LISTENER_BASE + index);
        self.poll.registry().register(&mut SourceFd(&fd), key, Interest::READABLE)?;
        self.listeners[index] = Some(Listening { listener: from, readable: true, again_at: None });
        Ok(())
    }

    fn stop_accepting(&mut self) {
        for listening in self.listeners.drain(..).flatten() {
            let fd = listening.listener.system().as_raw_fd();
            // Other workers may share the socket, so closing our handle would not end its events.
            let _not_registered = self.poll.registry().deregister(&mut SourceFd(&fd));
        }
    }

    fn attach(&mut self, token: Token, socket: Socket) {
        assert!(token.slot < SLOT_MAX);
        let index = token.slot as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        assert!(self.connections[index].is_none(), "the slot is in use");
        let fd = socket.system().as_raw_fd();
        let registered = socket.system().set_nonblocking(true).and_then(|()| {
            let key = mio::Token(index);
            self.poll.registry().register(&mut SourceFd(&fd), key, Interest::READABLE)
        });
        let mut connection = Connection {
            token,
            socket,
            readable: true,
            end_announced: false,
            wanted: false,
            queued: false,
            throttled: false,
            held_count: 0,
            ended: None,
            bulk: None,
            sending: None,
            watches_output: false,
        };
        if let Err(error) = registered {
            let cause = cause_of(&error);
            connection.ended = Some(cause);
            self.ready.push(Event::InputEnded { token, cause });
        }
        self.connections[index] = Some(connection);
    }

    fn receive(&mut self, token: Token) {
        self.connection(token).wanted = true;
        self.enqueue(token);
    }

    fn pause(&mut self, token: Token) {
        self.connection(token).wanted = false;
    }

    fn receive_into(&mut self, token: Token, bulk: BytesMut, len: usize) {
        let connection = self.connection(token);
        assert!(connection.bulk.is_none(), "one bulk at a time");
        connection.wanted = false;
        let mut bulk = Bulk { bytes: bulk, len };
        let missing = len.saturating_sub(bulk.bytes.len());
        bulk.bytes.reserve(missing);
        connection.bulk = Some(bulk);
        let ended = connection.ended;
        if missing == 0 {
            self.finish_bulk(token, Ok(()));
        } else if let Some(cause) = ended {
            self.finish_bulk(token, Err(cause));
        } else {
            self.enqueue(token);
        }
    }

    fn send(&mut self, token: Token, outgoing: Outgoing) {
        let connection = self.connection(token);
        assert!(connection.sending.is_none(), "one send at a time");
        connection.sending = Some(Sending::new(outgoing));
        self.continue_send(token);
    }

    fn send_unawaited(&mut self, token: Token, outgoing: Outgoing) {
        self.send(token, outgoing);
        if let Some(sent) = self
            .ready
            .pop_if(|event| matches!(event, Event::Sent { token: of, result: Ok(_), .. } if *of == token))
        {
            self.done_silently.push(sent);
        }
    }

    fn close(&mut self, token: Token) {
        // Closing a token twice is allowed until its `Detached` is reaped.
        let Some(connection) = self.connection_opt(token) else {
            return close_released(&mut self.ready, token);
        };
        let sending = connection.sending.take();
        let fd = connection.socket.system().as_raw_fd();
        let _not_registered = self.poll.registry().deregister(&mut SourceFd(&fd));
        self.connections[token.slot as usize] = None;
        let buffers = &mut self.buffers;
        self.ready.retain_mut(|event| match event {
            Event::Received { token: of, input } if *of == token => {
                buffers.give_back(input.take());
                false
            }
            Event::BulkReceived { token: of, .. } | Event::InputEnded { token: of, .. } => *of != token,
            _ => true,
        });
        if let Some(sending) = sending {
            self.ready.push(Event::Sent { token, outgoing: sending.outgoing, result: Err(EndCause::Reset) });
        }
        self.ready.push(Event::Detached { token });
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
        // A token may be released until its `Detached` is reaped.
        let Some(connection) = self.connection_opt(token) else {
            return;
        };
        assert!(
            connection.sending.is_none() && connection.bulk.is_none(),
            "nothing but receives is in flight"
        );
        if connection.ended.is_some() {
            return;
        }
        let fd = connection.socket.system().as_raw_fd();
        let _not_registered = self.poll.registry().deregister(&mut SourceFd(&fd));
        let connection = self.connections[token.slot as usize].take().expect("it was just here");
        self.ready.push(Event::Released { token, socket: connection.socket });
    }

    fn turn(&mut self, wait: Wait) -> io::Result<()> {
        if self.buffers.has_free() {
            self.queue.append(&mut self.starved);
        }
        let timeout = self.timeout(wait);
        match self.poll.poll(&mut self.polled, timeout) {
            Ok(()) => self.take_edges(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        self.receive_queued();
        self.accept_some();
        Ok(())
    }

    fn reap(&mut self, events: &mut Vec<Event>) {
        events.append(&mut self.done_silently);
        events.append(&mut self.ready);
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
            self.enqueue(token);
        }
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn name(&self) -> &'static str {
        "epoll"
    }
}
