//! The limits on clients, each at its edge: what is refused, what is closed, and that others notice nothing.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::harness::{Client, Server, TempDir, Value, command, pause_ms, until};

fn closes(client: &mut Client) -> bool {
    client.read_to_end().1.is_ok()
}

#[test]
fn maxclients_refuses_the_next_one() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--maxclients", "10", "--workers", workers]);
        let mut clients: Vec<Client> = Vec::new();
        // The connection that the start was awaited with may not be gone yet.
        let full = until(|| {
            let mut client = server.client();
            let taken = client.ask("PING").string() == "PONG";
            if taken {
                clients.push(client);
            }
            clients.len() == 10
        });
        assert!(full, "only {} clients were taken", clients.len());
        let mut refused = server.client();
        assert_eq!(refused.read().expect("a reason").string(), "ERR max number of clients reached");
        assert!(closes(&mut refused), "the refused connection stays open");
        for client in &mut clients {
            assert_eq!(client.ask("PING").string(), "PONG");
        }
        drop(clients.pop());
        assert!(until(|| server.client().ask("PING").string() == "PONG"), "a freed place is not given away");
    }
}

#[test]
fn idle_clients_are_closed_after_the_timeout() {
    let server = Server::start(&["--timeout", "1", "--workers", "2"]);
    let mut idle = server.client();
    assert_eq!(idle.ask("PING").string(), "PONG");
    let mut busy = server.client();
    idle.set_nonblocking(true);
    let closed = until(|| {
        assert_eq!(busy.ask("PING").string(), "PONG");
        matches!(idle.read_to_end(), (_, Ok(())))
    });
    assert!(closed, "an idle client stays");
    assert_eq!(busy.ask("PING").string(), "PONG");
}

#[test]
fn the_query_buffer_limit_closes_the_connection() {
    let server = Server::start(&["--client-query-buffer-limit", "1mb"]);
    let mut client = server.client();
    // One command of many arguments: no single one is long.
    let arguments = b"$10\r\naaaaaaaaaa\r\n".repeat(400_000);
    let mut sent = client.send_raw(b"*400001\r\n$3\r\nDEL\r\n");
    for chunk in arguments.chunks(1 << 16) {
        sent = sent.and_then(|()| client.send_raw(chunk));
    }
    let unanswered = sent.is_err() || client.read().is_err();
    assert!(unanswered, "a command of 7 MB was taken with a limit of 1 MB");
    assert_eq!(server.client().ask("PING").string(), "PONG");
}

#[test]
fn the_output_buffer_limit_closes_the_connection() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 4mb 0 0", "--workers", "2"]);
    let mut client = server.client();
    assert_eq!(client.call(&["SET", "k", &"x".repeat(1 << 20)]).string(), "OK");
    client.set_nonblocking(true);
    let commands = command(&["MGET", "k", "k", "k", "k", "k", "k", "k", "k", "k", "k"]).repeat(4);
    client.send_raw(&commands).expect("few bytes fit into the socket's buffer");
    let mut neighbour = server.client();
    let gone = until(|| neighbour.ask("CLIENT LIST").string().lines().count() == 1);
    assert!(gone, "a client with 40 MB of unread replies stays: {}", neighbour.ask("CLIENT LIST").string());
    client.set_nonblocking(false);
    drop(client.read_to_end());
    assert_eq!(neighbour.ask("PING").string(), "PONG");
}

