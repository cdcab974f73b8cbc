//! Inline commands and configuration lines: words with quotes, split as Redis's sdssplitargs does; and the reverse way,
//! the canonical RESP of a list of arguments.
//!
//! Rules: white space separates words. `"..."` knows `\n \r \t \b \a \xHH`, and a backslash before any other byte gives that byte;
//! `'...'` knows `\'` only. A quote may open in the middle of a word; after it closes the word must end. A NUL byte ends the
//! line, as it does in C.
//!
//! Not here: finding the line's end (`parse`), comments and directives (`config`).

use super::number::write_i64;
use super::parse::ProtocolError;

/// Splits an inline command; the line may carry its line end. No words: nothing to run.
pub fn split(line: &[u8]) -> Result<Vec<Vec<u8>>, ProtocolError> {
    split_args(line).ok_or(ProtocolError::UnbalancedQuotes)
}

/// Splits a line into words; `None` if a quote isn't closed or something other than white space follows a closed one.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let end = line.iter().position(|&byte| byte == 0).unwrap_or(line.len());
    let mut rest = &line[..end];
    let mut words = Vec::new();
    loop {
        let skipped = rest.iter().take_while(|&&byte| is_space(byte)).count();
        rest = &rest[skipped..];
        if rest.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = read_word(rest, &mut word)?;
        words.push(word);
    }
}

/// The arguments as a RESP array of bulks: what a client library sends.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let bytes: usize = args.iter().map(|arg| arg.as_ref().len() + 16).sum();
    let mut out = Vec::with_capacity(bytes + 16);
    encode_to(&mut out, args);
    out
}

/// Appends the arguments as a RESP array of bulks.
pub fn encode_to<A: AsRef<[u8]>>(out: &mut Vec<u8>, args: &[A]) {
    encode_words(out, args.iter().map(AsRef::as_ref));
}

/// Appends words as a RESP array of bulks.
pub fn encode_words<'a>(out: &mut Vec<u8>, words: impl ExactSizeIterator<Item = &'a [u8]>) {
    out.push(b'*');
    write_i64(out, words.len() as i64);
    out.extend_from_slice(b"\r\n");
    for word in words {
        out.push(b'$');
        write_i64(out, word.len() as i64);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

/// C's isspace, which has the vertical tab that `is_ascii_whitespace` lacks.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// Reads one word into `word` and returns what follows it.
fn read_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match *rest {
            [] | [b' ' | b'\n' | b'\r' | b'\t', ..] => return Some(rest),
            [b'"', ref quoted @ ..] => return ended(read_double_quoted(quoted, word)?),
            [b'\'', ref quoted @ ..] => return ended(read_single_quoted(quoted, word)?),
            [byte, ref tail @ ..] => {
                word.push(byte);
                rest = tail;
            }
        }
    }
}

/// After a closing quote the word must be over.
fn ended(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&byte| is_space(byte)).then_some(rest)
}

fn read_double_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match *rest {
            [] => return None,
            [b'"', ref tail @ ..] => return Some(tail),
            [b'\\', b'x', high, low, ref tail @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_value(high) << 4 | hex_value(low), tail)
            }
            [b'\\', escaped, ref tail @ ..] => (unescape(escaped), tail),
            [byte, ref tail @ ..] => (byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

fn read_single_quoted<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, tail) = match *rest {
            [] => return None,
            [b'\'', ref tail @ ..] => return Some(tail),
            [b'\\', b'\'', ref tail @ ..] => (b'\'', tail),
            [byte, ref tail @ ..] => (byte, tail),
        };
        word.push(byte);
        rest = tail;
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 0x08,
        b'a' => 0x07,
        other => other,
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn words(line: &[u8]) -> Option<Vec<String>> {
        let readable = |word: Vec<u8>| word.escape_ascii().to_string();
        split_args(line).map(|words| words.into_iter().map(readable).collect())
    }

    /// What ECHO of Redis 7.0 returned for these lines.
    #[test]
    fn lines_are_split_as_redis_does() {
        let cases: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b"  \t\r\n", &[]),
            (b"PING\r\n", &["PING"]),
            (b"ECHO \"\\x41\\n\\q\"\n", &["ECHO", "A\\nq"]),
            (b"ECHO 'a\\'b\\n'\n", &["ECHO", "a\\'b\\\\n"]),
            (b"ECHO a\"b c\"\n", &["ECHO", "ab c"]),
            (b"ECHO \x0ba\x0b\n", &["ECHO", "a\\x0b"]),
            (b"ECHO \"a\"\x0b\n", &["ECHO", "a"]),
            (b"ECHO \"\"\n", &["ECHO", ""]),
            (b"ECHO \"\\x4g\"\n", &["ECHO", "x4g"]),
            (b"ECHO a\rb\n", &["ECHO", "a", "b"]),
            (b"ECHO \xffz\n", &["ECHO", "\\xffz"]),
            (b"a\0b", &["a"]),
            (b"\"\\r\\t\\b\\a\\\\\\\"\"", &["\\r\\t\\x08\\x07\\\\\\\""]),
        ];
        for &(line, expected) in cases {
            assert_eq!(words(line).expect("quotes are closed"), expected, "{}", line.escape_ascii());
        }
        for line in [&b"PING \"a\r\n"[..], b"PING 'a'b\r\n", b"\"a\"b", b"ECHO \"a\\", b"ECHO 'a\\\\'", b"'"]
        {
            assert_eq!(split(line), Err(ProtocolError::UnbalancedQuotes), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn encoding_is_canonical() {
        assert_eq!(encode(&["GET", ""]), b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n");
    }

    proptest! {
        #[test]
        fn quoted_words_come_back(sent in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..9), 0..5)) {
            let quote = |word: &Vec<u8>| {
                let escaped: String = word.iter().map(|byte| format!("\\x{byte:02X}")).collect();
                format!("\"{escaped}\" ")
            };
            let line: String = sent.iter().map(quote).collect();
            prop_assert_eq!(split_args(line.as_bytes()), Some(sent));
        }

        #[test]
        fn any_line_is_read_without_panic(line in "[\"'\\\\x0-3a \n]{0,30}") {
            let _ = split_args(line.as_bytes());
        }
    }
}
