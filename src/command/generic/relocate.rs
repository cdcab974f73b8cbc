//! What carries a value from one key to another, or to another database: COPY, MOVE, RENAME, RENAMENX.
//!
//! Design: the leases of both keys' shards are held, so the value is taken out of one place and put into the other with
//! nothing in between. Where both places are one shard, the two guards follow each other.

use super::GENERIC;
use crate::command::row::{KeyAccess, key_at};
use crate::command::{Args, Command, CommandError, Context, Flags, Outcome};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Class, DbIndex, Entry, Event};

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "copy",
        arity: -3,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        keys: &[key_at(1, KeyAccess::Read), key_at(2, KeyAccess::Overwrite)],
        since: "6.2.0",
        complexity: "O(N), N elements; a string is shared",
        summary: "Copies a key.",
        syntax: "source destination#1 [DB destination-db] [REPLACE]",
        handler: copy,
        ..GENERIC
    },
    Command {
        name: "move",
        arity: 3,
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::ReadUpdate)],
        summary: "Takes a key over to another database.",
        syntax: "key db",
        handler: move_to_db,
        ..GENERIC
    },
    Command {
        name: "rename",
        arity: 3,
        flags: Flags::WRITE,
        keys: &[key_at(1, KeyAccess::ReadDelete), key_at(2, KeyAccess::Overwrite)],
        summary: "Gives a key another name, over whatever had it.",
        syntax: "key newkey#1",
        handler: rename,
        ..GENERIC
    },
    Command {
        name: "renamenx",
        arity: 3,
        flags: Flags::WRITE.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::ReadDelete), key_at(2, KeyAccess::Insert)],
        summary: "Gives a key another name that is free.",
        syntax: "key newkey#1",
        handler: renamenx,
        ..GENERIC
    },
];

const SAME_OBJECT: CommandError = CommandError::Text("ERR source and destination objects are the same");

fn copy(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (source_db, mut target_db, mut replace) = (ctx.session.db, ctx.session.db, false);
    let mut index = 3;
    while index < args.len() {
        if args.is(index, "REPLACE") {
            replace = true;
        } else if args.is(index, "DB") && index + 1 < args.len() {
            index += 1;
            target_db = db_index(ctx, args.at(index))?;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    if source_db == target_db && args.at(1) == args.at(2) {
        return Err(SAME_OBJECT);
    }
    let copied = ctx.read(args, 1).is_some()
        && (replace || ctx.write_in(target_db, args, 2).entry().is_none())
        && carry(ctx, args, &Carry { source_db, target: 2, target_db, names: Names::COPY });
    reply.integer(copied.into());
    Ok(())
}

fn move_to_db(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (source_db, target_db) = (ctx.session.db, db_index(ctx, args.at(2))?);
    if source_db == target_db {
        return Err(SAME_OBJECT);
    }
    let moved = ctx.write(args, 1).entry().is_some()
        && ctx.write_in(target_db, args, 1).entry().is_none()
        && carry(ctx, args, &Carry { source_db, target: 1, target_db, names: Names::MOVE });
    reply.integer(moved.into());
    Ok(())
}

fn rename(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.write(args, 1).entry().is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if args.at(1) != args.at(2) {
        let db = ctx.session.db;
        carry(ctx, args, &Carry { source_db: db, target: 2, target_db: db, names: Names::RENAME });
    }
    reply.ok();
    Ok(())
}

fn renamenx(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.write(args, 1).entry().is_none() {
        return Err(CommandError::NoSuchKey);
    }
    let db = ctx.session.db;
    // The same key twice exists, so it is not renamed.
    let renamed = ctx.write(args, 2).entry().is_none()
        && carry(ctx, args, &Carry { source_db: db, target: 2, target_db: db, names: Names::RENAME });
    reply.integer(renamed.into());
    Ok(())
}

/// What the events of the two keys are called.
struct Names {
    /// None: the source keeps its value.
    from: Option<&'static str>,
    to: &'static str,
}

impl Names {
    const COPY: Names = Names { from: None, to: "copy_to" };
    const MOVE: Names = Names { from: Some("move_from"), to: "move_to" };
    const RENAME: Names = Names { from: Some("rename_from"), to: "rename_to" };
}

/// Where a value goes from key argument 1.
struct Carry {
    source_db: DbIndex,
    /// The target key's argument.
    target: usize,
    target_db: DbIndex,
    names: Names,
}

/// Puts what the source holds, with its deadline, in the place of whatever the target holds; whether there was anything. It
/// is one change, of the target.
fn carry(ctx: &mut Context<'_>, args: &Args<'_>, way: &Carry) -> bool {
    let Carry { source_db, target, target_db, ref names } = *way;
    let fresh_clock = ctx.fresh_clock();
    let mut source = ctx.write_in(source_db, args, 1);
    let owned = if names.from.is_none() { source.copy() } else { source.take() };
    source.count_as(0);
    // It is told after the target is.
    source.without_event();
    drop(source);
    let Some(owned) = owned else { return false };
    let ty = owned.ty();
    let mut place = ctx.write_in(target_db, args, target);
    let before = place.entry().map(Entry::ty);
    place.put(owned);
    if names.from.is_none() {
        place.set_clock(fresh_clock);
    }
    place.without_event();
    drop(place);
    if let Some(from) = names.from {
        ctx.event(Event::new(Class::Generic, from), source_db, args.at(1));
    }
    ctx.event(Event::new(Class::Generic, names.to), target_db, args.at(target));
    ctx.replaced(before, ty, target_db, args.at(target));
    true
}

/// A database's number, which these commands read as an `int`.
fn db_index(ctx: &Context<'_>, text: &[u8]) -> Result<DbIndex, CommandError> {
    let number = parse_i64(text).ok_or(CommandError::NotInteger)?;
    if i32::try_from(number).is_err() {
        const RANGE: &str = "ERR value is out of range, value must between -2147483648 and 2147483647";
        return Err(CommandError::Text(RANGE));
    }
    ctx.db_index(text)
}
