//! The Lua interpreter behind an interface that safe code cannot misuse.
//!
//! Design: Lua 5.1 reports errors by `longjmp`, which may skip no Rust frame that has anything to drop. So a function of ours that Lua
//! calls is a plain Rust function that returns a [`Raise`]; [`enter`], which calls it and has nothing to drop, raises the error once
//! that has returned. Inside of ours nothing raises: only raw access to tables is offered, and allocations do not fail while ours
//! runs (`Host::shelter`) but end the process, as anywhere else in Rust. The memory limit is looked at before what can be
//! large is allocated ([`Lua::room`]).
//!
//! A script runs on a stack of its own (`corosensei`). When ours needs the worker, to run a command, it suspends that stack
//! ([`Host::ask`]): the worker is never called from inside of Lua, so that nothing of it is borrowed here.
//!
//! Invariants: `top` is the interpreter's own idea of how many values there are; an index is between 1 and `top`; no table changes
//! while it is iterated over.
//! Not here: functions of C that stand in for Lua's own (`native`), what scripts can call (`api`, `base`, ...), when
//! they run (`engine`).
#![expect(unsafe_code, reason = "calls Lua")]

mod native;

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{NonNull, null_mut};

use corosensei::Yielder;
use mlua_sys::lua51 as ffi;
use mlua_sys::lua51::lua_State;

use super::host::{Answer, Host, KILLED, Request};

/// What Lua aligns its memory to: a double, a pointer, a long.
const ALIGNMENT: usize = 8;
/// Values that may be pushed at once without asking for room.
const ROOM_STEP: c_int = 16;
/// Instructions after which a script is looked at.
const INSTRUCTIONS_PER_TICK: c_int = 10_000;

/// A function that scripts can call: its arguments are all there is on the stack; how many values on top are its results.
pub type Function = fn(&mut Lua) -> Result<usize, Raise>;

/// An error that a function of ours raises.
#[derive(Debug)]
pub enum Raise {
    /// This text, behind where the caller stands.
    Message(String),
    /// This text alone.
    Plain(String),
    /// An argument, from 1, is wrong for this reason.
    Argument(usize, String),
    /// The value on top of the stack.
    Value,
}

/// The interpreter's memory is at its limit.
pub fn out_of_memory() -> Raise {
    Raise::Plain("not enough memory".to_owned())
}

/// A type of value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LuaType {
    /// There is no such argument.
    None,
    Nil,
    Boolean,
    /// A bare pointer: `cjson.null`.
    Light,
    Number,
    String,
    Table,
    Function,
    /// A coroutine, or what no script has.
    Other,
}

impl LuaType {
    /// As `type` calls it.
    pub fn name(self) -> &'static str {
        match self {
            LuaType::None => "no value",
            LuaType::Nil => "nil",
            LuaType::Boolean => "boolean",
            LuaType::Light => "userdata",
            LuaType::Number => "number",
            LuaType::String => "string",
            LuaType::Table => "table",
            LuaType::Function => "function",
            LuaType::Other => "thread",
        }
    }
}

/// A value that is kept from call to call, in the interpreter it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ref(c_int);

/// An interpreter, and what it shares with its worker.
pub struct Interpreter {
    state: NonNull<lua_State>,
    host: Box<Host>,
}

/// One thread of an interpreter, while ours runs.
pub struct Lua {
    state: NonNull<lua_State>,
    top: c_int,
    /// How high the stack may become without asking.
    limit: c_int,
    /// Tables that are iterated over.
    iterations: u32,
}

impl Interpreter {
    /// A new one, with Lua's own libraries but for those that reach the system.
    pub fn new(host: Box<Host>) -> Self {
        let shared: *const Host = &raw const *host;
        // SAFETY: the function allocates as Lua asks; what it is given lives as long as the interpreter.
        let state = unsafe { ffi::lua_newstate(allocate, shared.cast_mut().cast()) };
        let state = NonNull::new(state).expect("a fresh interpreter is below its limit");
        let interpreter = Self { state, host };
        for (name, open) in [
            (c"", ffi::luaopen_base as ffi::lua_CFunction),
            (c"table", ffi::luaopen_table),
            (c"string", ffi::luaopen_string),
            (c"math", ffi::luaopen_math),
            (c"os", ffi::luaopen_os),
        ] {
            let mut lua = interpreter.lua();
            lua.reserve(2);
            // SAFETY: the stack has room.
            unsafe { ffi::lua_pushcclosure(state.as_ptr(), open, 0) };
            // SAFETY: the stack has room, the name ends with zero.
            unsafe { ffi::lua_pushstring_(state.as_ptr(), name.as_ptr()) };
            // SAFETY: the function and its argument are on the stack; a fresh interpreter has memory enough for what it opens.
            unsafe { ffi::lua_call(state.as_ptr(), 1, 0) };
            interpreter.host.shelter.set(false);
        }
        // SAFETY: the hook is one that keeps to what hooks may do.
        unsafe {
            ffi::lua_sethook(state.as_ptr(), Some(tick), ffi::LUA_MASKCOUNT, INSTRUCTIONS_PER_TICK);
        }
        interpreter
    }

