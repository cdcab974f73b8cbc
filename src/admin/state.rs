//! `/state.json`: what the live page shows, in one object.
//!
//! Design: totals and cumulative counts, from which the page makes rates: so two pages do not disturb each other, and nothing is kept
//! for a page that is gone. Whoever asks is taken to watch for another few seconds, in which workers look for hot and big keys.
//!
//! Costs: one walk over the counters of all commands and over the clients; none of a worker's time but for the keys.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use crate::command::{InfoFields, Shared, memory_by_kind, table};
use crate::observe::{ClientInfo, Json, Snapshot, flag};
use crate::replicate::LinkState;

/// How long after a question somebody still watches, in ms.
const WATCH_MS: u64 = 5000;
/// Keys, entries of the slow log and clients that are shown.
const ROWS_MAX: usize = 20;
/// Clients that are looked at for those.
const CLIENTS_MAX: usize = 20_000;
/// The upper ends of the heat map's rows, in us; the last row is open.
const BOUNDS_US: [u64; 20] = [
    1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000,
    256_000, 1_000_000,
];
/// Arguments of a slow command are shown up to so many bytes in all.
const SLOW_BYTES_MAX: usize = 200;

/// The object.
pub fn state(shared: &Shared, now_us: u64, unready: Option<&str>) -> String {
    let now_ms = now_us / 1000;
    shared.stats.keys.want(now_ms, now_ms + WATCH_MS);
    let fields = InfoFields::of(shared, now_us);
    Json::whole(|json| {
        json.number("time_us", now_us);
        json.text("unready", unready.unwrap_or_default());
        json.member("server", |json| server(shared, &fields, json));
        json.member("totals", |json| totals(&fields, json));
        json.list("bounds_us", |json| BOUNDS_US.iter().for_each(|bound| json.number_element(*bound)));
        let all = commands(shared, json);
        json.list("latency", |json| latency(&all, json));
        json.list("workers", |json| workers(shared, json));
        memory(shared, &fields, json);
        json.list("slow", |json| slow(shared, json));
        keys(shared, json);
        json.member("persistence", |json| persistence(shared, &fields, json));
        json.member("replication", |json| replication(shared, &fields, now_ms, json));
        json.member("clients", |json| clients(shared, &fields, now_ms, json));
    })
}

fn server(shared: &Shared, fields: &InfoFields, json: &mut Json) {
    for name in [
        "torc_version",
        "redis_version",
        "os",
        "multiplexing_api",
        "run_id",
        "config_file",
        "maxmemory_policy",
    ] {
        json.text(name, fields.get(name).unwrap_or_default());
    }
    for name in ["process_id", "tcp_port", "uptime_in_seconds", "maxclients", "maxmemory", "loading"] {
        json.number(name, fields.number(name));
    }
    json.number("workers", shared.facts.workers as u64);
    json.number("active_workers", shared.active_workers.load(Relaxed) as u64);
    json.number("shards", shared.keyspace.shard_count() as u64);
    let dbs = &fields.keyspace.dbs;
    json.number("keys", fields.keyspace.keys());
    json.number("expires", dbs.values().map(|db| db.expires).sum::<u64>());
}

fn totals(fields: &InfoFields, json: &mut Json) {
    for name in [
        "total_commands_processed",
        "total_net_input_bytes",
        "total_net_output_bytes",
        "total_connections_received",
        "total_error_replies",
        "keyspace_hits",
        "keyspace_misses",
        "expired_keys",
        "evicted_keys",
    ] {
        json.number(name, fields.number(name));
    }
}

/// Each command that was called; the durations of all of them together.
fn commands(shared: &Shared, json: &mut Json) -> Snapshot {
    let mut all = Snapshot::default();
    json.list("commands", |json| {
        for row in table().rows() {
            let sum = shared.stats.command(row.id);
            if sum.is_empty() {
                continue;
            }
            shared.stats.add_durations(row.id, &mut all);
            json.object(|json| {
                json.text("name", &row.full_name);
                json.number("calls", sum.calls);
                json.number("us", sum.ns / 1000);
                json.number("failed", sum.failed + sum.rejected);
            });
        }
    });
    all
}

fn latency(all: &Snapshot, json: &mut Json) {
    let mut below = 0;
    for at_most in BOUNDS_US.iter().map(|us| all.at_most(us * 1000)).chain([all.count()]) {
        json.number_element(at_most - below);
        below = at_most;
    }
}

fn workers(shared: &Shared, json: &mut Json) {
    let active = shared.active_workers.load(Relaxed);
    for (number, worker) in shared.stats.all().iter().enumerate() {
        let counters = &worker.counters;
        json.object(|json| {
            json.flag("active", number < active);
            json.measure("ran", worker.load_ran.read() as f64 / 1000.0);
            json.measure("waited", worker.load_waited.read() as f64 / 1000.0);
            json.number("connections", worker.connections.read());
            json.number("commands", counters.commands_processed.read());
            json.number("turns", counters.turns.read());
            json.number("parks", counters.parks.read());
            json.number("leases", counters.leases_taken.read());
            json.number("refused", counters.leases_refused.read());
        });
    }
}

