//! The files that runs write.

use std::fs::read_to_string;

use crate::server::{Server, bench, complaint, printed, torc};

#[test]
fn load_writes_each_kind_of_file() {
    let server = Server::start();
    let file = |name: &str| server.dir.join(name).to_string_lossy().into_owned();
    let (hgrm, json, csv, html) = (file("a.hgrm"), file("a.json"), file("a.csv"), file("a.html"));
    std::fs::write(&csv, "x".repeat(100_000)).expect("the directory can be written");
    let args = ["-t", "PING", "-s", "1.5", "--out", &hgrm, "--out", &json, "--out", &csv, "--out", &html];
    let output = server.load(&args);
    assert_eq!(output.stderr, b"", "no terminal, no line of progress");
    printed(&output);
    let text = |path: &str| read_to_string(path).expect("it was written");
    assert!(text(&hgrm).contains("Total count") && text(&hgrm).contains("1.000000000000"));
    assert!(text(&json).contains("\"operation\":\"PING\"") && text(&json).ends_with("]}\n"));
    assert!(text(&json).contains("\"sent_late_us\":null"), "it is a closed loop");
    let rows: Vec<String> = text(&csv).lines().map(str::to_owned).collect();
    assert!((2..=4).contains(&rows.len()) && rows[1].starts_with("PING,"), "{rows:?}");
    assert!(text(&html).starts_with("<!doctype html>") && text(&html).contains("PING on "));
}

#[test]
fn file_that_cannot_be_written_is_told_before_the_run() {
    let server = Server::start();
    let error = complaint(&server.load(&["-t", "PING", "-s", "600", "--out", "/nowhere/at/all.json"]));
    assert!(error.contains("cannot write /nowhere/at/all.json: No such file"), "{error}");
    let error = complaint(&server.load(&["-t", "PING", "-s", "600", "--out", "a.txt"]));
    assert!(error.contains("ends in .hgrm, .json, .csv or .html"), "{error}");
}

#[test]
fn comparison_writes_one_page_of_all() {
    let command = format!("'{}' --port {{port}} --workers 1 --save ''", torc().display());
    let dir = Server::start();
    let page = dir.dir.join("a.html");
    let mut bench = bench();
    bench.args([
        "compare", "-r", "2", "-s", "0.3", "-k", "200", "-c", "2", "-d", "1", "-o", "get,set", "--cpus", "0",
    ]);
    bench.arg("--out").arg(&page).args([format!("one={command}"), format!("two={command}")]);
    printed(&bench.output().expect("the program can be run"));
    let text = read_to_string(&page).expect("it was written");
    assert!(text.contains("<title>one, two: side by side</title>"));
    assert_eq!(text.matches("<h2>").count(), 2);
    assert_eq!(text.matches("heat map of latency").count(), 4);
}
