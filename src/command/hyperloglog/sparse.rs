//! The form of few registers: runs of registers that are alike.
//!
//! ```text
//! 00nnnnnn           n + 1 empty registers
//! 01nnnnnn nnnnnnnn  n + 1 empty registers
//! 1vvvvvnn           n + 1 registers that hold v + 1
//! ```
//!
//! Design: a register is raised as Redis does it, so that the bytes are the same: its run is cut into up to three, and then runs
//! around that hold the same are joined, a few of them.
//!
//! Costs: raising a register reads the runs before it.

use super::{CORRUPTED, CommandError, REGISTERS, Registers};

/// The highest rank that a run has bits for.
const RANK_MAX: u8 = 32;
/// Registers in a run of each kind.
const SHORT_MAX: usize = 64;
const VALUE_MAX: usize = 4;
/// Runs that are looked at, from the one before the change on, whether they can be joined with the next.
const JOINED_MAX: usize = 5;
/// Bytes that a run is replaced by.
const CUT_BYTES_MAX: usize = 5;

const LONG_FLAG: u8 = 0x40;
const VALUE_FLAG: u8 = 0x80;

/// Registers that are alike, one behind the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// What they hold.
    pub rank: u8,
    pub len: usize,
    /// The bytes that say it.
    pub bytes: usize,
}

impl Run {
    /// The run at the beginning of these bytes; none if there is no whole one.
    fn first(bytes: &[u8]) -> Option<Run> {
        let (first, rest) = bytes.split_first()?;
        Some(if first & VALUE_FLAG != 0 {
            Run { rank: (first >> 2 & 31) + 1, len: usize::from(first & 3) + 1, bytes: 1 }
        } else if first & LONG_FLAG != 0 {
            let len = usize::from(first & 63) << 8 | usize::from(*rest.first()?);
            Run { rank: 0, len: len + 1, bytes: 2 }
        } else {
            Run { rank: 0, len: usize::from(*first) + 1, bytes: 1 }
        })
    }
}

/// All runs; a last byte that is no whole one is left out.
pub(super) fn runs(mut bytes: &[u8]) -> impl Iterator<Item = Run> {
    std::iter::from_fn(move || {
        let run = Run::first(bytes)?;
        bytes = &bytes[run.bytes..];
        Some(run)
    })
}

/// The bytes of a sketch whose registers are empty.
pub(super) fn empty() -> impl Iterator<Item = u8> {
    Cut::default().with_empty(REGISTERS).into_iter()
}

/// Raises registers to those of a sketch, which must say something of each.
pub(super) fn merge_into(bytes: &[u8], registers: &mut Registers) -> Result<(), CommandError> {
    let mut start = 0;
    for run in runs(bytes) {
        let these = registers.get_mut(start..start + run.len).ok_or(CORRUPTED)?;
        if run.rank > 0 {
            these.iter_mut().for_each(|register| *register = (*register).max(run.rank));
        }
        start += run.len;
    }
    if start == REGISTERS { Ok(()) } else { Err(CORRUPTED) }
}

/// What raising a register leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Raise {
    /// It holds as much already.
    Nothing,
    /// The run has no bits for the rank: the sketch is to become dense.
    TooHigh,
    /// Its run is cut.
    Cut(Place),
}

/// Where a run is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Where the run before begins; 0 if there is none.
    before: usize,
    /// Where its own run begins.
    at: usize,
    run: Run,
    /// The register's place in it.
    offset: usize,
    rank: u8,
}

/// Looks what raising a register would lead to.
pub(super) fn look(bytes: &[u8], index: usize, rank: u8) -> Result<Raise, CommandError> {
    if rank > RANK_MAX {
        return Ok(Raise::TooHigh);
    }
    let (mut before, mut at, mut start) = (0, 0, 0);
    loop {
        let run = Run::first(&bytes[at..]).ok_or(CORRUPTED)?;
        if index < start + run.len {
            let cut = Place { before, at, run, offset: index - start, rank };
            return Ok(if run.rank >= rank { Raise::Nothing } else { Raise::Cut(cut) });
        }
        (before, at, start) = (at, at + run.bytes, start + run.len);
    }
}

impl Place {
    /// The bytes that the run is replaced by.
    fn cut(&self) -> Cut {
        let Run { rank, len, .. } = self.run;
        let alike = |cut: Cut, len| match len {
            0 => cut,
            len if rank == 0 => cut.with_empty(len),
            len => cut.with_value(rank, len),
        };
        alike(alike(Cut::default(), self.offset).with_value(self.rank, 1), len - self.offset - 1)
    }

