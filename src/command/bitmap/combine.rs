//! Several rows of bits combined to one, as long as the longest of them: behind the end of each are zeros.
//!
//! Design: a block of the result is made of all sources before the next one, so that it stays in the nearest cache meanwhile.
//!
//! Costs: each source is read once, the result written twice, once of them into that cache.

/// What is done to the bits at one place; those of the first source and of all others where these differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    /// Set in all.
    And,
    /// Set in any.
    Or,
    /// Set in an odd number.
    Xor,
    /// Clear in the only one.
    Not,
    /// Set in the first and in no other.
    Diff,
    /// Set in another and not in the first.
    Diff1,
    /// Set in the first and in any other.
    AndOr,
    /// Set in exactly one.
    One,
}

const BLOCK_BYTES: usize = 4096;

type Block = [u8; BLOCK_BYTES];

impl Operation {
    /// The combination of these sources, of which there is at least one.
    pub fn of(self, sources: &[&[u8]]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let mut result = Vec::with_capacity(len);
        let (mut block, mut other) = ([0; BLOCK_BYTES], [0; BLOCK_BYTES]);
        while result.len() < len {
            let start = result.len();
            let count = BLOCK_BYTES.min(len - start);
            let parts = sources.iter().map(|source| {
                let behind = &source[start.min(source.len())..];
                &behind[..count.min(behind.len())]
            });
            self.combine(parts, &mut block, &mut other);
            result.extend_from_slice(&block[..count]);
        }
        result
    }

    /// Leaves in `block` what these parts of the sources make, each as long as a block or ending in it.
    fn combine<'a>(self, mut parts: impl Iterator<Item = &'a [u8]>, block: &mut Block, other: &mut Block) {
        let first = parts.next().expect("there is a source");
        match self {
            Operation::And => {
                copy(block, first);
                for part in parts {
                    each(block, part, |bits, more| bits & more);
                    block[part.len()..].fill(0);
                }
            }
            Operation::Or => {
                copy(block, first);
                parts.for_each(|part| each(block, part, |bits, more| bits | more));
            }
            Operation::Xor => {
                copy(block, first);
                parts.for_each(|part| each(block, part, |bits, more| bits ^ more));
            }
            Operation::Not => {
                copy(block, first);
                block.iter_mut().for_each(|bits| *bits = !*bits);
            }
            Operation::Diff | Operation::Diff1 | Operation::AndOr => {
                copy(block, parts.next().unwrap_or(b""));
                parts.for_each(|part| each(block, part, |bits, more| bits | more));
                match self {
                    Operation::Diff => each(block, first, |others, first| first & !others),
                    Operation::Diff1 => each(block, first, |others, first| others & !first),
                    _ => each(block, first, |others, first| first & others),
                }
                if self != Operation::Diff1 {
                    block[first.len()..].fill(0);
                }
            }
            Operation::One => {
                copy(block, first);
                other.fill(0);
                for part in parts {
                    for ((once, often), more) in block.iter_mut().zip(other.iter_mut()).zip(part) {
                        *often |= *once & more;
                        *once |= more;
                    }
                }
                each(block, other, |once, often| once & !often);
            }
        }
    }
}

/// The bytes, with zeros behind.
fn copy(block: &mut Block, bytes: &[u8]) {
    block[..bytes.len()].copy_from_slice(bytes);
    block[bytes.len()..].fill(0);
}

/// Combines each of these bytes with that of the block.
#[inline(always)]
fn each(block: &mut Block, bytes: &[u8], combine: impl Fn(u8, u8) -> u8) {
    block.iter_mut().zip(bytes).for_each(|(one, other)| *one = combine(*one, *other));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: [Operation; 8] = [
        Operation::And,
        Operation::Or,
        Operation::Xor,
        Operation::Not,
        Operation::Diff,
        Operation::Diff1,
        Operation::AndOr,
        Operation::One,
    ];

    /// By what each says of itself, bit by bit.
    fn naive(operation: Operation, sources: &[&[u8]]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let byte = |at: usize| {
            (0..8).fold(0u8, |byte, bit| {
                let bits: Vec<bool> = sources
                    .iter()
                    .map(|source| source.get(at).is_some_and(|byte| byte << bit & 0x80 != 0))
                    .collect();
                let (set, in_others) = (bits.iter().filter(|bit| **bit).count(), bits[1..].contains(&true));
                let is_set = match operation {
                    Operation::And => set == bits.len(),
                    Operation::Or => set > 0,
                    Operation::Xor => set % 2 == 1,
                    Operation::Not => !bits[0],
                    Operation::Diff => bits[0] && !in_others,
                    Operation::Diff1 => !bits[0] && in_others,
                    Operation::AndOr => bits[0] && in_others,
                    Operation::One => set == 1,
                };
                byte << 1 | u8::from(is_set)
            })
        };
        (0..len).map(byte).collect()
    }

    fn check(sources: &[&[u8]]) {
        for operation in ALL {
            let sources = if operation == Operation::Not { &sources[..1] } else { sources };
            assert_eq!(operation.of(sources), naive(operation, sources), "{operation:?}");
        }
    }

    #[test]
    fn ends_at_and_beside_blocks() {
        for len in [0, 1, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 3]
        {
            let (long, short) = (vec![0b0110_0101; len], vec![0b1010_0011; len / 2]);
            check(&[&long]);
            check(&[&long, &short]);
            check(&[&short, &long]);
            check(&[&short, &long, b"", &long]);
        }
    }

    proptest! {
        #[test]
        fn any_sources_are_combined_as_bit_by_bit(
            sources in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..100), 1..7),
        ) {
            check(&sources.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }
    }
}
