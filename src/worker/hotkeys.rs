//! Measuring which keys are hot, between HOTKEYS START and STOP (`observe::Hotkeys`).
//!
//! Costs: while it goes on, each command is timed by itself, and its keys are looked up in a table.

use super::Worker;
use super::call::Executor;
use crate::command::keys::each_key;
use crate::command::{Args, Row, process_use};
use crate::io::Io;
use crate::resp::Reply;

impl Executor<'_> {
    /// As `call`, and measured.
    #[cold]
    pub(super) fn call_tracked(&mut self, row: &Row, args: &Args<'_>, reply: &mut Reply<'_>) -> bool {
        let (start, mark) = (self.ticks, reply.mark());
        let outcome = self.handle(row, args, reply);
        let has_run = self.finish(outcome, row, args, reply, false);
        if has_run {
            self.track(row, args, start, reply.output().bytes_since(mark));
        }
        has_run
    }

    /// A command that began at `start` has just been timed, and has replied so many bytes.
    #[cold]
    pub(super) fn track(&mut self, row: &Row, args: &Args<'_>, start: u64, replied: usize) {
        let Some(mut found) = self.ctx.shared.stats.hotkeys.of(self.ctx.worker) else { return };
        let ns = self.clock.ns_between(start, self.ticks);
        let bytes = (args.request_bytes() + replied) as u64;
        found.add_command(ns, bytes);
        let mut keys = 0;
        // It has run, so its keys add up.
        let _ = each_key(row, args, |_| keys += 1);
        if keys == 0 {
            return;
        }
        let (db, ratio) = (self.ctx.session.db, found.sample_ratio());
        let (keyspace, rng) = (&self.ctx.shared.keyspace, &mut *self.ctx.rng);
        let _ = each_key(row, args, |index| {
            if ratio <= 1 || rng.below(ratio) == 0 {
                let key = args.at(index);
                found.add_key(db, keyspace.hash(key), key, ns / keys, bytes / keys);
            }
        });
    }
}

impl<I: Io> Worker<I> {
    /// Ends tracking whose time is over.
    pub(super) fn end_tracking_keys(&self, now_ms: u64) {
        self.shared.stats.hotkeys.stop_when_over(now_ms, || process_use(&self.shared));
    }
}
