//! INFO's sections on what the process is and holds: server, clients, memory, persistence, replication, CPU, keyspace.

use super::text::{InfoText, human};
use super::{InfoContext, proc};
use crate::command::Facts;
use crate::command::server::sample::Parts;
use crate::config::{Config, Enumerated, REDIS_VERSION, TORC_VERSION};
use crate::observe::flag;
use crate::persist::append_only::Stage;
use crate::persist::background::Purpose;
use crate::persist::load::Loading;
use crate::store::DbIndex;

const MS_PER_DAY: u64 = 86_400_000;
/// Bits of the clock that entries keep.
const LRU_CLOCK_MASK: u64 = 0xFF_FFFF;

pub fn server(info: &InfoContext<'_>, text: &mut InfoText) {
    let (shared, config) = (info.shared, info.config);
    let up_ms = info.now_ms.saturating_sub(shared.facts.started_ms);
    text.section("Server");
    text.line("redis_version", REDIS_VERSION);
    text.line("torc_version", TORC_VERSION);
    text.lines(&[("redis_git_sha1", "00000000"), ("redis_git_dirty", "0")]);
    text.line("redis_build_id", build_id());
    text.line("redis_mode", "standalone");
    text.line("os", proc::system());
    text.line("arch_bits", usize::BITS);
    text.line("monotonic_clock", "quanta");
    text.line("multiplexing_api", shared.facts.io_backend);
    text.line("atomicvar_api", "rust-core");
    text.line("gcc_version", "0.0.0");
    text.line("process_id", std::process::id());
    text.line("process_supervised", config.supervised.word());
    text.line("run_id", &shared.facts.run_id);
    let Facts { tcp_port, tls_port, .. } = shared.facts;
    text.line("tcp_port", if tcp_port == 0 { tls_port } else { tcp_port });
    text.line("server_time_usec", info.now_us);
    text.line("uptime_in_seconds", up_ms / 1000);
    text.line("uptime_in_days", up_ms / MS_PER_DAY);
    text.line("hz", config.hz);
    text.line("configured_hz", config.hz);
    text.line("lru_clock", (info.now_ms / 1000) & LRU_CLOCK_MASK);
    text.line("executable", std::env::current_exe().unwrap_or_default().display());
    let file = shared.config_file.as_ref().map(|file| file.path.display().to_string());
    text.line("config_file", file.unwrap_or_default());
    text.line("io_threads_active", 0);
    listeners(config, &shared.facts, text);
}

/// The same for the same build, different for different versions.
fn build_id() -> String {
    // FNV-1a: a fixed function, unlike the standard library's seeded one.
    let start = 0xCBF2_9CE4_8422_2325_u64;
    let fold = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3);
    format!("{:016x}", TORC_VERSION.bytes().chain(REDIS_VERSION.bytes()).fold(start, fold))
}

fn listeners(config: &Config, facts: &Facts, text: &mut InfoText) {
    let bind = |bind: &crate::config::BindAddress| {
        format!(",bind={}{}", if bind.optional { "-" } else { "" }, bind.address)
    };
    let binds: String = config.bind.0.iter().map(bind).collect();
    if facts.tcp_port != 0 {
        text.line("listener0", format_args!("name=tcp{binds},port={}", facts.tcp_port));
    }
    let path = config.unixsocket.as_path();
    if !path.as_os_str().is_empty() {
        // As in Redis, where each kind of listener has its number.
        text.line("listener1", format_args!("name=unix,bind={}", path.display()));
    }
    if facts.tls_port != 0 {
        text.line("listener2", format_args!("name=tls{binds},port={}", facts.tls_port));
    }
}

