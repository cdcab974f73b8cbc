//! Charts as SVG between labels of HTML: the drawing stretches with the page, the text does not.

use std::fmt::Write as _;

use crate::load::{BUCKETS, Slot, Timeline, bucket_ns};
use crate::report::LoadReport;

use super::{MEMORY, count, duration};

/// Columns of a heat map, at most.
const HEAT_COLUMNS_MAX: usize = 120;
/// Buckets in a row of a heat map: eight rows to a power of two would be too fine.
const HEAT_BUCKETS: usize = 8;
/// Shades of a heat map.
const HEAT_SHADES: usize = 8;
/// Points of a line over time, at most.
const POINTS_MAX: usize = 240;

/// A line with the number of its colour.
pub struct Line {
    pub color: usize,
    pub class: &'static str,
    pub points: Vec<(f64, f64)>,
}

/// Where a label stands on an axis, 0 to 1, and its text.
type Tick = (f64, String);

fn plot(x: &[Tick], y: &[Tick], drawing: &str, label: &str) -> String {
    let mut out = format!(
        "<div class=plot role=img aria-label=\"{label}\"><svg viewBox=\"0 0 1000 1000\" preserveAspectRatio=none>"
    );
    for (at, _) in y {
        let top = 1000.0 * (1.0 - at);
        write!(out, "<path class=grid d=\"M0 {top:.1}H1000\"/>").expect(MEMORY);
    }
    out.push_str(drawing);
    out.push_str("</svg>");
    for (at, text) in y {
        write!(out, "<span class=y style=\"top:{:.1}%\">{text}</span>", 100.0 * (1.0 - at)).expect(MEMORY);
    }
    for (at, text) in x {
        write!(out, "<span class=x style=\"left:{:.1}%\">{text}</span>", 100.0 * at).expect(MEMORY);
    }
    out.push_str("</div>");
    out
}

fn path(line: &Line) -> String {
    let mut out = format!("<path class=\"{} c{}\" d=\"", line.class, line.color);
    for (index, (x, y)) in line.points.iter().enumerate() {
        let y = 1000.0 * (1.0 - y.clamp(0.0, 1.0));
        write!(out, "{}{:.1} {y:.1}", if index == 0 { 'M' } else { 'L' }, 1000.0 * x).expect(MEMORY);
    }
    out.push_str("\"/>");
    out
}

/// A round number not below, and a step to it.
fn nice(most: f64) -> (f64, f64) {
    let step = most.max(1e-9) / 4.0;
    let power = 10f64.powf(step.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].iter().map(|factor| factor * power).find(|nice| *nice >= step * 0.999);
    let step = step.unwrap_or(10.0 * power);
    ((most / step).ceil() * step, step)
}

fn time_ticks(seconds: f64) -> Vec<Tick> {
    let (_, step) = nice(seconds);
    let ticks = (0..=(seconds / step) as usize).map(|index| index as f64 * step);
    ticks.map(|at| (at / seconds, format!("{} s", super::short(at)))).collect()
}

/// Slots joined so that there are few.
fn joined(timeline: &Timeline, most: usize) -> (Vec<Slot>, f64) {
    let group = timeline.slots.len().div_ceil(most).max(1);
    let join = |slots: &[Slot]| {
        let mut all = Slot::default();
        slots.iter().for_each(|slot| all.add(slot));
        all
    };
    // A last one that is shorter than the others would look like a drop.
    let whole = timeline.slots.len() / group * group;
    (timeline.slots[..whole].chunks(group).map(join).collect(), group as f64 * timeline.width.as_secs_f64())
}

