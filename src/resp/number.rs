//! Text to numbers and back, exactly as Redis does it: what is a valid integer or float decides which error a client sees.
//!
//! Design: integers are Redis's string2ll: nothing but digits and one minus sign, no leading zeros, so that text and number
//! determine each other. Floats are C's strtod (decimal, hexadecimal, `inf`, `infinity`) less what Redis rejects: spaces,
//! trailing bytes, NaN, overflow, underflow to zero. They are written as Redis 7.2 and later do: short text that reads
//! back as the same value (`grisu`), laid out by the rules of `F64Buffer::format`.
//!
//! Costs: no allocation but for the `String` of `format_f64`.
//! Not here: the 80-bit floats of INCRBYFLOAT (`long_double`).

use super::grisu::Digits;

/// Longest text of an `i64`, bytes.
pub const I64_TEXT_BYTES_MAX: usize = 20;
/// Longest text that `write_f64` makes, bytes: sign, 17 digits, point and exponent, or `0.000000` and 17 digits.
pub const F64_TEXT_BYTES_MAX: usize = 32;
/// Integers of a magnitude up to this, 2^62, are written as integers.
const F64_INTEGER_MAX: f64 = 4_611_686_018_427_387_904.0;
/// The largest number that `short_digits` takes.
const SHORT_DIGITS_MAX: u32 = 99_999_999;
/// Exponents are clamped to this while reading: far outside every format, far inside `i64`.
const EXPONENT_MAX: i64 = 1 << 40;

/// Reads a canonical decimal integer: what `write_i64` would write, and nothing else.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    let magnitude = parse_u64(digits)?;
    if !is_negative {
        return i64::try_from(magnitude).ok();
    }
    if magnitude == 0 {
        return None;
    }
    0i64.checked_sub_unsigned(magnitude)
}

/// Reads a canonical decimal integer without sign.
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    let (&first, rest) = text.split_first()?;
    let first = first.wrapping_sub(b'0');
    if first > 9 || text.len() > I64_TEXT_BYTES_MAX {
        return None;
    }
    if first == 0 {
        return rest.is_empty().then_some(0);
    }
    let mut value = u64::from(first);
    for &byte in rest {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// Reads a float as Redis reads scores and increments of doubles: `None` is "ERR value is not a valid float".
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let (is_negative, magnitude) = split_sign(text);
    let value = match FloatText::read(magnitude)? {
        FloatText::Infinity => f64::INFINITY,
        FloatText::Hex(hex) => hex.to_f64()?,
        FloatText::Decimal(_) => {
            let text = str::from_utf8(magnitude).expect("a decimal is ASCII");
            let value: f64 = text.parse().expect("its form was checked");
            let is_zero_text = || !mantissa_digits(magnitude).any(|digit| digit != b'0');
            if value.is_infinite() || (value == 0.0 && !is_zero_text()) {
                return None;
            }
            value
        }
    };
    Some(if is_negative { -value } else { value })
}

/// Appends the decimal text of `value`.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// The digits of a number of up to eight, the first in the lowest byte, and how many they are. Halves, pairs and single digits
/// are split side by side in one word, with multiplications for the divisions by 100 and 10.
#[inline]
pub fn short_digits(value: u32) -> Option<(u64, usize)> {
    if value > SHORT_DIGITS_MAX {
        return None;
    }
    let halves = u64::from(value / 10_000) | u64::from(value % 10_000) << 32;
    let hundreds = ((halves * 10_486) >> 20) & 0x7f_0000_007f;
    let pairs = hundreds | (halves - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    let digits = tens | (pairs - 10 * tens) << 8;
    let zeros = (digits.trailing_zeros() as usize / 8).min(7);
    Some(((digits | 0x3030_3030_3030_3030) >> (8 * zeros), 8 - zeros))
}

/// The text of a float; see `write_f64`. For places that need a `String`.
pub fn format_f64(value: f64) -> String {
    let mut buffer = F64Buffer::new();
    str::from_utf8(buffer.format(value)).expect("float text is ASCII").to_owned()
}

/// Appends the text of a float as `F64Buffer::format` makes it.
pub fn write_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(F64Buffer::new().format(value));
}

/// Room for the text of a float.
pub struct F64Buffer {
    bytes: [u8; F64_TEXT_BYTES_MAX],
    len: usize,
}

impl Default for F64Buffer {
    fn default() -> F64Buffer {
        F64Buffer::new()
    }
}

impl F64Buffer {
    /// An empty buffer.
    pub fn new() -> F64Buffer {
        F64Buffer { bytes: [0; F64_TEXT_BYTES_MAX], len: 0 }
    }

