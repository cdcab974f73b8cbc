//! XGROUP: consumer groups and their consumers come and go.

use super::super::row::{KeyAccess, KeySpec, key_at};
use super::super::{Args, Command, CommandError, Context, Flags, Outcome, Scope, help};
use super::{STREAM, event, ids, no_such_group, now_ms};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::stream::{Group, StreamId};
use crate::store::{Event, KeyMut, Stream, Type};

const NO_STREAM: CommandError = CommandError::Text(
    "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the MKSTREAM option to create an empty stream automatically.",
);
const EXISTS: CommandError = CommandError::Text("BUSYGROUP Consumer Group name already exists");
const ENTRIESREAD: CommandError = CommandError::Text("ERR value for ENTRIESREAD must be positive or -1");

/// A consumer was made.
pub(super) const CREATED: Event = event("xgroup-createconsumer");

const KEY_ADD: &[KeySpec] = &[key_at(2, KeyAccess::Add)];
const KEY_REMOVE: &[KeySpec] = &[key_at(2, KeyAccess::Remove)];
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);

/// The rows of this file.
pub const ROWS: &[Command] = &[Command {
    name: "xgroup",
    arity: -2,
    scope: Scope::None,
    complexity: "that of the subcommand",
    summary: "Changes the consumer groups of a stream.",
    subcommands: &[
        Command {
            name: "create",
            arity: -5,
            flags: GROW,
            keys: KEY_ADD,
            summary: "Makes a group.",
            syntax: "key group id-selector:<id | new-id=$> [MKSTREAM] [ENTRIESREAD entriesread/entries-read]",
            handler: create,
            ..STREAM
        },
        Command {
            name: "createconsumer",
            arity: 5,
            flags: GROW,
            keys: KEY_ADD,
            since: "6.2.0",
            summary: "Makes a consumer of a group.",
            syntax: "key group consumer",
            handler: createconsumer,
            ..STREAM
        },
        Command {
            name: "delconsumer",
            arity: 5,
            flags: Flags::WRITE,
            keys: KEY_REMOVE,
            complexity: "O(N), N entries pending with the consumer",
            summary: "Removes a consumer and what is pending with it.",
            syntax: "key group consumer",
            handler: delconsumer,
            ..STREAM
        },
        Command {
            name: "destroy",
            arity: 4,
            flags: Flags::WRITE,
            keys: KEY_REMOVE,
            complexity: "O(1); its memory is freed later",
            summary: "Removes a group.",
            syntax: "key group",
            handler: destroy,
            ..STREAM
        },
        Command {
            name: "help",
            arity: 2,
            flags: Flags::LOADING.with(Flags::STALE),
            scope: Scope::None,
            summary: "Lists the subcommands.",
            handler: help::show,
            ..STREAM
        },
        Command {
            name: "setid",
            arity: -5,
            flags: Flags::WRITE,
            keys: &[key_at(2, KeyAccess::Update)],
            summary: "Sets up to which ID a group has read.",
            syntax: "key group id-selector:<id | new-id=$> [ENTRIESREAD entriesread/entries-read]",
            handler: setid,
            ..STREAM
        },
    ],
    ..STREAM
}];

/// What CREATE and SETID may be told behind the ID.
#[derive(Default)]
struct Options {
    makes_stream: bool,
    read_count: Option<u64>,
}

impl Options {
    fn parse(args: &Args<'_>, is_create: bool, reply: &mut Reply<'_>) -> Result<Options, CommandError> {
        let (mut options, mut index) = (Options::default(), 5);
        while index < args.len() {
            if is_create && args.is(index, "MKSTREAM") {
                options.makes_stream = true;
                index += 1;
            } else if args.is(index, "ENTRIESREAD") && index + 1 < args.len() {
                let count = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
                if count < -1 {
                    return Err(ENTRIESREAD);
                }
                options.read_count = u64::try_from(count).ok();
                index += 2;
            } else {
                help::subcommand_syntax(args, reply)?;
            }
        }
        Ok(options)
    }

