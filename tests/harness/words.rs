//! Words as a person types them at `redis-cli`: blanks, double quotes with escapes, single quotes.

/// Splits `text` into words: `"..."` knows `\n \r \t \b \a \\ \" \xHH`, `'...'` knows `\'`, quotes end a word.
///
/// # Panics
/// When quotes do not balance: the text stands in a test.
pub fn split(text: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut rest = text.trim_ascii_start();
    while !rest.is_empty() {
        let (word, after) = word(rest);
        words.push(word);
        rest = after.trim_ascii_start();
    }
    words
}

/// The first word of `text`, which begins with it, and what comes after.
fn word(text: &str) -> (Vec<u8>, &str) {
    match text.as_bytes()[0] {
        b'"' => quoted(text),
        b'\'' => {
            let mut word = Vec::new();
            let mut bytes = text.bytes().enumerate().skip(1).peekable();
            while let Some((at, byte)) = bytes.next() {
                match byte {
                    b'\\' if bytes.peek().is_some_and(|(_, next)| *next == b'\'') => {
                        word.push(b'\'');
                        bytes.next();
                    }
                    b'\'' => return (word, &text[at + 1..]),
                    other => word.push(other),
                }
            }
            panic!("unbalanced quotes in {text}")
        }
        _ => {
            let end = text.find(|byte: char| byte.is_ascii_whitespace()).unwrap_or(text.len());
            (text.as_bytes()[..end].to_vec(), &text[end..])
        }
    }
}

/// The bytes between the double quotes that `text` begins with, and what comes after.
pub fn quoted(text: &str) -> (Vec<u8>, &str) {
    let mut word = Vec::new();
    let mut rest = &text[1..];
    loop {
        let byte = *rest.as_bytes().first().unwrap_or_else(|| panic!("unbalanced quotes in {text}"));
        let mut used = 1;
        match byte {
            b'"' => return (word, &rest[1..]),
            b'\\' => {
                let escape = *rest.as_bytes().get(1).unwrap_or_else(|| panic!("unbalanced quotes in {text}"));
                used = 2;
                match escape {
                    b'n' => word.push(b'\n'),
                    b'r' => word.push(b'\r'),
                    b't' => word.push(b'\t'),
                    b'b' => word.push(8),
                    b'a' => word.push(7),
                    b'x' => {
                        let digits = rest.get(2..4).unwrap_or_else(|| panic!("\\x without digits in {text}"));
                        word.push(u8::from_str_radix(digits, 16).expect("two hexadecimal digits"));
                        used = 4;
                    }
                    other => word.push(other),
                }
            }
            other => word.push(other),
        }
        rest = &rest[used..];
    }
}

#[test]
fn words_are_split_as_redis_cli_does() {
    let words = split(r#"SET  "a b\x00\n\"" 'it\'s \n' "" plain"#);
    let expected: Vec<&[u8]> = vec![b"SET", b"a b\0\n\"", b"it's \\n", b"", b"plain"];
    assert_eq!(words, expected);
    assert!(split("  ").is_empty());
}
