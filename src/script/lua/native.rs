//! Functions of C in the place of Lua's own: they raise by themselves, as Lua's do, so they have nothing to drop.
//!
//! Invariants: whatever raises leaves a frame in which nothing is to be dropped.
//! Not here: functions of ours, which return what they raise (`super::enter`).
#![expect(unsafe_code, reason = "calls Lua")]

use std::ffi::c_int;
use std::ptr::null_mut;

use mlua_sys::lua51 as ffi;
use mlua_sys::lua51::lua_State;

use super::super::pattern::{self, Search};
use super::PROTECTED;

/// Longest pattern that is looked for: each two bytes of it may take a few hundred of the script's stack.
const PATTERN_BYTES_MAX: usize = 8 << 10;

/// `pcall`.
pub(super) unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    // SAFETY: raises where there is no argument.
    unsafe { ffi::luaL_checkany(state, 1) };
    // SAFETY: the interpreter lives.
    let arguments = unsafe { ffi::lua_gettop(state) } - 1;
    // SAFETY: function and arguments are on the stack.
    let is_ok = unsafe { ffi::lua_pcall(state, arguments, ffi::LUA_MULTRET, 0) } == ffi::LUA_OK;
    // SAFETY: the error is on top.
    if !is_ok && unsafe { ffi::lua_type(state, -1) } == ffi::LUA_TTABLE {
        // SAFETY: as in any function of C.
        unsafe { ffi::luaL_checkstack_(state, 2, c"too many results".as_ptr()) };
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushlstring_(state, c"err".as_ptr(), 3) };
        // SAFETY: the table is below the key.
        unsafe { ffi::lua_rawget_(state, -2) };
        // SAFETY: there is a value on top.
        if unsafe { ffi::lua_isstring(state, -1) } != 0 {
            // SAFETY: the table is below.
            unsafe { ffi::lua_remove(state, -2) };
        } else {
            // SAFETY: there is a value on top.
            unsafe { ffi::lua_settop(state, -2) };
        }
    }
    // SAFETY: as in any function of C.
    unsafe { ffi::luaL_checkstack_(state, 1, c"too many results".as_ptr()) };
    // SAFETY: the stack has room.
    unsafe { ffi::lua_pushboolean(state, c_int::from(is_ok)) };
    // SAFETY: there is a value on top.
    unsafe { ffi::lua_insert(state, 1) };
    // SAFETY: the interpreter lives.
    unsafe { ffi::lua_gettop(state) }
}

/// `xpcall`. Lua's own calls the handler where the error is raised; where that is the hook that kills a script, no hook is called
/// inside of the handler, and one without end could not be killed.
pub(super) unsafe extern "C-unwind" fn xpcall(state: *mut lua_State) -> c_int {
    // SAFETY: raises where there is no such argument.
    unsafe { ffi::luaL_checkany(state, 2) };
    // SAFETY: there are two values.
    unsafe { ffi::lua_settop(state, 2) };
    // SAFETY: there are two values: the handler comes first.
    unsafe { ffi::lua_insert(state, 1) };
    // SAFETY: the function is on top.
    let is_ok = unsafe { ffi::lua_pcall(state, 0, ffi::LUA_MULTRET, 0) } == ffi::LUA_OK;
    // SAFETY: as in any function of C.
    unsafe { ffi::luaL_checkstack_(state, 2, c"too many results".as_ptr()) };
    if !is_ok {
        // SAFETY: the handler is the first value, and the stack has room.
        unsafe { ffi::lua_pushvalue(state, 1) };
        // SAFETY: the error is below the handler.
        unsafe { ffi::lua_insert(state, -2) };
        // SAFETY: the handler is below its argument.
        if unsafe { ffi::lua_pcall(state, 1, 1, 0) } != ffi::LUA_OK {
            // SAFETY: the handler's error is taken off.
            unsafe { ffi::lua_settop(state, -2) };
            // SAFETY: the stack has room.
            unsafe { ffi::lua_pushstring_(state, c"error in error handling".as_ptr()) };
        }
    }
    // SAFETY: the stack has room.
    unsafe { ffi::lua_pushboolean(state, c_int::from(is_ok)) };
    // SAFETY: the handler is the first value, in whose place it comes.
    unsafe { ffi::lua_replace(state, 1) };
    // SAFETY: the interpreter lives.
    unsafe { ffi::lua_gettop(state) }
}

/// A function of Lua's that looks for patterns, if the pattern is not too long, as Lua's matcher calls itself for each of its
/// items, on the script's stack; and if that comes to an end soon, as nothing stops it.
pub(super) unsafe extern "C-unwind" fn bounded(state: *mut lua_State) -> c_int {
    // SAFETY: any index may be asked for its type.
    let is_text = unsafe { ffi::lua_type(state, 2) } == ffi::LUA_TSTRING;
    // SAFETY: `push_bounded` has made it an upvalue.
    let may_be_plain = unsafe { ffi::lua_toboolean(state, ffi::lua_upvalueindex(2)) } != 0;
    // SAFETY: any index may be asked for its truth.
    let is_plain = may_be_plain && unsafe { ffi::lua_toboolean(state, 4) } != 0;
    // SAFETY: any index may be asked for its type.
    let has_subject = unsafe { ffi::lua_type(state, 1) } == ffi::LUA_TSTRING;
    // SAFETY: it is a string.
    let is_long = is_text && unsafe { ffi::lua_objlen(state, 2) } > PATTERN_BYTES_MAX;
    // SAFETY: both are strings.
    if !is_plain && (is_long || is_text && has_subject && !unsafe { is_short(state) }) {
        // SAFETY: no frame between here and Lua's has anything to drop.
        unsafe { ffi::luaL_argerror(state, 2, c"pattern too complex".as_ptr()) };
    }
    // SAFETY: `push_bounded` has made it an upvalue.
    let native = unsafe { ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)) };
    // SAFETY: it was made of such a function.
    let native: ffi::lua_CFunction = unsafe { std::mem::transmute(native) };
    // SAFETY: it is called as Lua would have called it; nothing here is to be dropped should it raise.
    unsafe { native(state) }
}

