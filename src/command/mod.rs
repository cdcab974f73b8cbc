//! The command table: one row and one handler per command, a file per family.
//!
//! Everything that is known of a command stands in its row; see `row`. To add a command: write a row and a handler in its
//! family's file, and a case in `tests/`.
//!
//! Not here: when a command runs and under which leases (`exec`), how its bytes arrive (`resp`, `net`).

mod args;
mod context;
mod error;
mod help;
pub mod keys;
pub mod row;
mod session;
mod shared;
mod table;

mod connection;
mod server;
mod string;

pub use args::Args;
pub use context::{Context, Effect, Rng};
pub use error::{CommandError, Outcome};
pub use row::{Command, Flags, Group, Scope};
pub use session::{Replies, Session};
pub use shared::{DebugSwitches, Facts, Pause, PauseMode, Shared, Shutdown};
pub use table::{KeyShape, LookupError, Row, Table, install, table};

/// The rows of all families; a command's number is its place in their concatenation.
pub const FAMILIES: &[&[Command]] = &[string::ROWS, connection::ROWS, server::ROWS];
