//! How the server starts and ends: files, arguments, addresses, signals.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rustix::process::Signal;

use crate::harness::{
    Client, Server, TORC, TempDir, command, free_port, newest_program, outer_address, until,
};

/// Runs the server with these arguments until it ends by itself.
fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_torc")).args(args).output().expect("the binary was built")
}

#[test]
fn the_unix_socket_tcp_and_ipv6_are_all_served() {
    let port = free_port();
    let port_text = port.to_string();
    // The first pair of directives is the harness's; the last one given counts.
    let server = Server::start(&["--port", &port_text, "--bind", "127.0.0.1 ::1"]);
    let mut unix = server.client();
    assert_eq!(unix.ask("SET k v").string(), "OK");
    let addresses = [SocketAddr::from(([127, 0, 0, 1], port)), SocketAddr::from((Ipv6Addr::LOCALHOST, port))];
    for address in addresses {
        if address.is_ipv6() && std::net::TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_err() {
            continue;
        }
        let mut client =
            Client::tcp(address).unwrap_or_else(|error| panic!("{address}: {error}\n{}", server.log()));
        assert_eq!(client.ask("GET k").string(), "v");
    }
}

#[test]
fn a_configuration_file_of_redis_starts_torc() {
    let dir = TempDir::new();
    let file = dir.path().join("redis.conf");
    let debian = Path::new("/etc/redis/redis.conf");
    let text =
        std::fs::read_to_string(debian).unwrap_or_else(|_| include_str!("data/redis-7.0.conf").to_owned());
    std::fs::write(&file, text).expect("the directory can be written");
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (socket, log, pid) = (path("socket"), path("log"), path("pid"));
    let mut child = Command::new(env!("CARGO_BIN_EXE_torc"))
        .arg(&file)
        .args([
            "--port",
            "0",
            "--daemonize",
            "no",
            "--unixsocket",
            &socket,
            "--logfile",
            &log,
            "--pidfile",
            &pid,
        ])
        .args(["--dir", &dir.path().to_string_lossy()])
        .spawn()
        .expect("the binary was built");
    let ready = until(|| {
        Client::unix(Path::new(&socket)).is_ok() || child.try_wait().expect("it is a child").is_some()
    });
    assert!(ready, "it does not start");
    let mut client = Client::unix(Path::new(&socket)).expect("it started and did not end");
    assert_eq!(client.ask("SET k v").string(), "OK");
    assert_eq!(client.ask("CONFIG GET tcp-keepalive").elements()[1].string(), "300");
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
    let status = child.wait().expect("it is a child");
    assert!(status.success(), "it ended with {status}");
    assert!(!Path::new(&socket).exists(), "the socket's file stays");
    assert!(!Path::new(&pid).exists(), "the pid file stays");
}

