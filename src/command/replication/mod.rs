//! What replicas say to this server: PSYNC, SYNC, REPLCONF; and what it does for them.
//!
//! | file | what |
//! |---|---|
//! | `failover` | FAILOVER: the role goes to a replica |
//! | `place` | where in its history this server is when it ends |
//! | `psync` | PSYNC, SYNC: a client becomes a replica |
//! | `replconf` | REPLCONF: what it says of itself, and how far it is |
//! | `snapshot` | the snapshot that replicas get, and the stream that follows it |
//!
//! Not here: REPLICAOF and ROLE (`server`), WAIT (`generic::wait`), connections (`worker::replicas`).

mod failover;
mod place;
mod psync;
mod replconf;
mod snapshot;

use super::row::BASE;
use super::{Args, Command, CommandError, Context, Effect, Flags, Group, Outcome, Scope};
use crate::resp::Reply;

pub use failover::{abort_failover, ask_for_all, end_failover, hand_over_role, synced_target};
pub use place::{last_place, note_place};
pub use snapshot::{begin_stream, cut_for_replicas, end_stream, follow_role, resume_stream};

/// The rows of this folder.
pub const ROWS: &[Command] = &[failover::ROW, psync::PSYNC, replconf::ROW, psync::SYNC];
