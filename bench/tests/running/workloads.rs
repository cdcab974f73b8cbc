//! What loads do to a server: every type, YCSB, traces, subscribers, churn, verified values.

use std::process::Output;

use crate::server::{Server, before, bench, complaint, printed};

/// A short load of two connections on few keys.
fn short(server: &Server, args: &[&str]) -> Output {
    server.load(&[&["-k", "100", "-s", "0.1", "-c", "2", "-d", "4"], args].concat())
}

#[test]
fn every_preset_runs_without_errors() {
    let server = Server::start();
    for name in bench::presets::names() {
        let text = printed(&short(&server, &["--op", name, "--fill", "--value-sizes", "5-50"]));
        assert!(text.contains("errors      0"), "{text}");
        server.address().ask("FLUSHALL", None).expect("the server runs");
    }
}

#[test]
fn ycsb_runs_over_hashes_and_their_index() {
    let server = Server::start();
    for letter in 'a'..='f' {
        let name = format!("ycsb-{letter}");
        let text = printed(&short(&server, &["--op", &name, "--fill", "--verify", "-s", "0.3"]));
        assert!(text.contains("errors      0") && text.contains(" 0 wrong"), "{text}");
        let part = match letter {
            'c' => "throughput",
            'd' => "insert",
            'e' => "scan",
            'f' => "read-modify-write",
            _ => "update",
        };
        assert!(text.contains(part), "{text}");
    }
    let one = server.address().ask("HLEN usertable:key:000000000099", None).expect("the server runs");
    assert_eq!(one, b":10\r\n");
    let rank = server.address().ask("ZRANK usertable-index key:000000000099", None).expect("the server runs");
    assert_eq!(rank, b":99\r\n");
    // D and E insert.
    let count = server.address().ask("EXISTS usertable:key:000000000100", None).expect("the server runs");
    assert_eq!(count, b":1\r\n");
}

#[test]
fn wrong_values_fail_a_verified_run() {
    let server = Server::start();
    let sizes = ["--value-sizes", "lognormal:100:1:5000", "--verify"];
    let text = printed(&short(&server, &[&["--op", "get:3+set:1", "--fill"], &sizes[..]].concat()));
    assert!(text.contains(" 0 wrong") && !text.contains("nulls"), "{text}");
    printed(&short(&server, &[&["--op", "get", "--resp3"], &sizes[..]].concat()));
    server.address().ask("APPEND key:000000000007 x", None).expect("the server runs");
    let output = short(&server, &[&["--op", "get"], &sizes[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("for key 7, where Value was expected"), "{text}");
    assert!(complaint_of(&output).contains("replies were wrong"));
}

fn complaint_of(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn keys_that_are_set_get_a_life() {
    let server = Server::start();
    printed(&short(&server, &["--op", "set", "--ttl", "100-200", "--distribution", "sequential"]));
    let ttl = server.address().ask("TTL key:000000000050", None).expect("the server runs");
    let seconds: i64 = String::from_utf8_lossy(&ttl[1..]).trim().parse().expect("a number");
    assert!((90..=200).contains(&seconds), "{seconds}");
    let text = printed(&short(&server, &["-t", "3:GETEX %k EX %t", "-t", "1:SET %k %v", "--ttl", "100"]));
    assert!(text.contains("GETEX %k EX %t  ") && text.contains("errors      0"), "{text}");
}

#[test]
fn messages_are_delivered_to_subscribers() {
    let server = Server::start();
    for protocol in [&[][..], &["--resp3"]] {
        let args = [
            "--op",
            "publish",
            "--subscribers",
            "6",
            "--channels",
            "2",
            "--rate",
            "500",
            "-s",
            "1",
            "-c",
            "2",
        ];
        let text = printed(&server.load(&[&args[..], protocol].concat()));
        let line = text.lines().find(|line| line.contains("delivered")).unwrap_or_else(|| panic!("{text}"));
        let (published, delivered) = (before(&text, "ops/s"), before(line, "messages/s"));
        // Three subscribers on each of two channels.
        assert!((delivered / published / 3.0 - 1.0).abs() < 0.15, "{text}");
    }
}

#[test]
fn connections_are_made_anew() {
    let server = Server::start();
    printed(&server.load(&["-o", "fill", "-k", "100"]));
    for further in [&["--op", "get"][..], &["--op", "lpush", "--resp3"], &["--op", "get", "--rate", "500"]] {
        let args = ["-k", "100", "-c", "3", "-s", "0.5", "--churn", "2"];
        let text = printed(&server.load(&[&args[..], further].concat()));
        let anew = text.lines().find(|line| line.contains("made anew")).unwrap_or_else(|| panic!("{text}"));
        let share = before(anew, "made") / before(&text, "ops/s");
        assert!((share - 0.5).abs() < 0.1, "every second is on a new connection: {text}");
    }
    let info = server.address().ask("INFO clients", None).expect("the server runs");
    assert!(String::from_utf8_lossy(&info).contains("connected_clients:"));
}

#[test]
fn traces_are_replayed() {
    let server = Server::start();
    let file = server.dir.join("trace.csv");
    let path = file.to_string_lossy().into_owned();
    std::fs::write(
        &file,
        "0,alpha,5,33,1,set,100\n0,alpha,5,33,1,get,0\n1,beta,4,7,2,add,0\n1,gone,4,0,2,get,0\n",
    )
    .expect("it can be written");
    let text = printed(&short(&server, &["--trace", &path]));
    assert!(text.contains("errors      0") && text.contains("nulls  "), "{text}");
    let length = server.address().ask("STRLEN alpha", None).expect("the server runs");
    assert_eq!(length, b":33\r\n");
    let ttl = server.address().ask("TTL alpha", None).expect("the server runs");
    assert!(ttl.starts_with(b":9") || ttl.starts_with(b":100"), "{ttl:?}");
    std::fs::write(&file, "op,key,size\nset,a,3\njump,b,3\n").expect("it can be written");
    let error = complaint(&short(&server, &["--trace", &path]));
    assert!(error.contains("trace.csv, line 3: 'jump' is no operation of a cache"), "{error}");
    let error = complaint(&short(&server, &["--trace", &path, "--verify"]));
    assert!(error.contains("cannot be verified"), "{error}");
}

#[test]
fn users_and_databases_are_chosen() {
    let server = Server::start();
    server.address().ask("ACL SETUSER u on >secret ~* &* +@all", None).expect("the server runs");
    printed(&short(&server, &["--op", "set", "--user", "u", "--password", "secret", "--database", "3"]));
    let keys = server.address().ask("INFO keyspace", None).expect("the server runs");
    assert!(String::from_utf8_lossy(&keys).contains("db3:keys=100"), "{}", String::from_utf8_lossy(&keys));
    let error = complaint(&short(&server, &["--op", "set", "--user", "u", "--password", "guess"]));
    assert!(error.contains("refuses: WRONGPASS"), "{error}");
}

#[test]
fn one_workload_gives_two_numbers() {
    let server = Server::start();
    let text = printed(&bench().arg(server.socket()).output().expect("the program can be run"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(before(lines[0], "ops/s") > 100.0 && before(lines[1], "ms") > 0.0, "{text}");
    let ratio = before(lines[1], "ops/s") / before(lines[0], "ops/s");
    assert!((0.3..0.6).contains(&ratio), "{text}");
    let nothing = complaint(&bench().arg("/nothing/here").output().expect("the program can be run"));
    assert!(nothing.contains("no server at /nothing/here"), "{nothing}");
}
