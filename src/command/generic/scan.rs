//! What walks all keys: KEYS, RANDOMKEY and SCAN.
//!
//! Design: KEYS and RANDOMKEY hold every shard. SCAN asks for none and takes those it comes to as it goes, by trying: a shard
//! that another worker holds ends the call, and the cursor says to go on there. A cursor is a shard and a position in it,
//! which the store keeps valid whatever grows or shrinks:
//!
//! ```text
//! 62 ............................. 13 | 12 ..... 0
//! position in the shard, its top bits | shard + 1       0 as a whole: the beginning, or the end
//! ```
//!
//! Invariants: a key that exists from a scan's first call to its last is returned. The position loses its low bits, so a scan
//! may step back a little and return a key twice, as Redis may; a bucket is far wider than that, so it never stands still.
//!
//! Costs: a call looks at COUNT keys, about, and at empty shards until it has. It looks at no more than [`KEYS_PER_TURN`] in one
//! turn, and gives its leases back in between, so that a large COUNT keeps nobody waiting.

use super::GENERIC;
use crate::command::{Args, Categories, Command, CommandError, Context, Flags, Outcome, Scope};
use crate::glob::{self, Case};
use crate::resp::number::parse_i64;
use crate::resp::{Output, Reply};
use crate::store::{Entry, SHARDS_MAX, ShardId};

/// Times one SCAN tries again to take leases that other workers have: some tens of us in all.
const PATIENCE: u32 = 2048;

/// Keys that one SCAN looks at before others have their turn: some hundreds of us.
const KEYS_PER_TURN: usize = 2048;

const SHARD_BITS: u32 = 13;
/// Bits of a position that a cursor does not hold.
const POSITION_BITS_LOST: u32 = 14;
const COUNT_DEFAULT: usize = 10;
/// Keys drawn by RANDOMKEY before it looks for one that has not expired.
const DRAWS_MAX: u32 = 64;

const _: () = assert!(SHARDS_MAX < 1 << SHARD_BITS);
const _: () = assert!(64 - POSITION_BITS_LOST + SHARD_BITS == 63);

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "keys",
        arity: 2,
        flags: Flags::READONLY,
        scope: Scope::All,
        complexity: "O(N), N keys of the database",
        categories: Categories::DANGEROUS,
        tips: &["request_policy:all_shards", "nondeterministic_output_order"],
        summary: "Lists the keys that match a pattern.",
        syntax: "pattern",
        handler: keys,
        ..GENERIC
    },
    Command {
        name: "randomkey",
        arity: 1,
        flags: Flags::READONLY.with(Flags::TOUCHES_ARBITRARY_KEYS),
        scope: Scope::All,
        tips: &["request_policy:all_shards", "response_policy:special", "nondeterministic_output"],
        summary: "Picks a key at random.",
        handler: randomkey,
        ..GENERIC
    },
    Command {
        name: "scan",
        arity: -2,
        flags: Flags::READONLY.with(Flags::TOUCHES_ARBITRARY_KEYS),
        scope: Scope::None,
        since: "2.8.0",
        complexity: "O(N), N keys visited by the call",
        tips: &["nondeterministic_output", "request_policy:special", "response_policy:special"],
        summary: "Lists keys, some at each call.",
        syntax: "cursor [MATCH pattern] [COUNT count] [TYPE type@6.0.0]",
        handler: scan,
        ..GENERIC
    },
];

fn keys(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (db, now_ms, pattern) = (ctx.session.db, ctx.now_ms, args.at(1));
    let all = pattern == b"*";
    let list = reply.defer_array();
    let mut count = 0;
    ctx.each_shard(|shard| {
        shard.for_each(db, |entry| {
            let wanted = all || glob::matches(pattern, entry.key(), Case::Sensitive);
            if wanted && !entry.is_expired(now_ms) {
                reply.bulk(entry.key());
                count += 1;
            }
        });
    });
    reply.finish_array(list, count);
    Ok(())
}

