//! The family `hash`: rows here, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `fields` | fields by name: HSET, HGET, HDEL and their relatives |
//! | `numbers` | HINCRBY, HINCRBYFLOAT |
//! | `all` | whole hashes: HGETALL, HKEYS, HVALS, HLEN, HSCAN |
//! | `random` | HRANDFIELD |
//! | `deadlines` | deadlines of fields: HEXPIRE, HTTL and their relatives, HPERSIST |
//! | `combined` | reading or writing together with deadlines: HGETEX, HGETDEL, HSETEX |
//! | `import` | HIMPORT: hashes whose fields were named once |
//! | `options` | the words that several of them understand |
//!
//! Design: a field whose deadline has come is not seen. Commands that are about a field by its name remove such a field when they
//! meet it (`lapse`), which is told as HDEL and `hexpired`; those that read whole hashes pass it over, and so do those that
//! overwrite it. All of this is as in Redis 8.2, and shows in what HLEN counts.
//!
//! Costs: values are replied straight from where they lie.

mod all;
mod combined;
mod deadlines;
mod fields;
pub(super) mod import;
mod numbers;
mod options;
mod random;

use super::row::{BASE, KeyAccess, KeySpec, key_at};
use super::{Args, Command, Context, Flags, Group, Scope};
use crate::observe::Counter;
use crate::store::{Class, Event, Item, KeyHasher, KeyMut, PackLimits};

const HASH: Command = Command { group: Group::Hash, scope: Scope::Keys, since: "2.0.0", ..BASE };

const READ_FAST: Flags = Flags::READONLY.with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);
const GROW_FAST: Flags = WRITE_FAST.with(Flags::DENYOOM);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEY_LOOK: &[KeySpec] = &[key_at(1, KeyAccess::Look)];
const KEY_UPDATE: &[KeySpec] = &[key_at(1, KeyAccess::Update)];
const KEY_READ_UPDATE: &[KeySpec] = &[key_at(1, KeyAccess::ReadUpdate)];
const KEY_ADD: &[KeySpec] = &[key_at(1, KeyAccess::Add)];
const KEY_REMOVE: &[KeySpec] = &[key_at(1, KeyAccess::Remove)];
const KEY_TAKE: &[KeySpec] = &[key_at(1, KeyAccess::ReadDelete)];

const FIELDS_NAMED: &str = "O(N), N fields named";
const FIELDS_ALL: &str = "O(N), N fields of the hash";
const FIELDS_SYNTAX: &str = "key FIELDS fields:<numfields field...>";
const NOT_REPEATABLE: &[&str] = &["nondeterministic_output"];
const UNORDERED: &[&str] = &["nondeterministic_output_order"];

