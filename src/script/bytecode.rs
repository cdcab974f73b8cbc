//! What the compiled form of Lua 5.1 says of a function: whether anything in it assigns to a variable of a function around it.
//!
//! ```text
//! 1b L u a 51 00 endian sizes...                               12 bytes
//! function: source, 2 lines, upvalues parameters varargs stack (a byte each),
//!           instructions, constants, functions inside, lines, local names, upvalue names
//! ```
//!
//! Design: it is read as the interpreter of this process has just written it; what does not read so counts as one that assigns.
//! Not here: what follows from it (`library_state`).

const HEADER_BYTES: usize = 12;
/// Of an instruction: the lowest six bits say which it is.
const OPCODE_MASK: u32 = 0x3f;
const SET_UPVALUE: u32 = 8;

const NIL: u8 = 0;
const BOOLEAN: u8 = 1;
const NUMBER: u8 = 3;
const STRING: u8 = 4;

/// Whether a function inside of this one assigns to a variable that is not its own. The outermost has no function around it.
pub fn assigns_outside(dump: &[u8]) -> bool {
    let mut reader = Reader(dump.get(HEADER_BYTES..).unwrap_or_default());
    reader.function().unwrap_or(true)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn count(&mut self) -> Option<usize> {
        let bytes = self.take(4)?.try_into().ok()?;
        usize::try_from(i32::from_ne_bytes(bytes)).ok()
    }

    fn string(&mut self) -> Option<()> {
        let bytes = self.take(size_of::<usize>())?.try_into().ok()?;
        self.take(usize::from_ne_bytes(bytes)).map(|_| ())
    }

    /// The interpreter bounds how deep functions nest: 200.
    fn function(&mut self) -> Option<bool> {
        self.string()?;
        self.take(4 + 4 + 4)?;
        let instructions = self.count()?;
        let mut assigns = false;
        for instruction in self.take(instructions.checked_mul(4)?)?.chunks_exact(4) {
            let instruction = u32::from_ne_bytes(instruction.try_into().ok()?);
            assigns |= instruction & OPCODE_MASK == SET_UPVALUE;
        }
        for _ in 0..self.count()? {
            match *self.take(1)?.first()? {
                NIL => {}
                BOOLEAN => drop(self.take(1)?),
                NUMBER => drop(self.take(8)?),
                STRING => self.string()?,
                _ => return None,
            }
        }
        for _ in 0..self.count()? {
            assigns |= self.function()?;
        }
        let lines = self.count()?;
        self.take(lines.checked_mul(4)?)?;
        for _ in 0..self.count()? {
            self.string()?;
            self.take(8)?;
        }
        for _ in 0..self.count()? {
            self.string()?;
        }
        Some(assigns)
    }
}
