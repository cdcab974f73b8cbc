//! Sorted integers of one width, byte for byte as Redis keeps and dumps them.
//!
//! ```text
//! | width: 2, 4 or 8, u32 LE | count, u32 LE | integers, each of that width, LE, in ascending order |
//! ```
//!
//! Invariants: integers are in ascending order, and none is twice there; the width is that of the widest that was ever there.
//!
//! Not here: up to how many integers a set lies so (`set_new`, `set_mut`).

/// Width and count.
pub const HEADER_BYTES: usize = 8;

/// Integers that lie somewhere.
#[derive(Clone, Copy, Debug)]
pub struct Intset<'a>(&'a [u8]);

impl<'a> Intset<'a> {
    /// The integers in these bytes, which are valid.
    #[inline]
    pub fn of(bytes: &'a [u8]) -> Intset<'a> {
        debug_assert!(bytes.len() >= HEADER_BYTES);
        Intset(bytes)
    }

    /// The integers in bytes that come from outside; none if they are damaged.
    pub fn validated(bytes: &'a [u8]) -> Option<Intset<'a>> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (width, count) = header_parts(*header);
        if !matches!(width, 2 | 4 | 8) || rest.len().checked_div(width)? != count || rest.len() % width != 0 {
            return None;
        }
        let set = Intset(bytes);
        let ascends = (1..count).all(|index| set.get(index - 1) < set.get(index));
        (count > 0 && ascends).then_some(set)
    }

    /// All of it.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }

    /// How many there are.
    #[inline]
    pub fn count(self) -> usize {
        self.header().1
    }

    /// How many bytes each takes.
    #[inline]
    pub fn width(self) -> usize {
        self.header().0
    }

    /// The integer at an index.
    #[inline]
    pub fn get(self, index: usize) -> i64 {
        let width = self.width();
        let at = HEADER_BYTES + index * width;
        let bytes = &self.0[at..at + width];
        match width {
            2 => i64::from(i16::from_le_bytes(bytes.try_into().expect("two bytes"))),
            4 => i64::from(i32::from_le_bytes(bytes.try_into().expect("four bytes"))),
            _ => i64::from_le_bytes(bytes.try_into().expect("eight bytes")),
        }
    }

    /// The index of an integer, or else the one where it belongs.
    #[inline]
    pub fn search(self, value: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = (low + high) / 2;
            match self.get(middle).cmp(&value) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Equal => return Ok(middle),
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        Err(low)
    }

    /// All of them.
    pub fn iter(self) -> impl ExactSizeIterator<Item = i64> + use<'a> {
        (0..self.count()).map(move |index| self.get(index))
    }

    #[inline]
    fn header(self) -> (usize, usize) {
        header_parts(*self.0.first_chunk().expect("integers have a header"))
    }
}

#[inline]
fn header_parts(header: [u8; HEADER_BYTES]) -> (usize, usize) {
    let word = u64::from_le_bytes(header);
    (word as u32 as usize, (word >> 32) as usize)
}

/// Writes width and count at the beginning of `bytes`.
pub fn set_header(bytes: &mut [u8], width: usize, count: usize) {
    let count = u32::try_from(count).expect("a set of so many integers is a dict");
    let header = bytes.first_chunk_mut::<HEADER_BYTES>().expect("integers have a header");
    *header = (width as u64 | u64::from(count) << 32).to_le_bytes();
}

/// Writes an integer into `room`, which is as long as one is.
pub fn write(room: &mut [u8], value: i64) {
    let len = room.len();
    room.copy_from_slice(&value.to_le_bytes()[..len]);
}

/// How many bytes an integer needs.
#[inline]
pub fn width_of(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

/// Integers without any.
pub fn empty() -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    set_header(&mut bytes, 2, 0);
    bytes
}

/// Adds an integer; whether it is new.
pub fn insert(bytes: &mut Vec<u8>, value: i64) -> bool {
    let set = Intset::of(bytes);
    let (width, count) = (set.width(), set.count());
    let Err(index) = set.search(value) else { return false };
    let needed = width_of(value);
    if needed > width {
        let mut wider = vec![0; HEADER_BYTES + (count + 1) * needed];
        set_header(&mut wider, needed, count + 1);
        let values = set.iter().take(index).chain([value]).chain(set.iter().skip(index));
        wider[HEADER_BYTES..]
            .chunks_exact_mut(needed)
            .zip(values)
            .for_each(|(room, value)| write(room, value));
        *bytes = wider;
        return true;
    }
    let (at, len) = (HEADER_BYTES + index * width, bytes.len());
    bytes.resize(len + width, 0);
    bytes.copy_within(at..len, at + width);
    write(&mut bytes[at..at + width], value);
    set_header(bytes, width, count + 1);
    true
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn integers_behave_like_an_ordered_set(values in prop::collection::vec((any::<i64>(), 0u32..64), 0..200)) {
            let (mut bytes, mut model) = (empty(), BTreeSet::new());
            for (value, shift) in values {
                let value = value >> shift;
                prop_assert_eq!(Intset::of(&bytes).search(value).is_ok(), model.contains(&value));
                prop_assert_eq!(insert(&mut bytes, value), model.insert(value));
                let set = Intset::validated(&bytes).expect("it is valid");
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            }
        }

        #[test]
        fn damage_is_noticed_or_harmless(bytes in prop::collection::vec(any::<u8>(), 0..60), width in 0u8..9) {
            let mut bytes = bytes;
            if let Some(first) = bytes.first_chunk_mut::<4>() {
                *first = [width, 0, 0, 0];
            }
            if let Some(set) = Intset::validated(&bytes) {
                prop_assert_eq!(set.iter().count(), set.count());
                prop_assert_eq!(HEADER_BYTES + set.count() * set.width(), bytes.len());
            }
        }
    }
}
