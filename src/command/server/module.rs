//! MODULE: there are none, and clients that ask get that answer.

use super::{Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER};

/// MODULE.
pub const ROW: Command = Command {
    name: "module",
    arity: -2,
    since: "4.0.0",
    complexity: "that of the subcommand",
    summary: "Modules of the server.",
    subcommands: &[
        Command { ..HELP },
        Command {
            name: "list",
            arity: 2,
            flags: Flags::ADMIN.with(Flags::NOSCRIPT),
            since: "4.0.0",
            complexity: "O(N), N modules",
            summary: "Lists the loaded modules.",
            tips: &["nondeterministic_output_order"],
            handler: list,
            ..SERVER
        },
    ],
    ..SERVER
};

fn list(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(0);
    Ok(())
}
