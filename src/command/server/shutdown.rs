//! SHUTDOWN. A success has no reply: the connection closes with the server, and nothing that the client sent behind it runs.
//!
//! Where there are replicas it waits until they have all that was written (`worker::ending`), unless it is to be NOW: until then
//! ABORT takes it back. Without replicas the end has come for all workers once it was asked for.

use super::{ADMIN, Args, Command, Context, Flags, Outcome, Reply, SERVER, save_now};
use crate::command::{Ask, Blocking, CommandError, Effect, Holder, OnTimeout, Scope, note_place};

/// SHUTDOWN.
pub const ROW: Command = Command {
    name: "shutdown",
    arity: -1,
    flags: ADMIN.with(Flags::NO_MULTI).with(Flags::SENTINEL).with(Flags::ALLOW_BUSY),
    // What it saves is one instant, after which nobody's commands run any more.
    scope: Scope::All,
    complexity: "O(N), N keys to save; else O(1)",
    summary: "Ends the server, after saving where that is configured.",
    syntax: "save-selector:[NOSAVE | SAVE] [NOW@7.0.0] [FORCE@7.0.0] [ABORT@7.0.0]",
    handler: shutdown,
    ..SERVER
};

#[derive(Default)]
struct Options {
    save: bool,
    no_save: bool,
    now: bool,
    force: bool,
    abort: bool,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let mut options = Options::default();
    for index in 1..args.len() {
        let chosen = match () {
            () if args.is(index, "SAVE") => &mut options.save,
            () if args.is(index, "NOSAVE") => &mut options.no_save,
            () if args.is(index, "NOW") => &mut options.now,
            () if args.is(index, "FORCE") => &mut options.force,
            () if args.is(index, "ABORT") => &mut options.abort,
            () => return Err(CommandError::Syntax),
        };
        *chosen = true;
    }
    let others = options.save || options.no_save || options.now || options.force;
    if (options.abort && others) || (options.save && options.no_save) {
        return Err(CommandError::Syntax);
    }
    Ok(options)
}

fn shutdown(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = options(args)?;
    let asked = ctx.shared.shutdown.asked();
    if options.abort {
        if asked.is_none() {
            return Err(CommandError::Text("ERR No shutdown in progress."));
        }
        log::warn!("The shutdown was taken back");
        ctx.shared.shutdown.withdraw();
        ctx.shared.pause.release(Holder::End);
        ctx.effects.push(Effect::Resume);
        reply.ok();
        return Ok(());
    }
    if let OnTimeout::End(ask) = ctx.session.waited_for {
        // It has waited for replicas, and either goes on to, or was taken back.
        return match asked.is_some() && ctx.shared.shutdown.asks() == ask {
            true => wait(ctx, ask),
            false => Err(CommandError::Text("ERR Errors trying to SHUTDOWN. Check logs.")),
        };
    }
    log::warn!("User requested shutdown...");
    let wants = options.save || (!options.no_save && !ctx.config.save.0.is_empty());
    let has_replicas = !ctx.shared.replication.is_replica() && ctx.shared.replication.replicas.count() > 0;
    if has_replicas && !options.now && ctx.config.shutdown_timeout > 0 && ctx.may_block() {
        ctx.shared.shutdown.ask(match (wants, options.force) {
            (false, _) => Ask::Command,
            (true, false) => Ask::CommandSaves,
            (true, true) => Ask::CommandTriesToSave,
        });
        ctx.effects.push(Effect::Shutdown);
        return wait(ctx, ctx.shared.shutdown.asks());
    }
    if wants && !ctx.shared.loading.is_on() {
        log::warn!("Saving the final RDB snapshot before exiting.");
        if !save_now(ctx.shared, ctx.config, ctx.leases, ctx.now_ms) && !options.force {
            log::warn!("Error trying to save the DB, can't exit.");
            return Err(CommandError::Text("ERR Errors trying to SHUTDOWN. Check logs."));
        }
    }
    note_place(ctx.shared);
    ctx.shared.shutdown.request();
    ctx.session.close_after_reply();
    ctx.effects.push(Effect::Shutdown);
    Ok(())
}

/// Waits for the end, which this time of asking for it has begun.
fn wait(ctx: &mut Context<'_>, ask: u64) -> Outcome {
    /// Time between two looks whether it was taken back, ms.
    const LOOK_MS: u64 = 10;
    ctx.block(Blocking::without_keys(0, ctx.now_ms + LOOK_MS, OnTimeout::End(ask)))
}
