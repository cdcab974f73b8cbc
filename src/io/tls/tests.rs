//! TLS over the simulated network: every cut of records and every delay, bulks, moves and ends.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};

use bytes::{Bytes, BytesMut};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ClientConnection, RootCertStore, SupportedProtocolVersion};

use super::super::Options;
use super::super::sim::{Faults, Rng, SimClient, SimIo, SimNet};
use super::*;

const PORT: u16 = 1;
const CLIENTS: usize = 6;
const TURNS_MAX: u32 = 200_000;
const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// For `localhost`, signed by itself, good for a century.
const CERTIFICATE: &[u8] = include_bytes!("../../../tests/data/localhost.crt");
const KEY: &[u8] = include_bytes!("../../../tests/data/localhost.key");

/// What servers and clients are set up with; both versions for servers.
struct Setup {
    served: Served,
    clients: [Arc<ClientConfig>; 2],
}

impl Setup {
    fn new() -> Setup {
        let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("it is one");
        let key = PrivateKeyDer::from_pem_slice(KEY).expect("it is one");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&VERSIONS)
            .expect("there are suites")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .expect("they belong together");
        let client = |version| {
            let mut roots = RootCertStore::empty();
            roots.add(certificate.clone()).expect("it is one");
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_protocol_versions(&[version])
                .expect("there are suites");
            Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
        };
        Setup { served: Arc::new(ArcSwapOption::from_pointee(server)), clients: VERSIONS.map(client) }
    }
}

/// What a server knows of a connection.
#[derive(Default)]
struct Echo {
    /// Yet to be sent back.
    out: Vec<u8>,
    established: bool,
    sending: bool,
    /// A large bulk is awaited.
    receiving: bool,
    moving: bool,
    ended: bool,
}

/// Sends back what it receives; now and then it receives into a bulk, or gives a connection to the other one.
struct Server {
    io: Tls<SimIo>,
    next_slot: u32,
    echoes: HashMap<Token, Echo>,
    failures: u32,
    /// Received something in this turn.
    heard: Vec<Token>,
}

impl Server {
    fn new(net: &SimNet, options: &Options, setup: &Setup) -> Server {
        let mut io = Tls::new(SimIo::new(net, options), Arc::clone(&setup.served));
        io.accept(0, net.listen(PORT).with_tls()).expect("always");
        Server { io, next_slot: 0, echoes: HashMap::new(), failures: 0, heard: Vec::new() }
    }

    /// One turn; what moves to the other server.
    fn turn(&mut self, rng: &mut Rng) -> Vec<(Socket, Echo)> {
        self.io.turn(Wait::Forever).expect("always");
        let (mut events, mut moved) = (Vec::new(), Vec::new());
        self.io.reap(&mut events);
        for event in events {
            match event {
                Event::Accepted { socket, .. } => {
                    assert!(socket.is_tls());
                    self.attach(socket, Echo::default());
                }
                Event::Released { token, socket } => {
                    assert!(socket.is_tls());
                    moved.push((socket, self.echoes.remove(&token).expect("attached")));
                }
                event => self.handle(event),
            }
        }
        let heard = std::mem::take(&mut self.heard);
        heard.into_iter().for_each(|token| self.act(token, rng));
        moved
    }

