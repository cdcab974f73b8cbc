//! One RESP reply as a value: framing, parsing and showing it.
//!
//! Design: deliberately simple and separate from `torc::resp`, so that a mistake there is not repeated here. `frame` finds where
//! a reply ends without building anything; `parse` builds it from bytes that are known to be whole.

use std::fmt;

/// One reply. Text is bytes throughout, because keys and values are.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR ...`, without the sign
    Error(Vec<u8>),
    /// `:1`
    Int(i64),
    /// `$3 abc`
    Bulk(Vec<u8>),
    /// `$-1`, RESP2's missing value
    NullBulk,
    /// `*-1`, RESP2's missing array
    NullArray,
    /// `_`, RESP3's only null
    Null,
    /// `*2 ...`
    Array(Vec<Value>),
    /// `%1 ...`
    Map(Vec<(Value, Value)>),
    /// `~2 ...`
    Set(Vec<Value>),
    /// `>2 ...`
    Push(Vec<Value>),
    /// `,1.5` as sent
    Double(Vec<u8>),
    /// `#t`
    Bool(bool),
    /// `=7 txt:abc`: the format and the text
    Verbatim(Vec<u8>, Vec<u8>),
    /// `(123` as sent
    BigNumber(Vec<u8>),
}

/// Length of the reply that `bytes` begin with; `None` while it is not whole.
///
/// # Errors
/// When the bytes are no reply: what is wrong with them.
pub fn frame(bytes: &[u8]) -> Result<Option<usize>, String> {
    Framer::default().resume(bytes)
}

/// Finds the end of a reply that comes in parts, and looks at each part once.
pub struct Framer {
    /// Offset of the next line, from the reply's begin.
    at: usize,
    /// Elements that are still to come.
    left: usize,
}

impl Default for Framer {
    fn default() -> Self {
        Self { at: 0, left: 1 }
    }
}

impl Framer {
    /// Goes on where it stopped, now that the reply's bytes so far are these; its length once it is whole.
    ///
    /// # Errors
    /// When the bytes are no reply: what is wrong with them.
    pub fn resume(&mut self, bytes: &[u8]) -> Result<Option<usize>, String> {
        while self.left > 0 {
            let Some(line) = line_at(bytes, self.at) else { return Ok(None) };
            let Some(kind) = line.first() else {
                return Err("an empty line where a reply should begin".into());
            };
            let (length, elements) = match kind {
                b'+' | b'-' | b':' | b'_' | b',' | b'#' | b'(' => (0, 0),
                b'$' | b'=' => match number(line)? {
                    -1 => (0, 0),
                    length => (usize::try_from(length).map_err(|_| "a negative length")? + 2, 0),
                },
                b'*' | b'~' | b'>' => (0, usize::try_from(number(line)?.max(0)).expect("not negative")),
                b'%' | b'|' => (0, usize::try_from(number(line)?.max(0)).expect("not negative") * 2),
                other => return Err(format!("byte {other:#04x} where a reply should begin")),
            };
            let end = self.at + line.len() + 2 + length;
            if end > bytes.len() {
                return Ok(None);
            }
            self.at = end;
            // An attribute is followed by the reply it belongs to.
            self.left = self.left - usize::from(*kind != b'|') + elements;
        }
        Ok(Some(self.at))
    }
}

/// The reply that lies whole at the beginning of `bytes`.
pub fn parse(bytes: &[u8]) -> Value {
    let mut at = 0;
    parse_at(bytes, &mut at)
}

fn parse_at(bytes: &[u8], at: &mut usize) -> Value {
    let line = line_at(bytes, *at).expect("the reply was framed");
    *at += line.len() + 2;
    let rest = line[1..].to_vec();
    let count = || number(line).expect("the reply was framed");
    match line[0] {
        b'+' => Value::Simple(rest),
        b'-' => Value::Error(rest),
        b':' => Value::Int(count()),
        b'_' => Value::Null,
        b',' => Value::Double(rest),
        b'#' => Value::Bool(rest == b"t"),
        b'(' => Value::BigNumber(rest),
        b'$' if count() < 0 => Value::NullBulk,
        b'$' => Value::Bulk(text_at(bytes, at, count())),
        b'=' => {
            let mut format = text_at(bytes, at, count());
            let text = format.split_off(4.min(format.len()));
            format.pop();
            Value::Verbatim(format, text)
        }
        b'*' if count() < 0 => Value::NullArray,
        b'*' => Value::Array((0..count()).map(|_| parse_at(bytes, at)).collect()),
        b'~' => Value::Set((0..count()).map(|_| parse_at(bytes, at)).collect()),
        b'>' => Value::Push((0..count()).map(|_| parse_at(bytes, at)).collect()),
        b'%' => Value::Map((0..count()).map(|_| (parse_at(bytes, at), parse_at(bytes, at))).collect()),
        b'|' => {
            (0..count() * 2).for_each(|_| drop(parse_at(bytes, at)));
            parse_at(bytes, at)
        }
        other => unreachable!("the reply was framed, yet {other:#04x} begins one"),
    }
}

