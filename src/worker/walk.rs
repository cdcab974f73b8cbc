//! The walk of a snapshot over the home shards, and save points.
//!
//! Design: every worker walks its own home shards, in slices: a short one each ms while clients are served, a longer one when
//! nobody is. It stops while the snapshot's thread has more to do than the walk should add to, so that its memory does not grow
//! because the disk is slow. What workers hand over before it changes goes beside the walk.
//!
//! Costs: without a snapshot one word is read each turn.
//!
//! Not here: what a walk is (`store::snapshot`), what becomes of it (`persist::background`).

use std::sync::Arc;

use super::{Message, Worker};
use crate::command::{Shared, cut_for_backup, cut_for_save, save_is_due};
use crate::config::Config;
use crate::io::Io;
use crate::store::snapshot::Snapshot;
use crate::store::{AccessClock, Leases};

/// Most that one slice takes, in us: while there are commands to run, and while there are none.
const BUSY_US: u64 = 100;
const IDLE_US: u64 = 500;
/// Time from one slice to the next, in ms.
const PERIOD_MS: u64 = 1;
/// Entries of one shard that are walked before the clock is looked at again.
const ENTRIES_MAX: usize = 128;
/// Times that all leases are tried for a cut that no command asked for, some tens of ns apart at least.
const CUT_TRIES_MAX: usize = 256;

/// Where the walk stands.
#[derive(Default)]
pub(super) struct Walk {
    /// The number of the snapshot that was walked last.
    number: u64,
    snapshot: Option<Arc<Snapshot>>,
    /// Home shards that have not been walked to their end.
    shards_left: usize,
    next_ms: u64,
    /// Whether commands of this turn wait for the snapshot.
    has_waiting: bool,
    /// Since when they have in every turn without a key being written, Unix time in ms, and how many were then.
    waiting_since: Option<(u64, u64)>,
}

impl Walk {
    /// A command waits for the snapshot, and is tried again in the next turn.
    pub(super) fn note_waiting(&mut self) {
        self.has_waiting = true;
    }

    /// Whether a command of this turn does.
    #[inline]
    pub(super) fn has_waiting(&self) -> bool {
        self.has_waiting
    }

    #[inline]
    pub(super) fn begin_turn(&mut self) {
        self.has_waiting = false;
    }

    /// How long until there is something to walk.
    pub(super) fn due_in_ms(&self, now_ms: u64) -> u64 {
        match (self.has_waiting, &self.snapshot) {
            (true, _) => PERIOD_MS,
            (false, None) => u64::MAX,
            (false, Some(_)) => self.next_ms.saturating_sub(now_ms),
        }
    }
}

impl<I: Io> Worker<I> {
    /// A slice, if one is due.
    #[inline]
    pub(super) fn walk(&mut self, is_busy: bool) {
        if self.walk.number != self.shared.background.number() {
            self.begin_walk();
        }
        // The clock may have been set back.
        let now_ms = self.clock.now_ms();
        let is_due = self.walk.next_ms <= now_ms || self.walk.next_ms > now_ms + PERIOD_MS;
        if self.walk.snapshot.is_some() && is_due {
            self.walk_slice(is_busy);
        }
        if self.walk.has_waiting {
            self.judge_waiting(now_ms);
        } else {
            self.walk.waiting_since = None;
        }
    }

    /// Commands wait for the snapshot. Where it has come to a standstill it fails, and they go on.
    #[cold]
    fn judge_waiting(&mut self, now_ms: u64) {
        let Some(running) = self.shared.background.running() else { return };
        let done = running.keys_done();
        let waiting = self.walk.waiting_since.filter(|(_, done_then)| *done_then == done);
        let (since_ms, _) = *self.walk.waiting_since.insert(waiting.unwrap_or((now_ms, done)));
        let wait_ms_max = u64::from(self.config.config().snapshot_wait_max) * 1000;
        if now_ms.saturating_sub(since_ms) > wait_ms_max {
            running.fail_as_too_slow();
        }
    }

