//! The append-only file: what was acknowledged is there after a crash, and says the same to Redis.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use crate::differential::commands;
use crate::harness::{Client, Rng, Server, TempDir, Value, until};

const DATABASES: usize = 16;
/// What a server's first effect stands behind.
const SELECT: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n";
/// Random commands of a run.
const COMMANDS: usize = 3_000;

fn text(dir: &TempDir) -> String {
    dir.path().to_string_lossy().into_owned()
}

/// Torc with its append-only file in this directory, once it is loaded.
fn torc(dir: &TempDir, workers: &str, args: &[&str]) -> Server {
    let dir = text(dir);
    let kept = ["--dir", &dir, "--appendonly", "yes", "--enable-debug-command", "yes", "--workers", workers];
    let all = [&kept[..], args].concat();
    loaded(Server::start(&all))
}

fn redis(dir: &TempDir) -> Server {
    loaded(Server::redis(&["--dir", &text(dir), "--appendonly", "yes", "--enable-debug-command", "yes"]))
}

fn loaded(server: Server) -> Server {
    let mut client = server.client();
    let mut is_loaded = || {
        let reply = client.send(&["PING"]).and_then(|()| client.read());
        reply.unwrap_or_else(|error| panic!("{error}: {}", server.log())).string() == "PONG"
    };
    assert!(until(&mut is_loaded), "{}", server.log());
    server
}

/// Ends a server in order.
fn end(mut server: Server) {
    server.signal(Signal::TERM);
    assert!(server.await_exit().success(), "{}", server.log());
}

/// Two servers once had the same digest that refused to say what it was.
fn digest(client: &mut Client) -> String {
    let digest = client.ask("DEBUG DIGEST").string();
    assert!(digest.len() == 40 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()), "{digest}");
    digest
}

/// The file that is appended to.
fn last_file(dir: &TempDir) -> PathBuf {
    let files = std::fs::read_dir(dir.path().join("appendonlydir")).expect("it is there");
    let files = files.map(|file| file.expect("it can be read").path());
    let of_kind = |path: &PathBuf| path.to_string_lossy().ends_with(".incr.aof");
    files.filter(of_kind).max().expect("there is one")
}

/// Removes what would expire while servers are started.
fn remove_volatile(client: &mut Client) {
    for db in 0..DATABASES {
        client.ask(&format!("SELECT {db}"));
        for key in client.ask("KEYS *").elements() {
            let key = key.text();
            let has_deadline = client.call(&[b"PTTL", key]).int() >= Some(0);
            if has_deadline || has_field_deadline(client, key) {
                client.call(&[b"DEL", key]);
            }
        }
    }
    client.ask("SELECT 0");
}

fn has_field_deadline(client: &mut Client, key: &[u8]) -> bool {
    if client.call(&[b"TYPE", key]).string() != "hash" {
        return false;
    }
    client.call(&[b"HKEYS", key]).elements().iter().any(|field| {
        let times = client.call(&[b"HPTTL", key, b"FIELDS", b"1", field.text()]);
        times.elements().iter().any(|time| time.int() >= Some(0))
    })
}

/// A stream of every command, its transactions and expiries with it: each restart, with another number of workers, has the same
/// data, and so has Redis; a rewrite in the middle changes nothing.
#[test]
fn random_commands_survive_a_restart_and_say_the_same_to_redis() {
    for (seed, workers, then) in [(1, "1", "3"), (2, "3", "1")] {
        let dir = TempDir::new();
        let server = torc(&dir, workers, &["--aof-use-rdb-preamble", if seed == 1 { "yes" } else { "no" }]);
        let mut client = server.client();
        for (number, words) in commands(seed, COMMANDS).iter().enumerate() {
            client.call(words);
            if number == COMMANDS / 2 {
                client.ask("DISCARD");
                assert!(!client.ask("BGREWRITEAOF").is_error());
            }
        }
        client.ask("RESET");
        remove_volatile(&mut client);
        let expected = digest(&mut client);
        assert_ne!(expected, "0".repeat(40));
        end(server);
        let server = torc(&dir, then, &[]);
        assert_eq!(digest(&mut server.client()), expected, "seed {seed}");
        end(server);
        let server = redis(&dir);
        assert_eq!(digest(&mut server.client()), expected, "seed {seed}: Redis");
    }
}

