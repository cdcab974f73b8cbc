//! What the server says of itself: counters, histograms, what is known of clients, the slow log.
//!
//! Everything here has one writer per datum and any number of readers, and takes no lock; what is only read rarely (INFO,
//! CLIENT LIST, LATENCY HISTOGRAM) is put together by the reader.

mod clients;
mod counter;
mod gauges;
mod heaviest;
mod histogram;
mod hotkeys;
mod json;
mod key_watch;
mod latency;
pub mod log;
pub mod panic;
mod slowlog;
mod stats;
mod wait_state;

pub use clients::{ClientInfo, ClientPlace, Registry, RegistrySlot, RegistrySlots, flag};
pub use counter::Counter;
pub use gauges::{
    DbSample, GAUGE_BYTES, Gauges, MemorySample, OverLimit, RATE_SAMPLES, Rate, Rates, db_sample,
};
pub use histogram::{Histogram, Snapshot};
pub use hotkeys::{Hotkeys, HotkeysReport, HotkeysSettings, ProcessUse};
pub use json::Json;
pub use key_watch::{BigKey, KeyReport, KeyWatch};
pub use latency::{Event, LatencyMonitor, SAMPLES_MAX, Sample};
pub use slowlog::{SlowEntry, SlowLog};
pub use stats::{CommandStats, CommandSum, Counters, Stats, WorkerStats};
pub use wait_state::{WaitId, WaitOutcome, WaitState};
