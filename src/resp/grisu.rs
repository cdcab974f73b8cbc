//! The digits of a float as Redis prints them: those of Grisu2, which are the shortest in 99.7 of 100 cases.
//!
//! Design: Florian Loitsch, "Printing Floating-Point Numbers Quickly and Accurately with Integers" (2010), Grisu2. It always
//! reads back as the same float, but in 3 of 1,000 cases it has a digit more than the shortest text, or the last digit is one
//! off the nearest. Clients see these digits and compare them, so a printer that is exact would be wrong here, and which cached
//! power is chosen counts, too. The powers are computed at compile time.
//!
//! Costs: no allocation; three multiplications of 128 bits, and a division for each digit above the point.
//! Not here: where point and exponent stand (`number`).

/// Most digits that there can be.
pub const DIGITS_MAX: usize = 17;

/// Bits of a float's fraction without the hidden one.
const FRACTION_BITS: u32 = 52;
const HIDDEN_BIT: u64 = 1 << FRACTION_BITS;
/// The exponent of a float whose exponent bits are 0 or 1, for a fraction that is an integer.
const EXPONENT_MIN: i32 = -1074;

/// Powers of ten from 10^-348 on, 8 apart.
const POWERS: [Wide; POWER_COUNT] = powers();
const POWER_COUNT: usize = 87;
const POWER_FIRST: i32 = -348;
const POWER_STEP: i32 = 8;
/// The index of 10^4, the first that is above one.
const POWER_OF_4: usize = 44;
/// A product's binary exponent lies between these, so that 32 to 60 of its bits are below the point.
const EXPONENT_LOW: i32 = -60;
const EXPONENT_HIGH: i32 = -32;
/// log10(2).
const DECIMAL_PER_BINARY: f64 = 0.301_029_995_663_981_14;

/// fraction x 2^exponent.
#[derive(Clone, Copy)]
struct Wide {
    fraction: u64,
    exponent: i32,
}

/// The digits of a float, first to last, and the power of ten of the last.
pub struct Digits {
    text: [u8; DIGITS_MAX],
    count: usize,
    exponent: i32,
}

impl Digits {
    /// Those of `value`, which is finite and above zero.
    pub fn of(value: f64) -> Digits {
        assert!(value.is_finite() && value > 0.0, "only such a number has digits");
        let exact = Wide::of(value);
        let (lower, upper) = exact.boundaries();
        let (power, power_exponent) = cached_power(upper.exponent);
        let exact = exact.normalised().times(power);
        // Products are off by less than one: what lies between these is between the boundaries for certain.
        let (mut lower, mut upper) = (lower.times(power), upper.times(power));
        lower.fraction += 1;
        upper.fraction -= 1;
        let mut digits = Digits { text: [0; DIGITS_MAX], count: 0, exponent: -power_exponent };
        digits.generate(exact, lower, upper);
        digits
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.text[..self.count]
    }

    /// The power of ten by which the digits, read as an integer, are multiplied.
    pub fn exponent(&self) -> i32 {
        self.exponent
    }

    /// Takes digits off `upper` until what is left of it is less than its distance to `lower`.
    fn generate(&mut self, exact: Wide, lower: Wide, upper: Wide) {
        let point = upper.exponent.unsigned_abs();
        let one = 1u64 << point;
        let mut width = upper.fraction - lower.fraction;
        let mut distance = upper.fraction - exact.fraction;
        let mut whole = upper.fraction >> point;
        let mut below = upper.fraction & (one - 1);
        for place in (0..10).rev() {
            let unit = 10u64.pow(place);
            self.push(whole / unit);
            whole %= unit;
            let rest = (whole << point) + below;
            if rest <= width {
                self.exponent += place as i32;
                self.approach(distance, width, rest, unit << point);
                return;
            }
        }
        loop {
            below *= 10;
            width *= 10;
            distance *= 10;
            self.exponent -= 1;
            self.push(below >> point);
            below &= one - 1;
            if below < width {
                self.approach(distance, width, below, one);
                return;
            }
        }
    }

    /// Appends a digit, but no zero in front.
    fn push(&mut self, digit: u64) {
        if digit != 0 || self.count > 0 {
            self.text[self.count] = b'0' + digit as u8;
            self.count += 1;
        }
    }

