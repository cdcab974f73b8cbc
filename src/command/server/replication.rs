//! ROLE: primary or replica, and of whom.

use super::{ANY_TIME, Args, Command, Context, Flags, Outcome, Reply, SERVER};
use crate::command::Categories;
use crate::replicate::LinkState;

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

fn role(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let replication = &ctx.shared.replication;
    if let Some(primary) = replication.primary().as_deref() {
        let state = replication.link();
        reply.array(5);
        reply.bulk(b"slave");
        reply.bulk(primary.host.as_bytes());
        reply.integer(primary.port.into());
        reply.bulk(state.word().as_bytes());
        let is_following = state == LinkState::Connected;
        reply.integer(if is_following { replication.offset() as i64 } else { -1 });
        return Ok(());
    }
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
