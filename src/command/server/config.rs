//! CONFIG: the live configuration, shown and changed.
//!
//! Design: `crate::config` knows directives, values and error texts; here is what a change sets off at once. All else
//! follows by itself, because every worker looks at the configuration's version once a turn and with each group. Both SET and
//! REWRITE talk to the system, so they run without any lease.
//!
//! Not here: what directives ask for that Torc does not do (`config::inert_warnings`), or must not ignore (`config::set`).

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{ADMIN, Args, Command, Context, Flags, HELP, Outcome, Reply, SERVER, caller, sample};
use crate::command::acl::all_channels;
use crate::command::args::c_string;
use crate::command::{CommandError, Effect, Scope, Shared};
use crate::config::{self, Config, RewrittenUsers, SetError, UserLine};
use crate::observe;
use crate::security::tls;
use crate::security::{DEFAULT, requirepass_rules};

const COMPLEXITY: &str = "O(N), N directives";

/// CONFIG.
pub const ROW: Command = Command {
    name: "config",
    arity: -2,
    flags: Flags::NONE,
    since: "2.0.0",
    complexity: "that of the subcommand",
    summary: "Reads and changes directives.",
    subcommands: &[
        Command {
            name: "get",
            arity: -3,
            flags: ADMIN,
            since: "2.0.0",
            complexity: COMPLEXITY,
            summary: "Shows directives whose names match a pattern.",
            syntax: "parameter...",
            handler: get,
            ..SERVER
        },
        Command { ..HELP },
        Command {
            name: "resetstat",
            arity: 2,
            flags: ADMIN,
            since: "2.0.0",
            summary: "Sets the counters of INFO to zero.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: reset_statistics,
            ..SERVER
        },
        Command {
            name: "rewrite",
            arity: 2,
            flags: ADMIN,
            since: "2.8.0",
            scope: Scope::Alone,
            summary: "Writes the present configuration to its file.",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            handler: rewrite,
            ..SERVER
        },
        Command {
            name: "set",
            arity: -4,
            flags: ADMIN,
            since: "2.0.0",
            complexity: COMPLEXITY,
            scope: Scope::Alone,
            changes_others: true,
            summary: "Changes directives while the server runs.",
            syntax: "data:<parameter value>...",
            tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
            secrets: Some(set_secrets),
            handler: set,
            ..SERVER
        },
    ],
    ..SERVER
};

fn get(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let patterns: Vec<&[u8]> = args.from(2).collect();
    // Not this turn's view: a CONFIG SET just before in the pipeline is to be seen.
    let found = config::get(&ctx.shared.config.load(), &patterns);
    reply.map(found.len());
    for (name, value) in &found {
        reply.bulk(name);
        reply.bulk(value);
    }
    Ok(())
}

fn set(ctx: &mut Context<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let words: Vec<&[u8]> = args.from(2).collect();
    let pairs: Vec<(&[u8], &[u8])> = words.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect();
    let caller = caller(ctx.session);
    let mut limit_changed = false;
    let outcome = ctx.shared.config.update(|old| {
        let new = config::set(old, &pairs, caller)?;
        let settings = prepare_tls(&new, &pairs)?;
        act(old, &new)?;
        // As in Redis, the same password again does not take back what ACL SETUSER says.
        if new.requirepass != old.requirepass {
            set_password(ctx.shared, &new);
        }
        if let Some(settings) = settings {
            ctx.shared.tls.store(settings);
        }
        limit_changed |= new.maxmemory != old.maxmemory && new.maxmemory != 0;
        Ok::<_, SetError>(new)
    });
    match outcome {
        Ok(changed) => {
            observe::log::follow(&changed);
            let names: Vec<&[u8]> = pairs.iter().map(|(name, _)| *name).collect();
            config::inert_warnings(&changed, &names, &[]).iter().for_each(|line| log::warn!("{line}"));
            if limit_changed {
                warn_of_memory(ctx, changed.maxmemory);
            }
            ctx.session.renew_user(&ctx.shared.users.load());
            ctx.effects.push(Effect::ConfigChanged);
            reply.ok();
            Ok(())
        }
        Err(mut error) => {
            if let SetError::Unknown(name) = &mut error {
                name.truncate(c_string(name).len());
            }
            reply.error_fmt(format_args!("{error}"));
            Err(CommandError::Replied)
        }
    }
}

/// `requirepass` is the default user's password.
pub(super) fn set_password(shared: &Shared, config: &Config) {
    let rules = requirepass_rules(&config.requirepass);
    let set = shared.users.set(DEFAULT, &rules.each_ref().map(Vec::as_slice), all_channels(config));
    set.expect("these rules are right");
}

