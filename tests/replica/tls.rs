//! Links over TLS: Torc follows Redis and Torc, Redis follows Torc; whom a replica believes, and what it shows.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;

use super::following::{AT_ONCE, load};
use super::{await_agreement, await_link, field, number};
use crate::harness::tls::Authority;
use crate::harness::{Rng, Server, redis_program, until};
use crate::replication::pair::random_command;

const CUTS: u64 = 2;

/// What a replica is started with, to follow over TLS as the one that this certificate and its key name.
fn as_replica(authority: &Authority, name: &str) -> Vec<String> {
    let (cert, key) = (format!("{name}.crt"), format!("{name}.key"));
    let files = [("cert", cert), ("key", key), ("ca-cert", "ca.crt".to_owned())];
    let mut words = vec!["--tls-replication".to_owned(), "yes".to_owned()];
    words.extend(files.iter().flat_map(|(what, file)| [format!("--tls-{what}-file"), authority.word(file)]));
    words
}

/// Torc as a replica that serves nobody over TLS.
fn start_replica(words: &[String], args: &[&str]) -> Server {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Server::start(&[&words[..], &["--enable-debug-command", "yes"], args].concat())
}

fn to_follow(address: SocketAddr) -> String {
    format!("REPLICAOF 127.0.0.1 {}", address.port())
}

/// Random commands that old servers know too.
fn load_old(primary: &Server, seed: u64, count: usize) {
    let (mut client, mut rng) = (primary.client(), Rng(seed));
    for _ in 0..count {
        client.call(&random_command(&mut rng));
    }
}

/// Random commands in front of the link and behind it, through cuts; one of the two is Torc.
fn follow_through_cuts(primary: &Server, replica: &Server, load: fn(&Server, u64, usize), what: &str) {
    load(primary, 5, 300);
    replica.client().ask(&to_follow(primary.tls_address()));
    await_link(replica);
    let mut client = primary.client();
    // Several records, of which the last is not whole when the stream changes hands.
    let large = "large ".repeat(50_000);
    for cut in 0..CUTS {
        load(primary, 50 + cut, 300);
        client.call(&["SET", &format!("large:{cut}"), &large]);
        assert!(client.ask("CLIENT KILL TYPE slave").int() >= Some(0));
        load(primary, 60 + cut, 200);
        await_agreement(&mut client, replica, &format!("{what}, cut {cut}"));
    }
    assert_eq!(number(&mut client, "stats", "sync_full"), 1, "{what}: {}", replica.log());
    assert_eq!(number(&mut client, "stats", "sync_partial_ok"), CUTS as i64, "{what}: {}", replica.log());
}

#[test]
fn torc_follows_redis_over_tls() {
    let authority = Authority::new();
    for backend in ["io_uring", "epoll"] {
        for diskless in ["yes", "no"] {
            let args = [AT_ONCE, &["--repl-diskless-sync", diskless]].concat();
            let primary = Server::program_tls(&redis_program("redis-server"), &authority, &args);
            let own = ["--io-backend", backend, "--workers", "2"];
            let replica = start_replica(&as_replica(&authority, "client"), &own);
            follow_through_cuts(&primary, &replica, load, &format!("{backend}, diskless {diskless}"));
        }
    }
}

#[test]
fn torc_follows_torc_over_tls_and_tells_its_port() {
    let authority = Authority::new();
    let primary = Server::start_tls(&authority, &[AT_ONCE, &["--workers", "2"]].concat());
    let args = ["--enable-debug-command", "yes", "--workers", "2", "--tls-replication", "yes"];
    let replica = Server::start_tls(&authority, &args);
    follow_through_cuts(&primary, &replica, load, "Torc");
    let line = field(&mut primary.client(), "replication", "slave0");
    let port = replica.tls_address().port();
    assert!(line.contains(&format!(",port={port},")), "{line}");
    // The replica's own replica, over TLS too.
    let further = start_replica(&as_replica(&authority, "client"), &[]);
    further.client().ask(&to_follow(replica.tls_address()));
    await_agreement(&mut primary.client(), &further, "further on");
}

#[test]
fn redis_follows_torc_over_tls() {
    let authority = Authority::new();
    for diskless in ["yes", "no"] {
        let args = ["--workers", "2", "--repl-diskless-sync", diskless];
        let primary = Server::start_tls(&authority, &[AT_ONCE, &args].concat());
        let own = ["--tls-replication", "yes", "--enable-debug-command", "yes"];
        let replica = Server::program_tls(&redis_program("redis-server"), &authority, &own);
        follow_through_cuts(&primary, &replica, load_old, &format!("Redis, diskless {diskless}"));
    }
}

#[test]
fn each_protocol_carries_a_link() {
    let authority = Authority::new();
    for protocol in ["TLSv1.2", "TLSv1.3"] {
        let args = [AT_ONCE, &["--tls-protocols", protocol]].concat();
        let primary = Server::program_tls(&redis_program("redis-server"), &authority, &args);
        let replica = start_replica(&as_replica(&authority, "client"), &[]);
        replica.client().ask(&to_follow(primary.tls_address()));
        await_link(&replica);
        primary.client().ask("SET a 1");
        await_agreement(&mut primary.client(), &replica, protocol);
    }
}

/// Waits for these words in the log of a replica that follows this address in vain.
fn await_refusal(replica: &Server, address: SocketAddr, words: &str) {
    replica.client().ask(&to_follow(address));
    assert!(until(|| replica.log().contains(words)), "no {words:?}: {}", replica.log());
    assert_eq!(field(&mut replica.client(), "replication", "master_link_status"), "down");
    replica.client().ask("REPLICAOF NO ONE");
}