/// Counters of many clients and a pair of keys that one transaction writes: after `kill -9` each is what was last acknowledged or
/// one more, and the pair is equal. Rewrites go on meanwhile.
#[test]
fn acknowledged_writes_survive_a_kill() {
    const CLIENTS: usize = 6;
    let dir = TempDir::new();
    let mut acknowledged = [0; CLIENTS];
    let mut rng = Rng(7);
    for (round, workers) in ["1", "3", "2"].into_iter().enumerate() {
        let server = torc(&dir, workers, &["--appendfsync", "always"]);
        let is_over = AtomicBool::new(false);
        let limit = 200 + rng.below(200) as i64;
        std::thread::scope(|scope| {
            let writers: Vec<_> = acknowledged
                .iter_mut()
                .enumerate()
                .map(|(number, last)| {
                    let (server, is_over) = (&server, &is_over);
                    scope.spawn(move || count(server, number, last, is_over))
                })
                .collect();
            let mut client = server.client();
            let counted = |client: &mut Client| client.ask("GET counter:0").int().unwrap_or(0);
            let before = counted(&mut client);
            if round > 0 {
                client.ask("BGREWRITEAOF");
            }
            assert!(until(|| counted(&mut client) > before + limit));
            server.signal(Signal::KILL);
            is_over.store(true, Ordering::Relaxed);
            writers.into_iter().for_each(|writer| writer.join().expect("it ends"));
        });
        drop(server);
        let server = torc(&dir, "2", &[]);
        let mut client = server.client();
        for (number, last) in acknowledged.iter_mut().enumerate() {
            let found = client.ask(&format!("GET counter:{number}")).int().unwrap_or(0);
            assert!((*last..=*last + 1).contains(&found), "client {number}: {found}, not {last}");
            *last = found;
            let pair = [format!("GET pair:{number}:a"), format!("GET pair:{number}:b")];
            let [a, b] = pair.map(|question| client.ask(&question).int());
            assert_eq!(a, b, "client {number}");
        }
        end(server);
    }
}

fn count(server: &Server, number: usize, last: &mut i64, is_over: &AtomicBool) {
    let mut client = server.client();
    while !is_over.load(Ordering::Relaxed) {
        let pair = format!("pair:{number}");
        let sent = crate::harness::command(&["INCR", &format!("counter:{number}")])
            .into_iter()
            .chain(crate::harness::command(&["MULTI"]))
            .chain(crate::harness::command(&["INCR", &format!("{pair}:a")]))
            .chain(crate::harness::command(&["INCR", &format!("{pair}:b")]))
            .chain(crate::harness::command(&["EXEC"]))
            .collect::<Vec<u8>>();
        if client.send_raw(&sent).is_err() {
            return;
        }
        let Ok(reply) = client.read() else { return };
        *last = reply.int().expect("a number");
        for _ in 0..4 {
            if client.read().is_err() {
                return;
            }
        }
    }
}

/// A file that ends anywhere in its last commands, a transaction among them, is cut behind what is whole; with
/// `aof-load-truncated no` the start is refused, with the offset.
#[test]
fn torn_end_is_cut_where_the_file_is_whole() {
    let dir = TempDir::new();
    let server = torc(&dir, "1", &[]);
    let mut client = server.client();
    client.ask("SET first 1");
    end(server);
    let path = last_file(&dir);
    let whole = std::fs::metadata(&path).expect("it is there").len();
    let server = torc(&dir, "1", &[]);
    let mut client = server.client();
    ["MULTI", "SET a 1", "SET b 1", "EXEC"].iter().for_each(|line| drop(client.ask(line)));
    end(server);
    let bytes = std::fs::read(&path).expect("it can be read");
    for length in [whole as usize + 1, whole as usize + 20, bytes.len() - 30, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).expect("it can be written");
        let refused = refusal(&dir, &["--aof-load-truncated", "no"]);
        let selected = whole as usize + SELECT.len();
        let expected = if length < selected { whole as usize } else { selected };
        assert!(refused.contains(&format!("at offset {expected}: ")), "{length}: {refused}");
        let server = torc(&dir, "1", &[]);
        let mut client = server.client();
        assert_eq!(client.ask("MGET first a b").to_string(), "[\"1\" nil nil]", "{length}");
        drop(client);
        end(server);
        assert!(std::fs::metadata(&path).expect("it is there").len() >= whole);
    }
}

