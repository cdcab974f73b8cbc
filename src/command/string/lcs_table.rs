//! The longest common subsequence of two strings, and the way back through its table.
//!
//! Design: of the classic table L(i, j), the length for the first i bytes of `a` and the first j of `b`, only the horizontal
//! steps are kept: bit j of row i says whether L(i, j) = L(i, j - 1) + 1. A row follows from the one above by an addition over
//! all its words (Crochemore, Iliopoulos, Pinzon, Reid: A fast and practical bit-vector algorithm for the longest common
//! subsequence problem, 2001; complemented bits, so that the carry runs through them). That takes a 64th of the time and a
//! 32nd of the memory of a table of numbers, and is all that the way back needs: where the bytes differ, L(i - 1, j) is
//! greater than L(i, j - 1) exactly if the bit is set.
//!
//! Invariants: bits beyond the length of `b` are never set.
//! Costs: len(a) x len(b) / 64 word operations; the way back keeps as many words, the length alone one row.
//! Not here: options, limits and replies (`lcs`).

const WORD_BITS: usize = u64::BITS as usize;
/// A table of 4 GiB is the largest: the kernel grants more than there is.
const TABLE_WORDS_MAX: usize = 1 << 29;

/// The rows for two strings.
pub(super) struct LcsTable<'a> {
    a: &'a [u8],
    b: &'a [u8],
    /// `b`'s bits in words: one row.
    row_words: usize,
    steps: Vec<u64>,
    len: usize,
}

/// A common substring: `len` bytes from `a_start` in one and `b_start` in the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Match {
    pub a_start: usize,
    pub b_start: usize,
    pub len: usize,
}

/// The length of the longest common subsequence.
pub(super) fn lcs_len(a: &[u8], b: &[u8]) -> usize {
    rows(a, b, |_| {})
}

/// Calls `emit` with every row, complemented (a clear bit is a step), and returns the length.
fn rows(a: &[u8], b: &[u8], mut emit: impl FnMut(&[u64])) -> usize {
    let words = b.len().div_ceil(WORD_BITS);
    // Where each byte of `a` stands in `b`; bytes that `a` lacks have no mask.
    let mut mask_of = [usize::MAX; 256];
    let mut kinds = 0;
    for &byte in a {
        let mask = &mut mask_of[usize::from(byte)];
        if *mask == usize::MAX {
            *mask = kinds;
            kinds += 1;
        }
    }
    let mut masks = vec![0u64; kinds * words];
    for (j, &byte) in b.iter().enumerate() {
        let mask = mask_of[usize::from(byte)];
        if mask != usize::MAX {
            masks[mask * words + j / WORD_BITS] |= 1 << (j % WORD_BITS);
        }
    }
    let mut row = vec![u64::MAX; words];
    for &byte in a {
        let start = mask_of[usize::from(byte)] * words;
        let mut carry = false;
        for (word, mask) in row.iter_mut().zip(&masks[start..start + words]) {
            let (sum, over) = word.overflowing_add(*word & mask);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            carry = over || over_again;
            *word = sum | (*word & !mask);
        }
        emit(&row);
    }
    row.iter().map(|word| word.count_zeros() as usize).sum()
}

impl<'a> LcsTable<'a> {
    /// Computes and keeps all rows, unless there is no memory for them.
    pub fn new(a: &'a [u8], b: &'a [u8]) -> Option<Self> {
        let row_words = b.len().div_ceil(WORD_BITS);
        let words = a.len().checked_mul(row_words).filter(|words| *words <= TABLE_WORDS_MAX)?;
        let mut steps = Vec::new();
        steps.try_reserve_exact(words).ok()?;
        let len = rows(a, b, |row| steps.extend(row.iter().map(|word| !word)));
        Some(Self { a, b, row_words, steps, len })
    }

