//! What workers do for the link to a primary: the orders of its thread, and the connection that the stream comes from.
//!
//! Design: the connection lives on the first worker, like a client's, and its commands run like a client's
//! (`client_run::step_of_primary`): in groups, under leases, transactions whole. It answers nothing but how far it has got, each
//! second and where it is asked.
//!
//! Orders are carried out under all leases. Where a snapshot is about to be loaded, all data goes, the append-only file is closed, and
//! clients hear that the server is loading; once it is loaded, a rewrite begins that file anew.
//!
//! Not here: the thread (`replicate::replica`), what of the stream counts as applied (`replicate::replica::applied`).

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::command::{
    Replies, Session, Shared, abort_failover, changes, drop_replicas, empty_all, end_failover, load_libraries,
};
use crate::io::{Io, Token};
use crate::observe::flag;
use crate::persist::journal::Order as JournalOrder;
use crate::replicate::replica::{Adoption, Applied, Order, Surroundings, follow};
use crate::replicate::{History, LinkState, Primary, ReplicationId};
use crate::resp::Output;
use crate::resp::inline::encode_words;
use crate::script::Policy;
use crate::store::DbIndex;
use crate::threads;

/// Time from one acknowledgement to the next, in ms.
const ACKNOWLEDGE_MS: u64 = 1000;

/// The connection to the primary, as its worker knows it.
pub(super) struct Upstream {
    token: Token,
    /// When it was last told how far this server is, Unix time in ms.
    acknowledged_ms: u64,
}

/// Follows a primary on a thread of its own, in the role of this epoch.
pub fn follow_primary(shared: &Arc<Shared>, primary: Primary, epoch: u64) {
    let server = Arc::clone(shared);
    let body = move || {
        server.link.settle_thread();
        let surroundings = Surroundings {
            config: &server.config,
            replication: &server.replication,
            link: &server.link,
            loading: &server.loading,
            tls: &server.tls,
            port: server.facts.tcp_port,
            tls_port: server.facts.tls_port,
            load_libraries: &|findings| load_libraries(&server, findings, Policy::Flush),
            keys: &|| server.keyspace.shards().map(|shard| server.stats.gauges.keys(shard)).sum(),
        };
        follow(&surroundings, &primary, epoch);
    };
    if let Err(error) = threads::spawn("torc-replica", body) {
        log::warn!("The primary cannot be followed: no thread: {error}");
    }
}

/// Says how far the stream has been applied, and how much of it is in the append-only file, if there is one.
pub(super) fn acknowledge(output: &mut Output, shared: &Shared) {
    let (journal, offset) = (&shared.journal, shared.replication.offset());
    let mut words = vec!["REPLCONF".to_owned(), "ACK".to_owned(), offset.to_string()];
    if journal.has_file() && shared.append_only.has_base() {
        let kept = shared.link.kept_offset(offset, journal.drawn(), journal.kept());
        words.extend(["FACK".to_owned(), kept.to_string()]);
    }
    let mut bytes = Vec::new();
    encode_words(&mut bytes, words.iter().map(String::as_bytes));
    output.push_bytes(&bytes);
}

impl<I: Io> Worker<I> {
    /// Whether the link's thread waits for this worker.
    #[inline]
    pub(super) fn has_order(&self) -> bool {
        self.number == 0 && !self.stopping && self.shared.link.has_order()
    }

    /// Carries out what the link's thread has ordered; tries again in the next turn where leases are refused.
    #[inline]
    pub(super) fn carry_out_order(&mut self) {
        if self.has_order() && self.take_all_leases() {
            self.carry_out();
        }
    }

    #[cold]
    fn carry_out(&mut self) {
        let shared = Arc::clone(&self.shared);
        let outcome = match shared.link.take_order() {
            None => None,
            Some(Order::Empty { bytes }) => {
                log::info!("All data goes, as the primary's snapshot is about to be loaded");
                shared.link.tear(true);
                self.empty();
                shared.script_state.flush();
                self.close_append_only();
                shared.loading.begin(bytes, self.clock.now_ms());
                shared.loading.keep_expired();
                self.tell_loading();
                Some(true)
            }
            Some(Order::Taken) => {
                self.with_nobody(end_failover);
                Some(true)
            }
            Some(Order::Refused) => {
                self.with_nobody(|ctx| abort_failover(ctx, "Failover target rejected psync request"));
                Some(true)
            }
            Some(Order::Failed) => {
                self.empty();
                self.end_loading();
                shared.replication.set_link(LinkState::Connect);
                Some(true)
            }
            Some(Order::Loaded { id, offset, db, adoption }) => {
                let history = History { id, id_before: ReplicationId::NONE, until: None };
                shared.replication.adopt_history(history, offset);
                self.execution.effects.extend(drop_replicas(&self.shared));
                shared.link.tear(false);
                self.end_loading();
                Some(self.adopt_upstream(adoption, db))
            }
            Some(Order::Continue { id, adoption }) => {
                if let Some(id) = id.filter(|id| *id != shared.replication.history().id) {
                    shared.replication.continue_as(id);
                    // They learn the new name when they come again, and continue.
                    self.execution.effects.extend(drop_replicas(&self.shared));
                }
                self.with_nobody(end_failover);
                let db = shared.link.db();
                Some(self.adopt_upstream(adoption, db))
            }
        };
        self.release_all_leases();
        self.act();
        if let Some(outcome) = outcome {
            shared.link.done(outcome);
        }
    }