/// What stands in the middle of a file and is no command refuses the start, and leaves the file alone.
#[test]
fn damage_refuses_the_start_with_its_offset() {
    let dir = TempDir::new();
    let server = torc(&dir, "2", &[]);
    let mut client = server.client();
    (0..10).for_each(|number| drop(client.ask(&format!("SET key:{number} value"))));
    end(server);
    let path = last_file(&dir);
    let good = std::fs::read(&path).expect("it can be read");
    for (at, byte) in [(0, b'x'), (SELECT.len(), b'$'), (SELECT.len() + 1, b'x'), (good.len() - 1, b'x')] {
        let mut bad = good.clone();
        bad[at] = byte;
        std::fs::write(&path, &bad).expect("it can be written");
        let refused = refusal(&dir, &[]);
        assert!(refused.contains("incr.aof, at offset ") && refused.contains("Exiting"), "{at}: {refused}");
        assert_eq!(std::fs::read(&path).expect("it can be read"), bad, "{at}");
    }
    std::fs::write(&path, [&good[..], b"*1\r\n$7\r\nNOTHING\r\n"].concat()).expect("it can be written");
    assert!(refusal(&dir, &[]).contains("unknown command 'NOTHING'"));
}

/// An EXEC without a MULTI ended the server with a report of a bug; Redis passes it over.
#[test]
fn exec_without_multi_is_passed_over() {
    let dir = TempDir::new();
    let server = torc(&dir, "2", &[]);
    server.client().ask("SET a 1");
    end(server);
    let path = last_file(&dir);
    let mut file = std::fs::read(&path).expect("it can be read");
    file.extend(
        ["EXEC", "SET b 2", "MULTI", "SET c 3", "EXEC", "exec", "SET d 4"]
            .iter()
            .flat_map(|line| crate::harness::command(&crate::harness::split(line))),
    );
    std::fs::write(&path, file).expect("it can be written");
    let mut server = torc(&dir, "2", &[]);
    assert_eq!(server.client().ask("MGET a b c d").to_string(), "[\"1\" \"2\" \"3\" \"4\"]");
    end(server);
    server = redis(&dir);
    assert_eq!(server.client().ask("MGET a b c d").to_string(), "[\"1\" \"2\" \"3\" \"4\"]");
}

/// What a server says that does not start.
fn refusal(dir: &TempDir, args: &[&str]) -> String {
    let mut command = std::process::Command::new(crate::harness::TORC);
    let socket = dir.path().join("socket");
    command.args(["--port", "0", "--appendonly", "yes", "--unixsocket"]).arg(socket);
    command.arg("--dir").arg(dir.path()).args(args);
    let said = dir.path().join("said");
    let file = || std::fs::File::options().create(true).append(true).open(&said).expect("it can be made");
    let mut child = command.stdout(file()).stderr(file()).spawn().expect("it runs");
    let mut status = None;
    let has_ended = until(|| {
        status = child.try_wait().expect("it is ours");
        status.is_some()
    });
    if !has_ended {
        child.kill().expect("it runs");
    }
    let said_all = std::fs::read_to_string(&said).expect("it was made");
    std::fs::remove_file(&said).expect("it is there");
    assert!(status.is_some_and(|status| !status.success()), "{said_all}");
    said_all
}

