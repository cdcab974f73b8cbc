//! MEMORY: where memory is, key by key and as a whole. Accounting is the store's; here it is shown.

use super::sample::{self, KeyspaceSample, ProcessMemory};
use super::{ANY_TIME, Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER};
use crate::command::row::{KeyAccess, key_at};
use crate::command::{CommandError, Effect, Scope};
use crate::resp::number::parse_i64;
use crate::store::DbIndex;

/// A bucket's slot for one key in the table: fingerprint, hash and pointer.
const SLOT_BYTES: u64 = 16;
/// Below so much memory in use there is nothing to diagnose.
const DOCTOR_BYTES_MIN: u64 = 5 << 20;
/// Resident bytes for a used one that the doctor mentions, and how many bytes it must be about.
const DOCTOR_FRAGMENTATION: (f64, u64) = (1.4, 10 << 20);
/// Peak bytes for a used one that the doctor mentions.
const DOCTOR_PEAK: f64 = 1.5;
/// Bytes of a client that the doctor finds large.
const DOCTOR_CLIENT_BYTES: u64 = 200 << 10;

/// MEMORY.
pub const ROW: Command = Command {
    name: "memory",
    arity: -2,
    since: "4.0.0",
    complexity: "that of the subcommand",
    summary: "What memory is used for.",
    subcommands: &[
        plain("doctor", "Reports what is unusual about memory, and what to do.", "O(1)", REPORT, doctor),
        Command { since: "4.0.0", flags: ANY_TIME, ..HELP },
        plain("malloc-stats", "Shows the allocator's own figures.", SLOW, REPORT, malloc_stats),
        plain("purge", "Gives free memory back to the system.", SLOW, ACTION, purge),
        plain("stats", "Lists memory by what it is used for.", "O(1)", REPORT, stats),
        Command {
            name: "usage",
            arity: -3,
            flags: Flags::READONLY,
            keys: &[key_at(2, KeyAccess::Look)],
            scope: Scope::Keys,
            since: "4.0.0",
            complexity: "O(N), N elements looked at",
            summary: "Bytes that a key takes with its value.",
            syntax: "key [SAMPLES count]",
            shares: true,
            handler: usage,
            ..SERVER
        },
    ],
    ..SERVER
};

const REPORT: &[&str] = &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"];
const ACTION: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];
const SLOW: &str = "O(N), N pages";

const fn plain(
    name: &'static str,
    summary: &'static str,
    complexity: &'static str,
    tips: &'static [&'static str],
    handler: crate::command::row::Handler,
) -> Command {
    // They read files of /proc, or free memory.
    let scope = Scope::Alone;
    Command { name, arity: 2, since: "4.0.0", scope, complexity, summary, tips, handler, ..SERVER }
}

