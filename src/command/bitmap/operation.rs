//! BITOP: its keys and its result.

use std::borrow::Cow;

use super::super::{Args, CommandError, Context, Outcome};
use super::combine::Operation;
use crate::resp::Reply;
use crate::store::{Class, Deadline, Event, NewString, Str};

const NOT_ALONE: CommandError = CommandError::Text("ERR BITOP NOT must be called with a single source key.");
const DIFF_ALONE: CommandError =
    CommandError::Text("ERR BITOP DIFF must be called with at least two source keys.");
const DIFF1_ALONE: CommandError =
    CommandError::Text("ERR BITOP DIFF1 must be called with at least two source keys.");
const ANDOR_ALONE: CommandError =
    CommandError::Text("ERR BITOP ANDOR must be called with at least two source keys.");

const OPERATIONS: &[(&str, Operation)] = &[
    ("AND", Operation::And),
    ("OR", Operation::Or),
    ("XOR", Operation::Xor),
    ("NOT", Operation::Not),
    ("DIFF", Operation::Diff),
    ("DIFF1", Operation::Diff1),
    ("ANDOR", Operation::AndOr),
    ("ONE", Operation::One),
];

const FIRST_SOURCE: usize = 3;

/// BITOP. A result without bytes removes the destination.
pub(super) fn bitop(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let operation = operation_of(args)?;
    for (place, index) in (FIRST_SOURCE..args.len()).enumerate() {
        // The destination is the first key.
        ctx.fetch_ahead(args, place + 1);
        ctx.read_string(args, index)?;
    }
    let result = {
        let ctx = &*ctx;
        let source = |index| match ctx.read_again(args, index).map(|entry| entry.string()) {
            None => Cow::Borrowed(&b""[..]),
            Some(Str::Bytes(bytes)) => Cow::Borrowed(bytes),
            Some(Str::Int(number)) => Cow::Owned(number.to_string().into_bytes()),
        };
        let sources: Vec<_> = (FIRST_SOURCE..args.len()).map(source).collect();
        operation.of(&sources.iter().map(|source| &**source).collect::<Vec<_>>())
    };
    let mut place = ctx.write(args, 2);
    reply.integer(result.len() as i64);
    if !result.is_empty() {
        place.set_string(NewString::Raw(result.into()), Deadline::None);
        place.event(Event::new(Class::String, "set"));
    } else if place.remove() {
        place.event(Event::DEL);
    }
    Ok(())
}

/// The operation, which has as many sources as it needs.
fn operation_of(args: &Args<'_>) -> Result<Operation, CommandError> {
    let known = OPERATIONS.iter().find(|(word, _)| args.is(1, word));
    let (_, operation) = known.ok_or(CommandError::Syntax)?;
    let source_count = args.len() - FIRST_SOURCE;
    match operation {
        Operation::Not if source_count > 1 => Err(NOT_ALONE),
        Operation::Diff if source_count < 2 => Err(DIFF_ALONE),
        Operation::Diff1 if source_count < 2 => Err(DIFF1_ALONE),
        Operation::AndOr if source_count < 2 => Err(ANDOR_ALONE),
        operation => Ok(*operation),
    }
}