    fn attach(&mut self, socket: Socket, echo: Echo) {
        let token = Token { slot: self.next_slot, generation: 3 };
        self.next_slot += 1;
        self.io.attach(token, socket);
        self.io.receive(token);
        self.echoes.insert(token, Echo { moving: false, ..echo });
        self.flush(token);
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Established { token, certificate } => {
                assert_eq!(certificate, None);
                let echo = self.echoes.get_mut(&token).expect("attached");
                assert!(!std::mem::replace(&mut echo.established, true));
                assert!(echo.out.is_empty());
            }
            Event::Decrypted { token, bytes } => {
                assert!(!bytes.is_empty());
                self.echoes.get_mut(&token).expect("attached").out.extend_from_slice(&bytes);
                self.heard.push(token);
            }
            Event::BulkReceived { token, bulk, done } => {
                let echo = self.echoes.get_mut(&token).expect("attached");
                echo.receiving = false;
                echo.ended |= done.is_err();
                echo.out.extend_from_slice(&bulk);
                if done.is_ok() {
                    self.io.receive(token);
                }
                self.flush(token);
            }
            Event::Sent { token, result, .. } => {
                self.echoes.get_mut(&token).expect("attached").sending = false;
                match result {
                    Ok(_) => self.flush(token),
                    Err(_) => self.io.close(token),
                }
            }
            Event::InputEnded { token, .. } => {
                let echo = self.echoes.get_mut(&token).expect("attached");
                assert!(!std::mem::replace(&mut echo.ended, true), "an end is told once");
                echo.moving = false;
                self.flush(token);
            }
            Event::HandshakeFailed { token, .. } => {
                self.failures += 1;
                self.io.close(token);
            }
            Event::Detached { token } => drop(self.echoes.remove(&token).expect("attached")),
            other => panic!("unexpected {other:?}"),
        }
    }

    fn act(&mut self, token: Token, rng: &mut Rng) {
        let Some(echo) = self.echoes.get_mut(&token) else { return };
        if echo.receiving || echo.moving || echo.ended {
            return;
        }
        if rng.chance(20) {
            echo.receiving = true;
            let bulk = BytesMut::from(&echo.out[..]);
            let len = bulk.len() + rng.size(40_000);
            echo.out.clear();
            self.io.receive_into(token, bulk, len);
        } else if rng.chance(20) && !echo.sending {
            echo.moving = true;
            self.io.release(token);
        } else {
            self.flush(token);
        }
    }

    fn flush(&mut self, token: Token) {
        let Some(echo) = self.echoes.get_mut(&token) else { return };
        if echo.sending || echo.moving {
            return;
        }
        if !echo.out.is_empty() {
            echo.sending = true;
            let out = std::mem::take(&mut echo.out);
            let unawaited = out.len() % 3 == 0;
            let outgoing = if out.len() % 2 == 0 {
                Outgoing::Flat(out)
            } else {
                let (whole, third) = (Bytes::from(out.clone()), out.len() / 3);
                Outgoing::Gather(vec![whole.slice(..third), whole.slice(third..)])
            };
            if unawaited {
                self.io.send_unawaited(token, outgoing);
            } else {
                self.io.send(token, outgoing);
            }
        } else if echo.ended {
            self.io.close(token);
        }
    }
}

struct Client {
    tls: ClientConnection,
    link: SimClient,
    unsent: Vec<u8>,
    got: Vec<u8>,
    /// It says that it sends no more; without a word otherwise.
    says_end: bool,
    closed: bool,
}

impl Client {
    fn new(net: &SimNet, config: &Arc<ClientConfig>, bytes: &[u8], says_end: bool) -> Client {
        let name = "localhost".try_into().expect("it is a name");
        let tls = ClientConnection::new(Arc::clone(config), name).expect("it can begin");
        Client {
            tls,
            link: net.connect(PORT),
            unsent: bytes.to_vec(),
            got: Vec::new(),
            says_end,
            closed: false,
        }
    }

    fn go_on(&mut self, rng: &mut Rng) {
        let received = self.link.read_some(rng.size(50_000));
        let mut rest = &received[..];
        while !rest.is_empty() {
            self.tls.read_tls(&mut rest).expect("it is memory");
            let state = self.tls.process_new_packets().expect("the server keeps to the protocol");
            let mut plain = vec![0; state.plaintext_bytes_to_read()];
            self.tls.reader().read_exact(&mut plain).expect("it is there");
            self.got.extend_from_slice(&plain);
            self.closed |= state.peer_has_closed();
        }
        if !self.tls.is_handshaking() && !self.unsent.is_empty() {
            let count = rng.size(30_000).min(self.unsent.len());
            self.tls.writer().write_all(&self.unsent[..count]).expect("it is memory");
            self.unsent.drain(..count);
            if self.unsent.is_empty() && self.says_end {
                self.tls.send_close_notify();
            }
        }
        let mut records = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut records).expect("it is memory");
        }
        if !records.is_empty() {
            self.link.send(&records);
            if self.unsent.is_empty() && !self.tls.is_handshaking() && !self.says_end {
                self.link.finish();
            }
        }
    }
}

