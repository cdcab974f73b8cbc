//! PFADD.

use super::super::{Args, CommandError, Context, Outcome};
use super::sketch::{self, Form, HEADER_BYTES};
use super::{PFADD, dense, found, hash, write};
use crate::resp::Reply;
use crate::store::{Deadline, KeyMut, NewString};

/// PFADD. Each element that changes something counts as a change, and so does a new key.
pub(super) fn pfadd(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let sparse_bytes_max = ctx.config.hll_sparse_max_bytes;
    let mut place = write(ctx, args, 1)?;
    let changes = match found(&place) {
        None => {
            let mut value = sketch::empty();
            let changes = raise_all(&mut value, args, 2, sparse_bytes_max)?;
            set(&mut place, value);
            changes + 1
        }
        Some(sketch) => {
            let first = args.from(2).position(|element| {
                let (index, rank) = hash::place_of(element);
                // What is corrupted is told when it is to be changed.
                sketch.is_lower(index, rank).unwrap_or(true)
            });
            match first {
                None => 0,
                Some(first) if sketch.form() == Form::Dense => raise_in_place(&mut place, args, 2 + first),
                Some(first) => {
                    let mut value = sketch.to_vec();
                    let changes = raise_all(&mut value, args, 2 + first, sparse_bytes_max)?;
                    set(&mut place, value);
                    changes
                }
            }
        }
    };
    if changes > 0 {
        place.count_as(changes);
        place.event(PFADD);
    }
    reply.integer((changes > 0).into());
    Ok(())
}

/// Stores the sketch in the place of what it was made of.
pub(super) fn set(place: &mut KeyMut<'_>, value: Vec<u8>) {
    place.update_string(NewString::Raw(value.into()), Deadline::Keep);
}

/// Adds the elements from argument `first` on: how many changed something.
fn raise_all(
    value: &mut Vec<u8>,
    args: &Args<'_>,
    first: usize,
    sparse_bytes_max: u64,
) -> Result<usize, CommandError> {
    let mut changes = 0;
    for element in args.from(first) {
        let (index, rank) = hash::place_of(element);
        changes += usize::from(sketch::raise(value, index, rank, sparse_bytes_max)?);
    }
    Ok(changes)
}

/// As `raise_all`, of a dense sketch, where it lies.
fn raise_in_place(place: &mut KeyMut<'_>, args: &Args<'_>, first: usize) -> usize {
    let mut changes = 0;
    place.edit_string_if(0, |value| {
        for element in args.from(first) {
            let (index, rank) = hash::place_of(element);
            changes += usize::from(dense::raise(&mut value[HEADER_BYTES..], index, rank));
        }
        sketch::mark_stale(value);
        changes > 0
    });
    changes
}
