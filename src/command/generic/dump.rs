//! What carries a value from server to server: DUMP and RESTORE.
//!
//! Not here: the format (`persist::rdb`).

use super::GENERIC;
use crate::command::row::{KeyAccess, key_at};
use crate::command::{Args, Categories, Command, CommandError, Context, Flags, Group, Outcome};
use crate::persist::rdb::{self, PayloadError, decode::Text, encode};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::eviction::{frequency_clock, minutes};
use crate::store::{BLOB_BYTES_MIN, CLOCK_MAX, Deadline, Entry, KeyMut, ListLimits, NewString, Str, Type};

const RESTORE: Command = Command {
    name: "restore",
    arity: -4,
    flags: Flags::WRITE.with(Flags::DENYOOM),
    keys: &[key_at(1, KeyAccess::Overwrite)],
    since: "2.6.0",
    complexity: "O(1) to create the new key and additional O(N*M) to reconstruct the serialized value, where N is the \
                 number of Redis objects composing the value and M their average size. For small string values the time \
                 complexity is thus O(1)+O(1*M) where M is small, so simply O(1). However for sorted set values the \
                 complexity is O(N*M*log(N)) because inserting values into sorted sets is O(log(N)).",
    categories: Categories::DANGEROUS,
    summary: "Creates a key from the serialized representation of a value.",
    syntax: "key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]",
    handler: restore,
    ..GENERIC
};

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "dump",
        arity: 2,
        flags: Flags::READONLY,
        keys: &[key_at(1, KeyAccess::Read)],
        since: "2.6.0",
        complexity: "O(1) to access the key and additional O(N*M) to serialize it, where N is the number of Redis objects \
                     composing the value and M their average size. For small string values the time complexity is thus \
                     O(1)+O(1*M) where M is small, so simply O(1).",
        tips: &["nondeterministic_output"],
        summary: "Returns a serialized representation of the value stored at a key.",
        syntax: "key",
        handler: dump,
        ..GENERIC
    },
    RESTORE,
    Command {
        name: "restore-asking",
        flags: RESTORE.flags.with(Flags::ASKING),
        group: Group::Server,
        since: "3.0.0",
        categories: Categories::DANGEROUS.with(Categories::KEYSPACE),
        summary: "An internal command for migrating keys in a cluster.",
        ..RESTORE
    },
];

fn dump(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let compress = ctx.config.rdbcompression;
    match ctx.read(args, 1) {
        None => reply.null(),
        Some(entry) => reply.blob(&payload(entry, compress).into()),
    }
    Ok(())
}

fn payload(entry: &Entry, compress: bool) -> Vec<u8> {
    match entry.ty() {
        Type::String => {
            let value = entry.string();
            rdb::payload(rdb::TYPE_STRING, value.len(), |out| match value {
                Str::Int(value) => encode::integer(out, value),
                Str::Bytes(bytes) => encode::string(out, bytes, compress),
            })
        }
        Type::List => rdb::payload(rdb::list::TYPE_LIST_QUICKLIST_2, entry.bytes_allocated(), |out| {
            rdb::list::write(out, &entry.list(), compress);
        }),
        other => unreachable!("no command makes values of the type {}", other.name()),
    }
}

fn restore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    if !options.replace && ctx.write(args, 1).entry().is_some() {
        return Err(CommandError::Text("BUSYKEY Target key name already exists."));
    }
    let ttl = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let ttl = u64::try_from(ttl).map_err(|_| CommandError::Text("ERR Invalid TTL value, must be >= 0"))?;
    let limits = ListLimits::new(ctx.config.list_max_listpack_size);
    let value = rdb::checked(args.at(3)).and_then(|value| rdb::value(value, limits)).map_err(|error| {
        CommandError::Text(match error {
            PayloadError::Trailer => "ERR DUMP payload version or checksum are wrong",
            PayloadError::Format => "ERR Bad data format",
        })
    })?;
    let (now_ms, clock) = (ctx.now_ms, options.clock(ctx));
    let deadline = match ttl {
        0 => Deadline::None,
        ms if options.absolute => Deadline::At(ms),
        // Beyond what PEXPIRE would take: as late as can be.
        ms => Deadline::At((now_ms + ms).min(i64::MAX as u64)),
    };
    let mut place = ctx.write(args, 1);
    place.remove();
    if !matches!(deadline, Deadline::At(deadline_ms) if deadline_ms <= now_ms) {
        set_value(&mut place, value, deadline);
        place.set_clock(clock);
    }
    reply.ok();
    Ok(())
}

/// Stores a value under a key that does not exist.
fn set_value(place: &mut KeyMut<'_>, value: rdb::Value<'_>, deadline: Deadline) {
    match value {
        rdb::Value::String(text) => return place.set_string(new_string(text), deadline),
        rdb::Value::List(list) => place.set_list(list),
    }
    if let Deadline::At(deadline_ms) = deadline {
        place.set_deadline(Some(deadline_ms));
    }
}

fn new_string(text: Text<'_>) -> NewString<'_> {
    match text {
        Text::Int(value) => NewString::Int(value),
        Text::Plain(bytes) if bytes.len() >= BLOB_BYTES_MIN => NewString::Blob(bytes.to_vec().into()),
        Text::Plain(bytes) => NewString::Bytes(bytes),
        Text::Unpacked(bytes) => NewString::Blob(bytes.into()),
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<i64>,
    frequency: Option<u8>,
}

impl Options {
    fn parse(args: &Args<'_>) -> Result<Self, CommandError> {
        let mut found = Self::default();
        let mut index = 4;
        while index < args.len() {
            let next = args.find(index + 1);
            match next {
                _ if args.is(index, "REPLACE") => found.replace = true,
                _ if args.is(index, "ABSTTL") => found.absolute = true,
                Some(text) if args.is(index, "IDLETIME") && found.frequency.is_none() => {
                    let number = parse_i64(text).ok_or(CommandError::NotInteger)?;
                    if number < 0 {
                        return Err(CommandError::Text("ERR Invalid IDLETIME value, must be >= 0"));
                    }
                    found.idle_seconds = Some(number);
                    index += 1;
                }
                Some(text) if args.is(index, "FREQ") && found.idle_seconds.is_none() => {
                    let number = parse_i64(text).ok_or(CommandError::NotInteger)?;
                    let number = u8::try_from(number)
                        .map_err(|_| CommandError::Text("ERR Invalid FREQ value, must be >= 0 and <= 255"))?;
                    found.frequency = Some(number);
                    index += 1;
                }
                _ => return Err(CommandError::Syntax),
            }
            index += 1;
        }
        Ok(found)
    }

    /// The new entry's access clock. What the policy in force does not keep is not taken over.
    fn clock(&self, ctx: &Context<'_>) -> u32 {
        if ctx.access_clock.counts_frequency() {
            let clock = |frequency| frequency_clock(minutes(ctx.now_ms), frequency);
            return self.frequency.map_or(ctx.fresh_clock(), clock);
        }
        // Older than the clock can tell: as old as it can.
        let idle = self.idle_seconds.unwrap_or(0).min(i64::from(CLOCK_MAX)) as u32;
        ctx.access_clock.seconds().wrapping_sub(idle) & CLOCK_MAX
    }
}