/// Two servers echo for clients of both versions under the faults of `seed`.
fn run(setup: &Setup, seed: u64) {
    let mut rng = Rng::new(seed);
    let faults = Faults { piece_bytes_max: rng.size(20_000), ..Faults::random(&mut rng) };
    let piece_bytes_max = faults.piece_bytes_max;
    let net = SimNet::new(rng.next_u64(), faults);
    let options = Options {
        buffer_count: 1 << rng.below(5),
        buffer_bytes: rng.size(20_000) as u32,
        ..Options::default()
    };
    // Byte by byte, much would take long.
    let bytes_max = (piece_bytes_max.min(options.buffer_bytes as usize) * 500).clamp(500, 60_000);
    let mut servers = [0; 2].map(|_| Server::new(&net, &options, setup));
    let sent: Vec<Vec<u8>> = (0..CLIENTS)
        .map(|client| (0..rng.size(bytes_max)).map(|n| (client * 31 + n * 7 + n / 251) as u8).collect())
        .collect();
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|number| {
            let config = &setup.clients[number % 2];
            Client::new(&net, config, &sent[number], rng.chance(50))
        })
        .collect();
    for turn in 0.. {
        assert!(turn < TURNS_MAX, "seed {seed}: it does not end");
        clients.iter_mut().for_each(|client| client.go_on(&mut rng));
        let ready = net.ready_workers();
        let is_busy = |server: &Server| !server.io.handshakes.is_empty() || !server.io.ready.is_empty();
        let busy = servers.iter().position(is_busy);
        if let Some(number) = busy.or((!ready.is_empty()).then(|| ready[net.choose(ready.len())])) {
            let moved = servers[number].turn(&mut rng);
            moved.into_iter().for_each(|(socket, echo)| servers[1 - number].attach(socket, echo));
        } else if !net.advance_to_next_deadline()
            && clients.iter().all(|client| client.link.ended().is_some())
        {
            break;
        }
    }
    for (number, (client, sent)) in clients.iter().zip(&sent).enumerate() {
        assert!(
            client.got == *sent,
            "seed {seed}: client {number} got {} of {}",
            client.got.len(),
            sent.len()
        );
        assert!(client.closed, "seed {seed}: client {number} was not told of the end");
    }
    for server in &servers {
        assert!(server.echoes.is_empty(), "seed {seed}");
        assert_eq!(
            (server.failures, server.io.count, server.io.inner.lent_buffers()),
            (0, 0, 0),
            "seed {seed}"
        );
    }
}

#[test]
fn what_is_sent_comes_back_under_every_fault() {
    let setup = Setup::new();
    (0..150).for_each(|seed| run(&setup, seed));
}

/// The first bytes that a client sends.
fn hello(config: &Arc<ClientConfig>) -> Vec<u8> {
    let name = "localhost".try_into().expect("it is a name");
    let mut tls = ClientConnection::new(Arc::clone(config), name).expect("it can begin");
    let mut records = Vec::new();
    tls.write_tls(&mut records).expect("it is memory");
    records
}

/// However many clients begin at once, a turn takes what its limit says, and those that come first are first.
#[test]
fn handshakes_are_taken_a_few_a_turn() {
    let setup = Setup::new();
    let net = SimNet::new(1, Faults::default());
    let mut server = Server::new(&net, &Options::default(), &setup);
    server.io.limit_handshakes(3);
    let hello = hello(&setup.clients[1]);
    let clients: Vec<SimClient> = (0..20).map(|_| net.connect(PORT)).collect();
    let mut rng = Rng::new(1);
    clients.iter().for_each(|client| client.send(&hello));
    let mut answered = [false; 20];
    for turn in 1..=20 {
        server.turn(&mut rng);
        for (client, answered) in clients.iter().zip(&mut answered) {
            *answered |= !client.read().is_empty();
        }
        let count = answered.iter().filter(|answered| **answered).count();
        assert!(count <= 3 * turn, "{count} after {turn} turns");
    }
    assert_eq!(answered, [true; 20]);
}

/// What is no handshake ends with an alert and no more, at whatever byte it goes wrong.
#[test]
fn broken_handshakes_fail_at_any_byte() {
    let setup = Setup::new();
    let hello = hello(&setup.clients[0]);
    for at in 0..hello.len() {
        let net = SimNet::new(at as u64, Faults::default());
        let mut server = Server::new(&net, &Options::default(), &setup);
        let (mut broken, mut rng) = (hello.clone(), Rng::new(1));
        broken[at] ^= 0x55;
        let client = net.connect(PORT);
        client.send(&broken);
        client.finish();
        for _ in 0..10 {
            server.turn(&mut rng);
        }
        // Some bytes may be anything: its answer is then that of a handshake, which the client's end ends.
        let answer = client.read();
        assert!(answer.is_empty() || [21, 22].contains(&answer[0]), "byte {at}: {answer:?}");
        assert!(server.echoes.is_empty(), "byte {at}");
    }
}

/// A connection waits in the queue while its client has gone: what it had sent is looked at first, and then its end.
#[test]
fn end_behind_a_waiting_handshake_is_told_behind_it() {
    let setup = Setup::new();
    let net = SimNet::new(1, Faults::default());
    let mut server = Server::new(&net, &Options::default(), &setup);
    let client = net.connect(PORT);
    client.send(&hello(&setup.clients[1]));
    client.finish();
    let mut rng = Rng::new(1);
    for _ in 0..10 {
        server.turn(&mut rng);
    }
    // It had begun, and ended before anything else.
    assert!(server.echoes.is_empty());
    assert_eq!((server.next_slot, server.failures), (1, 0));
}
