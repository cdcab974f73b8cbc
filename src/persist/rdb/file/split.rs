//! A file in pieces of whole keys, which can be decoded by anybody in any order.
//!
//! Design: the file is read in blocks; of each the keys that it has whole are a piece, and what is left begins the next. A value
//! that is longer than a block makes its block longer. Nothing is copied but that rest. What stands between keys is
//! looked at here: only here is the order of the file known.
//!
//! Invariants: a block never grows beyond what the file still has; the pieces, one behind the other, are the file between
//! header and end.
//! Costs: the checksum and a scan of each byte that is a length: about a GB a second.

use std::io::Read;

use super::scan::{Part, Scan, Stop};
use super::{FileError, HEADER_BYTES, MAGIC, MAGIC_VALKEY, VERSION_CHECKSUM, VERSION_VALKEY};
use crate::persist::rdb::decode::Reader;
use crate::persist::rdb::{VERSION_MAX, crc64};
use crate::store::DbIndex;

/// How much is read at a time: about what a processor's own cache holds, so that a piece is still there when it is decoded.
const BLOCK_BYTES: usize = 256 << 10;
const CHECKSUM_BYTES: usize = 8;
/// Notes that are kept: more than anybody writes.
const NOTES_MAX: usize = 64;

/// Keys with what stands between them.
#[derive(Debug, Default)]
pub struct Piece {
    /// As they stand in the file.
    pub bytes: Vec<u8>,
    /// Where the first byte stands there.
    pub offset: u64,
    /// The database of the first key.
    pub db: DbIndex,
    /// Whether it is of a file of Valkey's own kind.
    pub is_valkey: bool,
}

/// What is found between keys.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// The version of the format.
    pub version: u16,
    /// Notes of whoever wrote it.
    pub notes: Vec<(Vec<u8>, Vec<u8>)>,
    /// The texts of libraries of functions.
    pub libraries: Vec<Vec<u8>>,
    /// Modules that keep something beside their keys, which is passed over.
    pub module_parts: u64,
    /// Keys.
    pub keys: u64,
    /// Whether the checksum was compared.
    pub is_checked: bool,
    /// Once the end was read: where it is. What follows, as commands in an append-only file do, is none of this format.
    pub end: u64,
}

/// Cuts a file into pieces.
pub struct Splitter<R> {
    source: R,
    /// Its bytes; no more than that where nobody knows.
    size: u64,
    /// Whether that is exactly so, and not what nobody knows.
    is_exact: bool,
    /// Where the first byte of `block` stands in the file.
    offset: u64,
    block: Vec<u8>,
    /// The sum over all bytes before `block`; none if nobody asks.
    sum: Option<u64>,
    db: DbIndex,
    databases: usize,
    has_ended: bool,
    /// What was found so far.
    pub findings: Findings,
}

impl<R: Read> Splitter<R> {
    /// A file of `size` bytes, if anybody knows, from its beginning on, for a server with so many databases. `checks`: whether its
    /// checksum counts.
    ///
    /// # Errors
    /// It cannot be read, or does not begin as such a file does.
    pub fn new(source: R, size: Option<u64>, databases: usize, checks: bool) -> Result<Self, FileError> {
        let mut splitter = Self {
            source,
            size: size.unwrap_or(u64::MAX),
            is_exact: size.is_some(),
            offset: 0,
            block: Vec::new(),
            sum: checks.then_some(0),
            db: DbIndex(0),
            databases,
            has_ended: false,
            findings: Findings::default(),
        };
        splitter.fill(HEADER_BYTES)?;
        let version = version(&splitter.block).map_err(|reason| FileError::new(0, reason))?;
        splitter.findings.version = version;
        splitter.cut(HEADER_BYTES, Vec::new());
        Ok(splitter)
    }

    /// The next piece, in the memory of `spare`; none at the end.
    ///
    /// # Errors
    /// The file cannot be read, or is none of this format, or was changed since it was written.
    pub fn next_piece(&mut self, spare: Vec<u8>) -> Result<Option<Piece>, FileError> {
        if self.has_ended {
            return Ok(None);
        }
        let db = self.db;
        let end = self.whole_parts()?;
        let (offset, mut spare) = (self.offset, spare);
        spare.clear();
        let bytes = self.cut(end, spare);
        if self.has_ended {
            self.finish()?;
        }
        Ok(Some(Piece { bytes, offset, db, is_valkey: self.is_valkey() }))
    }

    fn is_valkey(&self) -> bool {
        self.findings.version == VERSION_VALKEY
    }

    /// How many bytes of the file have been passed.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads at least one part, and as many as a block has; where they end.
    fn whole_parts(&mut self) -> Result<usize, FileError> {
        let mut wanted = BLOCK_BYTES;
        loop {
            // The end of the file may come earlier.
            let left = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
            let is_all = !self.fill_some(wanted.min(left.max(1)))?;
            if is_all && self.is_exact || self.block.is_empty() {
                return Err(self.error(self.block.len(), CUT));
            }
            let mut end = 0;
            let stop = loop {
                if self.has_ended {
                    return Ok(end);
                }
                let mut scan = Scan::new(&self.block, end).of_valkey(self.is_valkey());
                match scan.part() {
                    Ok(part) => {
                        let from = std::mem::replace(&mut end, scan.at());
                        self.note(part, from, end)?;
                    }
                    Err(stop) => break stop,
                }
            };
            match stop {
                Stop::Malformed(reason) => return Err(self.error(end, reason)),
                Stop::Short(_) if end > 0 => return Ok(end),
                Stop::Short(needed) => {
                    if is_all || needed > self.size - self.offset {
                        return Err(self.error(end, CUT));
                    }
                    // Whatever is missing beyond that, this is at most twice as much.
                    wanted = (needed as usize).max(self.block.len().saturating_mul(2));
                }
            }
        }
    }

