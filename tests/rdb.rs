//! RDB files: what Torc saves Redis loads, and the other way round; what is damaged ends the start and leaves the rest alone.

use std::path::Path;
use std::process::{Command, Output};

use rustix::process::Signal;

use crate::harness::{Client, Server, TORC, TempDir, Value, until};

/// Commands that make a key of each type, in each of its encodings.
const KEYS: &[&str] = &[
    "SET int 12345",
    "SET text some-text-that-is-no-number",
    "SET repeated aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "SET expires x PXAT 32503680000000",
    "SETRANGE long 300000 z",
    "RPUSH list 1 two 3",
    "SADD ints 1 2 300000",
    "SADD set a b 3",
    "ZADD zset 1 a 2.5 b -inf c",
    "HSET hash f v n 1",
    "HSET fields a 1 b 2",
    "HPEXPIREAT fields 32503680000000 FIELDS 1 a",
    "XADD stream 1-1 f v",
    "XADD stream 2-1 f w",
    "XDEL stream 1-1",
    "XGROUP CREATE stream group 0",
    "XREADGROUP GROUP group me STREAMS stream >",
    "SELECT 9",
    "SET other 1",
];

fn directory(dir: &TempDir) -> String {
    dir.path().to_string_lossy().into_owned()
}

fn fill(client: &mut Client) {
    for line in KEYS {
        let reply = client.ask(line);
        assert!(!matches!(reply, Value::Error(_)), "{line}: {reply:?}");
    }
    // Large ones, which are not packed.
    for number in 0..700 {
        client.ask(&format!("RPUSH biglist element:{number}"));
        client.ask(&format!("SADD bigset member:{number}"));
        client.ask(&format!("ZADD bigzset {number} member:{number}"));
        client.ask(&format!("HSET bighash field:{number} {number}"));
        client.ask(&format!("SADD bigints {number}"));
    }
    client.ask("HPEXPIREAT bighash 32503680000000 FIELDS 1 field:7");
}

fn digest(client: &mut Client) -> String {
    let digest = client.ask("DEBUG DIGEST").string();
    assert_eq!(digest.len(), 40, "{digest}");
    digest
}

/// Waits until the server has loaded its file.
fn loaded(server: &Server) -> Client {
    let mut client = server.client();
    let is_loaded = until(|| matches!(client.ask("DBSIZE"), Value::Int(_)));
    assert!(is_loaded, "{}", server.log());
    client
}

fn torc(dir: &TempDir, more: &[&str]) -> Server {
    let dir = directory(dir);
    let args = [&["--dir", &dir, "--enable-debug-command", "yes"], more].concat();
    Server::start(&args)
}

fn redis(dir: &TempDir) -> Server {
    Server::redis(&["--dir", &directory(dir), "--enable-debug-command", "yes"])
}

/// A start that is to fail.
fn failed_start(dir: &TempDir) -> Output {
    let (socket, dir) = (dir.path().join("socket"), directory(dir));
    let mut command = Command::new(TORC);
    command.args(["--port", "0", "--dir", &dir, "--unixsocket"]).arg(socket);
    command.output().expect("the binary was built")
}

#[test]
fn redis_loads_what_torc_saves_and_the_other_way_round() {
    for workers in ["1", "3"] {
        let dir = TempDir::new();
        let first = torc(&dir, &["--workers", workers]);
        let mut client = first.client();
        fill(&mut client);
        let expected = digest(&mut client);
        assert_eq!(client.ask("SAVE").string(), "OK");
        let info = client.ask("INFO persistence").string();
        assert!(
            info.contains("rdb_changes_since_last_save:0\r\n") && info.contains("rdb_saves:1\r\n"),
            "{info}"
        );
        drop(first);
        let oracle = redis(&dir);
        let mut client = loaded(&oracle);
        assert_eq!(digest(&mut client), expected, "{}", oracle.log());
        assert_eq!(client.ask("SAVE").string(), "OK");
        drop(oracle);
        let second = torc(&dir, &["--workers", workers]);
        let mut client = loaded(&second);
        assert_eq!(digest(&mut client), expected, "{}", second.log());
        assert_eq!(client.ask("PEXPIRETIME expires"), Value::Int(32_503_680_000_000));
        assert_eq!(client.ask("DEBUG RELOAD").string(), "OK");
        assert_eq!(digest(&mut client), expected);
        let twice = client.ask("DEBUG RELOAD NOSAVE NOFLUSH").string();
        assert_eq!(twice, "ERR Error trying to load the RDB dump, check server logs.");
        assert_eq!(client.ask("DEBUG RELOAD NOSAVE NOFLUSH MERGE").string(), "OK");
        assert_eq!(digest(&mut client), expected);
    }
}

