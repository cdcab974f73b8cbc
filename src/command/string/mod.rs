//! The family `string`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `value` | whole values: GET, SET and their variants, STRLEN |
//! | `options` | the options of SET and GETEX, and expire times |
//! | `number` | INCR and its relatives, INCRBYFLOAT |
//! | `range` | parts of values: APPEND, SETRANGE, GETRANGE, SUBSTR |
//! | `many` | several keys: MGET, MSET, MSETNX |
//! | `lcs` | LCS: its options and its reply |
//! | `lcs_table` | the longest common subsequence, 64 columns at a time |
//!
//! Costs: no handler allocates but where a value is stored, INCRBYFLOAT (the digits) and LCS (its table).

mod lcs;
mod lcs_table;
mod many;
mod number;
mod options;
mod range;
mod value;

pub(super) use value::reply_string;

use super::row::{BASE, KeyAccess, KeySpec, key_at, keys_from};
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

const SUBSTRING_COMPLEXITY: &str = "O(N) where N is the length of the returned string. The complexity is ultimately determined \
    by the returned length, but because creating a substring from an existing string is very cheap, it can be considered O(1) \
    for small strings.";

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "append",
        arity: 3,
        flags: GROW_FAST,
        keys: &[key_at(1, KeyAccess::Add)],
        since: "2.0.0",
        complexity: "O(1). The amortized time complexity is O(1) assuming the appended value is small and the already \
            present value is of any size, since the dynamic string library used by Redis will double the free space \
            available on every reallocation.",
        summary: "Appends a string to the value of a key. Creates the key if it doesn't exist.",
        syntax: "key value",
        handler: range::append,
        ..STRING
    },
    Command {
        name: "decr",
        arity: 2,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Decrements the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.",
        syntax: "key",
        handler: number::decr,
        ..STRING
    },
    Command {
        name: "decrby",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Decrements a number from the integer value of a key. Uses 0 as initial value if the key doesn't exist.",
        syntax: "key decrement",
        handler: number::decrby,
        ..STRING
    },
    Command {
        name: "get",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_READ,
        summary: "Returns the string value of a key.",
        syntax: "key",
        handler: value::get,
        ..STRING
    },
    Command {
        name: "getdel",
        arity: 2,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::ReadDelete)],
        since: "6.2.0",
        summary: "Returns the string value of a key after deleting the key.",
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
        summary: "Returns the string value of a key after setting its expiration time.",
        syntax: "key [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST]",
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
        summary: "Returns a substring of the string stored at a key.",
        syntax: "key start end",
        handler: range::getrange,
        ..STRING
    },
    Command {
        name: "getset",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Returns the previous string value of a key after setting it to a new value.",
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
        summary: "Increments the integer value of a key by one. Uses 0 as initial value if the key doesn't exist.",
        syntax: "key",
        handler: number::incr,
        ..STRING
    },
    Command {
        name: "incrby",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Increments the integer value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
        syntax: "key increment",
        handler: number::incrby,
        ..STRING
    },
    Command {
        name: "incrbyfloat",
        arity: 3,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        since: "2.6.0",
        summary: "Increment the floating point value of a key by a number. Uses 0 as initial value if the key doesn't exist.",
        syntax: "key increment",
        handler: number::incrbyfloat,
        ..STRING
    },
    Command {
        name: "lcs",
        arity: -3,
        flags: READ,
        keys: &[keys_from(1, 1, 1, KeyAccess::Read)],
        since: "7.0.0",
        complexity: "O(N*M) where N and M are the lengths of s1 and s2, respectively",
        summary: "Finds the longest common substring.",
        syntax: "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        handler: lcs::lcs,
        ..STRING
    },
    Command {
        name: "mget",
        arity: -2,
        flags: READ_FAST,
        keys: &[keys_from(1, -1, 1, KeyAccess::Read)],
        complexity: "O(N) where N is the number of keys to retrieve.",
        summary: "Atomically returns the string values of one or more keys.",
        syntax: "key [key ...]",
        tips: &["request_policy:multi_shard"],
        handler: many::mget,
        ..STRING
    },
    Command {
        name: "mset",
        arity: -3,
        flags: GROW,
        keys: &[keys_from(1, -1, 2, KeyAccess::Overwrite)],
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
        summary: "Atomically creates or modifies the string values of one or more keys.",
        syntax: "key value [key value ...]",
        tips: &["request_policy:multi_shard", "response_policy:all_succeeded"],
        handler: many::mset,
        ..STRING
    },
    Command {
        name: "msetnx",
        arity: -3,
        flags: GROW,
        keys: &[keys_from(1, -1, 2, KeyAccess::Insert)],
        since: "1.0.1",
        complexity: "O(N) where N is the number of keys to set.",
        summary: "Atomically modifies the string values of one or more keys only when all keys don't exist.",
        syntax: "key value [key value ...]",
        tips: &["request_policy:multi_shard", "response_policy:agg_min"],
        handler: many::msetnx,
        ..STRING
    },
    Command {
        name: "psetex",
        arity: 4,
        flags: GROW,
        keys: KEY_OVERWRITE,
        since: "2.6.0",
        summary: "Sets both string value and expiration time in milliseconds of a key. The key is created if it doesn't exist.",
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
        summary: "Sets the string value of a key, ignoring its type. The key is created if it doesn't exist.",
        syntax: "key value [NX | XX] [GET] [EX seconds | PX milliseconds | EXAT unix-time-seconds | \
            PXAT unix-time-milliseconds | KEEPTTL]",
        handler: value::set,
        ..STRING
    },
    Command {
        name: "setex",
        arity: 4,
        flags: GROW,
        keys: KEY_OVERWRITE,
        since: "2.0.0",
        summary: "Sets the string value and expiration time of a key. Creates the key if it doesn't exist.",
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
        summary: "Set the string value of a key only when the key doesn't exist.",
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
        complexity: "O(1), not counting the time taken to copy the new string in place. Usually, this string is very small so \
            the amortized complexity is O(1). Otherwise, complexity is O(M) with M being the length of the value argument.",
        summary: "Overwrites a part of a string value with another by an offset. Creates the key if it doesn't exist.",
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
        summary: "Returns the length of a string value.",
        syntax: "key",
        handler: value::strlen,
        ..STRING
    },
    Command {
        name: "substr",
        arity: 4,
        flags: READ,
        keys: KEY_READ,
        complexity: SUBSTRING_COMPLEXITY,
        summary: "Returns a substring from a string value.",
        syntax: "key start end",
        deprecated: Some(("2.0.0", "`GETRANGE`")),
        handler: range::getrange,
        ..STRING
    },
];
