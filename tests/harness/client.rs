//! A plain blocking client: it sends what it is told to and returns replies raw or parsed.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;

use super::tls::{self, TlsStream};
use super::value::{self, Framer, Value};
use super::words;

/// How long a reply may take before a test fails: a hung server, not a slow one.
pub const REPLY_TIMEOUT: Duration = Duration::from_secs(30);
const READ_BYTES: usize = 64 << 10;

/// A connection to a server.
pub struct Client {
    stream: Stream,
    received: Box<[u8]>,
    input: Vec<u8>,
    consumed: usize,
    /// How far the next reply was looked at.
    framer: Framer,
}

enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
    Tls(Box<TlsStream>),
}

impl Client {
    /// Connects to a Unix socket.
    pub fn unix(path: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(path)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self::new(Stream::Unix(stream)))
    }

    /// Connects over TCP.
    pub fn tcp(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, REPLY_TIMEOUT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(REPLY_TIMEOUT))?;
        stream.set_write_timeout(Some(REPLY_TIMEOUT))?;
        Ok(Self::new(Stream::Tcp(stream)))
    }

    /// Connects over TLS.
    pub fn tls(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        Ok(Self::over(tls::connect(address, config)?))
    }

    /// Speaks over an encrypted connection.
    pub fn over(stream: TlsStream) -> Self {
        Self::new(Stream::Tls(Box::new(stream)))
    }

    fn new(stream: Stream) -> Self {
        Self {
            stream,
            received: vec![0; READ_BYTES].into(),
            input: Vec::new(),
            consumed: 0,
            framer: Framer::default(),
        }
    }

    /// A second handle of the connection, so that one thread can send while another reads.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(match &self.stream {
            Stream::Unix(stream) => Stream::Unix(stream.try_clone()?),
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone()?),
            Stream::Tls(_) => return Err(io::ErrorKind::Unsupported.into()),
        }))
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
        }
    }

    /// Sends what the socket takes at once; how much that was.
    pub fn send_some(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.write(bytes),
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Tls(stream) => stream.write(bytes),
        }
    }

    /// Sends one command.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        self.send_raw(&command(words))
    }

    /// The next reply.
    pub fn read(&mut self) -> io::Result<Value> {
        let end = self.await_reply()?;
        let reply = value::parse(&self.input[self.consumed..end]);
        self.consumed = end;
        Ok(reply)
    }

    /// The next reply, if it has come.
    pub fn try_read(&mut self) -> io::Result<Option<Value>> {
        self.set_nonblocking(true);
        let reply = self.read();
        self.set_nonblocking(false);
        match reply {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            reply => reply.map(Some),
        }
    }

    /// The next reply as it came.
    pub fn read_raw(&mut self) -> io::Result<Vec<u8>> {
        let end = self.await_reply()?;
        let reply = self.input[self.consumed..end].to_vec();
        self.consumed = end;
        Ok(reply)
    }

    /// Everything until the server closes the connection, and whether it closed it in order.
    pub fn read_to_end(&mut self) -> (Vec<u8>, io::Result<()>) {
        loop {
            match self.fill() {
                Ok(0) => return (self.input.split_off(self.consumed), Ok(())),
                Ok(_) => {}
                Err(error) => return (self.input.split_off(self.consumed), Err(error)),
            }
        }
    }

    /// Sends a command given as words and returns its reply; fails the test when there is none.
    #[track_caller]
    pub fn call<W: AsRef<[u8]>>(&mut self, words: &[W]) -> Value {
        self.send(words).and_then(|()| self.read()).unwrap_or_else(|error| {
            let words: Vec<_> = words.iter().map(|word| word.as_ref().escape_ascii().to_string()).collect();
            panic!("no reply to {words:?}: {error}")
        })
    }

    /// Sends a command as a person types it and returns its reply; fails the test when there is none.
    #[track_caller]
    pub fn ask(&mut self, text: &str) -> Value {
        self.call(&words::split(text))
    }

    /// Sets whether sending and reading wait at all.
    pub fn set_nonblocking(&mut self, nonblocking: bool) {
        match &self.stream {
            Stream::Unix(stream) => stream.set_nonblocking(nonblocking),
            Stream::Tcp(stream) => stream.set_nonblocking(nonblocking),
            Stream::Tls(stream) => stream.sock.set_nonblocking(nonblocking),
        }
        .expect("the socket is open");
    }

    /// Ends the sending direction, as `nc` does at the end of its input.
    pub fn finish(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Tls(stream) => {
                stream.conn.send_close_notify();
                stream.flush()
            }
        }
    }

    /// Makes dropping the client a reset instead of an orderly end (TCP).
    pub fn reset_on_drop(&self) {
        if let Stream::Tcp(stream) = &self.stream {
            let socket = socket2::SockRef::from(stream);
            socket.set_linger(Some(Duration::ZERO)).expect("the socket is open");
        }
    }

    /// Where the next reply ends, once it is whole.
    fn await_reply(&mut self) -> io::Result<usize> {
        loop {
            let framed = self.framer.resume(&self.input[self.consumed..]);
            if let Some(length) = framed.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
                self.framer = Framer::default();
                return Ok(self.consumed + length);
            }
            if self.fill()? == 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection"));
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        self.input.drain(..self.consumed);
        self.consumed = 0;
        let read = match &mut self.stream {
            Stream::Unix(stream) => stream.read(&mut self.received),
            Stream::Tcp(stream) => stream.read(&mut self.received),
            Stream::Tls(stream) => stream.read(&mut self.received),
        };
        self.input.extend_from_slice(&self.received[..*read.as_ref().unwrap_or(&0)]);
        read
    }
}

/// A command as an array of bulks.
pub fn command<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        bytes.extend_from_slice(word.as_ref());
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
