//! INCREX: adding to a number within bounds, and saying in the same step when it is to expire.
//!
//! Design: a result beyond a bound, or beyond what its type can hold, is not stored: what the command replies is the number as it
//! is, and 0 for what was added. With SATURATE the bound is stored instead. Whatever was done is repeated as SET of the result,
//! so that nobody who repeats it needs the bounds, or floats that round alike.
//!
//! Not here: INCR and its relatives (`number`).

use std::cmp::Ordering;

use super::super::{Args, CommandError, Context, Outcome};
use super::options::{Expiry, Unit};
use crate::resp::number::parse_i64;
use crate::resp::{LongDouble, Reply};
use crate::store::{Class, Deadline, Deletion, Entry, Event, KeyMut, NewString, Str};

const INVALID_EXPIRE: &str = "ERR invalid expire time in 'increx' command";
const NO_EXPIRY: CommandError = CommandError::Text("ERR ENX flag requires an expiration");
const CROSSED: CommandError = CommandError::Text("ERR LBOUND can't be greater than UBOUND");
const INCREMENT_INFINITE: CommandError = CommandError::Text("ERR BYFLOAT increment cannot be Infinity");
const VALUE_INFINITE: CommandError = CommandError::Text("ERR value cannot be Infinity");
const APPLIED_OVERFLOW: CommandError = CommandError::Text("ERR applied increment would overflow");
const APPLIED_INFINITE: CommandError = CommandError::Text("ERR applied increment would be Infinity");

/// The errors of a number that is none: an integer's, a float's.
type NotNumber = [CommandError; 2];

const NOT_INCREMENT: NotNumber = [
    CommandError::Text("ERR Increment is not an integer or out of range"),
    CommandError::Text("ERR Increment is not a valid float"),
];
const NOT_LOW: NotNumber = [
    CommandError::Text("ERR LBOUND is not an integer or out of range"),
    CommandError::Text("ERR LBOUND is not a valid float"),
];
const NOT_HIGH: NotNumber = [
    CommandError::Text("ERR UBOUND is not an integer or out of range"),
    CommandError::Text("ERR UBOUND is not a valid float"),
];

/// What the command was told, numbers as they stand there.
struct Options<'a> {
    is_float: bool,
    increment: Option<&'a [u8]>,
    low: Option<&'a [u8]>,
    high: Option<&'a [u8]>,
    saturates: bool,
    expiry: Expiry<'a>,
    /// ENX: a deadline that there is stays.
    keeps_deadline: bool,
}

impl<'a> Options<'a> {
    /// Each may be given once, and what excludes each other not at all.
    fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self {
            is_float: false,
            increment: None,
            low: None,
            high: None,
            saturates: false,
            expiry: Expiry::Unsaid,
            keeps_deadline: false,
        };
        let mut index = 2;
        while let Some(word) = args.find(index) {
            index += 1;
            let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
            match () {
                () if is("SATURATE") && !options.saturates => {
                    options.saturates = true;
                    continue;
                }
                () if is("PERSIST") && options.expiry == Expiry::Unsaid && !options.keeps_deadline => {
                    options.expiry = Expiry::Persist;
                    continue;
                }
                () if is("ENX") && options.expiry != Expiry::Persist && !options.keeps_deadline => {
                    options.keeps_deadline = true;
                    continue;
                }
                () => {}
            }
            let value = args.find(index).ok_or(CommandError::Syntax)?;
            index += 1;
            match (Unit::read(word), options.expiry) {
                (Some(unit), Expiry::Unsaid) => options.expiry = Expiry::Time(unit, value),
                _ if is("BYINT") || is("BYFLOAT") => {
                    options.is_float = is("BYFLOAT");
                    once(&mut options.increment, value)?;
                }
                _ if is("LBOUND") => once(&mut options.low, value)?,
                _ if is("UBOUND") => once(&mut options.high, value)?,
                _ => return Err(CommandError::Syntax),
            }
        }
        if options.keeps_deadline && options.expiry == Expiry::Unsaid {
            return Err(NO_EXPIRY);
        }
        Ok(options)
    }
}

fn once<'a>(place: &mut Option<&'a [u8]>, value: &'a [u8]) -> Result<(), CommandError> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(CommandError::Syntax),
    }
}

/// A sum to be made, its numbers read and its bounds in order.
struct Sum<T> {
    increment: T,
    low: T,
    high: T,
    saturates: bool,
}

/// What came of it.
#[derive(Debug, PartialEq)]
struct Made<T> {
    after: T,
    applied: T,
    /// There is something to store.
    is_stored: bool,
}

