//! Files there and back, and what is no file.

use std::io::Cursor;

use super::split::{Findings, Piece, Splitter};
use super::write::{Encoder, Key, Notes};
use super::{FileError, Use, records};
use crate::persist::rdb::{VERSION_MAX, crc64, encode};
use crate::store::{DbIndex, KeyHasher, Limits, NewString, NewValue, Str, View};

/// A key with a string, as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Found {
    db: u32,
    key: Vec<u8>,
    deadline_ms: Option<i64>,
    used: Option<Use>,
    text: Vec<u8>,
}

fn found(db: u32, key: &[u8], deadline_ms: Option<i64>, used: Option<Use>, text: &[u8]) -> Found {
    Found { db, key: key.to_vec(), deadline_ms, used, text: text.to_vec() }
}

/// A file of these keys, with a right checksum.
fn written(keys: &[Found]) -> Vec<u8> {
    let (mut out, mut encoder) = (Vec::new(), Encoder::new(true, VERSION_MAX));
    let notes = Notes { redis_version: "8.2.3", now_s: 1, used_bytes: 2, stream: None, is_aof_base: false };
    encoder.begin(&mut out, &notes);
    for key in keys {
        let value = View::String(Str::Bytes(&key.text));
        let deadline_ms = key.deadline_ms.map(|ms| ms as u64);
        let as_written = Key { name: &key.key, deadline_ms, used: key.used, value: &value };
        encoder.key(&mut out, DbIndex(key.db), &as_written, &mut encode::Whole);
    }
    encoder.end(&mut out);
    let header = super::write::header(encoder.version());
    out[..header.len()].copy_from_slice(&header);
    summed(out)
}

/// With the checksum that belongs to it.
fn summed(mut file: Vec<u8>) -> Vec<u8> {
    let sum = crc64::sum(0, &file);
    file.extend_from_slice(&sum.to_le_bytes());
    file
}

/// A file of an old version: no checksum.
fn plain(version: u16, body: &[u8]) -> Vec<u8> {
    [&super::write::header(version)[..], body].concat()
}

fn text_of(value: NewValue<'_>) -> Vec<u8> {
    match value {
        NewValue::String(NewString::Int(value)) => value.to_string().into_bytes(),
        NewValue::String(NewString::Bytes(bytes) | NewString::Text(bytes)) => bytes.to_vec(),
        NewValue::String(NewString::Blob(bytes)) => bytes.to_vec(),
        _ => b"(no string)".to_vec(),
    }
}

fn read(file: &[u8]) -> Result<(Vec<Found>, Findings), FileError> {
    let (limits, hasher) = (Limits::default(), KeyHasher::new(1));
    let mut splitter = Splitter::new(Cursor::new(file), Some(file.len() as u64), 16, true)?;
    let (mut all, mut spare) = (Vec::new(), Vec::new());
    while let Some(piece) = splitter.next_piece(std::mem::take(&mut spare))? {
        records::each(&piece, &limits, &hasher, |record| {
            let records::Record { db, key, deadline_ms, used, value, .. } = record;
            all.push(found(db.0, key, deadline_ms, used, &text_of(value)));
            Ok(())
        })?;
        let Piece { bytes, .. } = piece;
        spare = bytes;
    }
    Ok((all, splitter.findings))
}

