//! MONITOR. The feed itself is the workers' (`worker/monitor`).

use std::sync::atomic::Ordering::Relaxed;

use super::{ADMIN, Args, Command, Context, Outcome, Reply, SERVER};
use crate::command::{CommandError, Effect, Scope};

/// MONITOR.
pub const ROW: Command = Command {
    name: "monitor",
    arity: 1,
    flags: ADMIN,
    scope: Scope::Alone,
    changes_others: true,
    complexity: "",
    summary: "Shows every command as it is run, until the connection ends.",
    handler: monitor,
    ..SERVER
};

fn monitor(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.denies_blocking {
        return Err(CommandError::Text("ERR MONITOR isn't allowed for DENY BLOCKING client"));
    }
    // Redis says nothing to a client that receives the feed already.
    if ctx.session.monitor {
        return Ok(());
    }
    ctx.session.monitor();
    // Commands that follow in the same pipeline are shown already.
    ctx.shared.monitoring.fetch_or(1 << ctx.worker, Relaxed);
    ctx.effects.push(Effect::Monitor(ctx.session.client_info.place(), true));
    reply.ok();
    Ok(())
}
