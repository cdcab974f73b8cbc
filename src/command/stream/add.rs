//! Adding to streams and cutting them short: XADD, XTRIM, XSETID.

use super::super::{Args, CommandError, Context, Outcome};
use super::idempotent::Sender;
use super::ids::{self, NewId, reply_id};
use super::trimming::Options;
use super::{event, now_ms};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::stream::{History, NODE_BYTES_MAX, StreamId, TrimTo};
use crate::store::{KeyMut, NewItem, Stream, Type};

const ZERO: CommandError = CommandError::Text("ERR The ID specified in XADD must be greater than 0-0");
const EXHAUSTED: CommandError =
    CommandError::Text("ERR The stream has exhausted the last possible ID, unable to add more items");
const NOT_GREATER: CommandError =
    CommandError::Text("ERR The ID specified in XADD is equal or smaller than the target stream top item");
const TOO_LARGE: CommandError = CommandError::Text("ERR Elements are too large to be stored");

/// The fields and values of a new entry, from an argument on.
#[derive(Clone)]
struct NewPairs<'r, 'a> {
    args: &'r Args<'a>,
    at: usize,
}

impl<'a> Iterator for NewPairs<'_, 'a> {
    type Item = (NewItem<'a>, NewItem<'a>);

    #[inline]
    fn next(&mut self) -> Option<(NewItem<'a>, NewItem<'a>)> {
        if self.at >= self.args.len() {
            return None;
        }
        self.at += 2;
        // They are copied, however long they are.
        Some((NewItem::Bytes(self.args.at(self.at - 2)), NewItem::Bytes(self.args.at(self.at - 1))))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = (self.args.len() - self.at) / 2;
        (left, Some(left))
    }
}

impl ExactSizeIterator for NewPairs<'_, '_> {}

/// XADD. Errors in this order: options and ID, number of fields, an ID of zero, type, an ID that is not above the last one.
pub(super) fn xadd(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let limits = ctx.limits().stream;
    let options = Options::of_add(args, limits, ctx.session)?;
    let (new_id, id_at) = options.new_id.unwrap_or((NewId::Auto, args.len()));
    let field_count = args.len().saturating_sub(id_at + 1);
    if field_count < 2 || field_count % 2 == 1 {
        reply.error("ERR wrong number of arguments for 'xadd' command");
        return Err(CommandError::Replied);
    }
    if new_id == NewId::Exact(StreamId::MIN) {
        return Err(ZERO);
    }
    let (now_ms, clock_ms, iid_limits) = (ctx.now_ms, now_ms(ctx).cast_unsigned(), ctx.limits().iids);
    let message = options.sender.map(|sender| (args.at(sender.pid_at), sender.iid(args, id_at + 1)));
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    if place.entry().is_none() && options.only_existing {
        reply.null();
        return Ok(());
    }
    if let (Some((pid, iid)), NewId::Auto) = (&message, new_id) {
        let known = place.stream().and_then(Stream::idempotency);
        if let Some(id) = known.and_then(|known| known.find(pid, iid, clock_ms)) {
            place.stream_count_duplicate();
            reply_id(id, reply);
            return Ok(());
        }
    }
    let id = id_after(place.stream(), new_id, now_ms)?;
    let bytes: u64 = args.from(id_at + 1).map(|text| text.len() as u64).sum();
    if bytes > NODE_BYTES_MAX {
        return Err(TOO_LARGE);
    }
    place.make_stream();
    place.stream_append(id, bytes, NewPairs { args, at: id_at + 1 }, limits);
    if let Some((pid, iid)) = &message {
        place.stream_record((pid, iid), id, iid_limits, clock_ms);
    }
    place.event(event("xadd"));
    if let Some(trim) = &options.trim
        && place.stream_trim(trim) > 0
    {
        place.event(event("xtrim"));
    }
    place.count_as(1);
    if !matches!(new_id, NewId::Exact(_)) || options.is_approximate() {
        let made = message.as_ref().filter(|_| options.sender.is_some_and(|sender| sender.iid_at.is_none()));
        repeat_exactly(&mut place, args, &options, Some((id_at, id)), made.map(|(_, iid)| &**iid));
    }
    reply_id(id, reply);
    Ok(())
}

