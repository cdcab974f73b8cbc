//! Primaries that no honest server is: nothing they send ends the replica, keeps it from answering, or leaves half of a snapshot.

use super::fake::{Fake, ID};
use super::{field, number};
use crate::harness::{Rng, Server, TempDir, command, until};

/// A snapshot with keys of several types.
fn snapshot() -> Vec<u8> {
    let dir = TempDir::new();
    let path = dir.path().to_string_lossy().into_owned();
    let server = Server::start(&["--dir", &path, "--enable-debug-command", "yes"]);
    let mut client = server.client();
    client.ask("DEBUG POPULATE 3000");
    client.ask("RPUSH list a b c");
    client.ask("HSET hash a 1 b 2");
    client.ask("SAVE");
    std::fs::read(dir.path().join("dump.rdb")).expect("it was saved")
}

fn start() -> Server {
    Server::start(&["--workers", "2", "--repl-timeout", "5"])
}

/// Half of a snapshot leaves nothing, and is not continued: the next question is for a whole one.
#[test]
fn broken_snapshot_leaves_no_part_of_itself() {
    let (fake, whole) = (Fake::new(), snapshot());
    let server = start();
    let mut client = server.client();
    client.ask("SET own 1");
    client.ask(&fake.to_follow("127.0.0.1"));
    // One that ends in the middle is not even begun to be loaded.
    let mut follower = fake.accept();
    let asked = follower.introduce().expect("it asks");
    assert_ne!(asked[1], "?", "it offers its own history");
    let head = format!("+FULLRESYNC {ID} 7\r\n${}\r\n", whole.len());
    follower.say(head.as_bytes());
    follower.say(&whole[..whole.len() / 2]);
    drop(follower);
    let mut follower = fake.accept();
    follower.introduce().expect("it asks again");
    assert_eq!(client.ask("GET own").int(), Some(1));
    // One whose second half is damaged.
    let mut damaged = whole.clone();
    let half = damaged.len() / 2;
    damaged[half..half + 2000].fill(0xff);
    follower.send_snapshot(7, &damaged);
    let mut follower = fake.accept();
    let asked = follower.introduce().expect("it asks once more");
    assert_eq!(asked[1..], ["?", "-1"], "nothing is there to be continued");
    assert_eq!(client.ask("DBSIZE").int(), Some(0));
    // What was not asked for is not believed.
    follower.say(b"+CONTINUE\r\n");
    let mut follower = fake.accept();
    assert_eq!(follower.introduce().expect("it asks")[1..], ["?", "-1"]);
    follower.send_snapshot(7, &whole);
    assert_eq!(follower.acknowledged(), Some(7));
    follower.say(&command(&["SET", "stream", "1"]));
    assert!(until(|| client.ask("GET stream").int() == Some(1)));
    assert_eq!(client.ask("DBSIZE").int(), Some(3003));
}

