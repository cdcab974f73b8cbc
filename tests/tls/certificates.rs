//! Who is let in: certificates of clients, and what they make of them; keys and their passwords; protocols and ciphers.

use std::process::Command;
use std::sync::Arc;

use super::{BACKENDS, info};
use crate::harness::tls::{Authority, VERSIONS, word};
use crate::harness::{Client, Server, TORC, TempDir, Value, outer_address};

/// The first reply to a client with these settings, if it is let in.
fn first_reply(server: &Server, config: rustls::ClientConfig) -> Option<Value> {
    let mut client = Client::tls(server.tls_address(), &Arc::new(config)).ok()?;
    client.send(&["PING"]).and_then(|()| client.read()).ok()
}

#[test]
fn certificates_are_asked_for_as_configured() {
    let (authority, other) = (Authority::new(), Authority::new());
    for backend in BACKENDS {
        for (word, none, good, foreign) in
            [("yes", false, true, false), ("optional", true, true, false), ("no", true, true, true)]
        {
            let args = ["--io-backend", backend, "--workers", "1", "--tls-auth-clients", word];
            let server = Server::start_tls(&authority, &args);
            for version in VERSIONS {
                let is_let_in = |config| first_reply(&server, config).is_some();
                assert_eq!(is_let_in(authority.client_config(None, &[version])), none, "{word}: none");
                assert_eq!(
                    is_let_in(authority.client_config(Some("client"), &[version])),
                    good,
                    "{word}: good"
                );
                let mut config = authority.client_config(None, &[version]);
                config.client_auth_cert_resolver =
                    other.client_config(Some("client"), &[version]).client_auth_cert_resolver;
                assert_eq!(is_let_in(config), foreign, "{word}: foreign");
            }
        }
    }
}

#[test]
fn directory_of_authorities_is_read() {
    let (authority, other) = (Authority::new(), Authority::new());
    let dir = TempDir::new();
    std::fs::copy(other.file("ca.crt"), dir.path().join("other.pem")).expect("it can be written");
    std::fs::write(dir.path().join("README"), "no certificate").expect("it can be written");
    let server = Server::start_tls(&authority, &["--workers", "1", "--tls-ca-cert-dir", &word(dir.path())]);
    let mut config = authority.client_config(None, VERSIONS);
    config.client_auth_cert_resolver =
        other.client_config(Some("client"), VERSIONS).client_auth_cert_resolver;
    assert!(first_reply(&server, config).is_some());
    assert!(first_reply(&server, authority.client_config(Some("client"), VERSIONS)).is_some());
}

#[test]
fn common_name_says_who_the_client_is() {
    let authority = Authority::new();
    authority.sign("default", "default");
    authority.sign("nobody", "nobody");
    let args = ["--workers", "1", "--requirepass", "secret", "--tls-auth-clients-user", "CN"];
    let server = Server::start_tls(&authority, &args);
    let reply =
        |name| first_reply(&server, authority.client_config(Some(name), VERSIONS)).expect("it is let in");
    assert_eq!(reply("default").string(), "PONG");
    assert!(reply("nobody").string().starts_with("NOAUTH "));
    let mut client = server.tls_client();
    assert_eq!(client.ask("AUTH secret").string(), "OK");
    assert_eq!(client.ask("ACL SETUSER nobody on +acl|whoami").string(), "OK");
    assert_eq!(client.ask("ACL SETUSER off off +@all").string(), "OK");
    authority.sign("off", "off");
    let whoami = |name| {
        let config = Arc::new(authority.client_config(Some(name), VERSIONS));
        let mut client = Client::tls(server.tls_address(), &config).expect("it is let in");
        client.ask("ACL WHOAMI").string()
    };
    assert_eq!((whoami("default").as_str(), whoami("nobody").as_str()), ("default", "nobody"));
    assert!(reply("nobody").string().starts_with("NOPERM "));
    assert!(whoami("off").starts_with("NOAUTH "));
    assert_eq!(client.ask("CONFIG SET tls-auth-clients-user off").string(), "OK");
    assert!(reply("default").string().starts_with("NOAUTH "));
}

