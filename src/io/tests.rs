//! The same cases over real loopback sockets for each real backend.
//!
//! Clients are blocking threads; the backend under test runs on the test's own thread. A case that hangs
//! fails at a deadline, with the list of what was still missing in its message.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::epoll::Epoll;
use super::uring::Uring;
use super::*;

const DEADLINE: Duration = Duration::from_secs(30);
const TICK: Duration = Duration::from_millis(50);

fn open_uring(options: &Options) -> Uring {
    Uring::open(options).expect("these tests need a kernel with io_uring")
}

fn open_epoll(options: &Options) -> Epoll {
    Epoll::open(options).expect("epoll is always there")
}

macro_rules! suite {
    ($backend:ident, $open:ident: $($case:ident),+ $(,)?) => {
        mod $backend {
            $(#[test]
            fn $case() {
                super::$case(super::$open);
            })+
        }
    };
}

macro_rules! suites {
    ($($case:ident),+ $(,)?) => {
        suite!(uring, open_uring: $($case),+);
        suite!(epoll, open_epoll: $($case),+);
    };
}

suites!(
    echoes_patterned_data,
    echoes_on_many_sockets,
    echoes_with_four_buffers_and_fifty_sockets,
    slow_reader_gets_every_byte,
    gathered_pieces_arrive_in_order,
    reset_is_reported,
    reset_ends_a_send,
    close_with_send_in_flight_detaches,
    close_without_anything_in_flight_detaches,
    close_behind_an_unawaited_send_detaches,
    slots_are_reused_by_generations,
    wakes_from_another_thread,
    bulk_is_received_whole_while_more_follows,
    bulk_cut_short_says_so,
    bulk_after_the_end_says_so,
    pause_stops_and_receive_resumes,
    released_sockets_go_on_elsewhere,
    a_released_token_may_still_be_closed,
    a_release_at_the_end_of_the_input_comes_to_nothing,
    held_buffers_stop_one_socket_only,
    packets_are_filled_where_that_is_wanted,
    unix_sockets_echo,
    stops_accepting,
    timed_wait_returns,
    drop_with_everything_in_flight,
);

