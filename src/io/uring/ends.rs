//! Input and ends of input that the kernel does not report: looking for them.
//!
//! A multishot receive takes what has arrived and is told how much is left; if that is nothing it waits for the next wake-up.
//! When two things arrive between a receive's first look, which finds nothing, and its entry into the socket's wait queue, they
//! are one event to it; in older kernels so are all wake-ups before it runs. It takes the first, and then waits for a wake-up that
//! has been spent. One in some 20,000 resets behind a command was lost so, and on Unix sockets one in some 20,000 pipelines
//! whose commands are sent one by one lost the last (Linux 6.18; https://github.com/axboe/liburing/issues/1549).
//!
//! Design: bytes after which a receive stays armed are therefore a doubt, which is settled by asking the socket itself: once
//! about those who have begun to wait for something, and now and then about all who have sent something since. An
//! end that is found ends the receive, which is armed anew, and meets it. Bytes that are found are most often about to be
//! delivered; those that the next turn does not deliver end the receive too. What comes after a completion is a wake-up of its
//! own, so each doubt is settled once.
//!
//! Costs: a receive compares a flag; a look is one system call for up to [`FDS_MAX`] connections, some 60 ns for each.

use std::os::fd::AsFd;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::super::Token;
use super::Uring;
use super::connection::Flow;

/// Connections asked about in one system call.
const FDS_MAX: usize = 256;

impl Uring {
    /// Bytes have arrived, and the receive waits for more.
    pub(super) fn doubt(&mut self, token: Token) {
        let connection = self.connection(token);
        connection.unread = false;
        if !connection.doubted {
            connection.doubted = true;
            self.doubted.push(token);
        }
    }

    /// Settles the doubts that are due.
    #[cold]
    pub(super) fn look(&mut self) {
        let due = std::mem::take(&mut self.due);
        for tokens in due.chunks(FDS_MAX) {
            self.look_at(tokens);
        }
    }

