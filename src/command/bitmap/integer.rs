//! Integers of any width up to 64 bits, at any bit of a string, the highest bit first; what overflows them.

/// What becomes of a result that has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overflow {
    /// Its low bits.
    Wrap,
    /// The limit that it is beyond.
    Saturate,
    /// Nothing: the operation is not done.
    Fail,
}

/// How an integer lies among the bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Integer {
    pub is_signed: bool,
    /// 1 to 64, of unsigned ones to 63: what is replied is signed.
    pub bits: u32,
}

/// Bytes that an integer of 64 bits may reach into.
const BYTES_MAX: usize = 9;

impl Integer {
    /// Reads `i16` or `u8`.
    pub fn parse(text: &[u8]) -> Option<Integer> {
        let (is_signed, bits_max) = match text.first()? {
            b'i' => (true, 64),
            b'u' => (false, 63),
            _ => return None,
        };
        let bits = crate::resp::number::parse_i64(&text[1..])?;
        (1..=bits_max).contains(&bits).then_some(Integer { is_signed, bits: bits as u32 })
    }

    /// The integer at this bit. Behind the end of the string are zeros.
    pub fn read(self, bytes: &[u8], offset: u64) -> i64 {
        self.extended(self.shifted_down(window(bytes, offset), offset))
    }

    /// Writes the integer's low bits at this bit, which the string reaches to.
    pub fn write(self, bytes: &mut [u8], offset: u64, value: i64) {
        let shift = self.shift(offset);
        let mask = u128::from(self.mask()) << shift;
        let word = window(bytes, offset) & !mask | u128::from(value.cast_unsigned()) << shift & mask;
        let rest = &mut bytes[(offset / 8) as usize..];
        let len = rest.len().min(BYTES_MAX);
        rest[..len].copy_from_slice(&word.to_be_bytes()[..len]);
    }

    /// The sum of a value and an increment as this integer takes it; none where it fails.
    ///
    /// A value is one that was read, or with the increment 0 any at all: taken as unsigned, a negative one is a large one.
    pub fn sum(self, value: i64, increment: i64, overflow: Overflow) -> Option<i64> {
        let mask = i128::from(self.mask());
        let (min, max) = if self.is_signed { (-(mask >> 1) - 1, mask >> 1) } else { (0, mask) };
        let value = if self.is_signed { i128::from(value) } else { i128::from(value.cast_unsigned()) };
        let sum = value + i128::from(increment);
        // A number as far below as 64 bits reach is above to Redis, whose difference to the limit overflows.
        let is_above = sum > max || self.bits < 64 && max - value > i128::from(i64::MAX);
        match overflow {
            _ if !is_above && sum >= min => Some(sum as i64),
            Overflow::Wrap => Some(self.extended(sum as u64)),
            Overflow::Saturate => Some(if is_above { max } else { min } as i64),
            Overflow::Fail => None,
        }
    }

    fn mask(self) -> u64 {
        u64::MAX >> (u64::BITS - self.bits)
    }

    /// How far from the end of its window the integer lies.
    fn shift(self, offset: u64) -> u32 {
        u128::BITS - (offset % 8) as u32 - self.bits
    }

    fn shifted_down(self, window: u128, offset: u64) -> u64 {
        (window >> self.shift(offset)) as u64
    }

    /// The integer in the low bits.
    fn extended(self, bits: u64) -> i64 {
        let unused = u64::BITS - self.bits;
        if self.is_signed {
            (bits << unused).cast_signed() >> unused
        } else {
            (bits & self.mask()).cast_signed()
        }
    }
}

