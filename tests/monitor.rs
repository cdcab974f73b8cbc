//! MONITOR: where its lines stand among replies, and clients that come and go while they are in the feed.

use crate::harness::{Client, Server, command};

fn pipeline(commands: &[&[&str]]) -> Vec<u8> {
    commands.iter().flat_map(|words| command(words)).collect()
}

/// A line of the feed without its time and address.
fn shown(line: &str) -> &str {
    line.split_once("] ").unwrap_or_else(|| panic!("no line of the feed: {line}")).1
}

/// A client was killed by one command and asked for the feed by another behind it, in one group: it was listed though it had
/// been closed, and the next command that was shown ended the server.
#[test]
fn a_client_that_was_killed_is_not_fed() {
    let server = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let [mut sleeper, mut killer, mut victim] = [(); 3].map(|()| server.client());
    let id = victim.ask("CLIENT ID").int().expect("a number");
    assert_eq!(killer.ask("PING").string(), "PONG");
    for _ in 0..20 {
        let mut next = server.client();
        let next_id = next.ask("CLIENT ID").int().expect("a number");
        // While the worker sleeps both arrive, in this order.
        sleeper.send(&["DEBUG", "SLEEP", "0.02"]).expect("it takes it");
        killer.send(&["CLIENT", "KILL", "ID", &next_id.to_string()]).expect("it takes it");
        // On a busy machine it may have been closed by now.
        next.send(&["MONITOR"]).unwrap_or_default();
        assert_eq!(sleeper.read().expect("a reply").string(), "OK");
        assert_eq!(killer.read().expect("a reply").int(), Some(1));
        // What is shown now goes to nobody, and this connection may have the other's slot.
        let mut heir = server.client();
        for _ in 0..3 {
            assert_eq!(heir.ask("PING").string(), "PONG");
        }
    }
    assert_eq!(victim.ask("CLIENT ID").int(), Some(id));
}

/// A monitor's own lines come behind the replies they belong to, and none comes once it has left the feed: they used to be
/// written when all commands that had arrived together had run, and were taken for the reply to the next.
#[test]
fn own_lines_stand_between_the_replies() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers]);
        let mut client: Client = server.client();
        let all: &[&[&str]] =
            &[&["MONITOR"], &["PING"], &["ECHO", "x"], &["RESET"], &["PING"], &["GET", "nothing"]];
        client.send_raw(&pipeline(all)).expect("it takes it");
        let mut next = || client.read().expect("a reply");
        assert_eq!(next().string(), "OK");
        assert_eq!(next().string(), "PONG");
        assert_eq!(shown(&next().string()), "\"PING\"");
        assert_eq!(next().string(), "x");
        assert_eq!(shown(&next().string()), "\"ECHO\" \"x\"");
        assert_eq!(next().string(), "RESET");
        assert_eq!(next().string(), "PONG");
        assert_eq!(next(), crate::harness::Value::NullBulk);
        assert_eq!(client.ask("ECHO end").string(), "end");
    }
}

/// The last monitor left and another came in one group: the worker was taken for one without monitors, and the new one was
/// shown nothing.
#[test]
fn a_monitor_that_comes_as_the_last_one_leaves_is_fed() {
    let server = Server::start(&["--workers", "1", "--enable-debug-command", "yes"]);
    let [mut sleeper, mut leaving, mut coming] = [(); 3].map(|()| server.client());
    assert_eq!(leaving.ask("MONITOR").string(), "OK");
    assert_eq!(coming.ask("PING").string(), "PONG");
    leaving.read().expect("the line of that");
    // While the worker sleeps both arrive, in this order.
    sleeper.send(&["DEBUG", "SLEEP", "0.1"]).expect("it takes it");
    leaving.send(&["RESET"]).expect("it takes it");
    coming.send(&["MONITOR"]).expect("it takes it");
    assert_eq!(sleeper.read().expect("a reply").string(), "OK");
    assert_eq!(coming.read().expect("a reply").string(), "OK");
    assert_eq!(sleeper.ask("ECHO seen").string(), "seen");
    assert_eq!(shown(&coming.read().expect("a line").string()), "\"ECHO\" \"seen\"");
}

/// What a monitor of another worker is shown comes as one message a turn: each line was one, and under load they piled
/// up in front of everything else that workers have to tell each other.
#[test]
fn all_lines_of_other_workers_come_in_order() {
    const COMMANDS: usize = 2000;
    let server = Server::start(&["--workers", "2"]);
    let mut clients: Vec<Client> = (0..4).map(|_| server.client()).collect();
    let mut monitor = server.client();
    assert_eq!(monitor.ask("MONITOR").string(), "OK");
    for (number, client) in clients.iter_mut().enumerate() {
        let all: Vec<u8> = (0..COMMANDS).flat_map(|n| command(&["ECHO", &format!("{number}:{n}")])).collect();
        client.send_raw(&all).expect("it takes it");
    }
    let mut expected = [0; 4];
    for _ in 0..4 * COMMANDS {
        let line = monitor.read().expect("a line").string();
        let text = shown(&line).strip_prefix("\"ECHO\" \"").and_then(|text| text.strip_suffix('"'));
        let (number, n) = text.and_then(|text| text.split_once(':')).expect("what was sent");
        let number: usize = number.parse().expect("a number");
        assert_eq!(n.parse(), Ok(expected[number]), "of client {number}");
        expected[number] += 1;
    }
    for client in &mut clients {
        (0..COMMANDS).for_each(|_| assert!(client.read().is_ok()));
    }
    assert!(server.workers_sum("messages_sent") < 4 * COMMANDS as u64, "a line is a message");
}
