//! `math.random`, with the numbers that Redis gives for a seed.
//!
//! Design: the 48-bit generator of POSIX (`lrand48`). It goes on from script to script, in each worker by itself.

use super::lua::{Function, Lua, Raise};

/// The state before any seed.
pub const INITIAL: u64 = 0x1234_ABCD_330E;
/// The lowest bits of a state that a seed has made.
const SEED_LOW: u64 = 0x330E;
const MULTIPLIER: u64 = 0x5_DEEC_E66D;
const INCREMENT: u64 = 0xB;
const MASK: u64 = (1 << 48) - 1;
/// The generator gives 31 bits; a random number is a part of the largest.
const VALUE_MAX: u64 = i32::MAX as u64;

/// What stands in for Lua's own.
pub const FUNCTIONS: &[(&str, Function)] = &[("random", random), ("randomseed", randomseed)];

fn draw(lua: &Lua) -> f64 {
    let state = &lua.host().random;
    state.set(state.get().wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & MASK);
    (state.get() >> 17) as f64 % VALUE_MAX as f64 / VALUE_MAX as f64
}

fn random(lua: &mut Lua) -> Result<usize, Raise> {
    let drawn = draw(lua);
    let whole = |index| lua.check_number(index).map(|number| number as i64 as i32);
    let value = match lua.top() {
        0 => drawn,
        1 => {
            let upper = whole(1)?;
            if upper < 1 {
                return Err(Raise::Argument(1, "interval is empty".to_owned()));
            }
            (drawn * f64::from(upper)).floor() + 1.0
        }
        2 => {
            let (lower, upper) = (whole(1)?, whole(2)?);
            if lower > upper {
                return Err(Raise::Argument(2, "interval is empty".to_owned()));
            }
            (drawn * f64::from(upper.wrapping_sub(lower).wrapping_add(1))).floor() + f64::from(lower)
        }
        _ => return Err(Raise::Message("wrong number of arguments".to_owned())),
    };
    lua.push_number(value);
    Ok(1)
}

fn randomseed(lua: &mut Lua) -> Result<usize, Raise> {
    let seed = lua.check_number(1)? as i64 as u32;
    lua.host().random.set(u64::from(seed) << 16 | SEED_LOW);
    Ok(0)
}
