//! A sorted set that is made as a whole, outside of any shard: loaded, or the result of a command.
//!
//! Design: members are gathered in one piece of memory and put in order once, so that tree and pack are written front to back.
//! Where the same member may come several times, an index of open addressing finds it.

use super::super::limits::PackLimits;
use super::member::key_of;

/// In the index: nothing.
const EMPTY: u32 = u32::MAX;
const INDEX_LEN_MIN: usize = 64;

/// The members of a sorted set, in any order, no two alike.
#[derive(Default)]
pub struct NewSortedSet {
    bytes: Vec<u8>,
    members: Vec<NewMember>,
    longest: usize,
    /// Places of members, by their hashes; empty until members are merged.
    index: Vec<u32>,
}

struct NewMember {
    score: f64,
    start: usize,
    len: usize,
    hash: u64,
}

impl NewSortedSet {
    /// A sorted set without members, which cannot be stored.
    pub fn new() -> NewSortedSet {
        NewSortedSet::default()
    }

    /// Adds a member, which is not there yet, with a score that is not NaN.
    pub fn add(&mut self, member: &[u8], score: f64) {
        self.add_hashed(member, score, 0);
    }

    fn add_hashed(&mut self, member: &[u8], score: f64, hash: u64) {
        assert!(!score.is_nan(), "scores are never NaN");
        let start = self.bytes.len();
        self.bytes.extend_from_slice(member);
        self.members.push(NewMember { score, start, len: member.len(), hash });
        self.longest = self.longest.max(member.len());
    }

    /// Adds a member, or gives one that is there the score that `join` makes of its own and this one. All members are added so, or
    /// none. `hash` is the member's.
    pub fn merge(&mut self, hash: u64, member: &[u8], score: f64, join: impl FnOnce(f64, f64) -> f64) {
        if 2 * (self.members.len() + 1) > self.index.len() {
            self.grow_index();
        }
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        while self.index[at] != EMPTY {
            let known = &mut self.members[self.index[at] as usize];
            if known.hash == hash && self.bytes[known.start..known.start + known.len] == *member {
                known.score = join(known.score, score);
                assert!(!known.score.is_nan(), "scores are never NaN");
                return;
            }
            at = (at + 1) & mask;
        }
        self.index[at] = u32::try_from(self.members.len()).expect("fewer than 2^32 members fit memory here");
        self.add_hashed(member, score, hash);
    }

    fn grow_index(&mut self) {
        let len = (2 * self.index.len()).max(INDEX_LEN_MIN);
        self.index.clear();
        self.index.resize(len, EMPTY);
        for (place, member) in self.members.iter().enumerate() {
            let mut at = member.hash as usize & (len - 1);
            while self.index[at] != EMPTY {
                at = (at + 1) & (len - 1);
            }
            self.index[at] = place as u32;
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Puts the members in order, once all are there.
    pub fn sort(&mut self) {
        let NewSortedSet { bytes, members, .. } = self;
        let text = |member: &NewMember| &bytes[member.start..member.start + member.len];
        let compare = |a: &NewMember, b: &NewMember| {
            key_of(a.score).cmp(&key_of(b.score)).then_with(|| text(a).cmp(text(b)))
        };
        if !members.is_sorted_by(|a, b| compare(a, b).is_lt()) {
            members.sort_unstable_by(compare);
        }
        self.index = Vec::new();
    }

    /// The members with their scores, in order once they were sorted.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&[u8], f64)> + ExactSizeIterator {
        let text = |member: &NewMember| &self.bytes[member.start..member.start + member.len];
        self.members.iter().map(move |member| (text(member), member.score))
    }

    /// Whether it is small enough for a pack.
    pub(super) fn packs(&self, limits: PackLimits) -> bool {
        self.len() as u64 <= limits.entries_max && self.longest as u64 <= limits.value_bytes_max
    }

    /// Whether two members are alike, which whoever loads one must ask.
    pub fn has_duplicates(&self) -> bool {
        let mut seen = std::collections::HashSet::with_capacity(self.len());
        !self.iter().all(|(member, _)| seen.insert(member))
    }
}
