//! Commands about whole databases: DBSIZE, FLUSHALL, FLUSHDB, SWAPDB. They belong to the family `server`.
//!
//! Design: they hold every shard, so what they do happens at one instant. Emptying takes the tables away in O(1); freeing
//! what was in them is cron work, but for a bounded part when SYNC is asked for.

use super::row::BASE;
use super::{Args, Categories, Command, CommandError, Context, Flags, Group, Outcome, Scope, save_now};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// Entries that FLUSHALL SYNC frees before it replies, over all shards: a few ms. Cron frees the rest.
const FREED_AT_ONCE_MAX: usize = 1 << 16;

const SERVER: Command = Command { group: Group::Server, scope: Scope::All, ..BASE };

/// The rows of this file.
pub const ROWS: &[Command] = &[
    Command {
        name: "dbsize",
        arity: 1,
        flags: Flags::READONLY.with(Flags::FAST),
        categories: Categories::KEYSPACE,
        tips: &["request_policy:all_shards", "response_policy:agg_sum"],
        summary: "Counts the keys of the selected database.",
        handler: dbsize,
        ..SERVER
    },
    Command {
        name: "flushall",
        arity: -1,
        flags: Flags::WRITE,
        complexity: "O(1); memory is freed later",
        categories: Categories::KEYSPACE.with(Categories::DANGEROUS),
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Empties every database.",
        syntax: "flush-type:[ASYNC@4.0.0 | SYNC@6.2.0]",
        handler: flushall,
        ..SERVER
    },
    Command {
        name: "flushdb",
        arity: -1,
        flags: Flags::WRITE,
        complexity: "O(1); memory is freed later",
        categories: Categories::KEYSPACE.with(Categories::DANGEROUS),
        tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
        summary: "Empties the selected database.",
        syntax: "flush-type:[ASYNC@4.0.0 | SYNC@6.2.0]",
        handler: flushdb,
        ..SERVER
    },
    Command {
        name: "swapdb",
        arity: 3,
        flags: Flags::WRITE.with(Flags::FAST),
        since: "4.0.0",
        complexity: "O(N), N clients that watch or wait for keys of the two",
        categories: Categories::KEYSPACE.with(Categories::DANGEROUS),
        summary: "Exchanges the contents of two databases.",
        syntax: "index1 index2",
        handler: swapdb,
        ..SERVER
    },
];

fn dbsize(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let db = ctx.session.db;
    let mut keys = 0;
    ctx.each_shard(|shard| keys += shard.len(db));
    reply.integer(keys as i64);
    Ok(())
}

fn flushall(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let budget = free_budget(ctx, args)?;
    flush_all(ctx, budget);
    // Also where there was nothing: a replica may have what is not here.
    ctx.repeat_as_given(args);
    // The snapshot under way ends, and a restart must not bring back what was flushed; a failure is in the log.
    if !ctx.config.save.0.is_empty() {
        save_now(ctx.shared, ctx.config, ctx.leases, ctx.now_ms);
    }
    reply.ok();
    Ok(())
}

/// Empties every database; frees so many entries at once.
fn flush_all(ctx: &mut Context<'_>, mut budget: usize) {
    if let Some(running) = ctx.shared.background.running() {
        running.snapshot.flush();
    }
    ctx.each_shard(|shard| {
        let keys = shard.flush_all().keys as usize;
        shard.free_discarded(keys.min(budget));
        budget = budget.saturating_sub(keys);
    });
    ctx.invalidate_all();
}

/// Empties every database for another server's data. All leases are held. `lazily`: nothing is freed at once.
pub fn empty_all(ctx: &mut Context<'_>, lazily: bool) {
    flush_all(ctx, if lazily { 0 } else { FREED_AT_ONCE_MAX });
}

fn flushdb(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut budget = free_budget(ctx, args)?;
    let db = ctx.session.db;
    ctx.each_shard(|shard| {
        let keys = shard.flush(db).keys as usize;
        shard.free_discarded(keys.min(budget));
        budget = budget.saturating_sub(keys);
    });
    ctx.invalidate_all();
    ctx.repeat_as_given(args);
    reply.ok();
    Ok(())
}

/// How many entries a flush frees itself.
fn free_budget(ctx: &Context<'_>, args: &Args<'_>) -> Result<usize, CommandError> {
    let later = match args.len() {
        1 => ctx.config.lazyfree_lazy_user_flush,
        2 if args.is(1, "ASYNC") => true,
        2 if args.is(1, "SYNC") => false,
        _ => return Err(CommandError::Syntax),
    };
    Ok(if later { 0 } else { FREED_AT_ONCE_MAX })
}

fn swapdb(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    for (index, error) in [(1, "ERR invalid first DB index"), (2, "ERR invalid second DB index")] {
        parse_i64(args.at(index))
            .filter(|number| i32::try_from(*number).is_ok())
            .ok_or(CommandError::Text(error))?;
    }
    let (first, second) = (ctx.db_index(args.at(1))?, ctx.db_index(args.at(2))?);
    ctx.each_shard(|shard| shard.swap_dbs(first, second));
    if let Some(any) = ctx.shared.keyspace.shards().next() {
        ctx.leases.shard(any).count_change();
    }
    ctx.repeat_as_given(args);
    reply.ok();
    Ok(())
}