/// The soft limit lets a client be above it for so many seconds, but no longer; who is below it again begins anew.
#[test]
fn the_soft_output_buffer_limit_closes_the_connection_in_time() {
    const SECONDS: u64 = 2;
    for workers in ["1", "2"] {
        let limit = format!("normal 0 1mb {SECONDS}");
        let server = Server::start(&["--client-output-buffer-limit", &limit, "--workers", workers]);
        let mut client = server.client();
        assert_eq!(client.call(&["SET", "k", &"x".repeat(1 << 20)]).string(), "OK");
        let mut neighbour = server.client();
        let mut clients = || neighbour.ask("CLIENT LIST").string().lines().count();
        let much = command(&["GET", "k"]).repeat(8);
        // Above the limit for a moment: nothing happens.
        for _ in 0..2 {
            client.send_raw(&much).expect("few bytes fit into the socket's buffer");
            for _ in 0..8 {
                assert_eq!(client.read().expect("it is not closed").string().len(), 1 << 20);
            }
        }
        // Above it for longer: not before the time is up, and soon after.
        let began = Instant::now();
        client.send_raw(&much).expect("few bytes fit into the socket's buffer");
        assert!(until(|| clients() == 1), "a client above the soft limit stays");
        let took = began.elapsed();
        assert!(took >= Duration::from_secs(SECONDS), "closed after {took:?}");
        assert!(took < Duration::from_secs(SECONDS + 5), "closed only after {took:?}");
        assert!(
            neighbour.ask("INFO stats").string().contains("client_output_buffer_limit_disconnections:1\r\n")
        );
    }
}

#[test]
fn a_password_is_asked_for() {
    let server = Server::start(&["--requirepass", "secret", "--workers", "2"]);
    let mut client = server.client();
    assert_eq!(client.ask("GET k").string(), "NOAUTH Authentication required.");
    assert!(client.ask("AUTH wrong").string().starts_with("WRONGPASS"));
    assert_eq!(client.ask("AUTH secret").string(), "OK");
    assert!(client.ask("GET k").is_null());
    let mut other = server.client();
    assert!(!other.ask("HELLO 3 AUTH default secret").is_error());
    assert!(other.ask("GET k").is_null());
    // Before that, nothing long is even read.
    let mut stranger = server.client();
    stranger.send_raw(b"*11\r\n").expect("the server reads");
    assert_eq!(
        stranger.read().expect("a reply").string(),
        "ERR Protocol error: unauthenticated multibulk length"
    );
}

/// A large bulk was counted again for each command queued behind the one that it belongs to, if they had arrived together: a
/// hundred small ones behind a value of 900 KB were taken for 90 MB, and the client was closed.
#[test]
fn a_large_value_in_a_transaction_counts_once() {
    let server = Server::start(&["--client-query-buffer-limit", "2mb"]);
    let mut client = server.client();
    let value = "v".repeat(900_000);
    let mut all = [command(&["MULTI"]), command(&["SET", "large", &value])].concat();
    (0..100).for_each(|n| all.extend(command(&["SET", &format!("small:{n}"), "value"])));
    client.send_raw(&all).expect("it takes it");
    assert_eq!(client.read().expect("a reply").string(), "OK");
    (0..101).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "QUEUED"));
    assert_eq!(client.ask("EXEC").elements().len(), 101);
    assert_eq!(client.ask("STRLEN large").int(), Some(900_000));
    assert_eq!(client.ask("GET small:99").string(), "value");
}

/// CLIENT KILL said 1 for a client that had sent QUIT and does not read, hid it, and left it open for ever.
#[test]
fn a_client_that_quits_and_does_not_read_can_be_killed() {
    let server = Server::start(&["--workers", "1"]);
    let (mut admin, mut client) = (server.client(), server.client());
    let id = client.ask("CLIENT ID").int().expect("a number");
    assert_eq!(admin.ask(&format!("SET k {}", "v".repeat(60_000))).string(), "OK");
    client.send_raw(&[command(&["GET", "k"]).repeat(12), command(&["QUIT"])].concat()).expect("it takes it");
    let line = format!("CLIENT LIST ID {id}");
    assert!(until(|| !admin.ask(&line).string().contains("omem=0 ")), "its replies are sent");
    assert_eq!(admin.ask(&format!("CLIENT KILL ID {id}")).int(), Some(1));
    assert!(until(|| admin.ask("INFO clients").string().contains("connected_clients:1\r")));
    // What the kernel had already, and then the end.
    let (_, end) = client.read_to_end();
    assert!(end.is_ok(), "a killed connection stays open");
}