    /// What it shares with its worker.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The main thread, for whoever is not called from inside. Ends with [`Self::leave`].
    pub fn lua(&self) -> Lua {
        self.host.shelter.set(true);
        Lua::new(self.state)
    }

    /// Ours has done what it had to with the main thread.
    pub fn leave(&self) {
        self.host.shelter.set(false);
    }

    /// Compiles a script, which is pushed; or what is wrong with it.
    pub fn compile(&self, text: &[u8], name: &CStr) -> Result<(), String> {
        let mut lua = self.lua();
        lua.reserve(2);
        let state = self.state.as_ptr();
        // What the parser has in hand is not all safe from collection.
        // SAFETY: stops the collector.
        unsafe { ffi::lua_gc(state, ffi::LUA_GCSTOP, 0) };
        self.host.shelter.set(false);
        // SAFETY: text and name are read only; errors are returned.
        let status = unsafe { ffi::luaL_loadbuffer(state, text.as_ptr().cast(), text.len(), name.as_ptr()) };
        // SAFETY: starts the collector.
        unsafe { ffi::lua_gc(state, ffi::LUA_GCRESTART, 0) };
        if status == ffi::LUA_OK {
            return Ok(());
        }
        let mut lua = Lua::new(self.state);
        let why = String::from_utf8_lossy(lua.string(lua.top()).unwrap_or(b"not enough memory")).into_owned();
        lua.pop(1);
        Err(why)
    }

    /// Calls the function below so many arguments that are on top of the stack, with the error handler at index 1: true if it returned
    /// one value, which takes their place; false if it failed, and the error does. On the script's own stack.
    pub fn call(&self, arguments: usize) -> bool {
        debug_assert!(Lua::new(self.state).kind(1) == LuaType::Function, "the error handler");
        // SAFETY: the stack has the handler, the function and its arguments, as the caller says.
        unsafe { ffi::lua_pcall(self.state.as_ptr(), arguments as c_int, 1, 1) == ffi::LUA_OK }
    }

    /// As many instructions as usual pass between two ticks again, after a script was killed.
    pub fn calm(&self) {
        // SAFETY: as in `new`.
        unsafe {
            ffi::lua_sethook(self.state.as_ptr(), Some(tick), ffi::LUA_MASKCOUNT, INSTRUCTIONS_PER_TICK);
        }
    }

    /// Frees what no script can reach.
    pub fn collect(&self) {
        // SAFETY: nothing has a finalizer that could fail.
        unsafe { ffi::lua_gc(self.state.as_ptr(), ffi::LUA_GCCOLLECT, 0) };
    }
}

impl Drop for Interpreter {
    fn drop(&mut self) {
        // SAFETY: the interpreter is this value's own, and no script runs.
        unsafe { ffi::lua_close(self.state.as_ptr()) };
    }
}

impl Lua {
    fn new(state: NonNull<lua_State>) -> Self {
        // SAFETY: the interpreter lives.
        let top = unsafe { ffi::lua_gettop(state.as_ptr()) };
        Self { state, top, limit: top, iterations: 0 }
    }

    /// What the interpreter shares with its worker.
    #[inline]
    pub fn host(&self) -> &Host {
        // SAFETY: the interpreter was made with a host that outlives it, and no thread of it outlives the interpreter.
        unsafe { host_of(self.state.as_ptr()).as_ref() }
    }

    /// How many values there are.
    #[inline]
    pub fn top(&self) -> usize {
        self.top as usize
    }

    fn reserve(&mut self, count: c_int) {
        if self.top + count > self.limit {
            self.grow(count);
        }
    }

    #[cold]
    fn grow(&mut self, count: c_int) {
        let more = count.max(ROOM_STEP);
        // SAFETY: the interpreter lives, and its allocations do not fail now.
        let has_room = unsafe { ffi::lua_checkstack(self.state.as_ptr(), more) } != 0;
        // Whoever pushes without bound asks `fits` before.
        assert!(has_room, "a function of ours pushes few values");
        self.limit = self.top + more;
    }

    /// Whether so many more values fit on the stack.
    pub fn fits(&mut self, count: usize) -> bool {
        let Ok(count) = c_int::try_from(count) else { return false };
        if self.top.saturating_add(count) <= self.limit {
            return true;
        }
        // SAFETY: as in `grow`.
        let fits = count < 1 << 20 && unsafe { ffi::lua_checkstack(self.state.as_ptr(), count) } != 0;
        if fits {
            self.limit = self.top + count;
        }
        fits
    }

