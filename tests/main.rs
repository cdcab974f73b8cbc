//! The tests of the running server: one crate, because linking a crate per file would take longer than the tests.
//!
//! Every test starts servers of its own (`harness`), on Unix sockets in a temporary directory or on ports the system chose, and
//! kills them when it ends. Nothing sleeps for a fixed time: what takes time is awaited, with a limit.
//! `tests/run` installs what the tests need (Redis's own server and tools, client libraries) and runs everything.
//!
//! Not here: unit and property tests, which stand beside the code they test.

mod acl;
mod admin;
mod aof;
mod backup;
mod blocking;
mod cases;
mod client_eviction;
mod clients;
mod crashes;
mod crowd;
mod damage;
mod deadlines;
mod differential;
mod disks;
mod doctor;
mod durability;
mod effects;
mod ends;
mod eviction;
mod failing;
mod functions;
mod harness;
mod hashes;
mod history;
mod hostile;
mod hotkeys;
mod idle;
mod limits;
mod linear;
mod links;
mod lists;
mod memory;
mod migrate;
mod monitor;
mod moving;
mod multi;
mod mutation;
mod notifications;
mod pause;
mod pubsub;
mod rdb;
mod readme;
mod replica;
mod replication;
mod scripts;
mod secrets;
mod sentinel;
mod sets;
mod sharing;
mod simulation;
mod snapshot;
mod sorted_sets;
mod startup;
mod stock;
mod streams;
mod subscribers;
mod supervised;
mod systemd;
mod tidy;
mod timing;
mod tls;
mod tracking;
mod way_over;