    fn look_at(&mut self, tokens: &[Token]) {
        let mut asked: Vec<Token> = Vec::with_capacity(tokens.len());
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(tokens.len());
        for token in tokens {
            let connection = self.connections.get(token.slot as usize).and_then(Option::as_deref);
            let connection = connection.filter(|connection| connection.token == *token);
            if let Some(connection) = connection.filter(|connection| connection.flow == Flow::Armed) {
                asked.push(*token);
                fds.push(PollFd::from_borrowed_fd(
                    connection.socket.system().as_fd(),
                    PollFlags::IN | PollFlags::RDHUP,
                ));
            }
        }
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        // It fails where a signal comes or memory is short.
        let looked = poll(&mut fds, Some(&at_once)).is_ok();
        let found: Vec<PollFlags> =
            fds.iter().map(|fd| if looked { fd.revents() } else { PollFlags::empty() }).collect();
        for (token, found) in asked.into_iter().zip(found) {
            let connection = self.connection(token);
            let is_over = found.intersects(PollFlags::IN.complement());
            let is_missed = found.contains(PollFlags::IN) && connection.unread;
            // It may be due twice.
            if (is_over || is_missed) && connection.flow == Flow::Armed {
                connection.unread = false;
                self.stop_receive(token);
            } else if found.contains(PollFlags::IN) {
                connection.unread = true;
                self.due.push(token);
            } else if !looked {
                self.doubt(token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsRawFd, OwnedFd};
    use std::time::{Duration, Instant};

    use socket2::{Domain, Type};

    use super::super::super::{EndCause, Event, Io, Options, Socket, Wait};
    use super::*;

    const TOKEN: Token = Token { slot: 0, generation: 1 };

    fn pair() -> (socket2::Socket, socket2::Socket) {
        socket2::Socket::pair(Domain::UNIX, Type::STREAM, None).expect("there are descriptors left")
    }

    /// A connection whose receive has taken bytes and will report nothing more: it is armed on another socket, which had them.
    /// The ring, its client, and what must live as long.
    fn deaf() -> (Uring, socket2::Socket, (socket2::Socket, socket2::Socket)) {
        let mut io = Uring::open(&Options::default()).expect("these tests need a kernel with io_uring");
        let (client, server) = pair();
        let (other_client, other_server) = pair();
        io.attach(TOKEN, Socket::from(OwnedFd::from(server)));
        let fd = std::mem::replace(&mut io.connection(TOKEN).fd, other_server.as_raw_fd());
        io.receive(TOKEN);
        io.turn(Wait::Poll).expect("turns");
        other_client.send(b"last words").expect("sends");
        let mut events = Vec::new();
        io.turn(Wait::Forever).expect("turns");
        io.reap(&mut events);
        match events.pop() {
            Some(Event::Received { token: TOKEN, input }) => io.give_back(input),
            other => panic!("{other:?}"),
        }
        io.connection(TOKEN).fd = fd;
        (io, client, (other_client, other_server))
    }

    /// What is reported within `time`.
    fn events(io: &mut Uring, time: Duration) -> Vec<Event> {
        let (mut events, end) = (Vec::new(), Instant::now() + time);
        while events.is_empty() && Instant::now() < end {
            io.turn(Wait::For(Duration::from_millis(1))).expect("turns");
            io.reap(&mut events);
        }
        events
    }

    fn assert_ended(events: &[Event]) {
        let ended = |event: &Event| matches!(event, Event::InputEnded { token: TOKEN, cause: EndCause::Eof });
        assert!(matches!(events, [event] if ended(event)), "{events:?}");
    }

    #[test]
    fn an_end_that_a_receive_misses_is_found() {
        for looks in [
            Uring::look_for_ends as fn(&mut Uring),
            |io| io.look_for_end(TOKEN),
            |io| {
                io.look_for_ends();
                io.look_for_end(TOKEN);
                io.look_for_end(TOKEN);
            },
        ] {
            let (mut io, client, _kept) = deaf();
            drop(client);
            let missed = events(&mut io, Duration::from_millis(20));
            assert!(missed.is_empty(), "{missed:?}");
            looks(&mut io);
            assert_ended(&events(&mut io, Duration::from_secs(10)));
        }
    }

    #[test]
    fn bytes_that_a_receive_misses_are_found() {
        let (mut io, client, _kept) = deaf();
        client.send(b"PING").expect("sends");
        let missed = events(&mut io, Duration::from_millis(20));
        assert!(missed.is_empty(), "{missed:?}");
        io.look_for_ends();
        let found = events(&mut io, Duration::from_secs(10));
        let [Event::Received { token: TOKEN, input }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(io.input(input), b"PING");
        for event in found {
            if let Event::Received { input, .. } = event {
                io.give_back(input);
            }
        }
    }

    #[test]
    fn bytes_that_are_about_to_be_delivered_leave_the_receive_armed() {
        let mut io = Uring::open(&Options::default()).expect("these tests need a kernel with io_uring");
        let (client, server) = pair();
        io.attach(TOKEN, Socket::from(OwnedFd::from(server)));
        io.receive(TOKEN);
        io.turn(Wait::Poll).expect("turns");
        client.send(b"PING").expect("sends");
        io.look_for_end(TOKEN);
        let mut found = Vec::new();
        io.turn(Wait::Poll).expect("turns");
        assert_eq!(io.due, [TOKEN], "it is looked at once more");
        io.reap(&mut found);
        let [Event::Received { token: TOKEN, input }] = &found[..] else { panic!("{found:?}") };
        assert_eq!(io.input(input), b"PING");
        io.turn(Wait::Poll).expect("turns");
        assert!(io.connection(TOKEN).flow == Flow::Armed && io.due.is_empty());
        for event in found {
            if let Event::Received { input, .. } = event {
                io.give_back(input);
            }
        }
    }

    #[test]
    fn who_goes_on_is_looked_at_once_for_what_it_sent() {
        let (mut io, client, _kept) = deaf();
        io.look_for_ends();
        assert_eq!(io.due, [TOKEN]);
        io.turn(Wait::Poll).expect("turns");
        assert!(io.connection(TOKEN).flow == Flow::Armed && io.due.is_empty());
        io.look_for_ends();
        assert!(io.due.is_empty(), "it has sent nothing since");
        // Those who are closed, and those whose slots have others by now, are looked at no more.
        io.look_for_end(TOKEN);
        io.close(TOKEN);
        drop(client);
        let closed = events(&mut io, Duration::from_secs(10));
        assert!(matches!(closed[..], [Event::Detached { token: TOKEN }]), "{closed:?}");
        io.look_for_end(TOKEN);
        let (client, server) = pair();
        let next = Token { generation: 2, ..TOKEN };
        io.attach(next, Socket::from(OwnedFd::from(server)));
        io.receive(next);
        drop(client);
        let ended = events(&mut io, Duration::from_secs(10));
        assert!(matches!(ended[..], [Event::InputEnded { token, .. }] if token == next), "{ended:?}");
    }
}