    /// Fails where so many bytes more would be beyond the memory limit.
    #[inline]
    pub fn room(&self, bytes: usize) -> Result<(), Raise> {
        if self.host().has_room(bytes) { Ok(()) } else { Err(out_of_memory()) }
    }

    #[inline]
    fn index(&self, index: usize) -> c_int {
        assert!(index >= 1 && index <= self.top as usize, "there is such a value");
        index as c_int
    }

    /// The type of a value or argument.
    #[inline]
    pub fn kind(&self, index: usize) -> LuaType {
        if index < 1 || index > self.top as usize {
            return LuaType::None;
        }
        // SAFETY: there is such a value.
        match unsafe { ffi::lua_type(self.state.as_ptr(), index as c_int) } {
            ffi::LUA_TNIL => LuaType::Nil,
            ffi::LUA_TBOOLEAN => LuaType::Boolean,
            ffi::LUA_TLIGHTUSERDATA => LuaType::Light,
            ffi::LUA_TNUMBER => LuaType::Number,
            ffi::LUA_TSTRING => LuaType::String,
            ffi::LUA_TTABLE => LuaType::Table,
            ffi::LUA_TFUNCTION => LuaType::Function,
            _ => LuaType::Other,
        }
    }

    /// The bytes of a value that is a string.
    #[inline]
    pub fn string(&self, index: usize) -> Option<&[u8]> {
        if self.kind(index) != LuaType::String {
            return None;
        }
        let mut len = 0;
        // SAFETY: it is a string, so nothing is converted.
        let bytes = unsafe { ffi::lua_tolstring(self.state.as_ptr(), index as c_int, &raw mut len) };
        // SAFETY: a string's bytes stay where they are while it is on the stack, which this value being borrowed sees to.
        Some(unsafe { std::slice::from_raw_parts(bytes.cast(), len) })
    }

    /// A value that is a number.
    #[inline]
    pub fn number(&self, index: usize) -> Option<f64> {
        if self.kind(index) != LuaType::Number {
            return None;
        }
        // SAFETY: there is such a value.
        Some(unsafe { ffi::lua_tonumber(self.state.as_ptr(), index as c_int) })
    }

    /// A value that is a number, or a string that reads as one.
    pub fn to_number(&self, index: usize) -> Option<f64> {
        if !matches!(self.kind(index), LuaType::Number | LuaType::String) {
            return None;
        }
        // SAFETY: there is such a value; neither call changes it.
        if unsafe { ffi::lua_isnumber(self.state.as_ptr(), index as c_int) } == 0 {
            return None;
        }
        // SAFETY: as before.
        Some(unsafe { ffi::lua_tonumber(self.state.as_ptr(), index as c_int) })
    }

    /// Whether a value counts as true.
    #[inline]
    pub fn boolean(&self, index: usize) -> bool {
        let index = self.index(index);
        // SAFETY: there is such a value.
        unsafe { ffi::lua_toboolean(self.state.as_ptr(), index) != 0 }
    }

    /// Where a value lies, to tell tables apart.
    pub fn address(&self, index: usize) -> *const c_void {
        let index = self.index(index);
        // SAFETY: there is such a value.
        unsafe { ffi::lua_topointer(self.state.as_ptr(), index) }
    }

    /// How many elements a table has, by its border.
    pub fn table_len(&self, index: usize) -> usize {
        assert!(self.kind(index) == LuaType::Table, "only tables are asked");
        // SAFETY: it is a table.
        unsafe { ffi::lua_objlen(self.state.as_ptr(), index as c_int) }
    }

