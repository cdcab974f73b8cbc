//! The request parser: finds the arguments of RESP and inline commands where the bytes already lie.
//!
//! Design: `Parser::next` looks at one command. Arguments become `Span`s, offsets into the bytes given, so nothing is
//! copied. A command that lies whole in the input takes no state at all. What an incomplete command leaves behind:
//!
//! - fewer than `RESUME_ARGS_MIN` complete arguments: nothing. Its few headers are read again, which is cheaper than
//!   keeping them; the work repeated per call is bounded.
//! - more: a boxed `Progress` with the spans so far, so that a command of a million arguments that arrives byte by
//!   byte is still linear.
//! - a bulk of at least `Limits::bulk_direct_min` bytes whose end has not arrived: `ParseOutcome::LargeBulk`. The caller
//!   receives the bulk's bytes into memory of its own and says `bulk_taken`; the bytes are cut out of the stream:
//!
//!   ```text
//!   stream    *3 CR LF $3 CR LF SET CR LF $1 CR LF k CR LF $99999 CR LF vvvv....vvvv CR LF
//!   kept      |--------------------------------------------------------|
//!   then      |--- the same bytes -------------------------------------| CR LF <- appended
//!   ```
//!
//! A command that begins as the one before did is recognised by its first bytes (`Prefix`, `Parser::next_like`).
//!
//! Leniency is Redis's own: the byte after a header's CR and the two bytes after a bulk are skipped unseen; lengths
//! are strict decimal (`number::parse_i64`); a header is judged only when its CR and the byte after it are there. The one
//! departure: a NUL byte in a header or an inline command is an ordinary byte, where Redis waits for 64 KiB to arrive.
//!
//! Invariants:
//! - a step that is not `Command` leaves `spans` as it was;
//! - a `Progress` never outlives its command;
//! - offsets fit `u32`: an input is shorter than 4 GiB, bulks that are not are always `LargeBulk`.
//!
//! Costs: no allocation for complete commands, one box for a long incomplete one.
//! Not here: splitting of inline commands (`inline`), the meaning of arguments (`command`), buffers (`net`).

use std::fmt;

use memchr::memchr;

use super::number::parse_i64;

/// From this many complete arguments on, an incomplete command's spans are kept rather than found again.
const RESUME_ARGS_MIN: usize = 8;
/// Longest header line without a CR, in bytes, and longest inline command (Redis: PROTO_INLINE_MAX_SIZE).
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Most arguments of one command (Redis: INT_MAX).
pub const ARGS_MAX: u32 = i32::MAX as u32;
/// The longest prefix that is remembered: `*3\r\n$6\r\nINCRBY\r\n` fits.
const PREFIX_BYTES: usize = 16;
/// Most arguments of a command from a client that has yet to authenticate.
pub const UNAUTHENTICATED_ARGS_MAX: i64 = 10;
/// Longest argument, in bytes, from a client that has yet to authenticate.
pub const UNAUTHENTICATED_BULK_BYTES_MAX: u64 = 16 * 1024;
/// Bulks from this length on never get a span of their own, so that `LARGE` stays free.
const SPAN_BYTES_MAX: u64 = u32::MAX as u64 - 1;
/// Length of a `Span` that stands for a bulk received elsewhere.
const LARGE: u32 = u32::MAX;
/// Room reserved for the spans of one command before its bytes were seen.
const SPANS_RESERVED_MAX: usize = 64;

const _: () = assert!(SPANS_RESERVED_MAX >= RESUME_ARGS_MIN);

/// One argument: bytes `start..start + len` of the input the parser was given, or a large bulk received elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Offset of the first byte in the `input` of the call that returned `ParseOutcome::Command`; for a large bulk, its
    /// index among the large bulks of its command.
    pub start: u32,
    /// Bytes; `u32::MAX` marks a large bulk.
    pub len: u32,
}

impl Span {
    /// The index among its command's large bulks, if the argument was received elsewhere (`ParseOutcome::LargeBulk`).
    #[inline]
    pub fn large_index(self) -> Option<usize> {
        (self.len == LARGE).then_some(self.start as usize)
    }

