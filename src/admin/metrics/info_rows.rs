//! Which fields of INFO are which metrics, under the names that redis_exporter gives them.
//!
//! Design: a row has INFO's field, the metric, its type, what a value is multiplied by, and its help. A field that INFO does not have
//! right now (as those of an append-only file that is off) has no metric.

use std::fmt;

use super::output::{Output, Value};
use crate::command::InfoFields;

#[derive(Clone, Copy, PartialEq)]
enum MetricType {
    Gauge,
    Counter,
}

#[derive(Clone, Copy)]
struct Row {
    field: &'static str,
    name: &'static str,
    kind: MetricType,
    factor: f64,
    help: &'static str,
}

const fn gauge(field: &'static str, name: &'static str, help: &'static str) -> Row {
    Row { field, name, kind: MetricType::Gauge, factor: 1.0, help }
}

const fn counter(field: &'static str, name: &'static str, help: &'static str) -> Row {
    Row { field, name, kind: MetricType::Counter, factor: 1.0, help }
}

const fn scaled(row: Row, factor: f64) -> Row {
    Row { factor, ..row }
}

const MS: f64 = 1e-3;

const ROWS: &[Row] = &[
    // Server and clients.
    gauge("uptime_in_seconds", "redis_uptime_in_seconds", "Seconds since the server started."),
    gauge("process_id", "redis_process_id", "The number of the process."),
    gauge("connected_clients", "redis_connected_clients", "Clients, replicas included."),
    gauge("maxclients", "redis_max_clients", "The most clients at once (maxclients)."),
    gauge("blocked_clients", "redis_blocked_clients", "Clients that wait in a blocking command."),
    gauge("tracking_clients", "redis_tracking_clients", "Clients that are told of changed keys."),
    gauge("pubsub_clients", "redis_pubsub_clients", "Clients that have subscribed."),
    gauge("watching_clients", "redis_watching_clients", "Clients that watch keys."),
    gauge(
        "clients_in_timeout_table",
        "redis_clients_in_timeout_table",
        "Clients that wait for a limited time.",
    ),
    gauge("total_watched_keys", "redis_total_watched_keys", "Keys that are watched."),
    gauge("total_blocking_keys", "redis_total_blocking_keys", "Keys that clients wait for."),
    gauge(
        "client_recent_max_input_buffer",
        "redis_client_recent_max_input_buffer_bytes",
        "The largest query buffer lately.",
    ),
    gauge(
        "client_recent_max_output_buffer",
        "redis_client_recent_max_output_buffer_bytes",
        "The largest output buffer lately.",
    ),
    // Memory.
    gauge(
        "used_memory",
        "redis_memory_used_bytes",
        "Memory of data, tables, connections and the server itself.",
    ),
    gauge("used_memory_rss", "redis_memory_used_rss_bytes", "Resident memory."),
    gauge("used_memory_peak", "redis_memory_used_peak_bytes", "The most memory that was ever used."),
    gauge(
        "used_memory_overhead",
        "redis_memory_used_overhead_bytes",
        "Of the memory used, what is not data.",
    ),
    gauge("used_memory_startup", "redis_memory_used_startup_bytes", "Of the memory used, the server itself."),
    gauge("used_memory_dataset", "redis_memory_used_dataset_bytes", "Of the memory used, data."),
    gauge("used_memory_lua", "redis_memory_used_lua_bytes", "Memory of scripts in the interpreters."),
    gauge(
        "used_memory_scripts",
        "redis_memory_used_scripts_bytes",
        "Memory of cached scripts and libraries.",
    ),
    gauge("number_of_cached_scripts", "redis_number_of_cached_scripts", "Cached scripts."),
    gauge("number_of_functions", "redis_number_of_functions", "Functions."),
    gauge("number_of_libraries", "redis_number_of_libraries", "Libraries of functions."),
    gauge("maxmemory", "redis_memory_max_bytes", "The memory limit (maxmemory); 0 is none."),
    gauge("total_system_memory", "redis_total_system_memory_bytes", "Memory of the host."),
    gauge("allocator_active", "redis_allocator_active_bytes", "Mapped by the allocators for what is used."),
    gauge("allocator_allocated", "redis_allocator_allocated_bytes", "Handed out by the allocators."),
    gauge("allocator_resident", "redis_allocator_resident_bytes", "Resident memory of the allocators."),
    gauge("mem_fragmentation_ratio", "redis_mem_fragmentation_ratio", "Resident memory for each byte used."),
    gauge("mem_fragmentation_bytes", "redis_mem_fragmentation_bytes", "Resident memory beyond what is used."),
    gauge(
        "mem_clients_normal",
        "redis_mem_clients_normal",
        "Memory of clients' buffers and state, in bytes.",
    ),
    gauge(
        "mem_clients_slaves",
        "redis_mem_clients_slaves",
        "Memory that replicas have yet to read, in bytes.",
    ),
    gauge(
        "active_defrag_running",
        "redis_active_defrag_running",
        "Percent of the workers' time that defragmentation takes.",
    ),
    gauge("active_defrag_hits", "redis_defrag_hits", "Entries that defragmentation moved."),
    gauge("active_defrag_misses", "redis_defrag_misses", "Entries that defragmentation could not move."),
    // Persistence.
    gauge("loading", "redis_loading_dump_file", "Whether data is being loaded."),
    gauge("rdb_changes_since_last_save", "redis_rdb_changes_since_last_save", "Changes since the last save."),
    gauge("rdb_bgsave_in_progress", "redis_rdb_bgsave_in_progress", "Whether a snapshot is under way."),
    gauge(
        "rdb_last_save_time",
        "redis_rdb_last_save_timestamp_seconds",
        "When data was last saved, Unix time.",
    ),
    gauge("rdb_last_bgsave_status", "redis_rdb_last_bgsave_status", "Whether the last snapshot succeeded."),
    gauge(
        "rdb_last_bgsave_time_sec",
        "redis_rdb_last_bgsave_duration_sec",
        "Seconds that the last snapshot took; -1 before the first.",
    ),
    gauge(
        "rdb_current_bgsave_time_sec",
        "redis_rdb_current_bgsave_duration_sec",
        "Seconds that the running snapshot has taken; -1 if none runs.",
    ),
    counter("rdb_saves", "redis_rdb_saves_total", "Times that data was saved."),
    gauge(
        "rdb_last_load_keys_expired",
        "redis_rdb_last_load_keys_expired",
        "Keys of the loaded file that had expired.",
    ),
    gauge("rdb_last_load_keys_loaded", "redis_rdb_last_load_keys_loaded", "Keys of the loaded file."),
    gauge("aof_enabled", "redis_aof_enabled", "Whether changes are appended to a file."),
    gauge(
        "aof_rewrite_in_progress",
        "redis_aof_rewrite_in_progress",
        "Whether the append-only file is being rewritten.",
    ),
    gauge("aof_rewrite_scheduled", "redis_aof_rewrite_scheduled", "Whether that is to happen."),
    gauge(
        "aof_last_rewrite_time_sec",
        "redis_aof_last_rewrite_duration_sec",
        "Seconds that the last rewrite took; -1 before the first.",
    ),
    gauge(
        "aof_current_rewrite_time_sec",
        "redis_aof_current_rewrite_duration_sec",
        "Seconds that the running rewrite has taken; -1 if none runs.",
    ),
    gauge(
        "aof_last_bgrewrite_status",
        "redis_aof_last_bgrewrite_status",
        "Whether the last rewrite succeeded.",
    ),
    gauge(
        "aof_last_write_status",
        "redis_aof_last_write_status",
        "Whether the last write to the append-only file succeeded.",
    ),
    gauge("aof_current_size", "redis_aof_current_size_bytes", "Bytes of the append-only file."),
    gauge("aof_base_size", "redis_aof_base_size_bytes", "Bytes of it when it was last rewritten."),
    gauge("aof_pending_rewrite", "redis_aof_pending_rewrite", "Whether a rewrite waits."),
    gauge("aof_buffer_length", "redis_aof_buffer_length", "Bytes that wait to be appended."),
    gauge("aof_delayed_fsync", "redis_aof_delayed_fsync", "Times that writing waited for the disk."),
    gauge("backup_in_progress", "torc_backup_in_progress", "Whether a backup waits or is written."),
    gauge(
        "last_backup_time",
        "torc_backup_last_timestamp_seconds",
        "When the last backup was done, Unix time; 0 before the first.",
    ),
    gauge("last_backup_status", "torc_backup_last_status", "Whether the last backup succeeded."),
    gauge("loading_total_bytes", "torc_loading_bytes", "Bytes of the file that is being loaded."),
    gauge("loading_loaded_bytes", "torc_loading_loaded_bytes", "Bytes of it that are loaded."),
    // What was counted.
    counter("total_connections_received", "redis_connections_received_total", "Connections accepted."),
    counter(
        "rejected_connections",
        "redis_rejected_connections_total",
        "Connections refused because of maxclients.",
    ),
    counter("total_commands_processed", "redis_commands_processed_total", "Commands that ran."),
    gauge("instantaneous_ops_per_sec", "redis_instantaneous_ops_per_sec", "Commands a second, lately."),
    gauge("instantaneous_input_kbps", "redis_instantaneous_input_kbps", "KiB a second received, lately."),
    gauge("instantaneous_output_kbps", "redis_instantaneous_output_kbps", "KiB a second sent, lately."),
    counter("total_net_input_bytes", "redis_net_input_bytes_total", "Bytes received of clients."),
    counter("total_net_output_bytes", "redis_net_output_bytes_total", "Bytes sent to clients."),
    counter(
        "total_net_repl_input_bytes",
        "redis_net_repl_input_bytes_total",
        "Bytes received of the primary.",
    ),
    counter("tls_handshakes", "torc_tls_handshakes_total", "TLS handshakes that succeeded."),
    counter("tls_handshakes_failed", "torc_tls_handshakes_failed_total", "TLS handshakes that failed."),
    counter("expired_keys", "redis_expired_keys_total", "Keys that expired."),
    counter("expired_subkeys", "redis_expired_subkeys_total", "Fields of hashes that expired."),
    counter(
        "expired_time_cap_reached_count",
        "redis_expired_time_cap_reached_total",
        "Times that expiry stopped because its time was up.",
    ),
    counter("evicted_keys", "redis_evicted_keys_total", "Keys removed to free memory."),
    counter("evicted_clients", "redis_evicted_clients_total", "Clients closed to free memory."),
    counter("evicted_scripts", "redis_evicted_scripts_total", "Scripts forgotten to free memory."),
    scaled(
        counter(
            "total_eviction_exceeded_time",
            "torc_eviction_exceeded_seconds_total",
            "How long memory was above maxmemory.",
        ),
        MS,
    ),
    gauge(
        "current_eviction_exceeded_time",
        "redis_current_eviction_exceeded_time_ms",
        "Milliseconds since memory is above maxmemory.",
    ),
    counter("keyspace_hits", "redis_keyspace_hits_total", "Reads that found their key."),
    counter("keyspace_misses", "redis_keyspace_misses_total", "Reads that did not."),
    gauge("pubsub_channels", "redis_pubsub_channels", "Channels with subscribers."),
    gauge("pubsub_patterns", "redis_pubsub_patterns", "Patterns with subscribers."),
    gauge("pubsubshard_channels", "redis_pubsubshard_channels", "Shard channels with subscribers."),
    gauge(
        "migrate_cached_sockets",
        "redis_migrate_cached_sockets_total",
        "Connections to other servers that MIGRATE keeps.",
    ),
    scaled(
        counter(
            "total_active_defrag_time",
            "torc_defrag_seconds_total",
            "How long memory was so fragmented that it was defragmented.",
        ),
        MS,
    ),
    gauge(
        "tracking_total_keys",
        "redis_tracking_total_keys",
        "Keys that clients are told of when they change.",
    ),
    gauge("tracking_total_items", "redis_tracking_total_items", "Those keys, once for each client."),
    gauge("tracking_total_prefixes", "redis_tracking_total_prefixes", "Prefixes that clients are told of."),
    gauge("total_error_replies", "redis_total_error_replies", "Error replies."),
    gauge(
        "unexpected_error_replies",
        "redis_unexpected_error_replies",
        "Commands of the primary that failed.",
    ),
    gauge("total_reads_processed", "redis_total_reads_processed", "Reads that brought bytes."),
    gauge("total_writes_processed", "redis_total_writes_processed", "Sends handed to the kernel."),
    counter("acl_access_denied_auth", "redis_acl_access_denied_auth_total", "Failed AUTHs."),
    counter("acl_access_denied_cmd", "redis_acl_access_denied_cmd_total", "Commands refused to their user."),
    counter(
        "acl_access_denied_key",
        "redis_acl_access_denied_key_total",
        "Commands refused because of a key.",
    ),
    counter(
        "acl_access_denied_channel",
        "redis_acl_access_denied_channel_total",
        "Commands refused because of a channel.",
    ),
    counter(
        "client_query_buffer_limit_disconnections",
        "redis_client_query_buffer_limit_disconnections_total",
        "Clients closed because of their query buffer.",
    ),
    counter(
        "client_output_buffer_limit_disconnections",
        "redis_client_output_buffer_limit_disconnections_total",
        "Clients closed because of their output buffer.",
    ),
    // Replication.
    gauge("connected_slaves", "redis_connected_slaves", "Replicas."),
    gauge(
        "repl_backlog_size",
        "redis_replication_backlog_bytes",
        "Bytes kept for replicas that come back (repl-backlog-size).",
    ),
    gauge("repl_backlog_active", "redis_repl_backlog_is_active", "Whether there is a backlog."),
    gauge(
        "repl_backlog_first_byte_offset",
        "redis_repl_backlog_first_byte_offset",
        "Where in the stream the backlog begins.",
    ),
    gauge("repl_backlog_histlen", "redis_repl_backlog_history_bytes", "Bytes in the backlog."),
    gauge("master_repl_offset", "redis_master_repl_offset", "Where the stream ends."),
    gauge(
        "second_repl_offset",
        "redis_second_repl_offset",
        "Up to where the history before counts; -1 without one.",
    ),
    gauge("slave_priority", "redis_slave_priority", "Rank of this replica for promotion."),
    gauge("sync_full", "redis_replica_resyncs_full", "Replicas that began with a snapshot."),
    gauge("sync_partial_ok", "redis_replica_partial_resync_accepted", "Replicas that continued."),
    gauge(
        "sync_partial_err",
        "redis_replica_partial_resync_denied",
        "Replicas that asked in vain to continue.",
    ),
    gauge("min_slaves_good_slaves", "torc_good_replicas", "Replicas that count for min-replicas-to-write."),
    // Processor time.
    counter("used_cpu_sys", "redis_cpu_sys_seconds_total", "Processor time of the process in the kernel."),
    counter(
        "used_cpu_user",
        "redis_cpu_user_seconds_total",
        "Processor time of the process in this program.",
    ),
    counter(
        "used_cpu_sys_children",
        "redis_cpu_sys_children_seconds_total",
        "The same of its children, in the kernel.",
    ),
    counter(
        "used_cpu_user_children",
        "redis_cpu_user_children_seconds_total",
        "The same of its children, in their programs.",
    ),
];

