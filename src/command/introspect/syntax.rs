//! Reads the notation of a row's arguments, `key [NX | XX] [EX seconds]`, into the tree that COMMAND DOCS shows.
//!
//! Design: two passes. The first finds words, groups (`[...]` optional, `<...>` not) and their alternatives; the second makes
//! arguments of them, because only there is it known what a word belongs to:
//! - a word in capitals is a token. It takes the words after it, up to the next group in `[]` or token: `EX seconds`;
//! - a group that ends in `...` repeats what stands before it: `key value [key value ...]`;
//! - several alternatives are a `oneof`, several arguments in one place a `block`.
//!
//! The notation does not say what type a value has; it follows from the name, as names are used throughout the rows.

/// One argument, or several that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Argument {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) token: Option<String>,
    pub(super) optional: bool,
    pub(super) multiple: bool,
    /// The token is repeated with each value.
    pub(super) multiple_token: bool,
    /// Which of the command's key specifications finds it.
    pub(super) key_spec: Option<usize>,
    pub(super) children: Vec<Argument>,
}

/// What an argument is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
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

impl Kind {
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

    /// What a value of this name is.
    fn of(name: &str) -> Self {
        const KEYS: &[&str] =
            &["key", "key1", "key2", "newkey", "source", "sourcekey", "destination", "destkey", "dst", "src"];
        const INTEGERS: &[&str] = &[
            "bit",
            "bits",
            "client-id",
            "count",
            "cursor",
            "db",
            "decrement",
            "destination-db",
            "end",
            "frequency",
            "index",
            "index1",
            "index2",
            "len",
            "limit",
            "maxage",
            "milliseconds",
            "min-match-len",
            "numkeys",
            "numlocal",
            "numreplicas",
            "offset",
            "port",
            "protover",
            "rank",
            "seconds",
            "start",
            "stop",
            "timeout",
            "ttl",
            "version",
        ];
        const DOUBLES: &[&str] = &["height", "latitude", "longitude", "radius", "score", "weight", "width"];
        match name {
            "pattern" => Self::Pattern,
            "unix-time-seconds" | "unix-time-milliseconds" => Self::UnixTime,
            _ if KEYS.contains(&name) => Self::Key,
            _ if INTEGERS.contains(&name) => Self::Integer,
            _ if DOUBLES.contains(&name) => Self::Double,
            _ => Self::Text,
        }
    }
}

enum Node<'a> {
    Word(&'a str),
    Group { optional: bool, alternatives: Vec<Vec<Node<'a>>> },
}

const MORE: &str = "...";

/// The arguments that a syntax describes, for a command with so many key specifications.
pub(super) fn parse(syntax: &str, key_specs: usize) -> Vec<Argument> {
    let mut words = split(syntax).into_iter();
    let mut alternatives = read(&mut words);
    assert!(alternatives.len() == 1, "alternatives stand in brackets: {syntax}");
    let mut arguments = build(&alternatives.remove(0));
    Numbering { specs: key_specs, next: 0, patterns: None }.number(&mut arguments);
    arguments
}

/// Words and brackets. A word may hold `|` or brackets only if it is one of them.
fn split(syntax: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for mut word in syntax.split_whitespace() {
        while let Some(at) = word.find(['[', ']', '<', '>', '|']) {
            let (before, rest) = word.split_at(at);
            words.extend([before, &rest[..1]].into_iter().filter(|part| !part.is_empty()));
            word = &rest[1..];
        }
        words.extend((!word.is_empty()).then_some(word));
    }
    words
}

/// Reads to the end of the group: its alternatives.
fn read<'a>(words: &mut std::vec::IntoIter<&'a str>) -> Vec<Vec<Node<'a>>> {
    let mut alternatives = vec![Vec::new()];
    while let Some(word) = words.next() {
        let node = match word {
            "]" | ">" => break,
            "|" => {
                alternatives.push(Vec::new());
                continue;
            }
            "[" | "<" => Node::Group { optional: word == "[", alternatives: read(words) },
            word => Node::Word(word),
        };
        alternatives.last_mut().expect("there is one to begin with").push(node);
    }
    alternatives
}

impl Node<'_> {
    fn is_token(&self) -> bool {
        matches!(self, Self::Word(word) if is_token(word))
    }

    /// The nodes that a repeating group repeats.
    fn repeated(&self) -> Option<&[Self]> {
        let Self::Group { alternatives, .. } = self else { return None };
        match &alternatives[..] {
            [nodes] => match nodes.split_last() {
                Some((Self::Word(MORE), nodes)) => Some(nodes),
                _ => None,
            },
            _ => None,
        }
    }

    /// Whether a token before it takes it.
    fn is_value(&self) -> bool {
        match self {
            Self::Word(word) => !is_token(word),
            Self::Group { optional: false, .. } => true,
            group => group.repeated().is_some_and(|nodes| nodes.first().is_some_and(|node| !node.is_token())),
        }
    }
}

fn is_token(word: &str) -> bool {
    word.bytes().any(|byte| byte.is_ascii_uppercase()) && !word.bytes().any(|byte| byte.is_ascii_lowercase())
}