/// The offset counts bytes, whatever they are, and a transaction as a whole; GETACK is answered at once.
#[test]
fn offset_counts_every_byte() {
    let (fake, whole) = (Fake::new(), snapshot());
    let server = start();
    let mut client = server.client();
    client.ask(&fake.to_follow("127.0.0.1"));
    let mut follower = fake.accept();
    follower.introduce().expect("it asks");
    follower.send_snapshot(100, &whole);
    assert_eq!(follower.acknowledged(), Some(100));
    let mut sent = 100;
    let ask = command(&["REPLCONF", "GETACK", "*"]);
    let mut say = |follower: &mut super::fake::Follower, bytes: &[u8]| {
        sent += bytes.len() as u64;
        follower.say(bytes);
        sent
    };
    say(&mut follower, &command(&["SET", "k", "v"]));
    say(&mut follower, b"\n\r\n");
    say(&mut follower, &command(&["PING"]));
    let end = say(&mut follower, &ask);
    assert_eq!(until_acknowledged(&mut follower, end), end);
    // Half a command, and half a transaction, do not count.
    let set = command(&["SET", "k", "another value"]);
    let before = end;
    say(&mut follower, &set[..10]);
    assert_eq!(follower.acknowledged(), Some(before));
    let before = say(&mut follower, &set[10..]);
    assert_eq!(until_acknowledged(&mut follower, before), before);
    say(&mut follower, &command(&["MULTI"]));
    say(&mut follower, &command(&["SET", "in", "1"]));
    assert_eq!(follower.acknowledged(), Some(before));
    drop(follower);
    // A link that ends there goes on before the transaction.
    let mut follower = fake.accept();
    let asked = follower.introduce().expect("it asks again");
    assert_eq!(asked[1..], [ID.to_owned(), (before + 1).to_string()]);
    assert_eq!(client.ask("EXISTS in").int(), Some(0));
    let other = "f".repeat(40);
    follower.say(format!("+CONTINUE {other}\r\n").as_bytes());
    assert_eq!(follower.acknowledged(), Some(before));
    let transaction = ["MULTI", "SET in 1", "INCR in", "EXEC"];
    let bytes: Vec<u8> =
        transaction.iter().flat_map(|line| command(&line.split(' ').collect::<Vec<_>>())).collect();
    let end = before + bytes.len() as u64;
    follower.say(&bytes);
    assert_eq!(until_acknowledged(&mut follower, end), end);
    assert_eq!(client.ask("GET in").int(), Some(2));
    assert_eq!(field(&mut client, "replication", "master_replid"), other);
    assert_eq!(field(&mut client, "replication", "master_replid2"), ID);
    assert_eq!(number(&mut client, "replication", "second_repl_offset"), before as i64 + 1);
}

/// Waits for the acknowledgement of this offset, which others may come before; what came last.
fn until_acknowledged(follower: &mut super::fake::Follower, offset: u64) -> u64 {
    let mut last = 0;
    assert!(until(|| {
        last = follower.acknowledged().expect("it is connected");
        last >= offset
    }));
    last
}

/// What is no command of a stream changes nothing and ends nothing.
#[test]
fn stream_runs_only_what_is_replicated() {
    let (fake, whole) = (Fake::new(), snapshot());
    let mut server = start();
    let mut client = server.client();
    client.ask(&fake.to_follow("127.0.0.1"));
    let mut follower = fake.accept();
    follower.introduce().expect("it asks");
    follower.send_snapshot(0, &whole);
    follower.acknowledged().expect("it has loaded");
    let lines = [
        "SHUTDOWN NOSAVE",
        "CONFIG SET port 1",
        "REPLICAOF NO ONE",
        "QUIT",
        "RESET",
        "MONITOR",
        "SUBSCRIBE a",
        "CLIENT KILL TYPE normal",
        "DEBUG SLEEP 1000",
        "NOSUCH a b",
        "SET too few many arguments here",
        "BLPOP none 0",
        "LPUSH key:1 wrong",
        "EXEC",
        "WAIT 1 0",
        "SAVE",
        "GET key:1",
        "KEYS *",
        "MULTI",
        "NOSUCH",
        "SHUTDOWN",
        "EXEC",
        "REPLCONF",
        "REPLCONF nosuch",
        "SET last 1",
    ];
    for line in lines {
        follower.say(&command(&line.split(' ').collect::<Vec<_>>()));
    }
    assert!(until(|| client.ask("GET last").int() == Some(1)), "{}", server.log());
    assert!(number(&mut client, "stats", "unexpected_error_replies") > 10);
    assert_eq!(field(&mut client, "replication", "role"), "slave");
    server.check_alive();
}

