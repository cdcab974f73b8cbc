//! The chunk: up to a few dozen commands that run under the leases of all their shards.
//!
//! Design: walking the batch in order, a command joins the chunk if its leases are to be had at once; the first that is
//! refused ends the chunk before itself, so that no order is ever disturbed. Then all buckets are prefetched, then all
//! entries, so that the cache misses of a chunk overlap. A command that needs every shard is a chunk of its own; EXEC is the
//! first of its chunk, as its needs are known once all before it have run. With the lease of a key that clients wait for
//! go those that serving them may need.
//!
//! Invariants: every member's leases are held from `form` until the caller gives them back; a chunk that is refused at its
//! first command holds nothing.

use super::batch::{Batch, Gathered, REFUSED};
use super::blocking::Along;
use crate::command::{KEYS_FETCHED_MAX, Scope, Session, table};
use crate::store::{Keyspace, Leases, Reach, ShardId, WantedMask};

/// Commands in one chunk: enough to overlap cache misses, few enough to give leases back soon.
pub const CHUNK_COMMANDS_MAX: usize = 32;
/// What the keys of a chunk weigh, beyond which it takes no further command: the lines that are fetched for all of them stay in
/// the nearest cache until they are used. A command weighs 1, or 2 if it reaches beyond its key's entry, and each of several
/// keys 1.
const CHUNK_WEIGHT_MAX: u32 = CHUNK_COMMANDS_MAX as u32;

/// The commands that run next.
#[derive(Default)]
pub struct Chunk {
    members: Vec<u32>,
    /// Whether one of them has several keys.
    has_several: bool,
    /// Whether one of them reaches beyond its keys' entries.
    reaches_on: bool,
    /// Who waits for leases that were given back because another of the same command was refused.
    wanted: WantedMask,
    along: Along,
}

/// What forming a chunk came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formed {
    /// The batch has no more commands to run.
    Done,
    /// The members' leases are held.
    Ready,
    /// The command at this place of the batch could not have this shard.
    Refused(usize, ShardId),
}

impl Chunk {
    /// The members, as places in the batch.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// Shards beyond its keys' that the command needs which was refused: as far as they are known.
    pub fn along(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.along.shards()
    }

    /// The workers to wake for leases given back while forming.
    pub fn take_wanted(&mut self) -> WantedMask {
        std::mem::take(&mut self.wanted)
    }

