//! The way over from Redis, and back, with exactly the commands of the README, while clients write.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Server, TORC, newest_program, redis_program, until};
use crate::replication::failover::count_until;
use crate::replication::pair::check_same;

/// The commands between two marks of the README, without what is said of them.
fn commands(begin: &str, end: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let text = std::fs::read_to_string(path).expect("the README is there");
    let (_, behind) = text.split_once(begin).expect("the beginning is marked");
    let (between, _) = behind.split_once(end).expect("the end is marked");
    let lines = between.lines().filter(|line| line.starts_with("torc ") || line.starts_with("redis-cli "));
    lines.map(|line| line.split_once('#').map_or(line, |(command, _)| command).trim().to_owned()).collect()
}

/// A command with the ports of these servers: what it printed, once that is right.
fn run(command: &str, ports: [u16; 2], is_right: impl Fn(&str) -> bool) {
    let command = command.replace("6379", &ports[0].to_string()).replace("6380", &ports[1].to_string());
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    let mut said = String::new();
    let is_done = until(|| {
        let output = Command::new(redis_program("redis-cli")).args(&words).output().expect("it can be run");
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        is_right(&said)
    });
    assert!(is_done, "{command}: {said}");
}

#[test]
fn way_over_and_back_loses_no_write() {
    let (over, back) = (
        commands("<!-- the way over -->", "<!-- then -->"),
        commands("<!-- the way back -->", "<!-- end of the way -->"),
    );
    let [start, rest @ ..] = &over[..] else { panic!("the README has commands") };
    assert_eq!((rest.len(), back.len()), (4, 3));
    let redis = Server::program_tcp(&newest_program("redis-server"), &["--enable-debug-command", "yes"]);
    redis.client().ask("DEBUG POPULATE 20000");
    let port = redis.tcp().port().to_string();
    let start = start.replace("6379", &port);
    // The port is chosen by the harness; what else the README says is said.
    let words: Vec<&str> = start.split(' ').skip(3).collect();
    let torc = Server::program_tcp(TORC, &[&words[..], &["--enable-debug-command", "yes"]].concat());
    let ports = [redis.tcp().port(), torc.tcp().port()];
    let (servers, stop) = ([redis, torc], AtomicBool::new(false));
    let counts: Vec<i64> = std::thread::scope(|scope| {
        let counters: Vec<_> = (0..3)
            .map(|number| {
                let (servers, stop) = (&servers, &stop);
                scope.spawn(move || count_until(servers, &format!("count:{number}"), stop))
            })
            .collect();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let steps = rest.iter().chain(&back);
            let rights: [fn(&str) -> bool; 7] = [
                |said| said.contains("master_link_status:up"),
                |said| {
                    said.contains("state=online")
                        && said.contains("lag=")
                        && said.contains("master_repl_offset:")
                },
                |said| said.trim() == "OK",
                |said| said.starts_with("slave"),
                |said| said.contains("state=online"),
                |said| said.trim() == "OK",
                |said| said.starts_with("slave"),
            ];
            for (step, is_right) in steps.zip(rights) {
                run(step, ports, is_right);
            }
        }));
        stop.store(true, Ordering::Relaxed);
        let counts = counters.into_iter().map(|counter| counter.join().expect("no write is lost")).collect();
        if let Err(panic) = result {
            std::panic::resume_unwind(panic);
        }
        counts
    });
    for (number, count) in counts.iter().enumerate() {
        assert_eq!(servers[0].client().ask(&format!("GET count:{number}")).int(), Some(*count));
        assert!(*count > 0);
    }
    check_same(&servers[0], &servers[1]);
}
