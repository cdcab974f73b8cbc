//! Reads ziplists: how Redis before 7.0 packed small collections.
//!
//! ```text
//! | bytes, u32 | last entry, u32 | count, u16 | entry ... | ff |        numbers little end first
//! entry    | length of the one before: 1 byte, or fe and u32 | head | data |
//! head     00llllll data              string of up to 63 bytes
//!          01llllll l data            string of up to 16383 bytes, length big end first
//!          10000000 llll data         string, length big end first
//!          c0, d0, e0, f0, fe         integer of 2, 4, 8, 3, 1 bytes
//!          f1 .. fd                   the integers 0 to 12
//! ```
//!
//! Invariants: no input panics; a ziplist is refused if it is not whole.

use super::decode::Malformed;
use crate::store::NewItem;

const HEADER_BYTES: usize = 10;
const END: u8 = 0xff;
const WIDE_PREVIOUS: u8 = 0xfe;
/// In the header: there are more entries than its field can say.
const COUNT_UNKNOWN: u16 = u16::MAX;

/// Calls back with each element; how many there are.
pub fn each<'a>(ziplist: &'a [u8], mut found: impl FnMut(NewItem<'a>)) -> Result<usize, Malformed> {
    let (header, mut rest) = ziplist.split_first_chunk::<HEADER_BYTES>().ok_or(Malformed)?;
    let bytes = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
    if bytes as usize != ziplist.len() {
        return Err(Malformed);
    }
    let (mut count, mut before) = (0, 0);
    while rest.first() != Some(&END) {
        let start = rest.len();
        let said = match byte(&mut rest)? {
            WIDE_PREVIOUS => u32::from_le_bytes(array(&mut rest)?),
            short => u32::from(short),
        };
        if said as usize != before {
            return Err(Malformed);
        }
        found(entry(&mut rest)?);
        before = start - rest.len();
        count += 1;
    }
    let said = u16::from_le_bytes([header[8], header[9]]);
    let whole = rest.len() == 1 && (said == COUNT_UNKNOWN || usize::from(said) == count);
    if whole { Ok(count) } else { Err(Malformed) }
}

fn entry<'a>(rest: &mut &'a [u8]) -> Result<NewItem<'a>, Malformed> {
    let head = byte(rest)?;
    let len = match head {
        0..0x40 => usize::from(head),
        0x40..0x80 => usize::from(head & 63) << 8 | usize::from(byte(rest)?),
        0x80 => u32::from_be_bytes(array(rest)?) as usize,
        0xc0 => return Ok(NewItem::Int(i16::from_le_bytes(array(rest)?).into())),
        0xd0 => return Ok(NewItem::Int(i32::from_le_bytes(array(rest)?).into())),
        0xe0 => return Ok(NewItem::Int(i64::from_le_bytes(array(rest)?))),
        0xf0 => {
            let [low, middle, high] = array(rest)?;
            return Ok(NewItem::Int((i32::from_le_bytes([0, low, middle, high]) >> 8).into()));
        }
        0xfe => return Ok(NewItem::Int(i8::from_le_bytes(array(rest)?).into())),
        0xf1..=0xfd => return Ok(NewItem::Int(i64::from(head) - 0xf1)),
        _ => return Err(Malformed),
    };
    let (data, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(NewItem::Bytes(data))
}

fn byte(rest: &mut &[u8]) -> Result<u8, Malformed> {
    array(rest).map(|[byte]| byte)
}

fn array<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (bytes, behind) = rest.split_first_chunk::<N>().ok_or(Malformed)?;
    *rest = behind;
    Ok(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(ziplist: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut items = Vec::new();
        each(ziplist, |item| items.push(String::from_utf8_lossy(&item.to_text()).into_owned()))?;
        Ok(items)
    }

    /// A ziplist of heads with their data.
    fn ziplist(entries: &[&[u8]]) -> Vec<u8> {
        let mut body = Vec::new();
        let (mut before, mut last) = (0, HEADER_BYTES);
        for entry in entries {
            last = HEADER_BYTES + body.len();
            if before < 254 {
                body.push(before as u8);
            } else {
                body.push(WIDE_PREVIOUS);
                body.extend_from_slice(&(before as u32).to_le_bytes());
            }
            body.extend_from_slice(entry);
            before = HEADER_BYTES + body.len() - last;
        }
        let bytes = HEADER_BYTES + body.len() + 1;
        let mut out = [(bytes as u32).to_le_bytes(), (last as u32).to_le_bytes()].concat();
        out.extend_from_slice(&(entries.len() as u16).to_le_bytes());
        out.extend_from_slice(&body);
        out.push(END);
        out
    }

    #[test]
    fn entries_of_all_kinds_are_read() {
        let long = [&[0x41, 0x2c][..], &[b'y'; 300]].concat();
        let entries: [&[u8]; 11] = [
            b"\x03abc",
            b"\x00",
            &long,
            b"\x80\x00\x00\x00\x01z",
            b"\xf1",
            b"\xfd",
            b"\xfe\xff",
            b"\xc0\x00\x80",
            b"\xf0\x00\x00\x80",
            b"\xd0\x00\x00\x00\x80",
            b"\xe0\x00\x00\x00\x00\x00\x00\x00\x80",
        ];
        let whole = ziplist(&entries);
        let y = "y".repeat(300);
        let expected = [
            "abc",
            "",
            &y,
            "z",
            "0",
            "12",
            "-1",
            "-32768",
            "-8388608",
            "-2147483648",
            "-9223372036854775808",
        ];
        assert_eq!(read(&whole).as_deref(), Ok(&expected.map(str::to_owned)[..]));
        assert_eq!(read(&ziplist(&[])), Ok(Vec::new()));
        for at in 0..whole.len() {
            assert_eq!(read(&whole[..at]), Err(Malformed));
        }
    }

    #[test]
    fn damage_is_survived() {
        let whole = ziplist(&[b"\x03abc", b"\xc0\x00\x80", b"\x80\x00\x00\x00\x01z"]);
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut damaged = whole.clone();
                damaged[at] = byte;
                // What it says is not known; that it does not panic is.
                let _: Result<Vec<String>, Malformed> = read(&damaged);
            }
        }
    }
}