fn randomkey(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (db, now_ms) = (ctx.session.db, ctx.now_ms);
    let is_paused = ctx.shared.keeps_expired(now_ms);
    let mut expired = None;
    for _ in 0..DRAWS_MAX {
        let Some(shard) = draw_shard(ctx) else { break };
        let seed = ctx.rng.next();
        let shard = ctx.leases.shard(shard);
        let entry = shard.random(db, seed).expect("a shard without keys is never drawn");
        if !entry.is_expired(now_ms) {
            reply.bulk(entry.key());
            return Ok(());
        }
        let key = entry.key().to_vec();
        if is_paused {
            expired = Some(key);
            continue;
        }
        let hash = ctx.shared.keyspace.hash(&key);
        // Looking at it removes it.
        drop(shard.write(db, hash, &key, now_ms));
        ctx.expired(db, &key);
    }
    // Hardly anything but expired keys, or nothing at all.
    let mut found = false;
    for shard in ctx.shared.keyspace.shards() {
        ctx.leases.shard(shard).for_each(db, |entry| {
            if !found && !entry.is_expired(now_ms) {
                found = true;
                reply.bulk(entry.key());
            }
        });
        if found {
            return Ok(());
        }
    }
    // As Redis does where nothing may be removed, and nothing else is there.
    match expired {
        Some(key) => reply.bulk(&key),
        None => reply.null(),
    }
    Ok(())
}

/// A shard, drawn with the probability of its share of the keys; `None` without any key.
fn draw_shard(ctx: &mut Context<'_>) -> Option<ShardId> {
    let db = ctx.session.db;
    let mut total = 0;
    ctx.each_shard(|shard| total += shard.len(db));
    if total == 0 {
        return None;
    }
    let mut left = ctx.rng.below(total);
    for shard in ctx.shared.keyspace.shards() {
        let len = ctx.leases.shard(shard).len(db);
        if left < len {
            return Some(shard);
        }
        left -= len;
    }
    unreachable!("the draw is below the number of keys")
}

fn scan(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let cursor = parse_cursor(args.at(1)).ok_or(CommandError::Text("ERR invalid cursor"))?;
    let filter = Filter::parse(args)?;
    let mut scan = ctx.session.scan.take().map_or_else(|| Scan::begin(cursor, filter.count), |scan| *scan);
    let Some(next) = scan.go_on(ctx, &filter) else {
        ctx.session.scan = Some(Box::new(scan));
        return Err(CommandError::Unfinished);
    };
    reply.array(2);
    reply.bulk_fmt(format_args!("{next}"));
    reply.array(scan.found_count);
    reply.output().append(&mut scan.found);
    Ok(())
}

/// A SCAN on its way.
pub struct Scan {
    shard: u16,
    position: u64,
    /// Keys still to be looked at.
    budget: usize,
    /// The keys found, as they are replied once the cursor, which comes first, is known.
    found: Output,
    found_count: usize,
}

impl Scan {
    fn begin(cursor: u64, count: usize) -> Scan {
        let (shard, position) = place_of(cursor);
        Scan { shard, position, budget: count, found: Output::new(), found_count: 0 }
    }

    /// Memory held, in bytes.
    pub fn bytes_allocated(&self) -> usize {
        self.found.allocated_bytes()
    }

    /// Looks at keys until there were as many as were asked for, and says with which cursor to go on; nothing if it goes on
    /// by itself in the next turn, since it may look at no more in this one.
    fn go_on(&mut self, ctx: &mut Context<'_>, filter: &Filter<'_>) -> Option<u64> {
        // A transaction has to be over when its turn is.
        let mut left = if ctx.session.denies_blocking { usize::MAX } else { KEYS_PER_TURN };
        let mut patience = PATIENCE;
        loop {
            if usize::from(self.shard) >= ctx.shared.keyspace.shard_count() {
                return Some(0);
            }
            if self.budget == 0 {
                return Some(cursor_at(self.shard, self.position));
            }
            if left == 0 {
                return None;
            }
            if !take_soon(ctx, ShardId(self.shard), &mut patience) {
                return Some(cursor_at(self.shard, self.position));
            }
            let looked_at = self.look_on(ctx, filter, self.budget.min(left));
            self.budget = self.budget.saturating_sub(looked_at);
            left = left.saturating_sub(looked_at);
        }
    }

    /// Looks at about so many keys of one shard, whose lease is held; how many they were.
    fn look_on(&mut self, ctx: &mut Context<'_>, filter: &Filter<'_>, count: usize) -> usize {
        let (db, now_ms, protocol) = (ctx.session.db, ctx.now_ms, ctx.session.protocol);
        let is_paused = ctx.shared.keeps_expired(now_ms);
        let held = ctx.leases.shard(ShardId(self.shard));
        let (mut looked_at, mut expired) = (0, Vec::new());
        let mut reply = Reply::new(&mut self.found, protocol);
        let after = held.scan(db, self.position, count, &mut |entry| {
            looked_at += 1;
            if entry.is_expired(now_ms) {
                // A pause keeps it in its place.
                if !is_paused {
                    expired.push(entry.key().to_vec());
                }
            } else if filter.takes(entry) {
                reply.bulk(entry.key());
                self.found_count += 1;
            }
        });
        for key in expired {
            let hash = ctx.shared.keyspace.hash(&key);
            // Looking at it removes it.
            drop(ctx.leases.shard(ShardId(self.shard)).write(db, hash, &key, now_ms));
            ctx.expired(db, &key);
        }
        match after {
            Some(after) => {
                self.position = after;
                // The store gave up where there are no keys, which took as long as the keys would have.
                if looked_at == 0 { count } else { looked_at }
            }
            None => {
                (self.shard, self.position) = (self.shard + 1, 0);
                looked_at
            }
        }
    }
}

