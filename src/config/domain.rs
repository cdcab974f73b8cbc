//! What a value of a directive may be, and how it is read and shown: numbers, sizes, yes/no, words, text.
//!
//! Design: a [`Domain`] is data (it stands in the table and feeds the help); a [`Setting`] is the typed field
//! that holds the value. Error texts are Redis's, because clients and people look for them.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::fmt;
use std::ops::Deref;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::split::quote;

/// Why a value was refused, in Redis's words.
pub(super) type Reason = Cow<'static, str>;

/// The values that a directive takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// `yes` or `no`.
    Bool,
    /// A decimal number within the limits, both included.
    Integer(i128, i128),
    /// A decimal number within the limits that Redis keeps unsigned, and says so of negative ones.
    Unsigned(i128, i128),
    /// An octal number within the limits, both included.
    Octal(i128, i128),
    /// A number of bytes with an optional unit (`1k` = 1000, `1kb` = 1024, ...), within the limits.
    Memory(i128, i128),
    /// As `Memory`, kept unsigned.
    UnsignedMemory(i128, i128),
    /// A number of bytes, or `N%` (kept as a negative number) up to the limit.
    MemoryOrPercent(i128),
    /// One of these words (several for a set of flags).
    Words(&'static [&'static str]),
    /// Any text.
    Text,
    /// A file name without a directory; the string names the directive in the error.
    FileName(&'static str),
    /// A directory that exists.
    Directory,
    /// A node's name for people: no punctuation of these `!#$%&()*+:;<>?@[]^{|}~`.
    NodeName,
    /// A process title with `{variables}`.
    Title,
    /// A syntax of its own; the string describes it.
    Special(&'static str),
}

/// When a value is being read: directives that add up (`save`) differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// From a file or the command line; `first` says that this start has not seen the directive before.
    Load { first: bool },
    /// From CONFIG SET.
    Set,
}

/// Lines for a file, without the directive's name; each with whether it must be there even when the file has
/// none yet.
pub(super) type FileLines = Vec<(Vec<u8>, bool)>;

/// How a directive's field is read.
pub(super) type Parse<C> = fn(&mut C, &[Vec<u8>], &Domain, Mode) -> Result<(), Reason>;

/// A field of the configuration.
pub(super) trait Setting: Sized + Clone + PartialEq {
    /// Replaces the value by what `args` say, or says why not (and leaves something arbitrary behind).
    fn parse(&mut self, args: &[Vec<u8>], domain: &Domain, mode: Mode) -> Result<(), Reason>;

    /// The value as CONFIG GET shows it.
    fn format(&self, domain: &Domain) -> Vec<u8>;

    /// The lines that CONFIG REWRITE writes.
    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        vec![(self.format(domain), self != default)]
    }
}

/// The one argument of a directive that takes one.
pub(super) fn single(args: &[Vec<u8>]) -> Result<&[u8], Reason> {
    match args {
        [value] => Ok(value),
        _ => Err("wrong number of arguments".into()),
    }
}

impl Setting for bool {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        let value = single(args)?;
        *self = if value.eq_ignore_ascii_case(b"yes") {
            true
        } else if value.eq_ignore_ascii_case(b"no") {
            false
        } else {
            return Err("argument must be 'yes' or 'no'".into());
        };
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        if *self { b"yes".to_vec() } else { b"no".to_vec() }
    }
}

