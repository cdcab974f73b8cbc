//! Links: made, cut, made again; by sockets and by files; to replicas that do not read.

use std::process::Command;

use rustix::process::Signal;

use super::pair::{Kind, await_link, check_same, field, number, primary, replica, while_writing};
use crate::harness::{Server, TempDir, Value, redis_program, until};

/// How often links are cut: `TORC_CUTS`, by default a few times.
fn cuts() -> u64 {
    std::env::var("TORC_CUTS").map_or(4, |text| text.parse().expect("a number"))
}

/// Waits until so much more of the stream has been made.
fn await_progress(server: &Server, bytes: u64) {
    let mut client = server.client();
    let begin = number(&mut client, "replication", "master_repl_offset");
    let moves = until(|| number(&mut client, "replication", "master_repl_offset") > begin + bytes);
    assert!(moves, "{}", server.log());
}

fn follow_under_load(kind: Kind, workers: &str, more: &[&str]) {
    let server = primary(&[&["--workers", workers, "--repl-backlog-size", "16mb"], more].concat());
    let mut follower = None;
    while_writing(&server, 3, || {
        let replica = follower.insert(replica(kind, server.tcp()));
        await_link(replica);
        let mut client = server.client();
        for _ in 0..cuts() {
            await_progress(&server, 20_000);
            let killed = client.ask("CLIENT KILL TYPE replica");
            assert!(matches!(killed, Value::Int(0..=1)), "{killed:?}");
            await_link(replica);
        }
    });
    let replica = follower.expect("it was started");
    check_same(&server, &replica);
    let mut client = server.client();
    assert_eq!(number(&mut client, "stats", "sync_full"), 1, "{}\n{}", server.log(), replica.log());
    assert!(number(&mut client, "stats", "sync_partial_ok") > 0);
}

#[test]
fn redis_8_follows_through_cuts() {
    follow_under_load(Kind::Redis8, "1", &[]);
    follow_under_load(Kind::Redis8, "3", &[]);
}

#[test]
fn redis_7_follows_through_cuts() {
    follow_under_load(Kind::Redis7, "1", &[]);
    follow_under_load(Kind::Redis7, "3", &["--repl-diskless-sync", "no"]);
}

#[test]
fn valkey_9_follows_through_cuts() {
    follow_under_load(Kind::Valkey9, "1", &["--repl-diskless-sync", "no"]);
    follow_under_load(Kind::Valkey9, "3", &["--appendonly", "yes"]);
}

/// One cut serves all that wait for it, and none of them is behind another.
#[test]
fn replicas_that_wait_share_a_snapshot() {
    let server = primary(&["--workers", "3", "--repl-diskless-sync-max-replicas", "3"]);
    let mut client = server.client();
    client.ask("CONFIG SET repl-diskless-sync-delay 1000");
    client.ask("DEBUG POPULATE 1000");
    client.ask("HSET h f v");
    client.ask("HPEXPIRE h 1000000 FIELDS 1 f");
    let followers = Kind::ALL.map(|_| replica(Kind::Redis8, server.tcp()));
    followers.iter().for_each(|follower| {
        await_link(follower);
        check_same(&server, follower);
    });
    let cuts = server.log().matches("A snapshot for 3 replicas").count();
    assert_eq!(cuts, 1, "{}", server.log());
    let Value::Array(role) = client.ask("ROLE") else { panic!("it is an array") };
    assert!(matches!(&role[2], Value::Array(online) if online.len() == 3), "{role:?}");
    let Value::Bulk(list) = client.ask("CLIENT LIST TYPE replica") else { panic!("it is a text") };
    let list = String::from_utf8_lossy(&list).into_owned();
    assert!(list.lines().count() == 3 && list.lines().all(|line| line.contains(" flags=S ")), "{list}");
}

/// A replica that reads no more used to cost what it did not read.
#[test]
fn replica_that_does_not_read_is_dropped_and_comes_back() {
    let server = primary(&["--client-output-buffer-limit", "replica 4mb 0 0", "--repl-backlog-size", "1mb"]);
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    follower.signal(Signal::STOP);
    let mut client = server.client();
    let value = "v".repeat(100_000);
    for count in 0..400 {
        let key = format!("k{}", count % 7);
        assert_eq!(client.call(&["SET", &key, &value]), Value::Simple(b"OK".to_vec()));
    }
    let is_dropped = until(|| field(&mut client, "replication", "connected_slaves") == "0");
    assert!(is_dropped, "{}", server.log());
    assert_eq!(number(&mut client, "stats", "client_output_buffer_limit_disconnections"), 1);
    let kept = number(&mut client, "memory", "mem_total_replication_buffers");
    assert!(kept < 3 << 20, "{kept} bytes are kept for nobody");
    follower.signal(Signal::CONT);
    check_same(&server, &follower);
    assert_eq!(number(&mut client, "stats", "sync_full"), 2);
}

