//! Where the next part of a file ends, without a look at what it means.
//!
//! Design: every value consists of lengths, strings and numbers of known size, so that its end is found by adding up. What is
//! not there yet is no error: whoever scans learns how many bytes it takes at least, and tries again with more.
//!
//! Invariants: no input panics; nothing is allocated.
//! Costs: some ten ns a key, and a few for each element of a value that is not packed.

use super::{
    DATABASE, DEADLINE_MS, DEADLINE_S, END, FREQUENCY, FUNCTION, FUNCTION_EARLY, IDLE, MODULE_AUX, NOTE,
    SIZES, SLOT_INFO,
};
use crate::persist::rdb::{hash, list, set, sorted_set, stream, value};

/// The types of values of modules.
const TYPE_MODULE_EARLY: u8 = 6;
pub(super) const TYPE_MODULE: u8 = 7;
/// A double written as text: from this length on it is a special value without text.
const SCORE_SPECIAL_MIN: u8 = 253;
const STREAM_ID_BYTES: u64 = 16;
const TIME_BYTES: u64 = 8;

/// Why a scan does not go on.
#[derive(Debug, PartialEq, Eq)]
pub enum Stop {
    /// The input must have at least so many bytes.
    Short(u64),
    /// It is none of this format.
    Malformed(String),
}

/// What a part of a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// A key with what stands before it.
    Key,
    /// What follows belongs to another database.
    Database(u64),
    /// A note.
    Note,
    /// How many keys there are, of a database or a slot.
    Sizes,
    /// A library of functions.
    Function,
    /// What a module keeps.
    ModuleAux,
    /// The end; the checksum follows.
    End,
}

/// A place in bytes that are being scanned.
pub struct Scan<'a> {
    bytes: &'a [u8],
    at: usize,
    is_valkey: bool,
}