    /// Looks at a part which is no key.
    fn note(&mut self, part: Part, from: usize, end: usize) -> Result<(), FileError> {
        match part {
            Part::Key => self.findings.keys += 1,
            Part::Database(number) => {
                let known = u32::try_from(number).ok().filter(|number| (*number as usize) < self.databases);
                self.db = DbIndex(known.ok_or_else(|| {
                    let databases = self.databases;
                    self.error(
                        from,
                        format!("database {number}, where this server has {databases} (`databases`)"),
                    )
                })?);
            }
            Part::Note => {
                let mut reader = Reader::new(&self.block[from + 1..end]);
                let pair = reader.string().and_then(|name| Ok((name.to_vec(), reader.string()?.to_vec())));
                let pair = pair.map_err(|_| self.error(from, "a note that is damaged"))?;
                if self.findings.notes.len() < NOTES_MAX {
                    self.findings.notes.push(pair);
                }
            }
            Part::Sizes => {}
            Part::Function => {
                let text = Reader::new(&self.block[from + 1..end]).string().map(|text| text.to_vec());
                let text = text.map_err(|_| self.error(from, "a library of functions that is damaged"))?;
                self.findings.libraries.push(text);
            }
            Part::ModuleAux => self.findings.module_parts += 1,
            Part::End => self.has_ended = true,
        }
        Ok(())
    }

    /// Has the block hold so many bytes.
    fn fill(&mut self, wanted: usize) -> Result<(), FileError> {
        if self.fill_some(wanted)? { Ok(()) } else { Err(self.error(self.block.len(), CUT)) }
    }

    /// Reads until the block has so many bytes; whether there are as many.
    fn fill_some(&mut self, wanted: usize) -> Result<bool, FileError> {
        let Some(missing) = wanted.checked_sub(self.block.len()) else { return Ok(true) };
        let reserved = self.block.try_reserve_exact(missing);
        reserved.map_err(|_| self.error(0, format!("no memory for {wanted} bytes")))?;
        let read = (&mut self.source).take(missing as u64).read_to_end(&mut self.block);
        read.map_err(|error| self.error(self.block.len(), format!("cannot be read: {error}")))?;
        Ok(self.block.len() >= wanted)
    }

    /// Parts with the first bytes of the block; the rest goes into `spare` and becomes the block.
    fn cut(&mut self, end: usize, mut spare: Vec<u8>) -> Vec<u8> {
        spare.extend_from_slice(&self.block[end..]);
        let mut piece = std::mem::replace(&mut self.block, spare);
        piece.truncate(end);
        self.sum = self.sum.map(|sum| crc64::sum(sum, &piece));
        self.offset += end as u64;
        piece
    }

    /// The end of the keys was seen: compares the checksum.
    fn finish(&mut self) -> Result<(), FileError> {
        self.findings.end = self.offset;
        if self.findings.version < VERSION_CHECKSUM {
            return Ok(());
        }
        self.fill(CHECKSUM_BYTES)?;
        let said = *self.block.first_chunk::<CHECKSUM_BYTES>().expect("so many were read");
        let said = u64::from_le_bytes(said);
        if let Some(sum) = self.sum.filter(|_| said != 0) {
            self.findings.is_checked = true;
            if said != sum {
                let reason = format!("the checksum is {said:016x}, and that of what was read {sum:016x}");
                return Err(self.error(0, format!("{reason}: the file was damaged")));
            }
        }
        self.offset += CHECKSUM_BYTES as u64;
        self.findings.end = self.offset;
        Ok(())
    }

    fn error(&self, at: usize, reason: impl Into<String>) -> FileError {
        FileError::new(self.offset + at as u64, reason)
    }
}

const CUT: &str = "the file was cut short";

/// The version that a file's first bytes say: REDIS and four digits, or VALKEY and three.
fn version(header: &[u8]) -> Result<u16, String> {
    let header = header.get(..HEADER_BYTES).ok_or("this is no RDB file: it is too short")?;
    let (digits, known) = match header.strip_prefix(MAGIC_VALKEY) {
        Some(digits) => (digits, VERSION_VALKEY..=VERSION_VALKEY),
        None => {
            let no = "this is no RDB file: it does not begin with REDIS";
            (header.strip_prefix(MAGIC).ok_or(no)?, 1..=VERSION_MAX)
        }
    };
    let version =
        std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match version.and_then(|text| text.parse::<u16>().ok()).filter(|version| known.contains(version)) {
        Some(version) => Ok(version),
        None => Err(format!("Can't handle RDB format version {}", String::from_utf8_lossy(digits))),
    }
}