impl Sum<i64> {
    fn read(options: &Options<'_>) -> Result<Self, CommandError> {
        let number = |text: Option<&[u8]>, default, errors: NotNumber| match text {
            None => Ok(default),
            Some(text) => parse_i64(text).ok_or(errors[0]),
        };
        let increment = number(options.increment, 1, NOT_INCREMENT)?;
        let low = number(options.low, i64::MIN, NOT_LOW)?;
        let high = number(options.high, i64::MAX, NOT_HIGH)?;
        if low > high {
            return Err(CROSSED);
        }
        Ok(Self { increment, low, high, saturates: options.saturates })
    }

    fn of(&self, before: i64) -> Result<Made<i64>, CommandError> {
        let sum = i128::from(before) + i128::from(self.increment);
        let bound = sum.clamp(self.low.into(), self.high.into());
        if bound != sum && !self.saturates {
            return Ok(Made { after: before, applied: 0, is_stored: false });
        }
        let after = bound as i64;
        let applied = after.checked_sub(before).ok_or(APPLIED_OVERFLOW)?;
        Ok(Made { after, applied, is_stored: true })
    }
}

impl Sum<LongDouble> {
    fn read(options: &Options<'_>) -> Result<Self, CommandError> {
        let number = |text: Option<&[u8]>, default, errors: NotNumber| match text {
            None => Ok(default),
            Some(text) => LongDouble::parse(text).ok_or(errors[1]),
        };
        let increment = number(options.increment, LongDouble::ZERO, NOT_INCREMENT)?;
        if !increment.is_finite() {
            return Err(INCREMENT_INFINITE);
        }
        let low = number(options.low, -LongDouble::MAX, NOT_LOW)?;
        let high = number(options.high, LongDouble::MAX, NOT_HIGH)?;
        if low.compare(high) == Ordering::Greater {
            return Err(CROSSED);
        }
        Ok(Self { increment, low, high, saturates: options.saturates })
    }

    fn of(&self, before: LongDouble) -> Result<Made<LongDouble>, CommandError> {
        let sum = before + self.increment;
        let bound = match () {
            () if sum.compare(self.low) == Ordering::Less => self.low,
            () if sum.compare(self.high) == Ordering::Greater => self.high,
            () => sum,
        };
        if bound == sum && sum.is_finite() {
            return Ok(Made { after: sum, applied: self.increment, is_stored: true });
        }
        if !self.saturates {
            return Ok(Made { after: before, applied: LongDouble::ZERO, is_stored: false });
        }
        let applied = bound + -before;
        if !applied.is_finite() {
            return Err(APPLIED_INFINITE);
        }
        Ok(Made { after: bound, applied, is_stored: true })
    }
}

/// INCREX. Errors in this order: grammar, increment, bounds, expire time, type, value.
pub(super) fn increx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    if options.is_float { add_float(ctx, args, &options, reply) } else { add_int(ctx, args, &options, reply) }
}

fn add_int(ctx: &mut Context<'_>, args: &Args<'_>, options: &Options<'_>, reply: &mut Reply<'_>) -> Outcome {
    let sum = Sum::<i64>::read(options)?;
    let expiring = Expiring::read(ctx, options)?;
    let mut place = ctx.write_string(args, 1)?;
    let before = match place.entry().map(Entry::string) {
        None => 0,
        Some(Str::Int(number)) => number,
        Some(Str::Bytes(bytes)) => parse_i64(bytes).ok_or(CommandError::NotInteger)?,
    };
    let result = sum.of(before)?;
    if result.is_stored {
        let mut buffer = itoa::Buffer::new();
        let text = buffer.format(result.after).as_bytes();
        store(&mut place, args, NewString::Int(result.after), text, "incrby", expiring);
    }
    reply.array(2);
    reply.integer(result.after);
    reply.integer(result.applied);
    Ok(())
}

fn add_float(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    options: &Options<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    let sum = Sum::<LongDouble>::read(options)?;
    let expiring = Expiring::read(ctx, options)?;
    let mut place = ctx.write_string(args, 1)?;
    let before = match place.entry().map(Entry::string) {
        None => LongDouble::ZERO,
        Some(Str::Int(number)) => LongDouble::from_i64(number),
        Some(Str::Bytes(bytes)) => LongDouble::parse(bytes).ok_or(CommandError::NotFloat)?,
    };
    if !before.is_finite() {
        return Err(VALUE_INFINITE);
    }
    let result = sum.of(before)?;
    let (mut after, mut applied) = (Vec::new(), Vec::new());
    result.after.write_to(&mut after);
    result.applied.write_to(&mut applied);
    if result.is_stored {
        store(&mut place, args, NewString::Text(&after), &after, "incrbyfloat", expiring);
    }
    reply.array(2);
    reply.double_text(&after);
    reply.double_text(&applied);
    Ok(())
}

/// What becomes of the deadline.
#[derive(Clone, Copy)]
struct Expiring {
    /// It is to be this.
    deadline_ms: Option<u64>,
    keeps_deadline: bool,
    persists: bool,
    now_ms: u64,
    deletion: Deletion,
}

