//! What the backends themselves cost: a server that counts fixed-size requests without reading them and
//! answers each with constant bytes. Run by hand, beside a load generator:
//!
//!     FLOOR="uring 36 71 20" cargo test --release --lib io::floor -- --ignored --nocapture
//!
//! serves with that backend, requests of 36 bytes and replies of 71, for 20 seconds, on the port printed.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::epoll::Epoll;
use super::uring::Uring;
use super::*;

#[derive(Default)]
struct Connection {
    /// Bytes of an unfinished request.
    part: usize,
    out: Vec<u8>,
    spare: Vec<u8>,
    sending: bool,
    touched: bool,
}

fn serve<I: Io>(mut io: I, request_bytes: usize, reply_bytes: usize, time: Duration) {
    let listener = Listener::tcp((Ipv4Addr::LOCALHOST, 0).into(), 1024).expect("binds");
    let port = listener.local_address().expect("bound to TCP").port();
    println!("{} on port {port}, process {}", io.name(), std::process::id());
    io.accept(0, listener).expect("accepts");
    let mut connections: Vec<Connection> = Vec::new();
    let mut events = Vec::new();
    let mut touched: Vec<Token> = Vec::new();
    let mut reply = format!("${}\r\n", reply_bytes - 7).into_bytes();
    reply.resize(reply_bytes - 2, b'x');
    reply.extend_from_slice(b"\r\n");
    let started = Instant::now();
    while started.elapsed() < time {
        io.turn(Wait::For(Duration::from_secs(1))).expect("turns");
        io.reap(&mut events);
        for event in events.drain(..) {
            let token = match event {
                Event::Accepted { socket, .. } => {
                    let token = Token { slot: connections.len() as u32, generation: 0 };
                    connections.push(Connection::default());
                    io.attach(token, socket);
                    io.receive(token);
                    continue;
                }
                Event::Received { token, input } => {
                    let connection = &mut connections[token.slot as usize];
                    connection.part += input.len();
                    io.give_back(input);
                    for _ in 0..connection.part / request_bytes {
                        connection.out.extend_from_slice(&reply);
                    }
                    connection.part %= request_bytes;
                    token
                }
                Event::Sent { token, outgoing: Outgoing::Flat(mut bytes), .. } => {
                    bytes.clear();
                    let connection = &mut connections[token.slot as usize];
                    connection.spare = bytes;
                    connection.sending = false;
                    token
                }
                Event::InputEnded { token, .. } => {
                    io.close(token);
                    connections[token.slot as usize].sending = true;
                    continue;
                }
                _ => continue,
            };
            let connection = &mut connections[token.slot as usize];
            if !connection.touched {
                connection.touched = true;
                touched.push(token);
            }
        }
        for token in touched.drain(..) {
            let connection = &mut connections[token.slot as usize];
            connection.touched = false;
            if !connection.sending && !connection.out.is_empty() {
                connection.sending = true;
                let spare = std::mem::take(&mut connection.spare);
                let out = std::mem::replace(&mut connection.out, spare);
                io.send(token, Outgoing::Flat(out));
            }
        }
    }
}

#[test]
#[ignore = "a measurement, run by hand"]
fn floor() {
    let arguments = std::env::var("FLOOR").expect("FLOOR is set, see above");
    let words: Vec<&str> = arguments.split(' ').collect();
    let number = |index: usize| words[index].parse::<usize>().expect("a number");
    let time = Duration::from_secs(number(3) as u64);
    let options = Options::default();
    match words[0] {
        "uring" => serve(Uring::open(&options).expect("opens"), number(1), number(2), time),
        _ => serve(Epoll::open(&options).expect("opens"), number(1), number(2), time),
    }
}
