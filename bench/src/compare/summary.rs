//! Samples of a comparison, and what is told of them.

use crate::operation::Operation;
use crate::report::LoadReport;

use super::CompareOptions;

/// What one run found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    /// CPU of the server per unit, in microseconds.
    pub server_us_per_op: f64,
    /// Units per second.
    pub ops_per_s: f64,
    /// Latency of a batch, in microseconds.
    pub p50_us: f64,
    /// Latency of a batch, in microseconds.
    pub p99_us: f64,
    /// Latency of a batch, in microseconds.
    pub p999_us: f64,
    /// How busy the load's threads were, percent.
    pub load_busy_percent: f64,
}

/// One server under one operation and depth: a sample for each round.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cell {
    samples: Vec<Sample>,
    /// All rounds in one.
    pub all: Option<LoadReport>,
    /// Error replies.
    pub errors: u64,
    /// The first of them.
    pub first_error: Option<String>,
}

/// One operation and depth.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// The operation.
    pub operation: Operation,
    /// The depth.
    pub depth: usize,
    /// By server.
    pub cells: Vec<Cell>,
}

/// All that a comparison found.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// What was compared.
    pub options: CompareOptions,
    /// Resident bytes that a key takes, by server.
    pub bytes_per_key: Vec<f64>,
    /// By operation and depth.
    pub lines: Vec<Line>,
}

impl Summary {
    /// Without samples yet.
    pub fn new(options: &CompareOptions) -> Summary {
        let line = |operation: &Operation, depth: usize| Line {
            operation: operation.clone(),
            depth,
            cells: vec![Cell::default(); options.servers.len()],
        };
        let operations = options.operations.iter();
        let lines =
            operations.flat_map(|operation| options.depths.iter().map(|depth| line(operation, *depth)));
        Summary { options: options.clone(), bytes_per_key: Vec::new(), lines: lines.collect() }
    }
}

impl Cell {
    /// Adds a round.
    pub fn add(&mut self, sample: Sample, report: &LoadReport) {
        self.samples.push(sample);
        self.errors += report.errors;
        match &mut self.all {
            Some(all) => all.add(report),
            none => *none = Some(report.clone()),
        }
        if self.first_error.is_none() {
            self.first_error.clone_from(&report.first_error);
        }
    }

    /// The median over the rounds of what `of` says of a sample.
    pub fn median(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.samples.iter().map(of).collect())
    }

    /// How much more CPU per unit than `first`: the median over the rounds of the ratio within a round.
    pub fn ratio(&self, first: &Cell) -> f64 {
        assert_eq!(self.samples.len(), first.samples.len());
        let rounds = self.samples.iter().zip(&first.samples);
        median(rounds.map(|(sample, first)| sample.server_us_per_op / first.server_us_per_op).collect())
    }

    /// The distance of the least and the most CPU per unit, in percent of the median.
    pub fn spread_percent(&self) -> f64 {
        let all = || self.samples.iter().map(|sample| sample.server_us_per_op);
        let (least, most) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
        100.0 * (most - least) / self.median(|sample| sample.server_us_per_op)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    assert!(!values.is_empty());
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::compare::ServerSpec;

    /// A summary of two servers: one operation, one depth, with these microseconds per round.
    pub fn summary(rounds: &[(f64, f64)]) -> Summary {
        let server = |text| ServerSpec::parse(text).expect("it is valid");
        let options = CompareOptions {
            servers: vec![server("redis=r {port}"), server("torc=t {port}")],
            operations: vec![Operation::Get],
            depths: vec![16],
            rounds: rounds.len(),
            ..CompareOptions::default()
        };
        let mut summary = Summary::new(&options);
        summary.bytes_per_key = vec![140.0, 95.0];
        for (first, second) in rounds {
            for (cell, us) in summary.lines[0].cells.iter_mut().zip([*first, *second]) {
                cell.samples.push(Sample {
                    server_us_per_op: us,
                    ops_per_s: 1e6 / us,
                    p50_us: 10.0 * us,
                    p99_us: 20.0 * us,
                    p999_us: 30.0 * us,
                    load_busy_percent: 50.0,
                });
            }
        }
        summary
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(vec![7.0]), 7.0);
    }

    #[test]
    fn ratios_are_taken_within_a_round() {
        // The machine was half as fast in the second round, for both.
        let summary = summary(&[(2.0, 1.0), (4.0, 2.0), (2.0, 1.1)]);
        let [first, second] = &summary.lines[0].cells[..] else { panic!("two servers") };
        assert_eq!(second.ratio(first), 0.5);
        assert_eq!(first.ratio(first), 1.0);
        assert_eq!(first.spread_percent(), 100.0);
        assert_eq!(first.median(|sample| sample.server_us_per_op), 2.0);
    }

    #[test]
    fn there_is_a_line_for_each_operation_and_depth() {
        let options = CompareOptions {
            operations: vec![Operation::Get, Operation::Set],
            depths: vec![1, 2, 3],
            ..CompareOptions::default()
        };
        let lines = Summary::new(&options).lines;
        assert_eq!(lines.len(), 6);
        assert_eq!((&lines[4].operation, lines[4].depth), (&Operation::Set, 2));
    }
}