    #[inline]
    pub fn push_nil(&mut self) {
        self.reserve(1);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushnil(self.state.as_ptr()) };
        self.top += 1;
    }

    #[inline]
    pub fn push_boolean(&mut self, value: bool) {
        self.reserve(1);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushboolean(self.state.as_ptr(), c_int::from(value)) };
        self.top += 1;
    }

    #[inline]
    pub fn push_number(&mut self, value: f64) {
        self.reserve(1);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushnumber(self.state.as_ptr(), value) };
        self.top += 1;
    }

    /// The memory limit is the caller's to see to.
    #[inline]
    pub fn push_string(&mut self, bytes: &[u8]) {
        self.reserve(1);
        // SAFETY: the stack has room; the bytes are copied.
        unsafe { ffi::lua_pushlstring_(self.state.as_ptr(), bytes.as_ptr().cast(), bytes.len()) };
        self.top += 1;
    }

    /// `cjson.null`.
    pub fn push_null(&mut self) {
        self.reserve(1);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushlightuserdata(self.state.as_ptr(), null_mut()) };
        self.top += 1;
    }

    /// A function of ours.
    pub fn push_function(&mut self, function: Function) {
        self.reserve(2);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushlightuserdata(self.state.as_ptr(), function as *mut c_void) };
        // SAFETY: the upvalue is on the stack; the function keeps to what `enter` asks for.
        unsafe { ffi::lua_pushcclosure(self.state.as_ptr(), enter, 1) };
        self.top += 1;
    }

    /// One of the functions here that are Lua's own business.
    pub(super) fn push_native(&mut self, function: Native) {
        self.reserve(1);
        let function = match function {
            Native::Pcall => native::pcall as ffi::lua_CFunction,
            Native::Xpcall => native::xpcall,
            Native::Next => native::next,
            Native::Load => native::loadstring,
        };
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushcclosure(self.state.as_ptr(), function, 0) };
        self.top += 1;
    }

    /// A function of Lua's `string` that looks for patterns, with a bound on these.
    pub(super) fn push_bounded(&mut self, function: usize, matcher: Matcher) {
        let index = self.index(function);
        // SAFETY: there is such a value.
        let native = unsafe { ffi::lua_tocfunction(self.state.as_ptr(), index) };
        let native = native.expect("it is one of Lua's own");
        self.reserve(4);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushlightuserdata(self.state.as_ptr(), native as *mut c_void) };
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushboolean(self.state.as_ptr(), c_int::from(matcher == Matcher::Find)) };
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushboolean(self.state.as_ptr(), c_int::from(matcher == Matcher::Each)) };
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushboolean(self.state.as_ptr(), c_int::from(matcher == Matcher::Replace)) };
        // SAFETY: the upvalues are on the stack.
        unsafe { ffi::lua_pushcclosure(self.state.as_ptr(), native::bounded, 4) };
        self.top += 1;
    }

    /// A copy of a value.
    #[inline]
    pub fn push_value(&mut self, index: usize) {
        let index = self.index(index);
        self.reserve(1);
        // SAFETY: there is such a value, and the stack has room.
        unsafe { ffi::lua_pushvalue(self.state.as_ptr(), index) };
        self.top += 1;
    }

    /// An empty table.
    #[inline]
    pub fn push_table(&mut self, elements: usize, fields: usize) {
        self.reserve(1);
        let count = |count: usize| count.min(1 << 20) as c_int;
        // SAFETY: the stack has room.
        unsafe { ffi::lua_createtable(self.state.as_ptr(), count(elements), count(fields)) };
        self.top += 1;
    }

    /// The table of globals.
    pub fn push_globals(&mut self) {
        self.reserve(1);
        // SAFETY: the stack has room.
        unsafe { ffi::lua_pushvalue(self.state.as_ptr(), ffi::LUA_GLOBALSINDEX) };
        self.top += 1;
    }

    /// The table on top is the table of globals from now on.
    pub fn set_globals(&mut self) {
        assert!(self.kind(self.top()) == LuaType::Table, "globals are a table");
        // SAFETY: it is a table.
        unsafe { ffi::lua_replace(self.state.as_ptr(), ffi::LUA_GLOBALSINDEX) };
        self.top -= 1;
    }

    #[inline]
    pub fn pop(&mut self, count: usize) {
        assert!(count <= self.top as usize, "no more than there is");
        self.top -= count as c_int;
        // SAFETY: the stack becomes shorter.
        unsafe { ffi::lua_settop(self.state.as_ptr(), self.top) };
    }

    /// Moves the value on top to an index, and what is there up.
    pub fn insert(&mut self, index: usize) {
        let index = self.index(index);
        // SAFETY: there is such a value.
        unsafe { ffi::lua_insert(self.state.as_ptr(), index) };
    }

    /// Takes a value out.
    pub fn remove(&mut self, index: usize) {
        let index = self.index(index);
        // SAFETY: there is such a value.
        unsafe { ffi::lua_remove(self.state.as_ptr(), index) };
        self.top -= 1;
    }

    #[inline]
    fn table(&self, index: usize) -> c_int {
        assert!(self.kind(index) == LuaType::Table, "it is a table");
        index as c_int
    }

    /// Pushes a table's element, without asking its metatable.
    #[inline]
    pub fn push_element(&mut self, table: usize, index: usize) {
        let table = self.table(table);
        self.reserve(1);
        // SAFETY: it is a table, and the stack has room.
        unsafe { ffi::lua_rawgeti_(self.state.as_ptr(), table, index as c_int) };
        self.top += 1;
    }

    /// As [`Self::push_element`], with any number.
    pub fn push_element_at(&mut self, table: usize, index: i64) {
        self.push_number(index as f64);
        self.get(table);
    }

    /// As [`Self::set_element`], with any number.
    pub fn set_element_at(&mut self, table: usize, index: i64) {
        self.push_number(index as f64);
        let key = self.top();
        self.insert(key - 1);
        self.set(table);
    }

    /// Others have pushed so many values since.
    pub(super) fn note_pushed(&mut self, count: usize) {
        self.top += count as c_int;
        // SAFETY: the interpreter lives.
        assert_eq!(self.top, unsafe { ffi::lua_gettop(self.state.as_ptr()) }, "they are there");
        self.limit = self.limit.max(self.top);
    }

    /// Calls a function that cannot fail, which is below so many arguments and whose result takes their place.
    pub(super) fn call_unfailing(&mut self, arguments: usize) {
        assert!(self.top() > arguments, "function and arguments are on the stack");
        // SAFETY: they are; the caller knows the function.
        unsafe { ffi::lua_call(self.state.as_ptr(), arguments as c_int, 1) };
        self.top -= arguments as c_int;
    }

    /// Pushes a table's field, without asking its metatable.
    #[inline]
    pub fn push_field(&mut self, table: usize, name: &str) {
        let table = self.table(table);
        self.push_string(name.as_bytes());
        // SAFETY: it is a table; the key on top is replaced by its value.
        unsafe { ffi::lua_rawget_(self.state.as_ptr(), table) };
    }

    /// Replaces the key on top by its value in a table, without asking its metatable.
    pub fn get(&mut self, table: usize) {
        let table = self.table(table);
        assert!(self.top > table, "the key is above");
        // SAFETY: it is a table; the key on top is replaced by its value.
        unsafe { ffi::lua_rawget_(self.state.as_ptr(), table) };
    }

    /// The value on top becomes a table's element.
    #[inline]
    pub fn set_element(&mut self, table: usize, index: usize) {
        assert!(self.iterations == 0, "no table changes that is iterated over");
        let table = self.table(table);
        assert!(self.top > table, "the value is above");
        // SAFETY: it is a table; the value is taken off.
        unsafe { ffi::lua_rawseti_(self.state.as_ptr(), table, index as c_int) };
        self.top -= 1;
    }

    /// The value on top becomes a table's field.
    #[inline]
    pub fn set_field(&mut self, table: usize, name: &str) {
        self.push_string(name.as_bytes());
        let key = self.top();
        self.insert(key - 1);
        self.set(table);
    }

    /// The value on top becomes that of the key below it, which is neither nil nor not a number. Both are taken off.
    #[inline]
    pub fn set(&mut self, table: usize) {
        assert!(self.iterations == 0, "no table changes that is iterated over");
        let table = self.table(table);
        assert!(self.top >= table + 2, "key and value are above");
        let key = self.top() - 1;
        let is_key = match self.kind(key) {
            LuaType::Nil => false,
            LuaType::Number => self.number(key).is_some_and(|number| !number.is_nan()),
            _ => true,
        };
        assert!(is_key, "it can be a key");
        // SAFETY: it is a table, and the key is one; both are taken off.
        unsafe { ffi::lua_rawset(self.state.as_ptr(), table) };
        self.top -= 2;
    }

    /// Calls back with each pair of a table: the indices of key and value. They are gone afterwards.
    pub fn each(
        &mut self,
        table: usize,
        mut visit: impl FnMut(&mut Lua, usize, usize) -> Result<(), Raise>,
    ) -> Result<(), Raise> {
        let table_index = self.table(table);
        self.push_nil();
        self.reserve(1);
        let key = self.top();
        self.iterations += 1;
        loop {
            // SAFETY: it is a table, and the key on top is nil or was its key just now: no table has changed since.
            if unsafe { ffi::lua_next(self.state.as_ptr(), table_index) } == 0 {
                self.top -= 1;
                break;
            }
            self.top += 1;
            let outcome = visit(self, key, key + 1);
            if outcome.is_err() {
                self.iterations -= 1;
                return outcome;
            }
            self.pop(self.top() - key);
            self.reserve(1);
        }
        self.iterations -= 1;
        Ok(())
    }

    /// Pushes a value's metatable, if it has one.
    pub fn push_metatable(&mut self, index: usize) -> bool {
        let index = self.index(index);
        self.reserve(1);
        // SAFETY: there is such a value, and the stack has room.
        let has_one = unsafe { ffi::lua_getmetatable(self.state.as_ptr(), index) } != 0;
        self.top += c_int::from(has_one);
        has_one
    }

    /// The table on top, or nil, becomes a value's metatable.
    pub fn set_metatable(&mut self, index: usize) {
        let index = self.index(index);
        assert!(index < self.top, "the metatable is above");
        assert!(matches!(self.kind(self.top()), LuaType::Table | LuaType::Nil), "a metatable is a table");
        // SAFETY: there are both; the metatable is taken off.
        unsafe { ffi::lua_setmetatable(self.state.as_ptr(), index) };
        self.top -= 1;
    }

    /// Keeps the value on top, which is taken off.
    pub fn keep(&mut self) -> Ref {
        assert!(self.top > 0, "there is a value");
        self.reserve(2);
        // SAFETY: there is a value on top, which is taken off, and the stack has room for what the function does.
        let reference = unsafe { ffi::luaL_ref(self.state.as_ptr(), ffi::LUA_REGISTRYINDEX) };
        self.top -= 1;
        Ref(reference)
    }

    /// Pushes what was kept.
    #[inline]
    pub fn push_kept(&mut self, kept: Ref) {
        self.reserve(1);
        // SAFETY: the registry is a table, and the stack has room.
        unsafe { ffi::lua_rawgeti_(self.state.as_ptr(), ffi::LUA_REGISTRYINDEX, kept.0) };
        self.top += 1;
    }

    /// Forgets what was kept.
    pub fn forget(&mut self, kept: Ref) {
        self.reserve(2);
        // SAFETY: the registry is a table, and the stack has room.
        unsafe { ffi::luaL_unref(self.state.as_ptr(), ffi::LUA_REGISTRYINDEX, kept.0) };
    }

    /// Whether a function is one of C or ours.
    pub(super) fn is_native(&self, function: usize) -> bool {
        let index = self.index(function);
        // SAFETY: there is such a value.
        unsafe { ffi::lua_iscfunction(self.state.as_ptr(), index) != 0 }
    }

    /// Pushes one of the values that a function was made with, from 1, if it has so many.
    pub(super) fn push_upvalue(&mut self, function: usize, index: usize) -> bool {
        assert!(self.kind(function) == LuaType::Function, "it is a function");
        self.reserve(1);
        // SAFETY: it is a function, and the stack has room.
        let name = unsafe { ffi::lua_getupvalue(self.state.as_ptr(), function as c_int, index as c_int) };
        self.top += c_int::from(!name.is_null());
        !name.is_null()
    }

    /// Whether two values are the same, without asking their metatables.
    pub(super) fn is_same(&self, one: usize, other: usize) -> bool {
        let (one, other) = (self.index(one), self.index(other));
        // SAFETY: there are such values.
        unsafe { ffi::lua_rawequal(self.state.as_ptr(), one, other) != 0 }
    }

    /// The compiled form of the function on top, which is one of Lua.
    pub(super) fn compiled(&mut self) -> Vec<u8> {
        assert!(
            self.kind(self.top()) == LuaType::Function && !self.is_native(self.top()),
            "it is one of Lua"
        );
        let mut form: Vec<u8> = Vec::new();
        let into = (&raw mut form).cast();
        // SAFETY: a function of Lua is on top; what it is handed is the vector, as `append` expects.
        let status = unsafe { ffi::lua_dump_(self.state.as_ptr(), append, into) };
        assert_eq!(status, 0, "appending does not fail");
        form
    }

    /// Source and line of the function that called ours, or, if that is not Lua's (`skips_native`), of the one before.
    pub fn caller(&self, skips_native: bool) -> Option<(Vec<u8>, usize)> {
        // SAFETY: all zeros is a valid value of numbers and pointers.
        let mut debug: ffi::lua_Debug = unsafe { std::mem::zeroed() };
        for level in 1..=3 {
            // SAFETY: the interpreter lives, and the record is one.
            if unsafe { ffi::lua_getstack(self.state.as_ptr(), level, &raw mut debug) } == 0 {
                return None;
            }
            // SAFETY: the record was filled for a function that is active.
            unsafe { ffi::lua_getinfo(self.state.as_ptr(), c"nSl".as_ptr(), &raw mut debug) };
            // SAFETY: the call before has set it to a string.
            let what = unsafe { CStr::from_ptr(debug.what) };
            // SAFETY: as before.
            let source = unsafe { CStr::from_ptr(debug.source) };
            let is_ours = level == 2 && source == PRELUDE_NAME;
            if skips_native && (level == 1 && what == c"C" || is_ours) {
                continue;
            }
            return Some((source.to_bytes().to_vec(), debug.currentline.max(0) as usize));
        }
        None
    }

    /// Collects for as long as `collectgarbage("step")` does.
    pub fn collect(&mut self, whole: bool) -> bool {
        let what = if whole { ffi::LUA_GCCOLLECT } else { ffi::LUA_GCSTEP };
        // SAFETY: nothing has a finalizer that could fail.
        unsafe { ffi::lua_gc(self.state.as_ptr(), what, 0) != 0 }
    }

    /// A number as Lua writes it: 14 digits.
    pub fn number_text(value: f64, text: &mut Vec<u8>) {
        format_number(c"%.14g", value, text);
    }
}

