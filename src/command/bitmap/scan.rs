//! Counting and finding bits.
//!
//! Design: counting adds bits up in carry-save adders, sixteen vectors at a time, so that only the sums of sixteen are counted
//! bit by bit (Harley and Seal; Mula, Kurz, Lemire: Faster population counts using AVX2 instructions, 2016). A vector is an
//! array here, which the compiler keeps in registers as wide as it may use. Finding skips blocks of bytes that hold none.
//!
//! Costs: about six operations for each vector counted.

use std::array::from_fn;
use std::ops::Range;

/// Words of a vector.
const LANES: usize = 4;
const VECTOR_BYTES: usize = LANES * size_of::<u64>();
/// Vectors added up before any is counted.
const VECTORS: usize = 16;
const ROUND_BYTES: usize = VECTORS * VECTOR_BYTES;
/// Bytes that are looked at together where a bit is sought.
const BLOCK_BYTES: usize = 256;

type Vector = [u64; LANES];

/// How many of these bits are set.
pub(super) fn count(bytes: &[u8], bits: Range<u64>) -> u64 {
    if bits.is_empty() {
        return 0;
    }
    let (first, last) = ((bits.start / 8) as usize, ((bits.end - 1) / 8) as usize);
    let before = bytes[first] & !(0xff >> (bits.start % 8));
    let behind = bytes[last] & (0x7f >> ((bits.end - 1) % 8));
    count_all(&bytes[first..=last]) - u64::from(before.count_ones() + behind.count_ones())
}

/// Where the first of these bits is that is set, or clear.
pub(super) fn find(bytes: &[u8], bits: Range<u64>, bit: bool) -> Option<u64> {
    if bits.is_empty() {
        return None;
    }
    // What is sought is a set bit from here on.
    let flip = if bit { 0 } else { 0xff };
    let (first, end) = ((bits.start / 8) as usize, bits.end.div_ceil(8) as usize);
    let begun = (bytes[first] ^ flip) & (0xff >> (bits.start % 8));
    let (at, byte) = if begun != 0 {
        (first, begun)
    } else {
        let at = first + 1 + find_other(&bytes[first + 1..end], flip)?;
        (at, bytes[at] ^ flip)
    };
    let found = 8 * at as u64 + u64::from(byte.leading_zeros());
    (found < bits.end).then_some(found)
}

/// The first byte that is not this one.
fn find_other(bytes: &[u8], byte: u8) -> Option<usize> {
    let differs = |block: &[u8]| block.iter().fold(0, |differences, other| differences | (other ^ byte)) != 0;
    let start = BLOCK_BYTES * bytes.chunks(BLOCK_BYTES).position(differs)?;
    let within = bytes[start..].iter().position(|other| *other != byte)?;
    Some(start + within)
}

/// How many bits are set in all bytes.
fn count_all(bytes: &[u8]) -> u64 {
    let rounds = bytes.chunks_exact(ROUND_BYTES);
    let rest = rounds.remainder();
    let mut sums = Sums::default();
    for round in rounds {
        let vectors: &[u8; ROUND_BYTES] = round.try_into().expect("chunks are as long as said");
        sums.add(vectors);
    }
    let words = rest.chunks_exact(size_of::<u64>());
    let last = words.remainder().iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    let word = |word: &[u8]| u64::from_ne_bytes(word.try_into().expect("chunks are as long as said"));
    sums.total() + words.map(|bytes| u64::from(word(bytes).count_ones())).sum::<u64>() + last
}

/// Bits counted so far: each bit of `ones` counts once, of `twos` twice, and so on.
#[derive(Default)]
struct Sums {
    sixteens: u64,
    eights: Vector,
    fours: Vector,
    twos: Vector,
    ones: Vector,
}

impl Sums {
    #[inline(always)]
    fn add(&mut self, bytes: &[u8; ROUND_BYTES]) {
        let vector = |index: usize| -> Vector {
            from_fn(|lane| {
                let at = index * VECTOR_BYTES + lane * size_of::<u64>();
                let word = bytes[at..].first_chunk().expect("a round has as many bytes");
                u64::from_ne_bytes(*word)
            })
        };
        // Eight vectors to one that counts eight times.
        let mut eight = |first: usize| {
            let mut four = |first: usize| {
                let mut two = |first: usize| add(&mut self.ones, vector(first), vector(first + 1));
                let (low, high) = (two(first), two(first + 2));
                add(&mut self.twos, low, high)
            };
            let (low, high) = (four(first), four(first + 4));
            add(&mut self.fours, low, high)
        };
        let (low, high) = (eight(0), eight(8));
        self.sixteens += ones_in(&add(&mut self.eights, low, high));
    }

    fn total(&self) -> u64 {
        16 * self.sixteens
            + 8 * ones_in(&self.eights)
            + 4 * ones_in(&self.fours)
            + 2 * ones_in(&self.twos)
            + ones_in(&self.ones)
    }
}

/// Adds two vectors to a sum, bit by bit, and returns what is carried.
#[inline(always)]
fn add(sum: &mut Vector, one: Vector, other: Vector) -> Vector {
    let half: Vector = from_fn(|lane| sum[lane] ^ one[lane]);
    let carry = from_fn(|lane| sum[lane] & one[lane] | half[lane] & other[lane]);
    *sum = from_fn(|lane| half[lane] ^ other[lane]);
    carry
}

#[inline(always)]
fn ones_in(vector: &Vector) -> u64 {
    vector.iter().map(|word| u64::from(word.count_ones())).sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bit_at(bytes: &[u8], offset: u64) -> bool {
        bytes[(offset / 8) as usize] & 0x80 >> (offset % 8) != 0
    }

    fn check(bytes: &[u8], bits: Range<u64>) {
        let naive = bits.clone().filter(|offset| bit_at(bytes, *offset)).count() as u64;
        assert_eq!(count(bytes, bits.clone()), naive, "{bits:?} of {} bytes", bytes.len());
        for bit in [false, true] {
            let naive = bits.clone().find(|offset| bit_at(bytes, *offset) == bit);
            assert_eq!(find(bytes, bits.clone(), bit), naive, "{bit} in {bits:?} of {} bytes", bytes.len());
        }
    }

    /// Every boundary of rounds, vectors, words and blocks.
    #[test]
    fn whole_strings_of_all_lengths_are_counted() {
        let lengths = (0..70).chain([255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1031, 4096, 5000]);
        for len in lengths {
            for fill in [0, 0xff, 0b0001_0110] {
                let mut bytes = vec![fill; len];
                check(&bytes, 0..8 * len as u64);
                if let Some(last) = bytes.last_mut() {
                    *last ^= 1;
                }
                check(&bytes, 0..8 * len as u64);
            }
        }
    }

    proptest! {
        #[test]
        fn any_range_is_counted_and_searched(
            bytes in proptest::collection::vec(any::<u8>(), 1..1500), ends in any::<(u64, u64)>(),
        ) {
            let len = 8 * bytes.len() as u64;
            let (one, other) = (ends.0 % (len + 1), ends.1 % (len + 1));
            check(&bytes, one.min(other)..one.max(other));
        }

        #[test]
        fn lonely_bits_are_found(
            len in 1u64..3000, at: u64, start: u64, fill: bool,
        ) {
            let mut bytes = vec![if fill { 0xff } else { 0 }; len as usize];
            let at = at % (8 * len);
            bytes[(at / 8) as usize] ^= 0x80 >> (at % 8);
            check(&bytes, start % (8 * len)..8 * len);
            check(&bytes, 0..at);
        }
    }
}