/// Byte `index` of stream `seed`: any shift, loss or mix-up of streams shows.
fn pattern(seed: u64, index: usize) -> u8 {
    let mixed = (index as u64 ^ (seed << 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 56) as u8
}

fn patterned(seed: u64, range: std::ops::Range<usize>) -> Vec<u8> {
    range.map(|index| pattern(seed, index)).collect()
}

/// A worker in small: accepts, attaches under fresh tokens, and echoes if asked to.
struct Bed<I> {
    io: I,
    address: SocketAddr,
    events: Vec<Event>,
    next_slot: u32,
    echoes: HashMap<Token, Echo>,
}

#[derive(Default)]
struct Echo {
    out: Vec<u8>,
    sending: bool,
    ended: bool,
}

impl<I: Io> Bed<I> {
    fn new(open: impl Fn(&Options) -> I, options: &Options) -> Bed<I> {
        let mut io = open(options);
        let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), 1024).expect("binds");
        let address = listener.local_address().expect("bound to TCP");
        io.accept(0, listener).expect("accepts");
        Bed { io, address, events: Vec::new(), next_slot: 0, echoes: HashMap::new() }
    }

    /// Turns until `done` has had all events it wants.
    fn until(&mut self, what: &str, mut done: impl FnMut(&mut Bed<I>, Event) -> bool) {
        let started = Instant::now();
        loop {
            assert!(started.elapsed() < DEADLINE, "no progress: {what}");
            self.io.turn(Wait::For(TICK)).expect("turns");
            let mut events = std::mem::take(&mut self.events);
            self.io.reap(&mut events);
            let mut finished = false;
            let mut rest = events.drain(..);
            for event in rest.by_ref() {
                if done(self, event) {
                    finished = true;
                    break;
                }
            }
            let left: Vec<Event> = rest.collect();
            assert!(!finished || left.is_empty(), "{what}: left {left:?}");
            self.events = events;
            if finished {
                return;
            }
        }
    }

    /// Connects a client and attaches the server's end.
    fn connect(&mut self, generation: u32) -> (TcpStream, Token) {
        let client = TcpStream::connect(self.address).expect("connects");
        let slot = self.next_slot;
        self.next_slot += 1;
        let token = Token { slot, generation };
        self.until("accept", |bed, event| match event {
            Event::Accepted { socket, .. } => {
                bed.io.attach(token, socket);
                true
            }
            other => panic!("{other:?}"),
        });
        (client, token)
    }

    /// Handles `event` as an echo server does.
    fn echo(&mut self, event: Event) {
        match event {
            Event::Accepted { listener, socket } => {
                assert_eq!(listener, 0);
                let token = Token { slot: self.next_slot, generation: 1 };
                self.next_slot += 1;
                assert!(socket.peer_address().len() > 3);
                self.io.attach(token, socket);
                self.io.receive(token);
                self.echoes.insert(token, Echo::default());
            }
            Event::Received { token, input } => {
                let echo = self.echoes.get_mut(&token).expect("attached");
                assert!(!echo.ended);
                echo.out.extend_from_slice(self.io.input(&input));
                self.io.give_back(input);
                self.flush(token);
            }
            Event::Sent { token, result, .. } => {
                result.expect("sent");
                let echo = self.echoes.get_mut(&token).expect("attached");
                echo.sending = false;
                self.flush(token);
            }
            Event::InputEnded { token, cause } => {
                assert_eq!(cause, EndCause::Eof);
                self.echoes.get_mut(&token).expect("attached").ended = true;
                self.flush(token);
            }
            Event::Detached { token } => {
                self.echoes.remove(&token).expect("attached");
            }
            other => panic!("unexpected {other:?}"),
        }
    }

    fn flush(&mut self, token: Token) {
        let echo = self.echoes.get_mut(&token).expect("attached");
        if echo.sending {
            return;
        }
        if !echo.out.is_empty() {
            echo.sending = true;
            let out = std::mem::take(&mut echo.out);
            match token.slot % 2 {
                0 => self.io.send(token, Outgoing::Flat(out)),
                _ => self.io.send_unawaited(token, Outgoing::Flat(out)),
            }
        } else if echo.ended {
            self.io.close(token);
        }
    }

    /// Echoes until `connections` connections have come and gone.
    fn serve_echo(&mut self, connections: u32) {
        self.until("echo", |bed, event| {
            bed.echo(event);
            bed.next_slot == connections && bed.echoes.is_empty()
        });
    }
}

/// A client that sends `len` patterned bytes in pieces of `step`, and checks what comes back.
fn echo_client(address: SocketAddr, seed: u64, len: usize, step: usize) -> JoinHandle<()> {
    thread::spawn(move || {
        let stream = TcpStream::connect(address).expect("connects");
        stream.set_nodelay(true).expect("is TCP");
        let mut reading = stream.try_clone().expect("clones");
        let reader = thread::spawn(move || {
            let mut got = Vec::new();
            reading.read_to_end(&mut got).expect("reads");
            assert_eq!(got.len(), len);
            assert!(got == patterned(seed, 0..len), "stream {seed} differs");
        });
        let mut writing = &stream;
        for start in (0..len).step_by(step) {
            let piece = patterned(seed, start..len.min(start + step));
            writing.write_all(&piece).expect("writes");
        }
        stream.shutdown(Shutdown::Write).expect("shuts down");
        reader.join().expect("the reader was content");
    })
}

fn join(clients: Vec<JoinHandle<()>>) {
    for client in clients {
        client.join().expect("the client was content");
    }
}

fn echoes_patterned_data<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let sizes = [(1, 1), (1000, 7), (100_000, 3331), (5 << 20, 65_537)];
    let clients = sizes.iter().zip(1..);
    let clients = clients.map(|(&(len, step), seed)| echo_client(bed.address, seed, len, step));
    let clients = clients.collect();
    bed.serve_echo(sizes.len() as u32);
    join(clients);
}

fn echoes_on_many_sockets<I: Io>(open: fn(&Options) -> I) {
    echoes_on_many_sockets_with(open, &Options::default());
}

fn echoes_on_many_sockets_with<I: Io>(open: fn(&Options) -> I, options: &Options) {
    let mut bed = Bed::new(open, options);
    let client = |seed| echo_client(bed.address, seed, 3000, 1100);
    let clients = (0..100).map(client).collect();
    bed.serve_echo(100);
    join(clients);
}

