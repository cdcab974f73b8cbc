//! Certificates for tests, and TLS servers and clients that use them.

use std::io::{self, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion};

use super::client::{Client, REPLY_TIMEOUT};
use super::{PORT_ATTEMPTS, Server, TORC, TempDir, all_active, free_port};

/// A client's end of an encrypted connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Both versions that Torc speaks.
pub const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];

/// An authority, and the files of certificates that it has signed.
pub struct Authority {
    dir: TempDir,
}

/// What `openssl` is to know of the system's configuration: nothing.
const OPENSSL_CONFIG: &str = "[req]\ndistinguished_name=dn\n[dn]\n";

impl Authority {
    /// A new one: `ca.crt` is its own certificate, `server` and `client` are signed by it.
    pub fn new() -> Self {
        let authority = Self { dir: TempDir::new() };
        std::fs::write(authority.file("openssl.cnf"), OPENSSL_CONFIG).expect("the directory can be written");
        authority.request("ca", "Authority of a test", &["-addext", "basicConstraints=critical,CA:TRUE"]);
        authority.sign("server", "server");
        authority.sign("client", "client");
        authority
    }

    /// Signs a certificate for `common_name`, and writes it to the files `name.crt` and `name.key`.
    pub fn sign(&self, name: &str, common_name: &str) {
        let (cert, key) = (self.word("ca.crt"), self.word("ca.key"));
        self.request(name, common_name, &["-CA", &cert, "-CAkey", &key]);
    }

    fn request(&self, name: &str, common_name: &str, args: &[&str]) {
        let endings = ["crt", "key"].map(|ending| format!("{name}.{ending}"));
        let [cert, key] = endings.each_ref().map(|file| self.word(&format!("{file}.new")));
        let output = Command::new("openssl")
            .args(["req", "-config", &self.word("openssl.cnf"), "-x509", "-days", "30", "-nodes"])
            .args(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-keyout", &key, "-out", &cert])
            .args(["-subj", &format!("/CN={common_name}"), "-addext", "subjectAltName=DNS:localhost"])
            .args(args)
            .output()
            .expect("tests/run installs openssl");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        for (new, file) in [cert, key].iter().zip(endings) {
            // Whole or not at all: a server may read it meanwhile.
            std::fs::rename(new, self.file(&file)).expect("it was written");
        }
    }

    /// One of the files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The same as a word of a command line.
    pub fn word(&self, name: &str) -> String {
        self.file(name).to_string_lossy().into_owned()
    }

    /// The first certificate of a file, as it is sent.
    pub fn der(&self, name: &str) -> Vec<u8> {
        CertificateDer::from_pem_file(self.file(name)).expect("it is one").to_vec()
    }

    /// A client's settings: it trusts this authority, and shows the certificate of this name, if any.
    pub fn client_config(
        &self,
        name: Option<&str>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.file("ca.crt")).expect("it is one")).expect("it is one");
        let builder = ClientConfig::builder_with_provider(Arc::new(cryptography()))
            .with_protocol_versions(versions)
            .expect("there are suites of each")
            .with_root_certificates(roots);
        let Some(name) = name else { return builder.with_no_client_auth() };
        let certificate =
            CertificateDer::from_pem_file(self.file(&format!("{name}.crt"))).expect("it is one");
        let key = PrivateKeyDer::from_pem_file(self.file(&format!("{name}.key"))).expect("it is one");
        builder.with_client_auth_cert(vec![certificate], key).expect("they belong together")
    }

    /// A client's settings with its certificate and any version.
    pub fn client(&self) -> Arc<ClientConfig> {
        Arc::new(self.client_config(Some("client"), VERSIONS))
    }
}

/// A server's address for TLS, and how its clients connect unless they say otherwise.
pub(super) struct OverTls {
    pub(super) address: SocketAddr,
    pub(super) client: Arc<ClientConfig>,
}

impl Server {
    /// Torc on a Unix socket and, for TLS only, on a free port; it asks clients for their certificates.
    pub fn start_tls(authority: &Authority, args: &[&str]) -> Self {
        Self::program_tls(TORC, authority, &all_active(args))
    }

    /// The same with any server program that takes Redis's directives.
    pub fn program_tls(program: &str, authority: &Authority, args: &[&str]) -> Self {
        let (cert, key, ca) =
            (authority.word("server.crt"), authority.word("server.key"), authority.word("ca.crt"));
        for _ in 0..PORT_ATTEMPTS {
            let (port, dir) = (free_port(), TempDir::new());
            let port_word = port.to_string();
            let own = ["--tls-port", &port_word, "--tls-cert-file", &cert, "--tls-key-file", &key];
            let all = [&own[..], &["--tls-ca-cert-file", &ca], args].concat();
            let child = Self::spawn(program, &dir, 0, &all);
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let over_tls = OverTls { address, client: authority.client() };
            let mut server = Self { child, dir: dir.into(), tcp: None, over_tls: Some(over_tls) };
            // The Unix socket comes last. Another process may have taken the port meanwhile.
            if server.await_socket() {
                return server;
            }
            let log = server.log();
            assert!(log.contains("in use"), "the server did not start:\n{log}");
        }
        panic!("it did not start on any of {PORT_ATTEMPTS} free ports")
    }

    /// The address for TLS.
    pub fn tls_address(&self) -> SocketAddr {
        self.over_tls.as_ref().expect("the server was started with TLS").address
    }

    /// A new connection over TLS, with the settings that fit the server.
    #[track_caller]
    pub fn tls_client(&self) -> Client {
        let over_tls = self.over_tls.as_ref().expect("the server was started with TLS");
        Client::tls(over_tls.address, &over_tls.client)
            .unwrap_or_else(|error| panic!("cannot connect: {error}\n{}", self.log()))
    }
}

/// What clients of tests encrypt with. `tests/run` leaves it out where no test needs it.
fn cryptography() -> CryptoProvider {
    #[cfg(feature = "tls")]
    return rustls::crypto::aws_lc_rs::default_provider();
    #[cfg(not(feature = "tls"))]
    panic!("TLS was left out of this build")
}

/// Connects, and finishes the handshake as far as the client is concerned.
pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<TlsStream> {
    let socket = TcpStream::connect_timeout(&address, REPLY_TIMEOUT)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(REPLY_TIMEOUT))?;
    socket.set_write_timeout(Some(REPLY_TIMEOUT))?;
    let name = ServerName::try_from("localhost").expect("it is a name");
    let connection = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, socket);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// Everything that the server sends until its end, and whether that is one by TLS's rules.
pub fn read_to_end(stream: &mut TlsStream) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let outcome = stream.read_to_end(&mut bytes).map(drop);
    (bytes, outcome)
}

/// A file of an authority, as a word.
pub fn word(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
