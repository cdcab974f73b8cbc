//! The family `stream`: rows here and in `group`, handlers beside by what they do.
//!
//! | file | what |
//! |---|---|
//! | `ids` | IDs as arguments, entries as replies |
//! | `add` | XADD, XTRIM, XSETID |
//! | `trimming` | the options that say what is trimmed |
//! | `range` | XRANGE, XREVRANGE, XLEN |
//! | `remove` | XDEL, XDELEX, XACK, XACKDEL |
//! | `read` | XREAD, XREADGROUP, which may wait |
//! | `group` | XGROUP |
//! | `pending` | XPENDING |
//! | `claim` | XCLAIM, XAUTOCLAIM |
//! | `release` | XNACK, XREADGROUP with CLAIM |
//! | `idempotent` | producers of XADD, XCFGSET, XIDMPRECORD |
//! | `info` | XINFO |
//!
//! Costs: entries are replied straight from their nodes.

mod add;
mod claim;
pub(super) mod group;
mod idempotent;
mod ids;
pub(super) mod info;
mod pending;
mod range;
pub(super) mod read;
mod release;
mod remove;
mod trimming;

use super::row::{BASE, KeyAccess, KeySpec, key_at};
use super::{Args, Command, CommandError, Context, Flags, Group, Scope};
use crate::resp::Reply;
use crate::store::{Class, Event, PrefetchHint, Stream};

const STREAM: Command = Command { group: Group::Stream, scope: Scope::Keys, since: "5.0.0", ..BASE };

const GROW_FAST: Flags = Flags::WRITE.with(Flags::DENYOOM).with(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.with(Flags::FAST);

const KEY_READ: &[KeySpec] = &[key_at(1, KeyAccess::Read)];
const KEY_REMOVE: &[KeySpec] = &[key_at(1, KeyAccess::Remove)];

const UNPREDICTABLE: &[&str] = &["nondeterministic_output"];
const EACH_ID: &str = "O(1) for each ID";
const OF_REPLY: &str = "O(N), N entries replied";

/// The rows of the family, but for those of containers and of commands that wait.
pub const ROWS: &[Command] = &[
    Command {
        name: "xack",
        arity: -4,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        complexity: EACH_ID,
        summary: "Takes entries out of those that are pending in a group.",
        syntax: "key group id...",
        handler: remove::xack,
        ..STREAM
    },
    Command {
        name: "xackdel",
        arity: -6,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::RemoveUpdate)],
        since: "8.2.0",
        complexity: EACH_ID,
        summary: "Takes entries out of those that are pending in a group, and deletes them.",
        syntax: "key group condition:[KEEPREF | DELREF | ACKED] IDS ids:<numids id...>",
        handler: remove::xackdel,
        ..STREAM
    },
    Command {
        name: "xadd",
        arity: -5,
        flags: GROW_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        prefetch_hint: PrefetchHint::StreamEnd,
        complexity: "O(1), and O(N) for N entries trimmed",
        summary: "Adds an entry at the end of a stream.",
        syntax: "key [NOMKSTREAM@6.2.0] condition:[KEEPREF | DELREF | ACKED] idempotency:[IDMPAUTO producer-id | with-iid:<IDMP producer-id idempotent-id>]@8.6.0 trim:[strategy:<MAXLEN | MINID@6.2.0> operator:[equal== | approximately=~] threshold [LIMIT count@6.2.0]] id-selector:<auto-id=* | id> data:<field value>...",
        tips: UNPREDICTABLE,
        handler: add::xadd,
        ..STREAM
    },
    Command {
        name: "xautoclaim",
        arity: -6,
        flags: WRITE_FAST,
        keys: KEY_REMOVE,
        since: "6.2.0",
        complexity: "O(N), N pending entries looked at: ten times the count at most",
        summary: "Gives a consumer what has been pending with others for too long.",
        syntax: "key group consumer min-idle-time start:string [COUNT count] [JUSTID]",
        tips: UNPREDICTABLE,
        handler: claim::xautoclaim,
        ..STREAM
    },
    Command {
        name: "xcfgset",
        arity: -2,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        since: "8.6.0",
        complexity: "O(1); what is forgotten is freed later",
        summary: "Sets for how long and how many messages of each producer a stream knows.",
        syntax: "key [IDMP-DURATION idmp-duration:integer] [IDMP-MAXSIZE idmp-maxsize:integer]",
        handler: idempotent::xcfgset,
        ..STREAM
    },
    Command {
        name: "xclaim",
        arity: -6,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        complexity: "O(log N) for each ID, N pending entries",
        summary: "Gives a consumer pending entries of others.",
        syntax: "key group consumer min-idle-time id... [IDLE ms] [TIME unix-time-milliseconds] [RETRYCOUNT count] [FORCE] [JUSTID] [LASTID lastid]",
        tips: UNPREDICTABLE,
        handler: claim::xclaim,
        ..STREAM
    },
    Command {
        name: "xdel",
        arity: -3,
        flags: WRITE_FAST,
        keys: KEY_REMOVE,
        complexity: EACH_ID,
        summary: "Deletes entries.",
        syntax: "key id...",
        handler: remove::xdel,
        ..STREAM
    },
    Command {
        name: "xdelex",
        arity: -5,
        flags: WRITE_FAST,
        keys: KEY_REMOVE,
        since: "8.2.0",
        complexity: EACH_ID,
        summary: "Deletes entries, with regard to groups or not.",
        syntax: "key condition:[KEEPREF | DELREF | ACKED] IDS ids:<numids id...>",
        handler: remove::xdelex,
        ..STREAM
    },
    Command {
        name: "xidmprecord",
        arity: 5,
        flags: GROW_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        since: "8.6.2",
        summary: "Has a stream know which entry a producer's message has become, as Redis's append-only files say it.",
        syntax: "key pid:string iid:string stream-id:string",
        handler: idempotent::xidmprecord,
        ..STREAM
    },
    Command {
        name: "xlen",
        arity: 2,
        flags: Flags::READONLY.with(Flags::FAST),
        keys: &[key_at(1, KeyAccess::Look)],
        summary: "Counts the entries of a stream.",
        syntax: "key",
        shares: true,
        handler: range::xlen,
        ..STREAM
    },
    Command {
        name: "xnack",
        arity: -7,
        flags: WRITE_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        since: "8.8.0",
        complexity: EACH_ID,
        summary: "Lets anybody in a group claim pending entries at once.",
        syntax: "key group mode:<SILENT | FAIL | FATAL> IDS ids:<numids id...> [RETRYCOUNT count] [FORCE]",
        handler: release::xnack,
        ..STREAM
    },
    Command {
        name: "xpending",
        arity: -3,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: "O(N), N pending entries replied, or looked at with IDLE; without a range, N consumers",
        summary: "Tells what is pending in a group.",
        syntax: "key group filters:[[IDLE min-idle-time:integer@6.2.0] start:string end:string count [consumer]]",
        tips: UNPREDICTABLE,
        shares: true,
        handler: pending::xpending,
        ..STREAM
    },
    Command {
        name: "xrange",
        arity: -4,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: OF_REPLY,
        summary: "Reads the entries between two IDs.",
        syntax: "key start:string end:string [COUNT count]",
        shares: true,
        handler: range::xrange,
        ..STREAM
    },
    Command {
        name: "xrevrange",
        arity: -4,
        flags: Flags::READONLY,
        keys: KEY_READ,
        complexity: OF_REPLY,
        summary: "Reads the entries between two IDs, the last one first.",
        syntax: "key end:string start:string [COUNT count]",
        shares: true,
        handler: range::xrevrange,
        ..STREAM
    },
    Command {
        name: "xsetid",
        arity: -3,
        flags: GROW_FAST,
        keys: &[key_at(1, KeyAccess::Update)],
        summary: "Sets the last ID of a stream, as replicas are told it.",
        syntax: "key last-id [ENTRIESADDED entries-added@7.0.0] [MAXDELETEDID max-deleted-id@7.0.0]",
        handler: add::xsetid,
        ..STREAM
    },
    Command {
        name: "xtrim",
        arity: -4,
        flags: Flags::WRITE,
        keys: KEY_REMOVE,
        complexity: "O(N), N entries deleted",
        summary: "Deletes the oldest entries of a stream.",
        syntax: "key trim:<strategy:<MAXLEN | MINID@6.2.0> operator:[equal== | approximately=~] threshold [LIMIT count@6.2.0] condition:[KEEPREF | DELREF | ACKED]>",
        tips: UNPREDICTABLE,
        handler: add::xtrim,
        ..STREAM
    },
];

