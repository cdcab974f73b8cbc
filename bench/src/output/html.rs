//! One page with everything in it: no file besides, no script; light and dark, wide and narrow.

use std::fmt::Write as _;

use crate::report::{Delivered, Latencies, LoadReport, QUANTILES};

use super::{Document, MEMORY, Section, charts, count, duration};

const STYLE: &str = include_str!("style.css");
/// Colours there are; servers beyond share them.
const COLORS: usize = 6;

/// The page.
pub fn page(document: &Document) -> String {
    let Document { title, machine, command, date, sections } = document;
    let title = escaped(title);
    let mut out = format!(
        "<!doctype html>\n<html lang=en><head><meta charset=utf-8><meta name=viewport content=\"width=device-width\">\
         <title>{title}</title>\n<style>{STYLE}</style></head>\n<body><main>\n<h1>{title}</h1>\
         <p class=meta>{} · {}</p>\n",
        escaped(date),
        escaped(machine)
    );
    for section in sections {
        out += &match &section.runs[..] {
            [(_, run)] => single(section, run, sections.len() > 1),
            _ => several(section),
        };
    }
    write!(
        out,
        "<footer><div class=card><h3>Command</h3><pre><code>{}</code></pre></div></footer>\n</main></body></html>\n",
        escaped(command)
    )
    .expect(MEMORY);
    out
}

/// One server under one load.
fn single(section: &Section, run: &LoadReport, is_titled: bool) -> String {
    let mut out = String::new();
    if is_titled {
        write!(out, "<h2>{}</h2>", escaped(&section.title)).expect(MEMORY);
    }
    write!(out, "<p class=hint style=\"margin-top:6px\">{}</p>", escaped(&conditions(run))).expect(MEMORY);
    out.push_str("<div class=tiles>");
    let at = |share| duration(run.latencies.quantile_us(share));
    let cpu = run.server_us_per_op().map_or("unknown".to_owned(), duration);
    for (value, name) in [
        (count(run.ops_per_s()), "operations per second"),
        (at(0.5), "median latency"),
        (at(0.99), "99th percentile"),
        (at(0.999), "99.9th percentile"),
        (cpu, "server CPU per operation"),
    ] {
        write!(out, "<div class=\"card tile\"><b>{value}</b><span>{name}</span></div>").expect(MEMORY);
    }
    out.push_str("</div>");
    out += &doubts(&[("", run)]);
    out.push_str("<div class=charts>");
    out += &card("", "Throughput", "operations per second", &charts::throughput(&[run]));
    out += &card(
        "",
        "Latency by percentile",
        "each further nine is as wide as the one before",
        &charts::percentiles(&[run]),
    );
    out += &card(
        "wide",
        "Latency over time",
        "stronger: more requests; shades are logarithmic",
        &charts::heat_map(run, &[run]),
    );
    out.push_str("</div>");
    out += &table(&section.runs);
    out
}

/// Several servers under one load.
fn several(section: &Section) -> String {
    let runs: Vec<&LoadReport> = section.runs.iter().map(|(_, run)| run).collect();
    let mut out = format!("<h2>{}</h2><ul class=legend>", escaped(&section.title));
    for (index, (name, _)) in section.runs.iter().enumerate() {
        write!(out, "<li><i class=c{}></i>{}</li>", index % COLORS, escaped(name)).expect(MEMORY);
    }
    out.push_str("</ul>");
    let named: Vec<(&str, &LoadReport)> =
        section.runs.iter().map(|(name, run)| (name.as_str(), run)).collect();
    out += &doubts(&named);
    out.push_str("<div class=charts>");
    out += &card(
        "",
        "Throughput",
        "operations per second, all rounds one after the other",
        &charts::throughput(&runs),
    );
    out += &card(
        "",
        "Latency by percentile",
        "each further nine is as wide as the one before",
        &charts::percentiles(&runs),
    );
    for (name, run) in &section.runs {
        out += &card(
            "",
            &format!("Latency over time: {name}"),
            "stronger: more requests",
            &charts::heat_map(run, &runs),
        );
    }
    out.push_str("</div>");
    out += &table(&section.runs);
    out
}

fn card(class: &str, title: &str, hint: &str, chart: &str) -> String {
    format!(
        "<section class=\"card {class}\"><h3>{}</h3><p class=hint>{hint}</p>{chart}</section>",
        escaped(title)
    )
}