fn text_at(bytes: &[u8], at: &mut usize, length: i64) -> Vec<u8> {
    let length = usize::try_from(length).expect("the reply was framed");
    let text = bytes[*at..*at + length].to_vec();
    assert_eq!(&bytes[*at + length..*at + length + 2], b"\r\n", "a bulk ends with CR LF");
    *at += length + 2;
    text
}

/// The line that begins at `at`, without its end; `None` while it is not whole.
fn line_at(bytes: &[u8], at: usize) -> Option<&[u8]> {
    let rest = bytes.get(at..)?;
    let end = memchr::memmem::find(rest, b"\r\n")?;
    Some(&rest[..end])
}

fn number(line: &[u8]) -> Result<i64, String> {
    let text = String::from_utf8_lossy(&line[1..]);
    text.parse().map_err(|_| format!("{text:?} where a number should be"))
}

impl Value {
    /// The text of a bulk, simple or verbatim string, double or big number; empty for anything else.
    pub fn text(&self) -> &[u8] {
        match self {
            Self::Simple(text)
            | Self::Bulk(text)
            | Self::Error(text)
            | Self::Double(text)
            | Self::BigNumber(text)
            | Self::Verbatim(_, text) => text,
            _ => b"",
        }
    }

    /// The same, for people.
    pub fn string(&self) -> String {
        String::from_utf8_lossy(self.text()).into_owned()
    }

    /// The number of an integer reply, or the one that a string holds.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            other => std::str::from_utf8(other.text()).ok()?.parse().ok(),
        }
    }

    /// Whether any kind of null.
    pub fn is_null(&self) -> bool {
        matches!(self, Self::NullBulk | Self::NullArray | Self::Null)
    }

    /// Whether an error.
    pub fn is_error(&self) -> bool {
        matches!(self, Self::Error(_))
    }

    /// The elements of an array, set or push; those of a map one after the other; none for anything else.
    pub fn elements(&self) -> Vec<Value> {
        match self {
            Self::Array(elements) | Self::Set(elements) | Self::Push(elements) => elements.clone(),
            Self::Map(pairs) => pairs.iter().flat_map(|(key, value)| [key.clone(), value.clone()]).collect(),
            _ => Vec::new(),
        }
    }
}

/// As cases write expected replies, so that a failure can be pasted.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |text: &[u8]| text.escape_ascii().to_string().replace("\\'", "'");
        let list = |f: &mut fmt::Formatter<'_>, open: &str, elements: &[Value], close: &str| {
            write!(f, "{open}")?;
            for (index, element) in elements.iter().enumerate() {
                write!(f, "{}{element}", if index == 0 { "" } else { " " })?;
            }
            write!(f, "{close}")
        };
        match self {
            Self::Simple(text) => write!(f, "+\"{}\"", shown(text)),
            Self::Error(text) => write!(f, "!\"{}\"", shown(text)),
            Self::Int(number) => write!(f, "{number}"),
            Self::Bulk(text) if text.len() > 1000 => {
                write!(f, "\"{}\"... ({} bytes)", text[..100].escape_ascii(), text.len())
            }
            Self::Bulk(text) => write!(f, "\"{}\"", shown(text)),
            Self::NullBulk | Self::Null => write!(f, "nil"),
            Self::NullArray => write!(f, "nil[]"),
            Self::Array(elements) => list(f, "[", elements, "]"),
            Self::Set(elements) => list(f, "set[", elements, "]"),
            Self::Push(elements) => list(f, "push[", elements, "]"),
            Self::Map(_) => list(f, "{", &self.elements(), "}"),
            Self::Double(text) => write!(f, ",{}", text.escape_ascii()),
            Self::Bool(yes) => write!(f, "{}", if *yes { "#t" } else { "#f" }),
            Self::Verbatim(format, text) => {
                write!(f, "=\"{}:{}\"", format.escape_ascii(), text.escape_ascii())
            }
            Self::BigNumber(text) => write!(f, "({}", text.escape_ascii()),
        }
    }
}

#[test]
fn replies_are_framed_at_every_cut() {
    let reply = b"*4\r\n$3\r\nabc\r\n%1\r\n+a\r\n:1\r\n_\r\n=7\r\ntxt:abc\r\n";
    for cut in 0..reply.len() {
        assert_eq!(frame(&reply[..cut]), Ok(None), "cut at {cut}");
    }
    assert_eq!(frame(reply), Ok(Some(reply.len())));
    assert_eq!(parse(reply).to_string(), r#"["abc" {+"a" 1} nil ="txt:abc"]"#);
    assert!(frame(b"hello\r\n").is_err());
}
