//! HRANDFIELD.
//!
//! Design: fields whose deadline has come are removed first, as in Redis, so that a pick is one of those that are left. Distinct
//! picks from a dict are drawn until they are distinct where they are few; else all fields are walked, each being chosen with the
//! probability that the rest of the picks has among the rest of the fields (Knuth's algorithm S).

use std::collections::HashSet;

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::Lapsing;
use crate::command::Rng;
use crate::resp::number::parse_i64;
use crate::resp::{Protocol, Reply};
use crate::store::{Event, Field, Hash, Typed};

const COUNT_OUT_OF_RANGE: CommandError = CommandError::Text(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
const OUT_OF_RANGE: CommandError = CommandError::Text("ERR value is out of range");

/// So many picks with repetition make a reply that nobody can want, and that would keep all others waiting.
const PICKS_MAX: u64 = 1 << 24;
/// Of more fields than this many times the picks, picks are drawn.
const DRAWN_SHARE: usize = 3;

/// HRANDFIELD. Errors in this order: count, words, type.
pub(super) fn hrandfield(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let count = args.find(2).map(|count| parse_i64(count).ok_or(CommandError::NotInteger)).transpose()?;
    if count == Some(i64::MIN) {
        return Err(COUNT_OUT_OF_RANGE);
    }
    let with_values = match args.len() {
        ..=3 => false,
        4 if args.is(3, "WITHVALUES") => true,
        _ => return Err(CommandError::Syntax),
    };
    if with_values && count.is_some_and(|count| count.unsigned_abs() > i64::MAX as u64 / 2) {
        return Err(OUT_OF_RANGE);
    }
    if remove_expired(ctx, args) {
        match count {
            None => reply.null(),
            Some(_) => reply.array(0),
        }
        return Ok(());
    }
    let mut rng = Rng::new(ctx.rng.next());
    let now_ms = ctx.now_ms;
    let Some(hash) = ctx.read_as::<Hash<'_>>(args, 1)? else {
        match count {
            None => reply.null(),
            Some(_) => reply.array(0),
        }
        return Ok(());
    };
    let pool = Pool::of(hash, now_ms);
    let mut shown = Shown { with_values, reply };
    match count {
        None if pool.len() == 0 => shown.reply.null(),
        None => reply_item(pool.draw(&mut rng).name, shown.reply),
        Some(0) => shown.reply.array(0),
        Some(_) if pool.len() == 0 => shown.reply.array(0),
        Some(count) if count < 0 => {
            if count.unsigned_abs() > PICKS_MAX {
                return Err(OUT_OF_RANGE);
            }
            let count = count.unsigned_abs() as usize;
            shown.begin(count);
            (0..count).for_each(|_| shown.show(&pool.draw(&mut rng)));
        }
        Some(count) => {
            let count = usize::try_from(count).unwrap_or(usize::MAX).min(pool.len());
            pick_distinct(&pool, count, &mut rng, &mut shown);
        }
    }
    Ok(())
}

/// What is picked from.
enum Pool<'a> {
    /// Fields, few, or those that are left where a pause keeps others whose deadline has come.
    Listed(Vec<Field<'a>>),
    /// A dict, in which no deadline has come.
    Dict(Hash<'a>),
}

impl<'a> Pool<'a> {
    fn of(hash: Hash<'a>, now_ms: u64) -> Pool<'a> {
        if matches!(hash, Hash::Dict(_)) && !hash.has_expired(now_ms) {
            return Pool::Dict(hash);
        }
        Pool::Listed(hash.iter().filter(|field| !field.is_expired(now_ms)).collect())
    }

    fn len(&self) -> usize {
        match self {
            Pool::Listed(fields) => fields.len(),
            Pool::Dict(hash) => hash.len(),
        }
    }

    /// Any field of those that there are.
    fn draw(&self, rng: &mut Rng) -> Field<'a> {
        match self {
            Pool::Listed(fields) => fields[rng.below(fields.len() as u64) as usize],
            Pool::Dict(hash) => hash.random(rng.next()),
        }
    }
}

/// Removes all fields whose deadline has come, unless a pause forbids it; whether none is left.
fn remove_expired(ctx: &mut Context<'_>, args: &Args<'_>) -> bool {
    let now_ms = ctx.now_ms;
    let entry = ctx.peek(args, 1).filter(|entry| entry.ty() == Hash::TYPE && !entry.is_expired(now_ms));
    let has_expired = entry.is_some_and(|entry| Hash::of(entry).has_expired(now_ms));
    if !has_expired || ctx.shared.keeps_expired(now_ms) || !ctx.may_tidy(args, 1) {
        return false;
    }
    let lapsing = Lapsing::of(ctx, args);
    let mut place = ctx.write(args, 1);
    let mut removed: Vec<Vec<u8>> = Vec::new();
    place.hash_remove_expired(now_ms, &mut |name| removed.push(name.to_vec()));
    lapsing.counter.add(removed.len() as u64);
    place.count_as(0);
    place.event(Event::HEXPIRED);
    for name in removed {
        place.repeat_before(|words| {
            words.add("HDEL").add(lapsing.key).add(&name[..]);
        });
    }
    place.entry().is_none()
}

/// Writes picks.
struct Shown<'r, 'o> {
    with_values: bool,
    reply: &'r mut Reply<'o>,
}

impl Shown<'_, '_> {
    /// So many picks will follow. In RESP3 each with its value is an array of its own.
    fn begin(&mut self, count: usize) {
        let is_flat = self.with_values && self.reply.protocol() == Protocol::Resp2;
        self.reply.array(if is_flat { 2 * count } else { count });
    }

    fn show(&mut self, field: &Field<'_>) {
        if self.with_values && self.reply.protocol() == Protocol::Resp3 {
            self.reply.array(2);
        }
        reply_item(field.name, self.reply);
        if self.with_values {
            reply_item(field.value, self.reply);
        }
    }
}

/// So many picks of different fields.
fn pick_distinct(pool: &Pool<'_>, count: usize, rng: &mut Rng, shown: &mut Shown<'_, '_>) {
    shown.begin(count);
    let len = pool.len();
    if matches!(pool, Pool::Dict(_)) && len / DRAWN_SHARE > count {
        let mut seen = HashSet::with_capacity(count);
        while seen.len() < count {
            let field = pool.draw(rng);
            if seen.insert(field.name.to_vec()) {
                shown.show(&field);
            }
        }
        return;
    }
    let mut wanted = count as u64;
    let mut choose = |index: usize, field: &Field<'_>| {
        if rng.below((len - index) as u64) < wanted {
            shown.show(field);
            wanted -= 1;
        }
    };
    match pool {
        Pool::Listed(fields) => fields.iter().enumerate().for_each(|(index, field)| choose(index, field)),
        Pool::Dict(hash) => hash.iter().enumerate().for_each(|(index, field)| choose(index, &field)),
    }
}
