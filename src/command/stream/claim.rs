//! Giving a consumer what is pending with others: XCLAIM, XAUTOCLAIM.
//!
//! Design: an entry that was deleted meanwhile is not claimed; it is no longer pending then.

use super::super::{Args, CommandError, Context, Outcome};
use super::group::CREATED;
use super::ids::{self, parse_start, reply_entry, reply_id};
use super::release::repeat_forgotten;
use super::{group_of, now_ms};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::stream::{Slot, StreamId, redelivered};
use crate::store::{KeyMut, Type};

/// Pending entries that XAUTOCLAIM looks at for each that it may claim.
const LOOKED_AT_FACTOR: usize = 10;
const COUNT_DEFAULT: usize = 100;
/// So that as many IDs have an address.
const COUNT_MAX: i64 = i64::MAX / 16;

const COUNT: CommandError = CommandError::Text("ERR COUNT must be > 0");

/// How entries are claimed.
#[derive(Clone, Copy)]
struct Claim {
    /// With others for at least so long.
    idle_ms_min: i64,
    /// When they count as delivered.
    delivered_ms: i64,
    /// How often.
    deliveries: Option<u64>,
    /// Also if they are not pending.
    is_forced: bool,
    /// Only IDs are replied, and it counts as no delivery.
    only_ids: bool,
    now_ms: i64,
}

/// What became of an entry that was to be claimed.
#[derive(PartialEq)]
enum Claimed {
    Yes,
    No,
    /// It was deleted, and was pending until now.
    Forgotten,
}

/// The group of a stream, and the consumer that claims.
struct Claimer<'r, 'k> {
    args: &'r Args<'k>,
    place: KeyMut<'k>,
    group: usize,
    consumer: Slot,
    /// What counts as a change: the consumer if it is new, each entry.
    changed: usize,
}

impl<'r, 'k> Claimer<'r, 'k> {
    /// The consumer of argument 3, which is made if there is none.
    fn new(mut place: KeyMut<'k>, group: usize, args: &'r Args<'k>, now_ms: i64) -> Claimer<'r, 'k> {
        let (consumer, is_new) = consumer_of(&mut place, group, args.at(3), now_ms);
        Claimer { args, place, group, consumer, changed: is_new.into() }
    }

    fn claim(&mut self, id: StreamId, claim: &Claim, reply: &mut Reply<'_>) -> Claimed {
        let (place, consumer) = (self.group, self.consumer);
        let pending =
            self.place.stream().and_then(|stream| stream.group_at(place).pending().find(id).copied());
        let claimed = self.place.stream_account(|stream| {
            let Some(entry) = stream.entry(id) else {
                return if pending.is_some() { Claimed::Forgotten } else { Claimed::No };
            };
            let before = match pending {
                Some(pending) => {
                    let idle_ms = claim.now_ms.wrapping_sub(pending.delivered_ms);
                    if claim.idle_ms_min > 0 && idle_ms < claim.idle_ms_min {
                        return Claimed::No;
                    }
                    pending.deliveries
                }
                None if claim.is_forced => 1,
                None => return Claimed::No,
            };
            match claim.only_ids {
                true => reply_id(id, reply),
                false => reply_entry(&entry, reply),
            }
            let deliveries =
                claim.deliveries.unwrap_or(if claim.only_ids { before } else { redelivered(before) });
            stream.edit_group(place, |group| {
                group.deliver(id, consumer, claim.delivered_ms, deliveries);
                group.consumer_mut(consumer).active_ms = Some(claim.now_ms);
            });
            Claimed::Yes
        });
        self.changed += usize::from(claimed != Claimed::No);
        match (&claimed, pending) {
            (Claimed::Yes, _) => repeat_delivery(&mut self.place, self.group, self.args.at(1), id, None),
            (Claimed::Forgotten, Some(pending)) => {
                repeat_forgotten(&mut self.place, self.group, self.args.at(1), &pending);
                self.place.group_account(place, |group| group.acknowledge(id));
            }
            _ => {}
        }
        claimed
    }

    fn finish(mut self) {
        self.place.without_event();
        self.place.count_as(self.changed);
    }
}

