//! Which sockets the server listens on: `bind`, `port`, `tls-port`, `unixsocket` turned into listeners.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};
use std::{fs, io};

use crate::config::{BindAddress, Config};
use crate::io::Listener;

/// How long an address that is in use is tried again at the start.
const IN_USE_WAIT: Duration = Duration::from_secs(2);
/// Between two tries.
const IN_USE_PAUSE: Duration = Duration::from_millis(20);

/// The sockets listened on, and the TCP port in use (chosen by the system if 0 was not "no TCP" but asked for by a test).
pub struct Listeners {
    /// Each with the word that describes it in the log.
    pub sockets: Vec<(Listener, String)>,
    /// The TCP port; 0 without TCP.
    pub tcp_port: u16,
    /// Whether the service manager has opened them: their files are not this process's to remove.
    pub are_passed: bool,
}

/// Opens everything the configuration asks for. An address marked optional is skipped if this host does not have it.
pub fn open(config: &Config) -> Result<Listeners, String> {
    let backlog = i32::try_from(config.tcp_backlog).unwrap_or(i32::MAX);
    let mut opened = Listeners { sockets: Vec::new(), tcp_port: config.port, are_passed: false };
    if config.port != 0 {
        opened.sockets.extend(open_port(config, config.port, backlog)?);
    }
    if config.tls_port != 0 {
        let encrypted =
            |(listener, address): (Listener, String)| (listener.with_tls(), format!("{address} (TLS)"));
        opened.sockets.extend(open_port(config, config.tls_port, backlog)?.into_iter().map(encrypted));
    }
    if !config.unixsocket.as_path().as_os_str().is_empty() {
        opened.sockets.push(open_unix(config, backlog)?);
    }
    if opened.sockets.is_empty() {
        return Err("Configured to not listen anywhere, exiting.".to_owned());
    }
    Ok(opened)
}

/// All addresses of `bind` with one port.
fn open_port(config: &Config, port: u16, backlog: i32) -> Result<Vec<(Listener, String)>, String> {
    let mut opened = Vec::new();
    for bind in &config.bind.0 {
        match open_tcp(bind, port, backlog) {
            Ok(sockets) => opened.extend(sockets),
            Err(error) if bind.optional && is_absent(&error) => {}
            Err(error) => {
                let address = &bind.address;
                return Err(format!(
                    "Could not create server TCP listening socket {address}:{port}: {error}"
                ));
            }
        }
    }
    if opened.is_empty() && !config.bind.0.is_empty() {
        return Err("none of the addresses of 'bind' can be listened on".to_owned());
    }
    Ok(opened)
}

fn open_tcp(bind: &BindAddress, port: u16, backlog: i32) -> io::Result<Vec<(Listener, String)>> {
    let addresses: Vec<SocketAddr> = match bind.address.as_str() {
        "*" => vec![(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port).into()],
        "::*" => vec![(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port).into()],
        host => (host, port).to_socket_addrs()?.collect(),
    };
    let open = |address: SocketAddr| Ok((listen(address, backlog)?, address.to_string()));
    addresses.into_iter().map(open).collect()
}

/// Listens on `address`; while another has it, for a moment again and again.
///
/// A server that was killed leaves its rings to the kernel, which takes them down some time after the process is gone; until
/// then they hold its listening sockets, and whoever restarts it at once must not fail for that.
fn listen(address: SocketAddr, backlog: i32) -> io::Result<Listener> {
    let end = Instant::now() + IN_USE_WAIT;
    let mut said = false;
    loop {
        match Listener::tcp(address, backlog) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && Instant::now() < end => {
                if !said {
                    log::info!("{address} is in use; trying again for {} s", IN_USE_WAIT.as_secs());
                    said = true;
                }
                std::thread::sleep(IN_USE_PAUSE);
            }
            opened => return opened,
        }
    }
}

/// Errors that mean "this host has no such address".
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOPROTOOPT | libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT | libc::EPFNOSUPPORT)
            | Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
    )
}

fn open_unix(config: &Config, backlog: i32) -> Result<(Listener, String), String> {
    let path = config.unixsocket.as_path();
    let failed = |error: io::Error| format!("Failed opening Unix socket {}: {error}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = Listener::unix(path, backlog).map_err(failed)?;
    if config.unixsocketperm != 0 {
        let mode = fs::Permissions::from_mode(config.unixsocketperm);
        fs::set_permissions(path, mode).map_err(failed)?;
    }
    Ok((listener, path.display().to_string()))
}
