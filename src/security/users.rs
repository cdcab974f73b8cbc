//! All users, shared by all workers.
//!
//! Design: a table of users is immutable. Whoever changes it makes another one and swaps it in; changers take turns by a lock that
//! no reader takes. Workers hold the table and look for a newer one when the configuration's version says so
//! (`config::live`), which whoever changes users moves on.
//!
//! Invariants: there is always a user `default`; numbers of users are never used twice.
//! Costs: a change copies the table's pointers.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;

use super::Catalog;
use super::log::AclLog;
use super::rules::{Ground, RuleError, join_selectors};
use super::user::{User, c_string, is_name};
use crate::config::Hash;
use crate::config::UserLine;

/// The user that connections are which have not said who they are.
pub const DEFAULT: &[u8] = b"default";

/// All users at some time.
#[derive(Clone, Debug)]
pub struct UserTable {
    version: u64,
    next_id: u64,
    users: BTreeMap<Box<[u8]>, Arc<User>>,
    default: Arc<User>,
}

/// Which `user` line is wrong, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationError {
    /// Its place among the lines.
    pub index: usize,
    /// What is wrong.
    pub reason: String,
}

/// Why a user was not changed. `Display` is the reply without `ERR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetError {
    /// This word begins a selector that is not closed.
    Unmatched(Vec<u8>),
    /// This rule was refused.
    Rule(Vec<u8>, RuleError),
}

impl SetError {
    /// Redis's words; what was given is repeated as it is.
    pub fn text(&self) -> Vec<u8> {
        match self {
            Self::Unmatched(word) => {
                [b"Unmatched parenthesis in acl selector starting at '", c_string(word), b"'."].concat()
            }
            Self::Rule(rule, error) => {
                let error = format!("': {error}");
                [b"Error in ACL SETUSER modifier '", c_string(rule), error.as_bytes()].concat()
            }
        }
    }
}

impl fmt::Display for DeclarationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

/// A user that has changed, or (no `new`) is gone.
#[derive(Clone, Debug)]
pub struct Change {
    /// What it was.
    pub old: Arc<User>,
    /// What it is.
    pub new: Option<Arc<User>>,
}

/// The users that all workers share.
pub struct Users {
    catalog: &'static dyn Catalog,
    current: ArcSwap<UserTable>,
    /// Held while a change is made, so that none is lost. Readers never take it.
    changing: Mutex<()>,
    /// What was refused.
    pub log: AclLog,
}

impl UserTable {
    /// The default user alone, who may do everything without a password.
    fn new(ground: Ground) -> Self {
        let default = Arc::new(everybody(0, ground));
        let users = BTreeMap::from([(DEFAULT.into(), Arc::clone(&default))]);
        Self { version: 0, next_id: 1, users, default }
    }

    /// Another one for each change.
    #[inline]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The user of this name.
    pub fn find(&self, name: &[u8]) -> Option<&Arc<User>> {
        self.users.get(name)
    }

    /// The user of this name, if it may come in with this password. That there is no such user takes as long to find as that the
    /// password is a wrong one, since else the time would tell who there is.
    pub fn admit(&self, name: &[u8], password: &[u8]) -> Option<&Arc<User>> {
        let user = self.find(name);
        let is_accepted = match user {
            Some(user) => user.accepts(password),
            None => Hash::is_known(password, &[]),
        };
        user.filter(|_| is_accepted)
    }

    /// What has become of a user; nothing if it was deleted, even if another has its name now.
    pub fn renewed(&self, user: &User) -> Option<&Arc<User>> {
        self.find(user.name()).filter(|known| known.id == user.id)
    }

    /// The default user.
    #[inline]
    pub fn default_user(&self) -> &Arc<User> {
        &self.default
    }

    /// All users by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<User>> {
        self.users.values()
    }

    fn put(&mut self, user: User) -> Arc<User> {
        let user = Arc::new(user);
        if *user.name == *DEFAULT {
            self.default = Arc::clone(&user);
        }
        self.users.insert(user.name.clone(), Arc::clone(&user));
        user
    }

    /// A user of this name as it is, or a new one.
    fn draft(&mut self, name: &[u8], ground: Ground) -> User {
        if let Some(user) = self.find(name) {
            return User::clone(user);
        }
        self.next_id += 1;
        User::new(self.next_id - 1, name, ground)
    }
}

