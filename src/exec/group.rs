//! The group: up to a few dozen commands that run under the leases of all their shards.
//!
//! Design: a command joins the group if its leases are free at once. One that is refused stays behind, with all commands behind
//! it on its connection; commands of other connections go on. So the order of one connection's commands is never disturbed,
//! and a shard that somebody else has holds up only those who ask for it. Then all buckets are prefetched, then all
//! entries, so that the cache misses of a group overlap.
//!
//! | command | joins |
//! |---|---|
//! | of keys | where its leases are free; one that only reads, where many are refused, also where others hold them to read |
//! | EXEC | likewise, if no earlier command of its connection is in the group: its needs are known once those have run |
//! | of all shards | an empty group, which it then has to itself |
//! | one that talks to the system | the same, and holds no lease: others would wait for a disk |
//!
//! A command that reads under shared leases and finds that it has to change something, an expired key, leaves nothing behind: it
//! joins a later group, with its leases exclusively.
//!
//! EXEC and commands that may take long run last, so that while they do nobody's shards are held but their own; a group has one
//! of them at most. A command that changes how others' commands run passes twice: it runs without leases, and then comes
//! once more, for all leases, before it is answered. With the lease of a key that clients wait for go those that serving
//! them may need.
//!
//! Likewise a command is passed over that may change what a snapshot has yet to have, where that has to wait (`Shard::must_wait`).
//!
//! Where leases are refused, or a member may take long, a lease goes back as soon as no later member needs it. All stay to the
//! end if some were taken along, or once a member has begun to wait: a later member may serve whoever waits, who needs them.
//!
//! Invariants: every member's leases are held from `form` until it has run; a group without members holds nothing.
//!
//! Not here: what is left behind (`pending`).

use super::batch::{Batch, Gathered, REFUSED};
use super::blocking::WaiterKeys;
use super::pending::{Leftover, Pending, Refusal, end_of_connection};
use crate::command::{Flags, KEYS_FETCHED_MAX, Scope, Session, table};
use crate::store::{Keyspace, Leases, PrefetchHint, SHARDS_MAX, ShardId, ShardSet, WantedMask};

/// Commands in one group: enough to overlap cache misses, few enough to give leases back soon.
pub const GROUP_COMMANDS_MAX: usize = 32;
/// What the keys of a group weigh, beyond which it takes no further command: the lines that are fetched for all of them stay in
/// the nearest cache until they are used. A command weighs 1, or 2 if it reaches beyond its key's entry, and each of several
/// keys 1.
const GROUP_WEIGHT_MAX: u32 = GROUP_COMMANDS_MAX as u32;
/// What a group weighs where many leases are refused: the longer it holds its own, the more it refuses others.
const GROUP_WEIGHT_MIN: u32 = 8;
/// Commands, with those refused, after which it is judged how many were.
const TRIES_PER_JUDGEMENT: u32 = 256;
/// One of so many refused halves the weight of groups, and one of so many more doubles it.
const REFUSED_MANY: u32 = 8;
const REFUSED_FEW: u32 = 32;
/// Judgements for which commands that read share leases once many were refused: with shared leases fewer are.
const SHARING_JUDGEMENTS: u32 = 64;
/// Connections whose commands may be refused before a group takes no more: what is tried in vain delays those who were not.
const REFUSALS_PER_GROUP_MAX: u32 = 64;

const _: () = assert!(GROUP_WEIGHT_MAX.is_power_of_two() && GROUP_WEIGHT_MIN.is_power_of_two());

/// How much a group may weigh and how it takes and gives back leases, by how often they were refused lately: at first as if many
/// were.
struct Appetite {
    weight_max: u32,
    /// Commands since this was judged last, and how many of them were refused.
    tried: u32,
    refused: u32,
    /// Whether so many were, when it was judged last, that leases go back as soon as they can: finding out when is work too.
    is_contended: bool,
    /// Judgements for which commands that read still share leases. Sharing costs more than taking a lease, and a command that does has
    /// more to look after: nobody does where leases are hardly ever refused.
    sharing_left: u32,
    /// Whether nothing but refusals was had last: trying again and again counts once.
    was_in_vain: bool,
}