    /// Formats as Redis 7.4's d2string: `nan`, `inf`, `-inf`, `-0`, integers up to 2^62 plainly, and few digits that read
    /// back as `value` otherwise, with an exponent (`1e+20`, `1.5e-7`) where they would be long.
    pub fn format(&mut self, value: f64) -> &[u8] {
        self.len = 0;
        if value.is_nan() {
            self.push(b"nan");
        } else if value.is_infinite() {
            self.push(if value > 0.0 { b"inf" } else { b"-inf" });
        } else if value == 0.0 {
            self.push(if value.is_sign_negative() { b"-0" } else { b"0" });
        } else if value.abs() <= F64_INTEGER_MAX && value.trunc() == value {
            self.push(itoa::Buffer::new().format(value as i64).as_bytes());
        } else {
            self.push_digits(value);
        }
        &self.bytes[..self.len]
    }

    /// Formats as `format` does, but without a form of its own for integers, as DEBUG DIGEST does.
    pub fn format_digits(&mut self, value: f64) -> &[u8] {
        if value == 0.0 || !value.is_finite() {
            return self.format(value);
        }
        self.len = 0;
        self.push_digits(value);
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_zeros(&mut self, count: usize) {
        self.bytes[self.len..self.len + count].fill(b'0');
        self.len += count;
    }

    /// Lays out the digits d1 d2 .. dn x 10^k by the rules of Redis's fpconv:
    /// 1. k >= 0 and the exponent of d1 is below n + 7: an integer with zeros appended;
    /// 2. k < 0, and k > -7 or the exponent of d1 is between -4 and 4: a plain decimal;
    /// 3. otherwise d1.d2..dn e+xx, the exponent without padding.
    fn push_digits(&mut self, value: f64) {
        let found = Digits::of(value.abs());
        let (digits, k) = (found.as_bytes(), found.exponent());
        let count = digits.len();
        let exponent = k + (count as i32 - 1);
        if value < 0.0 {
            self.push(b"-");
        }
        if k >= 0 && exponent.unsigned_abs() < count as u32 + 7 {
            self.push(digits);
            self.push_zeros(k as usize);
        } else if k < 0 && (k > -7 || exponent.unsigned_abs() < 4) {
            if exponent < 0 {
                self.push(b"0.");
                self.push_zeros((-exponent - 1) as usize);
                self.push(digits);
            } else {
                let (whole, fraction) = digits.split_at(exponent as usize + 1);
                self.push(whole);
                self.push(b".");
                self.push(fraction);
            }
        } else {
            self.push(&digits[..1]);
            if count > 1 {
                self.push(b".");
                self.push(&digits[1..]);
            }
            self.push(if exponent < 0 { b"e-" } else { b"e+" });
            self.push(itoa::Buffer::new().format(exponent.unsigned_abs()).as_bytes());
        }
    }
}

/// Takes one optional sign off a float text: whether it was a minus, and the rest.
pub(super) fn split_sign(text: &[u8]) -> (bool, &[u8]) {
    match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    }
}

/// A float text whose form is valid, without its sign.
pub(super) enum FloatText {
    Infinity,
    Hex(HexFloat),
    Decimal(DecimalText),
}

/// mantissa x 2^exponent, with whether anything non-zero was cut off below the mantissa.
pub(super) struct HexFloat {
    pub mantissa: u128,
    pub is_inexact: bool,
    pub exponent: i64,
}

/// Where the parts of a decimal lie: digits are `text[..digits_end]` without the point.
pub(super) struct DecimalText {
    pub digits_end: usize,
    /// Power of ten by which the digits, read as an integer, are multiplied.
    pub exponent: i64,
}

impl FloatText {
    /// Checks a float text without sign; `None` if strtod wouldn't consume all of it, and for NaN.
    pub(super) fn read(text: &[u8]) -> Option<FloatText> {
        if text.eq_ignore_ascii_case(b"inf") || text.eq_ignore_ascii_case(b"infinity") {
            return Some(FloatText::Infinity);
        }
        if let [b'0', b'x' | b'X', rest @ ..] = text {
            return HexFloat::read(rest).map(FloatText::Hex);
        }
        let (digits_end, digit_count, fraction) = scan_digits(text, u8::is_ascii_digit);
        if digit_count == 0 {
            return None;
        }
        let exponent = read_exponent(&text[digits_end..], b'e')?;
        Some(FloatText::Decimal(DecimalText { digits_end, exponent: exponent - fraction as i64 }))
    }
}

