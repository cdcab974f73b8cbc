//! The batch: the commands that one turn gathered from all connections, in order, with what is needed to lease and prefetch.
//!
//! Design: three flat vectors that are reused turn after turn (commands, argument spans, key hashes), so that gathering
//! allocates nothing. A command points into the buffer its bytes lie in: a receive buffer that the batch owns for the turn,
//! or its connection's spill.

use crate::command::keys::each_key;
use crate::command::{Args, KeyShape, Role, Row, Scope, Table};
use crate::io::Input;
use crate::resp::{Prefix, Span};
use crate::store::{DbIndex, Keyspace};

/// Where a command's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the connection's spill.
    Spill,
    /// In this one of the batch's receive buffers.
    Input(u32),
}

/// A gathered command.
#[derive(Clone, Copy)]
pub struct Gathered {
    /// The connection's slot.
    pub slot: u32,
    /// The row's number, or [`REFUSED`] for what cannot run (unknown, wrong arity).
    pub row: u16,
    /// Which shards it needs.
    pub scope: Scope,
    /// Where its bytes lie.
    pub source: Source,
    /// Offset of its first byte there.
    pub start: u32,
    /// Its arguments in the batch's spans.
    pub spans_start: u32,
    /// How many arguments.
    pub spans_count: u32,
    /// Its keys' hashes in the batch's hashes.
    pub hashes_start: u32,
    /// How many keys.
    pub hashes_count: u32,
    /// Hash of the first key; 0 without keys.
    pub hash: u64,
    /// Selected database when it was gathered: a hint for prefetching.
    pub db_hint: DbIndex,
    /// It stands behind a MULTI and will be queued, so that it needs no leases.
    pub queued: bool,
}

/// In place of a row's number: the command is refused when its turn comes.
pub const REFUSED: u16 = u16::MAX;

/// Room for so many commands, arguments or hashes is kept from turn to turn: more than 50 pipelining clients need.
const ELEMENTS_KEPT_MAX: usize = 1 << 16;

/// The commands of a turn.
#[derive(Default)]
pub struct Batch {
    /// In the order in which they run.
    pub commands: Vec<Gathered>,
    /// Arguments of all commands.
    pub spans: Vec<Span>,
    /// Key hashes of all commands.
    pub hashes: Vec<u64>,
    /// Receive buffers in use.
    pub inputs: Vec<Input>,
    /// How the last command began, and its row: the next is often the same. Outlives the turn.
    pub known: Known,
}

/// How a command begins that needs no lookup.
#[derive(Clone, Copy, Default)]
pub struct Known {
    /// Number of arguments and name, as they came.
    pub prefix: Prefix,
    /// The row that these mean.
    pub row: u16,
}

impl Batch {
    /// Adds the command whose spans were pushed from `spans_start` on; `known` is its row, if that is known. Says what it
    /// does in a transaction.
    #[inline]
    pub fn push(
        &mut self,
        from: Origin<'_>,
        start: usize,
        spans_start: usize,
        known: Option<u16>,
        table: &Table,
        keyspace: &Keyspace,
    ) -> Role {
        let args = Args::new(from.buffer, &self.spans[spans_start..], from.large);
        let hashes_start = self.hashes.len();
        let found = match known {
            Some(row) => Ok(table.row(row)),
            None => table.resolve(args.at(0), || args.find(1), args.len()),
        };
        if known.is_none() {
            let name = self.spans[spans_start];
            self.known = match found {
                Ok(row) if row.subrows.is_empty() && row.parent.is_none() => {
                    Known { prefix: Prefix::of(from.buffer, start, name, args.len()), row: row.id }
                }
                _ => Known::default(),
            };
        }
        let (row, role, mut scope) = match found {
            Ok(row) => (row.id, row.role, hash_keys(row, &args, keyspace, &mut self.hashes)),
            Err(_) => (REFUSED, Role::AtOnce, Scope::None),
        };
        let queued = from.queueing && role == Role::Queued;
        if queued {
            scope = Scope::None;
        }
        self.commands.push(Gathered {
            slot: from.slot,
            row,
            scope,
            source: from.source,
            start: start as u32,
            spans_start: spans_start as u32,
            spans_count: (self.spans.len() - spans_start) as u32,
            hashes_start: hashes_start as u32,
            hashes_count: (self.hashes.len() - hashes_start) as u32,
            hash: self.hashes.get(hashes_start).copied().unwrap_or(0),
            db_hint: from.db_hint,
            queued,
        });
        role
    }

    /// Forgets all commands; the receive buffers are the caller's to give back first.
    pub fn clear(&mut self) {
        assert!(self.inputs.is_empty());
        empty(&mut self.commands);
        empty(&mut self.spans);
        empty(&mut self.hashes);
    }

    /// A command's arguments.
    #[inline]
    pub fn spans_of(&self, command: &Gathered) -> &[Span] {
        let start = command.spans_start as usize;
        &self.spans[start..start + command.spans_count as usize]
    }

    /// The hashes of a command's keys.
    #[inline]
    pub fn hashes_of(&self, command: &Gathered) -> &[u64] {
        let start = command.hashes_start as usize;
        &self.hashes[start..start + command.hashes_count as usize]
    }
}

/// Empties a list, to be filled again; one that was far longer than most is not kept.
fn empty<T>(list: &mut Vec<T>) {
    if list.capacity() > ELEMENTS_KEPT_MAX {
        *list = Vec::new();
    }
    list.clear();
}

/// Where a connection's commands come from while they are gathered.
#[derive(Clone, Copy)]
pub struct Origin<'a> {
    /// The connection.
    pub slot: u32,
    /// Which buffer.
    pub source: Source,
    /// The buffer.
    pub buffer: &'a [u8],
    /// The connection's bulks that lie elsewhere.
    pub large: &'a [bytes::Bytes],
    /// Its selected database.
    pub db_hint: DbIndex,
    /// Whether a transaction has been begun.
    pub queueing: bool,
}

/// Pushes the hashes of all keys and says which shards are needed: none, with none pushed, when the keys do not add up (the
/// handler says so).
#[inline]
fn hash_keys(row: &Row, args: &Args<'_>, keyspace: &Keyspace, hashes: &mut Vec<u64>) -> Scope {
    if matches!(row.shape, KeyShape::First) {
        hashes.push(keyspace.hash(args.at(1)));
        return row.command.scope;
    }
    let before = hashes.len();
    each_key(row, args, |index| hashes.push(keyspace.hash(args.at(index)))).unwrap_or_else(|_| {
        hashes.truncate(before);
        Scope::None
    })
}
