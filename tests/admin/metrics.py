"""Reads /metrics with Prometheus's own parser and compares every value with INFO and its like.

Arguments: the URL, the Unix socket of the server. Each value has to lie between what INFO said before and after the scrape; what is
only noted now and then gets a moment to settle. A metric that nothing here compares is a failure, too.
"""

import math
import re
import sys
import time
import urllib.request

import redis
from prometheus_client.parser import text_string_to_metric_families

url, path = sys.argv[1:]
client = redis.Redis(unix_socket_path=path, decode_responses=True)

# Metric: INFO's field, and what it is multiplied by. Written down here once more, so that a mistake in the server's table is seen.
FIELDS = {
    "redis_uptime_in_seconds": "uptime_in_seconds",
    "redis_process_id": "process_id",
    "redis_connected_clients": "connected_clients",
    "redis_max_clients": "maxclients",
    "redis_blocked_clients": "blocked_clients",
    "redis_tracking_clients": "tracking_clients",
    "redis_pubsub_clients": "pubsub_clients",
    "redis_watching_clients": "watching_clients",
    "redis_clients_in_timeout_table": "clients_in_timeout_table",
    "redis_total_watched_keys": "total_watched_keys",
    "redis_total_blocking_keys": "total_blocking_keys",
    "redis_client_recent_max_input_buffer_bytes": "client_recent_max_input_buffer",
    "redis_client_recent_max_output_buffer_bytes": "client_recent_max_output_buffer",
    "redis_memory_used_bytes": "used_memory",
    "redis_memory_used_rss_bytes": "used_memory_rss",
    "redis_memory_used_peak_bytes": "used_memory_peak",
    "redis_memory_used_overhead_bytes": "used_memory_overhead",
    "redis_memory_used_startup_bytes": "used_memory_startup",
    "redis_memory_used_dataset_bytes": "used_memory_dataset",
    "redis_memory_used_lua_bytes": "used_memory_lua",
    "redis_memory_used_scripts_bytes": "used_memory_scripts",
    "redis_number_of_cached_scripts": "number_of_cached_scripts",
    "redis_number_of_functions": "number_of_functions",
    "redis_number_of_libraries": "number_of_libraries",
    "redis_memory_max_bytes": "maxmemory",
    "redis_total_system_memory_bytes": "total_system_memory",
    "redis_allocator_active_bytes": "allocator_active",
    "redis_allocator_allocated_bytes": "allocator_allocated",
    "redis_allocator_resident_bytes": "allocator_resident",
    "redis_mem_fragmentation_ratio": "mem_fragmentation_ratio",
    "redis_mem_fragmentation_bytes": "mem_fragmentation_bytes",
    "redis_mem_clients_normal": "mem_clients_normal",
    "redis_mem_clients_slaves": "mem_clients_slaves",
    "redis_active_defrag_running": "active_defrag_running",
    "redis_defrag_hits": "active_defrag_hits",
    "redis_defrag_misses": "active_defrag_misses",
    "redis_loading_dump_file": "loading",
    "redis_rdb_changes_since_last_save": "rdb_changes_since_last_save",
    "redis_rdb_bgsave_in_progress": "rdb_bgsave_in_progress",
    "redis_rdb_last_save_timestamp_seconds": "rdb_last_save_time",
    "redis_rdb_last_bgsave_status": "rdb_last_bgsave_status",
    "redis_rdb_last_bgsave_duration_sec": "rdb_last_bgsave_time_sec",
    "redis_rdb_current_bgsave_duration_sec": "rdb_current_bgsave_time_sec",
    "redis_rdb_saves_total": "rdb_saves",
    "redis_rdb_last_load_keys_expired": "rdb_last_load_keys_expired",
    "redis_rdb_last_load_keys_loaded": "rdb_last_load_keys_loaded",
    "redis_aof_enabled": "aof_enabled",
    "redis_aof_rewrite_in_progress": "aof_rewrite_in_progress",
    "redis_aof_rewrite_scheduled": "aof_rewrite_scheduled",
    "redis_aof_last_rewrite_duration_sec": "aof_last_rewrite_time_sec",
    "redis_aof_current_rewrite_duration_sec": "aof_current_rewrite_time_sec",
    "redis_aof_last_bgrewrite_status": "aof_last_bgrewrite_status",
    "redis_aof_last_write_status": "aof_last_write_status",
    "redis_aof_current_size_bytes": "aof_current_size",
    "redis_aof_base_size_bytes": "aof_base_size",
    "redis_aof_pending_rewrite": "aof_pending_rewrite",
    "redis_aof_buffer_length": "aof_buffer_length",
    "redis_aof_delayed_fsync": "aof_delayed_fsync",
    "torc_backup_in_progress": "backup_in_progress",
    "torc_backup_last_timestamp_seconds": "last_backup_time",
    "torc_backup_last_status": "last_backup_status",
    "redis_connections_received_total": "total_connections_received",
    "redis_rejected_connections_total": "rejected_connections",
    "redis_commands_processed_total": "total_commands_processed",
    "redis_instantaneous_ops_per_sec": "instantaneous_ops_per_sec",
    "redis_instantaneous_input_kbps": "instantaneous_input_kbps",
    "redis_instantaneous_output_kbps": "instantaneous_output_kbps",
    "redis_net_input_bytes_total": "total_net_input_bytes",
    "redis_net_output_bytes_total": "total_net_output_bytes",
    "redis_net_repl_input_bytes_total": "total_net_repl_input_bytes",
    "torc_tls_handshakes_total": "tls_handshakes",
    "torc_tls_handshakes_failed_total": "tls_handshakes_failed",
    "redis_expired_keys_total": "expired_keys",
    "redis_expired_subkeys_total": "expired_subkeys",
    "redis_expired_time_cap_reached_total": "expired_time_cap_reached_count",
    "redis_evicted_keys_total": "evicted_keys",
    "redis_evicted_clients_total": "evicted_clients",
    "redis_evicted_scripts_total": "evicted_scripts",
    "torc_eviction_exceeded_seconds_total": ("total_eviction_exceeded_time", 1e-3),
    "redis_current_eviction_exceeded_time_ms": "current_eviction_exceeded_time",
    "redis_keyspace_hits_total": "keyspace_hits",
    "redis_keyspace_misses_total": "keyspace_misses",
    "redis_pubsub_channels": "pubsub_channels",
    "redis_pubsub_patterns": "pubsub_patterns",
    "redis_pubsubshard_channels": "pubsubshard_channels",
    "redis_migrate_cached_sockets_total": "migrate_cached_sockets",
    "torc_defrag_seconds_total": ("total_active_defrag_time", 1e-3),
    "redis_tracking_total_keys": "tracking_total_keys",
    "redis_tracking_total_items": "tracking_total_items",
    "redis_tracking_total_prefixes": "tracking_total_prefixes",
    "redis_total_error_replies": "total_error_replies",
    "redis_unexpected_error_replies": "unexpected_error_replies",
    "redis_total_reads_processed": "total_reads_processed",
    "redis_total_writes_processed": "total_writes_processed",
    "redis_acl_access_denied_auth_total": "acl_access_denied_auth",
    "redis_acl_access_denied_cmd_total": "acl_access_denied_cmd",
    "redis_acl_access_denied_key_total": "acl_access_denied_key",
    "redis_acl_access_denied_channel_total": "acl_access_denied_channel",
    "redis_client_query_buffer_limit_disconnections_total": "client_query_buffer_limit_disconnections",
    "redis_client_output_buffer_limit_disconnections_total": "client_output_buffer_limit_disconnections",
    "redis_connected_slaves": "connected_slaves",
    "redis_replication_backlog_bytes": "repl_backlog_size",
    "redis_repl_backlog_is_active": "repl_backlog_active",
    "redis_repl_backlog_first_byte_offset": "repl_backlog_first_byte_offset",
    "redis_repl_backlog_history_bytes": "repl_backlog_histlen",
    "redis_master_repl_offset": "master_repl_offset",
    "redis_second_repl_offset": "second_repl_offset",
    "redis_slave_priority": "slave_priority",
    "redis_replica_resyncs_full": "sync_full",
    "redis_replica_partial_resync_accepted": "sync_partial_ok",
    "redis_replica_partial_resync_denied": "sync_partial_err",
    "redis_cpu_sys_seconds_total": "used_cpu_sys",
    "redis_cpu_user_seconds_total": "used_cpu_user",
    "redis_cpu_sys_children_seconds_total": "used_cpu_sys_children",
    "redis_cpu_user_children_seconds_total": "used_cpu_user_children",
    "torc_workers": "workers",
    "torc_active_workers": "active_workers",
    "torc_shards": "shards",
}

