//! What a primary says to a replica, in this process; and what a replica says to a primary, to the server that `TORC` names.
//!
//! Design: the first byte says which. Of what a replica says, the input's bytes choose words of the introduction; a running
//! server has to stay up, and to answer others, whatever became of the connection.
#![no_main]

mod server;

use std::io::Write as _;
use std::sync::{Mutex, OnceLock};

use server::Server;

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

fn server() -> &'static Mutex<Server> {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let at_once = ["--save", "", "--repl-diskless-sync-delay", "0"];
    SERVER.get_or_init(|| Mutex::new(Server::start("replication", &at_once)))
}

fn as_replica(data: &[u8]) {
    let mut server = server().lock().expect("a target runs on one thread");
    let mut replica = server.connect();
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
    let mut other = server.connect();
    other
        .write_all(b"*2\r\n$8\r\nFAILOVER\r\n$5\r\nABORT\r\n*1\r\n$4\r\nPING\r\n")
        .expect("the server reads");
    server.read_to(&mut other, b"+PONG\r\n", &data);
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0..=31, rest)) => as_replica(rest),
        Some((_, rest)) => torc::replicate::replica::fuzz(rest),
        None => {}
    }
});
