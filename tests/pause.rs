//! CLIENT PAUSE and whatever else changes how others' commands run: in force for all workers once it is answered.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::harness::{Client, Rng, Server, Value, command, pause_ms, split, until};

/// Elements of a list that takes long to sort, but not minutes.
const ELEMENTS: usize = 20_000;
/// How often two clients meet.
const MEETINGS: usize = 25;

/// How often commands of this name have run.
fn calls(client: &mut Client, name: &str) -> u64 {
    let text = client.ask("INFO commandstats").string();
    let prefix = format!("cmdstat_{name}:calls=");
    let line = text.lines().find_map(|line| line.strip_prefix(&prefix));
    line.map_or(0, |line| line.split(',').next().and_then(|calls| calls.parse().ok()).expect("a number"))
}

/// A list that takes long to sort.
fn make_list(client: &mut Client, key: &str) {
    let mut rng = Rng(1);
    let elements = (0..ELEMENTS).map(|_| rng.below(1_000_000).to_string());
    let words: Vec<String> = ["RPUSH".to_owned(), key.to_owned()].into_iter().chain(elements).collect();
    assert_eq!(client.call(&words).int(), Some(ELEMENTS as i64));
}

/// A command that one worker had begun went on and wrote after another had said OK to a pause of writes.
#[test]
fn no_write_ends_after_pause_is_answered() {
    let server = Server::start(&["--workers", "3"]);
    let (mut pauser, mut looks) = (server.client(), server.client());
    make_list(&mut pauser, "list");
    let mut writers: Vec<Client> = (0..2).map(|_| server.client()).collect();
    let (mut rng, mut began) = (Rng(3), 0);
    for meeting in 0..MEETINGS {
        for (number, writer) in writers.iter_mut().enumerate() {
            let target = format!("sorted:{number}");
            writer.send(&["SORT", "list", "STORE", &target]).expect("it is taken");
        }
        // They get a little or a large part of the way.
        (0..rng.below(60)).for_each(|_| drop(looks.ask("PING")));
        assert_eq!(pauser.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
        let at_once = calls(&mut looks, "sort");
        began += at_once;
        // Whoever has not been answered by now waits for the end of the pause.
        let settled = until(|| {
            let text = looks.ask("INFO clients").string();
            let blocked = text.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
            let blocked: u64 = blocked.and_then(|count| count.trim().parse().ok()).expect("a number");
            blocked + calls(&mut looks, "sort") == 2 * (meeting as u64 + 1)
        });
        assert!(settled, "{}", looks.ask("INFO all").string());
        assert_eq!(calls(&mut looks, "sort"), at_once, "a write ended during the pause");
        assert_eq!(pauser.ask("CLIENT UNPAUSE").string(), "OK");
        for writer in &mut writers {
            assert_eq!(writer.read().expect("a reply").int(), Some(ELEMENTS as i64));
        }
    }
    assert!(began > 0, "no write had begun before any pause");
}

/// Writers that do not stop by themselves, on all workers, must not keep whoever pauses waiting, nor write afterwards.
#[test]
fn pause_among_busy_writers_is_answered_and_holds() {
    let server = Server::start(&["--workers", "3"]);
    let (mut pauser, stop) = (server.client(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..3 {
            let (mut client, stop) = (server.client(), &stop);
            scope.spawn(move || {
                let key = format!("k{number}");
                let bytes = command(&["INCR", &key]).repeat(50);
                while !stop.load(Relaxed) {
                    client.send_raw(&bytes).expect("it is taken");
                    (0..50).for_each(|_| drop(client.read().expect("a reply")));
                }
            });
        }
        let values =
            |client: &mut Client| client.ask("MGET k0 k1 k2").elements().iter().map(Value::string).collect();
        for _ in 0..MEETINGS {
            assert_eq!(pauser.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
            let before: Vec<String> = values(&mut pauser);
            assert!(until(|| pauser.ask("INFO clients").string().contains("blocked_clients:3\r\n")));
            assert_eq!(values(&mut pauser), before);
            assert_eq!(pauser.ask("CLIENT UNPAUSE").string(), "OK");
        }
        stop.store(true, Relaxed);
    });
}

/// As in Redis: a key whose time comes is absent, but stays until the pause is over. It was removed.
#[test]
fn nothing_expires_during_pause() {
    for server in [
        Server::start(&["--workers", "1"]),
        Server::start(&["--workers", "3"]),
        Server::newest("redis-server", &[]),
    ] {
        let (mut client, mut writer) = (server.client(), server.client());
        client.ask("SET gone 1 PX 20");
        client.ask("RPUSH list 1");
        client.ask("PEXPIRE list 20");
        client.ask("SET watched 1 PX 20");
        let mut watcher = server.client();
        watcher.ask("WATCH watched");
        assert_eq!(client.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
        assert!(until(|| client.ask("EXISTS gone list watched").int() == Some(0)));
        assert!(client.ask("GET gone").is_null());
        assert_eq!(client.ask("LLEN list").int(), Some(0));
        assert_eq!(client.ask("TTL gone").int(), Some(-2));
        assert_eq!(client.ask("TYPE list").string(), "none");
        assert!(client.ask("KEYS *").elements().is_empty());
        assert_eq!(client.ask("SCAN 0 COUNT 1000").elements()[1].elements().len(), 0);
        // With nothing else to name, Redis names what it may not remove.
        assert!(["gone", "list", "watched"].contains(&&*client.ask("RANDOMKEY").string()));
        let commands: Vec<u8> =
            ["MULTI", "GET other", "EXEC"].iter().flat_map(|text| command(&split(text))).collect();
        watcher.send_raw(&commands).expect("it is taken");
        let replies: Vec<Value> = (0..3).map(|_| watcher.read().expect("a reply")).collect();
        assert!(replies[2].is_null(), "what it watches has expired");
        // Longer than any worker's cron leaves alone.
        let statistics = |client: &mut Client| client.ask("INFO stats").string();
        for _ in 0..20 {
            pause_ms(10);
            assert!(statistics(&mut client).contains("expired_keys:0\r\n"));
        }
        assert_eq!(client.ask("DBSIZE").int(), Some(3));
        writer.send(&["SET", "gone", "2", "KEEPTTL", "GET"]).expect("it is taken");
        assert_eq!(client.ask("CLIENT UNPAUSE").string(), "OK");
        assert!(writer.read().expect("a reply").is_null());
        assert_eq!(client.ask("TTL gone").int(), Some(-1));
        assert!(until(|| client.ask("DBSIZE").int() == Some(1)));
        assert!(statistics(&mut client).contains("expired_keys:3\r\n"));
    }
}

/// A client that queues commands was what had keys evicted.
#[test]
fn nothing_is_evicted_during_pause() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers, "--maxmemory-policy", "allkeys-random"]);
        let (mut client, mut queues) = (server.client(), server.client());
        for number in 0..200 {
            client.call(&["SET", &format!("k{number}"), &"x".repeat(10_000)]);
        }
        assert_eq!(client.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
        assert_eq!(client.ask("CONFIG SET maxmemory 1").string(), "OK");
        queues.ask("MULTI");
        for _ in 0..20 {
            assert_eq!(queues.ask("GET k1").string(), "QUEUED");
            pause_ms(10);
        }
        assert_eq!(client.ask("DBSIZE").int(), Some(200));
        assert!(client.ask("INFO stats").string().contains("evicted_keys:0\r\n"));
        assert_eq!(client.ask("CLIENT UNPAUSE").string(), "OK");
        assert!(until(|| client.ask("DBSIZE").int() == Some(0)));
    }
}

