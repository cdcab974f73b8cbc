//! The stream of replication, and its last bytes, which replicas read from.
//!
//! Design: bytes are appended to the end of a block; whoever reads gets slices of blocks, which are shared and never copied. So many
//! replicas cost what one costs, and one that lags keeps blocks alive that the backlog would have let go.
//!
//! ```text
//!   [slice][slice][slice]..[slice] [block being filled |      ]
//!   start            ^ a reader's place                ^ end
//! ```
//!
//! A read cuts what was appended since off as a slice. Where reads are frequent slices are short; a block whose slices
//! are many is therefore copied into one once it is full.
//!
//! Invariants:
//! - slices follow each other without a gap from `start`, and the block that is being filled follows them, up to `end`;
//! - nothing is let go that a reader has yet to read, and nothing else is kept beyond the limit but a part of a block.
//!
//! Costs: an append copies once. A lock is held for as long as that takes, by one block at most; workers only try for it.
//! Not here: how much a replica may lag, and who sends (`worker::replicas`).

use std::collections::VecDeque;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use bytes::{BufMut as _, Bytes, BytesMut};

/// Bytes of a block, at most and at least; between them a part of the limit.
const BLOCK_BYTES_MAX: usize = 64 << 10;
const BLOCK_BYTES_MIN: usize = 16 << 10;
const BLOCKS_MIN: u64 = 16;
/// Blocks that are kept to be filled again: those of one append to the next.
const SPARES_MAX: usize = 4;
/// A full block with more slices than this is copied into one.
const SLICES_MAX: usize = 16;

/// Names a reader of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReaderId(u64);

/// The stream.
#[derive(Default)]
pub struct Stream {
    kept: Mutex<Kept>,
    /// Bytes of the stream so far.
    end: AtomicU64,
    /// Bytes before the first that is kept.
    start: AtomicU64,
    is_open: AtomicBool,
}

/// What of the stream is kept.
#[derive(Default)]
struct Kept {
    /// Each with the count of bytes before it.
    slices: VecDeque<(u64, Bytes)>,
    /// Slices at the end of the queue that were cut off the block being filled.
    of_block: usize,
    block: BytesMut,
    /// Blocks that are to be filled again.
    spares: Vec<BytesMut>,
    end: u64,
    limit: u64,
    /// How far each reader has read.
    readers: Vec<(ReaderId, u64)>,
    /// How many readers there were.
    readers_count: u64,
}

impl Stream {
    /// How many bytes there are.
    #[inline]
    pub fn end(&self) -> u64 {
        self.end.load(Acquire)
    }

