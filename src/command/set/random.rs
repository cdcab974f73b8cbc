//! Members at random: SPOP, SRANDMEMBER.
//!
//! Design: each member, and each choice of several, is as likely as any other. Of a set of which many are wanted, or that is small,
//! every member is looked at and taken with the probability that is due (selection sampling: Fan, Muller and Rezucha, 1962); of a
//! large one single members are picked until there are enough different ones.

use super::super::{Args, CommandError, Context, Outcome, Rng, reply_item};
use super::event;
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::{Deletion, Item, KeyMut, NewSet, OwnedItem, Set, Type};

const NOT_POSITIVE: CommandError = CommandError::Text("ERR value is out of range, must be positive");
const OUT_OF_RANGE: CommandError = CommandError::Text(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);
/// The most members that SRANDMEMBER repeats: a longer reply is in nobody's memory.
const REPEATED_MAX: u64 = 1 << 30;
/// What is repeated for SPOP removes so many members at a time.
const REMOVED_PER_EFFECT: usize = 1024;
/// A large set of which no more than this part is wanted is not looked at as a whole.
const SPARSE_PART: usize = 4;

/// SPOP. Errors in this order: number of arguments, count, type.
pub(super) fn spop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let seed = ctx.rng.next();
    let count = match args.len() {
        2 => return spop_one(ctx, args, reply, seed),
        3 => parse_i64(args.at(2)).and_then(|count| usize::try_from(count).ok()).ok_or(NOT_POSITIVE)?,
        _ => return Err(CommandError::Syntax),
    };
    let deletion = Deletion::by(ctx.config.lazyfree_lazy_server_del);
    let mut place = ctx.write_typed(args, 1, Type::Set)?;
    let Some(set) = place.set().filter(|_| count > 0) else {
        reply.set(0);
        return Ok(());
    };
    if count >= set.len() {
        let len = set.len();
        reply.set(len);
        set.iter().for_each(|member| reply_item(member, reply));
        place.remove_emptied();
        place.count_as(len);
        place.event(event("spop"));
        place.repeat_as(|words| {
            words.add(deletion.name()).add(args.at(1));
        });
        return Ok(());
    }
    reply.set(count);
    let popped = match set {
        Set::Dict(_) => pop_from_dict(&mut place, count, seed),
        _ => {
            let mut chosen = Vec::with_capacity(count);
            select(set, count, &mut Rng::new(seed), &mut |member| chosen.push(member.to_owned()));
            chosen.iter().for_each(|member| {
                place.set_remove(member.as_item());
            });
            chosen
        }
    };
    popped.iter().for_each(|member| reply_item(member.as_item(), reply));
    place.count_as(count);
    place.event(event("spop"));
    for members in popped.chunks(REMOVED_PER_EFFECT) {
        repeat_as_removal(&mut place, args.at(1), members);
    }
    Ok(())
}

fn spop_one(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>, seed: u64) -> Outcome {
    let mut place = ctx.write_typed(args, 1, Type::Set)?;
    let Some(set) = place.set() else {
        reply.null();
        return Ok(());
    };
    let member = set.random(seed).to_owned();
    reply_item(member.as_item(), reply);
    place.set_remove(member.as_item());
    place.event(event("spop"));
    repeat_as_removal(&mut place, args.at(1), std::slice::from_ref(&member));
    Ok(())
}

/// Takes members out of a set that lies in a dict and keeps at least one.
fn pop_from_dict(place: &mut KeyMut<'_>, count: usize, seed: u64) -> Vec<OwnedItem> {
    let mut rng = Rng::new(seed);
    let mut popped = Vec::with_capacity(count);
    for _ in 0..count {
        let set = place.set().expect("it keeps a member");
        let member = set.random(rng.next()).to_owned();
        place.set_remove(member.as_item());
        popped.push(member);
    }
    popped
}

fn repeat_as_removal(place: &mut KeyMut<'_>, key: &[u8], members: &[OwnedItem]) {
    place.repeat_as(|words| {
        words.add("SREM").add(key);
        for member in members {
            words.add(member.as_item().bytes(&mut itoa::Buffer::new()));
        }
    });
}

/// SRANDMEMBER. Errors in this order: count, number of arguments, type.
pub(super) fn srandmember(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut rng = Rng::new(ctx.rng.next());
    let Some(count) = args.find(2) else {
        match ctx.read_as::<Set<'_>>(args, 1)? {
            Some(set) => reply_item(set.random(rng.next()), reply),
            None => reply.null(),
        }
        return Ok(());
    };
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let count = parse_i64(count).ok_or(CommandError::NotInteger)?;
    if count == i64::MIN {
        return Err(OUT_OF_RANGE);
    }
    let (keyspace, limits) = (&ctx.shared.keyspace, ctx.limits());
    let wanted = count.unsigned_abs();
    let Some(set) = ctx.read_as::<Set<'_>>(args, 1)?.filter(|_| count != 0) else {
        reply.array(0);
        return Ok(());
    };
    if count < 0 {
        if wanted > REPEATED_MAX {
            return Err(OUT_OF_RANGE);
        }
        reply.array(wanted as usize);
        (0..wanted).for_each(|_| reply_item(set.random(rng.next()), reply));
        return Ok(());
    }
    let wanted = usize::try_from(wanted).unwrap_or(usize::MAX).min(set.len());
    reply.array(wanted);
    if matches!(set, Set::Dict(_)) && wanted <= set.len() / SPARSE_PART {
        let mut picks = NewSet::table(&limits, keyspace.hasher());
        while picks.len() < wanted {
            let member = set.random(rng.next());
            if picks.add(member) {
                reply_item(member, reply);
            }
        }
    } else {
        select(set, wanted, &mut rng, &mut |member| reply_item(member, reply));
    }
    Ok(())
}

/// Chooses `count` of a set's members, in their order, and calls back with each.
fn select(set: Set<'_>, count: usize, rng: &mut Rng, chosen: &mut dyn FnMut(Item<'_>)) {
    let (mut left, mut wanted) = (set.len(), count);
    for member in set.iter() {
        if wanted == 0 {
            return;
        }
        if rng.below(left as u64) < wanted as u64 {
            chosen(member);
            wanted -= 1;
        }
        left -= 1;
    }
}