fn memory(shared: &Shared, fields: &InfoFields, json: &mut Json) {
    json.member("memory", |json| {
        json.number("used", fields.memory.used);
        json.number("peak", fields.memory.peak);
        json.number("rss", fields.memory.rss);
        json.number("total", fields.number("total_system_memory"));
        json.list("kinds", |json| {
            for (kind, bytes) in memory_by_kind(shared, fields) {
                json.object(|json| {
                    json.text("kind", kind);
                    json.number("bytes", bytes);
                });
            }
        });
    });
}

fn slow(shared: &Shared, json: &mut Json) {
    let len_max = shared.config.load().slowlog_max_len as usize;
    for entry in shared.slowlog.newest(ROWS_MAX, len_max) {
        let mut words = entry.args.join(&b' ');
        words.truncate(SLOW_BYTES_MAX);
        json.object(|json| {
            json.number("id", entry.id);
            json.number("time_s", entry.time_s);
            json.number("us", entry.duration_us);
            json.bytes("words", &words);
            json.text("address", &entry.address);
            json.bytes("name", &entry.name);
        });
    }
}

fn keys(shared: &Shared, json: &mut Json) {
    let report = shared.stats.keys.report(ROWS_MAX);
    json.member("keys", |json| {
        json.number("sampled", report.entries);
        json.list("hot", |json| {
            for (db, key, share) in &report.hot {
                json.object(|json| {
                    json.number("db", db.0);
                    json.bytes("key", key);
                    json.measure("share", *share);
                });
            }
        });
        json.list("big", |json| {
            for big in &report.big {
                json.object(|json| {
                    json.number("db", big.db.0);
                    json.bytes("key", &big.key);
                    json.number("bytes", big.bytes);
                    json.text("type", big.type_name);
                });
            }
        });
    });
}

fn persistence(shared: &Shared, fields: &InfoFields, json: &mut Json) {
    let running = shared.background.running();
    let (done, total) = running.as_ref().map_or((0, 0), |one| (one.keys_done(), one.snapshot.keys_total()));
    json.flag("running", running.is_some());
    json.text("purpose", running.as_ref().map_or("", |one| one.purpose.word()));
    json.number("done", done);
    json.number("total", total);
    for name in [
        "rdb_last_save_time",
        "rdb_changes_since_last_save",
        "aof_enabled",
        "aof_current_size",
        "aof_buffer_length",
        "aof_rewrite_in_progress",
        "last_backup_time",
        "loading_total_bytes",
        "loading_loaded_bytes",
    ] {
        json.number(name, fields.number(name));
    }
    for name in
        ["rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status", "last_backup_status"]
    {
        json.text(name, fields.get(name).unwrap_or_default());
    }
}

fn replication(shared: &Shared, fields: &InfoFields, now_ms: u64, json: &mut Json) {
    json.text("role", if shared.replication.is_replica() { "replica" } else { "primary" });
    json.number("offset", fields.number("master_repl_offset"));
    json.number("backlog", fields.number("repl_backlog_histlen"));
    if let Some(primary) = shared.replication.primary().as_deref() {
        json.member("primary", |json| {
            json.text("host", &primary.host);
            json.number("port", primary.port);
            json.flag("up", shared.replication.link() == LinkState::Connected);
            json.number("offset", fields.number("slave_repl_offset"));
            json.number("sync_total", fields.number("master_sync_total_bytes"));
            json.number("sync_read", fields.number("master_sync_read_bytes"));
        });
    }
    json.list("replicas", |json| {
        for replica in shared.replication.replicas.all().iter() {
            json.object(|json| {
                json.text("ip", replica.ip());
                json.number("port", replica.about.port);
                json.text("state", replica.word().unwrap_or("connecting"));
                json.number("offset", replica.acked());
                json.number("lag_s", replica.lag_s(now_ms));
            });
        }
    });
}

/// The clients that hold most memory.
fn clients(shared: &Shared, fields: &InfoFields, now_ms: u64, json: &mut Json) {
    json.number("count", shared.clients.count());
    json.number("blocked", fields.number("blocked_clients"));
    json.number("pubsub", fields.number("pubsub_clients"));
    let mut largest: Vec<Arc<ClientInfo>> = Vec::new();
    if shared.clients.count() <= CLIENTS_MAX as u64 {
        largest = shared.clients.client_infos();
        // Read once each: they change meanwhile, and no order is to be found among numbers that do.
        largest.sort_by_cached_key(|one| std::cmp::Reverse(one.total_bytes.load(Relaxed)));
        largest.truncate(ROWS_MAX);
    }
    json.list("largest", |json| {
        for client in &largest {
            json.object(|json| client_row(client, now_ms, json));
        }
    });
}

fn client_row(client: &ClientInfo, now_ms: u64, json: &mut Json) {
    json.number("id", client.id);
    json.text("address", &client.address);
    json.bytes("name", client.name.load().as_deref().map_or(&[], Vec::as_slice));
    json.number("worker", client.place().worker);
    json.number("db", client.db.load(Relaxed));
    json.number("age_s", now_ms.saturating_sub(client.created_ms) / 1000);
    json.number("idle_s", now_ms.saturating_sub(client.active_ms.load(Relaxed)) / 1000);
    json.number("bytes", client.total_bytes.load(Relaxed));
    let row = client.last_command.load(Relaxed);
    json.text("command", if row == u16::MAX { "" } else { &table().row(row).full_name });
    let letters = flag::LETTERS.iter().filter(|(bits, _)| client.has(*bits)).map(|(_, letter)| letter);
    json.text("flags", &letters.collect::<String>());
}
