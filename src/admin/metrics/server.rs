//! What INFO says in more than one number, or not at all: which server this is, its databases and replicas, where memory is, how far a
//! snapshot is, the slow log.

use std::fmt;
use std::sync::atomic::Ordering::Relaxed;

use super::Scrape;
use super::output::{Labels, Output, Value};
use crate::command::{InfoFields, memory_by_kind};
use crate::observe::Event;
use crate::replicate::LinkState;

/// Writes all of it.
pub fn write(scrape: &Scrape, fields: &InfoFields, output: &mut Output<'_>) -> fmt::Result {
    instance(scrape, fields, output)?;
    databases(scrape, fields, output)?;
    memory(scrape, fields, output)?;
    replication(scrape, fields, output)?;
    progress(scrape, output)?;
    slow(scrape, output)?;
    let responses = scrape.responses.iter();
    let responses = responses.map(|(status, count)| (vec![("code", status.to_string())], *count));
    output.counters("torc_admin_responses_total", "Responses of the admin port by their status.", responses)
}

fn labels(names: &[(&'static str, &str)]) -> Labels {
    names.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
}

fn instance(scrape: &Scrape, fields: &InfoFields, output: &mut Output<'_>) -> fmt::Result {
    let shared = &scrape.shared;
    output.gauge("redis_up", "Whether the server answers.", true)?;
    let names = [
        "role",
        "redis_version",
        "redis_build_id",
        "redis_mode",
        "os",
        "maxmemory_policy",
        "tcp_port",
        "run_id",
    ];
    let names = names.into_iter().chain(["process_id"]);
    let instance: Labels =
        names.map(|name| (name, fields.get(name).unwrap_or_default().to_owned())).collect();
    output.gauges("redis_instance_info", "Which server this is.", [(instance, true)])?;
    let own = labels(&[
        ("version", fields.get("torc_version").unwrap_or_default()),
        ("io_backend", shared.facts.io_backend),
    ]);
    output.gauges("torc_info", "Which Torc this is.", [(own, true)])?;
    let started_s = shared.facts.started_ms as f64 / 1000.0;
    output.gauge("redis_start_time_seconds", "When the server started, Unix time.", started_s)?;
    output.gauge("torc_workers", "Workers.", shared.facts.workers as u64)?;
    let active = shared.active_workers.load(Relaxed);
    output.gauge("torc_active_workers", "Workers that new connections go to.", active as u64)?;
    output.gauge(
        "torc_shards",
        "Parts that the keyspace is cut into.",
        shared.keyspace.shard_count() as u64,
    )?;
    let is_quiet = shared.pubsub.is_silent();
    output.gauge("torc_pubsub_active", "Whether anybody has subscribed to anything.", !is_quiet)
}

fn databases(scrape: &Scrape, fields: &InfoFields, output: &mut Output<'_>) -> fmt::Result {
    let now_ms = scrape.now_us / 1000;
    let dbs = || fields.keyspace.dbs.iter().map(|(db, sample)| (vec![("db", format!("db{}", db.0))], sample));
    output.gauges("redis_db_keys", "Keys of a database.", dbs().map(|(labels, db)| (labels, db.keys)))?;
    let expires = dbs().map(|(labels, db)| (labels, db.expires));
    output.gauges("redis_db_keys_expiring", "Keys with a deadline.", expires)?;
    let ttl = dbs().map(|(labels, db)| (labels, db.ttl_ms_average(now_ms) as f64 / 1000.0));
    output.gauges("redis_db_avg_ttl_seconds", "The mean time to live of keys with a deadline.", ttl)?;
    let inside = dbs().map(|(labels, db)| (labels, db.subexpiry));
    output.gauges("torc_db_keys_expiring_inside", "Keys in whose values something expires.", inside)
}

fn memory(scrape: &Scrape, fields: &InfoFields, output: &mut Output<'_>) -> fmt::Result {
    let kinds = memory_by_kind(&scrape.shared, fields);
    let kinds = kinds.into_iter().map(|(kind, bytes)| (labels(&[("kind", kind)]), bytes));
    output.gauges("torc_memory_bytes", "Where memory is.", kinds)
}

fn replication(scrape: &Scrape, fields: &InfoFields, output: &mut Output<'_>) -> fmt::Result {
    let (replication, now_ms) = (&scrape.shared.replication, scrape.now_us / 1000);
    let replicas = replication.replicas.all();
    let replicas = || {
        let known = replicas.iter().filter_map(|replica| Some((replica, replica.word()?)));
        known.map(|(replica, state)| {
            let (ip, port) = (replica.ip().to_string(), replica.about.port.to_string());
            (labels(&[("slave_ip", &ip), ("slave_port", &port), ("slave_state", state)]), replica)
        })
    };
    let offsets = replicas().map(|(labels, replica)| (labels, replica.acked()));
    output.gauges("redis_connected_slave_offset_bytes", "How far in the stream a replica is.", offsets)?;
    let lags = replicas().map(|(labels, replica)| (labels, replica.lag_s(now_ms)));
    output.gauges("redis_connected_slave_lag_seconds", "Since when a replica has said nothing.", lags)?;
    let Some(primary) = replication.primary().as_deref().cloned() else { return Ok(()) };
    let link = labels(&[("master_host", &primary.host), ("master_port", &primary.port.to_string())]);
    let is_up = replication.link() == LinkState::Connected;
    output.gauges(
        "redis_master_link_up",
        "Whether the primary's stream is followed.",
        [(link.clone(), is_up)],
    )?;
    for (field, name, help) in [
        (
            "master_last_io_seconds_ago",
            "redis_master_last_io_seconds_ago",
            "Since when the primary has said nothing.",
        ),
        (
            "master_sync_in_progress",
            "redis_master_sync_in_progress",
            "Whether the primary's data is being received.",
        ),
        ("slave_repl_offset", "redis_slave_repl_offset", "How far in the primary's stream this server is."),
        (
            "master_sync_total_bytes",
            "torc_sync_bytes",
            "Bytes of the primary's snapshot; 0 while they are unknown.",
        ),
        ("master_sync_read_bytes", "torc_sync_read_bytes", "Bytes of it that were received."),
    ] {
        if let Some(number) = fields.get(field).and_then(|text| text.parse().ok()) {
            output.gauges(name, help, [(link.clone(), Value::Signed(number))])?;
        }
    }
    let read_only = fields.get("slave_read_only").unwrap_or_default().to_owned();
    let about = [link, vec![("read_only", read_only)]].concat();
    output.gauges("redis_slave_info", "Which primary this replica follows.", [(about, true)])
}

fn progress(scrape: &Scrape, output: &mut Output<'_>) -> fmt::Result {
    let running = scrape.shared.background.running();
    let keys = running.as_ref().map_or((0, 0), |one| (one.keys_done(), one.snapshot.keys_total()));
    output.gauge(
        "torc_snapshot_running",
        "Whether a snapshot is written, for whatever purpose.",
        running.is_some(),
    )?;
    output.gauge("torc_snapshot_keys_done", "Keys of the running snapshot that are written.", keys.0)?;
    output.gauge("torc_snapshot_keys", "Keys of the running snapshot.", keys.1)
}

fn slow(scrape: &Scrape, output: &mut Output<'_>) -> fmt::Result {
    let shared = &scrape.shared;
    let len_max = shared.config.load().slowlog_max_len as usize;
    let slow = shared.slowlog.newest(usize::MAX, len_max);
    let newest = slow.first();
    output.gauge("redis_slowlog_length", "Entries of the slow log.", slow.len() as u64)?;
    output.gauge(
        "redis_slowlog_last_id",
        "The number of its newest entry.",
        newest.map_or(0, |entry| entry.id),
    )?;
    let took_s = newest.map_or(0.0, |entry| entry.duration_us as f64 / 1e6);
    output.gauge("redis_last_slow_execution_duration_seconds", "How long that command ran.", took_s)?;
    let spikes = || {
        let latest =
            Event::ALL.into_iter().filter_map(|event| Some((event, shared.stats.latency.latest(event)?.0)));
        latest.map(|(event, sample)| (labels(&[("event_name", event.name())]), sample))
    };
    let times = spikes().map(|(labels, sample)| (labels, u64::from(sample.time_s)));
    output.gauges("redis_latency_spike_last", "When an event last took too long, Unix time.", times)?;
    let durations = spikes().map(|(labels, sample)| (labels, f64::from(sample.ms) / 1000.0));
    output.gauges("redis_latency_spike_duration_seconds", "How long it took.", durations)
}