/// Throughput over time of each run.
pub fn throughput(runs: &[&LoadReport]) -> String {
    let series: Vec<(Vec<Slot>, f64)> = runs.iter().map(|run| joined(&run.timeline, POINTS_MAX)).collect();
    let rates = |(slots, width): &(Vec<Slot>, f64)| -> Vec<f64> {
        // What the last slot has was cut off by the end.
        let count = if slots.len() > 2 { slots.len() - 1 } else { slots.len() };
        slots[..count].iter().map(|slot| slot.ops as f64 / width).collect()
    };
    let most = series.iter().flat_map(&rates).fold(1.0, f64::max);
    let seconds = series.iter().map(|series| rates(series).len() as f64 * series.1).fold(1e-3, f64::max);
    let (top, step) = nice(most);
    let y: Vec<Tick> = (0..=(top / step).round() as usize)
        .map(|index| (index as f64 * step / top, count(index as f64 * step)))
        .collect();
    let mut drawing = String::new();
    for (color, one) in series.iter().enumerate() {
        let points: Vec<(f64, f64)> = rates(one)
            .iter()
            .enumerate()
            .map(|(index, rate)| ((index as f64 + 0.5) * one.1 / seconds, rate / top))
            .collect();
        if let (1, Some(first), Some(last)) = (series.len(), points.first(), points.last()) {
            let area = [&[(first.0, 0.0)], &points[..], &[(last.0, 0.0)]].concat();
            drawing += &path(&Line { color, class: "area", points: area });
        }
        drawing += &path(&Line { color, class: "line", points });
    }
    plot(&time_ticks(seconds), &y, &drawing, "throughput over time")
}

/// Powers of ten between two latencies in nanoseconds, as a logarithmic axis.
struct LogAxis {
    low: f64,
    high: f64,
}

impl LogAxis {
    fn new(low_ns: f64, high_ns: f64) -> LogAxis {
        let low = low_ns.max(1.0).log10();
        LogAxis { low, high: high_ns.max(2.0).log10().max(low + 0.3) }
    }

