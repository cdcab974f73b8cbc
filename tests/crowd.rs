//! Five thousand clients at once, all of them sending: none is refused, and none is starved.
//!
//! One thread drives them all without blocking: each has one pair of commands under way, and sends the next when it has the
//! replies. How fast the machine is does not matter: what is compared is how far the clients have come when half of them are done.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::harness::{PATIENCE, Server, command, raise_open_files};

const CLIENTS: usize = 5_000;
/// Pairs of commands after which a client is done.
const PAIRS: u32 = 20;
/// The slowest client is at most so many times slower than half of them.
const SLOWER_MAX: u32 = 3;
/// Descriptors of the test's own besides the clients'.
const FILES_RESERVED: u64 = 200;

/// One client; its replies are known in advance.
struct Guest {
    stream: TcpStream,
    expected: Vec<u8>,
    received: usize,
    pairs: u32,
}

impl Guest {
    fn ask(&mut self, commands: &[u8], expected: &[u8]) {
        self.stream.write_all(commands).expect("few bytes fit into the socket's buffer");
        self.expected.clear();
        self.expected.extend_from_slice(expected);
        self.received = 0;
    }

    fn ask_pair(&mut self, number: usize) {
        let (key, value) = (format!("key:{number}"), format!("{number}:{}", self.pairs));
        let commands = [command(&["SET", &key, &value]), command(&["GET", &key])].concat();
        self.ask(&commands, format!("+OK\r\n${}\r\n{value}\r\n", value.len()).as_bytes());
    }

    /// Reads what there is; whether all replies are here.
    fn is_answered(&mut self, number: usize) -> bool {
        let mut bytes = [0; 256];
        while self.received < self.expected.len() {
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("client {number} was closed"),
                Ok(len) => {
                    let got = &bytes[..len];
                    assert_eq!(Some(got), self.expected.get(self.received..self.received + len), "{number}");
                    self.received += len;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("client {number}: {error}"),
            }
        }
        true
    }
}

/// All clients and what they wait with.
struct Crowd {
    poll: Poll,
    events: Events,
    guests: Vec<Guest>,
}

impl Crowd {
    /// Connects them all, none waiting for another, until each has had a reply.
    fn gather(address: SocketAddr) -> Self {
        let poll = Poll::new().expect("the system has epoll");
        let guest = |number| {
            let mut stream = TcpStream::connect(address).expect("it has only begun");
            let interest = Interest::READABLE.add(Interest::WRITABLE);
            poll.registry().register(&mut stream, Token(number), interest).expect("it is new");
            Guest { stream, expected: Vec::new(), received: 0, pairs: 0 }
        };
        let guests = (0..CLIENTS).map(guest).collect();
        let mut crowd = Self { poll, events: Events::with_capacity(1024), guests };
        let mut greeted = 0;
        crowd.serve("connecting", |number, guest| {
            if guest.expected.is_empty() {
                assert!(guest.stream.take_error().is_ok_and(|error| error.is_none()), "{number} is refused");
                if guest.stream.peer_addr().is_ok() {
                    guest.ask(&command(&["PING"]), b"+PONG\r\n");
                }
            } else if guest.received < guest.expected.len() && guest.is_answered(number) {
                greeted += 1;
            }
            greeted == CLIENTS
        });
        crowd
    }

    /// Lets the clients that have something to do act, until `act` says that this is enough.
    fn serve(&mut self, what: &str, mut act: impl FnMut(usize, &mut Guest) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            assert!(Instant::now() < end, "{what} takes too long");
            self.poll.poll(&mut self.events, Some(Duration::from_secs(1))).expect("epoll waits");
            for event in &self.events {
                let Token(number) = event.token();
                if act(number, &mut self.guests[number]) {
                    return;
                }
            }
        }
    }
}

#[test]
fn five_thousand_clients_are_served_alike() {
    raise_open_files(CLIENTS as u64 + FILES_RESERVED);
    for backend in ["io_uring", "epoll"] {
        let maxclients = (CLIENTS + 10).to_string();
        let server = Server::start_tcp(&[
            "--workers",
            "2",
            "--io-backend",
            backend,
            "--maxclients",
            &maxclients,
            "--tcp-backlog",
            "4096",
        ]);
        let mut crowd = Crowd::gather(server.tcp());
        for (number, guest) in crowd.guests.iter_mut().enumerate() {
            guest.ask_pair(number);
        }
        let mut done = 0;
        crowd.serve("working", |number, guest| {
            if guest.is_answered(number) {
                guest.pairs += 1;
                done += usize::from(guest.pairs == PAIRS);
                guest.ask_pair(number);
            }
            done == CLIENTS / 2
        });
        let slowest = crowd.guests.iter().map(|guest| guest.pairs).min().expect("there are some");
        assert!(slowest * SLOWER_MAX >= PAIRS, "{backend}: half did {PAIRS} pairs, the slowest {slowest}");
    }
}
