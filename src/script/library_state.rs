//! What a library's functions keep from run to run, and whether a run has changed it.
//!
//! Design: Redis has one interpreter, so that what a function assigns to a variable outside of it, or puts into a table that it was
//! made with, is there for the next call. Here each worker has an interpreter, and most libraries keep nothing. So when a library
//! is loaded everything is listed that its functions can reach and could change: tables (with a copy of what is in them) and, if its
//! code assigns to any, variables. After each run the worker compares. As long as nothing has changed, all copies of the library
//! are as they were when it was loaded, and it does not matter where it runs. The first run that changes something is taken back, and
//! all runs from then on happen in one interpreter (`worker::script`).
//!
//! Invariants: nothing else that outlives a run can be reached: globals, and what all scripts share, cannot be changed.
//! Costs: for tables that a library captures, two lookups for each of their elements after each run; nothing for a library that
//! captures functions, numbers and strings only.

use std::collections::HashSet;
use std::ffi::c_void;

use super::base::World;
use super::lua::{Interpreter, Lua, LuaType, Raise, Ref};

/// More than this is not compared after each run: such a library runs in one interpreter.
const WATCHED_MAX: usize = 1000;

/// What a library's functions could change.
#[derive(Debug, Default)]
pub struct LibraryState {
    /// It cannot be told apart from what it was: it has to be taken for changed.
    pub is_unknown: bool,
    tables: Vec<Table>,
    variables: Vec<Variable>,
}

#[derive(Debug)]
struct Table {
    table: Ref,
    copy: Ref,
    count: usize,
    metatable: *const c_void,
}

#[derive(Debug)]
struct Variable {
    function: Ref,
    /// Which of its variables, from 1.
    index: usize,
    value: Ref,
}

/// A walk over what can be reached.
struct Walk<'a> {
    state: LibraryState,
    world: &'a World,
    seen: HashSet<*const c_void>,
    /// The table of what is yet to be looked at, and how far that is.
    list: usize,
    listed: usize,
    watched: usize,
    /// Whether variables may be assigned to.
    assigns: bool,
}

impl LibraryState {
    /// What these functions keep; `assigns`: whether their library's code assigns to variables of functions around.
    pub fn of(interpreter: &Interpreter, world: &World, callbacks: &[Ref], assigns: bool) -> Self {
        let mut lua = interpreter.lua();
        lua.push_table(0, 0);
        let list = lua.top();
        let mut walk = Walk {
            state: LibraryState::default(),
            world,
            seen: HashSet::new(),
            list,
            listed: 0,
            watched: 0,
            assigns,
        };
        for callback in callbacks {
            lua.push_kept(*callback);
            walk.list_top(&mut lua);
        }
        let mut next = 0;
        while next < walk.listed && walk.watched <= WATCHED_MAX {
            next += 1;
            lua.push_element(list, next);
            walk.visit(&mut lua);
            lua.pop(lua.top() - list);
        }
        walk.state.is_unknown |= walk.watched > WATCHED_MAX;
        lua.pop(1);
        let mut state = walk.state;
        if state.is_unknown {
            state.forget(&mut lua);
            state.is_unknown = true;
        }
        interpreter.leave();
        state
    }

    /// Whether it is no longer what it was when the library was loaded.
    #[inline]
    pub fn has_changed(&self, interpreter: &Interpreter) -> bool {
        if self.tables.is_empty() && self.variables.is_empty() {
            return self.is_unknown;
        }
        let mut lua = interpreter.lua();
        let top = lua.top();
        let is_same = self.tables.iter().all(|table| table.is_same(&mut lua))
            && self.variables.iter().all(|variable| variable.is_same(&mut lua));
        lua.pop(lua.top() - top);
        interpreter.leave();
        !is_same
    }

    /// Nothing of it is wanted any more.
    pub fn forget(&mut self, lua: &mut Lua) {
        for table in self.tables.drain(..) {
            lua.forget(table.table);
            lua.forget(table.copy);
        }
        for variable in self.variables.drain(..) {
            lua.forget(variable.function);
            lua.forget(variable.value);
        }
    }
}

