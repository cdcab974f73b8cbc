//! Expected replies in the notation that the header of `cases` describes: parsed once, matched against values.

use crate::harness::{Value, quoted};

/// What a reply must look like. Written for RESP3; [`Pattern::matches`] derives what RESP2 must say.
#[derive(Debug)]
pub enum Pattern {
    Any,
    Simple(Vec<u8>),
    Error { text: Vec<u8>, prefix: bool },
    Bulk(Vec<u8>),
    BulkPrefix(Vec<u8>),
    BulkHas(Vec<u8>),
    Nil,
    NilArray,
    Int(i64),
    Range(i64, i64),
    Kind(&'static str),
    List { kind: List, elements: Vec<Pattern>, open: bool },
    Double(Vec<u8>),
    Bool(bool),
    Verbatim(Vec<u8>),
    BigNumber(Vec<u8>),
    Or(Vec<Pattern>),
    Protocols(Box<Pattern>, Box<Pattern>),
}

/// Kinds of replies that have elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum List {
    Array,
    AnyOrder,
    Set,
    Push,
    Map,
}

const KINDS: [&str; 10] =
    ["int", "bulk", "number", "simple", "error", "array", "map", "set", "double", "verbatim"];
/// How far `~N` may be off, at least; a tenth of `N` where that is more.
const APPROXIMATE_MIN: i64 = 5;

/// Parses a whole expected reply.
///
/// # Panics
/// When it is none, as it stands in a test.
pub fn parse(text: &str) -> Pattern {
    let mut rest = text;
    let pattern = alternatives(&mut rest, true);
    assert!(rest.trim_ascii().is_empty(), "left over after the expected reply: {rest:?} of {text:?}");
    pattern
}

fn alternatives(rest: &mut &str, top: bool) -> Pattern {
    let mut choices = vec![one(rest, top)];
    while eat(rest, "|") {
        choices.push(one(rest, top));
    }
    if choices.len() == 1 { choices.remove(0) } else { Pattern::Or(choices) }
}

fn one(rest: &mut &str, top: bool) -> Pattern {
    *rest = rest.trim_ascii_start();
    for (open, kind, close) in [
        ("any[", List::AnyOrder, "]"),
        ("set[", List::Set, "]"),
        ("push[", List::Push, "]"),
        ("[", List::Array, "]"),
        ("{", List::Map, "}"),
    ] {
        if eat(rest, open) {
            return list(rest, kind, close);
        }
    }
    if eat(rest, "@2") {
        let two = alternatives(rest, false);
        assert!(eat(rest, "@3"), "@2 without @3 before {rest:?}");
        return Pattern::Protocols(Box::new(two), Box::new(alternatives(rest, false)));
    }
    if eat(rest, "!") {
        return error(rest, top);
    }
    for kind in KINDS {
        if rest.strip_prefix('<').and_then(|rest| rest.strip_prefix(kind)).is_some_and(|r| r.starts_with('>'))
        {
            *rest = &rest[kind.len() + 2..];
            return Pattern::Kind(kind);
        }
    }
    if let Some(text) = rest.strip_prefix("has").filter(|text| text.starts_with('"')) {
        return Pattern::BulkHas(string(text, rest));
    }
    match rest.as_bytes().first() {
        Some(b'"') => {
            let text = string(rest, rest);
            if let Some(after) = rest.strip_prefix('*') {
                *rest = after;
                return Pattern::BulkPrefix(text);
            }
            Pattern::Bulk(text)
        }
        Some(b'+') if rest[1..].starts_with('"') => Pattern::Simple(string(&rest[1..], rest)),
        Some(b'=') => Pattern::Verbatim(string(&rest[1..], rest)),
        Some(_) => bare(token(rest)),
        None => panic!("an expected reply is missing"),
    }
}

/// The string that `text` begins with; `rest` becomes what comes after it.
fn string<'a>(text: &'a str, rest: &mut &'a str) -> Vec<u8> {
    let (bytes, after) = quoted(text);
    *rest = after;
    bytes
}

/// An error: quoted, or at the top level everything to the end of the line. A `*` at its end is a wildcard.
fn error(rest: &mut &str, top: bool) -> Pattern {
    if rest.starts_with('"') {
        let text = string(rest, rest);
        return Pattern::Error { text, prefix: eat(rest, "*") };
    }
    // Some of Redis's errors end with a blank.
    let text = if top { std::mem::take(rest) } else { token(rest) };
    match text.strip_suffix('*') {
        Some(start) => Pattern::Error { text: start.as_bytes().to_vec(), prefix: true },
        None => Pattern::Error { text: text.as_bytes().to_vec(), prefix: false },
    }
}