/// The default user of a server that was told nothing.
fn everybody(id: u64, ground: Ground) -> User {
    let mut user = User::new(id, DEFAULT, ground);
    let rules: [&[u8]; 5] = [b"on", b"nopass", b"~*", b"&*", b"+@all"];
    rules.iter().try_for_each(|rule| user.apply(rule, ground)).expect("these rules are right");
    user
}

/// What `requirepass` does to the default user.
pub fn requirepass_rules(password: &[u8]) -> [Vec<u8>; 2] {
    let rule = if password.is_empty() { b"nopass".to_vec() } else { [b">", password].concat() };
    [b"resetpass".to_vec(), rule]
}

/// Applies rules in order to a user that is not shared yet.
pub(super) fn apply_all(user: &mut User, words: &[&[u8]], ground: Ground) -> Result<(), SetError> {
    let rules = join_selectors(words).map_err(|word| SetError::Unmatched(word.to_vec()))?;
    for rule in rules {
        if let Err(error) = user.apply(&rule, ground) {
            return Err(SetError::Rule(rule, error));
        }
    }
    Ok(())
}

impl Users {
    /// The default user with this password, if it is not empty, or as `declarations` make it, and the other users of these.
    pub fn new(
        catalog: &'static dyn Catalog,
        all_channels: bool,
        requirepass: &[u8],
        declarations: &[UserLine],
    ) -> Result<Self, DeclarationError> {
        let ground = Ground { catalog, all_channels };
        let mut table = UserTable::new(ground);
        if !requirepass.is_empty() {
            let mut user = User::clone(&table.default);
            for rule in requirepass_rules(requirepass) {
                user.apply(&rule, ground).expect("a password is a rule");
            }
            table.put(user);
        }
        for (index, declaration) in declarations.iter().enumerate() {
            let user = declare(&mut table, declaration, ground);
            let user = user.map_err(|what| DeclarationError {
                index,
                reason: format!(
                    "Error in user declaration '{}': {what}",
                    String::from_utf8_lossy(&declaration.name)
                ),
            })?;
            table.put(user);
        }
        Ok(Self {
            catalog,
            current: ArcSwap::from_pointee(table),
            changing: Mutex::new(()),
            log: AclLog::default(),
        })
    }

    /// What rules are applied on.
    pub fn ground(&self, all_channels: bool) -> Ground {
        Ground { catalog: self.catalog, all_channels }
    }

    /// The users as they are now.
    pub fn load(&self) -> Arc<UserTable> {
        self.current.load_full()
    }

    /// What a `user` line comes to, as it is written; nothing if it is wrong.
    pub fn canonical(&self, line: &UserLine, all_channels: bool) -> Option<UserLine> {
        let ground = self.ground(all_channels);
        let user = declare(&mut UserTable::new(ground), line, ground).ok()?;
        Some(user.declaration())
    }

    /// Replaces the table by what `change` makes of it, unless it fails.
    fn update<T, E>(&self, change: impl FnOnce(&mut UserTable) -> Result<T, E>) -> Result<T, E> {
        // The lock guards no data, so a panic while it was held left nothing broken.
        let _guard = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut table = UserTable::clone(&self.current.load());
        let outcome = change(&mut table)?;
        table.version += 1;
        self.current.store(Arc::new(table));
        Ok(outcome)
    }

    /// ACL SETUSER: all rules are applied, or none. What has changed, if the user was there before.
    pub fn set(&self, name: &[u8], words: &[&[u8]], all_channels: bool) -> Result<Option<Change>, SetError> {
        assert!(is_name(name), "the caller looked");
        self.update(|table| {
            let ground = self.ground(all_channels);
            let old = table.find(name).cloned();
            let mut user = table.draft(name, ground);
            apply_all(&mut user, words, ground)?;
            let new = table.put(user);
            Ok(old.map(|old| Change { old, new: Some(new) }))
        })
    }

    /// ACL DELUSER: those of these names that there were; `default` stays.
    pub fn delete(&self, names: &[&[u8]]) -> Vec<Change> {
        let deleted = self.update(|table| {
            let names = names.iter().filter(|name| **name != DEFAULT);
            let gone = names.filter_map(|name| table.users.remove(*name)).collect::<Vec<_>>();
            if gone.is_empty() { Err(()) } else { Ok(gone) }
        });
        let gone = deleted.unwrap_or_default();
        gone.into_iter().map(|old| Change { old, new: None }).collect()
    }

