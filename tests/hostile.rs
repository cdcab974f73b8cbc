//! What no honest client sends: malformed and unfinished input, absurd sizes, readers that do not read, and cuts everywhere.
//!
//! Where Redis has an answer, it is asked for it in the same test.

use std::io;

use crate::harness::{Client, Rng, Server, Value, command, until};

/// Bytes that are no commands, or only some; after them the client ends its sending.
const MALFORMED: &[&[u8]] = &[
    b"*1\r\n$a\r\n",
    b"*a\r\n",
    b"*1\r\n:4\r\nPING\r\n",
    b"*1\r\n+PING\r\n",
    b"*1\r\n$-1\r\n",
    b"*1\r\n$-2\r\n",
    b"*-1\r\nPING\r\n",
    b"*0\r\nPING\r\n",
    b"*-99999999999\r\nPING\r\n",
    b"*2147483648\r\n",
    b"*99999999999999999999\r\n",
    b"*1\r\n$536870913\r\n",
    b"*1\r\n$99999999999999999999\r\n",
    b"*1\r\n$4 \r\nPING\r\n",
    b"* 1\r\n$4\r\nPING\r\n",
    b"*+1\r\n$4\r\nPING\r\n",
    b"*01\r\n$4\r\nPING\r\n",
    b"*1\r\n$04\r\nPING\r\n",
    b"*\r\n",
    b"*1\r\n$\r\n\r\n",
    b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
    b"*1\r\n$4\r\nPINGPING\r\n",
    b"PING\r\n*1\r\nPING\r\n",
    b"*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n*1\r\n$4\r\nPING\r\n",
    b"SET k \"unbalanced\r\nPING\r\n",
    b"SET k 'unbalanced\r\n",
    b"SET k \"a\"b\r\n",
    b"\"PING\"\r\n",
    b"PING \"a b\" \r\n",
    b"PING '\\''\r\n",
    b"PING \"\\x41\\n\"\r\n",
    b"\r\n\r\n\n\nPING\r\n",
    b"   \r\nPING\r\n",
    b"  PING  \r\n",
    b"PING\n",
    b"GET / HTTP/1.1\r\n",
    b"POST / HTTP/1.1\r\n",
    b"hOST: 127.0.0.1\r\n",
    b"Host\r\n",
    b"*1\r\n$4\r\npOST\r\n",
    b"*2\r\n$5\r\nHost:\r\n$1\r\na\r\n",
    b"$4\r\nPING\r\n",
    b":1\r\n",
    b"\xff\xfe\xfd\r\n",
    b"*1\r\n$0\r\n\r\n",
    b"*2\r\n$0\r\n\r\n$0\r\n\r\n",
    b"*1\n$4\nPING\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhel",
    b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n",
    b"*3\r\n",
    b"*",
    b"PIN",
    b"",
];

fn answer(mut client: Client, bytes: &[u8]) -> Vec<u8> {
    client.send_raw(bytes).expect("the server takes what fits into a socket's buffer");
    client.finish().expect("the socket is open");
    let (answer, end) = client.read_to_end();
    assert!(end.is_ok(), "{:?} is not answered by an orderly end: {end:?}", bytes.escape_ascii().to_string());
    answer
}

#[test]
fn malformed_input_is_answered_as_by_redis() {
    let redis = Server::redis(&[]);
    for args in [&["--workers", "1"][..], &["--io-backend", "epoll", "--receive-buffer-bytes", "64"]] {
        let mut torc = Server::start(args);
        for bytes in MALFORMED {
            let expected = answer(redis.client(), bytes).escape_ascii().to_string();
            let given = answer(torc.client(), bytes).escape_ascii().to_string();
            assert_eq!(given, expected, "to {:?} with {args:?}", bytes.escape_ascii().to_string());
        }
        torc.check_alive();
    }
}

/// A page had a browser send `POST / HTTP/1.1`, headers, and commands in its body: these ran.
#[test]
fn a_browser_is_not_served_and_the_log_says_so_once() {
    let request = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nSET k v\r\n";
    let server = Server::start(&["--workers", "3"]);
    for _ in 0..4 {
        let mut browser = server.client();
        browser.send_raw(request).expect("the server takes what fits into a socket's buffer");
        // The connection ends with input that is not read: in order or not.
        assert_eq!(browser.read_to_end().0, b"");
    }
    assert!(server.client().ask("GET k").is_null());
    let warning = "Possible SECURITY ATTACK detected.";
    assert!(until(|| server.log().contains(warning)));
    assert_eq!(server.log().matches(warning).count(), 1, "{}", server.log());
}

