//! The common pool: the memory from which all shards take slab pages and table segments of a few KiB.
//!
//! Design: hundreds of shards must not mean hundreds of half-empty arenas, so all of them share 2 MiB chunks that the
//! kernel may back with huge pages, and take a few KiB at a time, rarely:
//!
//! ```text
//! chunk  2 MiB, aligned = 4096 quanta in 64 atomic words: a set bit is a free quantum
//! run    1..=16 quanta of 512 bytes, contiguous, taken by a compare-and-swap in one word, or two
//! page   16 quanta, naturally aligned: a quarter of a word
//! ```
//!
//! Slab pages and table runs come from different chunks: mixed, each 6 KiB run would spoil an 8 KiB page. Runs are
//! taken from the smallest gap that holds them. As runs of ever other lengths come and go, gaps still take up a sixth of
//! the memory, wherever runs are taken and whether or not they grow in place (simulated and measured). So when gaps
//! make up more than a twentieth, the sparsest chunk is proclaimed, and shards move their segments out of it during
//! cron (a copy and a directory entry each). Chunks of pages are emptied likewise while memory is defragmented; as
//! moving a page means moving its entries, shards find their pages by the owner that the chunk notes of each. A bit per
//! chunk says that it may have room; the search starts at the chunk that had room last. A chunk's description lives
//! beside it, found from an address through a two-level map, so that all 2 MiB are usable. Chunks are never unmapped;
//! when more than a few are entirely free, or the server rests, their memory goes back to the kernel and only the address
//! range stays.
//!
//! Invariants:
//! - a quantum's bit is set exactly while nobody owns it (freeing twice panics);
//! - a chunk with room has its bit set in `room`, or somebody is about to set it;
//! - memory is given back only while all bits of the chunk are held.
//!
//! Costs: taking or freeing a run is one to three atomic operations; a system call once per 2 MiB.
//!
//! Not here: what is inside a page (`slab`) or a run (`table`), where chunks come from (`chunk_memory`).
#![expect(unsafe_code, reason = "maps memory and hands out pieces of it")]

use std::ops::Range;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};

use super::chunk_memory::{self, CHUNK_BYTES};

/// The unit of allocation.
pub const QUANTUM_BYTES: usize = 512;
/// The longest run, in quanta.
pub const RUN_QUANTA_MAX: usize = 16;
/// Size and alignment of a slab page.
pub const PAGE_BYTES: usize = 8 << 10;

const PAGE_QUANTA: usize = PAGE_BYTES / QUANTUM_BYTES;
const CHUNK_PAGES: usize = CHUNK_BYTES / PAGE_BYTES;
const WORD_QUANTA: usize = 64;
const CHUNK_WORDS: usize = CHUNK_BYTES / QUANTUM_BYTES / WORD_QUANTA;
const CHUNK_QUANTA: u32 = (CHUNK_WORDS * WORD_QUANTA) as u32;
/// Chunks per leaf of a region's list.
const LEAF_CHUNKS: usize = 1024;
/// Leaves of a region's list: room for 8 TiB.
const LEAVES_MAX: usize = 4096;
/// Chunks that may be entirely free, in each region, before their memory is given back.
const EMPTY_CHUNKS_KEPT: usize = 2;
/// Chunks of a region up to which those are counted that are entirely free.
const EMPTY_COUNTED_MAX: usize = 256;
/// Words of 64 chunks looked through in vain before a new chunk is mapped.
const PROBE_WORDS_MAX: usize = 4;
/// Chunks among which one is chosen to be emptied.
const EVACUATION_CHUNKS_MAX: usize = 4096;
/// Chunks are emptied while their gaps are more than this part of them all.
const GAPS_DIVISOR: u64 = 20;
/// Chunks with less room are not looked into for runs; shorter ones are rare.
const RUN_QUANTA_COMMON: usize = 8;
/// User addresses have 47 bits (Linux gives out higher ones only on request).
const ADDRESS_BITS: usize = 47;
const MAP_BITS: usize = (ADDRESS_BITS - CHUNK_BYTES.trailing_zeros() as usize) / 2;

