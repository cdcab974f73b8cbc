//! Replication: one server's stream of changes, and who follows it.
//!
//! Design: what changes data is the journal's matter (`persist::journal`); replicas get the same records as one stream of
//! commands. The count of its bytes is the replication offset. A server is primary, and makes the stream, or replica, and passes its
//! primary's on byte by byte; which of the two is changed under all leases (PROTOCOL 12).
//!
//! | file | what |
//! |---|---|
//! | `state` | the names of the history, the role, the state of the link to a primary |
//! | `backlog` | the end of the stream, shared with all who read it |
//! | `failover` | the role is handed over to a replica |
//! | `primary` | who follows this server, and the snapshots they begin with |
//! | `replica` | a replica's side: the link to its primary |
//!
//! Not here: commands (`command::replication`), sockets (`worker`).

mod backlog;
mod failover;
pub mod primary;
pub mod replica;
mod state;

pub use backlog::{ReaderId, Stream};
pub use failover::{Failover, FailoverState, Request};
pub use state::{History, LinkState, Primary, Replication, ReplicationId};
