//! The candidates for eviction: the keys found so far that the policy can best do without.
//!
//! Design: as in Redis, a pool that outlives the eviction for which it was filled. Each eviction looks at a few keys at random and
//! keeps them if they are better than the worst that is kept; the best one goes. So what goes is the best of very many samples,
//! not of a few. Departing from Redis, a candidate is looked at again before it goes: one that was used meanwhile takes
//! the place that it has now. A candidate is known by its hash, so that a key of any length costs nothing to keep; that it is found
//! among 2^64 is as certain as the hash is good, and the key that is found under it is itself one that may go.
//!
//! Invariants: the best candidate is the last; no key is there twice.
//! Costs: 16 candidates of 24 bytes for each worker; keeping one moves some of them.
//! Not here: what makes a candidate good (`eviction`), whose lease is taken for it (`worker`).

use super::eviction::{Policy, Rank};
use super::shard::Shard;
use super::{DbIndex, ShardId};

/// Candidates kept.
const CANDIDATES_MAX: usize = 16;
/// Entries looked at for volatile ones, in one database of one shard.
const VISITED_MAX: usize = 4096;
/// How many times more are looked at when there was no volatile one among them.
const VISITED_GROWTH: usize = 8;

/// A key that may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// How well it could be done without when it was looked at; higher goes first.
    pub score: u64,
    /// Where it is.
    pub shard: ShardId,
    /// In which database.
    pub db: DbIndex,
    hash: u64,
}

/// The best candidates of one worker.
#[derive(Default)]
pub struct Candidates {
    kept: Vec<Candidate>,
    /// The key that goes; kept so that its memory is used again.
    key: Vec<u8>,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evicted {
    /// Its key was removed.
    Key,
    /// Its key was removed, and its deadline had come.
    Expired,
    /// Its key was used since it was looked at, and is a candidate like others again.
    Used,
    /// There is no such key any more, or none that the policy removes.
    Gone,
}

impl Candidates {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Forgets all of them: their scores are another policy's.
    pub fn clear(&mut self) {
        self.kept.clear();
    }

    /// Keeps a candidate if it is better than the worst, or there is room.
    pub fn offer(&mut self, candidate: Candidate) {
        let is_same = |kept: &Candidate| (kept.hash, kept.db) == (candidate.hash, candidate.db);
        if let Some(index) = self.kept.iter().position(is_same) {
            self.kept.remove(index);
        } else if self.kept.len() == CANDIDATES_MAX {
            if candidate.score <= self.kept[0].score {
                return;
            }
            self.kept.remove(0);
        }
        let index = self.kept.partition_point(|kept| kept.score < candidate.score);
        self.kept.insert(index, candidate);
    }

    /// The key that was removed last.
    pub fn removed_key(&self) -> &[u8] {
        &self.key
    }

    /// Takes the best one out.
    pub fn take_best(&mut self) -> Option<Candidate> {
        self.kept.pop()
    }
}

impl Shard {
    /// Looks at some keys of each database, neighbours from a random place on, and offers those that may go: `policy.samples` of
    /// each database if there are as many. Returns how many there were, in the database that had most. `random` gives random
    /// numbers.
    pub fn offer_candidates(
        &self,
        id: ShardId,
        policy: &Policy,
        now_ms: u64,
        candidates: &mut Candidates,
        random: &mut dyn FnMut() -> u64,
    ) -> usize {
        let mut most = 0;
        for db in self.used_dbs().filter(|db| !policy.volatile || self.expires(*db) > 0) {
            most = most.max(self.offer_of(id, db, policy, now_ms, candidates, random));
        }
        most
    }

    /// Offers keys of one database; looks further where those that may go are few.
    fn offer_of(
        &self,
        shard: ShardId,
        db: DbIndex,
        policy: &Policy,
        now_ms: u64,
        candidates: &mut Candidates,
        random: &mut dyn FnMut() -> u64,
    ) -> usize {
        let mut visited_max = policy.samples;
        loop {
            let (place, mut offered) = (random(), 0);
            self.sample(db, place, visited_max, &mut |entry| {
                if offered < policy.samples && policy.may_remove(entry) {
                    offered += 1;
                    let (score, hash) = (policy.score(entry, now_ms, random()), self.hash_of(entry));
                    candidates.offer(Candidate { score, shard, db, hash });
                }
            });
            if offered > 0 || visited_max >= VISITED_MAX || visited_max as u64 >= self.len(db) {
                return offered;
            }
            visited_max = (visited_max * VISITED_GROWTH).min(VISITED_MAX);
        }
    }

    /// Removes a candidate's key, unless it was used since. Then it is offered anew.
    pub fn evict(
        &mut self,
        candidate: Candidate,
        policy: &Policy,
        now_ms: u64,
        candidates: &mut Candidates,
    ) -> Evicted {
        let Candidate { score, db, hash, .. } = candidate;
        let Some(entry) = self.peek_hash(db, hash).filter(|entry| policy.may_remove(*entry)) else {
            return Evicted::Gone;
        };
        // Its memory would be the snapshot's, and none would be gained.
        if self.is_held_back(db, hash, entry) {
            return Evicted::Gone;
        }
        if policy.rank != Rank::Random {
            let score_now = policy.score(entry, now_ms, 0);
            if score_now < score {
                candidates.offer(Candidate { score: score_now, ..candidate });
                return Evicted::Used;
            }
        }
        candidates.key.clear();
        candidates.key.extend_from_slice(entry.key());
        if self.write(db, hash, &candidates.key, now_ms).evict() { Evicted::Key } else { Evicted::Expired }
    }

    /// Whether a policy for volatile keys, or one for all, has keys here that it may remove.
    pub fn has_evictable(&self, volatile: bool) -> bool {
        self.used_dbs().any(|db| !volatile || self.expires(db) > 0)
    }
}
