//! REPLCONF: what a replica says of itself before it follows, and how far it is while it does.

use super::{Args, BASE, Command, CommandError, Context, Effect, Flags, Group, Outcome, Reply, Scope};
use crate::config::split_line;
use crate::replicate::primary::{About, Filter, Replicas};
use crate::resp::number::parse_i64;

/// Longer addresses are refused.
const ADDRESS_BYTES_MAX: usize = 255;

/// REPLCONF.
pub const ROW: Command = Command {
    name: "replconf",
    internal: true,
    arity: -1,
    flags: Flags::ADMIN.with(Flags::NOSCRIPT).with(Flags::LOADING).with(Flags::STALE).with(Flags::ALLOW_BUSY),
    scope: Scope::None,
    group: Group::Server,
    since: "3.0.0",
    summary: "What a replica tells its primary: of itself, and how far it is.",
    handler: replconf,
    ..BASE
};

fn replconf(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let mut index = 1;
    while index < args.len() {
        if args.is(index, "ACK") {
            acknowledge(ctx, args, index);
            return Ok(());
        }
        if args.is(index, "GETACK") {
            // What a primary asks a replica, in its stream.
            return Ok(());
        }
        let replicas = &ctx.shared.replication.replicas;
        let about = ctx.session.about.get_or_insert_default();
        introduce(about, replicas, args, index, reply)?;
        index += 2;
    }
    reply.ok();
    Ok(())
}

/// The replica has applied so much; no reply.
fn acknowledge(ctx: &mut Context<'_>, args: &Args<'_>, index: usize) {
    let Some(replica) = &ctx.session.replica else { return };
    let count =
        |index: usize| args.find(index).and_then(parse_i64).and_then(|count| u64::try_from(count).ok());
    let Some(applied) = count(index + 1) else { return };
    let tells_kept = index + 3 < args.len() && args.is(index + 2, "FACK");
    let kept = if tells_kept { count(index + 3) } else { None };
    replica.acknowledge(applied, kept, ctx.now_ms);
    ctx.effects.push(Effect::Acknowledged(ctx.session.client_info.place()));
}

/// An option and its value.
fn introduce(
    about: &mut About,
    replicas: &Replicas,
    args: &Args<'_>,
    index: usize,
    reply: &mut Reply<'_>,
) -> Outcome {
    let value = args.at(index + 1);
    if args.is(index, "LISTENING-PORT") {
        let port = parse_i64(value).ok_or(CommandError::NotInteger)?;
        about.port = port as u16;
    } else if args.is(index, "IP-ADDRESS") {
        if value.len() > ADDRESS_BYTES_MAX {
            let length = value.len();
            reply.error(&format!(
                "ERR REPLCONF ip-address provided by replica instance is too long: {length} bytes"
            ));
            return Err(CommandError::Replied);
        }
        let address = String::from_utf8_lossy(value);
        about.address = (!address.is_empty()).then(|| address.into());
    } else if args.is(index, "CAPA") {
        // What is not known is of no use here.
        about.knows_mark |= args.is(index + 1, "EOF");
        about.knows_names |= args.is(index + 1, "PSYNC2");
        about.is_new |= args.is(index + 1, "RDB-CHANNEL-REPL");
        about.takes_channel |= args.is(index + 1, "RDB-CHANNEL-REPL");
        about.takes_channel_of_valkey |= args.is(index + 1, "DUAL-CHANNEL");
        about.is_torc |= args.is(index + 1, "TORC");
    } else if args.is(index, "VERSION") {
        about.is_new = true;
        about.is_valkey =
            value.split(|byte| *byte == b'.').next().and_then(parse_i64).is_some_and(|major| major >= 9);
    } else if args.is(index, "RDB-ONLY") {
        about.only_snapshot = yes_or_no(value)?;
    } else if args.is(index, "RDB-CHANNEL") {
        about.is_channel = yes_or_no(value)?;
        about.only_snapshot |= about.is_channel;
    } else if args.is(index, "MAIN-CH-CLIENT-ID") {
        about.channel_of = known_replica(replicas, value, ":", reply)?;
        // No older one says so.
        about.is_new = true;
    } else if args.is(index, "SET-RDB-CLIENT-ID") {
        about.channel = known_replica(replicas, value, "", reply)?;
    } else if args.is(index, "RDB-FILTER-ONLY") {
        about.filter = filter(value, reply)?;
    } else {
        reply.error_bytes(&[b"ERR Unrecognized REPLCONF option: ", args.c_string(index)].concat());
        return Err(CommandError::Replied);
    }
    Ok(())
}

fn yes_or_no(value: &[u8]) -> Result<bool, CommandError> {
    match parse_i64(value).ok_or(CommandError::NotInteger)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(CommandError::Text("ERR value is out of range, value must between 0 and 1")),
    }
}

/// The number of a client that is a replica.
fn known_replica(
    replicas: &Replicas,
    value: &[u8],
    colon: &str,
    reply: &mut Reply<'_>,
) -> Result<u64, CommandError> {
    let client = parse_i64(value).ok_or(CommandError::NotInteger)?;
    match u64::try_from(client).ok().and_then(|client| replicas.find(client)) {
        Some(replica) => Ok(replica.client_info.id),
        None => {
            reply.error(&format!("ERR Unrecognized RDB client id{colon} {client}"));
            Err(CommandError::Replied)
        }
    }
}

/// What these words leave in a snapshot.
fn filter(words: &[u8], reply: &mut Reply<'_>) -> Result<Filter, CommandError> {
    let words = split_line(words).ok_or(CommandError::Text("ERR Missing rdb-filter-only values"))?;
    let mut filter = Filter { without_keys: true, without_functions: true };
    for word in words {
        if !word.eq_ignore_ascii_case(b"functions") {
            reply.error_bytes(&[b"ERR Unsupported rdb-filter-only option: ", &word[..]].concat());
            return Err(CommandError::Replied);
        }
        filter.without_functions = false;
    }
    Ok(filter)
}