/// The consumer of this name, seen now; and whether it is new.
pub(super) fn consumer_of(place: &mut KeyMut<'_>, group: usize, name: &[u8], now_ms: i64) -> (Slot, bool) {
    let (consumer, is_new) = place.group_account(group, |group| match group.find_consumer(name) {
        Some(consumer) => {
            group.consumer_mut(consumer).seen_ms = now_ms;
            (consumer, false)
        }
        None => (group.add_consumer(name, now_ms), true),
    });
    if is_new {
        place.event(CREATED);
    }
    (consumer, is_new)
}

/// The delivery of an entry that is pending is repeated as XCLAIM, with all that is known of it; by then the group has come up to
/// `last`.
pub(super) fn repeat_delivery(
    place: &mut KeyMut<'_>,
    group: usize,
    key: &[u8],
    id: StreamId,
    last: Option<StreamId>,
) {
    if !place.is_told() {
        return;
    }
    let told = place.stream().and_then(|stream| {
        let group = stream.group_at(group);
        let pending = *group.pending().find(id)?;
        let consumer = group.consumer(pending.consumer()?).name.clone();
        Some((group.name.clone(), consumer, pending, last.unwrap_or(group.last)))
    });
    let Some((group, consumer, pending, last)) = told else { return };
    place.repeat_as(|words| {
        words.add("XCLAIM").add(key).add(&*group).add(&*consumer).add("0").add(&*id.to_string());
        words.add("TIME").add(pending.delivered_ms).add("RETRYCOUNT").add(pending.deliveries);
        words.add("FORCE").add("JUSTID").add("LASTID").add(&*last.to_string());
    });
}

/// How far a group has come is repeated as XGROUP SETID.
pub(super) fn repeat_progress(place: &mut KeyMut<'_>, group: usize, key: &[u8]) {
    let told = place.stream().map(|stream| {
        let group = stream.group_at(group);
        (group.name.clone(), group.last, group.read_count.map_or(-1, u64::cast_signed))
    });
    let Some((group, last, read_count)) = told.filter(|_| place.is_told()) else { return };
    place.repeat_as(|words| {
        words.add("XGROUP").add("SETID").add(key).add(&*group).add(&*last.to_string());
        words.add("ENTRIESREAD").add(read_count);
    });
}

/// What XCLAIM is told: the IDs, and how.
struct Options {
    ids: std::ops::Range<usize>,
    claim: Claim,
    last: StreamId,
}

impl Options {
    /// From argument 4 on. The first argument that is no ID begins the options.
    fn parse(args: &Args<'_>, now_ms: i64, reply: &mut Reply<'_>) -> Result<Options, CommandError> {
        const MIN_IDLE: &str = "ERR Invalid min-idle-time argument for XCLAIM";
        let idle_ms_min = parse_i64(args.at(4)).ok_or(CommandError::Text(MIN_IDLE))?.max(0);
        let options_at = (5..args.len()).find(|index| ids::parse(args.at(*index), 0).is_err());
        let ids = 5..options_at.unwrap_or(args.len());
        let (mut delivered_ms, mut deliveries, mut last) = (None, None, StreamId::MIN);
        let (mut is_forced, mut only_ids, mut index) = (false, false, ids.end);
        while index < args.len() {
            index += 1;
            let has_value = index < args.len();
            let number = |error| parse_i64(args.at(index)).ok_or(CommandError::Text(error));
            if args.is(index - 1, "FORCE") {
                is_forced = true;
                continue;
            } else if args.is(index - 1, "JUSTID") {
                only_ids = true;
                continue;
            } else if has_value && args.is(index - 1, "IDLE") {
                let idle_ms = number("ERR Invalid IDLE option argument for XCLAIM")?;
                delivered_ms = Some(now_ms.wrapping_sub(idle_ms));
            } else if has_value && args.is(index - 1, "TIME") {
                delivered_ms = Some(number("ERR Invalid TIME option argument for XCLAIM")?);
            } else if has_value && args.is(index - 1, "RETRYCOUNT") {
                deliveries = u64::try_from(number("ERR Invalid RETRYCOUNT option argument for XCLAIM")?).ok();
            } else if has_value && args.is(index - 1, "LASTID") {
                last = ids::parse(args.at(index), 0)?;
            } else {
                let mut text = b"ERR Unrecognized XCLAIM option '".to_vec();
                text.extend_from_slice(args.c_string(index - 1));
                text.push(b'\'');
                reply.error_bytes(&text);
                return Err(CommandError::Replied);
            }
            index += 1;
        }
        // A time that is yet to come, or none, is now.
        let delivered_ms = delivered_ms.filter(|ms| (0..=now_ms).contains(ms)).unwrap_or(now_ms);
        let claim = Claim { idle_ms_min, delivered_ms, deliveries, is_forced, only_ids, now_ms };
        Ok(Options { ids, claim, last })
    }
}