#[test]
fn an_unknown_directive_is_named_with_file_and_line() {
    let dir = TempDir::new();
    let file = dir.path().join("torc.conf");
    std::fs::write(&file, "port 0\n# a comment\nno-such-directive yes\n").expect("it can be written");
    let output = run(&[&file.to_string_lossy()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "it starts all the same");
    assert!(said.contains("no-such-directive"), "{said}");
    assert!(said.contains('3') && said.to_lowercase().contains("line"), "{said}");
    let output = run(&["--port", "0", "--maxclients", "many"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("maxclients"), "{output:?}");
}

/// A file of a server without scripts, as hosting companies write them, used to end the start without a word about which
/// of its lines was meant.
#[test]
fn commands_that_are_not_there_can_be_switched_off() {
    let dir = TempDir::new();
    let file = dir.path().join("torc.conf");
    let lines = "rename-command EVAL \"\"\nrename-command CLUSTER hidden\nrename-command KEYS \"\"\n\
        rename-command GET fetch\nrename-command CONFIG GET\n";
    let server = Server::with_file(TORC, lines, &["--workers", "1"]);
    let mut client = server.client();
    assert_eq!(client.ask("SET k v").string(), "OK");
    assert_eq!(client.ask("FETCH k").string(), "v");
    assert_eq!(client.ask("GET GET hz").elements()[1].string(), "10");
    for gone in ["EVAL", "KEYS *", "CONFIG GET hz", "HIDDEN"] {
        let name = gone.split(' ').next().expect("a name");
        assert!(client.ask(gone).string().starts_with(&format!("ERR unknown command '{name}'")), "{gone}");
    }
    for (line, reason) in [
        ("rename-command NOSUCH \"\"", "No such command in rename-command"),
        ("rename-command EVAL SET", "Target command name already exists"),
    ] {
        std::fs::write(&file, format!("port 0\n\n{line}\n")).expect("it can be written");
        let said = String::from_utf8_lossy(&run(&[&file.to_string_lossy()]).stderr).into_owned();
        let place =
            format!("Reading the configuration file {}, at line 3\n>>> '{line}'\n{reason}", file.display());
        assert!(said.contains(&place), "{said}");
    }
}

/// A new password was written into the file, and the user's old one left there, which counted at the next start.
#[test]
fn a_password_survives_config_rewrite() {
    let server = Server::with_file(
        TORC,
        "save 3600 1 300 100\nuser default on >old ~* &* +@all\n",
        &["--workers", "1"],
    );
    let mut client = server.client();
    assert_eq!(client.ask("AUTH old").string(), "OK");
    assert_eq!(client.ask("CONFIG SET requirepass new").string(), "OK");
    assert_eq!(client.ask("CONFIG REWRITE").string(), "OK");
    let text = std::fs::read_to_string(server.config_file()).expect("it is there");
    assert!(
        text.starts_with("save 3600 1\nsave 300 100\nuser default on sanitize-payload #11507a0e"),
        "{text}"
    );
    assert!(!text.contains("old"), "{text}");
    let again = Server::with_file(TORC, &text, &["--workers", "1"]);
    assert_eq!(again.client().ask("AUTH new").string(), "OK");
    assert!(again.client().ask("AUTH old").string().starts_with("WRONGPASS"));
    assert_eq!(again.client().ask("PING").string(), "NOAUTH Authentication required.");
}

/// A file with a password that Redis 6 or later, or Valkey, has rewritten ends with such a line. It used to end the start.
#[test]
fn the_default_user_of_a_rewritten_file_is_its_password() {
    const FOO: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
    const DENIED: &str = "WRONGPASS invalid username-password pair or user is disabled.";
    // Which password lets a client in, and what CONFIG GET shows. As in Redis, the user counts and not `requirepass`.
    for (lines, password, shown) in [
        (format!("requirepass \"foo\"\nuser default on sanitize-payload #{FOO} ~* &* +@all\n"), "foo", "foo"),
        (format!("user default on #{FOO} ~* +@all\n"), "foo", ""),
        (format!("requirepass bar\nuser default on #{FOO} ~* &* +@all\n"), "foo", "bar"),
        ("user default on >foo >bar ~* &* +@all\n".to_owned(), "bar", ""),
        ("requirepass foo\n".to_owned(), "foo", "foo"),
    ] {
        let torc = Server::with_file(TORC, &lines, &["--workers", "1"]);
        let redis = Server::with_file(&newest_program("redis-server"), &lines, &[]);
        for server in [&torc, &redis] {
            let mut client = server.client();
            assert!(client.ask("PING").string().starts_with("NOAUTH"), "{lines}");
            assert_eq!(client.ask("AUTH wrong").string(), DENIED, "{lines}");
            assert_eq!(client.call(&["AUTH", "someone", password]).string(), DENIED, "{lines}");
            assert_eq!(client.call(&["AUTH", "default", password]).string(), "OK", "{lines}");
            assert_eq!(server.client().call(&["AUTH", password]).string(), "OK", "{lines}");
            assert_eq!(client.ask("CONFIG GET requirepass").elements()[1].string(), shown, "{lines}");
            // The same value again changes nothing, another one is the only password.
            assert_eq!(client.call(&["CONFIG", "SET", "requirepass", shown]).string(), "OK");
            assert_eq!(server.client().call(&["AUTH", password]).string(), "OK", "{lines}");
            assert_eq!(client.ask("CONFIG SET requirepass new").string(), "OK");
            assert_eq!(server.client().call(&["AUTH", password]).string(), DENIED, "{lines}");
            assert_eq!(server.client().ask("AUTH new").string(), "OK", "{lines}");
            assert_eq!(client.call(&["CONFIG", "SET", "requirepass", ""]).string(), "OK");
            assert_eq!(server.client().ask("PING").string(), "PONG", "{lines}");
        }
    }
    for lines in
        ["requirepass bar\nuser default on nopass ~* &* +@all\n", "user default on nopass ~* &* +@all\n"]
    {
        let torc = Server::with_file(TORC, lines, &["--workers", "1"]);
        assert_eq!(torc.client().ask("PING").string(), "PONG", "{lines}");
        assert!(
            torc.client().ask("AUTH bar").string().starts_with("ERR AUTH <password> called without"),
            "{lines}"
        );
    }
}

/// A directory with a Redis's data in it used to start an empty server without a word about them.
#[test]
fn data_that_is_not_loaded_is_named() {
    let dir = TempDir::new();
    let path = dir.path().join("appendonlydir");
    let args = ["--workers", "1", "--dir", &dir.path().to_string_lossy()];
    let server = Server::start(&args);
    assert!(!server.log().contains("not loaded"), "{}", server.log());
    drop(server);
    std::fs::create_dir(&path).expect("it can be made");
    let log = Server::start(&args).log();
    let said = format!("{} is there, and is not loaded, as 'appendonly' is 'no'.", path.display());
    assert_eq!(log.matches(&said).count(), 1, "{log}");
}

#[test]
fn help_and_version_start_nothing() {
    let version = run(&["--version"]);
    assert!(version.status.success());
    assert!(String::from_utf8_lossy(&version.stdout).contains(env!("CARGO_PKG_VERSION")), "{version:?}");
    let help = run(&["--help"]);
    assert!(help.status.success());
    assert!(String::from_utf8_lossy(&help.stdout).contains("--io-backend"), "{help:?}");
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let output = run(&["--port", &port, "--bind", "127.0.0.1"]);
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains(&port), "{output:?}");
}

/// After `kill -9` the kernel holds the old server's port for a while: an immediate restart used to fail now and then.
#[test]
fn a_port_that_becomes_free_in_time_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
    let address = taken.local_addr().expect("it is bound");
    let dir = TempDir::new();
    let log = dir.path().join("log");
    let mut child = Command::new(env!("CARGO_BIN_EXE_torc"))
        .args(["--port", &address.port().to_string(), "--bind", "127.0.0.1", "--workers", "1"])
        .stdout(File::create(&log).expect("the directory can be written"))
        .spawn()
        .expect("the binary was built");
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(until(|| said().contains("is in use; trying again")), "{}", said());
    drop(taken);
    assert!(until(|| said().contains("Ready to accept connections on 127.0.0.1:")), "{}", said());
    let mut client = Client::tcp(address).expect("it listens");
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
    assert!(child.wait().expect("it is a child").success(), "{}", said());
}

