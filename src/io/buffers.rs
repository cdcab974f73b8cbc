//! Receive buffers: a ring of them shared with the kernel, and a plain pool for the other backends.
//!
//! Design: the ring is io_uring's provided-buffer ring. The kernel takes buffers from its head when
//! bytes arrive; we append returned ones at the tail, and one store per turn publishes them all. All
//! buffers lie in one mapping, eligible for huge pages, so that few translations cover it. Only a few of
//! them are in use at first: what many connections never need at once takes no memory, and what is used
//! again soon is still in the caches. Their pages are touched when they come into use, not while bytes
//! arrive.
//!
//! ```text
//!   entries  [addr len id][addr len id] ... count        <- registered with the kernel
//!                                   ^tail (in the first entry's spare field)
//!   memory   [buffer 0      ][buffer 1      ] ... in use ... count * buffer_bytes
//! ```
//!
//! Invariants:
//! - A buffer is either lent (an `Input` exists) or the kernel's; its bytes are read only while lent.
//! - Each buffer is in the ring at most once, so `count` entries always suffice.
//!
//! Not here: which connection a buffer was lent to matters to `uring`, which keeps it in `Lent`.

#![expect(unsafe_code, reason = "memory shared with the kernel: the ring's entries and the buffers")]

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU16, Ordering};

use io_uring::types::BufRingEntry;

use super::{Input, Token};

/// The kernel's limit on entries of one ring.
pub(super) const BUFFER_COUNT_MAX: u16 = 1 << 15;
const HUGE_PAGE_BYTES: usize = 2 << 20;
const PAGE_BYTES: usize = 4096;
/// What the buffers in use take at first.
const FIRST_BYTES: usize = HUGE_PAGE_BYTES;

/// An anonymous mapping, zeroed.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
    start: NonNull<u8>,
}

