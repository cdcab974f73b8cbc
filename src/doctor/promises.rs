//! What the configuration promises others: who can come in, and what is still there tomorrow.

use log::Level as LogLevel;

use super::Finding;
use super::host::Host;
use crate::command::{make_users, read_users};
use crate::config::{AdminPassword, AppendFsync, BindAddress, Config, MaxmemoryPolicy};
use crate::exposure;

/// File systems that are gone with the machine's next start.
const IN_MEMORY: &[&str] = &["tmpfs", "ramfs"];

/// What an address to listen on means, as far as it can be said without listening.
fn ip(bind: &BindAddress) -> String {
    match bind.address.as_str() {
        "*" => "0.0.0.0".to_owned(),
        "::*" => "::".to_owned(),
        "localhost" => "127.0.0.1".to_owned(),
        // A name may mean anything.
        name => name.parse::<std::net::IpAddr>().map_or_else(|_| "0.0.0.0".to_owned(), |ip| ip.to_string()),
    }
}

/// What will be listened on for clients.
fn addresses(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    for port in [config.port, config.tls_port].into_iter().filter(|port| *port != 0) {
        for ip in config.bind.0.iter().map(ip) {
            let is_v6 = ip.contains(':');
            found.push(if is_v6 { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") });
        }
    }
    found.extend((!config.unixsocket.is_empty()).then(|| config.unixsocket.lossy().into_owned()));
    found
}

/// Who can come in.
pub(super) fn exposure(_: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "exposure";
    let users = match make_users(config) {
        Ok(users) => users,
        Err(error) => {
            let what = format!("the start will be refused: user line {}: {}", error.index + 1, error.reason);
            return Some(Finding::warning(SUBJECT, what, "mend the line"));
        }
    };
    if let Err(error) = read_users(&users, config) {
        return Some(Finding::warning(
            SUBJECT,
            format!("the start will be refused: {error}"),
            "mend the file",
        ));
    }
    let addresses = addresses(config);
    if addresses.is_empty() {
        let what = "the start will be refused: it would listen nowhere";
        return Some(Finding::warning(SUBJECT, what, "port, tls-port or unixsocket"));
    }
    let words: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let (level, line) = exposure::line(&words, config, &users.load());
    Some(match level {
        LogLevel::Warn => Finding::warning(SUBJECT, line, "requirepass-file FILE, or bind 127.0.0.1"),
        _ => Finding::ok(SUBJECT, line),
    })
}

/// Who can look inside.
pub(super) fn admin_port(_: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "admin-port";
    if config.admin_port == 0 {
        return None;
    }
    let is_remote = |ip: String| !ip.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    let has_password = config.admin_password != AdminPassword(None);
    Some(match (config.admin_bind.0.iter().map(ip).any(is_remote), has_password, config.protected_mode) {
        (false, ..) => Finding::ok(SUBJECT, "only this host can come"),
        (true, true, _) => {
            let what = "other hosts can come with a password, which can be read on the way";
            Finding::note(SUBJECT, what, "a proxy with TLS, or a tunnel, unless the network is your own")
        }
        (true, false, true) => Finding::ok(SUBJECT, "protected mode turns other hosts away"),
        (true, false, false) => {
            let what = "whoever reaches it sees names of keys, commands and clients: NOTHING KEEPS THEM OUT";
            Finding::warning(SUBJECT, what, "admin-password-file FILE, or admin-bind 127.0.0.1")
        }
    })
}

/// Whether passwords and data can be read on their way.
pub(super) fn encryption(_: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "encryption";
    let is_remote = |address: &String| {
        address.parse::<std::net::SocketAddr>().is_ok_and(|address| !address.ip().is_loopback())
    };
    let plain = Config { tls_port: 0, ..config.clone() };
    if !addresses(config).iter().any(is_remote) {
        return Some(Finding::ok(SUBJECT, "not needed: only this host can come"));
    }
    if !addresses(&plain).iter().any(is_remote) {
        return Some(Finding::ok(SUBJECT, "other hosts come over TLS only"));
    }
    let what = "other hosts can come without TLS: passwords and data can be read on the way";
    Some(Finding::note(SUBJECT, what, "tls-port with port 0, unless the network is your own"))
}

/// What is left after a crash.
pub(super) fn persistence(_: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "persistence";
    let is_cache = config.maxmemory > 0 && config.maxmemory_policy != MaxmemoryPolicy::Noeviction;
    if config.appendonly {
        return Some(match config.appendfsync {
            AppendFsync::Always => {
                Finding::ok(SUBJECT, "what was acknowledged is on disk (appendfsync always)")
            }
            AppendFsync::Everysec => {
                Finding::ok(SUBJECT, "a power cut takes the last second at most (appendfsync everysec)")
            }
            AppendFsync::No => Finding::note(
                SUBJECT,
                "a power cut takes what the kernel has not written yet, some 30 s (appendfsync no)",
                "appendfsync everysec",
            ),
        });
    }
    if let Some(point) = config.save.0.iter().map(|point| point.seconds).max() {
        let what =
            format!("snapshots only: a crash takes what was written since the last, up to {point} s of it");
        return Some(match is_cache {
            true => Finding::ok(SUBJECT, what),
            false => Finding::note(SUBJECT, what, "appendonly yes, where that is too much"),
        });
    }
    let what = "nothing is kept: all data is gone with the process";
    Some(match is_cache {
        true => Finding::ok(SUBJECT, format!("{what}, as is usual for a cache")),
        false => Finding::warning(
            SUBJECT,
            what,
            "appendonly yes; for a cache: maxmemory and a maxmemory-policy that evicts",
        ),
    })
}

/// On what the data is kept.
pub(super) fn place(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "data-directory";
    if !config.appendonly && config.save.0.is_empty() {
        return None;
    }
    let dir = config.dir.lossy().into_owned();
    let mounts = host.read("/proc/self/mounts")?;
    let mut found: Option<(&str, &str)> = None;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        let (Some(point), Some(kind)) = (words.next(), words.next()) else { continue };
        let inside = point == "/"
            || dir.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        // A later mount on the same place hides the earlier.
        if inside && found.is_none_or(|(known, _)| point.len() >= known.len()) {
            found = Some((point, kind));
        }
    }
    let (_, kind) = found?;
    Some(match kind {
        _ if IN_MEMORY.contains(&kind) => {
            let what = format!(
                "{dir} is in memory ({kind}): what is saved there is gone with the next start of the host"
            );
            Finding::warning(SUBJECT, what, "dir on a disk")
        }
        "overlay" => {
            let what = format!("{dir} is in the container's own layer: it is gone with the container");
            Finding::warning(SUBJECT, what, "dir on a volume")
        }
        kind => Finding::ok(SUBJECT, format!("{dir} ({kind})")),
    })
}

/// Data that is there and will not be loaded.
pub(super) fn left_behind(host: &dyn Host, config: &Config) -> Option<Finding> {
    const SUBJECT: &str = "data-not-loaded";
    let dir = config.dir.lossy().into_owned();
    let log = config.appenddirname.lossy().into_owned();
    if config.appendonly || host.names(&format!("{dir}/{log}")).is_empty() {
        return None;
    }
    let what = format!("{dir}/{log} is there and will not be loaded, as appendonly is no");
    Some(Finding::warning(SUBJECT, what, "appendonly yes, if that is where the data is; else move it away"))
}
