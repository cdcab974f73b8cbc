//! Reading what comes after given IDs, for oneself or for a consumer group, and waiting for it: XREAD, XREADGROUP.
//!
//! Design: a command that finds nothing waits for its keys and is run again as it stands (`command::blocking`), but for `$`,
//! which means the last ID of when it came. Others may have taken what it was woken for; then it waits on. A client that reads
//! for a group is also woken when its key is gone, is something else, or has no such group: running again tells it so.

use super::super::blocking::until_after_milliseconds;
use super::super::row::{Begin, Find, KeyAccess, KeySpec};
use super::super::{
    Args, Blocking, Command, CommandError, Context, Flags, OnTimeout, Outcome, Scope, Settled,
};
use super::claim::{consumer_of, repeat_delivery, repeat_progress};
use super::ids::{self, reply_delivered, reply_entry, reply_id};
use super::range::reply_entries;
use super::release::{Claiming, claim_found};
use super::{STREAM, no_group, now_ms};
use crate::resp::number::parse_i64;
use crate::resp::{Deferred, Protocol, Reply};
use crate::store::stream::{Slot, StreamId};
use crate::store::{KeyMut, Stream, Type};

const READ_GROUP: CommandError =
    CommandError::Text("ERR The GROUP option is only supported by XREADGROUP. You called XREAD instead.");
const READ_NOACK: CommandError =
    CommandError::Text("ERR The NOACK option is only supported by XREADGROUP. You called XREAD instead.");
const READ_CLAIM: CommandError =
    CommandError::Text("ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead.");
const CLAIM_IDLE: CommandError = CommandError::Text("ERR min-idle-time must be a positive integer");
const GROUP_MISSING: CommandError = CommandError::Text("ERR Missing GROUP option for XREADGROUP");
const GROUP_LAST: CommandError = CommandError::Text(
    "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return an empty result set.",
);
const GROUP_NEWEST: CommandError = CommandError::Text(
    "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return an empty result set.",
);
const READ_NEW: CommandError = CommandError::Text(
    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> <consumer> option.",
);
const NO_GROUP_MORE: &str = " in XREADGROUP with GROUP option";

const fn keys(from: i16) -> KeySpec {
    let find = Find::Range { last: -1, step: 1, limit: 2 };
    KeySpec { access: KeyAccess::Read, begin: Begin::Keyword("STREAMS", from), find, is_incomplete: false }
}

const COMPLEXITY: &str = "O(N), N entries replied";

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "xread",
        arity: -4,
        flags: Flags::READONLY.with(Flags::BLOCKING).with(Flags::MOVABLEKEYS),
        keys: &[keys(1)],
        finder: Some(find_keys),
        complexity: COMPLEXITY,
        summary: "Reads entries of several streams, and waits for some if there are none.",
        syntax: "[COUNT count] [BLOCK milliseconds] STREAMS streams:<key... id...>",
        handler: xread,
        ..STREAM
    },
    Command {
        name: "xreadgroup",
        arity: -7,
        flags: Flags::WRITE.with(Flags::BLOCKING).with(Flags::MOVABLEKEYS),
        keys: &[keys(4)],
        finder: Some(find_keys),
        complexity: COMPLEXITY,
        summary: "Reads entries of several streams for a consumer of a group, and waits for some if there are none.",
        syntax: "GROUP group-block:<group consumer> [COUNT count] [BLOCK milliseconds] [CLAIM min-idle-time:integer@8.4.0] [NOACK] STREAMS streams:<key... id...>",
        handler: xreadgroup,
        ..STREAM
    },
];

