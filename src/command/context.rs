//! What a handler may touch: its client's session, its keys' shards, and what all workers share.
//!
//! Design: a context exists only while the leases that the command's row asks for are held; the keyspace is reached through
//! it alone, so a handler is plain sequential code with `&mut` access. It never waits. What must happen outside the
//! keyspace afterwards (ending another client, waking paused ones) is left as an [`Effect`] for the worker.

use std::sync::Arc;

use super::{Args, CommandError, Queue, Session, Shared};
use crate::config::Config;
use crate::observe::{ClientPlace, Ticket, WorkerStats};
use crate::store::eviction::{FREQUENCY_NEW, Frequencies, Use, frequency_clock, minutes};
use crate::store::{
    AccessClock, DbIndex, Entry, FETCH_GROUP_KEYS, KeyMut, Leases, List, Shard, ShardId, Str, Touch, Type,
    WantedMask,
};

/// Keys of one command that are brought close to the processor before it runs; [`Context::fetch_ahead`] does the others.
pub const KEYS_FETCHED_MAX: usize = 32;

const _: () = assert!(KEYS_FETCHED_MAX.is_multiple_of(FETCH_GROUP_KEYS));

/// Something for the worker to do once the command's leases are given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// End this client; its card is marked.
    Kill(ClientPlace),
    /// Tell this client, whose wait was ended, what became of it: an error, or as if its time were up.
    Unblock {
        /// Where it lives.
        place: ClientPlace,
        /// Which wait.
        ticket: Ticket,
        /// Whether it gets an error.
        error: bool,
    },
    /// Let clients go on that a pause held back.
    Resume,
    /// The configuration has changed: every worker looks at once.
    ConfigChanged,
    /// This client now receives the MONITOR feed (or no longer does).
    Monitor(ClientPlace, bool),
    /// A line of the MONITOR feed, for all workers' monitors but one that it is shown to already.
    Show {
        /// The whole line.
        line: Vec<u8>,
        /// Who has it.
        shown_to: Option<ClientPlace>,
    },
    /// The process is to end: every worker looks at once.
    Shutdown,
    /// Workers wait for leases that the command took and gave back.
    Wake(WantedMask),
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
    /// Unix time in ms, read once a turn.
    pub now_ms: u64,
    /// The same in us.
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
    /// Argument of the command's first key, and the distance to the next.
    pub key_places: (usize, usize),
}

impl Context<'_> {
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
            minutes: minutes(self.now_ms),
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
            frequency_clock(minutes(self.now_ms), FREQUENCY_NEW)
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
    #[inline]
    pub fn read(&mut self, args: &Args<'_>, index: usize) -> Option<&Entry> {
        let touch = self.touch();
        self.find(args, index, touch)
    }

    /// As [`Self::read`], of a key that is no argument: for commands that hold all leases.
    pub fn read_other(&mut self, key: &[u8]) -> Option<&Entry> {
        let (hash, touch) = (self.shared.keyspace.hash(key), self.touch());
        self.find_key(hash, key, touch)
    }

    /// The entry of key argument `index` without touching it; counted as a hit or a miss.
    pub fn look(&mut self, args: &Args<'_>, index: usize) -> Option<&Entry> {
        self.find(args, index, Touch::None)
    }

    #[inline]
    fn find(&mut self, args: &Args<'_>, index: usize, touch: Touch) -> Option<&Entry> {
        let hash = self.hash_of(args, index);
        self.find_key(hash, args.at(index), touch)
    }

    #[inline]
    fn find_key(&mut self, hash: u64, key: &[u8], touch: Touch) -> Option<&Entry> {
        let (db, now_ms) = (self.session.db, self.now_ms);
        let shard = self.shared.keyspace.shard_of(hash);
        let found = self.leases.shard(shard).read(db, hash, key, now_ms, touch);
        let counters = &self.stats.counters;
        if found.is_some() {
            counters.keyspace_hits.add(1);
        } else {
            counters.keyspace_misses.add(1);
        }
        found
    }

    /// As [`Self::read`], for a string or nothing.
    #[inline]
    pub fn read_string(&mut self, args: &Args<'_>, index: usize) -> Result<Option<Str<'_>>, CommandError> {
        match self.read(args, index) {
            None => Ok(None),
            Some(entry) if entry.ty() == Type::String => Ok(Some(entry.string())),
            Some(_) => Err(CommandError::WrongType),
        }
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
        self.leases.shard(shard).write(db, hash, args.at(index), now_ms).touched(touch, fresh_clock)
    }

    /// As [`Self::write`], for a key that must hold a string or nothing.
    #[inline]
    pub fn write_string<'k>(&'k mut self, args: &Args<'k>, index: usize) -> Result<KeyMut<'k>, CommandError> {
        self.write_typed(args, index, Type::String)
    }

    /// As [`Self::read`], for a list or nothing.
    #[inline]
    pub fn read_list(&mut self, args: &Args<'_>, index: usize) -> Result<Option<List<'_>>, CommandError> {
        match self.read(args, index) {
            None => Ok(None),
            Some(entry) if entry.ty() == Type::List => Ok(Some(entry.list())),
            Some(_) => Err(CommandError::WrongType),
        }
    }

    /// As [`Self::write`], for a key that must hold a list or nothing.
    #[inline]
    pub fn write_list<'k>(&'k mut self, args: &Args<'k>, index: usize) -> Result<KeyMut<'k>, CommandError> {
        self.write_typed(args, index, Type::List)
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

    /// A database number given as an argument.
    pub fn db_index(&self, text: &[u8]) -> Result<DbIndex, CommandError> {
        let number = crate::resp::number::parse_i64(text).ok_or(CommandError::NotInteger)?;
        u16::try_from(number)
            .ok()
            .filter(|db| usize::from(*db) < self.shared.keyspace.databases())
            .map(DbIndex)
            .ok_or(CommandError::DbIndexOutOfRange)
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