const _: () = assert!(WORD_QUANTA == u64::BITS as usize);
const _: () = assert!(PAGE_QUANTA * 4 == WORD_QUANTA);
const _: () = assert!(RUN_QUANTA_MAX <= WORD_QUANTA);
const _: () = assert!(MAP_BITS * 2 + CHUNK_BYTES.trailing_zeros() as usize == ADDRESS_BITS);

/// The process-wide pool.
pub static POOL: Pool = Pool::new();

/// A source of slab pages and runs of quanta; there is one, `POOL`.
pub struct Pool {
    pages: Region,
    runs: Region,
    map: ChunkMap,
    bytes_reserved: AtomicU64,
    bytes_used: AtomicU64,
}

/// Who has a slab page: a number of its own for each slab of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageOwner(u32);

impl PageOwner {
    const NOBODY: PageOwner = PageOwner(0);

    /// One that nobody else is.
    pub fn fresh() -> PageOwner {
        static LAST: AtomicU32 = AtomicU32::new(0);
        let number = LAST.fetch_add(1, Relaxed) + 1;
        assert!(number != PageOwner::NOBODY.0, "there are fewer slabs than numbers");
        PageOwner(number)
    }
}

/// What the pool holds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolUsage {
    /// In chunks whose memory has not been given back.
    pub bytes_reserved: u64,
    /// In pages and runs that somebody owns.
    pub bytes_used: u64,
}

impl Pool {
    const fn new() -> Pool {
        Pool {
            pages: Region::new(PAGE_QUANTA as u32),
            runs: Region::new(RUN_QUANTA_COMMON as u32),
            map: ChunkMap::new(),
            bytes_reserved: AtomicU64::new(0),
            bytes_used: AtomicU64::new(0),
        }
    }

    /// Takes a page of `PAGE_BYTES`, aligned to its size, with arbitrary contents. Aborts when memory is exhausted.
    /// `owner` is who can move what will lie in it.
    pub fn alloc_page(&'static self, owner: PageOwner) -> NonNull<u8> {
        let page = self.alloc(&self.pages, PAGE_QUANTA);
        self.owner_of(page).store(owner.0, Relaxed);
        page
    }

    /// Takes `quanta` times `QUANTUM_BYTES` in one piece, aligned to a quantum, with arbitrary contents.
    pub fn alloc_run(&'static self, quanta: usize) -> NonNull<u8> {
        assert!((1..=RUN_QUANTA_MAX).contains(&quanta));
        self.alloc(&self.runs, quanta)
    }

    /// Gives a page back.
    ///
    /// # Safety
    /// - `page` came from `alloc_page` and has not been freed since;
    /// - nobody uses its memory any more.
    pub unsafe fn free_page(&self, page: NonNull<u8>) {
        // Before it can be taken again: an owner that is noted owns the page.
        self.owner_of(page).store(PageOwner::NOBODY.0, Release);
        self.free(&self.pages, page, PAGE_QUANTA);
    }

    /// Gives a run back.
    ///
    /// # Safety
    /// - `run` came from `alloc_run(quanta)` and has not been freed since;
    /// - nobody uses its memory any more.
    pub unsafe fn free_run(&self, run: NonNull<u8>, quanta: usize) {
        self.free(&self.runs, run, quanta);
    }

    /// The addresses of a chunk that should become empty: owners of runs in it may move them. None is given out there.
    /// The number is another one for each choice.
    #[inline]
    pub fn evacuation(&self) -> Option<(u64, Range<usize>)> {
        let base = self.runs.evacuating.load(Relaxed);
        (base != 0).then(|| (self.runs.evacuation_number.load(Relaxed), base..base + CHUNK_BYTES))
    }

    /// A number that is another one for each choice of a chunk to be emptied.
    pub fn evacuation_number(&self) -> u64 {
        self.runs.evacuation_number.load(Relaxed)
    }

    /// Gives the memory of all chunks back that are entirely free.
    pub(super) fn give_back_empty(&self) {
        for region in [&self.pages, &self.runs] {
            for index in 0..region.chunk_count.load(Acquire) {
                let Some(chunk) = region.chunk(index) else { continue };
                let is_empty = chunk.free_count.load(Relaxed) == CHUNK_QUANTA;
                if is_empty && chunk.resident.load(Relaxed) && chunk.give_back() {
                    self.bytes_reserved.fetch_sub(CHUNK_BYTES as u64, Relaxed);
                }
            }
        }
    }

