//! The command table: one row and one handler per command, a file per family.
//!
//! Everything that is known of a command stands in its row; see `row`. To add a command: write a row and a handler in its
//! family's file, and a case in `tests/`.
//!
//! Not here: when a command runs and under which leases (`exec`), how its bytes arrive (`resp`, `net`).

mod acl;
mod args;
pub mod blocking;
mod category;
mod context;
mod error;
pub mod help;
mod item;
pub mod keys;
mod recorder;
mod replay;
mod replication;
pub mod row;
mod session;
mod shared;
mod table;
mod tracking;

mod bitmap;
mod client;
mod connection;
mod generic;
mod geo;
mod hash;
mod hyperloglog;
mod introspect;
mod keyspace;
mod list;
mod notify;
mod permission;
mod pubsub;
mod scripting;
mod server;
mod set;
mod sorted_set;
mod stream;
mod string;
mod transactions;
mod undo;

pub use acl::{make_users, read_users};
pub use args::Args;
pub use blocking::{Blocking, OnTimeout, Settled};
pub use category::Categories;
pub use context::{Context, Effect, KEYS_FETCHED_MAX, Rng, Unblocking, limits};
pub use error::{CommandError, Outcome};
pub use generic::migrate::Migrations;
pub use generic::scan::Scan;
pub use hash::import::Fieldsets;
use item::reply_item;
pub use keyspace::empty_all;
pub use notify::{listen, notify};
pub use permission::{Denied, catalog, may_read_all, may_run, note_denied};
pub use pubsub::{is_about_oneself, may_run_while_listening};
pub use recorder::{Bracket, Recorded, RecordedEffect, Recorder, hand_over, is_listened};
pub use replay::Replay;
pub use replication::{
    abort_failover, ask_for_all, begin_stream, cut_for_replicas, end_failover, end_stream, follow_role,
    hand_over_role, last_place, note_place, resume_stream, synced_target,
};
pub use row::{Command, Flags, Group, Scope};
pub use scripting::busy::{BusyScripts, RunningFunction};
pub use scripting::{CalledBy, ScriptCall, Scripting, key_count, new_engine};
pub use server::{
    InfoFields, aof_store, base_options, changes, cut_for_backup, cut_for_rewrite, cut_for_save,
    drop_replicas, follow, journal_settings, load_libraries, memory_by_kind, process_use, promote, reload,
    save_is_due, save_now, server_bytes, stream_note,
};
pub use session::{Replies, ScriptRetry, Session};
pub use shared::{Ask, DebugSwitches, Facts, Holder, Pause, PauseMode, Shared, Shutdown};
pub use table::{KeyShape, LookupError, Role, Row, Table, install, table};
pub use tracking::{TrackingOptions, invalidate};
pub use transactions::{Queue, Watch};
pub use undo::{Tried, Undo};

/// The rows of all families; a command's number is its place in their concatenation.
pub const FAMILIES: &[&[Command]] = &[
    string::ROWS,
    bitmap::ROWS,
    hyperloglog::ROWS,
    list::ROWS,
    list::blocking::ROWS,
    set::ROWS,
    stream::ROWS,
    stream::group::ROWS,
    stream::info::ROWS,
    stream::read::ROWS,
    sorted_set::ROWS,
    geo::ROWS,
    hash::ROWS,
    hash::import::ROWS,
    generic::ROWS,
    generic::dump::ROWS,
    generic::expire::ROWS,
    generic::migrate::ROWS,
    generic::object::ROWS,
    generic::relocate::ROWS,
    generic::scan::ROWS,
    generic::sort::ROWS,
    generic::wait::ROWS,
    keyspace::ROWS,
    connection::ROWS,
    client::ROWS,
    acl::ROWS,
    introspect::ROWS,
    pubsub::ROWS,
    replication::ROWS,
    scripting::ROWS,
    server::ROWS,
    transactions::ROWS,
];
