//! What a handler may touch: its client's session, its keys' shards, and what all workers share.
//!
//! Design: a context exists only while the leases that the command's row asks for are held; the keyspace is reached through
//! it alone, so a handler is plain sequential code with `&mut` access. It never waits. What must happen outside the
//! keyspace afterwards (ending another client, waking paused ones) is left as an [`Effect`] for the worker.

use std::sync::Arc;

use super::notify::notify;
use super::recorder::hand_over;
use super::{Args, Bracket, CommandError, Flags, Queue, Row, Scripting, Session, Shared, Undo};
use crate::config::Config;
use crate::observe::{ClientPlace, WaitId, WorkerStats};
use crate::persist::journal::Writer;
use crate::pubsub::{Invalidation, PublishedMessage, RightsLost, SubscriptionKind, Subscriptions};
use crate::replicate::Primary;
use crate::store::eviction::{FREQUENCY_NEW, Frequencies, Use, frequency_clock, minutes};
use crate::store::stream::IidLimits;
use crate::store::{
    AccessClock, Changes, DbIndex, Deletion, Entry, Event, FETCH_GROUP_KEYS, KeyHasher, KeyMut, Leases,
    Limits, ListLimits, NodeLimits, PackLimits, Shard, ShardId, Sight, Str, Touch, Type, Typed, WantedMask,
    Words,
};

/// Keys of one command that are brought close to the processor before it runs; [`Context::fetch_ahead`] does the others.
pub const KEYS_FETCHED_MAX: usize = 32;

const _: () = assert!(KEYS_FETCHED_MAX.is_multiple_of(FETCH_GROUP_KEYS));

/// How a wait was ended by somebody else, which its client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unblocking {
    /// As if its time were up.
    Timeout,
    /// By CLIENT UNBLOCK, as an error.
    Asked,
    /// This server follows a primary from now on; the connection is closed.
    RoleChanged,
}

/// Something for the worker to do once the command's leases are given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End this client; its client info is marked.
    Kill(ClientPlace),
    /// Tell this client, whose wait was ended, what became of it.
    Unblock {
        /// Where it lives.
        place: ClientPlace,
        /// Which wait.
        wait_id: WaitId,
        /// What became of it.
        how: Unblocking,
    },
    /// This primary is to be followed, in the role of this number.
    Follow(u64, Primary),
    /// Free memory goes back to the system, that of every worker.
    Purge,
    /// Let clients go on that a pause held back.
    Resume,
    /// The configuration has changed: every worker looks at once.
    ConfigChanged,
    /// This client now receives the MONITOR feed (or no longer does).
    Monitor(ClientPlace, bool),
    /// A warning for the log.
    Warn(String),
    /// A line of the MONITOR feed, for all workers' monitors but one that it is shown to already.
    Show {
        /// The whole line.
        line: Vec<u8>,
        /// Who has it.
        shown_to: Option<ClientPlace>,
    },
    /// This client listens to a channel or pattern from now on, or (`on`) no more.
    Listen {
        /// Where it lives.
        place: ClientPlace,
        /// What it listens to.
        kind: SubscriptionKind,
        /// Its name.
        name: Box<[u8]>,
        /// Whether it does.
        on: bool,
    },
    /// This client listens to none of these any more.
    StopListening(ClientPlace, Box<Subscriptions>),
    /// A message goes to this worker, whose inbox has a place for it.
    Publish {
        /// The worker.
        worker: u16,
        /// The place.
        place: u64,
        /// The message.
        message: Arc<PublishedMessage>,
    },
    /// This client tracks keys from now on, or no more.
    Track(ClientPlace, bool),
    /// A key has changed that clients of this worker may have copies of; its inbox has a place for that.
    Invalidate {
        /// The worker.
        worker: u16,
        /// The place.
        place: u64,
        /// What has changed.
        what: Invalidation,
    },
    /// Clients that listen to what their user may not listen to any more are ended.
    RightsLost(Arc<RightsLost>),
    /// This client is a replica from now on.
    Followed(ClientPlace),
    /// This client, a replica, has said how far it is.
    Acknowledged(ClientPlace),
    /// The process is to end: every worker looks at once.
    Shutdown,
    /// A snapshot was cut: its thread is to be started, and every worker looks at once.
    Snapshot,
    /// Workers wait for leases that the command took and gave back.
    Wake(WantedMask),
    /// A key of this shard was evicted that somebody waits for.
    Serve(ShardId),
}

