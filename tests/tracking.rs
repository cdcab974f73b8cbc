//! Clients that keep copies of keys, on several workers: none serves a copy that is older than what it has been told.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{Client, Rng, Server, Value, until};

const KEYS: usize = 8;

/// A client with copies, which are dropped when it is told to.
struct Caching {
    client: Client,
    copies: HashMap<String, Value>,
}

impl Caching {
    fn new(server: &Server, options: &str) -> Self {
        let mut client = server.client();
        client.ask("HELLO 3");
        assert_eq!(client.ask(&format!("CLIENT TRACKING ON {options}")).string(), "OK");
        Caching { client, copies: HashMap::new() }
    }

    /// The next reply; what it is told before drops copies.
    fn reply(&mut self) -> Value {
        loop {
            match self.client.read().expect("a reply") {
                Value::Push(words) => self.drop_copies(&words),
                reply => return reply,
            }
        }
    }

    fn drop_copies(&mut self, words: &[Value]) {
        assert_eq!(words[0].string(), "invalidate");
        match &words[1] {
            Value::Array(keys) => keys.iter().for_each(|key| drop(self.copies.remove(&key.string()))),
            _ => self.copies.clear(),
        }
    }

    /// Reads what has come without being asked for: an answer that is sent behind it has to be read first.
    fn catch_up(&mut self) {
        self.client.send(&["PING"]).expect("it takes it");
        assert_eq!(self.reply().string(), "PONG");
    }

    fn get(&mut self, key: &str) -> Value {
        if let Some(copy) = self.copies.get(key) {
            return copy.clone();
        }
        self.client.send(&["GET", key]).expect("it takes it");
        let value = self.reply();
        self.copies.insert(key.to_owned(), value.clone());
        value
    }
}

/// Writers count keys up; a copy is never older than what a client read itself, and once the writers are done and all is told,
/// every copy is the last value.
#[test]
fn copies_are_dropped_when_keys_change() {
    for options in ["", "BCAST"] {
        let server = Server::start(&["--workers", "3", "--active-workers-min", "3"]);
        let mut readers: Vec<Caching> = (0..3).map(|_| Caching::new(&server, options)).collect();
        let writers: Vec<Client> = (0..3).map(|_| server.client()).collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writing: Vec<_> = writers
                .into_iter()
                .enumerate()
                .map(|(number, mut client)| {
                    scope.spawn(move || {
                        let mut rng = Rng(number as u64);
                        for _ in 0..2000 {
                            client.ask(&format!("INCR key{}", rng.below(KEYS)));
                        }
                    })
                })
                .collect();
            for (number, reader) in readers.iter_mut().enumerate() {
                let done = &done;
                scope.spawn(move || {
                    let (mut rng, mut last) = (Rng(100 + number as u64), HashMap::new());
                    while !done.load(Ordering::Relaxed) {
                        let key = format!("key{}", rng.below(KEYS));
                        let value = reader.get(&key).string().parse().unwrap_or(0_u64);
                        let before = last.insert(key, value).unwrap_or(0);
                        assert!(value >= before, "{value} after {before}");
                        if rng.below(4) == 0 {
                            reader.catch_up();
                        }
                    }
                });
            }
            writing.into_iter().for_each(|writer| writer.join().expect("no panic"));
            done.store(true, Ordering::Relaxed);
        });
        let mut client = server.client();
        for reader in &mut readers {
            let up_to_date = until(|| {
                reader.catch_up();
                (0..KEYS).all(|n| {
                    let key = format!("key{n}");
                    let copy = reader.copies.get(&key).map(Value::string);
                    copy.is_none_or(|copy| copy == client.ask(&format!("GET {key}")).string())
                })
            });
            assert!(up_to_date, "a copy is out of date, and nobody says so");
        }
    }
}

/// A change whose writer has its reply, and about which the client was told, is never missing from what it reads then.
#[test]
fn told_client_reads_what_was_written() {
    let server = Server::start(&["--workers", "3", "--active-workers-min", "3"]);
    let mut readers: Vec<Caching> = (0..3).map(|_| Caching::new(&server, "")).collect();
    let mut writer = server.client();
    for n in 0..300 {
        readers.iter_mut().for_each(|reader| drop(reader.get("key")));
        writer.ask(&format!("SET key {n}"));
        for reader in &mut readers {
            // It has a copy, so it is told.
            let Value::Push(words) = reader.client.read().expect("a message") else { panic!("no message") };
            reader.drop_copies(&words);
            assert_eq!(reader.get("key").string(), n.to_string());
        }
    }
}

/// Keys that expire or are evicted without a command are changes, too.
#[test]
fn removals_without_a_command_are_told() {
    let server = Server::start(&["--workers", "3", "--active-workers-min", "3"]);
    let mut writer = server.client();
    let mut readers: Vec<Caching> = (0..3).map(|_| Caching::new(&server, "")).collect();
    writer.ask("SET expires v PX 200");
    writer.ask("SET evicted v");
    for reader in &mut readers {
        reader.get("expires");
        reader.get("evicted");
    }
    let told = |reader: &mut Caching, key: &str| {
        until(|| {
            reader.catch_up();
            !reader.copies.contains_key(key)
        })
    };
    assert!(readers.iter_mut().all(|reader| told(reader, "expires")));
    writer.ask("CONFIG SET maxmemory-policy allkeys-random maxmemory 1");
    assert!(readers.iter_mut().all(|reader| told(reader, "evicted")));
}

/// What a client that had waited was given by another worker counted as read by nobody.
#[test]
fn entries_that_were_waited_for_are_tracked() {
    for (workers, options) in [("1", ""), ("3", ""), ("3", "OPTIN")] {
        let server = Server::start(&["--workers", workers, "--active-workers-min", workers]);
        let mut writers: Vec<Client> = (0..4).map(|_| server.client()).collect();
        for count in 0..8 {
            let mut reader = Caching::new(&server, options);
            if options == "OPTIN" {
                assert_eq!(reader.client.ask("CLIENT CACHING YES").string(), "OK");
            }
            let key = format!("stream{count}");
            reader.client.send(&["XREAD", "BLOCK", "0", "STREAMS", &key, "$"]).expect("it takes it");
            assert!(until(|| writers[0].ask("INFO clients").string().contains("blocked_clients:1")));
            let writer = &mut writers[count % 4];
            writer.ask(&format!("XADD {key} 1-1 field value"));
            assert!(reader.reply().to_string().contains("1-1"));
            // It may hear of the entry that it was given, but it hears of the next one.
            reader.catch_up();
            reader.copies.insert(key.clone(), Value::Null);
            writer.ask(&format!("XADD {key} 1-2 field value"));
            let is_dropped = until(|| {
                reader.catch_up();
                !reader.copies.contains_key(&key)
            });
            assert!(is_dropped, "{workers} workers {options}: it was not told");
        }
    }
}
