//! INFO's sections on what was counted: stats, commandstats, errorstats, latencystats.

use std::fmt::Write as _;
use std::sync::atomic::Ordering::Relaxed;

use super::InfoContext;
use super::text::InfoText;
use crate::command::table;
use crate::observe::CommandSum;

pub fn stats(info: &InfoContext<'_>, text: &mut InfoText) {
    let stats = &info.shared.stats;
    let rates = &stats.gauges.rates;
    let kib = |rate: u64| rate as f64 / 1024.0;
    text.section("Stats");
    text.line("total_connections_received", stats.sum(|c| &c.connections_received));
    text.line("total_commands_processed", stats.sum(|c| &c.commands_processed));
    text.line("instantaneous_ops_per_sec", rates.commands.per_second());
    text.line("total_net_input_bytes", stats.sum(|c| &c.net_input_bytes));
    text.line("total_net_output_bytes", stats.sum(|c| &c.net_output_bytes));
    text.line("total_net_repl_input_bytes", info.shared.link.received_bytes());
    text.line("total_net_repl_output_bytes", 0);
    text.line("instantaneous_input_kbps", format_args!("{:.2}", kib(rates.input_bytes.per_second())));
    text.line("instantaneous_output_kbps", format_args!("{:.2}", kib(rates.output_bytes.per_second())));
    text.lines(&[("instantaneous_input_repl_kbps", "0.00"), ("instantaneous_output_repl_kbps", "0.00")]);
    text.line("rejected_connections", stats.sum(|c| &c.connections_rejected));
    text.line("tls_handshakes", stats.sum(|c| &c.tls_handshakes));
    text.line("tls_handshakes_failed", stats.sum(|c| &c.tls_handshakes_failed));
    text.line("sync_full", stats.sum(|c| &c.sync_full));
    text.line("sync_partial_ok", stats.sum(|c| &c.sync_partial_ok));
    text.line("sync_partial_err", stats.sum(|c| &c.sync_partial_err));
    text.line("expired_subkeys", stats.sum(|c| &c.expired_subkeys));
    text.line("expired_keys", stats.sum(|c| &c.expired_keys));
    text.line("expired_stale_perc", "0.00");
    text.line("expired_time_cap_reached_count", stats.sum(|c| &c.expired_time_cap_reached));
    text.line("expire_cycle_cpu_milliseconds", stats.sum(|c| &c.cron_ns) / 1_000_000);
    text.line("evicted_keys", stats.sum(|c| &c.evicted_keys));
    text.line("evicted_clients", stats.sum(|c| &c.evicted_clients));
    text.line("evicted_scripts", info.shared.scripts.evicted());
    let (current_us, total_us) = stats.gauges.over_limit.current_and_total_us(info.now_us);
    text.line("total_eviction_exceeded_time", total_us / 1000);
    text.line("current_eviction_exceeded_time", current_us / 1000);
    text.line("keyspace_hits", stats.sum(|c| &c.keyspace_hits));
    text.line("keyspace_misses", stats.sum(|c| &c.keyspace_misses));
    let pubsub = &info.shared.pubsub;
    text.line("pubsub_channels", pubsub.channels.len());
    text.line("pubsub_patterns", pubsub.patterns.len());
    text.line("pubsubshard_channels", pubsub.shard_channels.len());
    text.lines(&[("latest_fork_usec", "0"), ("total_forks", "0")]);
    text.line("migrate_cached_sockets", info.shared.migrations.sockets_count());
    text.line("slave_expires_tracked_keys", 0);
    // What moves is an entry: a key with its value.
    let (hits, misses) = (stats.sum(|c| &c.defrag_hits), stats.sum(|c| &c.defrag_misses));
    text.line("active_defrag_hits", hits);
    text.line("active_defrag_misses", misses);
    text.line("active_defrag_key_hits", hits);
    text.line("active_defrag_key_misses", misses);
    let (current_us, total_us) = stats.gauges.defragging.current_and_total_us(info.now_us);
    text.line("total_active_defrag_time", total_us / 1000);
    text.line("current_active_defrag_time", current_us / 1000);
    let tracking = &info.shared.pubsub.tracking;
    text.line("tracking_total_keys", tracking.keys.load(Relaxed));
    text.line("tracking_total_items", tracking.items.load(Relaxed));
    text.line("tracking_total_prefixes", tracking.prefixes.load(Relaxed));
    text.line("unexpected_error_replies", info.shared.link.failures.load(Relaxed));
    text.line("total_error_replies", stats.sum(|c| &c.error_replies));
    text.line("dump_payload_sanitizations", 0);
    loops(info, text);
    text.line("acl_access_denied_auth", stats.sum(|c| &c.auth_denied));
    text.line("acl_access_denied_cmd", stats.sum(|c| &c.commands_denied));
    text.line("acl_access_denied_key", stats.sum(|c| &c.keys_denied));
    text.line("acl_access_denied_channel", stats.sum(|c| &c.channels_denied));
}