/// Appends a number in a format of C that has one conversion, of a double.
pub fn format_number(format: &CStr, value: f64, text: &mut Vec<u8>) {
    let mut buffer = [0_u8; 64];
    // SAFETY: the buffer has this length; all callers' formats have one conversion, of a double, and fit.
    let len = unsafe { libc::snprintf(buffer.as_mut_ptr().cast(), buffer.len(), format.as_ptr(), value) };
    text.extend_from_slice(&buffer[..(len.max(0) as usize).min(buffer.len() - 1)]);
}

/// Reads a number from the front of a text as C does (`strtod`), and how long it is.
pub fn read_number(text: &[u8]) -> Option<(f64, usize)> {
    let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'+' | b'-');
    let len = text.iter().take_while(is_part).count();
    let digits = text[..len].iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits == len && (1..=15).contains(&len) {
        let number = text[..len].iter().fold(0, |number: u64, digit| number * 10 + u64::from(digit - b'0'));
        return Some((number as f64, len));
    }
    let text = std::ffi::CString::new(&text[..len]).ok()?;
    let mut end = null_mut();
    // SAFETY: the text ends with zero, which `strtod` does not pass.
    let number = unsafe { libc::strtod(text.as_ptr(), &raw mut end) };
    let len = end as usize - text.as_ptr() as usize;
    (len > 0).then_some((number, len))
}

