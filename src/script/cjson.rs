//! The `cjson` library: writing. Reading: `json_read`.
//!
//! Design: as lua-cjson 2.1 writes: a table whose keys are all positive integers is an array, the empty one an object; an array with
//! few elements far apart is refused unless the script has asked for an object then.
//! Not here: settings of different instances: `cjson.new` gives one that shares them.

use super::api::push_error;
use super::host::KILLED;
use super::json_read;
use super::lua::{Function, Lua, LuaType, Raise, format_number};

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("encode", encode),
    ("decode", json_read::decode),
    ("encode_sparse_array", encode_sparse_array),
    ("encode_max_depth", |lua| set_number(lua, |all| &mut all.encode_depth_max, i32::MAX)),
    ("decode_max_depth", |lua| set_number(lua, |all| &mut all.decode_depth_max, i32::MAX)),
    ("encode_number_precision", |lua| set_number(lua, |all| &mut all.precision, PRECISION_MAX)),
    ("encode_keep_buffer", |lua| set_choice(lua, false, |all| &mut all.keeps_buffer)),
    ("encode_invalid_numbers", |lua| set_choice(lua, true, |all| &mut all.encode_invalid)),
    ("decode_invalid_numbers", |lua| set_choice(lua, false, |all| &mut all.decode_invalid)),
    ("new", new),
];

const PRECISION_MAX: i32 = 14;

/// A setting of numbers that JSON cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    Off,
    On,
    Null,
}

/// What scripts may set, for all scripts to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    sparse_convert: bool,
    sparse_ratio: i32,
    sparse_safe: i32,
    encode_depth_max: i32,
    /// How deep what is read may nest.
    pub decode_depth_max: i32,
    precision: i32,
    keeps_buffer: Choice,
    encode_invalid: Choice,
    /// Whether numbers are read that are none of JSON's.
    pub decode_invalid: Choice,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            sparse_convert: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            precision: PRECISION_MAX,
            keeps_buffer: Choice::On,
            encode_invalid: Choice::Off,
            decode_invalid: Choice::On,
        }
    }
}

/// Adds what is no function to the table on top.
pub fn add_constants(lua: &mut Lua) {
    let table = lua.top();
    lua.push_null();
    lua.set_field(table, "null");
    for (name, text) in [("_NAME", "cjson"), ("_VERSION", "2.1.0")] {
        lua.push_string(text.as_bytes());
        lua.set_field(table, name);
    }
}

fn new(lua: &mut Lua) -> Result<usize, Raise> {
    lua.push_table(0, 16);
    let table = lua.top();
    for (name, function) in FUNCTIONS {
        lua.push_function(*function);
        lua.set_field(table, name);
    }
    add_constants(lua);
    Ok(1)
}

/// From now on these are the settings, of all scripts.
fn tell(lua: &mut Lua, settings: Settings) -> Result<(), Raise> {
    if lua.host().tell_json(settings) {
        return Ok(());
    }
    push_error(lua, KILLED.as_bytes());
    Err(Raise::Value)
}

fn check_count(lua: &Lua, count_max: usize) -> Result<(), Raise> {
    if lua.top() > count_max {
        return Err(Raise::Argument(count_max + 1, "found too many arguments".to_owned()));
    }
    Ok(())
}

fn integer_within(lua: &Lua, index: usize, min: i32, max: i32) -> Result<Option<i32>, Raise> {
    if matches!(lua.kind(index), LuaType::None | LuaType::Nil) {
        return Ok(None);
    }
    let value = lua.check_integer(index)?;
    if value < min.into() || value > max.into() {
        return Err(Raise::Argument(index, format!("expected integer between {min} and {max}")));
    }
    Ok(Some(value as i32))
}

fn set_number(lua: &mut Lua, field: fn(&mut Settings) -> &mut i32, max: i32) -> Result<usize, Raise> {
    check_count(lua, 1)?;
    let mut settings = lua.host().json.get();
    if let Some(value) = integer_within(lua, 1, 1, max)? {
        *field(&mut settings) = value;
        tell(lua, settings)?;
    }
    lua.push_number(f64::from(*field(&mut settings)));
    Ok(1)
}

