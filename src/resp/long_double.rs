//! The 80-bit floating point of x87, in software: INCRBYFLOAT and HINCRBYFLOAT are defined by it.
//!
//! Design: Redis adds `long double`s, which on x86-64 Linux have a 64-bit mantissa, and prints them with `%.17Lf` less trailing
//! zeros; clients see the difference to doubles (3.0 + 1.2e-9, 0.1 + 0.2). A finite value is mantissa x 2^exponent with the top
//! bit of the mantissa set, except for subnormals and zero. Reading, adding and printing are correctly rounded to nearest, ties
//! to even, as glibc does. Where 128 bits don't suffice (values from 2^64 on, exponents beyond 10^19) `num_bigint` does
//! the work.
//!
//! Invariants: `mantissa` has its top bit set or `exponent` is `EXPONENT_MIN`; zero is mantissa 0 at `EXPONENT_MIN`; NaN cannot
//! be read, and only adding opposite infinities makes it.
//! Costs: no allocation for ordinary magnitudes.
//! Not here: the syntax of float texts (`number`).

use std::cmp::Ordering;
use std::io::Write as _;

use num_bigint::BigUint;

use super::number::{DecimalText, FloatText, HexFloat, round_shift, split_sign};

/// Longest text that is read, bytes (Redis: MAX_LONG_DOUBLE_CHARS less the NUL).
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;
/// Exponent of the lowest bit of the smallest subnormal.
const EXPONENT_MIN: i64 = -16445;
/// Exponent of the lowest mantissa bit of the largest finite value.
const EXPONENT_MAX: i64 = 16320;
/// Digits behind the point that are printed before zeros are trimmed.
const FRACTION_DIGITS: usize = 17;
const FRACTION_SCALE: u128 = 10u128.pow(FRACTION_DIGITS as u32);
/// Largest power of ten that fits 64 bits.
const POWER_OF_TEN_MAX: i64 = 19;
/// Decimal exponents of the first digit beyond which a value overflows or underflows, with room to spare.
const DECIMAL_TOP_MAX: i64 = 4940;
const DECIMAL_TOP_MIN: i64 = -4960;

/// An x87 extended-precision number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongDouble {
    is_negative: bool,
    kind: Magnitude,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Magnitude {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
    Nan,
}

impl LongDouble {
    /// Zero.
    pub const ZERO: LongDouble =
        LongDouble { is_negative: false, kind: Magnitude::Finite { mantissa: 0, exponent: EXPONENT_MIN } };

    /// The largest that is finite.
    pub const MAX: LongDouble = LongDouble {
        is_negative: false,
        kind: Magnitude::Finite { mantissa: u64::MAX, exponent: EXPONENT_MAX },
    };

    /// Reads a text as Redis reads INCRBYFLOAT's operands: `None` is "ERR value is not a valid float".
    pub fn parse(text: &[u8]) -> Option<LongDouble> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (is_negative, magnitude) = split_sign(text);
        let kind = match FloatText::read(magnitude)? {
            FloatText::Infinity => Magnitude::Infinite,
            FloatText::Hex(hex) => read_hex(&hex)?,
            FloatText::Decimal(decimal) => read_decimal(magnitude, &decimal)?,
        };
        Some(LongDouble { is_negative, kind })
    }

    /// An integer, exactly.
    pub fn from_i64(value: i64) -> LongDouble {
        LongDouble { is_negative: value < 0, kind: round(u128::from(value.unsigned_abs()), 0, false) }
    }

    /// Whether it is an infinity.
    pub fn is_infinite(self) -> bool {
        self.kind == Magnitude::Infinite
    }

    /// Whether it is not a number.
    pub fn is_nan(self) -> bool {
        self.kind == Magnitude::Nan
    }

    /// Whether it is neither infinite nor NaN: Redis refuses other results of an increment.
    pub fn is_finite(self) -> bool {
        matches!(self.kind, Magnitude::Finite { .. })
    }

    /// Which is greater; neither of them is NaN, and zeros are alike.
    pub fn compare(self, other: LongDouble) -> Ordering {
        assert!(!self.is_nan() && !other.is_nan(), "numbers are compared");
        // With its top bit set, or at the least exponent, a mantissa counts only where exponents are alike.
        let magnitude = |number: LongDouble| match number.kind {
            Magnitude::Finite { mantissa, exponent } => (exponent, mantissa),
            _ => (i64::MAX, u64::MAX),
        };
        let is_below_zero = |number: LongDouble| number.is_negative && magnitude(number).1 != 0;
        match (is_below_zero(self), is_below_zero(other)) {
            (false, false) => magnitude(self).cmp(&magnitude(other)),
            (true, true) => magnitude(other).cmp(&magnitude(self)),
            (below, _) => {
                if below {
                    Ordering::Less
                } else {
                    Ordering::Greater
                }
            }
        }
    }

    fn same_sign_zero(self, other: LongDouble) -> bool {
        self.is_negative && other.is_negative
    }

    /// Appends the text that Redis stores and replies: at most 17 digits behind the point, no trailing zeros, no `-0`.
    pub fn write_to(self, out: &mut Vec<u8>) {
        let (mantissa, exponent) = match self.kind {
            Magnitude::Infinite if self.is_negative => return out.extend_from_slice(b"-inf"),
            Magnitude::Infinite => return out.extend_from_slice(b"inf"),
            Magnitude::Nan => return out.extend_from_slice(b"nan"),
            Magnitude::Finite { mantissa, exponent } => (mantissa, exponent),
        };
        if self.is_negative {
            out.push(b'-');
        }
        let start = out.len();
        write_magnitude(out, mantissa, exponent);
        if self.is_negative && out[start..] == *b"0" {
            out.remove(start - 1);
        }
    }
}

