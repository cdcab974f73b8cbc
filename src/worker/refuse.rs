//! Replies to what is no command: an unknown name, an unknown subcommand, the wrong number of arguments. What a browser sends
//! gets none, and its connection ends.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::command::{Args, Context, Effect, LookupError, Table, help};
use crate::exec::REFUSED;
use crate::observe::WorkerStats;
use crate::resp::Reply;

/// Bytes of a client's arguments that an error repeats.
const ARGS_BYTES_MAX: usize = 128;

/// No two warnings of an attack follow each other within this time, so that no attacker fills the log.
const ATTACK_WARNING_MS: u64 = 60_000;

/// Whether this is the beginning of a request or of a header line of HTTP. A page that a browser shows can have it send these
/// here, and what follows them may be commands of the page's choice.
pub(super) fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// Ends the connection without a reply.
#[cold]
pub(super) fn end_http(ctx: &mut Context<'_>) {
    ctx.session.close_after_reply();
    if is_first_in(ATTACK_WARNING_MS, &ctx.shared.attack_warned_ms, ctx.now_ms) {
        ctx.effects.push(Effect::Warn(format!(
            "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to Torc. This is \
             likely due to an attacker attempting to use Cross Protocol Scripting to compromise your Torc instance. \
             Connection from {} aborted.",
            ctx.session.client_info.address
        )));
    }
}

/// Whether this has not happened for `rest_ms`; of several workers that ask at once one is told so.
fn is_first_in(rest_ms: u64, last_ms: &AtomicU64, now_ms: u64) -> bool {
    let last = last_ms.load(Relaxed);
    now_ms.saturating_sub(last) > rest_ms && last_ms.compare_exchange(last, now_ms, Relaxed, Relaxed).is_ok()
}

/// Says why a command that the table does not have is refused, as Redis words it, and counts it. The row, if there is one.
#[cold]
pub(super) fn refuse(args: &Args<'_>, reply: &mut Reply<'_>, table: &Table, stats: &WorkerStats) -> u16 {
    let mut row = REFUSED;
    match table.resolve(args.at(0), || args.find(1), args.len()) {
        Ok(found) => {
            row = found.id;
            stats.commands[row as usize].rejected.add(1);
            reply.error("ERR key is longer than 4 GiB");
        }
        Err(LookupError::UnknownCommand) => reply.error_bytes(&unknown_command(args)),
        Err(LookupError::UnknownSubcommand(_)) => {
            let container = args.at(0).to_ascii_uppercase();
            let text =
                [b"ERR unknown subcommand '", help::shown(args.at(1)), b"'. Try ", &container, b" HELP."];
            reply.error_bytes(&text.concat());
        }
        Err(LookupError::Arity(id)) => {
            row = id;
            stats.commands[id as usize].rejected.add(1);
            let name = &table.row(id).full_name;
            reply.error_fmt(format_args!("ERR wrong number of arguments for '{name}' command"));
        }
    }
    stats.counters.commands_rejected.add(1);
    stats.count_error("ERR");
    row
}

/// The error text with the beginnings of the name and of as many arguments as there is room for.
fn unknown_command(args: &Args<'_>) -> Vec<u8> {
    let mut shown = Vec::new();
    for arg in args.from(1) {
        if shown.len() >= ARGS_BYTES_MAX {
            break;
        }
        let room = ARGS_BYTES_MAX - shown.len();
        let arg = help::shown(arg);
        shown.push(b'\'');
        shown.extend_from_slice(&arg[..room.min(arg.len())]);
        shown.extend_from_slice(b"' ");
    }
    let name = help::shown(args.at(0));
    [b"ERR unknown command '", name, b"', with args beginning with: ", &shown].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::Span;

    fn text(words: &[&[u8]]) -> String {
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for word in words {
            spans.push(Span { start: buffer.len() as u32, len: word.len() as u32 });
            buffer.extend_from_slice(word);
        }
        String::from_utf8_lossy(&unknown_command(&Args::new(&buffer, &spans, &[]))).into_owned()
    }

    #[test]
    fn unknown_commands_are_shown_as_redis_shows_them() {
        assert_eq!(text(&[b"FOO"]), "ERR unknown command 'FOO', with args beginning with: ");
        assert_eq!(text(&[b"f\0o", b"a\0b"]), "ERR unknown command 'f', with args beginning with: 'a' ");
        let (long, y) = ([b'x'; 200], [b'y'; 60]);
        let expected = format!(
            "ERR unknown command '{}', with args beginning with: '{y}' '{y}' 'yy' ",
            "x".repeat(128),
            y = "y".repeat(60)
        );
        assert_eq!(text(&[&long, &y, &y, &y, &y]), expected);
    }
}