    /// The users of a file take the places of all there are; the default user is as new if the file has none.
    pub fn replace(&self, users: Vec<User>, all_channels: bool) -> Vec<Change> {
        let changed = self.update(|table| {
            let ground = self.ground(all_channels);
            let before = std::mem::take(&mut table.users);
            let id_of = |name: &[u8]| before.get(name).map(|user| user.id);
            table.put(everybody(id_of(DEFAULT).unwrap_or_default(), ground));
            for mut user in users {
                user.id = id_of(&user.name).unwrap_or_else(|| {
                    table.next_id += 1;
                    table.next_id - 1
                });
                table.put(user);
            }
            let changes = before.into_values().map(|old| Change { new: table.find(&old.name).cloned(), old });
            Ok::<_, std::convert::Infallible>(changes.collect())
        });
        match changed {
            Ok(changes) => changes,
            Err(never) => match never {},
        }
    }
}

/// The user that a `user` line makes.
fn declare(table: &mut UserTable, declaration: &UserLine, ground: Ground) -> Result<User, String> {
    let UserLine { name, rules } = declaration;
    if !is_name(name) {
        return Err("Usernames can't contain spaces or null characters".to_owned());
    }
    let mut user = table.draft(name, ground);
    user.apply(b"reset", ground).expect("a rule");
    let words: Vec<&[u8]> = rules.iter().map(Vec::as_slice).collect();
    apply_all(&mut user, &words, ground).map_err(|error| match error {
        // What was given may be a password.
        SetError::Rule(rule, error @ RuleError::Unknown) => {
            format!("{error}: {}", String::from_utf8_lossy(&rule))
        }
        SetError::Rule(_, error) => error.to_string(),
        unmatched @ SetError::Unmatched(_) => String::from_utf8_lossy(&unmatched.text()).into_owned(),
    })?;
    Ok(user)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// No commands at all: these tests run none.
    struct Nothing;

    impl Catalog for Nothing {
        fn rows(&self) -> usize {
            0
        }

        fn find(&self, _: &[u8]) -> Option<u16> {
            None
        }

        fn is_foreign(&self, _: &[u8]) -> bool {
            false
        }

        fn name(&self, _: u16) -> &str {
            ""
        }

        fn parent(&self, _: u16) -> Option<u16> {
            None
        }

        fn children(&self, _: u16) -> &[u16] {
            &[]
        }

        fn category(&self, _: &[u8]) -> Option<u32> {
            None
        }

        fn categories(&self, _: u16) -> u32 {
            0
        }
    }

    fn users() -> Users {
        let users = Users::new(&Nothing, true, b"", &[]).expect("nothing is declared");
        users.set(b"ada", &[b"on", b">right"], true).expect("these rules are right");
        users.set(b"off", &[b">right"], true).expect("these rules are right");
        users
    }

    #[test]
    fn users_come_in_with_their_password_while_they_are_on() {
        let table = users().load();
        assert!(table.admit(b"ada", b"right").is_some());
        assert!(table.admit(b"default", b"anything").is_some());
        for (name, password) in [("ada", "wrong"), ("off", "right"), ("nobody", "right"), ("nobody", "")] {
            assert!(table.admit(name.as_bytes(), password.as_bytes()).is_none(), "{name}");
        }
    }

    /// Only passwords of users that there were used to be hashed: with a long one the time of a reply told who there is.
    #[test]
    fn unknown_user_takes_as_long_as_a_wrong_password() {
        let (table, password) = (users().load(), vec![b'p'; 1 << 20]);
        let took = |name: &[u8]| {
            let once = || {
                let begun = Instant::now();
                assert!(table.admit(name, &password).is_none());
                begun.elapsed()
            };
            // The least is what it takes without what else the machine does.
            (0..5).map(|_| once()).min().unwrap_or(Duration::MAX)
        };
        let (known, unknown) = (took(b"ada"), took(b"nobody"));
        assert!(unknown * 4 > known, "{unknown:?} for an unknown user, {known:?} for a known one");
    }
}
