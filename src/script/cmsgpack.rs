//! The `cmsgpack` library, as lua-cmsgpack 0.4 packs and reads.

use super::lua::{Function, Lua, LuaType, Raise, out_of_memory};

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] =
    &[("pack", pack), ("unpack", unpack), ("unpack_one", unpack_one), ("unpack_limit", unpack_limit)];

/// Tables that lie deeper than this are packed as nil.
const NESTING_MAX: u32 = 16;

/// Adds what is no function to the table on top.
pub fn add_constants(lua: &mut Lua) {
    let table = lua.top();
    for (name, text) in [
        ("_NAME", "cmsgpack"),
        ("_VERSION", "lua-cmsgpack 0.4.0"),
        ("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo"),
        ("_DESCRIPTION", "MessagePack C implementation for Lua"),
    ] {
        lua.push_string(text.as_bytes());
        lua.set_field(table, name);
    }
}

fn pack(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() == 0 {
        return Err(Raise::Argument(0, "MessagePack pack needs input.".to_owned()));
    }
    let mut packed = Vec::new();
    for index in 1..=lua.top() {
        pack_value(lua, index, 0, &mut packed)?;
    }
    lua.room(packed.len())?;
    lua.push_string(&packed);
    Ok(1)
}

fn pack_value(lua: &mut Lua, index: usize, nesting: u32, packed: &mut Vec<u8>) -> Result<(), Raise> {
    match lua.kind(index) {
        LuaType::String => pack_string(lua.string(index).unwrap_or_default(), packed),
        LuaType::Boolean => packed.push(if lua.boolean(index) { 0xC3 } else { 0xC2 }),
        LuaType::Number => pack_number(lua.number(index).unwrap_or_default(), packed),
        LuaType::Table if nesting < NESTING_MAX => {
            lua.room(packed.len())?;
            return pack_table(lua, index, nesting + 1, packed);
        }
        _ => packed.push(0xC0),
    }
    Ok(())
}