/// Functions that raise by themselves and so are not ours.
#[derive(Clone, Copy)]
pub(super) enum Native {
    /// `pcall`, whose error is the text where that of Redis is a table.
    Pcall,
    /// `xpcall`, whose handler runs once the failed function is gone.
    Xpcall,
    /// `next`, which looks behind protected tables.
    Next,
    /// `loadstring`, of text only.
    Load,
}

/// Functions of Lua's `string` that look for patterns.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Matcher {
    /// `find`, whose fourth argument may say that it looks for no pattern.
    Find,
    /// `match`.
    Match,
    /// `gmatch`.
    Each,
    /// `gsub`, whose fourth argument may say how often.
    Replace,
}

/// How a function of ours has ended.
enum Exit {
    Return(c_int),
    Error,
    Message,
    Argument(c_int),
}

fn host_of(state: *mut lua_State) -> NonNull<Host> {
    let mut host = null_mut();
    // SAFETY: the interpreter lives.
    unsafe { ffi::lua_getallocf(state, &raw mut host) };
    NonNull::new(host.cast()).expect("the interpreter was made with one")
}

/// Appends a piece of a function's compiled form.
unsafe extern "C-unwind" fn append(
    _: *mut lua_State,
    piece: *const c_void,
    len: usize,
    into: *mut c_void,
) -> c_int {
    if len == 0 {
        return 0;
    }
    // SAFETY: `Lua::compiled` hands it over, and looks at it only when this is done.
    let form = unsafe { &mut *into.cast::<Vec<u8>>() };
    // SAFETY: so many bytes are there.
    form.extend_from_slice(unsafe { std::slice::from_raw_parts(piece.cast(), len) });
    0
}

