//! Sockets that the service manager opened and hands over: systemd's socket activation (`LISTEN_FDS`).
//!
//! Design: where any are handed over, they are all that is listened on, as the unit of the sockets says where that is;
//! the configuration in force then says so too, whatever its file says of `bind`, `port`, `tls-port` and `unixsocket`.
//! A socket called `tls` (`FileDescriptorName=tls`) serves TLS. The sockets stay open in the service manager: while the
//! server restarts, clients wait in them rather than being refused.
//!
//! Not here: sockets of the server's own (`listener`).

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;

use super::listener::Listeners;
use crate::config::{BindAddress, BindAddresses, Config};
use crate::io::Listener;

/// What a socket is called that serves TLS.
const TLS_NAME: &str = "tls";

/// The sockets that were handed over, if there are any; `config` then says where these listen.
///
/// # Errors
/// One of them is of no use here.
pub fn take(config: &mut Config) -> Result<Option<Listeners>, String> {
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let names: Vec<&str> = names.split(':').collect();
    let mut sockets = ListenFd::from_env();
    if sockets.len() == 0 {
        return Ok(None);
    }
    let mut found = Passed::default();
    for index in 0..sockets.len() {
        let name = names.get(index).copied().unwrap_or_default();
        found.add(&mut sockets, index, name)?;
    }
    found.describe(config);
    Ok(Some(Listeners { sockets: found.listeners, tcp_port: config.port, are_passed: true }))
}

#[derive(Default)]
struct Passed {
    listeners: Vec<(Listener, String)>,
    tcp: Vec<SocketAddr>,
    tls: Vec<SocketAddr>,
    path: Option<String>,
}

impl Passed {
    fn add(&mut self, sockets: &mut ListenFd, index: usize, name: &str) -> Result<(), String> {
        let failed = |reason: &str| {
            Err(format!("The socket number {index} ('{name}') that the service manager hands over {reason}"))
        };
        if let Ok(Some(socket)) = sockets.take_tcp_listener(index) {
            let Ok(address) = socket.local_addr() else { return failed("has no address") };
            let listener = Listener::from(OwnedFd::from(socket));
            if name == TLS_NAME {
                self.tls.push(address);
                self.listeners.push((listener.with_tls(), format!("{address} (TLS)")));
            } else {
                self.tcp.push(address);
                self.listeners.push((listener, address.to_string()));
            }
            return Ok(());
        }
        let Ok(Some(socket)) = sockets.take_unix_listener(index) else {
            return failed("is neither a TCP socket that listens nor a Unix one: ListenStream= makes one");
        };
        let address = socket.local_addr().ok();
        let path = address.as_ref().and_then(|address| address.as_pathname());
        let path = path.map_or_else(|| "an unnamed socket".to_owned(), |path| path.display().to_string());
        self.path.get_or_insert_with(|| path.clone());
        self.listeners.push((Listener::from(OwnedFd::from(socket)), path));
        Ok(())
    }

    fn describe(&self, config: &mut Config) {
        let port = |addresses: &[SocketAddr]| addresses.first().map_or(0, SocketAddr::port);
        config.port = port(&self.tcp);
        config.tls_port = port(&self.tls);
        config.unixsocket = self.path.as_deref().unwrap_or_default().into();
        let mut bind: Vec<BindAddress> = Vec::new();
        for address in self.tcp.iter().chain(&self.tls).map(|address| address.ip().to_string()) {
            if !bind.iter().any(|known| known.address == address) {
                bind.push(BindAddress { address, optional: false });
            }
        }
        config.bind = BindAddresses(bind);
    }
}