/// A bulk that was being received was not counted, however long it was announced to be.
#[test]
fn a_bulk_counts_from_its_announcement() {
    let server = Server::start(&["--client-query-buffer-limit", "1mb"]);
    let mut client = server.client();
    client.send_raw(b"*2\r\n$4\r\nECHO\r\n$30000000\r\nbegin").expect("it takes it");
    assert!(closes(&mut client), "a bulk of 30 MB is awaited");
    let text = server.client().ask("INFO clients").string() + &server.client().ask("INFO stats").string();
    assert!(text.contains("client_query_buffer_limit_disconnections:1\r"), "{text}");
}

/// What had arrived in one go counted as if the client's commands were not whole: a pipeline longer than the limit was refused
/// if it came fast enough, and so was a command of several bulks, each of them within the limit.
#[test]
fn pipelines_and_commands_may_be_longer_than_the_limit() {
    for backend in ["io_uring", "epoll"] {
        let server =
            Server::start(&["--client-query-buffer-limit", "1mb", "--workers", "1", "--io-backend", backend]);
        let mut client = server.client();
        for size in [100, 1000, 30_000, 100_000] {
            let value = "v".repeat(size);
            let mut words = vec!["MSET".to_owned()];
            (0..30).for_each(|n| words.extend([format!("key:{size}:{n}"), value.clone()]));
            let one = command(&words);
            let count = 3_000_000 / one.len() + 1;
            let reader = |client: &mut Client| {
                (0..count).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "OK"));
            };
            client.send_raw(&one.repeat(count)).expect("it takes it");
            reader(&mut client);
        }
    }
}

/// Commands so short that a turn does not take all that a receive buffer holds: what was left was kept, and the next buffer put
/// behind it, and so on, so that ever more was kept and moved in each turn.
#[test]
fn a_stream_of_short_commands_does_not_pile_up() {
    const COUNT: usize = 300_000;
    // What lies in receive buffers, 128 KiB at most, counts too.
    const KEPT_BYTES_MAX: usize = 384 << 10;
    for one in [&b"PING\r\n"[..], b"*1\r\n$4\r\nPING\r\n"] {
        let server = Server::start(&["--workers", "1", "--receive-buffers", "8"]);
        let (mut admin, mut client) = (server.client(), server.client());
        let line = format!("CLIENT LIST ID {}", client.ask("CLIENT ID").int().expect("a number"));
        let (mut writer, all) = (client.try_clone().expect("a second handle"), one.repeat(COUNT));
        std::thread::scope(|scope| {
            scope.spawn(move || writer.send_raw(&all).expect("it takes it"));
            let reading = scope.spawn(move || {
                (0..COUNT).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "PONG"));
                client
            });
            while !reading.is_finished() {
                let text = admin.ask(&line).string();
                let kept = text.split_whitespace().find_map(|field| field.strip_prefix("qbuf="));
                let kept: usize = kept.and_then(|kept| kept.parse().ok()).expect("a number");
                assert!(kept < KEPT_BYTES_MAX, "{text}");
            }
        });
    }
}

/// A buffer as long as the last replies stayed with every connection that had ever replied.
#[test]
fn idle_connections_keep_no_buffers() {
    const DEPTH: usize = 900;
    let server = Server::start(&["--workers", "1"]);
    let mut admin = server.client();
    assert_eq!(admin.ask(&format!("SET k {}", "v".repeat(60))).string(), "OK");
    let mut clients: Vec<Client> = (0..20).map(|_| server.client()).collect();
    for _ in 0..2 {
        for client in &mut clients {
            client.send_raw(&command(&["GET", "k"]).repeat(DEPTH)).expect("it takes it");
            (0..DEPTH).for_each(|_| assert_eq!(client.read().expect("a reply").string().len(), 60));
        }
    }
    let small = until(|| {
        let text = admin.ask("CLIENT LIST").string();
        let totals = text.split_whitespace().filter_map(|field| field.strip_prefix("tot-mem="));
        totals.map(|total| total.parse::<usize>().expect("a number")).all(|total| total < 5000)
    });
    assert!(small, "{}", admin.ask("CLIENT LIST").string());
}

