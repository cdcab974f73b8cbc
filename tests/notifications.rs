//! Keyspace notifications, as a client hears them that has subscribed: the same as those of Redis, message by message.
//!
//! That all commands raise the events that they raise in Redis shows `effects`.

use crate::harness::{Client, Server, Value, until};

/// What to publish, and what then happens. Steps of a case are commands of one client.
const CASES: &[(&str, &[&str])] = &[
    ("KEA", &["SET k v", "SET k w", "APPEND k x", "GET k", "DEL k", "GET k"]),
    ("KEAmnoc", &["SET k v", "SET k w", "LPUSH l a", "SET l v", "GET nothing", "RENAME k m", "DEL l m"]),
    ("Kg$", &["SET k v", "EXPIRE k 100", "PERSIST k", "LPUSH l a", "DEL k l"]),
    ("Elsh", &["LPUSH l a b", "LPOP l", "SADD s a", "SREM s a", "HSET h f v", "HDEL h f", "ZADD z 1 a"]),
    ("Ezt", &["ZADD z 1 a", "ZINCRBY z 1 a", "ZREM z a", "XADD x 1-1 f v", "XTRIM x MAXLEN 0", "SET k v"]),
    ("En", &["SET k v", "SET k w", "HSET h f v", "HSET h g v"]),
    ("Eo", &["SET k v", "SET k w", "LPUSH l a", "SET l v"]),
    ("Ec", &["SET k v", "SET k w", "LPUSH l a", "SET l v"]),
    ("Km", &["GET a", "MGET a b", "EXISTS a", "LLEN a", "SET a v", "GET a"]),
    (
        "KEx",
        &[
            "DEBUG SET-ACTIVE-EXPIRE 0",
            "SET k v PX 1",
            "DEBUG SLEEP 0.01",
            "GET k",
            "DEBUG SET-ACTIVE-EXPIRE 1",
        ],
    ),
    ("KEA", &["MULTI", "SET k v", "PUBLISH __keyown between", "INCR n", "EXEC"]),
    ("KEA", &["SELECT 3", "SET k v", "MOVE k 5", "SELECT 5", "COPY k c DB 9", "FLUSHALL", "SELECT 0"]),
    ("KEA", &["SET \"a b\\r\\n\" v", "SET \"\" v", "DEL \"\""]),
    ("g$", &["SET k v", "DEL k"]),
    ("KE", &["SET k v", "DEL k"]),
    ("", &["SET k v", "DEL k"]),
];

/// Everything that the listener was sent up to a message that says so.
fn heard(client: &mut Client, listener: &mut Client) -> Vec<Vec<String>> {
    client.ask("PUBLISH __key_end x");
    let mut all = Vec::new();
    loop {
        let words: Vec<String> =
            listener.read().expect("a message").elements().iter().map(Value::string).collect();
        if words[2] == "__key_end" {
            return all;
        }
        all.push(words);
    }
}

/// A client, and one that hears all notifications.
fn clients(server: &Server) -> (Client, Client) {
    let mut listener = server.client();
    listener.ask("PSUBSCRIBE __key*");
    (server.client(), listener)
}

fn run_all(server: &Server) -> Vec<Vec<Vec<String>>> {
    let (mut client, mut listener) = clients(server);
    let run = |(flags, steps): &(&str, &[&str])| {
        client.ask("FLUSHALL");
        client.call(&["CONFIG", "SET", "notify-keyspace-events", flags]);
        steps.iter().for_each(|step| drop(client.ask(step)));
        heard(&mut client, &mut listener)
    };
    CASES.iter().map(run).collect()
}

#[test]
fn notifications_are_those_of_redis() {
    let debug = ["--enable-debug-command", "yes"];
    let expected = run_all(&Server::redis(&debug));
    assert!(expected.iter().flatten().count() > 60, "hardly anything is heard of Redis");
    for workers in ["1", "3"] {
        let found = run_all(&Server::start(&[&debug[..], &["--workers", workers]].concat()));
        for ((case, expected), found) in CASES.iter().zip(&expected).zip(&found) {
            assert_eq!(found, expected, "{workers} workers, {case:?}");
        }
    }
}

/// Keys that expire or are evicted without a command are told of too, by whichever worker removes them.
#[test]
fn removals_without_a_command_are_told() {
    const KEYS: usize = 50;
    let start = |server: Server| {
        let (mut client, mut listener) = clients(&server);
        client.ask("CONFIG SET notify-keyspace-events Exe");
        (0..KEYS).for_each(|n| drop(client.ask(&format!("SET expires{n} v PX 20"))));
        let mut told: Vec<String> = Vec::new();
        let mut next = |told: &mut Vec<String>| {
            let words: Vec<Value> = listener.read().expect("a message").elements();
            told.push(format!("{} {}", words[2].string(), words[3].string()));
        };
        (0..KEYS).for_each(|_| next(&mut told));
        (0..KEYS).for_each(|n| drop(client.ask(&format!("SET evicted{n} v"))));
        client.ask("CONFIG SET maxmemory-policy allkeys-random maxmemory 1");
        (0..KEYS).for_each(|_| next(&mut told));
        client.ask("CONFIG SET maxmemory 0");
        assert!(until(|| client.ask("DBSIZE").int() == Some(0)));
        told.sort();
        told
    };
    let expected = start(Server::redis(&[]));
    for workers in ["1", "3"] {
        assert_eq!(start(Server::start(&["--workers", workers])), expected, "{workers} workers");
    }
}

/// Clients of all workers hear each key's events in the order in which they happened, whoever changed it.
#[test]
fn events_of_a_key_are_heard_in_order() {
    const EACH: usize = 400;
    let server = Server::start(&["--workers", "3", "--active-workers-min", "3"]);
    let mut admin = server.client();
    admin.ask("CONFIG SET notify-keyspace-events K$");
    let mut listeners: Vec<Client> = (0..3).map(|_| server.client()).collect();
    listeners.iter_mut().for_each(|listener| drop(listener.ask("SUBSCRIBE __keyspace@0__:k")));
    let writers: Vec<Client> = (0..3).map(|_| server.client()).collect();
    std::thread::scope(|scope| {
        for (number, mut writer) in writers.into_iter().enumerate() {
            // Each of them raises another event, so that their order can be seen.
            let command = ["SET k v", "APPEND k x", "SETRANGE k 0 y"][number];
            scope.spawn(move || (0..EACH).for_each(|_| drop(writer.ask(command))));
        }
        let heard: Vec<Vec<String>> = listeners
            .iter_mut()
            .map(|listener| {
                (0..3 * EACH).map(|_| listener.read().expect("a message").elements()[2].string()).collect()
            })
            .collect();
        assert!(heard.iter().all(|events| *events == heard[0]), "two clients heard different orders");
    });
}