    fn at(&self, ns: f64) -> f64 {
        (ns.max(1.0).log10() - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<Tick> {
        let factors: &[f64] = if self.high - self.low > 2.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let powers = (self.low.floor() as i32)..=(self.high.ceil() as i32);
        let all = powers.flat_map(|power| factors.iter().map(move |factor| factor * 10f64.powi(power)));
        let inside = all.filter(|ns| (-0.001..=1.001).contains(&self.at(*ns)));
        inside.map(|ns| (self.at(ns), duration(ns / 1e3))).collect()
    }
}

/// Latency by percentile of each run; the axis is that of 1/(1-p), so that each nine is as wide.
pub fn percentiles(runs: &[&LoadReport]) -> String {
    let most = runs.iter().map(|run| run.latencies.count()).max().unwrap_or(1).max(10);
    let nines = (most as f64).log10().clamp(2.0, 6.0);
    let quantile = |run: &LoadReport, share: f64| 1e3 * run.latencies.quantile_us(share);
    let low = runs.iter().map(|run| quantile(run, 0.0)).fold(f64::INFINITY, f64::min);
    let high = runs.iter().map(|run| quantile(run, 1.0)).fold(1.0, f64::max);
    let axis = LogAxis::new(low * 0.9, high * 1.1);
    let mut drawing = String::new();
    for (color, run) in runs.iter().enumerate() {
        let points = (0..=200).map(|index| {
            let at = f64::from(index) / 200.0;
            (at, axis.at(quantile(run, 1.0 - 10f64.powf(-at * nines))))
        });
        drawing += &path(&Line { color, class: "line", points: points.collect() });
    }
    let names =
        [(0.5, "50"), (0.9, "90"), (0.99, "99"), (0.999, "99.9"), (0.9999, "99.99"), (0.99999, "99.999")];
    let x: Vec<Tick> = names
        .iter()
        .map(|(share, name)| (-(1.0f64 - share).log10() / nines, format!("{name}%")))
        .filter(|(at, _)| *at <= 0.97)
        .collect();
    plot(&x, &axis.ticks(), &drawing, "latency by percentile")
}

/// The rows that runs have anything in: the first and the last of a common axis.
fn heat_rows(runs: &[&LoadReport]) -> Option<(usize, usize)> {
    let slots = || runs.iter().flat_map(|run| &run.timeline.slots);
    let first = slots().filter_map(|slot| slot.latencies.keys().next()).min()?;
    let last = slots().filter_map(|slot| slot.latencies.keys().next_back()).max()?;
    Some((usize::from(*first) / HEAT_BUCKETS, usize::from(*last) / HEAT_BUCKETS))
}

/// How many operations took how long, over time; the axis is that of all of `beside`.
pub fn heat_map(run: &LoadReport, beside: &[&LoadReport]) -> String {
    let (slots, width) = joined(&run.timeline, HEAT_COLUMNS_MAX);
    let rows = |slot: &Slot| {
        let mut rows = vec![0u32; BUCKETS.div_ceil(HEAT_BUCKETS)];
        slot.latencies.iter().for_each(|(bucket, count)| rows[usize::from(*bucket) / HEAT_BUCKETS] += count);
        rows
    };
    let columns: Vec<Vec<u32>> = slots.iter().map(rows).collect();
    let Some((first, last)) = heat_rows(beside) else { return String::new() };
    if columns.is_empty() {
        return String::new();
    }
    let edge = |row: usize| bucket_ns((row * HEAT_BUCKETS).min(BUCKETS - 1)) as f64;
    let axis = LogAxis::new(edge(first), edge(last + 1));
    let most = columns.iter().flatten().copied().max().unwrap_or(1).max(2);
    // Rare ones must be seen: shades go by the logarithm.
    let shade = |count: u32| {
        ((f64::from(count).ln() / f64::from(most).ln() * (HEAT_SHADES - 1) as f64).round()) as usize
    };
    let mut shades = vec![String::new(); HEAT_SHADES];
    let across = 1000.0 / columns.len() as f64;
    for (index, column) in columns.iter().enumerate() {
        for row in (first..=last).filter(|row| column[*row] > 0) {
            let (top, bottom) =
                (1000.0 * (1.0 - axis.at(edge(row + 1))), 1000.0 * (1.0 - axis.at(edge(row))));
            write!(
                shades[shade(column[row])],
                "M{:.1} {top:.1}h{across:.1}v{:.1}h-{across:.1}z",
                index as f64 * across,
                bottom - top
            )
            .expect(MEMORY);
        }
    }
    let drawing: String = shades
        .iter()
        .enumerate()
        .filter(|(_, cells)| !cells.is_empty())
        .map(|(shade, cells)| format!("<path class=\"h{shade}\" d=\"{cells}\"/>"))
        .collect();
    plot(&time_ticks(columns.len() as f64 * width), &axis.ticks(), &drawing, "heat map of latency over time")
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;
    use super::*;

    #[test]
    fn tops_are_round() {
        assert_eq!(nice(10.0), (10.0, 2.5));
        assert_eq!(nice(37_000.0), (40_000.0, 10_000.0));
        assert_eq!(nice(0.9).0, 1.0);
    }

    #[test]
    fn charts_stay_inside() {
        let run = run();
        for chart in [throughput(&[&run, &run]), percentiles(&[&run]), heat_map(&run, &[&run])] {
            assert!(chart.contains("<path class="), "{chart}");
            assert!(!chart.contains("NaN") && !chart.contains("inf"), "{chart}");
            let percents = chart.split(['%', ':', ';']).filter_map(|part| part.parse::<f64>().ok());
            assert!(
                percents.clone().count() > 3 && percents.into_iter().all(|at| (-0.1..=100.1).contains(&at)),
                "{chart}"
            );
        }
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let empty = LoadReport::empty(std::time::Duration::from_secs(1));
        assert_eq!(heat_map(&empty, &[&empty]), "");
        assert!(!throughput(&[&empty]).contains("NaN"));
        assert!(!percentiles(&[&empty]).contains("NaN"));
    }
}
