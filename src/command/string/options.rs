//! The options of SET, GETEX and MSETEX, and expire times.
//!
//! Design: these commands share one grammar, as in Redis: at most one way to treat the deadline (the same option may be
//! repeated, the last one counts), one condition, and GET. What excludes each other is a syntax error wherever it stands.
//!
//! Not here: what the options mean for the key (`value`).

use super::super::{Args, CommandError};
use super::condition::Comparison;
use crate::resp::number::parse_i64;

/// Whose options are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grammar {
    /// SET: conditions, GET, KEEPTTL and expire times, from argument 3 on.
    Set,
    /// GETEX: PERSIST and expire times, from argument 2 on.
    Getex,
    /// MSETEX: NX, XX, KEEPTTL and expire times, from this argument on.
    Msetex(usize),
}

/// When a key is to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition<'a> {
    /// In any case.
    Always,
    /// NX: if it does not exist.
    Absent,
    /// XX: if it exists.
    Present,
    /// IFEQ and its like: if this holds for what it is.
    Compared(Comparison<'a>),
}

/// What is to become of the deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expiry<'a> {
    /// Nothing was said.
    Unsaid,
    /// KEEPTTL.
    Keep,
    /// PERSIST.
    Persist,
    /// An expire time, to be read in this unit.
    Time(Unit, &'a [u8]),
}

/// How an expire time is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// EX: s from now.
    Seconds,
    /// PX: ms from now.
    Milliseconds,
    /// EXAT: s since 1970.
    UnixSeconds,
    /// PXAT: ms since 1970.
    UnixMilliseconds,
}

/// The options of one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options<'a> {
    /// NX, XX, or what the value is compared with.
    pub condition: Condition<'a>,
    /// GET: reply the old value.
    pub get: bool,
    /// What becomes of the deadline.
    pub expiry: Expiry<'a>,
}