/// A handler's view of the world.
pub struct Context<'a> {
    /// The client that sent the command.
    pub session: &'a mut Session,
    /// What all workers share.
    pub shared: &'a Shared,
    /// The configuration in force during this turn.
    pub config: &'a Arc<Config>,
    /// This worker's counters.
    pub stats: &'a WorkerStats,
    /// This worker's number.
    pub worker: usize,
    /// Unix time in ms, read since the command's leases are held; 0 where no deadline is to be judged (PROTOCOL 8).
    pub now_ms: u64,
    /// The same in us, which says the time in any case.
    pub now_us: u64,
    /// What accesses leave on entries, for eviction.
    pub access_clock: AccessClock,
    /// This worker's random numbers.
    pub rng: &'a mut Rng,
    /// What to do afterwards.
    pub effects: &'a mut Vec<Effect>,
    /// Emptied queues of transactions.
    pub queues: &'a mut Vec<Queue>,
    /// The leases held.
    pub leases: &'a mut Leases,
    /// What the current unit has changed.
    pub changes: &'a mut Changes,
    /// What the current script may have to take back.
    pub undo: &'a mut Undo,
    /// The effects of the current group.
    pub journal: &'a mut Writer,
    /// What scripts are run with.
    pub scripting: &'a mut Scripting,
    /// Argument of the command's first key, and the distance to the next.
    pub key_places: (usize, usize),
}

impl<'a> Context<'a> {
    /// What the client watches is about to be forgotten. It is still registered in shards; their cron takes it out.
    pub fn leave_watch(&mut self) {
        self.stats.busy_turns.add(self.session.watch.is_some().into());
    }

    /// The current command is repeated by this one instead of as it came; if this is called again, by all of them in their
    /// order. What they say is built only if somebody listens.
    #[inline]
    pub fn repeat_as(&mut self, build: impl FnOnce(&mut Words)) {
        if let Some(changes) = self.changes.listener() {
            changes.repeat_as(build);
        }
    }

    /// Before the current command this one is repeated: what the command found and removed.
    #[inline]
    pub fn repeat_before(&mut self, build: impl FnOnce(&mut Words)) {
        if let Some(changes) = self.changes.listener() {
            changes.repeat_before(build);
        }
    }

    /// The current command is not repeated, though it has counted changes.
    #[inline]
    pub fn repeat_nothing(&mut self) {
        if let Some(changes) = self.changes.listener() {
            changes.repeat_nothing();
        }
    }

    /// The current command is repeated as it came, though it may have counted no change.
    #[inline]
    pub fn repeat_as_given(&mut self, args: &Args<'_>) {
        self.repeat_as(|words| {
            words.add_all(args.from(0));
        });
    }

    /// Something has happened to a key whose guard is gone, or that there is no guard for.
    #[inline]
    pub fn event(&mut self, event: Event, db: DbIndex, key: &[u8]) {
        if let Some(changes) = self.changes.listener() {
            changes.raise(event, db, key);
        }
    }

    /// A value of one type, if there was any, was replaced as a whole by one of another, and the guard is gone.
    #[inline]
    pub fn replaced(&mut self, before: Option<Type>, after: Type, db: DbIndex, key: &[u8]) {
        if let Some(changes) = self.changes.listener() {
            changes.replaced(before, after, db, key);
        }
    }

    /// A key was removed because its deadline had come.
    #[inline]
    pub fn expired(&mut self, db: DbIndex, key: &[u8]) {
        self.stats.counters.expired_keys.add(1);
        if let Some(changes) = self.changes.listener() {
            changes.expired(db, key, Deletion::by(self.config.lazyfree_lazy_expire));
        }
    }

    /// A command has run, and somebody listens to what it has changed.
    #[cold]
    pub fn end_command(&mut self, row: &Row, args: &Args<'_>) {
        self.changes.end_command(self.session.db, |words| {
            words.add_all(args.from(0));
        });
        if self.undo.is_on() {
            return self.keep_reads(row, args);
        }
        if self.shared.pubsub.tracking.is_on() {
            self.track(row, args);
        }
        let notified = self.config.notify_keyspace_events;
        notify(self.changes, self.shared, notified, usize::MAX, self.effects);
        if !self.session.denies_blocking {
            let each_by_itself = row.command.flags.has(Flags::TOUCHES_ARBITRARY_KEYS);
            self.end_unit(if each_by_itself { Bracket::None } else { Bracket::Several });
        }
    }

