//! What the process asks of the system around it: the background, open files, a pid file, a supervisor.
//!
//! Not here: CPUs (`config`), signals and the order of starting (`main`), sockets (`net`).

use std::io::Write as _;
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};

use torc::config::Config;

/// Set in the environment of the process that `daemonize yes` starts.
const DAEMON: &str = "TORC_DAEMON";
/// Descriptors needed besides those of clients.
const FILES_RESERVED: u64 = 64;

/// Whether this is still the process that a user started, and `daemonize yes` wants another.
pub fn is_to_detach(config: &Config) -> bool {
    config.daemonize && std::env::var_os(DAEMON).is_none()
}

/// Leaves the session of whoever started this process, if it is the one in the background.
pub fn detach() {
    if std::env::var_os(DAEMON).is_some() {
        // Fails only for a leader of a process group, which a child is not.
        rustix::process::setsid().map(drop).unwrap_or_default();
    }
}

/// Starts this program again, detached: a process is never forked here. `stdin` is what this one read from its standard
/// input, which the other one reads again.
pub fn daemonize(stdin: &[u8]) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let mut child = Command::new(program);
    child.args(std::env::args_os().skip(1)).env(DAEMON, "1");
    child.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let started = child.spawn().and_then(|mut child| match child.stdin.take() {
        // Without `-` nobody reads it, and it is empty.
        Some(mut pipe) => pipe.write_all(stdin),
        None => Ok(()),
    });
    started.map_err(|error| format!("cannot start in the background: {error}"))
}

/// Gives a server in the background a pid file where none is named, as Redis does; one that runs beside a Redis must not
/// take that one's, so it is called differently.
pub fn name_pidfile(config: &mut Config) {
    const PIDFILE: &str = "/var/run/torc.pid";
    if config.daemonize && config.pidfile.is_empty() {
        config.pidfile = PIDFILE.into();
    }
}

/// Raises the limit of open files to what `maxclients` needs, or lowers `maxclients` to what the limit allows.
pub fn limit_clients(config: &mut Config) {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let wanted = u64::from(config.maxclients) + FILES_RESERVED;
    let now = getrlimit(Resource::Nofile);
    if now.current.is_some_and(|current| current < wanted) {
        let most = now.maximum.map_or(wanted, |maximum| maximum.max(wanted));
        let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(most) });
        let within = Rlimit { current: now.maximum.map(|maximum| maximum.min(wanted)), maximum: now.maximum };
        if raised.is_err() && setrlimit(Resource::Nofile, within).is_err() {
            log::warn!("The limit of open files cannot be raised");
        }
    }
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if limit < wanted {
        let clients = limit.saturating_sub(FILES_RESERVED).max(1) as u32;
        log::warn!(
            "maxclients is {clients} instead of {}, because of the limit of open files",
            config.maxclients
        );
        config.maxclients = clients;
    }
}

/// Leaves this process's number where `pidfile` says.
pub fn write_pidfile(config: &Config) {
    let path = config.pidfile.as_path();
    if !path.as_os_str().is_empty() {
        let written =
            std::fs::File::create(path).and_then(|mut file| writeln!(file, "{}", std::process::id()));
        written.unwrap_or_else(|error| log::warn!("Can't write the pid file {}: {error}", path.display()));
    }
}

/// Tells systemd, where it started this process with `Type=notify`.
pub fn notify_supervisor(state: &str) {
    if let Some(path) = std::env::var_os("NOTIFY_SOCKET") {
        let sent = UnixDatagram::unbound().and_then(|socket| socket.send_to(state.as_bytes(), path));
        sent.map(drop).unwrap_or_else(|error| log::warn!("Cannot notify the supervisor: {error}"));
    }
}
