//! COMMAND: what the table says of its rows.
//!
//! | file | what |
//! |---|---|
//! | `mod` | the rows, COUNT, LIST, GETKEYS |
//! | `info` | COMMAND INFO: flags, key positions, categories, key specifications |
//! | `docs` | COMMAND DOCS: texts and arguments |
//! | `syntax` | a row's syntax notation, read into a tree of arguments |
//!
//! Nothing is kept here beside the rows; every reply is put together when it is asked for.

mod docs;
mod info;
mod syntax;

pub(super) use syntax::usage;
#[cfg(test)]
mod tests;

use super::keys::{each_key_with_access, exact_access};
use super::row::{BASE, KeyAccess};
use super::{
    Args, Categories, Command, CommandError, Context, Flags, Group, Outcome, Row, Table, help, table,
};
use crate::glob::{self, Case};
use crate::resp::Reply;

const SERVER: Command = Command {
    group: Group::Server,
    flags: Flags::LOADING.with(Flags::STALE).with(Flags::SENTINEL),
    categories: Categories::CONNECTION,
    ..BASE
};
const ANY_ORDER: &[&str] = &["nondeterministic_output_order"];

/// The row of COMMAND.
pub const ROWS: &[Command] = &[Command {
    name: "command",
    arity: -1,
    since: "2.8.13",
    complexity: "O(N), N commands of the server",
    summary: "Describes all commands.",
    tips: ANY_ORDER,
    subcommands: SUBCOMMANDS,
    handler: info::all,
    ..SERVER
}];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "count",
        arity: 2,
        since: "2.8.13",
        summary: "Counts the commands.",
        handler: count,
        ..SERVER
    },
    Command {
        name: "docs",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N), N commands named",
        summary: "Says what commands do and which arguments they take.",
        syntax: "[command-name...]",
        tips: ANY_ORDER,
        handler: docs::docs,
        ..SERVER
    },
    Command {
        name: "getkeys",
        arity: -3,
        since: "2.8.13",
        complexity: "O(N), N arguments",
        summary: "Finds the keys among a command's arguments.",
        syntax: "command [arg...]",
        handler: keys,
        ..SERVER
    },
    Command {
        name: "getkeysandflags",
        arity: -3,
        since: "7.0.0",
        complexity: "O(N), N arguments",
        summary: "Finds the keys among a command's arguments, and what becomes of each.",
        syntax: "command [arg...]",
        handler: keys_and_flags,
        ..SERVER
    },
    Command {
        name: "help",
        arity: 2,
        since: "5.0.0",
        summary: "Lists the subcommands.",
        handler: help::show,
        ..SERVER
    },
    Command {
        name: "info",
        arity: -2,
        since: "2.8.13",
        complexity: "O(N), N commands named",
        summary: "Shows arity, flags and keys of commands.",
        syntax: "[command-name...]",
        tips: ANY_ORDER,
        handler: info::some,
        ..SERVER
    },
    Command {
        name: "list",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N), N commands of the server",
        summary: "Lists the commands' names.",
        syntax: "[FILTERBY filterby:<MODULE module-name | ACLCAT category | PATTERN pattern>]",
        tips: ANY_ORDER,
        handler: list,
        ..SERVER
    },
];

fn count(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(table().commands().count() as i64);
    Ok(())
}

/// The callable rows, each container followed by its subcommands.
pub(super) fn all_rows(table: &Table) -> impl Iterator<Item = &Row> {
    table.commands().flat_map(|row| std::iter::once(row).chain(subrows(table, row)))
}

fn subrows<'t>(table: &'t Table, row: &'t Row) -> impl Iterator<Item = &'t Row> {
    row.subrows.iter().map(|id| table.row(*id))
}

fn list(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    type Filter<'a> = Box<dyn Fn(&Row) -> bool + 'a>;
    let filter: Filter<'_> = match args.len() {
        2 => Box::new(|_| true),
        5 if !args.is(2, "FILTERBY") => return Err(CommandError::Syntax),
        // There are no modules, so none has commands.
        5 if args.is(3, "MODULE") => Box::new(|_| false),
        5 if args.is(3, "ACLCAT") => {
            let wanted = Categories::named(args.at(4)).unwrap_or(Categories::NONE);
            Box::new(move |row| Categories::of(&row.command).has(wanted))
        }
        5 if args.is(3, "PATTERN") => {
            let pattern = args.at(4);
            Box::new(move |row| glob::matches(pattern, row.full_name.as_bytes(), Case::Insensitive))
        }
        _ => return Err(CommandError::Syntax),
    };
    let (names, mut len) = (reply.defer_array(), 0);
    for row in all_rows(table()).filter(|row| filter(row)) {
        reply.bulk(row.full_name.as_bytes());
        len += 1;
    }
    reply.finish_array(names, len);
    Ok(())
}

fn keys(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let found = find_keys(&args.tail(2))?;
    reply.array(found.len());
    found.iter().for_each(|(index, _)| reply.bulk(args.at(index + 2)));
    Ok(())
}

fn keys_and_flags(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let command = args.tail(2);
    let found = find_keys(&command)?;
    reply.array(found.len());
    for (index, access) in found {
        reply.array(2);
        reply.bulk(command.at(index));
        let flags = exact_access(access, &command).flag_names();
        reply.set(flags.len());
        flags.iter().for_each(|flag| reply.simple(flag));
    }
    Ok(())
}

/// The keys of a whole command: argument numbers, in order, and what it does to each.
fn find_keys(command: &Args<'_>) -> Result<Vec<(usize, KeyAccess)>, CommandError> {
    let table = table();
    let mut row = table.find(command.at(0));
    if let (Some(container), Some(sub)) = (row, command.find(1))
        && !container.subrows.is_empty()
    {
        row = table.subcommand(container, sub);
    }
    let row = row.ok_or(CommandError::Text("ERR Invalid command specified"))?;
    if row.command.keys.iter().all(|spec| spec.access == KeyAccess::Channel) {
        return Err(CommandError::Text("ERR The command has no key arguments"));
    }
    if !row.accepts(command.len()) {
        return Err(CommandError::Text("ERR Invalid number of arguments specified for command"));
    }
    let mut found = Vec::new();
    let mut find = |index, access| found.push((index, access));
    let outcome = match row.command.finder {
        None => each_key_with_access(row.command.keys, command, find),
        Some(finder) => {
            finder(command, &mut find);
            Ok(())
        }
    };
    outcome
        .ok()
        .filter(|()| !found.is_empty())
        .ok_or(CommandError::Text("ERR Invalid arguments specified for command"))?;
    Ok(found)
}
