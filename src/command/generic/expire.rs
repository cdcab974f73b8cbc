//! Deadlines: EXPIRE and its relatives, TTL and its relatives, PERSIST.
//!
//! Design: a row tells its handler by a function pointer alone, so each command has a line of its own that says its unit
//! and whether its number counts from now. A deadline that has come already removes the key, as in Redis.

use super::GENERIC;
use crate::command::row::{KeyAccess, KeySpec, key_at};
use crate::command::{Args, Command, CommandError, Context, Flags, Outcome};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Deletion, Event};

const SET_KEYS: &[KeySpec] = &[key_at(1, KeyAccess::Update)];
const GET_KEYS: &[KeySpec] = &[key_at(1, KeyAccess::Read)];

const SET: Command = Command { arity: -3, flags: Flags::WRITE.with(Flags::FAST), keys: SET_KEYS, ..GENERIC };
const GET: Command = Command {
    arity: 2,
    flags: Flags::READONLY.with(Flags::FAST),
    keys: GET_KEYS,
    syntax: "key",
    shares: true,
    ..GENERIC
};

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "expire",
        summary: "Sets how many seconds a key has left.",
        syntax: "key seconds condition:[NX | XX | GT | LT]@7.0.0",
        handler: expire,
        ..SET
    },
    Command {
        name: "expireat",
        since: "1.2.0",
        summary: "Sets when a key expires, Unix time in seconds.",
        syntax: "key unix-time-seconds condition:[NX | XX | GT | LT]@7.0.0",
        handler: expireat,
        ..SET
    },
    Command {
        name: "expiretime",
        since: "7.0.0",
        summary: "When a key expires, Unix time in seconds.",
        shares: true,
        handler: expiretime,
        ..GET
    },
    Command {
        name: "persist",
        arity: 2,
        since: "2.2.0",
        summary: "Takes a key's deadline away.",
        syntax: "key",
        handler: persist,
        ..SET
    },
    Command {
        name: "pexpire",
        since: "2.6.0",
        summary: "Sets how many milliseconds a key has left.",
        syntax: "key milliseconds condition:[NX | XX | GT | LT]@7.0.0",
        handler: pexpire,
        ..SET
    },
    Command {
        name: "pexpireat",
        since: "2.6.0",
        summary: "Sets when a key expires, Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds condition:[NX | XX | GT | LT]@7.0.0",
        handler: pexpireat,
        ..SET
    },
    Command {
        name: "pexpiretime",
        since: "7.0.0",
        summary: "When a key expires, Unix time in milliseconds.",
        shares: true,
        handler: pexpiretime,
        ..GET
    },
    Command {
        name: "pttl",
        since: "2.6.0",
        tips: &["nondeterministic_output"],
        summary: "Milliseconds that a key has left.",
        shares: true,
        handler: pttl,
        ..GET
    },
    Command {
        name: "ttl",
        tips: &["nondeterministic_output"],
        summary: "Seconds that a key has left.",
        shares: true,
        handler: ttl,
        ..GET
    },
];

/// What a number in an argument counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Ms,
}

/// What it counts from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Now,
    Epoch,
}

fn expire(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_deadline(ctx, args, reply, Unit::Seconds, Origin::Now)
}

fn expireat(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_deadline(ctx, args, reply, Unit::Seconds, Origin::Epoch)
}

fn pexpire(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_deadline(ctx, args, reply, Unit::Ms, Origin::Now)
}

fn pexpireat(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    set_deadline(ctx, args, reply, Unit::Ms, Origin::Epoch)
}

fn set_deadline(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    origin: Origin,
) -> Outcome {
    let conditions = Conditions::parse(args, reply)?;
    let number = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let base_ms = if origin == Origin::Now { ctx.now_ms } else { 0 };
    let invalid = CommandError::Text(match (unit, origin) {
        (Unit::Seconds, Origin::Now) => "ERR invalid expire time in 'expire' command",
        (Unit::Seconds, Origin::Epoch) => "ERR invalid expire time in 'expireat' command",
        (Unit::Ms, Origin::Now) => "ERR invalid expire time in 'pexpire' command",
        (Unit::Ms, Origin::Epoch) => "ERR invalid expire time in 'pexpireat' command",
    });
    let when_ms = deadline_ms(number, unit, base_ms).ok_or(invalid)?;
    let now_ms = ctx.now_ms;
    let deletion = Deletion::by(ctx.config.lazyfree_lazy_expire);
    let mut place = ctx.write(args, 1);
    let Some(entry) = place.entry() else {
        reply.integer(0);
        return Ok(());
    };
    let before = entry.deadline();
    let holds = conditions.hold(before, when_ms);
    if holds {
        match u64::try_from(when_ms) {
            Ok(deadline_ms) if deadline_ms > now_ms => {
                place.set_deadline(Some(deadline_ms));
                place.event(Event::EXPIRE);
                place.repeat_as(|words| {
                    words.add("PEXPIREAT").add(args.at(1)).add(deadline_ms).add_all(args.from(3));
                });
            }
            // The deadline has come already.
            _ => {
                place.remove();
                place.event(Event::DEL);
                place.repeat_as(|words| {
                    words.add(deletion.name()).add(args.at(1));
                });
            }
        }
    }
    reply.integer(holds.into());
    Ok(())
}

