//! The data of the last time: opened before anybody is served, loaded beside the workers; and the thread that keeps what follows.
//!
//! Not here: the formats (`torc::persist`), running what an append-only file says (`torc::worker`).

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use torc::command::{Shared, journal_settings, load_libraries, resume_stream};
use torc::config::Config;
use torc::io::Waker;
use torc::observe;
use torc::persist::journal;
use torc::persist::load;
use torc::persist::rdb::file::FileError;
use torc::persist::rdb::file::split::{Findings, Splitter};
use torc::persist::rdb::file::write::StreamNote;
use torc::replicate::{Primary, replica};
use torc::script::Policy;
use torc::worker::{Recovery, follow_primary};

/// After why a file is not loaded.
const NOT_LOADED: &str = "Fatal error loading the DB, check server logs. Exiting.";

/// The data of the last time.
pub enum Kept {
    /// There is none.
    Nothing,
    /// A file of all keys, of so many bytes, and where it is.
    Rdb(Box<Splitter<File>>, u64, PathBuf),
    /// The append-only file, which may be empty.
    AppendOnly(Box<Recovery>, Box<Config>),
}

impl Kept {
    /// What the configuration asks for; `path` is that of the file of all keys.
    pub fn open(config: &Config, path: PathBuf) -> Result<Kept, String> {
        if config.appendonly {
            let recovery = Recovery::open(config).map_err(|error| format!("{error}. {NOT_LOADED}"))?;
            return Ok(Kept::AppendOnly(Box::new(recovery), Box::new(config.clone())));
        }
        let opened = load::open(&path, config.databases as usize, config.rdbchecksum);
        let opened = opened.map_err(|error| format!("{}: {error}. {NOT_LOADED}", path.display()))?;
        Ok(opened.map_or(Kept::Nothing, |(splitter, size)| Kept::Rdb(Box::new(splitter), size, path)))
    }

    /// Bytes to load; none where there is nothing to be done.
    pub fn bytes(&self) -> Option<u64> {
        match self {
            Kept::Nothing => None,
            Kept::Rdb(_, bytes, _) => Some(*bytes),
            Kept::AppendOnly(recovery, _) => Some(recovery.bytes()),
        }
    }

    /// Reads it, and the workers store it; clients may connect meanwhile.
    pub fn load(self, shared: &Shared, wakers: &[Waker], ready: &str) {
        let start = Instant::now();
        let wake = || wakers.iter().for_each(|waker| waker.wake());
        let loaded = match self {
            Kept::Nothing => Ok(None),
            Kept::AppendOnly(recovery, config) => {
                recovery.run(shared, &config, &wake).map_err(|error| error.to_string())
            }
            Kept::Rdb(splitter, _, path) => match load_all(shared, *splitter, wake) {
                Ok(findings) => {
                    let place = replica::place(&findings, shared.keyspace.databases() as u32);
                    load::tell_findings(&findings, shared.loading.keys());
                    log::info!("DB loaded from disk: {:.3} seconds", start.elapsed().as_secs_f64());
                    Ok(place)
                }
                Err(error) => Err(format!("{}: {error}", path.display())),
            },
        };
        match loaded {
            Ok(place) => {
                if let Some(place) = place {
                    go_on_from(&place, shared);
                }
                shared.loading.end();
                tell_ready(ready);
            }
            Err(reason) => {
                observe::log::crash_log(&format!("{reason}. {NOT_LOADED}"));
                shared.shutdown.fail();
            }
        }
        wake();
    }
}

/// The keys and libraries of a file.
fn load_all(shared: &Shared, splitter: Splitter<File>, wake: impl Fn()) -> Result<Findings, FileError> {
    let findings = shared.loading.run(splitter, wake)?;
    load_libraries(shared, &findings, Policy::Append)?;
    Ok(findings)
}

/// The files end there in a history of replication: this replica asks to go on from there, or this primary's replicas can.
fn go_on_from(place: &StreamNote, shared: &Shared) {
    if shared.replication.is_replica() {
        return replica::restore(place, &shared.replication, &shared.link);
    }
    resume_stream(shared, place, shared.config.load().repl_backlog_size, shared.facts.started_ms);
}

/// Whether this server is a replica from the start, and of which primary. No worker runs yet.
pub fn take_role(config: &Config, shared: &Shared) -> Option<(u64, Primary)> {
    let (host, port) = config.replicaof.0.clone()?;
    let primary = Primary { host: host.into(), port };
    let (epoch, _) = shared.link.change_role(|| shared.replication.set_primary(Some(primary.clone())));
    Some((epoch, primary))
}

/// Follows the primary that was said at the start, unless the role has changed since.
pub fn follow(shared: &Arc<Shared>, primary: Option<(u64, Primary)>) {
    if let Some((epoch, primary)) = primary {
        follow_primary(shared, primary, epoch);
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
