//! Completion-based input and output for one worker: submit operations, take one turn, reap events.
//!
//! Design: the interface is io_uring's shape (operations own their memory until a completion returns
//! it) because a readiness interface can be built under it at no cost, and not the other way round.
//! Three backends implement [`Io`]: [`uring`], [`epoll`] for kernels and containers that forbid
//! io_uring, and [`sim`] for tests. The worker is generic over them, so no call is dynamic.
//!
//! ```text
//!   attach -> receive -> Received*  -> InputEnded          (events of one token are in stream order)
//!                 \-> receive_into -> BulkReceived -> receive -> ...
//!             send -> Sent -> send -> ...                  (at most one in flight)
//!             close -> ... -> Detached                     (the slot may be used again)
//!             release -> Received* -> Released             (likewise; the socket may be attached elsewhere)
//! ```
//!
//! Invariants:
//! - Memory handed to an operation belongs to it until its last completion.
//! - A slot is kept until its last completion; events of an older generation never leave this module.
//! - After `close`, a token yields nothing but the `Sent` of its send in flight, and then `Detached`.
//! - After `release`, no byte of the stream is lost: it was received before `Released`, or will be where the socket goes.
//!
//! Costs: [`Io::turn`] is the only system call of a turn in `uring`; `epoll` pays one per readiness
//! check, receive and send. Nothing is allocated per event.
//!
//! Not here: what the bytes mean (`resp`), what a connection is (`net`), when to turn (`worker`).

mod blocking;
mod buffers;
pub mod epoll;
mod reserve;
mod sending;
pub mod sim;
mod socket;
pub mod tls;
pub mod uring;
mod waker;

use std::fmt;
use std::io;
use std::sync::Once;
use std::time::Duration;

use bytes::{Bytes, BytesMut};

pub use blocking::{BlockingSocket, SocketHandle};
pub use socket::{Listener, Socket};
pub use waker::Waker;

/// Names one connection of one worker: an index the worker chose, and how often it was used before.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct Token {
    /// Index into the worker's connections; small numbers, because backends index by it.
    pub slot: u32,
    /// Distinguishes successive users of a slot; only the low [`GENERATION_BITS`] bits are compared.
    pub generation: u32,
}

/// How many bits of a generation the backends carry through the kernel.
pub const GENERATION_BITS: u32 = 28;
/// Slots at or above this are refused: they would make the tables indexed by slot absurdly large.
pub const SLOT_MAX: u32 = 1 << 24;

impl Token {
    /// The part of the generation that backends compare.
    fn generation_packed(self) -> u32 {
        self.generation & ((1 << GENERATION_BITS) - 1)
    }
}

/// A received piece of a stream, lying in a buffer of the backend.
///
/// Look at it with [`Io::input`]; it must go back with [`Io::give_back`], or its buffer is lost.
#[derive(Debug)]
#[must_use = "an input that is not given back takes its buffer out of use for good"]
pub struct Input {
    buffer: u16,
    start: u32,
    len: u32,
}

impl Input {
    /// Length in bytes; never zero.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Takes the input out of an event that is dropped.
    fn take(&mut self) -> Input {
        let Input { buffer, start, len } = *self;
        self.len = 0;
        Input { buffer, start, len }
    }

    /// Always false: the end of a stream is an [`Event::InputEnded`], not an empty input.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What a send transmits; owned by the operation until [`Event::Sent`] returns it.
#[derive(Debug)]
pub enum Outgoing {
    /// One run of bytes.
    Flat(Vec<u8>),
    /// Several pieces, sent in order from where they lie.
    Gather(Vec<Bytes>),
}

impl Outgoing {
    /// Bytes in all.
    pub fn byte_count(&self) -> usize {
        match self {
            Outgoing::Flat(bytes) => bytes.len(),
            Outgoing::Gather(pieces) => pieces.iter().map(Bytes::len).sum(),
        }
    }
}

/// Why a direction of a stream ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EndCause {
    /// The peer finished sending.
    Eof,
    /// The peer, or a close of ours, broke the connection.
    Reset,
    /// The peer no longer answers.
    TimedOut,
    /// Any other errno.
    Error(i32),
}

impl EndCause {
    /// The cause that an errno (positive) stands for.
    pub fn from_errno(errno: i32) -> EndCause {
        match errno {
            libc::ECONNRESET | libc::EPIPE | libc::ECONNABORTED | libc::ECANCELED => EndCause::Reset,
            libc::ETIMEDOUT => EndCause::TimedOut,
            other => EndCause::Error(other),
        }
    }
}