/// With `daemonize yes` the second process read an empty standard input, and served everybody on the default port.
#[test]
fn a_server_in_the_background_obeys_what_the_standard_input_says() {
    let dir = TempDir::new();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let (socket, log) = (path("socket"), path("log"));
    let filler = "# a line that makes the text longer than a pipe holds\n".repeat(2000);
    let text = format!(
        "{filler}daemonize yes\nport 0\nunixsocket {socket}\nrequirepass secret\nlogfile {log}\npidfile {}\ndir {}\n",
        path("pid"),
        dir.path().display()
    );
    let mut child =
        Command::new(env!("CARGO_BIN_EXE_torc")).arg("-").stdin(Stdio::piped()).spawn().expect("it is built");
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(child.wait().expect("it is a child").success());
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    assert!(until(|| Client::unix(Path::new(&socket)).is_ok()), "{}", said());
    let mut client = Client::unix(Path::new(&socket)).expect("it listens");
    assert!(client.ask("PING").string().starts_with("NOAUTH"));
    assert_eq!(client.ask("AUTH secret").string(), "OK");
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
    assert!(until(|| said().contains("bye bye")), "{}", said());
}

/// Why a server in the background could not start was said nowhere.
#[test]
fn what_ends_the_start_is_in_the_log() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("the loopback interface is up");
    let port = taken.local_addr().expect("it is bound").port().to_string();
    let dir = TempDir::new();
    let log = dir.path().join("log").to_string_lossy().into_owned();
    let output = run(&["--port", &port, "--bind", "127.0.0.1", "--logfile", &log]);
    assert!(!output.status.success());
    let said = std::fs::read_to_string(&log).expect("there is a log");
    assert!(
        said.contains(&format!(" # Could not create server TCP listening socket 127.0.0.1:{port}")),
        "{said}"
    );
    assert!(said.contains(", configuration none, "), "{said}");
}

