//! New certificates for a running server: by CONFIG SET and by SIGHUP, all or nothing, and nobody is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::process::Signal;

use super::info;
use crate::harness::tls::{Authority, connect};
use crate::harness::{Server, until};

/// The certificate that a new client is shown.
fn shown(server: &Server, authority: &Authority) -> Vec<u8> {
    let stream = connect(server.tls_address(), &authority.client()).expect("it listens");
    stream.conn.peer_certificates().expect("one is shown")[0].to_vec()
}

#[test]
fn config_set_serves_anew_or_changes_nothing() {
    let authority = Authority::new();
    authority.sign("next", "next");
    let server = Server::start_tls(&authority, &["--workers", "2"]);
    let before = shown(&server, &authority);
    let (mut client, mut old) = (server.client(), server.tls_client());
    let mut set = |words: &[&str]| client.call(&[&["CONFIG", "SET"], words].concat()).string();
    let (cert, key) = (authority.word("next.crt"), authority.word("next.key"));
    let refused = |name: &str| {
        format!(
            "ERR CONFIG SET failed (possibly related to argument '{name}') - Unable to update TLS configuration. \
             Check server logs."
        )
    };
    let missing = authority.word("missing");
    for (name, value) in [
        ("tls-cert-file", cert.as_str()),
        ("tls-cert-file", &missing),
        ("tls-key-file", &key),
        ("tls-key-file", &missing),
        ("tls-ca-cert-file", &missing),
        ("tls-protocols", "foo"),
        ("tls-ciphers", "nope"),
        ("tls-ciphersuites", "nope"),
    ] {
        assert_eq!(set(&["maxclients", "77", name, value]), refused(name), "{value}");
        assert!(
            server.log().contains(&format!("Possibly related to new {name} setting.")),
            "{}",
            server.log()
        );
    }
    assert_eq!(shown(&server, &authority), before);
    assert_eq!(set(&["tls-cert-file", &cert, "tls-key-file", &key]), "OK");
    assert_eq!(shown(&server, &authority), authority.der("next.crt"));
    assert_eq!(old.ask("CONFIG GET maxclients").elements()[1].string(), "10000");
    assert_eq!(old.ask("CONFIG GET tls-cert-file").elements()[1].string(), cert);
    // The same name, and another file.
    authority.sign("next", "next again");
    assert_ne!(shown(&server, &authority), authority.der("next.crt"));
    assert_eq!(set(&["tls-cert-file", &cert]), "OK");
    assert_eq!(shown(&server, &authority), authority.der("next.crt"));
    let reply = set(&["tls-port", "7000"]);
    assert!(reply.contains("can't set immutable config"), "{reply}");
}

#[test]
fn sighup_reads_the_files_again() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &["--workers", "2"]);
    let mut old = server.tls_client();
    let before = shown(&server, &authority);
    std::fs::write(authority.file("server.key"), "no key").expect("it can be written");
    server.signal(Signal::HUP);
    assert!(until(|| server.log().contains("What was served is served further.")), "{}", server.log());
    assert_eq!(shown(&server, &authority), before);
    authority.sign("server", "server again");
    server.signal(Signal::HUP);
    assert!(until(|| server.log().contains("TLS certificates and keys were read again")), "{}", server.log());
    assert_eq!(shown(&server, &authority), authority.der("server.crt"));
    assert_eq!(old.ask("PING").string(), "PONG");
}

/// Every client gets the old certificate or the new one, by CONFIG SET and by SIGHUP, while others are served and some send what is no
/// handshake. Nobody who was connected before is dropped.
#[test]
fn certificates_are_renewed_under_load() {
    const RENEWALS: usize = 50;
    let authority = Arc::new(Authority::new());
    authority.sign("a", "a");
    authority.sign("b", "b");
    let mut server = Server::start_tls(&authority, &["--workers", "4"]);
    let over = AtomicBool::new(false);
    let certificates = ["server", "a", "b"].map(|name| authority.der(&format!("{name}.crt")));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let certificate = shown(&server, &authority);
                    assert!(certificates.contains(&certificate));
                    let broken = std::net::TcpStream::connect(server.tls_address());
                    std::io::Write::write_all(&mut broken.expect("it listens"), b"no handshake")
                        .unwrap_or_default();
                }
            });
        }
        let mut clients: Vec<_> = (0..8).map(|_| server.tls_client()).collect();
        let mut admin = server.client();
        for n in 0..RENEWALS {
            let name = ["a", "b"][n % 2];
            server.signal(Signal::HUP);
            let (cert, key) =
                (authority.word(&format!("{name}.crt")), authority.word(&format!("{name}.key")));
            let words = ["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key];
            assert_eq!(admin.call(&words).string(), "OK");
            for client in &mut clients {
                assert_eq!(client.ask("PING").string(), "PONG");
            }
        }
        let read_again = || server.log().matches("TLS certificates and keys were read again").count();
        // Signals that come at once are one.
        assert!(until(|| read_again() > 0), "{}", server.log());
        assert!(!server.log().contains("What was served"), "{}", server.log());
        over.store(true, Ordering::Relaxed);
    });
    assert!(info(&server, "stats", "tls_handshakes") > 1);
    server.check_alive();
}
