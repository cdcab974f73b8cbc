//! What is counted of each command, and errors by their first word.

use std::fmt;

use super::output::{Labels, Output};
use crate::command::{Shared, table};
use crate::observe::CommandSum;

/// Writes all commands that were ever called.
pub fn write(shared: &Shared, output: &mut Output<'_>) -> fmt::Result {
    let rows = table().rows().iter().map(|row| (row, shared.stats.command(row.id)));
    let seen: Vec<(&str, u16, CommandSum)> =
        rows.filter(|(_, sum)| !sum.is_empty()).map(|(row, sum)| (&*row.full_name, row.id, sum)).collect();
    let label = |name: &str| vec![("cmd", name.to_owned())];
    let each = |value: fn(&CommandSum) -> u64| {
        seen.iter().map(move |(name, _, sum)| (label(name), value(sum))).collect::<Vec<(Labels, u64)>>()
    };
    output.counters("redis_commands_total", "Runs of a command.", each(|sum| sum.calls))?;
    output.counters(
        "redis_commands_rejected_calls_total",
        "Times that a command was refused before it ran.",
        each(|sum| sum.rejected),
    )?;
    output.counters(
        "redis_commands_failed_calls_total",
        "Runs of a command that ended in an error.",
        each(|sum| sum.failed),
    )?;
    // As exact as INFO, which counts in us.
    let seconds = seen.iter().map(|(name, _, sum)| (label(name), (sum.ns / 1000) as f64 / 1e6));
    output.counters("redis_commands_duration_seconds_total", "Time of all runs of a command.", seconds)?;
    let durations = seen.iter().map(|(name, id, sum)| (label(name), shared.stats.durations(*id), sum.ns));
    output.histograms(
        "torc_command_duration_seconds",
        "Durations of the runs of a command; bounds hold within 6.25 %.",
        durations,
    )?;
    let errors =
        shared.stats.errors().into_iter().map(|(word, count)| (vec![("err", word.to_owned())], count));
    output.counters("redis_errors_total", "Error replies by their first word.", errors)
}
