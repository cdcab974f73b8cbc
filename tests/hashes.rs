//! Hashes of Torc and of Redis: what one dumps the other restores, byte by byte where the order is defined; and what needs a server
//! besides.

use crate::harness::{Client, Rng, Server, Value, until};

const HASHES: usize = 60;
/// What ends a dump: the version of the format, and a checksum.
const VERSION_AND_SUM_BYTES: usize = 10;
/// The type of a packed hash with deadlines in a dump; the earliest of these follows.
const LISTPACK_EX: u8 = 25;
/// A time that is far away.
const FAR_MS: u64 = 4_102_444_800_000;

struct Both {
    torc: Client,
    redis: Client,
}

fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|word| word.as_bytes().to_vec()).collect()
}

impl Both {
    fn start(torc: &Server, redis: &Server) -> Both {
        Both { torc: torc.client(), redis: redis.client() }
    }

    /// The same command to both, whose replies must be the same.
    fn call(&mut self, words: &[Vec<u8>]) -> Value {
        let (ours, theirs) = (self.torc.call(words), self.redis.call(words));
        let shown = || words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(ours, theirs, "{}", shown());
        ours
    }

    fn ask(&mut self, list: &[&str]) -> Value {
        self.call(&words(list))
    }
}

/// Dumps a key of one server and restores it on the other.
fn carry(from: &mut Client, to: &mut Client, key: &str) {
    let payload = from.call(&["DUMP", key]);
    let reply = to.call(&[b"RESTORE", key.as_bytes(), b"0", payload.text(), b"REPLACE"]);
    assert_eq!(reply.to_string(), "+\"OK\"", "{key}");
}

/// A name or a value: short, long, of every length that packing tells apart, or a number.
fn element(rng: &mut Rng, long_once_in: usize) -> Vec<u8> {
    match rng.below(8) {
        0..2 => ((rng.next() as i64) >> rng.below(64)).to_string().into_bytes(),
        2 if rng.once_in(long_once_in) => vec![b'z'; 60 + rng.below(3000)],
        3 => rng.next().to_be_bytes().to_vec(),
        _ => vec![b'a' + rng.below(26) as u8; rng.below(20)],
    }
}

#[test]
fn hashes_are_exchanged_with_redis() {
    let torc = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let redis = Server::newest("redis-server", &["--enable-debug-command", "yes"]);
    let mut both = Both::start(&torc, &redis);
    let mut rng = Rng(5);
    for number in 0..HASHES {
        let key = format!("hash:{number}");
        let fields = if number % 3 == 0 { 1 + rng.below(8) } else { 1 + rng.below(700) };
        for _ in 0..fields {
            let (name, value) = (element(&mut rng, 50), element(&mut rng, 50));
            let deadline = (FAR_MS + rng.below(100_000) as u64).to_string().into_bytes();
            let key = key.as_bytes();
            let maker = if number % 2 == 0 { &mut both.torc } else { &mut both.redis };
            if number % 5 > 1 && rng.once_in(3) {
                maker.call(&[b"HSETEX", key, b"PXAT", &deadline, b"FIELDS", b"1", &name, &value]);
            } else {
                maker.call(&[b"HSET", key, &name, &value]);
            }
        }
        if number % 2 == 0 {
            carry(&mut both.torc, &mut both.redis, &key);
        } else {
            carry(&mut both.redis, &mut both.torc, &key);
        }
        both.ask(&["DEBUG", "DIGEST-VALUE", &key]);
        both.ask(&["HLEN", &key]);
    }
    both.ask(&["DEBUG", "DIGEST"]);
}

