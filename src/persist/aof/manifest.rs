//! The manifest: which files make up the append-only file, and in which order they are loaded.
//!
//! ```text
//! file appendonly.aof.2.base.rdb seq 2 type b
//! file appendonly.aof.1.incr.aof seq 1 type h
//! file appendonly.aof.2.incr.aof seq 2 type i startoffset 1024
//! ```
//!
//! Design: the grammar is Redis's, which is that of redis.conf: words, quoted where need be, in pairs of any order. What Redis
//! never writes is refused where Redis would guess (a sequence number with letters behind it, a file named twice).
//!
//! Invariants: at most one base; the sequence numbers of incremental files increase; each file is named once, and lies in the
//! manifest's own directory.
//! Costs: memory for a manifest is proportional to its text.
//!
//! Not here: how one manifest takes the place of another (`store`).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

use crate::config::split::{quote, split_line};
use crate::resp::number::parse_u64;

/// Bytes of a line, with its end: as much as Redis reads.
const LINE_BYTES_MAX: usize = 1024;
/// Words that a line has at least: those of three pairs.
const WORDS_MIN: usize = 6;
/// The highest sequence number: Redis's are signed.
const SEQ_MAX: u64 = i64::MAX as u64;

const INVALID: &str = "Invalid AOF manifest file format";

/// A file of the append-only file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name in the manifest's directory: no path.
    pub name: Vec<u8>,
    /// Its number among those of its kind, from 1 on.
    pub seq: u64,
    /// Of an incremental file: the offset in the replication stream of its first byte, if it was known.
    pub start_offset: Option<u64>,
    /// Of an incremental file that was closed in an orderly way: the offset behind its last byte.
    pub end_offset: Option<u64>,
}

impl Entry {
    /// A file of which no offsets are known.
    pub fn new(name: Vec<u8>, seq: u64) -> Self {
        Self { name, seq, start_offset: None, end_offset: None }
    }

    /// Its name as the file system takes it.
    pub fn file_name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }
}

/// The files that count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Everything up to some moment, if there is such a file.
    pub base: Option<Entry>,
    /// Files that count no more and are to be removed.
    pub history: Vec<Entry>,
    /// What happened since then, oldest first; the last is appended to.
    pub incremental: Vec<Entry>,
}

/// Why a text is no manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// The line, counted from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

impl Manifest {
    /// Reads a manifest's text. Comments are skipped, pairs of unknown name ignored.
    ///
    /// # Errors
    /// The first line that is wrong, and why.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        if text.is_empty() {
            return Err(ManifestError { line: 1, reason: "Found an empty AOF manifest".to_owned() });
        }
        let mut manifest = Self::default();
        for (line, number) in text.split_inclusive(|byte| *byte == b'\n').zip(1..) {
            manifest.add_line(line).map_err(|reason| ManifestError { line: number, reason })?;
        }
        manifest.refuse_twins()?;
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.starts_with(b"#") {
            return Ok(());
        }
        if line.len() > LINE_BYTES_MAX || !line.ends_with(b"\n") {
            return Err("The AOF manifest file contains too long line".to_owned());
        }
        let (kind, entry) = entry(line)?;
        match kind {
            FileKind::Base if self.base.is_some() => {
                return Err("Found duplicate base file information".to_owned());
            }
            FileKind::Base => self.base = Some(entry),
            FileKind::History => self.history.push(entry),
            FileKind::Incremental => {
                if self.incremental.last().is_some_and(|last| last.seq >= entry.seq) {
                    return Err("Found a non-monotonic sequence number".to_owned());
                }
                self.incremental.push(entry);
            }
        }
        Ok(())
    }

    /// A file that counts must not be removed as one that does not, nor be loaded twice.
    fn refuse_twins(&self) -> Result<(), ManifestError> {
        let mut names: Vec<&[u8]> = self.entries().map(|(_, entry)| &entry.name[..]).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => {
                let reason = format!("the file {} is named twice", pair[0].escape_ascii());
                Err(ManifestError { line: names.len() as u64, reason })
            }
            None => Ok(()),
        }
    }

    /// All files with the letters of their kinds, in the order in which they are written.
    pub fn entries(&self) -> impl Iterator<Item = (char, &Entry)> {
        let base = self.base.iter().map(|entry| ('b', entry));
        let history = self.history.iter().map(|entry| ('h', entry));
        base.chain(history).chain(self.incremental.iter().map(|entry| ('i', entry)))
    }

    /// The files that are loaded, in their order.
    pub fn parts(&self) -> impl Iterator<Item = &Entry> {
        self.base.iter().chain(&self.incremental)
    }

    /// Whether no file is to be loaded.
    pub fn is_empty(&self) -> bool {
        self.base.is_none() && self.incremental.is_empty()
    }

    /// The text. Where no file is named it is a comment, since Redis refuses an empty manifest.
    pub fn format(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (kind, entry) in self.entries() {
            let name = if needs_quotes(&entry.name) { quote(&entry.name) } else { entry.name.clone() };
            text.extend_from_slice(b"file ");
            text.extend_from_slice(&name);
            text.extend_from_slice(format!(" seq {} type {kind}", entry.seq).as_bytes());
            for (key, offset) in [("startoffset", entry.start_offset), ("endoffset", entry.end_offset)] {
                if let Some(offset) = offset {
                    text.extend_from_slice(format!(" {key} {offset}").as_bytes());
                }
            }
            text.push(b'\n');
        }
        if text.is_empty() {
            text.extend_from_slice(b"# no file yet\n");
        }
        text
    }

    /// The number of the next base file; none behind the highest number there is.
    pub fn next_base_seq(&self) -> Option<u64> {
        next(self.base.iter().chain(self.history.iter().filter(|entry| !was_incremental(entry))))
    }

    /// The number of the next incremental file; none behind the highest number there is.
    pub fn next_incremental_seq(&self) -> Option<u64> {
        next(self.incremental.iter().chain(self.history.iter().filter(|entry| was_incremental(entry))))
    }
}

