//! The first worker's part in a failover: it looks whether the replica has all, and hands the role over.
//!
//! Design: it looks whenever a replica has said how far it is, and at each tick. What changes the role takes all leases, under
//! which it looks again.
//!
//! Not here: the command, and what the steps do (`command::replication::failover`), the other side's part (PSYNC).

use super::Worker;
use super::replay::nobody;
use crate::command::{Context, abort_failover, hand_over_role, synced_target};
use crate::io::Io;
use crate::replicate::FailoverState;

/// Time between two looks, ms.
const LOOK_MS: u64 = 20;

/// What is to be done next.
enum FailoverAction {
    Nothing,
    HandOver,
    GiveUp,
    Force,
}

impl<I: Io> Worker<I> {
    /// Takes the next step, if it is time for one.
    #[inline]
    pub(super) fn tend_failover(&mut self, now_ms: u64) {
        let failover = &self.shared.replication.failover;
        if self.number == 0 && !self.stopping && failover.state() == FailoverState::WaitsForSync {
            self.step_failover(now_ms);
        }
    }

    #[cold]
    fn step_failover(&mut self, now_ms: u64) {
        self.cron.come_by(now_ms + LOOK_MS);
        let is_nothing = matches!(self.failover_step(now_ms), FailoverAction::Nothing);
        if is_nothing || !self.take_all_leases() {
            return;
        }
        // It is looked at again, now that nobody else writes.
        let step = self.failover_step(now_ms);
        let request = self.shared.replication.failover.request();
        let named = request.and_then(|request| request.target.clone());
        let synced = synced_target(&self.shared);
        self.with_nobody(|ctx| match (step, synced, named) {
            (FailoverAction::HandOver, Some(target), _) => {
                log::info!("Failover target {}:{} is synced, failing over.", target.host, target.port);
                hand_over_role(ctx, target);
            }
            (FailoverAction::Force, _, Some(target)) => {
                log::warn!("FAILOVER to {}:{} time out exceeded, failing over.", target.host, target.port);
                hand_over_role(ctx, target);
            }
            (FailoverAction::GiveUp, ..) => abort_failover(ctx, "Replica never caught up before timeout"),
            _ => {}
        });
        self.release_all_leases();
        self.act();
    }

    fn failover_step(&self, now_ms: u64) -> FailoverAction {
        let Some(request) = self.shared.replication.failover.request() else {
            return FailoverAction::Nothing;
        };
        let is_late = request.until_ms.is_some_and(|until_ms| now_ms >= until_ms);
        match () {
            () if is_late && request.forces => FailoverAction::Force,
            () if is_late => FailoverAction::GiveUp,
            () if synced_target(&self.shared).is_some() => FailoverAction::HandOver,
            () => FailoverAction::Nothing,
        }
    }

    /// Does something as a command of no client would. All leases are held; [`Self::act`] follows once they have gone back.
    pub(super) fn with_nobody(&mut self, body: impl FnOnce(&mut Context<'_>)) {
        let (constants, mut session) = (self.constants(), nobody());
        let mut executor = self.execution.executor(&mut session, &constants, &self.clock, 0);
        body(&mut executor.ctx);
        self.constants = Some(constants);
    }
}
