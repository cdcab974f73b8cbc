//! The family `set`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `members` | one set's members: SADD, SREM, SISMEMBER, SMISMEMBER, SCARD, SMEMBERS, SMOVE |
//! | `random` | SPOP, SRANDMEMBER |
//! | `algebra` | SINTER, SUNION, SDIFF, what stores them and what counts them |
//! | `scan` | SSCAN |
//!
//! Costs: members are replied straight from where they lie; only those that are taken out at random are copied.

mod algebra;
mod members;
mod random;
mod scan;

use super::row::{BASE, Begin, Find, KeyAccess, KeySpec, key_at, keys_from};
use super::{Command, Flags, Group, Scope};
use crate::store::{Class, Event};

const SET: Command = Command { group: Group::Set, scope: Scope::Keys, ..BASE };

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
const STORING: Flags = Flags::WRITE.with(Flags::DENYOOM);
const COUNTING: Flags = Flags::READONLY.with(Flags::MOVABLEKEYS);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEY_LOOK: &[KeySpec] = &[key_at(1, KeyAccess::Look)];
const KEYS_READ: &[KeySpec] = &[keys_from(1, -1, 1, KeyAccess::Read)];
const KEYS_STORE: &[KeySpec] = &[key_at(1, KeyAccess::Overwrite), keys_from(2, -1, 1, KeyAccess::Read)];
const KEYS_COUNTED: &[KeySpec] = &[KeySpec {
    access: KeyAccess::Read,
    begin: Begin::Index(1),
    find: Find::Count { count: 0, first: 1, step: 1 },
    is_incomplete: false,
}];

const ORDER: &[&str] = &["nondeterministic_output_order"];
const OUTPUT: &[&str] = &["nondeterministic_output"];

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "sadd",
        arity: -3,
        flags: Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Add)],
        complexity: "O(N), N members added",
        summary: "Adds members to a set.",
        syntax: "key member...",
        handler: members::sadd,
        ..SET
    },
    Command {
        name: "scard",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_LOOK,
        summary: "Counts the members of a set.",
        syntax: "key",
        shares: true,
        handler: members::scard,
        ..SET
    },
    Command {
        name: "sdiff",
        arity: -2,
        flags: Flags::READONLY,
        keys: KEYS_READ,
        complexity: "O(N), N members of all sets",
        tips: ORDER,
        may_take_long: true,
        summary: "Lists what is in the first set and in no other.",
        syntax: "key...",
        shares: true,
        handler: algebra::sdiff,
        ..SET
    },
    Command {
        name: "sdiffcard",
        arity: -3,
        flags: COUNTING,
        keys: KEYS_COUNTED,
        since: "8.10.0",
        complexity: "O(N), N members of all sets",
        may_take_long: true,
        summary: "Counts what is in the first set and in no other.",
        syntax: "numkeys key... [LIMIT limit]",
        shares: true,
        handler: algebra::sdiffcard,
        ..SET
    },
    Command {
        name: "sdiffstore",
        arity: -3,
        flags: STORING,
        keys: KEYS_STORE,
        complexity: "O(N), N members of all sets",
        may_take_long: true,
        summary: "Stores what is in the first set and in no other.",
        syntax: "destination key#1...",
        handler: algebra::sdiffstore,
        ..SET
    },
    Command {
        name: "sinter",
        arity: -2,
        flags: Flags::READONLY,
        keys: KEYS_READ,
        complexity: "O(N*M), N members of the smallest of M sets",
        tips: ORDER,
        may_take_long: true,
        summary: "Lists what is in all sets.",
        syntax: "key...",
        shares: true,
        handler: algebra::sinter,
        ..SET
    },
    Command {
        name: "sintercard",
        arity: -3,
        flags: COUNTING,
        keys: KEYS_COUNTED,
        since: "7.0.0",
        complexity: "O(N*M), N members of the smallest of M sets",
        may_take_long: true,
        summary: "Counts what is in all sets.",
        syntax: "numkeys key... [LIMIT limit]",
        shares: true,
        handler: algebra::sintercard,
        ..SET
    },
    Command {
        name: "sinterstore",
        arity: -3,
        flags: STORING,
        keys: KEYS_STORE,
        complexity: "O(N*M), N members of the smallest of M sets",
        may_take_long: true,
        summary: "Stores what is in all sets.",
        syntax: "destination key#1...",
        handler: algebra::sinterstore,
        ..SET
    },
    Command {
        name: "sismember",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_LOOK,
        summary: "Tells whether something is in a set.",
        syntax: "key member",
        shares: true,
        handler: members::sismember,
        ..SET
    },
    Command {
        name: "smembers",
        arity: 2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(N), N members",
        tips: ORDER,
        summary: "Lists the members of a set.",
        syntax: "key",
        shares: true,
        handler: members::smembers,
        ..SET
    },
    Command {
        name: "smismember",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "6.2.0",
        complexity: "O(N), N members asked for",
        summary: "Tells which of several are in a set.",
        syntax: "key member...",
        shares: true,
        handler: members::smismember,
        ..SET
    },
    Command {
        name: "smove",
        arity: 4,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::ReadDelete), key_at(2, KeyAccess::Add)],
        summary: "Takes a member from one set to another.",
        syntax: "source destination#1 member",
        handler: members::smove,
        ..SET
    },
    Command {
        name: "spop",
        arity: -2,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::ReadDelete)],
        complexity: "O(N), N members taken",
        tips: OUTPUT,
        summary: "Takes members out at random.",
        syntax: "key [count@3.2.0]",
        handler: random::spop,
        ..SET
    },
    Command {
        name: "srandmember",
        arity: -2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(N), N members picked",
        tips: OUTPUT,
        summary: "Picks members at random.",
        syntax: "key [count@2.6.0]",
        shares: true,
        handler: random::srandmember,
        ..SET
    },
    Command {
        name: "srem",
        arity: -3,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::Remove)],
        complexity: "O(N), N members removed",
        summary: "Removes members from a set.",
        syntax: "key member...",
        handler: members::srem,
        ..SET
    },
    Command {
        name: "sscan",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "2.8.0",
        complexity: "O(N), N members visited by the call",
        tips: OUTPUT,
        summary: "Lists the members of a set, some at each call.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        shares: true,
        handler: scan::sscan,
        ..SET
    },
    Command {
        name: "sunion",
        arity: -2,
        flags: Flags::READONLY,
        keys: KEYS_READ,
        complexity: "O(N), N members of all sets",
        tips: ORDER,
        may_take_long: true,
        summary: "Lists what is in any of the sets.",
        syntax: "key...",
        shares: true,
        handler: algebra::sunion,
        ..SET
    },
    Command {
        name: "sunioncard",
        arity: -3,
        flags: COUNTING,
        keys: KEYS_COUNTED,
        since: "8.10.0",
        complexity: "O(N), N members of all sets",
        may_take_long: true,
        summary: "Counts what is in any of the sets.",
        syntax: "numkeys key... [APPROX] [LIMIT limit]",
        shares: true,
        handler: algebra::sunioncard,
        ..SET
    },
    Command {
        name: "sunionstore",
        arity: -3,
        flags: STORING,
        keys: KEYS_STORE,
        complexity: "O(N), N members of all sets",
        may_take_long: true,
        summary: "Stores what is in any of the sets.",
        syntax: "destination key#1...",
        handler: algebra::sunionstore,
        ..SET
    },
];

/// What happened to a set.
const fn event(name: &'static str) -> Event {
    Event::new(Class::Set, name)
}
