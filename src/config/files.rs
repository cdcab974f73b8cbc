//! How many files the server has open besides those of its clients: what `maxclients` must leave of the system's limit.

use super::cpus::worker_count;
use super::table::Config;

/// What the process has open or may open for a moment: standard streams, log, signals, files of /proc, a configuration that is
/// rewritten, clients that are refused. As many as Redis reserves.
const FOR_PROCESS: u64 = 32;
/// What each worker has open besides its handles of the listening sockets: ring or epoll instance, eventfd, its schedstat, one in
/// reserve (`io::reserve`).
const FOR_WORKER: u64 = 4;

/// What the admin port may have open: its connections, its listening sockets, its poll instance and its waker.
const FOR_ADMIN: u64 = ADMIN_CONNECTIONS_MAX as u64 + 8;

/// Connections that the admin port serves at once.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// The descriptors that clients cannot have.
pub fn files_reserved(config: &Config) -> u64 {
    let tcp = if config.port == 0 { 0 } else { config.bind.0.len() };
    let unix = usize::from(!config.unixsocket.as_path().as_os_str().is_empty());
    let (workers, listeners) = (worker_count(config) as u64, (tcp + unix) as u64);
    let is_watched = config.admin_port != 0 || !config.admin_unixsocket.is_empty();
    let admin = if is_watched { FOR_ADMIN + config.admin_bind.0.len() as u64 } else { 0 };
    FOR_PROCESS + admin + listeners + workers * (FOR_WORKER + listeners)
}
