//! A value that was loaded and is outside of any shard yet: what RESTORE stores, and later what a file holds.

use super::{NewHash, NewList, NewSet, NewSortedSet, NewStream, PackLimits, View};
use crate::store::entry::Type;
use crate::store::key_mut::{Deadline, KeyMut, NewString};

/// A value of any type.
pub enum NewValue<'a> {
    String(NewString<'a>),
    List(NewList),
    Set(NewSet),
    Stream(NewStream),
    /// With the limits up to which it is packed.
    SortedSet(NewSortedSet, PackLimits),
    Hash(NewHash, PackLimits),
}

impl NewValue<'_> {
    /// Its type.
    pub fn ty(&self) -> Type {
        match self {
            Self::String(_) => Type::String,
            Self::List(_) => Type::List,
            Self::Set(_) => Type::Set,
            Self::Stream(_) => Type::Stream,
            Self::SortedSet(..) => Type::SortedSet,
            Self::Hash(..) => Type::Hash,
        }
    }
}

impl KeyMut<'_> {
    /// Makes a small value a large one, if SORT does that to its type. It stays what it is: this is no change.
    pub fn unpack_for_sort(&mut self) {
        if let Some(View::SortedSet(_)) = self.entry().map(View::of) {
            self.recode(Self::unpack_sorted_set);
        }
    }

    /// Stores a value that was loaded in the place of whatever the key held.
    pub fn set_new(&mut self, value: NewValue<'_>, deadline: Deadline) {
        match value {
            NewValue::String(text) => return self.set_string(text, deadline),
            NewValue::List(list) => self.set_list(list),
            NewValue::Set(set) => self.set_set(set),
            NewValue::Stream(new) => self.set_stream(new.stream),
            NewValue::SortedSet(new, limits) => self.set_sorted_set(&new, limits),
            NewValue::Hash(hash, limits) => self.set_hash(&hash, limits),
        }
        match deadline {
            Deadline::Keep => {}
            Deadline::None => self.set_deadline(None),
            Deadline::At(deadline_ms) => self.set_deadline(Some(deadline_ms)),
        }
    }
}
