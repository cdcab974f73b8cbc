//! What a run found, and how it is printed.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::load::Timeline;

/// Longest latency told apart, in nanoseconds; anything longer counts as this.
const LATENCY_NS_MAX: u64 = 100_000_000_000;
/// Precision of latencies, in decimal digits.
const LATENCY_DIGITS: u8 = 3;

/// The quantiles that are printed, with their names.
pub const QUANTILES: &[(&str, f64)] =
    &[("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999), ("p99.999", 0.99999)];

/// Latencies of batches, in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Latencies(Histogram<u64>);

impl Default for Latencies {
    fn default() -> Latencies {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, LATENCY_DIGITS);
        Latencies(histogram.expect("the bounds are valid"))
    }
}

impl Latencies {
    /// Adds one.
    #[inline]
    pub fn record(&mut self, latency: Duration) {
        self.0.saturating_record((latency.as_nanos() as u64).max(1));
    }

    /// Adds all of another.
    pub fn add(&mut self, other: &Latencies) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The latency that this share (0.0 to 1.0) of batches does not exceed, in microseconds.
    pub fn quantile_us(&self, share: f64) -> f64 {
        self.0.value_at_quantile(share) as f64 / 1e3
    }

    /// All of them, in nanoseconds.
    pub fn histogram(&self) -> &Histogram<u64> {
        &self.0
    }

    /// The longest, in microseconds.
    pub fn max_us(&self) -> f64 {
        self.0.max() as f64 / 1e3
    }
}

/// What subscribers got.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// Messages.
    pub count: u64,
    /// From when a message was made until its subscriber had it.
    pub latencies: Latencies,
}

/// What was found of a part of a mix.
#[derive(Clone, Debug, PartialEq)]
pub struct PartReport {
    /// What it is called.
    pub name: String,
    /// Units done.
    pub ops: u64,
    /// Their latencies; those of their batches in a closed loop.
    pub latencies: Latencies,
}

impl PartReport {
    /// Without anything done yet.
    pub fn new(name: &str) -> PartReport {
        PartReport { name: name.to_owned(), ops: 0, latencies: Latencies::default() }
    }
}

/// What a run found. Everything but errors counts from the end of the warm-up on.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadReport {
    /// The operation.
    pub operation: String,
    /// Connections.
    pub connections: usize,
    /// Units in a batch.
    pub depth: usize,
    /// Threads of the generator.
    pub threads: usize,
    /// Units per second that were due in an open loop; none in a closed one.
    pub rate: Option<f64>,
    /// How long was measured.
    pub elapsed: Duration,
    /// Units done.
    pub ops: u64,
    /// CPU time of the servers' processes, if they are known.
    pub server_cpu: Option<Duration>,
    /// CPU time of the generator.
    pub load_cpu: Duration,
    /// Latencies: of batches in a closed loop, of units since they were due in an open one.
    pub latencies: Latencies,
    /// How late units of an open loop were sent although a connection was free.
    pub lags: Latencies,
    /// Units of an open loop that were due and never sent; `latencies` has how long they waited.
    pub unsent: u64,
    /// When it happened.
    pub timeline: Timeline,
    /// The parts of a mix; none if it has one.
    pub parts: Vec<PartReport>,
    /// Nulls in replies that were framed: keys that were not there.
    pub nulls: u64,
    /// Whether replies were looked at, how many were right and wrong, and the first of these.
    pub is_verified: bool,
    pub right: u64,
    pub wrong: u64,
    pub first_wrong: Option<String>,
    /// Connections made anew.
    pub reconnects: u64,
    /// What subscribers got.
    pub delivered: Option<Delivered>,
    /// Error replies, those of the warm-up included.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

