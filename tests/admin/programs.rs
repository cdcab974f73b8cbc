//! What other programs make of the admin port and of the log: Prometheus's parser, a browser, a parser of JSON.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Watched;
use crate::harness::{Server, TempDir, free_port, until};

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A program of the tests in Python, to its end.
#[track_caller]
fn python(script: &str, args: &[&str]) -> String {
    let python = root("tests/.cache/venv/bin/python");
    let output = Command::new(&python).arg(root("tests/admin").join(script)).args(args).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; see tests/run", python.display()));
    let text =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "{script}: {text}");
    text
}

#[test]
fn prometheus_reads_what_info_says() {
    let watched = Watched::start(&["--workers", "2"]);
    let socket = watched.server.socket();
    let said = python("metrics.py", &[&watched.url("/metrics"), &socket.to_string_lossy()]);
    assert!(said.contains("passed: "), "{said}");
}

/// Every expression of the dashboard and of the rules names metrics that there are.
#[test]
fn dashboard_and_rules_fit_the_metrics() {
    let primary = Server::start_tcp(&["--repl-diskless-sync-delay", "0", "--workers", "2"]);
    let (ip, port) = ("127.0.0.1", primary.tcp().port().to_string());
    let watched = Watched::start(&["--workers", "2", "--appendonly", "yes"]);
    assert!(until(|| watched.get("/readyz").status == 200), "{}", watched.server.log());
    let mut client = watched.server.client();
    assert_eq!(primary.client().ask("SET k v").string(), "OK");
    assert!(client.ask("NOSUCH").string().starts_with("ERR"));
    let folder = root("dashboards");
    let folder = folder.to_string_lossy();
    // What only a replica has is asked for once it is one.
    assert_eq!(client.call(&["REPLICAOF", ip, &port]).string(), "OK");
    assert!(until(|| watched.get("/readyz").status == 200), "{}", watched.server.log());
    let said = python("dashboards.py", &[&watched.url("/metrics"), &folder]);
    assert!(said.contains("passed: "), "{said}");
}

/// What it leaves out it says: all of it is done by `tests/run prometheus`, which installs Prometheus.
#[test]
fn a_real_prometheus_scrapes_and_evaluates() {
    let primary = Server::start_tcp(&["--repl-diskless-sync-delay", "0", "--workers", "2"]);
    let port = primary.tcp().port().to_string();
    // What only a primary, and what only a replica has: it is both.
    let (admin, password) = (free_port().to_string(), "s3cret");
    let options = ["--admin-port", &admin, "--admin-password", password, "--workers", "2", "--appendonly"];
    let more = ["yes", "--maxmemory", "100mb", "--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1"];
    let server = Server::start_tcp(&[&options[..], &more, &[&port]].concat());
    let replica = Server::start(&["--replicaof", "127.0.0.1", &server.tcp().port().to_string()]);
    let is_up = || replica.client().ask("INFO replication").string().contains("master_link_status:up");
    assert!(until(is_up), "{}", replica.log());
    let [socket, above] = [server.socket(), primary.socket()].map(|path| path.to_string_lossy().into_owned());
    let (folder, dir) = (root("dashboards"), TempDir::new());
    let (folder, dir) = (folder.to_string_lossy(), dir.path().to_string_lossy());
    let target = format!("127.0.0.1:{admin}");
    let said = python("prometheus.py", &[&target, password, &socket, &above, &folder, &dir]);
    assert!(said.contains("passed: ") || said.contains("NOT CHECKED: "), "{said}");
    println!("{said}");
}

/// A browser draws the page, and nothing that a client has chosen becomes a part of it other than text.
#[test]
fn a_browser_draws_the_page() {
    let watched = Watched::start(&["--workers", "2"]);
    let (socket, dir) = (watched.server.socket(), watched.server.dir().to_string_lossy().into_owned());
    let said = python("page.py", &[&watched.url("/"), &socket.to_string_lossy(), &dir]);
    assert!(said.contains("passed: "), "{said}");
}

/// Whatever a message holds, a line of the log is an object; and format and level change while the server runs.
#[test]
fn lines_of_the_log_are_json() {
    let server = Server::start(&["--log-format", "json", "--loglevel", "verbose"]);
    let mut client = server.client();
    let mut say = |level: &str, text: &str| {
        let script = format!("return redis.log(redis.LOG_{level}, ARGV[1])");
        assert!(!client.call(&["EVAL", &script, "0", text]).string().starts_with("ERR"));
    };
    say("WARNING", "quotes \" and \\ and \n lines \r \t \u{1} \u{7f} \u{2028} and é 𝄞");
    say("VERBOSE", "seen");
    say("DEBUG", "below the level");
    assert_eq!(server.client().ask("CONFIG SET loglevel warning").string(), "OK");
    say("NOTICE", "below the level");
    say("WARNING", "before text");
    assert_eq!(server.client().ask("CONFIG SET log-format text").string(), "OK");
    say("WARNING", "as text");
    assert_eq!(server.client().ask("CONFIG SET log-format json loglevel debug").string(), "OK");
    say("DEBUG", "the end");
    assert!(server.client().ask("CONFIG SET log-format xml").string().starts_with("ERR CONFIG SET failed"));
    assert_eq!(server.client().ask("CONFIG GET log-format").elements()[1].string(), "json");
    let said = python("log.py", &[&server.dir().join("log").to_string_lossy()]);
    assert!(said.contains("passed: "), "{said}");
}
