//! Real client libraries of three languages and Redis's own command-line tools, against a running server.
//!
//! `tests/run` installs redis-py, ioredis and the applications' libraries below `tests/.cache`, and Redis's tools with the
//! system's packages.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use redis::TypedCommands as _;

use crate::harness::tls::Authority;
use crate::harness::{Server, command, redis_program};

/// Runs a program with this input to its end; what it printed.
#[track_caller]
fn output(program: impl AsRef<std::ffi::OsStr>, args: &[&str], input: &[u8]) -> String {
    let mut command = Command::new(&program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let program = program.as_ref().to_string_lossy().into_owned();
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}; tests/run installs what tests need"));
    let mut stdin = child.stdin.take().expect("it is a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it is a child");
    // A program need not read all of its input.
    drop(writer.join().expect("writing does not panic"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {args:?}: {}\n{out}\n{err}", output.status);
    format!("{out}{err}")
}

fn cache(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/.cache").join(path)
}

fn script(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name).to_string_lossy().into_owned()
}

fn server() -> (Server, String) {
    let server = Server::start_tcp(&["--workers", "2", "--enable-debug-command", "yes"]);
    let port = server.tcp().port().to_string();
    (server, port)
}

/// redis-cli with these arguments and this input.
#[track_caller]
fn cli(port: &str, args: &[&str], input: &[u8]) -> String {
    output(redis_program("redis-cli"), &[&["-p", port], args].concat(), input)
}

fn fill(server: &Server, keys: usize) {
    let mut client = server.client();
    let commands: Vec<u8> =
        (0..keys).flat_map(|n| command(&["SET", &format!("key:{n}"), &"v".repeat(n % 50 + 1)])).collect();
    client.send_raw(&commands).expect("the server reads");
    (0..keys).for_each(|_| assert_eq!(client.read().expect("a reply").string(), "OK"));
}

#[test]
fn redis_py() {
    let (_server, port) = server();
    let said = output(cache("venv/bin/python"), &[&script("redis_py.py"), &port], b"");
    assert!(said.contains("passed"), "{said}");
}

#[test]
fn ioredis() {
    let (_server, port) = server();
    run_node("ioredis.js", &[&port]);
}

/// Queues, locks and limiters that live by their scripts.
#[test]
fn applications_of_node() {
    let (_server, port) = server();
    run_node("applications.js", &[&port]);
}

#[test]
fn applications_of_python() {
    let (_server, port) = server();
    let said = output(cache("venv/bin/python"), &[&script("applications.py"), &port], b"");
    assert!(said.contains("passed"), "{said}");
}

/// redis-cli, redis-benchmark, redis-py and ioredis over TLS, each with a certificate of its own.
#[test]
fn over_tls() {
    let authority = Authority::new();
    for backend in ["io_uring", "epoll"] {
        let args = ["--io-backend", backend, "--workers", "2", "--enable-debug-command", "yes"];
        let server = Server::start_tls(&authority, &args);
        let (port, dir) = (server.tls_address().port().to_string(), authority.word(""));
        let (ca, cert, key) =
            (authority.word("ca.crt"), authority.word("client.crt"), authority.word("client.key"));
        let tls = ["-p", &port, "--tls", "--cacert", &ca, "--cert", &cert, "--key", &key];
        let cli = |args: &[&str], input: &[u8]| {
            output(redis_program("redis-cli"), &[&tls[..], args].concat(), input)
        };
        assert_eq!(cli(&["SET", "k", "a b"], b""), "OK\n");
        assert_eq!(cli(&["-3", "--no-raw", "GET", "k"], b""), "\"a b\"\n");
        let commands: Vec<u8> = (0..20_000).flat_map(|n| command(&["SET", &format!("k{n}"), "v"])).collect();
        let said = cli(&["--pipe"], &commands);
        assert!(said.contains("errors: 0, replies: 20000"), "{said}");
        let options = ["-t", "ping_inline,set,get,mset", "-n", "5000", "-P", "16", "-q"];
        let said = output(redis_program("redis-benchmark"), &[&tls[..], &options].concat(), b"");
        assert_eq!(said.matches("requests per second").count(), 4, "{said}");
        let said = output(cache("venv/bin/python"), &[&script("redis_py.py"), &port, &dir], b"");
        assert!(said.contains("passed"), "{said}");
        run_node("ioredis.js", &[&port, &dir]);
    }
}

#[track_caller]
fn run_node(name: &str, args: &[&str]) {
    let modules = cache("node_modules");
    let mut node = Command::new("node");
    let output = node.arg(script(name)).args(args).env("NODE_PATH", modules).output();
    let output = output.expect("tests/run installs node");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("passed"), "{said}");
}

#[test]
fn redis_rs() -> redis::RedisResult<()> {
    let (_server, port) = server();
    for protocol in ["", "?protocol=resp3"] {
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}/1{protocol}"))?;
        let mut connection = client.get_connection()?;
        connection.set("key", 42)?;
        assert_eq!(connection.get("key")?.as_deref(), Some("42"));
        assert_eq!(connection.incr("key", 1)?, 43);
        let (first, second): (String, i64) =
            redis::pipe().set("a", "x").ignore().get("a").incr("key", 7).query(&mut connection)?;
        assert_eq!((first.as_str(), second), ("x", 50));
        for n in 0..500 {
            connection.set(format!("key:{n}"), n)?;
        }
        let found: Vec<String> =
            redis::Commands::scan_match(&mut connection, "key:*")?.collect::<Result<_, _>>()?;
        assert!(found.len() >= 500, "SCAN found {} of 500 keys", found.len());
        let error = redis::cmd("INCR").arg("a").query::<i64>(&mut connection).expect_err("it is a word");
        assert!(error.to_string().contains("not an integer"), "{error}");
        assert!(connection.flushdb().is_ok());
    }
    Ok(())
}