    /// While memory is defragmented, the sparsest chunk of pages is to be emptied, if that is worth it: chooses one anew.
    pub fn compact_pages(&self, on: bool) {
        self.pages.compacts.store(on, Relaxed);
        if on {
            self.pages.choose_evacuation();
        } else if self.pages.evacuating.load(Relaxed) != 0 {
            self.pages.evacuating.store(0, Relaxed);
        }
    }

    /// The chunk of pages that should become empty, by its address; none is given out there. The number is another one for
    /// each choice.
    pub fn page_evacuation(&self) -> Option<(u64, usize)> {
        let base = self.pages.evacuating.load(Relaxed);
        (base != 0).then(|| (self.pages.evacuation_number.load(Relaxed), base))
    }

    /// The first page of `owner` in the chunk at `base`, from a place on, and its place.
    pub fn page_of(&self, base: usize, owner: PageOwner, from: usize) -> Option<(usize, NonNull<u8>)> {
        let chunk = self.map.find(base).expect("the address is a chunk's");
        let mut places = (from..CHUNK_PAGES).zip(chunk.owners.get(from..)?);
        let (place, _) = places.find(|(_, found)| found.load(Acquire) == owner.0)?;
        let pointer = ptr::with_exposed_provenance_mut(base + place * PAGE_BYTES);
        Some((place, NonNull::new(pointer).expect("a chunk is never mapped at zero")))
    }

    fn owner_of(&self, page: NonNull<u8>) -> &AtomicU32 {
        let address = page.as_ptr().addr();
        let chunk = self.map.find(address).expect("the address lies in a chunk of the pool");
        &chunk.owners[(address - chunk.base) / PAGE_BYTES]
    }

    /// Bytes of gaps between what is used. Chunks that are entirely free are none: they go back to the kernel as they are.
    pub fn gap_bytes(&self) -> u64 {
        let PoolUsage { bytes_reserved, bytes_used } = self.usage();
        let empty: usize = [&self.pages, &self.runs].map(Region::empty_resident).iter().sum();
        bytes_reserved.saturating_sub(bytes_used + (empty * CHUNK_BYTES) as u64)
    }

    /// What is reserved and used now.
    pub fn usage(&self) -> PoolUsage {
        PoolUsage {
            bytes_reserved: self.bytes_reserved.load(Relaxed),
            bytes_used: self.bytes_used.load(Relaxed),
        }
    }

    fn alloc(&'static self, region: &'static Region, quanta: usize) -> NonNull<u8> {
        let (chunk, address) = region.take(quanta).unwrap_or_else(|| {
            let chunk = self.add_chunk(region);
            let address = chunk.reserve_first(quanta);
            region.publish(chunk);
            if !region.is_pages() {
                region.choose_evacuation();
            }
            (chunk, address)
        });
        if !chunk.resident.load(Relaxed) && !chunk.resident.swap(true, Relaxed) {
            self.bytes_reserved.fetch_add(CHUNK_BYTES as u64, Relaxed);
        }
        self.bytes_used.fetch_add((quanta * QUANTUM_BYTES) as u64, Relaxed);
        let pointer = ptr::with_exposed_provenance_mut(address);
        NonNull::new(pointer).expect("a chunk is never mapped at zero")
    }

    fn free(&self, region: &Region, piece: NonNull<u8>, quanta: usize) {
        let address = piece.as_ptr().expose_provenance();
        let chunk = self.map.find(address).expect("the address lies in a chunk of the pool");
        assert!(ptr::eq(chunk.region, region), "freed to the region it came from");
        self.bytes_used.fetch_sub((quanta * QUANTUM_BYTES) as u64, Relaxed);
        let now_empty = chunk.put(address, quanta);
        region.note_room(chunk.index.load(Relaxed));
        if now_empty && chunk.base == region.evacuating.load(Relaxed) {
            region.choose_evacuation();
        }
        if now_empty && region.empty.load(Relaxed) > EMPTY_CHUNKS_KEPT && chunk.give_back() {
            self.bytes_reserved.fetch_sub(CHUNK_BYTES as u64, Relaxed);
        }
    }