/// What stands before the keys is walked as the options are, because any word among them may be `STREAMS`.
fn find_keys(args: &Args<'_>, found: &mut dyn FnMut(usize, KeyAccess)) -> Scope {
    let mut index = 1;
    while index < args.len() {
        if args.is(index, "STREAMS") {
            let (first, count) = (index + 1, args.len() - 1 - index);
            if count % 2 == 0 {
                (first..first + count / 2).for_each(|key| found(key, KeyAccess::Read));
            }
            break;
        }
        index += match () {
            () if args.is(index, "NOACK") => 1,
            () if args.is(index, "BLOCK") || args.is(index, "COUNT") || args.is(index, "CLAIM") => 2,
            () if args.is(index, "GROUP") => 3,
            () => break,
        };
    }
    Scope::Keys
}

/// What both commands are told.
struct Options {
    /// The argument that names the group; the consumer's is the next.
    group_at: Option<usize>,
    count: usize,
    /// Until when to wait.
    until_ms: Option<u64>,
    is_acknowledged: bool,
    /// What has been pending for so long, ms, is claimed.
    claim_idle_ms: Option<i64>,
    /// The arguments that are keys; as many IDs stand behind them.
    keys: std::ops::Range<usize>,
}

impl Options {
    fn parse(
        args: &Args<'_>,
        is_group: bool,
        now_ms: u64,
        reply: &mut Reply<'_>,
    ) -> Result<Options, CommandError> {
        let (mut group_at, mut count, mut until_ms, mut is_acknowledged) = (None, 0, None, false);
        let (mut claim_idle_ms, mut keys, mut index) = (None, None, 1);
        while index < args.len() {
            let more = args.len() - 1 - index;
            if more > 0 && args.is(index, "BLOCK") {
                until_ms = Some(until_after_milliseconds(args.at(index + 1), now_ms)?);
                index += 1;
            } else if more > 0 && args.is(index, "COUNT") {
                count = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
                index += 1;
            } else if more > 0 && args.is(index, "STREAMS") {
                if more % 2 == 1 {
                    return Err(unbalanced(is_group, reply));
                }
                keys = Some(index + 1..index + 1 + more / 2);
                break;
            } else if more > 1 && args.is(index, "GROUP") {
                if !is_group {
                    return Err(READ_GROUP);
                }
                group_at = Some(index + 1);
                index += 2;
            } else if more > 0 && args.is(index, "CLAIM") {
                if !is_group {
                    return Err(READ_CLAIM);
                }
                let idle_ms = parse_i64(args.at(index + 1)).filter(|idle_ms| *idle_ms >= 0);
                claim_idle_ms = Some(idle_ms.ok_or(CLAIM_IDLE)?);
                index += 1;
            } else if args.is(index, "NOACK") {
                if !is_group {
                    return Err(READ_NOACK);
                }
                is_acknowledged = true;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        let keys = keys.ok_or(CommandError::Syntax)?;
        if is_group && group_at.is_none() {
            return Err(GROUP_MISSING);
        }
        let count = usize::try_from(count).ok().filter(|count| *count > 0).unwrap_or(usize::MAX);
        Ok(Options { group_at, count, until_ms, is_acknowledged, claim_idle_ms, keys })
    }

    /// The argument that is the ID of a key.
    fn id_at(&self, key: usize) -> usize {
        key + self.keys.len()
    }

    /// Nothing was found; it is to be looked again then, if at some time.
    fn wait(
        &self,
        ctx: &mut Context<'_>,
        settled: Settled,
        retry_ms: Option<i64>,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let Some(until_ms) = self.until_ms.filter(|_| ctx.may_block()) else {
            reply.null_array();
            return Ok(());
        };
        ctx.block_settled(
            Blocking {
                awaited_count: self.keys.len(),
                wants: Some(Type::Stream),
                heeds_loss: self.group_at.is_some(),
                until_ms,
                retry_ms: retry_ms.map_or(0, |retry_ms| retry_ms.max(0) as u64),
                on_timeout: OnTimeout::NullArray,
            },
            settled,
        )
    }
}

#[cold]
fn unbalanced(is_group: bool, reply: &mut Reply<'_>) -> CommandError {
    let (name, wanted) = match is_group {
        true => ("xreadgroup", "an ID or '>'"),
        false => ("xread", "an ID, '+', or '$'"),
    };
    reply.error_fmt(format_args!(
        "ERR Unbalanced '{name}' list of streams: for each stream key {wanted} must be specified."
    ));
    CommandError::Replied
}

/// The reply: a map of streams, or nothing yet. It begins with the first stream that has something.
#[derive(Default)]
struct Streams {
    begun: Option<Deferred>,
    count: usize,
}

impl Streams {
    /// The entries of a stream follow.
    fn begin(&mut self, key: &[u8], reply: &mut Reply<'_>) {
        if self.begun.is_none() {
            self.begun = Some(reply.defer_map());
        }
        self.count += 1;
        if reply.protocol() == Protocol::Resp2 {
            reply.array(2);
        }
        reply.bulk(key);
    }

    /// Whether there was any.
    fn finish(self, reply: &mut Reply<'_>) -> bool {
        let Some(begun) = self.begun else { return false };
        match reply.protocol() {
            Protocol::Resp2 => reply.finish_array(begun, self.count),
            Protocol::Resp3 => reply.finish_map(begun, self.count),
        }
        true
    }
}

/// From where on entries are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum From {
    /// After this ID.
    After(StreamId),
    /// The newest entry there is.
    Newest,
}

/// XREAD. Errors in this order: options, then for each key type and ID.
fn xread(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, false, ctx.now_ms, reply)?;
    let (mut settled, mut froms) = (Vec::new(), Vec::with_capacity(options.keys.len()));
    for (number, key) in options.keys.clone().enumerate() {
        ctx.fetch_ahead(args, number);
        let last = ctx.read_as::<&Stream>(args, key)?.map_or(StreamId::MIN, Stream::last);
        let id_at = options.id_at(key);
        froms.push(match args.at(id_at) {
            b"$" => {
                settled.push((id_at, last.to_string().into_bytes()));
                From::After(last)
            }
            b"+" => From::Newest,
            b">" => return Err(READ_NEW),
            text => From::After(ids::parse(text, 0)?),
        });
    }
    let mut streams = Streams::default();
    for (key, from) in options.keys.clone().zip(froms) {
        let Some(stream) = ctx.read_as::<&Stream>(args, key)? else { continue };
        let after = match from {
            From::After(id) => id,
            From::Newest => stream.last_entry().and_then(StreamId::previous).unwrap_or(StreamId::MAX),
        };
        let Some(from) = after.next().filter(|from| stream.last() >= *from) else { continue };
        let mut entries = stream.entries(from, StreamId::MAX).take(options.count).peekable();
        if entries.peek().is_some() {
            streams.begin(args.at(key), reply);
            reply_entries(entries, reply);
        }
    }
    if streams.finish(reply) { Ok(()) } else { options.wait(ctx, settled, None, reply) }
}

