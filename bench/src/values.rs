//! Values: how long that of a key is, what is in it, and how long it lives.
//!
//! Design: a key has one length and one value, which follow from its number. So every reply's length is known whatever the
//! distribution, and a value that comes back can be checked without any memory of what was sent. A value begins with its key's
//! digits, so that no two keys' values are equal; the rest is a text that starts somewhere else for each key.

use std::str::FromStr;
use std::sync::LazyLock;

use crate::keys::Random;
use crate::{Fatal, fatal};

/// Longest value, in bytes.
pub const VALUE_BYTES_MAX: usize = 512 << 20;
/// Digits of a key's number.
pub const KEY_DIGITS: usize = 12;
/// Longest life of a key, in seconds.
const TTL_MAX: u64 = 1 << 31;
/// Widest log-normal distribution.
const SIGMA_MAX: f64 = 5.0;
/// The text that values are cut from; a power of two.
const TEXT_BYTES: usize = 1 << 14;
/// Says that a key's value has nothing to do with another draw of the same number.
const LENGTH_SEED: u64 = 0x5eed_1e46;

static TEXT: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random::new(1);
    (0..TEXT_BYTES).map(|_| b'a' + random.below(26) as u8).collect()
});

/// How long values are.
#[derive(Clone, Debug, PartialEq)]
pub enum Sizes {
    /// All alike.
    Fixed(usize),
    /// Evenly between these.
    Range(usize, usize),
    /// Logarithms are normally distributed: median, deviation of the logarithm, the longest.
    LogNormal(f64, f64, usize),
    /// These, with these shares (added up).
    Weighted(Vec<(usize, f64)>),
}

impl Sizes {
    /// The length of a key's value.
    #[inline]
    pub fn of(&self, key: u64) -> usize {
        match self {
            Sizes::Fixed(bytes) => *bytes,
            others => others.draw(&mut Random::new(key ^ LENGTH_SEED)),
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Sizes::Fixed(bytes) => *bytes,
            Sizes::Range(least, most) => least + random.below((most - least) as u64 + 1) as usize,
            Sizes::LogNormal(median, sigma, most) => {
                // Box and Muller's transform.
                let radius = (-2.0 * (1.0 - random.unit()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * random.unit()).cos();
                ((median * (sigma * normal).exp()).round() as usize).clamp(1, *most)
            }
            Sizes::Weighted(sizes) => {
                let all = sizes.last().map_or(0.0, |(_, share)| *share);
                let at = random.unit() * all;
                sizes.iter().find(|(_, share)| at < *share).map_or(0, |(bytes, _)| *bytes)
            }
        }
    }
}

impl FromStr for Sizes {
    type Err = Fatal;

    /// `64`, `10-1000`, `lognormal:MEDIAN:SIGMA` with `:MAX`, or `64:90,1024:9,65536:1` (bytes and weight).
    fn from_str(text: &str) -> Result<Sizes, Fatal> {
        let wrong = || {
            Fatal(format!(
                "'{text}' is no distribution of sizes: 64, 10-1000, lognormal:MEDIAN:SIGMA[:MAX] or 64:90,1024:10 (bytes:weight)"
            ))
        };
        let bytes =
            |text: &str| text.parse().ok().filter(|bytes| *bytes <= VALUE_BYTES_MAX).ok_or_else(wrong);
        let positive = |text: &str| {
            text.parse().ok().filter(|number: &f64| *number > 0.0 && number.is_finite()).ok_or_else(wrong)
        };
        if let Some(rest) = text.strip_prefix("lognormal:") {
            let words: Vec<&str> = rest.split(':').collect();
            let (median, sigma, most) = match words[..] {
                [median, sigma] => (positive(median)?, positive(sigma)?, 1 << 20),
                [median, sigma, most] => (positive(median)?, positive(sigma)?, bytes(most)?),
                _ => return Err(wrong()),
            };
            if sigma > SIGMA_MAX || most < 1 {
                return Err(wrong());
            }
            return Ok(Sizes::LogNormal(median, sigma, most));
        }
        if text.contains(':') {
            let (mut sizes, mut all) = (Vec::new(), 0.0);
            for word in text.split(',') {
                let (size, weight) = word.split_once(':').ok_or_else(wrong)?;
                all += positive(weight)?;
                sizes.push((bytes(size)?, all));
            }
            return Ok(Sizes::Weighted(sizes));
        }
        match text.split_once('-') {
            None => Ok(Sizes::Fixed(bytes(text)?)),
            Some((least, most)) => {
                let (least, most) = (bytes(least)?, bytes(most)?);
                if least > most { Err(wrong()) } else { Ok(Sizes::Range(least, most)) }
            }
        }
    }
}

/// How long keys live, in seconds: evenly between these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(u64, u64);

impl Ttl {
    /// One of them.
    pub fn draw(self, random: &mut Random) -> u64 {
        self.0 + random.below(self.1 - self.0 + 1)
    }
}

impl FromStr for Ttl {
    type Err = Fatal;

