//! Scripts that run for longer than `busy-reply-threshold`: which workers have one, and whether it is to end.
//!
//! Design: a word for each worker, which it sets and others add to. Asking whether any is busy is one load.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::command::CommandError;
use crate::config::WORKERS_MAX;

const BUSY: u32 = 1;
const HAS_WRITTEN: u32 = 2;
const FUNCTION: u32 = 4;
const KILLED: u32 = 8;

/// What FUNCTION STATS says of a function that runs for too long.
#[derive(Clone, Debug)]
pub struct RunningScript {
    /// Its name.
    pub name: String,
    /// The command that has called it.
    pub words: Vec<Vec<u8>>,
    /// When that was, Unix time in ms.
    pub since_ms: u64,
}

/// The scripts of all workers that run for too long.
pub struct BusyScripts {
    workers: [AtomicU32; WORKERS_MAX],
    /// A bit for each worker that has one.
    busy: AtomicU64,
    running: Mutex<Vec<(usize, RunningScript)>>,
}

impl Default for BusyScripts {
    fn default() -> Self {
        Self {
            workers: std::array::from_fn(|_| AtomicU32::new(0)),
            busy: AtomicU64::new(0),
            running: Mutex::default(),
        }
    }
}

const UNKILLABLE: CommandError = CommandError::Text(
    "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
);

/// What others hear whose commands would have to wait for a script.
pub const SCRIPT_IS_BUSY: CommandError = CommandError::Text(
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
);
/// The same of a function.
pub const FUNCTION_IS_BUSY: CommandError = CommandError::Text(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);

impl BusyScripts {
    /// A worker's script has become one that runs for too long.
    pub fn begin(&self, worker: usize, has_written: bool, is_function: bool, running: RunningScript) {
        let state = BUSY | if has_written { HAS_WRITTEN } else { 0 } | if is_function { FUNCTION } else { 0 };
        self.workers[worker].store(state, Relaxed);
        self.lock().push((worker, running));
        self.busy.fetch_or(1 << worker, Relaxed);
    }

    /// A worker's busy script has written by now.
    pub fn note_written(&self, worker: usize) {
        self.workers[worker].fetch_or(HAS_WRITTEN, Relaxed);
    }

    /// A worker's script has ended, or waits in another way.
    pub fn end(&self, worker: usize) {
        self.busy.fetch_and(!(1 << worker), Relaxed);
        self.lock().retain(|(other, _)| *other != worker);
        self.workers[worker].store(0, Relaxed);
    }

    /// Whether any worker has one.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.busy.load(Relaxed) != 0
    }

    /// What whoever has to wait for a worker's script hears, if that runs for too long.
    pub fn refusal(&self, worker: usize) -> Option<CommandError> {
        match self.workers[worker].load(Relaxed) {
            state if state & BUSY == 0 => None,
            state if state & FUNCTION != 0 => Some(FUNCTION_IS_BUSY),
            _ => Some(SCRIPT_IS_BUSY),
        }
    }

    /// What whoever has to wait for some script hears, if any runs for too long.
    pub fn any_refusal(&self) -> Option<CommandError> {
        (0..WORKERS_MAX).find_map(|worker| self.refusal(worker))
    }

    /// Whether a worker's script is to end.
    #[inline]
    pub fn is_killed(&self, worker: usize) -> bool {
        self.workers[worker].load(Relaxed) & KILLED != 0
    }

    /// SCRIPT KILL, or FUNCTION KILL of functions: ends all that have written nothing.
    pub fn kill(&self, functions: bool) -> Result<(), CommandError> {
        let mut outcome = Err(CommandError::Text("NOTBUSY No scripts in execution right now."));
        for worker in &self.workers {
            let state = worker.load(Relaxed);
            if state & BUSY == 0 || (state & FUNCTION != 0) != functions {
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

    /// What runs for too long.
    pub fn running(&self) -> Option<RunningScript> {
        self.lock().first().map(|(_, running)| running.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(usize, RunningScript)>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> RunningScript {
        RunningScript { name: "f".to_owned(), words: Vec::new(), since_ms: 1 }
    }

    #[test]
    fn only_what_has_written_nothing_is_killed() {
        let busy = BusyScripts::default();
        assert!(busy.kill(false).is_err() && !busy.is_any());
        busy.begin(1, true, false, running());
        assert_eq!(busy.kill(false), Err(UNKILLABLE));
        busy.begin(2, false, false, running());
        assert_eq!(busy.kill(false), Ok(()));
        assert!(busy.is_killed(2) && !busy.is_killed(1));
        assert_eq!((busy.refusal(1), busy.refusal(3)), (Some(SCRIPT_IS_BUSY), None));
        assert!(busy.kill(true).is_err());
        (1..3).for_each(|worker| busy.end(worker));
        assert!(!busy.is_any() && !busy.is_killed(2) && busy.running().is_none());
    }
}
