//! What is known of each worker.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::output::{Labels, Output, seconds};
use crate::command::Shared;
use crate::observe::{Counter, Counters, Snapshot, WorkerStats};

type Count = fn(&Counters) -> &Counter;

/// What only goes up.
const COUNTERS: &[(&str, &str, Count)] = &[
    ("torc_worker_commands_total", "Commands that a worker ran.", |c| &c.commands_processed),
    ("torc_worker_turns_long_total", "Turns longer than turn-warn-us.", |c| &c.turns_long),
    ("torc_worker_parks_total", "Times that a worker went to sleep for want of anything to do.", |c| {
        &c.parks
    }),
    ("torc_worker_groups_total", "Groups of commands that a worker ran.", |c| &c.groups),
    ("torc_worker_leases_taken_total", "Leases that a worker took.", |c| &c.leases_taken),
    ("torc_worker_leases_refused_total", "Leases that others held or had reserved.", |c| &c.leases_refused),
    ("torc_worker_leases_retried_total", "Commands put off because a lease was refused.", |c| {
        &c.leases_retried
    }),
    ("torc_worker_leases_wanted_total", "Leases marked as wanted before a worker slept.", |c| {
        &c.leases_wanted
    }),
    ("torc_worker_leases_reserved_total", "Times that a command's shards were reserved.", |c| {
        &c.leases_reserved
    }),
    ("torc_worker_leases_long_total", "Groups that held leases longer than lease-warn-us.", |c| {
        &c.leases_long
    }),
    ("torc_worker_messages_sent_total", "Messages to other workers.", |c| &c.messages_sent),
    ("torc_worker_messages_full_total", "Turns in which commands waited because of full inboxes.", |c| {
        &c.messages_full
    }),
    ("torc_worker_unparks_total", "Sleeping workers that a worker woke.", |c| &c.wakes_sent),
    ("torc_worker_connections_moved_total", "Connections that left for another worker.", |c| {
        &c.connections_moved
    }),
    ("torc_worker_reads_total", "Reads that brought bytes.", |c| &c.reads_processed),
    ("torc_worker_writes_total", "Sends handed to the kernel.", |c| &c.writes_processed),
    ("torc_worker_net_input_bytes_total", "Bytes received of clients.", |c| &c.net_input_bytes),
    ("torc_worker_net_output_bytes_total", "Bytes sent to clients.", |c| &c.net_output_bytes),
    ("torc_worker_messages_delivered_total", "Published messages written to clients.", |c| {
        &c.messages_delivered
    }),
    ("torc_worker_scripts_declared_total", "Scripts that needed the leases of their keys only.", |c| {
        &c.scripts_declared
    }),
    ("torc_worker_scripts_tried_total", "Scripts that got further leases on the spot.", |c| &c.scripts_tried),
    ("torc_worker_scripts_again_total", "Scripts that were refused a lease and ran again.", |c| {
        &c.scripts_again
    }),
];

type Measure = fn(&WorkerStats) -> f64;

/// What goes up and down.
const GAUGES: &[(&str, &str, Measure)] = &[
    ("torc_worker_load_ratio", "Share of a processor that a worker used or waited for, lately.", |worker| {
        (worker.load_ran.read() + worker.load_waited.read()) as f64 / 1000.0
    }),
    (
        "torc_worker_load_waited_ratio",
        "Share of the time that a worker waited for a processor, lately.",
        |worker| worker.load_waited.read() as f64 / 1000.0,
    ),
    ("torc_worker_connections", "Connections of a worker.", |worker| worker.connections.read() as f64),
    ("torc_worker_busy_clients", "Clients whose commands a worker ran, lately.", |worker| {
        worker.clients.read() as f64
    }),
    ("torc_worker_messages_waiting", "Messages that wait for others to read what came before.", |worker| {
        worker.messages_waiting.read() as f64
    }),
    ("torc_worker_client_buffers_bytes", "Memory of a worker's connections.", |worker| {
        worker.client_bytes.read() as f64
    }),
    ("torc_worker_interpreter_bytes", "Memory of scripts in a worker's interpreter.", |worker| {
        worker.interpreter_bytes.read() as f64
    }),
    ("torc_worker_alive_timestamp_seconds", "When a worker gave a sign of life last, Unix time.", |worker| {
        worker.alive_ms.read() as f64 / 1000.0
    }),
];

/// Writes all of it.
pub fn write(shared: &Shared, output: &mut Output<'_>) -> fmt::Result {
    let workers = || shared.stats.all().iter().enumerate();
    let label = |number: usize| -> Labels { vec![("worker", number.to_string())] };
    for (name, help, count) in COUNTERS {
        output.counters(
            name,
            help,
            workers().map(|(number, worker)| (label(number), count(&worker.counters).read())),
        )?;
    }
    for (name, help, measure) in GAUGES {
        output.gauges(name, help, workers().map(|(number, worker)| (label(number), measure(worker))))?;
    }
    let active = shared.active_workers.load(Relaxed);
    let is_active = workers().map(|(number, _)| (label(number), number < active));
    output.gauges("torc_worker_active", "Whether new connections come to a worker.", is_active)?;
    let keys = workers().map(|(number, _)| {
        let home = shared.keyspace.home_shards(number);
        (label(number), home.map(|shard| shared.stats.gauges.keys(shard)).sum::<u64>())
    });
    output.gauges("torc_worker_home_keys", "Keys in the shards that a worker looks after.", keys)?;
    let cron = workers().map(|(number, worker)| (label(number), seconds(worker.counters.cron_ns.read())));
    output.counters("torc_worker_cron_seconds_total", "Time of a worker's cron.", cron)?;
    let turns = workers().map(|(number, worker)| {
        let mut turns = Snapshot::default();
        worker.turns.add_to(&mut turns);
        (label(number), turns, worker.counters.turns_ns.read())
    });
    output.histograms(
        "torc_worker_turn_duration_seconds",
        "Durations of a worker's turns, waiting excluded; bounds hold within 6.25 %.",
        turns,
    )
}
