//! Streams over TLS: what is sent is encrypted, what comes is decrypted, in the shape of a nonblocking socket.
//!
//! Design: the handshake is finished before a stream is handed out, so that no run counts it; each connection makes a whole one.
//! A read takes all that the socket has, unless the caller's buffer is full before: so here too a read that does not fill it
//! has emptied the socket, which `connection` relies on.
//!
//! Costs: those of AES; the load generator's CPU time says little of a server's.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::{Fatal, fatal};

/// Bytes received at once, before they are decrypted.
const RECEIVED_BYTES: usize = 64 << 10;

/// How to connect, as the command line says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Whose certificates are believed, a PEM file.
    pub authorities: Option<PathBuf>,
    /// The own certificate, a PEM file.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Any server is believed.
    pub is_insecure: bool,
}

impl TlsOptions {
    /// What the files come to.
    ///
    /// # Errors
    /// Which file is missing or wrong.
    pub fn load(&self) -> Result<Arc<ClientConfig>, Fatal> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| Fatal(error.to_string()))?;
        let builder = match &self.authorities {
            _ if self.is_insecure => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Believer(Arc::clone(&provider)))),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                roots.add_parsable_certificates(certificates(path)?);
                builder.with_root_certificates(roots)
            }
            None => return fatal("say whose certificates are believed: --cacert FILE, or --insecure"),
        };
        let mut config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                let shown = |error: &dyn fmt::Display| Fatal(format!("{}: {error}", key.display()));
                let private = PrivateKeyDer::from_pem_file(key).map_err(|error| shown(&error))?;
                let shown_certificates = certificates(certificate)?;
                builder.with_client_auth_cert(shown_certificates, private).map_err(|error| shown(&error))?
            }
            (None, None) => builder.with_no_client_auth(),
            _ => return fatal("a certificate and its key go together: --cert FILE --key FILE"),
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<CertificateDer<'static>>, Fatal> {
    let failed = |error: rustls::pki_types::pem::Error| Fatal(format!("{}: {error}", path.display()));
    CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
}

/// Believes every server: its certificate is nobody's business, its signatures are checked.
#[derive(Debug)]
struct Believer(Arc<CryptoProvider>);

impl ServerCertVerifier for Believer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Finishes the handshake over a socket that waits.
pub fn connect(socket: &mut TcpStream, config: &Arc<ClientConfig>) -> io::Result<ClientConnection> {
    let name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
    let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    session.set_buffer_limit(None);
    while session.is_handshaking() || session.wants_write() {
        session.complete_io(socket)?;
    }
    Ok(session)
}

/// A nonblocking stream over TLS.
#[derive(Debug)]
pub struct TlsStream {
    pub(crate) socket: mio::net::TcpStream,
    session: ClientConnection,
    /// What was received; the session has it up to `taken`, and takes no more while what it has decrypted is not read.
    received: Box<[u8]>,
    taken: usize,
    end: usize,
}

impl TlsStream {
    /// Over a socket whose handshake is finished.
    pub fn new(socket: mio::net::TcpStream, session: ClientConnection) -> TlsStream {
        TlsStream { socket, session, received: vec![0; RECEIVED_BYTES].into(), taken: 0, end: 0 }
    }

    /// Decrypts what was received; what of it fits.
    fn take(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self.session.reader().read(into) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
            outcome => outcome,
        }
    }
}

impl Read for TlsStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let (mut filled, mut is_emptied) = (0, false);
        loop {
            filled += self.take(&mut into[filled..])?;
            if filled == into.len() {
                break;
            }
            if self.taken == self.end {
                if is_emptied && filled > 0 {
                    break;
                }
                let count = match self.socket.read(&mut self.received) {
                    Err(error) if error.kind() == ErrorKind::WouldBlock && filled > 0 => break,
                    outcome => outcome?,
                };
                if count == 0 {
                    break;
                }
                is_emptied = count < self.received.len();
                (self.taken, self.end) = (0, count);
            }
            let mut rest = &self.received[self.taken..self.end];
            self.session.read_tls(&mut rest)?;
            self.taken = self.end - rest.len();
            self.session.process_new_packets().map_err(io::Error::other)?;
        }
        Ok(filled)
    }
}

impl Write for TlsStream {
    /// Takes all of it; what the socket does not is sent by `flush`.
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.session.writer().write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.session.wants_write() {
            self.session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}
