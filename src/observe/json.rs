//! JSON, written piece by piece: lines of the log, and what the live page asks for.
//!
//! Design: a writer over one string that knows whether a comma is due. Text may hold anything; what is not UTF-8 is replaced.
//! Costs: no allocation but the string's own growth.

use std::fmt::Write as _;

/// A value under construction.
#[derive(Default)]
pub struct Json {
    text: String,
    /// Whether the next value is the first where it stands.
    is_first: bool,
}

impl Json {
    /// An object with these members, alone.
    pub fn whole(members: impl FnOnce(&mut Json)) -> String {
        let mut json = Self { text: String::new(), is_first: true };
        json.object(members);
        json.text
    }

    fn separate(&mut self) {
        if !std::mem::replace(&mut self.is_first, false) {
            self.text.push(',');
        }
    }

    fn name(&mut self, name: &str) {
        self.separate();
        escape(&mut self.text, name);
        self.text.push(':');
        self.is_first = true;
    }

    fn within(&mut self, open: char, close: char, fill: impl FnOnce(&mut Json)) {
        self.separate();
        self.text.push(open);
        self.is_first = true;
        fill(self);
        self.text.push(close);
        self.is_first = false;
    }

    /// An object, as an element.
    pub fn object(&mut self, members: impl FnOnce(&mut Json)) {
        self.within('{', '}', members);
    }

    /// An object, as a member.
    pub fn member(&mut self, name: &str, members: impl FnOnce(&mut Json)) {
        self.name(name);
        self.object(members);
    }

    /// An array, as a member.
    pub fn list(&mut self, name: &str, elements: impl FnOnce(&mut Json)) {
        self.name(name);
        self.within('[', ']', elements);
    }

    /// Text, as a member.
    pub fn text(&mut self, name: &str, text: &str) {
        self.name(name);
        self.text_element(text);
    }

    /// Text of any bytes, as a member.
    pub fn bytes(&mut self, name: &str, bytes: &[u8]) {
        self.text(name, &String::from_utf8_lossy(bytes));
    }

    /// Text, as an element.
    pub fn text_element(&mut self, text: &str) {
        self.separate();
        escape(&mut self.text, text);
    }

    /// A whole number, as a member.
    pub fn number(&mut self, name: &str, number: impl Into<i128>) {
        self.name(name);
        self.number_element(number);
    }

    /// A whole number, as an element.
    pub fn number_element(&mut self, number: impl Into<i128>) {
        self.separate();
        write!(self.text, "{}", number.into()).expect("writing to a string does not fail");
    }

    /// A measure, as a member; `null` for what is no number.
    pub fn measure(&mut self, name: &str, measure: f64) {
        self.name(name);
        self.separate();
        match measure.is_finite() {
            true => write!(self.text, "{measure}").expect("writing to a string does not fail"),
            false => self.text.push_str("null"),
        }
    }

    /// Yes or no, as a member.
    pub fn flag(&mut self, name: &str, is: bool) {
        self.name(name);
        self.separate();
        self.text.push_str(if is { "true" } else { "false" });
    }
}

/// Text between quotation marks, alone.
pub fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    escape(&mut quoted, text);
    quoted
}

/// Text between quotation marks.
fn escape(into: &mut String, text: &str) {
    into.push('"');
    for character in text.chars() {
        match character {
            '"' => into.push_str("\\\""),
            '\\' => into.push_str("\\\\"),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            // Those of JSON, and what ends lines elsewhere.
            '\0'..='\x1f' | '\x7f' | '\u{2028}' | '\u{2029}' => {
                write!(into, "\\u{:04x}", u32::from(character)).expect("writing to a string does not fail");
            }
            _ => into.push(character),
        }
    }
    into.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_parted() {
        let text = Json::whole(|json| {
            json.number("a", u64::MAX);
            json.list("b", |json| {
                json.object(|json| json.flag("c", true));
                json.object(|_| ());
                json.text_element("d");
                json.number_element(-1);
            });
            json.member("e", |json| json.measure("f", 0.25));
            json.measure("g", f64::NAN);
            json.list("h", |_| ());
        });
        let expected =
            r#"{"a":18446744073709551615,"b":[{"c":true},{},"d",-1],"e":{"f":0.25},"g":null,"h":[]}"#;
        assert_eq!(text, expected);
    }

    #[test]
    fn text_may_hold_anything() {
        let text = Json::whole(|json| {
            json.text("a\"", "\\ \u{1} \n\r\t \u{7f} \u{2028} é 𝄞 </script>");
            json.bytes("b", b"\xff\0");
        });
        let expected = concat!(
            r#"{"a\"":"\\ \u0001 \n\r\t \u007f \u2028 é 𝄞 </script>","b":""#,
            "\u{fffd}",
            r#"\u0000"}"#
        );
        assert_eq!(text, expected);
    }
}
