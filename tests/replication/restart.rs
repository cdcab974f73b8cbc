//! Servers that end in order and are started again: a replica goes on where its files end, and a primary's replicas go on with it.

use rustix::process::Signal;

use super::pair::{await_link, check_same, field, number};
use crate::harness::{Server, TORC, Value, newest_program, until};

/// A pair whose primary can be started again elsewhere; each keeps its data by these options.
struct Pair {
    programs: [String; 2],
    options: [&'static [&'static str]; 2],
    servers: Vec<Server>,
}

const SAVES: &[&str] = &["--shutdown-on-sigterm", "save"];
const APPENDS: &[&str] = &["--appendonly", "yes"];
const OWN: &[&str] =
    &["--repl-diskless-sync-delay", "0", "--enable-debug-command", "yes", "--repl-ping-replica-period", "1"];

impl Pair {
    fn start(programs: [String; 2], options: [&'static [&'static str]; 2]) -> Self {
        let mut pair = Self { programs, options, servers: Vec::new() };
        let primary = Server::program_tcp(&pair.programs[0], &[OWN, options[0]].concat());
        let replica = Server::program_tcp(&pair.programs[1], &[OWN, options[1]].concat());
        pair.servers = vec![primary, replica];
        pair.follow();
        pair
    }

    fn follow(&self) {
        let words = format!("REPLICAOF 127.0.0.1 {}", self.servers[0].tcp().port());
        // It may be loading what it has.
        assert!(until(|| !self.servers[1].client().ask(&words).is_error()), "{}", self.servers[1].log());
        await_link(&self.servers[1]);
    }

    fn restart(&mut self, number: usize) {
        let server = &mut self.servers[number];
        server.signal(Signal::TERM);
        server.await_exit();
        let port = self.servers[0].tcp().port().to_string();
        let role = ["--replicaof", "127.0.0.1", &port];
        let role = if number == 1 { &role[..] } else { &[] };
        let args = [OWN, self.options[number], role].concat();
        let again = self.servers[number].again_tcp(&self.programs[number], &args);
        let mut client = again.client();
        assert!(until(|| field(&mut client, "persistence", "loading") == "0"), "{}", again.log());
        self.servers[number] = again;
    }

    fn write(&self, from: usize) {
        let mut client = self.servers[0].client();
        client.ask("SELECT 3");
        for number in from..from + 50 {
            client.ask(&format!("SET k:{number} v"));
            client.ask("INCR count");
        }
    }

    fn snapshots(&self) -> u64 {
        number(&mut self.servers[0].client(), "stats", "sync_full")
    }
}

fn torc() -> String {
    TORC.to_owned()
}

#[test]
fn replica_goes_on_where_its_files_end() {
    for options in [SAVES, APPENDS] {
        let mut pair = Pair::start([torc(), torc()], [&[], options]);
        let mut client = pair.servers[1].client();
        if options == APPENDS {
            // Its file begins anew behind the snapshot.
            let is_rewritten = until(|| {
                number(&mut client, "persistence", "aof_rewrites") > 0
                    && field(&mut client, "persistence", "aof_rewrite_in_progress") == "0"
            });
            assert!(is_rewritten, "{}", pair.servers[1].log());
        }
        for round in 0..3 {
            pair.write(round * 50);
            check_same(&pair.servers[0], &pair.servers[1]);
            pair.restart(1);
            await_link(&pair.servers[1]);
        }
        pair.write(150);
        check_same(&pair.servers[0], &pair.servers[1]);
        assert_eq!(pair.snapshots(), 1, "{options:?}: {}", pair.servers[1].log());
        assert_eq!(pair.servers[1].client().ask("SELECT 3"), Value::Simple(b"OK".to_vec()));
    }
}

