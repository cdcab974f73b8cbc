//! The files of Torc that loom models, compiled by themselves: they need nothing else of it, and all of it for loom takes minutes.
//!
//! A model stands in the file that it checks, in a module `loom_models`. `tests/tidy.rs` checks that each such file is here.
//! Without `--cfg loom` this is empty.

#![cfg(loom)]

#[path = "../../src/store/lease.rs"]
pub mod lease;
#[path = "../../src/worker/message_ring.rs"]
pub mod message_ring;
#[path = "../../src/pubsub/places.rs"]
pub mod places;
#[path = "../../src/observe/wait_state.rs"]
pub mod wait_state;

/// Where the ring finds the places.
mod pubsub {
    pub use crate::places::Places;
}
