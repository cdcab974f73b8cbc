//! HIMPORT: hashes whose fields have been named once, by a client that is about to write many of the same kind.
//!
//! Design: a fieldset is the connection's own, a part of its session: it moves with that to another worker, RESET ends it, and its
//! bytes count as the client's. HIMPORT SET stores an ordinary hash, and is repeated as DEL, where there was something, and HSET,
//! which need no fieldset and which any server understands.
//!
//! Costs: finding a fieldset is O(log n).

use super::super::row::{KeyAccess, KeySpec, key_at};
use super::super::{Args, Command, CommandError, Context, Flags, Outcome, Scope};
use super::{HASH, HSET, limits};
use crate::resp::Reply;
use crate::store::{Deadline, NewHash, NewItem, NewValue, PackForm};

const DUPLICATE: CommandError = CommandError::Text("ERR duplicate field name in fieldset");
const NO_FIELDSET: CommandError = CommandError::Text("ERR no such fieldset");
const VALUE_COUNT: CommandError = CommandError::Text("ERR value count does not match fieldset field count");

const KEY: &[KeySpec] = &[key_at(2, KeyAccess::Overwrite)];

const IMPORT: Command = Command { since: "8.10.0", ..HASH };

/// The rows of this file.
pub const ROWS: &[Command] = &[Command {
    name: "himport",
    arity: -2,
    scope: Scope::None,
    complexity: "that of the subcommand",
    summary: "Writes many hashes whose fields have the same names.",
    subcommands: &[
        Command {
            name: "discard",
            arity: 3,
            scope: Scope::None,
            complexity: "O(N), N fieldsets of the connection",
            summary: "Forgets the names of a fieldset.",
            syntax: "fieldset-name:string",
            handler: discard,
            ..IMPORT
        },
        Command {
            name: "discardall",
            arity: 2,
            scope: Scope::None,
            complexity: "O(N), N fieldsets of the connection",
            summary: "Forgets all fieldsets of the connection.",
            handler: discardall,
            ..IMPORT
        },
        Command {
            name: "prepare",
            arity: -4,
            flags: Flags::DENYOOM,
            scope: Scope::None,
            complexity: "O(N log N), N fields",
            summary: "Names the fields of hashes that the connection is about to write.",
            syntax: "fieldset-name:string field...",
            handler: prepare,
            ..IMPORT
        },
        Command {
            name: "set",
            arity: -5,
            flags: Flags::WRITE.with(Flags::DENYOOM),
            keys: KEY,
            complexity: "O(N), N fields",
            summary: "Stores a hash whose fields a fieldset names.",
            syntax: "key fieldset-name:string value...",
            handler: set,
            ..IMPORT
        },
    ],
    ..IMPORT
}];

/// Names of fields, in the order in which their values come.
#[derive(Debug)]
struct Fieldset {
    /// What it is called.
    name: Box<[u8]>,
    /// The names behind each other.
    bytes: Box<[u8]>,
    /// Where each ends.
    ends: Box<[usize]>,
}

impl Fieldset {
    fn new(name: &[u8], fields: &[&[u8]]) -> Fieldset {
        let ends = fields.iter().scan(0, |end, field| {
            *end += field.len();
            Some(*end)
        });
        Fieldset { name: name.into(), bytes: fields.concat().into(), ends: ends.collect() }
    }

    fn fields(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let field = &self.bytes[start..*end];
            start = *end;
            field
        })
    }

    fn allocated(&self) -> usize {
        size_of::<Fieldset>() + self.name.len() + self.bytes.len() + size_of_val(&*self.ends)
    }
}

/// The fieldsets of a connection.
#[derive(Debug, Default)]
pub struct Fieldsets {
    /// In the order of their names.
    all: Vec<Fieldset>,
    bytes: usize,
}

impl Fieldsets {
    /// Bytes allocated for them.
    pub fn bytes_allocated(&self) -> usize {
        self.bytes
    }

    fn search(&self, name: &[u8]) -> Result<usize, usize> {
        self.all.binary_search_by(|fieldset| (*fieldset.name).cmp(name))
    }

    fn find(&self, name: &[u8]) -> Option<&Fieldset> {
        self.search(name).ok().map(|place| &self.all[place])
    }

    /// Adds one, in the place of one of its name.
    fn set(&mut self, fieldset: Fieldset) {
        self.remove(&fieldset.name);
        let place = self.search(&fieldset.name).unwrap_or_else(|place| place);
        self.bytes += fieldset.allocated();
        self.all.insert(place, fieldset);
    }

    fn remove(&mut self, name: &[u8]) -> bool {
        let Ok(place) = self.search(name) else { return false };
        self.bytes -= self.all.remove(place).allocated();
        true
    }
}

/// PREPARE.
fn prepare(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let fields: Vec<&[u8]> = args.from(3).collect();
    let mut sorted = fields.clone();
    sorted.sort_unstable();
    if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(DUPLICATE);
    }
    ctx.session.fieldsets.get_or_insert_default().set(Fieldset::new(args.at(2), &fields));
    reply.ok();
    Ok(())
}

/// SET. Errors in this order: no such fieldset, number of values. The type of what there was does not matter.
fn set(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const VALUES_AT: usize = 4;
    let limits = limits(ctx);
    let known = ctx.session.fieldsets.as_ref().and_then(|all| all.find(args.at(3))).ok_or(NO_FIELDSET)?;
    let count = args.len() - VALUES_AT;
    if known.ends.len() != count {
        return Err(VALUE_COUNT);
    }
    let mut hash = NewHash::new(PackForm::Pairs);
    for (field, value) in known.fields().zip(args.from(VALUES_AT)) {
        hash.add(&NewItem::Bytes(field), &NewItem::Bytes(value), None);
    }
    // The names are in the hash, too; but who repeats it needs them in their order, and the session is not to be had any more.
    let names: Vec<Box<[u8]>> =
        if ctx.changes.is_listened() { known.fields().map(Into::into).collect() } else { Vec::new() };
    let mut place = ctx.write(args, 2);
    let is_there = place.entry().is_some();
    place.set_new(NewValue::Hash(hash, limits), Deadline::None);
    place.event(HSET);
    place.count_as(count);
    if is_there {
        place.repeat_as(|words| {
            words.add("DEL").add(args.at(2));
        });
    }
    place.repeat_as(|words| {
        words.add("HSET").add(args.at(2));
        for (name, value) in names.iter().zip(args.from(VALUES_AT)) {
            words.add(&**name).add(value);
        }
    });
    reply.ok();
    Ok(())
}

/// DISCARD.
fn discard(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let was_there = ctx.session.fieldsets.as_mut().is_some_and(|all| all.remove(args.at(2)));
    ctx.session.fieldsets.take_if(|all| all.all.is_empty());
    reply.integer(was_there.into());
    Ok(())
}

/// DISCARDALL.
fn discardall(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let all = ctx.session.fieldsets.take();
    reply.integer(all.map_or(0, |all| all.all.len()) as i64);
    Ok(())
}