/// A primary that says nothing is given up after `repl-timeout`.
#[test]
fn silent_primary_is_given_up() {
    let (fake, whole) = (Fake::new(), snapshot());
    let server = Server::start(&["--repl-timeout", "1"]);
    let mut client = server.client();
    client.ask(&fake.to_follow("127.0.0.1"));
    let silent = fake.accept();
    let mut follower = fake.accept();
    follower.introduce().expect("it asks");
    follower.say(format!("+FULLRESYNC {ID} 0\r\n$100000\r\nREDIS").as_bytes());
    let mut again = fake.accept();
    again.introduce().expect("it asks");
    again.send_snapshot(0, &whole);
    again.acknowledged().expect("it has loaded");
    let mut last = fake.accept();
    assert_eq!(last.introduce().expect("it asks")[1], ID);
    drop((silent, follower, again));
    assert_eq!(field(&mut client, "replication", "role"), "slave");
}

/// Random handshakes, snapshots and streams, cut anywhere; the role changes in between.
#[test]
fn random_primaries_neither_end_nor_hang_the_replica() {
    const ROUNDS: usize = 60;
    let (fake, whole, mut rng) = (Fake::new(), snapshot(), Rng(5));
    let mut server = start();
    let mut client = server.client();
    for round in 0..ROUNDS {
        // Another name is another primary, which is connected to at once.
        client.ask(&fake.to_follow(if round % 2 == 0 { "127.0.0.1" } else { "localhost" }));
        let mut follower = fake.accept();
        if rng.once_in(4) {
            follower.say(&garbage(&mut rng));
        } else if follower.introduce().is_some() {
            misbehave(&mut follower, &whole, &mut rng);
        }
        if !rng.once_in(4) {
            follower.end();
        }
        drop(follower);
        if rng.once_in(5) {
            // It may be loading just then.
            client.ask("REPLICAOF NO ONE");
        }
        let answer = client.ask("PING").string();
        assert!(answer == "PONG" || answer.starts_with("LOADING"), "{answer}");
    }
    assert!(until(|| client.ask("REPLICAOF NO ONE").string() == "OK"));
    assert_eq!(client.ask("SET alive 1").string(), "OK", "{}", server.log());
    server.check_alive();
}

/// Whether the replica has listened to the end, which it need not.
fn misbehave(follower: &mut super::fake::Follower, whole: &[u8], rng: &mut Rng) -> bool {
    match rng.below(7) {
        0 => follower.say(&garbage(rng)),
        1 => follower.say(b"+CONTINUE\r\n") && follower.say(&garbage(rng)),
        2 => follower.say(b"-NOMASTERLINK Can't SYNC while not connected with my master\r\n"),
        3 => {
            // A bulk without end.
            follower.send_snapshot(5, whole);
            let mut more = follower.say(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$2000000000\r\n");
            for _ in 0..rng.below(50) {
                more = more && follower.say(&[b'x'; 10_000]);
            }
            more
        }
        4 => {
            let mut damaged = whole.to_vec();
            for _ in 0..=rng.below(20) {
                let at = rng.below(damaged.len());
                damaged[at] = rng.next() as u8;
            }
            follower.send_snapshot(5, &damaged)
        }
        5 => {
            let end = rng.below(whole.len());
            let head = format!("+FULLRESYNC {ID} 5\r\n$EOF:{ID}\r\n");
            follower.say(head.as_bytes()) && follower.say(&whole[..end])
        }
        _ => {
            follower.send_snapshot(5, whole);
            let commands: [&[&str]; 5] =
                [&["SET", "k", "v"], &["MULTI"], &["INCR", "n"], &["EXEC"], &["SELECT", "3"]];
            let mut bytes: Vec<u8> = (0..200).flat_map(|_| command(commands[rng.below(5)])).collect();
            let at = rng.below(bytes.len());
            bytes[at] = rng.next() as u8;
            follower.say(&bytes)
        }
    }
}

fn garbage(rng: &mut Rng) -> Vec<u8> {
    let alphabet = b"*$+-:\r\n0123456789 EOFULRSYNC\0\xff";
    (0..rng.below(3000)).map(|_| *rng.pick(alphabet)).collect()
}
