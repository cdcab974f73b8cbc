//! The end that a signal asks for, or SHUTDOWN where there are replicas: these are to have all that was written, and data is saved,
//! where save points or options want it.
//!
//! Design: the first worker does it, in a turn of its own, once it has all leases; it reserves them, so that it gets them
//! however busy the others are. The end is told while they are held: whoever has a lease afterwards looks first
//! (`run_batch`), so that nothing is acknowledged that is not in the file.
//!
//! Before that it holds writes back, for `shutdown-timeout` at most, until all replicas have the end of the stream: they go on there
//! when this server is back, or with one of them. SHUTDOWN ABORT takes it back until then.
//!
//! Not here: SHUTDOWN (`command`), what workers do at the end (`Worker::stop`).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Release};

use super::{Message, Worker};
use crate::command::{Ask, Holder, ask_for_all, note_place, save_now};
use crate::config::ShutdownOptions;
use crate::io::Io;
use crate::replicate::primary::State;

/// Time between two looks whether replicas have all, ms.
const LOOK_MS: u64 = 10;

/// The wait for replicas.
pub(super) struct EndWait {
    /// Until when, Unix time in ms.
    until_ms: u64,
    /// When to look again.
    look_ms: u64,
    /// The stream's end, once it is known.
    stream_end: Arc<AtomicU64>,
    /// Which of the times that the end was asked for.
    ask: u64,
}

impl<I: Io> Worker<I> {
    /// Whether this worker has an end to prepare.
    pub(super) fn is_asked_to_end(&self) -> bool {
        let ask = self.shared.shutdown.asks();
        let is_early = |wait: &EndWait| wait.ask == ask && self.clock.now_ms() < wait.look_ms;
        let waits = self.end_wait.as_ref().is_some_and(is_early);
        self.number == 0 && !self.stopping && self.shared.shutdown.asked().is_some() && !waits
    }

    /// Prepares the end that a signal has asked for; tries again in the next turn where leases are refused.
    pub(super) fn prepare_end(&mut self) {
        if !self.is_asked_to_end() {
            return;
        }
        let config = self.config.config();
        let by_command =
            |save, force| ShutdownOptions { save, nosave: !save, force, ..ShutdownOptions::default() };
        let options = match self.shared.shutdown.asked() {
            Some(Ask::Int) => config.shutdown_on_sigint,
            Some(Ask::Command) => by_command(false, true),
            Some(Ask::CommandSaves) => by_command(true, false),
            Some(Ask::CommandTriesToSave) => by_command(true, true),
            Some(Ask::Term) | None => config.shutdown_on_sigterm,
        };
        let wants = options.save || (!options.nosave && !config.save.0.is_empty());
        if self.shared.loading.is_on() {
            self.end_now();
            return;
        }
        if !options.now && self.waits_for_replicas() {
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
        let saved = !wants || {
            log::warn!("Saving the final RDB snapshot before exiting.");
            save_now(&self.shared, self.config.config(), &self.execution.leases, self.clock.now_ms())
        };
        if saved || options.force {
            note_place(&self.shared);
            self.end_now();
        } else {
            log::warn!("Error trying to save the DB, can't exit.");
            self.shared.shutdown.withdraw();
            self.end_wait = None;
            self.shared.pause.release(Holder::End);
            self.inbox.send_all(|| Message::Look);
        }
        self.release_all_leases();
    }

    /// Whether replicas are yet to come to the end of the stream, and there is time.
    fn waits_for_replicas(&mut self) -> bool {
        let (shared, now_ms) = (Arc::clone(&self.shared), self.clock.now_ms());
        let timeout_ms = u64::from(self.config.config().shutdown_timeout) * 1000;
        if shared.replication.is_replica() || timeout_ms == 0 || shared.replication.replicas.count() == 0 {
            return false;
        }
        let ask = shared.shutdown.asks();
        if self.end_wait.as_ref().is_none_or(|wait| wait.ask != ask) {
            if !self.take_all_leases() {
                return true;
            }
            shared.pause.hold(Holder::End);
            let stream_end = Arc::new(AtomicU64::new(u64::MAX));
            let told = Arc::clone(&stream_end);
            ask_for_all(&shared, move |offset| told.store(offset, Release));
            self.release_all_leases();
            self.end_wait = Some(EndWait { until_ms: now_ms + timeout_ms, look_ms: now_ms, stream_end, ask });
        }
        let Some(wait) = &mut self.end_wait else { return false };
        let end = wait.stream_end.load(Acquire);
        let all = shared.replication.replicas.all();
        let online = all.iter().filter(|replica| replica.state() == State::Online);
        let (count, synced) = online
            .fold((0, 0), |(count, synced), replica| (count + 1, synced + u32::from(replica.acked() >= end)));
        if synced < count && now_ms < wait.until_ms {
            wait.look_ms = now_ms + LOOK_MS;
            self.cron.come_by(wait.look_ms);
            return true;
        }
        log::info!("{synced} of {count} replicas are in sync when shutting down.");
        // Whoever waits no longer does not begin to wait again where leases are refused.
        wait.until_ms = 0;
        false
    }

    /// Looks again whether replicas have all.
    #[inline]
    pub(super) fn tend_end(&mut self, now_ms: u64) {
        if let Some(wait) = &self.end_wait
            && wait.until_ms > 0
        {
            self.cron.come_by(wait.look_ms.max(now_ms));
        }
    }

    fn end_now(&mut self) {
        self.shared.shutdown.request();
        self.inbox.send_all(|| Message::Look);
    }
}
