//! The RDB format of Redis: single values, which is what DUMP gives and RESTORE takes, and files of them.
//!
//! ```text
//! | type | value ...             | version, u16 LE | CRC64 of all before, u64 LE |
//!   1      `encode`, `decode`      2                 8
//! ```
//!
//! A payload carries the lowest version that can hold it, so that any Redis that knows the value's type takes it; every
//! version up to [`VERSION_MAX`] is accepted.
//!
//! Invariants: whatever bytes come in, decoding neither panics nor allocates more than the input can mean.
//! Costs: one allocation for a payload, none to decode a string that is not compressed.
//! Not here: what stands around values in files (`file`).

pub mod crc64;
pub mod decode;
pub mod encode;
pub mod file;
pub mod hash;
pub mod list;
pub mod lzf;
pub mod set;
pub mod sorted_set;
pub mod stream;
pub mod value;
pub mod ziplist;
pub mod zipmap;

use decode::{Malformed, Reader};

use crate::store::{KeyHasher, Limits, NewValue, View};

/// The newest version understood: that of Redis 8.8. Types that are not known here are refused where they come.
pub const VERSION_MAX: u16 = 14;
/// The first version whose hashes have deadlines of fields: that of Redis 7.4.
const VERSION_HASH_DEADLINES: u16 = 12;
/// The first version whose streams know their producers: that of Redis 8.6.
const VERSION_STREAM_4: u16 = 13;
/// The first version whose payloads have this trailer; strings have not changed since, but for lengths of 64 bits.
const VERSION_STRING: u16 = 6;
/// The first version whose lists have listpacks for nodes.
const VERSION_LISTPACK: u16 = 10;
/// The first version whose small sets are listpacks.
const VERSION_SET_LISTPACK: u16 = 11;
/// The first version that knows when a stream's consumers were active.
const VERSION_STREAM_3: u16 = 11;
/// The first version with lengths of 64 bits.
const VERSION_LENGTH_64: u16 = 8;
const TRAILER_BYTES: usize = 10;

/// Why a payload is not restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PayloadError {
    /// Too short, of an unknown version, or damaged.
    Trailer,
    /// The trailer is right, but what is before it is not a value.
    Format,
}

impl From<Malformed> for PayloadError {
    fn from(_: Malformed) -> Self {
        Self::Format
    }
}

/// A value as DUMP gives it; `len_hint` is about how many bytes it has.
pub fn payload(view: &View<'_>, len_hint: usize, compress: bool) -> Vec<u8> {
    let (value_type, version_min) = value::form(view, VERSION_MAX);
    let mut out = Vec::with_capacity(1 + encode::LENGTH_BYTES_MAX + len_hint + TRAILER_BYTES);
    out.push(value_type);
    value::write(&mut out, view, value_type, compress, &mut encode::Whole);
    let version = if u32::try_from(out.len()).is_err() { VERSION_LENGTH_64 } else { VERSION_STRING };
    out.extend_from_slice(&version.max(version_min).to_le_bytes());
    let sum = crc64::sum(0, &out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// Libraries of functions as FUNCTION DUMP gives them.
pub fn libraries_payload<'a>(texts: impl Iterator<Item = &'a [u8]>, compress: bool) -> Vec<u8> {
    let mut out = Vec::new();
    texts.for_each(|text| file::write::library(&mut out, text, compress));
    // Older than the newest that is understood, so that Redis 7.4 and what came later takes it.
    out.extend_from_slice(&VERSION_HASH_DEADLINES.to_le_bytes());
    let sum = crc64::sum(0, &out);
    out.extend_from_slice(&sum.to_le_bytes());
    out
}

/// The texts of libraries as FUNCTION RESTORE takes them, or what is wrong.
pub fn payload_libraries(payload: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let parts = checked(payload).map_err(|_| "DUMP payload version or checksum are wrong")?;
    let mut reader = Reader::new(parts.bytes);
    let mut texts = Vec::new();
    while !reader.rest().is_empty() {
        match reader.byte() {
            Ok(file::FUNCTION) => {}
            Ok(file::FUNCTION_EARLY) => return Err("Pre-GA function format not supported"),
            _ => return Err("given type is not a function"),
        }
        let text = reader.string().map_err(|_| "Failed loading library")?;
        texts.push(text.to_vec());
    }
    Ok(texts)
}

/// Bytes of a payload whose trailer is as it should be.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// What comes before the trailer.
    pub bytes: &'a [u8],
    /// It is of Valkey's own version, which no Redis reads.
    pub is_valkey: bool,
}

