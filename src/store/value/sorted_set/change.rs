//! What may be done to a key that holds a sorted set, or is to hold one.
//!
//! Design: a sorted set begins as a pack and becomes a ranking when it outgrows the limits, for good: only what is stored as a
//! whole may be a pack again. Here a member is found, a caller decides on its score, and it is put where it belongs; what NX, GT
//! or INCR mean is the command's business.
//!
//! Invariants: a sorted set is never empty; the encoding is `Listpack` exactly if it is a pack.
//!
//! Not here: types other than sorted sets: commands check `entry().ty()` first; asking for one of another type panics.

use std::ops::Range;

use super::pack::{self, Pair};
use super::ranking::{Found, Ranking};
use super::{NewSortedSet, PACK_HEADER_BYTES, SortedSet};
use crate::resp::number::F64Buffer;
use crate::store::changes::ChangeKind;
use crate::store::entry::{Encoding, Type, Value};
use crate::store::hash::KeyHasher;
use crate::store::value::packed::Encoded;
use crate::store::value::view::Typed;
use crate::store::value::{External, NewItem, PackLimits};
use crate::store::{Entry, KeyMut};

/// The longest body that fits an inline value.
const PACKED_BODY_BYTES_MAX: usize = u16::MAX as usize - PACK_HEADER_BYTES;

/// Where so many members are removed at once, and more than stay, those that stay are put into a new ranking.
const REBUILT_FROM: usize = 1000;

/// Where a member was found.
enum Known {
    Nowhere,
    /// In a pack: where it begins and ends.
    Packed(Range<usize>),
    Ranked(Found),
}

