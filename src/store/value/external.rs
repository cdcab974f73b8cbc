//! What lies outside of its entry: large strings, and the large form of every other type.
//!
//! Design: one contract for all of them (`Large`), and a closed enum that dispatches to it. Heap, guard, lazy free, COPY,
//! defragmentation and fetching ahead know `External`, and no type. A new type adds its variant and its line in `each`.
//!
//! A snapshot does not copy a large value but has it together with its entry (`Shared`); before it is changed the entry owns it
//! again (`own`).
//!
//! Not here: what commands see of a value, wherever it lies (`view`).
#![expect(unsafe_code, reason = "says that values may be read by several threads")]

use std::sync::Arc;

use bytes::Bytes;

use super::stream::Stream;
use super::{Deque, Dict, Ranking};
use crate::store::fetch::PrefetchHint;

/// A value of more pieces than this is freed in slices.
const PIECES_FREED_AT_ONCE_MAX: usize = 64;

/// What every large value does for those who do not know its type. Copying is `Clone`.
pub trait Large {
    /// Bytes allocated for all of it. O(1).
    fn allocated(&self) -> u64;

    /// How many pieces, of a few KiB at most, freeing it takes. O(1).
    fn pieces(&self) -> usize;

    /// Frees about so many pieces; true when none is left. What is left is of no use but to be freed.
    fn free_pieces(&mut self, budget: usize) -> bool;

    /// Before this nothing inside of it expires; none where nothing ever does.
    fn due(&self) -> Option<u64> {
        None
    }

    /// Removes about `budget` pieces of it that have expired, after showing what each is called.
    fn expire(&mut self, _now_ms: u64, _budget: usize, _on_removed: &mut dyn FnMut(&[u8])) -> Expiry {
        Expiry { is_emptied: false, due: None }
    }

    /// Brings what a command uses of it close to the processor: first itself, then what that leads to. Between two steps
    /// of one value those of others are taken, so that their cache misses overlap.
    fn fetch(&self, step: usize, prefetch_hint: PrefetchHint);
}

/// Steps of `Large::fetch`.
pub const FETCH_STEPS: usize = 3;

/// What became of a value in which something expired.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Whether nothing is left of it.
    pub is_emptied: bool,
    /// When it has to be looked at again.
    pub due: Option<u64>,
}

/// A large string.
#[derive(Clone, Debug, Default)]
pub struct Blob {
    pub bytes: Bytes,
    /// What was allocated for it: at least its length.
    pub allocated: u64,
}

impl Large for Blob {
    fn allocated(&self) -> u64 {
        self.allocated
    }

    fn pieces(&self) -> usize {
        1
    }

    fn free_pieces(&mut self, _: usize) -> bool {
        self.bytes = Bytes::new();
        true
    }

    fn fetch(&self, _: usize, _: PrefetchHint) {}
}

/// A large value, which its entry owns.
#[derive(Clone, Debug)]
pub enum External {
    Blob(Blob),
    List(Box<Deque>),
    Set(Box<Dict>),
    Stream(Box<Stream>),
    SortedSet(Box<Ranking>),
    Hash(Box<Dict>),
    /// One of the others, which a snapshot has too. Nobody meets it but who takes it out of an entry as a whole.
    Shared(Arc<SharedValue>),
}

/// A large value that an entry and a snapshot have together: nobody changes it.
#[derive(Debug)]
pub struct SharedValue(External);

// SAFETY: values own what they point to, and any thread may free it.
unsafe impl Send for SharedValue {}
// SAFETY: a value that is only read is not changed by that: workers read them under shared leases.
unsafe impl Sync for SharedValue {}

impl SharedValue {
    /// The value.
    #[inline]
    pub fn value(&self) -> &External {
        &self.0
    }

    /// Whether nobody else has it any more.
    pub fn is_last(self: &Arc<Self>) -> bool {
        Arc::strong_count(self) == 1
    }
}

/// Evaluates an expression of the large value, whichever type it has.
macro_rules! each {
    ($external:expr, $value:ident => $result:expr) => {
        match $external {
            External::Blob($value) => $result,
            External::List($value) => $result,
            External::Set($value) => $result,
            External::Stream($value) => $result,
            External::SortedSet($value) => $result,
            External::Hash($value) => $result,
            External::Shared(shared) => {
                let $value = &shared.0;
                $result
            }
        }
    };
}

/// As `each`, of a value that is about to be changed: it is not shared.
macro_rules! each_own {
    ($external:expr, $value:ident => $result:expr) => {
        match $external {
            External::Blob($value) => $result,
            External::List($value) => $result,
            External::Set($value) => $result,
            External::Stream($value) => $result,
            External::SortedSet($value) => $result,
            External::Hash($value) => $result,
            External::Shared(_) => unreachable!("a value is owned before it is changed"),
        }
    };
}

impl External {
    /// The value, to be had by several.
    #[cold]
    pub fn into_shared(self) -> Arc<SharedValue> {
        match self {
            External::Shared(shared) => shared,
            own => Arc::new(SharedValue(own)),
        }
    }

    /// The value itself, for whoever is the last to have it; none while others have it, who free it then.
    #[inline]
    pub fn into_own(self) -> Option<External> {
        match self {
            External::Shared(shared) => Arc::into_inner(shared).map(|shared| shared.0),
            own => Some(own),
        }
    }

    /// Makes the value nobody else's: a copy, while others have it. Bytes allocated before and after.
    #[inline]
    pub fn own(&mut self) -> (u64, u64) {
        if let External::Shared(_) = self { self.own_shared() } else { (0, 0) }
    }

    #[cold]
    fn own_shared(&mut self) -> (u64, u64) {
        let External::Shared(shared) = std::mem::replace(self, External::Blob(Blob::default())) else {
            unreachable!("the caller has looked");
        };
        let before = shared.value().allocated();
        *self = match Arc::try_unwrap(shared) {
            Ok(shared) => shared.0,
            Err(shared) => shared.value().clone(),
        };
        (before, self.allocated())
    }

    /// Bytes allocated for it.
    #[inline]
    pub fn allocated(&self) -> u64 {
        each!(self, value => value.allocated())
    }

    /// Before this nothing inside of it expires.
    #[inline]
    pub fn due(&self) -> Option<u64> {
        each!(self, value => value.due())
    }

    /// Removes about so many pieces that have expired.
    pub fn expire(&mut self, now_ms: u64, budget: usize, on_removed: &mut dyn FnMut(&[u8])) -> Expiry {
        each_own!(self, value => value.expire(now_ms, budget, on_removed))
    }

    /// Whether it is freed at once, rather than in slices.
    pub fn is_freed_at_once(&self) -> bool {
        self.pieces() <= PIECES_FREED_AT_ONCE_MAX
    }

    fn pieces(&self) -> usize {
        each!(self, value => value.pieces())
    }

    /// Frees about so many pieces: how many there were, and whether none is left.
    pub fn free_pieces(&mut self, budget: usize) -> (usize, bool) {
        each_own!(self, value => (value.pieces(), value.free_pieces(budget)))
    }

    /// Takes one step of bringing it close to the processor.
    #[inline]
    pub fn fetch(&self, step: usize, prefetch_hint: PrefetchHint) {
        each!(self, value => value.fetch(step, prefetch_hint));
    }
}