/// Which keys a scan returns, and how many it looks at.
struct Filter<'a> {
    pattern: Option<&'a [u8]>,
    value_type: Option<&'a [u8]>,
    count: usize,
}

impl<'a> Filter<'a> {
    fn parse(args: &Args<'a>) -> Result<Self, CommandError> {
        let mut filter = Self { pattern: None, value_type: None, count: COUNT_DEFAULT };
        for index in (2..args.len()).step_by(2) {
            let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
            if args.is(index, "COUNT") {
                let count = parse_i64(value).ok_or(CommandError::NotInteger)?;
                if count < 1 {
                    return Err(CommandError::Syntax);
                }
                filter.count = usize::try_from(count).unwrap_or(usize::MAX);
            } else if args.is(index, "MATCH") {
                filter.pattern = (value != b"*").then_some(value);
            } else if args.is(index, "TYPE") {
                filter.value_type = Some(value);
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(filter)
    }

    /// A type that does not exist takes nothing.
    fn takes(&self, entry: Entry<'_>) -> bool {
        let of_type = |name: &[u8]| entry.ty().name().as_bytes().eq_ignore_ascii_case(name);
        self.value_type.is_none_or(of_type)
            && self.pattern.is_none_or(|pattern| glob::matches(pattern, entry.key(), Case::Sensitive))
    }
}

/// Where a cursor leads; past the last shard for one that was never given out.
fn place_of(cursor: u64) -> (u16, u64) {
    let shard = (cursor & ((1 << SHARD_BITS) - 1)).saturating_sub(1) as u16;
    (shard, cursor >> SHARD_BITS << POSITION_BITS_LOST)
}

fn cursor_at(shard: u16, position: u64) -> u64 {
    let cursor = position >> POSITION_BITS_LOST << SHARD_BITS | (u64::from(shard) + 1);
    assert!(cursor < 1 << 63, "position and shard have 63 bits, as asserted above");
    cursor
}

/// An unsigned decimal number; leading zeros and one plus sign are allowed, as by C.
pub(in crate::command) fn parse_cursor(text: &[u8]) -> Option<u64> {
    let digits = text.strip_prefix(b"+").unwrap_or(text);
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 { None } else { number.checked_mul(10)?.checked_add(digit.into()) }
    })
}

/// Takes a lease, trying again a few times while another worker has it: most are given back within microseconds. What is
/// left of `patience` is for the rest of the walk, so that one call is bounded.
fn take_soon(ctx: &mut Context<'_>, shard: ShardId, patience: &mut u32) -> bool {
    loop {
        if ctx.leases.try_take(shard) {
            return true;
        }
        if *patience == 0 {
            return false;
        }
        *patience -= 1;
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_lead_back_to_their_place() {
        for shard in [0, 1, 255, SHARDS_MAX as u16 - 1] {
            for position in [0, 1 << 36, 0x1234_5678_9abc_d000, u64::MAX << 12] {
                let cursor = cursor_at(shard, position);
                assert_ne!(cursor, 0);
                let (again, before) = place_of(cursor);
                assert_eq!(again, shard);
                assert!(before <= position && position - before < 1 << POSITION_BITS_LOST);
            }
        }
        assert_eq!(place_of(0), (0, 0));
    }

    #[test]
    fn cursors_are_read_as_redis_reads_them() {
        for (text, cursor) in [
            (&b"0"[..], Some(0)),
            (b"00", Some(0)),
            (b"+7", Some(7)),
            (b"18446744073709551615", Some(u64::MAX)),
            (b"18446744073709551616", None),
            (b"-1", None),
            (b"", None),
            (b"+", None),
            (b" 1", None),
            (b"1 ", None),
            (b"x", None),
        ] {
            assert_eq!(parse_cursor(text), cursor);
        }
    }
}
