//! What one set of rules allows: which commands, keys and channels.
//!
//! Design: the rules about commands are kept twice, as the bitmap that decides and as the text that says how it came about, as
//! categories may gain commands and their order matters. A rule about a command takes back earlier ones about the same command
//! and its subcommands, so the text stays short.
//!
//! Invariants: `all_commands` only where every bit is set; patterns only where not everything is allowed.
//! Costs: whether a command may run is one bit; a key is compared with its patterns in their order, byte by byte where they are
//! prefixes.

use super::Catalog;
use crate::glob::{self, Case};

/// What a command does with a key, as far as permissions go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyNeed {
    /// It may tell what the key holds.
    pub reads: bool,
    /// It may change what the key holds.
    pub writes: bool,
}

/// Keys that may be used, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    pattern: Box<[u8]>,
    shape: Shape,
    reads: bool,
    writes: bool,
}

/// How a pattern is compared. Most are prefixes, for which a comparison of bytes does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Nothing in it stands for anything else.
    Literal,
    /// Nothing but the `*` that ends it does.
    Prefix,
    Other,
}

impl Shape {
    fn of(pattern: &[u8]) -> Self {
        let is_special = |byte: &u8| b"*?[\\".contains(byte);
        match pattern.iter().position(is_special) {
            None => Self::Literal,
            Some(at) if pattern[at..] == *b"*" => Self::Prefix,
            Some(_) => Self::Other,
        }
    }
}

impl KeyPattern {
    #[inline]
    fn matches(&self, key: &[u8]) -> bool {
        match self.shape {
            Shape::Literal => *self.pattern == *key,
            Shape::Prefix => key.starts_with(&self.pattern[..self.pattern.len() - 1]),
            Shape::Other => glob::matches(&self.pattern, key, Case::Sensitive),
        }
    }
}

/// A set of rules, applied in order to a selector that allows nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// A bit per row of the command table.
    commands: Box<[u64]>,
    /// Every command is allowed, and no rule has taken one away since.
    all_commands: bool,
    /// Whether the rules start from all commands rather than none.
    starts_from_all: bool,
    /// In the order in which they apply.
    rules: Vec<CommandRule>,
    /// Commands that are allowed with these first arguments only.
    first_args: Vec<(u16, Vec<Box<[u8]>>)>,
    all_keys: bool,
    keys: Vec<KeyPattern>,
    all_channels: bool,
    channels: Vec<Box<[u8]>>,
}

/// A command, a subcommand, a command with its first argument, or a category, as rules name it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct CommandRule {
    allows: bool,
    name: Box<[u8]>,
}

impl Selector {
    /// Allows nothing, but all channels if `acl-pubsub-default` says so.
    pub fn new(catalog: &dyn Catalog, all_channels: bool) -> Self {
        Self {
            commands: vec![0; catalog.rows().div_ceil(64)].into(),
            all_commands: false,
            starts_from_all: false,
            rules: Vec::new(),
            first_args: Vec::new(),
            all_keys: false,
            keys: Vec::new(),
            all_channels,
            channels: Vec::new(),
        }
    }

    /// Allows everything.
    pub(super) fn everything() -> Self {
        Self {
            commands: Box::default(),
            all_commands: true,
            starts_from_all: true,
            rules: Vec::new(),
            first_args: Vec::new(),
            all_keys: true,
            keys: Vec::new(),
            all_channels: true,
            channels: Vec::new(),
        }
    }

