//! The snapshot that replicas get, and the stream that goes on behind it.
//!
//! Design: all leases are held at the cut. The journal says, once it has merged what was written before, how many bytes of the
//! stream that is; a replica whose own primary makes the stream has passed on all that it has applied.

use std::sync::Arc;

use crate::command::Shared;
use crate::command::server::{rdb_options, stream_note};
use crate::config::Config;
use crate::persist::background::{Order, Outcome, Purpose, Target};
use crate::persist::journal;
use crate::persist::rdb::file::VERSION_FUNCTIONS;
use crate::persist::rdb::file::write::StreamNote;
use crate::persist::rdb_target::{RdbOutput, RdbTarget};
use crate::replicate::primary::{FileOutput, Replica, SocketOutput, Start, State, StreamFeed, Transfer};
use crate::replicate::{Replication, ReplicationId};
use crate::store::snapshot::OnFlush;
use crate::store::stream::any_stream_knows_producers;
use crate::store::{AccessClock, DbIndex, Leases};

/// Versions of the format: what every replica reads, what those read that have said what they are, and what deadlines of fields
/// and producers of streams need.
const VERSION_OLD: u16 = 10;
const VERSION_NEW: u16 = 11;
const VERSION_FIELD_DEADLINES: u16 = 12;
const VERSION_PRODUCERS: u16 = 13;

/// The stream is kept for replicas from now on, if it is not yet. All leases are held.
pub fn begin_stream(shared: &Shared, backlog_bytes: u64) {
    let replication = &shared.replication;
    if replication.stream.is_open() {
        return;
    }
    if !replication.is_replica() {
        // What was written meanwhile is in no stream: nobody can continue from before.
        replication.begin_history();
        feed_stream(shared);
    }
    replication.stream.open(backlog_bytes);
}

/// A primary that was started again, and whose files say where they end, goes on from there. Nobody changes anything yet.
pub fn resume_stream(shared: &Shared, place: &StreamNote, backlog_bytes: u64, now_ms: u64) {
    let replication = &shared.replication;
    let Some(id) = ReplicationId::parse(place.id.as_bytes()) else { return };
    replication.succeed(id, place.offset);
    replication.replicas.begin_alone(now_ms);
    feed_stream(shared);
    replication.stream.open(backlog_bytes);
}

/// This server is a primary from now on, or a replica, and has the role's history: what commands change goes to the stream, or does
/// so no more, as a replica passes on what it is sent. If `then` is given, it is called once the stream has all that was written
/// before. All leases are held.
pub fn follow_role(shared: &Shared, now_ms: u64, then: Option<Box<dyn FnOnce(u64) + Send>>) {
    let (journal, replication) = (&shared.journal, &shared.replication);
    let feeds = replication.stream.is_open() && !replication.is_replica();
    if feeds && !journal.has_replicas() {
        replication.replicas.begin_alone(now_ms);
        feed_stream(shared);
    }
    if let Some(then) = then {
        journal.order(journal::Order::Cut { after: journal.drawn(), then });
    }
    if !feeds && journal.has_replicas() {
        journal.record_for_replicas(false);
        journal.order(journal::Order::Feed { feed: None, after: journal.drawn() });
    }
}

/// What commands change goes to the stream from now on. All leases are held.
fn feed_stream(shared: &Shared) {
    shared.journal.record_for_replicas(true);
    let feed = StreamFeed::new(Arc::clone(&shared.replication));
    shared.journal.order(journal::Order::Feed { feed: Some(feed), after: shared.journal.drawn() });
}

/// Nothing goes to the stream any more, and nothing of it is kept. All leases are held.
pub fn end_stream(shared: &Shared) {
    shared.journal.record_for_replicas(false);
    shared.journal.order(journal::Order::Feed { feed: None, after: shared.journal.drawn() });
    shared.replication.stream.close();
}

