//! Members drawn at random: ZRANDMEMBER.
//!
//! Design: a rank is drawn and looked up, so that each member has the same probability. Many different ones are drawn by Floyd's
//! method: as many draws as members, whatever share of all they are.

use std::collections::HashSet;

use super::super::{Args, CommandError, Context, Outcome, reply_item};
use super::Pairs;
use crate::command::Rng;
use crate::resp::Reply;
use crate::resp::number::parse_i64;
use crate::store::SortedSet;

const OUT_OF_RANGE: CommandError = CommandError::Text("ERR value is out of range");
const COUNT_OUT_OF_RANGE: CommandError = CommandError::Text(
    "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
);

/// ZRANDMEMBER.
pub(super) fn zrandmember(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (count, with_scores) = match args.len() {
        2 => (None, false),
        len => {
            let count = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
            if count == i64::MIN {
                return Err(COUNT_OUT_OF_RANGE);
            }
            let with_scores = len == 4 && args.is(3, "WITHSCORES");
            if len > 4 || len == 4 && !with_scores {
                return Err(CommandError::Syntax);
            }
            if with_scores && !(-i64::MAX / 2..=i64::MAX / 2).contains(&count) {
                return Err(OUT_OF_RANGE);
            }
            (Some(count), with_scores)
        }
    };
    let mut rng = Rng::new(ctx.rng.next());
    let sorted_set = ctx.read_as::<SortedSet<'_>>(args, 1)?;
    match (sorted_set, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(sorted_set), None) => {
            let (member, _) = draw(&sorted_set, &mut rng);
            reply_item(member, reply);
        }
        (Some(sorted_set), Some(count)) => {
            reply_some(&sorted_set, count, Pairs::of(with_scores), &mut rng, reply);
        }
    }
    Ok(())
}

fn draw<'a>(sorted_set: &SortedSet<'a>, rng: &mut Rng) -> (crate::store::Item<'a>, f64) {
    let rank = rng.below(sorted_set.len() as u64) as usize;
    sorted_set.by_rank(rank).expect("the draw is below the number of members")
}

/// So many members: different ones, as far as there are; or drawn anew each time if the count is negative.
fn reply_some(sorted_set: &SortedSet<'_>, count: i64, pairs: Pairs, rng: &mut Rng, reply: &mut Reply<'_>) {
    let len = sorted_set.len();
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    if count < 0 {
        pairs.header(wanted, reply);
        (0..wanted).for_each(|_| pairs.reply(draw(sorted_set, rng), reply));
    } else if wanted >= len {
        // All of them, the last first, as Redis does.
        pairs.header(len, reply);
        sorted_set.members(0..len, true).for_each(|member| pairs.reply(member, reply));
    } else {
        pairs.header(wanted, reply);
        let mut drawn = HashSet::with_capacity(wanted);
        for bound in len - wanted..len {
            let rank = rng.below(bound as u64 + 1) as usize;
            let rank = if drawn.insert(rank) { rank } else { bound };
            drawn.insert(rank);
            let member = sorted_set.by_rank(rank).expect("it is below the number of members");
            pairs.reply(member, reply);
        }
    }
}
