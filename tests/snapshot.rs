//! BGSAVE: what the file shows is one instant, whatever is written meanwhile; and what becomes of it when it fails.
//!
//! The files are loaded by the oracle, and what it then has is compared.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::harness::{Client, Rng, Server, Value, command, split, until};

fn simple(text: &str) -> Value {
    Value::Simple(text.into())
}

fn error(text: &str) -> Value {
    Value::Error(text.into())
}

/// A field of INFO.
fn info(client: &mut Client, name: &str) -> String {
    let text = client.ask("INFO everything").string();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("{name} is in INFO")).to_owned()
}

fn number(client: &mut Client, name: &str) -> i64 {
    info(client, name).parse().expect("a number")
}

fn await_end(client: &mut Client) {
    assert!(until(|| info(client, "rdb_bgsave_in_progress") == "0"));
}

/// BGSAVE, to its end.
fn save(client: &mut Client) {
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    await_end(client);
    assert_eq!(info(client, "rdb_last_bgsave_status"), "ok");
}

/// The oracle with the file that a server has saved.
fn loaded(server: &Server) -> Server {
    let dir = server.dir();
    std::fs::copy(dir.join("dump.rdb"), dir.join("loaded.rdb")).expect("it was saved");
    let dir = dir.to_string_lossy().into_owned();
    let oracle =
        Server::redis(&["--dbfilename", "loaded.rdb", "--dir", &dir, "--enable-debug-command", "yes"]);
    // DEBUG answers while the file is being loaded.
    let mut client = oracle.client();
    assert!(until(|| !client.ask("DBSIZE").is_error()));
    oracle
}

const SERVER: &[&str] = &["--enable-debug-command", "yes"];

fn start(workers: &str, more: &[&str]) -> Server {
    Server::start(&[SERVER, &["--workers", workers], more].concat())
}

/// Values of every type, small and large, with deadlines, in several databases.
fn fill(client: &mut Client) {
    for db in [0, 3, 15] {
        client.ask(&format!("SELECT {db}"));
        for number in 0..60 {
            let long = "word ".repeat(number * 10);
            for command in [
                format!("SET string:{number} value:{number}"),
                format!("SET integer:{number} {}", number * 1_000_003),
                format!("SET deadline:{number} soon EX {}", 10_000 + number),
                format!("RPUSH list:{} {number} element:{number} '{long}'", number % 7),
                format!("SADD set:{} {number} member:{number}", number % 7),
                format!("SADD ints:{} {number}", number % 7),
                format!("ZADD ranks:{} {number}.5 member:{number}", number % 7),
                format!("HSET hash:{} field:{number} '{long}'", number % 7),
                format!("XADD stream:{} {}-1 field value:{number}", number % 7, number + 1),
            ] {
                assert!(!client.ask(&command).is_error(), "{command}");
            }
        }
        for number in 0..2000 {
            client.ask(&format!("HSET large field:{number} value:{number}"));
            client.ask(&format!("ZADD large:ranks {number} member:{number}"));
        }
        client.ask("HPEXPIREAT hash:1 4000000000000 FIELDS 1 field:1");
        client.ask(&format!("SET blob {}", "b".repeat(300_000)));
    }
    client.ask("SELECT 0");
}

#[test]
fn saved_file_is_what_redis_loads() {
    for workers in ["1", "3"] {
        let server = start(workers, &[]);
        let mut client = server.client();
        fill(&mut client);
        save(&mut client);
        let oracle = loaded(&server);
        assert_eq!(oracle.client().ask("DEBUG DIGEST"), client.ask("DEBUG DIGEST"));
        // Once more: nothing is left of the first one.
        client.ask("SET another key");
        save(&mut client);
        let oracle = loaded(&server);
        assert_eq!(oracle.client().ask("DEBUG DIGEST"), client.ask("DEBUG DIGEST"));
        assert_eq!(number(&mut client, "rdb_saves"), 2);
    }
}

/// What one writer does: its `n`th transaction writes `n` to its counter and to one of its keys, and removes and makes others.
const KEYS: u64 = 300;