    #[cold]
    fn begin_walk(&mut self) {
        let background = &self.shared.background;
        self.walk = Walk {
            number: background.number(),
            snapshot: background.running().map(|running| Arc::clone(&running.snapshot)),
            shards_left: self.shared.keyspace.home_count(self.number),
            next_ms: 0,
            ..Walk::default()
        };
    }

    #[cold]
    fn walk_slice(&mut self, is_busy: bool) {
        let Some(snapshot) = self.walk.snapshot.take() else { return };
        let start = self.clock.ticks();
        let slice_us = if is_busy { BUSY_US } else { IDLE_US };
        self.walk.next_ms = self.clock.now_ms() + PERIOD_MS;
        while self.walk.shards_left > 0 && !snapshot.is_crowded() {
            let shard = self.shared.keyspace.home_shard(self.number, self.walk.shards_left - 1);
            if !self.execution.leases.try_take(shard) {
                break;
            }
            self.io.yield_point();
            let is_walked = self.execution.leases.shard(shard).walk(ENTRIES_MAX);
            let wanted = self.execution.leases.release_all();
            self.inbox.wake_wanting(wanted);
            self.walk.shards_left -= usize::from(is_walked);
            if self.clock.ns_between(start, self.clock.ticks()) > slice_us * 1000 {
                break;
            }
        }
        snapshot.wake_taker();
        self.stats().counters.cron_ns.add(self.clock.ns_between(start, self.clock.ticks()));
        if self.walk.shards_left > 0 {
            self.walk.snapshot = Some(snapshot);
        } else {
            // What was flushed meanwhile may be freed now.
            self.cron.hurry();
        }
    }

    /// A snapshot was cut and the leases are given back: its thread is started, and all workers walk.
    pub(super) fn start_snapshot(&mut self) {
        self.shared.background.start();
        self.inbox.send_all(|| Message::Look);
    }

    /// Saves if a save point says so, or somebody has asked for it. The first worker does that.
    pub(super) fn save_when_due(&mut self, now_ms: u64) {
        if self.number != 0 || !save_is_due(&self.shared, self.config.config(), now_ms) {
            return;
        }
        self.cut(|shared, config, leases, used_bytes, clock| {
            cut_for_save(shared, config, leases, used_bytes, now_ms, clock)
        });
    }

    /// Cuts the backup that a client waits for, once no other snapshot is under way. The first worker does that.
    pub(super) fn back_up_when_due(&mut self, now_ms: u64) {
        let shared = &self.shared;
        let is_due = self.number == 0 && shared.backups.is_wanted() && !shared.background.is_running();
        if is_due && !self.loads && !self.stopping {
            self.cut(|shared, config, leases, used_bytes, clock| {
                cut_for_backup(shared, config, leases, used_bytes, now_ms, clock)
            });
        }
    }

    /// Has a snapshot cut under all leases, and starts it. If it cannot be, the next tick tries again.
    pub(super) fn cut(
        &mut self,
        cut: impl FnOnce(&Arc<Shared>, &Config, &mut Leases, u64, AccessClock) -> Option<()>,
    ) {
        if !self.take_all_leases() {
            return;
        }
        let (shared, access_clock) = (&self.shared, self.execution.access_clock);
        let used_bytes = shared.stats.gauges.used_bytes(shared.stats.of(self.number));
        let config = self.config.config();
        let is_cut = cut(shared, config, &mut self.execution.leases, used_bytes, access_clock);
        self.release_all_leases();
        if is_cut.is_some() {
            self.start_snapshot();
        }
    }

    /// Tries for all leases, which others are kept off meanwhile, for as long as their groups take; false with nothing held.
    pub(super) fn take_all_leases(&mut self) -> bool {
        let shared = Arc::clone(&self.shared);
        if self.execution.leases.is_solo() {
            return true;
        }
        if self.reserved_for.is_some() || !self.execution.leases.reserve(shared.keyspace.shards()) {
            return false;
        }
        for _ in 0..CUT_TRIES_MAX {
            match self.execution.leases.take_all_or_wanted() {
                Ok(()) => return true,
                Err((wanted, _)) => self.inbox.wake_wanting(wanted),
            }
            std::hint::spin_loop();
        }
        let wanted = self.execution.leases.unreserve();
        self.inbox.wake_wanting(wanted);
        false
    }
}
