//! Requests prepared once and written many times.
//!
//! A template is text: words between spaces, commands between `;`, and what varies:
//!
//! | in the text | becomes |
//! |---|---|
//! | `%k` | a key, drawn anew each time: `key:` and 12 digits |
//! | `%v` | the value, a run of `x` |
//! | `%m` | a random number below the number of keys; only as a whole word |
//! | `%%` | a percent sign |
//! | `"..."` | a word, or part of one, that may hold spaces and `;`; `\"` `\\` `\n` `\r` `\t` in it |
//!
//! Design: everything but keys and numbers is encoded at once into literals, so that writing is copying.
//! Invariants: literals are never empty and never lie side by side.

use crate::{Fatal, fatal};

/// Length of every key.
pub const KEY_BYTES: usize = KEY_PREFIX.len() + KEY_DIGITS;
const KEY_PREFIX: &[u8] = b"key:";
const KEY_DIGITS: usize = 12;

/// One unit of load: one command or several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
    commands: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Bytes as they are.
    Literal(Vec<u8>),
    /// The bytes of a key.
    Key,
    /// A whole bulk with a number.
    Number,
}

/// What a word is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    Key,
    Value,
    Number,
}

type Word = Vec<Part>;

impl Template {
    /// Prepares a template for values of so many bytes.
    pub fn parse(text: &str, value_bytes: usize) -> Result<Template, Fatal> {
        let mut template = Template { pieces: Vec::new(), commands: 0 };
        for words in split(text)? {
            template.literal(format!("*{}\r\n", words.len()).as_bytes());
            for word in &words {
                template.word(word, value_bytes).map_err(|Fatal(why)| Fatal(format!("'{text}': {why}")))?;
            }
            template.commands += 1;
        }
        if template.commands == 0 {
            return fatal("a template needs a command");
        }
        Ok(template)
    }

    /// How many commands, and so replies.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Appends the unit's request; `pick` draws keys and numbers.
    #[inline]
    pub fn write(&self, out: &mut Vec<u8>, mut pick: impl FnMut() -> u64) {
        for piece in &self.pieces {
            match piece {
                Piece::Literal(bytes) => out.extend_from_slice(bytes),
                Piece::Key => write_key(out, pick()),
                Piece::Number => write_number(out, pick()),
            }
        }
    }

    fn literal(&mut self, bytes: &[u8]) {
        match self.pieces.last_mut() {
            Some(Piece::Literal(literal)) => literal.extend_from_slice(bytes),
            _ => self.pieces.push(Piece::Literal(bytes.to_vec())),
        }
    }

    fn word(&mut self, word: &[Part], value_bytes: usize) -> Result<(), Fatal> {
        if word.contains(&Part::Number) {
            if word.len() > 1 {
                return fatal("%m must be a word of its own");
            }
            self.pieces.push(Piece::Number);
            return Ok(());
        }
        let len = |part: &Part| match part {
            Part::Key => KEY_BYTES,
            Part::Value => value_bytes,
            _ => 1,
        };
        self.literal(format!("${}\r\n", word.iter().map(len).sum::<usize>()).as_bytes());
        for part in word {
            match part {
                Part::Byte(byte) => self.literal(&[*byte]),
                Part::Value => self.literal(&vec![b'x'; value_bytes]),
                _ => self.pieces.push(Piece::Key),
            }
        }
        self.literal(b"\r\n");
        Ok(())
    }
}