impl Mapping {
    /// Maps `len` usable bytes; those of 2 MiB and more are aligned to, and asked for as, huge pages.
    fn new(len: usize) -> io::Result<Mapping> {
        let huge = len >= HUGE_PAGE_BYTES;
        let align = if huge { HUGE_PAGE_BYTES } else { PAGE_BYTES };
        let mapped = len + align;
        // SAFETY: a new anonymous mapping at an address of the kernel's choice touches no other memory.
        let base = unsafe {
            libc::mmap(
                ptr::null_mut(),
                mapped,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast::<u8>()).expect("mmap does not return address zero");
        let skip = base.as_ptr().align_offset(align);
        assert!(skip < align, "a byte pointer can always be aligned");
        // SAFETY: `skip < align`, and the mapping is `align` bytes longer than `len`.
        let start = unsafe { base.add(skip) };
        let mapping = Mapping { base, len: mapped, start };
        if huge {
            // SAFETY: the range lies in the mapping just made; the advice changes no contents. A refusal
            // (huge pages switched off) is fine.
            unsafe { libc::madvise(start.as_ptr().cast(), len, libc::MADV_HUGEPAGE) };
        }
        Ok(mapping)
    }

    fn leak(&mut self) {
        self.len = 0;
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        // SAFETY: unmaps exactly what `new` mapped; the owner sees to it that nothing uses it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// Who holds a buffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Holder {
    Kernel,
    Lent(Token),
}

/// The provided-buffer ring and its buffers.
pub(super) struct BufferRing {
    entries: Mapping,
    memory: Mapping,
    count: u16,
    /// Buffers that are in use: lent, in the ring, or about to be.
    used_count: u16,
    /// Whether these have memory.
    is_warm: bool,
    buffer_bytes: u32,
    /// Entries ever appended, modulo 2^16; the kernel sees it at `publish`.
    tail: u16,
    published: u16,
    holders: Vec<Holder>,
    lent_count: u16,
}

impl BufferRing {
    /// Up to `count` buffers of `buffer_bytes` each; as many as [`FIRST_BYTES`] hold are in the ring. They have memory once they
    /// are warm.
    ///
    /// # Panics
    /// If `count` is no power of two up to [`BUFFER_COUNT_MAX`], or `buffer_bytes` is 0.
    pub(super) fn new(count: u16, buffer_bytes: u32) -> io::Result<BufferRing> {
        assert!(count.is_power_of_two(), "the kernel masks by the count");
        assert!(count <= BUFFER_COUNT_MAX);
        assert!(buffer_bytes > 0);
        let mut ring = BufferRing {
            entries: Mapping::new(usize::from(count) * size_of::<BufRingEntry>())?,
            memory: Mapping::new(usize::from(count) * buffer_bytes as usize)?,
            count,
            used_count: 0,
            is_warm: false,
            buffer_bytes,
            tail: 0,
            published: 0,
            holders: vec![Holder::Kernel; usize::from(count)],
            lent_count: 0,
        };
        let first = (FIRST_BYTES / buffer_bytes as usize).clamp(1, usize::from(count));
        (0..first as u16).for_each(|buffer| ring.append(buffer));
        ring.used_count = first as u16;
        ring.publish();
        Ok(ring)
    }

    /// Has the kernel give memory to the first buffers, if it has not: before there is anybody to receive from. A worker that
    /// never has a connection does without.
    #[inline]
    pub(super) fn warm(&mut self) {
        if !self.is_warm {
            self.is_warm = true;
            (0..self.used_count).for_each(|buffer| self.touch(buffer));
        }
    }

    /// Brings as many buffers again into use, if there are more: to be called when they did not suffice.
    pub(super) fn grow(&mut self) {
        if self.used_count < self.count {
            self.use_up_to(self.used_count.saturating_mul(2).min(self.count));
        }
    }

    fn use_up_to(&mut self, used_count: u16) {
        for buffer in self.used_count..used_count {
            self.touch(buffer);
            self.append(buffer);
        }
        self.used_count = used_count;
    }

    /// Has the kernel give memory to a buffer that nothing was ever received into.
    fn touch(&mut self, buffer: u16) {
        assert!(buffer < self.count);
        let start = usize::from(buffer) * self.buffer_bytes as usize;
        for offset in (start..start + self.buffer_bytes as usize).step_by(PAGE_BYTES) {
            // SAFETY: `buffer < count`, so the offset is inside the mapping.
            let page = unsafe { self.memory.start.add(offset) };
            // SAFETY: mapped writable; nothing was received into this buffer, and nobody has an `Input` of it.
            unsafe { page.write_volatile(0) };
        }
    }

    /// Address and entry count, for registration. The ring must outlive the registration.
    pub(super) fn registration(&self) -> (u64, u16) {
        (self.entries.start.as_ptr() as u64, self.count)
    }

    /// Buffers not lent: in the kernel's hands, or about to be.
    pub(super) fn free_count(&self) -> u16 {
        self.used_count - self.lent_count
    }

    /// The kernel filled `buffer` for `token`: lends it out.
    pub(super) fn lend(&mut self, buffer: u16, len: u32, token: Token) -> Input {
        let holder = &mut self.holders[usize::from(buffer)];
        assert_eq!(*holder, Holder::Kernel, "a lent buffer was filled again");
        assert!(len > 0);
        assert!(len <= self.buffer_bytes);
        *holder = Holder::Lent(token);
        self.lent_count += 1;
        Input { buffer, start: 0, len }
    }

    /// The bytes of a lent buffer.
    pub(super) fn bytes(&self, input: &Input) -> &[u8] {
        debug_assert!(self.holders[usize::from(input.buffer)] != Holder::Kernel);
        assert!(input.buffer < self.count);
        assert!(input.start as usize + input.len as usize <= self.buffer_bytes as usize);
        let offset = usize::from(input.buffer) * self.buffer_bytes as usize + input.start as usize;
        // SAFETY: the asserts above put `offset` inside the mapping of count * buffer_bytes.
        let start = unsafe { self.memory.start.add(offset) };
        // SAFETY: initialised (mapped zeroed); in bounds; the buffer is lent, so the kernel does not
        // write it while the `Input`, which `give_back` consumes, exists; `&self` keeps it mapped and
        // keeps `give_back` away.
        unsafe { std::slice::from_raw_parts(start.as_ptr(), input.len as usize) }
    }

    /// Takes a buffer back; says to whom it was lent. The kernel gets it at the next `publish`.
    #[expect(clippy::needless_pass_by_value, reason = "an input is used up by giving it back")]
    pub(super) fn give_back(&mut self, input: Input) -> Token {
        let buffer = input.buffer;
        let holder = &mut self.holders[usize::from(buffer)];
        let Holder::Lent(token) = *holder else { panic!("buffer {buffer} was given back twice") };
        *holder = Holder::Kernel;
        self.lent_count -= 1;
        self.append(buffer);
        token
    }

    /// Takes back a buffer that the kernel consumed without filling it.
    pub(super) fn reclaim(&mut self, buffer: u16) {
        let holder = self.holders[usize::from(buffer)];
        assert_eq!(holder, Holder::Kernel, "a lent buffer was consumed");
        self.append(buffer);
    }

    /// Keeps the memory mapped for ever, because the kernel may still write it.
    pub(super) fn leak(&mut self) {
        self.entries.leak();
        self.memory.leak();
    }

    /// Shows the kernel all buffers given back since the last call.
    pub(super) fn publish(&mut self) {
        if self.published == self.tail {
            return;
        }
        let first = self.entries.start.as_ptr().cast::<BufRingEntry>();
        // SAFETY: `first` is the ring's first entry, page-aligned and mapped.
        let tail = unsafe { BufRingEntry::tail(first) };
        // SAFETY: the field is 2-byte aligned, lies in a mapping we own and write, and is accessed
        // atomically by us and by the kernel, which only reads it.
        let tail = unsafe { AtomicU16::from_ptr(tail.cast_mut()) };
        tail.store(self.tail, Ordering::Release);
        self.published = self.tail;
    }

    fn append(&mut self, buffer: u16) {
        let index = usize::from(self.tail & (self.count - 1));
        let first = self.entries.start.cast::<BufRingEntry>();
        // SAFETY: `index < count`, and the mapping holds `count` entries.
        let entry = unsafe { first.add(index) };
        let offset = usize::from(buffer) * self.buffer_bytes as usize;
        // SAFETY: `buffer < count` (it indexed `holders`, which has that many).
        let start = unsafe { self.memory.start.add(offset) };
        // SAFETY: mapped, aligned, and zero is a valid entry; the kernel reads only entries before the
        // published tail, and at most `count` are appended, so this one is not being read. No other
        // reference to the entry exists: `publish` makes none while this one lives.
        let entry = unsafe { &mut *entry.as_ptr() };
        entry.set_addr(start.as_ptr() as u64);
        entry.set_len(self.buffer_bytes);
        entry.set_bid(buffer);
        self.tail = self.tail.wrapping_add(1);
    }
}

/// Buffers for the backends that receive by themselves. Memory is taken when first needed.
pub(super) struct BufferPool {
    buffers: Vec<Box<[u8]>>,
    free: Vec<u16>,
    holders: Vec<Option<Token>>,
    count_max: u16,
    buffer_bytes: u32,
}

impl BufferPool {
    /// At most `count_max` buffers of `buffer_bytes`.
    pub(super) fn new(count_max: u16, buffer_bytes: u32) -> BufferPool {
        assert!(count_max > 0);
        assert!(buffer_bytes > 0);
        BufferPool { buffers: Vec::new(), free: Vec::new(), holders: Vec::new(), count_max, buffer_bytes }
    }

    /// Bytes of one buffer.
    pub(super) fn buffer_bytes(&self) -> usize {
        self.buffer_bytes as usize
    }

    /// Buffers that were lent and have not come back.
    pub(super) fn lent_count(&self) -> usize {
        self.buffers.len() - self.free.len()
    }

    /// Whether a buffer can be had.
    pub(super) fn has_free(&self) -> bool {
        !self.free.is_empty() || self.buffers.len() < usize::from(self.count_max)
    }

    /// Lets `fill` write into a free buffer and lends it to `token` with the bytes that `fill` counted;
    /// `None` where no buffer is free or `fill` wrote nothing.
    pub(super) fn lend_with<E>(
        &mut self,
        token: Token,
        fill: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<Option<Input>, E> {
        let buffer = match self.free.pop() {
            Some(buffer) => buffer,
            None if self.buffers.len() < usize::from(self.count_max) => {
                self.buffers.push(vec![0; self.buffer_bytes as usize].into_boxed_slice());
                self.holders.push(None);
                (self.buffers.len() - 1) as u16
            }
            None => return Ok(None),
        };
        let filled = fill(&mut self.buffers[usize::from(buffer)]);
        match filled {
            Ok(len) if len > 0 => {
                assert!(len <= self.buffer_bytes as usize);
                self.holders[usize::from(buffer)] = Some(token);
                Ok(Some(Input { buffer, start: 0, len: len as u32 }))
            }
            Ok(_) => {
                self.free.push(buffer);
                Ok(None)
            }
            Err(error) => {
                self.free.push(buffer);
                Err(error)
            }
        }
    }

    /// The bytes of a lent buffer.
    pub(super) fn bytes(&self, input: &Input) -> &[u8] {
        let start = input.start as usize;
        &self.buffers[usize::from(input.buffer)][start..start + input.len as usize]
    }

    /// Takes a buffer back; says to whom it was lent.
    #[expect(clippy::needless_pass_by_value, reason = "an input is used up by giving it back")]
    pub(super) fn give_back(&mut self, input: Input) -> Token {
        let buffer = input.buffer;
        let holder = self.holders[usize::from(buffer)].take();
        self.free.push(buffer);
        holder.expect("a buffer is given back once: inputs cannot be cloned")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: Token = Token { slot: 7, generation: 1 };

    #[test]
    fn ring_lends_and_takes_back_through_many_rounds() {
        let mut ring = BufferRing::new(4, 100).expect("mapped");
        for round in 0..70_000u32 {
            let input = ring.lend((round % 4) as u16, 1 + round % 100, TOKEN);
            assert_eq!(ring.free_count(), 3);
            assert_eq!(ring.bytes(&input).len(), input.len());
            assert_eq!(ring.give_back(input), TOKEN);
            ring.publish();
        }
        assert_eq!(ring.free_count(), 4);
    }

    #[test]
    fn ring_grows_up_to_its_count() {
        let buffer_bytes = (FIRST_BYTES / 4) as u32;
        let mut ring = BufferRing::new(16, buffer_bytes).expect("mapped");
        let mut counts = vec![ring.free_count()];
        let mut inputs = Vec::new();
        for _ in 0..3 {
            let used_count = ring.free_count() + inputs.len() as u16;
            inputs.extend((inputs.len() as u16..used_count).map(|buffer| ring.lend(buffer, 1, TOKEN)));
            assert_eq!(ring.free_count(), 0);
            ring.grow();
            ring.publish();
            counts.push(ring.free_count());
        }
        assert_eq!(counts, [4, 4, 8, 0]);
        inputs.into_iter().for_each(|input| assert_eq!(ring.give_back(input), TOKEN));
        assert_eq!(ring.free_count(), 16);
    }

    #[test]
    #[should_panic(expected = "filled again")]
    fn ring_refuses_a_buffer_filled_twice() {
        let mut ring = BufferRing::new(4, 100).expect("mapped");
        let _first = ring.lend(2, 10, TOKEN);
        let _second = ring.lend(2, 10, TOKEN);
    }

    #[test]
    fn pool_lends_up_to_its_limit() {
        let mut pool = BufferPool::new(2, 8);
        let fill = |bytes: &mut [u8]| -> Result<usize, ()> {
            bytes[..3].copy_from_slice(b"abc");
            Ok(3)
        };
        let first = pool.lend_with(TOKEN, fill).expect("fills").expect("free");
        let second = pool.lend_with(TOKEN, fill).expect("fills").expect("free");
        assert!(!pool.has_free());
        assert!(pool.lend_with(TOKEN, fill).expect("fills").is_none());
        assert_eq!(pool.bytes(&first), b"abc");
        assert_eq!(pool.give_back(first), TOKEN);
        assert!(pool.has_free());
        assert_eq!(pool.give_back(second), TOKEN);
    }
}
