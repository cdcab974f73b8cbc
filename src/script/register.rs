//! `redis.register_function`, which libraries call while they are loaded; no script and no function finds it.
//!
//! Not here: loading (`functions`), what becomes of what is registered (`library`).

use super::api;
use super::library::{BAD_NAME, Function, checked_name};
use super::lua::{self, Lua, LuaType, Raise, Ref};

/// What libraries find in `redis` while they are loaded.
pub const FUNCTIONS: &[(&str, lua::Function)] = &[("register_function", register), ("log", api::log)];

/// A function that was registered.
pub struct Registered {
    /// What is known of it.
    pub function: Function,
    /// What is called.
    pub callback: Ref,
}

fn register(lua: &mut Lua) -> Result<usize, Raise> {
    let (function, callback) = match lua.top() {
        1 if lua.kind(1) == LuaType::Table => named(lua)?,
        1 => {
            return Err(api::raise(
                lua,
                "calling redis.register_function with a single argument is only applicable to Lua table (representing named arguments).",
            ));
        }
        2 => positional(lua)?,
        _ => return Err(api::raise(lua, "wrong number of arguments to redis.register_function")),
    };
    let registered = &lua.host().registered;
    if registered.borrow().iter().any(|other| other.function.name == function.name) {
        return Err(api::raise(lua, "Function already exists in the library"));
    }
    lua.push_value(callback);
    let callback = lua.keep();
    lua.host().registered.borrow_mut().push(Registered { function, callback });
    Ok(0)
}

/// `register_function(name, callback)`: the function, and where its callback is.
fn positional(lua: &mut Lua) -> Result<(Function, usize), Raise> {
    let Some(name) = lua.text(1) else {
        return Err(api::raise(lua, "first argument to redis.register_function must be a string"));
    };
    if lua.kind(2) != LuaType::Function {
        return Err(api::raise(lua, "second argument to redis.register_function must be a function"));
    }
    let Some(name) = checked_name(&name) else { return Err(api::raise(lua, BAD_NAME)) };
    Ok((Function { name, description: None, flags: Default::default() }, 2))
}

/// `register_function{function_name=, callback=, description=, flags=}`: the function, and where its callback is.
fn named(lua: &mut Lua) -> Result<(Function, usize), Raise> {
    let mut function = Function { name: String::new(), description: None, flags: Default::default() };
    let (mut name, mut callback) = (None, None);
    // What is wrong is raised once nothing is iterated over any more.
    let mut wrong = None;
    let top = lua.top();
    let visited = lua.each(1, |lua, key, value| {
        let outcome = match lua.text(key) {
            None => Err("named argument key given to redis.register_function is not a string"),
            Some(key) => named_argument(lua, &key, value, &mut function, &mut name).map(|is_callback| {
                if is_callback {
                    lua.push_value(value);
                    callback = Some(lua.keep());
                }
            }),
        };
        outcome.map_err(|why| {
            wrong = Some(why);
            Raise::Value
        })
    });
    lua.pop(lua.top() - top);
    let name = match (visited, name, callback) {
        (Ok(()), Some(name), Some(_)) => checked_name(&name).ok_or(BAD_NAME),
        (Ok(()), None, _) => Err("redis.register_function must get a function name argument"),
        (Ok(()), _, None) => Err("redis.register_function must get a callback argument"),
        (Err(_), ..) => Err(wrong.unwrap_or("unknown argument given to redis.register_function")),
    };
    if let Some(callback) = callback {
        lua.push_kept(callback);
        lua.forget(callback);
    }
    function.name = name.map_err(|why| api::raise(lua, why))?;
    Ok((function, lua.top()))
}

/// One of the named arguments; whether it is the callback.
fn named_argument(
    lua: &mut Lua,
    key: &[u8],
    value: usize,
    function: &mut Function,
    name: &mut Option<Vec<u8>>,
) -> Result<bool, &'static str> {
    if key.eq_ignore_ascii_case(b"function_name") {
        let text = lua.text(value);
        *name = Some(text.ok_or("function_name argument given to redis.register_function must be a string")?);
    } else if key.eq_ignore_ascii_case(b"description") {
        let text = lua.text(value);
        let text = text.ok_or("description argument given to redis.register_function must be a string")?;
        function.description = Some(text);
    } else if key.eq_ignore_ascii_case(b"callback") {
        if lua.kind(value) != LuaType::Function {
            return Err("callback argument given to redis.register_function must be a function");
        }
        return Ok(true);
    } else if key.eq_ignore_ascii_case(b"flags") {
        if lua.kind(value) != LuaType::Table {
            return Err(
                "flags argument to redis.register_function must be a table representing function flags",
            );
        }
        read_flags(lua, value, function)?;
    } else {
        return Err("unknown argument given to redis.register_function");
    }
    Ok(false)
}

fn read_flags(lua: &mut Lua, table: usize, function: &mut Function) -> Result<(), &'static str> {
    for index in 1.. {
        lua.push_element(table, index);
        let flag = lua.top();
        if lua.kind(flag) == LuaType::Nil {
            break;
        }
        let is_known = lua.string(flag).is_some_and(|name| function.flags.set(&name.to_ascii_lowercase()));
        lua.pop(1);
        if !is_known {
            return Err("unknown flag given");
        }
    }
    Ok(())
}