    /// All databases are empty from now on; all leases are held.
    fn empty(&mut self) {
        self.with_nobody(|ctx| empty_all(ctx, ctx.config.replica_lazy_flush));
        self.execution.changes.clear();
        let shard_count = self.shared.keyspace.shard_count();
        for shard in self.shared.keyspace.shards() {
            // Whoever asks how many keys there are does not wait for cron.
            let stats = self.shared.stats.of(self.number);
            self.shared.stats.gauges.note(stats, shard, shard_count, self.execution.leases.shard(shard));
            if self.execution.leases.shard(shard).has_ready() {
                self.lost.push(shard);
            }
        }
    }

    /// What is appended is of no use any more; what follows a snapshot's load begins with a new base.
    fn close_append_only(&mut self) {
        let shared = Arc::clone(&self.shared);
        if shared.journal.has_file() {
            shared.journal.record_for_file(false);
            shared.journal.order(JournalOrder::Close { after: shared.journal.drawn() });
        }
        shared.append_only.close();
        if let Some(running) = shared.background.running() {
            running.cancel();
        }
    }

    /// Every worker sees, with the next group at the latest, that a file is being loaded.
    fn tell_loading(&mut self) {
        self.loads = true;
        let same = self.shared.config.update(|old| Ok::<_, std::convert::Infallible>(old.clone()));
        assert!(same.is_ok(), "it cannot fail");
        self.inbox.send_all(|| super::Message::Look);
    }

    fn end_loading(&mut self) {
        self.shared.loading.end();
        self.shared.last_save.note_loaded(changes(&self.execution.leases));
        self.inbox.send_all(|| super::Message::Look);
    }

    /// The stream comes from this socket from now on, whose first bytes have come already.
    fn adopt_upstream(&mut self, adoption: Adoption, db: DbIndex) -> bool {
        let (shared, now_ms) = (Arc::clone(&self.shared), self.clock.now_ms());
        shared.replication.stream.open(self.config.config().repl_backlog_size);
        // It is no client that `maxclients` could refuse.
        shared.clients.admit(u64::MAX);
        shared.clients.assign_here(self.number);
        let Adoption { socket, input } = adoption;
        let token = self.enter(socket);
        let connection = self.connections.at(token.slot);
        connection.session = Session::superuser(Arc::clone(&connection.session.client_info));
        let session = &mut connection.session;
        session.client_info.user.store(Arc::clone(&session.user));
        session.upstream = Some(Box::new(Applied::new(shared.link.epoch())));
        session.select(db);
        (session.replies, session.repeats) = (Replies::Off, true);
        session.client_info.set(flag::PRIMARY, true);
        session.client_info.pin();
        let client_info = Arc::clone(&session.client_info);
        let arrived: u64 = input.iter().map(|block| block.len() as u64).sum();
        input.into_iter().for_each(|block| connection.give(block));
        shared.link.read_offset.store(shared.replication.offset() + arrived, Relaxed);
        shared.link.select(db);
        shared.link.forget_kept();
        shared.link.connected(client_info, now_ms);
        shared.replication.set_link(LinkState::Connected);
        self.upstream = Some(Upstream { token, acknowledged_ms: 0 });
        self.make_ready(token.slot);
        self.tend_upstream(now_ms);
        log::info!("Following the primary from {}", shared.replication.offset());
        true
    }

    /// Bytes of the stream have come.
    pub(super) fn note_upstream(&self, bytes: usize) {
        self.shared.link.read_offset.fetch_add(bytes as u64, Relaxed);
        self.shared.link.received.fetch_add(bytes as u64, Relaxed);
        self.shared.link.heard_ms.store(self.clock.now_ms(), Relaxed);
    }

    /// Tells the primary how far this server is, and gives it up once it has been silent for too long.
    pub(super) fn tend_upstream(&mut self, now_ms: u64) {
        let Some(Upstream { token, acknowledged_ms }) = &mut self.upstream else { return };
        let token = *token;
        // The clock may have been set back.
        if now_ms.abs_diff(*acknowledged_ms) >= ACKNOWLEDGE_MS {
            *acknowledged_ms = now_ms;
            acknowledge(&mut self.connections.at(token.slot).output, &self.shared);
            self.make_dirty(token.slot);
        }
        self.cron.come_by(now_ms + ACKNOWLEDGE_MS);
        let silent_ms = now_ms.saturating_sub(self.shared.link.heard_ms.load(Relaxed));
        if silent_ms > u64::from(self.config.config().repl_timeout) * 1000 {
            log::warn!(
                "The primary has not said anything for {silent_ms} ms (`repl-timeout`): its link is closed"
            );
            self.close(token);
        }
    }

    /// What the connection to the primary holds, if it is here.
    pub(super) fn upstream_bytes(&self) -> u64 {
        let connection =
            self.upstream.as_ref().and_then(|upstream| self.connections.get(upstream.token.slot));
        connection.map_or(0, |connection| connection.session.client_info.total_bytes.load(Relaxed))
    }

    /// A connection is closed that may be the one to the primary.
    pub(super) fn leave_upstream(&mut self, token: Token) {
        let session = &mut self.connections.at(token.slot).session;
        let Some(applied) = session.upstream.take() else { return };
        self.upstream = None;
        let (link, replication) = (&self.shared.link, &self.shared.replication);
        log::info!("The link to the primary has ended at {}", replication.offset());
        link.disconnected(applied.epoch(), replication, self.clock.now_ms());
    }
}
