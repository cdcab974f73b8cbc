//! The `redis` table: what scripts call the server with.

use super::host::{KILLED, REPL_ALL, REPL_AOF, REPL_REPLICA, Request, Words};
use super::lua::{Function, Lua, LuaType, Raise};
use super::reply::push_reply;
use crate::config::REDIS_VERSION;
use crate::resp::Protocol;
use crate::resp::number::F64Buffer;

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("call", call),
    ("pcall", pcall),
    ("log", log),
    ("setresp", setresp),
    ("sha1hex", sha1hex),
    ("error_reply", error_reply),
    ("status_reply", status_reply),
    ("set_repl", set_repl),
    ("acl_check_cmd", acl_check_cmd),
    ("replicate_commands", replicate_commands),
    ("breakpoint", breakpoint),
    ("debug", debug),
];

/// Its constants.
pub const NUMBERS: &[(&str, f64)] = &[
    ("LOG_DEBUG", 0.0),
    ("LOG_VERBOSE", 1.0),
    ("LOG_NOTICE", 2.0),
    ("LOG_WARNING", 3.0),
    ("REPL_NONE", 0.0),
    ("REPL_AOF", REPL_AOF as f64),
    ("REPL_SLAVE", REPL_REPLICA as f64),
    ("REPL_REPLICA", REPL_REPLICA as f64),
    ("REPL_ALL", REPL_ALL as f64),
];

/// The version of Redis that scripts find themselves on, as a number: a byte for each part.
pub fn version_number() -> f64 {
    REDIS_VERSION
        .split('.')
        .fold(0.0, |number, part| number * 256.0 + part.parse::<f64>().unwrap_or_default())
}

/// Bytes of a log line.
const LOG_LINE_BYTES_MAX: usize = 1024;
/// Lines of one script.
const LOG_LINES_MAX: usize = 10_000;

/// Raises what a script sees as an error of a command.
pub fn raise(lua: &mut Lua, text: &str) -> Raise {
    push_error(lua, text.as_bytes());
    Raise::Value
}

/// Pushes an error of the kind that commands have; without a code its code is `ERR`.
pub fn push_error(lua: &mut Lua, text: &[u8]) {
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
    let text = &text[..end];
    let text = match text.strip_prefix(b"-") {
        Some(coded) if coded.contains(&b' ') => coded.to_vec(),
        Some(plain) => [b"ERR ", plain].concat(),
        None => [b"ERR ", text].concat(),
    };
    lua.push_table(0, 1);
    lua.push_string(&text);
    lua.set_field(lua.top() - 1, "err");
}

fn call(lua: &mut Lua) -> Result<usize, Raise> {
    if run(lua)? {
        return Ok(1);
    }
    Err(Raise::Value)
}

fn pcall(lua: &mut Lua) -> Result<usize, Raise> {
    run(lua)?;
    Ok(1)
}

/// Has the worker run a command and pushes its reply; false if that is an error.
fn run(lua: &mut Lua) -> Result<bool, Raise> {
    if let Err(why) = gather(lua) {
        push_error(lua, why.as_bytes());
        return Ok(false);
    }
    lua.host().ask(Request::Call);
    if lua.host().is_killed() {
        push_error(lua, KILLED.as_bytes());
        return Err(Raise::Value);
    }
    // What is read from is taken out of the cell, as the interpreter may raise meanwhile.
    let mut output = lua.host().reply.take();
    let pushed = match output.as_flat() {
        Some(bytes) => push_reply(lua, bytes).map(|_| bytes[0] == b'-'),
        None => {
            let bytes = output.to_vec();
            push_reply(lua, &bytes).map(|_| bytes[0] == b'-')
        }
    };
    output.clear();
    *lua.host().reply.borrow_mut() = output;
    pushed.map(|is_error| !is_error)
}

