//! The memory limit: which commands it concerns, and eviction to keep to it.
//!
//! Design: the gauges hold what every shard uses and their sum, so that asking whether memory is over `maxmemory` is one
//! load. Under a limit every command that writes passes [`Memory::admit`], which first notes what the commands before it in
//! the group have used; one that needs memory (`DENYOOM`) evicts if memory is short. Random shards whose leases are free offer
//! a few keys, the best of all candidates goes, and so on until memory suffices or the time for one command is up, as in
//! Redis; then cron goes on in the same turn. A command is refused only if there is nothing to evict. That is found out by
//! asking every shard, so it is remembered until any worker runs a command that may write: a client that goes on writing to
//! a full server costs next to nothing.
//!
//! Invariants: eviction never waits for a lease, and gives back each one it takes.
//! Costs: without a limit, one branch a command and one a group. A refused command reads one word per worker.
//! Not here: what is chosen in a shard (`store::candidates`), the gauges (`observe`).

use super::{Clock, Worker};
use crate::command::{
    Bracket, Effect, Flags, Rng, Scope, Shared, hand_over, invalidate, listen, notify, server_bytes,
};
use crate::config::{Config, KeyspaceEvents, MaxmemoryPolicy};
use crate::io::Io;
use crate::observe::WorkerStats;
use crate::persist::journal::Writer;
use crate::store::candidates::{Candidate, Candidates, Evicted};
use crate::store::eviction::{Frequencies, Policy, Rank};
use crate::store::{Changes, DbIndex, Deletion, Leases, Shard, ShardId, WantedMask};

/// Keys evicted in one go, whatever the tenacity: some tens of ms.
const EVICTED_AT_ONCE_MAX: u32 = 1 << 16;
/// Keys evicted before the clock is looked at again.
const EVICTED_PER_LOOK: u32 = 16;
/// Shards asked for candidates if there are any: enough where each has a few keys.
const SHARDS_ASKED_MAX: usize = 64;
/// Entries of flushed databases freed before memory is looked at again.
const FREED_PER_LOOK: usize = 256;
/// How long it is remembered that there is nothing to evict, in ms.
const NOTHING_TO_EVICT_MS_MAX: u64 = 100;
/// Time for one go at a tenacity of 10 or less, per point, in ns.
const TENACITY_NS: u64 = 50_000;
/// Above, the time grows by this with each point.
const TENACITY_GROWTH: f64 = 1.15;
const TENACITY_LINEAR_MAX: u32 = 10;
const TENACITY_ENDLESS: u32 = 100;

/// How far eviction came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Memory is below the limit.
    Fits,
    /// It is not, but there is more to evict.
    Behind,
    /// It is not, and there is nothing to evict.
    Full,
}

/// Where a key to be evicted was found.
enum Search {
    Removed,
    /// Nowhere, but other workers hold some of the shards.
    Busy,
    /// Nowhere, but among many others there are some that chance did not find.
    Missed,
    /// Nowhere: there are none.
    Nowhere,
}

/// That no shard had a key to evict.
#[derive(Clone, Copy)]
struct NothingToEvict {
    /// What [`writes`] said before the shards were asked.
    writes: u64,
    /// Until when to believe it, Unix time in ms: a worker that has yet to see that there is a limit does not count.
    until_ms: u64,
}

/// One worker's view of the memory limit.
pub(super) struct Memory {
    /// Commands that pass `admit`: none without a limit.
    watched: Flags,
    /// Most that shards and clients may use, in bytes.
    limit_bytes: u64,
    /// None: nothing is evicted.
    policy: Option<Policy>,
    counts_frequency: bool,
    time_ns_max: u64,
    /// Bytes of commands that were queued in this turn: until its end no gauge has them.
    queued_bytes: u64,
    /// Whether this server evicts: a replica leaves that to its primary, unless it is told otherwise.
    evicts: bool,
    /// How evicted keys are deleted elsewhere, and those found expired meanwhile.
    evicted_by: Deletion,
    /// Events that are published.
    notified: KeyspaceEvents,
    expired_by: Deletion,
    /// Shards that commands of this group may have written to since they were noted.
    unnoted: Vec<ShardId>,
    candidates: Candidates,
    /// Those whose shards others hold.
    busy: Vec<Candidate>,
    /// Whether this worker's commands left memory over the limit, and cron can do something about it.
    behind: bool,
    /// There was nothing to evict.
    nothing_to_evict: Option<NothingToEvict>,
}