    /// Whether what is appended is kept.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.is_open.load(Acquire)
    }

    /// How many bytes come before the first that is kept.
    pub fn start(&self) -> u64 {
        self.start.load(Relaxed)
    }

    /// From now on so many bytes are kept at least, once there are as many.
    pub fn open(&self, limit: u64) {
        let mut kept = self.lock();
        kept.limit = limit;
        kept.trim();
        if !self.is_open() {
            kept.end = self.end();
            self.start.store(kept.end, Relaxed);
            self.is_open.store(true, Release);
        } else {
            self.start.store(kept.start(), Relaxed);
        }
    }

    /// Nothing is kept any more. If there are readers, they find nothing more.
    pub fn close(&self) {
        let mut kept = self.lock();
        *kept = Kept { readers_count: kept.readers_count, ..Kept::default() };
        self.is_open.store(false, Release);
    }

    /// Another history, of which there are so many bytes. Readers of the one before find nothing more.
    pub fn restart(&self, end: u64) {
        let mut kept = self.lock();
        let (limit, readers_count) = (kept.limit, kept.readers_count);
        *kept = Kept { end, limit, readers_count, ..Kept::default() };
        self.start.store(end, Relaxed);
        self.end.store(end, Release);
    }

    /// Appends bytes. There is one who does at a time.
    pub fn append(&self, mut bytes: &[u8]) {
        if !self.is_open() {
            self.end.fetch_add(bytes.len() as u64, Release);
            return;
        }
        while !bytes.is_empty() {
            let mut kept = self.lock();
            let count = kept.append(bytes);
            self.start.store(kept.start(), Relaxed);
            self.end.store(kept.end, Release);
            bytes = &bytes[count..];
        }
    }

    /// Begins to read behind the first `from` bytes, unless what follows them is not there any more, or not yet.
    pub fn attach(&self, from: u64) -> Option<ReaderId> {
        let mut kept = self.lock();
        if !self.is_open() || !(kept.start()..=kept.end).contains(&from) {
            return None;
        }
        kept.readers_count += 1;
        let reader = ReaderId(kept.readers_count);
        kept.readers.push((reader, from));
        Some(reader)
    }

    /// Reads no more.
    pub fn detach(&self, reader: ReaderId) {
        let mut kept = self.lock();
        kept.readers.retain(|(other, _)| *other != reader);
        if self.is_open() {
            kept.trim();
            self.start.store(kept.start(), Relaxed);
        }
    }

    /// The next bytes for a reader, up to about `bytes_max`, which count as read; `None` if others are at work with the stream
    /// just now.
    pub fn try_read(&self, reader: ReaderId, bytes_max: usize) -> Option<Vec<Bytes>> {
        let mut kept = match self.kept.try_lock() {
            Ok(kept) => kept,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        let read = kept.read(reader, bytes_max);
        if self.is_open() {
            self.start.store(kept.start(), Relaxed);
        }
        Some(read)
    }

    /// How many bytes a reader has yet to read.
    pub fn unread(&self, reader: ReaderId) -> u64 {
        let kept = self.lock();
        let at = kept.readers.iter().find(|(other, _)| *other == reader).map(|(_, at)| *at);
        at.map_or(0, |at| kept.end - at)
    }

    /// Memory that is kept.
    pub fn bytes_allocated(&self) -> u64 {
        let kept = self.lock();
        if !self.is_open() {
            return 0;
        }
        let handles = kept.slices.capacity() * size_of::<(u64, Bytes)>();
        let spares: usize = kept.spares.iter().map(BytesMut::capacity).sum();
        kept.end - kept.start() + (kept.block.capacity() + spares + handles) as u64
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // Nobody panics midway.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn start(&self) -> u64 {
        self.slices.front().map_or(self.end - self.block.len() as u64, |(start, _)| *start)
    }

    /// Appends what there is room for in a block; how much that is.
    fn append(&mut self, bytes: &[u8]) -> usize {
        if self.block.len() == self.block.capacity() {
            self.begin_block();
        }
        let count = bytes.len().min(self.block.capacity() - self.block.len());
        self.block.put_slice(&bytes[..count]);
        self.end += count as u64;
        self.trim();
        count
    }

    fn begin_block(&mut self) {
        self.cut();
        if self.of_block > SLICES_MAX {
            let of_block = self.slices.split_off(self.slices.len() - self.of_block.min(self.slices.len()));
            let start = of_block[0].0;
            let bytes: Vec<u8> = of_block.iter().flat_map(|(_, slice)| slice.iter().copied()).collect();
            self.slices.push_back((start, Bytes::from(bytes)));
        }
        self.of_block = 0;
        let bytes = (self.limit / BLOCKS_MIN).clamp(BLOCK_BYTES_MIN as u64, BLOCK_BYTES_MAX as u64) as usize;
        let mut block = self.spares.pop().unwrap_or_default();
        // That is the memory of before, if it has so many.
        block.reserve(bytes);
        self.block = block;
    }

    /// What was appended since becomes a slice.
    fn cut(&mut self) {
        if !self.block.is_empty() {
            let slice = self.block.split().freeze();
            self.slices.push_back((self.end - slice.len() as u64, slice));
            self.of_block += 1;
        }
    }

    /// Lets go what lies beyond the limit and nobody has yet to read.
    fn trim(&mut self) {
        let read = self.readers.iter().map(|(_, at)| *at).min().unwrap_or(u64::MAX);
        let keep_from = self.end.saturating_sub(self.limit).min(read);
        while let Some((start, slice)) = self.slices.front()
            && start + slice.len() as u64 <= keep_from
        {
            let gone = self.slices.pop_front();
            // Memory that goes back to the system is cleared by it when it is asked for again, which costs more than all the rest.
            if self.spares.len() < SPARES_MAX
                && let Some(Ok(mut block)) = gone.map(|(_, slice)| slice.try_into_mut())
            {
                block.clear();
                self.spares.push(block);
            }
        }
        self.of_block = self.of_block.min(self.slices.len());
    }

    fn read(&mut self, reader: ReaderId, bytes_max: usize) -> Vec<Bytes> {
        let Some(index) = self.readers.iter().position(|(other, _)| *other == reader) else {
            return Vec::new();
        };
        let from = self.readers[index].1;
        self.cut();
        let (mut at, mut read) = (from, Vec::new());
        let first = self.slices.partition_point(|(start, slice)| start + slice.len() as u64 <= from);
        for (start, slice) in self.slices.range(first..) {
            if at - from >= bytes_max as u64 {
                break;
            }
            let slice = slice.slice((at - start) as usize..);
            at += slice.len() as u64;
            read.push(slice);
        }
        self.readers[index].1 = at;
        self.trim();
        read
    }

    /// Panics if an invariant of the module header is broken.
    #[cfg(test)]
    fn check_invariants(&self) {
        let mut at = self.start();
        for (start, slice) in &self.slices {
            assert!(*start == at && !slice.is_empty());
            at += slice.len() as u64;
        }
        assert_eq!(at + self.block.len() as u64, self.end);
        assert!(self.readers.iter().all(|(_, at)| *at >= self.start()));
        assert!(self.of_block <= self.slices.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stream(limit: u64) -> Stream {
        let stream = Stream::default();
        stream.open(limit);
        stream
    }

    fn read(stream: &Stream, reader: ReaderId, bytes_max: usize) -> Vec<u8> {
        stream.try_read(reader, bytes_max).expect("nobody else is there").concat()
    }

    /// The byte at an offset.
    fn byte(at: u64) -> u8 {
        (at % 251) as u8
    }

    fn append(stream: &Stream, count: usize) {
        let from = stream.end();
        stream.append(&(0..count as u64).map(|at| byte(from + at)).collect::<Vec<_>>());
        stream.lock().check_invariants();
    }

    #[derive(Clone, Debug)]
    enum Step {
        Append(usize),
        Read(usize, usize),
        Attach(u64),
        Detach(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (1..60_000_usize).prop_map(Step::Append),
            4 => (1..40_usize).prop_map(Step::Append),
            4 => (0..4_usize, 1..100_000_usize).prop_map(|(reader, bytes)| Step::Read(reader, bytes)),
            1 => (0..200_000_u64).prop_map(Step::Attach),
            1 => (0..4_usize).prop_map(Step::Detach),
        ];
        proptest::collection::vec(step, 0..120)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Every reader gets every byte from its place on, whoever else reads and whatever is let go.
        #[test]
        fn readers_get_all_bytes_in_order(limit in 1_u64..200_000, steps in steps()) {
            let stream = stream(limit);
            let mut readers: Vec<(ReaderId, u64)> = Vec::new();
            for step in steps {
                match step {
                    Step::Append(count) => append(&stream, count),
                    Step::Attach(back) => {
                        let from = stream.end().saturating_sub(back);
                        let is_kept = from >= stream.start();
                        let reader = stream.attach(from);
                        prop_assert_eq!(reader.is_some(), is_kept);
                        readers.extend(reader.map(|reader| (reader, from)));
                    }
                    Step::Read(index, bytes_max) => {
                        if let Some((reader, at)) = readers.get_mut(index) {
                            let bytes = read(&stream, *reader, bytes_max);
                            prop_assert!(!bytes.is_empty() || *at == stream.end());
                            prop_assert!(bytes.iter().zip(*at..).all(|(found, at)| *found == byte(at)));
                            *at += bytes.len() as u64;
                        }
                    }
                    Step::Detach(index) => {
                        if index < readers.len() {
                            stream.detach(readers.remove(index).0);
                        }
                    }
                }
                stream.lock().check_invariants();
                let slowest = readers.iter().map(|(_, at)| *at).min().unwrap_or(u64::MAX);
                let keep_from = stream.end().saturating_sub(limit).min(slowest);
                prop_assert!(stream.start() <= keep_from);
                prop_assert!(keep_from - stream.start() <= BLOCK_BYTES_MAX as u64);
            }
        }
    }

    #[test]
    fn lagging_reader_keeps_what_it_has_yet_to_read() {
        let stream = stream(16 << 10);
        let reader = stream.attach(0).expect("it is the end");
        append(&stream, 1 << 20);
        assert_eq!(stream.start(), 0);
        assert_eq!(read(&stream, reader, usize::MAX).len(), 1 << 20);
        assert!(stream.start() > 0, "it is let go once it is read");
        assert!(stream.attach(0).is_none() && stream.attach(stream.end() + 1).is_none());
        stream.detach(reader);
        stream.close();
        assert!(!stream.is_open() && stream.attach(stream.end()).is_none());
        stream.append(b"counted");
        assert_eq!((stream.end(), stream.bytes_allocated()), ((1 << 20) + 7, 0));
    }

    #[test]
    fn many_short_slices_become_one() {
        let stream = stream(1 << 20);
        let reader = stream.attach(0).expect("it is the end");
        for _ in 0..BLOCK_BYTES_MAX / 32 {
            append(&stream, 64);
            assert_eq!(read(&stream, reader, usize::MAX).len(), 64);
        }
        assert!(stream.lock().slices.len() <= 1 + BLOCK_BYTES_MAX / 64, "{}", stream.lock().slices.len());
    }

    #[test]
    fn another_history_begins_where_it_is_told() {
        let stream = stream(1 << 20);
        let reader = stream.attach(0).expect("it is the end");
        append(&stream, 10);
        stream.restart(5000);
        assert_eq!((stream.start(), stream.end()), (5000, 5000));
        assert_eq!(stream.try_read(reader, 10).map(|read| read.len()), Some(0));
        append(&stream, 10);
        let other = stream.attach(5004).expect("it is kept");
        assert_eq!(read(&stream, other, 100).len(), 6);
        assert_eq!(read(&stream, reader, 100).len(), 0, "it was of the history before");
    }
}
