//! ACL LOG.

use crate::command::{Args, CommandError, Context, Outcome, help};
use crate::resp::Reply;
use crate::resp::number::parse_i64;

/// Entries that are shown if it is not told how many.
const COUNT_DEFAULT: usize = 10;

pub(super) fn log(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let log = &ctx.shared.users.log;
    let count = match args.len() {
        2 => COUNT_DEFAULT,
        3 if args.is(2, "RESET") => {
            log.reset();
            reply.ok();
            return Ok(());
        }
        3 => {
            let count = parse_i64(args.at(2)).ok_or(CommandError::NotInteger)?;
            usize::try_from(count).unwrap_or(0)
        }
        _ => return help::subcommand_syntax(args, reply),
    };
    let entries = log.newest(count);
    reply.array(entries.len());
    for entry in entries {
        let last = &entry.last;
        reply.map(10);
        reply.bulk(b"count");
        reply.integer(entry.count as i64);
        let texts: [(&[u8], &[u8]); 4] = [
            (b"reason", last.reason.name().as_bytes()),
            (b"context", last.context.name().as_bytes()),
            (b"object", &last.object),
            (b"username", &last.user),
        ];
        for (name, text) in texts {
            reply.bulk(name);
            reply.bulk(text);
        }
        reply.bulk(b"age-seconds");
        reply.double(ctx.now_ms.saturating_sub(last.at_ms) as f64 / 1000.0);
        reply.bulk(b"client-info");
        reply.bulk(&last.client);
        let numbers: [(&[u8], u64); 3] = [
            (b"entry-id", entry.id),
            (b"timestamp-created", entry.created_ms),
            (b"timestamp-last-updated", last.at_ms),
        ];
        for (name, number) in numbers {
            reply.bulk(name);
            reply.integer(number as i64);
        }
    }
    Ok(())
}
