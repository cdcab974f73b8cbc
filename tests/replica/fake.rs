//! A primary that does what a test wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use crate::harness::REPLY_TIMEOUT;

/// A history's name.
pub const ID: &str = "0123456789abcdef0123456789abcdef01234567";

/// Listens for a replica.
pub struct Fake(TcpListener);

/// A replica's connection.
pub struct Follower {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Fake {
    pub fn new() -> Fake {
        Fake(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback interface is up"))
    }

    /// The words that have a server follow this one; `name` is one of its names.
    pub fn to_follow(&self, name: &str) -> String {
        format!("REPLICAOF {name} {}", self.0.local_addr().expect("it is bound").port())
    }

    /// The next replica that connects.
    pub fn accept(&self) -> Follower {
        let (stream, _) = self.0.accept().expect("it listens");
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).expect("the socket is open");
        let reader = BufReader::new(stream.try_clone().expect("the socket is open"));
        Follower { stream, reader }
    }
}

impl Follower {
    /// The next command, in words; none at the end.
    pub fn command(&mut self) -> Option<Vec<String>> {
        let mut line = String::new();
        loop {
            line.clear();
            if self.reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line != "\n" {
                break;
            }
        }
        let count: usize = line.trim_end().strip_prefix('*')?.parse().ok()?;
        let mut words = Vec::new();
        for _ in 0..count {
            line.clear();
            self.reader.read_line(&mut line).ok()?;
            let length: usize = line.trim_end().strip_prefix('$')?.parse().ok()?;
            let mut word = vec![0; length + 2];
            self.reader.read_exact(&mut word).ok()?;
            word.truncate(length);
            words.push(String::from_utf8_lossy(&word).into_owned());
        }
        Some(words)
    }

    /// Sends bytes; the replica may have gone.
    pub fn say(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// Answers until PSYNC comes, which is returned.
    pub fn introduce(&mut self) -> Option<Vec<String>> {
        loop {
            let words = self.command()?;
            match words[0].as_str() {
                "PSYNC" => return Some(words),
                "PING" => self.say(b"+PONG\r\n"),
                _ => self.say(b"+OK\r\n"),
            };
        }
    }

    /// Offers a snapshot made at this offset, and sends it.
    pub fn send_snapshot(&mut self, offset: u64, snapshot: &[u8]) -> bool {
        let head = format!("+FULLRESYNC {ID} {offset}\r\n${}\r\n", snapshot.len());
        self.say(head.as_bytes()) && self.say(snapshot)
    }

    /// Says no more, and listens until the replica has taken in all of it and closes.
    pub fn end(&mut self) {
        if self.stream.shutdown(Shutdown::Write).is_ok() {
            while self.command().is_some() {}
        }
    }

    /// The offset that the replica acknowledges next.
    pub fn acknowledged(&mut self) -> Option<u64> {
        loop {
            let words = self.command()?;
            if words[..2] == ["REPLCONF", "ACK"] {
                return words[2].parse().ok();
            }
        }
    }
}