impl LoadReport {
    /// Of a run of this length, in which nothing was done.
    pub fn empty(duration: Duration) -> LoadReport {
        LoadReport {
            operation: String::new(),
            connections: 1,
            depth: 1,
            threads: 1,
            rate: None,
            elapsed: Duration::ZERO,
            ops: 0,
            server_cpu: None,
            load_cpu: Duration::ZERO,
            latencies: Latencies::default(),
            lags: Latencies::default(),
            unsent: 0,
            timeline: Timeline::new(duration),
            parts: Vec::new(),
            nulls: 0,
            is_verified: false,
            right: 0,
            wrong: 0,
            first_wrong: None,
            reconnects: 0,
            delivered: None,
            errors: 0,
            first_error: None,
        }
    }

    /// Adds a later run of the same load.
    pub fn add(&mut self, later: &LoadReport) {
        self.elapsed += later.elapsed;
        self.ops += later.ops;
        self.load_cpu += later.load_cpu;
        self.server_cpu = self.server_cpu.zip(later.server_cpu).map(|(own, other)| own + other);
        self.latencies.add(&later.latencies);
        self.lags.add(&later.lags);
        self.unsent += later.unsent;
        self.errors += later.errors;
        self.nulls += later.nulls;
        self.right += later.right;
        self.wrong += later.wrong;
        self.first_wrong = self.first_wrong.take().or_else(|| later.first_wrong.clone());
        self.reconnects += later.reconnects;
        for (own, part) in self.parts.iter_mut().zip(&later.parts) {
            own.ops += part.ops;
            own.latencies.add(&part.latencies);
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&later.first_error);
        }
        // The last slot was cut off by the end.
        let whole = later.timeline.slots.len().saturating_sub(1);
        self.timeline.slots.pop();
        self.timeline.slots.extend_from_slice(&later.timeline.slots[..whole]);
    }

    /// Units per second.
    pub fn ops_per_s(&self) -> f64 {
        self.ops as f64 / self.elapsed.as_secs_f64()
    }

    /// The servers' CPU time per unit, in microseconds.
    pub fn server_us_per_op(&self) -> Option<f64> {
        self.server_cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.ops as f64)
    }

    /// The generator's CPU time per unit, in microseconds.
    pub fn load_us_per_op(&self) -> f64 {
        self.load_cpu.as_secs_f64() * 1e6 / self.ops as f64
    }

    /// How busy the generator's threads were, percent.
    pub fn load_busy_percent(&self) -> f64 {
        100.0 * self.load_cpu.as_secs_f64() / self.elapsed.as_secs_f64() / self.threads as f64
    }
}

/// The most usual quantiles, in a line that has begun.
fn write_quantiles(f: &mut fmt::Formatter<'_>, latencies: &Latencies) -> fmt::Result {
    for (name, share) in &QUANTILES[..4] {
        write!(f, "  {name} {:.1}", latencies.quantile_us(*share))?;
    }
    writeln!(f, "  max {:.1} us", latencies.max_us())
}