    fn add_chunk(&self, region: &'static Region) -> &'static Chunk {
        let base = chunk_memory::take();
        let chunk = Box::leak(Box::new(Chunk {
            base,
            region,
            index: AtomicUsize::new(usize::MAX),
            free: [const { AtomicU64::new(u64::MAX) }; CHUNK_WORDS],
            free_count: AtomicU32::new(CHUNK_QUANTA),
            word_hint: AtomicUsize::new(0),
            gap_max: AtomicUsize::new(usize::MAX),
            resident: AtomicBool::new(false),
            owners: [const { AtomicU32::new(PageOwner::NOBODY.0) }; CHUNK_PAGES],
        }));
        region.empty.fetch_add(1, Relaxed);
        self.map.insert(base, chunk);
        chunk
    }
}

/// The chunks of one kind: a list that only grows, and a bit for each that may have room.
struct Region {
    quanta_min: u32,
    leaves: [AtomicPtr<Leaf>; LEAVES_MAX],
    chunk_count: AtomicUsize,
    /// The chunk that had room last.
    hint: AtomicUsize,
    /// Where the search goes on if that one has none.
    probe: AtomicUsize,
    /// Chunks that are entirely free.
    empty: AtomicUsize,
    /// The base of the chunk that is being emptied, or 0.
    evacuating: AtomicUsize,
    evacuation_number: AtomicU64,
    /// Whether chunks are to be emptied at all.
    compacts: AtomicBool,
}

struct Leaf {
    chunks: [AtomicPtr<Chunk>; LEAF_CHUNKS],
    room: [AtomicU64; LEAF_CHUNKS / 64],
}

impl Region {
    const fn new(quanta_min: u32) -> Region {
        Region {
            quanta_min,
            leaves: [const { AtomicPtr::new(ptr::null_mut()) }; LEAVES_MAX],
            chunk_count: AtomicUsize::new(0),
            hint: AtomicUsize::new(0),
            probe: AtomicUsize::new(0),
            empty: AtomicUsize::new(0),
            evacuating: AtomicUsize::new(0),
            evacuation_number: AtomicU64::new(0),
            compacts: AtomicBool::new(quanta_min != PAGE_QUANTA as u32),
        }
    }

    /// Chunks that are entirely free and have memory: counted in a small pool, as many as may be kept in a large one.
    fn empty_resident(&self) -> usize {
        let count = self.chunk_count.load(Acquire);
        if count > EMPTY_COUNTED_MAX {
            return EMPTY_CHUNKS_KEPT;
        }
        let chunks = (0..count).filter_map(|index| self.chunk(index));
        let is_empty =
            |chunk: &&Chunk| chunk.free_count.load(Relaxed) == CHUNK_QUANTA && chunk.resident.load(Relaxed);
        chunks.filter(is_empty).count()
    }

    fn is_pages(&self) -> bool {
        self.quanta_min == PAGE_QUANTA as u32
    }

    /// Takes a run from a chunk that has room, beginning with the one that had room last.
    fn take(&self, quanta: usize) -> Option<(&'static Chunk, usize)> {
        let hint = self.hint.load(Relaxed);
        if let Some(found) = self.take_from(hint, quanta) {
            return Some(found);
        }
        let words = self.chunk_count.load(Acquire).div_ceil(64);
        let probe = self.probe.load(Relaxed);
        for step in 0..words.min(PROBE_WORDS_MAX) {
            let word_index = (probe + step) % words;
            let Some(word) = self.room_word(word_index) else { continue };
            let mut bits = word.load(Acquire);
            while bits != 0 {
                let index = word_index * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                if let Some(found) = self.take_from(index, quanta) {
                    self.hint.store(index, Relaxed);
                    self.probe.store(word_index, Relaxed);
                    return Some(found);
                }
            }
        }
        self.probe.store(probe.wrapping_add(PROBE_WORDS_MAX) % words.max(1), Relaxed);
        None
    }

    fn take_from(&self, index: usize, quanta: usize) -> Option<(&'static Chunk, usize)> {
        let chunk = self.chunk(index)?;
        if chunk.base == self.evacuating.load(Relaxed) {
            return None;
        }
        let address = chunk.take(quanta);
        if address.is_none() {
            self.note_full(chunk, index);
        }
        address.map(|address| (chunk, address))
    }

