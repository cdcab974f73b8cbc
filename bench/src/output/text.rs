//! Percentiles as HdrHistogram prints them, and rows per second.

use std::fmt::Write as _;

use crate::report::LoadReport;

use super::{Document, MEMORY};

/// How often the distance to 100 % is halved within which so many lines are printed.
const TICKS_PER_HALF: u32 = 5;

/// The form that HdrHistogram's own tools print and plotters read; values are milliseconds.
pub fn hgrm(report: &LoadReport) -> String {
    let mut out = String::from("       Value     Percentile TotalCount 1/(1-Percentile)\n\n");
    let histogram = report.latencies.histogram();
    for step in histogram.iter_quantiles(TICKS_PER_HALF) {
        let (value, share) = (step.value_iterated_to() as f64 / 1e6, step.quantile_iterated_to());
        let seen = histogram.count_between(0, step.value_iterated_to());
        write!(out, "{value:12.3} {share:2.12} {seen:10}").expect(MEMORY);
        if share < 1.0 {
            write!(out, " {:14.2}", 1.0 / (1.0 - share)).expect(MEMORY);
        }
        out.push('\n');
    }
    let [mean, deviation, max] =
        [histogram.mean(), histogram.stdev(), histogram.max() as f64].map(|ns| ns / 1e6);
    writeln!(out, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]").expect(MEMORY);
    writeln!(out, "#[Max     = {max:12.3}, Total count    = {:12}]", histogram.len()).expect(MEMORY);
    let buckets = 64 - (histogram.high() / 2048).leading_zeros() + 1;
    writeln!(out, "#[Buckets = {buckets:12}, SubBuckets     = {:12}]", 2048).expect(MEMORY);
    out
}

/// A row for each second of each run, from the end of its warm-up on.
pub fn csv(document: &Document) -> String {
    let mut out = String::from("load,server,second,ops,ops_per_s,p50_us,p90_us,p99_us,p99.9_us,max_us\n");
    for section in &document.sections {
        for (name, run) in &section.runs {
            let width = run.timeline.width.as_secs_f64();
            let (slots, whole) = (run.timeline.slots.len(), run.timeline.slots_per_second());
            for (index, second) in run.timeline.seconds().iter().enumerate() {
                let length = (slots - index * whole).min(whole) as f64 * width;
                let rate = second.ops as f64 / length;
                write!(out, "{},{},{index},{},{rate:.0}", quoted(&section.title), quoted(name), second.ops)
                    .expect(MEMORY);
                for share in [0.5, 0.9, 0.99, 0.999, 1.0] {
                    write!(out, ",{:.1}", second.quantile_us(share)).expect(MEMORY);
                }
                out.push('\n');
            }
        }
    }
    out
}

/// A field of CSV (RFC 4180).
fn quoted(field: &str) -> String {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, run};
    use super::*;

    #[test]
    fn percentiles_ascend_to_all() {
        let text = hgrm(&run());
        let rows: Vec<Vec<f64>> = text
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().map(|field| field.parse().expect("a number")).collect())
            .collect();
        assert!(rows.len() > 20, "{text}");
        assert!(rows.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]), "{text}");
        let last = rows.last().expect("there are rows");
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1000.0), "{text}");
        assert!((last[0] - 10.0).abs() < 0.02, "{text}");
        assert!(text.contains("Total count    =         1000]"), "{text}");
    }

    #[test]
    fn seconds_have_rows() {
        let text = csv(&document(&["a", "b,\"c"]));
        let rows: Vec<&str> = text.lines().collect();
        assert_eq!(rows.len(), 5, "{text}");
        assert!(rows[1].starts_with("\"set, depth 1\",a,0,500,500,"), "{text}");
        assert!(rows[4].starts_with("\"set, depth 1\",\"b,\"\"c\",1,500,500,"), "{text}");
    }
}
