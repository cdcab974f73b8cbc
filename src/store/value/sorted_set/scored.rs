//! Whatever has members with scores, for the algebra of sorted sets: sorted sets, and sets, whose members each have 1.

use super::super::view::Typed;
use super::super::{Item, Set};
use super::SortedSet;
use crate::store::entry::{Entry, Type};
use crate::store::hash::KeyHasher;

/// The score of a set's members.
const SET_SCORE: f64 = 1.0;

/// A collection whose members have scores.
#[derive(Clone, Copy)]
pub enum Scored<'a> {
    /// A key that does not exist.
    Nothing,
    SortedSet(SortedSet<'a>),
    Set(Set<'a>, &'a KeyHasher),
}

impl<'a> Scored<'a> {
    /// Whether an entry of this type is one.
    pub fn is(ty: Type) -> bool {
        matches!(ty, Type::SortedSet | Type::Set)
    }

    /// The value of an entry, or of nothing. Panics for other types: callers check before.
    pub fn of(entry: Option<Entry<'a>>, hasher: &'a KeyHasher) -> Scored<'a> {
        match entry {
            None => Scored::Nothing,
            Some(entry) if entry.ty() == Type::Set => Scored::Set(Set::of(entry), hasher),
            Some(entry) => Scored::SortedSet(SortedSet::of(entry)),
        }
    }

    /// The number of members.
    pub fn len(&self) -> usize {
        match self {
            Scored::Nothing => 0,
            Scored::SortedSet(sorted_set) => sorted_set.len(),
            Scored::Set(set, _) => set.len(),
        }
    }

    /// Whether there are no members.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Scored::Nothing => None,
            Scored::SortedSet(sorted_set) => sorted_set.score(member),
            Scored::Set(set, hasher) => set.contains(hasher, Item::Bytes(member)).then_some(SET_SCORE),
        }
    }

    /// Visits members with their scores until `visit` wants no more.
    pub fn each(&self, mut visit: impl FnMut(&[u8], f64) -> bool) {
        let mut digits = itoa::Buffer::new();
        match self {
            Scored::Nothing => {}
            Scored::SortedSet(sorted_set) => {
                sorted_set.iter().all(|(member, score)| visit(member.bytes(&mut digits), score));
            }
            Scored::Set(set, _) => {
                set.iter().all(|member| visit(member.bytes(&mut digits), SET_SCORE));
            }
        }
    }
}
