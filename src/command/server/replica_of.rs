//! REPLICAOF, SLAVEOF: which primary this server follows.
//!
//! Design: the role changes under all leases (PROTOCOL 12, 28): whoever has a lease before it acts in the old role to the end, and
//! whoever has one afterwards sees the new. That is part of the configuration, so that CONFIG GET and REWRITE know it, and so that
//! every worker notices. Connecting is the business of a thread that begins then.
//!
//! Not here: the link (`replicate::replica`), what a replica refuses (`worker::client_run`).

use std::convert::Infallible;
use std::sync::Arc;

use super::{Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::{CommandError, Effect, Scope, Shared, Unblocking, follow_role};
use crate::config::{Config, ReplicaOf};
use crate::replicate::{FailoverState, Primary};
use crate::resp::number::parse_i64;

const REPLICA_FLAGS: Flags =
    Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE).with(Flags::NO_ASYNC_LOADING);

/// REPLICAOF.
pub const REPLICAOF: Command = Command {
    name: "replicaof",
    arity: 3,
    flags: REPLICA_FLAGS,
    scope: Scope::All,
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

fn replica_of(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.shared.replication.failover.state() != FailoverState::None {
        return Err(CommandError::Text("ERR REPLICAOF not allowed while failing over."));
    }
    if args.is(1, "NO") && args.is(2, "ONE") {
        if ctx.shared.replication.is_replica() {
            promote(ctx);
        }
        reply.ok();
        return Ok(());
    }
    let port = parse_i64(args.at(2)).and_then(|port| u16::try_from(port).ok());
    let port = port.ok_or(CommandError::Text("ERR Invalid master port"))?;
    let primary = Primary { host: String::from_utf8_lossy(args.at(1)).into(), port };
    let is_same = |now: &Primary| now.host.eq_ignore_ascii_case(&primary.host) && now.port == port;
    if ctx.shared.replication.primary().as_deref().is_some_and(is_same) {
        log::info!("REPLICAOF names the primary that is followed already");
        reply.simple("OK Already connected to specified master");
        return Ok(());
    }
    follow(ctx, primary);
    reply.ok();
    Ok(())
}

/// This server is a primary from now on; its history continues that of the one before.
pub fn promote(ctx: &mut Context<'_>) {
    let replication = &ctx.shared.replication;
    change_role(ctx, None);
    replication.fork_history();
    follow_role(ctx.shared, ctx.now_ms, None);
    log::info!("This server is a primary now, from {} on", replication.offset());
    set_directive(ctx, None);
    // They are to learn the new name of the history: by the old one they could go on elsewhere, where it went another way.
    let gone = drop_replicas(ctx.shared);
    ctx.effects.extend(gone);
}

/// Closes the connections of all replicas: what they have is of another history, or of one with another name. They come again.
pub fn drop_replicas(shared: &Shared) -> Vec<Effect> {
    let all = shared.replication.replicas.all();
    all.iter().filter_map(|replica| replica.client_info.kill().map(Effect::Kill)).collect()
}

/// This server is a replica of another primary from now on.
pub fn follow(ctx: &mut Context<'_>, primary: Primary) {
    log::info!("This server is a replica of {}:{} now", primary.host, primary.port);
    let directive = (primary.host.to_string(), primary.port);
    let epoch = change_role(ctx, Some(primary.clone()));
    // Where the stream goes on nobody can say before it has all that was written until now.
    let replication = Arc::clone(&ctx.shared.replication);
    replication.await_own_stream(true);
    let then = Box::new(move |_| replication.await_own_stream(false));
    follow_role(ctx.shared, ctx.now_ms, Some(then));
    unblock_all(ctx);
    set_directive(ctx, Some(directive));
    ctx.effects.push(Effect::Follow(epoch, primary));
}

/// Another role; the connection that belongs to the one before is closed. The number of the new one.
fn change_role(ctx: &mut Context<'_>, primary: Option<Primary>) -> u64 {
    let shared = ctx.shared;
    let (epoch, client) = shared.link.change_role(|| shared.replication.set_primary(primary));
    ctx.effects.extend(client.and_then(|client| client.kill()).map(Effect::Kill));
    epoch
}

/// Nobody waits across a change of the role: what he waits for may never be done here.
fn unblock_all(ctx: &mut Context<'_>) {
    for client_info in ctx.shared.clients.client_infos() {
        if let Some(wait_id) = client_info.wait.end_any() {
            let (place, how) = (client_info.place(), Unblocking::RoleChanged);
            ctx.effects.push(Effect::Unblock { place, wait_id, how });
        }
    }
}

fn set_directive(ctx: &mut Context<'_>, primary: Option<(String, u16)>) {
    let changed = |old: &Config| Config { replicaof: ReplicaOf(primary), ..old.clone() };
    let updated = ctx.shared.config.update(|old| Ok::<_, Infallible>(changed(old)));
    assert!(updated.is_ok(), "it cannot fail");
    ctx.effects.push(Effect::ConfigChanged);
}
