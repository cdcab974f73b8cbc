//! The tests of the running server: one crate, because linking a crate per file would take longer than the tests.
//!
//! Every test starts servers of its own (`harness`), on Unix sockets in a temporary directory or on ports the system chose, and
//! kills them when it ends. Nothing sleeps for a fixed time: what takes time is awaited, with a limit.
//! `tests/run` installs what the tests need (Redis's own server and tools, client libraries) and runs everything.
//!
//! Not here: unit and property tests, which stand beside the code they test.

mod blocking;
mod cases;
mod clients;
mod crowd;
mod differential;
mod eviction;
mod harness;
mod history;
mod hostile;
mod limits;
mod lists;
mod monitor;
mod moving;
mod multi;
mod mutation;
mod readme;
mod simulation;
mod startup;
mod tidy;
mod timing;
