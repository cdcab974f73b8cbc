//! The first worker's part in loading an append-only file: it runs what the file says.
//!
//! Design: batch by batch under all leases, which nobody else needs while clients hear that the server is loading. By the time 0,
//! so that no deadline has come: what expired the file says (PROTOCOL 8). Nothing is recorded, since the journal is off.
//!
//! Not here: reading (`recovery`), the batches (`command::replay`).

use std::sync::Arc;

use super::{Worker, call::Executor};
use crate::command::{Queue, Session, changes};
use crate::io::Io;
use crate::observe::{ClientInfo, ClientPlace, RegistrySlot};
use crate::resp::{Output, Protocol, Reply};

/// Replies that are thrown away are so once there are this many bytes of them.
const REPLY_BYTES_MAX: usize = 64 << 10;

impl<I: Io> Worker<I> {
    /// Runs a batch, if there is one.
    pub(super) fn replay(&mut self) {
        if !self.loads || self.number != 0 || self.stopping {
            return;
        }
        let Some(batch) = self.shared.replay.take() else { return };
        if !self.take_all_leases() {
            return self.shared.replay.put_back(batch);
        }
        let constants = self.constants();
        let mut session = self.replay_session.take().unwrap_or_else(|| Box::new(nobody()));
        let mut executor = self.execution.executor(&mut session, &constants, &self.clock, 0);
        executor.ctx.now_ms = 0;
        let (failed, failure) = run(&mut executor, &batch);
        self.replay_session = Some(session);
        self.constants = Some(constants);
        self.execution.became_ready.clear();
        // What was loaded is no change.
        self.shared.last_save.note_loaded(changes(&self.execution.leases));
        self.release_all_leases();
        self.stats().busy_turns.add(1);
        self.shared.replay.done(batch, failed, failure);
        self.act();
    }
}

/// The session of a client that nobody sees.
pub(super) fn nobody() -> Session {
    let (registry_slot, place) =
        (RegistrySlot { worker: 0, number: 0 }, ClientPlace { worker: 0, slot: 0, generation: 0 });
    let client_info = ClientInfo::new(0, registry_slot, place, String::new(), String::new(), -1, 0);
    let mut session = Session::superuser(Arc::new(client_info));
    (session.denies_blocking, session.repeats) = (true, true);
    session
}

/// Runs a batch: how many commands failed, and how the first of them.
pub(super) fn run(executor: &mut Executor<'_>, batch: &Queue) -> (u64, Option<String>) {
    let (mut output, mut failed, mut failure) = (Output::new(), 0, None);
    for (row, args) in batch.commands() {
        let row = executor.table.row(row);
        let mut reply = Reply::new(&mut output, Protocol::Resp2);
        let outcome = executor.handle(row, &args, &mut reply);
        if let Err(error) = outcome {
            failed += 1;
            failure.get_or_insert_with(|| format!("{}: {}", row.full_name, error.text()));
        }
        if output.len() > REPLY_BYTES_MAX {
            output.clear();
        }
    }
    (failed, failure)
}
