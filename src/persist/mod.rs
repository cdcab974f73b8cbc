//! What leaves the process to live longer than it: Redis's RDB format.
//!
//! Not here: which commands use it (`command`), when a snapshot is taken (`worker`).

pub mod rdb;
