//! What a replica refuses and says of itself, beside a Redis replica of the same primary; promotion.

use super::{await_agreement, await_link, await_offset, field, to_follow};
use crate::harness::{Client, Server, Value, until};

const AT_ONCE: &[&str] = &["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];

/// A primary, and Torc and Redis as its replicas.
struct Three {
    primary: Server,
    torc: Server,
    redis: Server,
}

impl Three {
    fn start() -> Three {
        let primary = Server::newest_tcp("redis-server", AT_ONCE);
        let (torc, redis) = (Server::start(&["--workers", "2"]), Server::redis(&[]));
        Three { primary, torc, redis }
    }

    fn follow(&self) {
        for replica in [&self.torc, &self.redis] {
            assert!(!replica.client().ask(&to_follow(&self.primary)).is_error());
            await_link(replica);
            await_offset(&mut self.primary.client(), replica);
        }
    }

    /// Both replicas answer alike.
    #[track_caller]
    fn compare(&self, commands: &[&str]) {
        let (mut torc, mut redis) = (self.torc.client(), self.redis.client());
        for command in commands {
            assert_eq!(torc.ask(command), redis.ask(command), "{command}");
        }
    }

    /// Both have the same lines in INFO, with the same values where those say nothing of the one server.
    #[track_caller]
    fn compare_info(&self, state: &str) {
        const OWN: &[&str] = &["master_replid", "seconds", "repl_backlog", "disconnect_time", "attempts"];
        let shown = |client: &mut Client| {
            let text = client.ask("INFO replication").string();
            let own = |line: &str| OWN.iter().any(|own| line.contains(own));
            let name = |line: &str| line.split(':').next().unwrap_or_default().to_owned();
            text.lines().map(|line| if own(line) { name(line) } else { line.to_owned() }).collect::<Vec<_>>()
        };
        assert_eq!(shown(&mut self.torc.client()), shown(&mut self.redis.client()), "{state}");
    }
}

const REFUSED: &[&str] = &[
    "SET k v",
    "FLUSHALL",
    "GETEX k",
    "BLPOP list 0",
    "EXPIRE k 10",
    "SORT list STORE other",
    "XREADGROUP GROUP g c STREAMS s >",
    "PFADD p 1",
    "PFCOUNT p",
    "PUBLISH ch m",
    "SPUBLISH ch m",
    "GET k",
    "EXISTS k",
    "TTL k",
    "SELECT 1",
    "PING",
    "DBSIZE",
    "MULTI",
    "SET k v",
    "GET k",
    "EXEC",
    "MULTI",
    "GET k",
    "EXEC",
    "WATCH k",
    "ROLE",
    "REPLICAOF a b",
    "REPLICAOF 127.0.0.1 99999",
    "REPLICAOF one two three",
    "CONFIG GET replicaof",
    "CONFIG GET slaveof",
    "CONFIG SET replicaof 'no one'",
    "HELLO",
    "CLIENT KILL TYPE nosuch",
];

#[test]
fn replica_answers_as_redis_does() {
    let three = Three::start();
    three.primary.client().ask("SET k v");
    three.primary.client().ask("RPUSH list c a b");
    three.compare_info("a primary");
    three.follow();
    let to_compare: Vec<&str> = REFUSED.iter().copied().filter(|line| *line != "HELLO").collect();
    three.compare(&to_compare);
    three.compare_info("connected");
    let again = to_follow(&three.primary);
    three.compare(&[&again, &again.replace("REPLICAOF", "SLAVEOF")]);
    for replica in [&three.torc, &three.redis] {
        let mut client = replica.client();
        let lines = client.ask("CLIENT LIST TYPE MASTER").string();
        assert!(lines.lines().count() == 1 && lines.contains(" flags=M "), "{lines}");
        let hello = client.ask("HELLO").to_string();
        assert!(hello.contains("replica"), "{hello}");
    }
    // Writable replicas.
    for replica in [&three.torc, &three.redis] {
        replica.client().ask("CONFIG SET replica-read-only no");
    }
    three.compare(&["SET own 1", "GET own", "BLPOP list 1", "CONFIG GET replica-read-only"]);
    three.compare_info("writable");
    for replica in [&three.torc, &three.redis] {
        replica.client().ask("CONFIG SET replica-read-only yes");
        replica.client().ask("CONFIG SET replica-serve-stale-data no");
    }
    three.compare(&["GET own", "PING"]);
    let port = three.primary.tcp().port();
    let Three { primary, torc, redis } = three;
    drop(primary);
    let three = Three { primary: Server::newest_tcp("redis-server", &[]), torc, redis };
    for replica in [&three.torc, &three.redis] {
        let mut client = replica.client();
        assert!(until(|| field(&mut client, "replication", "master_link_status") == "down"));
        let state = || client.ask("ROLE").elements()[3].clone().string();
        assert!(until({
            let mut state = state;
            move || state() == "connect"
        }));
    }
    three.compare(&[
        "GET own",
        "PING",
        "SET own 1",
        "MULTI",
        "GET own",
        "EXEC",
        "SELECT 1",
        "CONFIG GET replica-serve-stale-data",
        &format!("REPLICAOF 127.0.0.1 {port}"),
        "SUBSCRIBE ch",
    ]);
    three.compare_info("down");
    three.compare(&["REPLICAOF NO ONE", "SLAVEOF no one", "GET own", "ROLE", "CONFIG GET replicaof"]);
    three.compare_info("promoted");
    three.compare(&["SET own 2", "GET own"]);
}

/// The data of a promoted replica is a history of its own, which continues that of its primary; a server that follows another
/// afterwards has its data, even where both have come equally far.
#[test]
fn promoted_replica_has_a_history_of_its_own() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let replica = Server::start(&["--enable-debug-command", "yes"]);
    let (mut theirs, mut ours) = (primary.client(), replica.client());
    ours.ask(&to_follow(&primary));
    await_link(&replica);
    theirs.ask("SET k 1");
    await_offset(&mut theirs, &replica);
    let (id, offset) = (
        field(&mut theirs, "replication", "master_replid"),
        field(&mut ours, "replication", "slave_repl_offset").parse::<i64>().expect("a number"),
    );
    assert_eq!(field(&mut ours, "replication", "master_replid"), id);
    assert_eq!(ours.ask("REPLICAOF NO ONE"), Value::Simple(b"OK".to_vec()));
    assert_eq!(field(&mut ours, "replication", "role"), "master");
    assert_ne!(field(&mut ours, "replication", "master_replid"), id);
    assert_eq!(field(&mut ours, "replication", "master_replid2"), id);
    assert_eq!(field(&mut ours, "replication", "second_repl_offset"), (offset + 1).to_string());
    ours.ask("SET k 222");
    theirs.ask("SET k 111");
    assert!(until(|| number_of_replicas(&mut theirs) == 0));
    ours.ask(&to_follow(&primary));
    await_link(&replica);
    await_agreement(&mut theirs, &replica, "followed again");
    assert_eq!(ours.ask("GET k").int(), Some(111));
}

