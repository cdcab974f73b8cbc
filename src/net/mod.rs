//! Listeners, connections and their queues.

pub mod connection;
pub mod listener;
mod slots;

pub use connection::{Connection, Gathering};
pub use slots::Slots;