/// Another worker went on with the configuration with which its turn had begun, which may be long ago.
#[test]
fn configuration_counts_for_commands_of_all_workers_once_it_is_set() {
    let server = Server::start(&["--workers", "3"]);
    let (mut setter, mut looks) = (server.client(), server.client());
    make_list(&mut setter, "list");
    let mut sorter = server.client();
    let sort = command(&["SORT", "list", "LIMIT", "0", "1"]);
    for _ in 0..MEETINGS {
        // One turn of many long commands.
        sorter.send_raw(&sort.repeat(8)).expect("it is taken");
        let before = calls(&mut looks, "sort");
        assert!(until(|| calls(&mut looks, "sort") > before));
        assert_eq!(setter.ask("CONFIG SET slowlog-log-slower-than 0").string(), "OK");
        assert_eq!(setter.ask("CONFIG SET slowlog-log-slower-than -1").string(), "OK");
        assert_eq!(setter.ask("SLOWLOG RESET").string(), "OK");
        (0..8).for_each(|_| drop(sorter.read().expect("a reply")));
        let logged = setter.ask("SLOWLOG GET 10").elements();
        assert!(logged.is_empty(), "{logged:?}");
    }
}

/// Whoever is killed runs nothing more, and gets nothing more, once that is answered. A job was given to a client that had
/// been killed, because its worker did not know yet.
#[test]
fn killed_client_gets_nothing_once_that_is_answered() {
    let server = Server::start(&["--workers", "3"]);
    let (mut killer, mut counts) = (server.client(), server.client());
    for round in 0..200 {
        let (mut waits, mut busy) = (server.client(), server.client());
        let id = |client: &mut Client| client.ask("CLIENT ID").int().expect("a number").to_string();
        let ids = [id(&mut waits), id(&mut busy)];
        waits.send(&["BLPOP", "q", "0"]).expect("it takes it");
        assert!(until(|| counts.ask("INFO clients").string().contains("blocked_clients:1\r\n")));
        busy.send_raw(&command(&["INCR", "n"]).repeat(500)).expect("it takes it");
        for id in ids {
            assert_eq!(killer.ask(&format!("CLIENT KILL ID {id}")).int(), Some(1));
        }
        let before = counts.ask("GET n");
        assert_eq!(killer.ask("RPUSH q job").int(), Some(1));
        assert_eq!(counts.ask("LPOP q").string(), "job", "round {round}");
        assert!(until(|| killer.ask("INFO clients").string().contains("connected_clients:2\r\n")));
        assert_eq!(counts.ask("GET n"), before, "round {round}");
    }
}

