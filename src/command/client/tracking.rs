//! CLIENT TRACKING, CACHING, TRACKINGINFO and GETREDIR: what a client that keeps copies of keys asks for.
//!
//! Not here: what is noted and told (`command::tracking`), delivery (`worker::tracking`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::{Args, CommandError, Context, Effect, Outcome, TrackingOptions};
use super::list::living;
use crate::observe::ClientInfo;
use crate::resp::Reply;
use crate::resp::number::parse_i64;

const OVERLAPS_END: &[u8] = b"'. Prefixes for a single client must not overlap.";

/// What the arguments ask for.
fn read(ctx: &Context<'_>, args: &Args<'_>) -> Result<TrackingOptions, CommandError> {
    let (mut options, mut index) = (TrackingOptions::default(), 3);
    while index < args.len() {
        let has_more = index + 1 < args.len();
        if args.is(index, "REDIRECT") && has_more {
            if options.redirect.is_some() {
                return Err(CommandError::Text("ERR A client can only redirect to a single other client"));
            }
            let id = parse_i64(args.at(index + 1)).ok_or(CommandError::NotInteger)?;
            let found = living(ctx).into_iter().find(|client_info| client_info.id as i64 == id);
            let text = "ERR The client ID you want redirect to does not exist";
            options.redirect = Some(found.ok_or(CommandError::Text(text))?);
            index += 1;
        } else if args.is(index, "BCAST") {
            options.broadcast = true;
        } else if args.is(index, "OPTIN") {
            options.opt_in = true;
        } else if args.is(index, "OPTOUT") {
            options.opt_out = true;
        } else if args.is(index, "NOLOOP") {
            options.no_loop = true;
        } else if args.is(index, "PREFIX") && has_more {
            options.prefixes.push(args.at(index + 1).into());
            index += 1;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    Ok(options)
}

/// CLIENT TRACKING.
pub(super) fn tracking(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut options = read(ctx, args)?;
    if args.is(2, "OFF") {
        end(ctx);
    } else if args.is(2, "ON") {
        check(&options, ctx.session.tracking.as_deref())?;
        if let Some(before) = ctx.session.tracking.as_deref().filter(|_| options.broadcast) {
            check_overlaps(&options.prefixes, &before.prefixes, reply)?;
            options.prefixes.extend(before.prefixes.iter().cloned());
        } else if options.broadcast {
            check_overlaps(&options.prefixes, &[], reply)?;
        }
        if options.broadcast && options.prefixes.is_empty() {
            options.prefixes.push(Box::default());
        }
        options.prefixes.sort();
        options.prefixes.dedup();
        begin(ctx, options);
    } else {
        return Err(CommandError::Syntax);
    }
    reply.ok();
    Ok(())
}

/// Whether options go with each other, and with those in force.
fn check(options: &TrackingOptions, before: Option<&TrackingOptions>) -> Outcome {
    let fail = |text| Err(CommandError::Text(text));
    if !options.broadcast && !options.prefixes.is_empty() {
        return fail("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if before.is_some_and(|before| before.broadcast != options.broadcast) {
        return fail(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then re-enabling it with a different mode.",
        );
    }
    if options.broadcast && (options.opt_in || options.opt_out) {
        return fail("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if options.opt_in && options.opt_out {
        return fail("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    let switches =
        |before: &TrackingOptions| options.opt_in && before.opt_out || options.opt_out && before.opt_in;
    if before.is_some_and(switches) {
        return fail(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then re-enabling it with a different mode.",
        );
    }
    Ok(())
}

/// No prefix may begin with another, be it one that the client has already.
fn check_overlaps(prefixes: &[Box<[u8]>], before: &[Box<[u8]>], reply: &mut Reply<'_>) -> Outcome {
    let overlap = |a: &[u8], b: &[u8]| a.starts_with(b) || b.starts_with(a);
    for (index, prefix) in prefixes.iter().enumerate() {
        let existing = before.iter().find(|other| overlap(prefix, other));
        let provided = prefixes[index + 1..].iter().find(|other| overlap(prefix, other));
        let (word, other): (&[u8], _) = match (existing, provided) {
            (Some(other), _) => (b"' overlaps with an existing prefix '", other),
            (None, Some(other)) => (b"' overlaps with another provided prefix '", other),
            (None, None) => continue,
        };
        reply.error_bytes(&[b"ERR Prefix '", &**prefix, word, &**other, OVERLAPS_END].concat());
        return Err(CommandError::Replied);
    }
    Ok(())
}

fn begin(ctx: &mut Context<'_>, mut options: TrackingOptions) {
    let tracking = &ctx.shared.pubsub.tracking;
    match &ctx.session.tracking {
        None => _ = tracking.clients.fetch_add(1, Relaxed),
        Some(before) => _ = tracking.prefixes.fetch_sub(before.prefixes.len() as u64, Relaxed),
    }
    tracking.prefixes.fetch_add(options.prefixes.len() as u64, Relaxed);
    if !options.broadcast {
        let known = ctx.session.tracking.as_ref().and_then(|before| before.tracker);
        let place = || ctx.session.client_info.place().pack();
        options.tracker = Some(known.unwrap_or_else(|| tracking.enter(place())));
    }
    if let Some(target) = &options.redirect {
        target.pin();
    }
    // Commands that follow in the same pipeline are told of already.
    tracking.note(ctx.worker, true, options.broadcast || tracking.broadcasting() >> ctx.worker & 1 == 1);
    ctx.changes.listen(true);
    ctx.session.tracking = Some(Box::new(options));
    ctx.session.show_tracking();
    ctx.effects.push(Effect::Track(ctx.session.client_info.place(), true));
}

/// As CLIENT TRACKING OFF.
pub(in super::super) fn end(ctx: &mut Context<'_>) {
    if let Some(before) = ctx.session.tracking.take() {
        let tracking = &ctx.shared.pubsub.tracking;
        tracking.clients.fetch_sub(1, Relaxed);
        tracking.prefixes.fetch_sub(before.prefixes.len() as u64, Relaxed);
        before.tracker.into_iter().for_each(|tracker| tracking.leave(tracker));
        ctx.session.show_tracking();
        ctx.effects.push(Effect::Track(ctx.session.client_info.place(), false));
    }
}

/// CLIENT CACHING.
pub(super) fn caching(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let Some(tracking) = ctx.session.tracking.as_mut().filter(|tracking| tracking.opt_in || tracking.opt_out)
    else {
        return Err(CommandError::Text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode enabled",
        ));
    };
    if args.is(2, "YES") {
        if !tracking.opt_in {
            return Err(CommandError::Text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if args.is(2, "NO") {
        if !tracking.opt_out {
            return Err(CommandError::Text(
                "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
            ));
        }
    } else {
        return Err(CommandError::Syntax);
    }
    tracking.caching = true;
    reply.ok();
    Ok(())
}

/// -1: it does not track; 0: it is told itself.
fn redirect_id(options: Option<&TrackingOptions>) -> i64 {
    options.map_or(-1, |options| {
        options.redirect.as_ref().map_or(0, |client_info: &Arc<ClientInfo>| client_info.id as i64)
    })
}

/// CLIENT GETREDIR.
pub(super) fn redirection(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.integer(redirect_id(ctx.session.tracking.as_deref()));
    Ok(())
}

/// CLIENT TRACKINGINFO.
pub(super) fn info(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let options = ctx.session.tracking.as_deref();
    let off = TrackingOptions::default();
    let known = options.unwrap_or(&off);
    let flags = [
        (options.is_none(), "off"),
        (options.is_some(), "on"),
        (known.broadcast, "bcast"),
        (known.opt_in, "optin"),
        (known.opt_in && known.caching, "caching-yes"),
        (known.opt_out, "optout"),
        (known.opt_out && known.caching, "caching-no"),
        (known.no_loop, "noloop"),
        (known.is_broken, "broken_redirect"),
    ];
    let set = flags.iter().filter(|(is_set, _)| *is_set);
    reply.map(3);
    reply.bulk(b"flags");
    reply.set(set.clone().count());
    set.for_each(|(_, name)| reply.bulk(name.as_bytes()));
    reply.bulk(b"redirect");
    reply.integer(redirect_id(options));
    reply.bulk(b"prefixes");
    reply.array(known.prefixes.len());
    known.prefixes.iter().for_each(|prefix| reply.bulk(prefix));
    Ok(())
}
