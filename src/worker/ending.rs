//! The end that a signal asks for: data is saved before, where save points or options want it.
//!
//! Design: the first worker does it, in a turn of its own, once it has all leases; it reserves them, so that it gets them
//! however busy the others are. The end is told while they are held: whoever has a lease afterwards looks first
//! (`run_batch`), so that nothing is acknowledged that is not in the file.
//!
//! Not here: SHUTDOWN (`command`), what workers do at the end (`Worker::stop`).

use super::{Message, Worker};
use crate::command::{Ask, save_now};
use crate::io::Io;

impl<I: Io> Worker<I> {
    /// Whether this worker has an end to prepare.
    pub(super) fn is_asked_to_end(&self) -> bool {
        self.number == 0 && !self.stopping && self.shared.shutdown.asked().is_some()
    }

    /// Prepares the end that a signal has asked for; tries again in the next turn where leases are refused.
    pub(super) fn prepare_end(&mut self) {
        if !self.is_asked_to_end() {
            return;
        }
        let config = self.config.config();
        let options = match self.shared.shutdown.asked() {
            Some(Ask::Int) => config.shutdown_on_sigint,
            _ => config.shutdown_on_sigterm,
        };
        let wants = options.save || (!options.nosave && !config.save.0.is_empty());
        if !wants || self.shared.loading.is_on() {
            self.end_now();
            return;
        }
        if let Err((wanted, _)) = self.execution.leases.take_all_or_wanted() {
            self.inbox.wake_wanting(wanted);
            if self.reserved_for.is_none() {
                // Where another worker has reserved some, it will soon have had them.
                self.execution.leases.reserve(self.shared.keyspace.shards());
            }
            return;
        }
        log::warn!("Saving the final RDB snapshot before exiting.");
        let saved = save_now(&self.shared, self.config.config(), &self.execution.leases, self.clock.now_ms());
        if saved || options.force {
            self.end_now();
        } else {
            log::warn!("Error trying to save the DB, can't exit.");
            self.shared.shutdown.withdraw();
        }
        self.release_all_leases();
    }

    fn end_now(&mut self) {
        self.shared.shutdown.request();
        self.inbox.send_all(|| Message::Look);
    }
}
