//! Sorted sets of Torc and of Redis: what one dumps the other restores, and both digest to the same; and what needs a server.

use std::collections::BTreeMap;
use std::thread;

use crate::harness::{Client, Rng, Server, Value, until};

/// What ends a dump: the version of the format, and a checksum.
const VERSION_AND_SUM_BYTES: usize = 10;

/// Not what has 17 digits: Redis does not always find the shortest that read back as the same number, which are written here.
fn score(rng: &mut Rng) -> String {
    match rng.below(6) {
        0 => "inf".to_owned(),
        1 => (rng.next() as i64 >> (11 + rng.below(53))).to_string(),
        2 => format!("{}e{}", rng.below(100_000), rng.below(10)),
        3 => format!("-{}.{}", rng.below(1000), rng.below(1000)),
        _ => rng.below(100).to_string(),
    }
}

fn member(rng: &mut Rng) -> Vec<u8> {
    match rng.below(5) {
        0 => (rng.next() as i64 >> rng.below(64)).to_string().into_bytes(),
        1 => rng.next().to_be_bytes().to_vec(),
        _ => format!("member {}", rng.below(1000)).into_bytes(),
    }
}

/// The same commands make the same bytes, whichever form the sorted set has; either server takes what the other dumped.
#[test]
fn sorted_sets_are_exchanged_with_redis() {
    let args = ["--rdbcompression", "no", "--enable-debug-command", "yes"];
    let (torc, redis) = (Server::start(&[&args[..], &["--workers", "1"]].concat()), Server::redis(&args));
    let (mut torc, mut redis) = (torc.client(), redis.client());
    let mut rng = Rng(7);
    for number in 0..60 {
        let key = format!("z:{number}");
        for _ in 0..1 + rng.below(if number % 2 == 0 { 20 } else { 400 }) {
            let words = match rng.below(8) {
                0 => vec![b"ZREM".to_vec(), key.clone().into_bytes(), member(&mut rng)],
                _ => vec![
                    b"ZADD".to_vec(),
                    key.clone().into_bytes(),
                    score(&mut rng).into_bytes(),
                    member(&mut rng),
                ],
            };
            assert_eq!(torc.call(&words), redis.call(&words));
        }
        let [ours, theirs] = [&mut torc, &mut redis].map(|client| client.call(&["DUMP", &key]));
        if ours == Value::Null {
            continue;
        }
        let payload = |dump: &Value| dump.text()[..dump.text().len() - VERSION_AND_SUM_BYTES].to_vec();
        assert!(payload(&ours) == payload(&theirs), "{key}");
        let copy = format!("copy:{number}");
        let restore = |client: &mut Client, dump: &Value| {
            let reply = client.call(&[b"RESTORE", copy.as_bytes(), b"0", dump.text()]);
            assert_eq!(reply.to_string(), "+\"OK\"");
        };
        restore(&mut torc, &theirs);
        restore(&mut redis, &ours);
        for asked in [["DEBUG", "DIGEST-VALUE"], ["OBJECT", "ENCODING"]] {
            let words = [asked[0], asked[1], copy.as_str()];
            assert_eq!(torc.call(&words), redis.call(&words), "{key}");
        }
    }
    assert_eq!(torc.ask("DEBUG DIGEST"), redis.ask("DEBUG DIGEST"));
}

