//! How the ends of ranges are written: `(1.5`, `-inf` for scores; `[a`, `(a`, `-`, `+` for members.

use super::super::CommandError;
use crate::command::args::c_string;
use crate::store::{LexBound, LexRange, ScoreBound, ScoreRange};

const NOT_A_SCORE: CommandError = CommandError::Text("ERR min or max is not a float");
const NOT_LEX: CommandError = CommandError::Text("ERR min or max not valid string range item");

/// The range of scores between two arguments.
pub(super) fn score_range(min: &[u8], max: &[u8]) -> Result<ScoreRange, CommandError> {
    let range = score_bound(min).zip(score_bound(max)).map(|(min, max)| ScoreRange { min, max });
    range.ok_or(NOT_A_SCORE)
}

/// Redis reads a number up to the first zero byte here, and takes nothing for 0. What no double can hold is infinite or zero.
fn score_bound(text: &[u8]) -> Option<ScoreBound> {
    let text = c_string(text);
    let (is_exclusive, number) = match text.strip_prefix(b"(") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    if number.is_empty() {
        return Some(ScoreBound { score: 0.0, is_exclusive });
    }
    let score: f64 = str::from_utf8(number).ok()?.parse().ok()?;
    (!score.is_nan()).then_some(ScoreBound { score, is_exclusive })
}

/// The range of members between two arguments.
pub(super) fn lex_range<'a>(min: &'a [u8], max: &'a [u8]) -> Result<LexRange<'a>, CommandError> {
    let range = lex_bound(min).zip(lex_bound(max)).map(|(min, max)| LexRange { min, max });
    range.ok_or(NOT_LEX)
}

fn lex_bound(text: &[u8]) -> Option<LexBound<'_>> {
    match text {
        b"-" => Some(LexBound::First),
        b"+" => Some(LexBound::Last),
        [b'[', rest @ ..] => Some(LexBound::Inclusive(rest)),
        [b'(', rest @ ..] => Some(LexBound::Exclusive(rest)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_read_as_redis_reads_them() {
        for (text, score, is_exclusive) in [
            (&b""[..], 0.0, false),
            (b"(", 0.0, true),
            (b"1\0x", 1.0, false),
            (b"(+5", 5.0, true),
            (b"1e400", f64::INFINITY, false),
            (b"-1e400", f64::NEG_INFINITY, false),
            (b"1e-400", 0.0, false),
            (b"(inf", f64::INFINITY, true),
            (b".5", 0.5, false),
            (b"5.", 5.0, false),
        ] {
            assert_eq!(score_bound(text), Some(ScoreBound { score, is_exclusive }), "{text:?}");
        }
        for text in [&b" 1"[..], b"((1", b"1 ", b"nan", b"0x10", b"1e", b"+-1", b".", b"1_0", b"-infin"] {
            assert_eq!(score_bound(text), None, "{text:?}");
        }
        for text in [&b""[..], b"a", b"--", b"+x"] {
            assert_eq!(lex_bound(text), None, "{text:?}");
        }
    }
}
