//! A replica has its primary's data: every command's effect, links that are cut, restarts.

use super::{await_agreement, await_link, await_offset, field, number, to_follow};
use crate::differential::commands;
use crate::harness::{Client, Server, TempDir, until};
use rustix::process::Signal;

/// Random commands between two cuts of the link, and cuts.
const COMMANDS: usize = 400;
const CUTS: usize = 3;

/// What a primary is started with.
pub(super) const AT_ONCE: &[&str] = &["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];

/// Starts one.
type Start = fn() -> Server;

/// Servers that can be followed.
const PRIMARIES: &[(&str, Start)] = &[
    ("Redis 8.2", || Server::newest_tcp("redis-server", AT_ONCE)),
    ("Redis 7.0", || Server::older_redis_tcp(AT_ONCE)),
    ("Redis 7.0 with a file", || {
        Server::older_redis_tcp(&[AT_ONCE, &["--repl-diskless-sync", "no"]].concat())
    }),
    ("Valkey 9.1", || Server::newest_tcp("valkey-server", AT_ONCE)),
];

/// Torc, once it has loaded what there is.
fn start_replica(args: &[&str]) -> Server {
    let server = Server::start(&[&["--enable-debug-command", "yes"], args].concat());
    let mut client = server.client();
    assert!(until(|| field(&mut client, "persistence", "loading") == "0"), "{}", server.log());
    server
}

/// Random commands of every family, on a connection of their own; scripts and a transaction besides.
pub(super) fn load(primary: &Server, seed: u64, count: usize) {
    let mut client = primary.client();
    // Other versions merge sketches into other bytes, of which commands for strings then make something else; and commands for fields
    // that expire are not alike in all of them.
    let is_newest = field(&mut client, "server", "redis_version").starts_with("8.2");
    let differs = |words: &[Vec<u8>]| {
        let name = words[0].to_ascii_uppercase();
        name.starts_with(b"PF") || name.starts_with(b"H") && name.windows(2).any(|pair| pair == b"EX")
    };
    // What overflows and fails makes the string longer all the same, and no replica is told.
    let grows = |words: &[Vec<u8>]| words.iter().any(|word| word.eq_ignore_ascii_case(b"FAIL"));
    for words in commands(seed, count).iter().filter(|words| !grows(words) && (is_newest || !differs(words)))
    {
        client.call(words);
    }
    let mut client = primary.client();
    let script = "redis.call('SET', KEYS[1], ARGV[1]) redis.call('RPUSH', KEYS[2], 1, 2) return redis.call('INCR', 'scripts')";
    for number in 0..10 {
        client.call(&["EVAL", script, "2", &format!("script:{number}"), "script:list", "value"]);
        client.ask(&format!("SET expires:{number} x PX {}", number * 20 + 1));
        client.ask("MULTI");
        client.ask(&format!("SELECT {}", number % 4));
        client.ask("INCR transactions");
        client.ask(&format!("ZADD zset {number} member:{number}"));
        client.ask("EXEC");
    }
}

fn follow_through_cuts(name: &str, start: fn() -> Server, workers: &str, seed: u64) {
    let primary = start();
    load(&primary, seed, COMMANDS);
    let replica = start_replica(&["--workers", workers]);
    replica.client().ask("SET older than-this");
    replica.client().ask(&to_follow(&primary));
    let mut of_replica = replica.client();
    let is_up = until(|| field(&mut of_replica, "replication", "master_link_status") == "up");
    assert!(is_up, "{name}: {}\n{}", replica.log(), primary.log());
    let mut client = primary.client();
    for cut in 0..CUTS as u64 {
        load(&primary, seed * 100 + cut, COMMANDS);
        assert!(client.ask("CLIENT KILL TYPE slave").int() >= Some(0));
        load(&primary, seed * 100 + cut + 50, COMMANDS / 2);
        await_agreement(&mut client, &replica, &format!("{name}, {workers} workers, seed {seed}, cut {cut}"));
    }
    assert_eq!(number(&mut client, "stats", "sync_full"), 1, "{name}: {}", replica.log());
    assert_eq!(number(&mut client, "stats", "sync_partial_ok"), CUTS as i64, "{name}: {}", replica.log());
    assert_eq!(number(&mut of_replica, "stats", "unexpected_error_replies"), 0, "{name}: {}", replica.log());
    assert_eq!(of_replica.ask("EXISTS older").int(), Some(0));
}

#[test]
fn replica_is_its_primary_through_cuts_one_worker() {
    for (seed, (name, start)) in PRIMARIES.iter().enumerate() {
        follow_through_cuts(name, *start, "1", seed as u64 + 1);
    }
}

#[test]
fn replica_is_its_primary_through_cuts_three_workers() {
    for (seed, (name, start)) in PRIMARIES.iter().enumerate() {
        follow_through_cuts(name, *start, "3", seed as u64 + 11);
    }
}

/// A replica that ends in order, and one that is killed after a save, both go on where their files end.
#[test]
fn restarted_replica_continues_from_its_file() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let (dir, port) = (TempDir::new(), primary.tcp().port().to_string());
    let path = dir.path().to_string_lossy().into_owned();
    let args = ["--dir", &path, "--save", "100000 1", "--replicaof", "127.0.0.1", &port, "--workers", "2"];
    let mut client = primary.client();
    client.ask("SELECT 5");
    client.ask("SET before 1");
    let mut replica = start_replica(&args);
    await_link(&replica);
    client.ask("INCR counter");
    await_offset(&mut client, &replica);
    replica.signal(Signal::TERM);
    assert!(replica.await_exit().success(), "{}", replica.log());
    // The stream goes on in the database that was selected before.
    client.ask("INCR counter");
    let mut replica = start_replica(&args);
    await_agreement(&mut client, &replica, "after an orderly end");
    client.ask("INCR counter");
    await_offset(&mut client, &replica);
    replica.client().ask("BGSAVE");
    let is_saved = || field(&mut replica.client(), "persistence", "rdb_bgsave_in_progress") == "0";
    assert!(until(is_saved));
    client.ask("INCR counter");
    await_offset(&mut client, &replica);
    replica.signal(Signal::KILL);
    replica.await_exit();
    let replica = start_replica(&args);
    await_agreement(&mut client, &replica, "after a kill");
    assert_eq!(number(&mut client, "stats", "sync_full"), 1, "{}", replica.log());
    let mut of_replica = replica.client();
    of_replica.ask("SELECT 5");
    assert_eq!(of_replica.ask("GET counter").int(), Some(4));
}