/// History may have higher numbers than what counts, and its files are yet to be removed.
fn next<'a>(entries: impl Iterator<Item = &'a Entry>) -> Option<u64> {
    let seq = entries.map(|entry| entry.seq).max().unwrap_or(0);
    (seq < SEQ_MAX).then_some(seq + 1)
}

fn was_incremental(history: &Entry) -> bool {
    history.name.ends_with(b".incr.aof")
}

/// What a file is for.
enum FileKind {
    Base,
    History,
    Incremental,
}

/// What a line says.
fn entry(line: &[u8]) -> Result<(FileKind, Entry), String> {
    let words = split_line(line).filter(|words| words.len() >= WORDS_MIN && words.len().is_multiple_of(2));
    // A zero byte would end the line for Redis, and hide what follows.
    let words = words.filter(|_| !line.contains(&0)).ok_or(INVALID)?;
    let (mut name, mut seq, mut kind) = (None, None, None);
    let (mut start_offset, mut end_offset) = (None, None);
    for pair in words.chunks_exact(2) {
        let (key, value) = (&pair[0], &pair[1][..]);
        let number = || {
            let number = parse_u64(value).filter(|number| *number <= SEQ_MAX);
            number.ok_or_else(|| format!("{INVALID}: '{}' is no number", value.escape_ascii()))
        };
        match key.to_ascii_lowercase().as_slice() {
            b"file" => name = Some(base_name(value)?),
            b"seq" => seq = Some(number()?).filter(|seq| *seq > 0),
            b"type" => {
                kind = Some(match value {
                    b"b" => FileKind::Base,
                    b"h" => FileKind::History,
                    b"i" => FileKind::Incremental,
                    _ => return Err("Unknown AOF file type".to_owned()),
                });
            }
            // -1 is Redis's word for an offset that is not known.
            b"startoffset" if value != b"-1" => start_offset = Some(number()?),
            b"endoffset" if value != b"-1" => end_offset = Some(number()?),
            _ => {}
        }
    }
    let (Some(name), Some(seq), Some(kind)) = (name, seq, kind) else { return Err(INVALID.to_owned()) };
    Ok((kind, Entry { name, seq, start_offset, end_offset }))
}

/// A name that leads to no other directory.
fn base_name(name: &[u8]) -> Result<Vec<u8>, String> {
    if name.iter().any(|byte| matches!(byte, b'/' | b'\\')) {
        return Err("File can't be a path, just a filename".to_owned());
    }
    if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
        return Err(format!("{INVALID}: '{}' is no name of a file", name.escape_ascii()));
    }
    Ok(name.to_vec())
}