/// XREADGROUP. Errors in this order: options, then for each key type, no such key or group, ID.
fn xreadgroup(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args, true, ctx.now_ms, reply)?;
    let group_at = options.group_at.expect("it is an error to give none");
    let mut afters = Vec::with_capacity(options.keys.len());
    for (number, key) in options.keys.clone().enumerate() {
        ctx.fetch_ahead(args, number);
        let stream = ctx.read_as::<&Stream>(args, key)?;
        if stream.and_then(|stream| stream.find_group(args.at(group_at))).is_none() {
            return Err(no_group(args, key, group_at, NO_GROUP_MORE, reply));
        }
        afters.push(match args.at(options.id_at(key)) {
            b"$" => return Err(GROUP_LAST),
            b"+" => return Err(GROUP_NEWEST),
            b">" => StreamId::MAX,
            text => ids::parse(text, 0)?,
        });
    }
    let (mut streams, mut claiming) = (Streams::default(), options.claim_idle_ms.map(Claiming::new));
    for (key, after) in options.keys.clone().zip(afters) {
        let claiming = claiming.as_mut();
        read_for_group(ctx, args, &options, (key, after), claiming, &mut streams, reply)?;
    }
    let retry_ms = claiming.map(|claiming| claiming.retry_ms);
    if streams.finish(reply) { Ok(()) } else { options.wait(ctx, Vec::new(), retry_ms, reply) }
}