impl LoadReport {
    /// What only some runs have.
    fn write_details(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64();
        let width = self.parts.iter().map(|part| part.name.len()).max().unwrap_or(0);
        for PartReport { name, ops, latencies } in &self.parts {
            write!(f, "    {name:width$}  {:9.0} ops/s", *ops as f64 / seconds)?;
            write_quantiles(f, latencies)?;
        }
        if let Some(Delivered { count, latencies }) = &self.delivered {
            write!(f, "  delivered   {:.0} messages/s ({count})", *count as f64 / seconds)?;
            write_quantiles(f, latencies)?;
        }
        if self.reconnects > 0 {
            writeln!(f, "  connections {:.0} made anew per second", self.reconnects as f64 / seconds)?;
        }
        if self.nulls > 0 {
            writeln!(f, "  nulls       {}: keys that were not there, the warm-up included", self.nulls)?;
        }
        if self.is_verified {
            let first =
                self.first_wrong.as_ref().map_or(String::new(), |wrong| format!(", the first: {wrong}"));
            writeln!(f, "  verified    {} replies right, {} wrong{first}", self.right, self.wrong)?;
        }
        Ok(())
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LoadReport { operation, connections, depth, threads, elapsed, ops, latencies, .. } = self;
        let seconds = elapsed.as_secs_f64();
        let plural = if *threads == 1 { "" } else { "s" };
        write!(f, "{operation}: {connections} connections, depth {depth}, {threads} load thread{plural}")?;
        match self.rate {
            Some(rate) => writeln!(f, ", open loop at {rate}/s")?,
            None => writeln!(f)?,
        }
        writeln!(f, "  throughput  {:.0} ops/s ({ops} in {seconds:.2} s)", self.ops_per_s())?;
        match (self.server_us_per_op(), self.server_cpu) {
            (Some(us), Some(cpu)) => {
                let percent = 100.0 * cpu.as_secs_f64() / seconds;
                writeln!(f, "  server      {us:.3} us CPU per op ({percent:.0}% of a CPU)")?;
            }
            _ => writeln!(f, "  server      CPU unknown: name its process with --pid")?,
        }
        let (us, percent) = (self.load_us_per_op(), self.load_busy_percent());
        writeln!(f, "  load        {us:.3} us CPU per op ({percent:.0}% of its CPU{plural})")?;
        write!(f, "  {:12}", if self.rate.is_some() { "latency" } else { "batch" })?;
        for (name, share) in QUANTILES {
            write!(f, "{name} {:.1}  ", latencies.quantile_us(*share))?;
        }
        writeln!(f, "max {:.1} us", latencies.max_us())?;
        if self.rate.is_some() {
            let [p50, p99] = [0.5, 0.99].map(|share| self.lags.quantile_us(share));
            writeln!(
                f,
                "  sent late   p50 {p50:.1}  p99 {p99:.1}  max {:.1} us by the load itself",
                self.lags.max_us()
            )?;
        }
        self.write_details(f)?;
        if self.unsent > 0 {
            writeln!(
                f,
                "  unsent      {}: the connections could not keep up; latency counts how long they waited",
                self.unsent
            )?;
        }
        match &self.first_error {
            Some(text) if self.errors > 0 => writeln!(f, "  errors      {}, the first: {text}", self.errors),
            _ => writeln!(f, "  errors      {}", self.errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_precision() {
        let mut latencies = Latencies::default();
        for us in 1..=1000u64 {
            latencies.record(Duration::from_micros(us));
        }
        for (share, expected) in [(0.5, 500.0), (0.99, 990.0), (0.999, 999.0), (1.0, 1000.0)] {
            let found = latencies.quantile_us(share);
            assert!((found - expected).abs() <= expected / 1000.0 + 0.001, "{share}: {found}");
        }
        assert_eq!(latencies.count(), 1000);
    }

    #[test]
    fn what_is_out_of_bounds_counts_as_the_bound() {
        let mut latencies = Latencies::default();
        latencies.record(Duration::ZERO);
        latencies.record(Duration::from_secs(1000));
        assert_eq!(latencies.count(), 2);
        assert!((latencies.max_us() / 1e8 - 1.0).abs() < 0.01, "{}", latencies.max_us());
    }

    #[test]
    fn added_histograms_are_one() {
        let (mut a, mut b) = (Latencies::default(), Latencies::default());
        a.record(Duration::from_micros(10));
        b.record(Duration::from_micros(30));
        a.add(&b);
        assert_eq!(a.count(), 2);
        assert!((a.max_us() - 30.0).abs() < 0.1);
    }

    #[test]
    fn figures_follow_from_counts() {
        let report = LoadReport {
            operation: "get".into(),
            threads: 2,
            elapsed: Duration::from_secs(2),
            ops: 1_000_000,
            server_cpu: Some(Duration::from_secs(2)),
            load_cpu: Duration::from_secs(1),
            ..LoadReport::empty(Duration::from_secs(2))
        };
        assert_eq!(report.ops_per_s(), 500_000.0);
        assert_eq!(report.server_us_per_op(), Some(2.0));
        assert_eq!(report.load_us_per_op(), 1.0);
        assert_eq!(report.load_busy_percent(), 25.0);
        assert!(report.to_string().contains("2.000 us CPU per op (100% of a CPU)"), "{report}");
    }
}
