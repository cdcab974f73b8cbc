//! Functions of `string` that Lua's own would let a script misuse: memory and time without bound inside of one instruction.

use super::lua::{Function, Lua, Raise, out_of_memory};

/// What stands in for Lua's own.
pub const FUNCTIONS: &[(&str, Function)] = &[("rep", rep)];

fn rep(lua: &mut Lua) -> Result<usize, Raise> {
    let text = lua.check_text(1)?;
    let count = usize::try_from(lua.check_integer(2)?).unwrap_or_default();
    let bytes = text.len().checked_mul(count).ok_or_else(out_of_memory)?;
    lua.room(bytes)?;
    lua.push_string(&text.repeat(if text.is_empty() { 0 } else { count }));
    Ok(1)
}