/// The parts of a worker that eviction needs.
pub(super) struct EvictionContext<'a> {
    pub leases: &'a mut Leases,
    pub shared: &'a Shared,
    pub stats: &'a WorkerStats,
    pub clock: &'a Clock,
    pub rng: &'a mut Rng,
    pub effects: &'a mut Vec<Effect>,
    pub changes: &'a mut Changes,
    pub journal: &'a mut Writer,
}

impl EvictionContext<'_> {
    fn note(&self, id: ShardId, shard: &Shard) {
        self.shared.stats.gauges.note_memory(self.stats, id, self.shared.keyspace.shard_count(), shard);
    }
}

impl Memory {
    pub(super) fn new(config: &Config, shared: &Shared) -> Self {
        let mut memory = Self {
            watched: Flags::NONE,
            limit_bytes: u64::MAX,
            policy: None,
            counts_frequency: false,
            time_ns_max: 0,
            queued_bytes: 0,
            evicts: true,
            evicted_by: Deletion::Del,
            notified: KeyspaceEvents::default(),
            expired_by: Deletion::Del,
            unnoted: Vec::new(),
            candidates: Candidates::default(),
            busy: Vec::new(),
            behind: false,
            nothing_to_evict: None,
        };
        memory.follow(config, shared);
        memory
    }

    /// Takes up a new configuration.
    pub(super) fn follow(&mut self, config: &Config, shared: &Shared) {
        let limited = config.maxmemory > 0;
        self.watched = if limited { Flags::WRITE.with(Flags::DENYOOM) } else { Flags::NONE };
        self.limit_bytes = match config.maxmemory {
            0 => u64::MAX,
            bytes => bytes.saturating_sub(server_bytes(shared)),
        };
        self.evicts = !shared.replication.is_replica() || !config.replica_ignore_maxmemory;
        self.policy = policy(config);
        self.candidates.clear();
        self.nothing_to_evict = None;
        self.counts_frequency =
            matches!(config.maxmemory_policy, MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu);
        self.time_ns_max = time_ns_max(config.maxmemory_eviction_tenacity);
        self.evicted_by = Deletion::by(config.lazyfree_lazy_eviction);
        self.notified = config.notify_keyspace_events;
        self.expired_by = Deletion::by(config.lazyfree_lazy_expire);
    }

    /// The commands that must pass `admit`.
    #[inline]
    pub(super) fn watched(&self) -> Flags {
        self.watched
    }

    /// Whether memory is to be brought below the limit before this turn ends.
    #[inline]
    pub(super) fn is_behind(&self) -> bool {
        self.behind
    }

    #[inline]
    pub(super) fn is_limited(&self) -> bool {
        self.watched != Flags::NONE
    }

    /// Whether the clocks of entries are frequencies.
    pub(super) fn counts_frequency(&self) -> bool {
        self.counts_frequency
    }

    fn is_over(&self, eviction: &EvictionContext<'_>) -> bool {
        eviction.shared.stats.gauges.used_bytes(eviction.stats) + self.queued_bytes > self.limit_bytes
    }