/// Whether what a function looks for, the first two arguments, is found soon or not at all.
///
/// # Safety
/// - Both are strings.
unsafe fn is_short(state: *mut lua_State) -> bool {
    let text = |index| {
        let mut len = 0;
        // SAFETY: it is a string, so nothing is converted.
        let bytes = unsafe { ffi::lua_tolstring(state, index, &raw mut len) };
        // SAFETY: so many bytes are there, as long as the argument is, which outlives this call.
        unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) }
    };
    // SAFETY: any index may be asked for a number.
    let number = |index| unsafe { ffi::lua_tonumber(state, index) };
    // SAFETY: `push_bounded` has made it an upvalue.
    let is = |index| unsafe { ffi::lua_toboolean(state, ffi::lua_upvalueindex(index)) } != 0;
    let (subject, pattern) = (text(1), text(2));
    let search = if is(3) {
        Search::Each
    } else if is(4) {
        // SAFETY: any index may be asked for its type.
        let is_given = unsafe { ffi::lua_type(state, 4) } == ffi::LUA_TNUMBER;
        Search::Many(if is_given { number(4).max(0.0) as u64 } else { u64::MAX })
    } else {
        // Where it begins, from 1, or from the end backwards.
        let from = number(3);
        let back = if from < 0.0 { subject.len() as f64 + from } else { from - 1.0 };
        Search::First(back.max(0.0) as usize)
    };
    pattern::is_short(subject, pattern, search)
}

/// `next`.
pub(super) unsafe extern "C-unwind" fn next(state: *mut lua_State) -> c_int {
    // SAFETY: raises where that is no table.
    unsafe { ffi::luaL_checktype(state, 1, ffi::LUA_TTABLE) };
    // SAFETY: makes room or forgets what is too much.
    unsafe { ffi::lua_settop(state, 2) };
    // SAFETY: there is a table; a function has room for a few values.
    if unsafe { ffi::lua_getmetatable(state, 1) } != 0 {
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushlstring_(state, PROTECTED.as_ptr().cast(), PROTECTED.len()) };
        // SAFETY: the metatable is below the key.
        unsafe { ffi::lua_rawget_(state, -2) };
        // SAFETY: there is a value on top.
        if unsafe { ffi::lua_type(state, -1) } == ffi::LUA_TTABLE {
            // SAFETY: what it protects stands in for the argument, in this frame only.
            unsafe { ffi::lua_replace(state, 1) };
        }
        // SAFETY: the key is on top again.
        unsafe { ffi::lua_settop(state, 2) };
    }
    // SAFETY: a table and a key; raises where it is none of it.
    if unsafe { ffi::lua_next(state, 1) } != 0 {
        return 2;
    }
    // SAFETY: the key was taken off.
    unsafe { ffi::lua_pushnil(state) };
    1
}

/// `loadstring`. Compiled code is refused: the interpreter does not check it.
pub(super) unsafe extern "C-unwind" fn loadstring(state: *mut lua_State) -> c_int {
    let mut len = 0;
    // SAFETY: raises where that is no string.
    let text = unsafe { ffi::luaL_checklstring(state, 1, &raw mut len) };
    // SAFETY: raises where that is no string; the first argument stays on the stack.
    let name = unsafe { ffi::luaL_optlstring(state, 2, text, null_mut()) };
    // SAFETY: a string of Lua has a byte behind its end.
    let is_binary = unsafe { *text } as u8 == ffi::LUA_SIGNATURE[0];
    if is_binary {
        // SAFETY: a function has room for a few values.
        unsafe { ffi::lua_pushnil(state) };
        // SAFETY: as before.
        unsafe { ffi::lua_pushstring_(state, c"attempt to load chunk with wrong mode".as_ptr()) };
        return 2;
    }
    // The parser does not keep all that it has in hand from being collected.
    // SAFETY: stops the collector.
    unsafe { ffi::lua_gc(state, ffi::LUA_GCSTOP, 0) };
    // SAFETY: text and name are strings on the stack; errors are returned.
    let status = unsafe { ffi::luaL_loadbuffer(state, text, len, name) };
    // SAFETY: starts the collector.
    unsafe { ffi::lua_gc(state, ffi::LUA_GCRESTART, 0) };
    if status == ffi::LUA_OK {
        return 1;
    }
    // SAFETY: a function has room for a few values.
    unsafe { ffi::lua_pushnil(state) };
    // SAFETY: the message is below.
    unsafe { ffi::lua_insert(state, -2) };
    2
}
