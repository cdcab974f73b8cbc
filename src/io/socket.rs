//! Listening and connected sockets, as the backends take and give them.
//!
//! Design: a thin owner of a descriptor that can say its addresses. Sockets here are blocking as far
//! as the flag goes; each backend sets what it needs when it takes one (io_uring honours `O_NONBLOCK`
//! by failing with EAGAIN instead of waiting, epoll needs it).
//!
//! Not here: which addresses to listen on (`net`).

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use socket2::{Domain, SockAddr, Type};

use super::tls::Session;

/// A listening socket.
#[derive(Debug)]
pub struct Listener {
    inner: Inner,
    is_tls: bool,
}

/// A connected socket. It may be moved to another worker's thread before it is attached.
#[derive(Debug)]
pub struct Socket {
    inner: Inner,
    /// What has been agreed with the peer, if what it sends is encrypted.
    session: Option<Box<Session>>,
}

#[derive(Debug)]
enum Inner {
    System(socket2::Socket),
    /// A number in the simulated network.
    Simulated(u64),
}

impl Listener {
    /// Listens on a TCP address; port 0 picks a free one. Connections inherit `TCP_NODELAY` from here.
    pub fn tcp(address: SocketAddr, backlog: i32) -> io::Result<Listener> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_reuse_address(true)?;
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        Ok(Listener::new(Inner::System(socket)))
    }

    /// Listens on a Unix socket at `path`, which must not exist.
    pub fn unix(path: &Path, backlog: i32) -> io::Result<Listener> {
        let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
        socket.bind(&SockAddr::unix(path)?)?;
        socket.listen(backlog)?;
        Ok(Listener::new(Inner::System(socket)))
    }

    fn new(inner: Inner) -> Listener {
        Listener { inner, is_tls: false }
    }

    /// The same for clients that encrypt what they send.
    pub fn with_tls(self) -> Listener {
        Listener { is_tls: true, ..self }
    }

    /// Whether clients are to encrypt what they send.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// A listener of the simulated network.
    pub(super) fn simulated(number: u64) -> Listener {
        Listener::new(Inner::Simulated(number))
    }

    /// Another handle of the same socket, for another worker.
    pub fn try_clone(&self) -> io::Result<Listener> {
        let inner = match &self.inner {
            Inner::System(socket) => Inner::System(socket.try_clone()?),
            Inner::Simulated(number) => Inner::Simulated(*number),
        };
        Ok(Listener { inner, is_tls: self.is_tls })
    }

    /// The TCP address bound to, with the port the system picked.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match &self.inner {
            Inner::System(socket) => socket.local_addr().ok()?.as_socket(),
            Inner::Simulated(_) => None,
        }
    }

    /// # Panics
    /// If the listener is a simulated one.
    pub(super) fn system(&self) -> &socket2::Socket {
        self.inner.system()
    }

    /// # Panics
    /// If the listener is a real one.
    pub(super) fn simulated_number(&self) -> u64 {
        self.inner.simulated_number()
    }
}

impl From<OwnedFd> for Listener {
    /// Takes a socket that is bound and listens, e.g. one passed by the service manager.
    fn from(fd: OwnedFd) -> Listener {
        let socket: socket2::Socket = fd.into();
        // Refused by one that is no TCP socket, which has no need of it.
        socket.set_tcp_nodelay(true).unwrap_or_default();
        Listener::new(Inner::System(socket))
    }
}

impl Socket {
    fn new(inner: Inner) -> Socket {
        Socket { inner, session: None }
    }

    /// Whether what its peer sends is encrypted.
    pub fn is_tls(&self) -> bool {
        self.session.is_some()
    }

    pub(super) fn with_session(self, session: Option<Box<Session>>) -> Socket {
        Socket { session, ..self }
    }

    pub(super) fn split_session(self) -> (Socket, Option<Box<Session>>) {
        (Socket { inner: self.inner, session: None }, self.session)
    }

    pub(super) fn simulated(number: u64) -> Socket {
        Socket::new(Inner::Simulated(number))
    }