fn pack_string(bytes: &[u8], packed: &mut Vec<u8>) {
    match bytes.len() {
        len @ 0..=31 => packed.push(0xA0 | len as u8),
        len @ 32..=0xFF => packed.extend_from_slice(&[0xD9, len as u8]),
        len @ 0x100..=0xFFFF => {
            packed.push(0xDA);
            packed.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            packed.push(0xDB);
            packed.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
    packed.extend_from_slice(bytes);
}

fn pack_number(number: f64, packed: &mut Vec<u8>) {
    if number.fract() == 0.0 && (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number)
    {
        return pack_integer(number as i64, packed);
    }
    let short = number as f32;
    if f64::from(short) == number {
        packed.push(0xCA);
        packed.extend_from_slice(&short.to_be_bytes());
    } else {
        packed.push(0xCB);
        packed.extend_from_slice(&number.to_be_bytes());
    }
}

fn pack_integer(number: i64, packed: &mut Vec<u8>) {
    let mut with = |kind: u8, bytes: &[u8]| {
        packed.push(kind);
        packed.extend_from_slice(bytes);
    };
    match number {
        -32..=0x7F => packed.push(number as u8),
        0x80..=0xFF => with(0xCC, &[number as u8]),
        0x100..=0xFFFF => with(0xCD, &(number as u16).to_be_bytes()),
        0x1_0000..=0xFFFF_FFFF => with(0xCE, &(number as u32).to_be_bytes()),
        0x1_0000_0000.. => with(0xCF, &number.to_be_bytes()),
        -0x80..=-33 => with(0xD0, &[number as u8]),
        -0x8000..=-0x81 => with(0xD1, &(number as i16).to_be_bytes()),
        -0x8000_0000..=-0x8001 => with(0xD2, &(number as i32).to_be_bytes()),
        _ => with(0xD3, &number.to_be_bytes()),
    }
}

fn pack_table(lua: &mut Lua, table: usize, nesting: u32, packed: &mut Vec<u8>) -> Result<(), Raise> {
    if !lua.fits(4) {
        return Err(out_of_memory());
    }
    let (mut count, mut max, mut is_array) = (0_usize, 0_f64, true);
    lua.each(table, |lua, key, _| {
        count += 1;
        match lua.number(key) {
            Some(number) if number > 0.0 && number.fract() == 0.0 => max = max.max(number),
            _ => is_array = false,
        }
        Ok(())
    })?;
    if is_array && max == count as f64 {
        pack_len(count, 0x90, 0xDC, packed);
        for index in 1..=count {
            lua.push_element(table, index);
            pack_value(lua, lua.top(), nesting, packed)?;
            lua.pop(1);
        }
        return Ok(());
    }
    pack_len(count, 0x80, 0xDE, packed);
    lua.each(table, |lua, key, value| {
        pack_value(lua, key, nesting, packed)?;
        pack_value(lua, value, nesting, packed)
    })
}

/// The header of an array or a map: short, of 16 bits, or (the next kind) of 32.
fn pack_len(len: usize, short: u8, kind: u8, packed: &mut Vec<u8>) {
    match len {
        0..=15 => packed.push(short | len as u8),
        16..=0xFFFF => {
            packed.push(kind);
            packed.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            packed.push(kind + 1);
            packed.extend_from_slice(&(len as u32).to_be_bytes());
        }
    }
}

fn unpack(lua: &mut Lua) -> Result<usize, Raise> {
    read_all(lua, 0, 0)
}

fn unpack_one(lua: &mut Lua) -> Result<usize, Raise> {
    let offset = lua.number_or(2, 0.0)? as i64;
    lua.check_text(1)?;
    lua.pop(lua.top() - 1);
    read_all(lua, 1, offset)
}

fn unpack_limit(lua: &mut Lua) -> Result<usize, Raise> {
    let limit = lua.check_integer(2)?;
    let offset = lua.number_or(3, 0.0)? as i64;
    lua.check_text(1)?;
    lua.pop(lua.top() - 1);
    read_all(lua, limit, offset)
}

/// Reads so many objects (0: all) from an offset on. Where their number was limited, the place behind comes first, or -1 at the end.
fn read_all(lua: &mut Lua, limit: i64, offset: i64) -> Result<usize, Raise> {
    let text = lua.check_text(1)?;
    let len = text.len();
    if offset < 0 || limit < 0 {
        return Err(Raise::Message(format!(
            "Invalid request to unpack with offset of {offset} and limit of {len}."
        )));
    }
    let offset = offset as usize;
    if offset > len {
        return Err(Raise::Message(format!("Start offset {offset} greater than input length {len}.")));
    }
    let (is_limited, limit) = (limit > 0, if limit == 0 { i64::MAX } else { limit });
    let mut reader = Reader { rest: &text[offset..] };
    let first = lua.top() + 1;
    let mut count = 0;
    while count < limit && !reader.rest.is_empty() {
        reader.value(lua)?;
        count += 1;
    }
    if is_limited {
        let place = len - reader.rest.len();
        lua.push_number(if reader.rest.is_empty() { -1.0 } else { place as f64 });
        lua.insert(first);
    }
    Ok(count as usize + usize::from(is_limited))
}

struct Reader<'a> {
    rest: &'a [u8],
}

fn missing() -> Raise {
    Raise::Message("Missing bytes in input.".to_owned())
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Raise> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or_else(missing)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array_of<const LEN: usize>(&mut self) -> Result<[u8; LEN], Raise> {
        self.take(LEN).map(|bytes| bytes.try_into().expect("so many were asked for"))
    }

    fn len(&mut self, bytes: usize) -> Result<usize, Raise> {
        self.take(bytes).map(|bytes| bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)))
    }

    fn value(&mut self, lua: &mut Lua) -> Result<(), Raise> {
        if !lua.fits(4) {
            return Err(Raise::Message("stack overflow".to_owned()));
        }
        let kind = self.take(1)?[0];
        let number = match kind {
            0x00..=0x7F | 0xE0..=0xFF => f64::from(kind.cast_signed()),
            0xC0 => {
                lua.push_nil();
                return Ok(());
            }
            0xC2 | 0xC3 => {
                lua.push_boolean(kind == 0xC3);
                return Ok(());
            }
            0xCA => f64::from(f32::from_be_bytes(self.array_of()?)),
            0xCB => f64::from_be_bytes(self.array_of()?),
            0xCC => f64::from(self.array_of::<1>()?[0]),
            0xCD => f64::from(u16::from_be_bytes(self.array_of()?)),
            0xCE => f64::from(u32::from_be_bytes(self.array_of()?)),
            0xCF | 0xD3 => i64::from_be_bytes(self.array_of()?) as f64,
            0xD0 => f64::from(i8::from_be_bytes(self.array_of()?)),
            0xD1 => f64::from(i16::from_be_bytes(self.array_of()?)),
            0xD2 => f64::from(i32::from_be_bytes(self.array_of()?)),
            0xA0..=0xBF => return self.string(lua, usize::from(kind & 31)),
            0xD9 => return self.sized(lua, 1, Self::string),
            0xDA => return self.sized(lua, 2, Self::string),
            0xDB => return self.sized(lua, 4, Self::string),
            0x90..=0x9F => return self.array(lua, usize::from(kind & 15)),
            0xDC => return self.sized(lua, 2, Self::array),
            0xDD => return self.sized(lua, 4, Self::array),
            0x80..=0x8F => return self.map(lua, usize::from(kind & 15)),
            0xDE => return self.sized(lua, 2, Self::map),
            0xDF => return self.sized(lua, 4, Self::map),
            _ => return Err(Raise::Message("Bad data format in input.".to_owned())),
        };
        lua.push_number(number);
        Ok(())
    }

    fn sized(
        &mut self,
        lua: &mut Lua,
        bytes: usize,
        read: fn(&mut Self, &mut Lua, usize) -> Result<(), Raise>,
    ) -> Result<(), Raise> {
        let len = self.len(bytes)?;
        read(self, lua, len)
    }

    fn string(&mut self, lua: &mut Lua, len: usize) -> Result<(), Raise> {
        let bytes = self.take(len)?;
        lua.room(len)?;
        lua.push_string(bytes);
        Ok(())
    }

    fn array(&mut self, lua: &mut Lua, len: usize) -> Result<(), Raise> {
        lua.push_table(0, 0);
        let table = lua.top();
        for index in 1..=len {
            lua.room(64)?;
            self.value(lua)?;
            lua.set_element(table, index);
        }
        Ok(())
    }

    fn map(&mut self, lua: &mut Lua, len: usize) -> Result<(), Raise> {
        lua.push_table(0, 0);
        let table = lua.top();
        for _ in 0..len {
            lua.room(64)?;
            self.value(lua)?;
            let key = lua.top();
            let is_key = lua.kind(key) != LuaType::Nil && !lua.number(key).is_some_and(f64::is_nan);
            self.value(lua)?;
            if !is_key {
                return Err(Raise::Message("Bad data format in input.".to_owned()));
            }
            lua.set(table);
        }
        Ok(())
    }
}