/// The moment that an argument means, in ms since 1970; it may lie in the past, even before 1970. `None` beyond `i64`.
fn deadline_ms(number: i64, unit: Unit, base_ms: u64) -> Option<i64> {
    let ms = if unit == Unit::Seconds { number.checked_mul(1000)? } else { number };
    ms.checked_add(i64::try_from(base_ms).expect("the clock is far from its end"))
}

/// Under which conditions a deadline is set: NX, XX, GT, LT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: &Args<'_>, reply: &mut Reply<'_>) -> Result<Self, CommandError> {
        let mut found = Self::default();
        for index in 3..args.len() {
            let condition = match () {
                () if args.is(index, "NX") => &mut found.nx,
                () if args.is(index, "XX") => &mut found.xx,
                () if args.is(index, "GT") => &mut found.gt,
                () if args.is(index, "LT") => &mut found.lt,
                () => {
                    reply.error_bytes(&[b"ERR Unsupported option ", args.c_string(index)].concat());
                    return Err(CommandError::Replied);
                }
            };
            *condition = true;
        }
        match found {
            Self { nx: true, xx, gt, lt } if xx || gt || lt => {
                Err(CommandError::Text("ERR NX and XX, GT or LT options at the same time are not compatible"))
            }
            Self { gt: true, lt: true, .. } => {
                Err(CommandError::Text("ERR GT and LT options at the same time are not compatible"))
            }
            _ => Ok(found),
        }
    }

    /// For GT and LT, a key without a deadline lives for ever.
    fn hold(self, before: Option<u64>, when_ms: i64) -> bool {
        let before = before.map(|deadline_ms| i64::try_from(deadline_ms).unwrap_or(i64::MAX));
        let Self { nx, xx, gt, lt } = self;
        !(nx && before.is_some()
            || xx && before.is_none()
            || gt && before.is_none_or(|before| when_ms <= before)
            || lt && before.is_some_and(|before| when_ms >= before))
    }
}

fn ttl(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_deadline(ctx, args, reply, Unit::Seconds, Origin::Now)
}

fn pttl(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_deadline(ctx, args, reply, Unit::Ms, Origin::Now)
}

fn expiretime(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_deadline(ctx, args, reply, Unit::Seconds, Origin::Epoch)
}

fn pexpiretime(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply_deadline(ctx, args, reply, Unit::Ms, Origin::Epoch)
}

/// -2 without the key, -1 without a deadline; seconds are rounded to the nearest.
fn reply_deadline(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    unit: Unit,
    origin: Origin,
) -> Outcome {
    let base_ms = if origin == Origin::Now { ctx.now_ms } else { 0 };
    reply.integer(match ctx.look(args, 1).map(|entry| entry.deadline()) {
        None => -2,
        Some(None) => -1,
        Some(Some(deadline_ms)) => {
            let ms = deadline_ms.saturating_sub(base_ms);
            let number = if unit == Unit::Seconds { (ms + 500) / 1000 } else { ms };
            i64::try_from(number).unwrap_or(i64::MAX)
        }
    });
    Ok(())
}

fn persist(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write(args, 1);
    let had_deadline = place.entry().is_some_and(|entry| entry.deadline().is_some());
    if had_deadline {
        place.set_deadline(None);
        place.event(Event::PERSIST);
    }
    reply.integer(had_deadline.into());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_beyond_the_clock_are_refused() {
        assert_eq!(deadline_ms(5, Unit::Seconds, 1000), Some(6000));
        assert_eq!(deadline_ms(-5, Unit::Ms, 3), Some(-2));
        assert_eq!(deadline_ms(i64::MIN, Unit::Ms, 0), Some(i64::MIN));
        assert_eq!(deadline_ms(i64::MAX, Unit::Ms, 0), Some(i64::MAX));
        assert_eq!(deadline_ms(i64::MAX, Unit::Ms, 1), None);
        assert_eq!(deadline_ms(i64::MAX / 1000 + 1, Unit::Seconds, 0), None);
        assert_eq!(deadline_ms(i64::MIN / 1000 - 1, Unit::Seconds, 0), None);
    }

    #[test]
    fn conditions_compare_with_the_deadline_before() {
        let all = |nx, xx, gt, lt| Conditions { nx, xx, gt, lt };
        for (conditions, no_deadline, earlier, same, later) in [
            (all(false, false, false, false), true, true, true, true),
            (all(true, false, false, false), true, false, false, false),
            (all(false, true, false, false), false, true, true, true),
            (all(false, false, true, false), false, false, false, true),
            (all(false, false, false, true), true, true, false, false),
            (all(false, true, false, true), false, true, false, false),
        ] {
            assert_eq!(conditions.hold(None, 5), no_deadline, "{conditions:?}");
            assert_eq!(conditions.hold(Some(5), 4), earlier, "{conditions:?}");
            assert_eq!(conditions.hold(Some(5), 5), same, "{conditions:?}");
            assert_eq!(conditions.hold(Some(5), 6), later, "{conditions:?}");
        }
    }
}