fn write(client: &mut Client, writer: u64, n: u64) {
    let key = n % KEYS;
    let commands = [
        "MULTI".to_owned(),
        format!("SET {{w{writer}}}count {n}"),
        format!("SET key:{writer}:{key} {n}"),
        format!("HSET hash:{writer}:{} n {n}", key % 10),
        format!("RENAME moved:{writer}:{} moved:{writer}:{}", (n + KEYS - 1) % KEYS, key),
        format!("DEL gone:{writer}:{}", (n + 1) % KEYS),
        format!("RPUSH gone:{writer}:{key} {n}"),
        "EXEC".to_owned(),
    ];
    let bytes: Vec<u8> = commands.iter().flat_map(|words| command(&split(words))).collect();
    client.send_raw(&bytes).expect("it listens");
    for _ in &commands {
        client.read().expect("it answers");
    }
}

/// The picture is one that there was between two transactions of each writer.
fn check(oracle: &mut Client, writer: u64) {
    let ask = |oracle: &mut Client, command: String| match oracle.ask(&command) {
        value if value.is_null() => None,
        value => Some(value.int().expect("a number") as u64),
    };
    let n = ask(oracle, format!("GET {{w{writer}}}count")).expect("it was there at the cut");
    assert!(n >= KEYS);
    for key in 0..KEYS {
        let last = n - (n + KEYS - key) % KEYS;
        assert_eq!(
            ask(oracle, format!("GET key:{writer}:{key}")),
            Some(last),
            "writer {writer}, key {key}, {n}"
        );
        let gone = oracle.ask(&format!("EXISTS gone:{writer}:{key}"));
        assert_eq!(gone, Value::Int(i64::from(key != (n + 1) % KEYS)), "writer {writer}, key {key}, {n}");
        let moved = oracle.ask(&format!("EXISTS moved:{writer}:{key}"));
        assert_eq!(moved, Value::Int(i64::from(key == n % KEYS)), "writer {writer}, key {key}, {n}");
    }
    for hash in 0..10 {
        let got = ask(oracle, format!("HGET hash:{writer}:{hash} n")).expect("it was there");
        assert!(
            got <= n && n - got < 10 && (got % KEYS) % 10 == hash,
            "writer {writer}, hash {hash}, {got} of {n}"
        );
    }
}

/// Writers write in transactions while snapshots are made, one after the other, of different lengths.
#[test]
fn snapshot_under_load_is_one_instant() {
    for (workers, delay) in [("1", 0), ("2", 20), ("3", -50)] {
        let server =
            start(workers, &["--rdb-key-save-delay", &delay.to_string(), "--snapshot-buffer-limit", "1mb"]);
        let (stopped, transactions) = (AtomicBool::new(false), AtomicU64::new(0));
        let writers = 6;
        for writer in 0..writers {
            let mut client = server.client();
            client.ask(&format!("SET moved:{writer}:0 here"));
            (1..=2 * KEYS).for_each(|n| write(&mut client, writer, n));
        }
        let mut client = server.client();
        client.ask(&format!("SET blob {}", "b".repeat(100_000)));
        std::thread::scope(|scope| {
            for writer in 0..writers {
                let (server, stopped, transactions) = (&server, &stopped, &transactions);
                scope.spawn(move || {
                    let mut client = server.client();
                    let mut n = 2 * KEYS;
                    while !stopped.load(Relaxed) {
                        n += 1;
                        write(&mut client, writer, n);
                        transactions.fetch_add(1, Relaxed);
                    }
                });
            }
            for _ in 0..4 {
                let before = transactions.load(Relaxed);
                assert!(until(|| transactions.load(Relaxed) > before + 20));
                save(&mut client);
                let oracle = loaded(&server);
                let mut oracle = oracle.client();
                (0..writers).for_each(|writer| check(&mut oracle, writer));
            }
            stopped.store(true, Relaxed);
        });
    }
}

/// P004, as Redis has it.
#[test]
fn changes_during_a_snapshot_are_not_in_it() {
    let server = start("2", &["--rdb-key-save-delay", "20000"]);
    let mut client = server.client();
    for number in 0..20 {
        client.ask(&format!("SET key:{number} old:{number}"));
    }
    let digest = client.ask("DEBUG DIGEST");
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    for command in
        ["SET key:1 new", "DEL key:2", "RENAME key:3 other", "SET new key", "SWAPDB 0 1", "SET key:5 swapped"]
    {
        assert!(!client.ask(command).is_error(), "{command}");
    }
    assert_eq!(client.ask("BGSAVE"), error("ERR Background save already in progress"));
    assert_eq!(number(&mut client, "current_save_keys_total"), 20);
    await_end(&mut client);
    let oracle = loaded(&server);
    assert_eq!(oracle.client().ask("DEBUG DIGEST"), digest);
}

