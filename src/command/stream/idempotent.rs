//! Messages that are added once, however often they are sent: what XADD is told of their producer, XCFGSET, XIDMPRECORD.
//!
//! Design: an XADD that has added is repeated as `XADD ... IDMP producer iid ID ...`, with the ID of the entry, which only what
//! repeats may give. So one command makes the entry and has it known, whoever reads it: an append-only file, or a replica that
//! knows Redis 8.6. One of Redis 8.2 or of Valkey does not know the option, replies an error to the command, and goes on without the
//! entry; nor does it load a snapshot that has such a stream. Streams with producers need replicas that know them. A message that
//! was sent again has changed nothing, and is not repeated.
//!
//! Whether a message is too old is judged by the clock, by replicas too: where commands are repeated, nothing is looked up.
//!
//! Not here: what is kept of producers (`store::stream::Idempotency`).

use std::borrow::Cow;

use xxhash_rust::xxh3::Xxh3;

use super::super::{Args, CommandError, Context, Outcome};
use super::{ids, now_ms};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::Type;
use crate::store::stream::IidLimits;

const NO_PRODUCER: CommandError = CommandError::Text("ERR IDMP requires a non-empty producer ID");
const NO_IID: CommandError = CommandError::Text("ERR IDMP requires a non-empty idempotent ID");
const NO_PRODUCER_AUTO: CommandError = CommandError::Text("ERR IDMPAUTO requires a non-empty producer ID");
const DURATION: CommandError = CommandError::Text("ERR IDMP-DURATION must be between 1 and 86400 seconds");
const MAXSIZE: CommandError = CommandError::Text("ERR IDMP-MAXSIZE must be between 1 and 10000 entries");
const NO_PARAMETER: CommandError = CommandError::Text("ERR At least one parameter must be specified");
const NO_ENTRY: CommandError = CommandError::Text("ERR The specified stream ID was deleted or doesn't exist");
const OTHER_ENTRY: CommandError =
    CommandError::Text("ERR The specified IDMP producer-id/idempotent-id pair maps to a different stream ID");

/// Who sends a message, and what it calls that, by argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The producer.
    pub pid_at: usize,
    /// The iid; none if it is made of what is sent.
    pub iid_at: Option<usize>,
}

impl Sender {
    /// As IDMP or IDMPAUTO at an argument says, if that stands there with all that belongs to it.
    pub fn parse(args: &Args<'_>, index: usize) -> Option<Result<Sender, CommandError>> {
        let more = args.len() - 1 - index;
        let (sender, no_producer) = if more > 0 && args.is(index, "IDMPAUTO") {
            (Sender { pid_at: index + 1, iid_at: None }, NO_PRODUCER_AUTO)
        } else if more > 1 && args.is(index, "IDMP") {
            (Sender { pid_at: index + 1, iid_at: Some(index + 2) }, NO_PRODUCER)
        } else {
            return None;
        };
        if args.at(sender.pid_at).is_empty() {
            return Some(Err(no_producer));
        }
        if sender.iid_at.is_some_and(|at| args.at(at).is_empty()) {
            return Some(Err(NO_IID));
        }
        Some(Ok(sender))
    }

    /// The last argument that belongs to it.
    pub fn end(self) -> usize {
        self.iid_at.unwrap_or(self.pid_at)
    }

    /// The iid of a message whose fields and values begin at an argument.
    pub fn iid<'a>(self, args: &Args<'a>, pairs_at: usize) -> Cow<'a, [u8]> {
        match self.iid_at {
            Some(at) => Cow::Borrowed(args.at(at)),
            None => Cow::Owned(iid_of(args, pairs_at).to_vec()),
        }
    }
}

/// The iid that is made of fields and values, in whatever order they come: the sum of what each pair comes to. The length of the
/// field is part of that, so that its end counts.
fn iid_of(args: &Args<'_>, pairs_at: usize) -> [u8; 16] {
    let mut sum = 0_u128;
    for index in (pairs_at..args.len()).step_by(2) {
        let (field, value) = (args.at(index), args.find(index + 1).unwrap_or_default());
        let mut hash = Xxh3::new();
        hash.update(&(field.len() as u64).to_le_bytes());
        hash.update(field);
        hash.update(value);
        sum = sum.wrapping_add(hash.digest128());
    }
    sum.to_be_bytes()
}

/// XCFGSET. Errors in this order: options, type, no such key.
pub(super) fn xcfgset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut duration_s, mut count_max) = (None, None);
    let mut index = 2;
    while index < args.len() {
        let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
        if args.is(index, "IDMP-DURATION") {
            duration_s = Some(within(value, IidLimits::DURATION_S_MAX, DURATION)?);
        } else if args.is(index, "IDMP-MAXSIZE") {
            count_max = Some(within(value, IidLimits::COUNT_MAX, MAXSIZE)?);
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    if duration_s.is_none() && count_max.is_none() {
        return Err(NO_PARAMETER);
    }
    let limits_new = ctx.limits().iids;
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    let stream = place.stream().ok_or(CommandError::NoSuchKey)?;
    let known = stream.idempotency().map_or(limits_new, |known| known.limits());
    place.stream_set_iid_limits(IidLimits {
        duration_s: duration_s.unwrap_or(known.duration_s),
        count_max: count_max.unwrap_or(known.count_max),
    });
    place.without_event();
    reply.ok();
    Ok(())
}

fn within(text: &[u8], max: u32, otherwise: CommandError) -> Result<u32, CommandError> {
    let number = parse_i64(text).ok_or(CommandError::NotInteger)?;
    u32::try_from(number).ok().filter(|number| (1..=max).contains(number)).ok_or(otherwise)
}

/// XIDMPRECORD, with which Redis's append-only files restore what is known of producers. Errors in this order: producer, iid, ID,
/// type, no such key, what the stream does not allow.
pub(super) fn xidmprecord(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (pid, iid) = (args.at(2), args.at(3));
    if pid.is_empty() {
        return Err(NO_PRODUCER);
    }
    if iid.is_empty() {
        return Err(NO_IID);
    }
    let id = ids::parse(args.at(4), 0)?;
    let (now_ms, limits) = (now_ms(ctx).cast_unsigned(), ctx.limits().iids);
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    let stream = place.stream().ok_or(CommandError::NoSuchKey)?;
    if stream.entry(id).is_none() {
        return Err(NO_ENTRY);
    }
    match stream.idempotency().and_then(|known| known.find(pid, iid, now_ms)) {
        Some(known) if known != id => return Err(OTHER_ENTRY),
        Some(_) => {}
        None => {
            place.stream_record((pid, iid), id, limits, now_ms);
            place.without_event();
        }
    }
    reply.ok();
    Ok(())
}
