//! The rows of the family `hyperloglog`.

use super::{add, count, debug, merge};
use crate::command::row::{BASE, KeyAccess, key_at, keys_from};
use crate::command::{Command, Flags, Group, Scope};

const SKETCH: Command = Command { group: Group::HyperLogLog, scope: Scope::Keys, since: "2.8.9", ..BASE };

const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "pfadd",
        arity: -2,
        flags: GROW.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Add)],
        complexity: "O(N), N elements",
        summary: "Adds elements to a sketch that counts them.",
        syntax: "key [element...]",
        handler: add::pfadd,
        ..SKETCH
    },
    Command {
        name: "pfcount",
        arity: -2,
        flags: Flags::READONLY.with(Flags::MAY_REPLICATE),
        keys: &[keys_from(1, -1, 1, KeyAccess::ReadRecode)],
        complexity: "O(N), N keys; of one key mostly a look at what was noted",
        summary: "Estimates how many elements one sketch has, or several together.",
        syntax: "key...",
        handler: count::pfcount,
        ..SKETCH
    },
    Command {
        name: "pfdebug",
        arity: 3,
        flags: GROW.with(Flags::ADMIN),
        keys: &[key_at(2, KeyAccess::ReadRecode)],
        complexity: "O(N), N registers",
        summary: "Shows what is inside of a sketch, for tests.",
        syntax: "subcommand key",
        internal: true,
        handler: debug::pfdebug,
        ..SKETCH
    },
    Command {
        name: "pfmerge",
        arity: -2,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::ReadAdd), keys_from(2, -1, 1, KeyAccess::Read)],
        complexity: "O(N), N sketches",
        summary: "Adds what sketches have counted to one of them, or to a new one.",
        syntax: "destkey [sourcekey#1...]",
        handler: merge::pfmerge,
        ..SKETCH
    },
    Command {
        name: "pfselftest",
        arity: 1,
        flags: Flags::ADMIN,
        scope: Scope::Alone,
        complexity: "O(1), though a long one",
        summary: "Tests the sketches of this server against what they should say.",
        internal: true,
        handler: debug::pfselftest,
        ..SKETCH
    },
];