const fn event(name: &'static str) -> Event {
    Event::new(Class::Stream, name)
}

/// The place of a group that must exist, of a stream that must, too.
fn group_of(
    stream: Option<&Stream>,
    args: &Args<'_>,
    key: usize,
    group: usize,
    reply: &mut Reply<'_>,
) -> Result<usize, CommandError> {
    match stream.and_then(|stream| stream.find_group(args.at(group))) {
        Some(place) => Ok(place),
        None => Err(no_group(args, key, group, "", reply)),
    }
}

/// Replies that there is no such key or group.
#[cold]
fn no_group(args: &Args<'_>, key: usize, group: usize, more: &str, reply: &mut Reply<'_>) -> CommandError {
    let mut text = b"NOGROUP No such key '".to_vec();
    text.extend_from_slice(args.c_string(key));
    text.extend_from_slice(b"' or consumer group '");
    text.extend_from_slice(args.c_string(group));
    text.extend_from_slice(b"'");
    text.extend_from_slice(more.as_bytes());
    reply.error_bytes(&text);
    CommandError::Replied
}

/// Replies that a stream that is there has no such group.
#[cold]
fn no_such_group(args: &Args<'_>, key: usize, group: usize, reply: &mut Reply<'_>) -> CommandError {
    let mut text = b"NOGROUP No such consumer group '".to_vec();
    text.extend_from_slice(args.c_string(group));
    text.extend_from_slice(b"' for key name '");
    text.extend_from_slice(args.c_string(key));
    text.extend_from_slice(b"'");
    reply.error_bytes(&text);
    CommandError::Replied
}

/// The time as it is kept of consumers and of what they have.
fn now_ms(ctx: &Context<'_>) -> i64 {
    (ctx.now_us / 1000) as i64
}