impl Table {
    fn is_same(&self, lua: &mut Lua) -> bool {
        let top = lua.top();
        lua.push_kept(self.table);
        lua.push_kept(self.copy);
        let (mut count, mut is_same) = (0, true);
        let visited = lua.each(top + 1, |lua, key, value| {
            lua.push_value(key);
            lua.get(top + 2);
            is_same &= lua.is_same(value, value + 1);
            count += 1;
            Ok(())
        });
        let metatable = metatable_of(lua, top + 1);
        lua.pop(lua.top() - top);
        visited.is_ok() && is_same && count == self.count && metatable == self.metatable
    }
}

impl Variable {
    fn is_same(&self, lua: &mut Lua) -> bool {
        let top = lua.top();
        lua.push_kept(self.function);
        lua.push_kept(self.value);
        let is_same = lua.push_upvalue(top + 1, self.index) && lua.is_same(top + 2, top + 3);
        lua.pop(lua.top() - top);
        is_same
    }
}

/// Where the metatable of a value lies.
fn metatable_of(lua: &mut Lua, index: usize) -> *const c_void {
    if !lua.push_metatable(index) {
        return std::ptr::null();
    }
    let address = lua.address(lua.top());
    lua.pop(1);
    address
}

impl Walk<'_> {
    /// The value on top is looked at later, if it can lead to what changes. It is taken off.
    fn list_top(&mut self, lua: &mut Lua) {
        let value = lua.top();
        let leads_on = matches!(lua.kind(value), LuaType::Table | LuaType::Function | LuaType::Other);
        if !leads_on || !self.seen.insert(lua.address(value)) {
            return lua.pop(1);
        }
        self.listed += 1;
        lua.set_element(self.list, self.listed);
    }

    /// Looks at the value on top.
    fn visit(&mut self, lua: &mut Lua) {
        let value = lua.top();
        match lua.kind(value) {
            LuaType::Table if self.world.is_shared(lua.address(value)) => {}
            LuaType::Table => self.visit_table(lua),
            LuaType::Function => self.visit_function(lua),
            // A coroutine goes on with each run.
            _ => self.state.is_unknown = true,
        }
    }

    fn visit_table(&mut self, lua: &mut Lua) {
        let table = lua.top();
        // No table changes while this one is iterated over.
        let (mut pairs, mut watched) = (Vec::new(), self.watched + 1);
        let visited = lua.each(table, |lua, key, value| {
            watched += 1;
            if watched > WATCHED_MAX {
                return Err(Raise::Value);
            }
            let mut keep = |index| {
                lua.push_value(index);
                lua.keep()
            };
            pairs.push((keep(key), keep(value)));
            Ok(())
        });
        self.watched = watched;
        lua.pop(lua.top() - table);
        lua.push_table(0, pairs.len());
        for (key, value) in &pairs {
            for part in [*key, *value] {
                lua.push_kept(part);
                self.list_top(lua);
            }
            lua.push_kept(*key);
            lua.push_kept(*value);
            lua.set(table + 1);
            lua.forget(*key);
            lua.forget(*value);
        }
        let copy = lua.keep();
        if visited.is_err() {
            return lua.forget(copy);
        }
        let metatable = metatable_of(lua, table);
        if lua.push_metatable(table) {
            self.list_top(lua);
        }
        lua.push_value(table);
        let kept = lua.keep();
        self.state.tables.push(Table { table: kept, copy, count: pairs.len(), metatable });
    }

    fn visit_function(&mut self, lua: &mut Lua) {
        let function = lua.top();
        let is_native = lua.is_native(function);
        let mut index = 1;
        while lua.push_upvalue(function, index) {
            let kind = lua.kind(lua.top());
            if is_native && matches!(kind, LuaType::Number | LuaType::String) {
                // It counts something: where it is in a text.
                self.state.is_unknown = true;
            }
            if !is_native && self.assigns {
                self.watched += 1;
                lua.push_value(function);
                let of = lua.keep();
                lua.push_value(function + 1);
                let value = lua.keep();
                self.state.variables.push(Variable { function: of, index, value });
            }
            self.list_top(lua);
            index += 1;
        }
    }
}
