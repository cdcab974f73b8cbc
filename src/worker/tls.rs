//! Clients that encrypt what they send: what their handshakes lead to, and how long one may take.
//!
//! Design: a client counts and is listed from the moment it is accepted, as in Redis. Only once its handshake is over can it be
//! told anything, so what a plain client hears at once (protected mode) it hears then. All handshakes may take as long as each
//! other, so those that take too long are the first of a queue.
//!
//! Not here: the handshake itself (`io::tls`), certificates (`security::tls`).

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::Worker;
use super::reap::PROTECTED;
use crate::config::TlsAuthClientsUser;
use crate::io::{Io, Token};
use crate::observe::ClientInfo;
use crate::security::tls::subject;

/// A client that has not finished its handshake by then is closed.
const HANDSHAKE_MS_MAX: u64 = 10_000;
/// No two warnings about handshakes of a worker follow each other within this time.
const WARNING_MS: u64 = 1000;

/// The handshakes of a worker's clients.
#[derive(Default)]
pub(super) struct Handshakes {
    /// Until when each is to be over, Unix time in ms. Some are already.
    begun: VecDeque<(u64, Token)>,
    warned_ms: u64,
    /// Failures since that nobody was told of.
    unsaid_count: u64,
}

impl Handshakes {
    /// A client has been accepted.
    pub(super) fn begin(&mut self, token: Token, now_ms: u64) {
        self.begun.push_back((now_ms + HANDSHAKE_MS_MAX, token));
    }

    /// How long until the first is to be over; none if there is none.
    pub(super) fn due_in_ms(&self, now_ms: u64) -> Option<u64> {
        self.begun.front().map(|(until_ms, _)| until_ms.saturating_sub(now_ms))
    }
}

impl<I: Io> Worker<I> {
    /// Closes clients that take too long for their handshake.
    pub(super) fn end_handshakes(&mut self) {
        let now_ms = self.clock.now_ms();
        while let Some(&(until_ms, token)) = self.handshakes.begun.front() {
            let is_open = self.connections.find(token).is_some() && self.io.is_handshaking(token);
            if is_open && until_ms > now_ms {
                return;
            }
            self.handshakes.begun.pop_front();
            if is_open {
                self.warn_handshake(token, "the handshake took too long");
                self.close(token);
            }
        }
    }

    /// A client's handshake is over: it is served from here on, unless it may not be.
    pub(super) fn established(&mut self, token: Token, certificate: Option<&[u8]>) {
        self.stats().counters.tls_handshakes.add(1);
        let Some(connection) = self.connections.find(token).filter(|connection| !connection.closing) else {
            return;
        };
        let config = self.config.config();
        let users = self.shared.users.load();
        let is_open = config.protected_mode && users.default_user().needs_no_password();
        if is_open && is_foreign(&connection.session.client_info.address) {
            connection.output.push_bytes(PROTECTED);
            self.stats().counters.connections_rejected.add(1);
            return self.finish(token);
        }
        if config.tls_auth_clients_user == TlsAuthClientsUser::Cn
            && let Some(name) = certificate.and_then(subject::common_name)
            && let Some(user) = users.find(name).filter(|user| user.is_on())
        {
            // Its authority answers for it, so no password is asked for.
            connection.session.be(user, users.version(), true);
        }
    }

    /// A client's handshake has failed.
    #[cold]
    pub(super) fn handshake_failed(&mut self, token: Token, reason: &str) {
        self.stats().counters.tls_handshakes_failed.add(1);
        self.warn_handshake(token, reason);
        self.close(token);
    }

    /// Says why a handshake failed, once in a while.
    fn warn_handshake(&mut self, token: Token, reason: &str) {
        let Some(connection) = self.connections.find(token) else { return };
        let (now_ms, handshakes) = (self.clock.now_ms(), &mut self.handshakes);
        if now_ms.abs_diff(handshakes.warned_ms) < WARNING_MS {
            handshakes.unsaid_count += 1;
            return;
        }
        handshakes.warned_ms = now_ms;
        let unsaid = match std::mem::take(&mut handshakes.unsaid_count) {
            0 => String::new(),
            count => format!(" ({count} more since the last such message)"),
        };
        let ClientInfo { address, local_address, .. } = &*connection.session.client_info;
        log::warn!(
            "Error accepting a client connection: {reason} (addr={address} laddr={local_address}){unsaid}"
        );
    }
}

/// Whether a client that is called so comes from another host, or may: where that cannot be told, it is none of this one.
fn is_foreign(address: &str) -> bool {
    !address.parse::<SocketAddr>().is_ok_and(|address| address.ip().to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_are_of_this_host() {
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(!is_foreign(address), "{address}");
        }
        for address in
            ["10.0.0.1:1", "[::ffff:10.0.0.1]:1", "[fe80::1%2]:1", "[fe80::1]:1", "?:0", "", "0.0.0.0:1"]
        {
            assert!(is_foreign(address), "{address}");
        }
    }

    #[test]
    fn handshakes_are_due_in_the_order_in_which_they_began() {
        let mut handshakes = Handshakes::default();
        assert_eq!(handshakes.due_in_ms(0), None);
        handshakes.begin(Token { slot: 1, generation: 1 }, 500);
        handshakes.begin(Token { slot: 2, generation: 1 }, 900);
        assert_eq!(handshakes.due_in_ms(600), Some(HANDSHAKE_MS_MAX - 100));
        assert_eq!(handshakes.due_in_ms(500 + 2 * HANDSHAKE_MS_MAX), Some(0));
    }
}