fn echoes_with_four_buffers_and_fifty_sockets<I: Io>(open: fn(&Options) -> I) {
    let options = Options { buffer_count: 4, buffer_bytes: 512, ..Options::default() };
    let mut bed = Bed::new(open, &options);
    let client = |seed| echo_client(bed.address, seed, 40_000, 9000);
    let clients = (0..50).map(client).collect();
    bed.serve_echo(50);
    join(clients);
}

fn slow_reader_gets_every_byte<I: Io>(open: fn(&Options) -> I) {
    slow_reader(open, I::send);
    slow_reader(open, I::send_unawaited);
}

fn slow_reader<I: Io>(open: fn(&Options) -> I, send: fn(&mut I, Token, Outgoing)) {
    const LEN: usize = 24 << 20;
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(1);
    send(&mut bed.io, token, Outgoing::Flat(patterned(9, 0..LEN)));
    let reader = thread::spawn(move || {
        let mut got = Vec::new();
        let mut piece = vec![0; 30_011];
        while got.len() < LEN {
            let count = client.read(&mut piece).expect("reads");
            assert!(count > 0, "ended after {}", got.len());
            got.extend_from_slice(&piece[..count]);
            if got.len() % 7 == 0 {
                thread::yield_now();
            }
        }
        assert!(got == patterned(9, 0..LEN));
        client
    });
    bed.until("the send", |_, event| match event {
        Event::Sent { result, outgoing, .. } => {
            assert_eq!(result, Ok(LEN));
            assert_eq!(outgoing.byte_count(), LEN);
            true
        }
        other => panic!("{other:?}"),
    });
    reader.join().expect("the client was content");
}

fn gathered_pieces_arrive_in_order<I: Io>(open: fn(&Options) -> I) {
    let whole = Bytes::from(patterned(5, 0..4 << 20));
    let mut pieces = vec![Bytes::new()];
    let (mut start, mut step) = (0, 1);
    while start < whole.len() {
        let end = whole.len().min(start + step);
        pieces.push(whole.slice(start..end));
        pieces.push(Bytes::new());
        start = end;
        step = (step * 7 + 3) % 4999;
    }
    assert!(pieces.len() > 3000, "more than one message can hold");
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(1);
    let len = whole.len();
    bed.io.send(token, Outgoing::Gather(pieces));
    let reader = thread::spawn(move || {
        let mut got = vec![0; len];
        client.read_exact(&mut got).expect("reads");
        assert!(got == whole);
    });
    bed.until("the send", |_, event| match event {
        Event::Sent { result, .. } => {
            assert_eq!(result, Ok(len));
            true
        }
        other => panic!("{other:?}"),
    });
    reader.join().expect("the client was content");
}

fn reset(client: TcpStream) {
    let client = socket2::Socket::from(client);
    client.set_linger(Some(Duration::ZERO)).expect("is a socket");
}

fn reset_is_reported<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (client, token) = bed.connect(1);
    bed.io.receive(token);
    bed.io.turn(Wait::Poll).expect("turns");
    reset(client);
    bed.until("the end", |_, event| match event {
        Event::InputEnded { token: of, cause } => {
            assert_eq!((of, cause), (token, EndCause::Reset));
            true
        }
        other => panic!("{other:?}"),
    });
    bed.io.receive(token);
    bed.io.close(token);
    bed.until("detach", |_, event| {
        assert!(matches!(event, Event::Detached { token: of } if of == token));
        true
    });
}

fn reset_ends_a_send<I: Io>(open: fn(&Options) -> I) {
    reset_during(open, I::send);
    reset_during(open, I::send_unawaited);
}

fn reset_during<I: Io>(open: fn(&Options) -> I, send: fn(&mut I, Token, Outgoing)) {
    let mut bed = Bed::new(open, &Options::default());
    let (client, token) = bed.connect(1);
    send(&mut bed.io, token, Outgoing::Flat(vec![7; 32 << 20]));
    bed.io.turn(Wait::Poll).expect("turns");
    reset(client);
    bed.until("the failed send", |_, event| match event {
        Event::Sent { result, .. } => {
            assert_eq!(result, Err(EndCause::Reset));
            true
        }
        other => panic!("{other:?}"),
    });
}