fn build(nodes: &[Node<'_>]) -> Vec<Argument> {
    let mut arguments = Vec::new();
    let mut rest = nodes;
    while let Some((node, after)) = rest.split_first() {
        rest = after;
        if let Some(nodes) = node.repeated() {
            repeat(&mut arguments, nodes);
            continue;
        }
        match node {
            Node::Word(word) if is_token(word) => {
                let values = after.iter().take_while(|node| node.is_value()).count();
                arguments.push(with_token(word, build(&after[..values])));
                rest = &after[values..];
            }
            Node::Word(word) => {
                arguments.push(Argument {
                    name: (*word).to_owned(),
                    kind: Kind::of(word),
                    ..Argument::default()
                });
            }
            Node::Group { optional, alternatives } => {
                let choices: Vec<_> = alternatives.iter().map(|nodes| one(build(nodes))).collect();
                let mut group = if choices.len() == 1 { one(choices) } else { joined(Kind::OneOf, choices) };
                group.optional |= *optional;
                arguments.push(group);
            }
        }
    }
    arguments
}

fn with_token(word: &str, values: Vec<Argument>) -> Argument {
    let token = Some(word.to_owned());
    if values.is_empty() {
        return Argument {
            name: word.to_ascii_lowercase(),
            kind: Kind::PureToken,
            token,
            ..Argument::default()
        };
    }
    Argument { token, ..one(values) }
}

/// Makes what stands before a repeating group the repeated argument.
fn repeat(arguments: &mut Vec<Argument>, nodes: &[Node<'_>]) {
    let count = build(nodes).len().clamp(1, arguments.len().max(1));
    let repeated = arguments.split_off(arguments.len().saturating_sub(count));
    assert!(!repeated.is_empty(), "a repetition repeats something");
    let with_token = nodes.first().is_some_and(Node::is_token);
    arguments.push(Argument { multiple: true, multiple_token: with_token, ..one(repeated) });
}

/// Several arguments in one place are a block.
fn one(mut arguments: Vec<Argument>) -> Argument {
    if arguments.len() == 1 { arguments.remove(0) } else { joined(Kind::Block, arguments) }
}

fn joined(kind: Kind, children: Vec<Argument>) -> Argument {
    let names: Vec<_> = children.iter().map(|child| child.name.as_str()).collect();
    Argument { name: names.join("-"), kind, children, ..Argument::default() }
}

/// Keys are found by the specifications in order; the last one finds all that are left. Patterns are of keys if there is a
/// specification left for them, which is one for all of them.
struct Numbering {
    specs: usize,
    next: usize,
    patterns: Option<usize>,
}

impl Numbering {
    fn number(&mut self, arguments: &mut [Argument]) {
        for argument in arguments {
            match argument.kind {
                Kind::Key if self.specs == 0 => argument.kind = Kind::Text,
                Kind::Key => argument.key_spec = Some(self.take().unwrap_or(self.specs - 1)),
                Kind::Pattern => {
                    self.patterns = self.patterns.or_else(|| self.take());
                    argument.key_spec = self.patterns;
                }
                _ => {}
            }
            self.number(&mut argument.children);
        }
    }

    fn take(&mut self) -> Option<usize> {
        let spec = self.next;
        self.next += 1;
        (spec < self.specs).then_some(spec)
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
            ("", 0, ""),
            ("[message]", 0, "message:string?"),
            ("key [key ...]", 1, "key:key@0*"),
            ("key newkey", 2, "key:key@0 newkey:key@1"),
            ("key1 key2", 1, "key1:key@0 key2:key@0"),
            ("key value [key value ...]", 1, "key-value:block*(key:key@0 value:string)"),
            ("<ON | OFF>", 0, "on-off:oneof(on:pure-token=ON off:pure-token=OFF)"),
            ("[ON|OFF]", 0, "on-off:oneof?(on:pure-token=ON off:pure-token=OFF)"),
            ("cursor [MATCH pattern]", 0, "cursor:integer pattern:pattern=MATCH?"),
            (
                "key [EX seconds | KEEPTTL] [GET]",
                1,
                "key:key@0 seconds-keepttl:oneof?(seconds:integer=EX keepttl:pure-token=KEEPTTL) get:pure-token=GET?",
            ),
            (
                "[AUTH username password] [ID client-id [client-id ...]]",
                0,
                "username-password:block=AUTH?(username:string password:string) client-id:integer=ID?*",
            ),
            ("[PREFIX prefix [PREFIX prefix ...]]", 0, "prefix:string=PREFIX?**"),
            ("[TYPE <A | B>]", 0, "a-b:oneof=TYPE?(a:pure-token=A b:pure-token=B)"),
            (
                "<ip:port | <[ID client-id] | [ADDR ip:port]> [...]>",
                0,
                "ip:port-client-id-ip:port:oneof(ip:port:string client-id-ip:port:oneof*(client-id:integer=ID? \
                 ip:port:string=ADDR?))",
            ),
            ("[protover [SETNAME name]]", 0, "protover-name:block?(protover:integer name:string=SETNAME?)"),
            ("[key [key ...]]", 0, "key:string?*"),
            (
                "key [BY pattern] [GET pattern [GET pattern ...]] [STORE destination]",
                3,
                "key:key@0 pattern:pattern=BY@1? pattern:pattern=GET@1?** destination:key=STORE@2?",
            ),
        ];
        for (syntax, specs, expected) in cases {
            assert_eq!(all(&parse(syntax, specs)), expected, "{syntax}");
        }
    }

    #[test]
    fn every_row_has_a_syntax_that_can_be_read() {
        for row in super::super::table().rows() {
            let arguments = parse(row.command.syntax, row.command.keys.len());
            let least = row.command.arity.unsigned_abs() as usize - 1 - usize::from(row.parent.is_some());
            assert!(arguments.len() <= 64, "{}", row.full_name);
            let is_told = least == 0 || !arguments.is_empty() || !row.subrows.is_empty();
            assert!(is_told, "{} needs arguments", row.full_name);
        }
    }
}
