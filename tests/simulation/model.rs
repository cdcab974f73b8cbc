//! A client with keys of its own: a map tells every reply in advance, to the byte.

use std::collections::{BTreeMap, VecDeque};

use torc::io::sim::Rng;

use super::client::{Now, Script, bulk, request};

/// Databases in use.
const DATABASES: u64 = 3;
/// Keys of one client.
const KEYS: u64 = 5;
/// Bytes from which a value counts as large; the server receives those straight into their memory.
const LARGE_BYTES_MIN: usize = 64 << 10;

type Word = Vec<u8>;

/// The script.
pub struct Model {
    prefix: String,
    db: u64,
    keys: BTreeMap<(u64, Word), Word>,
    expected: VecDeque<(Vec<Word>, Vec<u8>)>,
    large_values: bool,
    /// The number of the request for which a wrong reply is expected.
    wrong_at: Option<u64>,
    asked: u64,
}

impl Model {
    /// Keys begin with `prefix`.
    pub fn new(prefix: String, large_values: bool, wrong_at: Option<u64>) -> Model {
        let (keys, expected) = (BTreeMap::new(), VecDeque::new());
        Model { prefix, db: 0, keys, expected, large_values, wrong_at, asked: 0 }
    }

    fn key(&self, rng: &mut Rng) -> Word {
        format!("{}:{}", self.prefix, rng.below(KEYS)).into_bytes()
    }

    fn keys(&self, rng: &mut Rng) -> Vec<Word> {
        (0..1 + rng.below(4)).map(|_| self.key(rng)).collect()
    }

    fn value(&self, rng: &mut Rng) -> Word {
        let large = self.large_values && rng.chance(15);
        let len = match rng.below(4) {
            _ if large => LARGE_BYTES_MIN - 2 + rng.below(80_000) as usize,
            0 => return rng.below(100).to_string().into_bytes(),
            1 => 0,
            _ => rng.size(300),
        };
        let first = rng.below(256) as u8;
        (0..len).map(|at| first.wrapping_add(at as u8)).collect()
    }

    fn at(&self, key: &Word) -> Option<&Word> {
        self.keys.get(&(self.db, key.clone()))
    }

    fn set(&mut self, key: &Word, value: Word) {
        self.keys.insert((self.db, key.clone()), value);
    }

    fn draw(&mut self, rng: &mut Rng) -> (Vec<Word>, Vec<u8>) {
        let word = |text: &str| text.as_bytes().to_vec();
        let key = self.key(rng);
        match rng.below(14) {
            0 | 1 => {
                let value = self.value(rng);
                self.set(&key, value.clone());
                (vec![word("SET"), key, value], ok())
            }
            2 | 3 => {
                let reply = bulk(self.at(&key).map(Vec::as_slice));
                (vec![word("get"), key], reply)
            }
            4 => {
                let reply = self.increment(&key);
                (vec![word("INCR"), key], reply)
            }
            5 => {
                let mut value = self.at(&key).cloned().unwrap_or_default();
                let more = self.value(rng);
                value.extend_from_slice(&more);
                let reply = int(value.len());
                self.set(&key, value);
                (vec![word("APPEND"), key, more], reply)
            }
            6 => {
                let pairs: Vec<_> =
                    self.keys(rng).into_iter().flat_map(|key| [key, self.value(rng)]).collect();
                for pair in pairs.chunks(2) {
                    self.set(&pair[0], pair[1].clone());
                }
                ([vec![word("MSET")], pairs].concat(), ok())
            }
            7 => {
                let keys = self.keys(rng);
                let mut reply = format!("*{}\r\n", keys.len()).into_bytes();
                keys.iter().for_each(|key| reply.extend(bulk(self.at(key).map(Vec::as_slice))));
                ([vec![word("MGET")], keys].concat(), reply)
            }
            8 => {
                let keys = self.keys(rng);
                let gone = keys.iter().filter(|key| self.keys.remove(&(self.db, (*key).clone())).is_some());
                let reply = int(gone.count());
                ([vec![word("DEL")], keys].concat(), reply)
            }
            9 => {
                let keys = self.keys(rng);
                let reply = int(keys.iter().filter(|key| self.at(key).is_some()).count());
                ([vec![word("EXISTS")], keys].concat(), reply)
            }
            10 => {
                let target = self.key(rng);
                let reply = match self.keys.remove(&(self.db, key.clone())) {
                    None => b"-ERR no such key\r\n".to_vec(),
                    Some(value) => {
                        self.set(&target, value);
                        ok()
                    }
                };
                (vec![word("RENAME"), key, target], reply)
            }
            11 => self.copy(&key, rng),
            12 => {
                self.db = rng.below(DATABASES);
                (vec![word("SELECT"), word(&self.db.to_string())], ok())
            }
            _ => {
                let reply = int(self.at(&key).map_or(0, Vec::len));
                (vec![word("STRLEN"), key], reply)
            }
        }
    }

