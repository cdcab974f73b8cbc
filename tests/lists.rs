//! Lists of Torc and of Redis: what one dumps the other restores, and both digest to the same.

use crate::harness::{Client, Rng, Server, Value};

const LISTS: usize = 60;
/// What ends a dump: the version of the format, and a checksum.
const VERSION_AND_SUM_BYTES: usize = 10;

struct Both {
    torc: Client,
    redis: Client,
}

fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|word| word.as_bytes().to_vec()).collect()
}

impl Both {
    fn digests(&mut self, key: &str) -> (Value, Value) {
        let words = words(&["DEBUG", "DIGEST-VALUE", key]);
        (self.torc.call(&words), self.redis.call(&words))
    }
}

/// Dumps a key of one server and restores it on the other.
fn carry(from: &mut Client, to: &mut Client, key: &str) {
    let payload = from.call(&["DUMP", key]);
    let reply = to.call(&[b"RESTORE", key.as_bytes(), b"0", payload.text(), b"REPLACE"]);
    assert_eq!(reply.to_string(), "+\"OK\"", "{key}");
}

/// An element: short, long, of every length that packing tells apart, or a number.
fn element(rng: &mut Rng) -> Vec<u8> {
    match rng.below(12) {
        0..3 => ((rng.next() as i64) >> rng.below(64)).to_string().into_bytes(),
        3 => vec![b'a' + rng.below(3) as u8; 4000 + rng.below(200)],
        4 if rng.once_in(20) => vec![b'z'; 8000 + rng.below(30_000)],
        5 => rng.next().to_be_bytes().repeat(1 + rng.below(30)),
        _ => vec![b'a' + rng.below(26) as u8; rng.below(140)],
    }
}

#[test]
fn lists_are_exchanged_with_redis() {
    let torc = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let redis = Server::redis(&["--enable-debug-command", "yes"]);
    let mut both = Both { torc: torc.client(), redis: redis.client() };
    let mut rng = Rng(3);
    for number in 0..LISTS {
        let key = format!("list:{number}");
        let elements = if number % 3 == 0 { 1 + rng.below(8) } else { 1 + rng.below(600) };
        for _ in 0..elements {
            let push: &[u8] = if rng.once_in(2) { b"LPUSH" } else { b"RPUSH" };
            let element = element(&mut rng);
            let maker = if number % 2 == 0 { &mut both.torc } else { &mut both.redis };
            maker.call(&[push, key.as_bytes(), &element]);
        }
        if number % 2 == 0 {
            carry(&mut both.torc, &mut both.redis, &key);
        } else {
            carry(&mut both.redis, &mut both.torc, &key);
        }
        let (torc_digest, redis_digest) = both.digests(&key);
        assert_eq!(torc_digest, redis_digest, "{key} of {elements} elements");
        let range = words(&["LRANGE", &key, "0", "-1"]);
        assert!(both.torc.call(&range) == both.redis.call(&range), "{key}");
    }
    assert_eq!(both.torc.ask("DEBUG DIGEST"), both.redis.ask("DEBUG DIGEST"));
}

/// What was pushed in the same way is dumped in the same bytes, where nothing is compressed. Torc says the lowest version of the
/// format that has all it needs, so that older servers restore it; Redis says its newest.
#[test]
fn dumps_are_those_of_redis_byte_by_byte() {
    let torc = Server::start(&["--workers", "1", "--rdbcompression", "no"]);
    let redis = Server::redis(&["--rdbcompression", "no"]);
    let mut both = Both { torc: torc.client(), redis: redis.client() };
    let mut rng = Rng(4);
    for (directive, pushes_max) in [("-2", 60), ("-1", 30), ("16", 300), ("1", 300)] {
        let set = words(&["CONFIG", "SET", "list-max-listpack-size", directive]);
        both.torc.call(&set);
        both.redis.call(&set);
        for number in 0..10 {
            let key = format!("list:{directive}:{number}");
            for _ in 0..rng.below(pushes_max) {
                let (push, pop) = if rng.once_in(2) { ("LPUSH", "RPOP") } else { ("RPUSH", "LPOP") };
                let words = match rng.once_in(6) {
                    true => vec![pop.as_bytes().to_vec(), key.clone().into_bytes()],
                    false => vec![
                        push.as_bytes().to_vec(),
                        key.clone().into_bytes(),
                        rng.next().to_string().into_bytes().repeat(rng.below(9)),
                    ],
                };
                assert_eq!(both.torc.call(&words), both.redis.call(&words));
            }
            let dump = words(&["DUMP", &key]);
            let (ours, theirs) = (both.torc.call(&dump), both.redis.call(&dump));
            match (&ours, &theirs) {
                (Value::Bulk(ours), Value::Bulk(theirs)) => {
                    let payload = |dump: &[u8]| dump[..dump.len() - VERSION_AND_SUM_BYTES].to_vec();
                    assert!(payload(ours) == payload(theirs), "{key}");
                }
                _ => assert_eq!(ours, theirs, "{key}"),
            }
        }
    }
}

/// A list of a million elements comes, is looked at in its middle, and goes, while other commands are answered.
#[test]
fn a_huge_list_goes_in_slices() {
    const PUSHES: usize = 1000;
    const ELEMENTS: usize = 1000;
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    let mut push = words(&["RPUSH", "huge"]);
    push.extend((0..ELEMENTS).map(|number| format!("element number {number}").into_bytes()));
    for _ in 0..PUSHES {
        client.send(&push).expect("the server reads");
        client.read().expect("the length");
    }
    assert_eq!(client.ask("LLEN huge").to_string(), "1000000");
    assert_eq!(client.ask("LINDEX huge 500999").string(), "element number 999");
    let used = |client: &mut Client| {
        let info = client.ask("INFO memory").string();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).map(str::to_owned);
        line.expect("INFO tells it").parse::<u64>().expect("a number")
    };
    let full = used(&mut client);
    assert_eq!(client.ask("DEL huge").to_string(), "1");
    assert_eq!(client.ask("EXISTS huge").to_string(), "0");
    assert!(crate::harness::until(|| used(&mut client) < full / 4), "the memory is not given back");
}
