//! Reads the notation of a row's arguments into the tree that COMMAND DOCS shows, and shows it as usage.
//!
//! | written | meaning |
//! |---|---|
//! | `seconds`, `value:integer` | a value, its type where the name does not tell it |
//! | `auth/password` | a value with what is shown instead of its name |
//! | `NX`, `change=CH` | a token without a value, its name where that is not the token in small letters |
//! | `EX seconds` | a value with its token |
//! | `[x]`, `x...`, `[GET x]...` | optional; any number of them; any number of them with their tokens |
//! | `unit:<M \| KM>`, `unit:[M \| KM]` | one of several, optional in `[]` |
//! | `data:<key value>`, `data:[key value]` | several that belong together |
//! | `key#1`, `pattern#0`, `key#` | found by the command's key specification 1, as all keys that follow; by none |
//! | `x@6.2.0`, `x~6.2.0` | since this version; deprecated since then |
//!
//! `tests/data/syntax.py` writes it from what Redis documents.

/// One argument, or several that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: ArgumentKind,
    pub(super) token: Option<String>,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    /// The token is repeated with each value.
    pub(super) multiple_token: bool,
    /// Which of the command's key specifications finds it.
    pub(super) key_spec: Option<usize>,
    /// What is shown instead of the name.
    pub(super) display: Option<String>,
    pub(super) since: Option<String>,
    pub(super) deprecated: Option<String>,
    pub(super) children: Vec<Argument>,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ArgumentKind {
    #[default]
    Text,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgumentKind {
    /// As COMMAND DOCS spells it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "string",
            Self::Integer => "integer",
            Self::Double => "double",
            Self::Key => "key",
            Self::Pattern => "pattern",
            Self::UnixTime => "unix-time",
            Self::PureToken => "pure-token",
            Self::OneOf => "oneof",
            Self::Block => "block",
        }
    }

    /// The kind with this name.
    fn named(name: &str) -> Self {
        let all = [Self::Text, Self::Integer, Self::Double, Self::Key, Self::Pattern, Self::UnixTime];
        let found = all.into_iter().find(|kind| kind.name() == name);
        found.unwrap_or_else(|| panic!("no argument is of the type {name}"))
    }

    /// What a value of this name is, unless something else is said.
    fn of(name: &str) -> Self {
        #[rustfmt::skip]
        const KEYS: &[&str] = &[
            "key", "key1", "key2", "keys", "newkey", "source", "sourcekey", "destination", "destkey", "dst", "src", "storekey",
            "storedistkey",
        ];
        #[rustfmt::skip]
        const INTEGERS: &[&str] = &[
            "bit", "bits", "client-id", "cluster-bus-port", "config-epoch", "count", "cursor", "db", "decrement",
            "destination-db", "end", "end-slot", "entries-added", "entriesread", "frequency", "index", "index1", "index2", "len",
            "limit", "maxage", "milliseconds", "min-match-len", "ms", "num-matches", "numfields", "numids", "numkeys", "numlocal",
            "numreplicas", "offset", "port", "protover", "rank", "seconds", "slot", "start", "start-slot", "stop", "ttl",
            "version", "weight",
        ];
        const DOUBLES: &[&str] = &["height", "latitude", "longitude", "radius", "score", "timeout", "width"];
        match name {
            "pattern" | "by-pattern" | "get-pattern" => Self::Pattern,
            "unix-time-seconds" | "unix-time-milliseconds" => Self::UnixTime,
            _ if KEYS.contains(&name) => Self::Key,
            _ if INTEGERS.contains(&name) => Self::Integer,
            _ if DOUBLES.contains(&name) => Self::Double,
            _ => Self::Text,
        }
    }
}

const MORE: &str = "...";

/// The arguments that a syntax describes.
pub(super) fn parse(syntax: &str) -> Vec<Argument> {
    let mut parser = Parser { rest: syntax, spec: 0 };
    let mut alternatives = parser.alternatives();
    assert!(
        parser.rest.is_empty() && alternatives.len() == 1,
        "brackets match, and alternatives stand in them: {syntax}"
    );
    alternatives.remove(0)
}

