//! TIME.

use super::{ANY_TIME, Args, Command, Context, Flags, Outcome, Reply, SERVER};

/// TIME.
pub const ROW: Command = Command {
    name: "time",
    arity: 1,
    flags: ANY_TIME.with(Flags::FAST),
    since: "2.6.0",
    summary: "The server's clock: Unix time in seconds, and microseconds.",
    tips: &["nondeterministic_output"],
    handler: time,
    ..SERVER
};

/// The time of the turn: it is read once, by the clock.
fn time(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(2);
    reply.bulk_integer((ctx.now_us / 1_000_000) as i64);
    reply.bulk_integer((ctx.now_us % 1_000_000) as i64);
    Ok(())
}