    /// Lowers the last digit while that brings the text, which is `rest` below the upper boundary, nearer to the number, which
    /// is `distance` below it, and leaves it above the lower one. `unit` is what one of the last digit is worth.
    fn approach(&mut self, distance: u64, width: u64, mut rest: u64, unit: u64) {
        while rest < distance
            && width - rest >= unit
            && (rest + unit < distance || distance - rest > rest + unit - distance)
        {
            self.text[self.count - 1] -= 1;
            rest += unit;
        }
    }
}

impl Wide {
    fn of(value: f64) -> Wide {
        let bits = value.to_bits();
        let fraction = bits & (HIDDEN_BIT - 1);
        match (bits >> FRACTION_BITS) as i32 {
            0 => Wide { fraction, exponent: EXPONENT_MIN },
            exponent => Wide { fraction: fraction | HIDDEN_BIT, exponent: EXPONENT_MIN + exponent - 1 },
        }
    }

    /// The same with the highest bit of the fraction set.
    fn normalised(self) -> Wide {
        let shift = self.fraction.leading_zeros();
        Wide { fraction: self.fraction << shift, exponent: self.exponent - shift as i32 }
    }

    /// Half way to the floats below and above, with the same exponent. The one below is half as far where the exponent ends.
    fn boundaries(self) -> (Wide, Wide) {
        let upper = Wide { fraction: 2 * self.fraction + 1, exponent: self.exponent - 1 }.normalised();
        let shift = if self.fraction == HIDDEN_BIT { 2 } else { 1 };
        let lower = Wide { fraction: (self.fraction << shift) - 1, exponent: self.exponent - shift };
        let fraction = lower.fraction << (lower.exponent - upper.exponent);
        (Wide { fraction, exponent: upper.exponent }, upper)
    }

    /// The product's upper half, rounded half up.
    fn times(self, other: Wide) -> Wide {
        let product = u128::from(self.fraction) * u128::from(other.fraction) + (1 << 63);
        Wide { fraction: (product >> 64) as u64, exponent: self.exponent + other.exponent + 64 }
    }
}

/// The power of ten that brings a number of this binary exponent between `EXPONENT_LOW` and `EXPONENT_HIGH`, and which it is.
fn cached_power(exponent: i32) -> (Wide, i32) {
    let about = (f64::from(-(exponent + POWER_COUNT as i32)) * DECIMAL_PER_BINARY) as i32;
    let mut index = ((about - POWER_FIRST) / POWER_STEP) as usize;
    loop {
        let power = POWERS[index];
        let product_exponent = exponent + power.exponent + 64;
        if product_exponent < EXPONENT_LOW {
            index += 1;
        } else if product_exponent > EXPONENT_HIGH {
            index -= 1;
        } else {
            return (power, POWER_FIRST + POWER_STEP * index as i32);
        }
    }
}

/// Limbs of the integers from which the powers are made: enough for 10^348, and for 64 bits of 2^BITS / 10^348.
const LIMBS: usize = 41;
const BITS: usize = 32 * LIMBS;

const fn powers() -> [Wide; POWER_COUNT] {
    let step = 10u32.pow(POWER_STEP as u32);
    let mut powers = [Wide { fraction: 0, exponent: 0 }; POWER_COUNT];
    let mut limbs = [0; LIMBS];
    limbs[0] = 10_000;
    let mut index = POWER_OF_4;
    while index < POWER_COUNT {
        powers[index] = rounded(&limbs, 0);
        multiply(&mut limbs, step);
        index += 1;
    }
    // Dividing the rounded quotient again loses nothing: it is that of the product of both divisors.
    limbs = [0; LIMBS];
    limbs[LIMBS - 1] = 1 << 31;
    divide(&mut limbs, 10_000);
    index = POWER_OF_4;
    while index > 0 {
        index -= 1;
        powers[index] = rounded(&limbs, 1 - BITS as i32);
        divide(&mut limbs, step);
    }
    powers
}

const fn multiply(limbs: &mut [u32; LIMBS], factor: u32) {
    let mut carry = 0;
    let mut index = 0;
    while index < LIMBS {
        let product = limbs[index] as u64 * factor as u64 + carry;
        limbs[index] = product as u32;
        carry = product >> 32;
        index += 1;
    }
}

