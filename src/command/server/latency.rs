//! LATENCY: histograms of every command, and the events that `latency-monitor-threshold` caught.

use super::{ADMIN, ANY_TIME, Args, Command, Context, HELP, Outcome, Reply, SERVER, help};
use crate::command::{CommandError, Row, table};
use crate::config::Config;
use crate::observe::{Event, Sample, Snapshot};

/// Columns of a graph: a terminal's width.
const GRAPH_COLUMNS: usize = 80;
/// Rows of a graph.
const GRAPH_ROWS: usize = 4;
/// What fills a cell of a graph, from empty to full.
const GRAPH_LEVELS: [char; 4] = [' ', '_', 'o', '#'];
/// First boundary of the replied histogram, in ns; each further one is twice the last.
const HISTOGRAM_START_NS: u64 = 1024;

/// LATENCY.
pub const ROW: Command = Command {
    name: "latency",
    arity: -2,
    since: "2.8.13",
    complexity: "that of the subcommand",
    summary: "What took long, by kind of event.",
    subcommands: &[
        Command {
            name: "doctor",
            arity: 2,
            summary: "Reports events that took long, and what to look at.",
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            handler: doctor,
            ..SUB
        },
        Command {
            name: "graph",
            arity: 3,
            summary: "Draws the samples of an event over time.",
            syntax: "event",
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            handler: graph,
            ..SUB
        },
        Command { since: "2.8.13", flags: ANY_TIME, ..HELP },
        Command {
            name: "histogram",
            arity: -2,
            since: "7.0.0",
            complexity: "O(N), N commands named",
            summary: "Counts how long commands took, in powers of two.",
            syntax: "[command...]",
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            handler: histogram,
            ..SUB
        },
        Command {
            name: "history",
            arity: 3,
            summary: "Lists the samples of an event with their times.",
            syntax: "event",
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            handler: history,
            ..SUB
        },
        Command {
            name: "latest",
            arity: 2,
            summary: "Shows each event's last and longest time.",
            tips: &["nondeterministic_output", "request_policy:all_nodes", "response_policy:special"],
            handler: latest,
            ..SUB
        },
        Command {
            name: "reset",
            arity: -2,
            summary: "Forgets the samples of some or all events.",
            syntax: "[event...]",
            tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
            handler: reset,
            ..SUB
        },
    ],
    ..SERVER
};

const SUB: Command = Command { flags: ADMIN, since: "2.8.13", ..SERVER };

fn histogram(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let table = table();
    let mut rows: Vec<&Row> = Vec::new();
    if args.len() == 2 {
        rows.extend(table.rows());
    }
    for row in args.from(2).filter_map(|name| table.find_full(name)) {
        rows.push(row);
        rows.extend(row.subrows.iter().map(|sub| table.row(*sub)));
    }
    let deferred = reply.defer_map();
    let mut shown = 0;
    for row in rows {
        let durations = ctx.shared.stats.durations(row.id);
        if durations.count() > 0 {
            reply.bulk(row.full_name.as_bytes());
            show_histogram(&durations, reply);
            shown += 1;
        }
    }
    reply.finish_map(deferred, shown);
    Ok(())
}

/// Calls, and how many of them took at most 1, 2, 4, ... us; boundaries at which nothing is added are left out.
fn show_histogram(durations: &Snapshot, reply: &mut Reply<'_>) {
    let calls = durations.count();
    reply.map(2);
    reply.bulk(b"calls");
    reply.integer(calls as i64);
    reply.bulk(b"histogram_usec");
    let deferred = reply.defer_map();
    let (mut seen, mut pairs, mut boundary_ns) = (0, 0, HISTOGRAM_START_NS);
    while seen < calls {
        // The end of the boundary's own bucket, at the precision of two digits that Redis keeps.
        let end_ns = boundary_ns + (boundary_ns >> 7) - 1;
        let last = boundary_ns >= 1 << 42;
        let up_to = if last { calls } else { durations.at_most(end_ns) };
        if up_to > seen {
            reply.integer((end_ns / 1000) as i64);
            reply.integer(up_to as i64);
            pairs += 1;
            seen = up_to;
        }
        boundary_ns *= 2;
    }
    reply.finish_map(deferred, pairs);
}

fn latest(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let monitor = &ctx.shared.stats.latency;
    let deferred = reply.defer_array();
    let mut shown = 0;
    for event in Event::ALL {
        if let Some((sample, ms_max)) = monitor.latest(event) {
            reply.array(4);
            reply.bulk(event.name().as_bytes());
            reply.integer(i64::from(sample.time_s));
            reply.integer(i64::from(sample.ms));
            reply.integer(i64::from(ms_max));
            shown += 1;
        }
    }
    reply.finish_array(deferred, shown);
    Ok(())
}

fn samples(ctx: &Context<'_>, name: &[u8]) -> Vec<Sample> {
    Event::named(name).map(|event| ctx.shared.stats.latency.history(event)).unwrap_or_default()
}

fn history(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let samples = samples(ctx, args.at(2));
    reply.array(samples.len());
    for sample in samples {
        reply.array(2);
        reply.integer(i64::from(sample.time_s));
        reply.integer(i64::from(sample.ms));
    }
    Ok(())
}

