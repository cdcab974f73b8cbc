//! Letting go of what is pending, and taking over what was let go of or has been pending for long: XNACK, XREADGROUP with CLAIM.
//!
//! Design: an entry that is released stays pending in its group, with nobody, and counts as delivered at no time, so that whoever
//! claims finds it idle for long enough, and finds it first. Who waits in XREADGROUP with CLAIM is woken by that. Time wakes no
//! queue: such a command says when it is to be looked at again (`Blocking::retry_ms`). That is when the first pending entry will
//! have been so for long enough; what is delivered to others meanwhile is found when it has been for that long after it came, at
//! the latest `RETRY_MS_MIN` later.
//!
//! Not here: claiming by ID (`claim`).

use super::super::{Args, CommandError, Context, Outcome};
use super::claim::repeat_delivery;
use super::group_of;
use super::ids::{self, reply_delivered};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::stream::{Group, Pending, Slot, StreamId, redelivered};
use crate::store::{KeyMut, Type};

const NUMIDS: CommandError = CommandError::Text("ERR Number of IDs must be a positive integer");
const NUMIDS_WRONG: CommandError =
    CommandError::Text("ERR The `numids` parameter must match the number of arguments");
const RETRYCOUNT: CommandError = CommandError::Text("ERR Invalid RETRYCOUNT option argument for XNACK");

/// How often at most a command that waits looks again for entries that others were delivered meanwhile, ms.
const RETRY_MS_MIN: i64 = 50;

/// What releasing makes of how often an entry was delivered.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// This delivery did not count.
    Silent,
    Fail,
    /// Nobody should try again.
    Fatal,
}

