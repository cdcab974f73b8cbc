//! The `struct` library: values to bytes and back, by a format.

use super::lua::{Function, Lua, Raise};

/// Its functions.
pub const FUNCTIONS: &[(&str, Function)] = &[("pack", pack), ("unpack", unpack), ("size", size)];

/// Bytes of the longest integer, and of what is aligned to most.
const INTEGER_BYTES_MAX: usize = 32;
const ALIGNMENT_NATIVE: usize = 8;

/// How a format is read.
struct Format {
    text: Vec<u8>,
    place: usize,
    is_little: bool,
    alignment: usize,
}

/// One of its options.
enum Option {
    Integer {
        bytes: usize,
        is_signed: bool,
    },
    Float,
    Double,
    Padding,
    /// A string of so many bytes; of none: all, or as many as the number before says.
    Bytes(usize),
    /// A string that ends with a zero byte.
    Text,
}

impl Format {
    fn of(lua: &Lua) -> Result<Self, Raise> {
        Ok(Self { text: lua.check_text(1)?, place: 0, is_little: true, alignment: 1 })
    }

    fn number(&mut self) -> Result<std::option::Option<usize>, Raise> {
        let mut value = None;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.place) {
            let digit = usize::from(digit - b'0');
            let so_far = value.unwrap_or(0_usize);
            if so_far > (i32::MAX as usize - digit) / 10 {
                return Err(Raise::Message("integral size overflow".to_owned()));
            }
            value = Some(so_far * 10 + digit);
            self.place += 1;
        }
        Ok(value)
    }

    /// The next option with the padding before it, at this offset.
    fn next(&mut self, offset: usize) -> Result<std::option::Option<(Option, usize)>, Raise> {
        loop {
            let Some(&option) = self.text.get(self.place).filter(|byte| **byte != 0) else { return Ok(None) };
            self.place += 1;
            let (option, aligned) = match option {
                b'b' => (Option::Integer { bytes: 1, is_signed: true }, 1),
                b'B' => (Option::Integer { bytes: 1, is_signed: false }, 1),
                b'h' => (Option::Integer { bytes: 2, is_signed: true }, 2),
                b'H' => (Option::Integer { bytes: 2, is_signed: false }, 2),
                b'l' => (Option::Integer { bytes: 8, is_signed: true }, 8),
                b'L' | b'T' => (Option::Integer { bytes: 8, is_signed: false }, 8),
                b'i' | b'I' => {
                    let bytes = self.number()?.unwrap_or(4);
                    if bytes > INTEGER_BYTES_MAX {
                        return Err(Raise::Message(format!(
                            "integral size {bytes} is larger than limit of {INTEGER_BYTES_MAX}"
                        )));
                    }
                    (Option::Integer { bytes, is_signed: option == b'i' }, bytes)
                }
                b'f' => (Option::Float, 4),
                b'd' => (Option::Double, 8),
                b'x' => (Option::Padding, 1),
                b's' => (Option::Text, 0),
                b'c' => (Option::Bytes(self.number()?.unwrap_or(1)), 0),
                b' ' => continue,
                b'>' | b'<' => {
                    self.is_little = option == b'<';
                    continue;
                }
                b'!' => {
                    let alignment = self.number()?.unwrap_or(ALIGNMENT_NATIVE);
                    if alignment == 0 || !alignment.is_power_of_two() {
                        return Err(Raise::Message(format!("alignment {alignment} is not a power of 2")));
                    }
                    self.alignment = alignment;
                    continue;
                }
                other => {
                    let other = char::from(other);
                    return Err(Raise::Argument(1, format!("invalid format option '{other}'")));
                }
            };
            let aligned = aligned.min(self.alignment);
            let padding = if aligned > 1 { (aligned - (offset & (aligned - 1))) & (aligned - 1) } else { 0 };
            return Ok(Some((option, padding)));
        }
    }
}

/// Cuts a number as a conversion of C does on x86-64.
fn unsigned(number: f64) -> u64 {
    const OVER: f64 = 18_446_744_073_709_551_616.0;
    const NO_INTEGER: u64 = 1 << 63;
    if number.is_nan() || number < -OVER / 2.0 {
        NO_INTEGER
    } else if number < 0.0 {
        (number as i64).cast_unsigned()
    } else if number < OVER {
        number as u64
    } else {
        0
    }
}

fn pack(lua: &mut Lua) -> Result<usize, Raise> {
    let mut format = Format::of(lua)?;
    let (mut packed, mut argument) = (Vec::new(), 2);
    // As the library keeps a mark there, a missing argument is nil.
    lua.push_nil();
    while let Some((option, padding)) = format.next(packed.len())? {
        packed.resize(packed.len() + padding, 0);
        match option {
            Option::Padding => {
                packed.push(0);
                continue;
            }
            Option::Integer { bytes, .. } => {
                let number = lua.check_number(argument)?;
                let value = unsigned(number);
                pack_integer(value, bytes, format.is_little, &mut packed);
            }
            Option::Float => {
                let number = lua.check_number(argument)? as f32;
                packed.extend_from_slice(&if format.is_little {
                    number.to_le_bytes()
                } else {
                    number.to_be_bytes()
                });
            }
            Option::Double => {
                let number = lua.check_number(argument)?;
                packed.extend_from_slice(&if format.is_little {
                    number.to_le_bytes()
                } else {
                    number.to_be_bytes()
                });
            }
            Option::Bytes(len) => {
                let bytes = lua.check_text(argument)?;
                let len = if len == 0 { bytes.len() } else { len };
                let bytes =
                    bytes.get(..len).ok_or(Raise::Argument(argument + 1, "string too short".to_owned()))?;
                packed.extend_from_slice(bytes);
            }
            Option::Text => {
                packed.extend_from_slice(&lua.check_text(argument)?);
                packed.push(0);
            }
        }
        argument += 1;
        lua.room(packed.len())?;
    }
    lua.push_string(&packed);
    Ok(1)
}

