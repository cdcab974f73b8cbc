//! How many entries were added up to an ID, as far as that can be told without counting: what groups have read, and their lag.
//!
//! Design: Redis's rules, so that the same is known and unknown. The number of entries ever added and how many there are tell
//! the position of the first entry, of the last, and of those between as long as none between was deleted; of deleted entries
//! the highest ID is known.

use super::StreamId;

/// What is known of a stream's entries, those included that are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// How many there are.
    pub length: u64,
    /// The ID of the first one there is; zero if there is none.
    pub first: StreamId,
    /// The last ID that one had.
    pub last: StreamId,
    /// The highest ID of one that was deleted, other than by trimming.
    pub max_deleted: StreamId,
    /// How many were ever added.
    pub added: u64,
}

impl History {
    /// Whether an entry after `from` may have been deleted, other than by trimming.
    fn has_gaps_after(&self, from: StreamId) -> bool {
        let any = self.length > 0 && self.max_deleted != StreamId::MIN;
        any && self.first <= self.max_deleted && from <= self.max_deleted
    }

    /// How many of the entries ever added are not after this ID, if that can be told.
    pub fn position(&self, id: StreamId) -> Option<u64> {
        if self.added == 0 {
            return Some(0);
        }
        if self.length == 0 && id <= self.last {
            return Some(self.added);
        }
        if id != StreamId::MIN && id < self.max_deleted {
            return None;
        }
        if id >= self.last {
            return (id == self.last).then_some(self.added);
        }
        let is_whole = self.max_deleted == StreamId::MIN || self.max_deleted < self.first;
        let before = self.added.checked_sub(self.length)?;
        match id.cmp(&self.first) {
            std::cmp::Ordering::Less if is_whole => Some(before),
            std::cmp::Ordering::Equal if is_whole => Some(before + 1),
            _ => None,
        }
    }

    /// How many entries a group has not read that has delivered those up to `last`, `read` of them, if that can be told.
    pub fn lag(&self, last: StreamId, read: Option<u64>) -> Option<i64> {
        if self.length == 0 {
            return Some(0);
        }
        if last < self.first && self.max_deleted < self.first {
            // None of those that there are, and none was deleted among these.
            return Some(self.length.cast_signed());
        }
        let read = match read {
            Some(read) if !self.has_gaps_after(last) => read,
            _ => self.position(last)?,
        };
        Some(self.added.wrapping_sub(read).cast_signed())
    }

    /// What such a group has read when the entry `id` is delivered, which comes after all it had.
    #[inline]
    pub fn read_count_with(&self, last: StreamId, read: Option<u64>, id: StreamId) -> Option<u64> {
        match read {
            Some(read) if last >= self.first && !self.has_gaps_after(last) => Some(read + 1),
            before if self.added == 0 => before,
            _ => self.position(id),
        }
    }
}