/// What was done in the same way is dumped in the same bytes, where nothing is compressed. Torc says the lowest version of the format
/// that has all it needs, so that older servers restore it; Redis says its newest.
#[test]
fn dumps_are_those_of_redis_byte_by_byte() {
    let torc = Server::start(&["--workers", "1", "--rdbcompression", "no"]);
    let redis = Server::newest("redis-server", &["--rdbcompression", "no"]);
    let mut both = Both::start(&torc, &redis);
    let mut rng = Rng(6);
    for number in 0..40 {
        let key = format!("hash:{number}");
        for _ in 0..rng.below(150) {
            let field = format!("field {}", rng.below(12));
            let value = (rng.next() as i64 >> rng.below(64)).to_string();
            let deadline = (FAR_MS + 1500 * rng.below(20) as u64).to_string();
            let condition = *rng.pick(&["NX", "XX", "GT", "LT"]);
            match rng.below(12) {
                0..3 => both.ask(&["HSET", &key, &field, &value]),
                3 => both.ask(&["HDEL", &key, &field]),
                4 => both.ask(&["HPEXPIREAT", &key, &deadline, "FIELDS", "1", &field]),
                5 => both.ask(&["HPEXPIREAT", &key, &deadline, condition, "FIELDS", "2", &field, "field 3"]),
                6 => both.ask(&["HPERSIST", &key, "FIELDS", "1", &field]),
                7 => both.ask(&["HGETEX", &key, "PXAT", &deadline, "FIELDS", "2", &field, "field 1"]),
                8 => both
                    .ask(&["HSETEX", &key, "PXAT", &deadline, "FIELDS", "2", &field, &value, "field 2", "x"]),
                9 => both.ask(&["HSETEX", &key, "KEEPTTL", "FIELDS", "1", &field, &value]),
                10 if rng.once_in(3) => both.ask(&["HPEXPIREAT", &key, "1", "FIELDS", "1", &field]),
                10 => both.ask(&["HGETEX", &key, "PERSIST", "FIELDS", "1", &field]),
                _ => both.ask(&["HINCRBY", &key, "counter", &value[..value.len().min(9)]]),
            };
            let (ours, theirs) = (both.torc.call(&["DUMP", &key]), both.redis.call(&["DUMP", &key]));
            match (&ours, &theirs) {
                (Value::Bulk(ours), Value::Bulk(theirs)) => {
                    // Redis knows the earliest deadline but roughly; who restores a dump finds it out anew.
                    let payload = |dump: &[u8]| {
                        let mut payload = dump[..dump.len() - VERSION_AND_SUM_BYTES].to_vec();
                        if payload[0] == LISTPACK_EX {
                            payload[1..=8].fill(0);
                        }
                        payload.escape_ascii().to_string()
                    };
                    assert_eq!(payload(ours), payload(theirs), "{key}");
                }
                _ => assert_eq!(ours, theirs, "{key}"),
            }
        }
    }
}

/// Picks are even, whichever the form, and all of the fields come.
#[test]
fn picks_at_random_are_even() {
    const FIELDS: usize = 40;
    const PICKS: usize = 40_000;
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for entries_max in ["512", "0"] {
        client.call(&["CONFIG", "SET", "hash-max-listpack-entries", entries_max]);
        client.call(&["DEL", "h"]);
        for number in 0..FIELDS {
            client.call(&["HSET", "h", &number.to_string(), "x"]);
        }
        let count = format!("-{PICKS}");
        let with_repetition = client.call(&["HRANDFIELD", "h", &count]).elements();
        assert_eq!(with_repetition.len(), PICKS);
        let singles: Vec<Value> = (0..PICKS / 10).map(|_| client.call(&["HRANDFIELD", "h"])).collect();
        let distinct: Vec<Value> =
            (0..PICKS / 50).flat_map(|_| client.call(&["HRANDFIELD", "h", "5"]).elements()).collect();
        for picks in [with_repetition, singles, distinct] {
            let mut counts = [0_usize; FIELDS];
            picks.iter().for_each(|pick| counts[pick.string().parse::<usize>().expect("a number")] += 1);
            let expected = picks.len() / FIELDS;
            for (field, count) in counts.iter().enumerate() {
                let off = count.abs_diff(expected);
                assert!(off * off < 30 * expected, "field {field}: {count} of {expected} picks");
            }
        }
        for _ in 0..100 {
            let mut picks: Vec<String> =
                client.call(&["HRANDFIELD", "h", "30"]).elements().iter().map(Value::string).collect();
            picks.sort_unstable();
            picks.dedup();
            assert_eq!(picks.len(), 30, "they are different ones");
        }
    }
}

/// A scan returns what is there throughout, while the hash grows and shrinks.
#[test]
fn scans_of_hashes_miss_nothing() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    let mut rng = Rng(7);
    for number in 0..2000 {
        client.call(&["HSET", "h", &format!("stays {number}"), "x"]);
    }
    let mut found = std::collections::BTreeSet::new();
    let mut cursor = "0".to_owned();
    loop {
        let reply =
            client.call(&["HSCAN", "h", &cursor, "COUNT", "50", "NOVALUES", "MATCH", "stays*"]).elements();
        found.extend(reply[1].elements().iter().map(Value::string));
        cursor = reply[0].string();
        if cursor == "0" {
            break;
        }
        let step = rng.below(3);
        for number in 0..200 {
            let field = format!("comes and goes {}", number + 200 * rng.below(20));
            let words: &[&str] = if step == 0 { &["HDEL", "h", &field] } else { &["HSET", "h", &field, "x"] };
            client.call(words);
        }
    }
    assert_eq!(found.len(), 2000);
}

