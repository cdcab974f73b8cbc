//! The batch: the commands that one turn gathered from all connections, in order, with what is needed to lease and prefetch.
//!
//! Design: three flat vectors that are reused turn after turn (commands, argument spans, key hashes), so that gathering
//! allocates nothing. A command points into the buffer its bytes lie in: a receive buffer that the batch owns for the turn,
//! or its connection's query buffer.

use bytes::Bytes;

use crate::command::keys::each_key;
use crate::command::{Args, KeyShape, Role, Row, Scope, Table};
use crate::io::Input;
use crate::resp::{Prefix, Span};
use crate::store::{DbIndex, KEY_BYTES_MAX, Keyspace};

/// Where a command's bytes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// In the connection's query buffer.
    QueryBuffer,
    /// In this one of the batch's receive buffers.
    Input(u32),
}

/// A gathered command.
#[derive(Clone, Copy)]
pub struct Gathered {
    /// The connection's slot.
    pub slot: u32,
    /// The row's number, or [`REFUSED`] for what cannot run.
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
    /// It may take long, as its row says.
    pub may_take_long: bool,
    /// It shares its shards with others that read, as its row says.
    pub shares: bool,
}

/// In place of a row's number: the command (unknown, of the wrong arity, or with a key that is too long) is refused when its turn
/// comes.
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
    #[inline(always)]
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
            Some(row) => Some(table.row(row)),
            None => {
                let found = table.resolve(args.at(0), || args.find(1), args.len());
                found.ok().filter(|row| !has_long_key(row, args, from.large))
            }
        };
        if known.is_none() {
            let name = self.spans[spans_start];
            self.known = match found {
                Some(row) if row.subrows.is_empty() && row.parent.is_none() => {
                    Known { prefix: Prefix::of(from.buffer, start, name, args.len()), row: row.id }
                }
                _ => Known::default(),
            };
        }
        let (row, role, may_take_long, shares, mut scope) = match found {
            Some(row) => {
                let scope = hash_keys(row, &args, keyspace, &mut self.hashes);
                (row.id, row.role, row.command.may_take_long, row.command.shares, scope)
            }
            None => (REFUSED, Role::AtOnce, false, false, Scope::None),
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
            may_take_long,
            shares,
        });
        role
    }

    /// Whether any command needs a shard.
    #[inline]
    pub fn touches_shards(&self) -> bool {
        self.commands.iter().any(|command| !matches!(command.scope, Scope::None | Scope::Alone))
    }

    /// Forgets all commands; the receive buffers are the caller's to give back first.
    pub fn clear(&mut self) {
        assert!(self.inputs.is_empty(), "the worker has given them back");
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
    pub large: &'a [Bytes],
    /// Its selected database.
    pub db_hint: DbIndex,
    /// Whether a transaction has been begun.
    pub queueing: bool,
}

/// The row of a command that is no client's, and the hashes of its keys, which are appended; none for what is no command.
pub fn resolve<'t>(
    args: &Args<'_>,
    table: &'t Table,
    keyspace: &Keyspace,
    hashes: &mut Vec<u64>,
) -> Option<&'t Row> {
    let row = table.resolve(args.at(0), || args.find(1), args.len()).ok()?;
    hash_keys(row, args, keyspace, hashes);
    Some(row)
}

/// Which shards a command of a script needs, and the hashes of its keys, which are appended.
#[inline]
pub fn hash_keys_of(row: &Row, args: &Args<'_>, keyspace: &Keyspace, hashes: &mut Vec<u64>) -> Scope {
    hash_keys(row, args, keyspace, hashes)
}

/// Whether one of the keys is longer than an entry can hold: only bulks that were received by themselves are.
#[cold]
#[inline(never)]
fn has_long_key(row: &Row, args: Args<'_>, large: &[Bytes]) -> bool {
    let is_long = |bytes: &[u8]| bytes.len() > KEY_BYTES_MAX;
    let mut found = false;
    if large.iter().any(|bulk| is_long(bulk)) {
        // Keys that do not add up are the handler's to refuse.
        let _ = each_key(row, &args, |index| found |= is_long(args.at(index)));
    }
    found
}

/// Pushes the hashes of all keys and says which shards are needed: none, with none pushed, when the keys do not add up (the
/// handler says so).
#[inline(always)]
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

#[cfg(all(test, not(miri)))]
mod tests {
    use super::*;
    use crate::command::table;
    use crate::store::KeyspaceOptions;

    /// The row that a command gets whose argument `place` is a bulk of this length, received by itself.
    fn row_of(words: &[&str], place: usize, bulk: &Bytes) -> u16 {
        let keyspace = Keyspace::new(KeyspaceOptions { shards: 1, databases: 1, workers: 1, hash_seed: 1 });
        let (mut batch, buffer) = (Batch::default(), words.concat());
        let mut start = 0;
        for (index, word) in words.iter().enumerate() {
            let span = Span { start, len: word.len() as u32 };
            batch.spans.push(if index == place { Span { start: 0, len: u32::MAX } } else { span });
            start += span.len;
        }
        let (source, buffer, large) = (Source::QueryBuffer, buffer.as_bytes(), std::slice::from_ref(bulk));
        let origin = Origin { slot: 0, source, buffer, large, db_hint: DbIndex(0), queueing: false };
        batch.push(origin, 0, 0, None, table(), &keyspace);
        batch.commands[0].row
    }

    /// A key whose length does not fit an entry's 32 bits ended the server, where `proto-max-bulk-len` allowed it. Of zeros
    /// that nobody looks at, such a bulk takes no memory.
    #[test]
    fn key_longer_than_entries_hold_is_refused() {
        let long = Bytes::from(vec![0; KEY_BYTES_MAX + 1]);
        assert_eq!(row_of(&["SET", "", "value"], 1, &long), REFUSED);
        assert_eq!(row_of(&["RENAME", "key", ""], 2, &long), REFUSED);
        assert_eq!(row_of(&["SORT", "key", "STORE", ""], 3, &long), REFUSED);
        assert_ne!(row_of(&["SET", "key", ""], 2, &long), REFUSED);
        assert_ne!(row_of(&["SET", "", "value"], 1, &Bytes::from_static(b"key")), REFUSED);
    }
}