    fn increment(&mut self, key: &Word) -> Vec<u8> {
        let text = self.at(key).map_or("0", |value| std::str::from_utf8(value).unwrap_or_default());
        let canonical = text.parse::<i64>().ok().filter(|number| number.to_string() == text);
        let Some(number) = canonical else {
            return b"-ERR value is not an integer or out of range\r\n".to_vec();
        };
        self.set(key, (number + 1).to_string().into_bytes());
        format!(":{}\r\n", number + 1).into_bytes()
    }

    fn copy(&mut self, source: &Word, rng: &mut Rng) -> (Vec<Word>, Vec<u8>) {
        let (target, db, replace) = (self.key(rng), rng.below(DATABASES), rng.chance(50));
        let mut words = vec![b"COPY".to_vec(), source.clone(), target.clone()];
        words.extend([b"DB".to_vec(), db.to_string().into_bytes()]);
        words.extend(replace.then(|| b"REPLACE".to_vec()));
        if *source == target && db == self.db {
            return (words, b"-ERR source and destination objects are the same\r\n".to_vec());
        }
        let free = replace || !self.keys.contains_key(&(db, target.clone()));
        let value = self.at(source).cloned().filter(|_| free);
        let reply = int(usize::from(value.is_some()));
        value.and_then(|value| self.keys.insert((db, target), value));
        (words, reply)
    }
}

impl Script for Model {
    fn ask(&mut self, rng: &mut Rng, _: Now) -> Vec<u8> {
        let (words, mut reply) = self.draw(rng);
        if self.wrong_at == Some(self.asked) {
            reply = b"+WRONG\r\n".to_vec();
        }
        self.asked += 1;
        let plain =
            |word: &Word| !word.is_empty() && word.iter().all(|b| b.is_ascii_alphanumeric() || *b == b':');
        let bytes = if rng.chance(8) && words.iter().all(plain) && words.iter().all(|word| word.len() < 100) {
            [words.join(&b' '), b"\r\n".to_vec()].concat()
        } else {
            request(&words.iter().map(Vec::as_slice).collect::<Vec<_>>())
        };
        self.expected.push_back((words, reply));
        bytes
    }

    fn answer(&mut self, reply: &[u8], _: Now) -> Result<(), String> {
        let (words, expected) = self.expected.pop_front().expect("the client counts its requests");
        if reply == expected {
            return Ok(());
        }
        let words: Vec<_> = words.iter().map(|word| shown(word)).collect();
        Err(format!("{words:?} was answered {:?}, expected {:?}", shown(reply), shown(&expected)))
    }
}

fn shown(bytes: &[u8]) -> String {
    let text = bytes[..bytes.len().min(60)].escape_ascii();
    format!("{text} ({} bytes)", bytes.len())
}

fn ok() -> Vec<u8> {
    b"+OK\r\n".to_vec()
}

fn int(value: usize) -> Vec<u8> {
    format!(":{value}\r\n").into_bytes()
}
