//! CLIENT: what a client tells and asks of itself, and what it may do to others.
//!
//! Design: other clients are known by their infos alone (`observe::clients`), whichever worker they live on. To end one, its
//! client info is marked and its worker is told (`Effect::Kill`). Nothing here walks another worker's connections.
//!
//! Not here: which commands a pause holds back (`worker::client_run`), when a reply is left out (`worker::client_run`).

mod kill;
mod list;
mod tracking;

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use super::row::BASE;
use super::{
    Args, Command, CommandError, Context, Effect, Flags, Group, Outcome, PauseMode, Replies, Scope,
    Unblocking, help,
};
use crate::observe::flag;
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// Why a name is refused.
pub(super) const NAME_INVALID: CommandError =
    CommandError::Text("ERR Client names cannot contain spaces, newlines or special characters.");

const SELF: Command = Command {
    group: Group::Connection,
    flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE).with(Flags::SENTINEL),
    ..BASE
};
const TRACKING: Flags = Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE);
const OTHERS: Command = Command { flags: SELF.flags.with(Flags::ADMIN), ..SELF };

/// The row of CLIENT.
pub const ROWS: &[Command] = &[Command {
    name: "client",
    arity: -2,
    flags: Flags::SENTINEL,
    since: "2.4.0",
    complexity: "that of the subcommand",
    summary: "The connections of the server.",
    subcommands: SUBCOMMANDS,
    group: Group::Connection,
    ..BASE
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "caching",
        arity: 3,
        flags: TRACKING,
        since: "6.0.0",
        summary: "Says whether keys of the next command are tracked.",
        syntax: "mode:<YES | NO>",
        handler: tracking::caching,
        ..SELF
    },
    Command {
        name: "getname",
        arity: 2,
        since: "2.6.9",
        summary: "The connection's name.",
        handler: name,
        ..SELF
    },
    Command {
        name: "getredir",
        arity: 2,
        since: "6.0.0",
        summary: "Who gets the connection's tracking notifications instead.",
        handler: tracking::redirection,
        ..SELF
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE).with(Flags::SENTINEL),
        since: "5.0.0",
        summary: "Lists the subcommands.",
        handler: help::show,
        ..SELF
    },
    Command {
        name: "id",
        arity: 2,
        since: "5.0.0",
        summary: "The connection's number.",
        handler: id,
        ..SELF
    },
    Command {
        name: "info",
        arity: 2,
        since: "6.2.0",
        summary: "Describes this connection.",
        tips: &["nondeterministic_output"],
        handler: list::info,
        ..SELF
    },
    Command {
        name: "kill",
        arity: -3,
        since: "2.4.0",
        scope: Scope::Alone,
        changes_others: true,
        complexity: "O(N), N connections",
        summary: "Ends connections chosen by address, type, age and more.",
        syntax: "filter:<old-format/ip:port~2.8.12 | new-format:<[ID client-id@2.8.12] | [TYPE client-type:<NORMAL | MASTER@3.2.0 | SLAVE | REPLICA@5.0.0 | PUBSUB>@2.8.12] | [USER username] | [ADDR addr/ip:port] | [LADDR laddr/ip:port@6.2.0] | [SKIPME skipme:<YES | NO>] | [MAXAGE maxage@7.4.0]>...>",
        handler: kill::kill,
        ..OTHERS
    },
    Command {
        name: "list",
        arity: -2,
        since: "2.4.0",
        complexity: "O(N), N connections",
        summary: "Describes all connections, or some.",
        syntax: "[TYPE client-type:<NORMAL | MASTER | REPLICA | PUBSUB>@5.0.0] [ID client-id@6.2.0...]",
        tips: &["nondeterministic_output"],
        handler: list::list,
        ..OTHERS
    },
    Command {
        name: "no-evict",
        arity: 3,
        since: "7.0.0",
        summary: "Keeps the connection where memory for clients is short.",
        syntax: "enabled:<ON | OFF>",
        handler: no_evict,
        ..OTHERS
    },
    Command {
        name: "no-touch",
        arity: 3,
        flags: Flags::NOSCRIPT.with(Flags::LOADING).with(Flags::STALE),
        since: "7.2.0",
        summary: "Makes commands of the connection no use of their keys.",
        syntax: "enabled:<ON | OFF>",
        handler: no_touch,
        ..SELF
    },
    Command {
        name: "pause",
        arity: -3,
        since: "3.0.0",
        scope: Scope::Alone,
        changes_others: true,
        summary: "Holds back commands of all clients, or writes only, for some milliseconds.",
        syntax: "timeout:integer mode:[WRITE | ALL]@6.2.0",
        handler: pause,
        ..OTHERS
    },
    Command {
        name: "reply",
        arity: 3,
        since: "3.2.0",
        summary: "Switches replies off and on.",
        syntax: "action:<ON | OFF | SKIP>",
        handler: replies,
        ..SELF
    },
    Command {
        name: "setinfo",
        arity: 4,
        since: "7.2.0",
        summary: "Notes name or version of the client's library.",
        syntax: "attr:<LIB-NAME libname | LIB-VER libver>",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: set_info,
        ..SELF
    },
    Command {
        name: "setname",
        arity: 3,
        since: "2.6.9",
        summary: "Names the connection.",
        syntax: "connection-name",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: set_name,
        ..SELF
    },
    Command {
        name: "tracking",
        arity: -3,
        flags: TRACKING,
        since: "6.0.0",
        summary: "Has the connection told of changes to keys that it has read.",
        syntax: "status:<ON | OFF> [REDIRECT client-id] [PREFIX prefix]... [BCAST] [OPTIN] [OPTOUT] [NOLOOP]",
        handler: tracking::tracking,
        ..SELF
    },
    Command {
        name: "trackinginfo",
        arity: 2,
        since: "6.2.0",
        summary: "Says how the connection is told of changed keys.",
        handler: tracking::info,
        ..SELF
    },
    Command {
        name: "unblock",
        arity: -3,
        since: "5.0.0",
        complexity: "O(N), N keys it waits for",
        summary: "Ends the wait of another connection.",
        syntax: "client-id unblock-type:[TIMEOUT | ERROR]",
        handler: unblock,
        ..OTHERS
    },
    Command {
        name: "unpause",
        arity: 2,
        since: "6.2.0",
        complexity: "O(N), N connections held back",
        summary: "Ends CLIENT PAUSE.",
        handler: unpause,
        ..OTHERS
    },
];