fn close_with_send_in_flight_detaches<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(1);
    bed.io.receive(token);
    bed.io.send(token, Outgoing::Flat(vec![7; 32 << 20]));
    bed.io.turn(Wait::Poll).expect("turns");
    bed.io.close(token);
    bed.io.close(token);
    let mut sent = 0;
    bed.until("detach", |_, event| match event {
        Event::Sent { result, .. } => {
            assert_eq!(result, Err(EndCause::Reset));
            sent += 1;
            false
        }
        Event::Detached { token: of } => of == token,
        other => panic!("{other:?}"),
    });
    assert_eq!(sent, 1);
    let mut got = Vec::new();
    match client.read_to_end(&mut got) {
        Ok(count) => assert!(count < 32 << 20),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

/// Replies that nobody waits for are sent all the same when the connection is closed behind them.
fn close_behind_an_unawaited_send_detaches<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(1);
    bed.io.receive(token);
    bed.io.send_unawaited(token, Outgoing::Flat(b"bye".to_vec()));
    bed.io.close(token);
    let mut sent = 0;
    bed.until("detach", |_, event| match event {
        Event::Sent { .. } => {
            sent += 1;
            false
        }
        Event::Detached { token: of } => of == token,
        other => panic!("{other:?}"),
    });
    assert_eq!(sent, 1);
    let mut got = Vec::new();
    client.read_to_end(&mut got).expect("reads");
    assert!(b"bye".starts_with(&got[..]));
}

fn close_without_anything_in_flight_detaches<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(3);
    bed.io.close(token);
    bed.until("detach", |_, event| {
        assert!(matches!(event, Event::Detached { token: of } if of == token));
        true
    });
    assert_eq!(client.read(&mut [0; 8]).expect("reads"), 0);
}

fn packets_are_filled_where_that_is_wanted<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
    let _client = TcpStream::connect(listener.local_addr().expect("it is bound")).expect("connects");
    let (stream, _) = listener.accept().expect("accepts");
    stream.set_nodelay(true).expect("is TCP");
    let same = stream.try_clone().expect("clones");
    let token = Token { slot: 0, generation: 1 };
    bed.io.attach(token, Socket::from(std::os::fd::OwnedFd::from(stream)));
    bed.io.fill_packets(token);
    assert!(!same.nodelay().expect("is TCP"));
    bed.io.close(token);
    bed.until("detach", |_, event| matches!(event, Event::Detached { .. }));
}

fn slots_are_reused_by_generations<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    for generation in 0..50 {
        bed.next_slot = 5;
        let (mut client, token) = bed.connect(generation);
        bed.io.receive(token);
        client.write_all(b"hello").expect("writes");
        let mut held = None;
        bed.until("data", |_, event| match event {
            Event::Received { token: of, input } => {
                assert_eq!(of, token);
                held = Some(input);
                true
            }
            other => panic!("{other:?}"),
        });
        let input = held.expect("received");
        assert_eq!(bed.io.input(&input), b"hello");
        // Bytes on their way while we close must not reach the slot's next user.
        client.write_all(b"late").expect("writes");
        bed.io.close(token);
        bed.until("detach", |_, event| {
            assert!(matches!(event, Event::Detached { token: of } if of == token));
            true
        });
        bed.io.give_back(input);
    }
}

fn wakes_from_another_thread<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let waker = bed.io.waker();
    let messages = Arc::new(AtomicUsize::new(0));
    let sender = thread::spawn({
        let messages = messages.clone();
        move || {
            for _ in 0..1000 {
                messages.fetch_add(1, Ordering::Release);
                waker.wake();
            }
        }
    });
    let mut wakes = 0;
    while messages.load(Ordering::Acquire) < 1000 || wakes == 0 {
        bed.io.turn(Wait::Forever).expect("turns");
        bed.io.reap(&mut bed.events);
        for event in bed.events.drain(..) {
            assert!(matches!(event, Event::Woken));
            wakes += 1;
        }
    }
    assert!(wakes <= 1000);
    sender.join().expect("the sender was content");
    // One wake-up may be left over; after it there is silence.
    for _ in 0..2 {
        bed.io.turn(Wait::For(Duration::from_millis(1))).expect("turns");
        bed.events.clear();
        bed.io.reap(&mut bed.events);
    }
    assert!(bed.events.is_empty());
}