    /// Takes commands from `next` on, advancing it. Commands of slots without a `session` are passed over. What a transaction
    /// needs is known by its session once all commands before it have run. Behind the first of several leases
    /// that a command takes there is an `interlude` (`Io::interlude`).
    #[inline]
    pub fn form<'s>(
        &mut self,
        batch: &Batch,
        next: &mut usize,
        leases: &mut Leases,
        keyspace: &Keyspace,
        session: impl Fn(u32) -> Option<&'s Session>,
        mut interlude: impl FnMut(),
    ) -> Formed {
        debug_assert!(self.wanted.is_empty(), "somebody was not woken");
        self.members.clear();
        self.has_several = false;
        self.reaches_on = false;
        // What an earlier command took along is no need of one that is refused at its own keys.
        self.along.clear();
        let solo = leases.is_solo();
        if !solo {
            let ahead = batch.commands[*next..].iter().take(CHUNK_COMMANDS_MAX);
            ahead.filter(|c| c.scope == Scope::Keys).for_each(|c| leases.prefetch(keyspace.shard_of(c.hash)));
        }
        let (mut slot, mut is_skipped, mut row) = (None, false, REFUSED);
        let (mut weight, mut weight_each) = (0, 1);
        while let Some(command) = batch.commands.get(*next) {
            if weight >= CHUNK_WEIGHT_MAX {
                break;
            }
            if slot != Some(command.slot) {
                (slot, is_skipped) = (Some(command.slot), session(command.slot).is_none());
            }
            if !is_skipped {
                if !solo {
                    let taken = match command.scope {
                        Scope::Transaction => {
                            let session = session(command.slot).expect("it is not passed over");
                            self.take_for(session, leases, keyspace, &mut interlude)
                        }
                        _ => self.take(command, batch, leases, keyspace, &mut interlude),
                    };
                    match taken {
                        Taken::Yes => {}
                        Taken::Alone => {
                            self.members.push(*next as u32);
                            *next += 1;
                            break;
                        }
                        Taken::Refused(shard) if self.members.is_empty() => {
                            return Formed::Refused(*next, shard);
                        }
                        Taken::Refused(_) | Taken::NotYet => break,
                    }
                }
                if row != command.row {
                    row = command.row;
                    let reaches_on = reach_of(row) != Reach::Entry;
                    self.reaches_on |= reaches_on;
                    weight_each = 1 + u32::from(reaches_on);
                }
                weight += weight_each;
                if command.hashes_count > 1 && !command.queued {
                    self.has_several = true;
                    weight += command.hashes_count;
                }
                self.members.push(*next as u32);
            }
            *next += 1;
        }
        if self.members.is_empty() { Formed::Done } else { Formed::Ready }
    }

    /// Brings the members' buckets, then their entries, and then what they need of large values close to the processor.
    #[inline]
    pub fn prefetch(&self, batch: &Batch, leases: &Leases) {
        if self.members.len() == 1 && !self.has_several {
            return;
        }
        let commands = self.members.iter().map(|member| &batch.commands[*member as usize]);
        if !self.has_several && !self.reaches_on {
            let keyed = commands.filter(|command| command.hashes_count == 1 && !command.queued);
            leases.fetch(keyed.map(|command| (command.db_hint, command.hash)));
            return;
        }
        let keys = commands.flat_map(|command| {
            let count = if command.queued { 0 } else { KEYS_FETCHED_MAX };
            batch.hashes_of(command).iter().take(count).map(move |hash| (command, *hash))
        });
        if self.reaches_on {
            leases.fetch_values(keys.map(|(command, hash)| (command.db_hint, hash, reach_of(command.row))));
        } else {
            leases.fetch(keys.map(|(command, hash)| (command.db_hint, hash)));
        }
    }

    #[inline]
    fn take(
        &mut self,
        command: &Gathered,
        batch: &Batch,
        leases: &mut Leases,
        keyspace: &Keyspace,
        interlude: &mut impl FnMut(),
    ) -> Taken {
        match command.scope {
            Scope::None => Taken::Yes,
            Scope::Keys if command.hashes_count <= 1 => {
                let shard = keyspace.shard_of(command.hash);
                if command.hashes_count == 0 {
                    return Taken::Yes;
                }
                let mark = leases.mark();
                if !leases.try_take(shard) {
                    Taken::Refused(shard)
                } else if keyspace.is_waited() && leases.shard_ref(shard).has_waiters() {
                    self.take_along(mark, [command.hash].into_iter(), leases, keyspace)
                } else {
                    Taken::Yes
                }
            }
            Scope::Keys => {
                self.take_several(batch.hashes_of(command).iter().copied(), leases, keyspace, interlude)
            }
            Scope::Transaction => unreachable!("its needs are its session's"),
            Scope::All => self.take_all(leases),
        }
    }

    /// The leases for EXEC, which comes first in its chunk.
    fn take_for(
        &mut self,
        session: &Session,
        leases: &mut Leases,
        keyspace: &Keyspace,
        interlude: &mut impl FnMut(),
    ) -> Taken {
        if !self.members.is_empty() {
            return Taken::NotYet;
        }
        match session.needs_all() {
            true => self.take_all(leases),
            false => self.take_several(session.needed(), leases, keyspace, interlude),
        }
    }

    fn take_all(&mut self, leases: &mut Leases) -> Taken {
        if !self.members.is_empty() {
            return Taken::NotYet;
        }
        match leases.take_all_or_wanted() {
            Ok(()) => Taken::Alone,
            Err((wanted, shard)) => {
                self.wanted.add(wanted);
                Taken::Refused(shard)
            }
        }
    }

    /// All or none, by trying: the leases newly taken go back when one is refused.
    fn take_several(
        &mut self,
        hashes: impl Iterator<Item = u64> + Clone,
        leases: &mut Leases,
        keyspace: &Keyspace,
        interlude: &mut impl FnMut(),
    ) -> Taken {
        let mark = leases.mark();
        // Only the first, in the build with the bug that the history checker must find.
        #[cfg(feature = "planted-bug")]
        let hashes = hashes.take(1);
        for hash in hashes.clone() {
            let shard = keyspace.shard_of(hash);
            if !leases.try_take(shard) {
                self.wanted.add(leases.release_back_to(mark));
                return Taken::Refused(shard);
            }
            if leases.mark() == mark + 1 {
                interlude();
            }
        }
        if keyspace.is_waited() { self.take_along(mark, hashes, leases, keyspace) } else { Taken::Yes }
    }

    /// The keys' leases are held: takes along those that serving their waiters may need. All or none since the mark.
    #[cold]
    fn take_along(
        &mut self,
        mark: usize,
        hashes: impl Iterator<Item = u64>,
        leases: &mut Leases,
        keyspace: &Keyspace,
    ) -> Taken {
        match self.along.take(hashes, keyspace, leases) {
            Ok(()) => Taken::Yes,
            Err(shard) => {
                self.wanted.add(leases.release_back_to(mark));
                Taken::Refused(shard)
            }
        }
    }
}

/// What commands of a row use of their keys' values.
#[inline(never)]
fn reach_of(row: u16) -> Reach {
    if row == REFUSED { Reach::Entry } else { table().row(row).command.reach }
}