#[test]
fn commands_cut_at_every_byte_are_whole_again() {
    let value = "v".repeat(200);
    let stream = [
        command(&["SET", "key", &value]),
        b"PING inline\r\n".to_vec(),
        command(&["GET", "key"]),
        b"SET k 'a b'\r\n".to_vec(),
        command(&["DEL", "key", "k", ""]),
    ]
    .concat();
    let expected = format!("+OK\r\n$6\r\ninline\r\n$200\r\n{value}\r\n+OK\r\n:2\r\n");
    for args in [
        &["--io-backend", "io_uring"][..],
        &["--io-backend", "epoll"],
        &["--io-backend", "io_uring", "--receive-buffer-bytes", "64", "--receive-buffers", "16"],
    ] {
        let server = Server::start(args);
        let mut client = server.client();
        let mut round = |pieces: &[&[u8]]| {
            for piece in pieces {
                client.send_raw(piece).expect("the server reads");
                // The other connection's reply shows that the server has seen the piece.
                assert_eq!(server.client().ask("PING").string(), "PONG");
            }
            let replies: Vec<u8> =
                (0..5).flat_map(|_| client.read_raw().expect("the server replies")).collect();
            assert_eq!(replies.escape_ascii().to_string(), expected.as_bytes().escape_ascii().to_string());
        };
        for cut in 1..stream.len() {
            round(&[&stream[..cut], &stream[cut..]]);
        }
        let bytes: Vec<&[u8]> = stream.chunks(1).collect();
        round(&bytes);
    }
}

/// Few buffers are in use at first: those who find none get theirs when more are.
#[test]
fn more_connections_send_at_once_than_there_are_buffers() {
    const CLIENTS: usize = 40;
    const DEPTH: usize = 200;
    for count in ["4", "64"] {
        let args = ["--workers", "1", "--receive-buffer-bytes", "1048576", "--receive-buffers", count];
        let mut server = Server::start(&args);
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| server.client()).collect();
        for round in 0..3 {
            for (number, client) in clients.iter_mut().enumerate() {
                let text = |n| format!("{round} {number} {n}");
                let commands: Vec<u8> = (0..DEPTH).flat_map(|n| command(&["PING", &text(n)])).collect();
                client.send_raw(&commands).expect("the server reads");
            }
            for (number, client) in clients.iter_mut().enumerate() {
                for n in 0..DEPTH {
                    let reply = client.read().expect("the server replies");
                    assert_eq!(reply.string(), format!("{round} {number} {n}"));
                }
            }
        }
        server.check_alive();
    }
}

#[test]
fn a_deep_pipeline_is_answered_in_order() {
    const DEPTH: usize = 10_000;
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let commands: Vec<u8> = (0..DEPTH).flat_map(|n| command(&["PING", &n.to_string()])).collect();
    // Fewer replies than what would fill the socket's buffers while this side is still sending.
    client.send_raw(&commands).expect("the server reads");
    for n in 0..DEPTH {
        assert_eq!(client.read().expect("the server replies").int(), Some(n as i64));
    }
}

/// `TORC_LARGE_VALUES=1` takes the largest value there may be, 512 MB.
#[test]
fn a_large_value_comes_back_as_it_was() {
    let megabytes = if std::env::var_os("TORC_LARGE_VALUES").is_some() { 512 } else { 64 };
    let mut rng = Rng(megabytes);
    let block: Vec<u8> = (0..1 << 17).flat_map(|_| rng.next().to_le_bytes()).collect();
    let value = block.repeat(megabytes as usize);
    for backend in ["io_uring", "epoll"] {
        let mut server = Server::start(&["--io-backend", backend]);
        let mut client = server.client();
        assert_eq!(client.call(&[b"SET", &b"k"[..], &value]).string(), "OK");
        assert_eq!(client.ask("STRLEN k").int(), Some(value.len() as i64));
        let reply = client.ask("GET k");
        assert!(reply.text() == value, "{megabytes} MB came back changed by {backend}");
        drop(client);
        server.check_alive();
    }
}

