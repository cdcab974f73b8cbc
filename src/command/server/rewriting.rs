//! BGREWRITEAOF, and what the append-only file needs of the configuration.
//!
//! Not here: the steps of a rewrite (`persist::append_only`), who takes them (`worker::rewrite`).

use std::path::Path;
use std::sync::Arc;

use super::saving::rdb_options;
use super::{Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{CommandError, Shared};
use crate::config::{AppendFsync, Config};
use crate::persist::aof::{AofError, AofStore, BaseFormat};
use crate::persist::append_only::Stage;
use crate::persist::background::{Order, Outcome as Saved, Purpose, Target};
use crate::persist::command_target::CommandTarget;
use crate::persist::journal::{self, Settings, SyncPolicy};
use crate::persist::rdb::file::save::Options as FileOptions;
use crate::persist::rdb_target::{RdbOptions, RdbTarget};
use crate::store::snapshot::OnFlush;
use crate::store::{AccessClock, Leases};

/// BGREWRITEAOF.
pub const BGREWRITEAOF: Command = Command {
    name: "bgrewriteaof",
    arity: 1,
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING),
    summary: "Writes the append-only file anew and shorter, while clients are served.",
    handler: bgrewriteaof,
    ..SERVER
};

fn bgrewriteaof(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let append_only = &ctx.shared.append_only;
    if append_only.stage() != Stage::None {
        return Err(CommandError::Text("ERR Background append only file rewriting already in progress"));
    }
    let is_scheduled = ctx.shared.background.is_running() || ctx.session.denies_blocking;
    append_only.ask();
    ctx.effects.push(crate::command::Effect::ConfigChanged);
    reply.simple(match is_scheduled {
        true => "Background append only file rewriting scheduled",
        false => "Background append only file rewriting started",
    });
    Ok(())
}

/// What the configuration asks of the journal.
pub fn journal_settings(config: &Config) -> Settings {
    Settings {
        policy: match config.appendfsync {
            AppendFsync::Always => SyncPolicy::Always,
            AppendFsync::Everysec => SyncPolicy::EverySecond,
            AppendFsync::No => SyncPolicy::No,
        },
        limit_bytes: config.journal_limit,
        stamps: config.aof_timestamp_enabled,
        spares_disk: config.no_appendfsync_on_rewrite,
    }
}

/// The files that the configuration names.
///
/// # Errors
/// Their manifest cannot be read.
pub fn aof_store(config: &Config) -> Result<AofStore, AofError> {
    let (dir, name) = (config.appenddirname.as_path(), config.appendfilename.as_path());
    AofStore::open(config.dir.as_path(), dir.as_os_str(), name.as_os_str())
}

/// How a base is written to `path`.
pub fn base_options(
    config: &Config,
    path: &Path,
    used_bytes: u64,
    now_ms: u64,
    access_clock: AccessClock,
) -> RdbOptions {
    let options = rdb_options(config, used_bytes, now_ms, access_clock);
    RdbOptions {
        directory: path.parent().map(Into::into).unwrap_or_default(),
        name: path.file_name().map(Into::into).unwrap_or_default(),
        is_aof_base: true,
        file: FileOptions { incremental_sync: config.aof_rewrite_incremental_fsync, ..options.file },
        ..options
    }
}

/// Cuts a snapshot that becomes the base of the append-only file, if none is under way; effects from here on go to the file that
/// was prepared. All leases are held.
pub fn cut_for_rewrite(
    shared: &Arc<Shared>,
    config: &Config,
    leases: &mut Leases,
    used_bytes: u64,
    now_ms: u64,
    access_clock: AccessClock,
) -> Option<()> {
    let append_only = Arc::clone(&shared.append_only);
    if shared.background.is_running() {
        return None; // The next tick tries again.
    }
    let (file, path) = append_only.take_prepared();
    if append_only.is_wanted() != file.is_some() {
        // It was switched while it was prepared.
        append_only.abandon();
        return None;
    }
    let journal = Arc::clone(&shared.journal);
    let cut = shared.background.cut(leases, now_ms, |_| {
        let libraries = shared.script_state.texts();
        let target: Box<dyn Target> = match config.aof_use_rdb_preamble {
            true => RdbTarget::new(RdbOptions {
                libraries,
                ..base_options(config, &path, used_bytes, now_ms, access_clock)
            }),
            false => {
                CommandTarget::new(path, config.aof_timestamp_enabled.then_some(now_ms / 1000), &libraries)
            }
        };
        let format = if config.aof_use_rdb_preamble { BaseFormat::Rdb } else { BaseFormat::Commands };
        log::info!("Background append only file rewriting started");
        let append_only = Arc::clone(&append_only);
        Order {
            purpose: Purpose::Rewrite,
            target,
            on_flush: OnFlush::GoesOn,
            held_bytes_max: config.snapshot_buffer_limit,
            rate_max: config.snapshot_rate_max,
            on_end: Box::new(move |outcome, took| {
                let ended_ms = now_ms + took.as_millis() as u64;
                match outcome {
                    Saved::Saved => append_only.finish(&journal, format, took.as_secs(), ended_ms),
                    Saved::Failed(reason) => append_only.fail(reason, ended_ms),
                    Saved::Cancelled => append_only.fail("it was given up", ended_ms),
                }
            }),
        }
    });
    if cut.is_none() {
        append_only.abandon();
        append_only.ask();
        return None;
    }
    append_only.note_cut();
    if let Some(file) = file {
        let sink: Box<dyn journal::Sink> = Box::new(file);
        shared.journal.order(journal::Order::Open { sink, after: shared.journal.drawn() });
        shared.journal.record_for_file(true);
    }
    cut
}
