//! The group: gather, lease, prefetch, run; and commands that wait.

mod batch;
pub mod blocking;
mod group;
mod pending;

pub use batch::{Batch, Gathered, Origin, REFUSED, Source, hash_keys_of, resolve};
pub use blocking::Waiter;
pub use group::{Formed, GROUP_COMMANDS_MAX, Ground, Group};
pub use pending::{Leftover, Pending, Refusal};
