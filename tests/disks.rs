//! Disks that are full: what cannot be kept is refused, what was there stays, and when there is room all goes on.
//!
//! `/dev/full` in the place of a file is full for everybody. A file system of its own, which can be full and have room again, needs
//! the right to mount one; where that is missing its tests say so and check nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;

use crate::harness::{Client, Server, TempDir, until};

const APPENDS: [&str; 4] = ["--appendonly", "yes", "--workers", "2"];

fn start(dir: &Path, args: &[&str]) -> Server {
    let dir = dir.to_string_lossy().into_owned();
    let server = Server::start(&[&["--dir", &dir], args].concat());
    let mut client = server.client();
    assert!(until(|| client.ask("PING").string() == "PONG"), "{}", server.log());
    server
}

fn end(mut server: Server) {
    server.signal(Signal::TERM);
    assert!(server.await_exit().success(), "{}", server.log());
}

fn figure(client: &mut Client, name: &str) -> String {
    let info = client.ask("INFO persistence").string();
    let value = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().to_owned()
}

/// The file that is appended to is from now on a disk without room.
fn fill(dir: &Path) {
    let path = dir.join("appendonlydir/appendonly.aof.1.incr.aof");
    std::fs::remove_file(&path).expect("it is there");
    std::os::unix::fs::symlink("/dev/full", &path).expect("it is gone");
}

fn is_refused(client: &mut Client) -> bool {
    client.ask("SET refused 1").string().starts_with("MISCONF Errors writing to the AOF file: No space left")
}

#[test]
fn full_disk_refuses_writes_until_a_rewrite_finds_room() {
    let dir = TempDir::new();
    end(start(dir.path(), &APPENDS));
    fill(dir.path());
    let server = start(dir.path(), &APPENDS);
    let mut client = server.client();
    // What is written before the disk says so is kept in memory, and not lost.
    assert_eq!(client.ask("SET first 1").string(), "OK");
    assert!(until(|| is_refused(&mut client)), "{}", server.log());
    assert_eq!(client.ask("GET first").string(), "1");
    assert_eq!(figure(&mut client, "aof_last_write_status"), "err");
    assert_ne!(figure(&mut client, "aof_buffer_length"), "0");
    assert_eq!(figure(&mut client, "aof_last_bgrewrite_status"), "ok");
    assert_eq!(server.log().matches("Error writing to the AOF file").count(), 1, "{}", server.log());
    client.ask("BGREWRITEAOF");
    assert!(until(|| client.ask("SET second 2").string() == "OK"), "{}", server.log());
    assert!(until(|| figure(&mut client, "aof_last_write_status") == "ok"));
    assert!(until(|| figure(&mut client, "aof_rewrite_in_progress") == "0"));
    assert!(until(|| figure(&mut client, "aof_buffer_length") == "0"));
    assert_eq!(figure(&mut client, "aof_rewrites_consecutive_failures"), "0");
    drop(client);
    end(server);
    let server = start(dir.path(), &APPENDS);
    assert_eq!(server.client().ask("MGET first second").to_string(), "[\"1\" \"2\"]");
}

/// Under `always` nothing is answered that was not kept: the server ends, and says why.
#[test]
fn full_disk_ends_a_server_that_promises_every_write() {
    let dir = TempDir::new();
    end(start(dir.path(), &APPENDS));
    fill(dir.path());
    let mut server = start(dir.path(), &[&APPENDS[..], &["--appendfsync", "always"]].concat());
    let mut client = server.client();
    client.send(&["SET", "k", "v"]).expect("it is open");
    assert!(client.read().is_err(), "it was not kept");
    assert!(!server.await_exit().success());
    assert!(server.log().contains("No space left on device"), "{}", server.log());
}

/// Each read of an expired key left a DEL that could not be written, without end.
#[test]
fn expired_keys_stay_while_the_journal_is_full() {
    const KEYS: usize = 3000;
    let dir = TempDir::new();
    let server = start(dir.path(), &APPENDS);
    let mut client = server.client();
    let name = |number: usize| format!("{number}:{}", "x".repeat(1000));
    for number in 0..KEYS {
        client.call(&["SET", &name(number), "v", "PX", "1500"]);
    }
    client.ask("BGREWRITEAOF");
    assert!(until(|| figure(&mut client, "aof_rewrites") == "1"
        && figure(&mut client, "aof_rewrite_in_progress") == "0"));
    drop(client);
    end(server);
    let files = std::fs::read_dir(dir.path().join("appendonlydir")).expect("it is there");
    let mut paths = files.map(|file| file.expect("it can be read").path());
    let last = paths.find(|path| path.to_string_lossy().ends_with(".incr.aof")).expect("there is one");
    std::fs::remove_file(&last).expect("it is there");
    std::os::unix::fs::symlink("/dev/full", &last).expect("it is gone");
    let server = start(dir.path(), &[&APPENDS[..], &["--journal-limit", "1mb"]].concat());
    let mut client = server.client();
    assert!(until(|| client.call(&["GET", &name(KEYS - 1)]).is_null()));
    let mut left = -1;
    let has_stopped = until(|| {
        let before = left;
        for number in 0..KEYS {
            assert!(client.call(&["GET", &name(number)]).is_null());
        }
        left = client.ask("DBSIZE").int().expect("a number");
        left == before
    });
    assert!(has_stopped && left > KEYS as i64 / 3, "{left}");
    client.ask("BGREWRITEAOF");
    assert!(until(|| client.ask("DBSIZE").int() == Some(0)), "{}", server.log());
}