/// Reads a syntax from left to right.
struct Parser<'s> {
    rest: &'s str,
    /// The key specification that finds the keys from here on.
    spec: usize,
}

impl<'s> Parser<'s> {
    /// Arguments up to the end of the group, for each of its alternatives.
    fn alternatives(&mut self) -> Vec<Vec<Argument>> {
        let mut alternatives = vec![Vec::new()];
        loop {
            self.rest = self.rest.trim_start();
            match self.rest.bytes().next() {
                None | Some(b']' | b'>') => return alternatives,
                Some(b'|') => {
                    self.rest = &self.rest[1..];
                    alternatives.push(Vec::new());
                }
                Some(_) => {
                    let argument = self.argument();
                    alternatives.last_mut().expect("there is one to begin with").push(argument);
                }
            }
        }
    }

    fn argument(&mut self) -> Argument {
        if let Some(optional) = self.opens() {
            let argument = self.bracketed();
            let repeats = self.takes("...");
            let (multiple, multiple_token) = (argument.multiple | repeats, repeats);
            return Argument { optional, multiple, multiple_token, ..argument };
        }
        let word = self.word();
        if let Some(name) = word.strip_suffix(':')
            && let Some(optional) = self.opens()
        {
            return self.group(name, optional);
        }
        if word.contains('=') || !is_token(word) {
            return self.single(word);
        }
        self.rest = self.rest.trim_start();
        let takes_value = self.rest.starts_with(|c: char| c.is_ascii_lowercase());
        let token = if takes_value { self.argument() } else { return self.single(word) };
        Argument { token: Some(word.to_owned()), ..token }
    }

    /// Whether a group begins here, and an optional one.
    fn opens(&mut self) -> Option<bool> {
        let optional = self.rest.starts_with('[');
        (self.takes("[") || self.takes("<")).then_some(optional)
    }

