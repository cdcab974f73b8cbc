//! The thread that follows a primary: connects, introduces this server, receives snapshots, and waits until the link ends.
//!
//! Design: one thread for each time that a primary is to be followed; it ends with that role. It blocks as long as it likes, as all
//! that serves clients goes on without it; where the role changes meanwhile its socket is shut down.
//!
//! A snapshot goes to a file first, so that the data of before is served until the new is there as a whole. The history that is to be
//! continued is forgotten when that data goes, and known again only when the snapshot is loaded: a link that breaks between
//! leads to another snapshot. Where there is no data (`repl-diskless-load on-empty-db`) it is loaded as it comes; with `swapdb`, which
//! is to have the old data served meanwhile, the file does that until all of the new has come.
//!
//! Not here: what workers do for it (`worker::following`).

use std::fs::File;
use std::io::{self, BufWriter, Read, Write as _};
use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::handshake::{Introduction, Offer, continue_behind, introduce, introduce_channel};
use super::keeper::Keeper;
use super::link::{Adoption, Link, Order};
use super::payload::{self, End};
use super::wire::Wire;
use crate::config::live::Live;
use crate::config::{Config, ReplDisklessLoad};
use crate::io::BlockingSocket;
use crate::io::tls::BlockingStream;
use crate::persist::load::{self, Loading};
use crate::persist::rdb::file::FileError;
use crate::persist::rdb::file::split::{Findings, Splitter};
use crate::persist::rdb::file::write::StreamNote;
use crate::replicate::{FailoverState, History, LinkState, Primary, Replication, ReplicationId};
use crate::resp::number::parse_i64;
use crate::security::tls::Tls;
use crate::store::DbIndex;
use crate::threads;

/// Time from one try to the next.
const RETRY: Duration = Duration::from_secs(1);
/// Time from one look whether the stream has all that was written before this server became a replica, to the next.
const OWN_STREAM_LOOK: Duration = Duration::from_millis(1);
/// Time from one sign of life to the next while a snapshot is loaded.
const GREETING: Duration = Duration::from_secs(1);

/// What a primary is told of what this server reads: everything of Redis's, and Valkey's own kind of snapshots, which only that sends,
/// and only from this version on. It has no other for fields that expire.
const VERSION: &str = "9.0.0";

/// What the thread needs of the server.
pub struct Surroundings<'a> {
    /// The configuration.
    pub config: &'a Live,
    /// Role, history and stream.
    pub replication: &'a Replication,
    /// What it shares with the workers.
    pub link: &'a Link,
    /// What loads.
    pub loading: &'a Loading,
    /// How it connects.
    pub tls: &'a Tls,
    /// Makes the libraries of functions that a snapshot had those of this server.
    pub load_libraries: &'a dyn Fn(&Findings) -> Result<(), FileError>,
    /// The port that this server listens on.
    pub port: u16,
    /// The same for TLS; 0 if there is none.
    pub tls_port: u16,
    /// About how many keys there are.
    pub keys: &'a dyn Fn() -> u64,
}

/// Follows this primary for as long as the role of this epoch lasts.
pub fn follow(server: &Surroundings<'_>, primary: &Primary, epoch: u64) {
    let Surroundings { link, replication, .. } = server;
    while link.epoch() == epoch && !replication.has_own_stream() {
        threads::park_timeout(OWN_STREAM_LOOK);
    }
    while link.epoch() == epoch {
        let start = threads::now();
        link.attempts.fetch_add(1, Relaxed);
        link.attempts_all.fetch_add(1, Relaxed);
        match connect(server, primary, epoch) {
            Ok(true) => link.await_end(epoch),
            Ok(false) => {}
            Err(reason) => {
                link.advance(epoch, replication, LinkState::Connect);
                if link.epoch() == epoch {
                    log::warn!("Replica of {}:{}: {reason}", primary.host, primary.port);
                }
            }
        }
        link.rest_until(epoch, start + RETRY);
    }
}