impl HexFloat {
    /// Reads what follows `0x`.
    fn read(text: &[u8]) -> Option<HexFloat> {
        let (digits_end, digit_count, fraction) = scan_digits(text, u8::is_ascii_hexdigit);
        if digit_count == 0 {
            return None;
        }
        let exponent = read_exponent(&text[digits_end..], b'p')?;
        let mut hex = HexFloat { mantissa: 0, is_inexact: false, exponent: exponent - 4 * fraction as i64 };
        for digit in text[..digits_end].iter().filter_map(|&byte| char::from(byte).to_digit(16)) {
            if hex.mantissa >> 124 == 0 {
                hex.mantissa = hex.mantissa << 4 | u128::from(digit);
            } else {
                hex.is_inexact |= digit != 0;
                hex.exponent += 4;
            }
        }
        Some(hex)
    }

    /// Rounds to nearest even; `None` for overflow and underflow to zero.
    fn to_f64(&self) -> Option<f64> {
        if self.mantissa == 0 {
            return Some(0.0);
        }
        let top = self.exponent + i64::from(127 - self.mantissa.leading_zeros());
        if !(-1080..=1024).contains(&top) {
            return None;
        }
        // Bits that a float at this place has: 53, fewer for subnormals; none and one below is the last that may round up.
        let bits = (top + 1075).clamp(0, 53) as i32;
        let drop = i64::from(128 - self.mantissa.leading_zeros()) - i64::from(bits);
        let rounded = round_shift(self.mantissa, drop, self.is_inexact);
        let exponent = (self.exponent + drop) as i32;
        // The product is exact: both factors are floats, and so is what they make, or it overflows.
        let value = rounded as f64 * 2f64.powi(exponent / 2) * 2f64.powi(exponent - exponent / 2);
        (value != 0.0 && value.is_finite()).then_some(value)
    }
}

/// `value` / 2^`drop`, rounded to nearest, ties to even; `is_inexact` says that `value` is a little too small. A negative
/// `drop` shifts left.
pub(super) fn round_shift(value: u128, drop: i64, is_inexact: bool) -> u128 {
    if drop <= 0 {
        return value << (-drop).min(127);
    }
    if drop > 128 {
        return 0;
    }
    let (kept, rest) = if drop == 128 { (0, value) } else { (value >> drop, value & ((1 << drop) - 1)) };
    let half = 1u128 << (drop - 1);
    let is_up = rest > half || (rest == half && (is_inexact || kept & 1 == 1));
    kept + u128::from(is_up)
}

/// Scans digits with at most one point: where they end, how many digits there are, and how many behind the point.
fn scan_digits(text: &[u8], is_digit: fn(&u8) -> bool) -> (usize, usize, usize) {
    let whole = text.iter().take_while(|byte| is_digit(byte)).count();
    if text.get(whole) != Some(&b'.') {
        return (whole, whole, 0);
    }
    let fraction = text[whole + 1..].iter().take_while(|byte| is_digit(byte)).count();
    (whole + 1 + fraction, whole + fraction, fraction)
}

/// Reads an optional exponent that must reach the end of the text; huge ones are clamped.
fn read_exponent(text: &[u8], letter: u8) -> Option<i64> {
    let Some((first, rest)) = text.split_first() else { return Some(0) };
    if first.to_ascii_lowercase() != letter {
        return None;
    }
    let (is_negative, digits) = split_sign(rest);
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let add = |sum: i64, digit: &u8| (sum * 10 + i64::from(digit - b'0')).min(EXPONENT_MAX);
    let magnitude = digits.iter().fold(0, add);
    Some(if is_negative { -magnitude } else { magnitude })
}