/// P004: FLUSHALL ends it, and nothing is wrong then. FLUSHDB does not.
#[test]
fn flushall_ends_a_snapshot_and_flushdb_does_not() {
    let server = start("2", &["--rdb-key-save-delay", "20000"]);
    let mut client = server.client();
    let fill = |client: &mut Client| {
        (0..30).for_each(|number| _ = client.ask(&format!("SET key:{number} {number}")));
    };
    fill(&mut client);
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    assert_eq!(client.ask("FLUSHALL"), simple("OK"));
    await_end(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    assert!(!server.dir().join("dump.rdb").exists());
    fill(&mut client);
    let digest = client.ask("DEBUG DIGEST");
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    assert_eq!(client.ask("FLUSHDB"), simple("OK"));
    client.ask("SET key:3 other");
    await_end(&mut client);
    let oracle = loaded(&server);
    assert_eq!(oracle.client().ask("DEBUG DIGEST"), digest);
}

/// P011: what is written during the save counts for the next one.
#[test]
fn changes_during_a_snapshot_count_afterwards() {
    let server = start("2", &["--rdb-key-save-delay", "20000"]);
    let mut client = server.client();
    (0..5).for_each(|number| _ = client.ask(&format!("SET key:{number} {number}")));
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 5);
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    client.ask("SET another key");
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 6);
    await_end(&mut client);
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 1);
}