    /// Whether a command with these flags, that is about to run with its leases held, has or gets the memory it needs.
    /// `hashes` are those of its keys.
    #[inline(never)]
    pub(super) fn admit(
        &mut self,
        flags: Flags,
        scope: Scope,
        hashes: &[u64],
        eviction: &mut EvictionContext<'_>,
    ) -> bool {
        self.note_written(eviction);
        if flags.has(Flags::DENYOOM) && self.evict(eviction) == Verdict::Full {
            return false;
        }
        // The command's leases are held from before this until after its writes: whoever counts the writes first and then
        // gets the leases finds what it wrote.
        eviction.stats.limited_writes.add(1);
        let keyspace = &eviction.shared.keyspace;
        match scope {
            Scope::None | Scope::Alone => {}
            Scope::Keys | Scope::Script => {
                self.unnoted.extend(hashes.iter().map(|hash| keyspace.shard_of(*hash)));
            }
            Scope::All => self.unnoted.extend(keyspace.shards()),
            Scope::Transaction => unreachable!("a transaction has the scope of its commands"),
        }
        true
    }

    /// A transaction's queue has grown by so much.
    pub(super) fn note_queued(&mut self, bytes: usize) {
        self.queued_bytes += bytes as u64;
    }

    /// What was queued in this turn is in the gauges now.
    pub(super) fn forget_queued(&mut self) {
        self.queued_bytes = 0;
    }

    /// Whether `note_written` has something to do.
    #[inline]
    pub(super) fn has_unnoted(&self) -> bool {
        !self.unnoted.is_empty()
    }

    /// Notes what the commands that were admitted have used; their leases are still held.
    pub(super) fn note_written(&mut self, eviction: &EvictionContext<'_>) {
        for id in self.unnoted.drain(..) {
            // The injected fault does not keep leases until here.
            if cfg!(feature = "injected-fault") && !eviction.leases.holds(id) {
                continue;
            }
            eviction.note(id, eviction.leases.shard_ref(id));
        }
    }

    /// Evicts until memory is below the limit, there is nothing to evict, or the time is up. Nothing to do is soon done.
    fn evict(&mut self, eviction: &mut EvictionContext<'_>) -> Verdict {
        // As in Redis, what a pause keeps from being evicted is no reason to refuse anybody memory; nor what a replica keeps.
        let evicts = || self.evicts && eviction.shared.pause.active(eviction.clock.now_ms()).is_none();
        let verdict = match self.is_over(eviction) && evicts() {
            true => self.evict_now(eviction),
            false => Verdict::Fits,
        };
        eviction.shared.stats.gauges.over_limit.note(verdict != Verdict::Fits, eviction.clock.unix_us());
        verdict
    }

    fn evict_now(&mut self, eviction: &mut EvictionContext<'_>) -> Verdict {
        let Some(policy) = self.policy.filter(|_| !self.finds_nothing_to_evict(eviction)) else {
            return self.free_flushed(eviction);
        };
        let writes = writes(eviction.shared);
        let (start, mut removed) = (eviction.clock.ticks(), 0);
        while self.is_over(eviction) {
            if removed >= EVICTED_AT_ONCE_MAX
                || removed % EVICTED_PER_LOOK == EVICTED_PER_LOOK - 1
                    && eviction.clock.ns_between(start, eviction.clock.ticks()) > self.time_ns_max
            {
                return Verdict::Behind;
            }
            match self.evict_somewhere(&policy, eviction) {
                Search::Removed => removed += 1,
                Search::Busy => return Verdict::Behind,
                Search::Missed => return self.free_flushed(eviction),
                Search::Nowhere => {
                    let until_ms = eviction.clock.now_ms() + NOTHING_TO_EVICT_MS_MAX;
                    self.nothing_to_evict = Some(NothingToEvict { writes, until_ms });
                    return self.free_flushed(eviction);
                }
            }
        }
        Verdict::Fits
    }

    /// Whether there was nothing to evict lately, and nothing has been written since.
    fn finds_nothing_to_evict(&self, eviction: &EvictionContext<'_>) -> bool {
        let now_ms = eviction.clock.now_ms();
        self.nothing_to_evict.is_some_and(|nothing_to_evict| {
            now_ms < nothing_to_evict.until_ms && nothing_to_evict.writes == writes(eviction.shared)
        })
    }