const fn divide(limbs: &mut [u32; LIMBS], divisor: u32) {
    let mut rest = 0;
    let mut index = LIMBS;
    while index > 0 {
        index -= 1;
        let dividend = rest << 32 | limbs[index] as u64;
        limbs[index] = (dividend / divisor as u64) as u32;
        rest = dividend % divisor as u64;
    }
}

/// The highest 64 bits of an integer, rounded by the bit below, times 2^`exponent`.
const fn rounded(limbs: &[u32; LIMBS], exponent: i32) -> Wide {
    let mut top = LIMBS - 1;
    while limbs[top] == 0 {
        top -= 1;
    }
    let mut value = 0u128;
    let mut taken = 0;
    while taken < 4 {
        value = value << 32 | if taken <= top { limbs[top - taken] as u128 } else { 0 };
        taken += 1;
    }
    let shift = value.leading_zeros();
    value <<= shift;
    let fraction = (value >> 64) as u64 + (value >> 63 & 1) as u64;
    Wide { fraction, exponent: exponent + 32 * (top as i32 - 1) - shift as i32 }
}

#[cfg(test)]
mod tests {
    use num_bigint::BigUint;
    use proptest::prelude::*;

    use super::*;

    /// Each cached power is the nearest of 64 bits.
    #[test]
    fn powers_are_rounded_to_nearest() {
        for (index, power) in POWERS.iter().enumerate() {
            let exponent = POWER_FIRST + POWER_STEP * index as i32;
            assert!(power.fraction >> 63 == 1, "10^{exponent} is normalised");
            let ten = BigUint::from(10u32).pow(exponent.unsigned_abs());
            // Both sides of |power - 10^exponent| * 2 <= one of the last place, as integers.
            let (power_side, exact_side, unit) = if exponent >= 0 {
                let binary = power.exponent.unsigned_abs() as usize;
                match power.exponent {
                    0.. => (BigUint::from(power.fraction) << binary, ten, BigUint::from(1u32) << binary),
                    _ => (BigUint::from(power.fraction), ten << binary, BigUint::from(1u32)),
                }
            } else {
                let binary = power.exponent.unsigned_abs() as usize;
                (BigUint::from(power.fraction) * &ten, BigUint::from(1u32) << binary, ten)
            };
            let off =
                if power_side > exact_side { &power_side - &exact_side } else { &exact_side - &power_side };
            assert!(off * 2u32 <= unit, "10^{exponent} is off");
        }
    }

    /// What Redis 8.2 prints: where Grisu2 misses the shortest text, or the nearest of the shortest.
    #[test]
    fn digits_are_those_of_redis() {
        for (bits, digits, exponent) in REDIS {
            let found = Digits::of(f64::from_bits(*bits));
            assert_eq!(str::from_utf8(found.as_bytes()), Ok(*digits));
            assert_eq!(found.exponent(), *exponent, "of {digits}");
        }
    }

    const REDIS: &[(u64, &str, i32)] = &[
        // One digit more than the shortest text.
        (0x307a_41e5_e51c_573c, "36282152733170464", -91),
        (0x66e1_3f1e_c87e_8e3f, "37520609694889834", 171),
        (0x401a_21d3_97b0_7b85, "65330337239710206", -16),
        // The last digit is not that of the nearest text of this length.
        (0x0d6f_cee4_5c7b_63d1, "58230730259561854", -260),
        (0x3f09_602f_f2f0_6ebc, "48400367056636887", -21),
        (0x4231_8ee1_3d0c_3de3, "7541156993224175", -5),
        (0x1f52_38fb_b1d7_60d0, "8295305747892187", -173),
    ];

    proptest! {
        #[test]
        fn digits_come_back(bits in 1..f64::INFINITY.to_bits()) {
            let value = f64::from_bits(bits);
            let digits = Digits::of(value);
            let text = format!("{}e{}", str::from_utf8(digits.as_bytes()).expect("digits"), digits.exponent());
            prop_assert_eq!(text.parse::<f64>(), Ok(value));
            prop_assert!(digits.as_bytes()[0] != b'0');
        }
    }
}
