//! Reads zipmaps: how Redis before 2.6 packed small hashes.
//!
//! ```text
//! | count | field ... | ff |
//! field    | length | name | length | room behind the value | value | room |
//! length   1 byte up to fd; or fe and u32, little end first
//! ```
//!
//! The count is right up to fd; beyond it says nothing.
//!
//! Invariants: no input panics; a zipmap is refused if it is not whole.

use super::decode::Malformed;

const END: u8 = 0xff;
const WIDE: u8 = 0xfe;

/// Calls back with each field and its value; how many there are.
pub fn each<'a>(zipmap: &'a [u8], mut found: impl FnMut(&'a [u8], &'a [u8])) -> Result<usize, Malformed> {
    let (said, mut rest) = zipmap.split_first().ok_or(Malformed)?;
    let mut count = 0;
    while rest.first() != Some(&END) {
        let name_len = length(&mut rest)?;
        let name = take(&mut rest, name_len)?;
        let value_len = length(&mut rest)?;
        let room = usize::from(take(&mut rest, 1)?[0]);
        let value = take(&mut rest, value_len)?;
        take(&mut rest, room)?;
        found(name, value);
        count += 1;
    }
    let is_whole = rest.len() == 1 && (*said >= WIDE || usize::from(*said) == count);
    if is_whole { Ok(count) } else { Err(Malformed) }
}

/// A length. One that fits a byte is written in one.
fn length(rest: &mut &[u8]) -> Result<usize, Malformed> {
    match take(rest, 1)?[0] {
        WIDE => {
            let bytes = take(rest, 4)?.try_into().expect("a slice of 4 bytes");
            let len = u32::from_le_bytes(bytes);
            if len < u32::from(WIDE) { Err(Malformed) } else { Ok(len as usize) }
        }
        END => Err(Malformed),
        len => Ok(usize::from(len)),
    }
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], Malformed> {
    let (taken, behind) = rest.split_at_checked(len).ok_or(Malformed)?;
    *rest = behind;
    Ok(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

    fn read(zipmap: &[u8]) -> Result<Fields<'_>, Malformed> {
        let mut fields = Vec::new();
        each(zipmap, |name, value| fields.push((name, value)))?;
        Ok(fields)
    }

    #[test]
    fn fields_of_all_kinds_are_read() {
        let long = [b'y'; 300];
        let mut zipmap = b"\x03\x01a\x02\x00bc\x00\x01\x03z!!!".to_vec();
        zipmap.extend_from_slice(b"\x02no\xfe\x2c\x01\x00\x00\x00");
        zipmap.extend_from_slice(&long);
        zipmap.push(END);
        let expected: [(&[u8], &[u8]); 3] = [(b"a", b"bc"), (b"", b"z"), (b"no", &long)];
        assert_eq!(read(&zipmap).as_deref(), Ok(&expected[..]));
        for at in 0..zipmap.len() {
            assert_eq!(read(&zipmap[..at]), Err(Malformed));
        }
    }

    #[test]
    fn damage_is_refused() {
        for bytes in [
            &b""[..],
            b"\x02\x01a\x01\x00b\xff",
            b"\x01\x01a\x01\x00b\xff\xff",
            b"\x01\xfe\x01\x00\x00\x00a\x01\x00b\xff",
            b"\x01\x01a\x01\x05b\xff",
        ] {
            assert_eq!(read(bytes), Err(Malformed), "{bytes:?}");
        }
    }
}
