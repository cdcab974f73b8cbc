//! SHUTDOWN. A success has no reply: the connection closes with the server, and nothing that the client sent behind it runs.
//!
//! Redis can abort a shutdown while it waits for replicas to catch up. Without replicas there is nothing to wait for: once asked
//! for, the end has come for all workers, and ABORT never finds one in progress. NOW and FORCE likewise change nothing
//! but whether a failure to save counts.

use super::{ADMIN, Args, Command, Context, Flags, Outcome, Reply, SERVER, save_now};
use crate::command::{CommandError, Effect, Scope};

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

fn shutdown(ctx: &mut Context<'_>, args: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    let options = options(args)?;
    if options.abort {
        return Err(CommandError::Text("ERR No shutdown in progress."));
    }
    log::warn!("User requested shutdown...");
    let wants = options.save || (!options.no_save && !ctx.config.save.0.is_empty());
    if wants && !ctx.shared.loading.is_on() {
        log::warn!("Saving the final RDB snapshot before exiting.");
        if !save_now(ctx.shared, ctx.config, ctx.leases, ctx.now_ms) && !options.force {
            log::warn!("Error trying to save the DB, can't exit.");
            return Err(CommandError::Text("ERR Errors trying to SHUTDOWN. Check logs."));
        }
    }
    ctx.shared.shutdown.request();
    ctx.session.close_after_reply();
    ctx.effects.push(Effect::Shutdown);
    Ok(())
}
