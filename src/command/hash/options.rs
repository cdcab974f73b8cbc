//! Words that several commands about fields with deadlines understand.

use std::ops::Range;

use super::super::{Args, CommandError};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// The latest deadline that a command can set.
const DEADLINE_MAX: u64 = (1 << 46) - 1;

const NO_FIELDS: CommandError =
    CommandError::Text("ERR Mandatory argument FIELDS is missing or not at the right position");
const NOT_POSITIVE: CommandError = CommandError::Text("ERR Number of fields must be a positive integer");
const MISMATCH: CommandError =
    CommandError::Text("ERR The `numfields` parameter must match the number of arguments");
const NEGATIVE: CommandError = CommandError::Text("ERR invalid expire time, must be >= 0");

/// The arguments that `FIELDS numfields field [field ...]` at `index` names, which are the last ones.
pub(super) fn fields_at(args: &Args<'_>, index: usize) -> Result<Range<usize>, CommandError> {
    counted_fields_at(args, index, NOT_POSITIVE)
}

/// As [`fields_at`], where another text says that the count is none.
pub(super) fn counted_fields_at(
    args: &Args<'_>,
    index: usize,
    not_positive: CommandError,
) -> Result<Range<usize>, CommandError> {
    if index >= args.len() || !args.is(index, "FIELDS") {
        return Err(NO_FIELDS);
    }
    let count = args.find(index + 1).ok_or(MISMATCH)?;
    let count = parse_i64(count).filter(|count| *count > 0).ok_or(not_positive)?;
    let fields = index + 2..args.len();
    if usize::try_from(count) == Ok(fields.len()) { Ok(fields) } else { Err(MISMATCH) }
}

/// What a number in an argument counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Ms,
}

/// What it counts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Now,
    Epoch,
}

/// The moment that argument `index` of the command `name` means; `now_ms` is the time.
pub(super) fn deadline_at(
    now_ms: u64,
    args: &Args<'_>,
    index: usize,
    (unit, origin): (Unit, Origin),
    name: &str,
    reply: &mut Reply<'_>,
) -> Result<u64, CommandError> {
    let number = parse_i64(args.at(index)).ok_or(CommandError::NotInteger)?;
    let number = u64::try_from(number).map_err(|_| NEGATIVE)?;
    let ms = if unit == Unit::Seconds { number.checked_mul(1000) } else { Some(number) };
    let base_ms = if origin == Origin::Now { now_ms } else { 0 };
    let deadline = ms.and_then(|ms| ms.checked_add(base_ms)).filter(|deadline| *deadline <= DEADLINE_MAX);
    deadline.ok_or_else(|| {
        reply.error_fmt(format_args!("ERR invalid expire time in '{name}' command"));
        CommandError::Replied
    })
}

/// The time that EX, PX, EXAT or PXAT at `index` gives: what its number means.
pub(super) fn time_word(args: &Args<'_>, index: usize) -> Option<(Unit, Origin)> {
    [
        ("EX", (Unit::Seconds, Origin::Now)),
        ("PX", (Unit::Ms, Origin::Now)),
        ("EXAT", (Unit::Seconds, Origin::Epoch)),
        ("PXAT", (Unit::Ms, Origin::Epoch)),
    ]
    .into_iter()
    .find_map(|(word, meaning)| args.is(index, word).then_some(meaning))
}

/// The earliest deadline that a command has touched: what fields had before, or have since.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Touched(pub(super) Option<u64>);

impl Touched {
    pub(super) fn add(&mut self, deadline: Option<u64>) {
        self.0 = match (self.0, deadline) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}
