//! What comes to a port for TLS and is no handshake, or half of one, or garbage behind one; and very many at once.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{BACKENDS, info};
use crate::harness::tls::{Authority, connect, read_to_end};
use crate::harness::{Rng, Server, until};

fn plain(server: &Server) -> TcpStream {
    let stream = TcpStream::connect(server.tls_address()).expect("it listens");
    stream.set_read_timeout(Some(crate::harness::REPLY_TIMEOUT)).expect("it is open");
    stream
}

#[test]
fn what_is_no_tls_is_closed() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let mut server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "1"]);
        let zeros = [0; 40];
        let long = [22, 3, 1, 255, 255, 1];
        let others: [&[u8]; 6] = [
            b"PING\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x80",
            &zeros,
            &long,
        ];
        for bytes in others {
            let mut stream = plain(&server);
            stream.write_all(bytes).expect("it is open");
            let mut answer = Vec::new();
            // A reset is what follows where not all was read.
            let _either_way = stream.read_to_end(&mut answer);
            // An alert, or nothing: in any case no reply in clear.
            assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        }
        assert_eq!(info(&server, "stats", "tls_handshakes_failed"), others.len() as u64);
        assert_eq!(info(&server, "stats", "total_commands_processed"), info_commands(&server));
        let log = server.log();
        assert!(log.contains("Error accepting a client connection: "), "{log}");
        assert!(log.contains("(addr=127.0.0.1:"), "{log}");
        // One line and then silence, for a while.
        assert!(log.matches("Error accepting").count() <= 2, "{log}");
        server.check_alive();
    }
}

/// Commands that this test itself has sent.
fn info_commands(server: &Server) -> u64 {
    info(server, "stats", "total_commands_processed") - 1
}

#[test]
fn half_handshakes_end() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2"]);
        let name = "localhost".try_into().expect("it is a name");
        let mut client = rustls::ClientConnection::new(authority.client(), name).expect("it can begin");
        let mut hello = Vec::new();
        client.write_tls(&mut hello).expect("it is memory");
        let begun = Instant::now();
        let mut streams: Vec<TcpStream> = [0, 3, 100, hello.len()]
            .iter()
            .map(|count| {
                let mut stream = plain(&server);
                stream.write_all(&hello[..*count]).expect("it is open");
                stream
            })
            .collect();
        // One that has finished its own stays.
        let mut good = server.tls_client();
        assert_eq!(good.ask("PING").string(), "PONG");
        assert!(until(|| info(&server, "clients", "connected_clients") == 6));
        for stream in &mut streams {
            stream.read_to_end(&mut Vec::new()).expect("it is closed in order");
        }
        assert!(begun.elapsed() >= Duration::from_secs(9), "{:?}", begun.elapsed());
        assert_eq!(good.ask("PING").string(), "PONG");
        assert_eq!(info(&server, "stats", "tls_handshakes_failed"), 4);
        assert!(server.log().contains("the handshake took too long"), "{}", server.log());
    }
}

#[test]
fn garbage_behind_the_handshake_ends_it() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let mut server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2"]);
        let mut rng = Rng(7);
        for round in 0..100 {
            let mut stream = connect(server.tls_address(), &authority.client()).expect("it listens");
            stream.write_all(b"PING\r\n").expect("it reads");
            let mut garbage: Vec<u8> = (0..1 + rng.below(300)).map(|_| rng.next() as u8).collect();
            if round % 2 == 0 {
                // A record by its header.
                let len = garbage.len() as u16;
                garbage.splice(0..0, [23, 3, 3, (len >> 8) as u8, len as u8]);
            }
            garbage.extend_from_slice(&[255; 5]);
            stream.sock.write_all(&garbage).expect("it is open");
            stream.sock.shutdown(std::net::Shutdown::Write).expect("it is open");
            let (bytes, _alert) = read_to_end(&mut stream);
            assert!(bytes == b"+PONG\r\n" || bytes.is_empty(), "{bytes:?}");
        }
        assert!(until(|| info(&server, "clients", "connected_clients") == 1));
        server.check_alive();
    }
}

/// A handshake of TLS 1.2 can be begun anew in the middle of a connection, which is a way to have a server calculate.
#[test]
fn renegotiation_is_refused() {
    let authority = Authority::new();
    let mut server = Server::start_tls(&authority, &["--workers", "1"]);
    let (cert, key) = (authority.word("client.crt"), authority.word("client.key"));
    let address = server.tls_address().to_string();
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-tls1_2", "-cert", &cert, "-key", &key])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tests/run installs openssl");
    let mut stdin = openssl.stdin.take().expect("it is a pipe");
    stdin.write_all(b"R\n").expect("it reads");
    let output = openssl.wait_with_output().expect("it is a child");
    drop(stdin);
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("RENEGOTIATING"), "{said}");
    assert!(said.contains("no renegotiation") || said.contains("unexpected message"), "{said}");
    server.check_alive();
}

/// Very many handshakes at once make each other wait and nobody else.
#[test]
fn flood_of_handshakes_stalls_nobody() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "1"]);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let stream = connect(server.tls_address(), &authority.client());
                        stream.expect("it listens");
                    }
                });
            }
            let mut client = server.tls_client();
            for n in 0..2000 {
                assert_eq!(client.ask("INCR n").int(), Some(n + 1));
            }
            over.store(true, Ordering::Relaxed);
        });
        assert_eq!(info(&server, "stats", "tls_handshakes_failed"), 0, "{}", server.log());
    }
}