enum Taken {
    Yes,
    Alone,
    /// It needs a chunk of its own.
    NotYet,
    Refused(ShardId),
}

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;

    use super::super::blocking::tests::{two_workers, wait};
    use super::super::{Origin, Source};
    use super::*;
    use crate::observe::{ClientCard, ClientPlace, Peg};
    use crate::resp::{Limits, Parser, Step};
    use crate::store::{DbIndex, KeyspaceOptions};

    /// A batch of commands, each by another client.
    fn gathered(commands: &[&[&str]], keyspace: &Keyspace) -> Batch {
        let mut batch = Batch::default();
        for (slot, words) in commands.iter().enumerate() {
            let mut bytes = format!("*{}\r\n", words.len());
            words.iter().for_each(|word| bytes.push_str(&format!("${}\r\n{word}\r\n", word.len())));
            let (mut parser, from) = (Parser::new(), batch.spans.len());
            let step = parser.next(bytes.as_bytes(), 0, &mut batch.spans, &Limits::default());
            assert!(matches!(step, Step::Command { .. }));
            let (source, db_hint) = (Source::Spill, DbIndex(0));
            let (slot, buffer) = (slot as u32, bytes.as_bytes());
            let origin = Origin { slot, source, buffer, large: &[], db_hint, queueing: false };
            batch.push(origin, 0, from, None, table(), keyspace);
        }
        batch
    }

    fn session() -> Session {
        let place = ClientPlace { worker: 0, slot: 1, generation: 1 };
        let peg = Peg { worker: 0, number: 0 };
        Session::new(Arc::new(ClientCard::new(1, peg, place, "a".into(), "b".into(), 3, 0)), true)
    }

    /// A command behind others took one of its leases for a moment, was refused another, and gave the first back; the worker
    /// that had asked to be woken for it in that moment slept until its next tick, since only a chunk that was refused at its
    /// first command woke anybody.
    #[test]
    fn who_wants_a_lease_that_was_given_back_while_forming_is_to_be_woken() {
        let options = KeyspaceOptions { shards: 256, databases: 1, workers: 3, hash_seed: 1 };
        let keyspace = Arc::new(Keyspace::new(options));
        let shard = |key: &str| keyspace.shard_of(keyspace.hash(key.as_bytes()));
        let [mut me, mut sleeper, mut holder] = [0, 1, 2].map(|worker| Leases::new(&keyspace, worker, false));
        let batch = gathered(&[&["GET", "first"], &["MSET", "had", "1", "refused", "2"]], &keyspace);
        assert!(holder.try_take(shard("refused")));
        let (mut chunk, mut next, session) = (Chunk::default(), 0, session());
        let asks = || assert!(sleeper.want(shard("had")), "it is held");
        let formed = chunk.form(&batch, &mut next, &mut me, &keyspace, |_| Some(&session), asks);
        assert_eq!((formed, next), (Formed::Ready, 1));
        let wanted = chunk.take_wanted();
        assert!(wanted.has(1) && !wanted.has(2));
        let _nobody = me.release_all();
        let _nobody = holder.release_all();
    }

    /// What an earlier command took along was reserved for a later one that was refused at its own key.
    #[test]
    fn what_goes_along_is_that_of_the_command_that_was_refused() {
        let (keyspace, mut leases, mut other) = two_workers();
        let shard_of = |key: &String| keyspace.shard_of(keyspace.hash(key.as_bytes()));
        let keys: Vec<String> = (0..100).map(|n| format!("key:{n}")).collect();
        let place = |shard| keys.iter().position(|key| shard_of(key) == ShardId(shard)).expect("one of many");
        let [a, b, c] = [1, 2, 3].map(|shard| keys[place(shard)].clone());
        wait(&[keyspace.hash(a.as_bytes()), keyspace.hash(b.as_bytes())], 1, &keyspace, &mut leases);
        let batch = gathered(&[&["LPUSH", &a, "x"], &["LPUSH", &c, "x"]], &keyspace);
        let (mut chunk, session) = (Chunk::default(), session());
        let mut form = |next: &mut usize, leases: &mut Leases, skip: u32| {
            let goes_on = |slot| (slot != skip).then_some(&session);
            let formed = chunk.form(&batch, next, leases, &keyspace, goes_on, || ());
            let _nobody = chunk.take_wanted();
            (formed, chunk.along().map(|shard| shard.0).collect::<Vec<_>>())
        };
        assert!(other.try_take(ShardId(2)));
        assert!(other.try_take(ShardId(3)));
        assert_eq!(form(&mut 0, &mut leases, 9), (Formed::Refused(0, ShardId(2)), vec![1, 2]));
        // The first client is passed over for the rest of the turn.
        assert_eq!(form(&mut 0, &mut leases, 0), (Formed::Refused(1, ShardId(3)), vec![]));
        assert_eq!(leases.mark(), 0);
    }
}
