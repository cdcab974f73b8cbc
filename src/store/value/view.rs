//! A value as those see it who serve every type: DUMP, DEBUG DIGEST, DEBUG OBJECT, SORT, saving.
//!
//! Design: `View` is a closed enum over the views of the types, each of which looks alike whether the value is packed or
//! large. What all types can do is the trait `Value`, one implementation in each type's file. Commands of a type ask for
//! its view (`Typed`), and know no other.
//!
//! Not here: how values are written to files (`persist::rdb`).

use super::{Digest, Hash, Item, Limits, List, Set, SortedSet, Stream};
use crate::store::entry::{Entry, Str, Type};

/// What every type's view can do.
pub trait Value {
    /// Adds what the value is to a digest: equal values add the same, however they lie in memory.
    fn digest(&self, digest: &mut Digest);

    /// The value as elements to sort; none if it cannot be sorted.
    fn as_elements(&self) -> Option<&dyn Elements> {
        None
    }

    /// What DEBUG OBJECT tells beyond what it tells of all values, each with a space before it.
    fn report(&self, _limits: &Limits) -> String {
        String::new()
    }
}

/// The elements of a collection that SORT can put in order.
pub trait Elements {
    /// How many there are.
    fn count(&self) -> usize;

    /// Visits `count` elements in the collection's own order or against it, without the first `skipped` of these.
    fn each(&self, backwards: bool, skipped: usize, count: usize, visit: &mut dyn FnMut(Item<'_>));

    /// Whether the collection has an order of its own, which SORT with BY nosort may keep where it stores.
    fn is_ordered(&self) -> bool;

    /// Whether it is small, and Redis makes it a large one when it is sorted, which OBJECT ENCODING shows.
    fn is_unpacked_by_sort(&self) -> bool {
        false
    }
}

/// The view of one type.
pub trait Typed<'a>: Sized {
    /// The type.
    const TYPE: Type;

    /// The value of an entry of this type. Panics for others: callers check `ty` first.
    fn of(entry: Entry<'a>) -> Self;
}

/// A value of any type.
pub enum View<'a> {
    String(Str<'a>),
    List(List<'a>),
    Set(Set<'a>),
    Stream(&'a Stream),
    SortedSet(SortedSet<'a>),
    Hash(Hash<'a>),
}

impl<'a> View<'a> {
    /// The value of an entry.
    pub fn of(entry: Entry<'a>) -> View<'a> {
        match entry.ty() {
            Type::String => View::String(entry.string()),
            Type::List => View::List(List::of(entry)),
            Type::Set => View::Set(Set::of(entry)),
            Type::Stream => View::Stream(<&Stream>::of(entry)),
            Type::SortedSet => View::SortedSet(SortedSet::of(entry)),
            Type::Hash => View::Hash(Hash::of(entry)),
        }
    }

    /// What all types can do.
    pub fn as_value(&self) -> &dyn Value {
        match self {
            View::String(value) => value,
            View::List(value) => value,
            View::Set(value) => value,
            View::Stream(value) => *value,
            View::SortedSet(value) => value,
            View::Hash(value) => value,
        }
    }
}

impl<'a> Typed<'a> for Str<'a> {
    const TYPE: Type = Type::String;

    #[inline]
    fn of(entry: Entry<'a>) -> Str<'a> {
        entry.string()
    }
}

impl Value for Str<'_> {
    fn digest(&self, digest: &mut Digest) {
        match self {
            Str::Bytes(bytes) => digest.mix(bytes),
            Str::Int(number) => digest.mix(itoa::Buffer::new().format(*number).as_bytes()),
        }
    }
}
