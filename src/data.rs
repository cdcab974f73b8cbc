//! The start of what goes on beside the workers: loading the data of the last time, and the thread that keeps what follows.
//!
//! Not here: what is loaded (`torc::worker::Kept`).

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use torc::command::{Shared, journal_settings};
use torc::config::Config;
use torc::io::Waker;
use torc::observe;
use torc::persist::journal;
use torc::worker::Kept;

/// After why a file is not loaded.
const NOT_LOADED: &str = "Fatal error loading the DB, check server logs. Exiting.";

/// What the configuration asks for; `path` is that of the file of all keys.
pub fn open(config: &Config, path: PathBuf) -> Result<Kept, String> {
    Kept::open(config, path).map_err(|reason| format!("{reason}. {NOT_LOADED}"))
}

/// Loads it, or ends the server.
pub fn load(kept: Kept, shared: &Shared, wakers: &[Waker], ready: &str) {
    match kept.load(shared, wakers) {
        Ok(()) => tell_ready(ready),
        Err(reason) => {
            observe::log::crash_log(&format!("{reason}. {NOT_LOADED}"));
            shared.shutdown.fail();
            wakers.iter().for_each(|waker| waker.wake());
        }
    }
}

/// Starts the journal's thread, which wakes the workers that wait for it.
pub fn start_journal(shared: &Shared, config: &Config, wakers: Vec<Waker>) -> Result<JoinHandle<()>, String> {
    shared.journal.follow(journal_settings(config));
    let wake = move |workers: u64| {
        let is_waiting = |number: usize| workers >> number & 1 == 1;
        wakers
            .iter()
            .enumerate()
            .filter(|(number, _)| is_waiting(*number))
            .for_each(|(_, waker)| waker.wake());
    };
    let wake = Arc::new(wake);
    let woken = Arc::clone(&wake);
    shared.replication.wake_by(move |workers| woken(workers));
    let wake = move |workers: u64| wake(workers);
    let fail = |why: &str| {
        observe::log::crash_log(why);
        std::process::exit(1);
    };
    let background = Arc::clone(&shared.background);
    let is_saving = move || background.is_running();
    let hooks = journal::Hooks {
        wake: Box::new(wake),
        fail: Box::new(fail),
        is_saving: Box::new(is_saving),
        now: Box::new(Instant::now),
    };
    journal::start(Arc::clone(&shared.journal), hooks)
        .map_err(|error| format!("cannot start a thread: {error}"))
}

/// Says that clients are served.
pub fn tell_ready(ready: &str) {
    log::info!("{ready}");
    crate::supervise::notify_ready(ready);
}
