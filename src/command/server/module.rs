//! MODULE: there are none, and clients that ask get that answer.

use super::{Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER, help};

/// MODULE.
pub const ROW: Command = Command {
    name: "module",
    arity: -2,
    since: "4.0.0",
    complexity: "Depends on subcommand.",
    summary: "A container for module commands.",
    subcommands: &[
        Command { handler: show_help, ..HELP },
        Command {
            name: "list",
            arity: 2,
            flags: Flags::ADMIN.with(Flags::NOSCRIPT),
            since: "4.0.0",
            complexity: "O(N) where N is the number of loaded modules.",
            summary: "Returns all loaded modules.",
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

fn show_help(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    help::show(args, reply, &["LIST", "    Return a list of loaded modules."]);
    Ok(())
}