/// Reads one stream for a consumer: what is new where `after` is the last ID there may be, and before that what it claims; else
/// again what it has.
fn read_for_group(
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    options: &Options,
    (key, after): (usize, StreamId),
    claiming: Option<&mut Claiming>,
    streams: &mut Streams,
    reply: &mut Reply<'_>,
) -> Outcome {
    let (now_ms, name_at) = (now_ms(ctx), options.group_at.map_or(0, |group| group + 1));
    // Each entry is repeated by itself.
    ctx.repeat_nothing();
    let mut place = ctx.write_typed(args, key, Type::Stream)?;
    let found = place.stream().and_then(|stream| stream.find_group(args.at(name_at - 1)));
    let group = found.expect("it was looked up before");
    let (consumer, is_new): (Slot, bool) = consumer_of(&mut place, group, args.at(name_at), now_ms);
    place.without_event();
    let mut changed = usize::from(is_new);
    let Some(from) = after.next() else {
        let is_claiming = claiming.is_some();
        let key_name = args.at(key);
        let found = claiming.map_or_else(Vec::new, |claiming| {
            claiming.find(&mut place, group, key_name, options.count, now_ms)
        });
        changed += found.len();
        let stream = place.stream().expect("it was found above");
        let last = stream.group_at(group).last;
        let newest = stream.last_entry().filter(|newest| *newest > last);
        let count = options.count - found.len();
        let from = newest.and_then(|_| last.next()).filter(|_| count > 0);
        if from.is_none() && found.is_empty() {
            place.count_as(changed);
            return Ok(());
        }
        streams.begin(key_name, reply);
        let array = reply.defer_array();
        claim_found(&mut place, (group, consumer), key_name, &found, now_ms, reply);
        let is_acknowledged = options.is_acknowledged;
        let delivered = place.stream_account(|stream| {
            stream.deliver_new(group, consumer, count, is_acknowledged, now_ms, |entry| match is_claiming {
                true => reply_delivered(&entry, 0, 0, reply),
                false => reply_entry(&entry, reply),
            })
        });
        reply.finish_array(array, found.len() + delivered);
        if let Some(from) = from {
            changed += 1;
            if place.is_told() {
                repeat_reading(&mut place, group, args, options, key, from, is_new);
            }
        }
        place.count_as(changed);
        return Ok(());
    };
    streams.begin(args.at(key), reply);
    let array = reply.defer_array();
    let count = place.stream_account(|stream| {
        stream.deliver_again(group, consumer, from, options.count, now_ms, |id, entry| match entry {
            Some(entry) => reply_entry(&entry, reply),
            None => {
                reply.array(2);
                reply_id(id, reply);
                reply.null_array();
            }
        })
    });
    reply.finish_array(array, count);
    place.count_as(changed);
    Ok(())
}

/// New entries were delivered: each is repeated by itself, and up to where the group has come.
#[cold]
fn repeat_reading(
    place: &mut KeyMut<'_>,
    group: usize,
    args: &Args<'_>,
    options: &Options,
    key: usize,
    from: StreamId,
    is_new: bool,
) {
    let key = args.at(key);
    if options.is_acknowledged {
        let group_at = options.group_at.filter(|_| is_new);
        group_at.into_iter().for_each(|at| {
            place.repeat_as(|words| {
                words.add("XGROUP").add("CREATECONSUMER").add(key).add(args.at(at)).add(args.at(at + 1));
            });
        });
    } else {
        let stream = place.stream().expect("it was read");
        let to = stream.group_at(group).last;
        let ids: Vec<StreamId> = stream.entries(from, to).map(|entry| entry.id).collect();
        ids.into_iter().for_each(|id| repeat_delivery(place, group, key, id, Some(id)));
    }
    repeat_progress(place, group, key);
}
