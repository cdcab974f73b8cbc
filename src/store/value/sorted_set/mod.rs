//! A sorted set as a command sees it: a pack in its entry, or a ranking.
//!
//! | file | what |
//! |---|---|
//! | `pack` | a small one: members and scores in one body |
//! | `ranking` | a large one: a tree and a table over the same members |
//! | `tree`, `inner`, `leaf` | the tree: members in order, counted |
//! | `member` | a member's block |
//! | `range` | the ends of ranges |
//! | `scored` | what the algebra takes: sorted sets and their like |
//! | `new` | one that is made as a whole: loaded, or a command's result |
//! | `change` | what may be done to a key that holds a sorted set |
//!
//! Design: one view over both forms. Ranges of all kinds become ranges of ranks, which are walked in either direction.

mod change;
mod inner;
mod leaf;
mod member;
mod new;
mod pack;
mod range;
mod ranking;
mod scored;
mod tree;

use std::ops::Range;

use super::packed::Encoded;
use super::view::{Elements, Typed, Value};
use super::{Digest, External, Item, NewItem};
use crate::resp::number::F64Buffer;
use crate::store::entry::{Entry, Type};
use leaf::Leaf;
use member::key_of;
pub use new::NewSortedSet;
pub use range::{LexBound, LexRange, ScoreBound, ScoreRange};
pub use ranking::Ranking;
pub use scored::Scored;
use tree::Tree;

/// Bytes of a pack before its body: the number of members.
const PACK_HEADER_BYTES: usize = 2;
/// Members fetched ahead of the one that is looked at.
const MEMBERS_AHEAD: usize = 6;

