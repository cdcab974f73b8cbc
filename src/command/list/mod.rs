//! The family `list`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `ends` | pushing and popping: LPUSH, LPOP and their relatives, LMPOP |
//! | `transfer` | from list to list: LMOVE, RPOPLPUSH |
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
mod position;
mod transfer;

use super::row::{BASE, Begin, Find, KeyAccess, KeySpec, key_at};
use super::{Args, Command, CommandError, Context, Flags, Group, Scope};
use crate::resp::Reply;
use crate::store::{End, Item, ListLimits, Reach};

/// Most begin at the left end.
const LIST: Command =
    Command { group: Group::List, scope: Scope::Keys, reach: Reach::ListEnd(End::Left), ..BASE };

const RIGHT: Reach = Reach::ListEnd(End::Right);

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
}];

const PUSH_COMPLEXITY: &str = "O(1) for each element added, so O(N) to add N elements when the command is called with multiple \
    arguments.";
const POP_COMPLEXITY: &str = "O(N) where N is the number of elements returned";

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "lindex",
        arity: 3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(N) where N is the number of elements to traverse to get to the element at index. This makes asking for \
            the first or the last element of the list O(1).",
        summary: "Returns an element from a list by its index.",
        syntax: "key index",
        handler: inner::lindex,
        ..LIST
    },
    Command {
        name: "linsert",
        arity: 5,
        flags: GROW,
        keys: KEY_PUSH,
        since: "2.2.0",
        complexity: "O(N) where N is the number of elements to traverse before seeing the value pivot. This means that \
            inserting somewhere on the left end on the list (head) can be considered O(1) and inserting somewhere on the right \
            end (tail) is O(N).",
        summary: "Inserts an element before or after another element in a list.",
        syntax: "key <BEFORE | AFTER> pivot element",
        handler: inner::linsert,
        ..LIST
    },
    Command {
        name: "llen",
        arity: 2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Look)],
        reach: Reach::Entry,
        summary: "Returns the length of a list.",
        syntax: "key",
        handler: inner::llen,
        ..LIST
    },
    Command {
        name: "lmove",
        arity: 5,
        flags: GROW,
        keys: KEYS_MOVE,
        since: "6.2.0",
        summary: "Returns an element after popping it from one list and pushing it to another. Deletes the list if the last \
            element was moved.",
        syntax: "source destination <LEFT | RIGHT> <LEFT | RIGHT>",
        handler: transfer::lmove,
        ..LIST
    },
    Command {
        name: "lmpop",
        arity: -4,
        flags: Flags::WRITE,
        keys: KEYS_COUNTED_POP,
        since: "7.0.0",
        complexity: "O(N+M) where N is the number of provided keys and M is the number of elements returned.",
        summary: "Returns multiple elements from a list after removing them. Deletes the list if the last element was popped.",
        syntax: "numkeys key [key ...] <LEFT | RIGHT> [COUNT count]",
        handler: ends::lmpop,
        ..LIST
    },
    Command {
        name: "lpop",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_POP,
        complexity: POP_COMPLEXITY,
        summary: "Returns the first elements in a list after removing it. Deletes the list if the last element was popped.",
        syntax: "key [count]",
        handler: ends::lpop,
        ..LIST
    },
    Command {
        name: "lpos",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "6.0.6",
        complexity: "O(N) where N is the number of elements in the list, for the average case. When searching for elements near \
            the head or the tail of the list, or when the MAXLEN option is provided, the command may run in constant time.",
        summary: "Returns the index of matching elements in a list.",
        syntax: "key element [RANK rank] [COUNT num-matches] [MAXLEN len]",
        handler: position::lpos,
        ..LIST
    },
    Command {
        name: "lpush",
        arity: -3,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        complexity: PUSH_COMPLEXITY,
        summary: "Prepends one or more elements to a list. Creates the key if it doesn't exist.",
        syntax: "key element [element ...]",
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
        summary: "Prepends one or more elements to a list only when the list exists.",
        syntax: "key element [element ...]",
        handler: ends::lpushx,
        ..LIST
    },
    Command {
        name: "lrange",
        arity: 4,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(S+N) where S is the distance of start offset from HEAD for small lists, from nearest end (HEAD or TAIL) \
            for large lists; and N is the number of elements in the specified range.",
        summary: "Returns a range of elements from a list.",
        syntax: "key start stop",
        handler: inner::lrange,
        ..LIST
    },
    Command {
        name: "lrem",
        arity: 4,
        flags: Flags::WRITE,
        keys: KEY_REMOVE,
        complexity: "O(N+M) where N is the length of the list and M is the number of elements removed.",
        summary: "Removes elements from a list. Deletes the list if the last element was removed.",
        syntax: "key count element",
        handler: inner::lrem,
        ..LIST
    },
    Command {
        name: "lset",
        arity: 4,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::Update)],
        complexity: "O(N) where N is the length of the list. Setting either the first or the last element of the list is O(1).",
        summary: "Sets the value of an element in a list by its index.",
        syntax: "key index element",
        handler: inner::lset,
        ..LIST
    },
    Command {
        name: "ltrim",
        arity: 4,
        flags: Flags::WRITE,
        keys: KEY_REMOVE,
        complexity: "O(N) where N is the number of elements to be removed by the operation.",
        summary: "Removes elements from both ends a list. Deletes the list if all elements were trimmed.",
        syntax: "key start stop",
        handler: inner::ltrim,
        ..LIST
    },
    Command {
        name: "rpop",
        arity: -2,
        reach: RIGHT,
        flags: WRITE_FAST,
        keys: KEY_POP,
        complexity: POP_COMPLEXITY,
        summary: "Returns and removes the last elements of a list. Deletes the list if the last element was popped.",
        syntax: "key [count]",
        handler: ends::rpop,
        ..LIST
    },
    Command {
        name: "rpoplpush",
        arity: 3,
        reach: RIGHT,
        flags: GROW,
        keys: KEYS_MOVE,
        since: "1.2.0",
        summary: "Returns the last element of a list after removing and pushing it to another list. Deletes the list if the \
            last element was popped.",
        syntax: "source destination",
        deprecated: Some(("6.2.0", "`LMOVE` with the `RIGHT` and `LEFT` arguments")),
        handler: transfer::rpoplpush,
        ..LIST
    },
    Command {
        name: "rpush",
        arity: -3,
        reach: RIGHT,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        complexity: PUSH_COMPLEXITY,
        summary: "Appends one or more elements to a list. Creates the key if it doesn't exist.",
        syntax: "key element [element ...]",
        handler: ends::rpush,
        ..LIST
    },
    Command {
        name: "rpushx",
        arity: -3,
        reach: RIGHT,
        flags: GROW_FAST,
        keys: KEY_PUSH,
        since: "2.2.0",
        complexity: PUSH_COMPLEXITY,
        summary: "Appends one or more elements to a list only when the list exists.",
        syntax: "key element [element ...]",
        handler: ends::rpushx,
        ..LIST
    },
];

/// How long packed lists and chunks may be.
#[inline]
fn limits(ctx: &Context<'_>) -> ListLimits {
    ListLimits::new(ctx.config.list_max_listpack_size)
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

/// Replies an element; a long one from where it lies.
#[inline]
fn reply_item(item: Item<'_>, reply: &mut Reply<'_>) {
    match item {
        Item::Bytes(bytes) => reply.bulk(bytes),
        Item::Int(value) => reply.bulk_integer(value),
        Item::Blob(blob) => reply.blob(blob),
    }
}

/// The element that an index means, negative ones counting from the end.
fn index_in(len: usize, index: i64) -> Option<usize> {
    let index = if index < 0 { index.checked_add(len as i64)? } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}
