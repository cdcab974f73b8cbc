//! Whole hashes: HGETALL, HKEYS, HVALS, HLEN, HSCAN.
//!
//! Fields whose deadline has come are passed over, and left for others to remove; HLEN counts them.
//!
//! A cursor of HSCAN is a position of the dict (`Hash::scan`) without its lowest bit, which is always 0, so that it is one that
//! clients which keep it in 63 bits get back whole.

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use crate::command::generic::scan::parse_cursor;
use crate::glob::{self, Case};
use crate::resp::number::parse_i64;
use crate::resp::{Output, Reply};
use crate::store::{Field, Hash};

const COUNT_DEFAULT: usize = 10;

/// HLEN.
pub(super) fn hlen(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let len = ctx.read_as::<Hash<'_>>(args, 1)?.map_or(0, |hash| hash.len());
    reply.integer(len as i64);
    Ok(())
}

/// HGETALL.
pub(super) fn hgetall(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_ms = ctx.now_ms;
    let Some(hash) = ctx.read_as::<Hash<'_>>(args, 1)? else {
        reply.map(0);
        return Ok(());
    };
    reply.map(alive_count(&hash, now_ms));
    for field in hash.iter().filter(|field| !field.is_expired(now_ms)) {
        reply_item(field.name, reply);
        reply_item(field.value, reply);
    }
    Ok(())
}

/// HKEYS.
pub(super) fn hkeys(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    list(ctx, args, reply, |field, reply| reply_item(field.name, reply))
}

/// HVALS.
pub(super) fn hvals(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    list(ctx, args, reply, |field, reply| reply_item(field.value, reply))
}

#[inline]
fn list(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    mut show: impl FnMut(Field<'_>, &mut Reply<'_>),
) -> Outcome {
    let now_ms = ctx.now_ms;
    let Some(hash) = ctx.read_as::<Hash<'_>>(args, 1)? else {
        reply.array(0);
        return Ok(());
    };
    reply.array(alive_count(&hash, now_ms));
    hash.iter().filter(|field| !field.is_expired(now_ms)).for_each(|field| show(field, reply));
    Ok(())
}

/// How many fields are seen.
#[inline]
fn alive_count(hash: &Hash<'_>, now_ms: u64) -> usize {
    if hash.due().is_none_or(|due_ms| due_ms > now_ms) {
        return hash.len();
    }
    hash.iter().filter(|field| !field.is_expired(now_ms)).count()
}

/// HSCAN. The options are looked at only if there is a hash.
pub(super) fn hscan(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(2)).ok_or(CommandError::Text("ERR invalid cursor"))?;
    let now_ms = ctx.now_ms;
    let Some(hash) = ctx.read_as::<Hash<'_>>(args, 1)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args)?;
    // The cursor comes first, but is known last.
    let (mut found, mut count) = (Output::new(), 0);
    let mut shown = Reply::new(&mut found, reply.protocol());
    let next = hash.scan(cursor << 1, options.count, &mut |field| {
        if !field.is_expired(now_ms) && options.takes(&field) {
            reply_item(field.name, &mut shown);
            count += 1;
            if !options.no_values {
                reply_item(field.value, &mut shown);
                count += 1;
            }
        }
    });
    reply.array(2);
    reply.bulk_fmt(format_args!("{}", next.map_or(0, |position| position >> 1)));
    reply.array(count);
    reply.output().append(&mut found);
    Ok(())
}

struct ScanOptions<'a> {
    pattern: Option<&'a [u8]>,
    count: usize,
    no_values: bool,
}

impl<'a> ScanOptions<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut options = Self { pattern: None, count: COUNT_DEFAULT, no_values: false };
        let mut index = 3;
        while index < args.len() {
            if args.is(index, "NOVALUES") {
                options.no_values = true;
                index += 1;
                continue;
            }
            let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
            if args.is(index, "COUNT") {
                let count = parse_i64(value).ok_or(CommandError::NotInteger)?;
                if count < 1 {
                    return Err(CommandError::Syntax);
                }
                options.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else if args.is(index, "MATCH") {
                options.pattern = (value != b"*").then_some(value);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }

    fn takes(&self, field: &Field<'_>) -> bool {
        self.pattern.is_none_or(|pattern| {
            glob::matches(pattern, field.name.bytes(&mut itoa::Buffer::new()), Case::Sensitive)
        })
    }
}
