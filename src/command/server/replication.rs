//! ROLE, REPLICAOF, SLAVEOF, LASTSAVE: what a primary without replicas and without snapshots says.

use std::sync::atomic::Ordering::Relaxed;

use super::{ANY_TIME, Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{Categories, CommandError, Rng, Shared};
use crate::resp::number::parse_i64;

/// LASTSAVE.
pub const LASTSAVE: Command = Command {
    name: "lastsave",
    arity: 1,
    flags: ANY_TIME.with(Flags::FAST),
    summary: "Returns the Unix timestamp of the last successful save to disk.",
    categories: Categories::ADMIN.with(Categories::DANGEROUS),
    tips: &["nondeterministic_output"],
    handler: last_save,
    ..SERVER
};

/// ROLE.
pub const ROLE: Command = Command {
    name: "role",
    arity: 1,
    flags: ANY_TIME.with(Flags::NOSCRIPT).with(Flags::FAST).with(Flags::SENTINEL),
    since: "2.8.12",
    summary: "Returns the replication role.",
    categories: Categories::ADMIN.with(Categories::DANGEROUS),
    handler: role,
    ..SERVER
};

const REPLICA_FLAGS: Flags =
    Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE).with(Flags::NO_ASYNC_LOADING);

/// REPLICAOF.
pub const REPLICAOF: Command = Command {
    name: "replicaof",
    arity: 3,
    flags: REPLICA_FLAGS,
    since: "5.0.0",
    summary: "Configures a server as replica of another, or promotes it to a master.",
    syntax: "host port",
    handler: replica_of,
    ..SERVER
};

/// SLAVEOF.
pub const SLAVEOF: Command = Command {
    name: "slaveof",
    summary: "Sets a Redis server as a replica of another, or promotes it to being a master.",
    since: "1.0.0",
    deprecated: Some(("5.0.0", "`REPLICAOF`")),
    ..REPLICAOF
};

/// The 40 hexadecimal digits that name this server's history: derived from the process's own random number, and others
/// after each DEBUG CHANGE-REPL-ID.
pub fn replication_id(shared: &Shared) -> String {
    let seed = u64::from_str_radix(shared.facts.run_id.get(..16).unwrap_or("0"), 16).unwrap_or_default();
    let mut rng = Rng::new(seed ^ shared.debug.replication_id_changes.load(Relaxed).wrapping_add(1));
    let digits: String = (0..3).map(|_| format!("{:016x}", rng.next())).collect();
    digits[..40].to_owned()
}

/// As Redis, a server that has never saved counts from its start.
fn last_save(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer((ctx.shared.facts.started_ms / 1000) as i64);
    Ok(())
}

fn role(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(0);
    reply.array(0);
    Ok(())
}

fn replica_of(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.is(1, "NO") && args.is(2, "ONE") {
        reply.ok();
        return Ok(());
    }
    match parse_i64(args.at(2)) {
        Some(0..=65535) => Err(CommandError::Text("ERR this server cannot be a replica yet")),
        _ => Err(CommandError::Text("ERR Invalid master port")),
    }
}
