//! The sockets of the admin port: `admin-bind` with `admin-port`, and `admin-unixsocket`.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::PermissionsExt as _;
use std::{fs, io};

use log::Level;

use crate::config::{BindAddress, Config};

/// What is listened on.
pub enum Listener {
    /// A TCP port.
    Tcp(mio::net::TcpListener),
    /// A Unix socket.
    Unix(mio::net::UnixListener),
}

/// The sockets, and where they are.
pub struct Listeners {
    pub(super) sockets: Vec<Listener>,
    addresses: Vec<String>,
    remote: bool,
}

/// Opens what the configuration asks for; nothing if the admin port is off.
///
/// # Errors
/// What cannot be listened on, and why.
pub fn open(config: &Config) -> Result<Option<Listeners>, String> {
    let mut opened = Listeners { sockets: Vec::new(), addresses: Vec::new(), remote: false };
    if config.admin_port != 0 {
        for bind in &config.admin_bind.0 {
            open_tcp(bind, config.admin_port, &mut opened)
                .map_err(|error| format!("Could not listen on admin-bind {}: {error}", bind.address))?;
        }
        if opened.sockets.is_empty() {
            return Err("none of the addresses of 'admin-bind' can be listened on".to_owned());
        }
    }
    let path = config.admin_unixsocket.as_path();
    if !path.as_os_str().is_empty() {
        let socket = open_unix(config)
            .map_err(|error| format!("Could not listen on admin-unixsocket {}: {error}", path.display()))?;
        opened.sockets.push(Listener::Unix(socket));
        opened.addresses.push(path.display().to_string());
    }
    Ok((!opened.sockets.is_empty()).then_some(opened))
}

fn open_tcp(bind: &BindAddress, port: u16, opened: &mut Listeners) -> io::Result<()> {
    let addresses: Vec<SocketAddr> = match bind.address.as_str() {
        "*" => vec![(Ipv4Addr::UNSPECIFIED, port).into()],
        "::*" => vec![(Ipv6Addr::UNSPECIFIED, port).into()],
        host => (host, port).to_socket_addrs()?.collect(),
    };
    for address in addresses {
        match mio::net::TcpListener::bind(address) {
            Ok(listener) => {
                opened.sockets.push(Listener::Tcp(listener));
                opened.addresses.push(address.to_string());
                opened.remote |= !address.ip().is_loopback();
            }
            // This host may have no such address.
            Err(error) if bind.optional && error.kind() != io::ErrorKind::AddrInUse => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn open_unix(config: &Config) -> io::Result<mio::net::UnixListener> {
    let path = config.admin_unixsocket.as_path();
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = mio::net::UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(config.admin_unixsocket_perm))?;
    Ok(listener)
}

impl Listeners {
    /// Where the admin port is and who may use it, for the log, and how urgent that is.
    pub fn line(&self, config: &Config) -> (Level, String) {
        let addresses = self.addresses.join(", ");
        let (level, guard) = match (config.admin_password.0.is_some(), self.remote, config.protected_mode) {
            (true, ..) => (Level::Info, "a password is asked for"),
            (false, false, _) => (Level::Info, "no password is asked for"),
            (false, true, true) => (
                Level::Warn,
                "other hosts are turned away until 'admin-password' is set, as 'protected-mode' is on",
            ),
            (false, true, false) => (Level::Warn, "NO PASSWORD KEEPS OTHER HOSTS OUT: set 'admin-password'"),
        };
        (level, format!("Admin port: http on {addresses}; {guard}"))
    }
}
