//! What a file holds, for `torc --check-rdb`: every value is decoded, and nothing is kept.
//!
//! Not here: what is said where it is damaged (`FileError`).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use super::FileError;
use super::records::{self, Record};
use super::split::{Findings, Splitter};
use crate::store::{KeyHasher, Limits};

/// Keys of one database.
#[derive(Default)]
struct Keys {
    /// By type of value.
    types: BTreeMap<&'static str, u64>,
    expiring: u64,
    expired: u64,
}

/// Reads a whole file; what it holds, as lines of text.
///
/// # Errors
/// It cannot be read, or is damaged, and where.
pub fn check(path: &Path, now_ms: u64) -> Result<String, FileError> {
    let (file, size) = open(path)?;
    read(file, size, now_ms).map(|(report, _)| report)
}

/// Reads the RDB data with which an append-only file begins; what it holds, as lines of text, and where it ends.
///
/// # Errors
/// It cannot be read, or is damaged, and where.
pub fn check_preamble(path: &Path, now_ms: u64) -> Result<(String, u64), FileError> {
    let (file, size) = open(path)?;
    read(file, size, now_ms)
}

fn open(path: &Path) -> Result<(File, u64), FileError> {
    let failed = |error: std::io::Error| FileError::new(0, format!("cannot be opened: {error}"));
    let file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    Ok((file, size))
}

/// For fuzzing: any bytes as a file, with whatever checksum.
pub fn fuzz(file: &[u8]) {
    // What it says is not known; that it says something is.
    let _: Result<(String, u64), FileError> = read(file, file.len() as u64, 0);
}

/// Reads what is to be a whole file, and decodes all of it; how many keys it has.
///
/// # Errors
/// It cannot be read, or is damaged, and where.
pub fn count(source: impl Read, size: u64) -> Result<u64, FileError> {
    let mut keys = 0;
    let findings = each_record(source, size, |_| keys += 1)?;
    match findings.end == size {
        true => Ok(keys),
        false => Err(FileError::new(findings.end, "something follows its end")),
    }
}

fn read(source: impl Read, size: u64, now_ms: u64) -> Result<(String, u64), FileError> {
    let mut dbs: BTreeMap<u32, Keys> = BTreeMap::new();
    let findings = each_record(source, size, |record| {
        let keys = dbs.entry(record.db.0).or_default();
        *keys.types.entry(record.value.ty().name()).or_default() += 1;
        if let Some(deadline_ms) = record.deadline_ms {
            keys.expiring += 1;
            keys.expired += u64::from(i64::try_from(now_ms).is_ok_and(|now_ms| deadline_ms < now_ms));
        }
    })?;
    let end = findings.end;
    Ok((report(end, &findings, &dbs), end))
}

/// Decodes every key.
fn each_record(
    source: impl Read,
    size: u64,
    mut visit: impl FnMut(&Record<'_, '_>),
) -> Result<Findings, FileError> {
    let mut splitter = Splitter::new(source, Some(size), u32::MAX as usize, true)?;
    let (limits, hasher) = (Limits::default(), KeyHasher::new(1));
    let mut spare = Vec::new();
    while let Some(piece) = splitter.next_piece(spare)? {
        records::each(&piece, &limits, &hasher, |record| {
            visit(&record);
            Ok(())
        })?;
        spare = piece.bytes;
    }
    Ok(splitter.findings)
}

fn report(size: u64, findings: &Findings, dbs: &BTreeMap<u32, Keys>) -> String {
    const WRITES: &str = "writing to a string does not fail";
    let mut text = format!("RDB version {}, {size} bytes\n", findings.version);
    for (name, value) in &findings.notes {
        writeln!(text, "note {}: {}", name.escape_ascii(), value.escape_ascii()).expect(WRITES);
    }
    for (db, Keys { types, expiring, expired }) in dbs {
        let count: u64 = types.values().sum();
        let types: Vec<String> = types.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let types = types.join(", ");
        writeln!(
            text,
            "database {db}: {count} keys ({types}), {expiring} with a deadline, {expired} expired"
        )
        .expect(WRITES);
    }
    if !findings.libraries.is_empty() {
        writeln!(text, "{} libraries of functions", findings.libraries.len()).expect(WRITES);
    }
    if findings.module_parts > 0 {
        writeln!(text, "{} parts of modules: not loaded", findings.module_parts).expect(WRITES);
    }
    let sum = if findings.is_checked { "the checksum is right" } else { "there is no checksum" };
    writeln!(text, "The file is whole: {sum}").expect(WRITES);
    text
}