# Metrics of each worker: the field of its line in INFO workers, and what it is multiplied by.
WORKER_FIELDS = {
    "torc_worker_commands_total": "commands",
    "torc_worker_turns_long_total": "long_turns",
    "torc_worker_parks_total": "parks",
    "torc_worker_groups_total": "groups",
    "torc_worker_leases_taken_total": "leases_taken",
    "torc_worker_leases_refused_total": "leases_refused",
    "torc_worker_leases_retried_total": "leases_retried",
    "torc_worker_leases_wanted_total": "leases_wanted",
    "torc_worker_leases_reserved_total": "leases_reserved",
    "torc_worker_leases_long_total": "long_leases",
    "torc_worker_messages_sent_total": "messages_sent",
    "torc_worker_messages_full_total": "messages_full",
    "torc_worker_messages_waiting": "messages_waiting",
    "torc_worker_unparks_total": "wakes_sent",
    "torc_worker_connections_moved_total": "connections_moved",
    "torc_worker_connections": "connections",
    "torc_worker_busy_clients": "clients",
    "torc_worker_scripts_declared_total": "scripts_declared",
    "torc_worker_scripts_tried_total": "scripts_tried",
    "torc_worker_scripts_again_total": "scripts_again",
    "torc_worker_home_keys": "home_keys",
    "torc_worker_load_ratio": ("load", 1e-2),
    "torc_worker_load_waited_ratio": ("load_waited", 1e-2),
    "torc_worker_turn_duration_seconds_count": "turns",
}

