//! A connection of a thread that waits for its peer, encrypted or not, and can be handed to a worker later.
//!
//! Design: reading and writing of `std`, through a [`Session`] where there is one. What was read and decrypted too early goes along
//! when the connection is handed over.
//!
//! Limits: the handshake as a whole takes no longer than the socket's timeout, and so does what one read waits for, however few bytes
//! of a record come at a time.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;

use super::super::{BlockingSocket, EndCause, Socket, SocketHandle};
use super::session::{Plain, Session, Stage};

const READ_BYTES: usize = 64 << 10;

/// The connection.
pub struct BlockingStream {
    socket: BlockingSocket,
    session: Option<Box<Session>>,
    /// Decrypted; read up to `taken`.
    plain: Vec<u8>,
    taken: usize,
    /// That of the socket.
    timeout: Option<Duration>,
    /// Memory for what is received.
    spare: Vec<u8>,
    /// Memory for records.
    records: Vec<u8>,
}

impl BlockingStream {
    /// Everything is read and sent as it is.
    pub fn plain(socket: BlockingSocket) -> BlockingStream {
        let (plain, spare, records) = Default::default();
        BlockingStream { socket, session: None, plain, taken: 0, timeout: None, spare, records }
    }

    /// Encrypted, with these settings, once the handshake is over. The socket has the timeouts that are to hold.
    ///
    /// # Errors
    /// The socket, or what the peer is not.
    pub fn encrypted(socket: BlockingSocket, config: Arc<ClientConfig>) -> io::Result<BlockingStream> {
        let timeout = socket.read_timeout()?;
        // It is not sent, nor compared with the certificate: see `security::tls::outgoing`.
        let name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
        let session = Session::connecting(config, name).map_err(io::Error::other)?;
        let mut stream =
            BlockingStream { session: Some(Box::new(session)), timeout, ..BlockingStream::plain(socket) };
        let end = stream.deadline();
        stream.process()?;
        while stream.stage() == Some(Stage::Handshake) {
            if stream.receive()? == 0 {
                let reason = "the peer has closed the connection in the TLS handshake";
                return Err(io::Error::new(ErrorKind::UnexpectedEof, reason));
            }
            check(end)?;
        }
        Ok(stream)
    }

    /// Another handle of the socket.
    ///
    /// # Errors
    /// The system's.
    pub fn handle(&self) -> io::Result<SocketHandle> {
        self.socket.handle()
    }

    /// No read waits for longer from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn set_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        self.timeout = Some(timeout);
        self.socket.set_read_timeout(timeout)
    }

    /// The socket with its session, for a worker, and what was read too early.
    pub fn into_parts(mut self) -> (Socket, Vec<u8>) {
        self.plain.drain(..self.taken);
        (self.socket.into_socket().with_session(self.session), self.plain)
    }

    fn stage(&self) -> Option<Stage> {
        self.session.as_deref().map(Session::stage)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Waits for more and decrypts it; how many bytes came.
    fn receive(&mut self) -> io::Result<usize> {
        let mut block = [0; READ_BYTES];
        let count = self.socket.read(&mut block)?;
        if let Some(session) = &mut self.session {
            session.keep(&block[..count], &mut self.spare);
            self.process()?;
        }
        Ok(count)
    }

    /// Decrypts what has been received, and sends what the protocol answers.
    fn process(&mut self) -> io::Result<()> {
        let Some(session) = &mut self.session else { return Ok(()) };
        if self.taken == self.plain.len() {
            self.plain.clear();
            self.taken = 0;
        }
        let mut plain = Plain { bulk: None, bytes: std::mem::take(&mut self.plain) };
        let outcome = session.process(&mut plain, &mut self.spare);
        self.plain = plain.bytes;
        self.records.clear();
        session.take_control(&mut self.records);
        let sent = self.socket.write_all(&self.records);
        // Why it has failed says more than that the alert could not be sent.
        outcome.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        sent
    }
}

fn check(deadline: Option<Instant>) -> io::Result<()> {
    match deadline {
        Some(deadline) if Instant::now() > deadline => Err(ErrorKind::TimedOut.into()),
        _ => Ok(()),
    }
}

impl Read for BlockingStream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let Some(session) = &self.session else { return self.socket.read(into) };
        let (mut cause, mut is_over, deadline) = (session.end(), false, self.deadline());
        while self.taken == self.plain.len() && cause.is_none() && !is_over && !into.is_empty() {
            check(deadline)?;
            is_over = self.receive()? == 0;
            cause = self.session.as_deref().and_then(Session::end);
        }
        let rest = &self.plain[self.taken..];
        if rest.is_empty() && cause.is_some_and(|cause| cause != EndCause::Eof) {
            return Err(ErrorKind::ConnectionAborted.into());
        }
        let count = rest.len().min(into.len());
        into[..count].copy_from_slice(&rest[..count]);
        self.taken += count;
        Ok(count)
    }
}

impl Write for BlockingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(session) = &mut self.session else { return self.socket.write(bytes) };
        self.records.clear();
        let encrypted = session.encrypt_all(bytes, &mut self.records);
        encrypted.map_err(|_| io::Error::from(ErrorKind::ConnectionAborted))?;
        self.socket.write_all(&self.records)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
