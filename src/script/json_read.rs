//! The `cjson` library: reading.

use super::cjson::{Choice, Settings};
use super::lua::{Lua, Raise, read_number};

/// A token, with what it says.
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    Colon,
    Comma,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

struct Reader {
    text: Vec<u8>,
    settings: Settings,
    place: usize,
    /// Where the last token began.
    token_place: usize,
    depth: i32,
}

/// `cjson.decode`.
pub fn decode(lua: &mut Lua) -> Result<usize, Raise> {
    if lua.top() != 1 {
        return Err(Raise::Argument(1, "expected 1 argument".to_owned()));
    }
    let text = lua.check_text(1)?;
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(Raise::Message("JSON parser does not support UTF-16 or UTF-32".to_owned()));
    }
    let mut reader = Reader { text, settings: lua.host().json.get(), place: 0, token_place: 0, depth: 0 };
    let first = reader.next();
    reader.value(lua, first)?;
    let last = reader.next();
    if !matches!(last, Token::End) {
        return Err(reader.expected("the end", &last));
    }
    Ok(1)
}

impl Reader {
    fn expected(&self, what: &str, found: &Token) -> Raise {
        Raise::Message(format!(
            "Expected {what} but found {} at character {}",
            found.name(),
            self.token_place + 1
        ))
    }

    fn descend(&mut self, lua: &mut Lua) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth_max || !lua.fits(4) {
            return Err(Raise::Message(format!(
                "Found too many nested data structures ({}) at character {}",
                self.depth, self.place
            )));
        }
        lua.room(256)
    }

    fn value(&mut self, lua: &mut Lua, token: Token) -> Result<(), Raise> {
        match token {
            Token::String(bytes) => {
                lua.room(bytes.len())?;
                lua.push_string(&bytes);
            }
            Token::Number(number) => lua.push_number(number),
            Token::Boolean(value) => lua.push_boolean(value),
            Token::Null => lua.push_null(),
            Token::ObjectBegin => return self.object(lua),
            Token::ArrayBegin => return self.array(lua),
            other => return Err(self.expected("value", &other)),
        }
        Ok(())
    }

    fn object(&mut self, lua: &mut Lua) -> Result<(), Raise> {
        self.descend(lua)?;
        lua.push_table(0, 0);
        let table = lua.top();
        let mut token = self.next();
        if !matches!(token, Token::ObjectEnd) {
            loop {
                let Token::String(key) = token else {
                    return Err(self.expected("object key string", &token));
                };
                lua.room(key.len() + 64)?;
                lua.push_string(&key);
                let colon = self.next();
                if !matches!(colon, Token::Colon) {
                    return Err(self.expected("colon", &colon));
                }
                let value = self.next();
                self.value(lua, value)?;
                lua.set(table);
                token = self.next();
                match token {
                    Token::ObjectEnd => break,
                    Token::Comma => token = self.next(),
                    other => return Err(self.expected("comma or object end", &other)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn array(&mut self, lua: &mut Lua) -> Result<(), Raise> {
        self.descend(lua)?;
        lua.push_table(0, 0);
        let table = lua.top();
        let mut token = self.next();
        if !matches!(token, Token::ArrayEnd) {
            for index in 1.. {
                lua.room(64)?;
                self.value(lua, token)?;
                lua.set_element(table, index);
                token = self.next();
                match token {
                    Token::ArrayEnd => break,
                    Token::Comma => token = self.next(),
                    other => return Err(self.expected("comma or array end", &other)),
                }
            }
        }
        self.depth -= 1;
        Ok(())
    }

    fn next(&mut self) -> Token {
        while matches!(self.text.get(self.place), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.place += 1;
        }
        self.token_place = self.place;
        let rest = &self.text[self.place..];
        let single = match rest.first() {
            // What follows a zero byte is not looked at.
            None | Some(0) => return Token::End,
            Some(b'{') => Token::ObjectBegin,
            Some(b'}') => Token::ObjectEnd,
            Some(b'[') => Token::ArrayBegin,
            Some(b']') => Token::ArrayEnd,
            Some(b':') => Token::Colon,
            Some(b',') => Token::Comma,
            Some(b'"') => return self.string(),
            Some(b'-' | b'0'..=b'9') => {
                if self.settings.decode_invalid == Choice::Off && is_invalid_number(rest) {
                    return Token::Error("invalid number");
                }
                return self.number();
            }
            Some(_) => return self.word(),
        };
        self.place += 1;
        single
    }

    fn word(&mut self) -> Token {
        let rest = &self.text[self.place..];
        for (word, token) in
            [("true", Token::Boolean(true)), ("false", Token::Boolean(false)), ("null", Token::Null)]
        {
            if rest.starts_with(word.as_bytes()) {
                self.place += word.len();
                return token;
            }
        }
        let begins_number = matches!(rest[0], b'+' | b'i' | b'I' | b'n' | b'N');
        if begins_number && self.settings.decode_invalid != Choice::Off && is_invalid_number(rest) {
            return self.number();
        }
        Token::Error("invalid token")
    }

    fn number(&mut self) -> Token {
        match read_number(&self.text[self.place..]) {
            Some((number, len)) => {
                self.place += len;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn string(&mut self) -> Token {
        let (mut bytes, mut place) = (Vec::new(), self.place + 1);
        loop {
            let rest = &self.text[place..];
            let plain = memchr::memchr2(b'"', b'\\', rest).unwrap_or(rest.len());
            // A zero byte inside is taken as it is, one at the end is the end.
            bytes.extend_from_slice(&rest[..plain]);
            place += plain;
            match self.text.get(place) {
                Some(b'"') => {
                    self.place = place + 1;
                    return Token::String(bytes);
                }
                Some(_) => {}
                None => {
                    self.token_place = place;
                    return Token::Error("unexpected end of string");
                }
            }
            let escaped = self.text.get(place + 1).copied();
            let byte = match escaped {
                Some(b'u') => {
                    let Some((character, len)) = unicode(&self.text[place..]) else {
                        self.token_place = place;
                        return Token::Error("invalid unicode escape code");
                    };
                    bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                    place += len;
                    continue;
                }
                Some(b'"') => b'"',
                Some(b'\\') => b'\\',
                Some(b'/') => b'/',
                Some(b'b') => 8,
                Some(b't') => b'\t',
                Some(b'n') => b'\n',
                Some(b'f') => 12,
                Some(b'r') => b'\r',
                _ => {
                    self.token_place = place;
                    return Token::Error("invalid escape code");
                }
            };
            bytes.push(byte);
            place += 2;
        }
    }
}

/// The character that an escape says, or two of them together, and how long that is.
fn unicode(text: &[u8]) -> Option<(char, usize)> {
    let hex = |at: usize| {
        let digits = text.get(at..at + 4)?;
        digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
    };
    let first = hex(2)?;
    if !(0xD800..0xE000).contains(&first) {
        return Some((char::from_u32(first)?, 6));
    }
    if first >= 0xDC00 || text.get(6..8)? != b"\\u" {
        return None;
    }
    let second = hex(8).filter(|second| (0xDC00..0xE000).contains(second))?;
    Some((char::from_u32(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))?, 12))
}

/// Whether a number is one that JSON does not have.
fn is_invalid_number(text: &[u8]) -> bool {
    let text = match text {
        [b'+', ..] => return true,
        [b'-', rest @ ..] => rest,
        text => text,
    };
    match text {
        [b'0', b'x' | b'X' | b'0'..=b'9', ..] => true,
        [b'0'..=b'9', ..] => false,
        _ => {
            let begins =
                |word: &str| text.get(..3).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()));
            begins("inf") || begins("nan")
        }
    }
}
