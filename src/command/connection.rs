//! The family `connection`, but for CLIENT: who a client is, what it speaks and which database it uses.
//!
//! Not here: CLIENT (`client`), the check that a client has authenticated (`worker::client_run`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::client::{NAME_INVALID, is_printable_word};
use super::permission::note_failed_auth;
use super::row::BASE;
use super::{Args, Command, CommandError, Context, Effect, Flags, Group, Outcome};
use crate::config::REDIS_VERSION;
use crate::resp::number::parse_i64;
use crate::resp::{Protocol, Reply};
use crate::security::DEFAULT;

const CONNECTION: Command =
    Command { group: Group::Connection, flags: Flags::LOADING.with(Flags::STALE).with(Flags::FAST), ..BASE };
const BEFORE_AUTH: Flags =
    CONNECTION.flags.with(Flags::NOSCRIPT).with(Flags::NO_AUTH).with(Flags::ALLOW_BUSY);

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "auth",
        arity: -2,
        flags: BEFORE_AUTH.with(Flags::SENTINEL),
        complexity: "O(N), N passwords of the user",
        summary: "Says who the client is, with a password.",
        syntax: "[username@6.0.0] password",
        secrets: Some(auth_secrets),
        handler: auth,
        ..CONNECTION
    },
    Command {
        name: "echo",
        arity: 2,
        summary: "Returns its argument.",
        syntax: "message",
        handler: echo,
        ..CONNECTION
    },
    Command {
        name: "hello",
        arity: -1,
        flags: BEFORE_AUTH.with(Flags::SENTINEL),
        since: "6.0.0",
        summary: "Chooses the protocol, and may authenticate and name the connection.",
        syntax: "arguments:[protover [AUTH auth:<username password>] [SETNAME clientname]]",
        secrets: Some(hello_secrets),
        handler: hello,
        ..CONNECTION
    },
    Command {
        name: "ping",
        arity: -1,
        flags: Flags::FAST.with(Flags::SENTINEL),
        summary: "Asks whether the server answers.",
        syntax: "[message]",
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        handler: ping,
        ..CONNECTION
    },
    Command {
        name: "quit",
        arity: -1,
        flags: BEFORE_AUTH,
        summary: "Ends the connection.",
        deprecated: Some(("7.2.0", "just closing the connection")),
        handler: quit,
        ..CONNECTION
    },
    Command {
        name: "reset",
        arity: 1,
        flags: BEFORE_AUTH,
        since: "6.2.0",
        summary: "Makes the connection as it was when it was new.",
        handler: reset,
        ..CONNECTION
    },
    Command {
        name: "select",
        arity: 2,
        summary: "Chooses the database of the connection.",
        syntax: "index",
        handler: select,
        ..CONNECTION
    },
];

const NO_PASSWORD: CommandError = CommandError::Text(
    "ERR AUTH <password> called without any password configured for the default user. Are you sure your \
     configuration is correct?",
);
const WRONG_PASSWORD: CommandError =
    CommandError::Text("WRONGPASS invalid username-password pair or user is disabled.");
const HELLO_UNAUTHENTICATED: CommandError = CommandError::Text(
    "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> \
     <pass> option can be used to authenticate the client and select the RESP protocol version at the same time",
);

fn auth(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match args.len() {
        2 if ctx.shared.users.load().default_user().needs_no_password() => return Err(NO_PASSWORD),
        2 => authenticate(ctx, args, DEFAULT, args.at(1))?,
        3 => authenticate(ctx, args, args.at(1), args.at(2))?,
        _ => return Err(CommandError::Syntax),
    }
    reply.ok();
    Ok(())
}

/// All of them, even where there are too many: one may be a password.
fn auth_secrets(args: &Args<'_>, found: &mut dyn FnMut(usize)) {
    (1..args.len()).for_each(found);
}

/// A failed attempt leaves a client that is authenticated already as it is.
fn authenticate(ctx: &mut Context<'_>, args: &Args<'_>, name: &[u8], password: &[u8]) -> Outcome {
    // Not this turn's view: a change just before is to count.
    let users = ctx.shared.users.load();
    match users.admit(name, password) {
        Some(user) => {
            ctx.session.be(user, users.version(), true);
            Ok(())
        }
        None => {
            note_failed_auth(ctx, args, name);
            Err(WRONG_PASSWORD)
        }
    }
}

fn echo(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.bulk(args.at(1));
    Ok(())
}