#[test]
fn a_panic_is_reported_in_the_log_and_aborts() {
    let dir = TempDir::new();
    let log = dir.path().join("panic.log");
    let args = ["--enable-debug-command", "yes", "--workers", "1", "--logfile", &log.to_string_lossy()];
    let mut server = Server::start(&args);
    server.client().send(&["DEBUG", "PANIC"]).expect("the server reads");
    let status = server.await_exit();
    assert_eq!(status.signal(), Some(rustix::process::Signal::ABORT.as_raw()), "{status}");
    let logged = std::fs::read_to_string(&log).expect("there is a log");
    for said in [server.log(), logged] {
        for part in
            ["please report this", "DEBUG PANIC was asked for", "debug/mod.rs:", "thread torc-worker-0"]
        {
            assert!(said.contains(part), "{part} is not in {said}");
        }
        assert!(said.contains(env!("CARGO_PKG_VERSION")) && said.contains("torc::"), "{said}");
    }
}

#[test]
fn the_log_says_what_was_started_and_where_it_listens() {
    for (workers, words) in [("1", ", 1 worker, "), ("2", ", 2 workers, ")] {
        let server = Server::start(&["--workers", workers, "--io-backend", "epoll"]);
        let ready = format!("Ready to accept connections on {}", server.socket().display());
        assert!(until(|| server.log().contains(&ready)), "{}", server.log());
        let log = server.log();
        let first = log.lines().find(|line| line.contains(" * ")).expect("it says something");
        assert!(first.contains(&format!("Torc {}", env!("CARGO_PKG_VERSION"))), "{log}");
        assert!(first.contains(&format!(", pid {}, configuration none", server.pid())), "{log}");
        assert!(first.contains(words) && first.ends_with("epoll"), "{log}");
        assert!(!log.contains("io backend"), "{log}");
    }
}

#[test]
fn the_journal_gets_priorities_instead_of_times() {
    let dir = TempDir::new();
    let path = dir.path().join("log");
    let log = File::create(&path).expect("the directory can be written");
    let of = log.metadata().expect("it is open");
    let journal = |inode: u64| format!("{}:{inode}", of.dev());
    // The second is a standard output that was given another file after systemd said what it is.
    for (stream, is_journal) in [(journal(of.ino()), true), (journal(of.ino() + 1), false)] {
        log.set_len(0).expect("it is a file");
        let status = Command::new(env!("CARGO_BIN_EXE_torc"))
            .args(["--port", "0"])
            .env("JOURNAL_STREAM", stream)
            .stdout(std::fs::OpenOptions::new().append(true).open(&path).expect("it is there"))
            .stderr(Stdio::null())
            .status()
            .expect("the binary was built");
        assert!(!status.success());
        let said = std::fs::read_to_string(&path).expect("it is text");
        assert_eq!(said.lines().all(|line| line.starts_with('<')), is_journal, "{said}");
        assert_eq!(said.contains("<3>Configured to not listen anywhere, exiting."), is_journal, "{said}");
    }
}