#[test]
fn protected_mode_and_maxclients_hold() {
    let authority = Authority::new();
    let server = Server::start_tls(&authority, &["--workers", "2", "--maxclients", "2"]);
    let mut first = server.tls_client();
    assert_eq!(first.ask("PING").string(), "PONG");
    let _second = server.client();
    assert!(first_reply(&server, authority.client_config(Some("client"), VERSIONS)).is_none());
    assert_eq!(first.ask("INFO stats").string().matches("rejected_connections:1").count(), 1);
}

/// Whoever comes from elsewhere is told so once the handshake is over, and in no other way.
#[test]
fn clients_of_other_hosts_need_a_password_over_tls() {
    let authority = Authority::new();
    let Some(address) = outer_address() else { return };
    let server = Server::start_tls(&authority, &["--bind", "0.0.0.0", "--protected-mode", "yes"]);
    let outer = std::net::SocketAddr::new(address, server.tls_address().port());
    let mut stranger = Client::tls(outer, &authority.client()).expect("it listens");
    let reply = stranger.read().expect("a reason").string();
    assert!(reply.starts_with("DENIED ") && reply.contains("protected mode"), "{reply}\n{}", server.log());
    assert!(stranger.read().is_err(), "it is closed");
    let mut client = server.tls_client();
    assert_eq!(client.ask("PING").string(), "PONG");
    assert_eq!(client.ask("CONFIG SET requirepass secret").string(), "OK");
    let mut stranger = Client::tls(outer, &authority.client()).expect("it listens");
    assert!(stranger.ask("PING").string().starts_with("NOAUTH "));
    assert_eq!(stranger.ask("AUTH secret").string(), "OK");
}

