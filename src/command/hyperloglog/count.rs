//! PFCOUNT.

use super::super::{Args, Context, Outcome};
use super::estimate::Histogram;
use super::{REGISTERS, found, sketch, sketch_of, write};
use crate::resp::Reply;

/// PFCOUNT. Of one key the estimate is noted in its header, which is a change without an event; that of several together is
/// noted nowhere.
pub(super) fn pfcount(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 2 {
        return count_together(ctx, args, reply);
    }
    if ctx.read(args, 1).is_none() {
        reply.integer(0);
        return Ok(());
    }
    let mut place = write(ctx, args, 1)?;
    let Some(sketch) = found(&place) else { unreachable!("the key was there, and its lease is held") };
    let estimate = match sketch.noted() {
        Some(estimate) => estimate,
        None => {
            let estimate = sketch.estimate()?;
            place.edit_string_if(0, |value| {
                sketch::note(value, estimate);
                true
            });
            place.without_event();
            estimate
        }
    };
    reply.integer(estimate.cast_signed());
    Ok(())
}

fn count_together(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut registers = [0; REGISTERS];
    for index in 1..args.len() {
        ctx.fetch_ahead(args, index - 1);
        if let Some(entry) = ctx.read(args, index) {
            sketch_of(entry)?.merge_into(&mut registers)?;
        }
    }
    reply.integer(Histogram::of(&registers).estimate().cast_signed());
    Ok(())
}
