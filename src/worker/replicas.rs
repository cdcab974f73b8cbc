//! Replicas whose connections this worker has: what they are sent, and when they are given up.
//!
//! Design: a replica gets its bytes through its connection's output like any client, a part at a time: the next part is taken
//! from the snapshot's queue or from the stream once the one before is sent. So a replica that does not read holds nothing but
//! its place in the stream; how far that may fall behind is `client-output-buffer-limit replica`. When all replicas have
//! all there is, the journal thread is asked to wake this worker for more.
//!
//! Not here: commands (`command::replication`), when a snapshot is cut (`syncing`), the stream (`replicate`).

use std::sync::Arc;

use super::{Message, Worker};
use crate::io::{Io, Token};
use crate::observe::ClientPlace;
use crate::replicate::primary::{About, Piece, Replica, Start, State, Transfer};
use crate::resp::{Output, Reply};

/// Bytes of the stream or of a snapshot that are handed to the kernel at once.
const PART_BYTES_MAX: usize = 1 << 20;
/// Time between two signs of life to a replica that waits for its snapshot, ms.
const SIGN_PERIOD_MS: u64 = 1000;

/// A replica of this worker.
pub(super) struct Followed {
    token: Token,
    replica: Arc<Replica>,
    /// It was told where the stream goes on.
    is_greeted: bool,
    /// How many bytes of the stream it was given, or has in its snapshot.
    at: u64,
    /// When it was last given something, and a sign of life, Unix time in ms.
    moved_ms: u64,
    sign_ms: u64,
}

impl Followed {
    /// Whether it gets the stream.
    fn follows(&self) -> bool {
        matches!(self.replica.state(), State::Online | State::Streams)
    }
}

/// What became of an attempt to give a replica its next part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    /// It has it, or there is none, or it has yet to take the one before.
    Yes,
    /// It cannot be served: its connection is to end.
    Lost,
}

/// Gives a replica the next part of its snapshot; false if there is no snapshot after all.
fn give_snapshot(transfer: &Transfer, output: &mut Output, replica: &Replica, now_ms: u64) -> bool {
    while output.len() < PART_BYTES_MAX {
        match transfer.next() {
            Piece::Bytes(bytes) => output.push_large(bytes),
            Piece::Nothing => break,
            Piece::Failed => {
                log::warn!("The snapshot for replica {} could not be made", replica.ip());
                return false;
            }
            Piece::End => {
                log::info!("Replica {}:{} has its snapshot", replica.ip(), replica.about.port);
                replica.note_snapshot_sent(now_ms);
                replica.set_state(match replica.about {
                    About { only_snapshot: true, .. } => State::Done,
                    About { .. } if transfer.ends_with_mark() => State::Loads,
                    About { .. } => State::Online,
                });
                break;
            }
        }
    }
    true
}

impl<I: Io> Worker<I> {
    /// A client of this worker follows from now on.
    pub(super) fn follow_by(&mut self, place: ClientPlace) {
        let token = Token { slot: place.slot, generation: place.generation };
        let now_ms = self.clock.now_ms();
        let Some(connection) = self.connections.find(token) else { return };
        let Some(replica) = connection.session.replica.clone() else { return };
        if connection.closing {
            // It has gone in the same group, and nobody has taken it out.
            return self.shared.replication.forget(&replica, now_ms);
        }
        if self.config.config().repl_disable_tcp_nodelay {
            self.io.fill_packets(token);
        }
        let at = replica.start().map_or(0, |start| start.offset);
        self.replicas.push(Followed {
            token,
            is_greeted: replica.start().is_some(),
            replica,
            at,
            moved_ms: now_ms,
            sign_ms: now_ms,
        });
        self.ask_for_look();
        self.feed_replicas();
    }

    /// The first worker looks whether a snapshot is to be cut, or whether replicas have all.
    fn ask_for_look(&mut self) {
        if self.number == 0 {
            self.cron.hurry();
        } else {
            self.inbox.send(0, Message::Look);
        }
    }

    /// A connection ends, which may be a replica's.
    pub(super) fn replica_left(&mut self, token: Token) {
        let Some(index) = self.replicas.iter().position(|followed| followed.token == token) else { return };
        let followed = self.replicas.swap_remove(index);
        self.shared.replication.forget(&followed.replica, self.clock.now_ms());
        let replica = &followed.replica;
        log::info!("Connection with replica {}:{} lost.", replica.ip(), replica.about.port);
    }

    /// Gives each replica the next part that has taken the one before.
    #[inline]
    pub(super) fn feed_replicas(&mut self) {
        if !self.replicas.is_empty() {
            self.feed_all();
        }
    }

    #[cold]
    fn feed_all(&mut self) {
        let mut replicas = std::mem::take(&mut self.replicas);
        let mut lost = Vec::new();
        for followed in &mut replicas {
            if self.feed(followed) == Fed::Lost {
                lost.push(followed.token);
            }
        }
        // Nobody has been added meanwhile.
        self.replicas = replicas;
        lost.into_iter().for_each(|token| self.close(token));
        let replication = &self.shared.replication;
        replication.replicas.note_drained(self.number);
        // What came before that was noted wakes nobody.
        let end = replication.stream.end();
        let is_free = |token: Token| {
            self.connections.get(token.slot).is_some_and(|connection| connection.unsent_bytes() == 0)
        };
        if self
            .replicas
            .iter()
            .any(|followed| followed.follows() && followed.at < end && is_free(followed.token))
        {
            replication.wake(1 << self.number);
        }
    }