    fn takes(&mut self, text: &str) -> bool {
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    /// One argument in brackets without a name.
    fn bracketed(&mut self) -> Argument {
        let mut arguments = self.alternatives().concat();
        self.close();
        assert!(arguments.len() == 1, "several arguments in one place have a name: {arguments:?}");
        arguments.remove(0)
    }

    fn close(&mut self) {
        assert!(self.takes("]") || self.takes(">"), "brackets are closed");
    }

    /// A group with a name: alternatives, or arguments that belong together.
    fn group(&mut self, name: &str, optional: bool) -> Argument {
        let mut alternatives = self.alternatives();
        self.close();
        let marks = Marks::read(self.word());
        let kind = if alternatives.len() == 1 { ArgumentKind::Block } else { ArgumentKind::OneOf };
        if kind == ArgumentKind::OneOf {
            alternatives.retain(|alternative| !alternative.is_empty());
        }
        Argument {
            name: name.to_owned(),
            kind,
            optional,
            multiple: marks.repeats,
            since: marks.since.map(str::to_owned),
            deprecated: marks.deprecated.map(str::to_owned),
            children: alternatives.concat(),
            ..Argument::default()
        }
    }

    /// Everything up to a blank, a bracket or a `|`.
    fn word(&mut self) -> &'s str {
        let end = self.rest.find([' ', '[', ']', '<', '>', '|']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    /// A value, or a token without one.
    fn single(&mut self, word: &str) -> Argument {
        let marks = Marks::read(word);
        let mut argument = Argument {
            multiple: marks.repeats,
            since: marks.since.map(str::to_owned),
            deprecated: marks.deprecated.map(str::to_owned),
            ..Argument::default()
        };
        if marks.text.contains('=') || is_token(marks.text) {
            let (name, token) = marks.text.split_once('=').unwrap_or((marks.text, marks.text));
            argument.name = if name == token { name.to_ascii_lowercase() } else { name.to_owned() };
            argument.kind = ArgumentKind::PureToken;
            argument.token = Some(token.to_owned());
            return argument;
        }
        let (text, display) = marks.text.split_once('/').map_or((marks.text, None), |(a, b)| (a, Some(b)));
        let (name, kind) = text.split_once(':').map_or((text, None), |(a, b)| (a, Some(b)));
        argument.name = name.to_owned();
        argument.display = display.map(str::to_owned);
        argument.kind = kind.map_or(ArgumentKind::of(name), ArgumentKind::named);
        argument.key_spec = match (marks.spec, argument.kind) {
            (Some(""), _) => None,
            (None, kind) if kind != ArgumentKind::Key => None,
            (Some(spec), _) => {
                self.spec = spec.parse().expect("a number of a specification");
                Some(self.spec)
            }
            (None, _) => Some(self.spec),
        };
        argument
    }
}

/// What may follow a name: `#spec`, `@since`, `~deprecated` and `...`, in this order.
struct Marks<'w> {
    text: &'w str,
    spec: Option<&'w str>,
    since: Option<&'w str>,
    deprecated: Option<&'w str>,
    repeats: bool,
}

impl<'w> Marks<'w> {
    fn read(word: &'w str) -> Marks<'w> {
        let (text, repeats) = word.strip_suffix(MORE).map_or((word, false), |text| (text, true));
        let mark = |text: &'w str, mark| match text.rsplit_once(mark) {
            // A token may be any sign.
            Some((before, after)) if after.starts_with(|c: char| c.is_ascii_digit()) => (before, Some(after)),
            _ => (text, None),
        };
        let (text, deprecated) = mark(text, '~');
        let (text, since) = mark(text, '@');
        let (text, spec) = text.split_once('#').map_or((text, None), |(text, spec)| (text, Some(spec)));
        Marks { text, spec, since, deprecated, repeats }
    }
}

fn is_token(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_uppercase()) && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// A syntax as people read it: `key [NX | XX] [EX seconds]`.
pub(in crate::command) fn usage(syntax: &str) -> String {
    let arguments: Vec<String> = parse(syntax).iter().map(Argument::shown).collect();
    arguments.join(" ")
}

impl Argument {
    fn shown(&self) -> String {
        let children =
            |separator| self.children.iter().map(Argument::shown).collect::<Vec<_>>().join(separator);
        let text = match self.kind {
            ArgumentKind::PureToken => String::new(),
            ArgumentKind::OneOf if self.optional && self.token.is_none() => children(" | "),
            ArgumentKind::OneOf => format!("<{}>", children(" | ")),
            ArgumentKind::Block => children(" "),
            _ => self.display.as_ref().unwrap_or(&self.name).clone(),
        };
        let with_token = |text: &str| match &self.token {
            Some(token) => format!("{token} {text}").trim_end().to_owned(),
            None => text.to_owned(),
        };
        let text = match (self.multiple, self.multiple_token) {
            (false, _) => with_token(&text),
            (true, false) => with_token(&format!("{text} [{text} ...]")),
            (true, true) => format!("{0} [{0} ...]", with_token(&text)),
        };
        if self.optional { format!("[{text}]") } else { text }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An argument on one line: name, `:` type, `=` token, `?` optional, `*` multiple (`**` with its token), children.
    fn shown(argument: &Argument) -> String {
        let mut text = format!("{}:{}", argument.name, argument.kind.name());
        text.extend(argument.token.iter().map(|token| format!("={token}")));
        text.extend(argument.key_spec.map(|index| format!("@{index}")));
        text.push_str(if argument.optional { "?" } else { "" });
        text.push_str(if argument.multiple { "*" } else { "" });
        text.push_str(if argument.multiple_token { "*" } else { "" });
        if !argument.children.is_empty() {
            text.push_str(&format!("({})", all(&argument.children)));
        }
        text
    }

    fn all(arguments: &[Argument]) -> String {
        arguments.iter().map(shown).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn notations_become_trees() {
        let cases = [
            ("", "", ""),
            ("[message]", "message:string?", "[message]"),
            ("key...", "key:key@0*", "key [key ...]"),
            ("key newkey#1", "key:key@0 newkey:key@1", "key newkey"),
            ("data:<key value>...", "data:block*(key:key@0 value:string)", "key value [key value ...]"),
            ("status:<ON | OFF>", "status:oneof(on:pure-token=ON off:pure-token=OFF)", "<ON | OFF>"),
            (
                "cursor:string [MATCH pattern]",
                "cursor:string pattern:pattern=MATCH?",
                "cursor [MATCH pattern]",
            ),
            (
                "key condition:[NX | XX]@2.6.12 [GET@6.2.0] [EX seconds]",
                "key:key@0 condition:oneof?(nx:pure-token=NX xx:pure-token=XX) get:pure-token=GET? seconds:integer=EX?",
                "key [NX | XX] [GET] [EX seconds]",
            ),
            (
                "[AUTH auth:<username password>] [ID client-id...]",
                "auth:block=AUTH?(username:string password:string) client-id:integer=ID?*",
                "[AUTH username password] [ID client-id [client-id ...]]",
            ),
            ("[PREFIX prefix]...", "prefix:string=PREFIX?**", "[PREFIX prefix [PREFIX prefix ...]]"),
            ("[TYPE kind:<A | B>]", "kind:oneof=TYPE?(a:pure-token=A b:pure-token=B)", "[TYPE <A | B>]"),
            (
                "filter:<old/ip:port~2.8.12 | new:<[ID client-id] | [ADDR addr/ip:port]>...>",
                "filter:oneof(old:string new:oneof*(client-id:integer=ID? addr:string=ADDR?))",
                "<ip:port | <[ID client-id] | [ADDR ip:port]> [<[ID client-id] | [ADDR ip:port]> ...]>",
            ),
            (
                "operator:[equal== | approximately=~] id:<auto-id=* | id>",
                "operator:oneof?(equal:pure-token== approximately:pure-token=~) id:oneof(auto-id:pure-token=* id:string)",
                "[= | ~] <* | id>",
            ),
            (
                "key [BY by-pattern/pattern#1] [GET get-pattern/pattern#1]... [STORE destination#2]",
                "key:key@0 by-pattern:pattern=BY@1? get-pattern:pattern=GET@1?** destination:key=STORE@2?",
                "key [BY pattern] [GET pattern [GET pattern ...]] [STORE destination]",
            ),
        ];
        for (syntax, expected, shown) in cases {
            assert_eq!(all(&parse(syntax)), expected, "{syntax}");
            assert_eq!(usage(syntax), shown, "{syntax}");
        }
    }

    #[test]
    fn marks_are_read_in_their_order() {
        let argument = &parse("keys/key#1@3.0.6~7.0.0...")[0];
        assert_eq!(
            (argument.name.as_str(), argument.display.as_deref(), argument.key_spec, argument.multiple),
            ("keys", Some("key"), Some(1), true)
        );
        assert_eq!(
            (argument.since.as_deref(), argument.deprecated.as_deref()),
            (Some("3.0.6"), Some("7.0.0"))
        );
    }

    #[test]
    fn every_row_has_a_syntax_that_can_be_read() {
        for row in super::super::table().rows() {
            let arguments = parse(row.command.syntax);
            let least = row.command.arity.unsigned_abs() as usize - 1 - usize::from(row.parent.is_some());
            assert!(arguments.len() <= 64, "{}", row.full_name);
            // Redis documents none of DEBUG's.
            let is_told =
                least == 0 || !arguments.is_empty() || !row.subrows.is_empty() || *row.full_name == *"debug";
            assert!(is_told, "{} needs arguments", row.full_name);
        }
    }
}
