//! The append-only file at the start: what it says becomes the data, and then effects are appended to it.
//!
//! Design: one thread reads. Base files in RDB format are decoded by all workers (`persist::load`); commands are looked up and hashed
//! here and run by the first worker (`replay`). A transaction is handed over once its EXEC was read, so that a file that ends
//! within one loses all of it.
//!
//! A last file that ends in the middle of a command was torn by a crash: with `aof-load-truncated` it is cut there. Anything else
//! that is not as Redis writes it refuses the start, with file and offset.
//!
//! Not here: the files (`persist::aof`), what happens after the start (`persist::append_only`), DEBUG LOADAOF (`reloading`).

use std::path::Path;
use std::time::Instant;

use crate::command::{
    Args, Queue, Role, Row, Shared, aof_store, base_options, journal_settings, load_libraries, table,
};
use crate::config::Config;
use crate::exec::resolve;
use crate::persist::aof::reader::{Command, Form, form};
use crate::persist::aof::{AofError, AofReader, AofStore, BaseFormat, Existing, Next, Part, Place, truncate};
use crate::persist::background::{Sizes, Target as _};
use crate::persist::journal::Order;
use crate::persist::load;
use crate::persist::rdb::file::write::StreamNote;
use crate::persist::rdb_target::RdbTarget;
use crate::resp::Span;
use crate::script::Policy;
use crate::store::AccessClock;

/// A batch has at least so many bytes, unless it is the last.
const BATCH_BYTES: usize = 256 << 10;

/// What is to be loaded.
pub struct Recovery {
    store: AofStore,
    existing: Existing,
}

impl Recovery {
    /// Looks at the files that the configuration names.
    ///
    /// # Errors
    /// They do not fit together: what counts cannot be known.
    pub fn open(config: &Config) -> Result<Recovery, AofError> {
        let store = aof_store(config)?;
        let existing = store.find()?;
        Ok(Recovery { store, existing })
    }

    /// Bytes of all files that count.
    pub fn bytes(&self) -> u64 {
        match &self.existing {
            Existing::None => 0,
            Existing::OldFile { size, .. } => *size,
            Existing::Parts(parts) => parts.iter().map(|part| part.size).sum(),
        }
    }

    /// The files, in the order in which they are loaded.
    pub fn parts(&self) -> Vec<Part> {
        match &self.existing {
            Existing::None => Vec::new(),
            Existing::OldFile { path, size } => {
                vec![Part { path: path.clone(), size: *size, is_base: true, may_be_torn: true }]
            }
            Existing::Parts(parts) => parts.clone(),
        }
    }

    /// Loads all of it, and has effects appended from then on; where in a history of replication that is, if the files say so. `wake`
    /// is called where workers may sleep.
    ///
    /// # Errors
    /// A file is not as it should be, or cannot be read or written.
    pub fn run(
        self,
        shared: &Shared,
        config: &Config,
        wake: &dyn Fn(),
    ) -> Result<Option<StreamNote>, AofError> {
        let (start, bytes) = (Instant::now(), self.bytes());
        let parts = self.parts();
        let place = read(&parts, shared, config, wake)?;
        let Recovery { mut store, existing } = self;
        match existing {
            Existing::OldFile { .. } => store.upgrade()?,
            Existing::None => store.write_first_base(BaseFormat::Rdb, |path| write_empty(path, config))?,
            Existing::Parts(_) => {}
        }
        if !parts.is_empty() {
            log::info!("DB loaded from append only file: {:.3} seconds", start.elapsed().as_secs_f64());
        }
        let file = store.open_last(0)?;
        let journal = &shared.journal;
        journal.follow(journal_settings(config));
        journal.order(Order::Open { sink: Box::new(file), after: journal.drawn() });
        shared.append_only.open(store, bytes);
        // Nobody changes anything before all is loaded.
        journal.record_for_file(true);
        Ok(place)
    }
}

/// Reads files and hands what they say to whoever runs it; all of it has run when this returns. Where in a history of replication
/// they end, if they say so.
///
/// # Errors
/// A file is not as it should be, or cannot be read.
pub(super) fn read(
    parts: &[Part],
    shared: &Shared,
    config: &Config,
    wake: &dyn Fn(),
) -> Result<Option<StreamNote>, AofError> {
    shared.loading.keep_expired();
    let (batch, pending) = (Queue::default(), Queue::default());
    let mut reading = Reading { shared, config, wake, read: 0, batch, pending, batch_bytes: 0, place: None };
    parts.iter().try_for_each(|part| reading.part(part))?;
    Ok(reading.place)
}

struct Reading<'a> {
    shared: &'a Shared,
    config: &'a Config,
    wake: &'a dyn Fn(),
    /// Bytes of the files that are loaded.
    read: u64,
    /// Commands that are handed over next.
    batch: Queue,
    /// Commands of a transaction whose EXEC is yet to come.
    pending: Queue,
    /// Bytes of the commands in the batch.
    batch_bytes: usize,
    /// Where in a history of replication the last annotation stands, if no command has followed it.
    place: Option<StreamNote>,
}

/// How far a file goes, where it does not go to its end.
struct Torn {
    offset: u64,
    reason: String,
}

