//! A node of a deque: a buffer with a body of elements that grows at both ends, or one long element.
//!
//! Design: the body lies anywhere in its buffer. What is pushed uses the room at that end; when there is none, the body is
//! moved to the other end of a buffer that is larger, if it may be. So pushing copies each byte some two times in all, and
//! taking from the ends moves nothing.
//!
//! ```text
//! buffer   | room | element element ... element | room |
//!          0    start                          end    its length
//! ```
//!
//! Invariants: `start <= end <= buffer.len()`; `count` elements lie between them.
//!
//! Not here: how long a node may be (`deque`).

use bytes::Bytes;

use super::End;
use super::packed::{self, Encoded};
use crate::store::table::prefetch;

/// The first buffer of a node that is begun anew: the node before it is full, so that as much again is little.
const BUFFER_BYTES_MIN: usize = 1024;
/// Each further buffer has room for this part more than is needed. A new buffer costs its clearing and a copy of the body; but
/// what it leaves empty counts with many short lists, and what is filled soon is still in the caches since it was cleared.
const BUFFER_GROWTH_SHARE: usize = 2;
const LINE_BYTES: usize = 64;
/// A full node gives room back if it is more than this part of it.
const SLACK_SHARE: usize = 8;

/// A piece of a deque.
#[derive(Clone, Debug)]
pub enum Node {
    /// Elements that are short.
    Listpack(Listpack),
    /// One element that is too long to lie among others.
    Long(Bytes),
}

impl Node {
    /// How many elements it has.
    #[inline]
    pub fn count(&self) -> usize {
        match self {
            Node::Listpack(body) => body.count(),
            Node::Long(_) => 1,
        }
    }

    /// Bytes allocated for it.
    #[inline]
    pub fn allocated(&self) -> usize {
        match self {
            Node::Listpack(body) => body.allocated(),
            Node::Long(bytes) => bytes.len(),
        }
    }
}

/// Elements in a buffer.
#[derive(Debug, Default)]
pub struct Listpack {
    buffer: Box<[u8]>,
    start: u32,
    end: u32,
    count: u32,
}

impl Clone for Listpack {
    fn clone(&self) -> Listpack {
        Listpack::from_bytes(self.bytes(), self.count())
    }
}

impl Listpack {
    /// A copy of a body, with no room to spare.
    pub fn from_bytes(bytes: &[u8], count: usize) -> Listpack {
        let end = u32::try_from(bytes.len())
            .expect("a body is one of at most 64 KiB, or a listpack, whose length has 32 bits");
        Listpack { buffer: bytes.into(), start: 0, end, count: count as u32 }
    }

