//! Completions into state. Nothing acts on input here: that is the batch's business.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::BytesMut;

use super::{Message, SPARES_MAX, Worker};
use crate::command::Session;
use crate::io::{EndCause, Event, Io, Outgoing, Socket, Token};
use crate::net::Connection;
use crate::net::connection::{BUFFER_BYTES_KEPT, BlockReason, OUTPUT_BYTES_LOW, Piece, RECEIVED_MAX};
use crate::observe::{ClientInfo, RegistrySlot, flag};

/// What clients are told that are too many, for `maxclients` or for the process's open files.
pub(super) const TOO_MANY: &[u8] = b"-ERR max number of clients reached\r\n";

/// No two warnings of a worker that it cannot accept follow each other within this time.
const ACCEPT_WARNING_MS: u64 = 1000;

pub(super) const PROTECTED: &[u8] = b"-DENIED Redis is running in protected mode because protected mode is enabled and no password \
is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to \
connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode \
sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host \
the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE \
to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis \
configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the \
server manually just for testing, restart it with the '--protected-mode no' option. 4) Set up an authentication password \
for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting \
connections from the outside.\r\n";

impl<I: Io> Worker<I> {
    /// Takes all completions.
    pub(super) fn reap(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        self.io.reap(&mut events);
        if !events.is_empty() {
            self.cron.note_events(self.turn);
        }
        for event in events.drain(..) {
            match event {
                Event::Received { token, input } => self.received(token, Piece::Received(input)),
                Event::Sent { token, outgoing, result } => self.sent(token, outgoing, result),
                Event::Decrypted { token, bytes } => self.received(token, Piece::Copied(bytes)),
                Event::Established { token, certificate } => self.established(token, certificate.as_deref()),
                Event::HandshakeFailed { token, reason } => self.handshake_failed(token, &reason),
                Event::Accepted { socket, .. } => self.accepted(socket),
                Event::Refused { .. } => {
                    let counters = &self.stats().counters;
                    counters.connections_received.add(1);
                    counters.connections_rejected.add(1);
                    self.warn_accept(libc::EMFILE);
                }
                Event::AcceptFailed { errno, .. } => self.warn_accept(errno),
                Event::BulkReceived { token, bulk, done } => {
                    self.stats_input(bulk.len());
                    self.bulk_received(token, bulk, done.is_ok());
                }
                Event::InputEnded { token, cause } => self.input_ended(token, cause),
                Event::Detached { token } => self.detached(token),
                Event::Released { token, socket } => self.released(token, socket),
                // For its messages, for a lease, or for what is shared and looked at in each turn.
                Event::Woken => {}
            }
        }
        self.events = events;
    }

    /// Says why clients are not accepted, once in a while.
    #[cold]
    fn warn_accept(&mut self, errno: i32) {
        let now_ms = self.clock.now_ms();
        if now_ms.abs_diff(self.accept_warned_ms) >= ACCEPT_WARNING_MS {
            self.accept_warned_ms = now_ms;
            let error = std::io::Error::from_raw_os_error(errno);
            log::warn!("Error accepting a client connection: {error}");
        }
    }

    fn stats_input(&self, bytes: usize) {
        let counters = &self.stats().counters;
        counters.net_input_bytes.add(bytes as u64);
        counters.reads_processed.add(1);
    }

    fn bulk_received(&mut self, token: Token, bulk: BytesMut, complete: bool) {
        let Some(connection) = self.connections.find(token) else { return };
        if !complete || connection.closing {
            return self.close(token);
        }
        connection.session.client_info.received_bytes.add(bulk.len() as u64);
        connection.take_bulk(bulk);
        self.make_ready(token.slot);
        self.io.receive(token);
    }

    fn received(&mut self, token: Token, piece: Piece) {
        self.stats_input(piece.len());
        match self.connections.find(token) {
            Some(connection) if !connection.ended && !connection.closing => {
                let (bytes, is_upstream) = (piece.len(), connection.session.upstream.is_some());
                connection.session.client_info.received_bytes.add(bytes as u64);
                connection.receive(piece);
                if is_upstream {
                    self.note_upstream(bytes);
                }
                let connection = self.connections.at(token.slot);
                if connection.block_reason != BlockReason::None {
                    self.pause_input(token.slot);
                    self.bound_query(token.slot);
                    return;
                }
                if connection.received_len() > RECEIVED_MAX && !connection.input_paused {
                    connection.input_paused = true;
                    self.io.pause(token);
                }
                self.make_ready(token.slot);
            }
            _ => piece.give_back(&mut self.io),
        }
    }