impl Default for Appetite {
    fn default() -> Appetite {
        Appetite {
            weight_max: GROUP_WEIGHT_MAX,
            tried: 0,
            refused: 0,
            is_contended: true,
            sharing_left: SHARING_JUDGEMENTS,
            was_in_vain: false,
        }
    }
}

impl Appetite {
    /// A group was formed of so many commands, and so many were refused meanwhile.
    #[inline]
    fn note(&mut self, joined: usize, refused: u32) {
        let is_in_vain = joined == 0;
        if std::mem::replace(&mut self.was_in_vain, is_in_vain) && is_in_vain {
            return;
        }
        self.tried += joined as u32 + refused;
        self.refused += refused;
        if self.tried >= TRIES_PER_JUDGEMENT {
            if self.refused * REFUSED_MANY > self.tried {
                self.weight_max = (self.weight_max / 2).max(GROUP_WEIGHT_MIN);
            } else if self.refused * REFUSED_FEW < self.tried {
                self.weight_max = (self.weight_max * 2).min(GROUP_WEIGHT_MAX);
            }
            self.is_contended = self.refused * REFUSED_FEW >= self.tried;
            self.sharing_left = match self.is_contended {
                true => SHARING_JUDGEMENTS,
                false => self.sharing_left.saturating_sub(1),
            };
            (self.tried, self.refused) = (0, 0);
        }
    }
}

/// The commands that run next.
#[derive(Default)]
pub struct Group {
    members: Vec<u32>,
    /// Whether one of them has several keys.
    has_several: bool,
    /// Whether one of them reaches beyond its keys' entries.
    prefetches_values: bool,
    /// What its members weigh, and how much they may.
    weight: u32,
    appetite: Appetite,
    /// The row of the member that joined last, and what one of that row weighs.
    row: u16,
    weight_each: u32,
    /// The member that runs behind all others.
    last: Option<u32>,
    /// Whether all leases stay to the end: some were taken along.
    keeps: bool,
    /// Commands that were refused while this group was formed; how many of these for the first time in this turn.
    refusals: u32,
    refusals_new: u32,
    /// Of the refusals, those because of a snapshot.
    unsaved: u32,
    /// Who waits for leases that were given back because another of the same command was refused.
    wanted: WantedMask,
    waiter_keys: WaiterKeys,
}

/// What forming a group came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formed {
    /// The batch has no more commands to run.
    Done,
    /// The members' leases are held.
    Ready,
    /// There are commands, all of which were refused.
    Refused,
}

/// Where the commands of a group come from.
pub struct Ground<'a, S, F> {
    /// The turn's commands.
    pub batch: &'a Batch,
    /// The leases they need.
    pub leases: &'a mut Leases,
    /// The keyspace.
    pub keyspace: &'a Keyspace,
    /// The session of a slot; none for a connection that runs no more commands in this turn. What a transaction needs is known
    /// by its session once all commands before it have run.
    pub session: S,
    /// Behind the first of several leases that a command takes (`Io::yield_point`).
    pub yield_point: F,
}

/// Why a connection's commands join no more.
enum Stop {
    /// There are no more.
    Ended,
    /// The group is full.
    Full,
    /// The next has to wait for another group.
    NotYet,
    /// The next was refused.
    Refused(Refusal),
}

enum Taken {
    Yes,
    /// It runs behind all others.
    Last,
    /// It has the group to itself.
    Alone,
    NotYet,
    Refused(Refusal),
}

impl Group {
    /// The members, as places in the batch.
    pub fn members(&self) -> &[u32] {
        &self.members
    }

    /// Consists of this one command, which runs under no lease but those that are held.
    pub fn only(&mut self, place: u32) {
        self.members.clear();
        self.members.push(place);
        (self.last, self.has_several, self.prefetches_values) = (None, false, false);
    }