/// What happened, as [`Io::reap`] reports it.
#[derive(Debug)]
pub enum Event {
    /// A connection arrived at `listener`; attach it here or at another worker.
    Accepted {
        /// The number given to [`Io::accept`].
        listener: u16,
        /// The connection.
        socket: Socket,
    },
    /// A connection found no descriptor: it was told [`Options::refusal`] and closed.
    Refused {
        /// The number given to [`Io::accept`].
        listener: u16,
    },
    /// Accepting failed, and nobody could be told; the backend tries again after a pause.
    AcceptFailed {
        /// The number given to [`Io::accept`].
        listener: u16,
        /// Positive errno.
        errno: i32,
    },
    /// Bytes arrived.
    Received {
        /// Where.
        token: Token,
        /// The bytes; give them back.
        input: Input,
    },
    /// Bytes arrived encrypted, and were decrypted.
    Decrypted {
        /// Where.
        token: Token,
        /// The bytes; at least one.
        bytes: Vec<u8>,
    },
    /// The handshake of an encrypted connection is over.
    Established {
        /// Which.
        token: Token,
        /// The client's certificate, in DER, if it has shown one.
        certificate: Option<Vec<u8>>,
    },
    /// The handshake of an encrypted connection has failed: it is to be closed.
    HandshakeFailed {
        /// Which.
        token: Token,
        /// What was wrong.
        reason: String,
    },
    /// A [`Io::receive_into`] finished.
    BulkReceived {
        /// Where.
        token: Token,
        /// Filled to the length asked for, or less where `done` is an error.
        bulk: BytesMut,
        /// An error is the end of the input: no `InputEnded` follows.
        done: Result<(), EndCause>,
    },
    /// No more input will come.
    InputEnded {
        /// Where.
        token: Token,
        /// Why.
        cause: EndCause,
    },
    /// A send finished.
    Sent {
        /// Where.
        token: Token,
        /// What was sent, for reuse.
        outgoing: Outgoing,
        /// Bytes sent, always all of them; or why not.
        result: Result<usize, EndCause>,
    },
    /// The last completion after [`Io::close`] has arrived; the slot may be used again.
    Detached {
        /// Which.
        token: Token,
    },
    /// The last completion after [`Io::release`] has arrived; the slot may be used again.
    Released {
        /// Which.
        token: Token,
        /// Its socket, to be attached elsewhere.
        socket: Socket,
    },
    /// A [`Waker`] was used since the last `Woken`.
    Woken,
}

/// How long a turn may wait for the first event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// Not at all: there is other work.
    Poll,
    /// At most this long.
    For(Duration),
    /// Until something happens.
    Forever,
}

/// A worker's input and output. See the module's header for the life of a token.
pub trait Io {
    /// Starts accepting connections from `from`, reported under the number `listener`.
    fn accept(&mut self, listener: u16, from: Listener) -> io::Result<()>;

    /// Stops accepting and closes the listeners; connections already accepted may still be reported.
    fn stop_accepting(&mut self);

    /// Takes over `socket` under `token`, whose slot must be free. Nothing is received before `receive`.
    fn attach(&mut self, token: Token, socket: Socket);

    /// Starts or resumes input; without effect where input flows already or has ended.
    fn receive(&mut self, token: Token);

    /// Stops input for back-pressure. What has completed already may still be delivered.
    fn pause(&mut self, token: Token);

    /// The next bytes of the stream go straight to the end of `bulk` until it has `len` bytes, then
    /// input stops; [`Io::receive`] resumes it.
    ///
    /// Every [`Event::Received`] of this token that was reaped must have been consumed before. Bytes
    /// that reach the backend's buffers before the switch takes effect are copied; if they go past the
    /// end of `bulk`, the rest is delivered as `Received` after `BulkReceived`.
    fn receive_into(&mut self, token: Token, bulk: BytesMut, len: usize);

    /// Sends all of `outgoing`, which must not be empty; at most one send per token is in flight.
    fn send(&mut self, token: Token, outgoing: Outgoing);

    /// As `send`, for a worker that does nothing when the send finishes but keep the buffer: [`Event::Sent`] need not end
    /// the wait of a turn, and comes with the next events.
    fn send_unawaited(&mut self, token: Token, outgoing: Outgoing) {
        self.send(token, outgoing);
    }

    /// Ends the connection: cancels what is in flight, closes the socket, reports `Detached`.
    fn close(&mut self, token: Token);

    /// Sends what the socket takes at once: a last word before `close`, while no send is in flight.
    fn send_last(&mut self, token: Token, bytes: &[u8]);

    /// What is sent may wait a little for more, so that packets are larger.
    fn fill_packets(&mut self, token: Token);

    /// Gives the socket back to be attached elsewhere, as `Released`, once its receives have ended; no send and no large
    /// receive may be in flight. Where the input ends meanwhile, or has, that is reported and the token stays attached. A
    /// `close` takes precedence.
    fn release(&mut self, token: Token);

    /// Submits what was asked for and waits for events. Returns early, without error, on a signal.
    fn turn(&mut self, wait: Wait) -> io::Result<()>;

    /// Appends what has happened to `events`.
    fn reap(&mut self, events: &mut Vec<Event>);

    /// Looks, before the next wait, whether the input of `token` has ended without a word: for a worker that begins to wait
    /// for something on behalf of its client.
    fn look_for_end(&mut self, _token: Token) {}