/// What Lua calls for a function of ours.
unsafe extern "C-unwind" fn enter(state: *mut lua_State) -> c_int {
    match run(state) {
        Exit::Return(count) => count,
        // SAFETY: no frame between here and Lua's has anything to drop.
        Exit::Error => unsafe { ffi::lua_error(state) },
        Exit::Message => {
            // SAFETY: the text is on top, and a function has room for a few values.
            unsafe { ffi::luaL_where(state, 1) };
            // SAFETY: both are on the stack.
            unsafe { ffi::lua_insert(state, -2) };
            // SAFETY: both are on the stack.
            unsafe { ffi::lua_concat(state, 2) };
            // SAFETY: as above.
            unsafe { ffi::lua_error(state) }
        }
        Exit::Argument(index) => {
            // SAFETY: the text is on top.
            let text = unsafe { ffi::lua_tolstring(state, -1, null_mut()) };
            // SAFETY: no frame between here and Lua's has anything to drop.
            unsafe { ffi::luaL_argerror(state, index, text) }
        }
    }
}

/// Runs a function of ours. All that it has to drop is dropped when this returns.
#[inline]
fn run(state: *mut lua_State) -> Exit {
    let state = NonNull::new(state).expect("Lua calls with its state");
    // SAFETY: every function that enters here has the function of ours as its upvalue.
    let function = unsafe { ffi::lua_touserdata(state.as_ptr(), ffi::lua_upvalueindex(1)) };
    // SAFETY: `push_function` has put it there.
    let function: Function = unsafe { std::mem::transmute(function) };
    // SAFETY: the host outlives the interpreter.
    let host = unsafe { host_of(state.as_ptr()).as_ref() };
    host.shelter.set(true);
    let mut lua = Lua::new(state);
    // A function that Lua calls has room for so many values.
    lua.limit = lua.top + ffi::LUA_MINSTACK;
    let exit = match function(&mut lua) {
        Ok(count) => {
            assert!(count <= lua.top(), "no more results than values");
            Exit::Return(count as c_int)
        }
        Err(Raise::Value) => Exit::Error,
        Err(Raise::Plain(text)) => {
            lua.push_string(text.as_bytes());
            Exit::Error
        }
        Err(Raise::Message(text)) => {
            lua.push_string(text.as_bytes());
            Exit::Message
        }
        Err(Raise::Argument(index, text)) => {
            let text: Vec<u8> = text.bytes().filter(|byte| *byte != 0).collect();
            lua.push_string(&text);
            Exit::Argument(index as c_int)
        }
    };
    host.shelter.set(false);
    exit
}

