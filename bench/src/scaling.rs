//! How a server scales: the same server with more and more workers, under all loads that tell.
//!
//! Design: a comparison whose servers differ in their number of workers, so that all of them are measured side by side and
//! round after round: once with keys drawn evenly, once with Zipf's. A row is a load; a column has the CPU time per
//! operation and the throughput, and both over those of the first column.
//!
//! Not here: what more workers would do than there are processors for (`model`).

use std::fmt::Write as _;

use crate::compare::{self, Cell, CompareOptions, ServerSpec};
use crate::operation::Operation;
use crate::{Fatal, fatal, process};

/// Stands for the number of workers in a command.
const WORKERS: &str = "{workers}";
/// Exponent of the skewed keys' Zipf distribution.
const ZIPF: f64 = 0.99;
/// Writing to memory does not fail.
const MEMORY: &str = "writing to memory does not fail";

/// A measurement of scaling.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingOptions {
    /// The server's command, with the places of port and number of workers.
    pub command: String,
    /// Numbers of workers, a column each.
    pub workers: Vec<usize>,
    /// All the rest.
    pub compare: CompareOptions,
}

impl Default for ScalingOptions {
    fn default() -> ScalingOptions {
        // A template is one operation, here of two commands.
        let half = Operation::Template("GET %k;SET %k %v".into());
        let compare = CompareOptions {
            operations: vec![Operation::Get, Operation::Mix, half],
            depths: vec![1, 16],
            rounds: 3,
            ..CompareOptions::default()
        };
        ScalingOptions { command: String::new(), workers: vec![1, 2], compare }
    }
}

impl ScalingOptions {
    /// The servers, one for each number of workers.
    fn servers(&self) -> Result<Vec<ServerSpec>, Fatal> {
        if !self.command.contains(WORKERS) {
            return fatal(format!("'{}' does not say where {WORKERS} stand", self.command));
        }
        let of = |workers: &usize| {
            ServerSpec::parse(&format!("{workers}={}", self.command.replace(WORKERS, &workers.to_string())))
        };
        self.workers.iter().map(of).collect()
    }
}

/// Measures; progress goes to standard error, the table is returned.
pub fn run(options: &ScalingOptions) -> Result<String, Fatal> {
    let mut compare = options.compare.clone();
    compare.servers = options.servers()?;
    let mut table = String::new();
    writeln!(table, "{}", process::machine()).expect(MEMORY);
    write!(table, "{:8} {:>7} {:>5}", "keys", "reads", "depth").expect(MEMORY);
    for workers in &options.workers {
        let name = if *workers == 1 { "1 worker".to_owned() } else { format!("{workers} workers") };
        write!(table, " | {name:>34}").expect(MEMORY);
    }
    table.push('\n');
    for (keys, zipf) in [("uniform", None), ("zipf", Some(ZIPF))] {
        compare.load.zipf = zipf;
        eprintln!("{keys} keys");
        for line in compare::measure_all(&compare)?.lines {
            write!(table, "{keys:8} {:>7} {:>5}", reads(&line.operation), line.depth).expect(MEMORY);
            line.cells.iter().for_each(|cell| column(&mut table, cell, &line.cells[0], &line.operation));
            table.push('\n');
        }
    }
    Ok(table)
}

/// The share of commands that read.
fn reads(operation: &Operation) -> &'static str {
    match operation {
        Operation::Get => "100 %",
        Operation::Mix => "90 %",
        Operation::Set | Operation::Fill => "0 %",
        _ => "50 %",
    }
}

fn column(table: &mut String, cell: &Cell, first: &Cell, operation: &Operation) {
    let commands = if matches!(operation, Operation::Template(_)) { 2.0 } else { 1.0 };
    let ops_per_s = cell.median(|sample| sample.ops_per_s);
    write!(
        table,
        " | {:6.3} us x{:<5.2} {:9.0}/s x{:<5.2}",
        cell.median(|sample| sample.server_us_per_op) / commands,
        cell.ratio(first),
        ops_per_s * commands,
        ops_per_s / first.median(|sample| sample.ops_per_s),
    )
    .expect(MEMORY);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_of_workers_has_its_server() {
        let command = "torc --port {port} --workers {workers}".to_owned();
        let options = ScalingOptions { command, workers: vec![1, 4], ..ScalingOptions::default() };
        let servers = options.servers().expect("it says where they stand");
        assert_eq!(servers[1].name, "4");
        assert_eq!(servers[1].command, ["torc", "--port", "{port}", "--workers", "4"]);
        let fixed = ScalingOptions { command: "torc --port {port}".into(), ..options };
        assert!(fixed.servers().is_err());
    }
}
