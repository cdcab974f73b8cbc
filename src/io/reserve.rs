//! A descriptor in reserve, for clients that come while the process may open no more files.
//!
//! Design: a listener whose next connection finds no descriptor stays readable, so that whoever accepts either spins or leaves
//! clients waiting in the backlog without a word. So each backend keeps one descriptor that it does not need. Where accepting
//! fails for want of one, it is closed, the connection that comes takes its place, is told why it is not served and closed,
//! and the reserve is opened again.
//!
//! Invariants: a connection is served exactly if there is a descriptor for the reserve beside it.
//! Costs: one descriptor for each worker; a comparison for each connection accepted.
//! Not here: `maxclients`, which leaves room for all that the process opens itself (`config::files`).

use std::os::fd::OwnedFd;

use rustix::event::{EventfdFlags, eventfd};

use super::Socket;

/// The reserve of one backend.
pub(super) struct Reserve {
    fd: Option<OwnedFd>,
    /// What a client is told that is not served.
    refusal: &'static [u8],
}

impl Reserve {
    pub fn new(refusal: &'static [u8]) -> Reserve {
        let mut reserve = Reserve { fd: None, refusal };
        // Without one, accepting pauses after a failure.
        reserve.refill();
        reserve
    }

    /// Whether accepting is worth another try at once after it has failed with `errno`, because the reserve has been given up.
    pub fn spend(&mut self, errno: i32) -> bool {
        matches!(errno, libc::EMFILE | libc::ENFILE) && self.fd.take().is_some()
    }

    /// Opens the reserve again if it has been given up; whether there is one now.
    pub fn refill(&mut self) -> bool {
        if self.fd.is_none() {
            self.fd = eventfd(0, EventfdFlags::CLOEXEC).ok();
        }
        self.fd.is_some()
    }

    /// A connection that was accepted, unless it has what was the reserve's descriptor: then it is told so and closed.
    pub fn admit(&mut self, socket: Socket) -> Option<Socket> {
        if self.refill() {
            return Some(socket);
        }
        socket.send_now(self.refusal);
        drop(socket);
        self.refill();
        None
    }
}