/// The part of `stats` that is about reading, writing and turns.
fn loops(info: &InfoContext<'_>, text: &mut InfoText) {
    let stats = &info.shared.stats;
    let rates = &stats.gauges.rates;
    text.line("total_reads_processed", stats.sum(|c| &c.reads_processed));
    text.line("total_writes_processed", stats.sum(|c| &c.writes_processed));
    text.lines(&[
        ("io_threaded_reads_processed", "0"),
        ("io_threaded_writes_processed", "0"),
        ("io_threaded_total_prefetch_batches", "0"),
        ("io_threaded_total_prefetch_entries", "0"),
    ]);
    let (query, output) = (
        stats.sum(|c| &c.client_query_buffer_limit_disconnections),
        stats.sum(|c| &c.client_output_buffer_limit_disconnections),
    );
    text.line("client_query_buffer_limit_disconnections", query);
    text.line("client_output_buffer_limit_disconnections", output);
    text.lines(&[("reply_buffer_shrinks", "0"), ("reply_buffer_expands", "0")]);
    let commands_ns: u64 = stats
        .current()
        .flat_map(|worker| worker.commands.iter())
        .map(|command| command.total_ns.read())
        .sum();
    text.line("eventloop_cycles", stats.sum(|c| &c.turns));
    text.line("eventloop_duration_sum", stats.sum(|c| &c.turns_ns) / 1000);
    text.line("eventloop_duration_cmd_sum", commands_ns / 1000);
    let turns = rates.turns.per_second();
    text.line("instantaneous_eventloop_cycles_per_sec", turns);
    let turn_ns = rates.turns_ns.per_second().checked_div(turns);
    text.line("instantaneous_eventloop_duration_usec", turn_ns.unwrap_or(0) / 1000);
}

pub fn commands(info: &InfoContext<'_>, text: &mut InfoText) {
    let stats = &info.shared.stats;
    text.section("Commandstats");
    for row in table().rows() {
        let sum = stats.command(row.id);
        if sum.is_empty() {
            continue;
        }
        let CommandSum { calls, ns, rejected, failed } = sum;
        let us = ns / 1000;
        let us_per_call = if calls == 0 { 0.0 } else { ns as f64 / 1000.0 / calls as f64 };
        text.line(
            &format!("cmdstat_{}", row.full_name),
            format_args!(
                "calls={calls},usec={us},usec_per_call={us_per_call:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

pub fn errors(info: &InfoContext<'_>, text: &mut InfoText) {
    text.section("Errorstats");
    for (word, count) in info.shared.stats.errors() {
        text.line(&format!("errorstat_{word}"), format_args!("count={count}"));
    }
}

pub fn latencies(info: &InfoContext<'_>, text: &mut InfoText) {
    let config = info.config;
    if !config.latency_tracking {
        return;
    }
    text.section("Latencystats");
    for row in table().rows() {
        let durations = info.shared.stats.durations(row.id);
        if durations.count() == 0 {
            continue;
        }
        let mut shares = String::new();
        for percentile in &config.latency_tracking_info_percentiles.0 {
            let gap = if shares.is_empty() { "" } else { "," };
            let us = durations.percentile(*percentile) as f64 / 1000.0;
            write!(shares, "{gap}p{percentile}={us:.3}").expect("writing to a string does not fail");
        }
        text.line(&format!("latency_percentiles_usec_{}", row.full_name), shares);
    }
}
