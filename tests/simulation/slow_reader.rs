//! A client that asks for far more than it reads: it must cost itself its progress, and nobody else.
//!
//! The server stops running its commands once about 1 MiB of replies waits; those behind them wait unparsed. It reads
//! nothing until all other clients are done, so whatever they would need of what it holds, they would never get.

use std::collections::VecDeque;

use torc::io::sim::Rng;

use super::client::{Now, Script, bulk, request};

/// Bytes of the value that it asks for; a dozen fill the output.
const VALUE_BYTES: usize = 100_000;
/// Requests for the value, then ones that only take up room in the server's input.
const GETS: u64 = 16;
const ECHOES: u64 = 200;
/// Requests of one client.
pub const REQUESTS: u64 = 1 + GETS + ECHOES;

/// The script.
pub struct SlowReader {
    key: Vec<u8>,
    step: u64,
    expected: VecDeque<Vec<u8>>,
}

impl SlowReader {
    /// Its key is named `key`.
    pub fn new(key: String) -> SlowReader {
        SlowReader { key: key.into_bytes(), step: 0, expected: VecDeque::new() }
    }
}

impl Script for SlowReader {
    fn ask(&mut self, rng: &mut Rng, _: Now) -> Vec<u8> {
        self.step += 1;
        let value = vec![b'v'; VALUE_BYTES];
        let (words, reply) = match self.step {
            1 => (vec![&b"SET"[..], &self.key, &value], b"+OK\r\n".to_vec()),
            2.. if self.step <= 1 + GETS => (vec![&b"GET"[..], &self.key], bulk(Some(&value))),
            _ => {
                let text = &value[..rng.size(300)];
                (vec![&b"ECHO"[..], text], bulk(Some(text)))
            }
        };
        self.expected.push_back(reply);
        request(&words)
    }

    fn answer(&mut self, reply: &[u8], _: Now) -> Result<(), String> {
        let expected = self.expected.pop_front().expect("the client counts its requests");
        let (got, awaited) = (reply.len(), expected.len());
        (reply == expected).then_some(()).ok_or(format!("a reply of {got} bytes, expected {awaited} bytes"))
    }
}
