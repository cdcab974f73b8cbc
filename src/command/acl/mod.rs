//! ACL: users and what they may do.
//!
//! | file | what |
//! |---|---|
//! | `mod` | rows, and what only looks |
//! | `change` | SETUSER, DELUSER, and what becomes of clients |
//! | `file` | LOAD, SAVE |
//! | `log` | LOG |
//!
//! Not here: the rules (`crate::security`), what a command needs (`permission`).

mod change;
mod file;
mod log;

use super::introspect::all_rows;
use super::row::BASE;
use super::{
    Args, Categories, Command, CommandError, Context, Flags, Group, LookupError, Outcome, Scope, help,
    may_run, table,
};
pub use file::{make_users, read_users};

use crate::config::{AclPubsubDefault, Config};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::security::{Selector, secret};

/// Bits of a password that GENPASS makes, if it is not told how many.
const PASSWORD_BITS: i64 = 256;
const PASSWORD_BITS_MAX: i64 = 4096;

const ANY_TIME: Flags = Flags::LOADING.with(Flags::STALE);
const ANYBODY: Flags = ANY_TIME.with(Flags::NOSCRIPT);
const ACL: Command =
    Command { group: Group::Server, flags: ANYBODY.with(Flags::ADMIN), since: "6.0.0", ..BASE };
const ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// The row of ACL.
pub const ROWS: &[Command] = &[Command {
    name: "acl",
    arity: -2,
    flags: Flags::SENTINEL,
    complexity: "that of the subcommand",
    summary: "Users, their passwords and what they may do.",
    subcommands: SUBCOMMANDS,
    ..ACL
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "cat",
        arity: -2,
        flags: ANYBODY.with(Flags::SENTINEL),
        complexity: "O(1)",
        summary: "Lists the categories of commands, or the commands of one.",
        syntax: "[category]",
        handler: categories,
        ..ACL
    },
    Command {
        name: "deluser",
        arity: -3,
        flags: ACL.flags.with(Flags::SENTINEL),
        scope: Scope::Alone,
        changes_others: true,
        complexity: "O(1), amortised over the connections",
        summary: "Deletes users and ends their connections.",
        syntax: "username...",
        tips: ALL_NODES,
        secrets: Some(all_behind),
        handler: change::delete,
        ..ACL
    },
    Command {
        name: "dryrun",
        arity: -4,
        flags: ACL.flags.with(Flags::SENTINEL),
        since: "7.0.0",
        summary: "Says whether a user may run a command, without running it.",
        syntax: "username command [arg...]",
        secrets: Some(secrets_of_inner),
        handler: dry_run,
        ..ACL
    },
    Command {
        name: "genpass",
        arity: -2,
        flags: ANYBODY.with(Flags::SENTINEL),
        summary: "Makes a password that nobody guesses.",
        syntax: "[bits]",
        handler: generate,
        ..ACL
    },
    Command {
        name: "getuser",
        arity: 3,
        flags: ACL.flags.with(Flags::SENTINEL),
        complexity: "O(N), N rules of the user",
        summary: "Shows the rules of a user.",
        syntax: "username",
        secrets: Some(all_behind),
        handler: show,
        ..ACL
    },
    Command {
        name: "help",
        arity: 2,
        flags: ANY_TIME.with(Flags::SENTINEL),
        summary: "Lists the subcommands.",
        handler: help::show,
        ..ACL
    },
    Command {
        name: "list",
        arity: 2,
        flags: ACL.flags.with(Flags::SENTINEL),
        complexity: "O(N), N users",
        summary: "Shows all users, each as a line of a file of users.",
        handler: list,
        ..ACL
    },
    Command {
        name: "load",
        arity: 2,
        flags: ACL.flags.with(Flags::SENTINEL),
        scope: Scope::Alone,
        changes_others: true,
        complexity: "O(N), N users",
        summary: "Replaces all users by those of the file that aclfile names.",
        handler: file::load,
        ..ACL
    },
    Command {
        name: "log",
        arity: -2,
        flags: ACL.flags.with(Flags::SENTINEL),
        complexity: "O(N), N entries shown",
        summary: "Shows what was refused for want of rights, or forgets it.",
        syntax: "operation:[count | RESET]",
        handler: log::log,
        ..ACL
    },
    Command {
        name: "save",
        arity: 2,
        flags: ACL.flags.with(Flags::SENTINEL),
        scope: Scope::Alone,
        complexity: "O(N), N users",
        summary: "Writes all users to the file that aclfile names.",
        tips: ALL_NODES,
        handler: file::save,
        ..ACL
    },
    Command {
        name: "setuser",
        arity: -3,
        flags: ACL.flags.with(Flags::SENTINEL),
        scope: Scope::Alone,
        changes_others: true,
        complexity: "O(N), N rules given",
        summary: "Changes a user, or makes one.",
        syntax: "username [rule...]",
        tips: ALL_NODES,
        secrets: Some(all_behind),
        handler: change::set,
        ..ACL
    },
    Command {
        name: "users",
        arity: 2,
        flags: ACL.flags.with(Flags::SENTINEL),
        complexity: "O(N), N users",
        summary: "Lists the names of all users.",
        handler: names,
        ..ACL
    },
    Command {
        name: "whoami",
        arity: 2,
        flags: ANYBODY.with(Flags::SENTINEL),
        summary: "The user of the connection.",
        handler: who_am_i,
        ..ACL
    },
];