fn reset(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let monitor = &ctx.shared.stats.latency;
    let count = if args.len() == 2 {
        Event::ALL.into_iter().filter(|event| monitor.reset(*event)).count()
    } else {
        args.from(2).filter_map(Event::named).filter(|event| monitor.reset(*event)).count()
    };
    reply.integer(count as i64);
    Ok(())
}

fn graph(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let samples = samples(ctx, args.at(2));
    if samples.is_empty() {
        let mut text = b"ERR No samples available for event '".to_vec();
        text.extend_from_slice(help::shown(args.at(2)));
        text.push(b'\'');
        reply.error_bytes(&text);
        return Err(CommandError::Replied);
    }
    let name = String::from_utf8_lossy(args.at(2)).into_owned();
    reply.verbatim(*b"txt", draw(&name, &samples, ctx.now_ms / 1000).as_bytes());
    Ok(())
}

/// Columns are samples, oldest first; the height is the duration; below each column stands its age, read downwards.
fn draw(name: &str, samples: &[Sample], now_s: u64) -> String {
    let samples = &samples[samples.len().saturating_sub(GRAPH_COLUMNS)..];
    let high = samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
    let low = samples.iter().map(|sample| sample.ms).min().unwrap_or(0);
    let mut text = format!("{name} - high {high} ms, low {low} ms (all time high {high} ms)\n");
    text += &"-".repeat(GRAPH_COLUMNS);
    text.push('\n');
    let steps = GRAPH_ROWS * (GRAPH_LEVELS.len() - 1);
    for row in (0..GRAPH_ROWS).rev() {
        for sample in samples {
            let span = f64::from(high - low).max(1.0);
            let height = 1 + (f64::from(sample.ms - low) / span * (steps - 1) as f64).round() as usize;
            let level = height.saturating_sub(row * (GRAPH_LEVELS.len() - 1)).min(GRAPH_LEVELS.len() - 1);
            text.push(GRAPH_LEVELS[level]);
        }
        text.push('\n');
    }
    text.push('\n');
    let ages: Vec<String> = samples.iter().map(|s| age(now_s.saturating_sub(u64::from(s.time_s)))).collect();
    for line in 0..ages.iter().map(String::len).max().unwrap_or(0) {
        let letters = ages.iter().map(|age| age.as_bytes().get(line).map_or(' ', |byte| char::from(*byte)));
        text.extend(letters);
        text.push('\n');
    }
    text
}

/// `7s`, `12m`, `3h`, `4d`.
fn age(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86400),
    }
}

fn doctor(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let histories = Event::ALL.map(|event| (event, ctx.shared.stats.latency.history(event)));
    let text = report(&ctx.shared.config.load(), &histories);
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

fn report(config: &Config, histories: &[(Event, Vec<Sample>)]) -> String {
    if histories.iter().all(|(_, samples)| samples.is_empty()) {
        if config.latency_monitor_threshold == 0 {
            return "Nothing is recorded: latency-monitor-threshold is 0. CONFIG SET latency-monitor-threshold 100 records \
                what takes 100 ms or longer.\n"
                .to_owned();
        }
        return format!(
            "Nothing took {} ms (latency-monitor-threshold) or longer.\n",
            config.latency_monitor_threshold
        );
    }
    let mut text = "What took long:\n\n".to_owned();
    for (event, samples) in histories.iter().filter(|(_, samples)| !samples.is_empty()) {
        let total: u64 = samples.iter().map(|sample| u64::from(sample.ms)).sum();
        let longest = samples.iter().map(|sample| sample.ms).max().unwrap_or(0);
        text += &format!(
            "- {}: {} times, {:.2} ms on average, {longest} ms at worst.\n",
            event.name(),
            samples.len(),
            total as f64 / samples.len() as f64
        );
    }
    text += "\nWhere to look:\n\n- SLOWLOG GET shows which commands they were; slowlog-log-slower-than says from what duration on.\n\
        - INFO workers shows how long the turns of each worker are.\n";
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_shows_every_sample_and_its_age() {
        let samples: Vec<Sample> = [10, 40, 20].iter().map(|ms| Sample { time_s: 100, ms: *ms }).collect();
        let text = draw("command", &samples, 165);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "command - high 40 ms, low 10 ms (all time high 40 ms)");
        assert_eq!(lines[2], " # ", "the highest reaches the top");
        assert_eq!(lines[5], "_##", "the lowest is still seen");
        assert_eq!(&lines[7..9], ["111", "mmm"]);
    }

    #[test]
    fn the_doctor_knows_three_cases() {
        let silent = [(Event::Command, Vec::new())];
        let mut config = Config::default();
        assert!(report(&config, &silent).contains("latency-monitor-threshold is 0"));
        config.latency_monitor_threshold = 1;
        assert!(report(&config, &silent).starts_with("Nothing took 1 ms"));
        let seen = [(Event::Command, vec![Sample { time_s: 1, ms: 30 }, Sample { time_s: 2, ms: 10 }])];
        assert!(report(&config, &seen).contains("- command: 2 times, 20.00 ms on average, 30 ms at worst."));
    }
}