/// Cuts a snapshot for these replicas, which is sent as it is made if there is a mark for its end. All leases are held.
pub fn cut_for_replicas(
    shared: &Arc<Shared>,
    config: &Config,
    leases: &mut Leases,
    (used_bytes, now_ms, access_clock): (u64, u64, AccessClock),
    group: Vec<Arc<Replica>>,
    mark: Option<[u8; 40]>,
) -> Option<()> {
    let version = version(leases, config, &group);
    let replicas = group.clone();
    shared.background.cut(leases, now_ms, |_| {
        for replica in &group {
            let worker = replica.client_info.place().worker;
            replica.receive(Transfer::new(worker.into(), mark.is_some(), shared.replication.waker()));
        }
        let mut options = rdb_options(config, used_bytes, now_ms, access_clock);
        options.version = version;
        let filter = group.first().map(|replica| replica.about.filter);
        options.without_keys = filter.is_some_and(|filter| filter.without_keys);
        let has_libraries =
            version >= VERSION_FUNCTIONS && !filter.is_some_and(|filter| filter.without_functions);
        if has_libraries {
            options.libraries = shared.script_state.texts();
        }
        // A replica's stream does not name its database again.
        options.stream = stream_note(shared);
        let (count, way) = (group.len(), if mark.is_some() { "sockets" } else { "a file" });
        log::info!("A snapshot for {count} replicas begins, by {way}");
        let output: Box<dyn RdbOutput> = match mark {
            Some(mark) => SocketOutput::new(group, mark, config.rdbchecksum, version),
            None => {
                let name = format!("temp-repl-{}.{now_ms}.rdb", std::process::id());
                FileOutput::new(group, options.directory.join(name), options.file)
            }
        };
        let target: Box<dyn Target> = RdbTarget::to(options, output);
        Order {
            purpose: Purpose::Sync,
            target,
            on_flush: OnFlush::GoesOn,
            held_bytes_max: config.snapshot_buffer_limit,
            rate_max: config.snapshot_rate_max,
            on_end: Box::new(|outcome, took| match outcome {
                Outcome::Saved => log::info!("The snapshot for replicas took {} ms", took.as_millis()),
                Outcome::Failed(reason) => log::warn!("The snapshot for replicas failed: {reason}"),
                Outcome::Cancelled => log::warn!("The snapshot for replicas was given up"),
            }),
        }
    })?;
    let replication = Arc::clone(&shared.replication);
    if replication.is_replica() {
        begin_at(&replication, &replicas, replication.offset());
    } else {
        let then = Box::new(move |offset| begin_at(&replication, &replicas, offset));
        shared.journal.order(journal::Order::Cut { after: shared.journal.drawn(), then });
    }
    Some(())
}

/// The stream goes on behind so many bytes for these replicas.
fn begin_at(replication: &Replication, replicas: &[Arc<Replica>], offset: u64) {
    let mut workers = 0;
    for replica in replicas {
        begin_one(replication, replica, offset);
        workers |= 1 << replica.client_info.place().worker;
        if let Some(main) = replica.main() {
            begin_one(replication, main, offset);
            main.set_state(State::Streams);
            workers |= 1 << main.client_info.place().worker;
        }
    }
    replication.wake(workers);
}

fn begin_one(replication: &Replication, replica: &Replica, offset: u64) {
    let reader = if replica.keeps_stream() { replication.stream.attach(offset) } else { None };
    if !replica.begin(Start { offset, reader })
        && let Some(reader) = reader
    {
        replication.stream.detach(reader);
    }
}

/// The lowest version of the format that can hold all.
fn version(leases: &Leases, config: &Config, group: &[Arc<Replica>]) -> u16 {
    let keyspace = leases.keyspace();
    let has_field_deadlines = keyspace.shards().any(|shard| {
        let shard = leases.shard_ref(shard);
        (0..config.databases).any(|db| shard.expires_inside(DbIndex(db)) > 0)
    });
    // There may be none where some are counted; if there are, such a replica cannot follow whatever it is told.
    let is_valkey = |replica: &Arc<Replica>| replica.about.is_valkey && !replica.about.is_torc;
    if group.iter().all(|replica| !is_valkey(replica)) {
        if any_stream_knows_producers() {
            return VERSION_PRODUCERS;
        }
        if has_field_deadlines {
            return VERSION_FIELD_DEADLINES;
        }
    }
    match group.iter().all(|replica| replica.about.is_new) {
        true => VERSION_NEW,
        false => VERSION_OLD,
    }
}
