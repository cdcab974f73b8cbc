//! A connection of a thread that waits for its peer.
//!
//! Design: the system's socket, or one of a simulation, where the calling thread belongs to one.
//!
//! Not here: encryption (`tls::blocking`).

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use super::Socket;
use super::sim::ThreadSocket;
use crate::threads::{self, Simulation};

/// The connection.
pub struct BlockingSocket(Inner);

enum Inner {
    System(TcpStream),
    Simulated(ThreadSocket),
}

/// By it others end what a thread waits for.
pub struct SocketHandle(Handle);

enum Handle {
    System(TcpStream),
    Simulated(Arc<Simulation>, u64),
}

impl BlockingSocket {
    /// Connects, and waits no longer than `timeout` for this, and for anything later.
    ///
    /// # Errors
    /// The system's.
    pub fn connect(address: &SocketAddr, timeout: Duration) -> io::Result<Self> {
        if let Some(simulation) = threads::simulation() {
            let socket = ThreadSocket::connect(simulation, address.port(), timeout)?;
            return Ok(Self(Inner::Simulated(socket)));
        }
        let socket = TcpStream::connect_timeout(address, timeout)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(timeout))?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(Self(Inner::System(socket)))
    }

    /// Another handle.
    ///
    /// # Errors
    /// The system's.
    pub fn handle(&self) -> io::Result<SocketHandle> {
        Ok(SocketHandle(match &self.0 {
            Inner::System(socket) => Handle::System(socket.try_clone()?),
            Inner::Simulated(socket) => Handle::Simulated(Arc::clone(socket.simulation()), socket.number()),
        }))
    }

    /// No read waits for longer from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn set_read_timeout(&mut self, timeout: Duration) -> io::Result<()> {
        match &mut self.0 {
            Inner::System(socket) => socket.set_read_timeout(Some(timeout)),
            Inner::Simulated(socket) => {
                socket.set_timeout(timeout);
                Ok(())
            }
        }
    }

    /// What a read waits for at most.
    ///
    /// # Errors
    /// The system's.
    pub fn read_timeout(&self) -> io::Result<Option<Duration>> {
        match &self.0 {
            Inner::System(socket) => socket.read_timeout(),
            Inner::Simulated(_) => Ok(None),
        }
    }

    /// Whom it is connected to.
    ///
    /// # Errors
    /// The system's, or there are no addresses in a simulation.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.0 {
            Inner::System(socket) => socket.peer_addr(),
            Inner::Simulated(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// The socket, for a worker, which does not wait in it.
    pub fn into_socket(self) -> Socket {
        match self.0 {
            Inner::System(socket) => {
                for outcome in [socket.set_read_timeout(None), socket.set_write_timeout(None)] {
                    outcome.unwrap_or_default();
                }
                Socket::from(OwnedFd::from(socket))
            }
            Inner::Simulated(socket) => Socket::simulated(socket.give()),
        }
    }
}

impl From<TcpStream> for BlockingSocket {
    fn from(socket: TcpStream) -> Self {
        Self(Inner::System(socket))
    }
}

impl Read for BlockingSocket {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::System(socket) => socket.read(into),
            Inner::Simulated(socket) => socket.read(into),
        }
    }
}

impl Write for BlockingSocket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.0 {
            Inner::System(socket) => socket.write(bytes),
            Inner::Simulated(socket) => socket.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl SocketHandle {
    /// The connection ends, and so does whatever waits for it.
    pub fn shut_down(&self) {
        match &self.0 {
            // It may be closed already.
            Handle::System(socket) => socket.shutdown(Shutdown::Both).unwrap_or_default(),
            Handle::Simulated(simulation, socket) => simulation.close(*socket),
        }
    }
}
