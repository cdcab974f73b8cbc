//! A metric with its help, its type and its values, written by `prometheus-client`: it knows the format and what is to be escaped.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder};
use prometheus_client::metrics::MetricType;

use crate::observe::Snapshot;

/// The upper ends of a histogram's buckets, in ns: from a microsecond to ten seconds.
const BOUNDS_NS: [u64; 19] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    1_000_000_000,
    10_000_000_000,
];

/// Nobody has labels but those that a family gives it.
type NoLabels = [(&'static str, &'static str); 0];

/// A metric's labels.
pub type Labels = Vec<(&'static str, String)>;

/// A number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// An exact one.
    Unsigned(u64),
    /// One that may be less than none.
    Signed(i64),
    /// A measure.
    Float(f64),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Unsigned(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Unsigned(is.into())
    }
}

impl Value {
    fn gauge(self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => encoder.encode_gauge(&number),
            Self::Signed(number) => encoder.encode_gauge(&number),
            Self::Float(number) => encoder.encode_gauge(&number),
        }
    }

    fn counter(self, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => encoder.encode_counter::<NoLabels, _, u64>(&number, None),
            Self::Signed(number) => encoder.encode_counter::<NoLabels, _, u64>(&(number.max(0) as u64), None),
            Self::Float(number) => encoder.encode_counter::<NoLabels, _, u64>(&number, None),
        }
    }
}

/// Where metrics are written to.
pub struct Output<'a>(pub DescriptorEncoder<'a>);

impl Output<'_> {
    /// What goes up and down.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Into<Value>) -> fmt::Result {
        value.into().gauge(&mut self.0.encode_descriptor(name, help, None, MetricType::Gauge)?)
    }

    /// What only goes up, unless the server starts anew or CONFIG RESETSTAT is called. The name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Into<Value>) -> fmt::Result {
        value.into().counter(&mut self.0.encode_descriptor(stem(name), help, None, MetricType::Counter)?)
    }

    /// A gauge for each of several things.
    pub fn gauges<V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let mut values = values.into_iter();
        values.try_for_each(|(labels, value)| value.into().gauge(&mut encoder.encode_family(&labels)?))
    }

    /// A counter for each of several things.
    pub fn counters<V: Into<Value>>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, V)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(stem(name), help, None, MetricType::Counter)?;
        let mut values = values.into_iter();
        values.try_for_each(|(labels, value)| value.into().counter(&mut encoder.encode_family(&labels)?))
    }

    /// Durations of each of several things, and the sum of these in ns.
    pub fn histograms(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (Labels, Snapshot, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (labels, durations, sum_ns) in values {
            let buckets = buckets(&durations);
            let mut encoder = encoder.encode_family(&labels)?;
            encoder.encode_histogram::<NoLabels>(seconds(sum_ns), durations.count(), &buckets, None)?;
        }
        Ok(())
    }
}

/// The name of a counter as `prometheus-client` wants it.
fn stem(name: &str) -> &str {
    name.strip_suffix("_total").expect("the name of a counter ends so")
}

/// Nanoseconds as seconds.
pub fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}

/// How many durations are in each bucket, by its upper end in seconds.
fn buckets(durations: &Snapshot) -> Vec<(f64, u64)> {
    let mut below = 0;
    let mut within = |at_most: u64| at_most - std::mem::replace(&mut below, at_most);
    let bounds = BOUNDS_NS.iter().map(|ns| (seconds(*ns), within(durations.at_most(*ns))));
    let mut buckets: Vec<(f64, u64)> = bounds.collect();
    buckets.push((f64::INFINITY, within(durations.count())));
    buckets
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::Histogram;

    #[test]
    fn every_duration_is_in_one_bucket() {
        let histogram = Histogram::default();
        for ns in [0, 900, 1_100, 3_000_000, 2_000_000_000, u64::MAX] {
            histogram.record(ns, 2);
        }
        let mut snapshot = Snapshot::default();
        histogram.add_to(&mut snapshot);
        let buckets = buckets(&snapshot);
        assert_eq!(buckets.iter().map(|(_, count)| count).sum::<u64>(), snapshot.count());
        let full: Vec<(f64, u64)> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(full, [(1e-6, 4), (2.5e-6, 2), (5e-3, 2), (10.0, 2), (f64::INFINITY, 2)]);
    }
}