fn number_of_replicas(client: &mut Client) -> i64 {
    super::number(client, "replication", "connected_slaves")
}

/// Who waits for a key of a server that becomes a replica is told so and closed, as in Redis.
#[test]
fn clients_that_wait_are_let_go_when_the_role_changes() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let mut ends = Vec::new();
    for server in [Server::start(&["--workers", "3"]), Server::redis(&[])] {
        let mut waits: Vec<Client> = (0..4).map(|_| server.client()).collect();
        waits.iter_mut().for_each(|client| client.send(&["BLPOP", "list", "0"]).expect("it is sent"));
        let mut client = server.client();
        assert!(until(|| super::number(&mut client, "clients", "blocked_clients") == 4));
        client.ask(&to_follow(&primary));
        let last_replies = waits.iter_mut().map(|client| {
            let (bytes, _) = client.read_to_end();
            String::from_utf8_lossy(&bytes).into_owned()
        });
        ends.push(last_replies.collect::<Vec<_>>());
    }
    assert_eq!(ends[0], ends[1]);
}

/// The role is part of the configuration: it is written, and a start from that file follows.
#[test]
fn role_survives_in_the_configuration() {
    let primary = Server::newest_tcp("redis-server", AT_ONCE);
    let server = Server::with_file(crate::harness::TORC, "workers 1\n", &[]);
    let mut client = server.client();
    client.ask(&to_follow(&primary));
    await_link(&server);
    client.ask("CONFIG REWRITE");
    let text = std::fs::read_to_string(server.config_file()).expect("it is there");
    assert!(text.contains(&format!("replicaof 127.0.0.1 {}\n", primary.tcp().port())), "{text}");
    let again = Server::with_file(crate::harness::TORC, &text, &[]);
    await_link(&again);
    client.ask("REPLICAOF NO ONE");
    client.ask("CONFIG REWRITE");
    let text = std::fs::read_to_string(server.config_file()).expect("it is there");
    assert!(!text.contains("replicaof"), "{text}");
}

/// A password, and a user with one.
#[test]
fn replica_authenticates() {
    let primary = Server::newest_tcp("redis-server", &[AT_ONCE, &["--requirepass", "word"]].concat());
    let replica = Server::start(&["--enable-debug-command", "yes"]);
    let (mut theirs, mut ours) = (primary.client(), replica.client());
    theirs.ask("AUTH word");
    theirs.ask("ACL SETUSER follower on >other +psync +replconf +ping");
    theirs.ask("SET k 1");
    ours.ask(&to_follow(&primary));
    assert!(until(|| replica.log().contains("NOAUTH")), "{}", replica.log());
    ours.ask("CONFIG SET masterauth word");
    await_link(&replica);
    ours.ask("REPLICAOF NO ONE");
    ours.ask("CONFIG SET masteruser follower masterauth wrong");
    ours.ask(&to_follow(&primary));
    assert!(until(|| replica.log().contains("WRONGPASS")), "{}", replica.log());
    ours.ask("CONFIG SET masterauth other");
    await_link(&replica);
    await_agreement(&mut theirs, &replica, "authenticated");
}