const EXPIRE: Command = Command {
    arity: -6,
    flags: WRITE_FAST,
    keys: KEY_UPDATE,
    since: "7.4.0",
    complexity: FIELDS_NAMED,
    ..HASH
};
const TTL: Command = Command {
    arity: -5,
    flags: READ_FAST,
    keys: KEY_READ,
    since: "7.4.0",
    complexity: FIELDS_NAMED,
    syntax: FIELDS_SYNTAX,
    ..HASH
};

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "hdel",
        arity: -3,
        flags: WRITE_FAST,
        keys: KEY_REMOVE,
        complexity: FIELDS_NAMED,
        summary: "Removes fields.",
        syntax: "key field...",
        handler: fields::hdel,
        ..HASH
    },
    Command {
        name: "hexists",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_LOOK,
        summary: "Whether a field exists.",
        syntax: "key field",
        shares: true,
        handler: fields::hexists,
        ..HASH
    },
    Command {
        name: "hexpire",
        summary: "Sets how many seconds fields have left.",
        syntax: "key seconds condition:[NX | XX | GT | LT] FIELDS fields:<numfields field...>",
        handler: deadlines::hexpire,
        ..EXPIRE
    },
    Command {
        name: "hexpireat",
        summary: "Sets when fields expire, Unix time in seconds.",
        syntax: "key unix-time-seconds condition:[NX | XX | GT | LT] FIELDS fields:<numfields field...>",
        handler: deadlines::hexpireat,
        ..EXPIRE
    },
    Command {
        name: "hexpiretime",
        summary: "When fields expire, Unix time in seconds.",
        shares: true,
        handler: deadlines::hexpiretime,
        ..TTL
    },
    Command {
        name: "hget",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_READ,
        summary: "Reads the value of a field.",
        syntax: "key field",
        shares: true,
        handler: fields::hget,
        ..HASH
    },
    Command {
        name: "hgetall",
        arity: 2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: FIELDS_ALL,
        tips: UNORDERED,
        summary: "Reads all fields and their values.",
        syntax: "key",
        shares: true,
        handler: all::hgetall,
        ..HASH
    },
    Command {
        name: "hgetdel",
        arity: -5,
        flags: WRITE_FAST,
        keys: KEY_TAKE,
        since: "8.0.0",
        complexity: FIELDS_NAMED,
        summary: "Reads values and removes their fields.",
        syntax: FIELDS_SYNTAX,
        handler: combined::hgetdel,
        ..HASH
    },
    Command {
        name: "hgetex",
        arity: -5,
        flags: WRITE_FAST,
        keys: KEY_READ_UPDATE,
        since: "8.0.0",
        complexity: FIELDS_NAMED,
        summary: "Reads values and sets when their fields expire.",
        syntax: "key expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | PERSIST] FIELDS fields:<numfields field...>",
        handler: combined::hgetex,
        ..HASH
    },
    Command {
        name: "hincrby",
        arity: 4,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        summary: "Adds an integer to a field.",
        syntax: "key field increment:integer",
        handler: numbers::hincrby,
        ..HASH
    },
    Command {
        name: "hincrbyfloat",
        arity: 4,
        flags: GROW_FAST,
        keys: KEY_READ_UPDATE,
        since: "2.6.0",
        summary: "Adds a floating-point number to a field.",
        syntax: "key field increment:double",
        handler: numbers::hincrbyfloat,
        ..HASH
    },
    Command {
        name: "hkeys",
        arity: 2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: FIELDS_ALL,
        tips: UNORDERED,
        summary: "Lists the names of all fields.",
        syntax: "key",
        shares: true,
        handler: all::hkeys,
        ..HASH
    },
    Command {
        name: "hlen",
        arity: 2,
        flags: READ_FAST,
        keys: KEY_LOOK,
        summary: "Counts the fields of a hash.",
        syntax: "key",
        shares: true,
        handler: all::hlen,
        ..HASH
    },
    Command {
        name: "hmget",
        arity: -3,
        flags: READ_FAST,
        keys: KEY_READ,
        complexity: FIELDS_NAMED,
        summary: "Reads the values of several fields.",
        syntax: "key field...",
        shares: true,
        handler: fields::hmget,
        ..HASH
    },
    Command {
        name: "hmset",
        arity: -4,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        complexity: FIELDS_NAMED,
        summary: "Sets fields to values.",
        syntax: "key data:<field value>...",
        deprecated: Some(("4.0.0", "`HSET` with multiple field-value pairs")),
        handler: fields::hmset,
        ..HASH
    },
    Command {
        name: "hpersist",
        arity: -5,
        flags: WRITE_FAST,
        keys: KEY_UPDATE,
        since: "7.4.0",
        complexity: FIELDS_NAMED,
        summary: "Takes the deadlines of fields away.",
        syntax: FIELDS_SYNTAX,
        handler: deadlines::hpersist,
        ..HASH
    },
    Command {
        name: "hpexpire",
        summary: "Sets how many milliseconds fields have left.",
        syntax: "key milliseconds condition:[NX | XX | GT | LT] FIELDS fields:<numfields field...>",
        handler: deadlines::hpexpire,
        ..EXPIRE
    },
    Command {
        name: "hpexpireat",
        summary: "Sets when fields expire, Unix time in milliseconds.",
        syntax: "key unix-time-milliseconds condition:[NX | XX | GT | LT] FIELDS fields:<numfields field...>",
        handler: deadlines::hpexpireat,
        ..EXPIRE
    },
    Command {
        name: "hpexpiretime",
        summary: "When fields expire, Unix time in milliseconds.",
        shares: true,
        handler: deadlines::hpexpiretime,
        ..TTL
    },
    Command {
        name: "hpttl",
        tips: NOT_REPEATABLE,
        summary: "Milliseconds that fields have left.",
        shares: true,
        handler: deadlines::hpttl,
        ..TTL
    },
    Command {
        name: "hrandfield",
        arity: -2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "6.2.0",
        complexity: "O(N), N fields picked",
        tips: NOT_REPEATABLE,
        summary: "Picks fields at random.",
        syntax: "key options:[count [WITHVALUES]]",
        shares: true,
        handler: random::hrandfield,
        ..HASH
    },
    Command {
        name: "hscan",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        since: "2.8.0",
        complexity: "O(N), N fields visited by the call",
        tips: NOT_REPEATABLE,
        summary: "Lists fields and their values, some at each call.",
        syntax: "key cursor [MATCH pattern] [COUNT count] [NOVALUES]",
        shares: true,
        handler: all::hscan,
        ..HASH
    },
    Command {
        name: "hset",
        arity: -4,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        complexity: FIELDS_NAMED,
        summary: "Sets fields to values.",
        syntax: "key data:<field value>...",
        handler: fields::hset,
        ..HASH
    },
    Command {
        name: "hsetex",
        arity: -6,
        flags: GROW_FAST,
        keys: KEY_UPDATE,
        since: "8.0.0",
        complexity: FIELDS_NAMED,
        summary: "Sets fields to values, and when they expire.",
        syntax: "key condition:[FNX | FXX] expiration:[EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL] FIELDS fields:<numfields data:<field value>...>",
        handler: combined::hsetex,
        ..HASH
    },
    Command {
        name: "hsetnx",
        arity: 4,
        flags: GROW_FAST,
        keys: KEY_ADD,
        summary: "Sets a field that does not exist.",
        syntax: "key field value",
        handler: fields::hsetnx,
        ..HASH
    },
    Command {
        name: "hstrlen",
        arity: 3,
        flags: READ_FAST,
        keys: KEY_LOOK,
        since: "3.2.0",
        summary: "Counts the bytes of a field's value.",
        syntax: "key field",
        shares: true,
        handler: fields::hstrlen,
        ..HASH
    },
    Command {
        name: "httl",
        tips: NOT_REPEATABLE,
        summary: "Seconds that fields have left.",
        shares: true,
        handler: deadlines::httl,
        ..TTL
    },
    Command {
        name: "hvals",
        arity: 2,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: FIELDS_ALL,
        tips: UNORDERED,
        summary: "Lists the values of all fields.",
        syntax: "key",
        shares: true,
        handler: all::hvals,
        ..HASH
    },
];

