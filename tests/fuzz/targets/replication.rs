//! What a primary says to a replica, in this process; and what a replica says to a primary, to the server that `TORC` names.
//!
//! Design: the first byte says which. Of what a replica says, the input's bytes choose words of the introduction; a running
//! server has to stay up, and to answer others, whatever became of the connection.
#![no_main]

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

const LINES: &[&str] = &[
    "REPLCONF listening-port 1",
    "REPLCONF listening-port x",
    "REPLCONF ip-address 1.2.3.4",
    "REPLCONF capa eof",
    "REPLCONF capa eof capa psync2",
    "REPLCONF capa rdb-channel-repl",
    "REPLCONF version 8.2.3",
    "REPLCONF rdb-only 1",
    "REPLCONF rdb-filter-only functions",
    "REPLCONF rdb-filter-only \"\"",
    "REPLCONF ack 0",
    "REPLCONF ack 99999999999999999999",
    "REPLCONF ack 10 fack 20",
    "REPLCONF getack *",
    "REPLCONF",
    "PSYNC ? -1",
    "PSYNC 0123456789012345678901234567890123456789 1",
    "PSYNC 0123456789012345678901234567890123456789 9223372036854775807",
    "PSYNC 0123456789012345678901234567890123456789 1 FAILOVER",
    "SYNC",
    "PING",
    "MULTI",
    "EXEC",
    "SET k v",
    "FAILOVER",
    "FAILOVER ABORT",
];

struct Server {
    child: Child,
    path: std::path::PathBuf,
}

fn server() -> &'static Mutex<Server> {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    SERVER.get_or_init(|| {
        let program = std::env::var_os("TORC").expect("TORC names the server's binary");
        let path = std::env::temp_dir().join(format!("torc-fuzz-replication-{}", std::process::id()));
        let data = path.with_extension("data");
        std::fs::create_dir_all(&data).expect("the directory for temporary files can be written");
        // The fuzzer ends without warning, and the server with it.
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .args(["--port", "0", "--save", "", "--repl-diskless-sync-delay", "0", "--unixsocket"])
            .arg(&path)
            .arg("--dir")
            .arg(&data)
            .spawn()
            .expect("the server can be started");
        while UnixStream::connect(&path).is_err() {
            std::thread::yield_now();
        }
        Mutex::new(Server { child, path })
    })
}

fn as_replica(data: &[u8]) {
    let mut server = server().lock().expect("a target runs on one thread");
    let connect = |server: &Server| {
        let stream = UnixStream::connect(&server.path).expect("the server takes connections");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("the timeout is not zero");
        stream
    };
    let mut replica = connect(&server);
    for byte in data.iter().take(64) {
        let line = match byte {
            255 => "\0\u{1}*3\r\n$-1\r\n",
            byte => LINES[usize::from(*byte) % LINES.len()],
        };
        // It may have been closed.
        if replica.write_all(line.as_bytes()).and_then(|()| replica.write_all(b"\r\n")).is_err() {
            break;
        }
    }
    drop(replica);
    let mut other = connect(&server);
    other
        .write_all(b"*2\r\n$8\r\nFAILOVER\r\n$5\r\nABORT\r\n*1\r\n$4\r\nPING\r\n")
        .expect("the server reads");
    let (mut replies, mut some) = (Vec::new(), [0; 1024]);
    while !replies.ends_with(b"+PONG\r\n") {
        let read = other.read(&mut some);
        let length = *read.as_ref().unwrap_or(&0);
        let status = server.child.try_wait().expect("it is a child");
        assert!(length > 0, "no reply: {read:?}, the server: {status:?}");
        replies.extend_from_slice(&some[..length]);
    }
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0..=31, rest)) => as_replica(rest),
        Some((_, rest)) => torc::replicate::replica::fuzz(rest),
        None => {}
    }
});