/// A sorted set, wherever it lies.
#[derive(Clone, Copy)]
pub enum SortedSet<'a> {
    /// Members and scores in one body, and the number of members.
    Packed(&'a [u8], usize),
    /// Tree and table.
    Ranking(&'a Ranking),
}

impl<'a> SortedSet<'a> {
    /// The number of members.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "there are no empty sorted sets")]
    pub fn len(&self) -> usize {
        match self {
            SortedSet::Packed(_, count) => *count,
            SortedSet::Ranking(ranking) => ranking.len(),
        }
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            SortedSet::Packed(body, _) => {
                pack::find(body, &Encoded::of(&NewItem::Bytes(member))).map(|(pair, _)| pair.score)
            }
            SortedSet::Ranking(ranking) => ranking.score(member),
        }
    }

    /// How many members come before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            SortedSet::Packed(body, _) => pack::find(body, &Encoded::of(&NewItem::Bytes(member)))
                .map(|(pair, index)| (index, pair.score)),
            SortedSet::Ranking(ranking) => ranking.rank(member),
        }
    }

    /// The ranks of the members with scores in a range.
    pub fn ranks_by_score(&self, range: &ScoreRange) -> Range<usize> {
        let (from, to) = match self {
            SortedSet::Packed(body, _) => {
                let (mut from, mut to) = (0, 0);
                for pair in pack::pairs(body) {
                    from += usize::from(!range.begins_by(pair.score));
                    if !range.lasts_to(pair.score) {
                        break;
                    }
                    to += 1;
                }
                (from, to)
            }
            SortedSet::Ranking(ranking) => {
                let tree = ranking.tree();
                let from = tree.count_below(key_of(range.min.score), range.min.is_exclusive);
                (from, tree.count_below(key_of(range.max.score), !range.max.is_exclusive))
            }
        };
        from..to.max(from)
    }

    /// The ranks of the members in a range of bytes. Where scores differ, which members these are depends on the end from which
    /// they are looked for, as in Redis.
    pub fn ranks_by_lex(&self, range: &LexRange<'_>, is_reverse: bool) -> Range<usize> {
        match self {
            _ if range.is_empty() => 0..0,
            SortedSet::Packed(body, count) => packed_ranks_by_lex(body, *count, range, is_reverse),
            SortedSet::Ranking(ranking) => {
                let tree = ranking.tree();
                let from = tree.count_while(|member| !range.begins_by(member.bytes()));
                from..tree.count_while(|member| range.lasts_to(member.bytes())).max(from)
            }
        }
    }

    /// The members with these ranks and their scores, from the first on or from the last on backwards.
    pub fn members(&self, ranks: Range<usize>, is_reverse: bool) -> SortedMembers<'a> {
        let end = ranks.end.min(self.len());
        let left = end.saturating_sub(ranks.start);
        let none = SortedMembers { place: Place::Packed(&[], 0), left: 0, is_reverse };
        if left == 0 {
            return none;
        }
        let place = match self {
            SortedSet::Packed(body, count) => {
                let index = if is_reverse { end } else { ranks.start };
                Place::Packed(body, pack::offset_of(body, *count, index))
            }
            SortedSet::Ranking(ranking) => {
                let rank = if is_reverse { end - 1 } else { ranks.start };
                let (leaf, at) = ranking.tree().leaf_of_rank(rank);
                Place::Tree { tree: ranking.tree(), leaf, at, rank }
            }
        };
        SortedMembers { place, left, ..none }
    }

    /// All members from the first one on whose score is within the bound below, in order, with their scores.
    pub fn members_from(&self, min: ScoreBound) -> SortedMembers<'a> {
        let none = SortedMembers { place: Place::Packed(&[], 0), left: 0, is_reverse: false };
        match self {
            SortedSet::Packed(body, _) => {
                let range = ScoreRange { min, max: ScoreBound { score: f64::INFINITY, is_exclusive: false } };
                let first = pack::pairs(body).position(|pair| range.begins_by(pair.score));
                first.map_or(none, |first| self.members(first..self.len(), false))
            }
            SortedSet::Ranking(ranking) => {
                let tree = ranking.tree();
                let Some((leaf, at, rank)) = tree.seek(key_of(min.score), min.is_exclusive) else {
                    return none;
                };
                SortedMembers { place: Place::Tree { tree, leaf, at, rank }, left: self.len() - rank, ..none }
            }
        }
    }

    /// All members, in order.
    pub fn iter(&self) -> SortedMembers<'a> {
        self.members(0..self.len(), false)
    }

    /// The member of a rank.
    pub fn by_rank(&self, rank: usize) -> Option<(Item<'a>, f64)> {
        self.members(rank..rank + 1, false).next()
    }

    /// Visits some members from a position on, each at least once when all positions are gone through that exist throughout;
    /// where to go on, or none at the end. A small one is visited at once.
    pub fn scan(&self, position: u64, mut visit: impl FnMut(&[u8], f64)) -> Option<u64> {
        match self {
            SortedSet::Packed(body, _) => {
                let mut digits = itoa::Buffer::new();
                pack::pairs(body).for_each(|pair| visit(pair.member.bytes(&mut digits), pair.score));
                None
            }
            SortedSet::Ranking(ranking) => ranking.scan(position, visit),
        }
    }
}

/// As Redis walks it: from one end to the first member that is not beyond the range's near end, and on while members are within
/// its far end.
fn packed_ranks_by_lex(body: &[u8], count: usize, range: &LexRange<'_>, is_reverse: bool) -> Range<usize> {
    let mut digits = itoa::Buffer::new();
    let outer = [pack::pair(body, 0), pack::pair_before(body, body.len())];
    let [first, last] = outer.map(|pair| pair.member.to_vec());
    if !range.begins_by(&last) || !range.lasts_to(&first) {
        return 0..0;
    }
    let mut inside = |item: Item<'_>, near: bool| {
        let bytes = item.bytes(&mut digits);
        if near == is_reverse { range.lasts_to(bytes) } else { range.begins_by(bytes) }
    };
    let all = SortedMembers {
        place: Place::Packed(body, if is_reverse { body.len() } else { 0 }),
        left: count,
        is_reverse,
    };
    let skipped = all.clone().take_while(|(item, _)| !inside(*item, true)).count();
    let taken = all.skip(skipped).take_while(|(item, _)| inside(*item, false)).count();
    if is_reverse { count - skipped - taken..count - skipped } else { skipped..skipped + taken }
}