/// Gets a connection to where the stream goes on; whether there is one.
fn connect(server: &Surroundings<'_>, primary: &Primary, epoch: u64) -> Result<bool, String> {
    let Surroundings { link, replication, .. } = server;
    let config = server.config.load();
    let timeout = Duration::from_secs(u64::from(config.repl_timeout));
    if !link.advance(epoch, replication, LinkState::Connecting) {
        return Ok(false);
    }
    log::info!("Connecting to the primary {}:{}", primary.host, primary.port);
    let socket = open(primary, timeout).map_err(|error| format!("cannot connect: {error}"))?;
    let handle = socket.handle().map_err(|error| error.to_string())?;
    if !link.reads_from(epoch, vec![handle]) || !link.advance(epoch, replication, LinkState::Handshake) {
        return Ok(false);
    }
    let stream = encrypt(server, socket).map_err(|error| format!("cannot connect over TLS: {error}"))?;
    let mut wire = Wire::new(stream, timeout);
    match introduce(&mut wire, &introduction(server, &config))? {
        Offer::Stream(id) => {
            log::info!("The primary continues the stream at {}", replication.offset());
            let adoption = adoption(wire);
            Ok(link.order(epoch, Order::Continue { id, adoption }))
        }
        Offer::Refusal(answer) => {
            log::warn!("{}:{} does not take the role of the primary: '{answer}'", primary.host, primary.port);
            link.order(epoch, Order::Refused);
            Ok(false)
        }
        Offer::Snapshot(id, offset) => {
            Snapshot { server, config: &config, epoch, id, offset, keeper: None }.take(wire)
        }
        Offer::Channel(client) => take_through_channel(server, primary, epoch, wire, Some(&client)),
        Offer::ChannelOfValkey => take_through_channel(server, primary, epoch, wire, None),
    }
}

/// Takes a snapshot through a channel of its own, of the client of this number or of one that says where the stream goes on;
/// what comes of the stream meanwhile is kept.
fn take_through_channel(
    server: &Surroundings<'_>,
    primary: &Primary,
    epoch: u64,
    mut stream: Wire<BlockingStream>,
    client: Option<&str>,
) -> Result<bool, String> {
    let config = server.config.load();
    let timeout = Duration::from_secs(u64::from(config.repl_timeout));
    let failed = |error: io::Error| format!("the channel for the snapshot cannot be opened: {error}");
    let socket = open(primary, timeout).map_err(failed)?;
    let handles = vec![stream.get(BlockingStream::handle).map_err(failed)?, socket.handle().map_err(failed)?];
    let channel = socket.handle().map_err(failed)?;
    if !server.link.reads_from(epoch, handles) {
        return Ok(false);
    }
    let mut wire = Wire::new(encrypt(server, socket).map_err(failed)?, timeout);
    let about = introduction(server, &config);
    let limit = match config.replica_full_sync_buffer_limit {
        0 => config.client_output_buffer_limit.replica.hard_bytes,
        limit => limit,
    };
    let limit = if limit == 0 { u64::MAX } else { limit };
    let keep = |stream| Keeper::start(stream, limit, Arc::clone(&server.link.kept_bytes), channel);
    let (place, keeper) = match client {
        Some(client) => {
            // It may begin before the snapshot does.
            let keeper = keep(stream).map_err(failed)?;
            (introduce_channel(&mut wire, &about, Some(client))?, keeper)
        }
        None => {
            let place = introduce_channel(&mut wire, &about, None)?;
            continue_behind(&mut stream, &place)?;
            (place, keep(stream).map_err(failed)?)
        }
    };
    log::info!("The snapshot comes through a channel of its own");
    let (id, offset) = (place.id, place.offset);
    Snapshot { server, config: &config, epoch, id, offset, keeper: Some(keeper) }.take(wire)
}