pub fn clients(info: &InfoContext<'_>, text: &mut InfoText) {
    use std::sync::atomic::Ordering::Relaxed;

    let shared = info.shared;
    let (mut blocked, mut watching, mut watched) = (0, 0, 0);
    shared.clients.each(|client_info| {
        let keys = u64::from(client_info.watch_count.load(Relaxed));
        blocked += u64::from(client_info.has(flag::BLOCKED));
        watching += u64::from(keys > 0);
        watched += keys;
    });
    let stats = shared.stats.all();
    let input = stats.iter().map(|worker| worker.query_bytes_recent_max.read()).max();
    let output = stats.iter().map(|worker| worker.output_bytes_recent_max.read()).max();
    text.section("Clients");
    text.line("connected_clients", shared.clients.count());
    text.line("cluster_connections", 0);
    text.line("maxclients", info.config.maxclients);
    text.line("client_recent_max_input_buffer", input.unwrap_or(0));
    text.line("client_recent_max_output_buffer", output.unwrap_or(0));
    text.line("blocked_clients", blocked);
    text.line("tracking_clients", shared.pubsub.tracking.clients.load(Relaxed));
    text.line("pubsub_clients", shared.pubsub.clients.load(Relaxed));
    text.line("watching_clients", watching);
    let timed = stats.iter().map(|worker| worker.waits_timed.read());
    text.line("clients_in_timeout_table", timed.sum::<u64>());
    text.line("total_watched_keys", watched);
    text.line("total_blocking_keys", shared.keyspace.waited_keys());
    text.line("total_blocking_keys_on_nokey", 0);
}

/// What scripts take. The interpreters run functions, too, but for those that keep something: these have one of their own.
fn script_memory(info: &InfoContext<'_>, parts: &Parts, text: &mut InfoText) {
    let Parts { interpreters, shared_interpreter, scripts, libraries, .. } = *parts;
    let (library_count, function_count) = info.shared.script_state.libraries().counts();
    text.line("used_memory_lua", interpreters);
    text.line("used_memory_vm_eval", interpreters);
    text.line("used_memory_lua_human", human(interpreters));
    text.line("used_memory_scripts_eval", scripts);
    text.line("number_of_cached_scripts", info.shared.scripts.size().0);
    text.line("number_of_functions", function_count);
    text.line("number_of_libraries", library_count);
    text.line("used_memory_vm_functions", shared_interpreter);
    text.line("used_memory_vm_total", interpreters + shared_interpreter);
    text.line("used_memory_vm_total_human", human(interpreters + shared_interpreter));
    text.line("used_memory_functions", libraries);
    text.bytes("used_memory_scripts", scripts + libraries);
}

pub fn memory(info: &InfoContext<'_>, text: &mut InfoText) {
    let (memory, config) = (&info.memory, info.config);
    text.section("Memory");
    text.bytes("used_memory", memory.used);
    text.bytes("used_memory_rss", memory.rss);
    text.bytes("used_memory_peak", memory.peak);
    text.line("used_memory_peak_time", info.shared.stats.gauges.used_peak_ms() / 1000);
    text.line("used_memory_peak_perc", format_args!("{:.2}%", memory.peak_percent()));
    text.line("used_memory_overhead", memory.overhead);
    text.line("used_memory_startup", memory.startup);
    text.line("used_memory_dataset", memory.dataset());
    text.line("used_memory_dataset_perc", format_args!("{:.2}%", memory.dataset_percent()));
    text.line("allocator_allocated", memory.used);
    text.line("allocator_active", memory.active);
    text.line("allocator_resident", memory.rss);
    text.line("allocator_muzzy", 0);
    text.bytes("total_system_memory", proc::total_bytes());
    let parts = Parts::of(info.shared, config);
    script_memory(info, &parts, text);
    text.line("maxmemory", config.maxmemory);
    text.line("maxmemory_human", human(config.maxmemory));
    text.line("maxmemory_policy", config.maxmemory_policy.word());
    let mut share = |name: &str, unit: &str, part: u64, whole: u64| {
        let ratio_name = format!("{name}_ratio");
        text.line(&ratio_name, format_args!("{:.2}", part as f64 / whole.max(1) as f64));
        text.line(&format!("{name}_{unit}"), part as i64 - whole as i64);
    };
    share("allocator_frag", "bytes", memory.active, memory.used);
    share("allocator_rss", "bytes", memory.rss, memory.active);
    share("rss_overhead", "bytes", memory.rss, memory.rss);
    share("mem_fragmentation", "bytes", memory.rss, memory.used);
    text.lines(&[("mem_not_counted_for_evict", "0")]);
    text.line("mem_replication_backlog", parts.backlog);
    text.line("mem_total_replication_buffers", parts.backlog + parts.replicas);
    text.line("mem_replica_full_sync_buffer", parts.full_sync);
    text.line("mem_clients_slaves", parts.replicas);
    text.line("mem_clients_normal", memory.clients);
    text.lines(&[("mem_cluster_links", "0")]);
    text.line("mem_aof_buffer", parts.append_only);
    text.lines(&[("mem_allocator", "mimalloc"), ("mem_overhead_db_hashtable_rehashing", "0")]);
    text.line("active_defrag_running", info.shared.stats.gauges.defrag_effort());
    text.lines(&[("lazyfree_pending_objects", "0"), ("lazyfreed_objects", "0")]);
}

