//! What other programs make of the admin port and of the log: Prometheus's parser, a browser, a parser of JSON.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::Watched;

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