/// The line of whoever kills itself still comes first.
#[test]
fn client_that_kills_itself_is_answered() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let mut client = server.client();
        let id = client.ask("CLIENT ID").int().expect("a number");
        client
            .send_raw(format!("CLIENT KILL ID {id} SKIPME no\r\nSET k v\r\n").as_bytes())
            .expect("it takes it");
        assert_eq!(client.read_to_end().0, b":1\r\n");
        assert_eq!(server.client().ask("EXISTS k").int(), Some(0));
    }
}

/// Within a transaction, too, and behind others of the same pipeline, each in its place.
#[test]
fn changes_are_answered_in_their_place() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let mut client = server.client();
        let commands = [
            "SET a 1",
            "CONFIG SET maxclients 500",
            "GET a",
            "CONFIG SET nonsense 1",
            "MULTI",
            "INCR a",
            "CONFIG SET maxclients 501",
            "INFO clients",
            "GET a",
            "EXEC",
            "CLIENT REPLY SKIP",
            "CONFIG SET maxclients 502",
            "CONFIG GET maxclients",
            "CLIENT PAUSE 1 ALL",
            "PING",
        ];
        let bytes: Vec<u8> = commands.iter().flat_map(|text| command(&split(text))).collect();
        client.send_raw(&bytes).expect("it is taken");
        let mut read = || client.read().expect("a reply");
        assert_eq!([read().string(), read().string(), read().string()], ["OK", "OK", "1"]);
        assert!(read().string().starts_with("ERR Unknown option"));
        (0..5).for_each(|_| drop(read()));
        let inside = read().elements();
        assert_eq!(
            (inside[0].int(), inside[1].string(), inside[3].string()),
            (Some(2), "OK".into(), "2".into())
        );
        assert_eq!(read().elements()[1].string(), "502");
        assert_eq!([read().string(), read().string()], ["OK", "PONG"]);
        assert_eq!(calls(&mut server.client(), "config|set"), 4);
    }
}