/// A word without quotes.
fn bare(word: &str) -> Pattern {
    let number = |text: &str| text.parse::<i64>().ok();
    if let Some(number) = number(word) {
        return Pattern::Int(number);
    }
    if let Some(near) = word.strip_prefix('~').and_then(number) {
        let off = APPROXIMATE_MIN.max(near.abs() / 10);
        return Pattern::Range(near - off, near + off);
    }
    if let Some((low, high)) = word.split_once("..")
        && let (Some(low), Some(high)) = (number(low), number(high))
    {
        return Pattern::Range(low, high);
    }
    match word {
        "*" => Pattern::Any,
        "nil" => Pattern::Nil,
        "nil[]" => Pattern::NilArray,
        "#t" => Pattern::Bool(true),
        "#f" => Pattern::Bool(false),
        _ if word.starts_with(',') => Pattern::Double(word.as_bytes()[1..].to_vec()),
        _ if word.starts_with('(') => Pattern::BigNumber(word.as_bytes()[1..].to_vec()),
        _ => {
            assert!(
                word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.@:".contains(&b)),
                "what is {word:?}?"
            );
            Pattern::Simple(word.as_bytes().to_vec())
        }
    }
}

fn list(rest: &mut &str, kind: List, close: &str) -> Pattern {
    let (mut elements, mut open) = (Vec::new(), false);
    while !eat(rest, close) {
        assert!(!open, "... is not last before {rest:?}");
        if eat(rest, "...") {
            open = true;
        } else {
            elements.push(alternatives(rest, false));
        }
    }
    Pattern::List { kind, elements, open }
}

fn eat(rest: &mut &str, word: &str) -> bool {
    let text = rest.trim_ascii_start();
    let after = text.strip_prefix(word);
    *rest = after.unwrap_or(text);
    after.is_some()
}

/// Everything to the next blank or closing bracket.
fn token<'a>(rest: &mut &'a str) -> &'a str {
    let mut end = rest.find(|c: char| c.is_ascii_whitespace() || "]}|".contains(c)).unwrap_or(rest.len());
    if rest.starts_with("nil[]") {
        end = 5;
    }
    let (token, after) = rest.split_at(end);
    *rest = after;
    token
}

impl Pattern {
    /// Whether `value` is such a reply in this version of the protocol.
    pub fn matches(&self, value: &Value, protocol: u8) -> bool {
        let resp3 = protocol >= 3;
        match (self, value) {
            (Self::Any, _) => true,
            (Self::Simple(text), Value::Simple(given)) | (Self::Bulk(text), Value::Bulk(given)) => {
                text == given
            }
            (Self::Error { text, prefix: false }, Value::Error(given)) => text == given,
            (Self::Error { text, prefix: true }, Value::Error(given)) => given.starts_with(text),
            (Self::BulkPrefix(text), Value::Bulk(given)) => given.starts_with(text),
            (Self::BulkHas(text), Value::Bulk(given) | Value::Verbatim(_, given)) => {
                memchr::memmem::find(given, text).is_some()
            }
            (Self::Nil | Self::NilArray, Value::Null) => resp3,
            (Self::Nil, Value::NullBulk) | (Self::NilArray, Value::NullArray) => !resp3,
            (Self::Int(number), Value::Int(given)) => number == given,
            (Self::Range(low, high), Value::Int(given)) => (*low..=*high).contains(given),
            (Self::Kind(kind), value) => is_kind(kind, value, resp3),
            (Self::Double(text), Value::Double(given)) => resp3 && text == given,
            (Self::BigNumber(text), Value::BigNumber(given)) => resp3 && text == given,
            (Self::Double(text) | Self::BigNumber(text) | Self::Verbatim(text), Value::Bulk(given)) => {
                !resp3 && text == given
            }
            (Self::Bool(yes), Value::Bool(given)) => resp3 && yes == given,
            (Self::Bool(yes), Value::Int(given)) => !resp3 && i64::from(*yes) == *given,
            (Self::Verbatim(text), Value::Verbatim(_, given)) => resp3 && text == given,
            (Self::Or(choices), value) => choices.iter().any(|choice| choice.matches(value, protocol)),
            (Self::Protocols(two, three), value) => {
                if resp3 {
                    three.matches(value, protocol)
                } else {
                    two.matches(value, protocol)
                }
            }
            (Self::List { kind, elements, open }, value) => {
                is_list(*kind, value, resp3) && has_elements(*kind, elements, *open, value, protocol)
            }
            _ => false,
        }
    }
}

