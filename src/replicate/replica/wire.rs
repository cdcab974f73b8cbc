//! Lines and bytes of a socket on which two servers introduce themselves.
//!
//! Limits: a line has at most [`LINE_BYTES_MAX`] bytes and comes within the socket's timeout as a whole; what comes behind it stays
//! in the buffer.

use std::cell::RefCell;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;
use std::time::Duration;

use crate::threads;

const LINE_BYTES_MAX: usize = 64 << 10;
const READ_BYTES: usize = 16 << 10;

/// A socket with what was read of it too early.
pub struct Wire<S> {
    stream: Rc<RefCell<S>>,
    input: Vec<u8>,
    /// Up to where the input was taken.
    taken: usize,
    timeout: Duration,
}

impl<S: Read + Write> Wire<S> {
    /// Nothing was read yet. A line has to come within `timeout`.
    pub fn new(stream: S, timeout: Duration) -> Self {
        Self { stream: Rc::new(RefCell::new(stream)), input: Vec::new(), taken: 0, timeout }
    }

    /// Sends a command.
    pub fn send<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<()> {
        let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
        for word in words {
            let word = word.as_ref();
            bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            bytes.extend_from_slice(word);
            bytes.extend_from_slice(b"\r\n");
        }
        self.stream.borrow_mut().write_all(&bytes)
    }

    /// Sends a command; the line that answers it.
    pub fn ask<W: AsRef<[u8]>>(&mut self, words: &[W]) -> io::Result<String> {
        self.send(words)?;
        self.line()
    }

    /// Looks at the socket.
    pub fn get<R>(&self, look: impl FnOnce(&S) -> R) -> R {
        look(&self.stream.borrow())
    }

    /// The next line that is not empty: a primary that is not ready sends empty ones.
    pub fn line(&mut self) -> io::Result<String> {
        // How far it was looked at, behind what was taken.
        let (mut end, mut looked) = (threads::now() + self.timeout, 0);
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.input[self.taken + looked..]) {
                let line = &self.input[self.taken..self.taken + looked + at];
                let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
                self.taken += looked + at + 1;
                if !text.is_empty() {
                    return Ok(text);
                }
                (end, looked) = (threads::now() + self.timeout, 0);
                continue;
            }
            looked = self.input.len() - self.taken;
            if looked > LINE_BYTES_MAX {
                return Err(io::Error::new(ErrorKind::InvalidData, "the primary sends a line without end"));
            }
            self.fill()?;
            if threads::now() > end {
                return Err(clear(ErrorKind::TimedOut.into()));
            }
        }
    }

    /// Some bytes, at most so many; none at the end.
    pub fn some(&mut self, bytes_max: usize, into: &mut [u8]) -> io::Result<usize> {
        let count = bytes_max.min(into.len());
        let buffered = &self.input[self.taken..];
        if !buffered.is_empty() {
            let count = count.min(buffered.len());
            into[..count].copy_from_slice(&buffered[..count]);
            self.taken += count;
            return Ok(count);
        }
        loop {
            match self.stream.borrow_mut().read(&mut into[..count]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => return outcome.map_err(clear),
            }
        }
    }

    /// These bytes were read too early.
    pub fn put_back(&mut self, bytes: &[u8]) {
        self.input.splice(..self.taken, bytes.iter().copied());
        self.taken = 0;
    }

    /// By it the other end is told that this one is alive while something else reads.
    pub fn greeter(&self) -> Greeter<S> {
        Greeter(Rc::clone(&self.stream))
    }

    /// The socket, and what was read too early. No greeter is left.
    pub fn into_parts(mut self) -> (S, Vec<u8>) {
        self.input.drain(..self.taken);
        let stream =
            Rc::into_inner(self.stream).expect("a greeter lives as long as what is loaded meanwhile");
        (stream.into_inner(), self.input)
    }

    /// Reads some more; an error at the end.
    fn fill(&mut self) -> io::Result<()> {
        self.input.drain(..self.taken);
        self.taken = 0;
        let mut block = [0; READ_BYTES];
        let count = loop {
            match self.stream.borrow_mut().read(&mut block) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                outcome => break outcome.map_err(clear)?,
            }
        };
        if count == 0 {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the primary has closed the connection"));
        }
        self.input.extend_from_slice(&block[..count]);
        Ok(())
    }
}

/// Another handle to the socket, for the same thread.
pub struct Greeter<S>(Rc<RefCell<S>>);

impl<S: Write> Greeter<S> {
    /// Says that this end is alive.
    ///
    /// # Errors
    /// The socket's.
    pub fn greet(&self) -> io::Result<()> {
        self.0.borrow_mut().write_all(b"\n")
    }
}

/// A blocking socket says that it would have to wait once its timeout is over.
fn clear(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => io::Error::new(
            ErrorKind::TimedOut,
            "the primary has not said anything for too long (`repl-timeout`)",
        ),
        _ => error,
    }
}