/// What came with a snapshot and with the stream is in the append-only file of the replica.
#[test]
fn replica_keeps_an_append_only_file_of_its_own() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let dir = TempDir::new();
    let path = dir.path().to_string_lossy().into_owned();
    let args = ["--dir", &path, "--appendonly", "yes", "--workers", "2"];
    let mut client = primary.client();
    client.ask("SET snapshot 1");
    let mut replica = start_replica(&args);
    replica.client().ask("SET older 1");
    replica.client().ask(&to_follow(&primary));
    await_link(&replica);
    client.ask("SET stream 1");
    client.ask("SET lapsing 1 PX 30000");
    await_offset(&mut client, &replica);
    let is_rewritten = || {
        let mut client = replica.client();
        field(&mut client, "persistence", "aof_rewrite_in_progress") == "0"
            && field(&mut client, "persistence", "aof_rewrite_scheduled") == "0"
            && number(&mut client, "persistence", "aof_rewrites") > 0
    };
    assert!(until(is_rewritten), "{}", replica.log());
    client.ask("RPUSH list a b");
    await_agreement(&mut client, &replica, "before the restart");
    let expected = client.ask("DEBUG DIGEST");
    replica.signal(Signal::TERM);
    assert!(replica.await_exit().success(), "{}", replica.log());
    let replica = start_replica(&args);
    assert_eq!(replica.client().ask("DEBUG DIGEST"), expected, "{}", replica.log());
}

/// The stream has no limits of clients: a replicated command longer than `client-query-buffer-limit` cut the link, again and
/// again.
#[test]
fn limits_of_clients_do_not_concern_the_stream() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let replica = start_replica(&[
        "--client-query-buffer-limit",
        "1mb",
        "--maxmemory-clients",
        "1mb",
        "--timeout",
        "1",
        "--maxmemory",
        "4mb",
        "--proto-max-bulk-len",
        "1mb",
    ]);
    replica.client().ask(&to_follow(&primary));
    await_link(&replica);
    let mut client = primary.client();
    let value = "x".repeat(3 << 20);
    for number in 0..4 {
        client.call(&["SET", &format!("large:{number}"), &value]);
    }
    await_agreement(&mut client, &replica, "large values");
    assert_eq!(number(&mut client, "stats", "sync_full"), 1);
    assert_eq!(replica.client().ask("DBSIZE").int(), Some(4));
}

