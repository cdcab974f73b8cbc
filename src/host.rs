//! What the process asks of the system around it: the background, open files, random numbers, a pid file.
//!
//! Not here: the service manager (`supervise`), CPUs (`config`), signals and the order of starting (`main`), sockets (`net`).

use std::io::Write as _;
use std::process::{Command, Stdio};

use torc::config::{self, Config};

/// Set in the environment of the process that `daemonize yes` starts.
const DAEMON: &str = "TORC_DAEMON";

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
///
/// # Errors
/// The limit leaves nothing for clients.
pub fn limit_clients(config: &mut Config) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let reserved = config::files_reserved(config);
    let wanted = u64::from(config.maxclients) + reserved;
    let before = getrlimit(Resource::Nofile);
    if before.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    let most = before.maximum.map_or(wanted, |maximum| maximum.max(wanted));
    let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: Some(most) })
    else {
        return Ok(());
    };
    let within = before.maximum.map(|maximum| maximum.min(wanted));
    // Where this fails too, the limit is what it was.
    setrlimit(Resource::Nofile, Rlimit { current: within, maximum: before.maximum }).unwrap_or_default();
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    let workers = config::worker_count(config);
    if limit <= reserved {
        return Err(format!(
            "Your current 'ulimit -n' of {limit} is not enough for the server to start. Please increase your open file \
             limit to at least {wanted}, or start fewer than {workers} workers. Exiting."
        ));
    }
    let clients = limit.saturating_sub(reserved).min(u64::from(config.maxclients)) as u32;
    log::warn!(
        "You requested maxclients of {} requiring at least {wanted} max file descriptors.",
        config.maxclients
    );
    log::warn!("Server can't set maximum open files to {wanted} because of OS error: {error}.");
    log::warn!(
        "Current maximum open files is {limit}. maxclients has been reduced to {clients} to compensate for low ulimit. If \
         you need higher maxclients increase 'ulimit -n'."
    );
    config.maxclients = clients;
    Ok(())
}

/// What is said of data that is there and is not loaded: of two files of it, the one that the configuration does not ask for.
pub fn data_not_loaded(config: &Config) -> Vec<String> {
    let directory = config.dir.as_path();
    if config.appendonly {
        return Vec::new();
    }
    let (log, base) = (config.appendfilename.as_path(), directory.join(config.appenddirname.as_path()));
    // Where it was before Redis 7.
    let places = [base, directory.join(log)];
    let there = places.into_iter().filter(|path| path != directory && path.exists());
    let said = there.map(|path| {
        format!(
            "{} is there, and is not loaded, as 'appendonly' is 'no'. It is left as it is",
            path.display()
        )
    });
    said.collect()
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