/// A disk that is full: the old file stays, nothing of the new one does, and writes are refused until it goes well again.
#[test]
fn failed_snapshot_leaves_the_old_file_and_refuses_writes() {
    let server = start("2", &["--save", "3600 1000000"]);
    let mut client = server.client();
    (0..5000).for_each(|number| _ = client.ask(&format!("SET key:{number} {number}")));
    save(&mut client);
    let file = server.dir().join("dump.rdb");
    let before = std::fs::read(&file).expect("it was saved");
    let temp = server.dir().join(format!("temp-{}.rdb", server.pid()));
    std::os::unix::fs::symlink("/dev/full", &temp).expect("a link can be made");
    client.ask("SET another key");
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    await_end(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    assert_eq!(std::fs::read(&file).expect("it is still there"), before);
    assert!(!temp.exists() && std::fs::symlink_metadata(&temp).is_err());
    // What Redis says where a file cannot be made.
    let oracle = Server::redis(&["--save", "3600 1000000", "--dbfilename", "dump.rdb"]);
    let mut redis = oracle.client();
    // It has looked for a file to load by then.
    redis.ask("PING");
    std::fs::create_dir(oracle.dir().join("dump.rdb")).expect("a directory can be made");
    redis.ask("BGSAVE");
    assert!(until(|| info(&mut redis, "rdb_last_bgsave_status") == "err"));
    for command in [
        "SET a b",
        "PING",
        "GET a",
        "FLUSHALL",
        "CONFIG SET maxmemory 0",
        "MULTI",
        "SET a b",
        "EXEC",
        "DEL a",
    ] {
        assert_eq!(client.ask(command), redis.ask(command), "{command}");
    }
    assert_eq!(client.ask("CONFIG SET stop-writes-on-bgsave-error no"), simple("OK"));
    assert_eq!(client.ask("SET a b"), simple("OK"));
    client.ask("CONFIG SET stop-writes-on-bgsave-error yes");
    assert!(client.ask("SET a b").is_error());
    save(&mut client);
    assert_eq!(client.ask("SET a b"), simple("OK"));
}

#[test]
fn save_points_and_transactions_save_by_themselves() {
    let server = start("2", &["--save", "1 3"]);
    let mut client = server.client();
    assert_eq!(client.ask("MULTI"), simple("OK"));
    assert_eq!(client.ask("BGSAVE SCHEDULE"), simple("QUEUED"));
    assert_eq!(client.ask("EXEC"), Value::Array(vec![simple("Background saving scheduled")]));
    assert!(until(|| number(&mut client, "rdb_saves") == 1));
    await_end(&mut client);
    let before = client.ask("LASTSAVE");
    (0..3).for_each(|number| _ = client.ask(&format!("SET key:{number} {number}")));
    assert!(until(|| number(&mut client, "rdb_saves") == 2));
    await_end(&mut client);
    assert_eq!(number(&mut client, "rdb_changes_since_last_save"), 0);
    assert!(client.ask("LASTSAVE") != before);
    assert_eq!(client.ask("BGSAVE NOW"), error("ERR syntax error"));
}

/// The end of the process does not wait for a slow snapshot, and leaves nothing of it.
#[test]
fn shutdown_gives_a_snapshot_up() {
    let mut server = start("2", &["--rdb-key-save-delay", "100000"]);
    let mut client = server.client();
    (0..2000).for_each(|number| _ = client.ask(&format!("SET key:{number} {number}")));
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    let temp = server.dir().join(format!("temp-{}.rdb", server.pid()));
    assert!(until(|| temp.exists()));
    client.send(&["SHUTDOWN", "NOSAVE"]).expect("it listens");
    server.await_exit();
    assert!(!temp.exists() && !server.dir().join("dump.rdb").exists());
}

/// What is held for a snapshot is bounded: writes to keys that are not saved wait, and nothing else does.
#[test]
fn writes_to_unsaved_keys_wait_at_the_limit() {
    const KEYS: usize = 30_000;
    for workers in ["1", "3"] {
        let server = start(workers, &["--rdb-key-save-delay", "50", "--snapshot-buffer-limit", "1mb"]);
        let mut client = server.client();
        let set = |from: usize, to: usize, value: &str| -> Vec<u8> {
            let one = |number| command(&split(&format!("SET key:{number} {value}:{number}")));
            (from..to).flat_map(one).collect()
        };
        client.send_raw(&set(0, KEYS, &"old".repeat(20))).expect("it listens");
        (0..KEYS).for_each(|_| _ = client.read().expect("it answers"));
        let digest = client.ask("DEBUG DIGEST");
        let mut other = server.client();
        assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut client = server.client();
                for from in (0..KEYS).step_by(100) {
                    client.send_raw(&set(from, from + 100, "new")).expect("it listens");
                    (0..100).for_each(|_| assert_eq!(client.read().expect("it answers"), simple("OK")));
                }
                is_over.store(true, Relaxed);
            });
            // The writer gets ahead of the snapshot, which takes a second and more, by no more than the limit.
            let mut rounds = 0;
            while !is_over.load(Relaxed) {
                rounds += 1;
                assert!(!other.ask(&format!("GET key:{}", rounds % KEYS)).is_null());
                assert_eq!(other.ask(&format!("SET other:{rounds} value")), simple("OK"));
            }
            let saved = info(&mut other, "rdb_bgsave_in_progress") == "0"
                || number(&mut other, "current_save_keys_processed") > KEYS as i64 / 2;
            assert!(saved, "it has waited for the snapshot");
            writer.join().expect("it has not failed");
        });
        await_end(&mut client);
        let oracle = loaded(&server);
        assert_eq!(oracle.client().ask("DEBUG DIGEST"), digest);
        assert_eq!(client.ask("GET key:17"), Value::Bulk(b"new:17".to_vec()));
    }
}

/// Sets keys `0..keys` to values that do not compress, of so many bytes.
fn fill_noise(client: &mut Client, keys: usize, bytes: usize) {
    let mut rng = Rng(7);
    for from in (0..keys).step_by(100) {
        let mut out = Vec::new();
        for number in from..from + 100 {
            let value: String = (0..bytes).map(|_| char::from(b'!' + rng.below(90) as u8)).collect();
            out.extend(command(&["SET", &format!("key:{number}"), &value]));
        }
        client.send_raw(&out).expect("it listens");
        (0..100).for_each(|_| assert_eq!(client.read().expect("it answers"), simple("OK")));
    }
}

/// A client that writes to all keys, one after the other, for as long as its server answers; what it has written.
fn overwrite(server: &Server, keys: usize, value: &str, written: &AtomicU64, is_over: &AtomicBool) {
    let mut client = server.client();
    for number in 0..keys {
        if is_over.load(Relaxed) {
            return;
        }
        assert_eq!(client.call(&["SET", &format!("key:{number}"), value]), simple("OK"));
        written.fetch_add(1, Relaxed);
    }
}

