//! The configuration: what redis.conf, the command line and CONFIG SET say, as one typed value.
//!
//! Design: every directive is one row of [`table`]'s source (`table.rs`): field, type, default, name, alias,
//! domain, flags and help. The struct [`Config`], its defaults, the parser, CONFIG GET, SET and REWRITE and
//! `--help` are all derived from the rows, so a directive is added or changed in one place. A [`Config`] is a
//! plain value: changing the configuration means building another one and publishing it through
//! [`live::Live`].
//!
//! Invariants:
//! - parsing what a directive formats gives the directive's value back;
//! - a value that is in a [`Config`] is valid: ranges and enums are checked at the door;
//! - a `Config` is never half changed: [`set`] returns a new one or an error.
//!
//! Costs: nothing here is on the path of a request; readers hold an `Arc<Config>` and see a change by one
//! relaxed load.
//!
//! Not here: acting on a change (`worker`), and changing the working directory.

mod access;
mod args;
mod commands;
mod cpus;
mod domain;
mod files;
mod inert;
pub mod live;
mod load;
mod manual;
mod password;
mod refused;
mod reload;
mod rewrite;
mod secret_file;
pub mod split;
mod table;
mod types;
mod usage;
mod valkey;
mod words;

#[cfg(test)]
mod oracle_tests;
#[cfg(test)]
mod rewrite_tests;
#[cfg(test)]
mod tests;

pub use access::{Caller, SetError, get, set};
pub use args::{Action, Startup};
pub use commands::{OTHER_COMMANDS, REDIS_COMMANDS};
pub use cpus::{WORKERS_MAX, available_cpus, check_worker_cpus, spare_cpus, worker_count, worker_cpus};
pub(crate) use domain::parse_memory;
pub use domain::{Domain, Enumerated, Text};
pub use files::{ADMIN_CONNECTIONS_MAX, files_reserved};
pub use inert::warnings as inert_warnings;
pub use load::{ConfigFile, Fatal, Origin, Places};
pub use manual::{Page, Shell};
pub use password::{AdminPassword, Hash};
pub use reload::{LISTENS, Reread, Sources, reread};
pub use rewrite::{RewrittenUsers, rewrite, write_atomically};
pub use split::{quote, split_line};
pub use table::{Config, Directive, Flags, lookup, table};
pub use types::*;
pub use usage::{help, version_line};
pub use words::*;

/// The Redis version whose behaviour Torc has.
pub const REDIS_VERSION: &str = "8.2.3";
/// Torc's own version.
pub const TORC_VERSION: &str = env!("CARGO_PKG_VERSION");
