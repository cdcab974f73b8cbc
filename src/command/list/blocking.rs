//! The commands that wait until there is something to pop: BLPOP, BRPOP, BLMPOP, BLMOVE, BLMOVEM, BRPOPLPUSH.
//!
//! Design: each does what its counterpart does that does not wait, and waits where that one would reply that there is nothing.
//! When a key has become a list it is run again as it stands (`command::blocking`).

use super::super::blocking::until_after_seconds;
use super::super::{Args, Command, CommandError, Context, Flags, Outcome};
use super::ends::{Found, ManyPop, pop_first};
use super::many::{ManyMove, move_many, repeat_move};
use super::transfer::{Way, move_one};
use super::{KEYS_MOVE, LIST, RIGHT, end_at};
use crate::command::row::{Begin, Find, KeyAccess, KeySpec, keys_from};
use crate::resp::Reply;
use crate::store::{End, Type};

const WAIT_POP: Command = Command { flags: Flags::WRITE.with(Flags::BLOCKING), ..LIST };
const WAIT_MOVE: Command = Command { flags: WAIT_POP.flags.with(Flags::DENYOOM), keys: KEYS_MOVE, ..LIST };

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "blmove",
        arity: 6,
        since: "6.2.0",
        summary: "Moves an element between lists, and waits for one if need be.",
        syntax: "source destination#1 wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT> timeout",
        handler: blmove,
        ..WAIT_MOVE
    },
    Command {
        name: "blmovem",
        arity: -6,
        since: "8.10.0",
        complexity: "O(N), N elements moved",
        summary: "Moves elements between lists, and waits until there is one, or are exactly so many.",
        syntax: "source destination#1 wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT> timeout how-many:[selector:<COUNT count | EXACTLY exactly:integer> ordering:<OBO | BULK>]",
        handler: blmovem,
        ..WAIT_MOVE
    },
    Command {
        name: "blmpop",
        arity: -5,
        keys: &[KeySpec {
            access: KeyAccess::ReadDelete,
            begin: Begin::Index(2),
            find: Find::Count { count: 0, first: 1, step: 1 },
            is_incomplete: false,
        }],
        since: "7.0.0",
        complexity: "O(K+N), K keys, N elements taken",
        summary: "Takes elements from the first list that has any, and waits if none has.",
        syntax: "timeout numkeys key... where:<LEFT | RIGHT> [COUNT count]",
        handler: blmpop,
        ..WAIT_POP
    },
    Command {
        name: "blpop",
        arity: -3,
        keys: &[keys_from(1, -2, 1, KeyAccess::ReadDelete)],
        since: "2.0.0",
        complexity: "O(K), K keys",
        summary: "Takes the left element of the first list that has any, and waits if none has.",
        syntax: "key... timeout",
        handler: blpop,
        ..WAIT_POP
    },
    Command {
        name: "brpop",
        arity: -3,
        prefetch_hint: RIGHT,
        keys: &[keys_from(1, -2, 1, KeyAccess::ReadDelete)],
        since: "2.0.0",
        complexity: "O(K), K keys",
        summary: "Takes the right element of the first list that has any, and waits if none has.",
        syntax: "key... timeout",
        handler: brpop,
        ..WAIT_POP
    },
    Command {
        name: "brpoplpush",
        arity: 4,
        prefetch_hint: RIGHT,
        since: "2.2.0",
        summary: "Moves an element from a right end to a left end, and waits for one if need be.",
        syntax: "source destination#1 timeout",
        deprecated: Some(("6.2.0", "`BLMOVE` with the `RIGHT` and `LEFT` arguments")),
        handler: brpoplpush,
        ..WAIT_MOVE
    },
];

fn blpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, End::Left)
}

fn brpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    pop(ctx, args, reply, End::Right)
}

fn pop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, end: End) -> Outcome {
    let timeout = args.len() - 1;
    let until_ms = until_after_seconds(args.at(timeout), ctx.now_ms)?;
    match pop_first(ctx, args, 1..timeout, end, None, reply)? {
        Found::List => Ok(()),
        Found::Nothing => ctx.block_for(Type::List, timeout - 1, until_ms, reply),
    }
}

fn blmpop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let ManyPop { keys, end, count } = ManyPop::parse(args, 2)?;
    let until_ms = until_after_seconds(args.at(1), ctx.now_ms)?;
    let key_count = keys.len();
    match pop_first(ctx, args, keys, end, Some(count), reply)? {
        Found::List => Ok(()),
        Found::Nothing => ctx.block_for(Type::List, key_count, until_ms, reply),
    }
}

fn blmove(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let way = Way { source: 1, target: 2, from: end_at(args, 3)?, to: end_at(args, 4)? };
    move_or_wait(ctx, args, way, ("LMOVE", 5), reply)
}

/// A list that is too short is looked at again whenever it changes.
fn blmovem(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let many = ManyMove::parse(args, 6)?;
    let until_ms = until_after_seconds(args.at(5), ctx.now_ms)?;
    match move_many(ctx, args, &many, reply)? {
        0 => ctx.block_for(Type::List, 1, until_ms, reply),
        moved => {
            repeat_move(ctx, args, &many, moved);
            Ok(())
        }
    }
}

fn brpoplpush(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let way = Way { source: 1, target: 2, from: End::Right, to: End::Left };
    move_or_wait(ctx, args, way, ("RPOPLPUSH", 3), reply)
}

/// `counterpart` does the same without waiting; `timeout` is the argument that says how long to wait.
///
/// As in Redis, what is replied in the end is a null array, but where there is no waiting it is a plain null.
fn move_or_wait(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    way: Way,
    (counterpart, timeout): (&str, usize),
    reply: &mut Reply<'_>,
) -> Result<(), CommandError> {
    let until_ms = until_after_seconds(args.at(timeout), ctx.now_ms)?;
    if move_one(ctx, args, way, reply)? {
        // As its counterpart that does not wait.
        ctx.repeat_as(|words| {
            words.add(counterpart).add_all(args.from(1).take(timeout - 1));
        });
        return Ok(());
    }
    if !ctx.may_block() {
        reply.null();
        return Ok(());
    }
    ctx.block_for(Type::List, 1, until_ms, reply)
}
