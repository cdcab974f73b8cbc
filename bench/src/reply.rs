//! Whole replies, for those who look at what they hold: verification, and messages of channels.
//!
//! Costs: a vector for each aggregate; bytes are borrowed. Where nobody looks, `framer` counts without any.

use crate::{Fatal, fatal};

/// How deep aggregates may lie in each other.
const DEPTH_MAX: usize = 32;
/// Most elements and bytes of anything.
const LENGTH_MAX: i64 = 1 << 30;

/// A reply, in RESP2 or RESP3.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply<'a> {
    /// A line of any kind but an error, without its first byte.
    Line(&'a [u8]),
    /// An error.
    Error(&'a [u8]),
    /// A string, bulk or verbatim.
    Bulk(&'a [u8]),
    /// A null of any kind.
    Null,
    /// An array, a set, a push, or a map with its keys and values in turn.
    Array(Vec<Reply<'a>>),
}

/// The first reply in these bytes and its length, if it is whole.
///
/// # Errors
/// Bytes that are no RESP.
pub fn parse(bytes: &[u8]) -> Result<Option<(Reply<'_>, usize)>, Fatal> {
    let mut at = 0;
    Ok(element(bytes, &mut at, 0)?.map(|reply| (reply, at)))
}

fn element<'a>(bytes: &'a [u8], at: &mut usize, depth: usize) -> Result<Option<Reply<'a>>, Fatal> {
    let Some(end) = memchr::memchr(b'\n', &bytes[*at..]) else { return Ok(None) };
    let line = bytes[*at..*at + end].strip_suffix(b"\r").filter(|line| !line.is_empty());
    let Some((kind, rest)) = line.and_then(|line| line.split_first()) else {
        return fatal("the server sent no RESP");
    };
    *at += end + 1;
    let length = || -> Result<i64, Fatal> {
        let length = std::str::from_utf8(rest).ok().and_then(|text| text.parse().ok());
        let length = length.filter(|length| (-1..=LENGTH_MAX).contains(length) && depth < DEPTH_MAX);
        length.ok_or_else(|| Fatal("the server sent no RESP, or more than is looked at".into()))
    };
    match kind {
        b'-' | b'!' if *kind == b'-' => Ok(Some(Reply::Error(rest))),
        b'_' => Ok(Some(Reply::Null)),
        b'$' | b'=' | b'!' => {
            let length = length()?;
            if length < 0 {
                return Ok(Some(Reply::Null));
            }
            let length = length as usize;
            if bytes.len() < *at + length + 2 {
                return Ok(None);
            }
            let text = &bytes[*at..*at + length];
            *at += length + 2;
            Ok(Some(if *kind == b'!' { Reply::Error(text) } else { Reply::Bulk(text) }))
        }
        b'*' | b'~' | b'>' | b'%' => {
            let length = length()?;
            if length < 0 {
                return Ok(Some(Reply::Null));
            }
            let mut elements = Vec::new();
            for _ in 0..length * if *kind == b'%' { 2 } else { 1 } {
                let Some(element) = element(bytes, at, depth + 1)? else { return Ok(None) };
                elements.push(element);
            }
            Ok(Some(Reply::Array(elements)))
        }
        b'+' | b':' | b'#' | b',' | b'(' => Ok(Some(Reply::Line(rest))),
        _ => fatal(format!("the server sent no RESP: {}", rest.escape_ascii())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_read_when_they_are_whole() {
        let text = b"*4\r\n$3\r\na\r\n\r\n:12\r\n%1\r\n+k\r\n_\r\n-ERR no\r\nrest";
        let expected = Reply::Array(vec![
            Reply::Bulk(b"a\r\n"),
            Reply::Line(b"12"),
            Reply::Array(vec![Reply::Line(b"k"), Reply::Null]),
            Reply::Error(b"ERR no"),
        ]);
        let whole = text.len() - 4;
        assert_eq!(parse(text), Ok(Some((expected, whole))));
        for end in 0..whole {
            assert_eq!(parse(&text[..end]), Ok(None), "{end}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(proptest::sample::select(b"*$%_-+:>!=~ab019\r\n".to_vec()), 0..60)) {
            if let Ok(Some((_, length))) = parse(&bytes) {
                proptest::prop_assert!(length <= bytes.len());
            }
        }
    }
}
