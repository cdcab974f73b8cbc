//! What carries a value from server to server: DUMP and RESTORE.
//!
//! Not here: the format (`persist::rdb`).

use super::GENERIC;
use crate::command::row::{KeyAccess, key_at};
use crate::command::{Args, Categories, Command, CommandError, Context, Flags, Group, Outcome};
use crate::persist::rdb::{self, PayloadError};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::eviction::{frequency_clock, minutes};
use crate::store::{CLOCK_MAX, Class, Deadline, Deletion, Entry, Event, KeyMut, Type, View};

const RESTORE: Command = Command {
    name: "restore",
    arity: -4,
    flags: Flags::WRITE.with(Flags::DENYOOM),
    keys: &[key_at(1, KeyAccess::Overwrite)],
    since: "2.6.0",
    complexity: "O(N), N bytes of the payload",
    categories: Categories::DANGEROUS,
    summary: "Makes a key from what DUMP returned.",
    syntax: "key ttl serialized-value [REPLACE@3.0.0] [ABSTTL@5.0.0] [IDLETIME seconds@5.0.0] [FREQ frequency@5.0.0]",
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
        complexity: "O(N), N bytes of the value",
        tips: &["nondeterministic_output"],
        summary: "Writes a value as bytes that RESTORE reads.",
        syntax: "key",
        shares: true,
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
        summary: "RESTORE for a slot that is being moved.",
        internal: true,
        ..RESTORE
    },
];

fn dump(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let compress = ctx.config.rdbcompression;
    match ctx.read(args, 1) {
        None => reply.null(),
        Some(entry) => {
            let payload = rdb::payload(&View::of(entry), entry.bytes_allocated(), compress);
            reply.blob(&payload.into());
        }
    }
    Ok(())
}

fn restore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    if !options.replace && ctx.write(args, 1).entry().is_some() {
        return Err(CommandError::Text("BUSYKEY Target key name already exists."));
    }
    let ttl = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    let ttl = u64::try_from(ttl).map_err(|_| CommandError::Text("ERR Invalid TTL value, must be >= 0"))?;
    let (limits, keyspace) = (ctx.limits(), &ctx.shared.keyspace);
    let refused = |error| {
        CommandError::Text(match error {
            PayloadError::Trailer => "ERR DUMP payload version or checksum are wrong",
            PayloadError::Format => "ERR Bad data format",
        })
    };
    let checked = rdb::checked(args.at(3)).map_err(refused)?;
    let value = rdb::value(checked, &limits, keyspace.hasher()).map_err(refused)?;
    let (now_ms, clock) = (ctx.now_ms, options.clock(ctx));
    let deadline = match ttl {
        0 => Deadline::None,
        ms if options.absolute => Deadline::At(ms),
        // Beyond what PEXPIRE would take: as late as can be.
        ms => Deadline::At((now_ms + ms).min(i64::MAX as u64)),
    };
    let deletion = Deletion::by(ctx.config.lazyfree_lazy_server_del);
    let compress = ctx.config.rdbcompression;
    let mut place = ctx.write(args, 1);
    let before = place.entry().map(Entry::ty);
    place.remove();
    match deadline {
        Deadline::At(deadline_ms) if deadline_ms <= now_ms => {
            if before.is_some() {
                place.event(Event::DEL);
                place.repeat_as(|words| {
                    words.add(deletion.name()).add(args.at(1));
                });
            }
        }
        _ => {
            place.set_new(value, deadline);
            place.set_clock(clock);
            tell_restored(&mut place, args, before, deadline, options.absolute);
            if checked.is_valkey {
                repeat_for_all(&mut place, args, deadline, compress);
            }
        }
    }
    reply.ok();
    Ok(())
}

/// What it does is told as removing the key and making it anew. A time from now on is repeated as the moment that it meant.
fn tell_restored(
    place: &mut KeyMut<'_>,
    args: &Args<'_>,
    before: Option<Type>,
    deadline: Deadline,
    is_absolute: bool,
) {
    place.event(Event::new(Class::Generic, "restore"));
    if let Some(after) = place.entry().map(Entry::ty) {
        place.replaced(before, after);
    }
    if let Deadline::At(deadline_ms) = deadline
        && !is_absolute
    {
        place.repeat_as(|words| {
            words.add_all(args.from(0).take(2)).add(deadline_ms).add_all(args.from(3)).add("ABSTTL");
        });
    }
}

/// A payload of Valkey's own version is repeated as one that Redis's replicas, and whoever loads the append-only file, read.
fn repeat_for_all(place: &mut KeyMut<'_>, args: &Args<'_>, deadline: Deadline, compress: bool) {
    let Some(entry) = place.entry() else { return };
    let payload = rdb::payload(&View::of(entry), entry.bytes_allocated(), compress);
    let deadline_ms = if let Deadline::At(deadline_ms) = deadline { deadline_ms } else { 0 };
    place.repeat_as(|words| {
        words
            .add_all(args.from(0).take(2))
            .add(deadline_ms)
            .add(&payload[..])
            .add_all(args.from(4))
            .add("ABSTTL");
    });
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
