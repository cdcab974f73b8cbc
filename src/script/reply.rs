//! Replies of commands to values of Lua, and values that scripts return to replies.
//!
//! Design: the reply to a command was written as it would be for a client, in the protocol that the script has asked for with
//! `redis.setresp`; it is read back here. What a script returns is written to its client at once; how deep it may nest is limited by
//! the interpreter's stack.
//!
//! | RESP2 | RESP3 | Lua |
//! |---|---|---|
//! | integer | | number |
//! | bulk | verbatim: `{verbatim_string={string, format}}` | string |
//! | simple string, error | | `{ok}`, `{err}` |
//! | array | map: `{map}`, set: `{set}` with `true` | table |
//! | null | null: `nil` | `false` |
//! | | double: `{double}`, big number: `{big_number}`, boolean | |

use super::lua::{Lua, LuaType, Raise, out_of_memory};
use crate::resp::number::parse_f64;
use crate::resp::{Protocol, Reply};

/// Values on the stack for each level of nesting, with what is pushed in passing.
const VALUES_PER_LEVEL: usize = 4;

/// Reads one reply from the front of `bytes` and pushes it.
pub fn push_reply<'b>(lua: &mut Lua, bytes: &'b [u8]) -> Result<&'b [u8], Raise> {
    if !lua.fits(VALUES_PER_LEVEL) {
        return Err(out_of_memory());
    }
    let end = memchr::memchr(b'\n', bytes).expect("a reply is made of lines");
    let (line, rest) = (&bytes[1..end - 1], &bytes[end + 1..]);
    let len = || if line.first() == Some(&b'-') { None } else { Some(unsigned(line)) };
    match bytes[0] {
        b':' => lua.push_number(integer(line) as f64),
        b'$' => {
            let Some(len) = len() else {
                lua.push_boolean(false);
                return Ok(rest);
            };
            lua.room(len)?;
            lua.push_string(&rest[..len]);
            return Ok(&rest[len + 2..]);
        }
        b'+' => push_wrapped(lua, "ok", line),
        b'-' => push_error(lua, line),
        b'_' => lua.push_nil(),
        b'#' => lua.push_boolean(line == b"t"),
        b',' => {
            lua.push_table(0, 1);
            lua.push_number(parse_f64(line).unwrap_or(f64::NAN));
            lua.set_field(lua.top() - 1, "double");
        }
        b'(' => push_wrapped(lua, "big_number", line),
        b'=' => {
            let len = unsigned(line);
            lua.room(len)?;
            let (text, after) = (&rest[..len], &rest[len + 2..]);
            lua.push_table(0, 1);
            lua.push_table(0, 2);
            lua.push_string(&text[4..]);
            lua.set_field(lua.top() - 1, "string");
            lua.push_string(&text[..3]);
            lua.set_field(lua.top() - 1, "format");
            lua.set_field(lua.top() - 1, "verbatim_string");
            return Ok(after);
        }
        b'*' | b'>' => {
            let Some(len) = len() else {
                lua.push_boolean(false);
                return Ok(rest);
            };
            return push_array(lua, len, rest);
        }
        b'%' => return push_pairs(lua, "map", unsigned(line), true, rest),
        b'~' => return push_pairs(lua, "set", unsigned(line), false, rest),
        other => unreachable!("no command replies with '{}'", other.escape_ascii()),
    }
    Ok(rest)
}

fn push_wrapped(lua: &mut Lua, name: &str, text: &[u8]) {
    lua.push_table(0, 1);
    lua.push_string(text);
    lua.set_field(lua.top() - 1, name);
}

/// A command's error, which Redis has counted when it was replied.
fn push_error(lua: &mut Lua, text: &[u8]) {
    lua.push_table(0, 2);
    lua.push_string(text);
    lua.set_field(lua.top() - 1, "err");
    lua.push_boolean(true);
    lua.set_field(lua.top() - 1, "ignore_error_stats_update");
}

fn push_array<'b>(lua: &mut Lua, len: usize, mut rest: &'b [u8]) -> Result<&'b [u8], Raise> {
    // Its elements take room as they come; the array itself does at once.
    lua.room(len * size_of::<[u64; 2]>())?;
    // Where elements may be nil the length that Lua finds depends on how the table has grown: in Redis from nothing.
    let has_nil = lua.host().protocol.get() == Protocol::Resp3;
    lua.push_table(if has_nil { 0 } else { len }, 0);
    let table = lua.top();
    for index in 1..=len {
        rest = push_reply(lua, rest)?;
        lua.set_element(table, index);
    }
    Ok(rest)
}

fn push_pairs<'b>(
    lua: &mut Lua,
    name: &str,
    len: usize,
    has_values: bool,
    mut rest: &'b [u8],
) -> Result<&'b [u8], Raise> {
    lua.room(len * size_of::<[u64; 5]>())?;
    lua.push_table(0, 1);
    lua.push_table(0, len);
    let table = lua.top();
    for _ in 0..len {
        rest = push_reply(lua, rest)?;
        if has_values {
            rest = push_reply(lua, rest)?;
        } else {
            lua.push_boolean(true);
        }
        if lua.kind(table + 1) == LuaType::Nil {
            lua.pop(2);
        } else {
            lua.set(table);
        }
    }
    lua.set_field(table - 1, name);
    Ok(rest)
}

