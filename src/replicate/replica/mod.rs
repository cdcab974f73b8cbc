//! A replica's side: the link to its primary.
//!
//! Design: a thread of its own connects, introduces itself and receives snapshots, all with blocking calls; what concerns the
//! keyspace it asks of the first worker, which has all leases then. Once the two agree where the stream goes on, the socket becomes a
//! connection of that worker, so that the stream takes the way of every client's commands: parsed in place, run in groups under
//! leases, transactions whole.
//!
//! ```text
//! thread:  connect -> introduce -> +CONTINUE ----------------------------+-> wait for the end -> connect ...
//!                        |                                               |
//!                        +-> +FULLRESYNC -> file -> [Empty] -> load -> [Loaded]
//!                        |                   ^
//!                        +-> channel --------+        the stream is kept meanwhile
//!                                                      first worker, all leases
//! ```
//!
//! | file | what |
//! |---|---|
//! | `link` | what the thread, the workers and commands share |
//! | `follow` | the thread |
//! | `fuzz` | for fuzzing: what a primary may say |
//! | `handshake` | how the two introduce themselves |
//! | `keeper` | the stream, while the snapshot comes through a channel of its own |
//! | `payload` | the snapshot, from the socket to a file |
//! | `wire` | lines and bytes of the socket |
//! | `applied` | how far a connection to a primary has applied the stream |
//!
//! Not here: running the stream and what workers do for the link (`worker::following`), REPLICAOF (`command`).

mod applied;
mod follow;
mod fuzz;
mod handshake;
mod keeper;
mod link;
mod payload;
mod wire;

pub use applied::Applied;
pub use follow::{Surroundings, follow, place, restore};
pub use fuzz::fuzz;
pub use link::{Adoption, Link, Order, Progress};
