//! Clients of this worker that keep copies of keys: what they are told, or whoever is told instead.
//!
//! Design: what comes out of the inbox for clients that have read a key is written at once. What concerns prefixes is collected while
//! the inbox is read and written at its end, one message for each client and prefix. Where somebody else is told, who lives on
//! another worker, it goes there by message.
//!
//! Not here: who is told of what (`command::tracking`), the options (`command::client`).

use std::sync::Arc;

use super::{Message, Worker};
use crate::io::{Io, Token};
use crate::observe::{ClientPlace, flag};
use crate::pubsub::Invalidation;
use crate::resp::{Protocol, Reply};

/// Where RESP2 clients hear of it.
const CHANNEL: &[u8] = b"__redis__:invalidate";

/// Clients that track.
#[derive(Default)]
pub(super) struct Trackers {
    slots: Vec<u32>,
    /// Keys for those whose prefixes they have, with who has changed them, until the inbox is read.
    changed: Vec<(Box<[u8]>, u64)>,
}

impl<I: Io> Worker<I> {
    /// A client tracks from now on, or no more.
    pub(super) fn set_tracking(&mut self, place: ClientPlace, on: bool) {
        let token = Token { slot: place.slot, generation: place.generation };
        let is_there = self.connections.find(token).is_some_and(|connection| !connection.closing);
        self.trackers.slots.retain(|slot| *slot != token.slot);
        if on && is_there {
            self.trackers.slots.push(token.slot);
        }
        let broadcasts = |slot: &u32| {
            let connection = self.connections.get(*slot);
            connection.and_then(|c| c.session.tracking.as_ref()).is_some_and(|tracking| tracking.broadcast)
        };
        let has_broadcast = self.trackers.slots.iter().any(broadcasts);
        self.shared.pubsub.tracking.note(self.number, !self.trackers.slots.is_empty(), has_broadcast);
    }

    /// A key has changed that a client of this worker may have a copy of.
    pub(super) fn take_invalidation(&mut self, what: Invalidation) {
        match what {
            Invalidation::Broadcast { key, by } => self.trackers.changed.push((key, by)),
            Invalidation::Read { client, key, by } => {
                let place = ClientPlace::unpack(client);
                let token = Token { slot: place.slot, generation: place.generation };
                let Some(connection) = self.connections.find(token) else { return };
                let wants = connection
                    .session
                    .tracking
                    .as_ref()
                    .is_some_and(|tracking| !(tracking.broadcast || tracking.no_loop && by == client));
                if wants {
                    self.tell_changed(place.slot, &keys_text(&[&*key]));
                }
            }
            Invalidation::All => {
                for index in 0..self.trackers.slots.len() {
                    let slot = self.trackers.slots[index];
                    let is_resp3 = self.connections.at(slot).session.protocol == Protocol::Resp3;
                    self.tell_changed(slot, if is_resp3 { b"_\r\n" } else { b"$-1\r\n" });
                }
            }
        }
    }

    /// The inbox is read: tells those who wait for keys with prefixes.
    pub(super) fn tell_prefixes(&mut self) {
        if self.trackers.changed.is_empty() {
            return;
        }
        let changed = std::mem::take(&mut self.trackers.changed);
        for index in 0..self.trackers.slots.len() {
            let slot = self.trackers.slots[index];
            let connection = self.connections.at(slot);
            let own = connection.session.client_info.place().pack();
            let Some(tracking) = connection.session.tracking.as_ref().filter(|tracking| tracking.broadcast)
            else {
                continue;
            };
            let mut texts = Vec::new();
            for prefix in &tracking.prefixes {
                let mut keys: Vec<&[u8]> = Vec::new();
                for (key, by) in &changed {
                    let is_own = tracking.no_loop && *by == own;
                    if key.starts_with(prefix) && !is_own && !keys.contains(&&**key) {
                        keys.push(key);
                    }
                }
                if !keys.is_empty() {
                    texts.push(keys_text(&keys));
                }
            }
            texts.iter().for_each(|text| self.tell_changed(slot, text));
        }
    }

    /// Tells a client, or whoever is told instead; `keys` are encoded.
    fn tell_changed(&mut self, slot: u32, keys: &[u8]) {
        let connection = self.connections.at(slot);
        let Some(tracking) = connection.session.tracking.as_mut() else { return };
        let Some(target) = tracking.redirect.clone() else { return self.write_changed(slot, keys, false) };
        if target.is_gone() {
            tracking.is_broken = true;
            let protocol = connection.session.protocol;
            connection.session.client_info.set(flag::BROKEN_REDIRECT, true);
            if protocol == Protocol::Resp3 {
                let mut reply = Reply::new(&mut connection.output, protocol);
                reply.push(2);
                reply.bulk(b"tracking-redir-broken");
                reply.integer(target.id as i64);
                self.make_dirty(slot);
            }
            return;
        }
        let place = target.place();
        match usize::from(place.worker) {
            here if here == self.number => self.tell_instead(place, keys),
            other => self.inbox.send(other, Message::Redirected(place, Arc::from(keys))),
        }
    }

    /// A client of this worker is told in the place of another.
    pub(super) fn tell_instead(&mut self, place: ClientPlace, keys: &[u8]) {
        let token = Token { slot: place.slot, generation: place.generation };
        if self.connections.find(token).is_some() {
            self.write_changed(token.slot, keys, true);
        }
    }

    fn write_changed(&mut self, slot: u32, keys: &[u8], is_redirected: bool) {
        let connection = self.connections.at(slot);
        if connection.closing || connection.ended || connection.session.close_after_reply {
            return;
        }
        let (protocol, is_subscriber) = (connection.session.protocol, connection.session.is_subscriber());
        let mut reply = Reply::new(&mut connection.output, protocol);
        match protocol {
            Protocol::Resp3 => {
                reply.push(2);
                reply.bulk(b"invalidate");
            }
            Protocol::Resp2 if is_redirected && is_subscriber => {
                reply.array(3);
                reply.bulk(b"message");
                reply.bulk(CHANNEL);
            }
            Protocol::Resp2 => return,
        }
        reply.raw(keys);
        self.make_dirty(slot);
    }
}

/// Keys as an array of bulks.
fn keys_text(keys: &[&[u8]]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", keys.len()).into_bytes();
    for key in keys {
        text.extend_from_slice(format!("${}\r\n", key.len()).as_bytes());
        text.extend_from_slice(key);
        text.extend_from_slice(b"\r\n");
    }
    text
}
