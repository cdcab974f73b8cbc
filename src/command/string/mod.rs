//! The family `string`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `value` | whole values: GET, SET and their variants, STRLEN |
//! | `options` | the options of SET, GETEX and MSETEX, and expire times |
//! | `condition` | comparing with what a value is: IFEQ and its like, DELEX, DELIFEQ, DIGEST |
//! | `number` | INCR and its relatives, INCRBYFLOAT |
//! | `bounded` | INCREX |
//! | `range` | parts of values: APPEND, SETRANGE, GETRANGE, SUBSTR |
//! | `many` | several keys: MGET, MSET, MSETNX, MSETEX |
//! | `lcs` | LCS: its options and its reply |
//! | `lcs_table` | the longest common subsequence, 64 columns at a time |
//!
//! Costs: no handler allocates but where a value is stored, INCRBYFLOAT and INCREX (the digits) and LCS (its table).

mod bounded;
mod condition;
mod lcs;
mod lcs_table;
mod many;
mod number;
mod options;
mod range;
mod value;

use super::row::{BASE, Begin, Find, KeyAccess, KeySpec, key_at, keys_from};
use super::{Command, Flags, Group, Scope};

const STRING: Command = Command { group: Group::String, scope: Scope::Keys, ..BASE };

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
const GROW: Flags = Flags::WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEY_READ_UPDATE: &[KeySpec] = &[key_at(1, KeyAccess::ReadUpdate)];
const KEY_OVERWRITE: &[KeySpec] = &[key_at(1, KeyAccess::Overwrite)];

