//! Scripts that run for longer than `busy-reply-threshold`: which workers have one, and whether it is to end.
//!
//! Design: a word for each worker, which it sets and others add to. Asking whether any is busy is one load. What FUNCTION STATS tells
//! of a function is behind a mutex, which nobody takes who has something else to do.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::command::CommandError;
use crate::config::WORKERS_MAX;

const BUSY: u32 = 1;
const HAS_WRITTEN: u32 = 2;
const KILLED: u32 = 4;
const IS_FUNCTION: u32 = 8;

/// A function that runs for too long.
#[derive(Debug)]
pub struct RunningFunction {
    /// Its name.
    pub name: String,
    /// The command that calls it.
    pub words: Vec<Vec<u8>>,
    /// When it began.
    pub begun: Instant,
}

impl RunningFunction {
    /// How long it has been running.
    pub fn ran_ms(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

/// The scripts of all workers that run for too long.
pub struct BusyScripts {
    workers: [AtomicU32; WORKERS_MAX],
    /// A bit for each worker that has one.
    busy: AtomicU64,
    /// Those that are functions, with their workers.
    functions: Mutex<Vec<(usize, Arc<RunningFunction>)>>,
}

impl Default for BusyScripts {
    fn default() -> Self {
        Self {
            workers: std::array::from_fn(|_| AtomicU32::new(0)),
            busy: AtomicU64::new(0),
            functions: Mutex::default(),
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

/// The same where it is a function.
pub const FUNCTION_IS_BUSY: CommandError = CommandError::Text(
    "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE.",
);

fn refusal_of(state: u32) -> CommandError {
    if state & IS_FUNCTION != 0 { FUNCTION_IS_BUSY } else { SCRIPT_IS_BUSY }
}

impl BusyScripts {
    /// A worker's script has become one that runs for too long.
    pub fn begin(&self, worker: usize, has_written: bool, function: Option<RunningFunction>) {
        let written = if has_written { HAS_WRITTEN } else { 0 };
        let is_function = if function.is_some() { IS_FUNCTION } else { 0 };
        self.workers[worker].store(BUSY | written | is_function, Relaxed);
        if let Some(function) = function {
            self.functions().push((worker, Arc::new(function)));
        }
        self.busy.fetch_or(1 << worker, Relaxed);
    }

    /// A worker's busy script has written by now.
    pub fn note_written(&self, worker: usize) {
        self.workers[worker].fetch_or(HAS_WRITTEN, Relaxed);
    }

    /// A worker's script has ended, or waits in another way.
    pub fn end(&self, worker: usize) {
        self.busy.fetch_and(!(1 << worker), Relaxed);
        if self.workers[worker].swap(0, Relaxed) & IS_FUNCTION != 0 {
            self.functions().retain(|(of, _)| *of != worker);
        }
    }

    fn functions(&self) -> MutexGuard<'_, Vec<(usize, Arc<RunningFunction>)>> {
        self.functions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The function that has been running for too long for the longest time; fails where only scripts are.
    pub fn running_function(&self) -> Result<Option<Arc<RunningFunction>>, CommandError> {
        let running = self.functions().first().map(|(_, function)| Arc::clone(function));
        if running.is_none() && self.is_any() { Err(SCRIPT_IS_BUSY) } else { Ok(running) }
    }

    /// Whether any worker has one.
    #[inline]
    pub fn is_any(&self) -> bool {
        self.busy.load(Relaxed) != 0
    }

    /// What whoever has to wait for a worker's script hears, if that runs for too long.
    pub fn refusal(&self, worker: usize) -> Option<CommandError> {
        let state = self.workers[worker].load(Relaxed);
        (state & BUSY != 0).then(|| refusal_of(state))
    }

    /// Whether a worker's script is to end.
    #[inline]
    pub fn is_killed(&self, worker: usize) -> bool {
        self.workers[worker].load(Relaxed) & KILLED != 0
    }

    /// SCRIPT KILL, or FUNCTION KILL: ends all of this kind that have written nothing.
    pub fn kill(&self, functions: bool) -> Result<(), CommandError> {
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
            if (state & IS_FUNCTION != 0) != functions {
                outcome = outcome.or(Err(refusal_of(state)));
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
        assert!(busy.kill(false).is_err() && !busy.is_any());
        busy.begin(1, true, None);
        assert_eq!(busy.kill(false), Err(UNKILLABLE));
        busy.begin(2, false, None);
        assert_eq!(busy.kill(false), Ok(()));
        assert!(busy.is_killed(2) && !busy.is_killed(1));
        assert_eq!((busy.refusal(1), busy.refusal(3)), (Some(SCRIPT_IS_BUSY), None));
        (1..3).for_each(|worker| busy.end(worker));
        assert!(!busy.is_any() && !busy.is_killed(2));
    }

    #[test]
    fn functions_and_scripts_are_killed_by_commands_of_their_own() {
        let busy = BusyScripts::default();
        assert!(busy.running_function().is_ok_and(|function| function.is_none()));
        let function = RunningFunction { name: "f".to_owned(), words: Vec::new(), begun: Instant::now() };
        busy.begin(3, false, Some(function));
        assert_eq!(busy.kill(false), Err(FUNCTION_IS_BUSY));
        assert_eq!((busy.refusal(3), busy.is_killed(3)), (Some(FUNCTION_IS_BUSY), false));
        assert_eq!(busy.kill(true), Ok(()));
        let running = busy.running_function().expect("it is a function");
        assert_eq!(running.map(|function| function.name.clone()), Some("f".to_owned()));
        busy.end(3);
        busy.begin(4, false, None);
        assert_eq!(busy.kill(true), Err(SCRIPT_IS_BUSY));
        assert!(busy.running_function().is_err());
    }
}
