//! The data of the last time: opened before anybody is served, loaded beside the workers.
//!
//! Not here: the formats (`persist`), running what an append-only file says (`replay`).

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use super::following::follow_primary;
use super::recovery::Recovery;
use crate::command::{Shared, load_libraries, resume_stream};
use crate::config::Config;
use crate::io::Waker;
use crate::persist::load;
use crate::persist::rdb::file::FileError;
use crate::persist::rdb::file::split::{Findings, Splitter};
use crate::persist::rdb::file::write::StreamNote;
use crate::replicate::{Primary, replica};
use crate::script::Policy;

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
    ///
    /// # Errors
    /// It is there, and cannot be loaded.
    pub fn open(config: &Config, path: PathBuf) -> Result<Kept, String> {
        if config.appendonly {
            let recovery = Recovery::open(config).map_err(|error| error.to_string())?;
            return Ok(Kept::AppendOnly(Box::new(recovery), Box::new(config.clone())));
        }
        let opened = load::open(&path, config.databases as usize, config.rdbchecksum);
        let opened = opened.map_err(|error| format!("{}: {error}", path.display()))?;
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
    ///
    /// # Errors
    /// It is not as it should be.
    pub fn load(self, shared: &Shared, wakers: &[Waker]) -> Result<(), String> {
        let start = Instant::now();
        let wake = || wakers.iter().for_each(|waker| waker.wake());
        let place = match self {
            Kept::Nothing => None,
            Kept::AppendOnly(recovery, config) => {
                recovery.run(shared, &config, &wake).map_err(|error| error.to_string())?
            }
            Kept::Rdb(splitter, _, path) => {
                let findings = load_all(shared, *splitter, wake);
                let findings = findings.map_err(|error| format!("{}: {error}", path.display()))?;
                load::tell_findings(&findings, shared.loading.keys());
                log::info!("DB loaded from disk: {:.3} seconds", start.elapsed().as_secs_f64());
                replica::place(&findings, shared.keyspace.databases() as u32)
            }
        };
        if let Some(place) = place {
            go_on_from(&place, shared);
        }
        shared.loading.end();
        wake();
        Ok(())
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
