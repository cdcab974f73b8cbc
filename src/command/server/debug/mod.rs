//! DEBUG: what test suites and people at a bench ask for. Refused unless `enable-debug-command` allows it.
//!
//! Design: one row that holds every lease, as Redis stops while it debugs; DEBUG SLEEP is the one place that sleeps under
//! leases, because that is what it is for. A subcommand of Redis that has no object here is unknown, but for those that
//! test suites send in passing (thresholds of encodings and buffers), which are checked and change nothing.
//!
//! | file | what |
//! |---|---|
//! | `object` | OBJECT, LISTPACK, SDSLEN, HTSTATS: how a key lies in memory |
//! | `changes` | CHANGES: what commands changed, effects and events |
//! | `digest` | DIGEST, DIGEST-VALUE: one number for all data |
//! | `protocol` | PROTOCOL: a reply of each kind |

mod changes;
mod digest;
mod object;
mod protocol;

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::{ADMIN, Args, Command, Context, Flags, Outcome, Reply, SERVER, help, is_allowed, save};
use crate::command::{CommandError, Scope};
use crate::config::parse_memory;
use crate::glob;
use crate::resp::number::parse_i64;
use crate::store::{Deadline, KEY_BYTES_MAX, NewString, STRING_BYTES_MAX};

/// Largest threshold of QUICKLIST-PACKED-THRESHOLD.
const PACKED_BYTES_MAX: u64 = (4 << 30) - 1;
/// Longest that SLEEP sleeps: a slip of the finger should not cost a day.
const SLEEP_S_MAX: f64 = 3600.0;
/// Keys between two signs of life.
const POPULATE_STEP: i64 = 1 << 16;
/// Rounds of STRINGMATCH-TEST, and the longest pattern and text.
const MATCH_ROUNDS: usize = 20_000;
const MATCH_BYTES_MAX: u64 = 24;

const NOT_ALLOWED: CommandError = CommandError::Text(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local \
     connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);
const BAD_THRESHOLD: CommandError =
    CommandError::Text("ERR argument must be a memory value bigger than 1 and smaller than 4gb");
const NOT_POSITIVE: CommandError = CommandError::Text("ERR value is out of range, must be positive");

/// DEBUG.
pub const ROW: Command = Command {
    name: "debug",
    arity: -2,
    flags: ADMIN.with(Flags::PROTECTED),
    scope: Scope::All,
    complexity: "that of the subcommand",
    summary: "Tools for test suites and for looking inside.",
    syntax: "",
    internal: true,
    handler: debug,
    ..SERVER
};

