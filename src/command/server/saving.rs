//! BGSAVE, LASTSAVE, and what saving in background needs of the configuration.
//!
//! Design: the command holds all leases, and what the file will show is the instant at which it runs; the rest happens beside
//! what comes after. Within a transaction it only asks for a snapshot as soon as one can be made, as in Redis: none shows half of
//! a transaction.
//!
//! Not here: the snapshot's thread (`persist::background`), when save points are looked at (`worker::walk`).

use std::sync::Arc;

use super::{ANY_TIME, Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{Categories, CommandError, Effect, Scope, Shared};
use crate::config::{Config, MaxmemoryPolicy, REDIS_VERSION};
use crate::persist::background::{Order, Outcome as Saved, Purpose};
use crate::persist::rdb::VERSION_MAX;
use crate::persist::rdb::file::save::Options;
use crate::persist::rdb::file::write::StreamNote;
use crate::persist::rdb_target::{RdbOptions, RdbTarget, UseSaved};
use crate::store::snapshot::OnFlush;
use crate::store::{AccessClock, Leases};

const IN_PROGRESS: &str = "ERR Background save already in progress";
const OTHERS_IN_PROGRESS: &str = "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.";

/// After a failure, ms until save points are looked at again: as in Redis.
const RETRY_MS: u64 = 5000;

/// LASTSAVE.
pub const LASTSAVE: Command = Command {
    name: "lastsave",
    arity: 1,
    flags: ANY_TIME.with(Flags::FAST),
    summary: "When data was last saved, as Unix time in seconds.",
    categories: Categories::ADMIN.with(Categories::DANGEROUS),
    tips: &["nondeterministic_output"],
    handler: last_save,
    ..SERVER
};

/// BGSAVE.
pub const BGSAVE: Command = Command {
    name: "bgsave",
    arity: -1,
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING),
    scope: Scope::All,
    summary: "Saves all databases to disk, while clients are served.",
    syntax: "[SCHEDULE@3.2.2]",
    handler: bgsave,
    ..SERVER
};

fn last_save(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(ctx.shared.last_save.saved_s() as i64);
    Ok(())
}

/// BGSAVE CANCEL, as Valkey has it: the save under way, or the one that was asked for.
fn cancel(ctx: &mut Context<'_>, reply: &mut Reply<'_>) -> Outcome {
    let running = ctx.shared.background.running().filter(|running| running.purpose == Purpose::Save);
    if let Some(running) = running {
        running.cancel();
        reply.simple("Background saving cancelled");
    } else if ctx.shared.last_save.is_wanted() {
        ctx.shared.last_save.want(false);
        reply.simple("Scheduled background saving cancelled");
    } else {
        return Err(CommandError::Text("ERR Background saving is currently not in progress or scheduled"));
    }
    Ok(())
}

fn bgsave(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() == 2 && args.is(1, "CANCEL") {
        return cancel(ctx, reply);
    }
    if args.len() > 2 || args.len() == 2 && !args.is(1, "SCHEDULE") {
        return Err(CommandError::Syntax);
    }
    let running = ctx.shared.background.running().map(|running| running.purpose);
    if running == Some(Purpose::Save) {
        return Err(CommandError::Text(IN_PROGRESS));
    }
    if ctx.session.denies_blocking || running.is_some() && args.len() == 2 {
        ctx.shared.last_save.want(true);
        reply.simple("Background saving scheduled");
        return Ok(());
    }
    if running.is_some() {
        return Err(CommandError::Text(OTHERS_IN_PROGRESS));
    }
    let used_bytes = ctx.shared.stats.gauges.used_bytes(ctx.stats);
    cut_for_save(ctx.shared, ctx.config, ctx.leases, used_bytes, ctx.now_ms, ctx.access_clock)
        .ok_or(CommandError::Text(IN_PROGRESS))?;
    ctx.effects.push(Effect::Snapshot);
    reply.simple("Background saving started");
    Ok(())
}

