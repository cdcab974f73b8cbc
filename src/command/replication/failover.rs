//! FAILOVER: this primary hands its role over to a replica, and no write is lost.
//!
//! Design: it holds all leases, so that whatever is written by others comes before it, in the stream too, or waits. The rest happens
//! in steps at the first worker (`worker::failover`).

use std::sync::Arc;

use super::{Args, BASE, Command, CommandError, Context, Effect, Flags, Group, Outcome, Scope};
use crate::command::{Holder, Shared, follow, promote};
use crate::persist::journal::Order;
use crate::replicate::primary::{Replica, State};
use crate::replicate::{FailoverState, Primary, Request};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// FAILOVER.
pub const ROW: Command = Command {
    name: "failover",
    arity: -1,
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::STALE),
    scope: Scope::All,
    group: Group::Server,
    since: "6.2.0",
    summary: "Hands the role of the primary over to one of its replicas.",
    syntax: "[TO target:<host port:integer [FORCE]>] [ABORT] [TIMEOUT milliseconds:integer]",
    handler: failover,
    ..BASE
};

#[derive(Default)]
struct Options {
    target: Option<(Vec<u8>, i64)>,
    timeout_ms: Option<u64>,
    abort: bool,
    force: bool,
}

fn options(args: &Args<'_>) -> Result<Options, CommandError> {
    let (mut options, mut index) = (Options::default(), 1);
    while index < args.len() {
        if args.is(index, "TIMEOUT") && index + 1 < args.len() && options.timeout_ms.is_none() {
            let timeout = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
            let positive = u64::try_from(timeout).ok().filter(|timeout| *timeout > 0);
            options.timeout_ms =
                Some(positive.ok_or(CommandError::Text("ERR FAILOVER timeout must be greater than 0"))?);
            index += 1;
        } else if args.is(index, "ABORT") && !options.abort {
            options.abort = true;
        } else if args.is(index, "TO") && index + 2 < args.len() && options.target.is_none() {
            let port = parse_i64(args.at(index + 2)).ok_or(CommandError::NotInteger)?;
            options.target = Some((args.at(index + 1).to_vec(), port));
            index += 2;
        } else if args.is(index, "FORCE") && !options.force {
            options.force = true;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    Ok(options)
}

fn failover(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.config.cluster_enabled {
        return Err(CommandError::Text(
            "ERR FAILOVER not allowed in cluster mode. Use CLUSTER FAILOVER command instead.",
        ));
    }
    let options = options(args)?;
    let failover = &ctx.shared.replication.failover;
    if options.abort {
        if args.len() > 2 {
            return Err(CommandError::Syntax);
        }
        if failover.state() == FailoverState::None {
            return Err(CommandError::Text("ERR No failover in progress."));
        }
        abort_failover(ctx, "Failover manually aborted");
        reply.ok();
        return Ok(());
    }
    let request = acceptable(ctx, options)?;
    match &request.target {
        Some(target) => log::info!("FAILOVER requested to {}:{}.", target.host, target.port),
        None => log::info!("FAILOVER requested."),
    }
    begin(ctx, request);
    reply.ok();
    Ok(())
}

/// What is asked for, if it can be.
fn acceptable(ctx: &Context<'_>, options: Options) -> Result<Request, CommandError> {
    let error = |text| Err(CommandError::Text(text));
    let replication = &ctx.shared.replication;
    if replication.failover.state() != FailoverState::None {
        return error("ERR FAILOVER already in progress.");
    }
    if replication.is_replica() {
        return error("ERR FAILOVER is not valid when server is a replica.");
    }
    let all = replication.replicas.all();
    if all.is_empty() {
        return error("ERR FAILOVER requires connected replicas.");
    }
    if options.force && (options.timeout_ms.is_none() || options.target.is_none()) {
        return error("ERR FAILOVER with force option requires both a timeout and target HOST and IP.");
    }
    let mut target = None;
    if let Some((host, port)) = options.target {
        let is_it = |replica: &&Arc<Replica>| {
            replica.ip().as_bytes() == host && i64::from(replica.about.port) == port
        };
        match all.iter().find(is_it) {
            None => return error("ERR FAILOVER target HOST and PORT is not a replica."),
            Some(replica) if !is_online(replica) => {
                return error("ERR FAILOVER target replica is not online.");
            }
            Some(replica) => target = Some(address(replica)),
        }
    }
    let until_ms = options.timeout_ms.map(|timeout_ms| ctx.now_ms.saturating_add(timeout_ms));
    Ok(Request { target, until_ms, forces: options.force })
}

fn is_online(replica: &Replica) -> bool {
    matches!(replica.state(), State::Online | State::Loads)
}

fn address(replica: &Replica) -> Primary {
    Primary { host: replica.ip().into(), port: replica.about.port }
}

/// Writes are held back from now on, and replicas are asked how far they are.
fn begin(ctx: &mut Context<'_>, request: Request) {
    ctx.shared.pause.hold(Holder::Failover);
    ctx.shared.replication.failover.begin(request);
    let replication = Arc::clone(&ctx.shared.replication);
    ask_for_all(ctx.shared, move |end| replication.failover.note_end(end));
    ctx.effects.push(Effect::ConfigChanged);
}

/// Replicas are asked how far they are, behind all that was written, and nothing follows that in the stream while writes are held
/// back; `then` is told where that ends. All leases are held.
pub fn ask_for_all(shared: &Shared, then: impl FnOnce(u64) + Send + 'static) {
    let after = shared.journal.drawn();
    shared.journal.order(Order::Ask { after });
    shared.journal.order(Order::Cut { after, then: Box::new(then) });
}

/// The replica that can take the role now: it has all of the stream.
pub fn synced_target(shared: &Shared) -> Option<Primary> {
    let replication = &shared.replication;
    let request = replication.failover.request()?;
    let end = replication.failover.stream_end()?.max(replication.offset());
    let all = replication.replicas.all();
    let mut synced = all.iter().filter(|replica| is_online(replica) && replica.acked() >= end);
    let is_wanted =
        |replica: &&Arc<Replica>| request.target.as_ref().is_none_or(|target| *target == address(replica));
    synced.find(is_wanted).map(|replica| address(replica))
}

/// The role goes to this one: this server follows it. All leases are held.
pub fn hand_over_role(ctx: &mut Context<'_>, target: Primary) {
    ctx.shared.replication.failover.proceed(target.clone());
    follow(ctx, target);
}

/// No failover any more: writes go on, here if this server is a primary. All leases are held.
pub fn abort_failover(ctx: &mut Context<'_>, why: &str) {
    let replication = &ctx.shared.replication;
    let target = replication.failover.request().and_then(|request| request.target.clone());
    match target {
        Some(target) => log::warn!("FAILOVER to {}:{} aborted: {why}", target.host, target.port),
        None => log::warn!("FAILOVER to any replica aborted: {why}"),
    }
    if replication.failover.state() == FailoverState::InProgress {
        promote(ctx);
    }
    end_failover(ctx);
}

/// The failover is over, one way or the other.
pub fn end_failover(ctx: &mut Context<'_>) {
    if ctx.shared.replication.failover.end() {
        ctx.shared.pause.release(Holder::Failover);
        ctx.effects.push(Effect::Resume);
    }
}