#[test]
fn redis_cli_asks_and_prints() {
    let (_server, port) = server();
    assert_eq!(cli(&port, &["SET", "k", "a b"], b""), "OK\n");
    assert_eq!(cli(&port, &["--no-raw", "GET", "k"], b""), "\"a b\"\n");
    assert_eq!(cli(&port, &["-3", "--no-raw", "GET", "nothing"], b""), "(nil)\n");
    assert_eq!(cli(&port, &["-x", "SET", "k"], b"from stdin"), "OK\n");
    assert_eq!(cli(&port, &[], b"GET k\nINCR k\nSELECT 3\nPING\n").lines().next(), Some("from stdin"));
    assert_eq!(cli(&port, &["-n", "3", "-r", "3", "INCR", "n"], b""), "1\n2\n3\n");
    assert!(cli(&port, &["INFO"], b"").contains("redis_version:8.2.3"));
    assert!(cli(&port, &["CLIENT", "LIST"], b"").contains("cmd=client|list"));
}

/// As a person uses it: on a terminal, where it asks for COMMAND DOCS to show hints.
#[test]
fn redis_cli_on_a_terminal() {
    let (_server, port) = server();
    let cli = format!("stty cols 80 rows 24; {} -p {port}", redis_program("redis-cli"));
    let mut terminal = Command::new("script")
        .args(["-qec", &cli, "/dev/null"])
        .env("TERM", "xterm")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("tests/run installs script");
    let mut keyboard = terminal.stdin.take().expect("it is a pipe");
    let mut screen = terminal.stdout.take().expect("it is a pipe");
    let mut shown = Vec::new();
    for line in ["set greeting hello", "get greeting", "quit"] {
        // What is typed before a fresh prompt appears is lost.
        let before = shown.len();
        while shown.len() == before || !shown.ends_with(b"> ") {
            let mut some = [0; 4096];
            let length = screen.read(&mut some).expect("the pipe is open");
            assert!(length > 0, "redis-cli ended: {}", String::from_utf8_lossy(&shown));
            shown.extend_from_slice(&some[..length]);
        }
        keyboard.write_all(format!("{line}\r").as_bytes()).expect("the pipe is open");
    }
    screen.read_to_end(&mut shown).expect("the pipe is open");
    assert!(terminal.wait().expect("it is a child").success());
    let shown = String::from_utf8_lossy(&shown);
    assert!(shown.contains("\"hello\""), "{shown}");
}

#[test]
fn redis_cli_takes_a_mass_of_commands() {
    let (server, port) = server();
    let commands: Vec<u8> = (0..20_000).flat_map(|n| command(&["SET", &format!("k{n}"), "v"])).collect();
    let said = cli(&port, &["--pipe"], &commands);
    assert!(said.contains("errors: 0, replies: 20000"), "{said}");
    assert_eq!(server.client().ask("DBSIZE").int(), Some(20_000));
}

#[test]
fn redis_cli_walks_the_keys() {
    let (server, port) = server();
    fill(&server, 3_000);
    assert_eq!(cli(&port, &["--scan"], b"").lines().count(), 3_000);
    assert_eq!(cli(&port, &["--scan", "--pattern", "key:1??"], b"").lines().count(), 100);
    let said = cli(&port, &["--bigkeys"], b"");
    assert!(said.contains("Sampled 3000 keys"), "{said}");
    assert!(said.contains("Biggest string found"), "{said}");
    let said = cli(&port, &["--memkeys"], b"");
    assert!(said.contains("Sampled 3000 keys"), "{said}");
}

#[test]
fn redis_cli_measures() {
    let (_server, port) = server();
    // Without a terminal it prints one line after a second and ends.
    let said = cli(&port, &["--raw", "--latency"], b"");
    assert_eq!(said.split_ascii_whitespace().count(), 4, "{said}");
    // It never ends by itself, and shows its lines at once only on a terminal.
    let stat = format!("timeout 2 {} -p {port} --stat -i 0.1 || true", redis_program("redis-cli"));
    let said = output("script", &["-qec", &stat, "/dev/null"], b"");
    assert!(said.contains("keys") && said.lines().count() > 5, "{said}");
}

#[test]
fn redis_benchmark() {
    let (_server, port) = server();
    let tests = "ping_inline,ping_mbulk,set,get,incr,mset";
    let benchmark = redis_program("redis-benchmark");
    for options in
        [&["-n", "5000"][..], &["-n", "20000", "-P", "16", "-r", "1000"], &["-n", "5000", "-c", "200", "-3"]]
    {
        let said = output(&benchmark, &[&["-p", &port, "-t", tests, "-q"], options].concat(), b"");
        assert_eq!(said.matches("requests per second").count(), 6, "{said}");
        assert!(!said.to_lowercase().contains("error"), "{said}");
    }
}