/// Whether a line is not split again into what it was made of, unless the name is in quotes.
fn needs_quotes(name: &[u8]) -> bool {
    let plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'\\' | b'"' | b'\'');
    name.is_empty() || !name.iter().all(plain)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(name: &str, seq: u64) -> Entry {
        Entry::new(name.as_bytes().to_vec(), seq)
    }

    #[test]
    fn manifest_of_redis_is_read_and_written_as_it_was() {
        let text = b"file a.aof.2.base.rdb seq 2 type b\n\
            file a.aof.1.incr.aof seq 1 type h\n\
            file a.aof.2.incr.aof seq 2 type i startoffset 0\n\
            file \"a b\\xff.aof\" seq 4 type i startoffset 5 endoffset 8\n";
        let manifest = Manifest::parse(text).expect("it is one");
        assert_eq!(manifest.base, Some(named("a.aof.2.base.rdb", 2)));
        assert_eq!(manifest.history, [named("a.aof.1.incr.aof", 1)]);
        assert_eq!(manifest.incremental[1].name, b"a b\xff.aof");
        assert_eq!(
            (manifest.incremental[1].start_offset, manifest.incremental[1].end_offset),
            (Some(5), Some(8))
        );
        assert_eq!((manifest.next_base_seq(), manifest.next_incremental_seq()), (Some(3), Some(5)));
        assert_eq!(manifest.format(), text);
    }

    #[test]
    fn order_comments_and_unknown_pairs_are_free() {
        let text =
            "# comment\n\ttype i  x y seq 7 FILE 'one.aof' \r\nSeq 1 Type b file b.aof startoffset -1\n";
        let manifest = Manifest::parse(text.as_bytes()).expect("it is one");
        assert_eq!(manifest.incremental, [named("one.aof", 7)]);
        assert_eq!(manifest.base, Some(named("b.aof", 1)));
        let none = Manifest::parse(b"# nothing\n").expect("a comment will do");
        assert!(none.is_empty());
        assert_eq!((none.next_base_seq(), none.next_incremental_seq()), (Some(1), Some(1)));
        assert_eq!(Manifest::parse(&none.format()), Ok(none));
    }

    #[test]
    fn wrong_line_is_named_with_reason() {
        let long = format!("file {} seq 1 type b\n", "x".repeat(1010));
        let cases: [(&str, u64, &str); 22] = [
            ("", 1, "Found an empty AOF manifest"),
            ("\n", 1, INVALID),
            ("# x\n\nfile a seq 1 type b\n", 2, INVALID),
            ("file a seq 1 type b", 1, "too long line"),
            (&long, 1, "too long line"),
            ("file a seq 1\n", 1, INVALID),
            ("file a seq 1 type\n", 1, INVALID),
            ("file a seq 1 type b x\n", 1, INVALID),
            ("file a seq 1 x y\n", 1, INVALID),
            ("file 'a seq 1 type b\n", 1, INVALID),
            ("file a\0 seq 1 type b\n", 1, INVALID),
            ("file a seq 0 type b\n", 1, INVALID),
            ("file a seq -1 type b\n", 1, "'-1' is no number"),
            ("file a seq 1x type b\n", 1, "'1x' is no number"),
            ("file a seq 9223372036854775808 type b\n", 1, "is no number"),
            ("file a seq 1 type x\n", 1, "Unknown AOF file type"),
            ("file a seq 1 type b\nfile b seq 2 type b\n", 2, "Found duplicate base file information"),
            ("file a seq 2 type i\nfile b seq 2 type i\n", 2, "Found a non-monotonic sequence number"),
            ("file ../a seq 1 type b\n", 1, "File can't be a path, just a filename"),
            ("file \"a\\\\b\" seq 1 type b\n", 1, "File can't be a path, just a filename"),
            ("file .. seq 1 type b\n", 1, "'..' is no name"),
            ("file a seq 1 type b\nfile a seq 1 type h\n", 2, "the file a is named twice"),
        ];
        for (text, line, reason) in cases {
            let error = Manifest::parse(text.as_bytes()).expect_err(text);
            assert!(error.line == line && error.reason.contains(reason), "{text:?}: {error}");
        }
        let last = Manifest::parse(b"file a seq 9223372036854775807 type i\n").expect("it is one");
        assert_eq!(last.next_incremental_seq(), None);
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let name = proptest::collection::vec(any::<u8>(), 1..20)
            .prop_map(|name| name.into_iter().filter(|byte| !matches!(byte, 0 | b'/' | b'\\')).collect());
        let name = name.prop_map(|mut name: Vec<u8>| {
            name.push(b'.');
            name.push(b'x');
            name
        });
        let offset = || proptest::option::of(0..SEQ_MAX);
        (name, offset(), offset()).prop_map(|(name, start_offset, end_offset)| Entry {
            name,
            seq: 1,
            start_offset,
            end_offset,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            base in proptest::option::of(any_entry()),
            history in proptest::collection::vec(any_entry(), 0..3),
            incremental in proptest::collection::vec(any_entry(), 0..4),
        ) {
            let mut manifest = Manifest { base, history, incremental };
            let mut number = 0;
            let Manifest { base, history, incremental } = &mut manifest;
            for entry in base.iter_mut().chain(history).chain(incremental) {
                number += 1;
                entry.seq = number;
                entry.name.extend(number.to_string().into_bytes());
            }
            prop_assert_eq!(Manifest::parse(&manifest.format()), Ok(manifest));
        }

        #[test]
        fn any_bytes_are_a_manifest_or_refused(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(Manifest::parse(&text));
        }

        #[test]
        fn nearly_a_manifest_is_read_or_refused(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("file "), Just("seq "), Just("type "), Just("1 "), Just("2 "), Just("i "), Just("b "),
                    Just("\n"), Just("'"), Just("\"\\x00\" "), Just("startoffset "), Just("file a seq 1 type "),
                ],
                0..30,
            )
        ) {
            let text = words.concat();
            if let Ok(manifest) = Manifest::parse(text.as_bytes()) {
                prop_assert_eq!(Manifest::parse(&manifest.format()), Ok(manifest));
            }
        }
    }
}