impl KeyMut<'_> {
    /// The sorted set that the key holds, if it exists.
    #[inline]
    pub fn sorted_set(&self) -> Option<SortedSet<'_>> {
        self.entry().map(SortedSet::of)
    }

    /// Looks a member up and lets `decide` say from its score, if it has one, which one it is to have, if it is to be changed.
    /// The key is created with its first member. Returns the score before and what was decided.
    pub fn sorted_set_update(
        &mut self,
        member: &[u8],
        limits: PackLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) -> (Option<f64>, Option<f64>) {
        let (known, before) = match self.sorted_set() {
            None => (Known::Nowhere, None),
            Some(SortedSet::Packed(body, _)) => match pack::find(body, &Encoded::of(&NewItem::Bytes(member)))
            {
                None => (Known::Nowhere, None),
                Some((Pair { at, end, score, .. }, _)) => (Known::Packed(at..end), Some(score)),
            },
            Some(SortedSet::Ranking(ranking)) => match ranking.find(member) {
                None => (Known::Nowhere, None),
                Some(found) => (Known::Ranked(found), Some(found.score())),
            },
        };
        let decided = decide(before);
        match decided {
            Some(score) if before != Some(score) => {
                assert!(!score.is_nan(), "commands refuse scores that are no number");
                match known {
                    Known::Nowhere => self.add_member(member, score, limits),
                    Known::Packed(place) => {
                        self.cut_pack(place, 1);
                        self.add_member_to_pack(member, score);
                    }
                    Known::Ranked(found) => {
                        self.edit_found(member, found, |ranking, found| ranking.set_score(found, score));
                    }
                }
            }
            _ => {}
        }
        (before, decided)
    }

    /// What Redis does before it adds members: where so many would not fit a pack alone, it becomes a ranking at once, even if they
    /// are not added in the end. OBJECT ENCODING shows that; it is no change.
    pub fn sorted_set_expect(&mut self, count: usize, limits: PackLimits) {
        if count as u64 > limits.entries_max {
            self.recode(Self::unpack_sorted_set);
        }
    }

    /// Removes a member; whether it was there. With the last one goes the key.
    pub fn sorted_set_remove(&mut self, member: &[u8]) -> bool {
        match self.sorted_set() {
            None => return false,
            Some(SortedSet::Packed(body, count)) => {
                let found = pack::find(body, &Encoded::of(&NewItem::Bytes(member)));
                let Some((Pair { at, end, .. }, _)) = found else { return false };
                if count > 1 {
                    self.cut_pack(at..end, 1);
                    return true;
                }
            }
            Some(SortedSet::Ranking(ranking)) => {
                let Some(found) = ranking.find(member) else { return false };
                if ranking.len() > 1 {
                    self.edit_found(member, found, Ranking::remove);
                    return true;
                }
            }
        }
        self.remove_emptied();
        true
    }

    /// Removes the members with these ranks, which exist. With the last one goes the key.
    pub fn sorted_set_remove_range(&mut self, ranks: Range<usize>) {
        let Some(sorted_set) = self.sorted_set() else { return };
        if ranks.is_empty() {
            return;
        }
        if ranks.len() == sorted_set.len() {
            self.remove_emptied();
            return;
        }
        match sorted_set {
            SortedSet::Packed(body, count) => {
                let [from, to] = [ranks.start, ranks.end].map(|index| pack::offset_of(body, count, index));
                self.cut_pack(from..to, ranks.len());
            }
            SortedSet::Ranking(ranking) => {
                let kept = ranking.len() - ranks.len();
                if ranks.len() >= REBUILT_FROM && kept < ranks.len() {
                    // Few stay: they move, and cron frees the others in slices.
                    let all = sorted_set.len();
                    let kept = sorted_set.members(0..ranks.start, false);
                    let mut new = NewSortedSet::new();
                    let mut digits = itoa::Buffer::new();
                    for (member, score) in kept.chain(sorted_set.members(ranks.end..all, false)) {
                        new.add(member.bytes(&mut digits), score);
                    }
                    let ranking = Ranking::from_sorted(self.hasher().clone(), new.iter());
                    return self.set_ranking(ranking);
                }
                self.edit_undoable(ChangeKind::Set, |external, inverses| {
                    let ranking = ranking_of(external);
                    if let Some(inverses) = inverses {
                        inverses.add(unremoved(ranking, ranks.clone()));
                    }
                    ranking.remove_range(ranks.start, ranks.end);
                });
            }
        }
    }

    /// Stores a sorted set that was made as a whole, sorted and not empty, in the place of whatever the key held.
    pub fn set_sorted_set(&mut self, new: &NewSortedSet, limits: PackLimits) {
        assert!(!new.is_empty(), "an empty sorted set is refused or not stored");
        self.tell_overwritten(Type::SortedSet);
        let mut text = F64Buffer::new();
        if new.packs(limits) {
            let mut body = Vec::new();
            for (member, score) in new.iter() {
                append(&mut body, &NewItem::Bytes(member));
                append(&mut body, &pack::score_item(score, &mut text));
            }
            if body.len() <= PACKED_BODY_BYTES_MAX {
                let count = count_header(new.len());
                self.set_value(Type::SortedSet, Encoding::Listpack, Value::Room(&count, 0, &body));
                return;
            }
        }
        let ranking = Ranking::from_sorted(self.hasher().clone(), new.iter());
        self.set_ranking(ranking);
    }

    fn add_member(&mut self, member: &[u8], score: f64, limits: PackLimits) {
        if !matches!(self.sorted_set(), Some(SortedSet::Ranking(_))) {
            if self.has_room_for(member, score, limits) {
                return self.add_member_to_pack(member, score);
            }
            if self.entry().is_none() {
                let ranking = Ranking::from_sorted(self.hasher().clone(), std::iter::once((member, score)));
                return self.set_ranking(ranking);
            }
            self.unpack_sorted_set();
        }
        self.edit_member(member, |ranking| ranking.add(member, score));
    }

    /// Whether the pack, or one still to be made, takes a further member.
    fn has_room_for(&self, member: &[u8], score: f64, limits: PackLimits) -> bool {
        let (body_bytes, count) = match self.sorted_set() {
            Some(SortedSet::Packed(body, count)) => (body.len(), count),
            _ => (0, 0),
        };
        let within = (count as u64) < limits.entries_max && member.len() as u64 <= limits.value_bytes_max;
        within && body_bytes + pair_bytes(member, score) <= PACKED_BODY_BYTES_MAX
    }

    fn add_member_to_pack(&mut self, member: &[u8], score: f64) {
        let mut text = F64Buffer::new();
        let items = [NewItem::Bytes(member), pack::score_item(score, &mut text)];
        let encoded = [Encoded::of(&items[0]), Encoded::of(&items[1])];
        let added = encoded[0].len() + encoded[1].len();
        let (at, count) = match self.sorted_set() {
            Some(SortedSet::Packed(body, count)) => (pack::place_for(body, member, score), count),
            _ => (0, 0),
        };
        let at = PACK_HEADER_BYTES + at;
        let mut missing = added;
        if self.entry().is_none() {
            // Made as long as needed at once, without the room that growing leaves.
            let header = [0; PACK_HEADER_BYTES];
            self.set_value(Type::SortedSet, Encoding::Listpack, Value::Room(&header, added, &[]));
            missing = 0;
        }
        let pack = self.splice_pack(at, added - missing, added);
        pack[..PACK_HEADER_BYTES].copy_from_slice(&count_header(count + 1));
        let (first, second) = pack[at..at + added].split_at_mut(encoded[0].len());
        encoded[0].write(first);
        encoded[1].write(second);
    }

    /// Removes `count` pairs, which lie at these offsets; afterwards there may be none.
    fn cut_pack(&mut self, place: Range<usize>, count: usize) {
        let Some(SortedSet::Packed(_, members)) = self.sorted_set() else {
            unreachable!("the caller has seen a pack")
        };
        let pack = self.splice_pack(PACK_HEADER_BYTES + place.start, place.len(), 0);
        pack[..PACK_HEADER_BYTES].copy_from_slice(&count_header(members - count));
    }

    /// Makes a ranking of a pack.
    pub(in crate::store::value) fn unpack_sorted_set(&mut self) {
        let Some(SortedSet::Packed(body, _)) = self.sorted_set() else { return };
        let mut new = NewSortedSet::new();
        let mut digits = itoa::Buffer::new();
        pack::pairs(body).for_each(|pair| new.add(pair.member.bytes(&mut digits), pair.score));
        let ranking = Ranking::from_sorted(self.hasher().clone(), new.iter());
        self.set_ranking(ranking);
    }

    fn set_ranking(&mut self, ranking: Ranking) {
        let value = Value::External(External::SortedSet(Box::new(ranking)));
        self.set_value(Type::SortedSet, Encoding::Skiplist, value);
    }

    /// Changes a member that was found. Where a snapshot has the ranking too, a copy of it is changed, in which the member is looked
    /// up once more.
    fn edit_found(&mut self, member: &[u8], found: Found, edit: impl FnOnce(&mut Ranking, Found)) {
        let is_shared = self.entry().is_some_and(Entry::is_shared);
        self.edit_member(member, |ranking| {
            let found = match is_shared {
                true => ranking.find(member).expect("the copy has the same members"),
                false => found,
            };
            edit(ranking, found);
        });
    }

    /// Changes one member of a ranking.
    fn edit_member(&mut self, member: &[u8], edit: impl FnOnce(&mut Ranking)) {
        self.edit_undoable(ChangeKind::Set, |external, inverses| {
            let ranking = ranking_of(external);
            if let Some(inverses) = inverses {
                inverses.add(unchanged(ranking, member));
            }
            edit(ranking);
        });
    }
}

