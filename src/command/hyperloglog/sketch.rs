//! What is in a string: its header, and either of its two forms.
//!
//! ```text
//! 0      4      5        8          16
//! | HYLL | form | unused | estimate | registers
//! form      0 dense, 1 sparse
//! estimate  little-endian; the highest bit says that something was added since
//! ```

use super::estimate::Histogram;
use super::sparse::Raise;
use super::{CORRUPTED, CommandError, REGISTERS, Registers, dense, sparse};

const MAGIC: &[u8; 4] = b"HYLL";
const FORM_AT: usize = MAGIC.len();
const ESTIMATE_AT: usize = 8;
/// Where the registers begin.
pub(super) const HEADER_BYTES: usize = 16;
const DENSE_BYTES: usize = HEADER_BYTES + dense::BYTES;
/// In the last byte of the header.
const STALE: u8 = 0x80;

/// How registers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Dense = 0,
    Sparse = 1,
}

/// A string that has the header of a sketch.
#[derive(Clone, Copy)]
pub(super) struct Sketch<'a> {
    value: &'a [u8],
    form: Form,
}

impl<'a> Sketch<'a> {
    /// The sketch that a string holds, as far as its header tells.
    pub fn of(value: &'a [u8]) -> Option<Sketch<'a>> {
        if value.len() < HEADER_BYTES || !value.starts_with(MAGIC) {
            return None;
        }
        let form = match value[FORM_AT] {
            0 if value.len() == DENSE_BYTES => Form::Dense,
            1 => Form::Sparse,
            _ => return None,
        };
        Some(Sketch { value, form })
    }

    pub fn form(self) -> Form {
        self.form
    }

    /// The bytes that say what the registers hold.
    pub fn registers(self) -> &'a [u8] {
        &self.value[HEADER_BYTES..]
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.value.to_vec()
    }

    /// The estimate that was noted, unless something was added since.
    pub fn noted(self) -> Option<u64> {
        let (_, bytes) = self.value[..HEADER_BYTES].split_last_chunk().expect("the header has as many bytes");
        (bytes[7] & STALE == 0).then_some(u64::from_le_bytes(*bytes))
    }

    /// Raises registers to those of the sketch.
    pub fn merge_into(self, registers: &mut Registers) -> Result<(), CommandError> {
        match self.form {
            Form::Dense => dense::merge_into(self.registers(), registers),
            Form::Sparse => sparse::merge_into(self.registers(), registers)?,
        }
        Ok(())
    }

    /// The number of elements.
    pub fn estimate(self) -> Result<u64, CommandError> {
        let mut registers = [0; REGISTERS];
        self.merge_into(&mut registers)?;
        Ok(Histogram::of(&registers).estimate())
    }

    /// Whether raising a register changes it.
    pub fn is_lower(self, index: usize, rank: u8) -> Result<bool, CommandError> {
        match self.form {
            Form::Dense => Ok(dense::get(self.registers(), index) < rank),
            Form::Sparse => Ok(sparse::look(self.registers(), index, rank)? != Raise::Nothing),
        }
    }
}

/// A new sketch. Nothing was added, and yet it counts as such, as in Redis.
pub(super) fn empty() -> Vec<u8> {
    let mut value = vec![0; HEADER_BYTES];
    value[..FORM_AT].copy_from_slice(MAGIC);
    value[FORM_AT] = Form::Sparse as u8;
    mark_stale(&mut value);
    value.extend(sparse::empty());
    value
}

/// Something was added.
pub(super) fn mark_stale(value: &mut [u8]) {
    value[HEADER_BYTES - 1] |= STALE;
}

/// Notes the estimate.
pub(super) fn note(value: &mut [u8], estimate: u64) {
    value[ESTIMATE_AT..HEADER_BYTES].copy_from_slice(&estimate.to_le_bytes());
}

/// Raises a register of a sketch; whether it was lower. A sparse sketch that would become longer than `sparse_bytes_max` becomes
/// dense.
pub(super) fn raise(
    value: &mut Vec<u8>,
    index: usize,
    rank: u8,
    sparse_bytes_max: u64,
) -> Result<bool, CommandError> {
    let has_changed = if value[FORM_AT] == Form::Dense as u8 {
        dense::raise(&mut value[HEADER_BYTES..], index, rank)
    } else {
        match sparse::look(&value[HEADER_BYTES..], index, rank)? {
            Raise::Nothing => return Ok(false),
            Raise::Cut(place) if place.growth() == 0 || fits(value, place.growth(), sparse_bytes_max) => {
                place.apply(value, HEADER_BYTES);
                true
            }
            Raise::Cut(_) | Raise::TooHigh => {
                *value = densified(value)?;
                dense::raise(&mut value[HEADER_BYTES..], index, rank)
            }
        }
    };
    if has_changed {
        mark_stale(value);
    }
    Ok(has_changed)
}

fn fits(value: &[u8], growth: usize, bytes_max: u64) -> bool {
    (value.len() + growth) as u64 <= bytes_max
}

/// The dense form of a sparse sketch. The header stays.
pub(super) fn densified(value: &[u8]) -> Result<Vec<u8>, CommandError> {
    let sketch = Sketch::of(value).ok_or(CORRUPTED)?;
    let mut registers = [0; REGISTERS];
    sketch.merge_into(&mut registers)?;
    let mut dense = vec![0; DENSE_BYTES];
    dense[..HEADER_BYTES].copy_from_slice(&value[..HEADER_BYTES]);
    dense[FORM_AT] = Form::Dense as u8;
    dense::pack(&registers, &mut dense[HEADER_BYTES..]);
    Ok(dense)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However early it becomes dense, a sketch says the same.
        #[test]
        fn both_forms_say_the_same(
            raised in proptest::collection::vec((0..REGISTERS, 1u8..52), 0..200), bytes_max in 0u64..400,
        ) {
            let (mut value, mut naive) = (empty(), [0; REGISTERS]);
            for (index, rank) in raised {
                let is_lower = Sketch::of(&value).expect("it is one").is_lower(index, rank);
                prop_assert_eq!(is_lower, Ok(naive[index] < rank));
                prop_assert_eq!(raise(&mut value, index, rank, bytes_max), Ok(naive[index] < rank));
                naive[index] = naive[index].max(rank);
                prop_assert!(value.len() == DENSE_BYTES || value.len() as u64 <= bytes_max.max(18));
            }
            let sketch = Sketch::of(&value).expect("it is one");
            let mut registers = [0; REGISTERS];
            prop_assert_eq!(sketch.merge_into(&mut registers), Ok(()));
            prop_assert!(registers == naive);
            let estimate = Histogram::of(&naive).estimate();
            prop_assert_eq!(sketch.estimate(), Ok(estimate));
            prop_assert_eq!(sketch.noted(), None);
            note(&mut value, estimate);
            prop_assert_eq!(Sketch::of(&value).expect("it is one").noted(), Some(estimate));
        }
    }

    #[test]
    fn strings_that_are_no_sketches_are_none() {
        let value = empty();
        assert!(Sketch::of(&value).is_some());
        assert!(Sketch::of(&value[..HEADER_BYTES - 1]).is_none());
        for (at, byte) in [(0, b'h'), (3, 0), (FORM_AT, 0), (FORM_AT, 2)] {
            let mut other = value.clone();
            other[at] = byte;
            assert!(Sketch::of(&other).is_none(), "{at}");
        }
        let mut dense = densified(&value).expect("it is whole");
        assert!(Sketch::of(&dense).is_some());
        dense.push(0);
        assert!(Sketch::of(&dense).is_none());
    }
}