/// A file system of this many KiB, until it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn new(kib: usize) -> Option<Self> {
        let dir = TempDir::new();
        let size = format!("size={kib}k");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "torc"]).arg(dir.path()).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            println!("no right to mount a file system: nothing was checked");
            return None;
        }
        Some(Self(dir))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Leaves room for no more than this many bytes; the file that takes the rest.
    fn fill_up(&self, room: usize) -> PathBuf {
        let path = self.path().join("filler");
        let mut bytes = vec![1; 1 << 22];
        while std::fs::write(&path, &bytes).is_err() {
            bytes.truncate(bytes.len() - (4 << 10));
        }
        bytes.truncate(bytes.len() - room);
        std::fs::write(&path, &bytes).expect("there is room for less");
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // What is still open goes with the server.
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "it was mounted");
    }
}

#[test]
fn file_system_that_was_full_and_has_room_again_loses_nothing() {
    let Some(disk) = SmallDisk::new(2 << 10) else { return };
    let server = start(disk.path(), &APPENDS);
    let mut client = server.client();
    client.ask("SET before 1");
    client.ask("WAITAOF 1 0 0");
    let filler = disk.fill_up(16 << 10);
    let value = "x".repeat(1000);
    let mut accepted = 0;
    assert!(until(|| {
        let reply = client.call(&["SET", &format!("key:{accepted}"), &value]).string();
        accepted += usize::from(reply == "OK");
        reply.starts_with("MISCONF")
    }));
    assert!(accepted > 5, "{accepted}");
    // A save finds no room either, and leaves what was there.
    assert!(client.ask("SAVE").is_error() && !disk.path().join("dump.rdb").exists());
    client.ask("BGSAVE");
    assert!(until(|| figure(&mut client, "rdb_last_bgsave_status") == "err"));
    // Nor does a rewrite, or a backup; INFO says of each what became of it.
    client.ask("BGREWRITEAOF");
    assert!(until(|| figure(&mut client, "aof_last_bgrewrite_status") == "err"), "{}", server.log());
    assert_ne!(figure(&mut client, "aof_rewrites_consecutive_failures"), "0");
    assert!(client.ask("BACKUP none").is_error() && figure(&mut client, "last_backup_status") == "err");
    std::fs::remove_dir(disk.path().join("backups")).expect("nothing is left in it");
    let left: Vec<_> = std::fs::read_dir(disk.path()).expect("it is there").collect();
    assert_eq!(left.len(), 2, "appendonlydir and the filler: {left:?}");
    std::fs::remove_file(filler).expect("it is there");
    assert!(until(|| client.ask("SET after 1").string() == "OK"), "{}", server.log());
    drop(client);
    end(server);
    let server = start(disk.path(), &APPENDS);
    let mut client = server.client();
    assert_eq!(client.ask("MGET before after").to_string(), "[\"1\" \"1\"]");
    assert_eq!(client.ask("DBSIZE").int(), Some(accepted as i64 + 2));
}

#[test]
fn save_that_finds_no_room_leaves_the_file_before() {
    let Some(disk) = SmallDisk::new(2 << 10) else { return };
    let server = start(disk.path(), &["--workers", "2"]);
    let mut client = server.client();
    client.ask("SET before 1");
    assert_eq!(client.ask("SAVE").string(), "OK");
    let good = std::fs::read(disk.path().join("dump.rdb")).expect("it was saved");
    client.ask("DEBUG POPULATE 20000");
    for number in 0..2000 {
        let value: String = (0..1000).map(|at| char::from(b'a' + (at * number % 26) as u8)).collect();
        client.call(&["SET", &format!("key:{number}"), &value]);
    }
    let filler = disk.fill_up(40 << 10);
    for command in ["SAVE", "BGSAVE"] {
        client.ask(command);
        assert!(until(|| figure(&mut client, "rdb_bgsave_in_progress") == "0"));
        assert_eq!(std::fs::read(disk.path().join("dump.rdb")).expect("it is there"), good, "{command}");
        let left = std::fs::read_dir(disk.path()).expect("it is there").count();
        assert_eq!(left, 2, "{command}: the file before and the filler");
    }
    assert_eq!(figure(&mut client, "rdb_last_bgsave_status"), "err");
    std::fs::remove_file(filler).expect("it is there");
    assert_eq!(client.ask("SAVE").string(), "OK");
    assert_eq!(figure(&mut client, "rdb_last_bgsave_status"), "ok");
}