/// Switched on in a running server, it holds what was there before; switched off, nothing more is added.
#[test]
fn it_is_switched_in_a_running_server() {
    let dir = TempDir::new();
    let server =
        loaded(Server::start(&["--dir", &text(&dir), "--enable-debug-command", "yes", "--workers", "2"]));
    let mut client = server.client();
    client.ask("SET before 1");
    assert_eq!(client.ask("CONFIG SET appendonly yes").string(), "OK");
    assert!(until(
        || figure(&mut client, "aof_base_size") > 0 && figure(&mut client, "aof_rewrite_in_progress") == 0
    ));
    client.ask("SET while 1");
    assert_eq!(client.ask("CONFIG SET appendonly no").string(), "OK");
    let path = last_file(&dir);
    let ends = |path: &Path| std::fs::read(path).expect("it can be read").ends_with(b"while\r\n$1\r\n1\r\n");
    assert!(until(|| ends(&path)));
    // The first worker has seen it once it has switched the journal off: what is written then is in no file.
    assert!(until(|| {
        client.ask("SET after 1");
        let size = std::fs::metadata(&path).expect("it is there").len();
        client.ask("SET after 2");
        crate::harness::pause_ms(5);
        std::fs::metadata(&path).expect("it is there").len() == size
    }));
    assert_eq!(client.ask("CONFIG SET appendonly yes").string(), "OK");
    assert!(until(
        || figure(&mut client, "aof_rewrites") == 2 && figure(&mut client, "aof_rewrite_in_progress") == 0
    ));
    client.ask("SET again 1");
    let expected = digest(&mut client);
    end(server);
    let server = torc(&dir, "1", &[]);
    assert_eq!(digest(&mut server.client()), expected);
}

fn figure(client: &mut Client, name: &str) -> i64 {
    let info = client.ask("INFO persistence").string();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.and_then(|value| value.parse().ok()).unwrap_or(-1)
}

/// WAITAOF said that there was no append-only file.
#[test]
fn waitaof_replies_once_it_is_on_disk() {
    let dir = TempDir::new();
    let server = torc(&dir, "2", &["--appendfsync", "everysec"]);
    let mut client = server.client();
    for number in 0..3 {
        client.ask(&format!("SET key {number}"));
        assert_eq!(client.ask("WAITAOF 1 0 0").to_string(), "[1 0]");
        let ends = format!("key\r\n$1\r\n{number}\r\n");
        assert!(std::fs::read(last_file(&dir)).expect("it can be read").ends_with(ends.as_bytes()));
    }
    assert_eq!(client.ask("WAITAOF 1 1 20").to_string(), "[1 0]");
    client.ask("CONFIG SET appendonly no");
    assert!(client.ask("WAITAOF 1 0 0").string().starts_with("ERR WAITAOF cannot be used"));
}

/// A file that has grown is rewritten without being asked for.
#[test]
fn file_that_has_grown_is_rewritten() {
    let dir = TempDir::new();
    let server =
        torc(&dir, "2", &["--auto-aof-rewrite-min-size", "20kb", "--auto-aof-rewrite-percentage", "100"]);
    let mut client = server.client();
    let value = "x".repeat(1000);
    let mut written = 0;
    assert!(until(|| {
        client.call(&["SET", "key", &value]);
        written += 1;
        figure(&mut client, "aof_rewrites") > 0
    }));
    assert!(written > 15, "{written}");
    assert!(until(|| figure(&mut client, "aof_rewrite_in_progress") == 0));
    assert!(figure(&mut client, "aof_base_size") < 2000);
    let expected = digest(&mut client);
    end(server);
    let server = redis(&dir);
    assert_eq!(digest(&mut server.client()), expected);
}

/// A key that has expired since it was written into the base was dropped when that was loaded, and the APPEND behind it made it anew,
/// without a deadline.
#[test]
fn key_of_the_base_that_has_expired_stays_so() {
    let dir = TempDir::new();
    let server = torc(&dir, "2", &[]);
    let mut client = server.client();
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ask("SET k v PX 600");
    client.ask("BGREWRITEAOF");
    assert!(until(
        || figure(&mut client, "aof_base_size") > 0 && figure(&mut client, "aof_rewrite_in_progress") == 0
    ));
    assert_eq!(client.ask("APPEND k x").int(), Some(2));
    let deadline_ms = client.ask("PEXPIRETIME k").int().expect("it has one");
    // Nobody looks at the key, which would remove it.
    let now_ms = |client: &mut Client| match &client.ask("TIME").elements()[..] {
        [seconds, us] => seconds.int().expect("a number") * 1000 + us.int().expect("a number") / 1000,
        other => panic!("two numbers: {other:?}"),
    };
    assert!(until(|| now_ms(&mut client) > deadline_ms));
    drop(client);
    end(server);
    for _ in 0..2 {
        let server = torc(&dir, "2", &[]);
        let mut client = server.client();
        assert_eq!(client.ask("EXISTS k").int(), Some(0));
        assert!(until(|| client.ask("DBSIZE").int() == Some(0)));
        end(server);
    }
}

