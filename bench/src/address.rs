//! Where a server listens, and streams to it.

use std::fmt;
use std::io::{self, IoSlice, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use rustls::{ClientConfig, StreamOwned};

use crate::Fatal;
use crate::framer::Framer;
use crate::tls::{self, TlsStream};

/// How long a server may take to answer a question that is no measurement.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Address {
    /// The port on this machine.
    pub fn local(port: u16) -> Address {
        Address::Tcp((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Whether the server runs on this machine, so that its process can be looked at.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Tcp(address) => address.ip().is_loopback(),
            Address::Unix(_) => true,
        }
    }

    /// A nonblocking stream to the server; over TLS, if it is said how.
    pub fn connect(&self, over: Option<&Arc<ClientConfig>>) -> io::Result<Stream> {
        match self {
            Address::Tcp(address) => {
                let mut stream = std::net::TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                let session = over.map(|config| tls::connect(&mut stream, config)).transpose()?;
                stream.set_nonblocking(true)?;
                let stream = mio::net::TcpStream::from_std(stream);
                Ok(match session {
                    Some(session) => Stream::Tls(Box::new(TlsStream::new(stream, session))),
                    None => Stream::Tcp(stream),
                })
            }
            Address::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(mio::net::UnixStream::from_std(stream)))
            }
        }
    }

    /// As `connect`, but without waiting until there is a connection: what is sent before waits. Over TLS it waits.
    pub fn connect_at_once(&self, over: Option<&Arc<ClientConfig>>) -> io::Result<Stream> {
        match self {
            Address::Tcp(address) if over.is_none() => {
                let stream = mio::net::TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            _ => self.connect(over),
        }
    }

    /// Sends an inline command on a connection of its own and returns its one reply as it came.
    pub fn ask(&self, command: &str, over: Option<&Arc<ClientConfig>>) -> io::Result<Vec<u8>> {
        self.ask_all(format!("{command}\r\n").as_bytes(), 1, over)
    }

    /// Sends requests on a connection of their own and returns so many replies as they came.
    pub fn ask_all(
        &self,
        request: &[u8],
        replies: u64,
        over: Option<&Arc<ClientConfig>>,
    ) -> io::Result<Vec<u8>> {
        match self {
            Address::Tcp(address) => {
                let mut stream = std::net::TcpStream::connect_timeout(address, ANSWER_TIMEOUT)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                match over {
                    Some(config) => {
                        let session = tls::connect(&mut stream, config)?;
                        ask(StreamOwned::new(session, stream), request, replies)
                    }
                    None => ask(stream, request, replies),
                }
            }
            Address::Unix(path) => {
                let stream = std::os::unix::net::UnixStream::connect(path)?;
                stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
                ask(stream, request, replies)
            }
        }
    }
}

fn ask(mut stream: impl Read + Write, request: &[u8], replies: u64) -> io::Result<Vec<u8>> {
    stream.write_all(request)?;
    stream.flush()?;
    let (mut answer, mut framer, mut chunk) = (Vec::new(), Framer::default(), [0; 4096]);
    while framer.replies() < replies {
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        framer.feed(&chunk[..read]).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        answer.extend_from_slice(&chunk[..read]);
    }
    Ok(answer)
}

impl FromStr for Address {
    type Err = Fatal;

    /// A port of this machine, `HOST:PORT`, or the path of a Unix socket (it has a slash).
    fn from_str(text: &str) -> Result<Address, Fatal> {
        if text.contains('/') {
            return Ok(Address::Unix(text.into()));
        }
        if let Ok(port) = text.parse() {
            return Ok(Address::local(port));
        }
        let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
        let found = found.map(Address::Tcp);
        found.ok_or_else(|| Fatal(format!("'{text}' is no PORT, HOST:PORT or path of a Unix socket")))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => address.fmt(f),
            Address::Unix(path) => path.display().fmt(f),
        }
    }
}

/// A nonblocking stream of any kind. What it took is sent when it is flushed.
#[derive(Debug)]
pub enum Stream {
    /// TCP, without Nagle's algorithm.
    Tcp(mio::net::TcpStream),
    /// A Unix socket.
    Unix(mio::net::UnixStream),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl Stream {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Stream::Tcp(stream) => stream,
            Stream::Unix(stream) => stream,
            Stream::Tls(stream) => &mut stream.socket,
        }
    }
}

impl Read for Stream {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(into),
            Stream::Unix(stream) => stream.read(into),
            Stream::Tls(stream) => stream.read(into),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(from),
            Stream::Unix(stream) => stream.write(from),
            Stream::Tls(stream) => stream.write(from),
        }
    }

    fn write_vectored(&mut self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(from),
            Stream::Unix(stream) => stream.write_vectored(from),
            Stream::Tls(stream) => stream.write_vectored(from),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Stream::Tcp(_) | Stream::Unix(_) => Ok(()),
            Stream::Tls(stream) => stream.flush(),
        }
    }
}

impl Source for Stream {
    fn register(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.source().register(registry, token, interest)
    }

    fn reregister(&mut self, registry: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        self.source().reregister(registry, token, interest)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        self.source().deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        assert_eq!("7000".parse(), Ok(Address::local(7000)));
        assert_eq!("127.0.0.1:7000".parse(), Ok(Address::local(7000)));
        assert_eq!("./s".parse(), Ok(Address::Unix("./s".into())));
        assert!("70000".parse::<Address>().is_err());
        assert!("".parse::<Address>().is_err());
        let far: Address = "192.0.2.1:1".parse().expect("a numeric address");
        assert!(!far.is_local());
        assert!(Address::local(1).is_local());
    }
}