fn bulk_is_received_whole_while_more_follows<I: Io>(open: fn(&Options) -> I) {
    const HEAD: usize = 40_000;
    const BULK: usize = 8 << 20;
    const TAIL: usize = 300_000;
    const ALL: usize = HEAD + BULK + TAIL;
    let mut bed = Bed::new(open, &Options::default());
    for round in 1..4 {
        let (mut client, token) = bed.connect(1);
        let writer = thread::spawn(move || {
            client.write_all(&patterned(round, 0..ALL)).expect("writes");
            client
        });
        bed.io.receive(token);
        let mut got: Vec<u8> = Vec::new();
        let (mut asked, mut filled) = (false, false);
        let started = Instant::now();
        while got.len() < ALL {
            assert!(started.elapsed() < DEADLINE, "got {} bytes", got.len());
            bed.io.turn(Wait::For(TICK)).expect("turns");
            bed.io.reap(&mut bed.events);
            for event in bed.events.drain(..) {
                match event {
                    Event::Received { input, .. } => {
                        assert!(!asked || filled, "bytes overtook the bulk");
                        got.extend_from_slice(bed.io.input(&input));
                        bed.io.give_back(input);
                    }
                    Event::BulkReceived { bulk, done, .. } => {
                        assert_eq!(done, Ok(()));
                        assert_eq!(bulk.len(), BULK);
                        got.extend_from_slice(&bulk);
                        filled = true;
                        bed.io.receive(token);
                    }
                    other => panic!("{other:?}"),
                }
            }
            // As a worker does: ask only after all that was reaped has been consumed.
            if got.len() >= HEAD && !asked {
                asked = true;
                let start = BytesMut::from(&got[HEAD..]);
                got.truncate(HEAD);
                bed.io.receive_into(token, start, BULK);
            }
        }
        assert!(filled);
        assert!(got == patterned(round, 0..ALL));
        drop(writer.join().expect("the client was content"));
        bed.io.close(token);
        bed.until("detach", |bed, event| match event {
            Event::Detached { .. } => true,
            other => panic!("{other:?} {}", bed.next_slot),
        });
    }
}

fn bulk_cut_short_says_so<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(1);
    bed.io.receive(token);
    bed.io.turn(Wait::Poll).expect("turns");
    bed.io.receive_into(token, BytesMut::new(), 1000);
    client.write_all(&[1; 300]).expect("writes");
    drop(client);
    bed.until("the short bulk", |_, event| match event {
        Event::BulkReceived { bulk, done, .. } => {
            assert_eq!(&bulk[..], &[1; 300]);
            assert_eq!(done, Err(EndCause::Eof));
            true
        }
        other => panic!("{other:?}"),
    });
}

fn bulk_after_the_end_says_so<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (client, token) = bed.connect(1);
    drop(client);
    bed.io.receive(token);
    bed.until("the end", |_, event| matches!(event, Event::InputEnded { cause: EndCause::Eof, .. }));
    bed.io.receive_into(token, BytesMut::from(&b"ab"[..]), 2);
    bed.until("the bulk that needs nothing", |_, event| {
        assert!(matches!(event, Event::BulkReceived { done: Ok(()), .. }));
        true
    });
    bed.io.receive_into(token, BytesMut::from(&b"ab"[..]), 3);
    bed.until("the bulk that cannot be filled", |_, event| {
        let cut = Err(EndCause::Eof);
        assert!(matches!(event, Event::BulkReceived { done, .. } if done == cut));
        true
    });
    // A bulk that is ready but not reaped does not outlive its connection.
    bed.io.receive_into(token, BytesMut::new(), 3);
    bed.io.close(token);
    bed.until("detach", |_, event| match event {
        Event::Detached { .. } => true,
        other => panic!("{other:?}"),
    });
}

