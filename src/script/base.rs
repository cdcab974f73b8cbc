//! What scripts find around them: Lua's own functions and libraries less what reaches the system, and nothing that they could change.
//!
//! Design: a table that scripts may read but not change is a *protected* one: empty, with a metatable that leads reads to the real
//! table and refuses writes. Lua asks a metatable only for what is not there, and nothing ever is. What writes without asking
//! (`rawset`, `table.insert`) or would show that it is empty (`next`, `pairs`, `rawget`) is ours, and looks behind it. So a script
//! leaves nothing behind for the next one, and cannot replace what others call.
//!
//! Costs: two more lookups for each `redis.call`, some 20 ns.
//! Not here: the functions of Redis (`api`), the numbers of `math.random` (`random`).

use std::ffi::c_void;

use super::lua::{Function, Interpreter, Lua, LuaType, Matcher, Native, PRELUDE_NAME, PROTECTED, Raise, Ref};
use super::{api, bit, cjson, cmsgpack, random, register, structs};
use crate::config::REDIS_VERSION;

/// Lua's own functions that stay as they are.
const KEPT: &[&str] =
    &["assert", "error", "ipairs", "rawequal", "select", "tonumber", "tostring", "type", "_VERSION"];

/// Functions that stand in for Lua's own.
const REPLACED: &[(&str, Function)] = &[
    ("pairs", pairs),
    ("rawget", rawget),
    ("rawset", rawset),
    ("getmetatable", getmetatable),
    ("setmetatable", setmetatable),
    ("unpack", unpack),
    ("collectgarbage", collectgarbage),
    ("gcinfo", gcinfo),
];