/// Writes what INFO says in one number.
pub fn write(fields: &InfoFields, output: &mut Output<'_>) -> fmt::Result {
    for row in ROWS {
        let Some(value) = fields.get(row.field).and_then(|text| value(text, row.factor)) else { continue };
        match row.kind {
            MetricType::Gauge => output.gauge(row.name, row.help, value)?,
            MetricType::Counter => output.counter(row.name, row.help, value)?,
        }
    }
    Ok(())
}

/// The number that INFO shows as this text: states are 1 where all is well.
fn value(text: &str, factor: f64) -> Option<Value> {
    match text {
        "ok" => return Some(true.into()),
        "err" => return Some(false.into()),
        _ if factor != 1.0 => return text.parse().ok().map(|number: f64| Value::Float(number * factor)),
        _ => {}
    }
    let exact = text.parse().map(Value::Unsigned).or_else(|_| text.parse().map(Value::Signed));
    exact.ok().or_else(|| text.parse().ok().map(Value::Float))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_has_one_row_and_counters_say_that_they_are() {
        for (index, row) in ROWS.iter().enumerate() {
            let others = &ROWS[index + 1..];
            assert!(
                others.iter().all(|other| other.name != row.name && other.field != row.field),
                "{}",
                row.name
            );
            assert!(row.kind == MetricType::Gauge || row.name.ends_with("_total"), "{}", row.name);
            assert!(row.help.ends_with('.'), "{}", row.name);
        }
    }

    #[test]
    fn numbers_are_as_exact_as_info_has_them() {
        for (text, expected) in [
            ("18446744073709551615", Value::Unsigned(u64::MAX)),
            ("-1", Value::Signed(-1)),
            ("1.25", Value::Float(1.25)),
            ("err", Value::Unsigned(0)),
        ] {
            assert_eq!(value(text, 1.0), Some(expected));
        }
        assert_eq!(value("1500", MS), Some(Value::Float(1.5)));
        assert_eq!(value("", 1.0), None);
    }
}
