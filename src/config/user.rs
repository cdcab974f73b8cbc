//! The only user there is, `default`: its passwords, and what a `user` line may say of it.
//!
//! Design: Redis keeps the hash of a password in the rules of users, and writes those into its file (`user default on
//! #<SHA-256> ~* &* +@all`); so hashes are what is kept here, whether they come from such a line, from `requirepass` or from
//! CONFIG SET. Rules are applied in order to a user without any right, as Redis does it. What they make must be the user
//! that Torc has, who may do everything: all else is refused, because a server that ignored it would be open to everybody.
//!
//! Rules about channels are kept for CONFIG REWRITE only: there are no published messages yet.
//!
//! Not here: who asks for a password (`command::connection`).

use std::fmt;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::kind::Reason;
use super::load::BAD_DIRECTIVE;

/// Why users other than the default one are refused.
pub(super) const NO_USERS: &str = "Torc has no ACL yet: there is only the default user, who may do everything. \
    Remove this line and give that user a password with requirepass";

/// The SHA-256 of a password.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Hash([u8; 32]);

impl Hash {
    fn of(password: &[u8]) -> Self {
        Self(Sha256::digest(password).into())
    }

    /// Reads what `Display` writes.
    fn from_hex(text: &[u8]) -> Option<Self> {
        let mut hash = [0; 32];
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Some(digit - b'0'),
            b'a'..=b'f' => Some(digit - b'a' + 10),
            _ => None,
        };
        if text.len() != 2 * hash.len() {
            return None;
        }
        for (byte, digits) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = value(digits[0])? << 4 | value(digits[1])?;
        }
        Some(Self(hash))
    }

    /// Compares without telling by its duration where the two differ.
    fn equals(self, other: Self) -> bool {
        let bits =
            self.0.iter().zip(other.0).fold(0, |bits, (one, two)| std::hint::black_box(bits | (one ^ two)));
        bits == 0
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("#...")
    }
}

/// The user that every connection starts as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultUser {
    /// Each of them will do; none: any password will, and none is asked for.
    passwords: Vec<Hash>,
    skips_sanitizing: bool,
    all_channels: bool,
}

impl Default for DefaultUser {
    fn default() -> Self {
        Self { passwords: Vec::new(), skips_sanitizing: false, all_channels: true }
    }
}

impl DefaultUser {
    /// Whether no password is asked for.
    pub fn is_open(&self) -> bool {
        self.passwords.is_empty()
    }

    /// Whether a client that gives this password is the default user.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let given = Hash::of(password);
        // All are looked at, however many there are before the right one.
        let found = self.passwords.iter().fold(false, |found, known| found | known.equals(given));
        found || self.is_open()
    }

    /// Takes `requirepass` for the only password; an empty one is none.
    pub(super) fn set_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        if !password.is_empty() {
            self.passwords.push(Hash::of(password));
        }
    }

    /// The `user` line without its first word, as ACL LIST shows it.
    pub(super) fn rules(&self) -> String {
        let mut rules = String::from("default on ");
        rules += if self.is_open() { "nopass " } else { "" };
        rules += if self.skips_sanitizing { "skip-sanitize-payload" } else { "sanitize-payload" };
        for password in &self.passwords {
            write!(rules, " #{password}").expect("a String takes any text");
        }
        rules += if self.all_channels { " ~* &* +@all" } else { " ~* resetchannels +@all" };
        rules
    }
}

/// What the rules of a `user` line make of a user.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Rules {
    is_on: bool,
    needs_no_password: bool,
    passwords: Vec<Hash>,
    all_keys: bool,
    all_commands: bool,
    /// Not said: as `acl-pubsub-default` says.
    all_channels: Option<bool>,
    skips_sanitizing: bool,
}

/// Reads the arguments of a `user` line.
pub(super) fn parse(args: &[Vec<u8>]) -> Result<Rules, Reason> {
    let Some((name, words)) = args.split_first() else { return Err(BAD_DIRECTIVE.into()) };
    if name != b"default" {
        return Err(NO_USERS.into());
    }
    let mut rules = Rules::default();
    for word in words {
        rules.apply(word)?;
    }
    let may_all = rules.is_on && rules.all_keys && rules.all_commands;
    if !may_all || rules.passwords.is_empty() != rules.needs_no_password {
        return Err(NO_USERS.into());
    }
    Ok(rules)
}

impl Rules {
    /// The user they make where a new one may use all channels, or none.
    pub(super) fn user(&self, all_channels: bool) -> DefaultUser {
        DefaultUser {
            passwords: self.passwords.clone(),
            skips_sanitizing: self.skips_sanitizing,
            all_channels: self.all_channels.unwrap_or(all_channels),
        }
    }

    fn apply(&mut self, rule: &[u8]) -> Result<(), Reason> {
        match rule {
            [b'>', password @ ..] => return self.add(Hash::of(password)),
            [b'<', password @ ..] => return self.remove(Hash::of(password)),
            [b'#', hash @ ..] => return self.add(parse_hash(hash)?),
            [b'!', hash @ ..] => return self.remove(parse_hash(hash)?),
            _ => {}
        }
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => (self.needs_no_password, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.needs_no_password, self.passwords) = (false, Vec::new()),
            b"~*" | b"%rw~*" | b"%wr~*" | b"allkeys" => self.all_keys = true,
            b"resetkeys" => self.all_keys = false,
            b"&*" | b"allchannels" => self.all_channels = Some(true),
            b"resetchannels" => self.all_channels = Some(false),
            b"+@all" | b"allcommands" => self.all_commands = true,
            b"-@all" | b"nocommands" => self.all_commands = false,
            b"sanitize-payload" => self.skips_sanitizing = false,
            b"skip-sanitize-payload" => self.skips_sanitizing = true,
            // There is none to clear: what makes one is refused.
            b"clearselectors" => {}
            b"reset" => *self = Self::default(),
            _ => return Err(NO_USERS.into()),
        }
        Ok(())
    }

    fn add(&mut self, password: Hash) -> Result<(), Reason> {
        self.needs_no_password = false;
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
        Ok(())
    }

    fn remove(&mut self, password: Hash) -> Result<(), Reason> {
        let place = self.passwords.iter().position(|known| *known == password);
        let place = place.ok_or_else(|| {
            in_declaration("The password you are trying to remove from the user does not exist")
        })?;
        self.passwords.remove(place);
        Ok(())
    }
}

