//! Snapshots through a connection of their own, while the stream goes through the first: from and to Redis 8.2, Valkey 9.1, Torc.

use super::pair::{await_link, check_same, field, number, primary, while_writing};
use crate::harness::{Client, Server, Value, until};

const REDIS: &str = "redis-server";
const VALKEY: &str = "valkey-server";
const TORC: &str = "torc";

/// Each with each that can.
const PAIRS: &[(&str, &str)] = &[(TORC, REDIS), (TORC, VALKEY), (TORC, TORC), (REDIS, TORC), (VALKEY, TORC)];

/// Keys that there are before, and how long the primary takes for each, in us.
const KEYS: usize = 400;
const KEY_DELAY_US: &str = "1500";

fn directive(program: &str) -> &'static str {
    if program == VALKEY { "--dual-channel-replication-enabled" } else { "--repl-rdb-channel" }
}

fn start_primary(program: &str) -> Server {
    let delays = ["--rdb-key-save-delay", KEY_DELAY_US, directive(program), "yes"];
    let server = match program {
        TORC => primary(&[&["--workers", "2"], &delays[..]].concat()),
        _ => {
            let own = ["--enable-debug-command", "yes", "--repl-diskless-sync-delay", "0"];
            Server::newest_tcp(program, &[&own[..], &delays].concat())
        }
    };
    let populated = server.client().ask(&format!("DEBUG POPULATE {KEYS} key 100"));
    assert_eq!(populated, Value::Simple(b"OK".to_vec()));
    server
}

fn start_replica(program: &str, of: &Server, more: &[&str]) -> Server {
    let (ip, port) = (of.tcp().ip().to_string(), of.tcp().port().to_string());
    let own = ["--replicaof", &ip, &port, "--enable-debug-command", "yes", "--repl-timeout", "10"];
    let args = [&own[..], &[directive(program), "yes"], more].concat();
    match program {
        TORC => Server::start_tcp(&args),
        _ => Server::newest_tcp(program, &args),
    }
}

/// The numbers of a primary's clients that are replicas' connections: first ones and channels, as they came.
fn connections(client: &mut Client) -> Vec<u64> {
    let list = client.ask("CLIENT LIST").string();
    let words = |line: &str, name: &str| {
        line.split(' ').find_map(|word| word.strip_prefix(name)).unwrap_or_default().to_owned()
    };
    let replicas = list.lines().filter(|line| words(line, "flags=").contains('S'));
    replicas.map(|line| words(line, "id=").parse().expect("a number")).collect()
}

fn await_both(server: &Server, follower: &Server) -> Vec<u64> {
    let (mut client, mut both) = (server.client(), Vec::new());
    let are_there = until(|| {
        both = connections(&mut client);
        both.len() == 2
    });
    assert!(are_there, "primary:\n{}\nreplica:\n{}", server.log(), follower.log());
    both
}

#[test]
fn snapshot_comes_beside_the_stream() {
    for &(from, to) in PAIRS {
        let server = start_primary(from);
        let mut follower = None;
        while_writing(&server, 2, || {
            let replica = follower.insert(start_replica(to, &server, &[]));
            await_both(&server, replica);
            if from == TORC {
                let mut client = server.client();
                let state = field(&mut client, "replication", "slave0");
                assert!(state.contains("state=send_bulk_and_stream"), "{from}, {to}: {state}");
                assert_eq!(number(&mut client, "replication", "connected_slaves"), 1);
            }
            await_link(replica);
        });
        let replica = follower.expect("it was started");
        check_same(&server, &replica);
        let mut client = server.client();
        assert_eq!(number(&mut client, "stats", "sync_full"), 1, "{from}, {to}: {}", server.log());
        assert_eq!(connections(&mut client).len(), 1, "{from}, {to}");
        if to == TORC {
            let mut client = replica.client();
            assert!(number(&mut client, "replication", "replica_full_sync_buffer_peak") > 0, "{from}, {to}");
            assert_eq!(number(&mut client, "replication", "replica_full_sync_buffer_size"), 0);
        }
        if from == TORC {
            let is_online = until(|| field(&mut client, "replication", "slave0").contains("state=online"));
            assert!(is_online, "{from}, {to}");
            assert_eq!(client.ask("WAIT 1 5000"), Value::Int(1), "{from}, {to}");
        }
    }
}

