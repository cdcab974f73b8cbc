//! What goes over an encrypted connection arrives as it was sent, however it is cut into records, pieces and commands.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use super::{BACKENDS, info};
use crate::harness::tls::{Authority, VERSIONS};
use crate::harness::{Client, Server, Value, command, until};

#[test]
fn both_versions_are_spoken_by_both_backends() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2"]);
        for version in VERSIONS {
            let config = Arc::new(authority.client_config(Some("client"), &[version]));
            let mut client = Client::tls(server.tls_address(), &config).expect("it is spoken");
            assert_eq!(client.ask("SET k v").string(), "OK");
            assert_eq!(client.ask("GET k").string(), "v");
            let hello = client.ask("HELLO 3");
            assert!(matches!(hello, Value::Map(_)), "{hello}");
        }
        assert_eq!(info(&server, "stats", "tls_handshakes"), 2);
        assert_eq!(info(&server, "stats", "tls_handshakes_failed"), 0);
        assert_eq!(server.client().ask("GET k").string(), "v");
    }
}

#[test]
fn the_port_is_told_by_log_and_info() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &["--workers", "1"]);
    let port = server.tls_address().port();
    let address = format!("127.0.0.1:{port} (TLS)");
    assert!(until(|| server.log().contains(&address)), "{}", server.log());
    let text = server.tls_client().ask("INFO server").string();
    assert!(text.contains(&format!("\r\nlistener2:name=tls,bind=127.0.0.1,port={port}\r\n")), "{text}");
    // Redis says so where there is no other port.
    assert!(text.contains(&format!("\r\ntcp_port:{port}\r\n")), "{text}");
    assert!(!server.log().contains("without effect"), "{}", server.log());
}

/// After one record many commands are decrypted, and no further byte tells the worker of them.
#[test]
fn many_commands_in_one_write_are_all_answered() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "1"]);
        let mut client = server.tls_client();
        client.send_raw(&b"PING\r\n".repeat(2000)).expect("it reads");
        (0..2000).for_each(|_| assert_eq!(client.read().expect("a reply"), Value::Simple(b"PONG".to_vec())));
        // The last command comes in two records.
        let commands: Vec<u8> = (0..5000).flat_map(|n| command(&["SET", &format!("k{n}"), "v"])).collect();
        let (most, last) = commands.split_at(commands.len() - 3);
        client.send_raw(most).expect("it reads");
        (0..4999).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "OK"));
        client.send_raw(last).expect("it reads");
        assert_eq!(client.read().expect("a reply").string(), "OK");
        assert_eq!(client.ask("DBSIZE").int(), Some(5000));
    }
}

#[test]
fn records_of_one_byte_make_commands() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "1"]);
        let mut client = server.tls_client();
        for byte in command(&["SET", "key", "value"]).chunks(1) {
            client.send_raw(byte).expect("it reads");
        }
        assert_eq!(client.read().expect("a reply").string(), "OK");
        assert_eq!(client.ask("GET key").string(), "value");
    }
}

/// Bytes of a handshake and of records behind it that come one at a time, over any buffers.
#[test]
fn handshake_may_come_byte_by_byte() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let tiny = ["--receive-buffer-bytes", "64", "--receive-buffers", "16"];
        let args = [&["--io-backend", backend, "--workers", "1"], &tiny[..]].concat();
        let server = Server::start_tls(&authority, &args);
        let mut stream = slow(&server, &authority);
        stream.write_all(b"PING\r\n").expect("it reads");
        let mut reply = [0; 7];
        stream.read_exact(&mut reply).expect("a reply");
        assert_eq!(&reply, b"+PONG\r\n");
    }
}

/// A client whose handshake is sent a byte at a time.
fn slow(server: &Server, authority: &Authority) -> crate::harness::tls::TlsStream {
    let socket = std::net::TcpStream::connect(server.tls_address()).expect("it listens");
    socket.set_nodelay(true).expect("it is open");
    let name = "localhost".try_into().expect("it is a name");
    let mut connection = rustls::ClientConnection::new(authority.client(), name).expect("it can begin");
    let (mut socket, mut received) = (socket, [0; 4096]);
    while connection.is_handshaking() || connection.wants_write() {
        let mut records = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut records).expect("it is memory");
        }
        for byte in records {
            socket.write_all(&[byte]).expect("it reads");
        }
        if connection.is_handshaking() {
            let count = socket.read(&mut received).expect("an answer");
            let mut rest = &received[..count];
            while !rest.is_empty() {
                connection.read_tls(&mut rest).expect("it is memory");
                connection.process_new_packets().expect("it is a handshake");
            }
        }
    }
    rustls::StreamOwned::new(connection, socket)
}