fn parse_hash(text: &[u8]) -> Result<Hash, Reason> {
    Hash::from_hex(text).ok_or_else(|| {
        in_declaration("The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters")
    })
}

/// Redis's words around what is wrong in a `user` line.
pub(super) fn in_declaration(what: &str) -> Reason {
    format!("Error in user declaration 'default': {what}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-256 of `foo`.
    const FOO: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

    fn user(rules: &str) -> Result<DefaultUser, Reason> {
        let words: Vec<Vec<u8>> = rules.split(' ').map(|word| word.as_bytes().to_vec()).collect();
        parse(&words).map(|rules| rules.user(false))
    }

    fn accepts(rules: &str, password: &str) -> bool {
        user(rules).unwrap_or_else(|reason| panic!("{rules}: {reason}")).accepts(password.as_bytes())
    }

    #[test]
    fn passwords_are_compared_in_full() {
        let mut user = DefaultUser::default();
        assert!(user.is_open() && user.accepts(b"") && user.accepts(b"any"));
        user.set_password(b"secret");
        assert!(!user.is_open() && user.accepts(b"secret"));
        for wrong in [&b""[..], b"secre", b"secrets", b"Secret", b"secretsecret"] {
            assert!(!user.accepts(wrong));
        }
        for byte in 0..32 {
            let mut other = Hash::of(b"secret");
            other.0[byte] ^= 1;
            assert!(!other.equals(Hash::of(b"secret")));
        }
        assert!(!format!("{user:?}").contains("2bb80d"), "a hash is not shown");
    }

    #[test]
    fn every_form_of_the_user_with_all_rights_is_a_password_and_no_more() {
        let forms = [
            format!("default on sanitize-payload #{FOO} ~* &* +@all"),
            format!("default on #{FOO} ~* +@all"),
            format!("default on skip-sanitize-payload #{FOO} ~* resetchannels +@all"),
            "default ON >foo ALLKEYS allchannels AllCommands".to_owned(),
            "default nopass >foo +@all ~* on".to_owned(),
            "default off on -@all +@all resetkeys %RW~* >foo clearselectors".to_owned(),
            "default >bar resetpass >foo on ~* +@all".to_owned(),
            "default >bar <bar >foo >foo on ~* +@all".to_owned(),
            format!("default >foo #{FOO} on ~* +@all"),
            "default on nopass reset on >foo ~* +@all".to_owned(),
        ];
        for form in forms {
            assert!(accepts(&form, "foo") && !accepts(&form, "bar") && !accepts(&form, ""), "{form}");
        }
        assert!(["foo", "bar"].iter().all(|password| accepts("default on >foo >bar ~* &* +@all", password)));
        assert!(accepts("default on >foo nopass ~* &* +@all", "any"));
    }

    #[test]
    fn rules_come_back_as_redis_writes_them() {
        let cases = [
            ("default on nopass ~* &* +@all", "default on nopass sanitize-payload ~* &* +@all".to_owned()),
            (
                "default on >foo ~* +@all skip-sanitize-payload",
                format!("default on skip-sanitize-payload #{FOO} ~* resetchannels +@all"),
            ),
        ];
        for (given, written) in cases {
            let read = user(given).expect("all rights");
            assert_eq!(read.rules(), written);
            assert_eq!(user(&written), Ok(read));
        }
        let silent = parse(&["default", "on", "nopass", "~*", "+@all"].map(|word| word.as_bytes().to_vec()));
        assert!(silent.is_ok_and(|rules| rules.user(true).all_channels && !rules.user(false).all_channels));
    }

    #[test]
    fn whoever_is_not_the_user_with_all_rights_is_refused() {
        let short = &FOO[1..];
        let upper = FOO.to_uppercase();
        let no_users = NO_USERS.to_owned();
        let no_hash = in_declaration(
            "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters",
        );
        let absent = in_declaration("The password you are trying to remove from the user does not exist");
        let cases = [
            ("default on nopass".to_owned(), no_users.as_str()),
            ("default off nopass ~* &* +@all".to_owned(), &no_users),
            ("default on ~* &* +@all".to_owned(), &no_users),
            ("default on nopass resetpass ~* &* +@all".to_owned(), &no_users),
            ("default on nopass ~app:* &* +@all".to_owned(), &no_users),
            ("default on nopass %R~* &* +@all".to_owned(), &no_users),
            ("default on nopass ~* &* +@all -@admin".to_owned(), &no_users),
            ("default on nopass ~* &* +@all -get".to_owned(), &no_users),
            ("default on nopass ~* &* +@all (~a +get)".to_owned(), &no_users),
            ("Default on nopass ~* &* +@all".to_owned(), &no_users),
            ("alice on nopass ~* &* +@all".to_owned(), &no_users),
            (format!("default on #{short} ~* &* +@all"), &no_hash),
            (format!("default on #{upper} ~* &* +@all"), &no_hash),
            ("default on >a <b ~* &* +@all".to_owned(), &absent),
        ];
        for (rules, reason) in cases {
            assert_eq!(user(&rules).err().as_deref(), Some(reason), "{rules}");
        }
    }
}
