//! Clients that speak TLS well, badly and not at all, to the layer between sockets and worker: whatever they send, it neither
//! panics nor hangs, and what an honest one has written comes out as it was.
//!
//! The input is a list of steps, each a byte that says what to do and some that say with what: see `Step`.
#![no_main]

use std::io::Write as _;
use std::sync::{Arc, LazyLock};

use libfuzzer_sys::fuzz_target;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use torc::io::sim::{Faults, SimClient, SimIo, SimNet};
use torc::io::tls::{Served, Tls};
use torc::io::{Event, Io as _, Options, Outgoing, Token, Wait};

/// For `localhost`, signed by itself, good for a century.
const CERTIFICATE: &[u8] = include_bytes!("../../data/localhost.crt");
const KEY: &[u8] = include_bytes!("../../data/localhost.key");

const PORT: u16 = 1;
const TOKEN: Token = Token { slot: 0, generation: 1 };
const STEPS_MAX: usize = 64;
const TURNS_PER_STEP: usize = 6;

struct Setup {
    served: Served,
    clients: [Arc<ClientConfig>; 2],
}

static SETUP: LazyLock<Setup> = LazyLock::new(|| {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("it is one");
    let key = || PrivateKeyDer::from_pem_slice(KEY).expect("it is one");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("it is one");
    let roots = Arc::new(roots);
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::clone(&roots),
        Arc::clone(&provider),
    );
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("there are suites")
        .with_client_cert_verifier(verifier.allow_unauthenticated().build().expect("there is one"))
        .with_single_cert(vec![certificate.clone()], key())
        .expect("they belong together");
    let client = |version| {
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[version])
            .expect("there are suites")
            .with_root_certificates(Arc::clone(&roots));
        Arc::new(
            builder.with_client_auth_cert(vec![certificate.clone()], key()).expect("they belong together"),
        )
    };
    let served = Served::default();
    served.store(Some(Arc::new(server)));
    Setup { served, clients: [&rustls::version::TLS12, &rustls::version::TLS13].map(client) }
});

/// The worker's end: it echoes.
#[derive(Default)]
struct Worker {
    attached: bool,
    sending: bool,
    heard: Vec<u8>,
    unsent: Vec<u8>,
}

impl Worker {
    fn turn(&mut self, io: &mut Tls<SimIo>) {
        io.turn(Wait::Poll).expect("always");
        let mut events = Vec::new();
        io.reap(&mut events);
        for event in events {
            match event {
                Event::Accepted { socket, .. } => {
                    self.attached = true;
                    io.attach(TOKEN, socket);
                    io.receive(TOKEN);
                }
                Event::Decrypted { bytes, .. } => {
                    self.heard.extend_from_slice(&bytes);
                    self.unsent.extend_from_slice(&bytes);
                }
                Event::Sent { result, .. } => {
                    self.sending = false;
                    if result.is_err() {
                        io.close(TOKEN);
                    }
                }
                Event::InputEnded { .. } | Event::HandshakeFailed { .. } => io.close(TOKEN),
                Event::Detached { .. } => self.attached = false,
                Event::Established { .. } | Event::Woken => {}
                other => panic!("unexpected {other:?}"),
            }
            if !self.attached {
                return;
            }
        }
        if self.attached && !self.sending && !self.unsent.is_empty() {
            self.sending = true;
            io.send(TOKEN, Outgoing::Flat(std::mem::take(&mut self.unsent)));
        }
    }
}

/// Moves what the client has to say, changed by `change`, and what it is told.
fn exchange(tls: &mut ClientConnection, link: &SimClient, change: impl FnOnce(&mut Vec<u8>)) {
    let received = link.read();
    let mut rest = &received[..];
    while !rest.is_empty() && tls.read_tls(&mut rest).is_ok() {
        if tls.process_new_packets().is_err() {
            break;
        }
    }
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records).expect("it is memory");
    }
    change(&mut records);
    link.send(&records);
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, mut rest)) = data.split_first() else { return };
    let faults = Faults { piece_bytes_max: 1 << (first >> 4), ..Faults::default() };
    let net = SimNet::new(u64::from(first), faults);
    let options =
        Options { buffer_count: 4, buffer_bytes: 1 << (4 + (first >> 1 & 7)), ..Options::default() };
    let mut io = Tls::new(SimIo::new(&net, &options), Arc::clone(&SETUP.served));
    io.accept(0, net.listen(PORT).with_tls()).expect("always");
    let (mut worker, link) = (Worker::default(), net.connect(PORT));
    let config = Arc::clone(&SETUP.clients[usize::from(first & 1)]);
    let mut tls =
        ClientConnection::new(config, "localhost".try_into().expect("a name")).expect("it can begin");
    let (mut is_honest, mut written) = (true, Vec::new());
    for _ in 0..STEPS_MAX {
        let [kind, argument, behind @ ..] = rest else { break };
        let take = usize::from(*argument).min(behind.len());
        let (bytes, behind) = behind.split_at(if kind % 6 < 3 { take } else { 0 });
        rest = behind;
        match kind % 6 {
            // Bytes as they are.
            0 => {
                is_honest &= bytes.is_empty();
                link.send(bytes);
            }
            // What the client would say, with some of it changed.
            1 => exchange(&mut tls, &link, |records| {
                for (at, byte) in bytes.iter().enumerate().filter(|(_, byte)| **byte != 0) {
                    let at = at * 7 + usize::from(*argument);
                    if let Some(place) = records.get_mut(at) {
                        *place ^= byte;
                        is_honest = false;
                    }
                }
            }),
            // Something to be read, once the handshake is over.
            2 if !tls.is_handshaking() => {
                tls.writer().write_all(bytes).expect("it is memory");
                written.extend_from_slice(bytes);
                exchange(&mut tls, &link, |_| {});
            }
            3 => tls.send_close_notify(),
            4 => {
                tls.refresh_traffic_keys().unwrap_or_default();
                exchange(&mut tls, &link, |_| {});
            }
            _ => exchange(&mut tls, &link, |_| {}),
        }
        for _ in 0..TURNS_PER_STEP {
            worker.turn(&mut io);
        }
    }
    if is_honest {
        assert!(written.starts_with(&worker.heard), "other bytes came out");
    }
    link.close();
    for _ in 0..100_000 {
        if !worker.attached {
            return;
        }
        worker.turn(&mut io);
    }
    panic!("the client has gone, and its connection has not");
});
