//! FUNCTION: libraries of functions.
//!
//! Design: what changes them holds all leases, so it is one of the effects in the journal's order, and when it is answered no function
//! is under way that is of before. A library is run in an interpreter of its own; so all that is wrong with it shows before
//! anything changes.
//!
//! Not here: FCALL (`super`), libraries (`crate::script`).

use super::super::help;
use super::{Args, Command, CommandError, Context, Flags, Outcome, Reply, SCRIPTING, Scope};
use crate::command::Categories;
use crate::glob::{self, Case};
use crate::persist::rdb;
use crate::script::{Library, Policy};

/// FUNCTION.
pub const ROW: Command = Command {
    name: "function",
    arity: -2,
    since: "7.0.0",
    complexity: "that of the subcommand",
    summary: "Libraries of functions.",
    subcommands: SUBCOMMANDS,
    ..SCRIPTING
};

const SUBCOMMAND: Command =
    Command { flags: Flags::NOSCRIPT, categories: Categories::SCRIPTING, since: "7.0.0", ..SCRIPTING };
const CHANGE: Command = Command {
    flags: Flags::NOSCRIPT.with(Flags::WRITE),
    scope: Scope::All,
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    ..SUBCOMMAND
};

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "delete",
        arity: 3,
        summary: "Removes a library with its functions.",
        syntax: "library-name",
        handler: delete,
        ..CHANGE
    },
    Command {
        name: "dump",
        arity: 2,
        complexity: "O(N), N the length of all libraries",
        summary: "All libraries in one payload.",
        handler: dump,
        ..SUBCOMMAND
    },
    Command {
        name: "flush",
        arity: -2,
        complexity: "O(N), N functions",
        summary: "Removes all libraries.",
        syntax: "flush-type:[ASYNC | SYNC]",
        handler: flush,
        ..CHANGE
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        summary: "Lists the subcommands.",
        handler: help::show,
        ..SUBCOMMAND
    },
    Command {
        name: "kill",
        arity: 2,
        flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
        summary: "Ends a function that runs for too long and has written nothing.",
        tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
        handler: kill,
        ..SUBCOMMAND
    },
    Command {
        name: "list",
        arity: -2,
        complexity: "O(N), N functions",
        summary: "Describes all libraries, or those whose names match.",
        syntax: "[LIBRARYNAME library-name-pattern] [WITHCODE]",
        tips: &["nondeterministic_output_order"],
        handler: list,
        ..SUBCOMMAND
    },
    Command {
        name: "load",
        arity: -3,
        flags: Flags::NOSCRIPT.with(Flags::WRITE).with(Flags::DENYOOM),
        complexity: "that of the library's own code",
        summary: "Adds a library, or replaces one.",
        syntax: "[REPLACE] function-code",
        handler: load,
        ..CHANGE
    },
    Command {
        name: "restore",
        arity: -3,
        flags: Flags::NOSCRIPT.with(Flags::WRITE).with(Flags::DENYOOM),
        complexity: "O(N), N functions in the payload",
        summary: "Adds the libraries of a payload.",
        syntax: "serialized-value policy:[FLUSH | APPEND | REPLACE]",
        handler: restore,
        ..CHANGE
    },
    Command {
        name: "stats",
        arity: 2,
        flags: Flags::NOSCRIPT.with(Flags::ALLOW_BUSY),
        summary: "The function that runs for too long, if any, and how many there are.",
        tips: &["nondeterministic_output", "request_policy:all_shards", "response_policy:special"],
        handler: stats,
        ..SUBCOMMAND
    },
];

/// An error of libraries.
fn failed(why: &str, reply: &mut Reply<'_>) -> Outcome {
    reply.error(&format!("ERR {why}"));
    Err(CommandError::Replied)
}

/// The libraries are others now: it counts as one change, and is repeated as it came.
fn note_change(ctx: &mut Context<'_>, args: &Args<'_>) {
    if let Some(any) = ctx.shared.keyspace.shards().next() {
        ctx.leases.shard(any).count_change();
    }
    ctx.repeat_as_given(args);
}

fn load(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let text = args.len() - 1;
    for index in 2..text {
        if !args.is(index, "REPLACE") {
            let option = String::from_utf8_lossy(help::shown(args.at(index))).into_owned();
            return failed(&format!("Unknown option given: {option}"), reply);
        }
    }
    match ctx.shared.script_state.load(args.at(text), text > 2) {
        Err(why) => failed(&why, reply),
        Ok(name) => {
            note_change(ctx, args);
            reply.bulk(name.as_bytes());
            Ok(())
        }
    }
}