/// Either connection may be cut while the snapshot is under way: both end, and the replica comes again.
#[test]
fn cut_of_either_connection_begins_again() {
    for &(from, to) in PAIRS {
        let server = start_primary(from);
        let mut follower = None;
        while_writing(&server, 1, || {
            let replica = follower.insert(start_replica(to, &server, &[]));
            for which in [0, 1] {
                let both = await_both(&server, replica);
                let mut client = server.client();
                client.ask(&format!("CLIENT KILL ID {}", both[which]));
                let are_gone = until(|| {
                    let now = connections(&mut client);
                    both.iter().all(|id| !now.contains(id))
                });
                assert!(are_gone, "{from}, {to}, {which}: {}\n{}", server.log(), replica.log());
            }
            await_link(replica);
        });
        check_same(&server, &follower.expect("it was started"));
    }
}

/// What the replica keeps has a limit, beyond which the primary keeps it.
#[test]
fn kept_stream_has_a_limit() {
    let limit = 100_000;
    let text = limit.to_string();
    for from in [REDIS, TORC] {
        let server = start_primary(from);
        let replica = start_replica(TORC, &server, &["--replica-full-sync-buffer-limit", &text]);
        await_both(&server, &replica);
        let (mut client, value) = (server.client(), "v".repeat(20_000));
        for count in 0..100 {
            client.call(&["SET", &format!("big{count}"), &value]);
        }
        await_link(&replica);
        check_same(&server, &replica);
        let peak = number(&mut replica.client(), "replication", "replica_full_sync_buffer_peak");
        // What one read brings may go beyond.
        assert!((limit..limit + (64 << 10)).contains(&peak), "{peak} of {limit} bytes");
    }
}

/// Neither side uses a channel that the other does not want.
#[test]
fn channel_that_is_not_wanted_is_not_used() {
    for (ours, theirs) in [("yes", "no"), ("no", "yes")] {
        let server = start_primary(TORC);
        server.client().ask(&format!("CONFIG SET repl-rdb-channel {ours}"));
        let (ip, port) = (server.tcp().ip().to_string(), server.tcp().port().to_string());
        let args = ["--replicaof", &ip, &port, "--repl-rdb-channel", theirs, "--enable-debug-command", "yes"];
        let replica = Server::start_tcp(&args);
        await_link(&replica);
        check_same(&server, &replica);
        assert_eq!(number(&mut replica.client(), "replication", "replica_full_sync_buffer_peak"), 0);
    }
}

#[test]
fn words_about_channels_are_those_of_redis_and_valkey() {
    let server = primary(&[]);
    let mut client = server.client();
    let error = |text: &str| Value::Error(text.as_bytes().to_vec());
    let unknown = client.ask("REPLCONF rdb-channel 1 main-ch-client-id 999");
    assert_eq!(unknown, error("ERR Unrecognized RDB client id: 999"));
    assert_eq!(client.ask("REPLCONF set-rdb-client-id 999"), error("ERR Unrecognized RDB client id 999"));
    let range = error("ERR value is out of range, value must between 0 and 1");
    assert_eq!(client.ask("REPLCONF rdb-channel 2"), range);
    let number = error("ERR value is not an integer or out of range");
    assert_eq!(client.ask("REPLCONF main-ch-client-id x"), number);
    let mut client = server.client();
    client.ask("REPLCONF capa eof capa psync2 capa rdb-channel-repl");
    let id = client.ask("CLIENT ID").to_string();
    let Value::Simple(offered) = client.ask("PSYNC ? -1") else { panic!("it is offered") };
    assert_eq!(String::from_utf8_lossy(&offered), format!("RDBCHANNELSYNC {}", id.trim_start_matches(':')));
    let mut other = server.client();
    let state = field(&mut other, "replication", "slave0");
    assert!(state.contains("state=wait_bgsave"), "{state}");
    let mut client = server.client();
    client.ask("REPLCONF capa eof capa psync2 capa dual-channel");
    assert_eq!(client.ask("PSYNC ? -1"), Value::Simple(b"DUALCHANNELSYNC".to_vec()));
}