/// Keys expire when the primary says so, and read as absent before.
#[test]
fn expired_key_is_absent_until_the_primary_removes_it() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let replica = start_replica(&["--workers", "2"]);
    replica.client().ask(&to_follow(&primary));
    await_link(&replica);
    let mut client = primary.client();
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ask("SET k v PX 30");
    client.ask("HSET h f v g w");
    client.ask("HPEXPIRE h 30 FIELDS 1 f");
    await_offset(&mut client, &replica);
    let mut of_replica = replica.client();
    assert!(until(|| of_replica.ask("GET k").is_null()));
    assert!(until(|| of_replica.ask("HGET h f").is_null()));
    for (command, expected) in [
        ("EXISTS k", "0"),
        ("TTL k", "-2"),
        ("PTTL k", "-2"),
        ("TYPE k", "none"),
        ("DBSIZE", "2"),
        ("HGETALL h", "g w"),
        ("KEYS *", "h"),
        ("HLEN h", "2"),
    ] {
        let reply = of_replica.ask(command);
        let shown = match &reply {
            crate::harness::Value::Array(all) => {
                all.iter().map(|one| one.clone().string()).collect::<Vec<_>>().join(" ")
            }
            other => other.int().map_or_else(|| other.clone().string(), |number| number.to_string()),
        };
        assert_eq!(shown, expected, "{command}");
    }
    client.ask("DEBUG SET-ACTIVE-EXPIRE 1");
    assert!(until(|| of_replica.ask("DBSIZE").int() == Some(1)));
    await_agreement(&mut client, &replica, "expired");
    assert_eq!(number(&mut of_replica, "stats", "expired_keys"), 0);
}

/// A client that waits on the replica is served by the stream.
#[test]
fn stream_serves_clients_that_wait() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let replica = start_replica(&["--workers", "2", "--notify-keyspace-events", "KEA"]);
    replica.client().ask(&to_follow(&primary));
    await_link(&replica);
    let mut waits = replica.client();
    waits.send(&["XREAD", "BLOCK", "0", "STREAMS", "s", "$"]).expect("it is sent");
    let mut listens = replica.client();
    listens.ask("SUBSCRIBE __keyevent@0__:incrby");
    let mut watches = replica.client();
    watches.ask("WATCH n");
    watches.ask("MULTI");
    watches.ask("GET n");
    let is_waiting = || number(&mut replica.client(), "clients", "blocked_clients") == 1;
    assert!(until(is_waiting));
    let mut client = primary.client();
    client.ask("INCR n");
    client.ask("XADD s 5-1 field value");
    let served = waits.read().expect("it is served");
    assert!(served.to_string().contains("5-1"), "{served}");
    assert!(listens.read().expect("it is told").to_string().contains('n'));
    assert!(watches.ask("EXEC").is_null());
}

fn is_loading(client: &mut Client) -> bool {
    client.ask("GET k").string().starts_with("LOADING")
}

/// While a large snapshot is loaded clients hear so, and afterwards everything is there.
#[test]
fn second_snapshot_replaces_all_data() {
    let (first, second) =
        (Server::newest_tcp("redis-server", AT_ONCE), Server::newest_tcp("redis-server", AT_ONCE));
    first.client().ask("DEBUG POPULATE 20000 first 10");
    second.client().ask("DEBUG POPULATE 60000 second 100");
    let replica = start_replica(&["--workers", "3"]);
    let mut client = replica.client();
    client.ask(&to_follow(&first));
    assert!(until(|| !is_loading(&mut client) && client.ask("EXISTS first:19999").int() == Some(1)));
    client.ask(&to_follow(&second));
    assert!(until(|| !is_loading(&mut client) && client.ask("EXISTS second:59999").int() == Some(1)));
    await_agreement(&mut second.client(), &replica, "the second");
    assert_eq!(client.ask("DBSIZE").int(), Some(60000));
}

/// Valkey 9 keeps fields that expire in a format of its own, in snapshots for replicas and in files.
#[test]
fn hashes_of_valkey_with_deadlines_are_read() {
    let dir = TempDir::new();
    let path = dir.path().to_string_lossy().into_owned();
    let args = [AT_ONCE, &["--dir", &path, "--save", "100000 1"]].concat();
    let primary = Server::newest_tcp("valkey-server", &args);
    let mut client = primary.client();
    client.ask("HSET small a 1 b 22 c 333");
    client.ask("HPEXPIREAT small 33000000000000 FIELDS 1 b");
    for number in 0..2000 {
        client.ask(&format!("HSET large f{number} {number}"));
    }
    client.ask("HPEXPIREAT large 33000000000001 FIELDS 2 f0 f1999");
    client.ask("SADD set x");
    client.ask("SAVE");
    let loaded = start_replica(&["--dir", &path, "--workers", "2"]);
    let replica = start_replica(&["--workers", "2"]);
    replica.client().ask(&to_follow(&primary));
    await_link(&replica);
    for server in [&loaded, &replica] {
        let mut ours = server.client();
        for command in [
            "DBSIZE",
            "HLEN large",
            "HGET small a",
            "HPEXPIRETIME small FIELDS 3 a b c",
            "HPEXPIRETIME large FIELDS 3 f0 f1 f1999",
        ] {
            assert_eq!(ours.ask(command), client.ask(command), "{command}: {}", server.log());
        }
    }
}