/// Names and rules: Redis shows neither.
fn all_behind(args: &Args<'_>, found: &mut dyn FnMut(usize)) {
    (2..args.len()).for_each(found);
}

/// What the command that is asked about would not show.
fn secrets_of_inner(args: &Args<'_>, found: &mut dyn FnMut(usize)) {
    let command = args.tail(3);
    let row = table().resolve(command.at(0), || command.find(1), command.len());
    if let Some(find) = row.ok().and_then(|row| row.command.secrets) {
        find(&command, &mut |index| found(index + 3));
    }
}

/// Whether a new user may use all channels.
pub fn all_channels(config: &Config) -> bool {
    config.acl_pubsub_default == AclPubsubDefault::AllChannels
}

fn categories(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match args.len() {
        2 => {
            reply.array(Categories::NAMES.len());
            Categories::NAMES.iter().for_each(|(_, name)| reply.bulk(name.as_bytes()));
        }
        3 => {
            let Some(wanted) = Categories::named(args.c_string(2)) else {
                reply.error_bytes(&[b"ERR Unknown category '", args.c_string(2), b"'"].concat());
                return Err(CommandError::Replied);
            };
            let (names, mut len) = (reply.defer_array(), 0);
            for row in all_rows(table()).filter(|row| Categories::of(&row.command).has(wanted)) {
                reply.bulk(row.full_name.as_bytes());
                len += 1;
            }
            reply.finish_array(names, len);
        }
        _ => return help::subcommand_syntax(args, reply),
    }
    Ok(())
}

fn dry_run(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let users = ctx.shared.users.load();
    let Some(user) = users.find(args.at(2)) else {
        reply.error_bytes(&[b"ERR User '", args.c_string(2), b"' not found"].concat());
        return Err(CommandError::Replied);
    };
    let command = args.tail(3);
    match table().resolve(command.at(0), || command.find(1), command.len()) {
        Ok(row) => match may_run(user, row, &command) {
            Ok(()) => reply.ok(),
            Err(denied) => reply.bulk(&denied.text(user, row, &command, true)),
        },
        Err(LookupError::Arity(row)) => {
            let name = &table().row(row).full_name;
            reply.error_fmt(format_args!("ERR wrong number of arguments for '{name}' command"));
            return Err(CommandError::Replied);
        }
        Err(LookupError::UnknownCommand | LookupError::UnknownSubcommand(_)) => {
            reply.error_bytes(&[b"ERR Command '", command.c_string(0), b"' not found"].concat());
            return Err(CommandError::Replied);
        }
    }
    Ok(())
}

fn generate(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let bits = match args.len() {
        2 => PASSWORD_BITS,
        3 => parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?,
        _ => return help::subcommand_syntax(args, reply),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::Text(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        ));
    }
    let Ok(random) = secret::<{ PASSWORD_BITS_MAX as usize / 8 }>() else {
        return Err(CommandError::Text("ERR the kernel gives no random numbers"));
    };
    let digits = (bits as usize).div_ceil(4);
    let text: String =
        random.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex_digit).take(digits).collect();
    reply.bulk(text.as_bytes());
    Ok(())
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).expect("four bits are a digit")
}

fn show(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let users = ctx.shared.users.load();
    let Some(user) = users.find(args.at(2)) else {
        reply.null();
        return Ok(());
    };
    reply.map(6);
    reply.bulk(b"flags");
    reply.set(user.flags().count());
    user.flags().for_each(|flag| reply.bulk(flag.as_bytes()));
    reply.bulk(b"passwords");
    reply.array(user.passwords().len());
    user.passwords().for_each(|hash| reply.bulk(hash.as_bytes()));
    show_selector(user.root(), reply);
    reply.bulk(b"selectors");
    reply.array(user.others().len());
    for selector in user.others() {
        reply.map(3);
        show_selector(selector, reply);
    }
    Ok(())
}

/// Three entries of a map.
fn show_selector(selector: &Selector, reply: &mut Reply<'_>) {
    reply.bulk(b"commands");
    reply.bulk(&selector.commands_text());
    reply.bulk(b"keys");
    reply.bulk(&selector.keys_text());
    reply.bulk(b"channels");
    reply.bulk(&selector.channels_text());
}

fn list(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let users = ctx.shared.users.load();
    reply.array(users.iter().len());
    users.iter().for_each(|user| reply.bulk(&user.line()));
    Ok(())
}

fn names(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let users = ctx.shared.users.load();
    reply.array(users.iter().len());
    users.iter().for_each(|user| reply.bulk(user.name()));
    Ok(())
}

fn who_am_i(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.bulk(ctx.session.user.name());
    Ok(())
}
