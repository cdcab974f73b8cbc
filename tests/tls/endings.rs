//! How encrypted connections end: in order, by an alert, wherever that can be.

use std::io::{Read as _, Write as _};

use super::{BACKENDS, info};
use crate::harness::tls::{Authority, connect, read_to_end};
use crate::harness::{Server, until};

/// Clients reported an unexpected end of the stream where a server closed without the alert that says so.
#[test]
fn every_end_by_the_server_is_told() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server =
            Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2", "--timeout", "1"]);
        for (request, reply) in [
            ("QUIT\r\n", "+OK\r\n"),
            ("*1\r\n$a\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            ("CLIENT KILL ID 1\r\nCLIENT REPLY OFF\r\nQUIT\r\n", "*"),
            // Idle for longer than the timeout.
            ("PING\r\n", "+PONG\r\n"),
        ] {
            let mut stream = connect(server.tls_address(), &authority.client()).expect("it listens");
            stream.write_all(request.as_bytes()).expect("it reads");
            let (bytes, outcome) = read_to_end(&mut stream);
            outcome.unwrap_or_else(|error| panic!("{request:?}: {error}"));
            let bytes = String::from_utf8_lossy(&bytes);
            assert!(reply == "*" || bytes == reply, "{request:?}: {bytes}");
        }
        let mut killed = connect(server.tls_address(), &authority.client()).expect("it listens");
        killed.write_all(b"CLIENT ID\r\n").expect("it reads");
        let mut id = [0; 16];
        let count = killed.read(&mut id).expect("a reply");
        let id = String::from_utf8_lossy(&id[1..count]).trim_ascii().to_owned();
        assert_eq!(server.client().ask(&format!("CLIENT KILL ID {id}")).int(), Some(1));
        let (bytes, outcome) = read_to_end(&mut killed);
        assert!(bytes.is_empty() && outcome.is_ok(), "{outcome:?}");
    }
}

/// Who says that it will send no more still gets its replies.
#[test]
fn replies_follow_the_end_of_the_input() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "1"]);
        server.client().call(&["SET", "k", &"v".repeat(3_000_000)]);
        for by_alert in [true, false] {
            let mut stream = connect(server.tls_address(), &authority.client()).expect("it listens");
            stream.write_all(&b"GET k\r\n".repeat(3)).expect("it reads");
            if by_alert {
                stream.conn.send_close_notify();
            }
            stream.flush().expect("it reads");
            stream.sock.shutdown(std::net::Shutdown::Write).expect("it is open");
            let (bytes, outcome) = read_to_end(&mut stream);
            assert_eq!(bytes.len(), 3 * (3_000_000 + b"$3000000\r\n\r\n".len()));
            outcome.expect("the end is told");
        }
        assert!(until(|| info(&server, "clients", "connected_clients") == 1));
    }
}

/// A stream that was cut off in the middle of a record, or of a handshake, leaves nothing behind.
#[test]
fn cut_off_streams_leave_nothing() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let mut server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2"]);
        for cut in 0..60 {
            let mut stream = connect(server.tls_address(), &authority.client()).expect("it listens");
            stream.conn.writer().write_all(b"SET k v\r\n").expect("it is memory");
            let mut record = Vec::new();
            stream.conn.write_tls(&mut record).expect("it is memory");
            stream.sock.write_all(&record[..cut % record.len()]).expect("it reads");
            if cut % 2 == 0 {
                let socket = socket2::SockRef::from(&stream.sock);
                socket.set_linger(Some(std::time::Duration::ZERO)).expect("it is open");
            }
        }
        assert!(until(|| info(&server, "clients", "connected_clients") == 1));
        assert_eq!(server.client().ask("EXISTS k").int(), Some(0));
        server.check_alive();
    }
}

/// Commands of one record that end the connections of others, and their own.
#[test]
fn clients_end_each_other() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let mut server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "3"]);
        for _ in 0..20 {
            let mut streams: Vec<_> = (0..8)
                .map(|_| connect(server.tls_address(), &authority.client()).expect("it listens"))
                .collect();
            for stream in &mut streams {
                let commands = b"PING\r\nCLIENT KILL TYPE normal SKIPME yes\r\nPING\r\nCLIENT KILL TYPE normal SKIPME no\r\nPING\r\n";
                // It may have been ended already.
                stream.write_all(commands).unwrap_or_default();
            }
            for mut stream in streams {
                // How far its commands came depends on when it was ended.
                let _end = read_to_end(&mut stream);
            }
        }
        assert!(until(|| info(&server, "clients", "connected_clients") == 1));
        server.check_alive();
    }
}

#[test]
fn the_end_of_the_server_is_told() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let mut server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2"]);
        let mut stream = connect(server.tls_address(), &authority.client()).expect("it listens");
        stream.write_all(b"PING\r\n").expect("it reads");
        stream.read_exact(&mut [0; 7]).expect("a reply");
        server.signal(rustix::process::Signal::TERM);
        assert!(server.await_exit().success(), "{}", server.log());
        read_to_end(&mut stream).1.expect("the end is told");
    }
}
