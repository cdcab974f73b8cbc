//! The commands of one file of the append-only file, and how the file ends.
//!
//! ```text
//! #TS:1700000000\r\n                       an annotation: here, when what follows was written
//! *2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n        a command: how many words, and each behind its length
//! ```
//!
//! Design: the file is read in blocks, and each command is handed out as slices of the block. What the block's end cuts is moved
//! to its beginning, and a command that is longer than a block makes the block longer. The grammar is strict: what Redis would
//! not write is damage, wherever Redis would read a number out of anything.
//!
//! How a file ends ([`Next`]):
//! 1. behind a whole command or annotation: it is whole;
//! 2. in something that is the beginning of a command or annotation: it was torn there, as a crash does;
//! 3. in something that is the beginning of neither: it is damaged there.
//!
//! Invariants: no input panics; the block never grows beyond what the file still has; nothing is allocated for what a length
//! only promises; offsets count from the file's beginning, wherever the reader began.
//! Costs: a look at each length and line end; words are neither looked at nor copied.
//!
//! Not here: MULTI and EXEC, which are commands like others; the RDB data with which a file may begin (`rdb::file::split`, whose
//! `Findings::end` says where commands follow); whether a torn file is accepted (whoever loads).

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::{AofError, Place};
use crate::persist::rdb::file::write::StreamNote;
use crate::resp::number::{parse_i64, parse_u64};
use crate::store::DbIndex;

/// How much is read at a time.
const BLOCK_BYTES: usize = 256 << 10;
/// A block that has grown beyond this is given back behind the command that needed it.
const BLOCK_KEPT_BYTES_MAX: usize = 4 << 20;
/// Digits of a number: as many as 2^63 has.
const DIGITS_MAX: usize = 19;
/// Bytes of an annotation with its line end: as many as Redis reads.
const ANNOTATION_BYTES_MAX: usize = 1024;
/// Bytes that a word takes at least: `$0\r\n\r\n`.
const WORD_BYTES_MIN: u64 = 6;
/// With this an RDB file begins.
const RDB_MAGIC: &[u8] = b"REDIS";
const TIMESTAMP: &[u8] = b"#TS:";

/// What a file of the append-only file begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nothing is in it.
    Empty,
    /// An RDB file, behind whose end commands may follow.
    Rdb,
    /// Commands.
    Commands,
}

/// What a file begins with, and its size in bytes.
///
/// # Errors
/// It cannot be opened or read.
pub fn form(path: &Path) -> Result<(Form, u64), AofError> {
    let file = File::open(path).map_err(|error| AofError::io(path, "opened", &error))?;
    let mut magic = Vec::new();
    let read = (&file).take(RDB_MAGIC.len() as u64).read_to_end(&mut magic);
    read.map_err(|error| AofError::io(path, "read", &error))?;
    let size = file.metadata().map_err(|error| AofError::io(path, "read", &error))?.len();
    let form = match &magic[..] {
        b"" => Form::Empty,
        RDB_MAGIC => Form::Rdb,
        _ => Form::Commands,
    };
    Ok((form, size))
}

/// A command as it stands in the file.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Where its `*` stands.
    pub offset: u64,
    /// Where what follows it stands.
    pub end: u64,
    /// All of it, line ends and lengths too.
    pub bytes: &'a [u8],
    words: &'a [Span],
}

impl<'a> Command<'a> {
    /// Its words: at least one.
    pub fn words(&self) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.words.iter().map(move |word| &bytes[word.start..word.end])
    }

    /// Where its words lie in [`Self::bytes`].
    pub fn ranges(&self) -> impl ExactSizeIterator<Item = std::ops::Range<usize>> + use<'a> {
        self.words.iter().map(|word| word.start..word.end)
    }

    /// How many words it has: at least one.
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Never: a command has a name.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The word at an index, if there are so many.
    pub fn word(&self, index: usize) -> Option<&'a [u8]> {
        self.words.get(index).map(|word| &self.bytes[word.start..word.end])
    }

    /// Whether its first word is this name, in whatever case.
    pub fn is_named(&self, name: &str) -> bool {
        self.word(0).is_some_and(|word| word.eq_ignore_ascii_case(name.as_bytes()))
    }
}