    /// Evicts the key that the policy can best do without, of all candidates found until now.
    fn evict_somewhere(&mut self, policy: &Policy, eviction: &mut EvictionContext<'_>) -> Search {
        let mut wanted = WantedMask::NONE;
        let search = loop {
            let search = self.find_candidates(policy, eviction, &mut wanted);
            if self.candidates.is_empty() {
                break search;
            }
            if self.evict_best(policy, eviction, &mut wanted) {
                break Search::Removed;
            }
            // All that were there are used, gone or busy: another look finds others, if there are any.
            if !self.busy.is_empty() {
                break Search::Busy;
            }
        };
        self.busy.drain(..).for_each(|candidate| self.candidates.offer(candidate));
        if !wanted.is_empty() {
            eviction.effects.push(Effect::Wake(wanted));
        }
        search
    }

    /// Looks at some keys: as many as the policy's samples, in as many shards as it takes, from a random one on. If there is no
    /// candidate then, says why.
    fn find_candidates(
        &mut self,
        policy: &Policy,
        eviction: &mut EvictionContext<'_>,
        wanted: &mut WantedMask,
    ) -> Search {
        if policy.rank == Rank::Random {
            self.candidates.clear();
        }
        let now_ms = eviction.clock.now_ms();
        let shard_count = eviction.shared.keyspace.shard_count();
        let start = eviction.rng.below(shard_count as u64) as usize;
        let (mut search, mut offered) = (Search::Nowhere, 0);
        for asked in 0..shard_count {
            let is_enough = asked >= SHARDS_ASKED_MAX && !self.candidates.is_empty();
            if offered >= policy.samples || is_enough {
                break;
            }
            let id = ShardId(((start + asked) % shard_count) as u16);
            let mark = eviction.leases.mark();
            if !eviction.leases.try_take(id) {
                search = Search::Busy;
                continue;
            }
            let shard = eviction.leases.shard_ref(id);
            let random = &mut || eviction.rng.next();
            let found = shard.offer_candidates(id, policy, now_ms, &mut self.candidates, random);
            if found == 0 && matches!(search, Search::Nowhere) && shard.has_evictable(policy.volatile) {
                search = Search::Missed;
            }
            offered += found;
            wanted.add(eviction.leases.release_back_to(mark));
        }
        search
    }

    /// Removes the best candidate that is still there and was not used since it was found; whether there was one.
    fn evict_best(
        &mut self,
        policy: &Policy,
        eviction: &mut EvictionContext<'_>,
        wanted: &mut WantedMask,
    ) -> bool {
        let now_ms = eviction.clock.now_ms();
        while let Some(candidate) = self.candidates.take_best() {
            let (id, db, mark) = (candidate.shard, candidate.db, eviction.leases.mark());
            if !eviction.leases.try_take(id) {
                self.busy.push(candidate);
                continue;
            }
            let evicted = eviction.leases.shard(id).evict(candidate, policy, now_ms, &mut self.candidates);
            match evicted {
                Evicted::Key => eviction.stats.counters.evicted_keys.add(1),
                Evicted::Expired => eviction.stats.counters.expired_keys.add(1),
                Evicted::Used | Evicted::Gone => {}
            }
            let removed = matches!(evicted, Evicted::Key | Evicted::Expired);
            if removed {
                eviction.note(id, eviction.leases.shard_ref(id));
                if eviction.leases.shard_ref(id).has_ready() {
                    eviction.effects.push(Effect::Serve(id));
                }
                self.tell_removed(db, evicted, eviction);
            }
            wanted.add(eviction.leases.release_back_to(mark));
            if removed {
                return true;
            }
        }
        false
    }

