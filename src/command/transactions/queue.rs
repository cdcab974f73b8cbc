//! The commands of a transaction between MULTI and EXEC.
//!
//! Design: a queued command's bytes are copied as they came, in one piece, and its spans moved along, into flat vectors that
//! all commands of the transaction share: queueing allocates nothing once they have grown. Large bulks are shared, not
//! copied.
//!
//! Not here: what runs them (`worker::transaction`).

use bytes::Bytes;

use crate::command::{Args, CommandError, Flags, Row, Scope};
use crate::resp::Span;

/// Bytes of all queued commands; their spans have 32 bits.
const QUEUE_BYTES_MAX: usize = u32::MAX as usize;

/// What MULTI has begun.
#[derive(Default)]
pub struct Queue {
    bytes: Vec<u8>,
    spans: Vec<Span>,
    hashes: Vec<u64>,
    large: Vec<Bytes>,
    large_bytes: usize,
    commands: Vec<Queued>,
    /// The flags of all queued commands.
    pub flags: Flags,
    /// Whether one of them needs every shard, or changes how others' commands run.
    pub needs_all: bool,
    /// Whether one of them talks to the system.
    pub is_alone: bool,
    /// Whether a command was refused, so that EXEC will run none.
    pub failed: bool,
}

/// A queued command: its row, and where its spans and hashes end, which begin where those of the one before end.
struct Queued {
    row: u16,
    spans_end: u32,
    hashes_end: u32,
}

impl Queue {
    /// How many commands are queued.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// Hashes of the keys of all commands.
    pub fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// Memory held, in bytes.
    pub fn bytes_allocated(&self) -> usize {
        self.bytes.capacity()
            + self.spans.capacity() * size_of::<Span>()
            + self.hashes.capacity() * size_of::<u64>()
            + self.commands.capacity() * size_of::<Queued>()
            + self.large_bytes
    }

    /// Adds a command.
    #[inline]
    pub fn push(&mut self, row: &Row, args: &Args<'_>) -> Result<(), CommandError> {
        let large_before = self.large.len();
        if !args.copy_into(&mut self.bytes, &mut self.spans, &mut self.large, QUEUE_BYTES_MAX) {
            return Err(CommandError::Text("ERR transaction exceeds the maximum size"));
        }
        self.large_bytes += self.large[large_before..].iter().map(Bytes::len).sum::<usize>();
        self.hashes.extend_from_slice(args.hashes());
        self.flags = self.flags.with(row.command.flags);
        let scope = row.scope(args);
        self.needs_all |= matches!(scope, Scope::All | Scope::Script) || row.command.changes_others;
        self.is_alone |= scope == Scope::Alone;
        self.commands.push(Queued {
            row: row.id,
            spans_end: self.spans.len() as u32,
            hashes_end: self.hashes.len() as u32,
        });
        Ok(())
    }

    /// The commands in order: row and arguments.
    pub fn commands(&self) -> impl Iterator<Item = (u16, Args<'_>)> {
        let (mut spans, mut hashes) = (0, 0);
        self.commands.iter().map(move |queued| {
            let (spans_start, hashes_start) = (spans, hashes);
            (spans, hashes) = (queued.spans_end as usize, queued.hashes_end as usize);
            let args = Args::new(&self.bytes, &self.spans[spans_start..spans], &self.large);
            (queued.row, args.hashed(&self.hashes[hashes_start..hashes]))
        })
    }

    /// Empties the queue, to be used again; keeps memory unless it is more than `bytes_kept_max`.
    pub fn clear(&mut self, bytes_kept_max: usize) {
        if self.bytes_allocated() > bytes_kept_max {
            *self = Self::default();
        }
        self.bytes.clear();
        self.spans.clear();
        self.hashes.clear();
        self.large.clear();
        self.large_bytes = 0;
        self.commands.clear();
        self.flags = Flags::NONE;
        (self.needs_all, self.is_alone, self.failed) = (false, false, false);
    }
}