/// A line that is no command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation<'a> {
    /// Where its `#` stands.
    pub offset: u64,
    /// Where what follows it stands.
    pub end: u64,
    /// The line without its end.
    pub text: &'a [u8],
}

impl Annotation<'_> {
    /// Unix time in seconds at which what follows was written. None if the annotation is another; an error if it says no time.
    pub fn timestamp_s(&self) -> Option<Result<i64, &'static str>> {
        let digits = self.text.strip_prefix(TIMESTAMP)?;
        Some(parse_i64(digits).ok_or("Invalid timestamp annotation"))
    }

    /// Where in a history of replication what stands before ends. None if the annotation is another, or says no place.
    pub fn place(&self) -> Option<StreamNote> {
        let mut words = self.text.strip_prefix(PLACE)?.split(|byte| *byte == b' ');
        let id = String::from_utf8(words.next()?.to_vec()).ok()?;
        let offset = u64::try_from(parse_i64(words.next()?)?).ok()?;
        let db = u32::try_from(parse_i64(words.next()?)?).ok()?;
        Some(StreamNote { id, offset, db: DbIndex(db) })
    }
}

/// The annotation that says that what follows was written at this Unix time in seconds (`aof-timestamp-enabled`).
pub fn timestamp(unix_s: u64) -> Vec<u8> {
    format!("#TS:{unix_s}\r\n").into_bytes()
}

/// Before where in a history of replication the file ends.
const PLACE: &[u8] = b"#REPLICATION:";

/// The annotation that says that what stands before it is a history of replication up to there.
pub fn place(place: &StreamNote) -> Vec<u8> {
    format!("#REPLICATION:{} {} {}\r\n", place.id, place.offset, place.db.0).into_bytes()
}

/// What comes next in a file. Once it has ended, the same end comes again.
#[derive(Clone, Debug)]
pub enum Next<'a> {
    /// A command.
    Command(Command<'a>),
    /// A line that is none.
    Annotation(Annotation<'a>),
    /// The end, behind a whole command.
    End {
        /// The file's size.
        offset: u64,
    },
    /// The end, in the middle of what may have been a command.
    Torn {
        /// Where what is not whole begins; all before it is.
        offset: u64,
        /// What is missing.
        reason: String,
    },
    /// Something that is no command.
    Damaged {
        /// Where what is wrong begins; all before it is whole.
        offset: u64,
        /// What is wrong, with the offset at which it was noticed.
        reason: String,
    },
}

/// Where a word begins and ends, counted from the beginning of its command.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: usize,
    end: usize,
}

/// Reads a file's commands one after the other.
#[derive(Debug)]
pub struct AofReader<R = File> {
    source: R,
    path: PathBuf,
    /// Of the whole file.
    size: u64,
    block: Vec<u8>,
    /// Where in the block the next command begins.
    at: usize,
    /// Where in the file the block begins.
    offset: u64,
    words: Vec<Span>,
}

impl AofReader {
    /// Reads the file at `path` from `offset` on, which is 0, or where its RDB data ends.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(path: &Path, offset: u64) -> Result<Self, AofError> {
        let failed = |error: std::io::Error| AofError::io(path, "opened", &error);
        let mut file = File::open(path).map_err(failed)?;
        let size = file.metadata().map_err(failed)?.len();
        file.seek(SeekFrom::Start(offset)).map_err(failed)?;
        Ok(Self::new(file, path, offset, size))
    }
}

/// What the bytes at a place are.
enum Parsed {
    /// A command of so many bytes, whose words are noted.
    Command(usize),
    /// An annotation of so many bytes, line end and all.
    Annotation(usize),
    /// The beginning of one of both, which has at least so many bytes; what it lacks.
    Short(u64, &'static str),
    /// Neither: what is wrong, and how many bytes behind the beginning.
    Damaged(usize, String),
}

impl<R: Read> AofReader<R> {
    /// Reads a source that stands at `offset` of a file of `size` bytes; `path` is for messages.
    pub fn new(source: R, path: &Path, offset: u64, size: u64) -> Self {
        let path = path.to_path_buf();
        Self { source, path, size, block: Vec::new(), at: 0, offset, words: Vec::new() }
    }

