//! What a run found, in files: percentiles as HdrHistogram prints them, JSON, CSV rows per second, and a page with charts.
//!
//! Design: the ending of a file's name says what is written to it. Files are opened before a run, so that a wrong path costs no
//! run, and keep what they held until there is something new.

mod charts;
mod html;
mod json;
mod text;

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::report::LoadReport;
use crate::{Fatal, fatal, process};

/// Writing to memory does not fail.
const MEMORY: &str = "writing to memory does not fail";
const DAY_SECONDS: u64 = 86_400;

/// What can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Hgrm,
    Json,
    Csv,
    Html,
}

/// A file to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    path: PathBuf,
    format: Format,
}

impl Output {
    /// By the ending of the file's name.
    pub fn parse(path: &str) -> Result<Output, Fatal> {
        let path = PathBuf::from(path);
        let format = match path.extension().and_then(|ending| ending.to_str()) {
            Some("hgrm") => Format::Hgrm,
            Some("json") => Format::Json,
            Some("csv") => Format::Csv,
            Some("html") => Format::Html,
            _ => {
                let shown = path.display();
                return fatal(format!(
                    "'{shown}': a file's name ends in .hgrm, .json, .csv or .html, which says what it gets"
                ));
            }
        };
        Ok(Output { path, format })
    }

    /// Whether it can hold the runs of several servers.
    pub fn holds_several(&self) -> bool {
        self.format != Format::Hgrm
    }
}

/// Files that were opened.
#[derive(Debug)]
pub struct Outputs(Vec<(Output, File)>);

impl Outputs {
    /// Opens all files.
    ///
    /// # Errors
    /// Which cannot be written, and why.
    pub fn open(outputs: &[Output]) -> Result<Outputs, Fatal> {
        let open = |output: &Output| -> Result<(Output, File), Fatal> {
            let file = OpenOptions::new().create(true).truncate(false).write(true).open(&output.path);
            Ok((output.clone(), file.map_err(|error| failed(&output.path, &error))?))
        };
        Ok(Outputs(outputs.iter().map(open).collect::<Result<_, _>>()?))
    }

    /// Writes all files.
    pub fn write(self, document: &Document) -> Result<(), Fatal> {
        for (output, mut file) in self.0 {
            let text = match output.format {
                Format::Hgrm => document.runs().map(|(_, run)| text::hgrm(run)).collect(),
                Format::Json => json::document(document),
                Format::Csv => text::csv(document),
                Format::Html => html::page(document),
            };
            let written = file.set_len(0).and_then(|()| file.write_all(text.as_bytes()));
            written.map_err(|error| failed(&output.path, &error))?;
        }
        Ok(())
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Fatal {
    Fatal(format!("cannot write {}: {error}", path.display()))
}

/// Runs to be told of, with how they came to be.
#[derive(Clone, Debug)]
pub struct Document {
    /// What was asked for, in words.
    pub title: String,
    /// Processor and kernel.
    pub machine: String,
    /// The arguments.
    pub command: String,
    /// When, in UTC.
    pub date: String,
    /// A section for each load.
    pub sections: Vec<Section>,
}

/// One load and what it did to each server.
#[derive(Clone, Debug)]
pub struct Section {
    /// The load.
    pub title: String,
    /// By server: its name and what was found.
    pub runs: Vec<(String, LoadReport)>,
}

impl Document {
    /// Of now, this machine, and this program's arguments.
    pub fn new(title: impl Into<String>, sections: Vec<Section>) -> Document {
        let args =
            std::env::args().skip(1).map(|arg| match arg.contains([' ', ';', '%']) || arg.is_empty() {
                true => format!("'{arg}'"),
                false => arg,
            });
        Document {
            title: title.into(),
            machine: process::machine(),
            command: format!("bench {}", args.collect::<Vec<_>>().join(" ")),
            date: date(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
            sections,
        }
    }

    fn runs(&self) -> impl Iterator<Item = (&Section, &LoadReport)> {
        self.sections.iter().flat_map(|section| section.runs.iter().map(move |(_, run)| (section, run)))
    }
}

/// Seconds since 1970 as a date, as of the Gregorian calendar (Hinnant's days-to-civil).
fn date(seconds: u64) -> String {
    let (days, second) = (seconds / DAY_SECONDS + 719_468, seconds % DAY_SECONDS);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = 400 * era + year_of_era + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02} {:02}:{:02} UTC", second / 3600, second / 60 % 60)
}

/// A number of microseconds as people read it.
fn duration(us: f64) -> String {
    match us {
        us if us >= 1e6 => format!("{} s", short(us / 1e6)),
        us if us >= 1e3 => format!("{} ms", short(us / 1e3)),
        us => format!("{} µs", short(us)),
    }
}

/// A count as people read it.
fn count(number: f64) -> String {
    match number {
        number if number >= 1e9 => format!("{} G", short(number / 1e9)),
        number if number >= 1e6 => format!("{} M", short(number / 1e6)),
        number if number >= 1e4 => format!("{} k", short(number / 1e3)),
        number => short(number),
    }
}

/// Three digits, without zeros behind the point.
fn short(number: f64) -> String {
    let digits = if number >= 100.0 {
        0
    } else if number >= 10.0 {
        1
    } else {
        2
    };
    let mut text = String::new();
    write!(text, "{number:.digits$}").expect(MEMORY);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::Timeline;
    use crate::report::Latencies;
    use std::time::Duration;

    /// A run with latencies of 10 us to 10 ms over two seconds.
    pub fn run() -> LoadReport {
        let (mut latencies, mut timeline) = (Latencies::default(), Timeline::new(Duration::from_secs(2)));
        for index in 0..1000u64 {
            let us = 10 + index * 10;
            latencies.record(Duration::from_micros(us));
            let slot =
                crate::load::Slot { ops: 1, latencies: [(crate::load::bucket(us * 1000) as u16, 1)].into() };
            timeline.add((index / 25) as usize, &slot);
        }
        LoadReport {
            operation: "set a <b> & \"c\"".into(),
            ops: 1000,
            elapsed: Duration::from_secs(2),
            latencies,
            timeline,
            ..LoadReport::empty(Duration::from_secs(2))
        }
    }

    pub fn document(names: &[&str]) -> Document {
        let runs = names.iter().map(|name| ((*name).to_owned(), run())).collect();
        Document::new("a title", vec![Section { title: "set, depth 1".into(), runs }])
    }

    #[test]
    fn endings_say_what_is_written() {
        for ending in ["hgrm", "json", "csv", "html"] {
            assert!(Output::parse(&format!("a/b.{ending}")).is_ok(), "{ending}");
        }
        for path in ["a", "a.txt", "html", ".html", ""] {
            assert!(Output::parse(path).is_err_and(|error| error.0.contains(".csv")), "{path}");
        }
        let nowhere = [Output::parse("/nowhere/at/all.csv").expect("it ends in .csv")];
        assert!(
            Outputs::open(&nowhere)
                .is_err_and(|error| error.0.starts_with("cannot write /nowhere/at/all.csv: "))
        );
    }

    #[test]
    fn dates_are_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_827_696), "2000-02-29 12:34 UTC");
        assert_eq!(date(4_102_444_799), "2099-12-31 23:59 UTC");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [duration(0.5), duration(12.34), duration(1500.0), duration(2e6)],
            ["0.5 µs", "12.3 µs", "1.5 ms", "2 s"]
        );
        assert_eq!([count(9999.0), count(650_379.0), count(1.5e6)], ["9999", "650 k", "1.5 M"]);
    }
}
