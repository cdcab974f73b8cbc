//! `maxmemory-clients`: whatever a client holds counts, the largest go first, and nobody else notices.

use std::io::ErrorKind;

use crate::harness::{Client, Server, command, until};

const MIB: usize = 1 << 20;

fn start(workers: &str) -> Server {
    Server::start(&["--maxmemory-clients", "10mb", "--workers", workers])
}

fn evicted(control: &mut Client) -> u64 {
    let info = control.ask("INFO stats").string();
    let line = info.lines().find_map(|line| line.strip_prefix("evicted_clients:"));
    line.expect("INFO says it").parse().expect("a number")
}

/// `tot-mem` of the client with this name.
fn held_bytes(control: &mut Client, name: &str) -> Option<usize> {
    let list = control.ask("CLIENT LIST").string();
    let line = list.lines().find(|line| line.contains(&format!(" name={name} ")))?;
    line.split(' ').find_map(|field| field.strip_prefix("tot-mem="))?.parse().ok()
}

fn named(server: &Server, name: &str) -> Client {
    let mut client = server.client();
    assert_eq!(client.call(&["CLIENT", "SETNAME", name]).string(), "OK");
    client
}

fn is_closed(client: &mut Client) -> bool {
    client.set_nonblocking(false);
    // What it had sent and nobody read makes its end a reset.
    client.read_to_end().1.map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |()| true)
}

/// Sends the beginning of a command whose value never comes to its end.
fn send_cut(client: &mut Client, bytes: usize) {
    let start = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", bytes + 1);
    client.send_raw(start.as_bytes()).expect("it is read");
    client.send_raw(&vec![b'x'; bytes]).expect("it is read");
}

/// Prepared names count as their client's, and go with it, or when it says so.
#[test]
fn fieldsets_count_as_their_client() {
    let server = Server::start(&["--workers", "2"]);
    let (mut admin, mut client) = (server.client(), server.client());
    client.ask("CLIENT SETNAME importer");
    let before = held_bytes(&mut admin, "importer");
    let fields: Vec<String> = (0..10_000).map(|field| format!("a field with number {field}")).collect();
    let mut words = vec!["HIMPORT", "PREPARE", "large"];
    words.extend(fields.iter().map(String::as_str));
    assert_eq!(client.call(&words).string(), "OK");
    client.ask("PING");
    assert!(until(|| held_bytes(&mut admin, "importer") > before.map(|bytes| bytes + 200_000)));
    assert_eq!(client.ask("HIMPORT DISCARDALL").int(), Some(1));
    assert!(until(|| held_bytes(&mut admin, "importer") < before.map(|bytes| bytes + 100_000)));
    // Who prepares more than all clients may have is ended.
    assert_eq!(admin.ask("CONFIG SET maxmemory-clients 1mb").string(), "OK");
    let names: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let is_ended = names.iter().any(|name| {
        words[2] = name;
        client.send(&words).and_then(|()| client.read()).is_err()
    });
    assert!(is_ended, "it goes on");
}

#[test]
fn cut_commands_beyond_the_limit_close_their_clients() {
    for workers in ["1", "3"] {
        let server = start(workers);
        let mut control = server.client();
        let mut clients: Vec<Client> = (0..5).map(|n| named(&server, &format!("c{n}"))).collect();
        for client in &mut clients {
            // Whoever is closed meanwhile cannot be sent to.
            let start = format!("*2\r\n$4\r\nECHO\r\n${}\r\n", 3 * MIB);
            client.send_raw(start.as_bytes()).expect("nobody is large yet, but for those before it");
        }
        assert!(until(|| evicted(&mut control) >= 2), "five clients of 3 MiB each fit into 10 MiB");
        assert_eq!(evicted(&mut control), 2, "more went than had to");
        let mut alive = 0;
        for n in 0..5 {
            alive += usize::from(held_bytes(&mut control, &format!("c{n}")).is_some());
        }
        assert_eq!(alive, 3);
    }
}

#[test]
fn the_largest_client_goes_first() {
    for workers in ["1", "3"] {
        let server = start(workers);
        let mut control = server.client();
        let (mut small, mut middle, mut large) =
            (named(&server, "small"), named(&server, "middle"), named(&server, "large"));
        send_cut(&mut small, MIB);
        send_cut(&mut middle, 3 * MIB);
        assert!(until(|| held_bytes(&mut control, "middle").is_some_and(|bytes| bytes > 3 * MIB)));
        assert_eq!(evicted(&mut control), 0);
        large.send_raw(format!("*2\r\n$4\r\nECHO\r\n${}\r\n", 7 * MIB).as_bytes()).expect("it is read");
        assert!(until(|| evicted(&mut control) == 1));
        assert!(is_closed(&mut large), "the largest stays");
        // The others go on where they were.
        for client in [&mut small, &mut middle] {
            client.send_raw(b"x\r\n").expect("it is there");
            assert_eq!(client.read().expect("a reply").string(), "OK");
        }
        assert_eq!(evicted(&mut control), 1);
    }
}

