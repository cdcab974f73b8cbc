//! Passwords, of which only the SHA-256 is kept.

use std::fmt;

use super::domain::{Domain, FileLines, Mode, Reason, Setting, single};
use super::split::quote;
use sha2::{Digest as _, Sha256};

/// The SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Of a password.
    pub fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Reads what `Display` writes; Redis takes lower case only.
    pub fn from_hex(text: &[u8]) -> Option<Self> {
        let mut hash = [0; 32];
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        if text.len() != 2 * hash.len() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = value(digits[0])? << 4 | value(digits[1])?;
        }
        Some(Self(hash))
    }

    /// Compares without telling by its duration where the two differ.
    pub fn equals(self, other: Self) -> bool {
        let bits =
            self.0.iter().zip(other.0).fold(0, |bits, (one, two)| std::hint::black_box(bits | (one ^ two)));
        bits == 0
    }

    /// Whether any of `known` is the hash of this password. All are looked at, however many there are before the right one; and
    /// if there are none, it is hashed all the same.
    pub fn is_known(password: &[u8], known: &[Self]) -> bool {
        let given = std::hint::black_box(Self::of(password));
        known.iter().fold(false, |found, hash| found | hash.equals(given))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("#...")
    }
}

/// The password of the admin port, if it has one: given as it is, or as its hash, `#` and 64 hexadecimal digits. What was given as it
/// is becomes its hash at once, so that nothing shows it or writes it to a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AdminPassword(pub Option<Hash>);

impl Setting for AdminPassword {
    fn parse(&mut self, args: &[Vec<u8>], _: &Domain, _: Mode) -> Result<(), Reason> {
        self.0 = match single(args)? {
            b"" => None,
            [b'#', digits @ ..] => Some(Hash::from_hex(digits).ok_or(
                "a password that begins with # is taken for a SHA-256, and this has not 64 digits of 0-9a-f",
            )?),
            password => Some(Hash::of(password)),
        };
        Ok(())
    }

    fn format(&self, _: &Domain) -> Vec<u8> {
        self.0.map_or_else(Vec::new, |hash| format!("#{hash}").into_bytes())
    }

    fn file_lines(&self, domain: &Domain, default: &Self) -> FileLines {
        vec![(quote(&self.format(domain)), self != default)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_password_is_kept_as_its_hash() {
        let read = |text: &str| {
            let mut password = AdminPassword::default();
            password.parse(&[text.into()], &Domain::Text, Mode::Set).map(|()| password)
        };
        let shown =
            |password: AdminPassword| String::from_utf8(password.format(&Domain::Text)).expect("ASCII");
        let secret = read("secret").expect("a password");
        assert_eq!(shown(secret), format!("#{}", Hash::of(b"secret")));
        assert_eq!(read(&shown(secret)), Ok(secret));
        assert_eq!(read(""), Ok(AdminPassword(None)));
        assert_eq!(shown(AdminPassword(None)), "");
        assert!(read("#12").is_err());
    }

    #[test]
    fn hashes_are_compared_in_full() {
        let secret = Hash::of(b"secret");
        assert!(Hash::is_known(b"secret", &[Hash::of(b"other"), secret]));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret", b"secretsecret"] {
            assert!(!Hash::is_known(wrong, &[secret]));
        }
        assert!(!Hash::is_known(b"", &[]));
        for byte in 0..32 {
            let mut other = secret;
            other.0[byte] ^= 1;
            assert!(!other.equals(secret) && secret.equals(secret));
        }
        assert!(!format!("{secret:?}").contains("2bb80d"), "a hash is not shown");
    }

    #[test]
    fn hexadecimal_digits_are_read_as_they_are_written() {
        let text = Hash::of(b"foo").to_string();
        assert_eq!(text, "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae");
        assert_eq!(Hash::from_hex(text.as_bytes()), Some(Hash::of(b"foo")));
        for bad in [text[1..].to_owned(), text.to_uppercase(), format!("{text}0"), text.replace('2', "g")] {
            assert_eq!(Hash::from_hex(bad.as_bytes()), None, "{bad}");
        }
    }
}
