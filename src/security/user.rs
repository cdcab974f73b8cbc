//! A user: whether it may come in, with which passwords, and what it may do.

use std::sync::{Arc, OnceLock};

use super::rules::Ground;
use super::selector::{Selector, channel_is_in};
use crate::config::Hash;
use crate::config::UserLine;

/// A user as it was at some time; a change makes another one with the same number.
#[derive(Clone, Debug)]
pub struct User {
    /// Unique: a user that is deleted and made anew has another.
    pub(super) id: u64,
    pub(super) name: Box<[u8]>,
    pub(super) is_on: bool,
    /// Any password will do.
    pub(super) needs_no_password: bool,
    /// Each of them will do.
    pub(super) passwords: Vec<Hash>,
    /// Whether RESTORE may trust what it is given. Torc never does.
    pub(super) skips_sanitizing: bool,
    pub(super) root: Selector,
    pub(super) selectors: Vec<Selector>,
}

/// Whether a text has what words are separated by.
pub(super) fn has_space(text: &[u8]) -> bool {
    text.iter().any(|byte| matches!(byte, 0 | b' ' | b'\t' | b'\n' | 0x0B | 0x0C | b'\r'))
}

/// What Redis reads of a text where it takes it for a string of C.
pub(super) fn c_string(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// Whether a user may be called so.
pub fn is_name(text: &[u8]) -> bool {
    !has_space(text)
}

impl User {
    /// A user that may do nothing, not even come in.
    pub(super) fn new(id: u64, name: &[u8], ground: Ground) -> Self {
        Self {
            id,
            name: name.into(),
            is_on: false,
            needs_no_password: false,
            passwords: Vec::new(),
            skips_sanitizing: false,
            root: Selector::new(ground.catalog, ground.all_channels),
            selectors: Vec::new(),
        }
    }

    /// Who may do everything and is nobody: whose commands are the server's own.
    pub fn superuser() -> Arc<User> {
        static SUPERUSER: OnceLock<Arc<User>> = OnceLock::new();
        let user = SUPERUSER.get_or_init(|| {
            Arc::new(User {
                id: u64::MAX,
                name: b"(superuser)"[..].into(),
                is_on: true,
                needs_no_password: true,
                passwords: Vec::new(),
                skips_sanitizing: false,
                root: Selector::everything(),
                selectors: Vec::new(),
            })
        });
        Arc::clone(user)
    }

    /// Its number.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether it may come in.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether any password will do.
    pub fn needs_no_password(&self) -> bool {
        self.needs_no_password
    }

    /// Whether a connection that says nothing may be this user.
    pub fn is_open(&self) -> bool {
        self.is_on && self.needs_no_password
    }

    /// Whether a client that gives this password may come in as this user.
    pub fn accepts(&self, password: &[u8]) -> bool {
        let is_known = Hash::is_known(password, &self.passwords);
        self.is_on && (self.needs_no_password || is_known)
    }

    /// Whether it may do everything.
    pub fn is_unrestricted(&self) -> bool {
        self.root.is_unrestricted()
    }

    /// What it may do: each selector allows something by itself, the root first.
    #[inline]
    pub fn selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// The rules outside of selectors.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The others.
    pub fn others(&self) -> &[Selector] {
        &self.selectors
    }

    /// The hashes of its passwords in hexadecimal digits.
    pub fn passwords(&self) -> impl ExactSizeIterator<Item = String> + '_ {
        self.passwords.iter().map(ToString::to_string)
    }

    /// What GETUSER calls flags.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        let all = [
            (self.is_on, "on"),
            (!self.is_on, "off"),
            (self.needs_no_password, "nopass"),
            (self.skips_sanitizing, "skip-sanitize-payload"),
            (!self.skips_sanitizing, "sanitize-payload"),
        ];
        all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, name)| name)
    }

    /// Its rules as ACL LIST shows them: what makes it again of a new user.
    pub fn rules(&self) -> Vec<u8> {
        let mut text = self.flags().collect::<Vec<_>>().join(" ").into_bytes();
        for password in &self.passwords {
            text.extend_from_slice(format!(" #{password}").as_bytes());
        }
        text.push(b' ');
        text.extend(self.root.text());
        for selector in &self.selectors {
            text.extend_from_slice(b" (");
            text.extend(selector.text());
            text.push(b')');
        }
        text
    }

    /// What declares it in a configuration.
    pub fn declaration(&self) -> UserLine {
        let rules = self.rules().split(|byte| *byte == b' ').map(<[u8]>::to_vec).collect();
        UserLine { name: self.name.to_vec(), rules }
    }

    /// The line that declares it in a file of users.
    pub fn line(&self) -> Vec<u8> {
        [b"user ", &*self.name, b" ", &self.rules()].concat()
    }

    /// The patterns of channels that are left to whoever has subscribed as this user before it became `new`; nothing if no
    /// right to a channel was taken away.
    pub fn channels_left(&self, new: &User) -> Option<Vec<Box<[u8]>>> {
        if new.selectors().any(Selector::allows_all_channels) {
            return None;
        }
        let left: Vec<Box<[u8]>> =
            new.selectors().flat_map(|selector| selector.channels().iter().cloned()).collect();
        let keeps = |selector: &Selector| {
            let is_left = |channel: &[u8]| channel_is_in(&left, channel, true);
            !selector.allows_all_channels() && selector.channels().iter().all(|channel| is_left(channel))
        };
        if self.selectors().all(keeps) { None } else { Some(left) }
    }
}
