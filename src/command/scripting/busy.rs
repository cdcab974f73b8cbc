//! Scripts that run for longer than `busy-reply-threshold`: which workers have one, and whether it is to end.
//!
//! Design: a word for each worker, which it sets and others add to. Asking whether any is busy is one load.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::command::CommandError;
use crate::config::WORKERS_MAX;

const BUSY: u32 = 1;
const HAS_WRITTEN: u32 = 2;
const KILLED: u32 = 4;

/// The scripts of all workers that run for too long.
pub struct BusyScripts {
    workers: [AtomicU32; WORKERS_MAX],
    /// A bit for each worker that has one.
    busy: AtomicU64,
}

impl Default for BusyScripts {
    fn default() -> Self {
        Self { workers: std::array::from_fn(|_| AtomicU32::new(0)), busy: AtomicU64::new(0) }
    }
}

const UNKILLABLE: CommandError = CommandError::Text(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

/// What others hear whose commands would have to wait for a script.
pub const SCRIPT_IS_BUSY: CommandError = CommandError::Text(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);

impl BusyScripts {
    /// A worker's script has become one that runs for too long.
    pub fn begin(&self, worker: usize, has_written: bool) {
        let state = BUSY | if has_written { HAS_WRITTEN } else { 0 };
        self.workers[worker].store(state, Relaxed);
        self.busy.fetch_or(1 << worker, Relaxed);
    }

    /// A worker's busy script has written by now.
    pub fn note_written(&self, worker: usize) {
        self.workers[worker].fetch_or(HAS_WRITTEN, Relaxed);
    }

    /// A worker's script has ended, or waits in another way.
    pub fn end(&self, worker: usize) {
        self.busy.fetch_and(!(1 << worker), Relaxed);
        self.workers[worker].store(0, Relaxed);
    }

    /// Whether any worker has one.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.busy.load(Relaxed) != 0
    }

    /// What whoever has to wait for a worker's script hears, if that runs for too long.
    pub fn refusal(&self, worker: usize) -> Option<CommandError> {
        (self.workers[worker].load(Relaxed) & BUSY != 0).then_some(SCRIPT_IS_BUSY)
    }

    /// Whether a worker's script is to end.
    #[inline]
    pub fn is_killed(&self, worker: usize) -> bool {
        self.workers[worker].load(Relaxed) & KILLED != 0
    }

    /// SCRIPT KILL: ends all that have written nothing.
    pub fn kill(&self) -> Result<(), CommandError> {
        let mut outcome = Err(CommandError::Text("NOTBUSY No scripts in execution right now."));
        for worker in &self.workers {
            let state = worker.load(Relaxed);
            if state & BUSY == 0 {
                continue;
            }
            if state & HAS_WRITTEN != 0 {
                outcome = outcome.or(Err(UNKILLABLE));
                continue;
            }
            // It may have ended since, or have written.
            if worker.compare_exchange(state, state | KILLED, Relaxed, Relaxed).is_ok() || state & KILLED != 0
            {
                outcome = Ok(());
            }
        }
        outcome
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_written_nothing_is_killed() {
        let busy = BusyScripts::default();
        assert!(busy.kill().is_err() && !busy.is_any());
        busy.begin(1, true);
        assert_eq!(busy.kill(), Err(UNKILLABLE));
        busy.begin(2, false);
        assert_eq!(busy.kill(), Ok(()));
        assert!(busy.is_killed(2) && !busy.is_killed(1));
        assert_eq!((busy.refusal(1), busy.refusal(3)), (Some(SCRIPT_IS_BUSY), None));
        (1..3).for_each(|worker| busy.end(worker));
        assert!(!busy.is_any() && !busy.is_killed(2));
    }
}
