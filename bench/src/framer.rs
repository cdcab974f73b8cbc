//! Counts replies in a stream of bytes, in whatever pieces it arrives.
//!
//! Design: RESP needs no stack to be framed: an aggregate of n elements makes n more elements outstanding, and a reply is
//! whole when none is. The bytes of bulks are skipped by count. So nothing of a reply is kept but an unfinished header line.
//!
//! Invariants: between replies, `outstanding` and `skip` are 0 and `line` is empty.
//! Costs: no allocation once `line` has grown to the longest header; a few instructions per element.
//! Not here: values. Nobody looks at what a server answers under load, but for errors.

use std::fmt;

use memchr::memchr;

/// What is kept of the first error reply, bytes.
const ERROR_BYTES_MAX: usize = 120;
/// Longest unfinished line that is waited for, bytes.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Bytes that are no RESP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the server sent no RESP: {}", self.0)
    }
}

impl std::error::Error for Malformed {}

/// Counts the replies of one connection.
#[derive(Clone, Debug, Default)]
pub struct Framer {
    /// Elements that the reply at hand still lacks; 0 between replies.
    outstanding: u64,
    /// Bytes of a bulk, its line end included, still to come.
    skip: u64,
    /// An unfinished line.
    line: Vec<u8>,
    /// Whether the reply at hand is a push, which answers nothing.
    push: bool,
    replies: u64,
    errors: u64,
    nulls: u64,
    first_error: Option<String>,
}

impl Framer {
    /// Whole replies seen; pushes do not count.
    pub fn replies(&self) -> u64 {
        self.replies
    }

    /// Errors seen, those inside of aggregates included.
    pub fn errors(&self) -> u64 {
        self.errors
    }

    /// Nulls seen, those inside of aggregates included.
    pub fn nulls(&self) -> u64 {
        self.nulls
    }

    /// The text of the first error.
    pub fn first_error(&self) -> Option<&str> {
        self.first_error.as_deref()
    }

    /// Whether a reply has begun that is not whole.
    pub fn is_inside_reply(&self) -> bool {
        self.outstanding > 0 || self.skip > 0 || !self.line.is_empty()
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, mut bytes: &[u8]) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len() as u64);
                self.skip -= skipped;
                bytes = &bytes[skipped as usize..];
                if self.skip == 0 {
                    self.element_ends();
                }
                continue;
            }
            let Some(at) = memchr(b'\n', bytes) else {
                self.line.extend_from_slice(bytes);
                return match self.line.len() {
                    0..=LINE_BYTES_MAX => Ok(()),
                    _ => Err(malformed(&self.line)),
                };
            };
            if self.line.is_empty() {
                self.header(&bytes[..at])?;
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(&bytes[..at]);
                self.header(&line)?;
                line.clear();
                self.line = line;
            }
            bytes = &bytes[at + 1..];
        }
        Ok(())
    }

    /// Takes a line without its LF.
    fn header(&mut self, line: &[u8]) -> Result<(), Malformed> {
        let line = line.strip_suffix(b"\r").ok_or_else(|| malformed(line))?;
        let Some((&kind, rest)) = line.split_first() else { return Err(malformed(line)) };
        if self.outstanding == 0 {
            self.outstanding = 1;
            self.push = kind == b'>';
        }
        match kind {
            b'+' | b':' | b'#' | b',' | b'(' => self.element_ends(),
            b'-' => {
                self.error(rest);
                self.element_ends();
            }
            b'_' => self.null(),
            b'$' | b'=' | b'!' => match length(line)? {
                None => self.null(),
                Some(len) => {
                    if kind == b'!' {
                        self.error(b"(a bulk error)");
                    }
                    self.skip = len + 2;
                }
            },
            b'*' | b'~' | b'>' | b'%' | b'|' => match length(line)? {
                None => self.null(),
                Some(len) => {
                    let elements = if matches!(kind, b'%' | b'|') { 2 * len } else { len };
                    self.outstanding += elements;
                    // What an attribute describes is still to come.
                    if kind != b'|' {
                        self.element_ends();
                    }
                }
            },
            _ => return Err(malformed(line)),
        }
        Ok(())
    }

    fn error(&mut self, text: &[u8]) {
        self.errors += 1;
        if self.first_error.is_none() {
            let text = &text[..text.len().min(ERROR_BYTES_MAX)];
            self.first_error = Some(String::from_utf8_lossy(text).into_owned());
        }
    }

    fn null(&mut self) {
        self.nulls += 1;
        self.element_ends();
    }

    fn element_ends(&mut self) {
        assert!(self.outstanding > 0, "an element belongs to a reply");
        self.outstanding -= 1;
        if self.outstanding == 0 && !self.push {
            self.replies += 1;
        }
    }
}