/// XCLAIM. Errors in this order: type, no such key or group, least idle time, options.
pub(super) fn xclaim(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let now_ms = now_ms(ctx);
    // Each entry is repeated by itself.
    ctx.repeat_nothing();
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    if place.entry().is_none() {
        place.missed();
    }
    let group = group_of(place.stream(), args, 1, 2, reply)?;
    let Options { ids, claim, last } = Options::parse(args, now_ms, reply)?;
    let has_moved = place.group_account(group, |group| {
        let has_moved = last > group.last;
        group.last = group.last.max(last);
        has_moved
    });
    let mut claimer = Claimer::new(place, group, args, now_ms);
    let changed_before = claimer.changed;
    let array = reply.defer_array();
    let mut count = 0;
    for index in ids {
        let id = ids::parse(args.at(index), 0)?;
        count += usize::from(claimer.claim(id, &claim, reply) == Claimed::Yes);
    }
    reply.finish_array(array, count);
    if has_moved && claimer.changed == changed_before {
        claimer.changed += 1;
        repeat_progress(&mut claimer.place, group, args.at(1));
    }
    claimer.finish();
    Ok(())
}

/// XAUTOCLAIM. Errors in this order: least idle time, start, options, type, no such key or group.
pub(super) fn xautoclaim(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const MIN_IDLE: &str = "ERR Invalid min-idle-time argument for XAUTOCLAIM";
    let idle_ms_min = parse_i64(args.at(4)).ok_or(CommandError::Text(MIN_IDLE))?.max(0);
    let from = parse_start(args.at(5))?;
    let (mut count, mut only_ids, mut index) = (COUNT_DEFAULT, false, 6);
    while index < args.len() {
        if args.is(index, "COUNT") && index + 1 < args.len() {
            let given = parse_i64(args.at(index + 1)).filter(|count| (1..=COUNT_MAX).contains(count));
            count = given.ok_or(COUNT)? as usize;
            index += 1;
        } else if args.is(index, "JUSTID") {
            only_ids = true;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    let now_ms = now_ms(ctx);
    ctx.repeat_nothing();
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    if place.entry().is_none() {
        place.missed();
    }
    let group = group_of(place.stream(), args, 1, 2, reply)?;
    let claim =
        Claim { idle_ms_min, delivered_ms: now_ms, deliveries: None, is_forced: false, only_ids, now_ms };
    let mut claimer = Claimer::new(place, group, args, now_ms);
    // The cursor comes first, and is known last.
    let looked_at = count.saturating_mul(LOOKED_AT_FACTOR);
    let (candidates, cursor) = candidates(&claimer, from, count, looked_at, &claim);
    reply.array(3);
    reply_id(cursor, reply);
    let array = reply.defer_array();
    let (mut claimed, mut forgotten) = (0, Vec::new());
    for id in candidates {
        match claimer.claim(id, &claim, reply) {
            Claimed::Yes => claimed += 1,
            Claimed::Forgotten => forgotten.push(id),
            Claimed::No => {}
        }
    }
    reply.finish_array(array, claimed);
    reply.array(forgotten.len());
    forgotten.into_iter().for_each(|id| reply_id(id, reply));
    claimer.finish();
    Ok(())
}

/// The pending entries that are claimed or forgotten, and the first one that was not looked at.
fn candidates(
    claimer: &Claimer<'_, '_>,
    from: StreamId,
    count: usize,
    looked_at: usize,
    claim: &Claim,
) -> (Vec<StreamId>, StreamId) {
    let stream = claimer.place.stream().expect("it has the group");
    let mut found = Vec::new();
    for (number, pending) in stream.group_at(claimer.group).pending().iter_from(from).enumerate() {
        if number == looked_at || found.len() == count {
            return (found, pending.id);
        }
        let is_idle =
            claim.idle_ms_min == 0 || claim.now_ms.wrapping_sub(pending.delivered_ms) >= claim.idle_ms_min;
        if is_idle || stream.entry(pending.id).is_none() {
            found.push(pending.id);
        }
    }
    (found, StreamId::MIN)
}