impl std::ops::Neg for LongDouble {
    type Output = LongDouble;

    fn neg(self) -> LongDouble {
        LongDouble { is_negative: !self.is_negative, ..self }
    }
}

impl std::ops::Add for LongDouble {
    type Output = LongDouble;

    /// The sum, rounded to nearest, ties to even.
    fn add(self, other: LongDouble) -> LongDouble {
        let finite = |kind| match kind {
            Magnitude::Finite { mantissa, exponent } => Some((mantissa, exponent)),
            _ => None,
        };
        let (Some(a), Some(b)) = (finite(self.kind), finite(other.kind)) else {
            return self.add_special(other);
        };
        // 1. The larger magnitude leads; equal exponents and mantissas included.
        let ((big, small), is_negative) =
            if (a.1, a.0) >= (b.1, b.0) { ((a, b), self.is_negative) } else { ((b, a), other.is_negative) };
        // 2. Both on one scale of 128 bits: the larger one's top bit at 125, two bits of room for the sum.
        let gap = big.1 - small.1;
        let wide = u128::from(big.0) << 62;
        let exponent = big.1 - 62;
        let (narrow, is_cut) = if gap <= 62 {
            (u128::from(small.0) << (62 - gap), false)
        } else {
            let drop = (gap - 62).min(127);
            let shifted = u128::from(small.0) >> drop;
            (shifted, shifted << drop != u128::from(small.0))
        };
        // 3. Bits that were cut off make a sum a little too small, a difference a little too big; then one less is a
        //    little too small.
        let sum = if self.is_negative == other.is_negative {
            wide + narrow
        } else {
            wide - narrow - u128::from(is_cut)
        };
        if sum == 0 && !is_cut {
            return LongDouble { is_negative: self.same_sign_zero(other), ..LongDouble::ZERO };
        }
        LongDouble { is_negative, kind: round(sum, exponent, is_cut) }
    }
}

impl LongDouble {
    fn add_special(self, other: LongDouble) -> LongDouble {
        match (self.kind, other.kind) {
            (Magnitude::Nan, _) => self,
            (_, Magnitude::Nan) => other,
            (Magnitude::Infinite, Magnitude::Infinite) if self.is_negative != other.is_negative => {
                LongDouble { is_negative: false, kind: Magnitude::Nan }
            }
            (Magnitude::Infinite, _) => self,
            _ => other,
        }
    }
}

/// `value` x 2^`exponent` as the nearest number; `is_inexact` says that the true value is a little more.
fn round(value: u128, exponent: i64, is_inexact: bool) -> Magnitude {
    if value == 0 {
        return Magnitude::Finite { mantissa: 0, exponent: EXPONENT_MIN };
    }
    let bits = i64::from(128 - value.leading_zeros());
    let drop = (bits - 64).max(EXPONENT_MIN - exponent);
    let mut mantissa = round_shift(value, drop, is_inexact);
    let mut exponent = exponent + drop;
    if mantissa >> 64 != 0 {
        mantissa >>= 1;
        exponent += 1;
    }
    if exponent > EXPONENT_MAX {
        return Magnitude::Infinite;
    }
    Magnitude::Finite { mantissa: mantissa as u64, exponent }
}