#[test]
fn a_cpu_that_is_not_there_stops_the_start() {
    let output = run(&["--port", "0", "--worker-cpus", "4000"]);
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("names CPU 4000,"), "{said}");
    assert!(said.contains("at option 2\n>>> 'worker-cpus \"4000\"'\n"), "{said}");
}

/// CONFIG SET used to answer OK to what changed nothing.
#[test]
fn config_set_does_not_pretend() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for (name, value) in [("port", "7000"), ("bind", "127.0.0.2"), ("tls-port", "7000")] {
        let reply = client.call(&["CONFIG", "SET", "maxclients", "20", name, value]).string();
        let start = format!("ERR CONFIG SET failed (possibly related to argument '{name}') - ");
        assert!(reply.starts_with(&start), "{reply}");
        assert_eq!(client.ask("CONFIG GET maxclients").elements()[1].string(), "10000");
    }
    for (name, value) in [("port", "0"), ("bind", "127.0.0.1"), ("tls-port", "0"), ("activedefrag", "yes")] {
        assert_eq!(client.call(&["CONFIG", "SET", name, value]).string(), "OK", "{name}");
    }
    assert!(!server.log().contains("without effect"), "{}", server.log());
    assert_eq!(client.ask("CONFIG SET watchdog-period 100 hz 20").string(), "OK");
    assert!(server.log().contains("accepted without effect: watchdog-period\n"), "{}", server.log());
}

#[test]
fn a_limit_below_the_memory_in_use_is_warned_of() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    assert_eq!(client.ask("CONFIG SET maxmemory 100gb").string(), "OK");
    assert!(!server.log().contains("WARNING"), "{}", server.log());
    assert_eq!(client.ask("CONFIG SET maxmemory 1000").string(), "OK");
    let warning = "WARNING: the new maxmemory value set via CONFIG SET (1000) is smaller than the current memory usage (";
    assert!(server.log().contains(warning), "{}", server.log());
}

#[test]
fn signals_end_the_server_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        for args in [["--workers", "1"], ["--workers", "3"]] {
            let mut server = Server::start(&args);
            let mut idle = server.client();
            assert_eq!(idle.ask("SET k v").string(), "OK");
            server.signal(signal);
            let status = server.await_exit();
            assert!(status.success(), "{signal:?} ends it with {status}:\n{}", server.log());
            assert!(idle.read().is_err(), "the connection outlives the server");
            assert!(!server.socket().exists(), "the socket's file stays");
        }
    }
}

#[test]
fn shutdown_ends_the_server_in_order() {
    for words in [
        &["SHUTDOWN"][..],
        &["SHUTDOWN", "NOSAVE"],
        &["SHUTDOWN", "NOW"],
        &["SHUTDOWN", "NOW", "FORCE"],
        &["shutdown", "force", "nosave", "now", "nosave"],
        &["SHUTDOWN", "SAVE", "FORCE"],
    ] {
        let mut server = Server::start(&["--workers", "3"]);
        let mut client = server.client();
        client.send(words).expect("the server reads");
        assert!(server.await_exit().success(), "{}", server.log());
        assert!(client.read().is_err());
    }
}

/// SHUTDOWN ABORT in the same breath used to take the end back when half of the workers had begun with it.
#[test]
fn nothing_behind_a_shutdown_runs() {
    for workers in ["1", "3"] {
        let mut server = Server::start(&["--workers", workers]);
        let mut client = server.client();
        for refused in ["SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT NOSAVE", "SHUTDOWN NOW LATER"] {
            assert_eq!(client.ask(refused).string(), "ERR syntax error", "{refused}");
        }
        for refused in ["SHUTDOWN ABORT", "SHUTDOWN ABORT ABORT"] {
            assert_eq!(client.ask(refused).string(), "ERR No shutdown in progress.", "{refused}");
        }
        let behind = [command(&["PING"]), command(&["SHUTDOWN", "ABORT"])].concat();
        let commands = [command(&["ECHO", "before"]), command(&["SHUTDOWN", "NOSAVE"]), behind].concat();
        client.send_raw(&commands).expect("the server reads");
        assert_eq!(client.read_to_end().0, b"$6\r\nbefore\r\n");
        assert!(server.await_exit().success(), "{}", server.log());
    }
}

