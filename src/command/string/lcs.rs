//! LCS: its options and its reply.
//!
//! Not here: the computation (`lcs_table`).

use super::super::{Args, CommandError, Context, Outcome};
use super::lcs_table::{LcsTable, lcs_len};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Str, Type};

const NOT_STRINGS: CommandError = CommandError::Text("ERR The specified keys must contain string values");
const LEN_AND_IDX: CommandError =
    CommandError::Text("ERR If you want both the length and indexes, please just use IDX.");
const STRING_TOO_LONG: CommandError = CommandError::Text("ERR String too long for LCS");
const TOO_MUCH_MEMORY: CommandError =
    CommandError::Text("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len");

const NO_MEMORY: CommandError =
    CommandError::Text("ERR Insufficient memory, failed allocating transient memory for LCS");

/// Longest string, bytes.
const STRING_BYTES_MAX: usize = u32::MAX as usize - 2;
/// What Redis needs per pair of bytes. More than `proto-max-bulk-len` of it is refused here, too, although this table is
/// much smaller: a client gets the same answer, and the limit bounds the time that the command takes.
const CELL_BYTES: u64 = 4;

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    with_match_len: bool,
    match_len_min: i64,
}

/// LCS. Errors in this order: types, grammar, LEN with IDX, size.
pub(super) fn lcs(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    // The second key is looked up in any case: both count as hits or misses.
    let (a, b) = (string_of(ctx, args, 1), string_of(ctx, args, 2));
    let (a, b) = (a?, b?);
    let options = Options::parse(args)?;
    if a.len() > STRING_BYTES_MAX || b.len() > STRING_BYTES_MAX {
        return Err(STRING_TOO_LONG);
    }
    let cells = (a.len() as u64 + 1) * (b.len() as u64 + 1);
    if cells.saturating_mul(CELL_BYTES) > ctx.config.proto_max_bulk_len {
        return Err(TOO_MUCH_MEMORY);
    }
    if options.idx {
        reply_matches(&LcsTable::new(&a, &b).ok_or(NO_MEMORY)?, &options, reply);
    } else if options.len {
        reply.integer(lcs_len(&a, &b) as i64);
    } else {
        reply.bulk(&LcsTable::new(&a, &b).ok_or(NO_MEMORY)?.text());
    }
    Ok(())
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut options = Self::default();
        let mut index = 3;
        while index < args.len() {
            if args.is(index, "IDX") {
                options.idx = true;
            } else if args.is(index, "LEN") {
                options.len = true;
            } else if args.is(index, "WITHMATCHLEN") {
                options.with_match_len = true;
            } else if args.is(index, "MINMATCHLEN") && index + 1 < args.len() {
                index += 1;
                options.match_len_min = parse_i64(args.at(index)).ok_or(CommandError::NotInteger)?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        if options.idx && options.len { Err(LEN_AND_IDX) } else { Ok(options) }
    }
}

/// A copy of the string at key argument `index`, empty for none: the two keys may lie in one shard or in two.
fn string_of(ctx: &mut Context<'_>, args: &Args<'_>, index: usize) -> Result<Vec<u8>, CommandError> {
    match ctx.read(args, index) {
        None => Ok(Vec::new()),
        Some(entry) if entry.ty() != Type::String => Err(NOT_STRINGS),
        Some(entry) => Ok(match entry.string() {
            Str::Int(number) => number.to_string().into_bytes(),
            Str::Bytes(bytes) => bytes.to_vec(),
        }),
    }
}

fn reply_matches(table: &LcsTable<'_>, options: &Options, reply: &mut Reply<'_>) {
    reply.map(2);
    reply.bulk(b"matches");
    let array = reply.defer_array();
    let mut count = 0;
    table.matches(|found| {
        if (found.len as i64) < options.match_len_min {
            return;
        }
        count += 1;
        reply.array(2 + usize::from(options.with_match_len));
        for start in [found.a_start, found.b_start] {
            reply.array(2);
            reply.integer(start as i64);
            reply.integer((start + found.len - 1) as i64);
        }
        if options.with_match_len {
            reply.integer(found.len as i64);
        }
    });
    reply.finish_array(array, count);
    reply.bulk(b"len");
    reply.integer(table.len() as i64);
}
