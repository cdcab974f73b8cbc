//! Registers to a number, by Ertl's estimator: one formula for small sets and for large ones, without tables.
//!
//! Design: the order of all operations is Redis's, since the last digit decides how a number is rounded.

use super::hash::RANK_BITS;
use super::{REGISTERS, Registers};

/// 1 / (2 ln 2).
const ALPHA: f64 = 0.721_347_520_444_481_7;
/// What registers may hold, in a string that a client has written.
const VALUES: usize = 64;
/// Ranks end here: the hash had no bit set.
const RANK_MAX: usize = RANK_BITS as usize + 1;
/// Counted side by side, so that a register need not wait for the one before.
const ROWS: usize = 4;

/// How many registers hold each rank.
pub(super) struct Histogram([u32; VALUES]);

impl Histogram {
    pub fn of(registers: &Registers) -> Histogram {
        let mut rows = [[0; VALUES]; ROWS];
        for some in registers.as_chunks::<ROWS>().0 {
            for (row, register) in rows.iter_mut().zip(some) {
                row[usize::from(*register) % VALUES] += 1;
            }
        }
        Histogram(std::array::from_fn(|value| rows.iter().map(|row| row[value]).sum()))
    }

    /// The registers are those of about so many elements.
    pub fn estimate(&self) -> u64 {
        let count = |rank: usize| f64::from(self.0[rank]);
        let all = REGISTERS as f64;
        let mut z = all * tau((all - count(RANK_MAX)) / all);
        for rank in (1..RANK_MAX).rev() {
            z += count(rank);
            z *= 0.5;
        }
        z += all * sigma(count(0) / all);
        (ALPHA * all * all / z).round() as u64
    }
}

/// What registers that are still empty say.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

/// What registers that can hold no more say.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_estimated() {
        assert_eq!(Histogram::of(&[0; REGISTERS]).estimate(), 0);
        let mut one = [0; REGISTERS];
        one[7] = 3;
        assert_eq!(Histogram::of(&one).estimate(), 1);
        assert!(Histogram::of(&[RANK_MAX as u8; REGISTERS]).estimate() > 1 << 62);
        // What no element leads to, but a client can write: it is rounded to something.
        Histogram::of(&[63; REGISTERS]).estimate();
    }
}
