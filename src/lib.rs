//! Torc: a Redis-compatible in-memory data store for Linux. `src/README.md` is the map of this code.

pub mod admin;
pub mod command;
pub mod config;
pub mod doctor;
pub mod exec;
pub mod exposure;
pub mod glob;
pub mod io;
pub mod net;
pub mod observe;
pub mod persist;
pub mod pubsub;
pub mod replicate;
pub mod resp;
pub mod script;
pub mod security;
pub mod store;
pub mod threads;
pub mod worker;
