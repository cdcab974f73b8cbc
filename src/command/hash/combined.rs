//! Reading or writing values together with deadlines: HGETEX, HGETDEL, HSETEX.

use std::ops::Range;

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::options::{Touched, deadline_at, fields_at, time_word};
use super::{HDEL, HEXPIRE, HPERSIST, HSET, Lapsing, lapse, limits};
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Deadline, KeyMut, Type};

const ONE_TIME: CommandError =
    CommandError::Text("ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified");
const ONE_CONDITION: CommandError =
    CommandError::Text("ERR Only one of FXX or FNX arguments can be specified");
const FIELD_COUNT: CommandError = CommandError::Text("ERR invalid number of fields");

/// Adds the removal of a field to what the command is repeated as.
fn repeat_removal(place: &mut KeyMut<'_>, args: &Args<'_>, index: usize) {
    place.repeat_as(|words| {
        words.add("HDEL").add(args.at(1)).add(args.at(index));
    });
}

/// HGETDEL.
pub(super) fn hgetdel(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut lapsing = Lapsing::of(ctx, args);
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let fields = fields_at(args, 2)?;
    reply.array(fields.len());
    let mut removed = 0;
    for name in fields.clone().map(|index| args.at(index)) {
        lapse(&mut lapsing, &mut place, name);
        match place.hash().and_then(|hash| hash.get(lapsing.hasher, name)) {
            None => reply.null(),
            Some(field) => {
                reply_item(field.value, reply);
                place.hash_remove(name);
                removed += 1;
            }
        }
    }
    if removed > 0 {
        place.count_as(removed);
        place.event(HDEL);
        place.repeat_as(|words| {
            words.add("HDEL").add(args.at(1)).add_all(fields.map(|index| args.at(index)));
        });
    }
    Ok(())
}

/// What HGETEX does to the deadlines of the fields that it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Nothing,
    Persist,
    At(u64),
}

/// HGETEX. Errors in this order: type, time, FIELDS.
pub(super) fn hgetex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut lapsing = Lapsing::of(ctx, args);
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let (change, fields_index) = match time_word(args, 2) {
        Some(time) => (Change::At(deadline_at(lapsing.now_ms, args, 3, time, "hgetex", reply)?), 4),
        None if args.is(2, "PERSIST") => (Change::Persist, 3),
        None => (Change::Nothing, 2),
    };
    if fields_index + 1 == args.len() && args.is(fields_index, "FIELDS") {
        reply.error("ERR wrong number of arguments for 'hgetex' command");
        return Err(CommandError::Replied);
    }
    let fields = fields_at(args, fields_index)?;
    if change != Change::Nothing {
        place.hash_hold_deadlines();
    }
    reply.array(fields.len());
    let (mut touched, mut changed, mut removed) = (Touched::default(), 0, 0);
    for index in fields.clone() {
        let name = args.at(index);
        lapse(&mut lapsing, &mut place, name);
        let Some(field) = place.hash().and_then(|hash| hash.get(lapsing.hasher, name)) else {
            reply.null();
            continue;
        };
        let before = field.deadline;
        reply_item(field.value, reply);
        match change {
            Change::Nothing => {}
            Change::Persist if before.is_none() => {}
            Change::Persist => {
                touched.add(before);
                place.hash_set_deadline(name, None);
                changed += 1;
            }
            Change::At(deadline) if deadline <= lapsing.now_ms => {
                touched.add(before);
                place.hash_remove(name);
                removed += 1;
                repeat_removal(&mut place, args, index);
            }
            Change::At(deadline) => {
                touched.add(before);
                touched.add(Some(deadline));
                place.hash_set_deadline(name, Some(deadline));
                changed += 1;
            }
        }
    }
    place.hash_note_deadline(touched.0);
    tell_read(&mut place, args, fields, change, changed, removed);
    Ok(())
}

/// Says what HGETEX has done to deadlines.
fn tell_read(
    place: &mut KeyMut<'_>,
    args: &Args<'_>,
    fields: Range<usize>,
    change: Change,
    changed: usize,
    removed: usize,
) {
    if changed + removed == 0 {
        return;
    }
    place.count_as(changed + removed);
    if removed > 0 {
        place.event(HDEL);
    }
    if changed > 0 {
        place.event(if change == Change::Persist { HPERSIST } else { HEXPIRE });
        place.repeat_as(|words| {
            match change {
                Change::At(deadline) => words.add("HPEXPIREAT").add(args.at(1)).add(deadline),
                _ => words.add("HPERSIST").add(args.at(1)),
            };
            words.add("FIELDS").add(fields.len() as u64).add_all(fields.map(|index| args.at(index)));
        });
    }
}

/// Which fields HSETEX asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    /// None of them may exist.
    New,
    /// All of them must exist.
    Existing,
}