fn delete(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !ctx.shared.script_state.delete(args.at(2)) {
        return Err(CommandError::Text("ERR Library not found"));
    }
    note_change(ctx, args);
    reply.ok();
    Ok(())
}

fn flush(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let later = match args.len() {
        2 => ctx.config.lazyfree_lazy_user_flush,
        3 if args.is(2, "ASYNC") => true,
        3 if args.is(2, "SYNC") => false,
        3 => return Err(CommandError::Text("ERR FUNCTION FLUSH only supports SYNC|ASYNC option")),
        _ => return help::subcommand_syntax(args, reply),
    };
    let script_state = &ctx.shared.script_state;
    script_state.flush();
    if !later {
        // The others see to theirs in their cron.
        script_state.tidy_shared_engine();
        if let Some(engine) = &mut ctx.scripting.engine {
            engine.follow_script_state(script_state);
        }
    }
    note_change(ctx, args);
    reply.ok();
    Ok(())
}

fn dump(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let libraries = ctx.shared.script_state.libraries();
    let texts = libraries.iter().map(|library| &*library.text);
    reply.bulk(&rdb::libraries_payload(texts, ctx.config.rdbcompression));
    Ok(())
}

fn restore(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let policy = match args.len() {
        3 => Policy::Append,
        4 if args.is(3, "APPEND") => Policy::Append,
        4 if args.is(3, "REPLACE") => Policy::Replace,
        4 if args.is(3, "FLUSH") => Policy::Flush,
        4 => {
            return Err(CommandError::Text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
        _ => return help::subcommand_syntax(args, reply),
    };
    let texts = match rdb::payload_libraries(args.at(2)) {
        Ok(texts) => texts,
        Err(why) => return failed(why, reply),
    };
    if let Err(why) = ctx.shared.script_state.restore(&texts, policy) {
        return failed(&why, reply);
    }
    note_change(ctx, args);
    reply.ok();
    Ok(())
}

fn list(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (mut pattern, mut with_code, mut index) = (None, false, 2);
    while index < args.len() {
        if !with_code && args.is(index, "WITHCODE") {
            with_code = true;
        } else if pattern.is_none() && args.is(index, "LIBRARYNAME") {
            index += 1;
            if index == args.len() {
                return Err(CommandError::Text("ERR library name argument was not given"));
            }
            pattern = Some(args.at(index));
        } else {
            let word = String::from_utf8_lossy(help::shown(args.at(index))).into_owned();
            return failed(&format!("Unknown argument {word}"), reply);
        }
        index += 1;
    }
    let libraries = ctx.shared.script_state.libraries();
    let is_wanted = |library: &&std::sync::Arc<Library>| {
        pattern.is_none_or(|pattern| glob::matches(pattern, library.name.as_bytes(), Case::Insensitive))
    };
    let wanted: Vec<_> = libraries.iter().filter(is_wanted).collect();
    reply.array(wanted.len());
    wanted.iter().for_each(|library| describe(library, with_code, reply));
    Ok(())
}

fn describe(library: &Library, with_code: bool, reply: &mut Reply<'_>) {
    reply.map(if with_code { 4 } else { 3 });
    reply.bulk(b"library_name");
    reply.bulk(library.name.as_bytes());
    reply.bulk(b"engine");
    reply.bulk(b"LUA");
    reply.bulk(b"functions");
    reply.array(library.functions.len());
    for function in &library.functions {
        reply.map(3);
        reply.bulk(b"name");
        reply.bulk(function.name.as_bytes());
        reply.bulk(b"description");
        match &function.description {
            Some(text) => reply.bulk(text),
            None => reply.null(),
        }
        reply.bulk(b"flags");
        reply.set(function.flags.names().count());
        function.flags.names().for_each(|name| reply.simple(name));
    }
    if with_code {
        reply.bulk(b"library_code");
        reply.bulk(&library.text);
    }
}

fn stats(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let running = ctx.shared.busy.running_function()?;
    reply.map(2);
    reply.bulk(b"running_script");
    match running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.bulk(b"name");
            reply.bulk(running.name.as_bytes());
            reply.bulk(b"command");
            reply.array(running.words.len());
            running.words.iter().for_each(|word| reply.bulk(word));
            reply.bulk(b"duration_ms");
            reply.integer(running.ran_ms() as i64);
        }
    }
    let (libraries, functions) = ctx.shared.script_state.libraries().counts();
    reply.bulk(b"engines");
    reply.map(1);
    reply.bulk(b"LUA");
    reply.map(2);
    reply.bulk(b"libraries_count");
    reply.integer(libraries as i64);
    reply.bulk(b"functions_count");
    reply.integer(functions as i64);
    Ok(())
}

fn kill(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.shared.busy.kill(true)?;
    reply.ok();
    Ok(())
}