/// A directory that Redis has written is loaded, its older single file too, and goes on.
#[test]
fn directory_of_redis_is_loaded_and_goes_on() {
    let dir = TempDir::new();
    let server = redis(&dir);
    let mut client = server.client();
    for words in commands(3, 500) {
        client.call(&words);
    }
    client.ask("RESET");
    remove_volatile(&mut client);
    client.ask("BGREWRITEAOF");
    assert!(until(|| figure(&mut client, "aof_rewrite_in_progress") == 0));
    client.ask("RPUSH behind 1 2 3");
    let expected = digest(&mut client);
    end(server);
    let server = torc(&dir, "3", &[]);
    let mut client = server.client();
    assert_eq!(digest(&mut client), expected);
    assert_eq!(client.ask("RPOP behind"), Value::Bulk(b"3".to_vec()));
    let expected = digest(&mut client);
    end(server);
    assert_eq!(digest(&mut redis(&dir).client()), expected);

    let old = TempDir::new();
    let commands = ["SELECT 2", "SET a 1", "MULTI", "INCR a", "RPUSH l 1 2", "EXEC"];
    let lines = commands.iter().flat_map(|line| crate::harness::command(&crate::harness::split(line)));
    std::fs::write(old.path().join("appendonly.aof"), lines.collect::<Vec<u8>>()).expect("it can be written");
    let server = torc(&old, "2", &[]);
    let mut client = server.client();
    client.ask("SELECT 2");
    assert_eq!(client.ask("GET a").string(), "2");
    client.ask("SET b 1");
    end(server);
    assert!(!old.path().join("appendonly.aof").exists());
    let server = redis(&old);
    let mut client = server.client();
    client.ask("SELECT 2");
    assert_eq!(client.ask("MGET a b").to_string(), "[\"2\" \"1\"]");
}

/// With `aof-timestamp-enabled` the file says when what follows was written, and can be cut back to a time.
#[test]
fn times_are_noted_and_files_are_cut_back_to_them() {
    let dir = TempDir::new();
    let server = torc(&dir, "2", &["--aof-timestamp-enabled", "yes", "--aof-use-rdb-preamble", "no"]);
    let mut client = server.client();
    client.ask("SET early 1");
    client.ask("BGREWRITEAOF");
    assert!(until(
        || figure(&mut client, "aof_rewrites") == 1 && figure(&mut client, "aof_rewrite_in_progress") == 0
    ));
    let times = |path: &Path| -> Vec<u64> {
        let bytes = std::fs::read(path).expect("it can be read");
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.split("\r\n").filter_map(|line| line.strip_prefix("#TS:"));
        lines.map(|time| time.parse().expect("a number")).collect()
    };
    let path = last_file(&dir);
    let mut written = 0;
    assert!(until(|| {
        written += 1;
        client.ask(&format!("SET late {written}"));
        times(&path).len() == 3
    }));
    let noted = times(&path);
    assert!(noted.is_sorted_by(|a, b| a < b), "{noted:?}");
    let base = path.with_file_name("appendonly.aof.2.base.aof");
    assert!(times(&base).len() == 1 && times(&base)[0] <= noted[0]);
    drop(client);
    end(server);
    let expected = digest(&mut redis(&dir).client());
    let server = torc(&dir, "1", &[]);
    assert_eq!(digest(&mut server.client()), expected);
    end(server);
    let manifest = path.with_file_name("appendonly.aof.manifest");
    let cut = std::process::Command::new(crate::harness::TORC)
        .args(["--check-aof", "--truncate-to-timestamp", &noted[1].to_string()])
        .arg(manifest)
        .output()
        .expect("it runs");
    assert!(cut.status.success(), "{}", String::from_utf8_lossy(&cut.stdout));
    assert_eq!(times(&path), noted[..2]);
    let server = torc(&dir, "1", &[]);
    let mut client = server.client();
    let late = client.ask("GET late").string().parse::<u64>().expect("a number");
    assert!(late > 0 && late < written && client.ask("GET early").string() == "1", "{late}");
}