/// A client that does not read its replies was kept for ever, whatever `timeout` says.
#[test]
fn clients_that_do_not_read_are_idle() {
    let server = Server::start(&["--timeout", "1", "--workers", "1"]);
    let (mut admin, mut client) = (server.client(), server.client());
    let value = "v".repeat(60_000);
    assert_eq!(admin.ask(&format!("SET k {value}")).string(), "OK");
    client.send_raw(&command(&["GET", "k"]).repeat(200)).expect("it takes it");
    assert!(until(|| admin.ask("INFO clients").string().contains("connected_clients:1\r")), "it stays");
}

/// A command whose leases another worker holds is put back. Its large values went into the query buffer for that, where they
/// counted: a client that had done nothing wrong was disconnected, because somebody else was busy.
#[test]
fn large_command_that_has_to_wait_for_leases_is_no_input_that_is_kept() {
    const VALUE_BYTES: usize = 400_000;
    let server = Server::start(&[
        "--workers",
        "2",
        "--client-query-buffer-limit",
        "1mb",
        "--enable-debug-command",
        "yes",
    ]);
    let mut busy = server.client();
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let waited = server.workers_sum("leases_retried");
    for round in 0..3 {
        let values = ["a", "b", "c"].map(|letter| letter.repeat(VALUE_BYTES + round));
        let mset = command(&["MSET", "ka", &values[0], "kb", &values[1], "kc", &values[2]]);
        // A large value last, one between, and what lies behind the command.
        let behind =
            [command(&["STRLEN", "kc"]), command(&["SET", "kd", &values[0]]), command(&["PING"])].concat();
        busy.send(&["DEBUG", "SLEEP", "0.3"]).expect("it takes it");
        std::thread::scope(|scope| {
            for client in &mut clients {
                scope.spawn(|| {
                    client.send_raw(&mset).and_then(|()| client.send_raw(&behind)).expect("it takes it");
                    let replies: Vec<Value> = (0..4).map(|_| client.read().expect("a reply")).collect();
                    assert_eq!(replies[0].string(), "OK");
                    assert_eq!(replies[1].int(), Some((VALUE_BYTES + round) as i64));
                    assert_eq!((replies[2].string(), replies[3].string()), ("OK".into(), "PONG".into()));
                });
            }
        });
        assert_eq!(busy.read().expect("a reply").string(), "OK");
        for (key, value) in [("ka", &values[0]), ("kb", &values[1]), ("kc", &values[2]), ("kd", &values[0])] {
            assert!(busy.call(&["GET", key]).string() == *value, "{key} has another value");
        }
    }
    assert!(server.workers_sum("leases_retried") > waited, "no command had to wait");
    let stats = busy.ask("INFO stats").string();
    assert!(stats.contains("client_query_buffer_limit_disconnections:0\r\n"), "{stats}");
}

/// The same for a pause.
#[test]
fn large_command_that_is_held_back_runs_as_it_came() {
    let server = Server::start(&["--workers", "1", "--client-query-buffer-limit", "1mb"]);
    let (mut client, mut other) = (server.client(), server.client());
    let (first, second) = ("x".repeat(900_000), "y".repeat(900_000));
    assert_eq!(other.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
    client.send(&["MSET", "a", &first, "b", &second]).expect("it takes it");
    assert!(until(|| other.ask("INFO clients").string().contains("blocked_clients:1\r\n")));
    // It is still there, and counts as memory, but not as input.
    let list = other.ask("CLIENT LIST").string();
    let line = list.lines().find(|line| line.contains("cmd=mset")).expect("it has sent it");
    let field = |name: &str| -> u64 {
        let text = line.split(' ').find_map(|field| field.strip_prefix(name)).expect("it is listed");
        text.parse().expect("a number")
    };
    assert!(field("qbuf=") < 1000 && field("tot-mem=") > 1_800_000, "{line}");
    client.send_raw(&command(&["PING"]).repeat(1000)).expect("it takes it");
    assert_eq!(other.ask("CLIENT UNPAUSE").string(), "OK");
    assert_eq!(client.read().expect("a reply").string(), "OK");
    (0..1000).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "PONG"));
    assert!(client.call(&["GET", "b"]).string() == second);
}

