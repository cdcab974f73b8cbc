//! MONITOR. The feed itself is the workers' (`worker/monitor`).

use super::{ADMIN, Args, Command, Context, Outcome, Reply, SERVER};
use crate::command::Effect;

/// MONITOR.
pub const ROW: Command = Command {
    name: "monitor",
    arity: 1,
    flags: ADMIN,
    complexity: "",
    summary: "Listens for all requests received by the server in real-time.",
    handler: monitor,
    ..SERVER
};

fn monitor(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.effects.push(Effect::Monitor(ctx.session.card.place(), true));
    reply.ok();
    Ok(())
}