/// Puts the arguments together as a command.
fn gather(lua: &mut Lua) -> Result<(), &'static str> {
    if lua.top() == 0 {
        return Err("Please specify at least one argument for this redis lib call");
    }
    let mut words = lua.host().words.borrow_mut();
    words.clear();
    for index in 1..=lua.top() {
        let fits = if let Some(bytes) = lua.string(index) {
            words.push(bytes)
        } else if let Some(number) = lua.number(index) {
            push_number(&mut words, number)
        } else {
            return Err("Lua redis lib command arguments must be strings or integers");
        };
        if !fits {
            return Err("command is too large");
        }
    }
    Ok(())
}

fn push_number(words: &mut Words, number: f64) -> bool {
    if number.is_nan() {
        return words.push(if number.is_sign_negative() { b"-nan" } else { b"nan" });
    }
    words.push(F64Buffer::new().format(if number == 0.0 { 0.0 } else { number }))
}

/// `redis.log`.
pub fn log(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() < 2 {
        return Err(raise(lua, "redis.log() requires two arguments or more."));
    }
    let Some(level) = lua.to_number(1) else {
        return Err(raise(lua, "First argument must be a number (log level)."));
    };
    let level = level as i64;
    if !(0..=3).contains(&level) {
        return Err(raise(lua, "Invalid log level."));
    }
    let words: Vec<Vec<u8>> = (2..=lua.top()).filter_map(|index| lua.text(index)).collect();
    let mut line = words.join(&b' ');
    line.truncate(LOG_LINE_BYTES_MAX);
    let mut lines = lua.host().log_lines.borrow_mut();
    if lines.len() < LOG_LINES_MAX {
        lines.push((level as u8, String::from_utf8_lossy(&line).into_owned()));
    }
    Ok(0)
}

fn setresp(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 {
        return Err(raise(lua, "redis.setresp() requires one argument."));
    }
    let protocol = match lua.to_number(1).map(|number| number as i64) {
        Some(2) => Protocol::Resp2,
        Some(3) => Protocol::Resp3,
        _ => return Err(raise(lua, "RESP version must be 2 or 3.")),
    };
    lua.host().protocol.set(protocol);
    Ok(0)
}

fn sha1hex(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 {
        return Err(raise(lua, "wrong number of arguments"));
    }
    let text = lua.text(1).unwrap_or_default();
    let digest = sha1_smol::Sha1::from(&text).digest().to_string();
    lua.push_string(digest.as_bytes());
    Ok(1)
}

fn error_reply(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 || lua.kind(1) != LuaType::String {
        push_error(lua, b"wrong number or type of arguments");
        return Ok(1);
    }
    let text = lua.string(1).unwrap_or_default();
    let text = match text.first() {
        Some(b'-') => text.to_vec(),
        _ => [b"-", text].concat(),
    };
    push_error(lua, &text);
    Ok(1)
}

fn status_reply(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 || lua.kind(1) != LuaType::String {
        push_error(lua, b"wrong number or type of arguments");
        return Ok(1);
    }
    lua.push_table(0, 1);
    lua.push_value(1);
    lua.set_field(lua.top() - 1, "ok");
    Ok(1)
}

fn set_repl(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 {
        return Err(raise(lua, "redis.set_repl() requires one argument."));
    }
    let flags = lua.to_number(1).unwrap_or_default() as i64;
    if flags & !i64::from(REPL_ALL) != 0 {
        return Err(raise(
            lua,
            "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        ));
    }
    lua.host().repl.set(flags as u8);
    Ok(0)
}

fn acl_check_cmd(lua: &mut Lua) -> Result<usize, Raise> {
    if let Err(why) = gather(lua) {
        return Err(raise(lua, why));
    }
    lua.host().ask(Request::CheckAcl);
    match lua.host().verdict.get() {
        Some(may_run) => lua.push_boolean(may_run),
        None => return Err(raise(lua, "Invalid command passed to redis.acl_check_cmd()")),
    }
    Ok(1)
}

/// Scripts are repeated by their effects, always.
fn replicate_commands(lua: &mut Lua) -> Result<usize, Raise> {
    lua.push_boolean(true);
    Ok(1)
}

/// There is no debugger to stop in.
fn breakpoint(lua: &mut Lua) -> Result<usize, Raise> {
    lua.push_boolean(false);
    Ok(1)
}

fn debug(_: &mut Lua) -> Result<usize, Raise> {
    Ok(0)
}