    /// Chooses the chunk with the most room to be emptied, if all that room is worth it. The same one may be chosen again.
    #[cold]
    fn choose_evacuation(&self) {
        if !self.compacts.load(Relaxed) {
            return self.evacuating.store(0, Relaxed);
        }
        let count = self.chunk_count.load(Acquire);
        let (mut gaps, mut most, mut sparsest) = (0, 0, 0);
        for index in 0..count.min(EVACUATION_CHUNKS_MAX) {
            let Some(chunk) = self.chunk(index) else { continue };
            let free = chunk.free_count.load(Relaxed);
            if free == CHUNK_QUANTA || index == self.hint.load(Relaxed) {
                continue;
            }
            gaps += u64::from(free);
            if free > most {
                (most, sparsest) = (free, chunk.base);
            }
        }
        let worth = gaps * GAPS_DIVISOR > count as u64 * u64::from(CHUNK_QUANTA) && most * 8 > CHUNK_QUANTA;
        self.evacuating.store(if worth { sparsest } else { 0 }, Relaxed);
        self.evacuation_number.fetch_add(1, Relaxed);
    }

    /// Adds a chunk to the list, where other threads find it.
    fn publish(&self, chunk: &'static Chunk) {
        let index = self.chunk_count.fetch_add(1, SeqCst);
        assert!(index < LEAVES_MAX * LEAF_CHUNKS, "the pool's list of chunks is full");
        chunk.index.store(index, Relaxed);
        let leaf = install(&self.leaves[index / LEAF_CHUNKS], || Leaf {
            chunks: [const { AtomicPtr::new(ptr::null_mut()) }; LEAF_CHUNKS],
            room: [const { AtomicU64::new(0) }; LEAF_CHUNKS / 64],
        });
        leaf.chunks[index % LEAF_CHUNKS].store(ptr::from_ref(chunk).cast_mut(), Release);
        self.note_room(index);
        self.hint.store(index, Relaxed);
    }

    fn note_room(&self, index: usize) {
        // A chunk that is not in the list yet has its bit set when it gets there.
        let Some(word) = self.room_word(index / 64) else { return };
        let bit = 1 << (index % 64);
        if word.load(SeqCst) & bit == 0 {
            word.fetch_or(bit, SeqCst);
        }
    }

    /// Clears the bit of a chunk without room, then looks again: what was freed meanwhile must not be forgotten.
    fn note_full(&self, chunk: &Chunk, index: usize) {
        if chunk.free_count.load(SeqCst) >= self.quanta_min {
            return;
        }
        let word = self.room_word(index / 64).expect("the chunk is in the list");
        word.fetch_and(!(1 << (index % 64)), SeqCst);
        if chunk.free_count.load(SeqCst) >= self.quanta_min {
            self.note_room(index);
        }
    }

    fn room_word(&self, word_index: usize) -> Option<&AtomicU64> {
        let leaf_words = LEAF_CHUNKS / 64;
        let leaf = load(self.leaves.get(word_index / leaf_words)?)?;
        Some(&leaf.room[word_index % leaf_words])
    }

    fn chunk(&self, index: usize) -> Option<&'static Chunk> {
        load(&load(self.leaves.get(index / LEAF_CHUNKS)?)?.chunks[index % LEAF_CHUNKS])
    }
}

/// The description of 2 MiB of memory.
struct Chunk {
    base: usize,
    region: &'static Region,
    index: AtomicUsize,
    /// A set bit is a free quantum.
    free: [AtomicU64; CHUNK_WORDS],
    /// Free quanta; lags behind `free` by operations under way.
    free_count: AtomicU32,
    word_hint: AtomicUsize,
    /// No gap is longer, as far as is known: spares looking in vain. May be too small for a while after a race.
    gap_max: AtomicUsize,
    /// Whether the kernel may have memory behind the addresses.
    resident: AtomicBool,
    /// Whose each page is, in a chunk of pages.
    owners: [AtomicU32; CHUNK_PAGES],
}

impl Chunk {
    /// Takes a run out of a chunk that nobody else knows yet.
    fn reserve_first(&self, quanta: usize) -> usize {
        self.take(quanta).expect("a fresh chunk has room for any run")
    }

