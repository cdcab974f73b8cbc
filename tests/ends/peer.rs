//! One client of the generator over sockets: brought to a point, and how it ends there.

use std::io::{self, Read};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use super::points::{GOINGS, Going, Point, Said, Sizes};
use crate::harness::{REPLY_TIMEOUT, Rng, Server, command};

/// What is said: more than the kernel's buffers hold, where that matters.
pub const SIZES: Sizes =
    Sizes { commands_max: 3000, bulk_bytes: 200_000, big_bytes: 256 << 10, big_count: 40 };
/// Of so many clients one does not read: it costs as much as hundreds of others.
const UNREAD_ONCE_IN: usize = 150;

/// A client at its point.
pub struct Peer {
    pub point: Point,
    socket: Socket,
    /// What it gets for what it has sent until now, and has not read.
    replies: Vec<u8>,
    /// Whether that is all, whatever others do.
    is_all: bool,
}

fn connect(server: &Server, rng: &mut Rng) -> io::Result<Socket> {
    let socket = if rng.once_in(2) {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.connect(&SockAddr::unix(server.socket())?)?;
        socket
    } else {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        // Connections that were closed keep their ports for a while, so there must be more than one address has.
        let from = Ipv4Addr::new(127, 0, 1 + rng.below(200) as u8, 1 + rng.below(200) as u8);
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&server.tcp().into())?;
        socket
    };
    socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
    socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
    Ok(socket)
}

impl Peer {
    /// A client that goes to one of these points; its keys have this number in their names.
    pub fn new(server: &Server, points: &[Point], number: u64, rng: &mut Rng) -> Self {
        let point = if rng.once_in(UNREAD_ONCE_IN) { Point::OutputUnread } else { *rng.pick(points) };
        let socket = connect(server, rng).unwrap_or_else(|error| panic!("cannot connect: {error}"));
        let mut peer = Self { point, socket, replies: Vec::new(), is_all: true };
        // Who has had a reply may move to another worker, and has its receive armed before the next bytes come.
        if point != Point::Fresh && rng.once_in(2) {
            peer.send(&command(&["PING"]), b"+PONG\r\n");
            peer.read_replies();
        }
        let Said { bytes, replies, is_all } = point.say(number, &SIZES, rng);
        peer.send(&bytes, &replies);
        peer.is_all = is_all;
        if point == Point::Idle {
            peer.read_replies();
        }
        peer
    }

    fn send(&mut self, bytes: &[u8], replies: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let sent = self.socket.send(left).unwrap_or_else(|error| panic!("{:?}: {error}", self.point));
            left = &left[sent..];
        }
        self.replies.extend_from_slice(replies);
    }

    fn read_replies(&mut self) {
        let mut got = vec![0; self.replies.len()];
        let read = (&self.socket).read_exact(&mut got);
        read.unwrap_or_else(|error| panic!("{:?}: {error}", self.point));
        assert!(got == self.replies, "{:?}: {}", self.point, got.escape_ascii());
        self.replies.clear();
    }

    /// Ends; how long the server took to end its side, where the client stays to see that.
    pub fn end(self, rng: &mut Rng) -> Option<Duration> {
        match rng.pick(&GOINGS) {
            Going::Close => None,
            Going::Reset => {
                self.socket.set_linger(Some(Duration::ZERO)).expect("the socket is open");
                None
            }
            Going::HalfClose => {
                self.socket.shutdown(Shutdown::Write).expect("the socket is open");
                Some(self.read_to_end())
            }
        }
    }

    /// Reads all that is left, which is what it has asked for and no more, and the end.
    fn read_to_end(&self) -> Duration {
        let began = Instant::now();
        let mut got = Vec::with_capacity(self.replies.len());
        let read = (&self.socket).read_to_end(&mut got);
        read.unwrap_or_else(|error| panic!("{:?}, half closed: {error}", self.point));
        let (count, awaited) = (got.len(), self.replies.len());
        assert!(got == self.replies || !self.is_all, "{:?}: {count} bytes instead of {awaited}", self.point);
        began.elapsed()
    }
}
