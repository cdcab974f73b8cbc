//! Just enough of an HTTP client to send what no client library would.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use crate::harness::PATIENCE;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A header's value, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(bytes: &[u8]) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = std::str::from_utf8(&bytes[..end]).expect("headers are text");
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next()?.strip_prefix("HTTP/1.1 ").expect("it is HTTP/1.1")[..3].parse();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").expect("a name and a value");
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let body = String::from_utf8(bytes[end..].to_vec()).expect("bodies are text");
        let answer = Self { status: status.expect("a number"), headers: lines.map(header).collect(), body };
        let length =
            answer.header("content-length").expect("every answer has one").parse().expect("a number");
        Some((answer, length))
    }
}

/// A new connection.
#[track_caller]
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the admin port is open");
    stream.set_read_timeout(Some(PATIENCE)).expect("it is a socket");
    stream.set_write_timeout(Some(PATIENCE)).expect("it is a socket");
    stream
}

/// All that comes until the other end closes; what came until an error, where there is one.
pub fn read_all(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    drop(stream.read_to_end(&mut bytes));
    bytes
}

/// Whether nothing more comes, and the other end closes.
pub fn reads_end(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

/// One request over a connection of its own.
#[track_caller]
pub fn ask(address: SocketAddr, request: &[u8]) -> Answer {
    let mut connection = Connection::open(address);
    // A server that has read enough may not read the rest.
    drop(connection.stream.write_all(request));
    connection.is_head = request.starts_with(b"HEAD");
    connection.read()
}

/// The same over a Unix socket.
#[track_caller]
pub fn ask_unix(path: &Path, request: &[u8]) -> Answer {
    let stream = Box::new(UnixStream::connect(path).expect("the socket is there"));
    Connection { stream, is_head: false }.ask(request)
}

/// A path, asked for by the server's address.
#[track_caller]
pub fn get(address: SocketAddr, path: &str) -> Answer {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    ask(address, request.as_bytes())
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// A connection that stays open.
pub struct Connection {
    stream: Box<dyn Stream>,
    /// Whether answers have no bodies.
    is_head: bool,
}

impl Connection {
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Self { stream: Box::new(connect(address)), is_head: false }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("it is open");
    }

    #[track_caller]
    pub fn ask(&mut self, request: &[u8]) -> Answer {
        self.send(request);
        self.read()
    }

    /// The same, where the server may refuse the connection before it has read anything.
    pub fn try_ask(&mut self, request: &[u8]) -> Option<Answer> {
        self.stream.write_all(request).ok()?;
        self.try_read()
    }

    /// The next answer, as long as it says that it is.
    #[track_caller]
    pub fn read(&mut self) -> Answer {
        self.try_read().expect("an answer")
    }

    fn try_read(&mut self) -> Option<Answer> {
        let mut bytes = Vec::new();
        let mut more = [0; 4096];
        loop {
            if let Some((answer, length)) = Answer::parse(&bytes)
                && (self.is_head || answer.body.len() >= length)
            {
                return Some(answer);
            }
            let count = self.stream.read(&mut more).ok().filter(|count| *count > 0)?;
            bytes.extend_from_slice(&more[..count]);
        }
    }

    /// Whether the other end closes.
    pub fn is_closed(&mut self) -> bool {
        reads_end(&mut self.stream)
    }
}