    /// A blocked connection keeps no receive buffers: they are all connections' own. It is read from, as its end is to be
    /// noticed, unless its client does not read either. One that leaves takes along what still comes.
    pub(super) fn pause_input(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        connection.copy_out(&mut self.io);
        // What a primary sends has no limit: it waits in the socket.
        let reads_on =
            connection.block_reason != BlockReason::Output && connection.session.upstream.is_none();
        let token = connection.token;
        if !reads_on && !connection.input_paused {
            connection.input_paused = true;
            self.io.pause(token);
        } else if reads_on
            && connection.input_paused
            && !matches!(connection.block_reason, BlockReason::Moving { .. })
        {
            // It had sent more than it could be given at once, before it was held.
            connection.input_paused = false;
            self.io.receive(token);
        }
    }

    /// Shows what a client has sent and what of it has not run; if that is more than it may be, closes it and says so.
    pub(super) fn bound_query(&mut self, slot: u32) -> bool {
        let connection = self.connections.at(slot);
        connection.show(self.clock.now_ms());
        self.client_bytes.recount(connection);
        let (token, query_bytes) = (connection.token, connection.query_bytes() as u64);
        let (kept_bytes, is_endless) = (connection.kept_query_bytes() as u64, connection.is_endless());
        self.stats().query_bytes_recent_max.raise(query_bytes);
        let is_limited = self.connections.at(slot).session.upstream.is_none();
        let over = is_limited && kept_bytes > self.config.config().client_query_buffer_limit || is_endless;
        if over {
            let client_info = &self.connections.at(slot).session.client_info;
            log::warn!(
                "Closing client that reached max query buffer length: id={} addr={} qbuf={query_bytes}",
                client_info.id,
                client_info.address
            );
            self.stats().counters.client_query_buffer_limit_disconnections.add(1);
            self.close(token);
        }
        over
    }

    /// Puts a connection among those to be parsed, unless it is there or blocked.
    pub(super) fn make_ready(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        if !connection.ready && connection.block_reason == BlockReason::None && !connection.closing {
            connection.ready = true;
            self.ready.push(slot);
        }
    }

    fn sent(&mut self, token: Token, outgoing: Outgoing, result: Result<usize, EndCause>) {
        let sent_bytes = *result.as_ref().unwrap_or(&0) as u64;
        self.stats().counters.net_output_bytes.add(sent_bytes);
        if let Outgoing::Flat(buffer) = outgoing {
            self.keep_spare(buffer);
        }
        let Some(connection) = self.connections.find(token) else {
            return self.io.close(token); // it was refused, and now knows why
        };
        connection.sending_bytes = 0;
        let left = connection.output.len() as u64;
        let client_info = &connection.session.client_info;
        client_info.output_bytes.store(left, Relaxed);
        client_info.sent_bytes.add(sent_bytes);
        self.client_bytes.recount(connection);
        if result.is_ok() {
            // Who reads long replies is not idle.
            client_info.active_ms.store(self.clock.now_ms(), Relaxed);
        }
        if connection.closing {
            return;
        }
        if result.is_err() {
            return self.close(token);
        }
        if connection.block_reason == BlockReason::Output && connection.output.len() <= OUTPUT_BYTES_LOW {
            connection.set_block_reason(BlockReason::None);
            self.make_ready(token.slot);
        }
        self.make_dirty(token.slot);
        if self.sends_away() {
            self.detach(token.slot);
        }
    }

    /// An output buffer that is empty by now is used again, by whichever connection replies next.
    pub(super) fn keep_spare(&mut self, buffer: Vec<u8>) {
        if self.spares.len() < SPARES_MAX && buffer.capacity() <= BUFFER_BYTES_KEPT {
            self.spares.push(buffer);
        }
    }

    /// Puts a connection among those to be flushed.
    pub(super) fn make_dirty(&mut self, slot: u32) {
        let connection = self.connections.at(slot);
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
    }