#[test]
fn large_values_go_both_ways() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "2"]);
        let mut client = server.tls_client();
        for len in [16_383, 16_384, 16_385, 65_535, 65_536, 300_000, 3_000_000, 20_000_000] {
            let value: Vec<u8> = (0..len).map(|n| (n * 7 + n / 251) as u8).collect();
            assert_eq!(client.call(&[&b"SET"[..], b"k", &value]).string(), "OK");
            assert_eq!(server.client().ask("STRLEN k").int(), Some(len as i64));
            assert!(client.ask("GET k").text() == value, "{len} bytes are others");
            // Several of them behind each other, with small replies in between.
            let several = [command(&["GET", "k"]), command(&["PING"])].concat().repeat(3);
            client.send_raw(&several).expect("it reads");
            for _ in 0..3 {
                assert!(client.read().expect("a reply").text() == value, "{len} bytes are others");
                assert_eq!(client.read().expect("a reply").string(), "PONG");
            }
        }
        // A large bulk that ends in the middle of a record, with commands behind it.
        let bytes = [command(&["SET", "k", &"x".repeat(100_000)]), b"PING\r\n".repeat(10)].concat();
        client.send_raw(&bytes).expect("it reads");
        assert_eq!(client.read().expect("a reply").string(), "OK");
        (0..10).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "PONG"));
    }
}

#[test]
fn messages_are_pushed() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(&authority, &["--io-backend", backend, "--workers", "3"]);
        let mut listeners: Vec<Client> = (0..5).map(|_| server.tls_client()).collect();
        for listener in &mut listeners {
            listener.ask("SUBSCRIBE news");
        }
        let mut publisher = server.tls_client();
        let long = "m".repeat(200_000);
        for n in 0..100 {
            assert_eq!(publisher.ask(&format!("PUBLISH news {n}")).int(), Some(5));
        }
        assert_eq!(publisher.call(&["PUBLISH", "news", &long]).int(), Some(5));
        for listener in &mut listeners {
            for n in 0..100 {
                assert_eq!(listener.read().expect("a message").elements()[2].string(), n.to_string());
            }
            assert_eq!(listener.read().expect("a message").elements()[2].string(), long);
        }
        let mut waiting = server.tls_client();
        waiting.send(&["BLPOP", "list", "0"]).expect("it reads");
        assert!(until(|| info(&server, "clients", "blocked_clients") == 1));
        publisher.ask("RPUSH list element");
        assert_eq!(waiting.read().expect("a reply").elements()[1].string(), "element");
    }
}

/// Who does not read is not read from, and closed beyond its limit, as without TLS: what counts is what was said.
#[test]
fn replies_that_are_not_read_are_bounded() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let limit = ["--client-output-buffer-limit", "normal 4mb 0 0"];
        let args = [&["--io-backend", backend, "--workers", "1"], &limit[..]].concat();
        let server = Server::start_tls(&authority, &args);
        let mut client = server.client();
        client.call(&["SET", "k", &"v".repeat(1_000_000)]);
        let mut silent = server.tls_client();
        silent.ask("CLIENT SETNAME silent");
        silent.send_raw(&command(&["GET", "k"]).repeat(3)).expect("it reads");
        assert_eq!(client.ask("PING").string(), "PONG");
        for _ in 0..3 {
            assert_eq!(silent.read().expect("a reply").text().len(), 1_000_000);
        }
        silent.send_raw(&command(&["LRANGE", "list", "0", "-1"])).expect("it reads");
        assert_eq!(silent.read().expect("a reply").elements().len(), 0);
        client.call(&["SET", "k", &"v".repeat(30_000_000)]);
        silent.send_raw(&command(&["GET", "k"])).expect("it reads");
        let closed = || info(&server, "stats", "client_output_buffer_limit_disconnections") == 1;
        assert!(until(closed), "{}", client.ask("CLIENT LIST").string());
    }
}

#[test]
fn connections_move_with_their_sessions() {
    let authority = Authority::new();
    for backend in BACKENDS {
        let server = Server::start_tls(
            &authority,
            &["--io-backend", backend, "--workers", "2", "--active-workers-min", "1"],
        );
        std::thread::scope(|scope| {
            for number in 0..16 {
                let server = &server;
                scope.spawn(move || {
                    let mut client = server.tls_client();
                    for n in 0..1500 {
                        let commands: Vec<u8> =
                            (0..20).flat_map(|_| command(&["INCR", &format!("n{number}")])).collect();
                        client.send_raw(&commands).expect("it reads");
                        for i in 1..=20 {
                            assert_eq!(client.read().expect("a reply").int(), Some(n * 20 + i));
                        }
                    }
                });
            }
        });
        assert_eq!(info(&server, "stats", "tls_handshakes_failed"), 0);
    }
}

/// Any port will do beside the other one, and both serve the same data.
#[test]
fn plain_port_beside_it_serves_the_same() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &["--workers", "2"]);
    let mut plain = server.client();
    assert_eq!(server.tls_client().ask("SET k v").string(), "OK");
    assert_eq!(plain.ask("GET k").string(), "v");
    let addresses = plain.ask("CLIENT LIST").string();
    assert!(addresses.lines().all(|line| line.contains("flags=")), "{addresses}");
}
