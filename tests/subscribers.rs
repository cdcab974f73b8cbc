//! Ten thousand subscribers of one channel: all get all messages in one order, and none waits long for the others.
//!
//! One thread reads them all without blocking. All are to get the same bytes, so each only knows how many of them it has had. How fast
//! the machine is does not matter: what is compared is how far the others are when half of them have all.

use std::io::{ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::UnixStream;
use mio::{Events, Interest, Poll, Token};

use crate::harness::{PATIENCE, Server, command, raise_open_files};

const SUBSCRIBERS: usize = 10_000;
const MESSAGES: usize = 100;
/// The slowest has at least this part of the messages when half of the subscribers have all.
const SLOWER_MAX: usize = 3;
/// Descriptors of the test's own besides the subscribers'.
const FILES_RESERVED: u64 = 200;

struct Subscriber {
    stream: UnixStream,
    received: usize,
}

impl Subscriber {
    /// Reads what there is, which is to go on as `expected` does; whether that is all.
    fn has_all(&mut self, expected: &[u8]) -> bool {
        let mut bytes = [0; 4096];
        while self.received < expected.len() {
            match self.stream.read(&mut bytes) {
                Ok(0) => panic!("a subscriber was closed"),
                Ok(len) => {
                    let next = expected.get(self.received..self.received + len);
                    assert!(next == Some(&bytes[..len]), "another message than the next one");
                    self.received += len;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) => panic!("a subscriber: {error}"),
            }
        }
        true
    }
}

/// Reads from all until `count` of them have all that is expected, whose ends are added to those `done` before.
fn read_until(
    server: &Server,
    poll: &mut Poll,
    subscribers: &mut [Subscriber],
    expected: &[u8],
    done: &mut [bool],
    count: usize,
) {
    let (end, mut events) = (Instant::now() + PATIENCE, Events::with_capacity(1024));
    let mut done_count = done.iter().filter(|done| **done).count();
    while done_count < count {
        if Instant::now() > end {
            let waiting = subscribers.iter().find(|subscriber| subscriber.received < expected.len());
            let received = waiting.map_or(0, |subscriber| subscriber.received);
            let workers = server.client().ask("INFO workers").string();
            let expected = expected.len();
            panic!("{done_count} of {count} have all, another {received} of {expected} bytes:\n{workers}");
        }
        poll.poll(&mut events, Some(Duration::from_secs(1))).expect("epoll waits");
        for Token(number) in events.iter().map(|event| event.token()) {
            if subscribers[number].has_all(expected) && !std::mem::replace(&mut done[number], true) {
                done_count += 1;
            }
        }
    }
}

#[test]
fn ten_thousand_subscribers_get_all_messages() {
    raise_open_files(SUBSCRIBERS as u64 + FILES_RESERVED);
    let maxclients = (SUBSCRIBERS + 10).to_string();
    let server = Server::start(&["--workers", "2", "--maxclients", &maxclients, "--tcp-backlog", "4096"]);
    let mut poll = Poll::new().expect("the system has epoll");
    let subscribe = command(&["SUBSCRIBE", "ch"]);
    let mut subscribers: Vec<Subscriber> = (0..SUBSCRIBERS)
        .map(|number| {
            let stream = std::os::unix::net::UnixStream::connect(server.socket()).expect("it listens");
            stream.set_nonblocking(true).expect("a socket can");
            let mut stream = UnixStream::from_std(stream);
            poll.registry().register(&mut stream, Token(number), Interest::READABLE).expect("it is new");
            stream.write_all(&subscribe).expect("few bytes fit");
            Subscriber { stream, received: 0 }
        })
        .collect();
    let mut expected = b"*3\r\n$9\r\nsubscribe\r\n$2\r\nch\r\n:1\r\n".to_vec();
    read_until(&server, &mut poll, &mut subscribers, &expected, &mut vec![false; SUBSCRIBERS], SUBSCRIBERS);

    let mut publisher = server.client();
    let before_bytes = server.resident_bytes();
    let texts: Vec<String> = (0..MESSAGES).map(|number| format!("{number:064}")).collect();
    for text in &texts {
        publisher.send(&["PUBLISH", "ch", text]).expect("it reads");
        expected.extend(command(&["message", "ch", text]));
    }
    let mut done = vec![false; SUBSCRIBERS];
    read_until(&server, &mut poll, &mut subscribers, &expected, &mut done, SUBSCRIBERS / 2);
    let slowest = subscribers.iter().map(|subscriber| subscriber.received).min().expect("there are some");
    assert!(
        slowest * SLOWER_MAX >= expected.len(),
        "half have {} bytes, the slowest {slowest}",
        expected.len()
    );
    read_until(&server, &mut poll, &mut subscribers, &expected, &mut done, SUBSCRIBERS);
    for _ in &texts {
        assert_eq!(publisher.read().expect("a reply").int(), Some(SUBSCRIBERS as i64));
    }
    // Even had nobody read before the last message, each would have held no more than the messages' bytes, in buffers that double.
    let grown_bytes = server.resident_bytes().saturating_sub(before_bytes) as usize;
    assert!(grown_bytes < 2 * SUBSCRIBERS * expected.len(), "{grown_bytes} bytes more");
}
