//! The tables of a comparison.

use std::fmt::Write as _;

use super::summary::{Cell, Line, Sample, Summary};

/// From this share on, percent, the load is what limits throughput.
const LOAD_BUSY_PERCENT_MAX: f64 = 95.0;
/// Writing to memory does not fail.
const MEMORY: &str = "writing to memory does not fail";

/// A block for each operation and depth, a row for each server.
pub fn text(summary: &Summary) -> String {
    let names = || summary.options.servers.iter().map(|server| server.name.as_str());
    let width = names().map(str::len).max().unwrap_or(0).max("server".len());
    let mut out = String::new();
    for line in &summary.lines {
        writeln!(out, "{}, depth {}", line.operation, line.depth).expect(MEMORY);
        writeln!(
            out,
            "  {:width$} {:>9} {:>7} {:>7} {:>10} {:>9} {:>9} {:>9} {:>6}",
            "server", "us/op", "ratio", "spread", "ops/s", "p50 us", "p99 us", "p99.9 us", "load"
        )
        .expect(MEMORY);
        for (name, cell) in names().zip(&line.cells) {
            let median = |of: fn(&Sample) -> f64| cell.median(of);
            writeln!(
                out,
                "  {name:width$} {:9.3} {:>7} {:>7} {:10.0} {:9.1} {:9.1} {:9.1} {:>6}{}",
                median(|sample| sample.server_us_per_op),
                format!("x{:.2}", cell.ratio(&line.cells[0])),
                format!("{:.0}%", cell.spread_percent()),
                median(|sample| sample.ops_per_s),
                median(|sample| sample.p50_us),
                median(|sample| sample.p99_us),
                median(|sample| sample.p999_us),
                format!("{:.0}%", median(|sample| sample.load_busy_percent)),
                remarks(cell),
            )
            .expect(MEMORY);
        }
    }
    writeln!(out, "resident bytes per key").expect(MEMORY);
    for (name, bytes) in names().zip(&summary.bytes_per_key) {
        writeln!(out, "  {name:width$} {bytes:9.0}").expect(MEMORY);
    }
    out
}

/// What makes a row doubtful.
fn remarks(cell: &Cell) -> String {
    let mut remarks = String::new();
    if cell.median(|sample| sample.load_busy_percent) >= LOAD_BUSY_PERCENT_MAX {
        remarks.push_str("  (throughput is the load's)");
    }
    if let Some(error) = &cell.first_error {
        write!(remarks, "  ({} errors: {error})", cell.errors).expect(MEMORY);
    }
    remarks
}

/// Two tables with a column for each server, and how they came to be.
pub fn markdown(summary: &Summary, machine: &str) -> String {
    let mut out = String::new();
    heading(&mut out, summary, "CPU us per operation");
    for line in &summary.lines {
        row(&mut out, &label(line), line.cells.iter().map(|cell| cpu(cell, &line.cells[0])));
    }
    let bytes = summary.bytes_per_key.iter().map(|bytes| format!("{bytes:.0}"));
    row(&mut out, "bytes per key", bytes);
    out.push('\n');
    heading(&mut out, summary, "thousand operations per second; p99 of a batch, us");
    for line in &summary.lines {
        row(&mut out, &label(line), line.cells.iter().map(throughput));
    }
    let load = &summary.options.load;
    let keys = load.zipf.map_or("uniform".to_owned(), |exponent| format!("Zipf {exponent}"));
    writeln!(
        out,
        "\n{} keys ({keys}), {}-byte values, {} connections; medians of {} rounds of {} s; servers on CPU {}, load \
         on CPU {}; {machine}.",
        load.keys,
        load.value_bytes,
        load.connections,
        summary.options.rounds,
        load.duration.as_secs_f64(),
        cpus(&summary.options.server_cpus),
        cpus(&load.cpus),
    )
    .expect(MEMORY);
    out
}

fn heading(out: &mut String, summary: &Summary, title: &str) {
    row(out, title, summary.options.servers.iter().map(|server| server.name.clone()));
    row(out, "---", summary.options.servers.iter().map(|_| "---:".to_owned()));
}

fn row(out: &mut String, first: &str, cells: impl Iterator<Item = String>) {
    let cells: Vec<String> = cells.map(|cell| cell.replace('|', "\\|")).collect();
    writeln!(out, "| {} | {} |", first.replace('|', "\\|"), cells.join(" | ")).expect(MEMORY);
}

fn label(line: &Line) -> String {
    match &line.operation {
        crate::operation::Operation::Template(text) => format!("`{text}`, depth {}", line.depth),
        known => format!("{}, depth {}", known.to_string().to_uppercase(), line.depth),
    }
}

fn cpu(cell: &Cell, first: &Cell) -> String {
    let us = cell.median(|sample| sample.server_us_per_op);
    let errors = if cell.errors > 0 { " (errors)" } else { "" };
    match std::ptr::eq(cell, first) {
        true => format!("{us:.2}{errors}"),
        false => format!("{us:.2} (x{:.2}){errors}", cell.ratio(first)),
    }
}

fn throughput(cell: &Cell) -> String {
    let (ops, p99) = (cell.median(|sample| sample.ops_per_s), cell.median(|sample| sample.p99_us));
    format!("{:.0}; {p99:.0}", ops / 1e3)
}

fn cpus(cpus: &[usize]) -> String {
    cpus.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::summary::tests::summary;

    #[test]
    fn text_has_a_row_for_each_server() {
        let text = text(&summary(&[(2.0, 1.0), (2.0, 1.0)]));
        let rows: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(text.lines().next(), Some("get, depth 16"));
        assert_eq!(rows[2], ["redis", "2.000", "x1.00", "0%", "500000", "20.0", "40.0", "60.0", "50%"]);
        assert_eq!(rows[3][..3], ["torc", "1.000", "x0.50"]);
        assert_eq!(rows[6], ["torc", "95"]);
    }

    #[test]
    fn columns_are_aligned() {
        let text = text(&summary(&[(2.0, 1.0)]));
        let lengths: Vec<usize> = text.lines().skip(1).take(3).map(str::len).collect();
        assert!(lengths.iter().all(|length| *length == lengths[0]), "{lengths:?}");
    }

    #[test]
    fn markdown_has_a_column_for_each_server() {
        let text = markdown(&summary(&[(2.0, 1.0)]), "a machine");
        assert!(text.contains("| CPU us per operation | redis | torc |\n| --- | ---: | ---: |\n"), "{text}");
        assert!(text.contains("| GET, depth 16 | 2.00 | 1.00 (x0.50) |\n"), "{text}");
        assert!(text.contains("| bytes per key | 140 | 95 |\n"), "{text}");
        assert!(text.contains("| GET, depth 16 | 500; 40 | 1000; 20 |\n"), "{text}");
        assert!(text.contains("medians of 1 rounds of 1 s; servers on CPU 0, load on CPU 1; a machine."));
    }

    #[test]
    fn doubts_are_told() {
        let mut summary = summary(&[(2.0, 1.0)]);
        summary.lines[0].cells[1].errors = 3;
        summary.lines[0].cells[1].first_error = Some("ERR no".into());
        assert!(text(&summary).contains("(3 errors: ERR no)"));
        assert!(markdown(&summary, "").contains("(errors)"));
    }
}
