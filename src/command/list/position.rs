//! LPOS.

use super::super::{Args, CommandError, Context, Outcome};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{End, List, NewItem, packed::Encoded};

const RANK_ZERO: CommandError = CommandError::Text(
    "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative to start from the \
     end of the list",
);
const RANK_OUT_OF_RANGE: CommandError = CommandError::Text(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
const COUNT_NEGATIVE: CommandError = CommandError::Text("ERR COUNT can't be negative");
const MAXLEN_NEGATIVE: CommandError = CommandError::Text("ERR MAXLEN can't be negative");

/// What is searched for.
struct Options {
    /// Where the search begins.
    end: End,
    /// The first match that counts, from 1 on.
    rank: u64,
    /// How many matches; none: one, that is not replied as an array. 0: all.
    count: Option<usize>,
    /// Most elements looked at.
    items_max: usize,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut found = Self { end: End::Left, rank: 1, count: None, items_max: usize::MAX };
        let mut index = 3;
        while index < args.len() {
            let text = args.find(index + 1).ok_or(CommandError::Syntax)?;
            let number = parse_i64(text);
            let count = number.and_then(|number| usize::try_from(number).ok());
            if args.is(index, "RANK") {
                let rank = number.ok_or(CommandError::NotInteger)?;
                match rank {
                    0 => return Err(RANK_ZERO),
                    i64::MIN => return Err(RANK_OUT_OF_RANGE),
                    _ => found.end = if rank < 0 { End::Right } else { End::Left },
                }
                found.rank = rank.unsigned_abs();
            } else if args.is(index, "COUNT") {
                found.count = Some(count.ok_or(COUNT_NEGATIVE)?);
            } else if args.is(index, "MAXLEN") {
                let items_max = count.ok_or(MAXLEN_NEGATIVE)?;
                found.items_max = if items_max == 0 { usize::MAX } else { items_max };
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(found)
    }
}

/// LPOS.
pub(super) fn lpos(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    let list = ctx.read_as::<List<'_>>(args, 1)?;
    match (options.count, list) {
        (None, None) => reply.null(),
        (Some(_), None) => reply.array(0),
        (None, Some(list)) => {
            let mut first = None;
            search(&list, args.at(2), &options, 1, |index| first = Some(index));
            match first {
                Some(index) => reply.integer(index as i64),
                None => reply.null(),
            }
        }
        (Some(count), Some(list)) => {
            let matches_max = if count == 0 { usize::MAX } else { count };
            let deferred = reply.defer_array();
            let mut matches = 0;
            search(&list, args.at(2), &options, matches_max, |index| {
                reply.integer(index as i64);
                matches += 1;
            });
            reply.finish_array(deferred, matches);
        }
    }
    Ok(())
}

/// Calls back with the index of up to `matches_max` elements.
fn search(
    list: &List<'_>,
    wanted: &[u8],
    options: &Options,
    matches_max: usize,
    mut found: impl FnMut(usize),
) {
    let item = NewItem::Bytes(wanted);
    let encoded = Encoded::of(&item);
    let len = list.len();
    let first = if options.end == End::Left { 0 } else { len - 1 };
    let mut items = list.items(options.end, first, options.items_max);
    let (mut place, mut rank, mut matches) = (0, 0, 0);
    while matches < matches_max
        && let Some(equal) = items.next_is(&encoded, wanted)
    {
        if equal {
            rank += 1;
            if rank >= options.rank {
                matches += 1;
                found(if options.end == End::Left { place } else { len - 1 - place });
            }
        }
        place += 1;
    }
}