type Run = fn(&mut Context<'_>, &Args<'_>, &mut Reply<'_>) -> Outcome;

/// A subcommand of DEBUG.
struct Subcommand {
    word: &'static str,
    /// Fewest and most arguments after the word.
    least: usize,
    most: usize,
    run: Run,
    syntax: &'static str,
    summary: &'static str,
}

const SUBCOMMANDS: &[Subcommand] = &[
    Subcommand {
        word: "CHANGE-REPL-ID",
        least: 0,
        most: 0,
        run: change_replication_id,
        syntax: "",
        summary: "Takes another replication ID, for tests of replication.",
    },
    Subcommand {
        word: "CHANGES",
        least: 1,
        most: 1,
        run: changes::changes,
        syntax: "<START | TAKE | STOP>",
        summary: "Records what commands change: effects and events.",
    },
    Subcommand {
        word: "DICT-RESIZING",
        least: 1,
        most: 1,
        run: dict_resizing,
        syntax: "<0 | 1>",
        summary: "Accepted; tables here grow and shrink in small steps at all times.",
    },
    Subcommand {
        word: "DIGEST",
        least: 0,
        most: 0,
        run: digest::all,
        syntax: "",
        summary: "A checksum over all data, the same for the same data.",
    },
    Subcommand {
        word: "DIGEST-VALUE",
        least: 0,
        most: usize::MAX,
        run: digest::values,
        syntax: "key [key ...]",
        summary: "The checksum of each value.",
    },
    Subcommand {
        word: "ERROR",
        least: 1,
        most: 1,
        run: error,
        syntax: "message",
        summary: "Replies with this error.",
    },
    Subcommand {
        word: "HELP",
        least: 0,
        most: 0,
        run: show_help,
        syntax: "",
        summary: "Lists the subcommands.",
    },
    Subcommand {
        word: "HTSTATS",
        least: 1,
        most: 2,
        run: object::table_statistics,
        syntax: "db [FULL]",
        summary: "How full the table of a database is.",
    },
    Subcommand {
        word: "LISTPACK",
        least: 1,
        most: 1,
        run: object::listpack,
        syntax: "key",
        summary: "Shows how a packed value lies in memory.",
    },
    Subcommand {
        word: "LOADAOF",
        least: 0,
        most: 0,
        run: load_log,
        syntax: "",
        summary: "Empties all databases and loads the append-only file.",
    },
    Subcommand {
        word: "LOG",
        least: 1,
        most: 1,
        run: log_message,
        syntax: "message",
        summary: "Writes a line to the log.",
    },
    Subcommand {
        word: "OBJECT",
        least: 1,
        most: 2,
        run: object::object,
        syntax: "key [FAST]",
        summary: "Shows how a key lies in memory.",
    },
    Subcommand {
        word: "PANIC",
        least: 0,
        most: 0,
        run: panic,
        syntax: "",
        summary: "Ends the server as an error of its own would.",
    },
    Subcommand {
        word: "POPULATE",
        least: 1,
        most: 3,
        run: populate,
        syntax: "count [prefix] [size]",
        summary: "Makes keys PREFIX:0, PREFIX:1 and so on that do not exist.",
    },
    Subcommand {
        word: "PROTOCOL",
        least: 1,
        most: 1,
        run: protocol::reply_of_kind,
        syntax: "kind",
        summary: "Replies with an example: string, integer, double, bignum, null, array, set, map, attrib, push, verbatim, true, false.",
    },
    Subcommand {
        word: "QUICKLIST-PACKED-THRESHOLD",
        least: 1,
        most: 1,
        run: packed_threshold,
        syntax: "size",
        summary: "Accepted; where an element of a list lies depends on its size alone.",
    },
    Subcommand {
        word: "RELOAD",
        least: 0,
        most: usize::MAX,
        run: save::reload,
        syntax: "[NOSAVE] [NOFLUSH] [MERGE]",
        summary: "Saves, empties all databases and loads what was saved.",
    },
    Subcommand {
        word: "REPLYBUFFER",
        least: 2,
        most: 2,
        run: reply_buffer,
        syntax: "<PEAK-RESET-TIME <NEVER | RESET | ms> | RESIZING <0 | 1>>",
        summary: "Accepted; replies have no buffers of their own to resize.",
    },
    Subcommand {
        word: "SDSLEN",
        least: 1,
        most: 1,
        run: object::lengths,
        syntax: "key",
        summary: "Lengths of key and value, and the room that is left.",
    },
    Subcommand {
        word: "SET-ACTIVE-EXPIRE",
        least: 1,
        most: 1,
        run: set_active_expire,
        syntax: "<0 | 1>",
        summary: "Whether keys expire that nobody looks at.",
    },
    Subcommand {
        word: "SLEEP",
        least: 1,
        most: 1,
        run: sleep,
        syntax: "seconds",
        summary: "Stops the server for so long.",
    },
    Subcommand {
        word: "STRINGMATCH-TEST",
        least: 0,
        most: 0,
        run: match_many,
        syntax: "",
        summary: "Matches random texts with random patterns.",
    },
    Subcommand {
        word: "STRUCTSIZE",
        least: 0,
        most: 0,
        run: object::sizes,
        syntax: "",
        summary: "Sizes of the structures that entries and values are made of.",
    },
];

fn debug(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !is_allowed(ctx.config.enable_debug_command, ctx.session) {
        return Err(NOT_ALLOWED);
    }
    let given = args.len() - 2;
    let found =
        SUBCOMMANDS.iter().find(|sub| args.is(1, sub.word) && (sub.least..=sub.most).contains(&given));
    match found {
        Some(sub) => (sub.run)(ctx, args, reply),
        None => help::subcommand_syntax(args, reply),
    }
}

fn change_replication_id(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    log::info!("Changing replication IDs after receiving change-repl-id");
    ctx.shared.replication.begin_history();
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

fn load_log(_: &mut Context<'_>, _: &Args<'_>, _: &mut Reply<'_>) -> Outcome {
    Err(CommandError::Reload)
}

fn packed_threshold(_: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    match parse_memory(args.at(2)) {
        Some(0..=PACKED_BYTES_MAX) => reply.ok(),
        _ => return Err(BAD_THRESHOLD),
    }
    Ok(())
}

/// Changes nothing: tables here grow and shrink a segment at a time.
fn dict_resizing(_: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    reply.ok();
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
    if size.is_some_and(|size| size as u64 > ctx.config.proto_max_bulk_len.min(STRING_BYTES_MAX)) {
        return Err(CommandError::NotInteger);
    }
    let suffix_bytes_max = format!(":{count}").len();
    if prefix.len() + suffix_bytes_max > KEY_BYTES_MAX {
        return Err(CommandError::Text("ERR key is longer than 4 GiB"));
    }
    let (db, now_ms) = (ctx.session.db, ctx.now_ms);
    let mut key = Vec::new();
    for number in 0..count {
        if number % POPULATE_STEP == 0 {
            ctx.stats.note_alive();
        }
        key.clear();
        key.extend_from_slice(prefix);
        key.extend_from_slice(format!(":{number}").as_bytes());
        let mut value = format!("value:{number}").into_bytes();
        if let Some(size) = size {
            value.resize(size, 0);
        }
        let hash = ctx.shared.keyspace.hash(&key);
        let shard = ctx.leases.shard(ctx.shared.keyspace.shard_of(hash));
        let mut place = shard.write(db, hash, &key, now_ms).telling(ctx.changes.listener());
        place.without_event();
        if place.entry().is_none() {
            place.set_string(NewString::Bytes(&value), Deadline::None);
            place.count_as(0);
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
    help::list(args.at(0), reply, SUBCOMMANDS.iter().map(|sub| (sub.word, sub.syntax, sub.summary)));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subcommands_are_sorted_and_upper_case() {
        assert!(SUBCOMMANDS.windows(2).all(|pair| pair[0].word < pair[1].word));
        let is_sound = |sub: &Subcommand| sub.word.to_ascii_uppercase() == sub.word && sub.least <= sub.most;
        assert!(SUBCOMMANDS.iter().all(is_sound));
    }
}
