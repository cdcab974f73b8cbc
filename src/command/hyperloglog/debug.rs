//! PFDEBUG, PFSELFTEST.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::super::{Args, CommandError, Context, Outcome, Rng};
use super::add::set;
use super::estimate::Histogram;
use super::sketch::{self, Form};
use super::{REGISTERS, dense, found, hash, sparse, write};
use crate::resp::Reply;
use crate::store::KeyMut;

const NO_KEY: CommandError = CommandError::Text("ERR The specified key does not exist");
const NOT_SPARSE: CommandError = CommandError::Text("ERR HLL encoding is not sparse");
const ON_OR_OFF: CommandError = CommandError::Text("ERR Argument must be ON or OFF");
const WRONG_REGISTER: CommandError =
    CommandError::Text("TESTFAILED a register does not hold what it was set to");
const WRONG_ESTIMATE: CommandError = CommandError::Text("TESTFAILED an estimate is too far off");

/// Rounds of the self-test's first part.
const ROUNDS: u64 = 20;
/// Elements of its second part, the distance between estimates, and how far these may be off: five times what is to be expected.
const ELEMENTS: u64 = 200_000;
const STEP: u64 = 10_000;
const ERROR_MAX: f64 = 5.0 * 1.04 / 128.0;

/// PFDEBUG. SIMD says whether dense sketches are read in one go; all others are about a key.
pub(super) fn pfdebug(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.is(1, "SIMD") {
        return simd(ctx, args, reply);
    }
    let reads_singly = ctx.shared.debug.reads_registers_singly.load(Relaxed);
    let mut place = write(ctx, args, 2)?;
    let sketch = found(&place).ok_or(NO_KEY)?;
    let form = sketch.form();
    if args.is(1, "GETREG") {
        to_dense(&mut place)?;
        let sketch = found(&place).ok_or(NO_KEY)?;
        let mut registers = [0; REGISTERS];
        if reads_singly {
            dense::merge_singly(sketch.registers(), &mut registers);
        } else {
            dense::merge_into(sketch.registers(), &mut registers);
        }
        reply.array(REGISTERS);
        registers.iter().for_each(|register| reply.integer((*register).into()));
    } else if args.is(1, "DECODE") {
        if form != Form::Sparse {
            return Err(NOT_SPARSE);
        }
        reply.bulk(decoded(sketch.registers()).as_bytes());
    } else if args.is(1, "ENCODING") {
        reply.simple(if form == Form::Dense { "dense" } else { "sparse" });
    } else if args.is(1, "TODENSE") {
        reply.integer(to_dense(&mut place)?.into());
    } else {
        let word = String::from_utf8_lossy(args.c_string(1));
        reply.error_fmt(format_args!("ERR Unknown PFDEBUG subcommand '{word}'"));
        return Err(CommandError::Replied);
    }
    Ok(())
}

fn simd(ctx: &Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let is_on = args.is(2, "ON");
    if !is_on && !args.is(2, "OFF") {
        return Err(ON_OR_OFF);
    }
    ctx.shared.debug.reads_registers_singly.store(!is_on, Relaxed);
    reply.simple(if is_on { "enabled" } else { "disabled" });
    Ok(())
}

/// Makes a sparse sketch dense; whether it was sparse. It is a change without an event.
fn to_dense(place: &mut KeyMut<'_>) -> Result<bool, CommandError> {
    let Some(sketch) = found(place).filter(|sketch| sketch.form() == Form::Sparse) else { return Ok(false) };
    let dense = sketch::densified(&sketch.to_vec())?;
    set(place, dense);
    place.without_event();
    Ok(true)
}

/// `z`, `Z` and `v` for the three kinds of runs, each with its length.
fn decoded(bytes: &[u8]) -> String {
    let mut text = String::new();
    for run in sparse::runs(bytes) {
        let space = if text.is_empty() { "" } else { " " };
        let written = match (run.rank, run.bytes) {
            (0, 1) => write!(text, "{space}z:{}", run.len),
            (0, _) => write!(text, "{space}Z:{}", run.len),
            (rank, _) => write!(text, "{space}v:{rank},{}", run.len),
        };
        written.expect("writing to a string does not fail");
    }
    text
}

/// PFSELFTEST: registers hold what they are set to, whatever their neighbours, and estimates are as near as they should be.
pub(super) fn pfselftest(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    (0..ROUNDS).try_for_each(|_| test_registers(ctx.rng))?;
    test_estimates(ctx.rng, ctx.config.hll_sparse_max_bytes)?;
    reply.ok();
    Ok(())
}

fn test_registers(rng: &mut Rng) -> Outcome {
    let (mut bytes, mut expected) = ([0; dense::BYTES], [0; REGISTERS]);
    for (index, register) in expected.iter_mut().enumerate() {
        *register = rng.below(64) as u8;
        dense::raise(&mut bytes, index, *register);
    }
    let mut found = [0; REGISTERS];
    dense::merge_into(&bytes, &mut found);
    let singly = (0..REGISTERS).all(|index| dense::get(&bytes, index) == expected[index]);
    if singly && found == expected { Ok(()) } else { Err(WRONG_REGISTER) }
}

/// Both forms get the same elements, and have to say the same, too.
fn test_estimates(rng: &mut Rng, sparse_bytes_max: u64) -> Outcome {
    let seed = rng.next();
    let (mut registers, mut value) = ([0; REGISTERS], sketch::empty());
    for element in 1..=ELEMENTS {
        let (index, rank) = hash::place_of(&(element ^ seed).to_le_bytes());
        registers[index] = rank.max(registers[index]);
        sketch::raise(&mut value, index, rank, sparse_bytes_max)?;
        if element.is_multiple_of(STEP) {
            let estimate = Histogram::of(&registers).estimate();
            let sketched = sketch::Sketch::of(&value).ok_or(WRONG_ESTIMATE)?.estimate()?;
            let off = estimate.abs_diff(element) as f64 / element as f64;
            if off > ERROR_MAX || sketched != estimate {
                return Err(WRONG_ESTIMATE);
            }
        }
    }
    Ok(())
}
