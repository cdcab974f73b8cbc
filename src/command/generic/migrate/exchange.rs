//! One exchange with the target of MIGRATE: values go there, replies come back.
//!
//! Design: blocking calls on a thread of its own, each with the command's timeout. A socket is kept for a while, as a
//! client that moves one key often moves more, and used again for the same credentials only: nobody gets the rights at the
//! target that another client's password has brought. AUTH and SELECT are said anew each time, and awaited before anything
//! else is sent: nothing is written into another database than the one that was meant.
//!
//! Not here: which keys (`super`), the form of values (`persist::rdb`).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::resp::inline::encode_words;

/// Sockets that are kept, and for how long.
const SOCKETS_MAX: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(10);
/// Longer lines are no replies.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Bytes that are handed to the socket at once, about.
const WRITE_BYTES: usize = 64 << 10;

/// Where keys go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Host and port, as they were given.
    pub host: Vec<u8>,
    /// See `host`.
    pub port: Vec<u8>,
    /// The database, as it was given.
    pub db: i64,
    /// AUTH with these words.
    pub credentials: Vec<Vec<u8>>,
    /// For each step.
    pub timeout: Duration,
}

/// What is done with a key there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It gets this value, as DUMP writes it, and deadline, Unix time in ms.
    Set {
        /// The value.
        payload: Vec<u8>,
        /// The deadline.
        deadline_ms: Option<u64>,
        /// Whether another value may be there.
        replaces: bool,
    },
    /// It goes: what was sent is out of date, and there is no such key any more.
    Remove,
}

/// A key and what is done with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its name.
    pub key: Vec<u8>,
    /// Which of the command's arguments it is.
    pub index: usize,
    /// What is done.
    pub change: Change,
}

/// What became of it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// For each item that was answered, whether the target has done it.
    pub done: Vec<bool>,
    /// What the client hears, if not all is done.
    pub error: Option<Vec<u8>>,
}

impl Answer {
    fn failed(doing: &str) -> Self {
        Self { done: Vec::new(), error: Some(format!("IOERR error or timeout {doing}").into_bytes()) }
    }
}

/// Sockets to targets that were used lately.
#[derive(Default)]
pub struct Sockets {
    kept: Mutex<Vec<Kept>>,
    count: AtomicUsize,
}

struct Kept {
    host: Vec<u8>,
    port: Vec<u8>,
    credentials: Vec<Vec<u8>>,
    socket: TcpStream,
    since: Instant,
}

impl Sockets {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.count.load(Relaxed)
    }

    /// Closes those that were not used for a while.
    pub fn close_old(&self) {
        if self.count() > 0 {
            self.change(|kept| kept.retain(|socket| socket.since.elapsed() < KEPT_FOR));
        }
    }

    fn take(&self, target: &Target) -> Option<TcpStream> {
        self.change(|kept| {
            let is_it = |kept: &Kept| kept.host == target.host && kept.port == target.port;
            let index = kept.iter().position(is_it)?;
            // One of other credentials is closed.
            Some(kept.swap_remove(index))
                .filter(|kept| kept.credentials == target.credentials)
                .map(|kept| kept.socket)
        })
    }

    fn keep(&self, target: &Target, socket: TcpStream) {
        let Target { host, port, credentials, .. } = target.clone();
        self.change(|kept| {
            if kept.len() == SOCKETS_MAX {
                kept.remove(0);
            }
            kept.push(Kept { host, port, credentials, socket, since: Instant::now() });
        });
    }

    fn change<T>(&self, change: impl FnOnce(&mut Vec<Kept>) -> T) -> T {
        // Nobody panics midway.
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = change(&mut kept);
        self.count.store(kept.len(), Relaxed);
        outcome
    }

    /// Sends these and hears what became of them. A socket that was kept may have been closed by the target meanwhile: then
    /// another one is tried.
    pub fn exchange(&self, target: &Target, items: &[Item]) -> Answer {
        if let Some(socket) = self.take(target) {
            match self.over(socket, target, items) {
                Err(Failure { is_late: false, done, .. }) if done.is_empty() => {}
                outcome => return outcome.unwrap_or_else(Failure::into_answer),
            }
        }
        let Some(socket) = connect(target) else { return Answer::failed("connecting to the client") };
        let Ok(socket) = socket else { return Answer::failed(WRITING) };
        self.over(socket, target, items).unwrap_or_else(Failure::into_answer)
    }

    /// Over this socket.
    fn over(&self, socket: TcpStream, target: &Target, items: &[Item]) -> Result<Answer, Failure> {
        let timeout = Some(target.timeout);
        let writing = |error: io::Error| Failure::new(WRITING, &error);
        socket.set_read_timeout(timeout).map_err(writing)?;
        socket.set_write_timeout(timeout).map_err(writing)?;
        let reader = BufReader::new(socket.try_clone().map_err(writing)?);
        let mut wire = Wire { socket, reader };
        let mut answer = Answer::default();
        match wire.introduce(target)? {
            Some(error) => answer.error = Some(replied(&error)),
            None => {
                if let Err(failure) = wire.send_all(items, &mut answer) {
                    return Err(Failure { done: answer.done, ..failure });
                }
            }
        }
        self.keep(target, wire.socket);
        Ok(answer)
    }
}