fn pause_stops_and_receive_resumes<I: Io>(open: fn(&Options) -> I) {
    const LEN: usize = 32 << 20;
    let mut bed = Bed::new(open, &Options::default());
    let (mut client, token) = bed.connect(1);
    let writer = thread::spawn(move || client.write_all(&patterned(3, 0..LEN)));
    bed.io.receive(token);
    let mut got = Vec::new();
    let mut paused = false;
    bed.until("the first bytes", |bed, event| match event {
        Event::Received { input, .. } => {
            got.extend_from_slice(bed.io.input(&input));
            bed.io.give_back(input);
            if !paused {
                bed.io.pause(token);
                paused = true;
            }
            // Wakes end the batches, so that nothing is left unread in one.
            bed.io.waker().wake();
            false
        }
        Event::Woken => true,
        other => panic!("{other:?}"),
    });
    // What had completed already may still come; then silence, though the peer has much more.
    let mut quiet = 0;
    while quiet < 3 {
        bed.io.turn(Wait::For(Duration::from_millis(5))).expect("turns");
        bed.io.reap(&mut bed.events);
        quiet += 1;
        for event in bed.events.drain(..) {
            if let Event::Received { input, .. } = event {
                got.extend_from_slice(bed.io.input(&input));
                bed.io.give_back(input);
                quiet = 0;
            }
        }
    }
    assert!(got.len() < LEN / 2, "{} bytes came in spite of the pause", got.len());
    bed.io.receive(token);
    bed.until("the rest", |bed, event| match event {
        Event::Received { input, .. } => {
            got.extend_from_slice(bed.io.input(&input));
            bed.io.give_back(input);
            false
        }
        Event::InputEnded { cause, .. } => {
            assert_eq!(cause, EndCause::Eof);
            true
        }
        other => panic!("{other:?}"),
    });
    writer.join().expect("no panic").expect("writes");
    assert!(got == patterned(3, 0..LEN));
}

/// A socket wanders between two backends while its client sends: no byte is lost, doubled or out of order.
fn released_sockets_go_on_elsewhere<I: Io>(open: fn(&Options) -> I) {
    const LEN: usize = 8 << 20;
    const MOVES_MIN: u32 = 20;
    // Few buffers, so that not all of it is received before the first move.
    let options = Options { buffer_count: 8, ..Options::default() };
    let mut bed = Bed::new(open, &options);
    let (mut client, first) = bed.connect(1);
    let mut ios = [bed.io, open(&options)];
    let writer = thread::spawn(move || client.write_all(&patterned(4, 0..LEN)));
    let (mut here, mut token, mut moves, mut leaving) = (0, first, 0, false);
    ios[here].receive(token);
    let (mut got, started) = (Vec::new(), Instant::now());
    'stream: loop {
        assert!(started.elapsed() < DEADLINE, "no progress after {moves} moves and {} bytes", got.len());
        ios[here].turn(Wait::For(TICK)).expect("turns");
        let mut events = Vec::new();
        ios[here].reap(&mut events);
        for event in events {
            match event {
                Event::Received { token: of, input } => {
                    assert_eq!(of, token);
                    got.extend_from_slice(ios[here].input(&input));
                    ios[here].give_back(input);
                    if !leaving {
                        ios[here].release(token);
                        leaving = true;
                    }
                }
                Event::Released { token: of, socket } => {
                    assert_eq!(of, token);
                    (here, moves, leaving) = (1 - here, moves + 1, false);
                    token = Token { slot: moves % 3, generation: moves };
                    ios[here].attach(token, socket);
                    ios[here].receive(token);
                }
                Event::InputEnded { cause: EndCause::Eof, .. } => break 'stream,
                other => panic!("{other:?}"),
            }
        }
    }
    writer.join().expect("no panic").expect("writes");
    assert!(got == patterned(4, 0..LEN), "{} bytes", got.len());
    assert!(moves >= MOVES_MIN, "{moves} moves");
}

fn a_released_token_may_still_be_closed<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    for receives in [true, false] {
        let (mut client, token) = bed.connect(1);
        if receives {
            bed.io.receive(token);
            bed.io.turn(Wait::Poll).expect("turns");
        }
        bed.io.release(token);
        bed.io.close(token);
        bed.io.close(token);
        bed.until("detach", |_, event| {
            assert!(matches!(event, Event::Detached { token: of } if of == token));
            true
        });
        assert_eq!(client.read(&mut [0; 10]).expect("the end"), 0);
    }
}