/// A disk that takes nothing any more: writers wait for it no longer than `snapshot-wait-max`, and it is the snapshot that fails.
#[test]
fn snapshot_at_a_standstill_fails_and_writers_go_on() {
    const KEYS: usize = 4000;
    let server = start("2", &["--snapshot-buffer-limit", "1mb", "--snapshot-wait-max", "1"]);
    let mut client = server.client();
    fill_noise(&mut client, KEYS, 1000);
    // Each key takes three seconds from now on.
    client.ask("CONFIG SET rdb-key-save-delay 3000000");
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    let (written, never) = (AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    overwrite(&server, KEYS, &"n".repeat(1000), &written, &never);
    assert_eq!(written.load(Relaxed), KEYS as u64);
    assert!(begun.elapsed() > Duration::from_secs(1), "nobody had to wait: {:?}", begun.elapsed());
    await_end(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    assert!(server.log().contains("it came to a standstill, and writers waited for it"), "{}", server.log());
    assert!(!server.dir().join("dump.rdb").exists());
    client.ask("CONFIG SET rdb-key-save-delay 0");
    save(&mut client);
    assert_eq!(loaded(&server).client().ask("DEBUG DIGEST"), client.ask("DEBUG DIGEST"));
}

/// Resident memory of a server, in bytes.
fn resident(server: &Server) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux says so");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") << 10
}

/// A sink of 5 MB a second: it takes as long as that, memory stays at the directive, readers are served, and so is who writes to
/// what is saved.
#[test]
fn slow_sink_holds_up_only_who_writes_to_what_is_not_saved() {
    const KEYS: usize = 12_000;
    const RATE: u64 = 5_000_000;
    const LIMIT: u64 = 2 << 20;
    let server = start(
        "2",
        &["--snapshot-buffer-limit", &LIMIT.to_string(), "--snapshot-rate-max", &RATE.to_string()],
    );
    let mut client = server.client();
    fill_noise(&mut client, KEYS, 1000);
    let digest = client.ask("DEBUG DIGEST");
    let mut others: Vec<Client> = (0..100).map(|_| server.client()).collect();
    let (before, begun) = (resident(&server), Instant::now());
    assert_eq!(client.ask("BGSAVE"), simple("Background saving started"));
    let (written, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let mut most = before;
    let value = "n".repeat(1000);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| overwrite(&server, KEYS, &value, &written, &is_over));
        assert!(until(|| {
            most = most.max(resident(&server));
            assert!(!client.ask(&format!("GET key:{}", written.load(Relaxed) % KEYS as u64)).is_null());
            number(&mut client, "current_save_keys_processed") > KEYS as i64 / 2
        }));
        assert!(written.load(Relaxed) < KEYS as u64, "the writer never had to wait");
        for (number, other) in others.iter_mut().enumerate() {
            let key = format!("key:{}", KEYS - 1 - number);
            other.send_raw(&command(&["SET", &key, &value])).expect("it listens");
            other.set_nonblocking(true);
        }
        let mut answered = 0;
        assert!(until(|| {
            most = most.max(resident(&server));
            others.retain_mut(|other| other.read().is_err());
            answered = 100 - others.len();
            answered > 30
        }));
        assert_eq!(info(&mut client, "rdb_bgsave_in_progress"), "1", "they were answered while it was made");
        for other in &mut others {
            other.set_nonblocking(false);
            assert_eq!(other.read().expect("it is answered in the end"), simple("OK"));
        }
        writer.join().expect("it has not failed");
    });
    await_end(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    let size = std::fs::metadata(server.dir().join("dump.rdb")).expect("it was saved").len();
    let least = Duration::from_secs_f64((size - (1 << 20)) as f64 / RATE as f64);
    assert!(begun.elapsed() >= least, "{size} bytes in {:?}", begun.elapsed());
    // What is replaced is held as well: no more than the limit, and what allocators round up to.
    assert!(most - before < 2 * LIMIT + (8 << 20), "{} MiB more", (most - before) >> 20);
    let oracle = loaded(&server);
    assert_eq!(oracle.client().ask("DEBUG DIGEST"), digest);
}

