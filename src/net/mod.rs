//! Listeners, connections and their queues.

pub mod connection;
pub mod listener;
pub mod passed;
mod slots;

pub use connection::{Connection, Gathering};
pub use slots::Slots;