const SUBSTRING_COMPLEXITY: &str = "O(N), N bytes returned";

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "append",
        arity: 3,
        flags: GROW_FAST,
        keys: &[key_at(1, KeyAccess::Add)],
        since: "2.0.0",
        complexity: "O(N), N bytes added; now and then the string is moved",
        summary: "Adds bytes to the end of a string.",
        syntax: "key value",
        handler: range::append,
        ..STRING
    },
    Command {
        name: "decr",
        arity: 2,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Subtracts one from an integer.",
        syntax: "key",
        handler: number::decr,
        ..STRING
    },
    Command {
        name: "decrby",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Subtracts a number from an integer.",
        syntax: "key decrement",
        handler: number::decrby,
        ..STRING
    },
    Command {
        name: "delex",
        arity: -2,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::RemoveVariable)],
        since: "8.4.0",
        complexity: "O(1); with a digest O(N), N bytes of the string",
        summary: "Deletes a key, or a string only if it is what is expected.",
        syntax: "key condition:[IFEQ ifeq-value | IFNE ifne-value | IFDEQ ifdeq-digest | IFDNE ifdne-digest]",
        handler: condition::delex,
        ..STRING
    },
    // Valkey's, and of its version.
    Command {
        name: "delifeq",
        arity: 3,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::Delete)],
        since: "9.0.0",
        summary: "Deletes a string if it is the given one.",
        syntax: "key value",
        handler: condition::delifeq,
        ..STRING
    },
    Command {
        name: "digest",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "8.4.0",
        complexity: "O(N), N bytes of the string",
        summary: "Computes the XXH3 digest of a string.",
        syntax: "key",
        shares: true,
        handler: condition::digest_of,
        ..STRING
    },
    Command {
        name: "get",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_READ,
        summary: "Reads a string.",
        syntax: "key",
        shares: true,
        handler: value::get,
        ..STRING
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::ReadDelete)],
        since: "6.2.0",
        summary: "Reads a string and deletes its key.",
        syntax: "key",
        handler: value::getdel,
        ..STRING
    },
    Command {
        name: "getex",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_READ_UPDATE,
        since: "6.2.0",
        summary: "Reads a string and changes its deadline.",
        syntax: "key expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
        handler: value::getex,
        ..STRING
    },
    Command {
        name: "getrange",
        arity: 4,
        flags: READ,
        keys: KEY_READ,
        since: "2.4.0",
        complexity: SUBSTRING_COMPLEXITY,
        summary: "Reads a part of a string.",
        syntax: "key start end",
        shares: true,
        handler: range::getrange,
        ..STRING
    },
    Command {
        name: "getset",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Replaces a string and returns what it was.",
        syntax: "key value",
        deprecated: Some(("6.2.0", "`SET` with the `!GET` argument")),
        handler: value::getset,
        ..STRING
    },
    Command {
        name: "incr",
        arity: 2,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Adds one to an integer.",
        syntax: "key",
        handler: number::incr,
        ..STRING
    },
    Command {
        name: "incrby",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Adds a number to an integer.",
        syntax: "key increment:integer",
        handler: number::incrby,
        ..STRING
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        since: "2.6.0",
        summary: "Adds a decimal number to a number.",
        syntax: "key increment:double",
        handler: number::incrbyfloat,
        ..STRING
    },
    Command {
        name: "increx",
        arity: -2,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        since: "8.8.0",
        summary: "Adds to a number within bounds, and changes its deadline.",
        syntax: "key increment:[BYFLOAT float:double | BYINT integer:integer] [SATURATE] [LBOUND lowerbound] [UBOUND upperbound] expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] [ENX]",
        handler: bounded::increx,
        ..STRING
    },
    Command {
        name: "lcs",
        arity: -3,
        flags: READ,
        keys: &[keys_from(1, 1, 1, KeyAccess::Read)],
        since: "7.0.0",
        complexity: "O(N*M), N and M the lengths of the two",
        summary: "Finds the longest sequence that two strings have in common.",
        syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        may_take_long: true,
        shares: true,
        handler: lcs::lcs,
        ..STRING
    },
    Command {
        name: "mget",
        arity: -2,
        flags: READ_FAST,
        keys: &[keys_from(1, -1, 1, KeyAccess::Read)],
        complexity: "O(K), K keys",
        summary: "Reads several strings at one instant.",
        syntax: "key...",
        tips: &["request_policy:multi_shard"],
        shares: true,
        handler: many::mget,
        ..STRING
    },
    Command {
        name: "mset",
        arity: -3,
        flags: GROW,
        keys: &[keys_from(1, -1, 2, KeyAccess::Overwrite)],
        since: "1.0.1",
        complexity: "O(K), K keys",
        summary: "Sets several strings at one instant.",
        syntax: "data:<key value>...",
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        handler: many::mset,
        ..STRING
    },
    Command {
        name: "msetex",
        arity: -4,
        flags: GROW.with(Flags::MOVABLEKEYS),
        keys: &[KeySpec {
            access: KeyAccess::Overwrite,
            begin: Begin::Index(1),
            find: Find::Count { count: 0, first: 1, step: 2 },
            is_incomplete: false,
        }],
        since: "8.4.0",
        complexity: "O(K), K keys",
        summary: "Sets several strings that expire together, on a condition for all of them.",
        syntax: "numkeys data:<key value>... condition:[NX | XX] expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        handler: many::msetex,
        ..STRING
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: GROW,
        keys: &[keys_from(1, -1, 2, KeyAccess::Insert)],
        since: "1.0.1",
        complexity: "O(K), K keys",
        summary: "Sets several strings if none of the keys exists.",
        syntax: "data:<key value>...",
        handler: many::msetnx,
        ..STRING
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: GROW,
        keys: KEY_OVERWRITE,
        since: "2.6.0",
        summary: "Sets a string that expires, in milliseconds.",
        syntax: "key milliseconds value",
        deprecated: Some(("2.6.12", "`SET` with the `PX` argument")),
        handler: value::psetex,
        ..STRING
    },
    Command {
        name: "set",
        arity: -3,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::Variable)],
        summary: "Sets a key to a string, whatever it held.",
        syntax: "key value condition:[NX | XX | IFEQ ifeq-value@8.4.0 | IFNE ifne-value@8.4.0 | IFDEQ ifdeq-digest@8.4.0 | IFDNE ifdne-digest@8.4.0]@2.6.12 [GET@6.2.0] expiration:[EX seconds@2.6.12 | PX milliseconds@2.6.12 | EXAT unix-time-seconds@6.2.0 | PXAT unix-time-milliseconds@6.2.0 | KEEPTTL@6.0.0]",
        handler: value::set,
        ..STRING
    },
    Command {
        name: "setex",
        arity: 4,
        flags: GROW,
        keys: KEY_OVERWRITE,
        since: "2.0.0",
        summary: "Sets a string that expires, in seconds.",
        syntax: "key seconds value",
        deprecated: Some(("2.6.12", "`SET` with the `EX` argument")),
        handler: value::setex,
        ..STRING
    },
    Command {
        name: "setnx",
        arity: 3,
        flags: GROW_FAST,
        keys: &[key_at(1, KeyAccess::Insert)],
        summary: "Sets a string if its key does not exist.",
        syntax: "key value",
        deprecated: Some(("2.6.12", "`SET` with the `NX` argument")),
        handler: value::setnx,
        ..STRING
    },
    Command {
        name: "setrange",
        arity: 4,
        flags: GROW,
        keys: &[key_at(1, KeyAccess::Update)],
        since: "2.2.0",
        complexity: "O(N), N bytes written",
        summary: "Overwrites a part of a string, which grows as needed.",
        syntax: "key offset value",
        handler: range::setrange,
        ..STRING
    },
    Command {
        name: "strlen",
        arity: 2,
        flags: READ_FAST,
        keys: &[key_at(1, KeyAccess::Look)],
        since: "2.2.0",
        summary: "Length of a string in bytes.",
        syntax: "key",
        shares: true,
        handler: value::strlen,
        ..STRING
    },
    Command {
        name: "substr",
        arity: 4,
        flags: READ,
        keys: KEY_READ,
        complexity: SUBSTRING_COMPLEXITY,
        summary: "The old name of GETRANGE.",
        syntax: "key start end",
        deprecated: Some(("2.0.0", "`GETRANGE`")),
        shares: true,
        handler: range::getrange,
        ..STRING
    },
];
