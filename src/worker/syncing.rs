//! The first worker's part in replication: the snapshot for replicas that wait for one, the stream on and off, pings.
//!
//! Design: at each tick what is wanted is compared with what is. One snapshot serves all replicas that wait when it is cut; the cut
//! takes all leases for a moment, and is where the journal begins to feed the stream, if it does not yet.
//!
//! Not here: the snapshot (`persist::background`), what goes to replicas (`replicate::primary`), their sockets (`replicas`).

use std::sync::Arc;

use super::Worker;
use crate::command::{begin_stream, cut_for_replicas, end_stream};
use crate::io::Io;
use crate::persist::journal::Order;
use crate::replicate::primary::{Replica, State};

/// Where the first worker stands.
#[derive(Default)]
pub(super) struct Syncing {
    /// When replicas were pinged last, Unix time in ms.
    pinged_ms: u64,
    /// `repl-backlog-size` as the stream has it.
    backlog_bytes: u64,
}

impl<I: Io> Worker<I> {
    /// A tick.
    pub(super) fn cron_syncing(&mut self, now_ms: u64) {
        if self.number != 0 || self.loads || self.stopping {
            return;
        }
        let replication = Arc::clone(&self.shared.replication);
        let config = Arc::clone(self.config.config_arc());
        replication.replicas.count_good(config.min_replicas_max_lag.into(), now_ms);
        if replication.stream.is_open() {
            if std::mem::replace(&mut self.syncing.backlog_bytes, config.repl_backlog_size)
                != config.repl_backlog_size
            {
                replication.stream.open(config.repl_backlog_size);
            }
            let ttl_s = config.repl_backlog_ttl;
            let alone_s = replication.replicas.alone_s(now_ms);
            if ttl_s > 0 && alone_s.is_some_and(|alone_s| alone_s > ttl_s) && !replication.is_replica() {
                self.end_stream(ttl_s);
            }
            let period_ms = u64::from(config.repl_ping_replica_period) * 1000;
            if now_ms.abs_diff(self.syncing.pinged_ms) >= period_ms && alone_s.is_none() {
                self.syncing.pinged_ms = now_ms;
                // Where writes are held back, replicas are to come to the stream's end.
                if !replication.is_replica() && !self.shared.pause.is_held() {
                    self.shared.journal.order(Order::Say { words: b"*1\r\n$4\r\nPING\r\n" });
                }
            }
        }
        self.sync_when_due(now_ms);
    }

    /// Cuts a snapshot if replicas wait for one, and not for others to come.
    fn sync_when_due(&mut self, now_ms: u64) {
        let all = self.shared.replication.replicas.all();
        let mut waiting = all.iter().filter(|replica| replica.state() == State::WaitsForCut);
        let Some(first) = waiting.next() else { return };
        if self.shared.background.is_running() {
            return;
        }
        let kind = |replica: &Replica| (replica.about.filter, replica.about.is_channel);
        let (filter, is_channel) = kind(first);
        let group: Vec<Arc<Replica>> = std::iter::once(first)
            .chain(waiting)
            .filter(|replica| kind(replica) == (filter, is_channel))
            .map(Arc::clone)
            .collect();
        let config = Arc::clone(self.config.config_arc());
        let by_socket =
            (config.repl_diskless_sync || is_channel) && group.iter().all(|replica| replica.about.knows_mark);
        let delay_ms = u64::from(config.repl_diskless_sync_delay) * 1000;
        let enough = config.repl_diskless_sync_max_replicas as usize;
        let longest_ms = group.iter().map(|replica| now_ms.saturating_sub(replica.since_ms)).max();
        let is_due = !by_socket || enough > 0 && group.len() >= enough || longest_ms >= Some(delay_ms);
        if is_due && self.take_all_leases() {
            self.cut_for(group, by_socket, now_ms);
        } else if is_due {
            self.cron.come_by(now_ms + 1);
        }
    }

    #[cold]
    fn cut_for(&mut self, group: Vec<Arc<Replica>>, by_socket: bool, now_ms: u64) {
        let shared = Arc::clone(&self.shared);
        let config = Arc::clone(self.config.config_arc());
        begin_stream(&shared, config.repl_backlog_size);
        self.syncing.backlog_bytes = config.repl_backlog_size;
        let used_bytes = shared.stats.gauges.used_bytes(shared.stats.of(self.number));
        let mark = self.sync_mark();
        let execution = &mut self.execution;
        let access_clock = execution.access_clock;
        let is_cut = cut_for_replicas(
            &shared,
            &config,
            &mut execution.leases,
            (used_bytes, now_ms, access_clock),
            group,
            by_socket.then_some(mark),
        );
        self.release_all_leases();
        if is_cut.is_some() {
            self.start_snapshot();
        }
    }

    /// Characters that will not be in a snapshot.
    fn sync_mark(&mut self) -> [u8; 40] {
        let mut mark = [0; 40];
        for digit in &mut mark {
            *digit = b"0123456789abcdef"[self.execution.rng.below(16) as usize];
        }
        mark
    }

    /// There was no replica for long: nothing is kept for any.
    #[cold]
    fn end_stream(&mut self, ttl_s: u64) {
        if self.take_all_leases() {
            if self.shared.replication.replicas.count() == 0 {
                end_stream(&self.shared);
                self.shared.replication.begin_history();
                log::info!("Replication backlog freed after {ttl_s} seconds without connected replicas.");
            }
            self.release_all_leases();
        }
    }
}