impl Expiring {
    fn read(ctx: &Context<'_>, options: &Options<'_>) -> Result<Self, CommandError> {
        let deadline_ms = match options.expiry {
            Expiry::Time(unit, text) => Some(unit.deadline(text, ctx.now_ms, INVALID_EXPIRE)?),
            _ => None,
        };
        Ok(Self {
            deadline_ms,
            keeps_deadline: options.keeps_deadline,
            persists: options.expiry == Expiry::Persist,
            now_ms: ctx.now_ms,
            deletion: Deletion::by(ctx.config.lazyfree_lazy_expire),
        })
    }
}

/// Stores a result, whose text is `text`, or removes the key if the moment to expire has passed.
fn store(
    place: &mut KeyMut<'_>,
    args: &Args<'_>,
    new: NewString<'_>,
    text: &[u8],
    event: &'static str,
    expiring: Expiring,
) {
    let has_deadline = place.entry().and_then(Entry::deadline).is_some();
    let deadline_ms = expiring.deadline_ms.filter(|_| !(expiring.keeps_deadline && has_deadline));
    if deadline_ms.is_some_and(|deadline_ms| deadline_ms <= expiring.now_ms) {
        if place.remove() {
            place.event(Event::DEL);
            place.repeat_as(|words| {
                words.add(expiring.deletion.name()).add(args.at(1));
            });
        }
        return;
    }
    let deadline = match deadline_ms {
        Some(deadline_ms) => Deadline::At(deadline_ms),
        None if expiring.persists => Deadline::None,
        None => Deadline::Keep,
    };
    place.update_string(new, deadline);
    place.event(Event::new(Class::String, event));
    match deadline {
        Deadline::At(_) => place.event(Event::EXPIRE),
        Deadline::None if has_deadline => place.event(Event::PERSIST),
        _ => {}
    }
    place.repeat_as(|words| {
        words.add("SET").add(args.at(1)).add(text);
        match deadline {
            Deadline::At(deadline_ms) => _ = words.add("PXAT").add(deadline_ms),
            Deadline::Keep => _ = words.add("KEEPTTL"),
            Deadline::None => {}
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn int(
        before: i64,
        increment: i64,
        bounds: (i64, i64),
        saturates: bool,
    ) -> Result<(i64, i64), CommandError> {
        let sum = Sum { increment, low: bounds.0, high: bounds.1, saturates };
        sum.of(before).map(|result| (result.after, result.applied))
    }

    #[test]
    fn integer_beyond_a_bound_is_refused_or_saturates() {
        const ANY: (i64, i64) = (i64::MIN, i64::MAX);
        assert_eq!(int(10, 5, ANY, false), Ok((15, 5)));
        assert_eq!(int(10, 5, (0, 12), false), Ok((10, 0)));
        assert_eq!(int(10, 5, (0, 12), true), Ok((12, 2)));
        assert_eq!(int(10, -5, (20, 30), true), Ok((20, 10)));
        assert_eq!(int(50, -25, (i64::MIN, 30), false), Ok((25, -25)));
        assert_eq!(int(i64::MAX, 1, ANY, false), Ok((i64::MAX, 0)));
        assert_eq!(int(i64::MAX - 7, 10, ANY, true), Ok((i64::MAX, 7)));
        assert_eq!(int(i64::MIN + 7, -10, ANY, true), Ok((i64::MIN, -7)));
        assert_eq!(int(i64::MAX, -5, (i64::MIN, i64::MIN), true), Err(APPLIED_OVERFLOW));
    }

    #[test]
    fn float_beyond_a_bound_is_refused_or_saturates() {
        let number = |text: &str| LongDouble::parse(text.as_bytes()).expect("a number");
        let float = |before: &str, increment: &str, bounds: (&str, &str), saturates| {
            let sum = Sum {
                increment: number(increment),
                low: number(bounds.0),
                high: number(bounds.1),
                saturates,
            };
            let text = |value: LongDouble| {
                let mut text = Vec::new();
                value.write_to(&mut text);
                String::from_utf8(text).expect("digits")
            };
            sum.of(number(before)).map(|result| format!("{} {}", text(result.after), text(result.applied)))
        };
        assert_eq!(float("10", "2.5", ("5", "15"), false), Ok("12.5 2.5".into()));
        assert_eq!(float("10", "5.5", ("5", "12.5"), false), Ok("10 0".into()));
        assert_eq!(float("10", "5.5", ("5", "12.5"), true), Ok("12.5 2.5".into()));
        assert_eq!(float("5", "2.5", ("-10", "7.4"), true), Ok("7.4 2.4".into()));
        assert_eq!(float("10", "1e4932", ("-inf", "100"), true), Ok("100 90".into()));
        assert_eq!(float("10", "1", ("inf", "inf"), false), Ok("10 0".into()));
        assert_eq!(float("10", "1", ("inf", "inf"), true), Err(APPLIED_INFINITE));
    }
}
