//! Ends of connections: whatever holds a client back, its end is noticed, its waits end, and what it sent and nobody ran does
//! not run any more.

mod generated;
mod peer;
pub mod points;

use crate::harness::{Client, Server, Value, command, until};

const BACKENDS: [&str; 2] = ["io_uring", "epoll"];
/// More commands than one connection has run in one turn: what stands behind runs when the end has been noticed.
const AHEAD: usize = 3000;

/// Waits until nobody is connected but the client that asks.
#[track_caller]
fn await_alone(client: &mut Client) {
    let mut text = String::new();
    let met = until(|| {
        text = client.ask("INFO clients").string();
        text.contains("connected_clients:1\r\n") && text.contains("blocked_clients:0\r\n")
    });
    assert!(met, "{text}");
}

/// Sends all of this and the end at once; what comes back until the server closes.
fn send_and_finish(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut client = server.client();
    client.send_raw(bytes).expect("it takes it");
    client.finish().expect("it is open");
    let (replies, ended) = client.read_to_end();
    ended.expect("the server closes in order");
    replies
}

/// The end was noticed before the command ran that waits, and then by nobody: the job went to who had gone.
#[test]
fn who_has_gone_before_its_wait_begins_waits_for_nothing() {
    for backend in BACKENDS {
        let server = Server::start(&["--workers", "2", "--io-backend", backend]);
        let mut other = server.client();
        for waits in ["BLPOP q 0", "BLMOVE q r LEFT LEFT 0", "BLMPOP 0 1 q LEFT"] {
            let ahead = command(&["PING"]).repeat(AHEAD);
            let behind = command(&["SET", "ran", "1"]).repeat(AHEAD);
            let words: Vec<&str> = waits.split(' ').collect();
            let replies = send_and_finish(&server, &[ahead, command(&words), behind].concat());
            assert_eq!(replies, b"+PONG\r\n".repeat(AHEAD));
            // As a person types them, which takes the server one more turn.
            let inline = format!("{waits}\r\n{}", "SET ran 1\r\n".repeat(AHEAD));
            assert_eq!(send_and_finish(&server, inline.as_bytes()), b"");
            await_alone(&mut other);
            assert_eq!(other.ask("RPUSH q job").int(), Some(1));
            assert_eq!(other.ask("LPOP q").string(), "job", "after {waits}");
            assert_eq!(other.ask("DBSIZE").int(), Some(0), "after {waits}");
        }
    }
}

#[test]
fn what_a_pause_holds_back_of_one_that_has_gone_does_not_run() {
    for backend in BACKENDS {
        let server = Server::start(&["--workers", "2", "--io-backend", backend]);
        let mut other = server.client();
        assert_eq!(other.ask("CLIENT PAUSE 100000 WRITE").string(), "OK");
        let (ahead, held) = (command(&["PING"]).repeat(AHEAD), command(&["SET", "ran", "1"]).repeat(AHEAD));
        let replies = send_and_finish(&server, &[ahead, held].concat());
        assert_eq!(replies, b"+PONG\r\n".repeat(AHEAD));
        let inline = "SET ran 1\r\n".repeat(AHEAD);
        assert_eq!(send_and_finish(&server, inline.as_bytes()), b"");
        await_alone(&mut other);
        assert_eq!(other.ask("CLIENT UNPAUSE").string(), "OK");
        assert_eq!(other.ask("EXISTS ran"), Value::Int(0));
    }
}
