//! The typed reply writer: what a command says, in the protocol its client speaks.
//!
//! Design: a `Reply` borrows the connection's `Output` and appends wire bytes at once; there is no tree of values in between.
//! Types that RESP2 lacks are written as Redis writes them to RESP2 clients (a map as a flat array, a double as a bulk).
//! Headers of up to `HEADER_TABLE_LEN` come ready from a table and are stored with one eight-byte write. An aggregate whose
//! length is known only at its end is deferred: room for the shortest header is left, and the rest moves if it must.
//!
//! Invariants: each method appends one whole reply element, or a header that promises elements.
//! Costs: nothing is allocated but growth of the output.
//! Not here: error texts (`command`), counting per command (`observe`).

use std::fmt;
use std::io::Write as _;

use bytes::Bytes;

use super::number::{F64Buffer, short_digits};
use super::output::{Mark, Output};
use super::parse::ProtocolError;

/// Values from this length on, bytes, are sent from where they lie; a copy of less is cheaper than a further piece.
pub const BLOB_LARGE_BYTES_MIN: usize = 16 * 1024;
/// Numbers below this have their header text in a table.
const HEADER_TABLE_LEN: usize = 1024;
/// Longest header: type, 20 digits, CR LF.
const HEADER_BYTES_MAX: usize = 24;
/// Room left for a deferred header: type, one digit, CR LF.
const DEFERRED_BYTES: usize = 4;

/// Digits and CR LF of small numbers, little end first; the top byte has the length.
static HEADER_TABLE: [u64; HEADER_TABLE_LEN] = header_table();

/// What a client speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Writes replies to one client.
pub struct Reply<'a> {
    output: &'a mut Output,
    protocol: Protocol,
}

/// An aggregate whose length isn't known yet. Give it back to `finish_*` after its elements were written; deferred
/// aggregates nest.
#[derive(Debug)]
#[must_use = "a deferred aggregate has to be finished"]
pub struct Deferred {
    at: usize,
}

