//! Writes lengths and strings as RDB has them.
//!
//! ```text
//! 00LLLLLL | 01LLLLLL +1 | 80 +4 big end first | 81 +8      a length; that many bytes follow
//! c0 +1 | c1 +2 | c2 +4                                     a string that is an integer, little end first
//! c3 length length ...                                      a string compressed by LZF: its length, and that before
//! ```

use super::lzf;

/// From this length on, what is written of a value is handed on before more is added.
const PIECE_BYTES: usize = 64 << 10;

/// Takes what has been written so far, so that a large value is never in memory a second time.
pub trait Sink {
    /// Takes what `out` holds, and leaves it empty.
    fn take(&mut self, out: &mut Vec<u8>);
}

/// Leaves everything where it is: for what is written as a whole.
pub struct Whole;

impl Sink for Whole {
    fn take(&mut self, _: &mut Vec<u8>) {}
}

/// Between two elements of a value: what is written goes on its way if it has become much.
#[inline]
pub fn hand_on(out: &mut Vec<u8>, sink: &mut dyn Sink) {
    if out.len() >= PIECE_BYTES {
        sink.take(out);
    }
}

/// Longest encoding of a length.
pub const LENGTH_BYTES_MAX: usize = 9;
/// Longer strings are not tried as integers: none that fits 32 bits is longer.
const INTEGER_BYTES_MAX: usize = 11;
/// Strings up to this length are never compressed.
const PLAIN_BYTES_MAX: usize = 20;
/// Compression must save at least this.
const SAVED_BYTES_MIN: usize = 4;

/// A length.
pub fn length(out: &mut Vec<u8>, len: u64) {
    if len < 1 << 6 {
        out.push(len as u8);
    } else if len < 1 << 14 {
        out.extend_from_slice(&(1 << 14 | len as u16).to_be_bytes());
    } else if let Ok(len) = u32::try_from(len) {
        out.push(0x80);
        out.extend_from_slice(&len.to_be_bytes());
    } else {
        out.push(0x81);
        out.extend_from_slice(&len.to_be_bytes());
    }
}

/// A string; one that is a canonical integer is written as such, a compressible one compressed if `compress` says so.
pub fn string(out: &mut Vec<u8>, bytes: &[u8], compress: bool) {
    if bytes.len() <= INTEGER_BYTES_MAX
        && let Some(value) = crate::resp::number::parse_i64(bytes)
        && let Ok(value) = i32::try_from(value)
    {
        return small_integer(out, value);
    }
    if compress && bytes.len() > PLAIN_BYTES_MAX && compressed(out, bytes) {
        return;
    }
    length(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A string that is an integer.
pub fn integer(out: &mut Vec<u8>, value: i64) {
    match i32::try_from(value) {
        Ok(value) => small_integer(out, value),
        Err(_) => {
            let mut digits = itoa::Buffer::new();
            let digits = digits.format(value).as_bytes();
            length(out, digits.len() as u64);
            out.extend_from_slice(digits);
        }
    }
}

fn small_integer(out: &mut Vec<u8>, value: i32) {
    if let Ok(value) = i8::try_from(value) {
        out.push(0xc0);
        out.extend_from_slice(&value.to_le_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xc1);
        out.extend_from_slice(&value.to_le_bytes());
    } else {
        out.push(0xc2);
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Writes a string compressed, if that is shorter; whether it did.
fn compressed(out: &mut Vec<u8>, bytes: &[u8]) -> bool {
    // The compressed length comes first, so the data is written behind room for both lengths and moved up.
    let start = out.len();
    let data = start + 1 + 2 * LENGTH_BYTES_MAX;
    out.resize(data, 0);
    let Some(written) = lzf::compress(bytes, bytes.len() - SAVED_BYTES_MIN, out) else {
        out.truncate(start);
        return false;
    };
    let mut header = Vec::with_capacity(data - start);
    header.push(0xc3);
    length(&mut header, written as u64);
    length(&mut header, bytes.len() as u64);
    out.copy_within(data.., start + header.len());
    out[start..start + header.len()].copy_from_slice(&header);
    out.truncate(start + header.len() + written);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out);
        out
    }

    #[test]
    fn lengths_take_the_shortest_form() {
        for (len, bytes) in [
            (0, &b"\x00"[..]),
            (63, b"\x3f"),
            (64, b"\x40\x40"),
            (16_383, b"\x7f\xff"),
            (16_384, b"\x80\x00\x00\x40\x00"),
            (u64::from(u32::MAX), b"\x80\xff\xff\xff\xff"),
            (1 << 32, b"\x81\x00\x00\x00\x01\x00\x00\x00\x00"),
        ] {
            assert_eq!(written(|out| length(out, len)), bytes);
        }
    }

    #[test]
    fn integers_take_the_shortest_form() {
        for (value, bytes) in [
            (0, &b"\xc0\x00"[..]),
            (-128, b"\xc0\x80"),
            (128, b"\xc1\x80\x00"),
            (-32_768, b"\xc1\x00\x80"),
            (32_768, b"\xc2\x00\x80\x00\x00"),
            (i64::from(i32::MIN), b"\xc2\x00\x00\x00\x80"),
            (2_147_483_648, b"\x0a2147483648"),
        ] {
            assert_eq!(written(|out| integer(out, value)), bytes);
            assert_eq!(written(|out| string(out, value.to_string().as_bytes(), true)), bytes);
        }
        for text in ["", "-0", "01", "+1", " 1", "1a"] {
            assert_eq!(written(|out| string(out, text.as_bytes(), true))[0], text.len() as u8);
        }
    }

    #[test]
    fn strings_are_compressed_where_it_pays() {
        assert_eq!(written(|out| string(out, &[b'a'; 20], true))[0], 20);
        assert_eq!(written(|out| string(out, &[b'a'; 21], true))[0], 0xc3);
        assert_eq!(written(|out| string(out, &[b'a'; 21], false))[0], 21);
        assert_eq!(written(|out| string(out, b"abcdefghijklmnopqrstuvwxyz", true))[0], 26);
    }
}
