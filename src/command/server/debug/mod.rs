//! DEBUG: what test suites and people at a bench ask for. Refused unless `enable-debug-command` allows it.
//!
//! Design: one row that holds every lease, as Redis stops while it debugs; DEBUG SLEEP is the one place that sleeps under
//! leases, because that is what it is for. A subcommand of Redis that has no object here is unknown, but for those that
//! test suites send in passing (thresholds of encodings and buffers), which are checked and change nothing.
//!
//! | file | what |
//! |---|---|
//! | `object` | OBJECT, LISTPACK, SDSLEN, HTSTATS: how a key lies in memory |
//! | `digest` | DIGEST, DIGEST-VALUE: one number for all data |
//! | `protocol` | PROTOCOL: a reply of each kind |

mod digest;
mod object;
mod protocol;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{ADMIN, Args, Command, Context, Flags, Outcome, Reply, SERVER, caller, help};
use crate::command::{CommandError, Scope};
use crate::config::{Caller, ProtectedAction, parse_memory};
use crate::glob;
use crate::resp::number::parse_i64;
use crate::store::{Deadline, NewString};

/// Largest threshold of QUICKLIST-PACKED-THRESHOLD.
const PACKED_BYTES_MAX: u64 = (4 << 30) - 1;
/// Longest that SLEEP sleeps: a slip of the finger should not cost a day.
const SLEEP_S_MAX: f64 = 3600.0;
/// Rounds of STRINGMATCH-TEST, and the longest pattern and text.
const MATCH_ROUNDS: usize = 20_000;
const MATCH_BYTES_MAX: u64 = 24;