# Checked by `check_rest`, or by tests of their own.
OTHERS = {
    "redis_up", "redis_instance_info", "torc_info", "redis_start_time_seconds", "torc_pubsub_active", "torc_memory_bytes",
    "torc_snapshot_running", "torc_snapshot_keys_done", "torc_snapshot_keys", "redis_slowlog_length", "redis_slowlog_last_id",
    "redis_last_slow_execution_duration_seconds", "torc_admin_responses_total", "torc_worker_active",
    "torc_worker_client_buffers_bytes", "torc_worker_interpreter_bytes", "torc_worker_alive_timestamp_seconds",
    "torc_worker_cron_seconds_total", "torc_worker_reads_total", "torc_worker_writes_total", "torc_worker_net_input_bytes_total",
    "torc_worker_net_output_bytes_total", "torc_worker_messages_delivered_total", "torc_db_keys_expiring_inside",
}  # fmt: skip


def number(text):
    return {"ok": 1.0, "err": 0.0}.get(text) if text in ("ok", "err") else float(str(text).rstrip("%"))


def info():
    """All fields of INFO as text; those of a line of several have names of two parts."""
    fields = {}
    client.response_callbacks.pop("INFO", None)
    for line in client.execute_command("INFO", "everything").splitlines():
        name, colon, value = line.partition(":")
        if colon and "=" in value and not name.startswith(("listener", "executable")):
            for pair in value.split(","):
                part, _, of = pair.partition("=")
                fields[(name, part)] = of
        elif colon:
            fields[name] = value
    return fields