    /// Where the next command begins: all before it is whole.
    pub fn offset(&self) -> u64 {
        self.offset + self.at as u64
    }

    /// The size of the file, as it was at the beginning.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next command or annotation, or how the file ends.
    ///
    /// # Errors
    /// The file cannot be read, or there is no memory for a command; then the reader is where it was.
    // Not an iterator: what is handed out is lent from the block.
    #[expect(clippy::should_implement_trait, reason = "what is handed out is lent")]
    pub fn next(&mut self) -> Result<Next<'_>, AofError> {
        let parsed = self.parse_next()?;
        let offset = self.offset();
        let (start, behind) = (self.at, |len: usize| offset + len as u64);
        Ok(match parsed {
            Parsed::Command(len) => {
                self.at += len;
                let bytes = &self.block[start..start + len];
                Next::Command(Command { offset, end: behind(len), bytes, words: &self.words })
            }
            Parsed::Annotation(len) => {
                self.at += len;
                let line = &self.block[start..start + len];
                let text = line.strip_suffix(b"\r\n").or(line.strip_suffix(b"\n")).unwrap_or(line);
                Next::Annotation(Annotation { offset, end: behind(len), text })
            }
            Parsed::Short(..) if start == self.block.len() => Next::End { offset },
            Parsed::Short(_, missing) => Next::Torn { offset, reason: format!("the file ends {missing}") },
            Parsed::Damaged(at, reason) => {
                Next::Damaged { offset, reason: format!("{reason}, at offset {}", behind(at)) }
            }
        })
    }

    /// Parses at the current place, with as much of the file in the block as that takes.
    fn parse_next(&mut self) -> Result<Parsed, AofError> {
        let mut wanted = 1;
        loop {
            let is_there = self.fill(wanted)?;
            let parsed = parse(&self.block[self.at..], &mut self.words);
            let Parsed::Short(needed, _) = parsed else { return Ok(parsed) };
            let left = self.size.saturating_sub(self.offset());
            if !is_there || needed > left {
                return Ok(parsed);
            }
            let here = self.block.len() - self.at;
            assert!(needed > here as u64, "what is there has been parsed");
            // Twice as much, so that a command of many words is not parsed once for each.
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            wanted = (needed as usize).max(here.saturating_mul(2)).min(left);
        }
    }

    /// Has the block hold so many bytes from the current place on; whether the file had them.
    fn fill(&mut self, wanted: usize) -> Result<bool, AofError> {
        if self.block.len() - self.at >= wanted {
            return Ok(true);
        }
        self.block.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        if self.block.capacity() > BLOCK_KEPT_BYTES_MAX && wanted <= BLOCK_BYTES {
            self.block.shrink_to(BLOCK_BYTES);
            self.words = Vec::new();
        }
        let missing = wanted.max(BLOCK_BYTES).saturating_sub(self.block.len());
        let left = self.size.saturating_sub(self.offset + self.block.len() as u64);
        let missing = (missing as u64).min(left) as usize;
        let offset = self.offset + self.block.len() as u64;
        let failed = |path: &Path, reason: String| AofError {
            path: path.to_path_buf(),
            place: Place::Offset(offset),
            reason,
        };
        let reserved = self.block.try_reserve_exact(missing);
        reserved.map_err(|_| failed(&self.path, format!("no memory for {wanted} bytes")))?;
        let read = (&mut self.source).take(missing as u64).read_to_end(&mut self.block);
        read.map_err(|error| failed(&self.path, format!("cannot be read: {error}")))?;
        Ok(self.block.len() >= wanted)
    }
}

/// What `bytes` begins with. The words of a command go into `words`.
fn parse(bytes: &[u8], words: &mut Vec<Span>) -> Parsed {
    words.clear();
    match bytes.first() {
        None => Parsed::Short(1, "here"),
        Some(b'#') => parse_annotation(bytes),
        Some(b'*') => parse_command(bytes, words).unwrap_or_else(|stop| stop),
        Some(other) => Parsed::Damaged(0, expected("'*'", *other)),
    }
}