impl<'a> Options<'a> {
    /// Reads all options of the command.
    pub fn parse(args: &Args<'a>, grammar: Grammar) -> Result<Self, CommandError> {
        let (is_set, sets) = (grammar == Grammar::Set, grammar != Grammar::Getex);
        let mut options = Self { condition: Condition::Always, get: false, expiry: Expiry::Unsaid };
        let mut index = match grammar {
            Grammar::Set => 3,
            Grammar::Getex => 2,
            Grammar::Msetex(from) => from,
        };
        while let Some(word) = args.find(index) {
            index += 1;
            if let Some(unit) = Unit::read(word) {
                let text = args.find(index).ok_or(CommandError::Syntax)?;
                index += 1;
                options.expiry = options.expiry.replaced(Expiry::Time(unit, text))?;
            } else if sets && word.eq_ignore_ascii_case(b"KEEPTTL") {
                options.expiry = options.expiry.replaced(Expiry::Keep)?;
            } else if !sets && word.eq_ignore_ascii_case(b"PERSIST") {
                options.expiry = options.expiry.replaced(Expiry::Persist)?;
            } else if is_set && word.eq_ignore_ascii_case(b"GET") {
                options.get = true;
            } else if let Some(condition) = Condition::read(word, args.find(index)).filter(|_| sets) {
                index += usize::from(matches!(condition, Condition::Compared(_)));
                options.condition = options.condition.replaced(condition, is_set)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }
}

impl<'a> Condition<'a> {
    /// The condition that a word begins, which may be about the word behind it.
    fn read(word: &[u8], next: Option<&'a [u8]>) -> Option<Self> {
        if word.eq_ignore_ascii_case(b"NX") {
            return Some(Self::Absent);
        } else if word.eq_ignore_ascii_case(b"XX") {
            return Some(Self::Present);
        }
        Comparison::read(word, next?).map(Self::Compared)
    }

    /// The later one, which only NX and XX may stand for again.
    fn replaced(self, later: Self, compares: bool) -> Result<Self, CommandError> {
        match (self, later) {
            (_, Self::Compared(_)) if !compares => Err(CommandError::Syntax),
            (Self::Always, _) | (Self::Absent, Self::Absent) | (Self::Present, Self::Present) => Ok(later),
            _ => Err(CommandError::Syntax),
        }
    }
}

impl<'a> Expiry<'a> {
    /// The later option, unless it contradicts the earlier one.
    fn replaced(self, later: Expiry<'a>) -> Result<Self, CommandError> {
        match (self, later) {
            (Expiry::Unsaid, _) => Ok(later),
            (Expiry::Time(before, _), Expiry::Time(unit, _)) if before == unit => Ok(later),
            _ if self == later => Ok(later),
            _ => Err(CommandError::Syntax),
        }
    }
}

impl Unit {
    pub fn read(word: &[u8]) -> Option<Self> {
        let units = [
            (&b"EX"[..], Self::Seconds),
            (b"PX", Self::Milliseconds),
            (b"EXAT", Self::UnixSeconds),
            (b"PXAT", Self::UnixMilliseconds),
        ];
        units.into_iter().find_map(|(name, unit)| word.eq_ignore_ascii_case(name).then_some(unit))
    }

    /// The moment that `text` says, ms since 1970. Zero, negative and overflowing times are `invalid`.
    pub fn deadline(self, text: &[u8], now_ms: u64, invalid: &'static str) -> Result<u64, CommandError> {
        let invalid = CommandError::Text(invalid);
        let number = parse_i64(text).ok_or(CommandError::NotInteger)?;
        if number <= 0 {
            return Err(invalid);
        }
        let ms = match self {
            Self::Seconds | Self::UnixSeconds => number.checked_mul(1000).ok_or(invalid)?,
            Self::Milliseconds | Self::UnixMilliseconds => number,
        };
        let ms = match self {
            Self::Seconds | Self::Milliseconds => ms.checked_add_unsigned(now_ms).ok_or(invalid)?,
            Self::UnixSeconds | Self::UnixMilliseconds => ms,
        };
        Ok(ms.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;

    fn parsed(text: &str, grammar: Grammar) -> Result<(String, bool, String), CommandError> {
        let mut buffer = Vec::new();
        let mut spans = Vec::new();
        for word in text.split(' ') {
            spans.push(Span { start: buffer.len() as u32, len: word.len() as u32 });
            buffer.extend_from_slice(word.as_bytes());
        }
        let args = Args::new(&buffer, &spans, &[]);
        let options = Options::parse(&args, grammar)?;
        let expiry = match options.expiry {
            Expiry::Unsaid => String::new(),
            Expiry::Keep => "keep".to_owned(),
            Expiry::Persist => "persist".to_owned(),
            Expiry::Time(unit, text) => format!("{unit:?} {}", String::from_utf8_lossy(text)),
        };
        Ok((format!("{:?}", options.condition), options.get, expiry))
    }

    #[test]
    fn options_combine_in_any_order() {
        let set = |text: &str| parsed(&format!("SET k v {text}"), Grammar::Set).expect("valid");
        let of = |condition: &str, get, expiry: &str| (condition.to_owned(), get, expiry.to_owned());
        assert_eq!(set("nx get ex 10"), of("Absent", true, "Seconds 10"));
        assert_eq!(set("PXAT 5 Get XX"), of("Present", true, "UnixMilliseconds 5"));
        assert_eq!(set("KeepTTL NX NX KEEPTTL"), of("Absent", false, "keep"));
        let compared = Comparison::read(b"IFEQ", b"nx").map(Condition::Compared).expect("a condition");
        assert_eq!(set("ifeq nx PX 5 GET"), of(&format!("{compared:?}"), true, "Milliseconds 5"));
        assert_eq!(set("EX 1 EX EX").2, "Seconds EX");
        let getex = parsed("GETEX k PERSIST persist", Grammar::Getex).expect("valid");
        assert_eq!(getex, of("Always", false, "persist"));
        let msetex = parsed("MSETEX 1 k v XX KEEPTTL", Grammar::Msetex(4)).expect("valid");
        assert_eq!(msetex, of("Present", false, "keep"));
    }

    #[test]
    fn contradictions_are_syntax_errors() {
        for text in [
            "NX XX",
            "XX NX",
            "EX 1 PX 1",
            "PX 1 EX 1",
            "EX 1 EXAT 1",
            "PX 1 PXAT 1",
            "KEEPTTL EX 1",
            "EX 1 KEEPTTL",
            "EX",
            "PX",
            "EXAT",
            "PXAT",
            "PERSIST",
            "FOO",
            "NXX",
            "EX 1 1",
            "IFEQ",
            "IFEQ a NX",
            "NX IFNE a",
            "IFEQ a IFEQ a",
            "IFEQ a IFDNE b",
        ] {
            let result = parsed(&format!("SET k v {text}"), Grammar::Set);
            assert_eq!(result, Err(CommandError::Syntax), "{text}");
        }
        for text in ["NX", "XX", "GET", "KEEPTTL", "EX 1 PERSIST", "PERSIST EX 1", "EX", "EX 1 PX 1"] {
            let result = parsed(&format!("GETEX k {text}"), Grammar::Getex);
            assert_eq!(result, Err(CommandError::Syntax), "{text}");
        }
        for text in ["NX XX", "GET", "IFEQ a", "PERSIST", "EX 1 PX 1", "KEEPTTL EX 1"] {
            let result = parsed(&format!("MSETEX 1 k v {text}"), Grammar::Msetex(4));
            assert_eq!(result, Err(CommandError::Syntax), "{text}");
        }
    }

    #[test]
    fn expire_times_overflow_as_errors() {
        let now = 1_700_000_000_000;
        let invalid = Err(CommandError::Text("bad"));
        let at = |unit: Unit, text: &str| unit.deadline(text.as_bytes(), now, "bad");
        assert_eq!(at(Unit::Seconds, "10"), Ok(now + 10_000));
        assert_eq!(at(Unit::Milliseconds, "10"), Ok(now + 10));
        assert_eq!(at(Unit::UnixSeconds, "10"), Ok(10_000));
        assert_eq!(at(Unit::UnixMilliseconds, "9223372036854775807"), Ok(i64::MAX as u64));
        for unit in [Unit::Seconds, Unit::Milliseconds, Unit::UnixSeconds, Unit::UnixMilliseconds] {
            assert_eq!(at(unit, "0"), invalid);
            assert_eq!(at(unit, "-1"), invalid);
            assert_eq!(at(unit, "1.5"), Err(CommandError::NotInteger));
            assert_eq!(at(unit, "9223372036854775808"), Err(CommandError::NotInteger));
        }
        assert_eq!(at(Unit::Seconds, "9223372036854775"), invalid);
        assert_eq!(at(Unit::Seconds, "9223372036854776"), invalid);
        assert_eq!(at(Unit::UnixSeconds, "9223372036854775"), Ok(9_223_372_036_854_775_000));
        assert_eq!(at(Unit::UnixSeconds, "9223372036854776"), invalid);
        assert_eq!(at(Unit::Milliseconds, "9223372036854775807"), invalid);
    }
}
