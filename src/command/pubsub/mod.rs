//! The family `pubsub`: SUBSCRIBE and its kin, PUBLISH. PUBSUB: `introspect`.
//!
//! Design: who subscribes is counted in the registries (`crate::pubsub`) at once, and enters its worker's lists at the end of its
//! group. PUBLISH holds the lease of its channel's hash, as if the channel were a key, so that its messages have one order in
//! all inboxes. A command that subscribes or unsubscribes runs once its worker has read what was in its inbox before.
//!
//! Not here: encoding and order (`crate::pubsub`), delivery (`worker::pubsub`).

mod introspect;

use std::sync::atomic::Ordering::Relaxed;

use super::row::{BASE, Channels, KeyAccess, KeySpec, key_at, keys_from};
use super::{Args, Command, CommandError, Context, Effect, Flags, Group, Outcome, Scope, Session};
use crate::pubsub::{SubscriptionKind, Subscriptions};
use crate::resp::Reply;

const PUBSUB: Command = Command {
    group: Group::PubSub,
    flags: Flags::PUBSUB.with(Flags::LOADING).with(Flags::STALE),
    since: "2.0.0",
    ..BASE
};
const LISTEN: Command = Command { flags: PUBSUB.flags.with(Flags::NOSCRIPT), ..PUBSUB };
const PUBLISH: Command = Command {
    arity: 3,
    flags: PUBSUB.flags.with(Flags::FAST).with(Flags::MAY_REPLICATE),
    scope: Scope::Keys,
    finder: Some(find_channel),
    channels: Channels::First,
    complexity: "O(N+M), N subscribers of the channel, M patterns that anybody has subscribed to",
    ..PUBSUB
};

/// The rows of the family.
pub const ROWS: &[Command] = &[
    Command {
        name: "psubscribe",
        channels: Channels::Patterns,
        arity: -2,
        complexity: "O(N), N patterns",
        summary: "Listens to all channels whose names fit patterns.",
        syntax: "pattern...",
        handler: |ctx, args, reply| subscribe(SubscriptionKind::Pattern, ctx, args, reply),
        ..LISTEN
    },
    Command {
        name: "publish",
        summary: "Sends a message to all who listen to a channel.",
        syntax: "channel message",
        handler: |ctx, args, reply| publish(SubscriptionKind::Channel, ctx, args, reply),
        ..PUBLISH
    },
    Command {
        name: "punsubscribe",
        arity: -1,
        complexity: "O(N), N patterns",
        summary: "Listens to patterns no more, or to none.",
        syntax: "[pattern...]",
        handler: |ctx, args, reply| unsubscribe(SubscriptionKind::Pattern, ctx, args, reply),
        ..LISTEN
    },
    introspect::ROW,
    Command {
        name: "spublish",
        keys: &[key_at(1, KeyAccess::Channel)],
        since: "7.0.0",
        complexity: "O(N), N subscribers of the channel",
        summary: "Sends a message to all who listen to a shard channel.",
        syntax: "shardchannel message",
        handler: |ctx, args, reply| publish(SubscriptionKind::Shard, ctx, args, reply),
        ..PUBLISH
    },
    Command {
        name: "ssubscribe",
        channels: Channels::All,
        arity: -2,
        keys: SHARD_CHANNELS,
        since: "7.0.0",
        complexity: "O(N), N channels",
        summary: "Listens to shard channels.",
        syntax: "shardchannel...",
        handler: |ctx, args, reply| subscribe(SubscriptionKind::Shard, ctx, args, reply),
        ..LISTEN
    },
    Command {
        name: "subscribe",
        channels: Channels::All,
        arity: -2,
        complexity: "O(N), N channels",
        summary: "Listens to channels.",
        syntax: "channel...",
        handler: |ctx, args, reply| subscribe(SubscriptionKind::Channel, ctx, args, reply),
        ..LISTEN
    },
    Command {
        name: "sunsubscribe",
        arity: -1,
        keys: SHARD_CHANNELS,
        since: "7.0.0",
        complexity: "O(N), N channels",
        summary: "Listens to shard channels no more, or to none.",
        syntax: "[shardchannel...]",
        handler: |ctx, args, reply| unsubscribe(SubscriptionKind::Shard, ctx, args, reply),
        ..LISTEN
    },
    Command {
        name: "unsubscribe",
        arity: -1,
        complexity: "O(N), N channels",
        summary: "Listens to channels no more, or to none.",
        syntax: "[channel...]",
        handler: |ctx, args, reply| unsubscribe(SubscriptionKind::Channel, ctx, args, reply),
        ..LISTEN
    },
];