/// The forms that older versions wrote.
#[test]
fn older_forms_are_restored() {
    let server = Server::start(&["--workers", "1"]);
    let redis = Server::redis(&[]);
    let (mut torc, mut redis) = (server.client(), redis.client());
    // Type 3: scores as texts; type 12: a ziplist.
    let texts = b"\x03\x03\x01a\x011\x01b\x04-1.5\x01c\xfe\x06\x00".to_vec();
    let ziplist =
        b"\x0c\x18\x18\x00\x00\x00\x12\x00\x00\x00\x04\x00\x00\x01a\x03\xf2\x02\x01b\x03\x032.5\xff\x06\x00"
            .to_vec();
    for (payload, expected) in
        [(texts, r#"["b" "-1.5" "a" "1" "c" "inf"]"#), (ziplist, r#"["a" "1" "b" "2.5"]"#)]
    {
        let sum = torc::persist::rdb::crc64::sum(0, &payload);
        let payload = [&payload[..], &sum.to_le_bytes()].concat();
        for client in [&mut torc, &mut redis] {
            let reply = client.call(&[b"RESTORE", &b"old"[..], b"0", &payload, b"REPLACE"]);
            assert_eq!(reply.to_string(), "+\"OK\"");
            let found = client.ask("ZRANGE old 0 -1 WITHSCORES").to_string();
            assert_eq!(found, expected);
        }
    }
}

/// Several workers, clients that wait and clients that add: each member is served once.
#[test]
fn each_member_is_popped_once_whoever_waits() {
    const MEMBERS: usize = 4000;
    const POPPERS: usize = 6;
    let server = Server::start(&["--workers", "3"]);
    let keys = ["q:1", "q:2", "{x}q"];
    let poppers: Vec<_> = (0..POPPERS)
        .map(|number| {
            let mut client = server.client();
            thread::spawn(move || {
                let mut popped = Vec::new();
                let command = match number % 3 {
                    0 => "BZPOPMIN q:1 q:2 {x}q 0",
                    1 => "BZPOPMAX {x}q q:2 q:1 0",
                    _ => "BZMPOP 0 3 q:2 q:1 {x}q MIN COUNT 3",
                };
                loop {
                    let reply = client.ask(command);
                    let text = reply.to_string();
                    let members = text.split('"').filter(|word| word.starts_with("m:") || *word == "end");
                    let members: Vec<String> = members.map(str::to_owned).collect();
                    if members.iter().any(|member| member == "end") {
                        popped.extend(members.into_iter().filter(|member| member != "end"));
                        return popped;
                    }
                    popped.extend(members);
                }
            })
        })
        .collect();
    let adders: Vec<_> = (0..2)
        .map(|half| {
            let mut client = server.client();
            thread::spawn(move || {
                let mut rng = Rng(half as u64 + 1);
                for number in (half..MEMBERS).step_by(2) {
                    let (key, member) = (*rng.pick(&keys), format!("m:{number}"));
                    match rng.below(3) {
                        0 => client.call(&["ZADD", key, &rng.below(50).to_string(), &member]),
                        1 => client.call(&["ZINCRBY", key, "1.5", &member]),
                        _ => {
                            client.ask("MULTI");
                            client.call(&["ZADD", key, "3", &member]);
                            client.call(&["ZCARD", key]);
                            client.ask("EXEC")
                        }
                    };
                }
            })
        })
        .collect();
    adders.into_iter().for_each(|adder| adder.join().expect("it has sent all"));
    let mut client = server.client();
    assert!(until(|| client.ask("EXISTS q:1 q:2 {x}q").to_string() == "0"), "members are left");
    // Each popper ends with a member of its own.
    let mut popped = Vec::new();
    for popper in poppers {
        while !popper.is_finished() {
            client.ask("ZADD q:1 1 end");
            // Nobody takes it if this was the last popper and it is about to end.
            until(|| popper.is_finished() || client.ask("EXISTS q:1").to_string() == "0");
        }
        popped.extend(popper.join().expect("it has popped"));
    }
    popped.sort();
    let count = popped.len();
    popped.dedup();
    assert_eq!((count, popped.len()), (MEMBERS, MEMBERS), "popped twice, or lost");
}

/// A large sorted set is drawn from evenly, member by member, as is a part of it.
#[test]
fn random_members_are_drawn_evenly() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for members in [20, 200] {
        client.ask("DEL z");
        for number in 0..members {
            client.call(&["ZADD", "z", &(number * number).to_string(), &number.to_string()]);
        }
        for command in ["ZRANDMEMBER z -20000", "ZRANDMEMBER z 7"] {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            let times = if command.ends_with('7') { 3000 } else { 1 };
            for _ in 0..times {
                let reply = client.ask(command).to_string();
                for word in reply.split('"').skip(1).step_by(2) {
                    *counts.entry(word.to_owned()).or_default() += 1;
                }
            }
            assert_eq!(counts.len(), members);
            let mean = counts.values().sum::<usize>() as f64 / members as f64;
            let chi: f64 = counts.values().map(|count| (*count as f64 - mean).powi(2) / mean).sum();
            // Far beyond what chance makes: five standard deviations.
            let bound = members as f64 + 5.0 * (2.0 * members as f64).sqrt();
            assert!(chi < bound, "{command} of {members}: {chi} of {bound}");
        }
    }
}

/// A scan of a large sorted set that changes meanwhile finds every member that was there throughout.
#[test]
fn scans_find_what_stays() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for number in 0..2000 {
        client.call(&["ZADD", "z", &number.to_string(), &format!("stays:{number}")]);
    }
    let (mut cursor, mut seen, mut step) = ("0".to_owned(), std::collections::BTreeSet::new(), 0);
    loop {
        let reply = client.call(&["ZSCAN", "z", &cursor, "COUNT", "50"]).to_string();
        let mut words = reply.split('"').skip(1).step_by(2);
        cursor = words.next().expect("a cursor").to_owned();
        seen.extend(words.filter(|word| word.starts_with("stays:")).map(str::to_owned));
        for number in 0..100 {
            let goes = format!("goes:{}", step * 100 + number);
            client.call(&["ZADD", "z", "1", &goes]);
            if number % 3 == 0 {
                client.call(&["ZREM", "z", &goes]);
            }
        }
        step += 1;
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen.len(), 2000);
}

/// A sorted set of 300,000 members comes, is looked at in its middle, and goes, while other commands are answered.
#[test]
fn a_huge_sorted_set_goes_in_slices() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    for thousand in 0..300 {
        let mut words = vec![b"ZADD".to_vec(), b"huge".to_vec()];
        for number in thousand * 1000..(thousand + 1) * 1000 {
            words.push(number.to_string().into_bytes());
            words.push(format!("member:{number:09}").into_bytes());
        }
        client.call(&words);
    }
    assert_eq!(client.ask("ZRANGE huge 150000 150000").to_string(), r#"["member:000150000"]"#);
    let used = |client: &mut Client| {
        let info = client.ask("INFO memory").string();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).map(str::to_owned);
        line.expect("INFO tells it").parse::<u64>().expect("a number")
    };
    let full = used(&mut client);
    assert_eq!(client.ask("DEL huge").to_string(), "1");
    assert_eq!(client.ask("EXISTS huge").to_string(), "0");
    assert!(until(|| used(&mut client) < full / 4), "the memory is not given back");
}