fn a_release_at_the_end_of_the_input_comes_to_nothing<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (client, token) = bed.connect(1);
    client.shutdown(Shutdown::Write).expect("shuts down");
    bed.io.receive(token);
    bed.until("the end", |_, event| {
        assert!(matches!(event, Event::InputEnded { cause: EndCause::Eof, .. }), "{event:?}");
        true
    });
    bed.io.release(token);
    bed.io.send(token, Outgoing::Flat(b"bye".to_vec()));
    bed.until("the send", |_, event| matches!(event, Event::Sent { result: Ok(3), .. }));
    bed.io.close(token);
    bed.until("detach", |_, event| matches!(event, Event::Detached { .. }));
}

fn held_buffers_stop_one_socket_only<I: Io>(open: fn(&Options) -> I) {
    const LEN: usize = 8 << 20;
    let options = Options { buffer_count: 64, buffer_bytes: 1024, held_buffers_max: 8, ..Options::default() };
    let mut bed = Bed::new(open, &options);
    let (mut greedy, greedy_token) = bed.connect(1);
    let (mut modest, modest_token) = bed.connect(1);
    let writer = thread::spawn(move || greedy.write_all(&patterned(1, 0..LEN)));
    bed.io.receive(greedy_token);
    // Nothing is given back until all is quiet.
    let mut held = Vec::new();
    let mut quiet = 0;
    while quiet < 3 || held.len() < 8 {
        bed.io.turn(Wait::For(Duration::from_millis(5))).expect("turns");
        bed.io.reap(&mut bed.events);
        quiet += 1;
        for event in bed.events.drain(..) {
            match event {
                Event::Received { input, .. } => held.push(input),
                other => panic!("{other:?}"),
            }
            quiet = 0;
        }
    }
    assert!(held.len() <= 64);
    let mut got: Vec<u8> = Vec::new();
    while held.len() > 8 {
        let input = held.remove(0);
        got.extend_from_slice(bed.io.input(&input));
        bed.io.give_back(input);
    }
    // The other socket is served although the first holds its limit.
    bed.io.receive(modest_token);
    modest.write_all(b"modest").expect("writes");
    bed.until("the modest socket's bytes", |bed, event| match event {
        Event::Received { token, input } if token == modest_token => {
            bed.io.give_back(input);
            true
        }
        other => panic!("{other:?}"),
    });
    for input in held {
        got.extend_from_slice(bed.io.input(&input));
        bed.io.give_back(input);
    }
    bed.until("the rest", |bed, event| match event {
        Event::Received { input, .. } => {
            got.extend_from_slice(bed.io.input(&input));
            bed.io.give_back(input);
            false
        }
        Event::InputEnded { .. } => true,
        other => panic!("{other:?}"),
    });
    writer.join().expect("no panic").expect("writes");
    assert!(got == patterned(1, 0..LEN));
}

fn unix_sockets_echo<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let name = format!("torc-io-{}-{}.sock", std::process::id(), bed.io.name());
    let path = std::env::temp_dir().join(name);
    let listener = Listener::unix(&path, 16).expect("binds");
    bed.io.accept(1, listener).expect("accepts");
    let client = std::os::unix::net::UnixStream::connect(&path).expect("connects");
    std::fs::remove_file(&path).expect("was there");
    let token = Token { slot: 0, generation: 1 };
    bed.until("accept", |bed, event| match event {
        Event::Accepted { listener, socket } => {
            assert_eq!(listener, 1);
            assert!(socket.is_unix());
            assert_eq!(socket.peer_address(), format!("{}:0", path.display()));
            assert_eq!(socket.local_address(), socket.peer_address());
            bed.io.attach(token, socket);
            bed.io.receive(token);
            true
        }
        other => panic!("{other:?}"),
    });
    (&client).write_all(b"ping").expect("writes");
    bed.until("echo", |bed, event| match event {
        Event::Received { token, input } => {
            let bytes = bed.io.input(&input).to_vec();
            bed.io.give_back(input);
            bed.io.send(token, Outgoing::Flat(bytes));
            false
        }
        Event::Sent { result, .. } => result == Ok(4),
        other => panic!("{other:?}"),
    });
    let mut got = [0; 4];
    (&client).read_exact(&mut got).expect("reads");
    assert_eq!(&got, b"ping");
}

