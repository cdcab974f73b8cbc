//! Where in a history of replication the files end that a restart begins with.
//!
//! Design: a replica writes it into each file of all keys; any server does at its end, when all leases are held and nothing changes
//! any more: into the file of all keys, and as the last line of the append-only file, where it counts for as long as no command
//! follows it. A replica that is started again asks its primary to go on from there. A primary that is started again has a history
//! of its own, which continues that one: whoever follows it and has come as far goes on too.
//!
//! Not here: the line (`persist::aof::reader`), the notes of a file of all keys (`persist::rdb::file`).

use std::sync::mpsc::channel;
use std::time::Duration;

use crate::command::{Shared, stream_note};
use crate::persist::aof;
use crate::persist::journal::Order;
use crate::persist::rdb::file::write::StreamNote;
use crate::store::DbIndex;
use crate::threads;

/// How long the end waits for the journal: it may have a disk that does not write.
const JOURNAL_WAIT: Duration = Duration::from_secs(1);

/// Where this server is. All leases are held, and nothing is changed afterwards but what says so.
pub fn last_place(shared: &Shared) -> Option<StreamNote> {
    let replication = &shared.replication;
    if replication.is_replica() || !replication.stream.is_open() {
        return stream_note(shared);
    }
    let (told, offset) = channel();
    // Nobody is there to be told if that took too long.
    let then = Box::new(move |offset| told.send(offset).unwrap_or_default());
    shared.journal.order(Order::Cut { after: shared.journal.drawn(), then });
    let offset = threads::receive(&offset, JOURNAL_WAIT)?;
    let id = replication.history().id.as_str().to_owned();
    Some(StreamNote { id, offset, db: DbIndex(0) })
}

/// The end of the append-only file says where this server is. All leases are held until the end was told.
pub fn note_place(shared: &Shared) {
    if shared.journal.has_file()
        && let Some(place) = last_place(shared)
    {
        shared.journal.order(Order::Note { after: shared.journal.drawn(), line: aof::place(&place) });
    }
}
