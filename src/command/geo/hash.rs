//! Places on the earth as numbers: a geohash of 52 bits, which is a member's score.
//!
//! ```text
//! bit 51 ... 1 0        longitude and latitude in turn, each cut in halves 26 times: longitude in the odd bits
//! ```
//!
//! Design: a square of the earth is the first bits of such a number, so the members within one lie between two scores. A search
//! takes the squares of a size that its area fits in, and those around it.
//!
//! Not here: distances (`shape`).

/// The latitudes of Web Mercator, beyond which nothing is indexed.
pub(super) const LATITUDE_MAX: f64 = 85.051_128_78;
pub(super) const LONGITUDE_MAX: f64 = 180.0;
/// Halvings of each of the two.
pub(super) const STEPS_MAX: u32 = 26;

const ALPHABET: &[u8; 32] = b"0123456789bcdefghjkmnpqrstuvwxyz";
/// Characters of a geohash as text; of the last one there are no bits.
const TEXT_BYTES: usize = 11;
const BITS: u32 = 2 * STEPS_MAX;
/// The latitudes of geohashes as texts.
const TEXT_LATITUDE_MAX: f64 = 90.0;

/// A place: degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point {
    pub longitude: f64,
    pub latitude: f64,
}

impl Point {
    pub(super) fn is_valid(self) -> bool {
        self.longitude.abs() <= LONGITUDE_MAX && self.latitude.abs() <= LATITUDE_MAX
    }

    /// The geohash of 52 bits.
    pub(super) fn hash(self) -> u64 {
        Square::around(self, STEPS_MAX, LATITUDE_MAX).bits
    }

    /// The middle of the square that a score names.
    pub(super) fn of_score(score: f64) -> Point {
        let square = Square { bits: bits_of(score), steps: STEPS_MAX };
        let edges = square.edges();
        let clip = |low: f64, high: f64, max: f64| f64::midpoint_of(low, high).clamp(-max, max);
        Point {
            longitude: clip(edges.west, edges.east, LONGITUDE_MAX),
            latitude: clip(edges.south, edges.north, LATITUDE_MAX),
        }
    }

    /// The geohash as others write it, which goes by other latitudes.
    pub(super) fn text(self) -> [u8; TEXT_BYTES] {
        let bits = Square::around(self, STEPS_MAX, TEXT_LATITUDE_MAX).bits;
        std::array::from_fn(|index| {
            let shift = BITS.checked_sub(5 * (index as u32 + 1));
            ALPHABET[shift.map_or(0, |shift| (bits >> shift & 31) as usize)]
        })
    }
}

/// The middle of two numbers, computed as Redis does.
trait Midpoint {
    fn midpoint_of(low: f64, high: f64) -> f64;
}

impl Midpoint for f64 {
    #[expect(clippy::manual_midpoint, reason = "the last digit is to be Redis's")]
    fn midpoint_of(low: f64, high: f64) -> f64 {
        (low + high) / 2.0
    }
}

/// A score as a geohash. One that is none is converted as x86-64 does it, since clients can see that.
fn bits_of(score: f64) -> u64 {
    const TOP: u64 = 1 << 63;
    let signed = |value: f64| {
        let fits = (-(TOP as f64)..TOP as f64).contains(&value);
        if fits { (value as i64).cast_unsigned() } else { TOP }
    };
    if score < TOP as f64 { signed(score) } else { signed(score - TOP as f64) ^ TOP }
}

/// A square of the earth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Square {
    /// Two for each step.
    pub bits: u64,
    pub steps: u32,
}

/// The edges of an area, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Edges {
    pub west: f64,
    pub south: f64,
    pub east: f64,
    pub north: f64,
}

impl Square {
    /// The square of so many steps that a place is in, where latitudes reach this far.
    fn around(point: Point, steps: u32, latitude_max: f64) -> Square {
        let scale = (1_u64 << steps) as f64;
        let part = |value: f64, max: f64| ((value + max) / (2.0 * max) * scale) as u32;
        let (latitude, longitude) =
            (part(point.latitude, latitude_max), part(point.longitude, LONGITUDE_MAX));
        Square { bits: spread(latitude) | spread(longitude) << 1, steps }
    }