/// The length that a header line gives; none for a null.
fn length(line: &[u8]) -> Result<Option<u64>, Malformed> {
    /// No server sends more; sums of lengths stay far from overflow.
    const LENGTH_MAX: i64 = 1 << 40;
    let number = std::str::from_utf8(&line[1..]).ok().and_then(|text| text.parse::<i64>().ok());
    match number {
        Some(-1) => Ok(None),
        Some(len @ 0..=LENGTH_MAX) => Ok(Some(len as u64)),
        _ => Err(malformed(line)),
    }
}

fn malformed(line: &[u8]) -> Malformed {
    Malformed(line[..line.len().min(ERROR_BYTES_MAX)].escape_ascii().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies of all kinds, each with the errors and nulls in it.
    const REPLIES: &[(&str, u64, u64)] = &[
        ("+OK\r\n", 0, 0),
        ("-ERR no\r\n", 1, 0),
        (":12\r\n", 0, 0),
        ("$5\r\nh\r\nlo\r\n", 0, 0),
        ("$0\r\n\r\n", 0, 0),
        ("$-1\r\n", 0, 1),
        ("*-1\r\n", 0, 1),
        ("*0\r\n", 0, 0),
        ("*3\r\n:1\r\n*2\r\n$1\r\na\r\n-E\r\n_\r\n", 1, 1),
        ("%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n#t\r\n", 0, 0),
        ("|1\r\n+ttl\r\n:9\r\n$2\r\nab\r\n", 0, 0),
        ("~2\r\n,1.5\r\n(123\r\n", 0, 0),
        ("=7\r\ntxt:abc\r\n", 0, 0),
        ("!3\r\nERR\r\n", 1, 0),
    ];

    #[test]
    fn every_kind_is_counted_in_pieces_of_any_size() {
        let all: String = REPLIES.iter().map(|(text, ..)| *text).collect();
        for piece in 1..=all.len() {
            let mut framer = Framer::default();
            all.as_bytes().chunks(piece).for_each(|bytes| framer.feed(bytes).expect("it is RESP"));
            assert_eq!(framer.replies(), REPLIES.len() as u64, "pieces of {piece}");
            assert_eq!(framer.errors(), REPLIES.iter().map(|(_, errors, _)| errors).sum::<u64>());
            assert_eq!(framer.nulls(), REPLIES.iter().map(|(.., nulls)| nulls).sum::<u64>());
            assert!(!framer.is_inside_reply());
        }
    }

    #[test]
    fn a_reply_is_whole_at_its_last_byte_and_not_before() {
        for (text, ..) in REPLIES {
            let (last, head) = text.as_bytes().split_last().expect("not empty");
            let mut framer = Framer::default();
            framer.feed(head).expect("it is RESP");
            assert_eq!(framer.replies(), 0, "{text:?}");
            assert!(framer.is_inside_reply());
            framer.feed(&[*last]).expect("it is RESP");
            assert_eq!(framer.replies(), 1, "{text:?}");
        }
    }

    #[test]
    fn pushes_answer_nothing() {
        let mut framer = Framer::default();
        framer.feed(b">2\r\n+a\r\n+b\r\n+OK\r\n").expect("it is RESP");
        assert_eq!(framer.replies(), 1);
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut framer = Framer::default();
        framer.feed(b"-ERR one\r\n-ERR two\r\n").expect("it is RESP");
        assert_eq!(framer.first_error(), Some("ERR one"));
    }

    #[test]
    fn what_is_no_resp_is_refused() {
        for text in ["\r\n", "hello\r\n", "$x\r\n", "$-2\r\n", "+OK\n", "*9999999999999999999\r\n"] {
            assert!(Framer::default().feed(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
