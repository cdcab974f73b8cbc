//! Published messages as they come out of the inbox: to the clients of this worker that listen.
//!
//! Design: the inbox is read to where it stood when the step began, or until a turn's deliveries are used up. Commands that subscribe
//! and unsubscribe look how far it was read (`pubsub::Inbox`) and run again where something is left that is older than they are:
//! so who subscribes gets nothing older, and who unsubscribes has all that it was counted for. What they change here, at the end
//! of their group, counts from the next message on that is read.
//!
//! Bounds: deliveries in one turn; what a client may leave unread (`flush`).
//! Not here: who is counted where (`pubsub`), the commands (`command::pubsub`).

use super::{Message, Worker};
use crate::io::{Io, Token};
use crate::net::connection::Connection;
use crate::observe::ClientPlace;
use crate::pubsub::{PublishedMessage, RightsLost, SubscriptionKind, Subscriptions};
use crate::resp::Output;

/// Copies of messages written in one turn, after which what is left in the inbox waits for the next one.
const DELIVERIES_PER_TURN_MAX: usize = 16 << 10;

impl<I: Io> Worker<I> {
    /// Reads the inbox.
    pub(super) fn read_messages(&mut self) {
        let (head, aim) = self.inbox.progress();
        let mut deliveries = 0;
        while self.inbox.progress().0 < aim
            && deliveries < DELIVERIES_PER_TURN_MAX
            && let Some(message) = self.inbox.receive()
        {
            match message {
                Message::Published(message) => deliveries += self.deliver_message(&message),
                message => self.take_message(message),
            }
        }
        self.tell_prefixes();
        let (read, _) = self.inbox.progress();
        if read != head {
            self.cron.note_events(self.turn);
        }
        self.shared.pubsub.inbox(self.number).note(read, aim);
        self.stats().counters.messages_delivered.add(deliveries as u64);
    }

    /// Writes a message to all who listen, subscribers of the channel first; how many got it.
    fn deliver_message(&mut self, message: &PublishedMessage) -> usize {
        let listeners = std::mem::take(&mut self.listeners);
        let mut count = 0;
        for slot in listeners.of(message.kind, message.hash, message.channel()) {
            count += self.write_message(*slot, |connection| {
                message.write(&mut connection.output, connection.session.protocol);
            });
        }
        for pattern in &message.patterns {
            for slot in listeners.of(SubscriptionKind::Pattern, pattern.hash, &pattern.text) {
                count += self.write_message(*slot, |connection| {
                    message.write_for(pattern, &mut connection.output, connection.session.protocol);
                });
            }
        }
        self.listeners = listeners;
        count
    }

    #[inline]
    fn write_message(&mut self, slot: u32, write: impl FnOnce(&mut Connection)) -> usize {
        let Some(connection) = self.connections.get_mut(slot) else { return 0 };
        if connection.closing || connection.ended || connection.session.close_after_reply {
            return 0;
        }
        lend_spare(&mut connection.output, &mut self.spares);
        write(connection);
        if !connection.dirty {
            connection.dirty = true;
            self.dirty.push(slot);
        }
        1
    }

    /// Ends the clients of a user that listen to what it may not listen to any more.
    pub(super) fn end_listeners_without_right(&mut self, lost: &RightsLost) {
        for slot in 0..self.connections.bound() {
            let Some(connection) = self.connections.get(slot) else { continue };
            let session = &connection.session;
            let is_concerned = session.user.id() == lost.user_id && !session.close_after_reply;
            if is_concerned && session.subscriptions.as_ref().is_some_and(|all| lost.concerns(all)) {
                let token = connection.token;
                self.close(token);
            }
        }
    }

    /// A client listens to something from now on, or no more.
    pub(super) fn listen(&mut self, place: ClientPlace, kind: SubscriptionKind, name: &[u8], on: bool) {
        let hash = self.shared.keyspace.hash(name);
        let token = Token { slot: place.slot, generation: place.generation };
        // One that was ended in the same group has left all lists.
        if !on {
            self.listeners.remove(kind, hash, name, token.slot);
        } else if self.connections.find(token).is_some_and(|connection| !connection.closing) {
            self.listeners.add(kind, hash, name, token.slot);
        }
    }

    /// A client listens to nothing any more.
    pub(super) fn stop_listening(&mut self, slot: u32, all: &Subscriptions) {
        for kind in [SubscriptionKind::Channel, SubscriptionKind::Pattern, SubscriptionKind::Shard] {
            for name in all.names(kind) {
                let hash = self.shared.keyspace.hash(name);
                self.listeners.remove(kind, hash, name, slot);
                self.shared.pubsub.remove(kind, hash, name, self.number as u16);
            }
        }
    }
}

/// Gives an output that has none an emptied buffer.
#[inline]
fn lend_spare(output: &mut Output, spares: &mut Vec<Vec<u8>>) {
    if !output.has_buffer()
        && let Some(spare) = spares.pop()
    {
        output.lend(spare);
    }
}
