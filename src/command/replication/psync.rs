//! PSYNC and SYNC: a client becomes a replica, which continues or gets a snapshot first.
//!
//! Design: both hold all leases, so that role, history and stream are of one instant. The rest is its worker's business.

use std::sync::Arc;

use super::{Args, BASE, Command, CommandError, Context, Effect, Flags, Group, Outcome, Reply, Scope};
use crate::command::promote;
use crate::observe::flag;
use crate::replicate::primary::{Replica, Start, State};
use crate::replicate::{FailoverState, LinkState, ReplicationId};
use crate::resp::number::parse_i64;

/// What the two have in common.
const SYNCS: Command = Command {
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::NO_ASYNC_LOADING).with(Flags::NO_MULTI),
    scope: Scope::All,
    group: Group::Server,
    ..BASE
};

/// PSYNC.
pub const PSYNC: Command = Command {
    name: "psync",
    arity: -3,
    since: "2.8.0",
    summary: "Makes the connection a replica's, which continues from an offset or begins with a snapshot.",
    syntax: "replicationid offset:integer",
    handler: psync,
    ..SYNCS
};

/// SYNC.
pub const SYNC: Command = Command {
    name: "sync",
    arity: 1,
    since: "1.0.0",
    summary: "Makes the connection a replica's, which begins with a snapshot.",
    handler: sync,
    ..SYNCS
};

fn psync(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.session.replica.is_none() && args.len() > 3 && args.is(3, "FAILOVER") {
        take_role(ctx, args)?;
    }
    if !may_follow(ctx, reply)? {
        return Ok(());
    }
    let next = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
    if ctx.session.about.as_ref().is_some_and(|about| about.is_channel) {
        begin(ctx, false);
        return Ok(());
    }
    if let Some(start) = continued(ctx, args.at(1), next) {
        let name = ctx.shared.replication.history().id;
        let about = ctx.session.about.take().map(|about| *about).unwrap_or_default();
        match about.knows_names {
            true => reply.simple(&format!("CONTINUE {}", name.as_str())),
            false => reply.simple("CONTINUE"),
        }
        log::info!("Replica {}: continues behind {} bytes", ctx.session.client_info.address, start.offset);
        ctx.stats.counters.sync_partial_ok.add(1);
        let client_info = Arc::clone(&ctx.session.client_info);
        let channel = ctx.shared.replication.replicas.find(about.channel);
        let main = Replica::continuing(client_info, about, start, ctx.now_ms);
        let main = follow(ctx, main);
        if let Some(channel) = channel.filter(|channel| channel.tells_place()) {
            main.set_state(State::Streams);
            channel.serve(main);
            // That one has a place of its own in the stream now.
            if let Some(reader) = channel.start().and_then(|start| start.reader) {
                ctx.shared.replication.stream.detach(reader);
            }
            ctx.shared.replication.wake(1 << channel.client_info.place().worker);
        }
        return Ok(());
    }
    ctx.stats.counters.sync_partial_err.add(u64::from(!args.is(1, "?")));
    if offer_channel(ctx, reply) {
        return Ok(());
    }
    begin(ctx, false);
    Ok(())
}

fn sync(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if may_follow(ctx, reply)? {
        begin(ctx, true);
    }
    Ok(())
}

/// The primary hands its role over to this server, and follows it: it asks with the history that both have.
fn take_role(ctx: &mut Context<'_>, args: &Args<'_>) -> Outcome {
    let replication = &ctx.shared.replication;
    let id = replication.history().id;
    log::warn!("Failover request received for replid {}.", args.at(1).escape_ascii());
    if !replication.is_replica() {
        return Err(CommandError::Text("ERR PSYNC FAILOVER can't be sent to a master."));
    }
    if !args.at(1).eq_ignore_ascii_case(id.as_str().as_bytes()) {
        return Err(CommandError::Text("ERR PSYNC FAILOVER replid must match my replid."));
    }
    promote(ctx);
    log::info!("This server is a primary (failover request from '{}')", ctx.session.client_info.address);
    Ok(())
}

/// Whether the client may become a replica: not if it is one.
fn may_follow(ctx: &Context<'_>, reply: &mut Reply<'_>) -> Result<bool, CommandError> {
    let replication = &ctx.shared.replication;
    if ctx.session.replica.is_some() {
        return Ok(false);
    }
    if replication.failover.state() != FailoverState::None {
        return Err(CommandError::Text("NOMASTERLINK Can't SYNC while failing over"));
    }
    if replication.is_replica() && replication.link() != LinkState::Connected {
        return Err(CommandError::Text("NOMASTERLINK Can't SYNC while not connected with my master"));
    }
    if !reply.output().is_empty() {
        return Err(CommandError::Text("ERR SYNC and PSYNC are invalid with pending output"));
    }
    Ok(true)
}

/// The place in the stream of who has `id` and wants the `next` byte of it, counted from 1, if it is kept.
fn continued(ctx: &Context<'_>, id: &[u8], next: i64) -> Option<Start> {
    let replication = &ctx.shared.replication;
    let offset = u64::try_from(next.checked_sub(1)?).ok()?;
    let id = ReplicationId::parse(id)?;
    if !replication.history().continues(&id, offset) {
        return None;
    }
    let reader = replication.stream.attach(offset)?;
    Some(Start { offset, reader: Some(reader) })
}

/// The client is to take its snapshot through a channel of its own; whether it can, and this server wants that.
fn offer_channel(ctx: &mut Context<'_>, reply: &mut Reply<'_>) -> bool {
    let client_info = Arc::clone(&ctx.session.client_info);
    let Some(about) = ctx.session.about.as_deref().filter(|about| !about.only_snapshot) else { return false };
    if !ctx.config.repl_rdb_channel {
        return false;
    }
    if about.takes_channel {
        reply.simple(&format!("RDBCHANNELSYNC {}", client_info.id));
        let about = ctx.session.about.take().map(|about| *about).unwrap_or_default();
        follow(ctx, Replica::with_channel(client_info, about, ctx.now_ms));
        return true;
    }
    if about.takes_channel_of_valkey {
        // It comes again once it has been told where the stream goes on.
        reply.simple("DUALCHANNELSYNC");
        return true;
    }
    false
}

/// The client gets the next snapshot.
fn begin(ctx: &mut Context<'_>, is_old: bool) {
    let about = ctx.session.about.take().map(|about| *about).unwrap_or_default();
    log::info!("Replica {} asks for synchronization", ctx.session.client_info.address);
    ctx.stats.counters.sync_full.add(1);
    let client_info = Arc::clone(&ctx.session.client_info);
    client_info.set(flag::SNAPSHOT_CHANNEL, about.is_channel);
    let main = match about.channel_of {
        0 => None,
        client => ctx.shared.replication.replicas.find(client),
    };
    let replica = Replica::new(client_info, about, is_old, ctx.now_ms);
    if let Some(main) = main.filter(|main| main.state() == State::WaitsForChannel) {
        replica.serve(main);
    }
    follow(ctx, replica);
}

fn follow(ctx: &mut Context<'_>, replica: Replica) -> Arc<Replica> {
    let replica = Arc::new(replica);
    let client_info = Arc::clone(&ctx.session.client_info);
    // Its place is known to others from now on.
    client_info.pin();
    client_info.set(flag::REPLICA, true);
    ctx.shared.replication.replicas.add(Arc::clone(&replica));
    ctx.session.follow(Arc::clone(&replica));
    ctx.effects.push(Effect::Followed(client_info.place()));
    replica
}