pub fn persistence(info: &InfoContext<'_>, text: &mut InfoText) {
    let (shared, now_ms) = (info.shared, info.now_ms);
    let (running, last) = (shared.background.running(), &shared.last_save);
    let saving = running.as_ref().filter(|one| one.purpose == Purpose::Save);
    let (done, total) = running.as_ref().map_or((0, 0), |one| (one.keys_done(), one.snapshot.keys_total()));
    text.section("Persistence");
    let loading = &shared.loading;
    text.line("loading", u8::from(loading.is_on()));
    text.lines(&[
        ("async_loading", "0"),
        ("current_cow_peak", "0"),
        ("current_cow_size", "0"),
        ("current_cow_size_age", "0"),
    ]);
    text.line("current_fork_perc", format_args!("{:.2}", done as f64 * 100.0 / total.max(1) as f64));
    text.line("current_save_keys_processed", done);
    text.line("current_save_keys_total", total);
    text.line("rdb_changes_since_last_save", last.changes_since(info.keyspace.dirty));
    text.line("rdb_bgsave_in_progress", u32::from(saving.is_some()));
    text.line("rdb_last_save_time", last.saved_s());
    text.line("rdb_last_bgsave_status", if last.has_failed() { "err" } else { "ok" });
    text.line("rdb_last_bgsave_time_sec", last.took_s());
    let running_s = saving.map_or(-1, |one| (now_ms.saturating_sub(one.started_ms) / 1000) as i64);
    text.line("rdb_current_bgsave_time_sec", running_s);
    text.line("rdb_saves", last.count());
    text.lines(&[("rdb_last_cow_size", "0")]);
    text.line("rdb_last_load_keys_expired", loading.keys().expired);
    text.line("rdb_last_load_keys_loaded", loading.keys().loaded);
    append_only(info, text);
    let (backup_s, has_failed) = shared.backups.last();
    text.line("backup_in_progress", u8::from(shared.backups.is_pending()));
    text.line("last_backup_time", backup_s);
    text.line("last_backup_status", if has_failed { "err" } else { "ok" });
    if loading.is_on() {
        tell_loading(loading, info.now_ms, text);
    }
}

/// The append-only file.
fn append_only(info: &InfoContext<'_>, text: &mut InfoText) {
    let (shared, now_ms) = (info.shared, info.now_ms);
    let (append_only, journal) = (&shared.append_only, &shared.journal);
    let report = append_only.report();
    let is_rewriting = append_only.stage() != Stage::None;
    let status = |has_failed| if has_failed { "err" } else { "ok" };
    text.line("aof_enabled", u8::from(info.config.appendonly));
    text.line("aof_rewrite_in_progress", u8::from(is_rewriting));
    text.line("aof_rewrite_scheduled", u8::from(append_only.is_asked_for()));
    text.line("aof_last_rewrite_time_sec", report.took_s);
    let current_s = now_ms.saturating_sub(report.begun_ms) / 1000;
    text.line("aof_current_rewrite_time_sec", if is_rewriting { current_s as i64 } else { -1 });
    text.line("aof_last_bgrewrite_status", status(report.has_failed));
    text.line("aof_rewrites", report.rewrites);
    text.line("aof_rewrites_consecutive_failures", report.failures_in_row);
    text.line("aof_last_write_status", status(journal.failure().is_some()));
    text.line("aof_last_cow_size", 0);
    text.line("module_fork_in_progress", 0);
    text.line("module_fork_last_cow_size", 0);
    if info.config.appendonly {
        text.line("aof_current_size", report.base_bytes + journal.file_bytes());
        text.line("aof_base_size", report.base_bytes);
        text.line("aof_pending_rewrite", u8::from(append_only.is_asked_for()));
        text.line("aof_buffer_length", journal.queued_bytes());
        text.line("aof_pending_bio_fsync", 0);
        text.line("aof_delayed_fsync", journal.delayed_syncs());
    }
}

