//! Sets of Torc and of Redis: what one dumps the other restores; huge sets; how evenly members are picked.

use std::collections::{HashMap, HashSet};

use crate::harness::{Client, Rng, Server, Value, until};

/// What ends a dump: the version of the format, and a checksum.
const VERSION_AND_SUM_BYTES: usize = 10;

fn words(list: &[&str]) -> Vec<Vec<u8>> {
    list.iter().map(|word| word.as_bytes().to_vec()).collect()
}

fn add(client: &mut Client, key: &str, members: impl Iterator<Item = Vec<u8>>) {
    let mut command = words(&["SADD", key]);
    command.extend(members);
    client.call(&command);
}

/// A member: a number of any width, a word, or one that is too long for a listpack.
fn member(rng: &mut Rng, kind: usize) -> Vec<u8> {
    match (kind, rng.below(8)) {
        (0, _) | (1, 0..3) => ((rng.next() as i64) >> rng.below(64)).to_string().into_bytes(),
        (2, 0) => vec![b'a' + rng.below(26) as u8; 60 + rng.below(300)],
        _ => rng.next().to_string().into_bytes()[..1 + rng.below(8)].repeat(1 + rng.below(2)),
    }
}

/// Integers, words, and both, of every encoding, made on either server in the same way. What has an order is dumped in the same
/// bytes, but for the version, which Torc keeps as low as can be.
#[test]
fn sets_are_exchanged_with_redis() {
    let arguments = ["--enable-debug-command", "yes", "--rdbcompression", "no"];
    let torc = Server::start(&[&["--workers", "1"], &arguments[..]].concat());
    let redis = Server::redis(&arguments);
    let (mut torc, mut redis) = (torc.client(), redis.client());
    let mut rng = Rng(3);
    for number in 0..60 {
        let key = format!("set:{number}");
        let count = if number % 4 == 0 { 1 + rng.below(700) } else { 1 + rng.below(100) };
        for _ in 0..count {
            let member = member(&mut rng, number % 3);
            for client in [&mut torc, &mut redis] {
                client.call(&[b"SADD", key.as_bytes(), &member]);
            }
        }
        let both = |torc: &mut Client, redis: &mut Client, command: &[&str]| {
            (torc.call(&words(command)), redis.call(&words(command)))
        };
        let (ours, theirs) = both(&mut torc, &mut redis, &["OBJECT", "ENCODING", &key]);
        assert_eq!(ours, theirs, "{key}");
        let (our_dump, their_dump) = both(&mut torc, &mut redis, &["DUMP", &key]);
        if ours.text() != b"hashtable" {
            let payload = |dump: &Value| dump.text()[..dump.text().len() - VERSION_AND_SUM_BYTES].to_vec();
            assert!(payload(&our_dump) == payload(&their_dump), "{key}");
        }
        // Each takes the other's.
        for (to, dump) in [(&mut redis, &our_dump), (&mut torc, &their_dump)] {
            let reply = to.call(&[b"RESTORE", key.as_bytes(), b"0", dump.text(), b"REPLACE"]);
            assert_eq!(reply.to_string(), "+\"OK\"", "{key}");
        }
        let (ours, theirs) = both(&mut torc, &mut redis, &["OBJECT", "ENCODING", &key]);
        assert_eq!(ours, theirs, "{key}");
        let (ours, theirs) = both(&mut torc, &mut redis, &["DEBUG", "DIGEST-VALUE", &key]);
        assert_eq!(ours, theirs, "{key}");
    }
    assert_eq!(torc.ask("DEBUG DIGEST"), redis.ask("DEBUG DIGEST"));
}