    /// Tells whoever listens that a key was removed, whose shard's lease is held.
    fn tell_removed(&self, db: DbIndex, evicted: Evicted, eviction: &mut EvictionContext<'_>) {
        listen(eviction.changes, eviction.shared, self.notified);
        if let Some(changes) = eviction.changes.listener() {
            match evicted {
                Evicted::Key => changes.evicted(db, self.candidates.removed_key(), self.evicted_by),
                _ => changes.expired(db, self.candidates.removed_key(), self.expired_by),
            }
            if eviction.shared.pubsub.tracking.is_on() {
                invalidate(
                    eviction.shared,
                    eviction.leases,
                    self.candidates.removed_key(),
                    0,
                    eviction.effects,
                );
            }
            notify(changes, eviction.shared, self.notified, usize::MAX, eviction.effects);
            // Its lease was not held when the group drew its ticket.
            eviction.journal.publish(&eviction.shared.journal);
            hand_over(changes, eviction.shared, eviction.journal, Bracket::None);
            eviction.journal.publish(&eviction.shared.journal);
        }
    }

    /// Frees what flushed databases left behind, until memory is below the limit or the time is up.
    fn free_flushed(&mut self, eviction: &mut EvictionContext<'_>) -> Verdict {
        let mut wanted = WantedMask::NONE;
        let start = eviction.clock.ticks();
        for id in eviction.shared.keyspace.shards() {
            if eviction.shared.stats.gauges.flushed_shards() == 0 || !self.is_over(eviction) {
                break;
            }
            let mark = eviction.leases.mark();
            if !eviction.leases.try_take(id) {
                continue;
            }
            let mut done = !eviction.leases.shard_ref(id).has_discarded();
            let mut in_time = true;
            while !done && in_time {
                done = eviction.leases.shard(id).free_discarded(FREED_PER_LOOK);
                in_time = eviction.clock.ns_between(start, eviction.clock.ticks()) <= self.time_ns_max;
            }
            eviction.note(id, eviction.leases.shard_ref(id));
            wanted.add(eviction.leases.release_back_to(mark));
            if !in_time {
                break;
            }
        }
        if !wanted.is_empty() {
            eviction.effects.push(Effect::Wake(wanted));
        }
        match self.is_over(eviction) {
            false => Verdict::Fits,
            true if eviction.shared.stats.gauges.flushed_shards() > 0 => Verdict::Behind,
            true => Verdict::Full,
        }
    }
}

impl<I: Io> Worker<I> {
    /// Notes what the group's commands have written, while its leases are held. If memory is over the limit now, cron
    /// evicts in this turn.
    #[cold]
    pub(super) fn note_group(&mut self) {
        let (memory, eviction) = self.eviction_context();
        memory.note_written(&eviction);
        memory.behind = memory.policy.is_some() && memory.is_over(&eviction);
    }

    /// Evicts if memory is over the limit; whether there is more to evict.
    pub(super) fn cron_memory(&mut self) -> bool {
        self.memory.behind = false;
        if !self.memory.is_limited()
            || !self.memory.evicts
            || self.shared.pause.active(self.clock.now_ms()).is_some()
        {
            return false;
        }
        if self.memory.policy.is_none() {
            let (memory, eviction) = self.eviction_context();
            let over = memory.is_over(&eviction);
            self.shared.stats.gauges.over_limit.note(over, self.clock.unix_us());
            return false;
        }
        let (memory, mut eviction) = self.eviction_context();
        let verdict = memory.evict(&mut eviction);
        self.act();
        self.memory.behind = verdict == Verdict::Behind;
        self.memory.behind
    }