/// Whether a snapshot is to be made without a command: somebody has asked for one, or a save point.
pub fn save_is_due(shared: &Shared, config: &Config, now_ms: u64) -> bool {
    let last = &shared.last_save;
    if shared.background.is_running() {
        return false;
    }
    if last.is_wanted() {
        return true;
    }
    let since_s = (now_ms / 1000).saturating_sub(last.saved_s());
    let passed = |seconds: u32| since_s > u64::from(seconds);
    if !config.save.0.iter().any(|point| passed(point.seconds))
        || last.has_failed() && now_ms < last.tried_ms() + RETRY_MS
    {
        return false;
    }
    let gauges = &shared.stats.gauges;
    let changes = last.changes_since(shared.keyspace.shards().map(|id| gauges.dirty(id)).sum());
    let mut points = config.save.0.iter();
    points.any(|point| passed(point.seconds) && changes >= u64::from(point.changes))
}

/// Cuts a snapshot that becomes the file which the configuration names, if none is under way. All leases are held.
pub fn cut_for_save(
    shared: &Shared,
    config: &Config,
    leases: &mut Leases,
    used_bytes: u64,
    now_ms: u64,
    access_clock: AccessClock,
) -> Option<()> {
    let last = &shared.last_save;
    shared.background.cut(leases, now_ms, |changes| {
        last.note_begin(now_ms);
        log::info!("Background saving started");
        let last = Arc::clone(last);
        Order {
            purpose: Purpose::Save,
            target: RdbTarget::new(RdbOptions {
                stream: stream_note(shared),
                libraries: shared.script_state.texts(),
                ..rdb_options(config, used_bytes, now_ms, access_clock)
            }),
            on_flush: OnFlush::Ends,
            held_bytes_max: config.snapshot_buffer_limit,
            rate_max: config.snapshot_rate_max,
            on_end: Box::new(move |outcome, took| {
                let took_s = took.as_secs();
                match outcome {
                    Saved::Saved => {
                        last.note_saved((now_ms + took.as_millis() as u64) / 1000, changes);
                        log::info!("Background saving terminated with success");
                    }
                    Saved::Failed(reason) => log::warn!("Background saving error: {reason}"),
                    Saved::Cancelled => log::warn!("Background saving was given up"),
                }
                last.note_end(outcome, took_s as i64);
            }),
        }
    })
}

/// Where in its primary's history a replica is, so that a restart goes on from there. All leases are held.
pub fn stream_note(shared: &Shared) -> Option<StreamNote> {
    let (replication, link) = (&shared.replication, &shared.link);
    (replication.is_replica() && !link.is_torn()).then(|| StreamNote {
        id: replication.history().id.as_str().to_owned(),
        offset: replication.offset(),
        db: link.db(),
    })
}

/// How the file is written that the configuration names.
pub fn rdb_options(config: &Config, used_bytes: u64, now_ms: u64, access_clock: AccessClock) -> RdbOptions {
    RdbOptions {
        directory: config.dir.as_path().to_path_buf(),
        name: config.dbfilename.as_path().to_path_buf(),
        compress: config.rdbcompression,
        file: Options { checksum: config.rdbchecksum, incremental_sync: config.rdb_save_incremental_fsync },
        use_saved: use_saved(config),
        now_ms,
        access_clock,
        redis_version: REDIS_VERSION,
        used_bytes,
        stream: None,
        is_aof_base: false,
        version: VERSION_MAX,
        without_keys: false,
        libraries: Vec::new(),
        key_delay: config.rdb_key_save_delay,
    }
}

/// What of access clocks is saved: what the policy for eviction needs.
fn use_saved(config: &Config) -> UseSaved {
    match config.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLru | MaxmemoryPolicy::VolatileLru => UseSaved::Idle,
        MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
            UseSaved::Frequency(config.lfu_decay_time)
        }
        _ => UseSaved::None,
    }
}