fn set_choice(
    lua: &mut Lua,
    has_null: bool,
    field: fn(&mut Settings) -> &mut Choice,
) -> Result<usize, Raise> {
    check_count(lua, 1)?;
    let mut settings = lua.host().json.get();
    let chosen = match lua.kind(1) {
        LuaType::None | LuaType::Nil => None,
        LuaType::Boolean => Some(if lua.boolean(1) { Choice::On } else { Choice::Off }),
        _ => match lua.check_text(1)?.as_slice() {
            b"off" => Some(Choice::Off),
            b"on" => Some(Choice::On),
            b"null" if has_null => Some(Choice::Null),
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(Raise::Argument(1, format!("invalid option '{other}'")));
            }
        },
    };
    if let Some(chosen) = chosen {
        *field(&mut settings) = chosen;
        tell(lua, settings)?;
    }
    match *field(&mut settings) {
        Choice::Null => lua.push_string(b"null"),
        choice => lua.push_boolean(choice == Choice::On),
    }
    Ok(1)
}

fn encode_sparse_array(lua: &mut Lua) -> Result<usize, Raise> {
    check_count(lua, 3)?;
    let mut settings = lua.host().json.get();
    settings.sparse_convert = match lua.kind(1) {
        LuaType::None | LuaType::Nil => settings.sparse_convert,
        LuaType::Boolean => lua.boolean(1),
        _ => match lua.check_text(1)?.as_slice() {
            b"off" => false,
            b"on" => true,
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(Raise::Argument(1, format!("invalid option '{other}'")));
            }
        },
    };
    settings.sparse_ratio = integer_within(lua, 2, 0, i32::MAX)?.unwrap_or(settings.sparse_ratio);
    settings.sparse_safe = integer_within(lua, 3, 0, i32::MAX)?.unwrap_or(settings.sparse_safe);
    tell(lua, settings)?;
    lua.push_boolean(settings.sparse_convert);
    lua.push_number(settings.sparse_ratio.into());
    lua.push_number(settings.sparse_safe.into());
    Ok(3)
}

/// What is written, and by which settings.
struct Writer {
    settings: Settings,
    text: Vec<u8>,
    format: std::ffi::CString,
}

fn encode(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 {
        return Err(Raise::Argument(1, "expected 1 argument".to_owned()));
    }
    let settings = lua.host().json.get();
    let format =
        std::ffi::CString::new(format!("%.{}g", settings.precision)).expect("digits have no zero byte");
    let mut writer = Writer { settings, text: Vec::new(), format };
    writer.value(lua, 1, 0)?;
    lua.room(writer.text.len())?;
    lua.push_string(&writer.text);
    Ok(1)
}

fn cannot(lua: &Lua, index: usize, why: &str) -> Raise {
    Raise::Message(format!("Cannot serialise {}: {why}", lua.kind(index).name()))
}

impl Writer {
    fn value(&mut self, lua: &mut Lua, index: usize, depth: i32) -> Result<(), Raise> {
        match lua.kind(index) {
            LuaType::String => self.string(lua.string(index).unwrap_or_default()),
            LuaType::Number => self.number(lua, index)?,
            LuaType::Boolean => {
                let text: &[u8] = if lua.boolean(index) { b"true" } else { b"false" };
                self.text.extend_from_slice(text);
            }
            LuaType::Table => self.table(lua, index, depth + 1)?,
            LuaType::Nil => self.text.extend_from_slice(b"null"),
            LuaType::Light if lua.address(index).is_null() => self.text.extend_from_slice(b"null"),
            _ => return Err(cannot(lua, index, "type not supported")),
        }
        Ok(())
    }

