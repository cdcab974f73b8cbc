//! The family `string`.

use super::row::{BASE, KeyAccess, key_at};
use super::{Args, Command, Context, Flags, Group, Outcome, Scope};
use crate::resp::Reply;
use crate::store::{Deadline, Str};

const STRING: Command = Command { group: Group::String, scope: Scope::Keys, ..BASE };

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "get",
        arity: 2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Read)],
        summary: "Returns the string value of a key.",
        syntax: "key",
        handler: get,
        ..STRING
    },
    Command {
        name: "set",
        arity: -3,
        flags: Flags::WRITE.with(Flags::DENYOOM),
        keys: &[key_at(1, KeyAccess::Variable)],
        summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
        syntax: "key value",
        handler: set,
        ..STRING
    },
];

fn get(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.read_string(args, 1)? {
        None => reply.null(),
        Some(Str::Bytes(bytes)) => reply.bulk(bytes),
        Some(Str::Int(number)) => reply.bulk_integer(number),
    }
    Ok(())
}

fn set(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.write(args, 1).set_string(args.new_string(2), Deadline::None);
    reply.ok();
    Ok(())
}
