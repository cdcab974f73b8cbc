//! The chunk: gather, lease, prefetch, run.

mod batch;
mod chunk;

pub use batch::{Batch, Gathered, Origin, REFUSED, Source};
pub use chunk::{CHUNK_COMMANDS_MAX, Chunk, Formed};
