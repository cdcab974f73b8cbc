//! The admin port's thread: it accepts, waits for whatever comes first, and closes who takes too long.
//!
//! Costs: nothing while nobody connects; the thread sleeps in `epoll_wait`.

use std::io;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::access::Peer;
use super::connection::{Connection, Fate, Stream};
use super::listen::{Listener, Listeners};
use super::site::Site;
use crate::config::ADMIN_CONNECTIONS_MAX;

/// Events taken at once.
const EVENTS_MAX: usize = 64;
/// The first token of a connection; those before are listeners'.
const FIRST_CONNECTION: usize = 1 << 16;
/// How long a listener rests that could not accept, as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What the thread has.
pub struct Server {
    poll: Poll,
    listeners: Vec<Listener>,
    connections: Vec<Option<Connection>>,
    site: Site,
    /// When listeners are to be tried again.
    retry: Option<Instant>,
}

impl Server {
    pub fn new(listeners: Listeners, site: Site) -> io::Result<Self> {
        let (poll, mut listeners) = (Poll::new()?, listeners.sockets);
        for (index, listener) in listeners.iter_mut().enumerate() {
            match listener {
                Listener::Tcp(socket) => {
                    poll.registry().register(socket, Token(index), Interest::READABLE)?;
                }
                Listener::Unix(socket) => {
                    poll.registry().register(socket, Token(index), Interest::READABLE)?;
                }
            }
        }
        let connections = (0..ADMIN_CONNECTIONS_MAX).map(|_| None).collect();
        Ok(Self { poll, listeners, connections, site, retry: None })
    }

    /// Serves for ever.
    pub fn run(&mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now = Instant::now();
            let next = self.connections.iter().flatten().map(|one| one.deadline).chain(self.retry).min();
            let timeout = next.map(|next| next.saturating_duration_since(now) + Duration::from_millis(1));
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != io::ErrorKind::Interrupted
            {
                log::warn!("The admin port is closed, as its thread cannot wait any more: {error}");
                return;
            }
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    Token(index) if index < FIRST_CONNECTION => self.accept(index, now),
                    Token(token) => self.advance(token - FIRST_CONNECTION, now),
                }
            }
            if self.retry.is_some_and(|retry| retry <= now) {
                self.retry = None;
                (0..self.listeners.len()).for_each(|index| self.accept(index, now));
            }
            for place in &mut self.connections {
                place.take_if(|connection| connection.deadline <= now);
            }
        }
    }

    fn accept(&mut self, index: usize, now: Instant) {
        loop {
            let accepted: io::Result<(Box<dyn Stream>, Peer)> = match &self.listeners[index] {
                Listener::Tcp(listener) => {
                    listener.accept().map(|(stream, peer)| (Box::new(stream) as _, Peer::Tcp(peer.ip())))
                }
                Listener::Unix(listener) => {
                    listener.accept().map(|(stream, _)| (Box::new(stream) as _, Peer::Unix))
                }
            };
            match accepted {
                Ok((stream, peer)) => self.take(stream, peer, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
                    ) => {}
                Err(error) => {
                    log::debug!("The admin port cannot accept: {error}");
                    self.retry = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
    }

    fn take(&mut self, mut stream: Box<dyn Stream>, peer: Peer, now: Instant) {
        let Some(index) = self.connections.iter().position(Option::is_none) else {
            return Connection::refuse(stream, &mut self.site);
        };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let token = Token(FIRST_CONNECTION + index);
        if self.poll.registry().register(&mut stream, token, interest).is_ok() {
            self.connections[index] = Some(Connection::new(stream, peer, now));
            self.advance(index, now);
        }
    }

    /// An event may be that of a connection whose place another has by now, for which it means nothing.
    fn advance(&mut self, index: usize, now: Instant) {
        let site = &mut self.site;
        self.connections[index].take_if(|connection| connection.advance(site, now) == Fate::Ends);
    }
}
