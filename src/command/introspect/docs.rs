//! COMMAND DOCS: a row's texts, and its arguments as a tree; what redis-cli makes its hints of.

use super::super::{Args, Context, Outcome, Row, Table, table};
use super::subrows;
use super::syntax::{Argument, parse};
use crate::resp::Reply;

/// COMMAND DOCS, of all commands or of those named; a name that is none is left out.
pub(super) fn docs(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let table = table();
    if args.len() == 2 {
        write_all(table, reply);
        return Ok(());
    }
    let (map, mut len) = (reply.defer_map(), 0);
    for row in args.from(2).filter_map(|name| table.find_full(name)) {
        write(table, row, reply);
        len += 1;
    }
    reply.finish_map(map, len);
    Ok(())
}

pub(super) fn write_all(table: &Table, reply: &mut Reply<'_>) {
    reply.map(table.commands().count());
    table.commands().for_each(|row| write(table, row, reply));
}

/// Writes a name and what is said of it.
fn write(table: &Table, row: &Row, reply: &mut Reply<'_>) {
    let command = &row.command;
    reply.bulk(row.full_name.as_bytes());
    let (map, mut len) = (reply.defer_map(), 4);
    pair(reply, "summary", command.summary);
    pair(reply, "since", command.since);
    pair(reply, "group", command.group.name());
    pair(reply, "complexity", command.complexity);
    if let Some((since, replacement)) = command.deprecated {
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.simple("deprecated");
        pair(reply, "deprecated_since", since);
        pair(reply, "replaced_by", replacement);
        len += 3;
    } else if command.internal {
        reply.bulk(b"doc_flags");
        reply.set(1);
        reply.simple("syscmd");
        len += 1;
    }
    let arguments = parse(command.syntax);
    if !arguments.is_empty() {
        write_arguments(&arguments, reply);
        len += 1;
    }
    if !row.subrows.is_empty() {
        reply.bulk(b"subcommands");
        reply.map(row.subrows.len());
        subrows(table, row).for_each(|sub| write(table, sub, reply));
        len += 1;
    }
    reply.finish_map(map, len);
}

fn pair(reply: &mut Reply<'_>, name: &str, value: &str) {
    reply.bulk(name.as_bytes());
    reply.bulk(value.as_bytes());
}

fn write_arguments(arguments: &[Argument], reply: &mut Reply<'_>) {
    reply.bulk(b"arguments");
    reply.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(argument, reply));
}

fn write_argument(argument: &Argument, reply: &mut Reply<'_>) {
    let (map, mut len) = (reply.defer_map(), 2);
    pair(reply, "name", &argument.name);
    pair(reply, "type", argument.kind.name());
    if argument.children.is_empty() {
        pair(reply, "display_text", argument.display.as_ref().unwrap_or(&argument.name));
        len += 1;
    }
    if let Some(index) = argument.key_spec {
        reply.bulk(b"key_spec_index");
        reply.integer(index as i64);
        len += 1;
    }
    if let Some(token) = &argument.token {
        pair(reply, "token", token);
        len += 1;
    }
    for (name, version) in [("since", &argument.since), ("deprecated_since", &argument.deprecated)] {
        if let Some(version) = version {
            pair(reply, name, version);
            len += 1;
        }
    }
    let flags = [
        (argument.optional, "optional"),
        (argument.multiple, "multiple"),
        (argument.multiple_token, "multiple_token"),
    ];
    let flag_count = flags.iter().filter(|(on, _)| *on).count();
    if flag_count > 0 {
        reply.bulk(b"flags");
        reply.set(flag_count);
        flags.iter().filter(|(on, _)| *on).for_each(|(_, name)| reply.simple(name));
        len += 1;
    }
    if !argument.children.is_empty() {
        write_arguments(&argument.children, reply);
        len += 1;
    }
    reply.finish_map(map, len);
}
