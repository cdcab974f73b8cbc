//! MODULE: there are none. Clients that ask get that answer; who may try to load one is told that it cannot be done.

use super::{Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER, is_allowed};
use crate::command::CommandError;

const NOT_ALLOWED: CommandError = CommandError::Text(
    "ERR MODULE command not allowed. If the enable-module-command option is set to \"local\", you can run it from a local \
     connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);

const CHANGE: Command = Command {
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING),
    since: "4.0.0",
    complexity: "O(1)",
    ..SERVER
};

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
        Command {
            name: "load",
            arity: -3,
            summary: "Would load a module; Torc has none.",
            syntax: "path [arg...]",
            handler: load,
            ..CHANGE
        },
        Command {
            name: "loadex",
            arity: -3,
            since: "7.0.0",
            summary: "Would load a module with settings of its own; Torc has none.",
            syntax: "path [CONFIG configs:<name value>]... [ARGS args...]",
            handler: load,
            ..CHANGE
        },
        Command {
            name: "unload",
            arity: 3,
            summary: "Would take a module out; Torc has none.",
            syntax: "name",
            handler: unload,
            ..CHANGE
        },
    ],
    ..SERVER
};

fn list(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(0);
    Ok(())
}

fn load(ctx: &mut Context<'_>, args: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    if !is_allowed(ctx.config.enable_module_command, ctx.session) {
        return Err(NOT_ALLOWED);
    }
    log::warn!("Module {} failed to load: Torc has no modules", String::from_utf8_lossy(args.at(2)));
    Err(CommandError::Text("ERR Error loading the extension. Please check the server logs."))
}

fn unload(ctx: &mut Context<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    if !is_allowed(ctx.config.enable_module_command, ctx.session) {
        return Err(NOT_ALLOWED);
    }
    Err(CommandError::Text("ERR Error unloading module: no such module with that name"))
}
