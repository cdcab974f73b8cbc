//! What the server says of itself: counters, histograms, the clients' cards, the slow log.
//!
//! Everything here has one writer per datum and any number of readers, and takes no lock; what is only read rarely (INFO,
//! CLIENT LIST, LATENCY HISTOGRAM) is put together by the reader.

mod claim;
mod clients;
mod counter;
mod gauges;
mod histogram;
mod latency;
pub mod log;
pub mod panic;
mod slowlog;
mod stats;

pub use claim::{Claim, Ending, Ticket};
pub use clients::{ClientCard, ClientPlace, Peg, Pegs, Registry, flag};
pub use counter::Counter;
pub use gauges::{
    DbSample, GAUGE_BYTES, Gauges, MemorySample, OverLimit, RATE_SAMPLES, Rate, Rates, db_sample,
};
pub use histogram::{Histogram, Snapshot};
pub use latency::{Event, LatencyMonitor, SAMPLES_MAX, Sample};
pub use slowlog::{SlowEntry, SlowLog};
pub use stats::{CommandStats, Counters, Stats, WorkerStats};
