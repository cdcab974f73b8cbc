//! By which time deadlines are judged: that of the command, whatever ran before it in the same turn.
//!
//! A command's time is read when its turn comes, those of a transaction share the transaction's, and who waited for a key is
//! served by a time of its own. A time as old as the worker's turn let keys live on that had expired.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::{Client, Server, Value, command, until};

/// The configurations that every test runs under: alone, and with others to meet.
const WORKERS: [&str; 2] = ["1", "3"];

fn each(test: impl Fn(&Server)) {
    for workers in WORKERS {
        let server = Server::start(&["--workers", workers, "--enable-debug-command", "yes"]);
        assert_eq!(server.client().ask("DEBUG SET-ACTIVE-EXPIRE 0").string(), "OK");
        test(&server);
    }
}

/// Sends commands in one go and reads their replies.
fn pipeline(client: &mut Client, commands: &[&str]) -> Vec<Value> {
    let bytes: Vec<u8> = commands.iter().flat_map(|text| command(&crate::harness::split(text))).collect();
    client.send_raw(&bytes).expect("the server is there");
    commands.iter().map(|_| client.read().expect("a reply")).collect()
}

/// A client that waits for the key, and the server knows.
fn waiting(server: &Server, request: &str) -> Client {
    let mut client = server.client();
    let waits = |count: usize| {
        server.client().ask("INFO clients").string().contains(&format!("blocked_clients:{count}\r\n"))
    };
    let before = (0..).find(|count| waits(*count)).expect("a number");
    client.send(&crate::harness::split(request)).expect("it takes it");
    assert!(until(|| waits(before + 1)));
    client
}

#[test]
fn key_that_expires_behind_slow_command_of_pipeline_is_gone() {
    each(|server| {
        let mut client = server.client();
        let replies = pipeline(
            &mut client,
            &["SET k v PX 100", "DEBUG SLEEP 0.2", "GET k", "SET k v PX 10000", "PEXPIRETIME k"],
        );
        assert!(replies[2].is_null(), "{:?}", replies[2]);
        // What begins behind it counts from then.
        let began_ms = replies[4].int().expect("a time") - 10_000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
        assert!(now.as_millis() as i64 - began_ms < 150, "it counts from before the other command");
        let [before, _, after] = &pipeline(&mut client, &["TIME", "DEBUG SLEEP 0.2", "TIME"])[..] else {
            unreachable!("three were asked")
        };
        let us = |time: &Value| -> i64 {
            let parts: Vec<i64> =
                time.elements().iter().map(|part| part.string().parse().expect("a number")).collect();
            parts[0] * 1_000_000 + parts[1]
        };
        assert!(us(after) - us(before) >= 200_000);
    });
}

/// The other's command was gathered in the same turn as the slow one, and was judged by the time of the turn.
#[test]
fn key_that_expires_behind_slow_command_of_another_client_is_gone() {
    let server = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let (mut first, mut slow, mut other) = (server.client(), server.client(), server.client());
    assert_eq!(slow.ask("DEBUG SET-ACTIVE-EXPIRE 0").string(), "OK");
    for _ in 0..5 {
        // While the first one's command sleeps those of both others arrive, to be run in one turn.
        first.send(&["DEBUG", "SLEEP", "0.1"]).expect("it is taken");
        let commands = [command(&["SET", "k", "v", "PX", "100"]), command(&["DEBUG", "SLEEP", "0.2"])];
        slow.send_raw(&commands.concat()).expect("it is taken");
        other.send(&["GET", "k"]).expect("it is taken");
        first.read().expect("a reply");
        // Gone, or not there yet.
        assert!(other.read().expect("a reply").is_null());
        slow.read().and_then(|_| slow.read()).expect("two replies");
    }
}

#[test]
fn key_that_expires_within_transaction_lives_to_its_end() {
    each(|server| {
        let mut client = server.client();
        let commands = ["MULTI", "SET k v PX 100", "DEBUG SLEEP 0.2", "GET k", "PTTL k", "EXEC", "GET k"];
        let replies = pipeline(&mut client, &commands);
        let inside = replies[5].elements();
        assert_eq!((inside[2].string(), inside[3].int()), ("v".to_owned(), Some(100)));
        assert!(replies[6].is_null());
    });
}

/// Served from EXEC, with the time at which the worker's turn had begun, it got an element of a key that was gone.
#[test]
fn client_that_waits_gets_nothing_of_list_that_expired_within_transaction() {
    each(|server| {
        let mut client = server.client();
        for request in ["BLPOP l 0", "BLMOVE l other LEFT LEFT 0"] {
            let mut waiter = waiting(server, request);
            let commands = ["MULTI", "RPUSH l a", "PEXPIRE l 100", "DEBUG SLEEP 0.2", "EXEC", "EXISTS l"];
            let replies = pipeline(&mut client, &commands);
            assert_eq!(replies[5].int(), Some(0));
            assert!(waiter.try_read().expect("it is connected").is_none());
            assert_eq!(client.ask("RPUSH l b").int(), Some(1));
            let got = waiter.read().expect("a reply");
            let got = if let Value::Array(parts) = got { parts[1].clone() } else { got };
            assert_eq!(got.string(), "b");
            assert_eq!(client.ask("DEL l other").int(), Some(i64::from(request.starts_with("BLMOVE"))));
        }
    });
}

#[test]
fn client_that_waits_behind_slow_command_of_pipeline_is_served_by_its_time() {
    each(|server| {
        let mut client = server.client();
        let mut waiter = waiting(server, "BLPOP l 0");
        // The element lives for 100 ms under another name, and is gone when it is to become the list.
        let commands = ["RPUSH m a", "PEXPIRE m 100", "DEBUG SLEEP 0.2", "RENAME m l", "RPUSH l b"];
        let replies = pipeline(&mut client, &commands);
        assert_eq!(replies[3].string(), "ERR no such key");
        assert_eq!(waiter.read().expect("a reply").elements()[1].string(), "b");
    });
}