#[inline]
fn write_key(out: &mut Vec<u8>, mut number: u64) {
    let mut key = [b'0'; KEY_BYTES];
    key[..KEY_PREFIX.len()].copy_from_slice(KEY_PREFIX);
    for digit in key[KEY_PREFIX.len()..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    out.extend_from_slice(&key);
}

#[inline]
fn write_number(out: &mut Vec<u8>, number: u64) {
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(number).as_bytes();
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(digits.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(digits);
    out.extend_from_slice(b"\r\n");
}

/// The commands of a template, each with its words; empty commands are left out.
fn split(text: &str) -> Result<Vec<Vec<Word>>, Fatal> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<Word>);
    let (mut quoted, mut bytes) = (false, text.bytes());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => {
                quoted = !quoted;
                // Quotes make a word even if nothing is between them.
                word.get_or_insert_default();
            }
            b'%' => word.get_or_insert_default().push(placeholder(text, bytes.next())?),
            b'\\' if quoted => word.get_or_insert_default().push(escape(text, bytes.next())?),
            b' ' | b';' if !quoted => {
                words.extend(word.take());
                if byte == b';' && !words.is_empty() {
                    commands.push(std::mem::take(&mut words));
                }
            }
            _ => word.get_or_insert_default().push(Part::Byte(byte)),
        }
    }
    if quoted {
        return fatal(format!("'{text}': a quote is not closed"));
    }
    words.extend(word);
    if !words.is_empty() {
        commands.push(words);
    }
    Ok(commands)
}

fn placeholder(text: &str, byte: Option<u8>) -> Result<Part, Fatal> {
    match byte {
        Some(b'k') => Ok(Part::Key),
        Some(b'v') => Ok(Part::Value),
        Some(b'm') => Ok(Part::Number),
        Some(b'%') => Ok(Part::Byte(b'%')),
        _ => fatal(format!("'{text}': after % comes k, v, m or %")),
    }
}

fn escape(text: &str, byte: Option<u8>) -> Result<Part, Fatal> {
    match byte {
        Some(byte @ (b'"' | b'\\')) => Ok(Part::Byte(byte)),
        Some(b'n') => Ok(Part::Byte(b'\n')),
        Some(b'r') => Ok(Part::Byte(b'\r')),
        Some(b't') => Ok(Part::Byte(b'\t')),
        _ => fatal(format!("'{text}': after \\ comes \", \\, n, r or t")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> String {
        let template = Template::parse(text, 3).expect("the template is valid");
        let (mut out, mut next) = (Vec::new(), 40);
        template.write(&mut out, || {
            next += 2;
            next
        });
        String::from_utf8(out).expect("it is ASCII")
    }

    #[test]
    fn placeholders_become_bulks() {
        assert_eq!(written("SET %k %v"), "*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000042\r\n$3\r\nxxx\r\n");
        assert_eq!(
            written("ZADD z %m %k"),
            "*4\r\n$4\r\nZADD\r\n$1\r\nz\r\n$2\r\n42\r\n$16\r\nkey:000000000044\r\n"
        );
        assert_eq!(written("GET l:%k:%%"), "*2\r\n$3\r\nGET\r\n$20\r\nl:key:000000000042:%\r\n");
    }

    #[test]
    fn commands_and_quotes_are_told_apart() {
        assert_eq!(written(" PING ;; ECHO a; "), "*1\r\n$4\r\nPING\r\n*2\r\n$4\r\nECHO\r\n$1\r\na\r\n");
        assert_eq!(written(r#"EVAL "a; \"b\"" """#), "*3\r\n$4\r\nEVAL\r\n$6\r\na; \"b\"\r\n$0\r\n\r\n");
        assert_eq!(Template::parse("MULTI;INCR %k;EXEC", 1).map(|template| template.commands()), Ok(3));
    }

    #[test]
    fn mistakes_are_named() {
        for text in ["", " ; ", "GET %x", "GET %", "GET a%m", "GET \"a", "GET \"\\q\""] {
            assert!(Template::parse(text, 1).is_err(), "{text:?}");
        }
    }

    #[test]
    fn literals_are_joined() {
        let template = Template::parse("SET %k %v;PING", 3).expect("the template is valid");
        assert_eq!(template.pieces.len(), 3);
        assert_eq!(template.pieces[1], Piece::Key);
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_it(text in "[ -~]{0,40}") {
            if let Ok(template) = Template::parse(&text, 5) {
                let mut out = Vec::new();
                template.write(&mut out, || 7);
                proptest::prop_assert!(out.starts_with(b"*"));
                proptest::prop_assert!(out.ends_with(b"\r\n"));
            }
        }

        #[test]
        fn keys_have_their_digits(number in 0u64..1_000_000_000_000) {
            let mut out = Vec::new();
            write_key(&mut out, number);
            proptest::prop_assert_eq!(out, format!("key:{number:012}").into_bytes());
        }
    }
}
