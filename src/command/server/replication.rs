//! ROLE, REPLICAOF, SLAVEOF: what a primary without replicas says.

use super::{ANY_TIME, Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{Categories, CommandError};
use crate::resp::number::parse_i64;

/// ROLE.
pub const ROLE: Command = Command {
    name: "role",
    arity: 1,
    flags: ANY_TIME.with(Flags::NOSCRIPT).with(Flags::FAST).with(Flags::SENTINEL),
    since: "2.8.12",
    summary: "Says whether the server is a primary or a replica, and of whom.",
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
    summary: "Follows another server, or stops following with NO ONE.",
    syntax: "args:<host-port:<host port> | no-one:<NO ONE>>",
    handler: replica_of,
    ..SERVER
};

/// SLAVEOF.
pub const SLAVEOF: Command = Command {
    name: "slaveof",
    summary: "The old name of REPLICAOF.",
    since: "1.0.0",
    deprecated: Some(("5.0.0", "`REPLICAOF`")),
    ..REPLICAOF
};

fn role(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let replication = &ctx.shared.replication;
    let all = replication.replicas.all();
    let online = || all.iter().filter(|replica| replica.word() == Some("online"));
    reply.array(3);
    reply.bulk(b"master");
    reply.integer(replication.offset() as i64);
    reply.array(online().count());
    for replica in online() {
        reply.array(3);
        reply.bulk(replica.ip().as_bytes());
        reply.bulk(replica.about.port.to_string().as_bytes());
        reply.bulk(replica.acked().to_string().as_bytes());
    }
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
