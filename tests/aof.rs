//! The files of the append-only file beside Redis's: each side reads what the other wrote, and both tools judge alike.

use std::ffi::OsStr;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use torc::persist::aof::reader::{Form, form};
use torc::persist::aof::store::remove_history;
use torc::persist::aof::{AofFile, AofReader, AofStore, BaseFormat, Existing, Next};

use crate::harness::{Server, TORC, TempDir, Value, command, newest_program, until};

const NAME: &str = "a 'b\".aof";

fn open(dir: &TempDir) -> AofStore {
    let opened = AofStore::open(dir.path(), OsStr::new("appendonlydir"), OsStr::new(NAME));
    opened.expect("there is no manifest, or a good one")
}

fn redis(dir: &TempDir, more: &[&str]) -> Server {
    let dir = dir.path().to_string_lossy().into_owned();
    let args = ["--dir", &dir, "--appendonly", "yes", "--save", "", "--appendfilename", NAME];
    Server::redis(&[&args[..], more].concat())
}

fn append(file: &mut AofFile, lines: &[&str]) {
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        file.append(&command(&words)).expect("there is room");
    }
    file.sync().expect("it works");
}

fn write_base(path: &Path, lines: &[&str]) {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    std::fs::write(path, words.flat_map(|words| command(&words)).collect::<Vec<u8>>())
        .expect("it can be written");
}

/// What Redis has, once it has loaded a directory.
fn keys_in_redis(dir: &TempDir) -> Vec<(String, String)> {
    let server = redis(dir, &[]);
    let mut client = server.client();
    assert!(until(|| matches!(client.ask("DBSIZE"), Value::Int(_))), "{}", server.log());
    let Value::Array(keys) = client.ask("KEYS *") else { panic!("it is an array") };
    let mut pairs: Vec<_> = keys
        .into_iter()
        .map(|key| {
            let key = key.string();
            let value = client.call(&["GET", &key]).string();
            (key, value)
        })
        .collect();
    pairs.sort();
    client.send(&["SHUTDOWN"]).expect("it is there");
    drop(server);
    pairs
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Before, in the middle of and behind a rewrite; Redis appends to what it loads, and we go on behind it.
#[test]
fn redis_loads_the_directories_of_a_store() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    assert_eq!(store.find(), Ok(Existing::None));
    let first = store.write_first_base(BaseFormat::Commands, |path| {
        write_base(path, &["SET a 1"]);
        Ok(())
    });
    first.expect("it can be written");
    let mut file = store.open_last(0).expect("it can be opened");
    append(&mut file, &["SELECT 0", "SET b 2"]);
    let first = pairs(&[("a", "1"), ("b", "2")]);
    assert_eq!(keys_in_redis(&dir), first);

    let mut store = open(&dir);
    let mut file = store.open_last(0).expect("it can be opened");
    append(&mut file, &["SELECT 0", "SET c 3"]);
    let mut file = store.begin_rewrite(100).expect("it can begin");
    append(&mut file, &["SELECT 0", "MULTI", "SET d 4", "DEL a", "EXEC"]);
    write_base(&store.temp_base(), &["SET half 1"]);
    let second = pairs(&[("b", "2"), ("c", "3"), ("d", "4")]);
    assert_eq!(keys_in_redis(&dir), second);

    // As if that server had not been there: it changed the last file's offsets only.
    write_base(&store.temp_base(), &["SET a 1", "SET b 2", "SET c 3"]);
    store.end_rewrite(BaseFormat::Commands).expect("it can end");
    assert_eq!(store.history().len(), 2);
    append(&mut file, &["SET e 5"]);
    let third = pairs(&[("b", "2"), ("c", "3"), ("d", "4"), ("e", "5")]);
    // Redis removes the history that it finds.
    assert_eq!(keys_in_redis(&dir), third);
    assert!(open(&dir).history().is_empty());
    check_both(&store.manifest_path(), &[], Some(0));
}

/// Where `appendonly` is switched on while the server runs, and ended in the middle: nothing counts yet.
#[test]
fn redis_starts_where_a_first_rewrite_did_not_end() {
    let dir = TempDir::new();
    let mut store = open(&dir);
    let mut file = store.begin_rewrite(0).expect("it can begin");
    append(&mut file, &["SELECT 0", "SET a 1"]);
    assert_eq!(keys_in_redis(&dir), []);
    let mut store = open(&dir);
    let Ok(Existing::Parts(parts)) = store.find() else { panic!("Redis made files") };
    assert_eq!(parts.len(), 2);
    let mut file = store.begin_rewrite(0).expect("it can begin");
    append(&mut file, &["SELECT 0", "SET b 1"]);
    write_base(&store.temp_base(), &["SET a 1"]);
    store.end_rewrite(BaseFormat::Commands).expect("it can end");
    assert!(remove_history(&store.history()).is_empty());
    store.forget_history().expect("it can be written");
    assert_eq!(keys_in_redis(&dir), pairs(&[("a", "1"), ("b", "1")]));
}

#[test]
fn old_single_file_is_upgraded_as_redis_does() {
    let dir = TempDir::new();
    write_base(&dir.path().join(NAME), &["SET a 1"]);
    let mut store = open(&dir);
    assert!(matches!(store.find(), Ok(Existing::OldFile { .. })));
    store.upgrade().expect("it can be upgraded");
    append(&mut store.open_last(0).expect("it can be opened"), &["SELECT 0", "SET b 2"]);
    assert_eq!(keys_in_redis(&dir), pairs(&[("a", "1"), ("b", "2")]));
}

