//! The rows of the family `sorted_set`.

use super::{add, algebra, blocking, look, pop, random, range, remove, scan};
use crate::command::row::{BASE, Begin, Find, KeyAccess, KeySpec, key_at, keys_from};
use crate::command::{Command, Flags, Group, Scope};

const SORTED_SET: Command = Command { group: Group::SortedSet, scope: Scope::Keys, since: "1.2.0", ..BASE };

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = READ.with(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const WRITE_FAST: Flags = WRITE.with(Flags::FAST);
const GROW: Flags = WRITE.with(Flags::DENYOOM);
const GROW_FAST: Flags = GROW.with(Flags::FAST);
const WAIT: Flags = WRITE.with(Flags::BLOCKING);
const WAIT_FAST: Flags = WAIT.with(Flags::FAST);

const KEY_LOOK: &[KeySpec] = &[key_at(1, KeyAccess::Look)];
const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEY_UPDATE: &[KeySpec] = &[key_at(1, KeyAccess::Update)];
const KEY_CHANGE: &[KeySpec] = &[key_at(1, KeyAccess::ReadUpdate)];
const KEY_POP: &[KeySpec] = &[key_at(1, KeyAccess::ReadDelete)];
const KEY_REMOVE: &[KeySpec] = &[key_at(1, KeyAccess::Remove)];
const KEYS_STORE: &[KeySpec] = &[key_at(1, KeyAccess::Overwrite), key_at(2, KeyAccess::Read)];
const KEYS_WAIT: &[KeySpec] = &[keys_from(1, -2, 1, KeyAccess::ReadDelete)];
const KEYS_COUNTED: &[KeySpec] = &[counted(1, KeyAccess::Read)];
const KEYS_COUNTED_POP: &[KeySpec] = &[counted(1, KeyAccess::ReadDelete)];
const KEYS_COUNTED_WAIT: &[KeySpec] = &[counted(2, KeyAccess::ReadDelete)];
const KEYS_COUNTED_STORE: &[KeySpec] = &[key_at(1, KeyAccess::Overwrite), counted(2, KeyAccess::Read)];

/// Keys behind the argument that says how many they are.
const fn counted(index: u16, access: KeyAccess) -> KeySpec {
    KeySpec {
        access,
        begin: Begin::Index(index),
        find: Find::Count { count: 0, first: 1, step: 1 },
        is_incomplete: false,
    }
}

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "bzmpop",
        arity: -5,
        flags: WAIT,
        keys: KEYS_COUNTED_WAIT,
        since: "7.0.0",
        complexity: "O(K + M log N), K keys, N members of which M are taken",
        summary: "Takes members from the first sorted set that has any, and waits if none has.",
        syntax: "timeout numkeys key... where:<MIN | MAX> [COUNT count]",
        handler: blocking::bzmpop,
        ..SORTED_SET
    },
    Command {
        name: "bzpopmax",
        arity: -3,
        flags: WAIT_FAST,
        keys: KEYS_WAIT,
        since: "5.0.0",
        complexity: "O(log N), N members",
        summary: "Takes the highest member of the first sorted set that has any, and waits if none has.",
        syntax: "key... timeout",
        handler: blocking::bzpopmax,
        ..SORTED_SET
    },
    Command {
        name: "bzpopmin",
        arity: -3,
        flags: WAIT_FAST,
        keys: KEYS_WAIT,
        since: "5.0.0",
        complexity: "O(log N), N members",
        summary: "Takes the lowest member of the first sorted set that has any, and waits if none has.",
        syntax: "key... timeout",
        handler: blocking::bzpopmin,
        ..SORTED_SET
    },
    Command {
        name: "zadd",
        arity: -4,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        complexity: "O(log N), N members, for each one given",
        summary: "Adds members, or gives members other scores.",
        syntax: "key condition:[NX | XX]@3.0.2 comparison:[GT | LT]@6.2.0 [change=CH@3.0.2] [increment=INCR@3.0.2] data:<score member>...",
        handler: add::zadd,
        ..SORTED_SET
    },
    Command {
        name: "zcard",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_LOOK,
        summary: "Counts the members of a sorted set.",
        syntax: "key",
        shares: true,
        handler: look::zcard,
        ..SORTED_SET
    },
    Command {
        name: "zcount",
        arity: 4,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "2.0.0",
        complexity: "O(log N), N members",
        summary: "Counts the members with scores in a range.",
        syntax: "key min:double max:double",
        shares: true,
        handler: look::zcount,
        ..SORTED_SET
    },
    Command {
        name: "zdiff",
        arity: -3,
        flags: READ,
        keys: KEYS_COUNTED,
        since: "6.2.0",
        complexity: "O(N*K), N members of the first, K keys",
        summary: "Finds the members of a sorted set that no other one has.",
        syntax: "numkeys key... [WITHSCORES]",
        shares: true,
        may_take_long: true,
        handler: algebra::zdiff,
        ..SORTED_SET
    },
    Command {
        name: "zdiffstore",
        arity: -4,
        flags: GROW,
        keys: KEYS_COUNTED_STORE,
        since: "6.2.0",
        complexity: "O(N*K), N members of the first, K keys",
        summary: "Stores the members of a sorted set that no other one has.",
        syntax: "destination numkeys key#1...",
        may_take_long: true,
        handler: algebra::zdiffstore,
        ..SORTED_SET
    },
    Command {
        name: "zincrby",
        arity: 4,
        flags: GROW_FAST,
        keys: KEY_CHANGE,
        complexity: "O(log N), N members",
        summary: "Adds to a member's score.",
        syntax: "key increment:integer member",
        handler: add::zincrby,
        ..SORTED_SET
    },
    Command {
        name: "zinter",
        arity: -3,
        flags: READ,
        keys: KEYS_COUNTED,
        since: "6.2.0",
        complexity: "O(N*K + M log M), N members of the smallest, K keys, M members in common",
        summary: "Finds the members that several sorted sets have in common.",
        syntax: "numkeys key... [WEIGHTS weight...] [AGGREGATE aggregate:<SUM | MIN | MAX>] [WITHSCORES]",
        shares: true,
        may_take_long: true,
        handler: algebra::zinter,
        ..SORTED_SET
    },
    Command {
        name: "zintercard",
        arity: -3,
        flags: READ,
        keys: KEYS_COUNTED,
        since: "7.0.0",
        complexity: "O(N*K), N members of the smallest, K keys",
        summary: "Counts the members that several sorted sets have in common.",
        syntax: "numkeys key... [LIMIT limit]",
        shares: true,
        may_take_long: true,
        handler: algebra::zintercard,
        ..SORTED_SET
    },
    Command {
        name: "zinterstore",
        arity: -4,
        flags: GROW,
        keys: KEYS_COUNTED_STORE,
        since: "2.0.0",
        complexity: "O(N*K + M log M), N members of the smallest, K keys, M members in common",
        summary: "Stores the members that several sorted sets have in common.",
        syntax: "destination numkeys key#1... [WEIGHTS weight...] [AGGREGATE aggregate:<SUM | MIN | MAX>]",
        may_take_long: true,
        handler: algebra::zinterstore,
        ..SORTED_SET
    },
    Command {
        name: "zlexcount",
        arity: 4,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "2.8.9",
        complexity: "O(log N), N members",
        summary: "Counts the members between two, where all scores are equal.",
        syntax: "key min max",
        shares: true,
        handler: look::zlexcount,
        ..SORTED_SET
    },
    Command {
        name: "zmpop",
        arity: -4,
        flags: WRITE,
        keys: KEYS_COUNTED_POP,
        since: "7.0.0",
        complexity: "O(K + M log N), K keys, N members of which M are taken",
        summary: "Takes members from the first sorted set that has any.",
        syntax: "numkeys key... where:<MIN | MAX> [COUNT count]",
        handler: pop::zmpop,
        ..SORTED_SET
    },
    Command {
        name: "zmscore",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "6.2.0",
        complexity: "O(N), N members asked for",
        summary: "Reads the scores of members.",
        syntax: "key member...",
        shares: true,
        handler: look::zmscore,
        ..SORTED_SET
    },
    Command {
        name: "zpopmax",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_POP,
        since: "5.0.0",
        complexity: "O(M log N), N members of which M are taken",
        summary: "Takes the members with the highest scores.",
        syntax: "key [count]",
        handler: pop::zpopmax,
        ..SORTED_SET
    },
    Command {
        name: "zpopmin",
        arity: -2,
        flags: WRITE_FAST,
        keys: KEY_POP,
        since: "5.0.0",
        complexity: "O(M log N), N members of which M are taken",
        summary: "Takes the members with the lowest scores.",
        syntax: "key [count]",
        handler: pop::zpopmin,
        ..SORTED_SET
    },
    Command {
        name: "zrandmember",
        arity: -2,
        flags: READ,
        keys: KEY_READ,
        since: "6.2.0",
        complexity: "O(M log N), N members of which M are drawn",
        summary: "Draws members at random.",
        syntax: "key options:[count [WITHSCORES]]",
        tips: &["nondeterministic_output"],
        shares: true,
        handler: random::zrandmember,
        ..SORTED_SET
    },
    Command {
        name: "zrange",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        complexity: "O(log N + M), N members of which M are replied",
        summary: "Reads a range of members, by rank, score or bytes.",
        syntax: "key start:string stop:string sortby:[BYSCORE | BYLEX]@6.2.0 [REV@6.2.0] [LIMIT limit:<offset count>@6.2.0] [WITHSCORES]",
        shares: true,
        handler: range::zrange,
        ..SORTED_SET
    },
    Command {
        name: "zrangebylex",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        since: "2.8.9",
        complexity: "O(log N + M), N members of which M are replied",
        summary: "Reads the members between two, where all scores are equal.",
        syntax: "key min max [LIMIT limit:<offset count>]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYLEX` argument")),
        shares: true,
        handler: range::zrangebylex,
        ..SORTED_SET
    },
    Command {
        name: "zrangebyscore",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        since: "1.0.5",
        complexity: "O(log N + M), N members of which M are replied",
        summary: "Reads the members with scores in a range.",
        syntax: "key min:double max:double [WITHSCORES@2.0.0] [LIMIT limit:<offset count>]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `BYSCORE` argument")),
        shares: true,
        handler: range::zrangebyscore,
        ..SORTED_SET
    },
    Command {
        name: "zrangestore",
        arity: -5,
        flags: GROW,
        keys: KEYS_STORE,
        since: "6.2.0",
        complexity: "O(log N + M), N members of which M are stored",
        summary: "Stores a range of members.",
        syntax: "dst src#1 min max sortby:[BYSCORE | BYLEX] [REV] [LIMIT limit:<offset count>]",
        handler: range::zrangestore,
        ..SORTED_SET
    },
    Command {
        name: "zrank",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "2.0.0",
        complexity: "O(log N), N members",
        summary: "Tells how many members come before one.",
        syntax: "key member [WITHSCORE]",
        shares: true,
        handler: look::zrank,
        ..SORTED_SET
    },
    Command {
        name: "zrem",
        arity: -3,
        flags: WRITE_FAST,
        keys: KEY_REMOVE,
        complexity: "O(M log N), N members of which M are removed",
        summary: "Removes members.",
        syntax: "key member...",
        handler: remove::zrem,
        ..SORTED_SET
    },
    Command {
        name: "zremrangebylex",
        arity: 4,
        flags: WRITE,
        keys: KEY_REMOVE,
        since: "2.8.9",
        complexity: "O(log N + M), N members of which M are removed",
        summary: "Removes the members between two, where all scores are equal.",
        syntax: "key min max",
        handler: remove::zremrangebylex,
        ..SORTED_SET
    },
    Command {
        name: "zremrangebyrank",
        arity: 4,
        flags: WRITE,
        keys: KEY_REMOVE,
        since: "2.0.0",
        complexity: "O(log N + M), N members of which M are removed",
        summary: "Removes the members between two ranks.",
        syntax: "key start stop",
        handler: remove::zremrangebyrank,
        ..SORTED_SET
    },
    Command {
        name: "zremrangebyscore",
        arity: 4,
        flags: WRITE,
        keys: KEY_REMOVE,
        complexity: "O(log N + M), N members of which M are removed",
        summary: "Removes the members with scores in a range.",
        syntax: "key min:double max:double",
        handler: remove::zremrangebyscore,
        ..SORTED_SET
    },
    Command {
        name: "zrevrange",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        complexity: "O(log N + M), N members of which M are replied",
        summary: "Reads a range of members, from the highest score on.",
        syntax: "key start stop [WITHSCORES]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` argument")),
        shares: true,
        handler: range::zrevrange,
        ..SORTED_SET
    },
    Command {
        name: "zrevrangebylex",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        since: "2.8.9",
        complexity: "O(log N + M), N members of which M are replied",
        summary: "Reads the members between two backwards, where all scores are equal.",
        syntax: "key max min [LIMIT limit:<offset count>]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYLEX` arguments")),
        shares: true,
        handler: range::zrevrangebylex,
        ..SORTED_SET
    },
    Command {
        name: "zrevrangebyscore",
        arity: -4,
        flags: READ,
        keys: KEY_READ,
        since: "2.2.0",
        complexity: "O(log N + M), N members of which M are replied",
        summary: "Reads the members with scores in a range, from the highest on.",
        syntax: "key max:double min:double [WITHSCORES] [LIMIT limit:<offset count>]",
        deprecated: Some(("6.2.0", "`ZRANGE` with the `REV` and `BYSCORE` arguments")),
        shares: true,
        handler: range::zrevrangebyscore,
        ..SORTED_SET
    },
    Command {
        name: "zrevrank",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        since: "2.0.0",
        complexity: "O(log N), N members",
        summary: "Tells how many members come behind one.",
        syntax: "key member [WITHSCORE]",
        shares: true,
        handler: look::zrevrank,
        ..SORTED_SET
    },
    Command {
        name: "zscan",
        arity: -3,
        flags: READ,
        keys: KEY_READ,
        since: "2.8.0",
        complexity: "O(N), N members visited by the call",
        summary: "Lists members with their scores, some at each call.",
        syntax: "key cursor [MATCH pattern] [COUNT count]",
        tips: &["nondeterministic_output"],
        shares: true,
        handler: scan::zscan,
        ..SORTED_SET
    },
    Command {
        name: "zscore",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_READ,
        summary: "Reads the score of a member.",
        syntax: "key member",
        shares: true,
        handler: look::zscore,
        ..SORTED_SET
    },
    Command {
        name: "zunion",
        arity: -3,
        flags: READ,
        keys: KEYS_COUNTED,
        since: "6.2.0",
        complexity: "O(N + M log M), N members in all, M different ones",
        summary: "Finds the members of several sorted sets.",
        syntax: "numkeys key... [WEIGHTS weight...] [AGGREGATE aggregate:<SUM | MIN | MAX>] [WITHSCORES]",
        shares: true,
        may_take_long: true,
        handler: algebra::zunion,
        ..SORTED_SET
    },
    Command {
        name: "zunionstore",
        arity: -4,
        flags: GROW,
        keys: KEYS_COUNTED_STORE,
        since: "2.0.0",
        complexity: "O(N + M log M), N members in all, M different ones",
        summary: "Stores the members of several sorted sets.",
        syntax: "destination numkeys key#1... [WEIGHTS weight...] [AGGREGATE aggregate:<SUM | MIN | MAX>]",
        may_take_long: true,
        handler: algebra::zunionstore,
        ..SORTED_SET
    },
];