    /// Gives a replica its next part, if it has taken the one before.
    fn feed(&mut self, followed: &mut Followed) -> Fed {
        let now_ms = self.clock.now_ms();
        let replication = Arc::clone(&self.shared.replication);
        let replica = Arc::clone(&followed.replica);
        let Some(connection) = self.connections.find(followed.token) else { return Fed::Yes };
        if replica.is_orphaned() {
            return Fed::Lost;
        }
        if connection.closing || connection.unsent_bytes() > 0 {
            return Fed::Yes;
        }
        let output = &mut connection.output;
        let is_given = match (replica.state(), replica.start()) {
            (State::Receives, Some(start)) => {
                followed.at = start.offset;
                if !std::mem::replace(&mut followed.is_greeted, true) {
                    let (id, offset) = (replication.history().id, start.offset);
                    if replica.tells_place() {
                        let (id, client) = (id.as_str(), replica.client_info.id);
                        // The stream names its database where it goes on, unless it is passed on.
                        let db =
                            if replication.is_replica() { i64::from(self.shared.link.db().0) } else { -1 };
                        output.push_bytes(format!("$ENDOFF:{offset} {id} {db} {client}\r\n").as_bytes());
                    } else if !replica.is_old {
                        let greeting = format!("FULLRESYNC {} {offset}", id.as_str());
                        Reply::new(output, connection.session.protocol).simple(&greeting);
                    }
                }
                let is_awaited = replica.tells_place() && replica.main().is_none();
                match replica.transfer() {
                    _ if is_awaited => true,
                    Some(transfer) => give_snapshot(transfer, output, &replica, now_ms),
                    None => false,
                }
            }
            (State::Online | State::Streams, Some(Start { reader: Some(reader), offset })) => {
                if !std::mem::replace(&mut followed.is_greeted, true) {
                    followed.at = offset;
                }
                let slices = replication.stream.try_read(reader, PART_BYTES_MAX).unwrap_or_default();
                for slice in slices {
                    followed.at += slice.len() as u64;
                    output.push_large(slice);
                }
                true
            }
            (State::Done, _) => {
                connection.ended = true;
                true
            }
            _ => true,
        };
        if !connection.output.is_empty() || connection.ended {
            followed.moved_ms = now_ms;
            self.make_dirty(followed.token.slot);
        }
        if is_given { Fed::Yes } else { Fed::Lost }
    }

    /// A replica has said how far it is.
    pub(super) fn replica_acked(&mut self, place: ClientPlace) {
        let followed = self.replicas.iter().find(|followed| followed.token.slot == place.slot);
        let has_loaded = |followed: &&Followed| match followed.replica.state() {
            State::Loads => true,
            State::Streams => followed.replica.is_served(),
            _ => false,
        };
        if let Some(followed) = followed.filter(has_loaded) {
            followed.replica.set_state(State::Online);
            self.feed_replicas();
        }
        if self.shared.pause.is_held() {
            self.ask_for_look();
        }
        let workers = self.shared.replication.replicas.take_awaiting();
        for worker in (0..self.inbox.workers()).filter(|worker| workers >> worker & 1 == 1) {
            if worker == self.number {
                self.look_at_awaiting();
            } else {
                self.inbox.send(worker, Message::Acknowledged);
            }
        }
    }

    /// What counts for a client's output limit besides its output: what a replica has yet to be given.
    pub(super) fn unread_stream(&self, token: Token) -> u64 {
        let followed = self.replicas.iter().find(|followed| followed.token == token);
        let start = followed.and_then(|followed| {
            let start = followed.replica.start().filter(|start| start.reader.is_some());
            start.filter(|_| followed.replica.keeps_stream()).map(|start| start.offset.max(followed.at))
        });
        start.map_or(0, |at| self.shared.replication.stream.end().saturating_sub(at))
    }

    /// Gives up replicas that have said nothing for too long, and tells those that wait that this server is there.
    pub(super) fn cron_replicas(&mut self, now_ms: u64) {
        if self.replicas.is_empty() {
            return;
        }
        let timeout_ms = u64::from(self.config.config().repl_timeout) * 1000;
        let mut lost = Vec::new();
        for index in 0..self.replicas.len() {
            let followed = &self.replicas[index];
            let (token, replica) = (followed.token, Arc::clone(&followed.replica));
            let is_late = match replica.state() {
                State::Online | State::Loads => !replica.is_old && replica.lag_s(now_ms) * 1000 > timeout_ms,
                State::Receives => {
                    followed.is_greeted && now_ms.saturating_sub(followed.moved_ms) > timeout_ms
                }
                State::WaitsForChannel => now_ms.saturating_sub(followed.moved_ms) > timeout_ms,
                State::Streams => replica.is_served() && replica.lag_s(now_ms) * 1000 > timeout_ms,
                State::WaitsForCut | State::Done => false,
            };
            if is_late {
                lost.push((token, replica));
                continue;
            }
            // A limit may be passed while nothing is sent.
            self.make_dirty(token.slot);
            let waits = replica.state() == State::WaitsForCut
                || replica.state() == State::Receives && !replica.about.knows_mark;
            let connection = self.connections.at(token.slot);
            if waits
                && connection.unsent_bytes() == 0
                && now_ms >= self.replicas[index].sign_ms + SIGN_PERIOD_MS
            {
                connection.output.push_bytes(b"\n");
                self.replicas[index].sign_ms = now_ms;
            }
        }
        for (token, replica) in lost {
            log::warn!("Disconnecting timedout replica: {}:{}", replica.ip(), replica.about.port);
            self.close(token);
        }
    }
}