/// Without an append-only file what replicas had been given counted as queued for ever: after `journal-limit` bytes no write
/// went on.
#[test]
fn writers_go_on_beyond_the_limit_of_the_journal() {
    let server = primary(&["--workers", "2", "--journal-limit", "1mb"]);
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    let mut client = server.client();
    let value = "v".repeat(50_000);
    for count in 0..100 {
        let key = format!("k{}", count % 7);
        assert_eq!(client.call(&["SET", &key, &value]), Value::Simple(b"OK".to_vec()));
    }
    check_same(&server, &follower);
}

#[test]
fn redis_cli_takes_a_snapshot() {
    let server = primary(&["--workers", "2"]);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 2000");
    client.ask("SADD s a b c");
    let dir = TempDir::new();
    let path = dir.path().join("dump.rdb");
    let port = server.tcp().port().to_string();
    let output = Command::new(redis_program("redis-cli")).args(["-p", &port, "--rdb"]).arg(&path).output();
    let output = output.expect("it can be run");
    assert!(output.status.success(), "{output:?}\n{}", server.log());
    let dir_name = dir.path().to_string_lossy().into_owned();
    let loaded = Server::redis(&["--dir", &dir_name, "--enable-debug-command", "yes"]);
    assert_eq!(loaded.client().ask("DEBUG DIGEST"), client.ask("DEBUG DIGEST"));
    let has_left = until(|| field(&mut client, "replication", "connected_slaves") == "0");
    assert!(has_left, "{}", server.log());
}

#[test]
fn redis_cli_follows_the_stream() {
    let server = primary(&["--workers", "2"]);
    let port = server.tcp().port().to_string();
    let mut cli = Command::new(redis_program("redis-cli"));
    let cli = cli.args(["-p", &port, "--replica"]).stdout(std::process::Stdio::piped());
    let mut child = cli.stderr(std::process::Stdio::null()).spawn().expect("it can be run");
    let mut client = server.client();
    let stdout = std::io::BufReader::new(child.stdout.take().expect("it is a pipe"));
    let reader = std::thread::spawn(|| {
        let mut lines = std::io::BufRead::lines(stdout).map_while(Result::ok);
        lines.any(|line| line.contains("followed") && line.contains("by-redis-cli"))
    });
    // What is written before the cut is part of the snapshot, which it does not show.
    let is_shown = until(|| {
        client.ask("SET followed by-redis-cli");
        reader.is_finished()
    });
    child.kill().expect("it runs");
    child.wait().expect("it is a child");
    assert!(is_shown && reader.join().expect("it reads to the end"), "{}", server.log());
}

/// What is written while there is no replica any more is kept for who comes back; when the backlog is freed, it is not.
#[test]
fn backlog_outlives_replicas_for_its_time() {
    let server = primary(&["--repl-backlog-ttl", "1"]);
    let mut client = server.client();
    let id = field(&mut client, "replication", "master_replid");
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    let id_then = field(&mut client, "replication", "master_replid");
    assert!(id != id_then && field(&mut client, "replication", "repl_backlog_active") == "1");
    drop(follower);
    client.ask("SET a 1");
    let is_freed = until(|| field(&mut client, "replication", "repl_backlog_active") == "0");
    assert!(is_freed, "{}", server.log());
    assert!(field(&mut client, "replication", "master_replid") != id_then);
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    check_same(&server, &follower);
}

#[test]
fn writes_are_refused_without_enough_replicas() {
    let server = primary(&["--min-replicas-to-write", "1", "--repl-ping-replica-period", "1"]);
    let mut client = server.client();
    let refused = "NOREPLICAS Not enough good replicas to write.";
    assert_eq!(client.ask("SET a 1"), Value::Error(refused.as_bytes().to_vec()));
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    let mut reply = Value::Null;
    let is_let_in = until(|| {
        reply = client.ask("SET a 1");
        reply == Value::Simple(b"OK".to_vec())
    });
    assert!(is_let_in, "{reply:?}");
    assert_eq!(field(&mut client, "replication", "min_slaves_good_slaves"), "1");
    drop(follower);
    assert!(until(|| client.ask("SET a 2") == Value::Error(refused.as_bytes().to_vec())));
}