def scrape():
    with urllib.request.urlopen(url) as response:
        assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4"), response.headers
        text = response.read().decode()
    for family in text_string_to_metric_families(text):
        assert family.documentation.endswith("."), f"{family.name} has no help"
        assert family.type in ("gauge", "counter", "histogram"), f"{family.name} is {family.type}"
        yield from family.samples


def source(sample):
    """Where INFO says the same: its field and the factor; None if it does not."""
    name, labels = sample.name, sample.labels
    scaled = lambda field: field if isinstance(field, tuple) else (field, 1)
    if name in FIELDS:
        return scaled(FIELDS[name])
    if name in WORKER_FIELDS:
        field, factor = scaled(WORKER_FIELDS[name])
        return ("worker" + labels["worker"], field), factor
    if name in COMMANDS:
        field, factor = COMMANDS[name]
        return ("cmdstat_" + labels["cmd"], field), factor
    if name in DATABASES:
        field, factor = DATABASES[name]
        return (labels["db"], field), factor
    return (("errorstat_" + labels["err"], "count"), 1) if name == "redis_errors_total" else None


COMMANDS = {
    "redis_commands_total": ("calls", 1),
    "redis_commands_duration_seconds_total": ("usec", 1e-6),
    "redis_commands_rejected_calls_total": ("rejected_calls", 1),
    "redis_commands_failed_calls_total": ("failed_calls", 1),
    "torc_command_duration_seconds_count": ("calls", 1),
}
DATABASES = {
    "redis_db_keys": ("keys", 1),
    "redis_db_keys_expiring": ("expires", 1),
    "redis_db_avg_ttl_seconds": ("avg_ttl", 1e-3),
    "torc_db_keys_expiring_inside": ("subexpiry", 1),
}


def wrong(before, samples, after):
    """The samples that are not between what INFO said before and after."""
    found = []
    for sample in samples:
        where = source(sample)
        if where is None:
            continue
        field, factor = where
        # What INFO itself counts may not have been there before.
        if field not in after:
            found.append(f"{sample.name}{sample.labels}: INFO has no {field}")
            continue
        ends = [number(fields.get(field, "0")) * factor for fields in (before, after)]
        # Resident memory comes and goes by itself.
        slack = 0.02 * max(ends) if "rss" in str(field) or "resident" in str(field) or "frag" in str(field) else 0
        slack += 1e-9 + 1e-9 * abs(ends[1])
        if not min(ends) - slack <= sample.value <= max(ends) + slack:
            found.append(f"{sample.name}{sample.labels}: {sample.value} is not in {ends} of {field}")
    return found


def check_histograms(samples):
    """Buckets grow, and the last one is the count."""
    last = {}
    for sample in samples:
        base = re.sub("_(bucket|count|sum)$", "", sample.name)
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        key = (base, labels)
        if sample.name.endswith("_bucket"):
            assert sample.value >= last.get(key, 0), f"{key} shrinks"
            last[key] = sample.value
    for sample in samples:
        if sample.name.endswith("_count"):
            key = (sample.name[: -len("_count")], tuple(sorted(sample.labels.items())))
            assert last[key] == sample.value, f"{key}: {last[key]} and {sample.value}"
    assert len(last) > 5, "histograms are missing"