impl<'a> Scan<'a> {
    /// At a place of `bytes`.
    pub fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, is_valkey: false }
    }

    /// The same, in a file of Valkey's own kind or not.
    pub fn of_valkey(self, is_valkey: bool) -> Self {
        Self { is_valkey, ..self }
    }

    /// How far it came.
    pub fn at(&self) -> usize {
        self.at
    }

    /// Goes to the end of the next part.
    pub fn part(&mut self) -> Result<Part, Stop> {
        loop {
            match self.byte()? {
                DEADLINE_MS => self.skip(8)?,
                DEADLINE_S => self.skip(4)?,
                IDLE => self.length().map(drop)?,
                FREQUENCY => self.skip(1)?,
                DATABASE => return self.length().map(Part::Database),
                SIZES => return self.lengths(2).map(|()| Part::Sizes),
                SLOT_INFO => return self.lengths(3).map(|()| Part::Sizes),
                NOTE => return self.strings(2).map(|()| Part::Note),
                FUNCTION => return self.string().map(|()| Part::Function),
                FUNCTION_EARLY => {
                    return Err(Stop::Malformed(
                        "a function in the format of Redis 7.0's release candidates".to_owned(),
                    ));
                }
                MODULE_AUX => {
                    self.length()?;
                    self.module_value()?;
                    return Ok(Part::ModuleAux);
                }
                END => return Ok(Part::End),
                value_type => {
                    // A type that nobody knows is told before its key is waited for.
                    if !is_type(value_type) {
                        return Err(Stop::Malformed(format!("unknown type of value {value_type}")));
                    }
                    self.string()?;
                    self.value(hash::exact_type(value_type, self.is_valkey))?;
                    return Ok(Part::Key);
                }
            }
        }
    }

    /// Goes to the end of a value.
    pub fn value(&mut self, value_type: u8) -> Result<(), Stop> {
        match value_type {
            value::TYPE_STRING
            | list::TYPE_LIST_ZIPLIST
            | set::TYPE_SET_INTSET
            | set::TYPE_SET_LISTPACK
            | sorted_set::TYPE_SORTED_SET_ZIPLIST
            | sorted_set::TYPE_SORTED_SET_LISTPACK
            | hash::TYPE_HASH_ZIPMAP
            | hash::TYPE_HASH_ZIPLIST
            | hash::TYPE_HASH_LISTPACK
            | hash::TYPE_HASH_LISTPACK_EX_EARLY => self.string(),
            hash::TYPE_HASH_LISTPACK_EX => {
                self.skip(TIME_BYTES)?;
                self.string()
            }
            list::TYPE_LIST | list::TYPE_LIST_QUICKLIST | set::TYPE_SET => self.each(Self::string),
            hash::TYPE_HASH => self.each(|scan| scan.strings(2)),
            list::TYPE_LIST_QUICKLIST_2 => self.each(|scan| {
                scan.length()?;
                scan.string()
            }),
            sorted_set::TYPE_SORTED_SET => self.each(|scan| {
                scan.string()?;
                let len = scan.byte()?;
                scan.skip(if len < SCORE_SPECIAL_MIN { len.into() } else { 0 })
            }),
            sorted_set::TYPE_SORTED_SET_2 => self.each(|scan| {
                scan.string()?;
                scan.skip(8)
            }),
            hash::TYPE_HASH_METADATA | hash::TYPE_HASH_METADATA_EARLY => {
                if value_type == hash::TYPE_HASH_METADATA {
                    self.skip(TIME_BYTES)?;
                }
                self.each(|scan| {
                    scan.length()?;
                    scan.strings(2)
                })
            }
            hash::TYPE_HASH_DEADLINES_VALKEY => self.each(|scan| {
                scan.strings(2)?;
                scan.skip(TIME_BYTES)
            }),
            stream::TYPE_STREAM
            | stream::TYPE_STREAM_2
            | stream::TYPE_STREAM_3
            | stream::TYPE_STREAM_4
            | stream::TYPE_STREAM_5 => self.stream(value_type),
            TYPE_MODULE => {
                self.length()?;
                self.module_value()
            }
            TYPE_MODULE_EARLY => Err(Stop::Malformed(
                "a module's value in a format whose end only the module knows".to_owned(),
            )),
            other => Err(Stop::Malformed(format!("unknown type of value {other}"))),
        }
    }

    fn stream(&mut self, value_type: u8) -> Result<(), Stop> {
        self.each(|scan| scan.strings(2))?;
        // Length and last ID; since then also the first ID, the highest that was deleted, and how many were added.
        self.lengths(if value_type == stream::TYPE_STREAM { 3 } else { 8 })?;
        self.each(|group| {
            group.string()?;
            group.lengths(if value_type == stream::TYPE_STREAM { 2 } else { 3 })?;
            group.each(|pending| {
                pending.skip(STREAM_ID_BYTES + TIME_BYTES)?;
                pending.length().map(drop)
            })?;
            group.each(|consumer| {
                consumer.string()?;
                consumer.skip(if value_type >= stream::TYPE_STREAM_3 {
                    2 * TIME_BYTES
                } else {
                    TIME_BYTES
                })?;
                consumer.each(|pending| pending.skip(STREAM_ID_BYTES))
            })?;
            if value_type >= stream::TYPE_STREAM_5 {
                group.each(|released| released.skip(STREAM_ID_BYTES))?;
            }
            Ok(())
        })?;
        if value_type < stream::TYPE_STREAM_4 {
            return Ok(());
        }
        // Limits; producers and their iids; counts.
        self.lengths(2)?;
        self.each(|producer| {
            producer.string()?;
            producer.each(|iid| {
                iid.string()?;
                iid.lengths(2)
            })
        })?;
        self.lengths(2)
    }

    /// What a module has written: numbers and strings, each behind what it is, up to an end.
    fn module_value(&mut self) -> Result<(), Stop> {
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.length().map(drop)?,
                3 => self.skip(4)?,
                4 => self.skip(8)?,
                5 => self.string()?,
                other => return Err(Stop::Malformed(format!("unknown part {other} of a module's data"))),
            }
        }
    }

    fn each(&mut self, mut one: impl FnMut(&mut Self) -> Result<(), Stop>) -> Result<(), Stop> {
        for _ in 0..self.length()? {
            one(self)?;
        }
        Ok(())
    }

    fn lengths(&mut self, count: usize) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.length().map(drop))
    }

    fn strings(&mut self, count: usize) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.string())
    }

    fn string(&mut self) -> Result<(), Stop> {
        let special = match self.bytes.get(self.at) {
            Some(first) if first >> 6 == 3 => *first,
            _ => {
                let len = self.length()?;
                return self.skip(len);
            }
        };
        self.at += 1;
        match special {
            0xc0 => self.skip(1),
            0xc1 => self.skip(2),
            0xc2 => self.skip(4),
            0xc3 => {
                let packed_len = self.length()?;
                self.length()?;
                self.skip(packed_len)
            }
            other => Err(Stop::Malformed(format!("unknown form of a string {other:#x}"))),
        }
    }

    fn length(&mut self) -> Result<u64, Stop> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        Ok(match (first >> 6, first) {
            (0, _) => low,
            (1, _) => low << 8 | u64::from(self.byte()?),
            (_, 0x80) => u64::from(u32::from_be_bytes(self.take()?)),
            (_, 0x81) => u64::from_be_bytes(self.take()?),
            _ => return Err(Stop::Malformed(format!("unknown form of a length {first:#x}"))),
        })
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        self.take().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Stop> {
        let found = self.bytes.get(self.at..).and_then(|rest| rest.first_chunk::<N>());
        let found = *found.ok_or(Stop::Short(self.at as u64 + N as u64))?;
        self.at += N;
        Ok(found)
    }

    fn skip(&mut self, len: u64) -> Result<(), Stop> {
        let end = (self.at as u64).saturating_add(len);
        if end > self.bytes.len() as u64 {
            return Err(Stop::Short(end));
        }
        self.at = end as usize;
        Ok(())
    }
}

fn is_type(byte: u8) -> bool {
    matches!(byte, 0..=7 | 9..=27)
}
