//! Replies out: one send per connection with output, and the end of those that have all they get.

use std::sync::atomic::Ordering::Relaxed;

use super::{Message, Worker, put_list_back};
use crate::io::{Io, Outgoing, Token};
use crate::net::Connection;
use crate::net::connection::BlockReason;
use crate::observe::RegistrySlot;
use crate::resp::Taken;

impl<I: Io> Worker<I> {
    /// Sends what the turn's commands have written.
    pub(super) fn flush(&mut self) {
        let now_ms = self.clock.now_ms();
        let dirty = std::mem::take(&mut self.dirty);
        let awaited = self.awaited_ticket();
        let bounds_memory = self.memory.is_limited() || self.client_limit.is_on();
        for slot in dirty.iter().copied() {
            let Some(connection) = self.connections.get_mut(slot) else { continue };
            connection.dirty = false;
            if connection.closing {
                continue;
            }
            let token = connection.token;
            let limits = &self.config.config().client_output_buffer_limit;
            let (limit, unread_bytes) = match () {
                () if connection.session.replica.is_some() => (&limits.replica, self.unread_stream(token)),
                () if connection.session.is_subscriber() => (&limits.pubsub, 0),
                () => (&limits.normal, 0),
            };
            let connection = self.connections.at(slot);
            if exceeds_limit(connection, unread_bytes, limit, now_ms) {
                let client_info = &connection.session.client_info;
                log::warn!(
                    "Client id={} addr={} closed for overcoming of output buffer limits.",
                    client_info.id,
                    client_info.address
                );
                self.stats().counters.client_output_buffer_limit_disconnections.add(1);
                self.close(token);
                continue;
            }
            let stats = self.shared.stats.of(self.number);
            stats.output_bytes_recent_max.raise(connection.unsent_bytes() as u64);
            if connection.sending_bytes == 0 && !connection.output.is_empty() {
                let outgoing = match connection.output.take() {
                    Taken::Flat(flat) => Outgoing::Flat(flat),
                    Taken::Pieces(pieces) => Outgoing::Gather(pieces),
                };
                connection.sending_bytes = outgoing.byte_count();
                // Who is to be closed, or let go on, after these replies needs to know of their end at once.
                if let Some(ticket) = awaited {
                    connection.held = Some(outgoing);
                    self.held.push((token, ticket));
                } else if connection.ended
                    || connection.input_ended
                    || connection.session.replica.is_some()
                    || connection.block_reason != BlockReason::None
                {
                    self.io.send(token, outgoing);
                } else {
                    self.io.send_unawaited(token, outgoing);
                }
                self.stats().counters.writes_processed.add(1);
            }
            let connection = self.connections.at(slot);
            if connection.output.has_buffer() && connection.output.is_empty() {
                // Nothing was said after all: a connection keeps a buffer only while there are replies in it.
                let buffer = connection.output.take_buffer();
                self.keep_spare(buffer);
            }
            if bounds_memory {
                self.client_bytes.recount(self.connections.at(slot));
            }
            let connection = self.connections.at(slot);
            // What is held back of a client that has gone does not run any more.
            let drained = connection.block_reason != BlockReason::None
                || !connection.ready && connection.received_len() == 0;
            let over = connection.ended || connection.input_ended && drained;
            if over && connection.unsent_bytes() == 0 {
                self.close(token);
            }
        }
        put_list_back(&mut self.dirty, dirty);
        if awaited.is_some() {
            self.release_held();
        }
    }

    /// Ends a connection now; replies not yet sent are lost.
    pub(super) fn close(&mut self, token: Token) {
        let Some(connection) = self.connections.find(token) else { return };
        if connection.closing {
            return;
        }
        if self.io.is_handshaking(token) {
            self.shared.stats.of(self.number).counters.tls_handshakes_failed.add(1);
        }
        connection.closing = true;
        connection.ended = true;
        let block_reason = connection.block_reason;
        connection.set_block_reason(BlockReason::None);
        match block_reason {
            BlockReason::Moving { target } => self.shared.clients.reassign(usize::from(target), self.number),
            // Clients may come and go throughout a pause.
            BlockReason::Paused => self.paused.retain(|slot| *slot != token.slot),
            BlockReason::None | BlockReason::Output | BlockReason::Blocked | BlockReason::Busy => {}
        }
        let connection = self.connections.at(token.slot);
        if connection.wait.is_some() {
            self.abandon_wait(token.slot);
        }
        let connection = self.connections.at(token.slot);
        connection.discard_received(&mut self.io);
        self.leave_upstream(token);
        self.set_monitor(token, false);
        if let Some(all) = self.connections.at(token.slot).session.subscriptions.take() {
            self.stop_listening(token.slot, &all);
            self.shared.pubsub.clients.fetch_sub(1, Relaxed);
        }
        let connection = self.connections.at(token.slot);
        if let Some(before) = connection.session.tracking.take() {
            let (place, tracking) = (connection.session.client_info.place(), &self.shared.pubsub.tracking);
            tracking.clients.fetch_sub(1, Relaxed);
            tracking.prefixes.fetch_sub(before.prefixes.len() as u64, Relaxed);
            before.tracker.into_iter().for_each(|tracker| tracking.leave(tracker));
            self.set_tracking(place, false);
        }
        self.replica_left(token);
        let connection = self.connections.at(token.slot);
        let RegistrySlot { worker, number } = connection.session.client_info.registry_slot;
        self.shared.clients.leave(&connection.session.client_info);
        match usize::from(worker) {
            here if here == self.number => self.registry_slots.give_back(number),
            other => self.inbox.send(other, Message::RegistrySlot(number)),
        }
        self.io.close(token);
    }

    /// Ends a connection once the replies it has coming are sent.
    pub(super) fn finish(&mut self, token: Token) {
        let Some(connection) = self.connections.find(token) else { return };
        connection.ended = true;
        if connection.unsent_bytes() == 0 { self.close(token) } else { self.make_dirty(token.slot) }
    }
}

/// Whether a client has more unsent replies than `client-output-buffer-limit` allows it.
fn exceeds_limit(
    connection: &mut Connection,
    unread_bytes: u64,
    limit: &crate::config::OutputBufferLimit,
    now_ms: u64,
) -> bool {
    let bytes = connection.unsent_bytes() as u64 + unread_bytes;
    if limit.hard_bytes > 0 && bytes > limit.hard_bytes {
        return true;
    }
    if limit.soft_bytes == 0 || bytes <= limit.soft_bytes {
        connection.soft_limit_since_ms = 0;
        return false;
    }
    // The clock may have been set back.
    if connection.soft_limit_since_ms == 0 || connection.soft_limit_since_ms > now_ms {
        connection.soft_limit_since_ms = now_ms;
    }
    now_ms - connection.soft_limit_since_ms > u64::from(limit.soft_seconds) * 1000
}
