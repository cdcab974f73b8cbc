//! ZSCAN.
//!
//! Design: a small sorted set is returned whole, with cursor 0, as in Redis; of a large one the cursor is a position in the table
//! of its members, which stays valid whatever grows or shrinks.
//!
//! ```text
//! 51 ......... 0
//! position >> 12         0: the beginning, or the end
//! ```

use super::super::{Args, CommandError, Context, Outcome};
use crate::glob::{self, Case};
use crate::resp::Reply;
use crate::resp::number::{F64Buffer, parse_i64};
use crate::store::SortedSet;

const INVALID_CURSOR: CommandError = CommandError::Text("ERR invalid cursor");
const COUNT_DEFAULT: usize = 10;
/// The low bits of positions are zero.
const POSITION_LOW_BITS: u32 = 12;

/// ZSCAN. Errors in this order: cursor, type, options; the options of a key that does not exist are not looked at.
pub(super) fn zscan(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let cursor = crate::command::generic::scan::parse_cursor(args.at(2)).ok_or(INVALID_CURSOR)?;
    let Some(sorted_set) = ctx.read_as::<SortedSet<'_>>(args, 1)? else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let (pattern, count) = options(args)?;
    reply.array(2);
    // The cursor comes first and is known last.
    let mut found = crate::resp::Output::new();
    let (mut elements, mut looked_at, mut text) = (0, 0, F64Buffer::new());
    let mut position = cursor << POSITION_LOW_BITS;
    let next = {
        let mut pairs = Reply::new(&mut found, reply.protocol());
        loop {
            let next = sorted_set.scan(position, |member, score| {
                looked_at += 1;
                if pattern.is_none_or(|pattern| glob::matches(pattern, member, Case::Sensitive)) {
                    pairs.bulk(member);
                    pairs.bulk(text.format(score));
                    elements += 2;
                }
            });
            match next {
                Some(after) if looked_at < count => position = after,
                next => break next.unwrap_or(0),
            }
        }
    };
    reply.bulk_fmt(format_args!("{}", next >> POSITION_LOW_BITS));
    reply.array(elements);
    reply.output().append(&mut found);
    Ok(())
}

fn options<'a>(args: &Args<'a>) -> Result<(Option<&'a [u8]>, usize), CommandError> {
    let (mut pattern, mut count) = (None, COUNT_DEFAULT);
    for index in (3..args.len()).step_by(2) {
        let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
        if args.is(index, "COUNT") {
            let given = parse_i64(value).ok_or(CommandError::NotInteger)?;
            count = usize::try_from(given).ok().filter(|count| *count > 0).ok_or(CommandError::Syntax)?;
        } else if args.is(index, "MATCH") {
            pattern = (value != b"*").then_some(value);
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok((pattern, count))
}