    /// The length of the longest common subsequence.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The longest common subsequence; of several, the one that Redis finds.
    pub fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.len);
        self.walk_back(|i, _| text.push(self.a[i]));
        text.reverse();
        assert_eq!(text.len(), self.len);
        text
    }

    /// The common substrings it consists of, from the end to the beginning. As in Redis, one ends where the walk is through
    /// with one of the strings, or had to leave a byte out.
    pub fn matches(&self, mut emit: impl FnMut(Match)) {
        let mut current: Option<Match> = None;
        self.walk_back(|i, j| match &mut current {
            Some(common) if common.a_start == i + 1 && common.b_start == j + 1 => {
                *common = Match { a_start: i, b_start: j, len: common.len + 1 };
            }
            _ => {
                if let Some(common) = current.replace(Match { a_start: i, b_start: j, len: 1 }) {
                    emit(common);
                }
            }
        });
        if let Some(common) = current {
            emit(common);
        }
    }

    /// Visits the places (in `a`, in `b`) of the bytes of the subsequence, last one first.
    fn walk_back(&self, mut visit: impl FnMut(usize, usize)) {
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            if self.a[i - 1] == self.b[j - 1] {
                visit(i - 1, j - 1);
                (i, j) = (i - 1, j - 1);
            } else if self.is_step(i - 1, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
    }

    #[inline]
    fn is_step(&self, i: usize, j: usize) -> bool {
        self.steps[i * self.row_words + j / WORD_BITS] >> (j % WORD_BITS) & 1 == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table as in a textbook, with the way back as Redis takes it.
    fn naive(a: &[u8], b: &[u8]) -> (usize, Vec<u8>, Vec<Match>) {
        let mut table = vec![vec![0usize; b.len() + 1]; a.len() + 1];
        for i in 1..=a.len() {
            for j in 1..=b.len() {
                table[i][j] = if a[i - 1] == b[j - 1] {
                    table[i - 1][j - 1] + 1
                } else {
                    table[i - 1][j].max(table[i][j - 1])
                };
            }
        }
        let (mut i, mut j) = (a.len(), b.len());
        let (mut text, mut matches) = (Vec::new(), Vec::<Match>::new());
        let mut open = false;
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                text.insert(0, a[i - 1]);
                (i, j) = (i - 1, j - 1);
                match matches.last_mut() {
                    Some(last) if open => *last = Match { a_start: i, b_start: j, len: last.len + 1 },
                    _ => matches.push(Match { a_start: i, b_start: j, len: 1 }),
                }
                open = true;
            } else {
                open = false;
                if table[i - 1][j] > table[i][j - 1] { i -= 1 } else { j -= 1 }
            }
        }
        (table[a.len()][b.len()], text, matches)
    }

    fn check(a: &[u8], b: &[u8]) {
        let (len, text, matches) = naive(a, b);
        assert_eq!(lcs_len(a, b), len);
        let table = LcsTable::new(a, b).expect("there is memory");
        assert_eq!(table.len(), len);
        assert_eq!(table.text(), text);
        let mut found = Vec::new();
        table.matches(|common| found.push(common));
        assert_eq!(found, matches);
    }

    #[test]
    fn the_documented_example() {
        check(b"ohmytext", b"mynewtext");
        let table = LcsTable::new(b"ohmytext", b"mynewtext").expect("there is memory");
        assert_eq!(table.text(), b"mytext");
    }

    #[test]
    fn empty_strings_and_word_boundaries() {
        check(b"", b"");
        check(b"", b"abc");
        check(b"abc", b"");
        for len in [1, 63, 64, 65, 127, 128, 129] {
            check(&vec![b'x'; len], &vec![b'x'; len]);
            check(&vec![b'x'; len], &[b'x'; 64]);
            check(b"x", &vec![b'x'; len]);
            check(b"y", &vec![b'x'; len]);
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_textbook(
            a in proptest::collection::vec(b'a'..b'f', 0..150),
            b in proptest::collection::vec(b'a'..b'f', 0..150),
        ) {
            check(&a, &b);
        }
    }
}