    /// The peer's address as CLIENT LIST shows it: `ip:port`, `[ip]:port`, or `path:0`.
    pub fn peer_address(&self) -> String {
        match &self.inner {
            Inner::System(socket) => match socket.peer_addr() {
                Ok(address) if address.is_unix() => unix_path(socket),
                Ok(address) => tcp_address(&address),
                Err(_) => "?:0".to_owned(),
            },
            Inner::Simulated(number) => format!("sim:{number}"),
        }
    }

    /// The local address in the same form.
    pub fn local_address(&self) -> String {
        match &self.inner {
            Inner::System(socket) => match socket.local_addr() {
                Ok(address) if address.is_unix() => unix_path(socket),
                Ok(address) => tcp_address(&address),
                Err(_) => "?:0".to_owned(),
            },
            Inner::Simulated(_) => "sim:0".to_owned(),
        }
    }

    /// The peer's IP address; `None` for Unix and simulated sockets.
    pub fn peer_ip(&self) -> Option<std::net::IpAddr> {
        match &self.inner {
            Inner::System(socket) => Some(socket.peer_addr().ok()?.as_socket()?.ip()),
            Inner::Simulated(_) => None,
        }
    }

    /// Whether this is a Unix socket.
    pub fn is_unix(&self) -> bool {
        match &self.inner {
            Inner::System(socket) => socket.local_addr().is_ok_and(|address| address.is_unix()),
            Inner::Simulated(_) => false,
        }
    }

    /// Sends what the socket takes at once: a last word to a client that is closed next.
    pub(super) fn send_now(&self, bytes: &[u8]) {
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // A client that is gone already hears nothing.
        let _gone_already = self.system().send_with_flags(bytes, flags);
    }

    /// What is sent may wait a little for more.
    pub(super) fn fill_packets(&self) {
        // Refused by a Unix socket, which has no packets.
        self.system().set_tcp_nodelay(false).unwrap_or_default();
    }

    /// Sends probes on an idle TCP connection after `idle_s` seconds.
    pub fn set_keepalive(&self, idle_s: u32) -> io::Result<()> {
        let Inner::System(socket) = &self.inner else {
            return Ok(());
        };
        let idle = std::time::Duration::from_secs(u64::from(idle_s.max(1)));
        let probes = socket2::TcpKeepalive::new().with_time(idle);
        socket.set_tcp_keepalive(&probes)
    }

    /// The descriptor's number, for CLIENT LIST; a simulated socket gives its number in the network.
    pub fn as_raw_fd(&self) -> RawFd {
        match &self.inner {
            Inner::System(socket) => socket.as_raw_fd(),
            Inner::Simulated(number) => *number as RawFd,
        }
    }

    /// # Panics
    /// If the socket is a simulated one.
    pub(super) fn system(&self) -> &socket2::Socket {
        self.inner.system()
    }

    /// # Panics
    /// If the socket is a real one.
    pub(super) fn simulated_number(&self) -> u64 {
        self.inner.simulated_number()
    }
}

impl From<OwnedFd> for Socket {
    fn from(fd: OwnedFd) -> Socket {
        Socket::new(Inner::System(fd.into()))
    }
}

impl From<socket2::Socket> for Socket {
    fn from(socket: socket2::Socket) -> Socket {
        Socket::new(Inner::System(socket))
    }
}

impl Inner {
    fn system(&self) -> &socket2::Socket {
        match self {
            Inner::System(socket) => socket,
            Inner::Simulated(_) => panic!("a simulated socket reached a real backend"),
        }
    }

    fn simulated_number(&self) -> u64 {
        match self {
            Inner::System(_) => panic!("a real socket reached the simulation"),
            Inner::Simulated(number) => *number,
        }
    }
}

fn tcp_address(address: &SockAddr) -> String {
    match address.as_socket() {
        Some(address) => address.to_string(),
        None => "?:0".to_owned(),
    }
}

/// A client of a Unix socket has no name of its own; both ends are called by the listener's path.
fn unix_path(socket: &socket2::Socket) -> String {
    let local = socket.local_addr().ok();
    let path = local.as_ref().and_then(SockAddr::as_pathname);
    format!("{}:0", path.unwrap_or(Path::new("?")).display())
}

const _: () = {
    const fn movable<T: Send>() {}
    movable::<Socket>();
    movable::<Listener>();
};