pub(super) use kill::end as end_client;
pub(super) use list::{client_line, living};
pub(super) use tracking::end as end_tracking;

/// Whether a text may stand in a line of CLIENT LIST: printable ASCII without spaces, or nothing at all.
pub(super) fn is_printable_word(text: &[u8]) -> bool {
    text.iter().all(|byte| matches!(byte, b'!'..=b'~'))
}

fn name(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match ctx.session.client_info.name.load().as_deref() {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    Ok(())
}

fn id(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(ctx.session.client_info.id as i64);
    Ok(())
}

/// `ON` or `OFF`.
fn switch(args: &Args<'_>, index: usize) -> Result<bool, CommandError> {
    match args.is(index, "ON") {
        false if !args.is(index, "OFF") => Err(CommandError::Syntax),
        on => Ok(on),
    }
}

fn no_evict(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.session.client_info.set(flag::NO_EVICT, switch(args, 2)?);
    reply.ok();
    Ok(())
}

fn no_touch(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.session.no_touch = switch(args, 2)?;
    ctx.session.client_info.set(flag::NO_TOUCH, ctx.session.no_touch);
    reply.ok();
    Ok(())
}

fn pause(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mode = match args.len() {
        3 => PauseMode::All,
        4 if args.is(3, "WRITE") => PauseMode::Write,
        4 if args.is(3, "ALL") => PauseMode::All,
        4 => return Err(CommandError::Text("ERR CLIENT PAUSE mode must be WRITE or ALL")),
        _ => return help::subcommand_syntax(args, reply),
    };
    let timeout_ms =
        parse_i64(args.at(2)).ok_or(CommandError::Text("ERR timeout is not an integer or out of range"))?;
    let timeout_ms = u64::try_from(timeout_ms).map_err(|_| CommandError::Text("ERR timeout is negative"))?;
    let until_ms = ctx.now_ms.checked_add(timeout_ms).filter(|until_ms| i64::try_from(*until_ms).is_ok());
    let until_ms = until_ms.ok_or(CommandError::Text("ERR timeout is out of range"))?;
    ctx.shared.pause.start(until_ms, mode, ctx.now_ms);
    reply.ok();
    Ok(())
}

fn unpause(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.shared.pause.end();
    ctx.effects.push(Effect::Resume);
    reply.ok();
    Ok(())
}

/// Only ON is answered; the worker leaves out the replies of the others, this one included.
fn replies(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (now, in_exec) = (&mut ctx.session.replies, ctx.session.denies_blocking);
    // What came before meant this command, or, in a transaction, the one behind EXEC.
    if *now == Replies::SkipNext && !in_exec {
        *now = Replies::SkipThis;
    }
    match () {
        () if args.is(2, "ON") => {
            if *now != Replies::SkipNext {
                *now = Replies::On;
            }
            reply.ok();
        }
        () if args.is(2, "OFF") => *now = Replies::Off,
        () if args.is(2, "SKIP") && *now == Replies::Off => {}
        () if args.is(2, "SKIP") => *now = Replies::SkipNext,
        () => return Err(CommandError::Syntax),
    }
    Ok(())
}

fn set_name(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !is_printable_word(args.at(2)) {
        return Err(NAME_INVALID);
    }
    super::connection::set_name(ctx, args.at(2));
    reply.ok();
    Ok(())
}

fn set_info(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let client_info = &ctx.session.client_info;
    let field: &ArcSwapOption<Vec<u8>> = match () {
        () if args.is(2, "LIB-NAME") => &client_info.lib_name,
        () if args.is(2, "LIB-VER") => &client_info.lib_version,
        () => {
            reply.error_bytes(&[b"ERR Unrecognized option '", args.c_string(2), b"'"].concat());
            return Err(CommandError::Replied);
        }
    };
    let value = args.at(3);
    if !is_printable_word(value) {
        let rest = b" cannot contain spaces, newlines or special characters.";
        reply.error_bytes(&[b"ERR ", args.c_string(2), rest].concat());
        return Err(CommandError::Replied);
    }
    field.store((!value.is_empty()).then(|| Arc::new(value.to_vec())));
    reply.ok();
    Ok(())
}

/// Ends the wait here and now; the client's worker tells it.
fn unblock(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let how = match args.len() {
        3 => Unblocking::Timeout,
        4 if args.is(3, "TIMEOUT") => Unblocking::Timeout,
        4 if args.is(3, "ERROR") => Unblocking::Asked,
        4 => return Err(CommandError::Text("ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR")),
        _ => return help::subcommand_syntax(args, reply),
    };
    let id = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let client_info = list::living(ctx).into_iter().find(|client_info| client_info.id as i64 == id);
    // Who waits does not move: its place is right once its wait was ended.
    let ended = client_info
        .and_then(|client_info| client_info.wait.end_any().map(|wait_id| (client_info.place(), wait_id)));
    if let Some((place, wait_id)) = ended {
        ctx.effects.push(Effect::Unblock { place, wait_id, how });
    }
    reply.integer(ended.is_some().into());
    Ok(())
}
