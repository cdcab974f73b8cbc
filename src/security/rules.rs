//! The grammar of rules: what each word of ACL SETUSER or of a `user` line does to a user.

use std::fmt;

use super::Catalog;
use super::selector::Selector;
use super::user::{User, c_string, has_space};
use crate::config::Hash;
use crate::config::split_line;

/// What rules are applied on.
#[derive(Clone, Copy)]
pub struct Ground {
    /// The commands.
    pub catalog: &'static dyn Catalog,
    /// Whether a new selector allows all channels (`acl-pubsub-default`).
    pub all_channels: bool,
}

/// Why a rule was refused. `Display` has Redis's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// No such command, subcommand or category.
    Unknown,
    /// No rule at all.
    Syntax,
    /// A pattern where every key is allowed.
    KeysAfterAll,
    /// A pattern where every channel is allowed.
    ChannelsAfterAll,
    /// `<` and `!` of a password that is not there.
    NoSuchPassword,
    /// `#` and `!` of what is no hash.
    BadHash,
    /// `+config|get|x`.
    FirstArgOfSubcommand,
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "Unknown command or category name in ACL",
            Self::Syntax => "Syntax error",
            Self::KeysAfterAll => {
                "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns"
            }
            Self::ChannelsAfterAll => {
                "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any effect. Try 'resetchannels' to start with an empty list of channels"
            }
            Self::NoSuchPassword => "The password you are trying to remove from the user does not exist",
            Self::BadHash => {
                "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
            }
            Self::FirstArgOfSubcommand => "Allowing first-arg of a subcommand is not supported",
        })
    }
}

/// Joins the words of selectors: `(+get`, `~a)` are one rule. Fails with the word that opens what is not closed.
pub fn join_selectors<'a>(words: &[&'a [u8]]) -> Result<Vec<Vec<u8>>, &'a [u8]> {
    let mut joined = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        match &mut open {
            Some((_, text)) => {
                text.push(b' ');
                text.extend_from_slice(word);
                if word.ends_with(b")") {
                    joined.extend(open.take().map(|(_, text)| text));
                }
            }
            None if word.starts_with(b"(") && !word.ends_with(b")") => open = Some((word, word.to_vec())),
            None => joined.push(word.to_vec()),
        }
    }
    match open {
        Some((word, _)) => Err(word),
        None => Ok(joined),
    }
}

impl User {
    /// Applies one rule.
    pub fn apply(&mut self, rule: &[u8], ground: Ground) -> Result<(), RuleError> {
        match rule {
            [] => return Ok(()),
            [b'>', password @ ..] => return self.add_password(Hash::of(password)),
            [b'<', password @ ..] => return self.remove_password(Hash::of(password)),
            [b'#', hash @ ..] => return self.add_password(Hash::from_hex(hash).ok_or(RuleError::BadHash)?),
            [b'!', hash @ ..] => {
                return self.remove_password(Hash::from_hex(hash).ok_or(RuleError::BadHash)?);
            }
            [b'(', rules @ .., b')'] => {
                let mut selector = Selector::new(ground.catalog, ground.all_channels);
                for rule in split_line(rules).unwrap_or_default() {
                    selector.apply(&rule, ground)?;
                }
                self.selectors.push(selector);
                return Ok(());
            }
            _ => {}
        }
        match c_string(rule).to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => (self.needs_no_password, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.needs_no_password, self.passwords) = (false, Vec::new()),
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            b"clearselectors" => self.selectors.clear(),
            b"reset" => self.reset(ground),
            _ => self.root.apply(rule, ground)?,
        }
        Ok(())
    }

    fn reset(&mut self, ground: Ground) {
        self.is_on = false;
        (self.needs_no_password, self.passwords) = (false, Vec::new());
        self.skips_sanitizing = false;
        self.selectors.clear();
        self.root = Selector::new(ground.catalog, ground.all_channels);
    }

    fn add_password(&mut self, password: Hash) -> Result<(), RuleError> {
        self.needs_no_password = false;
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
        Ok(())
    }

    fn remove_password(&mut self, password: Hash) -> Result<(), RuleError> {
        let place = self.passwords.iter().position(|known| *known == password);
        self.passwords.remove(place.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }
}

