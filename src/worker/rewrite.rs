//! The append-only file as the configuration wants it: the first worker's part in switching it and rewriting it.
//!
//! Design: at each tick what is wanted is compared with what is; so CONFIG SET and BGREWRITEAOF only say what is wanted. A cut, and
//! an end, take all leases for a moment.
//!
//! Not here: the steps outside of the keyspace (`persist::append_only`).

use std::sync::Arc;

use super::Worker;
use crate::command::{aof_store, cut_for_rewrite, journal_settings};
use crate::io::Io;
use crate::persist::append_only::Stage;
use crate::persist::journal::Order;

impl<I: Io> Worker<I> {
    /// Takes the next step, if there is one.
    pub(super) fn rewrite_when_due(&mut self, now_ms: u64) {
        if self.number != 0 || self.loads || self.stopping {
            return;
        }
        let (shared, wants) = (Arc::clone(&self.shared), self.config.config().appendonly);
        let append_only = &shared.append_only;
        if wants != append_only.is_wanted() {
            self.switch_append_only(wants);
        }
        match append_only.stage() {
            Stage::None => {
                if self.has_grown() {
                    log::info!("Starting automatic rewriting of AOF");
                    append_only.ask();
                } else if shared.journal.is_doubtful() && !append_only.is_asked_for() {
                    append_only.ask();
                }
                if append_only.is_due(now_ms) && !shared.background.is_running() {
                    let (waker, config) = (self.io.waker(), Arc::clone(self.config.config_arc()));
                    append_only.prepare(move || aof_store(&config), now_ms, move || waker.wake());
                }
            }
            Stage::Prepared if !shared.background.is_running() => self.cut_for_rewrite(now_ms),
            Stage::Prepared | Stage::Preparing | Stage::Writing => {}
        }
    }

    /// CONFIG SET appendonly.
    #[cold]
    fn switch_append_only(&mut self, on: bool) {
        let shared = Arc::clone(&self.shared);
        if on {
            let config = self.config.config();
            shared.journal.follow(journal_settings(config));
            return shared.append_only.want();
        }
        if !self.take_all_leases() {
            return; // The next tick tries again.
        }
        if shared.journal.has_file() {
            shared.journal.record_for_file(false);
            shared.journal.order(Order::Close { after: shared.journal.drawn() });
        }
        shared.append_only.close();
        if let Some(running) = shared.background.running_rewrite() {
            running.cancel();
        }
        self.release_all_leases();
    }

    /// Whether the file has grown by as much as is configured.
    fn has_grown(&self) -> bool {
        let (config, journal) = (self.config.config(), &self.shared.journal);
        let percentage = u64::from(config.auto_aof_rewrite_percentage);
        if percentage == 0 || !journal.has_file() || self.shared.append_only.is_asked_for() {
            return false;
        }
        let base = self.shared.append_only.report().base_bytes;
        let current = base + journal.file_bytes();
        let growth = (u128::from(current) * 100 / u128::from(base.max(1))).saturating_sub(100);
        current > config.auto_aof_rewrite_min_size && growth >= u128::from(percentage)
    }

    #[cold]
    fn cut_for_rewrite(&mut self, now_ms: u64) {
        self.cut(|shared, config, leases, used_bytes, clock| {
            cut_for_rewrite(shared, config, leases, used_bytes, now_ms, clock)
        });
    }

    /// Gives back what `take_all_leases` has taken.
    pub(super) fn release_all_leases(&mut self) {
        let mut wanted = self.execution.leases.release_all();
        wanted.add(self.execution.leases.unreserve());
        self.inbox.wake_wanting(wanted);
    }
}