/// Each in turn: the version is the lowest that can hold what is in the file.
#[test]
fn version_is_the_lowest_that_holds_the_data() {
    let dir = TempDir::new();
    let server = torc(&dir, &[]);
    let mut client = server.client();
    let steps = [
        ("SET k v", "0007"),
        ("CONFIG SET maxmemory-policy allkeys-lru", "0009"),
        ("RPUSH l a", "0010"),
        ("SADD s a", "0011"),
        ("HSET h f v", "0011"),
        ("HEXPIRE h 1000 FIELDS 1 f", "0012"),
    ];
    for (line, version) in steps {
        client.ask(line);
        assert_eq!(client.ask("SAVE").string(), "OK");
        let file = std::fs::read(dir.path().join("dump.rdb")).expect("it was saved");
        assert_eq!(String::from_utf8_lossy(&file[5..9]), version, "{line}");
        assert_eq!(client.ask("DEBUG RELOAD NOSAVE").string(), "OK", "{line}: {}", server.log());
    }
}

#[test]
fn failed_save_leaves_the_old_file() {
    let dir = TempDir::new();
    let server = torc(&dir, &["--workers", "2", "--enable-protected-configs", "yes"]);
    let mut client = server.client();
    client.ask("SET k v");
    assert_eq!(client.ask("SAVE").string(), "OK");
    let names = |dir: &Path| {
        let entries = std::fs::read_dir(dir).expect("it is there").flatten();
        entries.map(|entry| entry.file_name()).filter(|name| name.to_string_lossy().ends_with("rdb")).count()
    };
    let before = std::fs::read(dir.path().join("dump.rdb")).expect("it was saved");
    // A file cannot take the place of a directory.
    std::fs::create_dir(dir.path().join("taken.rdb")).expect("it can be made");
    client.ask("SET k w");
    let last = client.ask("LASTSAVE");
    assert_eq!(client.ask("CONFIG SET dbfilename taken.rdb").string(), "OK");
    assert_eq!(client.ask("SAVE").string(), "ERR");
    assert!(server.log().contains("Error moving temp DB file"), "{}", server.log());
    let info = client.ask("INFO persistence").string();
    assert!(info.contains("rdb_changes_since_last_save:1\r\n"), "{info}");
    assert_eq!(client.ask("LASTSAVE"), last);
    assert_eq!(client.ask("SHUTDOWN SAVE").string(), "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(std::fs::read(dir.path().join("dump.rdb")).expect("it stays"), before);
    assert_eq!(names(dir.path()), 2, "the new file is gone");
}

#[test]
fn end_saves_where_save_points_or_options_say_so() {
    for (save, words, saved) in [
        ("3600 1", None, true),
        ("", None, false),
        ("", Some("SHUTDOWN SAVE"), true),
        ("3600 1", Some("SHUTDOWN"), true),
        ("3600 1", Some("SHUTDOWN NOSAVE"), false),
    ] {
        let dir = TempDir::new();
        let mut server = torc(&dir, &["--workers", "2", "--save", save]);
        let mut client = server.client();
        client.ask("SET k v");
        match words {
            None => server.signal(Signal::TERM),
            Some(words) => client.send(&words.split(' ').collect::<Vec<_>>()).expect("the server is there"),
        }
        assert!(server.await_exit().success(), "{}", server.log());
        assert_eq!(dir.path().join("dump.rdb").exists(), saved, "{save} {words:?}");
        let again = torc(&dir, &[]);
        assert_eq!(loaded(&again).ask("EXISTS k"), Value::Int(saved.into()));
    }
}

/// A restart used to bring back what was flushed after the last save.
#[test]
fn flushall_is_saved_where_there_are_save_points() {
    let dir = TempDir::new();
    let server = torc(&dir, &["--save", "3600 1"]);
    let mut client = server.client();
    client.ask("SET k v");
    assert_eq!(client.ask("SAVE").string(), "OK");
    assert_eq!(client.ask("FLUSHALL").string(), "OK");
    drop(server);
    assert_eq!(loaded(&torc(&dir, &[])).ask("DBSIZE"), Value::Int(0));
}

#[test]
fn damaged_file_ends_the_start_and_stays() {
    let dir = TempDir::new();
    let server = torc(&dir, &[]);
    let mut client = server.client();
    fill(&mut client);
    client.ask("SAVE");
    drop(server);
    let path = dir.path().join("dump.rdb");
    let whole = std::fs::read(&path).expect("it was saved");
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    let cases = [
        (&whole[..whole.len() / 2], "cut short"),
        (&damaged[..], "checksum"),
        (&b"nonsense!"[..], "no RDB file"),
    ];
    for (bytes, reason) in cases {
        std::fs::write(&path, bytes).expect("it can be written");
        let output = failed_start(&dir);
        assert_eq!(output.status.code(), Some(1), "{reason}: {output:?}");
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(said.contains(reason) && said.contains("dump.rdb") && said.contains("at offset"), "{said}");
        assert_eq!(std::fs::read(&path).expect("it stays"), bytes);
    }
}

#[test]
fn files_are_checked_without_a_server() {
    let dir = TempDir::new();
    let server = torc(&dir, &[]);
    fill(&mut server.client());
    server.client().ask("SAVE");
    let path = dir.path().join("dump.rdb");
    let check = |path: &Path| {
        let output = Command::new(TORC).arg("--check-rdb").arg(path).output().expect("the binary was built");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = check(&path);
    assert_eq!(code, Some(0), "{said}");
    let keys = "database 0: 12 keys (2 hash, 1 list, 2 set, 1 stream, 5 string, 1 zset), 1 with a deadline";
    assert!(said.contains("RDB version 12") && said.contains(keys), "{said}");
    assert!(said.contains("database 9: 6 keys (1 hash,"), "{said}");
    assert!(said.ends_with("The file is whole: the checksum is right\n"), "{said}");
    let mut bytes = std::fs::read(&path).expect("it was saved");
    bytes.truncate(bytes.len() - 9);
    std::fs::write(&path, bytes).expect("it can be written");
    let (code, said) = check(&path);
    assert_eq!(code, Some(1));
    assert!(said.contains("at offset") && said.contains("cut short"), "{said}");
    assert_eq!(check(Path::new("/nonexistent")).0, Some(1));
}

/// Every file of the directory that `TORC_RDB_FILES` names becomes the same in Torc as in Redis, or Redis refuses it too; by
/// default a few that are made here.
#[test]
fn files_of_others_become_what_they_are_in_redis() {
    let made = TempDir::new();
    let files: Vec<std::path::PathBuf> = match std::env::var_os("TORC_RDB_FILES") {
        Some(dir) => {
            let entries = std::fs::read_dir(dir).expect("the directory is there").flatten();
            entries
                .map(|entry| entry.path())
                .filter(|path| path.extension().is_some_and(|ext| ext == "rdb"))
                .collect()
        }
        None => {
            let bodies: [(&str, &[u8]); 3] = [
                (
                    "seconds",
                    b"REDIS0001\xfe\x00\xfd\x00\x00\x00\x7f\x00\x01a\x01b\x00\xc0\x07\xc1\x00\x01\xff",
                ),
                ("zipmap", b"REDIS0002\xfe\x02\x09\x01h\x0a\x02\x01a\x01\x00b\x01c\x00\x00\xff\xff"),
                ("scores", b"REDIS0003\xfe\x00\x03\x01z\x02\x01a\x031.5\x01b\xfe\x01\x01l\x00\xff"),
            ];
            let write = |(name, bytes): (&str, &[u8])| {
                let path = made.path().join(format!("{name}.rdb"));
                std::fs::write(&path, bytes).expect("it can be written");
                path
            };
            bodies.into_iter().map(write).collect()
        }
    };
    assert!(!files.is_empty());
    let (mut differ, mut refused) = (Vec::new(), 0);
    for path in &files {
        let dir = TempDir::new();
        std::fs::copy(path, dir.path().join("dump.rdb")).expect("it can be copied");
        let checked = Command::new(TORC).arg("--check-rdb").arg(path).output().expect("the binary was built");
        // Redis is asked to look first: a server that refuses its file is no server.
        let mut oracle = Command::new(crate::harness::newest_program("redis-server"));
        oracle.args(["--port", "0", "--save", "", "--dir", &directory(&dir), "--unixsocket"]);
        let socket = dir.path().join("oracle");
        let mut child = oracle
            .arg(&socket)
            .args(["--enable-debug-command", "yes", "--logfile"])
            .arg(dir.path().join("log"))
            .spawn()
            .expect("the oracle is installed");
        let mut theirs = None;
        let answered = until(|| {
            theirs = Client::unix(&socket).ok().and_then(|mut client| {
                client.send(&["DEBUG", "DIGEST"]).ok()?;
                // It ends at once where it refuses its file.
                client.read().ok().map(|reply| reply.string())
            });
            let is_loaded = theirs.as_ref().is_some_and(|digest| digest.len() == 40);
            is_loaded || child.try_wait().expect("it is a child").is_some()
        });
        assert!(answered, "{}", path.display());
        child.kill().unwrap_or_default();
        child.wait().expect("it is a child");
        let Some(theirs) = theirs.filter(|digest| digest.len() == 40) else {
            refused += 1;
            continue;
        };
        if checked.status.code() != Some(0) {
            differ.push(format!("{}: {}", path.display(), String::from_utf8_lossy(&checked.stdout)));
            continue;
        }
        let server = torc(&dir, &[]);
        let ours = digest(&mut loaded(&server));
        if ours != theirs {
            differ.push(format!("{}: {ours}, where Redis has {theirs}", path.display()));
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
    assert!(refused < files.len(), "Redis refused all of them");
}

/// Payloads of Valkey 9.1 have a version of their own, and hashes whose fields expire a type of their own.
#[test]
fn payloads_of_valkey_are_restored_and_passed_on() {
    let valkey = Server::newest("valkey-server", &["--enable-debug-command", "yes"]);
    let server = Server::start_tcp(&["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"]);
    let port = server.tcp().port().to_string();
    let replica = Server::redis_tcp(&["--replicaof", "127.0.0.1", &port, "--enable-debug-command", "yes"]);
    let (mut theirs, mut ours, mut last) = (valkey.client(), server.client(), replica.client());
    assert!(crate::harness::until(|| last
        .ask("INFO replication")
        .string()
        .contains("master_link_status:up")));
    for line in [
        "SET text abc",
        "SET number 12",
        "RPUSH list a b 3",
        "SADD numbers 1 2 3",
        "SADD set a b",
        "ZADD ranking 1 a 2.5 b",
        "HSET hash a b",
        "HSET expiring a b c d",
        "HPEXPIRE expiring 10000000 FIELDS 1 a",
        "XADD stream 1-1 a b",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group me STREAMS stream >",
        "PFADD sketch a b c",
        "GEOADD places 13.36 38.11 Palermo",
    ] {
        theirs.ask(line);
    }
    let value = "v".repeat(70);
    for number in 0..600 {
        let name = format!("member:{number}");
        theirs.call(&["RPUSH", "large list", &value]);
        theirs.call(&["SADD", "large set", &name]);
        theirs.call(&["ZADD", "large ranking", &number.to_string(), &name]);
        theirs.call(&["HSET", "large hash", &name, &value]);
        theirs.call(&["HSET", "large expiring", &name, &value]);
        theirs.call(&["APPEND", "large text", &value]);
    }
    theirs.call(&["HPEXPIRE", "large expiring", "10000000", "FIELDS", "2", "member:1", "member:599"]);
    let keys = theirs.ask("KEYS *").elements().to_vec();
    assert_eq!(keys.len(), 17);
    for key in &keys {
        let key = key.text();
        let Value::Bulk(payload) = theirs.call(&[b"DUMP", key]) else { panic!("it is there") };
        let words: [&[u8]; 4] = [b"RESTORE", key, b"0", &payload];
        let restored = ours.call(&words);
        assert_eq!(restored, Value::Simple(b"OK".to_vec()), "{}", key.escape_ascii());
        let digest: [&[u8]; 3] = [b"DEBUG", b"DIGEST-VALUE", key];
        // Of deadlines of fields the two say other things.
        if !key.ends_with(b"expiring") {
            assert_eq!(theirs.call(&digest), ours.call(&digest), "{}", key.escape_ascii());
        }
    }
    for (key, fields) in [("expiring", ["a", "c"]), ("large expiring", ["member:1", "member:2"])] {
        let words = ["HPEXPIRETIME", key, "FIELDS", "2", fields[0], fields[1]];
        assert_eq!(theirs.call(&words), ours.call(&words), "{key}");
        let words = ["HMGET", key, fields[0], fields[1]];
        assert_eq!(theirs.call(&words), ours.call(&words), "{key}");
    }
    assert_eq!(ours.ask("WAIT 1 5000"), Value::Int(1), "{}", replica.log());
    assert_eq!(ours.ask("DEBUG DIGEST"), last.ask("DEBUG DIGEST"), "{}", replica.log());
    // What is damaged is refused as ever, and no version between is known.
    let Value::Bulk(mut payload) = theirs.ask("DUMP text") else { panic!("it is there") };
    let at = payload.len() - 10;
    payload[at] = 79;
    let words: [&[u8]; 4] = [b"RESTORE", b"x", b"0", &payload];
    let refused = ours.call(&words);
    assert_eq!(refused, Value::Error(b"ERR DUMP payload version or checksum are wrong".to_vec()));
}