/// What is easier said in Lua: gets `loadstring` and returns `load`.
const PRELUDE: &[u8] = b"local loadstring, type, error, concat = ...
return function(reader, name)
    if type(reader) ~= 'function' then
        error(\"bad argument #1 to 'load' (function expected, got \" .. type(reader) .. ')', 2)
    end
    local pieces, count = {}, 0
    while true do
        local piece = reader()
        if piece == nil or piece == '' then break end
        if type(piece) ~= 'string' then return nil, 'reader function must return a string' end
        count = count + 1
        pieces[count] = piece
    end
    return loadstring(concat(pieces), name or '=(load)')
end";

/// What of an interpreter's world the engine has to reach.
pub struct World {
    /// The real table behind the protected globals.
    pub globals: Ref,
    /// What makes a table of an error, with the place where it was raised.
    pub error_handler: Ref,
    /// What libraries find while they are loaded, and what decides which globals there are.
    load_globals: Ref,
    globals_metatable: Ref,
    /// Where the tables lie that everybody shares and nobody can change.
    shared: Vec<*const c_void>,
}

impl World {
    /// Whether a table is one that everybody shares and nobody can change.
    pub fn is_shared(&self, table: *const c_void) -> bool {
        self.shared.contains(&table)
    }

    /// Takes these out of the globals.
    pub fn clear_globals(&self, lua: &mut Lua, names: &[&str]) {
        lua.push_kept(self.globals);
        let globals = lua.top();
        for name in names {
            lua.push_nil();
            lua.set_field(globals, name);
        }
        lua.pop(1);
    }

    /// From now on the globals are those of libraries that are being loaded, or those of scripts and functions that run.
    pub fn set_loads(&self, lua: &mut Lua, loads: bool) {
        let top = lua.top();
        lua.push_kept(self.globals_metatable);
        lua.push_kept(if loads { self.load_globals } else { self.globals });
        lua.set_field(top + 1, "__index");
        lua.pop(1);
    }
}

/// Makes the world of an interpreter that has Lua's libraries.
pub fn make_world(interpreter: &Interpreter) -> World {
    let mut lua = interpreter.lua();
    let mut shared = Vec::new();
    lua.push_globals();
    let lua_own = lua.top();
    lua.push_table(0, 64);
    let globals = lua.top();
    for name in KEPT {
        lua.push_field(lua_own, name);
        lua.set_field(globals, name);
    }
    set_functions(&mut lua, globals, REPLACED);
    let natives = [
        ("pcall", Native::Pcall),
        ("xpcall", Native::Xpcall),
        ("next", Native::Next),
        ("loadstring", Native::Load),
    ];
    for (name, native) in natives {
        lua.push_native(native);
        lua.set_field(globals, name);
    }
    for name in ["string", "table", "math", "coroutine", "os"] {
        push_own_library(&mut lua, lua_own, name);
        share(&mut lua, &mut shared);
        lua.set_field(globals, name);
    }
    push_api(&mut lua, api::FUNCTIONS, |_| true);
    share(&mut lua, &mut shared);
    lua.set_field(globals, "redis");
    let libraries = [
        ("bit", bit::FUNCTIONS),
        ("struct", structs::FUNCTIONS),
        ("cmsgpack", cmsgpack::FUNCTIONS),
        ("cjson", cjson::FUNCTIONS),
    ];
    for (name, functions) in libraries {
        lua.push_table(0, 16);
        set_functions(&mut lua, globals + 1, functions);
        match name {
            "cmsgpack" => cmsgpack::add_constants(&mut lua),
            "cjson" => cjson::add_constants(&mut lua),
            _ => {}
        }
        share(&mut lua, &mut shared);
        lua.set_field(globals, name);
    }
    make_load(interpreter, &mut lua, globals);
    let globals_metatable = protect_globals(&mut lua, globals, &mut shared);
    let load_globals = make_load_globals(&mut lua, &mut shared);
    lua.push_value(globals);
    let kept = lua.keep();
    lua.push_function(error_handler);
    let error_handler = lua.keep();
    lua.pop(lua.top());
    interpreter.leave();
    World { globals: kept, error_handler, load_globals, globals_metatable, shared }
}

/// Replaces the table on top by a protected one, which everybody shares.
fn share(lua: &mut Lua, shared: &mut Vec<*const c_void>) {
    protect(lua);
    shared.push(lua.address(lua.top()));
}

/// Pushes a table with these functions of the server, and those constants that are wanted.
fn push_api(lua: &mut Lua, functions: &[(&str, Function)], wants: fn(&str) -> bool) {
    lua.push_table(0, 32);
    let table = lua.top();
    set_functions(lua, table, functions);
    for (name, number) in api::NUMBERS.iter().filter(|(name, _)| wants(name)) {
        lua.push_number(*number);
        lua.set_field(table, name);
    }
    lua.push_string(REDIS_VERSION.as_bytes());
    lua.set_field(table, "REDIS_VERSION");
    lua.push_number(api::version_number());
    lua.set_field(table, "REDIS_VERSION_NUM");
}

/// What libraries find while they are loaded: no more than what registers functions, and the log.
fn make_load_globals(lua: &mut Lua, shared: &mut Vec<*const c_void>) -> Ref {
    lua.push_table(0, 1);
    let globals = lua.top();
    push_api(lua, register::FUNCTIONS, |name| name.starts_with("LOG_"));
    refuse_others(lua, globals + 1);
    share(lua, shared);
    lua.set_field(globals, "redis");
    refuse_others(lua, globals);
    lua.keep()
}

/// What is not in a table is asked for in vain, and that is an error.
fn refuse_others(lua: &mut Lua, table: usize) {
    lua.push_table(0, 1);
    lua.push_function(refuse_unknown);
    lua.set_field(lua.top() - 1, "__index");
    lua.set_metatable(table);
}

fn set_functions(lua: &mut Lua, table: usize, functions: &[(&str, Function)]) {
    for (name, function) in functions {
        lua.push_function(*function);
        lua.set_field(table, name);
    }
}

/// Pushes one of Lua's own libraries, with ours in the place of some functions.
fn push_own_library(lua: &mut Lua, lua_own: usize, name: &str) {
    lua.push_field(lua_own, name);
    let library = lua.top();
    match name {
        "os" => {
            lua.push_table(0, 1);
            lua.push_field(library, "clock");
            lua.set_field(library + 1, "clock");
            lua.remove(library);
        }
        "math" => set_functions(lua, library, random::FUNCTIONS),
        "table" => set_functions(lua, library, &[("insert", insert)]),
        "string" => {
            set_functions(lua, library, super::strings::FUNCTIONS);
            let matchers = [
                ("find", Matcher::Find),
                ("match", Matcher::Match),
                ("gmatch", Matcher::Each),
                ("gfind", Matcher::Each),
                ("gsub", Matcher::Replace),
            ];
            for (name, kind) in matchers {
                lua.push_field(library, name);
                if lua.kind(library + 1) == LuaType::Function {
                    lua.push_bounded(library + 1, kind);
                    lua.set_field(library, name);
                }
                lua.pop(1);
            }
        }
        _ => {}
    }
}

/// Replaces the table on top by a protected one that leads to it.
pub fn protect(lua: &mut Lua) {
    let real = lua.top();
    lua.push_table(0, 0);
    lua.push_table(0, 3);
    for name in ["__index", PROTECTED] {
        lua.push_value(real);
        lua.set_field(real + 2, name);
    }
    lua.push_function(refuse_change);
    lua.set_field(real + 2, "__newindex");
    lua.set_metatable(real + 1);
    lua.remove(real);
}

/// The globals are protected, and say which of them are not there. Keeps the metatable that leads to them.
fn protect_globals(lua: &mut Lua, globals: usize, shared: &mut Vec<*const c_void>) -> Ref {
    refuse_others(lua, globals);
    lua.push_value(globals);
    share(lua, shared);
    lua.push_value(globals + 1);
    lua.set_field(globals, "_G");
    let has_one = lua.push_metatable(globals + 1);
    assert!(has_one, "it is protected");
    let metatable = lua.keep();
    lua.set_globals();
    metatable
}

fn make_load(interpreter: &Interpreter, lua: &mut Lua, globals: usize) {
    interpreter.compile(PRELUDE, PRELUDE_NAME).expect("it is in order");
    lua.note_pushed(1);
    for name in ["loadstring", "type", "error"] {
        lua.push_field(globals, name);
    }
    lua.push_field(globals, "table");
    let table = lua.top();
    let has_one = lua.push_metatable(table);
    assert!(has_one, "libraries are protected");
    lua.push_field(table + 1, PROTECTED);
    lua.push_field(table + 2, "concat");
    let concat = lua.top();
    lua.insert(table);
    lua.pop(concat - table);
    lua.call_unfailing(4);
    lua.set_field(globals, "load");
}

/// Pushes what a protected table leads to.
fn push_protected(lua: &mut Lua, index: usize) -> bool {
    if lua.kind(index) != LuaType::Table || !lua.push_metatable(index) {
        return false;
    }
    let metatable = lua.top();
    lua.push_field(metatable, PROTECTED);
    if lua.kind(metatable + 1) == LuaType::Table {
        lua.remove(metatable);
        return true;
    }
    lua.pop(2);
    false
}

const READONLY: &str = "Attempt to modify a readonly table";

fn refuse_change(_: &mut Lua) -> Result<usize, Raise> {
    Err(Raise::Message(READONLY.to_owned()))
}

fn refuse_unknown(lua: &mut Lua) -> Result<usize, Raise> {
    let name = lua.text(2).unwrap_or_default();
    let name = String::from_utf8_lossy(&name);
    Err(Raise::Message(format!("Script attempted to access nonexistent global variable '{name}'")))
}

fn pairs(lua: &mut Lua) -> Result<usize, Raise> {
    lua.check_table(1)?;
    lua.push_native(Native::Next);
    lua.push_value(1);
    lua.push_nil();
    Ok(3)
}

fn rawget(lua: &mut Lua) -> Result<usize, Raise> {
    lua.check_table(1)?;
    if lua.kind(2) == LuaType::None {
        return Err(Raise::Argument(2, "value expected".to_owned()));
    }
    lua.pop(lua.top() - 2);
    let is_protected = push_protected(lua, 1);
    let table = if is_protected { lua.top() } else { 1 };
    lua.push_value(2);
    lua.get(table);
    Ok(1)
}

fn rawset(lua: &mut Lua) -> Result<usize, Raise> {
    lua.check_table(1)?;
    for index in [2, 3] {
        if lua.kind(index) == LuaType::None {
            return Err(Raise::Argument(index, "value expected".to_owned()));
        }
    }
    lua.pop(lua.top() - 3);
    refuse_protected(lua, 1)?;
    match lua.kind(2) {
        LuaType::Nil => return Err(Raise::Plain("table index is nil".to_owned())),
        LuaType::Number if lua.number(2).is_some_and(f64::is_nan) => {
            return Err(Raise::Plain("table index is NaN".to_owned()));
        }
        _ => {}
    }
    lua.room(size_of::<[u64; 5]>())?;
    lua.set(1);
    Ok(1)
}

/// Fails where a table is protected.
fn refuse_protected(lua: &mut Lua, index: usize) -> Result<(), Raise> {
    if push_protected(lua, index) {
        return Err(Raise::Plain(READONLY.to_owned()));
    }
    Ok(())
}

/// Pushes the field that hides a metatable, if there is one.
fn push_hiding(lua: &mut Lua, metatable: usize) -> bool {
    lua.push_field(metatable, "__metatable");
    let hides = lua.kind(lua.top()) != LuaType::Nil;
    if !hides {
        lua.pop(1);
    }
    hides
}

fn getmetatable(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.kind(1) == LuaType::None {
        return Err(Raise::Argument(1, "value expected".to_owned()));
    }
    lua.pop(lua.top() - 1);
    let is_text = lua.kind(1) == LuaType::String;
    if !lua.push_metatable(1) {
        lua.push_nil();
        return Ok(1);
    }
    if is_text {
        // Of all strings: it is shown, but not to be changed.
        protect(lua);
        return Ok(1);
    }
    if push_hiding(lua, 2) {
        return Ok(1);
    }
    lua.push_field(2, PROTECTED);
    if lua.kind(3) != LuaType::Table {
        lua.pop(1);
        return Ok(1);
    }
    // The globals have one in Redis, too.
    if lua.push_metatable(3) {
        protect(lua);
    } else {
        lua.push_nil();
    }
    Ok(1)
}

fn setmetatable(lua: &mut Lua) -> Result<usize, Raise> {
    lua.check_table(1)?;
    if !matches!(lua.kind(2), LuaType::Nil | LuaType::Table) {
        return Err(Raise::Argument(2, "nil or table expected".to_owned()));
    }
    lua.pop(lua.top() - 2);
    if lua.push_metatable(1) {
        if push_hiding(lua, 3) {
            return Err(Raise::Message("cannot change a protected metatable".to_owned()));
        }
        refuse_protected(lua, 1)?;
        lua.pop(lua.top() - 2);
    }
    lua.set_metatable(1);
    Ok(1)
}

fn unpack(lua: &mut Lua) -> Result<usize, Raise> {
    lua.check_table(1)?;
    let first = lua.number_or(2, 1.0)? as i64;
    let last = match lua.kind(3) {
        LuaType::None | LuaType::Nil => lua.table_len(1) as i64,
        _ => lua.check_integer(3)?,
    };
    if first > last {
        return Ok(0);
    }
    let count = usize::try_from(i128::from(last) - i128::from(first) + 1).unwrap_or(usize::MAX);
    if !lua.fits(count) {
        return Err(Raise::Message("too many results to unpack".to_owned()));
    }
    for index in first..=last {
        lua.push_element_at(1, index);
    }
    Ok(count)
}

fn collectgarbage(lua: &mut Lua) -> Result<usize, Raise> {
    let option = match lua.kind(1) {
        LuaType::None | LuaType::Nil => b"collect".to_vec(),
        _ => lua.check_text(1)?,
    };
    match option.as_slice() {
        b"collect" => {
            lua.collect(true);
            lua.push_number(0.0);
        }
        b"count" => lua.push_number(lua.host().used() as f64 / 1024.0),
        b"step" => {
            let is_done = lua.collect(false);
            lua.push_boolean(is_done);
        }
        // How often memory is collected is not a script's to say: others would have to live with it.
        b"stop" | b"restart" | b"setpause" | b"setstepmul" => lua.push_number(0.0),
        other => {
            let other = String::from_utf8_lossy(other);
            return Err(Raise::Argument(1, format!("invalid option '{other}'")));
        }
    }
    Ok(1)
}

fn gcinfo(lua: &mut Lua) -> Result<usize, Raise> {
    lua.push_number((lua.host().used() / 1024) as f64);
    Ok(1)
}

/// `table.insert`.
fn insert(lua: &mut Lua) -> Result<usize, Raise> {
    lua.check_table(1)?;
    refuse_protected(lua, 1)?;
    let next = lua.table_len(1) + 1;
    lua.room(size_of::<[u64; 2]>())?;
    match lua.top() {
        2 => {
            lua.push_value(2);
            lua.set_element(1, next);
        }
        3 => {
            let place = lua.check_integer(2)? as i32 as i64;
            let mut from = next as i64;
            if place > from {
                from = place;
            }
            for index in (place + 1..=from).rev() {
                lua.push_element_at(1, index - 1);
                lua.set_element_at(1, index);
            }
            lua.push_value(3);
            lua.set_element_at(1, place);
        }
        _ => return Err(Raise::Message("wrong number of arguments to 'insert'".to_owned())),
    }
    Ok(0)
}

/// Makes a table of whatever a script fails with, which says where.
fn error_handler(lua: &mut Lua) -> Result<usize, Raise> {
    let place = lua.caller(true);
    if lua.kind(1) != LuaType::Table {
        let text = match lua.kind(1) {
            LuaType::String | LuaType::Number => lua.text(1).unwrap_or_default(),
            LuaType::Boolean if lua.boolean(1) => b"true".to_vec(),
            LuaType::Boolean => b"false".to_vec(),
            kind => match kind {
                LuaType::Nil | LuaType::None => b"nil".to_vec(),
                _ => format!("{}: {:p}", kind.name(), lua.address(1)).into_bytes(),
            },
        };
        lua.pop(lua.top());
        lua.push_table(0, 3);
        lua.push_string(&[b"ERR ", &*text].concat());
        lua.set_field(1, "err");
    }
    if let Some((source, line)) = place {
        refuse_protected(lua, 1)?;
        lua.push_string(&source);
        lua.set_field(1, "source");
        lua.push_number(line as f64);
        lua.set_field(1, "line");
    }
    lua.pop(lua.top() - 1);
    Ok(1)
}