    fn input_ended(&mut self, token: Token, cause: EndCause) {
        let Some(connection) = self.connections.find(token) else { return };
        connection.input_ended = true;
        if let BlockReason::Moving { target } = connection.block_reason {
            self.stay(token.slot, target);
        }
        let connection = self.connections.at(token.slot);
        if connection.wait.is_some() {
            // Nobody may be served any more whose reply will not be read.
            self.abandon_wait(token.slot);
        }
        let connection = self.connections.at(token.slot);
        if cause == EndCause::Eof && (connection.ready || connection.unsent_bytes() > 0) {
            // What was sent before the end is still answered; the flush closes it then.
            self.make_dirty(token.slot);
        } else {
            self.close(token);
        }
    }

    /// A new connection goes to the active worker that has the fewest, unless there are too many or it may not be served. It
    /// counts from here on, so that no more are under way than may be open.
    fn accepted(&mut self, socket: Socket) {
        let counters = &self.stats().counters;
        counters.connections_received.add(1);
        if self.stopping {
            return;
        }
        if let Some(text) = self.refusal(&socket) {
            counters.connections_rejected.add(1);
            if socket.is_tls() {
                // Without a handshake nothing can be said.
                return;
            }
            self.shared.clients.assign_here(self.number);
            return self.refuse(socket, text);
        }
        let target = self.shared.clients.assign(self.number, self.active());
        if target == self.number {
            self.adopt(socket);
        } else {
            self.inbox.send(target, Message::Connection(socket));
        }
    }

    /// Why a new connection is not served; if it is, it is counted in.
    fn refusal(&self, socket: &Socket) -> Option<&'static [u8]> {
        let config = self.config.config();
        if !self.shared.clients.admit(u64::from(config.maxclients)) {
            return Some(TOO_MANY);
        }
        let is_open = config.protected_mode && self.users.default_user().needs_no_password();
        // A client that encrypts can be told once its handshake is over.
        if is_open && !socket.is_tls() && socket.peer_ip().is_some_and(|ip| !ip.to_canonical().is_loopback())
        {
            self.shared.clients.dismiss();
            return Some(PROTECTED);
        }
        None
    }

    /// Makes a connection of a socket that was accepted and counted in, here or by another worker.
    pub(super) fn adopt(&mut self, socket: Socket) {
        if self.stopping {
            self.shared.clients.dismiss();
            return self.shared.clients.unassign(self.number);
        }
        self.enter(socket);
    }

    /// Makes a connection of a socket that was counted in.
    pub(super) fn enter(&mut self, socket: Socket) -> Token {
        let keepalive = self.config.config().tcp_keepalive;
        let token = self.connections.reserve();
        if keepalive > 0 && !socket.is_unix() {
            // A peer that is gone already shows itself on the first read.
            socket.set_keepalive(keepalive).unwrap_or_default();
        }
        let (registry_slot, place) = (self.registry_slots.take(), self.place(token));
        let registry_slot = RegistrySlot { worker: self.number as u16, number: registry_slot };
        let (peer, local) = (socket.peer_address(), socket.local_address());
        if socket.is_tls() {
            self.handshakes.begin(token, self.clock.now_ms());
        }
        let id = self.shared.clients.next_id();
        let client_info =
            ClientInfo::new(id, registry_slot, place, peer, local, socket.as_raw_fd(), self.clock.now_ms());
        client_info.set(flag::UNIX_SOCKET, socket.is_unix());
        let client_info = Arc::new(client_info);
        self.shared.clients.enter(&client_info);
        let connection = Box::new(Connection::new(token, Session::new(client_info, &self.users)));
        self.client_bytes.recount(&connection);
        self.connections.put(connection);
        self.io.attach(token, socket);
        self.io.receive(token);
        self.stats().connections.set(self.connections.len() as u64);
        token
    }

    /// Tells a socket why it is not served, and closes it once that is sent.
    fn refuse(&mut self, socket: Socket, text: &[u8]) {
        let token = self.connections.reserve();
        self.io.attach(token, socket);
        self.io.send(token, Outgoing::Flat(text.to_vec()));
    }

    pub(super) fn detached(&mut self, token: Token) {
        if let Some(connection) = self.connections.free(token) {
            self.client_bytes.forget(&connection);
            // What it leaves in shards is for their cron.
            self.stats().busy_turns.add(connection.session.watch.is_some().into());
        }
        self.shared.clients.unassign(self.number);
        self.stats().connections.set(self.connections.len() as u64);
    }
}
