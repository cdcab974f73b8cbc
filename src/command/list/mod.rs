//! The family `list`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `ends` | pushing and popping: LPUSH, LPOP and their relatives, LMPOP |
//! | `transfer` | from list to list: LMOVE, RPOPLPUSH |
//! | `many` | several elements from list to list: LMOVEM |
//! | `inner` | what lies inside: LRANGE, LINDEX, LSET, LINSERT, LREM, LTRIM, LLEN |
//! | `position` | LPOS |
//! | `blocking` | those that wait for something to pop: BLPOP and its relatives |
//!
//! Design: `ends` and `transfer` have functions that do their work on places of keys already found, for commands that come
//! to it in another way.
//!
//! Costs: elements are replied straight from packed memory; only LMOVE between two keys copies one.

pub(super) mod blocking;
mod ends;
mod inner;
mod many;
mod position;
mod transfer;

use super::row::{BASE, Begin, Find, KeyAccess, KeySpec, key_at};
use super::{Args, Command, CommandError, Context, Flags, Group, Scope};
use crate::store::{Class, End, Event, ListLimits, PrefetchHint};

/// Most begin at the left end.
const LIST: Command = Command {
    group: Group::List,
    scope: Scope::Keys,
    prefetch_hint: PrefetchHint::ListEnd(End::Left),
    ..BASE
};

const RIGHT: PrefetchHint = PrefetchHint::ListEnd(End::Right);

const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEY_PUSH: &[KeySpec] = &[key_at(1, KeyAccess::Add)];
const KEY_POP: &[KeySpec] = &[key_at(1, KeyAccess::ReadDelete)];
const KEY_REMOVE: &[KeySpec] = &[key_at(1, KeyAccess::Remove)];
const KEYS_MOVE: &[KeySpec] = &[key_at(1, KeyAccess::ReadDelete), key_at(2, KeyAccess::Add)];
const KEYS_COUNTED_POP: &[KeySpec] = &[KeySpec {
    access: KeyAccess::ReadDelete,
    begin: Begin::Index(1),
    find: Find::Count { count: 0, first: 1, step: 1 },
    is_incomplete: false,
}];