    fn take(&self, quanta: usize) -> Option<usize> {
        if (self.free_count.load(Relaxed) as usize) < quanta {
            return None;
        }
        let start = if self.region.is_pages() { self.take_page() } else { self.take_run(quanta) }?;
        let before = self.free_count.fetch_sub(quanta as u32, SeqCst);
        if before == CHUNK_QUANTA {
            self.region.empty.fetch_sub(1, Relaxed);
        }
        Some(self.base + start * QUANTUM_BYTES)
    }

    /// Takes a page: a quarter of a word.
    fn take_page(&self) -> Option<usize> {
        let hint = self.word_hint.load(Relaxed);
        for step in 0..CHUNK_WORDS {
            let index = (hint + step) % CHUNK_WORDS;
            let word = &self.free[index];
            let mut bits = word.load(Relaxed);
            loop {
                let starts = page_starts(bits);
                if starts == 0 {
                    break;
                }
                let start = starts.trailing_zeros() as usize;
                match word.compare_exchange_weak(bits, bits & !(mask(PAGE_QUANTA) << start), SeqCst, Relaxed)
                {
                    Ok(_) => {
                        if step != 0 {
                            self.word_hint.store(index, Relaxed);
                        }
                        return Some(index * WORD_QUANTA + start);
                    }
                    Err(now) => bits = now,
                }
            }
        }
        None
    }

    /// Takes a run out of the smallest gap that holds it, so that large gaps stay.
    fn take_run(&self, quanta: usize) -> Option<usize> {
        if quanta > self.gap_max.load(Relaxed) {
            return None;
        }
        loop {
            let words = std::array::from_fn(|index| self.free[index].load(Relaxed));
            let Some(start) = best_gap(&words, quanta) else {
                self.gap_max.store(quanta - 1, Relaxed);
                return None;
            };
            if self.claim(start, quanta) {
                return Some(start);
            }
        }
    }

    /// Takes these quanta if all are free; a run may lie in two words, then the first is given back on failure.
    fn claim(&self, start: usize, quanta: usize) -> bool {
        let parts = split(start, quanta);
        for (done, (index, bits)) in parts.into_iter().enumerate() {
            if !claim_bits(&self.free[index], bits) {
                for (index, bits) in parts.into_iter().take(done) {
                    self.free[index].fetch_or(bits, SeqCst);
                }
                return false;
            }
        }
        true
    }

    /// Frees a run; true when the chunk is entirely free now.
    fn put(&self, address: usize, quanta: usize) -> bool {
        let offset = address - self.base;
        assert!(offset.is_multiple_of(QUANTUM_BYTES), "a run begins at a quantum");
        let start = offset / QUANTUM_BYTES;
        assert!(start + quanta <= CHUNK_QUANTA as usize, "a run lies in one chunk");
        // Counted first, so that the count never falls below what the bits allow to be taken.
        let before = self.free_count.fetch_add(quanta as u32, SeqCst);
        for (index, bits) in split(start, quanta) {
            if bits == 0 {
                continue;
            }
            let word = self.free[index].fetch_or(bits, SeqCst);
            assert!(word & bits == 0, "a run is freed once");
        }
        self.gap_max.store(usize::MAX, Relaxed);
        if before + quanta as u32 == CHUNK_QUANTA {
            self.region.empty.fetch_add(1, Relaxed);
            return true;
        }
        false
    }

    /// Gives the memory of an entirely free chunk back to the kernel; false when somebody was quicker to use it.
    fn give_back(&self) -> bool {
        let mut held = 0;
        while held < CHUNK_WORDS {
            if self.free[held].compare_exchange(u64::MAX, 0, SeqCst, Relaxed).is_err() {
                break;
            }
            held += 1;
        }
        let whole = held == CHUNK_WORDS;
        if whole {
            // SAFETY: a chunk of ours, mapped for good, and nobody owns a quantum of it: all bits are held here.
            unsafe { chunk_memory::give_back(self.base) };
        }
        let was_resident = whole && self.resident.swap(false, Relaxed);
        for word in &self.free[..held] {
            word.store(u64::MAX, SeqCst);
        }
        was_resident
    }
}

/// From an address to its chunk: two levels over the upper bits of user addresses.
struct ChunkMap {
    roots: [AtomicPtr<MapLeaf>; 1 << MAP_BITS],
}