const NOT_ALLOWED: CommandError = CommandError::Text(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local \
     connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
const NO_PERSISTENCE: CommandError =
    CommandError::Text("ERR nothing can be reloaded: this server does not save its data yet");
const BAD_THRESHOLD: CommandError =
    CommandError::Text("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
const NOT_POSITIVE: CommandError = CommandError::Text("ERR value is out of range, must be positive");

/// DEBUG.
pub const ROW: Command = Command {
    name: "debug",
    arity: -2,
    flags: ADMIN.with(Flags::PROTECTED),
    scope: Scope::All,
    complexity: "Depends on subcommand.",
    summary: "A container for debugging commands.",
    syntax: "subcommand [argument [argument ...]]",
    handler: debug,
    ..SERVER
};

type Run = fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> Outcome;

/// The subcommands: word, fewest and most arguments after it, code.
const SUBCOMMANDS: &[(&str, usize, usize, Run)] = &[
    ("CHANGE-REPL-ID", 0, 0, change_replication_id),
    ("DIGEST", 0, 0, digest::all),
    ("DIGEST-VALUE", 0, usize::MAX, digest::values),
    ("ERROR", 1, 1, error),
    ("HELP", 0, 0, show_help),
    ("HTSTATS", 1, 2, object::table_statistics),
    ("LISTPACK", 1, 1, object::listpack),
    ("LOADAOF", 0, 0, reload),
    ("LOG", 1, 1, log_message),
    ("OBJECT", 1, 2, object::object),
    ("PANIC", 0, 0, panic),
    ("POPULATE", 1, 3, populate),
    ("PROTOCOL", 1, 1, protocol::reply_of_kind),
    ("QUICKLIST-PACKED-THRESHOLD", 1, 1, packed_threshold),
    ("RELOAD", 0, usize::MAX, reload),
    ("REPLYBUFFER", 2, 2, reply_buffer),
    ("SDSLEN", 1, 1, object::lengths),
    ("SET-ACTIVE-EXPIRE", 1, 1, set_active_expire),
    ("SLEEP", 1, 1, sleep),
    ("STRINGMATCH-TEST", 0, 0, match_many),
    ("STRUCTSIZE", 0, 0, object::sizes),
];

fn debug(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let allowed = match ctx.config.enable_debug_command {
        ProtectedAction::Yes => true,
        ProtectedAction::No => false,
        ProtectedAction::Local => caller(ctx.session) == Caller::Local,
    };
    if !allowed {
        return Err(NOT_ALLOWED);
    }
    let given = args.len() - 2;
    let found = SUBCOMMANDS
        .iter()
        .find(|(word, least, most, _)| args.is(1, word) && (*least..=*most).contains(&given));
    match found {
        Some((.., run)) => run(ctx, args, reply),
        None => help::subcommand_syntax(args, reply),
    }
}

fn change_replication_id(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    log::info!("Changing replication IDs after receiving change-repl-id");
    ctx.shared.debug.replication_id_changes.fetch_add(1, Relaxed);
    reply.ok();
    Ok(())
}

fn error(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.error_bytes(args.at(2));
    Ok(())
}

fn log_message(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    log::warn!("DEBUG LOG: {}", String::from_utf8_lossy(args.at(2)));
    reply.ok();
    Ok(())
}

/// Ends the process as a broken invariant does, to see what the service manager makes of it.
fn panic(_: &mut Context<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    panic!("DEBUG PANIC was asked for");
}

fn reload(_: &mut Context<'_>, args: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    let known = |index| ["MERGE", "NOFLUSH", "NOSAVE"].iter().any(|word| args.is(index, word));
    if (2..args.len()).all(known) {
        return Err(NO_PERSISTENCE);
    }
    Err(CommandError::Text("ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options."))
}

fn packed_threshold(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match parse_memory(args.at(2)) {
        Some(0..=PACKED_BYTES_MAX) => reply.ok(),
        _ => return Err(BAD_THRESHOLD),
    }
    Ok(())
}

/// Changes nothing: replies here have no buffers of their own to resize.
fn reply_buffer(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let (peak, resizing) = (args.is(2, "PEAK-RESET-TIME"), args.is(2, "RESIZING"));
    if !peak && !resizing {
        return help::subcommand_syntax(args, reply);
    }
    let is_word = peak && (args.is(3, "NEVER") || args.is(3, "RESET"));
    if !is_word {
        parse_i64(args.at(3)).ok_or(CommandError::NotInteger)?;
    }
    reply.ok();
    Ok(())
}

/// Any number is taken, and what is none counts as 0, as in Redis.
fn set_active_expire(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let off = parse_i64(args.at(2)).unwrap_or(0) == 0;
    ctx.shared.debug.no_active_expire.store(off, Relaxed);
    reply.ok();
    Ok(())
}

fn sleep(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let text = String::from_utf8_lossy(args.at(2));
    let seconds = text.parse::<f64>().ok().filter(|seconds| *seconds > 0.0).unwrap_or(0.0);
    std::thread::sleep(Duration::from_secs_f64(seconds.min(SLEEP_S_MAX)));
    reply.ok();
    Ok(())
}

fn populate(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let positive = |index| parse_i64(args.at(index)).filter(|count| *count >= 0).ok_or(NOT_POSITIVE);
    let count = positive(2)?;
    let prefix = args.find(3).unwrap_or(b"key");
    let size = if args.len() > 4 { Some(positive(4)? as usize) } else { None };
    if size.is_some_and(|size| size as u64 > ctx.config.proto_max_bulk_len) {
        return Err(CommandError::NotInteger);
    }
    let (db, now_ms) = (ctx.session.db, ctx.now_ms);
    let mut key = Vec::new();
    for number in 0..count {
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(format!(":{number}").as_bytes());
        let mut value = format!("value:{number}").into_bytes();
        if let Some(size) = size {
            value.resize(size, 0);
        }
        let hash = ctx.shared.keyspace.hash(&key);
        let shard = ctx.leases.shard(ctx.shared.keyspace.shard_of(hash));
        let mut place = shard.write(db, hash, &key, now_ms);
        if place.entry().is_none() {
            place.set_string(NewString::Bytes(&value), Deadline::None);
        }
    }
    reply.ok();
    Ok(())
}

/// Random patterns against random texts.
fn match_many(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    const ALPHABET: &[u8] = b"*?[]^-\\abc";
    let mut word = |letters: &[u8]| -> Vec<u8> {
        let len = ctx.rng.below(MATCH_BYTES_MAX);
        (0..len).map(|_| letters[ctx.rng.below(letters.len() as u64) as usize]).collect()
    };
    for _ in 0..MATCH_ROUNDS {
        let (pattern, text) = (word(ALPHABET), word(b"abc"));
        // What it says is not known here; that it says something is.
        let _: bool = glob::matches(&pattern, &text, glob::Case::Sensitive);
    }
    reply.simple("Apparently Redis did not crash: test passed");
    Ok(())
}

fn show_help(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let lines = [
        "CHANGE-REPL-ID",
        "    Change the replication IDs of the instance.",
        "    Dangerous: should be used only for testing the replication subsystem.",
        "DIGEST",
        "    Output a hex signature representing the current DB content.",
        "DIGEST-VALUE <key> [<key> ...]",
        "    Output a hex signature of the values of all the specified keys.",
        "ERROR <string>",
        "    Return a Redis protocol error with <string> as message. Useful for clients",
        "    unit tests to simulate Redis errors.",
        "LOG <message>",
        "    Write <message> to the server log.",
        "HTSTATS <dbid> [full]",
        "    Return hash table statistics of the specified Redis database.",
        "OBJECT <key> [fast]",
        "    Show low level info about `key` and associated value.",
        "PANIC",
        "    Crash the server simulating a panic.",
        "POPULATE <count> [<prefix>] [<size>]",
        "    Create <count> string keys named key:<num>. If <prefix> is specified then",
        "    it is used instead of the 'key' prefix. These are not propagated to",
        "    replicas. Cluster slots are not respected so keys not belonging to the",
        "    current node can be created in cluster mode.",
        "PROTOCOL <type>",
        "    Reply with a test value of the specified type. <type> can be: string,",
        "    integer, double, bignum, null, array, set, map, attrib, push, verbatim,",
        "    true, false.",
        "SDSLEN <key>",
        "    Show low level SDS string info representing `key` and value.",
        "SET-ACTIVE-EXPIRE <0|1>",
        "    Setting it to 0 disables expiring keys in background when they are not",
        "    accessed (otherwise the Redis behavior). Setting it to 1 reenables back the",
        "    default.",
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "    Sets the threshold for elements to be inserted as plain vs packed nodes",
        "    Default value is 1GB, allows values up to 4GB. Setting to 0 restores to default.",
        "SLEEP <seconds>",
        "    Stop the server for <seconds>. Decimals allowed.",
        "STRINGMATCH-TEST",
        "    Run a fuzz tester against the stringmatchlen() function.",
        "STRUCTSIZE",
        "    Return the size of different Redis core C structures.",
        "LISTPACK <key>",
        "    Show low level info about the listpack encoding of <key>.",
        "REPLYBUFFER PEAK-RESET-TIME <NEVER||RESET|time>",
        "    Sets the time (in milliseconds) to wait between client reply buffer peak resets.",
        "    In case NEVER is provided the last observed peak will never be reset",
        "    In case RESET is provided the peak reset time will be restored to the default value",
        "REPLYBUFFER RESIZING <0|1>",
        "    Enable or disable the reply buffer resize cron job",
    ];
    help::show(args, reply, &lines);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_sorted_and_upper_case() {
        assert!(SUBCOMMANDS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(
            SUBCOMMANDS
                .iter()
                .all(|(word, least, most, _)| { word.to_ascii_uppercase() == *word && least <= most })
        );
    }
}