/// Each way to hold memory counts at once, not when cron comes by next.
#[test]
fn whatever_a_client_holds_counts() {
    let server = start("2");
    let mut control = server.client();
    let value = "v".repeat(MIB);
    assert_eq!(control.call(&["SET", "large", &value]).string(), "OK");
    let mut expected = 0;
    let mut check = |what: &str, control: &mut Client, mut client: Client| {
        expected += 1;
        assert!(until(|| evicted(control) == expected), "{what} does not count");
        assert!(is_closed(&mut client), "{what}");
    };
    // Queued commands.
    let mut client = server.client();
    assert_eq!(client.ask("MULTI").string(), "OK");
    let queued = command(&["SET", "k", &"v".repeat(10_000)]).repeat(1_200);
    drop(client.send_raw(&queued));
    check("a queue", &mut control, client);
    // Subscriptions.
    let mut client = server.client();
    let names: Vec<String> = (0..12).map(|n| format!("{n}{}", "c".repeat(MIB))).collect();
    for name in &names {
        drop(client.send(&["SUBSCRIBE", name]).and_then(|()| client.read()));
    }
    check("subscriptions", &mut control, client);
    // Watched keys.
    let mut client = server.client();
    for name in &names {
        drop(client.send(&["WATCH", name]));
    }
    check("watched keys", &mut control, client);
    // Replies that nobody reads.
    let mut client = server.client();
    client.set_nonblocking(true);
    let many: Vec<&str> = std::iter::once("MGET").chain(std::iter::repeat_n("large", 20)).collect();
    client.send_raw(&command(&many)).expect("few bytes");
    check("replies", &mut control, client);
    // A command that waits.
    let mut client = server.client();
    let words: Vec<String> = (0..12).map(|n| format!("{n}{}", "k".repeat(MIB))).collect();
    let mut words: Vec<&str> = words.iter().map(String::as_str).collect();
    words.insert(0, "BLPOP");
    words.push("0");
    drop(client.send(&words));
    check("a waiting command", &mut control, client);
    // Published messages that nobody reads.
    let mut client = server.client();
    assert_eq!(client.ask("SUBSCRIBE channel").elements().len(), 3);
    client.set_nonblocking(true);
    for _ in 0..20 {
        control.call(&["PUBLISH", "channel", &value]);
    }
    check("messages", &mut control, client);
    assert_eq!(control.ask("PING").string(), "PONG");
}

#[test]
fn no_evict_protects_its_client_and_counts_all_the_same() {
    let server = start("3");
    let mut control = server.client();
    let mut protected = named(&server, "protected");
    assert_eq!(protected.ask("CLIENT NO-EVICT ON").string(), "OK");
    assert_eq!(control.ask("CLIENT NO-EVICT ON").string(), "OK");
    let mut other = named(&server, "other");
    send_cut(&mut other, MIB);
    assert!(until(|| held_bytes(&mut control, "other").is_some_and(|bytes| bytes > MIB)));
    send_cut(&mut protected, 11 * MIB);
    assert!(until(|| evicted(&mut control) == 1), "what a protected client holds does not count");
    assert!(is_closed(&mut other));
    protected.send_raw(b"x\r\n").expect("it is there");
    assert_eq!(protected.read().expect("a reply").string(), "OK");
}

#[test]
fn a_lowered_limit_holds_at_once() {
    for workers in ["1", "3"] {
        let server = Server::start(&["--workers", workers, "--maxmemory", "1gb"]);
        let mut control = server.client();
        assert_eq!(control.ask("CLIENT NO-EVICT ON").string(), "OK");
        let mut client = named(&server, "client");
        send_cut(&mut client, 11 * MIB);
        assert!(until(|| held_bytes(&mut control, "client").is_some_and(|bytes| bytes > 11 * MIB)));
        assert_eq!(control.ask("CONFIG SET maxmemory-clients 2%").string(), "OK");
        assert_eq!(control.ask("CONFIG GET maxmemory-clients").elements()[1].string(), "2%");
        assert_eq!(evicted(&mut control), 0);
        assert_eq!(control.ask("CONFIG SET maxmemory-clients 1%").string(), "OK");
        assert!(until(|| evicted(&mut control) == 1), "1 % of a GiB has room for 11 MiB");
        assert!(is_closed(&mut client));
    }
}
