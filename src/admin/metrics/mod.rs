//! `/metrics`: what is known of the server, for Prometheus.
//!
//! | file | what |
//! |---|---|
//! | `output` | a metric with its help and type, by `prometheus-client` |
//! | `info_rows` | which fields of INFO are which metrics |
//! | `server` | what INFO says in more than one number, or not at all: databases, replicas, memory by kind, the slow log |
//! | `commands` | each command: calls, time, failures, a histogram |
//! | `workers` | each worker |
//!
//! Design: names and labels are those of redis_exporter (`redis_...`) wherever the meaning is the same, so that dashboards and rules
//! made for it go on; what only Torc has is `torc_...`. What INFO knows comes out of INFO's own functions, so that the two never
//! differ; the rest is read from the counters. Units are seconds and bytes, except where a name of redis_exporter says otherwise.
//! `prometheus-client` writes the classic text format, which every scraper reads.
//!
//! Costs: some hundred microseconds of this thread for each scrape; none of a worker's.

mod commands;
mod info_rows;
mod output;
mod server;
mod workers;

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text};
use prometheus_client::registry::Registry;

use crate::command::{InfoFields, Shared};
use output::Output;

pub use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// What one scrape is made of.
pub struct Scrape {
    /// The server.
    pub shared: Arc<Shared>,
    /// Unix time in us.
    pub now_us: u64,
    /// Responses of the admin port so far: their status, how many.
    pub responses: Vec<(u16, u64)>,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scrape at {}", self.now_us)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut output = Output(encoder);
        let fields = InfoFields::of(&self.shared, self.now_us);
        info_rows::write(&fields, &mut output)?;
        server::write(self, &fields, &mut output)?;
        commands::write(&self.shared, &mut output)?;
        workers::write(&self.shared, &mut output)
    }
}

/// The text.
pub fn text(scrape: Scrape) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut text = String::new();
    prometheus_text::encode(&mut text, &registry).expect("writing to a string does not fail");
    text
}
