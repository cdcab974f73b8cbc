//! LZF, the compression of RDB strings: a byte-aligned LZ77 with a window of 8 KiB.
//!
//! ```text
//! 000LLLLL                     L + 1 literal bytes follow                        1..=32
//! LLLooooo oooooooo            L + 2 bytes from o + 1 before here                3..=8
//! 111ooooo LLLLLLLL oooooooo   L + 9 bytes from o + 1 before here                9..=264
//! ```
//!
//! Design: the compressor remembers the last place of each hash of three bytes in a table on the stack, and takes the
//! first match it finds (greedy). A run of misses makes it look at fewer places, so that data without repetitions
//! costs little.
//!
//! Invariants: the decompressor writes exactly the announced number of bytes, or fails.
//! Costs: compressing clears a table of 4 to 16 bytes for each byte of a short input, and of 64 KiB for a long one; decompressing
//! allocates the result alone.

/// Most bytes that one byte of input can become: a match of 264 bytes takes three.
pub const EXPANSION_MAX: usize = MATCH_BYTES_MAX.div_ceil(3);

const LITERALS_MAX: usize = 32;
const MATCH_BYTES_MIN: usize = 3;
const MATCH_BYTES_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;
/// From this length on, a match has a length byte of its own.
const MATCH_BYTES_LONG: usize = 9;

/// Of the table's size, for inputs of up to so many bytes, and for longer ones.
const SHORT_BITS: u32 = 8;
const SHORT_BYTES_MAX: usize = 256;
const MIDDLE_BITS: u32 = 12;
const MIDDLE_BYTES_MAX: usize = 4096;
const LONG_BITS: u32 = 14;
/// Every so many misses in a row, the step grows by one.
const MISSES_PER_STEP_SHIFT: u32 = 6;

/// Appends `input` compressed to `out`, if that takes at most `bytes_max`; otherwise leaves `out` as it was.
/// The number of bytes appended.
pub fn compress(input: &[u8], bytes_max: usize, out: &mut Vec<u8>) -> Option<usize> {
    let start = out.len();
    let end_max = start + bytes_max;
    let is_whole = if input.len() <= SHORT_BYTES_MAX {
        compress_greedily::<SHORT_BITS, { 1 << SHORT_BITS }>(input, end_max, out)
    } else if input.len() <= MIDDLE_BYTES_MAX {
        compress_greedily::<MIDDLE_BITS, { 1 << MIDDLE_BITS }>(input, end_max, out)
    } else {
        compress_greedily::<LONG_BITS, { 1 << LONG_BITS }>(input, end_max, out)
    };
    let written = is_whole.then(|| out.len() - start);
    if written.is_none() {
        out.truncate(start);
    }
    written
}

/// With a table of `PLACES`, two to the power of `BITS`.
fn compress_greedily<const BITS: u32, const PLACES: usize>(
    input: &[u8],
    end_max: usize,
    out: &mut Vec<u8>,
) -> bool {
    // Places are kept plus one, zero being none; inputs beyond 4 GiB would need wider ones.
    if u32::try_from(input.len() + 1).is_err() {
        return false;
    }
    let mut places = [0u32; PLACES];
    let (mut at, mut literals_from, mut misses) = (0, 0, 0usize);
    while let Some(three) = input[at..].first_chunk::<3>() {
        let place = &mut places[slot::<BITS>(*three)];
        let before = *place as usize;
        *place = at as u32 + 1;
        let found = before
            .checked_sub(1)
            .filter(|before| at - before <= DISTANCE_MAX && input[*before..before + 3] == *three);
        let Some(before) = found else {
            misses += 1;
            at += 1 + (misses >> MISSES_PER_STEP_SHIFT);
            at = at.min(input.len());
            continue;
        };
        misses = 0;
        let len = match_len(input, before, at);
        write_literals(&input[literals_from..at], out);
        write_match(len, at - before, out);
        if out.len() > end_max {
            return false;
        }
        // The places inside a match are worth remembering at its end, where the next one often begins.
        at += len;
        literals_from = at;
        for inside in at.saturating_sub(2)..at {
            if let Some(three) = input[inside..].first_chunk::<3>() {
                places[slot::<BITS>(*three)] = inside as u32 + 1;
            }
        }
    }
    write_literals(&input[literals_from..], out);
    out.len() <= end_max
}

/// Appends exactly `len` bytes, the decompressed `input`, to an empty vector; `None` if it is not that.
pub fn decompress(input: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > input.len().saturating_mul(EXPANSION_MAX) {
        return None;
    }
    let mut out = Vec::new();
    out.try_reserve_exact(len).ok()?;
    let mut rest = input;
    while let Some((control, after)) = rest.split_first() {
        rest = after;
        let control = usize::from(*control);
        if control < LITERALS_MAX {
            let (literals, after) = rest.split_at_checked(control + 1)?;
            out.extend_from_slice(literals);
            rest = after;
        } else {
            let mut count = (control >> 5) + 2;
            if count == MATCH_BYTES_LONG {
                let (more, after) = rest.split_first()?;
                count += usize::from(*more);
                rest = after;
            }
            let (low, after) = rest.split_first()?;
            rest = after;
            let distance = ((control & 0x1f) << 8 | usize::from(*low)) + 1;
            copy_within(&mut out, distance, count, len)?;
        }
        if out.len() > len {
            return None;
        }
    }
    (out.len() == len).then_some(out)
}

