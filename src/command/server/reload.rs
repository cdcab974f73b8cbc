//! A reload, which SIGHUP asks for: what the configuration's text says now comes into force, as far as it can while the
//! server runs.
//!
//! Design: as CONFIG SET, all or nothing, and outside of any worker. Files of certificates and keys are read again in
//! any case, whatever their names: that is what most reloads are for. Directives that may be set only with
//! `enable-protected-configs` are changed too: whoever may write the file says so.
//!
//! Not here: what is taken over and what is not (`config::reload`), users of an `aclfile` (ACL LOAD).

use super::config::{act, set_password};
use crate::command::Shared;
use crate::config::{self, Config, Directive, Flags, Sources};
use crate::observe;
use crate::security::tls;

/// Reads `sources` again, after `before` was read last, and puts in force what has changed; what came of it, in a few
/// words. The workers are to be woken afterwards.
pub fn reload(shared: &Shared, sources: &Sources, before: &mut Config) -> String {
    let now = match sources.read_again() {
        Ok(now) => now,
        Err(fatal) => {
            log::warn!("Reload: nothing is changed. {}", fatal.to_string().trim());
            return "Reload failed: the configuration cannot be read, see the log".to_owned();
        }
    };
    let mut changes = Vec::new();
    let outcome = shared.config.update(|live| {
        let found = config::reread(before, &now, live)?;
        let settings = tls::prepare(&found.config)
            .map_err(|error| format!("{error}. What was served is served further."))?;
        act(live, &found.config).map_err(|error| error.to_string())?;
        // As at the start, the users of a file of their own know of no `requirepass`.
        if found.config.requirepass != live.requirepass && found.config.aclfile.is_empty() {
            set_password(shared, &found.config);
        }
        shared.tls.store(settings);
        changes = found.changed.iter().map(|directive| change(directive, live, &found.config)).collect();
        let config = found.config.clone();
        tell(&changes, &found);
        Ok::<_, String>(config)
    });
    match outcome {
        Ok(config) => {
            observe::log::follow(&config);
            if config.tls_port != 0 || config.tls_replication {
                log::info!("TLS certificates and keys were read again");
            }
            *before = now;
            format!("Reloaded: {} changed", plural(changes.len()))
        }
        Err(error) => {
            log::warn!("Reload: nothing is changed. {error}");
            "Reload failed: nothing is changed, see the log".to_owned()
        }
    }
}

fn plural(count: usize) -> String {
    if count == 1 { "1 directive".to_owned() } else { format!("{count} directives") }
}

/// A change as the log says it.
fn change(directive: &Directive, old: &Config, new: &Config) -> String {
    let name = directive.name;
    if directive.flags.has(Flags::SENSITIVE) {
        return format!("{name} is another");
    }
    let shown = |config: &Config| String::from_utf8_lossy(&directive.format(config)).into_owned();
    format!("{name} is '{}', was '{}'", shown(new), shown(old))
}

fn tell(changes: &[String], found: &config::Reread) {
    if changes.is_empty() {
        log::info!("Reload: no directive has changed that can while the server runs");
    }
    changes.iter().for_each(|change| log::info!("Reload: {change}"));
    if !found.waiting.is_empty() {
        log::warn!("Reload: a restart is needed for {}", found.waiting.join(", "));
    }
    if !found.kept.is_empty() {
        log::info!(
            "Reload: left as CONFIG SET or the host had it, as the configuration has not changed there: {}",
            found.kept.join(", ")
        );
    }
    let names: Vec<&str> = found.changed.iter().map(|directive| directive.name).collect();
    config::inert_warnings(&found.config, &names, &[]).iter().for_each(|line| log::warn!("{line}"));
}