/// Data goes to whoever is followed, and comes from there: so a primary is believed only with a certificate of the authority.
#[test]
fn only_certificates_of_the_authority_are_believed() {
    let (authority, other) = (Authority::new(), Authority::new());
    let good = Server::start_tls(&authority, AT_ONCE);
    let foreign = Server::start_tls(&other, AT_ONCE);
    let plain = Server::start_tcp(AT_ONCE);
    let replica = start_replica(&as_replica(&authority, "client"), &[]);
    replica.client().ask("SET own 1");
    await_refusal(&replica, foreign.tls_address(), "cannot connect over TLS: invalid peer certificate");
    await_refusal(&replica, plain.tcp(), "cannot connect over TLS: received corrupt message");
    // Who shows nothing that the primary believes is refused there.
    let stranger = start_replica(&as_replica(&other, "client"), &[]);
    stranger.client().ask(&format!("CONFIG SET tls-ca-cert-file {}", authority.word("ca.crt")));
    await_refusal(&stranger, good.tls_address(), "received fatal alert");
    // Without TLS here, none is spoken.
    replica.client().ask("CONFIG SET tls-replication no");
    await_refusal(&replica, good.tls_address(), "Replica of 127.0.0.1");
    assert_eq!(replica.client().ask("GET own").string(), "1");
    replica.client().ask("CONFIG SET tls-replication yes");
    replica.client().ask(&to_follow(good.tls_address()));
    await_link(&replica);
}

/// Its own certificate for servers, and the key behind a password; changed while the server runs, for the next link.
#[test]
fn certificate_for_servers_is_shown_to_them() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key, sealed) =
        (authority.word("client.crt"), authority.word("client.key"), authority.word("client.sealed"));
    let ran = Command::new("openssl")
        .args(["pkcs8", "-topk8", "-in", &key, "-out", &sealed, "-passout", "pass:word"])
        .status();
    assert!(ran.is_ok_and(|status| status.success()), "tests/run installs openssl");
    let primary = Server::start_tls(&authority, AT_ONCE);
    // Clients are shown what the primary would not believe.
    let replica = start_replica(&as_replica(&other, "server"), &[]);
    let mut client = replica.client();
    let mut set = |words: &[&str]| client.call(&[&["CONFIG", "SET"], words].concat()).string();
    assert_eq!(set(&["tls-ca-cert-file", &authority.word("ca.crt")]), "OK");
    let refused = "ERR CONFIG SET failed (possibly related to argument 'tls-client-cert-file') - Unable to update TLS \
                   configuration. Check server logs.";
    let files = ["tls-client-cert-file", &cert, "tls-client-key-file", &sealed];
    assert_eq!(set(&files), refused);
    assert_eq!(set(&[&files[..], &["tls-client-key-file-pass", "wrong"]].concat()), refused);
    assert!(replica.log().contains("there is no tls-client-key-file-pass"), "{}", replica.log());
    assert_eq!(
        set(&["tls-client-cert-file", &authority.word("missing"), "tls-client-key-file", &key]),
        refused
    );
    assert_eq!(set(&[&files[..], &["tls-client-key-file-pass", "word"]].concat()), "OK");
    replica.client().ask(&to_follow(primary.tls_address()));
    await_link(&replica);
    assert_eq!(set(&["tls-client-cert-file", "", "tls-client-key-file", ""]), "OK");
    primary.client().ask("CLIENT KILL TYPE replica");
    assert!(until(|| replica.log().contains("received fatal alert")), "{}", replica.log());
}

#[test]
fn what_connects_needs_certificates_and_authorities() {
    let authority = Authority::new();
    let server = Server::start(&[]);
    let mut client = server.client();
    let refused = "ERR CONFIG SET failed (possibly related to argument 'tls-replication') - Unable to update TLS \
                   configuration. Check server logs.";
    assert_eq!(client.ask("CONFIG SET tls-replication yes").string(), refused);
    assert!(server.log().contains("No tls-cert-file configured!"), "{}", server.log());
    assert_eq!(client.ask("CONFIG GET tls-replication").elements()[1].string(), "no");
    let (cert, key) = (authority.word("server.crt"), authority.word("server.key"));
    let words = ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key, "tls-auth-clients", "no"];
    assert_eq!(client.call(&words).string(), "OK");
    assert_eq!(client.ask("CONFIG SET tls-replication yes").string(), refused);
    assert!(server.log().contains("Either tls-ca-cert-file or tls-ca-cert-dir"), "{}", server.log());
}

/// Who takes the connection and says nothing holds up neither a change of the role nor anybody else.
#[test]
fn silent_handshake_ends_with_the_role_and_with_its_time() {
    let authority = Authority::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("there are ports");
    let address = listener.local_addr().expect("it is bound");
    let replica = start_replica(&as_replica(&authority, "client"), &["--repl-timeout", "1"]);
    replica.client().ask(&to_follow(address));
    let (_first, _) = listener.accept().expect("it connects");
    let (_second, _) = listener.accept().expect("it connects again");
    assert!(replica.log().contains("cannot connect over TLS"), "{}", replica.log());
    replica.client().ask("CONFIG SET repl-timeout 3600");
    let (_third, _) = listener.accept().expect("it connects again");
    let primary = Server::start_tls(&authority, AT_ONCE);
    replica.client().ask(&to_follow(primary.tls_address()));
    await_link(&replica);
    assert_eq!(replica.client().ask("REPLICAOF NO ONE").string(), "OK");
}
