//! What `uring` keeps per connection: which operations are in flight, and the memory they own.
//!
//! Invariants:
//! - Of the multishot receive and the bulk receive, at most one is in flight.
//! - `Sending` and `Bulk` own the memory of their operation; they leave the connection only when it is
//!   not in flight. Their heap memory stays put when the structures move.
//!
//! Not here: the decisions (`uring`).

use std::os::fd::RawFd;
use std::ptr;

use bytes::BytesMut;

use super::super::sending::Sending;
use super::super::{EndCause, Outgoing, Socket, Token};

/// The kernel's limit on pieces of one message (`IOV_MAX`).
const PIECES_MAX: usize = 1024;
/// Bytes of one send or bulk receive operation; their lengths are 32 bits wide, results 31.
pub(super) const OPERATION_BYTES_MAX: usize = 1 << 30;

/// The state of the multishot receive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flow {
    /// Not in flight.
    Idle,
    /// In flight.
    Armed,
    /// In flight, and a cancel was submitted.
    Cancelling,
}

/// One attached connection.
pub(super) struct Connection {
    pub(super) token: Token,
    pub(super) socket: Socket,
    pub(super) fd: RawFd,
    pub(super) flow: Flow,
    /// The worker wants input.
    pub(super) wanted: bool,
    /// Waits in the list of those that found no buffer.
    pub(super) starved: bool,
    /// Holds so many buffers that its input was stopped.
    pub(super) throttled: bool,
    /// Is in the list of those to be looked at for throttling.
    pub(super) suspected: bool,
    /// Is in the list of those whose input may have ended without a completion.
    pub(super) doubted: bool,
    /// The last look found bytes, and none were delivered since.
    pub(super) unread: bool,
    pub(super) closing: bool,
    /// The worker wants the socket back.
    pub(super) releasing: bool,
    /// Buffers lent out and not given back.
    pub(super) held_count: u16,
    pub(super) ended: Option<EndCause>,
    pub(super) bulk: Option<Box<Bulk>>,
    pub(super) sending: Option<Sending>,
    /// The send succeeds without a completion: it is done once it was submitted, unless one says otherwise.
    pub(super) silent: bool,
    /// Kept from one gathered send to the next.
    pub(super) message: Option<Box<Message>>,
}

impl Connection {
    pub(super) fn new(token: Token, socket: Socket) -> Connection {
        Connection {
            token,
            fd: socket.as_raw_fd(),
            socket,
            flow: Flow::Idle,
            wanted: false,
            starved: false,
            throttled: false,
            suspected: false,
            doubted: false,
            unread: false,
            closing: false,
            releasing: false,
            held_count: 0,
            ended: None,
            bulk: None,
            sending: None,
            silent: false,
            message: None,
        }
    }

    /// Whether a completion is still to come.
    pub(super) fn is_busy(&self) -> bool {
        let bulk_in_flight = self.bulk.as_ref().is_some_and(|bulk| bulk.in_flight);
        self.flow != Flow::Idle || bulk_in_flight || self.sending.is_some()
    }
}

/// A bulk that is being filled.
pub(super) struct Bulk {
    pub(super) bytes: BytesMut,
    pub(super) len: usize,
    pub(super) in_flight: bool,
}

impl Bulk {
    pub(super) fn new(mut bytes: BytesMut, len: usize) -> Bulk {
        let missing = len.saturating_sub(bytes.len());
        bytes.reserve(missing);
        Bulk { bytes, len, in_flight: false }
    }

    pub(super) fn missing(&self) -> usize {
        self.len.saturating_sub(self.bytes.len())
    }

    /// Takes what is missing from the start of `piece`; says how much that was.
    pub(super) fn copy_from(&mut self, piece: &[u8]) -> usize {
        assert!(!self.in_flight, "the kernel owns the bulk's end");
        let taken = piece.len().min(self.missing());
        self.bytes.extend_from_slice(&piece[..taken]);
        taken
    }