const SHARD_CHANNELS: &[KeySpec] = &[keys_from(1, -1, 1, KeyAccess::Channel)];

/// Whether a client that speaks RESP2 and has subscribed may run a command: all it is sent is a message to it.
pub fn may_run_while_listening(name: &str) -> bool {
    is_about_oneself(name) || matches!(name, "ping" | "quit" | "reset")
}

/// Whether a command subscribes or unsubscribes. What it says is a message, and so it is said even to clients that want no replies.
pub fn is_about_oneself(name: &str) -> bool {
    matches!(
        name,
        "subscribe" | "unsubscribe" | "psubscribe" | "punsubscribe" | "ssubscribe" | "sunsubscribe"
    )
}

fn find_channel(_: &Args<'_>, found: &mut dyn FnMut(usize, KeyAccess)) -> Scope {
    found(1, KeyAccess::Channel);
    Scope::Keys
}

fn publish(kind: SubscriptionKind, ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if ctx.shared.journal.has_replicas()
        && let Some(changes) = ctx.changes.listener()
    {
        changes.repeat_for_replicas(|words| {
            words.add_all(args.from(0));
        });
    }
    let hash = args.hashes().first().copied().unwrap_or_else(|| ctx.shared.keyspace.hash(args.at(1)));
    let reached = ctx.publish(kind, hash, args.at(1), args.at(2));
    reply.integer(reached as i64);
    Ok(())
}

/// The words of what is said about a subscription that begins and one that ends.
fn words(kind: SubscriptionKind) -> (&'static [u8], &'static [u8]) {
    match kind {
        SubscriptionKind::Channel => (b"subscribe", b"unsubscribe"),
        SubscriptionKind::Pattern => (b"psubscribe", b"punsubscribe"),
        SubscriptionKind::Shard => (b"ssubscribe", b"sunsubscribe"),
    }
}

fn confirm(
    reply: &mut Reply<'_>,
    word: &[u8],
    name: Option<&[u8]>,
    all: &Subscriptions,
    kind: SubscriptionKind,
) {
    reply.push(3);
    reply.bulk(word);
    match name {
        Some(name) => reply.bulk(name),
        None => reply.null(),
    }
    reply.integer(all.counted_with(kind) as i64);
}

/// Whether the worker has read all that was in its inbox when the command was tried first. In a transaction it runs in any case.
fn has_caught_up(ctx: &mut Context<'_>) -> bool {
    let (read, aim) = ctx.shared.pubsub.inbox(ctx.worker).progress();
    let has = read >= awaited_place(ctx.session, ctx.worker, aim) || ctx.session.denies_blocking;
    if has {
        ctx.session.awaited_place = None;
    }
    has
}

/// Up to where the worker's inbox is to be read: to `aim`, if the command is tried there for the first time.
fn awaited_place(session: &mut Session, worker: usize, aim: u64) -> u64 {
    match session.awaited_place {
        Some((of_worker, place)) if of_worker == worker => place,
        _ => {
            session.awaited_place = Some((worker, aim));
            aim
        }
    }
}

