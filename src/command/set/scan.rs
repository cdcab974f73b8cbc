//! SSCAN.
//!
//! Design: a cursor is a position in the table, whose lowest bits are zero and left out. A small set is returned as a whole,
//! whatever the cursor and the count.

use super::super::generic::scan::parse_cursor;
use super::super::{Args, CommandError, Context, Outcome, reply_item};
use crate::glob::{self, Case};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::Set;

/// Bits of a position that are zero: a table has no more than 2^52 nodes.
const POSITION_LOW_BITS: u32 = 12;
const COUNT_DEFAULT: usize = 10;

/// SSCAN. Errors in this order: cursor, type; of a key that does not exist no option is looked at.
pub(super) fn sscan(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(2)).ok_or(CommandError::Text("ERR invalid cursor"))?;
    let Some(set) = ctx.read_as::<Set<'_>>(args, 1)? else {
        reply.array(2);
        reply.bulk_integer(0);
        reply.array(0);
        return Ok(());
    };
    let (pattern, count) = options(args)?;
    let wanted =
        |member: &[u8]| pattern.is_none_or(|pattern| glob::matches(pattern, member, Case::Sensitive));
    // A cursor that was never given out leads beyond the end.
    let position = cursor.checked_mul(1 << POSITION_LOW_BITS);
    let position = if matches!(set, Set::Dict(_)) { position } else { Some(0) };
    // The next cursor stands before the members, so the nodes are walked once to find it, and again to reply them.
    let next = position.and_then(|position| set.scan(position, count, &mut |_| {}));
    reply.array(2);
    reply.bulk_integer(next.map_or(0, |next| (next >> POSITION_LOW_BITS) as i64));
    let members = reply.defer_array();
    let mut found = 0;
    if let Some(position) = position {
        set.scan(position, count, &mut |member| {
            if wanted(member.bytes(&mut itoa::Buffer::new())) {
                reply_item(member, reply);
                found += 1;
            }
        });
    }
    reply.finish_array(members, found);
    Ok(())
}

/// The pattern that members are to match, and about how many are looked at.
fn options<'a>(args: &Args<'a>) -> Result<(Option<&'a [u8]>, usize), CommandError> {
    let (mut pattern, mut count) = (None, COUNT_DEFAULT);
    let mut index = 3;
    while index < args.len() {
        let value = args.find(index + 1);
        if let (true, Some(value)) = (args.is(index, "COUNT"), value) {
            let given = parse_i64(value).ok_or(CommandError::NotInteger)?;
            if given < 1 {
                return Err(CommandError::Syntax);
            }
            count = usize::try_from(given).unwrap_or(usize::MAX);
        } else if let (true, Some(value)) = (args.is(index, "MATCH"), value) {
            pattern = (value != b"*").then_some(value);
        } else if args.is(index, "NOVALUES") {
            return Err(CommandError::Text("ERR NOVALUES option can only be used in HSCAN"));
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    Ok((pattern, count))
}