    /// The argument's bytes in `input`. Panics for a large bulk.
    #[inline]
    pub fn slice(self, input: &[u8]) -> &[u8] {
        debug_assert!(self.len != LARGE, "a large bulk lies elsewhere");
        &input[self.start as usize..self.start as usize + self.len as usize]
    }

    /// The argument's bytes, wherever they lie; `large` holds the command's large bulks in order.
    #[inline]
    pub fn resolve<'a>(self, input: &'a [u8], large: &'a [bytes::Bytes]) -> &'a [u8] {
        match self.large_index() {
            None => self.slice(input),
            Some(index) => &large[index],
        }
    }

    fn new(start: usize, len: usize) -> Span {
        Span { start: start as u32, len: len as u32 }
    }

    fn shifted(self, by: usize) -> Span {
        if self.len == LARGE { self } else { Span { start: self.start + by as u32, len: self.len } }
    }
}

/// What a client may send. Small enough to build per batch; `Default` has Redis's defaults for an authenticated client.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `proto-max-bulk-len`, bytes.
    pub bulk_bytes_max: u64,
    /// Longest inline command and header line whose end has not been seen, bytes.
    pub inline_bytes_max: usize,
    /// Most arguments of one command.
    pub args_max: u32,
    /// Whether the client may send more than the little that AUTH and HELLO need.
    pub authenticated: bool,
    /// Bulk length, bytes, from which an incomplete bulk is reported as `ParseOutcome::LargeBulk`; `u64::MAX` for never (but
    /// bulks of 4 GiB and more always are).
    pub bulk_direct_min: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bulk_bytes_max: 512 * 1024 * 1024,
            inline_bytes_max: INLINE_BYTES_MAX,
            args_max: ARGS_MAX,
            authenticated: true,
            bulk_direct_min: u64::MAX,
        }
    }
}

/// What `Parser::next` found. Offsets are into the `input` it was given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseOutcome {
    /// A whole command: its arguments (at least one) were pushed to `spans`; the next one starts at `end`.
    Command { end: usize },
    /// An inline command: `input[start..end]`, its line end included, is for `inline::split` (which may find nothing to
    /// run in it).
    Inline { end: usize },
    /// Nothing to run: `*0`, `*-1`, an empty line. The next command starts at `end`.
    Empty { end: usize },
    /// More bytes are needed. Everything from `start` on is kept and presented again, with more bytes appended; `start`
    /// itself may differ next time.
    Incomplete,
    /// A bulk of `len` bytes starts at `header_end` and isn't complete. Keep `input[start..header_end]`, receive `len` bytes
    /// from `header_end` on elsewhere, call `bulk_taken`, then present the kept bytes followed by what comes after the
    /// bulk (its CR LF first). Calling `next` again instead, with more bytes appended, is allowed too.
    LargeBulk { header_end: usize, len: u64 },
    /// The client breaks the protocol: reply with the error and close.
    Error(ProtocolError),
}

/// What a client did wrong. `Display` and `text` give Redis's words, without the leading `ERR `.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProtocolError {
    InvalidMultibulkLength,
    UnauthenticatedMultibulkLength,
    InvalidBulkLength,
    UnauthenticatedBulkLength,
    /// The byte found where a bulk's `$` belongs.
    ExpectedDollar(u8),
    TooBigMultibulkCount,
    TooBigBulkCount,
    TooBigInline,
    UnbalancedQuotes,
}