struct MapLeaf([AtomicPtr<Chunk>; 1 << MAP_BITS]);

impl ChunkMap {
    const fn new() -> ChunkMap {
        ChunkMap { roots: [const { AtomicPtr::new(ptr::null_mut()) }; 1 << MAP_BITS] }
    }

    fn insert(&self, base: usize, chunk: &'static Chunk) {
        let number = base / CHUNK_BYTES;
        let leaf = install(&self.roots[number >> MAP_BITS], || {
            MapLeaf([const { AtomicPtr::new(ptr::null_mut()) }; 1 << MAP_BITS])
        });
        leaf.0[number & ((1 << MAP_BITS) - 1)].store(ptr::from_ref(chunk).cast_mut(), Release);
    }

    fn find(&self, address: usize) -> Option<&'static Chunk> {
        let number = address / CHUNK_BYTES;
        let leaf = load(self.roots.get(number >> MAP_BITS)?)?;
        load(&leaf.0[number & ((1 << MAP_BITS) - 1)])
    }
}

/// The target of a pointer that was set once, to something that lives for good.
fn load<T>(cell: &AtomicPtr<T>) -> Option<&'static T> {
    let target = cell.load(Acquire);
    // SAFETY: the private cells of this file hold null or the address of a leaked box, published with Release.
    unsafe { target.as_ref() }
}

/// Sets a pointer that is still null to a new box; whoever comes second uses the first one's.
fn install<T>(cell: &AtomicPtr<T>, make: impl FnOnce() -> T) -> &'static T {
    if let Some(target) = load(cell) {
        return target;
    }
    let made = Box::into_raw(Box::new(make()));
    if cell.compare_exchange(ptr::null_mut(), made, SeqCst, Acquire).is_err() {
        // SAFETY: `made` comes from `into_raw` just above and was not published.
        drop(unsafe { Box::from_raw(made) });
    }
    load(cell).expect("set just above, by us or by another")
}

/// Clears these bits of a word if all are set.
fn claim_bits(word: &AtomicU64, bits: u64) -> bool {
    let mut now = word.load(Relaxed);
    while now & bits == bits {
        match word.compare_exchange_weak(now, now & !bits, SeqCst, Relaxed) {
            Ok(_) => return true,
            Err(other) => now = other,
        }
    }
    false
}

/// The start of the smallest gap of at least `quanta` set bits.
fn best_gap(words: &[u64; CHUNK_WORDS], quanta: usize) -> Option<usize> {
    let mut best: Option<(usize, usize)> = None;
    // The gap that reaches up to the current bit.
    let mut gap = 0;
    for (index, word) in words.iter().enumerate() {
        let mut at = 0;
        while at < WORD_QUANTA {
            let rest = word >> at;
            let ones = ((!rest).trailing_zeros() as usize).min(WORD_QUANTA - at);
            gap += ones;
            at += ones;
            if at == WORD_QUANTA && index + 1 < CHUNK_WORDS {
                break;
            }
            if gap >= quanta && best.is_none_or(|(size, _)| gap < size) {
                best = Some((gap, index * WORD_QUANTA + at - gap));
                if gap == quanta {
                    return best.map(|(_, start)| start);
                }
            }
            gap = 0;
            if at < WORD_QUANTA {
                at += (word >> at).trailing_zeros().min((WORD_QUANTA - at) as u32) as usize;
            }
        }
    }
    best.map(|(_, start)| start)
}

/// The words that a run touches, with its bits in each; the second part may be empty.
fn split(start: usize, quanta: usize) -> [(usize, u64); 2] {
    let (index, at) = (start / WORD_QUANTA, start % WORD_QUANTA);
    let low = quanta.min(WORD_QUANTA - at);
    [(index, mask(low) << at), ((index + 1) % CHUNK_WORDS, mask(quanta - low))]
}

/// The quarters of a word that are entirely free, each by its lowest bit.
fn page_starts(bits: u64) -> u64 {
    let pairs = bits & bits >> 1;
    let fours = pairs & pairs >> 2;
    let eights = fours & fours >> 4;
    eights & eights >> 8 & 0x0001_0001_0001_0001
}

