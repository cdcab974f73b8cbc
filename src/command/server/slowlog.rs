//! SLOWLOG: the commands that took long (`observe::SlowLog`).

use super::{Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER, help};
use crate::command::CommandError;
use crate::resp::number::parse_i64;

/// Entries that GET shows if it is not told how many.
const COUNT_DEFAULT: usize = 10;

const FLAGS: Flags = Flags::ADMIN.with(Flags::LOADING).with(Flags::STALE);

/// SLOWLOG.
pub const ROW: Command = Command {
    name: "slowlog",
    arity: -2,
    since: "2.2.12",
    complexity: "that of the subcommand",
    summary: "Commands that took longer than a threshold.",
    subcommands: &[
        Command {
            name: "get",
            arity: -2,
            flags: FLAGS,
            since: "2.2.12",
            complexity: "O(N), N entries returned",
            summary: "Lists the slowest commands' last entries, newest first.",
            syntax: "[count]",
            tips: &["request_policy:all_nodes", "nondeterministic_output"],
            handler: get,
            ..SERVER
        },
        Command { since: "6.2.0", ..HELP },
        Command {
            name: "len",
            arity: 2,
            flags: FLAGS,
            since: "2.2.12",
            summary: "Counts the entries.",
            tips: &["request_policy:all_nodes", "response_policy:agg_sum", "nondeterministic_output"],
            handler: len,
            ..SERVER
        },
        Command {
            name: "reset",
            arity: 2,
            flags: FLAGS,
            since: "2.2.12",
            complexity: "O(N), N entries",
            summary: "Removes all entries.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: reset,
            ..SERVER
        },
    ],
    ..SERVER
};

fn get(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 3 {
        return help::subcommand_syntax(args, reply);
    }
    let count = match args.find(2) {
        None => COUNT_DEFAULT,
        Some(text) => match parse_i64(text) {
            Some(-1) => usize::MAX,
            Some(count @ 0..) => usize::try_from(count).unwrap_or(usize::MAX),
            _ => {
                let text = "ERR count should be greater than or equal to -1";
                return Err(CommandError::Text(text));
            }
        },
    };
    let entries = ctx.shared.slowlog.newest(count, ctx.config.slowlog_max_len as usize);
    reply.array(entries.len());
    for entry in entries {
        reply.array(6);
        reply.integer(entry.id as i64);
        reply.integer(entry.time_s as i64);
        reply.integer(entry.duration_us as i64);
        reply.array(entry.args.len());
        entry.args.iter().for_each(|arg| reply.bulk(arg));
        reply.bulk(entry.address.as_bytes());
        reply.bulk(&entry.name);
    }
    Ok(())
}

fn len(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let entries = ctx.shared.slowlog.newest(usize::MAX, ctx.config.slowlog_max_len as usize);
    reply.integer(entries.len() as i64);
    Ok(())
}

fn reset(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.shared.slowlog.reset();
    reply.ok();
    Ok(())
}
