//! Several elements from list to list at once: LMOVEM, BLMOVEM.
//!
//! Design: the elements are copied, added to the target, and then removed from the source, so that a list that is both is never
//! empty in between. OBO gives them the order that moving one after the other would, BULK keeps the one they have. Elsewhere it
//! is repeated with as many elements as were moved: BLMOVEM as LMOVEM.
//!
//! Costs: each element is copied once.
//!
//! Not here: moving one element (`transfer`), waiting for a key (`blocking`).

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::transfer::Way;
use super::{end_at, limits, popped, pushed};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{End, OwnedItem, Type};

const COUNT: CommandError = CommandError::Text("ERR count should be greater than 0");

/// What the commands are told: `source destination <LEFT | RIGHT> <LEFT | RIGHT>`, and how many elements.
pub(super) struct ManyMove {
    way: Way,
    count: usize,
    /// EXACTLY: so many, or none.
    is_exact: bool,
    /// OBO: as if they were moved one after the other.
    is_single: bool,
}

impl ManyMove {
    /// `options` is the argument from which on it says how many.
    pub(super) fn parse(args: &Args<'_>, options: usize) -> Result<Self, CommandError> {
        let way = Way { source: 1, target: 2, from: end_at(args, 3)?, to: end_at(args, 4)? };
        if args.len() == options {
            return Ok(Self { way, count: 1, is_exact: false, is_single: true });
        }
        let is = |index: usize, word: &str| args.is(options + index, word);
        if args.len() != options + 3
            || !(is(0, "COUNT") || is(0, "EXACTLY"))
            || !(is(2, "OBO") || is(2, "BULK"))
        {
            return Err(CommandError::Syntax);
        }
        let count = parse_i64(args.at(options + 1)).filter(|count| *count > 0).ok_or(COUNT)?;
        Ok(Self { way, count: count as usize, is_exact: is(0, "EXACTLY"), is_single: is(2, "OBO") })
    }

    /// How many of so many elements are moved.
    fn taken(&self, len: usize) -> usize {
        if self.is_exact && len < self.count { 0 } else { len.min(self.count) }
    }
}

/// LMOVEM. Where there is nothing to move, EXACTLY has a null for its reply.
pub(super) fn lmovem(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let many = ManyMove::parse(args, 5)?;
    if move_many(ctx, args, &many, reply)? == 0 {
        if many.is_exact { reply.null_array() } else { reply.array(0) }
    }
    Ok(())
}

/// Moves elements and replies them in the order that they have in the target; how many. Nothing is replied for none.
pub(super) fn move_many(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    many: &ManyMove,
    reply: &mut Reply<'_>,
) -> Result<usize, CommandError> {
    let limits = limits(ctx);
    let Way { source: source_at, target: target_at, from, to } = many.way;
    let source = ctx.write_typed(args, source_at, Type::List)?;
    let Some(list) = source.list() else { return Ok(0) };
    let (len, taken) = (list.len(), many.taken(list.len()));
    if taken == 0 {
        return Ok(0);
    }
    let start = if from == End::Left { 0 } else { len - taken };
    let mut items: Vec<OwnedItem> = list.items(End::Left, start, taken).map(|item| item.to_owned()).collect();
    drop(source);
    // One after the other, those behind pass those before where both ends are the same.
    if many.is_single && from == to {
        items.reverse();
    }
    let mut target = ctx.write_typed(args, target_at, Type::List)?;
    let added = items.iter().map(OwnedItem::as_new);
    match to {
        End::Right => target.list_push(to, added, limits),
        End::Left => target.list_push(to, added.rev(), limits),
    };
    target.event(pushed(to));
    let is_same = args.at(source_at) == args.at(target_at);
    if is_same {
        // Those that are new stand before all others, or behind them.
        let start = if to == End::Left { start + taken } else { start };
        target.list_remove(start, taken, limits);
        target.event(popped(from));
    }
    drop(target);
    if !is_same {
        // The two keys may be in one shard, so the guards follow each other.
        let mut source = ctx.write(args, source_at);
        source.list_remove(start, taken, limits);
        source.count_as(0);
        source.event(popped(from));
    }
    reply.array(taken);
    items.iter().for_each(|item| reply_item(item.as_item(), reply));
    Ok(taken)
}

/// BLMOVEM moved so many elements: it is repeated by its counterpart that does not wait.
pub(super) fn repeat_move(ctx: &mut Context<'_>, args: &Args<'_>, many: &ManyMove, moved: usize) {
    ctx.repeat_as(|words| {
        words.add("LMOVEM").add_all(args.from(1).take(4)).add("EXACTLY").add(moved as u64);
        words.add(if many.is_single { "OBO" } else { "BULK" });
    });
}