fn subscribe(
    kind: SubscriptionKind,
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    if !has_caught_up(ctx) {
        return Err(CommandError::Unfinished);
    }
    let pubsub = &ctx.shared.pubsub;
    let mut all = ctx.session.subscriptions.take().unwrap_or_else(|| {
        pubsub.clients.fetch_add(1, Relaxed);
        Box::default()
    });
    for name in args.from(1) {
        if all.add(kind, name) {
            pubsub.add(kind, ctx.shared.keyspace.hash(name), name, ctx.worker as u16);
            let place = ctx.session.client_info.place();
            ctx.effects.push(Effect::Listen { place, kind, name: name.into(), on: true });
        }
        confirm(reply, words(kind).0, Some(name), &all, kind);
    }
    ctx.session.subscriptions = Some(all);
    ctx.session.show_subscriptions();
    Ok(())
}

fn unsubscribe(
    kind: SubscriptionKind,
    ctx: &mut Context<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Outcome {
    if !has_caught_up(ctx) {
        return Err(CommandError::Unfinished);
    }
    let before = ctx.session.subscriptions.take();
    let was_subscriber = before.is_some();
    let mut all = before.unwrap_or_default();
    let names: Vec<Box<[u8]>> = match args.len() {
        1 => all.names(kind).map(Box::from).collect(),
        _ => args.from(1).map(Box::from).collect(),
    };
    if names.is_empty() {
        confirm(reply, words(kind).1, None, &all, kind);
    }
    for name in names {
        let was_there = all.remove(kind, &name);
        confirm(reply, words(kind).1, Some(&name), &all, kind);
        if was_there {
            ctx.shared.pubsub.remove(kind, ctx.shared.keyspace.hash(&name), &name, ctx.worker as u16);
            let place = ctx.session.client_info.place();
            ctx.effects.push(Effect::Listen { place, kind, name, on: false });
        }
    }
    let is_subscriber = !all.is_empty();
    ctx.session.subscriptions = is_subscriber.then_some(all);
    if was_subscriber && !is_subscriber {
        ctx.shared.pubsub.clients.fetch_sub(1, Relaxed);
    }
    ctx.session.show_subscriptions();
    Ok(())
}

/// As if the client had unsubscribed from everything, but for the replies.
///
/// # Errors
/// Not yet: its worker has to read its inbox first.
pub(super) fn unsubscribe_from_all(ctx: &mut Context<'_>) -> Outcome {
    if ctx.session.is_subscriber() && !has_caught_up(ctx) {
        return Err(CommandError::Unfinished);
    }
    if let Some(all) = ctx.session.subscriptions.take() {
        ctx.shared.pubsub.clients.fetch_sub(1, Relaxed);
        ctx.effects.push(Effect::StopListening(ctx.session.client_info.place(), all));
        ctx.session.show_subscriptions();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::observe::{ClientInfo, ClientPlace, RegistrySlot};

    /// A place in the inbox of one worker was awaited in that of another, to which the connection had moved: one subscriber of ten
    /// thousand was not answered, and its worker never slept.
    #[test]
    fn moved_client_awaits_its_new_workers_inbox() {
        let place = ClientPlace { worker: 0, slot: 1, generation: 1 };
        let registry_slot = RegistrySlot { worker: 0, number: 0 };
        let client = ClientInfo::new(1, registry_slot, place, String::new(), String::new(), 3, 0);
        let mut session = Session::superuser(Arc::new(client));
        assert_eq!(awaited_place(&mut session, 0, 5000), 5000);
        assert_eq!(awaited_place(&mut session, 0, 6000), 5000);
        assert_eq!(awaited_place(&mut session, 1, 20), 20);
        assert_eq!(awaited_place(&mut session, 1, 30), 20);
    }

    #[test]
    fn commands_about_oneself_are_those_six() {
        let about: Vec<_> = ROWS.iter().map(|row| row.name).filter(|name| is_about_oneself(name)).collect();
        let six = ["psubscribe", "punsubscribe", "ssubscribe", "subscribe", "sunsubscribe", "unsubscribe"];
        assert_eq!(about, six);
        assert!(!may_run_while_listening("publish") && !may_run_while_listening("pubsub|numpat"));
    }
}