#[test]
fn an_argument_longer_than_allowed_ends_the_connection() {
    let server = Server::start(&["--proto-max-bulk-len", "1mb"]);
    let mut client = server.client();
    let reply = client.call(&[b"SET", &b"k"[..], &vec![b'x'; 1 << 20]]);
    assert_eq!(reply.string(), "OK");
    client.send_raw(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n").expect("the server reads");
    assert_eq!(client.read().expect("a reply").string(), "ERR Protocol error: invalid bulk length");
    assert!(client.read().is_err(), "the connection stays open");
}

/// With `proto-max-bulk-len` at its highest a header of a few bytes, or an offset, ended the server: it has to have memory for
/// what it promises to take.
#[test]
fn what_no_memory_holds_is_refused() {
    let mut server = Server::start(&["--proto-max-bulk-len", &i64::MAX.to_string()]);
    for len in [i64::MAX, 1 << 60, (1 << 40) + 1] {
        let mut client = server.client();
        let header = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n");
        client.send_raw(header.as_bytes()).expect("the server reads");
        let reply = client.read().expect("a reply").string();
        assert_eq!(reply, "ERR Protocol error: invalid bulk length", "{len}");
    }
    let mut client = server.client();
    for offset in [i64::MAX - 1, 1 << 60, 1 << 40] {
        let reply = client.ask(&format!("SETRANGE k {offset} x")).string();
        assert_eq!(reply, "ERR string exceeds maximum allowed size (proto-max-bulk-len)", "{offset}");
    }
    assert_eq!(client.ask("SETRANGE k 1073741824 x").int(), Some((1 << 30) + 1));
    server.check_alive();
}

/// A client sends without ever reading: the server stops reading from it, keeps little, and goes on with others.
#[test]
fn a_client_that_never_reads_is_bounded() {
    const COMMANDS: usize = 1_000_000;
    const GROWTH_BYTES_MAX: u64 = 48 << 20;
    for args in [["--io-backend", "io_uring", "--workers", "1"], ["--io-backend", "epoll", "--workers", "1"]]
    {
        let mut server = Server::start(&args);
        let mut neighbour = server.client();
        assert_eq!(neighbour.call(&["SET", "k", &"v".repeat(1000)]).string(), "OK");
        let before = server.resident_bytes();
        let mut client = server.client();
        client.set_nonblocking(true);
        let one = command(&["GET", "k"]);
        let stream = one.repeat(COMMANDS);
        let (mut sent, mut refused) = (0, 0);
        // Goes on until the server has not taken anything for a while, as seen by the neighbour's round trips.
        while sent < stream.len() && refused < 200 {
            match client.send_some(&stream[sent..]) {
                Ok(some) => {
                    sent += some;
                    refused = 0;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => refused += 1,
                Err(error) => panic!("the connection broke: {error}"),
            }
            assert_eq!(neighbour.ask("PING").string(), "PONG");
        }
        let grown = server.resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "{grown} bytes kept for a client that does not read, {args:?}");
        assert!(sent < stream.len(), "the server took {sent} bytes of commands whose replies nobody reads");
        // When the client reads at last, everything is answered.
        client.set_nonblocking(false);
        for _ in 0..sent / one.len() {
            assert_eq!(client.read().expect("a reply").text().len(), 1000);
        }
        drop(client);
        server.check_alive();
    }
}

#[test]
fn clients_that_vanish_leave_nothing_behind() {
    let mut server = Server::start_tcp(&["--workers", "2"]);
    let value = "v".repeat(100_000);
    let mut rng = Rng(7);
    for round in 0..300 {
        let mut client = server.tcp_client();
        let stream = command(&["SET", "k", &value]).repeat(1 + rng.below(3));
        let cut = rng.below(stream.len());
        // The server may end the connection first.
        client.send_raw(&stream[..cut]).unwrap_or_default();
        if round % 3 != 0 {
            client.send_raw(&command(&["GET", "k"]).repeat(20)).unwrap_or_default();
        }
        if rng.once_in(2) {
            client.reset_on_drop();
        }
    }
    let mut client = server.client();
    let alone = until(|| client.ask("CLIENT LIST").string().lines().count() == 1);
    assert!(alone, "connections stay: {}", client.ask("CLIENT LIST").string());
    drop(client);
    server.check_alive();
}

#[test]
fn random_bytes_do_no_harm() {
    let mut server = Server::start(&["--workers", "2"]);
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let alphabet: &[u8] = if seed % 2 == 0 { b"*$\r\n0123456789 PINGSET\"'" } else { b"" };
        let bytes: Vec<u8> = (0..rng.below(2000))
            .map(|_| if alphabet.is_empty() { rng.next() as u8 } else { *rng.pick(alphabet) })
            .collect();
        let mut client = server.client();
        // The server may end the connection before it has read everything.
        client.send_raw(&bytes).and_then(|()| client.finish()).unwrap_or_default();
        drop(client.read_to_end());
        assert!(server.exit_status().is_none(), "seed {seed} ended the server:\n{}", server.log());
    }
    server.check_alive();
}

#[test]
fn a_slow_reader_gets_everything() {
    let server = Server::start(&["--workers", "1", "--io-backend", "epoll"]);
    let mut client = server.client();
    let value = "x".repeat(1 << 20);
    assert_eq!(client.call(&["SET", "k", &value]).string(), "OK");
    let mut neighbour = server.client();
    client.send_raw(&command(&["GET", "k"]).repeat(32)).expect("the server reads");
    for _ in 0..32 {
        assert_eq!(neighbour.ask("PING"), Value::Simple(b"PONG".to_vec()));
        assert_eq!(client.read().expect("a reply").text().len(), value.len());
    }
}