fn mask(quanta: usize) -> u64 {
    (1 << quanta) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::scaled;
    use std::collections::HashSet;

    #[test]
    #[cfg_attr(miri, ignore = "long, and arithmetic only")]
    fn gaps_are_found_as_by_counting() {
        let mut state = 1u64;
        let mut next = || {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
            state ^ state >> 31
        };
        for round in 0..300 {
            let words: [u64; CHUNK_WORDS] = std::array::from_fn(|_| match round % 4 {
                0 => next() & next() & next(),
                1 => next() | next().rotate_left(7) | next().rotate_left(13),
                2 => [0, u64::MAX, next() << 32, next() >> 32][next() as usize % 4],
                _ => next(),
            });
            let free: Vec<bool> =
                (0..CHUNK_QUANTA as usize).map(|at| words[at / 64] >> (at % 64) & 1 == 1).collect();
            for quanta in 1..=RUN_QUANTA_MAX {
                let mut best: Option<(usize, usize)> = None;
                let mut at = 0;
                for gap in free.chunk_by(|a, b| a == b) {
                    if gap[0] && gap.len() >= quanta && best.is_none_or(|(size, _)| gap.len() < size) {
                        best = Some((gap.len(), at));
                    }
                    at += gap.len();
                }
                assert_eq!(best_gap(&words, quanta), best.map(|(_, start)| start));
            }
            for (index, word) in words.iter().enumerate() {
                let expected = (0..4)
                    .filter(|part| word >> (part * 16) & 0xffff == 0xffff)
                    .fold(0, |bits, part| bits | 1u64 << (part * 16));
                assert_eq!(page_starts(*word), expected, "{index}");
            }
        }
    }

    #[test]
    fn pages_are_aligned_and_distinct() {
        let pages: Vec<_> = (0..600).map(|_| POOL.alloc_page(PageOwner::fresh())).collect();
        let distinct: HashSet<_> = pages.iter().collect();
        assert_eq!(distinct.len(), pages.len());
        for page in pages {
            assert!((page.as_ptr() as usize).is_multiple_of(PAGE_BYTES));
            // SAFETY: taken above, freed once.
            unsafe { POOL.free_page(page) };
        }
    }

    /// Threads take, mark, check and free runs of all lengths: an overlap shows as a foreign mark.
    #[test]
    fn threads_never_share_a_quantum() {
        const ROUNDS: u64 = scaled(20_000);
        let threads: Vec<_> = (1..=4u64)
            .map(|thread| {
                std::thread::spawn(move || {
                    let mut state = thread;
                    let mut held: Vec<(NonNull<u8>, usize, u64)> = Vec::new();
                    for round in 0..ROUNDS {
                        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(99);
                        let random = (state >> 33) as usize;
                        if held.len() < 300 && random % 5 < 3 {
                            let quanta = 1 + random / 8 % RUN_QUANTA_MAX;
                            let run = POOL.alloc_run(quanta);
                            let mark = thread << 32 | round;
                            write_marks(run, quanta, mark);
                            held.push((run, quanta, mark));
                        } else if !held.is_empty() {
                            let (run, quanta, mark) = held.swap_remove(random / 8 % held.len());
                            check_marks(run, quanta, mark);
                            // SAFETY: taken above with this length, freed once.
                            unsafe { POOL.free_run(run, quanta) };
                        }
                    }
                    for (run, quanta, mark) in held {
                        check_marks(run, quanta, mark);
                        // SAFETY: taken above with this length, freed once.
                        unsafe { POOL.free_run(run, quanta) };
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no assertion failed");
        }
    }

    fn write_marks(run: NonNull<u8>, quanta: usize, mark: u64) {
        for quantum in 0..quanta {
            // SAFETY: inside the run.
            let at = unsafe { run.as_ptr().add(quantum * QUANTUM_BYTES) };
            // SAFETY: the run is ours and quanta are aligned.
            unsafe { at.cast::<u64>().write(mark) };
        }
    }

    fn check_marks(run: NonNull<u8>, quanta: usize, mark: u64) {
        for quantum in 0..quanta {
            // SAFETY: inside the run.
            let at = unsafe { run.as_ptr().add(quantum * QUANTUM_BYTES) };
            // SAFETY: the run is ours and was marked.
            assert_eq!(unsafe { at.cast::<u64>().read() }, mark);
        }
    }
}