/// What the code of ours is called that is written in Lua.
pub(super) const PRELUDE_NAME: &CStr = c"=load";

/// Where a table is protected: the field of its metatable that leads to what it protects.
pub(super) const PROTECTED: &str = "__torc";

/// Called every so many instructions: the worker decides whether the script goes on, now or later.
unsafe extern "C-unwind" fn tick(state: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: the host outlives the interpreter.
    let host = unsafe { host_of(state).as_ref() };
    if !host.tick() {
        return;
    }
    // It is asked again before each line, so that no `pcall` around an endless loop keeps it alive.
    // SAFETY: the hook is one that keeps to what hooks may do.
    unsafe { ffi::lua_sethook(state, Some(tick), ffi::LUA_MASKLINE | ffi::LUA_MASKCOUNT, 1) };
    let text = KILLED;
    // SAFETY: a hook has room for a few values.
    unsafe { ffi::lua_createtable(state, 0, 1) };
    // SAFETY: as before.
    unsafe { ffi::lua_pushlstring_(state, text.as_ptr().cast(), text.len()) };
    // SAFETY: the table is below its value.
    unsafe { ffi::lua_setfield(state, -2, c"err".as_ptr()) };
    // SAFETY: no frame between here and Lua's has anything to drop.
    unsafe { ffi::lua_error(state) }
}

/// Allocates for Lua.
unsafe extern "C" fn allocate(
    host: *mut c_void,
    old: *mut c_void,
    old_len: usize,
    len: usize,
) -> *mut c_void {
    // SAFETY: the interpreter was made with this host, which outlives it.
    let host = unsafe { &*host.cast::<Host>() };
    let layout = |len| Layout::from_size_align(len, ALIGNMENT);
    let old_len = if old.is_null() { 0 } else { old_len };
    if len == 0 {
        if let Ok(layout) = layout(old_len)
            && old_len > 0
        {
            host.note_freed(old_len);
            // SAFETY: it was allocated here, with this length.
            unsafe { dealloc(old.cast(), layout) };
        }
        return null_mut();
    }
    let Ok(new_layout) = layout(len) else { return null_mut() };
    if len > old_len && !host.shelter.get() && !host.has_room(len - old_len) {
        return null_mut();
    }
    let new = if old_len == 0 {
        // SAFETY: the length is not zero.
        unsafe { alloc(new_layout) }
    } else {
        let Ok(layout) = layout(old_len) else { return null_mut() };
        // SAFETY: it was allocated here, with this length; the new one is not zero.
        unsafe { realloc(old.cast(), layout, len) }
    };
    if new.is_null() {
        if host.shelter.get() {
            handle_alloc_error(new_layout);
        }
        return null_mut();
    }
    host.note_resized(old_len, len);
    new.cast()
}

/// The script's side of its stack, as long as it runs.
#[derive(Default)]
pub struct Side(Cell<Option<NonNull<Yielder<Answer, Request>>>>);

impl Side {
    /// The script begins to run on this stack.
    pub fn begin(&self, yielder: &Yielder<Answer, Request>) {
        self.0.set(Some(NonNull::from(yielder)));
    }

    /// Suspends the script's stack until the worker resumes it.
    pub fn suspend(&self, request: Request) -> Answer {
        let yielder = self.0.get().expect("scripts run on a stack of their own");
        // SAFETY: the yielder lives as long as its stack, which this is called on: whatever is called by a script is.
        unsafe { yielder.as_ref() }.suspend(request)
    }
}