fn mantissa_digits(text: &[u8]) -> impl Iterator<Item = u8> {
    text.iter().copied().take_while(|byte| !byte.eq_ignore_ascii_case(&b'e')).filter(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn short_digits_are_those_of_the_text() {
        let powers = (0..9).map(|power| 10u32.pow(power));
        let around = powers.flat_map(|power| [power - 1, power, power + 1]);
        let spread = (0..200_000u64).map(|step| (step * 62_710_561 % 100_000_000) as u32);
        for value in around.chain(spread).chain(0..10_100) {
            let text = value.to_string();
            let expected = (value <= SHORT_DIGITS_MAX).then_some(text.as_bytes());
            let found = short_digits(value).map(|(digits, count)| digits.to_le_bytes()[..count].to_vec());
            assert_eq!(found.as_deref(), expected);
        }
        assert_eq!(short_digits(u32::MAX), None);
    }

    #[test]
    fn integers_are_canonical() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("-1", -1),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), Some(value));
        }
        let refused = "|-|-0|00|01|-01|+1| 1|1 |1a|0x1|9223372036854775808|-9223372036854775809|99999999999999999999|\
            18446744073709551616|1.0|--1";
        for text in refused.split('|') {
            assert_eq!(parse_i64(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        assert_eq!(parse_u64(b"18446744073709551616"), None);
        assert_eq!(parse_u64(b"-1"), None);
    }

    /// What ZADD of Redis 7.0 accepts as a score.
    #[test]
    fn floats_are_read_as_strtod_does() {
        for (text, value) in [
            ("1.", 1.0),
            (".5", 0.5),
            ("+1", 1.0),
            ("-1e5", -1e5),
            ("1E+5", 1e5),
            ("0x10", 16.0),
            ("0X.8", 0.5),
            ("0x1p3", 8.0),
            ("0x1.8p-1074", 1e-323),
            ("0x1.fffffffffffff7p1023", f64::MAX),
            ("4e-320", 4e-320),
            ("0e99999999999999999999", 0.0),
            ("-0e-400", 0.0),
            ("0x0p9999", 0.0),
            ("inf", f64::INFINITY),
            ("-INFINITY", f64::NEG_INFINITY),
            ("+Inf", f64::INFINITY),
        ] {
            assert_eq!(parse_f64(text.as_bytes()), Some(value), "{text:?}");
        }
        let refused = "|.| 1|1 |\t1|1e|1e+|0x|0x.p1|0x1p|infin|nan|-NaN|nan(1)|1e400|-1e400|1e-400|1\0|0x1p1024|\
            0x1.fffffffffffffffp1023|0x1p-1080|0x1p-1075|1_0|1,5|+-1|1f|1e99999999999999999999|e5|1e5.";
        for text in refused.split('|') {
            assert_eq!(parse_f64(text.as_bytes()), None, "{text:?}");
        }
        assert!(parse_f64(b"-0").expect("zero").is_sign_negative());
    }

    #[test]
    fn floats_are_laid_out_as_redis_does() {
        for (value, text) in [
            (3.0, "3"),
            (3.1, "3.1"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e20, "1e+20"),
            (1e15, "1000000000000000"),
            (4_503_599_627_370_495.0, "4503599627370495"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e18, "1000000000000000000"),
            (-4_611_686_018_427_387_904.0, "-4611686018427387904"),
            (4_611_686_018_427_388_928.0, "4611686018427389000"),
            (1e-5, "0.00001"),
            (1e-6, "0.000001"),
            (1e-7, "1e-7"),
            (1.5e-7, "1.5e-7"),
            (0.001_234_567_890_123, "0.001234567890123"),
            (0.000_123_456_789_01, "1.2345678901e-4"),
            (1.234_567_890_123e-4, "1.234567890123e-4"),
            (-12_345.678_9, "-12345.6789"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            (f64::NEG_INFINITY, "-inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(format_f64(value), text);
        }
    }

    proptest! {
        #[test]
        fn integers_come_back(value: i64) {
            let mut text = Vec::new();
            write_i64(&mut text, value);
            prop_assert_eq!(parse_i64(&text), Some(value));
        }

        #[test]
        fn integer_texts_are_those_that_come_back(text in "[-+ 0-9]{0,21}") {
            let naive = text.parse::<i64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_i64(text.as_bytes()), naive);
            let naive = text.parse::<u64>().ok().filter(|value| value.to_string() == text);
            prop_assert_eq!(parse_u64(text.as_bytes()), naive);
        }

        #[test]
        fn floats_come_back(bits: u64) {
            let value = f64::from_bits(bits);
            prop_assume!(!value.is_nan());
            prop_assert_eq!(parse_f64(format_f64(value).as_bytes()), Some(value));
        }

        #[test]
        fn hexadecimal_floats_come_back(bits in 0..f64::INFINITY.to_bits()) {
            let value = f64::from_bits(bits);
            let (fraction, exponent) = (bits & ((1 << 52) - 1), (bits >> 52) as i64);
            let text = match exponent {
                0 => format!("0x0.{fraction:013x}p-1022"),
                _ => format!("0x1.{fraction:013x}P{}", exponent - 1023),
            };
            prop_assert_eq!(parse_f64(text.as_bytes()), Some(value));
        }

        #[test]
        fn any_bytes_are_read_without_panic(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = (parse_f64(&text), parse_i64(&text));
        }
    }
}