    /// `60` or `30-90`.
    fn from_str(text: &str) -> Result<Ttl, Fatal> {
        let (least, most) = text.split_once('-').unwrap_or((text, text));
        match (least.parse(), most.parse()) {
            (Ok(least), Ok(most)) if 1 <= least && least <= most && most <= TTL_MAX => Ok(Ttl(least, most)),
            _ => fatal(format!("'{text}' is no number of seconds, such as 60 or 30-90")),
        }
    }
}

/// The digits of a key's number.
#[inline]
pub fn digits(mut number: u64) -> [u8; KEY_DIGITS] {
    let mut digits = [b'0'; KEY_DIGITS];
    // Four at a time: a chain of twelve divisions takes longer than all the rest of a request.
    for chunk in digits.rchunks_exact_mut(4) {
        let four = (number % 10_000) as u32;
        number /= 10_000;
        let (high, low) = (four / 100, four % 100);
        chunk.copy_from_slice(&[high / 10, high % 10, low / 10, low % 10].map(|digit| b'0' + digit as u8));
    }
    digits
}

/// Where a key's value begins in the text.
fn offset(key: u64) -> usize {
    Random::new(key).below(TEXT_BYTES as u64 / 2) as usize
}

/// Appends a key's value of so many bytes.
#[inline]
pub fn write_value(out: &mut Vec<u8>, key: u64, bytes: usize) {
    let head = bytes.min(KEY_DIGITS);
    out.extend_from_slice(&digits(key)[..head]);
    let (mut left, mut at) = (bytes - head, offset(key));
    while left > 0 {
        let part = left.min(TEXT_BYTES - at);
        out.extend_from_slice(&TEXT[at..at + part]);
        (left, at) = (left - part, 0);
    }
}

/// Whether this is a key's value.
pub fn is_value(value: &[u8], key: u64, bytes: usize) -> bool {
    if value.len() != bytes {
        return false;
    }
    let (head, mut rest) = value.split_at(bytes.min(KEY_DIGITS));
    let mut at = offset(key);
    let mut is_equal = head == &digits(key)[..head.len()];
    while !rest.is_empty() && is_equal {
        let part = rest.len().min(TEXT_BYTES - at);
        is_equal = rest[..part] == TEXT[at..at + part];
        (rest, at) = (&rest[part..], 0);
    }
    is_equal
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sizes(text: &str) -> Vec<usize> {
        let sizes: Sizes = text.parse().expect("it is valid");
        (0..100_000).map(|key| sizes.of(key)).collect()
    }

    #[test]
    fn sizes_have_their_distributions() {
        assert!(sizes("7").iter().all(|size| *size == 7));
        let range = sizes("10-19");
        for size in 10..20 {
            let count = range.iter().filter(|drawn| **drawn == size).count() as f64;
            assert!((count - 10_000.0).abs() < 6.0 * 100.0, "{size}: {count}");
        }
        assert!(range.iter().all(|size| (10..20).contains(size)));
        let mut log_normal = sizes("lognormal:1000:1:50000");
        log_normal.sort_unstable();
        // Of a normal distribution 84.13 % lie below one deviation above the middle.
        let (median, above) = (log_normal[50_000] as f64, log_normal[84_134] as f64);
        assert!((median / 1000.0 - 1.0).abs() < 0.03, "{median}");
        assert!((above / 2718.28 - 1.0).abs() < 0.04, "{above}");
        assert!(log_normal[0] >= 1 && log_normal[99_999] <= 50_000);
        let weighted = sizes("64:9,1024:1");
        let large = weighted.iter().filter(|size| **size == 1024).count() as f64;
        assert!((large - 10_000.0).abs() < 600.0, "{large}");
        assert!(weighted.iter().all(|size| [64, 1024].contains(size)));
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            "",
            "x",
            "-1",
            "9-1",
            "1:0",
            "1:2,",
            "1:x",
            "lognormal:1",
            "lognormal:0:1",
            "lognormal:1:99",
            "1e3",
        ] {
            assert!(text.parse::<Sizes>().is_err(), "{text}");
        }
        for text in ["", "0", "5-1", "x", "1-", "99999999999"] {
            assert!(text.parse::<Ttl>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_sizes(text in "[0-9a-z:,.-]{0,24}") {
            if let Ok(sizes) = text.parse::<Sizes>() {
                proptest::prop_assert!(sizes.of(5) <= VALUE_BYTES_MAX);
            }
        }

        #[test]
        fn values_are_their_keys_alone(key in 0u64..1_000_000_000_000, other in 0u64..1_000_000_000_000, bytes in 0usize..40_000) {
            let mut out = Vec::new();
            write_value(&mut out, key, bytes);
            proptest::prop_assert_eq!(out.len(), bytes);
            proptest::prop_assert!(is_value(&out, key, bytes) && !is_value(&out, key, bytes + 1));
            proptest::prop_assert!(bytes < KEY_DIGITS || key == other || !is_value(&out, other, bytes));
            if let Some(last) = out.last_mut() {
                *last ^= 1;
                proptest::prop_assert!(!is_value(&out, key, bytes));
            }
        }

        #[test]
        fn digits_are_those_of_the_number(number in 0u64..1_000_000_000_000) {
            proptest::prop_assert_eq!(digits(number).to_vec(), format!("{number:012}").into_bytes());
        }
    }
}
