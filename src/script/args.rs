//! Arguments of functions that scripts call, checked and reported as Lua's own library does.

use super::lua::{Lua, LuaType, Raise};

impl Lua {
    /// An argument that is a number, or a string that reads as one.
    pub fn check_number(&self, index: usize) -> Result<f64, Raise> {
        self.to_number(index).ok_or_else(|| self.wrong_kind(index, "number"))
    }

    /// As [`Self::check_number`], or a default where there is none.
    pub fn number_or(&self, index: usize, default: f64) -> Result<f64, Raise> {
        match self.kind(index) {
            LuaType::None | LuaType::Nil => Ok(default),
            _ => self.check_number(index),
        }
    }

    /// As [`Self::check_number`], cut to an integer.
    pub fn check_integer(&self, index: usize) -> Result<i64, Raise> {
        self.check_number(index).map(|number| number as i64)
    }

    /// An argument that is a string or a number, as text.
    pub fn check_text(&self, index: usize) -> Result<Vec<u8>, Raise> {
        self.text(index).ok_or_else(|| self.wrong_kind(index, "string"))
    }

    /// A value that is a string or a number, as text.
    pub fn text(&self, index: usize) -> Option<Vec<u8>> {
        if let Some(number) = self.number(index) {
            let mut text = Vec::new();
            Lua::number_text(number, &mut text);
            return Some(text);
        }
        self.string(index).map(<[u8]>::to_vec)
    }

    /// An argument that is a table.
    pub fn check_table(&self, index: usize) -> Result<(), Raise> {
        if self.kind(index) == LuaType::Table { Ok(()) } else { Err(self.wrong_kind(index, "table")) }
    }

    /// An argument of another kind was expected.
    pub fn wrong_kind(&self, index: usize, expected: &str) -> Raise {
        Raise::Argument(index, format!("{expected} expected, got {}", self.kind(index).name()))
    }
}
