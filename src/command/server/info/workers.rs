//! INFO's sections of what each worker has done, one line for each: `Threads` as Redis has it, and `Workers`.

use std::sync::atomic::Ordering::Relaxed;

use super::text::InfoText;
use super::{InfoContext, proc};
use crate::observe::Snapshot;

/// The section in which Redis shows its threads for input and output, a line for each worker.
pub fn threads(info: &InfoContext<'_>, text: &mut InfoText) {
    text.section("Threads");
    for (number, worker) in info.shared.stats.all().iter().enumerate() {
        let (reads, writes) =
            (worker.counters.reads_processed.read(), worker.counters.writes_processed.read());
        let clients = worker.connections.read();
        text.line(
            &format!("io_thread_{number}"),
            format_args!("clients={clients},reads={reads},writes={writes}"),
        );
    }
}

pub fn workers(info: &InfoContext<'_>, text: &mut InfoText) {
    let shared = info.shared;
    let listed = &info.config.worker_cpus;
    let cpus = if listed.0.is_empty() { proc::cpus() } else { listed.clone() };
    text.section("Workers");
    text.line("workers", shared.facts.workers);
    text.line("active_workers", shared.active_workers.load(Relaxed));
    text.line("io_backend", shared.facts.io_backend);
    text.line("shards", shared.keyspace.shard_count());
    for (number, worker) in shared.stats.all().iter().enumerate() {
        let counters = &worker.counters;
        let mut turns = Snapshot::default();
        worker.turns.add_to(&mut turns);
        let us = |ns: u64| ns as f64 / 1000.0;
        let percent = |thousandths: u64| thousandths as f64 / 10.0;
        let mut keys = 0;
        for shard in shared.keyspace.home_shards(number) {
            keys += shared.stats.gauges.keys(shard);
        }
        let cpu = cpus.0.iter().cycle().nth(number).map_or(-1, |cpu| *cpu as i64);
        text.line(
            &format!("worker{number}"),
            format_args!(
                "cpu={cpu},load={:.1}%,load_waited={:.1}%,connections={},clients={},connections_moved={},commands={},turns={},long_turns={},turn_p50_us={:.1},turn_p99_us={:.1},\
                 turn_max_us={:.1},groups={},leases_taken={},leases_refused={},leases_retried={},leases_wanted={},\
                 leases_reserved={},scripts_declared={},scripts_tried={},scripts_again={},long_leases={},messages_sent={},messages_waiting={},messages_full={},wakes_sent={},parks={},cron_ms={},home_keys={keys}",
                percent(worker.load_ran.read() + worker.load_waited.read()),
                percent(worker.load_waited.read()),
                worker.connections.read(),
                worker.clients.read(),
                counters.connections_moved.read(),
                counters.commands_processed.read(),
                counters.turns.read(),
                counters.turns_long.read(),
                us(turns.percentile(50.0)),
                us(turns.percentile(99.0)),
                us(turns.max()),
                counters.groups.read(),
                counters.leases_taken.read(),
                counters.leases_refused.read(),
                counters.leases_retried.read(),
                counters.leases_wanted.read(),
                counters.leases_reserved.read(),
                counters.scripts_declared.read(),
                counters.scripts_tried.read(),
                counters.scripts_again.read(),
                counters.leases_long.read(),
                counters.messages_sent.read(),
                worker.messages_waiting.read(),
                counters.messages_full.read(),
                counters.wakes_sent.read(),
                counters.parks.read(),
                counters.cron_ns.read() / 1_000_000,
            ),
        );
    }
}