impl ProtocolError {
    /// The text up to where `ExpectedDollar` names the byte it found.
    fn text(self) -> &'static str {
        match self {
            ProtocolError::InvalidMultibulkLength => "Protocol error: invalid multibulk length",
            ProtocolError::UnauthenticatedMultibulkLength => {
                "Protocol error: unauthenticated multibulk length"
            }
            ProtocolError::InvalidBulkLength => "Protocol error: invalid bulk length",
            ProtocolError::UnauthenticatedBulkLength => "Protocol error: unauthenticated bulk length",
            ProtocolError::ExpectedDollar(_) => "Protocol error: expected '$', got '",
            ProtocolError::TooBigMultibulkCount => "Protocol error: too big mbulk count string",
            ProtocolError::TooBigBulkCount => "Protocol error: too big bulk count string",
            ProtocolError::TooBigInline => "Protocol error: too big inline request",
            ProtocolError::UnbalancedQuotes => "Protocol error: unbalanced quotes in request",
        }
    }

    /// Appends the message's bytes; a foreign byte is given as it is, as Redis does.
    pub fn write_to(self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.text().as_bytes());
        match self {
            // Redis formats the byte as a C string: a NUL ends the text.
            ProtocolError::ExpectedDollar(0) => {}
            ProtocolError::ExpectedDollar(byte) => out.extend_from_slice(&[byte, b'\'']),
            _ => {}
        }
    }
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())?;
        match self {
            ProtocolError::ExpectedDollar(byte) => write!(f, "{}'", byte.escape_ascii()),
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ProtocolError {}

/// Finds commands in a connection's bytes, one per call of `next`; holds the progress of at most one incomplete command.
#[derive(Default, Debug)]
pub struct Parser {
    progress: Option<Box<Progress>>,
    /// Bytes of an incomplete inline command that are known to hold no line end.
    scanned: u32,
}

/// The first bytes of a command: how many arguments, and its name. Commands often begin as the one before did, which one
/// comparison shows; then nothing of this has to be read again, nor the name looked up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Prefix {
    bytes: u128,
    mask: u128,
    /// Bytes up to the second argument's header; 0 for none, which no command begins with.
    len: u8,
    name_start: u8,
    name_len: u8,
    count: u32,
}

impl Prefix {
    /// The prefix of the command of `count` arguments at `start`, whose name lies in `name`; none, if it is too long.
    pub fn of(input: &[u8], start: usize, name: Span, count: usize) -> Prefix {
        let name_start = (name.start as usize).saturating_sub(start);
        let len = name_start + name.len as usize + 2;
        let Some(bytes) = input.get(start..).and_then(|rest| rest.first_chunk::<PREFIX_BYTES>()) else {
            return Prefix::default();
        };
        if name.large_index().is_some() || len > PREFIX_BYTES || count as i64 > UNAUTHENTICATED_ARGS_MAX {
            return Prefix::default();
        }
        let mask = u128::MAX >> (8 * (PREFIX_BYTES - len));
        Prefix {
            bytes: u128::from_le_bytes(*bytes) & mask,
            mask,
            len: len as u8,
            name_start: name_start as u8,
            name_len: name.len as u8,
            count: count as u32,
        }
    }

    #[inline]
    fn leads(&self, input: &[u8], start: usize) -> bool {
        let Some(bytes) = input.get(start..).and_then(|rest| rest.first_chunk::<PREFIX_BYTES>()) else {
            return false;
        };
        self.len > 0 && u128::from_le_bytes(*bytes) & self.mask == self.bytes
    }
}

/// An incomplete command of many arguments or with a large bulk. Offsets count from the command's first byte.
#[derive(Debug)]
struct Progress {
    cursor: Cursor,
    spans: Vec<Span>,
    larges: u32,
}

/// A place inside a command's arguments.
#[derive(Clone, Copy, Debug)]
struct Cursor {
    /// Offset of what is to be read next: a header, a bulk, or the CR LF after a bulk that was taken.
    position: usize,
    /// Arguments not yet complete.
    remaining: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug)]
enum Place {
    Header,
    Bulk { len: u64 },
    AfterTaken,
}

/// Why reading of arguments ended.
enum Stop {
    Complete,
    Incomplete,
    Large { len: u64 },
    Error(ProtocolError),
}

/// What a `*` or `$` header line says.
enum Header {
    Number { value: i64, end: usize },
    Malformed,
    Incomplete,
}

