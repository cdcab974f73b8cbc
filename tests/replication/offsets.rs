//! What PSYNC answers at the edges of what is kept, and what comes behind its answer.

use super::pair::{Kind, await_link, check_same, field, number, primary, replica};
use crate::harness::{Client, Server, Value};

/// A connection that has said it continues by names, if it has.
fn asks(server: &Server, knows_names: bool) -> Client {
    let mut client = server.client();
    if knows_names {
        client.ask("REPLCONF capa psync2");
    }
    client
}

#[track_caller]
fn simple(reply: &Value) -> String {
    match reply {
        Value::Simple(text) | Value::Error(text) => String::from_utf8_lossy(text).into_owned(),
        other => panic!("{other:?}"),
    }
}

/// A replica that is exactly at the end was sent a snapshot elsewhere.
#[test]
fn offset_decides_between_stream_and_snapshot() {
    let server = primary(&["--repl-backlog-ttl", "0", "--repl-ping-replica-period", "1000"]);
    let mut client = server.client();
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    client.ask("SET k v");
    // WAIT would ask for an answer in the stream, which might get longer behind its reply.
    check_same(&server, &follower);
    drop(follower);
    let id = field(&mut client, "replication", "master_replid");
    let first = number(&mut client, "replication", "repl_backlog_first_byte_offset");
    let next = number(&mut client, "replication", "master_repl_offset") + 1;
    let psync = |knows_names, id: &str, offset: &str| {
        simple(&asks(&server, knows_names).call(&["PSYNC", id, offset]))
    };
    let continues = format!("CONTINUE {id}");
    for offset in [first, next] {
        assert_eq!(psync(true, &id, &offset.to_string()), continues);
        assert_eq!(psync(true, &id.to_uppercase(), &offset.to_string()), continues);
        assert_eq!(psync(false, &id, &offset.to_string()), "CONTINUE");
    }
    let snapshot = format!("FULLRESYNC {id} ");
    let other = "0123456789012345678901234567890123456789";
    let beyond = (next + 1).to_string();
    for (id, offset) in [(&*id, &*beyond), (&id, "0"), (&id, "-5"), (other, "1"), ("?", "-1")] {
        let answer = psync(true, id, offset);
        assert!(answer.starts_with(&snapshot), "{id} {offset}: {answer}");
    }
    assert_eq!(psync(true, &id, "x"), "ERR value is not an integer or out of range");
    let mut pair = server.client();
    pair.send(&["PING"]).and_then(|()| pair.send(&["PSYNC", "?", "-1"])).expect("it is there");
    pair.read().expect("PONG");
    client.ask("MULTI");
    assert_eq!(simple(&client.ask("PSYNC ? -1")), "ERR Command not allowed inside a transaction");
    client.ask("DISCARD");
    assert!(number(&mut client, "stats", "sync_partial_ok") >= 6);
}

/// The stream names its database first, holds what was published, and has no transaction of one effect.
#[test]
fn stream_repeats_what_was_done() {
    let server = primary(&["--repl-ping-replica-period", "1000"]);
    let mut client = server.client();
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    let id = field(&mut client, "replication", "master_replid");
    let next = number(&mut client, "replication", "master_repl_offset") + 1;
    for command in [
        "SELECT 2",
        "SET k v",
        "MULTI",
        "INCR n",
        "GET n",
        "EXEC",
        "PUBLISH c m",
        "MULTI",
        "INCR n",
        "PUBLISH c m",
        "EXEC",
    ] {
        client.ask(command);
    }
    let mut reader = asks(&server, true);
    assert_eq!(simple(&reader.call(&["PSYNC", &id, &next.to_string()])), format!("CONTINUE {id}"));
    let mut commands = Vec::new();
    while commands.last().is_none_or(|last| last != "EXEC") {
        let Value::Array(words) = reader.read().expect("the stream goes on") else { panic!("a command") };
        commands.push(words.iter().map(Value::string).collect::<Vec<_>>().join(" "));
    }
    let expected = ["SELECT 2", "SET k v", "INCR n", "PUBLISH c m", "MULTI", "INCR n", "PUBLISH c m", "EXEC"];
    assert_eq!(commands, expected);
}

/// A replica is no client any more: what it asks for is answered by the end of its connection.
#[test]
fn replica_that_asks_for_a_reply_is_closed() {
    let server = primary(&[]);
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    let mut client = server.client();
    let id = field(&mut client, "replication", "master_replid");
    let next = number(&mut client, "replication", "master_repl_offset") + 1;
    let mut reader = asks(&server, true);
    reader.call(&["PSYNC", &id, &next.to_string()]);
    reader.send(&["REPLCONF", "ACK", "1"]).expect("it is there");
    reader.send(&["PING"]).expect("it is there");
    let (rest, _) = reader.read_to_end();
    assert!(!rest.windows(5).any(|bytes| bytes == b"+PONG"), "{}", rest.escape_ascii());
}