    /// By how many bytes the sketch grows, before runs are joined. A run that is longer than it has to be may even shrink.
    pub fn growth(&self) -> usize {
        self.cut().len.saturating_sub(self.run.bytes)
    }

    /// Raises the register in the bytes from `start` on, which hold what was looked at.
    pub fn apply(&self, value: &mut Vec<u8>, start: usize) {
        let at = start + self.at;
        value.splice(at..at + self.run.bytes, self.cut());
        join(value, start + self.before);
    }
}

/// Joins runs of registers that hold the same, as far as one run has room.
fn join(value: &mut Vec<u8>, mut at: usize) {
    for _ in 0..JOINED_MAX {
        let Some(run) = value.get(at..).and_then(Run::first) else { return };
        let next = value.get(at + 1).filter(|_| run.rank > 0).copied();
        match next.and_then(|next| Run::first(&[next, 0])) {
            Some(next) if next.rank == run.rank && next.len + run.len <= VALUE_MAX => {
                value[at + 1] = value_byte(run.rank, run.len + next.len);
                value.remove(at);
            }
            _ => at += run.bytes,
        }
    }
}

fn value_byte(rank: u8, len: usize) -> u8 {
    VALUE_FLAG | (rank - 1) << 2 | (len - 1) as u8
}

/// A few bytes.
#[derive(Clone, Copy, Default)]
struct Cut {
    bytes: [u8; CUT_BYTES_MAX],
    len: usize,
}

impl Cut {
    fn with(mut self, byte: u8) -> Cut {
        self.bytes[self.len] = byte;
        self.len += 1;
        self
    }

    fn with_empty(self, len: usize) -> Cut {
        let bits = len - 1;
        if len > SHORT_MAX {
            self.with(LONG_FLAG | (bits >> 8) as u8).with(bits as u8)
        } else {
            self.with(bits as u8)
        }
    }

    fn with_value(self, rank: u8, len: usize) -> Cut {
        self.with(value_byte(rank, len))
    }
}

impl IntoIterator for Cut {
    type Item = u8;
    type IntoIter = std::iter::Take<std::array::IntoIter<u8, CUT_BYTES_MAX>>;

    fn into_iter(self) -> Self::IntoIter {
        self.bytes.into_iter().take(self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn raise(value: &mut Vec<u8>, index: usize, rank: u8) -> bool {
        match look(value, index, rank).expect("it is whole") {
            Raise::Nothing => false,
            Raise::TooHigh => panic!("no rank of this test is too high"),
            Raise::Cut(place) => {
                place.apply(value, 0);
                true
            }
        }
    }

    fn registers(value: &[u8]) -> Registers {
        let mut registers = [0; REGISTERS];
        merge_into(value, &mut registers).expect("it is whole");
        registers
    }

    proptest! {
        #[test]
        fn registers_are_raised_one_by_one(
            raised in proptest::collection::vec((0usize..200, 1u8..=RANK_MAX), 0..300), spread in 1usize..80,
        ) {
            let (mut value, mut naive): (Vec<u8>, _) = (empty().collect(), [0; REGISTERS]);
            for (index, rank) in raised {
                let index = index * spread;
                prop_assert_eq!(raise(&mut value, index, rank), naive[index] < rank);
                naive[index] = naive[index].max(rank);
            }
            prop_assert!(registers(&value) == naive);
        }

        #[test]
        fn bytes_of_any_kind_are_looked_at(bytes in proptest::collection::vec(any::<u8>(), 0..40), index in 0..REGISTERS) {
            let mut value = bytes.clone();
            let _whole_or_not = merge_into(&bytes, &mut [0; REGISTERS]);
            if let Ok(Raise::Cut(place)) = look(&bytes, index, 5) {
                place.apply(&mut value, 0);
            }
        }
    }

    #[test]
    fn runs_are_cut_and_joined_as_redis_does() {
        let mut value: Vec<u8> = empty().collect();
        assert_eq!(value, [0x7f, 0xff]);
        assert!(raise(&mut value, 12711, 2));
        assert_eq!(value, [0x71, 0xa6, 0x84, 0x4e, 0x57]);
        assert!(!raise(&mut value, 12711, 2) && !raise(&mut value, 12711, 1));
        assert!(raise(&mut value, 12710, 2));
        assert_eq!(value, [0x71, 0xa5, 0x85, 0x4e, 0x57]);
        assert!(raise(&mut value, 0, 1));
        assert_eq!(value, [0x80, 0x71, 0xa4, 0x85, 0x4e, 0x57]);
    }
}