    /// The number of entries read, which are not more than there ever were.
    fn read_count_of(&self, stream: Option<&Stream>) -> Option<u64> {
        let added = stream.map_or(0, |stream| stream.history().added);
        self.read_count.map(|count| count.min(added))
    }
}

/// CREATE. Errors in this order: options, type, no such key, ID, group exists; more than all options each once.
fn create(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const ARGUMENTS_MAX: usize = 8;
    let options = Options::parse(args, true, reply)?;
    let mut place = ctx.write_typed(args, 2, Type::Stream)?;
    let stream = place.stream();
    if stream.is_none() && !options.makes_stream {
        return Err(NO_STREAM);
    }
    if args.len() > ARGUMENTS_MAX {
        return help::subcommand_syntax(args, reply);
    }
    let last = match args.at(4) {
        b"$" => stream.map_or(StreamId::MIN, Stream::last),
        text => ids::parse(text, 0)?,
    };
    let group = Group::new(args.at(3), last, options.read_count_of(stream));
    if stream.is_some_and(|stream| stream.find_group(args.at(3)).is_some()) {
        return Err(EXISTS);
    }
    place.make_stream();
    place.stream_account(|stream| stream.add_group(group));
    place.event(event("xgroup-create"));
    reply.ok();
    Ok(())
}

/// SETID. Errors in this order: options, type, no such key, no such group, ID.
fn setid(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const ARGUMENTS_MAX: usize = 7;
    let options = Options::parse(args, false, reply)?;
    let (mut place, group) = group_in(ctx, args, reply)?;
    if args.len() > ARGUMENTS_MAX {
        return help::subcommand_syntax(args, reply);
    }
    let stream = place.stream();
    let last = match args.at(4) {
        b"$" => stream.map_or(StreamId::MIN, Stream::last),
        text => ids::parse_bound(text, 0)?,
    };
    let read_count = options.read_count_of(stream);
    place.group_account(group, |group| (group.last, group.read_count) = (last, read_count));
    place.event(event("xgroup-setid"));
    reply.ok();
    Ok(())
}

/// DESTROY.
fn destroy(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut place = ctx.write_typed(args, 2, Type::Stream)?;
    let group = place.stream().ok_or(NO_STREAM)?.find_group(args.at(3));
    if let Some(group) = group {
        place.stream_remove_group(group);
        place.event(event("xgroup-destroy"));
    }
    reply.integer(group.is_some().into());
    Ok(())
}

/// CREATECONSUMER.
fn createconsumer(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_ms = now_ms(ctx);
    let (mut place, group) = group_in(ctx, args, reply)?;
    let is_new =
        place.stream().is_some_and(|stream| stream.group_at(group).find_consumer(args.at(4)).is_none());
    if is_new {
        place.group_account(group, |group| group.add_consumer(args.at(4), now_ms));
        place.event(CREATED);
    }
    reply.integer(is_new.into());
    Ok(())
}

/// DELCONSUMER.
fn delconsumer(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut place, group) = group_in(ctx, args, reply)?;
    let consumer = place.stream().and_then(|stream| stream.group_at(group).find_consumer(args.at(4)));
    let pending = match consumer {
        None => 0,
        Some(consumer) => {
            let pending = place.group_account(group, |group| group.remove_consumer(consumer));
            place.event(event("xgroup-delconsumer"));
            pending
        }
    };
    reply.integer(pending as i64);
    Ok(())
}

/// The stream of argument 2 and its group of argument 3, which both must exist.
fn group_in<'k>(
    ctx: &'k mut Context<'_>,
    args: &Args<'k>,
    reply: &mut Reply<'_>,
) -> Result<(KeyMut<'k>, usize), CommandError> {
    let place = ctx.write_typed(args, 2, Type::Stream)?;
    let group = place.stream().ok_or(NO_STREAM)?.find_group(args.at(3));
    match group {
        Some(group) => Ok((place, group)),
        None => Err(no_such_group(args, 2, 3, reply)),
    }
}