/// A set of 300,000 members comes, is thinned out, and goes, while other commands are answered.
#[test]
fn a_huge_set_goes_in_slices() {
    let server = Server::start(&["--workers", "2"]);
    let mut client = server.client();
    for first in 0..300 {
        add(&mut client, "huge", (0..1000).map(|number| format!("member:{first}:{number}").into_bytes()));
    }
    assert_eq!(client.ask("SCARD huge").to_string(), "300000");
    assert_eq!(client.ask("SISMEMBER huge member:299:999").to_string(), "1");
    let popped = client.ask("SPOP huge 1000").elements().len();
    assert_eq!((popped, client.ask("SCARD huge").to_string()), (1000, "299000".to_owned()));
    let used = |client: &mut Client| {
        let info = client.ask("INFO memory").string();
        let line = info.lines().find_map(|line| line.strip_prefix("used_memory:")).map(str::to_owned);
        line.expect("INFO tells it").parse::<u64>().expect("a number")
    };
    let full = used(&mut client);
    assert_eq!(client.ask("SUNIONSTORE huge missing").to_string(), "0");
    assert_eq!(client.ask("EXISTS huge").to_string(), "0");
    assert!(until(|| used(&mut client) < full / 2), "the memory is not given back");
}

/// Members come and go between the calls of a scan; those that stay are all returned.
#[test]
fn sscan_of_a_set_that_changes_returns_what_stays() {
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    let stays: HashSet<Vec<u8>> = (0..200).map(|number| format!("stays:{number}").into_bytes()).collect();
    add(&mut client, "s", stays.iter().cloned());
    let (mut cursor, mut seen, mut rng) = ("0".to_owned(), HashSet::new(), Rng(5));
    loop {
        let first = rng.below(2000);
        let comes = rng.once_in(2);
        let mut change = words(&[if comes { "SADD" } else { "SREM" }, "s"]);
        change.extend((first..first + 1000).map(|number| format!("comes:{number}").into_bytes()));
        client.call(&change);
        let reply = client.ask(&format!("SSCAN s {cursor} COUNT 20")).elements();
        seen.extend(reply[1].clone().elements().iter().map(|member| member.text().to_vec()));
        cursor = reply[0].string();
        if cursor == "0" {
            break;
        }
    }
    assert!(stays.is_subset(&seen));
    // A cursor that no call has given.
    assert_eq!(client.ask("SSCAN s 18446744073709551615").elements()[0].string(), "0");
}

/// SPOP and SRANDMEMBER pick each member as often, whichever encoding (chi-square, beyond five standard deviations).
#[test]
fn members_are_picked_evenly() {
    const DRAWS: usize = 4000;
    let server = Server::start(&["--workers", "1"]);
    let mut client = server.client();
    for (key, count, prefix) in [("ints", 20, ""), ("pack", 20, "w"), ("table", 200, "word:")] {
        add(&mut client, key, (0..count).map(|number| format!("{prefix}{number}").into_bytes()));
        for (picks, command) in [
            (1, format!("SRANDMEMBER {key}")),
            (3, format!("SRANDMEMBER {key} 3")),
            (7, format!("SRANDMEMBER {key} -7")),
            (15, format!("SRANDMEMBER {key} 15")),
            (1, format!("SPOP {key}")),
            (2, format!("SPOP {key} 2")),
        ] {
            let mut seen: HashMap<Vec<u8>, f64> = HashMap::new();
            for _ in 0..DRAWS / picks {
                let picked = match client.ask(&command) {
                    Value::Bulk(one) => vec![Value::Bulk(one)],
                    several => several.elements(),
                };
                assert_eq!(picked.len(), picks);
                let back: Vec<Vec<u8>> = picked.iter().map(|member| member.text().to_vec()).collect();
                if command.starts_with("SPOP") {
                    add(&mut client, key, back.iter().cloned());
                }
                back.into_iter().for_each(|member| *seen.entry(member).or_default() += 1.0);
            }
            let expected = (DRAWS / picks * picks) as f64 / count as f64;
            let chi: f64 = seen.values().map(|times| (times - expected).powi(2) / expected).sum();
            let missed = (count - seen.len()) as f64 * expected;
            let (degrees, sigma) = (count as f64 - 1.0, (2.0 * (count as f64 - 1.0)).sqrt());
            assert!(chi + missed < degrees + 5.0 * sigma, "{command}: chi-square {chi} of {degrees}");
        }
    }
}