/// `None` for what Redis rejects when reading: overflow, and underflow to zero.
fn accepted(kind: Magnitude) -> Option<Magnitude> {
    match kind {
        Magnitude::Finite { mantissa: 1.., .. } => Some(kind),
        _ => None,
    }
}

fn read_hex(hex: &HexFloat) -> Option<Magnitude> {
    if hex.mantissa == 0 {
        return Some(LongDouble::ZERO.kind);
    }
    if hex.exponent.abs() > 40_000 {
        return None;
    }
    accepted(round(hex.mantissa, hex.exponent, hex.is_inexact))
}

fn read_decimal(text: &[u8], decimal: &DecimalText) -> Option<Magnitude> {
    let is_digit = |byte: &u8| byte.is_ascii_digit();
    let digits: &[u8] = &text[..decimal.digits_end];
    let mut significant = digits.iter().copied().filter(is_digit).skip_while(|&digit| digit == b'0');
    let count = significant.clone().count() as i64;
    if count == 0 {
        return Some(LongDouble::ZERO.kind);
    }
    // 1. Up to 19 digits and a small power of ten: 128-bit arithmetic.
    if count <= POWER_OF_TEN_MAX && decimal.exponent.abs() <= POWER_OF_TEN_MAX {
        let value = significant.fold(0, |value: u64, digit| value * 10 + u64::from(digit - b'0'));
        return Some(scale_by_ten(value, decimal.exponent));
    }
    // 2. Far outside the range, whatever the digits.
    let top = decimal.exponent + count - 1;
    if !(DECIMAL_TOP_MIN..=DECIMAL_TOP_MAX).contains(&top) {
        return None;
    }
    // 3. Big integers: a quotient of at least 66 bits, and whether it has a remainder.
    let text: Vec<u8> = significant.by_ref().collect();
    let value = BigUint::parse_bytes(&text, 10).expect("digits make a number");
    let power = BigUint::from(10u32).pow(decimal.exponent.unsigned_abs() as u32);
    let (numerator, denominator) =
        if decimal.exponent >= 0 { (value * power, BigUint::from(1u32)) } else { (value, power) };
    let shift = 67 + denominator.bits() as i64 - numerator.bits() as i64;
    let (numerator, denominator) = if shift >= 0 {
        (numerator << shift as u64, denominator)
    } else {
        (numerator, denominator << shift.unsigned_abs())
    };
    let quotient = &numerator / &denominator;
    let is_inexact = &quotient * &denominator != numerator;
    let quotient = u128::try_from(quotient).expect("the quotient has 67 or 68 bits");
    accepted(round(quotient, -shift, is_inexact))
}

/// `value` x 10^`power`, rounded; both within 64 bits.
fn scale_by_ten(value: u64, power: i64) -> Magnitude {
    let ten = 10u64.pow(power.unsigned_abs() as u32);
    if power >= 0 {
        return round(u128::from(value) * u128::from(ten), 0, false);
    }
    // Long division: 64 integral bits of quotient, then 64 fractional ones.
    let (value, ten) = (u128::from(value), u128::from(ten));
    let zeros = (value as u64).leading_zeros();
    let value = value << zeros;
    let high = (value << 63) / ten;
    let rest = (value << 63) % ten;
    let low = (rest << 60) / ten;
    let is_inexact = !(rest << 60).is_multiple_of(ten);
    let (quotient, shift) = if high >> 66 == 0 { (high << 60 | low, 123) } else { (high, 63) };
    let is_inexact = is_inexact || (shift == 63 && rest != 0);
    round(quotient, -(shift + i64::from(zeros)), is_inexact)
}