/// Nothing is changed unless all of it can be.
fn hello(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let protocol = match args.find(1).map(parse_i64) {
        None => ctx.session.protocol,
        Some(Some(2)) => Protocol::Resp2,
        Some(Some(3)) => Protocol::Resp3,
        Some(Some(_)) => return Err(CommandError::Text("NOPROTO unsupported protocol version")),
        Some(None) => {
            return Err(CommandError::Text("ERR Protocol version is not an integer or out of range"));
        }
    };
    let (mut credentials, mut name) = (None, None);
    let mut index = 2;
    while index < args.len() {
        let more = args.len() - 1 - index;
        if args.is(index, "AUTH") && more >= 2 {
            credentials = Some((args.at(index + 1), args.at(index + 2)));
            index += 3;
        } else if args.is(index, "SETNAME") && more >= 1 {
            name = Some(args.at(index + 1)).filter(|name| is_printable_word(name));
            name.ok_or(NAME_INVALID)?;
            index += 2;
        } else {
            reply.error_bytes(&[b"ERR Syntax error in HELLO option '", args.c_string(index), b"'"].concat());
            return Err(CommandError::Replied);
        }
    }
    if let Some((user, password)) = credentials {
        authenticate(ctx, args, user, password)?;
    }
    if !ctx.session.authenticated && !ctx.shared.users.load().default_user().is_open() {
        return Err(HELLO_UNAUTHENTICATED);
    }
    if let Some(name) = name {
        set_name(ctx, name);
    }
    ctx.session.speak(protocol);
    reply.set_protocol(protocol);
    introduce(ctx, reply);
    Ok(())
}

/// The two words after AUTH, of whichever options there are. Redis shows them in a HELLO that fails before it gets to them.
fn hello_secrets(args: &Args<'_>, found: &mut dyn FnMut(usize)) {
    let mut index = 2;
    while index + 2 < args.len() {
        if args.is(index, "AUTH") {
            found(index + 1);
            found(index + 2);
        }
        index += if args.is(index, "AUTH") { 3 } else { 1 + usize::from(args.is(index, "SETNAME")) };
    }
}

fn introduce(ctx: &Context<'_>, reply: &mut Reply<'_>) {
    reply.map(7);
    reply.bulk(b"server");
    reply.bulk(b"redis");
    reply.bulk(b"version");
    reply.bulk(REDIS_VERSION.as_bytes());
    reply.bulk(b"proto");
    reply.integer(i64::from(ctx.session.client_info.protocol.load(Relaxed)));
    reply.bulk(b"id");
    reply.integer(ctx.session.client_info.id as i64);
    reply.bulk(b"mode");
    reply.bulk(b"standalone");
    reply.bulk(b"role");
    reply.bulk(if ctx.shared.replication.is_replica() { b"replica" } else { &b"master"[..] });
    reply.bulk(b"modules");
    reply.array(0);
}

/// Names the connection, or takes its name away.
pub(super) fn set_name(ctx: &Context<'_>, name: &[u8]) {
    ctx.session.client_info.name.store((!name.is_empty()).then(|| Arc::new(name.to_vec())));
}

fn ping(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match args.len() {
        // To a client that listens, everything is a message.
        1 | 2 if ctx.session.only_listens => {
            reply.array(2);
            reply.bulk(b"pong");
            reply.bulk(args.find(1).unwrap_or_default());
        }
        1 => reply.simple("PONG"),
        2 => reply.bulk(args.at(1)),
        _ => return Err(CommandError::Text("ERR wrong number of arguments for 'ping' command")),
    }
    Ok(())
}

fn quit(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.ok();
    ctx.session.close_after_reply();
    Ok(())
}

fn reset(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    super::pubsub::unsubscribe_from_all(ctx)?;
    super::client::end_tracking(ctx);
    if ctx.session.monitor {
        ctx.effects.push(Effect::Monitor(ctx.session.client_info.place(), false));
    }
    ctx.leave_watch();
    ctx.session.reset(&ctx.shared.users.load());
    reply.set_protocol(ctx.session.protocol);
    reply.simple("RESET");
    Ok(())
}

fn select(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let number = parse_i64(args.at(1)).ok_or(CommandError::NotInteger)?;
    if i32::try_from(number).is_err() {
        return Err(CommandError::Text(
            "ERR value is out of range, value must between -2147483648 and 2147483647",
        ));
    }
    let db = ctx.db_index(args.at(1))?;
    ctx.session.select(db);
    reply.ok();
    Ok(())
}