/// A socket to the first of the primary's addresses that answers.
fn open(primary: &Primary, timeout: Duration) -> io::Result<BlockingSocket> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "it has no address");
    for address in (&*primary.host, primary.port).to_socket_addrs()? {
        match BlockingSocket::connect(&address, timeout) {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// What is said through the socket goes over TLS, if `tls-replication` says so.
fn encrypt(server: &Surroundings<'_>, socket: BlockingSocket) -> io::Result<BlockingStream> {
    match server.tls.outgoing.load_full() {
        Some(config) => BlockingStream::encrypted(socket, config),
        None => Ok(BlockingStream::plain(socket)),
    }
}

fn introduction(server: &Surroundings<'_>, config: &Config) -> Introduction {
    let given = |text: &[u8]| (!text.is_empty()).then(|| text.to_vec());
    let Surroundings { replication, link, port, tls_port, .. } = *server;
    let own_port = if config.tls_replication && tls_port != 0 { tls_port } else { port };
    Introduction {
        credentials: given(&config.masterauth).map(|password| (given(&config.masteruser), password)),
        port: if config.replica_announce_port > 0 { config.replica_announce_port } else { own_port },
        address: given(&config.replica_announce_ip),
        takes_channel: config.repl_rdb_channel,
        version: VERSION,
        position: (!link.is_torn()).then(|| (replication.history().id, replication.offset())),
        hands_over: replication.failover.state() == FailoverState::InProgress,
    }
}

fn adoption(wire: Wire<BlockingStream>) -> Adoption {
    let (stream, mut input) = wire.into_parts();
    let (socket, rest) = stream.into_parts();
    input.extend_from_slice(&rest);
    Adoption { socket, input: vec![input] }
}

/// A snapshot that the primary is about to send.
struct Snapshot<'a> {
    server: &'a Surroundings<'a>,
    config: &'a Config,
    epoch: u64,
    id: ReplicationId,
    offset: u64,
    /// Who keeps the stream, if the snapshot comes through a channel.
    keeper: Option<Keeper>,
}

/// A file that goes when it is dropped, unless it was kept.
struct TempFile(PathBuf);

impl Drop for TempFile {
    fn drop(&mut self) {
        // It may have got another name.
        std::fs::remove_file(&self.0).unwrap_or_default();
    }
}

impl Snapshot<'_> {
    /// Receives it and has it loaded; whether the stream follows.
    fn take(self, mut wire: Wire<BlockingStream>) -> Result<bool, String> {
        let Surroundings { link, replication, .. } = self.server;
        log::info!("The primary sends a snapshot of {}:{}", self.id.as_str(), self.offset);
        link.order(self.epoch, Order::Taken);
        let line = wire.line().map_err(|error| self.blame(&error))?;
        let end = payload::end(&line)?;
        if !link.advance(self.epoch, replication, LinkState::Sync) {
            return Ok(false);
        }
        if self.config.repl_diskless_load == ReplDisklessLoad::OnEmptyDb && (self.server.keys)() == 0 {
            return self.load_as_it_comes(wire, &end);
        }
        let name = format!("temp-{}.{}.{}.rdb", threads::unix_ms() / 1000, std::process::id(), self.epoch);
        let temp = TempFile(self.config.dir.as_path().join(name));
        let received = self.receive(&mut wire, &end, &temp.0);
        received.map_err(|error| format!("the snapshot was not received: {}", self.blame(&error)))?;
        self.load(wire, &temp.0)
    }

    /// Why the snapshot has not come: an end of the stream ends its channel.
    fn blame(&self, error: &io::Error) -> String {
        self.keeper.as_ref().and_then(Keeper::failure).unwrap_or_else(|| error.to_string())
    }

    fn receive(&self, wire: &mut Wire<BlockingStream>, end: &End, path: &Path) -> io::Result<u64> {
        let progress = &self.server.link.progress;
        let total = if let End::Length(length) = end { *length } else { 0 };
        progress.total.store(total, Relaxed);
        progress.read.store(0, Relaxed);
        progress.last_ms.store(threads::unix_ms(), Relaxed);
        let mut file = BufWriter::new(File::create(path)?);
        let received = &self.server.link.received;
        let length = payload::receive(wire, end, &mut file, |read| {
            received.fetch_add(read - progress.read.load(Relaxed), Relaxed);
            progress.read.store(read, Relaxed);
            progress.last_ms.store(threads::unix_ms(), Relaxed);
        })?;
        file.flush()?;
        // It may become the file that the next start loads.
        file.get_ref().sync_all()?;
        Ok(length)
    }

    /// Without a file: what comes is loaded, so that nothing of it is left where it does not come to its end. There is nothing else.
    fn load_as_it_comes(self, mut wire: Wire<BlockingStream>, end: &End) -> Result<bool, String> {
        let config = self.config;
        let (total, size) = match end {
            End::Length(length) => (*length, Some(*length)),
            End::Mark(_) => (0, None),
        };
        self.server.link.progress.total.store(total, Relaxed);
        let greeter = wire.greeter();
        let mut source = payload::Snapshot::new(&mut wire, end);
        let opened = Splitter::new(&mut source, size, config.databases as usize, config.rdbchecksum);
        let splitter = opened.map_err(|error| format!("the snapshot cannot be loaded: {error}"))?;
        let Some(findings) = self.decode(splitter, total, move || greeter.greet())? else {
            return Ok(false);
        };
        if let Err(error) = source.finish() {
            self.server.link.order(self.epoch, Order::Failed);
            return Err(format!("the snapshot was not received: {}", self.blame(&error)));
        }
        self.go_on(&findings, wire)
    }

    fn load(self, wire: Wire<BlockingStream>, path: &Path) -> Result<bool, String> {
        // What does not even begin as a snapshot costs no data.
        let opened = load::open(path, self.config.databases as usize, self.config.rdbchecksum);
        let opened = opened.map_err(|error| format!("the snapshot cannot be loaded: {error}"))?;
        let (splitter, bytes) = opened.ok_or("the snapshot's file is gone")?;
        let greeter = wire.greeter();
        let Some(findings) = self.decode(splitter, bytes, move || greeter.greet())? else {
            return Ok(false);
        };
        self.keep(path);
        self.go_on(&findings, wire)
    }

    /// All data goes, and a snapshot takes its place; nothing if the role is over. The primary is greeted meanwhile: it may take
    /// long to load for dead.
    fn decode<R: Read>(
        &self,
        splitter: Splitter<R>,
        bytes: u64,
        greet: impl FnMut() -> io::Result<()>,
    ) -> Result<Option<Findings>, String> {
        let Surroundings { link, loading, load_libraries, .. } = self.server;
        if !link.order(self.epoch, Order::Empty { bytes }) {
            return Ok(None);
        }
        let start = threads::now();
        let greeted = std::cell::RefCell::new((start, greet));
        let loaded = loading.run(splitter, || {
            let (at, greet) = &mut *greeted.borrow_mut();
            if at.elapsed() >= GREETING {
                *at = threads::now();
                // If it is gone that shows later.
                greet().unwrap_or_default();
            }
            link.wake();
        });
        let loaded = loaded.and_then(|findings| load_libraries(&findings).map(|()| findings));
        let findings = loaded.map_err(|error| {
            link.order(self.epoch, Order::Failed);
            format!("the snapshot cannot be loaded: {error}; all data is gone until the next one")
        })?;
        load::tell_findings(&findings, loading.keys());
        log::info!("The primary's snapshot is loaded: {:.3} seconds", start.elapsed().as_secs_f64());
        Ok(Some(findings))
    }

    /// The stream goes on behind the snapshot.
    fn go_on(self, findings: &Findings, wire: Wire<BlockingStream>) -> Result<bool, String> {
        let (id, offset, db) = (self.id, self.offset, stream_db(findings, self.config.databases));
        let adoption = match self.keeper.map(Keeper::stop) {
            None => adoption(wire),
            Some(Ok((stream, mut input))) => {
                let (socket, rest) = stream.into_parts();
                input.push(rest);
                log::info!("{} bytes of the stream were kept", input.iter().map(Vec::len).sum::<usize>());
                Adoption { socket, input }
            }
            Some(Err(reason)) => {
                self.server.link.order(self.epoch, Order::Failed);
                return Err(format!("{reason}; all data is gone until the next snapshot"));
            }
        };
        Ok(self.server.link.order(self.epoch, Order::Loaded { id, offset, db, adoption }))
    }

    /// The file becomes that of all keys, as in Redis: a restart continues from there.
    fn keep(&self, path: &Path) {
        let config = self.config;
        let keeps_nothing = config.save.0.is_empty() && !config.appendonly;
        if keeps_nothing && config.rdb_del_sync_files {
            return;
        }
        let named = config.dir.as_path().join(config.dbfilename.as_path());
        if let Err(error) = std::fs::rename(path, &named) {
            log::warn!("{}: the primary's snapshot cannot be kept: {error}", named.display());
        }
    }
}