/// What `openssl` says of a handshake with these arguments.
fn openssl(server: &Server, authority: &Authority, args: &[&str]) -> String {
    let address = server.tls_address().to_string();
    let (cert, key) = (authority.word("client.crt"), authority.word("client.key"));
    let output = Command::new("openssl")
        .args(["s_client", "-connect", &address, "-cert", &cert, "-key", &key])
        .args(args)
        .stdin(std::process::Stdio::null())
        .output()
        .expect("tests/run installs openssl");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn protocols_and_ciphers_are_those_that_are_named() {
    let authority = Authority::new();
    let args = [
        "--workers",
        "1",
        "--tls-protocols",
        "TLSv1.2",
        "--tls-ciphers",
        "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305",
        "--tls-prefer-server-ciphers",
        "yes",
    ];
    let server = Server::start_tls(&authority, &args);
    let said = openssl(&server, &authority, &["-tls1_3"]);
    assert!(said.contains("alert protocol version"), "{said}");
    let said = openssl(&server, &authority, &["-cipher", "ECDHE-ECDSA-AES256-GCM-SHA384"]);
    assert!(said.contains("handshake failure"), "{said}");
    let both = "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-GCM-SHA256";
    let said = openssl(&server, &authority, &["-cipher", both]);
    assert!(said.contains("Cipher is ECDHE-ECDSA-AES128-GCM-SHA256"), "{said}");
    let mut client = server.client();
    let words =
        ["CONFIG", "SET", "tls-protocols", "TLSv1.3", "tls-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"];
    assert_eq!(client.call(&words).string(), "OK");
    let said = openssl(&server, &authority, &[]);
    assert!(said.contains("Cipher is TLS_CHACHA20_POLY1305_SHA256"), "{said}");
}

#[test]
fn encrypted_keys_are_opened_by_their_password() {
    let authority = Authority::new();
    let pkcs8 = |ending: &str, more: &[&str]| {
        let (from, to) = (authority.word("server.key"), authority.word(&format!("server.{ending}")));
        let ran = Command::new("openssl")
            .args(["pkcs8", "-topk8", "-in", &from, "-out", &to, "-passout", "pass:word"])
            .args(more)
            .status();
        assert!(ran.is_ok_and(|status| status.success()), "tests/run installs openssl");
        to
    };
    for more in [&[][..], &["-scrypt"], &["-v2", "aes-128-cbc"]] {
        let file = pkcs8("encrypted", more);
        let args = ["--workers", "1", "--tls-key-file", &file, "--tls-key-file-pass", "word"];
        let server = Server::start_tls(&authority, &args);
        assert_eq!(server.tls_client().ask("PING").string(), "PONG", "{more:?}");
        assert!(!server.log().contains("word\""), "{}", server.log());
        let mut client = server.client();
        let reply = client.call(&["CONFIG", "SET", "tls-key-file-pass", "other"]).string();
        assert!(
            reply.contains("argument 'tls-key-file-pass') - Unable to update TLS configuration."),
            "{reply}"
        );
        assert!(server.log().contains("tls-key-file-pass does not open it"), "{}", server.log());
        assert_eq!(server.tls_client().ask("PING").string(), "PONG", "{more:?}");
    }
}

#[test]
fn what_cannot_be_served_stops_the_start() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key, ca) =
        (authority.word("server.crt"), authority.word("server.key"), authority.word("ca.crt"));
    let old = TempDir::new();
    let old = word(&old.path().join("old.key"));
    let (foreign, missing) = (other.word("server.key"), authority.word("missing"));
    let cases: &[(&[&str], &str)] = &[
        (&[], "No tls-cert-file configured!"),
        (&["--tls-cert-file", &cert], "No tls-key-file configured!"),
        (
            &["--tls-cert-file", &cert, "--tls-key-file", &key],
            "Either tls-ca-cert-file or tls-ca-cert-dir must be specified",
        ),
        (&["--tls-cert-file", &missing, "--tls-key-file", &key], "Failed to load certificate: "),
        (&["--tls-cert-file", &key, "--tls-key-file", &key], "there is no certificate in it"),
        (&["--tls-cert-file", &cert, "--tls-key-file", &old], "Failed to load private key: "),
        (&["--tls-cert-file", &cert, "--tls-key-file", &ca], "there is no private key in it"),
        (
            &["--tls-cert-file", &cert, "--tls-key-file", &foreign, "--tls-ca-cert-file", &ca],
            "it is not that of the certificate",
        ),
        (
            &["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-ca-cert-file", &missing],
            "Failed to configure CA certificate(s) file/directory: ",
        ),
        (&["--tls-protocols", "TLSv1.1"], "are broken"),
        (&["--tls-ciphers", "RC4-SHA"], "Failed to configure ciphers: RC4-SHA"),
        (&["--tls-ciphersuites", "x"], "Failed to configure ciphersuites: x"),
    ];
    for (args, said) in cases {
        let output = Command::new(TORC)
            .args([
                "--port",
                "0",
                "--tls-port",
                "7000",
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--workers",
                "1",
            ])
            .args(*args)
            .output()
            .expect("the binary was built");
        assert!(!output.status.success(), "{args:?}");
        let log =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(log.contains(said), "{args:?}: {log}");
    }
}

/// What was agreed with a client may be taken up by its next connection, which saves the costly part; not where that is off.
#[test]
fn sessions_are_resumed_as_configured() {
    let authority = Authority::new();
    for (word, resumed) in [("yes", true), ("no", false)] {
        let server = Server::start_tls(&authority, &["--workers", "2", "--tls-session-caching", word]);
        for version in VERSIONS {
            let config = Arc::new(authority.client_config(Some("client"), &[version]));
            let kind = || {
                let mut stream =
                    crate::harness::tls::connect(server.tls_address(), &config).expect("it listens");
                let kind = stream.conn.handshake_kind().expect("it is over");
                use std::io::{Read as _, Write as _};
                // The ticket comes before the reply.
                stream
                    .write_all(b"PING\r\n")
                    .and_then(|()| stream.read_exact(&mut [0; 7]))
                    .expect("it replies");
                kind
            };
            assert_eq!(kind(), rustls::HandshakeKind::Full);
            let again = if resumed { rustls::HandshakeKind::Resumed } else { rustls::HandshakeKind::Full };
            assert_eq!(kind(), again, "{word}, {version:?}");
        }
        assert_eq!(info(&server, "stats", "tls_handshakes"), 4);
    }
}
