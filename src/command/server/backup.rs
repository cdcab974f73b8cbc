//! BACKUP: a file of all keys in a directory of its own, verified, while clients are served.
//!
//! Design: the client waits, as in WAIT, and the command runs again every few ms until there is something to reply. It is known by
//! its client and the name, so that whoever was let go on by CLIENT UNBLOCK may ask again, and waits for the same one. The
//! backup goes on without its client.
//!
//! Not here: what is written (`persist::backup`), when it is cut (`worker::walk`).

use std::path::Path;
use std::sync::Arc;

use super::saving::{rdb_options, stream_note};
use super::{Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{Blocking, CommandError, OnTimeout, Scope, Shared};
use crate::config::{Config, TORC_VERSION};
use crate::observe::flag;
use crate::persist::background::{Order, Purpose};
use crate::persist::backup::{BackupTarget, Look, Name, Report};
use crate::persist::rdb_target::RdbOptions;
use crate::store::snapshot::OnFlush;
use crate::store::{AccessClock, Leases};

/// BACKUP.
pub const ROW: Command = Command {
    name: "backup",
    arity: 2,
    flags: Flags::ADMIN
        .with(Flags::NOSCRIPT)
        .with(Flags::BLOCKING)
        .with(Flags::NO_MULTI)
        .with(Flags::NO_ASYNC_LOADING),
    // It looks whether there is a backup of that name.
    scope: Scope::Alone,
    since: TORC_VERSION,
    complexity: "O(N), N keys of all databases; not for who is served meanwhile",
    summary: "Saves all databases to a directory of this name below 'backups', verifies the file, and replies its checksum.",
    syntax: "name",
    handler: backup,
    ..SERVER
};

/// Time between two looks whether it is done, in ms.
const LOOK_MS: u64 = 10;

const BAD_NAME: CommandError = CommandError::Text(
    "ERR a backup's name has up to 128 letters, digits, '-', '_' and '.', and begins with neither '.' nor 'temp-'",
);

fn backup(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let name = Name::parse(args.at(1)).ok_or(BAD_NAME)?;
    let (backups, client) = (&ctx.shared.backups, ctx.session.client_info.id);
    match backups.look(client, &name) {
        Look::Pending => {}
        Look::Over(Ok(report)) => {
            reply_report(&report, reply);
            return Ok(());
        }
        Look::Over(Err(reason)) => return refuse(reply, format_args!("ERR Backup failed: {reason}")),
        Look::Unknown => {
            if !ctx.may_block() {
                return Err(CommandError::Text("ERR BACKUP needs a client that can wait"));
            }
            let place = name.place(ctx.config.dir.as_path());
            if is_taken(&place) {
                return refuse(reply, format_args!("ERR {} is there already", place.display()));
            }
            let clients = &ctx.shared.clients;
            let is_waiting = |id| {
                let mut waits = false;
                clients.each(|info| waits |= info.id == id && info.has(flag::BLOCKED));
                waits
            };
            if let Err(other) = backups.want(client, &name, ctx.now_ms, is_waiting) {
                return refuse(reply, format_args!("ERR Backup '{other}' is in progress"));
            }
            ctx.effects.push(crate::command::Effect::ConfigChanged);
        }
    }
    ctx.block(Blocking::without_keys(0, ctx.now_ms + LOOK_MS, OnTimeout::NullArray))
}

/// Whether something of that name is there, whatever it is.
fn is_taken(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

fn refuse(reply: &mut Reply<'_>, text: std::fmt::Arguments<'_>) -> Outcome {
    reply.error_fmt(text);
    Err(CommandError::Replied)
}

fn reply_report(report: &Report, reply: &mut Reply<'_>) {
    reply.map(4);
    reply.bulk(b"path");
    reply.bulk_fmt(format_args!("{}", report.path.display()));
    reply.bulk(b"keys");
    reply.integer(report.keys as i64);
    reply.bulk(b"bytes");
    reply.integer(report.bytes as i64);
    reply.bulk(b"sha256");
    reply.bulk(report.sha256.as_bytes());
}

/// Cuts a snapshot that becomes the backup which a client waits for, if none is under way. All leases are held.
pub fn cut_for_backup(
    shared: &Shared,
    config: &Config,
    leases: &mut Leases,
    used_bytes: u64,
    now_ms: u64,
    access_clock: AccessClock,
) -> Option<()> {
    let name = shared.backups.wanted()?;
    shared.background.cut(leases, now_ms, |_| {
        let backups = Arc::clone(&shared.backups);
        backups.begin();
        let options = RdbOptions {
            stream: stream_note(shared),
            ..rdb_options(config, used_bytes, now_ms, access_clock)
        };
        let (target, report) = BackupTarget::new(options, name.clone(), config.snapshot_rate_max);
        log::info!("Backup '{name}' started");
        Order {
            purpose: Purpose::Backup,
            target,
            // Somebody may be about to want back what is flushed now.
            on_flush: OnFlush::GoesOn,
            held_bytes_max: config.snapshot_buffer_limit,
            rate_max: config.snapshot_rate_max,
            on_end: Box::new(move |outcome, took| {
                backups.end(&name, outcome, report.get().cloned(), now_ms + took.as_millis() as u64);
            }),
        }
    })
}
