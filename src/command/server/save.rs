//! SAVE, and what else saves or loads in the middle of a command: SHUTDOWN, FLUSHALL, DEBUG RELOAD.
//!
//! Design: the caller has all leases, so that the file shows one instant, and everybody waits: that is what these commands are
//! in Redis. They are the one place that writes to a disk under leases.
//!
//! Not here: the file (`persist`), saving in background and LASTSAVE (`saving`).

use super::saving::rdb_options;
use super::{Args, Command, Context, Flags, Outcome, Reply, SERVER, server_bytes};
use crate::command::{CommandError, Scope, Shared, last_place, limits};
use crate::config::Config;
use crate::observe::MemorySample;
use crate::persist::load::{self, insert};
use crate::persist::rdb::file::FileError;
use crate::persist::rdb::file::split::Findings;
use crate::persist::rdb_target::RdbOptions;
use crate::persist::save::write_all;
use crate::script::Policy;
use crate::store::{AccessClock, Leases};

/// SAVE.
pub const SAVE: Command = Command {
    name: "save",
    arity: 1,
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI),
    scope: Scope::All,
    complexity: "O(N), N keys of all databases",
    summary: "Writes all data to a file, while nobody else is served.",
    handler: save,
    ..SERVER
};

fn save(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.shared.background.is_running() {
        return Err(CommandError::Text("ERR Background save already in progress"));
    }
    if !save_now(ctx.shared, ctx.config, ctx.leases, ctx.now_ms) {
        // Redis says no more; the reason is in the log.
        return Err(CommandError::Text("ERR"));
    }
    ctx.shared.last_save.count_one();
    reply.ok();
    Ok(())
}

/// Changes since the start; all leases are held.
pub fn changes(leases: &Leases) -> u64 {
    leases.keyspace().shards().map(|shard| leases.shard_ref(shard).dirty()).sum()
}

/// Saves all data; whether it did, or the log says why not. All leases are held. A snapshot under way is given up: its file would
/// take the place of this one.
pub fn save_now(shared: &Shared, config: &Config, leases: &Leases, now_ms: u64) -> bool {
    shared.background.give_up();
    let used = |shard| MemorySample::of(leases.shard_ref(shard)).used_bytes;
    let grown: u64 = leases.keyspace().shards().map(used).sum();
    let clock = AccessClock::new(now_ms, false);
    let options = rdb_options(config, server_bytes(shared) + grown, now_ms, clock);
    let options =
        RdbOptions { stream: last_place(shared), libraries: shared.script_state.texts(), ..options };
    let stats = shared.stats.of(leases.worker());
    match write_all(leases, options, || stats.note_alive()) {
        Ok(()) => {
            log::info!("DB saved on disk");
            shared.last_save.note_saved(now_ms / 1000, changes(leases));
            true
        }
        Err(error) => {
            log::warn!("{error}");
            false
        }
    }
}

/// DEBUG RELOAD: saves, empties and loads, as far as the options want it. All leases are held.
pub fn reload(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const OPTIONS: [&str; 3] = ["MERGE", "NOFLUSH", "NOSAVE"];
    if !(2..args.len()).all(|index| OPTIONS.iter().any(|word| args.is(index, word))) {
        return Err(CommandError::Text(
            "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
        ));
    }
    let has = |word| (2..args.len()).any(|index| args.is(index, word));
    if !has("NOSAVE") && !save_now(ctx.shared, ctx.config, ctx.leases, ctx.now_ms) {
        return Err(CommandError::Text("ERR"));
    }
    ctx.shared.background.give_up();
    if !has("NOFLUSH") {
        ctx.each_shard(|shard| {
            shard.flush_all();
        });
        ctx.shared.script_state.flush();
    }
    let loaded = load_now(ctx, has("MERGE"));
    ctx.shared.loading.end();
    ctx.shared.last_save.note_loaded(changes(ctx.leases));
    if let Err(error) = loaded {
        log::warn!("{}: {error}", ctx.config.dbfilename.as_path().display());
        return Err(CommandError::Text("ERR Error trying to load the RDB dump, check server logs."));
    }
    log::warn!("DB reloaded by DEBUG RELOAD");
    reply.ok();
    Ok(())
}

/// The libraries of functions that a file had join those there are.
///
/// # Errors
/// One of them cannot be run, or has the name of another.
pub fn load_libraries(shared: &Shared, findings: &Findings, policy: Policy) -> Result<(), FileError> {
    if findings.libraries.is_empty() {
        return Ok(());
    }
    let restored = shared.script_state.restore(&findings.libraries, policy);
    restored.map_err(|why| FileError { offset: 0, reason: format!("a library of functions: {why}") })
}

fn load_now(ctx: &mut Context<'_>, merges: bool) -> Result<(), FileError> {
    let path = ctx.config.dir.as_path().join(ctx.config.dbfilename.as_path());
    let opened = load::open(&path, ctx.shared.keyspace.databases(), ctx.config.rdbchecksum)?;
    let missing = || FileError { offset: 0, reason: "is not there".to_owned() };
    let (mut splitter, size) = opened.ok_or_else(missing)?;
    let loading = &ctx.shared.loading;
    loading.begin(size, ctx.now_ms);
    let limits = limits(ctx.config);
    let (now_ms, access_clock) = (ctx.now_ms, ctx.access_clock);
    let policy = insert::Policy { now_ms, access_clock, limits: &limits, merges };
    let mut spare = Vec::new();
    while let Some(piece) = splitter.next_piece(spare)? {
        // All leases are held before and after: nobody waits for what was given back.
        let (counts, _nobody) = insert::piece(&piece, ctx.leases, policy);
        loading.count(counts?);
        ctx.stats.note_alive();
        spare = piece.bytes;
    }
    load_libraries(ctx.shared, &splitter.findings, if merges { Policy::Replace } else { Policy::Append })?;
    loading.tell_notes(&splitter.findings);
    load::tell_findings(&splitter.findings, loading.keys());
    Ok(())
}