/// What a large bulk brings is received elsewhere, and counts as well.
#[test]
fn client_list_counts_bytes_and_commands_of_each() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let (mut client, mut other) = (server.client(), server.client());
        other.ask("PING");
        let id = client.ask("CLIENT ID");
        let value = "v".repeat(100_000);
        client.call(&["SET", "key", &value]);
        client.send_raw(&command(&["GET", "key"]).repeat(10)).expect("it takes it");
        (0..10).for_each(|_| assert_eq!(client.read().expect("a reply").text().len(), value.len()));
        ["MULTI", "PING", "EXEC"].into_iter().for_each(|words| drop(client.ask(words)));
        let ask = format!("CLIENT LIST ID {}", id.int().expect("a number"));
        let mut figure = |name: &str| -> u64 {
            let line = other.ask(&ask).string();
            let text = line.split(' ').find_map(|field| field.strip_prefix(name)).expect("it is listed");
            text.parse().unwrap_or_else(|_| panic!("{line}"))
        };
        assert!(until(|| figure("tot-cmds=") == 15), "{}", figure("tot-cmds="));
        assert!(
            until(|| (1_000_000..1_001_000).contains(&figure("tot-net-out="))),
            "{}",
            figure("tot-net-out=")
        );
        assert!((100_000..101_000).contains(&figure("tot-net-in=")), "{}", figure("tot-net-in="));
    }
}

/// Torc where it may have so many files open; the log, and the process.
fn with_open_files(limit: u32, dir: &TempDir, args: &[&str]) -> (PathBuf, Child) {
    let log = dir.path().join("log");
    let out = File::create(&log).expect("the directory can be written");
    let mut command = Command::new("prlimit");
    command.arg(format!("--nofile={limit}:{limit}")).arg(env!("CARGO_BIN_EXE_torc"));
    command.args(["--port", "0", "--unixsocket"]).arg(dir.path().join("socket")).args(args);
    // Root may raise any limit: this is to be about those who may not.
    command.args(["--dir"]).arg(dir.path());
    let mut without_rights = Command::new("setpriv");
    without_rights.args(["--bounding-set=-sys_resource", "--inh-caps=-sys_resource"]);
    without_rights.arg(command.get_program()).args(command.get_args());
    without_rights.stderr(out.try_clone().expect("it is open")).stdout(out);
    (log, without_rights.spawn().expect("util-linux is installed"))
}

/// Rings, eventfds and the workers' handles of listening sockets counted for nothing: of 192 clients promised 167 were answered, and
/// the others waited for ever.
#[test]
fn as_many_clients_are_promised_as_can_be_answered() {
    for backend in ["io_uring", "epoll"] {
        let dir = TempDir::new();
        let args = ["--workers", "16", "--io-backend", backend, "--active-workers-min", "64"];
        let (log, mut child) = with_open_files(256, &dir, &args);
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        assert!(until(
            || said().contains("Ready to accept") || child.try_wait().is_ok_and(|end| end.is_some())
        ));
        let socket = dir.path().join("socket");
        let connect = || Client::unix(&socket).unwrap_or_else(|error| panic!("{error}\n{}", said()));
        let mut admin = connect();
        let promised = admin.ask("CONFIG GET maxclients").elements()[1].string();
        let promised: usize = promised.parse().expect("a number");
        assert!(said().contains(&format!(
            "Current maximum open files is 256. maxclients has been reduced to {promised}"
        )));
        assert!(promised > 128, "{promised}");
        let mut clients: Vec<Client> = (1..promised).map(|_| connect()).collect();
        for client in &mut clients {
            assert_eq!(client.ask("PING").string(), "PONG");
        }
        for _ in 0..100 {
            let refused = connect().read().expect("who is too many is told so").string();
            assert_eq!(refused, "ERR max number of clients reached");
        }
        assert_eq!(admin.ask("INFO").string().lines().next(), Some("# Server"));
        admin.send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
        assert!(child.wait().expect("it is a child").success(), "{}", said());
    }
}

/// It became a server for one client.
#[test]
fn a_limit_of_open_files_that_leaves_no_clients_ends_the_start() {
    let dir = TempDir::new();
    let (log, mut child) = with_open_files(64, &dir, &["--workers", "16"]);
    assert!(!child.wait().expect("it is a child").success());
    let said = std::fs::read_to_string(&log).expect("there is a log");
    let cause = "Your current 'ulimit -n' of 64 is not enough for the server to start. Please increase your open file limit";
    assert!(said.contains(cause), "{said}");
}