fn usage(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut index = 3;
    while index < args.len() {
        if !args.is(index, "SAMPLES") || index + 1 >= args.len() {
            return Err(CommandError::Syntax);
        }
        let samples = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
        if samples < 0 {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    match ctx.peek(args, 2) {
        None => reply.null(),
        Some(entry) => reply.integer(entry.bytes_allocated() as i64 + SLOT_BYTES as i64),
    }
    Ok(())
}

fn doctor(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let keyspace = sample::keyspace(ctx);
    let memory = sample::memory(ctx.shared, &keyspace, ctx.now_ms);
    reply.verbatim(*b"txt", report(&memory, ctx.shared.clients.count()).as_bytes());
    Ok(())
}

fn report(memory: &ProcessMemory, clients: u64) -> String {
    if memory.used < DOCTOR_BYTES_MIN {
        return format!(
            "Only {} KiB are in use: too little to say whether memory is well used.\n",
            memory.used >> 10
        );
    }
    let mut issues = String::new();
    let peak = memory.peak as f64 / memory.used as f64;
    if peak > DOCTOR_PEAK {
        issues += &format!(
            "- Peak: {peak:.2} times as much memory as now was in use at some time. What is free by \
             now goes back to the system within seconds; what is partly free, as it is used again.\n\n"
        );
    }
    let slack = memory.rss.saturating_sub(memory.used);
    if memory.fragmentation() > DOCTOR_FRAGMENTATION.0 && slack > DOCTOR_FRAGMENTATION.1 {
        issues += &format!(
            "- Fragmentation: {:.2} bytes are resident for each byte in use. MEMORY PURGE asks the allocator to \
             give memory back.\n\n",
            memory.fragmentation()
        );
    }
    if clients > 0 && memory.clients / clients > DOCTOR_CLIENT_BYTES {
        issues += &format!(
            "- Clients: {} KiB each on average. CLIENT LIST shows which have most (tot-mem); client-output-buffer-limit \
             and client-query-buffer-limit bound them.\n\n",
            (memory.clients / clients) >> 10
        );
    }
    if issues.is_empty() {
        return format!(
            "Nothing unusual: {} KiB in use, {} KiB resident, peak {} KiB.\n",
            memory.used >> 10,
            memory.rss >> 10,
            memory.peak >> 10
        );
    }
    format!("Unusual about the memory of this server:\n\n{issues}")
}

fn malloc_stats(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let pool = crate::store::pool::POOL.usage();
    let text = format!(
        "pool of slab pages and table segments: {} bytes reserved, {} bytes used\nresident: {} bytes\n\
         large values and buffers: mimalloc\n",
        pool.bytes_reserved,
        pool.bytes_used,
        super::info::proc::resident_bytes()
    );
    reply.verbatim(*b"txt", text.as_bytes());
    Ok(())
}

/// What is free goes back by itself within seconds; here it goes at once.
fn purge(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.effects.push(Effect::Purge);
    reply.ok();
    Ok(())
}

fn stats(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let keyspace = sample::keyspace(ctx);
    let memory = sample::memory(ctx.shared, &keyspace, ctx.now_ms);
    let (used, rss) = (memory.used as i64, memory.rss as i64);
    let mut pairs = 0;
    let deferred = reply.defer_map();
    let mut integer = |reply: &mut Reply<'_>, name: &str, value: i64| {
        reply.bulk(name.as_bytes());
        reply.integer(value);
        pairs += 1;
    };
    integer(reply, "peak.allocated", memory.peak as i64);
    integer(reply, "total.allocated", used);
    integer(reply, "startup.allocated", memory.startup as i64);
    let parts = sample::Parts::of(ctx.shared, ctx.config);
    for (name, bytes) in [
        ("replication.backlog", parts.backlog),
        ("replica.fullsync.buffer", parts.full_sync),
        ("clients.slaves", parts.replicas),
        ("clients.normal", memory.clients),
        ("cluster.links", 0),
        ("aof.buffer", parts.append_only),
        ("lua.caches", parts.scripts),
        ("functions.caches", parts.libraries),
        ("script.VMs", parts.interpreters + parts.shared_interpreter),
    ] {
        integer(reply, name, bytes as i64);
    }
    let dbs = db_overheads(&keyspace, reply);
    integer(reply, "overhead.db.hashtable.lut", keyspace.memory.table_bytes as i64);
    integer(reply, "overhead.db.hashtable.rehashing", 0);
    integer(reply, "db.dict.rehashing.count", 0);
    integer(reply, "overhead.total", memory.overhead as i64);
    let keys = keyspace.keys();
    integer(reply, "keys.count", keys as i64);
    let per_key = memory.used.saturating_sub(memory.startup).checked_div(keys).unwrap_or(0);
    integer(reply, "keys.bytes-per-key", per_key as i64);
    integer(reply, "dataset.bytes", memory.dataset() as i64);
    let mut double = |reply: &mut Reply<'_>, name: &str, value: f64| {
        reply.bulk(name.as_bytes());
        reply.double(value);
        pairs += 1;
    };
    double(reply, "dataset.percentage", memory.dataset_percent());
    double(reply, "peak.percentage", memory.peak_percent());
    let active = memory.active as i64;
    let ratio = |part: i64, whole: i64| part as f64 / whole.max(1) as f64;
    let plain: [(&str, i64); 4] = [
        ("allocator.allocated", used),
        ("allocator.active", active),
        ("allocator.resident", rss),
        ("allocator.muzzy", 0),
    ];
    let shares: [(&str, &str, i64, i64); 4] = [
        ("allocator-fragmentation.ratio", "allocator-fragmentation.bytes", active, used),
        ("allocator-rss.ratio", "allocator-rss.bytes", rss, active),
        ("rss-overhead.ratio", "rss-overhead.bytes", rss, rss),
        ("fragmentation", "fragmentation.bytes", rss, used),
    ];
    for (name, value) in plain {
        reply.bulk(name.as_bytes());
        reply.integer(value);
    }
    for (name, bytes_name, part, whole) in shares {
        reply.bulk(name.as_bytes());
        reply.double(ratio(part, whole));
        reply.bulk(bytes_name.as_bytes());
        reply.integer(part - whole);
    }
    reply.finish_map(deferred, pairs + dbs + plain.len() + 2 * shares.len());
    Ok(())
}

/// The share of each database that has keys in the overhead; how many there are.
fn db_overheads(keyspace: &KeyspaceSample, reply: &mut Reply<'_>) -> usize {
    for (DbIndex(number), db) in &keyspace.dbs {
        reply.bulk_fmt(format_args!("db.{number}"));
        reply.map(2);
        reply.bulk(b"overhead.hashtable.main");
        reply.integer((db.slots * SLOT_BYTES) as i64);
        // Deadlines lie in the entries: there is no table of them.
        reply.bulk(b"overhead.hashtable.expires");
        reply.integer(0);
    }
    keyspace.dbs.len()
}
