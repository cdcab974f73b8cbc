//! The comparison: servers side by side on one machine, loaded in turn, round after round.
//!
//! Design: all servers run at once, pinned alike, so that a drift of the machine's speed touches all of them; each round
//! measures every server with every operation and depth, and begins with another server than the round before. A ratio
//! is taken within a round and its median over the rounds, because that is stable where each figure alone is not.
//! Templates have their rounds after those of the known operations, whose values they may change.

mod render;
mod server;
mod summary;

use std::time::Duration;

use crate::load::{self, LoadOptions};
use crate::operation::Operation;
use crate::output::{Document, Outputs, Section};
use crate::report::LoadReport;
use crate::tls::TlsOptions;
use crate::{Fatal, fatal, process};

use server::Server;
pub use server::ServerSpec;
use summary::Sample;
pub use summary::{Cell, Line, Summary};

/// Connections and depth of the load that fills a server.
const FILL_CONNECTIONS: usize = 20;
const FILL_DEPTH: usize = 64;

/// How the result is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For a terminal.
    #[default]
    Text,
    /// For a README.
    Markdown,
}

/// A comparison.
#[derive(Clone, Debug, PartialEq)]
pub struct CompareOptions {
    /// Servers; ratios are to the first.
    pub servers: Vec<ServerSpec>,
    /// What is measured.
    pub operations: Vec<Operation>,
    /// With these depths.
    pub depths: Vec<usize>,
    /// So often.
    pub rounds: usize,
    /// CPUs of the servers.
    pub server_cpus: Vec<usize>,
    /// What all loads have in common.
    pub load: LoadOptions,
    /// How the result is printed.
    pub format: Format,
}

impl Default for CompareOptions {
    fn default() -> CompareOptions {
        CompareOptions {
            servers: Vec::new(),
            operations: vec![Operation::Get, Operation::Set],
            depths: vec![1, 16, 64],
            rounds: 5,
            server_cpus: vec![0],
            load: LoadOptions { duration: Duration::from_secs(1), cpus: vec![1], ..LoadOptions::default() },
            format: Format::Text,
        }
    }
}

/// Runs a comparison; progress goes to standard error, the tables are returned.
pub fn run(options: &CompareOptions) -> Result<String, Fatal> {
    let outputs = Outputs::open(&options.load.outputs)?;
    let summary = measure_all(options)?;
    outputs.write(&document(&summary))?;
    Ok(match options.format {
        Format::Text => render::text(&summary),
        Format::Markdown => render::markdown(&summary, &process::machine()),
    })
}

/// All loads with the runs of all servers, for files.
fn document(summary: &Summary) -> Document {
    let names = || summary.options.servers.iter().map(|server| server.name.clone());
    let section = |line: &Line| Section {
        title: format!("{}, depth {}", line.operation, line.depth),
        runs: names().zip(line.cells.iter().filter_map(|cell| cell.all.clone())).collect(),
    };
    let title = names().collect::<Vec<_>>().join(", ");
    Document::new(format!("{title}: side by side"), summary.lines.iter().map(section).collect())
}

/// All rounds of a comparison.
pub fn measure_all(options: &CompareOptions) -> Result<Summary, Fatal> {
    if options.server_cpus.iter().any(|cpu| options.load.cpus.contains(cpu)) {
        eprintln!(
            "servers and load share a CPU: throughput and latency say little, CPU per operation is distorted"
        );
    }
    let mut summary = Summary::new(options);
    let mut servers = Vec::new();
    let tls = options.load.tls.as_ref().map(TlsOptions::load).transpose()?;
    for spec in &options.servers {
        let server = Server::start(spec, &options.server_cpus, tls.as_ref())?;
        let bytes_per_key = fill(&server, &options.load)?;
        eprintln!("{}: filled, {bytes_per_key:.0} bytes per key", spec.name);
        summary.bytes_per_key.push(bytes_per_key);
        servers.push(server);
    }
    for operation in options.operations.iter().filter(|operation| !operation.is_known()) {
        for server in &servers {
            let addresses = vec![server.address().clone()];
            let load = LoadOptions { operation: operation.clone(), addresses, ..options.load.clone() };
            if load.operation.fill().is_some_and(|fill| fill != Operation::Fill) {
                load::fill(&load).map_err(|error| Fatal(format!("{}: {error}", server.name())))?;
            }
        }
    }
    let is_known = |line: &&mut Line| line.operation.is_known();
    let (known, templates): (Vec<_>, Vec<_>) = summary.lines.iter_mut().partition(is_known);
    run_rounds(&servers, options, known)?;
    run_rounds(&servers, options, templates)?;
    Ok(summary)
}

/// All rounds of these lines.
fn run_rounds(servers: &[Server], options: &CompareOptions, mut lines: Vec<&mut Line>) -> Result<(), Fatal> {
    let rounds = if lines.is_empty() { 0 } else { options.rounds };
    for round in 0..rounds {
        eprintln!("round {} of {}", round + 1, rounds);
        for line in &mut lines {
            for turn in 0..servers.len() {
                let index = (round + turn) % servers.len();
                let report = measure(&servers[index], &options.load, &line.operation, line.depth)?;
                line.cells[index].add(sample(&report)?, &report);
            }
        }
    }
    Ok(())
}

/// Writes every key; resident bytes gained for each.
fn fill(server: &Server, common: &LoadOptions) -> Result<f64, Fatal> {
    let failed = |error| Fatal(format!("{}: cannot read its memory: {error}", server.name()));
    let before = process::resident_bytes(server.pid()).map_err(failed)?;
    let common = LoadOptions { connections: FILL_CONNECTIONS, ..common.clone() };
    measure(server, &common, &Operation::Fill, FILL_DEPTH)?;
    let after = process::resident_bytes(server.pid()).map_err(failed)?;
    Ok((after as f64 - before as f64) / common.keys as f64)
}

fn measure(
    server: &Server,
    common: &LoadOptions,
    operation: &Operation,
    depth: usize,
) -> Result<LoadReport, Fatal> {
    let options = LoadOptions {
        addresses: vec![server.address().clone()],
        pids: vec![server.pid()],
        operation: operation.clone(),
        depth,
        ..common.clone()
    };
    load::run(&options)
        .map_err(|error| Fatal(format!("{}, {operation}, depth {depth}: {error}", server.name())))
}

fn sample(report: &LoadReport) -> Result<Sample, Fatal> {
    let Some(server_us_per_op) = report.server_us_per_op() else { return fatal("the CPU time is unknown") };
    Ok(Sample {
        server_us_per_op,
        ops_per_s: report.ops_per_s(),
        p50_us: report.latencies.quantile_us(0.5),
        p99_us: report.latencies.quantile_us(0.99),
        p999_us: report.latencies.quantile_us(0.999),
        load_busy_percent: report.load_busy_percent(),
    })
}