/// Repeats the `count` bytes that begin `distance` before the end; they may overlap what is written.
fn copy_within(out: &mut Vec<u8>, distance: usize, count: usize, len_max: usize) -> Option<()> {
    let from = out.len().checked_sub(distance)?;
    if count > len_max - out.len() {
        return None;
    }
    let mut left = count;
    while left > 0 {
        // What has been written so far repeats with the period `distance`, so the piece doubles each time.
        let piece = left.min(out.len() - from);
        out.extend_from_within(from..from + piece);
        left -= piece;
    }
    Some(())
}

fn slot<const BITS: u32>(three: [u8; 3]) -> usize {
    let word = u32::from_le_bytes([three[0], three[1], three[2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - BITS)) as usize
}

/// How long the bytes at `before` and at `at` are the same, as far as one match reaches.
fn match_len(input: &[u8], before: usize, at: usize) -> usize {
    let most = MATCH_BYTES_MAX.min(input.len() - at);
    let same = input[before..].iter().zip(&input[at..at + most]).take_while(|(left, right)| left == right);
    let len = same.count();
    assert!(len >= MATCH_BYTES_MIN, "three bytes were seen to be equal");
    len
}

fn write_literals(literals: &[u8], out: &mut Vec<u8>) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push((run.len() - 1) as u8);
        out.extend_from_slice(run);
    }
}

fn write_match(len: usize, distance: usize, out: &mut Vec<u8>) {
    assert!((MATCH_BYTES_MIN..=MATCH_BYTES_MAX).contains(&len), "`match_len` finds no other");
    assert!((1..=DISTANCE_MAX).contains(&distance), "the caller has looked");
    let [high, low] = ((distance - 1) as u16).to_be_bytes();
    if len < MATCH_BYTES_LONG {
        out.extend_from_slice(&[((len - 2) as u8) << 5 | high, low]);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - MATCH_BYTES_LONG) as u8, low]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn there_and_back(input: &[u8]) {
        let mut out = b"before".to_vec();
        let room = input.len() * 2 + 100;
        let written = compress(input, room, &mut out).expect("room for the worst case");
        assert_eq!(out.len(), 6 + written);
        assert_eq!(decompress(&out[6..], input.len()).as_deref(), Some(input));
        assert!(written <= input.len() + input.len().div_ceil(LITERALS_MAX));
    }

    #[test]
    fn repetitions_become_short() {
        let mut out = Vec::new();
        let input = b"a".repeat(10_000);
        assert!(compress(&input, 9_996, &mut out).expect("shorter") < 150);
        there_and_back(&input);
        there_and_back(&b"0123456789".repeat(5000));
        for len in 0..700 {
            there_and_back(&b"ab".repeat(len)[len..]);
        }
    }

    #[test]
    fn what_does_not_become_short_is_left_alone() {
        let mut out = vec![1, 2];
        let input: Vec<u8> = (0..2000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        assert_eq!(compress(&input, 1000, &mut out), None);
        assert_eq!(out, [1, 2]);
    }

    #[test]
    fn wrong_input_is_refused() {
        // A match before the beginning; cut literals; cut matches; too long; too short; beyond the expansion.
        assert_eq!(decompress(b"\x20\x00", 3), None);
        assert_eq!(decompress(b"\x05ab", 6), None);
        assert_eq!(decompress(b"\x00a\x20", 4), None);
        assert_eq!(decompress(b"\x00a\xe0\x00", 10), None);
        assert_eq!(decompress(b"\x01ab", 1), None);
        assert_eq!(decompress(b"\x00a\x20\x00", 3), None);
        assert_eq!(decompress(b"\x01ab", 3), None);
        assert_eq!(decompress(b"\x01ab", usize::MAX), None);
        assert_eq!(decompress(b"\x00a\x20\x00", 4).as_deref(), Some(&b"aaaa"[..]));
        assert_eq!(decompress(b"", 0).as_deref(), Some(&b""[..]));
    }

    proptest! {
        #[test]
        fn anything_comes_back(input in prop::collection::vec(0u8..3, 0..3000)) {
            there_and_back(&input);
        }

        #[test]
        fn random_bytes_come_back(input in prop::collection::vec(any::<u8>(), 0..3000)) {
            there_and_back(&input);
        }

        #[test]
        fn any_input_is_survived(input in prop::collection::vec(any::<u8>(), 0..100), len in 0usize..10_000) {
            if let Some(out) = decompress(&input, len) {
                prop_assert_eq!(out.len(), len);
            }
        }
    }
}