/// The database that a primary's stream has selected where its snapshot was made.
fn stream_db(findings: &Findings, databases: u32) -> DbIndex {
    let note = findings.notes.iter().find(|(name, _)| name == b"repl-stream-db");
    let db = note.and_then(|(_, value)| parse_i64(value)).and_then(|db| u32::try_from(db).ok());
    DbIndex(db.filter(|db| *db < databases).unwrap_or(0))
}

/// Where in a history of replication a file was made, as its notes say.
pub fn place(findings: &Findings, databases: u32) -> Option<StreamNote> {
    let note = |name: &str| findings.notes.iter().find(|(known, _)| known == name.as_bytes());
    let id = String::from_utf8(note("repl-id")?.1.clone()).ok()?;
    let offset = u64::try_from(parse_i64(&note("repl-offset")?.1)?).ok()?;
    Some(StreamNote { id, offset, db: stream_db(findings, databases) })
}

/// What was loaded at the start says how far its history goes: this replica asks to continue there.
pub fn restore(place: &StreamNote, replication: &Replication, link: &Link) {
    if let Some(id) = ReplicationId::parse(place.id.as_bytes()) {
        let history = History { id, id_before: ReplicationId::NONE, until: None };
        replication.adopt_history(history, place.offset);
        link.select(place.db);
    }
}
