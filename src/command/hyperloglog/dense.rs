//! The form of many registers: six bits each, the lowest bits of the first byte first.

use super::{REGISTERS, Registers};

const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u8 = (1 << REGISTER_BITS) - 1;
/// Bytes of all registers.
pub(super) const BYTES: usize = REGISTERS * REGISTER_BITS / 8;
/// Registers that end where a byte does, and their bytes.
const GROUP: usize = 4;
const GROUP_BYTES: usize = 3;

/// What a register holds.
pub(super) fn get(bytes: &[u8], index: usize) -> u8 {
    let (at, shift) = place(index);
    let next = bytes.get(at + 1).copied().unwrap_or(0);
    (u16::from_le_bytes([bytes[at], next]) >> shift) as u8 & REGISTER_MAX
}

/// Raises a register to a rank; whether it was lower.
pub(super) fn raise(bytes: &mut [u8], index: usize, rank: u8) -> bool {
    if get(bytes, index) >= rank {
        return false;
    }
    let (at, shift) = place(index);
    let clear = |byte: &mut u8, mask: u16, bits: u16| *byte = *byte & !(mask as u8) | bits as u8;
    let (mask, bits) = (u16::from(REGISTER_MAX) << shift, u16::from(rank) << shift);
    clear(&mut bytes[at], mask, bits);
    if let Some(next) = bytes.get_mut(at + 1) {
        clear(next, mask >> 8, bits >> 8);
    }
    true
}

/// Raises registers to those of a sketch.
pub(super) fn merge_into(bytes: &[u8], registers: &mut Registers) {
    let (groups, _) = registers.as_chunks_mut::<GROUP>();
    for (four, [low, middle, high]) in groups.iter_mut().zip(bytes.as_chunks::<GROUP_BYTES>().0) {
        let word = u32::from_le_bytes([*low, *middle, *high, 0]);
        for (place, register) in four.iter_mut().enumerate() {
            *register = (*register).max((word >> (place * REGISTER_BITS)) as u8 & REGISTER_MAX);
        }
    }
}

/// As `merge_into`, one register after the other.
pub(super) fn merge_singly(bytes: &[u8], registers: &mut Registers) {
    for (index, register) in registers.iter_mut().enumerate() {
        *register = (*register).max(get(bytes, index));
    }
}

/// Writes all registers.
pub(super) fn pack(registers: &Registers, bytes: &mut [u8]) {
    let (groups, _) = registers.as_chunks::<GROUP>();
    for (four, packed) in groups.iter().zip(bytes.as_chunks_mut::<GROUP_BYTES>().0) {
        let together =
            four.iter().rev().fold(0, |word, register| word << REGISTER_BITS | u32::from(*register));
        packed.copy_from_slice(&together.to_le_bytes()[..GROUP_BYTES]);
    }
}

/// The byte that a register begins in, and the bit.
fn place(index: usize) -> (usize, usize) {
    (index * REGISTER_BITS / 8, index * REGISTER_BITS % 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn registers_are_kept_apart(raised in proptest::collection::vec((0..REGISTERS, 0u8..64), 0..300)) {
            let (mut bytes, mut naive) = ([0; BYTES], [0; REGISTERS]);
            for (index, rank) in raised {
                prop_assert_eq!(raise(&mut bytes, index, rank), naive[index] < rank);
                naive[index] = naive[index].max(rank);
                prop_assert_eq!(get(&bytes, index), naive[index]);
            }
            let mut packed = [0xff; BYTES];
            pack(&naive, &mut packed);
            prop_assert!(packed == bytes);
            let (mut merged, mut singly) = ([1; REGISTERS], [1; REGISTERS]);
            merge_into(&bytes, &mut merged);
            merge_singly(&bytes, &mut singly);
            prop_assert!(merged == naive.map(|register| register.max(1)));
            prop_assert!(merged == singly);
        }
    }
}