/// A value as RESTORE takes it: checks the trailer and gives the bytes before it.
pub fn checked(payload: &[u8]) -> Result<Checked<'_>, PayloadError> {
    let (summed, sum) = payload.split_last_chunk::<8>().ok_or(PayloadError::Trailer)?;
    let (value, version) = summed.split_last_chunk::<2>().ok_or(PayloadError::Trailer)?;
    let version = u16::from_le_bytes(*version);
    let is_valkey = version == file::VERSION_VALKEY;
    let is_right = (version <= VERSION_MAX || is_valkey) && crc64::sum(0, summed) == u64::from_le_bytes(*sum);
    if is_right { Ok(Checked { bytes: value, is_valkey }) } else { Err(PayloadError::Trailer) }
}

/// The value that a payload without its trailer holds. Bytes behind it are ignored, as Redis does.
pub fn value<'a>(
    payload: Checked<'a>,
    limits: &Limits,
    hasher: &KeyHasher,
) -> Result<NewValue<'a>, PayloadError> {
    let mut reader = Reader::new(payload.bytes);
    let value_type = hash::exact_type(reader.byte()?, payload.is_valkey);
    if !payload.is_valkey && value_type == hash::TYPE_HASH_DEADLINES_VALKEY {
        // No file and no payload says it so.
        return Err(PayloadError::Format);
    }
    Ok(value::read(value_type, &mut reader, limits, hasher)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::value::TYPE_STRING;
    use super::*;
    use crate::store::{NewString, Str};

    fn dump(bytes: &[u8]) -> Vec<u8> {
        let value = crate::store::parse_int(bytes).map_or(Str::Bytes(bytes), Str::Int);
        payload(&View::String(value), bytes.len(), true)
    }

    /// The bytes of a string.
    fn text(value: NewValue<'_>) -> Option<Vec<u8>> {
        match value {
            NewValue::String(NewString::Int(value)) => Some(value.to_string().into_bytes()),
            NewValue::String(NewString::Bytes(bytes) | NewString::Text(bytes)) => Some(bytes.to_vec()),
            NewValue::String(NewString::Blob(bytes)) => Some(bytes.to_vec()),
            _ => None,
        }
    }

    fn restore(payload: &[u8]) -> Result<Vec<u8>, PayloadError> {
        text(value(checked(payload)?, &Limits::default(), &KeyHasher::new(1))?).ok_or(PayloadError::Format)
    }

    /// What redis-server 7.0 gave for these values.
    const DUMPED_BY_REDIS: [(&[u8], &[u8]); 6] = [
        (b"1", b"\x00\xc0\x01\x0a\x00\x26\x78\xe7\xb6\xd1\x01\x11\xfc"),
        (b"300", b"\x00\xc1\x2c\x01\x0a\x00\x95\x42\x61\xf2\x65\x82\x5c\x10"),
        (b"-70000", b"\x00\xc2\x90\xee\xfe\xff\x0a\x00\x28\x75\xde\x7b\x13\xeb\x28\x00"),
        (b"3000000000", b"\x00\x0a3000000000\x0a\x00\xe7\x07\x6b\x79\x54\xbb\x79\x47"),
        (b"hello", b"\x00\x05hello\x0a\x00\x63\x72\xdf\x76\x65\x34\x20\x0a"),
        (&[b'a'; 30], b"\x00\xc3\x09\x1e\x01aa\xe0\x11\x00\x01aa\x0a\x00\x45\x73\x7c\xbb\x2b\x64\x7b\xbb"),
    ];

    #[test]
    fn what_redis_dumped_is_restored() {
        for (value, dumped) in DUMPED_BY_REDIS {
            assert_eq!(restore(dumped).as_deref(), Ok(value));
        }
    }

    #[test]
    fn a_damaged_or_newer_payload_is_refused() {
        let whole = dump(b"value");
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut damaged = whole.clone();
                damaged[at] ^= 1 << bit;
                assert_eq!(restore(&damaged), Err(PayloadError::Trailer));
            }
            assert_eq!(restore(&whole[..at]), Err(PayloadError::Trailer));
        }
        let mut newer = whole[..whole.len() - TRAILER_BYTES].to_vec();
        newer.extend_from_slice(&(VERSION_MAX + 1).to_le_bytes());
        let sum = crc64::sum(0, &newer);
        newer.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(restore(&newer), Err(PayloadError::Trailer));
    }

    proptest! {
        #[test]
        fn strings_come_back(bytes in prop::collection::vec(0u8..4, 0..20_000), number in any::<i64>()) {
            prop_assert_eq!(restore(&dump(&bytes)), Ok(bytes));
            let text = number.to_string().into_bytes();
            prop_assert_eq!(restore(&dump(&text)), Ok(text));
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0usize..4) {
            let mut value = vec![TYPE_STRING];
            value.extend_from_slice([&b""[..], b"\xc3", b"\x80", b"\x81"][kind]);
            value.extend_from_slice(&bytes);
            let checked = Checked { bytes: &value, is_valkey: false };
            let read = super::value(checked, &Limits::default(), &KeyHasher::new(1));
            if let Some(text) = read.ok().and_then(text) {
                prop_assert!(text.len() <= value.len() * lzf::EXPANSION_MAX);
            }
        }
    }
}