/// Reads a plain decimal number as Redis does: no plus sign, no leading zeros, no spaces.
pub(super) fn parse_integer(value: &[u8]) -> Option<i128> {
    let (negative, digits) = match value {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let canonical = digits == b"0" && !negative || matches!(digits.first(), Some(b'1'..=b'9'));
    if !canonical || digits.len() > 20 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let magnitude = digits.iter().fold(0i128, |sum, &digit| sum * 10 + i128::from(digit - b'0'));
    let number = if negative { -magnitude } else { magnitude };
    (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number).then_some(number)
}

/// Reads a number of bytes: digits and a unit (`b k kb m mb g gb`, any case); `k` is 1000 and `kb` 1024.
pub(crate) fn parse_memory(value: &[u8]) -> Option<u64> {
    let split = value.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(value.len());
    let (digits, unit) = value.split_at(split);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1000 * 1000,
        b"mb" => 1 << 20,
        b"g" => 1000 * 1000 * 1000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    // An empty text is 0, and a number that does not fit is the largest that does, as in Redis.
    let number =
        digits.iter().fold(0u64, |sum, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    (unit.len() < value.len() || value.is_empty()).then(|| number.saturating_mul(factor))
}

/// Shows a number of bytes with the largest unit that divides it, as CONFIG REWRITE does.
pub(super) fn format_memory(bytes: u64) -> String {
    for (unit, shift) in [("gb", 30), ("mb", 20), ("kb", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

fn parse_number(value: &[u8], domain: &Domain) -> Result<i128, Reason> {
    let (number, low, high) = match *domain {
        Domain::Integer(low, high) | Domain::Unsigned(low, high) => {
            (parse_integer(value).ok_or("argument couldn't be parsed into an integer")?, low, high)
        }
        Domain::Memory(low, high) | Domain::UnsignedMemory(low, high) => {
            (i128::from(parse_memory(value).ok_or("argument must be a memory value")?), low, high)
        }
        Domain::Octal(low, high) => {
            let number = std::str::from_utf8(value).ok().and_then(|text| u32::from_str_radix(text, 8).ok());
            let number = i128::from(number.ok_or("argument couldn't be parsed as an octal number")?);
            if !(low..=high).contains(&number) {
                return Err(format!("argument must be between {low:o} and {high:o} inclusive").into());
            }
            (number, low, high)
        }
        Domain::MemoryOrPercent(percent_max) => return parse_percent_or_memory(value, percent_max),
        _ => unreachable!("a number's directive has a number's domain: {domain:?}"),
    };
    let is_unsigned = matches!(domain, Domain::Unsigned(..) | Domain::UnsignedMemory(..));
    if is_unsigned && !(0..=i128::from(i64::MAX)).contains(&number) {
        return Err("argument must be greater or equal to 0".into());
    }
    if !(low..=high).contains(&number) {
        return Err(format!("argument must be between {low} and {high} inclusive").into());
    }
    Ok(number)
}

fn parse_percent_or_memory(value: &[u8], percent_max: i128) -> Result<i128, Reason> {
    const WRONG: &str = "argument must be a memory or percent value";
    if let Some(digits) = value.strip_suffix(b"%") {
        let percent = parse_integer(digits).filter(|percent| *percent >= 0).ok_or(WRONG)?;
        if percent > percent_max {
            return Err(format!("percentage argument must be less or equal to {percent_max}").into());
        }
        return Ok(-percent);
    }
    let bytes = i128::from(parse_memory(value).ok_or(WRONG)?);
    let high = i128::from(i64::MAX);
    if bytes > high {
        return Err(format!("argument must be between 0 and {high} inclusive").into());
    }
    Ok(bytes)
}

fn format_number(number: i128, domain: &Domain) -> String {
    match domain {
        Domain::Octal(..) => format!("{number:o}"),
        Domain::MemoryOrPercent(_) if number < 0 => format!("{}%", -number),
        _ => number.to_string(),
    }
}

macro_rules! number_settings {
    ($($number:ty),*) => {$(
        impl Setting for $number {
            fn parse(&mut self, args: &[Vec<u8>], domain: &Domain, _: Mode) -> Result<(), Reason> {
                let number = parse_number(single(args)?, domain)?;
                *self = <$number>::try_from(number).expect("the domain's limits lie within the field's type");
                Ok(())
            }

            fn format(&self, domain: &Domain) -> Vec<u8> {
                format_number(*self as i128, domain).into_bytes()
            }

            fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
                let number = *self as i128;
                let line = match (domain, u64::try_from(number)) {
                    (Domain::Memory(..) | Domain::UnsignedMemory(..) | Domain::MemoryOrPercent(_), Ok(bytes)) => format_memory(bytes),
                    _ => format_number(number, domain),
                };
                vec![(line.into_bytes(), self != default)]
            }
        }
    )*};
}

number_settings!(u16, u32, u64, usize, i32, i64);

/// A closed set of words, each with its meaning; the first word of a meaning is how it is shown.
pub trait Enumerated: Sized + Copy + PartialEq + 'static {
    /// The words, in the order in which error texts list them.
    const WORDS: &'static [&'static str];
    /// The meanings of `WORDS`.
    const VALUES: &'static [Self];

    /// The word for this value.
    fn word(self) -> &'static str {
        let index = Self::VALUES.iter().position(|value| *value == self);
        Self::WORDS[index.expect("every variant has a word")]
    }
}

/// Finds `word` among `words` in any case.
pub(super) fn word_index(word: &[u8], words: &[&str]) -> Result<usize, Reason> {
    words
        .iter()
        .position(|candidate| candidate.as_bytes().eq_ignore_ascii_case(word))
        .ok_or_else(|| format!("argument(s) must be one of the following: {}", words.join(", ")).into())
}

impl<E: Enumerated + Clone> Setting for E {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        *self = E::VALUES[word_index(single(args)?, E::WORDS)?];
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        self.word().as_bytes().to_vec()
    }
}