    fn string(&mut self, bytes: &[u8]) {
        self.text.push(b'"');
        let mut plain = 0;
        for (place, byte) in bytes.iter().enumerate() {
            let escape: &[u8] = match byte {
                b'"' => b"\\\"",
                b'\\' => b"\\\\",
                b'/' => b"\\/",
                8 => b"\\b",
                9 => b"\\t",
                10 => b"\\n",
                12 => b"\\f",
                13 => b"\\r",
                0..=31 | 127 => b"",
                _ => continue,
            };
            self.text.extend_from_slice(&bytes[plain..place]);
            plain = place + 1;
            if escape.is_empty() {
                self.text.extend_from_slice(format!("\\u{byte:04x}").as_bytes());
            } else {
                self.text.extend_from_slice(escape);
            }
        }
        self.text.extend_from_slice(&bytes[plain..]);
        self.text.push(b'"');
    }

    fn number(&mut self, lua: &Lua, index: usize) -> Result<(), Raise> {
        let number = lua.number(index).unwrap_or_default();
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Choice::Off => return Err(cannot(lua, index, "must not be NaN or Inf")),
                Choice::Null => {
                    self.text.extend_from_slice(b"null");
                    return Ok(());
                }
                Choice::On if number.is_nan() => {
                    self.text.extend_from_slice(b"nan");
                    return Ok(());
                }
                Choice::On => {}
            }
        }
        let is_short =
            number.fract() == 0.0 && number.abs() < 1e9 && (number != 0.0 || number.is_sign_positive());
        if is_short && self.settings.precision >= 9 {
            self.text.extend_from_slice(itoa::Buffer::new().format(number as i64).as_bytes());
        } else {
            format_number(&self.format, number, &mut self.text);
        }
        Ok(())
    }

    fn table(&mut self, lua: &mut Lua, table: usize, depth: i32) -> Result<(), Raise> {
        if depth > self.settings.encode_depth_max || !lua.fits(4) {
            return Err(Raise::Message(format!("Cannot serialise, excessive nesting ({depth})")));
        }
        lua.room(self.text.len())?;
        match self.array_len(lua, table)? {
            Some(len) if len > 0 => self.array(lua, table, len, depth),
            _ => self.object(lua, table, depth),
        }
    }

    /// How long it is as an array, if it can be one.
    fn array_len(&self, lua: &mut Lua, table: usize) -> Result<Option<usize>, Raise> {
        let (mut max, mut count, mut is_array) = (0_f64, 0_f64, true);
        lua.each(table, |lua, key, _| {
            match lua.number(key) {
                Some(number) if number.floor() == number && number >= 1.0 => {
                    max = max.max(number);
                    count += 1.0;
                }
                _ => is_array = false,
            }
            Ok(())
        })?;
        if !is_array {
            return Ok(None);
        }
        let Settings { sparse_ratio, sparse_safe, sparse_convert, .. } = self.settings;
        if sparse_ratio > 0 && max > count * f64::from(sparse_ratio) && max > f64::from(sparse_safe) {
            if !sparse_convert {
                return Err(cannot(lua, table, "excessively sparse array"));
            }
            return Ok(None);
        }
        Ok(Some(max as usize))
    }

    fn array(&mut self, lua: &mut Lua, table: usize, len: usize, depth: i32) -> Result<(), Raise> {
        self.text.push(b'[');
        for index in 1..=len {
            if index > 1 {
                self.text.push(b',');
            }
            lua.push_element(table, index);
            self.value(lua, lua.top(), depth)?;
            lua.pop(1);
        }
        self.text.push(b']');
        Ok(())
    }

    fn object(&mut self, lua: &mut Lua, table: usize, depth: i32) -> Result<(), Raise> {
        self.text.push(b'{');
        let mut is_first = true;
        lua.each(table, |lua, key, value| {
            if !std::mem::take(&mut is_first) {
                self.text.push(b',');
            }
            match lua.kind(key) {
                LuaType::Number => {
                    self.text.push(b'"');
                    self.number(lua, key)?;
                    self.text.push(b'"');
                }
                LuaType::String => self.string(lua.string(key).unwrap_or_default()),
                _ => return Err(cannot(lua, key, "table key must be a number or string")),
            }
            self.text.push(b':');
            self.value(lua, value, depth)
        })?;
        self.text.push(b'}');
        Ok(())
    }
}
