//! Measuring servers that speak RESP: a load generator that costs little itself, and a side-by-side comparison.
//!
//! | module | what |
//! |---|---|
//! | `args` | the command line |
//! | `load` | one run against one server: threads, connections, the measured window |
//! | `canonical` | one workload, two numbers |
//! | `compare` | many runs against several servers, in turn, and their table |
//! | `scaling` | a comparison of one server with more and more workers |
//! | `model` | a simulation of workers that lease shards, for more processors than there are |
//! | `operation`, `presets`, `template`, `trace` | what is sent: prepared requests, named ones, those of a file |
//! | `keys`, `values` | which keys, and which values they have |
//! | `connection`, `greeting`, `framer`, `address`, `tls` | one connection: sending, counting of replies, encrypting |
//! | `reply`, `verifier` | what replies hold, if somebody asks |
//! | `process` | CPU time and memory of processes, pinning of threads |
//! | `output` | what runs found, in files |
//! | `report`, `progress` | what a run found, and how it goes meanwhile |
//!
//! Not here: the criterion benches (`benches/`), how to measure honestly (`README.md`).

pub mod address;
pub mod args;
pub mod canonical;
pub mod compare;
pub mod connection;
pub mod framer;
pub mod greeting;
pub mod keys;
pub mod load;
pub mod model;
pub mod operation;
pub mod output;
pub mod presets;
pub mod process;
pub mod progress;
pub mod reply;
pub mod report;
pub mod scaling;
pub mod template;
pub mod tls;
pub mod trace;
pub mod values;
pub mod verifier;

use std::fmt;

/// Why a measurement cannot go on: cause and, where there is one, remedy; for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fatal(pub String);

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Fatal {}

/// An error with these words.
pub fn fatal<T>(words: impl Into<String>) -> Result<T, Fatal> {
    Err(Fatal(words.into()))
}
