//! What was found as JSON, for programs.

use std::fmt::Write as _;

use crate::report::{Delivered, Latencies, LoadReport, QUANTILES};

use super::{Document, MEMORY};

/// Everything.
pub fn document(document: &Document) -> String {
    let mut out = String::new();
    let Document { title, machine, command, date, sections } = document;
    let fields = [("title", title), ("machine", machine), ("command", command), ("date", date)];
    out.push('{');
    for (name, text) in fields {
        write!(out, "\"{name}\":{},\n ", string(text)).expect(MEMORY);
    }
    out.push_str("\"runs\":[");
    let runs = sections.iter().flat_map(|section| section.runs.iter().map(move |run| (section, run)));
    for (index, (section, (name, report))) in runs.enumerate() {
        out.push_str(if index == 0 { "\n  " } else { ",\n  " });
        write!(out, "{{\"load\":{},\"server\":{},", string(&section.title), string(name)).expect(MEMORY);
        run(&mut out, report);
    }
    out.push_str("\n ]}\n");
    out
}

fn run(out: &mut String, report: &LoadReport) {
    let LoadReport { connections, depth, threads, ops, errors, unsent, .. } = report;
    write!(
        out,
        "\"operation\":{},\"connections\":{connections},\"depth\":{depth},\"threads\":{threads},\"rate\":{},\
         \"seconds\":{},\"ops\":{ops},\"ops_per_s\":{},\"server_cpu_us_per_op\":{},\"load_cpu_us_per_op\":{},\
         \"errors\":{errors},\"first_error\":{},\"unsent\":{unsent}",
        string(&report.operation),
        number(report.rate),
        report.elapsed.as_secs_f64(),
        number(Some(report.ops_per_s())),
        number(report.server_us_per_op()),
        number(Some(report.load_us_per_op())),
        report.first_error.as_deref().map_or("null".to_owned(), string),
    )
    .expect(MEMORY);
    out.push_str(",\n   \"latency_us\":");
    quantiles(out, &report.latencies);
    out.push_str(",\n   \"sent_late_us\":");
    match report.rate {
        Some(_) => quantiles(out, &report.lags),
        None => out.push_str("null"),
    }
    out.push_str(",\n   ");
    details(out, report);
    out.push_str("\"per_second\":[");
    for (index, second) in report.timeline.seconds().iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let [p50, p99, max] = [0.5, 0.99, 1.0].map(|share| second.quantile_us(share));
        write!(
            out,
            "{comma}{{\"ops\":{},\"p50_us\":{p50:.1},\"p99_us\":{p99:.1},\"max_us\":{max:.1}}}",
            second.ops
        )
        .expect(MEMORY);
    }
    out.push_str("]}");
}

fn quantiles(out: &mut String, latencies: &Latencies) {
    out.push('{');
    for (name, share) in QUANTILES {
        write!(out, "\"{name}\":{:.3},", latencies.quantile_us(*share)).expect(MEMORY);
    }
    write!(out, "\"max\":{:.3}}}", latencies.max_us()).expect(MEMORY);
}

/// What only some runs have.
fn details(out: &mut String, report: &LoadReport) {
    let LoadReport { nulls, right, wrong, reconnects, .. } = report;
    write!(out, "\"nulls\":{nulls},\"verified\":{},\"right\":{right},\"wrong\":{wrong},", report.is_verified)
        .expect(MEMORY);
    write!(out, "\"reconnects\":{reconnects},\"parts\":[").expect(MEMORY);
    for (index, part) in report.parts.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let [p50, p99] = [0.5, 0.99].map(|share| part.latencies.quantile_us(share));
        let (name, ops, max) = (string(&part.name), part.ops, part.latencies.max_us());
        write!(out, "{comma}{{\"name\":{name},\"ops\":{ops},\"p50_us\":{p50:.3},\"p99_us\":{p99:.3},\"max_us\":{max:.3}}}")
            .expect(MEMORY);
    }
    out.push_str("],\"delivered\":");
    match &report.delivered {
        None => out.push_str("null"),
        Some(Delivered { count, latencies }) => {
            let [p50, p99] = [0.5, 0.99].map(|share| latencies.quantile_us(share));
            write!(out, "{{\"messages\":{count},\"p50_us\":{p50:.3},\"p99_us\":{p99:.3}}}").expect(MEMORY);
        }
    }
    out.push_str(",\n   ");
}

/// JSON has no number for what is none.
fn number(number: Option<f64>) -> String {
    number.filter(|number| number.is_finite()).map_or("null".to_owned(), |number| number.to_string())
}

fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter < ' ' => write!(out, "\\u{:04x}", u32::from(letter)).expect(MEMORY),
            letter => out.push(letter),
        }
    }
    out + "\""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(string("a\"b\\c\n\u{1}ä"), "\"a\\\"b\\\\c\\u000a\\u0001ä\"");
        assert_eq!(number(Some(f64::NAN)), "null");
    }

    #[test]
    fn runs_are_told() {
        let text = document(&super::super::tests::document(&["a", "b"]));
        assert_eq!(text.matches("\"ops_per_s\":500,").count(), 2, "{text}");
        let (open, closed) = (text.matches(['{', '[']).count(), text.matches(['}', ']']).count());
        assert_eq!(open, closed, "{text}");
        assert!(text.contains("\"operation\":\"set a <b> & \\\"c\\\"\""), "{text}");
    }
}
