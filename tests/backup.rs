//! BACKUP: a file that was verified, of one instant, below `dir` and nowhere else; and back again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::harness::{Client, Server, TempDir, Value, until};

fn start(dir: &Path, args: &[&str]) -> Server {
    let dir = dir.to_string_lossy().into_owned();
    let server = Server::start(&[&["--dir", &dir, "--enable-debug-command", "yes"], args].concat());
    let mut client = server.client();
    assert!(until(|| client.ask("PING").string() == "PONG"), "{}", server.log());
    server
}

/// A field of a map, in RESP2.
fn field(reply: &Value, name: &str) -> String {
    let words = reply.elements();
    let at = words.iter().position(|word| *word == Value::Bulk(name.into()));
    let at = at.unwrap_or_else(|| panic!("{name} in {reply}"));
    match &words[at + 1] {
        Value::Int(number) => number.to_string(),
        other => other.string(),
    }
}

fn figure(client: &mut Client, name: &str) -> String {
    let info = client.ask("INFO persistence").string();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().to_owned()
}

fn fill(client: &mut Client) {
    client.ask("DEBUG POPULATE 3000");
    for command in ["HSET h a 1 b 2", "RPUSH l 1 2 3", "ZADD z 1 a", "XADD x 1-1 a b", "SET ttl v EX 10000"] {
        client.ask(command);
    }
    client.ask(&format!("SET blob {}", "b".repeat(200_000)));
}

/// As the README says: the file is put in the place of `dbfilename`, and a server is started.
#[test]
fn backup_is_verified_and_can_be_restored() {
    let dir = TempDir::new();
    for workers in ["1", "3"] {
        let server = start(dir.path(), &["--workers", workers]);
        let mut client = server.client();
        client.ask("FLUSHALL");
        fill(&mut client);
        let digest = client.ask("DEBUG DIGEST");
        let name = format!("nightly-{workers}");
        let reply = client.ask(&format!("BACKUP {name}"));
        let path = dir.path().join("backups").join(&name).join("dump.rdb");
        assert_eq!(Path::new(&field(&reply, "path")), path);
        assert_eq!(field(&reply, "keys"), client.ask("DBSIZE").int().expect("a number").to_string());
        assert_eq!(field(&reply, "bytes"), std::fs::metadata(&path).expect("it is there").len().to_string());
        let summed = Command::new("sha256sum").arg(&path).output().expect("the system has it");
        let summed = String::from_utf8_lossy(&summed.stdout).into_owned();
        assert_eq!(summed.split(' ').next(), Some(&*field(&reply, "sha256")));
        assert_eq!(
            (&*figure(&mut client, "backup_in_progress"), &*figure(&mut client, "last_backup_status")),
            ("0", "ok")
        );
        assert!(figure(&mut client, "last_backup_time").parse::<u64>().is_ok_and(|s| s > 0));
        // It is none of the saves.
        assert_eq!(figure(&mut client, "rdb_saves"), "0");
        assert!(figure(&mut client, "rdb_changes_since_last_save") != "0");
        let restored = TempDir::new();
        std::fs::copy(&path, restored.path().join("dump.rdb")).expect("it can be copied");
        let other = start(restored.path(), &["--workers", "2"]);
        assert_eq!(other.client().ask("DEBUG DIGEST"), digest);
        let redis =
            Server::redis(&["--dir", &restored.path().to_string_lossy(), "--enable-debug-command", "yes"]);
        let mut redis_client = redis.client();
        assert!(until(|| redis_client.ask("PING").string() == "PONG"));
        assert_eq!(redis_client.ask("DEBUG DIGEST"), digest);
    }
}

/// What is written while it is made is not in it, not even FLUSHALL; other snapshots are told, and one backup is made at a time.
#[test]
fn backup_is_one_instant_and_one_at_a_time() {
    let dir = TempDir::new();
    let server = start(dir.path(), &["--workers", "2", "--rdb-key-save-delay", "20000"]);
    let (mut client, mut other) = (server.client(), server.client());
    (0..20).for_each(|number| drop(client.ask(&format!("SET key:{number} old"))));
    let digest = client.ask("DEBUG DIGEST");
    client.send(&["BACKUP", "a"]).expect("it listens");
    assert!(until(|| figure(&mut other, "current_save_keys_total") == "20"));
    assert_eq!(figure(&mut other, "backup_in_progress"), "1");
    let refused =
        |reply: Value, words: &str| assert!(reply.is_error() && reply.string().contains(words), "{reply}");
    refused(other.ask("BACKUP b"), "Backup 'a' is in progress");
    refused(other.ask("BGSAVE"), "Another child process is active");
    refused(other.ask("SAVE"), "already in progress");
    assert_eq!(other.ask("SET key:1 new").string(), "OK");
    assert_eq!(other.ask("FLUSHALL").string(), "OK");
    let reply = client.read().expect("it answers");
    assert_eq!(field(&reply, "keys"), "20");
    let restored = TempDir::new();
    std::fs::copy(dir.path().join("backups/a/dump.rdb"), restored.path().join("dump.rdb"))
        .expect("it is there");
    assert_eq!(start(restored.path(), &[]).client().ask("DEBUG DIGEST"), digest);
    // Who asks while something else is saved waits for that.
    (0..20).for_each(|number| drop(client.ask(&format!("SET key:{number} old"))));
    assert_eq!(client.ask("BGSAVE").string(), "Background saving started");
    assert_eq!(field(&client.ask("BACKUP b"), "keys"), "20");
    assert_eq!(figure(&mut client, "rdb_last_bgsave_status"), "ok");
    // Whoever is let go on asks again, and hears of the same one.
    let id = client.ask("CLIENT ID").int().expect("a number");
    client.send(&["BACKUP", "c"]).expect("it listens");
    assert!(until(|| figure(&mut other, "backup_in_progress") == "1"));
    assert_eq!(other.ask(&format!("CLIENT UNBLOCK {id}")).int(), Some(1));
    assert!(client.read().expect("it answers").is_null());
    assert_eq!(field(&client.ask("BACKUP c"), "keys"), "20");
    refused(client.ask("BACKUP c"), "is there already");
}

