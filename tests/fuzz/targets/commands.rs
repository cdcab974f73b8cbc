//! Whole commands made of the command table's words, to the server that `TORC` names (a path to its binary).
//!
//! Design: the input's bytes choose commands and words, so that mutating it mutates commands. The server is another process,
//! started once; a command that ends it, or gets no reply, is a finding.
#![no_main]

mod server;

use std::io::Write as _;
use std::sync::{Mutex, OnceLock};

use server::Server;

const WORDS: &[&str] =
    &["", "a", "b", "0", "1", "-1", "9223372036854775807", "1.5", "nan", "*", "[a", "\\", "536870912", "on", "off"];
/// They end the server or the conversation, as they should.
const LEFT_OUT: &[&str] = &[
    "shutdown",
    "debug",
    "client|pause",
    "client|reply",
    "client|kill",
    "monitor",
    "psync",
    "replconf",
    "sync",
    "quit",
    "config|set",
];

fn server() -> &'static Mutex<Server> {
    static SERVER: OnceLock<Mutex<Server>> = OnceLock::new();
    let limit = ["--maxmemory", "256mb", "--maxmemory-policy", "allkeys-random"];
    SERVER.get_or_init(|| Mutex::new(Server::start("commands", &limit)))
}

/// The commands that the input's bytes choose.
fn commands(data: &[u8]) -> Vec<Vec<String>> {
    let table = torc::command::table();
    let left_out =
        |name: &str| LEFT_OUT.iter().any(|out| name == *out || name.starts_with(&format!("{out}|")));
    // Who blocks waits for another client, and there is none.
    let blocks = |row: &torc::command::Row| row.command.flags.has(torc::command::Flags::BLOCKING);
    let rows = table.rows().iter().filter(|row| !left_out(&row.full_name) && !blocks(row));
    let rows: Vec<_> = rows.collect();
    let mut bytes = data.iter().map(|byte| usize::from(*byte));
    let mut commands = Vec::new();
    while let (Some(row), Some(count)) = (bytes.next(), bytes.next()) {
        let row = rows[row % rows.len()];
        let mut words: Vec<String> = row.full_name.split('|').map(str::to_owned).collect();
        let syntax: Vec<&str> = row
            .command
            .syntax
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .filter(|word| !word.is_empty())
            .collect();
        for byte in bytes.by_ref().take(count % 8) {
            let word = if byte % 3 == 0 && !syntax.is_empty() {
                syntax[byte / 3 % syntax.len()]
            } else {
                WORDS[byte / 3 % WORDS.len()]
            };
            words.push(word.to_owned());
        }
        commands.push(words);
    }
    commands
}

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut server = server().lock().expect("a target runs on one thread");
    let mut stream = server.connect();
    let mut request = Vec::new();
    let commands = commands(data);
    for words in &commands {
        write!(request, "*{}\r\n", words.len()).expect("memory takes it");
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len()).expect("memory takes it");
        }
    }
    // An end that no other reply contains; a transaction would keep it back, and who is subscribed may not ask for it.
    request.extend_from_slice(b"*1\r\n$5\r\nRESET\r\n*2\r\n$4\r\nECHO\r\n$15\r\nend-of-commands\r\n");
    stream.write_all(&request).expect("the server reads");
    server.read_to(&mut stream, b"end-of-commands\r\n", &commands);
});