    /// All that belongs together has run, and somebody listens.
    pub fn end_unit(&mut self, bracket: Bracket) {
        hand_over(self.changes, self.shared, self.journal, bracket);
        if let Some(ticket) = self.journal.ticket() {
            self.session.written_ticket = ticket;
        }
    }

    /// What hashes the parts of large values.
    #[inline]
    pub fn hasher(&self) -> &'a KeyHasher {
        self.shared.keyspace.hasher()
    }

    /// The hash of key argument `index`: as gathered, or computed where it was not.
    #[inline]
    fn hash_of(&self, args: &Args<'_>, index: usize) -> u64 {
        match args.hashes().first() {
            Some(hash) if index == self.key_places.0 => *hash,
            _ => self.hash_of_other(args, index),
        }
    }

    fn hash_of_other(&self, args: &Args<'_>, index: usize) -> u64 {
        let (first, step) = (self.key_places.0, self.key_places.1.max(1));
        let place = index.wrapping_sub(first);
        match args.hashes().get(place / step) {
            Some(hash) if place.is_multiple_of(step) => *hash,
            _ => self.shared.keyspace.hash(args.at(index)),
        }
    }

    /// What an access leaves on its entry; nothing under CLIENT NO-TOUCH.
    #[inline]
    fn touch(&mut self) -> Touch {
        if self.session.no_touch {
            Touch::None
        } else if self.access_clock.counts_frequency() {
            self.touch_frequency()
        } else {
            Touch::Lru(self.access_clock.seconds())
        }
    }

    #[cold]
    fn touch_frequency(&mut self) -> Touch {
        Touch::Lfu(Use {
            minutes: minutes(self.now_us / 1000),
            random: self.rng.next() as u32,
            frequencies: Frequencies {
                log_factor: self.config.lfu_log_factor,
                decay_minutes: self.config.lfu_decay_time,
            },
        })
    }

    /// The access clock of an entry that is new.
    #[inline]
    pub fn fresh_clock(&self) -> u32 {
        if self.access_clock.counts_frequency() {
            frequency_clock(minutes(self.now_us / 1000), FREQUENCY_NEW)
        } else {
            self.access_clock.seconds()
        }
    }

    /// To be called by commands of many keys before each one, the first being `place` 0: brings the keys that come next
    /// close to the processor.
    #[inline]
    pub fn fetch_ahead(&mut self, args: &Args<'_>, place: usize) {
        if place.is_multiple_of(FETCH_GROUP_KEYS) && (KEYS_FETCHED_MAX..args.hashes().len()).contains(&place)
        {
            let db = self.session.db;
            let group = args.hashes()[place..].iter().take(FETCH_GROUP_KEYS);
            self.leases.fetch(group.map(|hash| (db, *hash)));
        }
    }

    /// The entry of key argument `index`, counted as a hit or a miss and touched. Expired keys are gone.
    #[inline(always)]
    pub fn read(&mut self, args: &Args<'_>, index: usize) -> Option<Entry<'_>> {
        let touch = self.touch();
        self.find(args, index, touch, true)
    }

    /// As [`Self::read`], of a key that is no argument: for commands that hold all leases.
    pub fn read_other(&mut self, key: &[u8]) -> Option<Entry<'_>> {
        let (hash, touch) = (self.shared.keyspace.hash(key), self.touch());
        self.find_key(hash, key, touch, true)
    }

    /// The entry of key argument `index` without touching it; counted as a hit or a miss.
    pub fn look(&mut self, args: &Args<'_>, index: usize) -> Option<Entry<'_>> {
        self.find(args, index, Touch::None, true)
    }

    /// The entry of key argument `index` as it lies there, also one whose deadline has come: nothing is counted.
    pub fn peek(&self, args: &Args<'_>, index: usize) -> Option<Entry<'_>> {
        let hash = self.hash_of(args, index);
        let shard = self.shared.keyspace.shard_of(hash);
        self.leases.shard_ref(shard).peek(self.session.db, hash, args.at(index))
    }

    /// As [`Self::look`], for commands about keys that tell nobody that there is none.
    pub fn look_quietly(&mut self, args: &Args<'_>, index: usize) -> Option<Entry<'_>> {
        self.find(args, index, Touch::None, false)
    }

    #[inline(always)]
    fn find(&mut self, args: &Args<'_>, index: usize, touch: Touch, tells_miss: bool) -> Option<Entry<'_>> {
        let hash = self.hash_of(args, index);
        self.find_key(hash, args.at(index), touch, tells_miss)
    }

    fn find_key(&mut self, hash: u64, key: &[u8], touch: Touch, tells_miss: bool) -> Option<Entry<'_>> {
        let (db, now_ms, shared) = (self.session.db, self.now_ms, self.shared);
        let shard = self.shared.keyspace.shard_of(hash);
        if self.leases.is_shared(shard) {
            return self.find_shared(shard, hash, key, touch, tells_miss);
        }
        let counters = &self.stats.counters;
        let stays = || {
            let stays = shared.keeps_expired(now_ms);
            counters.expired_keys.add(u64::from(!stays));
            if let Some(changes) = self.changes.listener().filter(|_| !stays) {
                changes.expired(db, key, Deletion::by(self.config.lazyfree_lazy_expire));
            }
            stays
        };
        let found = self.leases.shard(shard).read(db, hash, key, now_ms, touch, stays);
        if found.is_some() {
            counters.keyspace_hits.add(1);
        } else {
            counters.keyspace_misses.add(1);
            if let Some(changes) = self.changes.listener().filter(|_| tells_miss) {
                changes.raise(Event::KEY_MISS, db, key);
            }
        }
        found
    }

    /// As `find_key` where others may be reading the shard. A key that has expired makes the command run again.
    #[inline(never)]
    fn find_shared(
        &mut self,
        shard: ShardId,
        hash: u64,
        key: &[u8],
        touch: Touch,
        tells_miss: bool,
    ) -> Option<Entry<'_>> {
        let Self { session, shared, stats, leases, changes, now_ms, .. } = self;
        let sight = leases.shard_ref(shard).read_shared(session.db, hash, key, *now_ms, touch);
        if let Sight::Alive(entry) = sight {
            stats.counters.keyspace_hits.add(1);
            return Some(entry);
        }
        stats.counters.keyspace_misses.add(1);
        if let Some(changes) = changes.listener().filter(|_| tells_miss) {
            changes.raise(Event::KEY_MISS, session.db, key);
        }
        session.needs_exclusive |= matches!(sight, Sight::Expired) && !shared.keeps_expired(*now_ms);
        None
    }

    /// The entry of key argument `index` as [`Self::read`] has found it before, so that several are looked at together.
    pub fn read_again(&self, args: &Args<'_>, index: usize) -> Option<Entry<'_>> {
        self.peek(args, index).filter(|entry| !entry.is_expired(self.now_ms))
    }

    /// As [`Self::read`], for a string or nothing.
    #[inline]
    pub fn read_string(&mut self, args: &Args<'_>, index: usize) -> Result<Option<Str<'_>>, CommandError> {
        self.read_as(args, index)
    }

    /// The place of key argument `index`, to be changed. This touches it.
    #[inline]
    pub fn write<'k>(&'k mut self, args: &Args<'k>, index: usize) -> KeyMut<'k> {
        let db = self.session.db;
        self.write_in(db, args, index)
    }

    /// As [`Self::write`], in another database.
    #[inline]
    pub fn write_in<'k>(&'k mut self, db: DbIndex, args: &Args<'k>, index: usize) -> KeyMut<'k> {
        let hash = self.hash_of(args, index);
        let (now_ms, touch, fresh_clock) = (self.now_ms, self.touch(), self.fresh_clock());
        let shard = self.shared.keyspace.shard_of(hash);
        let key = args.at(index);
        let on_expired = || {
            self.stats.counters.expired_keys.add(1);
            if let Some(changes) = self.changes.listener() {
                changes.expired(db, key, Deletion::by(self.config.lazyfree_lazy_expire));
            }
        };
        let place = self.leases.shard(shard).write_noting(db, hash, key, now_ms, on_expired);
        place.telling(self.changes.listener()).touched(touch, fresh_clock)
    }

    /// As [`Self::write`], for a key that must hold a string or nothing.
    #[inline]
    pub fn write_string<'k>(&'k mut self, args: &Args<'k>, index: usize) -> Result<KeyMut<'k>, CommandError> {
        self.write_typed(args, index, Type::String)
    }

    /// As [`Self::read`], for a value of one type or nothing.
    #[inline]
    pub fn read_as<'s, T: Typed<'s>>(
        &'s mut self,
        args: &Args<'_>,
        index: usize,
    ) -> Result<Option<T>, CommandError> {
        match self.read(args, index) {
            None => Ok(None),
            Some(entry) if entry.ty() == T::TYPE => Ok(Some(T::of(entry))),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// As [`Self::write`], for a key that must hold a value of this type or nothing.
    #[inline]
    pub fn write_typed<'k>(
        &'k mut self,
        args: &Args<'k>,
        index: usize,
        ty: Type,
    ) -> Result<KeyMut<'k>, CommandError> {
        let place = self.write(args, index);
        match place.entry() {
            Some(entry) if entry.ty() != ty => Err(CommandError::WrongType),
            _ => Ok(place),
        }
    }

    /// Whether what only reads may change something of key argument `index` all the same, what has expired inside of it. If others
    /// may be reading its shard it may not: the command runs again then, with the shard to itself.
    pub fn may_tidy(&mut self, args: &Args<'_>, index: usize) -> bool {
        let is_shared = self.leases.is_shared(self.shard_of(args, index));
        self.session.needs_exclusive |= is_shared;
        !is_shared
    }

    /// The shard of key argument `index`.
    pub fn shard_of(&self, args: &Args<'_>, index: usize) -> ShardId {
        self.shared.keyspace.shard_of(self.hash_of(args, index))
    }

    /// Every shard, for commands whose row asks for all.
    pub fn each_shard(&mut self, mut visit: impl FnMut(&mut Shard)) {
        for shard in self.shared.keyspace.shards() {
            visit(self.leases.shard(shard));
        }
    }

    /// Up to which size values are packed.
    #[inline]
    pub fn limits(&self) -> Limits {
        limits(self.config)
    }

    /// A database number given as an argument.
    pub fn db_index(&self, text: &[u8]) -> Result<DbIndex, CommandError> {
        let number = crate::resp::number::parse_i64(text).ok_or(CommandError::NotInteger)?;
        u32::try_from(number)
            .ok()
            .filter(|db| (*db as usize) < self.shared.keyspace.databases())
            .map(DbIndex)
            .ok_or(CommandError::DbIndexOutOfRange)
    }
}

/// Up to which size values are packed under a configuration.
pub fn limits(config: &Config) -> Limits {
    let pack = |entries_max, value_bytes_max| PackLimits { entries_max, value_bytes_max };
    Limits {
        list: ListLimits::new(config.list_max_listpack_size),
        hash: pack(config.hash_max_listpack_entries, config.hash_max_listpack_value),
        set: pack(config.set_max_listpack_entries, config.set_max_listpack_value),
        intset_entries_max: config.set_max_intset_entries,
        sorted_set: pack(config.zset_max_listpack_entries, config.zset_max_listpack_value),
        stream: NodeLimits {
            bytes_max: config.stream_node_max_bytes,
            entries_max: config.stream_node_max_entries,
        },
        iids: IidLimits { duration_s: config.stream_idmp_duration, count_max: config.stream_idmp_maxsize },
    }
}

/// A worker's source of random numbers (xoshiro256++, Blackman and Vigna), seeded so that simulations repeat.
#[derive(Clone, Debug)]
pub struct Rng([u64; 4]);

impl Rng {
    /// From a seed of any quality (spread by splitmix64).
    pub fn new(mut seed: u64) -> Self {
        Self(std::array::from_fn(|_| {
            seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^ (z >> 31)
        }))
    }

    /// The next number.
    #[expect(clippy::should_implement_trait, reason = "not an iterator")]
    #[inline]
    pub fn next(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let t = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= t;
        *d = d.rotate_left(45);
        result
    }

    /// A number below `bound`, without noticeable bias.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}