/// The target was not reached, or has not answered.
struct Failure {
    doing: &'static str,
    /// It may still do what it was told.
    is_late: bool,
    done: Vec<bool>,
}

impl Failure {
    fn new(doing: &'static str, error: &io::Error) -> Self {
        let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        Self { doing, is_late, done: Vec::new() }
    }

    fn into_answer(self) -> Answer {
        Answer { done: self.done, ..Answer::failed(self.doing) }
    }
}

/// A socket to the target; none if it has no address.
fn connect(target: &Target) -> Option<io::Result<TcpStream>> {
    let host = std::str::from_utf8(&target.host).ok()?;
    // What is no port is one at which nobody listens.
    let port = std::str::from_utf8(&target.port).ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let addresses = (host, port).to_socket_addrs().ok()?;
    let mut last = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, target.timeout) {
            Ok(socket) => {
                socket.set_nodelay(true).unwrap_or_default();
                return Some(Ok(socket));
            }
            Err(error) => last = Some(Err(error)),
        }
    }
    last
}

fn replied(error: &[u8]) -> Vec<u8> {
    [b"ERR Target instance replied with error: ", error].concat()
}

struct Wire {
    socket: TcpStream,
    reader: BufReader<TcpStream>,
}

const WRITING: &str = "writing to target instance";
const READING: &str = "reading to target instance";

impl Wire {
    fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.socket.write_all(bytes).map_err(|error| Failure::new(WRITING, &error))
    }

    /// Says who this is and which database is meant; what the target has against it, if anything.
    fn introduce(&mut self, target: &Target) -> Result<Option<Vec<u8>>, Failure> {
        let mut bytes = Vec::new();
        let is_known = target.credentials.is_empty();
        if !is_known {
            let words = std::iter::once(&b"AUTH"[..]).chain(target.credentials.iter().map(Vec::as_slice));
            encode_words(&mut bytes, words.collect::<Vec<_>>().into_iter());
        }
        let db = target.db.to_string();
        encode_words(&mut bytes, [&b"SELECT"[..], db.as_bytes()].into_iter());
        self.send(&bytes)?;
        let refused = if is_known { None } else { self.reply()? };
        let selected = self.reply()?;
        Ok(refused.or(selected))
    }

    /// Sends what becomes of all keys, and hears what the target says of each. Replies are short: they need not be read meanwhile.
    fn send_all(&mut self, items: &[Item], answer: &mut Answer) -> Result<(), Failure> {
        let mut bytes = Vec::new();
        for item in items {
            encode(item, &mut bytes);
            if bytes.len() > WRITE_BYTES {
                self.send(&bytes)?;
                bytes.clear();
            }
        }
        self.send(&bytes)?;
        for _ in items {
            let error = self.reply()?;
            answer.done.push(error.is_none());
            if let Some(error) = error {
                answer.error.get_or_insert_with(|| replied(&error));
            }
        }
        Ok(())
    }

    /// The next reply, which is a line: what it says, if it is an error.
    fn reply(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LINE_BYTES_MAX).read_until(b'\n', &mut line);
        read.map_err(|error| Failure::new(READING, &error))?;
        let ended = || Failure::new(READING, &io::ErrorKind::UnexpectedEof.into());
        let line = line.strip_suffix(b"\r\n").ok_or_else(ended)?;
        match line.split_first() {
            Some((b'-', error)) => Ok(Some(error.to_vec())),
            Some((b'+' | b':', _)) => Ok(None),
            _ => Err(ended()),
        }
    }
}

fn encode(item: &Item, out: &mut Vec<u8>) {
    match &item.change {
        Change::Remove => encode_words(out, [&b"DEL"[..], &item.key].into_iter()),
        Change::Set { payload, deadline_ms, replaces } => {
            let ttl_ms = deadline_ms.map_or(0, |deadline_ms| deadline_ms.saturating_sub(now_ms()).max(1));
            let ttl = ttl_ms.to_string();
            let words: [&[u8]; 5] = [b"RESTORE", &item.key, ttl.as_bytes(), payload, b"REPLACE"];
            let count = if *replaces { 5 } else { 4 };
            encode_words(out, words[..count].iter().copied());
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}