/// How far a file is loaded.
fn tell_loading(loading: &Loading, now_ms: u64, text: &mut InfoText) {
    let (total, loaded) = loading.bytes();
    let elapsed_s = now_ms.saturating_sub(loading.started_ms()) / 1000;
    let eta_s = match elapsed_s {
        0 => 1,
        s => s.saturating_mul(total.saturating_sub(loaded)) / (loaded + 1),
    };
    text.line("loading_start_time", loading.started_ms() / 1000);
    text.line("loading_total_bytes", total);
    text.line("loading_rdb_used_mem", loading.used_bytes());
    text.line("loading_loaded_bytes", loaded);
    text.line("loading_loaded_perc", format!("{:.2}", loaded as f64 * 100.0 / total.max(1) as f64));
    text.line("loading_eta_seconds", eta_s);
}

pub fn replication(info: &InfoContext<'_>, text: &mut InfoText) {
    text.section("Replication");
    let is_replica = info.shared.replication.is_replica();
    text.line("role", if is_replica { "slave" } else { "master" });
    if is_replica {
        super::replica::replica(info, text);
    }
    replicas(info, text);
    text.line("master_failover_state", info.shared.replication.failover.state().word());
    let (replication, stream) = (&info.shared.replication, &info.shared.replication.stream);
    let history = replication.history();
    let (start, end) = (stream.start(), stream.end());
    text.line("master_replid", history.id.as_str());
    text.line("master_replid2", history.id_before.as_str());
    text.line("master_repl_offset", end);
    text.line("second_repl_offset", history.until.map_or(-1, |until| until as i64));
    text.line("repl_backlog_active", u8::from(stream.is_open()));
    text.line("repl_backlog_size", info.config.repl_backlog_size);
    text.line("repl_backlog_first_byte_offset", if stream.is_open() { start + 1 } else { 0 });
    text.line("repl_backlog_histlen", if stream.is_open() { end.saturating_sub(start) } else { 0 });
}

/// Who follows this server.
fn replicas(info: &InfoContext<'_>, text: &mut InfoText) {
    let (replicas, now_ms) = (&info.shared.replication.replicas, info.now_ms);
    let all = replicas.all();
    let all: Vec<_> = all.iter().filter(|replica| !replica.about.is_channel).collect();
    text.line("connected_slaves", all.len());
    if info.config.min_replicas_to_write > 0 && info.config.min_replicas_max_lag > 0 {
        text.line("min_slaves_good_slaves", replicas.good());
    }
    for (index, replica) in all.iter().enumerate() {
        let Some(state) = replica.word() else { continue };
        let (ip, port, offset) = (replica.ip(), replica.about.port, replica.acked());
        let lag_s = if state == "online" { replica.lag_s(now_ms) } else { 0 };
        text.line(
            &format!("slave{index}"),
            format_args!("ip={ip},port={port},state={state},offset={offset},lag={lag_s}"),
        );
    }
}

pub fn cpu(_: &InfoContext<'_>, text: &mut InfoText) {
    let (process, thread) = (proc::cpu_process(), proc::cpu_thread());
    text.section("CPU");
    for (name, seconds) in [
        ("used_cpu_sys", process.system),
        ("used_cpu_user", process.user),
        ("used_cpu_sys_children", process.system_children),
        ("used_cpu_user_children", process.user_children),
        // Redis's main thread runs the commands; here that is the worker that answers.
        ("used_cpu_sys_main_thread", thread.system),
        ("used_cpu_user_main_thread", thread.user),
    ] {
        text.line(name, format_args!("{seconds:.6}"));
    }
}

pub fn modules(_: &InfoContext<'_>, text: &mut InfoText) {
    text.section("Modules");
}

pub fn cluster(_: &InfoContext<'_>, text: &mut InfoText) {
    text.section("Cluster");
    text.line("cluster_enabled", 0);
}

pub fn keyspace(info: &InfoContext<'_>, text: &mut InfoText) {
    text.section("Keyspace");
    for (DbIndex(number), db) in &info.keyspace.dbs {
        let ttl_ms = db.ttl_ms_average(info.now_ms);
        let (keys, expires, subexpiry) = (db.keys, db.expires, db.subexpiry);
        text.line(
            &format!("db{number}"),
            format_args!("keys={keys},expires={expires},avg_ttl={ttl_ms},subexpiry={subexpiry}"),
        );
    }
}
