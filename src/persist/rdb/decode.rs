//! Reads lengths and strings as RDB has them; the forms are in `encode`.
//!
//! Design: a reader over bytes in memory. A plain string is lent from the input, an integer stays one, and only a
//! compressed string is allocated.
//!
//! Invariants: no input panics; nothing is allocated that the input's length does not warrant.

use std::ops::ControlFlow;

use super::lzf;

/// The input is not what it says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// A string as it was found.
#[derive(Debug, PartialEq, Eq)]
pub enum Text<'a> {
    /// An integer.
    Int(i64),
    /// Bytes of the input.
    Plain(&'a [u8]),
    /// Bytes that were compressed.
    Unpacked(Vec<u8>),
}

impl Text<'_> {
    /// How many bytes the string has.
    pub fn len(&self) -> usize {
        match self {
            Self::Int(value) => itoa::Buffer::new().format(*value).len(),
            Self::Plain(bytes) => bytes.len(),
            Self::Unpacked(bytes) => bytes.len(),
        }
    }

    /// Whether the string has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The string's bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Int(value) => value.to_string().into_bytes(),
            Self::Plain(bytes) => bytes.to_vec(),
            Self::Unpacked(bytes) => bytes.clone(),
        }
    }
}

/// A place in bytes that are being decoded.
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// What a length's place may hold instead.
enum Special {
    /// An integer of so many bytes.
    Integer(usize),
    /// A compressed string.
    Compressed,
}

impl<'a> Reader<'a> {
    /// At the beginning of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.take::<1>().map(|[byte]| byte)
    }

    /// A number of 64 bits, little end first.
    pub fn u64_le(&mut self) -> Result<u64, Malformed> {
        self.take().map(u64::from_le_bytes)
    }

    /// A length, where nothing else may stand.
    pub fn length(&mut self) -> Result<u64, Malformed> {
        match self.length_or_special()? {
            ControlFlow::Continue(len) => Ok(len),
            ControlFlow::Break(_) => Err(Malformed),
        }
    }

    /// A string of any form.
    pub fn string(&mut self) -> Result<Text<'a>, Malformed> {
        match self.length_or_special()? {
            ControlFlow::Continue(len) => self.bytes(len).map(Text::Plain),
            ControlFlow::Break(Special::Integer(1)) => {
                self.take().map(|bytes| Text::Int(i8::from_le_bytes(bytes).into()))
            }
            ControlFlow::Break(Special::Integer(2)) => {
                self.take().map(|bytes| Text::Int(i16::from_le_bytes(bytes).into()))
            }
            ControlFlow::Break(Special::Integer(_)) => {
                self.take().map(|bytes| Text::Int(i32::from_le_bytes(bytes).into()))
            }
            ControlFlow::Break(Special::Compressed) => {
                let packed_len = self.length()?;
                let len = usize::try_from(self.length()?).map_err(|_| Malformed)?;
                let packed = self.bytes(packed_len)?;
                lzf::decompress(packed, len).map(Text::Unpacked).ok_or(Malformed)
            }
        }
    }

    fn length_or_special(&mut self) -> Result<ControlFlow<Special, u64>, Malformed> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3f);
        let len = match (first >> 6, first) {
            (0, _) => low,
            (1, _) => low << 8 | u64::from(self.byte()?),
            (_, 0x80) => u64::from(u32::from_be_bytes(self.take()?)),
            (_, 0x81) => u64::from_be_bytes(self.take()?),
            (_, 0xc0) => return Ok(ControlFlow::Break(Special::Integer(1))),
            (_, 0xc1) => return Ok(ControlFlow::Break(Special::Integer(2))),
            (_, 0xc2) => return Ok(ControlFlow::Break(Special::Integer(4))),
            (_, 0xc3) => return Ok(ControlFlow::Break(Special::Compressed)),
            _ => return Err(Malformed),
        };
        Ok(ControlFlow::Continue(len))
    }

    /// So many bytes.
    pub fn bytes(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// So many bytes as they stand.
    pub(super) fn take<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (bytes, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    #[test]
    fn lengths_come_back() {
        let lens = (0..64).flat_map(|bit| [1u64 << bit, (1 << bit) - 1, (1 << bit) + 1]).chain([u64::MAX]);
        for len in lens {
            let mut out = Vec::new();
            encode::length(&mut out, len);
            let mut reader = Reader::new(&out);
            assert_eq!(reader.length(), Ok(len));
            assert!(reader.rest().is_empty());
            assert_eq!(Reader::new(&out[..out.len() - 1]).length(), Err(Malformed));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let nonsense: [&[u8]; 10] = [
            b"",
            b"\x82",
            b"\xc4",
            b"\xc0",
            b"\xc1\x01",
            b"\xc2\x01\x01\x01",
            b"\x02a",
            b"\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00a",
            b"\xc3\xc0\x01\x01\x00",
        ];
        for bytes in nonsense {
            assert_eq!(Reader::new(bytes).string(), Err(Malformed), "{bytes:?}");
        }
    }
}