/// Under which conditions a run was made.
fn conditions(run: &LoadReport) -> String {
    let LoadReport { operation, connections, depth, threads, .. } = run;
    let (plural, batch) =
        (if *threads == 1 { "" } else { "s" }, if *depth == 1 { "" } else { " of a whole batch" });
    let loop_kind = match run.rate {
        Some(rate) => {
            format!("open loop at {} per second; latency counts from when a request was due", count(rate))
        }
        None => format!("closed loop; latency is that{batch} under exactly this load"),
    };
    let batch = if *depth == 1 { String::new() } else { format!(", {depth} commands at once") };
    format!("{operation}; {connections} connections{batch}, {threads} load thread{plural}; {loop_kind}")
}

/// What makes figures doubtful.
fn doubts(runs: &[(&str, &LoadReport)]) -> String {
    let mut out = String::new();
    for (name, run) in runs {
        let name = if name.is_empty() { String::new() } else { format!("{}: ", escaped(name)) };
        if let Some(error) = &run.first_error {
            let error = escaped(error);
            write!(
                out,
                "<p class=\"card warn\">{name}{} errors, the first: <code>{error}</code></p>",
                run.errors
            )
            .expect(MEMORY);
        }
        if run.wrong > 0 {
            write!(out, "<p class=\"card warn\">{name}{} replies were wrong.</p>", run.wrong).expect(MEMORY);
        }
        if run.unsent > 0 {
            write!(out, "<p class=\"card warn\">{name}{} requests were due and never sent: the server did not keep up.</p>", run.unsent)
                .expect(MEMORY);
        }
    }
    out
}

fn table(runs: &[(String, LoadReport)]) -> String {
    let mut out = String::from(
        "<div class=\"card scroll\"><table><tr><th>server</th><th>ops/s</th><th>CPU per op</th>",
    );
    QUANTILES.iter().for_each(|(name, _)| write!(out, "<th>{name}</th>").expect(MEMORY));
    out.push_str("<th>max</th><th>errors</th></tr>");
    let most = runs.iter().map(|(_, run)| run.ops_per_s()).fold(1.0, f64::max);
    for (index, (name, run)) in runs.iter().enumerate() {
        let color = index % COLORS;
        let width = 100.0 * run.ops_per_s() / most;
        let bar = match runs.len() {
            1 => String::new(),
            _ => format!("<span class=\"bar c{color}\" style=\"width:{width:.0}%\"></span>"),
        };
        let name = format!("<i class=c{color}></i>{}", escaped(name));
        let cpu = run.server_us_per_op().map_or("unknown".to_owned(), duration);
        let rate = format!("{}{bar}", count(run.ops_per_s()));
        row(&mut out, &[&name, &rate, &cpu], &run.latencies, &run.errors.to_string());
        let seconds = run.elapsed.as_secs_f64().max(1e-9);
        for part in &run.parts {
            let name = format!("<span class=part>{}</span>", escaped(&part.name));
            row(&mut out, &[&name, &count(part.ops as f64 / seconds), ""], &part.latencies, "");
        }
        if let Some(Delivered { count: messages, latencies }) = &run.delivered {
            let rate = count(*messages as f64 / seconds);
            row(&mut out, &["<span class=part>delivered messages</span>", &rate, ""], latencies, "");
        }
    }
    out.push_str("</table></div>");
    out
}

/// A row of a table, of what is escaped.
fn row(out: &mut String, first: &[&str], latencies: &Latencies, last: &str) {
    out.push_str("<tr>");
    first.iter().for_each(|cell| write!(out, "<td>{cell}</td>").expect(MEMORY));
    for (_, share) in QUANTILES {
        write!(out, "<td>{}</td>", duration(latencies.quantile_us(*share))).expect(MEMORY);
    }
    write!(out, "<td>{}</td><td>{last}</td></tr>", duration(latencies.max_us())).expect(MEMORY);
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::tests::document;
    use super::*;

    #[test]
    fn page_needs_nothing_besides() {
        for names in [&["one"][..], &["one", "<two>", "three"]] {
            let text = page(&document(names));
            for outside in ["http:", "https:", "src=", "href=", "url(", "@import", "<script"] {
                assert!(!text.contains(outside), "{outside}");
            }
            assert!(text.contains("prefers-color-scheme:dark") && text.contains("name=viewport"));
            assert_eq!(text.matches("heat map of latency").count(), names.len());
            assert!(!text.contains("<two>") && !text.contains("<b> &"), "text is escaped");
            for tag in ["div", "svg", "section", "table", "span", "p"] {
                let open =
                    text.matches(&format!("<{tag} ")).count() + text.matches(&format!("<{tag}>")).count();
                assert_eq!(open, text.matches(&format!("</{tag}>")).count(), "{tag}");
            }
        }
    }
}
