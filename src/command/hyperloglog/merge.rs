//! PFMERGE.

use super::super::{Args, Context, Outcome};
use super::add::set;
use super::sketch::{self, Form, HEADER_BYTES, Sketch};
use super::{PFADD, REGISTERS, dense, found, sketch_of, write};
use crate::resp::Reply;

/// PFMERGE. The destination is one of the sources, if it exists; it becomes dense if any of them is, or if it becomes too long.
pub(super) fn pfmerge(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let sparse_bytes_max = ctx.config.hll_sparse_max_bytes;
    let (mut registers, mut is_dense) = ([0; REGISTERS], false);
    for index in 1..args.len() {
        ctx.fetch_ahead(args, index - 1);
        if let Some(entry) = ctx.read(args, index) {
            let source = sketch_of(entry)?;
            is_dense |= source.form() == Form::Dense;
            source.merge_into(&mut registers)?;
        }
    }
    let mut place = write(ctx, args, 1)?;
    let mut value = found(&place).map_or_else(sketch::empty, Sketch::to_vec);
    if is_dense {
        if Sketch::of(&value).is_some_and(|sketch| sketch.form() == Form::Sparse) {
            value = sketch::densified(&value)?;
        }
        dense::pack(&registers, &mut value[HEADER_BYTES..]);
    } else {
        for (index, rank) in registers.iter().enumerate().filter(|(_, rank)| **rank > 0) {
            sketch::raise(&mut value, index, *rank, sparse_bytes_max)?;
        }
    }
    sketch::mark_stale(&mut value);
    set(&mut place, value);
    place.event(PFADD);
    reply.ok();
    Ok(())
}
