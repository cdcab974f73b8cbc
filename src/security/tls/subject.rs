//! What is read of a certificate here: the subject's common name, and the public key.
//!
//! Design: a walk over the DER of RFC 5280, 4.1, which goes into nothing it need not. Whether the certificate is a good one has
//! been judged before, by `webpki`.
//!
//! ```text
//!   SEQUENCE { tbsCertificate SEQUENCE { [0] version?, serial, signature, issuer, validity, subject, publicKey, ... }, ... }
//!   subject: SEQUENCE of SET of SEQUENCE { OBJECT IDENTIFIER, string }
//! ```

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const VERSION: u8 = 0xA0;
/// UTF8String, PrintableString, TeletexString and IA5String, whose bytes are taken as they are.
const STRINGS: [u8; 4] = [0x0C, 0x13, 0x14, 0x16];
/// 2.5.4.3
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
/// serial, signature, issuer, validity.
const BEFORE_SUBJECT: usize = 4;

/// The subject's common name: the last, if there are several. None that has a zero byte, since others would read less of it.
pub fn common_name(certificate: &[u8]) -> Option<&[u8]> {
    let mut names = content(subject_and_key(certificate)?.0, SEQUENCE)?;
    let mut found = None;
    while !names.is_empty() {
        let mut set = content(next(&mut names)?, SET)?;
        while !set.is_empty() {
            let mut attribute = content(next(&mut set)?, SEQUENCE)?;
            let is_common_name = content(next(&mut attribute)?, OBJECT_IDENTIFIER)? == COMMON_NAME;
            let value = next(&mut attribute)?;
            if is_common_name {
                found = STRINGS.iter().find_map(|tag| content(value, *tag));
            }
        }
    }
    found.filter(|name| !name.is_empty() && !name.contains(&0))
}

/// The public key, with what kind it is.
pub(super) fn public_key(certificate: &[u8]) -> Option<&[u8]> {
    Some(subject_and_key(certificate)?.1)
}

fn subject_and_key(mut certificate: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut outer = content(next(&mut certificate)?, SEQUENCE)?;
    let mut fields = content(next(&mut outer)?, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        next(&mut fields)?;
    }
    for _ in 0..BEFORE_SUBJECT {
        next(&mut fields)?;
    }
    Some((next(&mut fields)?, next(&mut fields)?))
}

/// Takes the next element, with its tag and length.
fn next<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (header_bytes, content_bytes) = measure(rest)?;
    let (element, behind) = rest.split_at_checked(header_bytes.checked_add(content_bytes)?)?;
    *rest = behind;
    Some(element)
}

/// What an element holds, if it is of this kind.
fn content(element: &[u8], tag: u8) -> Option<&[u8]> {
    let (header_bytes, _) = measure(element)?;
    (element[0] == tag).then(|| &element[header_bytes..])
}

/// The lengths of the header and the content of the element that begins here.
fn measure(bytes: &[u8]) -> Option<(usize, usize)> {
    let length = *bytes.get(1)?;
    if length < 0x80 {
        return Some((2, length.into()));
    }
    let count = usize::from(length & 0x7F);
    let digits = bytes.get(2..2 + count).filter(|digits| (1..=4).contains(&digits.len()))?;
    Some((2 + count, digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit))))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2.5.4.10 and 2.5.4.6.
    const ORGANIZATION: &[u8] = &[0x55, 0x04, 0x0A];
    const COUNTRY: &[u8] = &[0x55, 0x04, 0x06];
    const INTEGER: u8 = 0x02;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let len = u16::try_from(content.len()).expect("it is short").to_be_bytes();
        let header = match content.len() {
            0..0x80 => vec![tag, len[1]],
            0x80..0x100 => vec![tag, 0x81, len[1]],
            _ => vec![tag, 0x82, len[0], len[1]],
        };
        [header, content].concat()
    }

    /// What of a certificate is looked at, with this key.
    fn certificate_with(names: &[(&[u8], &str)], key: &[u8]) -> Vec<u8> {
        let sets = names.iter().map(|(kind, name)| {
            let attribute = [der(OBJECT_IDENTIFIER, &[kind]), der(STRINGS[0], &[name.as_bytes()])];
            der(SET, &[&der(SEQUENCE, &[&attribute[0], &attribute[1]])])
        });
        let subject = der(SEQUENCE, &[&sets.collect::<Vec<_>>().concat()]);
        let version = der(VERSION, &[&der(INTEGER, &[&[2]])]);
        let (serial, empty) = (der(INTEGER, &[&[1]]), der(SEQUENCE, &[]));
        let to_be_signed = der(SEQUENCE, &[&version, &serial, &empty, &empty, &empty, &subject, key]);
        der(SEQUENCE, &[&to_be_signed])
    }

    fn certificate(names: &[(&[u8], &str)]) -> Vec<u8> {
        certificate_with(names, &der(SEQUENCE, &[b"key"]))
    }

    #[test]
    fn public_key_is_found_behind_the_subject() {
        let key = der(SEQUENCE, &[b"key"]);
        assert_eq!(public_key(&certificate_with(&[(COMMON_NAME, "ada")], &key)), Some(&key[..]));
        assert_eq!(public_key(b"no certificate"), None);
    }

    #[test]
    fn common_name_is_found_among_others() {
        let others = [(ORGANIZATION, "Torc"), (COMMON_NAME, "ada"), (COUNTRY, "DE")];
        assert_eq!(common_name(&certificate(&others)), Some(&b"ada"[..]));
        assert_eq!(common_name(&certificate(&[(ORGANIZATION, "Torc")])), None);
        assert_eq!(common_name(&certificate(&[])), None);
        assert_eq!(common_name(b""), None);
        let long = "n".repeat(300);
        assert_eq!(common_name(&certificate(&[(COMMON_NAME, &long)])), Some(long.as_bytes()));
    }

    /// A name was cut at its zero byte elsewhere, and let in whoever the authority had named `admin\0x` as `admin`.
    #[test]
    fn common_name_with_a_zero_byte_is_none() {
        assert_eq!(common_name(&certificate(&[(COMMON_NAME, "admin\0x")])), None);
    }

    proptest! {
        #[test]
        fn whatever_is_no_certificate_is_read_without_harm(
            bytes in prop::collection::vec(any::<u8>(), 0..64),
            at in 0..400_usize,
            byte: u8,
        ) {
            let _either = common_name(&bytes);
            let mut certificate = certificate(&[(COMMON_NAME, "ada")]);
            let at = at % certificate.len();
            certificate[at] = byte;
            let _either = common_name(&certificate);
            let _either = public_key(&certificate[..at]);
        }
    }
}