/// Replicas used to begin anew with each restart of a primary. They have the end of the stream, and go on when it is back.
#[test]
fn restarted_primary_sends_no_snapshot() {
    let redis = newest_program("redis-server");
    for (replica, options) in [(torc(), SAVES), (torc(), APPENDS), (redis, SAVES)] {
        let mut pair = Pair::start([torc(), replica], [options, &[]]);
        let proxy = crate::links::Proxy::new(pair.servers[0].tcp());
        let words = format!("REPLICAOF 127.0.0.1 {}", proxy.address().port());
        pair.servers[1].client().ask(&words);
        await_link(&pair.servers[1]);
        for round in 0..3 {
            pair.write(round * 50);
            proxy.lead_to(None);
            pair.restart(0);
            // Nothing of this is what the replica has; it comes behind.
            pair.write(round * 50 + 25);
            proxy.lead_to(Some(pair.servers[0].tcp()));
            await_link(&pair.servers[1]);
            check_same(&pair.servers[0], &pair.servers[1]);
            assert_eq!(pair.snapshots(), 0, "{options:?}: {}", pair.servers[0].log());
            assert!(number(&mut pair.servers[0].client(), "stats", "sync_partial_ok") > 0);
        }
    }
}

/// What had expired when a primary was started again was gone there without a word, and stayed for ever where it was kept for it.
#[test]
fn what_expires_while_a_primary_is_down_goes_everywhere() {
    let mut pair = Pair::start([torc(), torc()], [SAVES, &[]]);
    let proxy = crate::links::Proxy::new(pair.servers[0].tcp());
    pair.servers[1].client().ask(&format!("REPLICAOF 127.0.0.1 {}", proxy.address().port()));
    await_link(&pair.servers[1]);
    let mut client = pair.servers[0].client();
    client.ask("DEBUG SET-ACTIVE-EXPIRE 0");
    client.ask("SET lapsing v PX 1");
    client.ask("SET stays v");
    proxy.lead_to(None);
    pair.restart(0);
    proxy.lead_to(Some(pair.servers[0].tcp()));
    await_link(&pair.servers[1]);
    check_same(&pair.servers[0], &pair.servers[1]);
    assert_eq!(pair.servers[1].client().ask("DBSIZE").int(), Some(1));
    assert_eq!(pair.snapshots(), 0);
}

/// A replica's replica took what followed its snapshot for changes of database 0, whichever the stream had selected.
#[test]
fn stream_behind_a_replicas_snapshot_goes_on_in_its_database() {
    let primary = Server::program_tcp(&newest_program("redis-server"), OWN);
    let mut client = primary.client();
    let middle = Server::start_tcp(OWN);
    middle.client().ask(&format!("REPLICAOF 127.0.0.1 {}", primary.tcp().port()));
    await_link(&middle);
    client.ask("SELECT 5");
    client.ask("SET before v");
    check_same(&primary, &middle);
    for program in [torc(), newest_program("redis-server")] {
        let last = Server::program_tcp(&program, OWN);
        last.client().ask(&format!("REPLICAOF 127.0.0.1 {}", middle.tcp().port()));
        await_link(&last);
        client.ask("INCR n");
        check_same(&primary, &middle);
        check_same(&middle, &last);
    }
}

/// SHUTDOWN used to end at once: a replica that was a little behind began anew.
#[test]
fn shutdown_waits_for_replicas() {
    let mut pair = Pair::start([torc(), torc()], [&[], &[]]);
    let mut client = pair.servers[0].client();
    assert!(client.ask("SHUTDOWN ABORT").is_error());
    pair.servers[1].signal(Signal::STOP);
    client.ask("SET k v");
    let mut asks = pair.servers[0].client();
    asks.send(&["SHUTDOWN", "NOSAVE"]).expect("it is there");
    let mut writes = pair.servers[0].client();
    let is_held = until(|| client.ask("INFO clients").string().contains("blocked_clients:1"));
    assert!(is_held, "{}", pair.servers[0].log());
    writes.send(&["SET", "k", "w"]).expect("it is there");
    assert_eq!(client.ask("GET k").string(), "v");
    assert_eq!(client.ask("SHUTDOWN ABORT"), Value::Simple(b"OK".to_vec()));
    assert_eq!(writes.read().expect("it goes on"), Value::Simple(b"OK".to_vec()));
    let said = asks.read().expect("it is told").to_string();
    assert!(said.contains("ERR Errors trying to SHUTDOWN. Check logs."), "{said}");
    asks.send(&["SHUTDOWN", "SAVE"]).expect("it is there");
    pair.servers[1].signal(Signal::CONT);
    assert!(pair.servers[0].await_exit().success());
    assert!(pair.servers[0].log().contains("1 of 1 replicas are in sync when shutting down."));
}
