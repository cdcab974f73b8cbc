//! One line of redis.conf into words, and a word back into a form that the line splitter reads.
//!
//! Design: the rules of redis.conf: words are separated by white space; `"..."` knows `\n \r \t \b \a \xHH`
//! and `\` before any other byte; `'...'` knows only `\'`; a closing quote must be followed by white space or
//! the end.

/// Splits `line` into words; `None` if a quote is not closed or is followed by something.
pub fn split_line(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        let start = rest.iter().position(|byte| !is_space(*byte)).unwrap_or(rest.len());
        rest = &rest[start..];
        // A zero byte ends the line, as it ends a C string.
        if matches!(rest.first(), None | Some(0)) {
            return Some(words);
        }
        let mut word = Vec::new();
        rest = take_word(rest, &mut word)?;
        words.push(word);
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

fn take_word<'a>(mut rest: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        match rest {
            [] | [0, ..] => return Some(rest),
            [byte, ..] if is_space(*byte) => return Some(rest),
            [b'"', after @ ..] => return take_quoted(after, b'"', word),
            [b'\'', after @ ..] => return take_quoted(after, b'\'', word),
            [byte, after @ ..] => {
                word.push(*byte);
                rest = after;
            }
        }
    }
}

/// Reads up to the closing quote, which must end the word.
fn take_quoted<'a>(mut rest: &'a [u8], mark: u8, word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        let (byte, after) = match (mark, rest) {
            (_, [] | [0, ..]) => return None,
            (_, [end, after @ ..]) if *end == mark => {
                let ends = after.first().is_none_or(|next| is_space(*next) || *next == 0);
                return ends.then_some(after);
            }
            (b'"', [b'\\', b'x', high, low, after @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                (hex_value(*high) << 4 | hex_value(*low), after)
            }
            (b'"', [b'\\', escaped, after @ ..]) => (unescape(*escaped), after),
            (b'\'', [b'\\', b'\'', after @ ..]) => (b'\'', after),
            (_, [byte, after @ ..]) => (*byte, after),
        };
        word.push(byte);
        rest = after;
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit.to_ascii_lowercase() - b'a' + 10,
    }
}

fn unescape(byte: u8) -> u8 {
    match byte {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'a' => 7,
        other => other,
    }
}

/// Puts `word` in double quotes so that [`split_line`] gives it back whatever bytes it holds.
pub fn quote(word: &[u8]) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(word.len() + 2);
    quoted.push(b'"');
    for &byte in word {
        match byte {
            b'\\' | b'"' => quoted.extend([b'\\', byte]),
            b'\n' => quoted.extend(b"\\n"),
            b'\r' => quoted.extend(b"\\r"),
            b'\t' => quoted.extend(b"\\t"),
            7 => quoted.extend(b"\\a"),
            8 => quoted.extend(b"\\b"),
            b' '..=b'~' => quoted.push(byte),
            other => quoted.extend(format!("\\x{other:02x}").into_bytes()),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Option<Vec<String>> {
        let words = split_line(line.as_bytes())?;
        Some(words.into_iter().map(|word| String::from_utf8_lossy(&word).into_owned()).collect())
    }

    #[test]
    fn splits_as_redis_does() {
        let cases: [(&str, Option<&[&str]>); 12] = [
            ("", Some(&[])),
            ("  a\tb \r\n", Some(&["a", "b"])),
            (r#"save """#, Some(&["save", ""])),
            (r#""a b" 'c d'"#, Some(&["a b", "c d"])),
            (r#""\x41\n\q\"""#, Some(&["A\nq\""])),
            (r"'it\'s \n'", Some(&["it's \\n"])),
            (r#"pre"fix""#, Some(&["prefix"])),
            (r#""a"b"#, None),
            (r#"'a'b"#, None),
            (r#""open"#, None),
            (r#"'open"#, None),
            (r#""\x4""#, Some(&["x4"])),
        ];
        for (line, expected) in cases {
            let expected = expected.map(|words| words.iter().map(ToString::to_string).collect::<Vec<_>>());
            assert_eq!(words(line), expected, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn quoting_survives_the_split(word in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(split_line(&quote(&word)), Some(vec![word]));
        }

        #[test]
        fn any_bytes_are_split_or_refused(line in proptest::collection::vec(any::<u8>(), 0..80)) {
            if let Some(words) = split_line(&line) {
                prop_assert!(words.iter().map(Vec::len).sum::<usize>() <= line.len());
            }
        }
    }
}
