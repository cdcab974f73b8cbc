//! A worker's part in loading a file at the start: it decodes pieces between its turns.
//!
//! Design: within a time that clients hardly notice, who are told that the server is loading. Cron passes over shards
//! meanwhile: nothing expires or is evicted before all is there.
//!
//! Not here: reading the file (`persist::load`), what clients are told (`client_run`).

use super::Worker;
use crate::command::limits;
use crate::io::Io;
use crate::persist::load::insert;

/// How long a turn loads at least, in ns, if there is so much: a piece takes about one ms.
const LOAD_NS: u64 = 2_000_000;

impl<I: Io> Worker<I> {
    /// Decodes pieces for a while, or notices that all is loaded.
    pub(super) fn load(&mut self) {
        if !self.loads {
            return;
        }
        if !self.shared.loading.is_on() {
            self.loads = false;
            self.replay_session = None;
            self.constants = None;
            self.cron.hurry();
            return;
        }
        let limits = limits(self.config.config());
        let start = self.clock.ticks();
        while !self.stopping && self.clock.ns_between(start, self.clock.ticks()) < LOAD_NS {
            let Some(piece) = self.shared.loading.take() else { break };
            let policy = insert::Policy {
                now_ms: self.shared.loading.judged_ms(),
                access_clock: self.execution.access_clock,
                limits: &limits,
                merges: false,
            };
            let (outcome, wanted) = insert::piece(&piece, &mut self.execution.leases, policy);
            self.inbox.wake_wanting(wanted);
            self.stats().busy_turns.add(1);
            self.shared.loading.done(piece, outcome);
        }
    }
}