impl<'a> Reply<'a> {
    /// A writer of `protocol` at the end of `output`.
    #[inline]
    pub fn new(output: &'a mut Output, protocol: Protocol) -> Reply<'a> {
        Reply { output, protocol }
    }

    /// The protocol spoken.
    #[inline]
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// HELLO changes the protocol for its own reply already.
    pub fn set_protocol(&mut self, protocol: Protocol) {
        self.protocol = protocol;
    }

    /// The output written to.
    pub fn output(&mut self) -> &mut Output {
        self.output
    }

    /// The place reached.
    #[inline]
    pub fn mark(&self) -> Mark {
        self.output.mark()
    }

    /// Takes back everything since `mark`.
    pub fn truncate(&mut self, mark: Mark) {
        self.output.truncate(mark);
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// `+QUEUED`.
    #[inline]
    pub fn queued(&mut self) {
        self.raw(b"+QUEUED\r\n");
    }

    /// A simple string; `text` has no line ends.
    pub fn simple(&mut self, text: &str) {
        debug_assert!(
            !text.bytes().any(|byte| byte == b'\r' || byte == b'\n'),
            "a simple string is one line"
        );
        self.line(b'+', text.as_bytes());
    }

    /// An error: code and text without the leading `-`, as in `ERR no such key`. Line ends become spaces.
    #[cold]
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// An error made of pieces: `reply.error_fmt(format_args!("ERR unknown subcommand '{name}'"))`.
    #[cold]
    pub fn error_fmt(&mut self, text: fmt::Arguments<'_>) {
        match text.as_str() {
            Some(text) => self.error(text),
            None => self.error_bytes(text.to_string().as_bytes()),
        }
    }

    /// An error whose text holds bytes that a client sent.
    #[cold]
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.output.count_error(text);
        let start = self.output.position() + 1;
        self.line(b'-', text);
        for byte in &mut self.output.written_since(start)[..text.len()] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }

    /// The error after which the connection is closed.
    #[cold]
    pub fn protocol_error(&mut self, error: ProtocolError) {
        let mut text = b"ERR ".to_vec();
        error.write_to(&mut text);
        self.error_bytes(&text);
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        let Some(&header) = HEADER_TABLE.get(bytes.len()) else { return self.bulk_long(bytes) };
        let (header, header_bytes) = table_header(b'$', header);
        let total = header_bytes + bytes.len() + 2;
        let room = self.output.room(size_of::<u64>() + bytes.len() + 2);
        room[..size_of::<u64>()].copy_from_slice(&header);
        room[header_bytes..total - 2].copy_from_slice(bytes);
        room[total - 2..total].copy_from_slice(b"\r\n");
        self.output.advance(total);
    }

    #[inline(never)]
    fn bulk_long(&mut self, bytes: &[u8]) {
        self.output.room(HEADER_BYTES_MAX + bytes.len() + 2);
        self.header(b'$', bytes.len() as i64);
        self.raw(bytes);
        self.raw(b"\r\n");
    }

    /// An integer as a bulk string, as GET of a counter replies.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// Formatted text as a bulk string.
    pub fn bulk_fmt(&mut self, text: fmt::Arguments<'_>) {
        match text.as_str() {
            Some(text) => self.bulk(text.as_bytes()),
            None => self.bulk(text.to_string().as_bytes()),
        }
    }

    /// A bulk string that is sent from where it lies if it's long (`BLOB_LARGE_BYTES_MIN`), else copied.
    #[inline]
    pub fn blob(&mut self, bytes: &Bytes) {
        if bytes.len() < BLOB_LARGE_BYTES_MIN {
            return self.bulk(bytes);
        }
        self.header(b'$', bytes.len() as i64);
        self.output.push_large(bytes.clone());
        self.raw(b"\r\n");
    }

    /// Null: `$-1`, or `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"$-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// Null where an array was asked for: `*-1`, or `_` in RESP3.
    #[inline]
    pub fn null_array(&mut self) {
        match self.protocol {
            Protocol::Resp2 => self.raw(b"*-1\r\n"),
            Protocol::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// The header of an array of `len` elements.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// The header of a map of `len` pairs; RESP2: an array of 2 `len` elements.
    pub fn map(&mut self, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.header(b'*', 2 * len as i64),
            Protocol::Resp3 => self.header(b'%', len as i64),
        }
    }

    /// The header of a set of `len` elements; RESP2: an array.
    pub fn set(&mut self, len: usize) {
        self.header(self.aggregate(b'~'), len as i64);
    }

    /// The header of an out-of-band message of `len` elements; RESP2: an array.
    pub fn push(&mut self, len: usize) {
        self.header(self.aggregate(b'>'), len as i64);
    }

    /// The header of `len` pairs of attributes for the reply that follows; RESP2 has none: nothing is written, and
    /// `false` says that the pairs mustn't be either.
    #[must_use]
    pub fn attribute(&mut self, len: usize) -> bool {
        let is_known = self.protocol == Protocol::Resp3;
        if is_known {
            self.header(b'|', len as i64);
        }
        is_known
    }

    /// A double; RESP2: as a bulk string.
    pub fn double(&mut self, value: f64) {
        self.double_text(F64Buffer::new().format(value));
    }

    /// A number of any precision in this text; RESP2: as a bulk string.
    pub fn double_text(&mut self, text: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(text),
            Protocol::Resp3 => self.line(b',', text),
        }
    }

    /// A boolean; RESP2: 1 or 0.
    pub fn boolean(&mut self, value: bool) {
        match (self.protocol, value) {
            (Protocol::Resp2, _) => self.integer(i64::from(value)),
            (Protocol::Resp3, true) => self.raw(b"#t\r\n"),
            (Protocol::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// Text for people, of a kind that three letters name (`txt`, `mkd`); RESP2: a bulk string.
    pub fn verbatim(&mut self, kind: [u8; 3], text: &[u8]) {
        if self.protocol == Protocol::Resp2 {
            return self.bulk(text);
        }
        self.header(b'=', text.len() as i64 + 4);
        self.raw(&[kind[0], kind[1], kind[2], b':']);
        self.raw(text);
        self.raw(b"\r\n");
    }

    /// A decimal integer of any size; RESP2: a bulk string.
    pub fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.bulk(digits),
            Protocol::Resp3 => self.line(b'(', digits),
        }
    }

    /// Bytes that are in wire format already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.output.push_bytes(bytes);
    }

    /// Begins an array, map or set whose length the matching `finish_*` will say.
    pub fn defer(&mut self) -> Deferred {
        let at = self.output.position();
        self.raw(&[0; DEFERRED_BYTES]);
        Deferred { at }
    }

    /// `defer`, for readers: an array follows.
    pub fn defer_array(&mut self) -> Deferred {
        self.defer()
    }

    /// `defer`, for readers: a map follows.
    pub fn defer_map(&mut self) -> Deferred {
        self.defer()
    }

    /// `defer`, for readers: a set follows.
    pub fn defer_set(&mut self) -> Deferred {
        self.defer()
    }

    /// The deferred aggregate is an array of `len` elements.
    pub fn finish_array(&mut self, deferred: Deferred, len: usize) {
        self.finish(deferred, b'*', len);
    }

    /// The deferred aggregate is a map of `len` pairs; RESP2: an array of 2 `len` elements.
    pub fn finish_map(&mut self, deferred: Deferred, len: usize) {
        match self.protocol {
            Protocol::Resp2 => self.finish(deferred, b'*', 2 * len),
            Protocol::Resp3 => self.finish(deferred, b'%', len),
        }
    }

    /// The deferred aggregate is a set of `len` elements; RESP2: an array.
    pub fn finish_set(&mut self, deferred: Deferred, len: usize) {
        self.finish(deferred, self.aggregate(b'~'), len);
    }

    #[expect(clippy::needless_pass_by_value, reason = "a deferred aggregate is finished once")]
    fn finish(&mut self, deferred: Deferred, kind: u8, len: usize) {
        let mut header = [0u8; HEADER_BYTES_MAX];
        let mut rest = &mut header[..];
        write!(rest, "{}{len}\r\n", char::from(kind)).expect("a header fits");
        let used = HEADER_BYTES_MAX - rest.len();
        self.output.fill_gap(deferred.at, DEFERRED_BYTES, &header[..used]);
    }

    fn aggregate(&self, resp3: u8) -> u8 {
        match self.protocol {
            Protocol::Resp2 => b'*',
            Protocol::Resp3 => resp3,
        }
    }

    /// Type, number, CR LF. Small numbers take one table look-up and one store of eight bytes, of which the used ones stay.
    #[inline]
    fn header(&mut self, kind: u8, value: i64) {
        let Some(&text) = usize::try_from(value).ok().and_then(|index| HEADER_TABLE.get(index)) else {
            return self.header_slow(kind, value);
        };
        let (header, header_bytes) = table_header(kind, text);
        self.output.room(size_of::<u64>())[..size_of::<u64>()].copy_from_slice(&header);
        self.output.advance(header_bytes);
    }

    #[inline(never)]
    fn header_slow(&mut self, kind: u8, value: i64) {
        let Some((digits, count)) = u32::try_from(value).ok().and_then(short_digits) else {
            return self.line(kind, itoa::Buffer::new().format(value).as_bytes());
        };
        let room = &mut self.output.room(HEADER_BYTES_MAX)[..HEADER_BYTES_MAX];
        room[0] = kind;
        room[1..1 + size_of::<u64>()].copy_from_slice(&digits.to_le_bytes());
        room[1 + count..3 + count].copy_from_slice(b"\r\n");
        self.output.advance(3 + count);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        let total = text.len() + 3;
        let room = self.output.room(total);
        room[0] = kind;
        room[1..total - 2].copy_from_slice(text);
        room[total - 2..total].copy_from_slice(b"\r\n");
        self.output.advance(total);
    }
}

/// The bytes of a header from the table's entry, and how many of them are used.
#[inline]
fn table_header(kind: u8, entry: u64) -> ([u8; 8], usize) {
    ((entry << 8 | u64::from(kind)).to_le_bytes(), 1 + (entry >> 56) as usize)
}

const fn header_table() -> [u64; HEADER_TABLE_LEN] {
    let mut table = [0; HEADER_TABLE_LEN];
    let mut value = 0;
    while value < HEADER_TABLE_LEN {
        let mut text = (b'\n' as u64) << 8 | b'\r' as u64;
        let mut len = 2;
        let mut rest = value;
        loop {
            text = text << 8 | (b'0' as u64 + rest as u64 % 10);
            len += 1;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        table[value] = text | len << 56;
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(protocol: Protocol, write: impl Fn(&mut Reply)) -> String {
        let mut output = Output::new();
        write(&mut Reply::new(&mut output, protocol));
        output.check_invariants();
        let bytes = output.to_vec();
        assert_eq!(bytes.len(), output.len());
        bytes.escape_ascii().to_string().replace("\\r\\n", "|")
    }

    fn check(write: impl Fn(&mut Reply), resp2: &str, resp3: &str) {
        assert_eq!(written(Protocol::Resp2, &write), resp2);
        assert_eq!(written(Protocol::Resp3, &write), resp3);
    }

    #[test]
    fn every_type_in_both_protocols() {
        check(|reply| reply.ok(), "+OK|", "+OK|");
        check(|reply| reply.queued(), "+QUEUED|", "+QUEUED|");
        check(|reply| reply.simple("PONG"), "+PONG|", "+PONG|");
        check(|reply| reply.error("ERR a\r\nb"), "-ERR a  b|", "-ERR a  b|");
        check(|reply| reply.error_fmt(format_args!("ERR {}", 1)), "-ERR 1|", "-ERR 1|");
        check(|reply| reply.integer(-7), ":-7|", ":-7|");
        check(|reply| reply.bulk(b""), "$0||", "$0||");
        check(|reply| reply.bulk_integer(i64::MIN), "$20|-9223372036854775808|", "$20|-9223372036854775808|");
        check(|reply| reply.bulk_fmt(format_args!("{}-{}", 1, 2)), "$3|1-2|", "$3|1-2|");
        check(|reply| reply.null(), "$-1|", "_|");
        check(|reply| reply.null_array(), "*-1|", "_|");
        check(|reply| reply.array(12), "*12|", "*12|");
        check(|reply| reply.map(2), "*4|", "%2|");
        check(|reply| reply.set(2), "*2|", "~2|");
        check(|reply| reply.push(3), "*3|", ">3|");
        check(|reply| assert_eq!(reply.attribute(1), reply.protocol() == Protocol::Resp3), "", "|1|");
        check(|reply| reply.double(1e20), "$5|1e+20|", ",1e+20|");
        check(|reply| reply.double(f64::INFINITY), "$3|inf|", ",inf|");
        check(|reply| reply.boolean(true), ":1|", "#t|");
        check(|reply| reply.boolean(false), ":0|", "#f|");
        check(|reply| reply.verbatim(*b"txt", b"hi"), "$2|hi|", "=6|txt:hi|");
        check(|reply| reply.big_number(b"123"), "$3|123|", "(123|");
        let error = ProtocolError::ExpectedDollar(b'\n');
        let text = "-ERR Protocol error: expected \\'$\\', got \\' \\'|";
        check(|reply| reply.protocol_error(error), text, text);
    }

    #[test]
    fn headers_of_all_sizes() {
        for value in (0..2100).chain([9999, 10_000, i64::MAX]).chain(-3..0) {
            assert_eq!(written(Protocol::Resp2, |reply| reply.integer(value)), format!(":{value}|"));
        }
        for len in (0..140).chain([1023, 1024, 70_000]) {
            let text: String = (0..len).map(|index| char::from(b'A' + (index % 26) as u8)).collect();
            assert_eq!(
                written(Protocol::Resp2, |reply| reply.bulk(text.as_bytes())),
                format!("${len}|{text}|")
            );
        }
    }

    #[test]
    fn deferred_aggregates_nest() {
        let write = |reply: &mut Reply| {
            reply.ok();
            let outer = reply.defer_map();
            reply.blob(&Bytes::from(vec![b'x'; BLOB_LARGE_BYTES_MIN]));
            let inner = reply.defer_array();
            (0..10).for_each(|value| reply.integer(value));
            reply.finish_array(inner, 10);
            let inner = reply.defer_set();
            reply.finish_set(inner, 0);
            reply.blob(&Bytes::from(vec![b'y'; BLOB_LARGE_BYTES_MIN]));
            reply.finish_map(outer, 2);
        };
        let (x, y) = ("x".repeat(BLOB_LARGE_BYTES_MIN), "y".repeat(BLOB_LARGE_BYTES_MIN));
        let middle = "*10|:0|:1|:2|:3|:4|:5|:6|:7|:8|:9|";
        let blob = |text: &str| format!("${}|{text}|", text.len());
        check(
            write,
            &format!("+OK|*4|{}{middle}*0|{}", blob(&x), blob(&y)),
            &format!("+OK|%2|{}{middle}~0|{}", blob(&x), blob(&y)),
        );
        check(
            |reply| {
                let outer = reply.defer_array();
                reply.blob(&Bytes::from(vec![b'x'; BLOB_LARGE_BYTES_MIN]));
                reply.finish_array(outer, 123);
            },
            &format!("*123|{}", blob(&x)),
            &format!("*123|{}", blob(&x)),
        );
    }

    #[test]
    fn errors_are_counted_and_taken_back() {
        let mut output = Output::new();
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        reply.error("WRONGTYPE Operation");
        let mark = reply.mark();
        reply.error("ERR");
        reply.blob(&Bytes::from(vec![0; BLOB_LARGE_BYTES_MIN]));
        assert_eq!((output.error_count(), output.error_word().as_bytes()), (2, &b"ERR"[..]));
        assert_eq!(output.bytes_since(mark), 6 + 8 + BLOB_LARGE_BYTES_MIN + 2);
        output.truncate(mark);
        output.check_invariants();
        assert_eq!((output.error_count(), output.to_vec()), (1, b"-WRONGTYPE Operation\r\n".to_vec()));
    }

    /// `cargo test --release --lib resp::reply -- --ignored --nocapture`: nanoseconds per reply.
    #[test]
    #[ignore = "a measurement"]
    fn speed() {
        const ROUNDS: u32 = 200_000;
        let mut output = Output::new();
        let value = [b'v'; 64];
        let mut measure = |name: &str, write: &dyn Fn(&mut Reply)| {
            let mut best = u128::MAX;
            for _ in 0..ROUNDS {
                let began = std::time::Instant::now();
                output.clear();
                write(&mut Reply::new(std::hint::black_box(&mut output), Protocol::Resp2));
                best = best.min(began.elapsed().as_nanos());
            }
            println!("{name} {:.1} ns at best", best as f64 / 64.0);
        };
        measure("bulk of 64", &|reply| (0..64).for_each(|_| reply.bulk(std::hint::black_box(&value))));
        measure("ok", &|reply| (0..64).for_each(|_| reply.ok()));
        measure("integer", &|reply| (0..64).for_each(|value| reply.integer(std::hint::black_box(value))));
    }
}