    /// The workers to wake for leases given back while forming.
    pub fn take_wanted(&mut self) -> WantedMask {
        std::mem::take(&mut self.wanted)
    }

    /// Commands that were refused while this group was formed, and how many of them for the first time in this turn.
    pub fn refusals(&self) -> (u32, u32) {
        (self.refusals, self.refusals_new)
    }

    /// Whether all that were refused wait for a snapshot, so that trying again at once is in vain.
    pub fn is_only_unsaved(&self) -> bool {
        self.unsaved > 0 && self.unsaved == self.refusals
    }

    /// Takes commands that are pending, which are no longer then.
    #[inline]
    pub fn form<'s, S, F>(&mut self, pending: &mut Pending, mut ground: Ground<'_, S, F>) -> Formed
    where
        S: Fn(u32) -> Option<&'s Session>,
        F: FnMut(),
    {
        debug_assert!(self.wanted.is_empty(), "somebody was not woken");
        self.members.clear();
        (self.has_several, self.prefetches_values) = (false, false);
        (self.weight, self.weight_each, self.row) = (0, 1, REFUSED);
        let is_solo = ground.leases.is_solo();
        // The snapshot may have ended since one was passed over.
        if is_solo && !ground.keyspace.is_snapshotted() && pending.behind.is_empty() {
            self.form_solo(&mut pending.rest, &ground);
            return if self.members.is_empty() { Formed::Done } else { Formed::Ready };
        }
        (self.last, self.keeps, self.refusals, self.refusals_new, self.unsaved) = (None, false, 0, 0, 0);
        if !pending.behind.is_empty() {
            self.try_behind(pending, &mut ground);
        }
        self.go_on(pending, &mut ground);
        if (self.appetite.is_contended || self.last.is_some()) && !is_solo {
            self.plan_returns(&mut ground);
        }
        self.members.extend(self.last);
        self.appetite.note(self.members.len(), self.refusals - self.unsaved);
        match self.members.is_empty() {
            false => Formed::Ready,
            true if pending.behind.is_empty() => Formed::Done,
            true => Formed::Refused,
        }
    }

    /// The only worker holds all leases.
    #[inline]
    fn form_solo<'s, S, F>(&mut self, next: &mut usize, ground: &Ground<'_, S, F>)
    where
        S: Fn(u32) -> Option<&'s Session>,
    {
        let (mut slot, mut is_skipped) = (None, false);
        while let Some(command) = ground.batch.commands.get(*next) {
            if self.weight >= GROUP_WEIGHT_MAX {
                break;
            }
            if slot != Some(command.slot) {
                (slot, is_skipped) = (Some(command.slot), (ground.session)(command.slot).is_none());
            }
            if !is_skipped {
                self.weigh(command);
                self.members.push(*next as u32);
            }
            *next += 1;
            // It may change the configuration, which those behind it follow.
            if command.scope == Scope::Alone {
                break;
            }
        }
    }

    /// Tries the connections that were passed over.
    #[cold]
    fn try_behind<'s, S, F>(&mut self, pending: &mut Pending, ground: &mut Ground<'_, S, F>)
    where
        S: Fn(u32) -> Option<&'s Session>,
        F: FnMut(),
    {
        pending.behind.retain_mut(|leftover| {
            if self.is_full() || self.refusals >= REFUSALS_PER_GROUP_MAX {
                return true;
            }
            let mut next = leftover.next as usize;
            let stop = self.join(&mut next, leftover.end as usize, ground);
            leftover.next = next as u32;
            let stays = leftover.next < leftover.end;
            if stays {
                self.note_stop(leftover, &stop);
            }
            stays
        });
    }

    /// Goes on in the rest of the batch.
    #[inline]
    fn go_on<'s, S, F>(&mut self, pending: &mut Pending, ground: &mut Ground<'_, S, F>)
    where
        S: Fn(u32) -> Option<&'s Session>,
        F: FnMut(),
    {
        let end = ground.batch.commands.len();
        while pending.rest < end && !self.is_full() && self.refusals < REFUSALS_PER_GROUP_MAX {
            self.fetch_leases(pending, ground);
            let stop = self.join(&mut pending.rest, end, ground);
            if matches!(stop, Stop::NotYet | Stop::Refused(_)) {
                let next = pending.rest;
                pending.rest = end_of_connection(ground.batch, next);
                let mut leftover = Leftover {
                    next: next as u32,
                    end: pending.rest as u32,
                    refused: None,
                    waiter_keys: None,
                };
                self.note_stop(&mut leftover, &stop);
                self.refusals_new += u32::from(matches!(leftover.refused, Some(Refusal::Lease(_))));
                pending.behind.push(leftover);
            }
        }
    }

    /// Fetches the lease words of the commands that come next, once for each.
    #[inline]
    fn fetch_leases<S, F>(&self, pending: &mut Pending, ground: &Ground<'_, S, F>) {
        let room = self.appetite.weight_max.saturating_sub(self.weight) as usize;
        let (from, to) = (pending.rest.max(pending.fetched), pending.rest + room);
        if from < to {
            let ahead = ground.batch.commands.iter().take(to).skip(from);
            let keyed = ahead.filter(|command| command.scope == Scope::Keys);
            keyed.for_each(|command| ground.leases.prefetch(ground.keyspace.shard_of(command.hash)));
            pending.fetched = to;
        }
    }

    /// Finds the last member that needs each lease, behind which it goes back; what the very last one needs stays to the end.
    #[inline(never)]
    fn plan_returns<'s, S, F>(&self, ground: &mut Ground<'_, S, F>)
    where
        S: Fn(u32) -> Option<&'s Session>,
    {
        if self.keeps || self.members.len() + usize::from(self.last.is_some()) < 2 {
            return;
        }
        let (mut needed, batch) = ([0; SHARDS_MAX / 64], ground.batch);
        let mut is_new = |shard: ShardId| {
            let (word, bit): (&mut u64, u64) = (&mut needed[usize::from(shard.0) / 64], 1 << (shard.0 % 64));
            let is_new = *word & bit == 0;
            *word |= bit;
            is_new
        };
        let shard_of = |hash| ground.keyspace.shard_of(hash);
        if let Some(last) = self.last {
            let command = &batch.commands[last as usize];
            match (ground.session)(command.slot) {
                Some(session) if command.scope == Scope::Transaction => {
                    session.needed().for_each(|hash| _ = is_new(shard_of(hash)));
                }
                session => {
                    let met = session.map_or(&[][..], Session::met_by_script);
                    batch.hashes_of(command).iter().chain(met).for_each(|hash| _ = is_new(shard_of(*hash)));
                }
            }
        }
        let is_last = |index: usize| self.last.is_none() && index + 1 == self.members.len();
        for (index, place) in self.members.iter().enumerate().rev() {
            let command = &batch.commands[*place as usize];
            if !matches!(command.scope, Scope::Keys | Scope::Script) {
                continue;
            }
            for hash in batch.hashes_of(command) {
                let shard = shard_of(*hash);
                if is_new(shard) && !is_last(index) {
                    ground.leases.plan_return(index as u32, shard);
                }
            }
        }
    }

    /// Whether a member runs behind all others because it may take long.
    pub fn has_long(&self) -> bool {
        self.last.is_some()
    }

    #[inline]
    fn is_full(&self) -> bool {
        self.weight >= self.appetite.weight_max
    }

    /// Notes why a connection is passed over.
    fn note_stop(&mut self, leftover: &mut Leftover, stop: &Stop) {
        (leftover.refused, leftover.waiter_keys) = (None, None);
        if let Stop::Refused(refusal) = stop {
            self.refusals += 1;
            self.unsaved += u32::from(*refusal == Refusal::Unsaved);
            leftover.refused = Some(*refusal);
            let has_waiter_keys = self.waiter_keys.shards().next().is_some();
            leftover.waiter_keys =
                has_waiter_keys.then(|| Box::new(self.waiter_keys.shards().collect::<ShardSet>()));
        }
    }

    /// Takes the commands of one connection from `next` on, advancing it, until one stays behind or another connection's come.
    #[inline]
    fn join<'s, S, F>(&mut self, next: &mut usize, end: usize, ground: &mut Ground<'_, S, F>) -> Stop
    where
        S: Fn(u32) -> Option<&'s Session>,
        F: FnMut(),
    {
        let (first, batch) = (*next, ground.batch);
        let slot = batch.commands[first].slot;
        let of_connection = |command: &&Gathered| command.slot == slot;
        let Some(session) = (ground.session)(slot) else {
            *next = end_of_connection(batch, first).min(end);
            return Stop::Ended;
        };
        // Where a command takes leases late, as the injected fault has it, it takes them exclusively.
        // Who tracks is noted in the shards that it reads.
        let tracks = session.tracking.is_some();
        let shares = self.appetite.sharing_left > 0 && !cfg!(feature = "injected-fault") && !tracks;
        let first_shares = shares && !session.needs_exclusive;
        while let Some(command) = batch.commands[..end].get(*next).filter(of_connection) {
            if self.is_full() {
                return Stop::Full;
            }
            let taken = match command.scope {
                Scope::Transaction | Scope::Alone if *next != first => Taken::NotYet,
                Scope::Transaction | Scope::Alone => self.take_for(command, ground),
                Scope::Script if *next == first && session.script_retry.is_some() => {
                    self.take_for_retry(command, session, ground)
                }
                _ => {
                    let may_share = if *next == first { first_shares } else { shares };
                    self.take(command, command.shares && may_share, ground)
                }
            };
            match taken {
                Taken::Yes => {
                    self.weigh(command);
                    self.members.push(*next as u32);
                    *next += 1;
                }
                Taken::Last => {
                    self.weigh(command);
                    self.last = Some(*next as u32);
                    *next += 1;
                    // Those behind it on its connection come after it.
                    let has_more = batch.commands[..end].get(*next).filter(of_connection).is_some();
                    return if has_more { Stop::NotYet } else { Stop::Ended };
                }
                Taken::Alone => {
                    self.weight = self.appetite.weight_max;
                    self.members.push(*next as u32);
                    *next += 1;
                    return Stop::Full;
                }
                Taken::NotYet => return Stop::NotYet,
                Taken::Refused(refusal) => return Stop::Refused(refusal),
            }
        }
        Stop::Ended
    }

    /// A command joins.
    #[inline]
    fn weigh(&mut self, command: &Gathered) {
        if self.row != command.row {
            self.row = command.row;
            let prefetches_values = prefetch_hint_of(command.row) != PrefetchHint::Entry;
            self.prefetches_values |= prefetches_values;
            self.weight_each = 1 + u32::from(prefetches_values);
        }
        self.weight += self.weight_each;
        if command.hashes_count > 1 && !command.queued {
            self.has_several = true;
            self.weight += command.hashes_count;
        }
    }

    /// Brings the members' buckets, then their entries, and then what they need of large values close to the processor.
    #[inline]
    pub fn prefetch(&self, batch: &Batch, leases: &Leases) {
        if self.members.len() == 1 && !self.has_several {
            return;
        }
        let commands = self.members.iter().map(|member| &batch.commands[*member as usize]);
        if !self.has_several && !self.prefetches_values {
            let keyed = commands.filter(|command| command.hashes_count == 1 && !command.queued);
            leases.fetch(keyed.map(|command| (command.db_hint, command.hash)));
            return;
        }
        let keys = commands.flat_map(|command| {
            let count = if command.queued { 0 } else { KEYS_FETCHED_MAX };
            batch.hashes_of(command).iter().take(count).map(move |hash| (command, *hash))
        });
        if self.prefetches_values {
            leases.fetch_values(
                keys.map(|(command, hash)| (command.db_hint, hash, prefetch_hint_of(command.row))),
            );
        } else {
            leases.fetch(keys.map(|(command, hash)| (command.db_hint, hash)));
        }
    }

    /// Brings what is known of their keys' readers close to the processor.
    #[cold]
    pub fn prefetch_tracked(&self, batch: &Batch, leases: &Leases) {
        let commands = self.members.iter().map(|member| &batch.commands[*member as usize]);
        leases.fetch_tracked(
            commands.flat_map(|command| batch.hashes_of(command).iter().take(KEYS_FETCHED_MAX).copied()),
        );
    }

    #[inline]
    fn take<S, F: FnMut()>(
        &mut self,
        command: &Gathered,
        shares: bool,
        ground: &mut Ground<'_, S, F>,
    ) -> Taken {
        let keyspace = ground.keyspace;
        match command.scope {
            Scope::None => Taken::Yes,
            Scope::Keys | Scope::Script if command.may_take_long => {
                if self.last.is_some() {
                    return Taken::NotYet;
                }
                let hashes = ground.batch.hashes_of(command).iter().copied();
                match self.take_several(hashes, shares, !command.shares, ground) {
                    Taken::Yes => Taken::Last,
                    taken => taken,
                }
            }
            Scope::Keys if command.hashes_count <= 1 => {
                let shard = keyspace.shard_of(command.hash);
                if command.hashes_count == 0 {
                    return Taken::Yes;
                }
                if shares {
                    if ground.leases.try_share(shard) {
                        return Taken::Yes;
                    }
                    self.waiter_keys.clear();
                    return Taken::Refused(Refusal::Lease(shard));
                }
                let mark = ground.leases.mark();
                if !ground.leases.try_take(shard) {
                    self.waiter_keys.clear();
                    Taken::Refused(Refusal::Lease(shard))
                } else if keyspace.is_snapshotted()
                    && !command.shares
                    && ground.leases.shard(shard).must_wait(command.hash)
                {
                    self.refuse_unsaved(mark, ground.leases)
                } else if keyspace.is_waited() && ground.leases.shard_ref(shard).has_waiters() {
                    self.take_waiter_keys(mark, [command.hash].into_iter(), ground)
                } else {
                    Taken::Yes
                }
            }
            Scope::Keys => {
                let hashes = ground.batch.hashes_of(command).iter().copied();
                self.take_several(hashes, shares, !command.shares, ground)
            }
            Scope::Script => unreachable!("a script may take long"),
            Scope::Transaction | Scope::Alone => unreachable!("its needs are its session's"),
            Scope::All => self.take_all(ground.leases),
        }
    }

    /// The leases for a command whose session knows what it needs.
    fn take_for<'s, S, F>(&mut self, command: &Gathered, ground: &mut Ground<'_, S, F>) -> Taken
    where
        S: Fn(u32) -> Option<&'s Session>,
        F: FnMut(),
    {
        let session = (ground.session)(command.slot).expect("it is not passed over");
        if command.scope == Scope::Alone {
            return match session.withheld_reply.is_some() {
                true => self.take_all(ground.leases),
                false if self.is_empty() => Taken::Alone,
                false => Taken::NotYet,
            };
        }
        if session.needs_all() {
            return self.take_all(ground.leases);
        }
        let is_alone = session.multi.as_ref().is_some_and(|queue| queue.is_alone);
        if self.last.is_some() || is_alone && !self.is_empty() {
            return Taken::NotYet;
        }
        // What may be replicated may write, PFCOUNT what it has found out.
        const WRITES: Flags = Flags::WRITE.with(Flags::MAY_REPLICATE);
        let writes = session.multi.as_ref().is_some_and(|queue| queue.flags.has(WRITES));
        match self.take_several(session.needed(), false, writes, ground) {
            Taken::Yes if is_alone => Taken::Alone,
            Taken::Yes => Taken::Last,
            taken => taken,
        }
    }

    /// The leases for a script that runs again.
    #[cold]
    fn take_for_retry<S, F: FnMut()>(
        &mut self,
        command: &Gathered,
        session: &Session,
        ground: &mut Ground<'_, S, F>,
    ) -> Taken {
        if session.needs_all_for_script() {
            return self.take_all(ground.leases);
        }
        if self.last.is_some() {
            return Taken::NotYet;
        }
        let hashes = ground.batch.hashes_of(command).iter().chain(session.met_by_script()).copied();
        match self.take_several(hashes, false, true, ground) {
            Taken::Yes => Taken::Last,
            taken => taken,
        }
    }

    #[inline]
    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.last.is_none()
    }

    fn take_all(&mut self, leases: &mut Leases) -> Taken {
        if !self.is_empty() {
            return Taken::NotYet;
        }
        self.waiter_keys.clear();
        match leases.take_all_or_wanted() {
            Ok(()) => Taken::Alone,
            Err((wanted, shard)) => {
                self.wanted.add(wanted);
                Taken::Refused(Refusal::Lease(shard))
            }
        }
    }

    /// A command has to wait for a snapshot: the leases that it has taken go back.
    #[cold]
    fn refuse_unsaved(&mut self, mark: usize, leases: &mut Leases) -> Taken {
        self.waiter_keys.clear();
        self.wanted.add(leases.release_back_to(mark));
        Taken::Refused(Refusal::Unsaved)
    }

    /// All or none, by trying: the leases newly taken go back when one is refused.
    fn take_several<S, F: FnMut()>(
        &mut self,
        hashes: impl Iterator<Item = u64> + Clone,
        shares: bool,
        writes: bool,
        ground: &mut Ground<'_, S, F>,
    ) -> Taken {
        let mark = ground.leases.mark();
        // Only the first, in the build with the bug that the history checker must find.
        #[cfg(feature = "injected-fault")]
        let hashes = hashes.take(1);
        for hash in hashes.clone() {
            let shard = ground.keyspace.shard_of(hash);
            let taken = if shares { ground.leases.try_share(shard) } else { ground.leases.try_take(shard) };
            if !taken {
                self.waiter_keys.clear();
                self.wanted.add(ground.leases.release_back_to(mark));
                return Taken::Refused(Refusal::Lease(shard));
            }
            if ground.leases.mark() == mark + 1 {
                (ground.yield_point)();
            }
        }
        let (keyspace, leases) = (ground.keyspace, &mut *ground.leases);
        let mut must_wait = |hash| leases.shard(keyspace.shard_of(hash)).must_wait(hash);
        if keyspace.is_snapshotted() && writes && hashes.clone().any(&mut must_wait) {
            return self.refuse_unsaved(mark, ground.leases);
        }
        // Nobody is served by what only reads.
        match ground.keyspace.is_waited() && !shares {
            true => self.take_waiter_keys(mark, hashes, ground),
            false => Taken::Yes,
        }
    }

    /// The keys' leases are held: takes along those that serving their waiters may need. All or none since the mark.
    #[cold]
    fn take_waiter_keys<S, F>(
        &mut self,
        mark: usize,
        hashes: impl Iterator<Item = u64>,
        ground: &mut Ground<'_, S, F>,
    ) -> Taken {
        match self.waiter_keys.take(hashes, ground.keyspace, ground.leases) {
            Ok(()) => {
                self.keeps |= self.waiter_keys.shards().next().is_some();
                Taken::Yes
            }
            Err(shard) => {
                self.wanted.add(ground.leases.release_back_to(mark));
                Taken::Refused(Refusal::Lease(shard))
            }
        }
    }
}

/// What commands of a row use of their keys' values.
#[inline(never)]
fn prefetch_hint_of(row: u16) -> PrefetchHint {
    if row == REFUSED { PrefetchHint::Entry } else { table().row(row).command.prefetch_hint }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