    /// The square of so many steps that a place is in.
    pub(super) fn of(point: Point, steps: u32) -> Square {
        Square::around(point, steps, LATITUDE_MAX)
    }

    pub(super) fn edges(self) -> Edges {
        let scale = (1_u64 << self.steps) as f64;
        let edge = |part: u32, max: f64| -max + f64::from(part) / scale * (2.0 * max);
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        Edges {
            west: edge(longitude, LONGITUDE_MAX),
            south: edge(latitude, LATITUDE_MAX),
            east: edge(longitude.wrapping_add(1), LONGITUDE_MAX),
            north: edge(latitude.wrapping_add(1), LATITUDE_MAX),
        }
    }

    /// The square so many to the east and to the north, around the earth.
    pub(super) fn moved(self, east: i32, north: i32) -> Square {
        let mask = (1_u32 << self.steps) - 1;
        let step = |part: u32, by: i32| {
            if by == 0 { part } else { part.wrapping_add_signed(by) & mask }
        };
        let (latitude, longitude) = (gather(self.bits), gather(self.bits >> 1));
        Square { bits: spread(step(latitude, north)) | spread(step(longitude, east)) << 1, ..self }
    }

    /// The first geohash of 52 bits within, and the first one behind.
    pub(super) fn scores(self) -> (u64, u64) {
        let shift = BITS - 2 * self.steps;
        (self.bits << shift, (self.bits + 1) << shift)
    }
}

/// The bits of a number with a zero above each.
fn spread(value: u32) -> u64 {
    let mut bits = u64::from(value);
    for (shift, mask) in [
        (16, 0x0000_ffff_0000_ffff_u64),
        (8, 0x00ff_00ff_00ff_00ff),
        (4, 0x0f0f_0f0f_0f0f_0f0f),
        (2, 0x3333_3333_3333_3333),
        (1, 0x5555_5555_5555_5555),
    ] {
        bits = (bits | bits << shift) & mask;
    }
    bits
}

/// Every second bit of a number.
fn gather(bits: u64) -> u32 {
    let mut value = bits & 0x5555_5555_5555_5555;
    for (shift, mask) in [
        (1, 0x3333_3333_3333_3333_u64),
        (2, 0x0f0f_0f0f_0f0f_0f0f),
        (4, 0x00ff_00ff_00ff_00ff),
        (8, 0x0000_ffff_0000_ffff),
        (16, 0x0000_0000_ffff_ffff),
    ] {
        value = (value | value >> shift) & mask;
    }
    value as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hashes_are_those_of_redis() {
        let point = Point { longitude: 13.361389, latitude: 38.115556 };
        assert_eq!(point.hash(), 3_479_099_956_230_698);
        let back = Point::of_score(3_479_099_956_230_698.0);
        assert_eq!(back, Point { longitude: 13.361389338970184, latitude: 38.1155563954963 });
        assert_eq!(&back.text(), b"sqc8b49rny0");
    }

    #[test]
    fn scores_that_are_no_hashes_are_read_as_redis_reads_them() {
        assert_eq!((bits_of(-1.0), bits_of(1e300), bits_of(0.5)), (u64::MAX, 0, 0));
        assert_eq!((bits_of(f64::NEG_INFINITY), bits_of(1.0e19)), (1 << 63, 10_000_000_000_000_000_000));
    }

    proptest! {
        #[test]
        fn bits_come_back(value: u32, other: u32) {
            prop_assert_eq!(gather(spread(value)), value);
            prop_assert_eq!(gather(spread(value) | spread(other) << 1), value);
        }

        #[test]
        fn places_are_within_their_squares(
            longitude in -180.0..180.0, latitude in -LATITUDE_MAX..LATITUDE_MAX, steps in 1u32..27,
        ) {
            let edges = Square::of(Point { longitude, latitude }, steps).edges();
            prop_assert!(edges.west <= longitude && longitude <= edges.east);
            prop_assert!(edges.south <= latitude && latitude <= edges.north);
        }

        #[test]
        fn moving_there_and_back_changes_nothing(bits in 0u64..1 << 40, east in -1i32..2, north in -1i32..2) {
            let square = Square { bits, steps: 20 };
            prop_assert_eq!(square.moved(east, north).moved(-east, -north), square);
        }
    }
}