    /// Where the kernel shall write, and how much at most.
    pub(super) fn target(&mut self) -> (*mut u8, u32) {
        let len = self.missing().min(OPERATION_BYTES_MAX);
        let spare = self.bytes.spare_capacity_mut();
        assert!(spare.len() >= len, "reserved at the start");
        (spare.as_mut_ptr().cast(), len as u32)
    }

    /// The kernel wrote `count` bytes at the target.
    pub(super) fn filled(&mut self, count: usize) {
        assert!(count <= self.missing());
        let len = self.bytes.len() + count;
        // SAFETY: `len` is within the capacity reserved in `new`, and the completion says that the
        // kernel initialised `count` bytes from the old end on.
        unsafe { self.bytes.set_len(len) };
    }
}

/// What one send operation transmits.
pub(super) enum Part<'a> {
    Flat(&'a [u8]),
    Gathered(*const libc::msghdr),
}

/// What is to be sent next. A gathered part is described in `message`, which must stay until the
/// completion, as `sending` must.
pub(super) fn next_part<'a>(sending: &'a Sending, message: &mut Option<Box<Message>>) -> Part<'a> {
    assert!(!sending.is_finished());
    match &sending.outgoing {
        Outgoing::Flat(bytes) => {
            let end = bytes.len().min(sending.sent + OPERATION_BYTES_MAX);
            Part::Flat(&bytes[sending.sent..end])
        }
        Outgoing::Gather(pieces) => {
            let message = message.get_or_insert_with(Message::new);
            let rest = &pieces[sending.piece_index..];
            Part::Gathered(message.describe(rest, sending.piece_sent))
        }
    }
}

/// A message header and the pieces it points to, at fixed addresses.
pub(super) struct Message {
    header: libc::msghdr,
    pieces: Vec<libc::iovec>,
}

impl Message {
    fn new() -> Box<Message> {
        Box::new(Message {
            header: libc::msghdr {
                msg_name: ptr::null_mut(),
                msg_namelen: 0,
                msg_iov: ptr::null_mut(),
                msg_iovlen: 0,
                msg_control: ptr::null_mut(),
                msg_controllen: 0,
                msg_flags: 0,
            },
            pieces: Vec::new(),
        })
    }

    /// Describes as much of `pieces`, after `skip` bytes of the first, as one message may hold.
    fn describe(&mut self, pieces: &[bytes::Bytes], skip: usize) -> *const libc::msghdr {
        self.pieces.clear();
        let (mut skip, mut room) = (skip, OPERATION_BYTES_MAX);
        for piece in pieces {
            if self.pieces.len() == PIECES_MAX || room == 0 {
                break;
            }
            let piece = &piece[std::mem::take(&mut skip)..];
            if piece.is_empty() {
                continue;
            }
            let len = piece.len().min(room);
            room -= len;
            self.pieces.push(libc::iovec { iov_base: piece.as_ptr().cast_mut().cast(), iov_len: len });
        }
        self.header.msg_iov = self.pieces.as_mut_ptr();
        self.header.msg_iovlen = self.pieces.len();
        &raw const self.header
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn message_is_limited_to_what_the_kernel_takes() {
        let pieces = vec![Bytes::from_static(b"xy"); PIECES_MAX + 5];
        let mut message = Message::new();
        message.describe(&pieces, 1);
        assert_eq!(message.pieces.len(), PIECES_MAX);
        assert_eq!(message.pieces[0].iov_len, 1);
        assert_eq!(message.pieces[1].iov_len, 2);
    }

    #[test]
    fn bulk_takes_no_more_than_it_lacks() {
        let mut bulk = Bulk::new(BytesMut::from(&b"ab"[..]), 5);
        assert_eq!(bulk.copy_from(b"c"), 1);
        assert_eq!(bulk.copy_from(b"defg"), 2);
        assert_eq!(bulk.missing(), 0);
        assert_eq!(&bulk.bytes[..], b"abcde");
    }
}