/// The values of directives that are secrets.
fn set_secrets(args: &Args<'_>, found: &mut dyn FnMut(usize)) {
    let is_secret = |value: &usize| {
        let directive = config::lookup(args.at(value - 1));
        directive.is_some_and(|directive| directive.flags.has(config::Flags::SENSITIVE))
    };
    (3..args.len()).step_by(2).filter(is_secret).for_each(found);
}

/// What will hold for connections over TLS, if something was said that concerns it: be it that a file is to be read again.
fn prepare_tls(new: &Config, pairs: &[(&[u8], &[u8])]) -> Result<Option<tls::Settings>, SetError> {
    let Some(name) = tls::first_of(pairs.iter().map(|(name, _)| *name)) else { return Ok(None) };
    tls::prepare(new).map(Some).map_err(|error| {
        log::warn!("{error}");
        log::warn!(
            "Failed applying new configuration. Possibly related to new {name} setting. Restoring previous settings."
        );
        failed(name, "Unable to update TLS configuration. Check server logs.")
    })
}

/// What the process must do before the change is in force, and may be unable to.
pub(super) fn act(old: &Config, new: &Config) -> Result<(), SetError> {
    // Clients that rely on the new address would be told OK and find nobody there.
    const REASON: &str = "can't set immutable config: Torc listens on what it was started with";
    let is_asked = |name: &&&str| {
        config::lookup(name.as_bytes())
            .is_some_and(|directive| directive.format(new) != directive.format(old))
    };
    if let Some(name) = config::LISTENS.iter().find(is_asked) {
        return Err(failed(name, REASON));
    }
    if new.maxclients > old.maxclients {
        raise_file_limit(new)?;
    }
    if new.dir != old.dir {
        std::env::set_current_dir(new.dir.as_path()).map_err(|error| failed("dir", &error.to_string()))?;
    }
    Ok(())
}

/// Whoever sets a limit below what is used already should learn what follows.
fn warn_of_memory(ctx: &mut Context<'_>, limit: u64) {
    let keyspace = sample::keyspace(ctx);
    let used = sample::memory(ctx.shared, &keyspace, ctx.now_ms).used;
    if used > limit {
        log::warn!(
            "WARNING: the new maxmemory value set via CONFIG SET ({limit}) is smaller than the current memory usage \
             ({used}). This will result in key eviction and/or the inability to accept new write commands depending on \
             the maxmemory-policy."
        );
    }
}

fn raise_file_limit(config: &Config) -> Result<(), SetError> {
    let reserved = config::files_reserved(config);
    let wanted = u64::from(config.maxclients) + reserved;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let most = now.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(most) });
    raised.map_err(|_| {
        let possible = now.current.unwrap_or(wanted).saturating_sub(reserved);
        let reason = format!(
            "The operating system is not able to handle the specified number of clients, try with {possible}"
        );
        failed("maxclients", &reason)
    })
}

fn failed(name: &str, reason: &str) -> SetError {
    SetError::Failed { name: name.into(), reason: reason.into() }
}

fn reset_statistics(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    ctx.shared.stats.reset(ctx.worker);
    reply.ok();
    Ok(())
}

fn rewrite(ctx: &mut Context<'_>, _: &Args<'_>, reply: &mut Reply<'_>) -> Outcome {
    let file = ctx.shared.config_file.as_ref();
    let file = file.ok_or(CommandError::Text("ERR The server is running without a config file"))?;
    let config: Arc<Config> = ctx.shared.config.load();
    let written = match std::fs::read(&file.path) {
        Ok(old) => Ok(old),
        // A file that was removed is written anew, as Redis does.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    };
    let written = written.and_then(|old| {
        let (users, table) = (&ctx.shared.users, ctx.shared.users.load());
        let lines: Vec<UserLine> = match config.aclfile.is_empty() {
            true => table.iter().map(|user| user.declaration()).collect(),
            false => Vec::new(),
        };
        let canonical = |line: &UserLine| users.canonical(line, all_channels(&config));
        let users = RewrittenUsers { lines: &lines, canonical: &canonical };
        let text = config::rewrite(&config, &users, &old, &file.directory).map_err(std::io::Error::other)?;
        config::write_atomically(&file.path, &text)
    });
    if let Err(error) = written {
        log::warn!("CONFIG REWRITE failed: {error}");
        reply.error_fmt(format_args!("ERR Rewriting config file: {}", os_words(&error)));
        return Err(CommandError::Replied);
    }
    log::info!("CONFIG REWRITE executed with success.");
    reply.ok();
    Ok(())
}

/// The operating system's words, without the number that the standard library adds.
fn os_words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