/// Appends `mantissa` x 2^`exponent` in decimal, rounded to 17 digits behind the point, without trailing zeros.
fn write_magnitude(out: &mut Vec<u8>, mantissa: u64, exponent: i64) {
    if exponent > 0 {
        let value = BigUint::from(mantissa) << exponent as u64;
        out.extend_from_slice(value.to_str_radix(10).as_bytes());
        return;
    }
    let mantissa = u128::from(mantissa);
    let drop = -exponent;
    let mut whole = if drop < 64 { mantissa >> drop } else { 0 };
    let fraction = mantissa - if drop < 64 { whole << drop } else { 0 };
    let mut scaled = round_shift(fraction * FRACTION_SCALE, drop, false);
    if scaled == FRACTION_SCALE {
        whole += 1;
        scaled = 0;
    }
    write!(out, "{whole}").expect("writing to a vector cannot fail");
    if scaled > 0 {
        write!(out, ".{scaled:0FRACTION_DIGITS$}").expect("writing to a vector cannot fail");
        let zeros = out.iter().rev().take_while(|&&byte| byte == b'0').count();
        out.truncate(out.len() - zeros);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Value, increment and reply of INCRBYFLOAT of Redis 7.0 on x86-64; `!` for "would produce NaN or Infinity", `?` for
    /// "not a valid float".
    const PAIRS: &str = include_str!("long_double_pairs.txt");

    fn incremented(value: &str, increment: &str) -> String {
        let parse = |text: &str| LongDouble::parse(text.as_bytes());
        let (Some(value), Some(increment)) = (parse(value), parse(increment)) else { return "?".into() };
        let sum = value + increment;
        if !sum.is_finite() { "!".into() } else { text(sum) }
    }

    fn text(value: LongDouble) -> String {
        let mut out = Vec::new();
        value.write_to(&mut out);
        String::from_utf8(out).expect("numbers are ASCII")
    }

    #[test]
    fn increments_are_those_of_redis() {
        let mut count = 0;
        for line in PAIRS.lines() {
            let [value, increment, reply] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("three words a line: {line}");
            };
            assert_eq!(incremented(value, increment), reply, "{value} + {increment}");
            count += 1;
        }
        assert!(count > 100, "the table is there");
    }

    #[test]
    fn lengths_and_forms_are_limited() {
        let zeros = "0".repeat(TEXT_BYTES_MAX - 1);
        assert_eq!(text(LongDouble::parse(format!("{zeros}1").as_bytes()).expect("fits")), "1");
        assert_eq!(LongDouble::parse(format!("{zeros}01").as_bytes()), None);
        for refused in
            ["", " 1", "1 ", "nan", "1e", "1e5000", "1e-5000", "1\0", "0x", "+-1", "1e99999999999999999999"]
        {
            assert_eq!(LongDouble::parse(refused.as_bytes()), None, "{refused:?}");
        }
        assert!(LongDouble::parse(b"-inf").expect("an infinity").is_infinite());
        let nan =
            LongDouble::parse(b"inf").expect("an infinity") + LongDouble::parse(b"-inf").expect("another");
        assert!(nan.is_nan());
    }

    #[test]
    fn comparison_orders_what_can_be_read() {
        let ordered = [
            "-inf", "-1e4932", "-2", "-1.5", "-1e-4950", "0", "1e-4950", "1e-4940", "1.5", "2", "1e4932",
            "inf",
        ];
        let numbers = ordered.map(|text| LongDouble::parse(text.as_bytes()).expect("a number"));
        for (a, left) in numbers.iter().enumerate() {
            for (b, right) in numbers.iter().enumerate() {
                assert_eq!(left.compare(*right), a.cmp(&b), "{} and {}", ordered[a], ordered[b]);
            }
        }
        assert_eq!((-LongDouble::ZERO).compare(LongDouble::ZERO), Ordering::Equal);
        assert_eq!(LongDouble::MAX.compare(numbers[10]), Ordering::Greater);
        assert_eq!((LongDouble::MAX + LongDouble::MAX).compare(numbers[11]), Ordering::Equal);
    }

    proptest! {
        /// Sums of integers are exact while they have 64 bits.
        #[test]
        fn integers_add_up(a in -(1i64 << 62)..1 << 62, b in -(1i64 << 62)..1 << 62) {
            prop_assert_eq!(text(LongDouble::from_i64(a) + LongDouble::from_i64(b)), (a + b).to_string());
        }

        /// The short path of reading agrees with the big integers.
        #[test]
        fn both_ways_of_reading_agree(digits in 1u64.., power in -19i64..=19) {
            let digits = digits % 10_000_000_000_000_000_000;
            prop_assume!(digits > 0);
            let short = format!("{digits}e{power}");
            let long = format!("{digits}{}e{}", "0".repeat(25), power - 25);
            prop_assert_eq!(LongDouble::parse(short.as_bytes()), LongDouble::parse(long.as_bytes()));
        }

        #[test]
        fn addition_commutes(a: u64, b: u64, gap in -140i64..140) {
            let a = LongDouble { is_negative: a & 1 == 1, kind: round(u128::from(a), 0, false) };
            let b = LongDouble { is_negative: b & 2 == 2, kind: round(u128::from(b), gap, false) };
            prop_assert_eq!(a + b, b + a);
        }
    }
}