fn parse_annotation(bytes: &[u8]) -> Parsed {
    let line = &bytes[..bytes.len().min(ANNOTATION_BYTES_MAX)];
    match memchr::memchr(b'\n', line) {
        Some(end) => Parsed::Annotation(end + 1),
        None if line.len() < ANNOTATION_BYTES_MAX => Parsed::Short(line.len() as u64 + 1, "in an annotation"),
        None => Parsed::Damaged(0, format!("an annotation of more than {ANNOTATION_BYTES_MAX} bytes")),
    }
}

fn parse_command(bytes: &[u8], words: &mut Vec<Span>) -> Result<Parsed, Parsed> {
    let (count, mut at) = number(bytes, 0, b'*', "in the number of words")?;
    if count == 0 {
        return Err(Parsed::Damaged(0, "a command without words".to_owned()));
    }
    // How long the command is at least, so that what its lengths only promise is not waited for word by word.
    let least = |at: usize, words: u64| (at as u64).saturating_add(words.saturating_mul(WORD_BYTES_MIN));
    for done in 0..count {
        if bytes.len() as u64 <= at as u64 {
            return Err(Parsed::Short(least(at, count - done), "between words"));
        }
        let (len, start) = number(bytes, at, b'$', "in the length of a word")?;
        let left = bytes.len() - start;
        let end = usize::try_from(len).ok().filter(|len| len.saturating_add(2) <= left);
        let Some(end) = end.map(|len| start + len) else {
            check_line_end(bytes, start, len)?;
            let needed = least(start, count - done - 1).saturating_add(len).saturating_add(2);
            return Err(Parsed::Short(needed, "in a word"));
        };
        check_line_end(bytes, start, len)?;
        words.push(Span { start, end });
        at = end + 2;
    }
    Ok(Parsed::Command(at))
}

/// Whether the bytes behind a word are a line end, as far as they are there.
fn check_line_end(bytes: &[u8], start: usize, len: u64) -> Result<(), Parsed> {
    let end = usize::try_from(len).ok().and_then(|len| start.checked_add(len));
    let there = end.and_then(|end| bytes.get(end..)).unwrap_or_default();
    for (index, (found, wanted)) in there.iter().zip(b"\r\n").enumerate() {
        if found != wanted {
            let at = end.map_or(0, |end| end + index);
            return Err(Parsed::Damaged(at, expected("a line end behind a word", *found)));
        }
    }
    Ok(())
}

/// A number with its line end behind `mark`, and where what follows stands.
fn number(bytes: &[u8], at: usize, mark: u8, place: &'static str) -> Result<(u64, usize), Parsed> {
    let short = Err(Parsed::Short(bytes.len() as u64 + 1, place));
    let damaged = |at: usize, what: &str, found: u8| Err(Parsed::Damaged(at, expected(what, found)));
    let Some((first, rest)) = bytes.get(at..).and_then(<[u8]>::split_first) else { return short };
    if *first != mark {
        return damaged(at, if mark == b'*' { "'*'" } else { "'$'" }, *first);
    }
    let digits = rest.iter().take(DIGITS_MAX + 1).take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    let behind = at + 1 + digits.len();
    match (digits, rest) {
        ([], []) => short,
        ([], [found, ..]) => damaged(behind, "a number", *found),
        ([.., last], _) if digits.len() > DIGITS_MAX => damaged(behind - 1, "the end of a number", *last),
        (_, [] | [b'\r']) => short,
        (_, [b'\r', b'\n', ..]) => match parse_u64(digits) {
            Some(number) => Ok((number, behind + 2)),
            None => damaged(at + 1, "a number without leading zeros", digits[0]),
        },
        (_, [b'\r', found, ..]) => damaged(behind + 1, "a line end", *found),
        (_, [found, ..]) => damaged(behind, "a line end", *found),
    }
}

fn expected(what: &str, found: u8) -> String {
    let found =
        if found.is_ascii_graphic() { char::from(found).to_string() } else { format!("{found:#04x}") };
    format!("{what} was expected, not {found}")
}

#[cfg(test)]
mod tests;