    /// Takes up the limit from the configuration. The home shards are noted anew, so that the limit applies at once.
    pub(super) fn follow_memory(&mut self) {
        self.memory.follow(self.config.config(), &self.shared);
        if !self.memory.is_limited() {
            self.shared.stats.gauges.over_limit.note(false, self.clock.unix_us());
            return;
        }
        let mut wanted = WantedMask::NONE;
        for id in self.shared.keyspace.home_shards(self.number) {
            let mark = self.execution.leases.mark();
            if self.execution.leases.try_take(id) {
                let shard_count = self.shared.keyspace.shard_count();
                let (gauges, worker) = (&self.shared.stats.gauges, self.shared.stats.of(self.number));
                gauges.note_memory(worker, id, shard_count, self.execution.leases.shard_ref(id));
                wanted.add(self.execution.leases.release_back_to(mark));
            }
        }
        self.inbox.wake_wanting(wanted);
    }

    /// As `Memory::admit`, for a command that waited for its keys and is about to run again.
    pub(super) fn admit_again(&mut self, flags: Flags, hashes: &[u64]) -> bool {
        if !flags.has(self.memory.watched()) {
            return true;
        }
        let (memory, mut eviction) = self.eviction_context();
        memory.admit(flags, Scope::Keys, hashes, &mut eviction)
    }

    fn eviction_context(&mut self) -> (&mut Memory, EvictionContext<'_>) {
        let eviction = EvictionContext {
            leases: &mut self.execution.leases,
            shared: &self.shared,
            stats: self.shared.stats.of(self.number),
            clock: &self.clock,
            rng: &mut self.execution.rng,
            effects: &mut self.execution.effects,
            changes: &mut self.execution.changes,
            journal: &mut self.execution.journal,
        };
        (&mut self.memory, eviction)
    }
}

/// Counts the commands of all workers that may have made a key to evict.
fn writes(shared: &Shared) -> u64 {
    shared.stats.all().iter().map(|worker| worker.limited_writes.read()).sum()
}

/// The policy that the configuration names; none for noeviction.
fn policy(config: &Config) -> Option<Policy> {
    use MaxmemoryPolicy as Word;
    let frequencies = Frequencies { log_factor: config.lfu_log_factor, decay_minutes: config.lfu_decay_time };
    let (volatile, rank) = match config.maxmemory_policy {
        Word::Noeviction => return None,
        Word::VolatileLru => (true, Rank::Idle),
        Word::VolatileLfu => (true, Rank::Frequency(frequencies)),
        Word::VolatileTtl => (true, Rank::Deadline),
        Word::VolatileRandom => (true, Rank::Random),
        Word::AllkeysLru => (false, Rank::Idle),
        Word::AllkeysLfu => (false, Rank::Frequency(frequencies)),
        Word::AllkeysRandom => (false, Rank::Random),
    };
    Some(Policy { volatile, rank, samples: config.maxmemory_samples as usize })
}

/// The time that one go may take, as in Redis.
fn time_ns_max(tenacity: u32) -> u64 {
    match tenacity {
        ..=TENACITY_LINEAR_MAX => u64::from(tenacity) * TENACITY_NS,
        TENACITY_ENDLESS.. => u64::MAX,
        _ => {
            let linear = (u64::from(TENACITY_LINEAR_MAX) * TENACITY_NS) as f64;
            (linear * TENACITY_GROWTH.powi((tenacity - TENACITY_LINEAR_MAX) as i32)) as u64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Enumerated as _;

    #[test]
    fn every_policy_but_one_evicts() {
        let mut volatile = 0;
        for word in MaxmemoryPolicy::VALUES {
            let config = Config { maxmemory_policy: *word, ..Config::default() };
            let found = policy(&config);
            assert_eq!(found.is_none(), *word == MaxmemoryPolicy::Noeviction);
            assert!(found.is_none_or(|found| found.samples == 5));
            volatile += u32::from(found.is_some_and(|found| found.volatile));
        }
        assert_eq!(volatile, 4);
    }

    #[test]
    fn tenacity_gives_time() {
        assert_eq!([0, 1, 10].map(time_ns_max), [0, 50_000, 500_000]);
        assert_eq!(time_ns_max(11) / 1000, 575);
        assert!(time_ns_max(90) > time_ns_max(89));
        assert_eq!(time_ns_max(100), u64::MAX);
    }
}