impl Parser {
    /// A parser at the start of a command.
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads one command that starts at `input[start]` and pushes its arguments to `spans`, as offsets into `input`.
    ///
    /// `input` must be shorter than 4 GiB; the caller's query buffer limit sees to it.
    #[inline]
    pub fn next(
        &mut self,
        input: &[u8],
        start: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> ParseOutcome {
        assert!(start <= input.len(), "a command starts inside its input");
        assert!(input.len() < u32::MAX as usize, "spans are offsets of 32 bits");
        if self.progress.is_some() {
            return self.resume(input, start, spans, limits);
        }
        let Some(&first) = input.get(start) else { return ParseOutcome::Incomplete };
        if first != b'*' {
            return self.inline(input, start, limits);
        }
        let (count, position) = match command_header(input, start) {
            Some(found) => found,
            None => match read_multibulk_slow(input, start, limits) {
                Ok(found) => found,
                Err(step) => return step,
            },
        };
        if !limits.authenticated && i64::from(count) > UNAUTHENTICATED_ARGS_MAX {
            return ParseOutcome::Error(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if count == 0 {
            return ParseOutcome::Empty { end: position };
        }
        let spans_before = spans.len();
        spans.reserve((count as usize).min(SPANS_RESERVED_MAX));
        let mut cursor = Cursor { position, remaining: count, place: Place::Header };
        match read_arguments(&mut cursor, input, 0, spans, limits) {
            Stop::Complete => ParseOutcome::Command { end: cursor.position },
            stop => self.suspend(&stop, cursor, start, spans, spans_before),
        }
    }

    /// As `next`, for a whole command of short arguments that begins as the one before did: its end. `None` for any other, with
    /// nothing done.
    #[inline]
    pub fn next_like(
        &mut self,
        prefix: &Prefix,
        input: &[u8],
        start: usize,
        spans: &mut Vec<Span>,
        limits: &Limits,
    ) -> Option<usize> {
        if !prefix.leads(input, start) || self.progress.is_some() {
            return None;
        }
        assert!(input.len() < u32::MAX as usize, "spans are offsets of 32 bits");
        let spans_before = spans.len();
        spans.reserve(prefix.count as usize);
        spans.push(Span::new(start + prefix.name_start as usize, prefix.name_len as usize));
        let mut position = start + prefix.len as usize;
        for _ in 1..prefix.count {
            match short_argument(input, position, limits) {
                Some(span) => {
                    spans.push(span);
                    position = span.start as usize + span.len as usize + 2;
                }
                None => {
                    spans.truncate(spans_before);
                    return None;
                }
            }
        }
        Some(position)
    }

    /// Whether a command is known to have begun (the bytes from its start must be kept) with state held for it.
    pub fn is_midway(&self) -> bool {
        self.progress.is_some() || self.scanned > 0
    }

    /// After `ParseOutcome::LargeBulk`: the bulk's bytes were received elsewhere and are cut out of what `next` will be given.
    /// Its span is a large one; `Span::large_index` counts the large bulks of a command from zero.
    pub fn bulk_taken(&mut self) {
        let progress = self.progress.as_mut().expect("a large bulk leaves progress behind");
        assert!(matches!(progress.cursor.place, Place::Bulk { .. }), "a large bulk is being read");
        progress.spans.push(Span { start: progress.larges, len: LARGE });
        progress.larges += 1;
        progress.cursor.place = Place::AfterTaken;
    }

    /// Forgets an incomplete command, and frees what was kept for it.
    pub fn reset(&mut self) {
        *self = Parser::default();
    }

    #[cold]
    fn inline(&mut self, input: &[u8], start: usize, limits: &Limits) -> ParseOutcome {
        let scanned = start + self.scanned as usize;
        debug_assert!(scanned <= input.len(), "bytes of an incomplete command are kept");
        let Some(found) = input.get(scanned..).and_then(|rest| memchr(b'\n', rest)) else {
            if input.len() - start > limits.inline_bytes_max {
                return ParseOutcome::Error(ProtocolError::TooBigInline);
            }
            self.scanned = (input.len() - start) as u32;
            return ParseOutcome::Incomplete;
        };
        self.scanned = 0;
        let end = scanned + found + 1;
        if input[start..end].iter().all(|&byte| super::inline::is_space(byte)) {
            return ParseOutcome::Empty { end };
        }
        ParseOutcome::Inline { end }
    }

    #[cold]
    #[inline(never)]
    fn resume(&mut self, input: &[u8], start: usize, spans: &mut Vec<Span>, limits: &Limits) -> ParseOutcome {
        let mut progress = self.progress.take().expect("resumed only with progress");
        progress.cursor.position += start;
        assert!(progress.cursor.position <= input.len(), "bytes of an incomplete command are kept");
        let mut cursor = progress.cursor;
        match read_arguments(&mut cursor, input, start, &mut progress.spans, limits) {
            Stop::Complete => {
                spans.extend(progress.spans.iter().map(|span| span.shifted(start)));
                ParseOutcome::Command { end: cursor.position }
            }
            Stop::Error(error) => ParseOutcome::Error(error),
            stop => {
                let header_end = cursor.position;
                cursor.position -= start;
                progress.cursor = cursor;
                self.progress = Some(progress);
                match stop {
                    Stop::Large { len } => ParseOutcome::LargeBulk { header_end, len },
                    _ => ParseOutcome::Incomplete,
                }
            }
        }
    }

    /// Keeps what is worth keeping of a command that isn't complete, and takes its spans back from `spans`.
    #[cold]
    #[inline(never)]
    fn suspend(
        &mut self,
        stop: &Stop,
        mut cursor: Cursor,
        start: usize,
        spans: &mut Vec<Span>,
        spans_before: usize,
    ) -> ParseOutcome {
        let header_end = cursor.position;
        let step = match *stop {
            Stop::Error(error) => ParseOutcome::Error(error),
            Stop::Large { len } => ParseOutcome::LargeBulk { header_end, len },
            Stop::Incomplete => ParseOutcome::Incomplete,
            Stop::Complete => unreachable!("a complete command is not suspended"),
        };
        let is_kept = match step {
            ParseOutcome::LargeBulk { .. } => true,
            ParseOutcome::Incomplete => spans.len() - spans_before >= RESUME_ARGS_MIN,
            _ => false,
        };
        if is_kept {
            cursor.position -= start;
            let relative = |span: &Span| Span { start: span.start - start as u32, len: span.len };
            let kept = spans[spans_before..].iter().map(relative).collect();
            self.progress = Some(Box::new(Progress { cursor, spans: kept, larges: 0 }));
        }
        spans.truncate(spans_before);
        step
    }
}

/// Reads arguments from `cursor` on until the command is complete or something stops it. Spans count from `base`.
#[inline]
fn read_arguments(
    cursor: &mut Cursor,
    input: &[u8],
    base: usize,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Stop {
    loop {
        // 1. The common case: short headers, and the whole bulks behind them.
        if matches!(cursor.place, Place::Header) {
            let (mut position, mut remaining) = (cursor.position, cursor.remaining);
            while remaining > 0
                && let Some(span) = short_argument(input, position, limits)
            {
                position = span.start as usize + span.len as usize + 2;
                spans.push(Span { start: span.start - base as u32, len: span.len });
                remaining -= 1;
            }
            cursor.position = position;
            cursor.remaining = remaining;
        }
        if cursor.remaining == 0 {
            return Stop::Complete;
        }
        // 2. Everything else.
        if let Some(stop) = read_argument_slow(cursor, input, base, spans, limits) {
            return stop;
        }
    }
}

/// Advances by one header and bulk, of any length and form.
#[inline(never)]
fn read_argument_slow(
    cursor: &mut Cursor,
    input: &[u8],
    base: usize,
    spans: &mut Vec<Span>,
    limits: &Limits,
) -> Option<Stop> {
    if matches!(cursor.place, Place::Header) {
        match read_bulk_header(input, cursor.position, limits) {
            Ok((len, bulk)) => {
                cursor.position = bulk;
                cursor.place = Place::Bulk { len };
            }
            Err(stop) => return Some(stop),
        }
    }
    let available = (input.len() - cursor.position) as u64;
    match cursor.place {
        Place::AfterTaken if available < 2 => return Some(Stop::Incomplete),
        Place::AfterTaken => cursor.position += 2,
        Place::Bulk { len } if available < len.saturating_add(2) => {
            // A bulk whose bytes are all here lacks only its CR LF: not worth receiving elsewhere.
            let is_direct = len >= limits.bulk_direct_min.min(SPAN_BYTES_MAX) && available < len;
            return Some(if is_direct { Stop::Large { len } } else { Stop::Incomplete });
        }
        Place::Bulk { len } => {
            spans.push(Span::new(cursor.position - base, len as usize));
            cursor.position += len as usize + 2;
        }
        Place::Header => unreachable!("a header was read above"),
    }
    cursor.place = Place::Header;
    cursor.remaining -= 1;
    None
}

/// The length and first byte of the bulk whose header starts at `position`.
fn read_bulk_header(input: &[u8], position: usize, limits: &Limits) -> Result<(u64, usize), Stop> {
    let header = read_header(input, position);
    if let Header::Incomplete = header {
        let is_too_big = input.len() - position > limits.inline_bytes_max && !has_cr(input, position);
        return Err(if is_too_big { Stop::Error(ProtocolError::TooBigBulkCount) } else { Stop::Incomplete });
    }
    if input[position] != b'$' {
        return Err(Stop::Error(ProtocolError::ExpectedDollar(input[position])));
    }
    let Header::Number { value, end } = header else {
        return Err(Stop::Error(ProtocolError::InvalidBulkLength));
    };
    let len = u64::try_from(value).map_err(|_| Stop::Error(ProtocolError::InvalidBulkLength))?;
    if len > limits.bulk_bytes_max {
        return Err(Stop::Error(ProtocolError::InvalidBulkLength));
    }
    if !limits.authenticated && len > UNAUTHENTICATED_BULK_BYTES_MAX {
        return Err(Stop::Error(ProtocolError::UnauthenticatedBulkLength));
    }
    Ok((len, end))
}

/// The argument count of the command that starts at `start` and where its first argument's header lies.
#[cold]
fn read_multibulk_slow(input: &[u8], start: usize, limits: &Limits) -> Result<(u32, usize), ParseOutcome> {
    match read_header(input, start) {
        Header::Incomplete => {
            let is_too_big = input.len() - start > limits.inline_bytes_max && !has_cr(input, start);
            Err(if is_too_big {
                ParseOutcome::Error(ProtocolError::TooBigMultibulkCount)
            } else {
                ParseOutcome::Incomplete
            })
        }
        Header::Number { value, end } if value <= i64::from(limits.args_max) => {
            Ok((value.max(0) as u32, end))
        }
        _ => Err(ParseOutcome::Error(ProtocolError::InvalidMultibulkLength)),
    }
}

fn has_cr(input: &[u8], position: usize) -> bool {
    memchr(b'\r', &input[position..]).is_some()
}

/// Reads the header line at `position`: one byte of type, a strict decimal, CR and a byte that is skipped.
fn read_header(input: &[u8], position: usize) -> Header {
    let Some(cr) = memchr(b'\r', &input[position..]) else { return Header::Incomplete };
    let cr = position + cr;
    if input.len() < cr + 2 {
        return Header::Incomplete;
    }
    if cr == position {
        return Header::Malformed;
    }
    match parse_i64(&input[position + 1..cr]) {
        Some(value) => Header::Number { value, end: cr + 2 },
        None => Header::Malformed,
    }
}

/// `*d CR LF`, the header of nearly every command; `None` for all others.
#[inline]
fn command_header(input: &[u8], start: usize) -> Option<(u32, usize)> {
    let chunk = input.get(start..)?.first_chunk::<4>()?;
    let digit = chunk[1].wrapping_sub(b'0');
    (digit <= 9 && chunk[2] == b'\r').then_some((u32::from(digit), start + 4))
}

/// A whole argument with a `$` header of one to three digits; `None` for all others.
#[inline]
fn short_argument(input: &[u8], position: usize, limits: &Limits) -> Option<Span> {
    let (len, bulk) = short_header(input, position)?;
    let is_whole = input.len() - bulk >= len + 2;
    (is_whole && len as u64 <= limits.bulk_bytes_max).then(|| Span::new(bulk, len))
}

/// A `$` header of one to three digits: the bulk's length and where it starts; `None` for all others. A complete
/// argument has at least six bytes, so they may be asked for at once.
#[inline]
fn short_header(input: &[u8], position: usize) -> Option<(usize, usize)> {
    let chunk = input.get(position..)?.first_chunk::<6>()?;
    let first = chunk[1].wrapping_sub(b'0');
    if chunk[0] != b'$' || first > 9 {
        return None;
    }
    let first = usize::from(first);
    if chunk[2] == b'\r' {
        return Some((first, position + 4));
    }
    let second = chunk[2].wrapping_sub(b'0');
    if second > 9 || first == 0 {
        return None;
    }
    let two = first * 10 + usize::from(second);
    if chunk[3] == b'\r' {
        return Some((two, position + 5));
    }
    let third = chunk[3].wrapping_sub(b'0');
    if third > 9 || chunk[4] != b'\r' {
        return None;
    }
    Some((two * 10 + usize::from(third), position + 6))
}

/// Feeds arbitrary bytes, whole and cut into pieces of a size that the first byte picks, and asserts that the parser tells the
/// same both ways and that its spans lie inside the input.
#[doc(hidden)]
pub fn fuzz_parse(data: &[u8]) {
    let Some((&first, data)) = data.split_first() else { return };
    // Whether an overlong header is refused depends on how much of it arrived at once, as in Redis.
    let data = &data[..data.len().min(INLINE_BYTES_MAX)];
    let mut limits =
        Limits { bulk_bytes_max: 1 << 20, authenticated: first & 0x80 == 0, ..Limits::default() };
    let whole = fuzz_run(data, data.len().max(1), &limits);
    assert_eq!(whole, fuzz_run(data, usize::from(first & 0x3f) + 1, &limits), "cuts change nothing");
    limits.bulk_direct_min = u64::from(first & 0x1f);
    assert_eq!(whole, fuzz_run(data, usize::from(first & 0x3f) + 1, &limits), "large bulks change nothing");
}

/// What a stream of bytes was found to be.
#[derive(PartialEq, Eq, Debug)]
enum Found {
    Command(Vec<Vec<u8>>),
    Inline(Vec<u8>),
    Empty,
    Error(ProtocolError),
}

/// Presents `data` in pieces of `piece` bytes, as a connection would, and serves large bulks.
fn fuzz_run(data: &[u8], piece: usize, limits: &Limits) -> Vec<Found> {
    let (mut parser, mut spans, mut found) = (Parser::new(), Vec::new(), Vec::new());
    let (mut input, mut larges): (Vec<u8>, Vec<bytes::Bytes>) = (Vec::new(), Vec::new());
    // Bytes that the large bulk being received still lacks.
    let mut missing = 0;
    let mut large = Vec::new();
    let mut prefix = Prefix::default();
    for mut chunk in data.chunks(piece) {
        if missing > 0 {
            let taken = missing.min(chunk.len());
            large.extend_from_slice(&chunk[..taken]);
            missing -= taken;
            chunk = &chunk[taken..];
            if missing > 0 {
                continue;
            }
            larges.push(bytes::Bytes::from(std::mem::take(&mut large)));
            parser.bulk_taken();
        }
        input.extend_from_slice(chunk);
        let mut start = 0;
        loop {
            spans.clear();
            let known = parser.next_like(&prefix, &input, start, &mut spans, limits);
            let step = known.map(|end| ParseOutcome::Command { end });
            match step.unwrap_or_else(|| parser.next(&input, start, &mut spans, limits)) {
                ParseOutcome::Command { end } => {
                    prefix = Prefix::of(&input, start, spans[0], spans.len());
                    assert!(start < end && end <= input.len() && !spans.is_empty());
                    let args = spans.iter().map(|span| span.resolve(&input, &larges).to_vec()).collect();
                    found.push(Found::Command(args));
                    larges.clear();
                    start = end;
                }
                ParseOutcome::Inline { end } => {
                    assert!(start < end && end <= input.len());
                    found.push(Found::Inline(input[start..end].to_vec()));
                    start = end;
                }
                ParseOutcome::Empty { end } => {
                    assert!(start < end && end <= input.len());
                    found.push(Found::Empty);
                    start = end;
                }
                ParseOutcome::Incomplete => break,
                ParseOutcome::LargeBulk { header_end, len } => {
                    assert!(start < header_end && header_end <= input.len());
                    assert!(((input.len() - header_end) as u64) < len, "a complete bulk is not large");
                    large.extend_from_slice(&input[header_end..]);
                    missing = len as usize - large.len();
                    input.truncate(header_end);
                    break;
                }
                ParseOutcome::Error(error) => {
                    found.push(Found::Error(error));
                    return found;
                }
            }
            assert!(parser.progress.is_none(), "progress ends with its command");
        }
        input.drain(..start);
    }
    found
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
