//! The chunk: gather, lease, prefetch, run; and commands that wait.

mod batch;
pub mod blocking;
mod chunk;
mod pending;

pub use batch::{Batch, Gathered, Origin, REFUSED, Source};
pub use blocking::Waiter;
pub use chunk::{CHUNK_COMMANDS_MAX, Chunk, Formed, Ground};
pub use pending::{Pending, Refusal, Run};