fn unsigned(line: &[u8]) -> usize {
    line.iter().fold(0, |value, digit| value * 10 + usize::from(digit - b'0'))
}

fn integer(line: &[u8]) -> i64 {
    match line {
        [b'-', digits @ ..] => {
            digits.iter().fold(0, |value: i64, digit| value * 10 - i64::from(digit - b'0'))
        }
        digits => digits.iter().fold(0, |value: i64, digit| value * 10 + i64::from(digit - b'0')),
    }
}

/// Writes the value on top, which is taken off. `speaks` is what the script has asked for with `redis.setresp`; the reply is in
/// the client's own protocol.
pub fn write_value(lua: &mut Lua, speaks: Protocol, reply: &mut Reply<'_>) {
    let value = lua.top();
    match lua.kind(value) {
        LuaType::String => reply.bulk(lua.string(value).unwrap_or_default()),
        LuaType::Number => reply.integer(whole(lua.number(value).unwrap_or_default())),
        LuaType::Boolean => {
            let is_true = lua.boolean(value);
            match (speaks, is_true) {
                (Protocol::Resp3, _) => reply.boolean(is_true),
                (Protocol::Resp2, true) => reply.integer(1),
                (Protocol::Resp2, false) => reply.null(),
            }
        }
        LuaType::Table => write_table(lua, speaks, reply),
        _ => reply.null(),
    }
    lua.pop(lua.top() + 1 - value);
}

/// Cuts a number as a conversion of C does on x86-64.
fn whole(number: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

/// Writes the table on top.
fn write_table(lua: &mut Lua, speaks: Protocol, reply: &mut Reply<'_>) {
    let table = lua.top();
    if !lua.fits(2 * VALUES_PER_LEVEL) {
        return reply.error("ERR reached lua stack limit");
    }
    lua.push_field(table, "err");
    if lua.kind(table + 1) == LuaType::String {
        let text = lua.string(table + 1).unwrap_or_default();
        return reply.error_bytes(error_line(text));
    }
    lua.pop(1);
    lua.push_field(table, "ok");
    if let Some(text) = lua.string(table + 1) {
        return write_line(reply, text);
    }
    lua.pop(1);
    lua.push_field(table, "double");
    if let Some(number) = lua.number(table + 1) {
        return reply.double(number);
    }
    lua.pop(1);
    lua.push_field(table, "map");
    if lua.kind(table + 1) == LuaType::Table {
        return write_pairs(lua, speaks, true, reply);
    }
    lua.pop(1);
    lua.push_field(table, "set");
    if lua.kind(table + 1) == LuaType::Table {
        return write_pairs(lua, speaks, false, reply);
    }
    lua.pop(1);
    lua.push_field(table, "big_number");
    if let Some(digits) = lua.string(table + 1) {
        let digits: Vec<u8> =
            digits.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
        return reply.big_number(&digits);
    }
    lua.pop(1);
    lua.push_field(table, "verbatim_string");
    if lua.kind(table + 1) == LuaType::Table && write_verbatim(lua, reply) {
        return;
    }
    lua.pop(lua.top() - table);
    let (deferred, mut len) = (reply.defer_array(), 0);
    loop {
        lua.push_element(table, len + 1);
        if lua.kind(table + 1) == LuaType::Nil {
            break;
        }
        len += 1;
        write_value(lua, speaks, reply);
    }
    reply.finish_array(deferred, len);
}

/// The text of an error as it is sent: a line, without the ends of lines around it.
pub fn error_line(text: &[u8]) -> &[u8] {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let text = c_string(text);
    let start = text.iter().position(|byte| !is_end(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_end(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// A text as far as C reads it: up to the first zero byte.
pub fn c_string(text: &[u8]) -> &[u8] {
    &text[..memchr::memchr(0, text).unwrap_or(text.len())]
}

/// A status: a line, which no text may break.
fn write_line(reply: &mut Reply<'_>, text: &[u8]) {
    let text: Vec<u8> =
        c_string(text).iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }).collect();
    reply.raw(b"+");
    reply.raw(&text);
    reply.raw(b"\r\n");
}

/// Writes the table on top as a map, or its keys as a set.
fn write_pairs(lua: &mut Lua, speaks: Protocol, has_values: bool, reply: &mut Reply<'_>) {
    let table = lua.top();
    let (deferred, mut len) = (reply.defer(), 0);
    // A pair that is not written any more is none: this never fails.
    let written = lua.each(table, |lua, key, value| {
        lua.push_value(key);
        write_value(lua, speaks, reply);
        if has_values {
            lua.push_value(value);
            write_value(lua, speaks, reply);
        }
        len += 1;
        Ok(())
    });
    debug_assert!(written.is_ok(), "nothing in it fails");
    if has_values {
        reply.finish_map(deferred, len);
    } else {
        reply.finish_set(deferred, len);
    }
}

/// Writes the table on top as a verbatim string, if it is one.
fn write_verbatim(lua: &mut Lua, reply: &mut Reply<'_>) -> bool {
    let table = lua.top();
    lua.push_field(table, "format");
    lua.push_field(table, "string");
    match (lua.string(table + 1), lua.string(table + 2)) {
        (Some(format), Some(text)) => {
            let mut kind = [b' '; 3];
            kind.iter_mut().zip(format).for_each(|(to, from)| *to = *from);
            reply.verbatim(kind, text);
            true
        }
        _ => false,
    }
}
