//! Torc as the primary of Redis 8.2, Redis 7.0 and Valkey 9.1: full and partial synchronisation, what is told of it, and what a
//! replica that does not keep up costs.

mod channel;
pub mod failover;
mod links;
mod offsets;
pub mod pair;
mod restart;
mod wait;