/// A server that may open no more files left clients in the backlog: they were connected and heard nothing. Each is told, at
/// once, as if there were too many; nobody who was there notices, and who comes when there is room again is served.
#[test]
fn client_without_a_descriptor_is_told_so() {
    for (backend, workers) in [("io_uring", "1"), ("io_uring", "2"), ("epoll", "1"), ("epoll", "2")] {
        let mut server = Inheritor::start(backend, workers);
        let mut served = vec![server.connect()];
        let mut refused = 0;
        while refused < 50 {
            let mut client = server.connect();
            // Unasked, a client is told nothing but why it is refused.
            match client.send(&["PING"]).and_then(|()| client.read()) {
                Ok(reply) if reply.string() == "PONG" => served.push(client),
                Ok(reply) => {
                    assert_eq!(reply.string(), "ERR max number of clients reached");
                    refused += 1;
                }
                // Closed before its command was read: what it was told is lost on the way.
                Err(error) if matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe) => {
                    refused += 1;
                }
                Err(error) => panic!("{backend}: {error}\n{}", server.said()),
            }
        }
        assert!(served.len() > 4, "{} were served", served.len());
        let mut silent = server.connect();
        assert_eq!(silent.read().expect("a reason").string(), "ERR max number of clients reached");
        assert!(closes(&mut silent), "the refused connection stays open");
        served.iter_mut().for_each(|client| assert_eq!(client.ask("PING").string(), "PONG"));
        let stats = served[0].ask("INFO stats").string();
        assert!(stats.contains("rejected_connections:51\r\n"), "{stats}");
        assert!(server.said().contains("Error accepting a client connection: Too many open files"));
        // Nobody is looked for while nobody comes.
        let turns = |client: &mut Client| -> u64 {
            let text = client.ask("INFO workers").string();
            let counts = text.split([',', ':', '\r', '\n']).filter_map(|field| field.strip_prefix("turns="));
            counts.map(|count| count.parse::<u64>().expect("a number")).sum()
        };
        let before = turns(&mut served[0]);
        pause_ms(500);
        let taken = turns(&mut served[0]) - before;
        assert!(taken < 200, "{backend}: {taken} turns in half a second at rest");
        drop(served.pop());
        // Until the place is free, a client is refused, and may be closed before it could ask.
        let is_served = || {
            let mut client = server.connect();
            client.send(&["PING"]).and_then(|()| client.read()).is_ok_and(|reply| reply.string() == "PONG")
        };
        assert!(until(is_served), "a freed place is not given away");
        served[0].send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
        assert!(server.child.wait().expect("it is a child").success(), "{}", server.said());
    }
}

/// A server that inherits descriptors nobody told it of, so that it has fewer than it promises.
struct Inheritor {
    dir: TempDir,
    log: PathBuf,
    child: Child,
}

impl Inheritor {
    fn start(backend: &str, workers: &str) -> Self {
        const LIMIT: u32 = 100;
        // Open when the child starts, and not to be closed then.
        let inherited: Vec<File> =
            (0..LIMIT / 2).map(|_| File::open("/dev/null").expect("it is there")).collect();
        for file in &inherited {
            rustix::io::fcntl_setfd(file, rustix::io::FdFlags::empty()).expect("it is open");
        }
        let dir = TempDir::new();
        let args = ["--workers", workers, "--io-backend", backend, "--active-workers-min", "64"];
        let (log, child) = with_open_files(LIMIT, &dir, &args);
        let mut server = Self { dir, log, child };
        assert!(
            until(|| server.said().contains("Ready to accept") || server.has_ended()),
            "{}",
            server.said()
        );
        server
    }

    fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|end| end.is_some())
    }

    fn connect(&self) -> Client {
        let socket = self.dir.path().join("socket");
        Client::unix(&socket).unwrap_or_else(|error| panic!("{error}\n{}", self.said()))
    }

    fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}