const fn event(name: &'static str) -> Event {
    Event::new(Class::Hash, name)
}

const HDEL: Event = event("hdel");
const HEXPIRE: Event = event("hexpire");
const HPERSIST: Event = event("hpersist");
const HSET: Event = event("hset");

/// How large a packed hash may be.
#[inline]
fn limits(ctx: &Context<'_>) -> PackLimits {
    ctx.limits().hash
}

/// How many bytes a name or a value has.
fn item_len(item: Item<'_>) -> usize {
    item.bytes(&mut itoa::Buffer::new()).len()
}

/// What meets a field whose deadline has come removes it, which counts as no change of its own. A command tells so once, however
/// many it meets.
fn lapse(ctx: &mut Lapsing<'_>, place: &mut KeyMut<'_>, field: &[u8]) {
    let found = place.hash().and_then(|hash| hash.get(ctx.hasher, field));
    if !found.is_some_and(|field| field.is_expired(ctx.now_ms)) {
        return;
    }
    place.hash_remove(field);
    place.count_as(0);
    if std::mem::replace(&mut ctx.is_told, true) {
        place.without_event();
    } else {
        place.event(Event::HEXPIRED);
    }
    place.tell_emptied();
    place.repeat_before(|words| {
        words.add("HDEL").add(ctx.key).add(field);
    });
    ctx.counter.add(1);
}

/// What `lapse` needs beside the guard of the key.
struct Lapsing<'a> {
    hasher: &'a KeyHasher,
    now_ms: u64,
    key: &'a [u8],
    counter: &'a Counter,
    /// Whether the event was raised.
    is_told: bool,
}

impl<'a> Lapsing<'a> {
    fn of(ctx: &Context<'a>, args: &Args<'a>) -> Lapsing<'a> {
        Lapsing {
            hasher: ctx.hasher(),
            now_ms: ctx.now_ms,
            key: args.at(1),
            counter: &ctx.stats.counters.expired_subkeys,
            is_told: false,
        }
    }
}

/// After a reading command met fields among its arguments whose deadline had come: removes these, unless a pause forbids it.
#[cold]
fn lapse_read(ctx: &mut Context<'_>, args: &Args<'_>, fields: std::ops::Range<usize>) {
    if ctx.shared.keeps_expired(ctx.now_ms) || !ctx.may_tidy(args, 1) {
        return;
    }
    let mut lapsing = Lapsing::of(ctx, args);
    let mut place = ctx.write(args, 1);
    for index in fields {
        lapse(&mut lapsing, &mut place, args.at(index));
    }
}
