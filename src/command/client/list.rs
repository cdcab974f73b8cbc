//! CLIENT LIST and CLIENT INFO: a line per client, in the order and with the names of Redis's fields.
//!
//! What Redis's fields say of its own buffers is told of the nearest thing here: `qbuf` is the input that waits, `omem` the
//! replies that wait. Of a client's command only that of the one who asks is known. The fields of what does not exist here
//! (`rbs`, ...) are 0. The last field, `worker`, is Torc's own.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::super::{Args, CommandError, Context, Outcome, Session, table};
use crate::observe::{ClientInfo, flag};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// What CLIENT LIST and CLIENT KILL tell apart by `TYPE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientType {
    Normal,
    Replica,
    PubSub,
    Master,
}

impl ClientType {
    /// The type that argument `index` names; replies with an error when it names none.
    pub(super) fn read(args: &Args<'_>, index: usize, reply: &mut Reply<'_>) -> Result<Self, CommandError> {
        const NAMES: [(&str, ClientType); 5] = [
            ("NORMAL", ClientType::Normal),
            ("SLAVE", ClientType::Replica),
            ("REPLICA", ClientType::Replica),
            ("PUBSUB", ClientType::PubSub),
            ("MASTER", ClientType::Master),
        ];
        if let Some((_, found)) = NAMES.iter().find(|(name, _)| args.is(index, name)) {
            return Ok(*found);
        }
        reply.error_bytes(&[b"ERR Unknown client type '", args.c_string(index), b"'"].concat());
        Err(CommandError::Replied)
    }

    /// The type of a client.
    pub(super) fn of(client_info: &ClientInfo) -> Self {
        match () {
            () if client_info.has(flag::REPLICA) => Self::Replica,
            () if client_info.has(flag::PRIMARY) => Self::Master,
            () if client_info.has(flag::SUBSCRIBER) => Self::PubSub,
            () => Self::Normal,
        }
    }
}

pub(super) fn list(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut text = Vec::new();
    if args.len() == 4 && args.is(2, "TYPE") {
        let wanted = ClientType::read(args, 3, reply)?;
        let client_infos = living(ctx);
        client_infos
            .iter()
            .filter(|client_info| ClientType::of(client_info) == wanted)
            .for_each(|client_info| line(ctx, client_info, args, &mut text));
    } else if args.len() > 3 && args.is(2, "ID") {
        let ids: Option<Vec<i64>> = args.from(3).map(parse_i64).collect();
        let ids = ids.ok_or(CommandError::Text("ERR Invalid client ID"))?;
        let client_infos = living(ctx);
        for id in ids {
            if let Ok(index) = client_infos.binary_search_by_key(&id, |client_info| client_info.id as i64) {
                line(ctx, &client_infos[index], args, &mut text);
            }
        }
    } else if args.len() == 2 {
        living(ctx).iter().for_each(|client_info| line(ctx, client_info, args, &mut text));
    } else {
        return Err(CommandError::Syntax);
    }
    reply.verbatim(*b"txt", &text);
    Ok(())
}

pub(super) fn info(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let mut text = Vec::new();
    line(ctx, &ctx.session.client_info, args, &mut text);
    reply.verbatim(*b"txt", &text);
    Ok(())
}

/// The client infos of all clients that nobody has ended yet, ascending by id.
pub(in super::super) fn living(ctx: &Context<'_>) -> Vec<Arc<ClientInfo>> {
    let mut client_infos = ctx.shared.clients.client_infos();
    client_infos.retain(|client_info| !client_info.is_killed());
    client_infos
}

/// What a client's worker shows in its client info at the end of a turn; of the client that asks, what has changed since.
struct Shown {
    idle_s: u64,
    row: u16,
    query_bytes: u64,
    args_bytes: u64,
    total_bytes: u64,
    commands_run: u64,
}

impl Shown {
    fn of(client_info: &ClientInfo, now_ms: u64) -> Shown {
        Shown {
            idle_s: now_ms.saturating_sub(client_info.active_ms.load(Relaxed)) / 1000,
            row: client_info.last_command.load(Relaxed),
            query_bytes: client_info.query_bytes.load(Relaxed),
            args_bytes: 0,
            total_bytes: client_info.total_bytes.load(Relaxed),
            commands_run: client_info.commands_run.load(Relaxed),
        }
    }

    /// Of the client that asks, by this command.
    fn of_asking(session: &Session, args: &Args<'_>) -> Shown {
        let touched = session.watch.as_ref().is_some_and(|watch| watch.flag.is_touched());
        session.client_info.set(flag::DIRTY_CAS, touched);
        let query_bytes = args.request_bytes() as u64;
        let before = session.client_info.total_bytes.load(Relaxed).max(size_of::<Session>() as u64);
        let args_bytes = args.from(0).map(|arg| arg.len() as u64).sum();
        let (row, total_bytes, commands_run) = (session.last_row, before + query_bytes, session.commands_run);
        Shown { idle_s: 0, row, query_bytes, args_bytes, total_bytes, commands_run }
    }
}

/// The line of the client that runs this command, without its end.
pub(in super::super) fn client_line(ctx: &Context<'_>, args: &Args<'_>) -> Vec<u8> {
    let mut text = Vec::new();
    line(ctx, &ctx.session.client_info, args, &mut text);
    text.pop();
    text
}

