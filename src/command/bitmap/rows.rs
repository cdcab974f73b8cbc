//! The rows of the family `bitmap`.

use super::{bit, count, field, operation};
use crate::command::row::{BASE, KeyAccess, KeySpec, key_at, keys_from};
use crate::command::{Command, Flags, Group, Scope};

const BITMAP: Command = Command { group: Group::Bitmap, scope: Scope::Keys, ..BASE };

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "bitcount",
        arity: -2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "2.6.0",
        complexity: "O(N), N bytes counted",
        summary: "Counts the bits of a string that are set.",
        syntax: "key range:[start end unit:[BYTE | BIT]@7.0.0]",
        shares: true,
        handler: count::bitcount,
        ..BITMAP
    },
    Command {
        name: "bitfield",
        arity: -2,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::VariableBits)],
        since: "3.2.0",
        complexity: "O(N), N operations",
        summary: "Reads, sets and adds to integers of any width among the bits of a string.",
        syntax: "key operation:[GET get-block:<encoding offset> | write:<[OVERFLOW overflow-block:<WRAP | SAT | FAIL>] write-operation:<SET set-block:<encoding offset value:integer> | INCRBY incrby-block:<encoding offset increment:integer>>>]...",
        handler: field::bitfield,
        ..BITMAP
    },
    Command {
        name: "bitfield_ro",
        arity: -2,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "6.0.0",
        complexity: "O(N), N operations",
        summary: "Reads integers of any width among the bits of a string.",
        syntax: "key [GET get-block:<encoding offset>]...",
        shares: true,
        handler: field::bitfield_ro,
        ..BITMAP
    },
    Command {
        name: "bitop",
        arity: -4,
        flags: GROW,
        keys: &[key_at(2, KeyAccess::Overwrite), keys_from(3, -1, 1, KeyAccess::Read)],
        since: "2.6.0",
        complexity: "O(N), N bytes of all strings",
        summary: "Combines the bits of strings and stores the result.",
        syntax: "operation:<AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE> destkey key#1...",
        may_take_long: true,
        handler: operation::bitop,
        ..BITMAP
    },
    Command {
        name: "bitpos",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "2.8.7",
        complexity: "O(N), N bytes searched",
        summary: "Finds the first bit of a string that is set, or clear.",
        syntax: "key bit range:[start end-unit-block:[end unit:[BYTE | BIT]@7.0.0]]",
        shares: true,
        handler: count::bitpos,
        ..BITMAP
    },
    Command {
        name: "getbit",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "2.2.0",
        summary: "Reads one bit of a string.",
        syntax: "key offset",
        shares: true,
        handler: bit::getbit,
        ..BITMAP
    },
    Command {
        name: "setbit",
        arity: 4,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::ReadUpdate)],
        since: "2.2.0",
        summary: "Sets or clears one bit of a string, which grows as needed.",
        syntax: "key offset value:integer",
        handler: bit::setbit,
        ..BITMAP
    },
];