def check_rest(samples):
    """What INFO does not say."""
    values = {}
    for sample in samples:
        values.setdefault(sample.name, []).append((sample.labels, sample.value))
    one = {name: found[0][1] for name, found in values.items()}
    assert one["redis_up"] == 1
    about = values["redis_instance_info"][0][0]
    fields = info()
    assert about["role"] == "master" and about["redis_version"] == fields["redis_version"], about
    assert about["run_id"] == fields["run_id"] and about["process_id"] == fields["process_id"], about
    assert values["torc_info"][0][0]["version"] == fields["torc_version"]
    assert abs(one["redis_start_time_seconds"] + float(fields["uptime_in_seconds"]) - time.time()) < 2
    assert one["redis_slowlog_length"] == client.slowlog_len()
    newest = client.slowlog_get(1)[0]
    assert one["redis_slowlog_last_id"] == newest["id"]
    assert math.isclose(one["redis_last_slow_execution_duration_seconds"], newest["duration"] / 1e6)
    kinds = {labels["kind"]: value for labels, value in values["torc_memory_bytes"]}
    parts = sum(kinds[kind] for kind in ("entries", "large_values", "tables", "clients", "server"))
    assert parts == one["redis_memory_used_bytes"], (kinds, one["redis_memory_used_bytes"])
    assert kinds["large_values"] > 1_000_000 and kinds["scripts"] > 0, kinds
    assert sum(value for _, value in values["torc_worker_messages_delivered_total"]) == 1
    assert one["torc_pubsub_active"] == 1 and one["torc_worker_active"] == 1
    for labels, value in values["torc_worker_alive_timestamp_seconds"]:
        assert abs(time.time() - value) < 5, (labels, value)
    assert sum(value for _, value in values["torc_worker_cron_seconds_total"]) > 0
    responses = {labels["code"]: value for labels, value in values["torc_admin_responses_total"]}
    assert responses["404"] == 1, responses


# What is said of all workers together, and of each.
SUMS = [
    ("redis_total_reads_processed", "torc_worker_reads_total"),
    ("redis_net_input_bytes_total", "torc_worker_net_input_bytes_total"),
    ("redis_net_output_bytes_total", "torc_worker_net_output_bytes_total"),
    ("redis_mem_clients_normal", "torc_worker_client_buffers_bytes"),
]


def unequal_sums(samples):
    """The sums that differ: a reply may still be counted while the page is put together."""
    def of(name):
        return sum(sample.value for sample in samples if sample.name == name)
    return [f"{total} {of(total)}, its parts {of(each)}" for total, each in SUMS if of(total) != of(each)]


def use():
    """A little of everything."""
    client.config_set("slowlog-log-slower-than", 0)
    client.set("large", "x" * 2_000_000)
    for number_ in range(1000):
        client.set(f"key:{number_}", "v", ex=1000 if number_ % 2 else None)
    client.get("key:1"), client.get("missing")
    client.hset("hash", "field", "v")
    client.execute_command("HEXPIRE", "hash", "1000", "FIELDS", "1", "field")
    client.eval("return redis.call('GET', KEYS[1])", 1, "key:1")
    for words in (["NOSUCH"], ["INCR", "key:1"], ["SET", "a"], ["CONFIG", "GET"]):
        try:
            client.execute_command(*words)
        except redis.ResponseError:
            pass
    listener = client.pubsub()
    listener.subscribe("channel")
    listener.get_message(timeout=5)
    client.publish("channel", "message")
    try:
        urllib.request.urlopen(url + "/nothing")
    except urllib.error.HTTPError as error:
        assert error.code == 404
    other = redis.Redis(unix_socket_path=path, db=3)
    other.set("k", "v")
    # From here on the slow log stays as it is.
    client.config_set("slowlog-log-slower-than", -1)
    return listener


listener = use()
for attempt in range(200):
    before = info()
    samples = list(scrape())
    found = wrong(before, samples, info()) + unequal_sums(samples)
    if not found:
        break
    time.sleep(0.05)
assert not found, "\n".join(found)
names = {re.sub("_(bucket|sum)$", "_count", sample.name) for sample in samples}
unknown = [name for name in names if not any(name in known for known in (FIELDS, WORKER_FIELDS, COMMANDS, DATABASES, OTHERS))]
unknown = [name for name in unknown if name != "redis_errors_total"]
assert not unknown, f"nothing compares {unknown}"
# What an append-only file or a primary would be needed for.
off = {name for name in FIELDS if re.match("redis_(aof|slave)_", name) and FIELDS[name] not in info()}
missing = (set(FIELDS) | set(WORKER_FIELDS) | set(COMMANDS) | set(DATABASES) | OTHERS) - names - off
assert not missing, f"there is no {missing}"
check_histograms(samples)
check_rest(samples)
compared = sum(source(sample) is not None for sample in samples)
print(f"passed: {compared} of {len(samples)} values compared with INFO")
