//! The `bit` library: operations on 32 bits, with results that are signed.

use super::lua::{Function, Lua, Raise};

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("tobit", tobit),
    ("tohex", tohex),
    ("bnot", bnot),
    ("band", |lua| fold(lua, |a, b| a & b)),
    ("bor", |lua| fold(lua, |a, b| a | b)),
    ("bxor", |lua| fold(lua, |a, b| a ^ b)),
    ("lshift", |lua| shift(lua, |bits, by| bits << by)),
    ("rshift", |lua| shift(lua, |bits, by| bits >> by)),
    ("arshift", |lua| shift(lua, |bits, by| (bits.cast_signed() >> by).cast_unsigned())),
    ("rol", |lua| shift(lua, u32::rotate_left)),
    ("ror", |lua| shift(lua, u32::rotate_right)),
    ("bswap", bswap),
];

/// 2^52 + 2^51: added to a number that is not too large, it leaves the number's low 32 bits, rounded to even, in the sum's.
const ROUNDING: f64 = 6_755_399_441_055_744.0;

fn bits(lua: &Lua, index: usize) -> Result<u32, Raise> {
    lua.check_number(index).map(|number| (number + ROUNDING).to_bits() as u32)
}

fn push(lua: &mut Lua, bits: u32) -> Result<usize, Raise> {
    lua.push_number(f64::from(bits.cast_signed()));
    Ok(1)
}

fn tobit(lua: &mut Lua) -> Result<usize, Raise> {
    let bits = bits(lua, 1)?;
    push(lua, bits)
}

fn bnot(lua: &mut Lua) -> Result<usize, Raise> {
    let bits = bits(lua, 1)?;
    push(lua, !bits)
}

fn bswap(lua: &mut Lua) -> Result<usize, Raise> {
    let bits = bits(lua, 1)?;
    push(lua, bits.swap_bytes())
}

fn fold(lua: &mut Lua, join: impl Fn(u32, u32) -> u32) -> Result<usize, Raise> {
    let mut joined = bits(lua, 1)?;
    for index in 2..=lua.top() {
        joined = join(joined, bits(lua, index)?);
    }
    push(lua, joined)
}

fn shift(lua: &mut Lua, shifted: impl Fn(u32, u32) -> u32) -> Result<usize, Raise> {
    let (bits, by) = (bits(lua, 1)?, bits(lua, 2)?);
    push(lua, shifted(bits, by & 31))
}

fn tohex(lua: &mut Lua) -> Result<usize, Raise> {
    let value = bits(lua, 1)?;
    let digits = if lua.top() < 2 { 8 } else { bits(lua, 2)?.cast_signed() };
    let text = if digits < 0 { format!("{value:08X}") } else { format!("{value:08x}") };
    let count = digits.unsigned_abs().min(8) as usize;
    lua.push_string(&text.as_bytes()[8 - count..]);
    Ok(1)
}
