//! WAIT and WAITAOF with replicas.

use rustix::process::Signal;

use super::pair::{Kind, await_link, primary, replica};
use crate::harness::{Server, Value};

#[test]
fn wait_counts_replicas_that_have_the_write() {
    for workers in ["1", "3"] {
        let server = primary(&["--workers", workers]);
        let followers = [replica(Kind::Redis8, server.tcp()), replica(Kind::Redis7, server.tcp())];
        followers.iter().for_each(await_link);
        let mut client = server.client();
        assert_eq!(client.ask("WAIT 2 0"), Value::Int(2), "who has written nothing waits for nothing");
        for count in 0..20 {
            client.call(&["SET", "k", &count.to_string()]);
            assert_eq!(client.ask("WAIT 2 0"), Value::Int(2));
        }
        followers[0].signal(Signal::STOP);
        client.ask("SET k last");
        assert_eq!(client.ask("WAIT 1 0"), Value::Int(1));
        assert_eq!(client.ask("WAIT 2 20"), Value::Int(1));
        let mut other = server.client();
        other.ask("SET k other");
        other.send(&["WAIT", "2", "0"]).expect("it is there");
        followers[0].signal(Signal::CONT);
        assert_eq!(other.read().expect("it comes"), Value::Int(2));
    }
}

#[test]
fn waitaof_counts_disks() {
    let server = primary(&["--appendonly", "yes"]);
    let follower = replica(Kind::Redis8, server.tcp());
    await_link(&follower);
    let mut client = server.client();
    client.ask("SET k v");
    assert_eq!(client.ask("WAITAOF 1 0 0"), Value::Array(vec![Value::Int(1), Value::Int(0)]));
    follower.client().ask("CONFIG SET appendonly yes");
    client.ask("SET k w");
    assert_eq!(client.ask("WAITAOF 1 1 0"), Value::Array(vec![Value::Int(1), Value::Int(1)]));
    // Nothing of this is for the file, and a wait for it would never end.
    client.ask("PUBLISH c m");
    let Value::Array(counts) = client.ask("WAITAOF 1 0 0") else { panic!("two counts") };
    assert_eq!(counts[0], Value::Int(1));
}

/// A replica of Torc's kind said nothing of its disk, so that WAITAOF never counted it. PUBLISH is for replicas only, and has to be
/// counted as what comes to their files.
#[test]
fn waitaof_counts_the_disks_of_torc() {
    for policy in ["always", "everysec"] {
        let server = primary(&["--appendonly", "yes", "--appendfsync", policy]);
        let port = server.tcp().port().to_string();
        let options = ["--appendonly", "yes", "--appendfsync", policy, "--replicaof", "127.0.0.1", &port];
        let followers = [Server::start_tcp(&options), replica(Kind::Redis8, server.tcp())];
        followers.iter().for_each(await_link);
        followers[1].client().ask("CONFIG SET appendonly yes");
        let mut client = server.client();
        for command in ["SET k v", "PUBLISH c m", "INCR n", "PUBLISH c m"] {
            client.ask(command);
            let counts = client.ask("WAITAOF 1 2 20000");
            assert_eq!(counts, Value::Array(vec![Value::Int(1), Value::Int(2)]), "{policy} {command}");
        }
        // Without a file it counts no more.
        followers[0].client().ask("CONFIG SET appendonly no");
        client.ask("SET k w");
        assert_eq!(client.ask("WAITAOF 1 1 20000"), Value::Array(vec![Value::Int(1), Value::Int(1)]));
        assert_eq!(client.ask("WAITAOF 1 2 100"), Value::Array(vec![Value::Int(1), Value::Int(1)]));
    }
}