impl Mode {
    const ALL: [(Mode, &'static str); 3] =
        [(Mode::Silent, "SILENT"), (Mode::Fail, "FAIL"), (Mode::Fatal, "FATAL")];

    fn deliveries(self, before: u64) -> u64 {
        match self {
            Mode::Silent => before.saturating_sub(1),
            Mode::Fail => before,
            Mode::Fatal => i64::MAX as u64,
        }
    }
}

/// What XNACK is told.
struct Options {
    mode: (Mode, &'static str),
    ids: std::ops::Range<usize>,
    deliveries: Option<u64>,
    /// Entries that are not pending become so.
    is_forced: bool,
}

impl Options {
    /// From argument 3 on.
    fn parse(args: &Args<'_>) -> Result<Options, CommandError> {
        let mode = Mode::ALL.into_iter().find(|(_, name)| args.is(3, name)).ok_or(CommandError::Syntax)?;
        if !args.is(4, "IDS") {
            return Err(CommandError::Syntax);
        }
        let count = parse_i64(args.at(5)).filter(|count| *count > 0).ok_or(NUMIDS)?;
        let end = usize::try_from(count).ok().and_then(|count| count.checked_add(6));
        let end = end.filter(|end| *end <= args.len()).ok_or(NUMIDS_WRONG)?;
        let mut options = Options { mode, ids: 6..end, deliveries: None, is_forced: false };
        let mut index = end;
        while index < args.len() {
            if args.is(index, "FORCE") {
                options.is_forced = true;
            } else if args.is(index, "RETRYCOUNT") && index + 1 < args.len() {
                index += 1;
                let given = parse_i64(args.at(index)).and_then(|count| u64::try_from(count).ok());
                options.deliveries = Some(given.ok_or(RETRYCOUNT)?);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }
}

/// XNACK. Errors in this order: options, IDs, type, no such key or group.
pub(super) fn xnack(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::parse(args)?;
    let ids = ids::parse_all(args, options.ids.clone())?;
    // Each entry is repeated by itself.
    ctx.repeat_nothing();
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    let group = group_of(place.stream(), args, 1, 2, reply)?;
    let mut released = 0;
    for id in ids {
        let stream = place.stream().expect("it has the group");
        let before = match stream.group_at(group).pending().find(id) {
            Some(pending) => options.mode.0.deliveries(pending.deliveries),
            None if options.is_forced && stream.entry(id).is_some() => options.mode.0.deliveries(0),
            None => continue,
        };
        let deliveries = options.deliveries.unwrap_or(before);
        place.group_release(group, |group| group.release(id, deliveries));
        released += 1;
        place.repeat_as(|words| {
            words.add("XNACK").add(args.at(1)).add(args.at(2)).add(options.mode.1).add("IDS").add("1");
            words.add(&*id.to_string()).add("RETRYCOUNT").add(deliveries).add("FORCE");
        });
    }
    if released > 0 {
        place.without_event();
        place.count_as(released);
    }
    reply.integer(released as i64);
    Ok(())
}

/// XREADGROUP with CLAIM: what it claims of a stream.
pub(super) struct Claiming {
    /// What has been pending for so long, ms.
    pub idle_ms_min: i64,
    /// When there may be more, Unix time in ms.
    pub retry_ms: i64,
}

impl Claiming {
    /// Nothing was looked at so far.
    pub fn new(idle_ms_min: i64) -> Claiming {
        Claiming { idle_ms_min, retry_ms: i64::MAX }
    }

    /// What may be claimed in a group: up to `count` entries, those first that have waited longest. Those that were deleted are
    /// pending no more.
    pub fn find(
        &mut self,
        place: &mut KeyMut<'_>,
        group: usize,
        key: &[u8],
        count: usize,
        now_ms: i64,
    ) -> Vec<Pending> {
        let until_ms = now_ms.saturating_sub(self.idle_ms_min);
        let mut found = place.group_account(group, |group| group.delivered_until(until_ms, count));
        found.retain(|pending| {
            let is_there = place.stream().is_some_and(|stream| stream.entry(pending.id).is_some());
            if !is_there {
                forget(place, group, key, pending);
            }
            is_there
        });
        let oldest_ms = place.stream().map_or(i64::MAX, |stream| stream.group_at(group).oldest_ms());
        let others_ms = now_ms.saturating_add(self.idle_ms_min.max(RETRY_MS_MIN));
        let idle_ms = oldest_ms.saturating_add(self.idle_ms_min).max(now_ms + 1);
        self.retry_ms = self.retry_ms.min(idle_ms).min(others_ms);
        found
    }
}

/// An entry that was deleted is pending no more.
fn forget(place: &mut KeyMut<'_>, group: usize, key: &[u8], pending: &Pending) {
    repeat_forgotten(place, group, key, pending);
    place.group_account(group, |group| group.acknowledge(pending.id));
}

/// Before an entry that was deleted ceases to be pending: that is repeated as the attempt to claim it, which finds the same.
pub(super) fn repeat_forgotten(place: &mut KeyMut<'_>, group: usize, key: &[u8], pending: &Pending) {
    if pending.consumer().is_some() {
        return repeat_delivery(place, group, key, pending.id, None);
    }
    let name = place.stream().map(|stream| stream.group_at(group).name.clone());
    let Some(name) = name.filter(|_| place.is_told()) else { return };
    place.repeat_as(|words| {
        words.add("XACK").add(key).add(&*name).add(&*pending.id.to_string());
    });
}

/// Gives a consumer what was found, and replies it.
pub(super) fn claim_found(
    place: &mut KeyMut<'_>,
    (group, consumer): (usize, Slot),
    key: &[u8],
    found: &[Pending],
    now_ms: i64,
    reply: &mut Reply<'_>,
) {
    for pending in found {
        place.stream_account(|stream| {
            let entry = stream.entry(pending.id).expect("what was deleted is not among them");
            reply_delivered(&entry, now_ms.wrapping_sub(pending.delivered_ms), pending.deliveries, reply);
            stream
                .edit_group(group, |group| deliver(group, pending.id, consumer, pending.deliveries, now_ms));
        });
        repeat_delivery(place, group, key, pending.id, None);
    }
}

fn deliver(group: &mut Group, id: StreamId, consumer: Slot, before: u64, now_ms: i64) {
    group.deliver(id, consumer, now_ms, redelivered(before));
    group.consumer_mut(consumer).active_ms = Some(now_ms);
}