    /// Whether nothing has to be looked at before a command runs.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether the command of this row may run; `first_arg` is what follows its name.
    #[inline]
    pub fn allows_command<'a>(&self, row: u16, first_arg: impl FnOnce() -> Option<&'a [u8]>) -> bool {
        let (word, bit) = (usize::from(row) / 64, row % 64);
        if self.all_commands || self.commands.get(word).is_some_and(|word| word >> bit & 1 == 1) {
            return true;
        }
        if self.first_args.is_empty() {
            return false;
        }
        let allowed = self.first_args.iter().find(|(known, _)| *known == row);
        let (Some((_, allowed)), Some(given)) = (allowed, first_arg()) else { return false };
        allowed.iter().any(|known| known.eq_ignore_ascii_case(given))
    }

    /// Whether any key may be used for anything.
    #[inline]
    pub fn allows_all_keys(&self) -> bool {
        self.all_keys
    }

    /// Whether every key may be read, which what looks keys up by a pattern asks for.
    pub fn allows_reading_all(&self) -> bool {
        self.all_keys || self.keys.iter().any(|key| key.reads && *key.pattern == *b"*")
    }

    /// Whether a key may be used for this.
    #[inline]
    pub fn allows_key(&self, key: &[u8], need: KeyNeed) -> bool {
        let fits = |known: &&KeyPattern| (known.reads | !need.reads) & (known.writes | !need.writes);
        self.all_keys || self.keys.iter().filter(fits).any(|known| known.matches(key))
    }

    /// Whether any channel may be used.
    #[inline]
    pub fn allows_all_channels(&self) -> bool {
        self.all_channels
    }

    /// Whether a channel may be used; a pattern only if it is allowed literally.
    pub fn allows_channel(&self, name: &[u8], is_pattern: bool) -> bool {
        self.all_channels || channel_is_in(&self.channels, name, is_pattern)
    }

    /// The patterns of channels.
    pub fn channels(&self) -> &[Box<[u8]>] {
        &self.channels
    }

    /// `allcommands` and `nocommands`.
    pub(super) fn set_all_commands(&mut self, allows: bool) {
        self.commands.fill(if allows { u64::MAX } else { 0 });
        (self.all_commands, self.starts_from_all) = (allows, allows);
        self.rules.clear();
        self.first_args.clear();
    }

    /// A rule about a command and its subcommands.
    pub(super) fn set_command(&mut self, catalog: &dyn Catalog, row: u16, allows: bool) {
        self.set_bits(catalog, row, allows);
    }

    /// A rule about every command of a category.
    pub(super) fn set_category(&mut self, catalog: &dyn Catalog, category: u32, allows: bool) {
        for row in 0..catalog.rows() as u16 {
            if catalog.categories(row) & category != 0 {
                self.set_bits(catalog, row, allows);
            }
        }
    }

    fn set_bits(&mut self, catalog: &dyn Catalog, row: u16, allows: bool) {
        for row in [&[row], catalog.children(row)].into_iter().flatten() {
            let (word, bit) = (usize::from(*row) / 64, 1 << (row % 64));
            if allows {
                self.commands[word] |= bit;
            } else {
                self.commands[word] &= !bit;
                self.all_commands = false;
            }
        }
        self.first_args.retain(|(known, _)| *known != row);
    }

    /// A command is allowed with this first argument.
    pub(super) fn allow_first_arg(&mut self, row: u16, arg: &[u8]) {
        let place = self.first_args.iter().position(|(known, _)| *known == row);
        let place = place.unwrap_or_else(|| {
            self.first_args.push((row, Vec::new()));
            self.first_args.len() - 1
        });
        let allowed = &mut self.first_args[place].1;
        if !allowed.iter().any(|known| known.eq_ignore_ascii_case(arg)) {
            allowed.push(arg.into());
        }
    }

    /// Writes a rule down, which takes the place of what it makes void.
    pub(super) fn note_rule(&mut self, name: &[u8], allows: bool) {
        let name: Box<[u8]> = name.to_ascii_lowercase().into();
        let is_void = |known: &CommandRule| {
            known.name.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"|"))
        };
        self.rules.retain(|known| !is_void(known));
        self.rules.push(CommandRule { allows, name });
    }

    /// `allkeys` and `resetkeys`.
    pub(super) fn set_all_keys(&mut self, allows: bool) {
        self.all_keys = allows;
        self.keys.clear();
    }

    /// Adds a pattern of keys, or rights to one that is there.
    pub(super) fn add_keys(&mut self, pattern: &[u8], reads: bool, writes: bool) {
        assert!(!self.all_keys, "the grammar refuses it");
        match self.keys.iter_mut().find(|known| *known.pattern == *pattern) {
            Some(known) => {
                known.reads |= reads;
                known.writes |= writes;
            }
            None => {
                let shape = Shape::of(pattern);
                self.keys.push(KeyPattern { pattern: pattern.into(), shape, reads, writes });
            }
        }
    }

    /// `allchannels` and `resetchannels`.
    pub(super) fn set_all_channels(&mut self, allows: bool) {
        self.all_channels = allows;
        self.channels.clear();
    }

    /// Adds a pattern of channels.
    pub(super) fn add_channels(&mut self, pattern: &[u8]) {
        assert!(!self.all_channels, "the grammar refuses it");
        if !self.channels.iter().any(|known| **known == *pattern) {
            self.channels.push(pattern.into());
        }
    }

    /// The rules about commands, as GETUSER shows them.
    pub fn commands_text(&self) -> Vec<u8> {
        let mut text = if self.starts_from_all { b"+@all".to_vec() } else { b"-@all".to_vec() };
        for rule in &self.rules {
            text.extend_from_slice(if rule.allows { b" +" } else { b" -" });
            text.extend_from_slice(&rule.name);
        }
        text
    }

    /// The patterns of keys, as GETUSER shows them.
    pub fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let words = self.keys.iter().map(|key| {
            let sign: &[u8] = match (key.reads, key.writes) {
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            };
            [sign, &key.pattern].concat()
        });
        words.collect::<Vec<_>>().join(&b' ')
    }

    /// The patterns of channels, as GETUSER shows them.
    pub fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let words = self.channels.iter().map(|channel| [b"&", &**channel].concat());
        words.collect::<Vec<_>>().join(&b' ')
    }

    /// All rules, as a `user` line has them.
    pub fn text(&self) -> Vec<u8> {
        let reset: &[u8] = if self.all_channels { b"" } else { b"resetchannels" };
        let (keys, channels, commands) = (self.keys_text(), self.channels_text(), self.commands_text());
        let parts = [&keys[..], reset, &channels, &commands];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(&b' ')
    }
}

