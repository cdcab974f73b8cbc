//! SORT and SORT_RO: the elements of a collection in order, or what keys named after them hold.
//!
//! | file | what |
//! |---|---|
//! | `options` | what a command asks for, and which keys and shards it needs |
//! | `elements` | what can be sorted, and the order of elements |
//!
//! Design: the elements are copied into one piece of memory, because looking up the keys that BY and GET name may remove
//! expired ones, and the destination may be the source. BY and GET with a `*` touch keys that no argument names: then, and
//! only then, the command takes all leases (`options::find_keys`).
//!
//! As in Redis, a list under a BY without `*` keeps its order, or is read backwards with DESC; equal numbers are in the order
//! of their texts. Where Redis leaves the order open (ALPHA, equal weights, BY together with LIMIT) it is that of the collection.
//!
//! Unlike Redis, storing serves clients that wait for the destination also where it held a string until then.
//!
//! Costs: one copy of the elements; only the part that LIMIT chooses is put in order.
//!
//! Not here: collections (`store::Elements`).

mod elements;
mod options;

use std::ops::Range;

use elements::{Elements, Order, Weight, score};
use options::{Options, Pattern};

use super::GENERIC;
use crate::command::row::{KeyAccess, KeySpec, key_at, unknown_keys};
use crate::command::{Args, Categories, Command, CommandError, Context, Flags, Outcome, may_read_all, table};
use crate::resp::Reply;
use crate::store::{Class, Event, Hash, Item, NewItem, NewList, NewNode, Str, Type, Typed, View};

const SORTED: KeySpec = key_at(1, KeyAccess::Read);
const NAMED_BY_ELEMENTS: KeySpec = unknown_keys(
    KeyAccess::Read,
    "For the optional BY/GET keyword. It is marked 'unknown' because the key names derive from the content of the key we sort",
);
const DESTINATION: KeySpec = unknown_keys(
    KeyAccess::Overwrite,
    "For the optional STORE keyword. It is marked 'unknown' because the keyword can appear anywhere in the argument array",
);

const SORT: Command = Command {
    arity: -2,
    may_take_long: true,
    complexity: "O(N+M*log(M)), N elements, M returned; O(N) unsorted",
    categories: Categories::SET
        .with(Categories::SORTED_SET)
        .with(Categories::LIST)
        .with(Categories::DANGEROUS),
    ..GENERIC
};

/// The rows of this folder.
pub const ROWS: &[Command] = &[
    Command {
        name: "sort",
        flags: Flags::WRITE.with(Flags::DENYOOM),
        keys: &[SORTED, NAMED_BY_ELEMENTS, DESTINATION],
        finder: Some(options::find_keys),
        summary: "Sorts elements, and returns or stores them.",
        syntax: "key [BY by-pattern/pattern#1] [LIMIT limit:<offset count>] [GET get-pattern/pattern#1]... order:[ASC | DESC] [sorting=ALPHA] [STORE destination#2]",
        handler: sort,
        ..SORT
    },
    Command {
        name: "sort_ro",
        flags: Flags::READONLY,
        keys: &[SORTED, NAMED_BY_ELEMENTS],
        finder: Some(options::find_keys_read),
        since: "7.0.0",
        summary: "Sorts elements and returns them.",
        syntax: "key [BY by-pattern/pattern#1] [LIMIT limit:<offset count>] [GET get-pattern/pattern#1]... order:[ASC | DESC] [sorting=ALPHA]",
        shares: true,
        handler: sort_ro,
        ..SORT
    },
];

const NOT_A_DOUBLE: CommandError =
    CommandError::Text("ERR One or more scores can't be converted into double");

fn sort(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = read(ctx, "sort", args, true)?;
    run(ctx, args, options, reply)
}

fn sort_ro(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = read(ctx, "sort_ro", args, false)?;
    run(ctx, args, options, reply)
}

fn read<'a>(
    ctx: &Context<'_>,
    name: &str,
    args: &Args<'a>,
    stores: bool,
) -> Result<Options<'a>, CommandError> {
    let row = || table().rows().iter().find(|row| row.full_name == name).expect("it is in this file");
    let user = &ctx.session.user;
    Options::read(args, stores, &|| user.is_unrestricted() || may_read_all(user, row(), args))
}

fn run(ctx: &mut Context<'_>, args: &Args<'_>, mut options: Options<'_>, reply: &mut Reply<'_>) -> Outcome {
    let view = ctx.read(args, 1).map(View::of);
    let source = match &view {
        None => None,
        Some(view) => Some(view.as_value().as_elements().ok_or(CommandError::WrongType)?),
    };
    if options.destination.is_some() && source.is_some_and(|source| !source.is_ordered()) {
        options.order_unordered();
    }
    let len = source.map_or(0, |source| source.count());
    let mut chosen = options.chosen(len);
    let mut elements = Elements::default();
    let (backwards, visited) =
        if options.keeps_order { (options.descending, chosen.clone()) } else { (false, 0..len) };
    if let Some(source) = source.filter(|_| !visited.is_empty()) {
        source.each(backwards, visited.start, visited.len(), &mut |item| elements.push(&item));
    }
    if options.may_write && source.is_some_and(|source| source.is_unpacked_by_sort()) {
        ctx.write(args, 1).unpack_for_sort();
    }
    if options.keeps_order {
        chosen = 0..chosen.len();
    } else {
        weigh(ctx, &options, &mut elements)?;
        let order = if options.descending { Order::Descending } else { Order::Ascending };
        elements.sort(order, chosen.clone());
    }
    match options.destination {
        Some(destination) => store(ctx, args, destination, &options, &elements, chosen, reply),
        None => show(ctx, &options, &elements, chosen, reply),
    }
    Ok(())
}

