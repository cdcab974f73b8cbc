//! CLIENT KILL: the old form names one address, the new one filters.

use std::sync::Arc;

use super::super::{Args, CommandError, Context, Effect, Outcome};
use super::list::{ClientType, living};
use crate::observe::ClientInfo;
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// What a client must be like to be ended; a filter that was not given fits all.
struct Filters<'a> {
    id: Option<u64>,
    address: Option<&'a [u8]>,
    local_address: Option<&'a [u8]>,
    kind: Option<ClientType>,
    user: Option<&'a [u8]>,
    age_s_min: Option<u64>,
    skip_me: bool,
}

pub(super) fn kill(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let old = args.len() == 3;
    let filters =
        if old { Filters { address: args.find(2), ..Filters::NONE } } else { read(ctx, args, reply)? };
    let mut killed = 0;
    for client_info in living(ctx) {
        let me = client_info.id == ctx.session.client_info.id;
        if (me && filters.skip_me) || !filters.fit(&client_info, ctx.now_ms) {
            continue;
        }
        if me {
            ctx.session.close_after_reply();
        } else if !end(ctx, &client_info) {
            continue;
        }
        killed += 1;
    }
    match (old, killed) {
        (true, 0) => return Err(CommandError::Text("ERR No such client")),
        (true, _) => reply.ok(),
        (false, _) => reply.integer(killed),
    }
    Ok(())
}

/// Marks another client and has its worker end it; `false` if that was done before.
pub(in super::super) fn end(ctx: &mut Context<'_>, client_info: &Arc<ClientInfo>) -> bool {
    let place = client_info.kill();
    if place.is_some() {
        // Nothing is given any more to one who will not get it.
        client_info.wait.end_any();
    }
    ctx.effects.extend(place.map(Effect::Kill));
    place.is_some()
}

impl Filters<'_> {
    const NONE: Self = Self {
        id: None,
        address: None,
        local_address: None,
        kind: None,
        user: None,
        age_s_min: None,
        skip_me: false,
    };

    fn fit(&self, client_info: &ClientInfo, now_ms: u64) -> bool {
        let age_s = now_ms.saturating_sub(client_info.created_ms) / 1000;
        self.id.is_none_or(|id| id == client_info.id)
            && self.address.is_none_or(|address| address == client_info.address.as_bytes())
            && self.local_address.is_none_or(|address| address == client_info.local_address.as_bytes())
            && self.kind.is_none_or(|kind| kind == ClientType::of(client_info))
            && self.user.is_none_or(|user| user == client_info.user.load().name())
            && self.age_s_min.is_none_or(|least| age_s >= least)
    }
}

/// The filters from argument 2 on; the first that is wrong is replied to.
fn read<'a>(ctx: &Context<'_>, args: &Args<'a>, reply: &mut Reply<'_>) -> Result<Filters<'a>, CommandError> {
    let mut filters = Filters { skip_me: true, ..Filters::NONE };
    let mut index = 2;
    while index < args.len() {
        let value = args.find(index + 1).ok_or(CommandError::Syntax)?;
        if args.is(index, "ID") {
            let id = parse_i64(value).filter(|id| *id > 0);
            let id = id.ok_or(CommandError::Text("ERR client-id should be greater than 0"))?;
            filters.id = Some(id.unsigned_abs());
        } else if args.is(index, "MAXAGE") {
            let age_s =
                parse_i64(value).ok_or(CommandError::Text("ERR maxage is not an integer or out of range"))?;
            if age_s <= 0 {
                return Err(CommandError::Text("ERR maxage should be greater than 0"));
            }
            filters.age_s_min = Some(age_s.unsigned_abs());
        } else if args.is(index, "TYPE") {
            filters.kind = Some(ClientType::read(args, index + 1, reply)?);
        } else if args.is(index, "ADDR") {
            filters.address = Some(value);
        } else if args.is(index, "LADDR") {
            filters.local_address = Some(value);
        } else if args.is(index, "USER") {
            if ctx.shared.users.load().find(value).is_none() {
                reply.error_bytes(&[b"ERR No such user '", args.c_string(index + 1), b"'"].concat());
                return Err(CommandError::Replied);
            }
            filters.user = Some(value);
        } else if args.is(index, "SKIPME") && (args.is(index + 1, "YES") || args.is(index + 1, "NO")) {
            filters.skip_me = args.is(index + 1, "YES");
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    Ok(filters)
}