const PUSH_COMPLEXITY: &str = "O(N), N elements added";
const POP_COMPLEXITY: &str = "O(N), N elements taken";

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "lindex",
        arity: 3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(N), N elements from the nearer end",
        summary: "Reads the element at an index.",
        syntax: "key index",
        shares: true,
        handler: inner::lindex,
        ..LIST
    },
    Command {
        name: "linsert",
        arity: 5,
        flags: GROW,
        keys: KEY_PUSH,
        since: "2.2.0",
        complexity: "O(N), N elements before the pivot",
        summary: "Puts an element before or behind another.",
        syntax: "key where:<BEFORE | AFTER> pivot element",
        handler: inner::linsert,
        ..LIST
    },
    Command {
        name: "llen",
        arity: 2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Look)],
        prefetch_hint: PrefetchHint::Entry,
        summary: "Counts the elements of a list.",
        syntax: "key",
        shares: true,
        handler: inner::llen,
        ..LIST
    },
    Command {
        name: "lmove",
        arity: 5,
        flags: GROW,
        keys: KEYS_MOVE,
        since: "6.2.0",
        summary: "Moves an element from one list's end to another's.",
        syntax: "source destination#1 wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT>",
        handler: transfer::lmove,
        ..LIST
    },
    Command {
        name: "lmovem",
        arity: -5,
        flags: GROW,
        keys: KEYS_MOVE,
        since: "8.10.0",
        complexity: "O(N), N elements moved",
        summary: "Moves elements from one list's end to another's, at most or exactly so many.",
        syntax: "source destination#1 wherefrom:<LEFT | RIGHT> whereto:<LEFT | RIGHT> how-many:[selector:<COUNT count | EXACTLY exactly:integer> ordering:<OBO | BULK>]",
        handler: many::lmovem,
        ..LIST
    },
    Command {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE,
        keys: KEYS_COUNTED_POP,
        since: "7.0.0",
        complexity: "O(K+N), K keys, N elements taken",
        summary: "Takes elements from the first list that has any.",
        syntax: "numkeys key... where:<LEFT | RIGHT> [COUNT count]",
        handler: ends::lmpop,
        ..LIST
    },
    Command {
        name: "lpop",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_POP,
        complexity: POP_COMPLEXITY,
        summary: "Takes elements from the left end.",
        syntax: "key [count@6.2.0]",
        handler: ends::lpop,
        ..LIST
    },
    Command {
        name: "lpos",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "6.0.6",
        complexity: "O(N), N elements compared",
        summary: "Finds where an element stands.",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        shares: true,
        handler: position::lpos,
        ..LIST
    },
    Command {
        name: "lpush",
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        complexity: PUSH_COMPLEXITY,
        summary: "Adds elements at the left end.",
        syntax: "key element...",
        handler: ends::lpush,
        ..LIST
    },
    Command {
        name: "lpushx",
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        since: "2.2.0",
        complexity: PUSH_COMPLEXITY,
        summary: "Adds elements at the left end of a list that exists.",
        syntax: "key element...",
        handler: ends::lpushx,
        ..LIST
    },
    Command {
        name: "lrange",
        arity: 4,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(S+N), S elements from the nearer end to the first of N",
        summary: "Reads the elements between two indexes.",
        syntax: "key start stop",
        shares: true,
        handler: inner::lrange,
        ..LIST
    },
    Command {
        name: "lrem",
        arity: 4,
        flags: Flags::WRITE,
        keys: KEY_REMOVE,
        complexity: "O(N), N elements of the list",
        summary: "Removes elements that equal a value.",
        syntax: "key count element",
        handler: inner::lrem,
        ..LIST
    },
    Command {
        name: "lset",
        arity: 4,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::Update)],
        complexity: "O(N), N elements from the nearer end",
        summary: "Replaces the element at an index.",
        syntax: "key index element",
        handler: inner::lset,
        ..LIST
    },
    Command {
        name: "ltrim",
        arity: 4,
        flags: Flags::WRITE,
        keys: KEY_REMOVE,
        complexity: "O(N), N elements removed",
        summary: "Keeps the elements between two indexes only.",
        syntax: "key start stop",
        handler: inner::ltrim,
        ..LIST
    },
    Command {
        name: "rpop",
        arity: -2,
        prefetch_hint: RIGHT,
        flags: WRITE_FAST,
        keys: KEY_POP,
        complexity: POP_COMPLEXITY,
        summary: "Takes elements from the right end.",
        syntax: "key [count@6.2.0]",
        handler: ends::rpop,
        ..LIST
    },
    Command {
        name: "rpoplpush",
        arity: 3,
        prefetch_hint: RIGHT,
        flags: GROW,
        keys: KEYS_MOVE,
        since: "1.2.0",
        summary: "Moves an element from a right end to a left end.",
        syntax: "source destination#1",
        deprecated: Some(("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")),
        handler: transfer::rpoplpush,
        ..LIST
    },
    Command {
        name: "rpush",
        arity: -3,
        prefetch_hint: RIGHT,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        complexity: PUSH_COMPLEXITY,
        summary: "Adds elements at the right end.",
        syntax: "key element...",
        handler: ends::rpush,
        ..LIST
    },
    Command {
        name: "rpushx",
        arity: -3,
        prefetch_hint: RIGHT,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        since: "2.2.0",
        complexity: PUSH_COMPLEXITY,
        summary: "Adds elements at the right end of a list that exists.",
        syntax: "key element...",
        handler: ends::rpushx,
        ..LIST
    },
];

/// What happened to a list.
const fn event(name: &'static str) -> Event {
    Event::new(Class::List, name)
}

/// Elements were added at an end.
fn pushed(end: End) -> Event {
    if end == End::Left { event("lpush") } else { event("rpush") }
}

/// Elements were taken from an end.
fn popped(end: End) -> Event {
    if end == End::Left { event("lpop") } else { event("rpop") }
}

/// The command that takes elements from an end.
fn pop_name(end: End) -> &'static str {
    if end == End::Left { "LPOP" } else { "RPOP" }
}

/// How long packed lists and nodes may be.
#[inline]
fn limits(ctx: &Context<'_>) -> ListLimits {
    ctx.limits().list
}

/// The end of a list that argument `index` names.
fn end_at(args: &Args<'_>, index: usize) -> Result<End, CommandError> {
    if args.is(index, "LEFT") {
        Ok(End::Left)
    } else if args.is(index, "RIGHT") {
        Ok(End::Right)
    } else {
        Err(CommandError::Syntax)
    }
}

/// The element that an index means, negative ones counting from the end.
fn index_in(len: usize, index: i64) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}