    /// The elements.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start as usize..self.end as usize]
    }

    /// How many bytes they take.
    #[inline]
    pub fn len(&self) -> usize {
        (self.end - self.start) as usize
    }

    /// How many there are.
    #[inline]
    pub fn count(&self) -> usize {
        self.count as usize
    }

    /// Bytes allocated for it.
    #[inline]
    pub fn allocated(&self) -> usize {
        self.buffer.len()
    }

    /// Fetches what is read or written by whoever takes or adds a short element at an end.
    #[inline]
    pub fn fetch(&self, end: End) {
        let at = match end {
            End::Left => self.start,
            End::Right => self.end,
        };
        let at = self.buffer.as_ptr().wrapping_add(at as usize);
        prefetch(at.wrapping_sub(LINE_BYTES));
        prefetch(at);
    }

    /// Where element `index` begins; the body's end for the number of elements.
    pub fn offset_of(&self, index: usize) -> usize {
        packed::offset_of(self.bytes(), self.count(), index)
    }

    /// Adds an element at an end if the buffer has room there; whether it had.
    #[inline]
    pub fn extend(&mut self, end: End, element: &Encoded<'_>) -> bool {
        let (start, len) = (self.start as usize, element.len());
        let at = match end {
            End::Left if start >= len => start - len,
            End::Right if self.buffer.len() - self.end as usize >= len => self.end as usize,
            _ => return false,
        };
        element.write(&mut self.buffer[at..at + len]);
        match end {
            End::Left => self.start = at as u32,
            End::Right => self.end = (at + len) as u32,
        }
        self.count += 1;
        true
    }

    /// Puts an element in at an offset where one begins or ends. A buffer grows up to `bytes_max`, or what is needed.
    pub fn insert(&mut self, at: usize, element: &Encoded<'_>, bytes_max: usize) {
        element.write(self.splice(at, 0, element.len(), bytes_max));
        self.count += 1;
    }

    /// Puts an element in the place of another.
    pub fn replace(&mut self, at: usize, element: &Encoded<'_>, bytes_max: usize) {
        let old = packed::next(self.bytes(), at) - at;
        element.write(self.splice(at, old, element.len(), bytes_max));
    }

    /// Takes `count` elements out, which lie between the offsets.
    pub fn remove(&mut self, from: usize, to: usize, count: usize) {
        self.splice(from, to - from, 0, 0);
        self.count -= count as u32;
    }

    /// Takes out all elements from `at` on, of which it is number `index`.
    pub fn split_off(&mut self, at: usize, index: usize) -> Listpack {
        let tail = Listpack::from_bytes(&self.bytes()[at..], self.count() - index);
        self.end = self.start + at as u32;
        self.count = index as u32;
        tail
    }

    /// Adds all elements of another at the end.
    pub fn append(&mut self, other: &Listpack, bytes_max: usize) {
        let room = self.splice(self.len(), 0, other.len(), bytes_max);
        room.copy_from_slice(other.bytes());
        self.count += other.count;
    }

    /// Puts elements back at an end, without room to spare.
    pub fn extend_by(&mut self, end: End, other: &Listpack) {
        let at = if end == End::Left { 0 } else { self.len() };
        self.splice(at, 0, other.len(), 0).copy_from_slice(other.bytes());
        self.count += other.count;
    }

    /// A copy of the `count` elements at an end, fewer than there are.
    pub fn outer(&self, end: End, count: usize) -> Listpack {
        let bytes = match end {
            End::Left => &self.bytes()[..self.offset_of(count)],
            End::Right => &self.bytes()[self.offset_of(self.count() - count)..],
        };
        Listpack::from_bytes(bytes, count)
    }

    /// Removes up to `count` elements that are `wanted`, searched from an end; how many.
    pub fn remove_equal(&mut self, end: End, count: usize, wanted: &Encoded<'_>) -> usize {
        let bytes = &mut self.buffer[self.start as usize..self.end as usize];
        let (removed, kept) = packed::remove_equal(bytes, end, count, wanted);
        self.end = self.start + kept as u32;
        self.count -= removed as u32;
        removed
    }

    /// Gives room back if there is much.
    pub fn fit(&mut self) {
        if self.buffer.len() - self.len() > self.buffer.len() / SLACK_SHARE {
            *self = self.clone();
        }
    }

    /// Replaces `removed` bytes at `at` by room for `inserted`, and lends that out.
    fn splice(&mut self, at: usize, removed: usize, inserted: usize, bytes_max: usize) -> &mut [u8] {
        let (start, end, len) = (self.start as usize, self.end as usize, self.len());
        let behind = len - at - removed;
        let new_len = len - removed + inserted;
        if inserted > removed {
            let grown = inserted - removed;
            let (room_before, room_behind) = (start, self.buffer.len() - end);
            let at_front = at < behind;
            if room_before >= grown && (at_front || room_behind < grown) {
                self.buffer.copy_within(start..start + at, start - grown);
                self.start -= grown as u32;
            } else if room_behind >= grown {
                self.buffer.copy_within(end - behind..end, end - behind + grown);
                self.end += grown as u32;
            } else {
                self.rebuild(at, removed, inserted, bytes_max);
            }
        } else {
            let shrunk = removed - inserted;
            if at < behind {
                self.buffer.copy_within(start..start + at, start + shrunk);
                self.start += shrunk as u32;
            } else {
                self.buffer.copy_within(end - behind..end, end - behind - shrunk);
                self.end -= shrunk as u32;
            }
        }
        assert!(self.len() == new_len, "room was made for what is inserted");
        let from = self.start as usize + at;
        &mut self.buffer[from..from + inserted]
    }

    /// Moves to a buffer with room for `inserted` in the place of `removed` bytes at `at`, and more at that end.
    #[cold]
    fn rebuild(&mut self, at: usize, removed: usize, inserted: usize, bytes_max: usize) {
        let len = self.len();
        let new_len = len - removed + inserted;
        let bytes =
            (new_len + new_len / BUFFER_GROWTH_SHARE).max(BUFFER_BYTES_MIN).min(bytes_max).max(new_len);
        let mut buffer = vec![0; bytes].into_boxed_slice();
        let start = if at < len - at - removed { bytes - new_len } else { 0 };
        buffer[start..start + at].copy_from_slice(&self.bytes()[..at]);
        buffer[start + at + inserted..start + new_len].copy_from_slice(&self.bytes()[at + removed..]);
        self.buffer = buffer;
        self.start = start as u32;
        self.end = (start + new_len) as u32;
    }
}