fn stops_accepting<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let (_client, _token) = bed.connect(1);
    bed.io.stop_accepting();
    let refused = (0..1000).any(|_| {
        bed.io.turn(Wait::For(Duration::from_millis(1))).expect("turns");
        bed.events.clear();
        bed.io.reap(&mut bed.events);
        TcpStream::connect(bed.address).is_err()
    });
    assert!(refused);
}

fn timed_wait_returns<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    bed.io.turn(Wait::Poll).expect("turns");
    let started = Instant::now();
    bed.io.turn(Wait::For(Duration::from_millis(30))).expect("turns");
    assert!(started.elapsed() >= Duration::from_millis(25));
    bed.io.reap(&mut bed.events);
    assert!(bed.events.is_empty());
}

fn drop_with_everything_in_flight<I: Io>(open: fn(&Options) -> I) {
    let mut bed = Bed::new(open, &Options::default());
    let mut clients = Vec::new();
    for number in 0..12 {
        let (mut client, token) = bed.connect(1);
        if number % 2 == 0 {
            bed.io.receive(token);
        } else {
            client.write_all(&[3; 5000]).expect("writes");
            bed.io.receive_into(token, BytesMut::new(), 1 << 20);
        }
        if number % 3 == 0 {
            bed.io.send(token, Outgoing::Flat(vec![1; 16 << 20]));
        } else {
            let pieces = vec![Bytes::from(vec![2; 8 << 20]); 2];
            bed.io.send(token, Outgoing::Gather(pieces));
        }
        clients.push(client);
    }
    bed.io.turn(Wait::Poll).expect("turns");
    // More that was never submitted, and a connection nobody took.
    let (_client, token) = (TcpStream::connect(bed.address), Token { slot: 0, generation: 1 });
    bed.io.pause(token);
    drop(bed);
    for mut client in clients {
        // The server's end is closed: the stream ends, one way or the other.
        let mut rest = Vec::new();
        match client.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
}

#[test]
fn auto_opens_something_and_names_it() {
    let name = match open(BackendKind::Auto, &Options::default()).expect("epoll is always there") {
        Backend::Uring(io) => io.name(),
        Backend::Epoll(io) => io.name(),
    };
    assert!(["io_uring", "epoll"].contains(&name));
}

#[test]
fn kernel_thread_submits() {
    let options =
        Options { sqpoll: Some(SqPoll { idle_ms: 50, cpu: None }), entries: 8, ..Options::default() };
    echoes_on_many_sockets_with(open_uring, &options);
}

#[test]
fn tiny_queues_lose_nothing() {
    let options =
        Options { entries: 2, cq_entries: 4, buffer_count: 16, buffer_bytes: 300, ..Options::default() };
    echoes_on_many_sockets_with(open_uring, &options);
}

#[test]
fn uring_counts_what_is_in_flight() {
    let mut bed = Bed::new(open_uring, &Options::default());
    // The accept and the watched eventfd.
    assert_eq!(bed.io.in_flight_count(), 2);
    let (client, token) = bed.connect(1);
    bed.io.receive(token);
    assert_eq!(bed.io.in_flight_count(), 3);
    drop(client);
    bed.until("the end", |_, event| matches!(event, Event::InputEnded { .. }));
    bed.io.close(token);
    assert_eq!(bed.io.in_flight_count(), 2);
}

#[test]
fn uring_waits_on_after_an_unawaited_send() {
    let mut bed = Bed::new(open_uring, &Options::default());
    let (mut client, token) = bed.connect(1);
    bed.io.send_unawaited(token, Outgoing::Flat(vec![7; 100]));
    let started = Instant::now();
    bed.io.turn(Wait::For(TICK)).expect("turns");
    assert!(started.elapsed() >= TICK / 2, "the send ended the wait");
    bed.until("the send", |_, event| matches!(event, Event::Sent { result: Ok(100), .. }));
    client.read_exact(&mut [0; 100]).expect("reads");
}