    /// The same for all connections that have sent something since the last time. Called a few times a second.
    fn look_for_ends(&mut self) {}

    /// The bytes of `input`.
    fn input(&self, input: &Input) -> &[u8];

    /// Returns the buffer of `input` for reuse.
    fn give_back(&mut self, input: Input);

    /// A handle that ends the wait of this `Io` from any thread.
    fn waker(&self) -> Waker;

    /// The backend's name, as users write it in the configuration.
    fn name(&self) -> &'static str;

    /// How many handshakes of encrypted connections may go on in each turn.
    fn limit_handshakes(&mut self, _per_turn: u32) {}

    /// Whether the handshake of an encrypted connection is still under way.
    fn is_handshaking(&self, _token: Token) -> bool {
        false
    }

    /// Called where it matters that the thread may lose its processor: while it holds leases, and between announcing
    /// that it will sleep and sleeping. Only the simulation makes anything of it: there, other workers run meanwhile.
    #[inline(always)]
    fn yield_point(&self) {}
}

/// How a backend is set up. The defaults suit a worker with up to tens of thousands of connections.
#[derive(Clone, Debug)]
pub struct Options {
    /// Submission queue entries; more submissions in one turn cost one more system call.
    pub entries: u32,
    /// Completion queue entries.
    pub cq_entries: u32,
    /// Receive buffers, a power of two up to 32768; all connections of the worker share them.
    pub buffer_count: u16,
    /// Bytes of one receive buffer.
    pub buffer_bytes: u32,
    /// Buffers that one connection may hold at the end of a turn before its input is paused.
    pub held_buffers_max: u16,
    /// Let a kernel thread submit, so that a busy worker makes no system calls.
    pub sqpoll: Option<SqPoll>,
    /// Poll the network device for this long before sleeping; needs a device that supports it.
    pub napi_busy_poll_us: Option<u32>,
    /// What clients are told while the process may open no more files.
    pub refusal: &'static [u8],
}

/// The kernel's submission thread.
#[derive(Clone, Debug)]
pub struct SqPoll {
    /// Sleep after this long without submissions.
    pub idle_ms: u32,
    /// Pin the thread to this CPU.
    pub cpu: Option<u32>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            entries: 1024,
            cq_entries: 8192,
            buffer_count: 512,
            buffer_bytes: 16 * 1024,
            held_buffers_max: 32,
            sqpoll: None,
            napi_busy_poll_us: None,
            refusal: b"",
        }
    }
}

/// Which backend to open (`io-backend` in the configuration).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackendKind {
    /// io_uring where the kernel has all that is needed, else epoll.
    Auto,
    /// io_uring or an error.
    IoUring,
    /// epoll.
    Epoll,
}

/// Why a backend could not be opened: what was missing, and what to do.
#[derive(Debug)]
pub struct OpenError {
    /// The feature or step that failed, in words.
    pub missing: &'static str,
    /// The system's answer.
    pub error: io::Error,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not available: {}", self.missing, self.error)
    }
}

impl std::error::Error for OpenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}

/// An opened backend; the caller starts its worker with the one inside.
#[expect(clippy::large_enum_variant, reason = "there is one per worker, and it is unpacked at once")]
pub enum Backend {
    /// io_uring.
    Uring(uring::Uring),
    /// epoll.
    Epoll(epoll::Epoll),
}

/// Opens the backend `kind` asks for, on the thread that will use it, and says once why it is not the first choice.
pub fn open(kind: BackendKind, options: &Options) -> Result<Backend, OpenError> {
    let open_epoll = || {
        let epoll = epoll::Epoll::open(options).map_err(|error| OpenError { missing: "epoll", error })?;
        Ok(Backend::Epoll(epoll))
    };
    match kind {
        BackendKind::Epoll => {
            log::debug!("io backend: epoll, as configured");
            open_epoll()
        }
        BackendKind::IoUring => {
            let uring = uring::Uring::open(options)?;
            log::debug!("io backend: io_uring, as configured");
            Ok(Backend::Uring(uring))
        }
        BackendKind::Auto => match uring::Uring::open(options) {
            Ok(uring) => {
                log::debug!("io backend: io_uring");
                Ok(Backend::Uring(uring))
            }
            Err(reason) => {
                // Each worker opens one, for the same reason.
                static SAID: Once = Once::new();
                SAID.call_once(|| log::warn!("io backend: epoll, because {reason}"));
                open_epoll()
            }
        },
    }
}

/// A token is closed that is not attached any more: if its `Released` was not reaped yet, it is detached instead, and its
/// socket closed.
fn close_released(ready: &mut [Event], token: Token) {
    let is_released = |event: &&mut Event| matches!(event, Event::Released { token: of, .. } if *of == token);
    if let Some(event) = ready.iter_mut().find(is_released) {
        *event = Event::Detached { token };
    }
}

const _: () = assert!(size_of::<Event>() <= 64, "events are moved by the thousand");

#[cfg(test)]
mod floor;
#[cfg(test)]
mod tests;