fn is_kind(kind: &str, value: &Value, resp3: bool) -> bool {
    let float = |text: &[u8]| String::from_utf8_lossy(text).parse::<f64>().is_ok();
    match (kind, value) {
        ("int", Value::Int(_)) | ("bulk", Value::Bulk(_)) | ("simple", Value::Simple(_)) => true,
        ("error", Value::Error(_)) | ("array", Value::Array(_)) => true,
        ("number", Value::Bulk(text)) => float(text),
        ("map", Value::Map(_)) | ("set", Value::Set(_)) | ("verbatim", Value::Verbatim(..)) => resp3,
        ("map" | "set", Value::Array(_)) | ("verbatim", Value::Bulk(_)) => !resp3,
        ("double", Value::Double(text)) => resp3 && float(text),
        ("double", Value::Bulk(text)) => !resp3 && float(text),
        _ => false,
    }
}

fn is_list(kind: List, value: &Value, resp3: bool) -> bool {
    match (kind, value) {
        (List::Array, Value::Array(_)) => true,
        (List::AnyOrder, Value::Array(_) | Value::Set(_)) => true,
        (List::Set, Value::Set(_)) | (List::Push, Value::Push(_)) | (List::Map, Value::Map(_)) => resp3,
        (List::Set | List::Push | List::Map, Value::Array(_)) => !resp3,
        _ => false,
    }
}

fn has_elements(kind: List, patterns: &[Pattern], open: bool, value: &Value, protocol: u8) -> bool {
    let given = value.elements();
    let enough = if open { given.len() >= patterns.len() } else { given.len() == patterns.len() };
    if !enough {
        return false;
    }
    // What is matched as one: an element, or a name with its value.
    let width = if kind == List::Map { 2 } else { 1 };
    let matches = |patterns: &[Pattern], given: &[Value]| {
        patterns.iter().zip(given).all(|(pattern, given)| pattern.matches(given, protocol))
    };
    if kind == List::AnyOrder || kind == List::Set || (kind == List::Map && open) {
        let mut left: Vec<&[Value]> = given.chunks(width).collect();
        patterns.chunks(width).all(|pattern| {
            let found = left.iter().position(|given| matches(pattern, given));
            found.map(|index| left.remove(index)).is_some()
        })
    } else {
        matches(patterns, &given)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &str) -> Value {
        Value::Bulk(text.as_bytes().to_vec())
    }

    #[track_caller]
    fn check(pattern: &str, value: &Value, two: bool, three: bool) {
        let parsed = parse(pattern);
        assert_eq!(parsed.matches(value, 2), two, "{pattern} against {value} in RESP2");
        assert_eq!(parsed.matches(value, 3), three, "{pattern} against {value} in RESP3");
    }

    #[test]
    fn patterns_match_what_they_say_and_nothing_else() {
        check("OK", &Value::Simple(b"OK".to_vec()), true, true);
        check("OK", &bulk("OK"), false, false);
        check(r#""a\x00b""#, &bulk("a\0b"), true, true);
        check(r#""ab"*"#, &bulk("abc"), true, true);
        check(r#"has"b""#, &bulk("abc"), true, true);
        check("3", &Value::Int(3), true, true);
        check("~100", &Value::Int(91), true, true);
        check("~100", &Value::Int(80), false, false);
        check("1..3", &Value::Int(4), false, false);
        check("nil", &Value::NullBulk, true, false);
        check("nil", &Value::Null, false, true);
        check("nil[]", &Value::NullArray, true, false);
        check("!ERR no such key", &Value::Error(b"ERR no such key".to_vec()), true, true);
        check("!ERR no*", &Value::Error(b"ERR no such key".to_vec()), true, true);
        check("1 | nil", &Value::Int(1), true, true);
        check("@2 1 @3 2", &Value::Int(2), false, true);
        check(",1.5", &bulk("1.5"), true, false);
        check("#t", &Value::Int(1), true, false);
    }

    #[test]
    fn lists_match_element_by_element() {
        let array = Value::Array(vec![bulk("a"), Value::Int(1), bulk("b"), Value::NullBulk]);
        check(r#"["a" 1 "b" nil]"#, &array, true, false);
        check(r#"["a" ...]"#, &array, true, true);
        check(r#"any["b" 1 ...]"#, &array, true, true);
        check(r#"{"a" 1 "b" nil}"#, &array, true, false);
        check(r#"{"b" nil ...}"#, &array, true, false);
        check(r#"{"b" 1 ...}"#, &array, false, false);
        check("[]", &array, false, false);
        check("<map>", &Value::Map(vec![]), false, true);
        check(r#"[!"ERR a" nil[] +"x y"]"#, &Value::Int(1), false, false);
    }
}