/// The bytes from that of a bit on, as many as an integer may reach into, in the high bits.
fn window(bytes: &[u8], offset: u64) -> u128 {
    let mut window = [0; size_of::<u128>()];
    let start = bytes.len().min((offset / 8) as usize);
    let rest = &bytes[start..];
    let len = rest.len().min(BYTES_MAX);
    window[..len].copy_from_slice(&rest[..len]);
    u128::from_be_bytes(window)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn integer(is_signed: bool, bits: u32) -> Integer {
        Integer { is_signed, bits }
    }

    #[test]
    fn widths_are_read() {
        assert_eq!(Integer::parse(b"i64"), Some(integer(true, 64)));
        assert_eq!(Integer::parse(b"u63"), Some(integer(false, 63)));
        assert_eq!(Integer::parse(b"u1"), Some(integer(false, 1)));
        for text in ["u64", "i65", "i0", "u-1", "I8", "u", "", "u01", "u 1", "8", "u99999999999999999999"] {
            assert_eq!(Integer::parse(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn sums_overflow_as_asked_for() {
        use Overflow::{Fail, Saturate, Wrap};
        let signed = integer(true, 8);
        assert_eq!(signed.sum(-100, 100, Fail), Some(0));
        assert_eq!([Wrap, Saturate, Fail].map(|how| signed.sum(100, 28, how)), [Some(-128), Some(127), None]);
        assert_eq!(
            [Wrap, Saturate, Fail].map(|how| signed.sum(-100, -29, how)),
            [Some(127), Some(-128), None]
        );
        let unsigned = integer(false, 8);
        assert_eq!([Wrap, Saturate, Fail].map(|how| unsigned.sum(250, 7, how)), [Some(1), Some(255), None]);
        assert_eq!([Wrap, Saturate, Fail].map(|how| unsigned.sum(5, -6, how)), [Some(255), Some(0), None]);
        assert_eq!(unsigned.sum(-1, 0, Saturate), Some(255));
        let wide = integer(true, 64);
        assert_eq!(
            [Wrap, Saturate, Fail].map(|how| wide.sum(i64::MAX, 1, how)),
            [Some(i64::MIN), Some(i64::MAX), None]
        );
        assert_eq!(wide.sum(i64::MIN, 0, Saturate), Some(i64::MIN));
    }

    /// The lowest numbers of 64 bits are above the limit to Redis.
    #[test]
    fn lowest_numbers_saturate_to_the_highest() {
        let signed = integer(true, 8);
        assert_eq!(signed.sum(i64::MIN, 0, Overflow::Saturate), Some(127));
        assert_eq!(signed.sum(i64::MIN + 127, 0, Overflow::Saturate), Some(127));
        assert_eq!(signed.sum(i64::MIN + 128, 0, Overflow::Saturate), Some(-128));
        assert_eq!(integer(true, 63).sum(-(1 << 62) - 1, 0, Overflow::Saturate), Some((1 << 62) - 1));
        assert_eq!(integer(true, 63).sum(-(1 << 62), 0, Overflow::Saturate), Some(-(1 << 62)));
    }

    /// One bit after the other.
    fn naive_read(integer: Integer, bytes: &[u8], offset: u64) -> i64 {
        let bit = |at: u64| {
            let byte = bytes.get((at / 8) as usize).copied().unwrap_or(0);
            i128::from(byte >> (7 - at % 8) & 1)
        };
        let value = (offset..offset + u64::from(integer.bits)).fold(0, |value, at| value << 1 | bit(at));
        let is_negative = integer.is_signed && value >> (integer.bits - 1) == 1;
        (value - if is_negative { 1 << integer.bits } else { 0 }) as i64
    }

    fn any_integer() -> impl Strategy<Value = Integer> {
        (any::<bool>(), 1u32..65)
            .prop_map(|(is_signed, bits)| integer(is_signed, if is_signed { bits } else { bits.min(63) }))
    }

    proptest! {
        #[test]
        fn reading_is_as_bit_by_bit(
            integer in any_integer(), bytes in proptest::collection::vec(any::<u8>(), 0..24), offset in 0u64..250,
        ) {
            prop_assert_eq!(integer.read(&bytes, offset), naive_read(integer, &bytes, offset));
        }

        #[test]
        fn writing_changes_nothing_else(
            integer in any_integer(), bytes in proptest::collection::vec(any::<u8>(), 24), offset in 0u64..128, value: i64,
        ) {
            let mut written = bytes.clone();
            integer.write(&mut written, offset, value);
            let kept = integer.sum(value, 0, Overflow::Wrap).expect("wrapping does not fail");
            prop_assert_eq!(integer.read(&written, offset), kept);
            let one = Integer { is_signed: false, bits: 1 };
            let outside = (0..offset).chain(offset + u64::from(integer.bits)..24 * 8);
            for at in outside {
                prop_assert_eq!(one.read(&written, at), one.read(&bytes, at));
            }
        }

        #[test]
        fn sums_are_within_limits(integer in any_integer(), value: i64, increment: i64) {
            let value = integer.sum(value, 0, Overflow::Wrap).expect("wrapping does not fail");
            let exact = i128::from(value) + i128::from(increment);
            for overflow in [Overflow::Wrap, Overflow::Saturate, Overflow::Fail] {
                let sum = integer.sum(value, increment, overflow);
                if let Some(sum) = sum {
                    prop_assert_eq!(integer.sum(sum, 0, Overflow::Fail), Some(sum));
                }
                if overflow == Overflow::Wrap {
                    let off = exact - i128::from(sum.expect("wrapping does not fail"));
                    prop_assert_eq!(off % (1 << integer.bits), 0);
                }
            }
        }
    }
}