/// In a transaction a save is put off; while one is made it is refused, as in Redis.
#[test]
fn bgsave_in_a_transaction_is_put_off() {
    let server = start("2", &["--rdb-key-save-delay", "200000"]);
    let oracle = Server::redis(&["--rdb-key-save-delay", "200000", "--enable-debug-command", "yes"]);
    for server in [&server, &oracle] {
        let mut client = server.client();
        (0..3).for_each(|number| drop(client.ask(&format!("SET key:{number} v"))));
        client.ask("MULTI");
        ["BGSAVE", "BGSAVE", "BGSAVE SCHEDULE"].iter().for_each(|line| drop(client.ask(line)));
        let scheduled = simple("Background saving scheduled");
        assert_eq!(client.ask("EXEC"), Value::Array(vec![scheduled.clone(), scheduled.clone(), scheduled]));
        assert!(until(|| info(&mut client, "rdb_bgsave_in_progress") == "1"));
        ["MULTI", "BGSAVE", "BGSAVE SCHEDULE"].iter().for_each(|line| drop(client.ask(line)));
        let refused = error("ERR Background save already in progress");
        assert_eq!(client.ask("EXEC"), Value::Array(vec![refused.clone(), refused]));
        await_end(&mut client);
        assert_eq!(client.ask("SAVE"), simple("OK"), "nothing is in its way once INFO says so");
    }
}

/// What INFO says of a save that has failed is what Redis says.
#[test]
fn failed_save_shows_the_same_in_info() {
    let fields = [
        "rdb_changes_since_last_save",
        "rdb_bgsave_in_progress",
        "rdb_last_bgsave_status",
        "rdb_last_bgsave_time_sec",
        "rdb_current_bgsave_time_sec",
        "rdb_saves",
        "aof_enabled",
        "aof_last_write_status",
        "aof_last_bgrewrite_status",
    ];
    let server = start("2", &["--save", "3600 1000000"]);
    let oracle = Server::redis(&["--save", "3600 1000000", "--dbfilename", "dump.rdb"]);
    let seen = [&server, &oracle].map(|server| {
        let mut client = server.client();
        assert_eq!(client.ask("PING"), simple("PONG"));
        let look = |client: &mut Client| fields.map(|name| format!("{name}:{}", info(client, name)));
        let file = server.dir().join("dump.rdb");
        std::fs::create_dir(&file).expect("a directory can be made");
        (0..5).for_each(|number| drop(client.ask(&format!("SET key:{number} v"))));
        client.ask("BGSAVE");
        assert!(until(|| info(&mut client, "rdb_last_bgsave_status") == "err"));
        await_end(&mut client);
        let failed = look(&mut client);
        let refused = client.ask("SET key:0 v");
        std::fs::remove_dir(&file).expect("it is empty");
        client.ask("BGSAVE");
        assert!(until(|| info(&mut client, "rdb_last_bgsave_status") == "ok"));
        await_end(&mut client);
        (failed, refused, look(&mut client))
    });
    assert_eq!(seen[0], seen[1]);
}

/// A large value is not copied: who writes to it waits until it is saved, in a transaction too, and who removes it.
#[test]
fn writes_to_a_large_value_wait_until_it_is_saved() {
    for workers in ["1", "2"] {
        let server = start(workers, &[]);
        let mut client = server.client();
        let fields: Vec<u8> = (0..20_000)
            .flat_map(|number| {
                let key = number % 4;
                command(&split(&format!("HSET large:{key} field:{number} value:{number}")))
            })
            .collect();
        client.send_raw(&fields).expect("it listens");
        (0..20_000).for_each(|_| _ = client.read().expect("it answers"));
        for _ in 0..3 {
            let digest = client.ask("DEBUG DIGEST");
            let commands = [
                "BGSAVE",
                "HSET large:0 field:0 another",
                "MULTI",
                "HDEL large:1 field:1",
                "RENAME large:1 moved",
                "EXEC",
                "HSET moved field:1 again",
                "RENAME moved large:1",
                "DEL large:2",
                "COPY large:0 large:2",
                "HSET large:3 field:3 other",
            ];
            let bytes: Vec<u8> = commands.iter().flat_map(|words| command(&split(words))).collect();
            client.send_raw(&bytes).expect("it listens");
            commands.iter().for_each(|_| assert!(!client.read().expect("it answers").is_error()));
            await_end(&mut client);
            let oracle = loaded(&server);
            assert_eq!(oracle.client().ask("DEBUG DIGEST"), digest);
        }
        assert_eq!(client.ask("HGET large:2 field:0"), Value::Bulk(b"another".to_vec()));
    }
}