/// Gives each element what it is sorted by: its text, that of its key under BY, or the number that this is.
fn weigh(ctx: &mut Context<'_>, options: &Options<'_>, elements: &mut Elements) -> Outcome {
    // Texts that are not stored are compared as strings of C, as by strcoll.
    let is_whole = options.destination.is_some();
    let mut key = Vec::new();
    for index in 0..elements.len() {
        let Some(pattern) = &options.by else {
            if options.alpha {
                elements.weigh_by_itself(index, is_whole);
            } else {
                let value = score(elements.text(index)).ok_or(NOT_A_DOUBLE)?;
                elements.weigh(index, Weight::Score(value));
            }
            continue;
        };
        match (options.alpha, value_of(ctx, pattern, elements.text(index), &mut key)) {
            (true, None) => elements.weigh(index, Weight::Missing),
            (true, Some(value)) => {
                elements.weigh_by_text(index, value.bytes(&mut itoa::Buffer::new()), is_whole);
            }
            (false, None) => elements.weigh(index, Weight::Score(0.0)),
            (false, Some(Item::Int(value))) => elements.weigh(index, Weight::Score(value as f64)),
            (false, Some(value)) => {
                let value = score(value.bytes(&mut itoa::Buffer::new())).ok_or(NOT_A_DOUBLE)?;
                elements.weigh(index, Weight::Score(value));
            }
        }
    }
    Ok(())
}

/// The string, or the field of a hash, that a pattern means for an element; `key` is room for the key's name.
fn value_of<'c>(
    ctx: &'c mut Context<'_>,
    pattern: &Pattern<'_>,
    element: &[u8],
    key: &mut Vec<u8>,
) -> Option<Item<'c>> {
    let Pattern::Key { before, after, field } = *pattern else { return None };
    key.clear();
    for part in [before, element, after] {
        key.extend_from_slice(part);
    }
    let (hasher, now_ms) = (ctx.hasher(), ctx.now_ms);
    let entry = ctx.read_other(key)?;
    let Some(name) = field else {
        return (entry.ty() == Type::String).then(|| match (entry.string(), entry.blob()) {
            (Str::Int(value), _) => Item::Int(value),
            (_, Some(blob)) => Item::Blob(blob),
            (Str::Bytes(bytes), None) => Item::Bytes(bytes),
        });
    };
    let hash = (entry.ty() == Hash::TYPE).then(|| Hash::of(entry))?;
    hash.get(hasher, name).filter(|field| !field.is_expired(now_ms)).map(|field| field.value)
}

/// Replies the chosen elements, or what GET asks for.
fn show(
    ctx: &mut Context<'_>,
    options: &Options<'_>,
    elements: &Elements,
    chosen: Range<usize>,
    reply: &mut Reply<'_>,
) {
    reply.array(chosen.len() * options.gets.len().max(1));
    let mut key = Vec::new();
    for element in chosen.map(|index| elements.text(index)) {
        if options.gets.is_empty() {
            reply.bulk(element);
        }
        for pattern in &options.gets {
            match (pattern, value_of(ctx, pattern, element, &mut key)) {
                (Pattern::Element, _) => reply.bulk(element),
                (_, Some(Item::Bytes(bytes))) => reply.bulk(bytes),
                (_, Some(Item::Int(value))) => reply.bulk_integer(value),
                (_, Some(Item::Blob(blob))) => reply.blob(blob),
                (_, None) => reply.null(),
            }
        }
    }
}

/// Stores them as a list in the place of whatever the destination held; what is missing is empty there. Replies how many.
fn store(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    destination: usize,
    options: &Options<'_>,
    elements: &Elements,
    chosen: Range<usize>,
    reply: &mut Reply<'_>,
) {
    let mut list = NewList::new(ctx.limits().list);
    let mut key = Vec::new();
    for element in chosen.map(|index| elements.text(index)) {
        if options.gets.is_empty() {
            list.add(NewNode::Item(NewItem::Bytes(element)));
        }
        for pattern in &options.gets {
            let value = value_of(ctx, pattern, element, &mut key);
            list.add(NewNode::Item(match (pattern, value) {
                (Pattern::Element, _) => NewItem::Bytes(element),
                (_, Some(Item::Int(value))) => NewItem::Int(value),
                (_, Some(Item::Bytes(bytes))) => NewItem::Bytes(bytes),
                (_, Some(Item::Blob(blob))) => NewItem::Blob(blob.clone()),
                (_, None) => NewItem::Bytes(b""),
            }));
        }
    }
    let count = list.len();
    let mut place = ctx.write(args, destination);
    if count == 0 {
        if place.remove() {
            place.event(Event::DEL);
        }
    } else {
        place.set_list(list);
        place.set_deadline(None);
        place.count_as(count);
        place.event(Event::new(Class::List, "sortstore"));
    }
    reply.integer(count as i64);
}
