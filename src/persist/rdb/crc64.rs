//! CRC-64 with the polynomial of Jones, as RDB files and DUMP payloads end with.
//!
//! Design: reflected, no inversion at either end, so that sums of equally long texts add up (`exchanged`). The crate multiplies
//! without carry where the processor can, 16 bytes and more at a time.

use crc_fast::{CrcAlgorithm, Digest, checksum_combine};

const JONES: CrcAlgorithm = CrcAlgorithm::Crc64Redis;

/// The sum over `bytes`, going on from `before` (0 at the beginning).
pub fn sum(before: u64, bytes: &[u8]) -> u64 {
    let mut digest = Digest::new_with_init_state(JONES, before);
    digest.update(bytes);
    digest.finalize()
}

/// The sum over a text whose sum is `whole`, if its beginning is replaced by one of equal length; `rest_bytes` follow the
/// beginning.
pub fn exchanged(whole: u64, beginning: &[u8], replacement: &[u8], rest_bytes: u64) -> u64 {
    assert_eq!(beginning.len(), replacement.len());
    let difference = sum(0, beginning) ^ sum(0, replacement);
    whole ^ checksum_combine(JONES, difference, 0, rest_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 0xad93d23594c935a9 with its bits reversed.
    const POLYNOMIAL: u64 = 0x95ac_9329_ac4b_c9b5;

    /// Bit by bit, from the definition.
    fn naive(bytes: &[u8]) -> u64 {
        bytes.iter().fold(0, |sum, byte| {
            (0..8).fold(sum ^ u64::from(*byte), |sum, _| sum >> 1 ^ if sum & 1 == 1 { POLYNOMIAL } else { 0 })
        })
    }

    fn text() -> Vec<u8> {
        (0..1000u32).map(|n| ((n * n) >> 3) as u8).collect()
    }

    #[test]
    fn the_check_value_is_right() {
        assert_eq!(sum(0, b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(sum(0, b""), 0);
    }

    #[test]
    fn slices_and_pieces_agree_with_the_definition() {
        let bytes = text();
        for len in 0..300 {
            assert_eq!(sum(0, &bytes[..len]), naive(&bytes[..len]));
            assert_eq!(sum(sum(0, &bytes[..len]), &bytes[len..]), naive(&bytes));
        }
    }

    #[test]
    fn beginning_exchanged_gives_sum_of_exchanged_text() {
        let bytes = text();
        for len in [9, 10, 100, 1000] {
            let mut other = bytes[..len].to_vec();
            other[..9].copy_from_slice(b"REDIS0011");
            let exchanged = exchanged(naive(&bytes[..len]), &bytes[..9], b"REDIS0011", len as u64 - 9);
            assert_eq!(exchanged, naive(&other), "{len}");
        }
    }
}