/// Bytes given by the user: a name, a path, a password. Not necessarily UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Text(Box<[u8]>);

impl Text {
    /// The bytes as a path.
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// The text for people, with anything that is not UTF-8 replaced.
    pub fn lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl Deref for Text {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.lossy())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl From<&[u8]> for Text {
    fn from(text: &[u8]) -> Self {
        Self(text.into())
    }
}

impl Setting for Text {
    fn parse(&mut self, args: &[Vec<u8>], domain: &Domain, _: Mode) -> Result<(), Reason> {
        let value = single(args)?;
        *self = match domain {
            Domain::FileName(name) if value.contains(&b'/') => {
                return Err(format!("{name} can't be a path, just a filename").into());
            }
            Domain::NodeName if value.iter().any(|byte| b"!#$%&()*+:;<>?@[]^{|}~".contains(byte)) => {
                return Err("Announced human node name contained invalid character".into());
            }
            Domain::Title if !valid_title(value) => {
                return Err("template format is invalid or contains unknown variables".into());
            }
            Domain::Directory => Self(directory(value)?.into()),
            _ => value.into(),
        };
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        self.0.to_vec()
    }

    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        // The working directory is always written: what it defaults to is not known at the next start.
        vec![(quote(&self.0), self != default || *domain == Domain::Directory)]
    }
}

/// The absolute form of a directory that must exist.
fn directory(value: &[u8]) -> Result<Vec<u8>, Reason> {
    let path = Path::new(OsStr::from_bytes(value));
    let path = path.canonicalize().map_err(|error| os_reason(&error))?;
    if !path.is_dir() {
        return Err("Not a directory".into());
    }
    Ok(path.into_os_string().as_encoded_bytes().to_vec())
}

/// The operating system's words for an error, without the number Rust adds.
pub(super) fn os_reason(error: &std::io::Error) -> Reason {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_string().into(),
        None => text.into(),
    }
}

/// The variables a process title may name.
const TITLE_VARIABLES: [&str; 7] =
    ["title", "listen-addr", "server-mode", "port", "tls-port", "unixsocket", "config-file"];

fn valid_title(value: &[u8]) -> bool {
    let Ok(mut rest) = std::str::from_utf8(value) else { return false };
    if rest.trim_ascii().is_empty() {
        return false;
    }
    while let Some(open) = rest.find('{') {
        let Some(length) = rest[open..].find('}') else { return false };
        let variable = &rest[open + 1..open + length];
        if !TITLE_VARIABLES.contains(&variable) {
            return false;
        }
        rest = &rest[open + length + 1..];
    }
    true
}