/// A name leads nowhere else, and a link in the place of a directory neither; nothing that is there is replaced.
#[test]
fn backup_stays_below_its_directory() {
    let (dir, outside) = (TempDir::new(), TempDir::new());
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    client.ask("SET k v");
    for name in ["..", "../x", "/tmp/x", "a/b", ".hidden", "temp-1", "a b", ""] {
        let reply = client.call(&["BACKUP", name]);
        assert!(reply.string().contains("a backup's name has"), "{name:?}: {reply}");
    }
    let backups = dir.path().join("backups");
    std::os::unix::fs::symlink(outside.path(), &backups).expect("a link can be made");
    let reply = client.ask("BACKUP linked");
    assert!(reply.string().contains("is no directory"), "{reply}");
    assert_eq!(figure(&mut client, "last_backup_status"), "err");
    assert_eq!(std::fs::read_dir(outside.path()).expect("it is there").count(), 0);
    std::fs::remove_file(&backups).expect("it is a link");
    std::fs::create_dir(&backups).expect("it is gone");
    std::os::unix::fs::symlink(outside.path().join("nothing"), backups.join("dangling")).expect("a link");
    std::fs::create_dir(backups.join("taken")).expect("there is room");
    for name in ["dangling", "taken"] {
        assert!(client.call(&["BACKUP", name]).string().contains("is there already"), "{name}");
    }
    assert_eq!(field(&client.ask("BACKUP good"), "keys"), "1");
    assert_eq!(figure(&mut client, "last_backup_status"), "ok");
    assert_eq!(std::fs::read_dir(outside.path()).expect("it is there").count(), 0);
    assert_eq!(std::fs::read_dir(&backups).expect("it is there").count(), 3);
    for line in ["MULTI", "BACKUP x"] {
        client.ask(line);
    }
    assert!(client.ask("EXEC").string().starts_with("EXECABORT"));
    assert!(client.ask("EVAL \"return redis.call('BACKUP', 'x')\" 0").is_error());
}

/// A disk without room leaves nothing of it.
#[test]
fn failed_backup_says_why_and_leaves_nothing() {
    let dir = TempDir::new();
    let server = start(dir.path(), &[]);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 1000");
    // Where the file is to be there is a directory.
    let temp = dir.path().join(format!("backups/temp-{}", server.pid()));
    std::fs::create_dir_all(temp.join("old")).expect("there is room");
    assert_eq!(field(&client.ask("BACKUP first"), "keys"), "1000");
    assert!(!temp.exists(), "what was left of another process is gone");
    std::fs::write(&temp, "a file").expect("there is room");
    let reply = client.ask("BACKUP second").string();
    assert!(reply.starts_with("ERR Backup failed: ") && reply.contains("temp-"), "{reply}");
    assert!(!dir.path().join("backups/second").exists());
    assert!(server.log().contains("Backup 'second' failed: "), "{}", server.log());
}

/// `snapshot-rate-max` holds for writing and for reading back, and nobody waits for either.
#[test]
fn backup_is_throttled() {
    let dir = TempDir::new();
    let server = start(dir.path(), &["--rdbcompression", "no"]);
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("DEBUG POPULATE 2000 key 1000");
    client.ask("CONFIG SET snapshot-rate-max 4mb");
    let begun = Instant::now();
    client.send(&["BACKUP", "slow"]).expect("it listens");
    let mut rounds = 0_u64;
    assert!(until(|| {
        rounds += 1;
        assert_eq!(other.ask(&format!("SET other:{rounds} v")).string(), "OK");
        figure(&mut other, "last_backup_time") != "0"
    }));
    let bytes: u64 = field(&client.read().expect("it answers"), "bytes").parse().expect("a number");
    assert!(bytes > 2_000_000, "{bytes}");
    // Twice 2 MB at 4 MiB a second, less what is written at once.
    assert!(begun.elapsed() > Duration::from_millis(750), "{:?}", begun.elapsed());
    assert!(rounds > 20, "{rounds}");
}