/// The command is repeated with what it has come to: the ID it has given, the length or the first ID that trimming has left, the
/// iid that it has made.
fn repeat_exactly(
    place: &mut KeyMut<'_>,
    args: &Args<'_>,
    options: &Options,
    new_id: Option<(usize, StreamId)>,
    iid_made: Option<&[u8]>,
) {
    let Some(History { length, first, .. }) = place.stream().map(|stream| *stream.history()) else { return };
    let is_approximate = options.is_approximate();
    let made = options.sender.map(|Sender { pid_at, .. }| pid_at).zip(iid_made);
    place.repeat_as(|words| {
        for (index, word) in args.from(0).enumerate() {
            if is_approximate && index + 1 == options.threshold_at {
                words.add("=");
            } else if is_approximate && index == options.threshold_at {
                match options.trim.map(|trim| trim.to) {
                    Some(TrimTo::Id(_)) => words.add(&*first.to_string()),
                    _ => words.add(length),
                };
            } else if let Some((_, id)) = new_id.filter(|(at, _)| *at == index) {
                words.add(&*id.to_string());
            } else if made.is_some_and(|(pid_at, _)| index + 1 == pid_at) {
                words.add("IDMP");
            } else if let Some((_, iid)) = made.filter(|(pid_at, _)| index == *pid_at) {
                words.add(word).add(iid);
            } else {
                words.add(word);
            }
        }
    });
}

/// The ID that a new entry gets.
fn id_after(stream: Option<&Stream>, new_id: NewId, now_ms: u64) -> Result<StreamId, CommandError> {
    let last = stream.map_or(StreamId::MIN, Stream::last);
    if last == StreamId::MAX {
        return Err(EXHAUSTED);
    }
    let id = match new_id {
        NewId::Auto if now_ms > last.ms => Some(StreamId { ms: now_ms, seq: 0 }),
        NewId::Auto => last.next(),
        NewId::OfTime(ms) if ms == last.ms => last.seq.checked_add(1).map(|seq| StreamId { ms, seq }),
        NewId::OfTime(ms) => Some(StreamId { ms, seq: 0 }),
        NewId::Exact(id) => Some(id),
    };
    id.filter(|id| *id > last).ok_or(NOT_GREATER)
}

/// XTRIM.
pub(super) fn xtrim(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = Options::of_trim(args, ctx.limits().stream, ctx.session)?;
    let trim = options.trim.expect("it is an error to give none");
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    let deleted = match place.stream() {
        None => 0,
        Some(_) => place.stream_trim(&trim),
    };
    if deleted > 0 {
        place.event(event("xtrim"));
        if options.is_approximate() {
            repeat_exactly(&mut place, args, &options, None, None);
        }
    }
    reply.integer(deleted as i64);
    Ok(())
}

/// XSETID. Errors in this order: arguments, no such key, type, what the stream does not allow.
pub(super) fn xsetid(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let last = ids::parse(args.at(2), 0)?;
    let (mut added, mut max_deleted) = (None, StreamId::MIN);
    let mut index = 3;
    while index < args.len() {
        let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
        if args.is(index, "ENTRIESADDED") {
            let count = parse_i64(value).ok_or(CommandError::NotInteger)?;
            const NEGATIVE: CommandError = CommandError::Text("ERR entries_added must be positive");
            added = Some(u64::try_from(count).map_err(|_| NEGATIVE)?);
        } else if args.is(index, "MAXDELETEDID") {
            max_deleted = ids::parse(value, 0)?;
            if last < max_deleted {
                return Err(CommandError::Text(
                    "ERR The ID specified in XSETID is smaller than the provided max_deleted_entry_id",
                ));
            }
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    let mut place = ctx.write_typed(args, 1, Type::Stream)?;
    let stream = place.stream().ok_or(CommandError::NoSuchKey)?;
    let known: History = *stream.history();
    if last < known.max_deleted {
        return Err(CommandError::Text(
            "ERR The ID specified in XSETID is smaller than current max_deleted_entry_id",
        ));
    }
    if stream.last_entry().is_some_and(|top| last < top) {
        return Err(CommandError::Text(
            "ERR The ID specified in XSETID is smaller than the target stream top item",
        ));
    }
    if known.length > 0 && added.is_some_and(|added| known.length > added) {
        return Err(CommandError::Text(
            "ERR The entries_added specified in XSETID is smaller than the target stream length",
        ));
    }
    if max_deleted == StreamId::MIN {
        max_deleted = known.max_deleted;
    }
    place.stream_account(|stream| stream.set_history(last, max_deleted, added.unwrap_or(known.added)));
    place.event(event("xsetid"));
    reply.ok();
    Ok(())
}
