//! DEBUG CHANGES: what commands changed, as a journal and notifications are told, for tests.

use super::{Args, Context, Outcome, Reply};
use crate::command::{help, is_listened};

/// START, TAKE, STOP. TAKE replies two arrays: effects, each a database and the words of a command, and events, each a database,
/// the letter of the class, the name and the key.
pub fn changes(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let recorder = &ctx.shared.debug.changes;
    if args.is(2, "TAKE") {
        let recorded = recorder.take();
        reply.array(2);
        reply.array(recorded.effects.len());
        for (db, words) in &recorded.effects {
            reply.array(1 + words.len());
            reply.integer(i64::from(db.0));
            words.iter().for_each(|word| reply.bulk(word));
        }
        reply.array(recorded.events.len());
        for (db, event, key) in &recorded.events {
            reply.array(4);
            reply.integer(i64::from(db.0));
            reply.bulk(event.class.letter().to_string().as_bytes());
            reply.bulk(event.name.as_bytes());
            reply.bulk(key);
        }
        return Ok(());
    }
    let on = args.is(2, "START");
    if !on && !args.is(2, "STOP") {
        return help::subcommand_syntax(args, reply);
    }
    recorder.switch(on);
    // Other workers ask when they have leases again; this one may go on with the next command.
    let is_kept = is_listened(ctx.shared);
    ctx.changes.listen(is_kept);
    ctx.changes.keep_effects(is_kept);
    reply.ok();
    Ok(())
}
