//! Conditions on what a string is: IFEQ, IFNE, IFDEQ and IFDNE of SET and DELEX; DELEX, DELIFEQ, DIGEST.
//!
//! Design: a value is compared as the bytes that GET replies, or by its digest, the 64 bits of XXH3 in 16 hexadecimal digits.
//! DELEX says that a key is there before it looks at its condition, so that of a missing key no condition is wrong.
//!
//! Costs: a digest reads the whole value; no allocation.

use xxhash_rust::xxh3::xxh3_64;

use super::super::{Args, CommandError, Context, Outcome};
use crate::resp::Reply;
use crate::store::{Entry, Event, KeyMut, Str, Type};

/// Digits of a digest.
const DIGEST_DIGITS: usize = 16;

const DIGEST_LENGTH: CommandError = CommandError::Text("ERR must be exactly 16 hexadecimal characters");
const NOT_STRING: CommandError =
    CommandError::Text("ERR Key should be of string type if conditions are specified");
const UNKNOWN: CommandError = CommandError::Text("ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE");

/// What a value is to be, or not to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    /// It is to be this one; else any other.
    wants_equal: bool,
    with: With<'a>,
}

/// What a value is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With<'a> {
    Value(&'a [u8]),
    /// The digits of a digest, in either case.
    Digest(&'a [u8]),
}

impl<'a> Comparison<'a> {
    /// The comparison that a word of this name makes with what stands behind it.
    pub fn read(word: &[u8], with: &'a [u8]) -> Option<Self> {
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        let (wants_equal, with) = match () {
            () if is("IFEQ") => (true, With::Value(with)),
            () if is("IFNE") => (false, With::Value(with)),
            () if is("IFDEQ") => (true, With::Digest(with)),
            () if is("IFDNE") => (false, With::Digest(with)),
            () => return None,
        };
        Some(Self { wants_equal, with })
    }

    /// Whether it holds where there is no value.
    pub fn holds_for_none(self) -> bool {
        !self.wants_equal
    }

    /// Whether it holds for this value; an error if it compares with what can be no digest.
    pub fn holds(self, value: Str<'_>) -> Result<bool, CommandError> {
        let mut buffer = itoa::Buffer::new();
        let bytes = text_of(value, &mut buffer);
        let is_equal = match self.with {
            With::Value(wanted) => wanted == bytes,
            With::Digest(digits) if digits.len() != DIGEST_DIGITS => return Err(DIGEST_LENGTH),
            With::Digest(digits) => digits.eq_ignore_ascii_case(&digest(bytes)),
        };
        Ok(is_equal == self.wants_equal)
    }
}

/// The bytes of a string.
fn text_of<'v>(value: Str<'v>, buffer: &'v mut itoa::Buffer) -> &'v [u8] {
    match value {
        Str::Int(number) => buffer.format(number).as_bytes(),
        Str::Bytes(bytes) => bytes,
    }
}

/// The digest of bytes, in small hexadecimal digits.
fn digest(bytes: &[u8]) -> [u8; DIGEST_DIGITS] {
    let hash = xxh3_64(bytes);
    std::array::from_fn(|place| {
        let nibble = hash >> (4 * (DIGEST_DIGITS - 1 - place)) & 0xF;
        b"0123456789abcdef"[nibble as usize]
    })
}

/// DIGEST.
pub(super) fn digest_of(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.read_string(args, 1)? {
        Some(value) => reply.bulk(&digest(text_of(value, &mut itoa::Buffer::new()))),
        None => reply.null(),
    }
    Ok(())
}

/// DELEX. Errors in this order: number of arguments, then for keys that exist type, condition, digest.
pub(super) fn delex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const ARITY: CommandError = CommandError::Text("ERR wrong number of arguments for 'delex' command");
    if !matches!(args.len(), 2 | 4) {
        return Err(ARITY);
    }
    let mut place = ctx.write(args, 1);
    let wanted = match place.entry() {
        None => false,
        Some(_) if args.len() == 2 => true,
        Some(entry) if entry.ty() != Type::String => return Err(NOT_STRING),
        Some(entry) => Comparison::read(args.at(2), args.at(3)).ok_or(UNKNOWN)?.holds(entry.string())?,
    };
    delete_if(&mut place, wanted, args, reply);
    Ok(())
}

/// DELIFEQ, Valkey's name for one of these conditions.
pub(super) fn delifeq(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_string(args, 1)?;
    let mut buffer = itoa::Buffer::new();
    let value = place.entry().map(Entry::string);
    let wanted = value.is_some_and(|value| text_of(value, &mut buffer) == args.at(2));
    delete_if(&mut place, wanted, args, reply);
    Ok(())
}

/// Replies whether the key is deleted, which is repeated as DEL.
fn delete_if(place: &mut KeyMut<'_>, wanted: bool, args: &Args<'_>, reply: &mut Reply<'_>) {
    if wanted {
        place.remove();
        place.event(Event::DEL);
        place.repeat_as(|words| {
            words.add("DEL").add(args.at(1));
        });
    }
    reply.integer(i64::from(wanted));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_redis() {
        for (text, digits) in [
            ("Hello world", "b6acb9d84a38ff74"),
            ("hello", "9555e8555c62dcfd"),
            ("", "2d06800538d394c2"),
            ("123", "404a763b3f4c8c9a"),
            ("v8", "0cc76dbb41381419"),
            (
                "v8lf0c11xh8ymlqztfd3eeq16kfn4sspw7fqmnuuq3k3t75em5wdizgcdw7uc26nnf961u2jkfzkjytls2kwlj7626sd",
                "00006c38adf31777",
            ),
        ] {
            assert_eq!(digest(text.as_bytes()), *digits.as_bytes(), "{text}");
        }
    }

    #[test]
    fn numbers_are_compared_as_their_digits() {
        let compare = |word: &str, with: &'static str, value| {
            Comparison::read(word.as_bytes(), with.as_bytes()).expect("a condition").holds(value)
        };
        assert_eq!(compare("ifeq", "12", Str::Int(12)), Ok(true));
        assert_eq!(compare("IFEQ", "012", Str::Int(12)), Ok(false));
        assert_eq!(compare("IFNE", "12", Str::Bytes(b"12")), Ok(false));
        assert_eq!(compare("IFDEQ", "404A763B3F4C8C9A", Str::Int(123)), Ok(true));
        assert_eq!(compare("IFDNE", "404a763b3f4c8c9a", Str::Int(123)), Ok(false));
        assert_eq!(compare("IFDEQ", "404a", Str::Int(123)), Err(DIGEST_LENGTH));
        assert_eq!(Comparison::read(b"IFX", b"1"), None);
    }
}