fn pack_integer(value: u64, bytes: usize, is_little: bool, packed: &mut Vec<u8>) {
    let mut digits = [0; INTEGER_BYTES_MAX];
    digits[..8].copy_from_slice(&value.to_le_bytes());
    let digits = &mut digits[..bytes];
    if !is_little {
        digits.reverse();
    }
    packed.extend_from_slice(digits);
}

fn unpack(lua: &mut Lua) -> Result<usize, Raise> {
    let mut format = Format::of(lua)?;
    let data = lua.check_text(2)?;
    let first = lua.number_or(3, 1.0)? as i64;
    if first == 0 {
        return Err(Raise::Argument(3, "offset must be 1 or greater".to_owned()));
    }
    let mut place = (first - 1).cast_unsigned() as usize;
    let (mut count, mut last) = (0, None);
    let short = || Raise::Argument(2, "data string too short".to_owned());
    while let Some((option, padding)) = format.next(place)? {
        place = place.checked_add(padding).ok_or_else(short)?;
        let len = match option {
            Option::Integer { bytes, .. } => bytes,
            Option::Float => 4,
            Option::Double => 8,
            Option::Padding => 1,
            Option::Bytes(0) => match last.take() {
                Some(len) => {
                    lua.pop(1);
                    count -= 1;
                    len
                }
                None => return Err(Raise::Message("format 'c0' needs a previous size".to_owned())),
            },
            Option::Bytes(len) => len,
            Option::Text => 0,
        };
        let rest = data.get(place..).ok_or_else(short)?;
        let bytes = rest.get(..len).ok_or_else(short)?;
        place += len;
        if !lua.fits(2) {
            return Err(Raise::Message("too many results".to_owned()));
        }
        last = None;
        match option {
            Option::Padding => continue,
            Option::Integer { is_signed, .. } => {
                let number = read_integer(bytes, is_signed, format.is_little);
                last = Some(length(number));
                lua.push_number(number);
            }
            Option::Float => {
                let bytes: [u8; 4] = bytes.try_into().expect("so many were taken");
                let number =
                    if format.is_little { f32::from_le_bytes(bytes) } else { f32::from_be_bytes(bytes) };
                last = Some(length(number.into()));
                lua.push_number(number.into());
            }
            Option::Double => {
                let bytes: [u8; 8] = bytes.try_into().expect("so many were taken");
                let number =
                    if format.is_little { f64::from_le_bytes(bytes) } else { f64::from_be_bytes(bytes) };
                last = Some(length(number));
                lua.push_number(number);
            }
            Option::Bytes(_) => {
                lua.room(bytes.len())?;
                lua.push_string(bytes);
            }
            Option::Text => {
                let Some(end) = memchr::memchr(0, rest) else {
                    return Err(Raise::Message("unfinished string in data".to_owned()));
                };
                lua.room(end)?;
                lua.push_string(&rest[..end]);
                place += end + 1;
            }
        }
        count += 1;
    }
    lua.push_number((place + 1) as f64);
    Ok(count + 1)
}

/// A number that was read, as the length of what follows: what can be none is too long.
fn length(number: f64) -> usize {
    if number >= 0.0 { number as usize } else { usize::MAX }
}

fn read_integer(bytes: &[u8], is_signed: bool, is_little: bool) -> f64 {
    // Of more than eight bytes the lowest count.
    let mut digits = [0; 8];
    let low = bytes.len().min(8);
    for (index, digit) in digits.iter_mut().enumerate().take(low) {
        *digit = if is_little { bytes[index] } else { bytes[bytes.len() - 1 - index] };
    }
    let value = u64::from_le_bytes(digits);
    if !is_signed {
        return value as f64;
    }
    let unused = 64 - 8 * low as u32;
    ((value << (unused % 64)).cast_signed() >> (unused % 64)) as f64
}

fn size(lua: &mut Lua) -> Result<usize, Raise> {
    let mut format = Format::of(lua)?;
    let mut size = 0_usize;
    while let Some((option, padding)) = format.next(size)? {
        let name = |name| Raise::Argument(1, format!("option '{name}' has no fixed size"));
        size += padding
            + match option {
                Option::Integer { bytes, .. } => bytes,
                Option::Float => 4,
                Option::Double => 8,
                Option::Padding => 1,
                Option::Bytes(0) => return Err(name("c0")),
                Option::Text => return Err(name("s")),
                Option::Bytes(len) => len,
            };
    }
    lua.push_number(size as f64);
    Ok(1)
}
