//! COMMAND INFO: a row as clients and proxies read it, to find the keys and to know what is allowed when.

use super::super::row::{Begin, Command, Find, KeySpec};
use super::super::{Args, Categories, Context, Flags, Outcome, Row, Table, table};
use super::subrows;
use crate::resp::Reply;

/// COMMAND without arguments.
pub(super) fn all(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    write_all(reply);
    Ok(())
}

/// COMMAND INFO, of all commands or of those named; null for a name that is none.
pub(super) fn some(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() == 2 {
        write_all(reply);
        return Ok(());
    }
    let table = table();
    reply.array(args.len() - 2);
    for name in args.from(2) {
        match table.find_full(name) {
            Some(row) => write(table, row, reply),
            None => reply.null(),
        }
    }
    Ok(())
}

fn write_all(reply: &mut Reply<'_>) {
    let table = table();
    reply.array(table.commands().count());
    table.commands().for_each(|row| write(table, row, reply));
}

pub(super) fn write(table: &Table, row: &Row, reply: &mut Reply<'_>) {
    let command = &row.command;
    reply.array(10);
    reply.bulk(row.full_name.as_bytes());
    reply.integer(i64::from(command.arity));
    write_simple_set(&flags(command).collect::<Vec<_>>(), reply);
    let KeyRange { first, last, step } = key_range(command.keys).0;
    reply.integer(first);
    reply.integer(last);
    reply.integer(step);
    let categories: Vec<_> = Categories::of(command).names().map(|name| format!("@{name}")).collect();
    write_simple_set(&categories, reply);
    reply.set(command.tips.len());
    command.tips.iter().for_each(|tip| reply.bulk(tip.as_bytes()));
    reply.set(command.keys.len());
    command.keys.iter().for_each(|spec| write_spec(spec, reply));
    if row.subrows.is_empty() {
        reply.set(0);
    } else {
        reply.array(row.subrows.len());
    }
    subrows(table, row).for_each(|sub| write(table, sub, reply));
}

fn write_simple_set(names: &[impl AsRef<str>], reply: &mut Reply<'_>) {
    reply.set(names.len());
    names.iter().for_each(|name| reply.simple(name.as_ref()));
}

/// Flags that only this server looks at.
const HIDDEN: Flags =
    Flags::SENTINEL.with(Flags::PROTECTED).with(Flags::TOUCHES_ARBITRARY_KEYS).with(Flags::MAY_REPLICATE);

/// The names of a command's flags; whether its keys can be found without its specifications is seen from these.
pub(super) fn flags(command: &Command) -> impl Iterator<Item = &'static str> {
    let movable = if key_range(command.keys).1 { Flags::MOVABLEKEYS } else { Flags::NONE };
    let flags = command.flags.with(movable);
    let shown = Flags::NAMES.iter().filter(move |(flag, _)| flags.has(*flag) && !HIDDEN.has(*flag));
    shown.map(|(_, name)| *name)
}

/// First key, last key and step, as clients before key specifications knew them; all 0 where there is no such range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct KeyRange {
    pub(super) first: i64,
    pub(super) last: i64,
    pub(super) step: i64,
}

/// The range that covers the specifications, and whether it misses any of them. Ranges that follow each other without a gap
/// are one, so that COPY and RENAME have one of two keys.
pub(super) fn key_range(specs: &[KeySpec]) -> (KeyRange, bool) {
    let mut whole: Option<KeyRange> = None;
    let mut misses = false;
    for spec in specs {
        let (Begin::Index(index), Find::Range { last, step, .. }) = (spec.begin, spec.find) else {
            misses = true;
            continue;
        };
        let first = i64::from(index);
        let last = if last >= 0 { first + i64::from(last) } else { i64::from(last) };
        match &mut whole {
            None => whole = Some(KeyRange { first, last, step: i64::from(step) }),
            Some(whole) if whole.last == first - 1 && whole.step == 1 && step == 1 => whole.last = last,
            Some(_) => misses = true,
        }
    }
    (whole.unwrap_or_default(), misses)
}

fn write_spec(spec: &KeySpec, reply: &mut Reply<'_>) {
    let note = match spec.begin {
        Begin::Unknown(note) => Some(note),
        Begin::Index(_) | Begin::Keyword(..) => None,
    };
    reply.map(3 + usize::from(note.is_some()));
    if let Some(note) = note {
        reply.bulk(b"notes");
        reply.bulk(note.as_bytes());
    }
    reply.bulk(b"flags");
    let incomplete = spec.is_incomplete.then_some("incomplete");
    let flags: Vec<&str> = spec.access.flag_names().iter().copied().chain(incomplete).collect();
    write_simple_set(&flags, reply);
    reply.bulk(b"begin_search");
    reply.map(2);
    reply.bulk(b"type");
    match spec.begin {
        Begin::Index(index) => {
            reply.bulk(b"index");
            write_numbers(&[("index", i64::from(index))], reply);
        }
        Begin::Keyword(word, from) => {
            reply.bulk(b"keyword");
            reply.bulk(b"spec");
            reply.map(2);
            reply.bulk(b"keyword");
            reply.bulk(word.as_bytes());
            reply.bulk(b"startfrom");
            reply.integer(i64::from(from));
        }
        Begin::Unknown(_) => {
            reply.bulk(b"unknown");
            write_numbers(&[], reply);
        }
    }
    reply.bulk(b"find_keys");
    reply.map(2);
    reply.bulk(b"type");
    match spec.find {
        Find::Range { last, step, limit } => {
            reply.bulk(b"range");
            let numbers = [("lastkey", i64::from(last)), ("keystep", step.into()), ("limit", limit.into())];
            write_numbers(&numbers, reply);
        }
        Find::Count { count, first, step } => {
            reply.bulk(b"keynum");
            let numbers =
                [("keynumidx", i64::from(count)), ("firstkey", first.into()), ("keystep", step.into())];
            write_numbers(&numbers, reply);
        }
        Find::Unknown => {
            reply.bulk(b"unknown");
            write_numbers(&[], reply);
        }
    }
}

fn write_numbers(numbers: &[(&str, i64)], reply: &mut Reply<'_>) {
    reply.bulk(b"spec");
    reply.map(numbers.len());
    for (name, number) in numbers {
        reply.bulk(name.as_bytes());
        reply.integer(*number);
    }
}