/// A client that asked for much and reads nothing used to keep the process alive for ever: its last replies were waited for.
#[test]
fn a_client_that_does_not_read_does_not_keep_the_server_alive() {
    let mut server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    assert_eq!(client.call(&["SET", "k", &"v".repeat(1 << 20)]).string(), "OK");
    for _ in 0..64 {
        client.send(&["GET", "k"]).expect("the server reads");
    }
    assert_eq!(server.client().call(&["PING"]).string(), "PONG");
    server.signal(rustix::process::Signal::TERM);
    assert!(server.await_exit().success(), "{}", server.log());
}

#[test]
fn clients_of_other_hosts_need_a_password() {
    let port = free_port();
    let _server =
        Server::start(&["--port", &port.to_string(), "--bind", "127.0.0.1", "--protected-mode", "yes"]);
    let mut client = Client::tcp(SocketAddr::from(([127, 0, 0, 1], port))).expect("it listens");
    assert_eq!(client.ask("PING").string(), "PONG");
    let Some(address) = outer_address() else { return };
    let port = free_port();
    let server =
        Server::start(&["--port", &port.to_string(), "--bind", "0.0.0.0", "--protected-mode", "yes"]);
    let mut stranger = Client::tcp(SocketAddr::new(address, port)).expect("it listens");
    let reply = stranger.read().expect("a reason").string();
    assert!(reply.starts_with("DENIED ") && reply.contains("protected mode"), "{reply}\n{}", server.log());
}

/// Where the kernel forbade io_uring_enter alone, the server said that it was ready, and ended.
#[test]
fn a_forbidden_call_of_io_uring_is_noticed_before_the_server_is_ready() {
    let calls = [
        ("io_uring_setup", libc::SYS_io_uring_setup),
        ("io_uring_enter", libc::SYS_io_uring_enter),
        ("io_uring_register", libc::SYS_io_uring_register),
    ];
    for (name, number) in calls {
        for error in ["EPERM", "ENOSYS"] {
            let start = |backend: &str, dir: &TempDir| {
                let out = File::create(dir.path().join("log")).expect("the directory can be written");
                let mut command = Command::new("python3");
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/deny.py"));
                command.args([&number.to_string(), error, env!("CARGO_BIN_EXE_torc"), "--port", "0"]);
                command.arg("--unixsocket").arg(dir.path().join("socket"));
                command.args(["--workers", "2", "--io-backend", backend]);
                command.stderr(out.try_clone().expect("it is open")).stdout(out).spawn().expect("it starts")
            };
            let said = |dir: &TempDir| std::fs::read_to_string(dir.path().join("log")).unwrap_or_default();
            let dir = TempDir::new();
            let mut child = start("auto", &dir);
            assert!(until(
                || said(&dir).contains("Ready to accept") || child.try_wait().is_ok_and(|end| end.is_some())
            ));
            let mut client = Client::unix(&dir.path().join("socket")).expect("it serves");
            assert_eq!(client.ask("SET k v").string(), "OK");
            assert!(said(&dir).contains("io backend: epoll, because io_uring"), "{name}: {}", said(&dir));
            client.send(&["SHUTDOWN", "NOSAVE"]).expect("the server reads");
            assert!(child.wait().expect("it is a child").success(), "{name}: {}", said(&dir));

            let dir = TempDir::new();
            assert!(!start("io_uring", &dir).wait().expect("it is a child").success());
            let said = said(&dir);
            assert!(
                said.contains("is not available") && said.contains("'io-backend auto'"),
                "{name}: {said}"
            );
            assert!(!said.contains("Ready to accept"), "{name}: {said}");
        }
    }
}