#[test]
fn directories_of_redis_are_read() {
    for preamble in ["yes", "no"] {
        let dir = TempDir::new();
        let mut server = redis(&dir, &["--aof-use-rdb-preamble", preamble, "--aof-timestamp-enabled", "yes"]);
        let mut client = server.client();
        client.ask("SET a 1");
        client.ask("BGREWRITEAOF");
        let has_ended = until(|| {
            let info = client.ask("INFO persistence").string();
            info.contains("aof_rewrite_in_progress:0\r\n") && info.contains("aof_rewrite_scheduled:0\r\n")
        });
        assert!(has_ended, "{}", server.log());
        client.ask("SELECT 3");
        client.ask("MULTI");
        client.ask("INCR n");
        client.ask("SPOP none");
        client.ask("SETRANGE long 300000 x");
        client.ask("EXEC");
        client.send(&["SHUTDOWN"]).expect("it is there");
        server.await_exit();
        let store = open(&dir);
        assert!(store.stream_offset().is_ok_and(|offset| offset > 1), "{:?}", store.manifest());
        let Ok(Existing::Parts(parts)) = store.find() else { panic!("there are files") };
        assert_eq!(parts.iter().map(|part| part.is_base).collect::<Vec<_>>(), [true, false]);
        let expected = if preamble == "yes" { Form::Rdb } else { Form::Commands };
        assert_eq!(form(&parts[0].path), Ok((expected, parts[0].size)));
        if expected == Form::Commands {
            let (names, has_time) = commands_of(&parts[0].path);
            assert_eq!((names.join(" "), has_time), ("SELECT SET".to_owned(), true));
        }
        // Within the second of the base it says no time again.
        assert_eq!(commands_of(&parts[1].path).0.join(" "), "MULTI SELECT INCR SETRANGE EXEC");
        check_both(&store.manifest_path(), &[], Some(0));
    }
}

/// The names of a file's commands, and whether it says a time.
fn commands_of(path: &Path) -> (Vec<String>, bool) {
    let mut reader = AofReader::open(path, 0).expect("it is there");
    let (mut names, mut has_time) = (Vec::new(), false);
    loop {
        match reader.next().expect("it can be read") {
            Next::Command(command) => {
                names.push(String::from_utf8_lossy(command.word(0).unwrap_or_default()).to_uppercase());
            }
            Next::Annotation(line) => has_time |= line.timestamp_s().is_some_and(|time| time.is_ok()),
            Next::End { .. } => return (names, has_time),
            other => panic!("{}: {other:?}", path.display()),
        }
    }
}

/// Both tools with the same arguments; their exit codes, which are the same.
#[track_caller]
fn check_both(path: &Path, options: &[&str], expected: Option<i32>) {
    let run = |mut tool: Command| {
        tool.args(options).arg(path).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = tool.spawn().expect("it is there");
        let mut stdin = child.stdin.take().expect("it is piped");
        // Who asks nothing may have ended.
        stdin.write_all(b"y\n").unwrap_or_default();
        drop(stdin);
        let output = child.wait_with_output().expect("it ends");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let mut theirs = Command::new(newest_program("redis-server"));
    theirs.arg0("redis-check-aof");
    let mut ours = Command::new(TORC);
    ours.arg("--check-aof");
    let before = std::fs::read(path).expect("it is there");
    let (their_code, they_said) = run(theirs);
    let after = std::fs::read(path).expect("it is there");
    std::fs::write(path, &before).expect("it can be written");
    let (our_code, we_said) = run(ours);
    assert_eq!(our_code, their_code, "{they_said}\n{we_said}");
    assert_eq!(std::fs::read(path).expect("it is there"), after, "{they_said}\n{we_said}");
    if expected.is_some() {
        assert_eq!(our_code, expected, "{they_said}\n{we_said}");
    }
}

#[test]
fn files_are_judged_and_mended_as_by_redis() {
    const PING: &str = "*1\r\n$4\r\nPING\r\n";
    const MULTI: &str = "*1\r\n$5\r\nMULTI\r\n";
    const EXEC: &str = "*1\r\n$4\r\nexec\r\n";
    let dir = TempDir::new();
    let path: PathBuf = dir.path().join("x.aof");
    let check = |text: &str, options: &[&str], code: Option<i32>| {
        std::fs::write(&path, text).expect("it can be written");
        check_both(&path, options, code);
    };
    let whole = ["#TS:100\r\n", PING, MULTI, PING, EXEC, "#TS:200\r\n", PING].concat();
    for (text, code) in [
        (&whole[..], 0),
        ("", 0),
        ("SET in 1\r\n", 1),
        ("*1\r\n$5\r\nPING\r\n", 1),
        ("*1\n$4\r\nPING\r\n", 1),
        (&[PING, EXEC].concat(), 1),
        (&[MULTI, MULTI, EXEC].concat(), 1),
        (&[PING, "\0\0\0\0\0\0\0\0"].concat(), 1),
        (&[PING, "*3\r\n$3\r\nSET\r\n$1\r\nh\r\n$999999999"].concat(), 1),
        ("REDIS0012", 1),
        ("file a.aof seq 1 type b\n", 1),
    ] {
        check(text, &[], Some(code));
    }
    // Redis takes half an annotation for whole, so that the next command would become a part of it.
    let annotation = whole.rfind('#').expect("there is one");
    for cut in (20..annotation).step_by(3).chain([9, 23, annotation, annotation + 12]) {
        check(&whole[..cut], &["--fix"], Some(0));
    }
    for (until, code) in [("50", 1), ("150", 0), ("200", 0), ("x", 1)] {
        check(&whole, &["--truncate-to-timestamp", until], Some(code));
    }
}