impl Selector {
    /// Applies one rule about commands, keys or channels.
    fn apply(&mut self, rule: &[u8], ground: Ground) -> Result<(), RuleError> {
        match c_string(rule).to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => self.set_all_keys(true),
            b"resetkeys" => self.set_all_keys(false),
            b"allchannels" | b"&*" => self.set_all_channels(true),
            b"resetchannels" => self.set_all_channels(false),
            b"allcommands" | b"+@all" => self.set_all_commands(true),
            b"nocommands" | b"-@all" => self.set_all_commands(false),
            _ => return self.apply_other(rule, ground.catalog),
        }
        Ok(())
    }

    fn apply_other(&mut self, rule: &[u8], catalog: &dyn Catalog) -> Result<(), RuleError> {
        let rule = if rule.starts_with(b"+") || rule.starts_with(b"-") { c_string(rule) } else { rule };
        match rule {
            [b'~' | b'%', ..] if self.allows_all_keys() => Err(RuleError::KeysAfterAll),
            [b'~', pattern @ ..] => self.allow_keys(pattern, true, true),
            [b'%', rest @ ..] => {
                let (reads, writes, pattern) = permissions(rest)?;
                self.allow_keys(pattern, reads, writes)
            }
            [b'&', ..] if self.allows_all_channels() => Err(RuleError::ChannelsAfterAll),
            [b'&', pattern @ ..] if has_space(pattern) => Err(RuleError::Syntax),
            [b'&', pattern @ ..] => {
                self.add_channels(pattern);
                Ok(())
            }
            [sign @ (b'+' | b'-'), b'@', name @ ..] => {
                let category = catalog.category(name).ok_or(RuleError::Unknown)?;
                self.set_category(catalog, category, *sign == b'+');
                self.note_rule(&rule[1..], *sign == b'+');
                Ok(())
            }
            [b'+', name @ ..] => match name.iter().rposition(|byte| *byte == b'|') {
                Some(bar) => self.allow_part(name, &name[..bar], &name[bar + 1..], catalog),
                None => self.change_command(name, true, catalog),
            },
            [b'-', name @ ..] => self.change_command(name, false, catalog),
            _ => Err(RuleError::Syntax),
        }
    }

    fn allow_keys(&mut self, pattern: &[u8], reads: bool, writes: bool) -> Result<(), RuleError> {
        if has_space(pattern) {
            return Err(RuleError::Syntax);
        }
        self.add_keys(pattern, reads, writes);
        Ok(())
    }

    /// `+get`, `-config|get`. What Redis has and Torc has not is written down, so that a file for Redis means the same here.
    fn change_command(&mut self, name: &[u8], allows: bool, catalog: &dyn Catalog) -> Result<(), RuleError> {
        match catalog.find(name) {
            Some(row) => {
                self.set_command(catalog, row, allows);
                self.note_rule(catalog.name(row).as_bytes(), allows);
            }
            None if catalog.is_foreign(name) => self.note_rule(name, allows),
            None => return Err(RuleError::Unknown),
        }
        Ok(())
    }

    /// `+config|get` allows a subcommand, `+select|0` a command with this first argument.
    fn allow_part(
        &mut self,
        name: &[u8],
        whole: &[u8],
        part: &[u8],
        catalog: &dyn Catalog,
    ) -> Result<(), RuleError> {
        if catalog.find(whole).is_none() && catalog.is_foreign(name) {
            self.note_rule(name, true);
            return Ok(());
        }
        let row = catalog.find(whole).ok_or(RuleError::Unknown)?;
        if catalog.parent(row).is_some() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        if part.is_empty() {
            return Err(RuleError::Syntax);
        }
        if catalog.children(row).is_empty() {
            self.allow_first_arg(row, part);
        } else {
            self.set_command(catalog, catalog.find(name).ok_or(RuleError::Unknown)?, true);
        }
        self.note_rule(name, true);
        Ok(())
    }
}

/// What stands between `%` and `~`, and the pattern behind.
fn permissions(text: &[u8]) -> Result<(bool, bool, &[u8]), RuleError> {
    let (mut reads, mut writes, mut rest) = (false, false, text);
    while let [letter, more @ ..] = rest {
        rest = more;
        match letter.to_ascii_uppercase() {
            b'R' if !reads => reads = true,
            b'W' if !writes => writes = true,
            b'~' => break,
            _ => return Err(RuleError::Syntax),
        }
    }
    if reads || writes { Ok((reads, writes, rest)) } else { Err(RuleError::Syntax) }
}