fn used(client: &mut Client) -> u64 {
    let info = client.ask("INFO memory").string();
    let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).map(str::to_owned);
    line.expect("INFO tells it").parse::<u64>().expect("a number")
}

/// The fields of a huge hash expire, and it goes with the last of them, while other commands are answered.
#[test]
fn fields_of_huge_hash_expire_and_take_it_along() {
    const FIELDS: usize = 200_000;
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let empty = used(&mut client);
    for first in (0..FIELDS).step_by(1000) {
        let mut words = words(&["HSETEX", "huge", "PX", "1500", "FIELDS", "1000"]);
        for number in first..first + 1000 {
            words.push(format!("field number {number}").into_bytes());
            words.push(b"some value".to_vec());
        }
        client.call(&words);
    }
    assert!(used(&mut client) > empty + 4_000_000);
    assert!(until(|| client.ask("EXISTS huge").to_string() == "0"), "it does not expire");
    assert!(until(|| used(&mut client) < empty + 2_000_000), "the memory is not given back");
    let stats = client.ask("INFO stats").string();
    assert!(stats.contains(&format!("expired_subkeys:{FIELDS}\r\n")), "{stats}");
    assert!(client.ask("INFO keyspace").string().lines().all(|line| !line.starts_with("db0")));
}

/// A hash of a million fields goes in slices.
#[test]
fn huge_hash_goes_in_slices() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let empty = used(&mut client);
    for first in (0..300_000).step_by(1000) {
        let mut words = words(&["HSET", "huge"]);
        for number in first..first + 1000 {
            words.push(format!("field number {number}").into_bytes());
            words.push(b"some value".to_vec());
        }
        client.call(&words);
    }
    let full = used(&mut client);
    assert_eq!(client.ask("HLEN huge").to_string(), "300000");
    assert_eq!(client.ask("DEL huge").to_string(), "1");
    assert_eq!(client.ask("EXISTS huge").to_string(), "0");
    assert!(until(|| used(&mut client) < empty + (full - empty) / 4), "the memory is not given back");
}

/// A pause keeps fields whose deadline has come in their place, though nobody sees them.
#[test]
fn paused_server_keeps_expired_fields() {
    let server = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let (mut client, mut other) = (server.client(), server.client());
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ask("HSET h f v g w");
    client.ask("HPEXPIRE h 1 FIELDS 1 f");
    assert!(until(|| client.ask("HTTL h FIELDS 1 f").to_string() == "[-2]"));
    other.ask("CLIENT PAUSE 100000 WRITE");
    assert_eq!(client.ask("HEXISTS h f").to_string(), "0");
    assert_eq!(client.ask("HLEN h").to_string(), "2");
    assert_eq!(client.call(&["HRANDFIELD", "h", "5"]).to_string(), r#"["g"]"#);
    other.ask("CLIENT UNPAUSE");
    assert_eq!(client.ask("HEXISTS h f").to_string(), "0");
    assert_eq!(client.ask("HLEN h").to_string(), "1");
}

/// A hash that once had a field with a deadline was sent in a form that Valkey 9 does not read, so that it never came to follow.
#[test]
fn hash_whose_last_deadline_is_gone_is_sent_as_any_other() {
    let primary = Server::start_tcp(&["--repl-diskless-sync-delay", "0"]);
    let mut client = primary.client();
    client.ask("HSET h f v g 1");
    client.ask("HEXPIRE h 100 FIELDS 1 f");
    client.ask("HPERSIST h FIELDS 1 f");
    assert_eq!(client.ask("OBJECT ENCODING h").string(), "listpackex");
    let replica = Server::newest_tcp("valkey-server", &[]);
    let mut follower = replica.client();
    assert_eq!(follower.ask(&format!("REPLICAOF 127.0.0.1 {}", primary.tcp().port())).string(), "OK");
    assert!(until(|| follower.ask("HGET h f").to_string() == r#""v""#), "{}", replica.log());
    assert_eq!(follower.ask("HGET h g").to_string(), r#""1""#);
}