/// Whether a channel, or literally a pattern, is among these patterns.
pub fn channel_is_in(patterns: &[Box<[u8]>], name: &[u8], is_pattern: bool) -> bool {
    let fits = |known: &[u8]| {
        if is_pattern { known == name } else { glob::matches(known, name, Case::Sensitive) }
    };
    patterns.iter().any(|known| fits(known))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn shapes_are_told_apart() {
        for (pattern, shape) in [
            ("", Shape::Literal),
            ("a:b", Shape::Literal),
            ("*", Shape::Prefix),
            ("a:*", Shape::Prefix),
            ("a*b", Shape::Other),
            ("a**", Shape::Other),
            ("a?*", Shape::Other),
            ("a\\*", Shape::Other),
            ("[ab]*", Shape::Other),
        ] {
            assert_eq!(Shape::of(pattern.as_bytes()), shape, "{pattern}");
        }
    }

    proptest! {
        #[test]
        fn every_shape_matches_what_the_pattern_does(
            pattern in prop::collection::vec(prop::sample::select(b"ab*?[]\\-^".to_vec()), 0..5),
            key in prop::collection::vec(prop::sample::select(b"ab*?[]\\".to_vec()), 0..5),
        ) {
            let shape = Shape::of(&pattern);
            let known = KeyPattern { pattern: pattern.clone().into(), shape, reads: true, writes: true };
            prop_assert_eq!(known.matches(&key), glob::matches(&pattern, &key, Case::Sensitive));
        }
    }
}
