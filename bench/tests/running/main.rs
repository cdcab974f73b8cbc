//! `bench load` and `bench compare` against a server that runs.
//!
//! The server is the file named by `TORC_BIN`, or this workspace's own, built here. Each test has a server and a directory of its
//! own; nothing has a fixed port.

mod open_loop;
mod outputs;
mod server;
mod workloads;

use std::path::Path;
use std::process::{Command, Output};

use bench::address::Address;

use server::{Server, before, bench, complaint, printed, torc};

#[test]
fn a_server_is_filled_and_loaded() {
    let server = Server::start();
    let filled = printed(&server.load(&["--op", "fill", "--keys", "500", "-d", "16", "-c", "4"]));
    assert!(filled.starts_with("fill: 4 connections, depth 16, 1 load thread\n"), "{filled}");
    let size = Address::Unix(server.socket()).ask("DBSIZE", None).expect("the server runs");
    assert_eq!(size, b":500\r\n");
    for op in ["get", "set", "mix"] {
        let args = ["-o", op, "-k", "500", "-s", "0.2", "-c", "3", "-d", "4", "--zipf", "0.99"];
        let text = printed(&server.load(&args));
        assert!(before(&text, "ops/s") > 0.0, "{text}");
        assert!(text.contains("errors      0"), "{text}");
        assert!(text.contains(" us CPU per op ("), "the server said its process: {text}");
        assert!(!text.contains("CPU unknown"), "{text}");
    }
}

#[test]
fn values_larger_than_any_buffer_are_loaded() {
    let server = Server::start();
    let value = ["-v", "300000", "-k", "7", "-c", "2"];
    printed(&server.load(&[&["-o", "fill"], &value[..]].concat()));
    let text = printed(&server.load(&[&["-o", "mix", "-s", "0.2", "-d", "8"], &value[..]].concat()));
    assert!(before(&text, "ops/s") > 0.0, "{text}");
}

#[test]
fn several_threads_share_a_load() {
    let server = Server::start();
    let args = ["-o", "fill", "-k", "1000", "-c", "5", "-d", "3", "--cpus", "0,0,0"];
    let text = printed(&server.load(&args));
    assert!(text.starts_with("fill: 5 connections, depth 3, 3 load threads\n"), "{text}");
    let size = Address::Unix(server.socket()).ask("DBSIZE", None).expect("the server runs");
    assert_eq!(size, b":1000\r\n");
}

#[test]
fn templates_are_sent_and_their_errors_counted() {
    let server = Server::start();
    let args = ["-t", "SET %k %v;APPEND %k \"a b\"", "-k", "10", "-s", "0.2", "-c", "2"];
    assert!(printed(&server.load(&args)).contains("errors      0"));
    let text = printed(&server.load(&["-t", "SET %k", "-s", "0.2", "-c", "2"]));
    assert!(text.contains("the first: ERR wrong number of arguments for 'set' command"), "{text}");
}

#[test]
fn a_measurement_of_nothing_is_refused() {
    let server = Server::start();
    let error = complaint(&server.load(&["-o", "get", "-s", "0.2"]));
    assert!(error.contains("the server lacks a key"), "{error}");
    printed(&server.load(&["-o", "fill", "-k", "50", "-v", "10"]));
    let error = complaint(&server.load(&["-o", "get", "-s", "0.2", "-k", "50", "-v", "11"]));
    assert!(error.contains("another length"), "{error}");
    let error = complaint(&bench().args(["load", "/nothing/here"]).output().expect("the program can be run"));
    assert!(error.contains("cannot connect to /nothing/here"), "{error}");
}

#[test]
fn servers_are_compared() {
    let command = format!("'{}' --port {{port}} --workers 1 --save ''", torc().display());
    let mut bench = bench();
    bench.args(["compare", "-r", "2", "-s", "0.05", "-k", "200", "-c", "2", "-d", "1,4", "--markdown"]);
    bench.args(["-o", "get", "-t", "APPEND %k x", "--cpus", "0"]);
    bench.args([format!("one={command}"), format!("two={command}")]);
    let text = printed(&bench.output().expect("the program can be run"));
    assert!(text.starts_with("| CPU us per operation | one | two |\n| --- | ---: | ---: |\n"), "{text}");
    for label in ["GET, depth 1", "GET, depth 4", "`APPEND %k x`, depth 4", "bytes per key"] {
        assert!(text.contains(&format!("| {label} | ")), "{label}: {text}");
    }
    assert!(
        text.contains("200 keys (uniform), 64-byte values, 2 connections; medians of 2 rounds"),
        "{text}"
    );
}

/// Runs `bench compare` over TLS with Torc alone and these further words, which say whom to believe.
fn compare_over_tls(dir: &Path, further: &[&str]) -> Output {
    let file = |name: &str| dir.join(name).to_string_lossy().into_owned();
    let (cert, key) = (file("own.crt"), file("own.key"));
    let config = file("openssl.cnf");
    std::fs::write(&config, "[req]\ndistinguished_name=dn\n[dn]\n").expect("the directory can be written");
    let made = Command::new("openssl")
        .args([
            "req",
            "-config",
            &config,
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "9",
        ])
        .args(["-subj", "/CN=torc", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .expect("tests/run installs openssl");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let mut bench = bench();
    bench.args(["compare", "-r", "1", "-s", "0.05", "-k", "200", "-c", "2", "-d", "1,16", "-v", "40000"]);
    bench.args(["-o", "get", "-t", "APPEND %k x", "--cpus", "0", "--tls"]).args(further);
    bench.arg(format!(
        "one='{}' --port 0 --tls-port {{port}} --tls-cert-file {cert} --tls-key-file {key} --tls-ca-cert-file {cert} \
         --workers 1 --save ''",
        torc().display()
    ));
    bench.output().expect("the program can be run")
}

/// Batches of more bytes than a socket takes at once; and a server that asks for a certificate.
#[test]
fn servers_are_compared_over_tls() {
    let server = Server::start();
    let text = printed(&compare_over_tls(
        &server.dir,
        &[
            "--insecure",
            "--cert",
            &server.dir.join("own.crt").to_string_lossy(),
            "--key",
            &server.dir.join("own.key").to_string_lossy(),
        ],
    ));
    assert!(text.contains("get, depth 16") && text.contains("  one "), "{text}");
    let error = complaint(&compare_over_tls(&server.dir, &[]));
    assert!(error.contains("--cacert FILE, or --insecure"), "{error}");
}

#[test]
fn server_is_compared_with_itself_with_more_workers() {
    let mut bench = bench();
    bench.args([
        "scaling", "-w", "1,2", "-r", "1", "-s", "0.05", "-k", "200", "-c", "2", "-d", "1,4", "--cpus", "0",
    ]);
    bench.arg(format!("'{}' --port {{port}} --workers {{workers}} --save ''", torc().display()));
    let text = printed(&bench.output().expect("the program can be run"));
    let rows: Vec<Vec<&str>> =
        text.lines().skip(2).map(|line| line.split_whitespace().take(5).collect()).collect();
    assert_eq!(rows.len(), 12, "{text}");
    assert_eq!(rows[0], ["uniform", "100", "%", "1", "|"]);
    assert_eq!(rows[11], ["zipf", "50", "%", "4", "|"]);
    assert!(text.lines().skip(2).all(|line| line.matches("/s x").count() == 2), "{text}");
}