/// With `no-appendfsync-on-rewrite` nothing is synced while a snapshot is written, and nobody waits for that.
#[test]
fn disk_is_spared_while_a_snapshot_is_written() {
    let dir = TempDir::new();
    let args = ["--appendfsync", "always", "--rdb-key-save-delay", "100000"];
    let server = torc(&dir, "2", &args);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 1000");
    assert_eq!(
        client.ask("BGSAVE CANCEL").to_string(),
        "!\"ERR Background saving is currently not in progress or scheduled\""
    );
    client.ask("BGSAVE");
    client.ask("SET k 1");
    assert_eq!(client.ask("WAITAOF 1 0 20").to_string(), "[1 0]", "it is synced meanwhile");
    client.ask("CONFIG SET no-appendfsync-on-rewrite yes");
    assert_eq!(client.ask("SET k 2").string(), "OK");
    assert_eq!(client.ask("WAITAOF 1 0 20").to_string(), "[0 0]", "it is answered and not synced");
    assert_eq!(client.ask("BGSAVE CANCEL").string(), "Background saving cancelled");
    assert_eq!(client.ask("WAITAOF 1 0 0").to_string(), "[1 0]");
    assert!(until(|| figure(&mut client, "rdb_bgsave_in_progress") == 0));
    let info = client.ask("INFO persistence").string();
    assert!(info.contains("rdb_last_bgsave_status:ok") && !dir.path().join("dump.rdb").exists(), "{info}");
}

/// DEBUG LOADAOF: what was appended is the data again, whatever was made of it meanwhile, and what follows is appended as before.
#[test]
fn file_is_loaded_again_in_a_running_server() {
    for workers in ["1", "3"] {
        let dir = TempDir::new();
        let server = torc(&dir, workers, &[]);
        let mut client = server.client();
        let load =
            |client: &mut Client| assert_eq!(client.ask("DEBUG LOADAOF").string(), "OK", "{}", server.log());
        for (number, words) in commands(11, 1000).iter().enumerate() {
            client.call(words);
            if number == 500 {
                client.ask("DISCARD");
                assert!(!client.ask("BGREWRITEAOF").is_error());
            }
        }
        client.ask("RESET");
        remove_volatile(&mut client);
        client.ask("SET expiring v PX 100000");
        let expected = digest(&mut client);
        // Not even published when the command comes.
        client
            .send_raw(
                &["SET last 1", "DEBUG LOADAOF"]
                    .map(|line| crate::harness::command(&crate::harness::split(line)))
                    .concat(),
            )
            .expect("it listens");
        (0..2).for_each(|_| assert_eq!(client.read().expect("it answers").string(), "OK"));
        assert_eq!(client.ask("DEL last").int(), Some(1));
        assert_eq!(digest(&mut client), expected);
        assert_eq!(figure(&mut client, "loading"), 0);
        assert_eq!(figure(&mut client, "rdb_changes_since_last_save"), 1);
        load(&mut client);
        assert_eq!(digest(&mut client), expected);
        // A client that waits is served by what comes after it.
        let mut waiting = server.client();
        waiting.send(&["BLPOP", "nowhere", "0"]).expect("it listens");
        assert!(until(|| client.ask("INFO clients").string().contains("blocked_clients:1")));
        load(&mut client);
        client.ask("RPUSH nowhere 1 2");
        assert_eq!(waiting.read().expect("it answers").to_string(), "[\"nowhere\" \"1\"]");
        assert!(["MULTI", "DEBUG LOADAOF"].iter().all(|line| !client.ask(line).is_error()));
        assert_eq!(client.ask("EXEC").to_string(), "[!\"ERR DEBUG LOADAOF is not allowed in transactions\"]");
        let expected = digest(&mut client);
        end(server);
        let server = torc(&dir, "2", &[]);
        assert_eq!(digest(&mut server.client()), expected);
        end(server);
        let server = redis(&dir);
        assert_eq!(digest(&mut server.client()), expected);
    }
}