impl<'a> Typed<'a> for SortedSet<'a> {
    const TYPE: Type = Type::SortedSet;

    #[inline]
    fn of(entry: Entry<'a>) -> SortedSet<'a> {
        assert!(entry.ty() == Type::SortedSet, "commands check the type first");
        if let Some(External::SortedSet(ranking)) = entry.external() {
            return SortedSet::Ranking(ranking);
        }
        let pack = entry.inline_value();
        let (count, body) = pack.split_first_chunk::<PACK_HEADER_BYTES>().expect("packs begin with a count");
        SortedSet::Packed(body, usize::from(u16::from_ne_bytes(*count)))
    }
}

impl Value for SortedSet<'_> {
    fn digest(&self, digest: &mut Digest) {
        let (mut digits, mut text) = (itoa::Buffer::new(), F64Buffer::new());
        for (member, score) in self.iter() {
            let mut part = Digest::default();
            part.mix(member.bytes(&mut digits));
            part.mix(text.format_digits(score));
            digest.add_digest(part);
        }
    }

    fn as_elements(&self) -> Option<&dyn Elements> {
        Some(self)
    }
}

impl Elements for SortedSet<'_> {
    fn count(&self) -> usize {
        self.len()
    }

    fn each(&self, backwards: bool, skipped: usize, count: usize, visit: &mut dyn FnMut(Item<'_>)) {
        let len = self.len();
        let skipped = skipped.min(len);
        let count = count.min(len - skipped);
        let ranks = if backwards { len - skipped - count..len - skipped } else { skipped..skipped + count };
        self.members(ranks, backwards).for_each(|(member, _)| visit(member));
    }

    fn is_ordered(&self) -> bool {
        true
    }

    fn is_unpacked_by_sort(&self) -> bool {
        matches!(self, SortedSet::Packed(..))
    }
}

/// Members of a sorted set with their scores, one after the other.
#[derive(Clone)]
pub struct SortedMembers<'a> {
    place: Place<'a>,
    left: usize,
    is_reverse: bool,
}

/// Where the next member is.
#[derive(Clone)]
enum Place<'a> {
    /// It begins at this offset, or in reverse ends there.
    Packed(&'a [u8], usize),
    Tree {
        tree: &'a Tree,
        leaf: &'a Leaf,
        at: usize,
        rank: usize,
    },
}

impl<'a> Iterator for SortedMembers<'a> {
    type Item = (Item<'a>, f64);

    #[inline]
    fn next(&mut self) -> Option<(Item<'a>, f64)> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        match &mut self.place {
            Place::Packed(body, at) => {
                let pair = if self.is_reverse { pack::pair_before(body, *at) } else { pack::pair(body, *at) };
                *at = if self.is_reverse { pair.at } else { pair.end };
                Some((pair.member, pair.score))
            }
            Place::Tree { tree, leaf, at, rank } => {
                let member = leaf.member(*at);
                if self.left > 0 {
                    let is_last = if self.is_reverse { *at == 0 } else { *at + 1 == leaf.len() };
                    if self.is_reverse {
                        *rank -= 1;
                        *at = at.wrapping_sub(1);
                    } else {
                        *rank += 1;
                        *at += 1;
                    }
                    if is_last {
                        (*leaf, *at) = tree.leaf_of_rank(*rank);
                    }
                    leaf.fetch(if self.is_reverse {
                        at.wrapping_sub(MEMBERS_AHEAD)
                    } else {
                        *at + MEMBERS_AHEAD
                    });
                }
                Some((Item::Bytes(member.bytes()), member.score()))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SortedMembers<'_> {}

#[cfg(test)]
mod tests;