fn ranking_of(external: &mut External) -> &mut Ranking {
    match external {
        External::SortedSet(ranking) => ranking,
        _ => unreachable!("the encoding says that it is a ranking"),
    }
}

/// Undoes any change to a member.
fn unchanged(ranking: &Ranking, member: &[u8]) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let (member, before): (Box<[u8]>, _) = (member.into(), ranking.score(member));
    move |external, _| {
        let ranking = ranking_of(external);
        match (ranking.find(&member), before) {
            (Some(found), Some(score)) => ranking.set_score(found, score),
            (Some(found), None) => ranking.remove(found),
            (None, Some(score)) => ranking.add(&member, score),
            (None, None) => {}
        }
    }
}

/// Undoes removing the members with these ranks.
fn unremoved(ranking: &Ranking, ranks: Range<usize>) -> impl FnOnce(&mut External, &KeyHasher) + use<> {
    let mut removed = NewSortedSet::new();
    SortedSet::Ranking(ranking).members(ranks, false).for_each(|(member, score)| {
        removed.add(member.bytes(&mut itoa::Buffer::new()), score);
    });
    move |external, _| {
        let ranking = ranking_of(external);
        removed.iter().for_each(|(member, score)| ranking.add(member, score));
    }
}

fn count_header(count: usize) -> [u8; PACK_HEADER_BYTES] {
    u16::try_from(count).expect("a pack has at most 64 KiB, a member at least four bytes").to_ne_bytes()
}

fn pair_bytes(member: &[u8], score: f64) -> usize {
    let mut text = F64Buffer::new();
    Encoded::of(&NewItem::Bytes(member)).len() + Encoded::of(&pack::score_item(score, &mut text)).len()
}

fn append(body: &mut Vec<u8>, item: &NewItem<'_>) {
    let encoded = Encoded::of(item);
    let start = body.len();
    body.resize(start + encoded.len(), 0);
    encoded.write(&mut body[start..]);
}
