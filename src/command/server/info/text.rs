//! The text of INFO: `name:value` lines under headings, and the ways Redis writes numbers.

use std::fmt::{Display, Write as _};

/// The text, growing.
#[derive(Default)]
pub struct InfoText(String);

impl InfoText {
    /// Begins a section; an empty line parts it from the one before.
    pub fn section(&mut self, title: &str) {
        let gap = if self.0.is_empty() { "" } else { "\r\n" };
        write!(self.0, "{gap}# {title}\r\n").expect("writing to a string does not fail");
    }

    /// A line.
    pub fn line(&mut self, name: &str, value: impl Display) {
        write!(self.0, "{name}:{value}\r\n").expect("writing to a string does not fail");
    }

    /// Lines of constant value.
    pub fn lines(&mut self, lines: &[(&str, &str)]) {
        lines.iter().for_each(|(name, value)| self.line(name, value));
    }

    /// Bytes, as a number and for people (`name_human`).
    pub fn bytes(&mut self, name: &str, bytes: u64) {
        self.line(name, bytes);
        self.line(&format!("{name}_human"), human(bytes));
    }

    /// The names and values of all lines.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.split("\r\n").filter_map(|line| line.split_once(':'))
    }

    /// All of it.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// `512B`, `1.50K`, `12.34M`, `5.00G`.
pub fn human(bytes: u64) -> String {
    let units = ['K', 'M', 'G', 'T', 'P'];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut scaled = bytes as f64 / 1024.0;
    let mut unit = 0;
    while scaled >= 1024.0 && unit + 1 < units.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.2}{}", units[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_as_redis_writes_them() {
        for (bytes, text) in [(0, "0B"), (1023, "1023B"), (916_496, "895.02K"), (6_516_736, "6.21M")] {
            assert_eq!(human(bytes), text);
        }
        assert_eq!(human(25_276_510_208), "23.54G");
        assert_eq!(human(u64::MAX), "16384.00P");
    }

    #[test]
    fn sections_are_parted_by_an_empty_line() {
        let mut text = InfoText::default();
        text.section("One");
        text.line("a", 1);
        text.section("Two");
        assert_eq!(text.as_bytes(), b"# One\r\na:1\r\n\r\n# Two\r\n");
    }
}