/// Adds the line of one client.
fn line(ctx: &Context<'_>, client_info: &ClientInfo, args: &Args<'_>, text: &mut Vec<u8>) {
    let shown = match client_info.id == ctx.session.client_info.id {
        true => Shown::of_asking(ctx.session, args),
        false => Shown::of(client_info, ctx.now_ms),
    };
    write_line(client_info, ctx.now_ms, &shown, text);
}

fn write_line(client_info: &ClientInfo, now_ms: u64, shown: &Shown, text: &mut Vec<u8>) {
    let Shown { idle_s, row, query_bytes, args_bytes, total_bytes, commands_run } = *shown;
    let rows = table().rows();
    let command = rows.get(row as usize).map_or("NULL", |row| row.full_name.as_str());
    let multi = client_info.multi_count.load(Relaxed) as i32;
    let mut start = String::with_capacity(384);
    write!(
        start,
        "id={} addr={} laddr={} fd={} name=",
        client_info.id, client_info.address, client_info.local_address, client_info.fd
    )
    .expect(WRITES);
    text.extend_from_slice(start.as_bytes());
    push(text, &client_info.name);
    let mut rest = start;
    rest.clear();
    write!(rest, " age={} idle={idle_s} flags=", now_ms.saturating_sub(client_info.created_ms) / 1000)
        .expect(WRITES);
    let letters = rest.len();
    rest.extend(flag::LETTERS.iter().filter(|(bit, _)| client_info.has(*bit)).map(|(_, letter)| *letter));
    if rest.len() == letters {
        rest.push('N');
    }
    let [sub, psub, ssub] = client_info.subscription_counts.each_ref().map(|count| count.load(Relaxed));
    write!(
        rest,
        " db={} sub={sub} psub={psub} ssub={ssub} multi={multi} watch={} qbuf={query_bytes} qbuf-free={} argv-mem={args_bytes} multi-mem={} rbs=0 rbp=0 \
         obl=0 oll={} omem={} tot-mem={total_bytes} events=r cmd={command} user=",
        client_info.db.load(Relaxed),
        client_info.watch_count.load(Relaxed),
        client_info.query_bytes_free.load(Relaxed),
        client_info.multi_bytes.load(Relaxed),
        client_info.output_pieces.load(Relaxed),
        client_info.output_bytes.load(Relaxed),
    )
    .expect(WRITES);
    text.extend_from_slice(rest.as_bytes());
    text.extend_from_slice(client_info.user.load().name());
    rest.clear();
    let (redirect, protocol) = (client_info.redirect.load(Relaxed), client_info.protocol.load(Relaxed));
    write!(rest, " redir={redirect} resp={protocol} lib-name=").expect(WRITES);
    text.extend_from_slice(rest.as_bytes());
    push(text, &client_info.lib_name);
    text.extend_from_slice(b" lib-ver=");
    push(text, &client_info.lib_version);
    rest.clear();
    let worker = client_info.place().worker;
    let (received, sent) = (client_info.received_bytes.read(), client_info.sent_bytes.read());
    writeln!(
        rest,
        " io-thread={worker} tot-net-in={received} tot-net-out={sent} tot-cmds={commands_run} worker={worker}"
    )
    .expect(WRITES);
    text.extend_from_slice(rest.as_bytes());
}

const WRITES: &str = "writing to a string does not fail";

fn push(text: &mut Vec<u8>, value: &arc_swap::ArcSwapOption<Vec<u8>>) {
    if let Some(value) = value.load().as_deref() {
        text.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::{ClientPlace, RegistrySlot};

    #[test]
    fn a_line_has_the_fields_of_redis_in_order() {
        let (registry_slot, place) =
            (RegistrySlot { worker: 0, number: 0 }, ClientPlace { worker: 2, slot: 0, generation: 0 });
        let client_info =
            ClientInfo::new(7, registry_slot, place, "1.2.3.4:5".into(), "6.7.8.9:10".into(), 11, 1000);
        client_info.name.store(Some(Arc::new(b"bob".to_vec())));
        client_info.set(flag::NO_TOUCH | flag::NO_EVICT, true);
        client_info.received_bytes.add(9);
        client_info.sent_bytes.add(10);
        let get = table().find(b"get").expect("a command").id;
        let mut text = Vec::new();
        let shown =
            Shown { idle_s: 3, row: get, query_bytes: 4, args_bytes: 5, total_bytes: 6, commands_run: 8 };
        write_line(&client_info, 5999, &shown, &mut text);
        let expected = "id=7 addr=1.2.3.4:5 laddr=6.7.8.9:10 fd=11 name=bob age=4 idle=3 flags=eT db=0 sub=0 psub=0 \
                        ssub=0 multi=-1 watch=0 qbuf=4 qbuf-free=0 argv-mem=5 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 \
                        omem=0 tot-mem=6 events=r cmd=get user=(superuser) redir=-1 resp=2 lib-name= lib-ver= io-thread=2 \
                        tot-net-in=9 tot-net-out=10 tot-cmds=8 worker=2\n";
        assert_eq!(String::from_utf8_lossy(&text), expected);
        client_info.set(flag::NO_TOUCH | flag::NO_EVICT, false);
        text.clear();
        write_line(&client_info, 500, &Shown::of(&client_info, 500), &mut text);
        let line = String::from_utf8_lossy(&text).into_owned();
        assert!(line.contains(" age=0 idle=0 flags=N ") && line.contains(" cmd=NULL "), "{line}");
    }
}