/// What HSETEX is asked for.
struct SetOptions {
    condition: Option<Condition>,
    deadline: Deadline,
    /// Where the time's word is.
    time_index: Option<usize>,
    /// Names and values, alternately.
    pairs: Range<usize>,
}

impl SetOptions {
    fn parse(now_ms: u64, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<SetOptions, CommandError> {
        let (mut condition, mut deadline, mut time_index) = (None, None, None);
        let mut index = 2;
        while index < args.len() {
            let time = time_word(args, index);
            if args.is(index, "FNX") || args.is(index, "FXX") {
                if condition.is_some() {
                    return Err(ONE_CONDITION);
                }
                let is_new = args.is(index, "FNX");
                condition = Some(if is_new { Condition::New } else { Condition::Existing });
            } else if args.is(index, "KEEPTTL") {
                if deadline.is_some() {
                    return Err(ONE_TIME);
                }
                deadline = Some(Deadline::Keep);
            } else if let Some(time) = time {
                if time_index.is_some() {
                    return Err(ONE_TIME);
                }
                if index + 1 == args.len() {
                    return Err(wrong_number(reply));
                }
                if deadline.is_some() {
                    return Err(ONE_TIME);
                }
                let at = deadline_at(now_ms, args, index + 1, time, "hsetex", reply)?;
                (deadline, time_index) = (Some(Deadline::At(at)), Some(index));
                index += 1;
            } else if args.is(index, "FIELDS") {
                // Whether there is a pair at all comes before what the count says.
                let count = args.find(index + 1).filter(|_| index + 3 < args.len());
                let count = count.ok_or_else(|| wrong_number(reply))?;
                let count = parse_i64(count).filter(|count| (1..=i64::from(i32::MAX)).contains(count));
                let count = count.ok_or(FIELD_COUNT)? as usize;
                let pairs = index + 2..args.len();
                if pairs.len() != 2 * count {
                    return Err(wrong_number(reply));
                }
                let deadline = deadline.unwrap_or(Deadline::None);
                return Ok(SetOptions { condition, deadline, time_index, pairs });
            } else {
                reply.error_bytes(&[b"ERR unknown argument: ", args.c_string(index)].concat());
                return Err(CommandError::Replied);
            }
            index += 1;
        }
        Err(wrong_number(reply))
    }
}

fn wrong_number(reply: &mut Reply<'_>) -> CommandError {
    reply.error("ERR wrong number of arguments for 'hsetex' command");
    CommandError::Replied
}

/// HSETEX.
pub(super) fn hsetex(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = SetOptions::parse(ctx.now_ms, args, reply)?;
    let (limits, mut lapsing) = (limits(ctx), Lapsing::of(ctx, args));
    let mut place = ctx.write_typed(args, 1, Type::Hash)?;
    let names = || options.pairs.clone().step_by(2);
    if let Some(condition) = options.condition
        && !names().all(|index| meets(&mut lapsing, &mut place, args.at(index), condition))
    {
        reply.integer(0);
        return Ok(());
    }
    let longest = options.pairs.clone().map(|index| args.at(index).len()).max().unwrap_or(0);
    place.hash_expect(names().len(), longest, limits);
    let (is_past, mut touched) = match options.deadline {
        Deadline::At(deadline) => (deadline <= lapsing.now_ms, Touched(Some(deadline))),
        _ => (false, Touched::default()),
    };
    for index in names() {
        let name = args.at(index);
        if let Deadline::At(_) = options.deadline {
            let before = place.hash().and_then(|hash| hash.get(lapsing.hasher, name));
            touched.add(before.and_then(|field| field.deadline));
        }
        place.hash_set(name, args.at(index + 1), options.deadline, limits);
    }
    place.count_as(names().len());
    place.event(HSET);
    if is_past {
        for index in names() {
            place.hash_remove(args.at(index));
            repeat_removal(&mut place, args, index);
        }
        place.event(HDEL);
    } else if let Deadline::At(deadline) = options.deadline {
        place.hash_note_deadline(touched.0);
        place.event(HEXPIRE);
        let time_index = options.time_index.expect("a time was given");
        place.repeat_as(|words| {
            words.add_all(args.from(0).take(time_index)).add("PXAT").add(deadline);
            words.add_all(args.from(time_index + 2));
        });
    }
    reply.integer(1);
    Ok(())
}

/// Whether a field meets HSETEX's condition.
fn meets(lapsing: &mut Lapsing<'_>, place: &mut KeyMut<'_>, name: &[u8], condition: Condition) -> bool {
    lapse(lapsing, place, name);
    let exists = place.hash().is_some_and(|hash| hash.get(lapsing.hasher, name).is_some());
    exists == (condition == Condition::Existing)
}
