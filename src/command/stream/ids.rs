//! IDs as they are given, and entries as they are replied.

use super::super::{Args, CommandError, reply_item};
use crate::resp::Reply;
use crate::resp::number::{parse_i64, parse_u64};
use crate::store::stream::{Entry, StreamId};

const INVALID: CommandError =
    CommandError::Text("ERR Invalid stream ID specified as stream command argument");
const START: CommandError = CommandError::Text("ERR invalid start ID for the interval");
const END: CommandError = CommandError::Text("ERR invalid end ID for the interval");
/// Longer texts are no IDs.
const TEXT_BYTES_MAX: usize = 127;
/// Longest text of an ID: two numbers of 64 bits and what stands between.
const ID_BYTES_MAX: usize = 41;

/// The ID that XADD gives an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: that of now.
    Auto,
    /// `5-*`: the next one of this time.
    OfTime(u64),
    /// Just this.
    Exact(StreamId),
}

/// An ID with both parts, or without the second.
pub fn parse(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match parse_parts(text)? {
        (ms, Some(seq)) => Ok(StreamId { ms, seq: number(seq)? }),
        (ms, None) => Ok(StreamId { ms, seq: missing_seq }),
    }
}

/// As `parse`; `-` and `+` are the first and the last there may be.
pub fn parse_bound(text: &[u8], missing_seq: u64) -> Result<StreamId, CommandError> {
    match c_text(text) {
        b"-" => Ok(StreamId::MIN),
        b"+" => Ok(StreamId::MAX),
        _ => parse(text, missing_seq),
    }
}

/// The ID of a new entry.
pub fn parse_new(text: &[u8]) -> Result<NewId, CommandError> {
    match parse_parts(text)? {
        (ms, Some(b"*")) => Ok(NewId::OfTime(ms)),
        (ms, Some(seq)) => Ok(NewId::Exact(StreamId { ms, seq: number(seq)? })),
        (ms, None) => Ok(NewId::Exact(StreamId { ms, seq: 0 })),
    }
}

/// Where a range begins; `(` before an ID leaves that out.
pub fn parse_start(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => parse(rest, 0)?.next().ok_or(START),
        _ => parse_bound(text, 0),
    }
}

/// Where a range ends.
pub fn parse_end(text: &[u8]) -> Result<StreamId, CommandError> {
    match text {
        [b'(', rest @ ..] if !rest.is_empty() => parse(rest, u64::MAX)?.previous().ok_or(END),
        _ => parse_bound(text, u64::MAX),
    }
}

/// All arguments of a range as IDs.
pub fn parse_all(args: &Args<'_>, range: std::ops::Range<usize>) -> Result<Vec<StreamId>, CommandError> {
    range.map(|index| parse(args.at(index), 0)).collect()
}

/// The time, and what stands behind the dash.
fn parse_parts(text: &[u8]) -> Result<(u64, Option<&[u8]>), CommandError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(INVALID);
    }
    let text = c_text(text);
    match memchr::memchr(b'-', text) {
        Some(dash) => Ok((number(&text[..dash])?, Some(&text[dash + 1..]))),
        None => Ok((number(text)?, None)),
    }
}

fn c_text(text: &[u8]) -> &[u8] {
    memchr::memchr(0, text).map_or(text, |end| &text[..end])
}

fn number(text: &[u8]) -> Result<u64, CommandError> {
    match parse_u64(text) {
        Some(value) => Ok(value),
        None => odd_number(text).ok_or(INVALID),
    }
}

/// What C's `strtoull` reads besides: spaces before, a sign, zeros. A negative number that is written as usual is none.
#[cold]
fn odd_number(text: &[u8]) -> Option<u64> {
    if parse_i64(text).is_some_and(|value| value < 0) {
        return None;
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let text = &text[text.iter().take_while(|byte| is_space(byte)).count()..];
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value = 0u64;
    for digit in digits {
        let digit = u64::from(digit.wrapping_sub(b'0'));
        value = value.checked_mul(10)?.checked_add(Some(digit).filter(|digit| *digit < 10)?)?;
    }
    Some(if is_negative { value.wrapping_neg() } else { value })
}

/// Replies an ID.
#[inline]
pub fn reply_id(id: StreamId, reply: &mut Reply<'_>) {
    let mut text = [0; ID_BYTES_MAX];
    let mut digits = itoa::Buffer::new();
    let ms = digits.format(id.ms).as_bytes();
    let dash = ms.len();
    text[..dash].copy_from_slice(ms);
    text[dash] = b'-';
    let seq = digits.format(id.seq).as_bytes();
    let end = dash + 1 + seq.len();
    text[dash + 1..end].copy_from_slice(seq);
    reply.bulk(&text[..end]);
}

/// Replies an entry: its ID, its fields and values.
#[inline]
pub fn reply_entry(entry: &Entry<'_>, reply: &mut Reply<'_>) {
    reply.array(2);
    reply_parts(entry, reply);
}

/// Replies an entry and how it was delivered before: how long ago in ms, and how often.
pub fn reply_delivered(entry: &Entry<'_>, idle_ms: i64, deliveries: u64, reply: &mut Reply<'_>) {
    reply.array(4);
    reply_parts(entry, reply);
    reply.integer(idle_ms);
    reply.integer(deliveries.cast_signed());
}

#[inline]
fn reply_parts(entry: &Entry<'_>, reply: &mut Reply<'_>) {
    reply_id(entry.id, reply);
    reply.array(2 * entry.field_count);
    for (field, value) in entry.pairs() {
        reply_item(field, reply);
        reply_item(value, reply);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_redis_reads_them() {
        let id = |ms, seq| Some(StreamId { ms, seq });
        let max = u64::MAX;
        for (text, expected) in [
            ("5", id(5, 7)),
            ("5-6", id(5, 6)),
            ("007-01", id(7, 1)),
            (" 8", id(8, 7)),
            ("+7-+1", id(7, 1)),
            ("18446744073709551615-18446744073709551615", id(max, max)),
            ("9-\t-01", id(9, max)),
            ("5\0-x", id(5, 7)),
            ("18446744073709551616", None),
            ("5-", None),
            ("-5", None),
            ("5--1", None),
            ("5-1-2", None),
            ("5 ", None),
            ("", None),
            ("-", None),
            ("+", None),
            ("*", None),
            ("0x5", None),
        ] {
            assert_eq!(parse(text.as_bytes(), 7).ok(), expected, "{text:?}");
        }
        assert_eq!(parse_new(b"5-*"), Ok(NewId::OfTime(5)));
        assert!(parse_new(b"*-*").is_err() && parse(b"5-*", 0).is_err());
        assert_eq!(parse(&[b'0'; 128], 0), Err(INVALID));
        assert_eq!(parse_start(b"(5"), Ok(StreamId { ms: 5, seq: 1 }));
        assert_eq!(parse_end(b"(5"), Ok(StreamId { ms: 5, seq: max - 1 }));
        assert_eq!(parse_end(b"(5-0"), Ok(StreamId { ms: 4, seq: max }));
        assert!(parse_start(b"(-").is_err() && parse_start(b"(").is_err() && parse_end(b"(0-0").is_err());
    }
}
