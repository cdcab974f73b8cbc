//! Connections that move to another worker.
//!
//! Design: a connection may leave when all its replies are sent, whatever input it has: that goes along, copied, with the
//! command that is half received. It is blocked, its socket is taken back from the backend, and both go to the other
//! worker by message, which attaches the socket under a token of its own. Its client info keeps its registry slot, and says from
//! then on where its connection lives.
//!
//! ```text
//!   at rest -> BlockReason::Moving --Released--> in an inbox -> at its new worker
//!                   |
//!                   +------ the input ends, it is closed: it stays
//! ```
//!
//! Invariants:
//! - a connection that waits for a key, that is held back, or that other lists of its worker name (MONITOR) does not move;
//! - a message for a client that has moved on is of no use any more (`observe::clients` says why), and is dropped.
//!
//! Not here: who moves, and where to (`balance`).

use super::{Message, Worker};
use crate::io::{Io, Socket, Token};
use crate::net::Connection;
use crate::net::connection::BlockReason;
use crate::observe::ClientPlace;

/// A connection between two workers.
pub struct MovingConnection {
    connection: Box<Connection>,
    socket: Socket,
}

impl<I: Io> Worker<I> {
    /// Whether connections are to leave this worker.
    #[inline]
    pub(super) fn sends_away(&self) -> bool {
        self.balance.surplus > 0 || self.number >= self.active()
    }

    /// A connection sets out for another worker, if it may.
    #[cold]
    pub(super) fn detach(&mut self, slot: u32) {
        if self.stopping || !self.connections.at(slot).may_move() {
            return;
        }
        let Some(target) = self.balance.target(self.number, self.active()) else { return };
        let connection = self.connections.at(slot);
        connection.set_block_reason(BlockReason::Moving { target: target as u16 });
        connection.copy_out(&mut self.io);
        let token = connection.token;
        self.balance.note_left(connection.seen_in_window);
        self.shared.clients.reassign(self.number, target);
        self.io.release(token);
    }

    /// Its input has ended before it left: it stays.
    pub(super) fn stay(&mut self, slot: u32, target: u16) {
        self.shared.clients.reassign(usize::from(target), self.number);
        self.connections.at(slot).set_block_reason(BlockReason::None);
        self.make_ready(slot);
    }

    /// It has left the backend, and goes.
    pub(super) fn released(&mut self, token: Token, socket: Socket) {
        if self.connections.at(token.slot).closing {
            // What came last before it left was more than it may send, so it was closed meanwhile.
            drop(socket);
            return self.detached(token);
        }
        let connection = self.connections.free(token).expect("it is blocked until now");
        let BlockReason::Moving { target } = connection.block_reason else { unreachable!("it was to move") };
        self.client_bytes.forget(&connection);
        let stats = self.stats();
        stats.connections.set(self.connections.len() as u64);
        stats.counters.connections_moved.add(1);
        self.inbox
            .send(usize::from(target), Message::Moving(Box::new(MovingConnection { connection, socket })));
    }

    /// A connection has come to live here.
    pub(super) fn attach(&mut self, moving: MovingConnection) {
        let MovingConnection { mut connection, socket } = moving;
        let token = self.connections.reserve();
        connection.attach(token);
        let place = self.place(token);
        let wanted = connection.session.client_info.attach(place);
        self.client_bytes.recount(&connection);
        if self.memory.is_limited() {
            // All its input may run in this turn.
            self.tell_client_bytes();
        }
        self.connections.put(connection);
        self.io.attach(token, socket);
        self.stats().connections.set(self.connections.len() as u64);
        self.balance.note_arrived();
        if !wanted {
            return self.close(token);
        }
        if self.stopping {
            return self.finish(token);
        }
        self.io.receive(token);
        self.make_ready(token.slot);
    }

    /// Where a connection of this worker lives.
    pub(super) fn place(&self, token: Token) -> ClientPlace {
        ClientPlace { worker: self.number as u16, slot: token.slot, generation: token.generation }
    }
}
