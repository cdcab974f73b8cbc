//! Who may do what: users, their passwords and their rules (Redis's ACL); and what is served over TLS.
//!
//! | file | what |
//! |---|---|
//! | `selector` | what a set of rules allows, compiled; and its canonical text |
//! | `rules` | the grammar of rules |
//! | `user` | a user: passwords and selectors |
//! | `users` | all users; changing them |
//! | `file` | the file of `aclfile` |
//! | `log` | what was refused |
//! | `secret` | random bytes of the kernel |
//! | `tls` | what is served over TLS |
//!
//! Design: a user is immutable and shared; a change makes another one with the same number, and a new table of all users, which
//! is swapped in whole. A session holds its user and the version of the table it was taken from, so that running a command
//! takes no lock. Rules are kept as text, in the order in which they apply, and as what they come to: a bitmap of commands,
//! patterns of keys and channels.
//!
//! Not here: which keys and channels a command has (`command::permission`), ACL (`command::acl`), when a session takes up a
//! change (`worker::client_run`).

mod file;
mod log;
mod rules;
mod secret;
mod selector;
pub mod tls;
mod user;
mod users;

pub use file::{FileError, parse as parse_file, text as file_text};
pub use log::{AclLog, Context, LogEntry, Reason, Refused};
pub use rules::{Ground, RuleError, join_selectors};
pub use secret::secret;
pub use selector::{KeyNeed, Selector, channel_is_in};
pub use user::{User, is_name};
pub use users::{Change, DEFAULT, DeclarationError, SetError, UserTable, Users, requirepass_rules};

/// What rules are about: the commands. The command table is one.
pub trait Catalog: Sync {
    /// How many rows there are; a row's number is less.
    fn rows(&self) -> usize;
    /// The row with this original name, `get` or `config|get`, in any case.
    fn find(&self, name: &[u8]) -> Option<u16>;
    /// Whether Redis has a command of this name, though it is not here.
    fn is_foreign(&self, name: &[u8]) -> bool;
    /// Its name: `get`, `config|get`.
    fn name(&self, row: u16) -> &str;
    /// The container of a subcommand.
    fn parent(&self, row: u16) -> Option<u16>;
    /// The subcommands of a container.
    fn children(&self, row: u16) -> &[u16];
    /// The bits of a category of this name, in any case.
    fn category(&self, name: &[u8]) -> Option<u32>;
    /// The bits of all categories of a row.
    fn categories(&self, row: u16) -> u32;
}
