//! `bench` without arguments: one workload, two numbers.
//!
//! Design: the two are what one asks of a server first: how much can it do, and how long does one wait when it is used as it
//! should be. The first is a closed loop of 50 connections, 9 GET to 1 SET of 64 bytes on 100,000 keys. Latency at that load would
//! be that of a full queue, whatever the server; so the second is the 99th percentile at half of it, in an open loop, whose
//! requests arrive as independent clients send them.

use crate::address::Address;
use crate::load::{self, Arrivals, LoadOptions};
use crate::operation::Operation;
use crate::{Fatal, fatal};

/// Keys of the workload.
const KEYS: u64 = 100_000;
/// The share of the throughput at which latency is told.
const SHARE: f64 = 0.5;
/// Where a server is if nobody says it.
const PORT: u16 = 6379;
/// From this share on, percent, the load is what limits throughput.
const LOAD_BUSY_PERCENT_MAX: f64 = 95.0;

/// Runs the workload; the two numbers.
///
/// # Errors
/// As of any load.
pub fn run(address: Option<&Address>) -> Result<String, Fatal> {
    let address = address.cloned().unwrap_or_else(|| Address::local(PORT));
    if let Err(error) = address.ask("PING", None) {
        return fatal(format!(
            "no server at {address}: {error}; say where it is: bench ADDRESS, or see --help"
        ));
    }
    let closed = LoadOptions {
        addresses: vec![address],
        operation: Operation::Mix,
        keys: KEYS,
        ..LoadOptions::default()
    };
    load::fill(&closed)?;
    let most = load::run(&closed)?;
    let rate = SHARE * most.ops_per_s();
    let open = LoadOptions { rate: Some(rate), arrivals: Arrivals::Poisson, ..closed };
    let half = load::run(&open)?;
    let busy = most.load_busy_percent();
    let doubt = if busy >= LOAD_BUSY_PERCENT_MAX { "  (the load's limit, not the server's)" } else { "" };
    Ok(format!(
        "throughput  {:.0} ops/s{doubt}\np99         {:.3} ms at {:.0} ops/s\n",
        most.ops_per_s(),
        half.latencies.quantile_us(0.99) / 1e3,
        half.ops_per_s()
    ))
}