fn some_keys() -> Vec<Found> {
    let mut keys = vec![
        found(0, b"plain", None, None, b"value"),
        found(0, b"12345", Some(2_000_000_000_000), None, b"-70000"),
        found(3, b"idle", None, Some(Use::Idle(1 << 40)), &b"ab".repeat(200)),
        found(3, b"often", Some(1), Some(Use::Frequency(255)), b""),
    ];
    // More than one piece, and a value that is longer than one.
    for number in 0..20_000_u32 {
        keys.push(found(
            5,
            format!("key:{number}").as_bytes(),
            None,
            None,
            &[b'x'; 20][..number as usize % 20],
        ));
    }
    let long: Vec<u8> = (0..3_000_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    keys.push(found(5, b"long", None, None, &long));
    keys.push(found(0, b"last", None, None, b"1"));
    keys
}

#[test]
fn keys_come_back_with_all_that_is_said_of_them() {
    let keys = some_keys();
    let file = written(&keys);
    let (read_back, findings) = read(&file).expect("it is whole");
    assert_eq!(read_back, keys);
    assert_eq!((findings.version, findings.keys), (9, keys.len() as u64));
    assert!(findings.is_checked);
    let notes = ["redis-ver", "redis-bits", "ctime", "used-mem", "aof-base"];
    assert!(findings.notes.iter().map(|(name, _)| &name[..]).eq(notes.map(str::as_bytes)));
    assert_eq!(read(&written(&keys[..2])).map(|(_, findings)| findings.version), Ok(7));
}

#[test]
fn every_cut_is_noticed() {
    let file = written(&some_keys()[..4]);
    for len in 0..file.len() {
        let error = read(&file[..len]).expect_err("it is cut");
        assert!(error.offset <= len as u64, "{error}");
    }
    // What stands behind the end is nobody's, as in Redis.
    assert!(read(&[&file[..], b"more"].concat()).is_ok());
}

#[test]
fn every_flipped_bit_is_noticed_or_harmless() {
    let keys = some_keys()[..4].to_vec();
    let file = written(&keys);
    for at in 0..file.len() {
        for bit in 0..8 {
            let mut damaged = file.clone();
            damaged[at] ^= 1 << bit;
            // Before version 5 there are no checksums: a file that says so is believed.
            let says_old = (5..9).contains(&at);
            assert!(read(&damaged).is_err() || says_old, "byte {at}, bit {bit}");
            // With a checksum that belongs to what it became it is only a different file.
            let body = damaged.len() - 8;
            damaged.truncate(body);
            if let Ok((keys, _)) = read(&summed(damaged)) {
                assert!(keys.len() <= file.len());
            }
        }
    }
}

#[test]
fn what_old_servers_wrote_is_read() {
    // Version 1: a database, a key with a deadline in seconds, one without; no checksum.
    let old = plain(1, b"\xfe\x00\xfd\x00\x00\x00\x40\x00\x01a\x01b\x00\xc0\x07\xc1\x00\x01\xff");
    let (keys, findings) = read(&old).expect("it is whole");
    let expected = [found(0, b"a", Some(0x4000_0000 * 1000), None, b"b"), found(0, b"7", None, None, b"256")];
    assert_eq!(keys, expected);
    assert_eq!((findings.version, findings.is_checked), (1, false));
    // Functions, what modules keep and sizes of slots are passed over; an empty list is no key.
    let body =
        b"\xfa\x01a\x01b\xf5\x03lib\xf7\x05\x02\x02\x02\x07\x05\x01x\x04eightbyt\x03four\x00\xf4\x01\x02\x03\
        \xfb\x01\x00\x01\x01l\x00\x00\x01k\x01v\xff";
    let (keys, findings) = read(&summed(plain(12, body))).expect("it is whole");
    assert_eq!(keys, [found(0, b"k", None, None, b"v")]);
    assert_eq!((findings.libraries.len(), findings.module_parts), (1, 1));
    // No checksum was wanted.
    assert!(read(&plain(12, b"\xff\0\0\0\0\0\0\0\0")).is_ok_and(|(_, findings)| !findings.is_checked));
}

#[test]
fn errors_say_where_and_why() {
    let cases: [(&[u8], u64, &str); 8] = [
        (b"REDIS0015\xff", 0, "Can't handle RDB format version 0015"),
        (b"REDIS00x1\xff", 0, "Can't handle RDB format version 00x1"),
        (b"RIDES0011\xff", 0, "does not begin with REDIS"),
        (b"REDIS0003\x00\x01a\x01b\xf3", 14, "unknown type of value 243"),
        (b"REDIS0003\x00\x01a\x01b\xfe\x3f", 14, "database 63"),
        (b"REDIS0003\x00\x01a\x01b\x01\x01l\x01\xc5", 14, "unknown form of a string 0xc5"),
        (
            b"REDIS0003\x00\x01a\x01b\x0b\x01s\x04abcd\xff",
            14,
            "the value of the key 's', of type 11, is damaged",
        ),
        (b"REDIS0011\xff\x01\x02\x03\x04\x05\x06\x07\x08", 10, "the checksum is 0807060504030201"),
    ];
    for (file, offset, reason) in cases {
        let error = read(file).expect_err(reason);
        assert!(error.reason.contains(reason), "{error}");
        assert_eq!(error.offset, offset, "{error}");
    }
    let module = plain(4, b"\x07\x01m\x81\x5f\xbe\x92\x02\x0f\x00\x04\x01\x00\xff");
    let error = read(&module).expect_err("nobody knows the type");
    assert!(error.reason.contains("module type"), "{error}");
}

/// What follows the end, as commands in an append-only file do, is somebody else's.
#[test]
fn end_is_told_where_other_bytes_follow() {
    let body = b"\xfe\x00\x00\x01a\x01b\xff";
    let files = [plain(3, body), summed(plain(12, body)), plain(12, &[&body[..], &[0; 8]].concat())];
    for file in files {
        for tail in ["", "*1\r\n$4\r\nPING\r\n"] {
            let all = [&file[..], tail.as_bytes()].concat();
            let (keys, findings) = read(&all).expect("it is whole");
            assert_eq!((keys.len(), findings.end), (1, file.len() as u64));
        }
    }
}
