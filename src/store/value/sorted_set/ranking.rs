//! A large sorted set: a tree of its members in order, and a table of them by their bytes.
//!
//! Design: both lead to the same blocks (`member`), each of which holds score and bytes. The table is the keyspace's own; its
//! hashes are those of keys. A change of a score takes the member out of the tree and puts it in again; its block stays.
//!
//! Invariants: tree and table hold the same members, and no two have the same bytes.
//!
//! Costs: for a member of 16 bytes its block of 32, some 10 bytes of the table, some 10 of the tree.
//!
//! Not here: small sorted sets (`pack`); what commands see (`super`).
#![expect(unsafe_code, reason = "owns the members' blocks")]

use super::member::{Member, allocated, key_of};
use super::tree::Tree;
use crate::store::fetch::PrefetchHint;
use crate::store::hash::KeyHasher;
use crate::store::table::{Item, Items, NEVER, Place, Table, Tick, prefetch};
use crate::store::value::external::Large;

/// Bytes of the table that are as good as one piece when it is freed.
const TABLE_PIECE_BYTES: u64 = 4096;
/// Items of the table that are as good as one piece.
const TABLE_PIECE_ITEMS: usize = 512;

/// A large sorted set.
pub struct Ranking {
    tree: Tree,
    table: Table,
    hasher: KeyHasher,
    member_bytes: usize,
}

/// Tells the table about members.
struct Members<'a>(&'a KeyHasher);

impl Items for Members<'_> {
    #[inline]
    fn hash(&self, item: Item) -> u64 {
        self.0.hash(Member::of_item(item).bytes())
    }

    #[inline]
    fn due(&self, _: Item) -> Tick {
        NEVER
    }
}

/// A member that was found by its bytes; valid until the next change.
#[derive(Clone, Copy)]
pub(super) struct Found {
    place: Place,
    hash: u64,
    member: Member,
}

impl Found {
    pub fn score(&self) -> f64 {
        self.member.score()
    }
}

impl Ranking {
    /// A sorted set of members that come in order, no two alike.
    pub(super) fn from_sorted<'a>(
        hasher: KeyHasher,
        members: impl Iterator<Item = (&'a [u8], f64)>,
    ) -> Ranking {
        let (mut table, mut member_bytes) = (Table::new(), 0);
        let tree = Tree::from_sorted(members.map(|(bytes, score)| {
            let member = Member::alloc(score, bytes);
            member_bytes += allocated(bytes.len());
            table.insert(hasher.hash(bytes), member.item(), NEVER, &Members(&hasher));
            member
        }));
        Ranking { tree, table, hasher, member_bytes }
    }

    /// The number of members.
    #[inline]
    pub fn len(&self) -> usize {
        self.tree.len()
    }

    pub(super) fn tree(&self) -> &Tree {
        &self.tree
    }

    pub(super) fn find(&self, bytes: &[u8]) -> Option<Found> {
        let hash = self.hasher.hash(bytes);
        let (place, item) = self.table.find(hash, |item| Member::of_item(item).bytes() == bytes)?;
        Some(Found { place, hash, member: Member::of_item(item) })
    }

    /// The score of a member.
    pub fn score(&self, bytes: &[u8]) -> Option<f64> {
        self.find(bytes).map(|found| found.score())
    }

    /// How many members come before this one, and its score.
    pub(super) fn rank(&self, bytes: &[u8]) -> Option<(usize, f64)> {
        let score = self.find(bytes)?.score();
        Some((self.tree.rank_of(key_of(score), bytes), score))
    }

    /// Visits some members from a position on, in no order that means anything; where to go on, or none at the end.
    pub(super) fn scan(&self, position: u64, mut visit: impl FnMut(&[u8], f64)) -> Option<u64> {
        self.table.scan_step(position, &Members(&self.hasher), |item| {
            let member = Member::of_item(item);
            visit(member.bytes(), member.score());
        })
    }

    /// Adds a member that is not here.
    pub(super) fn add(&mut self, bytes: &[u8], score: f64) {
        let member = Member::alloc(score, bytes);
        self.member_bytes += allocated(bytes.len());
        self.table.insert(self.hasher.hash(bytes), member.item(), NEVER, &Members(&self.hasher));
        self.tree.insert(member);
    }

    /// Gives a member another score.
    pub(super) fn set_score(&mut self, found: Found, score: f64) {
        self.tree.remove(found.member);
        found.member.set_score(score);
        self.tree.insert(found.member);
    }

    /// Removes a member.
    pub(super) fn remove(&mut self, found: Found) {
        self.tree.remove(found.member);
        self.table.remove(found.place, found.hash);
        self.table.shrink(found.hash, &Members(&self.hasher));
        // SAFETY: it is out of the tree and the table.
        self.member_bytes -= unsafe { found.member.free() };
    }

    /// Removes the members with ranks from `from` to `to`.
    pub(super) fn remove_range(&mut self, from: usize, to: usize) {
        let Ranking { tree, table, hasher, member_bytes } = self;
        tree.remove_range(from, to, |member| {
            let hash = hasher.hash(member.bytes());
            let found = table.find(hash, |item| item == member.item());
            let (place, _) = found.expect("the table holds what the tree holds");
            table.remove(place, hash);
            table.shrink(hash, &Members(hasher));
            // SAFETY: it is out of the table, and its leaf will not look at it any more.
            *member_bytes -= unsafe { member.free() };
        });
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        self.tree.check_invariants();
        self.table.check_invariants(&Members(&self.hasher));
        assert_eq!(self.table.len(), self.tree.len() as u64);
        let mut bytes = 0;
        for rank in 0..self.len() {
            let member = self.tree.by_rank(rank).expect("it is below the count");
            let found = self.find(member.bytes()).expect("the table holds what the tree holds");
            assert_eq!(found.member, member);
            assert_eq!(self.tree.rank_of(member.key(), member.bytes()), rank);
            bytes += allocated(member.bytes().len());
        }
        assert_eq!(bytes, self.member_bytes);
    }

    fn free_leaf(&mut self) -> bool {
        let member_bytes = &mut self.member_bytes;
        self.tree.pop_leaf(|member| {
            // SAFETY: it leaves the tree, and whoever frees a sorted set asks the table for nothing any more.
            *member_bytes -= unsafe { member.free() };
        })
    }
}

impl Clone for Ranking {
    fn clone(&self) -> Ranking {
        let members = (0..self.len()).map(|rank| {
            let member = self.tree.by_rank(rank).expect("it is below the count");
            (member.bytes(), member.score())
        });
        Ranking::from_sorted(self.hasher.clone(), members)
    }
}

impl Drop for Ranking {
    fn drop(&mut self) {
        while self.free_leaf() {}
    }
}

impl std::fmt::Debug for Ranking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ranking").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Large for Ranking {
    #[inline]
    fn allocated(&self) -> u64 {
        (size_of::<Ranking>() + self.tree.allocated() + self.member_bytes) as u64 + self.table.bytes()
    }

    fn pieces(&self) -> usize {
        let leaves = if self.len() > 0 { self.tree.leaf_count() } else { 0 };
        leaves + (self.table.bytes() / TABLE_PIECE_BYTES) as usize
    }

    fn free_pieces(&mut self, budget: usize) -> bool {
        for spent in 0..budget {
            if !self.free_leaf() {
                return self.table.drain((budget - spent).saturating_mul(TABLE_PIECE_ITEMS), |_| ());
            }
        }
        false
    }

    #[inline]
    fn fetch(&self, step: usize, _: PrefetchHint) {
        if step == 0 {
            prefetch((&raw const *self).cast());
        }
    }
}