impl Reading<'_> {
    fn part(&mut self, part: &Part) -> Result<(), AofError> {
        let (form, _) = form(&part.path)?;
        self.begin_file();
        let begin = if form == Form::Rdb { self.base(&part.path)? } else { 0 };
        let torn = self.commands(&part.path, begin)?;
        let (failed, first) = self.finish();
        if let Some(first) = first {
            log::warn!("{}: {failed} commands failed, the first of them {first}", part.path.display());
        }
        if let Some(Torn { offset, reason }) = torn {
            if !part.may_be_torn || !self.config.aof_load_truncated {
                let remedy = match part.may_be_torn {
                    true => "; 'aof-load-truncated yes' or 'torc --check-aof --fix' cuts the file there",
                    false => ", and it is not the last file",
                };
                return Err(at(&part.path, offset, format!("{reason}{remedy}")));
            }
            log::warn!("{}: {reason}: it is cut at offset {offset}", part.path.display());
            truncate(&part.path, offset)?;
        }
        self.read += part.size;
        Ok(())
    }

    /// Each file begins in database 0.
    fn begin_file(&mut self) {
        let words = [Span { start: 0, len: 6 }, Span { start: 6, len: 1 }];
        if let Some(select) = table().find(b"SELECT") {
            // There is room for it.
            let _accepted = self.batch.push(select, &Args::new(b"SELECT0", &words, &[]));
        }
    }

    /// Loads the RDB data at the beginning of a file: where it ends.
    fn base(&self, path: &Path) -> Result<u64, AofError> {
        let opened = load::open(path, self.config.databases as usize, self.config.rdbchecksum);
        let failed = |error: crate::persist::rdb::file::FileError| at(path, error.offset, error.reason);
        let Some((splitter, _)) = opened.map_err(failed)? else {
            return Err(AofError::new(path, "is gone"));
        };
        let findings = self.shared.loading.run(splitter, self.wake).map_err(failed)?;
        load_libraries(self.shared, &findings, Policy::Append).map_err(failed)?;
        load::tell_findings(&findings, self.shared.loading.keys());
        Ok(findings.end)
    }

    /// Runs the commands of a file from an offset on.
    fn commands(&mut self, path: &Path, begin: u64) -> Result<Option<Torn>, AofError> {
        let mut reader = AofReader::open(path, begin)?;
        let mut multi_at = None;
        loop {
            match reader.next()? {
                Next::Annotation(annotation) => self.place = annotation.place().or(self.place.take()),
                Next::Command(command) if command.is_named("MULTI") && multi_at.is_none() => {
                    multi_at = Some(command.offset);
                }
                Next::Command(command) if command.is_named("EXEC") && multi_at.is_some() => {
                    multi_at = None;
                    self.commit();
                }
                // Redis passes over an EXEC that ends nothing; no handler runs it.
                Next::Command(command) if command.is_named("EXEC") => {}
                Next::Command(command) => {
                    self.place = None;
                    self.batch_bytes += command.bytes.len();
                    let batch = if multi_at.is_some() { &mut self.pending } else { &mut self.batch };
                    push(self.shared, &command, batch).map_err(|reason| at(path, command.offset, reason))?;
                }
                Next::End { offset } => {
                    self.pending.clear(0);
                    let reason = || "the file ends within a transaction".to_owned();
                    return Ok(multi_at
                        .filter(|at| *at < offset)
                        .map(|offset| Torn { offset, reason: reason() }));
                }
                Next::Torn { offset, reason } => {
                    self.pending.clear(0);
                    return Ok(Some(Torn { offset: multi_at.unwrap_or(offset), reason }));
                }
                Next::Damaged { offset, reason } => return Err(at(path, offset, reason)),
            }
            if self.batch_bytes > BATCH_BYTES && multi_at.is_none() {
                self.shared.loading.note_read(self.read + reader.offset());
                self.hand_over();
            }
        }
    }

    /// A transaction is whole.
    fn commit(&mut self) {
        for (row, args) in self.pending.commands() {
            // It was accepted before, and is smaller than the files that are read.
            let _accepted = self.batch.push(table().row(row), &args);
        }
        self.pending.clear(BATCH_BYTES);
    }

    fn hand_over(&mut self) {
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        self.batch = self.shared.replay.hand_over(batch);
        (self.wake)();
    }

    /// Waits until everything has run.
    fn finish(&mut self) -> (u64, Option<String>) {
        if !self.batch.is_empty() {
            self.hand_over();
        }
        self.shared.replay.finish()
    }
}

/// A base without keys.
fn write_empty(path: &Path, config: &Config) -> Result<(), String> {
    let mut target = RdbTarget::new(base_options(config, path, 0, 0, AccessClock::new(0, false)));
    target.begin(&Sizes::new())?;
    target.finish()
}

/// Adds a command to those that are to run.
fn push(shared: &Shared, command: &Command<'_>, batch: &mut Queue) -> Result<(), String> {
    let spans: Vec<Span> = command
        .ranges()
        .map(|word| span(&word))
        .collect::<Option<_>>()
        .ok_or("a command of more than 4 GiB")?;
    let args = Args::new(command.bytes, &spans, &[]);
    let mut hashes = Vec::new();
    let row: &Row = resolve(&args, table(), &shared.keyspace, &mut hashes).ok_or_else(|| {
        let name = command.word(0).unwrap_or_default();
        format!("unknown command '{}', or with a wrong number of arguments", name.escape_ascii())
    })?;
    if row.role == Role::Exec {
        return Err("EXEC has another name here (rename-command)".to_owned());
    }
    batch.push(row, &args.hashed(&hashes)).map_err(|error| error.text().to_owned())
}

fn span(word: &std::ops::Range<usize>) -> Option<Span> {
    Some(Span { start: u32::try_from(word.start).ok()?, len: u32::try_from(word.len()).ok()? })
}

fn at(path: &Path, offset: u64, reason: impl Into<String>) -> AofError {
    AofError { path: path.to_path_buf(), place: Place::Offset(offset), reason: reason.into() }
}
