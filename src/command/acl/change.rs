//! ACL SETUSER and DELUSER, and what a change of users does to clients.
//!
//! Design: a change is published first. Then the clients of deleted users are ended, and those that listen to what their user may not
//! listen to any more; all others take the change up before their next command (`Session::renew_user`).

use std::sync::Arc;

use super::all_channels;
use crate::command::client::{end_client, living};
use crate::command::{Args, CommandError, Context, Effect, Outcome};
use crate::pubsub::RightsLost;
use crate::resp::Reply;
use crate::security::{Change, DEFAULT, is_name};

pub(super) fn set(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !is_name(args.at(2)) {
        return Err(CommandError::Text("ERR Usernames can't contain spaces or null characters"));
    }
    let rules: Vec<&[u8]> = args.from(3).collect();
    // Not this turn's view: a CONFIG SET just before is to count.
    let all_channels = all_channels(&ctx.shared.config.load());
    match ctx.shared.users.set(args.at(2), &rules, all_channels) {
        Ok(change) => {
            follow(ctx, change.as_slice());
            reply.ok();
            Ok(())
        }
        Err(error) => {
            reply.error_bytes(&[b"ERR ", &*error.text()].concat());
            Err(CommandError::Replied)
        }
    }
}

pub(super) fn delete(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let names: Vec<&[u8]> = args.from(2).collect();
    if names.contains(&DEFAULT) {
        return Err(CommandError::Text("ERR The 'default' user cannot be removed"));
    }
    let changes = ctx.shared.users.delete(&names);
    follow(ctx, &changes);
    reply.integer(changes.len() as i64);
    Ok(())
}

/// Users have changed: whoever has them is to know.
pub(super) fn follow(ctx: &mut Context<'_>, changes: &[Change]) {
    ctx.shared.config.announce();
    ctx.effects.push(Effect::ConfigChanged);
    for Change { old, new } in changes {
        match new {
            None => end_clients(ctx, old.id()),
            Some(new) => {
                if let Some(left) = old.channels_left(new) {
                    end_listeners(ctx, RightsLost { user_id: old.id(), left });
                }
            }
        }
    }
    // For what follows in the same transaction.
    ctx.session.renew_user(&ctx.shared.users.load());
}

/// Ends the clients of a user that is gone; the one that asks, once it has its reply.
fn end_clients(ctx: &mut Context<'_>, user_id: u64) {
    for client_info in living(ctx) {
        if client_info.user.load().id() != user_id {
            continue;
        }
        if client_info.id == ctx.session.client_info.id {
            ctx.session.close_after_reply();
        } else {
            end_client(ctx, &client_info);
        }
    }
}

fn end_listeners(ctx: &mut Context<'_>, lost: RightsLost) {
    let is_own = ctx.session.user.id() == lost.user_id;
    if is_own && ctx.session.subscriptions.as_ref().is_some_and(|all| lost.concerns(all)) {
        ctx.session.close_after_reply();
    }
    ctx.effects.push(Effect::RightsLost(Arc::new(lost)));
}
