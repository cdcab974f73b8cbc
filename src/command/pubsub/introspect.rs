//! PUBSUB: who listens to what.

use super::super::help;
use super::{Args, BASE, Command, Context, Flags, Group, Outcome, PUBSUB, Reply, SubscriptionKind};
use crate::pubsub::Channels;

/// PUBSUB.
pub const ROW: Command = Command {
    name: "pubsub",
    arity: -2,
    since: "2.8.0",
    complexity: "that of the subcommand",
    summary: "Who listens to what.",
    subcommands: SUBCOMMANDS,
    group: Group::PubSub,
    ..BASE
};

const LOOK: Command = Command { since: "2.8.0", ..PUBSUB };

const SUBCOMMANDS: &[Command] = &[
    Command {
        name: "channels",
        arity: -2,
        complexity: "O(N), N channels that anybody listens to",
        summary: "Lists channels that anybody listens to.",
        syntax: "[pattern]",
        handler: |ctx, args, reply| list(&ctx.shared.pubsub.channels, args, reply),
        ..LOOK
    },
    Command {
        name: "help",
        arity: 2,
        flags: Flags::LOADING.with(Flags::STALE),
        since: "6.2.0",
        summary: "Lists the subcommands.",
        handler: help::show,
        ..LOOK
    },
    Command {
        name: "numpat",
        arity: 2,
        summary: "Counts the patterns that anybody has subscribed to.",
        handler: count_patterns,
        ..LOOK
    },
    Command {
        name: "numsub",
        arity: -2,
        complexity: "O(N), N channels",
        summary: "Counts the subscribers of channels.",
        syntax: "[channel...]",
        handler: |ctx, args, reply| count(SubscriptionKind::Channel, ctx, args, reply),
        ..LOOK
    },
    Command {
        name: "shardchannels",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N), N shard channels that anybody listens to",
        summary: "Lists shard channels that anybody listens to.",
        syntax: "[pattern]",
        handler: |ctx, args, reply| list(&ctx.shared.pubsub.shard_channels, args, reply),
        ..LOOK
    },
    Command {
        name: "shardnumsub",
        arity: -2,
        since: "7.0.0",
        complexity: "O(N), N shard channels",
        summary: "Counts the subscribers of shard channels.",
        syntax: "[shardchannel...]",
        handler: |ctx, args, reply| count(SubscriptionKind::Shard, ctx, args, reply),
        ..LOOK
    },
];

fn list(channels: &Channels, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len() > 3 {
        return help::subcommand_syntax(args, reply);
    }
    let (deferred, mut count) = (reply.defer_array(), 0);
    channels.each(args.find(2), |name| {
        reply.bulk(name);
        count += 1;
    });
    reply.finish_array(deferred, count);
    Ok(())
}

fn count_patterns(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(ctx.shared.pubsub.patterns.len() as i64);
    Ok(())
}

fn count(kind: SubscriptionKind, ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let pubsub = &ctx.shared.pubsub;
    let channels = if kind == SubscriptionKind::Shard { &pubsub.shard_channels } else { &pubsub.channels };
    reply.array(2 * (args.len() - 2));
    for name in args.from(2) {
        reply.bulk(name);
        reply.integer(channels.reach(ctx.shared.keyspace.hash(name), name).total as i64);
    }
    Ok(())
}
