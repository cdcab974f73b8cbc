//! SCRIPT: the scripts that are known.

use super::super::help;
use super::{Args, Command, CommandError, Context, Flags, Outcome, Reply, SCRIPTING};
use crate::command::Categories;
use crate::script::parse_sha;

/// SCRIPT.
pub const ROW: Command = Command {
    name: "script",
    arity: -2,
    complexity: "that of the subcommand",
    summary: "The scripts that the server knows.",
    subcommands: SUBCOMMANDS,
    ..SCRIPTING
};

const SUBCOMMAND: Command =
    Command { flags: Flags::NOSCRIPT, categories: Categories::SCRIPTING, ..SCRIPTING };
const KILL_TIPS: &[&str] = &["request_policy:all_shards", "response_policy:one_succeeded"];

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "debug",
        arity: 3,
        since: "3.2.0",
        summary: "There is no debugger: refused, but for NO.",
        syntax: "mode:<YES | SYNC | NO>",
        handler: debug,
        ..SUBCOMMAND
    },
    Command {
        name: "exists",
        arity: -3,
        complexity: "O(N), N scripts",
        summary: "Says of scripts whether they are known.",
        syntax: "sha1...",
        tips: &["request_policy:all_shards", "response_policy:agg_logical_and"],
        handler: exists,
        ..SUBCOMMAND
    },
    Command {
        name: "flush",
        arity: -2,
        complexity: "O(N), N scripts",
        summary: "Forgets all scripts.",
        syntax: "flush-type:[ASYNC | SYNC]@6.2.0",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: flush,
        ..SUBCOMMAND
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        since: "5.0.0",
        summary: "Lists the subcommands.",
        handler: help::show,
        ..SUBCOMMAND
    },
    Command {
        name: "kill",
        arity: 2,
        flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
        summary: "Ends a script that runs for too long and has written nothing.",
        tips: KILL_TIPS,
        handler: kill,
        ..SUBCOMMAND
    },
    Command {
        name: "load",
        arity: 3,
        flags: Flags::NOSCRIPT.with(Flags::STALE),
        complexity: "O(N), N the script's length",
        summary: "Makes a script known without running it.",
        syntax: "script",
        tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
        handler: load,
        ..SUBCOMMAND
    },
];

fn debug(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.is(2, "NO") {
        reply.ok();
        return Ok(());
    }
    if args.is(2, "YES") || args.is(2, "SYNC") {
        return Err(CommandError::Text("ERR there is no script debugger here"));
    }
    Err(CommandError::Text("ERR Use SCRIPT DEBUG YES/SYNC/NO"))
}

fn exists(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(args.len() - 2);
    for sha in args.from(2) {
        let is_known = parse_sha(sha).is_some_and(|sha| ctx.shared.scripts.find(&sha).is_some());
        reply.integer(is_known.into());
    }
    Ok(())
}

fn flush(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let is_mode = args.len() == 2 || args.len() == 3 && (args.is(2, "ASYNC") || args.is(2, "SYNC"));
    if !is_mode {
        return Err(CommandError::Text("ERR SCRIPT FLUSH only support SYNC|ASYNC option"));
    }
    let scripts = &ctx.shared.scripts;
    scripts.flush();
    if let Some(engine) = &mut ctx.scripting.engine {
        engine.forget_all(scripts);
    }
    reply.ok();
    Ok(())
}

fn kill(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.shared.busy.kill(false)?;
    reply.ok();
    Ok(())
}

fn load(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let scripts = &ctx.shared.scripts;
    match ctx.engine()?.compile_new(args.at(2), scripts, true) {
        Ok(compiled) => {
            reply.bulk(compiled.code.name().as_bytes());
            Ok(())
        }
        Err(why) => {
            reply.error(&why);
            Err(CommandError::Replied)
        }
    }
}
