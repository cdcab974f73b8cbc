//! DEBUG LOADAOF: everything is emptied, and what the append-only file says becomes the data again, while everybody waits.
//!
//! Design: a thread reads the files as at the start (`recovery`), and hands over to this worker, which holds all leases and is in the
//! middle of the command. What has been published is written first, so that the file has all; nothing that is loaded is
//! recorded.
//!
//! Not here: what is read (`recovery`), running a batch (`replay`).

use std::thread::park_timeout;
use std::time::Duration;

use super::call::Executor;
use super::recovery::{self, Recovery};
use super::replay::{nobody, run};
use crate::command::{CommandError, Outcome, changes, empty_all, limits, listen};
use crate::persist::load::insert;

/// How long this worker sleeps, at most, when there is nothing to run: the thread wakes it.
const IDLE: Duration = Duration::from_millis(1);

const FAILED: CommandError = CommandError::Text("ERR Error trying to load the AOF files, check server logs.");

impl Executor<'_> {
    /// All leases are held.
    pub(super) fn reload_append_only(&mut self) -> Outcome {
        let (shared, config) = (self.ctx.shared, self.ctx.config);
        if self.ctx.session.denies_blocking {
            // What its transaction has changed before would be neither in the file nor in memory.
            return Err(CommandError::Text("ERR DEBUG LOADAOF is not allowed in transactions"));
        }
        self.write_all_published()?;
        shared.background.give_up();
        let now_ms = self.ctx.now_ms;
        self.ctx.changes.listen(false);
        let session = std::mem::replace(self.ctx.session, nobody());
        self.ctx.now_ms = 0;
        empty_all(&mut self.ctx, false);
        let loaded = match Recovery::open(config) {
            Ok(recovery) if recovery.parts().is_empty() => Err("there is no append-only file".to_owned()),
            Ok(recovery) => {
                shared.loading.begin(recovery.bytes(), now_ms);
                let loaded = self.load(&recovery);
                shared.loading.end();
                loaded
            }
            Err(error) => Err(error.to_string()),
        };
        *self.ctx.session = session;
        self.ctx.now_ms = now_ms;
        listen(self.ctx.changes, shared, config.notify_keyspace_events);
        // What was loaded is no change.
        shared.last_save.note_loaded(changes(self.ctx.leases));
        match loaded {
            Ok(()) => {
                log::warn!("Append Only File loaded by DEBUG LOADAOF");
                Ok(())
            }
            Err(reason) => {
                log::warn!("{reason}");
                Err(FAILED)
            }
        }
    }

    /// Waits until all effects are in the file. Nobody else publishes any meanwhile.
    fn write_all_published(&mut self) -> Outcome {
        let journal = &self.ctx.shared.journal;
        self.ctx.journal.publish(journal);
        while journal.has_file() && journal.queued_bytes() > 0 {
            if journal.failure().is_some() {
                log::warn!("What was changed last cannot be written to the append-only file");
                return Err(FAILED);
            }
            park_timeout(IDLE);
        }
        Ok(())
    }

    /// Reads on a thread, and runs here what that hands over.
    fn load(&mut self, recovery: &Recovery) -> Result<(), String> {
        let (shared, config, me) = (self.ctx.shared, self.ctx.config, std::thread::current());
        std::thread::scope(|scope| {
            let reader =
                std::thread::Builder::new().name("torc-aof".to_owned()).spawn_scoped(scope, move || {
                    recovery::read(&recovery.parts(), shared, config, &|| me.unpark())
                });
            let reader = reader.map_err(|error| format!("no thread: {error}"))?;
            // What it has handed over before an error runs, too: nothing stays for the next one.
            while self.load_next() || !reader.is_finished() {
                if !shared.loading.has_pieces() && !shared.replay.has_waiting() && !reader.is_finished() {
                    park_timeout(IDLE);
                }
            }
            shared.replay.finish();
            let loaded = reader.join().map_err(|_| "reading has panicked".to_owned())?;
            loaded.map(drop).map_err(|error| error.to_string())
        })
    }

    /// Runs what waits; false if there was nothing.
    fn load_next(&mut self) -> bool {
        self.ctx.stats.note_alive();
        let (shared, config) = (self.ctx.shared, self.ctx.config);
        if let Some(piece) = shared.loading.take() {
            let limits = limits(config);
            let (now_ms, access_clock) = (shared.loading.judged_ms(), self.ctx.access_clock);
            let policy = insert::Policy { now_ms, access_clock, limits: &limits, merges: false };
            // All leases are held before and after: nobody waits for what was given back.
            let (outcome, _nobody) = insert::piece(&piece, self.ctx.leases, policy);
            shared.loading.done(piece, outcome);
            return true;
        }
        let Some(batch) = shared.replay.take() else { return false };
        let (failed, failure) = run(self, &batch);
        shared.replay.done(batch, failed, failure);
        true
    }
}
